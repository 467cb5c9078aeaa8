//! voicelink's messages.

mod follow;

use crate::explain::{Explainer, plain};
use crate::protocol::{
    Cutter, Entry, Fields, Order, Problem, Protocol, Shown, frame_cutter, show_text, to_bytes, unknown,
};
use serde_json::{Value, json};
use voxwire_core::Message;
use voxwire_voicelink::{ByteOrder, Format, Framing, Handshake, LIMITS, Packet, Parameters, Wire};

pub(crate) const ENTRY: Entry = Entry {
    name: "voicelink",
    start: |dialect| {
        Ok(Box::new(Voicelink::new(match dialect.byte_order {
            Order::Be => ByteOrder::BigEndian,
            Order::Le => ByteOrder::LittleEndian,
        })))
    },
    follows: Some(&follow::FOLLOWS),
};

#[derive(Debug)]
struct Voicelink {
    wire: Wire,
}

impl Voicelink {
    /// Shows all that the format allows, also what a server would find too large.
    const fn new(order: ByteOrder) -> Self {
        let limits =
            voxwire_core::Limits { max_frame: u32::MAX as usize, max_text: u16::MAX as usize, ..LIMITS };
        Self { wire: Wire { limits, ..Wire::new(order) } }
    }
}

impl Protocol for Voicelink {
    fn decode(&self, bytes: &[u8]) -> Result<Shown, Problem> {
        let length = bytes.first_chunk().map(|head| match self.wire.order {
            ByteOrder::BigEndian => u32::from_be_bytes(*head),
            ByteOrder::LittleEndian => u32::from_le_bytes(*head),
        });
        // What follows the packet's own length is another matter; what is too short or too long is the codec's.
        let end = length.and_then(|length| usize::try_from(length).ok()).filter(|&length| length >= 6);
        let frame = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
        let packet = Packet::decode(frame, &self.wire)?;
        let fields = match packet {
            Packet::Handshake(Handshake { parameters, user_name, optional }) => {
                let mut fields = show_parameters(parameters);
                fields["user_name"] = show_text(user_name);
                fields["optional_data"] = hex::encode(optional).into();
                fields
            }
            Packet::UserNotFound => json!({}),
            Packet::Parameters { parameters, optional } => {
                let mut fields = show_parameters(parameters);
                fields["optional_data"] = hex::encode(optional).into();
                fields
            }
            Packet::Close { optional } | Packet::Accept { optional } | Packet::Drop { optional } => {
                json!({ "optional_data": hex::encode(optional) })
            }
            Packet::Data(data) => json!({ "data": hex::encode(data) }),
        };
        Ok(Shown { message: packet.name(), length: frame.len(), fields, trailing: bytes.len() - frame.len() })
    }

    fn explain<'a>(&self, bytes: &'a [u8], shown: Option<&Shown>) -> Explainer<'a> {
        let is_little_endian = self.wire.order == ByteOrder::LittleEndian;
        let mut explainer = Explainer::new(bytes, "On the wire").little_endian(is_little_endian);
        let _ = fields(&mut explainer, shown.map_or("", |shown| shown.message));
        explainer
    }

    fn encode(&self, message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
        let (optional, data, name);
        let packet = match message {
            "Handshake" => {
                (name, optional) = (fields.text("user_name")?, fields.bytes("optional_data")?);
                let parameters = read_parameters(fields)?;
                Packet::Handshake(Handshake { parameters, user_name: &name, optional: &optional })
            }
            "UserNotFound" => Packet::UserNotFound,
            "Data" => {
                data = fields.bytes("data")?;
                Packet::Data(&data)
            }
            "Parameters" | "Close" | "Accept" | "Drop" => {
                optional = fields.bytes("optional_data")?;
                let optional = &optional;
                match message {
                    "Parameters" => Packet::Parameters { parameters: read_parameters(fields)?, optional },
                    "Close" => Packet::Close { optional },
                    "Accept" => Packet::Accept { optional },
                    _ => Packet::Drop { optional },
                }
            }
            other => {
                let names = "Handshake, UserNotFound, Parameters, Close, Accept, Drop or Data";
                return Err(unknown(other, names));
            }
        };
        to_bytes(&packet, &self.wire)
    }

    fn cutter(&self) -> Cutter {
        frame_cutter(Framing::passive(Some(self.wire.order)))
    }
}

/// A row for each field.
fn fields(rows: &mut Explainer<'_>, message: &str) -> Option<()> {
    let length = rows.number("Length", 4, |_| "bytes of the packet, itself included".into())?;
    rows.end_at(length);
    let kind = rows.number("Message Type", 2, |_| message.into())?;
    let is_handshake = kind == 0 && rows.left() > 0;
    if is_handshake || kind == 2 {
        rows.number("Sample Rate", 4, |_| "Hz".into())?;
        rows.number("Channels Count", 2, plain)?;
        let format = |value| u8::try_from(value).ok().and_then(Format::from_wire).map_or("", Format::name);
        rows.number("Format Type", 1, |value| format(value).into())?;
        rows.number("Chunk Size", 4, |_| "frames".into())?;
    }
    if is_handshake {
        let len = rows.number("Username Length", 2, |_| "bytes".into())?;
        rows.text("Username", len, if len == 0 { "empty: registers" } else { "" })?;
        if len == 0 {
            return registration(rows);
        }
    }
    match (kind, rows.left() as u64) {
        (6, left) => drop(rows.data("Data", left, "samples")?),
        (_, 0) => {}
        (_, left) => drop(rows.text("Optional Data", left, "")?),
    }
    Some(())
}

/// Name, secret and order, with NUL between them.
fn registration(rows: &mut Explainer<'_>) -> Option<()> {
    rows.section("Registration");
    for (field, is_last) in [("name", false), ("secret", false), ("order", true)] {
        let rest = rows.rest();
        let len = if is_last { rest.len() } else { rest.split(|byte| *byte == 0).next()?.len() };
        rows.text(field, len as u64, "")?;
        if rows.left() == 0 {
            break;
        }
        rows.data("NUL", 1, "ends it")?;
    }
    Some(())
}

fn show_parameters(parameters: Parameters) -> Value {
    let Parameters { sample_rate, channels, format, chunk_size } = parameters;
    json!({ "sample_rate": sample_rate, "channels": channels, "format": format.name(), "chunk_size": chunk_size })
}

fn read_parameters(fields: &Fields<'_>) -> Result<Parameters, String> {
    let format = fields.value("format")?;
    let by_name = format.as_str().and_then(Format::from_name);
    let by_number = || format.as_u64().and_then(|value| u8::try_from(value).ok()).and_then(Format::from_wire);
    Ok(Parameters {
        sample_rate: fields.number("sample_rate")?,
        channels: fields.number("channels")?,
        format: by_name.or_else(by_number).ok_or_else(|| {
            format!("fields.format: {format} found, expected uint8, int8, int16, int32, float32 or 0 to 4")
        })?,
        chunk_size: fields.number("chunk_size")?,
    })
}
