//! What is forwarded, as packets of IP, and in a file of pcapng.

use etherparse::PacketBuilder;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Bytes of a recording.
const MAX_FILE: u64 = 1 << 30;

/// The largest payload of a packet, in bytes.
const MAX_PAYLOAD: usize = 65_000;

const RAW: u16 = 101;

/// Makes the packets of one conversation between a client and the target.
#[derive(Debug)]
pub(super) struct Carrier {
    ends: [SocketAddr; 2],
    /// The next sequence number of each end; `None` for UDP.
    sequence: Option<[u32; 2]>,
}

impl Carrier {
    pub(super) fn udp(client: SocketAddr, target: SocketAddr) -> Self {
        Self { ends: same_family([client, target]), sequence: None }
    }

    /// Also returns the packets that open the connection.
    pub(super) fn tcp(client: SocketAddr, target: SocketAddr) -> (Self, [Vec<u8>; 2]) {
        let mut carrier = Self { ends: same_family([client, target]), sequence: Some([0, 0]) };
        let opening = [carrier.build(0, b"", true, false), carrier.build(1, b"", true, true)];
        carrier.sequence = Some([1, 1]);
        (carrier, opening)
    }

    /// The packet that has these bytes.
    pub(super) fn packet(&mut self, from_client: bool, data: &[u8]) -> Vec<u8> {
        let (end, data) = (usize::from(!from_client), &data[..data.len().min(MAX_PAYLOAD)]);
        let packet = self.build(end, data, false, true);
        if let Some(sequence) = &mut self.sequence {
            sequence[end] = sequence[end].wrapping_add(u32::try_from(data.len()).unwrap_or(0));
        }
        packet
    }

    fn build(&self, end: usize, data: &[u8], syn: bool, ack: bool) -> Vec<u8> {
        let (from, to) = (self.ends[end], self.ends[1 - end]);
        let ip = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
            (from, to) => PacketBuilder::ipv6(v6(from), v6(to), 64),
        };
        let mut packet = Vec::new();
        let written = match self.sequence {
            None => ip.udp(from.port(), to.port()).write_to_vec(&mut packet, data),
            Some(sequence) => {
                let segment = ip.tcp(from.port(), to.port(), sequence[end], u16::MAX);
                let segment = if syn { segment.syn() } else { segment.psh() };
                let segment = if ack { segment.ack(sequence[1 - end]) } else { segment };
                segment.write_to_vec(&mut packet, data)
            }
        };
        // A vector takes it; and the length fits, see `MAX_PAYLOAD`.
        debug_assert!(written.is_ok());
        packet
    }
}

const fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// An IPv4 address that is written as one of IPv6 is one of IPv4 again, if both are.
fn same_family(ends: [SocketAddr; 2]) -> [SocketAddr; 2] {
    ends.map(|end| SocketAddr::new(end.ip().to_canonical(), end.port()))
}

/// A file of pcapng: one section, one interface, times in nanoseconds.
#[derive(Debug)]
pub(super) struct Recorder {
    file: BufWriter<File>,
    written: u64,
}

impl Recorder {
    pub(super) fn create(path: &Path) -> std::io::Result<Self> {
        let about = |error: std::io::Error| {
            std::io::Error::new(error.kind(), format!("cannot record to {}: {error}", path.display()))
        };
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            // Passwords and voice are in it.
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut recorder = Self { file: BufWriter::new(options.open(path).map_err(about)?), written: 0 };
        let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
        recorder.block(0x0a0d_0d0a, &[&section])?;
        // if_tsresol: 10^-9 of a second; then the end of the options.
        let options = [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        let interface = [&RAW.to_le_bytes()[..], &[0, 0], &[0; 4], &options].concat();
        recorder.block(1, &[&interface])?;
        recorder.file.flush()?;
        Ok(recorder)
    }

    /// Beyond the limit nothing is written any more.
    pub(super) fn write(&mut self, time: i64, packet: &[u8]) -> std::io::Result<()> {
        if self.written > MAX_FILE {
            return Ok(());
        }
        let time = time.unsigned_abs();
        let [low, high] = [time & 0xffff_ffff, time >> 32].map(|half| u32::try_from(half).unwrap_or(0));
        let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let head: Vec<u8> = [0, high, low, len, len].into_iter().flat_map(u32::to_le_bytes).collect();
        let padding = packet.len().next_multiple_of(4) - packet.len();
        self.block(6, &[&head, packet, &[0; 3][..padding]])
    }

    pub(super) fn finish(mut self) -> std::io::Result<()> {
        self.file.flush()
    }

    fn block(&mut self, kind: u32, parts: &[&[u8]]) -> std::io::Result<()> {
        let len = 12 + parts.iter().map(|part| part.len()).sum::<usize>();
        let len = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        self.written += u64::from(u32::from_le_bytes(len));
        for part in [&kind.to_le_bytes()[..], &len].into_iter().chain(parts.iter().copied()).chain([&len[..]])
        {
            self.file.write_all(part)?;
        }
        Ok(())
    }
}
