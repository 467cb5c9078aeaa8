//! The inner loops, without `unsafe` and for any machine: the one place to change for wide registers.

use super::{Fault, Walked, to_f32};
use crate::objects::marker;
use voxwire_core::DecodeErrorKind;
use voxwire_core::bytes::BufMut;

/// Elements looked at together where they have the same width.
const RUN: usize = 8;

const fn signed(byte: u8) -> i8 {
    i8::from_ne_bytes([byte])
}

/// One integer: its value and the bytes it takes; `None` if that is left to [`slow`].
#[inline]
fn quick(window: [u8; 3]) -> Option<(i16, usize)> {
    let [first, a, b] = window;
    let both = i16::from_be_bytes([a, b]);
    match first {
        0x00..=0x7f | 0xe0..=0xff => Some((i16::from(signed(first)), 1)),
        marker::INT_16 => Some((both, 3)),
        marker::UINT_16 if both >= 0 => Some((both, 3)),
        marker::UINT_8 => Some((a.into(), 2)),
        marker::INT_8 => Some((signed(a).into(), 2)),
        _ => None,
    }
}

/// One integer of any form, at the start of `bytes`.
#[cold]
fn slow(bytes: &[u8]) -> Result<(i16, usize), Fault> {
    let Some((&first, rest)) = bytes.split_first() else { return Err(Fault::Missing(1)) };
    let width: usize = match first {
        0x00..=0x7f | 0xe0..=0xff => 0,
        marker::UINT_8 | marker::INT_8 => 1,
        marker::UINT_16 | marker::INT_16 => 2,
        marker::UINT_32 | marker::INT_32 => 4,
        marker::UINT_64 | marker::INT_64 => 8,
        got => {
            let kind = DecodeErrorKind::Tag { got: got.into(), expected: "an integer" };
            return Err(Fault::Bad { at: 0, len: 1, kind });
        }
    };
    let Some(field) = rest.get(..width) else { return Err(Fault::Missing(width.saturating_sub(rest.len()))) };
    let is_signed = matches!(first, marker::INT_8 | marker::INT_16 | marker::INT_32 | marker::INT_64);
    let fill = if is_signed && field.first().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
    let value = match width {
        0 => signed(first).into(),
        _ => field.iter().fold(fill, |value: i128, byte| (value << 8) | i128::from(*byte)),
    };
    match i16::try_from(value) {
        Ok(value) => Ok((value, width.saturating_add(1))),
        Err(_) => {
            let got = u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX);
            let kind = DecodeErrorKind::Value { got, expected: "a sample from -32768 to 32767" };
            Err(Fault::Bad { at: 0, len: width.saturating_add(1), kind })
        }
    }
}

/// Whether the next [`RUN`] elements take one byte each.
#[inline]
fn all_one(bytes: &[u8; RUN]) -> bool {
    bytes.iter().fold(true, |all, byte| all & (byte.wrapping_add(32) < 160))
}

/// Whether the next [`RUN`] elements are 16 bits wide each.
#[inline]
fn all_three(bytes: &[u8; 3 * RUN]) -> bool {
    bytes.chunks_exact(3).fold(true, |all, element| match *element {
        [first, a, _] => all & ((first == marker::INT_16) | ((first == marker::UINT_16) & (a < 0x80))),
        _ => all,
    })
}

/// Looks through at most `count` integers.
pub(super) fn walk_ints(bytes: &[u8], count: usize) -> Walked {
    let mut rest = bytes;
    let mut left = count;
    let done = |rest: &[u8], left: usize, fault: Option<Fault>| {
        let at = bytes.len().saturating_sub(rest.len());
        let fault = fault.map(|fault| match fault {
            Fault::Bad { len, kind, .. } => Fault::Bad { at, len, kind },
            // Each element that is left takes a byte at least.
            Fault::Missing(missing) => Fault::Missing(missing.saturating_add(left.saturating_sub(1))),
        });
        Walked { count: count.saturating_sub(left), bytes: at, fault }
    };
    while left > 0 {
        // Runs: loud passages take three bytes a sample, quiet ones one.
        while left >= RUN {
            match rest.split_first_chunk::<{ 3 * RUN }>() {
                Some((run, tail)) if all_three(run) => rest = tail,
                _ => match rest.split_first_chunk::<RUN>() {
                    Some((run, tail)) if all_one(run) => rest = tail,
                    _ => break,
                },
            }
            left = left.saturating_sub(RUN);
        }
        for _ in 0..left.min(RUN) {
            let step = match rest.first_chunk::<3>().and_then(|window| quick(*window)) {
                Some((_, step)) => step,
                None => match slow(rest) {
                    Ok((_, step)) => step,
                    Err(fault) => return done(rest, left, Some(fault)),
                },
            };
            rest = rest.get(step..).unwrap_or(&[]);
            left = left.saturating_sub(1);
        }
    }
    done(rest, left, None)
}

/// Looks through at most `count` floats.
pub(super) fn walk_floats(bytes: &[u8], count: usize) -> Walked {
    let (mut at, mut left) = (0_usize, count);
    let mut fault = None;
    while left > 0 {
        match float(bytes.get(at..).unwrap_or(&[])) {
            Ok((_, step)) => at = at.saturating_add(step),
            Err(Fault::Missing(missing)) => {
                fault = Some(Fault::Missing(missing.saturating_add(left.saturating_sub(1))));
                break;
            }
            Err(Fault::Bad { len, kind, .. }) => {
                fault = Some(Fault::Bad { at, len, kind });
                break;
            }
        }
        left = left.saturating_sub(1);
    }
    Walked { count: count.saturating_sub(left), bytes: at, fault }
}

/// One float of either width, at the start of `bytes`.
#[inline]
fn float(bytes: &[u8]) -> Result<(f32, usize), Fault> {
    let Some((&first, rest)) = bytes.split_first() else { return Err(Fault::Missing(1)) };
    let (value, len) = match first {
        marker::FLOAT_32 => match rest.first_chunk() {
            Some(field) => (f32::from_be_bytes(*field), 5),
            None => return Err(Fault::Missing(4_usize.saturating_sub(rest.len()))),
        },
        marker::FLOAT_64 => match rest.first_chunk() {
            #[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest is meant")]
            Some(field) => (f64::from_be_bytes(*field) as f32, 9),
            None => return Err(Fault::Missing(8_usize.saturating_sub(rest.len()))),
        },
        got => {
            let kind = DecodeErrorKind::Tag { got: got.into(), expected: "a float, like those before it" };
            return Err(Fault::Bad { at: 0, len: 1, kind });
        }
    };
    if value.is_finite() {
        return Ok((value, len));
    }
    let kind = DecodeErrorKind::Value { got: value.to_bits().into(), expected: "a finite float" };
    Err(Fault::Bad { at: 0, len, kind })
}

/// Converts as many of the checked elements as `out` has room for.
pub(super) fn ints_to_i16(elements: &[u8], out: &mut [i16]) {
    ints(elements, out, |sample| sample);
}

/// The same in floats.
pub(super) fn ints_to_f32(elements: &[u8], out: &mut [f32]) {
    ints(elements, out, to_f32);
}

#[inline]
fn ints<T>(elements: &[u8], out: &mut [T], convert: impl Fn(i16) -> T) {
    let (mut rest, mut out) = (elements, out);
    while !out.is_empty() {
        while out.len() >= RUN {
            if let Some((run, tail)) =
                rest.split_first_chunk::<{ 3 * RUN }>().filter(|(run, _)| all_three(run))
            {
                let (now, later) = out.split_at_mut(RUN);
                for (to, element) in now.iter_mut().zip(run.chunks_exact(3)) {
                    if let [_, a, b] = *element {
                        *to = convert(i16::from_be_bytes([a, b]));
                    }
                }
                (rest, out) = (tail, later);
            } else if let Some((run, tail)) = rest.split_first_chunk::<RUN>().filter(|(run, _)| all_one(run))
            {
                let (now, later) = out.split_at_mut(RUN);
                for (to, byte) in now.iter_mut().zip(run) {
                    *to = convert(signed(*byte).into());
                }
                (rest, out) = (tail, later);
            } else {
                break;
            }
        }
        let (now, later) = out.split_at_mut(out.len().min(RUN));
        for to in now {
            let quick = rest.first_chunk::<3>().and_then(|window| quick(*window));
            let (value, step) = quick.unwrap_or_else(|| slow(rest).unwrap_or((0, 1)));
            *to = convert(value);
            rest = rest.get(step..).unwrap_or(&[]);
        }
        out = later;
    }
}

/// Converts as many of the checked elements as `out` has room for.
pub(super) fn floats<T>(elements: &[u8], out: &mut [T], convert: impl Fn(f32) -> T) {
    let mut rest = elements;
    for to in out {
        let (value, step) = float(rest).unwrap_or((0.0, 1));
        *to = convert(value);
        rest = rest.get(step..).unwrap_or(&[]);
    }
}

/// The bytes that `samples` take in their shortest form.
pub(super) fn ints_len(samples: &[i16]) -> usize {
    samples.chunks(64).fold(0, |sum: usize, chunk| {
        // At most 192, so a byte is enough, and a register holds many.
        let len = chunk.iter().fold(0_u8, |sum, &sample| sum.wrapping_add(width(sample)));
        sum.saturating_add(len.into())
    })
}

/// 1 for −32 to 127, 2 for −128 to 255, 3 for the rest.
#[inline]
fn width(sample: i16) -> u8 {
    let bits = u16::from_ne_bytes(sample.to_ne_bytes());
    let one = u8::from(bits.wrapping_add(32) < 160);
    let two = u8::from(bits.wrapping_add(128) < 384);
    3_u8.wrapping_sub(one).wrapping_sub(two)
}

/// Writes `samples`, each in its shortest form.
pub(super) fn put_ints(samples: &[i16], out: &mut impl BufMut) {
    let mut buffer = [0_u8; 3 * 64 + 1];
    for chunk in samples.chunks(64) {
        let mut at = 0_usize;
        for &sample in chunk {
            let [high, low] = sample.to_be_bytes();
            let negative = sample < 0;
            let width = width(sample);
            let one = [low, 0, 0];
            let two = [if negative { marker::INT_8 } else { marker::UINT_8 }, low, 0];
            let three = [if negative { marker::INT_16 } else { marker::UINT_16 }, high, low];
            let bytes = match width {
                1 => one,
                2 => two,
                _ => three,
            };
            // Three bytes whatever the width: those too many are overwritten by the next.
            if let Some(slot) = buffer.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
                *slot = bytes;
            }
            at = at.wrapping_add(width.into());
        }
        out.put_slice(buffer.get(..at).unwrap_or(&[]));
    }
}

/// Writes `samples` as 32-bit floats.
pub(super) fn put_floats(samples: &[f32], out: &mut impl BufMut) {
    let mut buffer = [marker::FLOAT_32; 5 * 64];
    for chunk in samples.chunks(64) {
        for (slot, sample) in buffer.chunks_exact_mut(5).zip(chunk) {
            if let [_, field @ ..] = slot {
                field.copy_from_slice(&sample.to_be_bytes());
            }
        }
        out.put_slice(buffer.get(..chunk.len().saturating_mul(5)).unwrap_or(&[]));
    }
}
