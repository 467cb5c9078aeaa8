//! Descriptors: as many as the system gives, and caps that fit.

use crate::config::{Config, Protocol};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the runtime, the log, the database and its files take, and sound that is read or recorded.
const FILES: u64 = 96;
/// What a hub takes beyond its share: its listeners, and a connection that is closed as soon as it is accepted.
const HUB: u64 = 8;

/// Raises the process's soft limit of descriptors to the hard one, and lowers `config.connections` to what that is
/// enough for, with a reserve for files, the database and the status page. Says so in the log if it is less.
///
/// At a limit of 1024 with all protocols, each takes about 180 connections.
pub fn fit(config: &mut Config) {
    let limit = match raise() {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of descriptors");
            getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
        }
    };
    let fitting = fitting(config, limit);
    if fitting < config.connections {
        tracing::warn!(
            descriptors = limit,
            wanted = config.connections,
            connections = fitting,
            "fewer connections for each protocol than set: raise the limit of descriptors (ulimit -n, LimitNOFILE=)"
        );
        config.connections = fitting;
    }
}

fn raise() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Connections for each protocol, such that all together fit.
fn fitting(config: &Config, limit: u64) -> usize {
    let shares: u64 = config
        .only
        .iter()
        .map(|protocol| match protocol {
            Protocol::Voicelink | Protocol::Msgpack | Protocol::Dissonance => 1,
            // Each call that is carried has a port of its own, with a listener.
            Protocol::Opcode if !config.opcode.relay.is_empty() => 2,
            Protocol::Opcode => 1,
            // One socket for everybody.
            Protocol::Syfala => 0,
        })
        .sum();
    if shares == 0 {
        return usize::MAX;
    }
    let http = u64::try_from(config.http_connections).unwrap_or(u64::MAX);
    let rest = limit.saturating_sub(FILES).saturating_sub(http);
    let share = (rest / shares).saturating_sub(HUB);
    // `service::hub_settings` adds an eighth and 16.
    let connections = share.saturating_sub(16).saturating_mul(8) / 9;
    usize::try_from(connections.max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::hub_settings;

    /// F-19: what all hubs take together is less than there is.
    #[test]
    fn caps_fit_the_limit_with_a_reserve() {
        for (limit, relay) in [(1024, false), (1024, true), (4096, true), (524_288, false)] {
            let mut config = Config::default();
            if relay {
                config.opcode.relay = vec!["192.0.2.1".parse().unwrap()];
            }
            config.connections = fitting(&config, limit);
            let hubs = if relay { 5 } else { 4 };
            let taken = hubs * (hub_settings(&config).max_connections as u64 + HUB) + FILES + 64;
            assert!(taken <= limit && taken + 64 > limit, "{limit}: {taken}");
        }
        let tiny = Config::default();
        assert_eq!(fitting(&tiny, 64), 1);
    }
}
