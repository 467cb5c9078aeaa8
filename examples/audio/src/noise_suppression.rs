//! Noise suppression at any rate.

use crate::{Error, PreprocessorSettings, StreamResampler};
use nnnoiseless::DenoiseState;
use std::collections::VecDeque;

const FRAME: usize = DenoiseState::FRAME_SIZE;
/// The rate that RNNoise's network knows.
const RATE: u32 = 48_000;

/// Takes noise away from interleaved samples, each channel by itself.
pub(crate) struct NoiseSuppression {
    channels: Vec<Channel>,
}

struct Channel {
    network: Box<DenoiseState<'static>>,
    /// To the network's rate, and back.
    to: StreamResampler,
    from: StreamResampler,
    /// At the network's rate: less than a frame.
    waiting: Vec<f64>,
    /// What is clean, and has not been given back.
    clean: VecDeque<f64>,
    block: Vec<f64>,
}

impl NoiseSuppression {
    pub(crate) fn new(rate: u32, channels: u16) -> Result<Self, Error> {
        let most = PreprocessorSettings::MAX_DENOISED_CHANNELS;
        if channels > most {
            return Err(Error::Channels { channels, most });
        }
        let channels = (0..channels.max(1)).map(|_| Channel::new(rate)).collect::<Result<_, _>>()?;
        Ok(Self { channels })
    }

    /// Changes whole frames in place. The sound is delayed: the first samples are silent.
    pub(crate) fn process(&mut self, samples: &mut [f64]) -> Result<(), Error> {
        let channels = self.channels.len();
        for (n, channel) in self.channels.iter_mut().enumerate() {
            channel.process(samples.iter_mut().skip(n).step_by(channels))?;
        }
        Ok(())
    }
}

impl Channel {
    fn new(rate: u32) -> Result<Self, Error> {
        Ok(Self {
            network: DenoiseState::new(),
            to: StreamResampler::new(rate, RATE, 1)?,
            from: StreamResampler::new(RATE, rate, 1)?,
            waiting: Vec::new(),
            clean: VecDeque::new(),
            block: Vec::new(),
        })
    }

    fn process<'a>(&mut self, samples: impl Iterator<Item = &'a mut f64>) -> Result<(), Error> {
        let samples: Vec<&mut f64> = samples.collect();
        self.block.clear();
        self.block.extend(samples.iter().map(|sample| **sample));
        self.to.feed(&self.block);
        while self.to.pull(&mut self.waiting)? {}
        self.clean_whole_frames();
        self.block.clear();
        while self.from.pull(&mut self.block)? {}
        self.clean.extend(&self.block);
        // What is missing is made up for once, by a delay.
        for _ in self.clean.len()..samples.len() {
            self.clean.push_front(0.0);
        }
        let clean = self.clean.drain(..samples.len());
        samples.into_iter().zip(clean).for_each(|(to, from)| *to = from);
        Ok(())
    }

    fn clean_whole_frames(&mut self) {
        let whole = self.waiting.len() - self.waiting.len() % FRAME;
        let (mut heard, mut clean) = ([0.0; FRAME], [0.0; FRAME]);
        for frame in self.waiting[..whole].chunks_exact(FRAME) {
            for (to, from) in heard.iter_mut().zip(frame) {
                // It wants the range of 16-bit samples; and what is no number would stay with it.
                *to = if from.is_finite() { (from * 32_768.0) as f32 } else { 0.0 };
            }
            self.network.process_frame(&mut clean, &heard);
            self.from.feed(&clean.map(|sample| (f64::from(sample) / 32_768.0).clamp(-1.0, 1.0)));
        }
        self.waiting.drain(..whole);
    }
}

impl core::fmt::Debug for NoiseSuppression {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NoiseSuppression").field("channels", &self.channels.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clip, SPEECH, compare, read, resample};
    use core::f64::consts::TAU;

    fn noise(level: f64) -> impl FnMut() -> f64 {
        let mut random = 1_u32;
        move || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f64::from(random >> 8) / f64::from(1 << 24) - 0.5) * 2.0 * level
        }
    }

    fn suppressed(rate: u32, channels: u16, mut samples: Vec<f64>, frames: usize) -> Vec<f64> {
        let mut suppression = NoiseSuppression::new(rate, channels).unwrap();
        for block in samples.chunks_mut(frames * usize::from(channels)) {
            suppression.process(block).unwrap();
        }
        samples
    }

    fn power(samples: &[f64]) -> f64 {
        samples.iter().map(|sample| sample * sample).sum::<f64>() / samples.len().max(1) as f64
    }

    /// D-18, F-76: the noise of a fan is taken away at every rate, by 30 dB at least.
    #[test]
    fn d_18_noise_is_taken_away_at_every_rate() {
        for (rate, frames) in [(8000, 160), (16_000, 320), (44_100, 441), (48_000, 48), (48_000, 960)] {
            let mut next = noise(0.05);
            let share = (TAU * 1000.0 / f64::from(rate)).min(1.0);
            let mut low = 0.0;
            let mut rumble = || {
                low += (next() - low) * share;
                low
            };
            let before: Vec<f64> = (0..rate as usize * 4).map(|_| rumble()).collect();
            let after = suppressed(rate, 1, before.clone(), frames);
            let end = before.len() * 3 / 4;
            let (before, after) = (power(&before[end..]), power(&after[end..]));
            assert!(after < before / 1000.0, "{rate}, {frames}: {after} of {before}");
        }
    }

    /// F-76: speech stays, in both channels, and is not later than it is said to be.
    #[test]
    fn f_76_speech_stays_in_every_channel() {
        let speech = read(SPEECH).unwrap().clip.mono();
        for (rate, most) in [(8000, 0.1), (16_000, 0.05), (48_000, 0.011)] {
            let said = resample(&speech, rate).unwrap();
            let mut next = noise(0.002);
            let stereo: Vec<f64> = said.samples.iter().flat_map(|sample| [*sample, next()]).collect();
            let heard = suppressed(rate, 2, stereo, rate as usize / 50);
            let [left, right] = [0, 1].map(|n| heard.iter().skip(n).step_by(2).copied().collect::<Vec<_>>());
            let kept = power(&left) / power(&said.samples);
            assert!((0.7..1.1).contains(&kept), "{rate}: {kept}");
            assert!(power(&right) < power(&left) / 1000.0, "{rate}");
            let found = compare(&said, &Clip { samples: left, ..said.clone() }).unwrap();
            let late = found.offset as f64 / f64::from(rate);
            assert!((0.0..=most).contains(&late), "{rate}: {late} s");
        }
    }

    #[test]
    fn what_is_no_number_does_not_stay_and_channels_have_a_limit() {
        let mut samples = vec![f64::NAN; 960];
        samples.resize(48_000, 0.0);
        let heard = suppressed(48_000, 1, samples, 480);
        assert!(heard.iter().all(|sample| sample.is_finite()));
        assert!(NoiseSuppression::new(48_000, 9).unwrap_err().to_string().contains("at most 8"));
    }
}
