//! Who waits for a password to be looked at, and who comes next.
//!
//! Attempts at one name from one address stand in one line, and are looked at one after the other: four of connections that have not
//! failed, then one of those that have, each in the order in which they came. No user is refused a place in it, so that filling it keeps
//! no user out, and connecting anew is worth no more than a place at its end. Lines are served by class, each class in turn, and within a class each source in turn: a source that brings more attempts, names or connections than others waits behind
//! itself. All tables are bounded, and a source that fills one displaces its own entries.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use voxwire_core::{Bucket, Clock, Instant, PeerId, Rate, site, source};
use voxwire_msgpack::Ticket;
use zeroize::Zeroizing;

/// How long an attempt may wait. Clients wait for 40 s.
const LONGEST: Duration = Duration::from_secs(35);
/// Attempts of one source that are looked at: 256 connections of one address wait for 26 s at most.
const PACE: Rate = Rate { per_second: 10, burst: 40 };
/// One failure is forgotten after so long without another.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// Failures in a row that cost nothing.
const FREE_FAILURES: u32 = 3;
/// The wait after the first failure beyond those; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// The longest wait where a user of that name has been let in before, or many people share the address: a stranger there can
/// hold its neighbour up for no longer.
const LONGEST_WAIT_OF_NEIGHBOURS: Duration = Duration::from_secs(1);
/// In which time all who wait in such a line are looked at, as far as the pace allows: where many wait, failures cost each of them less.
const ALL_NEIGHBOURS: Duration = Duration::from_secs(20);
/// Attempts of connections that have not failed, for each of one that has.
const FRESH: u32 = 4;
/// By how much later a connection comes for each of its failures, and how many of them count.
const LATER: Duration = Duration::from_secs(1);
const LATER_FAILURES: u32 = 8;
/// Names at addresses whose failures are remembered.
const FAILED: usize = 8192;
/// Names at addresses where they have been let in that are remembered, and how many of one name.
const KNOWN: usize = 16_384;
const KNOWN_OF_ONE: usize = 16;

/// How many are forgotten at a time where there is no room.
const AT_A_TIME: usize = 256;

/// A user who wants to be let in, or to have an account.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) ticket: Ticket,
    pub(super) peer: PeerId,
    /// An account is wanted, rather than to be let in.
    pub(super) register: bool,
    pub(super) username: Box<[u8]>,
    pub(super) password: Zeroizing<Vec<u8>>,
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

/// What there is to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Look at this attempt of this line, and tell [`LoginQueue::done`] what came of it.
    Look(u64, Attempt),
    /// No user could look at these in time.
    Refuse(Vec<Attempt>),
}

/// The logins, shared by the session and the threads that look at passwords.
#[derive(Debug)]
pub(super) struct LoginQueue {
    state: Mutex<State>,
    news: Condvar,
    clock: Clock,
}

impl LoginQueue {
    /// A queue for `max` connections, of which each has one attempt at most. `shared` addresses stand for many people, as loopback
    /// does.
    pub(super) fn new(max: usize, shared: &[IpAddr]) -> Self {
        let state = Mutex::new(State::new(max, shared));
        Self { state, news: Condvar::new(), clock: Clock::start() }
    }

    /// Adds an attempt. Returns it if there is no room.
    pub(super) fn add(&self, from: IpAddr, attempt: Attempt) -> Option<Attempt> {
        let refused = self.state().add(from, attempt, self.clock.now());
        self.news.notify_one();
        refused
    }

    /// Waits for something to do; `None` at the end.
    pub(super) fn next(&self) -> Option<Work> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            let now = self.clock.now();
            let refused = state.expire(now);
            if !refused.is_empty() {
                return Some(Work::Refuse(refused));
            }
            match state.take(now) {
                Ok((line, attempt)) => return Some(Work::Look(line, attempt)),
                Err(None) => state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
                Err(Some(then)) => {
                    let wait = then.saturating_duration_since(now);
                    let waited = self.news.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// What came of an attempt of a line.
    pub(super) fn done(&self, line: u64, verdict: Verdict) {
        self.state().done(line, verdict, self.clock.now());
        self.news.notify_one();
    }

    /// Who is gone wants nothing any more.
    pub(super) fn forget(&self, peer: PeerId) {
        self.state().gone(peer);
    }

    /// Ends [`LoginQueue::next`].
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.news.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In which order lines are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Names that have been let in from there before.
    Known,
    /// Names that have not, from where no user guesses.
    Stranger,
    /// Where there have been failures.
    Failed,
    /// New accounts.
    Register,
}

const CLASSES: [Class; 4] = [Class::Known, Class::Stranger, Class::Failed, Class::Register];
/// Of 15 attempts, how many are of each class if all wait.
const WEIGHTS: [i32; 4] = [8, 4, 2, 1];

/// What takes turns with its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// An address, or the /48 of an IPv6 one.
    Network(IpAddr),
    /// A name, where many people share the address.
    Person(IpAddr, u64),
}

/// The place of an attempt in its line: whether its connection has failed, when it came (later, for its failures), and a number.
type Place = (bool, Instant, u64);

/// When the next attempt of a line came, and its number.
type Age = (Instant, u64);

/// Attempts at one name from one source, in order.
#[derive(Debug)]
struct Line {
    source: IpAddr,
    name: u64,
    register: bool,
    group: Group,
    attempts: BTreeMap<Place, Attempt>,
    /// How many in a row were of connections that had not failed.
    fresh: u32,
    spot: Spot,
}

impl Line {
    /// Which attempt is next.
    fn next(&self) -> Option<Place> {
        let first = *self.attempts.first_key_value()?.0;
        let failed = self.attempts.range((true, Instant::ZERO, 0)..).next().map(|(place, _)| *place);
        Some(failed.filter(|_| self.fresh >= FRESH).unwrap_or(first))
    }

    /// Takes out the attempt that is next.
    fn pop(&mut self) -> Option<(Place, Attempt)> {
        let place = self.next()?;
        self.fresh = if place.0 { 0 } else { self.fresh.saturating_add(1) };
        self.attempts.remove_entry(&place)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    /// Its first attempt is being looked at.
    InWork,
    /// Among the heads of its group and class, under this age.
    Head(Class, Age),
    /// It waits after a failure.
    Later(Instant),
}

/// The lines of one group and class that can be served.
#[derive(Debug)]
struct Turn {
    /// Oldest next attempt first: the pace is shared by all lines of the group, so a line gains nothing by being one of many.
    heads: BTreeSet<(Age, u64)>,
    /// Served when the class's clock shows this; among equals, by number.
    tag: u64,
    number: u64,
    /// Until when it waits because of its pace.
    rests: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Line(u64),
    Turn(Group, Class),
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    times: u32,
    at: Instant,
    ready: Instant,
}

impl Failed {
    /// The failures that are not forgotten.
    fn left(&self, now: Instant) -> u32 {
        let faded = now.saturating_duration_since(self.at).as_secs() / FORGOTTEN.as_secs();
        self.times.saturating_sub(u32::try_from(faded).unwrap_or(u32::MAX))
    }
}

#[derive(Debug)]
struct State {
    max: usize,
    shared: Box<[IpAddr]>,
    hasher: RandomState,
    lines: BTreeMap<u64, Line>,
    by_pair: BTreeMap<(IpAddr, u64, bool), u64>,
    turns: BTreeMap<(Group, Class), Turn>,
    /// Which turns can be taken, for each class.
    order: [BTreeSet<(u64, u64, Group)>; 4],
    credit: [i32; 4],
    clocks: [u64; 4],
    later: BTreeSet<(Instant, Later)>,
    paces: BTreeMap<Group, Bucket>,
    /// How many may be in `paces` before those are looked for that say nothing any more.
    tidy_at: usize,
    /// Whose attempt waits where.
    peers: BTreeMap<PeerId, (u64, Place)>,
    /// How often each connection has failed, over all names.
    guesses: BTreeMap<PeerId, u32>,
    /// Whose attempt of a line is being looked at.
    in_work: BTreeMap<u64, PeerId>,
    /// All attempts that wait, oldest first.
    ages: BTreeMap<u64, (Instant, PeerId)>,
    numbered: u64,
    /// Failures at a name, or at any (`None`), by source.
    failed: BTreeMap<(IpAddr, Option<u64>), Failed>,
    /// Who has been let in from where, and when it was last.
    known: BTreeMap<(u64, IpAddr), u64>,
    closed: bool,
}

impl State {
    fn new(max: usize, shared: &[IpAddr]) -> Self {
        Self {
            max,
            shared: shared.iter().map(IpAddr::to_canonical).collect(),
            hasher: RandomState::new(),
            lines: BTreeMap::new(),
            by_pair: BTreeMap::new(),
            turns: BTreeMap::new(),
            order: Default::default(),
            credit: [0; 4],
            clocks: [0; 4],
            later: BTreeSet::new(),
            paces: BTreeMap::new(),
            tidy_at: 64,
            peers: BTreeMap::new(),
            guesses: BTreeMap::new(),
            in_work: BTreeMap::new(),
            ages: BTreeMap::new(),
            numbered: 0,
            failed: BTreeMap::new(),
            known: BTreeMap::new(),
            closed: false,
        }
    }

    const fn number(&mut self) -> u64 {
        self.numbered = self.numbered.saturating_add(1);
        self.numbered
    }

    fn is_shared(&self, source: IpAddr) -> bool {
        source.is_loopback() || self.shared.contains(&source)
    }

    fn group(&self, from: IpAddr, name: u64) -> Group {
        match from {
            _ if self.is_shared(from) => Group::Person(from, name),
            from => Group::Network(site(from)),
        }
    }

    fn add(&mut self, from: IpAddr, attempt: Attempt, now: Instant) -> Option<Attempt> {
        if self.ages.len() >= self.max {
            return Some(attempt);
        }
        self.forget(attempt.peer);
        let from = from.to_canonical();
        let from = if self.is_shared(from) { from } else { source(from) };
        let name = self.hasher.hash_one(&attempt.username);
        let (register, peer, seq) = (attempt.register, attempt.peer, self.number());
        let pair = (from, name, register);
        let line = self.by_pair.get(&pair).copied();
        let id = line.unwrap_or(seq);
        let failures = self.guesses.get(&peer).copied().unwrap_or(0);
        let place = (failures > 0, now.saturating_add(LATER * failures.min(LATER_FAILURES)), seq);
        let group = self.group(from, name);
        let entry = self.lines.entry(id).or_insert_with(|| Line {
            source: from,
            name,
            register,
            group,
            attempts: BTreeMap::new(),
            fresh: 0,
            spot: Spot::InWork,
        });
        entry.attempts.insert(place, attempt);
        self.update_age(id);
        self.peers.insert(peer, (id, place));
        self.ages.insert(seq, (now, peer));
        if line.is_none() {
            self.by_pair.insert(pair, id);
            self.settle(id, now);
        }
        None
    }

    /// Gives a line, of which nothing is in work, its place; or ends it.
    fn settle(&mut self, id: u64, now: Instant) {
        let Some(line) = self.lines.get(&id) else { return };
        if line.attempts.is_empty() {
            self.by_pair.remove(&(line.source, line.name, line.register));
            self.lines.remove(&id);
            return;
        }
        let ready = self.failed.get(&(line.source, Some(line.name))).map(|failed| failed.ready);
        match ready.filter(|ready| *ready > now && !line.register) {
            Some(ready) => {
                self.place(id, Spot::Later(ready));
                self.later.insert((ready, Later::Line(id)));
            }
            None => self.enter(id, now),
        }
    }

    fn place(&mut self, id: u64, spot: Spot) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.spot = spot;
        }
    }

    /// A line can be served from now on.
    fn enter(&mut self, id: u64, now: Instant) {
        let number = self.number();
        let Some(line) = self.lines.get(&id) else { return };
        let Some((_, came, seq)) = line.next() else { return };
        let (class, group, age) = (self.class(line, now), line.group, (came, seq));
        self.place(id, Spot::Head(class, age));
        if let Some(turn) = self.turns.get_mut(&(group, class)) {
            turn.heads.insert((age, id));
            return;
        }
        let tag = self.clocks[class as usize];
        let turn = Turn { heads: BTreeSet::from([(age, id)]), tag, number, rests: None };
        self.turns.insert((group, class), turn);
        self.schedule(group, class, now);
    }

    /// Another attempt of a line may be next now.
    fn update_age(&mut self, id: u64) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let (Spot::Head(class, before), Some((_, came, seq))) = (line.spot, line.next()) else { return };
        if let Some(turn) = self.turns.get_mut(&(line.group, class))
            && before != (came, seq)
        {
            line.spot = Spot::Head(class, (came, seq));
            turn.heads.remove(&(before, id));
            turn.heads.insert(((came, seq), id));
        }
    }

    fn class(&self, line: &Line, now: Instant) -> Class {
        let failures = |name| self.failed.get(&(line.source, name)).map_or(0, |failed| failed.left(now));
        if line.register {
            Class::Register
        } else if self.known.contains_key(&(line.name, line.source)) {
            Class::Known
        } else if failures(Some(line.name)) > FREE_FAILURES || failures(None) > FREE_FAILURES {
            Class::Failed
        } else {
            Class::Stranger
        }
    }

    /// Puts a turn among those that can be taken, as soon as the pace of its group allows it.
    fn schedule(&mut self, group: Group, class: Class, now: Instant) {
        let mut pace = self.paces.get(&group).copied().unwrap_or_default();
        let Some(turn) = self.turns.get_mut(&(group, class)) else { return };
        match pace.take(now, PACE, 1) {
            Ok(()) => {
                turn.rests = None;
                self.order[class as usize].insert((turn.tag, turn.number, group));
            }
            Err(until) => {
                turn.rests = Some(until);
                self.later.insert((until, Later::Turn(group, class)));
            }
        }
    }

    /// The class that is served next: each by its weight, among those that have a user.
    fn next_class(&mut self) -> Option<Class> {
        let mut total = 0;
        for class in CLASSES {
            if !self.order[class as usize].is_empty() {
                self.credit[class as usize] += WEIGHTS[class as usize];
                total += WEIGHTS[class as usize];
            }
        }
        let waiting = CLASSES.into_iter().filter(|class| !self.order[*class as usize].is_empty());
        let next = waiting.max_by_key(|class| (self.credit[*class as usize], core::cmp::Reverse(*class)))?;
        self.credit[next as usize] -= total;
        Some(next)
    }

    /// The attempt that is next, and its line; otherwise when to look again.
    fn take(&mut self, now: Instant) -> Result<(u64, Attempt), Option<Instant>> {
        while let Some((_, later)) = self.later.first().copied().filter(|(then, _)| *then <= now) {
            self.later.pop_first();
            match later {
                Later::Line(id) => self.enter(id, now),
                Later::Turn(group, class) => self.schedule(group, class, now),
            }
        }
        while let Some(class) = self.next_class() {
            let Some((tag, _, group)) = self.order[class as usize].pop_first() else { continue };
            if !self.pace(group, now) {
                self.schedule(group, class, now);
                continue;
            }
            self.clocks[class as usize] = self.clocks[class as usize].max(tag);
            let Some(turn) = self.turns.get_mut(&(group, class)) else { continue };
            let head = turn.heads.pop_first();
            turn.tag = tag.saturating_add(1);
            if turn.heads.is_empty() {
                self.turns.remove(&(group, class));
            } else {
                self.schedule(group, class, now);
            }
            let Some((_, id)) = head else { continue };
            let Some(line) = self.lines.get_mut(&id) else { continue };
            line.spot = Spot::InWork;
            let Some(((.., seq), attempt)) = line.pop() else { continue };
            self.in_work.insert(id, attempt.peer);
            self.peers.remove(&attempt.peer);
            self.ages.remove(&seq);
            return Ok((id, attempt));
        }
        let later = self.later.first().map(|(then, _)| *then);
        let oldest = self.ages.values().next().map(|(since, _)| since.saturating_add(LONGEST));
        Err([later, oldest].into_iter().flatten().min())
    }

    /// One more attempt of a group is looked at; false if that is over its pace.
    fn pace(&mut self, group: Group, now: Instant) -> bool {
        if self.paces.len() >= self.tidy_at {
            self.paces.retain(|_, pace| !pace.is_full(now));
            self.tidy_at = self.paces.len().saturating_mul(2).max(64);
        }
        self.paces.entry(group).or_default().take(now, PACE, 1).is_ok()
    }

    fn done(&mut self, id: u64, verdict: Verdict, now: Instant) {
        let Some(line) = self.lines.get(&id) else { return };
        let (source, name, waiting) = (line.source, line.name, line.attempts.len());
        let peer = self.in_work.remove(&id);
        match verdict {
            Verdict::Neither => {}
            // What was guessed at other names is not made good by one's own.
            Verdict::LetIn => self.remember(source, name),
            Verdict::Wrong => {
                if let Some(peer) = peer {
                    let guesses = self.guesses.entry(peer).or_default();
                    *guesses = guesses.saturating_add(1);
                }
                self.fail(source, Some(name), waiting, now);
                if !self.is_shared(source) {
                    self.fail(source, None, waiting, now);
                }
            }
        }
        self.settle(id, now);
    }

    /// One more failure, behind which `waiting` attempts wait.
    fn fail(&mut self, source: IpAddr, name: Option<u64>, waiting: usize, now: Instant) {
        if !self.failed.contains_key(&(source, name)) {
            self.make_room_for_failures(now);
        }
        let neighbours =
            self.is_shared(source) || name.is_some_and(|name| self.known.contains_key(&(name, source)));
        let each = ALL_NEIGHBOURS / u32::try_from(waiting).unwrap_or(u32::MAX).max(1);
        let longest = if neighbours { LONGEST_WAIT_OF_NEIGHBOURS.min(each) } else { LONGEST_WAIT };
        let none = Failed { times: 0, at: now, ready: now };
        let failed = self.failed.entry((source, name)).or_insert(none);
        failed.times = failed.left(now).saturating_add(1);
        failed.at = now;
        if let Some(doublings) = failed.times.checked_sub(FREE_FAILURES + 1) {
            let wait = FIRST_WAIT.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
            failed.ready = now.saturating_add(wait.min(longest));
        }
    }

    /// Forgets failures that say nothing any more; and if those are not enough, of the source that has most, the fewest.
    fn make_room_for_failures(&mut self, now: Instant) {
        if self.failed.len() < FAILED {
            return;
        }
        self.failed.retain(|_, failed| failed.left(now) > 0);
        if self.failed.len() < FAILED {
            return;
        }
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (source, _) in self.failed.keys() {
            *counts.entry(*source).or_default() += 1;
        }
        let Some((most, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return };
        let theirs = self.failed.iter().filter(|((source, name), _)| *source == most && name.is_some());
        let mut theirs: Vec<_> = theirs.map(|(key, failed)| (failed.left(now), failed.at, *key)).collect();
        theirs.sort_unstable();
        // Several at a time: looking for them is work.
        for (_, _, key) in theirs.iter().take((theirs.len() / 2).clamp(1, AT_A_TIME)) {
            self.failed.remove(key);
        }
    }

    /// A name has been let in.
    fn remember(&mut self, source: IpAddr, name: u64) {
        let number = self.number();
        if let Some(last) = self.known.get_mut(&(name, source)) {
            *last = number;
            return;
        }
        let lowest = IpAddr::from([0, 0, 0, 0]);
        let same = self.known.range((name, lowest)..).take_while(|((other, _), _)| *other == name);
        let same: Vec<(u64, IpAddr)> = same.map(|((_, source), last)| (*last, *source)).collect();
        if same.len() >= KNOWN_OF_ONE
            && let Some((_, oldest)) = same.into_iter().min()
        {
            self.known.remove(&(name, oldest));
        }
        if self.known.len() >= KNOWN {
            self.make_room_for_names();
        }
        self.known.insert((name, source), number);
    }

    /// Forgets, of the names that have most addresses, the oldest.
    fn make_room_for_names(&mut self) {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for (name, _) in self.known.keys() {
            *counts.entry(*name).or_default() += 1;
        }
        let count = |name: &u64| core::cmp::Reverse(counts.get(name).copied());
        let all = self.known.iter().map(|(key, last)| (count(&key.0), *last, *key));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        for (_, _, key) in all.iter().take(AT_A_TIME) {
            self.known.remove(key);
        }
    }

    /// Those who have waited for too long.
    fn expire(&mut self, now: Instant) -> Vec<Attempt> {
        let mut refused = Vec::new();
        while let Some((since, peer)) = self.ages.values().next().copied() {
            if since.saturating_add(LONGEST) > now {
                break;
            }
            refused.extend(self.forget(peer));
        }
        refused
    }

    /// The connection of `peer` is closed.
    fn gone(&mut self, peer: PeerId) {
        self.forget(peer);
        self.guesses.remove(&peer);
        self.in_work.retain(|_, other| *other != peer);
    }

    /// Takes out the attempt of `peer`, if one waits.
    fn forget(&mut self, peer: PeerId) -> Option<Attempt> {
        let (id, place) = self.peers.remove(&peer)?;
        self.ages.remove(&place.2);
        let line = self.lines.get_mut(&id)?;
        let attempt = line.attempts.remove(&place);
        if !line.attempts.is_empty() {
            self.update_age(id);
            return attempt;
        }
        let (group, spot, pair) = (line.group, line.spot, (line.source, line.name, line.register));
        match spot {
            Spot::InWork => return attempt,
            Spot::Later(then) => drop(self.later.remove(&(then, Later::Line(id)))),
            Spot::Head(class, age) => {
                if let Some(turn) = self.turns.get_mut(&(group, class)) {
                    turn.heads.remove(&(age, id));
                    if turn.heads.is_empty() {
                        match turn.rests {
                            None => drop(self.order[class as usize].remove(&(turn.tag, turn.number, group))),
                            Some(until) => drop(self.later.remove(&(until, Later::Turn(group, class)))),
                        }
                        self.turns.remove(&(group, class));
                    }
                }
            }
        }
        self.by_pair.remove(&pair);
        self.lines.remove(&id);
        attempt
    }
}

#[cfg(test)]
mod tests;
