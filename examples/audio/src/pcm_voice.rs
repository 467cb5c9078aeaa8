//! Voices that are no packets of a codec but samples, of any length: cut into frames, and played as all others are.

use crate::stretch::Lengths;
use crate::{Error, Speaker, SpeakerFigures, VoiceDecoder, limit, mix_into};
use core::time::Duration;
use std::collections::BTreeMap;

/// One remote voice: samples in whenever they come, samples out at the listener's pace.
///
/// What comes in is cut into frames of 10 ms, which a [`JitterBuffer`](crate::JitterBuffer) holds back: so it is played faster or
/// slower where that is needed, and left out where it is far too late. Without such a need, every sample is played as it came.
#[derive(Debug)]
pub struct PcmSpeaker {
    speaker: Speaker,
    /// The next frame, as far as it has come in: behind its number, little-endian.
    packet: Vec<u8>,
    number: u32,
    /// Samples of one frame, of all channels.
    frame: usize,
    /// Frames in the longest message since some time, and in the longest one of as long before: what a message has to be held back for.
    bulk: [f32; 2],
    since: Duration,
    /// When the last message came in.
    heard: Duration,
}

/// Bytes of a frame's number.
const HEAD: usize = size_of::<u32>();
const SAMPLE: usize = size_of::<f32>();
/// For so long nothing has followed that a frame may be played although it is not full.
const PATIENCE: Duration = Duration::from_millis(30);
/// For so long, and up to twice as long, a message counts for how long messages are: one that was longer than all others, as behind a
/// stall, makes nobody late for good. Longer than any message that counts in full.
const BULK: Duration = Duration::from_millis(2500);

impl PcmSpeaker {
    /// For samples at `rate`, interleaved.
    pub fn new(rate: u32, channels: u16) -> Self {
        let (rate, channels) = (rate.max(1), channels.max(1));
        let samples = rate.div_ceil(100) as usize;
        let frame = samples * usize::from(channels);
        let decoder = Splicer::new(rate, channels);
        let mut packet = Vec::with_capacity(HEAD + frame * SAMPLE);
        packet.extend([0; HEAD]);
        let speaker = Speaker::at_rate(rate, samples, channels, Box::new(decoder));
        Self {
            speaker,
            packet,
            number: 0,
            frame,
            bulk: [1.0, 0.0],
            since: Duration::ZERO,
            heard: Duration::ZERO,
        }
    }

    /// Samples of one frame, of all channels.
    pub const fn frame_samples(&self) -> usize {
        self.frame
    }

    /// A message has come in behind all others.
    pub fn append(&mut self, now: Duration, samples: impl ExactSizeIterator<Item = f32>) {
        if self.speaker.is_idle() {
            (self.bulk, self.since) = ([0.0; 2], now);
        }
        if now >= self.since + BULK {
            let before = if now < self.since + BULK * 2 { self.bulk[0] } else { 0.0 };
            (self.bulk, self.since) = ([0.0, before], now);
        }
        self.bulk[0] = self.bulk[0].max(samples.len() as f32 / self.frame as f32);
        self.heard = now;
        for sample in samples {
            self.packet.extend(sample.to_le_bytes());
            if self.packet.len() == HEAD + self.frame * SAMPLE {
                self.hand_on();
            }
        }
        self.speaker.appended(now, ((self.packet.len() - HEAD) / SAMPLE) as f64 / self.frame as f64);
    }

    fn hand_on(&mut self) {
        self.packet[..HEAD].copy_from_slice(&self.number.to_le_bytes());
        self.number = self.number.wrapping_add(1);
        self.speaker.append_part(&self.packet, self.bulk[0].max(self.bulk[1]));
        self.packet.truncate(HEAD);
    }

    /// The next frame, to be mixed; `None` while nothing is said. To be called once for each frame's length.
    pub fn render(&mut self, now: Duration) -> Option<&[f32]> {
        // The end of what was said is heard, too.
        if self.packet.len() > HEAD && now >= self.heard + PATIENCE && self.speaker.waiting().is_zero() {
            self.hand_on();
            self.speaker.appended(now, 0.0);
        }
        self.speaker.render(now)
    }

    /// Whether all that has come in is played.
    pub fn is_idle(&self) -> bool {
        self.packet.len() <= HEAD && self.speaker.is_idle()
    }

    /// How long what comes in now has to wait for its turn.
    pub fn waiting(&self) -> Duration {
        self.speaker.waiting()
    }

    /// What became of the frames so far.
    pub fn figures(&self) -> SpeakerFigures {
        self.speaker.figures()
    }
}

/// Takes samples out of their frames. Where one is missing the sound goes on as it did last, and turns into what follows.
struct Splicer {
    lengths: Lengths,
    channels: usize,
    /// The number of the frame to come; none has come yet, or what was heard last was made up.
    expected: Option<u32>,
    /// What was heard last.
    last: Vec<f32>,
    /// Samples of a splice, and what they would be without it.
    fade: usize,
    more: Vec<f32>,
}

impl Splicer {
    fn new(rate: u32, channels: u16) -> Self {
        let (lengths, channels) = (Lengths::new(rate), usize::from(channels));
        let fade = (rate as usize / 200).max(1) * channels;
        let last = vec![0.0; lengths.needed() * channels];
        Self { lengths, channels, expected: Some(0), last, fade, more: vec![0.0; fade] }
    }

    fn keep(&mut self, samples: &[f32]) {
        let new = samples.len().min(self.last.len());
        let kept = self.last.len() - new;
        self.last.copy_within(new.., 0);
        self.last[kept..].copy_from_slice(&samples[samples.len() - new..]);
    }
}

impl VoiceDecoder for Splicer {
    fn decode(&mut self, packet: &[u8], samples: &mut [f32]) -> Result<usize, Error> {
        let (number, bytes) =
            packet.split_first_chunk().ok_or_else(|| Error::Codec("a frame without a number".into()))?;
        let number = u32::from_le_bytes(*number);
        let got = (bytes.len() / SAMPLE).min(samples.len());
        for (to, from) in samples.iter_mut().zip(bytes.chunks_exact(SAMPLE)) {
            *to = from.try_into().map_or(0.0, f32::from_le_bytes);
        }
        if self.expected != Some(number) {
            let fade = self.fade.min(got);
            self.lengths.go_on(&self.last, self.channels, &mut self.more[..fade]);
            for (n, (sample, before)) in samples.iter_mut().zip(&self.more[..fade]).enumerate() {
                let share = (n / self.channels) as f32 / (fade / self.channels) as f32;
                *sample = before + (*sample - before) * share;
            }
        }
        self.keep(&samples[..got]);
        self.expected = Some(number.wrapping_add(1));
        if got < samples.len() {
            // The end of what was said, for now.
            self.conceal(&mut samples[got..])?;
        }
        Ok(samples.len())
    }

    fn recover(&mut self, _: &[u8], samples: &mut [f32]) -> Result<bool, Error> {
        self.conceal(samples).map(|()| false)
    }

    fn conceal(&mut self, samples: &mut [f32]) -> Result<(), Error> {
        self.lengths.go_on(&self.last, self.channels, samples);
        self.keep(samples);
        self.expected = None;
        Ok(())
    }
}

/// Several voices, played as one: as many as want to, each at its own pace.
#[derive(Debug)]
pub struct PcmMixer {
    rate: u32,
    channels: u16,
    voices: BTreeMap<Vec<u8>, PcmSpeaker>,
    mix: Vec<f32>,
}

/// Voices that are played at once: more are not heard until one of them has been silent for [`SILENT`].
const VOICES: usize = 64;
/// After so long a voice that says nothing is forgotten, if there are too many.
const SILENT: Duration = Duration::from_secs(2);

impl PcmMixer {
    /// For samples at `rate`, interleaved.
    pub fn new(rate: u32, channels: u16) -> Self {
        let frame = PcmSpeaker::new(rate, channels).frame_samples();
        Self { rate, channels, voices: BTreeMap::new(), mix: vec![0.0; frame] }
    }

    /// Samples of one frame, of all channels: 10 ms.
    pub const fn frame_samples(&self) -> usize {
        self.mix.len()
    }

    /// Whether all that has come in is played.
    pub fn is_idle(&self) -> bool {
        self.voices.values().all(PcmSpeaker::is_idle)
    }

    /// A message of somebody's has come in. False if there are 64 others who speak: it is not heard.
    pub fn hear(&mut self, now: Duration, who: &[u8], samples: impl ExactSizeIterator<Item = f32>) -> bool {
        if let Some(voice) = self.voices.get_mut(who) {
            voice.append(now, samples);
            return true;
        }
        if self.voices.len() >= VOICES {
            self.voices.retain(|_, voice| !voice.speaker.is_idle() || voice.heard + SILENT > now);
        }
        if self.voices.len() >= VOICES {
            return false;
        }
        let mut voice = PcmSpeaker::new(self.rate, self.channels);
        voice.append(now, samples);
        self.voices.insert(who.into(), voice);
        true
    }

    /// The next frame of all voices together, within -1 to 1: silence, if nobody says anything. To be called once for each frame's
    /// length.
    pub fn render(&mut self, now: Duration) -> &[f32] {
        self.mix.fill(0.0);
        let mut voices = 0;
        for voice in self.voices.values_mut() {
            if let Some(samples) = voice.render(now) {
                mix_into(&mut self.mix, samples, [1.0; 2]);
                voices += 1;
            }
        }
        // One alone is played as it came.
        if voices > 1 {
            limit(&mut self.mix);
        }
        &self.mix
    }

    /// The voices, and who they are.
    pub fn voices(&self) -> impl Iterator<Item = (&[u8], &PcmSpeaker)> {
        self.voices.iter().map(|(who, voice)| (&**who, voice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clip, SPEECH, compare, read, resample};

    /// Somebody who speaks for `seconds`, and a listener.
    struct Call<'a> {
        rate: u32,
        seconds: f64,
        /// How much faster the speaker's clock is, in millionths.
        ppm: f64,
        /// Samples of a message.
        message: usize,
        /// How long after it was spoken a message comes in, in seconds.
        delay: &'a dyn Fn(f64) -> f64,
        /// The listener stands still.
        away: core::ops::Range<f64>,
        /// What is said, by its samples.
        said: &'a dyn Fn(u64) -> f32,
    }

    #[derive(Default)]
    struct Heard {
        samples: Vec<f32>,
        /// How long after it was spoken the newest sample is heard, in each round.
        delays: Vec<f64>,
        steepest: f32,
        /// What the voice has room for, once a tenth of the time has gone by, and in the end.
        room: [(usize, usize); 2],
        figures: Option<SpeakerFigures>,
    }

    fn call(Call { rate, seconds, ppm, message, delay, away, said }: Call<'_>, keep: bool) -> Heard {
        let mut mixer = PcmMixer::new(rate, 1);
        let (clock, frame) = (f64::from(rate) * (1.0 + ppm / 1e6), mixer.frame_samples());
        let (mut heard, mut sent, mut stream, mut before) = (Heard::default(), 0_u64, 0.0_f64, None::<f32>);
        let round = frame as f64 / f64::from(rate);
        for now in (0..(seconds / round) as u64).map(|n| n as f64 * round) {
            loop {
                // A message is on its way once its last sample has been spoken; on a stream what comes later waits.
                let spoken = (sent + message as u64) as f64 / clock;
                let arrival = stream.max(spoken + delay(spoken));
                if arrival > now {
                    break;
                }
                stream = arrival;
                let samples = (0..message).map(|n| said(sent + n as u64));
                // A listener who stood still has it when he goes on.
                let at = if away.contains(&arrival) { away.end } else { arrival };
                assert!(mixer.hear(Duration::from_secs_f64(at), b"ann", samples));
                sent += message as u64;
            }
            if away.contains(&now) {
                continue;
            }
            if now < seconds / 10.0 {
                heard.room[0] =
                    mixer.voices().next().map(|(_, voice)| voice.speaker.room()).unwrap_or_default();
            }
            let samples = mixer.render(Duration::from_secs_f64(now));
            for &sample in samples {
                if let Some(before) = before.replace(sample) {
                    heard.steepest = heard.steepest.max((sample - before).abs());
                }
            }
            if keep {
                heard.samples.extend_from_slice(samples);
            }
            let Some((_, voice)) = mixer.voices().next() else {
                heard.delays.push(0.0);
                continue;
            };
            let left = voice.waiting().as_secs_f64()
                + ((voice.packet.len() - HEAD) / SAMPLE) as f64 / f64::from(rate);
            heard.delays.push(now - (sent as f64 - left * f64::from(rate)) / clock);
        }
        heard.room[1] = mixer.voices().next().map(|(_, voice)| voice.speaker.room()).unwrap_or_default();
        heard.figures = mixer.voices().next().map(|(_, voice)| voice.figures());
        heard
    }

    const HZ: f64 = 217.0;

    fn tone(rate: u32) -> impl Fn(u64) -> f32 {
        move |n| ((n as f64 / f64::from(rate) * HZ * core::f64::consts::TAU).sin() * 0.5) as f32
    }

    fn speech(rate: u32) -> Clip {
        resample(&read(SPEECH).unwrap().clip.mono(), rate).unwrap()
    }

    /// A sine's own steepest step, and -40 dB of full scale: a louder one is a click.
    fn no_click(rate: u32) -> f32 {
        0.5 * (HZ as f32 / rate as f32) * core::f32::consts::TAU + 0.01
    }

    /// C-14: without loss every sample is heard as it was said, from the first to the last, for messages of any length; and the
    /// first within a frame of the delay aimed at.
    #[test]
    fn messages_of_any_length_are_heard_sample_by_sample() {
        for rate in [8000, 11_025, 44_100, 96_000] {
            for message in [1, 7, 80, 441, 882, 1000, 4096, rate as usize] {
                let end = u64::from(rate) * 3;
                let said = |n: u64| if n < end { (n % 30_000 + 1) as f32 / 32_768.0 } else { 0.0 };
                let call = Call {
                    rate,
                    seconds: 5.0,
                    ppm: 0.0,
                    message,
                    delay: &|_| 0.0,
                    away: 0.0..0.0,
                    said: &said,
                };
                let heard = call_kept(call);
                let start = heard.samples.iter().position(|sample| *sample != 0.0).unwrap();
                let exact = (0..end).all(|n| heard.samples[start + n as usize] == said(n));
                assert!(exact, "{rate} Hz, {message}: {:?}", heard.figures);
                // The first message, a frame and a quarter, and two frames: of a round, and of where messages end within them.
                let began = start as f64 / f64::from(rate);
                let expected = message as f64 / f64::from(rate) + 0.0125;
                assert!(
                    began >= expected - 0.0025 && began < expected + 0.023,
                    "{rate} Hz, {message}: {began}"
                );
            }
        }
    }

    fn call_kept(parameters: Call<'_>) -> Heard {
        call(parameters, true)
    }

    /// F-53: after a stall of the network or of the listener, of any length, the delay is back within two seconds, and nothing clicks.
    #[test]
    fn the_delay_is_back_within_two_seconds_of_any_stall() {
        for (rate, message) in [(44_100, 441), (44_100, 4410), (16_000, 320)] {
            let (tone, clip) = (tone(rate), speech(rate));
            let speech = |n: u64| clip.samples[n as usize % clip.samples.len()] as f32;
            // All of them where messages are short; where they are long, the shortest and the longest.
            let all = if message == 441 { &[0.2, 0.5, 1.0, 1.5, 3.0, 5.0][..] } else { &[0.2, 5.0] };
            for &stall in all {
                let network = |spoken: f64| {
                    if (10.0..10.0 + stall).contains(&spoken) { 10.0 + stall - spoken } else { 0.0 }
                };
                let never = |_: f64| 0.0;
                for (what, delay, away) in [
                    ("network", &network as &dyn Fn(f64) -> f64, 0.0..0.0),
                    ("listener", &never, 10.0..10.0 + stall),
                ] {
                    for (sound, said) in [("tone", &tone as &dyn Fn(u64) -> f32), ("speech", &speech)] {
                        let about = format!("{what}, {sound}, {stall} s, {rate} Hz, {message}");
                        let seconds = 10.0 + stall + 4.0;
                        let heard = call(
                            Call { rate, seconds, ppm: 0.0, message, delay, away: away.clone(), said },
                            true,
                        );
                        let usual = heard.delays[800];
                        let after = &heard.delays[heard.delays.len() - 200..];
                        let worst = after.iter().copied().fold(0.0, f64::max);
                        let length = message as f64 / f64::from(rate);
                        assert!(usual < 0.06 + length, "{about}: {usual}");
                        assert!(
                            worst < usual + 0.02 + length,
                            "{about}: {worst} s, {usual} before: {:?}",
                            heard.figures
                        );
                        if sound == "tone" {
                            assert!(
                                heard.steepest < no_click(rate),
                                "{about}: {} {:?}",
                                heard.steepest,
                                heard.figures
                            );
                            continue;
                        }
                        // What is heard says the same: the last second is as late as the counters have it.
                        let end = (seconds * f64::from(rate)) as u64;
                        let last: Vec<f64> = (end - u64::from(rate) * 2..end - u64::from(rate))
                            .map(|n| f64::from(speech(n)))
                            .collect();
                        let last = Clip { rate, channels: 1, samples: last };
                        let tail = heard.samples.len() - 4 * rate as usize;
                        let tail = heard.samples[tail..].iter().map(|sample| f64::from(*sample)).collect();
                        let found = compare(&last, &Clip { rate, channels: 1, samples: tail }).unwrap();
                        let late = found.offset as f64 / f64::from(rate) - 2.0;
                        assert!(late > 0.0 && late < 0.12 + length, "{about}: {late} {found:?}");
                    }
                }
            }
        }
    }

    /// F-53: one message of two seconds between short ones makes nobody two seconds late for good: within seconds the delay is what it was,
    /// and nothing but what it was too late by is left out.
    #[test]
    fn one_long_message_makes_nobody_late_for_good() {
        const RATE: u32 = 16_000;
        let said = speech(RATE);
        let mut speaker = PcmSpeaker::new(RATE, 1);
        let mut sent = 0_usize;
        let mut delays = Vec::new();
        let mut before = None;
        for round in 0..3000_u64 {
            let now = Duration::from_millis(10 * round);
            // From 10 s to 12 s nothing comes, and then all of it at once.
            let spoken = match round {
                1000..1200 => 160_000,
                round => round as usize * 160,
            };
            let message = (spoken - sent) as u64;
            if message >= 320 {
                let samples = (sent..spoken).map(|n| said.samples[n % said.samples.len()] as f32);
                speaker.append(now, samples);
                sent = spoken;
            }
            speaker.render(now);
            let left =
                speaker.waiting().as_secs_f64() + ((speaker.packet.len() - HEAD) / SAMPLE) as f64 / 16_000.0;
            delays.push(now.as_secs_f64() - sent as f64 / 16_000.0 + left);
            if round == 1201 {
                before = Some(speaker.figures());
            }
        }
        let most = |from: usize| delays[from..].iter().copied().fold(0.0, f64::max);
        let usual = delays[500..1000].iter().copied().fold(0.0, f64::max);
        let (figures, before) = (speaker.figures(), before.unwrap());
        assert!(usual < 0.08, "{usual}");
        assert!(most(1200) > 1.0, "it is heard as a whole: {}", most(1200));
        assert!(most(1800) < usual + 0.02, "{} s, {usual} s before: {figures:?}", most(1800));
        assert_eq!(figures.concealed, before.concealed, "{figures:?}, {before:?}");
        assert!(figures.jitter.overflow <= 200, "{figures:?}");
    }

    /// F-53: clocks that run 500 millionths apart are followed for hours, without a lost frame or a click; once warm, nothing is allocated.
    #[test]
    fn clocks_that_run_apart_are_followed_for_hours() {
        let seconds = if cfg!(debug_assertions) { 600.0 } else { 7200.0 };
        for (rate, message) in [(44_100, 441), (16_000, 320)] {
            for ppm in [-500.0, 500.0] {
                let said = tone(rate);
                let parameters =
                    Call { rate, seconds, ppm, message, delay: &|_| 0.0, away: 0.0..0.0, said: &said };
                let heard = call(parameters, false);
                let figures = heard.figures.unwrap();
                let jitter = figures.jitter;
                let most = heard.delays.iter().copied().fold(0.0, f64::max);
                let about = format!("{rate} Hz, {message}, {ppm}: {most} {figures:?}");
                assert!(most < 0.12, "{about}");
                assert_eq!(heard.room[0], heard.room[1], "{about}");
                assert_eq!(
                    (jitter.lost, jitter.overflow, jitter.late, jitter.underruns),
                    (0, 0, 0, 0),
                    "{about}"
                );
                assert!(heard.steepest < no_click(rate), "{about}: {}", heard.steepest);
                let moved = figures.shortened as f64 - figures.lengthened as f64;
                let drift = seconds * ppm / 1e6 * f64::from(rate);
                assert!((moved - drift).abs() < 0.05 * f64::from(rate), "{about}: {moved} for {drift}");
            }
        }
    }

    /// F-53: memory has the documented bound for any number of speakers and any messages.
    #[test]
    fn nobody_fills_our_memory() {
        let mut mixer = PcmMixer::new(44_100, 1);
        for n in 0..200_u32 {
            let heard = mixer.hear(Duration::ZERO, &n.to_le_bytes(), core::iter::repeat_n(0.1, 44_100));
            assert_eq!(heard, n < 64, "{n}");
        }
        for _ in 0..100 {
            mixer.hear(Duration::ZERO, &0_u32.to_le_bytes(), core::iter::repeat_n(0.1, 441_000));
        }
        let most = mixer.voices().map(|(_, voice)| voice.waiting()).max().unwrap();
        assert!(most < Duration::from_secs(6), "{most:?}");
        // Those who are silent make room.
        for n in 0..1000 {
            mixer.render(Duration::from_millis(10 * n));
        }
        assert!(mixer.hear(Duration::from_secs(10), b"new", core::iter::repeat_n(0.1, 441)));
        assert_eq!(mixer.voices().count(), 1);
    }

    #[test]
    fn voices_are_mixed_and_two_channels_stay_apart() {
        let mut mixer = PcmMixer::new(48_000, 2);
        let mut heard = Vec::new();
        for n in 0..50 {
            let now = Duration::from_millis(10 * n);
            let stereo = |left: f32, right: f32| (0..960).map(move |n| if n % 2 == 0 { left } else { right });
            mixer.hear(now, b"ann", stereo(0.25, 0.0));
            mixer.hear(now, b"bob", stereo(0.25, 0.125));
            heard.extend_from_slice(mixer.render(now));
        }
        let end = &heard[heard.len() - 960..];
        assert!(end.chunks_exact(2).all(|pair| *pair == [0.5, 0.125]), "{:?}", &end[..4]);
    }
}
