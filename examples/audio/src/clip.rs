use core::f64::consts::{FRAC_1_SQRT_2, TAU};

/// A piece of sound, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Frames per second.
    pub rate: u32,
    /// Samples per frame; at least 1.
    pub channels: u16,
    /// Interleaved, from -1 to 1. `f64` holds every sample of every format exactly.
    pub samples: Vec<f64>,
}

/// How much of a loudspeaker is in the left and the right one of two: ITU-R BS.775.
type Place = [f64; 2];
const LEFT: Place = [1.0, 0.0];
const RIGHT: Place = [0.0, 1.0];
const CENTRE: Place = [FRAC_1_SQRT_2, FRAC_1_SQRT_2];
const BASS: Place = [0.0, 0.0];
const LEFT_BEHIND: Place = [FRAC_1_SQRT_2, 0.0];
const RIGHT_BEHIND: Place = [0.0, FRAC_1_SQRT_2];
/// One behind: shared by both sides.
const BEHIND: Place = [0.5, 0.5];

/// For three to eight channels, where each is, and what all that is on one side add up to.
const LAYOUTS: [(&[Place], f64); 6] = [
    (&[LEFT, RIGHT, CENTRE], 1.0 + FRAC_1_SQRT_2),
    (&[LEFT, RIGHT, LEFT_BEHIND, RIGHT_BEHIND], 1.0 + FRAC_1_SQRT_2),
    (&[LEFT, RIGHT, CENTRE, LEFT_BEHIND, RIGHT_BEHIND], 1.0 + 2.0 * FRAC_1_SQRT_2),
    (&[LEFT, RIGHT, CENTRE, BASS, LEFT_BEHIND, RIGHT_BEHIND], 1.0 + 2.0 * FRAC_1_SQRT_2),
    (&[LEFT, RIGHT, CENTRE, BASS, BEHIND, LEFT_BEHIND, RIGHT_BEHIND], 1.5 + 2.0 * FRAC_1_SQRT_2),
    (
        &[LEFT, RIGHT, CENTRE, BASS, LEFT_BEHIND, RIGHT_BEHIND, LEFT_BEHIND, RIGHT_BEHIND],
        1.0 + 3.0 * FRAC_1_SQRT_2,
    ),
];

impl Clip {
    /// Silence, or rather nothing: a clip to append to.
    pub const fn empty(rate: u32, channels: u16) -> Self {
        Self { rate, channels, samples: Vec::new() }
    }

    /// A sine of `hz` at half of full scale, the same in all channels.
    pub fn tone(rate: u32, channels: u16, hz: f64, seconds: f64) -> Self {
        Self::tone_from(rate, channels, hz, 0, (f64::from(rate) * seconds) as usize)
    }

    /// `frames` frames of an endless tone, from frame `start` on.
    pub fn tone_from(rate: u32, channels: u16, hz: f64, start: u64, frames: usize) -> Self {
        let cycles = |frame: usize| (start as f64 + frame as f64) * hz / f64::from(rate.max(1));
        let sample = |frame: usize| 0.5 * (TAU * cycles(frame).fract()).sin();
        let samples =
            (0..frames).flat_map(|frame| core::iter::repeat_n(sample(frame), channels.into())).collect();
        Self { rate, channels, samples }
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.samples.len() / usize::from(self.channels.max(1))
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.frames() as f64 / f64::from(self.rate.max(1))
    }

    /// One channel, the mean of all.
    #[must_use]
    pub fn mono(&self) -> Self {
        self.mix(1)
    }

    /// The same sound in another number of channels. Three to eight channels, in the order of a WAV file, are folded to two and to
    /// one as ITU-R BS.775 says: the centre and what is behind at -3 dB, without bass, and no louder than full scale. Otherwise
    /// fewer channels are means of the ones folded together, and more repeat them.
    #[must_use]
    pub fn mix(&self, channels: u16) -> Self {
        let (have, want) = (usize::from(self.channels.max(1)), usize::from(channels.max(1)));
        if have == want {
            return self.clone();
        }
        let mut samples = Vec::with_capacity(self.frames() * want);
        let layout = have.checked_sub(3).and_then(|at| LAYOUTS.get(at)).filter(|_| want <= 2);
        for frame in self.samples.chunks_exact(have) {
            if let Some((places, full)) = layout {
                let side = |side: usize| {
                    let parts = frame.iter().zip(*places);
                    parts.map(|(sample, place)| sample * place[side]).sum::<f64>() / full
                };
                let both = [side(0), side(1)];
                match want {
                    2 => samples.extend(both),
                    _ => samples.push(f64::midpoint(both[0], both[1])),
                }
                continue;
            }
            for to in 0..want {
                // Channel `to` of few takes every `want`-th of many; of many it repeats one of few.
                let from = frame.iter().skip(to % have).step_by(want.min(have));
                let (sum, count) = from.fold((0.0, 0_u32), |(sum, count), sample| (sum + sample, count + 1));
                samples.push(if want > have { frame[to % have] } else { sum / f64::from(count.max(1)) });
            }
        }
        Self { rate: self.rate, channels: channels.max(1), samples }
    }

    /// The loudest sample and the mean power, both from 0 to 1.
    pub fn level(&self) -> (f64, f64) {
        let peak = self.samples.iter().fold(0.0_f64, |peak, sample| peak.max(sample.abs()));
        let power: f64 = self.samples.iter().map(|sample| sample * sample).sum();
        (peak, power / self.samples.len().max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_folded_and_repeated() {
        let clip = |channels, samples: &[f64]| Clip { rate: 1, channels, samples: samples.to_vec() };
        let stereo = clip(2, &[0.5, -0.5, 1.0, 0.0]);
        assert_eq!(stereo.mono().samples, [0.0, 0.5]);
        assert_eq!(clip(1, &[0.25]).mix(3).samples, [0.25; 3]);
        assert_eq!(clip(9, &[0.9; 9]).mix(2).channels, 2);
        assert_eq!(clip(4, &[0.1, 0.2, 0.3, 0.4]).mix(3).samples, [(0.1 + 0.4) / 2.0, 0.2, 0.3]);
        assert_eq!(clip(2, &[0.1, 0.2]).mix(3).samples, [0.1, 0.2, 0.1]);
        assert_eq!(stereo.mix(2), stereo);
    }

    /// F-56
    #[test]
    fn surround_is_folded_as_the_itu_says() {
        let six = |samples: [f64; 6]| Clip { rate: 1, channels: 6, samples: samples.to_vec() }.mix(2).samples;
        let full = 1.0 + 2.0_f64.sqrt();
        let near = |got: Vec<f64>, expected: [f64; 2]| {
            assert!(
                got.iter().zip(expected).all(|(got, expected)| (got - expected / full).abs() < 1e-12),
                "{got:?}"
            );
        };
        near(six([1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), [1.0, 0.0]);
        near(six([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]), [0.5_f64.sqrt(), 0.5_f64.sqrt()]);
        near(six([0.0, 0.0, 0.0, 1.0, 0.0, 0.0]), [0.0, 0.0]);
        near(six([0.0, 0.0, 0.0, 0.0, 0.0, 1.0]), [0.0, 0.5_f64.sqrt()]);
        near(six([1.0; 6]), [full, full]);
        for channels in 3..=8 {
            let loud = Clip { rate: 1, channels, samples: vec![1.0; channels.into()] };
            assert!(loud.mix(2).level().0 <= 1.0 + 1e-12 && loud.mix(1).level().0 <= 1.0 + 1e-12);
        }
    }

    #[test]
    fn a_tone_has_its_length_level_and_pitch() {
        let tone = Clip::tone(8000, 2, 1000.0, 0.5);
        assert_eq!((tone.frames(), tone.samples.len()), (4000, 8000));
        let (peak, power) = tone.level();
        assert!((peak - 0.5).abs() < 1e-9 && (power - 0.125).abs() < 1e-9);
        let left: Vec<f64> = tone.samples.iter().copied().step_by(2).collect();
        assert_eq!(left.windows(2).filter(|pair| pair[0] < -1e-9 && pair[1] >= -1e-9).count(), 499);
    }
}
