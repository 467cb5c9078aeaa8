//! No message is an error of a script, or takes more time and place than it has bytes.

use crate::capture::Side::{self, Client, Server};
use crate::capture::{Capture, Cut};
use crate::numbers::Numbers;
use crate::transport::{CLIENT_HELLO, datagram, server_hello, transport_unit};
use crate::tshark::{dissect, is_here, messages, run, tshark};
use crate::vectors;
use std::path::Path;

/// The numbers of packets in which a script failed.
const LUA_ERRORS: [&str; 6] = ["-T", "fields", "-e", "frame.number", "-Y", "_ws.lua.error"];

/// Messages on TCP: the port of the server, who sends, and the bytes.
fn streams() -> Vec<(u16, Side, Vec<u8>)> {
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
    streams
}

/// The same on UDP.
fn datagrams() -> Vec<(u16, Side, Vec<u8>)> {
    let sent = vectors::dissonance_dialogue();
    let mut datagrams: Vec<(u16, Side, Vec<u8>)> = Vec::new();
    datagrams.extend(vectors::syfala().map(|vector| (6911, vector.side, vector.bytes)));
    datagrams.extend(vectors::dissonance().map(|vector| (4999, Client, vector.bytes)));
    datagrams.extend(sent.iter().map(|sent| (4244, sent.side, datagram(3, 1, &sent.bytes))));
    datagrams.extend((1..11).map(|kind| (4244, Client, datagram(kind, 1, &[7; 17]))));
    datagrams
}

#[test]
fn c_05_c_09_no_mutation_of_a_message_is_an_error_of_a_script() {
    if !is_here() {
        return;
    }
    let (streams, datagrams) = (streams(), datagrams());
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
