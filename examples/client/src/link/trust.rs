//! Which certificates the client trusts.

use crate::error::{Error, failed};
use std::path::PathBuf;
use std::sync::Arc;
use voxwire_transport::tls;
use voxwire_transport::tls::rustls::crypto::ring::default_provider;
use voxwire_transport::tls::rustls::{ClientConfig, RootCertStore};

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those that this system trusts: `SSL_CERT_FILE` and `SSL_CERT_DIR` say which, or the system's folders.
    System,
    /// Those in this file, and no others.
    File(PathBuf),
}

impl Trust {
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        match self {
            Self::File(path) => tls::client_config(path).map_err(|error| failed!("TLS: {error}")),
            Self::System => system(),
        }
    }
}

fn system() -> Result<Arc<ClientConfig>, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One that cannot be understood does not make the others useless.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why: String = found.errors.iter().map(|error| format!(" ({error})")).collect();
        return Err(failed!(
            "--tls: no authorities are found on this system{why}: install ca-certificates, set SSL_CERT_FILE, or say --tls-ca FILE"
        ));
    }
    let config = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed!("TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config.into())
}
