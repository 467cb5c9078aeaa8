//! Recordings that hold nobody up: a thread of their own writes them.

use crate::record::{MAX_BYTES, Sink, WavRecorder, storable};
use crate::{Error, SampleFormat, SampleOrder, encode};
use core::time::Duration;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A [`WavRecorder`] for calls: nothing that a disk or the reader of a pipe does holds the caller up, or ends the call.
///
/// What is to be written waits for its turn, 20 s of it at most; more is left out, and counted. A file that is full, at 4 GiB, is
/// completed, and the recording goes on beside it: `name-2.wav` behind `name.wav`, or the next number that is free. While a file cannot
/// be written, as on a full disk, it is tried again with all that comes, which is left out and counted until it can be written. Who
/// stops reading a pipe ends its recording. [`remarks`](Self::remarks) says what went wrong, each thing once.
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
    /// What of a frame that was begun to be left out is to come.
    owed: usize,
    bytes: Vec<u8>,
    is_closed: bool,
}

/// What may wait for a disk.
const QUEUE_SECONDS: usize = 20;
/// Writing that comes no further for so long is not waited for in the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is written at once.
const PIECE: usize = 1 << 16;
const MOST_REMARKS: usize = 16;

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
    /// Bytes that did not fit.
    dropped: u64,
    /// Bytes that could not be written.
    failed: u64,
    remarks: Vec<String>,
}

#[derive(Debug)]
struct Job {
    /// The byte of the recording with which it begins, which ends with it; none: behind all that is there.
    at: Option<u64>,
    bytes: Vec<u8>,
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
        let recording = Self {
            shared: shared.clone(),
            path: path.into(),
            format,
            is_pipe,
            most: second.saturating_mul(QUEUE_SECONDS).max(PIECE),
            frame,
            second: second.max(1) as f64,
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
    /// end, is silence. Not together with [`write`](Self::write), and not for a [pipe](Self::is_pipe).
    pub fn replace(&mut self, from: u64, samples: &[f64]) {
        self.push(Some(from.saturating_mul(self.format.size() as u64)), samples);
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
                if !job.bytes.is_empty() {
                    state.jobs.push_back(job);
                    break;
                }
            }
        }
        if state.queued + bytes.len() > self.most {
            if state.dropped == 0 {
                let path = self.path.display();
                let text =
                    format!("{path} does not take what is heard as fast as it comes: some of it is left out");
                state.remarks.push(text);
            }
            state.dropped += bytes.len() as u64;
            if at.is_none() {
                self.owed = (self.frame - bytes.len() % self.frame) % self.frame;
            }
            return;
        }
        state.queued += bytes.len();
        match state.jobs.back_mut().filter(|job| at.is_none() && job.bytes.len() < PIECE) {
            Some(job) => job.bytes.extend_from_slice(bytes),
            None => state.jobs.push_back(Job { at, bytes: bytes.to_vec() }),
        }
        self.shared.changed.notify_all();
    }

    /// What has gone wrong since this was asked last.
    pub fn remarks(&self) -> Vec<String> {
        core::mem::take(&mut self.shared.state().remarks)
    }

    /// Waits until all is written, as long as writing goes on; true if it is.
    pub fn flush(&self) -> bool {
        self.wait(|state| state.jobs.is_empty() && !state.busy)
    }

    fn wait(&self, until: impl Fn(&State) -> bool) -> bool {
        let mut state = self.shared.state();
        while !until(&state) {
            let before = state.progress;
            let waited = self
                .shared
                .changed
                .wait_timeout_while(state, PATIENCE, |state| !until(state) && state.progress == before);
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return until(&state);
            }
        }
        true
    }

    /// Completes the file. Somebody who does not take the rest, and comes no further with it within a second, is not waited for. What is
    /// written behind it goes nowhere.
    ///
    /// # Errors
    /// Some of what was heard is not in the file; [`remarks`](Self::remarks) say why.
    pub fn finish(&mut self) -> Result<(), Error> {
        let complete = self.close();
        let state = self.shared.state();
        let waiting = if complete { 0 } else { state.queued as u64 };
        let lost = state.dropped + state.failed + waiting;
        if lost == 0 {
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
            state.busy = true;
            drop(state);
            let failed = out.put(&job, shared);
            state = shared.state();
            state.failed += failed;
            state.queued -= job.bytes.len();
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
    file: Option<WavRecorder>,
    /// The file that is written, and the byte of the recording with which it begins.
    current: PathBuf,
    base: u64,
    /// Bytes that a file has at most: whole frames, an even number.
    limit: u32,
    frame: u32,
    /// What could not be written is said; and for how many bytes.
    failing: Option<u64>,
    /// What of a frame that was begun to be left out is to come.
    owed: usize,
    /// Nobody reads it any more.
    over: bool,
    /// Opens the next file.
    next: Next,
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
            file: None,
            current: path.into(),
            base: 0,
            limit: MAX_BYTES - MAX_BYTES % (2 * frame),
            frame,
            failing: None,
            owed: 0,
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
                let Self { path, rate, channels, format, .. } = self;
                let mut file = WavRecorder::on(path, file, *rate, *channels, *format);
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
        // What is in a file that is full stays as it is.
        let settled = usize::try_from(self.base.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        (at, bytes) = (at.max(self.base), &bytes[settled..]);
        let mut silence = Vec::new();
        while at > self.base + self.len() {
            let gap = (at - self.base - self.len()).min(PIECE as u64) as usize;
            let size = self.format.size();
            silence.clear();
            encode(&vec![0.0; gap.div_ceil(size)], self.format, SampleOrder::Little, &mut silence);
            if !self.put_at(self.base + self.len(), &silence[..gap], shared) {
                return failed + bytes.len() as u64;
            }
        }
        if self.put_at(at, bytes, shared) {
            return failed;
        }
        if job.at.is_none() {
            self.owed = (self.frame as usize - bytes.len() % self.frame as usize) % self.frame as usize;
        }
        failed + bytes.len() as u64
    }

    fn len(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.sizes().1.into())
    }

    /// Writes bytes to this file, and the next ones; false if that cannot be.
    fn put_at(&mut self, mut at: u64, bytes: &[u8], shared: &Shared) -> bool {
        if self.over {
            return false;
        }
        let mut rest = bytes;
        loop {
            let Some(file) = &mut self.file else {
                match (self.next)(&self.path) {
                    Ok((path, file)) => {
                        let Self { rate, channels, format, .. } = self;
                        let full = self.current.display();
                        shared.remark(format!("{full} is full: the recording goes on in {}", path.display()));
                        self.file = Some(WavRecorder::on(&path, file, *rate, *channels, *format));
                        (self.current, self.base) = (path, at);
                        continue;
                    }
                    Err(error) => {
                        self.fail(&error, rest.len() as u64, shared);
                        return false;
                    }
                }
            };
            let start = u32::try_from(at - self.base).unwrap_or(u32::MAX);
            let room = if file.is_pipe() { u32::MAX } else { self.limit.saturating_sub(start) };
            let now = rest.len().min(room as usize);
            let len = start.wrapping_add(now as u32);
            if let Err(error) = file.put_bytes(start, len, &rest[..now]) {
                self.fail(&error, rest.len() as u64, shared);
                return false;
            }
            (at, rest) = (at + now as u64, &rest[now..]);
            if rest.is_empty() {
                if let Some(failed) = self.failing.take() {
                    let seconds = failed as f64 / (f64::from(self.rate.max(1)) * f64::from(self.frame));
                    let path = self.current.display();
                    shared.remark(format!("{path} can be written again: {seconds:.1} s are left out"));
                }
                return true;
            }
            let complete = file.complete();
            (self.file, self.base) = (None, at);
            if let Err(error) = complete {
                self.fail(&error, 0, shared);
            }
        }
    }

    fn fail(&mut self, error: &io::Error, bytes: u64, shared: &Shared) {
        let path = self.current.display();
        if error.kind() == ErrorKind::BrokenPipe {
            self.over = true;
            shared.remark(format!("nobody reads {path} any more: it is not recorded any more"));
            return;
        }
        if self.failing.is_none() {
            shared.remark(format!("cannot record to {path}: {error}; it is tried again, and what is heard until then is left out"));
        }
        self.failing = Some(self.failing.unwrap_or(0) + bytes);
    }

    fn end(&mut self, shared: &Shared) {
        let Some(mut file) = self.file.take().filter(|_| !self.over) else { return };
        if let Err(error) = file.complete() {
            self.fail(&error, 0, shared);
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

    fn ramp(samples: core::ops::Range<i32>) -> Vec<f64> {
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
}
