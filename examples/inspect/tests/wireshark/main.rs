//! C-09: the Wireshark dissectors of `examples/wireshark` show what `voxwire-inspect` shows, field by field.
//!
//! The tests write captures, in which the messages are cut in many ways, and read what `tshark` makes of them.
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub)]

mod capture;
mod expect;
#[path = "../kit/mod.rs"]
mod kit;
mod numbers;
mod pdml;
mod vectors;

use capture::Side::{Client, Server};
use capture::{Capture, Cut, Side};
use expect::{check, decode};
use numbers::Numbers;
use pdml::Node;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use vectors::Vector;

const PROTOCOLS: [&str; 6] = ["voicelink", "opcode", "msgpack", "syfala", "dissonance", "transport"];
const CUTS: [Cut; 6] = [Cut::Whole, Cut::Bytes, Cut::Pairs, Cut::Ragged, Cut::Again, Cut::Swapped];

/// Whether there is a `tshark` with Lua. Says so if there is none.
fn is_here() -> bool {
    let problem = match Command::new("tshark").arg("--version").output() {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("with Lua") => return true,
        Ok(_) => "this tshark has no Lua",
        Err(_) => "tshark is not installed",
    };
    eprintln!("skipped: {problem}");
    false
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wireshark")
}

/// Runs `tshark` on a capture, with the dissectors and without the settings of the user who runs the test.
fn tshark(name: &str, capture: &Capture, arguments: &[&str]) -> String {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wireshark-{name}"));
    std::fs::create_dir_all(&home).unwrap();
    let file = home.join("capture.pcap");
    capture.write(&file);
    let scripts = PROTOCOLS.map(|protocol| folder().join(format!("voxwire_{protocol}.lua")));
    run(&home, &file, &scripts, arguments)
}

fn run(home: &Path, file: &Path, scripts: &[PathBuf], arguments: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.env("HOME", home).env("XDG_CONFIG_HOME", home).env("WIRESHARK_CONFIG_DIR", home);
    for script in scripts {
        command.arg("-X").arg(format!("lua_script:{}", script.display()));
    }
    let Output { status, stdout, stderr } =
        command.args(["-n", "-r"]).arg(file).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success() && !stderr.contains("Lua"), "{stderr}");
    String::from_utf8_lossy(&stdout).into_owned()
}

/// The packets that hold messages of ours, dissected.
fn dissect(name: &str, capture: &Capture, more: &[&str]) -> Vec<Node> {
    let ours: Vec<String> = PROTOCOLS.iter().map(|protocol| format!("vox.{protocol}")).collect();
    let (filter, shown) = (ours.join(" or "), format!("tcp udp {}", ours.join(" ")));
    // Segments in the wrong order are put right, and lists of samples are shown as a whole.
    let order = ["-o", "tcp.reassemble_out_of_order:TRUE", "-o", "vox.msgpack.samples:1000"];
    let output = ["-T", "pdml", "-Y", &filter, "-J", &shown];
    pdml::parse(&tshark(name, capture, &[&order[..], &output, more].concat()))
}

/// The messages of one protocol from one side of a conversation, which its client's port names.
fn messages<'a>(packets: &'a [Node], protocol: &str, client_port: u16, from: Side) -> Vec<&'a Node> {
    let name = format!("vox.{protocol}");
    let port = client_port.to_string();
    let field = if from == Client { "srcport" } else { "dstport" };
    let is_here = |packet: &&Node| {
        let transport = packet.children.iter().find(|proto| ["tcp", "udp"].contains(&proto.name()));
        transport
            .and_then(|proto| proto.find(&format!("{}.{field}", proto.name())))
            .is_some_and(|node| node.show() == port)
    };
    let all = packets.iter().filter(is_here).flat_map(|packet| &packet.children);
    all.filter(|proto| proto.name() == name).collect()
}

/// A conversation on TCP, and what each message of it means.
struct Conversation {
    protocol: &'static str,
    server_port: u16,
    units: Vec<(Side, Vec<u8>)>,
    /// What the inspector says of each; nothing of what is no message to it.
    wanted: Vec<Option<Result<Value, String>>>,
}

impl Conversation {
    /// `units`: who sends, what is sent, and how much of it is in front of the message. `dialect`: as `voxwire-inspect` takes it.
    fn new(
        protocol: &'static str,
        server_port: u16,
        dialect: &[&str],
        units: Vec<(Side, Vec<u8>, usize)>,
    ) -> Self {
        let wanted = units.iter().map(|(side, unit, start)| {
            (*start < unit.len()).then(|| decode(protocol, *side, dialect, &unit[*start..]))
        });
        let wanted = wanted.collect();
        let units = units.into_iter().map(|(side, unit, _)| (side, unit)).collect();
        Self { protocol, server_port, units, wanted }
    }

    fn play(&self, capture: &mut Capture, client_port: u16, cut: Cut) {
        capture.tcp(client_port, self.server_port, &self.units, cut);
    }

    fn check(&self, packets: &[Node], client_port: u16, about: &str) {
        for side in [Client, Server] {
            let shown = messages(packets, self.protocol, client_port, side);
            let sent: Vec<_> =
                self.units.iter().zip(&self.wanted).filter(|((from, _), _)| *from == side).collect();
            assert_eq!(shown.len(), sent.len(), "{about}: messages of the {}", side.name());
            for (node, ((_, unit), wanted)) in shown.into_iter().zip(sent) {
                let about = format!("{about}: {}", hex::encode(unit));
                match wanted {
                    Some(wanted) => check(node, self.protocol, side, wanted, &about),
                    None => {
                        let name = node.find(&format!("vox.{}.message", self.protocol)).map(Node::show);
                        assert!(matches!(name, Some("identity" | "greeting")), "{about}");
                    }
                }
            }
        }
    }
}

/// All well-formed messages of protocols on TCP, in conversations.
fn conversations() -> Vec<Conversation> {
    let whole = |side: Side, message: Vec<u8>| (side, message, 0);
    let mut all = Vec::new();
    for order in ["be", "le"] {
        let vectors = vectors::voicelink(order).filter(|vector| vector.is_valid);
        let dialect: &[&str] = if order == "be" { &["--byte-order", "be"] } else { &["--byte-order", "le"] };
        let units = vectors.map(|vector| whole(Client, vector.bytes)).collect();
        all.push(Conversation::new("voicelink", 4240, dialect, units));
    }
    let valid = vectors::opcode().filter(|vector| vector.is_valid).map(|vector| whole(Server, vector.bytes));
    all.push(Conversation::new("opcode", 4241, &[], valid.collect()));
    for units in vectors::opcode_dialogue() {
        let units = units.into_iter().map(|(side, message)| whole(side, message)).collect();
        all.push(Conversation::new("opcode", 4241, &[], units));
    }
    let msgpack = |units| Conversation::new("msgpack", 4242, &[], units);
    for units in vectors::msgpack_dialogue() {
        all.push(msgpack(units));
    }
    for framing in vectors::FRAMINGS {
        all.push(msgpack(vectors::msgpack_framed(framing)));
    }
    all
}

#[test]
fn c_09_every_vector_on_tcp_has_the_inspectors_fields_however_it_is_cut() {
    if !is_here() {
        return;
    }
    let conversations = conversations();
    let ports = || 20_000_u16..;
    for cut in CUTS {
        let mut capture = Capture::default();
        for (port, conversation) in ports().zip(&conversations) {
            conversation.play(&mut capture, port, cut);
        }
        let packets = dissect(&format!("{cut:?}"), &capture, &[]);
        for (port, conversation) in ports().zip(&conversations) {
            conversation.check(&packets, port, &format!("{} {cut:?} {port}", conversation.protocol));
        }
    }
    // What is looked at again, in any order, looks the same.
    let mut capture = Capture::default();
    for (port, conversation) in ports().zip(&conversations) {
        conversation.play(&mut capture, port, Cut::Ragged);
    }
    let packets = dissect("twice", &capture, &["-2"]);
    for (port, conversation) in ports().zip(&conversations) {
        conversation.check(&packets, port, &format!("{} again {port}", conversation.protocol));
    }
}

/// A message that the inspector refuses, alone on its connection.
struct Refused {
    protocol: &'static str,
    server_port: u16,
    dialect: &'static [&'static str],
    /// With what a stream has in front of it.
    unit: Vec<u8>,
    vector: Vector,
}

#[test]
fn c_09_every_malformed_vector_on_tcp_is_an_expert_info_at_the_same_field_and_offset() {
    if !is_here() {
        return;
    }
    let mut all = Vec::new();
    let mut add = |protocol, server_port, dialect, vector: Vector| {
        if !vector.is_valid {
            let unit = match protocol {
                "msgpack" => vectors::unit(3, false, &vector.bytes),
                _ => vector.bytes.clone(),
            };
            all.push(Refused { protocol, server_port, dialect, unit, vector });
        }
    };
    vectors::voicelink("be").for_each(|vector| add("voicelink", 4240, &["--byte-order", "be"], vector));
    vectors::voicelink("le").for_each(|vector| add("voicelink", 4240, &["--byte-order", "le"], vector));
    vectors::opcode().for_each(|vector| add("opcode", 4241, &[], vector));
    vectors::msgpack().for_each(|vector| add("msgpack", 4242, &[], vector));
    assert!(all.len() > 20);
    let mut capture = Capture::default();
    for (port, Refused { server_port, unit, vector, .. }) in (20_000..).zip(&all) {
        capture.tcp(port, *server_port, &[(vector.side, unit.clone())], Cut::Whole);
    }
    let packets = dissect("malformed", &capture, &[]);
    for (port, Refused { protocol, dialect, vector, .. }) in (20_000..).zip(&all) {
        let shown = messages(&packets, protocol, port, vector.side);
        assert_eq!(shown.len(), 1, "{}", vector.name);
        let wanted = decode(protocol, vector.side, dialect, &vector.bytes);
        assert!(wanted.is_err(), "{}", vector.name);
        check(shown[0], protocol, vector.side, &wanted, vector.name);
    }
}

#[test]
fn c_09_every_vector_on_udp_has_the_inspectors_fields() {
    if !is_here() {
        return;
    }
    let mut capture = Capture::default();
    let mut all = Vec::new();
    for vector in vectors::syfala().filter(|vector| !vector.bytes.is_empty()) {
        all.push(("syfala", 6911, vector));
    }
    for vector in vectors::dissonance() {
        all.push(("dissonance", 4999, vector));
    }
    for (port, (_, server_port, vector)) in (20_000..).zip(&all) {
        capture.udp(vector.side, port, *server_port, &vector.bytes);
    }
    let packets = dissect("udp", &capture, &["-d", "udp.port==4999,vox.dissonance"]);
    for (port, (protocol, _, vector)) in (20_000..).zip(&all) {
        let shown = messages(&packets, protocol, port, vector.side);
        assert_eq!(shown.len(), 1, "{}", vector.name);
        let wanted = decode(protocol, vector.side, &[], &vector.bytes);
        assert_eq!(wanted.is_ok(), vector.is_valid, "{}", vector.name);
        check(shown[0], protocol, vector.side, &wanted, vector.name);
    }
}

/// A unit of the transport, or a datagram.
fn transport_unit(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 1).unwrap().to_be_bytes();
    [&length[..], &[kind], body].concat()
}

fn datagram(kind: u8, tag: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &[tag; 7], body].concat()
}

const CLIENT_HELLO: &[u8] = b"VOXL\x01\x03\x00\x06secret";

fn server_hello(tag: u8) -> Vec<u8> {
    [&b"VOXL\x01\x00\x10\x94"[..], &[tag; 7], &[9; 16], &[0]].concat()
}

#[test]
fn c_09_d_15_a_session_of_dissonance_on_tcp_and_udp_has_the_inspectors_fields() {
    if !is_here() {
        return;
    }
    let sent = vectors::dissonance_dialogue();
    assert!(sent.len() > 40);
    // Voice by UDP, and by TCP where UDP does not get through.
    for (by_udp, cut) in [(true, Cut::Whole), (false, Cut::Bytes), (true, Cut::Ragged), (false, Cut::Pairs)] {
        let mut capture = Capture::default();
        for client in 0..3_u8 {
            let mut units = vec![(Client, CLIENT_HELLO.to_vec()), (Server, server_hello(client))];
            let of_client = || sent.iter().filter(|sent| sent.client == usize::from(client));
            units.extend(
                of_client()
                    .filter(|sent| sent.is_reliable || !by_udp)
                    .map(|sent| (sent.side, transport_unit(u8::from(!sent.is_reliable), &sent.bytes))),
            );
            let port = 20_000 + u16::from(client);
            capture.tcp(port, 4244, &units, cut);
            for sent in of_client().filter(|sent| !sent.is_reliable && by_udp) {
                capture.udp(sent.side, port + 100, 4244, &datagram(3, client, &sent.bytes));
            }
        }
        let packets = dissect(&format!("session-{by_udp}-{cut:?}"), &capture, &[]);
        for client in 0..3_u16 {
            for side in [Client, Server] {
                let of_side =
                    sent.iter().filter(|sent| sent.client == usize::from(client) && sent.side == side);
                let (udp, tcp): (Vec<_>, Vec<_>) = of_side.partition(|sent| by_udp && !sent.is_reliable);
                for (port, sent) in [(20_000 + client, tcp), (20_100 + client, udp)] {
                    let shown = messages(&packets, "dissonance", port, side);
                    assert_eq!(shown.len(), sent.len(), "{cut:?} client {client}, {side:?}");
                    for (node, sent) in shown.into_iter().zip(sent) {
                        let wanted = decode("dissonance", side, &[], &sent.bytes);
                        check(node, "dissonance", side, &wanted, &format!("{sent:?}"));
                    }
                }
            }
        }
    }
}

/// A message of the transport: from whom, its bytes, its name, and fields with what a filter has for them.
type Known = (Side, Vec<u8>, &'static str, &'static [(&'static str, &'static str)]);

#[test]
fn c_09_d_15_every_message_of_the_transport_is_shown() {
    if !is_here() {
        return;
    }
    let key = [7; 16];
    let tcp: Vec<Known> = vec![
        (
            Client,
            CLIENT_HELLO.to_vec(),
            "client hello",
            &[
                ("flags.udp", "1"),
                ("flags.direct", "1"),
                ("token_length", "6"),
                ("token", "73:65:63:72:65:74"),
            ],
        ),
        (
            Server,
            server_hello(5),
            "server hello",
            &[("status", "0"), ("udp_port", "4244"), ("tag", "05:05:05:05:05:05:05")],
        ),
        (
            Client,
            transport_unit(2, &[1, 1, 2, 3, 4, 5, 6, 7, 8]),
            "CONFIRM",
            &[("challenge", "01:02:03:04:05:06:07:08")],
        ),
        (Client, transport_unit(2, &[2]), "DOWN", &[("control", "2")]),
        (Server, transport_unit(2, &[3]), "BOUND", &[]),
        (
            Server,
            transport_unit(2, &[&[4][..], &key, &[0x10, 0x94, 192, 0, 2, 1]].concat()),
            "PEER",
            &[("port", "4244"), ("ipv4", "192.0.2.1")],
        ),
        (
            Server,
            transport_unit(2, &[&[4][..], &key, &[0, 1], &[0; 15], &[1]].concat()),
            "PEER",
            &[("port", "1"), ("ipv6", "::1")],
        ),
        (Server, transport_unit(2, &[&[5][..], &key].concat()), "GONE", &[]),
        (Server, transport_unit(2, &[99, 1]), "control", &[("body", "01")]),
        (Client, transport_unit(0, b"another session's"), "reliable packet", &[("unit", "0")]),
        (Client, transport_unit(1, b"another session's"), "droppable packet", &[("unit", "1")]),
    ];
    let udp: Vec<Known> = vec![
        (
            Client,
            datagram(1, 5, &[9; 16]),
            "BIND",
            &[("cookie", "09:09:09:09:09:09:09:09:09:09:09:09:09:09:09:09")],
        ),
        (Server, datagram(2, 5, &[1; 8]), "CHALLENGE", &[("challenge", "01:01:01:01:01:01:01:01")]),
        (Server, datagram(3, 5, b"another session's"), "DATA", &[("datagram", "3")]),
        (Client, datagram(4, 5, &[1; 8]), "PING", &[("body", "01:01:01:01:01:01:01:01")]),
        (Server, datagram(5, 5, &[1; 8]), "PONG", &[]),
        (
            Client,
            datagram(6, 7, &[&[7; 9][..], &[0, 0, 0, 1], &[0; 4]].concat()),
            "PROBE",
            &[("epoch", "0x00000001"), ("peer_epoch", "0x00000000")],
        ),
        (
            Client,
            datagram(7, 7, &[&[7; 9][..], &[0, 0, 0, 1], &[0, 0, 0, 2]].concat()),
            "PROBE_ACK",
            &[("epoch", "0x00000002"), ("peer_epoch", "0x00000001")],
        ),
        (Client, datagram(8, 7, b"another session's"), "DROPPABLE", &[]),
        (
            Client,
            datagram(9, 7, &[0, 0, 0, 1, 0, 3, 1]),
            "RELIABLE",
            &[("epoch", "0x00000001"), ("number", "3")],
        ),
        (Client, datagram(10, 7, &[0, 0, 0, 1, 0, 3]), "RELIABLE_ACK", &[("number", "3")]),
    ];
    for cut in CUTS {
        let mut capture = Capture::default();
        let units: Vec<_> = tcp.iter().map(|(side, bytes, ..)| (*side, bytes.clone())).collect();
        capture.tcp(20_000, 4244, &units, cut);
        // The second time on ports that only the tags and the key show.
        for (client_port, server_port) in [(20_001, 4244), (20_002, 20_003)] {
            for (side, bytes, ..) in &udp {
                capture.udp(*side, client_port, server_port, bytes);
            }
        }
        let packets = dissect(&format!("transport-{cut:?}"), &capture, &[]);
        for (port, known) in [(20_000, &tcp), (20_001, &udp), (20_002, &udp)] {
            for side in [Client, Server] {
                let shown = messages(&packets, "transport", port, side);
                let known: Vec<_> = known.iter().filter(|known| known.0 == side).collect();
                assert_eq!(shown.len(), known.len(), "{cut:?} {port} {side:?}");
                for (node, (_, bytes, name, fields)) in shown.into_iter().zip(known) {
                    let about = format!("{name} {}", hex::encode(bytes));
                    let show = |key: &str| node.find(&format!("vox.transport.{key}")).map(Node::show);
                    assert_eq!(show("message"), Some(*name), "{about}");
                    for (key, value) in *fields {
                        let shown = show(key).map(|shown| shown.replace("True", "1"));
                        assert_eq!(shown.as_deref(), Some(*value), "{about}: {key}");
                    }
                    assert!(show("malformed").is_none(), "{about}");
                }
            }
        }
    }
}

#[test]
fn c_09_d_15_every_vector_of_the_transport_is_shown() {
    if !is_here() {
        return;
    }
    let mut capture = Capture::default();
    let side = |what: &str| if what.ends_with("server-hello") { Server } else { Client };
    for (port, (_, bytes, what, _)) in (20_000..).zip(vectors::transport()) {
        match what {
            "datagram" => capture.udp(Client, port, 4244, &bytes),
            // A server answers.
            "server-hello" | "no-server-hello" => {
                let hello = (Client, CLIENT_HELLO.to_vec());
                capture.tcp(port, 4244, &[hello, (Server, bytes)], Cut::Bytes);
            }
            _ => capture.tcp(port, 4244, &[(Client, bytes)], Cut::Whole),
        }
    }
    let packets = dissect("transport-vectors", &capture, &[]);
    let mut count = 0;
    for (port, (name, bytes, what, fields)) in (20_000..).zip(vectors::transport()) {
        let shown = messages(&packets, "transport", port, side(what));
        let malformed = shown.iter().filter(|node| node.find("vox.transport.malformed").is_some()).count();
        if what.starts_with("no-") {
            // Bytes that are no hello at all are the beginning of a unit that never ends.
            assert!(malformed == 1 || shown.is_empty() && name == "hello_of_http", "{name}: {shown:?}");
            continue;
        }
        assert_eq!((shown.len(), malformed), (1, 0), "{name}: {shown:?}");
        count += 1;
        let show = |key: &str| shown[0].find(&format!("vox.transport.{key}"));
        for (key, value) in fields {
            let value = value.to_owned();
            let (key, wanted) = match (what, key) {
                (_, "udp" | "direct") => (format!("flags.{key}"), value),
                ("server-hello", "admitted") => {
                    ("status".into(), if value == "1" { "0" } else { "1" }.into())
                }
                ("server-hello", "port") => ("udp_port".into(), value),
                ("unit", "kind") => ("unit".into(), value),
                ("datagram", "kind") => ("datagram".into(), value),
                (_, "token" | "tag" | "cookie") => (key.into(), value),
                // What is in the body has names of its own, and so has what is behind the tag.
                _ => continue,
            };
            let node = show(&key);
            let found = node.map_or(String::new(), |node| match node.value() {
                value if ["token", "tag", "cookie"].contains(&&key[..]) => value.to_owned(),
                _ => node.show().replace("False", "0").replace("True", "1"),
            });
            assert_eq!(found, wanted, "{name}: {key}");
        }
        // All of it is shown: behind heads there are the bodies.
        let size: usize = shown.iter().map(|node| node.size()).sum();
        assert_eq!(size, bytes.len(), "{name}");
    }
    assert!(count > 20);
}

#[test]
fn c_09_d_15_malformed_units_and_datagrams_are_expert_infos() {
    if !is_here() {
        return;
    }
    let tcp: [(Vec<u8>, &str); 5] = [
        (b"VOXL\x02\x00\x00\x00".to_vec(), "version at offset 4: "),
        (b"VOXL\x01\x00\x04\x01".to_vec(), "length of the token at offset 6: "),
        (vec![0, 0, 1], "length at offset 0: "),
        (transport_unit(2, &[1, 2]), "challenge at offset 4: "),
        (transport_unit(2, &[&[4][..], &[7; 18], &[1, 2, 3]].concat()), "address at offset 22: "),
    ];
    let udp: [(Vec<u8>, &str); 3] = [
        (datagram(11, 1, b""), "kind of datagram at offset 0: "),
        (datagram(1, 1, &[1; 15]), "cookie at offset 8: "),
        (vec![5, 1, 1], "tag at offset 1: "),
    ];
    let mut capture = Capture::default();
    for (port, (bytes, _)) in (20_000..).zip(&tcp) {
        capture.tcp(port, 4244, &[(Client, bytes.clone())], Cut::Whole);
    }
    for (port, (bytes, _)) in (20_100..).zip(&udp) {
        capture.udp(Client, port, 4244, bytes);
    }
    let packets = dissect("transport-malformed", &capture, &[]);
    let ports = (20_000..).zip(&tcp).chain((20_100..).zip(&udp));
    for (port, (bytes, problem)) in ports {
        let shown = messages(&packets, "transport", port, Client);
        assert_eq!(shown.len(), 1, "{problem}");
        let mut said = Vec::new();
        shown[0].find_all("_ws.expert.message", &mut said);
        let said: Vec<&str> = said.iter().map(|node| node.show()).collect();
        assert!(said.iter().any(|said| said.starts_with(problem)), "{} {said:?}", hex::encode(bytes));
    }
}

/// The numbers of packets in which a script failed.
const LUA_ERRORS: [&str; 6] = ["-T", "fields", "-e", "frame.number", "-Y", "_ws.lua.error"];

#[test]
fn c_05_c_09_no_mutation_of_a_message_is_an_error_of_a_script() {
    if !is_here() {
        return;
    }
    let mut streams: Vec<(u16, Side, Vec<u8>)> = Vec::new();
    streams.extend(
        ["be", "le"].into_iter().flat_map(vectors::voicelink).map(|vector| (4240, Client, vector.bytes)),
    );
    streams.extend(vectors::opcode().map(|vector| (4241, Server, vector.bytes)));
    for framing in vectors::FRAMINGS {
        let units = vectors::msgpack_framed(framing).into_iter();
        let units: Vec<_> = units.filter(|(_, unit, _)| unit.len() < 500).collect();
        // Greetings, and a message behind each.
        streams.extend(units.iter().take(4).map(|(side, unit, _)| (4242, *side, unit.clone())));
        streams.extend(
            units.chunks(3).map(|units| {
                (4242, units[0].0, units.iter().flat_map(|(_, unit, _)| unit).copied().collect())
            }),
        );
    }
    let sent = vectors::dissonance_dialogue();
    streams.extend(sent.iter().map(|sent| (4244, sent.side, transport_unit(0, &sent.bytes))));
    streams.extend([(4244, Client, CLIENT_HELLO.to_vec()), (4244, Server, server_hello(1))]);
    streams.extend(
        [&[2, 1, 7][..], &[2, 4, 9, 9, 9], &[2, 5]].map(|unit| (4244, Server, transport_unit(2, unit))),
    );
    let mut datagrams: Vec<(u16, Side, Vec<u8>)> = Vec::new();
    datagrams.extend(vectors::syfala().map(|vector| (6911, vector.side, vector.bytes)));
    datagrams.extend(vectors::dissonance().map(|vector| (4999, Client, vector.bytes)));
    datagrams.extend(sent.iter().map(|sent| (4244, sent.side, datagram(3, 1, &sent.bytes))));
    datagrams.extend((1..11).map(|kind| (4244, Client, datagram(kind, 1, &[7; 17]))));

    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut capture = Capture::default();
    for run in 0..6 {
        for (kind, all) in [(0, &streams), (1, &datagrams)] {
            for (server_port, side, bytes) in all {
                let mut bytes = bytes.clone();
                // The first time as they are.
                if run > 0 {
                    numbers.mutate(&mut bytes);
                }
                let client_port = u16::try_from(10_000 + numbers.below(50_000)).unwrap();
                // At times on a port that nobody knows.
                let server_port = if numbers.below(5) == 0 { 9_999 } else { *server_port };
                if kind == 1 {
                    capture.udp(*side, client_port, server_port, &bytes);
                } else if !bytes.is_empty() {
                    let cut =
                        if bytes.len() < 60 && numbers.below(4) == 0 { Cut::Bytes } else { Cut::Ragged };
                    let cut = if numbers.below(2) == 0 { Cut::Whole } else { cut };
                    capture.tcp(client_port, server_port, &[(*side, bytes)], cut);
                }
            }
        }
    }
    let decode_as = ["-d", "udp.port==4999,vox.dissonance"];
    let failed = tshark("mutated", &capture, &[&LUA_ERRORS[..], &decode_as].concat());
    assert_eq!(failed, "");
    let failed = tshark("mutated", &capture, &[&LUA_ERRORS[..], &decode_as, &["-2"]].concat());
    assert_eq!(failed, "", "at the second look");
    // Errors of scripts can be seen in this way.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wireshark-mutated");
    let script = home.join("failing.lua");
    let failing = "local p = Proto('failing', 'failing') function p.dissector() local a = nil; a() end
        DissectorTable.get('udp.port'):add(6911, p)";
    std::fs::write(&script, failing).unwrap();
    assert_ne!(run(&home, &home.join("capture.pcap"), &[script], &LUA_ERRORS), "");
}

/// What the columns of packets with payload say, from the first packet on.
fn columns(name: &str, capture: &Capture, more: &[&str]) -> Vec<String> {
    let arguments = [
        "-T",
        "fields",
        "-e",
        "_ws.col.Protocol",
        "-e",
        "_ws.col.Info",
        "-Y",
        "tcp.len > 0 or udp.length > 8",
    ];
    let text = tshark(name, capture, &[&arguments, more].concat());
    text.lines().map(|line| line.replacen('\t', " ", 1)).collect()
}

#[test]
fn c_09_the_columns_say_what_happens() {
    if !is_here() {
        return;
    }
    let mut capture = Capture::default();
    let hex = |digits: &str| hex::decode(digits.replace(' ', "")).unwrap();
    let mut voicelink = vec![(Client, hex("00000016 0000 0000ac44 0001 02 00000400 0003 626f62"))];
    voicelink.push((Server, hex("00000006 0004")));
    voicelink.push((Client, [hex("000006f6 0006"), vec![0; 0x6f0]].concat()));
    voicelink.push((Server, hex("0000000a 0005 62757379")));
    voicelink.push((Client, hex("00000017 0000 0000ac44 0001 02 00000400 0000 626f62 00")));
    capture.tcp(20_000, 4240, &voicelink, Cut::Whole);
    let call = [hex("a6 757064617465 a9 63616c6c5f64617461 a3 616e6e dc 03c0"), vec![1; 960]].concat();
    capture.tcp(20_001, 4242, &[(Server, vectors::unit(3, false, &call))], Cut::Whole);
    let secret = "a772657175657374a56c6f67696ea3616e6ea6736563726574";
    capture.tcp(20_002, 4242, &[(Client, vectors::unit(3, false, &hex(secret)))], Cut::Whole);
    let login = hex("0d00000000000000 0200 0300000000000000 626f62");
    let voice = hex("0d00000000000000 0700 0300000000000000 fcfffe");
    capture.tcp(20_003, 4241, &[(Client, login), (Server, voice)], Cut::Whole);
    let connect = hex("00 01 000000000070e740 02 20 0a 00");
    let audio =
        |index: u8| [&[7, 0, 0, 0, 0, index, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0][..], &[0; 16]].concat();
    for data in [connect, audio(0), audio(48)] {
        capture.udp(Server, 6910, 6911, &data);
    }
    let steering = hex("0e00000000000000 0400 0400000000000000 1b5b316d");
    capture.tcp(20_004, 4241, &[(Server, steering)], Cut::Whole);
    let expected = [
        "voicelink Handshake: calls bob (44100 Hz, 1 channel, int16)",
        "voicelink Accept",
        "voicelink Data, 888 frames int16, 20.14 ms",
        "voicelink Drop: busy",
        "voicelink Handshake: registers bob (44100 Hz, 1 channel, int16)",
        "msgpack call_data from ann, 960 samples i16",
        "msgpack login from ann",
        "opcode Login as bob",
        "opcode VoiceData, 3 bytes, Opus CELT fullband stereo, 1 frame of 20 ms",
        "syfala Connect: offers 1 input (48000 Hz x 2 IEEF32), 0 outputs",
        "syfala Audio of input 0, 2 frames x 2 IEEF32 from byte 0",
        "syfala Audio of input 0, 2 frames x 2 IEEF32 from byte 48, 32 bytes missing before",
        "opcode LoginFailed: .[1m",
    ];
    assert_eq!(columns("columns", &capture, &[]), expected);
}

/// The end of plain objects is where the last one ends: long lists are not gone through once for each segment.
#[test]
fn c_09_a_long_list_of_plain_objects_is_put_together() {
    if !is_here() {
        return;
    }
    let head = hex::decode("a6757064617465a963616c6c5f64617461a3616e6edd00004e20").unwrap();
    let call = [head, [0xcd, 1, 0].repeat(20_000)].concat();
    let mut capture = Capture::default();
    // The second one shows that the first has ended.
    capture.tcp(20_000, 4242, &[(Server, call.clone()), (Server, call)], Cut::Ragged);
    let packets = dissect("long", &capture, &[]);
    let shown = messages(&packets, "msgpack", 20_000, Server);
    let counts = shown.iter().map(|node| node.find("vox.msgpack.sample_count").unwrap().show());
    assert_eq!(counts.collect::<Vec<_>>(), ["20000", "20000"]);
}

#[test]
fn c_09_datagrams_that_the_sender_has_not_cut_yet_are_told_apart() {
    if !is_here() {
        return;
    }
    let audio = |index: u8, n: u8| {
        let head = [7, 0, 0, 0, 0, index, 0, 0, 0, 0, 0, 0, 0, n, 0, 0, 0];
        [&head[..], &vec![7; usize::from(n)]].concat()
    };
    let voice: Vec<u8> = vectors::dissonance().find(|vector| vector.name == "voice_player").unwrap().bytes;
    let mut capture = Capture::default();
    capture.udp(Server, 6910, 6911, &[audio(0, 24), audio(24, 24), audio(48, 16)].concat());
    capture.udp(Server, 20_000, 4244, &datagram(3, 1, &voice).repeat(3));
    // The last one is shorter, or is no packet.
    capture.udp(Server, 20_001, 4244, &[datagram(3, 1, &voice).repeat(2), datagram(3, 1, b"")].concat());
    // Only one, in which the tag occurs once more.
    let once = datagram(3, 1, &[&[0; 30][..], &datagram(3, 1, &[0; 3])].concat());
    capture.udp(Server, 20_002, 4244, &[once, vec![0; 60]].concat());
    let packets = dissect("offload", &capture, &[]);
    let count = |protocol, port| messages(&packets, protocol, port, Server).len();
    assert_eq!(count("syfala", 6910), 3);
    assert!(
        messages(&packets, "syfala", 6910, Server).iter().all(|node| node.find("vox.syfala.note").is_none())
    );
    assert_eq!((count("transport", 20_000), count("dissonance", 20_000)), (3, 3));
    assert_eq!((count("transport", 20_001), count("dissonance", 20_001)), (3, 2));
    assert_eq!(count("transport", 20_002), 1);
}

#[test]
fn c_09_objects_of_any_kind_are_shown_within_bounds() {
    if !is_here() {
        return;
    }
    let hex = |digits: &str| hex::decode(digits.replace(' ', "")).unwrap();
    let mut capture = Capture::default();
    // A map, nil, an extension, floats, negative numbers, bytes; behind a type that is none.
    let all =
        "a3 666f6f 82 a161 92 01 ff a162 c0 d4 05 07 ca 3f800000 cb 3ff0000000000000 d1 ff00 c4 02 0102 c3";
    // As deep as it is long, and as wide as can be said.
    let deep = "91".repeat(5000);
    let wide = format!("a1 78 dd ffffffff {}", "01".repeat(3000));
    for (port, digits) in (20_000..).zip([all, &deep, &wide, "df ffffffff"]) {
        capture.tcp(port, 4242, &[(Client, vectors::unit(3, false, &hex(digits)))], Cut::Whole);
    }
    let packets = dissect("objects", &capture, &[]);
    let shown = |port| messages(&packets, "msgpack", port, Client)[0];
    // Versions differ in how they name items that are no fields.
    let lines = |port| -> Vec<String> {
        let mut items = Vec::new();
        shown(port).find_all("_ws.lua.text", &mut items);
        shown(port).find_all("", &mut items);
        items
            .iter()
            .map(|item| if item.line().is_empty() { item.show() } else { item.line() }.to_owned())
            .collect()
    };
    let found = lines(20_000);
    for line in [
        "string of 3 bytes: foo",
        "map of 2 pairs",
        "list of 2 objects",
        "integer: -1",
        "nil",
        "extension of 1 byte",
        "float: 1",
        "integer: -256",
        "string of 2 bytes: ..",
        "true",
    ] {
        assert!(found.iter().any(|found| found == line), "{line:?} is not in {found:?}");
    }
    for port in [20_001, 20_002, 20_003] {
        let count = lines(port).len();
        assert!((2..300).contains(&count), "{count} items");
    }
}

#[test]
fn c_09_conversations_on_other_ports_are_found_and_all_else_is_left_alone() {
    if !is_here() {
        return;
    }
    let mut capture = Capture::default();
    let first = |mut all: Vec<Vector>, name: &str| {
        all.swap_remove(all.iter().position(|one| one.name == name).unwrap()).bytes
    };
    let handshake = first(vectors::voicelink("le").collect(), "handshake_le");
    let close = first(vectors::voicelink("le").collect(), "close_le");
    let login = vectors::unit(3, false, &first(vectors::msgpack().collect(), "ok_non_minimal_forms"));
    let response = vectors::unit(3, false, &first(vectors::msgpack().collect(), "res_whisper_not_connected"));
    let request = vectors::unit(3, false, &first(vectors::msgpack().collect(), "req_whisper"));
    let voice = first(vectors::dissonance().collect(), "voice_player");
    capture.tcp(20_000, 5099, &[(Client, handshake), (Client, close.clone())], Cut::Whole);
    for (port, units) in (20_001..).zip(vectors::opcode_dialogue()) {
        capture.tcp(port, 5099, &units, Cut::Whole);
    }
    capture.tcp(20_010, 5099, &[(Client, request), (Server, response), (Client, login)], Cut::Whole);
    capture.tcp(20_011, 5099, &[(Client, CLIENT_HELLO.to_vec()), (Server, server_hello(1))], Cut::Whole);
    capture.udp(Client, 20_012, 5099, &voice);
    capture.udp(Server, 20_013, 5099, &hex::decode("000001000000000070e740022000").unwrap());
    capture.udp(
        Client,
        20_013,
        5099,
        &[&[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0][..], &[0; 4]].concat(),
    );
    let packets = dissect("other-ports", &capture, &[]);
    let count = |protocol: &str, port, side| messages(&packets, protocol, port, side).len();
    assert_eq!(count("voicelink", 20_000, Client), 2);
    for (port, units) in (20_001..).zip(vectors::opcode_dialogue()) {
        let shown = count("opcode", port, Client) + count("opcode", port, Server);
        assert_eq!(shown, units.len(), "{port}");
    }
    let names = |port, side| -> Vec<String> {
        let shown = messages(&packets, "msgpack", port, side);
        shown.iter().map(|node| node.find("vox.msgpack.message").unwrap().show().to_owned()).collect()
    };
    assert_eq!(names(20_010, Client), ["whisper", "login"]);
    assert_eq!(names(20_010, Server), ["response"]);
    assert_eq!((count("transport", 20_011, Client), count("transport", 20_011, Server)), (1, 1));
    assert_eq!(count("dissonance", 20_012, Client), 1);
    assert_eq!((count("syfala", 20_013, Server), count("syfala", 20_013, Client)), (1, 1));

    // What others send: text, a ZeroMQ greeting, nothing in particular.
    let mut capture = Capture::default();
    let mut numbers = Numbers(1);
    let get = b"GET / HTTP/1.1\r\nHost: example\r\n\r\n".to_vec();
    let (_, greeting, _) = vectors::msgpack_framed(vectors::FRAMINGS[0]).swap_remove(0);
    for port in 20_000..20_300 {
        let mut random: Vec<u8> =
            (0..20 + numbers.below(200)).map(|_| u8::try_from(numbers.below(256)).unwrap()).collect();
        // Small numbers, as in the heads of many protocols.
        if port % 2 == 0 {
            random.iter_mut().take(16).for_each(|byte| *byte %= 12);
        }
        capture.udp(Client, port, 5001, &random);
        let message = match port % 10 {
            0 => get.clone(),
            1 => greeting.clone(),
            _ => random,
        };
        capture.tcp(port, 5001, &[(Client, message)], Cut::Whole);
    }
    let packets = dissect("not-ours", &capture, &[]);
    assert!(packets.is_empty(), "{packets:?}");

    // A port that a preference names, and one that it does not name any more.
    let mut capture = Capture::default();
    capture.tcp(20_000, 5099, &[(Client, close.clone())], Cut::Whole);
    capture.tcp(20_001, 4240, &[(Client, close)], Cut::Whole);
    for (ports, found) in [("4240", (0, 1)), ("5099", (1, 0)), ("4240,5090-5100", (1, 1)), ("", (0, 0))] {
        let packets = dissect("preferences", &capture, &["-o", &format!("vox.voicelink.tcp_ports:{ports}")]);
        let count = |port| messages(&packets, "voicelink", port, Client).len();
        assert_eq!((count(20_000), count(20_001)), found, "{ports:?}");
    }
    let packets = dissect("preferences", &capture, &["-o", "vox.voicelink.byte_order:big-endian"]);
    assert!(messages(&packets, "voicelink", 20_001, Client)[0].find("vox.voicelink.malformed").is_some());
}
