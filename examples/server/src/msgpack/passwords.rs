//! Passwords: hashed with Argon2id, by two threads, in an order that keeps whoever guesses from getting in the way of others.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;
use voxwire_core::PeerId;
use zeroize::Zeroizing;

/// Threads that hash. One hash takes a core for tens of milliseconds.
pub(super) const THREADS: usize = 2;
/// Attempts that may wait, of all sources together.
const WAITING: usize = 32;
/// Attempts that may wait of one source.
const WAITING_OF_ONE: usize = 16;
/// Sources whose failures are remembered.
const SOURCES: usize = 4096;
/// Failures in a row that cost nothing.
const FREE_FAILURES: u32 = 3;
/// The wait after the first failure beyond those; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Somebody who wants to be let in, or to have an account.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) peer: PeerId,
    /// An account is wanted, rather than to be let in.
    pub(super) register: bool,
    pub(super) username: Box<[u8]>,
    pub(super) password: Zeroizing<Vec<u8>>,
}

/// Who waits, by where they come from.
#[derive(Debug, Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: BTreeMap<IpAddr, Line>,
    waiting: usize,
    /// Names that are being looked at.
    names: BTreeSet<Box<[u8]>>,
    served: u64,
    closed: bool,
}

#[derive(Debug)]
struct Line {
    failures: u32,
    /// Whether somebody from there has been let in.
    known: bool,
    ready: Instant,
    /// When it was served last, in attempts.
    served: u64,
    attempts: VecDeque<Attempt>,
}

impl Line {
    /// Who comes first: whoever has failed least, and of those whoever has been let in before.
    const fn rank(&self) -> (u32, bool) {
        (self.failures, !self.known)
    }
}

impl Desk {
    /// Adds an attempt. Returns one that is not going to be looked at, itself or another one's: there is no room.
    pub(super) fn add(&self, source: IpAddr, attempt: Attempt) -> Option<Attempt> {
        let mut state = self.state();
        let refused = state.add(source, attempt, Instant::now());
        drop(state);
        self.news.notify_one();
        refused
    }

    /// Waits for the next attempt that is to be looked at; `None` at the end.
    pub(super) fn next(&self) -> Option<(IpAddr, Attempt)> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            match state.take(now) {
                Ok(found) => return Some(found),
                Err(None) => state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
                Err(Some(ready)) => {
                    let wait = ready.saturating_duration_since(now);
                    let waited = self.news.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// What came of an attempt.
    pub(super) fn done(&self, source: IpAddr, username: &[u8], right: bool) {
        self.state().done(source, username, right, Instant::now());
        self.news.notify_one();
    }

    /// Sends everybody home.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.news.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, source: IpAddr, attempt: Attempt, now: Instant) -> Option<Attempt> {
        if self.lines.len() >= SOURCES && !self.lines.contains_key(&source) {
            // Whoever has failed least is forgotten first: that costs least.
            let idle = self.lines.iter().filter(|(_, line)| line.attempts.is_empty());
            let Some(idle) = idle.min_by_key(|(_, line)| (line.rank(), line.served)).map(|(at, _)| *at)
            else {
                return Some(attempt);
            };
            self.lines.remove(&idle);
        }
        let served = self.served;
        let line = self.lines.entry(source).or_insert_with(|| Line {
            failures: 0,
            known: false,
            ready: now,
            served,
            attempts: VecDeque::new(),
        });
        if line.attempts.len() >= WAITING_OF_ONE {
            return Some(attempt);
        }
        let rank = line.rank();
        let mut refused = None;
        if self.waiting >= WAITING {
            // Whoever comes last makes room, if that is not the newcomer.
            let most = self.lines.iter_mut().filter(|(_, line)| !line.attempts.is_empty());
            match most.max_by_key(|(_, line)| (line.rank(), line.attempts.len())) {
                Some((_, most)) if most.rank() > rank => refused = most.attempts.pop_back(),
                _ => return Some(attempt),
            }
            self.waiting = self.waiting.saturating_sub(1);
        }
        if let Some(line) = self.lines.get_mut(&source) {
            line.attempts.push_back(attempt);
            self.waiting = self.waiting.saturating_add(1);
        }
        refused
    }

    /// The attempt that is next: of those with the best rank, who has waited longest. Two at one name are looked at one
    /// after the other. Otherwise when to look again.
    fn take(&mut self, now: Instant) -> Result<(IpAddr, Attempt), Option<Instant>> {
        let names = &self.names;
        let is_free =
            |line: &Line| line.attempts.front().is_some_and(|first| !names.contains(&first.username));
        let ready = self.lines.iter().filter(|(_, line)| line.ready <= now && is_free(line));
        let next = ready.min_by_key(|(_, line)| (line.rank(), line.served)).map(|(source, _)| *source);
        let Some(source) = next else {
            let later = self.lines.values().filter(|line| !line.attempts.is_empty() && line.ready > now);
            return Err(later.map(|line| line.ready).min());
        };
        self.served = self.served.saturating_add(1);
        let line = self.lines.get_mut(&source).ok_or(None)?;
        line.served = self.served;
        let attempt = line.attempts.pop_front().ok_or(None)?;
        self.waiting = self.waiting.saturating_sub(1);
        self.names.insert(attempt.username.clone());
        Ok((source, attempt))
    }

    fn done(&mut self, source: IpAddr, username: &[u8], right: bool, now: Instant) {
        self.names.remove(username);
        let Some(line) = self.lines.get_mut(&source) else { return };
        if right {
            line.known = true;
            line.failures /= 2;
        } else {
            line.failures = line.failures.saturating_add(1);
            let doublings = line.failures.saturating_sub(FREE_FAILURES.saturating_add(1));
            if line.failures > FREE_FAILURES {
                let wait = FIRST_WAIT.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
                line.ready = now + wait.min(LONGEST_WAIT);
            }
        }
    }
}

/// What a password is checked against.
#[derive(Debug)]
pub(super) struct Hasher {
    argon2: Argon2<'static>,
    /// Of a password that nobody knows: checked where there is no user, so that it takes as long.
    dummy: String,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    Wrong,
    Right,
    /// Right, and to be stored anew: parameters have changed.
    Outdated(String),
}

impl Hasher {
    pub(super) fn new() -> Result<Self, String> {
        let argon2 = Argon2::default();
        let unknown = Zeroizing::new(uuid::Uuid::new_v4().into_bytes());
        let dummy = hash_with(&argon2, &unknown[..])?;
        Ok(Self { argon2, dummy })
    }

    pub(super) fn hash(&self, password: &[u8]) -> Result<String, String> {
        hash_with(&self.argon2, password)
    }

    /// Checks a password against a user's hash, or takes as long without one.
    pub(super) fn check(&self, password: &[u8], stored: Option<&str>) -> Check {
        let exists = stored.is_some();
        let Ok(hash) = PasswordHash::new(stored.unwrap_or(&self.dummy)) else { return Check::Wrong };
        let right = self.argon2.verify_password(password, &hash).is_ok() && exists;
        if !right {
            return Check::Wrong;
        }
        let current = Params::try_from(&hash).is_ok_and(|params| {
            let now = self.argon2.params();
            (params.m_cost(), params.t_cost(), params.p_cost()) == (now.m_cost(), now.t_cost(), now.p_cost())
        });
        match current {
            true => Check::Right,
            false => self.hash(password).map_or(Check::Right, Check::Outdated),
        }
    }
}

fn hash_with(argon2: &Argon2<'_>, password: &[u8]) -> Result<String, String> {
    argon2.hash_password(password).map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{Algorithm, Version};

    fn attempt(slot: u32, name: &str) -> Attempt {
        Attempt {
            peer: PeerId { slot, generation: 0 },
            register: false,
            username: name.as_bytes().into(),
            password: Zeroizing::new(Vec::new()),
        }
    }

    fn source(n: u8) -> IpAddr {
        [127, 0, 0, n].into()
    }

    #[test]
    fn m_07_passwords_are_hashed_with_a_salt_and_checked() {
        let hasher = Hasher::new().unwrap();
        let (one, two) = (hasher.hash(b"geheim").unwrap(), hasher.hash(b"geheim").unwrap());
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && one != two);
        assert_eq!(hasher.check(b"geheim", Some(&one)), Check::Right);
        assert_eq!(hasher.check(b"Geheim", Some(&one)), Check::Wrong);
        assert_eq!(hasher.check(b"geheim", None), Check::Wrong);
        assert_eq!(hasher.check(b"geheim", Some("geheim")), Check::Wrong);
    }

    #[test]
    fn m_07_hashes_with_other_parameters_are_made_anew() {
        let hasher = Hasher::new().unwrap();
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8192, 1, 1, None).unwrap());
        let old = hash_with(&weak, b"geheim").unwrap();
        let Check::Outdated(new) = hasher.check(b"geheim", Some(&old)) else { panic!("outdated") };
        assert_eq!(hasher.check(b"geheim", Some(&new)), Check::Right);
        assert_eq!(hasher.check(b"falsch", Some(&old)), Check::Wrong);
    }

    #[test]
    fn c_04_sources_take_turns_and_those_that_fail_come_last() {
        let (mut state, now) = (State::default(), Instant::now());
        for n in 0..3 {
            assert!(state.add(source(1), attempt(n, &format!("a{n}")), now).is_none());
        }
        assert!(state.add(source(2), attempt(9, "b"), now).is_none());
        let order: Vec<u32> = (0..4).map(|_| state.take(now).unwrap().1.peer.slot).collect();
        assert_eq!(order, [0, 9, 1, 2]);
        state.done(source(1), b"a0", false, now);
        state.add(source(1), attempt(4, "a4"), now);
        state.add(source(3), attempt(5, "c"), now);
        assert_eq!(state.take(now).unwrap().1.peer.slot, 5);
        assert_eq!(state.take(now).unwrap().1.peer.slot, 4);
    }

    #[test]
    fn c_04_failures_beyond_three_are_waited_for_longer_and_longer() {
        let (mut state, now) = (State::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..14 {
            state.lines.entry(source(1)).and_modify(|line| line.ready = now);
            state.add(source(1), attempt(0, "a"), now);
            state.take(now).unwrap();
            state.done(source(1), b"a", false, now);
            waits.push(state.lines[&source(1)].ready.saturating_duration_since(now).as_millis());
        }
        assert_eq!(
            waits,
            [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]
        );
        state.add(source(1), attempt(0, "a"), now);
        let later = state.take(now).unwrap_err().unwrap();
        assert_eq!((later - now).as_secs(), 60);
        // Others do not wait for it.
        state.add(source(2), attempt(1, "b"), now);
        assert_eq!(state.take(now).unwrap().1.peer.slot, 1);
    }

    #[test]
    fn c_04_one_name_is_looked_at_once_at_a_time() {
        let (mut state, now) = (State::default(), Instant::now());
        state.add(source(1), attempt(1, "ann"), now);
        state.add(source(2), attempt(2, "ann"), now);
        assert_eq!(state.take(now).unwrap().1.peer.slot, 1);
        assert_eq!(state.take(now).unwrap_err(), None);
        state.done(source(1), b"ann", true, now);
        assert_eq!(state.take(now).unwrap().1.peer.slot, 2);
    }

    #[test]
    fn c_04_where_there_is_no_room_whoever_has_failed_most_goes() {
        let (mut state, now) = (State::default(), Instant::now());
        for n in 0..32 {
            assert!(state.add(source(n), attempt(n.into(), &format!("a{n}")), now).is_none());
        }
        assert_eq!(state.add(source(40), attempt(40, "x"), now).unwrap().peer.slot, 40, "all alike");
        state.lines.get_mut(&source(7)).unwrap().failures = 5;
        state.lines.get_mut(&source(8)).unwrap().failures = 4;
        assert_eq!(state.add(source(40), attempt(40, "x"), now).unwrap().peer.slot, 7);
        assert_eq!(state.add(source(41), attempt(41, "y"), now).unwrap().peer.slot, 8);
        assert_eq!(state.waiting, 32);
        assert_eq!(state.add(source(99), attempt(99, "z"), now).unwrap().peer.slot, 99);
        // Whoever has been let in before comes before strangers.
        let known = Line { failures: 0, known: true, ready: now, served: 0, attempts: VecDeque::new() };
        state.lines.insert(source(50), known);
        assert_ne!(state.add(source(50), attempt(50, "ann"), now).unwrap().peer.slot, 50);
        assert_eq!(state.take(now).unwrap().1.peer.slot, 50);
    }
}
