//! What has been printed and not been looked for yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Lines that are kept; the oldest are forgotten.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Transcript {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    closed: bool,
}

impl Transcript {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, line: &str) {
        let mut state = self.state();
        if state.lines.len() >= MOST {
            state.lines.pop_front();
        }
        state.lines.push_back(line.into());
        drop(state);
        self.changed.notify_one();
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until nothing more will come.
    pub(super) async fn closed(&self) {
        while !self.is_closed() {
            self.changed.notified().await;
        }
    }

    /// Waits for a line with this text; it, and what came before it, is not looked at again. False if it will not come any more.
    pub(super) async fn expect(&self, text: &str) -> bool {
        loop {
            {
                let mut state = self.state();
                while let Some(line) = state.lines.pop_front() {
                    if line.contains(text) {
                        return true;
                    }
                }
                if state.closed {
                    return false;
                }
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn lines_are_looked_at_once_and_in_order() {
        let seen = Transcript::default();
        ["one", "two", "three"].into_iter().for_each(|line| seen.add(line));
        assert!(seen.expect("wo").await);
        // What came before was passed over.
        let soon = Duration::from_millis(10);
        assert!(timeout(soon, seen.expect("one")).await.is_err());
        seen.add("one");
        assert!(timeout(soon, seen.expect("one")).await.unwrap());
        seen.close();
        seen.closed().await;
        assert!(!seen.expect("four").await);
        (0..2 * MOST).for_each(|n| seen.add(&n.to_string()));
        assert_eq!(seen.state().lines.len(), MOST);
    }
}
