//! The inner loops, without `unsafe` and for any machine: the one place to change for wide registers.

use super::{Fault, Walked, to_f32};
use crate::objects::marker;
use voxwire_core::DecodeErrorKind;
use voxwire_core::bytes::BufMut;

/// Elements looked at together.
const RUN: usize = 8;
/// Bytes that as many elements can take, in one of the forms that are looked at together, and a few more.
const WINDOW: usize = 32;

const fn signed(byte: u8) -> i8 {
    i8::from_ne_bytes([byte])
}

/// [`RUN`] elements of up to 16 bits, of any widths: no branch depends on what they are, because in speech nobody can foretell
/// that. Returns the bytes they take; `None` if one of them is of another form, or no sample.
#[inline]
fn block(window: &[u8; WINDOW], mut found: impl FnMut(i16)) -> Option<usize> {
    let mut at = 0_usize;
    let mut all = true;
    for _ in 0..RUN {
        let byte = |ahead: usize| window.get(at.wrapping_add(ahead) % WINDOW).copied().unwrap_or(0);
        let (first, a, b) = (byte(0), byte(1), byte(2));
        // 00 to 7f and e0 to ff; cc and d0 have one byte behind them, cd and d1 two.
        let fix = first.wrapping_add(32) < 160;
        let two = first & 1;
        let unsigned = first & 0xfe == marker::UINT_8;
        let known = unsigned | (first & 0xfe == marker::INT_8);
        let fits = !(unsigned & (two != 0) & (a >= 0x80));
        all &= fix | (known & fits);
        let narrow = if unsigned { i16::from(a) } else { i16::from(signed(a)) };
        let wide = i16::from_be_bytes([a, b]);
        let value = if two != 0 { wide } else { narrow };
        found(if fix { signed(first).into() } else { value });
        let step = 2_u8.wrapping_add(two);
        at = at.wrapping_add(if fix { 1 } else { step }.into());
    }
    all.then_some(at)
}

/// One integer of any form, at the start of `bytes`: its value and the bytes it takes.
fn one(bytes: &[u8]) -> Result<(i16, usize), Fault> {
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

/// Whether [`RUN`] elements take one byte each: none from 80 to df.
#[inline]
const fn all_one(bytes: [u8; RUN]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let bytes = u64::from_ne_bytes(bytes);
    // The highest bit is set, and one of the two below is not.
    bytes & HIGH & !((bytes << 1) & (bytes << 2)) == 0
}

/// Whether [`RUN`] elements are 16 bits wide each.
#[inline]
fn all_three(bytes: &[u8; 3 * RUN]) -> bool {
    bytes.chunks_exact(3).fold(true, |all, element| match *element {
        [first, a, _] => all & ((first == marker::INT_16) | ((first == marker::UINT_16) & (a < 0x80))),
        _ => all,
    })
}

/// Looks through at most `count` integers.
pub(super) fn walk_ints(bytes: &[u8], count: usize) -> Walked {
    let (mut rest, mut left) = (bytes, count);
    let mut fault = None;
    while left > 0 {
        if left >= RUN {
            // Quiet passages take one byte a sample, loud ones three; between them it is all mixed.
            if let Some((_, tail)) = rest.split_first_chunk().filter(|(run, _)| all_one(**run)) {
                (rest, left) = (tail, left.saturating_sub(RUN));
                continue;
            }
            if let Some((_, tail)) = rest.split_first_chunk().filter(|(run, _)| all_three(run)) {
                (rest, left) = (tail, left.saturating_sub(RUN));
                continue;
            }
            if let Some(taken) = rest.first_chunk().and_then(|window| block(window, |_| {})) {
                rest = rest.get(taken..).unwrap_or(&[]);
                left = left.saturating_sub(RUN);
                continue;
            }
        }
        match one(rest) {
            Ok((_, taken)) => rest = rest.get(taken..).unwrap_or(&[]),
            Err(found) => {
                fault = Some(found);
                break;
            }
        }
        left = left.saturating_sub(1);
    }
    let at = bytes.len().saturating_sub(rest.len());
    let fault = fault.map(|fault| match fault {
        Fault::Bad { len, kind, .. } => Fault::Bad { at, len, kind },
        // Each element that is left takes a byte at least.
        Fault::Missing(missing) => Fault::Missing(missing.saturating_add(left.saturating_sub(1))),
    });
    Walked { count: count.saturating_sub(left), bytes: at, fault }
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
    let (mut rest, mut done) = (elements, 0_usize);
    while done < out.len() {
        if let Some(now) = out.get_mut(done..done.saturating_add(RUN)) {
            let taken = if let Some(run) = rest.first_chunk::<RUN>().filter(|run| all_one(**run)) {
                for (to, byte) in now.iter_mut().zip(run) {
                    *to = convert(signed(*byte).into());
                }
                Some(RUN)
            } else if let Some(run) = rest.first_chunk::<{ 3 * RUN }>().filter(|run| all_three(run)) {
                for (to, element) in now.iter_mut().zip(run.chunks_exact(3)) {
                    if let [_, a, b] = *element {
                        *to = convert(i16::from_be_bytes([a, b]));
                    }
                }
                Some(run.len())
            } else {
                let mut to = now.iter_mut();
                let found = |value| {
                    if let Some(to) = to.next() {
                        *to = convert(value);
                    }
                };
                rest.first_chunk().and_then(|window| block(window, found))
            };
            if let Some(taken) = taken {
                rest = rest.get(taken..).unwrap_or(&[]);
                done = done.saturating_add(RUN);
                continue;
            }
        }
        let (value, taken) = one(rest).unwrap_or((0, 1));
        if let Some(to) = out.get_mut(done) {
            *to = convert(value);
        }
        rest = rest.get(taken..).unwrap_or(&[]);
        done = done.saturating_add(1);
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

/// Samples written at a time.
const CHUNK: usize = 64;

/// Writes `samples`, each in its shortest form.
pub(super) fn put_ints(samples: &[i16], out: &mut impl BufMut) {
    let mut buffer = [0_u8; 3 * CHUNK + 1];
    for chunk in samples.chunks(CHUNK) {
        let at = if chunk.iter().fold(true, |all, &sample| all & (width(sample) == 1)) {
            for (to, sample) in buffer.iter_mut().zip(chunk) {
                let [_, low] = sample.to_be_bytes();
                *to = low;
            }
            chunk.len()
        } else {
            put_mixed(chunk, &mut buffer)
        };
        out.put_slice(buffer.get(..at).unwrap_or(&[]));
    }
}

/// Writes at most [`CHUNK`] samples of any widths, and no branch depends on those. Returns the bytes they take.
#[inline]
fn put_mixed(samples: &[i16], buffer: &mut [u8; 3 * CHUNK + 1]) -> usize {
    let mut at = 0_usize;
    for &sample in samples {
        let bits = u32::from(u16::from_ne_bytes(sample.to_ne_bytes()));
        // d0 and d1 are four above cc and cd.
        let sign = (bits >> 15) << 2;
        let width = width(sample);
        let three = (u32::from(marker::UINT_16).wrapping_add(sign) << 24) | (bits << 8);
        let two = (u32::from(marker::UINT_8).wrapping_add(sign) << 24) | ((bits & 0xff) << 16);
        let one = bits << 24;
        let wide = if width == 3 { three } else { two };
        let word = if width == 1 { one } else { wide };
        // Four bytes whatever the width: those too many are overwritten by the next.
        if let Some(slot) = buffer.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *slot = word.to_be_bytes();
        }
        at = at.wrapping_add(width.into());
    }
    at
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
