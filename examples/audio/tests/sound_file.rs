//! F-50: sound files that are read as they are played.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use voxwire_audio::{
    Clip, READ_AHEAD, SPEECH, SampleFormat, SoundFile, SoundStream, load, read, resample, save_wav,
};

fn temporary(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// All of it, in parts.
fn all(stream: &mut SoundStream, part: usize) -> Vec<f64> {
    stream.wait();
    let mut samples = Vec::new();
    while !stream.is_over() {
        stream.take(part, &mut samples);
    }
    samples
}

#[test]
fn f_50_what_is_read_as_it_is_played_is_what_is_read_at_once() {
    let path = temporary("as-it-is-played.flac");
    std::fs::write(&path, SPEECH).unwrap();
    let tone = temporary("as-it-is-played.ogg");
    std::fs::write(&tone, include_bytes!("vectors/tone-opus.ogg")).unwrap();
    let surround = temporary("as-it-is-played-surround.ogg");
    std::fs::write(&surround, include_bytes!("vectors/surround-opus.ogg")).unwrap();
    let gsm = temporary("as-it-is-played-gsm.wav");
    std::fs::write(&gsm, include_bytes!("vectors/gsm.wav")).unwrap();
    for path in [path, tone, surround, gsm] {
        let clip = load(&path).unwrap().clip;
        let file = SoundFile::open(&path).unwrap();
        for (rate, channels) in [(clip.rate, clip.channels), (44_100, 1), (8000, 2)] {
            let expected = resample(&clip.mix(channels), rate).unwrap().samples;
            // From its beginning each time.
            for part in [160, 4410] {
                let samples = all(&mut file.play(rate, channels).unwrap(), part);
                assert!(samples == expected, "{}: {rate} {channels} {part}", path.display());
            }
        }
    }
}

/// What a pipe of a WAV file without end would give, and how much of it was asked for.
struct Endless(Arc<AtomicUsize>);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let head = b"RIFF\xFF\xFF\xFF\xFFWAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1F\0\0\x80\x3E\0\0\x02\0\x10\0data\xFF\xFF\xFF\xFF";
        for byte in &mut *buffer {
            let at = self.0.fetch_add(1, SeqCst);
            let sample = ((at.saturating_sub(44) / 2) % 30_000) as u16;
            *byte = head.get(at).copied().unwrap_or_else(|| sample.to_le_bytes()[at % 2]);
        }
        Ok(buffer.len())
    }
}

#[test]
fn f_50_memory_is_bounded_and_nobody_reads_on_for_nobody() {
    let asked = Arc::new(AtomicUsize::new(0));
    let file = SoundFile::from_reader("endless", Endless(asked.clone())).unwrap();
    let bound = |taken: usize| (READ_AHEAD + taken) * 2 + 3 * (1 << 16);
    let mut stream = file.play(8000, 1).unwrap();
    stream.wait();
    let mut samples = Vec::new();
    for _ in 0..100 {
        assert_eq!(stream.take(8000, &mut samples), 8000);
        assert!(asked.load(SeqCst) < bound(samples.len()), "{} bytes", asked.load(SeqCst));
    }
    let expected = |n: usize| (n % 30_000) as f64 / 32_768.0;
    assert!(samples.iter().enumerate().all(|(n, sample)| *sample == expected(n)));
    // Whoever comes later goes on where that one stopped; whoever plays it beside others hears the same.
    let mut second = file.play(8000, 1).unwrap();
    second.wait();
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        stream.take(1000, &mut here);
        second.take(1000, &mut there);
    }
    assert!(here.len() == 50_000 && here == there, "{} {:?} {:?}", here.len(), here.first(), there.first());
    // And who does not read at all takes no more than its part.
    for _ in 0..100 {
        stream.take(8000, &mut here);
    }
    assert_eq!(second.take(READ_AHEAD, &mut there), READ_AHEAD);
    drop((stream, second, file));
    // Who reads it ends with it. (That takes as long as it takes; for ever would be an error.)
    for n in 0.. {
        if Arc::strong_count(&asked) == 1 {
            break;
        }
        assert!(n < 6000, "it is read for nobody");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    assert!(
        asked.load(SeqCst) < bound(samples.len() + here.len() + there.len()),
        "{} bytes",
        asked.load(SeqCst)
    );
}

/// Reads of a file that end with an error, as when a disk is gone.
struct Broken(io::Cursor<Vec<u8>>);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the disk is gone")),
            n => Ok(n),
        }
    }
}

#[test]
fn f_50_what_is_wrong_at_the_beginning_is_refused_and_later_ends_the_sound() {
    let path = temporary("wrong-later.wav");
    save_wav(&path, &Clip::tone(8000, 2, 400.0, 60.0), SampleFormat::I16).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for short in [10, 44, 100_044] {
        let source = Broken(io::Cursor::new(bytes[..short].to_vec()));
        let error = SoundFile::from_reader("broken", source).unwrap_err();
        assert!(error.contains("the disk is gone"), "{short}: {error}");
    }
    let source = Broken(io::Cursor::new(bytes[..bytes.len() - 8000].to_vec()));
    let file = SoundFile::from_reader("broken", source).unwrap();
    let mut stream = file.play(8000, 2).unwrap();
    let samples = all(&mut stream, 160);
    assert_eq!(samples.len(), 60 * 16_000 - 4000);
    assert_eq!(stream.remarks(), ["the disk is gone: the sound ends there"]);
    // What `read` only remarks is remarked here, too: at the end, if that is far away.
    std::fs::write(&path, &bytes[..bytes.len() - 8001]).unwrap();
    let file = SoundFile::open(&path).unwrap();
    let mut stream = file.play(8000, 2).unwrap();
    assert_eq!(all(&mut stream, 160).len(), 60 * 16_000 - 4002);
    assert_eq!(
        (file.remarks().len(), stream.remarks()),
        (0, vec!["the file is cut: 8001 bytes of its samples are missing".to_owned()])
    );
    // A file that is gone when it is to be played again.
    std::fs::remove_file(&path).unwrap();
    assert!(file.play(8000, 2).unwrap_err().to_string().contains("No such file"));
    assert!(SoundFile::open(&path).is_err());
}

#[test]
fn f_50_again_and_again_there_is_no_gap() {
    let path = temporary("again.wav");
    let clip =
        Clip { rate: 8000, channels: 1, samples: (0..1000).map(|n| f64::from(n) / 32_768.0).collect() };
    save_wav(&path, &clip, SampleFormat::I16).unwrap();
    let mut stream = SoundFile::open(&path).unwrap().play_repeated(8000, 1).unwrap();
    stream.wait();
    let mut samples = Vec::new();
    stream.take(500_000, &mut samples);
    assert_eq!(samples.len(), 500_000);
    assert!(samples.iter().enumerate().all(|(n, sample)| *sample == clip.samples[n % 1000]));
    let pipe = SoundFile::from_reader("pipe", io::Cursor::new(std::fs::read(&path).unwrap())).unwrap();
    assert!(pipe.play_repeated(8000, 1).unwrap_err().to_string().contains("a pipe cannot be played again"));
    // A chain of Ogg files of different shapes is one sound all the same.
    let tone = include_bytes!("vectors/tone-opus.ogg");
    let chain = [&tone[..], include_bytes!("vectors/surround-opus.ogg")].concat();
    let whole = read(&chain[..]).unwrap().clip;
    let stream = SoundFile::from_reader("chain", io::Cursor::new(chain)).unwrap();
    let samples = all(&mut stream.play(whole.rate, whole.channels).unwrap(), 999);
    assert!(samples == whole.samples && whole.seconds() > read(&tone[..]).unwrap().clip.seconds());
}

/// A WAV file of 16 bits, of such samples: whole frames or not.
fn wav(channels: u16, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    bytes.extend(channels.to_le_bytes());
    bytes.extend(8000_u32.to_le_bytes());
    bytes.extend((16_000 * u32::from(channels)).to_le_bytes());
    bytes.extend((2 * channels).to_le_bytes());
    bytes.extend(b"\x10\0data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

/// F-50: each channel stays where it is, though a file ends within a frame and is played again, and whoever plays a pipe that
/// others play, too.
#[test]
fn f_50_a_file_that_is_cut_within_a_frame_keeps_its_channels() {
    let channel = |n: usize| (n % 3 + 1) as i16 * 1000;
    let path = temporary("cut.wav");
    std::fs::write(&path, wav(3, &(0..3 * 5000 + 1).map(channel).collect::<Vec<_>>())).unwrap();
    let check = |samples: &[f64]| {
        for (n, sample) in samples.iter().enumerate() {
            assert_eq!(*sample, f64::from(channel(n)) / 32_768.0, "{n}");
        }
    };
    let mut stream = SoundFile::open(&path).unwrap().play_repeated(8000, 3).unwrap();
    stream.wait();
    let mut samples = Vec::new();
    assert_eq!(stream.take(30_000, &mut samples), 30_000);
    check(&samples);
    let pipe = SoundFile::from_reader("pipe", io::Cursor::new(std::fs::read(&path).unwrap())).unwrap();
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = pipe.play(8000, 3).unwrap();
        stream.wait();
        let mut samples = Vec::new();
        stream.take(1111, &mut samples);
        check(&samples);
        streams.push(stream);
    }
    for stream in &mut streams {
        check(&all(stream, 700));
    }
}

/// F-50: a file that has lost its sound while it is played again and again ends with a remark; it is not opened for ever.
#[test]
fn f_50_a_file_that_has_become_a_bare_header_ends() {
    let path = temporary("bare.wav");
    std::fs::write(&path, wav(1, &[1000; 300_000])).unwrap();
    let mut stream = SoundFile::open(&path).unwrap().play_repeated(8000, 1).unwrap();
    stream.wait();
    let mut samples = Vec::new();
    stream.take(1000, &mut samples);
    // Another file in its place: what is being read is still the old one.
    let bare = temporary("bare-new.wav");
    std::fs::write(&bare, wav(1, &[])).unwrap();
    std::fs::rename(&bare, &path).unwrap();
    let mut rounds = 0;
    while !stream.is_over() {
        // Waits for half a second, if nothing comes.
        stream.take(10_000, &mut samples);
        rounds += 1;
        assert!(rounds < 60, "it is read for ever: {} samples came", samples.len());
    }
    assert_eq!(samples.len(), 300_000);
    let remarks = stream.remarks();
    assert_eq!(remarks, ["no sound is in it any more: the sound ends there"]);
}
