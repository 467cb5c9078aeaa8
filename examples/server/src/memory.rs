//! One budget of memory, divided over the protocols that are served.
//!
//! Each protocol has a part of its own, so that no client that fills one takes anything from another.

use crate::config::Config;
use crate::protocols::Protocol;
use voxwire_transport::HubSettings;

const MIB: usize = 1024 * 1024;
/// For the program itself, its sessions and connections, the log, the status page and the database's cache, in bytes.
const PROGRAM: usize = 64 * MIB;
/// What a free buffer of a hub takes, one to read into and one to write from.
const POOLED: usize = 24 * 1024;

/// The least and the most that may be set, in MiB. With less no recording of msgpack, which may have 16 MiB, would come in whole.
pub(crate) const RANGE: core::ops::RangeInclusive<usize> = 320..=1024 * 1024;

/// What a hub may hold, in bytes; or its weight, of which the sum for all protocols is about what they have by default in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// For what is queued for peers.
    pub(crate) queued: usize,
    /// For frames that have not come in whole.
    pub(crate) partial: usize,
    /// For free buffers.
    pub(crate) pooled: usize,
    /// For what QUIC receives.
    pub(crate) quic: usize,
}

impl Part {
    const fn all(self) -> usize {
        self.queued + self.partial + self.pooled + self.quic
    }
}

fn part(config: &Config, protocol: Protocol) -> Part {
    let beside: usize = config.only.iter().map(|protocol| config.section(*protocol).memory_beside()).sum();
    let hubs = config.memory.saturating_mul(MIB).saturating_sub(PROGRAM).saturating_sub(beside);
    let weights: usize = config.only.iter().map(|protocol| config.section(*protocol).memory().all()).sum();
    let unit = hubs / weights.max(1);
    let Part { queued, partial, pooled, quic } = config.section(protocol).memory();
    let [queued, partial, pooled, quic] =
        [queued, partial, pooled, quic].map(|weight| weight.saturating_mul(unit));
    Part { queued, partial, pooled, quic }
}

/// `settings` within the part that `protocol` has of the memory.
pub(crate) fn within(config: &Config, protocol: Protocol, settings: HubSettings) -> HubSettings {
    let Part { queued, partial, pooled, quic } = part(config, protocol);
    HubSettings {
        max_queued_total: queued,
        partial_frames: partial,
        pooled: (pooled / POOLED).min(settings.pooled),
        receive_windows: quic,
        ..settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dissonance;
    use crate::service::hub_settings;

    /// What all hubs may hold by their settings, and what msgpack has beside its hub, in bytes.
    fn sum(config: &Config) -> usize {
        let hubs = config.only.iter().map(|protocol| {
            let HubSettings { max_queued_total: queued, partial_frames, pooled, receive_windows, .. } =
                hub_settings(config, *protocol);
            let quic = *protocol == Protocol::DISSONANCE && config.of::<Dissonance>().quic;
            queued + partial_frames + pooled * 24 * 1024 + if quic { receive_windows } else { 0 }
        });
        let beside = if config.only.contains(&Protocol::MSGPACK) { 152 * MIB } else { 0 };
        hubs.sum::<usize>() + beside
    }

    /// F-43, F-46, T-S5: for any protocols served, all that their hubs may hold together fits the memory set, with room for the program; and
    /// most of it is used.
    #[test]
    fn f_43_what_all_hubs_may_hold_together_fits_the_memory() {
        let all: Vec<Protocol> = Protocol::all().collect();
        for memory in [320, 512, 4096] {
            for chosen in 1..1_u32 << all.len() {
                for quic in [true, false] {
                    let served = (0..all.len()).filter(|n| chosen >> n & 1 == 1).map(|n| all[n]);
                    let mut config = Config { memory, only: served.collect(), ..Config::default() };
                    config.of_mut::<Dissonance>().quic = quic;
                    let (sum, whole) = (sum(&config), memory * MIB);
                    assert!(sum <= whole - 64 * MIB, "{:?}: {} of {memory} MiB", config.only, sum / MIB);
                    assert!(sum > whole / 2 || config.only.len() == 1, "{:?}: {}", config.only, sum / MIB);
                }
            }
        }
        assert_eq!(Config::default().memory, 512);
    }

    /// F-43: a protocol that is served alone may have more, and one of many still has what its largest frames need.
    #[test]
    fn f_43_every_protocol_has_what_it_needs() {
        let config = Config { memory: *RANGE.start(), ..Config::default() };
        assert!(hub_settings(&config, Protocol::MSGPACK).partial_frames > 16 * MIB);
        for protocol in Protocol::all() {
            let all = hub_settings(&Config::default(), protocol);
            let alone = hub_settings(&Config { only: vec![protocol], ..Config::default() }, protocol);
            assert!(
                alone.max_queued_total > all.max_queued_total && alone.partial_frames > all.partial_frames,
                "{protocol:?}"
            );
        }
        let quic = hub_settings(&Config::default(), Protocol::DISSONANCE).receive_windows;
        // An eighth is for those that have ended, and each is granted up to 28 KiB beside the 256 KiB that are counted for it.
        assert!(quic / 8 * 7 > 220 * 284 * 1024, "{} MiB", quic / MIB);
    }
}
