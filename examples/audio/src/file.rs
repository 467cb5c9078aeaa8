//! Sound files: what kind one is, and what is in it.

use crate::sound_file::Feed;
use crate::{Clip, Error, OPUS_RATE, StreamResampler, compressed, wav};
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

/// Eight seconds of synthetic speech, 16 kHz mono, as a FLAC file.
pub const SPEECH: &[u8] = include_bytes!("../assets/speech.flac");

/// Samples that a clip read from a file has at most, of all channels: 1 GiB, or 46 minutes of 48 kHz mono. At lower rates there are
/// as many fewer, since they are converted to higher ones.
pub const MAX_SAMPLES: usize = 1 << 27;

/// Frames per second that a file may have.
const RATES: core::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Channels that a file may have.
const CHANNELS: core::ops::RangeInclusive<u16> = 1..=64;
/// Louder samples are cut: 60 dB over full scale. What follows computes with them.
const LOUDEST: f64 = 1_000.0;
/// Bytes by which a kind of file is known: in Ogg, those of a first page with the head of its packet.
const MAGIC: usize = 48;

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// The sound.
    pub clip: Clip,
    /// What is wrong with the file, and how it was read nevertheless: one sentence each.
    pub remarks: Vec<String>,
}

/// Reads a file of any kind that [`read`] knows. A pipe will do.
///
/// # Errors
/// The file cannot be read, or is of another kind.
pub fn load(path: &Path) -> Result<Loaded, Error> {
    load_at_most(path, MAX_SAMPLES)
}

/// The same for files of fewer samples, of all channels, than [`MAX_SAMPLES`]: of so many at 48 kHz and more, and of as many fewer at
/// lower rates.
///
/// # Errors
/// Those of [`load`], and a longer file.
pub fn load_at_most(path: &Path, samples: usize) -> Result<Loaded, Error> {
    let about = |reason: String| Error::File { path: path.into(), reason };
    let file = File::open(path).map_err(|error| about(error.to_string()))?;
    read_at_most(file, samples).map_err(about)
}

/// Reads WAV (integers of 8 to 32 bits, floats of 32 and 64, A-law, µ-law, ADPCM of IMA, Microsoft and NMS, G.721, GSM 6.10,
/// MP3; RF64 and RIFX, too), FLAC, and Ogg with FLAC, Opus or Vorbis. Nothing is sought in the source: it may be a pipe.
///
/// # Errors
/// Says what is wrong with the source, or what it is and how to convert it: another kind of file, a rate other than 1000 to
/// 768 000 Hz, more than 64 channels, more than [`MAX_SAMPLES`].
pub fn read(source: impl Read + Send + Sync) -> Result<Loaded, String> {
    read_at_most(source, MAX_SAMPLES)
}

fn read_at_most(source: impl Read + Send + Sync, samples: usize) -> Result<Loaded, String> {
    let mut collector = Collector { most: samples.min(MAX_SAMPLES), ..Collector::default() };
    read_all(source, &mut collector)?;
    collector.finish()
}

/// Reads a file of any kind from its first byte on.
pub(crate) fn read_all(source: impl Read + Send + Sync, collector: &mut Collector) -> Result<(), String> {
    let mut source = BufReader::new(source);
    let magic = magic(&mut source).map_err(|error| error.to_string())?;
    let rest = Cursor::new(magic.clone()).chain(source);
    match &*magic {
        [b'R', b'I', b'F', b'F' | b'X', _, _, _, _, b'W', b'A', b'V', b'E', ..]
        | [b'R', b'F', b'6', b'4', ..]
        | [b'B', b'W', b'6', b'4', ..] => wav::read(rest, collector),
        [b'f', b'L', b'a', b'C', ..] => compressed::read_flac(WithoutId3v1::new(rest), collector),
        [b'O', b'g', b'g', b'S', ..] => {
            in_ogg(&magic)?;
            compressed::read_ogg(rest, collector)
        }
        other => Err(foreign(other)),
    }
}

/// The first bytes behind ID3v2 tags, if there are any.
fn magic(source: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut magic = Vec::new();
    loop {
        source.by_ref().take((MAGIC - magic.len()) as u64).read_to_end(&mut magic)?;
        let &[b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] = &*magic else { return Ok(magic) };
        // Its length is four times seven bits, without the ten bytes of its header; a footer repeats these.
        let len = [a, b, c, d].iter().fold(0, |len, byte| len << 7 | u64::from(byte & 127));
        let len = len + if flags & 0x10 != 0 { 20 } else { 10 };
        let known = magic.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        magic.drain(..known);
        std::io::copy(&mut source.by_ref().take(len - known as u64), &mut std::io::sink())?;
    }
}

/// A file without the ID3v1 tag that may be its last 128 bytes: a FLAC reader takes it for part of the last block, and drops that.
struct WithoutId3v1<R> {
    source: R,
    /// What has been read: the newest is held back until it is known what follows.
    held: Vec<u8>,
    over: bool,
}

const ID3V1: usize = 128;

impl<R: Read> WithoutId3v1<R> {
    const fn new(source: R) -> Self {
        Self { source, held: Vec::new(), over: false }
    }
}

impl<R: Read> Read for WithoutId3v1<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while !self.over && self.held.len() <= ID3V1 {
            let from = self.held.len();
            self.held.resize(from + buffer.len().max(ID3V1), 0);
            let read = self.source.read(&mut self.held[from..]);
            self.held.truncate(from + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                self.over = true;
                if self.held.len() == ID3V1 && self.held.starts_with(b"TAG") {
                    self.held.clear();
                }
            }
        }
        let ready = self.held.len() - if self.over { 0 } else { ID3V1 };
        let ready = ready.min(buffer.len());
        buffer[..ready].copy_from_slice(&self.held[..ready]);
        self.held.drain(..ready);
        Ok(ready)
    }
}

/// Says what is in an Ogg file that cannot be read.
fn in_ogg(magic: &[u8]) -> Result<(), String> {
    // A page has 27 bytes, and one for each of its segments.
    let segments = magic.get(26).copied().unwrap_or(0).into();
    let packet = magic.get(27_usize.saturating_add(segments)..).unwrap_or_default();
    let kind = match packet {
        [b'S', b'p', b'e', b'e', b'x', ..] => "Speex",
        [0x80, b't', b'h', b'e', b'o', b'r', b'a', ..] => "Theora",
        _ => match packet.strip_prefix(b"OpusHead") {
            Some(&[_, channels, _, _, _, _, _, _, _, _, family, ..]) if family > 1 => {
                return Err(format!("Opus with {channels} channels of mapping family {family} is not read"));
            }
            _ => return Ok(()),
        },
    };
    Err(format!("{kind} in Ogg is not read: convert it, for instance with `ffmpeg -i FILE FILE.flac`"))
}

/// Says what a file is that cannot be read.
fn foreign(magic: &[u8]) -> String {
    let kind = match magic {
        [] => return "the file is empty".into(),
        [0xFF, second, ..] if second & 0xE0 == 0xE0 => "MP3 or AAC",
        [b'F', b'O', b'R', b'M', _, _, _, _, b'8', b'S', b'V', b'X', ..] => "8SVX",
        [b'F', b'O', b'R', b'M', ..] => "AIFF",
        [b'.', b's', b'n', b'd', ..] => "AU",
        [b'c', b'a', b'f', b'f', ..] => "CAF",
        [b'r', b'i', b'f', b'f', ..] => "Wave64",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "MP4",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "Matroska or WebM",
        [b'#', b'!', b'A', b'M', b'R', ..] => "AMR",
        [b'M', b'T', b'h', b'd', ..] => "MIDI",
        [b'N', b'I', b'S', b'T', b'_', ..] => "NIST SPHERE",
        [b'C', b'r', b'e', b'a', b't', b'i', b'v', b'e', b' ', b'V', ..] => "Creative VOC",
        [0x64, 0xA3, ..] | [_, _, 0xA3, 0x64, ..] => "IRCAM",
        [b'P', b'V', b'F', b'1', ..] => "PVF",
        [b'2', b'B', b'I', b'T', ..] => "AVR",
        [b'A', b'L', b'a', b'w', b'S', b'o', b'u', b'n', b'd', ..] => "Psion WVE",
        [b'w', b'v', b'p', b'k', ..] => "WavPack",
        [b'M', b'A', b'C', b' ', ..] => "Monkey's Audio",
        [b'T', b'T', b'A', b'1', ..] => "TTA",
        [b'M', b'P', b'C', b'K', ..] | [b'M', b'P', b'+', ..] => "Musepack",
        [b'D', b'S', b'D', b' ', ..] | [b'F', b'R', b'M', b'8', ..] => "DSD",
        [b'A', b'D', b'I', b'F', ..] => "AAC",
        [0x0B, 0x77, ..] => "AC-3",
        [0x30, 0x26, 0xB2, 0x75, ..] => "Windows Media",
        [b'R', b'I', b'F', b'F' | b'X', ..] => return "not a WAV file: RIFF, but of another kind".into(),
        _ => return "not a WAV, FLAC or Ogg file".into(),
    };
    format!(
        "{kind} is not read: convert it to WAV, FLAC or Ogg, for instance with `ffmpeg -i FILE FILE.flac`"
    )
}

fn too_long(clip: &Clip, most: usize) -> String {
    let seconds = most / (clip.rate as usize * usize::from(clip.channels));
    let time = match seconds {
        120.. => format!("{} minutes", seconds / 60),
        _ => format!("{seconds} seconds"),
    };
    format!("longer than the {time} that can be read at this rate")
}

/// Takes what a reader finds, and refuses what nobody can play. It is kept as a clip, or handed on as it comes.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    clip: Option<Clip>,
    feed: Option<Arc<Feed>>,
    /// Samples of a clip, at 48 kHz and more.
    most: usize,
    /// What comes now has another shape than what came first.
    other: Option<Other>,
    /// Samples of what comes now, and of all before it.
    part: u64,
    before: u64,
    remarks: Vec<String>,
    not_finite: u64,
    cut: u64,
}

/// Converts to the shape of what came first.
#[derive(Debug)]
struct Other {
    channels: u16,
    waiting: Vec<f64>,
    /// And its channels: the fewer of both.
    resampler: (StreamResampler, u16),
}

/// Samples that are handed on or converted at a time, and as many more as make a whole frame.
const BATCH: usize = 1 << 12;

impl Collector {
    /// One that keeps nothing.
    pub(crate) fn feeding(feed: Arc<Feed>) -> Self {
        Self { feed: Some(feed), ..Self::default() }
    }

    /// What follows has this many frames per second, and channels. The first says what the clip has.
    pub(crate) fn shape(&mut self, rate: u32, channels: u16) -> Result<(), String> {
        if !RATES.contains(&rate) {
            return Err(format!("{rate} frames per second: {} to {} expected", RATES.start(), RATES.end()));
        }
        if !CHANNELS.contains(&channels) {
            return Err(format!("{channels} channels: {} to {} expected", CHANNELS.start(), CHANNELS.end()));
        }
        self.end_part()?;
        match &mut self.clip {
            None => {
                self.clip = Some(Clip::empty(rate, channels));
                if let Some(feed) = &self.feed {
                    feed.shape(rate, channels);
                }
            }
            Some(clip) if (clip.rate, clip.channels) == (rate, channels) => {}
            Some(clip) => {
                let fewer = channels.min(clip.channels);
                let resampler = StreamResampler::new(rate, clip.rate, fewer);
                let resampler = resampler.map_err(|error| error.to_string())?;
                self.other = Some(Other { channels, waiting: Vec::new(), resampler: (resampler, fewer) });
            }
        }
        Ok(())
    }

    /// Appends samples.
    pub(crate) fn push(&mut self, samples: impl IntoIterator<Item = f64>) -> Result<(), String> {
        for sample in samples {
            let sample = if sample.abs() <= LOUDEST {
                sample
            } else if sample.is_finite() {
                self.cut += 1;
                LOUDEST.copysign(sample)
            } else {
                self.not_finite += 1;
                0.0
            };
            self.part += 1;
            let Some(other) = &mut self.other else {
                self.keep(sample)?;
                continue;
            };
            other.waiting.push(sample);
            let (waiting, channels) = (other.waiting.len(), usize::from(other.channels));
            if waiting >= BATCH && waiting.is_multiple_of(channels) {
                self.convert(false)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, sample: f64) -> Result<(), String> {
        let clip = self.clip.as_mut().ok_or("samples before their format")?;
        clip.samples.push(sample);
        let samples = clip.samples.len();
        match &self.feed {
            None => {
                let most = self.most as u64 * u64::from(clip.rate.min(OPUS_RATE)) / u64::from(OPUS_RATE);
                if samples as u64 > most { Err(too_long(clip, most as usize)) } else { Ok(()) }
            }
            Some(feed) if samples >= BATCH && samples.is_multiple_of(clip.channels.into()) => {
                feed.push(&mut clip.samples)
            }
            Some(_) => Ok(()),
        }
    }

    /// Converts what waits for that; the last of it, if no more comes.
    fn convert(&mut self, last: bool) -> Result<(), String> {
        let (Some(clip), Some(other)) = (&self.clip, &mut self.other) else { return Ok(()) };
        let (channels, rate) = (clip.channels, clip.rate);
        let (resampler, fewer) = &mut other.resampler;
        let fewer = *fewer;
        let samples = core::mem::take(&mut other.waiting);
        resampler.feed(&Clip { rate, channels: other.channels, samples }.mix(fewer).samples);
        if last {
            resampler.end();
        }
        // By and by: what comes of it may be many times as much.
        while let Some(other) = &mut self.other {
            let mut samples = Vec::new();
            if !other.resampler.0.pull(&mut samples).map_err(|error| error.to_string())? {
                break;
            }
            let block = Clip { rate, channels: fewer, samples }.mix(channels).samples;
            block.into_iter().try_for_each(|sample| self.keep(sample))?;
        }
        Ok(())
    }

    /// What comes now is over.
    fn end_part(&mut self) -> Result<(), String> {
        self.convert(true)?;
        self.other = None;
        self.before += core::mem::take(&mut self.part);
        self.flush()?;
        if let Some(clip) = &mut self.clip {
            // A frame that is not whole is none: what follows begins with its first channel.
            clip.samples.truncate(clip.samples.len() - clip.samples.len() % usize::from(clip.channels));
        }
        Ok(())
    }

    /// Hands on what has come so far: whole frames.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        let (Some(feed), Some(clip)) = (&self.feed, &mut self.clip) else { return Ok(()) };
        let rest =
            clip.samples.split_off(clip.samples.len() - clip.samples.len() % usize::from(clip.channels));
        let done = if clip.samples.is_empty() { Ok(()) } else { feed.push(&mut clip.samples) };
        clip.samples = rest;
        done
    }

    /// What is wrong with it has been said.
    pub(crate) fn forget_remarks(&mut self) {
        self.remarks.clear();
    }

    /// What is wrong with the file.
    pub(crate) fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }

    /// Appends frames of silence.
    pub(crate) fn silence(&mut self, frames: u64) -> Result<(), String> {
        let channels = self.other.as_ref().map(|other| other.channels);
        let channels = channels.or_else(|| self.clip.as_ref().map(|clip| clip.channels)).unwrap_or(1);
        let samples = usize::try_from(frames).unwrap_or(usize::MAX).saturating_mul(channels.into());
        self.push(core::iter::repeat_n(0.0, samples))
    }

    /// Whether nothing has come of what comes now.
    pub(crate) const fn is_part_empty(&self) -> bool {
        self.part == 0
    }

    /// Whether nothing has come at all.
    pub(crate) const fn is_empty(&self) -> bool {
        self.samples() == 0
    }

    /// Samples that have come so far.
    pub(crate) const fn samples(&self) -> u64 {
        self.part + self.before
    }

    /// The file is over, or cannot be read on. Says how it went, and what is wrong with it.
    pub(crate) fn end(&mut self, result: Result<(), String>) -> (Result<(), String>, Vec<String>) {
        let mut result = result.and_then(|()| self.end_part());
        if result.is_ok() && self.is_empty() {
            result = Err("no sound in it".into());
        }
        if self.not_finite > 0 {
            let (bad, all) = (self.not_finite, self.part + self.before);
            self.remarks.push(format!("{bad} of {all} samples are no numbers and were silenced"));
        }
        if self.cut > 0 {
            self.remarks.push(format!("{} samples are over 1000 times full scale and were cut", self.cut));
        }
        (result, core::mem::take(&mut self.remarks))
    }

    fn finish(mut self) -> Result<Loaded, String> {
        let (result, remarks) = self.end(Ok(()));
        result?;
        let clip = self.clip.filter(|clip| !clip.samples.is_empty()).ok_or("no sound in it")?;
        Ok(Loaded { clip, remarks })
    }
}
