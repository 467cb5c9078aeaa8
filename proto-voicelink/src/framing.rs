use crate::ByteOrder;
use crate::wire::{HEAD_LEN, MAX_CONTROL, MAX_DATA, MAX_FIRST, MAX_NAME, MAX_STRAY_DATA, kind};
use voxwire_core::{FrameError, LengthPrefix, Progress};

/// Cuts voicelink's byte stream into packets: a u32 Length that counts itself, of either byte order.
///
/// The limit depends on the kind of packet, which is known two bytes after the Length: 65 535 bytes for a connection's
/// first packet (its byte order shows below that), 4 KiB for later control packets, and what
/// [`set_max`](voxwire_core::Framing::set_max) says for Data: 65 535 outside a call, 1 MiB inside.
#[derive(Debug, Clone, Copy)]
pub struct Framing {
    order: Option<ByteOrder>,
    first: bool,
    max_first: usize,
    max_control: usize,
    max_data: usize,
}

impl Framing {
    /// A server's side: the byte order is that of the first packet. No packet may be larger than `max_frame`.
    pub fn server(max_frame: usize) -> Self {
        Self {
            order: None,
            first: true,
            max_first: MAX_FIRST.min(max_frame),
            max_control: MAX_CONTROL.min(max_frame),
            max_data: MAX_STRAY_DATA.min(max_frame),
        }
    }

    /// A client's side: the server answers in the client's order. A forwarded first packet may have grown by a name. No packet may be
    /// larger than `max_frame`.
    pub fn client(order: ByteOrder, max_frame: usize) -> Self {
        Self {
            order: Some(order),
            first: false,
            max_first: MAX_FIRST.min(max_frame),
            max_control: MAX_FIRST.saturating_add(MAX_NAME).min(max_frame),
            max_data: MAX_DATA.min(max_frame),
        }
    }

    /// A reader of recorded streams: any order's first packet, and nothing held back by state.
    pub const fn passive(order: Option<ByteOrder>) -> Self {
        Self {
            order,
            first: false,
            max_first: MAX_FIRST,
            max_control: MAX_FIRST.saturating_add(MAX_NAME),
            max_data: MAX_DATA,
        }
    }

    /// The byte order, once it is known.
    pub const fn order(&self) -> Option<ByteOrder> {
        self.order
    }
}

impl voxwire_core::Framing for Framing {
    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let Some(head) = unread.first_chunk::<4>() else {
            return Ok(Progress::need(HEAD_LEN.saturating_sub(unread.len())));
        };
        let order = match self.order {
            Some(order) => order,
            None => {
                let order = ByteOrder::detect(head).ok_or_else(|| undetected(*head))?;
                self.order = Some(order);
                order
            }
        };
        let little_endian = order == ByteOrder::LittleEndian;
        let length = if little_endian { u32::from_le_bytes(*head) } else { u32::from_be_bytes(*head) };
        let most = self.max_control.max(self.max_data);
        let max = match unread.get(4..HEAD_LEN) {
            _ if self.first => self.max_first,
            // Too large for any kind: the same error, however much of the head is there.
            _ if length as usize > most => most,
            None => most,
            Some(&[a, b]) => {
                let kind =
                    if little_endian { u16::from_le_bytes([a, b]) } else { u16::from_be_bytes([a, b]) };
                if kind == kind::DATA { self.max_data } else { self.max_control }
            }
            Some(_) => self.max_control,
        };
        let mut length = LengthPrefix { width: 4, little_endian, adjust: 0, min: HEAD_LEN, max };
        let progress = voxwire_core::Framing::next_frame(&mut length, unread)?;
        match progress {
            Progress::Frame { .. } => self.first = false,
            // The head alone first: it decides which limit holds.
            Progress::NeedMore(_) if unread.len() < HEAD_LEN => {
                return Ok(Progress::need(HEAD_LEN.saturating_sub(unread.len())));
            }
            _ => {}
        }
        Ok(progress)
    }

    fn check_len(&self, len: usize) -> Result<(), FrameError> {
        let max = if self.first { self.max_first } else { self.max_control.max(self.max_data) };
        if len > max { Err(FrameError::TooLarge { len: len as u64, max }) } else { Ok(()) }
    }

    fn set_max(&mut self, max: usize) {
        self.max_data = max;
    }
}

/// A first Length that is zero, or above 65 535 in either order.
#[cold]
fn undetected(head: [u8; 4]) -> FrameError {
    match u32::from_be_bytes(head).min(u32::from_le_bytes(head)) {
        0 => FrameError::TooShort { len: 0, min: HEAD_LEN },
        len => FrameError::TooLarge { len: len.into(), max: MAX_FIRST },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxwire_core::Framing as _;

    #[test]
    fn v_12_lengths_below_6_and_above_the_limit_are_refused_from_four_bytes() {
        for length in [0_u32, 1, 5] {
            for head in [length.to_be_bytes(), length.to_le_bytes()] {
                let error = Framing::server(MAX_DATA).next_frame(&head).unwrap_err();
                assert_eq!(error, FrameError::TooShort { len: length.into(), min: 6 });
            }
        }
        for length in [65_537_u32, 0x7fff_ffff, u32::MAX] {
            let error = Framing::server(MAX_DATA).next_frame(&length.to_be_bytes()).unwrap_err();
            assert!(matches!(error, FrameError::TooLarge { max: MAX_FIRST, .. }), "{length}: {error}");
        }
    }

    #[test]
    fn v_01_a_first_packet_of_65535_bytes_is_taken_a_later_one_is_held_to_4096() {
        let mut framing = Framing::server(MAX_DATA);
        let mut stream = std::vec![0_u8; 65_535];
        stream[..6].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 4]);
        assert_eq!(framing.next_frame(&stream), Ok(Progress::Frame { header: 0, body: 65_535 }));
        assert_eq!(
            framing.next_frame(&[0, 0, 0x10, 0x01, 0, 4]).unwrap_err(),
            FrameError::TooLarge { len: 4097, max: 4096 }
        );
        assert_eq!(framing.next_frame(&[0, 0, 0x10, 0x01, 0, 6]), Ok(Progress::need(4097 - 6)));
        assert!(framing.next_frame(&[0, 1, 0, 0, 0, 6]).is_err());
        framing.set_max(MAX_DATA);
        assert_eq!(framing.next_frame(&[0, 1, 0, 0, 0, 6]), Ok(Progress::need(65_536 - 6)));
    }

    #[test]
    fn the_order_of_the_first_packet_holds_for_the_connection() {
        let mut framing = Framing::server(MAX_DATA);
        assert_eq!(framing.next_frame(&[6, 0, 0, 0, 1, 0]), Ok(Progress::Frame { header: 0, body: 6 }));
        assert_eq!(framing.order(), Some(ByteOrder::LittleEndian));
        assert!(framing.next_frame(&[0, 0, 0, 6, 0, 1]).is_err());
    }
}
