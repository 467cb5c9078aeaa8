//! The hot part of `call_data` and `voice_msg`: lists of samples, checked once, borrowed, converted in bulk, and handed on
//! without being encoded again.
//!
//! With the feature `simd`, lists of 32 samples or more are handled with AVX2, or with AVX-512 where `fearless_simd` finds all of Ice
//! Lake's instructions. Values, bytes and errors are the same. Scalar code alone converts floats to `i16` and lists of integers with an
//! element of five or nine bytes, and takes over at the first `f64` in a list of floats.

#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod avx2;
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod avx512;
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod bits;
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod dispatch;
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod loops;
mod scalar;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(not(all(feature = "simd", target_arch = "x86_64")))]
use self::scalar::only as dispatch;
use crate::objects::{list_head_len, put_list_head};
use alloc::vec::Vec;
use core::fmt;
use voxwire_core::DecodeErrorKind;
use voxwire_core::bytes::BufMut;

/// What the elements of a list of samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleKind {
    /// Integers from −32 768 to 32 767: what the document's programs send and take.
    Int,
    /// Floats, nominally from −1 to 1, all of them finite.
    Float,
}

/// A list of samples: a window of a message, every element of which has been checked, or a slice to be sent.
///
/// Channels are interleaved. Equal if the numbers are, however they are written.
#[derive(Clone, Copy)]
pub struct Samples<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// Checked elements, as they came.
    Wire {
        elements: &'a [u8],
        len: usize,
        kind: SampleKind,
        is_plain: bool,
    },
    Pcm(&'a [i16]),
    Float(&'a [f32]),
}

/// Why bytes are no list of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// So many bytes are missing, at least.
    Missing(usize),
    /// The element that starts so many bytes behind the list's head, and shows by its first `len` bytes what it is.
    Bad { at: usize, len: usize, kind: DecodeErrorKind },
}

/// How far the elements of a list have been looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Whole elements, and the bytes they take.
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    /// Whether all of them are integers of one, two or three bytes, if that is known.
    is_plain: bool,
    /// Why it stopped before the last one, if it did.
    pub(crate) fault: Option<Fault>,
}

/// Below so many samples the loops in `scalar` are the fastest.
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
const FEW: usize = 32;

/// Twice the bits of a float that is infinite: more than those of any finite one, of either sign.
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
const INFINITE: u32 = 0xff00_0000;

/// Looks through at most `count` elements of `kind` in `bytes`.
pub(crate) fn walk(bytes: &[u8], count: usize, kind: SampleKind) -> Walked {
    match kind {
        SampleKind::Int => dispatch::walk_ints(bytes, count),
        SampleKind::Float => dispatch::walk_floats(bytes, count),
    }
}

/// What a list whose first element starts with `marker` holds.
pub(crate) const fn kind_of(marker: u8) -> SampleKind {
    match marker {
        crate::objects::marker::FLOAT_32 | crate::objects::marker::FLOAT_64 => SampleKind::Float,
        _ => SampleKind::Int,
    }
}

impl<'a> Samples<'a> {
    /// Checks `count` elements at the start of `bytes`; also returns how many bytes they take.
    pub(crate) fn read(bytes: &'a [u8], count: usize, floats: bool) -> Result<(Self, usize), Fault> {
        let kind = match bytes.first() {
            Some(&marker) if floats && count > 0 => kind_of(marker),
            _ => SampleKind::Int,
        };
        let Walked { bytes: len, is_plain, fault, .. } = walk(bytes, count, kind);
        match fault {
            Some(fault) => Err(fault),
            None => {
                let elements = bytes.get(..len).unwrap_or(&[]);
                Ok((Self(Source::Wire { elements, len: count, kind, is_plain }), len))
            }
        }
    }

    /// Number of samples, of all channels together.
    pub const fn len(&self) -> usize {
        match self.0 {
            Source::Wire { len, .. } => len,
            Source::Pcm(samples) => samples.len(),
            Source::Float(samples) => samples.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What they are on the wire.
    pub const fn kind(&self) -> SampleKind {
        match self.0 {
            Source::Wire { kind, .. } => kind,
            Source::Pcm(_) => SampleKind::Int,
            Source::Float(_) => SampleKind::Float,
        }
    }

    /// Writes the samples into `out`, as many as fit; returns how many. Floats are scaled by 32 768 and clipped.
    pub fn copy_to_i16(&self, out: &mut [i16]) -> usize {
        let n = self.len().min(out.len());
        let out = out.get_mut(..n).unwrap_or(&mut []);
        match self.0 {
            Source::Wire { elements, kind: SampleKind::Int, is_plain, .. } => {
                dispatch::ints_to_i16(elements, is_plain, out);
            }
            Source::Wire { elements, kind: SampleKind::Float, .. } => {
                scalar::floats(elements, out, to_i16);
            }
            Source::Pcm(samples) => out.copy_from_slice(samples.get(..n).unwrap_or(&[])),
            Source::Float(samples) => {
                out.iter_mut().zip(samples).for_each(|(to, from)| *to = to_i16(*from));
            }
        }
        n
    }

    /// As [`copy_to_i16`](Self::copy_to_i16), in floats: integers are divided by 32 768.
    pub fn copy_to_f32(&self, out: &mut [f32]) -> usize {
        let n = self.len().min(out.len());
        let out = out.get_mut(..n).unwrap_or(&mut []);
        match self.0 {
            Source::Wire { elements, kind: SampleKind::Int, is_plain, .. } => {
                dispatch::ints_to_f32(elements, is_plain, out);
            }
            Source::Wire { elements, kind: SampleKind::Float, .. } => dispatch::floats_to_f32(elements, out),
            Source::Pcm(samples) => {
                out.iter_mut().zip(samples).for_each(|(to, from)| *to = to_f32(*from));
            }
            Source::Float(samples) => out.copy_from_slice(samples.get(..n).unwrap_or(&[])),
        }
        n
    }

    /// Appends all samples to `out`.
    pub fn append_to(&self, out: &mut Vec<i16>) {
        let start = out.len();
        out.resize(start.saturating_add(self.len()), 0);
        self.copy_to_i16(out.get_mut(start..).unwrap_or(&mut []));
    }

    /// The encoded length, head included.
    pub(crate) fn encoded_len(&self) -> usize {
        let elements = match self.0 {
            Source::Wire { elements, .. } => elements.len(),
            Source::Pcm(samples) => dispatch::ints_len(samples),
            Source::Float(samples) => samples.len().saturating_mul(5),
        };
        list_head_len(self.len()).saturating_add(elements)
    }

    /// Writes them: those that came from the wire as they came, others in their shortest form. Never as `bin`.
    pub(crate) fn put(&self, out: &mut impl BufMut) {
        put_list_head(self.len(), out);
        match self.0 {
            Source::Wire { elements, .. } => out.put_slice(elements),
            Source::Pcm(samples) => dispatch::put_ints(samples, out),
            Source::Float(samples) => dispatch::put_floats(samples, out),
        }
    }

    /// Whether all can be encoded: floats have to be finite.
    pub(crate) fn is_sound(&self) -> bool {
        match self.0 {
            Source::Wire { .. } | Source::Pcm(_) => true,
            Source::Float(samples) => dispatch::all_finite(samples),
        }
    }
}

fn to_i16(sample: f32) -> i16 {
    // Saturates, which is what clipping is.
    #[expect(clippy::cast_possible_truncation, reason = "a cast from float saturates")]
    let clipped = (sample * 32_768.0) as i16;
    clipped
}

#[inline]
fn to_f32(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

/// Elements as on the wire.
#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for Samples<'a> {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let bytes = <&'a [u8]>::arbitrary(u)?;
        let kind = bytes.first().map_or(SampleKind::Int, |&marker| kind_of(marker));
        let len = walk(bytes, bytes.len(), kind).count;
        let samples = Self::read(bytes, len, true).map_err(|_| arbitrary::Error::IncorrectFormat)?;
        Ok(samples.0)
    }
}

impl Default for Samples<'_> {
    fn default() -> Self {
        Self(Source::Pcm(&[]))
    }
}

impl<'a> From<&'a [i16]> for Samples<'a> {
    fn from(samples: &'a [i16]) -> Self {
        Self(Source::Pcm(samples))
    }
}

impl<'a> From<&'a [f32]> for Samples<'a> {
    fn from(samples: &'a [f32]) -> Self {
        Self(Source::Float(samples))
    }
}

impl PartialEq for Samples<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() || (self.kind() != other.kind() && !self.is_empty()) {
            return false;
        }
        let (mut one, mut two) = ([0_f32; 64], [0_f32; 64]);
        let (mut a, mut b) = (*self, *other);
        while !a.is_empty() {
            // An i16 is exact in an f32.
            let n = a.copy_to_f32(&mut one).min(b.copy_to_f32(&mut two));
            if one.get(..n) != two.get(..n) {
                return false;
            }
            (a, b) = (a.skip(n), b.skip(n));
        }
        true
    }
}

impl Samples<'_> {
    /// Without the first `n`.
    fn skip(self, n: usize) -> Self {
        match self.0 {
            Source::Wire { elements, len, kind, is_plain } => {
                let gone = walk(elements, n, kind);
                Self(Source::Wire {
                    elements: elements.get(gone.bytes..).unwrap_or(&[]),
                    len: len.saturating_sub(gone.count.max(1)),
                    kind,
                    is_plain,
                })
            }
            Source::Pcm(samples) => Self(Source::Pcm(samples.get(n.max(1)..).unwrap_or(&[]))),
            Source::Float(samples) => Self(Source::Float(samples.get(n.max(1)..).unwrap_or(&[]))),
        }
    }
}

/// Their number alone.
impl fmt::Debug for Samples<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} samples", self.len(), self.kind())
    }
}
