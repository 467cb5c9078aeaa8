//! echo's packets.
#![cfg(feature = "echo")]

use crate::explain::{Explainer, plain};
use crate::follow::{Follows, Names, Note};
use crate::protocol::{Entry, Fields, Problem, Protocol, Shown, Side, to_bytes};
use crate::tcp_udp::{self, Inner};
use serde_json::json;
use voxwire_core::Message;
use voxwire_echo::{DEFAULT_PORT, Packet};

pub(crate) const ENTRY: Entry =
    Entry { name: "echo", start: |_| Ok(Box::new(Echo)), follows: Some(&FOLLOWS) };

const FOLLOWS: Follows = Follows {
    tcp_port: Some(DEFAULT_PORT),
    udp_port: Some(DEFAULT_PORT),
    recognise: |opening| tcp_udp::recognise(opening, |packet| Packet::decode(packet, &()).is_ok()),
    start: || tcp_udp::follow(Echo),
};

impl Inner for Echo {
    fn note(&mut self, _names: &mut Names, _from: Side, packet: &[u8]) -> Result<Note, Problem> {
        let packet = Packet::decode(packet, &())?;
        Ok(Note::of(if packet.answer { "Answer" } else { "Request" }))
    }

    fn show(&self, _from: Side, packet: &[u8]) -> Result<Shown, Problem> {
        self.decode(packet)
    }
}

#[derive(Debug)]
struct Echo;

impl Protocol for Echo {
    fn decode(&self, bytes: &[u8]) -> Result<Shown, Problem> {
        // What follows the payload is another matter.
        let len = bytes.get(13..15).map_or(0, |len| usize::from(u16::from_be_bytes([len[0], len[1]])));
        let frame = bytes.get(..len + 15).unwrap_or(bytes);
        let packet = Packet::decode(frame, &())?;
        let Packet { answer, sequence, time, payload } = packet;
        let message = if answer { "Answer" } else { "Request" };
        let fields = json!({ "sequence": sequence, "time": time, "payload": hex::encode(payload) });
        Ok(Shown { message, length: frame.len(), fields, trailing: bytes.len() - frame.len() })
    }

    fn explain<'a>(&self, bytes: &'a [u8], shown: Option<&Shown>) -> Explainer<'a> {
        let mut explainer = Explainer::new(bytes, "echo");
        let _ = fields(&mut explainer, shown.map_or("", |shown| shown.message));
        explainer
    }

    fn encode(&self, message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
        let answer = match message {
            "Answer" => true,
            "Request" => false,
            other => return Err(format!("message: {other:?} found, expected Request or Answer")),
        };
        let payload = fields.bytes("payload")?;
        let (sequence, time) = (fields.number("sequence")?, fields.number("time")?);
        let packet = Packet { answer, sequence, time, payload: &payload };
        to_bytes(&packet, &())
    }
}

/// A row for each field.
fn fields(rows: &mut Explainer<'_>, message: &str) -> Option<()> {
    rows.number("Kind", 1, |_| message.into())?;
    rows.number("Sequence", 4, plain)?;
    rows.number("Time", 8, |_| "nanoseconds since 1970-01-01 UTC".into())?;
    let len = rows.number("Length", 2, |_| "bytes".into())?;
    rows.data("Payload", len, "").map(drop)
}
