//! What waits, by turns of who sends it.
//!
//! Sources take turns with each other, and the accounts of one source among themselves, each by what its jobs cost: what is small and comes
//! late goes before much that came earlier. (Weighted fair queueing: a clock shows what each of those who wait has had, if all had the same;
//! a job's tag is when it would be done then, and the lowest tag is next.) The room is bounded. Who has most of it loses the newest of it to
//! those who have less; who has one job alone loses it only where no user has several that cost as much, or as much as the others have on an average.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Who pays for a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A network: an IPv4 address or the /48 of an IPv6 one.
    Network(Box<[u8]>),
    /// An account, where many people share the address.
    Account(Box<[u8]>),
}

/// An account by its name.
type Account = Box<[u8]>;

/// How much may wait, by its cost. One job of each account always may, as far as there is room for it among those of others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) of_account: u64,
    pub(super) of_source: u64,
    pub(super) of_all: u64,
}

/// Jobs that wait.
#[derive(Debug)]
pub(super) struct Turns<T> {
    room: Room,
    sources: Order<Source>,
    lines: BTreeMap<Source, Line<T>>,
    cost: u64,
    count: usize,
}

/// The jobs of one source.
#[derive(Debug)]
struct Line<T> {
    accounts: Order<Account>,
    jobs: BTreeMap<Account, VecDeque<(u64, T)>>,
    count: usize,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { accounts: Order::default(), jobs: BTreeMap::new(), count: 0 }
    }
}

impl<T> Line<T> {
    /// What the job that is next of `account` costs.
    fn front(&self, account: &[u8]) -> Option<u64> {
        self.jobs.get(account)?.front().map(|(cost, _)| *cost)
    }

    /// What the job that is next costs.
    fn next(&self) -> Option<u64> {
        self.front(self.accounts.first()?)
    }

    fn take(&mut self) -> Option<(u64, T)> {
        let account = self.accounts.first()?.clone();
        let (cost, job) = self.jobs.get_mut(&account)?.pop_front()?;
        self.count = self.count.saturating_sub(1);
        let next = self.front(&account);
        if next.is_none() {
            self.jobs.remove(&account);
        }
        self.accounts.served(&account, cost, next);
        Some((cost, job))
    }

    /// Takes out the newest job of an account.
    fn displace(&mut self, account: &Account) -> Option<(u64, T)> {
        let (cost, job) = self.jobs.get_mut(account)?.pop_back()?;
        self.count = self.count.saturating_sub(1);
        let next = self.front(account);
        if next.is_none() {
            self.jobs.remove(account);
        }
        self.accounts.displaced(account, cost, next);
        Some((cost, job))
    }
}

impl<T> Turns<T> {
    pub(super) const fn new(room: Room) -> Self {
        Self { room, sources: Order::new(), lines: BTreeMap::new(), cost: 0, count: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a job. Returns those for which there is no room any more: this one, or newer ones of those who have more.
    pub(super) fn add(&mut self, source: &Source, account: &[u8], cost: u64, job: T) -> Vec<T> {
        let account: Account = account.into();
        let line = self.lines.entry(source.clone()).or_default();
        line.jobs.entry(account.clone()).or_default().push_back((cost, job));
        line.count = line.count.saturating_add(1);
        let front = line.front(&account).unwrap_or(cost);
        line.accounts.add(&account, cost, front);
        self.sources.add(source, cost, line.next().unwrap_or(cost));
        self.cost = self.cost.saturating_add(cost);
        self.count = self.count.saturating_add(1);
        let (mut refused, mut most) = (Vec::new(), self.most_of(source, &account));
        while let Some((of_source, of_account)) = most {
            refused.extend(self.displace(&of_source, &of_account));
            most = self.most_of(source, &account);
        }
        refused
    }

    /// Of whom something has to give way, after something of `source` and `account` was added.
    fn most_of(&self, source: &Source, account: &Account) -> Option<(Source, Account)> {
        if let Some(line) = self.lines.get(source) {
            let several = line.jobs.get(account).is_some_and(|jobs| jobs.len() > 1);
            if several && line.accounts.weight(account) > self.room.of_account {
                return Some((source.clone(), account.clone()));
            }
            if line.count > 1 && self.sources.weight(source) > self.room.of_source {
                return Some((source.clone(), line.accounts.gives_way(self.sources.weight(source))?.clone()));
            }
        }
        if self.count <= 1 || self.cost <= self.room.of_all {
            return None;
        }
        let source = self.sources.gives_way(self.cost)?;
        let account = self.lines.get(source)?.accounts.gives_way(self.sources.weight(source))?;
        Some((source.clone(), account.clone()))
    }

    fn displace(&mut self, source: &Source, account: &Account) -> Option<T> {
        let line = self.lines.get_mut(source)?;
        let (cost, job) = line.displace(account)?;
        let next = line.next();
        if next.is_none() {
            self.lines.remove(source);
        }
        self.sources.displaced(source, cost, next);
        self.cost = self.cost.saturating_sub(cost);
        self.count = self.count.saturating_sub(1);
        Some(job)
    }

    /// The job that is next, and its cost.
    pub(super) fn take(&mut self) -> Option<(u64, T)> {
        let source = self.sources.first()?.clone();
        let line = self.lines.get_mut(&source)?;
        let (cost, job) = line.take()?;
        let next = line.next();
        if next.is_none() {
            self.lines.remove(&source);
        }
        self.sources.served(&source, cost, next);
        self.cost = self.cost.saturating_sub(cost);
        self.count = self.count.saturating_sub(1);
        Some((cost, job))
    }
}

/// In which order those are served of whom something waits, and who has most.
#[derive(Debug)]
struct Order<K> {
    all: BTreeMap<K, Waiting>,
    /// By tag; among equals, who came first.
    by_tag: BTreeSet<(u64, u64, K)>,
    by_weight: BTreeSet<(u64, K)>,
    /// Those of whom several jobs wait.
    several: BTreeSet<(u64, K)>,
    /// The sum of the squares of all weights.
    squares: u128,
    /// When those are done of whom nothing waits and who have had more than the clock shows.
    ahead: BTreeMap<K, u64>,
    /// What each of those who wait has had, if all had the same. It and all tags are costs times [`SCALE`].
    clock: u64,
    numbered: u64,
}

/// Into how many parts the clock divides a cost.
const SCALE: u64 = 1 << 16;

/// How many of those are remembered who have had more than their share.
const AHEAD: usize = 8192;

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// When its turn began.
    base: u64,
    tag: u64,
    number: u64,
    /// What all that waits of it costs, and how many jobs that is.
    weight: u64,
    count: u64,
}

fn square(weight: u64) -> u128 {
    u128::from(weight).saturating_mul(weight.into())
}

impl<K: Ord + Clone> Default for Order<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Order<K> {
    const fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            by_tag: BTreeSet::new(),
            by_weight: BTreeSet::new(),
            several: BTreeSet::new(),
            squares: 0,
            ahead: BTreeMap::new(),
            clock: 0,
            numbered: 0,
        }
    }
}

impl<K: Ord + Clone> Order<K> {
    fn first(&self) -> Option<&K> {
        self.by_tag.first().map(|(.., key)| key)
    }

    /// Who gives way where there is no room for all, who have `total` together: the heaviest of those of whom several jobs wait, where these
    /// cost as much as the heaviest single one, or as those have on an average who share the rest, each counted by what it has. Otherwise the
    /// heaviest of all: many who have several keep no large job out, and who has a few small ones does not give way to it.
    fn gives_way(&self, total: u64) -> Option<&K> {
        let (most, heaviest) = self.by_weight.last()?;
        let rest = total.saturating_sub(*most);
        let squares = self.squares.saturating_sub(square(*most));
        let several = self.several.last().filter(|(weight, _)| {
            weight >= most || u128::from(*weight).saturating_mul(rest.into()) >= squares
        });
        several.map(|(_, key)| key).or(Some(heaviest))
    }

    fn weight(&self, key: &K) -> u64 {
        self.all.get(key).map_or(0, |waiting| waiting.weight)
    }

    fn take_out(&mut self, key: &K) -> Option<Waiting> {
        let waiting = self.all.remove(key)?;
        self.by_tag.remove(&(waiting.tag, waiting.number, key.clone()));
        self.by_weight.remove(&(waiting.weight, key.clone()));
        self.several.remove(&(waiting.weight, key.clone()));
        self.squares = self.squares.saturating_sub(square(waiting.weight));
        Some(waiting)
    }

    fn put_in(&mut self, key: &K, waiting: Waiting) {
        self.by_tag.insert((waiting.tag, waiting.number, key.clone()));
        self.by_weight.insert((waiting.weight, key.clone()));
        if waiting.count > 1 {
            self.several.insert((waiting.weight, key.clone()));
        }
        self.squares = self.squares.saturating_add(square(waiting.weight));
        self.all.insert(key.clone(), waiting);
    }

    /// What is `next` of `key` costs so much; it can be done from `base` on. All of it costs `weight`, and is so many jobs.
    fn enter(&mut self, key: &K, (weight, count): (u64, u64), next: u64, base: u64) {
        self.numbered = self.numbered.saturating_add(1);
        let tag = base.saturating_add(next.saturating_mul(SCALE));
        self.put_in(key, Waiting { base, tag, number: self.numbered, weight, count });
    }

    /// A job more of `key` waits, which costs `cost`, and what is `next` of it costs so much.
    fn add(&mut self, key: &K, cost: u64, next: u64) {
        match self.take_out(key) {
            Some(before) => {
                let tag = before.base.saturating_add(next.saturating_mul(SCALE));
                let (weight, count) = (before.weight.saturating_add(cost), before.count.saturating_add(1));
                self.put_in(key, Waiting { tag, weight, count, ..before });
            }
            None => {
                let base = self.ahead.remove(key).unwrap_or(0).max(self.clock);
                self.enter(key, (cost, 1), next, base);
            }
        }
    }

    /// A job of `key` waits no more, and is not served. What is next of it costs so much.
    fn displaced(&mut self, key: &K, cost: u64, next: Option<u64>) {
        let Some(before) = self.take_out(key) else { return };
        match next {
            Some(next) => {
                let tag = before.base.saturating_add(next.saturating_mul(SCALE));
                let (weight, count) = (before.weight.saturating_sub(cost), before.count.saturating_sub(1));
                self.put_in(key, Waiting { tag, weight, count, ..before });
            }
            // It has had as much as before.
            None if before.base > self.clock => self.remember(key, before.base),
            None => {}
        }
    }

    /// What was next of `key` is served, and the `next` one costs so much.
    fn served(&mut self, key: &K, cost: u64, next: Option<u64>) {
        let of_each = cost.saturating_mul(SCALE).checked_div(self.all.len() as u64).unwrap_or(0);
        let Some(before) = self.take_out(key) else { return };
        self.clock = self.clock.saturating_add(of_each);
        match next {
            Some(next) => {
                let base = before.tag.max(self.clock);
                let left = (before.weight.saturating_sub(cost), before.count.saturating_sub(1));
                self.enter(key, left, next, base);
            }
            None if self.all.is_empty() => self.ahead.clear(),
            None if before.tag > self.clock => self.remember(key, before.tag),
            None => {}
        }
    }

    fn remember(&mut self, key: &K, tag: u64) {
        if self.ahead.len() >= AHEAD {
            let clock = self.clock;
            self.ahead.retain(|_, tag| *tag > clock);
            // So many: each has had little.
            if self.ahead.len() >= AHEAD / 2 {
                self.ahead.clear();
            }
        }
        self.ahead.insert(key.clone(), tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxwire_core::testing::Rng;

    const ROOM: Room = Room { of_account: 100, of_source: 200, of_all: 400 };

    fn network(n: u8) -> Source {
        Source::Network([192, 0, 2, n].into())
    }

    /// F-12: what a user sends who sends little does not wait behind what others send, also where they came first.
    #[test]
    fn little_goes_before_much_also_where_it_came_later() {
        let mut turns = Turns::new(Room { of_account: u64::MAX, of_source: u64::MAX, of_all: u64::MAX });
        // 94 accounts from as many addresses, with 16 connections each.
        for connection in 0..16 {
            for account in 0..94 {
                assert!(turns.add(&network(account), &[account], 1000, (account, connection)).is_empty());
            }
        }
        for _ in 0..20 {
            turns.take().unwrap();
            // Another user, and a neighbour of one of them.
            assert!(turns.add(&network(200), b"ann", 2, (200, 0)).is_empty());
            assert_eq!(turns.take(), Some((2, (200, 0))));
        }
        assert!(turns.add(&network(93), b"bob", 2, (201, 0)).is_empty());
        assert_eq!(turns.take(), Some((2, (201, 0))));
        // Who sends one after the other has no more than who sends all at once.
        let mut served = [0; 2];
        turns = Turns::new(turns.room);
        for _ in 0..100 {
            turns.add(&network(0), b"eve", 1000, (0, 0));
        }
        for _ in 0..100 {
            if served[1] <= served[0] || turns.sources.weight(&network(1)) == 0 {
                turns.add(&network(1), b"mallory", 1000, (1, 0));
            }
            served[usize::from(turns.take().unwrap().1.0)] += 1;
        }
        assert!(served[1] <= 51, "{served:?}");
    }

    /// F-12: all have the same share by cost, not by count; and neither connections nor accounts of one source get more.
    #[test]
    fn shares_are_of_sources_and_by_cost() {
        let mut turns = Turns::new(Room { of_account: u64::MAX, of_source: u64::MAX, of_all: u64::MAX });
        let mut served = [0_u64; 3];
        for n in 0..2000_u32 {
            turns.add(&network(0), &n.to_be_bytes(), 1000, 0);
            turns.add(&network(1), b"ann", 10, 1);
            turns.add(&Source::Account(b"eve"[..].into()), b"eve", 70, 2);
        }
        for _ in 0..500 {
            let (cost, whose) = turns.take().unwrap();
            served[whose] += cost;
        }
        let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        assert!(most - least <= 2000, "{served:?}");
    }

    /// F-12: who has most gives way, and nobody who has less.
    #[test]
    fn room_is_bounded_and_who_has_most_gives_way() {
        let mut turns = Turns::new(ROOM);
        // One account: a hundred, the newest is refused; one job always may.
        assert!(turns.add(&network(1), b"a", 60, 1).is_empty());
        assert_eq!(turns.add(&network(1), b"a", 60, 2), [2]);
        assert!(turns.add(&network(1), b"a", 40, 3).is_empty());
        assert!(turns.add(&network(2), b"z", 150, 4).is_empty());
        // One source: two hundred, and a neighbour gets its place from the account that has most.
        assert!(turns.add(&network(1), b"b", 90, 5).is_empty());
        assert_eq!(turns.add(&network(1), b"c", 30, 6), [3]);
        // All: four hundred.
        assert!(turns.add(&network(3), b"d", 70, 7).is_empty());
        assert_eq!(turns.add(&network(4), b"e", 10, 8), [5]);
        let mut left: Vec<i32> = core::iter::from_fn(|| turns.take()).map(|(_, job)| job).collect();
        left.sort_unstable();
        assert_eq!(left, [1, 4, 6, 7, 8]);
        assert!(turns.is_empty() && turns.cost == 0 && turns.lines.is_empty());
        assert!(turns.sources.all.is_empty() && turns.sources.by_weight.is_empty());
    }

    /// F-12: one large message is not kept out by sources that have many, however little each of those is below it.
    #[test]
    fn one_large_job_is_not_displaced_by_sources_that_have_many() {
        // A recording of 16 MiB, and the room for messages to be kept.
        const LARGE: u64 = 32_800;
        let keeps = Room { of_account: 32 * 1024, of_source: 64 * 1024, of_all: 128 * 1024 };
        for (sources, cost) in [(5, 1000), (5, 2600), (4, 100), (20, 700), (94, 300), (1000, 10)] {
            let mut turns = Turns::new(keeps);
            let attack = |turns: &mut Turns<u16>, n: u64| {
                let refused = turns.add(&Source::Account(n.to_be_bytes().into()), b"eve", cost, n as u16);
                assert!(!refused.contains(&9999) && !refused.contains(&9998), "{sources}, {cost}");
            };
            // As much as they can without losing anything.
            let rounds = (keeps.of_all - 2 - LARGE / 2) / (sources * cost);
            assert!(rounds > 1, "{sources}, {cost}");
            (0..rounds * sources).for_each(|n| attack(&mut turns, n % sources));
            // Another user who sends little.
            assert!(turns.add(&network(8), b"bob", 1, 9998).is_empty());
            assert!(turns.add(&network(8), b"bob", 1, 9998).is_empty());
            let refused = turns.add(&network(9), b"ann", LARGE, 9999);
            assert!(!refused.is_empty() && refused.iter().all(|job| *job < 9000), "{sources}, {cost}");
            (0..2 * sources).for_each(|n| attack(&mut turns, n % sources));
            // Nor by accounts of its own source.
            turns = Turns::new(keeps);
            for n in 0..2 * keeps.of_source / cost {
                turns.add(&network(9), &(n % sources).to_be_bytes(), cost, 1);
            }
            let refused = turns.add(&network(9), b"ann", LARGE, 9999);
            assert!(!refused.is_empty() && !refused.contains(&9999), "{sources}, {cost}");
        }
        // Large ones of many sources do not keep those out who have little.
        let mut turns = Turns::new(keeps);
        for n in 0..3 {
            assert!(turns.add(&network(n), b"eve", LARGE, 1).is_empty());
        }
        for _ in 0..10 {
            assert!(turns.add(&network(8), b"bob", 100, 2).is_empty());
        }
        assert_eq!(turns.add(&network(4), b"eve", LARGE, 1), [1]);
    }

    /// F-12: nor do large ones of many sources keep those out who have several small ones, however many others there are.
    #[test]
    fn a_large_job_displaces_nothing_of_those_who_have_little() {
        const LARGE: u64 = 32_800;
        let keeps = Room { of_account: 32 * 1024, of_source: 64 * 1024, of_all: 128 * 1024 };
        // Of one who has two texts to 300 who are away, or some more; of accounts of one source too.
        for (texts, cost) in [(2, 300), (4, 150), (3, 400)] {
            let mut turns = Turns::new(keeps);
            for n in 0..90_u8 {
                assert!(turns.add(&network(n), b"eve", 1, 1).is_empty());
            }
            for n in 90..93 {
                assert!(turns.add(&network(n), b"eve", LARGE, 1).is_empty());
            }
            for _ in 0..texts {
                assert!(turns.add(&network(100), b"bob", cost, 2).is_empty());
            }
            for n in 94..98 {
                assert_eq!(turns.add(&network(n), b"eve", LARGE, 1), [1], "{texts}");
            }
            // Nor where all others have more than that.
            let mut turns = Turns::new(keeps);
            for n in 0..90_u8 {
                assert!(turns.add(&network(n), b"eve", 1300, 1).is_empty());
            }
            for _ in 0..texts {
                assert!(turns.add(&network(100), b"bob", cost, 2).is_empty());
            }
            assert!(turns.add(&network(90), b"eve", LARGE, 1).contains(&1));
            assert_eq!(turns.sources.weight(&network(100)), texts * cost);
            let mut turns = Turns::new(keeps);
            for n in 0..90_u8 {
                assert!(turns.add(&network(1), &[n], 1, 1).is_empty());
            }
            assert!(turns.add(&network(1), b"eve", LARGE, 1).is_empty());
            for _ in 0..texts {
                assert!(turns.add(&network(1), b"bob", cost, 2).is_empty());
            }
            assert_eq!(turns.add(&network(1), b"mallory", LARGE, 1), [1], "{texts}");
        }
    }

    /// F-12: who has had more than others, and sends something for which there is no room, has had it still.
    #[test]
    fn what_is_displaced_does_not_make_up_for_what_was_served() {
        let mut turns = Turns::new(Room { of_account: 1000, of_source: 1000, of_all: 300 });
        assert!(turns.add(&network(1), b"eve", 100, 1).is_empty());
        assert!(turns.add(&network(2), b"ann", 100, 2).is_empty());
        assert_eq!(turns.take(), Some((100, 1)));
        assert_eq!(turns.add(&network(1), b"eve", 250, 3), [3]);
        assert!(turns.add(&network(1), b"eve", 1, 4).is_empty());
        assert_eq!([turns.take(), turns.take()], [Some((100, 2)), Some((1, 4))]);
        assert!(turns.is_empty() && turns.sources.ahead.is_empty());
    }

    /// For any order of adding and taking, each job comes out once, in its account's order, and the room is kept.
    #[test]
    fn each_job_comes_out_once_in_its_accounts_order() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let mut turns = Turns::new(ROOM);
            let mut waiting: BTreeMap<(u8, u8), VecDeque<u32>> = BTreeMap::new();
            for n in 0..3000_u32 {
                if rng.below(5) < 3 {
                    let who = (rng.below(6) as u8, rng.below(4) as u8);
                    waiting.entry(who).or_default().push_back(n);
                    let cost = [1, 3, 20, 90][rng.below(4) as usize];
                    for (who, job) in turns.add(&network(who.0), &[who.1], cost, (who, n)) {
                        assert_eq!(waiting.get_mut(&who).unwrap().pop_back(), Some(job), "{seed}");
                    }
                } else if let Some((_, (who, job))) = turns.take() {
                    assert_eq!(waiting.get_mut(&who).unwrap().pop_front(), Some(job), "{seed}");
                }
                let count: usize = waiting.values().map(VecDeque::len).sum();
                assert_eq!(turns.count, count);
                assert!(turns.cost <= ROOM.of_all || count == 1);
                assert!(turns.lines.keys().all(|source| turns.sources.weight(source) <= ROOM.of_source));
            }
            while let Some((_, (who, job))) = turns.take() {
                assert_eq!(waiting.get_mut(&who).unwrap().pop_front(), Some(job), "{seed}");
            }
            assert!(waiting.values().all(VecDeque::is_empty) && turns.lines.is_empty());
            assert!(turns.sources.all.is_empty() && turns.sources.by_tag.is_empty());
            assert!(turns.sources.by_weight.is_empty() && turns.sources.several.is_empty());
            assert!(turns.sources.squares == 0);
        }
    }
}
