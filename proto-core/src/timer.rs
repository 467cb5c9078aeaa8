use crate::Instant;
use alloc::collections::{BTreeMap, BTreeSet};

/// At most one deadline for each of many keys, as hubs need them. All operations take logarithmic time.
#[derive(Debug, Clone)]
pub struct Deadlines<K> {
    by_key: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Deadlines<K> {
    /// No deadline.
    pub const fn new() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(before) = self.by_key.insert(key, at) {
            self.by_time.remove(&(before, key));
        }
        self.by_time.insert((at, key));
    }

    /// Whether `key` has a deadline.
    pub fn contains(&self, key: K) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Number of deadlines.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Forgets the deadline of `key`.
    pub fn clear(&mut self, key: K) {
        if let Some(before) = self.by_key.remove(&key) {
            self.by_time.remove(&(before, key));
        }
    }

    /// All keys, the earliest deadline first.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.by_time.iter().map(|&(_, key)| key)
    }

    /// The earliest deadline and its key.
    pub fn first(&self) -> Option<(Instant, K)> {
        self.by_time.first().copied()
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.first().map(|(at, _)| at)
    }

    /// Removes and returns one key whose deadline is not after `now`, the earliest first.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.first()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }
}

impl<K: Ord + Copy> Default for Deadlines<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn deadlines_move_and_fire_in_order() {
        let mut deadlines = Deadlines::new();
        deadlines.set('a', at(10));
        deadlines.set('b', at(20));
        deadlines.set('a', at(30));
        assert_eq!(deadlines.next(), Some(at(20)));
        assert_eq!(deadlines.pop(at(19)), None);
        assert_eq!(deadlines.pop(at(40)), Some('b'));
        deadlines.clear('a');
        deadlines.clear('a');
        assert_eq!(deadlines.pop(at(40)), None);
    }
}
