//! GSM 06.10 full rate (ETSI EN 300 961), decoding: a long-term predictor over pulses on a grid, behind a lattice filter. In WAV,
//! two frames share a block, whose bits are packed from the lowest of each byte on.

use super::BlockDecoder;

/// Bytes of a block.
pub(super) const BLOCK: usize = 65;
/// Samples of a block: two frames of [`FRAME`].
pub(super) const SAMPLES: usize = 2 * FRAME;

const FRAME: usize = 160;
const SUBFRAME: usize = 40;
/// Pulses of a subframe.
const PULSES: usize = 13;
/// How far a subframe may look back at the residual, in samples, and how far at least.
const MOST_LAG: usize = 120;
const LEAST_LAG: usize = 40;

/// For each log area ratio: its bits, the least value these stand for, and B and 1 / A of its quantizer: tables 4.1 and 4.2.
const RATIOS: [(u32, i16, i16, i16); 8] = [
    (6, -32, 0, 13_107),
    (6, -32, 0, 13_107),
    (5, -16, 2048, 13_107),
    (5, -16, -2560, 13_107),
    (4, -8, 94, 19_223),
    (4, -8, -1792, 17_476),
    (3, -4, -341, 31_454),
    (3, -4, -1144, 29_708),
];
/// The gains of the long-term predictor: table 4.3b.
const GAINS: [i16; 4] = [3277, 11_469, 21_299, 32_767];
/// The mantissas of the largest pulse: table 4.6.
const MANTISSAS: [i16; 8] = [18_431, 20_479, 22_527, 24_575, 26_623, 28_671, 30_719, 32_767];
/// De-emphasis: 0.86.
const DEEMPHASIS: i16 = 28_180;

/// A decoder between two blocks.
#[derive(Debug)]
pub(super) struct Gsm {
    /// The residual: what came before, and a subframe.
    residual: [i16; MOST_LAG + SUBFRAME],
    lag: usize,
    /// The log area ratios of the frame before.
    ratios: [i16; 8],
    /// The lattice filter.
    lattice: [i16; 9],
    /// What the de-emphasis filter gave last.
    last: i16,
}

impl Gsm {
    pub(super) const fn new() -> Self {
        Self { residual: [0; MOST_LAG + SUBFRAME], lag: LEAST_LAG, ratios: [0; 8], lattice: [0; 9], last: 0 }
    }

    fn frame(&mut self, bits: &mut Bits<'_>, out: &mut Vec<i16>) {
        let mut ratios = [0; 8];
        for (ratio, (width, least, offset, inverse)) in ratios.iter_mut().zip(RATIOS) {
            let scaled = (bits.take(width) + least) << 10;
            let scaled = scale(inverse, scaled.saturating_sub(offset * 2));
            *ratio = scaled.saturating_add(scaled);
        }
        let mut residual = [0; FRAME];
        for part in residual.as_chunks_mut::<SUBFRAME>().0 {
            *part = self.subframe(bits);
        }
        let before = core::mem::replace(&mut self.ratios, ratios);
        // Across its first quarter a frame passes from the ratios before to its own.
        for (part, range) in [0..13, 13..27, 27..SUBFRAME, SUBFRAME..FRAME].into_iter().enumerate() {
            let mixed = |before: i16, now: i16| match part {
                0 => (before >> 2).saturating_add(now >> 2).saturating_add(before >> 1),
                1 => (before >> 1).saturating_add(now >> 1),
                2 => (before >> 2).saturating_add(now >> 2).saturating_add(now >> 1),
                _ => now,
            };
            let coefficients = core::array::from_fn(|at| reflection(mixed(before[at], ratios[at])));
            for sample in &residual[range] {
                let sample = self.filter(&coefficients, *sample);
                self.last = sample.saturating_add(scale(self.last, DEEMPHASIS));
                // The lowest three bits are none.
                out.push(self.last.saturating_add(self.last) & !7);
            }
        }
    }

    /// The residual of a subframe.
    fn subframe(&mut self, bits: &mut Bits<'_>) -> [i16; SUBFRAME] {
        let [lag, gain, grid, largest] = [7, 2, 2, 6].map(|width| bits.take(width));
        // A lag that cannot be is one that was damaged.
        self.lag = Some(lag as usize).filter(|lag| (LEAST_LAG..=MOST_LAG).contains(lag)).unwrap_or(self.lag);
        let gain = GAINS[gain as usize & 3];
        let (exponent, mantissa) = magnitude(largest);
        let shift = 6 - exponent;
        let half = if shift > 0 { 1 << (shift - 1) } else { 0 };
        let mut pulses = [0; SUBFRAME];
        for pulse in 0..PULSES {
            let scaled = scale(mantissa, (bits.take(3) * 2 - 7) << 12);
            pulses[grid as usize + 3 * pulse] = scaled.saturating_add(half) >> shift;
        }
        for (at, pulse) in pulses.iter().enumerate() {
            let predicted = scale(gain, self.residual[MOST_LAG + at - self.lag]);
            self.residual[MOST_LAG + at] = pulse.saturating_add(predicted);
        }
        let mut subframe = [0; SUBFRAME];
        subframe.copy_from_slice(&self.residual[MOST_LAG..]);
        self.residual.copy_within(SUBFRAME.., 0);
        subframe
    }

    fn filter(&mut self, coefficients: &[i16; 8], mut sample: i16) -> i16 {
        for (at, coefficient) in coefficients.iter().enumerate().rev() {
            sample = sample.saturating_sub(scale(*coefficient, self.lattice[at]));
            self.lattice[at + 1] = self.lattice[at].saturating_add(scale(*coefficient, sample));
        }
        self.lattice[0] = sample;
        sample
    }
}

impl BlockDecoder for Gsm {
    fn decode(&mut self, block: &[u8], out: &mut Vec<i16>) {
        let mut bits = Bits { bytes: block, at: 0 };
        self.frame(&mut bits, out);
        self.frame(&mut bits, out);
    }
}

/// The product of two fractions, rounded.
fn scale(a: i16, b: i16) -> i16 {
    let product = (i32::from(a) * i32::from(b) + (1 << 14)) >> 15;
    product.min(i16::MAX.into()) as i16
}

/// A reflection coefficient from its log area ratio, in three straight pieces.
fn reflection(ratio: i16) -> i16 {
    let magnitude = match ratio.saturating_abs() {
        small @ ..11_059 => small << 1,
        middle @ ..20_070 => middle + 11_059,
        large => (large >> 2).saturating_add(26_112),
    };
    if ratio < 0 { -magnitude } else { magnitude }
}

/// The exponent and the mantissa of the largest pulse.
fn magnitude(largest: i16) -> (i16, i16) {
    let mut exponent = if largest > 15 { (largest >> 3) - 1 } else { 0 };
    let mut mantissa = largest - (exponent << 3);
    if mantissa == 0 {
        return (-4, MANTISSAS[7]);
    }
    while mantissa < 8 {
        mantissa = mantissa << 1 | 1;
        exponent -= 1;
    }
    (exponent, MANTISSAS[mantissa as usize & 7])
}

/// Bits, the lowest of a byte first; behind the last one there are zeros.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> i16 {
        let byte = |at: usize| u32::from(self.bytes.get(at).copied().unwrap_or(0));
        let two = byte(self.at / 8) | byte(self.at / 8 + 1) << 8;
        let value = two >> (self.at % 8) & ((1 << count) - 1);
        self.at += count as usize;
        value as i16
    }
}
