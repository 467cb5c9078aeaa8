//! Playing a stream by another clock than it was made by: how much faster, and the resampling that it takes.

use core::f64::consts::PI;
use std::sync::{Arc, OnceLock};

/// Frames that a sample is computed from.
const TAPS: usize = 48;
/// Of these, before the one that is due.
const BEFORE: usize = TAPS / 2 - 1;
/// Places between two frames that the filter is computed for; between these it is interpolated.
const PHASES: usize = 512;
/// Of the Kaiser window: what it adds is 100 dB below the sound, up to 15 kHz of 48.
const BETA: f64 = 9.0;

/// Resamples by a ratio close to 1 that changes as it goes, without a click.
///
/// A polyphase sinc of 48 frames under a Kaiser window. As long as the ratio is exactly 1 from the beginning, samples come out as they
/// went in, bit for bit, so that it can be switched in and out of a stream. A library's resampler ([rubato](https://docs.rs/rubato))
/// has neither this nor a ratio for each frame. Allocates no more once it has seen its largest block.
#[derive(Debug, Clone)]
pub struct AdaptiveResampler {
    channels: usize,
    filter: Arc<[[f64; TAPS]]>,
    /// [`BEFORE`] frames that have been played, then what is to be played, interleaved.
    held: Vec<f64>,
    /// How far the next frame lies behind the first one that has not been played: from 0 to 1.
    fraction: f64,
}

impl AdaptiveResampler {
    /// Frames that it holds back: those behind the one that is due.
    pub const AHEAD: usize = TAPS / 2;

    /// For interleaved samples of so many channels; before the first of them was silence.
    pub fn new(channels: usize) -> Self {
        static FILTER: OnceLock<Arc<[[f64; TAPS]]>> = OnceLock::new();
        let channels = channels.max(1);
        let filter = FILTER.get_or_init(filter).clone();
        Self { channels, filter, held: vec![0.0; BEFORE * channels], fraction: 0.0 }
    }

    /// Forgets what it holds.
    pub fn reset(&mut self) {
        self.held.clear();
        self.held.resize(BEFORE * self.channels, 0.0);
        self.fraction = 0.0;
    }

    /// Frames that have been taken and are still to be played.
    pub fn ahead(&self) -> usize {
        (self.held.len() / self.channels).saturating_sub(BEFORE)
    }

    /// How many frames are to be pushed before `frames` can be produced, each of which lasts as long as `ratio` of those.
    pub fn wanted(&self, frames: usize, ratio: f64) -> usize {
        if frames == 0 {
            return 0;
        }
        let last = self.fraction + (frames - 1) as f64 * ratio;
        (last as usize + TAPS).saturating_sub(self.held.len() / self.channels)
    }

    /// Takes samples: whole frames.
    pub fn push(&mut self, samples: &[f64]) {
        self.held.extend_from_slice(samples);
    }

    /// Takes samples that are played elsewhere, as they are: only what comes behind them needs them.
    pub fn passed(&mut self, samples: &[f64]) {
        let whole = BEFORE * self.channels;
        let newest = &samples[samples.len().saturating_sub(whole)..];
        self.held.extend_from_slice(newest);
        self.held.drain(..self.held.len().saturating_sub(whole));
    }

    /// Fills `out` as far as what has been pushed allows; returns how many frames that are.
    pub fn process(&mut self, ratio: f64, out: &mut [f64]) -> usize {
        let Self { channels, filter, held, fraction } = self;
        let channels = *channels;
        let frames = held.len() / channels;
        let mut produced = 0;
        let mut at = 0;
        for frame in out.chunks_exact_mut(channels) {
            if at + TAPS > frames {
                break;
            }
            let place = *fraction * PHASES as f64;
            let phase = (place as usize).min(PHASES - 1);
            let between = place - phase as f64;
            let mut taps = filter[phase];
            if between > 0.0 {
                taps.iter_mut()
                    .zip(&filter[phase + 1])
                    .for_each(|(tap, next)| *tap += (next - *tap) * between);
            }
            let window = &held[at * channels..(at + TAPS) * channels];
            for (channel, sample) in frame.iter_mut().enumerate() {
                let samples = window.iter().skip(channel).step_by(channels);
                *sample = samples.zip(&taps).map(|(sample, tap)| sample * tap).sum();
            }
            produced += 1;
            *fraction += ratio;
            let whole = *fraction as usize;
            *fraction -= whole as f64;
            at += whole;
        }
        // What a frame may have stepped over and has not come.
        let gone = at.min(frames);
        *fraction += (at - gone) as f64;
        held.drain(..gone * channels);
        produced
    }
}

/// The filter at every place from one frame to the next, both included.
fn filter() -> Arc<[[f64; TAPS]]> {
    let bessel = |x: f64| {
        let (mut term, mut sum) = (1.0, 1.0);
        for k in 1..40 {
            term *= (x / (2.0 * f64::from(k))).powi(2);
            sum += term;
        }
        sum
    };
    let tap = |phase: usize, tap: usize| {
        let x = tap as f64 - BEFORE as f64 - phase as f64 / PHASES as f64;
        if phase.is_multiple_of(PHASES) {
            // Exactly, so that frames are what they were.
            return if x == 0.0 { 1.0 } else { 0.0 };
        }
        let edge = x / (TAPS as f64 / 2.0);
        (PI * x).sin() / (PI * x) * bessel(BETA * (1.0 - edge * edge).max(0.0).sqrt()) / bessel(BETA)
    };
    (0..=PHASES)
        .map(|phase| {
            let mut taps: [f64; TAPS] = core::array::from_fn(|at| tap(phase, at));
            // Silence and steady levels stay what they are.
            let sum: f64 = taps.iter().sum();
            taps.iter_mut().for_each(|tap| *tap /= sum);
            taps
        })
        .collect()
}

/// Decides how much faster a stream is to be played so that what is in store stays what it should be, though the clock that made it
/// is not the one that plays it.
///
/// A phase-locked loop: the measured drift is what the rate settles at, and a small part of what there is too much in store is made up
/// for beside it, over 20 s. It stays out of the way, at exactly 1, until the drift is beyond doubt and has begun to tell, so that streams
/// of one clock are played as they are. Keeps no clock.
///
/// Where nobody can measure the drift, [`by_level`](Self::by_level) finds it in what is in store.
#[derive(Debug, Clone)]
pub struct ClockFollower {
    /// Most of a drift that is followed, in millionths.
    limit: f64,
    /// The drift is found in what is in store.
    by_level: bool,
    engaged: bool,
    /// The drift, as last known.
    drift: f64,
    /// For how long it has been played.
    age: f64,
    /// Beside what should be in store, in seconds.
    level: Option<f64>,
    /// For how long it has been far off.
    off_for: f64,
    rate: f64,
    state: FollowState,
}

/// Whether a stream can be followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FollowState {
    /// It can, as far as is known.
    #[default]
    WithinRange,
    /// Its clock is too fast: now and then something has to be left out.
    TooFast,
    /// Its clock is too slow: now and then it has to be waited for.
    TooSlow,
}

/// What is in store is looked at over so many seconds.
const LEVEL_TIME: f64 = 2.0;
/// What there is too much or too little of it is made up for in about so many seconds.
const LEVEL_PULL: f64 = 20.0;
/// At most so much faster or slower for that, in millionths.
const MOST_PULL: f64 = 250.0;
/// How quickly the rate changes, in millionths a second: no ear hears it.
const SLEW: f64 = 1000.0;
/// After so many seconds with the store far from its target the rate is corrected, also where no drift has been measured.
const PATIENCE: f64 = 10.0;
/// Where the drift is found in what is in store: that may be so much off, for so many seconds, before anything is done.
const LEVEL_OFF: f64 = 0.004;
const LEVEL_PATIENCE: f64 = 1.0;
/// And how quickly it is found, in seconds: a loop that is critically damped.
const LEVEL_LOOP: f64 = 20.0;

impl ClockFollower {
    /// Follows clocks that are up to `limit` millionths off; with 0, none.
    pub const fn new(limit: f64) -> Self {
        Self {
            limit,
            by_level: false,
            engaged: false,
            drift: 0.0,
            age: 0.0,
            level: None,
            off_for: 0.0,
            rate: 0.0,
            state: FollowState::WithinRange,
        }
    }

    /// The same where no drift is measured: it is what keeps the store from staying where it should be.
    pub const fn by_level(limit: f64) -> Self {
        Self { by_level: true, ..Self::new(limit) }
    }

    /// What is in store is not what it was: some was left out, or it was waited for. The drift stays.
    pub const fn forget_level(&mut self) {
        (self.level, self.off_for) = (None, 0.0);
    }

    /// `elapsed` seconds later there is `stored` in store where there should be `wanted`, in seconds; and the drift is measured to be
    /// so many millionths, and how much that may be wrong.
    pub fn update(&mut self, elapsed: f64, (stored, wanted): (f64, f64), drift: Option<(f64, f64)>) {
        if self.limit <= 0.0 {
            return;
        }
        let off = stored - wanted;
        let level = self.level.map_or(off, |level| level + (off - level) * (elapsed / LEVEL_TIME).min(1.0));
        self.level = Some(level);
        self.age += elapsed;
        let mut told = 0.0;
        if let Some((ppm, uncertainty)) = drift {
            let beyond_doubt = ppm.abs() > 3.0 * uncertainty;
            if beyond_doubt {
                // What it has come to, by now: a busy machine is late by more, and for a while.
                told = ppm.abs().min(self.limit) * 1e-6 * self.age;
            }
            if beyond_doubt || uncertainty < 50.0 {
                self.drift = ppm;
            }
            self.state = match ppm {
                ppm if ppm - uncertainty > self.limit => FollowState::TooFast,
                ppm if ppm + uncertainty < -self.limit => FollowState::TooSlow,
                _ => FollowState::WithinRange,
            };
        }
        let (far, patience) =
            if self.by_level { (LEVEL_OFF, LEVEL_PATIENCE) } else { (wanted / 2.0 + 0.005, PATIENCE) };
        self.off_for = if level.abs() > far { self.off_for + elapsed } else { 0.0 };
        self.engaged |= told > wanted / 8.0 || self.off_for > patience;
        if self.engaged {
            let pull = if self.by_level {
                let drift = self.drift + level / (LEVEL_LOOP * LEVEL_LOOP) * 1e6 * elapsed;
                self.drift = drift.clamp(-self.limit, self.limit);
                (level * 2.0 / LEVEL_LOOP * 1e6).clamp(-2.0 * MOST_PULL, 2.0 * MOST_PULL)
            } else {
                (level / LEVEL_PULL * 1e6).clamp(-MOST_PULL, MOST_PULL)
            };
            let aim = self.drift.clamp(-self.limit, self.limit) + pull;
            let most = SLEW * elapsed;
            self.rate += (aim - self.rate).clamp(-most, most);
        }
    }

    /// Whether anything has to be done: if not, it is to be played as it is.
    pub const fn is_engaged(&self) -> bool {
        self.engaged
    }

    /// How much of the stream is played in the time of a frame: 1, and a little more or less.
    pub fn ratio(&self) -> f64 {
        1.0 + self.rate * 1e-6
    }

    /// Whether the stream can be followed.
    pub const fn state(&self) -> FollowState {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::f64::consts::TAU;

    #[test]
    fn at_a_ratio_of_one_samples_stay_what_they_are() {
        let samples: Vec<f64> = (0..2000).map(|n| f64::from(n * 7919 % 1000) / 1000.0 - 0.5).collect();
        let mut resampler = AdaptiveResampler::new(2);
        // In the middle of a stream.
        resampler.passed(&samples[..400]);
        let mut heard = Vec::new();
        let mut rest = &samples[400..];
        loop {
            let wanted = resampler.wanted(32, 1.0) * 2;
            if wanted > rest.len() {
                break;
            }
            let (now, later) = rest.split_at(wanted);
            resampler.push(now);
            rest = later;
            let mut block = [0.0; 64];
            assert_eq!(resampler.process(1.0, &mut block), 32);
            heard.extend(block);
        }
        assert!(heard.len() > 1400);
        assert_eq!(heard, samples[400..400 + heard.len()]);
    }

    /// Level of all that the filter adds to a tone (images, noise), relative to the tone, in dB.
    fn impurity(hz: f64, ppm: f64) -> f64 {
        let mut resampler = AdaptiveResampler::new(1);
        let ratio = 1.0 + ppm * 1e-6;
        let step = hz / 48_000.0 * TAU;
        let samples: Vec<f64> = (0..70_000).map(|n| (f64::from(n) * step).sin()).collect();
        resampler.push(&samples);
        let mut out = vec![0.0; 60_000];
        assert_eq!(resampler.process(ratio, &mut out), 60_000);
        // The sine and cosine that fit best; their frequency is known.
        let out = &out[1000..];
        let phase = |n: usize| n as f64 * step * ratio;
        let sum =
            |of: &dyn Fn(usize, f64) -> f64| -> f64 { out.iter().enumerate().map(|(n, x)| of(n, *x)).sum() };
        let (x, y) = (sum(&|n, x| x * phase(n).sin()), sum(&|n, x| x * phase(n).cos()));
        let (ss, cc) = (sum(&|n, _| phase(n).sin().powi(2)), sum(&|n, _| phase(n).cos().powi(2)));
        let sc = sum(&|n, _| phase(n).sin() * phase(n).cos());
        let (sine, cosine) =
            ((x * cc - y * sc) / (ss * cc - sc * sc), (y * ss - x * sc) / (ss * cc - sc * sc));
        let rest = out.iter().enumerate();
        let rest = rest.map(|(n, sample)| sample - sine * phase(n).sin() - cosine * phase(n).cos());
        let rest: f64 = rest.map(|rest| rest * rest).sum();
        10.0 * (rest / out.len() as f64 / 0.5).log10()
    }

    /// F-55: what resampling adds is not heard: measured, for both ends of the range and up to 20 kHz.
    #[test]
    fn f_55_images_are_far_below_the_sound() {
        for (hz, most) in
            [(100.0, -100.0), (1000.0, -95.0), (10_000.0, -95.0), (18_000.0, -85.0), (20_000.0, -70.0)]
        {
            for ppm in [-1000.0, -137.0, 23.0, 1000.0] {
                let impurity = impurity(hz, ppm);
                println!("{hz} Hz, {ppm} ppm: {impurity:.1} dB");
                assert!(impurity < most, "{hz} Hz, {ppm} ppm: {impurity} dB");
            }
        }
    }

    #[test]
    fn it_takes_what_there_is_and_goes_on_where_it_was() {
        let samples: Vec<f64> = (0..5000).map(|n| (f64::from(n) * 0.05).sin()).collect();
        let ratio = 1.0007;
        let mut whole = vec![0.0; 4000];
        let mut resampler = AdaptiveResampler::new(1);
        resampler.push(&samples);
        assert_eq!(resampler.process(ratio, &mut whole), 4000);
        let mut resampler = AdaptiveResampler::new(1);
        let mut heard = Vec::new();
        for part in samples.chunks(7) {
            resampler.push(part);
            let mut block = [0.0; 20];
            let n = resampler.process(ratio, &mut block);
            heard.extend_from_slice(&block[..n]);
        }
        assert!(heard.len() > 4000 && resampler.ahead() <= TAPS, "{}", heard.len());
        let worst = heard.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-9, "{worst}");
        // And says what it needs.
        for frames in 1..50 {
            let n = resampler.wanted(frames, ratio);
            let mut other = resampler.clone();
            other.push(&vec![0.0; n]);
            assert_eq!(other.process(ratio, &mut vec![0.0; frames]), frames);
            if n > 0 {
                let mut other = resampler.clone();
                other.push(&vec![0.0; n - 1]);
                assert!(other.process(ratio, &mut vec![0.0; frames]) < frames);
            }
        }
    }

    /// A store of 20 ms, filled by a clock that is `ppm` faster; the drift is measured within a second or two. Returns how little and
    /// how much was ever in store, and what the follower settled at.
    fn follow(ppm: f64, seconds: f64) -> (f64, f64, ClockFollower) {
        let mut follower = ClockFollower::new(1000.0);
        let (mut stored, mut least, mut most) = (0.02, f64::MAX, 0.0_f64);
        let step = 0.001;
        let mut now = 0.0;
        while now < seconds {
            now += step;
            stored += step * (1.0 + ppm * 1e-6) - step * follower.ratio();
            (least, most) = (stored.min(least), stored.max(most));
            let measured = (now > 2.5).then_some((ppm, 300.0 / now / now));
            follower.update(step, (stored, 0.02), measured);
        }
        (least, most, follower)
    }

    /// F-55: what is in store stays near what it should be, from -1000 to 1000 millionths.
    #[test]
    fn f_55_the_rate_settles_at_the_drift_and_the_store_at_what_is_wanted() {
        for ppm in [-1000.0, -400.0, -20.0, 20.0, 400.0, 1000.0] {
            let (least, most, follower) = follow(ppm, 900.0);
            assert!(least > 0.012 && most < 0.028, "{ppm}: {least} to {most}");
            assert!(((follower.ratio() - 1.0) * 1e6 - ppm).abs() < 2.0, "{ppm}: {}", follower.ratio());
            assert_eq!(follower.state(), FollowState::WithinRange);
        }
        // Of one clock: nothing is done.
        assert!(!follow(0.0, 100.0).2.is_engaged() && follow(0.0, 100.0).2.ratio() == 1.0);
        assert_eq!(follow(5000.0, 5.0).2.state(), FollowState::TooFast);
        assert_eq!(follow(-5000.0, 5.0).2.state(), FollowState::TooSlow);
    }
}
