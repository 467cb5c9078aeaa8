//! syfala's messages.

mod follow;

use crate::explain::{Explainer, plain};
use crate::protocol::{Entry, Fields, Problem, Protocol, Shown, to_bytes, unknown};
use core::num::NonZeroU32;
use serde_json::{Value, json};
use voxwire_core::{List, Message};
use voxwire_syfala::{
    Audio, ClientMessage, Format, Formats, LIMITS, SampleRate, SampleType, ServerMessage, Wire,
};

pub(crate) const ENTRY: Entry = Entry {
    name: "syfala",
    start: |dialect| Ok(Box::new(Syfala::new(dialect.is_from_client()?))),
    follows: Some(&follow::FOLLOWS),
};

#[derive(Debug)]
struct Syfala {
    wire: Wire,
    from_client: bool,
}

impl Syfala {
    /// Shows all that the format allows, also what is too large to be sent.
    const fn new(from_client: bool) -> Self {
        let limits = voxwire_core::Limits { max_frame: 1 << 24, max_items: 1 << 20, ..LIMITS };
        Self { wire: Wire { limits }, from_client }
    }

    /// The bytes that a message takes: fewer would not decode to the same. Audio goes to the end.
    fn length<M: PartialEq>(bytes: &[u8], message: &M, decode: impl Fn(usize) -> Option<M>) -> usize {
        (0..bytes.len()).find(|&n| decode(n).as_ref() == Some(message)).unwrap_or(bytes.len())
    }
}

impl Protocol for Syfala {
    fn decode(&self, bytes: &[u8]) -> Result<Shown, Problem> {
        let wire = &self.wire;
        let (message, fields, length) = if self.from_client {
            let message = ClientMessage::decode(bytes, wire)?;
            let length = Self::length(bytes, &message, |n| ClientMessage::decode(&bytes[..n], wire).ok());
            let fields = match message {
                ClientMessage::Audio(audio) => show_audio(audio),
                _ => json!({}),
            };
            (message.name(), fields, length)
        } else {
            let message = ServerMessage::decode(bytes, wire)?;
            let length = Self::length(bytes, &message, |n| ServerMessage::decode(&bytes[..n], wire).ok());
            let fields = match message {
                ServerMessage::Audio(audio) => show_audio(audio),
                ServerMessage::Connect(Formats { inputs, outputs }) => {
                    let list = |list: List<'_, Format>| list.iter().map(show_format).collect::<Value>();
                    json!({ "inputs": list(inputs), "outputs": list(outputs) })
                }
                _ => json!({}),
            };
            (message.name(), fields, length)
        };
        Ok(Shown { message, length, fields, trailing: bytes.len() - length })
    }

    fn explain<'a>(&self, bytes: &'a [u8], shown: Option<&Shown>) -> Explainer<'a> {
        let mut explainer = Explainer::new(bytes, "On the wire").little_endian(true);
        let _ = fields(&mut explainer, self.from_client, shown.map_or("", |shown| shown.message));
        explainer
    }

    fn encode(&self, message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
        let payload = fields.bytes("audio")?;
        let audio = || -> Result<Audio<'_>, String> {
            let audio = Audio::new(fields.number("stream_index")?, fields.number("byte_index")?, &payload);
            // Heads may lie about what follows.
            let n_bytes = if fields.has("n_bytes") { fields.number("n_bytes")? } else { audio.n_bytes };
            Ok(Audio { n_bytes, ..audio })
        };
        if self.from_client {
            let message = match message {
                "Discovery" => ClientMessage::Discovery,
                "ConnectionSuccess" => ClientMessage::ConnectionSuccess,
                "ConnectionFailed" => ClientMessage::ConnectionFailed,
                "ConnectionRefused" => ClientMessage::ConnectionRefused,
                "StartIO" => ClientMessage::StartIo,
                "StopIO" => ClientMessage::StopIo,
                "Audio" => ClientMessage::Audio(audio()?),
                "Disconnect" => ClientMessage::Disconnect,
                "Heartbeat" => ClientMessage::Heartbeat,
                other => {
                    let names = "Discovery, ConnectionSuccess, ConnectionFailed, ConnectionRefused, StartIO, StopIO, \
                        Audio, Disconnect or Heartbeat from a client";
                    return Err(unknown(other, names));
                }
            };
            to_bytes(&message, &self.wire)
        } else {
            let (inputs, outputs);
            let message = match message {
                "Connect" => {
                    (inputs, outputs) = (read_formats(fields, "inputs")?, read_formats(fields, "outputs")?);
                    ServerMessage::Connect(Formats { inputs: inputs[..].into(), outputs: outputs[..].into() })
                }
                "StartIOFailed" => ServerMessage::StartIoFailed,
                "StartIORefused" => ServerMessage::StartIoRefused,
                "StartIOSuccess" => ServerMessage::StartIoSuccess,
                "StopIOFailed" => ServerMessage::StopIoFailed,
                "StopIORefused" => ServerMessage::StopIoRefused,
                "StopIOSuccess" => ServerMessage::StopIoSuccess,
                "Audio" => ServerMessage::Audio(audio()?),
                "Disconnect" => ServerMessage::Disconnect,
                "Heartbeat" => ServerMessage::Heartbeat,
                other => {
                    let names = "Connect, StartIOFailed, StartIORefused, StartIOSuccess, StopIOFailed, StopIORefused, \
                        StopIOSuccess, Audio, Disconnect or Heartbeat from a server";
                    return Err(unknown(other, names));
                }
            };
            to_bytes(&message, &self.wire)
        }
    }
}

fn show_audio(audio: Audio<'_>) -> Value {
    let Audio { stream, byte_index, n_bytes, payload } = audio;
    json!({ "stream_index": stream, "byte_index": byte_index, "n_bytes": n_bytes, "audio": hex::encode(payload) })
}

fn show_format(format: Format) -> Value {
    json!({
        "sample_rate": format.sample_rate.get(),
        "channel_count": format.channels,
        "buffer_size": format.buffer_size.map_or(0, NonZeroU32::get),
        "sample_type": format.sample_type.name(),
    })
}

fn read_formats(fields: &Fields<'_>, name: &str) -> Result<Vec<Format>, String> {
    let found = fields.value(name)?;
    let items = found.as_array().ok_or_else(|| format!("fields.{name}: {found} found, expected a list"))?;
    let format = |item: &Value| -> Result<Format, String> {
        let fields = Fields(item);
        let rate = fields.value("sample_rate")?;
        let sample_type = fields.value("sample_type")?;
        let expected = |what: &str, found: &Value, expected: &str| {
            format!("fields.{name}: {what} {found} found, expected {expected}")
        };
        Ok(Format {
            sample_rate: rate
                .as_f64()
                .and_then(SampleRate::new)
                .ok_or_else(|| expected("sample_rate", rate, "a positive, normal number"))?,
            channels: NonZeroU32::new(fields.number("channel_count")?)
                .ok_or_else(|| expected("channel_count", &json!(0), "at least 1"))?,
            buffer_size: NonZeroU32::new(fields.number("buffer_size")?),
            sample_type: sample_type.as_str().and_then(SampleType::from_name).ok_or_else(|| {
                expected("sample_type", sample_type, "U8 to U64, I8 to I64, IEEF32 or IEEF64")
            })?,
        })
    };
    items.iter().map(format).collect()
}

/// A row for each field.
fn fields(rows: &mut Explainer<'_>, from_client: bool, message: &str) -> Option<()> {
    match (varint(rows, "message", |_| message.into())?, from_client) {
        (6, true) | (7, false) => {
            let whose = if from_client { "of the server's outputs" } else { "of the server's inputs" };
            rows.number("stream index", 4, |_| whose.into())?;
            rows.number("byte index", 8, |_| "of the payload, since IO was started".into())?;
            rows.number("n_bytes", 4, |_| "of the payload".into())?;
            rows.data("payload", rows.left() as u64, "samples, interleaved").map(drop)
        }
        (0, false) => {
            for list in ["inputs", "outputs"] {
                let count = varint(rows, list, |_| "formats follow".into())?;
                for _ in 0..count {
                    rows.row("sample rate", 8, |bytes| {
                        let rate = bytes.first_chunk().map_or(0.0, |rate| f64::from_le_bytes(*rate));
                        (rate.to_string(), "Hz".into())
                    })?;
                    varint(rows, "channel count", plain)?;
                    varint(rows, "buffer size", |_| "frames; a hint".into())?;
                    let name = |value| {
                        u32::try_from(value).ok().and_then(SampleType::from_wire).map_or("", SampleType::name)
                    };
                    varint(rows, "sample type", |value| name(value).into())?;
                }
            }
            Some(())
        }
        _ => Some(()),
    }
}

/// Seven bits in each byte, the lowest first.
fn varint(rows: &mut Explainer<'_>, field: &'static str, meaning: impl FnOnce(u64) -> String) -> Option<u64> {
    let len = rows.rest().iter().take(10).position(|byte| *byte < 0x80)? + 1;
    let mut number = 0;
    rows.row(field, len, |bytes| {
        let seven = |number: u64, byte: &u8| (number << 7) | u64::from(byte & 0x7f);
        number = bytes.iter().rev().fold(0, seven);
        (number.to_string(), meaning(number))
    })?;
    Some(number)
}
