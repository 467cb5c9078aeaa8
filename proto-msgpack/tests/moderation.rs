//! What an operator decides about clients.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use harness::{Harness, recording, send, whisper};
use voxwire_core::{Moderation as _, Mute, PeerId, Watched};
use voxwire_msgpack::{ClientCommand, MAX_MUTED, Refusal, Resource, Server};

fn decide<R>(hall: &mut Harness, f: impl FnOnce(&mut Server) -> R) -> R {
    hall.office(|server, _, _| f(server))
}

fn peer(hall: &mut Harness, name: &str) -> PeerId {
    decide(hall, |server| server.members().find(|it| it.name == Some(name.as_bytes())).unwrap().peer)
}

fn say() -> ClientCommand<'static> {
    ClientCommand::Say { samples: [1_i16, 2, 3][..].into() }
}

/// C-30: live audio and texts of a muted user are not handed on.
#[test]
fn c_30_a_muted_user_is_neither_heard_nor_read() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    let muted = peer(&mut hall, "ann");
    decide(&mut hall, |server| server.mute(muted, Mute { voice: true, text: false })).unwrap();
    hall.heard(bob);
    hall.ask(ann, say());
    assert_eq!(hall.heard(bob), [""; 0]);
    assert_eq!(hall.code(ann, whisper("bob", "hello")), "SUCCESS");
    decide(&mut hall, |server| server.mute(muted, Mute { voice: false, text: true })).unwrap();
    hall.heard(bob);
    assert_eq!(hall.code(ann, whisper("bob", "hello")), "REQUEST_OVER_LIMIT");
    assert_eq!(hall.code(ann, send("room", "hello")), "REQUEST_OVER_LIMIT");
    hall.ask(ann, say());
    assert_eq!(hall.heard(bob), [r#"CallData { sender: "ann", samples: 3 Int samples }"#]);
    decide(&mut hall, |server| server.mute(muted, Mute::NOTHING)).unwrap();
    assert_eq!(hall.code(ann, send("room", "hello")), "SUCCESS");
}

/// C-30: a listener hears whom its set names.
#[test]
fn c_30_a_listener_hears_whom_its_set_names() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    let [speaker, listener] = ["ann", "bob"].map(|name| peer(&mut hall, name));
    hall.heard(bob);
    for (set, heard) in [(Some(vec![]), 0), (Some(vec![speaker]), 1), (Some(vec![listener]), 0), (None, 1)] {
        decide(&mut hall, |server| server.set_hearing(listener, set.as_deref())).unwrap();
        hall.ask(ann, say());
        assert_eq!(hall.heard(bob).len(), heard, "{set:?}");
    }
    decide(&mut hall, |server| server.close_hearing(true));
    hall.ask(ann, say());
    assert_eq!(hall.heard(bob), [""; 0]);
}

/// C-30: the members of a group that are online are told something.
#[test]
fn c_30_a_group_is_told_something_by_the_server() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    let (_ann, _bob) = (hall.heard(ann), hall.heard(bob));
    assert_eq!(hall.office(|server, _, now| server.say(now, "room", "server", "restart")), Ok(2));
    hall.wait();
    let told = r#"MsgGroup { group_name: "room", sender: "server", content: "restart" }"#;
    assert_eq!((hall.heard(ann), hall.heard(bob)), (vec![told.into()], vec![told.into()]));
    let unknown = hall.office(|server, _, now| server.say(now, "nowhere", "server", "x"));
    assert!(matches!(unknown, Err(Refusal::Unexpected { .. })));
    let ann = peer(&mut hall, "ann");
    hall.office(|server, _, now| server.kick(now, ann, "")).unwrap();
    assert_eq!(decide(&mut hall, |server| server.members().count()), 1);
}

/// C-46: live audio of a group that is watched is told, and of a user who is.
#[test]
fn c_46_live_audio_that_is_watched_is_told() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    let told = |hall: &mut Harness, watched, on| {
        decide(hall, |server| server.watch(watched, on)).unwrap();
        hall.ask(ann, say());
        hall.heard(bob);
        let events = hall.office(|_, office, _| office.log.take());
        events.iter().filter(|event| event.starts_with("Voice")).count()
    };
    assert_eq!(told(&mut hall, Watched::Room("other"), true), 0);
    assert_eq!(told(&mut hall, Watched::Room("room"), true), 1);
    assert_eq!(told(&mut hall, Watched::Room("room"), false), 0);
    assert_eq!(told(&mut hall, Watched::Name("bob"), true), 0);
    assert_eq!(told(&mut hall, Watched::Name("ann"), true), 1);
    assert_eq!(told(&mut hall, Watched::Name("ann"), false), 0);
    assert!(decide(&mut hall, |server| server.watch(Watched::Room("a\nb"), true)).is_err());
}

/// C-46: one connection is told something, as a text of a group or as a whisper.
#[test]
fn c_46_one_user_is_told_something_by_the_server() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    let (_ann, _bob) = (hall.heard(ann), hall.heard(bob));
    let peer = peer(&mut hall, "ann");
    for (room, told) in [
        (Some("room"), r#"MsgGroup { group_name: "room", sender: "server", content: "recorded" }"#),
        (None, r#"Whisper { sender: "server", content: "recorded" }"#),
    ] {
        hall.office(|server, _, now| server.tell(now, peer, room, "server", "recorded")).unwrap();
        hall.wait();
        assert_eq!((hall.heard(ann), hall.heard(bob)), (vec![told.into()], vec![]));
    }
    let as_user = hall.office(|server, _, now| server.tell(now, peer, None, "bob", "recorded"));
    assert!(matches!(as_user, Err(Refusal::Unexpected { .. })));
}

/// C-30: recordings are voice.
#[test]
fn c_30_recordings_of_a_user_whose_voice_is_muted_are_refused() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    let muted = peer(&mut hall, "ann");
    hall.heard(bob);
    decide(&mut hall, |server| server.mute(muted, Mute { voice: true, text: false })).unwrap();
    assert_eq!(hall.code(ann, recording("bob", &[1, 2, 3])), "REQUEST_OVER_LIMIT");
    hall.ask(ann, say());
    assert_eq!(hall.heard(bob), [""; 0]);
    let stats = decide(&mut hall, |server| server.stats());
    assert_eq!((stats.muted, stats.stray, stats.recordings), (2, 0, 0));
    decide(&mut hall, |server| server.mute(muted, Mute { voice: false, text: true })).unwrap();
    assert_eq!(hall.code(ann, recording("bob", &[1, 2, 3])), "SUCCESS");
}

/// C-30: a user is muted who is not online, and is so when it is; and there are only so many.
#[test]
fn c_30_users_who_are_offline_are_muted_by_name() {
    const TEXT: Mute = Mute { voice: false, text: true };
    let mut hall = Harness::safe();
    decide(&mut hall, |server| server.mute_user(b"ann", TEXT)).unwrap();
    let (ann, _bob) = hall.call_of_two();
    assert_eq!(hall.code(ann, whisper("bob", "hello")), "REQUEST_OVER_LIMIT");
    decide(&mut hall, |server| {
        assert_eq!(server.muted().collect::<Vec<_>>(), [(&b"ann"[..], TEXT)]);
        assert!(matches!(server.mute_user(b"", TEXT), Err(Refusal::InvalidName(_))));
        for n in 1..MAX_MUTED {
            server.mute_user(format!("user{n}").as_bytes(), TEXT).unwrap();
        }
        let full = Err(Refusal::Full { what: Resource::MutedUsers, max: MAX_MUTED });
        assert_eq!(server.mute_user(b"one more", TEXT), full);
        let bob = server.connections(b"bob")[0];
        assert_eq!(server.mute(bob, TEXT), full);
        // What is there may change, and go.
        server.mute_user(b"ann", Mute { voice: true, text: true }).unwrap();
        server.mute_user(b"ann", Mute::NOTHING).unwrap();
        server.mute_user(b"one more", TEXT).unwrap();
        assert_eq!(server.muted().count(), MAX_MUTED);
    });
}

/// C-30: the server's text comes from no user.
#[test]
fn c_30_the_server_speaks_under_no_users_name() {
    let mut hall = Harness::safe();
    hall.call_of_two();
    let say =
        |hall: &mut Harness, sender: &str| hall.office(|server, _, now| server.say(now, "room", sender, "x"));
    for sender in ["ann", "bob"] {
        assert!(matches!(say(&mut hall, sender), Err(Refusal::Unexpected { .. })), "{sender}");
    }
    for sender in ["", " ", "a\0b"] {
        assert!(matches!(say(&mut hall, sender), Err(Refusal::InvalidName(_))), "{sender:?}");
    }
    for name in ["ann", "bob"] {
        let peer = peer(&mut hall, name);
        hall.office(|server, _, now| server.kick(now, peer, "")).unwrap();
    }
    // Members who are away are users all the same.
    assert!(matches!(say(&mut hall, "ann"), Err(Refusal::Unexpected { .. })));
    assert_eq!(say(&mut hall, "server"), Ok(0));
}
