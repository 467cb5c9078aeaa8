//! Sound files that are read as they are played.

use crate::file::{Collector, read_all};
use crate::{Clip, Error, StreamResampler};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Samples of a file that are read ahead of what is played, of all channels: 1 MiB, or 2.7 s of 48 kHz mono. There is as much for
/// each that plays a pipe beside others.
pub const READ_AHEAD: usize = 1 << 17;
/// How long a pipe may take to fill that, before what has come is played.
const PIPE_HEAD: Duration = Duration::from_millis(200);
/// How long a file may take.
const FILE_HEAD: Duration = Duration::from_secs(10);
/// How long a file may take to be read on, once until something comes again: others wait meanwhile. A pipe is not waited for.
const DISK: Duration = Duration::from_millis(20);
/// The same where nobody else waits.
const PATIENCE: Duration = Duration::from_millis(500);

/// A sound file, opened and checked, of any kind that [`read`](crate::read) knows and of any length: it is read by a thread as it is
/// played, and at most [`READ_AHEAD`] samples ahead.
///
/// Each playback of a file begins at its beginning. What comes out of a pipe comes once: a playback goes on where the last one
/// has stopped, and several at the same time play the same.
#[derive(Debug)]
pub struct SoundFile {
    name: String,
    /// Where it can be opened again.
    path: Option<PathBuf>,
    opened: Mutex<Option<Tee>>,
    remarks: Vec<String>,
}

/// One playing of a [`SoundFile`], in the shape that was asked for.
#[derive(Debug)]
pub struct SoundStream {
    tee: Tee,
    reader: u64,
    rate: u32,
    channels: u16,
    /// Once it is known from what; and the channels that are resampled: the fewer of the file's and those asked for.
    resampler: Option<(StreamResampler, u16)>,
    /// What came and was not a whole frame; a block; what is ready to be taken.
    raw: Vec<f64>,
    block: Vec<f64>,
    ready: VecDeque<f64>,
    /// Samples that came out of the file.
    came: u64,
    /// All has been read, and all has been made ready.
    ended: bool,
    over: bool,
    remarks: Vec<String>,
    /// For how long more is waited, and whether that was in vain.
    waits: Option<Duration>,
    late: bool,
}

/// Those who read the same, each with what others have taken and it has not.
#[derive(Debug, Clone)]
struct Tee(Arc<Mutex<Readers>>);

#[derive(Debug)]
struct Readers {
    feed: Arc<Feed>,
    next: u64,
    behind: BTreeMap<u64, VecDeque<f64>>,
}

/// Between the thread that reads and those that play.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that have been read, and bytes in all; 0 where that is not known.
    read: AtomicU64,
    length: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Frames per second, and channels.
    shape: Option<(u32, u16)>,
    samples: VecDeque<f64>,
    /// Samples that have been there.
    pushed: u64,
    remarks: Vec<String>,
    /// All has been read, or why not.
    over: Option<Result<(), String>>,
    /// Nobody plays any more.
    closed: bool,
}

impl SoundFile {
    /// Opens a file and reads its beginning. A pipe will do.
    ///
    /// # Errors
    /// The file cannot be read, or is of a kind that cannot be played: as far as its first [`READ_AHEAD`] samples tell.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let about = |reason: String| Error::File { path: path.into(), reason };
        let file = File::open(path).map_err(|error| about(error.to_string()))?;
        let length = length_of(&file);
        let is_file = length > 0 || file.metadata().is_ok_and(|metadata| metadata.is_file());
        let feed = Feed::start(file, None, length).map_err(about)?;
        let remarks = feed.begin(!is_file).map_err(about)?;
        let path_again = is_file.then(|| path.to_owned());
        let opened = Mutex::new(Some(Tee::new(feed)));
        Ok(Self { name: path.display().to_string(), path: path_again, opened, remarks })
    }

    /// The same for what comes from anywhere else, once.
    ///
    /// # Errors
    /// Those of [`read`](crate::read).
    pub fn from_reader(name: &str, source: impl Read + Send + Sync + 'static) -> Result<Self, String> {
        let feed = Feed::start(source, None, 0)?;
        let remarks = feed.begin(true)?;
        Ok(Self { name: name.into(), path: None, opened: Mutex::new(Some(Tee::new(feed))), remarks })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known to be wrong with it.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Whether it comes out of a pipe, and so only once.
    pub const fn is_pipe(&self) -> bool {
        self.path.is_none()
    }

    /// Plays it at so many frames per second, in so many channels.
    ///
    /// # Errors
    /// The file is there no more, or is another one now.
    pub fn play(&self, rate: u32, channels: u16) -> Result<SoundStream, Error> {
        let mut opened = lock(&self.opened);
        let tee = match (&self.path, &*opened) {
            (None, Some(tee)) => tee.clone(),
            (Some(path), None) => {
                let about = |reason: String| Error::File { path: path.into(), reason };
                let file = File::open(path).map_err(|error| about(error.to_string()))?;
                let length = length_of(&file);
                let feed = Feed::start(file, None, length).map_err(about)?;
                feed.begin(false).map_err(about)?;
                Tee::new(feed)
            }
            _ => opened.take().unwrap_or_else(|| Tee::new(Arc::default())),
        };
        Ok(SoundStream::new(tee, rate, channels, self.path.is_some()))
    }

    /// Plays a file again and again, without a gap. Never waits for the disk: until something has been read, nothing is played.
    ///
    /// # Errors
    /// It is a pipe, or is there no more; the system allows no more threads.
    pub fn play_repeated(&self, rate: u32, channels: u16) -> Result<SoundStream, Error> {
        let about = |reason: String| Error::File { path: (&*self.name).into(), reason };
        let path = self.path.clone().ok_or_else(|| about("a pipe cannot be played again".into()))?;
        let file = File::open(&path).map_err(|error| about(error.to_string()))?;
        let feed = Feed::start(file, Some(path.clone()), 0).map_err(about)?;
        Ok(SoundStream::new(Tee::new(feed), rate, channels, false))
    }
}

impl SoundStream {
    fn new(tee: Tee, rate: u32, channels: u16, waits: bool) -> Self {
        let mut readers = lock(&tee.0);
        let reader = readers.next;
        readers.next += 1;
        readers.behind.insert(reader, VecDeque::new());
        drop(readers);
        Self {
            tee,
            reader,
            rate,
            channels: channels.max(1),
            resampler: None,
            raw: Vec::new(),
            block: Vec::new(),
            ready: VecDeque::new(),
            came: 0,
            ended: false,
            over: false,
            remarks: Vec::new(),
            waits: waits.then_some(DISK),
            late: false,
        }
    }

    /// Appends the next `frames` frames, and returns how many there were: fewer if no more has come yet, or at the end.
    pub fn take(&mut self, frames: usize, out: &mut Vec<f64>) -> usize {
        let wanted = frames.saturating_mul(self.channels.into());
        while self.ready.len() < wanted && !self.over {
            if self.pull() || self.over {
                continue;
            }
            let missing = (wanted - self.ready.len()).div_ceil(self.channels.into());
            if !self.fetch(missing) {
                break;
            }
        }
        let whole = self.ready.len().min(wanted);
        let whole = whole - whole % usize::from(self.channels);
        out.extend(self.ready.drain(..whole));
        whole / usize::from(self.channels)
    }

    /// Waits for a pipe, too: [`take`](Self::take) then returns less than was asked for only after half a second, or at the end.
    pub const fn wait(&mut self) {
        self.waits = Some(PATIENCE);
    }

    /// How much of a file has been played, 0 to 1: by its bytes until all of it has been read. `None` for a pipe.
    pub fn played(&self) -> Option<f64> {
        let feed = lock(&self.tee.0).feed.clone();
        let (read, length) = (feed.read.load(Relaxed) as f64, feed.length.load(Relaxed) as f64);
        let state = feed.lock();
        let read = if state.over.is_some() { 1.0 } else { read / length };
        let played = self.came as f64 / state.pushed.max(1) as f64 * read;
        (length > 0.0).then(|| played.clamp(0.0, 1.0))
    }

    /// Whether all has been taken.
    pub fn is_over(&self) -> bool {
        self.over && self.ready.is_empty()
    }

    /// What was wrong with it, since the last call.
    pub fn remarks(&mut self) -> Vec<String> {
        core::mem::take(&mut self.remarks)
    }

    /// Reads and converts what so many frames take: no more, as others may go on there. False if there is nothing yet.
    fn fetch(&mut self, frames: usize) -> bool {
        let mut readers = lock(&self.tee.0);
        let from = self.raw.len();
        let waits = self.waits.filter(|wait| !self.late || *wait == PATIENCE);
        let ((rate, channels), end) = readers.read(self.reader, (frames, self.rate), waits, &mut self.raw);
        drop(readers);
        self.came += (self.raw.len() - from) as u64;
        let came = self.raw.len() > from;
        self.late = !came;
        if came && let Err(error) = self.feed(rate, channels) {
            self.fail(&error);
        }
        if let Some((end, remarks)) = end {
            self.ended = true;
            self.remarks.extend(remarks);
            if let Err(reason) = end {
                self.remarks.push(format!("{reason}: the sound ends there"));
            }
            match &mut self.resampler {
                Some((resampler, _)) => resampler.end(),
                None => self.over = true,
            }
        }
        came || self.ended
    }

    /// Takes whole frames, with the channels that are resampled.
    fn feed(&mut self, rate: u32, channels: u16) -> Result<(), Error> {
        let whole = self.raw.len() - self.raw.len() % usize::from(channels.max(1));
        let rest = self.raw.split_off(whole);
        let clip = Clip { rate, channels, samples: core::mem::replace(&mut self.raw, rest) };
        let (resampler, channels) = match &mut self.resampler {
            Some(resampler) => resampler,
            none => {
                let channels = channels.clamp(1, self.channels);
                none.insert((StreamResampler::new(rate, self.rate, channels)?, channels))
            }
        };
        resampler.feed(&clip.mix(*channels).samples);
        Ok(())
    }

    /// Makes a block ready; false if nothing has come that makes one.
    fn pull(&mut self) -> bool {
        let Some((resampler, channels)) = &mut self.resampler else { return false };
        match resampler.pull(&mut self.block) {
            Ok(more) => {
                self.over = self.ended && !more;
                let samples = core::mem::take(&mut self.block);
                let clip = Clip { rate: self.rate, channels: *channels, samples };
                if clip.channels == self.channels {
                    self.ready.extend(&clip.samples);
                } else {
                    self.ready.extend(clip.mix(self.channels).samples);
                }
                self.block = clip.samples;
                self.block.clear();
                more
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    fn fail(&mut self, error: &Error) {
        (self.ended, self.over) = (true, true);
        self.remarks.push(format!("{error}: the sound ends there"));
    }
}

impl Drop for SoundStream {
    fn drop(&mut self) {
        lock(&self.tee.0).behind.remove(&self.reader);
    }
}

type End = Option<(Result<(), String>, Vec<String>)>;

impl Tee {
    fn new(feed: Arc<Feed>) -> Self {
        Self(Arc::new(Mutex::new(Readers { feed, next: 0, behind: BTreeMap::new() })))
    }
}

impl Readers {
    /// Appends what there is for a reader, up to so many frames of another rate; returns its shape, and at the end how it went.
    fn read(
        &mut self,
        reader: u64,
        (frames, to): (usize, u32),
        waits: Option<Duration>,
        out: &mut Vec<f64>,
    ) -> ((u32, u16), End) {
        const MOST: u64 = 1 << 13;
        let behind = self.behind.entry(reader).or_default();
        let mut state = self.feed.lock();
        let most = |shape: Option<(u32, u16)>| {
            let (rate, channels) = shape.unwrap_or((to, 1));
            let frames = (frames as u64 * u64::from(rate)).div_ceil(to.max(1).into()).clamp(1, MOST);
            frames as usize * usize::from(channels)
        };
        if !behind.is_empty() {
            out.extend(behind.drain(..behind.len().min(most(state.shape))));
            return (state.shape.unwrap_or((1, 1)), None);
        }
        if let Some(wait) = waits.filter(|_| state.samples.is_empty() && state.over.is_none()) {
            let some = |state: &mut State| state.samples.is_empty() && state.over.is_none();
            let waited = self.feed.changed.wait_timeout_while(state, wait, some);
            state = waited.map_or_else(|error| error.into_inner().0, |(state, _)| state);
        }
        let some = state.samples.len().min(most(state.shape));
        let from = out.len();
        out.extend(state.samples.drain(..some));
        let end = state.over.clone().filter(|_| state.samples.is_empty());
        let end = end.map(|end| (end, state.remarks.clone()));
        let shape = state.shape.unwrap_or((1, 1));
        drop(state);
        self.feed.changed.notify_all();
        for (_, other) in self.behind.iter_mut().filter(|(other, _)| **other != reader) {
            // Who does not read at all does not hold up the others.
            if other.len() + some > READ_AHEAD {
                let whole = (other.len() + some - READ_AHEAD).next_multiple_of(shape.1.max(1).into());
                other.drain(..whole.min(other.len()));
            }
            other.extend(&out[from..]);
        }
        (shape, end)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.feed.lock().closed = true;
        self.feed.changed.notify_all();
    }
}

/// The thread that reads has ended, be it by a panic: nobody waits for it any more.
struct Ended(Arc<Feed>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.lock().over.get_or_insert_with(|| Err("cannot be read: reading it has failed".into()));
        self.0.changed.notify_all();
    }
}

impl Feed {
    /// Starts reading; again and again, if it can be opened `again`.
    /// `length`: bytes of all of it, 0 where that is not known.
    fn start(
        source: impl Read + Send + Sync + 'static,
        again: Option<PathBuf>,
        length: u64,
    ) -> Result<Arc<Self>, String> {
        let feed = Arc::new(Self { length: length.into(), ..Self::default() });
        let theirs = feed.clone();
        let source = Counted { source, feed: feed.clone() };
        let read = move || {
            let _ended = Ended(theirs.clone());
            let mut collector = Collector::feeding(theirs.clone());
            let mut result = read_all(source, &mut collector);
            let mut before = 0;
            while let (Ok(()), Some(path)) = (&result, &again) {
                if collector.is_empty() {
                    break;
                }
                if collector.samples() == before {
                    // It was another file before: nothing would ever come.
                    result = Err("no sound is in it any more".into());
                    break;
                }
                before = collector.samples();
                collector.forget_remarks();
                result = File::open(path)
                    .map_err(|error| error.to_string())
                    .and_then(|file| read_all(file, &mut collector));
            }
            let (result, remarks) = collector.end(result);
            let mut state = theirs.lock();
            state.remarks.extend(remarks);
            state.over = Some(result);
            drop(state);
            theirs.changed.notify_all();
        };
        let thread = std::thread::Builder::new().name("sound file".into());
        thread.spawn(read).map_err(|error| format!("cannot be read: {error}"))?;
        Ok(feed)
    }

    /// Waits until the beginning has been read; returns what is wrong with it.
    fn begin(&self, is_pipe: bool) -> Result<Vec<String>, String> {
        let more = |state: &mut State| state.over.is_none() && state.room() > 0;
        let mut state = self.lock();
        if is_pipe {
            let nothing = |state: &mut State| state.over.is_none() && state.samples.is_empty();
            state = self.changed.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
        }
        // A disk that stalls is not waited for: what is there is played.
        let head = if is_pipe { PIPE_HEAD } else { FILE_HEAD };
        let waited = self.changed.wait_timeout_while(state, head, more);
        state = waited.map_or_else(|error| error.into_inner().0, |(state, _)| state);
        match &state.over {
            Some(Err(reason)) => Err(reason.clone()),
            _ => Ok(core::mem::take(&mut state.remarks)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What follows has this shape.
    pub(crate) fn shape(&self, rate: u32, channels: u16) {
        self.lock().shape = Some((rate, channels));
    }

    /// Hands samples on, whole frames, as soon as there is room.
    pub(crate) fn push(&self, samples: &mut Vec<f64>) -> Result<(), String> {
        while !samples.is_empty() {
            let full = |state: &mut State| !state.closed && state.room() == 0;
            let state = self.changed.wait_while(self.lock(), full);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return Err("nobody plays it any more".into());
            }
            let some = state.room().min(samples.len());
            state.samples.extend(samples.drain(..some));
            state.pushed += some as u64;
            drop(state);
            self.changed.notify_all();
        }
        Ok(())
    }
}

impl State {
    /// Samples that there is room for: whole frames.
    fn room(&self) -> usize {
        let room = READ_AHEAD - self.samples.len();
        room - room % self.shape.map_or(1, |(_, channels)| usize::from(channels.max(1)))
    }
}

/// Counts the bytes that are read.
struct Counted<R> {
    source: R,
    feed: Arc<Feed>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(bytes)?;
        self.feed.read.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// 0 where that is not known.
fn length_of(file: &File) -> u64 {
    file.metadata().ok().filter(std::fs::Metadata::is_file).map_or(0, |metadata| metadata.len())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-50: a file whose reading fails in whatever way is refused, and nobody waits for it.
    #[test]
    fn f_50_a_thread_that_dies_is_not_waited_for() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                panic!("on purpose");
            }
        }
        let (sender, opened) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(SoundFile::from_reader("broken", Broken).map(drop)));
        let opened = opened.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(opened.unwrap_err().contains("reading it has failed"));
    }

    /// F-50: a file that does not come holds its player up once, and no longer than a frame lasts.
    #[allow(clippy::disallowed_methods)]
    #[test]
    fn f_50_a_disk_that_stalls_holds_nobody_up() {
        let feed = Arc::<Feed>::default();
        feed.shape(48_000, 1);
        let mut stream = SoundStream::new(Tee::new(feed.clone()), 48_000, 1, true);
        let (mut out, begin) = (Vec::new(), std::time::Instant::now());
        for _ in 0..50 {
            assert_eq!(stream.take(960, &mut out), 0);
        }
        // Each would have waited for half a second.
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        feed.push(&mut vec![0.5; 2000]).unwrap();
        assert_eq!(stream.take(960, &mut out), 960);
    }

    /// F-75: how much of a file has been played is known from its bytes, and in the end it is all.
    #[test]
    fn f_75_it_is_known_how_much_of_a_file_has_been_played() {
        let path = std::env::temp_dir().join(format!("voxwire-played-{}.wav", std::process::id()));
        let clip = Clip::tone(48_000, 1, 440.0, 20.0);
        crate::save_wav(&path, &clip, crate::SampleFormat::I16).unwrap();
        let mut stream = SoundFile::open(&path).unwrap().play(8000, 1).unwrap();
        stream.wait();
        let mut out = Vec::new();
        for second in 1..20 {
            assert_eq!(stream.take(8000, &mut out), 8000);
            let played = stream.played().unwrap() * 20.0;
            assert!((played - f64::from(second)).abs() < 1.0, "{second}: {played}");
        }
        while !stream.is_over() {
            stream.take(8000, &mut out);
        }
        assert_eq!(stream.played(), Some(1.0));
        let pipe = SoundFile::from_reader("speech", crate::SPEECH).unwrap();
        assert_eq!(pipe.play(8000, 1).unwrap().played(), None);
        std::fs::remove_file(&path).unwrap();
    }
}
