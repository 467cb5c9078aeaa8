//! TLS settings from PEM files. For anything else build rustls configurations directly.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem, pem::PemObject};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
pub use tokio_rustls::rustls;

/// A server's settings from a certificate chain and its key, both PEM files.
///
/// # Errors
/// Names the file that cannot be read or used.
pub fn server_config(certificates: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    ServerCertificate::from_pem_files(certificates, key)?.server_config()
}

/// A certificate chain and its key, from PEM files that may be replaced while the server runs.
#[derive(Debug)]
pub struct ServerCertificate {
    certificates: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    /// Held while files are read, so that the certificate that was read last is used.
    reading: Mutex<()>,
}

impl ServerCertificate {
    /// Reads both files.
    ///
    /// # Errors
    /// Names the file that cannot be read or used.
    pub fn from_pem_files(certificates: &Path, key: &Path) -> io::Result<Arc<Self>> {
        let current = RwLock::new(read_pair(certificates, key)?);
        let (certificates, key, reading) = (certificates.into(), key.into(), Mutex::new(()));
        Ok(Arc::new(Self { certificates, key, current, reading }))
    }

    /// Reads both files again. Handshakes from now on use the new certificate; connections stay. Returns whether the chain has changed.
    ///
    /// # Errors
    /// Names the file that cannot be read or used. The former certificate stays in use then.
    pub fn reload(&self) -> io::Result<bool> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let read = read_pair(&self.certificates, &self.key)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = read.cert != current.cert;
        *current = read;
        Ok(changed)
    }

    /// The two files: the certificate chain, and its key.
    pub fn paths(&self) -> [&Path; 2] {
        [&self.certificates, &self.key]
    }

    /// Settings that use the present certificate, also after a [`reload`](Self::reload).
    ///
    /// # Errors
    /// As rustls says.
    pub fn server_config(self: &Arc<Self>) -> io::Result<Arc<ServerConfig>> {
        let config = ServerConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        Ok(config.into())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// A client's settings that trust the certificates in a PEM file, and no others: those that [`client_verifier`] does.
///
/// # Errors
/// Names the file if it cannot be read or used.
pub fn client_config(trusted: &Path) -> io::Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(client_verifier(trusted)?)
        .with_no_client_auth();
    Ok(config.into())
}

/// Trusts the certificates in a PEM file, and no others.
///
/// - Each certificate is trusted as an authority: it may have signed the server's certificate.
/// - Each is trusted as the server's own as well. A server that shows exactly this certificate is trusted, whatever its dates and extensions are.
///   (F-62: `openssl req -x509` makes authorities, which no server may show otherwise.)
/// - If the file holds one certificate, a server that shows it is trusted under any name. If it holds several, the name has to match, so that none
///   of these servers can pass for another one.
///
/// # Errors
/// Names the file if it cannot be read or used.
pub fn client_verifier(trusted: &Path) -> io::Result<Arc<dyn ServerCertVerifier>> {
    let pinned = read_certificates(trusted)?;
    let mut roots = RootCertStore::empty();
    for certificate in &pinned {
        roots.add(certificate.clone()).map_err(|error| about(trusted, &error))?;
    }
    let provider: Arc<CryptoProvider> = default_provider().into();
    let by_authority = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .map_err(|error| about(trusted, &error))?;
    Ok(Arc::new(PinnedOrSigned { pinned, by_authority }))
}

/// Trusts certificates that are known, and those that an authority has signed.
#[derive(Debug)]
struct PinnedOrSigned {
    pinned: Vec<CertificateDer<'static>>,
    by_authority: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for PinnedOrSigned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The handshake proves that the server has the key.
        match &self.pinned[..] {
            [only] if only == end_entity => return Ok(ServerCertVerified::assertion()),
            several if several.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                return Ok(ServerCertVerified::assertion());
            }
            _ => {}
        }
        self.by_authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authority.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authority.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authority.supported_verify_schemes()
    }
}

fn read_pair(certificates: &Path, key: &Path) -> io::Result<Arc<CertifiedKey>> {
    let chain = read_certificates(certificates)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => about(key, &"no private key in PEM form in it"),
        error => about(key, &error),
    })?;
    let pair = CertifiedKey::from_der(chain, private, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            about(key, &format_args!("not the key of the certificate in {}", certificates.display()))
        }
        error => about(certificates, &error),
    })?;
    Ok(pair.into())
}

fn read_certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| about(path, &error))?;
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let certificates = certificates.map_err(|error| about(path, &error))?;
    if certificates.is_empty() {
        return Err(about(path, &"no certificate in PEM form in it"));
    }
    Ok(certificates)
}

fn about(path: &Path, error: &dyn core::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
