//! What a client does, as dialogues: with a server on a simulated network, or one that is played by the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

use crate::harness;

use core::time::Duration;
use harness::info;
use voxwire_core::testing::{Log, Net, Sim, Transport};
use voxwire_core::{Input, Instant, Lane, List, Output, Session};
use voxwire_dissonance::{
    Channel, Client, ClientCommand, ClientId, ClientSettings, DeltaClientState, HandshakeResponse, MAX_TEXT,
    Packet, Priority, Recipient, Server, ServerRelay, ServerSettings, Speech, Target, Text, TextData,
    Violation, room_id,
};

#[test]
fn d_17_destinations_are_split_by_count_and_size() {
    for (listeners, len, relays) in [(255, 100, 1), (300, 100, 2), (600, 3, 3), (100, 900, 3), (3, 990, 2)] {
        let mut client = Client::new("speaker", ClientSettings::DEFAULT).unwrap();
        let server = harness::join_client(&mut client, 0, listeners);
        let to = Target::Room("Hall");
        client.handle_command(Instant::ZERO, ClientCommand::Open { to, as_: Speech::DEFAULT }).unwrap();
        client.handle_command(Instant::ZERO, ClientCommand::Say { frame: &vec![7; len] }).unwrap();
        let mut reached = Vec::new();
        let mut count = 0;
        for output in client.outputs() {
            let Output::Send { to, lane: Lane::Droppable, frame, .. } = output else { panic!("{output:?}") };
            let (relay, reliable) = ServerRelay::read(frame).unwrap();
            assert!(to == server && !reliable && frame.len() <= 1024 && relay.destinations.len() <= 255);
            reached.extend_from_slice(relay.destinations);
            count += 1;
        }
        assert_eq!((count, reached.len()), (relays, listeners), "{listeners} x {len}");
        reached.dedup();
        assert_eq!(reached.len(), listeners);
    }
    // Beyond what one relay packet can carry, the frame is refused.
    let mut client = Client::new("speaker", ClientSettings::DEFAULT).unwrap();
    harness::join_client(&mut client, 0, 3);
    let as_ = Speech::DEFAULT;
    client.handle_command(Instant::ZERO, ClientCommand::Open { to: Target::Room("Hall"), as_ }).unwrap();
    assert!(client.handle_command(Instant::ZERO, ClientCommand::Say { frame: &[7; 1000] }).is_err());
    assert_eq!(client.outputs().count(), 0);
}

#[test]
fn d_05_d_14_a_client_asks_every_two_seconds_and_comes_back_with_back_off() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let server = voxwire_core::PeerId { slot: 4, generation: 0 };
    let at = |ms| Instant::ZERO.saturating_add(Duration::from_millis(ms));
    harness::open_client(&mut client, at(0), server);
    assert_eq!(harness::sent_by(&mut client), ["HandshakeRequest"]);
    assert_eq!(client.poll_timeout(), Some(at(2000)));
    client.handle_timeout(at(2000));
    assert_eq!(
        (harness::sent_by(&mut client), client.poll_timeout()),
        (vec!["HandshakeRequest".to_owned()], Some(at(4000)))
    );
    // Attempts that fail at once: the first retry within half a second, then half a second more each time, three at most, less up to a half.
    let mut now = at(10_000);
    client.handle_input(now, Input::Closed { peer: server }).unwrap();
    let mut waits = Vec::new();
    for _ in 0..9 {
        let due = client.poll_timeout().unwrap();
        waits.push(due.saturating_duration_since(now).as_millis());
        now = now.max(due);
        client.handle_timeout(now);
        let first = client.outputs().next();
        assert!(matches!(first, Some(Output::Dial { id: voxwire_core::DialId::FIRST, .. })), "{first:?}");
        client.advance(1);
        client.handle_input(now, Input::DialFailed(voxwire_core::DialId::FIRST)).unwrap();
    }
    let most = [500, 500, 1000, 1500, 2000, 2500, 3000, 3000, 3000];
    let spread = |(wait, most): (&u128, &u128)| wait <= most && (*most == 500 || *wait >= most / 2);
    assert!(waits.iter().zip(&most).all(spread), "{waits:?}");
    // Four seconds of success are four seconds forgotten.
    let due = client.poll_timeout().unwrap();
    client.handle_timeout(due);
    client.advance(1);
    harness::open_client(&mut client, due, server);
    harness::welcome_client(&mut client, due, server, 0, 0);
    let end = due.saturating_add(Duration::from_secs(4));
    client.handle_input(end, Input::Closed { peer: server }).unwrap();
    let again = client.poll_timeout().unwrap();
    assert!((end..end.saturating_add(Duration::from_millis(500))).contains(&again));
}

/// F-31: the clients of a server that has gone come back to it spread over the time that each may wait, for any seeds.
#[test]
fn f_31_many_clients_of_a_restarted_server_do_not_come_back_in_step() {
    for seeds in [|_| 0, |n| n] {
        let mut attempts: Vec<Vec<u64>> = vec![Vec::new(); 8];
        for n in 0..1000_u64 {
            let settings = ClientSettings { seed: seeds(n), ..ClientSettings::DEFAULT };
            let mut client = Client::new(&format!("player {n}"), settings).unwrap();
            let (server, mut now) = (voxwire_core::PeerId { slot: 4, generation: 0 }, Instant::ZERO);
            harness::open_client(&mut client, now, server);
            harness::sent_by(&mut client);
            client.handle_input(now, Input::Closed { peer: server }).unwrap();
            for attempts in &mut attempts {
                now = client.poll_timeout().unwrap();
                attempts.push(now.as_nanos() / 50_000_000);
                client.handle_timeout(now);
                client.advance(usize::MAX);
                client.handle_input(now, Input::DialFailed(voxwire_core::DialId::FIRST)).unwrap();
            }
        }
        // Even the first of all take half a second, of which no twentieth of a second has more than twice its part.
        for attempts in attempts {
            let most = (0..1000).map(|at| attempts.iter().filter(|other| **other == at).count()).max();
            assert!(most < Some(200), "{most:?} of 1000 within 50 ms");
        }
    }
}

#[test]
fn d_14_a_wrong_session_is_left_and_joined_again_and_ones_own_is_ignored() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let server = harness::join_client(&mut client, 0, 0);
    let own = client.session();
    let error = |session| Packet::ErrorWrongSession { session };
    assert_eq!(client.receive(Instant::ZERO, server, error(own)), Ok(None));
    let event = client.receive(Instant::ZERO, server, error(own + 1)).unwrap().unwrap();
    assert!(format!("{event:?}").contains("WrongSession"), "{event:?}");
    let closed = client.outputs().any(|output| matches!(output, Output::Close { peer } if peer == server));
    assert!(closed && client.poll_timeout().is_some());
}

#[test]
fn d_07_a_host_is_a_server_with_a_client_beside_it() {
    let mut sim = Sim::new(3);
    let server = sim.add(Server::new(ServerSettings::DEFAULT, 5), ());
    let [host, guest] = ["host", "guest"]
        .map(|name| sim.add(Client::new(name, ClientSettings::DEFAULT).unwrap(), Log::default()));
    let inside = Net { latency: Duration::ZERO, ..Net::PERFECT };
    sim.connect(host, server, Transport::Both, inside);
    sim.connect(guest, server, Transport::Both, Net::PERFECT);
    sim.run_for(Duration::from_millis(100));
    for (speaker, listener, to) in [(host, guest, "guest"), (guest, host, "host")] {
        let to = Target::Player(to);
        sim.with(speaker, |client, _, now| {
            let as_ = Speech { positional: true, priority: Priority::High, volume: 0.5 };
            client.handle_command(now, ClientCommand::Open { to, as_ }).unwrap();
            client.handle_command(now, ClientCommand::Say { frame: b"hello" }).unwrap();
        });
        sim.run_for(Duration::from_millis(10));
        let events = sim.with(listener, |_, log, _| log.take());
        assert!(events.iter().any(|event| event.starts_with("Voice(Voice { from")), "{events:?}");
    }
}

#[test]
fn d_11_text_goes_by_the_server_and_is_taken_from_wherever_it_comes() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    client.handle_command(Instant::ZERO, ClientCommand::Join { room: "Hall" }).unwrap();
    let server = harness::join_client(&mut client, 0, 2);
    let text = |session, sender, recipient| {
        Packet::TextData(TextData { session, sender: ClientId::new(sender), recipient, text: "hi".into() })
    };
    let session = client.session();
    let hall = Recipient::Room(room_id("Hall"));
    let got = client.receive(Instant::ZERO, server, text(session, 1, hall)).unwrap();
    assert!(matches!(got, Some(voxwire_dissonance::ClientEvent::Text { .. })));
    // For a room that we are not in, for another player, from nobody.
    assert_eq!(
        client.receive(Instant::ZERO, server, text(session, 1, Recipient::Room(room_id("Red")))),
        Ok(None)
    );
    assert_eq!(
        client.receive(Instant::ZERO, server, text(session, 1, Recipient::Player(ClientId::new(2)))),
        Ok(None)
    );
    let nobody = client.receive(Instant::ZERO, server, text(session, 77, hall));
    assert_eq!(nobody, Err(Violation::UnknownClient(ClientId::new(77))));
    // Straight from another client.
    let peer = voxwire_core::PeerId { slot: 8, generation: 1 };
    client
        .handle_input(Instant::ZERO, Input::Opened { peer, via: voxwire_core::Via::Accepted, from: None })
        .unwrap();
    let p2p = Packet::HandshakeP2P { session, client: ClientId::new(1) };
    client.receive(Instant::ZERO, peer, p2p).unwrap();
    harness::sent_by(&mut client);
    let direct = client.receive(Instant::ZERO, peer, text(session, 1, hall)).unwrap();
    assert!(direct.is_some());
    // Ours never goes there.
    client
        .handle_command(Instant::ZERO, ClientCommand::Text { to: Target::Room("Hall"), text: "yo" })
        .unwrap();
    assert_eq!(harness::sent_by(&mut client), ["ServerRelayReliable"]);
}

/// F-65: a text of [`MAX_TEXT`] bytes fits beside one destination, and a longer one is refused.
#[test]
fn f_65_the_longest_text_fits_into_a_relay_packet() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    harness::join_client(&mut client, 0, 2);
    harness::sent_by(&mut client);
    let mut send = |len: usize| {
        let text = "x".repeat(len);
        let command = ClientCommand::Text { to: Target::Room("Hall"), text: &text };
        client.handle_command(Instant::ZERO, command).map(|()| harness::sent_by(&mut client).len())
    };
    // Both listeners in one packet, and one in each.
    assert_eq!((send(MAX_TEXT - 2), send(MAX_TEXT)), (Ok(1), Ok(2)));
    assert!(send(MAX_TEXT + 1).is_err());
}

#[test]
fn d_08_a_way_belongs_to_one_client() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    harness::join_client(&mut client, 0, 2);
    let session = client.session();
    let [one, other] = [8, 9].map(|slot| voxwire_core::PeerId { slot, generation: 1 });
    let accepted = voxwire_core::Via::Accepted;
    client.handle_input(Instant::ZERO, Input::Opened { peer: one, via: accepted, from: None }).unwrap();
    assert_eq!(harness::sent_by(&mut client), ["HandshakeP2P"]);
    let p2p = |id| Packet::HandshakeP2P { session, client: ClientId::new(id) };
    let up = client.receive(Instant::ZERO, one, p2p(1)).unwrap();
    assert_eq!(up, Some(voxwire_dissonance::ClientEvent::Direct { client: ClientId::new(1), up: true }));
    assert_eq!(harness::sent_by(&mut client), ["HandshakeP2P"]);
    assert_eq!(client.receive(Instant::ZERO, one, p2p(1)), Ok(None));
    assert!(harness::sent_by(&mut client).is_empty());
    // Nobody else can be the same client, and nobody can be two.
    client.handle_input(Instant::ZERO, Input::Opened { peer: other, via: accepted, from: None }).unwrap();
    harness::sent_by(&mut client);
    assert!(client.receive(Instant::ZERO, other, p2p(1)).is_err());
    assert!(client.receive(Instant::ZERO, one, p2p(2)).is_err());
    // Voice on a way has to be its owner's.
    let voice =
        harness::voice(session, ClientId::new(2), &[Channel::new(Recipient::Player(ClientId::new(0)))], b"x");
    let forged =
        client.handle_input(Instant::ZERO, Input::Frame { peer: one, lane: Lane::Droppable, bytes: &voice });
    assert_eq!(forged, Err(Violation::NotTheirs(ClientId::new(2))));
    let text = TextData {
        session,
        sender: ClientId::new(2),
        recipient: Recipient::Player(ClientId::new(0)),
        text: "x".into(),
    };
    let forged = client.receive(Instant::ZERO, one, Packet::TextData(text));
    assert_eq!(forged, Err(Violation::NotTheirs(ClientId::new(2))));
    // The way is gone: back to the server.
    let down = client.handle_input(Instant::ZERO, Input::Closed { peer: one }).unwrap();
    assert_eq!(down, Some(voxwire_dissonance::ClientEvent::Direct { client: ClientId::new(1), up: false }));
}

#[test]
fn d_06_local_rooms_are_counted_and_the_server_can_move_us() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let server = harness::join_client(&mut client, 0, 1);
    let command = |client: &mut Client, command| {
        client.handle_command(Instant::ZERO, command).unwrap();
        harness::sent_by(client)
    };
    assert_eq!(command(&mut client, ClientCommand::Join { room: "Red" }), ["DeltaClientState"]);
    assert!(command(&mut client, ClientCommand::Join { room: "Red" }).is_empty());
    assert!(command(&mut client, ClientCommand::Leave { room: "Red" }).is_empty());
    let (session, id) = (client.session(), ClientId::new(0));
    let delta = |room: &'static str, joined| {
        Packet::DeltaClientState(DeltaClientState { session, joined, client: id, room: room.into() })
    };
    // The echo is not news; what the server does of its own accord is.
    let echo = client.receive(Instant::ZERO, server, delta("Red", true)).unwrap();
    assert!(format!("{echo:?}").contains("Listening"), "{echo:?}");
    let moved = client.receive(Instant::ZERO, server, delta("Red", false)).unwrap();
    assert!(format!("{moved:?}").contains("Moved"), "{moved:?}");
    let moved = client.receive(Instant::ZERO, server, delta("Jail", true)).unwrap();
    assert!(format!("{moved:?}").contains("Moved"), "{moved:?}");
    assert_eq!(client.joined().collect::<Vec<_>>(), ["Jail"]);
    assert!(client.handle_command(Instant::ZERO, ClientCommand::Leave { room: "Red" }).is_err());
}

#[test]
fn d_06_more_responses_rebuild_the_replica() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let server = harness::join_client(&mut client, 0, 3);
    assert_eq!(client.clients().count(), 4);
    let infos = [info("ann", 0), info("p2", 2), info("new", 7)];
    let (rooms, listeners) = ([Text::new("Red")], [ClientId::new(7)]);
    let channels = [
        voxwire_dissonance::RoomListeners { room: room_id("Red"), listeners: &listeners },
        // A number without a name: the original dies of it.
        voxwire_dissonance::RoomListeners { room: room_id("Blue"), listeners: &listeners },
    ];
    let response = HandshakeResponse {
        session: client.session(),
        client: ClientId::new(0),
        clients: List::from(&infos[..]),
        rooms: List::from(&rooms[..]),
        channels: List::from(&channels[..]),
    };
    client.receive(Instant::ZERO, server, Packet::HandshakeResponse(response)).unwrap();
    assert_eq!(
        client.clients().map(|(_, name, _)| name.to_owned()).collect::<Vec<_>>(),
        ["ann", "p2", "new"]
    );
    let rooms: Vec<_> = client.rooms().map(|(name, ids)| (name, ids.to_vec())).collect();
    assert_eq!(rooms, [("Red", vec![ClientId::new(7)])]);
    assert_eq!(harness::sent_by(&mut client).last().unwrap(), "ClientState");
}

#[test]
fn d_09_speech_ends_after_silence_and_a_long_one_forgets_the_session() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let server = harness::join_client(&mut client, 0, 1);
    let session = client.session();
    let at = |ms| Instant::ZERO.saturating_add(Duration::from_millis(ms));
    let voice = |sequence| {
        let channels = [Channel::new(Recipient::Player(ClientId::new(0)))];
        let mut bytes = harness::voice(session, ClientId::new(1), &channels, b"x");
        bytes[11] = sequence;
        bytes
    };
    let hear = |client: &mut Client, ms, sequence| {
        let bytes = voice(sequence);
        let event =
            client.handle_input(at(ms), Input::Frame { peer: server, lane: Lane::Droppable, bytes: &bytes });
        format!("{event:?}")
    };
    assert!(hear(&mut client, 0, 0).contains("start: true"));
    for n in 1..100 {
        assert!(hear(&mut client, n * 20, n as u8).contains("start: false"));
        while let Some(due) = client.poll_timeout().filter(|due| *due <= at(n * 20)) {
            assert_eq!(client.handle_timeout(due), None);
        }
    }
    // The last one came at 1980.
    let mut ended = None;
    while let Some(due) = client.poll_timeout() {
        if client.handle_timeout(due).is_some() {
            ended = Some(due);
        }
    }
    assert_eq!(ended, Some(at(3480)));
    assert!(hear(&mut client, 60_000, 200).contains("start: true"));
}

#[test]
fn d_06_a_client_of_many_rooms_is_in_all_of_them_when_it_has_joined() {
    let mut sim = Sim::new(1);
    let server = sim.add(Server::new(ServerSettings::DEFAULT, 5), ());
    let client = sim.add(Client::new("ann", ClientSettings::DEFAULT).unwrap(), Log::default());
    let rooms: Vec<String> = (0..60).map(|n| format!("a room with a name of its own, number {n}")).collect();
    sim.with(client, |client, _, now| {
        for room in &rooms {
            client.handle_command(now, ClientCommand::Join { room }).unwrap();
        }
    });
    sim.connect(client, server, Transport::Both, Net::PERFECT);
    sim.run_for(Duration::from_secs(1));
    let listed = sim.with(server, |server, (), _| server.rooms_of(ClientId::new(0)).count());
    let (joined, events) = sim.with(client, |client, log, _| (client.joined().count(), log.take()));
    assert_eq!((listed, joined), (60, 60));
    assert!(!events.iter().any(|event| event.starts_with("Moved")), "{events:?}");
}

#[test]
fn d_08_ways_of_another_session_lead_to_nobody() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let server = harness::join_client(&mut client, 0, 3);
    let path = voxwire_core::PeerId { slot: 8, generation: 1 };
    client
        .handle_input(
            Instant::ZERO,
            Input::Opened { peer: path, via: voxwire_core::Via::Accepted, from: None },
        )
        .unwrap();
    let p2p = Packet::HandshakeP2P { session: client.session(), client: ClientId::new(1) };
    client.receive(Instant::ZERO, path, p2p).unwrap();
    assert!(client.is_direct(ClientId::new(1)));
    // The server is another one, and another client has that number.
    let infos = [info("ann", 0), info("carol", 1)];
    let (rooms, channels) = (List::from(&[][..]), List::from(&[][..]));
    let clients = List::from(&infos[..]);
    let response = HandshakeResponse { session: 78, client: ClientId::new(0), clients, rooms, channels };
    client.receive(Instant::ZERO, server, Packet::HandshakeResponse(response)).unwrap();
    assert!(!client.is_direct(ClientId::new(1)));
}

const PATH: voxwire_core::PeerId = voxwire_core::PeerId { slot: 8, generation: 1 };

const fn ms(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn open_path(client: &mut Client, now: Instant) {
    let via = voxwire_core::Via::Accepted;
    client.handle_input(now, Input::Opened { peer: PATH, via, from: None }).unwrap();
}

/// Lets time pass until `end`; returns when what was sent.
fn sent_until(client: &mut Client, end: Instant) -> Vec<(u64, String)> {
    let mut sent = Vec::new();
    while let Some(due) = client.poll_timeout().filter(|due| *due <= end) {
        client.handle_timeout(due);
        let names = harness::sent_by(client);
        sent.extend(names.into_iter().map(|name| (due.as_nanos() / 1_000_000, name)));
    }
    sent
}

/// F-21: who does not answer may not be in the session yet.
#[test]
fn f_21_a_way_without_an_answer_is_asked_again_ever_more_slowly_and_at_once_when_a_client_comes() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let server = harness::join_client(&mut client, 0, 1);
    let session = client.session();
    open_path(&mut client, ms(0));
    harness::sent_by(&mut client);
    let asked = sent_until(&mut client, ms(100_000));
    let at: Vec<u64> = asked.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [500, 1000, 1500, 2000, 3000, 5000, 9000, 17_000, 33_000, 63_000, 93_000]);
    assert!(asked.iter().all(|(_, name)| name == "HandshakeP2P"));
    // A client comes: it may be any of those that are there.
    let new = harness::state(session, "new", ClientId::new(7), &[]);
    client.receive(ms(100_000), server, new).unwrap();
    let asked = sent_until(&mut client, ms(103_000));
    let at: Vec<u64> = asked.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [100_000, 100_500, 101_000, 101_500, 102_000, 103_000]);
    let p2p = Packet::HandshakeP2P { session, client: ClientId::new(7) };
    client.receive(ms(103_100), PATH, p2p).unwrap();
    assert!(client.is_direct(ClientId::new(7)));
    assert_eq!(harness::sent_by(&mut client), ["HandshakeP2P"]);
    assert!(sent_until(&mut client, ms(1_000_000)).is_empty());
}

/// F-21: two clients with a way between them, of whom one joins late.
#[test]
fn f_21_a_peer_that_joins_late_is_reached_directly() {
    for late in [0, 2, 6, 40, 400] {
        let mut sim = Sim::new(late);
        let server =
            sim.add(Server::new(ServerSettings { ask: true, ..ServerSettings::DEFAULT }, 5), Log::default());
        let [ann, ben] = ["ann", "ben"]
            .map(|name| sim.add(Client::new(name, ClientSettings::DEFAULT).unwrap(), Log::default()));
        for client in [ann, ben] {
            sim.connect(client, server, Transport::Both, Net::PERFECT);
        }
        sim.introduce(ann, ben, Transport::Datagram, Net::PERFECT);
        sim.run_for(Duration::from_millis(100));
        let admit = |sim: &mut Sim, client| {
            let link = sim.link_between(client, server).unwrap();
            let peer = sim.peers(link)[1];
            sim.with(server, |server, _, now| {
                let admit = voxwire_dissonance::ServerCommand::Admit { peer };
                server.handle_command(now, admit).unwrap();
            });
        };
        admit(&mut sim, ann);
        sim.run_for(Duration::from_secs(late));
        admit(&mut sim, ben);
        sim.run_for(Duration::from_millis(1500));
        for (client, other) in [(ann, "ben"), (ben, "ann")] {
            let direct = sim.with(client, |client, _, _| client.is_direct(client.find(other).unwrap()));
            assert!(direct, "{other} after {late} s");
        }
    }
}

/// F-34: the server describes all clients once more, one by one: a client that is the same is where it was.
#[test]
fn f_34_a_repeated_answer_without_lists_keeps_every_way() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let server = harness::join_client(&mut client, 0, 2);
    let session = client.session();
    open_path(&mut client, ms(0));
    let p2p = |id| Packet::HandshakeP2P { session, client: ClientId::new(id) };
    client.receive(ms(0), PATH, p2p(1)).unwrap();
    let (rooms, channels) = (List::from(&[][..]), List::from(&[][..]));
    let clients = List::from(&[][..]);
    let again = HandshakeResponse { session, client: ClientId::new(0), clients, rooms, channels };
    for (name, direct) in [("p1", true), ("p1", true), ("somebody else", false)] {
        client.receive(ms(0), server, Packet::HandshakeResponse(again)).unwrap();
        for (id, name) in [(0, "ann"), (1, name), (2, "p2")] {
            client.receive(ms(0), server, harness::state(session, name, ClientId::new(id), &[])).unwrap();
        }
        assert_eq!(client.is_direct(ClientId::new(1)), direct, "{name}");
    }
    // The client that is there now is asked.
    harness::sent_by(&mut client);
    let asked = sent_until(&mut client, ms(3000));
    assert!(asked.iter().any(|(_, name)| name == "HandshakeP2P"), "{asked:?}");
    client.receive(ms(3000), PATH, p2p(1)).unwrap();
    assert!(client.is_direct(ClientId::new(1)));
    // A list without it says that it is gone.
    let listed = [info("ann", 0)];
    let gone = HandshakeResponse { clients: List::from(&listed[..]), ..again };
    client.receive(ms(3000), server, Packet::HandshakeResponse(gone)).unwrap();
    client
        .receive(ms(3000), server, harness::state(session, "somebody else", ClientId::new(1), &[]))
        .unwrap();
    assert!(!client.is_direct(ClientId::new(1)));
}

/// F-34: voice that comes before the answer says as much as the answer.
#[test]
fn f_34_direct_voice_before_the_answer_is_heard_and_is_one() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let server = harness::join_client(&mut client, 0, 2);
    let session = client.session();
    open_path(&mut client, ms(0));
    harness::sent_by(&mut client);
    let channels = [Channel::new(Recipient::Player(ClientId::new(0)))];
    let voice = |id| harness::voice(session, ClientId::new(id), &channels, b"x");
    let hear = |client: &mut Client, id| {
        let bytes = voice(id);
        let input = Input::Frame { peer: PATH, lane: Lane::Droppable, bytes: &bytes };
        format!("{:?}", client.handle_input(ms(10), input))
    };
    // Nobody that we know, and ourselves.
    assert!(hear(&mut client, 9).contains("UnknownClient") && hear(&mut client, 0).contains("UnknownClient"));
    assert!(!client.is_direct(ClientId::new(1)));
    assert!(hear(&mut client, 1).contains("Voice(Voice {"));
    assert!(client.is_direct(ClientId::new(1)));
    assert_eq!(harness::sent_by(&mut client), ["HandshakeP2P"]);
    let told = client.handle_timeout(ms(10));
    assert_eq!(told, Some(voxwire_dissonance::ClientEvent::Direct { client: ClientId::new(1), up: true }));
    // It is that client's way now, and nobody else's.
    assert!(hear(&mut client, 2).contains("NotTheirs"));
    let p2p = Packet::HandshakeP2P { session, client: ClientId::new(1) };
    assert_eq!(client.receive(ms(20), PATH, p2p), Ok(None));
    // And not taken from a client that has one.
    let other = voxwire_core::PeerId { slot: 9, generation: 1 };
    let via = voxwire_core::Via::Accepted;
    client.handle_input(ms(30), Input::Opened { peer: other, via, from: None }).unwrap();
    let bytes = voice(1);
    let input = Input::Frame { peer: other, lane: Lane::Droppable, bytes: &bytes };
    assert_eq!(client.handle_input(ms(30), input), Err(Violation::NotTheirs(ClientId::new(1))));
    assert_eq!(client.state(), voxwire_dissonance::SessionState::Connected);
    let _ = server;
}

/// F-21, F-34: a question that is repeated is answered once more, but two who answer each other come to an end.
#[test]
fn f_34_a_repeated_handshake_is_answered_at_ever_longer_intervals() {
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    harness::join_client(&mut client, 0, 2);
    let session = client.session();
    open_path(&mut client, ms(0));
    let p2p = Packet::HandshakeP2P { session, client: ClientId::new(1) };
    client.receive(ms(0), PATH, p2p).unwrap();
    harness::sent_by(&mut client);
    let mut answered = Vec::new();
    for at in (0..100_000).step_by(100) {
        assert_eq!(client.receive(ms(at), PATH, p2p), Ok(None));
        answered.extend(harness::sent_by(&mut client).iter().map(|_| at));
    }
    assert_eq!(answered, [500, 1500, 3500, 7500, 15_500, 31_500, 61_500, 91_500]);
}
