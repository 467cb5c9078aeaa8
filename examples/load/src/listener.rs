//! What one user hears: each frame of each talker once, in order, and as it was said.

use crate::clock;
use crate::error::Cause;
use crate::figures::{Figures, Kind};
use crate::payload::Stamp;
use crate::plan::Plan;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// One user's ear.
#[derive(Debug)]
pub(crate) struct Listener {
    plan: Rc<Plan>,
    user: u32,
    /// Frames a second of each talker.
    rate: f64,
    /// When the talk began, once that is known.
    start: Option<u64>,
    speakers: BTreeMap<u32, Heard>,
    /// Frames heard, each once, and when the last of them came in.
    heard: u64,
    newest: u64,
    figures: Rc<RefCell<Figures>>,
}

/// What has been heard of one talker: a bit for each of its frames, of which the plan knows the number.
#[derive(Debug, Default)]
struct Heard {
    bits: Vec<u64>,
    newest: Option<u32>,
}

impl Heard {
    /// Takes a frame of `frames`; whether it is new, and whether a later one was first.
    fn insert(&mut self, sequence: u32, frames: u32) -> (bool, bool) {
        self.bits.resize(frames.div_ceil(64) as usize, 0);
        let Some(word) = self.bits.get_mut(sequence as usize / 64) else { return (false, false) };
        let bit = 1 << (sequence % 64);
        let new = *word & bit == 0;
        *word |= bit;
        let late = self.newest.is_some_and(|newest| sequence < newest);
        self.newest = self.newest.max(Some(sequence));
        (new, new && late)
    }
}

impl Listener {
    pub(crate) fn new(plan: Rc<Plan>, user: u32, figures: Rc<RefCell<Figures>>) -> Self {
        let rate = f64::from(plan.rate);
        Self { plan, user, rate, start: None, speakers: BTreeMap::new(), heard: 0, newest: 0, figures }
    }

    /// The talk begins at `start`, with so many frames a second of each talker.
    pub(crate) fn begin(&mut self, start: u64, rate: f64) {
        (self.start, self.rate) = (Some(start), rate);
    }

    /// Frames that were heard, each once.
    pub(crate) const fn heard(&self) -> u64 {
        self.heard
    }

    /// When the last frame came in; 0 if none has.
    pub(crate) const fn newest(&self) -> u64 {
        self.newest
    }

    /// A frame has come in.
    pub(crate) fn hear(&mut self, frame: &[u8]) {
        let now = clock::now();
        match Stamp::read(frame) {
            Some(stamp) if self.is_expected(&stamp) => self.take(&stamp, now),
            _ => self.wrong(),
        }
    }

    /// Whether there is such a frame, and it is for this user.
    fn is_expected(&self, stamp: &Stamp) -> bool {
        let Stamp { due, sent, speaker, sequence } = *stamp;
        let Some(start) = self.start else { return false };
        let known = self.plan.hears(self.user, speaker) && sequence < self.plan.frames(self.rate);
        known && due == start + self.plan.due(speaker, sequence, self.rate) && sent >= due
    }

    /// A frame that is known to be right has come in at `now`.
    pub(crate) fn take(&mut self, stamp: &Stamp, now: u64) {
        let frames = self.plan.frames(self.rate);
        let (new, late) = self.speakers.entry(stamp.speaker).or_default().insert(stamp.sequence, frames);
        let mut figures = self.figures.borrow_mut();
        if !new {
            figures.counts.duplicated += 1;
            return;
        }
        self.heard += 1;
        self.newest = now;
        figures.counts.heard += 1;
        figures.counts.reordered += u64::from(late);
        figures.record(Kind::Latency, now.saturating_sub(stamp.due));
        figures.record(Kind::Transit, now.saturating_sub(stamp.sent));
    }

    /// Something has come in that was not said, or not to this user.
    pub(crate) fn wrong(&self) {
        self.figures.borrow_mut().counts.wrong += 1;
    }

    /// Something is not as it should be, and the user goes on.
    pub(crate) fn error(&self, cause: Cause) {
        self.figures.borrow_mut().error(cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Counts;
    use crate::payload::MIN_BYTES;
    use crate::plan::SECOND;

    /// Every fault of a server that can be told from a frame has a count of its own.
    #[test]
    fn faults_are_told_apart() {
        let plan = Plan {
            protocol: "dissonance".into(),
            server: None,
            encryption: None,
            users: 6,
            talkers: 6,
            groups: 2,
            rate: 50,
            bytes: MIN_BYTES,
            seconds: 2,
            ramp: 1,
            timeout: 1,
            prefix: "load".into(),
            part: 0..6,
        };
        let figures = Rc::new(RefCell::new(Figures::default()));
        let mut listener = Listener::new(Rc::new(plan.clone()), 0, figures.clone());
        let start = clock::now().saturating_sub(10 * SECOND);
        let frame = |speaker, sequence| {
            let due = start + plan.due(speaker, sequence, 50.0);
            let mut frame = vec![0; MIN_BYTES];
            Stamp { due, sent: due + 1000, speaker, sequence }.write(&mut frame);
            frame
        };
        listener.hear(&frame(1, 0));
        assert_eq!(figures.borrow().counts, Counts { wrong: 1, ..Counts::default() }, "before the talk");
        listener.begin(start, 50.0);
        for sequence in [0, 1, 3, 2, 3, 99] {
            listener.hear(&frame(1, sequence));
        }
        // Another group's, its own, a number that there is not, a user that there is not, one bit wrong.
        for (speaker, sequence) in [(3, 0), (0, 0), (1, 100), (6, 0)] {
            listener.hear(&frame(speaker, sequence));
        }
        let mut broken = frame(2, 0);
        broken[MIN_BYTES - 1] ^= 1;
        listener.hear(&broken);
        // Due at another time than the plan says.
        let mut frame = vec![0; MIN_BYTES];
        Stamp { due: start + 1, sent: start + 2, speaker: 2, sequence: 0 }.write(&mut frame);
        listener.hear(&frame);
        let expected = Counts { heard: 5, reordered: 1, duplicated: 1, wrong: 7, ..Counts::default() };
        assert_eq!((figures.borrow().counts, listener.heard()), (expected, 5));
        let figures = figures.borrow();
        let (latency, transit) = (figures.durations(Kind::Latency), figures.durations(Kind::Transit));
        assert_eq!((latency.count(), transit.count()), (5, 5));
        assert!(latency.percentile(100.0) >= transit.percentile(100.0));
    }
}
