//! Calls and names, at a server.

use super::bytes::{
    ACCEPT, CLOSE, DATA, DROP, USER_NOT_FOUND, USERNAME_AT, cutter, handshake, parameters, with_any,
    with_bytes,
};
use crate::check::{Check, Outcome};
use crate::layout::Order;
use crate::peer::Peer;
use crate::stage::Stage;
use core::time::Duration;

const B: Order = Order::Big;

/// A client with a name.
pub(super) fn register(stage: &Stage<'_>, who: &'static str, name: &str, order: Order) -> Outcome<Peer> {
    register_with(stage, who, name, order, None)
}

/// The same, which says the order of its samples.
pub(super) fn register_with(
    stage: &Stage<'_>,
    who: &'static str,
    name: &str,
    order: Order,
    samples: Option<&str>,
) -> Outcome<Peer> {
    let mut peer = stage.connect(who, cutter(order))?;
    peer.send(&registration(stage, name, order, samples))?;
    peer.expect(&with_bytes(order, ACCEPT, b""))?;
    Ok(peer)
}

fn registration(stage: &Stage<'_>, name: &str, order: Order, samples: Option<&str>) -> crate::layout::Layout {
    let secret = &stage.target.secret;
    let optional = match samples {
        Some(samples) => format!("{name}\0{secret}\0{samples}"),
        None if secret.is_empty() => name.to_owned(),
        None => format!("{name}\0{secret}"),
    };
    handshake(order, "", optional.as_bytes())
}

/// A call that rings: the caller, the callee.
fn ringing(stage: &Stage<'_>) -> Outcome<(Peer, Peer)> {
    let (alice_name, bob_name) = (stage.name("alice"), stage.name("bob"));
    let mut bob = register(stage, "bob", &bob_name, B)?;
    let mut alice = register(stage, "alice", &alice_name, B)?;
    alice.send(&handshake(B, &bob_name, b""))?;
    bob.expect(&handshake(B, &alice_name, b""))?;
    Ok((alice, bob))
}

/// A call that is up: the caller, the callee.
pub(super) fn call(stage: &Stage<'_>) -> Outcome<(Peer, Peer)> {
    let (mut alice, mut bob) = ringing(stage)?;
    bob.send(&with_bytes(B, ACCEPT, b""))?;
    alice.expect(&with_bytes(B, ACCEPT, b""))?;
    Ok((alice, bob))
}

/// The next packet is a Drop whose Optional Data begin with `reason`.
fn expect_drop(peer: &mut Peer, reason: &str) -> Outcome {
    let came = peer.frame()?;
    let layout = with_any(B, DROP, came.len());
    if reason.is_empty() || came.get(6..).is_some_and(|said| said.starts_with(reason.as_bytes())) {
        return peer.same_as(&layout, &came);
    }
    peer.same_as(&with_bytes(B, DROP, reason), &came)
}

/// Packets of `from` reach `to` as they are.
fn handed_on(from: &mut Peer, to: &mut Peer, kind: u16, bytes: &[u8]) -> Outcome {
    let packet = with_bytes(B, kind, bytes);
    from.send(&packet)?;
    to.expect(&packet).map(drop)
}

/// Every value that a byte can have.
fn all_bytes() -> Vec<u8> {
    (0..=u8::MAX).collect()
}

pub(super) const CALLS: &[Check] = &[
    Check {
        row: "V-02",
        name: "forwarded",
        expected: "The callee is sent the Handshake with the caller's name in place of its own.",
        section: "Decisions, Calls",
        needs: &["registration"],
        run: |stage| ringing(stage).map(drop),
    },
    Check {
        row: "V-03",
        name: "six-bytes",
        expected: "UserNotFound is a packet of 6 bytes of type 1.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let mut alice = stage.connect("alice", cutter(B))?;
            alice.send(&handshake(B, &stage.name("nobody"), b"optional"))?;
            alice.expect(&with_bytes(B, USER_NOT_FOUND, b"")).map(drop)
        },
    },
    Check {
        row: "V-04",
        name: "counter-proposal",
        expected: "Parameters reach the caller as they are, and its Accept the callee; then audio flows.",
        section: "A session",
        needs: &["registration"],
        run: |stage| {
            let (mut alice, mut bob) = ringing(stage)?;
            bob.send(&parameters(B, b"instead"))?;
            alice.expect(&parameters(B, b"instead"))?;
            handed_on(&mut alice, &mut bob, ACCEPT, b"")?;
            handed_on(&mut alice, &mut bob, DATA, &[7; 16])
        },
    },
    Check {
        row: "V-05",
        name: "close",
        expected: "Close ends a call that rings, from either side, and reaches the other.",
        section: "Decisions, Calls",
        needs: &["registration"],
        run: |stage| {
            let (mut alice, mut bob) = ringing(stage)?;
            handed_on(&mut bob, &mut alice, CLOSE, b"not now")?;
            let (mut alice, mut bob) = ringing(stage)?;
            handed_on(&mut alice, &mut bob, CLOSE, b"changed my mind")
        },
    },
    Check {
        row: "V-05",
        name: "drop",
        expected: "Drop ends a call that is up, from either side, and reaches the other.",
        section: "A session",
        needs: &["registration"],
        run: |stage| {
            let (mut alice, mut bob) = call(stage)?;
            handed_on(&mut alice, &mut bob, DROP, b"")?;
            let (mut alice, mut bob) = call(stage)?;
            handed_on(&mut bob, &mut alice, DROP, b"bye")
        },
    },
    Check {
        row: "V-06",
        name: "relay",
        expected: "Data reaches the other side byte by byte as it was sent, in order, both ways.",
        section: "On the wire",
        needs: &["registration"],
        run: |stage| {
            let (mut alice, mut bob) = call(stage)?;
            for number in 0..50_u8 {
                let samples = [&[number][..], &all_bytes()].concat();
                handed_on(&mut alice, &mut bob, DATA, &samples)?;
                handed_on(&mut bob, &mut alice, DATA, &samples)?;
            }
            Ok(())
        },
    },
    Check {
        row: "V-06",
        name: "sizes",
        expected: "Data of no samples and of 65 535 bytes reach the other side.",
        section: "Limits and rates",
        needs: &["registration"],
        run: |stage| {
            let (mut alice, mut bob) = call(stage)?;
            handed_on(&mut alice, &mut bob, DATA, b"")?;
            handed_on(&mut alice, &mut bob, DATA, &all_bytes().repeat(256)[..65_529])
        },
    },
    Check {
        row: "V-09",
        name: "busy",
        expected: "A call to a callee in a call is answered with Drop, and a reason that begins with busy.",
        section: "Decisions, Calls",
        needs: &["registration"],
        run: |stage| {
            let bob_name = stage.name("bob");
            let mut bob = register(stage, "bob", &bob_name, B)?;
            let mut alice = stage.connect("alice", cutter(B))?;
            alice.send(&handshake(B, &bob_name, b""))?;
            let rings = bob.frame()?;
            if rings.get(4..6) != Some(&[0, 0]) || rings.len() < USERNAME_AT {
                return Err(bob.fails("a Handshake was expected", &rings));
            }
            let mut carol = stage.connect("carol", cutter(B))?;
            carol.send(&handshake(B, &bob_name, b""))?;
            expect_drop(&mut carol, "busy")
        },
    },
    Check {
        row: "V-09",
        name: "oneself",
        expected: "A call to oneself is answered with Drop, and a reason that begins with busy.",
        section: "Decisions, Calls",
        needs: &["registration"],
        run: |stage| {
            let name = stage.name("alice");
            let mut alice = register(stage, "alice", &name, B)?;
            alice.send(&handshake(B, &name, b""))?;
            expect_drop(&mut alice, "busy")
        },
    },
    Check {
        row: "V-09",
        name: "connection-lost",
        expected: "The other side of a call is sent Drop when a connection is lost.",
        section: "Decisions, Calls",
        needs: &["registration"],
        run: |stage| {
            let (alice, mut bob) = call(stage)?;
            drop(alice);
            expect_drop(&mut bob, "")
        },
    },
    Check {
        row: "V-09",
        name: "answer-to-no-call",
        expected: "An answer to a call that does not exist is answered with Drop.",
        section: "Decisions, Calls",
        needs: &["registration"],
        run: |stage| {
            let mut bob = register(stage, "bob", &stage.name("bob"), B)?;
            bob.send(&with_bytes(B, ACCEPT, b""))?;
            expect_drop(&mut bob, "")
        },
    },
    Check {
        row: "V-09",
        name: "data-outside-call",
        expected: "Data outside a call is dropped without an answer, and the connection stays.",
        section: "Decisions, Calls",
        needs: &["registration"],
        run: |stage| {
            let mut alice = register(stage, "alice", &stage.name("alice"), B)?;
            alice.send(&with_bytes(B, DATA, b"nobody hears"))?;
            alice.send(&handshake(B, &stage.name("nobody"), b""))?;
            alice.expect(&with_bytes(B, USER_NOT_FOUND, b"")).map(drop)
        },
    },
    Check {
        row: "V-11",
        name: "any-bytes",
        expected: "Optional Data of all 256 values reach the other side unchanged, in Handshake, Accept and Drop.",
        section: "Decisions, Calls",
        needs: &["registration"],
        run: |stage| {
            let (bob_name, alice_name) = (stage.name("bob"), stage.name("alice"));
            let mut bob = register(stage, "bob", &bob_name, B)?;
            let mut alice = register(stage, "alice", &alice_name, B)?;
            alice.send(&handshake(B, &bob_name, &all_bytes()))?;
            bob.expect(&handshake(B, &alice_name, &all_bytes()))?;
            handed_on(&mut bob, &mut alice, ACCEPT, &all_bytes())?;
            handed_on(&mut alice, &mut bob, DROP, &all_bytes())
        },
    },
    Check {
        row: "V-13",
        name: "invalid-name",
        expected: "A registration of an invisible name is answered with Drop, which begins with name invalid.",
        section: "Decisions, Registration",
        needs: &["registration"],
        run: |stage| {
            let mut alice = stage.connect("alice", cutter(B))?;
            alice.send(&registration(stage, "al\u{200b}ice", B, None))?;
            expect_drop(&mut alice, "name invalid")
        },
    },
    Check {
        row: "V-13",
        name: "taken",
        expected: "A name that another connection has is refused with Drop where many share the address.",
        section: "Decisions, Registration",
        needs: &["registration", crate::protocols::LOOPBACK],
        run: |stage| {
            let name = stage.name("alice");
            let mut alice = register(stage, "alice", &name, B)?;
            let mut other = stage.connect("carol", cutter(B))?;
            other.send(&registration(stage, &name, B, None))?;
            expect_drop(&mut other, "")?;
            alice.expect_silence(Duration::from_millis(50))
        },
    },
];
