//! Chooses by what the machine has, at run time, between the loops in `scalar` and those with wide registers. All do the same.

use super::{FEW, Walked, avx2, avx512, scalar};
use fearless_simd::{Avx2, Avx512, Level, kernel};
use voxwire_core::bytes::BufMut;

/// Registers that the machine has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wide {
    Avx2(Avx2),
    Avx512(Avx512),
}

macro_rules! loops {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        impl Wide {
            $(
                #[inline]
                pub(super) fn $name(self, $($arg: $type),*) $(-> $result)? {
                    kernel!(fn on_avx2(_token: Avx2, $($arg: $type),*) $(-> $result)? { avx2::$name($($arg),*) });
                    kernel!(fn on_avx512(_token: Avx512, $($arg: $type),*) $(-> $result)? { avx512::$name($($arg),*) });
                    match self {
                        Self::Avx2(token) => on_avx2(token, $($arg),*),
                        Self::Avx512(token) => on_avx512(token, $($arg),*),
                    }
                }
            )*
        }
    };
}
loops! {
    walk_ints(bytes: &[u8], count: usize) -> Walked;
    walk_floats(bytes: &[u8], count: usize) -> Walked;
    ints_to_i16(elements: &[u8], out: &mut [i16]);
    ints_to_f32(elements: &[u8], out: &mut [f32]);
    floats_to_f32(elements: &[u8], out: &mut [f32]);
    ints_len(samples: &[i16]) -> usize;
    put_ints(samples: &[i16], out: &mut impl BufMut);
    put_floats(samples: &[f32], out: &mut impl BufMut);
    all_finite(samples: &[f32]) -> bool;
}

impl Wide {
    /// All that the machine has, the widest first.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let level = Level::new();
        let narrower = level.as_avx2().map(Self::Avx2);
        level.as_avx512().map(Self::Avx512).into_iter().chain(narrower)
    }

    /// The widest, if a list of so many samples is worth it.
    #[inline]
    fn of(samples: usize) -> Option<Self> {
        if samples < FEW { None } else { Self::all().next() }
    }
}

pub(super) fn walk_ints(bytes: &[u8], count: usize) -> Walked {
    // Of a stream there may be less than is announced.
    match Wide::of(count.min(bytes.len())) {
        Some(wide) => wide.walk_ints(bytes, count),
        None => scalar::walk_ints(bytes, count),
    }
}

pub(super) fn walk_floats(bytes: &[u8], count: usize) -> Walked {
    match Wide::of(count) {
        Some(wide) => wide.walk_floats(bytes, count),
        None => scalar::walk_floats(bytes, count),
    }
}

pub(super) fn ints_to_i16(elements: &[u8], is_plain: bool, out: &mut [i16]) {
    match Wide::of(out.len()).filter(|_| is_plain) {
        Some(wide) => wide.ints_to_i16(elements, out),
        None => scalar::ints_to_i16(elements, out),
    }
}

pub(super) fn ints_to_f32(elements: &[u8], is_plain: bool, out: &mut [f32]) {
    match Wide::of(out.len()).filter(|_| is_plain) {
        Some(wide) => wide.ints_to_f32(elements, out),
        None => scalar::ints_to_f32(elements, out),
    }
}

pub(super) fn floats_to_f32(elements: &[u8], out: &mut [f32]) {
    match Wide::of(out.len()) {
        Some(wide) => wide.floats_to_f32(elements, out),
        None => scalar::floats_to_f32(elements, out),
    }
}

pub(super) fn ints_len(samples: &[i16]) -> usize {
    match Wide::of(samples.len()) {
        Some(wide) => wide.ints_len(samples),
        None => scalar::ints_len(samples),
    }
}

pub(super) fn put_ints(samples: &[i16], out: &mut impl BufMut) {
    match Wide::of(samples.len()) {
        Some(wide) => wide.put_ints(samples, out),
        None => scalar::put_ints(samples, out),
    }
}

pub(super) fn put_floats(samples: &[f32], out: &mut impl BufMut) {
    match Wide::of(samples.len()) {
        Some(wide) => wide.put_floats(samples, out),
        None => scalar::put_floats(samples, out),
    }
}

pub(super) fn all_finite(samples: &[f32]) -> bool {
    match Wide::of(samples.len()) {
        Some(wide) => wide.all_finite(samples),
        None => scalar::all_finite(samples),
    }
}
