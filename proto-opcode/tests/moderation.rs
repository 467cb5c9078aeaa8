//! What an operator decides about clients.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use harness::{CLOSED, Harness, peer, request};
use voxwire_core::{DialId, Input, ListenId, Moderation as _, Mute, Session as _, Via, Watched};
use voxwire_opcode::{Packet, Refusal, RelayAddress, ServerCommand, ServerSettings};

const MUTED: Mute = Mute { voice: true, text: false };

/// A call of alice (0) to bob (1) that the server carries, by the connections 30 and 21.
fn carried() -> Harness {
    let relay = Some(RelayAddress { v4: Some([10, 9, 9, 9].into()), v6: None });
    let mut hall = Harness::new(ServerSettings { relay, ..ServerSettings::DEFAULT });
    hall.join(0, "alice");
    hall.join(1, "bob");
    hall.send(0, &request("bob", "", 4001)).unwrap();
    hall.input(Input::Listening { id: ListenId::new(0), port: 60_000 }).unwrap();
    let from = Some(([10, 0, 0, 1], 5).into());
    let arrive = Input::Opened { peer: peer(21), via: Via::AcceptedOn(ListenId::new(0)), from };
    hall.input(arrive).unwrap();
    let dialled = Input::Opened { peer: peer(30), via: Via::Dialled(DialId::new(1)), from: None };
    assert_eq!(hall.input(dialled), Ok(Some("Established(0.0 -> 1.0)".into())));
    hall.send(30, &Packet::ConnectionEstablished).unwrap();
    [0, 1, 21, 30].into_iter().for_each(|slot| drop(hall.said(slot)));
    hall
}

/// What bob and alice hear of each other.
fn heard(hall: &mut Harness) -> (usize, usize) {
    hall.send(30, &Packet::VoiceData(b"from alice")).unwrap();
    hall.send(21, &Packet::VoiceData(b"from bob")).unwrap();
    (hall.said(21).len(), hall.said(30).len())
}

/// C-30: voice of a muted client is not carried, in the call that is up and in the next one.
#[test]
fn c_30_voice_of_a_muted_client_is_not_carried() {
    let mut hall = carried();
    assert_eq!(heard(&mut hall), (1, 1));
    hall.server.mute(peer(0), MUTED).unwrap();
    assert_eq!(heard(&mut hall), (0, 1));
    assert!(hall.server.members().any(|it| it.name == Some(b"alice") && it.muted == MUTED));
    hall.server.mute(peer(0), Mute::NOTHING).unwrap();
    hall.server.set_hearing(peer(0), Some(&[])).unwrap();
    assert_eq!(heard(&mut hall), (1, 0));
    hall.server.set_hearing(peer(0), Some(&[peer(1)])).unwrap();
    assert_eq!(heard(&mut hall), (1, 1));
    hall.server.close_hearing(true);
    assert_eq!(heard(&mut hall), (0, 1));
    // Who logs out keeps its call, as it is.
    hall.input(Input::Closed { peer: peer(0) }).unwrap();
    hall.server.close_hearing(false);
    assert_eq!(heard(&mut hall), (0, 1));
}

/// C-46: voice of a call is told while a party is watched, both ways, also when that one has logged out.
#[test]
fn c_46_voice_in_calls_of_a_watched_client_is_told() {
    let mut hall = carried();
    let told = |hall: &mut Harness| {
        [30, 21].map(|leg| hall.send(leg, &Packet::VoiceData(b"voice")).unwrap().is_some())
    };
    assert_eq!(told(&mut hall), [false; 2]);
    hall.server.watch(Watched::Name("bob"), true).unwrap();
    assert_eq!(told(&mut hall), [true; 2]);
    assert_eq!(hall.server.parties_of(peer(30)), Some([&b"alice"[..], b"bob"]));
    assert_eq!(hall.server.parties_of(peer(21)), Some([&b"bob"[..], b"alice"]));
    assert_eq!(hall.server.parties_of(peer(0)), None);
    hall.server.watch(Watched::Name("bob"), false).unwrap();
    assert_eq!(told(&mut hall), [false; 2]);
    hall.server.watch(Watched::Name("alice"), true).unwrap();
    hall.server.mute(peer(1), MUTED).unwrap();
    assert_eq!(told(&mut hall), [true, false]);
    hall.input(Input::Closed { peer: peer(0) }).unwrap();
    hall.server.mute(peer(1), Mute::NOTHING).unwrap();
    assert_eq!(told(&mut hall), [true; 2]);
    assert_eq!(hall.server.watch(Watched::Name("alice"), false), Err(Refusal::UnknownPeer));
    assert!(matches!(hall.server.watch(Watched::Room("x"), true), Err(Refusal::Unsupported(_))));
    let mut straight = Harness::new(ServerSettings::DEFAULT);
    straight.join(0, "alice");
    assert!(matches!(straight.server.watch(Watched::Name("alice"), true), Err(Refusal::Unsupported(_))));
}

/// C-30: who is kicked has no call any more.
#[test]
fn c_30_a_kicked_client_is_told_why_and_its_call_ends() {
    let mut hall = carried();
    hall.server.kick(hall.now, peer(0), "shouting").unwrap();
    hall.collect();
    assert_eq!((hall.said(21), hall.said(30)), (vec![CLOSED.into()], vec![CLOSED.into()]));
    let told = hall.said(0);
    assert!(told[0].contains("shouting") && told[1] == CLOSED, "{told:?}");
    assert_eq!((hall.server.relays(), hall.server.members().count()), (0, 1));
    assert_eq!(hall.server.kick(hall.now, peer(0), ""), Err(Refusal::UnknownPeer));
}

/// C-30: a server that carries no calls says that it cannot mute.
#[test]
fn c_30_a_server_without_a_relay_mutes_no_client() {
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    hall.join(0, "alice");
    assert!(matches!(hall.server.mute(peer(0), MUTED), Err(Refusal::Unsupported(_))));
    assert!(matches!(hall.server.set_hearing(peer(0), Some(&[])), Err(Refusal::Unsupported(_))));
    // Nothing is asked for.
    assert_eq!(hall.server.mute(peer(0), Mute::NOTHING), Ok(()));
    assert_eq!(hall.server.set_hearing(peer(0), None), Ok(()));
    assert_eq!(hall.server.mute(peer(1), Mute::NOTHING), Err(Refusal::UnknownPeer));
}

/// C-30: what a listener may hear stays decided when it has logged out, and the other side can still be muted.
#[test]
fn c_30_a_call_whose_party_has_logged_out_stays_as_it_was_decided() {
    for closed in [false, true] {
        let mut hall = carried();
        let set = [peer(1)];
        let (speakers, to_alice) = if closed { (&set[..], 1) } else { (&[][..], 0) };
        hall.server.set_hearing(peer(0), Some(speakers)).unwrap();
        assert_eq!(heard(&mut hall), (1, to_alice));
        hall.input(Input::Closed { peer: peer(0) }).unwrap();
        // Neither opens nor closes what was decided.
        hall.server.close_hearing(true);
        hall.server.close_hearing(closed);
        assert_eq!(heard(&mut hall), (1, to_alice), "{closed}");
        hall.server.set_hearing(peer(1), None).unwrap();
        assert_eq!(heard(&mut hall), (1, to_alice), "{closed}");
        hall.server.mute(peer(1), MUTED).unwrap();
        assert_eq!(heard(&mut hall), (1, 0), "{closed}");
        hall.server.mute(peer(1), Mute::NOTHING).unwrap();
        assert_eq!(heard(&mut hall), (1, to_alice), "{closed}");
    }
}

/// C-30: the command ends calls, too, and frames that are not carried are counted.
#[test]
fn c_30_the_command_to_kick_ends_the_call() {
    let mut hall = carried();
    hall.server.mute(peer(0), MUTED).unwrap();
    assert_eq!((heard(&mut hall), hall.server.stats().muted), ((0, 1), 1));
    let kick = ServerCommand::Kick { peer: peer(0), reason: "shouting" };
    hall.server.handle_command(hall.now, kick).unwrap();
    hall.collect();
    assert_eq!((hall.said(21), hall.said(30)), (vec![CLOSED.into()], vec![CLOSED.into()]));
    assert_eq!(hall.server.relays(), 0);
}
