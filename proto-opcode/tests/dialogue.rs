//! The captured conversation of two original clients and an original server, with ours in the place of each in turn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic
)]

use std::collections::VecDeque;
use std::time::Duration;
use voxwire_core::testing::unhex;
use voxwire_core::{DialId, Input, Instant, Lane, ListenId, Message, Output, PeerId, Session, Via};
use voxwire_opcode::{
    CallId, CallRequest, Client, ClientCommand, ClientEvent, ClientSettings, Packet, Server, ServerEvent,
    ServerSettings, Wire,
};

const SCRIPT: &str = include_str!("vectors/dialogue.txt");

/// One line: connection, what happens, bytes.
fn script() -> impl Iterator<Item = (usize, &'static str, Vec<u8>)> {
    SCRIPT.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0].parse().unwrap(), words[1], words.get(2).map_or_else(Vec::new, |hex| unhex(hex)))
    })
}

fn packet(bytes: &[u8]) -> Packet<'_> {
    Packet::decode(bytes, &Wire::CLIENT).unwrap()
}

const fn peer(connection: usize) -> PeerId {
    PeerId { slot: connection as u32, generation: 0 }
}

/// What a session has sent on each connection and nobody has looked at, and what else it wants.
#[derive(Default)]
struct Sent {
    frames: [VecDeque<Vec<u8>>; 3],
    other: Vec<String>,
}

impl Sent {
    fn collect(&mut self, session: &mut impl Session) {
        let mut done = 0;
        for output in session.outputs() {
            done += 1;
            match output {
                Output::Send { to, frame, .. } => self.frames[to.slot as usize].push_back(frame.to_vec()),
                Output::Budget { .. } => {}
                other => self.other.push(format!("{other:?}")),
            }
        }
        session.advance(done);
    }
}

#[test]
fn o_10_our_server_says_what_the_original_said() {
    for settings in [ServerSettings::DEFAULT, ServerSettings::ORIGINAL] {
        let mut server = Server::new(settings, 1);
        let (mut now, mut sent, mut events) = (Instant::ZERO, Sent::default(), Vec::new());
        for (connection, what, bytes) in script().filter(|(connection, ..)| *connection < 2) {
            now = now.saturating_add(Duration::from_millis(100));
            let peer = peer(connection);
            let input = match what {
                "open" => {
                    let from = Some(([127, 0, 0, 1], 50_000).into());
                    Input::Opened { peer, via: Via::Accepted, from }
                }
                "client" => Input::Frame { peer, lane: Lane::Reliable, bytes: &bytes },
                "close-by-client" => Input::Closed { peer },
                "server" => {
                    assert_eq!(
                        sent.frames[connection].pop_front(),
                        Some(bytes),
                        "on connection {connection}"
                    );
                    continue;
                }
                other => panic!("{other}"),
            };
            events.extend(server.handle_input(now, input).unwrap().map(|event| match event {
                ServerEvent::Calling { .. } => "calling",
                ServerEvent::Refused { .. } => "refused",
                ServerEvent::LoggedIn { .. } => "in",
                ServerEvent::Connected { .. } => "here",
                ServerEvent::Gone { .. } => "gone",
                other => panic!("{other:?}"),
            }));
            sent.collect(&mut server);
        }
        assert!(sent.frames.iter().all(VecDeque::is_empty) && sent.other.is_empty(), "nothing more is said");
        let expected = ["here", "in", "here", "in", "calling", "refused", "calling", "gone", "gone"];
        assert_eq!(events, expected);
    }
}

/// Ours in the place of the client of `connection`: alice, who is called, or bob, who calls.
fn play(connection: usize) -> Vec<String> {
    let (mut client, mut now) = (Client::new(ClientSettings::DEFAULT), Instant::ZERO);
    let (mut sent, mut events) = (Sent::default(), Vec::new());
    let bob = connection == 1;
    let mut call = CallId::new(0);
    for (at, what, bytes) in script().filter(|(at, ..)| [connection, 2].contains(at)) {
        now = now.saturating_add(Duration::from_millis(100));
        // On the direct connection bob, who called, is the server.
        let ours = if at == 2 {
            what.ends_with(if bob { "server" } else { "client" })
        } else {
            what.ends_with("client")
        };
        let peer = peer(at);
        let command = |client: &mut Client, command| client.handle_command(now, command).unwrap();
        if ours && !bytes.is_empty() {
            match packet(&bytes) {
                Packet::Login { name } => {
                    command(&mut client, ClientCommand::Login { name: name.as_str().unwrap() });
                }
                Packet::CallRequest(CallRequest { contact, port, .. }) => {
                    command(&mut client, ClientCommand::Call { contact: contact.0 });
                    call = CallId::new(call.get() + 1);
                    let id = ListenId::new(call.get());
                    client.handle_input(now, Input::Listening { id, port }).unwrap();
                }
                Packet::CallRefused { .. } => command(&mut client, ClientCommand::Refuse { call }),
                Packet::VoiceData(packet) => command(&mut client, ClientCommand::Say { call: None, packet }),
                Packet::ConnectionEstablished => {}
                other => panic!("{other:?}"),
            }
            sent.collect(&mut client);
            assert_eq!(sent.frames[at].pop_front(), Some(bytes), "on connection {at}");
            continue;
        }
        let input = match (what, at) {
            ("open", 0 | 1) => Input::Opened { peer, via: Via::Dialled(DialId::FIRST), from: None },
            ("open", _) if bob => {
                Input::Opened { peer, via: Via::AcceptedOn(ListenId::new(call.get())), from: None }
            }
            ("open", _) => {
                command(&mut client, ClientCommand::Accept { call });
                sent.collect(&mut client);
                let dial = sent.other.pop().unwrap();
                assert_eq!(dial, r#"Dial { id: DialId(2), host: "127.0.0.1", port: 45279 }"#);
                Input::Opened { peer, via: Via::Dialled(DialId::new(2)), from: None }
            }
            (_, 2) if what.starts_with("close") && ours => {
                command(&mut client, ClientCommand::HangUp { call });
                continue;
            }
            (_, 0 | 1) if what.starts_with("close") => {
                client.shutdown(now);
                continue;
            }
            (_, _) if what.starts_with("close") => Input::Closed { peer },
            _ => Input::Frame { peer, lane: Lane::Reliable, bytes: &bytes },
        };
        let event = client.handle_input(now, input).unwrap();
        if let Some(ClientEvent::Incoming { call: ringing, .. }) = event {
            call = ringing;
        }
        events.extend(event.map(|event| format!("{event:?}")));
        sent.collect(&mut client);
    }
    assert!(sent.frames.iter().all(VecDeque::is_empty), "nothing more is said");
    assert_eq!(client.stats().packets_sent, 5);
    events
}

#[test]
fn o_10_our_client_calls_as_the_original_did() {
    let voice = [398, 344, 251, 248, 249].map(|bytes| format!("Voice(2, {bytes} bytes)"));
    let mut expected: Vec<String> =
        ["Connected", "LoggedIn", r#"Added(["alice"])"#, r#"Ended(1, "alice", refused)"#, "Established(2)"]
            .map(String::from)
            .to_vec();
    expected.extend(voice);
    expected.push(r#"Removed(["alice"])"#.into());
    assert_eq!(play(1), expected);
}

#[test]
fn o_10_our_client_is_called_as_the_original_was() {
    let voice = [399, 345, 249, 248, 249].map(|bytes| format!("Voice(2, {bytes} bytes)"));
    let mut expected: Vec<String> = [
        "Connected",
        "LoggedIn",
        r#"Added(["bob"])"#,
        r#"Incoming(1, "bob")"#,
        r#"Incoming(2, "bob")"#,
        "Established(2)",
    ]
    .map(String::from)
    .to_vec();
    expected.extend(voice);
    expected.push(r#"Ended(2, "bob", hung up)"#.into());
    assert_eq!(play(0), expected);
}
