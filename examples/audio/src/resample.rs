use crate::{Clip, Error};
use audioadapter_buffers::direct::InterleavedSlice;
use core::fmt;
use rubato::{Fft, FixedSync, Resampler};

/// The same sound at another rate. The length in frames is scaled and rounded up; the sound moves by half a frame at most.
///
/// # Errors
/// A rate is 0, or the two are so far apart that nothing sensible can be done.
pub fn resample(clip: &Clip, rate: u32) -> Result<Clip, Error> {
    if clip.rate == rate || clip.samples.is_empty() {
        return Ok(Clip { rate, ..clip.clone() });
    }
    let about = |reason: String| Error::Resample { from: clip.rate, to: rate, reason };
    let channels = usize::from(clip.channels);
    let resampler = Fft::<f64>::new(clip.rate as usize, rate as usize, 1024, channels, FixedSync::Both);
    let mut resampler = resampler.map_err(|error| about(error.to_string()))?;
    let frames = clip.frames();
    let input =
        InterleavedSlice::new(&clip.samples, channels, frames).map_err(|error| about(error.to_string()))?;
    let room = resampler.process_all_needed_output_len(frames);
    let mut samples = vec![0.0; room * channels];
    let mut output =
        InterleavedSlice::new_mut(&mut samples, channels, room).map_err(|error| about(error.to_string()))?;
    let (_, written) = resampler
        .process_all_into_buffer(&input, &mut output, frames, None)
        .map_err(|error| about(error.to_string()))?;
    samples.truncate(written * channels);
    Ok(Clip { rate, channels: clip.channels, samples })
}

/// The same for sound that comes bit by bit: what comes out is what [`resample`] makes of it in one go.
pub struct StreamResampler {
    rates: (u32, u32),
    channels: usize,
    /// None where there is nothing to do.
    fft: Option<Fft<f64>>,
    /// What waits for a whole chunk, and room for what comes out of one.
    waiting: Vec<f64>,
    room: Vec<f64>,
    /// Frames that are still to be left out: before the sound, which is delayed.
    trim: usize,
    /// Frames that came in, and that went out.
    taken: u64,
    given: u64,
}

impl StreamResampler {
    /// From one rate to another, for interleaved samples of so many channels.
    ///
    /// # Errors
    /// Those of [`resample`].
    pub fn new(from: u32, to: u32, channels: u16) -> Result<Self, Error> {
        let about = |reason: String| Error::Resample { from, to, reason };
        let channels = usize::from(channels.max(1));
        let (mut fft, mut room, mut trim) = (None, Vec::new(), 0);
        if from != to {
            let new = Fft::<f64>::new(from as usize, to as usize, 1024, channels, FixedSync::Both);
            let new = new.map_err(|error| about(error.to_string()))?;
            room = vec![0.0; new.output_frames_max() * channels];
            trim = new.output_delay();
            fft = Some(new);
        }
        let rates = (from, to);
        Ok(Self { rates, channels, fft, waiting: Vec::new(), room, trim, taken: 0, given: 0 })
    }

    /// Takes samples, whole frames; appends what they come to.
    ///
    /// # Errors
    /// Something is wrong inside.
    pub fn push(&mut self, samples: &[f64], out: &mut Vec<f64>) -> Result<(), Error> {
        self.taken += (samples.len() / self.channels) as u64;
        let Some(fft) = &self.fft else {
            out.extend_from_slice(samples);
            return Ok(());
        };
        let chunk = fft.input_frames_next() * self.channels;
        self.waiting.extend_from_slice(samples);
        let mut waiting = core::mem::take(&mut self.waiting);
        let mut at = 0;
        while let Some(samples) = waiting.get(at..at + chunk) {
            self.chunk(samples, out)?;
            at += chunk;
        }
        waiting.drain(..at);
        self.waiting = waiting;
        Ok(())
    }

    /// Appends what is left: no more comes.
    ///
    /// # Errors
    /// Something is wrong inside.
    pub fn finish(&mut self, out: &mut Vec<f64>) -> Result<(), Error> {
        let Some(fft) = &self.fft else { return Ok(()) };
        let chunk = fft.input_frames_next() * self.channels;
        let expected = (fft.resample_ratio() * self.taken as f64).ceil() as u64;
        let mut samples = core::mem::take(&mut self.waiting);
        while self.given < expected {
            samples.resize(chunk, 0.0);
            self.chunk(&samples, out)?;
            samples.clear();
        }
        out.truncate(out.len() - (self.given - expected) as usize * self.channels);
        self.given = expected;
        Ok(())
    }

    fn chunk(&mut self, samples: &[f64], out: &mut Vec<f64>) -> Result<(), Error> {
        let Self { rates: (from, to), channels, fft, room, trim, .. } = self;
        let (from, to, channels) = (*from, *to, *channels);
        let about = |reason: String| Error::Resample { from, to, reason };
        let Some(fft) = fft else { return Ok(()) };
        let input = InterleavedSlice::new(samples, channels, samples.len() / channels);
        let input = input.map_err(|error| about(error.to_string()))?;
        let frames = room.len() / channels;
        let output = InterleavedSlice::new_mut(room, channels, frames);
        let mut output = output.map_err(|error| about(error.to_string()))?;
        let done = fft.process_into_buffer(&input, &mut output, None);
        let (_, written) = done.map_err(|error| about(error.to_string()))?;
        let left_out = written.min(*trim);
        *trim -= left_out;
        out.extend_from_slice(&room[left_out * channels..written * channels]);
        self.given += (written - left_out) as u64;
        Ok(())
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
        for (from, to) in [(16_000, 48_000), (48_000, 44_100), (44_100, 8_000)] {
            let tone = Clip::tone(from, 2, 500.0, 0.5);
            let got = resample(&tone, to).unwrap();
            let expected = Clip::tone(to, 2, 500.0, 0.5);
            assert!(got.frames().abs_diff(expected.frames()) <= 1, "{from} {to}: {}", got.frames());
            // Away from the edges, where the filter has something on both sides.
            let (edge, end) = (got.samples.len() / 4, got.samples.len() * 3 / 4);
            let worst = got.samples[edge..end].iter().zip(&expected.samples[edge..end]);
            let worst = worst.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // Half a frame at the steepest point of the wave.
            let tolerance = 0.5 * core::f64::consts::TAU * 500.0 / f64::from(to) / 2.0 + 1e-3;
            assert!(worst < tolerance, "{from} {to}: {worst}");
        }
    }

    /// F-50: sound that is read as it is played is what it is in memory.
    #[test]
    fn f_50_bit_by_bit_is_the_same_as_in_one_go() {
        for (from, to) in [(16_000, 48_000), (48_000, 44_100), (44_100, 8_000), (8_000, 8_000)] {
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

    #[test]
    fn a_rate_of_zero_is_an_error() {
        let error = resample(&Clip::tone(8000, 1, 100.0, 0.1), 0).unwrap_err();
        assert!(error.to_string().starts_with("cannot resample from 8000 Hz to 0 Hz"), "{error}");
    }
}
