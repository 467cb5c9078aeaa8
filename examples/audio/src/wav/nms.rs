//! NMS ADPCM of Natural MicroSystems' telephony boards, at 16, 24 and 32 kbit/s for 8000 samples per second. There is no public
//! description: this one is of what libsndfile reads.
//!
//! It is G.726 without the part for modems: the step is kept as a logarithm that moves by what each code says; the predictor has two
//! poles and six zeros in plain fixed point, of 32 bits as in its releases up to 1.2. The names are those of G.726. A code has four bits, of which the lower ones are not sent
//! at the lower rates: a sign, and three bits of magnitude.

use super::BlockDecoder;

/// Samples of a block.
const SAMPLES: usize = 160;

/// How the codes of a block lie in its 16-bit words, four to a word, the first at the top. A last word says how loud it is.
#[derive(Debug, Clone, Copy)]
enum Packing {
    /// Two bits at the top of each place, and the two of the code four places later below them.
    Two,
    /// Three bits at the top of each place. The lowest bits of three words are a fourth word's.
    Three,
    Four,
}

/// For each magnitude of a code: the difference it stands for, in 4096ths of the step, and how it moves the step.
const TWO: [(i32, i16); 8] = [(0x73F, 0), (0, 0), (0, 0), (0, 0), (0x1829, 0x4B0), (0, 0), (0, 0), (0, 0)];
const THREE: [(i32, i16); 8] =
    [(0x3EB, -0x3C), (0, 0), (0xC18, 0x90), (0, 0), (0x1581, 0x2EE), (0, 0), (0x226E, 0x898), (0, 0)];
const FOUR: [(i32, i16); 8] = [
    (0x20C, -0x30),
    (0x635, 0x12),
    (0xA83, 0x6B),
    (0xF12, 0xC8),
    (0x1418, 0x188),
    (0x19E3, 0x2E0),
    (0x211A, 0x551),
    (0x2BBA, 0x1150),
];

/// Decoded samples reach so far; one of 16 bits reaches 32 767.
const FULL_SCALE: i32 = 0x1FDF;

/// A decoder between two samples.
#[derive(Debug)]
pub(super) struct Nms {
    packing: Packing,
    /// The step's logarithm.
    yl: i16,
    /// Poles, zeros.
    a: [i16; 2],
    b: [i16; 6],
    /// Differences, sums of these and what the zeros predict, and samples: the newest first.
    dq: [i32; 7],
    p: [i32; 3],
    sr: [i32; 2],
    /// How the code before moves the step.
    change: i16,
}

impl Nms {
    /// With codes of so many bits.
    pub(super) const fn new(bits: u16) -> Option<Self> {
        let packing = match bits {
            2 => Packing::Two,
            3 => Packing::Three,
            4 => Packing::Four,
            _ => return None,
        };
        let mut this =
            Self { packing, yl: 0, a: [0; 2], b: [0; 6], dq: [0; 7], p: [0; 3], sr: [0; 2], change: 0 };
        this.change = this.codes()[0].1;
        Some(this)
    }

    /// Bytes of a block.
    pub(super) const fn block(bits: u16) -> usize {
        bits as usize * SAMPLES / 8 + 2
    }

    const fn codes(&self) -> &'static [(i32, i16); 8] {
        match self.packing {
            Packing::Two => &TWO,
            Packing::Three => &THREE,
            Packing::Four => &FOUR,
        }
    }

    fn sample(&mut self, code: u16) -> i16 {
        self.yl = ((i32::from(self.yl) * 0xF8) >> 8) as i16;
        self.yl = self.yl.saturating_add(self.change).clamp(2171, 20_480);
        self.adapt_predictor();
        let sum = |values: &[i32], coefficients: &[i16]| {
            let products =
                values.iter().zip(coefficients).map(|(value, by)| value.wrapping_mul((*by).into()));
            products.fold(0, i32::wrapping_add)
        };
        let zeros = sum(&self.dq[..6], &self.b);
        let estimate = zeros.wrapping_add(sum(&self.sr, &self.a));
        let (size, change) = self.codes()[usize::from(code & 7)];
        let size = size * step(self.yl);
        let difference = if code & 8 != 0 { -size } else { size } >> 12;
        self.dq.rotate_right(1);
        self.dq[0] = difference;
        self.p.rotate_right(1);
        self.p[0] = (zeros >> 14).wrapping_add(difference);
        self.sr.rotate_right(1);
        self.sr[0] = (estimate >> 14).wrapping_add(difference);
        self.change = change;
        let sample = i32::from(self.sr[0] as i16).clamp(-FULL_SCALE, FULL_SCALE);
        (sample * i32::from(i16::MAX) / FULL_SCALE) as i16
    }

    /// From the sample before.
    fn adapt_predictor(&mut self) {
        let leak = |value: i16, by: i32| ((i32::from(value) * by) >> 8) as i16;
        for (b, dq) in self.b.iter_mut().zip(&self.dq[1..]) {
            *b = leak(*b, 255).wrapping_add(if self.dq[0] ^ dq >= 0 { 128 } else { -128 });
        }
        // Whether the signs are different.
        let differ = |before: i32| self.p[0] != 0 && before != 0 && self.p[0] ^ before < 0;
        let [first, second] = self.a;
        let other = (first >> 5).clamp(-256, 256);
        let (first, other) = if differ(self.p[1]) {
            (leak(first, 255) - 192, other)
        } else {
            (leak(first, 255) + 192, -other)
        };
        let second = other + leak(second, 254) + if differ(self.p[2]) { -128 } else { 128 };
        let second = second.clamp(-12_288, 12_288);
        let most = 15_360 - second;
        self.a = [first.clamp(-most, most), second];
    }
}

/// The step of a logarithm: eleven bits of fraction, of which the upper five are looked up as powers of the 32nd root of two.
fn step(log: i16) -> i32 {
    const ROOTS: [i32; 32] = [
        0x4000, 0x4167, 0x42D5, 0x444C, 0x45CB, 0x4752, 0x48E2, 0x4A7A, 0x4C1B, 0x4DC7, 0x4F7A, 0x5138,
        0x52FF, 0x54D1, 0x56AC, 0x5892, 0x5A82, 0x5C7E, 0x5E84, 0x6096, 0x62B4, 0x64DD, 0x6712, 0x6954,
        0x6BA2, 0x6DFE, 0x7066, 0x72DC, 0x7560, 0x77F2, 0x7A93, 0x7D42,
    ];
    let fine = 0x1000 + ((i32::from(log & 63) * 0x166B) >> 12);
    (fine * ROOTS[usize::from(log as u16 >> 6 & 31)]) >> (26 - (log >> 11))
}

impl BlockDecoder for Nms {
    fn decode(&mut self, block: &[u8], out: &mut Vec<i16>) {
        let mut words = block.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
        let mut next = || words.next().unwrap_or(0);
        let mut codes = |this: &mut Self, word: u16, mask: u16| {
            out.extend([12, 8, 4, 0].map(|shift| this.sample(word >> shift & mask)));
        };
        for _ in 0..SAMPLES / 16 {
            match self.packing {
                Packing::Two => {
                    for word in [next(), next()] {
                        codes(self, word, 0b1100);
                        codes(self, word << 2, 0b1100);
                    }
                }
                Packing::Three => {
                    let words = [next(), next(), next()];
                    words.iter().for_each(|word| codes(self, *word, 0b1110));
                    let fourth = words.iter().fold(0, |fourth, word| fourth << 1 | word & 0x1111);
                    codes(self, fourth << 1, 0b1110);
                }
                Packing::Four => (0..4).for_each(|_| codes(self, next(), 0b1111)),
            }
        }
    }
}
