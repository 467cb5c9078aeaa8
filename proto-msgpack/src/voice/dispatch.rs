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

    /// The widest that the machine has.
    fn best() -> Option<Self> {
        Self::all().next()
    }
}

/// For each, what `voice` calls: short lists go to `scalar` straight away.
macro_rules! choose {
    ($($name:ident($($arg:ident: $type:ty),*), samples: $samples:expr $(, -> $result:ty)?;)*) => {
        $(
            #[inline]
            pub(super) fn $name($($arg: $type),*) $(-> $result)? {
                #[inline(never)]
                fn long($($arg: $type),*) $(-> $result)? {
                    match Wide::best() {
                        Some(wide) => wide.$name($($arg),*),
                        None => scalar::$name($($arg),*),
                    }
                }
                if $samples < FEW { scalar::$name($($arg),*) } else { long($($arg),*) }
            }
        )*
    };
}
choose! {
    // Of a stream there may be less than is announced.
    walk_ints(bytes: &[u8], count: usize), samples: count.min(bytes.len()), -> Walked;
    walk_floats(bytes: &[u8], count: usize), samples: count.min(bytes.len()), -> Walked;
    floats_to_f32(elements: &[u8], out: &mut [f32]), samples: out.len();
    ints_len(samples: &[i16]), samples: samples.len(), -> usize;
    put_ints(samples: &[i16], out: &mut impl BufMut), samples: samples.len();
    put_floats(samples: &[f32], out: &mut impl BufMut), samples: samples.len();
    all_finite(samples: &[f32]), samples: samples.len(), -> bool;
}

pub(super) fn ints_to_i16(elements: &[u8], is_plain: bool, out: &mut [i16]) {
    if is_plain { plain::ints_to_i16(elements, out) } else { scalar::ints_to_i16(elements, out) }
}

pub(super) fn ints_to_f32(elements: &[u8], is_plain: bool, out: &mut [f32]) {
    if is_plain { plain::ints_to_f32(elements, out) } else { scalar::ints_to_f32(elements, out) }
}

/// Elements of one byte, two and three.
mod plain {
    use super::{FEW, Wide, scalar};

    choose! {
        ints_to_i16(elements: &[u8], out: &mut [i16]), samples: out.len();
        ints_to_f32(elements: &[u8], out: &mut [f32]), samples: out.len();
    }
}
