//! What peers do that mean harm, or were written badly: it costs them, and nobody else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::desk;

use core::time::Duration;
use desk::{Desk, WIRE, call, registration};
use voxwire_core::testing::{Rng, vectors};
use voxwire_core::{Input, Lane, Message, Moderation as _, Output, PeerId, Rate, Session, Via};
use voxwire_voicelink::{
    ByteOrder, ClientCommand, Format, Handshake, NameError, Packet, Parameters, Refusal, Resource,
    ServerCommand, ServerEvent, ServerSettings, Violation, reason,
};

const VECTORS: &str = include_str!("vectors/packets.txt");

#[test]
fn v_12_malformed_packets_are_counted_and_the_sixteenth_closes() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let eve = desk.open("192.0.2.1:1");
    let alice = desk.registered("192.0.2.2:1", "alice");
    for n in 1..=16 {
        assert!(matches!(desk.bytes(eve, &[0, 0, 0, 6, 0, 9]), Err(Violation::Decode(_))), "{n}");
        let closed = desk.to(eve);
        assert_eq!(closed.len(), usize::from(n == 16), "{n}");
    }
    assert_eq!(desk.bytes(eve, &[0, 0, 0, 6, 0, 9]), Err(Violation::UnknownPeer));
    assert_eq!(desk.timeouts(), ["Gone(0.0, None, None)"]);
    assert_eq!((desk.server.peers(), desk.server.stats().violations), (1, 16));
    assert_eq!(desk.to(alice), [""; 0]);
}

#[test]
fn v_12_parameters_that_no_audio_code_should_see_are_answered_with_the_reason() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let (alice, bob) = (desk.registered("192.0.2.1:1", "alice"), desk.registered("192.0.2.2:1", "bob"));
    let base = Parameters::DEFAULT;
    for (parameters, reason) in [
        (Parameters { sample_rate: 0, ..base }, "Sample Rate 0, expected 1 to 768000"),
        (Parameters { channels: 0, ..base }, "Channels Count 0, expected 1 to 64"),
        (Parameters { channels: 65_535, ..base }, "Channels Count 65535, expected 1 to 64"),
        (Parameters { chunk_size: u32::MAX, ..base }, "Chunk Size 4294967295, expected 0 to 1048576"),
    ] {
        assert!(matches!(desk.send(alice, &call("bob", parameters)), Err(Violation::Range(_))));
        assert_eq!(desk.to(alice), [format!("Drop {{ optional: \"{reason}\" }}")]);
    }
    let mut frame = Vec::new();
    call("bob", base).encode(&WIRE, &mut frame).unwrap();
    frame[12] = 5;
    assert!(matches!(desk.bytes(alice, &frame), Err(Violation::Decode(_))));
    let reason = "Format Type at offset 12: 5 found, expected a format from 0 to 4";
    assert_eq!(desk.to(alice), [format!("Drop {{ optional: \"{reason}\" }}")]);
    assert_eq!(desk.to(bob), [""; 0]);
    // In a counter-proposal they end the call.
    desk.send(alice, &call("bob", base)).unwrap();
    desk.to(bob);
    let mute = Parameters { channels: 0, ..base };
    desk.send(bob, &Packet::Parameters { parameters: mute, optional: b"" }).unwrap();
    let reason = ["Drop { optional: \"Channels Count 0, expected 1 to 64\" }"];
    assert_eq!(
        (desk.to(alice), desk.to(bob)),
        (reason.map(String::from).to_vec(), reason.map(String::from).to_vec())
    );
    assert_eq!(desk.server.calls().count(), 0);
    // So does one with a format that does not exist; and both are counted.
    desk.send(alice, &call("bob", base)).unwrap();
    let mut frame = Vec::new();
    Packet::Parameters { parameters: base, optional: b"" }.encode(&WIRE, &mut frame).unwrap();
    frame[12] = 9;
    let before = desk.server.stats().violations;
    desk.bytes(bob, &frame).unwrap();
    assert_eq!((desk.server.calls().count(), desk.server.stats().violations), (0, before + 1));
}

#[test]
fn v_09_only_the_parties_of_a_call_move_it_and_only_in_order() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let names = ["alice", "bob", "eve"];
    let [alice, bob, eve] = names.map(|name| desk.registered("192.0.2.1:1", name));
    let accept = Packet::Accept { optional: b"" };
    let counter = Packet::Parameters { parameters: Parameters::DEFAULT, optional: b"" };
    desk.send(alice, &call("bob", Parameters::DEFAULT)).unwrap();
    desk.to(bob);
    // A stranger's answer, the caller's answer to its own call, data before both agreed, things only servers say.
    for (peer, packet) in [
        (alice, accept),
        (alice, counter),
        (alice, Packet::Data(b"early")),
        (bob, Packet::Data(b"early")),
        (eve, Packet::Data(b"stray")),
        (bob, Packet::UserNotFound),
        (alice, call("eve", Parameters::DEFAULT)),
    ] {
        desk.send(peer, &packet).unwrap_err();
        for peer in [alice, bob, eve] {
            assert_eq!(desk.to(peer), [""; 0], "{packet:?}");
        }
    }
    // A client that believes in a call is told that there is none; hanging up nothing is nothing.
    desk.send(eve, &accept).unwrap_err();
    assert_eq!(desk.to(eve), ["Drop { optional: \"\" }"]);
    desk.send(eve, &Packet::Drop { optional: b"" }).unwrap();
    assert_eq!((desk.to(alice), desk.to(bob), desk.to(eve)), (vec![], vec![], vec![]));
    desk.send(bob, &accept).unwrap();
    assert_eq!(desk.to(alice), ["Accept { optional: \"\" }"]);
    for (peer, packet) in
        [(bob, accept), (bob, counter), (alice, accept), (bob, call("eve", Parameters::DEFAULT))]
    {
        desk.send(peer, &packet).unwrap_err();
    }
    desk.send(eve, &Packet::Data(b"into the call")).unwrap_err();
    desk.send(alice, &Packet::Data(b"mine")).unwrap();
    assert_eq!(desk.to(bob), ["Data { len: 4 }"]);
    assert_eq!(desk.to(alice), [""; 0]);
}

#[test]
fn data_without_a_call_is_dropped_and_a_flood_closes() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let eve = desk.open("192.0.2.1:1");
    let mut sent = 0;
    while desk.server.peers() == 1 {
        desk.send(eve, &Packet::Data(&[0; 100])).unwrap_err();
        sent += 1;
        assert!(sent < 2000);
    }
    assert_eq!(sent, 1001);
    assert_eq!(desk.to(eve), ["closed"]);
}

#[test]
fn calls_beyond_the_rate_of_a_source_are_refused_and_loopback_is_exempt() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let count = |desk: &mut Desk, from: &str| {
        let peer = desk.open(from);
        let found = (0..45).filter(|_| desk.send(peer, &call("nobody", Parameters::DEFAULT)).is_ok());
        let found = found.count();
        (found, desk.to(peer))
    };
    let (found, answers) = count(&mut desk, "192.0.2.1:1");
    // A quarter is for others that come from there.
    assert_eq!(found, 30);
    assert_eq!(answers.last().unwrap(), &format!("Drop {{ optional: \"{}\" }}", reason::TOO_MANY_ATTEMPTS));
    // One for each other connection from there, and then no more; another source fares better.
    for more in 0..12 {
        assert_eq!(count(&mut desk, "192.0.2.1:2").0, usize::from(more < 10));
    }
    assert_eq!(count(&mut desk, "198.51.100.1:1").0, 30);
    assert_eq!(count(&mut desk, "127.0.0.1:1").0, 45);
    assert_eq!(count(&mut desk, "[::ffff:127.0.0.1]:1").0, 45);
    // Others at the address are refused, not disconnected; and names cannot be guessed instead.
    let neighbour = desk.open("192.0.2.1:3");
    for _ in 0..30 {
        assert_eq!(desk.send(neighbour, &registration("n")), Err(Violation::TooMany(Resource::Attempts)));
    }
    assert!(desk.server.address(neighbour).is_some());
}

#[test]
fn control_packets_beyond_their_rate_pause_the_reading_and_lose_nothing() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let alice = desk.open("127.0.0.1:1");
    for n in 0..90 {
        desk.send(alice, &call("nobody", Parameters::DEFAULT)).unwrap();
        assert_eq!(desk.paused.is_empty(), n < 80, "{n}");
    }
    assert_eq!(desk.to(alice).len(), 90);
}

#[test]
fn hidden_users_and_blocked_callers_look_busy() {
    let mut desk = Desk::new(ServerSettings { hide_unknown: true, ..ServerSettings::DEFAULT });
    let (alice, bob) = (desk.registered("192.0.2.1:1", "alice"), desk.registered("192.0.2.2:1", "bob"));
    desk.send(alice, &call("nobody", Parameters::DEFAULT)).unwrap();
    assert_eq!(desk.to(alice), ["Drop { optional: \"busy\" }"]);
    let block = ServerCommand::Block { callee: "bob", caller: "alice" };
    desk.server.handle_command(desk.now, block).unwrap();
    desk.send(alice, &call("bob", Parameters::DEFAULT)).unwrap();
    assert_eq!((desk.to(alice), desk.to(bob)), (vec!["Drop { optional: \"busy\" }".into()], vec![]));
    let unblock = ServerCommand::Unblock { callee: "bob", caller: "alice" };
    desk.server.handle_command(desk.now, unblock).unwrap();
    desk.send(alice, &call("bob", Parameters::DEFAULT)).unwrap();
    assert_eq!(desk.to(bob).len(), 1);
}

#[test]
fn c_04_peers_and_block_list_are_bounded_and_the_oldest_nameless_peer_makes_room() {
    let mut settings = ServerSettings { max_blocked: 1, ..ServerSettings::DEFAULT };
    settings.limits.max_peers = 3;
    let mut desk = Desk::new(settings);
    let named = desk.registered("192.0.2.1:1", "named");
    let oldest = desk.open("192.0.2.2:1");
    desk.now = desk.now.saturating_add(Duration::from_secs(1));
    let younger = desk.open("192.0.2.3:1");
    let newcomer = desk.open("192.0.2.4:1");
    assert_eq!(desk.server.peers(), 3);
    assert_eq!(
        (desk.to(oldest), desk.to(younger), desk.to(newcomer)),
        (vec!["closed".into()], vec![], vec![])
    );
    for (peer, name) in [(younger, "b"), (newcomer, "c")] {
        desk.send(peer, &registration(name)).unwrap();
    }
    // Nobody is nameless now: the newcomer goes.
    let late = desk.open("192.0.2.5:1");
    assert_eq!(desk.to(late), ["closed"]);
    // That the server is full is no fault of the one that comes.
    let input = Input::Opened { peer: PeerId { slot: 9, generation: 0 }, via: Via::Accepted, from: None };
    let full = desk.server.handle_input(desk.now, input).unwrap_err();
    assert_eq!((full, full.is_counted()), (Violation::TooMany(Resource::Connections), false));
    assert!(desk.server.name(named).is_some());
    let block = |caller| ServerCommand::Block { callee: "bob", caller };
    desk.server.handle_command(desk.now, block("x")).unwrap();
    assert!(desk.server.handle_command(desk.now, block("y")).is_err());
}

#[test]
fn a_nameless_idle_peer_goes_after_five_minutes_a_registered_one_stays() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let silent = desk.open("192.0.2.1:1");
    let named = desk.registered("192.0.2.2:1", "named");
    desk.now = desk.now.saturating_add(Duration::from_secs(301));
    assert_eq!(desk.timeouts(), [format!("Gone({silent}, None, None)")]);
    assert_eq!(desk.to(silent), ["closed"]);
    assert_eq!(desk.server.name(named), Some("named"));
}

#[test]
fn v_13_the_same_address_displaces_its_own_half_dead_connection_a_stranger_does_not() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let old = desk.registered("192.0.2.1:1", "bob");
    let stranger = desk.open("192.0.2.2:1");
    desk.send(stranger, &registration("bob")).unwrap();
    desk.wait_for_names();
    assert_eq!(desk.to(stranger), ["Drop { optional: \"name taken\" }"]);
    desk.registered("192.0.2.1:2", "bob");
    assert_eq!(desk.to(old), [format!("Drop {{ optional: \"{}\" }}", reason::DISPLACED), "closed".into()]);
    // On loopback an address is many people.
    desk.registered("127.0.0.1:1", "carol");
    let other = desk.open("127.0.0.1:2");
    desk.send(other, &registration("carol")).unwrap();
    desk.wait_for_names();
    assert_eq!(desk.to(other), ["Drop { optional: \"name taken\" }"]);
}

/// F-05, F-13: names that cannot be seen, look like others, or imitate a caller without a name; and what is wrong is said.
#[test]
fn v_13_a_name_that_would_deceive_is_refused() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let other = desk.open("127.0.0.1:2");
    for (name, error) in [
        ("", NameError::Empty),
        ("tab\there", NameError::Control('\t')),
        ("\u{7f}", NameError::Control('\u{7f}')),
        ("bob\u{fe0f}", NameError::Stray('\u{fe0f}')),
        ("b\u{34f}ob", NameError::Invisible('\u{34f}')),
        ("\u{2800}", NameError::Invisible('\u{2800}')),
        ("a\u{a0}b", NameError::Invisible('\u{a0}')),
        ("\u{3000}", NameError::Invisible('\u{3000}')),
        ("bob\u{1d173}", NameError::Invisible('\u{1d173}')),
        ("192.0.2.7:40000", NameError::Address),
        ("192.0.2.7", NameError::Address),
        ("[2001:db8::1]:40000", NameError::Address),
        ("2001:db8::1", NameError::Address),
    ] {
        assert_eq!(desk.send(other, &registration(name)), Err(Violation::InvalidName(error)));
        assert_eq!(desk.to(other), [format!("Drop {{ optional: \"name invalid: {error}\" }}")]);
    }
    for (at, name) in
        ["می\u{200c}خواهم", "क्\u{200d}ष", "👨\u{200d}👩\u{200d}👧", "Ann B. 2"].into_iter().enumerate()
    {
        desk.registered(&format!("192.0.2.{at}:3"), name);
    }
}

/// F-05: one name in two encodings is one name; a caller that is blocked under one stays so under the other.
#[test]
fn v_13_a_name_is_the_same_however_it_is_encoded() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let ann = desk.registered("192.0.2.1:1", "Jos\u{e9}");
    let eve = desk.open("192.0.2.2:1");
    desk.send(eve, &registration("Jose\u{301}")).unwrap();
    desk.wait_for_names();
    assert_eq!(desk.to(eve), ["Drop { optional: \"name taken\" }"]);
    assert_eq!((desk.server.find("Jose\u{301}"), desk.server.name(ann)), (Some(ann), Some("Jos\u{e9}")));
    let bob = desk.registered("192.0.2.3:1", "bob");
    desk.server
        .handle_command(desk.now, ServerCommand::Block { callee: "bob", caller: "Jose\u{301}" })
        .unwrap();
    let call = call("bob", Parameters::DEFAULT);
    desk.send(ann, &call).unwrap();
    assert!(desk.to(bob).is_empty());
}

#[test]
fn v_13_a_client_that_reconnects_need_not_wait_for_the_end_of_its_old_connection_to_be_seen() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let old = desk.registered("127.0.0.1:1", "bob");
    let new = desk.open("127.0.0.1:2");
    desk.send(new, &registration("bob")).unwrap();
    assert_eq!(desk.to(new), [""; 0]);
    desk.server.handle_input(desk.now, Input::Closed { peer: old }).unwrap();
    desk.ids.retire(old);
    desk.now = desk.now.saturating_add(Duration::from_millis(301));
    assert_eq!(desk.timeouts(), [format!("Registered({new})")]);
    assert_eq!(desk.to(new), ["Accept { optional: \"\" }"]);
    assert_eq!(desk.server.find("bob"), Some(new));
}

#[test]
fn the_server_says_nothing_to_a_peer_whose_byte_order_it_does_not_know() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let silent = desk.open("192.0.2.1:1");
    desk.server.shutdown(desk.now);
    desk.drain();
    assert_eq!(desk.to(silent), ["closed"]);
}

#[test]
fn an_undrained_outbox_refuses_inputs_and_changes_nothing() {
    let mut settings = ServerSettings::DEFAULT;
    settings.limits.max_outbox = 4000;
    let mut desk = Desk::new(settings);
    let (alice, bob) = (desk.registered("127.0.0.1:1", "alice"), desk.registered("127.0.0.1:2", "bob"));
    desk.send(alice, &call("bob", Parameters::DEFAULT)).unwrap();
    desk.send(bob, &Packet::Accept { optional: b"" }).unwrap();
    let mut frame = Vec::new();
    Packet::Data(&[7; 500]).encode(&WIRE, &mut frame).unwrap();
    let mut taken = 0;
    loop {
        let input = Input::Frame { peer: alice, lane: Lane::Reliable, bytes: &frame };
        match desk.server.handle_input(desk.now, input) {
            Ok(None) => taken += 1,
            other => {
                assert!(matches!(other, Err(Violation::OutboxFull(_))));
                break;
            }
        }
    }
    assert!((1..10).contains(&taken), "{taken}");
    desk.to(bob);
    desk.drain();
    assert_eq!(desk.to(bob).len(), taken);
    assert_eq!(desk.server.stats().violations, 0);
    desk.bytes(alice, &frame).unwrap();
}

/// Every prefix and every changed byte of every vector, and random bytes, from one peer while two others talk.
#[test]
fn v_12_garbage_in_any_state_harms_nobody_else() {
    let mut settings = ServerSettings::DEFAULT;
    settings.max_violations = u32::MAX;
    settings.stray.burst = u32::MAX;
    let mut desk = Desk::new(settings);
    let (alice, bob) = (desk.registered("127.0.0.1:1", "alice"), desk.registered("127.0.0.1:2", "bob"));
    desk.send(alice, &call("bob", Parameters::DEFAULT)).unwrap();
    desk.send(bob, &Packet::Accept { optional: b"" }).unwrap();
    desk.sent.clear();
    let mut rng = Rng::new(3);
    let mut eve = desk.open("127.0.0.1:3");
    let mut inputs: Vec<Vec<u8>> = vec![];
    for vector in vectors(VECTORS) {
        for cut in 0..=vector.bytes.len() {
            inputs.push(vector.bytes[..cut].to_vec());
        }
        for at in 0..vector.bytes.len() {
            let mut changed = vector.bytes.clone();
            changed[at] = rng.next() as u8;
            inputs.push(changed);
        }
    }
    for _ in 0..2000 {
        let mut bytes = vec![0; rng.below(80) as usize];
        rng.fill(&mut bytes);
        inputs.push(bytes);
    }
    for input in inputs {
        let _ = desk.bytes(eve, &input);
        if desk.server.address(eve).is_none() {
            eve = desk.open("127.0.0.1:3");
        }
        assert_eq!((desk.to(alice), desk.to(bob)), (vec![], vec![]), "after {input:02x?}");
    }
    desk.send(alice, &Packet::Data(b"undisturbed")).unwrap();
    assert_eq!(desk.to(bob), ["Data { len: 11 }"]);
}

#[test]
fn v_09_a_call_raises_the_limits_and_its_end_lowers_them() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let (alice, bob) = (desk.registered("127.0.0.1:1", "alice"), desk.registered("127.0.0.1:2", "bob"));
    desk.told.clear();
    desk.send(alice, &call("bob", Parameters::DEFAULT)).unwrap();
    // The callee's first audio may arrive when the caller has just given up.
    let raised = [alice, bob].map(|peer| format!("{:?}", Output::Limit { peer, max_frame: 1 << 20 }));
    assert!(core::mem::take(&mut desk.told).ends_with(&raised));
    desk.send(bob, &Packet::Accept { optional: b"" }).unwrap();
    // 200 ms of 48 kHz mono int16.
    let budgets = [alice, bob].map(|peer| format!("{:?}", Output::Budget { peer, bytes: 19_200 }));
    assert_eq!(core::mem::take(&mut desk.told), budgets);
    desk.send(alice, &Packet::Drop { optional: b"" }).unwrap();
    // Bob does not know yet, and may still send what a call allows.
    let restored = [alice, bob].map(|peer| format!("{:?}", Output::Budget { peer, bytes: 0 }));
    assert_eq!(core::mem::take(&mut desk.told), restored);
    assert_eq!(desk.send(bob, &Packet::Data(&[0; 100_000])), Err(Violation::StrayData));
    desk.now = desk.now.saturating_add(Duration::from_secs(11));
    assert_eq!(desk.send(bob, &Packet::Data(&[0; 100])), Err(Violation::StrayData));
    assert_eq!(desk.told, [format!("{:?}", Output::Limit { peer: bob, max_frame: 65_535 })]);
}

#[test]
fn a_silent_callee_with_a_fixed_name_is_rung_in_the_order_it_is_known_for() {
    for (order, head) in [(None, [0, 0, 0, 28]), (Some(ByteOrder::LittleEndian), [28, 0, 0, 0])] {
        let mut desk = Desk::new(ServerSettings::DEFAULT);
        let (silent, alice) = (desk.open("127.0.0.2:1"), desk.registered("127.0.0.1:1", "alice"));
        let introduce = ServerCommand::Introduce { peer: silent, name: "door", reachable: true, order };
        desk.server.handle_command(desk.now, introduce).unwrap();
        desk.drain();
        assert!(desk.sent.is_empty(), "nothing is said before a client calls");
        let handshake = Handshake { parameters: Parameters::DEFAULT, user_name: b"door", optional: b"1234" };
        desk.send(alice, &Packet::Handshake(handshake)).unwrap();
        let rung = desk.sent.iter().find(|(to, _)| *to == silent).unwrap().1.clone().unwrap();
        assert_eq!((&rung[..4], &rung[19..]), (&head[..], &b"alice1234"[..]));
        // It answers in the other order after all, and is understood.
        desk.bytes(silent, &[6, 0, 0, 0, 4, 0]).unwrap();
        assert_eq!(desk.server.calls().filter(|(_, _, up)| up.is_some()).count(), 1);
    }
}

#[test]
fn v_13_the_application_decides_about_names_calls_and_peers() {
    let mut desk = Desk::new(ServerSettings { ask: true, ..ServerSettings::DEFAULT });
    let (bob, eve) = (desk.open("192.0.2.1:1"), desk.open("192.0.2.2:1"));
    let command = |desk: &mut Desk, command| {
        let result = desk.server.handle_command(desk.now, command);
        desk.drain();
        result
    };
    desk.send(bob, &registration("bob")).unwrap();
    assert_eq!(desk.to(bob), [""; 0]);
    command(&mut desk, ServerCommand::Admit { peer: bob, proven: false }).unwrap();
    assert_eq!(desk.to(bob), ["Accept { optional: \"\" }"]);
    // Taken: the session waits for a moment whether the holder goes, and says so itself.
    desk.send(eve, &registration("bob")).unwrap();
    let admit = ServerCommand::Admit { peer: eve, proven: false };
    command(&mut desk, admit).unwrap();
    assert!(matches!(command(&mut desk, admit), Err(Refusal::Unexpected { .. })));
    assert!(command(&mut desk, ServerCommand::Reject { peer: eve, reason: "no" }).is_err());
    assert_eq!((desk.to(eve), desk.timeouts()), (vec![], vec![]));
    desk.now = desk.now.saturating_add(Duration::from_millis(301));
    assert_eq!(desk.timeouts(), [format!("NameRefused({eve}, \"bob\")")]);
    assert_eq!(desk.to(eve), [format!("Drop {{ optional: \"{}\" }}", reason::NAME_TAKEN)]);
    // Rejected by the application, in its own words.
    desk.send(eve, &registration("eve")).unwrap();
    command(&mut desk, ServerCommand::Reject { peer: eve, reason: "not you" }).unwrap();
    assert_eq!(desk.to(eve), ["Drop { optional: \"not you\" }"]);
    assert!(command(&mut desk, admit).is_err());
    // A call ended from outside, and a peer.
    desk.send(eve, &call("bob", Parameters::DEFAULT)).unwrap();
    desk.to(bob);
    command(&mut desk, ServerCommand::EndCall { peer: bob, reason: "maintenance" }).unwrap();
    assert_eq!(
        (desk.to(bob), desk.to(eve)),
        (
            vec!["Drop { optional: \"maintenance\" }".into()],
            vec!["Drop { optional: \"maintenance\" }".into()]
        )
    );
    command(&mut desk, ServerCommand::Kick { peer: eve, reason: "enough" }).unwrap();
    assert_eq!(desk.to(eve), ["Drop { optional: \"enough\" }", "closed"]);
    let events = desk.timeouts().join(" ");
    assert!(events.contains("cause: Application") && events.contains(&format!("Gone({eve}")), "{events}");
    // The application's word is final: it displaces.
    let door = desk.open("192.0.2.3:1");
    command(&mut desk, ServerCommand::Introduce { peer: door, name: "bob", reachable: true, order: None })
        .unwrap();
    assert_eq!(desk.to(bob).last().unwrap(), "closed");
    assert_eq!(desk.timeouts(), [format!("Gone({bob}, None, None)")]);
    assert_eq!(desk.server.find("bob"), Some(door));
}

#[test]
fn audio_beyond_its_rate_pauses_the_reading_and_loses_nothing() {
    let mut desk =
        Desk::new(ServerSettings { voice: Rate { per_second: 10, burst: 20 }, ..ServerSettings::DEFAULT });
    let (alice, bob) = (desk.registered("127.0.0.1:1", "alice"), desk.registered("127.0.0.1:2", "bob"));
    desk.send(alice, &call("bob", Parameters::DEFAULT)).unwrap();
    desk.send(bob, &Packet::Accept { optional: b"" }).unwrap();
    desk.to(bob);
    for n in 0..30 {
        desk.send(alice, &Packet::Data(&[0; 10])).unwrap();
        assert_eq!(desk.paused.is_empty(), n < 20, "{n}");
    }
    assert_eq!(desk.to(bob).len(), 30);
}

#[test]
fn a_callee_is_not_rung_without_end() {
    let mut desk =
        Desk::new(ServerSettings { rings: Rate { per_second: 1, burst: 3 }, ..ServerSettings::DEFAULT });
    let bob = desk.registered("127.0.0.1:1", "bob");
    let rings = (0..10).filter(|n| {
        let caller = desk.open(&format!("192.0.2.{}:1", n + 2));
        desk.send(caller, &call("bob", Parameters::DEFAULT)).unwrap();
        desk.send(caller, &Packet::Drop { optional: b"" }).unwrap();
        desk.to(bob).len() == 2
    });
    assert_eq!(rings.count(), 3);
}

/// F-27: what is known of a call that is over ends where the next one begins.
#[test]
fn f_27_early_data_of_a_call_is_not_measured_by_the_end_of_the_one_before() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let (alice, bob) = (desk.registered("127.0.0.1:1", "alice"), desk.registered("127.0.0.1:2", "bob"));
    let accept = Packet::Accept { optional: b"" };
    desk.send(alice, &call("bob", Parameters::DEFAULT)).unwrap();
    desk.send(bob, &accept).unwrap();
    desk.send(alice, &Packet::Drop { optional: b"" }).unwrap();
    desk.pass(Duration::from_secs(11));
    desk.send(alice, &call("bob", Parameters::DEFAULT)).unwrap();
    desk.told.clear();
    // One packet too early, while it still rings: dropped, and no limit is lowered under the call.
    assert_eq!(desk.send(alice, &Packet::Data(b"early")), Err(Violation::StrayData));
    assert_eq!(desk.send(bob, &Packet::Data(b"early")), Err(Violation::StrayData));
    assert_eq!(desk.told, [""; 0]);
    // An answer out of place is judged by this call, too: the end of the last one excuses nothing.
    assert!(matches!(desk.send(alice, &accept), Err(Violation::Unexpected { .. })));
    desk.send(bob, &accept).unwrap();
    desk.send(alice, &Packet::Data(&[0; 100_000])).unwrap();
    assert_eq!(desk.to(bob).last().unwrap(), "Data { len: 100000 }");
}

#[test]
fn a_blocked_caller_is_blocked_under_each_name_that_it_is_shown_under() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let (bob, guest) = (desk.registered("192.0.2.1:1", "bob"), desk.open("192.0.2.2:77"));
    let block = ServerCommand::Block { callee: "bob", caller: "192.0.2.2:77" };
    desk.server.handle_command(desk.now, block).unwrap();
    desk.send(guest, &call("bob", Parameters::DEFAULT)).unwrap();
    assert_eq!((desk.to(guest), desk.to(bob)), (vec!["Drop { optional: \"busy\" }".into()], vec![]));
}

#[test]
fn a_flood_of_kept_names_neither_grows_nor_frees_those_kept_before() {
    let mut settings = ServerSettings { same_address_displaces: false, ..ServerSettings::DEFAULT };
    settings.limits.max_peers = 50;
    settings.attempts.burst = 10_000;
    let mut desk = Desk::new(settings);
    let close = |desk: &mut Desk, peer| {
        let _ = desk.server.handle_input(desk.now, Input::Closed { peer });
        desk.ids.retire(peer);
    };
    let victim = desk.registered("192.0.2.1:1", "victim");
    close(&mut desk, victim);
    for n in 0..500 {
        let flood = desk.registered("192.0.2.2:1", &format!("flood {n}"));
        close(&mut desk, flood);
    }
    let thief = desk.open("192.0.2.2:1");
    desk.send(thief, &registration("victim")).unwrap();
    desk.timeouts();
    assert_eq!(desk.to(thief), ["Drop { optional: \"name taken\" }"]);
}

#[test]
fn violations_are_forgiven_with_time() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let clumsy = desk.open("192.0.2.1:1");
    desk.send(clumsy, &registration("clumsy")).unwrap();
    for _ in 0..100 {
        assert!(desk.bytes(clumsy, &[0, 0, 0, 6, 0, 9]).is_err());
        desk.now = desk.now.saturating_add(Duration::from_secs(61));
    }
    assert!(desk.server.address(clumsy).is_some());
}

#[test]
fn secrets_are_not_shown_by_debug() {
    let event = ServerEvent::Registering {
        peer: PeerId { slot: 0, generation: 0 },
        name: "bob",
        secret: Some(b"hush"),
        preferred: Parameters { format: Format::F32, ..Parameters::DEFAULT },
    };
    let optional = b"bob\0hush\0le";
    let handshake = Handshake { parameters: Parameters::DEFAULT, user_name: b"", optional };
    let (preferred, samples) = (Parameters::DEFAULT, ByteOrder::BigEndian);
    let command = ClientCommand::Register { name: "bob", secret: Some(b"hush"), preferred, samples };
    let packet = Packet::Handshake(handshake);
    for shown in [format!("{event:?}"), format!("{command:?}"), format!("{packet:?}")] {
        let numbers = format!("{:?}", b"hush");
        assert!(
            shown.contains("bob")
                && !shown.contains("hush")
                && !shown.contains(numbers.trim_matches(['[', ']'])),
            "{shown}"
        );
    }
}

/// F-06: ten neighbours behind one address who call nobody without end do not keep the eleventh from registering.
#[test]
fn f_06_neighbours_behind_one_address_leave_each_its_part_of_the_attempts() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let neighbours: Vec<PeerId> =
        (0..10).map(|n| desk.registered(&format!("192.0.2.1:{}", 4000 + n), &format!("eve{n}"))).collect();
    let (mut honest, mut registered) = (None, false);
    for round in 0..200 {
        // They have used up what the address may do at once, and come first each time.
        for neighbour in &neighbours {
            let _ = desk.send(*neighbour, &call("nobody", Parameters::DEFAULT));
        }
        if round == 50 {
            honest = Some(desk.open("192.0.2.1:5000"));
        }
        if let Some(honest) = honest.filter(|_| !registered) {
            registered = desk.send(honest, &registration("ann")).is_ok();
        }
        desk.pass(Duration::from_millis(100));
    }
    assert!(registered);
}
