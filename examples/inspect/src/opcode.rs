//! opcode's messages.

use crate::protocol::{Cutter, Entry, Fields, Protocol, Shown, frame_cutter, message_name, show_text};
use serde_json::{Value, json};
use voxwire_core::{List, Message};
use voxwire_opcode::{CLIENT_LIMITS, CallRequest, Packet, Text, Wire};

pub(crate) const ENTRY: Entry = Entry { name: "opcode", start: |_| Ok(Box::new(Opcode::new())) };

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
    fn decode(&self, bytes: &[u8]) -> Result<Shown, String> {
        // What follows the packet's own length is another matter; what is too short or too long is the codec's.
        let length = bytes.first_chunk().map(|head| u64::from_le_bytes(*head)).filter(|length| *length >= 2);
        let end = length.and_then(|length| usize::try_from(length.checked_add(8)?).ok());
        let frame = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
        let packet = Packet::decode(frame, &self.wire).map_err(|error| error.to_string())?;
        // Bytes behind the last field are ignored, whether the packet's length counts them or not.
        let length = packet.encoded_len(&self.wire).map_err(|error| error.to_string())?;
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

    fn encode(&self, object: &Value) -> Result<Vec<u8>, String> {
        let message = message_name(object)?;
        let nothing = json!({});
        let fields = Fields(object.get("fields").unwrap_or(&nothing));
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
                return Err(format!("message: {other:?} found, expected {names}"));
            }
        };
        let mut frame = Vec::new();
        packet.encode(&self.wire, &mut frame).map_err(|error| error.to_string())?;
        Ok(frame)
    }

    fn cutter(&self) -> Cutter {
        frame_cutter(Wire::CLIENT.framing())
    }
}
