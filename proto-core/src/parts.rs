use crate::{Bucket, Instant, Rate, source};
use alloc::collections::BTreeMap;
use core::net::IpAddr;

impl Bucket {
    /// Takes `n` tokens of one of `parts` equal parts of `rate`: they cost as many times as much as there are parts, so that no rounding
    /// gives more to more of them. One may always come where the part is full, however small it is. False, and nothing taken, if they
    /// are not there.
    pub fn take_part(&mut self, now: Instant, rate: Rate, n: u32, parts: u32) -> bool {
        let cost = n.saturating_mul(parts.max(1));
        let fits = self.take(now, rate, cost).is_ok();
        if !fits && n == 1 && cost > rate.burst && self.is_full(now) {
            self.charge(now, rate, cost);
            return true;
        }
        fits
    }
}

/// The [`Rate`] of each source address in equal parts, one for each of its connections: what some of them do, or how often they
/// connect, keeps no other one there from having its turn.
///
/// Beside it stands what all of them share, a [`SourceRate`](crate::SourceRate) for instance: it is for those who need more than
/// their part, and bounds what comes of connecting again.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// Connections of each source.
    connections: BTreeMap<IpAddr, u32>,
}

/// The part of one connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part {
    bucket: Bucket,
    source: Option<IpAddr>,
}

impl Parts {
    /// No connections.
    pub const fn new() -> Self {
        Self { connections: BTreeMap::new() }
    }

    /// A connection arrives from `address`; `None` where that stands for many people, which limits nobody. Its part is empty, and fills
    /// up with time: connecting again is worth nothing.
    pub fn open(&mut self, now: Instant, rate: Rate, address: Option<IpAddr>) -> Part {
        let source = address.map(source);
        let mut bucket = Bucket::default();
        if let Some(source) = source {
            let connections = self.connections.entry(source).or_default();
            *connections = connections.saturating_add(1);
            bucket.charge(now, rate, rate.burst);
        }
        Part { bucket, source }
    }

    /// A connection has gone.
    pub fn close(&mut self, part: Part) {
        let Some(source) = part.source else { return };
        if let Some(connections) = self.connections.get_mut(&source) {
            *connections = connections.saturating_sub(1);
            if *connections == 0 {
                self.connections.remove(&source);
            }
        }
    }

    /// Takes one token of a connection's part of `rate`; false if it is not there.
    pub fn take(&self, now: Instant, rate: Rate, part: &mut Part) -> bool {
        let Some(source) = part.source else { return true };
        let connections = self.connections.get(&source).copied().unwrap_or(1);
        part.bucket.take_part(now, rate, 1, connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const RATE: Rate = Rate { per_second: 2, burst: 40 };

    /// F-06: ten neighbours who try without end leave the eleventh its part, and all have no more than the rate.
    #[test]
    fn f_06_each_connection_of_a_source_has_its_part() {
        let at = |ms| Instant::ZERO.saturating_add(Duration::from_millis(ms));
        let mut parts = Parts::new();
        let here = |n: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, n]));
        let mut neighbours: [Part; 10] =
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(|n| parts.open(at(0), RATE, here(n)));
        let mut honest = parts.open(at(0), RATE, here(99));
        assert!(!parts.take(at(0), RATE, &mut honest), "connecting is worth nothing");
        let mut taken = 0;
        for ms in 0..=60_000 {
            taken +=
                neighbours.iter_mut().filter_map(|part| parts.take(at(ms), RATE, part).then_some(())).count();
        }
        assert!((100..=110).contains(&taken), "{taken}");
        assert!(parts.take(at(60_000), RATE, &mut honest));
        neighbours.into_iter().chain([honest]).for_each(|part| parts.close(part));
        assert!(parts.connections.is_empty());
        let mut proxied = parts.open(at(0), RATE, None);
        assert!((0..100).all(|_| parts.take(at(0), RATE, &mut proxied)));
    }
}
