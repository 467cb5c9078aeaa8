use super::missing::{MAX_GAPS, Missing};
use super::*;
use crate::WavRecorder;
use crate::load;
use core::ops::Range;
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::sync::Mutex;

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
    let out = Files::new(path, 8000, channels, SampleFormat::I16);
    Recording::start(path, Some(Box::new(disk.clone())), false, out).unwrap()
}

/// F-81: a WAV file that is full is followed by others beside it, which leave what is there alone; nothing is lost between them.
#[test]
fn a_full_file_is_followed_by_the_next_one() {
    let folder = folder("full");
    let at = |name: &str| folder.join(name);
    std::fs::write(at("x-3.wav"), "mine").unwrap();
    let mut out = Files::new(&at("x.wav"), 8000, 2, SampleFormat::I16);
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
        assert!(remarks[0].contains("x.wav: ") && remarks[0].contains("it is tried again"), "{remarks:?}");
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
        let out = Files::new(path, rate, channels, SampleFormat::I16);
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
        let mut out = Files::new(path, 8000, 2, SampleFormat::I16);
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
    assert!(missing.0.len() <= MAX_GAPS && missing.len() >= 2000 && missing.first(0) == Some(0));
    missing.cut(5);
    assert_eq!((missing.0.len(), missing.first(7)), (1, None));
    missing.cut(0);
    assert_eq!((missing.len(), missing.first(0)), (0, None));
}

/// F-81, F-53: what was a guess when its file became full is replaced there, also where the recording turns out to be shorter.
#[test]
fn f_81_a_guess_in_a_file_that_was_full_is_replaced() {
    let (first, second) = (Disk::default(), Disk::default());
    let mut out = Files::new(Path::new("x.wav"), 8000, 1, SampleFormat::I16);
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
    let mut out = Files::new(path, 8000, 1, SampleFormat::I16);
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
    (recording.stall_timeout, recording.total_timeout) =
        (Duration::from_secs(3600), Duration::from_secs(3600));
    recording.write(&ramp(0..8000));
    let abort = recording.abort_handle();
    let waiting = thread::spawn(move || (recording.flush(), recording.finish()));
    abort.abort();
    let (flushed, finished) = waiting.join().unwrap();
    assert!(!flushed && finished.is_err());
    drop(File::open(&pipe).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
}
