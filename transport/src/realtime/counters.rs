use core::sync::atomic::AtomicU64;

/// What a driver counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) over_rate: AtomicU64,
    pub(super) unsent: AtomicU64,
    pub(super) refused_blocks: AtomicU64,
    pub(super) receive_errors: AtomicU64,
}
