//! Playing a voice faster or slower without changing its pitch: whole periods are left out or repeated, as NetEq's accelerate and
//! preemptive expand do.

/// Periods that are looked for: 2.5 to 15 ms, which are voices from 400 to 67 Hz, and any multiple of what is quicker.
const SHORTEST: usize = 120;
const LONGEST: usize = 720;
/// Frames that two periods are compared over.
const COMPARED: usize = 480;
/// The first search looks at every so many frames.
const COARSE: usize = 8;
/// Below this power nothing is said, and any place will do: -50 dB.
const QUIET: f32 = 1e-5;

/// Frames at 48 kHz in which every period is found. In fewer, down to [`LEAST`], only shorter ones are.
pub(crate) const NEEDED: usize = 2 * LONGEST;
const LEAST: usize = 2 * COMPARED;

/// Leaves one period out of the start of interleaved samples at 48 kHz. Returns how many frames are gone: none if there are fewer
/// than [`LEAST`], or if what repeats there is less than `alike` itself, from 0 to 1.
pub(crate) fn shorten(samples: &mut Vec<f32>, channels: usize, alike: f32) -> usize {
    let Some(period) = period(samples, channels, alike) else { return 0 };
    let len = period * channels;
    // The first period turns into the second one, behind which the rest fits.
    for at in 0..len {
        let share = (at / channels) as f32 / period as f32;
        samples[at] += (samples[at + len] - samples[at]) * share;
    }
    samples.drain(len..2 * len);
    period
}

/// Repeats one period at the start of interleaved samples at 48 kHz. Returns how many frames were added, as [`shorten`] does.
pub(crate) fn lengthen(samples: &mut Vec<f32>, channels: usize, alike: f32) -> usize {
    let Some(period) = period(samples, channels, alike) else { return 0 };
    let len = period * channels;
    let before = samples.len();
    samples.resize(before + len, 0.0);
    samples.copy_within(len..before, 2 * len);
    // The second period turns into the first one, behind which the second comes again.
    for at in 0..len {
        let share = (at / channels) as f32 / period as f32;
        let (first, second) = (samples[at], samples[at + 2 * len]);
        samples[at + len] = second + (first - second) * share;
    }
    period
}

/// After how many frames the samples repeat themselves best.
fn period(samples: &[f32], channels: usize, alike: f32) -> Option<usize> {
    let channels = channels.max(1);
    let frames = (samples.len() / channels).min(NEEDED);
    if frames < LEAST {
        return None;
    }
    let longest = frames / 2;
    // All channels are moved together; the first one stands for them, as voices are in the middle.
    let at = |frame: usize| samples[frame * channels];
    let power = (0..frames).map(|frame| at(frame) * at(frame)).sum::<f32>() / frames as f32;
    if power < QUIET {
        return Some(longest / 2);
    }
    let likeness = |period: usize, step: usize| {
        let (mut both, mut first, mut second) = (0.0, 1e-9, 1e-9);
        for frame in (0..COMPARED).step_by(step) {
            let (a, b) = (at(frame), at(frame + period));
            both += a * b;
            first += a * a;
            second += b * b;
        }
        both / (first * second).sqrt()
    };
    let best = |periods: &mut dyn Iterator<Item = usize>, step: usize| {
        periods.map(|period| (period, likeness(period, step))).max_by(|a, b| a.1.total_cmp(&b.1))
    };
    // (What is quicker than the steps is compared with itself wrongly there, and found by the second search, if at all.)
    let (rough, _) = best(&mut (SHORTEST..=longest).step_by(COARSE), COARSE / 2)?;
    let near = rough.saturating_sub(COARSE).max(SHORTEST)..=(rough + COARSE).min(longest);
    let (period, likeness) = best(&mut near.into_iter(), 1)?;
    (likeness >= alike).then_some(period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OPUS_RATE, SPEECH, read, resample};

    fn tone(hz: f32, frames: usize, channels: usize) -> Vec<f32> {
        let sample = |frame: usize| (frame as f32 / 48_000.0 * hz * core::f32::consts::TAU).sin() * 0.5;
        (0..frames).flat_map(|frame| core::iter::repeat_n(sample(frame), channels)).collect()
    }

    /// The largest step between neighbours: a click is larger than what the sound itself does.
    fn steepest(samples: &[f32], channels: usize) -> f32 {
        let frames: Vec<f32> = samples.iter().copied().step_by(channels).collect();
        frames.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
    }

    /// F-53: a tone stays what it is, for every pitch of a voice, shorter and longer.
    #[test]
    fn a_tone_keeps_its_pitch_and_has_no_click() {
        for hz in [70.0, 100.0, 220.0, 440.0, 1000.0, 3000.0] {
            for channels in [1, 2] {
                for longer in [false, true] {
                    let original = tone(hz, 4800, channels);
                    let mut samples = original.clone();
                    let stretch = if longer { lengthen } else { shorten };
                    let mut moved = 0;
                    for _ in 0..3 {
                        moved += stretch(&mut samples, channels, 0.9);
                    }
                    assert!(moved >= 3 * SHORTEST, "{hz}: {moved}");
                    let expected = if longer { 4800 + moved } else { 4800 - moved };
                    assert_eq!(samples.len(), expected * channels);
                    // What a sine does not do by itself: -40 dB of its own steepness.
                    let own = steepest(&original, channels);
                    assert!(steepest(&samples, channels) < own * 1.05, "{hz} Hz, longer: {longer}");
                    let power =
                        samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32;
                    assert!((power - 0.125).abs() < 0.01, "{hz} Hz: {power}");
                }
            }
        }
    }

    #[test]
    fn noise_is_left_alone_and_silence_is_not() {
        let mut random = 1_u32;
        let mut noise: Vec<f32> = (0..4800)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        assert_eq!(shorten(&mut noise, 1, 0.7), 0);
        assert_eq!(noise.len(), 4800);
        assert!(
            shorten(&mut vec![0.0; LEAST], 1, 0.7) > 0 && shorten(&mut vec![0.0; LEAST - 1], 1, 0.7) == 0
        );
    }

    /// F-53: speech can be played a quarter faster.
    #[test]
    fn most_of_speech_can_be_shortened() {
        let speech = resample(&read(SPEECH).unwrap().clip.mono(), OPUS_RATE).unwrap();
        let speech: Vec<f32> = speech.samples.iter().map(|sample| *sample as f32).collect();
        let (mut gone, mut blocks) = (0, 0);
        for block in speech.chunks_exact(2400) {
            let mut block = block.to_vec();
            let frames = shorten(&mut block, 1, 0.7);
            assert_eq!(block.len(), 2400 - frames);
            gone += frames;
            blocks += 1;
        }
        // One period in 50 ms.
        let share = gone as f32 / (blocks * 2400) as f32;
        assert!(share > 0.1, "{share}");
    }
}
