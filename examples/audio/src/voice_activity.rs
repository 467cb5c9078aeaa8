//! Whether somebody speaks.

use crate::{Error, StreamResampler};
use core::time::Duration;
use nnnoiseless::DenoiseState;

/// Tells speech from silence and noise: RNNoise's network says how probable a voice is in each 10 ms.
pub struct VoiceActivity {
    channels: usize,
    /// To 48 kHz, which the network knows.
    resampler: StreamResampler,
    network: Box<DenoiseState<'static>>,
    mono: Vec<f64>,
    pending: Vec<f64>,
    /// For how many frames of 10 ms somebody has spoken still.
    left: u32,
    hangover: u32,
}

/// From this probability on somebody speaks.
const VOICE: f32 = 0.6;
const FRAME: usize = DenoiseState::FRAME_SIZE;

impl VoiceActivity {
    /// For samples at `rate`, interleaved. Somebody is taken to speak for `hangover` behind the last voice, so that ends of words and
    /// short pauses are not cut.
    ///
    /// # Errors
    /// The rate cannot be converted.
    pub fn new(rate: u32, channels: u16, hangover: Duration) -> Result<Self, Error> {
        Ok(Self {
            channels: channels.max(1).into(),
            resampler: StreamResampler::new(rate, 48_000, 1)?,
            network: DenoiseState::new(),
            mono: Vec::new(),
            pending: Vec::new(),
            left: 0,
            hangover: u32::try_from(hangover.as_millis() / 10).unwrap_or(u32::MAX),
        })
    }

    /// Takes the next samples, from -1 to 1; true if somebody speaks in them, or has just spoken.
    ///
    /// # Errors
    /// They cannot be converted.
    pub fn hears(&mut self, samples: &[f64]) -> Result<bool, Error> {
        let mut speaks = self.left > 0;
        let mean = |frame: &[f64]| frame.iter().sum::<f64>() / frame.len() as f64;
        self.mono.clear();
        self.mono.extend(samples.chunks(self.channels).map(mean));
        self.resampler.feed(&self.mono);
        while self.resampler.pull(&mut self.pending)? {}
        let whole = self.pending.len() - self.pending.len() % FRAME;
        let (mut heard, mut cleaned) = ([0.0; FRAME], [0.0; FRAME]);
        for frame in self.pending[..whole].chunks_exact(FRAME) {
            for (to, from) in heard.iter_mut().zip(frame) {
                // It wants the range of 16-bit samples; and what is no number would stay with it.
                *to = if from.is_finite() { (from * 32_768.0) as f32 } else { 0.0 };
            }
            let is_voice = self.network.process_frame(&mut cleaned, &heard) >= VOICE;
            self.left = if is_voice { self.hangover } else { self.left.saturating_sub(1) };
            speaks |= is_voice;
        }
        self.pending.drain(..whole);
        Ok(speaks)
    }
}

impl core::fmt::Debug for VoiceActivity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("VoiceActivity").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clip, SPEECH, read, resample};

    /// For each block of 20 ms, whether somebody speaks.
    fn blocks(clip: &Clip) -> Vec<bool> {
        let mut activity = VoiceActivity::new(clip.rate, clip.channels, Duration::from_millis(300)).unwrap();
        let block = clip.rate as usize / 50 * usize::from(clip.channels);
        clip.samples.chunks(block).map(|block| activity.hears(block).unwrap()).collect()
    }

    fn noise(rate: u32, seconds: u32, level: f64) -> Clip {
        let mut random = 1_u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f64::from(random >> 8) / f64::from(1 << 24) - 0.5) * 2.0 * level
        };
        Clip { rate, channels: 1, samples: (0..rate * seconds).map(|_| next()).collect() }
    }

    /// F-72: speech is told from silence and from noise, at every rate; the ends of words are not cut.
    #[test]
    fn f_72_speech_is_told_from_silence_and_noise() {
        let speech = read(SPEECH).unwrap().clip.mono();
        for rate in [8000, 16_000, 44_100, 48_000] {
            let said = resample(&speech, rate).unwrap();
            let block = rate as usize / 50;
            let open = blocks(&said);
            let power = |block: &[f64]| block.iter().map(|sample| sample * sample).sum::<f64>();
            let heard = said.samples.chunks(block).zip(open).filter(|(_, open)| *open);
            let share = heard.map(|(block, _)| power(block)).sum::<f64>() / power(&said.samples);
            assert!(share > 0.98, "{rate}: {share} of the speech");
            let quiet = noise(rate, 5, 0.003);
            let opened = blocks(&quiet).into_iter().skip(50).filter(|open| *open).count();
            assert!(opened < 20, "{rate}: {opened} blocks of noise");
            let silence = Clip { samples: vec![0.0; rate as usize * 2], ..quiet };
            assert!(blocks(&silence).iter().all(|open| !open), "{rate}");
        }
    }

    /// F-72: behind the last word it stays open for the hang-over, and no longer.
    #[test]
    fn f_72_the_hang_over_has_an_end() {
        let mut clip = read(SPEECH).unwrap().clip.mono();
        let rate = clip.rate as usize;
        clip.samples.resize(clip.samples.len() + 2 * rate, 0.0);
        let open = blocks(&clip);
        let end = open.iter().rposition(|open| *open).unwrap();
        let last = clip.samples.iter().rposition(|sample| sample.abs() > 0.02).unwrap() / (rate / 50);
        assert!((last..last + 40).contains(&end), "open until block {end}, spoken until {last}");
    }
}
