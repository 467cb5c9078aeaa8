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
use voxwire_msgpack::Ticket;
use zeroize::Zeroizing;

/// Threads that hash. One hash takes a core for tens of milliseconds.
pub(super) const THREADS: usize = 2;
/// Attempts that may wait, of all sources together.
const WAITING: usize = 32;
/// Attempts that may wait of one source; and of loopback, where one address is many people.
const WAITING_OF_ONE: usize = 4;
const WAITING_OF_LOOPBACK: usize = 16;
/// Attempts older than this are not looked at: whoever made them has been told that it took too long, or is about to be.
const STALE: Duration = Duration::from_secs(25);
/// One failure is forgotten after so long without another.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Sources whose failures are remembered.
const SOURCES: usize = 4096;
/// Failures in a row that cost nothing.
const FREE_FAILURES: u32 = 3;
/// The wait after the first failure beyond those; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Somebody who wants to be let in, or to have an account.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) ticket: Ticket,
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
    /// When old things were forgotten last.
    faded: Option<Instant>,
    closed: bool,
}

#[derive(Debug)]
struct Line {
    failures: u32,
    /// When the last of them was, or one was forgotten.
    failed: Instant,
    /// Whether somebody from there has been let in.
    known: bool,
    ready: Instant,
    /// When it was served last, in attempts.
    served: u64,
    /// Attempts that are being looked at.
    in_work: u32,
    attempts: VecDeque<(Instant, Attempt)>,
}

/// Who comes first: log-ins before new accounts, then whoever has failed least, and of those whoever has been let in before.
type Rank = (bool, u32, bool);

impl Line {
    const fn new(now: Instant, served: u64) -> Self {
        let attempts = VecDeque::new();
        Self { failures: 0, failed: now, known: false, ready: now, served, in_work: 0, attempts }
    }

    const fn rank(&self, register: bool) -> Rank {
        (register, self.failures, !self.known)
    }

    /// The rank of the attempt that is first in line.
    fn first(&self) -> Option<Rank> {
        self.attempts.front().map(|(_, attempt)| self.rank(attempt.register))
    }

    /// Forgets failures as time goes by, and attempts that nobody waits for.
    fn fade(&mut self, now: Instant) -> usize {
        let times = now.saturating_duration_since(self.failed).as_secs() / FORGOTTEN.as_secs();
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        if times > 0 {
            self.failures = self.failures.saturating_sub(times);
            self.failed = now;
        }
        let before = self.attempts.len();
        self.attempts.retain(|(since, _)| now.saturating_duration_since(*since) < STALE);
        before.saturating_sub(self.attempts.len())
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Name and password were right.
    LetIn,
    /// They were not.
    Wrong,
    /// It was no guess, or could not be looked at.
    Neither,
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
    pub(super) fn done(&self, source: IpAddr, username: &[u8], verdict: Verdict) {
        self.state().done(source, username, verdict, Instant::now());
        self.news.notify_one();
    }

    /// Whoever is gone wants nothing any more.
    pub(super) fn forget(&self, peer: PeerId) {
        self.state().forget(peer);
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
        self.fade(now);
        if self.lines.len() >= SOURCES && !self.lines.contains_key(&source) {
            // Strangers who have not failed are forgotten first: that costs least.
            let idle = self.lines.iter().filter(|(_, line)| line.attempts.is_empty() && line.in_work == 0);
            let idle =
                idle.min_by_key(|(_, line)| (line.known, line.failures, line.served)).map(|(at, _)| *at);
            let Some(idle) = idle else { return Some(attempt) };
            self.lines.remove(&idle);
        }
        let served = self.served;
        let line = self.lines.entry(source).or_insert_with(|| Line::new(now, served));
        let most = if source.is_loopback() { WAITING_OF_LOOPBACK } else { WAITING_OF_ONE };
        if line.attempts.len() >= most {
            return Some(attempt);
        }
        let (rank, length) = (line.rank(attempt.register), line.attempts.len());
        let mut refused = None;
        if self.waiting >= WAITING {
            // Whoever comes last makes room, and of those whoever waits for most, if that is not the newcomer.
            let last =
                self.lines.values_mut().filter_map(|line| Some((line.first()?, line.attempts.len(), line)));
            match last.max_by_key(|(rank, length, _)| (*rank, *length)) {
                Some((worst, longest, line)) if (worst, longest) > (rank, length.saturating_add(1)) => {
                    refused = line.attempts.pop_back().map(|(_, attempt)| attempt);
                }
                _ => return Some(attempt),
            }
            self.waiting = self.waiting.saturating_sub(1);
        }
        if let Some(line) = self.lines.get_mut(&source) {
            line.attempts.push_back((now, attempt));
            self.waiting = self.waiting.saturating_add(1);
        }
        refused
    }

    /// The attempt that is next: of those with the best rank, who has waited longest. Two at one name are looked at one
    /// after the other. Otherwise when to look again.
    fn take(&mut self, now: Instant) -> Result<(IpAddr, Attempt), Option<Instant>> {
        self.fade(now);
        let names = &self.names;
        let is_free =
            |line: &Line| line.attempts.front().is_some_and(|(_, first)| !names.contains(&first.username));
        let ready = self.lines.iter().filter(|(_, line)| line.ready <= now && is_free(line));
        let next = ready.min_by_key(|(_, line)| (line.first(), line.served)).map(|(source, _)| *source);
        let Some(source) = next else {
            let later = self.lines.values().filter(|line| !line.attempts.is_empty() && line.ready > now);
            return Err(later.map(|line| line.ready).min());
        };
        self.served = self.served.saturating_add(1);
        let line = self.lines.get_mut(&source).ok_or(None)?;
        line.served = self.served;
        let (_, attempt) = line.attempts.pop_front().ok_or(None)?;
        line.in_work = line.in_work.saturating_add(1);
        self.waiting = self.waiting.saturating_sub(1);
        self.names.insert(attempt.username.clone());
        Ok((source, attempt))
    }

    fn done(&mut self, source: IpAddr, username: &[u8], verdict: Verdict, now: Instant) {
        self.names.remove(username);
        let Some(line) = self.lines.get_mut(&source) else { return };
        line.in_work = line.in_work.saturating_sub(1);
        match verdict {
            Verdict::Neither => {}
            // What was guessed at other names is not made good by one's own.
            Verdict::LetIn => line.known = true,
            Verdict::Wrong => {
                line.failures = line.failures.saturating_add(1);
                line.failed = now;
                if line.failures > FREE_FAILURES {
                    let doublings = line.failures.saturating_sub(FREE_FAILURES.saturating_add(1));
                    let wait = FIRST_WAIT.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
                    line.ready = now + wait.min(LONGEST_WAIT);
                }
            }
        }
    }

    fn forget(&mut self, peer: PeerId) {
        for line in self.lines.values_mut() {
            let before = line.attempts.len();
            line.attempts.retain(|(_, attempt)| attempt.peer != peer);
            self.waiting = self.waiting.saturating_sub(before.saturating_sub(line.attempts.len()));
        }
    }

    fn fade(&mut self, now: Instant) {
        // A second is soon enough, and there may be thousands of lines.
        if now.saturating_duration_since(*self.faded.get_or_insert(now)) < Duration::from_secs(1) {
            return;
        }
        self.faded = Some(now);
        let stale: usize = self.lines.values_mut().map(|line| line.fade(now)).sum();
        self.waiting = self.waiting.saturating_sub(stale);
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
            ticket: Ticket(slot.into()),
            peer: PeerId { slot, generation: 0 },
            register: false,
            username: name.as_bytes().into(),
            password: Zeroizing::new(Vec::new()),
        }
    }

    fn source(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    /// The next one's number.
    fn next(state: &mut State, now: Instant) -> u32 {
        state.take(now).unwrap().1.peer.slot
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
    fn c_04_sources_take_turns_those_that_fail_come_last_and_new_accounts_behind_all() {
        let (mut state, now) = (State::default(), Instant::now());
        for n in 0..3 {
            assert!(state.add(source(1), attempt(n, &format!("a{n}")), now).is_none());
        }
        assert!(state.add(source(2), attempt(9, "b"), now).is_none());
        let order: Vec<u32> = (0..4).map(|_| next(&mut state, now)).collect();
        assert_eq!(order, [0, 9, 1, 2]);
        state.done(source(1), b"a0", Verdict::Wrong, now);
        state.add(source(1), attempt(4, "a4"), now);
        state.add(source(3), attempt(5, "c"), now);
        state.add(source(4), Attempt { register: true, ..attempt(6, "d") }, now);
        let order: Vec<u32> = (0..3).map(|_| next(&mut state, now)).collect();
        assert_eq!(order, [5, 4, 6]);
    }

    #[test]
    fn c_04_failures_beyond_three_are_waited_for_longer_and_longer_and_forgotten_in_time() {
        let (mut state, now) = (State::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            state.lines.entry(source(1)).and_modify(|line| line.ready = now);
            state.add(source(1), attempt(0, "a"), now);
            state.take(now).unwrap();
            state.done(source(1), b"a", Verdict::Wrong, now);
            waits.push(state.lines[&source(1)].ready.saturating_duration_since(now).as_millis());
        }
        assert_eq!(waits, [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
        state.add(source(1), attempt(0, "a"), now);
        let later = state.take(now).unwrap_err().unwrap();
        assert_eq!((later - now).as_secs(), 20);
        // Others do not wait for it.
        state.add(source(2), attempt(1, "b"), now);
        assert_eq!(next(&mut state, now), 1);
        // One's own account does not make good what was guessed at others; time does.
        state.done(source(1), b"a", Verdict::LetIn, now);
        assert_eq!(state.lines[&source(1)].failures, 12);
        state.fade(now + Duration::from_secs(95));
        assert_eq!(state.lines[&source(1)].failures, 9);
    }

    #[test]
    fn c_04_requests_that_guess_nothing_earn_nothing() {
        let (mut state, now) = (State::default(), Instant::now());
        for _ in 0..3 {
            state.add(source(1), attempt(0, "a"), now);
            state.take(now).unwrap();
            state.done(source(1), b"a", Verdict::Wrong, now);
            state.add(source(1), Attempt { register: true, ..attempt(0, "b") }, now);
            state.take(now).unwrap();
            state.done(source(1), b"b", Verdict::Neither, now);
        }
        assert_eq!((state.lines[&source(1)].failures, state.lines[&source(1)].known), (3, false));
    }

    #[test]
    fn c_04_one_name_is_looked_at_once_at_a_time() {
        let (mut state, now) = (State::default(), Instant::now());
        state.add(source(1), attempt(1, "ann"), now);
        state.add(source(2), attempt(2, "ann"), now);
        assert_eq!(next(&mut state, now), 1);
        assert_eq!(state.take(now).unwrap_err(), None);
        state.done(source(1), b"ann", Verdict::LetIn, now);
        assert_eq!(next(&mut state, now), 2);
    }

    #[test]
    fn c_04_whoever_is_gone_or_has_waited_for_too_long_takes_no_place() {
        let (mut state, now) = (State::default(), Instant::now());
        for n in 0..4 {
            assert!(state.add(source(1), attempt(n, &format!("a{n}")), now).is_none());
        }
        assert!(state.add(source(1), attempt(5, "a5"), now).is_some(), "four of one source");
        state.forget(PeerId { slot: 1, generation: 0 });
        assert_eq!(state.waiting, 3);
        state.fade(now);
        state.add(source(2), attempt(8, "b"), now + Duration::from_secs(20));
        assert_eq!(next(&mut state, now + Duration::from_secs(26)), 8);
        assert_eq!(state.waiting, 0);
    }

    #[test]
    fn c_04_where_there_is_no_room_whoever_comes_last_goes() {
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
        // A new account can wait for longer than a log-in, and whoever has two attempts waiting can do with one.
        let register = Attempt { register: true, ..attempt(98, "r") };
        assert_eq!(state.add(source(98), register, now).unwrap().peer.slot, 98);
        state.forget(PeerId { slot: 0, generation: 0 });
        assert!(state.add(source(1), attempt(50, "a1b"), now).is_none());
        assert_eq!(state.add(source(99), attempt(99, "z"), now).unwrap().peer.slot, 50);
        assert_eq!(state.add(source(99), attempt(99, "z"), now).unwrap().peer.slot, 99);
        // Whoever has been let in before comes before strangers.
        state.lines.insert(source(50), Line { known: true, ..Line::new(now, 0) });
        assert_ne!(state.add(source(50), attempt(60, "ann"), now).unwrap().peer.slot, 60);
        assert_eq!(next(&mut state, now), 60);
    }

    #[test]
    fn c_04_a_flood_of_sources_is_forgotten_before_those_who_were_let_in() {
        let (mut state, now) = (State::default(), Instant::now());
        state.lines.insert(source(1), Line { known: true, ..Line::new(now, 0) });
        for n in 0..5000_u32 {
            let from = IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
            state.add(from, attempt(0, "a"), now);
            state.take(now).unwrap();
            state.done(from, b"a", Verdict::Wrong, now);
        }
        assert_eq!(state.lines.len(), SOURCES);
        assert!(state.lines[&source(1)].known);
    }
}
