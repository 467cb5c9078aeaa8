//! One remote voice: packets in, samples out, at the pace of the listener.

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
    /// What was pulled and is not played yet, behind what was played last: a period of that, at least, which may be repeated.
    ready: Vec<f32>,
    played: usize,
    /// Samples of a channel that were played since the voice was stretched.
    since_stretch: usize,
    /// The same since it has to be, without success.
    without_match: usize,
    /// What would have come instead, where what comes does not follow; and whether it is needed.
    instead: Vec<f32>,
    joins: bool,
    /// How loud the last sample is: less than 1 where a packet was made up for.
    gain: f32,
    /// Packets without a number of their own.
    appended: u32,
    /// Samples of a channel that were made up.
    concealed: u64,
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
    /// Frames' lengths made up from what was heard before.
    pub concealed: u64,
    /// Packets that are not Opus.
    pub invalid: u64,
    /// Samples per channel left out by playing faster.
    pub shortened: u64,
    /// Samples per channel added by playing slower.
    pub lengthened: u64,
}

/// Packets of a stream without numbers that are kept.
const MAX_UNNUMBERED: usize = 25;
/// A voice that has to be a little faster or slower is stretched once in so long, and one that has to be much faster in so long.
const STRETCH_INTERVAL: Duration = Duration::from_millis(80);
const FAST_STRETCH_INTERVAL: Duration = Duration::from_millis(20);
/// For so long what repeats itself well is waited for.
const MATCH_TIMEOUT: Duration = Duration::from_millis(500);
/// What is made up for while nobody can tell whether its packet is lost is a multiple of this: codecs want that.
const PART: Duration = Duration::from_micros(2500);
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
            // Two frames, what a period needs beyond them, what it adds, and what may be repeated.
            ready: Vec::with_capacity(3 * samples + 3 * lengths.needed() * channels),
            played: 0,
            since_stretch: 0,
            without_match: 0,
            gain: 1.0,
            appended: 0,
            concealed: 0,
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
        self.buffer.truncate_to(MAX_UNNUMBERED);
        self.buffer.insert(now, self.appended, packet, false);
        self.appended = self.appended.wrapping_add(1);
    }

    /// One of the packets of a message has come in behind all others; they are `bulk` frames.
    pub(crate) fn append_part(&mut self, packet: &[u8], bulk: f32) {
        if self.appended == 0 {
            self.buffer.start();
        }
        self.buffer.set_bulk(bulk);
        self.buffer.put(self.appended, packet, false);
        self.appended = self.appended.wrapping_add(1);
    }

    /// All of a message has come in, behind whose last packet there is such a part of a frame.
    pub(crate) fn appended(&mut self, now: Duration, rest: f64) {
        self.buffer.observe(now, f64::from(self.appended) + rest);
    }

    /// Bytes that packets have room for, and samples.
    #[cfg(test)]
    pub(crate) fn room(&self) -> (usize, usize) {
        (self.buffer.room(), self.ready.capacity())
    }

    /// Whether nothing is played, and nothing is in store.
    pub fn is_idle(&self) -> bool {
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

    /// The speech has ended without a last packet: what is in store is played, and fades at its end.
    pub fn stop(&mut self) {
        self.buffer.stop();
    }

    /// The next frame, to be mixed; `None` while nobody speaks. To be called once for each frame's length.
    pub fn render(&mut self, now: Duration) -> Option<&[f32]> {
        self.render_samples(now, self.samples.len())
    }

    /// So many of the next samples, of all channels, to be mixed; `None` while nobody speaks. To be called once for their length, which may
    /// be less than a frame's: the shorter it is, the sooner a voice is heard. 10 ms are usual.
    pub fn render_samples(&mut self, now: Duration, samples: usize) -> Option<&[f32]> {
        let count = samples - samples % self.channels;
        let kept = self.lengths.longest() * self.channels;
        self.ready.drain(..self.played.saturating_sub(kept));
        self.played = self.played.min(kept);
        let (rate, channels) = (f64::from(self.rate), self.channels);
        let length = |samples: usize| Duration::from_secs_f64((samples / channels) as f64 / rate);
        let pace = self.buffer.pace(now, length(self.ready.len() - self.played), length(count));
        let rest = if pace == Pace::MuchFaster { FAST_STRETCH_INTERVAL } else { STRETCH_INTERVAL };
        self.since_stretch = self.since_stretch.saturating_add(count);
        let stretch = pace != Pace::Even && length(self.since_stretch) >= rest;
        // A period to be left out is looked for in more than is played at once.
        let wanted = match pace {
            _ if !stretch => count,
            Pace::Slower => count.max(self.lengths.compared() * self.channels),
            _ => count.max(self.lengths.needed() * self.channels),
        };
        let start = self.played;
        while self.ready.len() - start < wanted {
            let left = self.ready.len() - start;
            // What has not come in yet is not made up for before its turn.
            if left >= count && !self.buffer.is_ready() {
                break;
            }
            if !self.pull(now, count.saturating_sub(left)) {
                if left == 0 {
                    self.ready.clear();
                    self.played = 0;
                    return None;
                }
                break;
            }
        }
        self.without_match = if stretch { self.without_match.saturating_add(count) } else { 0 };
        if stretch {
            // Where nothing repeats itself well, as in music, what does so best has to do in the end.
            let waited = length(self.without_match).as_secs_f32() / MATCH_TIMEOUT.as_secs_f32();
            let alike = if pace == Pace::MuchFaster { 0.5 } else { 0.8 - 0.3 * waited.min(1.0) };
            self.stretch(pace, alike);
        }
        while self.ready.len() - start < count {
            let left = self.ready.len() - start;
            if !self.pull(now, count - left) {
                // The end of a speech.
                self.ready.resize(start + count, 0.0);
            }
        }
        self.played = start + count;
        Some(&self.ready[start..self.played])
    }

    fn stretch(&mut self, pace: Pace, alike: f32) {
        let Self { ready, played, stats, channels, lengths, .. } = self;
        let moved = match pace {
            Pace::Even => return,
            Pace::Slower => {
                let frames = lengths.lengthen(ready, *played, *channels, alike);
                stats.lengthened += frames as u64;
                frames
            }
            Pace::Faster | Pace::MuchFaster => {
                let frames = lengths.shorten(ready, *played, *channels, alike);
                stats.shortened += frames as u64;
                frames
            }
        };
        // Where nothing repeats itself it may do so in a moment.
        if moved > 0 {
            (self.since_stretch, self.without_match) = (0, 0);
        }
    }

    /// Decodes one more frame, or makes up at least so many samples, if there is nothing to decode; false if nobody speaks.
    fn pull(&mut self, now: Duration, least: usize) -> bool {
        let Self { buffer, decoder, samples, instead, joins, ready, stats, rate, channels, .. } = self;
        let part = (f64::from(*rate) * PART.as_secs_f64()).ceil() as usize * *channels;
        let part = (least.max(1).div_ceil(part) * part).min(samples.len());
        // What was made up for and has become silent is as loud as before soon, but not at once.
        let fade = (f64::from(*rate) * FADE.as_secs_f64()) as usize * *channels;
        let before = core::mem::replace(&mut self.gain, 1.0);
        *joins |= buffer.take_join(now);
        let pulled = buffer.pull_part(now, part as f32 / samples.len() as f32);
        // Nothing in store, and nothing to go on with: as little as is needed.
        let samples = match pulled {
            Pull::Conceal { gain } if gain < 1.0 => &mut samples[..part],
            _ => &mut samples[..],
        };
        let made_up = (samples.len() / *channels) as u64;
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
            Pull::Conceal { gain } => self.gain = gain,
            Pull::Packet { .. } | Pull::Recover { .. } => {}
        }
        if decode(pulled, &mut **decoder, samples, stats) {
            self.concealed += made_up;
        }
        let fade = fade.min(samples.len());
        if self.gain < 1.0 {
            ramp(samples, [before, self.gain]);
        } else if joined && before > 0.0 {
            ramp(&mut samples[..fade], [0.0, 1.0]);
            ramp(&mut instead[..fade], [before, 0.0]);
            samples.iter_mut().zip(&instead[..fade]).for_each(|(sample, instead)| *sample += instead);
        } else if before < 1.0 {
            ramp(&mut samples[..fade], [before, 1.0]);
        }
        *joins &= !joined;
        ready.extend_from_slice(samples);
        true
    }

    /// What became of the frames so far.
    pub fn figures(&self) -> SpeakerFigures {
        let frame = (self.samples.len() / self.channels) as u64;
        let concealed = (self.concealed + frame / 2) / frame;
        SpeakerFigures { jitter: self.buffer.stats(), concealed, ..self.stats }
    }
}

impl core::fmt::Debug for Speaker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Speaker").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

/// Turns what was pulled into samples. Returns whether they are made up.
fn decode(
    pulled: Pull<'_>,
    decoder: &mut dyn VoiceDecoder,
    samples: &mut [f32],
    stats: &mut SpeakerFigures,
) -> bool {
    match pulled {
        Pull::Silence => return false,
        Pull::Packet { packet } => {
            match decoder.decode(packet, samples) {
                Ok(got) => samples.iter_mut().skip(got).for_each(|sample| *sample = 0.0),
                Err(_) => {
                    stats.invalid += 1;
                    conceal(decoder, samples);
                }
            }
            return false;
        }
        Pull::Recover { next } => match decoder.recover(next, samples) {
            Ok(true) => {
                stats.recovered += 1;
                return false;
            }
            Ok(false) => {}
            Err(_) => conceal(decoder, samples),
        },
        Pull::Conceal { .. } => conceal(decoder, samples),
    }
    true
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

#[cfg(test)]
mod tests {
    mod clock;
    mod network;
}
