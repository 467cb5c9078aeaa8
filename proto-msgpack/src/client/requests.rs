//! Requests that are not answered yet, in the order in which they were sent.

use super::Account;
use crate::Action;
use alloc::{collections::VecDeque, vec::Vec};
use voxwire_core::Instant;

/// Requests given up whose answers may still come.
const MAX_LATE: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) action: Action,
    /// Sent of the session's own accord.
    pub(super) again: bool,
    /// Whom a success logs in.
    pub(super) account: Option<Account>,
    /// It has been given up: its answer, should it come, is not that of another one.
    pub(super) late: bool,
    deadline: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Requests(VecDeque<Request>);

impl Requests {
    /// Number of those that are not given up.
    pub(super) fn len(&self) -> usize {
        self.0.iter().filter(|request| !request.late).count()
    }

    pub(super) fn add(&mut self, action: Action, deadline: Instant, again: bool, account: Option<Account>) {
        if self.0.len().saturating_sub(self.len()) > MAX_LATE {
            let oldest = self.0.iter().position(|request| request.late);
            oldest.and_then(|at| self.0.remove(at));
        }
        self.0.push_back(Request { action, again, account, late: false, deadline });
    }

    /// The oldest request with that action, which a response answers. Those before it are passed over: responses come in
    /// order, and the original never answers some. An action that no user has is the answer to a request that the server did
    /// not understand: the oldest that is awaited.
    pub(super) fn answer(&mut self, action: &[u8], mut skipped: impl FnMut(Action)) -> Option<Request> {
        let at = match Action::from_name(action) {
            Some(action) => self.0.iter().position(|request| request.action == action)?,
            None => self.0.iter().position(|request| !request.late).unwrap_or(0),
        };
        let passed_over = self.0.drain(..at.min(self.0.len()));
        passed_over.filter(|request| !request.late).for_each(|request| skipped(request.action));
        self.0.pop_front()
    }

    /// Whether a request with that action is not answered yet.
    pub(super) fn awaits(&self, action: Action) -> bool {
        self.0.iter().any(|request| request.action == action && !request.late)
    }

    /// Gives up what the session asked of its own accord: it asks once more.
    pub(super) fn supersede(&mut self, action: Action) {
        let asked = self.0.iter_mut().filter(|request| request.again && request.action == action);
        asked.for_each(|request| request.late = true);
    }

    /// Gives up the oldest request if its time is over.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<&Request> {
        let request = self.0.iter_mut().find(|request| !request.late)?;
        if request.deadline > now {
            return None;
        }
        request.late = true;
        Some(request)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().find(|request| !request.late).map(|request| request.deadline)
    }

    /// Gives all of them up, and their answers.
    pub(super) fn clear(&mut self) -> Vec<Action> {
        self.0.drain(..).filter(|request| !request.late).map(|request| request.action).collect()
    }
}
