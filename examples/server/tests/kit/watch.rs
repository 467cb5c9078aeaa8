//! Which numbers of `/metrics` move.

use super::raw::{metrics, pause};
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

/// Counted by the hub, which is the same for all protocols: moved for one of them at least.
pub const SHARED: [&str; 3] = ["dropped_total", "refused_total", "too_slow_total"];

/// Seen to move beside their code: the database is looked through every six hours, and no session here sends what a stream cannot carry.
pub const ELSEWHERE: [&str; 2] = ["voxwire_msgpack_damaged", "unsendable_total"];

/// What `/metrics` says, and what has moved since the start.
pub struct Watch {
    http: SocketAddr,
    pub first: BTreeMap<String, String>,
    pub moved: BTreeSet<String>,
}

impl Watch {
    pub fn new(http: SocketAddr) -> Self {
        Self { http, first: metrics(http), moved: BTreeSet::new() }
    }

    pub fn look(&mut self) {
        for (name, value) in metrics(self.http) {
            if self.first.get(&name).is_none_or(|first| *first != value) {
                self.moved.insert(name);
            }
        }
    }

    /// Looks until these have moved, at most for ten seconds.
    pub fn see(&mut self, protocol: &str, names: &[&str]) {
        let wanted: Vec<String> = names.iter().map(|name| format!("voxwire_{protocol}_{name}")).collect();
        for _ in 0..500 {
            self.look();
            if wanted.iter().all(|name| self.moved.contains(name)) {
                return;
            }
            pause(20);
        }
        let still: Vec<&String> = wanted.iter().filter(|name| !self.moved.contains(*name)).collect();
        panic!("{still:?} did not move: {:#?}", metrics(self.http));
    }
}
