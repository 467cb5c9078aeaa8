use crate::{Clip, Error};
use audioadapter_buffers::direct::InterleavedSlice;
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

    #[test]
    fn a_rate_of_zero_is_an_error() {
        let error = resample(&Clip::tone(8000, 1, 100.0, 0.1), 0).unwrap_err();
        assert!(error.to_string().starts_with("cannot resample from 8000 Hz to 0 Hz"), "{error}");
    }
}
