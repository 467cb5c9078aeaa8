/// How a raw sample is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SampleFormat {
    /// Unsigned, silence is 128.
    U8,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Floating point, from -1 to 1.
    F32,
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
    pub const ALL: [Self; 5] = [Self::U8, Self::I8, Self::I16, Self::I32, Self::F32];

    /// Bytes of one sample.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }
}

/// Appends samples in `format`; what is out of range is clipped, what lies between two values is rounded.
pub fn encode(samples: &[f64], format: SampleFormat, order: SampleOrder, out: &mut Vec<u8>) {
    // Float-to-integer casts saturate, and a NaN becomes silence.
    match format {
        SampleFormat::U8 => out.extend(samples.iter().map(|sample| (sample * 128.0 + 128.0).round() as u8)),
        SampleFormat::I8 => out.extend(samples.iter().map(|sample| (sample * 128.0).round() as i8 as u8)),
        SampleFormat::I16 => {
            put(samples, order, out, |sample| ((sample * 32_768.0).round() as i16).to_be_bytes())
        }
        SampleFormat::I32 => {
            put(samples, order, out, |sample| ((sample * 2_147_483_648.0).round() as i32).to_be_bytes())
        }
        SampleFormat::F32 => put(samples, order, out, |sample| (sample as f32).to_be_bytes()),
    }
}

fn put<const N: usize>(
    samples: &[f64],
    order: SampleOrder,
    out: &mut Vec<u8>,
    bytes: impl Fn(f64) -> [u8; N],
) {
    for sample in samples {
        let mut bytes = bytes(*sample);
        if order == SampleOrder::Little {
            bytes.reverse();
        }
        out.extend(bytes);
    }
}

/// The samples that raw bytes hold; an incomplete one at the end is left out.
pub fn decode(bytes: &[u8], format: SampleFormat, order: SampleOrder) -> Vec<f64> {
    match format {
        SampleFormat::U8 => bytes.iter().map(|byte| (f64::from(*byte) - 128.0) / 128.0).collect(),
        SampleFormat::I8 => bytes.iter().map(|byte| f64::from(*byte as i8) / 128.0).collect(),
        SampleFormat::I16 => take(bytes, order, |bytes| f64::from(i16::from_be_bytes(bytes)) / 32_768.0),
        SampleFormat::I32 => {
            take(bytes, order, |bytes| f64::from(i32::from_be_bytes(bytes)) / 2_147_483_648.0)
        }
        SampleFormat::F32 => take(bytes, order, |bytes| f64::from(f32::from_be_bytes(bytes))),
    }
}

fn take<const N: usize>(bytes: &[u8], order: SampleOrder, sample: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (samples, _) = bytes.as_chunks::<N>();
    let ordered = samples.iter().map(|bytes| {
        let mut bytes = *bytes;
        if order == SampleOrder::Little {
            bytes.reverse();
        }
        bytes
    });
    ordered.map(sample).collect()
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
                    _ => (0..100_000_u32)
                        .flat_map(|n| (n.wrapping_mul(42_949) & 0xbfff_ffff).to_be_bytes())
                        .collect(),
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
            (SampleFormat::I32, vec![0x80, 0, 0, 0], vec![0x7f, 0xff, 0xff, 0xff]),
        ] {
            for (sample, expected) in [(-2.0, &low), (2.0, &high)] {
                let mut bytes = Vec::new();
                encode(&[sample], format, SampleOrder::Big, &mut bytes);
                assert_eq!(&bytes, expected, "{format:?} {sample}");
            }
        }
        let mut bytes = Vec::new();
        encode(&[f64::NAN, 0.0], SampleFormat::U8, SampleOrder::Big, &mut bytes);
        assert_eq!(bytes, [0, 128]);
        assert_eq!(decode(&[1, 2, 3], SampleFormat::I16, SampleOrder::Big).len(), 1);
    }
}
