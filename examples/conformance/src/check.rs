//! What a check is, and how it ends.

use crate::layout::Layout;
use crate::log::{Line, Log};
use crate::stage::Stage;

/// How a check, or a step of it, ends.
pub(crate) type Outcome<T = ()> = Result<T, Stop>;

/// One statement about an endpoint.
#[derive(Debug)]
pub(crate) struct Check {
    /// The row of `docs/requirements.md`.
    pub(crate) row: &'static str,
    /// Unique within its row.
    pub(crate) name: &'static str,
    /// What is expected, in a sentence.
    pub(crate) expected: &'static str,
    /// The section of the protocol's document.
    pub(crate) section: &'static str,
    /// What the endpoint has to be able to do, or to be.
    pub(crate) needs: &'static [&'static str],
    pub(crate) run: fn(&Stage<'_>) -> Outcome,
}

/// Why a check ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    Failed(Box<Failure>),
    Skipped(String),
}

/// What was not as expected.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    /// The peer that saw it.
    pub(crate) peer: &'static str,
    /// What came.
    pub(crate) received: Vec<u8>,
    /// What should have come, as hex digits.
    pub(crate) expected: Option<String>,
    /// Where what came begins to differ.
    pub(crate) offset: Option<usize>,
    pub(crate) field: Option<&'static str>,
    /// The conversation until then.
    pub(crate) log: Vec<Line>,
}

impl Failure {
    /// Anything that is not about certain bytes.
    pub(crate) fn stop(log: &Log, peer: &'static str, what: String, received: &[u8]) -> Stop {
        let (expected, offset, field) = (None, None, None);
        let (received, log) = (received.to_vec(), log.lines());
        Stop::Failed(Box::new(Self { what, peer, received, expected, offset, field, log }))
    }

    /// `came` is not what `layout` says.
    pub(crate) fn differs(log: &Log, peer: &'static str, layout: &Layout, came: &[u8]) -> Option<Stop> {
        let difference = layout.difference(came)?;
        Some(Stop::Failed(Box::new(Self {
            what: format!("{} differs at offset {}", difference.field, difference.offset),
            peer,
            received: came.to_vec(),
            expected: Some(layout.hex()),
            offset: Some(difference.offset),
            field: Some(difference.field),
            log: log.lines(),
        })))
    }

    /// Nothing came where `layout` was expected.
    pub(crate) fn missing(log: &Log, peer: &'static str, layout: &Layout, why: Stop) -> Stop {
        match why {
            Stop::Failed(mut failure) if failure.expected.is_none() => {
                failure.expected = Some(layout.hex());
                failure.log = log.lines();
                failure.peer = peer;
                Stop::Failed(failure)
            }
            other => other,
        }
    }
}
