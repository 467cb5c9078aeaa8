//! Conversations of voicelink: a connection for each user, in its user's byte order.

use super::Voicelink;
use crate::follow::{Follow, Follows, Names, Note, Opening, Position, Sender, Voice, readable};
use crate::protocol::{Problem, Protocol as _, Shown, Side, Stop};
use core::ops::Range;
use voxwire_core::{Framing as _, Message, Progress};
use voxwire_voicelink::{
    ByteOrder, DEFAULT_PORT, Framing, HEAD_LEN, Handshake, Packet, Parameters, Registration,
};

pub(super) const FOLLOWS: Follows = Follows {
    tcp_port: Some(DEFAULT_PORT),
    udp_port: None,
    recognise,
    start: || Box::new(Conversation { order: ByteOrder::BigEndian, parameters: None, user: None }),
};

#[derive(Debug)]
struct Conversation {
    order: ByteOrder,
    parameters: Option<Parameters>,
    user: Option<String>,
}

/// A packet of either byte order, whose head and fields are those of its type.
fn recognise(opening: &Opening<'_>) -> Option<Sender> {
    let (head, order) = (opening.bytes.get(..HEAD_LEN)?, ByteOrder::detect(opening.bytes)?);
    let little = order == ByteOrder::LittleEndian;
    let length = usize::try_from(u32_of(head, little)).ok()?;
    let kind = match little {
        true => u16::from_le_bytes([head[4], head[5]]),
        false => u16::from_be_bytes([head[4], head[5]]),
    };
    let whole = opening.bytes.get(..length);
    let is_packet = match (kind, whole) {
        (0..=5, Some(packet)) => Packet::decode(packet, &Voicelink::new(order).wire).is_ok(),
        // Audio, of which the rest may come later.
        (6, _) => length > HEAD_LEN && length % 2 == 0,
        _ => false,
    };
    (opening.is_tcp && is_packet).then_some(Sender::Either)
}

fn u32_of(head: &[u8], is_little_endian: bool) -> u32 {
    let head = head.first_chunk().copied().unwrap_or_default();
    if is_little_endian { u32::from_le_bytes(head) } else { u32::from_be_bytes(head) }
}

impl Follow for Conversation {
    fn cut(&mut self, _from: Side, unread: &[u8]) -> Result<(Option<Range<usize>>, usize), Stop> {
        if self.parameters.is_none() && self.user.is_none() {
            self.order = ByteOrder::detect(unread).unwrap_or(self.order);
        }
        match Framing::passive(Some(self.order)).next_frame(unread)? {
            Progress::Frame { header, body } => Ok((Some(header..header + body), header + body)),
            Progress::Skip(n) => Ok((None, n.get())),
            Progress::NeedMore(n) => Err(Stop::Short(n.get())),
        }
    }

    fn wire(&self) -> Option<&'static str> {
        Some(match self.order {
            ByteOrder::BigEndian => "big-endian",
            ByteOrder::LittleEndian => "little-endian",
        })
    }

    fn note(&mut self, _names: &mut Names, from: Side, message: &[u8]) -> Result<Note, Problem> {
        let packet = Packet::decode(message, &Voicelink::new(self.order).wire)?;
        let mut note = Note::of(packet.name());
        match packet {
            Packet::Handshake(Handshake { parameters, user_name, optional }) => {
                self.parameters = Some(parameters);
                if from == Side::Client && user_name.is_empty() {
                    self.user = Some(readable(Registration::parse(optional).name));
                }
            }
            Packet::Parameters { parameters, .. } => self.parameters = Some(parameters),
            Packet::Data(data) => {
                let rate = self.parameters.map_or(0, |parameters| parameters.bytes_per_second());
                let unit = if rate > 0 { 1e9 / rate as f64 } else { 0.0 };
                let (span, position) = (data.len() as u64, Position::Next);
                note.voice = Some(Voice { speaker: 0, run: 0, position, span, unit });
            }
            _ => {}
        }
        Ok(note)
    }

    fn show(&self, _from: Side, message: &[u8]) -> Result<Shown, Problem> {
        Voicelink::new(self.order).decode(message)
    }

    fn user(&self, side: Side) -> Option<&str> {
        self.user.as_deref().filter(|_| side == Side::Client)
    }

    fn speaker(&self, _names: &Names, from: Side, _speaker: u64) -> String {
        match (from, &self.user) {
            (Side::Client, Some(user)) => user.clone(),
            (Side::Server, Some(user)) => format!("to {user}"),
            _ => "?".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// C-17: vectors tell the byte order of the conversation that they are from.
    #[test]
    fn c_17_vectors_have_the_byte_order_of_their_conversation() {
        for (close, wire) in [("000000060004", "big-endian"), ("060000000400", "little-endian")] {
            let mut conversation = (FOLLOWS.start)();
            conversation.cut(Side::Client, &hex::decode(close).unwrap()).unwrap();
            assert_eq!(conversation.wire(), Some(wire));
        }
    }
}
