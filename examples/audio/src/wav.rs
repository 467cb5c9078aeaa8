//! Reading WAV: RIFF, RIFX (big-endian), RF64 and BW64, as writers really write them.

mod g721;
mod gsm;
mod ima;
mod ms;
mod nms;

use crate::file::Collector;
use crate::{SampleFormat, SampleOrder, compressed, decode};
use g721::G721;
use gsm::Gsm;
use ima::Ima;
use ms::Ms;
use nms::Nms;
use std::io::{self, ErrorKind, Read};

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
const MP3: u16 = 0x55;
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
                format = Some(Format::parse(&bytes, reader.order)?);
            }
            b"ds64" => {
                let mut bytes = [0; 16];
                reader.fill(&mut bytes[..(size as usize).min(16)])?;
                reader.skip(u64::from(size).saturating_sub(16))?;
                data64 = Some(u64::from_le_bytes(bytes[8..].try_into().unwrap_or_default()));
            }
            b"data" => {
                let Some(format) = format else {
                    return Err("the `data` chunk comes before the `fmt ` chunk".into());
                };
                // Who writes to a pipe does not know the length yet, and says nothing, or the most there is.
                let size = match (size, data64) {
                    (u32::MAX, Some(size @ 1..)) => Some(size),
                    (0 | 0x7FFF_F000.., _) => None,
                    (size, _) => Some(u64::from(size)),
                };
                return reader.samples(format, size, collector);
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
struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    /// Bytes of one sample, or of a block.
    size: usize,
    blocks: Option<Blocks>,
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
        let is_extensible = tag == EXTENSIBLE;
        let tag = match tag {
            // The number itself is in the first two bytes of a GUID.
            EXTENSIBLE => {
                short(24).ok_or("its extensible `fmt ` chunk ends before the kind of its samples")?
            }
            tag => tag,
        };
        // A sample may be stored in more bytes than it needs: it is at the upper end of them. Of 8, 16 and 32 bits none is, whatever a
        // file says of its frames.
        let stored = usize::from(block) / usize::from(channels.max(1));
        let needed = usize::from(bits).div_ceil(8);
        let size = match (tag, bits) {
            (A_LAW | MU_LAW, _) => 1,
            (PCM, bits) if !matches!(bits, 8 | 16 | 32) && (needed..=8).contains(&stored) => stored,
            _ => needed,
        };
        let layout = Layout {
            tag,
            channels,
            bits,
            block: block.into(),
            frames: if is_extensible { None } else { short(18).map(usize::from) },
        };
        if let Some(blocks) = Blocks::new(&layout)? {
            return Ok(Self { tag, channels, rate, size: blocks.size, blocks: Some(blocks) });
        }
        let format = Self { tag, channels, rate, size, blocks: None };
        match (tag, format.size) {
            (PCM, 1..=4) | (FLOAT, 4 | 8) | (A_LAW | MU_LAW, 1) | (MP3, _) => Ok(format),
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
        IMA_ADPCM => "IMA ADPCM",
        MS_ADPCM => "Microsoft ADPCM",
        MP3 => "MP3",
        0x50 => "MPEG audio",
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
    fn samples(mut self, format: Format, size: Option<u64>, collector: &mut Collector) -> Result<(), String> {
        if format.tag == MP3 {
            return compressed::read_mp3(self.source.take(size.unwrap_or(u64::MAX)), collector);
        }
        let mut blocks = format.blocks;
        collector.shape(format.rate, format.channels)?;
        let order = self.order;
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
}

/// A codec whose samples come in blocks.
trait BlockDecoder {
    /// Appends the samples of a block.
    fn decode(&mut self, block: &[u8], out: &mut Vec<i16>);
}

/// What a file says of its blocks.
struct Layout {
    tag: u16,
    channels: u16,
    /// Of a code.
    bits: u16,
    /// Bytes of a block, and frames.
    block: usize,
    frames: Option<usize>,
}

impl Layout {
    /// Refuses what no decoder knows.
    fn is_mono(&self, expected: &str, is_expected: bool) -> Result<(), String> {
        let name = name(self.tag);
        match self.channels {
            1 if is_expected => Ok(()),
            1 => Err(format!("{name} in blocks of {} bytes: {expected} expected", self.block)),
            channels => Err(format!("{name} with {channels} channels: 1 expected")),
        }
    }

    /// How many codes of four bits there are in a block, behind so many bytes of each channel.
    fn codes_behind(&self, head: usize) -> Result<usize, String> {
        let (head, name) = (head * usize::from(self.channels), name(self.tag));
        match (self.channels, self.bits) {
            (0 | 65.., _) => Err(format!("{} channels: 1 to 64 expected", self.channels)),
            (_, 4) if self.block >= head => Ok(2 * (self.block - head)),
            (_, 4) => Err(format!("{name} in blocks of {} bytes: {head} or more expected", self.block)),
            (_, bits) => Err(format!("{name} of {bits} bits cannot be read")),
        }
    }

    /// The frames of a block that has room for so many.
    fn frames(&self, most: usize) -> usize {
        self.frames.filter(|frames| (1..most).contains(frames)).unwrap_or(most)
    }
}

/// What fills up a last block that is not whole, as in libsndfile.
enum Filling {
    /// What the block before has there.
    Before(Vec<u8>),
    Zeros,
    /// Nothing: it is left out.
    None,
}

struct Blocks {
    decoder: Box<dyn BlockDecoder>,
    size: usize,
    filling: Filling,
    /// An odd length without padding ends within a block.
    is_padded: bool,
    samples: Vec<i16>,
}

impl Blocks {
    fn new(layout: &Layout) -> Result<Option<Self>, String> {
        let before = |size: usize| (size, Filling::Before(vec![0; size]));
        let (decoder, (size, filling)): (Box<dyn BlockDecoder>, _) = match layout.tag {
            GSM => {
                let is_expected = layout.block == gsm::BLOCK && layout.frames == Some(gsm::SAMPLES);
                layout.is_mono("65, of 320 samples,", is_expected)?;
                (Box::new(Gsm::new()), before(gsm::BLOCK))
            }
            G721_ADPCM => {
                layout.is_mono("", true)?;
                (Box::new(G721::new()), before(g721::BLOCK))
            }
            NMS_ADPCM => {
                let decoder = Nms::new(layout.bits).filter(|_| layout.block == Nms::block(layout.bits));
                layout.is_mono("42, 62 or 82, of 2, 3 or 4 bits,", decoder.is_some())?;
                let Some(decoder) = decoder else { return Ok(None) };
                (Box::new(decoder), (layout.block, Filling::Zeros))
            }
            IMA_ADPCM => (Box::new(Ima::new(layout)?), before(layout.block)),
            MS_ADPCM => (Box::new(Ms::new(layout)?), (layout.block, Filling::None)),
            _ => return Ok(None),
        };
        Ok(Some(Self { decoder, size, filling, is_padded: layout.tag == GSM, samples: Vec::new() }))
    }

    fn decode(&mut self, block: &[u8]) -> impl Iterator<Item = f64> {
        if let Filling::Before(before) = &mut self.filling {
            before.copy_from_slice(block);
        }
        self.samples.clear();
        self.decoder.decode(block, &mut self.samples);
        self.samples.iter().map(|sample| f64::from(*sample) / 32_768.0)
    }

    /// The last block, if it is not whole.
    fn last(&self, rest: &[u8], lacks_padding: bool) -> Option<Vec<u8>> {
        if rest.is_empty() && !(lacks_padding && self.is_padded) {
            return None;
        }
        let (mut block, rest) = match &self.filling {
            Filling::Before(before) => (before.clone(), rest),
            // Words of 16 bits.
            Filling::Zeros => (vec![0; self.size], &rest[..rest.len() & !1]),
            Filling::None => return None,
        };
        block[..rest.len()].copy_from_slice(rest);
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
