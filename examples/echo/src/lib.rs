#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub use voxwire_core::{
    Ask, RequestError as Error, ResponderSettings as ServerSettings, ResponderStats as ServerStats,
};
use voxwire_core::{DecodeError, EncodeError, Exchange, Instant, Limits, Message, Reader, bytes::BufMut};

/// A client of one server.
pub type Client = voxwire_core::Requester<Packet<'static>>;
/// What a client learns.
pub type ClientEvent<'a> = voxwire_core::RequesterEvent<Packet<'a>>;
/// A server, which answers what it is asked.
pub type Server = voxwire_core::Responder<Packet<'static>>;

/// TCP and UDP port.
pub const DEFAULT_PORT: u16 = 4246;
/// Largest payload, in bytes: the packet fits one datagram anywhere.
pub const MAX_PAYLOAD: usize = 1000;
/// Bytes before the payload.
const HEAD: usize = 5;

/// A packet; `PROTOCOL.md` has its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Whether it is an Answer.
    pub answer: bool,
    /// Counts a client's requests.
    pub sequence: u32,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> for Packet<'a> {
    type Wire = ();
    type At<'b> = Packet<'b>;

    fn decode(frame: &'a [u8], (): &()) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        let answer = match reader.u8("Kind")? {
            kind @ (0 | 1) => kind == 1,
            got => return Err(DecodeError::tag("Kind", 0, got.into(), "0 or 1")),
        };
        let (sequence, payload) = (reader.u32_be("Sequence")?, reader.rest());
        match payload.len() {
            len if len > MAX_PAYLOAD => Err(DecodeError::limit("Payload", HEAD, len as u64, MAX_PAYLOAD)),
            _ => Ok(Self { answer, sequence, payload }),
        }
    }

    fn encoded_len(&self, (): &()) -> Result<usize, EncodeError> {
        Ok(EncodeError::check_len("Payload", self.payload.len(), MAX_PAYLOAD)?.saturating_add(HEAD))
    }

    fn write_unchecked(&self, (): &(), out: &mut impl BufMut) {
        out.put_u8(self.answer.into());
        out.put_u32(self.sequence);
        out.put_slice(self.payload);
    }
}

impl Exchange for Packet<'static> {
    /// Packets of 1005 bytes, 1 MiB of outputs waiting.
    const LIMITS: Limits = Limits { max_frame: HEAD + MAX_PAYLOAD, max_outbox: 1 << 20, ..Limits::DEFAULT };

    fn request(sequence: u32, payload: &[u8]) -> Self::At<'_> {
        Packet { answer: false, sequence, payload }
    }

    fn answer(_now: Instant, request: Self::At<'_>) -> Option<Self::At<'_>> {
        (!request.answer).then_some(Packet { answer: true, ..request })
    }

    fn answers(answer: &Self::At<'_>) -> Option<u32> {
        answer.answer.then_some(answer.sequence)
    }
}
