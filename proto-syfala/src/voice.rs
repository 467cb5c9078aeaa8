//! The hot message: writing an Audio head in place, and finding what is behind one, without decoding anything else.

use crate::message::Audio;
use crate::wire::{AUDIO_HEAD_LEN, AudioHead, client, server};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// Who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A client, to one of the server's outputs.
    Client,
    /// A server, of one of its inputs.
    Server,
}

impl Sender {
    pub(crate) const fn discriminant(self) -> u8 {
        // Both fit a byte.
        #[expect(clippy::cast_possible_truncation, reason = "6 and 7")]
        match self {
            Self::Client => client::AUDIO as u8,
            Self::Server => server::AUDIO as u8,
        }
    }
}

/// The head of an Audio message whose payload has `n_bytes` bytes.
///
/// ```
/// use voxwire_syfala::voice::{Sender, head};
/// assert_eq!(head(Sender::Client, 2, 4096, 8), [6, 2, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0]);
/// ```
#[inline]
pub fn head(from: Sender, stream: u32, byte_index: u64, n_bytes: u32) -> [u8; AUDIO_HEAD_LEN] {
    let head = AudioHead {
        discriminant: from.discriminant(),
        stream: U32::new(stream),
        byte_index: U64::new(byte_index),
        n_bytes: U32::new(n_bytes),
    };
    let mut bytes = [0; AUDIO_HEAD_LEN];
    bytes.copy_from_slice(head.as_bytes());
    bytes
}

/// An Audio message in its usual form; `None` for any other message, and for an overlong discriminant.
#[inline]
pub fn audio(frame: &[u8], from: Sender) -> Option<Audio<'_>> {
    let (head, payload) = AudioHead::ref_from_prefix(frame).ok()?;
    (head.discriminant == from.discriminant()).then(|| Audio {
        stream: head.stream.get(),
        byte_index: head.byte_index.get(),
        n_bytes: head.n_bytes.get(),
        payload,
    })
}
