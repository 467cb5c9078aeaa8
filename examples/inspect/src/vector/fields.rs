//! The fields of a message as `vectors/*.json` of the protocol crates have them. `decode` has other names for some, and says more.

use crate::any_msgpack;
use crate::protocol::Shown;
use serde_json::{Map, Value, json};

/// Of a protocol: what `decode` calls a field, and what the vectors call it.
const NAMES: [(&str, &str, &str); 5] = [
    ("voicelink", "optional_data", "optional"),
    ("voicelink", "data", "samples"),
    ("syfala", "stream_index", "stream"),
    ("syfala", "audio", "payload"),
    ("syfala", "channel_count", "channels"),
];

/// What the vectors say of a message that `decode` shows so.
pub(super) fn fields(protocol: &str, bytes: &[u8], shown: Shown) -> Value {
    let Shown { message, fields, .. } = shown;
    match protocol {
        "msgpack" => match objects(bytes) {
            Some(objects) => json!({ "objects": objects }),
            None => json!({ "message": "ZMTP", "unit": message.to_lowercase() }),
        },
        _ => {
            let mut all = Map::from_iter([("message".to_owned(), message.into())]);
            if let Value::Object(more) = renamed(protocol, fields) {
                all.extend(more);
            }
            if protocol == "dissonance" && message == "VoiceData" {
                only_what_counts(&mut all);
            }
            Value::Object(all)
        }
    }
}

fn renamed(protocol: &str, value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(|value| renamed(protocol, value)).collect(),
        Value::Object(members) => {
            let name = |name: String| {
                let known = NAMES.iter().find(|(of, from, _)| *of == protocol && *from == name);
                known.map_or(name, |(.., to)| (*to).to_owned())
            };
            members.into_iter().map(|(member, value)| (name(member), renamed(protocol, value))).collect()
        }
        other => other,
    }
}

/// Channels of a voice packet have a bitfield and a recipient; the rest says what the bitfield means.
fn only_what_counts(voice: &mut Map<String, Value>) {
    voice.remove("channel_session");
    for channel in voice.get_mut("channels").and_then(Value::as_array_mut).into_iter().flatten() {
        *channel = json!({ "bitfield": channel["bitfield"], "recipient": channel["target"] });
    }
}

/// The objects of a message; `None` for a unit of ZMTP without any.
fn objects(mut bytes: &[u8]) -> Option<Vec<Value>> {
    // The first object of a message is a string; a unit begins with 0xff or its flags.
    if matches!(bytes.first(), None | Some(0xff | 4 | 6)) {
        return None;
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (object, length) = any_msgpack::object(bytes)?;
        found.push(text(object));
        bytes = bytes.get(length..)?;
    }
    Some(found)
}

/// Binary objects are strings, which an original sends as such.
fn text(object: Value) -> Value {
    let Some(digits) = object.get("bin").and_then(Value::as_str) else { return object };
    match hex::decode(digits).map(String::from_utf8) {
        Ok(Ok(text)) => text.into(),
        _ => json!({ "bytes": digits }),
    }
}
