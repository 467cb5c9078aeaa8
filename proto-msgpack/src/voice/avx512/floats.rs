//! Lists of floats with registers of 64 bytes.

use super::super::{INFINITE, Walked, scalar};
use super::i;
use crate::objects::marker;
use core::arch::x86_64::*;
use safe_unaligned_simd::x86_64::{_mm512_loadu_ps, _mm512_loadu_si512, _mm512_storeu_ps};

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

/// Where the bytes of 16 floats come from in 80 bytes: the first 64, and from 64 on the last 64.
static SIXTEEN: [u8; 64] = sixteen();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs when it is compiled"
)]
const fn sixteen() -> [u8; 64] {
    let mut order = [0; 64];
    let mut n = 0;
    while n < 64 {
        let at = 5 * (n / 4) + 4 - n % 4;
        order[n] = if at < 64 { at as u8 } else { (at - 16 + 64) as u8 };
        n += 1;
    }
    order
}

/// The markers of 13 elements in the first 64 bytes, and those of the other three in the last 64.
const MARKERS: (u64, u64) = (0x1084_2108_4210_8421, 0x0842_0000_0000_0000);

/// 16 elements as floats, and whether all are of 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn sixteen_of(bytes: &[u8; 80]) -> (__m512i, bool) {
    let first = _mm512_loadu_si512(bytes.first_chunk::<64>().unwrap_or(&[0; 64]));
    let last = _mm512_loadu_si512(bytes.last_chunk::<64>().unwrap_or(&[0; 64]));
    let marker = _mm512_set1_epi8(i(marker::FLOAT_32));
    let wrong = _mm512_mask_cmpneq_epi8_mask(MARKERS.0, first, marker)
        | _mm512_mask_cmpneq_epi8_mask(MARKERS.1, last, marker);
    (_mm512_permutex2var_epi8(first, _mm512_loadu_si512(&SIXTEEN), last), wrong == 0)
}

/// Looks through at most `count` floats.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn walk_floats(bytes: &[u8], count: usize) -> Walked {
    let infinite = _mm512_set1_epi32(INFINITE.cast_signed());
    let (runs, _) = bytes.as_chunks::<80>();
    let mut good = 0_usize;
    for run in runs.iter().take(count / 16) {
        let (x, are_narrow) = sixteen_of(run);
        if !are_narrow || _mm512_cmpge_epu32_mask(_mm512_add_epi32(x, x), infinite) != 0 {
            break;
        }
        good = good.wrapping_add(16);
    }
    scalar::walk_floats_from(bytes, count, good)
}

/// Fills `out` with the first of checked elements, of which there are as many at least.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn floats_to_f32(elements: &[u8], out: &mut [f32]) {
    let (runs, _) = elements.as_chunks::<80>();
    let (wide, _) = out.as_chunks_mut::<16>();
    let mut done = 0_usize;
    for (run, to) in runs.iter().zip(wide) {
        let (x, are_narrow) = sixteen_of(run);
        if !are_narrow {
            break;
        }
        _mm512_storeu_ps(to, _mm512_castsi512_ps(x));
        done = done.wrapping_add(16);
    }
    let rest = elements.get(done.saturating_mul(5)..).unwrap_or(&[]);
    scalar::floats_to_f32(rest, out.get_mut(done..).unwrap_or(&mut []));
}
