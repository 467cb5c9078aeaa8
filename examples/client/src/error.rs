use std::io;
use thiserror::Error;

/// Why an action failed.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The action failed or was refused; says why.
    #[error("{0}")]
    Failed(String),
    /// A file with sound in it, or for it.
    #[error(transparent)]
    Audio(#[from] voxwire_audio::Error),
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The demonstration's server.
    #[error("server: {0}")]
    Server(#[from] voxwire_server::Error),
}

impl Error {
    /// Whether the command line is to blame: exit code 2.
    pub(crate) const fn is_usage(&self) -> bool {
        match self {
            Self::Usage(_) => true,
            Self::Server(error) => error.is_usage(),
            _ => false,
        }
    }

    /// What the program ends with.
    pub(crate) const fn exit_code(&self) -> u8 {
        if self.is_usage() { 2 } else { 1 }
    }
}

/// `Error::Failed`, from parts.
macro_rules! failed {
    ($($part:tt)*) => { crate::error::Error::Failed(format!($($part)*)) };
}
pub(crate) use failed;
