//! Playing a voice faster or slower without changing its pitch: whole periods are left out or repeated, as NetEq's accelerate and
//! preemptive expand do.

/// Below this power nothing is said, and any place will do: -50 dB.
const QUIET: f32 = 1e-5;

/// The lengths of what is looked for and compared, in frames, at some rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    /// Periods that are looked for: 2.5 to 15 ms, which are voices from 400 to 67 Hz, and any multiple of what is quicker.
    shortest: usize,
    longest: usize,
    /// Frames that two periods are compared over: 10 ms.
    compared: usize,
    /// The first search looks at every so many frames.
    coarse: usize,
}

impl Lengths {
    pub(crate) const fn new(rate: u32) -> Self {
        let rate = if rate < 1000 { 1000 } else { rate as usize };
        let coarse = if rate < 12_000 { 1 } else { rate / 6000 };
        Self { shortest: rate / 400, longest: rate * 3 / 200, compared: rate / 100, coarse }
    }

    /// Frames in which every period is found. In fewer, down to [`least`](Self::least), only shorter ones are.
    pub(crate) const fn needed(self) -> usize {
        2 * self.longest
    }

    /// In fewer frames no period is found that could be left out.
    pub(crate) const fn least(self) -> usize {
        2 * self.compared
    }

    /// With fewer frames to come no period is found that could be repeated.
    pub(crate) const fn compared(self) -> usize {
        self.compared
    }

    /// The longest period.
    pub(crate) const fn longest(self) -> usize {
        self.longest
    }

    /// Leaves one period out of interleaved samples, from `start` on. Returns how many frames are gone: none if there are fewer than
    /// [`least`](Self::least), or if what repeats there is less than `alike` itself, from 0 to 1.
    pub(crate) fn shorten(self, samples: &mut Vec<f32>, start: usize, channels: usize, alike: f32) -> usize {
        let Some(period) = self.period(&samples[start..], channels, alike) else { return 0 };
        let len = period * channels;
        // The first period turns into the second one, behind which the rest fits.
        for (n, at) in (start..start + len).enumerate() {
            let share = (n / channels) as f32 / period as f32;
            samples[at] += (samples[at + len] - samples[at]) * share;
        }
        samples.drain(start + len..start + 2 * len);
        period
    }

    /// Repeats, in front of the samples from `start` on, the period that ends there. Returns how many frames were added: none if there
    /// are fewer than [`compared`](Self::compared) behind it, or if what repeats there is less than `alike` itself, from 0 to 1.
    pub(crate) fn lengthen(self, samples: &mut Vec<f32>, start: usize, channels: usize, alike: f32) -> usize {
        let channels = channels.max(1);
        let (start, frames) = (start / channels, samples.len() / channels);
        let ahead = (frames - start.min(frames)).min(self.longest);
        if ahead < self.compared {
            return 0;
        }
        let at = |frame: usize, channel: usize| samples[(start + frame) * channels + channel];
        let before =
            |frame: usize, by: usize, channel: usize| samples[(start + frame - by) * channels + channel];
        let Some(period) = self.repeats(ahead, ahead.min(start), channels, alike, at, before) else {
            return 0;
        };
        let (from, len, before) = (start * channels, period * channels, samples.len());
        // The end of a word is not said twice, only because it is quiet behind it.
        let power = |samples: &[f32]| samples.iter().map(|sample| sample * sample).sum::<f32>() / len as f32;
        if power(&samples[from..from + len]) < QUIET && power(&samples[from - len..from]) > QUIET {
            return 0;
        }
        samples.resize(before + len, 0.0);
        samples.copy_within(from..before, from + len);
        // What follows turns into what was before it, behind which it comes again.
        for at in 0..len {
            let share = (at / channels) as f32 / period as f32;
            let (first, second) = (samples[from + at - len], samples[from + len + at]);
            samples[from + at] = second + (first - second) * share;
        }
        period
    }

    /// After how many frames the start of the samples repeats itself best.
    fn period(self, samples: &[f32], channels: usize, alike: f32) -> Option<usize> {
        let channels = channels.max(1);
        let at = |frame: usize, channel: usize| samples[frame * channels + channel];
        let behind = |frame: usize, by: usize, channel: usize| at(frame + by, channel);
        let frames = (samples.len() / channels).min(self.needed());
        (frames >= self.least())
            .then(|| self.repeats(frames, frames / 2, channels, alike, at, behind))
            .flatten()
    }

    /// What follows interleaved samples, if they go on as they did last: written to `more`.
    pub(crate) fn go_on(self, samples: &[f32], channels: usize, more: &mut [f32]) {
        let channels = channels.max(1);
        let frames = samples.len() / channels;
        let at = |frame: usize, channel: usize| samples[(frames - 1 - frame) * channels + channel];
        let behind = |frame: usize, by: usize, channel: usize| at(frame + by, channel);
        let seen = frames.min(self.needed());
        let period = (seen >= self.least())
            .then(|| self.repeats(seen, seen / 2, channels, -1.0, at, behind))
            .flatten();
        let Some(period) = period else {
            more.fill(0.0);
            return;
        };
        let last = &samples[(frames - period) * channels..frames * channels];
        more.iter_mut().zip(last.iter().cycle()).for_each(|(to, from)| *to = *from);
    }

    /// By how many frames, up to `most`, what `at` gives for the first of so many frames has to be moved to be most like what `moved` gives.
    fn repeats(
        self,
        frames: usize,
        most: usize,
        channels: usize,
        alike: f32,
        at: impl Fn(usize, usize) -> f32,
        moved: impl Fn(usize, usize, usize) -> f32,
    ) -> Option<usize> {
        let Self { shortest, longest, compared, coarse } = self;
        let longest = longest.min(most);
        if longest < shortest {
            return None;
        }
        // All channels are moved together; the loudest one stands for them.
        let power = |channel: usize| {
            let squares = (0..frames).map(|frame| at(frame, channel) * at(frame, channel));
            squares.sum::<f32>() / frames as f32
        };
        let (channel, power) =
            (0..channels).map(|channel| (channel, power(channel))).max_by(|a, b| a.1.total_cmp(&b.1))?;
        if power < QUIET {
            return Some((self.longest / 2).min(longest));
        }
        let likeness = |period: usize, step: usize| {
            let (mut both, mut first, mut second) = (0.0, 1e-9, 1e-9);
            for frame in (0..compared).step_by(step) {
                let (a, b) = (at(frame, channel), moved(frame, period, channel));
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
        let (rough, _) = best(&mut (shortest..=longest).step_by(coarse), (coarse / 2).max(1))?;
        let near = rough.saturating_sub(coarse).max(shortest)..=(rough + coarse).min(longest);
        let (period, likeness) = best(&mut near.into_iter(), 1)?;
        (likeness >= alike).then_some(period)
    }
}

/// Leaves one period out of the start of interleaved samples: 2.5 to 15 ms, which are made one with the next. Returns how many frames
/// are gone: none if there are fewer than 20 ms, or if what repeats there is less than `alike` itself, from 0 to 1.
pub fn shorten(samples: &mut Vec<f32>, channels: usize, rate: u32, alike: f32) -> usize {
    Lengths::new(rate).shorten(samples, 0, channels.max(1), alike)
}

/// Repeats one period at the start of interleaved samples. Returns how many frames were added, as [`shorten`] does.
pub fn lengthen(samples: &mut Vec<f32>, channels: usize, rate: u32, alike: f32) -> usize {
    let (lengths, channels) = (Lengths::new(rate), channels.max(1));
    // Where the second period begins, of as many frames as `shorten` wants.
    let Some(period) = lengths.period(samples, channels, alike) else { return 0 };
    lengths.lengthen(samples, period * channels, channels, alike)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OPUS_RATE, SPEECH, read, resample};

    const LENGTHS: Lengths = Lengths::new(OPUS_RATE);
    const SHORTEST: usize = LENGTHS.shortest;
    const LEAST: usize = LENGTHS.least();

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
                    let mut moved = 0;
                    for _ in 0..3 {
                        // What was heard before is repeated, without anything to come but 15 ms.
                        moved += if longer {
                            let start = samples.len() - 720 * channels;
                            LENGTHS.lengthen(&mut samples, start, channels, 0.9)
                        } else {
                            LENGTHS.shorten(&mut samples, 0, channels, 0.9)
                        };
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
        assert_eq!(LENGTHS.shorten(&mut noise, 0, 1, 0.7), 0);
        assert_eq!(noise.len(), 4800);
        assert!(
            LENGTHS.shorten(&mut vec![0.0; LEAST], 0, 1, 0.7) > 0
                && LENGTHS.shorten(&mut vec![0.0; LEAST - 1], 0, 1, 0.7) == 0
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
            let frames = LENGTHS.shorten(&mut block, 0, 1, 0.7);
            assert_eq!(block.len(), 2400 - frames);
            gone += frames;
            blocks += 1;
        }
        // One period in 50 ms.
        let share = gone as f32 / (blocks * 2400) as f32;
        assert!(share > 0.1, "{share}");
    }
}
