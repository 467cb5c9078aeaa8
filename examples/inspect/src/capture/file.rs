//! Files of captures: pcap and pcapng.

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use thiserror::Error;

/// The largest block of a file that is read, in bytes: four times the packets that programs capture by default.
const MAX_BLOCK: usize = 1 << 20;

/// How many interfaces a section may have.
const MAX_INTERFACES: usize = 1024;

/// A frame, as it was captured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// In nanoseconds since 1970.
    pub(crate) time: i64,
    pub(crate) link: Linktype,
    pub(crate) data: &'a [u8],
    /// Bytes that were not captured.
    pub(crate) missing: usize,
}

/// Why a file cannot be read to its end.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("cannot open {path}: {error}")]
    Open { path: String, error: std::io::Error },
    #[error("{path} is neither pcap nor pcapng: expected a file that tcpdump -w, dumpcap or tshark wrote")]
    NotCapture { path: String },
    #[error("{path}, offset {at}: {problem}; what came before is shown")]
    Broken { path: String, at: usize, problem: String },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// An interface of a pcapng section, or of a pcap file.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Units of a time stamp in a second.
    resolution: u64,
    /// In seconds.
    offset: i64,
}

impl Interface {
    fn time(&self, stamp: u64) -> i64 {
        let resolution = self.resolution.max(1);
        let seconds = i64::try_from(stamp / resolution).unwrap_or(i64::MAX).saturating_add(self.offset);
        let rest = u128::from(stamp % resolution) * 1_000_000_000 / u128::from(resolution);
        seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(rest).unwrap_or(0))
    }
}

/// Hands every frame of a file to `each`.
pub(crate) fn read(path: &Path, each: impl FnMut(Frame<'_>) -> std::io::Result<()>) -> Result<(), FileError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| FileError::Open { path: name.clone(), error })?;
    read_from(file, &name, each)
}

/// The same of anything that can be read; `name` is for errors.
pub(crate) fn read_from(
    source: impl Read + Send,
    name: &str,
    mut each: impl FnMut(Frame<'_>) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let mut reader =
        create_reader(MAX_BLOCK, source).map_err(|_| FileError::NotCapture { path: name.to_owned() })?;
    let mut interfaces: Vec<Interface> = Vec::new();
    loop {
        let at = reader.consumed();
        let broken =
            |problem: &str| FileError::Broken { path: name.to_owned(), at, problem: problem.to_owned() };
        match reader.next() {
            Ok((len, block)) => {
                match block_frame(&block, &mut interfaces) {
                    Ok(Some(frame)) => each(frame)?,
                    Ok(None) => {}
                    Err(problem) => return Err(broken(problem)),
                }
                reader.consume(len);
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                reader.refill().map_err(|_| broken("cannot be read"))?;
            }
            Err(PcapError::UnexpectedEof) => return Err(broken("the file ends inside of a block")),
            Err(PcapError::BufferTooSmall) => return Err(broken("expected a block of at most 1 MiB")),
            Err(PcapError::ReadError) => return Err(broken("cannot be read")),
            Err(_) => return Err(broken("expected a block of pcap or pcapng")),
        }
    }
}

/// Units in a second, from `if_tsresol`: a power of ten, or of two. (The crate's own function refuses all powers of two.)
fn resolution(option: u8) -> Option<u64> {
    match option {
        0..0x80 => 10_u64.checked_pow(option.into()),
        _ => 1_u64.checked_shl(u32::from(option & 0x7f)),
    }
}

/// The frame in a block, if there is one.
fn block_frame<'a>(
    block: &'a PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
) -> Result<Option<Frame<'a>>, &'static str> {
    let missing =
        |original: u32, data: &[u8]| usize::try_from(original).unwrap_or(0).saturating_sub(data.len());
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
            // The upper bits say something of frame check sequences.
            let link = Linktype(header.network.0 & 0x0fff_ffff);
            interfaces.push(Interface { link, resolution, offset: i64::from(header.thiszone) });
            Ok(None)
        }
        PcapBlockOwned::Legacy(frame) => {
            let Some(interface) = interfaces.first() else { return Ok(None) };
            let fraction = u64::from(frame.ts_usec);
            let stamp = u64::from(frame.ts_sec) * interface.resolution + fraction;
            let (time, link) = (interface.time(stamp), interface.link);
            Ok(Some(Frame { time, link, data: frame.data, missing: missing(frame.origlen, frame.data) }))
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            Ok(None)
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            if interfaces.len() == MAX_INTERFACES {
                return Err("expected at most 1024 interfaces in a section");
            }
            let resolution =
                resolution(interface.if_tsresol).ok_or("expected a resolution of time below 2^64")?;
            let (link, offset) = (interface.linktype, interface.ts_offset());
            interfaces.push(Interface { link, resolution, offset });
            Ok(None)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let index = usize::try_from(packet.if_id).unwrap_or(usize::MAX);
            let interface = interfaces.get(index).ok_or("expected a packet of a described interface")?;
            let data = packet.packet_data();
            let time = interface.time((u64::from(packet.ts_high) << 32) | u64::from(packet.ts_low));
            Ok(Some(Frame { time, link: interface.link, data, missing: missing(packet.origlen, data) }))
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let interface = interfaces.first().ok_or("expected a packet of a described interface")?;
            let data = packet.packet_data();
            Ok(Some(Frame { time: 0, link: interface.link, data, missing: missing(packet.origlen, data) }))
        }
        PcapBlockOwned::NG(_) => Ok(None),
    }
}
