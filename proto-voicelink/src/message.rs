use crate::wire::{Audio, HANDSHAKE_HEAD_LEN, HEAD_LEN, Head, NameLength, PARAMETERS_HEAD_LEN, kind};
use crate::{ByteOrder, Parameters, Registration, Wire, voice};
use core::fmt;
use voxwire_core::bytes::BufMut;
use voxwire_core::{DecodeError, DecodeErrorKind, EncodeError, Message, Untrusted};
use zerocopy::byteorder::{BigEndian, ByteOrder as Order, LittleEndian, U16, U32};
use zerocopy::{FromBytes, IntoBytes};

/// What a client sends: the format is the same in both directions.
pub type ClientMessage<'a> = Packet<'a>;
/// What a server sends: the format is the same in both directions.
pub type ServerMessage<'a> = Packet<'a>;

/// One packet, of any of the document's seven message types. Variable parts borrow from the frame.
///
/// Optional Data has no length of its own: it runs to the end of the packet, and may be empty.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Packet<'a> {
    /// Type 0: the caller wants to talk to a client.
    Handshake(Handshake<'a>),
    /// Type 1: the server knows no client of that name.
    UserNotFound,
    /// Type 2: the callee proposes other parameters.
    Parameters {
        /// What it proposes.
        parameters: Parameters,
        /// Anything.
        optional: &'a [u8],
    },
    /// Type 3: the caller does not take the parameters that the callee proposed.
    Close {
        /// Anything.
        optional: &'a [u8],
    },
    /// Type 4: the parameters are accepted, the call is up.
    Accept {
        /// Anything.
        optional: &'a [u8],
    },
    /// Type 5: the call is dropped.
    Drop {
        /// Anything; from our server the reason, as text.
        optional: &'a [u8],
    },
    /// Type 6: audio, in the agreed format.
    Data(&'a [u8]),
}

/// Message type 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Handshake<'a> {
    /// The audio the caller would like.
    pub parameters: Parameters,
    /// Who is called (towards the server), who calls (towards the callee); empty in a registration. The document names
    /// no encoding: bytes, UTF-8 for display.
    pub user_name: &'a [u8],
    /// Anything; in a registration see [`Registration`](crate::Registration).
    pub optional: &'a [u8],
}

impl Packet<'_> {
    /// The document's word for the message type.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Handshake(_) => "Handshake",
            Self::UserNotFound => "UserNotFound",
            Self::Parameters { .. } => "Parameters",
            Self::Close { .. } => "Close",
            Self::Accept { .. } => "Accept",
            Self::Drop { .. } => "Drop",
            Self::Data(_) => "Data",
        }
    }

    const fn kind(&self) -> u16 {
        match self {
            Self::Handshake(_) => kind::HANDSHAKE,
            Self::UserNotFound => kind::USER_NOT_FOUND,
            Self::Parameters { .. } => kind::PARAMETERS,
            Self::Close { .. } => kind::CLOSE,
            Self::Accept { .. } => kind::ACCEPT,
            Self::Drop { .. } => kind::DROP,
            Self::Data(_) => kind::DATA,
        }
    }

    #[inline(never)]
    fn any_encoded_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        let (fixed, field, variable) = match self {
            Packet::Data(data) => (HEAD_LEN, "Data", data.len()),
            Packet::UserNotFound => (HEAD_LEN, "", 0),
            Packet::Close { optional } | Packet::Accept { optional } | Packet::Drop { optional } => {
                (HEAD_LEN, "Optional Data", optional.len())
            }
            Packet::Parameters { optional, .. } => (PARAMETERS_HEAD_LEN, "Optional Data", optional.len()),
            Packet::Handshake(Handshake { user_name, optional, .. }) => {
                let max = wire.limits.max_text.min(usize::from(u16::MAX));
                let len = EncodeError::check_len("Username", user_name.len(), max)?;
                (HANDSHAKE_HEAD_LEN.saturating_add(len), "Optional Data", optional.len())
            }
        };
        Ok(EncodeError::check_len(field, variable, most(wire, fixed))?.saturating_add(fixed))
    }

    fn write<O: Order>(&self, wire: &Wire, out: &mut impl BufMut) {
        // `encoded_len` has checked that the lengths fit.
        let length = self.encoded_len(wire).unwrap_or(HEAD_LEN);
        let length = U32::new(u32::try_from(length).unwrap_or(u32::MAX));
        out.put_slice(Head::<O> { length, kind: U16::new(self.kind()) }.as_bytes());
        match self {
            Packet::Data(data) => out.put_slice(data),
            Packet::UserNotFound => {}
            Packet::Close { optional } | Packet::Accept { optional } | Packet::Drop { optional } => {
                out.put_slice(optional)
            }
            Packet::Parameters { parameters, optional } => {
                out.put_slice(Audio::<O>::new(parameters).as_bytes());
                out.put_slice(optional);
            }
            Packet::Handshake(Handshake { parameters, user_name, optional }) => {
                out.put_slice(Audio::<O>::new(parameters).as_bytes());
                let name_length = u16::try_from(user_name.len()).unwrap_or(u16::MAX);
                out.put_slice(NameLength::<O>::new(name_length).as_bytes());
                out.put_slice(user_name);
                out.put_slice(optional);
            }
        }
    }
}

impl<'a> Packet<'a> {
    #[inline(never)]
    fn decode_any(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        match wire.order {
            ByteOrder::BigEndian => Self::read::<BigEndian>(frame, wire),
            ByteOrder::LittleEndian => Self::read::<LittleEndian>(frame, wire),
        }
    }

    fn read<O: Order + 'static>(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        let Ok((head, body)) = Head::<O>::ref_from_prefix(frame) else {
            let (field, offset) = if frame.len() < 4 { ("Length", 0) } else { ("Message Type", 4) };
            return Err(truncated(field, offset, HEAD_LEN, frame.len()));
        };
        let length = head.length.get() as usize;
        if length != frame.len() {
            return Err(wrong_length(length, frame.len()));
        }
        if length > wire.limits.max_frame {
            return Err(DecodeError::limit("Length", 0, length as u64, wire.limits.max_frame));
        }
        match head.kind.get() {
            kind::DATA => Ok(Self::Data(body)),
            kind::HANDSHAKE if body.is_empty() && wire.type_0_not_found => Ok(Self::UserNotFound),
            kind::HANDSHAKE => Handshake::read::<O>(body, wire).map(Self::Handshake),
            kind::USER_NOT_FOUND if body.is_empty() => Ok(Self::UserNotFound),
            kind::USER_NOT_FOUND => Err(DecodeError::new(
                "UserNotFound",
                HEAD_LEN,
                DecodeErrorKind::Trailing { extra: body.len() },
            )),
            kind::PARAMETERS => {
                let Ok((audio, optional)) = Audio::<O>::ref_from_prefix(body) else {
                    return Err(short_audio(PARAMETERS_HEAD_LEN, length));
                };
                Ok(Self::Parameters { parameters: audio.parameters()?, optional })
            }
            kind::CLOSE => Ok(Self::Close { optional: body }),
            kind::ACCEPT => Ok(Self::Accept { optional: body }),
            kind::DROP => Ok(Self::Drop { optional: body }),
            got => Err(DecodeError::tag("Message Type", 4, got.into(), "a type from 0 to 6")),
        }
    }
}

impl<'a> Handshake<'a> {
    fn read<O: Order + 'static>(body: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        let length = body.len().saturating_add(HEAD_LEN);
        let Ok((audio, rest)) = Audio::<O>::ref_from_prefix(body) else {
            return Err(short_audio(HANDSHAKE_HEAD_LEN, length));
        };
        let Ok((name_length, rest)) = NameLength::<O>::ref_from_prefix(rest) else {
            return Err(truncated("Username Length", 17, HANDSHAKE_HEAD_LEN, length));
        };
        let parameters = audio.parameters()?;
        let name_length = usize::from(name_length.get());
        let Some((user_name, optional)) = rest.split_at_checked(name_length) else {
            return Err(truncated("Username", 19, name_length, rest.len()));
        };
        if name_length > wire.limits.max_text {
            return Err(DecodeError::limit("Username Length", 17, name_length as u64, wire.limits.max_text));
        }
        Ok(Self { parameters, user_name, optional })
    }
}

impl<'a> Message<'a> for Packet<'a> {
    type Wire = Wire;
    type At<'b> = Packet<'b>;

    #[inline]
    fn decode(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        // Data first, and small enough to be inlined: nearly every packet is Data.
        match voice::data(frame, wire.order) {
            Some(data) if frame.len() <= wire.limits.max_frame => Ok(Self::Data(data)),
            _ => Self::decode_any(frame, wire),
        }
    }

    #[inline]
    fn encoded_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        match self {
            Packet::Data(data) if data.len() <= most(wire, HEAD_LEN) => {
                Ok(HEAD_LEN.saturating_add(data.len()))
            }
            _ => self.any_encoded_len(wire),
        }
    }

    #[inline]
    fn write_unchecked(&self, wire: &Wire, out: &mut impl BufMut) {
        match self {
            Packet::Data(data) => {
                out.put_slice(&voice::head(data.len(), wire.order));
                out.put_slice(data);
            }
            _ => match wire.order {
                ByteOrder::BigEndian => self.write::<BigEndian>(wire, out),
                ByteOrder::LittleEndian => self.write::<LittleEndian>(wire, out),
            },
        }
    }
}

/// The longest variable part that fits behind `fixed` bytes.
#[inline]
fn most(wire: &Wire, fixed: usize) -> usize {
    wire.limits.max_frame.min(u32::MAX as usize).saturating_sub(fixed)
}

/// Shows bytes as escaped text, Data by its length alone, and no secret.
impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct(self.name());
        match self {
            Packet::UserNotFound => {}
            Packet::Data(data) => {
                f.field("len", &data.len());
            }
            Packet::Handshake(Handshake { parameters, user_name: [], optional }) => {
                f.field("parameters", parameters).field("registration", &Registration::parse(optional));
            }
            Packet::Handshake(Handshake { parameters, user_name, optional }) => {
                f.field("parameters", parameters)
                    .field("user_name", &Untrusted::new(user_name))
                    .field("optional", &Untrusted::new(optional));
            }
            Packet::Parameters { parameters, optional } => {
                f.field("parameters", parameters).field("optional", &Untrusted::new(optional));
            }
            Packet::Close { optional } | Packet::Accept { optional } | Packet::Drop { optional } => {
                f.field("optional", &Untrusted::new(optional));
            }
        }
        f.finish()
    }
}

#[cold]
const fn truncated(field: &'static str, offset: usize, needed: usize, have: usize) -> DecodeError {
    DecodeError::new(field, offset, DecodeErrorKind::Truncated { missing: needed.saturating_sub(have) })
}

/// A packet of `have` bytes ends inside the audio fields. Names the field it ends in.
#[cold]
fn short_audio(needed: usize, have: usize) -> DecodeError {
    let fields = [("Sample Rate", 6), ("Channels Count", 10), ("Format Type", 12), ("Chunk Size", 13)];
    let (field, offset) =
        fields.into_iter().rev().find(|&(_, offset)| offset <= have).unwrap_or(("Sample Rate", 6));
    truncated(field, offset, needed, have)
}

#[cold]
const fn wrong_length(length: usize, have: usize) -> DecodeError {
    let kind = match have.checked_sub(length) {
        Some(_) if length < HEAD_LEN => {
            DecodeErrorKind::Value { got: length as u64, expected: "at least 6, the Length counts itself" }
        }
        Some(extra) => DecodeErrorKind::Trailing { extra },
        None => DecodeErrorKind::Truncated { missing: length.saturating_sub(have) },
    };
    DecodeError::new("Length", 0, kind)
}
