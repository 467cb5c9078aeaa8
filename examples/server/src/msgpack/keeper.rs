//! The threads that may block: one that writes to the database, and those that hash passwords.

use super::checks::{CHECKS, check_now_and_then};
use super::clerk::Clerk;
use super::desk::Desk;
use super::job::{Done, Job, perform};
use super::mail::{Mail, next_part};
use super::passwords::{Hasher, THREADS};
use super::store::{DROPPED, Keeping, Outcome, Reader, Store, is_busy, is_full};
use super::undeleted::Undeleted;
use super::{Shared, refuse};
use crate::Error;
use crate::config::{Config, Profile, Protocol};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use voxwire_core::{Instant, Message, PeerId, Session};
use voxwire_msgpack::{Code, Secret, Server, ServerCommand, ServerMessage, Text, Ticket, Wire};

/// Jobs that may wait for the database. Each client has one at most.
pub(super) const WAITING: usize = 4096;
/// Bytes of messages that may wait for it.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Jobs done in one transaction, and bytes of messages.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Copies of messages that are stored in one transaction; one message may have more. Some 20 ms.
const COPIES: usize = 1000;

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

/// When old messages are looked for.
const DROPS: Duration = Duration::from_secs(60 * 60);

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

impl Shared {
    /// Runs `f` on the session.
    pub(super) fn call<R>(&self, f: impl FnOnce(&mut Server, Instant) -> R) -> R {
        // Set as soon as the first client can be there.
        self.hub.wait().call(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::store::Quotas;
    use std::sync::atomic::AtomicBool;

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
