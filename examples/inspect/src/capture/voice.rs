//! Loss and jitter of one speaker's voice, as RFC 3550 (A.3 and A.8) counts them.

use crate::follow::{Position, Voice};
use core::time::Duration;

/// A jump of a counter that is no loss any more: RFC 3550's `MAX_DROPOUT`.
const MAX_DROPOUT: u64 = 3000;

/// A pause after which a stream that has no positions begins anew: nobody has spoken.
const PAUSE: i64 = 1_000_000_000;

/// The voice of one speaker in one direction of a conversation.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) messages: u64,
    run: Option<Run>,
    /// Of the runs before.
    lost: f64,
    expected: f64,
    /// In nanoseconds, if it can be said.
    jitter: Option<f64>,
}

/// Positions that belong together.
#[derive(Debug)]
struct Run {
    id: u64,
    base: u64,
    end: u64,
    /// Units and messages that have arrived.
    units: u64,
    messages: u64,
    /// Arrival, position.
    last: (i64, u64),
}

impl Figures {
    /// `time` in nanoseconds.
    pub(crate) fn count(&mut self, time: i64, voice: &Voice) {
        self.messages += 1;
        let known = self.run.as_ref().filter(|run| run.id == voice.run);
        let position = known.and_then(|run| run.place(time, voice));
        let Some(position) = position else { return self.begin(time, voice) };
        let Some(run) = &mut self.run else { return };
        let (arrived, before) = run.last;
        run.last = (time, position);
        run.end = run.end.max(position.saturating_add(voice.span));
        run.units = run.units.saturating_add(voice.span);
        run.messages += 1;
        if voice.unit > 0.0 {
            let media = (position as f64 - before as f64) * voice.unit;
            let difference = (time.saturating_sub(arrived) as f64 - media).abs();
            let jitter = self.jitter.unwrap_or(0.0);
            self.jitter = Some(jitter + (difference - jitter) / 16.0);
        }
    }

    fn begin(&mut self, time: i64, voice: &Voice) {
        (self.lost, self.expected) = self.totals();
        let base = match voice.position {
            Position::Counter(counter) => 0x1_0000 + u64::from(counter),
            Position::At(position) => position,
            Position::Next => 0,
        };
        let end = base.saturating_add(voice.span);
        let last = (time, base);
        self.run = Some(Run { id: voice.run, base, end, units: voice.span, messages: 1, last });
    }

    /// Messages that are missing, and that were sent, of which the mean size tells the number.
    fn totals(&self) -> (f64, f64) {
        let Some(run) = &self.run else { return (self.lost, self.expected) };
        let missing = (run.end - run.base).saturating_sub(run.units);
        let mean = run.units.max(1) as f64 / run.messages as f64;
        let lost = missing as f64 / mean;
        (self.lost + lost, self.expected + lost + run.messages as f64)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.totals().0.round() as u64
    }

    pub(crate) fn loss_percent(&self) -> f64 {
        let (lost, expected) = self.totals();
        if expected > 0.0 { lost / expected * 100.0 } else { 0.0 }
    }

    /// `None` where the format does not tell how long the messages last.
    pub(crate) fn jitter(&self) -> Option<Duration> {
        self.jitter.map(|nanos| Duration::from_nanos(nanos as u64))
    }
}

impl Run {
    /// The position of a message; `None` where it begins anew.
    fn place(&self, time: i64, voice: &Voice) -> Option<u64> {
        match voice.position {
            Position::Counter(counter) => {
                let newest = self.end.saturating_sub(1);
                let [.., high, low] = newest.to_be_bytes();
                let step = counter.wrapping_sub(u16::from_be_bytes([high, low])).cast_signed();
                let position = newest.saturating_add_signed(step.into());
                (position.abs_diff(newest) <= MAX_DROPOUT).then_some(position)
            }
            Position::At(position) => {
                let far = MAX_DROPOUT.saturating_mul(voice.span.max(1));
                (position >= self.base && position.abs_diff(self.end) <= far).then_some(position)
            }
            Position::Next => (time.saturating_sub(self.last.0) <= PAUSE).then_some(self.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(position: Position, span: u64, unit: f64) -> Voice {
        Voice { speaker: 0, run: 0, position, span, unit }
    }

    /// The formula of RFC 3550, A.8, by hand.
    #[test]
    fn c_09_loss_and_jitter_are_those_of_rfc_3550() {
        let mut figures = Figures::default();
        // Frames of 20 ms; the third is lost, the fourth 16 ms late, the fifth in time, the counter wraps.
        for (ms, counter) in [(0, 65_534), (20, 65_535), (76, 1), (80, 2)] {
            figures.count(ms * 1_000_000, &voice(Position::Counter(counter), 1, 20e6));
        }
        assert_eq!((figures.messages, figures.lost(), figures.loss_percent()), (4, 1, 20.0));
        // 0; then |56 - 40| / 16 = 1; then 1 + (|4 - 20| - 1) / 16.
        assert_eq!(figures.jitter(), Some(Duration::from_nanos(1_937_500)));
    }

    #[test]
    fn c_09_a_new_run_loses_nothing() {
        let mut figures = Figures::default();
        for (run, counter) in [(1, 5), (1, 6), (2, 900), (2, 902), (2, 901)] {
            let voice = Voice { run, ..voice(Position::Counter(counter), 1, 0.0) };
            figures.count(0, &voice);
        }
        assert_eq!((figures.messages, figures.lost(), figures.jitter()), (5, 0, None));
        // Bytes: 100 each, of which 200 are missing, and then from the beginning again.
        let mut figures = Figures::default();
        for (run, position) in [(0, 0), (0, 100), (0, 400), (1, 0), (1, 100)] {
            figures.count(0, &Voice { run, ..voice(Position::At(position), 100, 1.0) });
        }
        assert_eq!((figures.lost(), figures.loss_percent().round() as u64), (2, 29));
    }
}
