use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why the server does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The settings' file is not what it should be.
    #[error("{}, line {line}: {what}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there, and what was expected.
        what: String,
    },
    /// Settings that make no sense, alone or together.
    #[error("{0}")]
    Usage(String),
    /// A port cannot be bound.
    #[error("cannot listen on {address} for {what}: {error}")]
    Listen {
        /// For which protocol.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// A database cannot be used.
    #[error("{}: {error}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// Another server uses the folder.
    #[error("{} is in use by another server", .0.display())]
    InUse(PathBuf),
    /// A lock cannot be had, though no other process holds it.
    #[error("cannot lock {}: {error}", path.display())]
    Lock {
        /// What was to be locked.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A running server does not do what it is asked.
    #[error("{0}")]
    Refused(String),
    /// A hub cannot serve its session.
    #[error(transparent)]
    Hub(#[from] voxwire_transport::Error),
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something was not written by the deadline of the drain.
    #[error("not everything was finished within the {} s of drain-seconds: the log says what, a disk that hangs perhaps", .0.as_secs())]
    Unfinished(Duration),
}

impl Error {
    /// Whether the command line or the settings are to blame: exit code 2.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Config { .. } | Self::Usage(_))
    }
}
