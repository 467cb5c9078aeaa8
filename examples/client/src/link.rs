//! Where the server is, and how to get there.

pub(crate) mod advice;
mod trust;

use crate::error::{Error, failed};
use core::time::Duration;
use std::net::ToSocketAddrs as _;
use tokio::time::timeout;
pub(crate) use trust::{Shown, Trust};
use voxwire_core::Session;
use voxwire_transport::tls::rustls::pki_types::ServerName;
use voxwire_transport::{Connection, ConnectionSettings, Remote, TcpUdpSettings};

pub(crate) const NO_TLS: &str =
    "say --tls, or whom to trust with --tls-ca FILE, or everything goes in the clear";

/// QUIC is always encrypted.
pub(crate) const QUIC_TRUST: &str = "QUIC needs to know whom to trust: --tls-ca FILE, or --tls";

/// What the command line says about the server.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) server: Option<String>,
    /// Which certificates to trust; without it TLS is not spoken.
    pub(crate) trust: Option<Trust>,
    pub(crate) tls_name: Option<String>,
    /// Nothing is said in the clear.
    pub(crate) encrypted_only: bool,
    /// The certificate that the server shows.
    pub(crate) shown: Shown,
}

impl Link {
    /// In the clear, to a server at `address`.
    pub(crate) fn to(address: impl ToString) -> Self {
        let (server, shown) = (Some(address.to_string()), Shown::default());
        Self { server, trust: None, tls_name: None, encrypted_only: false, shown }
    }

    /// The server as `host:port`, with the protocol's own port where none is given.
    pub(crate) fn address(&self, port: u16) -> String {
        let Some(server) = &self.server else { return format!("127.0.0.1:{port}") };
        let without_zone = server.split('%').next().unwrap_or(server);
        let bare_v6 = without_zone.parse::<core::net::Ipv6Addr>().is_ok();
        let address = match server.rsplit_once(':') {
            _ if bare_v6 => format!("[{server}]:{port}"),
            Some((_, digits)) if !digits.ends_with(']') => server.clone(),
            _ => format!("{server}:{port}"),
        };
        with_zone_number(&address).unwrap_or(address)
    }

    /// Whether a port is named.
    pub(crate) fn names_port(&self) -> bool {
        self.address(1) == self.address(2)
    }

    /// The same server, to which TLS is spoken as `trust` says. What it shows is kept apart.
    pub(crate) fn with_trust(&self, trust: Trust) -> Self {
        Self { trust: Some(trust), shown: Shown::default(), ..self.clone() }
    }

    /// The same link, with a place of its own for what the server shows.
    pub(crate) fn apart(&self) -> Self {
        Self { shown: Shown::default(), ..self.clone() }
    }

    /// Whether voice may go as it is about to: encrypted, or else wherever that has not been ruled out.
    ///
    /// # Errors
    /// Says what is in the clear.
    pub(crate) fn allow_clear(&self, what: &str) -> Result<(), Error> {
        if self.encrypted_only {
            return Err(Error::Usage(format!("--encrypted-only: {what}")));
        }
        Ok(())
    }

    /// Connects `session` to the server by TCP and UDP.
    pub(crate) async fn connect_tcp_udp<S: Session>(
        &self,
        port: u16,
        mut settings: TcpUdpSettings,
        session: S,
    ) -> Result<Connection<S>, Error> {
        if self.encrypted_only {
            // All of it goes by the TLS side.
            settings.udp = false;
        }
        let target = Remote::tcp_udp(self.address(port), settings);
        self.connect_to(port, target, session, ConnectionSettings::DEFAULT).await
    }

    /// Connects `session` to the server by QUIC.
    pub(crate) async fn connect_quic<S: Session>(
        &self,
        port: u16,
        token: Vec<u8>,
        session: S,
    ) -> Result<Connection<S>, Error> {
        let address = self.address(port);
        let Some(trust) = &self.trust else {
            return Err(Error::Usage(QUIC_TRUST.into()));
        };
        let target = Remote::quic(&address, self.name(&address)?, trust.config(&self.shown)?).token(token);
        let connected = Connection::connect(target, session, ConnectionSettings::DEFAULT).await;
        connected.map_err(|error| self.cannot_connect(&address, &error, true))
    }

    /// The name that the server's certificate has to show.
    fn name(&self, address: &str) -> Result<ServerName<'static>, Error> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        // A zone is this machine's own business.
        let host = host.trim_matches(['[', ']']).split('%').next().unwrap_or(host);
        let host = self.tls_name.clone().unwrap_or_else(|| host.to_owned());
        ServerName::try_from(host.clone()).map_err(|error| Error::Usage(format!("{host}: {error}")))
    }

    fn cannot_connect(&self, address: &str, error: &voxwire_transport::Error, quic: bool) -> Error {
        match advice::on_connecting(error, self.trust.as_ref(), quic) {
            Some(advice) => failed!("cannot connect to {address}: {error}: {advice}"),
            None => failed!("cannot connect to {address}: {error}"),
        }
    }

    /// Connects `session` to the server.
    pub(crate) async fn connect<S: Session>(&self, port: u16, session: S) -> Result<Connection<S>, Error> {
        self.connect_with(port, session, ConnectionSettings::DEFAULT).await
    }

    /// Connects `session` to the server, with other limits than the usual ones.
    pub(crate) async fn connect_with<S: Session>(
        &self,
        port: u16,
        session: S,
        settings: ConnectionSettings,
    ) -> Result<Connection<S>, Error> {
        self.connect_to(port, Remote::tcp(self.address(port)), session, settings).await
    }

    /// Connects to `target`, with TLS where the command line says whom to trust.
    async fn connect_to<S: Session>(
        &self,
        port: u16,
        mut target: Remote,
        session: S,
        settings: ConnectionSettings,
    ) -> Result<Connection<S>, Error> {
        let address = self.address(port);
        match &self.trust {
            None => self.allow_clear(NO_TLS)?,
            Some(trust) => target = target.tls(self.name(&address)?, trust.config(&self.shown)?),
        }
        let connected = Connection::connect(target, session, settings).await;
        connected.map_err(|error| self.cannot_connect(&address, &error, false))
    }
}

/// F-68: an IPv6 address with the number of its zone in place of the name of an interface, which the system alone understands. `None`
/// where there is no zone.
fn with_zone_number(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':').filter(|(host, _)| host.contains('%'))?;
    let mut found = (host.trim_matches(['[', ']']), port.parse().ok()?).to_socket_addrs().ok()?;
    found.next().map(|address| address.to_string())
}

/// How long the goodbye may take to be written.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Ends the session, and waits until its goodbye is written.
pub(crate) async fn close<S: Session>(connection: &mut Connection<S>) {
    connection.shutdown();
    let rest = async { while connection.next().await.is_some() {} };
    let _ = timeout(GOODBYE_TIMEOUT, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_be_named_with_and_without_a_port() {
        for (given, expected) in [
            (None, "127.0.0.1:4240"),
            (Some("example.org"), "example.org:4240"),
            (Some("example.org:5"), "example.org:5"),
            (Some("192.0.2.1"), "192.0.2.1:4240"),
            (Some("::1"), "[::1]:4240"),
            (Some("[::1]"), "[::1]:4240"),
            (Some("[::1]:5"), "[::1]:5"),
            // F-68
            (Some("fe80::1%lo"), "[fe80::1%1]:4240"),
            (Some("[fe80::1%lo]:5"), "[fe80::1%1]:5"),
        ] {
            let link = Link { server: given.map(String::from), ..Link::to("") };
            assert_eq!(link.address(4240), expected);
        }
    }
}
