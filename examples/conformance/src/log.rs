//! What the runner and the endpoint said in one check.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Lines that a check keeps.
const MAX_LINES: usize = 12;
/// Bytes of a line that are kept.
const MAX_BYTES: usize = 4096;

/// Bytes that went one way, in one piece.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// The part of the conversation: a client that the runner plays, for instance.
    pub(crate) peer: &'static str,
    pub(crate) is_sent: bool,
    pub(crate) bytes: Vec<u8>,
    /// How many there were.
    pub(crate) length: usize,
}

/// The last lines of all peers of a check.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Rc<RefCell<VecDeque<Line>>>);

impl Log {
    pub(crate) fn add(&self, peer: &'static str, is_sent: bool, bytes: &[u8]) {
        let mut lines = self.0.borrow_mut();
        if lines.len() == MAX_LINES {
            lines.pop_front();
        }
        let kept = bytes.len().min(MAX_BYTES);
        lines.push_back(Line { peer, is_sent, bytes: bytes[..kept].to_vec(), length: bytes.len() });
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.0.borrow().iter().cloned().collect()
    }
}
