//! Certificates: those that were given, one made here where there is none, and what becomes of them when their files are replaced.

use crate::Error;
use crate::config::Config;
use crate::private_files::create_folder;
use core::net::IpAddr;
use core::time::Duration;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use voxwire_transport::tls::ServerCertificate;
use voxwire_transport::tls::rustls::ServerConfig;

const CERTIFICATE: &str = "quic-cert.pem";
const KEY: &str = "quic-key.pem";
/// How often the files are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// Makes a self-signed certificate and its key, for `--tls-cert` and `--tls-key`.
#[derive(Debug, Clone, clap::Args)]
pub struct MakeCertificate {
    /// What clients call the server: host names and addresses.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Where to write the certificate.
    #[arg(long, value_name = "FILE", default_value = "cert.pem")]
    cert: PathBuf,
    /// Where to write the key.
    #[arg(long, value_name = "FILE", default_value = "key.pem")]
    key: PathBuf,
}

impl MakeCertificate {
    /// Writes both files. Returns how they are used, for the terminal.
    ///
    /// # Errors
    /// A file is there already, or cannot be written; a name is none.
    pub fn run(&self) -> Result<String, Error> {
        if self.key == self.cert {
            return Err(Error::Usage("--cert and --key: two files expected".into()));
        }
        for path in [&self.key, &self.cert] {
            if path.exists() {
                return Err(Error::Usage(format!("{} exists already, and is not replaced", path.display())));
            }
        }
        make(self.names.clone(), &self.cert, &self.key)?;
        let (cert, key) = (self.cert.display(), self.key.display());
        let first = self.names.first().map_or("", String::as_str);
        Ok(format!(
            "made {cert}, which clients need, too, and {key}, which the server alone may have\n\
             server: voxwire-server --bind 0.0.0.0 --tls-cert {cert} --tls-key {key}\n\
             client: voxwire-client --server {first} --tls-ca {cert} PROTOCOL ..\n"
        ))
    }
}

/// The certificates of a server, whose files may be replaced.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    /// Of the settings, for everything.
    given: Option<Certificate>,
    /// For QUIC, where none is given.
    own: Option<Certificate>,
}

#[derive(Debug)]
struct Certificate {
    used: Arc<ServerCertificate>,
    loaded: Mutex<Loaded>,
}

/// What was read last.
#[derive(Debug)]
struct Loaded {
    version: Version,
    /// Why what came later could not be used.
    failure: Option<String>,
}

/// What changes when one of the two files is replaced.
type Version = [Option<(SystemTime, u64)>; 2];

impl Certificates {
    /// Reads the files that `config` names, if any.
    pub(crate) fn of(config: &Config) -> Result<Self, Error> {
        let read = |(path, key): &(PathBuf, PathBuf)| Certificate::read(path, key);
        let given = config.tls.as_ref().map(read).transpose();
        Ok(Self { given: given.map_err(|error| Error::Usage(format!("TLS: {error}")))?, own: None })
    }

    /// Settings for TLS over TCP, if a certificate was given.
    pub(crate) fn tcp(&self) -> Result<Option<Arc<ServerConfig>>, Error> {
        Ok(self.given.as_ref().map(|given| given.used.server_config()).transpose()?)
    }

    /// Settings for QUIC, which needs a certificate: the given one, or one of the data folder, which is made where there is none.
    pub(crate) fn quic(&mut self, config: &Config) -> Result<Arc<ServerConfig>, Error> {
        if let Some(certificate) = self.all().next() {
            return Ok(certificate.used.server_config()?);
        }
        let (path, key) = (config.data.join(CERTIFICATE), config.data.join(KEY));
        if !path.exists() || !key.exists() {
            create_folder(&config.data).map_err(|error| Error::Write { path: config.data.clone(), error })?;
            make(names(config.bind), &path, &key)?;
            let path = path.display();
            tracing::info!("made a certificate for QUIC; clients trust it with --tls-ca {path}");
        }
        Ok(self.own.insert(Certificate::read(&path, &key)?).used.server_config()?)
    }

    fn all(&self) -> impl Iterator<Item = &Certificate> {
        self.given.iter().chain(&self.own)
    }

    /// Reads all files again. Blocks for the disk.
    pub(crate) fn reload(&self) {
        self.all().for_each(|certificate| certificate.reload(true));
    }

    /// Reads files again once they have been replaced, or could not be used the last time.
    pub(crate) async fn watch(self: Arc<Self>) {
        while self.all().next().is_some() {
            tokio::time::sleep(WATCH_INTERVAL).await;
            let certificates = self.clone();
            let look = move || certificates.all().for_each(|certificate| certificate.reload(false));
            if tokio::task::spawn_blocking(look).await.is_err() {
                return;
            }
        }
    }
}

impl Certificate {
    fn read(path: &Path, key: &Path) -> io::Result<Self> {
        // Before the files are read: what replaces them meanwhile is seen later.
        let loaded = Loaded { version: version([path, key]), failure: None }.into();
        Ok(Self { used: ServerCertificate::from_pem_files(path, key)?, loaded })
    }

    /// Reads the files again: `always`, or if they have been replaced.
    fn reload(&self, always: bool) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let version = version(self.used.paths());
        if version == loaded.version && !always {
            return;
        }
        match self.used.reload() {
            Ok(changed) => {
                if changed {
                    let [file, _] = self.used.paths();
                    tracing::info!(file = %file.display(), "the certificate has been replaced");
                }
                *loaded = Loaded { version, failure: None };
            }
            Err(error) => {
                let failure = Some(error.to_string());
                if always || loaded.failure != failure {
                    tracing::warn!(%error, "the certificate stays as it was");
                }
                loaded.failure = failure;
            }
        }
    }
}

fn version(paths: [&Path; 2]) -> Version {
    let changed = |metadata: Metadata| Some((metadata.modified().ok()?, metadata.len()));
    paths.map(|path| fs::metadata(path).ok().and_then(changed))
}

/// Makes a self-signed certificate. It does not expire: clients trust exactly this one.
fn make(names: Vec<String>, certificate: &Path, key: &Path) -> Result<(), Error> {
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| Error::Usage(format!("certificate: {error}")))?;
    let write = |path: &Path, text: &str, secret: bool| {
        write(path, text, secret).map_err(|error| Error::Write { path: path.into(), error })
    };
    write(key, &made.signing_key.serialize_pem(), true)?;
    write(certificate, &made.cert.pem(), false)
}

/// What clients on this machine, or at the address bound, will call the server.
fn names(bind: IpAddr) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    if !bind.is_unspecified() && !bind.is_loopback() {
        names.push(bind.to_string());
    }
    names
}

/// Replaces the file at once, so that nobody reads half of one. A secret is in no file but one that is made here.
fn write(path: &Path, text: &str, secret: bool) -> io::Result<()> {
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&unfinished);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if secret { 0o600 } else { 0o644 });
    }
    #[cfg(not(unix))]
    let _ = secret;
    let mut file = options.open(&unfinished)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.and_then(|()| fs::rename(&unfinished, path)).inspect_err(|_| drop(fs::remove_file(&unfinished)))
}
