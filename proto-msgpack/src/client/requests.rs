//! Requests that are not answered yet, in the order in which they were sent.

use crate::Action;
use alloc::{collections::VecDeque, vec::Vec};
use voxwire_core::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) action: Action,
    /// Sent of the session's own accord.
    pub(super) again: bool,
    deadline: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Requests(VecDeque<Request>);

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, action: Action, deadline: Instant, again: bool) {
        self.0.push_back(Request { action, again, deadline });
    }

    /// The oldest request with that action, which a response answers. Those before it are passed over: responses come in
    /// order, and the original never answers some. An action that nobody has is the answer to a request that the server did
    /// not understand: the oldest.
    pub(super) fn answer(&mut self, action: &[u8], mut skipped: impl FnMut(Action)) -> Option<Request> {
        let at = match Action::from_name(action) {
            Some(action) => self.0.iter().position(|request| request.action == action)?,
            None => 0,
        };
        self.0.drain(..at.min(self.0.len())).for_each(|request| skipped(request.action));
        self.0.pop_front()
    }

    /// Gives up the oldest request if its time is over.
    pub(super) fn late(&mut self, now: Instant) -> Option<Action> {
        self.0.front().filter(|request| request.deadline <= now)?;
        self.0.pop_front().map(|request| request.action)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.0.front().map(|request| request.deadline)
    }

    /// Gives all of them up.
    pub(super) fn clear(&mut self) -> Vec<Action> {
        self.0.drain(..).map(|request| request.action).collect()
    }
}
