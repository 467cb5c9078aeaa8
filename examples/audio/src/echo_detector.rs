//! Whether a loudspeaker is heard in a microphone.

use core::time::Duration;
use std::collections::VecDeque;

/// How long a bin is.
const BIN: Duration = Duration::from_millis(20);
/// Bins that are compared at a time: 4 s.
const WINDOW: usize = 200;
/// How late an echo may be, in bins: 1 s, with what both devices hold.
const MOST_LATE: usize = 50;
/// From this correlation on the two are alike.
const ALIKE: f64 = 0.75;
/// In so many windows in a row, which overlap by half.
const TIMES: u32 = 3;
/// How much the delay may change from one to the next, in bins.
const SAME: usize = 2;
/// What is more quiet is not there: -54 dB of full scale for what is played, and -80 for what is recorded.
const PLAYED: f64 = 0.002;
const RECORDED: f64 = 0.0001;

/// Compares what is played with what is recorded, by how loud they are from moment to moment. That needs neither one rate nor one clock
/// for both. It finds an echo of more than about 15 seconds of speech, unless somebody speaks at the same time.
#[derive(Debug, Default)]
pub struct EchoDetector {
    played: Envelope,
    recorded: Envelope,
    /// The bin up to which the two have been compared.
    compared: u64,
    /// How often in a row an echo was found, and how late it was.
    found: (u32, usize),
}

impl EchoDetector {
    /// One that has heard nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Samples from -1 to 1 are played at `now`, on a clock that both have.
    pub fn played(&mut self, now: Duration, samples: &[f32]) {
        self.played.add(now, samples);
    }

    /// Samples from -1 to 1 come from the microphone. True once an echo has been found in several seconds of sound.
    pub fn recorded(&mut self, now: Duration, samples: &[f32]) -> bool {
        self.recorded.add(now, samples);
        let end = self.recorded.end().min(self.played.end());
        if end < self.compared + WINDOW as u64 / 2 {
            return self.found.0 >= TIMES;
        }
        self.compared = end;
        match self.delay(end) {
            Some(delay) if self.found.0 > 0 && delay.abs_diff(self.found.1) <= SAME => {
                self.found = (self.found.0 + 1, delay);
            }
            Some(delay) => self.found = (1, delay),
            None => self.found.0 = 0,
        }
        self.found.0 >= TIMES
    }

    /// How late what is played is heard, in bins, if it is.
    fn delay(&self, end: u64) -> Option<usize> {
        let recorded = self.recorded.window(end, 0)?;
        if loudest(&recorded) < RECORDED {
            return None;
        }
        let alike = (0..MOST_LATE).filter_map(|late| {
            let played = self.played.window(end, late as u64)?;
            (loudest(&played) > PLAYED).then(|| (late, correlation(&played, &recorded)))
        });
        let (late, best) = alike.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        (best >= ALIKE).then_some(late)
    }
}

fn loudest(bins: &[f64]) -> f64 {
    bins.iter().fold(0.0, |loudest, bin| loudest.max(*bin))
}

/// How alike two envelopes are, from -1 to 1, however loud each is. Roots, so that not only the loudest moments count.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let centred = |bins: &[f64]| {
        let roots: Vec<f64> = bins.iter().map(|bin| bin.sqrt()).collect();
        let mean = roots.iter().sum::<f64>() / roots.len().max(1) as f64;
        roots.into_iter().map(|root| root - mean).collect::<Vec<_>>()
    };
    let (a, b) = (centred(a), centred(b));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let power = product(&a, &a) * product(&b, &b);
    if power > 0.0 { product(&a, &b) / power.sqrt() } else { 0.0 }
}

/// How loud something is, in bins of time.
#[derive(Debug, Default)]
struct Envelope {
    /// The sum of squares, and the number of samples.
    bins: VecDeque<(f64, usize)>,
    /// The number of the first bin.
    first: u64,
}

impl Envelope {
    fn add(&mut self, now: Duration, samples: &[f32]) {
        let bin = u64::try_from(now.as_millis() / BIN.as_millis()).unwrap_or(u64::MAX);
        let kept = (2 * WINDOW + MOST_LATE) as u64;
        if self.bins.is_empty() || bin >= self.end() + kept {
            self.bins.clear();
            self.first = bin;
        }
        while self.end() <= bin {
            self.bins.push_back((0.0, 0));
        }
        while self.bins.len() as u64 > kept {
            self.bins.pop_front();
            self.first += 1;
        }
        let at = bin.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some((squares, count)) = at.and_then(|at| self.bins.get_mut(at)) {
            *squares += samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
            *count += samples.len();
        }
    }

    /// The number behind the last bin.
    fn end(&self) -> u64 {
        self.first + self.bins.len() as u64
    }

    /// The bins before `end`, `late` bins earlier: the root of the mean square of each. Blocks come in steps, so that each is taken
    /// together with its neighbours.
    fn window(&self, end: u64, late: u64) -> Option<Vec<f64>> {
        // The last one is not complete.
        let end = usize::try_from(end.checked_sub(late + 2)?.checked_sub(self.first)?).ok()?;
        let start = end.checked_sub(WINDOW)?;
        let mean = |at: usize| {
            let near = self.bins.range(at.saturating_sub(1)..(at + 2).min(self.bins.len()));
            let (squares, count) =
                near.fold((0.0, 0), |(sum, n), (squares, count)| (sum + squares, n + count));
            if count > 0 { (squares / count as f64).sqrt() } else { 0.0 }
        };
        (end <= self.bins.len()).then(|| (start..end).map(mean).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SPEECH, read, resample};

    const RATE: usize = 16_000;

    fn speech(seconds: usize) -> Vec<f32> {
        let clip = resample(&read(SPEECH).unwrap().clip.mono(), RATE as u32).unwrap();
        clip.samples.iter().cycle().take(seconds * RATE).map(|sample| *sample as f32).collect()
    }

    fn noise(level: f32) -> impl FnMut() -> f32 {
        let mut random = 1_u32;
        move || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((random >> 8) as f32 / (1 << 24) as f32 - 0.5) * 2.0 * level
        }
    }

    /// Played in blocks of 10 ms, recorded in blocks of 20; after how many seconds an echo is found.
    fn found(played: &[f32], recorded: &[f32]) -> Option<usize> {
        let mut detector = EchoDetector::new();
        for (n, block) in recorded.chunks(RATE / 50).enumerate() {
            let now = Duration::from_millis(n as u64 * 20);
            for half in 0..2 {
                let at = n * RATE / 50 + half * RATE / 100;
                let block = played.get(at..at + RATE / 100).unwrap_or_default();
                detector.played(now + Duration::from_millis(half as u64 * 10), block);
            }
            if detector.recorded(now, block) {
                return Some(n / 50);
            }
        }
        None
    }

    /// F-77: what is played and comes back, late, 26 dB more quiet and with noise, is found within 20 s.
    #[test]
    fn f_77_an_echo_is_found() {
        let played = speech(40);
        for late in [0.0, 0.06, 0.2, 0.7] {
            let mut next = noise(0.001);
            let late = (late * RATE as f64) as usize;
            let echo = (0..played.len()).map(|at| {
                at.checked_sub(late).and_then(|at| played.get(at)).map_or(0.0, |sample| sample * 0.05)
                    + next()
            });
            let after = found(&played, &echo.collect::<Vec<_>>());
            assert!(after.is_some_and(|seconds| seconds <= 20), "{late}: {after:?}");
        }
    }

    /// F-77: another voice, noise and silence are no echo, however long.
    #[test]
    fn f_77_another_voice_and_noise_are_no_echo() {
        let played = speech(160);
        let backwards: Vec<f32> = played.iter().rev().copied().collect();
        // The same speaker, who says it with other pauses.
        let slower: Vec<f32> = (0..played.len()).map(|at| played[at * 9 / 10]).collect();
        let mut next = noise(0.01);
        let hiss: Vec<f32> = played.iter().map(|_| next()).collect();
        for (name, recorded) in [
            ("backwards", backwards),
            ("slower", slower),
            ("noise", hiss),
            ("silence", vec![0.0; played.len()]),
        ] {
            assert_eq!(found(&played, &recorded), None, "{name}");
        }
        let mut next = noise(0.01);
        let quiet: Vec<f32> = played.iter().map(|_| next() * 0.01).collect();
        assert_eq!(found(&quiet, &quiet), None, "what is hardly played");
    }
}
