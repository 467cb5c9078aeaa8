//! What has to hold for any list of samples, with each kind of register that the machine has: the same as element by element.
//!
//! Outside semver until 1.0. Everything here panics on failure, as assertions do.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc
)]

#[cfg(all(feature = "simd", target_arch = "x86_64"))]
use super::dispatch::Wide;
use super::{Fault, Walked, dispatch, scalar};
use alloc::vec::Vec;
use core::fmt::Debug;

/// Goes through at most `count` elements, one by one: what has been looked through, and the values.
fn reference<T>(
    bytes: &[u8],
    count: usize,
    one: impl Fn(&[u8]) -> Result<(T, usize), Fault>,
) -> (Walked, Vec<T>) {
    let mut walked = Walked { count: 0, bytes: 0, is_plain: true, fault: None };
    let mut values = Vec::new();
    while walked.count < count {
        match one(&bytes[walked.bytes..]) {
            Ok((value, len)) => {
                values.push(value);
                walked.count += 1;
                walked.bytes += len;
                walked.is_plain &= len <= 3;
            }
            Err(Fault::Bad { len, kind, .. }) => {
                walked.fault = Some(Fault::Bad { at: walked.bytes, len, kind });
                break;
            }
            Err(Fault::Missing(missing)) => {
                walked.fault = Some(Fault::Missing(missing.saturating_add(count - walked.count - 1)));
                break;
            }
        }
    }
    (walked, values)
}

/// Some of the lengths that a slice for `n` samples may have.
fn rooms(n: usize) -> impl Iterator<Item = usize> {
    [0, 1, 21, 71, 72, 73, n / 2].into_iter().map(move |less| n.saturating_sub(less))
}

/// `run` fills slices of any length up to that of `values`, and nothing behind them.
fn fills<T: Copy + PartialEq + Debug>(what: &str, canary: T, values: &[T], run: impl Fn(&mut [T])) {
    for room in rooms(values.len()) {
        let mut out = alloc::vec![canary; room + 80];
        run(&mut out[..room]);
        for (at, (found, value)) in out.iter().zip(&values[..room]).enumerate() {
            assert_eq!(found, value, "{what}: sample {at} of {room}");
        }
        assert!(out[room..].iter().all(|behind| *behind == canary), "{what}: behind {room} samples");
    }
}

fn agrees(what: &str, found: Walked, expected: Walked) {
    let parts = |walked: Walked| (walked.count, walked.bytes, walked.fault);
    assert_eq!(parts(found), parts(expected), "{what}");
    // Not asked where something is wrong.
    assert!(!found.is_plain || expected.is_plain || found.fault.is_some(), "{what}: not plain");
}

/// Any bytes as a list of `count` integers. Returns how many of them are good.
pub fn law_ints(bytes: &[u8], count: usize) -> usize {
    let (expected, values) = reference(bytes, count, scalar::one);
    let elements = &bytes[..expected.bytes];
    let floats: Vec<f32> = values.iter().map(|value| f32::from(*value) / 32_768.0).collect();
    agrees("scalar", scalar::walk_ints(bytes, count), expected);
    fills("scalar", 0x5a5a, &values, |out| scalar::ints_to_i16(elements, out));
    fills("scalar", 5.5, &floats, |out| scalar::ints_to_f32(elements, out));
    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    for wide in Wide::all() {
        let walked = wide.walk_ints(bytes, count);
        agrees("wide", walked, expected);
        if expected.is_plain {
            assert!(walked.is_plain || walked.fault.is_some(), "plain");
            fills("wide", 0x5a5a, &values, |out| wide.ints_to_i16(elements, out));
            fills("wide", 5.5, &floats, |out| wide.ints_to_f32(elements, out));
        }
    }
    let walked = dispatch::walk_ints(bytes, count);
    agrees("chosen", walked, expected);
    if walked.fault.is_none() {
        fills("chosen", 0x5a5a, &values, |out| dispatch::ints_to_i16(elements, walked.is_plain, out));
        fills("chosen", 5.5, &floats, |out| dispatch::ints_to_f32(elements, walked.is_plain, out));
    }
    expected.count
}

/// Any bytes as a list of `count` floats. Returns how many of them are good.
pub fn law_floats(bytes: &[u8], count: usize) -> usize {
    let (expected, values) = reference(bytes, count, scalar::float);
    let elements = &bytes[..expected.bytes];
    // By their bits: zero has two forms.
    let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
    let by_bits = |convert: &dyn Fn(&mut [f32]), out: &mut [u32]| {
        let mut floats: Vec<f32> = out.iter().map(|bits| f32::from_bits(*bits)).collect();
        convert(&mut floats);
        out.iter_mut().zip(floats).for_each(|(to, float)| *to = float.to_bits());
    };
    let expected = Walked { is_plain: false, ..expected };
    agrees("scalar", scalar::walk_floats(bytes, count), expected);
    fills("scalar", 7, &bits, |out| by_bits(&|out| scalar::floats_to_f32(elements, out), out));
    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    for wide in Wide::all() {
        agrees("wide", wide.walk_floats(bytes, count), expected);
        fills("wide", 7, &bits, |out| by_bits(&|out| wide.floats_to_f32(elements, out), out));
    }
    agrees("chosen", dispatch::walk_floats(bytes, count), expected);
    fills("chosen", 7, &bits, |out| by_bits(&|out| dispatch::floats_to_f32(elements, out), out));
    expected.count
}

/// Samples that are written as integers.
pub fn law_samples(samples: &[i16]) {
    let mut expected = Vec::new();
    samples.iter().for_each(|sample| scalar::put_ints(&[*sample], &mut expected));
    let is = |what: &str, put: &dyn Fn(&mut Vec<u8>), len: usize| {
        let mut found = Vec::new();
        put(&mut found);
        assert_eq!(found, expected, "{what}: {samples:?}");
        assert_eq!(len, expected.len(), "{what}: the length of {samples:?}");
    };
    is("scalar", &|out| scalar::put_ints(samples, out), scalar::ints_len(samples));
    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    for wide in Wide::all() {
        is("wide", &|out| wide.put_ints(samples, out), wide.ints_len(samples));
    }
    is("chosen", &|out| dispatch::put_ints(samples, out), dispatch::ints_len(samples));
}

/// Samples that are written as floats, finite or not.
pub fn law_float_samples(samples: &[f32]) {
    let mut expected = Vec::new();
    samples.iter().for_each(|sample| scalar::put_floats(&[*sample], &mut expected));
    let are_finite = samples.iter().all(|sample| sample.is_finite());
    let is = |what: &str, put: &dyn Fn(&mut Vec<u8>), finite: bool| {
        let mut found = Vec::new();
        put(&mut found);
        assert_eq!(found, expected, "{what}: {samples:?}");
        assert_eq!(finite, are_finite, "{what}: {samples:?}");
    };
    is("scalar", &|out| scalar::put_floats(samples, out), scalar::all_finite(samples));
    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    for wide in Wide::all() {
        is("wide", &|out| wide.put_floats(samples, out), wide.all_finite(samples));
    }
    is("chosen", &|out| dispatch::put_floats(samples, out), dispatch::all_finite(samples));
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "random bytes, and small numbers")]
mod tests {
    use super::*;
    use voxwire_core::testing::Rng;

    /// Bytes that are markers, or nearly.
    const MARKERS: [u8; 23] = [
        0xcc, 0xcd, 0xd0, 0xd1, 0xcc, 0xcd, 0xd0, 0xd1, 0xce, 0xcf, 0xd2, 0xd3, 0xc1, 0xca, 0xcb, 0xd4, 0, 1,
        0x7f, 0x80, 0xdf, 0xe0, 0xff,
    ];
    /// Samples at which the form changes.
    const EDGES: [i16; 16] =
        [0, -1, -32, -33, 127, 128, -128, -129, 255, 256, i16::MIN, i16::MAX, 0x0cd, -0x32, 0x7fff, 0xd0];

    fn pick<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
        items[rng.below(items.len() as u64) as usize]
    }

    /// How often elements have one byte, two, three (from zero on, or less), five or nine: lists of one level, of mixed ones, and, most
    /// of all, lists of one byte each with a wide element now and then.
    const ODDS: [[u64; 5]; 12] = [
        [1, 0, 0, 0, 0],
        [150, 1, 0, 0, 0],
        [150, 0, 1, 0, 0],
        [150, 0, 0, 1, 0],
        [70, 1, 1, 1, 0],
        [300, 1, 1, 1, 1],
        [7, 3, 0, 0, 0],
        [1, 1, 1, 1, 0],
        [5, 7, 90, 90, 0],
        [0, 0, 1, 1, 0],
        [0, 1, 99, 99, 0],
        [3, 3, 3, 3, 1],
    ];

    /// A list of `n` good elements, whose values have many bytes in them that look like markers.
    fn list(rng: &mut Rng, n: usize) -> Vec<u8> {
        let odds = pick(rng, &ODDS);
        let likely = pick(rng, &[0, 10, 60, 95]);
        let mut bytes = Vec::new();
        let byte =
            |rng: &mut Rng| if rng.below(100) < likely { pick(rng, &MARKERS) } else { rng.next() as u8 };
        for _ in 0..n {
            let mut at = rng.below(odds.iter().sum());
            let kind = odds.iter().position(|odd| {
                let is_it = at < *odd;
                at = at.wrapping_sub(*odd);
                is_it
            });
            let (a, b) = (byte(rng), byte(rng));
            let value = i16::from_be_bytes([a, b]);
            match kind.unwrap() {
                0 => bytes.push(if a & 0x80 == 0 { a } else { a | 0xe0 }),
                1 => bytes.extend([pick(rng, &[0xcc, 0xd0]), a]),
                2 => bytes.extend([0xcd, a & 0x7f, b]),
                3 => bytes.extend([0xd1, a, b]),
                _ => match rng.below(4) {
                    0 => bytes.extend([&[0xce, 0, 0, a & 0x7f, b][..]].concat()),
                    1 => bytes.extend([&[0xcf, 0, 0, 0, 0, 0, 0, a & 0x7f, b][..]].concat()),
                    2 => bytes.extend([&[0xd2][..], &i32::from(value).to_be_bytes()].concat()),
                    _ => bytes.extend([&[0xd3][..], &i64::from(value).to_be_bytes()].concat()),
                },
            }
        }
        bytes
    }

    /// Mostly short, now and then many windows long.
    fn length(rng: &mut Rng) -> usize {
        let most = pick(rng, &[40, 90, 300, 300, 1500]);
        rng.below(most) as usize
    }

    #[test]
    fn m_05_lists_are_the_same_with_wide_registers() {
        let mut rng = Rng::new(1);
        for round in 0..2000 {
            let n = length(&mut rng);
            let mut bytes = list(&mut rng, n);
            match round % 8 {
                0 => bytes = (0..n).map(|_| pick(&mut rng, &MARKERS)).collect(),
                1 if !bytes.is_empty() => {
                    for _ in 0..=rng.below(2) {
                        let at = rng.below(bytes.len() as u64) as usize;
                        bytes[at] = pick(&mut rng, &MARKERS);
                    }
                }
                2 => bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize),
                3 => bytes.extend((0..rng.below(90)).map(|_| pick(&mut rng, &MARKERS))),
                _ => {}
            }
            let count = match rng.below(6) {
                0 => rng.below(n as u64 + 1) as usize,
                1 => n + rng.below(70) as usize,
                2 if round % 16 == 2 => usize::MAX,
                _ => n,
            };
            law_ints(&bytes, count);
        }
    }

    #[test]
    fn m_05_the_last_of_64_starts_may_be_wide() {
        // Whole windows of one byte each, then one whose last element goes on in the next.
        for wide in [&[0xcc, 0xcc][..], &[0xd0, 0xd1], &[0xcd, 0x01, 0xcd], &[0xd1, 0xcc, 0xd1]] {
            for before in (0..200).filter(|n| n % 64 > 59 || n % 64 < 3) {
                for after in [0, 1, 2, 61, 62, 63, 64, 65, 128] {
                    let bytes = [&[0x7f].repeat(before)[..], wide, &[0xe0].repeat(after)].concat();
                    law_ints(&bytes, before + after + 1);
                    law_ints(&bytes, before + after + 2);
                    law_ints(&bytes, before + 1);
                    law_ints(&bytes[..bytes.len() - 1], before + after + 1);
                }
            }
        }
    }

    #[test]
    fn m_05_lists_of_one_number_are_chains_of_markers() {
        // 960 samples of 204 are nothing but cc. So are others, which begin at any place.
        for marker in [0xcc_u8, 0xcd, 0xd0, 0xd1, 0xce, 0xcf, 0xd2, 0xd3] {
            let low = marker & 0x7f;
            for element in [
                &[0xcc, marker][..],
                &[0xd0, marker],
                &[0xcd, low, marker],
                &[0xd1, marker, marker],
                &[marker],
            ] {
                for before in 0..64 {
                    let bytes = [&[5].repeat(before)[..], &element.repeat(200), &[5, 5, 5]].concat();
                    law_ints(&bytes, before + 203);
                    law_ints(&bytes, before + 150);
                }
            }
        }
    }

    #[test]
    fn m_05_silence_begins_behind_the_element_before_it() {
        // Windows of silence are counted at once. The first of them may begin with the end of a wide element; what is behind them
        // begins where it begins.
        for first in [&[0xcc, 5][..], &[0xd0, 0x7f], &[0xcd, 5, 5], &[0xd1, 5, 0xe0], &[0xd2, 0, 0, 1, 5]] {
            for second in [&[0xcc, 5][..], &[0xd1, 5, 5], &[0xd3, 0, 0, 0, 0, 0, 0, 0, 5], &[0xc1]] {
                for before in [61, 62, 63, 126, 127] {
                    for between in (56..=66).chain(120..=130) {
                        let silence = |n| [5].repeat(n);
                        let bytes =
                            [&silence(before)[..], first, &silence(between), second, &silence(70)].concat();
                        law_ints(&bytes, before + between + 72);
                    }
                }
            }
        }
    }

    #[test]
    fn m_05_lists_end_or_are_wrong_at_every_byte() {
        let mut rng = Rng::new(2);
        for n in [1, 21, 43, 64, 65, 100, 150] {
            for _ in 0..3 {
                let good = list(&mut rng, n);
                for at in 0..good.len() {
                    law_ints(&good[..at], n);
                    let mut bad = good.clone();
                    for marker in [0xc1, 0xcd, 0xcc, 0xd1, 0xce, 0xd3, 0x80] {
                        bad[at] = marker;
                        law_ints(&bad, n);
                    }
                }
            }
        }
    }

    #[test]
    fn m_05_samples_are_written_the_same_with_wide_registers() {
        let mut rng = Rng::new(3);
        for _ in 0..1500 {
            let shift = rng.below(16);
            let edges = pick(&mut rng, &[0, 2, 30, 100]);
            let samples: Vec<i16> = (0..length(&mut rng))
                .map(|_| {
                    if rng.below(100) < edges { pick(&mut rng, &EDGES) } else { (rng.next() as i16) >> shift }
                })
                .collect();
            law_samples(&samples);
        }
        // More than the lanes of one sum.
        law_samples(&alloc::vec![0; 550_000]);
        let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        all.chunks(100).for_each(law_samples);
    }

    #[test]
    fn m_05_floats_are_the_same_with_wide_registers() {
        let mut rng = Rng::new(4);
        for round in 0..1500 {
            let n = length(&mut rng);
            let samples: Vec<f32> = (0..n)
                .map(|_| match f32::from_bits(rng.next() as u32) {
                    float if float.is_finite() || (round % 4 == 0 && rng.below(20) == 0) => float,
                    _ => pick(&mut rng, &[0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE]),
                })
                .collect();
            law_float_samples(&samples);
            let mut bytes = Vec::new();
            scalar::put_floats(&samples, &mut bytes);
            match round % 8 {
                1 if n > 0 => {
                    let at = 5 * rng.below(n as u64) as usize;
                    bytes.splice(at..at + 5, [&[0xcb][..], &0.25_f64.to_be_bytes()].concat());
                }
                2 if n > 0 => bytes[rng.below(5 * n as u64) as usize] = pick(&mut rng, &MARKERS),
                3 => bytes.truncate(rng.below(5 * n as u64 + 1) as usize),
                _ => {}
            }
            law_floats(&bytes, n + usize::from(round % 16 == 5));
        }
        for bits in [0x7f80_0000, 0xff80_0000, 0x7fc0_0001, 0x7f7f_ffff, 0xff7f_ffff_u32] {
            for at in 0..100 {
                let mut samples = [1.0; 100];
                samples[at] = f32::from_bits(bits);
                law_float_samples(&samples);
                let mut bytes = Vec::new();
                scalar::put_floats(&samples, &mut bytes);
                law_floats(&bytes, 100);
            }
        }
    }

    #[test]
    fn m_05_wide_registers_are_tested_where_there_are_some() {
        #[cfg(not(all(feature = "simd", target_arch = "x86_64")))]
        let (has_avx512, has_avx2) = (false, false);
        #[cfg(all(feature = "simd", target_arch = "x86_64"))]
        let (has_avx512, has_avx2) = (
            Wide::all().any(|wide| matches!(wide, Wide::Avx512(_))),
            Wide::all().any(|wide| matches!(wide, Wide::Avx2(_))),
        );
        if !has_avx512 {
            std::eprintln!("skipped: no AVX-512 in this machine or this build");
        }
        if !has_avx2 {
            std::eprintln!("skipped: no AVX2 in this machine or this build");
        }
    }
}
