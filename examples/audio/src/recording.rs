//! Recordings that hold nobody up: a thread of their own writes them.

use crate::record::{MAX_BYTES, Sink, WavRecorder, storable};
use crate::{Error, SampleFormat, SampleOrder, encode};
use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
    patience: Duration,
    most_waiting: Duration,
    /// What of a frame that was begun to be left out is to come.
    owed: usize,
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
const PIPE_PATIENCE: Duration = Duration::from_secs(1);
const DISK_PATIENCE: Duration = Duration::from_secs(10);
/// So long is waited at most, whatever comes further: what waits takes 20 s to be played.
const MOST_WAITING: Duration = Duration::from_secs(30);
/// What is written at once to a file, and to a pipe, where a reader at playing speed takes a page at a time.
const PIECE: usize = 1 << 16;
const PIPE_PIECE: usize = 1 << 12;
const MOST_REMARKS: usize = 16;
/// Gaps that are told apart: of more, the nearest count as one.
const MOST_GAPS: usize = 64;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    queued: usize,
    /// The thread has something in hand.
    busy: bool,
    /// Counts what it has done.
    progress: u64,
    closing: bool,
    done: bool,
    /// Nobody waits any more.
    aborted: bool,
    /// Something did not fit.
    overrun: bool,
    /// Bytes that did not fit.
    dropped: u64,
    /// Bytes that could not be written.
    failed: u64,
    /// Of what is replaced: bytes that did not fit or could not be written.
    missing: Missing,
    /// From where on something was replaced since the thread took what it has in hand.
    replaced: u64,
    remarks: Vec<String>,
}

/// Bytes of a recording that neither are in it nor wait for it, in order.
#[derive(Debug, Default)]
struct Missing(Vec<Range<u64>>);

impl Missing {
    /// All from there on are written anew.
    fn cut(&mut self, at: u64) {
        self.0.retain_mut(|gap| {
            gap.end = gap.end.min(at);
            !gap.is_empty()
        });
    }

    fn add(&mut self, gap: Range<u64>) {
        if gap.is_empty() {
            return;
        }
        self.0.push(gap);
        self.0.sort_by_key(|gap| gap.start);
        let mut gaps: Vec<Range<u64>> = Vec::new();
        for gap in self.0.drain(..) {
            match gaps.last_mut() {
                Some(last) if gap.start <= last.end => last.end = last.end.max(gap.end),
                _ => gaps.push(gap),
            }
        }
        if gaps.len() > MOST_GAPS {
            let nearest = (1..gaps.len()).min_by_key(|n| gaps[*n].start - gaps[*n - 1].end);
            if let Some(n) = nearest {
                gaps[n - 1].end = gaps.remove(n).end;
            }
        }
        self.0 = gaps;
    }

    /// The first from `at` on.
    fn first(&self, at: u64) -> Option<u64> {
        self.0.iter().find(|gap| gap.end > at).map(|gap| gap.start.max(at))
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|gap| gap.end - gap.start).sum()
    }
}

#[derive(Debug)]
struct Job {
    /// The byte of the recording with which it begins; none: behind all that is there.
    at: Option<u64>,
    bytes: Vec<u8>,
    /// The recording ends with it.
    ends: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remark(&self, remark: String) {
        let mut state = self.state();
        if state.remarks.len() < MOST_REMARKS {
            state.remarks.push(remark);
        }
    }
}

impl Recording {
    /// Creates the file, or empties it. A pipe is opened by the thread, as that waits for its reader.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, rate: u32, channels: u16, format: SampleFormat) -> Result<Self, Error> {
        let about = |error: io::Error| Error::File { path: path.into(), reason: error.to_string() };
        let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        let file = if is_pipe { None } else { Some(Box::new(File::create(path).map_err(about)?) as _) };
        Ok(Self::start(path, file, is_pipe, Out::new(path, rate, channels, format))?)
    }

    fn start(path: &Path, file: Option<Box<dyn Sink>>, is_pipe: bool, mut out: Out) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let format = out.format;
        let frame = usize::from(out.channels) * format.size();
        let second = (out.rate as usize).saturating_mul(frame);
        out.is_pipe = is_pipe;
        let most = second.saturating_mul(QUEUE_SECONDS).clamp(PIECE, QUEUE_BYTES);
        let second = second.max(1) as f64;
        let patience = match is_pipe {
            false => DISK_PATIENCE,
            // At a low rate a page takes longer to be played.
            true => {
                Duration::from_secs_f64(2.0 * PIPE_PIECE as f64 / second).clamp(PIPE_PATIENCE, DISK_PATIENCE)
            }
        };
        let recording = Self {
            shared: shared.clone(),
            path: path.into(),
            format,
            is_pipe,
            most,
            frame,
            second,
            patience,
            most_waiting: MOST_WAITING,
            owed: 0,
            bytes: Vec::new(),
            is_closed: false,
        };
        thread::Builder::new().name("recording".into()).spawn(move || {
            out.begin(file, &shared);
            run(&shared, &mut out);
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
        let skipped = self.owed.min(self.bytes.len());
        (self.owed, state.dropped) = (self.owed - skipped, state.dropped + skipped as u64);
        let bytes = &self.bytes[skipped..];
        if let Some(at) = at {
            // What has not been written yet, and would be written over.
            while let Some(mut job) = state.jobs.pop_back() {
                let keeps = at.saturating_sub(job.at.unwrap_or(at));
                let gone = job.bytes.len().saturating_sub(usize::try_from(keeps).unwrap_or(usize::MAX));
                job.bytes.truncate(job.bytes.len() - gone);
                state.queued -= gone;
                if keeps > 0 {
                    state.jobs.push_back(job);
                    break;
                }
            }
            state.replaced = state.replaced.min(at);
            state.missing.cut(at);
        }
        let full = state.jobs.len() >= QUEUE_JOBS;
        let room = if full { 0 } else { self.most.saturating_sub(state.queued) };
        // Whole frames are left out.
        let kept = if bytes.len() <= room { bytes.len() } else { room - room % self.frame };
        let left = bytes.len() - kept;
        if left > 0 {
            if !state.overrun {
                let path = self.path.display();
                let text =
                    format!("{path} does not take what is heard as fast as it comes: some of it is left out");
                state.remarks.push(text);
                state.overrun = true;
            }
            match at {
                Some(at) => state.missing.add(at + kept as u64..at + bytes.len() as u64),
                None => {
                    state.dropped += left as u64;
                    self.owed = (self.frame - left % self.frame) % self.frame;
                }
            }
        }
        let mut rest = &bytes[..kept];
        state.queued += kept;
        let piece = PIECE - PIECE % self.format.size();
        match state.jobs.back_mut() {
            Some(job) if at.is_none() => {
                let more = rest.len().min(piece.saturating_sub(job.bytes.len()));
                job.bytes.extend_from_slice(&rest[..more]);
                rest = &rest[more..];
            }
            // Nothing is put there: the recording ends there.
            _ if at.is_some() && bytes.is_empty() && !full => {
                state.jobs.push_back(Job { at, bytes: Vec::new(), ends: true });
            }
            _ => {}
        }
        let mut at = at;
        while !rest.is_empty() {
            let (now, then) = rest.split_at(rest.len().min(piece));
            state.jobs.push_back(Job { at, bytes: now.to_vec(), ends: then.is_empty() });
            (at, rest) = (at.map(|at| at + now.len() as u64), then);
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
            let patience = self.patience.min(self.most_waiting.saturating_sub(begin.elapsed()));
            let waited = self.shared.changed.wait_timeout_while(state, patience, |state| {
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

fn run(shared: &Shared, out: &mut Out) {
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

type Next = Box<dyn FnMut(&Path) -> io::Result<(PathBuf, Box<dyn Sink>)> + Send>;

/// The files of a recording.
struct Out {
    path: PathBuf,
    rate: u32,
    channels: u16,
    format: SampleFormat,
    is_pipe: bool,
    file: Option<WavRecorder>,
    /// The file that is written, and the byte of the recording with which it begins.
    current: PathBuf,
    base: u64,
    /// The file before it, which was full: what is replaced may begin there.
    before: Option<Before>,
    /// Bytes that a file has at most: whole frames, an even number.
    limit: u32,
    frame: u32,
    /// What could not be written is said; and for how many bytes.
    failing: Option<u64>,
    /// What of a frame that was begun to be left out is to come.
    owed: usize,
    /// Bytes of the job in hand that no longer wait.
    released: usize,
    /// Nobody reads it any more.
    over: bool,
    /// Opens the next file.
    next: Next,
}

/// A file that was full, and may be written over.
struct Before {
    file: WavRecorder,
    path: PathBuf,
    base: u64,
}

impl Out {
    fn new(path: &Path, rate: u32, channels: u16, format: SampleFormat) -> Self {
        let (channels, format) = (channels.max(1), storable(format));
        let frame = u32::from(channels) * format.size() as u32;
        Self {
            path: path.into(),
            rate,
            channels,
            format,
            is_pipe: false,
            file: None,
            current: path.into(),
            base: 0,
            before: None,
            limit: MAX_BYTES - MAX_BYTES % (2 * frame),
            frame,
            failing: None,
            owed: 0,
            released: 0,
            over: false,
            next: Box::new(beside),
        }
    }

    /// Takes the file, or opens the pipe.
    fn begin(&mut self, file: Option<Box<dyn Sink>>, shared: &Shared) {
        let file = match file {
            Some(file) => Ok(file),
            None => {
                OpenOptions::new().write(true).open(&self.path).map(|file| Box::new(file) as Box<dyn Sink>)
            }
        };
        match file {
            Ok(file) => {
                let Self { path, rate, channels, format, is_pipe, .. } = self;
                let mut file = WavRecorder::on(path, file, *rate, *channels, *format, *is_pipe);
                if let Err(error) = file.begin() {
                    self.fail(&error, 0, shared);
                }
                self.file = Some(file);
            }
            Err(error) => {
                self.over = true;
                shared.remark(format!("cannot record to {}: {error}", self.path.display()));
            }
        }
    }

    /// Writes what is due; returns how many bytes could not be written.
    fn put(&mut self, job: &Job, shared: &Shared) -> u64 {
        let mut bytes = &job.bytes[..];
        let mut failed = 0;
        let end = self.base + self.len();
        let mut at = job.at.unwrap_or(end);
        if job.at.is_none() {
            let skipped = self.owed.min(bytes.len());
            (self.owed, bytes, failed) = (self.owed - skipped, &bytes[skipped..], skipped as u64);
        }
        if job.at.is_some() && (at < self.base || self.before_is_short()) {
            let earlier =
                usize::try_from(self.base.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(earlier);
            let ends = job.ends && later.is_empty() && at + (now.len() as u64) < self.base;
            let left = self.put_before(at, now, ends, shared);
            if left > 0 || ends {
                return failed + (left + later.len()) as u64;
            }
            (at, bytes) = (at.max(self.base), later);
        }
        let mut silence = Vec::new();
        while at > self.base + self.len() {
            let gap = (at - self.base - self.len()).min(PIECE as u64) as usize;
            let size = self.format.size();
            silence.clear();
            encode(&vec![0.0; gap.div_ceil(size)], self.format, SampleOrder::Little, &mut silence);
            if self.put_at(self.base + self.len(), &silence[..gap], None, shared) > 0 {
                return failed + bytes.len() as u64;
            }
        }
        let left = self.put_at(at, bytes, Some(job), shared);
        if job.at.is_none() && left > 0 {
            // Whole frames are left out.
            self.owed = (self.frame as usize - left % self.frame as usize) % self.frame as usize;
        }
        failed + left as u64
    }

    /// The recording has ended in the file before this one, and goes on.
    fn before_is_short(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.base + u64::from(before.file.sizes().1) < self.base)
    }

    /// Writes what lies in the file before this one, from there on with silence where the recording had ended; it `ends` there, or
    /// goes on in this file. Returns how many bytes could not be written.
    fn put_before(&mut self, at: u64, bytes: &[u8], ends: bool, shared: &Shared) -> usize {
        let Some(Before { file, path, base }) = &mut self.before else { return 0 };
        // What is in a file before that stays as it is.
        let settled = usize::try_from(base.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        let (at, bytes) = (at.max(*base), &bytes[settled..]);
        let full = u32::try_from(self.base - *base).unwrap_or(u32::MAX);
        let start = u32::try_from(at - *base).unwrap_or(u32::MAX).min(full);
        let end = start + bytes.len() as u32;
        let mut put = || -> io::Result<()> {
            let until = if ends { start } else { full };
            let mut silence = Vec::new();
            while file.sizes().1 < until {
                let from = file.sizes().1;
                let gap = (until - from).min(PIECE as u32);
                silence.clear();
                let samples = (gap as usize).div_ceil(self.format.size());
                encode(&vec![0.0; samples], self.format, SampleOrder::Little, &mut silence);
                file.put_bytes(from, from + gap, &silence[..gap as usize])?;
            }
            let len = if ends { end } else { file.sizes().1 };
            file.put_bytes(start, len, bytes)?;
            match &mut self.file {
                Some(file) if ends => file.put_bytes(0, 0, &[]),
                _ => Ok(()),
            }
        };
        let Err(error) = put() else { return 0 };
        let path = path.display().to_string();
        self.fail_at(&path, &error, bytes.len() as u64, shared);
        bytes.len()
    }

    fn len(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.sizes().1.into())
    }

    /// Writes bytes, of a job or to fill a gap, to this file and the next ones; returns how many of them could not be written.
    fn put_at(&mut self, mut at: u64, bytes: &[u8], job: Option<&Job>, shared: &Shared) -> usize {
        if self.over {
            return bytes.len();
        }
        // (Only what is replaced has gaps before it.)
        let replaces = job.is_none_or(|job| job.at.is_some());
        let ends = job.is_none_or(|job| job.ends);
        let piece = if self.is_pipe { PIPE_PIECE } else { PIECE };
        let piece = piece - piece % self.format.size();
        let mut rest = bytes;
        loop {
            let Some(file) = &mut self.file else {
                match (self.next)(&self.path) {
                    Ok((path, file)) => {
                        let Self { rate, channels, format, .. } = self;
                        let full = self.current.display();
                        shared.remark(format!("{full} is full: the recording goes on in {}", path.display()));
                        self.file = Some(WavRecorder::on(&path, file, *rate, *channels, *format, false));
                        (self.current, self.base) = (path, at);
                        continue;
                    }
                    Err(error) => {
                        self.fail(&error, rest.len() as u64, shared);
                        return rest.len();
                    }
                }
            };
            let start = u32::try_from(at - self.base).unwrap_or(u32::MAX);
            let room = if file.is_pipe() { u32::MAX } else { self.limit.saturating_sub(start) };
            let now = rest.len().min(room as usize).min(piece);
            let mut len = start.wrapping_add(now as u32);
            if !file.is_pipe() && (now < rest.len() || !ends) {
                // What follows is written over in its turn: whenever the program ends, there is no less than before.
                len = len.max(file.sizes().1);
            }
            if let Err(error) = file.put_bytes(start, len, &rest[..now]) {
                self.fail(&error, rest.len() as u64, shared);
                return rest.len();
            }
            (at, rest) = (at + now as u64, &rest[now..]);
            let mut state = shared.state();
            state.progress += 1;
            if job.is_some() {
                state.queued -= now;
                self.released += now;
            }
            let missing = state.missing.len();
            drop(state);
            shared.changed.notify_all();
            if rest.is_empty() {
                if let Some(failed) = self.failing.take() {
                    let left = if replaces { missing } else { failed };
                    let seconds = left as f64 / (f64::from(self.rate.max(1)) * f64::from(self.frame));
                    let path = self.current.display();
                    shared.remark(format!("{path} can be written again: {seconds:.1} s are left out"));
                }
                return 0;
            }
            if (now as u32) < room {
                continue;
            }
            // Whole frames, an even number of bytes: it is complete.
            let full = self.file.take().filter(|_| replaces);
            self.before = full.map(|file| Before { file, path: self.current.clone(), base: self.base });
            self.base = at;
        }
    }

    fn fail(&mut self, error: &io::Error, bytes: u64, shared: &Shared) {
        let path = self.current.display().to_string();
        self.fail_at(&path, error, bytes, shared);
    }

    fn fail_at(&mut self, path: &str, error: &io::Error, bytes: u64, shared: &Shared) {
        if error.kind() == ErrorKind::BrokenPipe {
            self.over = true;
            shared.remark(format!("nobody reads {path} any more: it is not recorded any more"));
            return;
        }
        if self.failing.is_none() {
            shared.remark(format!("cannot record to {path}: {error}; it is tried again, and what cannot be written until then is left out"));
        }
        self.failing = Some(self.failing.unwrap_or(0) + bytes);
    }

    fn end(&mut self, shared: &Shared) {
        let files = [self.before.take().map(|before| before.file), self.file.take()];
        for mut file in files.into_iter().flatten() {
            if self.over {
                return;
            }
            if let Err(error) = file.complete() {
                self.fail(&error, 0, shared);
            }
        }
    }
}

/// The first file beside this one that is not there.
fn beside(path: &Path) -> io::Result<(PathBuf, Box<dyn Sink>)> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension =
        path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    for n in 2..=u32::MAX {
        let next = path.with_file_name(format!("{stem}-{n}{extension}"));
        match OpenOptions::new().write(true).create_new(true).open(&next) {
            Ok(file) => return Ok((next, Box::new(file))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("every number is taken"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load;
    use std::io::{Seek, SeekFrom, Write};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("voxwire-recording-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn ramp(samples: Range<i32>) -> Vec<f64> {
        samples.map(|sample| f64::from(sample) / 32_768.0).collect()
    }

    /// A disk that may be full.
    #[derive(Debug, Clone, Default)]
    struct Disk(Arc<Mutex<Contents>>);

    #[derive(Debug, Default)]
    struct Contents {
        bytes: Vec<u8>,
        at: usize,
        fails: bool,
        /// So many bytes are written before it fails.
        some: usize,
    }

    impl Disk {
        fn fail(&self, fails: bool) {
            let mut disk = self.0.lock().unwrap();
            (disk.fails, disk.some) = (fails, 7);
        }

        fn samples(&self) -> Vec<f64> {
            crate::read(&self.0.lock().unwrap().bytes[..]).unwrap().clip.samples
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let len = if disk.fails { bytes.len().min(disk.some) } else { bytes.len() };
            if disk.fails {
                disk.some -= len;
            }
            if len == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let (at, end) = (disk.at, disk.at + len);
            if disk.bytes.len() < end {
                disk.bytes.resize(end, 0);
            }
            disk.bytes[at..end].copy_from_slice(&bytes[..len]);
            disk.at = end;
            // Whenever the program is killed the file is valid, and has what its header says.
            if disk.bytes.len() >= 44 && !disk.fails {
                let claims = u32::from_le_bytes(disk.bytes[40..44].try_into().unwrap());
                assert!(claims as usize + 44 <= disk.bytes.len());
            }
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            let mut disk = self.0.lock().unwrap();
            match to {
                SeekFrom::Start(at) => disk.at = at as usize,
                SeekFrom::Current(by) => disk.at = disk.at.checked_add_signed(by as isize).unwrap(),
                SeekFrom::End(by) => disk.at = disk.bytes.len().checked_add_signed(by as isize).unwrap(),
            }
            Ok(disk.at as u64)
        }
    }

    impl Sink for Disk {
        fn truncate(&mut self, len: u64) -> io::Result<()> {
            self.0.lock().unwrap().bytes.truncate(len as usize);
            Ok(())
        }
    }

    fn on(disk: &Disk, channels: u16) -> Recording {
        let path = Path::new("x.wav");
        let out = Out::new(path, 8000, channels, SampleFormat::I16);
        Recording::start(path, Some(Box::new(disk.clone())), false, out).unwrap()
    }

    /// F-81: a WAV file that is full is followed by others beside it, which leave what is there alone; nothing is lost between them.
    #[test]
    fn a_full_file_is_followed_by_the_next_one() {
        let folder = folder("full");
        let at = |name: &str| folder.join(name);
        std::fs::write(at("x-3.wav"), "mine").unwrap();
        let mut out = Out::new(&at("x.wav"), 8000, 2, SampleFormat::I16);
        out.limit = 4000;
        let file = Box::new(File::create(at("x.wav")).unwrap());
        let mut recording = Recording::start(&at("x.wav"), Some(file), false, out).unwrap();
        let said = ramp(0..5001);
        // Also where a frame is cut.
        for piece in said.chunks(777) {
            recording.write(piece);
        }
        recording.finish().unwrap();
        let remarks = recording.remarks();
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        assert!(
            remarks[0].contains("x.wav is full: the recording goes on in") && remarks[0].ends_with("x-2.wav")
        );
        let mut heard = Vec::new();
        for name in ["x.wav", "x-2.wav", "x-4.wav"] {
            let loaded = load(&at(name)).unwrap();
            assert_eq!((loaded.remarks.len(), loaded.clip.channels), (0, 2));
            heard.extend(loaded.clip.samples);
        }
        assert!(heard[..5001] == said);
        assert_eq!(heard[5001..], [0.0]);
        assert_eq!(std::fs::read(at("x-3.wav")).unwrap(), b"mine");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// F-81: while a disk is full the recording says so once, keeps what it has, and goes on when there is room again.
    #[test]
    fn a_full_disk_is_said_once_and_the_recording_goes_on_behind_it() {
        let disk = Disk::default();
        let mut recording = on(&disk, 2);
        recording.write(&ramp(0..1000));
        assert!(recording.flush() && recording.remarks().is_empty());
        for odd in [0, 1] {
            disk.fail(true);
            for n in 0..10 {
                // What is left out is left out in whole frames.
                recording.write(&ramp(n * 100..n * 100 + 50 + odd));
                assert!(recording.flush());
            }
            disk.fail(false);
            recording.write(&ramp(0..100 + odd));
            assert!(recording.flush());
            let remarks = recording.remarks();
            assert_eq!(remarks.len(), 2, "{remarks:?}");
            assert!(
                remarks[0].contains("x.wav: ") && remarks[0].contains("it is tried again"),
                "{remarks:?}"
            );
            assert!(remarks[1].contains("can be written again: 0.0 s are left out"), "{remarks:?}");
        }
        // An odd number of samples is lost and kept, and even so left stays left.
        let heard = disk.samples();
        assert!(heard[..1000] == ramp(0..1000));
        assert!(heard[1000..1100] == ramp(0..100));
        assert!(heard[1100..1200] == ramp(0..102)[..100]);
        let error = recording.finish().unwrap_err().to_string();
        assert_eq!(error, "x.wav: 0.1 s of what was heard are not in it");
    }

    /// F-81: a disk that is full from the beginning ends nothing, either.
    #[test]
    fn a_disk_that_is_full_from_the_beginning_is_said() {
        let disk = Disk::default();
        disk.fail(true);
        let mut recording = on(&disk, 1);
        recording.write(&ramp(0..100));
        assert!(recording.flush());
        assert_eq!(recording.remarks().len(), 1);
        disk.fail(false);
        recording.write(&ramp(5..100));
        assert!(recording.finish().is_err());
        assert_eq!(recording.remarks().len(), 1);
        assert!(disk.samples() == ramp(5..100));
    }

    /// F-53: what is put in the place of something else is where it belongs, and what is missing before it is silence.
    #[test]
    fn what_is_replaced_and_what_is_missing() {
        let disk = Disk::default();
        let mut recording = on(&disk, 1);
        let mut expected: Vec<f64> = Vec::new();
        for n in 0..200_u64 {
            let from = n * 10;
            let samples = ramp(n as i32..n as i32 + 40);
            recording.replace(from, &samples);
            expected.truncate(from as usize);
            expected.extend(samples);
        }
        assert!(recording.flush());
        disk.fail(true);
        recording.replace(expected.len() as u64, &ramp(1..101));
        assert!(recording.flush());
        disk.fail(false);
        recording.replace(expected.len() as u64 + 100, &ramp(7..20));
        expected.extend([0.0; 100]);
        expected.extend(ramp(7..20));
        recording.finish().unwrap_err();
        assert!(disk.samples() == expected);
    }

    /// F-81: a pipe that nobody opens, or reads, holds nobody up; what waits for it is bounded.
    #[cfg(unix)]
    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up() {
        let folder = folder("pipe");
        let pipe = folder.join("x.wav");
        if !std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mkfifo here");
            return;
        }
        for reader in [false, true] {
            let mut recording = Recording::create(&pipe, 8000, 1, SampleFormat::I16).unwrap();
            assert!(recording.is_pipe());
            // It opens the pipe, and reads nothing.
            let reader = reader.then(|| File::open(&pipe).unwrap());
            for _ in 0..60 {
                recording.write(&ramp(0..8000));
            }
            assert!(recording.shared.state().queued <= 8000 * 2 * QUEUE_SECONDS);
            assert!(!recording.flush());
            let remarks = recording.remarks();
            assert!(remarks.len() == 1 && remarks[0].contains("as fast as it comes"), "{remarks:?}");
            let error = recording.finish().unwrap_err().to_string();
            assert!(error.contains("s of what was heard are not in it"), "{error}");
            // (The thread ends.)
            drop(reader.map_or_else(|| File::open(&pipe).ok(), Some));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// F-81: who stops reading a pipe ends its recording, and nothing else.
    #[cfg(unix)]
    #[test]
    fn a_pipe_whose_reader_leaves_is_said() {
        let folder = folder("left");
        let pipe = folder.join("x.wav");
        if !std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mkfifo here");
            return;
        }
        let mut recording = Recording::create(&pipe, 8000, 1, SampleFormat::I16).unwrap();
        drop(File::open(&pipe).unwrap());
        for _ in 0..3 {
            recording.write(&ramp(0..8000));
            assert!(recording.flush());
        }
        assert!(recording.finish().is_err());
        let remarks = recording.remarks();
        assert!(remarks.len() == 1 && remarks[0].starts_with("nobody reads"), "{remarks:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// F-81: a reader who takes a pipe as fast as it is played gets all of it, also what is written at once in the end.
    #[cfg(unix)]
    #[test]
    fn a_reader_at_playing_speed_gets_every_byte() {
        let folder = folder("slow");
        let pipe = folder.join("x.wav");
        if !std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mkfifo here");
            return;
        }
        let mut recording = Recording::create(&pipe, 44_100, 1, SampleFormat::I16).unwrap();
        let reader = thread::spawn({
            let pipe = pipe.clone();
            move || {
                let (mut pipe, mut all, mut piece) = (File::open(pipe).unwrap(), Vec::new(), [0; 8820]);
                loop {
                    match io::Read::read(&mut pipe, &mut piece).unwrap() {
                        0 => return all,
                        len => all.extend_from_slice(&piece[..len]),
                    }
                    thread::park_timeout(Duration::from_millis(100));
                }
            }
        });
        let said: Vec<f64> = ramp(-30_000..30_000).repeat(3)[..132_300].to_vec();
        recording.write(&said);
        recording.finish().unwrap();
        drop(recording);
        assert!(crate::read(&reader.join().unwrap()[..]).unwrap().clip.samples == said);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// F-81, F-16: what waits is bounded in bytes, too: others choose the rate and the channels.
    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let path = Path::new("x.wav");
        for (rate, channels, most) in [(8000, 1, 8000 * 2 * 20), (768_000, 64, 64 << 20)] {
            let out = Out::new(path, rate, channels, SampleFormat::I16);
            let disk = Box::new(Disk::default());
            let recording = Recording::start(path, Some(disk), false, out).unwrap();
            assert_eq!(recording.most, most);
        }
    }

    /// F-81: where the next file cannot be opened no channel takes the place of another.
    #[test]
    fn channels_stay_where_they_are_when_the_next_file_cannot_be_opened() {
        let (first, second) = (Disk::default(), Disk::default());
        let path = Path::new("x.wav");
        for odd in [1, 2, 3] {
            let mut out = Out::new(path, 8000, 2, SampleFormat::I16);
            out.limit = 4000;
            let (mut attempts, next) = (0, second.clone());
            second.0.lock().unwrap().bytes.clear();
            out.next = Box::new(move |_| {
                attempts += 1;
                match attempts {
                    1..=3 => Err(ErrorKind::PermissionDenied.into()),
                    _ => Ok(("x-2.wav".into(), Box::new(next.clone()))),
                }
            });
            let mut recording = Recording::start(path, Some(Box::new(first.clone())), false, out).unwrap();
            // The last of the first file are written, and the rest of them are not.
            for piece in ramp(0..6000).chunks(550 + odd) {
                recording.write(piece);
                assert!(recording.flush());
            }
            recording.finish().unwrap_err();
            let heard = second.samples();
            assert!(heard.len() > 100);
            for (n, sample) in heard.iter().enumerate().filter(|(_, sample)| **sample != 0.0) {
                assert_eq!((sample * 32_768.0) as usize % 2, n % 2, "{odd}: {n}");
            }
        }
    }

    /// F-81, F-53: what could not be written is left out only if nobody puts it there again; each sample counts once.
    #[test]
    fn what_is_replaced_in_the_end_is_not_left_out() {
        for mends in [true, false] {
            let disk = Disk::default();
            let mut recording = on(&disk, 1);
            recording.replace(0, &ramp(0..1000));
            assert!(recording.flush() && recording.missing(0).is_none());
            disk.fail(true);
            for n in 0..10 {
                // The same is attempted again and again, and more of it.
                recording.replace(900, &ramp(900..2000 + n));
                assert!(recording.flush());
                assert_eq!(recording.missing(0), Some(900));
            }
            assert_eq!(recording.missing(1500), Some(1500));
            disk.fail(false);
            recording.replace(if mends { 900 } else { 1900 }, &ramp(if mends { 900 } else { 1900 }..9000));
            assert!(recording.flush());
            assert_eq!(recording.missing(0), (!mends).then_some(900));
            let remarks = recording.remarks();
            assert_eq!(remarks.len(), 2, "{remarks:?}");
            if mends {
                assert!(remarks[1].ends_with("can be written again: 0.0 s are left out"), "{remarks:?}");
                recording.finish().unwrap();
                assert!(disk.samples() == ramp(0..9000));
            } else {
                assert!(remarks[1].ends_with("can be written again: 0.1 s are left out"), "{remarks:?}");
                let error = recording.finish().unwrap_err().to_string();
                assert_eq!(error, "x.wav: 0.1 s of what was heard are not in it");
            }
        }
    }

    /// F-81: a replacement in many pieces leaves no less in the file meanwhile, and ends it where it ends.
    #[test]
    fn a_long_replacement_ends_the_recording_where_it_ends() {
        let disk = Disk::default();
        let mut recording = on(&disk, 1);
        recording.replace(0, &[0.25; 200_000]);
        recording.replace(10, &[0.5; 100_001]);
        assert!(recording.flush());
        let heard = disk.samples();
        assert!(heard.len() == 100_011 && heard[..10] == [0.25; 10] && heard[10..] == [0.5; 100_001]);
        recording.replace(5000, &[]);
        recording.replace(5002, &[0.25]);
        recording.finish().unwrap();
        let heard = disk.samples();
        assert!(heard.len() == 5003 && heard[4999..] == [0.5, 0.0, 0.0, 0.25], "{:?}", heard.len());
    }

    /// F-81: gaps that are told apart are bounded.
    #[test]
    fn gaps_are_bounded() {
        let mut missing = Missing::default();
        for n in (0..1000).rev() {
            missing.add(n * 10..n * 10 + 2);
        }
        assert!(missing.0.len() <= MOST_GAPS && missing.len() >= 2000 && missing.first(0) == Some(0));
        missing.cut(5);
        assert_eq!((missing.0.len(), missing.first(7)), (1, None));
        missing.cut(0);
        assert_eq!((missing.len(), missing.first(0)), (0, None));
    }

    /// F-81, F-53: what was a guess when its file became full is replaced there, also where the recording turns out to be shorter.
    #[test]
    fn f_81_a_guess_in_a_file_that_was_full_is_replaced() {
        let (first, second) = (Disk::default(), Disk::default());
        let mut out = Out::new(Path::new("x.wav"), 8000, 1, SampleFormat::I16);
        // 2000 samples.
        out.limit = 4000;
        let next = second.clone();
        out.next = Box::new(move |_| Ok(("x-2.wav".into(), Box::new(next.clone()))));
        let mut recording =
            Recording::start(Path::new("x.wav"), Some(Box::new(first.clone())), false, out).unwrap();
        // (A file of no samples is none that is read.)
        let samples = |disk: &Disk| {
            let bytes = &disk.0.lock().unwrap().bytes;
            let (header, samples) = bytes.split_at_checked(44).unwrap_or((&[0; 44], &[]));
            assert_eq!(header[40..], (samples.len() as u32).to_le_bytes());
            crate::decode(samples, SampleFormat::I16, SampleOrder::Little)
        };
        let mut expected = Vec::new();
        for (from, put) in [
            (0, ramp(0..2500)),
            // Others, and fewer.
            (1900, ramp(5000..5300)),
            // It ends in the first file, and where that ends.
            (1950, ramp(100..110)),
            (1980, ramp(1..21)),
            (1970, ramp(7..12)),
            // It goes on behind a gap in both.
            (2010, ramp(1..50)),
            (1999, ramp(3..20)),
        ] {
            recording.replace(from as u64, &put);
            assert!(recording.flush());
            expected.resize(from, 0.0);
            expected.extend(put);
            let heard = [samples(&first), samples(&second)].concat();
            assert!(heard == expected, "{from}: {} of {}", heard.len(), expected.len());
            assert!(samples(&first).len() == expected.len().min(2000), "{from}");
        }
        recording.finish().unwrap();
        assert!([samples(&first), samples(&second)].concat() == expected);
    }

    /// F-81: a device is never full: nothing is made beside it.
    #[cfg(unix)]
    #[test]
    fn a_device_is_a_pipe_throughout() {
        let path = Path::new("/dev/null");
        let mut out = Out::new(path, 8000, 1, SampleFormat::I16);
        out.limit = 4000;
        out.next = Box::new(|_| panic!("there is no file beside it"));
        let mut recording = Recording::start(path, None, true, out).unwrap();
        recording.write(&ramp(0..10_000));
        recording.finish().unwrap();
        assert_eq!(recording.remarks(), Vec::<String>::new());
        assert!(WavRecorder::create(path, 8000, 1, SampleFormat::I16).unwrap().is_pipe());
    }

    /// F-81: the waiting for a reader who takes nothing can be ended from elsewhere.
    #[cfg(unix)]
    #[test]
    fn waiting_can_be_aborted() {
        let folder = folder("abort");
        let pipe = folder.join("x.wav");
        if !std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mkfifo here");
            return;
        }
        let mut recording = Recording::create(&pipe, 8000, 1, SampleFormat::I16).unwrap();
        // Nothing else ends it.
        (recording.patience, recording.most_waiting) = (Duration::from_secs(3600), Duration::from_secs(3600));
        recording.write(&ramp(0..8000));
        let abort = recording.abort_handle();
        let waiting = thread::spawn(move || (recording.flush(), recording.finish()));
        abort.abort();
        let (flushed, finished) = waiting.join().unwrap();
        assert!(!flushed && finished.is_err());
        drop(File::open(&pipe).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
