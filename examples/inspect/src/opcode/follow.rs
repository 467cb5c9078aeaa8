//! Conversations of opcode: a user with the server, and two users with each other.

use super::Opcode;
use crate::follow::{Follow, Follows, Names, Note, Opening, Position, Sender, Voice, readable};
use crate::protocol::{Problem, Protocol as _, Shown, Side, Stop};
use core::ops::Range;
use voxwire_core::{Framing as _, Message, Progress};
use voxwire_opcode::{DEFAULT_PORT, HEAD_LEN, Packet, Wire, voice};

pub(super) const FOLLOWS: Follows = Follows {
    tcp_port: Some(DEFAULT_PORT),
    udp_port: None,
    recognise,
    start: || Box::new(Conversation { opcode: Opcode::new(), user: None }),
};

#[derive(Debug)]
struct Conversation {
    opcode: Opcode,
    user: Option<String>,
}

/// Six of the eight bytes of a length are zero, and there are eleven opcodes.
fn recognise(opening: &Opening<'_>) -> Option<Sender> {
    let (head, opcode) = (opening.bytes.first_chunk()?, opening.bytes.get(8..HEAD_LEN)?);
    let is_packet = (2..1 << 16).contains(&u64::from_le_bytes(*head)) && opcode[0] <= 0x0b && opcode[1] == 0;
    (opening.is_tcp && is_packet && opcode[0] > 0).then_some(Sender::Either)
}

impl Follow for Conversation {
    fn cut(&mut self, _from: Side, unread: &[u8]) -> Result<(Option<Range<usize>>, usize), Stop> {
        match Wire::CLIENT.framing().next_frame(unread)? {
            Progress::Frame { header, body } => Ok((Some(header..header + body), header + body)),
            Progress::Skip(n) => Ok((None, n.get())),
            Progress::NeedMore(n) => Err(Stop::Short(n.get())),
        }
    }

    fn note(&mut self, _names: &mut Names, from: Side, message: &[u8]) -> Result<Note, Problem> {
        if let Some(data) = voice::data(message) {
            let (span, position) = (opus_duration(data), Position::Next);
            let voice = Some(Voice { speaker: 0, run: 0, position, span, unit: 1.0 });
            return Ok(Note { name: "VoiceData", voice });
        }
        let packet = Packet::decode(message, &self.opcode.wire)?;
        if let (Packet::Login { name }, Side::Client) = (&packet, from) {
            self.user = Some(readable(name.0));
        }
        Ok(Note::of(packet.name()))
    }

    fn show(&self, _from: Side, message: &[u8]) -> Result<Shown, Problem> {
        self.opcode.decode(message)
    }

    fn user(&self, side: Side) -> Option<&str> {
        self.user.as_deref().filter(|_| side == Side::Client)
    }

    fn speaker(&self, _names: &Names, from: Side, _speaker: u64) -> String {
        match (from, &self.user) {
            (Side::Client, Some(user)) => user.clone(),
            (Side::Server, Some(user)) => format!("to {user}"),
            (Side::Client, None) => "who connected".into(),
            (Side::Server, None) => "who listened".into(),
        }
    }
}

/// How long an Opus packet lasts, in nanoseconds, from its first two bytes: RFC 6716, 3.1.
fn opus_duration(packet: &[u8]) -> u64 {
    let Some(&toc) = packet.first() else { return 0 };
    let micros = match toc >> 3 {
        silk @ 0..=11 => [10_000, 20_000, 40_000, 60_000][usize::from(silk & 3)],
        hybrid @ 12..=15 => [10_000, 20_000][usize::from(hybrid & 1)],
        celt => [2500, 5000, 10_000, 20_000][usize::from(celt & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1).map_or(0, |count| count & 0x3f)),
    };
    micros * frames * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_09_the_duration_of_opus_packets_is_that_of_rfc_6716() {
        // SILK 60 ms; hybrid 20 ms; CELT 20 ms, twice 2.5 ms, and three times 5 ms; code 3 without a count.
        let packets: [(&[u8], u64); 6] = [
            (&[3 << 3], 60_000),
            (&[13 << 3], 20_000),
            (&[31 << 3], 20_000),
            (&[(28 << 3) | 1], 5000),
            (&[(29 << 3) | 3, 0x83], 15_000),
            (&[0xff], 0),
        ];
        for (packet, micros) in packets {
            assert_eq!(opus_duration(packet), micros * 1000, "{packet:02x?}");
        }
    }
}
