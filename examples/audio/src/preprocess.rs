//! What is done to a voice before it is encoded.

/// Prepares a microphone's samples for the encoder.
pub struct Preprocessor {
    gain: f32,
    denoiser: Option<Box<nnnoiseless::DenoiseState<'static>>>,
}

impl Preprocessor {
    /// Multiplies by `gain`; takes noise away if `denoise`, which delays by 10 ms.
    pub fn new(gain: f32, denoise: bool) -> Self {
        Self { gain, denoiser: denoise.then(nnnoiseless::DenoiseState::new) }
    }

    /// Changes samples at 48 kHz in place: whole frames of 10 ms, a rest is only amplified.
    pub fn process(&mut self, samples: &mut [f32]) {
        const FRAME: usize = nnnoiseless::DenoiseState::FRAME_SIZE;
        if let Some(denoiser) = &mut self.denoiser {
            let (mut before, mut after) = ([0.0; FRAME], [0.0; FRAME]);
            for frame in samples.chunks_exact_mut(FRAME) {
                for (to, from) in before.iter_mut().zip(&*frame) {
                    // It wants the range of 16-bit samples; and what is no number would stay with it.
                    *to = if from.is_finite() { from * 32_768.0 } else { 0.0 };
                }
                denoiser.process_frame(&mut after, &before);
                for (to, from) in frame.iter_mut().zip(&after) {
                    *to = from / 32_768.0;
                }
            }
        }
        samples.iter_mut().for_each(|sample| *sample = (*sample * self.gain).clamp(-1.0, 1.0));
    }
}

impl core::fmt::Debug for Preprocessor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Preprocessor")
            .field("gain", &self.gain)
            .field("denoise", &self.denoiser.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d_18_noise_is_taken_away_and_gain_is_applied() {
        let mut random = 1_u32;
        let mut noise: Vec<f32> = (0..192_000)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 8) as f32 / (1 << 24) as f32 * 0.1 - 0.05
            })
            .collect();
        let power = |samples: &[f32]| samples.iter().map(|sample| sample * sample).sum::<f32>();
        let before = power(&noise[144_000..]);
        Preprocessor::new(1.0, true).process(&mut noise);
        let after = power(&noise[144_000..]);
        assert!(after < before / 2.0, "{after} of {before}");
        let mut samples = [0.25, -0.9];
        Preprocessor::new(2.0, false).process(&mut samples);
        assert_eq!(samples, [0.5, -1.0]);
    }
}
