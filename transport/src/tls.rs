//! TLS settings from the files that people have. For anything else build rustls configurations directly.

use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io;
use std::path::Path;
use std::sync::Arc;
pub use tokio_rustls::rustls;

/// A server's settings from a certificate chain and its key, both PEM files.
///
/// # Errors
/// Names the file that cannot be read or used.
pub fn server_config(certificates: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let chain = read_certificates(certificates)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| about(key, &error))?;
    let config = ServerConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| about(certificates, &error))?;
    Ok(config.into())
}

/// A client's settings that trust the certificates in a PEM file, and nobody else.
///
/// # Errors
/// Names the file if it cannot be read or used.
pub fn client_config(authorities: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(authorities)? {
        roots.add(certificate).map_err(|error| about(authorities, &error))?;
    }
    let config = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config.into())
}

fn read_certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| about(path, &error))?;
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let certificates = certificates.map_err(|error| about(path, &error))?;
    if certificates.is_empty() {
        return Err(about(path, &"no certificate in it"));
    }
    Ok(certificates)
}

fn about(path: &Path, error: &dyn core::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
