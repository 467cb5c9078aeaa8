//! What a failed connection most probably means, and the flag that mends it.

use super::Trust;
use std::io;
use voxwire_transport::Error;
use voxwire_transport::tls::rustls::{self, CertificateError};

/// Where the server turned out to speak TLS.
pub(crate) const SPEAK_TLS: &str = "say --tls-ca FILE with its certificate, or --tls";
/// Where what the server sent is not of the protocol.
pub(crate) const OTHER_PORT: &str = "perhaps --server names the port of another protocol";

/// Where the server closed the connection at once.
pub(crate) const TLS_OR_OTHER_PORT: &str =
    "perhaps the server speaks TLS (--tls-ca FILE or --tls), or --server names the port of another protocol";

/// F-62: the likely cause, and what to do about it. `None` where the error says it.
pub(super) fn on_connecting(error: &Error, trust: Option<&Trust>, quic: bool) -> Option<String> {
    let error = match error {
        Error::Io(error) => error,
        Error::SpeaksTls => return Some(SPEAK_TLS.into()),
        Error::NoHello => return Some(OTHER_PORT.into()),
        _ => {
            return quic
                .then(|| "does the server speak QUIC at this port, and does UDP come through to it?".into());
        }
    };
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, trust) {
        (Some(error), Some(trust)) => on_tls(error, trust),
        (None, Some(_)) if is_cut_off(error) => Some(
            "perhaps the server does not speak TLS at this port, or --server names the port of another protocol".into(),
        ),
        (None, None) if is_cut_off(error) => Some(TLS_OR_OTHER_PORT.into()),
        _ => None,
    }
}

fn on_tls(error: &rustls::Error, trust: &Trust) -> Option<String> {
    match error {
        rustls::Error::InvalidCertificate(error) => on_certificate(error, trust),
        rustls::Error::InvalidMessage(_) => {
            Some("the server does not speak TLS at this port: leave out --tls and --tls-ca".into())
        }
        _ => None,
    }
}

fn on_certificate(error: &CertificateError, trust: &Trust) -> Option<String> {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_) => {
            Some(match trust {
                Trust::System => {
                    "no authority of this system has signed the certificate; if it is the server's own, get a copy of it and say \
                     --tls-ca FILE"
                        .into()
                }
                Trust::File(path) => format!(
                    "{} holds neither the server's certificate nor the authority that has signed it; get a copy of either",
                    path.display()
                ),
            })
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some("--tls-name NAME says which of its names to expect".into())
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some("the server needs a new certificate".into())
        }
        _ => None,
    }
}

/// Whether the server has ended the connection in the middle of the handshake.
fn is_cut_off(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
