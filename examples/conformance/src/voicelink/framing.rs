//! Framing, byte orders and malformed packets, at a server.

use super::bytes::{
    DATA, DROP, PARAMETERS, USER_NOT_FOUND, cutter, handshake, packet, parameters, with_any, with_bytes,
};
use super::server::{call, register, register_with};
use crate::check::{Check, Outcome};
use crate::layout::{Layout, Order};
use crate::stage::Stage;
use core::time::Duration;

const B: Order = Order::Big;
const L: Order = Order::Little;

pub(super) const FRAMING: &[Check] = &[
    Check {
        row: "V-01",
        name: "silent-first",
        expected: "A server sends nothing before a client's first packet.",
        section: "Decisions, Packets",
        needs: &[],
        run: |stage| stage.connect("alice", cutter(B))?.expect_silence(Duration::from_millis(300)),
    },
    Check {
        row: "V-01",
        name: "byte-by-byte",
        expected: "A packet that arrives byte by byte is one packet.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let mut alice = stage.connect("alice", cutter(B))?;
            let packet = handshake(B, &stage.name("nobody"), b"").encode();
            alice.send_split(&packet, 1..packet.len())?;
            alice.expect(&with_bytes(B, USER_NOT_FOUND, b"")).map(drop)
        },
    },
    Check {
        row: "V-01",
        name: "every-split",
        expected: "A packet in two pieces, wherever it is cut, is one packet.",
        section: "On the wire",
        needs: &["registration"],
        run: |stage| {
            let (mut alice, mut bob) = call(stage)?;
            let data = with_bytes(B, DATA, b"0123456789");
            for cut in 1..data.len() {
                alice.send_split(&data.encode(), [cut])?;
                bob.expect(&data)?;
            }
            Ok(())
        },
    },
    Check {
        row: "V-01",
        name: "coalesced",
        expected: "Packets that arrive in one piece are taken one by one, and a piece of a third waits.",
        section: "On the wire",
        needs: &["registration"],
        run: |stage| {
            let (mut alice, mut bob) = call(stage)?;
            let [one, two, three] = [&b"first"[..], b"second", b"third"].map(|it| with_bytes(B, DATA, it));
            let all = [one.encode(), two.encode(), three.encode()].concat();
            alice.send_split(&all, [all.len() - 4])?;
            bob.expect(&one)?;
            bob.expect(&two)?;
            bob.expect(&three).map(drop)
        },
    },
    Check {
        row: "V-01",
        name: "little-endian",
        expected: "A client whose first Length is little-endian is answered in that order.",
        section: "Decisions, Packets",
        needs: &[],
        run: |stage| {
            let mut alice = stage.connect("alice", cutter(L))?;
            alice.send(&handshake(L, &stage.name("nobody"), b""))?;
            alice.expect(&with_bytes(L, USER_NOT_FOUND, b"")).map(drop)
        },
    },
    Check {
        row: "V-01",
        name: "order-translated",
        expected: "Heads are translated between clients of different byte orders; what is behind them is not.",
        section: "Decisions, Packets",
        needs: &["registration"],
        run: |stage| {
            let (bob_name, alice_name) = (stage.name("bob"), stage.name("alice"));
            let mut bob = register(stage, "bob", &bob_name, L)?;
            let mut alice = register(stage, "alice", &alice_name, B)?;
            alice.send(&handshake(B, &bob_name, b"\x01\x02\x03"))?;
            bob.expect(&handshake(L, &alice_name, b"\x01\x02\x03"))?;
            bob.send(&parameters(L, b"\x04\x05\x06"))?;
            alice.expect(&parameters(B, b"\x04\x05\x06")).map(drop)
        },
    },
    Check {
        row: "V-12",
        name: "length-too-small",
        expected: "A Length below 6 closes its connection, and no other.",
        section: "Decisions, Packets",
        needs: &["registration"],
        run: |stage| ends(stage, &[0, 0, 0, 5, 0, 6, 1, 2, 3, 4]),
    },
    Check {
        row: "V-12",
        name: "length-too-large",
        expected: "A Length above every limit closes its connection before so many bytes have come, and no other.",
        section: "Limits and rates",
        needs: &["registration"],
        run: |stage| ends(stage, &[0x7f, 0xff, 0xff, 0xff, 0, 6, 1, 2, 3, 4]),
    },
    Check {
        row: "V-12",
        name: "out-of-range",
        expected: "A Handshake with sample rate 0 is answered with Drop, and the connection stays.",
        section: "Decisions, Packets",
        needs: &["registration"],
        run: |stage| {
            let bob_name = stage.name("bob");
            let mut bob = register(stage, "bob", &bob_name, B)?;
            let mut alice = stage.connect("alice", cutter(B))?;
            let mut bytes = handshake(B, &bob_name, b"").encode();
            bytes[6..10].fill(0);
            alice.send_bytes(&bytes)?;
            let came = alice.frame()?;
            alice.same_as(&with_any(B, DROP, came.len()), &came)?;
            alice.send(&handshake(B, &stage.name("nobody"), b""))?;
            alice.expect(&with_bytes(B, USER_NOT_FOUND, b""))?;
            bob.expect_silence(Duration::from_millis(100))
        },
    },
    Check {
        row: "V-12",
        name: "malformed-forgiven",
        expected: "A packet of an unknown type, and a cut one, are refused; the connection and a call elsewhere stay.",
        section: "Limits and rates",
        needs: &["registration"],
        run: |stage| {
            let (mut alice, mut bob) = call(stage)?;
            let mut other = stage.connect("carol", cutter(B))?;
            other.send(&handshake(B, &stage.name("nobody"), b""))?;
            other.expect(&with_bytes(B, USER_NOT_FOUND, b""))?;
            other.send(&with_bytes(B, 9, b""))?;
            other.send(&packet(B, PARAMETERS, Layout::big().u32("Sample Rate", 48_000)))?;
            let data = with_bytes(B, DATA, b"unharmed");
            alice.send(&data)?;
            bob.expect(&data)?;
            // Refused packets may be answered with Drop.
            other.send(&handshake(B, &stage.name("nobody"), b""))?;
            loop {
                let came = other.frame()?;
                if came.get(4..6) != Some(&DROP.to_be_bytes()[..]) {
                    return other.same_as(&with_bytes(B, USER_NOT_FOUND, b""), &came);
                }
            }
        },
    },
    Check {
        row: "V-14",
        name: "samples-swapped",
        expected: "16-bit samples are swapped between clients that declared different orders of samples.",
        section: "Decisions, Packets",
        needs: &["registration", "sample-order"],
        run: |stage| {
            let (bob_name, alice_name) = (stage.name("bob"), stage.name("alice"));
            let mut bob = register_with(stage, "bob", &bob_name, B, Some("be"))?;
            let mut alice = register_with(stage, "alice", &alice_name, B, Some("le"))?;
            alice.send(&handshake(B, &bob_name, b""))?;
            bob.expect(&handshake(B, &alice_name, b""))?;
            bob.send(&with_bytes(B, super::bytes::ACCEPT, b""))?;
            alice.expect(&with_bytes(B, super::bytes::ACCEPT, b""))?;
            alice.send(&with_bytes(B, DATA, [1, 2, 3, 4]))?;
            bob.expect(&with_bytes(B, DATA, [2, 1, 4, 3])).map(drop)
        },
    },
];

/// `bytes` end their connection; a call beside it goes on.
fn ends(stage: &Stage<'_>, bytes: &[u8]) -> Outcome {
    let (mut alice, mut bob) = call(stage)?;
    let mut other = register(stage, "carol", &stage.name("carol"), B)?;
    other.send_bytes(bytes)?;
    other.expect_closed()?;
    let data = with_bytes(B, DATA, b"unharmed");
    alice.send(&data)?;
    bob.expect(&data).map(drop)
}
