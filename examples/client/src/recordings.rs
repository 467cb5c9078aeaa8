//! `--record`: where recordings go, and whether all that was heard is in them.

mod tracks;

use crate::error::{Error, failed};
use crate::report::Report;
use crate::signals::Signals;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
pub(crate) use tracks::{TrackFiles, Tracks};
use voxwire_audio::{Clip, Recording, RecordingAbort, SampleFormat};

/// The recordings of a run: those that are being completed beside what else goes on, and whether all that was heard is in all of them.
/// A recording that goes wrong ends no call: that is said, and what [`end`](Self::end) returns.
#[derive(Debug)]
pub(crate) struct Recordings {
    /// What `--record` names.
    path: Option<PathBuf>,
    /// The number of the last one.
    n: u32,
    finishing: Vec<Finishing>,
    /// The first thing that went wrong.
    complete: Result<(), Error>,
    report: Report,
}

/// So long a recording may hold up what else goes on.
const MOMENT: Duration = Duration::from_secs(1);
/// Recordings that may be completed beside what else goes on.
const FINISHING: usize = 4;
/// How long the end waits for all of them, beyond what one takes to be played.
const LAST: Duration = Duration::from_secs(30);

impl Recordings {
    pub(crate) fn new(path: Option<PathBuf>, report: &Report) -> Self {
        Self { path, n: 0, finishing: Vec::new(), complete: Ok(()), report: report.clone() }
    }

    /// The next one goes to this file.
    pub(crate) fn name(&mut self, path: PathBuf) {
        (self.path, self.n) = (Some(path), 0);
    }

    /// The file that was named has its use: all are numbered beside it.
    pub(crate) const fn beside(&mut self) {
        self.n = 1;
    }

    /// Where the next one goes, if that is asked for: the first to the file that was named, others beside it.
    fn next(&mut self) -> Result<Option<PathBuf>, Error> {
        let Some(path) = &self.path else { return Ok(None) };
        let (path, n) = recording(path, self.n.saturating_add(1))?;
        self.n = n;
        Ok(Some(path))
    }

    /// Begins the next one, if one is asked for and can be made.
    pub(crate) fn create(&mut self, rate: u32, channels: u16, format: SampleFormat) -> Option<RecordFile> {
        let made = self.next().and_then(|path| {
            path.map(|path| RecordFile::create(&path, rate, channels, format, &self.report)).transpose()
        });
        self.unless_wrong(made)
    }

    /// Begins the one in the file that was named.
    pub(crate) fn create_named(
        &mut self,
        rate: u32,
        channels: u16,
        format: SampleFormat,
    ) -> Option<RecordFile> {
        let path = self.path.as_deref();
        let made =
            path.map(|path| RecordFile::create(path, rate, channels, format, &self.report)).transpose();
        self.unless_wrong(made)
    }

    /// Writes what is there as a whole, to the next file; where none was named and that is `wanted`, to one of this name. Returns where
    /// it goes.
    pub(crate) fn save(&mut self, clip: &Arc<Clip>, wanted: Option<&str>) -> Option<PathBuf> {
        let saved = self.next().and_then(|path| {
            let path = match (path, wanted) {
                (None, Some(name)) => Some(unused(name.as_ref(), 1)?.0),
                (path, _) => path,
            };
            let Some(path) = path else { return Ok(None) };
            Ok(Some((save(&path, clip.clone(), &self.report)?, path)))
        });
        let (file, path) = self.unless_wrong(saved)?;
        self.finishing.push(file);
        Some(path)
    }

    /// A recording is over: it is completed beside what else goes on.
    pub(crate) fn complete(&mut self, file: Option<RecordFile>) {
        self.finishing.extend(file.map(RecordFile::complete));
    }

    /// Waits a moment for the last one to be complete; one that takes longer is completed beside what else goes on. A signal ends the
    /// wait. Cancel-safe.
    pub(crate) async fn settle(&mut self, signals: &mut Signals) {
        let Some(last) = self.finishing.last().map(|file| file.task.id()) else { return };
        let moment = sleep(MOMENT);
        tokio::pin!(moment);
        loop {
            let waits = !moment.is_elapsed() && self.finishing.iter().any(|file| file.task.id() == last);
            if !waits && self.finishing.len() <= FINISHING {
                return;
            }
            tokio::select! {
                () = self.next_ended() => {}
                () = &mut moment, if waits => {}
                () = signals.recv() => return,
            }
        }
    }

    /// Waits until one of them has ended, and says if not all is in it; without an end where there is none. Cancel-safe.
    pub(crate) async fn next_ended(&mut self) {
        let ended = self.ended().await;
        self.unless_wrong(ended);
    }

    async fn ended(&mut self) -> Result<(), Error> {
        let (n, ended) = poll_fn(|context| {
            for (n, file) in self.finishing.iter_mut().enumerate() {
                if let Poll::Ready(ended) = Pin::new(&mut file.task).poll(context) {
                    return Poll::Ready((n, ended));
                }
            }
            Poll::Pending
        })
        .await;
        self.finishing.remove(n);
        ended.unwrap_or_else(Finishing::broken)
    }

    /// The program ends: waits for those that are not complete yet, 30 s for all of them, and for as long as a voice message takes to be
    /// played. The second signal ends that: what has not been written is lost, and counted.
    ///
    /// # Errors
    /// The first thing that went wrong: some of what was heard is not in a recording.
    pub(crate) async fn end(mut self, signals: &mut Signals) -> Result<(), Error> {
        signals.end();
        let longest = self.finishing.iter().map(|file| file.length).max().unwrap_or_default();
        tokio::select! {
            () = self.all_ended() => {}
            () = signals.recv() => {}
            () = sleep(LAST.saturating_add(longest)) => {}
        }
        self.finishing.iter().for_each(|file| file.abort.abort());
        self.all_ended().await;
        self.complete
    }

    async fn all_ended(&mut self) {
        while !self.finishing.is_empty() {
            let ended = self.ended().await;
            // The first is what the program ends with.
            if self.complete.is_ok() {
                self.complete = ended;
            } else {
                self.unless_wrong(ended);
            }
        }
    }

    /// Says what went wrong, and keeps the first of it.
    fn unless_wrong<T: Default>(&mut self, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| {
            let reason = error.to_string();
            self.report.keep("failed", json!({ "reason": reason }), &reason);
            if self.complete.is_ok() {
                self.complete = Err(error);
            }
            T::default()
        })
    }
}

/// A recording that is being completed by a thread of its own.
#[derive(Debug)]
struct Finishing {
    abort: RecordingAbort,
    /// How long what it writes takes to be played, if that is there as a whole.
    length: Duration,
    task: JoinHandle<Result<(), Error>>,
}

impl Finishing {
    fn broken(error: tokio::task::JoinError) -> Result<(), Error> {
        Err(failed!("the recording: {error}"))
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        // Nobody waits for it any more, also not the end of the program.
        self.abort.abort();
    }
}

/// `--record`: a file that holds nobody up. What goes wrong with it is said, and ends no call.
#[derive(Debug)]
pub(crate) struct RecordFile {
    recording: Recording,
    report: Report,
    name: String,
}

impl RecordFile {
    pub(crate) fn create(
        path: &Path,
        rate: u32,
        channels: u16,
        format: SampleFormat,
        report: &Report,
    ) -> Result<Self, Error> {
        let recording = Recording::create(path, rate, channels, format)?;
        Ok(Self { recording, report: report.clone(), name: path.display().to_string() })
    }

    pub(crate) const fn is_pipe(&self) -> bool {
        self.recording.is_pipe()
    }

    pub(crate) fn write(&mut self, samples: &[f64]) {
        self.recording.write(samples);
        self.remark();
    }

    pub(crate) fn replace(&mut self, from: u64, samples: &[f64]) {
        self.recording.replace(from, samples);
        self.remark();
    }

    /// The first sample from `from` on that was to be put there and could not be written.
    pub(crate) fn missing(&self, from: u64) -> Option<u64> {
        self.recording.missing(from)
    }

    fn remark(&self) {
        for remark in self.recording.remarks() {
            self.report.keep("recording", json!({ "file": self.name, "remark": remark }), &remark);
        }
    }

    /// Waits until all is written, unless that goes no further.
    pub(crate) fn flush(&self) -> bool {
        self.recording.flush()
    }

    /// Completes the file; fails if there is not all in it that was heard. It holds the caller up.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        let finished = self.recording.finish();
        self.remark();
        Ok(finished?)
    }

    /// Completes the file beside what else goes on.
    fn complete(self) -> Finishing {
        let abort = self.recording.abort_handle();
        Finishing { abort, length: Duration::ZERO, task: spawn_blocking(|| self.finish()) }
    }
}

/// Writes a recording that is there as a whole, beside what else goes on, unless the reader of a pipe stops taking it.
fn save(path: &Path, clip: Arc<Clip>, report: &Report) -> Result<Finishing, Error> {
    let mut file = RecordFile::create(path, clip.rate, clip.channels, SampleFormat::I16, report)?;
    let abort = file.recording.abort_handle();
    let length = Duration::try_from_secs_f64(clip.seconds()).unwrap_or(Duration::MAX);
    let task = spawn_blocking(move || {
        let mut goes_on = true;
        for piece in clip.samples.chunks(1 << 13) {
            // What does not go on is not waited for again: it is left out, and counted.
            file.write(piece);
            goes_on = goes_on && file.flush();
        }
        if !goes_on {
            file.recording.abort_handle().abort();
        }
        file.finish()
    });
    Ok(Finishing { abort, length, task })
}

/// The file for the `n`-th call: the one asked for, then numbered ones beside it, so that no recording is lost.
fn numbered(path: &Path, n: u32) -> PathBuf {
    if n <= 1 {
        return path.into();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension =
        path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{n}{extension}"))
}

/// Makes a file that was not there, for a recording that nobody gave a name: the first that is free among those that [`numbered`]
/// counts from `n` on. Files of that name are left alone, and links are not followed. Returns it and its number.
fn unused(path: &Path, n: u32) -> Result<(PathBuf, u32), Error> {
    let open = |path: &Path| std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    for n in n..=u32::MAX {
        let path = numbered(path, n);
        match open(&path) {
            Ok(_) => return Ok((path, n)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::Failed(format!("cannot record to {}: {error}", path.display()))),
        }
    }
    Err(Error::Failed(format!("cannot record beside {}: every number is taken", path.display())))
}

/// What `--record` says for recording number `n` of a run: the first is the file that was named, others are beside it, where nothing
/// was before. All go to the same pipe or device.
fn recording(path: &Path, n: u32) -> Result<(PathBuf, u32), Error> {
    let is_special = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    if n <= 1 || is_special { Ok((path.into(), n)) } else { unused(path, n) }
}

/// Checks that a recording can be written, before anybody is called. An existing file is left alone until then.
pub(crate) fn check_writable(path: &Path) -> Result<(), Error> {
    let about =
        |error: std::io::Error| Error::Failed(format!("cannot record to {}: {error}", path.display()));
    // A pipe or a device is opened once: who reads it would take that for the end.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return Ok(());
    }
    let existed = path.exists();
    std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(about)?;
    if !existed {
        // A call that never comes up leaves no empty file behind: the file that was made, and not a link that leads to it.
        std::fs::canonicalize(path).and_then(std::fs::remove_file).map_err(about)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-81: further recordings of a run go beside a file, and to the same device.
    #[test]
    fn f_81_further_recordings_go_beside_a_file_and_to_the_same_device() {
        let device = Path::new("/dev/null");
        assert_eq!(recording(device, 2).unwrap(), (device.into(), 2));
        let folder = a_folder();
        let file = folder.join("call.wav");
        assert_eq!(recording(&file, 1).unwrap(), (file.clone(), 1));
        assert_eq!(recording(&file, 2).unwrap(), (folder.join("call-2.wav"), 2));
        assert_eq!(recording(&file, 2).unwrap(), (folder.join("call-3.wav"), 3));
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn a_folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("voxwire-recordings-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn every_call_has_a_file_of_its_own() {
        let name = |n| numbered(Path::new("dir/bob.wav"), n);
        assert_eq!(
            [1, 2, 13].map(name),
            ["dir/bob.wav", "dir/bob-2.wav", "dir/bob-13.wav"].map(PathBuf::from)
        );
    }

    /// Others choose how many recordings there are: they overwrite nothing.
    #[cfg(unix)]
    #[test]
    fn recordings_beside_the_one_that_was_named_leave_files_and_links_alone() {
        let folder = std::env::temp_dir().join(format!("voxwire-unused-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        std::fs::write(at("x-2.wav"), "mine").unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("x-3.wav")).unwrap();
        assert_eq!(recording(&at("x.wav"), 1).unwrap(), (at("x.wav"), 1));
        assert_eq!(recording(&at("x.wav"), 2).unwrap(), (at("x-4.wav"), 4));
        assert_eq!(recording(&at("x.wav"), 4).unwrap(), (at("x-5.wav"), 5));
        assert_eq!(std::fs::read(at("x-2.wav")).unwrap(), b"mine");
        assert!(!at("elsewhere").exists());
        // Without a name the first is new, too.
        std::os::unix::fs::symlink(at("elsewhere"), at("voice.wav")).unwrap();
        assert_eq!(unused(&at("voice.wav"), 1).unwrap(), (at("voice-2.wav"), 2));
        let error = unused(&at("nowhere/x.wav"), 2).unwrap_err().to_string();
        assert!(error.contains("nowhere/x-2.wav: No such file"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// F-10
    #[cfg(unix)]
    #[test]
    fn checking_whether_a_recording_can_be_written_leaves_links_and_files_as_they_are() {
        let folder = std::env::temp_dir().join(format!("voxwire-record-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (link, target) = (folder.join("link.wav"), folder.join("target.wav"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        check_writable(&link).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink() && !target.exists());
        std::fs::write(&target, "precious").unwrap();
        check_writable(&link).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        check_writable(&folder.join("new.wav")).unwrap();
        assert!(!folder.join("new.wav").exists());
        assert!(check_writable(&folder.join("no/new.wav")).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
