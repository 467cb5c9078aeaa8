//! What was said, as it came, and where it belongs in time.

use core::time::Duration;
use voxwire_audio::{SampleFormat, SampleOrder};

/// Frames a second of Opus.
pub(super) const OPUS_RATE: u32 = voxwire_audio::OPUS_RATE;

/// How the samples of a track are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pcm {
    pub(crate) rate: u32,
    pub(crate) channels: u16,
    pub(crate) format: SampleFormat,
    pub(crate) order: SampleOrder,
}

/// What was said, as it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said<'a> {
    /// One packet, of a stream of so many channels, and its number where packets have one.
    Opus { packet: &'a [u8], channels: u8, sequence: Option<u16> },
    /// Samples.
    Pcm { pcm: Pcm, bytes: &'a [u8] },
}

/// The same, to be kept.
#[derive(Debug)]
pub(super) enum Sound {
    Opus { packet: Box<[u8]>, channels: u8, sequence: Option<u16> },
    Pcm { pcm: Pcm, bytes: Box<[u8]> },
}

/// What of a sound one file can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Opus { channels: u8 },
    Pcm(Pcm),
}

impl From<Said<'_>> for Sound {
    fn from(said: Said<'_>) -> Self {
        match said {
            Said::Opus { packet, channels, sequence } => {
                Self::Opus { packet: packet.into(), channels, sequence }
            }
            Said::Pcm { pcm, bytes } => Self::Pcm { pcm, bytes: bytes.into() },
        }
    }
}

impl Sound {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Opus { packet, .. } => packet,
            Self::Pcm { bytes, .. } => bytes,
        }
    }

    pub(super) fn sequence(&self) -> Option<u16> {
        match self {
            Self::Opus { sequence, .. } => *sequence,
            Self::Pcm { .. } => None,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Opus { channels, .. } => Kind::Opus { channels: *channels },
            Self::Pcm { pcm, .. } => Kind::Pcm(*pcm),
        }
    }

    /// Frames of it; `None` for what is no sound of its kind.
    pub(super) fn frames(&self) -> Option<u64> {
        match self {
            Self::Opus { packet, .. } => Some(voxwire_audio::packet_samples(packet)? as u64),
            Self::Pcm { pcm, bytes } => {
                Some((bytes.len() / pcm.frame_size()) as u64).filter(|frames| *frames > 0)
            }
        }
    }
}

impl Pcm {
    /// Bytes of one sample of all channels.
    pub(super) fn frame_size(&self) -> usize {
        usize::from(self.channels.max(1)) * self.format.size()
    }
}

impl Kind {
    pub(super) fn rate(&self) -> u32 {
        match self {
            Self::Opus { .. } => OPUS_RATE,
            Self::Pcm(pcm) => pcm.rate,
        }
    }
}

/// Silence is put in where a piece comes so much later than those before it would have it: later than a network delays.
const BREAK: Duration = Duration::from_millis(120);
/// What comes so much earlier than it can be played is left out: its sender sends faster than it speaks.
const AHEAD: Duration = Duration::from_secs(1);
/// A number so long after the last one is of another stream.
const RESTART: Duration = Duration::from_secs(2);

/// Where the pieces of a track belong.
#[derive(Debug)]
pub(super) struct Timeline {
    rate: u32,
    /// Frames so far.
    end: u64,
    last: Option<u16>,
    begun: bool,
}

impl Timeline {
    pub(super) const fn new(rate: u32) -> Self {
        Self { rate, end: 0, last: None, begun: false }
    }

    /// Frames at a time.
    pub(super) fn frames(&self, at: Duration) -> u64 {
        u64::try_from(at.as_nanos() * u128::from(self.rate) / 1_000_000_000).unwrap_or(u64::MAX)
    }

    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Takes a piece of so many frames that came at that time. Returns how many frames of silence come before it; `None` if it has no
    /// place any more.
    pub(super) fn place(&mut self, at: Duration, frames: u64, sequence: Option<u16>) -> Option<u64> {
        let arrival = self.frames(at);
        let late = arrival.saturating_sub(self.end);
        if self.end.saturating_sub(arrival) > self.frames(AHEAD) {
            return None;
        }
        let missing = match (sequence, self.last) {
            (Some(number), Some(last)) if late < self.frames(RESTART) => {
                // One that another overtook, or came before.
                let ahead = number.wrapping_sub(last).checked_sub(1).filter(|ahead| *ahead < 0x8000)?;
                u64::from(ahead) * frames
            }
            _ => 0,
        };
        let gap = match late > self.frames(BREAK) || !self.begun {
            true => late,
            // What is missing was lost, as far as there was time for it.
            false => missing.min(late + self.frames(BREAK)),
        };
        (self.last, self.begun) = (sequence, true);
        Some(gap)
    }

    /// So many frames are written.
    pub(super) fn advance(&mut self, frames: u64) {
        self.end = self.end.saturating_add(frames);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FRAME: u64 = 960;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// C-45: pieces follow each other through jitter, what was lost or not said is silence, and what is too early is left out.
    #[test]
    fn c_45_a_track_follows_time() {
        let mut line = Timeline::new(OPUS_RATE);
        let mut put = |at, sequence| {
            let gap = line.place(ms(at), FRAME, sequence);
            line.advance(gap.map_or(0, |gap| gap + FRAME));
            gap
        };
        // Behind the beginning of the recording.
        assert_eq!(put(1000, Some(7)), Some(48_000));
        // Early, late and on time: no matter.
        assert_eq!([put(1005, Some(8)), put(1070, Some(9)), put(1071, Some(10))], [Some(0); 3]);
        // Once more, and overtaken.
        assert_eq!([put(1080, Some(10)), put(1080, Some(8))], [None, None]);
        // Two are lost.
        assert_eq!(put(1120, Some(13)), Some(2 * FRAME));
        // The numbers jump, and the time does not: what was missing was not for us.
        assert_eq!(put(1140, Some(2000)), Some(48 * 120));
        // A pause. From 1000 on nine frames and the jump have gone by.
        assert!(put(3000, Some(2001)).is_some_and(|gap| gap > 48 * 1500));
        // It joins again: other numbers.
        assert!(put(9000, Some(3)).is_some_and(|gap| gap > 48 * 5000));
        // A second in an instant, and no more.
        let taken = (4..200).filter(|number| put(9020, Some(*number)).is_some()).count();
        assert_eq!(taken, 51);
    }
}
