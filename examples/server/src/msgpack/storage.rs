//! The threads that may block: one that writes to the database, and those that hash passwords.

use super::checks::{CHECKS, check_now_and_then};
use super::job::{Done, Job, perform};
use super::login_queue::LoginQueue;
use super::mail::{Mail, next_part};
use super::password_worker::PasswordWorker;
use super::passwords::{Hasher, THREADS};
use super::queue::{Batch, Queue};
use super::store::{Keeping, Outcome, Reader, Store, is_busy, is_full};
use super::turns::Source;
use super::undeleted::Undeleted;
use super::{Msgpack, Shared, refuse};
use crate::Error;
use crate::config::{Config, Profile};
use crate::logging::peer_span;
use crate::protocols::{Hosted as _, Protocol};
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use voxwire_core::{Clock, Instant, Message, Moderation as _, PeerId, Session};
use voxwire_msgpack::{
    Code, Secret, Server, ServerCommand, ServerMessage, ServerSettings, Text, Ticket, Wire,
};

/// Groups that are deleted in one transaction: each may have a thousand members.
const FORGOTTEN: usize = 16;
/// How long a client waits for its answer, a second less: who kept a message by then has said so.
const ANSWER: Duration = ServerSettings::DEFAULT.answer_timeout.saturating_sub(Duration::from_secs(1));

/// The door to the threads.
#[derive(Debug, Clone)]
pub(super) struct StorageHandle {
    queue: Arc<Queue>,
    logins: Arc<LoginQueue>,
    clock: Clock,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// When what still waits is given up.
    end: Arc<OnceLock<Instant>>,
    /// Ends the check of the database in the background.
    checks: SyncSender<()>,
}

impl StorageHandle {
    pub(super) fn start(
        store: Store,
        config: &Config,
        hasher: Hasher,
        logins: Arc<LoginQueue>,
        shared: Arc<Shared>,
    ) -> Result<Self, Error> {
        let (queue, clock) = (Arc::new(Queue::new()), shared.clock);
        let mut threads = Vec::new();
        let hasher = Arc::new(hasher);
        let discreet = config.profile_of(Protocol::MSGPACK) == Profile::Safe;
        for _ in 0..THREADS {
            let reader = Reader::open(&config.data).map_err(|error| Error::Database {
                path: config.data.join("msgpack.db"),
                error: error.to_string(),
            })?;
            let worker = PasswordWorker {
                reader,
                hasher: hasher.clone(),
                logins: logins.clone(),
                queue: queue.clone(),
                shared: shared.clone(),
                discreet,
            };
            threads.push(std::thread::Builder::new().name("passwords".into()).spawn(move || worker.run())?);
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
        let writer = Writer::new(store, shared, queue.clone(), end.clone());
        threads.push(std::thread::Builder::new().name("database".into()).spawn(move || writer.run())?);
        Ok(Self { queue, logins, clock, threads: Arc::new(Mutex::new(threads)), end, checks })
    }

    /// Hands a request on, or a message to be kept, which `account` pays for, and `network` unless many people share it. Returns the ones
    /// that cannot be done now, this one or others, and why.
    pub(super) fn ask(&self, network: Option<&[u8]>, account: &[u8], job: Job) -> Vec<(Ticket, Code)> {
        let source = match network {
            Some(network) => Source::Network(network.into()),
            None => Source::Account(account.into()),
        };
        self.queue.add(self.clock.now(), &source, account, job)
    }

    /// When a client is told that what it asks now cannot be done.
    pub(super) fn until(&self) -> Instant {
        self.clock.now().saturating_add(ANSWER)
    }

    /// What the session has found out; there is room for all of it.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Does what waits, as far as it can be done by `end`, and ends the threads.
    pub(super) fn close(&self, end: Instant) {
        self.logins.close();
        let _ = self.end.set(end);
        let _ = self.checks.try_send(());
        self.queue.close();
        let threads = core::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// Jobs of which nothing is done, and why.
type Undone = (rusqlite::Error, Vec<Job>);

/// Writes to the database.
struct Writer {
    store: Store,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    end: Arc<OnceLock<Instant>>,
    undeleted: Undeleted,
    /// Groups that are forgotten, to be deleted.
    forgotten: VecDeque<Box<[u8]>>,
    mail: Mail,
    /// When to look for messages that no user has fetched for too long.
    drop_at: Instant,
    /// When to look again whether the database can be written.
    look_at: Instant,
}

/// How often that is.
const AGAIN: Duration = Duration::from_secs(5);

/// When old messages are looked for.
const DROPS: Duration = Duration::from_secs(60 * 60);

impl Writer {
    fn new(store: Store, shared: Arc<Shared>, queue: Arc<Queue>, end: Arc<OnceLock<Instant>>) -> Self {
        let (undeleted, forgotten, mail, drop_at, look_at) = Default::default();
        Self { store, shared, queue, end, undeleted, forgotten, mail, drop_at, look_at }
    }

    fn run(mut self) {
        while self.step() {}
        self.store.checkpoint();
    }

    /// Does what is next. False if nothing comes any more.
    fn step(&mut self) -> bool {
        self.drop_old();
        self.look_again();
        let Batch { jobs, late, end, .. } = self.next_batch();
        if end {
            return false;
        }
        self.refuse(&late, Code::SERVER_UNAVAILABLE);
        match self.commit(jobs) {
            Ok(()) => {}
            // It is so for all of them, and each would wait for it anew.
            Err((error, batch)) if is_busy(&error) => self.fail(&error, batch),
            Err((_, batch)) => self.commit_each(batch),
        }
        self.deliver_next();
        true
    }

    /// Whether there can be a transaction: nobody may ask for one until the server says that it is ready. Nothing is written.
    fn look_again(&mut self) {
        let (now, transactions) = (self.shared.clock.now(), &self.shared.transactions);
        if now < self.look_at {
            return;
        }
        self.look_at = now.saturating_add(AGAIN);
        let begins = self.store.transaction(|_| Ok(())).is_ok();
        // Where it has failed before, the disk may have been full.
        let failed = transactions.failed.load(Relaxed) && !self.store.disk_has_room();
        transactions.failed.store(!begins || failed, Relaxed);
    }

    /// What is done next in one transaction.
    fn next_batch(&mut self) -> Batch {
        let clock = self.shared.clock;
        // Until old messages are looked for, which is now where there are more of them, or whether there can be a transaction.
        let wait = match self.mail.is_empty() && self.forgotten.is_empty() {
            true => self.drop_at.min(self.look_at).saturating_duration_since(clock.now()),
            false => Duration::ZERO,
        };
        let Batch { jobs, forgotten, late, end } = self.queue.take(wait, || clock.now());
        self.undeleted.groups.extend(forgotten.iter().cloned());
        self.forgotten.extend(forgotten);
        // Before there are others of those names.
        let mut batch = Vec::new();
        for group_name in self.forgotten.drain(..self.forgotten.len().min(FORGOTTEN)) {
            if self.undeleted.groups.contains(&group_name) {
                batch.push(Job::ForgetGroup { group_name });
            }
        }
        for job in jobs {
            match job {
                // Nothing is written for it.
                Job::Next { peer, username } => self.mail.add(peer, username, true),
                Job::Received { peer, username, messages, next }
                    if messages.is_empty() && self.undeleted.of(&username).is_empty() =>
                {
                    self.mail.add(peer, username, next);
                }
                job => batch.push(job),
            }
        }
        Batch { jobs: batch, late, end, ..Batch::default() }
    }

    fn refuse(&self, tickets: &[Ticket], code: Code) {
        if !tickets.is_empty() {
            self.shared.call(|server, now| {
                tickets.iter().for_each(|ticket| refuse(server, now, *ticket, code));
            });
        }
    }

    /// One of `batch` may have spoiled it for all: messages to be kept most of all, where there is no room.
    fn commit_each(&mut self, batch: Vec<Job>) {
        let (done, undone) = self.write_each(batch);
        // First: what could not be deleted is left out of the mail of those who are let in.
        for (error, batch) in undone {
            self.fail(&error, batch);
        }
        for (job, done) in done {
            self.tell(job, done);
        }
    }

    /// Does what can be done of `batch`. What each would wait for in vain, or write in vain, is tried once.
    fn write_each(&mut self, batch: Vec<Job>) -> (Vec<(Job, Done)>, Vec<Undone>) {
        let (mut kept, rest): (Vec<Job>, Vec<Job>) = batch.into_iter().partition(Job::is_keep);
        // Where there is no room for one, there is none for those that are larger.
        kept.sort_by_key(Job::cost);
        let (mut done, mut undone) = (Vec::new(), Vec::new());
        let rest = match self.write(rest) {
            Ok(all) => {
                done.extend(all);
                Vec::new()
            }
            Err((_, rest)) => rest,
        };
        let mut jobs: VecDeque<Job> = rest.into_iter().chain(kept).collect();
        while let Some(job) = jobs.pop_front() {
            let (keeps, makes_room) = (job.is_keep(), job.makes_room());
            let result = match self.write(vec![job]) {
                // What is delivered must not be delivered again because it cannot be deleted.
                Err((error, batch)) if makes_room && is_full(&error) && self.store.release_reserve() => {
                    self.write(batch)
                }
                result => result,
            };
            match result {
                Ok(one) => done.extend(one),
                Err((error, mut batch)) => {
                    if is_busy(&error) || keeps && is_full(&error) {
                        batch.extend(jobs.drain(..));
                    }
                    undone.push((error, batch));
                }
            }
        }
        (done, undone)
    }

    /// Tells those who wait for `batch` that it cannot be done.
    fn fail(&mut self, error: &rusqlite::Error, batch: Vec<Job>) {
        tracing::error!(%error, "the database cannot be written");
        let code = if is_full(error) { Code::REQUEST_OVER_LIMIT } else { Code::SERVER_UNAVAILABLE };
        for job in batch {
            match job {
                // The order goes on: the next ones are delivered, and these are not delivered again.
                Job::Received { peer, username, messages, next } => {
                    self.undeleted.add(&username, &messages);
                    self.mail.add(peer, username, next);
                }
                Job::Delete { username, messages } => self.undeleted.add(&username, &messages),
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
    fn commit(&mut self, batch: Vec<Job>) -> Result<(), Undone> {
        for (job, done) in self.write(batch)? {
            self.tell(job, done);
        }
        Ok(())
    }

    /// Does all of `batch` in one transaction, or nothing.
    fn write(&mut self, batch: Vec<Job>) -> Result<Vec<(Job, Done)>, Undone> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let late = self.end.get().is_some_and(|end| self.shared.clock.now() > *end);
        let keeps = batch.iter().any(Job::is_keep);
        let full = keeps && !(self.store.restore_reserve() && self.store.shorten_journal());
        let Shared { transactions, clock, .. } = &*self.shared;
        if late || full {
            transactions.failed.store(full && !self.store.disk_has_room(), Relaxed);
            let code = if late { rusqlite::ffi::SQLITE_BUSY } else { rusqlite::ffi::SQLITE_FULL };
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            return Err((error, batch));
        }
        let undeleted = &self.undeleted;
        let store = &self.store;
        let write =
            || store.transaction(|store| batch.iter().map(|job| perform(store, job, undeleted)).collect());
        let is_fault = |error: &rusqlite::Error| !is_full(error) || !store.disk_has_room();
        let done = transactions.measure(*clock, write, is_fault);
        let mut done: Vec<Done> = match done {
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
        self.take_back(&batch, &mut done);
        Ok(batch.into_iter().zip(done).collect())
    }

    /// Where the disk took so long that the senders have been told by now that their messages are not kept, they are not.
    fn take_back(&self, batch: &[Job], done: &mut [Done]) {
        let now = self.shared.clock.now();
        let mut kept = Vec::new();
        for (job, done) in batch.iter().zip(done) {
            if let (Job::Keep { until, .. }, Done::Message(Keeping::Kept(id))) = (job, &done)
                && *until <= now
            {
                kept.push(*id);
                *done = Done::Message(Keeping::Late);
            }
        }
        if kept.is_empty() {
            return;
        }
        let taken_back =
            self.store.transaction(|store| kept.iter().try_for_each(|id| store.drop_message(*id)));
        match taken_back {
            Ok(()) => tracing::warn!(count = kept.len(), "the disk is too slow: messages are not kept"),
            Err(error) => {
                tracing::error!(%error, ?kept, "messages are kept whose senders were told they are not")
            }
        }
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
            (Job::Received { peer, username, next, .. }, _) => self.mail.add(peer, username, next),
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

    /// Lets a user in, behind the first part of what is kept.
    fn admit(&mut self, ticket: Ticket, peer: PeerId, username: &[u8]) {
        let admit = |server: &mut Server, now: Instant, mail: &[(i64, ServerMessage<'_>)]| {
            let again = self.deliver(server, now, peer, username, mail);
            let token = uuid::Uuid::new_v4().hyphenated().to_string();
            let token = Secret(token.as_bytes());
            let admitted = server.handle_command(now, ServerCommand::Admit { ticket, token }).is_ok();
            if admitted && server.name(peer) == Some(username) {
                let _peer = peer_span(Msgpack::NAME, server.address(peer)).entered();
                tracing::info!(%peer, name = ?Text(username), "logged in");
                if let Some(control) = &self.shared.control {
                    control.changed(Msgpack::NAME, server, now, peer);
                }
                self.shared.tap.came(server, now, peer);
            }
            again
        };
        // It may be gone by now, or be there for requests alone.
        let done = match self.shared.call(|server, _| server.may_deliver(peer, username)) {
            true => next_part(&self.store, username, &self.unwanted(username), |mail| {
                self.shared.call(|server, now| admit(server, now, mail))
            }),
            false => Ok(self.shared.call(|server, now| admit(server, now, &[]))),
        };
        match done {
            Ok(false) => {}
            Ok(true) => self.mail.add(peer, username.into(), false),
            Err(error) => {
                tracing::error!(%error, "the database cannot be read");
                self.shared.call(|server, now| refuse(server, now, ticket, Code::SERVER_UNAVAILABLE));
            }
        }
    }

    /// What is as good as deleted: a user has it.
    fn unwanted(&self, username: &[u8]) -> BTreeSet<i64> {
        let mut unwanted = self.queue.arrived_of(username);
        unwanted.extend(self.undeleted.of(username));
        unwanted
    }

    /// Drops messages that no user has fetched for too long: some now and then, and the next ones behind the jobs that wait, if any do.
    fn drop_old(&mut self) {
        let now = self.shared.clock.now();
        if now < self.drop_at {
            return;
        }
        let dropped = self.store.transaction(Store::drop_old);
        if !matches!(dropped, Ok((_, true))) {
            self.drop_at = now.saturating_add(DROPS);
        }
        match dropped {
            Ok((0, _)) => {}
            Ok((count, _)) => tracing::info!(count, "kept messages that nobody fetched are dropped"),
            Err(error) => tracing::warn!(%error, "old messages could not be dropped: tried again later"),
        }
    }

    /// Delivers the next part of what is kept to the connection whose turn it is.
    fn deliver_next(&mut self) {
        let Self { shared, mail, .. } = &mut *self;
        if mail.is_empty() {
            return;
        }
        let next = shared.call(|server, _| mail.next(|peer, username| server.may_deliver(peer, username)));
        let Some((peer, username, next)) = next else { return };
        let mut without = self.unwanted(&username);
        if next {
            without.extend(self.shared.delivered().of(peer));
        }
        let done = next_part(&self.store, &username, &without, |mail| {
            self.shared.call(|server, now| {
                server.may_deliver(peer, &username) && self.deliver(server, now, peer, &username, mail)
            })
        });
        match done {
            Ok(false) => {}
            Ok(true) => self.mail.add(peer, username, next),
            Err(error) => tracing::error!(%error, "the database cannot be read"),
        }
    }

    /// Sends kept messages; they stay until they have arrived. True if the next ones have to be looked for: all of these have arrived on
    /// other connections meanwhile, and nothing that is sent to this one will show that it takes more.
    fn deliver(
        &self,
        server: &mut Server,
        now: Instant,
        peer: PeerId,
        username: &[u8],
        mail: &[(i64, ServerMessage<'_>)],
    ) -> bool {
        let mut arrived = false;
        for &(id, update) in mail {
            if self.queue.has_arrived(username, id) {
                arrived = true;
                continue;
            }
            if self.shared.delivered().has(peer, id) {
                continue;
            }
            // What does not go now waits for the next time.
            if server.handle_command(now, ServerCommand::Deliver { peer, update }).is_err() {
                return false;
            }
            self.shared.delivered().add(peer, username, [id]);
        }
        arrived && !self.shared.delivered().is_to(peer)
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
            Keeping::Late => return refuse(server, now, ticket, Code::SERVER_UNAVAILABLE),
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
mod tests;
