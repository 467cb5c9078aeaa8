//! The codecs of Ogg files with any number of channels: Opus by the decoder that calls use, Vorbis by lewton.

use crate::{VoiceDecoder, packet_samples, voice_decoder};
use lewton::audio::{PreviousWindowRight, read_audio_packet_generic};
use lewton::header::{IdentHeader, SetupHeader, read_header_ident, read_header_setup};

/// Decodes the packets of an Ogg Opus stream, whose header says how several Opus streams make its channels.
pub(crate) struct OpusStreams {
    /// Each with its channels, and the samples of a packet.
    streams: Vec<(Box<dyn VoiceDecoder>, usize, Vec<f32>)>,
    /// For each channel in the order of a WAV file: which stream, and which of its channels. `None` is silent.
    channels: Vec<Option<(usize, usize)>>,
    gain: f64,
    /// Frames at the start that are left out yet.
    skip: usize,
    samples: Vec<f64>,
    /// The packet of one stream, as it is without others behind it.
    packet: Vec<u8>,
}

/// Where a WAV file's channels are among those of Vorbis, and so of Opus: RFC 7845, section 5.1.1.2.
const ORDER: [&[usize]; 8] = [
    &[0],
    &[0, 1],
    &[0, 2, 1],
    &[0, 1, 2, 3],
    &[0, 2, 1, 3, 4],
    &[0, 2, 1, 5, 3, 4],
    &[0, 2, 1, 6, 5, 3, 4],
    &[0, 2, 1, 7, 5, 6, 3, 4],
];

impl OpusStreams {
    /// Reads the header: the magic of eight bytes, a version, the number of channels, samples to skip (2 bytes), the rate of
    /// what was encoded (4), the gain in 256ths of a decibel (2), the mapping family; and if that is not 0, the number of
    /// streams, how many of these have two channels, and where each channel comes from.
    pub(crate) fn new(header: &[u8]) -> Result<Self, String> {
        let cut = "its Opus header is cut";
        let head = header.get(..19).ok_or(cut)?;
        let channels = usize::from(head[9]);
        let gain = f64::from(i16::from_le_bytes([head[16], head[17]])) / 256.0;
        let family = head[18];
        let (streams, coupled, mapping) = match (family, channels) {
            (0, 1 | 2) => (1, channels - 1, (0..channels as u8).collect()),
            (1, 1..=8) | (255, 1..=64) => {
                let tail = header.get(19..21 + channels).ok_or(cut)?;
                (usize::from(tail[0]), usize::from(tail[1]), tail[2..].to_vec())
            }
            _ => return Err(format!("Opus with {channels} channels of mapping family {family} is not read")),
        };
        if streams == 0 || coupled > streams || streams > 64 {
            return Err(format!("its Opus header has {streams} streams, {coupled} of two channels"));
        }
        let place = |index: u8| match usize::from(index) {
            255 => Ok(None),
            index if index < 2 * coupled => Ok(Some((index / 2, index % 2))),
            index if index < streams + coupled => Ok(Some((index - coupled, 0))),
            index => Err(format!("its Opus header names channel {index} of {}", streams + coupled)),
        };
        let decoder = |stream| {
            let channels = if stream < coupled { 2 } else { 1 };
            let decoder = voice_decoder(channels).map_err(|error| error.to_string())?;
            Ok((decoder, usize::from(channels), Vec::new()))
        };
        let order = |at: usize| if family == 1 { ORDER[channels - 1][at] } else { at };
        Ok(Self {
            streams: (0..streams).map(decoder).collect::<Result<_, String>>()?,
            channels: (0..channels).map(|at| place(mapping[order(at)])).collect::<Result<_, _>>()?,
            gain: 10_f64.powf(gain / 20.0),
            skip: u16::from_le_bytes([head[10], head[11]]).into(),
            samples: Vec::new(),
            packet: Vec::new(),
        })
    }

    /// The interleaved samples of a packet without so many frames at its end, nor those at the start of the stream that its
    /// header says. `None` if the packet is damaged.
    pub(crate) fn decode(&mut self, mut data: &[u8], trim_end: u64) -> Option<&[f64]> {
        let last = self.streams.len() - 1;
        let mut frames = usize::MAX;
        for (at, (decoder, channels, samples)) in self.streams.iter_mut().enumerate() {
            let packet = if at == last {
                data
            } else {
                let (len, field) = self_delimited(data)?;
                self.packet.clear();
                self.packet.extend(&data[..field.start]);
                self.packet.extend(&data[field.end..len]);
                data = &data[len..];
                &self.packet
            };
            samples.resize(packet_samples(packet)? * *channels, 0.0);
            let got = decoder.decode(packet, samples).ok()?;
            frames = frames.min(got / *channels);
        }
        let start = self.skip.min(frames);
        self.skip -= start;
        let end = frames.saturating_sub(usize::try_from(trim_end).unwrap_or(frames)).max(start);
        self.samples.clear();
        for frame in start..end {
            for place in &self.channels {
                let sample = place.map_or(0.0, |(stream, channel)| {
                    let (_, channels, samples) = &self.streams[stream];
                    f64::from(samples[frame * channels + channel])
                });
                self.samples.push(sample * self.gain);
            }
        }
        Some(&self.samples)
    }
}

/// Decodes the packets of an Ogg Vorbis stream.
pub(crate) struct Vorbis {
    ident: IdentHeader,
    setup: SetupHeader,
    window: PreviousWindowRight,
    samples: Vec<f64>,
}

/// Bytes of the first header of a Vorbis stream.
const IDENT: usize = 30;

impl Vorbis {
    /// Reads the first and the third header, one behind the other.
    pub(crate) fn new(headers: &[u8]) -> Result<Self, String> {
        let (ident, setup) = headers.split_at_checked(IDENT).ok_or("its Vorbis header is cut")?;
        let ident = read_header_ident(ident).map_err(|error| format!("its Vorbis header: {error}"))?;
        check_codebooks(setup).ok_or("its Vorbis set-up header is damaged, or asks for too much memory")?;
        let blocks = (ident.blocksize_0, ident.blocksize_1);
        let setup = read_header_setup(setup, ident.audio_channels, blocks);
        let setup = setup.map_err(|error| format!("its Vorbis set-up header: {error}"))?;
        Ok(Self { ident, setup, window: PreviousWindowRight::new(), samples: Vec::new() })
    }

    /// The interleaved samples that a packet completes, without so many frames at the start and the end. `None` if it is damaged.
    pub(crate) fn decode(&mut self, packet: &[u8], start: u64, end: u64) -> Option<&[f64]> {
        let Self { ident, setup, window, samples } = self;
        // The first packet completes nothing.
        let first = window.is_empty();
        let planes: Vec<Vec<f32>> = read_audio_packet_generic(ident, setup, packet, window).ok()?;
        samples.clear();
        let frames = planes.iter().map(Vec::len).min().unwrap_or(0);
        let start = if first { frames } else { usize::try_from(start).unwrap_or(frames) };
        let end = frames.saturating_sub(usize::try_from(end).unwrap_or(frames));
        let order = ORDER.get(planes.len() - 1).copied();
        for frame in start..end {
            for channel in 0..planes.len() {
                let plane = order.map_or(channel, |order| order[channel]);
                samples.push(planes[plane][frame].into());
            }
        }
        Some(samples)
    }
}

/// Entries that a codebook of Vorbis may have, values, and values of all codebooks together. libvorbis' own have a tenth.
const ENTRIES: u32 = 1 << 16;
const VALUES: u64 = 1 << 20;
const ALL_VALUES: u64 = 1 << 22;

/// Walks through the codebooks of a set-up header, whose reader makes room for as much as a few bits may say: Vorbis I, section
/// 3.2.1. `None` if that is too much, or nonsense.
fn check_codebooks(header: &[u8]) -> Option<()> {
    let mut bits = Bits { bytes: header.strip_prefix(b"\x05vorbis")?, at: 0 };
    let mut all = 0;
    for _ in 0..=bits.take(8)? {
        if bits.take(24)? != 0x56_4342 {
            return None;
        }
        let (dimensions, entries) = (bits.take(16)?, bits.take(24)?);
        let values = u64::from(dimensions) * u64::from(entries);
        all += values + u64::from(entries);
        if entries > ENTRIES || values > VALUES || all > ALL_VALUES {
            return None;
        }
        if bits.take(1)? == 1 {
            bits.take(5)?;
            let mut entry = 0;
            while entry < entries {
                entry += bits.take(u32::BITS - (entries - entry).leading_zeros())?;
            }
        } else {
            let sparse = bits.take(1)? == 1;
            for _ in 0..entries {
                if !sparse || bits.take(1)? == 1 {
                    bits.take(5)?;
                }
            }
        }
        let lookup = bits.take(4)?;
        if lookup > 2 {
            return None;
        }
        if lookup > 0 {
            bits.skip(64)?;
            let width = bits.take(4)? + 1;
            bits.take(1)?;
            let count = if lookup == 2 {
                values
            } else {
                // The largest root that fits.
                let fits =
                    |root: &u64| root.checked_pow(dimensions).is_some_and(|power| power <= entries.into());
                (0..=u64::from(entries)).take_while(|root| dimensions > 0 && fits(root)).last()?
            };
            bits.skip(count * u64::from(width))?;
        }
    }
    Some(())
}

/// Bits as Vorbis packs them: the lowest first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for bit in 0..count {
            let byte = self.bytes.get(usize::try_from(self.at / 8).ok()?)?;
            value |= u32::from(byte >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        Some(value)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.at = self.at.checked_add(count)?;
        (self.at <= self.bytes.len() as u64 * 8).then_some(())
    }
}

/// The length of a packet with others behind it, and where the length is that it would not have otherwise: RFC 6716, appendix B.
fn self_delimited(data: &[u8]) -> Option<(usize, core::ops::Range<usize>)> {
    /// A length of a frame at `at`, and where it ends.
    fn length(data: &[u8], at: usize) -> Option<(usize, usize)> {
        match usize::from(*data.get(at)?) {
            first @ ..252 => Some((first, at + 1)),
            first => Some((first + 4 * usize::from(*data.get(at + 1)?), at + 2)),
        }
    }
    let (mut at, mut frames, mut padding) = (1, 0, 0);
    // Frames without a length of their own are as long as the last one.
    let last_counts = match data.first()? & 3 {
        0 => 1,
        1 => 2,
        2 => {
            (frames, at) = length(data, at)?;
            1
        }
        _ => {
            let count = *data.get(1)?;
            at = 2;
            if count & 0x40 != 0 {
                loop {
                    let more = *data.get(at)?;
                    at += 1;
                    padding += usize::from(more.min(254));
                    if more != 255 {
                        break;
                    }
                }
            }
            let count_of_frames = usize::from(count & 63);
            if count & 0x80 == 0 {
                count_of_frames
            } else {
                for _ in 1..count_of_frames {
                    let (len, next) = length(data, at)?;
                    frames += len;
                    at = next;
                }
                1
            }
        }
    };
    let (last, end) = length(data, at)?;
    let len = end + frames + last * last_counts + padding;
    (len <= data.len()).then_some((len, at..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-51: RFC 6716, section 3.2 and appendix B: the second length is what the packet would not have otherwise.
    #[test]
    fn packets_with_others_behind_them_end_where_they_say() {
        // Codes 0 to 3; the last with a padding of two bytes and frames of their own lengths.
        let cases: [(&[u8], usize, core::ops::Range<usize>); 5] = [
            (&[0, 3, 1, 1, 1], 5, 1..2),
            (&[1, 2, 1, 1, 1, 1], 6, 1..2),
            (&[2, 1, 2, 1, 1, 1], 6, 2..3),
            (&[3, 0x80 | 0x40 | 2, 2, 1, 3, 1, 1, 1, 1, 0, 0], 11, 4..5),
            (&[3, 3, 1, 7, 7, 7], 6, 2..3),
        ];
        for (bytes, len, field) in cases {
            let behind = [bytes, &[9, 9]].concat();
            assert_eq!(self_delimited(&behind), Some((len, field)), "{bytes:?}");
            assert_eq!(self_delimited(&bytes[..len - 1]), None);
        }
        let long = [&[0, 253, 1][..], &[0; 257]].concat();
        assert_eq!(self_delimited(&long), Some((260, 1..3)));
    }

    /// F-50, F-51: a header of Opus in Ogg is believed only where its streams and channels fit together.
    #[test]
    fn headers_that_name_what_is_not_there_are_refused() {
        let header = |family: u8, channels: u8, rest: &[u8]| {
            let head = [&b"OpusHead\x01"[..], &[channels, 0, 0, 0, 0, 0, 0, 0, 0, family], rest].concat();
            OpusStreams::new(&head).map(|streams| streams.channels)
        };
        assert_eq!(header(0, 2, &[]).unwrap(), [Some((0, 0)), Some((0, 1))]);
        // 5.1: four streams, two of them with two channels, in the order of a WAV file.
        let surround = header(1, 6, &[4, 2, 0, 4, 1, 2, 3, 5]).unwrap();
        let expected = [(0, 0), (0, 1), (2, 0), (3, 0), (1, 0), (1, 1)];
        assert_eq!(surround, expected.map(Some));
        for (family, channels, rest) in [
            (0, 3, &[][..]),
            (1, 2, &[1]),
            (1, 2, &[1, 1, 0, 9]),
            (1, 2, &[0, 0, 0, 0]),
            (1, 9, &[]),
            (7, 1, &[]),
        ] {
            assert!(header(family, channels, rest).is_err(), "{family} {channels} {rest:?}");
        }
    }

    /// F-50: a few bits of a header ask for terabytes.
    #[test]
    fn codebooks_that_ask_for_too_much_are_refused() {
        // One codebook: dimensions, entries, ordered, a first length, all entries of that length, no values.
        let header = |dimensions: u32, entries: u32| {
            let mut bits = Vec::new();
            let mut put = |value: u32, count: u32| bits.extend((0..count).map(|bit| value >> bit & 1));
            put(0, 8);
            put(0x56_4342, 24);
            put(dimensions, 16);
            put(entries, 24);
            put(1, 1);
            put(3, 5);
            put(entries, u32::BITS - entries.leading_zeros());
            put(0, 4);
            let bytes =
                bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | *bit as u8));
            b"\x05vorbis".iter().copied().chain(bytes).collect::<Vec<u8>>()
        };
        assert_eq!(check_codebooks(&header(2, 16)), Some(()));
        assert_eq!(check_codebooks(&header(0xFFFF, 0xFF_FFFF)), None);
        assert_eq!(check_codebooks(&header(1, 0xFF_FFFF)), None);
        assert_eq!(check_codebooks(&header(2, 16)[..12]), None);
    }
}
