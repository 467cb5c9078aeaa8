//! The loops over integers that every kind of wide register has in common: a macro, so that each copy is compiled with the
//! instructions that its register needs. What is odd (an element of five or nine bytes, an error, the end) goes to `scalar`.

use super::bits::{Carry, Class, below, resolve, select};
use super::{FEW, Fault, Walked, scalar};

/// Samples for which a window needs room: as many as it can have, and what is written behind them.
pub(super) const ROOM: usize = 72;

/// A window, the byte before it, and the one behind.
pub(super) const VIEW: usize = 66;

/// The window at the start of `rest`, where there are not enough bytes before or behind it. c1, which starts no element, stands for
/// what is missing.
pub(super) fn padded(before: Option<u8>, rest: &[u8]) -> [u8; VIEW] {
    let mut view = [0xc1; VIEW];
    let [first, window @ ..] = &mut view;
    *first = before.unwrap_or(0xc1);
    window.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    view
}

/// The last of the windows of which `rest` has the byte before the first, filled up.
pub(super) fn last_of(rest: &[u8]) -> [u8; 65] {
    let mut view = [0; 65];
    let at = rest.len().saturating_sub(2) & !63;
    view.iter_mut().zip(rest.get(at..).unwrap_or(&[])).for_each(|(to, byte)| *to = *byte);
    view
}

/// Where a walk from window to window ends.
pub(super) enum Stop {
    /// There the list ends.
    Done { at: usize },
    /// So many elements are left. The first starts there, and is something else or not whole.
    Odd { at: usize, left: usize },
}

/// Where the list ends in the window at `at`, or what is odd there. `len` is the number of all bytes.
#[inline(never)]
pub(super) fn stop(len: usize, at: usize, left: usize, class: Class, bad: u64, before: Carry) -> Stop {
    let window = resolve(class, before);
    let end = u32::try_from(left).map_or(64, |n| select(window.starts, n));
    let odd = (window.starts & bad).trailing_zeros();
    let is_whole = end <= odd;
    let end = end.min(odd);
    let found = window.starts & below(end);
    let count = found.count_ones() as usize;
    let over = if end == 64 { window.carry.covered.count_ones() } else { 0 };
    let to = at.saturating_add(end as usize).saturating_add(over as usize);
    if to > len {
        // The last one is not whole. Where none starts in this window, it started with the last byte of the one before, of which
        // there was one more byte to be seen.
        let to = match found.checked_ilog2() {
            Some(bit) => at.saturating_add(bit as usize),
            None => at.saturating_sub(1),
        };
        return Stop::Odd { at: to, left: left.saturating_sub(count).saturating_add(1) };
    }
    match left.saturating_sub(count) {
        0 if is_whole => Stop::Done { at: to },
        left => Stop::Odd { at: to, left },
    }
}

/// Looks through some of the last `left` of `count` elements, the first of which is odd and starts at `at`.
#[cold]
#[inline(never)]
pub(super) fn odd(bytes: &[u8], count: usize, at: usize, left: usize) -> Walked {
    // Where one is odd, others are.
    let some = left.min(FEW);
    let walked = scalar::walk_ints(bytes.get(at..).unwrap_or(&[]), some);
    let fault = walked.fault.map(|fault| match fault {
        Fault::Bad { at: place, len, kind } => Fault::Bad { at: at.saturating_add(place), len, kind },
        // Each element that is left takes a byte at least.
        Fault::Missing(missing) => Fault::Missing(missing.saturating_add(left.saturating_sub(some))),
    });
    Walked {
        count: count.saturating_sub(left).saturating_add(walked.count),
        bytes: at.saturating_add(walked.bytes),
        is_plain: false,
        fault,
    }
}

/// Whether most windows can be expected to have elements of three bytes alone.
pub(super) const fn are_threes(bytes: usize, count: usize) -> bool {
    bytes / 59 >= count / 20
}

/// Defines `walk_ints`, `ints_to_i16` and `ints_to_f32` for registers that have
///
/// - `classify`: the class of the first 64 bytes of 65, and which of the bytes are neither an element of one byte nor in the class;
///   an unsigned sample that is too large is not in the class;
/// - `classes`: the class of all but the first byte, all samples being good;
/// - `are_ones`: whether the first 64 bytes are elements of one byte each;
/// - `convert`: writes the samples that end in all but the first byte, and returns how many; what is behind them is overwritten.
macro_rules! loops {
    ($features:literal) => {
        /// Looks through at most `count` integers.
        #[target_feature(enable = $features)]
        pub(in crate::voice) fn walk_ints(bytes: &[u8], count: usize) -> $crate::voice::Walked {
            use $crate::voice::Walked;
            use $crate::voice::bits::{Carry, resolve};
            use $crate::voice::loops::{Stop, odd, padded, stop};
            let (mut rest, mut left) = (bytes, count);
            let mut is_plain = true;
            while left > 0 {
                let mut carry = Carry::default();
                // Whole windows without anything odd, up to the last.
                while let Some(view) = rest.first_chunk::<65>() {
                    let (class, bad) = classify(view);
                    let window = resolve(class, carry);
                    let found = window.starts.count_ones() as usize;
                    if window.starts & bad != 0 || found >= left {
                        break;
                    }
                    left = left.wrapping_sub(found);
                    rest = rest.get(64..).unwrap_or(&[]);
                    carry = window.carry;
                    // Silence comes in long runs. (Of 64 elements the last one may go on in the next window.)
                    while found == 64
                        && carry.covered == 0
                        && left > 64
                        && rest.first_chunk::<65>().is_some_and(|view| are_ones(view))
                    {
                        left = left.wrapping_sub(64);
                        rest = rest.get(64..).unwrap_or(&[]);
                    }
                }
                let at = bytes.len().wrapping_sub(rest.len());
                let padding;
                let view = match rest.first_chunk::<65>() {
                    Some(view) => view,
                    None => {
                        padding = padded(None, rest);
                        padding.last_chunk::<65>().unwrap_or(&[0; 65])
                    }
                };
                let (class, bad) = classify_again(view);
                match stop(bytes.len(), at, left, class, bad, carry) {
                    Stop::Done { at } => return Walked { count, bytes: at, is_plain, fault: None },
                    Stop::Odd { at, left: remain } => {
                        let walked = odd(bytes, count, at, remain);
                        is_plain = false;
                        if walked.fault.is_some() {
                            return walked;
                        }
                        rest = bytes.get(walked.bytes..).unwrap_or(&[]);
                        left = count.wrapping_sub(walked.count);
                    }
                }
            }
            Walked { count, bytes: bytes.len().wrapping_sub(rest.len()), is_plain, fault: None }
        }

        /// Once for each list: not inlined again.
        #[inline(never)]
        #[target_feature(enable = $features)]
        fn classify_again(view: &[u8; 65]) -> ($crate::voice::bits::Class, u64) {
            classify(view)
        }

        /// Fills `out` with the first samples of checked elements of one, two and three bytes, of which there are as many at least.
        #[target_feature(enable = $features)]
        pub(in crate::voice) fn ints_to_i16(elements: &[u8], out: &mut [i16]) {
            if elements.len() == out.len() {
                // As many bytes as samples: the compiler knows how to widen them.
                for (to, byte) in out.iter_mut().zip(elements) {
                    *to = i8::from_ne_bytes([*byte]).into();
                }
            } else if $crate::voice::loops::are_threes(elements.len(), out.len()) {
                all_to_i16::<true>(elements, out);
            } else {
                all_to_i16::<false>(elements, out);
            }
        }

        #[target_feature(enable = $features)]
        fn all_to_i16<const THREES: bool>(elements: &[u8], out: &mut [i16]) {
            use $crate::voice::bits::{Carry, Window, resolve};
            use $crate::voice::loops::{ROOM, padded};
            let first = padded(None, elements);
            let mut out = out;
            let mut view: &[u8; 65] = first.first_chunk().unwrap_or(&[0; 65]);
            let mut window = resolve(classes(view), Carry::default());
            // From the byte before the next window on.
            let mut rest = elements.get(63..).unwrap_or(&[]);
            // Always one window ahead, so that nothing waits for where its elements start.
            while let (Some(next), Some(room)) = (rest.first_chunk(), out.first_chunk_mut::<ROOM>()) {
                let ahead = resolve(classes(next), window.carry);
                let found = convert::<THREES>(view, window, room);
                out = core::mem::take(&mut out).get_mut(found..).unwrap_or(&mut []);
                rest = rest.get(64..).unwrap_or(&[]);
                (view, window) = (next, ahead);
            }
            let Window { starts, ends, thirds, carry } = window;
            finish(view, (starts, ends, thirds), (carry.covered, carry.ends), rest, out);
        }

        /// The last windows, for which there is not so much room, or so many bytes.
        #[inline(never)]
        #[target_feature(enable = $features)]
        fn finish(
            view: &[u8; 65],
            (starts, ends, thirds): (u64, u64, u64),
            (covered, carried): (u64, u64),
            rest: &[u8],
            out: &mut [i16],
        ) {
            use $crate::voice::bits::{Carry, Window, resolve};
            use $crate::voice::loops::{ROOM, last_of};
            let last = last_of(rest);
            let mut window = Window { starts, ends, thirds, carry: Carry { covered, ends: carried } };
            let (mut view, mut rest) = (view, rest);
            let (mut spill, mut spilt) = ([0; 2 * ROOM], 0_usize);
            while let Some(room) = spill.get_mut(spilt..).and_then(|spill| spill.first_chunk_mut()) {
                let next = rest.first_chunk().unwrap_or(&last);
                let ahead = resolve(classes(next), window.carry);
                spilt = spilt.wrapping_add(convert::<false>(view, window, room));
                if spilt >= out.len() {
                    break;
                }
                rest = rest.get(64..).unwrap_or(&[]);
                (view, window) = (next, ahead);
            }
            out.iter_mut().zip(spill.get(..spilt).unwrap_or(&[])).for_each(|(to, sample)| *to = *sample);
        }

        /// As [`ints_to_i16`], in floats.
        #[target_feature(enable = $features)]
        pub(in crate::voice) fn ints_to_f32(elements: &[u8], out: &mut [f32]) {
            if elements.len() == out.len() {
                for (to, byte) in out.iter_mut().zip(elements) {
                    *to = $crate::voice::to_f32(i8::from_ne_bytes([*byte]).into());
                }
            } else if $crate::voice::loops::are_threes(elements.len(), out.len()) {
                all_to_f32::<true>(elements, out);
            } else {
                all_to_f32::<false>(elements, out);
            }
        }

        #[target_feature(enable = $features)]
        fn all_to_f32<const THREES: bool>(elements: &[u8], out: &mut [f32]) {
            use $crate::voice::bits::{Carry, resolve};
            use $crate::voice::loops::{ROOM, last_of, padded};
            let first = padded(None, elements);
            let mut view: &[u8; 65] = first.first_chunk().unwrap_or(&[0; 65]);
            let mut window = resolve(classes(view), Carry::default());
            let mut rest = elements.get(63..).unwrap_or(&[]);
            let last = last_of(rest);
            // Several windows at a time, because it is slow to read what stores that overlap have just written.
            let mut samples = [0; 9 * 64 + ROOM];
            let mut out = out;
            let mut is_over = false;
            while !out.is_empty() && !is_over {
                let mut have = 0_usize;
                while have < out.len()
                    && let Some(room) = samples.get_mut(have..).and_then(|samples| samples.first_chunk_mut())
                {
                    let next = rest.first_chunk().unwrap_or(&last);
                    let ahead = resolve(classes(next), window.carry);
                    have = have.wrapping_add(convert::<THREES>(view, window, room));
                    if rest.len() <= 1 {
                        is_over = true;
                        break;
                    }
                    rest = rest.get(64..).unwrap_or(&[]);
                    (view, window) = (next, ahead);
                }
                let have = have.min(out.len());
                let (now, later) = core::mem::take(&mut out).split_at_mut(have);
                for (to, sample) in now.iter_mut().zip(&samples) {
                    *to = $crate::voice::to_f32(*sample);
                }
                out = later;
            }
        }
    };
}
pub(super) use loops;

/// Defines `put_ints` for registers that have
///
/// - `BUFFER`: the bytes that are handed on at a time;
/// - `put_some`: writes the first samples, as many as a buffer has room for; returns how many, and the bytes they take.
macro_rules! put_loop {
    ($features:literal) => {
        /// Writes `samples`, each in its shortest form.
        #[target_feature(enable = $features)]
        pub(in crate::voice) fn put_ints(samples: &[i16], out: &mut impl voxwire_core::bytes::BufMut) {
            let mut buffer = [0; BUFFER];
            let mut rest = samples;
            while !rest.is_empty() {
                let (taken, len) = put_some(rest, &mut buffer);
                out.put_slice(buffer.get(..len).unwrap_or(&[]));
                rest = rest.get(taken..).unwrap_or(&[]);
            }
        }
    };
}
pub(super) use put_loop;
