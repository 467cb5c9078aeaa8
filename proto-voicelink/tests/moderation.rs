//! What an operator decides about clients.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use harness::Harness;
use voxwire_core::{Moderation as _, Mute, PeerId, Watched};
use voxwire_voicelink::{Refusal, Server, SessionState};

fn decide<R>(hall: &mut Harness, f: impl FnOnce(&mut Server) -> R) -> R {
    hall.sim.with(hall.server, |server, _, _| f(server))
}

fn peer(server: &Server, name: &str) -> PeerId {
    server.members().find(|member| member.name == Some(name.as_bytes())).unwrap().peer
}

/// C-30: a muted client is not heard, in the call that is up; and it hears.
#[test]
fn c_30_audio_of_a_muted_client_is_not_handed_on() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.talk(alice, bob, "bob");
    let ann = decide(&mut hall, |server| peer(server, "alice"));
    let muted = Mute { voice: true, text: false };
    decide(&mut hall, |server| server.mute(ann, muted)).unwrap();
    hall.say(alice, b"to bob");
    hall.say(bob, b"to alice");
    hall.settle();
    assert_eq!((hall.heard(alice), hall.heard(bob)), (b"to alice".to_vec(), vec![]));
    let stats = decide(&mut hall, |server| server.stats());
    assert_eq!((stats.muted, stats.packets), (1, 1));
    decide(&mut hall, |server| server.mute(ann, Mute::NOTHING)).unwrap();
    hall.say(alice, b"again");
    hall.settle();
    assert_eq!(hall.heard(bob), b"again");
    let text = Mute { voice: false, text: true };
    assert!(matches!(decide(&mut hall, |server| server.mute(ann, text)), Err(Refusal::Unsupported(_))));
}

/// C-30: a listener hears whom its set names.
#[test]
fn c_30_a_listener_hears_whom_its_set_names() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.talk(alice, bob, "bob");
    let [ann, ben] = ["alice", "bob"].map(|name| decide(&mut hall, |server| peer(server, name)));
    decide(&mut hall, |server| server.set_hearing(ben, Some(&[]))).unwrap();
    hall.say(alice, b"to bob");
    hall.say(bob, b"to alice");
    hall.settle();
    assert_eq!((hall.heard(alice), hall.heard(bob)), (b"to alice".to_vec(), vec![]));
    decide(&mut hall, |server| server.set_hearing(ben, Some(&[ann]))).unwrap();
    hall.say(alice, b"again");
    hall.settle();
    assert_eq!(hall.heard(bob), b"again");
    assert!(decide(&mut hall, |server| server.members().any(|member| member.hearing_set)));
}

/// C-46: audio of a call is told while a party is watched, both ways.
#[test]
fn c_46_audio_in_calls_of_a_watched_client_is_told() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.talk(alice, bob, "bob");
    let told = |hall: &mut Harness| {
        hall.sim.with(hall.server, |_, log, _| log.take());
        hall.say(alice, b"to bob");
        hall.say(bob, b"to alice");
        hall.settle();
        let events = hall.sim.with(hall.server, |_, log, _| log.take());
        events.iter().filter(|event| event.starts_with("Voice")).count()
    };
    assert_eq!(told(&mut hall), 0);
    decide(&mut hall, |server| server.watch(Watched::Name("alice"), true)).unwrap();
    assert_eq!(told(&mut hall), 2);
    decide(&mut hall, |server| server.watch(Watched::Name("alice"), false)).unwrap();
    decide(&mut hall, |server| server.watch(Watched::Name("bob"), true)).unwrap();
    assert_eq!(told(&mut hall), 2);
    let room = decide(&mut hall, |server| server.watch(Watched::Room("x"), true));
    assert!(matches!(room, Err(Refusal::Unsupported(_))));
    let unknown = decide(&mut hall, |server| server.watch(Watched::Name("zoe"), true));
    assert_eq!(unknown, Err(Refusal::UnknownPeer));
}

/// C-30: who is kicked is told why, and its call ends.
#[test]
fn c_30_a_kicked_client_is_told_why() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.talk(alice, bob, "bob");
    let ann = decide(&mut hall, |server| peer(server, "alice"));
    hall.sim.with(hall.server, |server, _, now| server.kick(now, ann, "shouting")).unwrap();
    hall.settle();
    assert!(hall.events(alice).join(" ").contains("shouting"));
    assert_eq!(hall.state(bob), SessionState::Idle);
    let gone = hall.sim.with(hall.server, |server, _, now| server.kick(now, ann, ""));
    assert_eq!(gone, Err(Refusal::UnknownPeer));
}
