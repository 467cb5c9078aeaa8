//! Sound files: what kind one is, and what is in it.

use crate::{Clip, Error, OPUS_RATE, compressed, wav};
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

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
    let about = |reason: String| Error::File { path: path.into(), reason };
    let file = File::open(path).map_err(|error| about(error.to_string()))?;
    read(file).map_err(about)
}

/// Reads WAV (integers of 8 to 32 bits, floats of 32 and 64, A-law, µ-law, ADPCM; RF64 and RIFX, too), FLAC, and Ogg with FLAC,
/// Opus or Vorbis. Nothing is sought in the source: it may be a pipe.
///
/// # Errors
/// Says what is wrong with the source, or what it is and how to convert it: another kind of file, a rate other than 1000 to
/// 768 000 Hz, more than 64 channels, more than [`MAX_SAMPLES`].
pub fn read(source: impl Read + Send + Sync) -> Result<Loaded, String> {
    let mut source = BufReader::new(source);
    let magic = magic(&mut source).map_err(|error| error.to_string())?;
    let mut collector = Collector::default();
    let rest = Cursor::new(magic.clone()).chain(source);
    match &*magic {
        [b'R', b'I', b'F', b'F' | b'X', _, _, _, _, b'W', b'A', b'V', b'E', ..]
        | [b'R', b'F', b'6', b'4', ..] => {
            wav::read(rest, &mut collector)?;
        }
        [b'f', b'L', b'a', b'C', ..] => compressed::read_flac(rest, &mut collector)?,
        [b'O', b'g', b'g', b'S', ..] => {
            in_ogg(&magic)?;
            compressed::read_ogg(rest, &mut collector)?;
        }
        other => return Err(foreign(other)),
    }
    collector.finish()
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
        [b'F', b'O', b'R', b'M', ..] => "AIFF",
        [b'.', b's', b'n', b'd', ..] => "AU",
        [b'c', b'a', b'f', b'f', ..] => "CAF",
        [b'r', b'i', b'f', b'f', ..] => "Wave64",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "MP4",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "Matroska or WebM",
        [b'#', b'!', b'A', b'M', b'R', ..] => "AMR",
        [b'M', b'T', b'h', b'd', ..] => "MIDI",
        [b'R', b'I', b'F', b'F' | b'X', ..] => return "not a WAV file: RIFF, but of another kind".into(),
        _ => return "not a WAV, FLAC or Ogg file".into(),
    };
    format!(
        "{kind} is not read: convert it to WAV, FLAC or Ogg, for instance with `ffmpeg -i FILE FILE.flac`"
    )
}

fn most_samples(rate: u32) -> usize {
    (MAX_SAMPLES as u64 * u64::from(rate.min(OPUS_RATE)) / u64::from(OPUS_RATE)) as usize
}

fn too_long(clip: &Clip) -> String {
    let minutes = most_samples(clip.rate) / (clip.rate as usize * usize::from(clip.channels) * 60);
    format!("longer than the {minutes} minutes that can be read at this rate")
}

/// Takes what a reader finds, and refuses what nobody can play.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    clip: Option<Clip>,
    remarks: Vec<String>,
    not_finite: usize,
    cut: usize,
}

impl Collector {
    /// What follows has this many frames per second, and channels. The first says what the clip has.
    pub(crate) fn shape(&mut self, rate: u32, channels: u16) -> Result<(), String> {
        if !RATES.contains(&rate) {
            return Err(format!("{rate} frames per second: {} to {} expected", RATES.start(), RATES.end()));
        }
        if !CHANNELS.contains(&channels) {
            return Err(format!("{channels} channels: {} to {} expected", CHANNELS.start(), CHANNELS.end()));
        }
        self.clip.get_or_insert_with(|| Clip::empty(rate, channels));
        Ok(())
    }

    /// Appends samples.
    pub(crate) fn push(&mut self, samples: impl IntoIterator<Item = f64>) -> Result<(), String> {
        let clip = self.clip.as_mut().ok_or("samples before their format")?;
        let most = most_samples(clip.rate);
        for sample in samples {
            if clip.samples.len() >= most {
                return Err(too_long(clip));
            }
            clip.samples.push(if sample.abs() <= LOUDEST {
                sample
            } else if sample.is_finite() {
                self.cut += 1;
                LOUDEST.copysign(sample)
            } else {
                self.not_finite += 1;
                0.0
            });
        }
        Ok(())
    }

    /// What is wrong with the file.
    pub(crate) fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }

    /// Whether what came so far has another rate or other channels.
    pub(crate) fn is_of_other_shape(&self, rate: u32, channels: u16) -> bool {
        self.clip.as_ref().is_some_and(|clip| (clip.rate, clip.channels) != (rate, channels))
    }

    /// Appends what another one has, converted to the shape of this one.
    pub(crate) fn append(&mut self, other: Self) -> Result<(), String> {
        let (Some(clip), Some(next)) = (&self.clip, &other.clip) else { return Ok(()) };
        // It is known how long that is before it is made.
        let frames = next.frames() as u64 * u64::from(clip.rate) / u64::from(next.rate);
        let samples = usize::try_from(frames * u64::from(clip.channels)).unwrap_or(usize::MAX);
        if samples > most_samples(clip.rate).saturating_sub(clip.samples.len()) {
            return Err(too_long(clip));
        }
        let next = crate::resample(&next.mix(clip.channels), clip.rate).map_err(|error| error.to_string())?;
        self.remarks.extend(other.remarks);
        self.not_finite += other.not_finite;
        self.cut += other.cut;
        self.push(next.samples)
    }

    /// Appends frames of silence.
    pub(crate) fn silence(&mut self, frames: u64) -> Result<(), String> {
        let channels = self.clip.as_ref().map_or(1, |clip| clip.channels);
        let samples = usize::try_from(frames).unwrap_or(usize::MAX).saturating_mul(channels.into());
        self.push(core::iter::repeat_n(0.0, samples))
    }

    /// Whether anything has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.clip.as_ref().is_none_or(|clip| clip.samples.is_empty())
    }

    fn finish(mut self) -> Result<Loaded, String> {
        let mut clip = self.clip.take().ok_or("no sound in it")?;
        // A frame that is not whole is none.
        clip.samples.truncate(clip.samples.len() - clip.samples.len() % usize::from(clip.channels));
        if clip.samples.is_empty() {
            return Err("no sound in it".into());
        }
        if self.not_finite > 0 {
            let (bad, all) = (self.not_finite, clip.samples.len());
            self.remarks.push(format!("{bad} of {all} samples are no numbers and were silenced"));
        }
        if self.cut > 0 {
            self.remarks.push(format!("{} samples are over 1000 times full scale and were cut", self.cut));
        }
        Ok(Loaded { clip, remarks: self.remarks })
    }
}
