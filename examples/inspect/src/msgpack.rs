//! msgpack's messages, and the units of ZMTP around them.

mod explain;
mod follow;
pub(crate) mod object;

use crate::explain::Explainer;
use crate::protocol::{Cutter, Entry, Fields, Problem, Protocol, Shown, Stop, show_text, to_bytes, unknown};
use core::ops::Range;
use serde_json::{Value, json};
use voxwire_core::{Framing as _, Limits, Message, Progress};
use voxwire_msgpack::zmtp::{self, Command, GREETING_LEN, SIGNATURE_LEN, SocketType, UnitHead, Version};
use voxwire_msgpack::{
    ClientMessage, Code, Framing, LIMITS, SampleKind, Samples, Secret, ServerMessage, Text, Wire,
};

/// Length of a greeting of ZMTP 2.0: signature, revision, socket type.
const OLD_GREETING_LEN: usize = SIGNATURE_LEN + 2;

/// Behind the password of a log-in for requests alone.
const REQUESTS_ONLY: &[u8] = b"requests_only";

pub(crate) const ENTRY: Entry = Entry {
    name: "msgpack",
    start: |dialect| Ok(Box::new(Msgpack::new(dialect.is_from_client()?))),
    follows: Some(&follow::FOLLOWS),
};

#[derive(Debug)]
struct Msgpack {
    client: bool,
    wire: Wire,
}

impl Msgpack {
    /// Shows all that the format allows, also what a server would find too large.
    const fn new(client: bool) -> Self {
        let max = u32::MAX as usize;
        let limits = Limits { max_frame: max, max_text: max, max_items: max, ..LIMITS };
        Self { client, wire: Wire { limits, ..Wire::CLIENT } }
    }

    fn framing(&self) -> Framing {
        let mut framing =
            Framing::passive(if self.client { SocketType::Dealer } else { SocketType::Router }, &self.wire);
        framing.set_max(u32::MAX as usize);
        framing
    }
}

impl Protocol for Msgpack {
    fn decode(&self, bytes: &[u8]) -> Result<Shown, Problem> {
        // No message starts like a greeting or a command.
        if let Some(shown) = decode_unit(bytes)? {
            return Ok(shown);
        }
        let (message, fields) = if self.client {
            let message = ClientMessage::decode(bytes, &self.wire)?;
            (message.action().name(), show_client(&message))
        } else {
            show_server(&ServerMessage::decode(bytes, &self.wire)?)
        };
        // How much of it that was: objects behind the last argument are ignored.
        let mut length = match self.framing().next_frame(bytes) {
            Ok(Progress::Frame { header: 0, body }) => body,
            _ => bytes.len(),
        };
        if fields.get("requests_only").is_some() {
            // The one argument that plain objects do not have, and its head.
            let rest = bytes.get(length..).unwrap_or(&[]);
            let head = rest.windows(REQUESTS_ONLY.len()).position(|text| text == REQUESTS_ONLY);
            length += head.map_or(0, |head| head + REQUESTS_ONLY.len());
        }
        Ok(Shown { message, length, fields, trailing: bytes.len().saturating_sub(length) })
    }

    fn explain<'a>(&self, bytes: &'a [u8], shown: Option<&Shown>) -> Explainer<'a> {
        explain::explain(bytes, shown)
    }

    fn encode(&self, message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
        if let Some(unit) = encode_unit(message, fields)? {
            return Ok(unit);
        }
        if self.client { self.encode_client(message, fields) } else { self.encode_server(message, fields) }
    }

    fn cutter(&self) -> Cutter {
        let (client, wire) = (self.client, self.wire);
        let mut at = Place::Start;
        Box::new(move |rest| {
            if at == Place::Start {
                at = place(rest)?;
            }
            match at {
                Place::Greeting(version) => return greeting(rest, version, &mut at),
                Place::Identity(version) => {
                    let (unit, end) = unit(rest, version)?;
                    at = Place::Units(version);
                    let body = unit.clone().and_then(|unit| rest.get(unit)).unwrap_or(&[]);
                    // A stream may begin behind it.
                    return Ok(if is_message(body) { (unit, end) } else { (None, end) });
                }
                Place::Units(version) => return unit(rest, version),
                Place::Start | Place::Plain => {}
            }
            let sender = if client { SocketType::Dealer } else { SocketType::Router };
            let mut framing = Framing::passive(sender, &wire);
            framing.set_max(u32::MAX as usize);
            match framing.next_frame(rest)? {
                Progress::Frame { body, .. } => Ok((Some(0..body), body)),
                Progress::Skip(n) => Ok((None, n.get())),
                Progress::NeedMore(n) => Err(Stop::Short(n.get())),
            }
        })
    }
}

/// Where in a stream the next unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Greeting(Version),
    Identity(Version),
    Units(Version),
    Plain,
}

/// What a stream begins with.
fn place(rest: &[u8]) -> Result<Place, Stop> {
    if rest.first() != Some(&0xff) {
        let place = match zmtp::is_inside(rest).map_err(Stop::Short)? {
            true => Place::Units(Version::V3),
            false if zmtp::is_version_1(rest).map_err(Stop::Short)? => Place::Identity(Version::V1),
            false => Place::Plain,
        };
        return Ok(place);
    }
    let signature = rest.get(..SIGNATURE_LEN).ok_or_else(|| Stop::Short(SIGNATURE_LEN - rest.len()))?;
    if signature[9] & 1 == 0 {
        return Ok(Place::Identity(Version::V1));
    }
    Ok(match rest[SIGNATURE_LEN..] {
        // One side of a stream of 1.0: behind the signature, which is an identity there, come a length, flags and a text.
        [_, 0, 0xa0..=0xff, ..] | [] => Place::Greeting(Version::V1),
        [revision, ..] => Place::Greeting(Version::of(revision)),
    })
}

/// A greeting, of which nothing else follows in 1.0.
fn greeting(rest: &[u8], version: Version, at: &mut Place) -> Result<(Option<Range<usize>>, usize), Stop> {
    let (len, next) = match version {
        Version::V3 => {
            zmtp::check_greeting(rest)?;
            (GREETING_LEN, Place::Units(version))
        }
        Version::V2 => (OLD_GREETING_LEN, Place::Identity(version)),
        Version::V1 => (SIGNATURE_LEN, Place::Units(version)),
    };
    if rest.len() < len {
        return Err(Stop::Short(len - rest.len()));
    }
    *at = next;
    Ok((Some(0..len), len))
}

/// One unit: a command as a whole, of a message its body.
fn unit(rest: &[u8], version: Version) -> Result<(Option<Range<usize>>, usize), Stop> {
    let head = UnitHead::read_as(version, rest)?.map_err(Stop::Short)?;
    let end = usize::try_from(head.len).ok().and_then(|len| len.checked_add(head.head));
    let end = end.filter(|end| *end <= rest.len());
    let end = end.ok_or_else(|| {
        Stop::Short(usize::try_from(head.len).unwrap_or(usize::MAX).saturating_sub(rest.len() - head.head))
    })?;
    match head {
        // In front of what a REQ socket sends, and of what it is answered.
        UnitHead { more: true, len: 0, .. } => Ok((None, end)),
        UnitHead { more: true, .. } => Err(Stop::Wrong("a message of several frames, expected one".into())),
        UnitHead { command: true, .. } => Ok((Some(0..end), end)),
        head => Ok((Some(head.head..end), end)),
    }
}

/// Whether a frame begins as a message does, and no identity.
fn is_message(body: &[u8]) -> bool {
    let starts: [&[u8]; 3] = [b"\xa7request", b"\xa8response", b"\xa6update"];
    starts.iter().any(|start| body.starts_with(start))
}

/// A greeting or a command, as a whole.
fn decode_unit(bytes: &[u8]) -> Result<Option<Shown>, Problem> {
    let shown = |message, length, fields| Shown { message, length, fields, trailing: bytes.len() - length };
    match bytes {
        [0xff, ..] if bytes.len() == SIGNATURE_LEN && bytes[9] & 1 == 1 => {
            Ok(Some(shown("greeting", SIGNATURE_LEN, json!({ "version": "1.0" }))))
        }
        [0xff, ..] if bytes.len() == OLD_GREETING_LEN && bytes[9] & 1 == 1 && bytes[10] < 3 => {
            let version = ["1.0", "2.0", "2.1"][usize::from(bytes[10])];
            let fields = json!({ "version": version, "socket_type": bytes[11] });
            Ok(Some(shown("greeting", OLD_GREETING_LEN, fields)))
        }
        [0xff, ..] if bytes.len() >= GREETING_LEN => {
            zmtp::check_greeting(bytes)?;
            let mechanism: Vec<u8> = bytes[12..32].iter().copied().take_while(|byte| *byte != 0).collect();
            let fields = json!({
                "version": format!("{}.{}", bytes[10], bytes[11]),
                "mechanism": show_text(&mechanism),
                "as_server": bytes[32],
            });
            Ok(Some(shown("greeting", GREETING_LEN, fields)))
        }
        [4 | 6, ..] => {
            let Ok(Ok(head)) = UnitHead::read(bytes) else { return Ok(None) };
            let Some(end) = usize::try_from(head.len).ok().and_then(|len| len.checked_add(head.head)) else {
                return Ok(None);
            };
            let Some(body) = bytes.get(head.head..end) else { return Ok(None) };
            let command = Command::read(body)?;
            let (message, fields) = match command {
                Command::Ready(properties) => {
                    let pairs: Vec<Value> = properties
                        .iter()
                        .map(|(name, value)| json!([show_text(name), show_text(value)]))
                        .collect();
                    ("READY", json!({ "properties": pairs }))
                }
                Command::Ping { ttl, context } => {
                    ("PING", json!({ "ttl": ttl, "context": hex::encode(context) }))
                }
                Command::Pong { context } => ("PONG", json!({ "context": hex::encode(context) })),
                Command::Error { reason } => ("ERROR", json!({ "reason": show_text(reason) })),
                Command::Other { name } => {
                    let data = body.get(name.len() + 1..).unwrap_or(&[]);
                    ("command", json!({ "name": show_text(name), "data": hex::encode(data) }))
                }
            };
            Ok(Some(shown(message, end, fields)))
        }
        _ => Ok(None),
    }
}

fn encode_unit(message: &str, fields: &Fields<'_>) -> Result<Option<Vec<u8>>, String> {
    let mut body: Vec<u8> = Vec::new();
    let mut name = |name: &[u8]| -> Result<(), String> {
        body.push(u8::try_from(name.len()).map_err(|_| "fields.name: at most 255 bytes expected")?);
        body.extend(name);
        Ok(())
    };
    match message {
        "greeting" => return encode_greeting(fields).map(Some),
        "READY" => {
            name(b"READY")?;
            body.extend(encode_properties(fields.value("properties")?)?);
        }
        "PING" => {
            name(b"PING")?;
            body.extend(fields.number::<u16>("ttl")?.to_be_bytes());
            body.extend(fields.bytes("context")?);
        }
        "PONG" => {
            name(b"PONG")?;
            body.extend(fields.bytes("context")?);
        }
        "ERROR" => {
            name(b"ERROR")?;
            let reason = fields.text("reason")?;
            body.push(u8::try_from(reason.len()).map_err(|_| "fields.reason: at most 255 bytes expected")?);
            body.extend(reason);
        }
        "command" => {
            name(&fields.text("name")?)?;
            body.extend(fields.bytes("data")?);
        }
        _ => return Ok(None),
    }
    let mut unit = match u8::try_from(body.len()) {
        Ok(len) => vec![4, len],
        Err(_) => [&[6][..], &(body.len() as u64).to_be_bytes()].concat(),
    };
    unit.extend(body);
    Ok(Some(unit))
}

fn encode_greeting(fields: &Fields<'_>) -> Result<Vec<u8>, String> {
    let mut greeting = Vec::new();
    zmtp::put_greeting(&mut greeting);
    let version = fields.text("version")?;
    let version = String::from_utf8_lossy(&version).into_owned();
    let parts: Vec<u8> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    let [major, minor] = parts[..] else {
        return Err(format!("fields.version: {version:?} found, expected \"3.0\""));
    };
    if major >= 3 {
        (greeting[10], greeting[11]) = (major, minor);
        return Ok(greeting);
    }
    greeting.truncate(SIGNATURE_LEN);
    if fields.has("socket_type") {
        greeting.push(if major == 1 { 0 } else { minor.saturating_add(1) });
        greeting.push(fields.number("socket_type")?);
    }
    Ok(greeting)
}

/// Names and values of READY.
fn encode_properties(found: &Value) -> Result<Vec<u8>, String> {
    let pairs =
        found.as_array().ok_or_else(|| format!("fields.properties: {found} found, expected a list"))?;
    let mut body = Vec::new();
    for pair in pairs {
        let part = |at: usize| Fields(&json!({ "properties": pair.get(at) })).text("properties");
        let (name, value) = (part(0)?, part(1)?);
        let len = u8::try_from(name.len()).map_err(|_| "fields.properties: names have at most 255 bytes")?;
        body.push(len);
        body.extend(&name);
        body.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend(&value);
    }
    Ok(body)
}

fn show_samples(samples: &Samples<'_>) -> Value {
    match samples.kind() {
        SampleKind::Int => {
            let mut numbers = Vec::new();
            samples.append_to(&mut numbers);
            json!(numbers)
        }
        SampleKind::Float => {
            let mut numbers = vec![0.0; samples.len()];
            samples.copy_to_f32(&mut numbers);
            json!(numbers)
        }
    }
}

fn show_client(message: &ClientMessage<'_>) -> Value {
    use ClientMessage::{
        AddContact, CallData, CreateGroup, JoinCall, JoinGroup, LeaveCall, Login, LoginForRequests, Logout,
        MsgGroup, Register, VoiceMsg, Whisper,
    };
    let mut fields = serde_json::Map::new();
    let mut text = |name: &str, bytes: &[u8]| drop(fields.insert(name.into(), show_text(bytes)));
    match message {
        Register { username, password }
        | Login { username, password }
        | LoginForRequests { username, password } => {
            text("username", username.0);
            text("password", password.0);
        }
        Logout { username } => text("username", username.0),
        AddContact { username, token, .. }
        | Whisper { username, token, .. }
        | CreateGroup { username, token, .. }
        | JoinGroup { username, token, .. }
        | MsgGroup { username, token, .. }
        | VoiceMsg { username, token, .. }
        | JoinCall { username, token, .. }
        | LeaveCall { username, token }
        | CallData { username, token, .. } => {
            text("username", username.0);
            text("token", token.0);
        }
    }
    match message {
        AddContact { contact, .. } => text("contact", contact.0),
        Whisper { recipient, content, .. } => {
            text("recipient", recipient.0);
            text("content", content.0);
        }
        CreateGroup { group_name, .. } | JoinGroup { group_name, .. } | JoinCall { group_name, .. } => {
            text("group_name", group_name.0);
        }
        MsgGroup { group_name, content, .. } => {
            text("group_name", group_name.0);
            text("content", content.0);
        }
        VoiceMsg { recipient, channels, sample_rate, samples, .. } => {
            text("recipient", recipient.0);
            fields.insert("channels".into(), json!(channels));
            fields.insert("sample_rate".into(), json!(sample_rate));
            fields.insert("samples".into(), show_samples(samples));
        }
        CallData { group_name, samples, .. } => {
            text("group_name", group_name.0);
            fields.insert("samples".into(), show_samples(samples));
        }
        LoginForRequests { .. } => drop(fields.insert("requests_only".into(), true.into())),
        _ => {}
    }
    Value::Object(fields)
}

fn show_server(message: &ServerMessage<'_>) -> (&'static str, Value) {
    match message {
        ServerMessage::Response { action, code } => {
            let fields = json!({ "action": show_text(action.0), "code": code.0, "name": code.name() });
            ("response", fields)
        }
        ServerMessage::LoggedIn { username, token } => {
            let (username, token) = (show_text(username.0), show_text(token.0));
            let fields = json!({ "action": "login", "code": 0, "name": "SUCCESS", "username": username, "token": token });
            ("response", fields)
        }
        ServerMessage::CallJoined { group_name } => {
            let group_name = show_text(group_name.0);
            let fields =
                json!({ "action": "join_call", "code": 0, "name": "SUCCESS", "group_name": group_name });
            ("response", fields)
        }
        ServerMessage::Whisper { sender, content } => {
            ("whisper", json!({ "sender": show_text(sender.0), "content": show_text(content.0) }))
        }
        ServerMessage::MsgGroup { group_name, sender, content } => {
            let (group_name, sender) = (show_text(group_name.0), show_text(sender.0));
            let content = show_text(content.0);
            ("msg_group", json!({ "group_name": group_name, "sender": sender, "content": content }))
        }
        ServerMessage::VoiceMsg { sender, channels, sample_rate, samples } => {
            let (sender, samples) = (show_text(sender.0), show_samples(samples));
            let fields = json!({ "sender": sender, "channels": channels, "sample_rate": sample_rate, "samples": samples });
            ("voice_msg", fields)
        }
        ServerMessage::CallData { sender, samples } => {
            ("call_data", json!({ "sender": show_text(sender.0), "samples": show_samples(samples) }))
        }
    }
}

/// Samples of an object that is to be encoded: integers, or floats if one has a fraction.
enum Numbers {
    Ints(Vec<i16>),
    Floats(Vec<f32>),
}

impl Numbers {
    fn read(fields: &Fields<'_>) -> Result<Self, String> {
        let found = fields.value("samples")?;
        let list = found.as_array().ok_or_else(|| "fields.samples: expected a list of numbers".to_owned())?;
        let wrong =
            |value: &Value| format!("fields.samples: {value} found, expected -32768 to 32767, or floats");
        if list.iter().any(|value| value.is_f64()) {
            let floats =
                list.iter().map(|value| value.as_f64().map(|value| value as f32).ok_or_else(|| wrong(value)));
            return floats.collect::<Result<_, _>>().map(Self::Floats);
        }
        let ints = list.iter().map(|value| {
            value.as_i64().and_then(|value| i16::try_from(value).ok()).ok_or_else(|| wrong(value))
        });
        ints.collect::<Result<_, _>>().map(Self::Ints)
    }

    fn samples(&self) -> Samples<'_> {
        match self {
            Self::Ints(ints) => ints[..].into(),
            Self::Floats(floats) => floats[..].into(),
        }
    }
}

impl Msgpack {
    fn finish<'m, M: Message<'m, Wire = Wire>>(&self, message: &M) -> Result<Vec<u8>, String> {
        to_bytes(message, &self.wire)
    }

    fn encode_client(&self, message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
        let username = fields.text("username")?;
        let optional = |name: &str| if fields.has(name) { fields.text(name) } else { Ok(Vec::new()) };
        // Which of them have to be there, the message says.
        let needed: &[&str] = match message {
            "register" | "login" => &["password"],
            "logout" => &[],
            "add_contact" => &["token", "contact"],
            "whisper" => &["token", "recipient", "content"],
            "create_group" | "join_group" | "join_call" => &["token", "group_name"],
            "msg_group" => &["token", "group_name", "content"],
            "voice_msg" => &["token", "recipient"],
            "leave_call" => &["token"],
            "call_data" => &["token", "group_name"],
            other => {
                let names = "register, login, logout, add_contact, whisper, create_group, join_group, msg_group, \
                    voice_msg, join_call, leave_call, call_data, greeting, READY, PING, PONG, ERROR or command";
                return Err(unknown(other, names));
            }
        };
        for name in needed {
            fields.text(name)?;
        }
        let [password, token, contact, recipient, group_name, content] =
            ["password", "token", "contact", "recipient", "group_name", "content"].map(optional);
        let (password, token, contact) = (password?, token?, contact?);
        let (recipient, group_name, content) = (recipient?, group_name?, content?);
        let (username, password, token) = (Text(&username), Secret(&password), Secret(&token));
        let (contact, recipient) = (Text(&contact), Text(&recipient));
        let (group_name, content) = (Text(&group_name), Text(&content));
        let numbers;
        self.finish(&match message {
            "register" => ClientMessage::Register { username, password },
            "login" if fields.has("requests_only") => ClientMessage::LoginForRequests { username, password },
            "login" => ClientMessage::Login { username, password },
            "logout" => ClientMessage::Logout { username },
            "add_contact" => ClientMessage::AddContact { username, token, contact },
            "whisper" => ClientMessage::Whisper { username, token, recipient, content },
            "create_group" => ClientMessage::CreateGroup { username, token, group_name },
            "join_group" => ClientMessage::JoinGroup { username, token, group_name },
            "msg_group" => ClientMessage::MsgGroup { username, token, group_name, content },
            "join_call" => ClientMessage::JoinCall { username, token, group_name },
            "leave_call" => ClientMessage::LeaveCall { username, token },
            "voice_msg" => {
                numbers = Numbers::read(fields)?;
                let (channels, sample_rate) = (fields.number("channels")?, fields.number("sample_rate")?);
                let samples = numbers.samples();
                ClientMessage::VoiceMsg { username, token, recipient, channels, sample_rate, samples }
            }
            _ => {
                numbers = Numbers::read(fields)?;
                ClientMessage::CallData { username, token, group_name, samples: numbers.samples() }
            }
        })
    }

    fn encode_server(&self, message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
        if message == "response" {
            let (action, code) = (fields.text("action")?, fields.number("code")?);
            return match (&action[..], code) {
                (b"login", 0) => {
                    let (username, token) = (fields.text("username")?, fields.text("token")?);
                    self.finish(&ServerMessage::LoggedIn { username: Text(&username), token: Secret(&token) })
                }
                (b"join_call", 0) => {
                    let group_name = fields.text("group_name")?;
                    self.finish(&ServerMessage::CallJoined { group_name: Text(&group_name) })
                }
                _ => self.finish(&ServerMessage::Response { action: Text(&action), code: Code(code) }),
            };
        }
        if !["whisper", "msg_group", "voice_msg", "call_data"].contains(&message) {
            let names = "response, whisper, msg_group, voice_msg, call_data, greeting, READY, PING, PONG, ERROR or command";
            return Err(unknown(message, names));
        }
        let sender = fields.text("sender")?;
        let sender = Text(&sender);
        match message {
            "whisper" => {
                let content = fields.text("content")?;
                self.finish(&ServerMessage::Whisper { sender, content: Text(&content) })
            }
            "msg_group" => {
                let (group_name, content) = (fields.text("group_name")?, fields.text("content")?);
                let (group_name, content) = (Text(&group_name), Text(&content));
                self.finish(&ServerMessage::MsgGroup { group_name, sender, content })
            }
            _ => {
                let numbers = Numbers::read(fields)?;
                let samples = numbers.samples();
                if message == "call_data" {
                    return self.finish(&ServerMessage::CallData { sender, samples });
                }
                let (channels, sample_rate) = (fields.number("channels")?, fields.number("sample_rate")?);
                self.finish(&ServerMessage::VoiceMsg { sender, channels, sample_rate, samples })
            }
        }
    }
}
