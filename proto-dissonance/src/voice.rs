//! The hot message: voice packets and their channels, read and edited in place.

use crate::wire::{HEAD_LEN, MAGIC, VOICE_HEAD_LEN, VoiceHead, kind};
use crate::{ClientId, Profile, RoomId};
use core::fmt;
use voxwire_core::bytes::BufMut;
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Type 2: one frame of speech, and to whom it is addressed.
///
/// | offset | length | field |
/// | --- | --- | --- |
/// | 7 | 2 | sender |
/// | 9 | 1 | options |
/// | 10 | 2 | sequence |
/// | 12 | 2 | channel count |
/// | 14 | 4 each | channels: bitfield, recipient |
/// | then | 2 | frame length |
/// | then | | frame |
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct VoiceData<'a> {
    /// The session's number.
    pub session: u32,
    /// Who speaks.
    pub sender: ClientId,
    /// The channel session of the packet: it counts the times that all channels were closed.
    pub options: Options,
    /// One more with every packet built; wraps, and is never reset.
    pub sequence: u16,
    /// To whom it is addressed.
    #[cfg_attr(feature = "arbitrary", arbitrary(with = crate::wire::arbitrary_slice))]
    pub channels: &'a [Channel],
    /// Encoded audio, as the sender's codec settings say.
    pub frame: &'a [u8],
}

/// To whom a channel or a text is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Recipient {
    /// Every client that listens to a room.
    Room(RoomId),
    /// One client.
    Player(ClientId),
}

/// One channel of a voice packet: 4 bytes, kept as on the wire.
///
/// | bits of the first u16 | meaning |
/// | --- | --- |
/// | 0 | 1 room, 0 player |
/// | 1 | positional |
/// | 2 | closing: the last packet of this channel |
/// | 3-4 | priority |
/// | 5-6 | channel session: another value than before means that the channel was closed and opened again |
/// | 7 | unused |
/// | 8-15 | volume from 0 to 2, times 127.5 |
///
/// Its zerocopy traits are no part of this crate's promise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Channel {
    bitfield: U16,
    recipient: [u8; 2],
}

/// How important a channel's speech is to its listeners, the least important first: Dissonance plays no voice while one of a higher
/// priority speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Priority {
    /// Below all others.
    Low,
    /// What a sender without a priority sends.
    #[default]
    Default,
    /// Above Default.
    Medium,
    /// Above all others.
    High,
}

const ROOM: u16 = 1;
const POSITIONAL: u16 = 1 << 1;
const CLOSING: u16 = 1 << 2;
/// Half of 255, rounded to even.
const VOLUME_1: u16 = 128 << 8;

impl Channel {
    /// A channel to `recipient` at volume 1, not positional, with the default priority.
    pub const fn new(recipient: Recipient) -> Self {
        let (room, recipient) = match recipient {
            Recipient::Room(room) => (ROOM, room.bytes()),
            Recipient::Player(client) => (0, client.bytes()),
        };
        Self { bitfield: U16::new(room | VOLUME_1), recipient }
    }

    /// A channel from the two numbers on the wire.
    pub const fn from_bits(bitfield: u16, recipient: u16) -> Self {
        Self { bitfield: U16::new(bitfield), recipient: recipient.to_be_bytes() }
    }

    /// The bitfield as on the wire.
    pub const fn bits(self) -> u16 {
        self.bitfield.get()
    }

    /// The recipient's number as on the wire.
    #[cfg(feature = "serde")]
    pub(crate) const fn recipient_bits(self) -> u16 {
        u16::from_be_bytes(self.recipient)
    }

    /// To whom the channel goes.
    #[inline]
    pub const fn recipient(self) -> Recipient {
        if self.has(ROOM) {
            Recipient::Room(RoomId::from_bytes(self.recipient))
        } else {
            Recipient::Player(ClientId::from_bytes(self.recipient))
        }
    }

    /// Whether the speech comes from a place in the game.
    pub const fn is_positional(self) -> bool {
        self.has(POSITIONAL)
    }

    /// Whether this is the last packet of the channel.
    pub const fn is_closing(self) -> bool {
        self.has(CLOSING)
    }

    /// The priority.
    pub const fn priority(self) -> Priority {
        match (self.bits() >> 3) & 3 {
            0 => Priority::Default,
            1 => Priority::Low,
            2 => Priority::Medium,
            _ => Priority::High,
        }
    }

    /// The channel's own session, 0 to 3: another one means that the channel was closed and opened again.
    pub const fn session(self) -> u8 {
        let [_, low] = self.bits().to_be_bytes();
        (low >> 5) & 3
    }

    /// The volume, 0 to 2.
    pub fn volume(self) -> f32 {
        let [volume, _] = self.bits().to_be_bytes();
        f32::from(volume) / 255.0 * 2.0
    }

    /// The same, from a place in the game or not.
    #[must_use]
    pub const fn with_positional(self, positional: bool) -> Self {
        self.with(POSITIONAL, positional)
    }

    /// The same, as the last packet of the channel or not.
    #[must_use]
    pub const fn with_closing(self, closing: bool) -> Self {
        self.with(CLOSING, closing)
    }

    /// The same with another priority.
    #[must_use]
    pub const fn with_priority(self, priority: Priority) -> Self {
        let bits = match priority {
            Priority::Default => 0,
            Priority::Low => 1 << 3,
            Priority::Medium => 2 << 3,
            Priority::High => 3 << 3,
        };
        self.with_bits(self.bits() & !(3 << 3) | bits)
    }

    /// The same with another channel session, of which the lower two bits count.
    #[must_use]
    pub const fn with_session(self, session: u8) -> Self {
        let session = u16::from_be_bytes([0, session & 3]);
        self.with_bits(self.bits() & !(3 << 5) | (session << 5))
    }

    /// The same at another volume, from 0 to 2; rounded to the nearest of 255 steps, ties to even.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
    pub fn with_volume(self, volume: f32) -> Self {
        let volume = if volume > 0.0 { volume.min(2.0) } else { 0.0 };
        let exact = volume / 2.0 * 255.0;
        let below = exact as u8;
        let rest = exact - f32::from(below);
        let up = rest > 0.5 || (rest == 0.5 && below % 2 == 1);
        let [_, low] = self.bits().to_be_bytes();
        self.with_bits(u16::from_be_bytes([below.saturating_add(u8::from(up)), low]))
    }

    const fn has(self, bit: u16) -> bool {
        self.bits() & bit != 0
    }

    const fn with(self, bit: u16, on: bool) -> Self {
        self.with_bits(if on { self.bits() | bit } else { self.bits() & !bit })
    }

    const fn with_bits(self, bits: u16) -> Self {
        Self { bitfield: U16::new(bits), recipient: self.recipient }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("recipient", &self.recipient())
            .field("positional", &self.is_positional())
            .field("closing", &self.is_closing())
            .field("priority", &self.priority())
            .field("session", &self.session())
            .field("volume", &self.volume())
            .finish()
    }
}

/// As `Debug`.
#[cfg(feature = "defmt")]
impl defmt::Format for Channel {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "Channel {{ recipient: {}, positional: {}, closing: {}, priority: {}, session: {}, volume: {} }}",
            self.recipient(),
            self.is_positional(),
            self.is_closing(),
            self.priority(),
            self.session(),
            self.volume()
        );
    }
}

/// The options byte: the channel session of a packet, which counts the times that all channels were closed, in either era's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Options(u8);

const EXTENDED: u8 = 0x80;

impl Options {
    /// The byte that carries `session` in `profile`: 7 bits of it and the extended flag, or 2 bits.
    pub const fn new(session: u8, profile: Profile) -> Self {
        Self(match profile {
            Profile::Later => EXTENDED | session,
            Profile::Era2018 => session & 3,
        })
    }

    /// From the byte.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The byte.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// How many bits of channel session there are: 7 with the extended flag, 2 without.
    pub const fn session_bits(self) -> u32 {
        if self.0 & EXTENDED == 0 { 2 } else { 7 }
    }

    /// The channel session.
    pub const fn session(self) -> u8 {
        if self.0 & EXTENDED == 0 { self.0 & 3 } else { self.0 & !EXTENDED }
    }
}

/// The difference `new - old` of two counters of `bits` bits that wrap around, at most half their range either way.
pub(crate) fn wrapped_difference(old: u16, new: u16, bits: u32) -> i32 {
    let range = 1_i32.wrapping_shl(bits);
    let difference = i32::from(new).wrapping_sub(i32::from(old)).rem_euclid(range.max(1));
    if difference >= range / 2 { difference.wrapping_sub(range) } else { difference }
}

impl<'a> VoiceData<'a> {
    /// Reads a packet; `None` for any other, and for one that ends too early.
    #[inline]
    pub fn read(frame: &'a [u8]) -> Option<Self> {
        let (voice, rest) = VoiceHead::ref_from_prefix(frame).ok()?;
        if voice.head.magic.get() != MAGIC || voice.head.kind != kind::VOICE_DATA {
            return None;
        }
        let channels = usize::from(voice.channels.get());
        let (channels, rest) = <[Channel]>::ref_from_prefix_with_elems(rest, channels).ok()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        Some(Self {
            session: voice.head.session.get(),
            sender: voice.sender,
            options: Options(voice.options),
            sequence: voice.sequence.get(),
            channels,
            frame: rest.get(..usize::from(u16::from_be_bytes(*len)))?,
        })
    }

    /// The encoded length, unless a count does not fit.
    #[inline]
    pub(crate) const fn len(&self) -> Option<usize> {
        if self.channels.len() > u16::MAX as usize || self.frame.len() > u16::MAX as usize {
            return None;
        }
        let channels = self.channels.len().saturating_mul(size_of::<Channel>());
        Some(VOICE_HEAD_LEN.saturating_add(2).saturating_add(channels).saturating_add(self.frame.len()))
    }

    #[inline]
    pub(crate) fn write(&self, out: &mut impl BufMut) {
        // `len` has checked that the counts fit.
        let count = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
        let head = VoiceHead {
            head: crate::wire::Head::new(kind::VOICE_DATA, self.session),
            sender: self.sender,
            options: self.options.0,
            sequence: U16::new(self.sequence),
            channels: U16::new(count(self.channels.len())),
        };
        out.put_slice(head.as_bytes());
        out.put_slice(self.channels.as_bytes());
        out.put_slice(&count(self.frame.len()).to_be_bytes());
        out.put_slice(self.frame);
    }
}

/// Shows the frame by its length alone.
impl fmt::Debug for VoiceData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoiceData")
            .field("session", &self.session)
            .field("sender", &self.sender)
            .field("options", &self.options)
            .field("sequence", &self.sequence)
            .field("channels", &self.channels)
            .field("len", &self.frame.len())
            .finish()
    }
}

/// As `Debug`.
#[cfg(feature = "defmt")]
impl defmt::Format for VoiceData<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "VoiceData {{ session: {}, sender: {}, options: {}, sequence: {}, channels: {}, len: {} }}",
            self.session,
            self.sender,
            self.options,
            self.sequence,
            self.channels,
            self.frame.len()
        );
    }
}

/// Gives a packet another session number, in place; false for a packet that has none. For gateways between sessions: the
/// packet inside a relay packet has a number of its own.
pub fn set_session(packet: &mut [u8], session: u32) -> bool {
    match packet.first_chunk_mut::<HEAD_LEN>() {
        Some([0x8b, 0xc7, kind, a, b, c, d]) if *kind != kind::HANDSHAKE_REQUEST => {
            [*a, *b, *c, *d] = session.to_be_bytes();
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d_09_the_bitfield_as_the_vectors_have_it() {
        let room = Channel::new(Recipient::Room(RoomId::new(7)));
        assert_eq!(room.bits(), 0x8001);
        assert_eq!(Channel::new(Recipient::Player(ClientId::new(7))).bits(), 0x8000);
        assert_eq!(room.with_closing(true).bits(), 0x8005);
        assert_eq!(room.with_priority(Priority::Low).bits(), 0x8009);
        assert_eq!(room.with_priority(Priority::High).bits(), 0x8019);
        assert_eq!(room.with_volume(0.5).bits(), 0x4001);
        assert_eq!(room.with_volume(1.5).bits(), 0xbf01);
        assert_eq!(room.with_volume(2.0).bits(), 0xff01);
        for (volume, byte) in [(f32::NAN, 0), (-1.0, 0), (9.0, 255), (f32::INFINITY, 255)] {
            assert_eq!(room.with_volume(volume).bits() >> 8, byte, "{volume}");
        }
        assert!((room.volume() - 1.0039).abs() < 1e-4);
    }

    #[test]
    fn d_09_every_bit_has_its_own_meaning() {
        for bits in 0..=u16::MAX {
            let channel = Channel::from_bits(bits, 9);
            assert_eq!(channel.is_closing(), bits & 4 != 0);
            assert_eq!(channel.is_positional(), bits & 2 != 0);
            let again = Channel::new(channel.recipient())
                .with_positional(channel.is_positional())
                .with_closing(channel.is_closing())
                .with_priority(channel.priority())
                .with_session(channel.session())
                .with_volume(channel.volume());
            // Bit 7 has none.
            assert_eq!(again.bits(), bits & !0x80);
        }
    }

    #[test]
    fn d_09_counters_wrap_at_their_own_width() {
        assert_eq!(wrapped_difference(65_535, 0, 16), 1);
        assert_eq!(wrapped_difference(0, 65_535, 16), -1);
        assert_eq!(wrapped_difference(0, 32_768, 16), -32_768);
        assert_eq!((wrapped_difference(3, 0, 2), wrapped_difference(0, 3, 2)), (1, -1));
        assert_eq!((wrapped_difference(127, 1, 7), wrapped_difference(0, 64, 7)), (2, -64));
        // An old sender's two bits against a counter of seven: only the two are compared.
        assert_eq!(wrapped_difference(126, 3, 2), 1);
    }

    #[test]
    fn d_02_options_of_both_eras() {
        assert_eq!(Options::new(127, Profile::Later).bits(), 0xff);
        assert_eq!(Options::new(130, Profile::Later).session(), 2);
        assert_eq!(Options::new(6, Profile::Era2018).bits(), 2);
        assert_eq!((Options::from_bits(0x83).session_bits(), Options::from_bits(3).session_bits()), (7, 2));
    }

    #[test]
    fn d_01_a_session_is_changed_in_place() {
        let mut packet = [0x8b, 0xc7, 10, 1, 2, 3, 4, 0, 7];
        assert!(set_session(&mut packet, 0x0a0b_0c0d));
        assert_eq!(packet, [0x8b, 0xc7, 10, 10, 11, 12, 13, 0, 7]);
        packet[2] = kind::HANDSHAKE_REQUEST;
        assert!(!set_session(&mut packet, 1));
        assert!(!set_session(&mut packet[..6], 1));
    }
}
