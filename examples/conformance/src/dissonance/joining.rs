//! Handshakes, sessions, states and leaving, at a server.

use super::bytes::{
    CLIENT_STATE, ERROR_WRONG_SESSION, HANDSHAKE_RESPONSE, RELIABLE, UNIT_HEAD, client_state, delta,
    handshake_request, packet, remove_client, string, unit,
};
use super::player::{Player, Players, droppable, greeted};
use crate::check::{Check, Outcome};
use crate::layout::Layout;
use crate::stage::Stage;
use core::time::Duration;

pub(super) const JOINING: &[Check] = &[
    Check {
        row: "D-05",
        name: "join",
        expected: "HandshakeRequest is answered with HandshakeResponse; ClientState goes to all clients as it is.",
        section: "A session",
        needs: &[],
        run: |stage| {
            let players = Players::default();
            let mut alice = players.join(stage, "alice", &mut [])?;
            players.join(stage, "bob", &mut [&mut alice]).map(drop)
        },
    },
    Check {
        row: "D-05",
        name: "state-as-it-is",
        expected: "A ClientState that lists rooms goes to all clients with the rooms as they are listed.",
        section: "A session",
        needs: &[],
        run: |stage| {
            let players = Players::default();
            let mut alice = players.join(stage, "alice", &mut [])?;
            let (tcp, _) = greeted(stage, "bob", 0)?;
            let mut bob = players.handshake(tcp, stage.name("bob"))?;
            let state = unit(
                RELIABLE,
                client_state(bob.session, &bob.name, bob.id, &["Lobby", "Ca\u{301}fe", "Team"]),
            );
            bob.tcp.send(&state)?;
            bob.expect(&state)?;
            alice.expect(&state)
        },
    },
    Check {
        row: "D-02",
        name: "name-invalid",
        expected: "A handshake with an invisible name is not answered, and the connection stays.",
        section: "Decisions, Names of clients",
        needs: &[],
        run: |stage| {
            let (mut tcp, _) = greeted(stage, "alice", 0)?;
            tcp.send(&unit(RELIABLE, handshake_request("al\u{200b}ice")))?;
            tcp.expect_silence(Duration::from_millis(200))?;
            Players::default().handshake(tcp, stage.name("alice")).map(drop)
        },
    },
    Check {
        row: "D-03",
        name: "room-id",
        expected: "HandshakeResponse lists the room Lobby, and its number, 0x560c, with who listens.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let players = Players::default();
            let mut alice = players.join(stage, "alice", &mut [])?;
            let change = unit(RELIABLE, delta(alice.session, true, alice.id, "Lobby"));
            alice.tcp.send(&change)?;
            alice.expect(&change)?;
            let bob = players.join(stage, "bob", &mut [&mut alice])?;
            let lists = |bytes: &[u8]| bob.response.windows(bytes.len()).any(|some| some == bytes);
            let name = string(Layout::big(), "room name", "Lobby").encode();
            let channel = bob.response.windows(3).position(|some| some[..2] == [0x56, 0x0c] && some[2] > 0);
            if bob.response[9..11] == [0, 0] {
                // In the other form a ClientState says it.
                return Err(crate::check::Stop::Skipped(
                    "the server has too many clients for full lists".into(),
                ));
            }
            let listens = channel.is_some_and(|at| {
                let count = usize::from(bob.response[at + 2]);
                let ids = bob.response.get(at + 3..at + 3 + 2 * count).unwrap_or_default();
                ids.chunks(2).any(|id| id == alice.id.to_be_bytes())
            });
            if lists(&name) && listens {
                return Ok(());
            }
            Err(bob.tcp.fails("no room Lobby, or no channel 560c with alice's number", &bob.response))
        },
    },
    Check {
        row: "D-01",
        name: "wrong-magic",
        expected: "A packet with another magic number is discarded, and the connection stays.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let mut alice = Players::default().join(stage, "alice", &mut [])?;
            let mut change = unit(RELIABLE, delta(alice.session, true, alice.id, "Lobby")).encode();
            change[UNIT_HEAD + 1] ^= 1;
            alice.tcp.send_bytes(&change)?;
            alice.expect_nothing()
        },
    },
    Check {
        row: "D-02",
        name: "malformed",
        expected: "Unknown types and cut packets are refused, and the connection stays.",
        section: "Limits and rates",
        needs: &[],
        run: |stage| {
            let mut alice = Players::default().join(stage, "alice", &mut [])?;
            alice.send(RELIABLE, packet(77, alice.session))?;
            alice.send(RELIABLE, packet(CLIENT_STATE, alice.session).u16("string length", 900))?;
            alice.send(RELIABLE, Layout::big().bytes("magic", [0x8b]))?;
            alice.expect_nothing()
        },
    },
    Check {
        row: "D-04",
        name: "wrong-session",
        expected: "A packet of another session is answered with ErrorWrongSession of the server's session.",
        section: "Decisions, Sessions and handshakes",
        needs: &[],
        run: |stage| {
            let mut alice = Players::default().join(stage, "alice", &mut [])?;
            alice.send(RELIABLE, delta(another(alice.session), true, alice.id, "Lobby"))?;
            alice.expect(&droppable(packet(ERROR_WRONG_SESSION, alice.session)))?;
            alice.expect_nothing()
        },
    },
    Check {
        row: "D-04",
        name: "never-answered",
        expected: "ErrorWrongSession of another session has no answer.",
        section: "Decisions, Sessions and handshakes",
        needs: &[],
        run: |stage| {
            let mut alice = Players::default().join(stage, "alice", &mut [])?;
            alice.send(RELIABLE, packet(ERROR_WRONG_SESSION, another(alice.session)))?;
            alice.expect_nothing()
        },
    },
    Check {
        row: "D-06",
        name: "delta",
        expected: "DeltaClientState goes to all clients as it is, for joining and for leaving a room.",
        section: "A session",
        needs: &[],
        run: |stage| {
            let players = Players::default();
            let mut alice = players.join(stage, "alice", &mut [])?;
            let mut bob = players.join(stage, "bob", &mut [&mut alice])?;
            for (joined, room) in [(true, "Lobby"), (true, "Z\u{fc}rich \u{1f600}"), (false, "Lobby")] {
                let change = unit(RELIABLE, delta(bob.session, joined, bob.id, room));
                bob.tcp.send(&change)?;
                bob.expect(&change)?;
                alice.expect(&change)?;
            }
            Ok(())
        },
    },
    Check {
        row: "D-06",
        name: "delta-before-state",
        expected: "DeltaClientState before the first ClientState reaches no other client.",
        section: "Decisions, What a client may send",
        needs: &[],
        run: |stage| {
            let players = Players::default();
            let mut alice = players.join(stage, "alice", &mut [])?;
            let (tcp, _) = greeted(stage, "bob", 0)?;
            let mut bob = players.handshake(tcp, stage.name("bob"))?;
            bob.send(RELIABLE, delta(bob.session, true, bob.id, "Lobby"))?;
            let state = unit(RELIABLE, client_state(bob.session, &bob.name, bob.id, &[]));
            bob.tcp.send(&state)?;
            alice.expect(&state)
        },
    },
    Check {
        row: "D-12",
        name: "leave",
        expected: "RemoveClient goes to all clients when a connection ends.",
        section: "A session",
        needs: &[],
        run: |stage| see_leaving(stage, &Players::default()).map(drop),
    },
    Check {
        row: "D-13",
        name: "id-rests",
        expected: "The number of a client that has left is not given to the next one.",
        section: "Decisions, Sessions and handshakes",
        needs: &[],
        run: |stage| {
            let players = Players::default();
            let (mut alice, id) = see_leaving(stage, &players)?;
            let carol = players.join(stage, "carol", &mut [&mut alice])?;
            if carol.id == id {
                return Err(carol
                    .tcp
                    .fails(format!("the number {id} was given out again at once"), &carol.response));
            }
            Ok(())
        },
    },
    Check {
        row: "D-17",
        name: "many-clients",
        expected: "Where the lists exceed 1024 bytes, they are empty, and each client has a ClientState.",
        section: "Decisions, Sessions and handshakes",
        needs: &[],
        run: |stage| {
            let players = Players::default();
            let mut crowd = Vec::new();
            for _ in 0..8 {
                let (tcp, _) = greeted(stage, "crowd", 0)?;
                let mut one = players.handshake(tcp, stage.name(&"crowd".repeat(30)))?;
                let state = unit(RELIABLE, client_state(one.session, &one.name, one.id, &[]));
                one.tcp.send(&state)?;
                // Those of the others come before, where the lists were empty.
                while state.difference(&one.frame()?).is_some() {}
                crowd.push(one);
            }
            let (tcp, _) = greeted(stage, "alice", 0)?;
            let mut alice = players.handshake(tcp, stage.name("alice"))?;
            if alice.response.len() > 1024
                || alice.response[2] != HANDSHAKE_RESPONSE
                || alice.response[9..11] != [0, 0]
            {
                return Err(alice.tcp.fails("the lists should be empty", &alice.response));
            }
            // The newcomer may be in the list, too.
            let own = unit(RELIABLE, client_state(alice.session, &alice.name, alice.id, &[]));
            let mut left: Vec<_> = crowd.iter().map(|one| (one.name.clone(), one.id)).collect();
            while !left.is_empty() {
                let frame = alice.frame()?;
                let of = |(name, id): &(String, u16)| {
                    unit(RELIABLE, client_state(alice.session, name, *id, &[])).difference(&frame).is_none()
                };
                let Some(at) = left.iter().position(of) else {
                    if own.difference(&frame).is_none() {
                        continue;
                    }
                    return Err(alice.tcp.fails("this is no ClientState of a client that was left", &frame));
                };
                left.swap_remove(at);
            }
            Ok(())
        },
    },
];

/// Alice, who has heard that bob has left, and the number that bob had.
fn see_leaving(stage: &Stage<'_>, players: &Players) -> Outcome<(Player, u16)> {
    let mut alice = players.join(stage, "alice", &mut [])?;
    let bob = players.join(stage, "bob", &mut [&mut alice])?;
    let id = bob.id;
    drop(bob);
    alice.expect(&unit(RELIABLE, remove_client(alice.session, id)))?;
    Ok((alice, id))
}

/// Another session than this one.
const fn another([a, b, c, d]: [u8; 4]) -> [u8; 4] {
    [a, b, c, d ^ 1]
}
