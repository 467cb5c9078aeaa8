//! How many of something each source has: connections, handshakes, clients on QUIC.

use core::net::IpAddr;
use std::collections::HashMap;

/// Counts by source. Nothing is counted for an exempt address (`HubSettings::payer` is `None`). A source that has nothing takes no memory.
#[derive(Debug, Default)]
pub(crate) struct SourceCounts(HashMap<IpAddr, usize>);

impl SourceCounts {
    /// How many `payer` has.
    #[cfg(feature = "quic")]
    pub(crate) fn of(&self, payer: Option<IpAddr>) -> usize {
        payer.and_then(|payer| self.0.get(&payer)).copied().unwrap_or(0)
    }

    /// Whether `payer` has as many as one source may have.
    pub(crate) fn is_full(&self, payer: Option<IpAddr>, max: usize) -> bool {
        payer.is_some_and(|payer| self.0.get(&payer).copied().unwrap_or(0) >= max)
    }

    /// `payer` has one more.
    pub(crate) fn add(&mut self, payer: Option<IpAddr>) {
        if let Some(payer) = payer {
            let count = self.0.entry(payer).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// `payer` has one less.
    pub(crate) fn remove(&mut self, payer: Option<IpAddr>) {
        let Some(payer) = payer else { return };
        if let Some(count) = self.0.get_mut(&payer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&payer);
            }
        }
    }

    /// Sources that have something.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
