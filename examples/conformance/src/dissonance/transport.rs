//! The transport TCP + UDP, at a server.

use super::bytes::{CONTROL, RELIABLE, admitted, cut_unit, handshake_request, hello, unit};
use super::player::{Player, Players, greeted};
use crate::check::{Check, Outcome};
use crate::layout::Layout;
use crate::stage::Stage;
use core::time::Duration;

pub(super) const TRANSPORT: &[Check] = &[
    Check {
        row: "D-15",
        name: "hello",
        expected: "A hello is answered with 32 bytes: VOXL, version 1, status 0, port, tag, cookie, 0.",
        section: "Transport 1, Hello",
        needs: &[],
        run: |stage| greeted(stage, "alice", 0).map(drop),
    },
    Check {
        row: "D-15",
        name: "hello-byte-by-byte",
        expected: "A hello that arrives byte by byte is answered as one that arrives whole.",
        section: "Transport 1, Hello",
        needs: &[],
        run: |stage| {
            let mut alice = stage.connect("alice", cut_unit)?;
            let bytes = hello(0, &stage.target.secret).encode();
            alice.send_split(&bytes, 1..bytes.len())?;
            alice.expect_bytes(&admitted()).map(drop)
        },
    },
    Check {
        row: "D-15",
        name: "unit-with-hello",
        expected: "Units that are sent before the answer to the hello has arrived are taken.",
        section: "Transport 1, Hello",
        needs: &[],
        run: |stage| {
            let mut alice = stage.connect("alice", cut_unit)?;
            let request = unit(RELIABLE, handshake_request(&stage.name("alice")));
            alice.send(&hello(0, &stage.target.secret).then(request))?;
            alice.expect_bytes(&admitted())?;
            let head = Layout::big().any("unit length", 2).u8("unit kind", RELIABLE);
            alice.expect(&head.then(super::bytes::handshake_response())).map(drop)
        },
    },
    Check {
        row: "D-15",
        name: "hello-malformed",
        expected: "A hello with another magic or version ends its connection without an answer, and no other.",
        section: "Transport 1, Hello",
        needs: &[],
        run: |stage| {
            let mut bob = Players::default().join(stage, "bob", &mut [])?;
            for bytes in [&b"GET / HT"[..], b"VOXL\x02\x00\x00\x00"] {
                let mut alice = stage.connect("alice", cut_unit)?;
                alice.send_bytes(bytes)?;
                if let Some(answer) = alice.frame_within(Duration::from_millis(300))? {
                    return Err(alice.fails("a malformed hello was answered", &answer));
                }
                alice.expect_closed()?;
            }
            bob.expect_nothing()
        },
    },
    Check {
        row: "D-15",
        name: "bind",
        expected: "BIND is answered with CHALLENGE to that address, CONFIRM with BOUND, then PING with PONG.",
        section: "Transport 4, Binding",
        needs: &["udp"],
        run: |stage| {
            let (mut alice, answer) = greeted(stage, "alice", 1)?;
            let bound = Player::bind(stage, &mut alice, &answer)?;
            bound.udp.send(&bound.datagram(4, b"8 bytes."))?;
            let pong = bound.layout(5, Layout::big().bytes("body of the PING", b"8 bytes."));
            bound.udp.expect(&pong, |_| true).map(drop)
        },
    },
    Check {
        row: "D-16",
        name: "cookie-forged",
        expected: "A BIND with another cookie, and a datagram with another tag, have no answer.",
        section: "Transport 3, Datagrams",
        needs: &["udp"],
        run: |stage| {
            let (alice, answer) = greeted(stage, "alice", 1)?;
            let port = u16::from_be_bytes([answer[6], answer[7]]);
            let udp = stage.datagrams("mallory", port)?;
            let (tag, cookie) = (&answer[8..15], &answer[15..31]);
            let mut cookie = cookie.to_vec();
            cookie[5] ^= 1;
            udp.send(&[&[1][..], tag, &cookie].concat())?;
            let mut tag = tag.to_vec();
            tag[3] ^= 1;
            udp.send(&[&[4][..], &tag, b"8 bytes."].concat())?;
            let came = udp.next_within(Duration::from_millis(300))?;
            drop(alice);
            came.map_or(Ok(()), |came| Err(udp.fails("a forged datagram was answered", &came)))
        },
    },
    Check {
        row: "D-15",
        name: "unknown-control",
        expected: "A control that is not known is ignored.",
        section: "Transport 2, Units",
        needs: &[],
        run: |stage| {
            let mut alice = Players::default().join(stage, "alice", &mut [])?;
            alice.send(CONTROL, Layout::big().bytes("control", [99, 1, 2, 3]))?;
            alice.expect_nothing()
        },
    },
    Check {
        row: "D-15",
        name: "every-split",
        expected: "A unit in two pieces, wherever it is cut, is one unit.",
        section: "Transport 2, Units",
        needs: &[],
        run: |stage| {
            let mut alice = Players::default().join(stage, "alice", &mut [])?;
            let length = unit(RELIABLE, super::bytes::delta(alice.session, true, alice.id, "Lobby")).len();
            for cut in 1..length {
                let change =
                    unit(RELIABLE, super::bytes::delta(alice.session, cut % 2 == 1, alice.id, "Lobby"));
                alice.tcp.send_split(&change.encode(), [cut])?;
                alice.expect(&change)?;
            }
            Ok(())
        },
    },
    Check {
        row: "D-15",
        name: "unit-empty",
        expected: "A unit of length 0 ends its connection, and no other.",
        section: "Transport 2, Units",
        needs: &[],
        run: |stage| ends(stage, &[0, 0, 0, 0]),
    },
    Check {
        row: "D-17",
        name: "unit-too-long",
        expected: "A packet of more than 1024 bytes ends its connection, and no other.",
        section: "Limits and rates",
        needs: &[],
        run: |stage| ends(stage, &[&[0x04, 0x02, 0, 0x8b, 0xc7][..], &[0; 1023]].concat()),
    },
];

/// `bytes` end their connection; the other clients are told, and go on.
fn ends(stage: &Stage<'_>, bytes: &[u8]) -> Outcome {
    let players = Players::default();
    let mut bob = players.join(stage, "bob", &mut [])?;
    let mut alice = players.join(stage, "alice", &mut [&mut bob])?;
    alice.tcp.send_bytes(bytes)?;
    alice.tcp.expect_closed()?;
    bob.expect(&unit(RELIABLE, super::bytes::remove_client(bob.session, alice.id)))?;
    bob.expect_nothing()
}
