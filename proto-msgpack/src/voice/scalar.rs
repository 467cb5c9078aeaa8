//! The inner loops for any machine. Those for machines with wide registers do exactly what these do, and leave to these what is odd.

use super::{Fault, Walked, to_f32};
use crate::objects::marker;
use voxwire_core::DecodeErrorKind;
use voxwire_core::bytes::BufMut;

/// Elements looked at together where all have the same width.
const RUN: usize = 8;
/// Bytes looked at together where they have not.
const WINDOW: usize = 64;
/// Beside the elements that start in a window, what belongs to the last of them.
const VIEW: usize = WINDOW + 2;
/// In place of a width: no element of up to 16 bits that is a sample.
const OTHER: u8 = 0;

const fn signed(byte: u8) -> i8 {
    i8::from_ne_bytes([byte])
}

/// The bytes from `at` on, as many as a window has.
fn from(view: &[u8; VIEW], at: usize) -> &[u8; WINDOW] {
    view.get(at..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; WINDOW])
}

/// How wide the element is that starts at each byte, if one does: found for all of them at once, so that no branch depends on it
/// (in speech that cannot be predicted), and the way from one element to the next is an addition.
#[inline]
fn widths(view: &[u8; VIEW]) -> [u8; WINDOW] {
    let mut widths = [0; WINDOW];
    for ((width, &first), &a) in widths.iter_mut().zip(from(view, 0)).zip(from(view, 1)) {
        // 00 to 7f and e0 to ff; cc and d0 have one byte behind them, cd and d1 two.
        let fix = first.wrapping_add(32) < 160;
        let two = first & 1;
        let unsigned = first & 0xfe == marker::UINT_8;
        let known = unsigned | (first & 0xfe == marker::INT_8);
        let too_large = unsigned & (two != 0) & (a >= 0x80);
        let wide = if known & !too_large { two.wrapping_add(2) } else { OTHER };
        *width = if fix { 1 } else { wide };
    }
    widths
}

/// The value of the element that starts at each byte, if one does.
#[inline]
fn values(view: &[u8; VIEW]) -> [i16; WINDOW] {
    let mut values = [0; WINDOW];
    let bytes = from(view, 0).iter().zip(from(view, 1)).zip(from(view, 2));
    for (value, ((&first, &a), &b)) in values.iter_mut().zip(bytes) {
        let fix = first.wrapping_add(32) < 160;
        // d0 has a bit that cc has not.
        let narrow = if first & 0x10 == 0 { a.into() } else { signed(a).into() };
        let wide = i16::from_be_bytes([a, b]);
        let behind = if first & 1 == 0 { narrow } else { wide };
        *value = if fix { signed(first).into() } else { behind };
    }
    values
}

/// One integer of any form, at the start of `bytes`: its value and the bytes it takes.
pub(super) fn one(bytes: &[u8]) -> Result<(i16, usize), Fault> {
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

/// Whether [`RUN`] elements are 16 bits wide each, and samples: d1, or cd with less than 80 behind it.
#[inline]
fn all_three(bytes: &[u8; 3 * RUN]) -> bool {
    let word = |at: usize| {
        bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
    };
    // `one` has a one in each byte that an element begins with.
    let bad = |word: u64, one: u64| {
        // Now d1 is 1c, and cd is 0.
        let differs = word ^ one.wrapping_mul(0xcd);
        let neither = differs & one.wrapping_mul(0xe3) | (differs ^ (differs >> 1)) & one.wrapping_mul(0x0c);
        let unsigned = !(differs >> 2) & one;
        neither | unsigned & (word >> 15)
    };
    let three = 0x0001_0000_0100_0001;
    bad(word(0), three) | bad(word(9), three) | bad(word(16), 0x0000_0100_0001_0000) == 0
}

/// Goes from element to element through a window, up to one that is something else. Returns how many there are, at most `most`, and
/// the bytes they take.
#[inline]
fn go(widths: &[u8; WINDOW], most: usize, mut found: impl FnMut(usize)) -> (usize, usize) {
    let (mut at, mut count) = (0_usize, 0_usize);
    while let Some(&width) = widths.get(at).filter(|width| **width != OTHER && count < most) {
        found(at);
        at = at.wrapping_add(width.into());
        count = count.wrapping_add(1);
    }
    (count, at)
}

/// Looks through at most `count` integers.
// Short lists of a message are checked here, where a call and its result in memory are a part of the time.
#[inline(always)]
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
            if let Some(view) = rest.first_chunk() {
                let (count, taken) = go(&widths(view), left, |_| {});
                rest = rest.get(taken..).unwrap_or(&[]);
                left = left.saturating_sub(count);
                if count > 0 {
                    continue;
                }
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
    Walked { count: count.saturating_sub(left), bytes: at, is_plain: false, fault }
}

/// Looks through at most `count` floats.
pub(super) fn walk_floats(bytes: &[u8], count: usize) -> Walked {
    walk_floats_from(bytes, count, 0)
}

/// The same, the first `good` of which have been found to be finite and to have five bytes each.
pub(super) fn walk_floats_from(bytes: &[u8], count: usize, good: usize) -> Walked {
    let (mut at, mut left) = (good.saturating_mul(5), count.saturating_sub(good));
    let mut fault = None;
    while left > 0 {
        let rest = bytes.get(at..).unwrap_or(&[]);
        if left >= RUN && rest.first_chunk().is_some_and(all_floats) {
            at = at.saturating_add(5 * RUN);
            left = left.saturating_sub(RUN);
            continue;
        }
        match float(rest) {
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
    Walked { count: count.saturating_sub(left), bytes: at, is_plain: false, fault }
}

/// One float of either width, at the start of `bytes`.
#[inline]
pub(super) fn float(bytes: &[u8]) -> Result<(f32, usize), Fault> {
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
        if let Some(now) = out.get_mut(done..).and_then(|out| out.first_chunk_mut::<RUN>()) {
            if let Some((run, tail)) = rest.split_first_chunk::<RUN>().filter(|(run, _)| all_one(**run)) {
                for (to, byte) in now.iter_mut().zip(run) {
                    *to = convert(signed(*byte).into());
                }
                (rest, done) = (tail, done.saturating_add(RUN));
                continue;
            }
            if let Some((run, tail)) = rest.split_first_chunk().filter(|(run, _)| all_three(run)) {
                for (to, element) in now.iter_mut().zip(run.chunks_exact(3)) {
                    if let [_, a, b] = *element {
                        *to = convert(i16::from_be_bytes([a, b]));
                    }
                }
                (rest, done) = (tail, done.saturating_add(RUN));
                continue;
            }
            if let Some(view) = rest.first_chunk() {
                let values = values(view);
                let mut to = out.get_mut(done..).unwrap_or(&mut []).iter_mut();
                let (count, taken) = go(&widths(view), to.len(), |at| {
                    if let (Some(to), Some(&value)) = (to.next(), values.get(at)) {
                        *to = convert(value);
                    }
                });
                rest = rest.get(taken..).unwrap_or(&[]);
                done = done.saturating_add(count);
                if count > 0 {
                    continue;
                }
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
    let (mut rest, mut done) = (elements, 0_usize);
    while done < out.len() {
        let now = out.get_mut(done..).and_then(|out| out.first_chunk_mut::<RUN>());
        let run = rest.split_first_chunk().filter(|(run, _)| all_narrow(run));
        if let (Some(now), Some((run, tail))) = (now, run) {
            for (to, element) in now.iter_mut().zip(run.chunks_exact(5)) {
                if let [_, a, b, c, d] = *element {
                    *to = convert(f32::from_be_bytes([a, b, c, d]));
                }
            }
            (rest, done) = (tail, done.saturating_add(RUN));
            continue;
        }
        let (value, taken) = float(rest).unwrap_or((0.0, 1));
        if let Some(to) = out.get_mut(done) {
            *to = convert(value);
        }
        rest = rest.get(taken..).unwrap_or(&[]);
        done = done.saturating_add(1);
    }
}

/// Converts as many of the checked elements as `out` has room for.
pub(super) fn floats_to_f32(elements: &[u8], out: &mut [f32]) {
    floats(elements, out, |sample| sample);
}

/// Whether all are finite.
pub(super) fn all_finite(samples: &[f32]) -> bool {
    samples.iter().all(|sample| sample.is_finite())
}

/// Whether [`RUN`] elements are floats of 32 bits, and finite.
#[inline]
fn all_floats(bytes: &[u8; 5 * RUN]) -> bool {
    let bad = bytes.chunks_exact(5).fold(0, |bad, element| {
        let head = element.first_chunk().map_or(0, |head| u32::from_be_bytes(*head));
        // Of the marker nothing is left, and an exponent of all ones, which is infinite or not a number, overflows.
        let left = (head ^ (u32::from(marker::FLOAT_32) << 24)) & 0xff7f_8000;
        bad | left.wrapping_add(0x8000)
    });
    bad & 0xff80_0000 == 0
}

/// Whether [`RUN`] elements that have been checked are floats of 32 bits.
#[inline]
fn all_narrow(bytes: &[u8; 5 * RUN]) -> bool {
    let differs = |element: &[u8]| element.first().map_or(0, |first| first ^ marker::FLOAT_32);
    bytes.chunks_exact(5).fold(0, |bad, element| bad | differs(element)) == 0
}

/// The bytes that `samples` take in their shortest form.
pub(super) fn ints_len(samples: &[i16]) -> usize {
    samples.chunks(CHUNK).fold(0, |sum: usize, chunk| {
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
/// The most bytes that they take, and one more.
const BUFFER: usize = 3 * CHUNK + 1;

/// Writes `samples`, each in its shortest form.
pub(super) fn put_ints(samples: &[i16], out: &mut impl BufMut) {
    let mut buffer = [0_u8; BUFFER];
    for chunk in samples.chunks(CHUNK) {
        let len = put_chunk(chunk, &mut buffer);
        out.put_slice(buffer.get(..len).unwrap_or(&[]));
    }
}

/// Writes at most a chunk. Returns the bytes it takes.
fn put_chunk(chunk: &[i16], buffer: &mut [u8; BUFFER]) -> usize {
    if chunk.iter().fold(true, |all, &sample| all & (-32..128).contains(&sample)) {
        for (to, sample) in buffer.iter_mut().zip(chunk) {
            let [_, low] = sample.to_be_bytes();
            *to = low;
        }
        return chunk.len();
    }
    // In loud passages only now and then one is not as wide as the others.
    let wide = chunk.iter().fold(0_u8, |count, sample| count.wrapping_add(is_wide(*sample).into()));
    if wide < 56 { put_mixed(chunk, buffer, 0) } else { put_runs(chunk, buffer) }
}

/// Whether a sample takes three bytes.
#[inline]
fn is_wide(sample: i16) -> bool {
    !(-128..256).contains(&sample)
}

/// Writes at most a chunk, most of which is wide. Returns the bytes it takes.
fn put_runs(chunk: &[i16], buffer: &mut [u8; BUFFER]) -> usize {
    let mut at = 0_usize;
    for run in chunk.chunks(RUN) {
        let to = buffer.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<{ 3 * RUN }>());
        match (to, run.first_chunk::<RUN>()) {
            (Some(to), Some(run)) if run.iter().fold(true, |all, sample| all & is_wide(*sample)) => {
                for (to, sample) in to.chunks_exact_mut(3).zip(run) {
                    let [high, low] = sample.to_be_bytes();
                    // d1 is four above cd.
                    to.copy_from_slice(&[marker::UINT_16.wrapping_add((high >> 5) & 4), high, low]);
                }
                at = at.wrapping_add(3 * RUN);
            }
            _ => at = put_mixed(run, buffer, at),
        }
    }
    at
}

/// Writes at most a chunk of any widths at `at`, and no branch depends on those. Returns where it ends.
fn put_mixed(samples: &[i16], buffer: &mut [u8; BUFFER], at: usize) -> usize {
    let (mut words, mut widths) = ([0_u32; CHUNK], [0_u32; CHUNK]);
    for ((word, width), &sample) in words.iter_mut().zip(&mut widths).zip(samples) {
        let value = i32::from(sample);
        // All ones or all zeros.
        let mask = |is_it: bool| u32::from(is_it).wrapping_neg();
        let one = mask((-32..128).contains(&value));
        let three = mask(is_wide(sample));
        let bits = u32::from_ne_bytes(value.to_ne_bytes()) & 0xffff;
        // d0 and d1 are four above cc and cd.
        let sign = (bits >> 13) & 4;
        let marked = (u32::from(marker::UINT_8).wrapping_add(sign).wrapping_sub(three)) << 24;
        let behind = (bits << 8 & three) | (bits << 16 & 0x00ff_0000 & !three);
        *word = (bits << 24 & one) | ((marked | behind) & !one);
        *width = one.wrapping_sub(three).wrapping_add(2);
    }
    let mut at = at;
    for (word, width) in words.iter().zip(widths).take(samples.len()) {
        // Four bytes for every width: those too many are overwritten by the next.
        if let Some(slot) = buffer.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *slot = word.to_be_bytes();
        }
        at = at.wrapping_add(width as usize);
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

/// What `voice` calls where there is nothing to choose from.
#[cfg(not(all(feature = "simd", target_arch = "x86_64")))]
pub(super) mod only {
    pub(in crate::voice) use super::{
        all_finite, floats_to_f32, ints_len, put_floats, put_ints, walk_floats, walk_ints,
    };

    pub(in crate::voice) fn ints_to_i16(elements: &[u8], _is_plain: bool, out: &mut [i16]) {
        super::ints_to_i16(elements, out);
    }

    pub(in crate::voice) fn ints_to_f32(elements: &[u8], _is_plain: bool, out: &mut [f32]) {
        super::ints_to_f32(elements, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every first byte with what may matter behind it.
    fn elements() -> impl Iterator<Item = [u8; 3]> {
        (0..=255).flat_map(|first| [0, 1, 0x1f, 0x7f, 0x80, 0xe0, 0xff].map(|a| [first, a, 0x5a]))
    }

    fn width(element: [u8; 3]) -> Option<(i16, usize)> {
        one(&element).ok()
    }

    #[test]
    fn m_05_what_is_looked_at_together_is_what_each_element_is() {
        for element in elements() {
            let is = width(element);
            // Wherever it starts.
            let mut view = [0xc0; VIEW];
            for at in [0, 1, 31, WINDOW - 1] {
                view[at..at + 3].copy_from_slice(&element);
                let (widths, values) = (widths(&view), values(&view));
                match is {
                    Some((value, width)) => {
                        assert_eq!((values[at], usize::from(widths[at])), (value, width), "{element:x?}");
                    }
                    None => assert_eq!(widths[at], OTHER, "{element:x?}"),
                }
                view[at..at + 3].fill(0xc0);
            }
            let wide = |[first, ..]: [u8; 3]| matches!(first, marker::UINT_16 | marker::INT_16);
            for at in 0..RUN {
                for other in [[0xcd, 0x7f, 0xff], [0xd1, 0x80, 0], [0xd1, 0x7f, 0]] {
                    let mut run = [other; RUN];
                    run[at] = element;
                    let run = run.concat().try_into().unwrap();
                    assert_eq!(all_three(&run), is.is_some() && wide(element), "{run:x?}");
                }
                let mut run = [[0x7f, 0xe0][at % 2]; RUN];
                run[at] = element[0];
                assert_eq!(all_one(run), matches!(element[0], 0..=0x7f | 0xe0..=0xff), "{run:x?}");
            }
        }
    }

    #[test]
    fn m_05_every_sample_among_others_is_written_in_its_shortest_form() {
        for sample in i16::MIN..=i16::MAX {
            for before in [0, -100, 30_000] {
                let mut out = alloc::vec::Vec::new();
                put_ints(&[before, sample], &mut out);
                let mut both = alloc::vec::Vec::new();
                put_ints(&[before], &mut both);
                let at = both.len();
                assert_eq!(one(&out[at..]).ok(), Some((sample, out.len() - at)));
                assert_eq!(out.len() - at, usize::from(super::width(sample)));
            }
        }
    }

    #[test]
    fn m_05_long_lists_are_written_as_their_samples_are() {
        for most in [0, 200, -1000, 20_000] {
            for odd in [0, -32, -33, 127, 128, -128, -129, 255, 256, i16::MIN] {
                for at in 0..CHUNK + 1 {
                    let mut samples = [most; 2 * CHUNK + 3];
                    samples[at..at + at % 5 + 1].fill(odd);
                    let (mut all, mut each) = (alloc::vec::Vec::new(), alloc::vec::Vec::new());
                    put_ints(&samples, &mut all);
                    samples.iter().for_each(|sample| put_ints(&[*sample], &mut each));
                    assert_eq!(all, each, "{odd} among {most} at {at}");
                    assert_eq!(all.len(), ints_len(&samples));
                    let mut back = [1; 2 * CHUNK + 3];
                    ints_to_i16(&all, &mut back);
                    assert_eq!(back, samples);
                    assert_eq!(walk_ints(&all, samples.len()).bytes, all.len());
                }
            }
        }
    }

    #[test]
    fn m_05_floats_that_are_not_finite_are_none_among_others_either() {
        for bits in [0, 1, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x7fc0_0001, 0xff7f_ffff, 0x8000_0000_u32] {
            for at in 0..RUN {
                let mut floats = [1.0_f32; RUN];
                floats[at] = f32::from_bits(bits);
                let mut run = alloc::vec::Vec::new();
                put_floats(&floats, &mut run);
                assert_eq!(
                    all_floats(run[..].try_into().unwrap()),
                    f32::from_bits(bits).is_finite(),
                    "{bits:x}"
                );
                run[5 * at] = marker::FLOAT_64;
                assert!(!all_floats(run[..].try_into().unwrap()));
            }
        }
    }
}
