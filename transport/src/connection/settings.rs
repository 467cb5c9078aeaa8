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
    /// Bytes of reliable frames that may be queued for the server. One frame always may. Beyond it the connection ends with
    /// [`Error::Untaken`](crate::Error::Untaken). 32 MiB by default.
    pub max_queued: usize,
    /// How long the server may take nothing of what is queued for it. Then the connection ends with [`Error::Stalled`](crate::Error::Stalled),
    /// also in [`flush`](crate::Connection::flush) and after the session has closed it. 60 s by default.
    ///
    /// - It should be longer than a server may wait for memory before it reads on, which is 30 s by default.
    /// - Under TLS, and on QUIC when the connection ends, no progress is seen within the last 64 KiB: all of them have to be taken in this time.
    /// - On Linux `unacknowledged` ends the connection first.
    pub write_timeout: Duration,
    /// As for [`HubSettings::keepalive`](crate::HubSettings::keepalive). [`Keepalive::DEFAULT`] by default.
    pub keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged (Linux); `None`: as long as the system allows. 40 s by default.
    ///
    /// - Linux applies it as well to a server that acknowledges everything but has no room for more. A server that waits for memory has none for
    ///   30 s by default, and one that does not read before a log-in for 36 s. So this should be longer than either.
    /// - Linux gives a silent server up at the first probe that is due this long after the server was heard last: with the defaults after 41 s,
    ///   however many probes `keepalive` allows.
    /// - On QUIC a server is gone after the silence that `keepalive` allows and this together, but no later than twice the former: 28 s.
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
