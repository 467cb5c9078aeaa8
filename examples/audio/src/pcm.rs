/// How a raw sample is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SampleFormat {
    /// Unsigned, silence is 128.
    U8,
    /// Unsigned, 16 bits, silence is the middle.
    U16,
    /// Unsigned, 24 bits, packed.
    U24,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits, of which an `f64` can hold 53.
    U64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 24 bits, packed.
    I24,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits, of which an `f64` can hold 53.
    I64,
    /// Floating point, from -1 to 1.
    F32,
    /// Floating point, from -1 to 1.
    F64,
}

/// In which order the bytes of a raw sample come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SampleOrder {
    /// Big-endian.
    Big,
    /// Little-endian.
    Little,
}

impl SampleFormat {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::U8,
        Self::U16,
        Self::U24,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I24,
        Self::I32,
        Self::I64,
        Self::F32,
        Self::F64,
    ];

    /// Bytes of one sample.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U24 | Self::I24 => 3,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether it is an integer whose middle is silence.
    pub const fn is_unsigned(self) -> bool {
        matches!(self, Self::U8 | Self::U16 | Self::U24 | Self::U32 | Self::U64)
    }

    /// Whether it is a floating point number.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

/// Appends samples in `format`; what is out of range is clipped, what lies between two values is rounded.
pub fn encode(samples: &[f64], format: SampleFormat, order: SampleOrder, out: &mut Vec<u8>) {
    match format.size() {
        1 => put::<1>(samples, format, order, out),
        2 => put::<2>(samples, format, order, out),
        3 => put::<3>(samples, format, order, out),
        4 => put::<4>(samples, format, order, out),
        _ => put::<8>(samples, format, order, out),
    }
}

/// The samples that raw bytes hold; an incomplete one at the end is left out.
pub fn decode(bytes: &[u8], format: SampleFormat, order: SampleOrder) -> Vec<f64> {
    let mut samples = Vec::new();
    decode_into(bytes, format, order, &mut samples);
    samples
}

/// Appends the samples that raw bytes hold; an incomplete one at the end is left out.
pub fn decode_into(bytes: &[u8], format: SampleFormat, order: SampleOrder, samples: &mut Vec<f64>) {
    match format.size() {
        1 => take::<1>(bytes, format, order, samples),
        2 => take::<2>(bytes, format, order, samples),
        3 => take::<3>(bytes, format, order, samples),
        4 => take::<4>(bytes, format, order, samples),
        _ => take::<8>(bytes, format, order, samples),
    }
}

fn put<const N: usize>(samples: &[f64], format: SampleFormat, order: SampleOrder, out: &mut Vec<u8>) {
    let flip = if format.is_unsigned() { 0x80 } else { 0 };
    let full_scale = full_scale(N);
    for sample in samples {
        let mut bytes = [0; N];
        match format {
            SampleFormat::F32 => bytes.copy_from_slice(&(*sample as f32).to_be_bytes()[..N]),
            SampleFormat::F64 => bytes.copy_from_slice(&sample.to_be_bytes()[..N]),
            _ => {
                // The cast saturates, and a NaN becomes silence. An unsigned sample is a signed one moved by half its range.
                let value = (sample * full_scale).round().clamp(-full_scale, full_scale - 1.0) as i64;
                bytes.copy_from_slice(&value.to_be_bytes()[8 - N..]);
                bytes[0] ^= flip;
            }
        }
        if order == SampleOrder::Little {
            bytes.reverse();
        }
        out.extend(bytes);
    }
}

fn take<const N: usize>(bytes: &[u8], format: SampleFormat, order: SampleOrder, out: &mut Vec<f64>) {
    let flip = if format.is_unsigned() { 0x80 } else { 0 };
    let full_scale = full_scale(N);
    let (samples, _) = bytes.as_chunks::<N>();
    let sample = |bytes: &[u8; N]| {
        // To the upper end of eight bytes, where the sign is.
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(bytes);
        if order == SampleOrder::Little {
            wide[..N].reverse();
        }
        match format {
            SampleFormat::F32 => f64::from(f32::from_bits((u64::from_be_bytes(wide) >> 32) as u32)),
            SampleFormat::F64 => f64::from_be_bytes(wide),
            _ => {
                wide[0] ^= flip;
                (i64::from_be_bytes(wide) >> (64 - 8 * N)) as f64 / full_scale
            }
        }
    };
    out.extend(samples.iter().map(sample));
}

/// What the loudest sample of so many bytes stands for.
fn full_scale(size: usize) -> f64 {
    2_f64.powi(8 * size as i32 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_every_format_survives_both_ways() {
        for order in [SampleOrder::Big, SampleOrder::Little] {
            for format in SampleFormat::ALL {
                // Every byte pattern of the short formats, many of the long ones; no NaN, which is not equal to itself.
                let bytes: Vec<u8> = match format.size() {
                    1 => (0..=255).collect(),
                    2 => (0..=u16::MAX).flat_map(u16::to_be_bytes).collect(),
                    3 => (0..1_u32 << 24)
                        .step_by(97)
                        .flat_map(|n| n.to_be_bytes().into_iter().skip(1))
                        .collect(),
                    // As much as an f64 can hold.
                    8 if !format.is_float() => (0..100_000_u64)
                        .flat_map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xfff).to_be_bytes())
                        .collect(),
                    _ => (0..100_000_u32)
                        .flat_map(|n| (n.wrapping_mul(42_949) & 0xbfff_ffff).to_be_bytes())
                        .collect(),
                };
                let bytes = match order {
                    SampleOrder::Big => bytes,
                    SampleOrder::Little => {
                        bytes.chunks(format.size()).flat_map(|b| b.iter().rev().copied()).collect()
                    }
                };
                let samples = decode(&bytes, format, order);
                if samples.iter().any(|sample| sample.is_nan()) {
                    continue;
                }
                let mut again = Vec::new();
                encode(&samples, format, order, &mut again);
                assert_eq!(again, bytes, "{format:?} {order:?}");
            }
        }
    }

    #[test]
    fn what_is_out_of_range_is_clipped() {
        for (format, low, high) in [
            (SampleFormat::U8, vec![0], vec![255]),
            (SampleFormat::I8, vec![0x80], vec![0x7f]),
            (SampleFormat::I16, vec![0x80, 0], vec![0x7f, 0xff]),
            (SampleFormat::U24, vec![0, 0, 0], vec![0xff, 0xff, 0xff]),
            (SampleFormat::I32, vec![0x80, 0, 0, 0], vec![0x7f, 0xff, 0xff, 0xff]),
            (SampleFormat::I64, [&[0x80][..], &[0; 7]].concat(), [&[0x7f][..], &[0xff; 7]].concat()),
        ] {
            for (sample, expected) in [(-2.0, &low), (2.0, &high)] {
                let mut bytes = Vec::new();
                encode(&[sample], format, SampleOrder::Big, &mut bytes);
                assert_eq!(&bytes, expected, "{format:?} {sample}");
            }
        }
        let mut bytes = Vec::new();
        encode(&[f64::NAN, 0.0], SampleFormat::U8, SampleOrder::Big, &mut bytes);
        assert_eq!(bytes, [128, 128]);
        assert_eq!(decode(&[1, 2, 3], SampleFormat::I16, SampleOrder::Big).len(), 1);
    }
}
