//! Which numbers of `/metrics` move.

use super::raw::{metrics, pause, sample};
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

/// Counted by the hub, which is the same for all protocols: moved for one of them at least.
const SHARED: [&str; 8] = [
    "closing_connections",
    "connections_accepted_total",
    "dropped_packets_total{reason=\"slow-listener\"}",
    "disconnects_total{reason=\"broken-stream\"}",
    "disconnects_total{reason=\"slow\"}",
    "partial_bytes",
    "queued_bytes",
    "refusals_total{rule=\"connections\"}",
];

/// Seen to move beside their code or in other tests: the database is looked through every six hours, the transport has tests of floods of
/// datagrams, no session here sends what a stream cannot carry, no disk here is slow or full, all of these clients come from loopback, which is
/// exempt, and `operations.rs` has all other refusals.
const ELSEWHERE: [&str; 14] = [
    "closing_connections",
    "database_damaged",
    "dropped_packets_total{reason=\"datagram-rate\"}",
    "dropped_packets_total{reason=\"unsendable\"}",
    "dropped_packets_total{reason=\"unsent\"}",
    "partial_bytes",
    "refusals_total{rule=\"fixed-name\"}",
    "refusals_total{rule=\"name\"}",
    "refusals_total{rule=\"per-address\"}",
    "refusals_total{rule=\"secret\"}",
    "refusals_total{rule=\"secrets-only\"}",
    "refusals_total{rule=\"token\"}",
    "unrecorded_pieces_total{reason=\"disk\"}",
    "unrecorded_pieces_total{reason=\"queue\"}",
];

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
        let wanted: Vec<String> = names.iter().map(|name| sample(protocol, name)).collect();
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

    /// What has not moved, of these protocols, though it should have.
    pub fn still(&self, protocols: &[&str]) -> Vec<String> {
        let mut still = Vec::new();
        for name in self.first.keys().filter(|name| !self.moved.contains(*name)) {
            let Some(protocol) = protocols.iter().find(|it| name.contains(&format!("{{protocol=\"{it}\"")))
            else {
                continue;
            };
            let is = |names: &[&str]| names.iter().any(|other| sample(protocol, other) == *name);
            // One protocol alone does not do all of it.
            let moved = |other: &str| {
                protocols.len() == 1 || protocols.iter().any(|it| self.moved.contains(&sample(it, other)))
            };
            let shared = SHARED.iter().any(|other| sample(protocol, other) == *name && moved(other));
            // One packet in a stream does not wait to be written where nothing else does.
            if !shared && !is(&ELSEWHERE) && !is(&["queued_bytes"]) {
                still.push(name.clone());
            }
        }
        still
    }
}
