//! When something is due in a call, and how loud the call is.

use crate::report::{Figures, Report, Speakers};
use core::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use voxwire_audio::Pacer;

/// How often the display is drawn anew.
pub(crate) const DISPLAY: Duration = Duration::from_millis(100);

/// What is due in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The next block of what is said.
    Say,
    /// What was heard, to be played.
    Play,
    /// The display.
    Display,
    /// The end: the call has lasted as long as it was to.
    End,
}

/// The timers of a call.
pub(crate) struct CallTimers {
    start: Instant,
    end: Option<Instant>,
    rate: u32,
    /// When what is said began, and how much of it was sent.
    said_since: Instant,
    pacer: Pacer,
    display: Interval,
}

impl CallTimers {
    /// Of a call that began at `start`, with `rate` samples a second, and ends after `length` by itself.
    pub(crate) fn new(start: Instant, rate: u32, length: Option<Duration>) -> Self {
        let end = length.and_then(|length| start.checked_add(length));
        Self { start, end, rate, said_since: start, pacer: Pacer::new(rate), display: interval(DISPLAY) }
    }

    pub(crate) const fn start(&self) -> Instant {
        self.start
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether the call ends by itself.
    pub(crate) const fn has_end(&self) -> bool {
        self.end.is_some()
    }

    /// Waits until something is due. `says`: whether there is something to say; `plays`: when something is to be played, since the start.
    pub(crate) async fn next(&mut self, says: bool, plays: Option<Duration>) -> Due {
        let say = says.then(|| self.said_since + self.pacer.due());
        tokio::select! {
            () = until(say) => Due::Say,
            () = until(plays.map(|plays| self.start + plays)) => Due::Play,
            () = until(self.end) => Due::End,
            _ = self.display.tick() => Due::Display,
        }
    }

    /// So many samples of each channel were said.
    pub(crate) fn said(&mut self, samples: usize) {
        self.pacer.sent(samples);
    }

    /// Something else is said from now on.
    pub(crate) fn say_anew(&mut self) {
        (self.said_since, self.pacer) = (Instant::now(), Pacer::new(self.rate));
    }
}

/// Waits until a time, or for ever.
pub(crate) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => core::future::pending().await,
    }
}

/// Ticks of a call whose sound goes on where it is due after a hitch.
pub(crate) fn sound_ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

/// How loud a call is, and who speaks: what the display shows.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    said: f64,
    heard: f64,
    speakers: Speakers,
}

impl Levels {
    /// The loudest sample of what was said and heard lately.
    pub(crate) const fn peaks(&self) -> (f64, f64) {
        (self.said, self.heard)
    }

    pub(crate) const fn say(&mut self, peak: f64) {
        self.said = self.said.max(peak);
    }

    /// `name` was heard for `length`.
    pub(crate) fn hear(&mut self, now: Duration, name: &str, length: Duration, peak: f64) {
        self.heard = self.heard.max(peak);
        self.speakers.hear(now, name, length, peak);
    }

    /// Shows a call that has lasted for `lasted`, with `sent` messages.
    pub(crate) fn show(&mut self, report: &Report, lasted: Duration, sent: u64) {
        report.progress(lasted, self.said, self.heard);
        let speakers = &mut self.speakers;
        report.figures(|| Figures { sent: Some(sent), voices: speakers.figures(), ..Figures::default() });
    }

    /// Keeps `part` of the peaks.
    pub(crate) const fn fade(&mut self, part: f64) {
        (self.said, self.heard) = (self.said * part, self.heard * part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next three that are due, beside the display.
    async fn three(timers: &mut CallTimers, says: bool, plays: Option<Duration>) -> Vec<Due> {
        let mut due = Vec::new();
        for _ in 0..3 {
            due.push(timers.next(says, plays).await);
        }
        due.retain(|due| *due != Due::Display);
        due
    }

    #[tokio::test]
    async fn what_is_not_there_is_never_due_and_what_is_late_is_due_at_once() {
        let hour = Duration::from_secs(3600);
        let mut timers = CallTimers::new(Instant::now(), 8000, None);
        assert!(!timers.has_end());
        assert_eq!(three(&mut timers, false, None).await, []);
        assert_eq!(three(&mut timers, false, Some(hour)).await, []);
        assert!(three(&mut timers, true, None).await.contains(&Due::Say));
        assert!(three(&mut timers, false, Some(Duration::ZERO)).await.contains(&Due::Play));
        // What is said next is due in an hour; and at once if it is said anew.
        timers.said(8000 * 3600);
        assert_eq!(three(&mut timers, true, None).await, []);
        timers.say_anew();
        assert!(three(&mut timers, true, None).await.contains(&Due::Say));
        let mut timers = CallTimers::new(Instant::now(), 8000, Some(Duration::ZERO));
        assert!(timers.has_end() && three(&mut timers, false, None).await.contains(&Due::End));
    }
}
