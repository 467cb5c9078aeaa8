use crate::{Clip, Error, MAX_SAMPLES};
use audioadapter_buffers::direct::InterleavedSlice;
use core::fmt;
use rubato::{
    Async, Fft, FixedAsync, FixedSync, Resampler, ResamplerConstructionError, SincInterpolationParameters,
    WindowFunction,
};
use std::collections::VecDeque;

/// The same sound at another rate. The length in frames is scaled and rounded up; the sound moves by half a frame of the lower rate at
/// most.
///
/// # Errors
/// A rate is 0, or more than [`MAX_SAMPLES`] samples would come out.
pub fn resample(clip: &Clip, rate: u32) -> Result<Clip, Error> {
    if clip.rate == rate || clip.samples.is_empty() {
        return Ok(Clip { rate, ..clip.clone() });
    }
    let mut resampler = StreamResampler::new(clip.rate, rate, clip.channels)?;
    let channels = usize::from(clip.channels.max(1));
    let samples = resampler.ratio.frames(clip.frames() as u64).saturating_mul(channels as u64);
    if samples > MAX_SAMPLES as u64 {
        let reason = format!("{samples} samples would come out: at most {MAX_SAMPLES} expected");
        return Err(Error::Resample { from: clip.rate, to: rate, reason });
    }
    let mut samples = Vec::with_capacity(samples as usize);
    for block in clip.samples.chunks(channels * BLOCK) {
        resampler.push(block, &mut samples)?;
    }
    resampler.finish(&mut samples)?;
    Ok(Clip { rate, channels: clip.channels, samples })
}

/// The same for sound that comes bit by bit: what comes out is what [`resample`] makes of it in one go.
///
/// Whatever the rates, it computes in blocks of at most 4096 frames. Rates with a common measure are converted by FFT; others are
/// halved or doubled by FFT until less than a factor of 2 is left, and that is interpolated. What waits to be pulled is only what was
/// fed.
pub struct StreamResampler {
    rates: (u32, u32),
    ratio: Ratio,
    channels: usize,
    /// One behind the other; none where there is nothing to do.
    stages: Vec<Stage>,
    /// What was fed, and nothing has been made of.
    fed: VecDeque<f64>,
    /// Frames that came in, and that went out.
    taken: u64,
    given: u64,
    ended: bool,
}

/// Frames of a block, where nothing else says how many.
const BLOCK: usize = 1024;
/// Frames of the smaller side of an FFT, at least: fewer would cut the treble.
const LEAST: u64 = 256;
/// Frames of its larger side, at most.
const MOST: u64 = 4096;

/// Two rates without their common measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ratio {
    from: u64,
    to: u64,
}

impl Ratio {
    fn new(from: u64, to: u64) -> Self {
        let (mut a, mut b) = (from, to);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        let measure = a.max(1);
        Self { from: from / measure, to: to / measure }
    }

    /// Frames that so many come to.
    fn frames(self, frames: u64) -> u64 {
        let frames = (u128::from(frames) * u128::from(self.to)).div_ceil(u128::from(self.from.max(1)));
        u64::try_from(frames).unwrap_or(u64::MAX)
    }

    /// Frames of an FFT, where one can do it.
    fn fft(self) -> Option<u64> {
        let times = LEAST.div_ceil(self.from.min(self.to).max(1));
        (times * self.from.max(self.to) <= MOST).then_some(times * self.from)
    }

    /// The steps from one rate to the other.
    fn stages(self, channels: usize) -> Result<Vec<Stage>, ResamplerConstructionError> {
        let (mut rest, mut behind, mut stages) = (self, 0, Vec::new());
        while rest.fft().is_none() && rest.from >= 2 * rest.to {
            stages.push(Stage::fft(Self { from: 2, to: 1 }, channels)?);
            rest = Self::new(rest.from, rest.to * 2);
        }
        while rest.fft().is_none() && rest.to >= 2 * rest.from {
            behind += 1;
            rest = Self::new(rest.from * 2, rest.to);
        }
        match rest.fft() {
            _ if rest.from == rest.to => {}
            Some(_) => stages.push(Stage::fft(rest, channels)?),
            None => stages.push(Stage::between(rest, channels)?),
        }
        for _ in 0..behind {
            stages.push(Stage::fft(Self { from: 1, to: 2 }, channels)?);
        }
        Ok(stages)
    }
}

/// One step from a rate to another.
struct Stage {
    resampler: Box<dyn Resampler<f64>>,
    channels: usize,
    /// What waits for a whole block, and room for what comes out of one.
    waiting: Vec<f64>,
    room: Vec<f64>,
    /// Frames that are still to be left out: before the sound, which is delayed.
    trim: usize,
}

impl Stage {
    fn fft(ratio: Ratio, channels: usize) -> Result<Self, ResamplerConstructionError> {
        let block = ratio.fft().unwrap_or(LEAST) as usize;
        let (from, to, window) = (ratio.from as usize, ratio.to as usize, WindowFunction::BlackmanHarris2);
        Fft::new_custom(from, to, block, 1, channels, window, FixedSync::Both)
            .map(|fft| Self::new(fft.output_delay(), Box::new(fft), channels))
    }

    /// Between rates that have no common measure.
    fn between(ratio: Ratio, channels: usize) -> Result<Self, ResamplerConstructionError> {
        let (times, filter) = (ratio.to as f64 / ratio.from as f64, SincInterpolationParameters::default());
        // Its first frame is the one behind the beginning, and what it says of its delay is cut to whole frames.
        let delay = filter.sinc_len as f64 / 2.0 * times - 1.0;
        Async::new_sinc(times, 1.0, &filter, LEAST as usize, channels, FixedAsync::Input)
            .map(|sinc| Self::new(delay.round() as usize, Box::new(sinc), channels))
    }

    fn new(trim: usize, resampler: Box<dyn Resampler<f64>>, channels: usize) -> Self {
        let room = vec![0.0; resampler.output_frames_max() * channels];
        Self { resampler, channels, waiting: Vec::new(), room, trim }
    }

    /// Samples that it still needs for a block.
    fn wanted(&self) -> usize {
        (self.resampler.input_frames_next() * self.channels).saturating_sub(self.waiting.len())
    }

    /// Appends what comes out of a block.
    fn block(&mut self, out: &mut Vec<f64>) -> Result<(), String> {
        let samples = self.resampler.input_frames_next() * self.channels;
        let (frames, room) = (samples / self.channels, self.room.len() / self.channels);
        let input = InterleavedSlice::new(&self.waiting[..samples], self.channels, frames);
        let input = input.map_err(|error| error.to_string())?;
        let output = InterleavedSlice::new_mut(&mut self.room, self.channels, room);
        let mut output = output.map_err(|error| error.to_string())?;
        let done = self.resampler.process_into_buffer(&input, &mut output, None);
        let (_, written) = done.map_err(|error| error.to_string())?;
        self.waiting.drain(..samples);
        let left_out = written.min(self.trim);
        self.trim -= left_out;
        out.extend_from_slice(&self.room[left_out * self.channels..written * self.channels]);
        Ok(())
    }
}

/// Appends a block of the last stage, if what was fed comes to one; what is missing in the end is silence.
fn pull(
    stages: &mut [Stage],
    fed: &mut VecDeque<f64>,
    ended: bool,
    out: &mut Vec<f64>,
) -> Result<bool, String> {
    let Some((last, before)) = stages.split_last_mut() else { return Ok(false) };
    while last.wanted() > 0 {
        if before.is_empty() {
            let some = last.wanted().min(fed.len());
            last.waiting.extend(fed.drain(..some));
            if last.wanted() > 0 && !ended {
                return Ok(false);
            }
            last.waiting.resize(last.waiting.len() + last.wanted(), 0.0);
        } else if !pull(before, fed, ended, &mut last.waiting)? {
            return Ok(false);
        }
    }
    last.block(out)?;
    Ok(true)
}

impl StreamResampler {
    /// From one rate to another, for interleaved samples of so many channels.
    ///
    /// # Errors
    /// A rate is 0.
    pub fn new(from: u32, to: u32, channels: u16) -> Result<Self, Error> {
        let channels = usize::from(channels.max(1));
        let about = |reason: String| Error::Resample { from, to, reason };
        if from != to && (from == 0 || to == 0) {
            return Err(about("a rate of at least 1 Hz expected".into()));
        }
        let ratio = Ratio::new(from.into(), to.into());
        let stages = if from == to { Ok(Vec::new()) } else { ratio.stages(channels) };
        let stages = stages.map_err(|error| about(error.to_string()))?;
        let fed = VecDeque::new();
        Ok(Self { rates: (from, to), ratio, channels, stages, fed, taken: 0, given: 0, ended: false })
    }

    /// Takes samples, whole frames, for [`pull`](Self::pull).
    pub fn feed(&mut self, samples: &[f64]) {
        self.taken += (samples.len() / self.channels) as u64;
        self.fed.extend(samples);
    }

    /// No more comes: what is left can be pulled.
    pub const fn end(&mut self) {
        self.ended = true;
    }

    /// Appends the next block of what was fed; false if that does not come to one, or after [`end`](Self::end) if there is no more.
    ///
    /// # Errors
    /// Something is wrong inside.
    pub fn pull(&mut self, out: &mut Vec<f64>) -> Result<bool, Error> {
        let (from, to) = self.rates;
        if self.stages.is_empty() {
            let some = self.fed.len().min(BLOCK * self.channels);
            out.extend(self.fed.drain(..some));
            return Ok(some > 0);
        }
        let expected = self.ratio.frames(self.taken);
        if self.ended && self.given >= expected {
            return Ok(false);
        }
        let before = out.len();
        let Self { stages, fed, ended, .. } = self;
        let more = pull(stages, fed, *ended, out);
        let more = more.map_err(|reason| Error::Resample { from, to, reason })?;
        self.given += ((out.len() - before) / self.channels) as u64;
        if self.ended && self.given > expected {
            out.truncate(out.len() - (self.given - expected) as usize * self.channels);
            self.given = expected;
        }
        Ok(more)
    }

    /// Takes samples, whole frames; appends what they come to.
    ///
    /// # Errors
    /// Something is wrong inside.
    pub fn push(&mut self, samples: &[f64], out: &mut Vec<f64>) -> Result<(), Error> {
        self.feed(samples);
        while self.pull(out)? {}
        Ok(())
    }

    /// Appends what is left: no more comes.
    ///
    /// # Errors
    /// Something is wrong inside.
    pub fn finish(&mut self, out: &mut Vec<f64>) -> Result<(), Error> {
        self.end();
        while self.pull(out)? {}
        Ok(())
    }
}

/// A clip that is converted as it is played: what it comes to at another rate is never in memory.
#[derive(Debug)]
pub struct ClipStream {
    clip: Clip,
    /// Samples that have been fed.
    at: usize,
    channels: u16,
    /// And the channels that are resampled: the fewer of the clip's and those asked for.
    resampler: (StreamResampler, u16),
    block: Vec<f64>,
    ready: VecDeque<f64>,
}

impl ClipStream {
    /// Plays a clip at so many frames per second, in so many channels.
    ///
    /// # Errors
    /// A rate is 0.
    pub fn new(clip: Clip, rate: u32, channels: u16) -> Result<Self, Error> {
        let channels = channels.max(1);
        let fewer = channels.min(clip.channels.max(1));
        let resampler = (StreamResampler::new(clip.rate, rate, fewer)?, fewer);
        Ok(Self { clip, at: 0, channels, resampler, block: Vec::new(), ready: VecDeque::new() })
    }

    /// Appends the next `frames` frames, and returns how many there were: fewer at the end.
    ///
    /// # Errors
    /// Something is wrong inside.
    pub fn take(&mut self, frames: usize, out: &mut Vec<f64>) -> Result<usize, Error> {
        let channels = usize::from(self.channels);
        let wanted = frames.saturating_mul(channels);
        let (resampler, fewer) = &mut self.resampler;
        while self.ready.len() < wanted {
            if resampler.pull(&mut self.block)? {
                let samples = core::mem::take(&mut self.block);
                let block = Clip { rate: self.clip.rate, channels: *fewer, samples };
                self.ready.extend(block.mix(self.channels).samples);
                self.block = block.samples;
                self.block.clear();
                continue;
            }
            let theirs = usize::from(self.clip.channels.max(1));
            let end = (self.at + BLOCK * theirs).min(self.clip.samples.len());
            let end = end - end % theirs;
            if end <= self.at {
                if resampler.ended {
                    break;
                }
                resampler.end();
                continue;
            }
            let samples = self.clip.samples[self.at..end].to_vec();
            self.at = end;
            let Clip { rate, channels, .. } = self.clip;
            resampler.feed(&Clip { rate, channels, samples }.mix(*fewer).samples);
        }
        let came = wanted.min(self.ready.len());
        out.extend(self.ready.drain(..came));
        Ok(came / channels)
    }
}

impl fmt::Debug for StreamResampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamResampler").field("rates", &self.rates).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_its_length_level_and_place() {
        for (from, to) in [
            (16_000, 48_000),
            (48_000, 44_100),
            (44_100, 8_000),
            // F-16: rates whose common measure is 1 Hz, or that are far apart.
            (44_101, 48_000),
            (767_999, 48_000),
            (48_000, 767_999),
            (767_999, 8_000),
            (768_000, 4_000),
            (4_000, 768_000),
            (4_002, 383_999),
        ] {
            let tone = Clip::tone(from, 2, 500.0, 0.5);
            let got = resample(&tone, to).unwrap();
            let expected = Clip::tone(to, 2, 500.0, 0.5);
            assert!(got.frames().abs_diff(expected.frames()) <= 1, "{from} {to}: {}", got.frames());
            // Away from the edges, where the filter has something on both sides.
            let (edge, end) = (got.samples.len() / 4, got.samples.len() * 3 / 4);
            let worst = got.samples[edge..end].iter().zip(&expected.samples[edge..end]);
            let worst = worst.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // Half a frame, of the lower rate, at the steepest point of the wave.
            let tolerance = 0.5 * core::f64::consts::TAU * 500.0 / f64::from(to.min(from)) / 2.0 + 1e-3;
            assert!(worst < tolerance, "{from} {to}: {worst}");
        }
    }

    /// F-50: sound that is read as it is played is what it is in memory.
    #[test]
    fn f_50_bit_by_bit_is_the_same_as_in_one_go() {
        for (from, to) in [
            (16_000, 48_000),
            (48_000, 44_100),
            (44_100, 8_000),
            (8_000, 8_000),
            (8_001, 8_000),
            (96_001, 8_000),
        ] {
            for frames in [1, 700, 1024, 20_000] {
                let clip = Clip::tone_from(from, 2, 500.0, 7, frames);
                let whole = resample(&clip, to).unwrap();
                for part in [2, 222, 5000] {
                    let mut resampler = StreamResampler::new(from, to, 2).unwrap();
                    let mut samples = Vec::new();
                    clip.samples.chunks(part).for_each(|part| resampler.push(part, &mut samples).unwrap());
                    resampler.finish(&mut samples).unwrap();
                    assert_eq!(samples, whole.samples, "{from} {to} {frames} {part}");
                }
            }
        }
    }

    /// F-50: a clip that is converted as it is played is what it is in memory.
    #[test]
    fn f_50_a_clip_that_is_played_is_the_same_as_in_one_go() {
        for (channels, to_channels) in [(1, 1), (2, 1), (1, 3)] {
            let clip = Clip::tone_from(8_000, channels, 500.0, 7, 5_000);
            let whole = resample(&clip.mix(to_channels), 44_100).unwrap();
            let mut stream = ClipStream::new(clip, 44_100, to_channels).unwrap();
            let mut samples = Vec::new();
            while stream.take(441, &mut samples).unwrap() > 0 {}
            assert_eq!(samples, whole.samples, "{channels} {to_channels}");
        }
    }

    #[test]
    fn a_rate_of_zero_is_an_error() {
        let error = resample(&Clip::tone(8000, 1, 100.0, 0.1), 0).unwrap_err();
        assert!(error.to_string().starts_with("cannot resample from 8000 Hz to 0 Hz"), "{error}");
    }
}
