//! What a failed connection most probably means, and the flag that mends it.

use super::Trust;
use core::net::SocketAddr;
use std::io;
use voxwire_transport::Error;
use voxwire_transport::tls::rustls::{self, AlertDescription, CertificateError};

/// Where the server turned out to speak TLS.
pub(crate) const SPEAK_TLS: &str = "say --tls-ca FILE with its certificate, or --tls";
/// Where what the server sent is not of the protocol.
pub(crate) const OTHER_PORT: &str = "perhaps --server names the port of another protocol";

/// Where the server closed the connection at once.
pub(crate) const TLS_OR_OTHER_PORT: &str =
    "perhaps the server speaks TLS (--tls-ca FILE or --tls), or --server names the port of another protocol";

/// Where a server that is asked by TLS does not go on with the handshake.
const NO_TLS_OR_OTHER_PORT: &str =
    "perhaps the server does not speak TLS at this port, or --server names the port of another protocol";
const NO_QUIC: &str = "does the server speak QUIC at this port, and does UDP come through to it?";

/// Where the host says that no program listens.
const NOBODY_LISTENS: &str = "no program listens there: does the server run, serve this protocol, and listen on this address (--bind 0.0.0.0)?";
const FIREWALL: &str = "a firewall on the way drops what is sent there, or no host has this address";
const NO_WAY: &str = "is the address right, and is this machine on a network that leads there?";

/// Where there is no connection by TCP.
pub(crate) fn on_no_connection(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => NOBODY_LISTENS,
        io::ErrorKind::TimedOut => FIREWALL,
        _ => NO_WAY,
    }
}

/// Where a server of TCP + UDP does not answer by UDP. `until`: what becomes of voice until it does.
pub(crate) fn on_blocked_udp(server: SocketAddr, until: &str) -> String {
    let port = server.port();
    format!(
        "UDP is blocked: {server} does not answer by UDP. {until} Firewalls on the way have to let UDP through to port {port}"
    )
}

/// Where a server to which there is a connection says nothing. `tls`: it has shown that it speaks TLS.
pub(crate) const fn on_silence(tls: bool) -> &'static str {
    if tls { OTHER_PORT } else { TLS_OR_OTHER_PORT }
}

/// F-62: the likely cause, and what to do about it. `None` where the error says it.
pub(super) fn on_connecting(error: &Error, trust: Option<&Trust>, quic: bool) -> Option<String> {
    if let (Some(alert), Some(trust)) = (error.tls_alert(), trust) {
        return Refused::by_alert(alert).map(|refused| refused.advice(trust));
    }
    let error = match error {
        Error::SpeaksTls => return Some(SPEAK_TLS.into()),
        Error::NoHello => return Some(OTHER_PORT.into()),
        Error::TooSlow(_) if quic => return Some(NO_QUIC.into()),
        Error::TooSlow(_) if trust.is_some() => return Some(NO_TLS_OR_OTHER_PORT.into()),
        Error::TooSlow(_) => {
            return Some(format!("{TLS_OR_OTHER_PORT}, or a firewall drops what is sent there"));
        }
        Error::Io(error) => error,
        _ => return None,
    };
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, trust) {
        (Some(error), Some(trust)) => on_tls(error, trust),
        (None, Some(_)) if is_cut_off(error) => Some(NO_TLS_OR_OTHER_PORT.into()),
        (None, None) if is_cut_off(error) => Some(TLS_OR_OTHER_PORT.into()),
        (None, _) if error.kind() == io::ErrorKind::ConnectionRefused => Some(NOBODY_LISTENS.into()),
        _ => None,
    }
}

fn on_tls(error: &rustls::Error, trust: &Trust) -> Option<String> {
    match error {
        rustls::Error::InvalidCertificate(error) => Refused::by(error).map(|refused| refused.advice(trust)),
        rustls::Error::InvalidMessage(_) => {
            Some("the server does not speak TLS at this port: leave out --tls and --tls-ca".into())
        }
        _ => None,
    }
}

/// Why a certificate is refused.
enum Refused {
    Untrusted,
    Name,
    Expired,
}

impl Refused {
    const fn by(error: &CertificateError) -> Option<Self> {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_) => {
                Some(Self::Untrusted)
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Some(Self::Name)
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Some(Self::Expired),
            _ => None,
        }
    }

    /// What rustls says by this alert of the same errors: all that QUIC keeps.
    const fn by_alert(alert: AlertDescription) -> Option<Self> {
        match alert {
            AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::CertificateUnknown => Some(Self::Untrusted),
            AlertDescription::BadCertificate => Some(Self::Name),
            AlertDescription::CertificateExpired => Some(Self::Expired),
            _ => None,
        }
    }

    fn advice(&self, trust: &Trust) -> String {
        match (self, trust) {
            (Self::Untrusted, Trust::System) => {
                "no authority of this system has signed the certificate; if it is the server's own, get a copy of it and say \
                 --tls-ca FILE"
                    .into()
            }
            (Self::Untrusted, Trust::File(path)) => format!(
                "{} holds neither the server's certificate nor the authority that has signed it; get a copy of either",
                path.display()
            ),
            (Self::Name, _) => "--tls-name NAME says which of its names to expect".into(),
            (Self::Expired, _) => "the server needs a new certificate".into(),
        }
    }
}

/// Whether the server has ended the connection in the middle of the handshake.
fn is_cut_off(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
