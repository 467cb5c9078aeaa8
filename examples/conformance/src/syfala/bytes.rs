//! The messages of syfala, from "On the wire".

use crate::layout::Layout;

/// Messages of a client.
pub(super) mod client {
    pub(crate) const DISCOVERY: u8 = 0;
    pub(crate) const CONNECTION_SUCCESS: u8 = 1;
    pub(crate) const CONNECTION_FAILED: u8 = 2;
    pub(crate) const CONNECTION_REFUSED: u8 = 3;
    pub(crate) const START_IO: u8 = 4;
    pub(crate) const STOP_IO: u8 = 5;
    pub(crate) const AUDIO: u8 = 6;
    pub(crate) const DISCONNECT: u8 = 7;
    pub(crate) const HEARTBEAT: u8 = 8;
}

/// Messages of a server.
pub(super) mod server {
    pub(crate) const CONNECT: u8 = 0;
    pub(crate) const START_IO_FAILED: u8 = 1;
    pub(crate) const START_IO_SUCCESS: u8 = 3;
    pub(crate) const STOP_IO_SUCCESS: u8 = 6;
    pub(crate) const AUDIO: u8 = 7;
    pub(crate) const HEARTBEAT: u8 = 9;
}

/// Bytes of an Audio before its payload.
pub(super) const AUDIO_HEAD: usize = 17;

/// Bytes of a sample of each type, in the order of their numbers.
const WIDTHS: [usize; 12] = [1, 2, 3, 4, 8, 1, 2, 3, 4, 8, 4, 8];

/// A stream's format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Format {
    pub(super) rate: f64,
    pub(super) channels: u64,
    pub(super) sample_type: u64,
}

impl Format {
    /// Bytes of one frame.
    pub(super) fn frame(&self) -> usize {
        let width = usize::try_from(self.sample_type).ok().and_then(|it| WIDTHS.get(it).copied());
        width.unwrap_or(1) * usize::try_from(self.channels).unwrap_or(1)
    }
}

/// What a Connect offers.
#[derive(Debug, Clone, Default)]
pub(super) struct Formats {
    /// Streams that the server sends.
    pub(super) inputs: Vec<Format>,
    /// Streams that it receives.
    pub(super) outputs: Vec<Format>,
}

/// Reads a Connect; or says what is wrong, and at which offset.
pub(super) fn formats(datagram: &[u8]) -> Result<Formats, (usize, &'static str)> {
    let mut reader = Reader { bytes: datagram, at: 1 };
    let inputs = reader.list()?;
    let outputs = reader.list()?;
    if reader.at != datagram.len() {
        return Err((reader.at, "behind the formats"));
    }
    Ok(Formats { inputs, outputs })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// A varint in its shortest form.
    fn varint(&mut self, field: &'static str) -> Result<u64, (usize, &'static str)> {
        let start = self.at;
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or((self.at, field))?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let is_overlong = byte == 0 && shift > 0;
                return if is_overlong { Err((start, field)) } else { Ok(value) };
            }
        }
        Err((start, field))
    }

    fn list(&mut self) -> Result<Vec<Format>, (usize, &'static str)> {
        let count = self.varint("count of formats")?;
        let mut formats = Vec::new();
        for _ in 0..count {
            let rate_at = self.at;
            let rate = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk().copied());
            let rate = f64::from_le_bytes(rate.ok_or((rate_at, "sample rate"))?);
            self.at += 8;
            if !(rate.is_normal() && rate > 0.0) {
                return Err((rate_at, "sample rate"));
            }
            let channels_at = self.at;
            let channels = self.varint("channel count")?;
            self.varint("buffer size")?;
            let type_at = self.at;
            let sample_type = self.varint("sample type")?;
            if channels == 0 {
                return Err((channels_at, "channel count"));
            }
            if sample_type >= WIDTHS.len() as u64 {
                return Err((type_at, "sample type"));
            }
            formats.push(Format { rate, channels, sample_type });
        }
        Ok(formats)
    }
}

/// One byte alone.
pub(super) fn message(number: u8) -> Layout {
    Layout::big().u8("message", number)
}

/// An Audio of `number`, which the direction decides.
pub(super) fn audio(number: u8, stream: u32, at: u64, payload: &[u8]) -> Layout {
    Layout::little()
        .u8("message", number)
        .u32("stream index", stream)
        .u64("byte index", at)
        .u32("n_bytes", u32::try_from(payload.len()).unwrap_or(u32::MAX))
        .bytes("payload", payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_03_formats_are_read_and_faults_found() {
        let connect = b"\x00\x01\0\0\0\0\0\x70\xe7\x40\x02\x20\x06\x00";
        let read = formats(connect).unwrap();
        assert_eq!((read.inputs[0].rate, read.inputs[0].frame(), read.outputs.len()), (48_000.0, 4, 0));
        for (at, byte, field) in [(10, 0, "channel count"), (12, 12, "sample type"), (9, 0xff, "sample rate")]
        {
            let mut bytes = connect.to_vec();
            bytes[at] = byte;
            assert_eq!(formats(&bytes).unwrap_err().1, field);
        }
        assert!(formats(&connect[..13]).is_err());
    }

    #[test]
    fn s_01_the_bytes_are_those_of_the_reference() {
        let encoded = [
            message(client::CONNECTION_SUCCESS),
            message(client::STOP_IO),
            message(server::HEARTBEAT),
            message(server::START_IO_SUCCESS),
            audio(client::AUDIO, 2, 0x1000, &[1, 2, 3, 4, 5, 6, 7, 8]),
        ];
        crate::vectors::has("proto-syfala/vectors/messages.json", &encoded);
    }
}
