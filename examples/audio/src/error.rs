use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// What can go wrong with sound.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written, or is not what its name says.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Two rates between which nothing can be converted.
    #[error("cannot resample from {from} Hz to {to} Hz: {reason}")]
    Resample {
        /// The clip's rate.
        from: u32,
        /// The rate asked for.
        to: u32,
        /// Why.
        reason: String,
    },
    /// Noise is to be taken away from too many channels.
    #[error("noise can be taken away from at most {most} channels, and there are {channels}")]
    Channels {
        /// How many there are.
        channels: u16,
        /// How many there may be.
        most: u16,
    },
    /// There is nothing in a recording to compare.
    #[error("nothing to compare: the {which} recording is empty or silent")]
    Silent {
        /// Which of the two.
        which: &'static str,
    },
    /// The machine's own sound does not work.
    #[cfg(feature = "device")]
    #[error("the {device} cannot be used: {reason}")]
    Device {
        /// Which one.
        device: &'static str,
        /// The system's reason.
        reason: String,
    },
    /// Opus'.
    #[error("Opus: {0}")]
    Codec(String),
}

impl Error {
    pub(crate) fn codec(error: impl ToString) -> Self {
        Self::Codec(error.to_string())
    }
}
