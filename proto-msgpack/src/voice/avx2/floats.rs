//! Lists of floats with registers of 32 bytes.

use super::super::{INFINITE, Walked, scalar};
use super::i;
use crate::objects::marker;
use core::arch::x86_64::*;
use safe_unaligned_simd::x86_64::{
    _mm_loadu_ps, _mm_loadu_si128, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_storeu_ps, _mm256_storeu_si256,
};
use voxwire_core::bytes::BufMut;

/// 32 bytes of 32 floats: where those bytes come from, by lanes, of four floats that start at one and of four more; and markers.
struct Part {
    from: [usize; 2],
    order: [u8; 32],
    markers: [u8; 32],
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs when it is compiled"
)]
const fn part_of(part: usize) -> Part {
    let mut made = Part { from: [0; 2], order: [0x80; 32], markers: [0; 32] };
    let mut lane = 0;
    while lane < 2 {
        let start = 32 * part + 16 * lane;
        // The first float of which the lane has a byte: a marker belongs to the one behind it.
        let from = if start / 5 > 28 { 28 } else { start / 5 };
        made.from[lane] = from;
        let mut n = 0;
        while n < 16 {
            let at = start + n;
            if at.is_multiple_of(5) {
                made.markers[16 * lane + n] = marker::FLOAT_32;
            } else {
                let (float, byte) = (at / 5, at % 5 - 1);
                made.order[16 * lane + n] = (4 * (float - from) + (3 - byte)) as u8;
            }
            n += 1;
        }
        lane += 1;
    }
    made
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn part<const PART: usize>(floats: &[f32; 32]) -> __m256i {
    let four = |at: usize| {
        let four: &[f32; 4] = floats.get(at..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0.0; 4]);
        _mm_castps_si128(_mm_loadu_ps(four))
    };
    let Part { from: [low, high], order, markers } = const { &part_of(PART) };
    let x = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(four(*low)), four(*high));
    _mm256_or_si256(_mm256_shuffle_epi8(x, _mm256_loadu_si256(order)), _mm256_loadu_si256(markers))
}

/// Writes `samples` as 32-bit floats.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn put_floats(samples: &[f32], out: &mut impl BufMut) {
    let (runs, rest) = samples.as_chunks::<32>();
    for run in runs {
        let parts = [part::<0>(run), part::<1>(run), part::<2>(run), part::<3>(run), part::<4>(run)];
        // Handed on at once, while it is in registers.
        let mut bytes = [0; 160];
        let (to, _) = bytes.as_chunks_mut::<32>();
        for (to, part) in to.iter_mut().zip(parts) {
            _mm256_storeu_si256(to, part);
        }
        out.put_slice(&bytes);
    }
    scalar::put_floats(rest, out);
}

/// Whether all are finite.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn all_finite(samples: &[f32]) -> bool {
    let (runs, rest) = samples.as_chunks::<16>();
    let mut most = [_mm256_setzero_si256(); 2];
    for run in runs {
        let (halves, _) = run.as_chunks::<8>();
        for (most, half) in most.iter_mut().zip(halves) {
            let x = _mm256_castps_si256(_mm256_loadu_ps(half));
            *most = _mm256_max_epu32(*most, _mm256_add_epi32(x, x));
        }
    }
    let [a, b] = most;
    !is_any_infinite(_mm256_max_epu32(a, b)) && rest.iter().all(|sample| sample.is_finite())
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn is_any_infinite(doubled: __m256i) -> bool {
    let least = _mm256_set1_epi32(INFINITE.cast_signed());
    _mm256_movemask_epi8(_mm256_cmpeq_epi32(_mm256_max_epu32(doubled, least), doubled)) != 0
}

/// Eight elements as floats, and bytes that are all ones where they have markers.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn eight(bytes: &[u8; 40]) -> (__m256i, __m256i) {
    let at = |at: usize| {
        let part: &[u8; 16] = bytes.get(at..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; 16]);
        _mm_loadu_si128(part)
    };
    let two = |low, high| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(at(low)), at(high));
    // Three floats and the marker of the fourth; and the fourth.
    let (most, last) = (two(0, 20), two(4, 24));
    let z = i(0x80);
    let three =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(4, 3, 2, 1, 9, 8, 7, 6, 14, 13, 12, 11, z, z, z, z));
    let fourth =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(z, z, z, z, z, z, z, z, z, z, z, z, 15, 14, 13, 12));
    let floats = _mm256_or_si256(_mm256_shuffle_epi8(most, three), _mm256_shuffle_epi8(last, fourth));
    (floats, _mm256_cmpeq_epi8(most, _mm256_set1_epi8(i(marker::FLOAT_32))))
}

/// Where the markers of eight elements are.
const MARKERS: i32 = 0x8421_8421_u32.cast_signed();

/// Looks through at most `count` floats.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn walk_floats(bytes: &[u8], count: usize) -> Walked {
    let (runs, _) = bytes.as_chunks::<160>();
    let mut good = 0_usize;
    for run in runs.iter().take(count / 32) {
        let (parts, _) = run.as_chunks::<40>();
        let (mut most, mut marked) = (_mm256_setzero_si256(), _mm256_set1_epi8(-1));
        for part in parts {
            let (x, marks) = eight(part);
            most = _mm256_max_epu32(most, _mm256_add_epi32(x, x));
            marked = _mm256_and_si256(marked, marks);
        }
        if _mm256_movemask_epi8(marked) & MARKERS != MARKERS || is_any_infinite(most) {
            break;
        }
        good = good.wrapping_add(32);
    }
    scalar::walk_floats_from(bytes, count, good)
}

/// Fills `out` with the first of checked elements, of which there are as many at least.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn floats_to_f32(elements: &[u8], out: &mut [f32]) {
    let (parts, _) = elements.as_chunks::<40>();
    let (wide, _) = out.as_chunks_mut::<8>();
    let mut done = 0_usize;
    for (part, to) in parts.iter().zip(wide) {
        let (x, marks) = eight(part);
        if _mm256_movemask_epi8(marks) & MARKERS != MARKERS {
            break;
        }
        _mm256_storeu_ps(to, _mm256_castsi256_ps(x));
        done = done.wrapping_add(8);
    }
    let rest = elements.get(done.saturating_mul(5)..).unwrap_or(&[]);
    scalar::floats(rest, out.get_mut(done..).unwrap_or(&mut []), |sample| sample);
}
