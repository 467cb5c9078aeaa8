//! The threads that may block: one that writes to the database, and those that hash passwords.

use super::desk::{Attempt, Desk, Verdict, Work};
use super::passwords::{Check, Hasher, Memory, THREADS};
use super::store::{DROPPED, Keeping, Kept, Outcome, Reader, Store, is_busy, is_full};
use super::{Shared, refuse};
use crate::Error;
use crate::config::{Config, Profile, Protocol};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use voxwire_core::{Instant, Message, PeerId, Session};
use voxwire_msgpack::{Code, Secret, Server, ServerCommand, ServerMessage, Text, Ticket, Wire};

/// Jobs that may wait for the database. Each client has one at most.
const WAITING: usize = 4096;
/// Bytes of messages that may wait for it.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Jobs done in one transaction, and bytes of messages.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Copies of messages that are stored in one transaction; one message may have more. Some 20 ms.
const COPIES: usize = 1000;
/// Kept messages that are delivered at a time, in bytes; the next when those have arrived. One always may be.
const DELIVERY: usize = 1024 * 1024;

/// Something for the database.
pub(super) enum Job {
    Register {
        ticket: Ticket,
        username: Box<[u8]>,
        password: String,
    },
    /// Name and password are right.
    Admit {
        ticket: Ticket,
        peer: PeerId,
        username: Box<[u8]>,
    },
    /// The same password, hashed anew.
    Rehash {
        username: Box<[u8]>,
        password: String,
    },
    AddContact {
        ticket: Ticket,
        username: Box<[u8]>,
        contact: Box<[u8]>,
        store: bool,
    },
    CreateGroup {
        ticket: Ticket,
        group_name: Box<[u8]>,
        owner: Box<[u8]>,
    },
    JoinGroup {
        ticket: Ticket,
        group_name: Box<[u8]>,
        username: Box<[u8]>,
    },
    ForgetGroup {
        group_name: Box<[u8]>,
    },
    /// A group is used today.
    UseGroup {
        group_name: Box<[u8]>,
    },
    Keep {
        ticket: Ticket,
        sender: Box<[u8]>,
        /// Who pays for it: a network.
        source: Option<Box<[u8]>>,
        recipients: Vec<Box<[u8]>>,
        body: Vec<u8>,
    },
    /// These have arrived; the next ones can be delivered.
    Received {
        peer: PeerId,
        username: Box<[u8]>,
        messages: Vec<i64>,
    },
    /// What was delivered so far has been read; the next ones can be delivered.
    Next {
        peer: PeerId,
        username: Box<[u8]>,
    },
    /// Nothing comes after this.
    Close,
}

/// What came of a job within its transaction.
enum Done {
    Outcome(Outcome),
    Message(Keeping),
}

/// Too much waits.
#[derive(Debug)]
pub(super) struct Full;

/// The door to the threads.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    jobs: SyncSender<Job>,
    /// Bytes of messages that wait.
    bytes: Arc<AtomicUsize>,
    desk: Arc<Desk>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// When what still waits is given up.
    end: Arc<OnceLock<Instant>>,
    /// Ends the check of the database in the background.
    checks: SyncSender<()>,
}

impl Keeper {
    pub(super) fn start(
        store: Store,
        config: &Config,
        hasher: Hasher,
        desk: Arc<Desk>,
        shared: Arc<Shared>,
    ) -> Result<Self, Error> {
        let (jobs, waiting) = sync_channel(WAITING);
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut threads = Vec::new();
        let hasher = Arc::new(hasher);
        let discreet = config.profile_of(Protocol::Msgpack) == Profile::Safe;
        for _ in 0..THREADS {
            let reader = Reader::open(&config.data).map_err(|error| Error::Database {
                path: config.data.join("msgpack.db"),
                error: error.to_string(),
            })?;
            let clerk = Clerk {
                reader,
                hasher: hasher.clone(),
                desk: desk.clone(),
                jobs: jobs.clone(),
                shared: shared.clone(),
                discreet,
            };
            threads.push(std::thread::Builder::new().name("passwords".into()).spawn(move || clerk.run())?);
        }
        let end = Arc::new(OnceLock::new());
        let (checks, ended) = sync_channel(1);
        let reader = Reader::open(&config.data).map_err(|error| Error::Database {
            path: config.data.join("msgpack.db"),
            error: error.to_string(),
        })?;
        let watched = shared.clone();
        std::thread::Builder::new()
            .name("database check".into())
            .spawn(move || check_now_and_then(&reader, &ended, &watched.damaged, CHECKS))?;
        let writer = Writer::new(store, shared, bytes.clone(), end.clone());
        threads
            .push(std::thread::Builder::new().name("database".into()).spawn(move || writer.run(&waiting))?);
        Ok(Self { jobs, bytes, desk, threads: Arc::new(Mutex::new(threads)), end, checks })
    }

    /// Hands a job on, without waiting.
    pub(super) fn submit(&self, job: Job) -> Result<(), Full> {
        let len = job.len();
        if self.bytes.fetch_add(len, Relaxed).saturating_add(len) > WAITING_BYTES
            || self.jobs.try_send(job).is_err()
        {
            self.bytes.fetch_sub(len, Relaxed);
            return Err(Full);
        }
        Ok(())
    }

    /// Does what waits, as far as it can be done by `end`, and ends the threads.
    pub(super) fn close(&self, end: Instant) {
        self.desk.close();
        let _ = self.end.set(end);
        let _ = self.checks.try_send(());
        let _ = self.jobs.send(Job::Close);
        let threads = core::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// Looks passwords up.
struct Clerk {
    reader: Reader,
    hasher: Arc<Hasher>,
    desk: Arc<Desk>,
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
    discreet: bool,
}

impl Clerk {
    fn run(self) {
        let mut memory = Memory::default();
        while let Some(work) = self.desk.next() {
            match work {
                Work::Look(line, attempt) => self.look(line, &attempt, &mut memory),
                Work::Refuse(attempts) => self.shared.call(|server, now| {
                    attempts
                        .iter()
                        .for_each(|attempt| refuse(server, now, attempt.ticket, Code::REQUEST_OVER_LIMIT));
                }),
            }
        }
    }

    fn look(&self, line: u64, attempt: &Attempt, memory: &mut Memory) {
        let Attempt { ticket, peer, username, register, .. } = attempt;
        let result = match self.reader.password(username) {
            Err(error) => {
                tracing::error!(%error, "the database cannot be read");
                Err(Code::SERVER_UNAVAILABLE)
            }
            Ok(stored) if *register => self.register(attempt, stored.is_some(), memory),
            Ok(stored) => self.log_in(attempt, stored.as_deref(), memory),
        };
        let verdict = match result {
            Ok(_) if !register => Verdict::LetIn,
            Err(Code::USER_WRONG_PASSWORD | Code::USER_DOES_NOT_EXIST) => Verdict::Wrong,
            _ => Verdict::Neither,
        };
        self.desk.done(line, verdict);
        match result {
            // Waits if the database is busy; these threads may.
            Ok(jobs) => jobs.into_iter().for_each(|job| drop(self.jobs.send(job))),
            Err(code) => {
                if verdict == Verdict::Wrong {
                    self.shared.wrong_passwords.fetch_add(1, Relaxed);
                    tracing::info!(%peer, name = ?Text(username), "log-in refused");
                }
                self.shared.call(|server, now| refuse(server, now, *ticket, code));
            }
        }
    }

    fn register(&self, attempt: &Attempt, exists: bool, memory: &mut Memory) -> Result<Vec<Job>, Code> {
        if exists {
            return Err(Code::USER_ALREADY_EXIST);
        }
        let password = self.hasher.hash(memory, &attempt.password).map_err(|error| {
            tracing::error!(error, "a password cannot be hashed");
            Code::SERVER_UNAVAILABLE
        })?;
        Ok(vec![Job::Register { ticket: attempt.ticket, username: attempt.username.clone(), password }])
    }

    fn log_in(&self, attempt: &Attempt, stored: Option<&str>, memory: &mut Memory) -> Result<Vec<Job>, Code> {
        let Attempt { ticket, peer, username, password, .. } = attempt;
        let admit = Job::Admit { ticket: *ticket, peer: *peer, username: username.clone() };
        match self.hasher.check(memory, password, stored) {
            Check::Right => Ok(vec![admit]),
            Check::Outdated(password) => {
                Ok(vec![admit, Job::Rehash { username: username.clone(), password }])
            }
            // It took as long as if there were such a user.
            Check::Wrong if stored.is_none() && !self.discreet => Err(Code::USER_DOES_NOT_EXIST),
            Check::Wrong => Err(Code::USER_WRONG_PASSWORD),
        }
    }
}

/// Writes to the database.
struct Writer {
    store: Store,
    shared: Arc<Shared>,
    bytes: Arc<AtomicUsize>,
    end: Arc<OnceLock<Instant>>,
    undeleted: Undeleted,
    mail: Mail,
    /// Messages to be kept.
    keeps: VecDeque<Job>,
    /// When to look for messages that nobody has fetched for too long.
    drop_at: Instant,
}

/// Connections to which the next part of what is kept can be delivered, in the order of their turns. It is read for one of them at a time, in
/// between the other jobs, so that nobody's mail holds up a log-in, and no more than one part is in memory.
#[derive(Debug, Default)]
struct Mail {
    turns: VecDeque<PeerId>,
    /// Whose it is, and whether what was delivered to that connection is left out: it has been read.
    of: BTreeMap<PeerId, (Box<[u8]>, bool)>,
}

impl Mail {
    fn add(&mut self, peer: PeerId, username: Box<[u8]>, next: bool) {
        match self.of.get_mut(&peer) {
            Some(before) => *before = (username, next || before.1),
            None if self.turns.len() < WAITING => {
                self.turns.push_back(peer);
                self.of.insert(peer, (username, next));
            }
            // They come with what is received.
            None => {}
        }
    }

    /// The next one to which it `may` be delivered; the others are forgotten.
    fn next(&mut self, mut may: impl FnMut(PeerId, &[u8]) -> bool) -> Option<(PeerId, Box<[u8]>, bool)> {
        while let Some(peer) = self.turns.pop_front() {
            if let Some((username, next)) = self.of.remove(&peer).filter(|(username, _)| may(peer, username))
            {
                return Some((peer, username, next));
            }
        }
        None
    }
}

/// What could not be deleted.
#[derive(Debug, Default)]
struct Undeleted {
    /// Messages that have arrived, by user: they are not delivered again, and deleted when that is possible.
    messages: BTreeMap<Box<[u8]>, BTreeSet<i64>>,
    count: usize,
    /// Groups that are forgotten: they are deleted before there is another of that name. (There are no more than in the database.)
    groups: BTreeSet<Box<[u8]>>,
}

/// How many of these are remembered.
const UNDELETED: usize = 100_000;

impl Undeleted {
    fn of(&self, username: &[u8]) -> &BTreeSet<i64> {
        const NONE: &BTreeSet<i64> = &BTreeSet::new();
        self.messages.get(username).unwrap_or(NONE)
    }

    fn add(&mut self, username: &[u8], messages: &[i64]) {
        let set = self.messages.entry(username.into()).or_default();
        for message in messages.iter().take(UNDELETED.saturating_sub(self.count)) {
            self.count = self.count.saturating_add(usize::from(set.insert(*message)));
        }
    }

    /// They are deleted now.
    fn clear(&mut self, username: &[u8]) {
        let cleared = self.messages.remove(username).map_or(0, |messages| messages.len());
        self.count = self.count.saturating_sub(cleared);
    }
}

/// When the database is looked through while the server runs.
const CHECKS: Duration = Duration::from_secs(6 * 60 * 60);

/// When old messages are looked for.
const DROPS: Duration = Duration::from_secs(60 * 60);

/// Looks for damage that nobody has met yet.
fn check_now_and_then(reader: &Reader, ended: &Receiver<()>, damaged: &AtomicBool, every: Duration) {
    while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        judge(reader.damage(), damaged);
        // These stop nobody else's.
        match reader.unsound() {
            Ok(messages) if messages.is_empty() => {}
            Ok(messages) => {
                damaged.store(true, Relaxed);
                let first: Vec<i64> = messages.iter().copied().take(20).collect();
                tracing::error!(count = messages.len(), ?first, "kept messages are damaged: restore a copy");
            }
            Err(error) => tracing::warn!(%error, "kept messages could not be checked: tried again later"),
        }
    }
}

/// Says what a check of the database has come to. One that could not be done says nothing about the database.
fn judge(check: rusqlite::Result<Option<String>>, damaged: &AtomicBool) {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let damage = match check {
        Ok(None) => return damaged.store(false, Relaxed),
        Ok(Some(damage)) => damage,
        Err(error) if matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) => {
            error.to_string()
        }
        Err(error) => {
            return tracing::warn!(%error, "the database could not be checked: it is tried again later");
        }
    };
    damaged.store(true, Relaxed);
    tracing::error!(damage, "the database is damaged: stop the server, and restore a copy");
}

impl Writer {
    fn new(store: Store, shared: Arc<Shared>, bytes: Arc<AtomicUsize>, end: Arc<OnceLock<Instant>>) -> Self {
        let (undeleted, mail, keeps, drop_at) = Default::default();
        Self { store, shared, bytes, end, undeleted, mail, keeps, drop_at }
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        let mut open = true;
        while open || !self.keeps.is_empty() {
            self.drop_old();
            let (batch, len) = self.next_batch(jobs, &mut open);
            match self.commit(batch) {
                Ok(()) => {}
                // It is so for all of them, and each would wait for it anew.
                Err((error, batch)) if is_busy(&error) => self.fail(&error, batch),
                Err((_, batch)) => self.commit_each(batch),
            }
            self.bytes.fetch_sub(len, Relaxed);
            if open {
                self.deliver_next();
            }
        }
        self.store.checkpoint();
    }

    /// What is done next in one transaction, and the bytes of messages in it. Messages to be kept come behind the other jobs, a few at a
    /// time: so many of them that they take long hold up no log-in. No more jobs are awaited once it is not `open` any more.
    fn next_batch(&mut self, jobs: &Receiver<Job>, open: &mut bool) -> (Vec<Job>, usize) {
        let mut batch = Vec::new();
        let idle = self.mail.turns.is_empty() && self.keeps.is_empty();
        let mut next = match *open {
            true if idle => {
                let job = jobs.recv().ok();
                *open = job.is_some();
                job
            }
            true => jobs.try_recv().ok(),
            false => None,
        };
        let mut taken = 0_usize;
        while let Some(job) = next.take() {
            match job {
                Job::Close => *open = false,
                job @ Job::Keep { .. } => self.keeps.push_back(job),
                // Nothing is written for it.
                Job::Next { peer, username } => self.mail.add(peer, username, true),
                Job::Received { peer, username, messages }
                    if messages.is_empty() && self.undeleted.of(&username).is_empty() =>
                {
                    self.mail.add(peer, username, false);
                }
                job => batch.push(job),
            }
            taken = taken.saturating_add(1);
            if *open && taken < BATCH && self.keeps.len() < WAITING {
                next = jobs.try_recv().ok();
            }
        }
        let (mut len, mut copies) = (0_usize, 0_usize);
        while len < BATCH_BYTES && copies < COPIES {
            let Some(job) = self.keeps.pop_front() else { break };
            len = len.saturating_add(job.len());
            copies = copies.saturating_add(job.copies());
            batch.push(job);
        }
        (batch, len)
    }

    /// One of `batch` may have spoiled it for all: messages to be kept most of all, where there is no room.
    fn commit_each(&mut self, batch: Vec<Job>) {
        let (kept, rest): (Vec<Job>, Vec<Job>) =
            batch.into_iter().partition(|job| matches!(job, Job::Keep { .. }));
        let rest = self.commit(rest).map_or_else(|(_, rest)| rest, |()| Vec::new());
        for job in rest.into_iter().chain(kept) {
            let makes_room = matches!(job, Job::Received { .. } | Job::ForgetGroup { .. });
            let result = match self.commit(vec![job]) {
                // What is delivered must not be delivered again because it cannot be deleted.
                Err((error, batch)) if makes_room && is_full(&error) && self.store.release_reserve() => {
                    self.commit(batch)
                }
                result => result,
            };
            if let Err((error, batch)) = result {
                self.fail(&error, batch);
            }
        }
    }

    /// Tells those who wait for `batch` that it cannot be done.
    fn fail(&mut self, error: &rusqlite::Error, batch: Vec<Job>) {
        tracing::error!(%error, "the database cannot be written");
        let code = if is_full(error) { Code::REQUEST_OVER_LIMIT } else { Code::SERVER_UNAVAILABLE };
        for job in batch {
            match job {
                // The order goes on: the next ones are delivered, and these are not delivered again.
                Job::Received { peer, username, messages } => {
                    self.undeleted.add(&username, &messages);
                    self.mail.add(peer, username, false);
                }
                Job::ForgetGroup { group_name } => drop(self.undeleted.groups.insert(group_name)),
                job => {
                    if let Some(ticket) = job.ticket() {
                        self.shared.call(|server, now| refuse(server, now, ticket, code));
                    }
                }
            }
        }
    }

    /// Does all of `batch` in one transaction, or nothing, and tells who waits for it.
    fn commit(&mut self, batch: Vec<Job>) -> Result<(), (rusqlite::Error, Vec<Job>)> {
        if batch.is_empty() {
            return Ok(());
        }
        let late = self.end.get().is_some_and(|end| self.shared.clock.now() > *end);
        let full = batch.iter().any(|job| matches!(job, Job::Keep { .. })) && !self.store.restore_reserve();
        if late || full {
            let code = if late { rusqlite::ffi::SQLITE_BUSY } else { rusqlite::ffi::SQLITE_FULL };
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            return Err((error, batch));
        }
        self.shared.transactions.fetch_add(1, Relaxed);
        self.undeleted.groups.append(&mut self.shared.forgotten());
        let undeleted = &self.undeleted;
        let done =
            self.store.transaction(|store| batch.iter().map(|job| perform(store, job, undeleted)).collect());
        let done: Vec<Done> = match done {
            Ok(done) => done,
            Err(error) => return Err((error, batch)),
        };
        for job in &batch {
            match job {
                Job::Received { username, .. } => self.undeleted.clear(username),
                Job::CreateGroup { group_name, .. } | Job::ForgetGroup { group_name } => {
                    self.undeleted.groups.remove(group_name);
                }
                _ => {}
            }
        }
        batch.into_iter().zip(done).for_each(|(job, done)| self.tell(job, done));
        Ok(())
    }

    /// Tells the session what is on the disk now.
    fn tell(&mut self, job: Job, done: Done) {
        let never = Code::SERVER_UNAVAILABLE;
        match (job, done) {
            (Job::Register { ticket, .. }, Done::Outcome(outcome)) => {
                self.answer(ticket, outcome, Code::USER_ALREADY_EXIST, never);
            }
            (Job::AddContact { ticket, .. }, Done::Outcome(outcome)) => {
                self.answer(ticket, outcome, never, Code::USER_DOES_NOT_EXIST);
            }
            (Job::CreateGroup { ticket, .. }, Done::Outcome(outcome)) => {
                self.answer(ticket, outcome, Code::GROUP_ALREADY_EXIST, never);
            }
            (Job::JoinGroup { ticket, .. }, Done::Outcome(outcome)) => {
                self.answer(ticket, outcome, Code::GROUP_MEMBER_ALREADY_EXIST, never);
            }
            (Job::Admit { ticket, peer, username }, _) => self.admit(ticket, peer, &username),
            (Job::Received { peer, username, .. }, _) => self.mail.add(peer, username, false),
            (Job::Keep { ticket, recipients, body, .. }, Done::Message(message)) => {
                self.shared.call(|server, now| self.kept(server, now, ticket, &recipients, &body, message));
            }
            _ => {}
        }
    }

    fn answer(&self, ticket: Ticket, outcome: Outcome, exists: Code, unknown: Code) {
        let command = match outcome {
            Outcome::Done => ServerCommand::Allow { ticket },
            Outcome::Exists => ServerCommand::Refuse { ticket, code: exists },
            Outcome::Unknown => ServerCommand::Refuse { ticket, code: unknown },
            Outcome::Full => ServerCommand::Refuse { ticket, code: Code::REQUEST_OVER_LIMIT },
        };
        self.shared.call(|server, now| {
            // Fails only if it has been answered, which it has not.
            let _ = server.handle_command(now, command);
        });
    }

    /// Lets somebody in, behind the first part of what is kept.
    fn admit(&self, ticket: Ticket, peer: PeerId, username: &[u8]) {
        let admit = |server: &mut Server, now: Instant, mail: &[(i64, ServerMessage<'_>)]| {
            self.deliver(server, now, peer, username, mail);
            let token = uuid::Uuid::new_v4().hyphenated().to_string();
            let token = Secret(token.as_bytes());
            let admitted = server.handle_command(now, ServerCommand::Admit { ticket, token }).is_ok();
            if admitted && server.username(peer) == Some(username) {
                let address = server.address(peer).map(|from| from.ip());
                tracing::info!(%peer, name = ?Text(username), ?address, "logged in");
            }
        };
        // It may be gone by now, or be there for requests alone.
        let done = match self.shared.call(|server, _| server.may_deliver(peer, username)) {
            true => next_part(&self.store, username, self.undeleted.of(username), |mail| {
                self.shared.call(|server, now| admit(server, now, mail));
            }),
            false => {
                self.shared.call(|server, now| admit(server, now, &[]));
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::error!(%error, "the database cannot be read");
            self.shared.call(|server, now| refuse(server, now, ticket, Code::SERVER_UNAVAILABLE));
        }
    }

    /// Drops messages that nobody has fetched for too long: some now and then, and the next ones behind the next jobs.
    fn drop_old(&mut self) {
        let now = self.shared.clock.now();
        if now < self.drop_at {
            return;
        }
        let dropped = self.store.transaction(Store::drop_old);
        if !matches!(dropped, Ok(DROPPED)) {
            self.drop_at = now.saturating_add(DROPS);
        }
        match dropped {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "kept messages that nobody fetched are dropped"),
            Err(error) => tracing::warn!(%error, "old messages could not be dropped: tried again later"),
        }
    }

    /// Delivers the next part of what is kept to the connection whose turn it is.
    fn deliver_next(&mut self) {
        let Self { shared, mail, .. } = self;
        if mail.turns.is_empty() {
            return;
        }
        let next = shared.call(|server, _| mail.next(|peer, username| server.may_deliver(peer, username)));
        let Some((peer, username, next)) = next else { return };
        let mut without = self.undeleted.of(&username).clone();
        if next {
            without.extend(self.shared.delivered().of(peer));
        }
        let done = next_part(&self.store, &username, &without, |mail| {
            self.shared.call(|server, now| {
                if server.may_deliver(peer, &username) {
                    self.deliver(server, now, peer, &username, mail);
                }
            });
        });
        if let Err(error) = done {
            tracing::error!(%error, "the database cannot be read");
        }
    }

    /// Sends kept messages; they stay until they have arrived.
    fn deliver(
        &self,
        server: &mut Server,
        now: Instant,
        peer: PeerId,
        username: &[u8],
        mail: &[(i64, ServerMessage<'_>)],
    ) {
        for &(id, update) in mail {
            if self.shared.delivered().has(peer, id) {
                continue;
            }
            // What does not go now waits for the next time.
            if server.handle_command(now, ServerCommand::Deliver { peer, update }).is_err() {
                return;
            }
            self.shared.delivered().add(peer, username, [id]);
        }
    }

    /// A message is kept. Some for whom it is may have logged in meanwhile.
    fn kept(
        &self,
        server: &mut Server,
        now: Instant,
        ticket: Ticket,
        recipients: &[Box<[u8]>],
        body: &[u8],
        message: Keeping,
    ) {
        let id = match message {
            Keeping::Kept(id) => id,
            Keeping::Unknown => return refuse(server, now, ticket, Code::USER_NOT_CONNECTED),
            Keeping::Full => return refuse(server, now, ticket, Code::MAILBOX_FULL),
            Keeping::NoRoom => return refuse(server, now, ticket, Code::REQUEST_OVER_LIMIT),
        };
        self.shared.kept.fetch_add(1, Relaxed);
        for recipient in recipients {
            let connections = server.connections(recipient).to_vec();
            for peer in connections {
                if let Ok(update) = ServerMessage::decode(body, &Wire::CLIENT) {
                    self.deliver(server, now, peer, recipient, &[(id, update)]);
                }
            }
        }
        let _ = server.handle_command(now, ServerCommand::Allow { ticket });
    }
}

/// Hands what is kept for a user and can be delivered next to `f`. Empty only if there is no more: nothing follows a part of which nothing
/// is sent.
fn next_part<R>(
    store: &Store,
    username: &[u8],
    without: &BTreeSet<i64>,
    f: impl FnOnce(&[(i64, ServerMessage<'_>)]) -> R,
) -> rusqlite::Result<R> {
    loop {
        let part = store.kept(username, DELIVERY, without)?;
        let mut updates = Vec::new();
        for Kept { id, body } in &part {
            match ServerMessage::decode(body, &Wire::CLIENT) {
                Ok(update) => updates.push((*id, update)),
                // It is left out from now on.
                Err(_) => store.skip(*id, "its body is no message"),
            }
        }
        if part.is_empty() || !updates.is_empty() {
            return Ok(f(&updates));
        }
    }
}

/// Does one job within a transaction.
fn perform(store: &Store, job: &Job, undeleted: &Undeleted) -> rusqlite::Result<Done> {
    Ok(match job {
        Job::Register { username, password, .. } => Done::Outcome(store.register(username, password)?),
        Job::Rehash { username, password } => Done::Outcome(store.rehash(username, password)?),
        Job::AddContact { username, contact, store: keep, .. } => {
            Done::Outcome(store.add_contact(username, contact, *keep)?)
        }
        Job::CreateGroup { group_name, owner, .. } => {
            if undeleted.groups.contains(group_name) {
                store.forget_group(group_name)?;
            }
            Done::Outcome(store.create_group(group_name, owner)?)
        }
        Job::JoinGroup { group_name, username, .. } => Done::Outcome(store.join_group(group_name, username)?),
        Job::ForgetGroup { group_name } => Done::Outcome(store.forget_group(group_name)?),
        Job::UseGroup { group_name } => Done::Outcome(store.use_group(group_name)?),
        Job::Keep { sender, source, recipients, body, .. } => {
            Done::Message(store.keep(sender, source.as_deref(), recipients, body)?)
        }
        Job::Received { username, messages, .. } => {
            let all = messages.iter().chain(undeleted.of(username));
            all.into_iter().try_for_each(|message| store.received(username, *message))?;
            Done::Outcome(Outcome::Done)
        }
        // Kept messages are read when it is done.
        Job::Admit { .. } | Job::Next { .. } | Job::Close => Done::Outcome(Outcome::Done),
    })
}

impl Job {
    /// Bytes of messages in it.
    const fn len(&self) -> usize {
        match self {
            Self::Keep { body, .. } => body.len(),
            _ => 0,
        }
    }

    /// Copies of messages in it.
    const fn copies(&self) -> usize {
        match self {
            Self::Keep { recipients, .. } => recipients.len(),
            _ => 0,
        }
    }

    /// Which question it answers.
    const fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Register { ticket, .. }
            | Self::Admit { ticket, .. }
            | Self::AddContact { ticket, .. }
            | Self::CreateGroup { ticket, .. }
            | Self::JoinGroup { ticket, .. }
            | Self::Keep { ticket, .. } => Some(*ticket),
            Self::Rehash { .. }
            | Self::Received { .. }
            | Self::Next { .. }
            | Self::ForgetGroup { .. }
            | Self::UseGroup { .. }
            | Self::Close => None,
        }
    }
}

impl Shared {
    /// Runs `f` on the session.
    fn call<R>(&self, f: impl FnOnce(&mut Server, Instant) -> R) -> R {
        // Set as soon as the first client can be there.
        self.hub.wait().call(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::store::Quotas;
    use std::sync::mpsc::channel;

    /// A writer without a session.
    fn writer(folder: &std::path::Path) -> Writer {
        let (accounts, contacts, kept, kept_bytes) = (4, 2, 8, 400);
        let quotas = Quotas { accounts, contacts, kept, kept_bytes, database: 1 << 30, age: Duration::ZERO };
        let store = Store::open(folder, quotas).unwrap();
        let shared = Arc::new(Shared {
            clock: voxwire_core::Clock::start(),
            damaged: AtomicBool::new(false),
            hub: OnceLock::new(),
            delivered: Mutex::default(),
            wrong_passwords: 0.into(),
            kept: 0.into(),
            transactions: 0.into(),
            forgotten: Mutex::default(),
        });
        let (bytes, end) = Default::default();
        Writer::new(store, shared, bytes, end)
    }

    /// F-37: the gauge `damaged` is set by the check that runs while the server does.
    #[test]
    fn damage_that_comes_later_is_found() {
        let folder = std::env::temp_dir().join(format!("voxwire-keeper-damage-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let quotas = Quotas {
            accounts: 4,
            contacts: 2,
            kept: 8,
            kept_bytes: 400,
            database: 1 << 30,
            age: Duration::ZERO,
        };
        let store = Store::open(&folder, quotas).unwrap();
        let made = store.transaction(|store| store.register(b"ann", "$argon2id$v=19$x$y"));
        assert_eq!(made.unwrap(), Outcome::Done);
        let (reader, damaged) = (Reader::open(&folder).unwrap(), AtomicBool::new(false));
        let look = || {
            let (end, ended) = channel();
            let stop = std::thread::spawn(move || {
                std::thread::park_timeout(Duration::from_millis(100));
                drop(end);
            });
            check_now_and_then(&reader, &ended, &damaged, Duration::from_millis(10));
            stop.join().unwrap();
            damaged.load(Relaxed)
        };
        assert!(!look());
        let db = rusqlite::Connection::open(folder.join("msgpack.db")).unwrap();
        db.execute("UPDATE users SET password = 'x'", []).unwrap();
        assert!(look());
        db.execute("UPDATE users SET password = '$argon2id$v=19$x$y'", []).unwrap();
        assert!(!look());
        // F-49
        db.execute("INSERT INTO messages (body, checksum) VALUES (x'61', 1)", []).unwrap();
        assert!(look());
        drop((store, reader));
        let _ = std::fs::remove_dir_all(&folder);
    }

    /// F-37: a check that could not be done is no damage, and a later one that is clean clears the gauge.
    #[test]
    fn only_damage_is_reported_as_damage() {
        use rusqlite::ffi::{Error, SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_IOERR, SQLITE_NOTADB};
        let error = |code| Err(rusqlite::Error::SqliteFailure(Error::new(code), None));
        let damaged = AtomicBool::new(false);
        for code in [SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_IOERR] {
            judge(error(code), &damaged);
            assert!(!damaged.load(Relaxed), "{code}");
        }
        judge(error(SQLITE_NOTADB), &damaged);
        assert!(damaged.load(Relaxed));
        judge(error(SQLITE_BUSY), &damaged);
        assert!(damaged.load(Relaxed), "nothing is known anew");
        judge(Ok(None), &damaged);
        assert!(!damaged.load(Relaxed));
    }

    /// F-49: a part of the mail that holds nothing but damaged messages does not end the delivery.
    #[test]
    fn what_is_kept_behind_a_part_of_damaged_messages_is_delivered() {
        let folder = std::env::temp_dir().join(format!("voxwire-keeper-part-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let quotas = Quotas {
            accounts: 4,
            contacts: 2,
            kept: 64,
            kept_bytes: 1 << 26,
            database: 1 << 30,
            age: Duration::ZERO,
        };
        let store = Store::open(&folder, quotas).unwrap();
        let update = ServerMessage::Whisper { sender: "eve".into(), content: "sound".into() };
        let mut sound = Vec::new();
        update.encode(&Wire::SERVER, &mut sound).unwrap();
        for name in [b"ann", b"eve"] {
            store.transaction(|store| store.register(name, "$argon2id$v=19$x$y")).unwrap();
        }
        // The checksum is right, and so are two parts of 1 MiB each.
        for body in [&vec![0; DELIVERY], &vec![0; DELIVERY], &sound] {
            let recipients = [b"ann"[..].into()];
            let kept = store.transaction(|store| store.keep(b"eve", None, &recipients, body)).unwrap();
            assert!(matches!(kept, Keeping::Kept(_)));
        }
        let mail = next_part(&store, b"ann", &BTreeSet::new(), |mail| format!("{mail:?}"));
        assert_eq!(mail.unwrap(), format!("{:?}", [(3, update)]));
        drop(store);
        let _ = std::fs::remove_dir_all(&folder);
    }

    /// M-08: mail is read for one connection after the other, and for none that is not there any more.
    #[test]
    fn mail_is_read_by_turns_for_those_who_are_there() {
        let mut mail = Mail::default();
        let peer = |slot| PeerId { slot, generation: 0 };
        for slot in [1, 2, 1, 3, 1] {
            mail.add(peer(slot), b"ann"[..].into(), slot == 3);
        }
        mail.add(peer(1), b"ann"[..].into(), true);
        mail.add(peer(1), b"ann"[..].into(), false);
        let asked = &mut Vec::new();
        let mut next = || {
            mail.next(|peer, _| {
                asked.push(peer.slot);
                peer.slot != 2
            })
        };
        assert_eq!(next(), Some((peer(1), b"ann"[..].into(), true)));
        assert_eq!(next(), Some((peer(3), b"ann"[..].into(), true)));
        assert_eq!(next(), None);
        assert_eq!(*asked, [1, 2, 3]);
        for slot in 0..10_000 {
            mail.add(peer(slot), b"ann"[..].into(), false);
        }
        assert_eq!((mail.turns.len(), mail.of.len()), (WAITING, WAITING));
    }

    /// M-08: messages for many who are away hold no log-in up.
    #[test]
    fn log_ins_do_not_wait_behind_messages_that_are_kept() {
        let folder = std::env::temp_dir().join(format!("voxwire-keeper-turns-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let mut writer = writer(&folder);
        let (jobs, waiting) = sync_channel(WAITING);
        let keep = |ticket, copies| Job::Keep {
            ticket: Ticket(ticket),
            sender: b"ann"[..].into(),
            source: None,
            recipients: vec![b"bob"[..].into(); copies],
            body: vec![7; 10],
        };
        let admit = |ticket| Job::Admit {
            ticket: Ticket(ticket),
            peer: PeerId { slot: 1, generation: 0 },
            username: b"ann"[..].into(),
        };
        let mut next = |open: &mut bool| {
            let (batch, len) = writer.next_batch(&waiting, open);
            (batch.iter().map(|job| job.ticket().unwrap().0).collect::<Vec<_>>(), len)
        };
        let mut open = true;
        for job in [keep(1, 999), keep(2, 1), keep(3, 999), keep(4, 1), admit(5)] {
            jobs.send(job).unwrap();
        }
        assert_eq!(next(&mut open), (vec![5, 1, 2], 20));
        jobs.send(admit(6)).unwrap();
        jobs.send(keep(7, 999)).unwrap();
        assert_eq!(next(&mut open), (vec![6, 3, 4], 20));
        // What waits when the server ends is done.
        for job in [keep(8, 2), Job::Close, admit(9)] {
            jobs.send(job).unwrap();
        }
        assert_eq!((next(&mut open), open), ((vec![7, 8], 20), false));
        assert_eq!(next(&mut open).0.len(), 0);
        drop(writer);
        let _ = std::fs::remove_dir_all(&folder);
    }

    /// F-12: the name of a group that could not be deleted is free all the same.
    #[test]
    fn a_forgotten_group_that_could_not_be_deleted_can_be_made_again() {
        let folder = std::env::temp_dir().join(format!("voxwire-keeper-forgotten-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let mut writer = writer(&folder);
        for name in [b"ann", b"bob"] {
            writer.store.register(name, "$argon2id$v=19$x$y").unwrap();
        }
        writer.store.create_group(b"room", b"ann").unwrap();
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        let busy = rusqlite::Error::SqliteFailure(busy, None);
        let forget = Job::ForgetGroup { group_name: b"room"[..].into() };
        writer.fail(&busy, vec![forget]);
        let (group_name, owner) = (b"room"[..].into(), b"bob"[..].into());
        let create = Job::CreateGroup { ticket: Ticket(1), group_name, owner };
        let made = perform(&writer.store, &create, &writer.undeleted).unwrap();
        assert!(matches!(made, Done::Outcome(Outcome::Done)));
        let made = perform(&writer.store, &create, &Undeleted::default()).unwrap();
        assert!(matches!(made, Done::Outcome(Outcome::Exists)));
        drop(writer);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
