//! No screen: everything is printed.

use crate::report::Report;
use std::path::PathBuf;
use tokio::sync::mpsc::Receiver;

/// What the words of a line can go on with: where the last word begins, and the words.
pub(crate) type Complete = Box<dyn Fn(&str) -> (usize, Vec<String>) + Send>;

pub(crate) const fn open(_report: &Report, _title: &str) {}

pub(crate) fn open_with_lines(
    _report: &Report,
    _title: &str,
    _complete: Complete,
    _history: Option<PathBuf>,
) -> Option<Receiver<String>> {
    None
}
