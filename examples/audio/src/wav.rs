//! Reading WAV: RIFF, RIFX (big-endian), RF64 and BW64, as writers really write them.

mod g721;
mod gsm;
mod nms;

use crate::file::Collector;
use crate::{SampleFormat, SampleOrder, compressed, decode};
use g721::G721;
use gsm::Gsm;
use nms::Nms;
use std::io::{self, Cursor, ErrorKind, Read};

/// Bytes of samples that are decoded at a time.
const CHUNK: usize = 1 << 16;
/// Bytes of a format that are looked at.
const MAX_FORMAT: u32 = 1 << 12;

const PCM: u16 = 1;
const MS_ADPCM: u16 = 2;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const IMA_ADPCM: u16 = 0x11;
const GSM: u16 = 0x31;
const NMS_ADPCM: u16 = 0x38;
const G721_ADPCM: u16 = 0x40;
const EXTENSIBLE: u16 = 0xFFFE;

/// Reads a file from its first byte on.
pub(crate) fn read(source: impl Read + Send + Sync, collector: &mut Collector) -> Result<(), String> {
    let mut reader = Reader { source, order: SampleOrder::Little };
    let (mut format, mut data64) = (None, None);
    let mut head = [0; 12];
    reader.fill(&mut head)?;
    if head[..4] == *b"RIFX" {
        reader.order = SampleOrder::Big;
    }
    let mut first = None;
    loop {
        let Some((id, size)) = reader.chunk(first.take())? else {
            return Err(if format.is_some() {
                "no sound in it: the file ends before its `data` chunk".into()
            } else {
                "the file ends before its `fmt ` chunk".to_owned()
            });
        };
        match &id {
            b"fmt " => {
                let mut bytes = vec![0; size.min(MAX_FORMAT) as usize];
                reader.fill(&mut bytes)?;
                reader.skip(u64::from(size) - bytes.len() as u64)?;
                format = Some((Format::parse(&bytes, reader.order)?, bytes));
            }
            b"ds64" => {
                let mut bytes = [0; 16];
                reader.fill(&mut bytes[..(size as usize).min(16)])?;
                reader.skip(u64::from(size).saturating_sub(16))?;
                data64 = Some(u64::from_le_bytes(bytes[8..].try_into().unwrap_or_default()));
            }
            b"data" => {
                let Some((format, bytes)) = format else {
                    return Err("the `data` chunk comes before the `fmt ` chunk".into());
                };
                // Who writes to a pipe does not know the length yet, and says nothing, or the most there is.
                let size = match (size, data64) {
                    (u32::MAX, Some(size @ 1..)) => Some(size),
                    (0 | 0x7FFF_F000.., _) => None,
                    (size, _) => Some(u64::from(size)),
                };
                return reader.samples(&format, &bytes, size, collector);
            }
            _ => reader.skip(size.into())?,
        }
        // A chunk of an odd size has a byte of padding behind it. Some writers forget it.
        if size % 2 == 1 {
            first = reader.byte()?.filter(|padding| *padding != 0);
        }
    }
}

/// How the samples are stored.
#[derive(Debug)]
struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    /// Bits of one sample, and bytes of as many as come together.
    bits: u16,
    size: usize,
}

impl Format {
    fn parse(bytes: &[u8], order: SampleOrder) -> Result<Self, String> {
        let short = |at: usize| {
            let bytes = [*bytes.get(at)?, *bytes.get(at + 1)?];
            Some(if order == SampleOrder::Big {
                u16::from_be_bytes(bytes)
            } else {
                u16::from_le_bytes(bytes)
            })
        };
        let long = |at: usize| {
            let (first, second) = (u32::from(short(at)?), u32::from(short(at + 2)?));
            Some(if order == SampleOrder::Big { first << 16 | second } else { second << 16 | first })
        };
        let parsed = || Some((short(0)?, short(2)?, long(4)?, short(12)?, short(14)?));
        let (tag, channels, rate, block, bits) = parsed()
            .ok_or_else(|| format!("its `fmt ` chunk has {} bytes: at least 16 expected", bytes.len()))?;
        let tag = match tag {
            // The number itself is in the first two bytes of a GUID.
            EXTENSIBLE => {
                short(24).ok_or("its extensible `fmt ` chunk ends before the kind of its samples")?
            }
            tag => tag,
        };
        // A sample may be stored in more bytes than it needs: it is at the upper end of them.
        let stored = usize::from(block) / usize::from(channels.max(1));
        let needed = usize::from(bits).div_ceil(8);
        let size = if tag == PCM && (needed..=8).contains(&stored) { stored } else { needed };
        let size = match tag {
            GSM => gsm::BLOCK,
            G721_ADPCM => g721::BLOCK,
            NMS_ADPCM => Nms::block(bits),
            _ => size,
        };
        let mono = |fits: bool, expected: &str| match (channels, fits) {
            (1, true) => Ok(()),
            (1, false) => Err(format!("{} in blocks of {block} bytes: {expected} expected", name(tag))),
            _ => Err(format!("{} with {channels} channels: 1 expected", name(tag))),
        };
        match tag {
            GSM => mono(
                usize::from(block) == size && short(18) == Some(gsm::SAMPLES as u16),
                "65, of 320 samples,",
            )?,
            NMS_ADPCM => mono(
                usize::from(block) == size && Nms::new(bits).is_some(),
                "42, 62 or 82, of 2, 3 or 4 bits,",
            )?,
            G721_ADPCM => mono(true, "")?,
            _ => {}
        }
        let format = Self { tag, channels, rate, bits, size };
        match (tag, format.size) {
            (GSM | G721_ADPCM | NMS_ADPCM, _) => Ok(format),
            (PCM, 1..=4) | (FLOAT, 4 | 8) | (A_LAW | MU_LAW, 1) | (MS_ADPCM | IMA_ADPCM, _) => Ok(format),
            (PCM | FLOAT | A_LAW | MU_LAW, _) => Err(format!("{} of {bits} bits cannot be read", name(tag))),
            _ => Err(format!(
                "{} in WAV is not read: convert it, for instance with `ffmpeg -i FILE -c:a pcm_s16le FILE.wav`",
                name(tag)
            )),
        }
    }
}

fn name(tag: u16) -> String {
    let name = match tag {
        PCM => "PCM",
        FLOAT => "floating point",
        A_LAW => "A-law",
        MU_LAW => "µ-law",
        GSM => "GSM 6.10",
        0x50 | 0x55 => "MPEG audio",
        G721_ADPCM => "G.721",
        0x14 | 0x45 | 0x64 | 0x65 => "G.72x",
        0xFF | 0x1610 => "AAC",
        0x160..=0x163 => "Windows Media",
        NMS_ADPCM => "NMS ADPCM",
        0x2000 => "AC-3",
        0x2001 => "DTS",
        0x704F => "Opus",
        0x674F..=0x6771 | 0x566F => "Vorbis",
        0xF1AC => "FLAC",
        _ => return format!("encoding {tag:#06x}"),
    };
    name.into()
}

struct Reader<R> {
    source: R,
    order: SampleOrder,
}

impl<R: Read + Send + Sync> Reader<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => "the file ends within its header".into(),
            _ => error.to_string(),
        })
    }

    fn byte(&mut self) -> Result<Option<u8>, String> {
        let mut byte = Vec::new();
        self.source.by_ref().take(1).read_to_end(&mut byte).map_err(|error| error.to_string())?;
        Ok(byte.first().copied())
    }

    /// What the next chunk is, and its size; its first byte may have been read.
    fn chunk(&mut self, first: Option<u8>) -> Result<Option<([u8; 4], u32)>, String> {
        let mut head: Vec<u8> = first.into_iter().collect();
        let missing = 8 - head.len() as u64;
        self.source.by_ref().take(missing).read_to_end(&mut head).map_err(|error| error.to_string())?;
        let Ok([a, b, c, d, size @ ..]) = <[u8; 8]>::try_from(head) else { return Ok(None) };
        let size = match self.order {
            SampleOrder::Big => u32::from_be_bytes(size),
            SampleOrder::Little => u32::from_le_bytes(size),
        };
        Ok(Some(([a, b, c, d], size)))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        let copied = io::copy(&mut self.source.by_ref().take(bytes), &mut io::sink());
        copied.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Reads the samples: `size` bytes of them, or all that follows.
    fn samples(
        mut self,
        format: &Format,
        header: &[u8],
        size: Option<u64>,
        collector: &mut Collector,
    ) -> Result<(), String> {
        if matches!(format.tag, MS_ADPCM | IMA_ADPCM) {
            return self.adpcm(header, size, collector);
        }
        collector.shape(format.rate, format.channels)?;
        let order = self.order;
        let mut blocks = Blocks::new(format);
        // The padding of an odd length is part of a block that is not whole.
        let padding = size.filter(|_| blocks.is_some()).map_or(0, |size| size % 2);
        let mut left = size.map_or(u64::MAX, |size| size.saturating_add(padding));
        let mut buffer = vec![0; CHUNK];
        // Of a sample or a block that has not come whole.
        let mut rest = 0;
        loop {
            // As much as there is: who writes to a pipe may take its time.
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK - rest);
            let read = match self.source.read(&mut buffer[rest..rest + most]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.map_err(|error| error.to_string())?,
            };
            if read == 0 {
                break;
            }
            left = left.saturating_sub(read as u64);
            let came = rest + read;
            let whole = came - came % format.size;
            let bytes = &buffer[..whole];
            match (format.tag, format.size) {
                (A_LAW, _) => collector.push(bytes.iter().map(|byte| a_law(*byte)))?,
                (MU_LAW, _) => collector.push(bytes.iter().map(|byte| mu_law(*byte)))?,
                (FLOAT, 4) => collector.push(decode(bytes, SampleFormat::F32, order))?,
                (FLOAT, _) => collector.push(decode(bytes, SampleFormat::F64, order))?,
                (PCM, 1) => collector.push(decode(bytes, SampleFormat::U8, order))?,
                (PCM, 2) => collector.push(decode(bytes, SampleFormat::I16, order))?,
                (PCM, 3) => collector.push(decode(bytes, SampleFormat::I24, order))?,
                (PCM, _) => collector.push(decode(bytes, SampleFormat::I32, order))?,
                (_, size) => {
                    for block in bytes.chunks_exact(size) {
                        collector.push(blocks.iter_mut().flat_map(|blocks| blocks.decode(block)))?;
                    }
                }
            }
            if read < most {
                collector.flush()?;
            }
            buffer.copy_within(whole..came, 0);
            rest = came - whole;
        }
        let last = blocks.as_ref().and_then(|blocks| blocks.last(&buffer[..rest], left > 0 && padding > 0));
        if let (Some(blocks), Some(last)) = (&mut blocks, last) {
            collector.push(blocks.decode(&last))?;
        }
        if size.is_some() && left > padding {
            let missing = left - padding;
            collector.remark(format!("the file is cut: {missing} bytes of its samples are missing"));
        }
        Ok(())
    }

    /// Hands ADPCM on, in a file that says no more than is needed.
    fn adpcm(self, header: &[u8], size: Option<u64>, collector: &mut Collector) -> Result<(), String> {
        if self.order == SampleOrder::Big {
            return Err("big-endian ADPCM is not read: convert it".into());
        }
        let size = size.and_then(|size| u32::try_from(size).ok()).unwrap_or(u32::MAX);
        let mut head = Vec::new();
        head.extend(*b"RIFF");
        head.extend(u32::MAX.to_le_bytes());
        head.extend(*b"WAVEfmt ");
        head.extend((header.len() as u32).to_le_bytes());
        head.extend(header);
        head.extend(*b"data");
        head.extend(size.to_le_bytes());
        compressed::read_wav(Cursor::new(head).chain(self.source), collector)
    }
}

/// A codec whose samples come in blocks.
trait BlockDecoder {
    /// Appends the samples of a block.
    fn decode(&mut self, block: &[u8], out: &mut Vec<i16>);
}

struct Blocks {
    decoder: Box<dyn BlockDecoder>,
    /// What fills up a block that is not whole.
    filling: Vec<u8>,
    tag: u16,
    samples: Vec<i16>,
}

impl Blocks {
    fn new(format: &Format) -> Option<Self> {
        let decoder: Box<dyn BlockDecoder> = match format.tag {
            GSM => Box::new(Gsm::new()),
            G721_ADPCM => Box::new(G721::new()),
            NMS_ADPCM => Box::new(Nms::new(format.bits)?),
            _ => return None,
        };
        Some(Self { decoder, filling: vec![0; format.size], tag: format.tag, samples: Vec::new() })
    }

    fn decode(&mut self, block: &[u8]) -> impl Iterator<Item = f64> {
        if self.tag != NMS_ADPCM {
            self.filling.copy_from_slice(block);
        }
        self.samples.clear();
        self.decoder.decode(block, &mut self.samples);
        self.samples.iter().map(|sample| f64::from(*sample) / 32_768.0)
    }

    /// The last block, if it is not whole: as libsndfile fills it up, with zeros in NMS ADPCM, and in others with what the block
    /// before has there. In GSM, what has an odd length and no padding is not whole.
    fn last(&self, rest: &[u8], lacks_padding: bool) -> Option<Vec<u8>> {
        if rest.is_empty() && !(lacks_padding && self.tag == GSM) {
            return None;
        }
        let mut block = self.filling.clone();
        let whole = if self.tag == NMS_ADPCM { rest.len() & !1 } else { rest.len() };
        block[..whole].copy_from_slice(&rest[..whole]);
        Some(block)
    }
}

/// ITU-T G.711, A-law: 13 bits.
fn a_law(byte: u8) -> f64 {
    let byte = byte ^ 0x55;
    let (exponent, mantissa) = (byte >> 4 & 7, i32::from(byte & 15));
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        exponent => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    f64::from(if byte & 0x80 != 0 { magnitude } else { -magnitude }) / 32_768.0
}

/// ITU-T G.711, µ-law: 14 bits.
fn mu_law(byte: u8) -> f64 {
    let byte = !byte;
    let magnitude = (((i32::from(byte & 15) << 3) + 0x84) << (byte >> 4 & 7)) - 0x84;
    f64::from(if byte & 0x80 != 0 { -magnitude } else { magnitude }) / 32_768.0
}
