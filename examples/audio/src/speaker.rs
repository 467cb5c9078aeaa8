use crate::stretch::Lengths;
use crate::{Error, JitterBuffer, JitterStats, OPUS_RATE, Pace, Pull, VoiceDecoder, voice_decoder};
use core::time::Duration;

/// One remote voice: packets in, samples out.
pub struct Speaker {
    buffer: JitterBuffer,
    decoder: Box<dyn VoiceDecoder>,
    rate: u32,
    channels: usize,
    lengths: Lengths,
    /// One frame.
    samples: Vec<f32>,
    /// What was pulled and is not played yet, behind what was played last.
    ready: Vec<f32>,
    played: usize,
    /// Frames since the voice was stretched.
    rested: u32,
    /// What would have come instead, where what comes does not follow; and whether it is needed.
    instead: Vec<f32>,
    joins: bool,
    /// How loud the last sample is: less than 1 where a packet was made up for.
    gain: f32,
    /// Packets without a number of their own.
    appended: u32,
    /// What has come in and is no whole packet yet.
    rest: Duration,
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
    /// Samples per channel left out by playing faster.
    pub shortened: u64,
    /// Samples per channel added by playing slower.
    pub lengthened: u64,
}

/// Packets of a stream without numbers that are kept.
const PILE: usize = 25;
/// A voice that has to be a little faster or slower is stretched once in so long, and one that has to be much faster in so long.
const REST: Duration = Duration::from_millis(80);
const SHORT_REST: Duration = Duration::from_millis(20);
/// How soon a voice that was made up for is as loud as before.
const FADE: Duration = Duration::from_millis(5);

impl Speaker {
    /// For packets of `frame` each, at 48 kHz, to be heard on 1 or 2 channels.
    ///
    /// # Errors
    /// The codec's own, and another number of channels.
    pub fn new(frame: Duration, channels: u16) -> Result<Self, Error> {
        Ok(Self::with_decoder(frame, channels, voice_decoder(channels)?))
    }

    /// The same, with a decoder of the caller's.
    pub fn with_decoder(frame: Duration, channels: u16, decoder: Box<dyn VoiceDecoder>) -> Self {
        let samples = usize::try_from(frame.as_micros() * u128::from(OPUS_RATE) / 1_000_000);
        Self::at_rate(OPUS_RATE, samples.unwrap_or(0), channels, decoder)
    }

    /// The same at any rate, for packets of `samples` per channel.
    pub(crate) fn at_rate(rate: u32, samples: usize, channels: u16, decoder: Box<dyn VoiceDecoder>) -> Self {
        let (rate, samples, channels) = (rate.max(1), samples.max(1), usize::from(channels.max(1)));
        let lengths = Lengths::new(rate);
        let frame = Duration::from_secs_f64(samples as f64 / f64::from(rate));
        let samples = samples * channels;
        Self {
            buffer: JitterBuffer::for_frame(frame),
            decoder,
            rate,
            channels,
            lengths,
            samples: vec![0.0; samples],
            instead: vec![0.0; samples],
            joins: false,
            // Two frames, what a period needs beyond them, and what it adds.
            ready: Vec::with_capacity(3 * samples + 2 * lengths.needed() * channels),
            played: 0,
            rested: 0,
            gain: 1.0,
            appended: 0,
            rest: Duration::ZERO,
            stats: SpeakerFigures::default(),
        }
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

    /// One of the packets of a message has come in behind all others; they are `bulk` frames.
    pub(crate) fn append_part(&mut self, now: Duration, packet: &[u8], bulk: f32) {
        if self.appended == 0 {
            self.buffer.start();
        }
        self.buffer.set_bulk(bulk);
        self.buffer.put(now, self.appended, packet, false);
        self.appended = self.appended.wrapping_add(1);
    }

    /// All of a message has come in, behind whose last packet there is so much of a frame.
    pub(crate) fn appended(&mut self, now: Duration, rest: Duration) {
        let frame = self.samples.len() as f64 / self.channels as f64 / f64::from(self.rate);
        self.rest = rest;
        self.buffer.observe(now, Duration::from_secs_f64(f64::from(self.appended) * frame) + rest);
    }

    /// Bytes that packets have room for, and samples.
    #[cfg(test)]
    pub(crate) fn room(&self) -> (usize, usize) {
        (self.buffer.room(), self.ready.capacity())
    }

    /// Whether nothing is played, and nothing is in store.
    pub(crate) fn is_idle(&self) -> bool {
        self.buffer.is_idle() && self.ready.len() <= self.played
    }

    /// How long what comes in now has to wait for its turn: what is in store, of packets and of samples.
    pub fn waiting(&self) -> Duration {
        let ahead = (self.ready.len() - self.played) / self.channels;
        self.buffer.stats().stored + Duration::from_secs_f64(ahead as f64 / f64::from(self.rate))
    }

    /// Samples of one frame, of all channels.
    pub fn frame_samples(&self) -> usize {
        self.samples.len()
    }

    /// A packet has come in; `sequence` counts the frames of the speech, which this one starts or ends.
    pub fn insert(&mut self, now: Duration, sequence: u32, packet: &[u8], start: bool, end: bool) {
        if start {
            // What was made up for before has become silent: a new speech is heard from its first sample on.
            if self.is_idle() {
                self.gain = 1.0;
            }
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
        self.ready.drain(..self.played);
        self.played = 0;
        let frame = self.samples.len();
        let ahead = (self.ready.len() / self.channels) as f64 / f64::from(self.rate);
        let pace = self.buffer.pace(now, Duration::from_secs_f64(ahead) + self.rest);
        let rest = if pace == Pace::MuchFaster { SHORT_REST } else { REST };
        self.rested = self.rested.saturating_add(1);
        let length = frame as f64 / self.channels as f64 / f64::from(self.rate);
        let stretch = pace != Pace::Even && f64::from(self.rested) * length >= rest.as_secs_f64();
        // A period is looked for in more than a frame; where there is little in store, in as little as will do.
        let wanted = match pace {
            _ if !stretch => frame,
            Pace::Slower => frame.max(self.lengths.least() * self.channels),
            _ => frame.max(self.lengths.needed() * self.channels),
        };
        while self.ready.len() < wanted {
            // What has not come in yet is not made up for before its turn.
            if self.ready.len() >= frame && !self.buffer.is_ready() {
                break;
            }
            if !self.pull(now) {
                if self.ready.is_empty() {
                    return None;
                }
                break;
            }
        }
        if stretch {
            self.stretch(pace);
        }
        while self.ready.len() < frame {
            if !self.pull(now) {
                // The end of a speech.
                self.ready.resize(frame, 0.0);
            }
        }
        self.played = frame;
        Some(&self.ready[..frame])
    }

    fn stretch(&mut self, pace: Pace) {
        let Self { buffer, ready, samples, stats, channels, lengths, .. } = self;
        let samples_of_frame = (samples.len() / *channels) as f32;
        match pace {
            Pace::Even => return,
            Pace::Slower => {
                let frames = lengths.lengthen(ready, *channels, 0.8);
                stats.lengthened += frames as u64;
                buffer.stretched(-(frames as f32) / samples_of_frame);
            }
            Pace::Faster | Pace::MuchFaster => {
                let alike = if pace == Pace::Faster { 0.8 } else { 0.5 };
                let frames = lengths.shorten(ready, *channels, alike);
                stats.shortened += frames as u64;
                buffer.stretched(frames as f32 / samples_of_frame);
            }
        }
        self.rested = 0;
    }

    /// Decodes one more frame; false if nobody speaks.
    fn pull(&mut self, now: Duration) -> bool {
        let Self { buffer, decoder, samples, instead, joins, ready, stats, rate, channels, .. } = self;
        // What was made up for and has become silent is as loud as before soon, but not at once.
        let fade = (f64::from(*rate) * FADE.as_secs_f64()) as usize * *channels;
        let before = core::mem::replace(&mut self.gain, 1.0);
        *joins |= buffer.take_join();
        let pulled = buffer.pull(now);
        let joined = *joins && matches!(pulled, Pull::Packet { .. } | Pull::Recover { .. });
        if joined && before > 0.0 {
            // The codec goes on as if a packet were lost, which is what has become of what was left out.
            conceal(&mut **decoder, instead);
        }
        match pulled {
            Pull::Silence => {
                *joins = false;
                self.gain = before;
                return false;
            }
            Pull::Packet { packet } => match decoder.decode(packet, samples) {
                Ok(got) => samples.iter_mut().skip(got).for_each(|sample| *sample = 0.0),
                Err(_) => {
                    stats.invalid += 1;
                    conceal(&mut **decoder, samples);
                }
            },
            Pull::Recover { next } => match decoder.recover(next, samples) {
                Ok(true) => stats.recovered += 1,
                Ok(false) => stats.concealed += 1,
                Err(_) => {
                    stats.concealed += 1;
                    conceal(&mut **decoder, samples);
                }
            },
            Pull::Conceal { gain } => {
                stats.concealed += 1;
                conceal(&mut **decoder, samples);
                self.gain = gain;
            }
        }
        if self.gain < 1.0 {
            ramp(samples, [before, self.gain]);
        } else if joined && before > 0.0 {
            let fade = fade.min(samples.len());
            ramp(&mut samples[..fade], [0.0, 1.0]);
            ramp(&mut instead[..fade], [before, 0.0]);
            samples.iter_mut().zip(&instead[..fade]).for_each(|(sample, instead)| *sample += instead);
        } else if before < 1.0 {
            let fade = fade.min(samples.len());
            ramp(&mut samples[..fade], [before, 1.0]);
        }
        *joins &= !joined;
        ready.extend_from_slice(samples);
        true
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

fn conceal(decoder: &mut dyn VoiceDecoder, samples: &mut [f32]) {
    if decoder.conceal(samples).is_err() {
        samples.fill(0.0);
    }
}

/// At first as loud as the first of `gains` and in the end as the second.
fn ramp(samples: &mut [f32], [mut gain, end]: [f32; 2]) {
    let step = (end - gain) / samples.len().max(1) as f32;
    for sample in samples {
        gain += step;
        *sample *= gain;
    }
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

    /// Speech through Opus and a network that loses one packet in `loses`, if any, and delays each by `delay` and up to `jitter`
    /// milliseconds: what was said, what the codec alone makes of it, what is heard, and what became of it.
    fn carried(
        settings: VoiceSettings,
        loses: Option<u64>,
        delay: u64,
        jitter: u64,
        seed: u64,
    ) -> (Clip, Clip, Clip, SpeakerFigures) {
        let speech = resample(&read(SPEECH).unwrap().clip.mono(), OPUS_RATE).unwrap();
        let (mut encoder, mut decoder) =
            (voice_encoder(settings).unwrap(), voice_decoder(settings.channels).unwrap());
        let mut random = seed;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 33
        };
        let frame = settings.frame.as_millis() as u64;
        let channels = usize::from(settings.channels);
        let (mut arrivals, mut codec) = (Vec::new(), Clip::empty(OPUS_RATE, settings.channels));
        let mut samples = vec![0.0; settings.samples() * channels];
        let chunks = speech.samples.chunks(settings.samples());
        let count = chunks.len() as u64;
        for (n, chunk) in (0..).zip(chunks) {
            samples.fill(0.0);
            for (to, from) in samples.chunks_exact_mut(channels).zip(chunk) {
                to.fill(*from as f32);
            }
            let mut packet = Vec::new();
            encoder.encode(&samples, &mut packet).unwrap();
            decoder.decode(&packet, &mut samples).unwrap();
            codec.samples.extend(samples.iter().map(|sample| f64::from(*sample)));
            if loses.is_none_or(|loses| !next().is_multiple_of(loses)) {
                arrivals.push((u64::from(n) * frame + delay + next() % (jitter + 1), n, packet));
            }
        }
        arrivals.sort();
        let mut arrivals = arrivals.into_iter().peekable();
        let mut speaker = Speaker::new(settings.frame, settings.channels).unwrap();
        let (mut heard, mut started) = (Clip::empty(OPUS_RATE, settings.channels), false);
        for now in (0..count * frame + 600).step_by(frame as usize) {
            while let Some((at, n, packet)) = arrivals.next_if(|(at, ..)| *at <= now) {
                speaker.insert(Duration::from_millis(at), n, &packet, !started, u64::from(n) == count - 1);
                started = true;
            }
            match speaker.render(Duration::from_millis(now)) {
                Some(samples) => heard.samples.extend(samples.iter().map(|sample| f64::from(*sample))),
                None => heard.samples.extend(core::iter::repeat_n(0.0, samples.len())),
            }
        }
        let figures = speaker.figures();
        assert_eq!((figures.invalid, figures.jitter.overflow), (0, 0), "{figures:?}");
        (speech, codec.mono(), heard.mono(), figures)
    }

    /// F-57, C-14: without loss every frame is heard, from the first word to the last, and nothing but the codec changes it; the first
    /// one within a frame of the delay aimed at.
    #[test]
    fn c_14_without_loss_only_the_codec_is_heard() {
        let stereo =
            VoiceSettings { channels: 2, bitrate: 96_000, expected_loss: 0, ..VoiceSettings::DEFAULT };
        for usual in [VoiceSettings::DEFAULT, stereo] {
            for (frame, delay, jitter) in
                [(10, 0, 0), (10, 7, 10), (20, 0, 0), (20, 13, 10), (40, 0, 20), (60, 7, 0)]
            {
                let settings = VoiceSettings { frame: Duration::from_millis(frame), ..usual };
                let (speech, codec, heard, figures) = carried(settings, None, delay, jitter, 7);
                let alone = compare(&speech, &codec).unwrap();
                let found = compare(&codec, &heard).unwrap();
                let about = format!("{settings:?}, {delay} ms + {jitter}: {found:?} {figures:?}");
                assert_eq!((found.present, found.missing), (1.0, 0), "{about}");
                let snr = compare(&speech, &heard).unwrap().snr_db;
                assert!(snr > alone.snr_db - 0.5, "{about}: {snr} dB of {}", alone.snr_db);
                // It began with the round that was nearest to the delay aimed at.
                let began = Duration::from_secs_f64(found.offset as f64 / 48_000.0);
                let since = began - Duration::from_millis(delay);
                let target = figures.jitter.target;
                assert!(
                    since + settings.frame > target && since < target + settings.frame * 5 / 4,
                    "{about}: {since:?}"
                );
            }
        }
    }

    /// F-57, C-14, D-18: with 5 % loss 95 % of the frames are heard, at any jitter that is tested.
    #[test]
    fn c_14_with_five_percent_loss_nearly_all_is_heard() {
        for seed in 1..=4 {
            for (frame, jitter) in [(20, 0), (20, 30), (10, 10)] {
                let settings =
                    VoiceSettings { frame: Duration::from_millis(frame), ..VoiceSettings::DEFAULT };
                let (_, codec, heard, figures) = carried(settings, Some(20), 0, jitter, seed);
                let found = compare(&codec, &heard).unwrap();
                assert!(found.present >= 0.95, "{seed}, {frame} ms, {jitter}: {found:?} {figures:?}");
                assert!(figures.recovered > 5, "{figures:?}");
            }
        }
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
        assert!(jitter.played > 190 && jitter.lost == 0, "{jitter:?}");
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

    /// A voice whose packets say which of its frames they are: a tone without an end, so that what is heard says when it was spoken.
    struct Counted {
        last: u32,
    }

    const HZ: f64 = 217.0;

    fn frame_of(number: u32, samples: &mut [f32]) {
        for (at, sample) in samples.iter_mut().enumerate() {
            let time = f64::from(number) * 960.0 + at as f64;
            *sample = ((time / 48_000.0 * HZ * core::f64::consts::TAU).sin() * 0.5) as f32;
        }
    }

    impl VoiceDecoder for Counted {
        fn decode(&mut self, packet: &[u8], samples: &mut [f32]) -> Result<usize, Error> {
            self.last = u32::from_le_bytes(packet.try_into().map_err(Error::codec)?);
            frame_of(self.last, samples);
            Ok(samples.len())
        }

        fn recover(&mut self, _: &[u8], samples: &mut [f32]) -> Result<bool, Error> {
            self.conceal(samples).map(|()| false)
        }

        fn conceal(&mut self, samples: &mut [f32]) -> Result<(), Error> {
            self.last = self.last.wrapping_add(1);
            frame_of(self.last, samples);
            Ok(())
        }
    }

    /// What a listener has, as time goes by: how long after it was spoken the newest of each frame is heard, and the largest step
    /// between two samples.
    struct Heard {
        delays: Vec<f64>,
        steepest: f32,
        figures: SpeakerFigures,
    }

    /// Hears a voice for `seconds`, spoken by a clock that is `ppm` faster, whose packets come after `delay` of when they were
    /// spoken, in seconds; nothing is heard before `away` or rendered until its end.
    fn hear(seconds: f64, ppm: f64, delay: impl Fn(f64) -> f64, away: core::ops::Range<f64>) -> Heard {
        let frame = Duration::from_millis(20);
        let mut speaker = Speaker::with_decoder(frame, 1, Box::new(Counted { last: 0 }));
        let spoken = |number: u32| f64::from(number) * 0.02 / (1.0 + ppm / 1e6);
        let (mut sent, mut delays, mut steepest, mut before) = (0_u32, Vec::new(), 0.0_f32, 0.0);
        // A stream, as TCP carries it: what comes later waits for what was sent before.
        let mut stream = 0.0_f64;
        let rounds = (seconds / 0.02) as u32;
        for round in 0..rounds {
            let now = f64::from(round) * 0.02;
            loop {
                let arrival = stream.max(spoken(sent) + delay(spoken(sent)));
                if arrival > now {
                    break;
                }
                stream = arrival;
                let start = sent == 0;
                speaker.insert(Duration::from_secs_f64(arrival), sent, &sent.to_le_bytes(), start, false);
                sent += 1;
            }
            // A listener that stands still renders all of it afterwards, as a sound card asks for.
            if away.contains(&now) {
                continue;
            }
            let heard = speaker.render(Duration::from_secs_f64(now));
            let is_heard = heard.is_some();
            for sample in heard.unwrap_or(&[0.0; 960]) {
                steepest = steepest.max((sample - before).abs());
                before = *sample;
            }
            if !is_heard {
                continue;
            }
            let stats = speaker.figures().jitter;
            let ahead = (speaker.ready.len() - speaker.played) as f64 / 48_000.0;
            // From the frame that is decoded next backwards.
            let next = f64::from(sent) * 0.02 - stats.stored.as_secs_f64() - ahead;
            delays.push(now - next / (1.0 + ppm / 1e6));
        }
        Heard { delays, steepest, figures: speaker.figures() }
    }

    /// A sine's own steepest step, and -40 dB of full scale: a louder one is a click.
    const NO_CLICK: f32 = 0.5 * (HZ as f32 / 48_000.0) * core::f32::consts::TAU + 0.01;

    /// F-53: after a stall of the network or of the listener, of any length, the delay is back within two seconds, and nothing clicks.
    #[test]
    fn the_delay_is_back_within_two_seconds_of_any_stall() {
        for stall in [0.2, 0.5, 1.0, 1.5, 3.0, 5.0] {
            // Of the network, as TCP has it.
            let network = |spoken: f64| {
                if (10.0..10.0 + stall).contains(&spoken) { 10.0 + stall - spoken } else { 0.0 }
            };
            for (name, heard) in [
                ("network", hear(10.0 + stall + 8.0, 0.0, network, 0.0..0.0)),
                ("listener", hear(10.0 + stall + 8.0, 0.0, |_| 0.0, 10.0..10.0 + stall)),
            ] {
                let usual = heard.delays[400];
                let end = heard.delays.len();
                let after = &heard.delays[end - 300..];
                let worst = after.iter().copied().fold(0.0, f64::max);
                assert!(usual < 0.07, "{name}: {usual}");
                assert!(worst < usual + 0.06, "{name}, {stall} s: {worst} s, {usual} before");
                // Also where it breaks off, begins again, and something is left out.
                assert!(heard.steepest < NO_CLICK, "{name}, {stall} s: {} of {NO_CLICK}", heard.steepest);
            }
        }
    }

    /// F-53: clocks that run 500 millionths apart are followed for hours, without a lost frame or a click.
    #[test]
    fn clocks_that_run_apart_are_followed_for_hours() {
        let seconds = if cfg!(debug_assertions) { 1800.0 } else { 7200.0 };
        for ppm in [-500.0, -200.0, 200.0, 500.0] {
            let heard = hear(seconds, ppm, |_| 0.0, 0.0..0.0);
            let jitter = heard.figures.jitter;
            let most = heard.delays.iter().copied().fold(0.0, f64::max);
            assert!(most < 0.12, "{ppm}: {most} {jitter:?}");
            assert_eq!(
                (jitter.lost, jitter.overflow, jitter.late, jitter.starved),
                (0, 0, 0, 0),
                "{ppm}: {jitter:?}"
            );
            assert!(heard.steepest < NO_CLICK, "{ppm}: {} of {NO_CLICK}", heard.steepest);
            let moved = heard.figures.shortened as f64 - heard.figures.lengthened as f64;
            let drift = seconds * ppm / 1e6 * 48_000.0;
            assert!((moved - drift).abs() < 2400.0, "{ppm}: {moved} for {drift}");
        }
    }
}
