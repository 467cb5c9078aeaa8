//! How late packets come, and what may be said of the next ones.

use core::time::Duration;

/// How late packets come, compared with the quickest ones.
///
/// A packet's transit is when it came in less when it was spoken: by clocks that have nothing to do with each other, so that only
/// differences say something. A moment's delay is what its slowest packet was late by, compared with the quickest of the moments up to it
/// and with the quickest from it on, whichever is slower: so that a way that becomes longer or shorter is no jitter.
#[derive(Debug)]
pub(super) struct Delays {
    /// The last moments, the newest last, of which the last few are not in the histogram yet.
    moments: [Option<Moment>; MOMENTS],
    /// The last packets' transits.
    recent: [Option<f64>; 4],
    /// When the newest packet came in.
    newest: Duration,
    /// How likely delays are, in steps of [`STEP`].
    histogram: [f32; STEPS],
    observations: u32,
    /// In seconds.
    quantile: f64,
}

/// Transits within a moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    end: Duration,
    quickest: f64,
    slowest: f64,
    /// A speech begins with it.
    first: bool,
}

const STEP: f64 = 0.001;
const STEPS: usize = 500;
/// What comes in so late did not vary, it stood still.
const STALL: f64 = STEP * STEPS as f64;
const MOMENT: Duration = Duration::from_millis(200);
/// Moments before one, and behind it, that it is compared with.
const AROUND: usize = 2;
const MOMENTS: usize = 2 * AROUND + 1;
/// What comes in so soon behind something else came with it, as what a stall held back: that is one moment, not several.
const BURST: Duration = Duration::from_millis(3);
/// Before anything is known, packets may be late by so many steps.
const UNKNOWN: usize = 2;

impl Delays {
    pub(super) fn new() -> Self {
        let mut histogram = [0.0; STEPS];
        histogram[UNKNOWN] = 1.0;
        let mut delays = Self {
            moments: [None; MOMENTS],
            recent: [None; 4],
            newest: Duration::ZERO,
            histogram,
            observations: 0,
            quantile: 0.0,
        };
        delays.settle();
        delays
    }

    pub(super) fn forget_baseline(&mut self) {
        // There will be nothing to compare the last moments with.
        for _ in 0..=AROUND {
            self.turn(None);
        }
        self.moments = [None; MOMENTS];
        self.recent = [None; 4];
    }

    /// All that was observed lately was spoken so much later.
    pub(super) fn shift(&mut self, seconds: f64) {
        for moment in self.moments.iter_mut().flatten() {
            moment.quickest -= seconds;
            moment.slowest -= seconds;
        }
        self.recent.iter_mut().flatten().for_each(|transit| *transit -= seconds);
    }

    pub(super) fn observe(&mut self, now: Duration, spoken: f64) {
        let transit = now.as_secs_f64() - spoken;
        let burst = now < self.newest + BURST;
        self.newest = now;
        self.recent.rotate_left(1);
        self.recent[self.recent.len() - 1] = Some(transit);
        let moment = &mut self.moments[MOMENTS - 1];
        match moment {
            Some(moment) if now < moment.end || (burst && now < moment.end + MOMENT) => {
                let before = moment.quickest;
                moment.quickest = before.min(transit);
                // The first packets of a speech may come in a burst, and say little.
                moment.slowest = if moment.first {
                    moment.slowest + (moment.quickest - before).min(0.0)
                } else {
                    moment.slowest
                };
                moment.slowest = moment.slowest.max(transit);
            }
            _ => {
                let first = self.moments.iter().all(Option::is_none);
                let end = now + MOMENT;
                self.turn(Some(Moment { end, quickest: transit, slowest: transit, first }));
            }
        }
    }

    /// Begins a moment: there is one more to compare the others with.
    fn turn(&mut self, moment: Option<Moment>) {
        // The newest one is over now, and the one in the middle has seen what came behind it.
        if let Some(delay) = self.delay(AROUND) {
            note(&mut self.histogram, &mut self.observations, delay);
        }
        self.settle();
        self.moments.rotate_left(1);
        self.moments[MOMENTS - 1] = moment;
    }

    /// By how much the slowest packet of a moment was late.
    fn delay(&self, at: usize) -> Option<f64> {
        let moment = self.moments[at]?;
        let quickest = |moments: &[Option<Moment>]| {
            moments.iter().flatten().map(|moment| moment.quickest).fold(moment.quickest, f64::min)
        };
        let before = quickest(&self.moments[at.saturating_sub(AROUND)..at]);
        let behind = quickest(&self.moments[at + 1..(at + 1 + AROUND).min(MOMENTS)]);
        // Of the newest one nobody can tell yet: the way may have become longer.
        let quickest = if at + AROUND < MOMENTS { before.max(behind) } else { before };
        Some(moment.slowest - quickest)
    }

    /// The quickest transit of late.
    pub(super) fn quickest(&self) -> Option<f64> {
        let last = self.moments.iter().rev().take(AROUND + 1).flatten();
        last.map(|moment| moment.quickest).reduce(f64::min)
    }

    /// The quickest of the last few packets.
    pub(super) fn recent(&self) -> Option<f64> {
        self.recent.iter().flatten().copied().reduce(f64::min)
    }

    /// Finds the quantile, with those moments that are not in the histogram yet.
    fn settle(&mut self) {
        let (mut histogram, mut observations) = (self.histogram, self.observations);
        for at in AROUND + 1..MOMENTS {
            if let Some(delay) = self.delay(at) {
                note(&mut histogram, &mut observations, delay);
            }
        }
        let mut sum = 0.0;
        let at = histogram.iter().position(|share| {
            sum += share;
            sum >= 0.95
        });
        self.quantile = (at.unwrap_or(STEPS) + 1) as f64 * STEP;
    }

    pub(super) fn quantile(&self) -> Duration {
        Duration::from_secs_f64(self.quantile)
    }
}

fn note(histogram: &mut [f32; STEPS], observations: &mut u32, delay: f64) {
    // A stall is not jitter: no delay that may be aimed at bridges it, and it says nothing about what follows.
    if delay >= STALL {
        return;
    }
    *observations = observations.saturating_add(1);
    // The first ones count for much, later ones for one part in sixty: about twelve seconds of speech.
    let keep = (1.0 - 2.0 / (*observations as f32 + 1.0)).min(1.0 - 1.0 / 60.0);
    let step = ((delay / STEP) as usize).min(STEPS - 1);
    for (at, share) in histogram.iter_mut().enumerate() {
        *share = *share * keep + if at == step { 1.0 - keep } else { 0.0 };
    }
}
