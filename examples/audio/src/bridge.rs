//! Sound from one clock to another: written as it comes, played when a device asks for it.

use crate::{AdaptiveResampler, ClockFollower};
use std::collections::VecDeque;

/// Most of what two clocks differ by that is followed, in millionths: no two quartz clocks are further apart.
const MOST_DRIFT: f64 = 1000.0;
/// What is left in store behind a turn of the device, in seconds: the least of it over a second or two.
const HEADROOM: f64 = 0.02;
/// It grows by so much whenever it did not do, to so much.
const HEADROOM_STEP: f64 = 0.005;
const MOST_HEADROOM: f64 = 0.06;
/// A speaker that has said nothing for so long has paused, and was not late.
const PAUSE: f64 = 0.5;
/// So much more than that is no drift, and is heard as delay: it is left out at once.
const AHEAD: f64 = 0.08;
/// How long a fade takes where something is left out or missing, in seconds.
const FADE: f64 = 0.0025;
/// What may wait at all, in seconds.
const ROOM: f64 = 1.0;

/// A store that is filled by one clock and emptied by another, and the resampling that keeps it from running over or dry.
///
/// Nobody measures the clocks: what is left in store says how far they are apart. As long as that stays what it was, samples are
/// played as they are. Allocates nothing once the largest block has been played.
#[derive(Debug)]
pub(crate) struct ClockBridge {
    channels: usize,
    rate: f64,
    store: VecDeque<f32>,
    follower: ClockFollower,
    resampler: AdaptiveResampler,
    /// There was enough in store.
    flowing: bool,
    /// For how many frames there was not.
    waited: u64,
    headroom: f64,
    /// The least that was left, in frames: of this second and of the one before.
    least: [usize; 2],
    since: usize,
    /// What is to be left, in frames.
    target: Option<usize>,
    /// How loud it is played: less than 1 behind a gap.
    gain: f32,
    figures: BridgeFigures,
    samples: Vec<f64>,
}

/// What a bridge has done, in frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BridgeFigures {
    /// Left out, because too much was in store.
    pub(crate) left_out: u64,
    /// Due and not there, though something was before and something came soon.
    pub(crate) missing: u64,
    /// How often either was.
    pub(crate) breaks: u64,
}

impl ClockBridge {
    pub(crate) fn new(rate: u32, channels: u16) -> Self {
        let (rate, channels) = (f64::from(rate.max(1)), usize::from(channels.max(1)));
        Self {
            channels,
            rate,
            store: VecDeque::with_capacity((ROOM * rate) as usize * channels),
            follower: ClockFollower::by_level(MOST_DRIFT),
            resampler: AdaptiveResampler::new(channels),
            flowing: false,
            waited: 0,
            headroom: HEADROOM,
            least: [usize::MAX; 2],
            since: 0,
            target: None,
            gain: 1.0,
            figures: BridgeFigures::default(),
            samples: Vec::new(),
        }
    }

    /// Room for so many more samples.
    pub(crate) fn room(&self) -> usize {
        ((ROOM * self.rate) as usize * self.channels).saturating_sub(self.store.len())
    }

    /// Takes samples, as far as there is [`room`](Self::room).
    pub(crate) fn push(&mut self, samples: impl IntoIterator<Item = f32>) {
        let room = self.room();
        self.store.extend(samples.into_iter().take(room));
    }

    pub(crate) const fn channels(&self) -> usize {
        self.channels
    }

    pub(crate) const fn figures(&self) -> BridgeFigures {
        self.figures
    }

    #[cfg(test)]
    pub(crate) fn capacities(&self) -> [usize; 2] {
        [self.store.capacity(), self.samples.capacity()]
    }

    #[cfg(test)]
    pub(crate) const fn is_resampling(&self) -> bool {
        self.follower.is_engaged()
    }

    /// How much of what comes in is played in the time of a frame.
    #[cfg(test)]
    pub(crate) fn ratio(&self) -> f64 {
        self.follower.ratio()
    }

    /// Frames in store, without those that a resampler holds back.
    fn playable(&self) -> usize {
        let held = if self.follower.is_engaged() { AdaptiveResampler::AHEAD + 1 } else { 0 };
        self.stored().saturating_sub(held)
    }

    /// Frames in store.
    pub(crate) fn stored(&self) -> usize {
        self.store.len() / self.channels + self.resampler.ahead()
    }

    /// What the device is to play in this turn: whole frames.
    pub(crate) fn fill(&mut self, out: &mut [f32]) {
        let frames = out.len() / self.channels;
        let seconds = |frames: usize, rate: f64| frames as f64 / rate;
        let headroom = (self.headroom * self.rate) as usize;
        if !self.flowing {
            if self.playable() < frames + headroom {
                self.waited += frames as u64;
                out.fill(0.0);
                return;
            }
            self.resume();
        }
        let came =
            if self.follower.is_engaged() { self.resample(out, frames) } else { self.pass(out, frames) };
        let left = self.playable();
        let fade = ((FADE * self.rate) as usize).clamp(1, frames.max(1));
        self.swell(out, fade);
        self.least[0] = self.least[0].min(left);
        self.since += frames;
        let least = self.least[0].min(self.least[1]);
        if came < frames || left < fade {
            // The next turn could break off in the middle.
            self.soften(&mut out[..came * self.channels], fade);
            self.flowing = false;
            self.waited = (frames - came) as u64;
            self.forget();
            return;
        }
        // At the start there is as much as a turn more.
        let target = *self.target.get_or_insert_with(|| least.clamp(headroom, headroom + frames));
        let target = target.max(headroom);
        let level = (seconds(least, self.rate), seconds(target, self.rate));
        self.follower.update(seconds(frames, self.rate), level, None);
        if least > headroom + (AHEAD * self.rate) as usize && self.since > self.rate as usize / 2 {
            self.soften(out, fade);
            let excess = (least - headroom).min(self.store.len() / self.channels);
            self.store.drain(..excess * self.channels);
            self.resampler.reset();
            self.figures.left_out += excess as u64;
            self.figures.breaks += 1;
            self.forget();
        } else if self.since > self.rate as usize {
            self.least = [usize::MAX, self.least[0]];
            self.since = 0;
        }
    }

    /// There is enough in store again.
    fn resume(&mut self) {
        self.flowing = true;
        let was_late = self.figures.breaks > 0 || self.gain < 1.0;
        if was_late && (self.waited as f64) < PAUSE * self.rate {
            self.figures.missing += self.waited;
            self.figures.breaks += 1;
            self.headroom = (self.headroom + HEADROOM_STEP).min(MOST_HEADROOM);
        }
    }

    /// What was in store says nothing any more.
    fn forget(&mut self) {
        self.gain = 0.0;
        self.least = [usize::MAX; 2];
        self.since = 0;
        self.target = None;
        self.follower.forget_level();
    }

    /// Plays frames as they are; returns how many.
    fn pass(&mut self, out: &mut [f32], frames: usize) -> usize {
        let came = frames.min(self.store.len() / self.channels) * self.channels;
        self.samples.clear();
        for (to, from) in out.iter_mut().zip(self.store.drain(..came)) {
            *to = from;
            self.samples.push(from.into());
        }
        out[came..].fill(0.0);
        // What a resampler needs if there is to be one.
        self.resampler.passed(&self.samples);
        came / self.channels
    }

    /// Plays frames at the rate that the clocks ask for; returns how many.
    fn resample(&mut self, out: &mut [f32], frames: usize) -> usize {
        let ratio = self.follower.ratio();
        let wanted = self.resampler.wanted(frames, ratio) * self.channels;
        let whole = self.store.len() - self.store.len() % self.channels;
        self.samples.clear();
        self.samples.extend(self.store.drain(..wanted.min(whole)).map(f64::from));
        self.resampler.push(&self.samples);
        self.samples.clear();
        self.samples.resize(out.len(), 0.0);
        let came = self.resampler.process(ratio, &mut self.samples) * self.channels;
        out.iter_mut().zip(&self.samples[..came]).for_each(|(to, from)| *to = *from as f32);
        out[came..].fill(0.0);
        came / self.channels
    }

    /// Becomes as loud as it is, over so many frames.
    fn swell(&mut self, out: &mut [f32], fade: usize) {
        for frame in out.chunks_exact_mut(self.channels) {
            if self.gain >= 1.0 {
                return;
            }
            self.gain += 1.0 / fade as f32;
            let gain = curve(self.gain);
            frame.iter_mut().for_each(|sample| *sample *= gain);
        }
    }

    /// Becomes silent over the last frames.
    fn soften(&self, out: &mut [f32], fade: usize) {
        for (n, frame) in out.chunks_exact_mut(self.channels).rev().take(fade).enumerate() {
            let gain = curve(n as f32 / fade as f32);
            frame.iter_mut().for_each(|sample| *sample *= gain);
        }
    }
}

/// Half a cosine: softer at both ends than a straight line.
fn curve(at: f32) -> f32 {
    (1.0 - (core::f32::consts::PI * at.clamp(0.0, 1.0)).cos()) / 2.0
}
