//! What is said while the session is lost: that it is, and each reason once.

use core::time::Duration;
use tokio::time::Instant;

/// The time since the session was lost, and what the user has been told of it.
#[derive(Debug, Default)]
pub(super) struct Away {
    since: Option<Instant>,
    said: Vec<&'static str>,
}

/// Whether a reason has been said in this time.
pub(super) enum Reason {
    First,
    Another,
    Before,
}

impl Away {
    /// The session is lost, or an attempt to get it back has failed.
    pub(super) fn begins(&mut self, why: &'static str) -> Reason {
        self.since.get_or_insert_with(Instant::now);
        if self.said.contains(&why) {
            return Reason::Before;
        }
        self.said.push(why);
        if self.said.len() == 1 { Reason::First } else { Reason::Another }
    }

    /// The session is joined; returns how long it was lost, if it was.
    pub(super) fn ends(&mut self) -> Option<Duration> {
        self.said.clear();
        self.since.take().map(|since| since.elapsed())
    }
}
