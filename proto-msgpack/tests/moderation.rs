//! What an operator decides about clients.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod harness;

use harness::{Harness, send, whisper};
use voxwire_core::{Mute, PeerId};
use voxwire_msgpack::{ClientCommand, Refusal, Server};

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
    assert_eq!(decide(&mut hall, |server| server.say("room", "server", "restart")), Ok(2));
    hall.wait();
    let told = r#"MsgGroup { group_name: "room", sender: "server", content: "restart" }"#;
    assert_eq!((hall.heard(ann), hall.heard(bob)), (vec![told.into()], vec![told.into()]));
    let unknown = decide(&mut hall, |server| server.say("nowhere", "server", "x"));
    assert!(matches!(unknown, Err(Refusal::Unexpected { .. })));
    let ann = peer(&mut hall, "ann");
    hall.office(|server, _, now| server.kick(now, ann, "")).unwrap();
    assert_eq!(decide(&mut hall, |server| server.members().count()), 1);
}
