use thiserror::Error;
use voxwire_core::{DecodeError, DecodeErrorKind, EncodeError, Limits, Message, Reader, bytes::BufMut};

/// TCP and UDP port.
pub const DEFAULT_PORT: u16 = 4246;
/// Largest payload, in bytes: the packet fits one datagram anywhere.
pub const MAX_PAYLOAD: usize = 1000;
/// Bytes before the payload.
const HEAD: usize = 5;
/// The defaults: packets of 1005 bytes, 1024 peers, 1 MiB of outputs waiting.
pub const LIMITS: Limits =
    Limits { max_frame: HEAD + MAX_PAYLOAD, max_peers: 1024, max_outbox: 1 << 20, ..Limits::DEFAULT };

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
            got => {
                let kind = DecodeErrorKind::Tag { got: got.into(), expected: "0 or 1" };
                return Err(DecodeError::new("Kind", 0, kind));
            }
        };
        let (sequence, payload) = (reader.u32_be("Sequence")?, reader.rest());
        if payload.len() > MAX_PAYLOAD {
            let kind = DecodeErrorKind::Limit { got: payload.len() as u64, max: MAX_PAYLOAD };
            return Err(DecodeError::new("Payload", HEAD, kind));
        }
        Ok(Self { answer, sequence, payload })
    }

    fn encoded_len(&self, (): &()) -> Result<usize, EncodeError> {
        match self.payload.len() {
            len if len > MAX_PAYLOAD => Err(EncodeError::TooLong { field: "Payload", len, max: MAX_PAYLOAD }),
            len => Ok(len.saturating_add(HEAD)),
        }
    }

    fn write_unchecked(&self, (): &(), out: &mut impl BufMut) {
        out.put_u8(self.answer.into());
        out.put_u32(self.sequence);
        out.put_slice(self.payload);
    }
}

/// Why an input was ignored, or a command not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer sent no packet.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A packet that the other side does not send, or an answer to no request.
    #[error("unexpected packet")]
    Unexpected,
    /// More than the rate of one client, or than may wait for answers.
    #[error("too many requests")]
    OverRate,
    /// No place for another peer, or one that the session does not know.
    #[error("no such peer")]
    NoPeer,
    /// The payload is too long, or the outbox is full.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}
