//! How users reach the server where nothing may go in the clear.

use crate::error::{Cause, cause};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use voxwire_transport::Remote;
use voxwire_transport::tls::client_config;
use voxwire_transport::tls::rustls::ClientConfig;
use voxwire_transport::tls::rustls::pki_types::ServerName;

/// TLS, or QUIC.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Encryption {
    /// QUIC, and not TLS.
    pub(crate) quic: bool,
    /// The certificates to trust. A server that this program starts says where its own is.
    pub(crate) trusted: PathBuf,
    /// The name that the server's certificate has to be valid for; `None` for the server's address.
    name: Option<String>,
    /// Made of `trusted` for the first user of a process.
    #[serde(skip)]
    config: OnceLock<Arc<ClientConfig>>,
}

impl Encryption {
    pub(crate) const fn new(quic: bool, trusted: PathBuf, name: Option<String>) -> Self {
        Self { quic, trusted, name, config: OnceLock::new() }
    }

    /// The way to `server` (`host:port`), which would be `clear` without encryption.
    pub(crate) fn remote(&self, server: &str, clear: Remote) -> Result<Remote, Cause> {
        let config = match self.config.get() {
            Some(config) => config,
            None => {
                let config = client_config(&self.trusted).map_err(|error| cause!("certificates: {error}"))?;
                self.config.get_or_init(|| config)
            }
        };
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']']);
        let name = self.name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| cause!("the server's name: {error}"))?;
        let config = config.clone();
        Ok(if self.quic { Remote::quic(server, name, config) } else { clear.tls(name, config) })
    }
}
