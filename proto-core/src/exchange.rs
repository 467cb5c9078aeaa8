//! The sessions of a protocol of requests and answers.

mod requester;
mod responder;

use crate::{DecodeError, EncodeError, Full, Instant, Limits, Message, NoPlace};
pub use requester::{Ask, Requester, RequesterEvent};
pub use responder::{Responder, ResponderSettings, ResponderStats};
use thiserror::Error;

/// The packet of a protocol of requests and answers, in datagrams on either lane. [`Requester`] is the client, [`Responder`] the server.
pub trait Exchange: Message<'static, Wire: Default> {
    /// The largest packet, and how many bytes of outputs may wait. The other limits are not used.
    const LIMITS: Limits;

    /// A request. Its number counts the requests of a client.
    fn request(sequence: u32, payload: &[u8]) -> Self::At<'_>;

    /// The answer to a request; `None` for what no client sends. One that is longer than its request is not sent: a source address may be
    /// forged, and an attack must not be made stronger.
    fn answer(now: Instant, request: Self::At<'_>) -> Option<Self::At<'_>>;

    /// The number of the request that this is the answer to; `None` for what no server sends.
    fn answers(answer: &Self::At<'_>) -> Option<u32>;
}

/// Why a request or an answer was ignored, or not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The peer sent no packet.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A packet that the other side does not send, or an answer to no request.
    #[error("unexpected packet")]
    Unexpected,
    /// More than the rate of one client, or than may wait for answers.
    #[error("too many requests")]
    OverRate,
    /// The session does not know this peer, or there is none.
    #[error("no such peer")]
    UnknownPeer,
    /// No place for another peer.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    /// The packet cannot be encoded, or the outbox is full.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl From<Full> for RequestError {
    fn from(full: Full) -> Self {
        Self::Encode(full.into())
    }
}
