//! The threads that look passwords up and hash them.

use super::job::Job;
use super::login_queue::{Attempt, LoginQueue, Verdict, Work};
use super::passwords::{Check, Hasher, Memory};
use super::queue::Queue;
use super::store::Reader;
use super::{Shared, refuse};
use crate::refusals::Rule;
use std::sync::Arc;
use voxwire_core::Moderation as _;
use voxwire_msgpack::{Code, Text};

/// Looks passwords up.
pub(super) struct PasswordWorker {
    pub(super) reader: Reader,
    pub(super) hasher: Arc<Hasher>,
    pub(super) logins: Arc<LoginQueue>,
    pub(super) queue: Arc<Queue>,
    pub(super) shared: Arc<Shared>,
    pub(super) discreet: bool,
}

impl PasswordWorker {
    pub(super) fn run(self) {
        let mut memory = Memory::default();
        while let Some(work) = self.logins.next() {
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
        self.logins.done(line, verdict);
        match result {
            // Waits if the database is busy; these threads may.
            Ok(jobs) => jobs.into_iter().for_each(|job| self.queue.admit(job)),
            Err(code) => {
                if verdict == Verdict::Wrong {
                    let from = self.shared.call(|server, _| server.address(*peer));
                    let why = format!("{:?}: a wrong password, or no such user", Text(username));
                    self.shared.refusals.note(Rule::Password, from, &why);
                }
                self.shared.call(|server, now| refuse(server, now, *ticket, code));
            }
        }
    }

    /// Measures how long `hash` takes.
    fn timed<T>(&self, hash: impl FnOnce() -> T) -> T {
        let Shared { clock, hashes, .. } = &*self.shared;
        let begun = clock.now();
        let hashed = hash();
        hashes.observe(clock.now().saturating_duration_since(begun));
        hashed
    }

    fn register(&self, attempt: &Attempt, exists: bool, memory: &mut Memory) -> Result<Vec<Job>, Code> {
        if exists {
            return Err(Code::USER_ALREADY_EXIST);
        }
        let hashed = self.timed(|| self.hasher.hash(memory, &attempt.password));
        let password = hashed.map_err(|error| {
            tracing::error!(error, "a password cannot be hashed");
            Code::SERVER_UNAVAILABLE
        })?;
        Ok(vec![Job::Register { ticket: attempt.ticket, username: attempt.username.clone(), password }])
    }

    fn log_in(&self, attempt: &Attempt, stored: Option<&str>, memory: &mut Memory) -> Result<Vec<Job>, Code> {
        let Attempt { ticket, peer, username, password, .. } = attempt;
        let admit = Job::Admit { ticket: *ticket, peer: *peer, username: username.clone() };
        match self.timed(|| self.hasher.check(memory, password, stored)) {
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
