//! Opus in Ogg, as RFC 7845 has it: packets as they came, and silence between them.

use ogg::{PacketWriteEndInfo, PacketWriter};
use std::io;

/// Frames that a decoder leaves out at the beginning: what libopus delays sound by.
pub(super) const PRE_SKIP: u16 = 312;

/// The shortest frame of Opus: 2.5 ms.
const SHORTEST: u64 = 120;
/// Lengths of frames of CELT in its full band, and their numbers: the longest first.
const FRAMES: [(u64, u8); 4] = [(960, 31), (480, 30), (240, 29), (120, 28)];
/// A frame of CELT without sound.
const SILENT: [u8; 2] = [0xff, 0xfe];
/// Frames of 20 ms in the longest packet.
const MOST: u64 = 6;

/// A stream: pages are complete after each [`end_page`](Self::end_page).
pub(super) struct OggOpus {
    writer: PacketWriter<'static, Vec<u8>>,
    serial: u32,
    stereo: bool,
    /// The newest packet, which may be the last one of its page.
    newest: Option<Box<[u8]>>,
    /// Where it ends.
    granule: u64,
}

impl core::fmt::Debug for OggOpus {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OggOpus").field("serial", &self.serial).finish_non_exhaustive()
    }
}

impl OggOpus {
    /// A stream with its two heads. `comments` are names and values.
    pub(super) fn new(serial: u32, channels: u8, comments: &[(&str, &str)]) -> io::Result<Self> {
        let mut head = b"OpusHead\x01".to_vec();
        head.push(channels);
        head.extend(PRE_SKIP.to_le_bytes());
        head.extend(super::sound::OPUS_RATE.to_le_bytes());
        // No gain; one stream, of one or two channels.
        head.extend([0; 3]);
        let mut tags = b"OpusTags".to_vec();
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
        let vendor = concat!("voxwire-server ", env!("CARGO_PKG_VERSION"));
        tags.extend(length(vendor));
        tags.extend(vendor.as_bytes());
        tags.extend(u32::try_from(comments.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (name, value) in comments {
            let comment = format!("{name}={value}");
            tags.extend(length(&comment));
            tags.extend(comment.as_bytes());
        }
        let mut writer = PacketWriter::new(Vec::new());
        writer.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        writer.write_packet(tags, serial, PacketWriteEndInfo::EndPage, 0)?;
        Ok(Self { writer, serial, stereo: channels == 2, newest: None, granule: 0 })
    }

    /// Adds a packet of so many frames.
    pub(super) fn packet(&mut self, packet: Box<[u8]>, frames: u64) -> io::Result<()> {
        self.flush(PacketWriteEndInfo::NormalPacket)?;
        self.newest = Some(packet);
        self.granule = self.granule.saturating_add(frames);
        Ok(())
    }

    /// Adds silence: as many frames as there are whole frames of 2.5 ms. Returns how many.
    pub(super) fn silence(&mut self, frames: u64) -> io::Result<u64> {
        let whole = frames - frames % SHORTEST;
        let mut rest = whole;
        for (length, number) in FRAMES {
            while rest >= length {
                let count = if length == 960 { (rest / length).min(MOST) } else { 1 };
                // Code 3: several frames of one length.
                let head = number << 3 | u8::from(self.stereo) << 2 | 3;
                let mut packet = vec![head, u8::try_from(count).unwrap_or(1)];
                (0..count).for_each(|_| packet.extend(SILENT));
                self.packet(packet.into(), count * length)?;
                rest -= count * length;
            }
        }
        Ok(whole)
    }

    /// Completes the page.
    pub(super) fn end_page(&mut self) -> io::Result<()> {
        self.flush(PacketWriteEndInfo::EndPage)
    }

    /// Completes the stream, with a little silence if nothing else is left to end it with.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.newest.is_none() {
            self.silence(960)?;
        }
        self.flush(PacketWriteEndInfo::EndStream)
    }

    fn flush(&mut self, end: PacketWriteEndInfo) -> io::Result<()> {
        match self.newest.take() {
            Some(packet) => self.writer.write_packet(packet.into_vec(), self.serial, end, self.granule),
            None => Ok(()),
        }
    }

    /// The pages that are complete since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        core::mem::take(self.writer.inner_mut())
    }
}
