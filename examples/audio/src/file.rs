use crate::{Clip, Error, SampleFormat};
use core::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

/// Eight seconds of synthetic speech, 16 kHz mono, as a FLAC file.
pub const SPEECH: &[u8] = include_bytes!("../assets/speech.flac");

/// Reads a WAV, FLAC or Ogg Vorbis file, whatever its name says.
///
/// # Errors
/// The file cannot be read, or is none of these.
pub fn load(path: &Path) -> Result<Clip, Error> {
    let about = |reason: String| Error::File { path: path.into(), reason };
    let mut file = BufReader::new(File::open(path).map_err(|error| about(error.to_string()))?);
    let mut magic = [0; 4];
    let read = file.read(&mut magic).and_then(|n| file.rewind().map(|()| n));
    read.map_err(|error| about(error.to_string()))?;
    let clip = match &magic {
        b"RIFF" => read_wav(file),
        b"fLaC" => read_flac(file),
        b"OggS" => read_ogg(file),
        _ => Err("not a WAV, FLAC or Ogg Vorbis file".into()),
    };
    let clip = clip.map_err(about)?;
    if clip.channels == 0 || clip.rate == 0 || clip.samples.is_empty() {
        return Err(about("no sound in it".into()));
    }
    Ok(clip)
}

/// Reads WAV: integers of 8 to 32 bits, or 32-bit floats.
///
/// # Errors
/// Says what is wrong with it.
pub fn read_wav(source: impl Read) -> Result<Clip, String> {
    let mut reader = hound::WavReader::new(source).map_err(|error| error.to_string())?;
    let spec = reader.spec();
    let samples: Result<Vec<f64>, _> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().map(|sample| sample.map(f64::from)).collect(),
        hound::SampleFormat::Int => {
            let full_scale = 2_f64.powi(i32::from(spec.bits_per_sample) - 1);
            reader
                .samples::<i32>()
                .map(|sample| sample.map(|sample| f64::from(sample) / full_scale))
                .collect()
        }
    };
    let samples = samples.map_err(|error| error.to_string())?;
    Ok(Clip { rate: spec.sample_rate, channels: spec.channels, samples })
}

/// Reads FLAC.
///
/// # Errors
/// Says what is wrong with it.
pub fn read_flac(source: impl Read) -> Result<Clip, String> {
    let mut reader = claxon::FlacReader::new(source).map_err(|error| error.to_string())?;
    let info = reader.streaminfo();
    let full_scale = 2_f64.powi(info.bits_per_sample as i32 - 1);
    let samples = reader.samples().map(|sample| sample.map(|sample| f64::from(sample) / full_scale));
    let samples = samples.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    Ok(Clip { rate: info.sample_rate, channels: info.channels as u16, samples })
}

/// Reads Ogg Vorbis.
///
/// # Errors
/// Says what is wrong with it.
pub fn read_ogg(mut source: impl Read) -> Result<Clip, String> {
    // The reader seeks from the end of the file.
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let reader = lewton::inside_ogg::OggStreamReader::new(Cursor::new(bytes));
    let mut reader = reader.map_err(|error| error.to_string())?;
    let mut clip = Clip::empty(reader.ident_hdr.audio_sample_rate, reader.ident_hdr.audio_channels.into());
    while let Some(packet) = reader.read_dec_packet_itl().map_err(|error| error.to_string())? {
        clip.samples.extend(packet.into_iter().map(|sample| f64::from(sample) / 32_768.0));
    }
    // The last block is padded; the last page says how many frames are meant.
    if let Some(frames) = reader.get_last_absgp().and_then(|frames| usize::try_from(frames).ok()) {
        clip.samples.truncate(frames.saturating_mul(clip.channels.into()));
    }
    Ok(clip)
}

/// Writes a WAV file whose samples are stored in `format`, as far as WAV can: signed, but for 8 bits, and of at most 32 bits.
///
/// # Errors
/// The file cannot be written.
pub fn save_wav(path: &Path, clip: &Clip, format: SampleFormat) -> Result<(), Error> {
    let mut recorder = WavRecorder::create(path, clip.rate, clip.channels, format)?;
    recorder.write(&clip.samples)?;
    recorder.finish()
}

/// A WAV file that grows while a recording goes on. Its header is brought up to date once a second, so that whatever
/// happens the file can be played up to there.
pub struct WavRecorder {
    path: PathBuf,
    writer: hound::WavWriter<BufWriter<File>>,
    format: hound::SampleFormat,
    full_scale: f64,
    /// Samples until the header is brought up to date.
    until_flush: usize,
    per_second: usize,
    /// Samples that there is still room for: a WAV file says its length in 32 bits.
    room: usize,
}

impl WavRecorder {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, rate: u32, channels: u16, format: SampleFormat) -> Result<Self, Error> {
        let (bits_per_sample, sample_format) = match format {
            format if format.is_float() => (32, hound::SampleFormat::Float),
            // No WAV has more than 32 bits.
            format => (8 * format.size().min(4) as u16, hound::SampleFormat::Int),
        };
        let spec = hound::WavSpec { channels, sample_rate: rate, bits_per_sample, sample_format };
        let about = |error: hound::Error| Error::File { path: path.into(), reason: error.to_string() };
        let file = File::create(path).map_err(|error| about(error.into()))?;
        let writer = hound::WavWriter::new(BufWriter::new(file), spec).map_err(about)?;
        let per_second = (rate as usize).saturating_mul(channels.into()).max(1);
        let full_scale = 2_f64.powi(i32::from(bits_per_sample) - 1);
        Ok(Self {
            path: path.into(),
            writer,
            format: sample_format,
            full_scale,
            until_flush: per_second,
            per_second,
            room: (u32::MAX as usize - 4096) / usize::from(bits_per_sample / 8),
        })
    }

    /// Appends interleaved samples.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, samples: &[f64]) -> Result<(), Error> {
        let Some(room) = self.room.checked_sub(samples.len()) else {
            let reason = "a WAV file holds 4 GiB, and this one is full".into();
            return Err(Error::File { path: self.path.clone(), reason });
        };
        self.room = room;
        let Self { writer, format, full_scale, .. } = self;
        let result = samples.iter().try_for_each(|sample| match format {
            hound::SampleFormat::Float => writer.write_sample(*sample as f32),
            hound::SampleFormat::Int => writer
                .write_sample((sample * *full_scale).round().clamp(-*full_scale, *full_scale - 1.0) as i32),
        });
        result.map_err(|error| self.about(&error))?;
        self.until_flush = match self.until_flush.checked_sub(samples.len()) {
            Some(left) => left,
            None => {
                self.writer.flush().map_err(|error| self.about(&error))?;
                self.per_second
            }
        };
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        let path = self.path;
        self.writer.finalize().map_err(|error| Error::File { path, reason: error.to_string() })
    }

    fn about(&self, error: &hound::Error) -> Error {
        Error::File { path: self.path.clone(), reason: error.to_string() }
    }
}

impl fmt::Debug for WavRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WavRecorder").field("path", &self.path).finish_non_exhaustive()
    }
}
