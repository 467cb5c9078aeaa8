//! Where the elements of a window of 64 bytes start and end, as integers of 64 bits: one bit for each byte, the lowest for the
//! first. What is here is the same for every kind of register, and is inlined into the loops that use them.

/// Which bytes of a window look like the marker of an element of two or three bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Class {
    /// cc, cd, d0 or d1.
    pub(super) wide: u64,
    /// cd or d1.
    pub(super) three: u64,
}

/// What the elements that start in one window leave for the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Carry {
    /// The first bytes, if they belong to an element that started before: 0, 1 or 3.
    pub(super) covered: u64,
    /// Which of them is the last one of an element of three bytes.
    pub(super) ends: u64,
}

/// The elements of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// The first bytes of elements.
    pub(super) starts: u64,
    /// The last bytes of elements.
    pub(super) ends: u64,
    /// The last bytes of elements of three bytes.
    pub(super) thirds: u64,
    /// For the next window.
    pub(super) carry: Carry,
}

/// The bytes that belong to the elements whose markers are at `real`, without the markers.
#[inline(always)]
const fn behind(real: u64, three: u64) -> u64 {
    (real << 1) | ((real & three) << 2)
}

/// The first bit of each run of ones, and every second one behind it.
///
/// The difference is all zeros in a run that starts at an odd place, and all ones in one that starts at an even place.
#[inline(always)]
const fn every_second(runs: u64) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    runs & (((runs << 1) | ODD).wrapping_sub(runs) ^ ODD)
}

/// Finds the elements of a window.
///
/// What looks like a marker is one, unless it belongs to the element of a marker before it. The first guess is that all are real.
/// Each step takes away what the last guess covers, so guesses are too many and too few in turn; where two agree they are right.
/// In sound, three steps settle nearly every window. They use nothing of the window before, which therefore need not be finished.
///
/// Lists of one number may be chains of markers: 204 is cc cc. Where no marker of three bytes is open, [`every_second`] settles them at
/// once; where all are, one step. Chains of both kinds take up to 64 steps, about as long as scalar code.
#[inline(always)]
pub(super) const fn resolve(class: Class, before: Carry) -> Window {
    let Class { wide, three } = class;
    let one = wide & !((wide << 1) | (three << 2));
    let two = wide & !behind(one, three);
    let mut real = wide & !behind(two, three);
    if (real ^ two) | (wide & before.covered) != 0 {
        let open = wide & !before.covered;
        if open & three == 0 {
            real = every_second(open);
        } else {
            // All elements may have three bytes. From any guess on, each step settles one more byte at least, from the lowest on.
            const THIRD: u64 = 0x9249_2492_4924_9249;
            real = open & (THIRD << before.covered.count_ones());
            loop {
                let next = open & !behind(real, three);
                if next == real {
                    break;
                }
                real = next;
            }
        }
    }
    let threes = real & three;
    let covered = behind(real, three) | before.covered;
    let carry = Carry { covered: (real >> 63) | (threes >> 62), ends: threes >> 62 };
    let starts = !covered;
    Window {
        starts,
        ends: (starts >> 1) | (!carry.covered << 63),
        thirds: (threes << 2) | before.ends,
        carry,
    }
}

/// The place of the bit number `n` that is set, the lowest being number 0; 64 if there are not so many.
pub(super) const fn select(bits: u64, n: u32) -> u32 {
    let (mut bits, mut left) = (bits, n);
    let (mut at, mut width) = (0_u32, 32_u32);
    while width > 0 {
        let low = bits & below(width);
        let here = low.count_ones();
        if here <= left {
            left = left.wrapping_sub(here);
            at = at.wrapping_add(width);
            bits = bits.wrapping_shr(width);
        } else {
            bits = low;
        }
        width /= 2;
    }
    if bits & 1 != 0 && left == 0 { at } else { 64 }
}

/// The lowest `n` bits.
#[inline(always)]
pub(super) const fn below(n: u32) -> u64 {
    match 1_u64.checked_shl(n) {
        Some(bit) => bit.wrapping_sub(1),
        None => u64::MAX,
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use voxwire_core::testing::Rng;

    /// The windows of `bytes`, element by element.
    fn expected(bytes: &[u8]) -> Vec<Window> {
        let mut windows = alloc::vec![Window::default(); bytes.len() / 64 + 1];
        let mut at = 0;
        while at < bytes.len() {
            let len = match bytes[at] {
                0xcc | 0xd0 => 2,
                0xcd | 0xd1 => 3,
                _ => 1,
            };
            let bit = |at: usize| 1 << (at % 64);
            windows[at / 64].starts |= bit(at);
            let end = at + len - 1;
            windows[end / 64].ends |= bit(end);
            if len == 3 {
                windows[end / 64].thirds |= bit(end);
            }
            if end / 64 > at / 64 {
                windows[at / 64].carry = Carry {
                    covered: below((end % 64) as u32 + 1),
                    ends: if len == 3 { bit(end) } else { 0 },
                };
            }
            at += len;
        }
        windows.pop();
        windows
    }

    /// The windows of `bytes` are as found element by element. Behind them nothing is carried.
    fn check(bytes: &mut Vec<u8>) {
        bytes.extend([7; 66]);
        bytes.truncate(bytes.len() / 64 * 64);
        let mut carry = Carry::default();
        for (n, (window, expected)) in bytes.chunks(64).zip(expected(bytes)).enumerate() {
            let class = window.iter().rev().fold(Class::default(), |class, byte| Class {
                wide: (class.wide << 1) | u64::from(matches!(byte, 0xcc | 0xcd | 0xd0 | 0xd1)),
                three: (class.three << 1) | u64::from(matches!(byte, 0xcd | 0xd1)),
            });
            let found = resolve(class, carry);
            assert_eq!(found, expected, "window {n} of {bytes:02x?}");
            carry = found.carry;
        }
    }

    #[test]
    fn m_05_chains_of_markers_are_cut_wherever_they_start_and_end() {
        let chains: [&[u8]; 9] = [
            &[0xcc],
            &[0xd0, 0xcc],
            &[0xcd],
            &[0xd1],
            &[0xcc, 0xd1],
            &[0xd1, 0xcc],
            &[0xd0, 0xd0, 0xcd],
            &[0xd1, 0xd1, 0xcc, 0xcc, 0xcc],
            &[0xcc, 0xcc, 7],
        ];
        // With a carry of each kind too, and a chain behind the chain.
        let firsts: [&[u8]; 6] =
            [&[], &[0xcc], &[0xd1], &[0xcd, 0xcc], &[7, 0xcc, 0xd0, 7], &[0xcc, 0xcc, 0xd1]];
        for (chain, first) in chains.iter().flat_map(|chain| firsts.map(|first| (chain, first))) {
            for start in 0..64 {
                for len in [1, 2, 3, 4, 5, 8, 31, 62, 63, 64, 65, 66, 150, 200] {
                    let mut bytes = alloc::vec![7; start];
                    bytes.extend(first);
                    bytes.extend(chain.iter().cycle().take(len));
                    bytes.extend([7, 7, 0xd0, 0xd0, 0xd0]);
                    check(&mut bytes);
                }
            }
        }
    }

    #[test]
    fn m_05_elements_are_found_wherever_windows_end() {
        let mut rng = Rng::new(5);
        for round in 0..20_000_u64 {
            // From nothing but markers, which cover each other, to hardly one.
            let odds = [1, 2, 3, 8, 40, 100][(round % 6) as usize];
            let mut bytes: Vec<u8> =
                (0..5 * 64)
                    .map(|_| {
                        if rng.below(odds) == 0 { [0xcc, 0xcd, 0xd0, 0xd1][rng.below(4) as usize] } else { 7 }
                    })
                    .collect();
            check(&mut bytes);
        }
    }

    #[test]
    fn m_05_bits_are_counted_from_the_lowest_on() {
        assert_eq!(
            (below(0), below(1), below(63), below(64), below(99)),
            (0, 1, u64::MAX >> 1, u64::MAX, u64::MAX)
        );
        let mut rng = Rng::new(6);
        for _ in 0..1000 {
            let bits = rng.next() & rng.next();
            let places: Vec<u32> = (0..64).filter(|at| bits >> at & 1 == 1).collect();
            for n in 0..70 {
                assert_eq!(select(bits, n), places.get(n as usize).copied().unwrap_or(64), "{n} of {bits:x}");
            }
        }
    }
}
