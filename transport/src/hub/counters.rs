//! What a hub counts.

use crate::Histogram;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a hub counts from its beginning.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: Counter,
    pub(super) refused: Counter,
    pub(super) refused_per_address: Counter,
    pub(super) broken: Counter,
    pub(super) too_slow: Counter,
    pub(super) dropped_frames: Counter,
    pub(super) over_rate_frames: Counter,
    pub(super) unsendable_frames: Counter,
    pub(super) received_frames: Counter,
    pub(super) received_bytes: Counter,
    pub(super) sent_frames: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) handled: Histogram,
}

/// What the core counts without atomics, under its lock: one frame may have thousands of addressees.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traffic {
    pub(super) received_frames: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_frames: u64,
    pub(super) sent_bytes: u64,
}

impl Traffic {
    pub(super) fn receive(&mut self, len: usize) {
        self.received_frames = self.received_frames.wrapping_add(1);
        self.received_bytes = self.received_bytes.wrapping_add(len as u64);
    }

    pub(super) fn send(&mut self, len: usize) {
        self.sent_frames = self.sent_frames.wrapping_add(1);
        self.sent_bytes = self.sent_bytes.wrapping_add(len as u64);
    }
}

impl Counters {
    /// Copies the core's counts to where they can be read without the lock. Called under the core's lock.
    pub(super) fn publish(&self, traffic: &Traffic) {
        self.received_frames.0.store(traffic.received_frames, Relaxed);
        self.received_bytes.0.store(traffic.received_bytes, Relaxed);
        self.sent_frames.0.store(traffic.sent_frames, Relaxed);
        self.sent_bytes.0.store(traffic.sent_bytes, Relaxed);
    }
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn count(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
