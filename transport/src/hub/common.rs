//! What all connections of a hub share beside the session: limits, budgets, pools, counters.

use super::partial::Partials;
use super::quotas::{ConnPermit, Quotas};
use super::settings::HubSettings;
use super::stats::HubStats;
use crate::Histogram;
use crate::pool::Pool;
use crate::udp::Udp;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use voxwire_core::{Clock, FrameBuf};

pub(super) struct Common {
    pub(super) settings: HubSettings,
    /// The UDP sides of listeners that have one.
    pub(super) sockets: Vec<Udp>,
    /// Where the first listener listens: further ports are opened there.
    pub(super) home: Option<IpAddr>,
    pub(super) clock: Clock,
    pub(super) quotas: Arc<Quotas>,
    /// Sources of plain UDP that the session has validated.
    pub(super) validated: AtomicUsize,
    /// The memory of partial frames.
    pub(super) partials: Partials,
    /// Bytes that are queued or being written, on all connections.
    pub(super) queued: Arc<AtomicUsize>,
    /// The memory that QUIC may hold, of all connections.
    #[cfg(feature = "quic")]
    pub(super) quic: crate::quic::QuicBudgets,
    pub(super) read_buffers: Pool<FrameBuf>,
    /// Buffers for the beginning of a partial frame.
    pub(super) small_buffers: Pool<FrameBuf>,
    pub(super) write_buffers: Pool<Vec<u8>>,
    pub(super) counters: Counters,
}

/// What a hub counts from its beginning.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: Counter,
    pub(super) refused: Counter,
    pub(super) refused_per_address: Counter,
    pub(super) broken: Counter,
    pub(super) too_slow: Counter,
    pub(super) dropped_frames: Counter,
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

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Common {
    pub(super) fn new(settings: HubSettings, sockets: Vec<Udp>, home: Option<IpAddr>) -> Self {
        let queued: Arc<AtomicUsize> = Arc::default();
        Self {
            settings,
            sockets,
            home,
            clock: Clock::start(),
            quotas: Quotas::new(settings.max_connections, settings.max_per_address),
            validated: AtomicUsize::new(0),
            partials: Partials::new(settings.partial_frames, settings.partial_wait),
            #[cfg(feature = "quic")]
            quic: crate::quic::QuicBudgets::new(
                queued.clone(),
                settings.max_queued_total,
                settings.receive_windows,
            ),
            queued,
            read_buffers: Pool::new(settings.pooled),
            small_buffers: Pool::new(settings.pooled),
            write_buffers: Pool::new(settings.pooled),
            counters: Counters::default(),
        }
    }

    /// A permit for a connection from `address`; `None` over a cap.
    pub(super) fn permit(&self, address: IpAddr) -> Option<ConnPermit> {
        let source = self.settings.payer(address);
        let permit = self.quotas.permit(source);
        if permit.is_none() {
            self.counters.refused.count();
            if self.quotas.is_source_full(source) {
                self.counters.refused_per_address.count();
                let advice =
                    "raise the limit for one address, or exempt this one if it stands for many people";
                tracing::info!(%address, rule = "per-address", advice, "a connection is refused");
            } else {
                let advice = "raise the limit of connections";
                tracing::info!(%address, rule = "connections", advice, "a connection is refused");
            }
        }
        permit
    }

    /// Gives back buffers that have not been needed lately.
    pub(super) fn trim_pools(&self) {
        self.read_buffers.trim();
        self.small_buffers.trim();
        self.write_buffers.trim();
    }

    pub(super) fn stats(&self) -> HubStats {
        let Counters {
            accepted,
            refused,
            refused_per_address,
            broken,
            too_slow,
            dropped_frames,
            unsendable_frames,
            received_frames,
            received_bytes,
            sent_frames,
            sent_bytes,
            handled,
        } = &self.counters;
        HubStats {
            closing: self.quotas.closing(),
            connections: self.quotas.live().saturating_add(self.validated.load(Relaxed)),
            queued: self.queued.load(Relaxed),
            partial: self.partials.used(),
            received_frames: received_frames.get(),
            received_bytes: received_bytes.get(),
            sent_frames: sent_frames.get(),
            sent_bytes: sent_bytes.get(),
            handled: handled.stats(),
            accepted: accepted.get(),
            refused: refused.get(),
            refused_per_address: refused_per_address.get(),
            broken: broken.get(),
            too_slow: too_slow.get(),
            dropped_frames: dropped_frames.get(),
            unsendable_frames: unsendable_frames.get(),
        }
    }
}
