//! msgpack: accounts and what has to outlive the server.

mod checks;
mod job;
mod login_queue;
mod mail;
mod notes;
mod password_worker;
mod passwords;
mod queue;
mod record;
mod settings;
mod storage;
mod store;
mod turns;
mod undeleted;

use crate::Error;
use crate::config::{Config, Profile};
use crate::control::{Control, Controlled, Moderator};
use crate::figure::Figure;
use crate::logging::{Address, EventName, LogViolations, peer_span};
use crate::names::Who;
use crate::protocols::{Hosted as _, Protocol};
use crate::recording::{Tap, What};
use crate::refusals::{Refusals, Rule};
use crate::service::{Service, for_goodbyes, hub_settings, record_always};
use blake2::{Blake2s256, Digest as _};
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use core::{future::Future, pin::Pin};
use job::Job;
use login_queue::{Attempt, LoginQueue};
pub use settings::Msgpack;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use storage::StorageHandle;
use store::{Quotas, Store};
use voxwire_core::{Clock, Handler, Instant, Limits, Moderation as _, PeerId, Session};
use voxwire_msgpack::{
    Code, Server, ServerCommand, ServerEvent, ServerMessage, ServerSettings, ServerStats, Text, Ticket, Wire,
};
use voxwire_transport::{Drained, Handle, Histogram, Hub, HubSettings, HubStats, Listener};

/// The users that the original server starts with, and their password.
const ORIGINALS: ([&str; 3], &str) = (["edoren", "pepe", "grillo"], "123");

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is as good as never: a century.
const NEVER: Duration = DAY.saturating_mul(36_525);

/// Opens the database, and starts serving on `listener`.
fn start(
    config: &Config,
    msgpack: &Msgpack,
    listener: Listener,
    control: Option<Arc<Control>>,
    tap: Arc<Tap>,
) -> Result<Hosted, Error> {
    let settings = session_settings(config, msgpack);
    let store = open_store(config, msgpack, &settings)?;
    let mut server = Server::new(settings, getrandom::u64().unwrap_or_default(), digest);
    restore(&store, &mut server, config)?;
    server.exempt(&config.proxies);
    let mut memory = passwords::Memory::default();
    let hasher = passwords::Hasher::new(&mut memory).map_err(Error::Usage)?;
    make_accounts(config, &server, &store, &hasher, &mut memory)?;
    drop(memory);
    // Each connection has one attempt at most.
    let logins = Arc::new(LoginQueue::new(config.connections, &config.proxies));
    let shared = Arc::new(Shared {
        clock: Clock::start(),
        damaged: AtomicBool::new(false),
        hub: OnceLock::new(),
        delivered: Mutex::default(),
        refusals: Refusals::new(Msgpack::NAME, &[Rule::Name, Rule::Password]),
        kept: AtomicU64::new(0),
        transactions: Transactions::default(),
        hashes: Histogram::default(),
        control: control.clone(),
        tap: tap.clone(),
    });
    let storage = StorageHandle::start(store, config, hasher, logins.clone(), shared.clone())?;
    let registrar = Registrar {
        storage: storage.clone(),
        logins,
        shared: shared.clone(),
        register: msgpack.register,
        proxies: config.proxies.iter().map(IpAddr::to_canonical).collect(),
    };
    let hub = HubSettings {
        // Recordings are large, and the session sees to it that no user is sent more than two at once.
        max_queued: 64 << 20,
        ..hub_settings(config, Protocol::MSGPACK)
    };
    let handler = Controlled::new(registrar, Msgpack::NAME, control).tapped(tap.clone());
    let handler = LogViolations::new(Msgpack::NAME, handler);
    let hub = Hub::spawn(vec![listener], server, handler, hub)?;
    let hosted = Hosted { hub: hub.clone(), storage, shared: shared.clone() };
    let _ = shared.hub.set(hub.clone());
    record_always(&hub, &tap, msgpack.record_groups.iter().cloned().map(What::Room))?;
    Ok(hosted)
}

fn session_settings(config: &Config, msgpack: &Msgpack) -> ServerSettings {
    let Msgpack { keep, group_days, resume, echo, .. } = *msgpack;
    let defaults = match config.profile_of(Protocol::MSGPACK) {
        Profile::Safe => ServerSettings::DEFAULT,
        Profile::Original => ServerSettings::ORIGINAL,
    };
    ServerSettings {
        limits: Limits { max_peers: config.connections, max_outbox: 128 << 20, ..defaults.limits },
        keep: keep && defaults.keep,
        echo: echo && !defaults.lenient,
        resume_timeout: resume,
        unused_group_lifetime: if group_days == 0 { NEVER } else { DAY.saturating_mul(group_days) },
        ..defaults
    }
}

/// Opens the database. Its names get their canonical forms, unless the session compares names byte by byte.
fn open_store(config: &Config, msgpack: &Msgpack, settings: &ServerSettings) -> Result<Store, Error> {
    let quotas = Quotas {
        accounts: msgpack.max_accounts,
        contacts: msgpack.max_contacts,
        kept: msgpack.max_kept,
        kept_bytes: msgpack.max_kept_bytes,
        database: msgpack.max_database,
        age: DAY.saturating_mul(msgpack.keep_days),
    };
    let store = Store::open(&config.data, quotas)?;
    if !settings.lenient {
        let left = store.canonicalize_names().map_err(|error| Error::Database {
            path: config.data.join("msgpack.db"),
            error: error.to_string(),
        })?;
        if left > 0 {
            tracing::warn!(
                names = left,
                "accounts or groups have a name that another one has in its canonical form: they cannot be reached \
                 until they are renamed in msgpack.db, or served with the profile `original`"
            );
        }
    }
    Ok(store)
}

/// What is kept of a token.
fn digest(token: &[u8]) -> [u8; 32] {
    Blake2s256::digest(token).into()
}

/// Tells the session of all groups and their members.
fn restore(store: &Store, server: &mut Server, config: &Config) -> Result<(), Error> {
    let stored = restorable(store, server).map_err(|error| Error::Database {
        path: config.data.join("msgpack.db"),
        error: error.to_string(),
    })?;
    for (is_group, group, user) in stored {
        let (group_name, username) = (Text(&group), Text(&user));
        let command = match is_group {
            true => ServerCommand::Group { group_name, owner: username },
            false => ServerCommand::Member { group_name, username },
        };
        if let Err(refusal) = server.handle_command(Instant::ZERO, command) {
            tracing::warn!(group = ?group_name, %refusal, "a stored group is left out");
        }
    }
    let unused = store.unused(|group, time| {
        // Fails for those that are left out.
        let _ = server.handle_command(Instant::ZERO, ServerCommand::Unused { group_name: Text(group), time });
    });
    unused.map_err(|error| Error::Database { path: config.data.join("msgpack.db"), error: error.to_string() })
}

/// Whether it is a group, rather than a member; the group, and the user.
type Stored = (bool, Vec<u8>, Vec<u8>);

/// Each stored group and its owner (`true`), then each group and a member. Those with a name that is not what the session knows it by
/// are left out: the session would take them for the group, or the user, that has the canonical form.
fn restorable(store: &Store, server: &Server) -> rusqlite::Result<Vec<Stored>> {
    let mut stored: Vec<Stored> = Vec::new();
    store.groups(|group, owner| stored.push((true, group.into(), owner.into())))?;
    store.members(|group, user| stored.push((false, group.into(), user.into())))?;
    stored.retain(|(is_group, group, user)| {
        let kept = [group, user].iter().all(|name| *server.key(Text(name)) == ***name);
        if !kept && *is_group {
            tracing::warn!(group = ?Text(group), "a stored group with a name that is not canonical is left out");
        }
        kept
    });
    Ok(stored)
}

/// Makes the accounts of the settings, where they are not there.
fn make_accounts(
    config: &Config,
    server: &Server,
    store: &Store,
    hasher: &passwords::Hasher,
    memory: &mut passwords::Memory,
) -> Result<(), Error> {
    let mut accounts: BTreeMap<&str, &str> = BTreeMap::new();
    // Where only this machine can use them.
    if config.profile_of(Protocol::MSGPACK) == Profile::Original && config.bind.is_loopback() {
        accounts.extend(ORIGINALS.0.map(|name| (name, ORIGINALS.1)));
    }
    accounts.extend(
        config.of::<Msgpack>().accounts.iter().map(|(name, password)| (name.as_str(), password.as_str())),
    );
    if accounts.is_empty() {
        return Ok(());
    }
    let path = config.data.join("msgpack.db");
    let failed = |error: String| Error::Database { path: path.clone(), error };
    let reader = store::Reader::open(&config.data).map_err(|error| failed(error.to_string()))?;
    for (name, password) in accounts {
        let name = server.key(name.into());
        if reader.password(&name).map_err(|error| failed(error.to_string()))?.is_some() {
            continue;
        }
        let hash = hasher.hash(memory, password.as_bytes()).map_err(failed)?;
        let made = store.transaction(|store| store.register(&name, &hash));
        if made.map_err(|error| failed(error.to_string()))? != store::Outcome::Done {
            return Err(Error::Usage(format!("msgpack: there is no room for the account {:?}", Text(&name))));
        }
    }
    Ok(())
}

/// What the threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The threads' clock.
    clock: Clock,
    /// Something is wrong with the database.
    damaged: AtomicBool,
    /// The door to the session, once it is served.
    hub: OnceLock<Handle<Server>>,
    delivered: Mutex<Delivered>,
    refusals: Refusals,
    kept: AtomicU64,
    transactions: Transactions,
    /// How long passwords take to be hashed.
    hashes: Histogram,
    /// Told who logs in.
    control: Option<Arc<Control>>,
    tap: Arc<Tap>,
}

/// What the database takes, and whether it takes anything.
#[derive(Debug, Default)]
struct Transactions {
    took: Histogram,
    /// The last one failed, because the disk is full, or gone.
    failed: AtomicBool,
    /// When the one that is under way began, in milliseconds of the threads' clock, and one more; 0 for none.
    begun: AtomicU64,
}

/// How long a transaction may take before the server says that it is not ready.
const SLOW: Duration = Duration::from_secs(5);

impl Transactions {
    /// Does `write`, and remembers how long it took. Whether an error is a fault of the database, `is_fault` says.
    fn measure<T, E>(
        &self,
        clock: Clock,
        write: impl FnOnce() -> Result<T, E>,
        is_fault: impl FnOnce(&E) -> bool,
    ) -> Result<T, E> {
        let begun = clock.now();
        self.begun.store(millis(begun).saturating_add(1), Relaxed);
        let result = write();
        self.begun.store(0, Relaxed);
        self.took.observe(clock.now().saturating_duration_since(begun));
        self.failed.store(result.as_ref().is_err_and(is_fault), Relaxed);
        result
    }

    /// Whether one has been under way for too long.
    fn is_stuck(&self, now: Instant) -> bool {
        let begun = self.begun.load(Relaxed);
        begun != 0 && millis(now).saturating_sub(begun) > millis(Instant::ZERO.saturating_add(SLOW))
    }
}

fn millis(at: Instant) -> u64 {
    at.as_nanos() / 1_000_000
}

/// What was delivered to connections, and is kept until they have it: whose messages, and which.
#[derive(Debug, Default)]
struct Delivered {
    to: BTreeMap<PeerId, (Box<[u8]>, Vec<i64>)>,
    /// Connections that are gone, oldest first: they may be taken up again, which shows that they had it.
    gone: VecDeque<PeerId>,
}

/// Connections that are gone, remembered at a time.
const GONE: usize = 4096;

impl Delivered {
    fn add(&mut self, peer: PeerId, username: &[u8], messages: impl IntoIterator<Item = i64>) {
        self.to.entry(peer).or_insert_with(|| (username.into(), Vec::new())).1.extend(messages);
    }

    fn of(&self, peer: PeerId) -> BTreeSet<i64> {
        self.to.get(&peer).map(|(_, messages)| messages.iter().copied().collect()).unwrap_or_default()
    }

    /// The oldest `n` have arrived.
    fn arrived(&mut self, peer: PeerId, n: usize) -> Option<(Box<[u8]>, Vec<i64>)> {
        let (username, messages) = self.to.get_mut(&peer)?;
        let arrived = (username.clone(), messages.drain(..n.min(messages.len())).collect());
        if messages.is_empty() {
            self.to.remove(&peer);
        }
        Some(arrived)
    }

    /// The oldest `n` have arrived, and nothing is known of the others any more.
    fn end(&mut self, peer: PeerId, n: usize) -> Option<(Box<[u8]>, Vec<i64>)> {
        let arrived = self.arrived(peer, n);
        self.to.remove(&peer);
        arrived
    }

    /// Whether anything was delivered to it.
    fn is_to(&self, peer: PeerId) -> bool {
        self.to.get(&peer).is_some_and(|(_, messages)| !messages.is_empty())
    }

    fn has(&self, peer: PeerId, message: i64) -> bool {
        self.to.get(&peer).is_some_and(|(_, messages)| messages.contains(&message))
    }

    fn gone(&mut self, peer: PeerId) {
        if self.to.contains_key(&peer) {
            self.gone.push_back(peer);
        }
        if self.gone.len() > GONE
            && let Some(oldest) = self.gone.pop_front()
        {
            self.to.remove(&oldest);
        }
    }
}

impl Shared {
    /// Locked only while the session is, or for a moment.
    fn delivered(&self) -> MutexGuard<'_, Delivered> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Hosted {
    hub: Handle<Server>,
    storage: StorageHandle,
    shared: Arc<Shared>,
}

impl Service for Hosted {
    fn protocol(&self) -> &'static str {
        Msgpack::NAME
    }

    fn connections(&self) -> usize {
        let HubStats { connections, closing, .. } = self.hub.stats();
        connections.saturating_add(closing)
    }

    fn set_max_connections(&self, most: usize) {
        self.hub.set_max_connections(most);
    }

    fn moderator(&self) -> Option<&dyn Moderator> {
        Some(&self.hub)
    }

    fn figures(&self) -> Vec<Figure> {
        let hub = self.hub.stats();
        let (stats, online, groups, in_calls) =
            self.hub.call(|server, _| (server.stats(), server.online(), server.groups(), server.in_calls()));
        let ServerStats { logins, texts, recordings, joined, packets, stray, muted, violations, .. } = stats;
        let Shared { refusals, kept, transactions, damaged, hashes, .. } = &*self.shared;
        let mut own = vec![
            Figure::sessions(online as u64),
            Figure::gauge("groups", "Groups", groups as u64),
            Figure::gauge("call_members", "Clients in calls", in_calls as u64),
            Figure::sessions_begun(logins),
            Figure::texts(texts),
            Figure::counter("recordings", "Recordings taken", recordings),
            Figure::counter("messages_kept", "Messages kept for users who were away", kept.load(Relaxed)),
            Figure::counter("call_joins", "Times that a user joined a call", joined),
            Figure::voice_packets(packets),
            Figure::dropped("stray", stray),
            Figure::dropped("muted", muted),
            Figure::gauge("database_damaged", "1 if the database is damaged", damaged.load(Relaxed).into()),
            Figure::histogram(
                "database_transaction_seconds",
                "Transactions of the database, until they were on the disk",
                transactions.took.stats(),
            ),
            Figure::histogram("password_hash_seconds", "Passwords hashed", hashes.stats()),
            Figure::violations(violations),
        ];
        own.extend(refusals.figures().chain(self.shared.tap.figures()));
        Figure::of_hub(&hub, own)
    }

    fn unready(&self) -> Option<String> {
        let Shared { damaged, transactions, clock, .. } = &*self.shared;
        if damaged.load(Relaxed) {
            return Some("the database is damaged".into());
        }
        if transactions.is_stuck(clock.now()) {
            return Some(format!("the database has not written for more than {} s", SLOW.as_secs()));
        }
        let failed = transactions.failed.load(Relaxed);
        failed.then(|| "the database cannot be written: the log says why".into())
    }

    fn drain(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = Drained> + Send + '_>> {
        Box::pin(async move {
            let end = self.shared.clock.now().saturating_add(deadline);
            let drained = self.hub.drain(for_goodbyes(deadline)).await;
            let storage = self.storage.clone();
            // What is waiting for the disk gets there, if that can be by the deadline.
            let _ = tokio::task::spawn_blocking(move || storage.close(end)).await;
            drained
        })
    }
}

/// Hands what the session asks to the threads. Text that peers chose is logged escaped, and secrets are not.
#[derive(Debug)]
struct Registrar {
    storage: StorageHandle,
    logins: Arc<LoginQueue>,
    shared: Arc<Shared>,
    /// Whether clients may make accounts.
    register: bool,
    /// Addresses that stand for many people.
    proxies: Vec<IpAddr>,
}

impl Registrar {
    /// Hands a request of `peer` for `account` to the storage. Who has to give way is told that it cannot be done now.
    fn ask(&self, server: &mut Server, now: Instant, peer: PeerId, account: &[u8], job: Job) {
        let network = self.network(server, peer);
        for (ticket, code) in self.storage.ask(network.as_deref(), account, job) {
            refuse(server, now, ticket, code);
        }
    }

    /// What pays for what comes from there.
    fn network(&self, server: &Server, peer: PeerId) -> Option<Box<[u8]>> {
        server.address(peer).and_then(|from| payer_site(from.ip(), &self.proxies))
    }

    fn attempt(&self, server: &mut Server, now: Instant, attempt: Attempt) {
        let from = server.address(attempt.peer).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| from.ip());
        if let Some(refused) = self.logins.add(from, attempt) {
            refuse(server, now, refused.ticket, Code::REQUEST_OVER_LIMIT);
        }
    }
}

/// What pays for messages from an address that are kept: an IPv4 address or the /48 of an IPv6 one, unless it stands for many people.
fn payer_site(from: IpAddr, proxies: &[IpAddr]) -> Option<Box<[u8]>> {
    let from = from.to_canonical();
    if from.is_loopback() || proxies.contains(&from) {
        return None;
    }
    Some(match from {
        IpAddr::V4(v4) => v4.octets().into(),
        IpAddr::V6(v6) => v6.octets()[..6].into(),
    })
}

fn refuse(server: &mut Server, now: Instant, ticket: Ticket, code: Code) {
    // Fails only if it has been answered, which it has not.
    let _ = server.handle_command(now, ServerCommand::Refuse { ticket, code });
}

impl Registrar {
    /// A question of the session about contacts and groups: the database answers.
    fn store(&self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        match event {
            ServerEvent::AddingContact { ticket, peer, username, contact, store } => {
                let account: Box<[u8]> = server.key(username).into();
                let (username, contact) = (account.clone(), server.key(contact).into());
                let add = Job::AddContact { ticket, username, contact, store };
                self.ask(server, now, peer, &account, add);
            }
            ServerEvent::CreatingGroup { ticket, peer, group_name, owner } => {
                tracing::info!(group = ?group_name, ?owner, "a new group");
                let account: Box<[u8]> = server.key(owner).into();
                let (group_name, owner) = (server.key(group_name).into(), account.clone());
                self.ask(server, now, peer, &account, Job::CreateGroup { ticket, group_name, owner });
            }
            ServerEvent::JoiningGroup { ticket, peer, group_name, username } => {
                tracing::info!(group = ?group_name, ?username, "a new member");
                let account: Box<[u8]> = server.key(username).into();
                let (group_name, username) = (server.key(group_name).into(), account.clone());
                self.ask(server, now, peer, &account, Job::JoinGroup { ticket, group_name, username });
            }
            _ => {}
        }
    }

    /// Keeps an update for recipients who are away; `None` if it is none that is kept.
    fn keep(
        &self,
        server: &mut Server,
        now: Instant,
        ticket: Ticket,
        peer: PeerId,
        recipients: Vec<Box<[u8]>>,
        update: ServerMessage<'_>,
    ) -> Option<()> {
        let (ServerMessage::Whisper { sender, .. }
        | ServerMessage::MsgGroup { sender, .. }
        | ServerMessage::VoiceMsg { sender, .. }) = update
        else {
            return None;
        };
        let sender: Box<[u8]> = server.key(sender).into();
        let source = self.network(server, peer);
        let mut body = Vec::new();
        // What came in as a message goes out as one.
        voxwire_core::Message::encode(&update, &Wire::SERVER, &mut body).ok()?;
        let (account, until) = (sender.clone(), self.storage.until());
        let keep = Job::Keep { ticket, sender, source, recipients, body, until };
        self.ask(server, now, peer, &account, keep);
        Some(())
    }

    /// What is known of kept messages on their way: the next ones are read, and those that have arrived are removed.
    fn delivered(&self, server: &Server, event: ServerEvent<'_>) {
        match event {
            ServerEvent::Taken { peer } => {
                let username = server.name(peer).map(Box::<[u8]>::from);
                if let Some(username) = username.filter(|_| self.shared.delivered().is_to(peer)) {
                    self.storage.queue().next(peer, username);
                }
            }
            ServerEvent::Received { peer, messages } => {
                let arrived = self.shared.delivered().arrived(peer, messages);
                if let Some((username, messages)) = arrived {
                    self.storage.queue().arrived(peer, username, messages);
                }
            }
            ServerEvent::Resumed { peer, lost, received } => {
                let name = Who { name: server.name(peer), address: server.address(peer) };
                tracing::info!(%peer, %name, "back");
                let username = server.name(peer).unwrap_or_default();
                // There may be more by now.
                let arrived = self.shared.delivered().end(lost, received);
                let messages = arrived.map(|(_, messages)| messages).unwrap_or_default();
                self.storage.queue().arrived(peer, username.into(), messages);
            }
            ServerEvent::LoggedOut { peer, username, received } => {
                tracing::info!(%peer, name = ?Text(&username), "logged out");
                let arrived = self.shared.delivered().end(peer, received);
                if let Some((username, messages)) = arrived.filter(|(_, messages)| !messages.is_empty()) {
                    self.storage.queue().arrived(peer, username, messages);
                }
            }
            _ => {}
        }
    }
}

/// Of whom an event is that is logged.
const fn peer_of(event: &ServerEvent<'_>) -> Option<PeerId> {
    match event {
        ServerEvent::Connected { peer, .. }
        | ServerEvent::CreatingGroup { peer, .. }
        | ServerEvent::JoiningGroup { peer, .. }
        | ServerEvent::Resumed { peer, .. }
        | ServerEvent::LoggedOut { peer, .. }
        | ServerEvent::CallJoined { peer, .. }
        | ServerEvent::CallLeft { peer }
        | ServerEvent::Gone { peer, .. } => Some(*peer),
        _ => None,
    }
}

impl Handler<Server> for Registrar {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        record::record(&self.shared.tap, server, now, &event);
        let _peer = peer_of(&event).map(|peer| peer_span(Msgpack::NAME, server.address(peer)).entered());
        if let Some((ticket, code)) = record::reserved(&self.shared, server, &event) {
            return refuse(server, now, ticket, code);
        }
        let name = |peer: PeerId| Who { name: server.name(peer), address: server.address(peer) }.to_string();
        let register = matches!(event, ServerEvent::Registering { .. });
        match event {
            ServerEvent::Connected { peer, from } => {
                tracing::debug!(%peer, from = %Address(from), "connected")
            }
            ServerEvent::Registering { ticket, .. } if !self.register => {
                refuse(server, now, ticket, Code::REQUEST_OVER_LIMIT);
            }
            ServerEvent::Registering { ticket, peer, username, password }
            | ServerEvent::LoggingIn { ticket, peer, username, password } => {
                let (username, password) = (server.key(username).into(), password.0.to_vec().into());
                self.attempt(server, now, Attempt { ticket, peer, register, username, password });
            }
            event @ (ServerEvent::AddingContact { .. }
            | ServerEvent::CreatingGroup { .. }
            | ServerEvent::JoiningGroup { .. }) => self.store(server, now, event),
            ServerEvent::Keeping { ticket, peer, recipients, update } => {
                if self.keep(server, now, ticket, peer, recipients, update).is_none() {
                    refuse(server, now, ticket, Code::REQUEST_INVALID);
                }
            }
            ServerEvent::GroupUsed { group_name } => {
                self.storage.queue().use_group(group_name);
            }
            ServerEvent::GroupForgotten { group_name } => {
                tracing::info!(group = ?Text(&group_name), "a group that nobody uses is forgotten");
                self.storage.queue().forget_group(group_name);
            }
            event @ (ServerEvent::Taken { .. }
            | ServerEvent::Received { .. }
            | ServerEvent::Resumed { .. }
            | ServerEvent::LoggedOut { .. }) => self.delivered(server, event),
            ServerEvent::CallJoined { peer, group_name } => {
                tracing::info!(%peer, name = %name(peer), group = ?group_name, "in the call");
            }
            ServerEvent::CallLeft { peer } => {
                tracing::info!(%peer, name = %name(peer), "out of the call");
            }
            ServerEvent::Gone { peer, username } => {
                // What was delivered and not received stays where it is.
                self.shared.delivered().gone(peer);
                self.logins.forget(peer);
                self.storage.queue().gone(peer);
                if let Some(username) = username {
                    tracing::info!(%peer, name = ?Text(&username), "gone");
                }
            }
            ServerEvent::InvalidName { peer, error } => {
                let why = format!("an invalid name: {error}");
                self.shared.refusals.note(Rule::Name, server.address(peer), &why);
            }
            ServerEvent::Voice { .. } => {}
            event => tracing::debug!(event = %EventName(&event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::store::tests::{Folder, QUOTAS};
    use super::*;

    /// F-06, F-07: who pays for kept messages.
    #[test]
    fn kept_messages_are_paid_by_networks_but_for_addresses_of_many() {
        let proxies: Vec<IpAddr> = ["192.0.2.9", "2001:db8::9"].map(|it| it.parse().unwrap()).into();
        let source = |from: &str| payer_site(from.parse().unwrap(), &proxies);
        for many in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.9", "::ffff:192.0.2.9", "2001:db8::9"] {
            assert_eq!(source(many), None, "{many}");
        }
        assert_eq!(source("192.0.2.1").as_deref(), Some(&[192, 0, 2, 1][..]));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:ffff::7"));
        assert_ne!(source("2001:db8:1::1"), source("2001:db8:2::1"));
    }

    /// F-05: two stored names of one canonical form are not merged.
    #[test]
    fn groups_and_members_with_another_ones_canonical_name_are_left_out() {
        let folder = Folder::new("restore");
        let store = Store::open(&folder.0, Quotas { accounts: 9, ..QUOTAS }).unwrap();
        let (nfc, nfd) = ("Jos\u{e9}".as_bytes(), "Jose\u{301}".as_bytes());
        for name in [b"ann", b"eve", nfc, nfd] {
            store.register(name, "$argon2id$v=19$x$y").unwrap();
        }
        store.create_group(nfc, b"ann").unwrap();
        store.create_group(nfd, b"eve").unwrap();
        store.join_group(nfc, nfd).unwrap();
        store.create_group(b"hers", nfd).unwrap();
        let list = |settings| {
            let server = Server::new(settings, 0, digest);
            restorable(&store, &server).unwrap()
        };
        let all = list(ServerSettings::ORIGINAL);
        assert_eq!(all.iter().filter(|(is_group, ..)| *is_group).count(), 3);
        let safe = list(ServerSettings::DEFAULT);
        assert!(safe.contains(&(true, nfc.into(), b"ann".into())), "{safe:?}");
        assert!(safe.iter().all(|(_, group, user)| *group == nfc && *user == b"ann"), "{safe:?}");
    }
}
