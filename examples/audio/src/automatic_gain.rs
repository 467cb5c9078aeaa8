//! Automatic gain control.

use crate::{Error, VoiceActivity};
use core::time::Duration;

/// The mean level of voices, in decibels of full scale.
const TARGET: f64 = -20.0;
/// The gain, in decibels.
const LEAST: f64 = -12.0;
const MOST: f64 = 30.0;
/// How fast it grows and falls, in decibels a second of voice.
const UP: f64 = 6.0;
const DOWN: f64 = 20.0;
/// How long the mean level looks back, in seconds of voice.
const MEMORY: f64 = 1.0;
/// No sample is louder than this, -1 dB of full scale, unless it was before.
const CEILING: f64 = 0.891;
/// What is more quiet is no voice, in decibels of full scale.
const SILENCE: f64 = -65.0;

/// How long a voice counts behind the frame in which it was found: blocks may be shorter than frames, and frames come in bursts at low
/// rates.
const HANGOVER: Duration = Duration::from_millis(40);

/// Makes voices as loud as each other. What is no voice is amplified as the last voice was.
#[derive(Debug)]
pub(crate) struct AutomaticGain {
    channels: usize,
    /// Samples of 10 ms.
    step: usize,
    activity: VoiceActivity,
    /// The mean power of the voice; `None` before any.
    power: Option<f64>,
    /// In decibels.
    gain: f64,
    /// By what the last sample was multiplied.
    applied: f64,
}

impl AutomaticGain {
    pub(crate) fn new(rate: u32, channels: u16) -> Result<Self, Error> {
        let activity = VoiceActivity::new(rate, channels, HANGOVER)?;
        let channels = usize::from(channels.max(1));
        let step = (rate as usize / 100).max(1) * channels;
        Ok(Self { channels, step, activity, power: None, gain: 0.0, applied: 1.0 })
    }

    /// Changes whole frames in place, without a delay.
    pub(crate) fn process(&mut self, samples: &mut [f64]) -> Result<(), Error> {
        for block in samples.chunks_mut(self.step) {
            let seconds = block.len() as f64 / self.step as f64 / 100.0;
            let power = block.iter().map(|sample| sample * sample).sum::<f64>() / block.len() as f64;
            self.apply(block);
            // A quiet voice is better known for one once it is louder.
            if self.activity.hears(block)? {
                self.follow(power, seconds);
            }
        }
        Ok(())
    }

    /// A voice of this power comes in.
    fn follow(&mut self, power: f64, seconds: f64) {
        if !power.is_finite() || decibels(power) < SILENCE {
            return;
        }
        let before = self.power.unwrap_or(power);
        let mean = before + (power - before) * (seconds / MEMORY).min(1.0);
        self.power = Some(mean);
        let wanted = (TARGET - decibels(mean)).clamp(LEAST, MOST);
        self.gain = wanted.clamp(self.gain - DOWN * seconds, self.gain + UP * seconds);
    }

    /// From the gain before to the one of now, without a step; peaks stay below full scale.
    fn apply(&mut self, block: &mut [f64]) {
        let peak = block.iter().fold(0.0_f64, |peak, sample| peak.max(sample.abs()));
        let gain = 10_f64.powf(self.gain / 20.0).min((CEILING / peak.max(1e-9)).max(1.0));
        let (before, frames) = (core::mem::replace(&mut self.applied, gain), block.len() / self.channels);
        for (n, frame) in block.chunks_mut(self.channels).enumerate() {
            let gain = before + (gain - before) * (n + 1) as f64 / frames.max(1) as f64;
            frame.iter_mut().for_each(|sample| *sample = (*sample * gain).clamp(-1.0, 1.0));
        }
    }
}

fn decibels(power: f64) -> f64 {
    10.0 * power.max(1e-12).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SPEECH, read, resample};

    fn speech(rate: u32) -> Vec<f64> {
        let clip = resample(&read(SPEECH).unwrap().clip.mono(), rate).unwrap();
        clip.samples.iter().cycle().take(rate as usize * 24).copied().collect()
    }

    /// The level of what is louder than -50 dB, in decibels.
    fn level(samples: &[f64], rate: u32) -> f64 {
        let powers = samples
            .chunks(rate as usize / 50)
            .map(|block| block.iter().map(|sample| sample * sample).sum::<f64>() / block.len() as f64);
        let loud: Vec<f64> = powers.filter(|power| decibels(*power) > -50.0).collect();
        decibels(loud.iter().sum::<f64>() / loud.len().max(1) as f64)
    }

    /// F-76: quiet and loud voices are as loud as each other behind some seconds, at every rate, and nothing is cut off.
    #[test]
    fn f_76_quiet_and_loud_voices_become_as_loud_as_each_other() {
        for (rate, frames) in [(8000, 160), (48_000, 32), (48_000, 960)] {
            let said = speech(rate);
            let loudest = said.iter().fold(0.0_f64, |peak, sample| peak.max(sample.abs()));
            for peak in [0.03, 0.3, 0.99] {
                let mut heard: Vec<f64> = said.iter().map(|sample| sample * peak / loudest).collect();
                let before = level(&heard[16 * rate as usize..], rate);
                let mut gain = AutomaticGain::new(rate, 1).unwrap();
                heard.chunks_mut(frames).for_each(|block| gain.process(block).unwrap());
                let after = level(&heard[16 * rate as usize..], rate);
                assert!(
                    (after - TARGET).abs() < 3.0,
                    "{rate}, {frames}, {peak}: {before} dB before, {after} dB after"
                );
                let cut = heard.iter().filter(|sample| sample.abs() >= 1.0).count();
                assert_eq!(cut, 0, "{rate}, {peak}");
            }
        }
    }

    /// F-76: noise alone and silence are not amplified.
    #[test]
    fn f_76_noise_and_silence_stay_as_they_are() {
        let mut random = 1_u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f64::from(random >> 8) / f64::from(1 << 24) - 0.5) * 0.01
        };
        let noise: Vec<f64> = (0..48_000 * 10).map(|_| next()).collect();
        for before in [noise, vec![0.0; 48_000]] {
            let mut after = before.clone();
            let mut gain = AutomaticGain::new(48_000, 1).unwrap();
            after.chunks_mut(960).for_each(|block| gain.process(block).unwrap());
            let power = |samples: &[f64]| samples.iter().map(|sample| sample * sample).sum::<f64>();
            assert!(power(&after) <= power(&before) * 1.5, "{} dB", gain.gain);
        }
    }

    /// F-76: a gain that changes makes no steps, also where a loud voice follows a quiet one; channels keep their balance.
    #[test]
    fn f_76_the_gain_changes_without_steps() {
        let mut gain = AutomaticGain::new(8000, 2).unwrap();
        gain.gain = MOST;
        let mut blocks = [0.001; 320];
        gain.process(&mut blocks).unwrap();
        gain.process(&mut blocks).unwrap();
        let mut loud = [0.4, 0.8].repeat(80);
        gain.process(&mut loud).unwrap();
        assert!(loud.chunks(2).all(|frame| frame[0] <= frame[1] && frame[1] <= 1.0));
        let mut next = [0.4, 0.8].repeat(80);
        gain.process(&mut next).unwrap();
        assert!(next.chunks(2).all(|frame| (frame[1] / frame[0] - 2.0).abs() < 1e-9));
        assert!(next.iter().all(|sample| *sample <= CEILING + 1e-9), "{}", next[1]);
    }
}
