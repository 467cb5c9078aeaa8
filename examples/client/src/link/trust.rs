//! Which certificates the client trusts, and what the server has shown.

use crate::error::{Error, failed};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use voxwire_transport::tls;
use voxwire_transport::tls::rustls::client::WebPkiServerVerifier;
use voxwire_transport::tls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use voxwire_transport::tls::rustls::crypto::ring::default_provider;
use voxwire_transport::tls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use voxwire_transport::tls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those that this system trusts: `SSL_CERT_FILE` and `SSL_CERT_DIR` say which, or the system's folders.
    System,
    /// Those in this file, and no others.
    File(PathBuf),
}

impl Trust {
    /// Settings for TLS and QUIC. `shown` keeps the certificate that the server shows.
    pub(super) fn config(&self, shown: &Shown) -> Result<Arc<ClientConfig>, Error> {
        let inner = match self {
            Self::File(path) => tls::client_verifier(path).map_err(|error| failed!("TLS: {error}"))?,
            Self::System => system()?,
        };
        let verifier = Arc::new(Watching { inner, shown: shown.clone() });
        let config = ClientConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| failed!("TLS: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(config.into())
    }
}

fn system() -> Result<Arc<dyn ServerCertVerifier>, Error> {
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
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), default_provider().into());
    Ok(verifier.build().map_err(|error| failed!("TLS: {error}"))?)
}

/// The certificate that the server has shown last, trusted or not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown(Arc<Mutex<Option<CertificateDer<'static>>>>);

impl Shown {
    /// The last day on which the certificate is valid; `None` where there is none, or one that cannot be read.
    pub(crate) fn valid_until(&self) -> Option<String> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, certificate) = x509_parser::parse_x509_certificate(shown.as_ref()?).ok()?;
        Some(certificate.validity().not_after.to_datetime().date().to_string())
    }

    /// Whether the server has shown one: it speaks TLS.
    pub(crate) fn is_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Keeps what the server shows. All decisions are those of `inner`.
#[derive(Debug)]
struct Watching {
    inner: Arc<dyn ServerCertVerifier>,
    shown: Shown,
}

impl ServerCertVerifier for Watching {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.shown.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.clone().into_owned());
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
