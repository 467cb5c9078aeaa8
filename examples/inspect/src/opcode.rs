//! opcode's messages.

mod follow;

use crate::explain::{Explainer, plain};
use crate::protocol::{
    Cutter, Entry, Fields, Problem, Protocol, Shown, frame_cutter, show_text, to_bytes, unknown,
};
use serde_json::{Value, json};
use voxwire_core::{List, Message};
use voxwire_opcode::{CLIENT_LIMITS, CallRequest, Packet, Text, Wire};

pub(crate) const ENTRY: Entry =
    Entry { name: "opcode", start: |_| Ok(Box::new(Opcode::new())), follows: Some(&follow::FOLLOWS) };

#[derive(Debug)]
struct Opcode {
    wire: Wire,
}

impl Opcode {
    /// Shows all that the format allows, also what a server would find too large.
    const fn new() -> Self {
        let limits = voxwire_core::Limits {
            max_frame: u32::MAX as usize,
            max_text: u32::MAX as usize,
            max_items: u32::MAX as usize,
            ..CLIENT_LIMITS
        };
        Self { wire: Wire { limits, max_voice: u32::MAX as usize } }
    }
}

impl Protocol for Opcode {
    fn decode(&self, bytes: &[u8]) -> Result<Shown, Problem> {
        // What follows the packet's own length is another matter; what is too short or too long is the codec's.
        let length = bytes.first_chunk().map(|head| u64::from_le_bytes(*head)).filter(|length| *length >= 2);
        let end = length.and_then(|length| usize::try_from(length.checked_add(8)?).ok());
        let frame = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
        let packet = Packet::decode(frame, &self.wire)?;
        // Bytes behind the last field are ignored, whether the packet's length counts them or not.
        let length = packet.encoded_len(&self.wire)?;
        let fields = match packet {
            Packet::HelloConnect | Packet::LoginSuccess | Packet::ConnectionEstablished => json!({}),
            Packet::Login { name } => json!({ "name": show_text(name.0) }),
            Packet::LoginFailed { reason } => json!({ "reason": show_text(reason.0) }),
            Packet::ErrorResponse { what } => json!({ "what": show_text(what.0) }),
            Packet::CallRefused { contact } => json!({ "contact": show_text(contact.0) }),
            Packet::CallRequest(CallRequest { contact, host, port }) => {
                json!({ "contact": show_text(contact.0), "host": show_text(host.0), "port": port })
            }
            Packet::AddContact { contacts } | Packet::DelContact { contacts } => {
                let names: Value = contacts.iter().map(|name| show_text(name.0)).collect();
                json!({ "contacts": names })
            }
            Packet::VoiceData(data) => json!({ "data": hex::encode(data) }),
        };
        Ok(Shown { message: packet.name(), length, fields, trailing: bytes.len().saturating_sub(length) })
    }

    fn explain<'a>(&self, bytes: &'a [u8], shown: Option<&Shown>) -> Explainer<'a> {
        let mut explainer = Explainer::new(bytes, "On the wire").little_endian(true);
        let _ = fields(&mut explainer, shown.map_or("", |shown| shown.message));
        explainer
    }

    fn encode(&self, message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
        let (text, host, data, names): (Vec<u8>, Vec<u8>, Vec<u8>, Vec<Vec<u8>>);
        let list: Vec<Text<'_>>;
        let packet = match message {
            "HelloConnect" => Packet::HelloConnect,
            "LoginSuccess" => Packet::LoginSuccess,
            "ConnectionEstablished" => Packet::ConnectionEstablished,
            "Login" => {
                text = fields.text("name")?;
                Packet::Login { name: Text(&text) }
            }
            "LoginFailed" => {
                text = fields.text("reason")?;
                Packet::LoginFailed { reason: Text(&text) }
            }
            "ErrorResponse" => {
                text = fields.text("what")?;
                Packet::ErrorResponse { what: Text(&text) }
            }
            "CallRefused" => {
                text = fields.text("contact")?;
                Packet::CallRefused { contact: Text(&text) }
            }
            "CallRequest" => {
                (text, host) = (fields.text("contact")?, fields.text("host")?);
                let port = fields.number("port")?;
                Packet::CallRequest(CallRequest { contact: Text(&text), host: Text(&host), port })
            }
            "VoiceData" => {
                data = fields.bytes("data")?;
                Packet::VoiceData(&data)
            }
            "AddContact" | "DelContact" => {
                let found = fields.value("contacts")?;
                let items = found.as_array();
                let items =
                    items.ok_or_else(|| format!("fields.contacts: {found} found, expected a list"))?;
                let name = |item| Fields(&json!({ "contacts": item })).text("contacts");
                names = items.iter().map(name).collect::<Result<_, _>>()?;
                list = names.iter().map(|name| Text(name)).collect();
                let contacts = List::from(&list[..]);
                if message == "AddContact" {
                    Packet::AddContact { contacts }
                } else {
                    Packet::DelContact { contacts }
                }
            }
            other => {
                let names = "HelloConnect, Login, LoginSuccess, LoginFailed, AddContact, CallRequest, VoiceData, \
                    ErrorResponse, CallRefused, DelContact or ConnectionEstablished";
                return Err(unknown(other, names));
            }
        };
        to_bytes(&packet, &self.wire)
    }

    fn cutter(&self) -> Cutter {
        frame_cutter(Wire::CLIENT.framing())
    }
}

/// A row for each field.
fn fields(rows: &mut Explainer<'_>, message: &str) -> Option<()> {
    let length = rows.number("length", 8, |_| "bytes of what follows it".into())?;
    rows.end_at(length.checked_add(8)?);
    let opcode = rows.number("opcode", 2, |_| message.into())?;
    match opcode {
        0x02 => text(rows, "name"),
        0x04 => text(rows, "reason"),
        0x08 => text(rows, "what"),
        0x09 => text(rows, "contact"),
        0x06 => {
            text(rows, "contact")?;
            text(rows, "host")?;
            rows.number("port", 2, plain).map(drop)
        }
        0x05 | 0x0a => {
            let count = rows.number("count of contacts", 8, |_| "elements".into())?;
            (0..count).try_for_each(|_| text(rows, "contacts"))
        }
        0x07 => {
            let len = rows.number("count of data", 8, |_| "bytes".into())?;
            rows.data("data", len, "one Opus packet").map(drop)
        }
        _ => Some(()),
    }
}

fn text(rows: &mut Explainer<'_>, field: &'static str) -> Option<()> {
    let len = rows.number(format!("count of {field}"), 8, |_| "bytes".into())?;
    rows.text(field, len, "").map(drop)
}
