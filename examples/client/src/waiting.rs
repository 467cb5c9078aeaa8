//! `wait`: takes one call, or with `--keep` one after the other.

use crate::error::Error;
use crate::recordings::Recordings;
use crate::report::Report;
use crate::retry::again;
use crate::signals::Signals;
use serde_json::json;

/// A client that takes calls.
pub(crate) trait Callee: Sized {
    fn is_connected(&self) -> bool;

    fn recordings(&mut self) -> &mut Recordings;

    /// Says goodbye. What it records is still to be [ended](Recordings::end).
    async fn close(self) -> Recordings;
}

/// Connects and waits for calls, one or with `keep` one after the other until a signal comes: neither a call that goes wrong, nor a
/// recording, nor a server that restarts is a reason to miss the next.
///
/// # Errors
/// There is no connection; the one call went wrong. Some of what was heard is not in a recording.
pub(crate) async fn wait<C: Callee>(
    report: &Report,
    signals: &mut Signals,
    keep: bool,
    mut connect: impl AsyncFnMut() -> Result<C, Error>,
    mut call: impl AsyncFnMut(&mut C) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut callee = connect().await?;
    loop {
        let mut result = call(&mut callee).await;
        let goes_on = keep && !signals.came();
        if keep && let Err(Error::Failed(reason)) = &result {
            // The code that connects again says that the connection is lost.
            if callee.is_connected() || !goes_on {
                report.event("failed", json!({ "reason": reason }), &format!("call failed: {reason}"));
            }
            result = Ok(());
        }
        if !goes_on || result.is_err() {
            let recordings = callee.close().await;
            return result.and(recordings.end(signals).await);
        }
        callee.recordings().settle(signals).await;
        if callee.is_connected() {
            continue;
        }
        let recordings = callee.close().await;
        match again(report, signals, &mut connect).await {
            Ok(Some(connected)) => callee = connected,
            ended => return ended.map(|_| ()).and(recordings.end(signals).await),
        }
        *callee.recordings() = recordings;
    }
}
