//! What waits to be written: bounded, so that a disk that hangs costs recordings and no memory.

use super::sound::Sound;
use super::{Stats, What};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use voxwire_core::Instant;

/// Bytes that may wait, for all recordings together, and pieces.
pub(super) const BYTES: usize = 8 << 20;
const PIECES: usize = 16 * 1024;
/// What a piece takes beside its sound and the speaker's name.
const OVERHEAD: usize = 128;

/// Something for the writer to do.
#[derive(Debug)]
pub(super) enum Job {
    Begin(Begin),
    Piece(Piece),
    /// The recording has ended, so long after its beginning.
    End {
        id: u64,
        at: Duration,
    },
}

/// A recording that begins.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) id: u64,
    pub(super) protocol: &'static str,
    pub(super) what: What,
    pub(super) started: SystemTime,
    pub(super) begun: Instant,
    pub(super) stats: Arc<Stats>,
}

/// Something that was said.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) id: u64,
    /// When, since the recording's beginning.
    pub(super) at: Duration,
    pub(super) speaker: Box<str>,
    pub(super) sound: Sound,
}

impl Job {
    fn len(&self) -> usize {
        match self {
            Self::Piece(piece) => OVERHEAD + piece.speaker.len() + piece.sound.bytes().len(),
            Self::Begin(_) | Self::End { .. } => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    pieces: usize,
    /// The writer is to end once nothing waits.
    ends: bool,
    /// It has.
    has_ended: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a piece; false if there is no room for it. The writer looks for pieces by itself, some times a second.
    pub(super) fn push(&self, piece: Piece) -> bool {
        let job = Job::Piece(piece);
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(job.len());
        if bytes > BYTES || waiting.pieces >= PIECES || waiting.ends {
            return false;
        }
        (waiting.bytes, waiting.pieces) = (bytes, waiting.pieces + 1);
        waiting.jobs.push_back(job);
        true
    }

    /// Adds what has to be done in any case: the beginning or the end of a recording, of which there are few.
    pub(super) fn insist(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.changed.notify_all();
    }

    /// The next job, if one waits.
    pub(super) fn pop(&self) -> Option<Job> {
        let mut waiting = self.lock();
        let job = waiting.jobs.pop_front()?;
        waiting.bytes = waiting.bytes.saturating_sub(job.len());
        waiting.pieces -= usize::from(matches!(job, Job::Piece(_)));
        Some(job)
    }

    /// Waits until something beside pieces is to be done, for so long at most. True once the writer is to end.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let is_idle = |waiting: &mut Waiting| !waiting.ends && waiting.jobs.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, is_idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.ends
    }

    /// Waits for so long, or until the writer is to end; true then.
    pub(super) fn pause(&self, timeout: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |waiting| !waiting.ends);
        waited.unwrap_or_else(PoisonError::into_inner).0.ends
    }

    /// The writer has ended.
    pub(super) fn ended(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Has the writer end, and waits for that, for so long at most. False if it has not.
    pub(super) fn finish(&self, timeout: Duration) -> bool {
        self.lock().ends = true;
        self.changed.notify_all();
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |waiting| !waiting.has_ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }
}
