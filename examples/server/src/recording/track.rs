//! One speaker's sound in one file.

use super::file::TrackFile;
use super::ogg::OggOpus;
use super::sound::{Kind, Pcm, Sound, Timeline};
use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};
use voxwire_audio::{SampleFormat, SampleOrder, wav_header};

/// Bytes of samples in a WAV file: its length is a number of 32 bits.
const MOST_BYTES: u64 = (u32::MAX - 4096) as u64;

/// Pieces that could not be taken, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// They are no sound, or more of it than time has gone by.
    pub(super) unusable: u64,
    /// The disk takes no more.
    pub(super) disk: u64,
}

#[derive(Debug)]
pub(super) struct Track {
    kind: Kind,
    file: TrackFile,
    line: Timeline,
    coder: Coder,
    /// What may still be put in order.
    pending: Vec<(Duration, Sound)>,
}

#[derive(Debug)]
enum Coder {
    /// And how many bytes there are so far.
    Ogg(Box<OggOpus>, u64),
    Wav {
        head: usize,
    },
}

impl Track {
    /// Nothing is written yet.
    pub(super) fn new(path: PathBuf, kind: Kind, serial: u32, comments: &[(&str, &str)]) -> io::Result<Self> {
        let coder = match kind {
            Kind::Opus { channels } => Coder::Ogg(Box::new(OggOpus::new(serial, channels, comments)?), 0),
            Kind::Pcm(pcm) => Coder::Wav { head: head(pcm, 0).len() },
        };
        let line = Timeline::new(kind.rate());
        Ok(Self { kind, file: TrackFile::new(path), line, coder, pending: Vec::new() })
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Adds what came in at a time, since the beginning of the file.
    pub(super) fn add(&mut self, at: Duration, sound: Sound) {
        self.pending.push((at, sound));
    }

    /// Bytes that wait for the disk.
    pub(super) const fn waiting(&self) -> usize {
        self.file.waiting()
    }

    /// Puts what came in until then in its place, as far as there is room for so many bytes more.
    pub(super) fn settle(&mut self, until: Duration, room: usize) -> io::Result<Lost> {
        let mut lost = Lost::default();
        let (mut due, later): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.pending).into_iter().partition(|(at, _)| *at <= until);
        self.pending = later;
        let first = due.first().and_then(|(_, sound)| sound.sequence()).unwrap_or(0);
        // Numbers wrap around.
        due.sort_by_key(|(_, sound)| sound.sequence().map(|number| number.wrapping_sub(first).cast_signed()));
        let mut taken = 0_usize;
        for (at, sound) in due {
            taken = taken.saturating_add(sound.bytes().len());
            if taken > room || self.is_long() {
                lost.disk += 1;
                continue;
            }
            let frames = sound.frames();
            let place =
                frames.and_then(|frames| Some((frames, self.line.place(at, frames, sound.sequence())?)));
            match place {
                Some((frames, gap)) => self.put(sound, frames, gap)?,
                None => lost.unusable += 1,
            }
        }
        if let Coder::Ogg(ogg, _) = &mut self.coder {
            ogg.end_page()?;
        }
        self.take_pages();
        Ok(lost)
    }

    /// Whether the file holds no more.
    fn is_long(&self) -> bool {
        match self.kind {
            Kind::Opus { .. } => false,
            Kind::Pcm(pcm) => self.line.end() * stored(pcm).frame_size() as u64 > MOST_BYTES,
        }
    }

    fn put(&mut self, sound: Sound, frames: u64, gap: u64) -> io::Result<()> {
        match (&mut self.coder, sound) {
            (Coder::Ogg(ogg, _), Sound::Opus { packet, .. }) => {
                let silence = ogg.silence(gap)?;
                ogg.packet(packet, frames)?;
                self.line.advance(silence + frames);
            }
            (Coder::Wav { head }, Sound::Pcm { pcm, bytes }) => {
                self.line.advance(gap);
                let frame = stored(pcm).frame_size() as u64;
                let whole = bytes.len() - bytes.len() % pcm.frame_size();
                let bytes = to_store(pcm, bytes.get(..whole).unwrap_or_default());
                // What is skipped is silence, and takes no room on most disks.
                self.file.put(*head as u64 + self.line.end() * frame, &bytes);
                self.line.advance(frames);
            }
            // A track has one kind.
            _ => {}
        }
        Ok(())
    }

    fn take_pages(&mut self) {
        if let Coder::Ogg(ogg, len) = &mut self.coder {
            let pages = ogg.take();
            if !pages.is_empty() {
                self.file.put(*len, &pages);
                *len += pages.len() as u64;
            }
        }
    }

    /// Writes what is in its place. Returns how many bytes.
    pub(super) fn write(&mut self) -> io::Result<u64> {
        if self.file.is_written() {
            return Ok(0);
        }
        match (&self.coder, self.kind) {
            (Coder::Wav { head: size }, Kind::Pcm(pcm)) => {
                let len = self.line.end() * stored(pcm).frame_size() as u64;
                let head = head(pcm, u32::try_from(len).unwrap_or(u32::MAX));
                self.file.write(Some(&head), Some(*size as u64 + len))
            }
            _ => self.file.write(None, None),
        }
    }

    /// Takes what came in later than it was ended.
    pub(super) fn later(&mut self) -> Vec<(Duration, Sound)> {
        core::mem::take(&mut self.pending)
    }

    /// Ends the track: it is silent until then.
    pub(super) fn end(&mut self, at: Duration, room: usize) -> io::Result<Lost> {
        let lost = self.settle(at, room)?;
        let rest = self.line.frames(at).saturating_sub(self.line.end());
        match &mut self.coder {
            Coder::Ogg(ogg, _) => {
                ogg.silence(rest)?;
                ogg.end()?;
            }
            Coder::Wav { .. } => {
                self.line.advance(rest);
                self.file.touch();
            }
        }
        self.take_pages();
        Ok(lost)
    }
}

/// How samples are stored: those of 8 bits as 16, whose silence is zero.
fn stored(pcm: Pcm) -> Pcm {
    let format = match pcm.format {
        SampleFormat::U8 | SampleFormat::I8 => SampleFormat::I16,
        format => format,
    };
    Pcm { format, order: SampleOrder::Little, ..pcm }
}

fn head(pcm: Pcm, len: u32) -> Vec<u8> {
    wav_header(pcm.rate, pcm.channels, stored(pcm).format, len)
}

fn to_store(pcm: Pcm, bytes: &[u8]) -> Vec<u8> {
    match (pcm.format, pcm.order) {
        (SampleFormat::U8, _) => bytes.iter().flat_map(|byte| [0, byte ^ 0x80]).collect(),
        (SampleFormat::I8, _) => bytes.iter().flat_map(|byte| [0, *byte]).collect(),
        (_, SampleOrder::Little) => bytes.to_vec(),
        (format, SampleOrder::Big) => {
            bytes.chunks_exact(format.size()).flat_map(|sample| sample.iter().rev().copied()).collect()
        }
    }
}
