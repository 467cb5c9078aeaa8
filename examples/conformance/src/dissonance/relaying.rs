//! Voice and texts through a server.

use super::bytes::{
    DROPPABLE, HANDSHAKE_P2P, RELAY_RELIABLE, RELAY_UNRELIABLE, RELIABLE, client_state, packet, relay, text,
    unit, voice,
};
use super::player::{Player, Players, droppable, greeted};
use crate::check::{Check, Outcome};
use crate::stage::Stage;

/// Alice, bob and carol.
fn three(stage: &Stage<'_>) -> Outcome<[Player; 3]> {
    let players = Players::default();
    let mut alice = players.join(stage, "alice", &mut [])?;
    let mut bob = players.join(stage, "bob", &mut [&mut alice])?;
    let carol = players.join(stage, "carol", &mut [&mut alice, &mut bob])?;
    Ok([alice, bob, carol])
}

/// The sender has no answer to a text that goes nowhere: a text of it to the receiver is the next that comes there.
fn expect_only_a_text(alice: &mut Player, bob: &mut Player) -> Outcome {
    let inner = text(alice.session, alice.id, bob.id, "fence");
    alice.send(RELIABLE, relay(RELAY_RELIABLE, alice.session, &[bob.id], &inner))?;
    bob.expect(&unit(RELIABLE, inner))
}

pub(super) const RELAYING: &[Check] = &[
    Check {
        row: "D-10",
        name: "voice-by-tcp",
        expected: "The inner bytes of a relay packet reach those that it names, as they are, and nobody else.",
        section: "Decisions, Relaying",
        needs: &[],
        run: |stage| {
            let [mut alice, mut bob, mut carol] = three(stage)?;
            for sequence in 0..50 {
                let frame: Vec<u8> = (0..sequence * 5).map(|it: u16| it.to_be_bytes()[1]).collect();
                let inner = voice(alice.session, alice.id, sequence, bob.id, &frame);
                alice.send(DROPPABLE, relay(RELAY_UNRELIABLE, alice.session, &[bob.id], &inner))?;
                bob.expect(&droppable(inner))?;
            }
            carol.expect_nothing()
        },
    },
    Check {
        row: "D-10",
        name: "all-destinations",
        expected: "A relay packet that names two clients reaches both; one that names a client twice reaches it once.",
        section: "Decisions, Relaying",
        needs: &[],
        run: |stage| {
            let [mut alice, mut bob, mut carol] = three(stage)?;
            let to = |text_of: &str| text(alice.session, alice.id, bob.id, text_of);
            let (both, twice) = (to("both"), to("twice"));
            let session = alice.session;
            alice.send(RELIABLE, relay(RELAY_RELIABLE, session, &[bob.id, carol.id], &both))?;
            alice.send(RELIABLE, relay(RELAY_RELIABLE, session, &[bob.id, bob.id], &twice))?;
            bob.expect(&unit(RELIABLE, both.clone()))?;
            bob.expect(&unit(RELIABLE, twice))?;
            expect_only_a_text(&mut alice, &mut bob)?;
            // To a player, and carol is not that player: she may be left out.
            let inner = text(session, alice.id, carol.id, "fence");
            alice.send(RELIABLE, relay(RELAY_RELIABLE, session, &[carol.id], &inner))?;
            let came = carol.frame()?;
            if unit(RELIABLE, both).difference(&came).is_none() {
                return carol.expect(&unit(RELIABLE, inner));
            }
            carol.tcp.same_as(&unit(RELIABLE, inner), &came)
        },
    },
    Check {
        row: "D-15",
        name: "voice-by-udp",
        expected: "A bound client's DATA are relayed, and it is sent DATA, each with one packet.",
        section: "Transport 3, Datagrams",
        needs: &["udp"],
        run: |stage| {
            let players = Players::default();
            let mut bob = players.join(stage, "bob", &mut [])?;
            let (mut tcp, answer) = greeted(stage, "alice", 1)?;
            let bound = Player::bind(stage, &mut tcp, &answer)?;
            let mut alice = players.handshake(tcp, stage.name("alice"))?;
            let state = unit(RELIABLE, client_state(alice.session, &alice.name, alice.id, &[]));
            alice.tcp.send(&state)?;
            alice.expect(&state)?;
            bob.expect(&state)?;
            let inner = voice(alice.session, alice.id, 0, bob.id, b"from alice");
            let packet = relay(RELAY_UNRELIABLE, alice.session, &[bob.id], &inner).encode();
            bound.udp.send(&bound.datagram(3, &packet))?;
            bob.expect(&droppable(inner))?;
            let inner = voice(bob.session, bob.id, 0, alice.id, b"from bob");
            bob.send(DROPPABLE, relay(RELAY_UNRELIABLE, bob.session, &[alice.id], &inner))?;
            bound.udp.expect(&bound.layout(3, inner), |_| true).map(drop)
        },
    },
    Check {
        row: "D-09",
        name: "voice-sent-reliably",
        expected: "Voice in a reliable relay packet is handed on as droppable.",
        section: "Decisions, Relaying",
        needs: &[],
        run: |stage| {
            let [mut alice, mut bob, _carol] = three(stage)?;
            let inner = voice(alice.session, alice.id, 0, bob.id, b"frame");
            alice.send(RELIABLE, relay(RELAY_RELIABLE, alice.session, &[bob.id], &inner))?;
            bob.expect(&droppable(inner))
        },
    },
    Check {
        row: "D-11",
        name: "text",
        expected: "A text in any script reaches its recipient on the reliable lane, byte for byte.",
        section: "A session",
        needs: &[],
        run: |stage| {
            let [mut alice, mut bob, mut carol] = three(stage)?;
            for said in ["hello", "", "gr\u{fc}\u{df} dich \u{1f600}", &"x".repeat(900)] {
                let inner = text(alice.session, alice.id, bob.id, said);
                alice.send(RELIABLE, relay(RELAY_RELIABLE, alice.session, &[bob.id], &inner))?;
                bob.expect(&unit(RELIABLE, inner))?;
            }
            carol.expect_nothing()
        },
    },
    Check {
        row: "D-10",
        name: "never-p2p",
        expected: "A HandshakeP2P inside a relay packet is not handed on.",
        section: "Decisions, Relaying",
        needs: &[],
        run: |stage| {
            let [mut alice, mut bob, _carol] = three(stage)?;
            let inner = packet(HANDSHAKE_P2P, alice.session).u16("client id", alice.id);
            alice.send(RELIABLE, relay(RELAY_RELIABLE, alice.session, &[bob.id], &inner))?;
            expect_only_a_text(&mut alice, &mut bob)
        },
    },
    Check {
        row: "D-16",
        name: "nested",
        expected: "A relay packet inside a relay packet is not handed on.",
        section: "Decisions, Relaying",
        needs: &[],
        run: |stage| {
            let [mut alice, mut bob, carol] = three(stage)?;
            let inner = text(alice.session, alice.id, bob.id, "nested");
            let nested = relay(RELAY_RELIABLE, alice.session, &[bob.id], &inner);
            alice.send(RELIABLE, relay(RELAY_RELIABLE, alice.session, &[bob.id, carol.id], &nested))?;
            expect_only_a_text(&mut alice, &mut bob)
        },
    },
    Check {
        row: "D-16",
        name: "forged-sender",
        expected: "Voice and texts in another client's name are not handed on.",
        section: "Decisions, What a client may send",
        needs: &[],
        run: |stage| {
            let [mut alice, mut bob, carol] = three(stage)?;
            let session = alice.session;
            let spoken = voice(session, carol.id, 0, bob.id, b"forged");
            alice.send(RELIABLE, relay(RELAY_RELIABLE, session, &[bob.id], &spoken))?;
            let written = text(session, carol.id, bob.id, "forged");
            alice.send(RELIABLE, relay(RELAY_RELIABLE, session, &[bob.id], &written))?;
            expect_only_a_text(&mut alice, &mut bob)
        },
    },
    Check {
        row: "D-16",
        name: "forged-state",
        expected: "A change of another client's rooms reaches no client.",
        section: "Decisions, What a client may send",
        needs: &[],
        run: |stage| {
            let [mut alice, mut bob, mut carol] = three(stage)?;
            alice.send(RELIABLE, super::bytes::delta(alice.session, true, carol.id, "Lobby"))?;
            expect_only_a_text(&mut alice, &mut bob)?;
            carol.expect_nothing()
        },
    },
];
