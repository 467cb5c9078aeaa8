//! What is done to a voice before it is sent.

use crate::Error;
use crate::automatic_gain::AutomaticGain;
use crate::noise_suppression::NoiseSuppression;

/// What a [`Preprocessor`] does, in this order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PreprocessorSettings {
    /// Takes noise away, by RNNoise's network. That delays the sound by 10 ms at 48 kHz, 50 ms at 16 kHz and 100 ms at 8 kHz. What is
    /// above 24 kHz is lost.
    pub denoise: bool,
    /// Multiplies the samples by this.
    pub gain: f64,
    /// Makes voices as loud as each other: their mean level goes to -20 dB of full scale, by a gain from -12 to 30 dB. Noise and
    /// silence change no gain.
    pub automatic_gain: bool,
}

impl PreprocessorSettings {
    /// Samples stay as they are.
    pub const DEFAULT: Self = Self { denoise: false, gain: 1.0, automatic_gain: false };
    /// Channels that noise can be taken away from.
    pub const MAX_DENOISED_CHANNELS: u16 = 8;
}

impl Default for PreprocessorSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Prepares a microphone's samples for the encoder.
#[derive(Debug)]
pub struct Preprocessor {
    suppression: Option<NoiseSuppression>,
    gain: f64,
    automatic: Option<AutomaticGain>,
}

impl Preprocessor {
    /// For samples at `rate`, interleaved.
    ///
    /// # Errors
    /// The rate cannot be converted. Noise is to be taken away from more than
    /// [`MAX_DENOISED_CHANNELS`](PreprocessorSettings::MAX_DENOISED_CHANNELS).
    pub fn new(rate: u32, channels: u16, settings: PreprocessorSettings) -> Result<Self, Error> {
        let PreprocessorSettings { denoise, gain, automatic_gain } = settings;
        let suppression = denoise.then(|| NoiseSuppression::new(rate, channels)).transpose()?;
        let automatic = automatic_gain.then(|| AutomaticGain::new(rate, channels)).transpose()?;
        Ok(Self { suppression, gain, automatic })
    }

    /// Changes samples from -1 to 1 in place: a block of whole frames, of any length.
    ///
    /// # Errors
    /// They cannot be converted.
    pub fn process(&mut self, samples: &mut [f64]) -> Result<(), Error> {
        if let Some(suppression) = &mut self.suppression {
            suppression.process(samples)?;
        }
        if self.gain != 1.0 {
            samples.iter_mut().for_each(|sample| *sample = (*sample * self.gain).clamp(-1.0, 1.0));
        }
        if let Some(automatic) = &mut self.automatic {
            automatic.process(samples)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_is_applied_within_full_scale() {
        let mut samples = [0.25, -0.9];
        let settings = PreprocessorSettings { gain: 2.0, ..PreprocessorSettings::DEFAULT };
        Preprocessor::new(48_000, 1, settings).unwrap().process(&mut samples).unwrap();
        assert_eq!(samples, [0.5, -1.0]);
    }
}
