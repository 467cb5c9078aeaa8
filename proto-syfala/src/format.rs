use crate::varint;
use core::fmt;
use core::num::NonZeroU32;
use voxwire_core::bytes::BufMut;
use voxwire_core::{DecodeError, DecodeErrorKind, Element, EncodeError, List, Reader};

/// What a stream carries: samples of one type, interleaved, little-endian, packed, uncompressed.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Format {
    /// Frames per second: positive and normal.
    pub sample_rate: SampleRate,
    /// Samples per frame.
    pub channels: NonZeroU32,
    /// Frames that the server likes in one message; a hint, `None` for none.
    pub buffer_size: Option<NonZeroU32>,
    /// How a sample is stored.
    pub sample_type: SampleType,
}

/// A sample rate in Hz: positive, neither infinite nor subnormal.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SampleRate(f64);

impl SampleRate {
    /// 48 kHz.
    pub const HZ_48000: Self = Self(48_000.0);

    /// `None` for what is no rate.
    pub const fn new(hz: f64) -> Option<Self> {
        if hz.is_normal() && hz.is_sign_positive() { Some(Self(hz)) } else { None }
    }

    /// In Hz.
    pub const fn get(self) -> f64 {
        self.0
    }
}

#[cfg(feature = "arbitrary")]
impl arbitrary::Arbitrary<'_> for SampleRate {
    fn arbitrary(u: &mut arbitrary::Unstructured<'_>) -> arbitrary::Result<Self> {
        Self::new(u.arbitrary()?).ok_or(arbitrary::Error::IncorrectFormat)
    }
}

/// How a sample is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SampleType {
    /// `u8`
    U8 = 0,
    /// `u16`
    U16 = 1,
    /// Three bytes.
    U24 = 2,
    /// `u32`
    U32 = 3,
    /// `u64`
    U64 = 4,
    /// `i8`
    I8 = 5,
    /// `i16`
    I16 = 6,
    /// Three bytes.
    I24 = 7,
    /// `i32`
    I32 = 8,
    /// `i64`
    I64 = 9,
    /// `f32`; the reference spells it so.
    Ieef32 = 10,
    /// `f64`
    Ieef64 = 11,
}

impl SampleType {
    /// All types, in the order of their values.
    pub const ALL: [Self; 12] = [
        Self::U8,
        Self::U16,
        Self::U24,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I24,
        Self::I32,
        Self::I64,
        Self::Ieef32,
        Self::Ieef64,
    ];

    /// The type of a value on the wire.
    pub fn from_wire(value: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(value).ok()?).copied()
    }

    /// The document's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "U8",
            Self::U16 => "U16",
            Self::U24 => "U24",
            Self::U32 => "U32",
            Self::U64 => "U64",
            Self::I8 => "I8",
            Self::I16 => "I16",
            Self::I24 => "I24",
            Self::I32 => "I32",
            Self::I64 => "I64",
            Self::Ieef32 => "IEEF32",
            Self::Ieef64 => "IEEF64",
        }
    }

    /// The type of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sample_type| sample_type.name() == name)
    }

    /// Bytes of one sample.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U24 | Self::I24 => 3,
            Self::U32 | Self::I32 | Self::Ieef32 => 4,
            Self::U64 | Self::I64 | Self::Ieef64 => 8,
        }
    }

    /// The bytes of a silent sample, [`size`](Self::size) of them: the middle of unsigned types, zero of the others.
    pub const fn silence(self) -> &'static [u8] {
        match self {
            Self::U8 => &[0x80],
            Self::U16 => &[0, 0x80],
            Self::U24 => &[0, 0, 0x80],
            Self::U32 => &[0, 0, 0, 0x80],
            Self::U64 => &[0, 0, 0, 0, 0, 0, 0, 0x80],
            Self::I8 => &[0],
            Self::I16 => &[0; 2],
            Self::I24 => &[0; 3],
            Self::I32 | Self::Ieef32 => &[0; 4],
            Self::I64 | Self::Ieef64 => &[0; 8],
        }
    }
}

impl fmt::Display for SampleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Format {
    /// 48 kHz, two channels, 32 frames, `f32`: the reference's standard.
    pub const STANDARD: Self = Self {
        sample_rate: SampleRate::HZ_48000,
        channels: NonZeroU32::MIN.saturating_add(1),
        buffer_size: Some(NonZeroU32::MIN.saturating_add(31)),
        sample_type: SampleType::Ieef32,
    };

    /// Bytes of one frame: a sample of each channel. Saturates.
    pub fn frame_size(&self) -> usize {
        usize::try_from(self.channels.get()).unwrap_or(usize::MAX).saturating_mul(self.sample_type.size())
    }

    /// Bytes of `frames` frames. Saturates.
    pub fn bytes(&self, frames: u64) -> u64 {
        (self.frame_size() as u64).saturating_mul(frames)
    }

    /// Bytes that ours put into one message: at most `most`, and whole frames where one fits.
    pub fn payload(&self, most: usize) -> usize {
        let whole = most.checked_rem(self.frame_size()).map_or(0, |rest| most.saturating_sub(rest));
        if whole > 0 { whole } else { most }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.channels == NonZeroU32::MIN { "" } else { "s" };
        // People call the document's IEEF32 F32.
        let sample_type = self.sample_type.name().trim_start_matches("IEE");
        write!(f, "{} Hz, {} channel{plural}, {sample_type}", self.sample_rate.get(), self.channels)?;
        match self.buffer_size {
            Some(frames) => write!(f, ", {frames} frames at a time"),
            None => Ok(()),
        }
    }
}

/// The formats of a server's streams, from the server's side: inputs are what it sends, outputs what it is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Formats<'a> {
    /// What the server sends.
    pub inputs: List<'a, Format>,
    /// What the server is sent.
    pub outputs: List<'a, Format>,
}

impl<'a> Formats<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>, max: usize) -> Result<Self, DecodeError> {
        let mut list = |field| {
            let count = varint::u64(reader, field)?;
            List::read(reader, 0, field, count, max)
        };
        Ok(Self { inputs: list("inputs")?, outputs: list("outputs")? })
    }

    pub(crate) fn encoded_len(&self, max: usize) -> Result<usize, EncodeError> {
        let list = |list: &List<'_, Format>, field| -> Result<usize, EncodeError> {
            let len = EncodeError::check_len(field, list.len(), max)?;
            Ok(list.encoded_len(0)?.saturating_add(varint::len(len as u64)))
        };
        Ok(list(&self.inputs, "inputs")?.saturating_add(list(&self.outputs, "outputs")?))
    }

    pub(crate) fn write(&self, out: &mut impl BufMut) {
        for list in [&self.inputs, &self.outputs] {
            varint::put(list.len() as u64, out);
            list.write(out);
        }
    }
}

/// | length | field |
/// | --- | --- |
/// | 8 | sample rate: f64, little-endian |
/// | 1 to 5 | channel count: varint, not 0 |
/// | 1 to 5 | buffer size: varint, 0 for none |
/// | 1 to 5 | sample type: varint |
impl<'a> Element<'a> for Format {
    const MIN_LEN: usize = 11;

    fn read(reader: &mut Reader<'a>, _max_text: usize) -> Result<Self, DecodeError> {
        let start = *reader;
        let bits = reader.u64_le("sample rate")?;
        let value = |reader: &Reader<'_>, field, got: u64, expected| {
            reader.error(field, DecodeErrorKind::Value { got, expected })
        };
        let sample_rate = SampleRate::new(f64::from_bits(bits))
            .ok_or_else(|| value(&start, "sample rate", bits, "the bits of a positive, normal f64"))?;
        let at = *reader;
        let channels = NonZeroU32::new(varint::u32(reader, "channel count")?)
            .ok_or_else(|| value(&at, "channel count", 0, "at least 1"))?;
        let buffer_size = NonZeroU32::new(varint::u32(reader, "buffer size")?);
        let at = *reader;
        let index = varint::u32(reader, "sample type")?;
        let sample_type = SampleType::from_wire(index)
            .ok_or_else(|| value(&at, "sample type", index.into(), "a type from 0 to 11"))?;
        Ok(Self { sample_rate, channels, buffer_size, sample_type })
    }

    fn encoded_len(&self, _max_text: usize) -> Result<usize, EncodeError> {
        let varints = [self.channels.get(), self.buffer_size.map_or(0, NonZeroU32::get)];
        Ok(varints.into_iter().fold(9, |len: usize, value| len.saturating_add(varint::len(value.into()))))
    }

    fn write(&self, out: &mut impl BufMut) {
        out.put_f64_le(self.sample_rate.get());
        varint::put(self.channels.get().into(), out);
        varint::put(self.buffer_size.map_or(0, NonZeroU32::get).into(), out);
        out.put_u8(self.sample_type as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_03_payloads_are_whole_frames_where_one_fits() {
        let wide = |channels, sample_type| Format {
            channels: NonZeroU32::new(channels).unwrap(),
            sample_type,
            ..Format::STANDARD
        };
        assert_eq!(Format::STANDARD.payload(1400), 1400);
        assert_eq!(wide(3, SampleType::I24).payload(1400), 1395);
        assert_eq!(wide(64, SampleType::Ieef64).payload(1400), 1024);
        // Not one frame fits.
        assert_eq!(wide(1000, SampleType::I16).payload(1400), 1400);
        assert_eq!(wide(u32::MAX, SampleType::U64).payload(1400), 1400);
        assert_eq!(wide(u32::MAX, SampleType::U64).bytes(u64::MAX), u64::MAX);
    }

    #[test]
    fn s_03_sizes_silence_and_names_of_every_type() {
        let sizes = [1, 2, 3, 4, 8, 1, 2, 3, 4, 8, 4, 8];
        for (value, (sample_type, size)) in (0..).zip(SampleType::ALL.into_iter().zip(sizes)) {
            assert_eq!((sample_type.size(), sample_type.silence().len()), (size, size));
            assert_eq!(SampleType::from_wire(value), Some(sample_type));
            assert_eq!(SampleType::from_name(sample_type.name()), Some(sample_type));
            let middle = *sample_type.silence().last().unwrap();
            assert_eq!(middle == 0x80, sample_type.name().starts_with('U'));
        }
        assert_eq!(SampleType::from_wire(12), None);
        for rate in [0.0, -48_000.0, f64::NAN, f64::INFINITY, 1e-320] {
            assert_eq!(SampleRate::new(rate), None);
        }
        assert_eq!(alloc::format!("{}", Format::STANDARD), "48000 Hz, 2 channels, F32, 32 frames at a time");
    }
}
