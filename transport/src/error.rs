use std::io;
use thiserror::Error;
use voxwire_core::FrameError;

/// Why a connection ended, or was never made: the environment's fault, or the peer's.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came in is no stream of frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer, or its session, closed the connection.
    #[error("connection closed")]
    Closed,
    /// Something took too long; says what.
    #[error("{0} took too long")]
    TooSlow(&'static str),
}
