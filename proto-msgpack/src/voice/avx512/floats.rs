//! Lists of floats with registers of 64 bytes.

use super::super::{INFINITE, Walked, scalar};
use super::i;
use crate::objects::marker;
use core::arch::x86_64::*;
use safe_unaligned_simd::x86_64::{
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_storeu_ps, _mm512_storeu_si512,
};
use voxwire_core::bytes::BufMut;

/// 64 bytes of 64 floats: the float from which on 16 have all of those bytes, where they come from, and which are no markers.
struct Part {
    from: usize,
    order: [u8; 64],
    value: u64,
}

static PARTS: [Part; 5] = [part(0), part(1), part(2), part(3), part(4)];

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs when it is compiled"
)]
const fn part(part: usize) -> Part {
    let from = if 64 * part / 5 > 48 { 48 } else { 64 * part / 5 };
    let mut made = Part { from, order: [0; 64], value: 0 };
    let mut n = 0;
    while n < 64 {
        let at = 64 * part + n;
        if !at.is_multiple_of(5) {
            made.order[n] = (4 * (at / 5 - from) + (3 - (at % 5 - 1))) as u8;
            made.value |= 1 << n;
        }
        n += 1;
    }
    made
}

/// Writes `samples` as 32-bit floats.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn put_floats(samples: &[f32], out: &mut impl BufMut) {
    let markers = _mm512_set1_epi8(i(marker::FLOAT_32));
    let (runs, rest) = samples.as_chunks::<64>();
    for run in runs {
        // Handed on at once, while it is in registers.
        let mut bytes = [0; 320];
        let (to, _) = bytes.as_chunks_mut::<64>();
        for (to, Part { from, order, value }) in to.iter_mut().zip(&PARTS) {
            let from: &[f32; 16] = run.get(*from..).and_then(|run| run.first_chunk()).unwrap_or(&[0.0; 16]);
            let x = _mm512_castps_si512(_mm512_loadu_ps(from));
            let order = _mm512_loadu_si512(order);
            _mm512_storeu_si512(to, _mm512_mask_permutexvar_epi8(markers, *value, order, x));
        }
        out.put_slice(&bytes);
    }
    scalar::put_floats(rest, out);
}

/// Whether all are finite.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn all_finite(samples: &[f32]) -> bool {
    let (runs, rest) = samples.as_chunks::<32>();
    let mut most = [_mm512_setzero_si512(); 2];
    for run in runs {
        let (halves, _) = run.as_chunks::<16>();
        for (most, half) in most.iter_mut().zip(halves) {
            let x = _mm512_castps_si512(_mm512_loadu_ps(half));
            *most = _mm512_max_epu32(*most, _mm512_add_epi32(x, x));
        }
    }
    let [a, b] = most;
    let infinite = _mm512_set1_epi32(INFINITE.cast_signed());
    _mm512_cmplt_epu32_mask(_mm512_max_epu32(a, b), infinite) == u16::MAX
        && rest.iter().all(|sample| sample.is_finite())
}

/// Where the bytes of 12 floats come from in 60 bytes.
static TWELVE: [u8; 64] = twelve();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs when it is compiled"
)]
const fn twelve() -> [u8; 64] {
    let mut order = [0; 64];
    let mut n = 0;
    while n < 48 {
        order[n] = (5 * (n / 4) + 4 - n % 4) as u8;
        n += 1;
    }
    order
}

/// The markers of 12 elements.
const MARKERS: u64 = 0x0084_2108_4210_8421;

/// 12 elements as floats, if all are of 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn twelve_at(bytes: &[u8; 64]) -> Option<__m512i> {
    let v = _mm512_loadu_si512(bytes);
    let wrong = _mm512_mask_cmpneq_epi8_mask(MARKERS, v, _mm512_set1_epi8(i(marker::FLOAT_32)));
    let floats = _mm512_permutexvar_epi8(_mm512_loadu_si512(&TWELVE), v);
    if wrong == 0 { Some(floats) } else { None }
}

/// Looks through at most `count` floats.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn walk_floats(bytes: &[u8], count: usize) -> Walked {
    let infinite = _mm512_set1_epi32(INFINITE.cast_signed());
    let mut good = 0_usize;
    let mut rest = bytes;
    while count.wrapping_sub(good) >= 12 {
        let Some(x) = rest.first_chunk().and_then(|run| twelve_at(run)) else { break };
        if _mm512_mask_cmpge_epu32_mask(0x0fff, _mm512_add_epi32(x, x), infinite) != 0 {
            break;
        }
        good = good.wrapping_add(12);
        rest = rest.get(60..).unwrap_or(&[]);
    }
    scalar::walk_floats_from(bytes, count, good)
}

/// Fills `out` with the first of checked elements, of which there are as many at least.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn floats_to_f32(elements: &[u8], out: &mut [f32]) {
    let (mut rest, mut out) = (elements, out);
    // 16 are written, the last four for nothing.
    while let (Some(run), Some(to)) = (rest.first_chunk(), out.first_chunk_mut::<16>()) {
        let Some(x) = twelve_at(run) else { break };
        _mm512_storeu_ps(to, _mm512_castsi512_ps(x));
        rest = rest.get(60..).unwrap_or(&[]);
        out = core::mem::take(&mut out).get_mut(12..).unwrap_or(&mut []);
    }
    scalar::floats_to_f32(rest, out);
}
