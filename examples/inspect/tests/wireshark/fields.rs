//! Every message has the fields that the inspector has.

use crate::capture::Side::{Client, Server};
use crate::capture::{Capture, Cut};
use crate::conversation::conversations;
use crate::expect::{check, decode};
use crate::transport::{CLIENT_HELLO, datagram, server_hello, transport_unit};
use crate::tshark::{CUTS, dissect, is_here, messages};
use crate::vectors::{self, Vector};

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
