//! ITU-T G.721 (G.726 at 32 kbit/s), decoding to linear PCM: a predictor with two poles and six zeros, and a quantizer whose step
//! follows the signal. In WAV, two samples share a byte, the first in its lower half.
//!
//! The names are those of G.726. Its products of the predictor add 48 before they drop four bits; libsndfile, whose files these are,
//! does not, and neither does this.

use super::BlockDecoder;

/// Bytes that libsndfile takes for a block. The codec has none.
pub(super) const BLOCK: usize = 60;

/// For the magnitude of a code: the logarithm of the difference it stands for, the change of the step, and of its speed.
const CODES: [(i32, i32, i32); 8] = [
    (-2048, -12, 0),
    (4, 18, 0),
    (135, 41, 0),
    (213, 64, 0x200),
    (273, 112, 0x200),
    (323, 198, 0x200),
    (373, 355, 0x600),
    (425, 1122, 0xE00),
];

/// A decoder between two samples.
#[derive(Debug)]
pub(super) struct G721 {
    /// The step: fast, slow, and how much of each is used.
    yu: i32,
    yl: i32,
    ap: i32,
    /// The averages of the speed: short and long.
    dms: i32,
    dml: i32,
    /// Poles, zeros.
    a: [i16; 2],
    b: [i16; 6],
    /// Differences and samples before.
    dq: [Float; 6],
    sr: [Float; 2],
    /// Whether what came before was negative, without the poles' part.
    pk: [bool; 2],
    /// Whether it may be a modem's tone.
    td: bool,
}

/// A number of 4 bits of exponent, 6 of mantissa.
#[derive(Debug, Clone, Copy)]
struct Float {
    negative: bool,
    exponent: u32,
    mantissa: i32,
}

impl Float {
    const ZERO: Self = Self { negative: false, exponent: 0, mantissa: 32 };

    fn new(negative: bool, magnitude: i32) -> Self {
        let exponent = bits(magnitude);
        let mantissa = if magnitude == 0 { 32 } else { magnitude << 6 >> exponent };
        Self { negative, exponent, mantissa }
    }

    /// The product with a coefficient.
    fn times(self, coefficient: i16) -> i32 {
        let coefficient = i32::from(coefficient >> 2);
        let magnitude = coefficient.abs() & 0x1FFF;
        let exponent = bits(magnitude);
        let mantissa = if magnitude == 0 { 32 } else { magnitude << 6 >> exponent };
        let product = (mantissa * self.mantissa) >> 4;
        let product = match (exponent + self.exponent).checked_sub(19) {
            Some(up) => product << up & 0x7FFF,
            None => product >> (19 - exponent - self.exponent),
        };
        if (coefficient < 0) == self.negative { product } else { -product }
    }
}

/// How many bits a magnitude needs.
fn bits(magnitude: i32) -> u32 {
    i32::BITS - magnitude.leading_zeros()
}

impl G721 {
    pub(super) const fn new() -> Self {
        Self {
            yu: 544,
            yl: 34_816,
            ap: 0,
            dms: 0,
            dml: 0,
            a: [0; 2],
            b: [0; 6],
            dq: [Float::ZERO; 6],
            sr: [Float::ZERO; 2],
            pk: [false; 2],
            td: false,
        }
    }

    fn sample(&mut self, code: u8) -> i16 {
        let negative = code & 8 != 0;
        let (log, change, speed) = CODES[usize::from(if negative { !code } else { code } & 7)];
        let zeros = self.dq.iter().zip(self.b).map(|(dq, b)| dq.times(b)).sum::<i32>() as i16;
        let poles = self.sr.iter().zip(self.a).map(|(sr, a)| sr.times(a)).sum::<i32>() as i16;
        let estimate = zeros.wrapping_add(poles) >> 1;
        let y = self.step();
        let magnitude = match log + (y >> 2) {
            log @ 0.. => (128 + (log & 127)) << 7 >> (14 - (log >> 7 & 15)).max(0),
            _ => 0,
        };
        let difference = if negative { -magnitude } else { magnitude } as i16;
        let sample = estimate.wrapping_add(difference);
        let without_poles = difference.wrapping_add(zeros >> 1);
        let is_modem = self.td && magnitude > self.threshold();
        self.adapt_step(y, change << 5);
        self.adapt_predictor(is_modem, (negative, magnitude), without_poles);
        self.dq.rotate_right(1);
        self.dq[0] = Float::new(negative, magnitude);
        self.sr.rotate_right(1);
        self.sr[0] = match sample {
            i16::MIN => Float { negative: true, ..Float::ZERO },
            sample => Float::new(sample < 0, i32::from(sample).abs()),
        };
        self.adapt_speed(is_modem, y, speed);
        // It has 14 bits.
        sample << 2
    }

    /// The step, as a logarithm.
    const fn step(&self) -> i32 {
        if self.ap >= 256 {
            return self.yu;
        }
        let slow = self.yl >> 6;
        let difference = (self.yu - slow) * (self.ap >> 2);
        slow + (if difference < 0 { difference + 63 } else { difference } >> 6)
    }

    /// Differences over this are no voice, where a tone was expected.
    fn threshold(&self) -> i32 {
        let (exponent, fraction) = (self.yl >> 15, self.yl >> 10 & 31);
        let step = if exponent > 9 { 31 << 10 } else { (32 + fraction) << exponent };
        (step + (step >> 1)) >> 1
    }

    fn adapt_step(&mut self, y: i32, change: i32) {
        self.yu = (y + ((change - y) >> 5)).clamp(544, 5120);
        self.yl += self.yu + (-self.yl >> 6);
    }

    fn adapt_predictor(&mut self, is_modem: bool, (negative, magnitude): (bool, i32), without_poles: i16) {
        let sign = without_poles < 0;
        let [before, before_that] = self.pk;
        self.pk = [sign, before];
        if is_modem {
            (self.a, self.b) = ([0; 2], [0; 6]);
            self.td = false;
            return;
        }
        let [mut first, mut second] = self.a;
        second -= second >> 7;
        if without_poles != 0 {
            let other = if sign == before { -first } else { first };
            second += match other {
                ..-8191 => -0x100,
                8192.. => 0xFF,
                other => other >> 5,
            };
            second = (second + if sign == before_that { 128 } else { -128 }).clamp(-12_288, 12_288);
        }
        first -= first >> 8;
        if without_poles != 0 {
            first += if sign == before { 192 } else { -192 };
        }
        let most = 15_360 - second;
        self.a = [first.clamp(-most, most), second];
        for (b, dq) in self.b.iter_mut().zip(self.dq) {
            *b -= *b >> 8;
            if magnitude != 0 {
                *b = b.wrapping_add(if dq.negative == negative { 128 } else { -128 });
            }
        }
        self.td = second < -11_776;
    }

    fn adapt_speed(&mut self, is_modem: bool, y: i32, speed: i32) {
        self.dms += (speed - self.dms) >> 5;
        self.dml += ((speed << 2) - self.dml) >> 7;
        let varies = ((self.dms << 2) - self.dml).abs() >= self.dml >> 3;
        self.ap = match () {
            () if is_modem => 256,
            () if y < 1536 || self.td || varies => self.ap + ((512 - self.ap) >> 4),
            () => self.ap + (-self.ap >> 4),
        };
    }
}

impl BlockDecoder for G721 {
    fn decode(&mut self, block: &[u8], out: &mut Vec<i16>) {
        for byte in block {
            out.extend([byte & 15, byte >> 4].map(|code| self.sample(code)));
        }
    }
}
