//! The public test vectors of the tree.

use crate::capture::Side::{self, Client, Server};
use crate::kit::inspect;

const VOICELINK: &str = include_str!("../../../../proto-voicelink/tests/vectors/packets.txt");
const OPCODE: &str = include_str!("../../../../proto-opcode/tests/vectors/packets.txt");
const OPCODE_DIALOGUE: &str = include_str!("../../../../proto-opcode/tests/vectors/dialogue.txt");
const MSGPACK: &str = include_str!("../../../../proto-msgpack/tests/vectors/messages.txt");
const MSGPACK_DIALOGUE: &str = include_str!("../../../../proto-msgpack/tests/vectors/dialogue.txt");
const SYFALA: &str = include_str!("../../../../proto-syfala/tests/vectors/messages.txt");
const DISSONANCE: &str = include_str!("../../../../proto-dissonance/tests/vectors/packets.txt");
const TRANSPORT: &str = include_str!("../../../../transport/tests/vectors/tcp_udp.txt");
const DISSONANCE_DIALOGUE: &str = include_str!("../../../../proto-dissonance/tests/vectors/dialogue.txt");

/// A message.
#[derive(Debug, Clone)]
pub struct Vector {
    pub name: &'static str,
    pub side: Side,
    pub bytes: Vec<u8>,
    pub is_valid: bool,
}

/// Name, bytes and what is said of them.
fn lines(file: &'static str) -> impl Iterator<Item = (&'static str, Vec<u8>, &'static str)> {
    let lines = file.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| {
        let (name, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        let (digits, meaning) = rest.split_once(' ').unwrap_or((rest, ""));
        (name, hex::decode(digits.trim_start_matches('-')).unwrap(), meaning.trim_start())
    })
}

/// Those of one byte order, `be` or `le`.
pub fn voicelink(order: &str) -> impl Iterator<Item = Vector> {
    let all = lines(VOICELINK).filter(move |(name, ..)| name.rsplit_once('_').unwrap().1 == order);
    all.map(|(name, bytes, meaning)| Vector {
        name,
        side: Client,
        bytes,
        is_valid: !meaning.starts_with("error"),
    })
}

pub fn opcode() -> impl Iterator<Item = Vector> {
    lines(OPCODE).map(|(name, bytes, meaning)| Vector {
        name,
        side: Server,
        bytes,
        is_valid: !meaning.starts_with("error"),
    })
}

/// The three connections of a conversation.
pub fn opcode_dialogue() -> Vec<Vec<(Side, Vec<u8>)>> {
    let connections = ["0", "1", "2"];
    connections.map(|connection| said(OPCODE_DIALOGUE, connection)).into()
}

/// What was said on one connection.
fn said(dialogue: &'static str, connection: &str) -> Vec<(Side, Vec<u8>)> {
    let lines = dialogue.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    let of = words.filter(|words| words[0] == connection && words.len() == 3);
    let sides = of.filter_map(|words| match words[1] {
        "client" => Some((Client, words[2])),
        "server" => Some((Server, words[2])),
        _ => None,
    });
    sides.map(|(side, digits)| (side, hex::decode(digits).unwrap())).collect()
}

pub fn msgpack() -> impl Iterator<Item = Vector> {
    let messages = lines(MSGPACK).filter(|(.., meaning)| *meaning != "unit");
    messages.map(|(name, bytes, meaning)| {
        let side = if meaning.starts_with("server") { Server } else { Client };
        let is_valid = meaning.ends_with("same") || meaning.ends_with("other");
        Vector { name, side, bytes, is_valid }
    })
}

/// Messages of forms that the originals do not send.
fn more_msgpack() -> Vec<Vector> {
    let list: Vec<String> = (0..300_i64).map(|i| ((i * i * 37) % 65_536 - 32_768).to_string()).collect();
    let client = format!(
        r#"{{"message":"call_data","fields":{{"username":"a","token":"b","group_name":"c","samples":[0.5,-1.0,0.25]}}}}
        {{"message":"call_data","fields":{{"username":"ann","token":"b","group_name":"c","samples":[{}]}}}}
        {{"message":"voice_msg","fields":{{"username":"ann","token":"b","recipient":"bob","channels":2,"sample_rate":48000,"samples":[1,-1]}}}}
        {{"message":"login","fields":{{"username":"ann","password":"b","requests_only":true}}}}"#,
        list.join(",")
    );
    let server = r#"{"message":"response","fields":{"action":"whisper","code":70000}}
        {"message":"msg_group","fields":{"sender":"Zo\u00eb","group_name":{"bytes":"ff"},"content":""}}"#;
    let mut all = Vec::new();
    for (side, objects) in [(Client, &client[..]), (Server, server)] {
        for (number, bytes) in encode(side, objects).into_iter().enumerate() {
            // Only ZMTP has log-ins for requests alone.
            let name = if side == Client && number == 3 { "requests_only" } else { "more" };
            all.push(Vector { name, side, bytes, is_valid: true });
        }
    }
    all
}

fn encode(side: Side, objects: &str) -> Vec<Vec<u8>> {
    let output = inspect(&["encode", "--protocol", "msgpack", "--from", side.name()], objects);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| hex::decode(line).unwrap()).collect()
}

/// A captured conversation in units of ZMTP, and how much of each is in front of the message.
pub fn msgpack_dialogue() -> Vec<Vec<(Side, Vec<u8>, usize)>> {
    let unit = |(side, bytes): (Side, Vec<u8>)| {
        // Greetings and commands are decoded as a whole.
        let start = if matches!(bytes[0], 0xff | 4) { 0 } else { 2 };
        (side, bytes, start)
    };
    ["0", "1"].map(|connection| said(MSGPACK_DIALOGUE, connection).into_iter().map(unit).collect()).into()
}

/// Ways to put messages into a stream.
#[derive(Debug, Clone, Copy)]
pub enum Framing {
    /// ZMTP, with the greeting of this major version, in short units or in long ones.
    Zmtp(u8, bool),
    /// One object behind the other.
    Plain,
}

pub const FRAMINGS: [Framing; 7] = [
    Framing::Zmtp(3, false),
    Framing::Zmtp(3, true),
    Framing::Zmtp(2, false),
    Framing::Zmtp(2, true),
    Framing::Zmtp(1, false),
    Framing::Zmtp(1, true),
    Framing::Plain,
];

/// A unit of ZMTP of this major version.
pub fn unit(version: u8, is_long: bool, body: &[u8]) -> Vec<u8> {
    let is_long = is_long || body.len() > 250;
    let length = body.len() as u64 + u64::from(version == 1);
    let mut unit = Vec::new();
    match (version, is_long) {
        (1, false) => unit.extend([u8::try_from(length).unwrap(), 0]),
        (1, true) => {
            unit.push(0xff);
            unit.extend(length.to_be_bytes());
            unit.push(0);
        }
        (_, false) => unit.extend([0, u8::try_from(length).unwrap()]),
        (_, true) => {
            unit.push(2);
            unit.extend(length.to_be_bytes());
        }
    }
    unit.extend(body);
    unit
}

/// Every valid message in units of one form, behind the greetings that belong there.
pub fn msgpack_framed(framing: Framing) -> Vec<(Side, Vec<u8>, usize)> {
    let messages = msgpack().filter(|vector| vector.is_valid).chain(more_msgpack());
    match framing {
        Framing::Plain => {
            // What is behind the last argument would be the next message.
            let messages =
                messages.filter(|vector| !["ok_trailing_objects", "requests_only"].contains(&vector.name));
            messages.map(|vector| (vector.side, vector.bytes, 0)).collect()
        }
        Framing::Zmtp(version, is_long) => {
            let mut units = Vec::new();
            if version == 3 {
                let vectors =
                    lines(MSGPACK).filter(|(.., meaning)| *meaning == "unit").map(|(_, bytes, _)| bytes);
                let vectors: Vec<_> = vectors.collect();
                units.extend([
                    (Client, vectors[2].clone(), 0),
                    (Server, vectors[1].clone(), 0),
                    (Client, vectors[3].clone(), 0),
                ]);
                for command in [
                    "040904 50494e47 0064 0102",
                    "040704 504f4e47 0102",
                    "040c05 4552524f52 05 6f68206e6f",
                    "040604 4c4f4c21 01",
                ] {
                    let bytes = hex::decode(command.replace(' ', "")).unwrap();
                    units.push((Server, bytes, 0));
                }
            } else {
                // A client with an identity. A newer server, which falls back to the client's version.
                let greetings: &[(Side, &str, usize)] = match version {
                    2 => &[
                        (Client, "ff00000000000000017f0105", 0),
                        (Client, "0003626f62", 5),
                        (Server, "ff00000000000000017f0306", 12),
                        (Server, "0000", 2),
                    ],
                    _ => &[(Client, "0400626f62", 5), (Server, "ff00000000000000017f", 0)],
                };
                let greetings = greetings.iter();
                units.extend(
                    greetings.map(|(side, digits, start)| (*side, hex::decode(digits).unwrap(), *start)),
                );
            }
            units.extend(messages.map(|vector| {
                let unit = unit(version, is_long, &vector.bytes);
                let start = unit.len() - vector.bytes.len();
                (vector.side, unit, start)
            }));
            units
        }
    }
}

pub fn syfala() -> impl Iterator<Item = Vector> {
    let all = lines(SYFALA)
        .filter(|(name, ..)| !name.starts_with("nested") && (name.contains("c2s") || name.contains("s2c")));
    all.map(|(name, bytes, meaning)| {
        let side = if name.contains("c2s") { Client } else { Server };
        Vector { name, side, bytes, is_valid: !meaning.contains("REJECT") }
    })
}

/// Packets, without the parts of packets.
pub fn dissonance() -> impl Iterator<Item = Vector> {
    let all = lines(DISSONANCE).filter(|(.., meaning)| meaning.starts_with(['{', 'e']));
    all.map(|(name, bytes, meaning)| Vector { name, side: Client, bytes, is_valid: meaning.starts_with('{') })
}

/// A packet of the session of three clients.
#[derive(Debug)]
pub struct Sent {
    pub client: usize,
    pub side: Side,
    pub is_reliable: bool,
    pub bytes: Vec<u8>,
}

/// The packets that go by the server.
pub fn dissonance_dialogue() -> Vec<Sent> {
    let lines = DISSONANCE_DIALOGUE.lines().filter_map(|line| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let [way, lane, digits, _] = words[..] else { return None };
        let side = match way.get(1..)? {
            ">" => Client,
            "<" => Server,
            _ => return None,
        };
        let client = way.get(..1)?.parse().ok()?;
        Some(Sent { client, side, is_reliable: lane == "R", bytes: hex::decode(digits).ok()? })
    });
    lines.collect()
}

/// Bytes of TCP + UDP, what they are, and the values of their fields.
pub fn transport()
-> impl Iterator<Item = (&'static str, Vec<u8>, &'static str, Vec<(&'static str, &'static str)>)> {
    lines(TRANSPORT).map(|(name, bytes, meaning)| {
        let mut words = meaning.split(' ');
        let what = words.next().unwrap();
        (name, bytes, what, words.map(|word| word.split_once('=').unwrap()).collect())
    })
}
