//! Lists of integers with registers of 32 bytes: x86-64-v3, which is every desktop and server processor since about 2015.

mod floats;
mod put;

pub(super) use floats::{all_finite, floats_to_f32, put_floats, walk_floats};
pub(super) use put::{ints_len, put_ints};

use super::bits::{Class, Window};
use super::loops::ROOM;
use core::arch::x86_64::*;
use safe_unaligned_simd::x86_64::{_mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256};

/// A byte as the instructions have it.
const fn i(byte: u8) -> i8 {
    byte.cast_signed()
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn at32<const N: usize>(view: &[u8; N], at: usize) -> __m256i {
    let part: &[u8; 32] = view.get(at..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; 32]);
    _mm256_loadu_si256(part)
}

/// The highest bits of 64 bytes.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn highest(low: __m256i, high: __m256i) -> u64 {
    let half = |bytes| u64::from(_mm256_movemask_epi8(bytes).cast_unsigned());
    half(low) | (half(high) << 32)
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn classify(view: &[u8; 65]) -> (Class, u64) {
    let half = |at: usize| {
        let (v, next) = (at32(view, at), at32(view, at.wrapping_add(1)));
        // 0, 1, 4 and 5 for cc, cd, d0 and d1.
        let u = _mm256_sub_epi8(v, _mm256_set1_epi8(i(0xcc)));
        let wide = _mm256_cmpeq_epi8(_mm256_and_si256(u, _mm256_set1_epi8(i(0xfa))), _mm256_setzero_si256());
        // cd with 80 or more behind it.
        let cd = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(i(0xcd)));
        let wide = _mm256_andnot_si256(_mm256_and_si256(cd, next), wide);
        let three = _mm256_and_si256(wide, _mm256_slli_epi16::<7>(v));
        // 80 to df.
        (wide, three, _mm256_cmpgt_epi8(_mm256_set1_epi8(-32), v))
    };
    let ((w0, t0, n0), (w1, t1, n1)) = (half(0), half(32));
    let wide = highest(w0, w1);
    (Class { wide, three: highest(t0, t1) }, highest(n0, n1) & !wide)
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn classes(view: &[u8; 65]) -> Class {
    let half = |at: usize| {
        let v = at32(view, at);
        let u = _mm256_sub_epi8(v, _mm256_set1_epi8(i(0xcc)));
        let wide = _mm256_cmpeq_epi8(_mm256_and_si256(u, _mm256_set1_epi8(i(0xfa))), _mm256_setzero_si256());
        (wide, _mm256_and_si256(wide, _mm256_slli_epi16::<7>(v)))
    };
    let ((w0, t0), (w1, t1)) = (half(1), half(33));
    Class { wide: highest(w0, w1), three: highest(t0, t1) }
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn are_ones(view: &[u8; 65]) -> bool {
    let least = _mm256_min_epi8(at32(view, 0), at32(view, 32));
    _mm256_movemask_epi8(_mm256_cmpgt_epi8(_mm256_set1_epi8(-32), least)) == 0
}

/// For each byte, 16 bytes: where the pairs of bytes are that belong to the bits that are set, then nothing.
static PAIRS: [u8; 4096] = pairs();

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "runs when it is compiled")]
const fn pairs() -> [u8; 4096] {
    let mut table = [0x80; 4096];
    let mut bits = 0;
    while bits < 256 {
        let (mut bit, mut to) = (0, 16 * bits);
        while bit < 8 {
            if bits >> bit & 1 == 1 {
                table[to] = 2 * bit;
                table[to + 1] = 2 * bit + 1;
                to += 2;
            }
            bit += 1;
        }
        bits += 1;
    }
    table
}

/// 64 bits as bytes of all ones or all zeros.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn spread(bits: u64) -> (__m256i, __m256i) {
    // Or the compiler goes back to the comparisons that the bits are from, which costs more.
    let all = _mm256_set1_epi64x(core::hint::black_box(bits).cast_signed());
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let low = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let high = _mm256_or_si256(low, _mm256_set1_epi8(4));
    let half = |which| _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(all, which), bit), bit);
    (half(low), half(high))
}

/// Where the last five of 22 samples of three bytes are in the last 16 bytes of a view, by where the first one ends.
static LAST: [[u8; 16]; 4] = last();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs when it is compiled"
)]
const fn last() -> [[u8; 16]; 4] {
    let mut table = [[0x80; 16]; 4];
    let mut first = 0;
    while first < 3 {
        let mut n = 0;
        while n < 5 {
            let at = first + 2 + 3 * n;
            if at < 15 {
                table[first][2 + 2 * n] = at as u8 + 1;
                table[first][3 + 2 * n] = at as u8;
            }
            n += 1;
        }
        first += 1;
    }
    table
}

/// As [`convert`], where all elements that end here have three bytes.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn convert_threes(view: &[u8; 65], ends: u64, out: &mut [i16; ROOM]) -> usize {
    let first = ends.trailing_zeros() as usize & 3;
    let four = |at: usize| {
        let part: &[u8; 16] =
            view.get(first.wrapping_add(at)..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; 16]);
        _mm_loadu_si128(part)
    };
    let z = i(0x80);
    let low = _mm_setr_epi8(1, 0, 4, 3, 7, 6, 10, 9, z, z, z, z, z, z, z, z);
    let high = _mm_setr_epi8(z, z, z, z, z, z, z, z, 1, 0, 4, 3, 7, 6, 10, 9);
    let seventeenth = _mm_setr_epi8(13, 12, z, z, z, z, z, z, z, z, z, z, z, z, z, z);
    let (second, fourth) = (four(12), four(36));
    let last = _mm_loadu_si128(view.last_chunk::<16>().unwrap_or(&[0; 16]));
    let order = _mm_loadu_si128(LAST.get(first).unwrap_or(&[0x80; 16]));
    let parts = [
        _mm_or_si128(_mm_shuffle_epi8(four(0), low), _mm_shuffle_epi8(second, high)),
        _mm_or_si128(_mm_shuffle_epi8(four(24), low), _mm_shuffle_epi8(fourth, high)),
        _mm_or_si128(_mm_shuffle_epi8(fourth, seventeenth), _mm_shuffle_epi8(last, order)),
    ];
    let (to, _) = out.as_chunks_mut::<8>();
    for (to, part) in to.iter_mut().zip(parts) {
        _mm_storeu_si128(to, part);
    }
    ends.count_ones() as usize
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn convert<const THREES: bool>(view: &[u8; 65], window: Window, out: &mut [i16; ROOM]) -> usize {
    if THREES && window.ends == window.thirds {
        return convert_threes(view, window.ends, out);
    }
    let (v0, v1) = (at32(view, 1), at32(view, 33));
    let (p0, p1) = (at32(view, 0), at32(view, 32));
    let (s0, s1) = spread(window.starts);
    let (t0, t1) = spread(window.thirds);
    // What stands above each byte, were it the last one of an element.
    let above = |v: __m256i, before: __m256i, start: __m256i, third: __m256i| {
        // Behind a cc that is a marker there is no sign.
        let unsigned = _mm256_andnot_si256(start, _mm256_cmpeq_epi8(before, _mm256_set1_epi8(i(0xcc))));
        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), v);
        let sign = _mm256_andnot_si256(_mm256_or_si256(unsigned, third), sign);
        _mm256_or_si256(_mm256_and_si256(before, third), sign)
    };
    let (a0, a1) = (above(v0, p0, s0, t0), above(v1, p1, s1, t1));
    let mut at = 0_usize;
    let ends = window.ends;
    // Eight bits at a time, times the 16 bytes of a row: of bytes 0, 8, 16 and 24 of either half.
    let halves = [
        ([60, 4, 12, 20].map(|n| ends.rotate_right(n)), v0, a0),
        ([28, 36, 44, 52].map(|n| ends.rotate_right(n)), v1, a1),
    ];
    for (bits, v, above) in halves {
        let [a, b, c, d] = bits.map(|bits| (bits & 0xff0) as usize);
        let order = |row: usize| {
            let row: &[u8; 16] = PAIRS.get(row..).and_then(|rows| rows.first_chunk()).unwrap_or(&[0; 16]);
            _mm_loadu_si128(row)
        };
        let orders =
            |low, high| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(order(low)), order(high));
        let ac = _mm256_shuffle_epi8(_mm256_unpacklo_epi8(v, above), orders(a, c));
        let bd = _mm256_shuffle_epi8(_mm256_unpackhi_epi8(v, above), orders(b, d));
        let mut put = |bits: usize, words: __m128i| {
            if let Some(to) = out.get_mut(at & 63..).and_then(|out| out.first_chunk_mut::<8>()) {
                _mm_storeu_si128(to, words);
            }
            at = at.wrapping_add(bits.count_ones() as usize);
        };
        put(a, _mm256_castsi256_si128(ac));
        put(b, _mm256_castsi256_si128(bd));
        put(c, _mm256_extracti128_si256::<1>(ac));
        put(d, _mm256_extracti128_si256::<1>(bd));
    }
    at
}

super::loops::loops!("avx2,bmi1,bmi2,lzcnt,popcnt");
