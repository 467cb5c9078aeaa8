//! The life of calls, as dialogues between clients through a server on the simulator.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use core::time::Duration;
use harness::{AUDIO, Harness, OTHER, Porter};
use voxwire_core::testing::{Net, Rng, Sim, Transport};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientSettings, NameError, Parameters, Refusal, Server, ServerCommand,
    ServerSettings, SessionState,
};

#[test]
fn v_08_v_09_a_call_is_put_through_accepted_and_dropped() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.settle();
    assert_eq!(hall.events(bob), [r#"Incoming("alice", 8000 Hz, 1 channel, int16, chunks of 160, "")"#]);
    hall.tell(bob, ClientCommand::Accept { optional: b"hello" }).unwrap();
    hall.settle();
    assert_eq!(hall.events(alice), [r#"Established(8000 Hz, 1 channel, int16, chunks of 160, "hello")"#]);
    hall.say(alice, b"to bob");
    hall.say(bob, b"to alice");
    hall.settle();
    assert_eq!((hall.heard(alice), hall.heard(bob)), (b"to alice".to_vec(), b"to bob".to_vec()));
    hall.drop_call(bob, b"bye");
    hall.settle();
    assert_eq!(hall.events(alice), [r#"Dropped("bye")"#]);
    assert_eq!(
        (hall.state(alice), hall.state(bob), hall.calls()),
        (SessionState::Idle, SessionState::Idle, 0)
    );
    let events = hall.server_events().join("\n");
    assert!(events.contains("Ringing(0.0 -> 1.0") && events.contains("Established(0.0 -> 1.0"), "{events}");
    assert!(events.contains("packets: 2, bytes: 14"), "{events}");
    assert_eq!(hall.server_violations(), [""; 0]);
}

#[test]
fn v_08_nobody_of_that_name() {
    let mut hall = Harness::new();
    let alice = hall.phone("alice");
    hall.call(alice, "bob");
    hall.settle();
    assert_eq!(hall.events(alice), ["NotFound"]);
    hall.server_events();
    // A guest has a name to show, and none to be called by.
    let guest = hall.guest(ByteOrder::BigEndian);
    hall.call(alice, "10.0.0.3:50000");
    hall.settle();
    assert_eq!(hall.events(alice), ["NotFound"]);
    assert_eq!(hall.events(guest), [""; 0]);
}

#[test]
fn v_09_a_counter_proposal_is_accepted_and_its_parameters_hold() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.settle();
    hall.tell(bob, ClientCommand::Counter { parameters: OTHER, optional: b"better" }).unwrap();
    hall.settle();
    assert_eq!(hall.events(alice), [r#"Countered(44100 Hz, 2 channels, float32, chunks of 441, "better")"#]);
    hall.events(bob);
    hall.tell(alice, ClientCommand::Accept { optional: b"fine" }).unwrap();
    hall.settle();
    assert_eq!(hall.events(bob), [r#"Established(44100 Hz, 2 channels, float32, chunks of 441, "fine")"#]);
    assert_eq!(
        (hall.state(alice), hall.state(bob)),
        (SessionState::InCall(OTHER), SessionState::InCall(OTHER))
    );
    assert!(hall.server_events().join("\n").contains("Established(0.0 -> 1.0, 44100 Hz"));
}

#[test]
fn v_09_a_counter_proposal_is_refused_with_close() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.settle();
    hall.tell(bob, ClientCommand::Counter { parameters: OTHER, optional: b"" }).unwrap();
    hall.settle();
    hall.events(bob);
    hall.tell(alice, ClientCommand::Close { optional: b"no" }).unwrap();
    hall.settle();
    assert_eq!(hall.events(bob), [r#"Closed("no")"#]);
    assert!(hall.server_events().join("\n").contains("cause: Closed"));
    assert_eq!(hall.calls(), 0);
    // Both can call again.
    hall.talk(bob, alice, "alice");
}

#[test]
fn v_09_dropped_before_it_is_up_by_either_side() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.settle();
    hall.events(bob);
    hall.drop_call(alice, b"never mind");
    hall.settle();
    assert_eq!(hall.events(bob), [r#"Dropped("never mind")"#]);
    hall.call(alice, "bob");
    hall.settle();
    hall.drop_call(bob, b"not now");
    hall.settle();
    assert_eq!(hall.events(alice), [r#"Dropped("not now")"#]);
    assert_eq!(hall.calls(), 0);
}

#[test]
fn v_09_a_lost_connection_drops_the_call_for_the_other_side() {
    let mut hall = Harness::new();
    let (alice, bob, carol) = (hall.phone("alice"), hall.phone("bob"), hall.phone("carol"));
    hall.talk(alice, bob, "bob");
    hall.sim.disconnect(bob.link);
    hall.settle();
    assert_eq!(hall.events(bob), ["Disconnected(in call: true)"]);
    assert_eq!(hall.events(alice), [r#"Dropped("connection lost")"#]);
    assert!(hall.server_events().join("\n").contains("Gone(1.0, Some(\"bob\"), Some(Ended"));
    // And while it rings, from the caller's side.
    hall.call(alice, "carol");
    hall.settle();
    hall.events(carol);
    hall.sim.disconnect(alice.link);
    hall.settle();
    assert_eq!(hall.events(carol), [r#"Dropped("connection lost")"#]);
    assert_eq!(hall.calls(), 0);
}

#[test]
fn v_09_a_busy_callee_and_oneself() {
    let mut hall = Harness::new();
    let (alice, bob, carol) = (hall.phone("alice"), hall.phone("bob"), hall.phone("carol"));
    hall.call(alice, "alice");
    hall.settle();
    assert_eq!(hall.events(alice), [r#"Dropped("busy: you cannot call yourself")"#]);
    hall.call(alice, "bob");
    hall.settle();
    hall.events(bob);
    for who in ["alice", "bob"] {
        hall.call(carol, who);
        hall.settle();
        assert_eq!(hall.events(carol), [r#"Dropped("busy")"#]);
    }
    assert_eq!(hall.events(bob), [""; 0]);
}

#[test]
fn v_09_no_answer_in_time_drops_both() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.wait(29);
    assert_eq!(hall.state(alice), SessionState::Calling(AUDIO));
    hall.events(bob);
    hall.wait(2);
    assert_eq!(hall.events(alice), [r#"Dropped("no answer")"#]);
    assert_eq!(hall.events(bob), [r#"Dropped("no answer")"#]);
    // A counter-proposal is given as long again.
    hall.call(alice, "bob");
    hall.wait(20);
    hall.tell(bob, ClientCommand::Counter { parameters: OTHER, optional: b"" }).unwrap();
    hall.wait(20);
    assert_eq!(hall.state(alice), SessionState::Deciding(OTHER));
    hall.wait(11);
    assert_eq!(
        (hall.state(alice), hall.state(bob), hall.calls()),
        (SessionState::Idle, SessionState::Idle, 0)
    );
    assert!(hall.server_events().join("\n").contains("cause: NoAnswer"));
}

#[test]
fn v_09_a_client_gives_up_where_the_server_does_not() {
    let settings = ServerSettings { answer_timeout: Duration::from_secs(3600), ..ServerSettings::DEFAULT };
    let mut hall = Harness::with(settings, Net::PERFECT, 1);
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.wait(46);
    assert_eq!(hall.events(alice), ["NoAnswer(Call)"]);
    assert_eq!(hall.events(bob).last().unwrap(), r#"Dropped("no answer")"#);
    assert_eq!(hall.calls(), 0);
}

#[test]
fn a_call_that_is_silent_for_an_hour_ends_and_audio_keeps_it_up() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.talk(alice, bob, "bob");
    hall.wait(3000);
    hall.say(bob, b"still here");
    hall.wait(3000);
    assert_eq!(hall.state(alice), SessionState::InCall(AUDIO));
    hall.wait(700);
    assert_eq!(hall.events(alice), [r#"Dropped("call idle for too long")"#]);
    assert_eq!(hall.state(bob), SessionState::Idle);
}

#[test]
fn v_10_commands_out_of_place_are_refused_and_send_nothing() {
    let mut hall = Harness::new();
    let node = hall.sim.add(Client::new(ClientSettings::DEFAULT), ());
    let refused = hall.sim.with(node, |client, _, now| {
        use voxwire_core::Session as _;
        client.handle_command(now, ClientCommand::Say { samples: b"x" })
    });
    assert_eq!(refused, Err(Refusal::NotConnected));

    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    for command in [
        ClientCommand::Accept { optional: b"" },
        ClientCommand::Counter { parameters: OTHER, optional: b"" },
        ClientCommand::Close { optional: b"" },
        ClientCommand::Drop { optional: b"" },
        ClientCommand::Say { samples: b"x" },
    ] {
        assert!(
            matches!(hall.tell(alice, command), Err(Refusal::Unexpected { state: "idle", .. })),
            "{command:?}"
        );
    }
    let silent = Parameters { sample_rate: 0, ..AUDIO };
    let call = |parameters, optional| ClientCommand::Call { user: b"bob", parameters, optional };
    assert!(matches!(hall.tell(alice, call(silent, b"")), Err(Refusal::Range(_))));
    assert!(matches!(hall.tell(alice, call(AUDIO, &[0; 4096])), Err(Refusal::Encode(_))));
    let nobody = ClientCommand::Call { user: b"", parameters: AUDIO, optional: b"" };
    assert_eq!(hall.tell(alice, nobody), Err(Refusal::InvalidName(NameError::Empty)));
    assert_eq!(hall.state(alice), SessionState::Idle);
    hall.call(alice, "bob");
    assert_eq!(hall.tell(alice, call(AUDIO, b"")), Err(Refusal::Busy { state: "calling" }));
    hall.settle();
    assert_eq!(hall.events(bob).len(), 1);
    assert_eq!(hall.server_violations(), [""; 0]);
}

#[test]
fn v_11_optional_data_travels_end_to_end_unchanged() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    let mut anything = vec![0; 3000];
    Rng::new(5).fill(&mut anything);
    let shown = format!("{:?}", voxwire_core::Untrusted::new(&anything));
    hall.tell(alice, ClientCommand::Call { user: b"bob", parameters: AUDIO, optional: &anything }).unwrap();
    hall.settle();
    assert!(hall.events(bob)[0].ends_with(&format!("{shown})")));
    hall.tell(bob, ClientCommand::Counter { parameters: OTHER, optional: &anything }).unwrap();
    hall.settle();
    assert!(hall.events(alice)[0].ends_with(&format!("{shown})")));
    hall.tell(alice, ClientCommand::Accept { optional: &anything }).unwrap();
    hall.settle();
    assert!(hall.events(bob)[0].ends_with(&format!("{shown})")));
    hall.drop_call(alice, &anything);
    hall.settle();
    assert_eq!(hall.events(bob), [format!("Dropped({shown})")]);
}

#[test]
fn v_13_names_are_unique_kept_for_their_address_and_given_back() {
    let mut hall = Harness::new();
    let bob = hall.phone("bob");
    let eve = hall.guest(ByteOrder::BigEndian);
    let claim = ClientCommand::Register {
        name: "bob",
        secret: None,
        preferred: AUDIO,
        samples: ByteOrder::BigEndian,
    };
    hall.tell(eve, claim).unwrap();
    hall.settle();
    assert_eq!(hall.events(eve), [r#"RegistrationRefused("name taken")"#]);
    // A live holder is not displaced; a lost one's name is kept for its address for 30 s.
    hall.sim.disconnect(bob.link);
    hall.wait(10);
    hall.tell(eve, claim).unwrap();
    hall.settle();
    assert_eq!(hall.events(eve), [r#"RegistrationRefused("name taken")"#]);
    let link = hall.sim.connect(bob.node, hall.server, Transport::Stream, Net::PERFECT);
    hall.settle();
    let bob = harness::Phone { link, ..bob };
    hall.events(bob);
    hall.register(bob, "bob", ByteOrder::BigEndian);
    // The same address may even displace itself: its old connection may be half dead.
    let link = hall.sim.connect(bob.node, hall.server, Transport::Stream, Net::PERFECT);
    hall.settle();
    assert!(hall.sim.is_open(bob.link) && !hall.sim.is_open(link), "a client has one connection");
    hall.sim.disconnect(bob.link);
    hall.wait(31);
    hall.tell(eve, claim).unwrap();
    hall.settle();
    assert_eq!(hall.events(eve), ["Registered"]);
    // A new name gives the old one free at once.
    hall.register(eve, "eve", ByteOrder::BigEndian);
    let dave = hall.guest(ByteOrder::BigEndian);
    hall.register(dave, "bob", ByteOrder::BigEndian);
}

#[test]
fn v_13_a_secret_proves_a_name_and_displaces_its_holder() {
    let settings = ServerSettings { ask: true, ..ServerSettings::DEFAULT };
    let mut sim = Sim::new(1);
    let server = sim.add(Server::new(settings, 1), Porter);
    let mut hall = Vec::new();
    for secret in [None, Some(&b"wrong"[..]), Some(b"hush")] {
        let node = sim.add(Client::new(ClientSettings::DEFAULT), harness::Ear::default());
        let link = sim.connect(node, server, Transport::Stream, Net::PERFECT);
        sim.run_until_quiet(Duration::from_secs(1));
        sim.with(node, |client, _, now| {
            use voxwire_core::Session as _;
            let order = ByteOrder::BigEndian;
            let command = ClientCommand::Register { name: "bob", secret, preferred: AUDIO, samples: order };
            client.handle_command(now, command).unwrap();
        });
        sim.run_until_quiet(Duration::from_secs(1));
        hall.push((node, link));
    }
    let events = |sim: &mut Sim, at: usize| sim.with(hall[at].0, |_, ear, _| ear.events.join(", "));
    assert_eq!(events(&mut sim, 0), "Connected, Registered, Disconnected(in call: false)");
    assert_eq!(events(&mut sim, 1), r#"Connected, RegistrationRefused("wrong secret")"#);
    assert_eq!(events(&mut sim, 2), "Connected, Registered");
    let holder = sim.with(server, |server, _, _| server.find("bob"));
    assert_eq!(holder, Some(sim.peers(hall[2].1)[1]));
}

#[test]
fn v_13_an_unregistered_client_may_call_and_is_shown_under_the_name_it_is_given() {
    let mut hall = Harness::new();
    let bob = hall.phone("bob");
    let guest = hall.guest(ByteOrder::LittleEndian);
    hall.call(guest, "bob");
    hall.settle();
    // The server's node is 10.0.0.1, bob's 10.0.0.2.
    assert!(hall.events(bob)[0].starts_with(r#"Incoming("10.0.0.3:50000", "#));
    hall.drop_call(guest, b"");
    let peer = hall.peer(guest);
    hall.order(ServerCommand::Introduce { peer, name: "front door", reachable: false, order: None }).unwrap();
    hall.call(guest, "bob");
    hall.settle();
    assert!(hall.events(bob)[1].starts_with(r#"Incoming("front door", "#));
    hall.drop_call(bob, b"");
    hall.settle();
    hall.call(bob, "front door");
    hall.settle();
    assert_eq!(hall.events(bob), ["NotFound"]);
    // A fixed name can be called, though its client never registered.
    hall.order(ServerCommand::Introduce { peer, name: "door", reachable: true, order: None }).unwrap();
    hall.call(bob, "door");
    hall.settle();
    assert!(hall.events(guest).last().unwrap().starts_with(r#"Incoming("bob", "#));
}

#[test]
fn v_13_the_callees_own_name_is_forwarded_where_that_is_asked_for() {
    let settings = ServerSettings { forward_callee_name: true, ..ServerSettings::DEFAULT };
    let mut hall = Harness::with(settings, Net::PERFECT, 1);
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "bob");
    hall.settle();
    assert!(hall.events(bob)[0].starts_with(r#"Incoming("bob", "#));
}

#[test]
fn v_01_v_14_clients_of_different_byte_orders_understand_each_other() {
    // Heads are translated always, samples only between registered clients that declared different orders.
    let (be, le) = (ByteOrder::BigEndian, ByteOrder::LittleEndian);
    for (heads, samples, swapped) in [
        ([be, be], [be, be], false),
        ([be, le], [be, be], false),
        ([be, le], [be, le], true),
        ([le, le], [be, le], true),
        ([be, be], [le, le], false),
    ] {
        let mut hall = Harness::new();
        let (alice, bob) = (hall.guest(heads[0]), hall.guest(heads[1]));
        hall.register(alice, "alice", samples[0]);
        hall.register(bob, "bob", samples[1]);
        hall.talk(alice, bob, "bob");
        hall.say(alice, &[1, 2, 3, 4, 5]);
        hall.say(bob, &[6, 7]);
        hall.settle();
        let expected =
            if swapped { (vec![2, 1, 4, 3, 5], vec![7, 6]) } else { (vec![1, 2, 3, 4, 5], vec![6, 7]) };
        assert_eq!((hall.heard(bob), hall.heard(alice)), expected, "{heads:?} {samples:?}");
    }
    // A guest declared nothing.
    let mut hall = Harness::new();
    let (guest, bob) = (hall.guest(le), hall.guest(be));
    hall.register(bob, "bob", be);
    hall.talk(guest, bob, "bob");
    hall.say(guest, &[1, 2]);
    hall.settle();
    assert_eq!(hall.heard(bob), [1, 2]);
}

#[test]
fn parameters_that_the_client_cannot_take_are_answered() {
    let narrow = voxwire_voicelink::Ranges { max_channels: 1, ..voxwire_voicelink::Ranges::DEFAULT };
    let mut hall = Harness::new();
    let bob = hall.phone("bob");
    let node = hall.sim.add(
        Client::new(ClientSettings { ranges: narrow, ..ClientSettings::DEFAULT }),
        harness::Ear::default(),
    );
    let link = hall.sim.connect(node, hall.server, Transport::Stream, Net::PERFECT);
    hall.settle();
    let alice = harness::Phone { node, link };
    hall.events(alice);
    hall.register(alice, "alice", ByteOrder::BigEndian);
    // As a callee, and as a caller.
    hall.tell(bob, ClientCommand::Call { user: b"alice", parameters: OTHER, optional: b"" }).unwrap();
    hall.settle();
    assert_eq!(hall.events(bob), [r#"Dropped("parameters out of range")"#]);
    hall.call(alice, "bob");
    hall.settle();
    hall.events(bob);
    hall.tell(bob, ClientCommand::Counter { parameters: OTHER, optional: b"" }).unwrap();
    hall.settle();
    assert_eq!(hall.events(alice), [r#"Dropped("parameters out of range")"#]);
    assert_eq!(hall.events(bob), [r#"Closed("parameters out of range")"#]);
}

#[test]
fn a_call_that_nobody_answers_stops_ringing_at_the_callee_too() {
    let mut hall = Harness::with(
        ServerSettings { answer_timeout: Duration::from_secs(3600), ..ServerSettings::DEFAULT },
        Net::PERFECT,
        1,
    );
    let bob = hall.phone("bob");
    let mut settings = ClientSettings::DEFAULT;
    settings.answer_timeout = Duration::from_secs(3600);
    let node = hall.sim.add(Client::new(settings), harness::Ear::default());
    let link = hall.sim.connect(node, hall.server, Transport::Stream, Net::PERFECT);
    hall.settle();
    let alice = harness::Phone { node, link };
    hall.call(alice, "bob");
    hall.wait(46);
    assert_eq!(hall.events(bob).last().unwrap(), "NoAnswer(Call)");
    assert_eq!((hall.state(alice), hall.calls()), (SessionState::Idle, 0));
}

#[test]
fn shutdown_tells_all_clients_once() {
    let mut hall = Harness::new();
    let (alice, bob, carol) = (hall.phone("alice"), hall.phone("bob"), hall.phone("carol"));
    let guest = hall.guest(ByteOrder::LittleEndian);
    hall.talk(alice, bob, "bob");
    hall.sim.with(hall.server, |server, _, now| voxwire_core::Session::shutdown(server, now));
    hall.settle();
    let told = [r#"Dropped("server is shutting down")"#, "Disconnected(in call: false)"];
    assert_eq!(
        (hall.events(alice), hall.events(bob)),
        (told.map(String::from).to_vec(), told.map(String::from).to_vec())
    );
    assert_eq!(hall.events(carol), ["Disconnected(in call: false)"]);
    assert_eq!(hall.events(guest), ["Disconnected(in call: false)"]);
    assert_eq!(hall.sim.with(hall.server, |server, _, _| (server.peers(), server.registered())), (0, 0));
    assert_eq!(hall.server_events().iter().filter(|event| event.starts_with("Gone")).count(), 4);
}

#[test]
fn a_clients_shutdown_drops_its_call() {
    let mut hall = Harness::new();
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.talk(alice, bob, "bob");
    hall.sim.with(alice.node, |client, _, now| voxwire_core::Session::shutdown(client, now));
    hall.settle();
    assert_eq!(hall.events(bob), [r#"Dropped("")"#]);
    assert!(!hall.sim.is_open(alice.link));
}

/// Code that knows nothing but the traits: keeps a frame, feeds it to any session, and counts what comes out.
fn in_and_out<S: voxwire_core::Session, M: voxwire_core::Message<'static>>(
    mut session: S,
    wire: &M::Wire,
    frame: &[u8],
) -> usize
where
    M::Wire: Clone,
{
    use voxwire_core::{Cut, FrameBuf, Input, Instant, Lane, Owned, PeerIds, Via};
    let peer = PeerIds::new().mint().unwrap();
    let _ = session.handle_input(Instant::ZERO, Input::Opened { peer, via: Via::Accepted, from: None });
    session.advance(usize::MAX);
    let (mut framing, mut buffer) = (session.framing(), FrameBuf::new());
    buffer.spare(frame.len())[..frame.len()].copy_from_slice(frame);
    buffer.filled(frame.len());
    let Ok(Cut::Frame(range)) = buffer.next_frame(&mut framing) else { panic!("no frame") };
    let kept = Owned::<M>::from_frame(buffer.frame(range), wire).unwrap();
    let input = Input::Frame { peer, lane: Lane::Reliable, bytes: kept.frame() };
    session.handle_input(Instant::ZERO, input).unwrap();
    session.outputs().count()
}

#[test]
fn c_01_generic_code_needs_nothing_but_the_two_traits() {
    use voxwire_voicelink::{Packet, Wire};
    // A call to nobody is answered; an answer to no call is answered with Drop.
    let call = [0, 0, 0, 20, 0, 0, 0, 0, 0x1f, 0x40, 0, 1, 2, 0, 0, 0, 160, 0, 1, b'x'];
    let server = Server::new(ServerSettings::DEFAULT, 1);
    assert_eq!(in_and_out::<_, Packet<'static>>(server, &Wire::default(), &call), 1);
    let client = Client::new(ClientSettings::DEFAULT);
    assert_eq!(in_and_out::<_, Packet<'static>>(client, &Wire::default(), &[0, 0, 0, 6, 0, 4]), 1);
}

/// Clients that call, answer, counter, talk, hang up and vanish at random over a bad network: nothing hangs, nothing
/// crashes, nobody is disconnected for obeying, and once it is quiet server and clients agree that no call is left.
#[test]
fn worlds_of_random_calls_end_in_agreement() {
    for seed in 0..120 {
        let mut rng = Rng::new(seed);
        let net = Net {
            latency: Duration::from_millis(rng.below(200)),
            jitter: Duration::from_millis(1 + rng.below(300)),
            loss: rng.below(30) as f64 / 100.0,
            duplicate: 0.0,
            piece: rng.below(4000) as usize,
        };
        let mut hall = Harness::with(ServerSettings::DEFAULT, net, seed);
        let names = ["ann", "ben", "cy", "dee"];
        let phones = names.map(|name| {
            let order = if rng.chance(0.5) { ByteOrder::BigEndian } else { ByteOrder::LittleEndian };
            let phone = hall.guest(order);
            hall.register(phone, name, order);
            phone
        });
        for _ in 0..60 {
            let phone = phones[rng.below(4) as usize];
            let user = names[rng.below(4) as usize].as_bytes();
            let parameters = if rng.chance(0.8) { AUDIO } else { OTHER };
            let command = match (hall.state(phone), rng.below(4)) {
                (SessionState::Idle, _) => ClientCommand::Call { user, parameters, optional: b"" },
                (SessionState::Ringing(_), 0) => ClientCommand::Counter { parameters: OTHER, optional: b"" },
                (SessionState::Ringing(_) | SessionState::Deciding(_), 1 | 2) => {
                    ClientCommand::Accept { optional: b"" }
                }
                (SessionState::Deciding(_), 0) => ClientCommand::Close { optional: b"" },
                (SessionState::InCall(_), 1..) => ClientCommand::Say { samples: &[7; 90_000] },
                (_, 3) => ClientCommand::Drop { optional: b"" },
                _ => continue,
            };
            if let Err(refusal) = hall.tell(phone, command) {
                panic!("seed {seed}: {refusal}: {:?} {:?}", hall.server_events(), hall.server_violations());
            }
            hall.sim.run_for(Duration::from_millis(rng.below(700)));
        }
        // Quiet for long enough that every ring and every answer has run out: a client that believes in a call is in one.
        hall.wait(300);
        let in_call =
            phones.iter().filter(|&&phone| matches!(hall.state(phone), SessionState::InCall(_))).count();
        assert_eq!(in_call, hall.calls() * 2, "seed {seed}");
        for phone in phones {
            if matches!(hall.state(phone), SessionState::InCall(_)) {
                hall.drop_call(phone, b"");
            }
        }
        hall.wait(120);
        let violations = hall.server_violations();
        let unexpected: Vec<_> = violations.iter().filter(|text| *text != "data without a call").collect();
        assert!(unexpected.len() < 4, "seed {seed}: {unexpected:?}");
        for phone in phones {
            assert_eq!(hall.state(phone), SessionState::Idle, "seed {seed}");
            assert!(hall.sim.is_open(phone.link), "seed {seed}: disconnected");
        }
        assert_eq!(hall.calls(), 0, "seed {seed}");
    }
}

/// V-15: a caller of `echo` hears itself until it hangs up, and calls others then; a client of that name is called.
#[test]
fn v_15_who_calls_echo_hears_itself() {
    let mut hall = Harness::with(ServerSettings { echo: true, ..ServerSettings::DEFAULT }, Net::PERFECT, 1);
    let (alice, bob) = (hall.phone("alice"), hall.phone("bob"));
    hall.call(alice, "echo");
    hall.settle();
    assert_eq!(hall.state(alice), SessionState::InCall(AUDIO));
    hall.events(alice);
    for said in [&b"one two"[..], b"three f"] {
        hall.say(alice, said);
        hall.settle();
        assert_eq!((hall.heard(alice), hall.heard(bob)), (said.to_vec(), vec![]));
    }
    // Who is in that call is busy.
    hall.call(bob, "alice");
    hall.settle();
    assert_eq!(hall.state(bob), SessionState::Idle);
    hall.tell(alice, ClientCommand::Drop { optional: b"" }).unwrap();
    hall.settle();
    assert_eq!((hall.state(alice), hall.events(alice).len()), (SessionState::Idle, 0));
    assert_eq!(hall.sim.with(hall.server, |server, _, _| server.calls().count()), 0);
    hall.talk(alice, bob, "bob");
    hall.tell(alice, ClientCommand::Drop { optional: b"" }).unwrap();
    let echo = hall.phone("echo");
    hall.talk(alice, echo, "echo");
    // Off by default.
    let mut hall = Harness::new();
    let alice = hall.phone("alice");
    hall.call(alice, "echo");
    hall.settle();
    assert_eq!(hall.state(alice), SessionState::Idle);
}
