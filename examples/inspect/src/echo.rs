//! echo's packets.
#![cfg(feature = "echo")]

use crate::explain::{Explainer, plain};
use crate::follow::Follows;
use crate::protocol::{Entry, Fields, Problem, Protocol, Shown, to_bytes, unknown};
use crate::tcp_udp::{Stateless, follow, follows, recognise};
use serde_json::json;
use voxwire_core::Message;
use voxwire_echo::{DEFAULT_PORT, Packet};

pub(crate) const ENTRY: Entry =
    Entry { name: "echo", start: |_| Ok(Box::new(Echo)), follows: Some(&FOLLOWS) };

const FOLLOWS: Follows = follows(
    DEFAULT_PORT,
    |opening| recognise(opening, |packet| Packet::decode(packet, &()).is_ok()),
    || follow(Stateless(Echo)),
);

#[derive(Debug)]
struct Echo;

impl Protocol for Echo {
    fn decode(&self, bytes: &[u8]) -> Result<Shown, Problem> {
        let Packet { answer, sequence, payload } = Packet::decode(bytes, &())?;
        let message = if answer { "Answer" } else { "Request" };
        let fields = json!({ "sequence": sequence, "payload": hex::encode(payload) });
        Ok(Shown { message, length: bytes.len(), fields, trailing: 0 })
    }

    fn explain<'a>(&self, bytes: &'a [u8], shown: Option<&Shown>) -> Explainer<'a> {
        let mut rows = Explainer::new(bytes, "On the wire");
        let message = shown.map_or("", |shown| shown.message);
        let head = rows.number("Kind", 1, |_| message.into()).and_then(|_| rows.number("Sequence", 4, plain));
        head.and_then(|_| rows.data("Payload", rows.left() as u64, ""));
        rows
    }

    fn encode(&self, message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
        let answer = match message {
            "Answer" => true,
            "Request" => false,
            other => return Err(unknown(other, "Request or Answer")),
        };
        let (sequence, payload) = (fields.number("sequence")?, fields.bytes("payload")?);
        to_bytes(&Packet { answer, sequence, payload: &payload }, &())
    }
}
