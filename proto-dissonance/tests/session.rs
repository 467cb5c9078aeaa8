//! What the server does, as dialogues with peers that are played by the test.
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
use harness::{Harness, say, state};
use voxwire_core::{Input, Lane, NameError, PeerId, Session, Via};
use voxwire_dissonance::{
    Channel, ClientId, CodecSettings, DeltaClientState, HandshakeRequest, Packet, Recipient, Resource,
    Server, ServerCommand, ServerEvent, ServerRelay, ServerSettings, Text, TextData, Violation, room_id,
};

#[test]
fn d_04_the_session_is_random_and_its_top_bit_is_never_set() {
    let sessions: std::collections::BTreeSet<u32> = (0..1000_u64)
        .map(|n| Server::new(ServerSettings::DEFAULT, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).session())
        .collect();
    assert!(sessions.len() > 990);
    for seed in [0, 0x7fff_fffd, 0x7fff_fffe, u64::MAX] {
        let session = Server::new(ServerSettings::DEFAULT, seed).session();
        assert!((1..=0x7fff_fffe).contains(&session), "{session:#x}");
    }
}

#[test]
fn d_04_every_packet_of_another_session_is_answered_within_a_budget_and_never_the_answer_itself() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let ann = stage.join("ann");
    stage.sent(ann);
    let other = 0x0bad_cafe;
    let client = ClientId::new(0);
    let inner = say(other, client, Recipient::Player(client), b"x");
    let packets = [
        Packet::RemoveClient { session: other, client },
        Packet::HandshakeP2P { session: other, client },
        state(other, "ann", client, &[]),
        Packet::ServerRelayUnreliable(ServerRelay {
            session: other,
            destinations: &[client],
            payload: &inner,
        }),
        Packet::TextData(TextData {
            session: other,
            sender: client,
            recipient: Recipient::Player(client),
            text: Text::NULL,
        }),
    ];
    for packet in packets {
        assert!(matches!(stage.send(ann, &packet), Err(Violation::WrongSession { got, .. }) if got == other));
        assert_eq!(stage.sent_to(ann), ["ErrorWrongSession"], "{packet:?}");
    }
    let error = Packet::ErrorWrongSession { session: other };
    assert!(stage.send(ann, &error).is_err());
    assert!(stage.sent_to(ann).is_empty());
    // The budget is ten at once.
    for _ in 0..100 {
        let _ = stage.send(ann, &Packet::RemoveClient { session: other, client });
    }
    assert_eq!(stage.sent_to(ann).len(), 5);
    // A client that is not in the session yet is answered, too, and not kicked.
    let stranger = stage.open();
    let _ = stage.send(stranger, &Packet::RemoveClient { session: other, client });
    assert_eq!(stage.sent_to(stranger), ["ErrorWrongSession"]);
    assert_eq!(stage.server.len(), 1);
}

#[test]
fn d_05_a_handshake_is_answered_with_everything_if_it_fits_and_client_by_client_if_not() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    for n in 0..60 {
        let name = format!("a client with a name of its own, number {n}");
        let peer = stage.join(&name);
        let sent = stage.sent(peer);
        let Packet::HandshakeResponse(response) = sent[0].packet() else { panic!("{:?}", sent[0].packet()) };
        assert_eq!(response.client, ClientId::new(n));
        let described =
            sent[1..].iter().filter(|sent| matches!(sent.packet(), Packet::ClientState(_))).count();
        match response.clients.len() {
            // The newcomer describes itself as the last thing, as every client hears.
            0 => assert_eq!((described, response.rooms.len()), (usize::from(n) + 2, 0)),
            listed => assert_eq!((listed, described), (usize::from(n) + 1, 1)),
        }
        assert_eq!(response.clients.is_empty(), n >= 18, "{n}");
        assert!(sent.iter().all(|sent| sent.bytes.len() <= 1024));
    }
}

#[test]
fn d_13_a_repeated_handshake_is_answered_again_or_starts_over() {
    let request =
        Packet::HandshakeRequest(HandshakeRequest { codec: CodecSettings::DEFAULT, name: "ann".into() });
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let (ann, ben) = (stage.join("ann"), stage.join("ben"));
    stage.sent(ann);
    stage.sent(ben);
    // Not at once: what has been sent may be on its way.
    stage.send(ann, &request).unwrap();
    assert!(stage.sent(ann).is_empty());
    stage.now = stage.now.saturating_add(Duration::from_secs(2));
    stage.send(ann, &request).unwrap();
    assert_eq!((stage.sent_to(ann), stage.sent_to(ben)), (vec!["HandshakeResponse".to_owned()], vec![]));
    assert_eq!(stage.server.find("ann"), Some(ClientId::new(0)));
    // Later originals remove it and let it in again; its number rests.
    let mut stage = Harness::new(ServerSettings { repeat_replaces: true, ..ServerSettings::DEFAULT });
    let (ann, ben) = (stage.join("ann"), stage.join("ben"));
    stage.sent(ann);
    stage.sent(ben);
    stage.send(ann, &request).unwrap();
    assert_eq!(stage.sent_to(ben), ["RemoveClient"]);
    assert_eq!(stage.server.find("ann"), Some(ClientId::new(2)));
    // Another name on the same connection always starts over.
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let (ann, ben) = (stage.join("ann"), stage.join("ben"));
    stage.sent(ben);
    stage.handshake(ann, "anna").unwrap();
    assert_eq!(stage.sent_to(ben), ["RemoveClient"]);
    assert_eq!((stage.server.find("ann"), stage.server.find("anna")), (None, Some(ClientId::new(2))));
}

#[test]
fn d_13_a_live_name_is_displaced_by_its_own_address_only() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let holder = stage.join_from("192.0.2.1:1", "ann").0;
    let (stranger, refused) = stage.join_from("192.0.2.2:1", "ann");
    assert!(refused.unwrap().starts_with("NameRefused"));
    assert_eq!((stage.server.find("ann"), stage.sent_to(stranger)), (Some(ClientId::new(0)), vec![]));
    stage.sent(holder);
    let watcher = stage.join("ben");
    stage.sent(watcher);
    let (again, joined) = stage.join_from("192.0.2.1:2", "ann");
    joined.unwrap();
    // The old one goes first, then the new one is there, under a new number.
    assert_eq!(stage.server.find("ann"), Some(ClientId::new(2)));
    assert_eq!(stage.sent_to(watcher), ["RemoveClient", "ClientState"]);
    assert!(stage.closed.contains(&holder) && !stage.closed.contains(&again));
    // A lost one's name is kept for its address for half a minute.
    stage.close(again);
    assert!(stage.join_from("192.0.2.2:2", "ann").1.unwrap().starts_with("NameRefused"));
    stage.now = stage.now.saturating_add(Duration::from_secs(31));
    stage.join_from("192.0.2.2:3", "ann").1.unwrap();
    // The original lets the newest win.
    let mut stage = Harness::new(ServerSettings::ORIGINAL);
    stage.join_from("192.0.2.1:1", "ann").1.unwrap();
    stage.join_from("192.0.2.2:1", "ann").1.unwrap();
    assert_eq!(stage.server.find("ann"), Some(ClientId::new(0)), "the number is free again");
}

/// F-06: an address that stands for many proves no claim: a name lost there is not kept for others behind it.
#[test]
fn f_06_a_name_lost_behind_a_proxy_is_kept_for_nobody() {
    for proxy in ["127.0.0.1", "[::1]", "192.0.2.7", "[2001:db8::7]"] {
        let mut stage = Harness::new(ServerSettings::DEFAULT);
        stage.server.exempt(&["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]);
        let (holder, joined) = stage.join_from(&format!("{proxy}:1"), "ann");
        joined.unwrap();
        assert!(stage.join_from(&format!("{proxy}:2"), "ann").1.unwrap().starts_with("NameRefused"));
        stage.close(holder);
        // Neither for those behind it, nor from any other client.
        let (other, joined) = stage.join_from("198.51.100.1:1", "ann");
        assert!(joined.unwrap().starts_with("Joined"), "{proxy}");
        stage.close(other);
        assert!(stage.join_from(&format!("{proxy}:3"), "ann").1.unwrap().starts_with("NameRefused"));
    }
}

#[test]
fn d_05_a_handshake_without_a_name_is_not_answered() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let peer = stage.open();
    for (name, error) in [
        (Text::NULL, NameError::Empty),
        (Text::from_bytes(b"\xff"), NameError::NotUtf8 { offset: 0 }),
        (Text::from_bytes(&[b'a'; 256]), NameError::TooLong { len: 256, max: 255 }),
        (Text::new(""), NameError::Empty),
        (Text::new("bob\u{fe0f}"), NameError::Stray('\u{fe0f}')),
        (Text::new("b\u{34f}ob"), NameError::Invisible('\u{34f}')),
        (Text::new("\u{2800}"), NameError::Invisible('\u{2800}')),
    ] {
        let request = HandshakeRequest { codec: CodecSettings::DEFAULT, name };
        let answer = stage.send(peer, &Packet::HandshakeRequest(request));
        assert_eq!(answer.unwrap(), format!("{:?}", ServerEvent::InvalidName { peer, error }));
        assert!(stage.sent_to(peer).is_empty());
    }
    // The original takes any.
    let mut stage = Harness::new(ServerSettings::ORIGINAL);
    let peer = stage.open();
    stage.handshake(peer, "").unwrap();
    assert_eq!(stage.server.find(""), Some(ClientId::new(0)));
    stage.join_from("192.0.2.2:1", "bob\u{fe0f}").1.unwrap();
    stage.join_from("192.0.2.2:2", "Jos\u{e9}").1.unwrap();
    stage.join_from("192.0.2.2:3", "Jose\u{301}").1.unwrap();
    assert_eq!(stage.server.len(), 4);
}

/// F-05: a player whose name is not valid goes on asking. It is no attack: nobody is kicked, and the application learns why.
#[test]
fn f_05_an_invalid_name_is_told_each_time_and_kicks_nobody() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let peer = stage.open();
    for _ in 0..40 {
        stage.now = stage.now.saturating_add(Duration::from_secs(2));
        assert!(stage.handshake(peer, "b\u{34f}ob").unwrap().starts_with("InvalidName"));
    }
    assert_eq!((stage.closed.len(), stage.server.stats().violations), (0, 0));
    stage.handshake(peer, "bob").unwrap();
    assert_eq!(stage.server.find("bob"), Some(ClientId::new(0)));
}

/// F-05: a name is held by one client, however it is encoded, and shown as that one wrote it.
#[test]
fn d_13_one_name_in_two_encodings_is_one_name() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    stage.join_from("192.0.2.1:1", "Jose\u{301}").1.unwrap();
    assert!(stage.join_from("192.0.2.2:1", "Jos\u{e9}").1.unwrap().starts_with("NameRefused"));
    assert_eq!(stage.server.find("Jos\u{e9}"), Some(ClientId::new(0)));
    assert_eq!(stage.server.name(ClientId::new(0)), Some("Jose\u{301}"));
    stage.join_from("192.0.2.2:1", "علی\u{200c}رضا").1.unwrap();
    stage.join_from("192.0.2.2:2", "👨\u{200d}👩\u{200d}👧").1.unwrap();
    assert_eq!(stage.server.len(), 3);
}

#[test]
fn d_12_kick_and_shutdown_tell_all_clients() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let peers = ["ann", "ben", "cyd"].map(|name| stage.join(name));
    for peer in peers {
        stage.sent(peer);
    }
    stage.server.handle_command(stage.now, ServerCommand::Kick { client: ClientId::new(1) }).unwrap();
    stage.drain();
    assert_eq!(peers.map(|peer| stage.sent_to(peer)), [["RemoveClient"], ["RemoveClient"], ["RemoveClient"]]);
    assert_eq!(stage.closed, [peers[1]]);
    assert!(stage.events().iter().any(|event| event.contains("cause: Kicked")));
    stage.server.shutdown(stage.now);
    stage.drain();
    // One by one: the last one has heard of all others.
    assert_eq!((stage.sent_to(peers[0]).len(), stage.sent_to(peers[2]).len()), (0, 1));
    assert_eq!(stage.closed, [peers[1], peers[0], peers[2]]);
}

#[test]
fn the_application_admits_mutes_moves_and_watches() {
    let mut stage = Harness::new(ServerSettings { ask: true, ..ServerSettings::DEFAULT });
    let (ann, ben, cyd) = (stage.open(), stage.open(), stage.open());
    for (peer, name) in [(ann, "ann"), (ben, "ben"), (cyd, "cyd")] {
        assert!(stage.handshake(peer, name).unwrap().starts_with("Joining"));
        // Asked again while the application thinks: nothing new.
        assert_eq!(stage.handshake(peer, name).unwrap(), "");
    }
    stage.server.handle_command(stage.now, ServerCommand::Reject { peer: cyd }).unwrap();
    for peer in [ann, ben] {
        stage.server.handle_command(stage.now, ServerCommand::Admit { peer }).unwrap();
    }
    stage.drain();
    assert_eq!((stage.server.len(), &stage.closed), (2, &vec![cyd]));
    let (session, a, b) = (stage.session(), ClientId::new(0), ClientId::new(1));
    let jail = ServerCommand::Move { client: b, from: None, to: Some("Jail") };
    // Not before it has said where it is: that would replace it.
    assert!(stage.server.handle_command(stage.now, jail).is_err());
    for (peer, name, client) in [(ann, "ann", a), (ben, "ben", b)] {
        stage.send(peer, &state(session, name, client, &[])).unwrap();
    }
    stage.sent(ann);
    stage.server.handle_command(stage.now, jail).unwrap();
    stage.drain();
    assert_eq!(stage.sent_to(ann).last().unwrap(), "DeltaClientState");
    stage.sent(ben);
    let inner = say(session, a, Recipient::Room(room_id("Jail")), b"x");
    let relay = Packet::ServerRelayUnreliable(ServerRelay { session, destinations: &[b], payload: &inner });
    assert_eq!(stage.send(ann, &relay).unwrap(), "");
    assert_eq!(stage.sent_to(ben), ["VoiceData"]);
    stage.server.handle_command(stage.now, ServerCommand::Watch { client: Some(a), on: true }).unwrap();
    assert!(stage.send(ann, &relay).unwrap().starts_with("Voice"));
    stage
        .server
        .handle_command(stage.now, ServerCommand::Mute { client: a, voice: true, text: false })
        .unwrap();
    stage.sent(ben);
    stage.send(ann, &relay).unwrap();
    assert!(stage.sent_to(ben).is_empty());
    let text = TextData { session, sender: a, recipient: Recipient::Player(b), text: "hi".into() };
    let text = harness::encode(&Packet::TextData(text));
    let relay = Packet::ServerRelayReliable(ServerRelay { session, destinations: &[b], payload: &text });
    assert!(stage.send(ann, &relay).unwrap().starts_with("Text"));
    assert_eq!(stage.sent_to(ben), ["TextData"]);
    stage
        .server
        .handle_command(stage.now, ServerCommand::Mute { client: a, voice: true, text: true })
        .unwrap();
    stage.send(ann, &relay).unwrap();
    assert!(stage.sent_to(ben).is_empty());
}

/// F-03: an answer that comes later admits the name that the application was asked about, and no other.
#[test]
fn f_03_a_peer_asks_for_no_other_name_while_the_application_decides() {
    let mut stage = Harness::new(ServerSettings { ask: true, ..ServerSettings::DEFAULT });
    let peer = stage.open();
    assert!(stage.handshake(peer, "guest").unwrap().starts_with("Joining"));
    assert_eq!(stage.handshake(peer, "admin"), Err(Violation::Changed("name")));
    stage.server.handle_command(stage.now, ServerCommand::Admit { peer }).unwrap();
    stage.drain();
    assert_eq!(
        ["guest", "admin"].map(|name| voxwire_core::Moderation::named(&stage.server, name).len()),
        [1, 0]
    );
}

#[test]
fn d_10_what_is_relayed_is_the_inner_packet_byte_for_byte_to_each_once() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let (ann, ben, cyd) = (stage.join("ann"), stage.join("ben"), stage.join("cyd"));
    let session = stage.session();
    let [a, b, c] = [0, 1, 2].map(ClientId::new);
    for peer in [ann, ben, cyd] {
        stage.sent(peer);
    }
    // To both players; one is listed twice, one is not there, one is nobody.
    let channels = [Channel::new(Recipient::Player(b)), Channel::new(Recipient::Player(c))];
    let inner = harness::voice(session, a, &channels, b"sound");
    let destinations = [b, c, b, ClientId::new(9), voxwire_dissonance::SERVER_ONLY];
    let relay = ServerRelay { session, destinations: &destinations, payload: &inner };
    stage.send(ann, &Packet::ServerRelayUnreliable(relay)).unwrap();
    for peer in [ben, cyd] {
        let sent = stage.sent(peer);
        assert_eq!((sent.len(), &sent[0].bytes, sent[0].lane), (1, &inner, Lane::Droppable));
    }
    assert!(stage.sent(ann).is_empty());
    // Voice relayed reliably, as old releases do, stays voice; the original takes the type at its word.
    stage.send(ann, &Packet::ServerRelayReliable(relay)).unwrap();
    assert_eq!(stage.sent(ben)[0].lane, Lane::Droppable);
    let mut original = Harness::new(ServerSettings { reliable_voice: true, ..ServerSettings::DEFAULT });
    let (ann, ben) = (original.join("ann"), original.join("ben"));
    original.sent(ben);
    let session = original.session();
    let inner = harness::voice(session, a, &channels, b"sound");
    let relay = ServerRelay { session, destinations: &destinations, payload: &inner };
    original.send(ann, &Packet::ServerRelayReliable(relay)).unwrap();
    assert_eq!(original.sent(ben)[0].lane, Lane::Reliable);
}

#[test]
fn clients_outside_the_session_for_too_long_go_and_the_oldest_first_where_it_is_full() {
    let limits = voxwire_core::Limits { max_peers: 3, ..ServerSettings::DEFAULT.limits };
    let mut stage = Harness::new(ServerSettings { limits, ..ServerSettings::DEFAULT });
    let ann = stage.join("ann");
    let (first, second) = (stage.open(), stage.open());
    let third = stage.open();
    assert_eq!(stage.closed, [first]);
    stage.now = stage.now.saturating_add(Duration::from_secs(301));
    stage.drain();
    assert_eq!(stage.closed, [first, second, third]);
    assert!(!stage.closed.contains(&ann));
    let gone = ServerEvent::Gone { peer: third };
    assert!(stage.events().contains(&format!("{gone:?}")));
}

/// C-04: that a server is full is no fault of the one that comes.
#[test]
fn c_04_a_connection_to_a_full_server_is_closed_and_is_no_fault_of_its_peer() {
    let limits = voxwire_core::Limits { max_peers: 1, ..ServerSettings::DEFAULT.limits };
    let mut stage = Harness::new(ServerSettings { limits, ..ServerSettings::DEFAULT });
    stage.join("ann");
    let input = Input::Opened { peer: PeerId { slot: 1, generation: 0 }, via: Via::Accepted, from: None };
    let full = stage.server.handle_input(stage.now, input).unwrap_err();
    assert_eq!(full, Violation::TooMany(Resource::Connections));
    assert!(!full.is_counted());
}

#[test]
fn d_10_a_frame_for_many_in_several_relay_packets_is_one_frame_and_reaches_them_all() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let ann = stage.join("ann");
    let session = stage.session();
    for n in 1..=600 {
        let peer = stage.join(&format!("p{n}"));
        let rooms = [Text::new("Hall")];
        let client = stage.server.client_of(peer).unwrap();
        stage.send(peer, &state(session, &format!("p{n}"), client, &rooms)).unwrap();
    }
    stage.clear();
    let all: Vec<ClientId> = (1..=600).map(ClientId::new).collect();
    for frame in 0..300_u16 {
        stage.now = stage.now.saturating_add(Duration::from_millis(20));
        let mut voice = say(session, ClientId::new(0), Recipient::Room(room_id("Hall")), b"x");
        voice[10..12].copy_from_slice(&frame.to_be_bytes());
        for destinations in all.chunks(255) {
            let relay = ServerRelay { session, destinations, payload: &voice };
            stage.send(ann, &Packet::ServerRelayUnreliable(relay)).unwrap();
        }
        // Once more to all, in as many packets as one likes: that is another frame, and counted.
        assert_eq!(stage.clear(), 600, "{frame}");
    }
    assert_eq!((stage.server.stats().voice, stage.server.stats().voice_over_budget), (300, 0));
    let voice = say(session, ClientId::new(0), Recipient::Room(room_id("Hall")), b"x");
    let relay = ServerRelay { session, destinations: &all[..255], payload: &voice };
    let sent = (0..10_000).filter(|_| stage.send(ann, &Packet::ServerRelayUnreliable(relay)).is_ok()).count();
    assert!(sent < 400, "{sent}");
}

#[test]
fn d_13_those_who_had_to_go_are_told_of_before_the_newcomer() {
    let mut stage = Harness::new(ServerSettings::ORIGINAL);
    let old = stage.join_from("192.0.2.1:1", "ann").0;
    stage.events();
    let (new, joined) = stage.join_from("192.0.2.2:1", "ann");
    assert_eq!(joined.unwrap(), "");
    let events = stage.events();
    assert!(events[0].starts_with(&format!("Left {{ peer: {old:?}")), "{events:?}");
    assert!(events[1].starts_with(&format!("Joined {{ peer: {new:?}")), "{events:?}");
    // The one that had to go is told, so that it does not come back and take the name again.
    assert!(stage.sent_to(old).contains(&"RemoveClient".to_owned()));
}

#[test]
fn d_13_a_client_that_asks_for_a_taken_name_keeps_its_own_and_leaves_in_the_end_if_it_has_none() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let (ann, ben) = (stage.join("ann"), stage.join("ben"));
    assert!(stage.handshake(ben, "ann").unwrap().starts_with("NameRefused"));
    assert_eq!(
        (stage.server.find("ann"), stage.server.find("ben")),
        (Some(ClientId::new(0)), Some(ClientId::new(1)))
    );
    let cyd = stage.open();
    assert!(stage.handshake(cyd, "ann").unwrap().starts_with("NameRefused"));
    stage.now = stage.now.saturating_add(Duration::from_secs(301));
    stage.drain();
    assert_eq!(stage.closed, [cyd]);
    assert!(!stage.closed.contains(&ann));
}

#[test]
fn d_16_a_muted_client_stays_muted_under_another_name() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let (ann, ben) = (stage.join("ann"), stage.join("ben"));
    let session = stage.session();
    stage
        .server
        .handle_command(stage.now, ServerCommand::Mute { client: ClientId::new(0), voice: true, text: true })
        .unwrap();
    stage.handshake(ann, "innocent").unwrap();
    let client = stage.server.client_of(ann).unwrap();
    stage.clear();
    let payload = say(session, client, Recipient::Player(ClientId::new(1)), b"x");
    let relay = ServerRelay { session, destinations: &[ClientId::new(1)], payload: &payload };
    stage.send(ann, &Packet::ServerRelayUnreliable(relay)).unwrap();
    assert!(stage.sent(ben).is_empty());
}

/// F-02: a client in the room says the same twice: two texts for the application, and for those who count.
#[test]
fn f_02_every_text_is_an_event_and_counted_though_its_sender_listens_too() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let (ann, ben) = (stage.join("ann"), stage.join("ben"));
    let (session, a, b) = (stage.session(), ClientId::new(0), ClientId::new(1));
    for (peer, client) in [(ann, a), (ben, b)] {
        let delta = DeltaClientState { session, joined: true, client, room: "Hall".into() };
        stage.send(peer, &Packet::DeltaClientState(delta)).unwrap();
    }
    stage.sent(ben);
    for recipient in [Recipient::Room(room_id("Hall")), Recipient::Player(b)] {
        let text = TextData { session, sender: a, recipient, text: "hello".into() };
        let payload = harness::encode(&Packet::TextData(text));
        for n in 1..=6 {
            let relay = ServerRelay { session, destinations: &[b], payload: &payload };
            let event = stage.send(ann, &Packet::ServerRelayReliable(relay)).unwrap();
            assert!(event.starts_with("Text"), "{n}: {event:?}");
            assert_eq!(stage.sent_to(ben), ["TextData"]);
        }
    }
    assert_eq!(stage.server.stats().texts, 12);
    // One that reaches nobody is one, too.
    let text = TextData { session, sender: a, recipient: Recipient::Player(b), text: "hello".into() };
    let payload = harness::encode(&Packet::TextData(text));
    let nobody = [ClientId::new(9)];
    let relay = ServerRelay { session, destinations: &nobody, payload: &payload };
    for _ in 0..2 {
        assert!(stage.send(ann, &Packet::ServerRelayReliable(relay)).unwrap().ends_with("copies: 0 }"));
    }
    assert_eq!(stage.server.stats().texts, 14);
}

/// F-37: every counter moves, by exactly what happened.
#[test]
fn f_37_every_counter_of_the_server_moves() {
    let mut stage = Harness::new(ServerSettings { max_rooms: 1, ..ServerSettings::DEFAULT });
    let (ann, ben) = (stage.join("ann"), stage.join("ben"));
    let (session, a, b) = (stage.session(), ClientId::new(0), ClientId::new(1));
    let before = stage.server.stats();
    assert_eq!(before.joined, 2);
    stage.join("cyd");
    let to = [b, b, ClientId::new(77)];
    for n in 0..121_u16 {
        let mut payload = say(session, a, Recipient::Player(b), b"x");
        payload[10..12].copy_from_slice(&n.to_be_bytes());
        let relay =
            ServerRelay { session, destinations: if n == 0 { &to } else { &to[..1] }, payload: &payload };
        let _ = stage.send(ann, &Packet::ServerRelayUnreliable(relay));
    }
    let text = TextData { session, sender: a, recipient: Recipient::Player(b), text: "hi".into() };
    let payload = harness::encode(&Packet::TextData(text));
    let relay = ServerRelay { session, destinations: &to[..1], payload: &payload };
    stage.send(ann, &Packet::ServerRelayReliable(relay)).unwrap();
    let forged = say(session, a, Recipient::Player(b), b"x");
    let relay = ServerRelay { session, destinations: &to[..1], payload: &forged };
    assert!(stage.send(ben, &Packet::ServerRelayUnreliable(relay)).is_err());
    assert!(stage.feed(ben, b"garbage").is_err());
    for room in ["Red", "Blue"] {
        let delta = DeltaClientState { session, joined: true, client: b, room: room.into() };
        stage.send(ben, &Packet::DeltaClientState(delta)).unwrap();
    }
    let stats = stage.server.stats();
    assert_eq!((stats.joined, stats.voice, stats.voice_copies, stats.voice_over_budget), (3, 120, 120, 1));
    assert_eq!((stats.texts, stats.skipped), (1, 2));
    assert_eq!((stats.violations, stats.forged, stats.rooms_refused), (2, 1, 1));
    // A client that comes again under another name has joined once more; one that leaves has still joined.
    stage.handshake(ben, "bea").unwrap();
    stage.close(ann);
    assert_eq!(stage.server.stats().joined, 4);
}
