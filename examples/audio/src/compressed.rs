//! Reading FLAC, Ogg (FLAC, Opus, Vorbis) and MP3: containers, FLAC and MP3 by symphonia.

use crate::file::Collector;
use crate::ogg::{OpusStreams, Vorbis};
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::io::{self, ErrorKind, Read};
use std::panic::catch_unwind;
use std::sync::Arc;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_OPUS, CODEC_ID_VORBIS};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::core::packet::Packet;
use symphonia::default::formats::{FlacReader, MpaReader, OggReader};
use symphonia::default::get_codecs;

pub(crate) fn read_flac(source: impl Read + Send + Sync, collector: &mut Collector) -> Result<(), String> {
    read(source, collector, |stream| Ok(Box::new(FlacReader::try_new(stream, Default::default())?)))
}

pub(crate) fn read_mp3(source: impl Read + Send + Sync, collector: &mut Collector) -> Result<(), String> {
    read(source, collector, |stream| Ok(Box::new(MpaReader::try_new(stream, Default::default())?)))
}

pub(crate) fn read_ogg(source: impl Read + Send + Sync, collector: &mut Collector) -> Result<(), String> {
    read(source, collector, |stream| Ok(Box::new(OggReader::try_new(stream, Default::default())?)))
}

fn read<'s>(
    source: impl Read + Send + Sync + 's,
    collector: &mut Collector,
    open: impl FnOnce(MediaSourceStream<'s>) -> Result<Box<dyn FormatReader + 's>, Error>,
) -> Result<(), String> {
    let in_vain = Arc::new(AtomicU64::new(0));
    let source = Patient { source, in_vain: in_vain.clone() };
    let stream = MediaSourceStream::new(Box::new(ReadOnlySource::new(source)), Default::default());
    // What the authors of a reader did not think of must not end the program.
    let all = AssertUnwindSafe(|| {
        let mut format = open(stream).map_err(|error| describe(&error))?;
        while read_part(&mut *format, &in_vain, collector)? {}
        Ok(())
    });
    catch_unwind(all).unwrap_or_else(|_| Err("the file is damaged: its reader gave up".into()))
}

/// Bytes that are read for the next packet at most: FLAC may have pictures of 16 MiB before the first.
const PATIENCE: u64 = 1 << 26;

/// A source that ends with an error when nothing is found in it: a reader that looks for the next packet in a pipe without an end does
/// not look for ever.
struct Patient<R> {
    source: R,
    /// Bytes since the last packet.
    in_vain: Arc<AtomicU64>,
}

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.in_vain.load(Relaxed) > PATIENCE {
            return Err(io::Error::other("no sound in the next 64 MiB"));
        }
        let read = self.source.read(buffer)?;
        self.in_vain.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// Reads one of the streams that an Ogg file may chain. True if another one follows.
fn read_part(
    format: &mut dyn FormatReader,
    in_vain: &AtomicU64,
    collector: &mut Collector,
) -> Result<bool, String> {
    let track = format.default_track(TrackType::Audio).ok_or("no sound in it")?;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
        return Err("no sound in it".into());
    };
    let rate = parameters.sample_rate.ok_or("it does not say how many frames there are per second")?;
    let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count());
    let channels = u16::try_from(channels).unwrap_or(u16::MAX);
    let id = track.id;
    let header = parameters.extra_data.as_deref().unwrap_or_default();
    let mut decoder = match parameters.codec {
        CODEC_ID_OPUS => Decoder::Opus(OpusStreams::new(header)?),
        CODEC_ID_VORBIS => Decoder::Vorbis(Vorbis::new(header)?.into()),
        _ => {
            let decoder = get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default());
            Decoder::Other(decoder.map_err(|error| describe(&error))?, Vec::new())
        }
    };
    // A stream of another shape is converted to the first one's.
    collector.shape(rate, channels)?;
    read_packets(format, (id, in_vain), &mut decoder, collector)
}

fn read_packets(
    format: &mut dyn FormatReader,
    (track, in_vain): (u32, &AtomicU64),
    decoder: &mut Decoder,
    part: &mut Collector,
) -> Result<bool, String> {
    let mut damaged = 0_usize;
    let follows = loop {
        match format.next_packet() {
            Ok(Some(packet)) if packet.track_id != track => {}
            Ok(Some(packet)) => {
                in_vain.store(0, Relaxed);
                if !decoder.decode(&packet, part)? {
                    damaged += 1;
                    part.silence(packet.dur.get())?;
                }
                part.flush()?;
            }
            Ok(None) => break false,
            Err(Error::ResetRequired) => break true,
            Err(error) if part.is_part_empty() => return Err(describe(&error)),
            Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                part.remark("the file is cut: its end is missing");
                break false;
            }
            Err(error) => {
                part.remark(format!("the file is damaged, and read only so far: {}", describe(&error)));
                break false;
            }
        }
    };
    if damaged > 0 {
        part.remark(format!("{damaged} packets are damaged and were silenced"));
    }
    Ok(follows)
}

enum Decoder {
    Opus(OpusStreams),
    Vorbis(Box<Vorbis>),
    /// With the samples of a packet.
    Other(Box<dyn AudioDecoder>, Vec<f64>),
}

impl Decoder {
    /// False if the packet is damaged.
    fn decode(&mut self, packet: &Packet, part: &mut Collector) -> Result<bool, String> {
        let (start, end) = (packet.trim_start.get(), packet.trim_end.get());
        let samples = match self {
            Self::Opus(decoder) => decoder.decode(&packet.data, end),
            Self::Vorbis(decoder) => decoder.decode(&packet.data, start, end),
            Self::Other(decoder, samples) => decoder.decode(packet).ok().map(|decoded| {
                decoded.copy_to_vec_interleaved(samples);
                &samples[..]
            }),
        };
        let Some(samples) = samples else { return Ok(false) };
        part.push(samples.iter().copied()).map(|()| true)
    }
}

fn describe(error: &Error) -> String {
    match error {
        Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            "the file ends within its header".into()
        }
        error => error.to_string(),
    }
}
