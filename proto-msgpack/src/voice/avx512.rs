//! Lists of integers with registers of 64 bytes: Ice Lake, Zen 4, and later.

mod floats;
mod put;

pub(super) use floats::{all_finite, floats_to_f32, walk_floats};
pub(super) use put::{ints_len, put_ints};
// As measured, the faster one.
pub(super) use super::avx2::put_floats;

use super::bits::{Class, Window};
use super::loops::ROOM;
use core::arch::x86_64::*;
use safe_unaligned_simd::x86_64::{_mm512_loadu_si512, _mm512_storeu_si512};

/// A byte as the instructions have it.
const fn i(byte: u8) -> i8 {
    byte.cast_signed()
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn at64<const N: usize>(view: &[u8; N], at: usize) -> __m512i {
    let part: &[u8; 64] = view.get(at..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; 64]);
    _mm512_loadu_si512(part)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn classify(view: &[u8; 65]) -> (Class, u64) {
    let (v, next) = (at64(view, 0), at64(view, 1));
    // 0, 1, 4 and 5 for cc, cd, d0 and d1.
    let u = _mm512_sub_epi8(v, _mm512_set1_epi8(i(0xcc)));
    let wide = _mm512_testn_epi8_mask(u, _mm512_set1_epi8(i(0xfa)));
    let three = _mm512_mask_test_epi8_mask(wide, v, _mm512_set1_epi8(1));
    // cd with 80 or more behind it.
    let cd = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(i(0xcd)));
    let large = _mm512_mask_cmplt_epi8_mask(cd, next, _mm512_setzero_si512());
    let wide = wide & !large;
    // 80 to df.
    let other = _mm512_cmplt_epi8_mask(v, _mm512_set1_epi8(-32));
    (Class { wide, three: three & !large }, other & !wide)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn classes(view: &[u8; 65]) -> Class {
    let v = at64(view, 1);
    let u = _mm512_sub_epi8(v, _mm512_set1_epi8(i(0xcc)));
    let wide = _mm512_testn_epi8_mask(u, _mm512_set1_epi8(i(0xfa)));
    Class { wide, three: _mm512_mask_test_epi8_mask(wide, v, _mm512_set1_epi8(1)) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn are_ones(view: &[u8; 65]) -> bool {
    _mm512_cmplt_epi8_mask(at64(view, 0), _mm512_set1_epi8(-32)) == 0
}

/// Every third byte, twice.
static THIRDS: [u8; 64] = thirds();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs when it is compiled"
)]
const fn thirds() -> [u8; 64] {
    let mut order = [0; 64];
    let mut n = 0;
    while n < 64 {
        order[n] = (n / 2 * 3) as u8;
        n += 1;
    }
    order
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn convert<const THREES: bool>(view: &[u8; 65], window: Window, out: &mut [i16; ROOM]) -> usize {
    let (before, v) = (at64(view, 0), at64(view, 1));
    if THREES && window.ends == window.thirds {
        // From the first end on, each and the one before it.
        let first = _mm512_set1_epi8(i8::try_from(window.ends.trailing_zeros() & 3).unwrap_or(0));
        let order = _mm512_add_epi8(_mm512_loadu_si512(&THIRDS), first);
        let low = _mm512_permutexvar_epi8(order, v);
        let samples = _mm512_mask_permutexvar_epi8(low, 0xaaaa_aaaa_aaaa_aaaa, order, before);
        if let Some(to) = out.first_chunk_mut::<32>() {
            _mm512_storeu_si512(to, samples);
        }
        return window.ends.count_ones() as usize;
    }
    // Behind a cc that is a marker there is no sign.
    let unsigned = _mm512_cmpeq_epi8_mask(before, _mm512_set1_epi8(i(0xcc))) & !window.starts;
    let sign = _mm512_movepi8_mask(v) & !unsigned;
    // What stands above each byte, were it the last one of an element.
    let above = _mm512_mask_mov_epi8(_mm512_movm_epi8(sign), window.thirds, before);
    let low = _mm512_maskz_compress_epi8(window.ends, v);
    let high = _mm512_maskz_compress_epi8(window.ends, above);
    // So that the bytes of the first half go to the low halves of all four lanes.
    let order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    let (low, high) = (_mm512_permutexvar_epi64(order, low), _mm512_permutexvar_epi64(order, high));
    if let Some((first, rest)) = out.split_first_chunk_mut::<32>() {
        _mm512_storeu_si512(first, _mm512_unpacklo_epi8(low, high));
        if let Some(second) = rest.first_chunk_mut::<32>() {
            _mm512_storeu_si512(second, _mm512_unpackhi_epi8(low, high));
        }
    }
    window.ends.count_ones() as usize
}

super::loops::loops!("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt");
