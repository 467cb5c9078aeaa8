use crate::{Error, JitterBuffer, JitterStats, Pull, VoiceDecoder, voice_decoder};
use core::time::Duration;

/// One remote voice: packets in, samples out.
pub struct Speaker {
    buffer: JitterBuffer,
    decoder: Box<dyn VoiceDecoder>,
    samples: Vec<f32>,
    /// Packets without a number of their own.
    appended: u32,
    stats: SpeakerFigures,
}

/// What became of a speaker's frames.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct SpeakerFigures {
    /// The jitter buffer's counters.
    pub jitter: JitterStats,
    /// Lost frames that the next packet carried.
    pub recovered: u64,
    /// Frames made up from what was heard before.
    pub concealed: u64,
    /// Packets that are not Opus.
    pub invalid: u64,
}

/// Packets of a stream without numbers that are kept.
const PILE: usize = 25;
/// Below this power nothing is said: -50 dB.
const QUIET: f32 = 1e-5;

impl Speaker {
    /// For packets of `frame` each, at 48 kHz, to be heard on 1 or 2 channels.
    ///
    /// # Errors
    /// The codec's own, and another number of channels.
    pub fn new(frame: Duration, channels: u16) -> Result<Self, Error> {
        let samples = usize::try_from(frame.as_micros() * 48 / 1000).unwrap_or(0);
        Ok(Self {
            buffer: JitterBuffer::for_frame(frame),
            decoder: voice_decoder(channels)?,
            samples: vec![0.0; samples * usize::from(channels)],
            appended: 0,
            stats: SpeakerFigures::default(),
        })
    }

    /// A packet has come in behind all others, as on a stream without numbers. What has piled up beyond half a second is left
    /// out, the oldest first: originals send in one burst what they had waiting at the start of a call.
    pub fn append(&mut self, now: Duration, packet: &[u8]) {
        let start = self.appended == 0;
        if start {
            self.buffer.start();
        }
        self.buffer.keep(PILE);
        self.buffer.insert(now, self.appended, packet, false);
        self.appended = self.appended.wrapping_add(1);
    }

    /// Samples of one frame, of all channels.
    pub fn frame_samples(&self) -> usize {
        self.samples.len()
    }

    /// A packet has come in; `sequence` counts the frames of the speech, which this one starts or ends.
    pub fn insert(&mut self, now: Duration, sequence: u32, packet: &[u8], start: bool, end: bool) {
        if start {
            self.buffer.start();
        }
        self.buffer.insert(now, sequence, packet, end);
    }

    /// The speech has ended without a last packet.
    pub fn stop(&mut self) {
        self.buffer.stop();
    }

    /// The next frame, to be mixed; `None` while nobody speaks. To be called once for each frame's length.
    pub fn render(&mut self, now: Duration) -> Option<&[f32]> {
        let Self { buffer, decoder, samples, stats, .. } = self;
        // At most one frame is left out at a time.
        for turn in 0..2 {
            let pull = buffer.pull(now);
            let hurry = matches!(pull, Pull::Packet { hurry: true, .. });
            match pull {
                Pull::Silence => return None,
                Pull::Packet { packet, .. } => match decoder.decode(packet, samples) {
                    Ok(got) => samples.iter_mut().skip(got).for_each(|sample| *sample = 0.0),
                    Err(_) => {
                        stats.invalid += 1;
                        conceal(&mut **decoder, samples, 1.0);
                    }
                },
                Pull::Recover { next } => match decoder.recover(next, samples) {
                    Ok(true) => stats.recovered += 1,
                    Ok(false) => stats.concealed += 1,
                    Err(_) => {
                        stats.concealed += 1;
                        conceal(&mut **decoder, samples, 1.0);
                    }
                },
                Pull::Conceal { gain } => {
                    stats.concealed += 1;
                    conceal(&mut **decoder, samples, gain);
                }
            }
            if !(hurry && turn == 0 && is_quiet(samples)) {
                break;
            }
            buffer.left_out();
        }
        Some(samples)
    }

    /// What became of the frames so far.
    pub fn figures(&self) -> SpeakerFigures {
        SpeakerFigures { jitter: self.buffer.stats(), ..self.stats }
    }
}

impl core::fmt::Debug for Speaker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Speaker").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

fn conceal(decoder: &mut dyn VoiceDecoder, samples: &mut [f32], gain: f32) {
    match decoder.conceal(samples) {
        Ok(()) => samples.iter_mut().for_each(|sample| *sample *= gain),
        Err(_) => samples.fill(0.0),
    }
}

fn is_quiet(samples: &[f32]) -> bool {
    samples.iter().map(|sample| sample * sample).sum::<f32>() < QUIET * samples.len() as f32
}

/// Adds a voice to a mix, at first as loud as the first of `gains` and in the end as the second.
pub fn mix_into(mix: &mut [f32], voice: &[f32], gains: [f32; 2]) {
    let [mut gain, end] = gains;
    let step = (end - gain) / voice.len().max(1) as f32;
    for (sum, sample) in mix.iter_mut().zip(voice) {
        gain += step;
        *sum += sample * gain;
    }
}

/// Keeps a mix within -1 to 1: what is loud is bent, not cut; what is not stays as it is.
pub fn limit(mix: &mut [f32]) {
    const KNEE: f32 = 0.8;
    for sample in mix {
        let loud = sample.abs();
        if loud > KNEE {
            let over = (loud - KNEE) / (1.0 - KNEE);
            *sample = sample.signum() * (KNEE + (1.0 - KNEE) * over.tanh());
        }
    }
}

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
    use crate::{Clip, OPUS_RATE, SPEECH, VoiceSettings, compare, read, resample, voice_encoder};

    #[test]
    fn d_18_speech_is_heard_through_loss_and_jitter() {
        let speech = resample(&read(SPEECH).unwrap().clip.mono(), OPUS_RATE).unwrap();
        let mut encoder = voice_encoder(VoiceSettings::DEFAULT).unwrap();
        let mut random = 7_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 33
        };
        let mut arrivals = Vec::new();
        let frames = speech.samples.chunks_exact(960);
        let count = frames.len();
        for (n, frame) in (0_u32..).zip(frames) {
            let frame: Vec<f32> = frame.iter().map(|sample| *sample as f32).collect();
            let mut packet = Vec::new();
            encoder.encode(&frame, &mut packet).unwrap();
            // 5 % are lost, the rest up to 30 ms late.
            if next() % 20 != 0 {
                arrivals.push((u64::from(n) * 20 + next() % 30, n, packet));
            }
        }
        arrivals.sort();
        let mut arrivals = arrivals.into_iter().peekable();
        let mut speaker = Speaker::new(Duration::from_millis(20), 1).unwrap();
        let mut heard = Clip::empty(OPUS_RATE, 1);
        let mut started = false;
        for now in (0..count as u64 * 20 + 500).step_by(20) {
            while let Some((at, n, packet)) = arrivals.next_if(|(at, ..)| *at <= now) {
                speaker.insert(Duration::from_millis(at), n, &packet, !started, n as usize == count - 1);
                started = true;
            }
            match speaker.render(Duration::from_millis(now)) {
                Some(samples) => heard.samples.extend(samples.iter().map(|sample| f64::from(*sample))),
                None => heard.samples.extend([0.0; 960]),
            }
        }
        let figures = speaker.figures();
        let comparison = compare(&speech, &heard).unwrap();
        assert!(comparison.present > 0.7, "{comparison:?} {figures:?}");
        assert!(figures.recovered > 5, "{figures:?}");
        assert_eq!(figures.invalid, 0);
    }

    #[test]
    fn o_09_a_burst_at_the_start_is_not_heard_late() {
        let mut encoder = voice_encoder(VoiceSettings { channels: 2, ..VoiceSettings::DEFAULT }).unwrap();
        let mut packet = Vec::new();
        let tone = Clip::tone(OPUS_RATE, 2, 440.0, 0.02);
        encoder.encode(&tone.samples.iter().map(|s| *s as f32).collect::<Vec<_>>(), &mut packet).unwrap();
        let mut speaker = Speaker::new(Duration::from_millis(20), 2).unwrap();
        // Two seconds in a moment, then one packet after the other.
        for _ in 0..100 {
            speaker.append(Duration::ZERO, &packet);
        }
        for n in 0..200 {
            let now = Duration::from_millis(20) * n;
            speaker.append(now, &packet);
            speaker.render(now);
        }
        let jitter = speaker.figures().jitter;
        assert!(jitter.stored <= Duration::from_millis(500), "{jitter:?}");
        assert!(jitter.overflow == 0 && jitter.played > 190 && jitter.lost == 0, "{jitter:?}");
    }

    #[test]
    fn a_mix_stays_in_range_and_what_is_not_loud_stays_as_it_is() {
        let mut mix = vec![0.0; 3];
        mix_into(&mut mix, &[0.5, 0.9, -2.0], [1.0; 2]);
        mix_into(&mut mix, &[0.1, 0.9, -2.0], [0.5; 2]);
        limit(&mut mix);
        assert!((mix[0] - 0.55).abs() < 1e-6 && mix.iter().all(|sample| sample.abs() <= 1.0), "{mix:?}");
    }

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
