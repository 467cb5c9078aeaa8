//! On which ports conversations are found.

use crate::capture::Side::{Client, Server};
use crate::capture::{Capture, Cut};
use crate::numbers::Numbers;
use crate::transport::{CLIENT_HELLO, server_hello};
use crate::tshark::{dissect, is_here, messages};
use crate::vectors::{self, Vector};

/// The bytes of the vector of this name.
fn first(mut all: Vec<Vector>, name: &str) -> Vec<u8> {
    all.swap_remove(all.iter().position(|one| one.name == name).unwrap()).bytes
}

#[test]
fn c_09_conversations_on_other_ports_are_found() {
    if !is_here() {
        return;
    }
    let mut capture = Capture::default();
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
}

#[test]
fn c_09_what_is_of_no_protocol_is_left_alone() {
    if !is_here() {
        return;
    }
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
}

#[test]
fn c_09_preferences_name_ports() {
    if !is_here() {
        return;
    }
    let close = first(vectors::voicelink("le").collect(), "close_le");
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
