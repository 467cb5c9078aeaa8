//! Writing integers with registers of 64 bytes.

use super::super::bits::below;
use super::super::scalar;
use core::arch::x86_64::*;
use safe_unaligned_simd::x86_64::{_mm256_storeu_si256, _mm512_loadu_si512, _mm512_storeu_si512};

/// Samples that fit a register in their longest form.
const RUN: usize = 21;
/// A bit for the first of the three bytes of each.
const FIRST: u64 = 0x1249_2492_4924_9249;
/// Bytes that are handed on at a time, and what is written behind them.
const BUFFER: usize = 768 + 64;

/// Where the bytes of each of 21 samples come from: nothing for its marker, its high byte, its low byte; and where its marker does.
static ORDERS: ([u8; 64], [u8; 64]) = orders();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs when it is compiled"
)]
const fn orders() -> ([u8; 64], [u8; 64]) {
    let (mut value, mut marker) = ([0; 64], [0; 64]);
    let mut sample = 0;
    while sample < RUN {
        marker[3 * sample] = 2 * sample as u8;
        value[3 * sample + 1] = 2 * sample as u8 + 1;
        value[3 * sample + 2] = 2 * sample as u8;
        sample += 1;
    }
    (value, marker)
}

/// Which of 32 samples have one byte, and which two at most.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn narrow(x: __m512i) -> (u32, u32) {
    let one = _mm512_cmplt_epu16_mask(_mm512_add_epi16(x, _mm512_set1_epi16(32)), _mm512_set1_epi16(160));
    let two = _mm512_cmplt_epu16_mask(_mm512_add_epi16(x, _mm512_set1_epi16(128)), _mm512_set1_epi16(384));
    (one, two)
}

/// Writes the first samples, as many as the buffer has room for; returns how many, and the bytes they take.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn put_some(samples: &[i16], buffer: &mut [u8; BUFFER]) -> (usize, usize) {
    let (value, marker) = (_mm512_loadu_si512(&ORDERS.0), _mm512_loadu_si512(&ORDERS.1));
    let mut at = 0_usize;
    let mut rest = samples;
    let mut padding = [0; 32];
    while !rest.is_empty() {
        let Some(to) = buffer.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<64>()) else { break };
        let (run, there) = match rest.first_chunk() {
            Some(run) => (run, 32),
            None => {
                padding.iter_mut().zip(rest).for_each(|(to, sample)| *to = *sample);
                (&padding, rest.len())
            }
        };
        let x = _mm512_loadu_si512(run);
        let (one, two) = narrow(x);
        if one == u32::MAX {
            if let Some(to) = to.first_chunk_mut::<32>() {
                _mm256_storeu_si256(to, _mm512_cvtepi16_epi8(x));
            }
            at = at.wrapping_add(there);
            rest = rest.get(there..).unwrap_or(&[]);
            continue;
        }
        // cd, less one for two bytes, and four more for less than zero.
        let sign = _mm512_and_si512(_mm512_srli_epi16::<13>(x), _mm512_set1_epi16(4));
        let markers = _mm512_mask_sub_epi16(sign, two, sign, _mm512_set1_epi16(1));
        let markers = _mm512_add_epi16(markers, _mm512_set1_epi16(0xcd));
        let bytes = _mm512_permutexvar_epi8(value, x);
        let bytes = _mm512_mask_permutexvar_epi8(bytes, FIRST, marker, markers);
        // No marker where there is one byte, no high byte where there are two at most.
        let keep = _pdep_u64(!u64::from(one), FIRST) | _pdep_u64(!u64::from(two), FIRST << 1) | (FIRST << 2);
        let taken = there.min(RUN);
        let keep = keep & below(u32::try_from(taken).unwrap_or(0).wrapping_mul(3));
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(keep, bytes));
        at = at.wrapping_add(keep.count_ones() as usize);
        rest = rest.get(taken..).unwrap_or(&[]);
    }
    (samples.len().wrapping_sub(rest.len()), at)
}

super::super::loops::put_loop!(
    "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt"
);

/// The bytes that `samples` take in their shortest form.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn ints_len(samples: &[i16]) -> usize {
    let (runs, rest) = samples.as_chunks::<32>();
    let mut len = samples.len().wrapping_sub(rest.len()).wrapping_mul(3);
    for run in runs {
        let (one, two) = narrow(_mm512_loadu_si512(run));
        len = len.wrapping_sub(one.count_ones() as usize).wrapping_sub(two.count_ones() as usize);
    }
    len.wrapping_add(scalar::ints_len(rest))
}
