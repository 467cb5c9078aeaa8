//! Writing integers with registers of 32 bytes.

use super::super::scalar;
use core::arch::x86_64::*;
use safe_unaligned_simd::x86_64::{
    _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256, _mm256_storeu_si256,
};

/// Bytes into which 32 samples are written: at most 96, and what is written behind them.
const ROOM: usize = 176;
/// Bytes that are handed on at a time.
const BUFFER: usize = 768 + ROOM;

/// For four samples: bit n says whether sample n has one byte, bit n + 4 whether it has two at most. Of each, four bytes lie ready:
/// marker, nothing, low byte, high byte. A row says where those to be written come from.
static FORMS: [u8; 4096] = forms();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs when it is compiled"
)]
const fn forms() -> [u8; 4096] {
    let mut table = [0x80; 4096];
    let mut bits = 0;
    while bits < 256 {
        let (mut sample, mut to) = (0, 16 * bits);
        while sample < 4 {
            let is_one = bits >> sample & 1 == 1;
            let is_two = bits >> (sample + 4) & 1 == 1;
            if !is_one {
                table[to] = 4 * sample as u8;
                to += 1;
            }
            if !is_two {
                table[to] = 4 * sample as u8 + 3;
                to += 1;
            }
            table[to] = 4 * sample as u8 + 2;
            to += 1;
            sample += 1;
        }
        bits += 1;
    }
    table
}

/// Which of 16 samples have one byte, and which two at most.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn narrow(x: __m256i) -> (__m256i, __m256i) {
    // −32 to 127 and −128 to 255, moved to the lowest numbers that there are.
    let one = _mm256_add_epi16(x, _mm256_set1_epi16(i16::MIN + 32));
    let two = _mm256_add_epi16(x, _mm256_set1_epi16(i16::MIN + 128));
    (
        _mm256_cmpgt_epi16(_mm256_set1_epi16(i16::MIN + 160), one),
        _mm256_cmpgt_epi16(_mm256_set1_epi16(i16::MIN + 384), two),
    )
}

/// Writes 16 samples; returns the bytes they take.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn put16(samples: &[i16; 16], out: &mut [u8; 80]) -> usize {
    let x = _mm256_loadu_si256(samples);
    let (one, two) = narrow(x);
    // cd, less one for two bytes, and four more for less than zero.
    let sign = _mm256_and_si256(_mm256_srli_epi16::<13>(x), _mm256_set1_epi16(4));
    let marker = _mm256_add_epi16(_mm256_add_epi16(two, _mm256_set1_epi16(0xcd)), sign);
    let (low, high) = (_mm256_unpacklo_epi16(marker, x), _mm256_unpackhi_epi16(marker, x));
    // Four bits of the one and four of the other, four times.
    let forms = _mm256_shuffle_epi32::<0b11_01_10_00>(_mm256_packs_epi16(one, two));
    let bits = u64::from(_mm256_movemask_epi8(forms).cast_unsigned());
    let [a, b, c, d] = [bits << 4, bits >> 4, bits >> 12, bits >> 20].map(|bits| (bits & 0xff0) as usize);
    let order = |row: usize| {
        let row: &[u8; 16] = FORMS.get(row..).and_then(|rows| rows.first_chunk()).unwrap_or(&[0; 16]);
        _mm_loadu_si128(row)
    };
    let orders = |low, high| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(order(low)), order(high));
    let ac = _mm256_shuffle_epi8(low, orders(a, c));
    let bd = _mm256_shuffle_epi8(high, orders(b, d));
    let mut at = 0_usize;
    let mut put = |bits: usize, bytes: __m128i| {
        if let Some(to) = out.get_mut(at & 63..).and_then(|out| out.first_chunk_mut::<16>()) {
            _mm_storeu_si128(to, bytes);
        }
        at = at.wrapping_add(12_usize.wrapping_sub(bits.count_ones() as usize) & 15);
    };
    put(a, _mm256_castsi256_si128(ac));
    put(b, _mm256_castsi256_si128(bd));
    put(c, _mm256_extracti128_si256::<1>(ac));
    put(d, _mm256_extracti128_si256::<1>(bd));
    at
}

/// Writes the low bytes of 32 samples; returns whether all have one byte.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn put32_ones(samples: &[i16; 32], out: &mut [u8; 32]) -> bool {
    let half = |at: usize| {
        let part: &[i16; 16] = samples.get(at..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; 16]);
        _mm256_loadu_si256(part)
    };
    let (x, y) = (half(0), half(16));
    let ones = _mm256_and_si256(narrow(x).0, narrow(y).0);
    _mm256_storeu_si256(out, _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(x, y)));
    _mm256_movemask_epi8(ones) == -1
}

/// Writes 32 samples; returns the bytes they take.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn put32(run: &[i16; 32], out: &mut [u8; ROOM]) -> usize {
    if out.first_chunk_mut().is_some_and(|out| put32_ones(run, out)) {
        return 32;
    }
    let (Some(first), Some(second)) = (run.first_chunk(), run.last_chunk()) else { return 0 };
    let Some(to) = out.first_chunk_mut() else { return 0 };
    let len = put16(first, to) & 63;
    let Some(to) = out.get_mut(len..).and_then(|to| to.first_chunk_mut()) else { return 0 };
    len.wrapping_add(put16(second, to))
}

/// Writes the first samples, as many as the buffer has room for; returns how many, and the bytes they take.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn put_some(samples: &[i16], buffer: &mut [u8; BUFFER]) -> (usize, usize) {
    let mut at = 0_usize;
    let mut rest = samples;
    let mut padding = [0; 32];
    while !rest.is_empty() {
        let Some(to) = buffer.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) else { break };
        // Zeros are written behind the last samples, and take a byte each.
        let (run, there) = match rest.first_chunk() {
            Some(run) => (run, 32),
            None => {
                padding.iter_mut().zip(rest).for_each(|(to, sample)| *to = *sample);
                (&padding, rest.len())
            }
        };
        rest = rest.get(there..).unwrap_or(&[]);
        at = at.wrapping_add(put32(run, to)).wrapping_sub(32_usize.wrapping_sub(there));
    }
    (samples.len().wrapping_sub(rest.len()), at)
}

super::super::loops::put_loop!("avx2,bmi1,bmi2,lzcnt,popcnt");

/// The bytes that `samples` take in their shortest form.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(in crate::voice) fn ints_len(samples: &[i16]) -> usize {
    let mut len = 0_usize;
    // So few that no sum overflows: a lane counts two at most for each run.
    for part in samples.chunks(16 * 0x1000) {
        let (runs, rest) = part.as_chunks::<16>();
        let (mut sum, mut more) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        let (pairs, single) = runs.as_chunks::<2>();
        for [a, b] in pairs {
            let (one, two) = narrow(_mm256_loadu_si256(a));
            sum = _mm256_add_epi16(sum, _mm256_add_epi16(one, two));
            let (one, two) = narrow(_mm256_loadu_si256(b));
            more = _mm256_add_epi16(more, _mm256_add_epi16(one, two));
        }
        for run in single {
            let (one, two) = narrow(_mm256_loadu_si256(run));
            sum = _mm256_add_epi16(sum, _mm256_add_epi16(one, two));
        }
        let ones = _mm256_set1_epi16(1);
        let sums = _mm256_add_epi32(_mm256_madd_epi16(sum, ones), _mm256_madd_epi16(more, ones));
        let mut lanes = [0_i32; 8];
        _mm256_storeu_si256(&mut lanes, sums);
        // Minus one for each byte less than three.
        let less = lanes.iter().fold(0_u32, |less, lane| less.wrapping_add(lane.unsigned_abs()));
        let most = part.len().wrapping_sub(rest.len()).wrapping_mul(3);
        len = len.wrapping_add(most).wrapping_sub(less as usize).wrapping_add(scalar::ints_len(rest));
    }
    len
}
