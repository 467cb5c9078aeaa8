use std::io;
use thiserror::Error;

/// Why a run failed.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The run could not be made; says why.
    #[error("{0}")]
    Failed(String),
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server that the program starts itself.
    #[error("server: {0}")]
    Server(#[from] voxwire_server::Error),
    /// What the parts of the program say to each other.
    #[error("between the processes of this program: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// Whether the command line is to blame: exit code 2.
    pub(crate) const fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_))
    }
}

/// `Error::Failed`, from parts.
macro_rules! failed {
    ($($part:tt)*) => { crate::error::Error::Failed(format!($($part)*)) };
}
pub(crate) use failed;

/// Why a user failed, in words that are the same for all users that fail in that way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause(pub(crate) String);

/// `Cause`, from parts.
macro_rules! cause {
    ($($part:tt)*) => { crate::error::Cause(format!($($part)*)) };
}
pub(crate) use cause;
