use crate::{Clip, Error, resample};
use core::f64::consts::TAU;
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// How alike two recordings are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Where in the second recording the first begins, in frames; negative if its beginning is missing.
    pub offset: i64,
    /// Whether the second holds every sample of the first, unchanged and without a gap.
    pub exact: bool,
    /// Power of the first over that of the difference, in dB; infinite if exact.
    pub snr_db: f64,
    /// Of the first recording's 20 ms frames with sound in them, the part that can be recognised in the second, 0 to 1;
    /// up to 250 ms earlier or later than `offset` says, as jitter buffers move what they play.
    pub present: f64,
    /// How far the spectra of those frames are apart on average, in dB; 0 if exact.
    pub spectral_distance_db: f64,
    /// Frames of the first recording that the second does not reach, before and behind.
    pub missing: u64,
}

/// Finds `reference` in `heard`, and compares the two from there on. If `heard` has another rate or number of channels,
/// it is converted first (and is not exact then).
///
/// # Errors
/// One of the two is empty or silent.
pub fn compare(reference: &Clip, heard: &Clip) -> Result<Comparison, Error> {
    let same_shape = reference.rate == heard.rate && reference.channels == heard.channels;
    let (a, b) = (reference.mono(), resample(&heard.mono(), reference.rate)?);
    for (clip, which) in [(&a, "first"), (&b, "second")] {
        if clip.level().1 < 1e-9 {
            return Err(Error::Silent { which });
        }
    }
    let offset = align(&a.samples, &b.samples);
    // The first recording as the second has it: what is missing is silence.
    let at = |frame: usize| usize::try_from(frame as i64 + offset).ok();
    let aligned: Vec<f64> = (0..a.samples.len())
        .map(|frame| at(frame).and_then(|at| b.samples.get(at)).copied().unwrap_or(0.0))
        .collect();
    let missing =
        (0..a.samples.len()).filter(|&frame| at(frame).is_none_or(|at| at >= b.samples.len())).count();
    let exact = same_shape && missing == 0 && is_exact(reference, heard, offset);
    let signal: f64 = a.samples.iter().map(|sample| sample * sample).sum();
    let noise: f64 = a.samples.iter().zip(&aligned).map(|(a, b)| (a - b) * (a - b)).sum();
    let snr_db = if exact || noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() };
    let starts = if exact { Vec::new() } else { follow(&a.samples, &b.samples, offset, reference.rate) };
    let (present, spectral_distance_db) = spectra(&a.samples, &b.samples, offset, &starts, reference.rate);
    Ok(Comparison { offset, exact, snr_db, present, spectral_distance_db, missing: missing as u64 })
}

fn is_exact(reference: &Clip, heard: &Clip, offset: i64) -> bool {
    let Ok(start) = usize::try_from(offset * i64::from(reference.channels)) else { return false };
    heard.samples.get(start..start + reference.samples.len()).is_some_and(|found| found == reference.samples)
}

/// Where `a` begins in `b`: the highest peak of their cross-correlation.
fn align(a: &[f64], b: &[f64]) -> i64 {
    let size = (a.len() + b.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
    let transform = |samples: &[f64]| {
        let mut padded = samples.to_vec();
        padded.resize(size, 0.0);
        spectrum(&forward, &mut padded)
    };
    let (fa, fb) = (transform(a), transform(b));
    let mut product: Vec<Complex<f64>> = fa.iter().zip(&fb).map(|(a, b)| a.conj() * b).collect();
    // The two ends of a real signal's spectrum are real; rounding may have left a trace.
    for end in [0, size / 2] {
        product[end].im = 0.0;
    }
    let mut correlation = inverse.make_output_vec();
    if inverse.process(&mut product, &mut correlation).is_err() {
        return 0;
    }
    let best = correlation.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at);
    // The upper half stands for negative lags.
    if best >= b.len() { best as i64 - size as i64 } else { best as i64 }
}

/// Where each 100 ms of `a` begin in `b`, less where they would without a gap: where they are most like each other, near `offset`. First
/// 400 ms are looked for, up to 250 ms away, and then each 100 ms of them, up to 50 ms from there, as voices are stretched in between.
fn follow(a: &[f64], b: &[f64], offset: i64, rate: u32) -> Vec<i64> {
    let mut starts = Vec::new();
    let (piece, part) = (piece(rate) * 4, piece(rate));
    for (n, whole) in a.chunks(piece).enumerate() {
        let start = (n * piece) as i64;
        let shift = nearest(whole, b, start, offset, rate as usize / 4);
        for (m, part_of_it) in whole.chunks(part).enumerate() {
            starts.push(nearest(part_of_it, b, start + (m * part) as i64, shift, rate as usize / 20));
        }
    }
    starts
}

/// How far behind `start` a part is in `b`: `usual`, or up to `reach` from there.
fn nearest(part: &[f64], b: &[f64], start: i64, usual: i64, reach: usize) -> i64 {
    let around = cut(b, start + usual - reach as i64, part.len() + 2 * reach);
    let found = align(part, &around).clamp(0, 2 * reach as i64) as usize;
    let likeness = |from: usize| part.iter().zip(&around[from..]).map(|(a, b)| a * b).sum::<f64>();
    // Where nothing is much better, nothing has moved.
    let from = if likeness(found) > 1.2 * likeness(reach) { found } else { reach };
    usual + from as i64 - reach as i64
}

/// Samples in 100 ms.
const fn piece(rate: u32) -> usize {
    let piece = rate as usize / 10;
    if piece == 0 { 1 } else { piece }
}

/// So many samples from `start` on: silence, where there are none.
fn cut(samples: &[f64], start: i64, len: usize) -> Vec<f64> {
    let at = |frame: i64| usize::try_from(frame).ok().and_then(|at| samples.get(at)).copied();
    (0..len as i64).map(|n| at(start + n).unwrap_or(0.0)).collect()
}

fn spectrum(plan: &Arc<dyn RealToComplex<f64>>, samples: &mut [f64]) -> Vec<Complex<f64>> {
    let mut out = plan.make_output_vec();
    // Fails only for wrong lengths, and both are made for the plan.
    let _ = plan.process(samples, &mut out);
    out
}

/// Compares 20 ms frames that have sound in the first: the part recognised, and the mean distance of the log spectra. A frame may be
/// where its 100 ms are, or those before or behind them: what moves, moves somewhere between.
fn spectra(a: &[f64], b: &[f64], offset: i64, starts: &[i64], rate: u32) -> (f64, f64) {
    let size = (rate as usize / 50).max(16);
    let plan = RealFftPlanner::<f64>::new().plan_fft_forward(size);
    let window: Vec<f64> = (0..size).map(|n| 0.5 - 0.5 * (TAU * n as f64 / size as f64).cos()).collect();
    let loudest = a.chunks_exact(size).map(power).fold(0.0, f64::max);
    let (mut frames, mut present, mut distance) = (0_u32, 0_u32, 0.0);
    for (n, a) in a.chunks_exact(size).enumerate() {
        // 30 dB below the loudest frame is pause.
        if power(a) < loudest / 1000.0 {
            continue;
        }
        frames += 1;
        let likeness = |b: &[f64]| {
            let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            dot / (power(a) * power(b)).sqrt().max(1e-12) / size as f64
        };
        let at = n * size / piece(rate);
        let near = [Some(at), at.checked_sub(1), Some(at + 1)];
        let shifts = near.into_iter().flatten().filter_map(|at| starts.get(at).copied());
        let shifts = shifts.chain(starts.is_empty().then_some(offset));
        let found = shifts.map(|shift| cut(b, (n * size) as i64 + shift, size));
        let mut found = found.map(|b| (likeness(&b), b));
        let own = found.next().unwrap_or_default();
        // What is not recognised is as far away as it is at its own place.
        let best = found.filter(|(likeness, _)| *likeness > 0.7).max_by(|a, b| a.0.total_cmp(&b.0));
        let (likeness, b) = best.filter(|best| best.0 > own.0).unwrap_or(own);
        present += u32::from(likeness > 0.7);
        let log = |frame: &[f64]| {
            let mut windowed: Vec<f64> =
                frame.iter().zip(&window).map(|(sample, weight)| sample * weight).collect();
            let bins = spectrum(&plan, &mut windowed);
            // A floor of -50 dB below the loudest frame: nobody hears what is under it.
            let floor = loudest * size as f64 * 1e-5;
            bins.into_iter().map(move |bin| 10.0 * (bin.norm_sqr() / size as f64 * 4.0).max(floor).log10())
        };
        let squares: f64 = log(a).zip(log(&b)).map(|(a, b)| (a - b) * (a - b)).sum();
        distance += (squares / (size / 2 + 1) as f64).sqrt();
    }
    (f64::from(present) / f64::from(frames.max(1)), distance / f64::from(frames.max(1)))
}

fn power(frame: &[f64]) -> f64 {
    frame.iter().map(|sample| sample * sample).sum::<f64>() / frame.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SPEECH, read};

    fn speech() -> Clip {
        read(SPEECH).unwrap().clip
    }

    fn shifted(clip: &Clip, frames: usize) -> Clip {
        Clip { samples: [vec![0.0; frames], clip.samples.clone()].concat(), ..clip.clone() }
    }

    #[test]
    fn c_14_a_recording_that_starts_late_is_found_and_exact() {
        let speech = speech();
        for offset in [0, 1, 12_345] {
            let got = compare(&speech, &shifted(&speech, offset)).unwrap();
            assert_eq!((got.offset, got.exact, got.missing), (offset as i64, true, 0));
            assert_eq!((got.snr_db, got.present, got.spectral_distance_db), (f64::INFINITY, 1.0, 0.0));
        }
    }

    #[test]
    fn c_14_one_changed_sample_is_not_exact_and_a_cut_is_counted() {
        let speech = speech();
        let mut changed = speech.clone();
        changed.samples[60_000] += 1.0 / 32_768.0;
        let got = compare(&speech, &changed).unwrap();
        assert!(!got.exact && got.snr_db > 80.0 && got.present == 1.0, "{got:?}");
        let cut = Clip { samples: speech.samples[8000..].to_vec(), ..speech.clone() };
        let got = compare(&speech, &cut).unwrap();
        assert_eq!((got.offset, got.missing, got.exact), (-8000, 8000, false));
        assert!(got.present < 0.97, "{got:?}");
    }

    #[test]
    fn c_14_what_a_jitter_buffer_has_moved_is_recognised() {
        let speech = speech();
        let half = speech.samples.len() / 2;
        let gap = vec![0.0; speech.rate as usize / 10];
        let moved = Clip {
            samples: [&speech.samples[..half], &gap, &speech.samples[half..]].concat(),
            ..speech.clone()
        };
        let got = compare(&speech, &moved).unwrap();
        assert!(!got.exact && got.snr_db < 6.0 && got.present > 0.95, "{got:?}");
    }

    #[test]
    fn c_14_silence_and_other_sounds_are_not_taken_for_it() {
        let speech = speech();
        let silence = Clip { samples: vec![0.0; speech.samples.len()], ..speech.clone() };
        assert!(compare(&speech, &silence).is_err());
        let backwards = Clip { samples: speech.samples.iter().rev().copied().collect(), ..speech.clone() };
        for other in [backwards, Clip::tone(16_000, 1, 440.0, 8.0)] {
            let got = compare(&speech, &other).unwrap();
            assert!(got.present < 0.5 && got.spectral_distance_db > 7.5, "{got:?}");
        }
    }

    #[test]
    fn c_14_another_rate_is_close_and_not_exact() {
        let speech = speech();
        let got = compare(&speech, &resample(&speech, 48_000).unwrap()).unwrap();
        assert!(
            !got.exact && got.offset.abs() <= 1 && got.present > 0.98 && got.spectral_distance_db < 3.0,
            "{got:?}"
        );
    }
}
