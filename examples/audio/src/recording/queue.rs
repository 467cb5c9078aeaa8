//! What waits to be written, and the thread that writes it.

use super::files::Files;
use super::missing::Missing;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

const MAX_REMARKS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) jobs: VecDeque<Job>,
    pub(super) queued: usize,
    /// The thread has something in hand.
    pub(super) busy: bool,
    /// Counts what it has done.
    pub(super) progress: u64,
    pub(super) closing: bool,
    pub(super) done: bool,
    /// Nobody waits any more.
    pub(super) aborted: bool,
    /// Something did not fit.
    overrun: bool,
    /// Bytes that did not fit.
    pub(super) dropped: u64,
    /// Bytes that could not be written.
    pub(super) failed: u64,
    /// Of what is replaced: bytes that did not fit or could not be written.
    pub(super) missing: Missing,
    /// From where on something was replaced since the thread took what it has in hand.
    pub(super) replaced: u64,
    pub(super) remarks: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Job {
    /// The byte of the recording with which it begins; none: behind all that is there.
    pub(super) at: Option<u64>,
    pub(super) bytes: Vec<u8>,
    /// The recording ends with it.
    pub(super) ends: bool,
}

impl State {
    /// What waits from byte `at` on would be written over: it waits no longer.
    pub(super) fn discard_from(&mut self, at: u64) {
        while let Some(mut job) = self.jobs.pop_back() {
            let keeps = at.saturating_sub(job.at.unwrap_or(at));
            let gone = job.bytes.len().saturating_sub(usize::try_from(keeps).unwrap_or(usize::MAX));
            job.bytes.truncate(job.bytes.len() - gone);
            self.queued -= gone;
            if keeps > 0 {
                self.jobs.push_back(job);
                break;
            }
        }
        self.replaced = self.replaced.min(at);
        self.missing.cut(at);
    }

    /// Queues bytes to be put at `at`, or behind all that is there, in pieces of `piece` bytes.
    pub(super) fn enqueue(&mut self, mut at: Option<u64>, bytes: &[u8], piece: usize) {
        let mut rest = bytes;
        self.queued += bytes.len();
        if let Some(job) = self.jobs.back_mut().filter(|_| at.is_none()) {
            let more = rest.len().min(piece.saturating_sub(job.bytes.len()));
            job.bytes.extend_from_slice(&rest[..more]);
            rest = &rest[more..];
        }
        while !rest.is_empty() {
            let (now, then) = rest.split_at(rest.len().min(piece));
            self.jobs.push_back(Job { at, bytes: now.to_vec(), ends: then.is_empty() });
            (at, rest) = (at.map(|at| at + now.len() as u64), then);
        }
    }

    /// Says that something did not fit, once.
    pub(super) fn overrun(&mut self, path: &Path) {
        if !core::mem::replace(&mut self.overrun, true) {
            let path = path.display();
            self.remarks.push(format!(
                "{path} does not take what is heard as fast as it comes: some of it is left out"
            ));
        }
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remark(&self, remark: String) {
        let mut state = self.state();
        if state.remarks.len() < MAX_REMARKS {
            state.remarks.push(remark);
        }
    }
}

pub(super) fn run(shared: &Shared, out: &mut Files) {
    let mut state = shared.state();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            (state.busy, state.replaced) = (true, u64::MAX);
            drop(state);
            let failed = out.put(&job, shared);
            state = shared.state();
            match job.at {
                Some(at) => {
                    let end = at.saturating_add(job.bytes.len() as u64);
                    // What has been replaced meanwhile is not missing.
                    let gap = end.saturating_sub(failed)..end.min(state.replaced);
                    state.missing.add(gap);
                }
                None => state.failed += failed,
            }
            state.queued -= job.bytes.len() - core::mem::take(&mut out.released);
            (state.busy, state.progress) = (false, state.progress + 1);
        } else if state.closing {
            drop(state);
            out.end(shared);
            state = shared.state();
            state.done = true;
            shared.changed.notify_all();
            return;
        } else {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        shared.changed.notify_all();
    }
}
