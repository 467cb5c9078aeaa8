//! Packets that cross on the way: calls, answers and ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use core::time::Duration;
use harness::{AUDIO, Harness, OTHER};
use voxwire_core::testing::{Net, Sim, Transport};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientSettings, Refusal, Server, ServerCommand, ServerSettings,
    SessionState,
};

#[test]
fn calls_that_cross_the_one_the_server_saw_first_wins() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.call(bob, "alice");
    hall.settle();
    assert!(hall.events(bob)[0].ends_with(", superseded)"));
    assert_eq!(hall.events(alice), [""; 0]);
    hall.tell(bob, ClientCommand::Accept { optional: b"" }).unwrap();
    hall.settle();
    assert_eq!(
        (hall.state(alice), hall.state(bob), hall.calls()),
        (SessionState::InCall(AUDIO), SessionState::InCall(AUDIO), 1)
    );
    assert_eq!(hall.server_violations(), [""; 0]);
}

#[test]
fn hanging_up_at_once_on_both_sides_is_no_violation() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.talk(alice, bob, "bob");
    hall.drop_call(alice, b"");
    hall.say(bob, &[0; 9000]);
    hall.drop_call(bob, b"");
    hall.settle();
    assert_eq!(
        (hall.state(alice), hall.state(bob), hall.calls()),
        (SessionState::Idle, SessionState::Idle, 0)
    );
    assert_eq!(hall.server_violations(), ["data without a call"]);
    assert_eq!(hall.sim.with(hall.server, |server, _, _| server.stats().violations), 0);
    assert!(hall.sim.is_open(alice.link) && hall.sim.is_open(bob.link));
    hall.talk(bob, alice, "alice");
}

#[test]
fn an_answer_that_crosses_a_cancellation_leaves_both_idle() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.settle();
    hall.drop_call(alice, b"");
    hall.tell(bob, ClientCommand::Accept { optional: b"" }).unwrap();
    hall.say(bob, b"hello?");
    hall.settle();
    assert_eq!(hall.sim.with(hall.server, |server, _, _| server.stats().violations), 0);
    assert_eq!(
        (hall.state(alice), hall.state(bob), hall.calls()),
        (SessionState::Idle, SessionState::Idle, 0)
    );
    assert!(hall.sim.is_open(bob.link));
}

#[test]
fn an_answer_that_arrives_before_the_cancellation_leaves_both_idle() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.settle();
    hall.tell(bob, ClientCommand::Accept { optional: b"" }).unwrap();
    hall.drop_call(alice, b"");
    hall.settle();
    assert_eq!(
        (hall.state(alice), hall.state(bob), hall.calls()),
        (SessionState::Idle, SessionState::Idle, 0)
    );
    assert_eq!(hall.server_violations(), [""; 0]);
}

#[test]
fn a_callee_that_believes_in_a_call_that_there_is_not_is_told() {
    // A hangs up on B; C's call reaches B's line before B's own hang-up of the old call does, and that ends C's.
    let mut hall = Harness::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| hall.phone(name));
    hall.talk(alice, bob, "bob");
    hall.drop_call(alice, b"");
    hall.sim.run_for(Duration::from_micros(900));
    hall.call(carol, "bob");
    hall.sim.run_for(Duration::from_micros(200));
    // Carol's call and the old one's end are on their way to bob; bob hangs up the old one.
    hall.tell(bob, ClientCommand::Drop { optional: b"" }).unwrap_or(());
    hall.settle();
    if let SessionState::Ringing(_) = hall.state(bob) {
        let _ = hall.tell(bob, ClientCommand::Accept { optional: b"" });
    }
    hall.wait(120);
    for phone in [alice, bob, carol] {
        if let SessionState::InCall(_) = hall.state(phone) {
            assert_eq!(hall.calls(), 1);
        }
    }
    hall.wait(60);
    assert!(!matches!(hall.state(bob), SessionState::Ringing(_)), "nothing rings for ever");
}

#[test]
fn a_registration_answered_late_is_still_a_registration() {
    let mut sim = Sim::new(1);
    let server = sim.add(Server::new(ServerSettings { ask: true, ..ServerSettings::DEFAULT }, 1), ());
    let node = sim.add(Client::new(ClientSettings::DEFAULT), harness::Ear::default());
    let link = sim.connect(node, server, Transport::Stream, Net::PERFECT);
    sim.run_for(Duration::from_secs(1));
    let tell = |sim: &mut Sim, command: ClientCommand<'_>| {
        use voxwire_core::Session as _;
        sim.with(node, |client, _, now| client.handle_command(now, command))
    };
    let (preferred, samples) = (AUDIO, ByteOrder::BigEndian);
    tell(&mut sim, ClientCommand::Register { name: "bob", secret: None, preferred, samples }).unwrap();
    sim.run_for(Duration::from_secs(20));
    let call = ClientCommand::Call { user: b"bob", parameters: AUDIO, optional: b"" };
    assert_eq!(tell(&mut sim, call), Err(Refusal::Busy { state: "registering" }));
    let peer = sim.peers(link)[1];
    sim.with(server, |server, (), now| {
        use voxwire_core::Session as _;
        server.handle_command(now, ServerCommand::Admit { peer, proven: false }).unwrap();
    });
    sim.run_for(Duration::from_secs(1));
    let events = sim.with(node, |_, ear, _| ear.events.join(", "));
    assert_eq!(events, "Connected, NoAnswer(Register), Registered");
}

#[test]
fn a_call_voided_by_one_that_ended_too_soon_is_taken_back() {
    // C's call to B crosses B's call to A, and C gives up before B's request reaches the server: A rings for nobody.
    let mut hall = Harness::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| hall.phone(name));
    hall.call(carol, "bob");
    hall.sim.run_for(Duration::from_micros(500));
    hall.drop_call(carol, b"");
    hall.sim.run_for(Duration::from_micros(600));
    hall.call(bob, "alice");
    hall.settle();
    assert_eq!(
        (hall.state(alice), hall.state(bob), hall.calls()),
        (SessionState::Idle, SessionState::Idle, 0)
    );
    hall.talk(bob, alice, "alice");
}

/// F-27: that a request of ours was voided by a call says nothing once that call is up.
#[test]
fn f_27_a_voided_request_is_not_taken_back_after_a_call_that_was_up() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.call(bob, "alice");
    hall.settle();
    assert!(hall.events(bob)[0].ends_with(", superseded)"));
    hall.tell(bob, ClientCommand::Counter { parameters: OTHER, optional: b"" }).unwrap();
    hall.settle();
    hall.tell(alice, ClientCommand::Accept { optional: b"" }).unwrap();
    hall.settle();
    assert_eq!(hall.state(bob), SessionState::InCall(OTHER));
    // Alice hangs up and calls again at once: bob's client has nothing to take back, which would end the new call.
    hall.drop_call(alice, b"");
    hall.call(alice, "bob");
    hall.settle();
    assert_eq!((hall.state(alice), hall.calls()), (SessionState::Calling(AUDIO), 1));
    // The same where bob accepted, and has heard alice since.
    hall.drop_call(alice, b"");
    hall.settle();
    hall.call(alice, "bob");
    hall.call(bob, "alice");
    hall.settle();
    hall.tell(bob, ClientCommand::Accept { optional: b"" }).unwrap();
    hall.settle();
    hall.say(alice, b"hello");
    hall.settle();
    hall.drop_call(alice, b"");
    hall.call(alice, "bob");
    hall.settle();
    assert_eq!((hall.state(alice), hall.calls()), (SessionState::Calling(AUDIO), 1));
}
