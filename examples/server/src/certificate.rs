//! The certificate for QUIC, which cannot do without: the one that was given, or one made here and kept.

use crate::Error;
use crate::config::Config;
use core::net::IpAddr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use voxwire_transport::tls::{self, rustls::ServerConfig};

const CERTIFICATE: &str = "quic-cert.pem";
const KEY: &str = "quic-key.pem";

/// Settings with the certificate that `config` names, or with our own; made and written to the data folder if there is none
/// yet.
pub(crate) fn server_config(config: &Config) -> Result<Arc<ServerConfig>, Error> {
    if let Some((certificate, key)) = &config.tls {
        return tls::server_config(certificate, key).map_err(|error| Error::Usage(format!("TLS: {error}")));
    }
    let (certificate, key) = (config.data.join(CERTIFICATE), config.data.join(KEY));
    let missing = |path: &Path| !path.exists();
    if missing(&certificate) || missing(&key) {
        let write = |path: &Path, text: &str, secret: bool| {
            write(path, text, secret).map_err(|error| Error::Write { path: path.into(), error })
        };
        let made = rcgen::generate_simple_self_signed(names(config.bind)).map_err(io::Error::other)?;
        fs::create_dir_all(&config.data)
            .map_err(|error| Error::Write { path: config.data.clone(), error })?;
        write(&key, &made.signing_key.serialize_pem(), true)?;
        write(&certificate, &made.cert.pem(), false)?;
        let path = certificate.display();
        tracing::info!("made a certificate for QUIC; clients trust it with --tls-ca {path}");
    }
    Ok(tls::server_config(&certificate, &key)?)
}

/// What clients on this machine, or at the address bound, will call the server.
fn names(bind: IpAddr) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    if !bind.is_unspecified() && !bind.is_loopback() {
        names.push(bind.to_string());
    }
    names
}

/// Replaces the file at once, so that nobody reads half of one.
fn write(path: &Path, text: &str, secret: bool) -> io::Result<()> {
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if secret { 0o600 } else { 0o644 });
    }
    #[cfg(not(unix))]
    let _ = secret;
    let mut file = options.open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}
