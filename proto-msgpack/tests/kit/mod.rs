//! What several tests of this crate share: the objects of a message as an independent decoder sees them.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use rmpv::Value;
use voxwire_msgpack::{ClientMessage, Code, SampleKind, Samples, ServerMessage};

/// The top-level objects of a message, in words: rmpv's reading.
pub fn objects(mut bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    while !bytes.is_empty() {
        words.push(word(&rmpv::decode::read_value_with_max_depth(&mut bytes, 16).unwrap()));
    }
    words
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => lossy(text.as_bytes()),
        Value::Binary(bytes) => lossy(bytes),
        Value::Integer(number) => number.to_string(),
        Value::F32(number) => number.to_string(),
        // Read as what fits into an f32.
        Value::F64(number) => (*number as f32).to_string(),
        Value::Array(values) => format!("[{}]", values.iter().map(word).collect::<Vec<_>>().join(",")),
        other => format!("{other:?}"),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn list(samples: &Samples<'_>) -> String {
    let words: Vec<String> = match samples.kind() {
        SampleKind::Int => {
            let mut numbers = Vec::new();
            samples.append_to(&mut numbers);
            numbers.iter().map(i16::to_string).collect()
        }
        SampleKind::Float => {
            let mut numbers = vec![0.0; samples.len()];
            samples.copy_to_f32(&mut numbers);
            numbers.iter().map(f32::to_string).collect()
        }
    };
    format!("[{}]", words.join(","))
}

/// The same of a message of ours.
pub fn client_fields(message: &ClientMessage<'_>) -> Vec<String> {
    use ClientMessage::{
        AddContact, CallData, CreateGroup, JoinCall, JoinGroup, LeaveCall, Login, LoginForRequests, Logout,
        MsgGroup, Register, VoiceMsg, Whisper,
    };
    let kind = if matches!(message, CallData { .. }) { "update" } else { "request" };
    let mut fields = vec![kind.to_string(), message.action().name().to_string()];
    let mut text = |bytes: &[u8]| fields.push(lossy(bytes));
    match message {
        Register { username, password } | Login { username, password } => {
            text(username.0);
            text(password.0);
        }
        LoginForRequests { username, password } => {
            text(username.0);
            text(password.0);
            text(b"requests_only");
        }
        Logout { username } => text(username.0),
        AddContact { username, token, contact: name }
        | CreateGroup { username, token, group_name: name }
        | JoinGroup { username, token, group_name: name }
        | JoinCall { username, token, group_name: name } => {
            text(username.0);
            text(token.0);
            text(name.0);
        }
        Whisper { username, token, recipient: name, content }
        | MsgGroup { username, token, group_name: name, content } => {
            text(username.0);
            text(token.0);
            text(name.0);
            text(content.0);
        }
        LeaveCall { username, token } => {
            text(username.0);
            text(token.0);
        }
        VoiceMsg { username, token, recipient, channels, sample_rate, samples } => {
            text(username.0);
            text(token.0);
            text(recipient.0);
            fields.extend([channels.to_string(), sample_rate.to_string(), list(samples)]);
        }
        CallData { username, token, group_name, samples } => {
            text(username.0);
            text(token.0);
            text(group_name.0);
            fields.push(list(samples));
        }
    }
    fields
}

pub fn server_fields(message: &ServerMessage<'_>) -> Vec<String> {
    use ServerMessage::{CallData, CallJoined, LoggedIn, MsgGroup, Response, VoiceMsg, Whisper};
    let words = |words: &[&[u8]]| words.iter().map(|word| lossy(word)).collect::<Vec<_>>();
    match message {
        Response { action, code: Code(code) } => {
            [words(&[b"response", action.0]), vec![code.to_string()]].concat()
        }
        LoggedIn { username, token } => words(&[b"response", b"login", b"0", username.0, token.0]),
        CallJoined { group_name } => words(&[b"response", b"join_call", b"0", group_name.0]),
        Whisper { sender, content } => words(&[b"update", b"whisper", sender.0, content.0]),
        MsgGroup { group_name, sender, content } => {
            words(&[b"update", b"msg_group", group_name.0, sender.0, content.0])
        }
        VoiceMsg { sender, channels, sample_rate, samples } => {
            let rest = vec![channels.to_string(), sample_rate.to_string(), list(samples)];
            [words(&[b"update", b"voice_msg", sender.0]), rest].concat()
        }
        CallData { sender, samples } => {
            [words(&[b"update", b"call_data", sender.0]), vec![list(samples)]].concat()
        }
    }
}
