//! Writing WAV files that can be played whenever the program ends.

use crate::{Clip, Error, SampleFormat, SampleOrder, encode};
use core::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What a recording is written to.
pub(crate) trait Sink: Write + Seek + Send + fmt::Debug {
    /// It ends there.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

impl Sink for File {
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Writes a WAV file whose samples are stored in `format`, as far as WAV can: signed, but for 8 bits, of at most 32 bits, and
/// floats of 32 bits.
///
/// # Errors
/// The file cannot be written.
pub fn save_wav(path: &Path, clip: &Clip, format: SampleFormat) -> Result<(), Error> {
    let mut recorder = WavRecorder::create(path, clip.rate, clip.channels, format)?;
    recorder.write(&clip.samples)?;
    recorder.finish()
}

/// A WAV file that grows while a recording goes on. Its header says after each write how much there is, so that the file can be
/// played whenever the program ends. A pipe is written, too: its header leaves the length open.
#[derive(Debug)]
pub struct WavRecorder {
    path: PathBuf,
    file: Box<dyn Sink>,
    format: SampleFormat,
    header: Vec<u8>,
    /// Where the header says how many frames there are, if it does.
    fact: Option<usize>,
    /// Bytes of all channels.
    frame: u32,
    /// Bytes of samples so far.
    len: u32,
    /// The header cannot be written again, and is written once.
    is_pipe: bool,
    headed: bool,
    bytes: Vec<u8>,
}

/// Bytes of samples that a file says it has at most: its length is a number of 32 bits, and counts the header as well.
pub(crate) const MAX_BYTES: u32 = u32::MAX - 4096;

/// As far as WAV can: no more than 32 bits, 8 bits are unsigned, and all others are not.
pub(crate) const fn storable(format: SampleFormat) -> SampleFormat {
    match format {
        SampleFormat::F32 | SampleFormat::F64 => SampleFormat::F32,
        SampleFormat::U8 | SampleFormat::I8 => SampleFormat::U8,
        SampleFormat::U16 | SampleFormat::I16 => SampleFormat::I16,
        SampleFormat::U24 | SampleFormat::I24 => SampleFormat::I24,
        _ => SampleFormat::I32,
    }
}

impl WavRecorder {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, rate: u32, channels: u16, format: SampleFormat) -> Result<Self, Error> {
        let about = |error: io::Error| Error::File { path: path.into(), reason: error.to_string() };
        let file = File::create(path).map_err(about)?;
        // A device takes nothing back, either, also where it lets itself be positioned.
        let is_pipe = !file.metadata().map_err(about)?.is_file();
        let mut recorder = Self::on(path, Box::new(file), rate, channels, format, is_pipe);
        recorder.begin().map_err(about)?;
        Ok(recorder)
    }

    /// The same on something that is open; nothing is written yet.
    pub(crate) fn on(
        path: &Path,
        file: Box<dyn Sink>,
        rate: u32,
        channels: u16,
        format: SampleFormat,
        is_pipe: bool,
    ) -> Self {
        let format = storable(format);
        let (header, fact) = header(rate, channels, format);
        let frame = u32::from(channels.max(1)) * format.size() as u32;
        let (path, bytes) = (path.into(), Vec::new());
        Self { path, file, format, header, fact, frame, len: 0, is_pipe, headed: false, bytes }
    }

    /// Writes the header, unless that is done.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        if self.headed {
            return Ok(());
        }
        self.write_header(if self.is_pipe { u32::MAX } else { 0 })?;
        self.headed = true;
        Ok(())
    }

    /// Bytes of a frame, and of samples so far.
    pub(crate) const fn sizes(&self) -> (u32, u32) {
        (self.frame, self.len)
    }

    /// Appends interleaved samples.
    ///
    /// # Errors
    /// The file cannot be written, or is full: a WAV file holds 4 GiB.
    pub fn write(&mut self, samples: &[f64]) -> Result<(), Error> {
        self.put(self.len, samples)
    }

    /// Puts samples in the place of all that are there from number `from` on, of all channels: a recording may have had to guess these.
    /// Behind the end it is the same as [`write`](Self::write).
    ///
    /// # Errors
    /// Those of [`write`](Self::write); and a pipe takes nothing back: see [`is_pipe`](Self::is_pipe).
    pub fn replace(&mut self, from: u64, samples: &[f64]) -> Result<(), Error> {
        let at = from.saturating_mul(self.format.size() as u64);
        let at = u32::try_from(at).unwrap_or(u32::MAX).min(self.len);
        if self.is_pipe && at < self.len {
            let reason = "a pipe takes nothing back".into();
            return Err(Error::File { path: self.path.clone(), reason });
        }
        self.put(at, samples)
    }

    /// Whether what is written stays as it is.
    pub const fn is_pipe(&self) -> bool {
        self.is_pipe
    }

    /// Writes samples from byte `at` of them on; the file ends there.
    fn put(&mut self, at: u32, samples: &[f64]) -> Result<(), Error> {
        self.bytes.clear();
        encode(samples, self.format, SampleOrder::Little, &mut self.bytes);
        let more = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let len = if self.is_pipe { Some(at.wrapping_add(more)) } else { at.checked_add(more) };
        let Some(len) = len.filter(|len| *len <= MAX_BYTES || self.is_pipe) else {
            let reason = "a WAV file holds 4 GiB, and this one is full".into();
            return Err(Error::File { path: self.path.clone(), reason });
        };
        let bytes = core::mem::take(&mut self.bytes);
        let put = self.put_bytes(at, len, &bytes).map_err(|error| self.about(&error));
        self.bytes = bytes;
        put
    }

    /// The same of bytes as they are stored; there are `len` then. After an error all is there that was before.
    pub(crate) fn put_bytes(&mut self, at: u32, len: u32, bytes: &[u8]) -> io::Result<()> {
        self.begin()?;
        if self.is_pipe {
            self.file.write_all(bytes)?;
            self.len = len;
            return Ok(());
        }
        let start = self.header.len() as u64;
        self.file.seek(SeekFrom::Start(start + u64::from(at)))?;
        self.file.write_all(bytes)?;
        self.write_header(len)?;
        let before = core::mem::replace(&mut self.len, len);
        // What the header no longer counts goes last.
        if len < before {
            self.file.truncate(start + u64::from(len))?;
        }
        Ok(())
    }

    /// Completes the file: fills the last frame up, and pads an odd number of bytes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        self.complete().map_err(|error| self.about(&error))
    }

    pub(crate) fn complete(&mut self) -> io::Result<()> {
        let missing = (self.frame - self.len % self.frame) % self.frame;
        if missing > 0 {
            let mut silence = Vec::new();
            let samples = missing as usize / self.format.size();
            encode(&vec![0.0; samples], self.format, SampleOrder::Little, &mut silence);
            self.put_bytes(self.len, self.len.wrapping_add(missing), &silence)?;
        }
        if self.len % 2 == 1 {
            if !self.is_pipe {
                self.file.seek(SeekFrom::Start(self.header.len() as u64 + u64::from(self.len)))?;
            }
            self.file.write_all(&[0])?;
        }
        Ok(())
    }

    /// Brings the header up to date.
    fn write_header(&mut self, len: u32) -> io::Result<()> {
        set_len(&mut self.header, self.fact, self.frame, len);
        if !self.is_pipe {
            self.file.seek(SeekFrom::Start(0))?;
        }
        self.file.write_all(&self.header)
    }

    fn about(&self, error: &io::Error) -> Error {
        Error::File { path: self.path.clone(), reason: error.to_string() }
    }
}

/// All that stands before `len` bytes of samples in a WAV file, which stores them in `format`: signed, but for 8 bits, of at most 32 bits, or
/// floats of 32 bits. It is as long for any `len`.
pub fn wav_header(rate: u32, channels: u16, format: SampleFormat, len: u32) -> Vec<u8> {
    let format = storable(format);
    let (mut header, fact) = header(rate, channels, format);
    set_len(&mut header, fact, u32::from(channels.max(1)) * format.size() as u32, len);
    header
}

/// Says how many bytes of samples follow.
fn set_len(header: &mut [u8], fact: Option<usize>, frame: u32, len: u32) {
    let header_len = header.len() as u32;
    let padded = len.saturating_add(len % 2);
    header[4..8].copy_from_slice(&padded.saturating_add(header_len - 8).to_le_bytes());
    if let Some(fact) = fact {
        header[fact..fact + 4].copy_from_slice(&(len / frame).to_le_bytes());
    }
    let end = header.len();
    header[end - 4..].copy_from_slice(&len.to_le_bytes());
}

/// All that stands before the samples, and where the number of frames is in it: what is not integers of 8 or 16 bits in one or
/// two channels is "extensible", and has to say it.
fn header(rate: u32, channels: u16, format: SampleFormat) -> (Vec<u8>, Option<usize>) {
    let size = format.size() as u16;
    let frame = channels.saturating_mul(size);
    let tag: u16 = if format.is_float() { 3 } else { 1 };
    let extensible = channels > 2 || size > 2;
    let mut header = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
    let mut fmt = Vec::new();
    fmt.extend(if extensible { 0xFFFE } else { tag }.to_le_bytes());
    fmt.extend(channels.to_le_bytes());
    fmt.extend(rate.to_le_bytes());
    fmt.extend(rate.saturating_mul(frame.into()).to_le_bytes());
    fmt.extend(frame.to_le_bytes());
    fmt.extend((size * 8).to_le_bytes());
    if extensible {
        fmt.extend(22_u16.to_le_bytes());
        fmt.extend((size * 8).to_le_bytes());
        // Loudspeakers: the first ones in the order of the format, as far as it has so many.
        let mask = if channels <= 18 { (1_u32 << channels) - 1 } else { 0 };
        fmt.extend(if channels == 1 { 4 } else { mask }.to_le_bytes());
        fmt.extend(tag.to_le_bytes());
        fmt.extend(*b"\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71");
    }
    header.extend((fmt.len() as u32).to_le_bytes());
    header.extend(fmt);
    let fact = format.is_float().then(|| {
        header.extend(*b"fact\x04\0\0\0\0\0\0\0");
        header.len() - 4
    });
    header.extend(*b"data\0\0\0\0");
    (header, fact)
}
