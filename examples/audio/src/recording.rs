//! Recordings that hold nobody up: a thread of their own writes them.

mod files;
mod missing;
mod queue;

#[cfg(doc)]
use crate::WavRecorder;
use crate::record::Sink;
use crate::{Error, SampleFormat, SampleOrder, encode};
use core::time::Duration;
use files::Files;
use queue::{Job, Shared, State, run};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

/// A [`WavRecorder`] for calls: nothing that a disk or the reader of a pipe does holds the caller up, or ends the call.
///
/// What is to be written waits for its turn, 20 s or 64 MiB of it at most, whichever is less; more is left out, and counted. A file that is full, at 4 GiB, is
/// completed, and the recording goes on beside it: `name-2.wav` behind `name.wav`, or the next number that is free. While a file cannot
/// be written, as on a full disk, it is tried again with all that comes. What could not be written is left out and counted, unless it is
/// [replaced](Self::replace) later. Who stops reading a pipe ends its recording. [`remarks`](Self::remarks) says what went wrong, each thing once.
#[derive(Debug)]
pub struct Recording {
    shared: Arc<Shared>,
    path: PathBuf,
    format: SampleFormat,
    is_pipe: bool,
    /// Bytes that may wait.
    most: usize,
    /// Bytes of a frame, and in a second.
    frame: usize,
    second: f64,
    /// How long the end waits for writing that comes no further, and in all.
    stall_timeout: Duration,
    total_timeout: Duration,
    /// What of a frame that was begun to be left out is to come.
    left_of_frame: usize,
    bytes: Vec<u8>,
    is_closed: bool,
}

/// Ends the waiting of a [`Recording`]: see [`Recording::abort_handle`].
#[derive(Debug, Clone)]
pub struct RecordingAbort(Arc<Shared>);

impl RecordingAbort {
    /// [`Recording::finish`] and [`Recording::flush`] return at once, now and later. What has not been written is lost, and counted.
    pub fn abort(&self) {
        self.0.state().aborted = true;
        self.0.changed.notify_all();
    }
}

/// What may wait for a disk: so many seconds, and no more bytes than these, as others may choose what a second is.
const QUEUE_SECONDS: usize = 20;
const QUEUE_BYTES: usize = 64 << 20;
/// Jobs that may wait: those that hold no bytes have a limit, too.
const QUEUE_JOBS: usize = 4096;
/// Writing that comes no further for so long is not waited for: by the reader of a pipe, and by a disk.
const PIPE_STALL_TIMEOUT: Duration = Duration::from_secs(1);
const DISK_STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// So long is waited at most, whatever comes further: what waits takes 20 s to be played.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
/// What is written at once to a file, and to a pipe, where a reader at playing speed takes a page at a time.
const PIECE: usize = 1 << 16;
const PIPE_PIECE: usize = 1 << 12;

impl Recording {
    /// Creates the file, or empties it. A pipe is opened by the thread, as that waits for its reader.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, rate: u32, channels: u16, format: SampleFormat) -> Result<Self, Error> {
        let about = |error: io::Error| Error::File { path: path.into(), reason: error.to_string() };
        let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        let file = if is_pipe { None } else { Some(Box::new(File::create(path).map_err(about)?) as _) };
        Ok(Self::start(path, file, is_pipe, Files::new(path, rate, channels, format))?)
    }

    fn start(path: &Path, file: Option<Box<dyn Sink>>, is_pipe: bool, mut files: Files) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let format = files.format;
        let frame = usize::from(files.channels) * format.size();
        let second = (files.rate as usize).saturating_mul(frame);
        files.is_pipe = is_pipe;
        let most = second.saturating_mul(QUEUE_SECONDS).clamp(PIECE, QUEUE_BYTES);
        let second = second.max(1) as f64;
        let stall_timeout = match is_pipe {
            false => DISK_STALL_TIMEOUT,
            // At a low rate a page takes longer to be played.
            true => Duration::from_secs_f64(2.0 * PIPE_PIECE as f64 / second)
                .clamp(PIPE_STALL_TIMEOUT, DISK_STALL_TIMEOUT),
        };
        let recording = Self {
            shared: shared.clone(),
            path: path.into(),
            format,
            is_pipe,
            most,
            frame,
            second,
            stall_timeout,
            total_timeout: TOTAL_TIMEOUT,
            left_of_frame: 0,
            bytes: Vec::new(),
            is_closed: false,
        };
        thread::Builder::new().name("recording".into()).spawn(move || {
            files.begin(file, &shared);
            run(&shared, &mut files);
        })?;
        Ok(recording)
    }

    /// Whether what is written stays as it is.
    pub const fn is_pipe(&self) -> bool {
        self.is_pipe
    }

    /// Appends interleaved samples.
    pub fn write(&mut self, samples: &[f64]) {
        self.push(None, samples);
    }

    /// Puts samples in the place of all that are there from number `from` on, of all channels. What has been left out, or lies behind the
    /// end, is silence; what is [missing](Self::missing) and replaced is no longer left out. What lies in files before the last two
    /// stays as it is. Not together with [`write`](Self::write), and not for a [pipe](Self::is_pipe).
    pub fn replace(&mut self, from: u64, samples: &[f64]) {
        self.push(Some(from.saturating_mul(self.format.size() as u64)), samples);
    }

    /// The number of the first sample from `from` on that was [put there](Self::replace) and could not be written.
    pub fn missing(&self, from: u64) -> Option<u64> {
        let size = self.format.size() as u64;
        self.shared.state().missing.first(from.saturating_mul(size)).map(|at| at / size)
    }

    fn push(&mut self, at: Option<u64>, samples: &[f64]) {
        self.bytes.clear();
        encode(samples, self.format, SampleOrder::Little, &mut self.bytes);
        let mut state = self.shared.state();
        let skipped = self.left_of_frame.min(self.bytes.len());
        (self.left_of_frame, state.dropped) = (self.left_of_frame - skipped, state.dropped + skipped as u64);
        let bytes = &self.bytes[skipped..];
        if let Some(at) = at {
            state.discard_from(at);
        }
        let full = state.jobs.len() >= QUEUE_JOBS;
        let room = if full { 0 } else { self.most.saturating_sub(state.queued) };
        // Whole frames are left out.
        let kept = if bytes.len() <= room { bytes.len() } else { room - room % self.frame };
        let left = bytes.len() - kept;
        if left > 0 {
            state.overrun(&self.path);
            match at {
                Some(at) => state.missing.add(at + kept as u64..at + bytes.len() as u64),
                None => {
                    state.dropped += left as u64;
                    self.left_of_frame = (self.frame - left % self.frame) % self.frame;
                }
            }
        }
        if at.is_some() && bytes.is_empty() && !full {
            // Nothing is put there: the recording ends there.
            state.jobs.push_back(Job { at, bytes: Vec::new(), ends: true });
        } else {
            state.enqueue(at, &bytes[..kept], PIECE - PIECE % self.format.size());
        }
        self.shared.changed.notify_all();
    }

    /// What has gone wrong since this was asked last.
    pub fn remarks(&self) -> Vec<String> {
        core::mem::take(&mut self.shared.state().remarks)
    }

    /// Waits until all is written, as long as writing goes on, as [`finish`](Self::finish) does; true if it is.
    pub fn flush(&self) -> bool {
        self.wait(|state| state.jobs.is_empty() && !state.busy)
    }

    /// Ends the waiting of [`finish`](Self::finish) and [`flush`](Self::flush) from elsewhere.
    pub fn abort_handle(&self) -> RecordingAbort {
        RecordingAbort(self.shared.clone())
    }

    fn wait(&self, until: impl Fn(&State) -> bool) -> bool {
        #[expect(clippy::disallowed_methods, reason = "a thread waits here, and nothing else")]
        let begin = Instant::now();
        let mut state = self.shared.state();
        while !until(&state) {
            let before = state.progress;
            let stall_timeout = self.stall_timeout.min(self.total_timeout.saturating_sub(begin.elapsed()));
            let waited = self.shared.changed.wait_timeout_while(state, stall_timeout, |state| {
                !until(state) && !state.aborted && state.progress == before
            });
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() || state.aborted {
                return until(&state);
            }
        }
        true
    }

    /// Completes the file. It waits for what is not written yet as long as that comes further: within 10 s on a disk, within a second in a
    /// pipe (8 KiB may take as long as they are played), and 30 s in all. [`abort_handle`](Self::abort_handle) cuts that short. What is
    /// written behind it goes nowhere.
    ///
    /// # Errors
    /// Some of what was heard is not in the file; [`remarks`](Self::remarks) say why.
    pub fn finish(&mut self) -> Result<(), Error> {
        let complete = self.close();
        let state = self.shared.state();
        let waiting = if complete { 0 } else { state.queued as u64 };
        let lost = state.dropped + state.failed + state.missing.len() + waiting;
        if lost == 0 && complete {
            return Ok(());
        }
        let reason = format!("{:.1} s of what was heard are not in it", lost as f64 / self.second);
        Err(Error::File { path: self.path.clone(), reason })
    }

    fn close(&mut self) -> bool {
        self.is_closed = true;
        self.shared.state().closing = true;
        self.shared.changed.notify_all();
        self.wait(|state| state.done)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.is_closed {
            self.close();
        }
    }
}

#[cfg(test)]
mod tests;
