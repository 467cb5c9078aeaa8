//! What `voxwire-inspect` says of a message, and whether a dissection says the same.

use crate::capture::Side;
use crate::kit::inspect;
use crate::pdml::Node;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the dissectors show beside the fields of the inspector: heads, counts, and what follows from other fields.
const BESIDE: [(&str, &[&str]); 5] = [
    (
        "voicelink",
        &[
            "byte_order",
            "length",
            "type",
            "user_name_length",
            "registration.name",
            "registration.secret",
            "registration.order",
            "reason",
        ],
    ),
    ("opcode", &["length", "opcode", "count", "contact_count", "opus"]),
    (
        "msgpack",
        &[
            "dialect",
            "zmtp.flags",
            "zmtp.more",
            "zmtp.long",
            "zmtp.command",
            "zmtp.length",
            "signature",
            "filler",
            "command",
            "type",
            "action",
            "sample_count",
            "peak",
        ],
    ),
    ("syfala", &["from", "number", "inputs.count", "outputs.count", "lost"]),
    (
        "dissonance",
        &[
            "magic",
            "type",
            "length",
            "room_count",
            "client_count",
            "channel_count",
            "channels.listener_count",
            "frame_length",
            "opus",
            "lost",
            "destination_count",
            "payload_length",
        ],
    ),
];

/// The inspector's object of a message, or what it says is wrong: `FIELD at offset N`.
pub fn decode(protocol: &str, side: Side, dialect: &[&str], bytes: &[u8]) -> Result<Value, String> {
    let head = ["decode", "--protocol", protocol, "--from", side.name()];
    let output = inspect(&[&head[..], dialect, &[&hex::encode(bytes)]].concat(), "");
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    let error = String::from_utf8(output.stderr).unwrap();
    let error = error.trim().strip_prefix(&format!("voxwire-inspect: {protocol}: ")).unwrap().to_owned();
    let at = error.find(" at offset ").unwrap_or_else(|| panic!("no offset: {error}"));
    let end = error[at..].find(": ").unwrap();
    Err(error[..at + end].to_owned())
}

/// Panics where a dissected message is not what the inspector says.
pub fn check(node: &Node, protocol: &str, side: Side, wanted: &Result<Value, String>, about: &str) {
    let field = |key: &str| format!("vox.{protocol}.{key}");
    let mut problems = Vec::new();
    node.find_all(&field("malformed"), &mut problems);
    let object = match wanted {
        Ok(object) => object,
        Err(error) => {
            let mut said = Vec::new();
            node.find_all("_ws.expert.message", &mut said);
            let said: Vec<&str> = said.iter().map(|node| node.show()).collect();
            assert_eq!(problems.len(), 1, "{about}: {error}, and the dissector says {said:?}");
            assert!(
                said.iter().any(|said| said.starts_with(&format!("{error}: "))),
                "{about}: {error}, and {said:?}"
            );
            return;
        }
    };
    assert!(problems.is_empty(), "{about}: {object} is malformed to the dissector");
    let name = child(node, &field("message")).unwrap_or_else(|| panic!("{about}: without a name"));
    assert_eq!(Value::from(name.show()), object["message"], "{about}");
    let trailing = child(node, &field("trailing")).map_or(0, Node::size);
    assert_eq!(Value::from(trailing), object["trailing"], "{about}: bytes behind it");

    let mut fields: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    flatten("", &object["fields"], &mut fields);
    let mut nodes: BTreeMap<String, Vec<&Node>> = BTreeMap::new();
    collect(node, protocol, &mut nodes);
    let beside: BTreeSet<&str> =
        BESIDE.iter().find(|row| row.0 == protocol).unwrap().1.iter().copied().collect();
    for key in nodes.keys() {
        assert!(
            fields.contains_key(key) || beside.contains(&key[..]),
            "{about}: {key} is nothing that {object} has"
        );
    }
    for (key, mut values) in fields {
        let nodes = nodes.remove(&key).unwrap_or_default();
        // An item without bytes, and a name that a code does not have, are no fields.
        if nodes.len() < values.len() {
            values.retain(|value| !(value.is_null() || *value == ""));
        }
        assert_eq!(nodes.len(), values.len(), "{about}: how often there is {key} in {object}");
        for (node, value) in nodes.into_iter().zip(values) {
            assert!(is_same(node, value), "{about}: {key} is {value}, and the dissector shows {node:?}");
        }
    }
    // A packet inside of the packet.
    if let Some(payload) = node.find(&field("payload")) {
        let inner =
            child(payload, &format!("vox.{protocol}")).unwrap_or_else(|| panic!("{about}: not shown inside"));
        let wanted = decode(protocol, side, &[], &hex::decode(payload.value()).unwrap());
        if wanted.is_ok() {
            check(inner, protocol, side, &wanted, &format!("{about}, inside"));
        }
    }
}

fn child<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    node.children.iter().find(|child| child.name() == name)
}

/// The leaves of an object by their path, without the places in lists.
fn flatten<'a>(path: &str, value: &'a Value, into: &mut BTreeMap<String, Vec<&'a Value>>) {
    match value {
        Value::Object(object) if path.is_empty() || !object.contains_key("bytes") => {
            for (key, value) in object {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, into);
            }
        }
        Value::Array(items) => {
            for item in items {
                match item.as_array().map(Vec::as_slice) {
                    // A property.
                    Some([name, value]) => {
                        flatten(&format!("{path}.name"), name, into);
                        flatten(&format!("{path}.value"), value, into);
                    }
                    _ => flatten(path, item, into),
                }
            }
        }
        leaf => into.entry(path.to_owned()).or_default().push(leaf),
    }
}

/// The fields of a message by their names, without those of a message inside.
fn collect<'a>(node: &'a Node, protocol: &str, into: &mut BTreeMap<String, Vec<&'a Node>>) {
    let own = format!("vox.{protocol}");
    for child in &node.children {
        if child.name() == own {
            continue;
        }
        if let Some(key) = child.name().strip_prefix(&format!("{own}."))
            && !["message", "trailing", "note"].contains(&key)
        {
            into.entry(key.to_owned()).or_default().push(child);
        }
        collect(child, protocol, into);
    }
}

fn is_same(node: &Node, value: &Value) -> bool {
    let number = || {
        let show = node.show();
        match show.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok().map(|number| number as f64),
            None => show.parse::<f64>().ok(),
        }
    };
    match value {
        Value::Null => node.line().ends_with("<null>"),
        Value::Bool(value) => {
            ["0", "1", "False", "True"].contains(&node.show())
                && (["1", "True"].contains(&node.show()) == *value)
        }
        Value::Number(value) if value.is_u64() && !node.show().contains(['.', 'x']) => {
            node.show() == value.to_string()
        }
        Value::Number(value) => {
            let value = value.as_f64().unwrap();
            number().is_some_and(|shown| (shown - value).abs() <= 1e-4 * value.abs().max(1.0))
        }
        // Text as its bytes, bytes as digits, what follows from other fields as it is shown, and the names of numbers.
        Value::String(text) => {
            node.value() == hex::encode(text)
                || node.value() == text
                || node.show() == text
                || node.line().contains(&format!(": {text} ("))
        }
        Value::Object(object) => object["bytes"] == node.value(),
        Value::Array(_) => false,
    }
}
