//! What waits for the thread that writes to the database.
//!
//! Log-ins and new accounts come first: they have waited for a thread that hashes passwords, and there are no more of them than those
//! threads can look at. (What has arrived is left out of the mail as soon as it is noted: a log-in may come before it is deleted.) Other requests, and messages to be kept, each wait by turns of who sends them.

use super::job::Job;
use super::notes::Notes;
use super::turns::{Room, Source, Turns};
use core::fmt;
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use voxwire_core::{Instant, PeerId};
use voxwire_msgpack::{Code, Ticket};

/// Log-ins and accounts that may wait; beyond it the threads do that have looked at the passwords.
const ADMISSIONS: usize = 64;
/// Requests that may wait, each of which costs 1.
const REQUESTS: Room = Room { of_account: 64, of_source: 1024, of_all: 4096 };
/// Messages to be kept that may wait. A copy costs 1, and so do 512 bytes: 64 MiB in all, 32 MiB from one source and 16 MiB of one
/// account, or as many copies as can be stored in 4, 2 and 1 s.
const KEEPS: Room = Room { of_account: 32 * 1024, of_source: 64 * 1024, of_all: 128 * 1024 };
/// Jobs done in one transaction, apart from messages to be kept.
const BATCH: usize = 256;
/// What messages to be kept may cost that are stored in one transaction, and messages be that are deleted; one message may cost more.
/// Some 30 ms.
const COST: u64 = 1000;
/// How long a request may wait before it is begun. What is begun then is done before the session gives it up, after 30 s.
const LONGEST: Duration = Duration::from_secs(20);

/// What is done in one transaction.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) jobs: Vec<Job>,
    /// Groups that no user uses any more.
    pub(super) forgotten: Vec<Box<[u8]>>,
    /// Those that have waited for too long, and are not done.
    pub(super) late: Vec<Ticket>,
    /// Nothing comes any more.
    pub(super) end: bool,
}

/// What waits, shared by the session and the threads.
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to do.
    news: Condvar,
    /// There is room among the admissions.
    room: Condvar,
}

struct State {
    admissions: VecDeque<Job>,
    requests: Turns<(Job, Instant)>,
    keeps: Turns<(Job, Instant)>,
    notes: Notes,
    /// Groups by their names, of which there are no more than groups.
    used: BTreeSet<Box<[u8]>>,
    forgotten: Vec<Box<[u8]>>,
    closed: bool,
}

/// Jobs hold what people write.
impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    pub(super) const fn new() -> Self {
        let state = State {
            admissions: VecDeque::new(),
            requests: Turns::new(REQUESTS),
            keeps: Turns::new(KEEPS),
            notes: Notes::new(),
            used: BTreeSet::new(),
            forgotten: Vec::new(),
            closed: false,
        };
        Self { state: Mutex::new(state), news: Condvar::new(), room: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.state());
        self.news.notify_one();
    }

    /// Adds a log-in, or an account. Waits for room, as long as something is written.
    pub(super) fn admit(&self, job: Job) {
        let mut state = self.state();
        while state.admissions.len() >= ADMISSIONS && !state.closed {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.admissions.push_back(job);
        drop(state);
        self.news.notify_one();
    }

    /// Adds a request, or a message to be kept, of `account`, without waiting. Returns the ones for which there is no room any more: this
    /// one or others.
    pub(super) fn add(&self, now: Instant, source: &Source, account: &[u8], job: Job) -> Vec<(Ticket, Code)> {
        let mut state = self.state();
        if state.closed {
            return job.ticket().map(|ticket| (ticket, Code::SERVER_UNAVAILABLE)).into_iter().collect();
        }
        let (until, cost) = (now.saturating_add(LONGEST), job.cost());
        let turns = if job.is_keep() { &mut state.keeps } else { &mut state.requests };
        let refused = turns.add(source, account, cost, (job, until));
        drop(state);
        self.news.notify_one();
        let tickets = refused.iter().filter_map(|(job, _)| job.ticket());
        tickets.map(|ticket| (ticket, Code::REQUEST_OVER_LIMIT)).collect()
    }

    /// These have arrived; the next ones can be delivered.
    pub(super) fn arrived(&self, peer: PeerId, username: Box<[u8]>, messages: Vec<i64>) {
        self.with(|state| state.notes.arrived(peer, username, messages));
    }

    /// What was delivered so far has been read; the next ones can be delivered.
    pub(super) fn next(&self, peer: PeerId, username: Box<[u8]>) {
        self.with(|state| state.notes.next(peer, username));
    }

    /// The connection is closed.
    pub(super) fn gone(&self, peer: PeerId) {
        self.state().notes.gone(peer);
    }

    /// What has arrived of a user's, on whichever connection, and is not deleted yet.
    pub(super) fn arrived_of(&self, username: &[u8]) -> BTreeSet<i64> {
        self.state().notes.of(username).clone()
    }

    /// Whether a message has arrived that is not deleted yet.
    pub(super) fn has_arrived(&self, username: &[u8], message: i64) -> bool {
        self.state().notes.of(username).contains(&message)
    }

    /// A group is used today.
    pub(super) fn use_group(&self, group_name: Box<[u8]>) {
        self.with(|state| {
            state.used.insert(group_name);
        });
    }

    /// No user uses a group any more.
    pub(super) fn forget_group(&self, group_name: Box<[u8]>) {
        self.with(|state| state.forgotten.push(group_name));
    }

    /// Nothing is added any more: the last [`Batch`] comes when nothing waits.
    pub(super) fn close(&self) {
        self.with(|state| state.closed = true);
        self.room.notify_all();
    }

    /// What is done next; waits for it for `wait` at most, and then there is nothing.
    pub(super) fn take(&self, wait: Duration, now: impl FnOnce() -> Instant) -> Batch {
        let idle = |state: &mut State| !state.closed && state.is_empty();
        let waited = self.news.wait_timeout_while(self.state(), wait, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let end = state.closed && state.is_empty();
        let batch = state.take(now());
        drop(state);
        self.room.notify_all();
        Batch { end, ..batch }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.admissions.is_empty()
            && self.requests.is_empty()
            && self.keeps.is_empty()
            && self.notes.is_empty()
            && self.used.is_empty()
            && self.forgotten.is_empty()
    }

    fn take(&mut self, now: Instant) -> Batch {
        let mut batch = Batch { forgotten: core::mem::take(&mut self.forgotten), ..Batch::default() };
        let Batch { jobs, late, .. } = &mut batch;
        jobs.extend(self.admissions.drain(..));
        let mut deleted = 0;
        // One of each, so that none waits behind the others.
        loop {
            let before = jobs.len();
            if let Some((_, (job, until))) = self.requests.take() {
                begin(job, until > now, jobs, late);
            }
            if deleted < COST
                && let Some(job) = self.notes.take()
            {
                deleted = deleted.saturating_add(job.cost());
                jobs.push(job);
            }
            jobs.extend(self.used.pop_first().map(|group_name| Job::UseGroup { group_name }));
            if jobs.len() == before && self.requests.is_empty() || jobs.len() >= BATCH {
                break;
            }
        }
        let mut stored = 0;
        while stored < COST
            && let Some((cost, (job, until))) = self.keeps.take()
        {
            if begin(job, until > now, jobs, late) {
                stored = stored.saturating_add(cost);
            }
        }
        batch
    }
}

/// Puts a job among those that are done, if it is in time. What has waited for too long must not be done: its sender has been told, or is
/// told now, that it is not.
fn begin(job: Job, in_time: bool, jobs: &mut Vec<Job>, late: &mut Vec<Ticket>) -> bool {
    if in_time {
        jobs.push(job);
    } else {
        late.extend(job.ticket());
    }
    in_time
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-12: requests of thousands of connections keep nobody else's out, neither of the room nor for long.
    #[test]
    fn requests_of_many_connections_keep_nobody_out() {
        let queue = Queue::new();
        let join = |ticket, source: &[u8], account: &str| {
            let (group_name, username) = (b"room"[..].into(), account.as_bytes().into());
            let job = Job::JoinGroup { ticket: Ticket(ticket), group_name, username };
            queue.add(Instant::ZERO, &Source::Network(source.into()), account.as_bytes(), job)
        };
        let mut refused = Vec::new();
        for n in 0..8000_u64 {
            refused.extend(join(n, &[n as u8 % 20], &format!("eve{}", n % 4000)));
        }
        assert_eq!(refused.len(), 8000 - 4096);
        // Another user, and a neighbour.
        refused.extend(join(10_000, b"home", "ann"));
        refused.extend(join(10_001, &[3], "bob"));
        assert!(refused.iter().all(|(ticket, code)| ticket.0 < 8000 && *code == Code::REQUEST_OVER_LIMIT));
        let peer = PeerId { slot: 1, generation: 0 };
        queue.next(peer, b"ann"[..].into());
        queue.admit(Job::Admit { ticket: Ticket(10_002), peer, username: b"ann"[..].into() });
        let batch = queue.take(LONGEST, || Instant::ZERO);
        assert!((BATCH..BATCH + 3).contains(&batch.jobs.len()), "{}", batch.jobs.len());
        assert_eq!(batch.jobs[0].ticket(), Some(Ticket(10_002)));
        let has = |batch: &Batch, ticket| batch.jobs.iter().any(|job| job.ticket() == Some(Ticket(ticket)));
        assert!(has(&batch, 10_000));
        // The neighbour comes behind those who came first there, and behind their share of others.
        let batches = (1..).find(|_| has(&queue.take(LONGEST, || Instant::ZERO), 10_001)).unwrap();
        assert!(batches <= 16, "{batches}");
        assert!(batch.jobs.iter().any(|job| matches!(job, Job::Next { .. })));
        // What is refused because of time is not done.
        for n in 0..100 {
            assert!(join(n, b"home", "ann").is_empty() || n >= 64);
        }
        let late = queue.take(LONGEST, || Instant::ZERO.saturating_add(LONGEST));
        assert!(late.jobs.is_empty() && late.late.len() >= 64, "{}", late.late.len());
        queue.close();
        assert!(queue.take(LONGEST, || Instant::ZERO).end);
    }
}
