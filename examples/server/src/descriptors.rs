//! Descriptors: as many as the system gives, and caps that fit.

use crate::config::Config;
use crate::service::{Service, most_connections};
use core::time::Duration;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::sync::Arc;

/// What the runtime, the log, the database and its files take, and sound that is read or recorded.
const FILES: usize = 96;
/// What a hub takes beyond its share: its listeners, and a connection that is closed as soon as it is accepted.
const HUB: usize = 8;
/// How often the protocols' shares are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Raises the process's soft limit of descriptors to the hard one. Where that is less than all protocols' `connections` take together,
/// sets `config.descriptors` to what is left beside a reserve for files, the database and the status page, and says so in the log.
///
/// Then the protocols share those: half of them is divided evenly, and each protocol's part is its own, independent of the
/// others; the other half is for those that need it.
pub fn fit(config: &mut Config) {
    let limit = match raise() {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of descriptors");
            getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
        }
    };
    config.descriptors = fitting(config, usize::try_from(limit).unwrap_or(usize::MAX));
    if let Some(descriptors) = config.descriptors {
        tracing::warn!(
            limit,
            wanted = config.connections,
            together = descriptors,
            "fewer connections than set, for all protocols together: raise the limit of descriptors (ulimit -n, LimitNOFILE=)"
        );
    }
}

fn raise() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Descriptors of one connection of each protocol that is served.
pub(crate) fn weights(config: &Config) -> impl Iterator<Item = usize> {
    config.only.iter().map(|protocol| config.section(*protocol).descriptors())
}

/// Descriptors for connections, if that is less than they may take.
fn fitting(config: &Config, limit: usize) -> Option<usize> {
    let (hubs, shares) = weights(config)
        .filter(|weight| *weight > 0)
        .fold((0, 0), |(hubs, all), weight| (hubs + 1, all + weight));
    let rest = limit.saturating_sub(FILES).saturating_sub(config.http_connections).saturating_sub(hubs * HUB);
    let wanted = most_connections(config).saturating_mul(shares);
    (rest < wanted).then_some(rest)
}

/// What each of some hubs may have at most, by what it has and what one costs: together never more than `total`, and never less than a
/// hub's own part, or what it has.
fn shares(total: usize, hubs: &[(usize, usize)]) -> Vec<usize> {
    let weights: usize = hubs.iter().map(|(_, weight)| weight).sum();
    // One at least, so that no client is shut out by a small limit.
    let own = (total / (2 * weights.max(1))).max(1);
    let used: usize = hubs.iter().map(|(has, weight)| (*has).max(own) * weight).sum();
    let free = total.saturating_sub(used) / weights.max(1);
    hubs.iter().map(|(has, _)| (*has).max(own) + free).collect()
}

/// Sees to the shares of all protocols until the runtime ends.
pub(crate) async fn share(total: usize, most: usize, services: Arc<[Box<dyn Service>]>, weights: Vec<usize>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let hubs = services.iter().zip(&weights).filter(|(_, weight)| **weight > 0);
        let has: Vec<(usize, usize)> =
            hubs.clone().map(|(service, weight)| (service.connections(), *weight)).collect();
        for ((service, _), share) in hubs.zip(shares(total, &has)) {
            service.set_max_connections(share.min(most));
        }
    }
}

/// A protocol's cap at the start.
pub(crate) fn first_share(config: &Config, most: usize) -> usize {
    let Some(total) = config.descriptors else { return most };
    let weights: usize = weights(config).sum();
    (total / weights.max(1)).clamp(1, most.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-19: what all hubs take together is never more than there is, and each has a part of its own.
    #[test]
    fn shares_fit_for_any_numbers_of_connections() {
        for total in [100, 860, 19_000] {
            for has in [[0, 0, 0, 0], [total, 0, 0, 0], [total / 2, total / 2, 0, 0], [1, 2, 3, 4]] {
                for weight in [1, 2] {
                    let hubs: Vec<(usize, usize)> =
                        has.iter().zip([1, weight, 1, 1]).map(|(has, weight)| (*has, weight)).collect();
                    let weights: usize = hubs.iter().map(|(_, weight)| weight).sum();
                    let shares = shares(total, &hubs);
                    assert!(
                        shares.iter().all(|share| *share >= total / (2 * weights)),
                        "{total} {has:?}: {shares:?}"
                    );
                    let taken: usize =
                        shares.iter().zip(&hubs).map(|(share, (_, weight))| share * weight).sum();
                    let had: usize =
                        hubs.iter().map(|(has, weight)| (*has).max(total / (2 * weights)) * weight).sum();
                    assert!(taken <= total.max(had), "{total} {has:?}: {shares:?}");
                }
            }
        }
    }

    /// F-19: one protocol that is used alone gets nearly all, step by step, and the others keep their part.
    #[test]
    fn a_hub_that_needs_more_gets_it() {
        let mut has = [0, 0, 0, 0];
        for _ in 0..60 {
            has[1] = shares(19_000, &has.map(|has| (has, 1)))[1];
        }
        assert!(has[1] > 11_000, "{has:?}");
        assert_eq!(shares(19_000, &has.map(|has| (has, 1)))[0], 19_000 / 8);
    }

    #[test]
    fn what_is_enough_is_not_limited() {
        let config = Config::default();
        assert_eq!(fitting(&config, 524_288), None);
        let hubs = weights(&config).filter(|weight| *weight > 0).count();
        assert_eq!(fitting(&config, 1024), Some(1024 - FILES - 64 - hubs * HUB));
        assert_eq!(fitting(&config, 50), Some(0));
    }
}
