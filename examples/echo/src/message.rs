use thiserror::Error;
use voxwire_core::{DecodeError, DecodeErrorKind, EncodeError, Limits, Message, Reader, bytes::BufMut};

/// TCP and UDP port.
pub const DEFAULT_PORT: u16 = 4246;
/// Largest payload, in bytes: the packet fits one datagram anywhere.
pub const MAX_PAYLOAD: usize = 1000;
/// The defaults: packets of 1015 bytes, 1024 peers, 1 MiB of outputs waiting.
pub const LIMITS: Limits =
    Limits { max_frame: MAX_PAYLOAD + 15, max_peers: 1024, max_outbox: 1 << 20, ..Limits::DEFAULT };

/// A packet; `PROTOCOL.md` has its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Whether it is an Answer.
    pub answer: bool,
    /// Counts a client's requests.
    pub sequence: u32,
    /// The server's time, in nanoseconds.
    pub time: u64,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> for Packet<'a> {
    type Wire = ();
    type At<'b> = Packet<'b>;

    fn decode(frame: &'a [u8], (): &()) -> Result<Self, DecodeError> {
        let wrong = |field, offset, kind| Err(DecodeError::new(field, offset, kind));
        let mut reader = Reader::new(frame);
        let kind = reader.u8("Kind")?;
        if kind > 1 {
            return wrong("Kind", 0, DecodeErrorKind::Tag { got: kind.into(), expected: "0 or 1" });
        }
        let (sequence, time) = (reader.u32_be("Sequence")?, reader.u64_be("Time")?);
        let len = usize::from(reader.u16_be("Length")?);
        if len > MAX_PAYLOAD {
            return wrong("Length", 13, DecodeErrorKind::Limit { got: len as u64, max: MAX_PAYLOAD });
        }
        let payload = reader.take("Payload", len)?;
        reader.finish("packet")?;
        Ok(Self { answer: kind == 1, sequence, time, payload })
    }

    fn encoded_len(&self, (): &()) -> Result<usize, EncodeError> {
        match self.payload.len() {
            len if len > MAX_PAYLOAD => Err(EncodeError::TooLong { field: "Payload", len, max: MAX_PAYLOAD }),
            len => Ok(len.saturating_add(15)),
        }
    }

    fn write_unchecked(&self, (): &(), out: &mut impl BufMut) {
        out.put_u8(self.answer.into());
        out.put_u32(self.sequence);
        out.put_u64(self.time);
        out.put_u16(u16::try_from(self.payload.len()).unwrap_or(u16::MAX));
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
