//! What an operator decides about clients.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use harness::{Harness, say, state};
use voxwire_core::{Limits, Moderation as _, Mute, PeerId, Session as _, Watched};
use voxwire_dissonance::{
    ClientId, DeltaClientState, Packet, Recipient, Refusal, RoomRefused, ServerCommand, ServerRelay,
    ServerSettings, TextData, room_id,
};

/// Ann, Ben and Cid, and their connections.
fn three() -> (Harness, [PeerId; 3], [ClientId; 3]) {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let peers = ["ann", "ben", "cid"].map(|name| stage.join(name));
    let clients = peers.map(|peer| stage.server.client_of(peer).unwrap());
    stage.clear();
    (stage, peers, clients)
}

/// A frame of voice of a client's for each of the others.
fn speak(stage: &mut Harness, peer: PeerId, clients: &[ClientId], frame: &[u8]) {
    let (session, sender) = (stage.session(), stage.server.client_of(peer).unwrap());
    for &to in clients.iter().filter(|&&to| to != sender) {
        let payload = say(session, sender, Recipient::Player(to), frame);
        let relay = ServerRelay { session, destinations: &[to], payload: &payload };
        stage.send(peer, &Packet::ServerRelayUnreliable(relay)).unwrap();
    }
}

/// Who may be reached without the server, as the driver is told.
fn direct(stage: &mut Harness, f: impl FnOnce(&mut Harness)) -> Vec<(PeerId, bool)> {
    stage.drain();
    stage.direct.clear();
    f(stage);
    stage.drain();
    core::mem::take(&mut stage.direct)
}

/// The same, later.
fn direct_of(f: impl Fn(&mut Harness)) -> impl Fn(&mut Harness) -> Vec<(PeerId, bool)> {
    move |stage| direct(stage, &f)
}

/// C-30: the members are those in the session, with what is decided about them.
#[test]
fn c_30_members_are_listed_with_what_is_decided_about_them() {
    let (mut stage, [ann, ben, _], _) = three();
    stage.open();
    stage.server.mute(ann, Mute { voice: false, text: true }).unwrap();
    stage.server.set_hearing(ben, Some(&[])).unwrap();
    let members: Vec<String> = stage
        .server
        .members()
        .map(|it| {
            format!("{} {:?} {} {}", it.peer, it.muted.text, it.hearing_set, it.name.unwrap().escape_ascii())
        })
        .collect();
    assert_eq!(members, ["0.0 true false ann", "1.0 false true ben", "2.0 false false cid"]);
    stage.server.kick(stage.now, ann, "").unwrap();
    stage.drain();
    assert_eq!((stage.server.members().count(), stage.closed.contains(&ann)), (2, true));
    assert_eq!(stage.server.kick(stage.now, ann, ""), Err(Refusal::UnknownPeer));
    assert_eq!(stage.server.mute(ann, Mute::NOTHING), Err(Refusal::UnknownPeer));
    assert_eq!(stage.server.set_hearing(ann, None), Err(Refusal::UnknownPeer));
}

/// C-30: a listener hears whom its set names, and where all is closed a listener without a set hears no client.
#[test]
fn c_30_a_listener_hears_whom_its_set_names() {
    let (mut stage, [ann, ben, cid], clients) = three();
    stage.server.set_hearing(ben, Some(&[cid])).unwrap();
    speak(&mut stage, ann, &clients, b"x");
    assert_eq!((stage.sent_to(ben).len(), stage.sent_to(cid).len()), (0, 1));
    speak(&mut stage, cid, &clients, b"x");
    assert_eq!((stage.sent_to(ann).len(), stage.sent_to(ben).len()), (1, 1));
    stage.server.close_hearing(true);
    speak(&mut stage, cid, &clients, b"y");
    assert_eq!((stage.sent_to(ann).len(), stage.sent_to(ben).len()), (0, 1));
    stage.server.close_hearing(false);
    stage.server.set_hearing(ben, None).unwrap();
    speak(&mut stage, ann, &clients, b"y");
    assert_eq!((stage.sent_to(ben).len(), stage.sent_to(cid).len()), (1, 1));
    // A text is no voice.
    stage.server.set_hearing(ben, Some(&[])).unwrap();
    let [a, b, _] = clients;
    let session = stage.session();
    let text = TextData { session, sender: a, recipient: Recipient::Player(b), text: "hi".into() };
    let payload = harness::encode(&Packet::TextData(text));
    let relay = ServerRelay { session, destinations: &[b], payload: &payload };
    stage.send(ann, &Packet::ServerRelayReliable(relay)).unwrap();
    assert_eq!(stage.sent_to(ben), ["TextData"]);
}

/// C-30: what is sent again to a listener that does not hear it is charged like any other frame.
#[test]
fn c_30_frames_that_no_client_hears_count() {
    let (mut stage, [ann, ben, _], clients) = three();
    stage.server.set_hearing(ben, Some(&[])).unwrap();
    let session = stage.session();
    let payload = say(session, clients[0], Recipient::Player(clients[1]), b"x");
    let relay = ServerRelay { session, destinations: &[clients[1]], payload: &payload };
    let refused =
        (0..1000).filter(|_| stage.send(ann, &Packet::ServerRelayUnreliable(relay)).is_err()).count();
    assert_eq!(refused, 1000 - 120);
    assert!(stage.sent_to(ben).is_empty());
}

/// C-30: who is muted, or told whom it hears, may not be reached without the server.
#[test]
fn c_30_the_driver_is_told_who_may_be_reached_directly() {
    let (mut stage, [ann, ben, cid], _) = three();
    let muted = Mute { voice: true, text: false };
    let told = direct(&mut stage, |stage| stage.server.mute(ann, muted).unwrap());
    assert_eq!(told, [(ann, false)]);
    let told = direct(&mut stage, |stage| stage.server.set_hearing(ann, Some(&[])).unwrap());
    assert_eq!(told, [(ann, false)]);
    let told = direct(&mut stage, |stage| stage.server.mute(ann, Mute::NOTHING).unwrap());
    assert_eq!(told, [(ann, false)]);
    let told = direct(&mut stage, |stage| stage.server.set_hearing(ann, None).unwrap());
    assert_eq!(told, [(ann, true)]);
    let told = direct(&mut stage, |stage| stage.server.close_hearing(true));
    assert_eq!(told, [(ann, false), (ben, false), (cid, false)]);
    let told = direct(&mut stage, |stage| drop(stage.handshake(ben, "ben")));
    assert_eq!(told, []);
}

/// C-46: what any client says to a room that is watched is told, and nothing else that the client says.
#[test]
fn c_46_what_is_said_to_a_watched_room_is_told() {
    let (mut stage, [ann, ben, _], [a, b, _]) = three();
    let session = stage.session();
    stage.send(ben, &state(session, "ben", b, &["Hall".into(), "Attic".into()])).unwrap();
    stage.server.watch(Watched::Room("Hall"), true).unwrap();
    stage.clear();
    let mut said = 0;
    let mut say_to = |stage: &mut Harness, to: Recipient| {
        said += 1;
        let payload = say(session, a, to, &[said]);
        let relay = ServerRelay { session, destinations: &[b], payload: &payload };
        stage.send(ann, &Packet::ServerRelayUnreliable(relay)).unwrap()
    };
    let [hall, attic] = ["Hall", "Attic"].map(|room| Recipient::Room(room_id(room)));
    assert!(say_to(&mut stage, hall).starts_with("Voice"));
    assert_eq!(say_to(&mut stage, attic), "");
    assert_eq!(say_to(&mut stage, Recipient::Player(b)), "");
    stage.server.watch(Watched::Room("Hall"), false).unwrap();
    assert_eq!(say_to(&mut stage, hall), "");
    // A client that is watched, to whomever it speaks.
    stage.server.watch(Watched::Name("ann"), true).unwrap();
    assert!(say_to(&mut stage, attic).starts_with("Voice"));
    assert!(say_to(&mut stage, Recipient::Player(b)).starts_with("Voice"));
    assert_eq!(stage.server.watch(Watched::Name("zoe"), true), Err(Refusal::UnknownClient));
}

/// C-46: who listens to a room that is watched, or is watched, may not be reached without the server.
#[test]
fn c_46_no_direct_path_bypasses_a_server_that_watches() {
    let (mut stage, [ann, ben, _], [a, b, _]) = three();
    let session = stage.session();
    stage.send(ann, &state(session, "ann", a, &["Hall".into()])).unwrap();
    stage.send(ben, &state(session, "ben", b, &[])).unwrap();
    stage.drain();
    let watch = |on| direct_of(move |stage| stage.server.watch(Watched::Room("Hall"), on).unwrap());
    assert_eq!(watch(true)(&mut stage), [(ann, false)]);
    let change = |joined| {
        let delta = DeltaClientState { session, joined, client: b, room: "Hall".into() };
        direct_of(move |stage| drop(stage.send(ben, &Packet::DeltaClientState(delta)).unwrap()))
    };
    assert_eq!(change(true)(&mut stage), [(ben, false)]);
    assert_eq!(change(false)(&mut stage), [(ben, true)]);
    // A state leaves all rooms, and enters those of the state.
    let told = direct(&mut stage, |stage| {
        stage.send(ann, &state(session, "ann", a, &["Hall".into()])).unwrap();
    });
    assert_eq!(told.last(), Some(&(ann, false)));
    assert_eq!(watch(false)(&mut stage), [(ann, true)]);
    let watch = |client, on| {
        direct_of(move |stage| {
            stage.server.handle_command(stage.now, ServerCommand::Watch { client, on }).unwrap();
        })
    };
    assert_eq!(watch(Some(a), true)(&mut stage), [(ann, false)]);
    assert_eq!(watch(Some(a), false)(&mut stage), [(ann, true)]);
    assert_eq!(watch(None, true)(&mut stage).len(), 3);
    assert_eq!(watch(None, true)(&mut stage), []);
    let told = direct(&mut stage, |stage| {
        stage.join("dan");
    });
    assert!(matches!(told[..], [(_, false)]), "{told:?}");
}

/// C-46: one client is told something, of a room or for itself.
#[test]
fn c_46_one_client_is_told_something_by_the_server() {
    let (mut stage, [ann, ben, _], [a, ..]) = three();
    for (room, recipient) in [(Some("Hall"), Recipient::Room(room_id("Hall"))), (None, Recipient::Player(a))]
    {
        stage.server.tell(stage.now, ann, room, "server", "this is recorded").unwrap();
        stage.drain();
        let sent = stage.sent(ann);
        let texts: Vec<Packet<'_>> = sent.iter().map(harness::Sent::packet).collect();
        assert!(matches!(texts[..], [_, Packet::TextData(text), _] if text.recipient == recipient));
        assert!(stage.sent(ben).is_empty());
    }
}

/// C-30: the operator's text comes from a client that is there for as long as it takes.
#[test]
fn c_30_a_room_is_told_something_by_the_server() {
    let (mut stage, [ann, ben, cid], [a, ..]) = three();
    let session = stage.session();
    stage.send(ann, &state(session, "ann", a, &["Hall".into()])).unwrap();
    stage.clear();
    assert_eq!(stage.server.say(stage.now, "Hall", "server", "restart in a minute"), Ok(1));
    stage.drain();
    let sent = stage.sent(ann);
    let packets: Vec<Packet<'_>> = sent.iter().map(harness::Sent::packet).collect();
    let [Packet::ClientState(state), Packet::TextData(text), Packet::RemoveClient { client, .. }] =
        packets[..]
    else {
        panic!("{packets:?}");
    };
    assert_eq!((state.client.name.as_str(), state.client.id), (Some("server"), client));
    assert_eq!((text.sender, text.recipient), (client, Recipient::Room(room_id("Hall"))));
    assert_eq!(text.text.as_str(), Some("restart in a minute"));
    assert!(stage.sent_to(ben).is_empty() && stage.sent_to(cid).is_empty());
    // No client listens there.
    assert_eq!(stage.server.say(stage.now, "Yard", "server", "x"), Ok(0));
    assert!(matches!(stage.server.say(stage.now, "Hall", "ben", "x"), Err(Refusal::Unexpected { .. })));
    assert!(matches!(stage.server.say(stage.now, "Hall", "", "x"), Err(Refusal::InvalidName(..))));
}

/// C-30: what is decided about a connection that asks to join holds when it has joined.
#[test]
fn c_30_a_peer_that_is_muted_before_it_joins_stays_so() {
    let mut stage = Harness::new(ServerSettings { ask: true, ..ServerSettings::DEFAULT });
    let admitted = |stage: &mut Harness, name: &str, mute| {
        let peer = stage.open();
        assert!(stage.handshake(peer, name).unwrap().starts_with("Joining"));
        stage.server.mute(peer, mute).unwrap();
        let told = direct(stage, |stage| {
            stage.server.handle_command(stage.now, ServerCommand::Admit { peer }).unwrap();
        });
        assert!(!mute.voice || !told.contains(&(peer, true)), "{told:?}");
        stage.drain();
        let client = stage.server.client_of(peer).unwrap();
        stage.send(peer, &state(stage.session(), name, client, &[])).unwrap();
        (peer, client)
    };
    let muted = Mute { voice: true, text: true };
    let (ann, a) = admitted(&mut stage, "ann", muted);
    let (ben, b) = admitted(&mut stage, "ben", Mute::NOTHING);
    stage.clear();
    speak(&mut stage, ann, &[a, b], b"x");
    assert!(stage.sent_to(ben).is_empty());
    assert_eq!(stage.server.members().find(|it| it.peer == ann).unwrap().muted, muted);
    assert_eq!(stage.server.stats().muted, 1);
}

/// C-30: the operator has one number, and a text that is not sent takes none.
#[test]
fn c_30_the_operators_texts_take_one_number() {
    let (mut stage, [ann, ..], [a, ..]) = three();
    stage.send(ann, &state(stage.session(), "ann", a, &["Hall".into()])).unwrap();
    let long = "x".repeat(5000);
    assert!(matches!(stage.server.say(stage.now, "Hall", "server", &long), Err(Refusal::Encode(_))));
    let dan = stage.join("dan");
    assert_eq!(stage.server.client_of(dan), Some(ClientId::new(3)));
    for _ in 0..3 {
        assert_eq!(stage.server.say(stage.now, "Hall", "server", "again"), Ok(1));
        stage.drain();
    }
    let eve = stage.join("eve");
    assert_eq!(stage.server.client_of(eve), Some(ClientId::new(5)));
}

/// C-30: who is to go goes, however much waits to be sent.
#[test]
fn c_30_a_client_is_kicked_though_the_outbox_is_full() {
    let limits = Limits { max_outbox: 20_000, ..ServerSettings::DEFAULT.limits };
    let mut stage = Harness::new(ServerSettings { limits, ..ServerSettings::DEFAULT });
    let [ann, ben] = ["ann", "ben"].map(|name| stage.join(name));
    let client = stage.server.client_of(ben).unwrap();
    for _ in 0..2000 {
        stage.server.mute(ann, Mute::NOTHING).unwrap();
    }
    assert_eq!(stage.server.kick(stage.now, ann, ""), Ok(()));
    assert_eq!(stage.server.handle_command(stage.now, ServerCommand::Kick { client }), Ok(()));
    stage.drain();
    assert_eq!(stage.closed, [ann, ben]);
}

/// C-30: a move takes a client into no more rooms than it may listen to.
#[test]
fn c_30_a_client_is_moved_into_no_more_rooms_than_it_may_have() {
    let mut stage = Harness::new(ServerSettings { max_rooms: 2, ..ServerSettings::DEFAULT });
    let ann = stage.join("ann");
    let client = stage.server.client_of(ann).unwrap();
    let mut go = |from, to| stage.server.handle_command(stage.now, ServerCommand::Move { client, from, to });
    assert_eq!(go(None, Some("Red")), Ok(()));
    assert_eq!(go(None, Some("Blue")), Ok(()));
    let refused = Err(RoomRefused::Quota.into());
    assert_eq!(go(None, Some("Green")), refused);
    // It is in no such room.
    assert_eq!(go(Some("Grey"), Some("Green")), refused);
    // It is there.
    assert_eq!(go(None, Some("Red")), Ok(()));
    assert_eq!(go(Some("Red"), Some("Red")), Ok(()));
    assert_eq!(go(Some("Red"), Some("Green")), Ok(()));
    assert_eq!(stage.server.rooms_of(client).count(), 2);
}
