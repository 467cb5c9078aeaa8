//! Limits of a client's connection.

use crate::socket_options::Keepalive;
use core::time::Duration;

/// Limits of a [`Connection`](crate::Connection). Build it with `..ConnectionSettings::DEFAULT`.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// How long connecting may take, a TLS handshake included. 10 s by default.
    pub connect: Duration,
    /// Bytes of droppable frames that may be queued for the server, where the session sets no budget. 1 MiB by default.
    pub droppable_budget: usize,
    /// Bytes of reliable frames that may be queued for the server, or one frame; beyond it the connection ends with [`Error::Untaken`](crate::Error::Untaken).
    /// 32 MiB by default.
    pub max_queued: usize,
    /// How long the server may take nothing of what is queued for it, though it acknowledges what it gets; then the connection ends with
    /// [`Error::Stalled`](crate::Error::Stalled). The same holds for [`flush`](crate::Connection::flush), and for what is queued when the connection is closed. A server may have to wait for memory,
    /// half a minute by default, before it reads on. Under TLS, and on QUIC when the connection ends, the last of it (64 KiB) counts as a
    /// whole: it has to be taken in this time. On Linux `unacknowledged` comes first. 60 s by default.
    pub write_timeout: Duration,
    /// As for [`HubSettings::keepalive`](crate::HubSettings::keepalive). [`Keepalive::DEFAULT`] by default.
    pub keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged (Linux). The system applies it as well to a server that acknowledges everything and has
    /// no room for more, as one that waits for memory (30 s by default) or does not read before a log-in (36 s): it should be longer than
    /// either. It is also what the system waits for after the first unanswered probe, instead of as many as `keepalive` says. On QUIC a
    /// server is gone after the silence that `keepalive` allows and this, but twice the former at most: 28 s. 40 s by default.
    pub unacknowledged: Option<Duration>,
    /// The first and the last of the ports that the session may listen on, by
    /// [`Output::Listen`](voxwire_core::Output::Listen); `None` for any that is free. `None` by default.
    pub ports: Option<(u16, u16)>,
}

impl ConnectionSettings {
    /// 10 s to connect; 1 MiB of droppable and 32 MiB of reliable frames queued, none of it taken for 60 s (on Linux 40 s);
    /// a dead server is noticed after 14 s, on Linux after 41 s, or 40 s after something has been sent to it.
    pub const DEFAULT: Self = Self {
        connect: Duration::from_secs(10),
        droppable_budget: 1024 * 1024,
        max_queued: 32 * 1024 * 1024,
        write_timeout: Duration::from_secs(60),
        keepalive: Some(Keepalive::DEFAULT),
        unacknowledged: Some(Duration::from_secs(40)),
        ports: None,
    };
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings_docs::{assert_defaults, bytes, time};

    /// C-04: the doc of each field says its default.
    #[test]
    fn every_doc_says_the_default() {
        let ConnectionSettings {
            connect,
            droppable_budget,
            max_queued,
            write_timeout,
            keepalive,
            unacknowledged,
            ports,
        } = ConnectionSettings::DEFAULT;
        assert!(keepalive == Some(Keepalive::DEFAULT) && ports.is_none());
        let defaults = [
            ("connect", time(connect)),
            ("droppable_budget", bytes(droppable_budget)),
            ("max_queued", bytes(max_queued)),
            ("write_timeout", time(write_timeout)),
            ("keepalive", "[`Keepalive::DEFAULT`]".into()),
            ("unacknowledged", time(unacknowledged.unwrap())),
            ("ports", "`None`".into()),
        ];
        assert_defaults(include_str!("settings.rs"), &defaults);
    }
}
