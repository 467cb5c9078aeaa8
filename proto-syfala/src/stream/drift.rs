//! How far another device's clock is off, from when its bytes come.

use crate::Format;
use core::fmt;
use voxwire_core::Instant;

/// Measures how much faster a stream comes than its format says: two devices never have the same clock.
///
/// What is observed is how late the stream is beside the local clock. The earliest message of each interval counts, as a network
/// delays and never hurries; a line through these, by least squares, rises or falls as the clocks run apart. Intervals begin with 1/8 s
/// and grow to 2 s, of which the last 64 count: two minutes. A stream that goes on elsewhere, a millisecond or more off the line and
/// beyond its noise for four intervals in a row, begins the measurement anew; so does [`restart`](Self::restart).
///
/// Takes 1.2 KiB, and allocates nothing.
///
/// ```
/// use voxwire_core::Instant;
/// use voxwire_syfala::{Format, stream::Drift};
/// let mut drift = Drift::new(&Format::STANDARD);
/// assert_eq!(drift.estimate(), None);
/// // A second's bytes come in every 0.9999 seconds.
/// for tenth in 0..100 {
///     drift.observe(Instant::from_nanos(tenth * 99_990_000), tenth * 38_400);
/// }
/// let estimate = drift.estimate().unwrap();
/// assert!((estimate.ppm - 100.0).abs() < 1.0);
/// assert!(estimate.to_string().starts_with("+100"));
/// ```
#[derive(Debug, Clone)]
pub struct Drift {
    /// Bytes per second, by the format.
    nominal: f64,
    /// Where everything is counted from.
    origin: Option<(Instant, u64)>,
    points: [Point; POINTS],
    count: usize,
    /// The earliest message of the present interval, and when that ends.
    open: Option<(Point, f64)>,
    /// Of an interval, in seconds.
    width: f64,
    line: Option<Line>,
    /// Intervals in a row above the line, or below if that is negative.
    outside: i8,
}

/// How far a clock is off.
///
/// Shown as `+12 ± 3 ppm`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct DriftEstimate {
    /// How much faster than its format says the stream is, in millionths.
    pub ppm: f64,
    /// By how much that may be wrong, in millionths: it is further off in one case of twenty, if the network is no worse than before.
    pub uncertainty: f64,
}

/// A message: when it came, and how late the stream is there, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    at: f64,
    lag: f64,
}

/// `lag` of any time, and how far points are off.
#[derive(Debug, Clone, Copy)]
struct Line {
    middle: Point,
    slope: f64,
    /// The root of the mean square that points are off.
    spread: f64,
    /// By how much the slope may be wrong.
    uncertainty: f64,
}

const POINTS: usize = 64;
/// Fewer say nothing about how far they are off.
const LEAST: usize = 16;
const SHORTEST: f64 = 0.125;
const LONGEST: f64 = 2.0;
/// Below this, in seconds, a stream is where it was.
const STEP: f64 = 1e-3;
/// And within so many times what points are off.
const NOISE: f64 = 6.0;
/// Intervals that have to agree that it is elsewhere.
const AGREEING: i8 = 4;
/// No clock that is read for each message is better than this, in seconds.
const FINEST: f64 = 2e-6;

impl Drift {
    /// Nothing seen yet.
    pub fn new(format: &Format) -> Self {
        Self {
            nominal: (format.sample_rate.get() * format.frame_size() as f64).max(1.0),
            origin: None,
            points: [Point::default(); POINTS],
            count: 0,
            open: None,
            width: SHORTEST,
            line: None,
            outside: 0,
        }
    }

    /// Forgets everything: the stream goes on elsewhere, or begins anew.
    pub const fn restart(&mut self) {
        (self.origin, self.count, self.open, self.width) = (None, 0, None, SHORTEST);
        (self.line, self.outside) = (None, 0);
    }

    /// A message has come in at `now`; `byte_index` is that of the byte behind its payload. Only of messages that a
    /// [`Receiving`](super::Receiving) has stored: others may say anything.
    pub fn observe(&mut self, now: Instant, byte_index: u64) {
        let (since, from) = *self.origin.get_or_insert((now, byte_index));
        let at = now.saturating_duration_since(since).as_secs_f64();
        let (ahead, behind) = (byte_index.saturating_sub(from), from.saturating_sub(byte_index));
        let point = Point { at, lag: at - (ahead as f64 - behind as f64) / self.nominal };
        match &mut self.open {
            Some((earliest, end)) if at < *end => {
                let slope = self.line.map_or(0.0, |line| line.slope);
                if point.beside(slope) < earliest.beside(slope) {
                    *earliest = point;
                }
            }
            open => {
                if let Some((earliest, _)) = open.replace((point, at + self.width)) {
                    self.close(earliest);
                }
            }
        }
    }

    /// How far the clock is off; `None` before two seconds or so, and while that could be anything within 1000 millionths.
    pub fn estimate(&self) -> Option<DriftEstimate> {
        let line = self.line?;
        let estimate = DriftEstimate { ppm: -line.slope * 1e6, uncertainty: line.uncertainty * 1e6 };
        (estimate.uncertainty < 1000.0).then_some(estimate)
    }

    /// An interval is over, and this was the earliest of it.
    fn close(&mut self, point: Point) {
        if let Some(line) = &self.line {
            let off = point.lag - line.lag(point.at);
            if off.abs() > STEP.max(NOISE * line.spread) {
                let before = self.outside;
                self.outside =
                    if off > 0.0 { before.max(0).saturating_add(1) } else { before.min(0).saturating_sub(1) };
                if self.outside.abs() >= AGREEING {
                    self.restart();
                }
                return;
            }
        }
        self.outside = 0;
        if self.count == POINTS {
            self.make_room();
        }
        if let Some(place) = self.points.get_mut(self.count) {
            *place = point;
            self.count = self.count.saturating_add(1);
        }
        self.line = Line::through(self.points.get(..self.count).unwrap_or(&[])).or(self.line);
    }

    /// Two intervals become one, or the oldest is forgotten.
    fn make_room(&mut self) {
        if self.width >= LONGEST {
            self.points.rotate_left(1);
            self.count = self.count.saturating_sub(1);
            return;
        }
        let slope = self.line.map_or(0.0, |line| line.slope);
        let pairs = self.points;
        for (place, pair) in self.points.iter_mut().zip(pairs.chunks_exact(2)) {
            let earlier = pair.iter().min_by(|a, b| a.beside(slope).total_cmp(&b.beside(slope)));
            *place = earlier.copied().unwrap_or(*place);
        }
        self.count = POINTS / 2;
        self.width *= 2.0;
    }
}

impl Point {
    /// How late it is, beside a line of that slope.
    fn beside(&self, slope: f64) -> f64 {
        self.lag - slope * self.at
    }
}

impl Line {
    /// The line of least squares, without the points that are furthest off it; `None` of too few points.
    fn through(points: &[Point]) -> Option<Self> {
        let all = Self::of(points.iter().filter(|_| points.len() >= LEAST))?;
        let near = |point: &&Point| (point.lag - all.lag(point.at)).abs() <= 2.0 * all.spread;
        let line = Self::of(points.iter().filter(near)).unwrap_or(all);
        // What was left out was noise, too.
        let spread = (line.spread + all.spread) / 2.0;
        Some(Self { spread, ..line })
    }

    fn of<'a>(points: impl Iterator<Item = &'a Point> + Clone) -> Option<Self> {
        let count = points.clone().count() as f64;
        if count < 4.0 {
            return None;
        }
        let mean = |what: fn(&Point) -> f64| points.clone().map(what).sum::<f64>() / count;
        let middle = Point { at: mean(|point| point.at), lag: mean(|point| point.lag) };
        let (mut squares, mut products) = (0.0, 0.0);
        for point in points.clone() {
            let at = point.at - middle.at;
            squares += at * at;
            products += at * (point.lag - middle.lag);
        }
        if squares <= 0.0 {
            return None;
        }
        let line = Self { middle, slope: products / squares, spread: 0.0, uncertainty: 0.0 };
        let off = |point: &Point| point.lag - line.lag(point.at);
        let sum: f64 = points.clone().map(|point| off(point) * off(point)).sum();
        let spread = sqrt(sum / (count - 2.0)).max(FINEST);
        // Two standard deviations, and more of few points; half as much again, as delays that follow each other are alike.
        let uncertainty = 3.0 * spread / sqrt(squares) * (1.0 + 4.0 / count);
        Some(Self { spread, uncertainty, ..line })
    }

    fn lag(&self, at: f64) -> f64 {
        self.middle.lag + self.slope * (at - self.middle.at)
    }
}

impl fmt::Display for DriftEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::from(self.uncertainty < 0.95);
        write!(f, "{:+.digits$} ± {:.digits$} ppm", self.ppm, self.uncertainty.max(0.1))
    }
}

/// The square root, which `core` does not have: by Newton's method, from a guess that is right but for a tenth.
fn sqrt(square: f64) -> f64 {
    if square.is_nan() || square <= 0.0 || square.is_infinite() {
        return square.max(0.0);
    }
    let mut root = f64::from_bits((square.to_bits() >> 1).saturating_add(0x1ff8_0000_0000_0000));
    for _ in 0..4 {
        root = (root + square / root) / 2.0;
    }
    root
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_those_of_std() {
        for square in [1e-300, 1e-12, 0.3, 1.0, 2.0, 1e9, 1e300] {
            assert!((sqrt(square) / square.sqrt() - 1.0).abs() < 1e-12, "{square}");
        }
        assert_eq!((sqrt(0.0), sqrt(-1.0), sqrt(f64::INFINITY)), (0.0, 0.0, f64::INFINITY));
    }
}
