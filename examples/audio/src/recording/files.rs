//! The files of a recording: bytes are put at their place in them, and gaps are filled with silence.

use super::queue::{Job, Shared};
use super::{PIECE, PIPE_PIECE};
use crate::record::{MAX_BYTES, Sink, WavRecorder, storable};
use crate::{SampleFormat, SampleOrder, encode};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

type Next = Box<dyn FnMut(&Path) -> io::Result<(PathBuf, Box<dyn Sink>)> + Send>;

/// The files of a recording.
pub(super) struct Files {
    path: PathBuf,
    pub(super) rate: u32,
    pub(super) channels: u16,
    pub(super) format: SampleFormat,
    pub(super) is_pipe: bool,
    file: Option<WavRecorder>,
    /// The file that is written, and the byte of the recording with which it begins.
    current: PathBuf,
    base: u64,
    /// The file before it, which was full: what is replaced may begin there.
    before: Option<Before>,
    /// Bytes that a file has at most: whole frames, an even number.
    pub(super) limit: u32,
    frame: u32,
    /// What could not be written is said; and for how many bytes.
    failing: Option<u64>,
    /// What of a frame that was begun to be left out is to come.
    left_of_frame: usize,
    /// Bytes of the job in hand that no longer wait.
    pub(super) released: usize,
    /// Nobody reads it any more.
    over: bool,
    /// Opens the next file.
    pub(super) next: Next,
}

/// A file that was full, and may be written over.
struct Before {
    file: WavRecorder,
    path: PathBuf,
    base: u64,
}

impl Files {
    pub(super) fn new(path: &Path, rate: u32, channels: u16, format: SampleFormat) -> Self {
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
            left_of_frame: 0,
            released: 0,
            over: false,
            next: Box::new(beside),
        }
    }

    /// Takes the file, or opens the pipe.
    pub(super) fn begin(&mut self, file: Option<Box<dyn Sink>>, shared: &Shared) {
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
    pub(super) fn put(&mut self, job: &Job, shared: &Shared) -> u64 {
        let mut bytes = &job.bytes[..];
        let mut failed = 0;
        let end = self.base + self.len();
        let mut at = job.at.unwrap_or(end);
        if job.at.is_none() {
            let skipped = self.left_of_frame.min(bytes.len());
            (self.left_of_frame, bytes, failed) =
                (self.left_of_frame - skipped, &bytes[skipped..], skipped as u64);
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
            self.left_of_frame = (self.frame as usize - left % self.frame as usize) % self.frame as usize;
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
            if let Err(error) = self.open_next(at, shared) {
                self.fail(&error, rest.len() as u64, shared);
                return rest.len();
            }
            let Some(file) = &mut self.file else { return rest.len() };
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
            let missing = self.advance(now, job.is_some(), shared);
            if rest.is_empty() {
                self.recover(replaces.then_some(missing), shared);
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

    /// Opens the file that begins with byte `at` of the recording, where the last one is full.
    fn open_next(&mut self, at: u64, shared: &Shared) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let (path, file) = (self.next)(&self.path)?;
        let Self { rate, channels, format, .. } = self;
        let full = self.current.display();
        shared.remark(format!("{full} is full: the recording goes on in {}", path.display()));
        self.file = Some(WavRecorder::on(&path, file, *rate, *channels, *format, false));
        (self.current, self.base) = (path, at);
        Ok(())
    }

    /// Bytes are written, which waited for it if they are `queued`. Returns how many are missing.
    fn advance(&mut self, bytes: usize, queued: bool, shared: &Shared) -> u64 {
        let mut state = shared.state();
        state.progress += 1;
        if queued {
            state.queued -= bytes;
            self.released += bytes;
        }
        let missing = state.missing.len();
        drop(state);
        shared.changed.notify_all();
        missing
    }

    /// Writing works: says so where it did not before. `missing`: what a recording lacks whose bytes are replaced.
    fn recover(&mut self, missing: Option<u64>, shared: &Shared) {
        let Some(failed) = self.failing.take() else { return };
        let left = missing.unwrap_or(failed);
        let seconds = left as f64 / (f64::from(self.rate.max(1)) * f64::from(self.frame));
        let path = self.current.display();
        shared.remark(format!("{path} can be written again: {seconds:.1} s are left out"));
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

    pub(super) fn end(&mut self, shared: &Shared) {
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
