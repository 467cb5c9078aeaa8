//! What all connections of a hub share beside the session: settings, quotas, budgets, pools, counters.

use super::counters::Counters;
use super::partial::Partials;
use super::quotas::Quotas;
use super::settings::HubSettings;
use super::stats::HubStats;
use crate::gate::Gate;
use crate::pool::Pool;
use crate::udp::Udp;
use core::net::IpAddr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use voxwire_core::{Clock, FrameBuf};

pub(super) struct Common {
    pub(super) settings: HubSettings,
    /// The UDP sides of listeners that have one.
    pub(super) sockets: Vec<Udp>,
    /// Where the first listener listens: further ports are opened there.
    pub(super) home: Option<IpAddr>,
    /// Who may come in there.
    pub(super) gate: Option<Gate>,
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

impl Common {
    pub(super) fn new(
        settings: HubSettings,
        sockets: Vec<Udp>,
        (home, gate): (Option<IpAddr>, Option<Gate>),
    ) -> Self {
        let queued: Arc<AtomicUsize> = Arc::default();
        Self {
            settings,
            sockets,
            home,
            gate,
            clock: Clock::start(),
            quotas: Quotas::new(&settings),
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
            over_rate_frames,
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
            over_rate_frames: over_rate_frames.get(),
            unsendable_frames: unsendable_frames.get(),
        }
    }
}
