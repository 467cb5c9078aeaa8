//! TLS alerts that end a QUIC handshake.

use std::io;
use tokio_rustls::rustls::AlertDescription;

/// The TLS alert by which this side has ended a handshake.
pub(crate) fn tls_alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        quinn::ConnectionError::TransportError(error) => {
            // RFC 9001, 4.8: the codes from 0x100 on are alerts.
            let alert = u64::from(error.code).checked_sub(0x100)?;
            u8::try_from(alert).ok().map(AlertDescription::from)
        }
        _ => None,
    }
}
