//! The transport of Dissonance's packets: its hellos, units and datagrams.

use crate::capture::Side::{self, Client, Server};
use crate::capture::{Capture, Cut};
use crate::pdml::Node;
use crate::tshark::{CUTS, dissect, is_here, messages};
use crate::vectors;

/// A unit of the transport, or a datagram.
pub fn transport_unit(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 1).unwrap().to_be_bytes();
    [&length[..], &[kind], body].concat()
}

pub fn datagram(kind: u8, tag: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &[tag; 7], body].concat()
}

pub const CLIENT_HELLO: &[u8] = b"VOXL\x01\x03\x00\x06secret";

pub fn server_hello(tag: u8) -> Vec<u8> {
    [&b"VOXL\x01\x00\x10\x94"[..], &[tag; 7], &[9; 16], &[0]].concat()
}

/// A message of the transport: from whom, its bytes, its name, and fields with what a filter has for them.
type Known = (Side, Vec<u8>, &'static str, &'static [(&'static str, &'static str)]);

fn known_on_tcp() -> Vec<Known> {
    let key = [7; 16];
    vec![
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
    ]
}

fn known_on_udp() -> Vec<Known> {
    vec![
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
    ]
}

#[test]
fn c_09_d_15_every_message_of_the_transport_is_shown() {
    if !is_here() {
        return;
    }
    let (tcp, udp) = (known_on_tcp(), known_on_udp());
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
