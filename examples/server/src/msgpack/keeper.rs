//! The threads that may block: one that writes to the database, and those that hash passwords.

use super::passwords::{Attempt, Check, Desk, Hasher, THREADS};
use super::store::{Kept, Outcome, Reader, Store, is_full};
use super::{Shared, refuse};
use crate::Error;
use crate::config::{Config, Profile};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use voxwire_core::{Instant, Message, PeerId, Session};
use voxwire_msgpack::{Code, Secret, Server, ServerCommand, ServerMessage, Text, Wire};

/// Jobs that may wait for the database. Each client has one at most.
const WAITING: usize = 4096;
/// Jobs done in one transaction.
const BATCH: usize = 256;

/// Something for the database.
#[derive(Debug)]
pub(super) enum Job {
    Register {
        peer: PeerId,
        username: Box<[u8]>,
        password: String,
    },
    /// Name and password are right.
    Admit {
        peer: PeerId,
        username: Box<[u8]>,
        rehashed: Option<String>,
    },
    AddContact {
        peer: PeerId,
        username: Box<[u8]>,
        contact: Box<[u8]>,
        store: bool,
    },
    CreateGroup {
        peer: PeerId,
        group_name: Box<[u8]>,
        owner: Box<[u8]>,
    },
    JoinGroup {
        peer: PeerId,
        group_name: Box<[u8]>,
        username: Box<[u8]>,
    },
    Keep {
        peer: PeerId,
        recipients: Vec<Box<[u8]>>,
        body: Vec<u8>,
    },
    Received {
        username: Box<[u8]>,
        messages: Vec<i64>,
    },
    /// Nothing comes after this.
    Close,
}

/// What a client is told once the transaction is on the disk.
enum Answer {
    Plain {
        peer: PeerId,
        result: Result<(), Code>,
    },
    Admit {
        peer: PeerId,
        username: Box<[u8]>,
        kept: Vec<Kept>,
    },
    /// Kept under that number, for these; some may have logged in meanwhile.
    Kept {
        peer: PeerId,
        recipients: Vec<Box<[u8]>>,
        body: Vec<u8>,
        message: Option<i64>,
    },
    Nothing,
}

/// The door to the threads.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    jobs: SyncSender<Job>,
    desk: Arc<Desk>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
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
        let mut threads = Vec::new();
        let hasher = Arc::new(hasher);
        let discreet = config.profile == Profile::Safe;
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
        let writer = Writer { store, shared, again: jobs.clone() };
        threads
            .push(std::thread::Builder::new().name("database".into()).spawn(move || writer.run(&waiting))?);
        Ok(Self { jobs, desk, threads: Arc::new(Mutex::new(threads)) })
    }

    /// Hands a job on, without waiting. `Err` where too much waits.
    pub(super) fn submit(&self, job: Job) -> Result<(), TrySendError<Job>> {
        self.jobs.try_send(job)
    }

    /// Does what waits, and ends the threads.
    pub(super) fn close(&self) {
        self.desk.close();
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
        while let Some((source, attempt)) = self.desk.next() {
            let Attempt { peer, username, .. } = &attempt;
            let verdict = match self.reader.password(username) {
                Err(error) => {
                    tracing::error!(%error, "the database cannot be read");
                    Err(Code::SERVER_UNAVAILABLE)
                }
                Ok(stored) if attempt.register => self.register(&attempt, stored.is_some()),
                Ok(stored) => self.log_in(&attempt, stored.as_deref()),
            };
            let wrong = matches!(verdict, Err(Code::USER_WRONG_PASSWORD | Code::USER_DOES_NOT_EXIST));
            self.desk.done(source, username, !wrong);
            match verdict {
                // Waits if the database is busy; these threads may.
                Ok(job) => drop(self.jobs.send(job)),
                Err(code) => {
                    if wrong {
                        self.shared.wrong_passwords.fetch_add(1, Relaxed);
                        tracing::info!(%peer, name = ?Text(username), "log-in refused");
                    }
                    self.shared.call(|server, now| refuse(server, now, *peer, code));
                }
            }
        }
    }

    fn register(&self, attempt: &Attempt, exists: bool) -> Result<Job, Code> {
        if exists {
            return Err(Code::USER_ALREADY_EXIST);
        }
        let password = self.hasher.hash(&attempt.password).map_err(|error| {
            tracing::error!(error, "a password cannot be hashed");
            Code::SERVER_UNAVAILABLE
        })?;
        Ok(Job::Register { peer: attempt.peer, username: attempt.username.clone(), password })
    }

    fn log_in(&self, attempt: &Attempt, stored: Option<&str>) -> Result<Job, Code> {
        let admit =
            |rehashed| Job::Admit { peer: attempt.peer, username: attempt.username.clone(), rehashed };
        match self.hasher.check(&attempt.password, stored) {
            Check::Right => Ok(admit(None)),
            Check::Outdated(hash) => Ok(admit(Some(hash))),
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
    again: SyncSender<Job>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut batch = vec![first];
            batch.extend(jobs.try_iter().take(BATCH - 1));
            let last = batch.iter().any(|job| matches!(job, Job::Close));
            if !self.commit(&batch) && batch.len() > 1 {
                // One of them may have spoiled it for all.
                for job in batch.chunks(1) {
                    self.commit(job);
                }
            }
            if last {
                return;
            }
        }
    }

    /// Does `jobs` in one transaction; false if that fails. Alone, a job is told that it has failed.
    fn commit(&mut self, jobs: &[Job]) -> bool {
        let answers = self
            .store
            .transaction(|store| jobs.iter().map(|job| answer(store, job)).collect::<Result<Vec<_>, _>>());
        self.shared.transactions.fetch_add(1, Relaxed);
        match (answers, jobs) {
            (Ok(answers), _) => {
                answers.into_iter().for_each(|answer| self.tell(answer));
                true
            }
            (Err(error), [job]) => {
                tracing::error!(%error, "the database cannot be written");
                let code = if is_full(&error) { Code::REQUEST_OVER_LIMIT } else { Code::SERVER_UNAVAILABLE };
                if let Some(peer) = job.peer() {
                    self.shared.call(|server, now| refuse(server, now, peer, code));
                }
                false
            }
            (Err(_), _) => false,
        }
    }

    /// Tells the session what is on the disk now.
    fn tell(&self, answer: Answer) {
        match answer {
            Answer::Nothing => {}
            Answer::Plain { peer, result } => self.shared.call(|server, now| {
                let command = match result {
                    Ok(()) => ServerCommand::Allow { peer },
                    Err(code) => ServerCommand::Refuse { peer, code },
                };
                let _ = server.handle_command(now, command);
            }),
            Answer::Admit { peer, username, kept } => self.shared.call(|server, now| {
                let token = uuid::Uuid::new_v4().hyphenated().to_string();
                let mut delivered = Vec::new();
                for kept in kept {
                    let Ok(update) = ServerMessage::decode(&kept.body, &Wire::CLIENT) else { continue };
                    // What does not go now waits for the next log-in.
                    if server.handle_command(now, ServerCommand::Deliver { peer, update }).is_err() {
                        break;
                    }
                    delivered.push(kept.id);
                }
                if !delivered.is_empty() {
                    self.shared.delivered().insert(peer, (username.clone(), delivered));
                }
                let token = Secret(token.as_bytes());
                if server.handle_command(now, ServerCommand::Admit { peer, token }).is_ok() {
                    let address = server.address(peer).map(|from| from.ip());
                    tracing::info!(%peer, name = ?Text(&username), ?address, "logged in");
                }
                // Gone meanwhile, or too many.
                if server.username(peer) != Some(&username) {
                    self.shared.delivered().remove(&peer);
                }
            }),
            Answer::Kept { peer, recipients, body, message } => {
                let mut came = Vec::new();
                self.shared.call(|server, now| {
                    let command = match message {
                        Some(_) => ServerCommand::Allow { peer },
                        None => ServerCommand::Refuse { peer, code: Code::USER_NOT_CONNECTED },
                    };
                    if message.is_some() {
                        came = forward(server, now, &recipients, &body);
                    }
                    let _ = server.handle_command(now, command);
                });
                if let Some(message) = message {
                    self.shared.kept.fetch_add(1, Relaxed);
                    for username in came {
                        // If that fails they get it once more.
                        let _ = self.again.try_send(Job::Received { username, messages: vec![message] });
                    }
                }
            }
        }
    }
}

/// Sends a message to those who have logged in while it was being kept. Returns who got it.
fn forward(server: &mut Server, now: Instant, recipients: &[Box<[u8]>], body: &[u8]) -> Vec<Box<[u8]>> {
    let Ok(update) = ServerMessage::decode(body, &Wire::CLIENT) else { return Vec::new() };
    let went = recipients.iter().filter(|recipient| {
        let command = ServerCommand::Forward { recipient: Text(recipient), update };
        server.handle_command(now, command).is_ok()
    });
    went.cloned().collect()
}

/// Does one job within a transaction.
fn answer(store: &Store, job: &Job) -> rusqlite::Result<Answer> {
    let plain = |peer: &PeerId, outcome, exists, unknown| {
        let result = match outcome {
            Outcome::Done => Ok(()),
            Outcome::Exists => Err(exists),
            Outcome::Unknown => Err(unknown),
            Outcome::Full => Err(Code::REQUEST_OVER_LIMIT),
        };
        Answer::Plain { peer: *peer, result }
    };
    let never = Code::SERVER_UNAVAILABLE;
    Ok(match job {
        Job::Register { peer, username, password } => {
            plain(peer, store.register(username, password)?, Code::USER_ALREADY_EXIST, never)
        }
        Job::AddContact { peer, username, contact, store: keep } => {
            plain(peer, store.add_contact(username, contact, *keep)?, never, Code::USER_DOES_NOT_EXIST)
        }
        Job::CreateGroup { peer, group_name, owner } => {
            plain(peer, store.create_group(group_name, owner)?, Code::GROUP_ALREADY_EXIST, never)
        }
        Job::JoinGroup { peer, group_name, username } => {
            plain(peer, store.join_group(group_name, username)?, Code::GROUP_MEMBER_ALREADY_EXIST, never)
        }
        Job::Admit { peer, username, rehashed } => {
            if let Some(hash) = rehashed {
                store.rehash(username, hash)?;
            }
            Answer::Admit { peer: *peer, username: username.clone(), kept: store.kept(username)? }
        }
        Job::Keep { peer, recipients, body } => {
            let message = store.keep(recipients, body)?;
            Answer::Kept { peer: *peer, recipients: recipients.clone(), body: body.clone(), message }
        }
        Job::Received { username, messages } => {
            messages.iter().try_for_each(|message| store.received(username, *message))?;
            Answer::Nothing
        }
        Job::Close => Answer::Nothing,
    })
}

impl Job {
    /// Who waits for it.
    const fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Register { peer, .. }
            | Self::Admit { peer, .. }
            | Self::AddContact { peer, .. }
            | Self::CreateGroup { peer, .. }
            | Self::JoinGroup { peer, .. }
            | Self::Keep { peer, .. } => Some(*peer),
            Self::Received { .. } | Self::Close => None,
        }
    }
}

impl Shared {
    /// Runs `f` on the session.
    fn call(&self, f: impl FnOnce(&mut Server, Instant)) {
        // Set as soon as the first client can be there.
        self.hub.wait().call(f);
    }
}
