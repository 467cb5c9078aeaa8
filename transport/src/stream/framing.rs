//! How frames lie in a byte stream.

use crate::tcp_udp::{MAX_CONTROL, MAX_UNIT, put_unit_head, unit};
use core::time::Duration;
use voxwire_core::bytes::BufMut;
use voxwire_core::{FrameError, Framing, Lane, Progress};

/// Cuts the byte stream of a connection into frames.
#[derive(Debug)]
pub(crate) enum StreamFraming<F> {
    /// By the session's framing.
    Session(F),
    /// Into units: a u16 length, a kind, then the frame. The session's framing checks the frame.
    Units {
        framing: F,
        /// The kind of the last unit.
        kind: Kind,
    },
}

/// What a unit or frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Frame(Lane),
    Control,
}

impl<F: Framing> StreamFraming<F> {
    pub(crate) const fn units(framing: F) -> Self {
        Self::Units { framing, kind: Kind::Frame(Lane::Reliable) }
    }

    /// What the last unit or frame holds.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Session(_) => Kind::Frame(Lane::Reliable),
            Self::Units { kind, .. } => *kind,
        }
    }

    /// Appends the bytes before a frame.
    pub(crate) fn put_head(&self, lane: Lane, frame: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Session(framing) => framing.put_header(frame, out),
            Self::Units { .. } => {
                let kind = if lane == Lane::Droppable { unit::DROPPABLE } else { unit::RELIABLE };
                put_unit_head(kind, frame.len(), out);
            }
        }
    }

    /// Whether a frame can be sent on this stream.
    pub(crate) fn fits(&self, frame: &[u8]) -> bool {
        match self {
            Self::Session(framing) => framing.takes(frame),
            Self::Units { .. } => frame.len() <= MAX_UNIT,
        }
    }
}

impl<F: Framing> Framing for StreamFraming<F> {
    fn next_frame(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let (framing, last) = match self {
            Self::Session(framing) => return framing.next_frame(unread),
            Self::Units { framing, kind } => (framing, kind),
        };
        let Some((len, rest)) = unread.split_first_chunk::<2>() else {
            return Ok(Progress::need(2_usize.saturating_sub(unread.len())));
        };
        let len = usize::from(u16::from_be_bytes(*len));
        let Some(body) = len.checked_sub(1) else { return Err(FrameError::TooShort { len: 0, min: 1 }) };
        // The head alone first: no memory is set aside for a frame that is too long.
        let Some((&kind, rest)) = rest.split_first() else { return Ok(Progress::need(1)) };
        let kind = match kind {
            unit::CONTROL => Kind::Control,
            unit::DROPPABLE => Kind::Frame(Lane::Droppable),
            _ => Kind::Frame(Lane::Reliable),
        };
        match kind {
            Kind::Frame(_) => framing.check_len(body)?,
            Kind::Control if body > MAX_CONTROL => {
                return Err(FrameError::TooLarge { len: body as u64, max: MAX_CONTROL });
            }
            Kind::Control => {}
        }
        let Some(frame) = rest.get(..body) else {
            return Ok(Progress::need(body.saturating_sub(rest.len())));
        };
        if kind != Kind::Control {
            framing.next_frame(frame)?;
        }
        *last = kind;
        Ok(Progress::Frame { header: 3, body })
    }

    fn is_stream(&self) -> bool {
        match self {
            Self::Session(framing) => framing.is_stream(),
            Self::Units { .. } => true,
        }
    }

    fn check_len(&self, len: usize) -> Result<(), FrameError> {
        match self {
            Self::Session(framing) | Self::Units { framing, .. } => framing.check_len(len),
        }
    }

    fn set_max(&mut self, max: usize) {
        match self {
            Self::Session(framing) | Self::Units { framing, .. } => framing.set_max(max),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::Session(framing) => framing.is_ready(),
            Self::Units { .. } => true,
        }
    }

    fn announces(&self) -> bool {
        match self {
            Self::Session(framing) => framing.announces(),
            Self::Units { .. } => true,
        }
    }

    fn silence(&self) -> Option<Duration> {
        match self {
            Self::Session(framing) => framing.silence(),
            Self::Units { .. } => None,
        }
    }

    fn answers_only(&self) -> bool {
        match self {
            Self::Session(framing) => framing.answers_only(),
            Self::Units { .. } => false,
        }
    }

    fn probe(&mut self) -> bool {
        match self {
            Self::Session(framing) => framing.probe(),
            Self::Units { .. } => false,
        }
    }

    fn take_answered(&mut self) -> u32 {
        match self {
            Self::Session(framing) => framing.take_answered(),
            Self::Units { .. } => 0,
        }
    }

    fn is_waiting(&self) -> bool {
        match self {
            Self::Session(framing) => framing.is_waiting(),
            Self::Units { .. } => false,
        }
    }

    fn take_pending(&mut self, out: &mut impl BufMut) -> usize {
        match self {
            Self::Session(framing) => framing.take_pending(out),
            Self::Units { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp_udp::{Control, control_unit};
    use voxwire_core::{Datagram, LengthPrefix};

    /// C-06: a unit that is too long for the session, and a control that is too long, are refused at their heads.
    #[test]
    fn c_06_a_unit_that_is_too_long_is_refused_at_its_head() {
        let prefix = LengthPrefix { width: 4, little_endian: false, adjust: 0, min: 4, max: 9 };
        let too_large = |len| Err(FrameError::TooLarge { len, max: 9 });
        for (head, result) in [
            ([0, 11, 0], too_large(10)),
            ([255, 255, 1], too_large(65_534)),
            ([0, 11, 2], Ok(Progress::need(10))),
            ([1, 0, 2], Ok(Progress::need(255))),
            ([1, 1, 2], Err(FrameError::TooLarge { len: 256, max: 255 })),
            ([0, 10, 0], Ok(Progress::need(9))),
        ] {
            assert_eq!(StreamFraming::units(Datagram { max: 9 }).next_frame(&head), result, "{head:?}");
            assert_eq!(StreamFraming::units(prefix).next_frame(&head), result, "{head:?}");
        }
    }

    #[test]
    fn d_15_units_are_cut_and_checked() {
        let mut framing = StreamFraming::units(Datagram { max: 4 });
        assert_eq!(framing.next_frame(&[0]), Ok(Progress::need(1)));
        assert_eq!(framing.next_frame(&[0, 4]), Ok(Progress::need(1)));
        assert_eq!(framing.next_frame(&[0, 4, 0, 7]), Ok(Progress::need(2)));
        assert_eq!(framing.next_frame(&[0, 4, 1, 7, 8, 9, 0]), Ok(Progress::Frame { header: 3, body: 3 }));
        assert!(framing.next_frame(&[0, 0]).is_err());
        assert!(framing.next_frame(&[0, 6, 0, 1, 2, 3, 4, 5]).is_err());
        let mut out = Vec::new();
        framing.put_head(Lane::Droppable, &[0; 300], &mut out);
        out.extend(control_unit(Control::Confirm([5; 8])));
        assert_eq!(out, [1, 45, 1, 0, 10, 2, 1, 5, 5, 5, 5, 5, 5, 5, 5]);
    }
}
