//! The room in which a client hears itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness::{Harness, encode, state, voice};
use voxwire_core::{Moderation as _, Mute, PeerId};
use voxwire_dissonance::{
    Channel, ClientId, DeltaClientState, ECHO, Packet, Recipient, ServerRelay, ServerSettings, Text, room_id,
};

const ECHOING: ServerSettings = ServerSettings { echo: true, ..ServerSettings::DEFAULT };

/// Ann and Ben, who listen to the Lobby; Ann to echo, too. And the number of the player of echo.
fn stage() -> (Harness, [PeerId; 2], ClientId) {
    let mut stage = Harness::new(ECHOING);
    let (ann, ben) = (stage.join("ann"), stage.join("ben"));
    let session = stage.session();
    stage.clear();
    stage.send(ben, &state(session, "ben", ClientId::new(1), &["Lobby".into()])).unwrap();
    stage.clear();
    stage.send(ann, &state(session, "ann", ClientId::new(0), &[ECHO.into(), "Lobby".into()])).unwrap();
    // Ben hears of the Lobby alone.
    let told = stage.sent(ben);
    let Packet::ClientState(got) = told[0].packet() else { panic!() };
    assert_eq!((told.len(), got.rooms.iter().collect::<Vec<_>>()), (1, vec![Text::new("Lobby")]));
    let told = stage.sent(ann);
    let Packet::DeltaClientState(delta) = told[1].packet() else { panic!() };
    assert!(delta.joined && delta.client == ClientId::new(0) && delta.room == Text::new(ECHO));
    let Packet::ClientState(echo) = told[2].packet() else { panic!() };
    assert_eq!((echo.client.name, told.len()), (Text::new(ECHO), 3));
    assert_eq!(echo.rooms.iter().collect::<Vec<_>>(), [Text::new(ECHO)]);
    assert_eq!(Some(echo.client.codec.codec), stage.server.codec(ClientId::new(0)));
    let id = echo.client.id;
    (stage, [ann, ben], id)
}

fn say(stage: &mut Harness, from: PeerId, to: &[ClientId], channels: &[Channel], frame: &[u8]) {
    let sender = stage.server.client_of(from).unwrap();
    let payload = voice(stage.session(), sender, channels, frame);
    let relay = ServerRelay { session: stage.session(), destinations: to, payload: &payload };
    stage.send(from, &Packet::ServerRelayUnreliable(relay)).unwrap();
}

/// D-20: what a client says to the room comes back to it under the number of echo, with the sequence that it had, and goes to nobody else.
#[test]
fn d_20_what_is_said_to_echo_comes_back_to_its_sender_alone() {
    let (mut stage, [ann, ben], echo) = stage();
    let room = Channel::new(Recipient::Room(room_id(ECHO)));
    say(&mut stage, ann, &[echo, ClientId::new(1)], &[room], b"to the room");
    let heard = stage.sent(ann);
    let Packet::VoiceData(got) = heard[0].packet() else { panic!() };
    assert_eq!((got.sender, got.channels, got.frame), (echo, &[room][..], &b"to the room"[..]));
    // To the player: it comes back as said to Ann.
    say(&mut stage, ann, &[echo], &[Channel::new(Recipient::Player(echo))], b"to the player");
    let heard = stage.sent(ann);
    let Packet::VoiceData(got) = heard[0].packet() else { panic!() };
    let to_ann = Channel::new(Recipient::Player(ClientId::new(0)));
    assert_eq!((got.sender, got.channels), (echo, &[to_ann][..]));
    assert_eq!(stage.sent_to(ben), [""; 0]);
    assert_eq!(
        stage.server.stats().skipped,
        2,
        "the player, which is no client, and Ben, who does not listen there"
    );
    // What is said to another room as well goes there, too.
    let lobby = Channel::new(Recipient::Room(room_id("Lobby")));
    say(&mut stage, ann, &[echo, ClientId::new(1)], &[lobby, room], b"to both");
    assert_eq!((stage.sent_to(ann).len(), stage.sent_to(ben).len()), (1, 1));
    // Who does not listen there hears nothing; nor does one who is muted.
    say(&mut stage, ben, &[echo], &[room], b"not there");
    stage.server.mute(ann, Mute { voice: true, text: false }).unwrap();
    say(&mut stage, ann, &[echo], &[room], b"muted");
    assert_eq!((stage.sent_to(ann), stage.sent_to(ben)), (vec![], vec![]));
}

/// D-20: echo goes when its listener leaves the room, and comes again with a new description of the session; it is nobody's name.
#[test]
fn d_20_echo_goes_with_the_room_and_is_nobodys_name() {
    let (mut stage, [ann, ben], echo) = stage();
    let session = stage.session();
    let delta = |joined| {
        let client = ClientId::new(0);
        encode(&Packet::DeltaClientState(DeltaClientState { session, joined, client, room: ECHO.into() }))
    };
    stage.feed(ann, &delta(false)).unwrap();
    assert_eq!(stage.sent_to(ann), ["DeltaClientState", "RemoveClient"]);
    stage.feed(ann, &delta(false)).unwrap();
    let room = Channel::new(Recipient::Room(room_id(ECHO)));
    say(&mut stage, ann, &[echo], &[room], b"left");
    assert_eq!(stage.sent_to(ann), [""; 0]);
    stage.feed(ann, &delta(true)).unwrap();
    assert_eq!(stage.sent_to(ann), ["DeltaClientState", "ClientState"]);
    // A state without the room ends it as well.
    stage.send(ann, &state(session, "ann", ClientId::new(0), &["Lobby".into()])).unwrap();
    assert_eq!(stage.sent_to(ann), ["ClientState", "DeltaClientState", "RemoveClient"]);
    stage.sent(ben);
    let eve = stage.open();
    assert!(stage.handshake(eve, ECHO).unwrap().contains("NameRefused"));
    assert_eq!(stage.server.rooms().map(|(name, _)| name).collect::<Vec<_>>(), ["Lobby"]);
    // Without the setting it is a room as any other.
    let mut plain = Harness::new(ServerSettings::DEFAULT);
    let echo = plain.join(ECHO);
    assert!(plain.server.client_of(echo).is_some());
}

/// D-20: a room whose name has the number of echo would hear what is said to echo: it is none.
#[test]
fn d_20_no_other_room_has_the_number_of_echo() {
    const SAME: &str = "room298862";
    assert_eq!(room_id(SAME), room_id(ECHO));
    let (mut stage, [_, ben], _) = stage();
    let session = stage.session();
    let delta = DeltaClientState { session, joined: true, client: ClientId::new(1), room: SAME.into() };
    stage.send(ben, &Packet::DeltaClientState(delta)).unwrap();
    stage.send(ben, &state(session, "ben", ClientId::new(1), &[SAME.into()])).unwrap();
    assert_eq!(stage.server.stats().rooms_refused, 2);
    assert!(stage.server.reserve_room(SAME).is_err() && stage.server.reserve_room(ECHO).is_ok());
    // Without echo it is a room as any other.
    let mut plain = Harness::new(ServerSettings::DEFAULT);
    assert!(plain.server.reserve_room(SAME).is_ok());
}
