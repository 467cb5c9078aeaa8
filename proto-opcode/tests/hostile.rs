//! What attackers do: each costs themselves, and nobody else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use harness::{CLOSED, Harness, bytes, peer, request};
use std::time::Duration;
use voxwire_core::{Framing as _, Input, ListenId, Moderation as _, Output, Session, Via};
use voxwire_opcode::{
    CallId, Client, ClientCommand, ClientSettings, Packet, RelayAddress, Resource, Server, ServerSettings,
    Text, Violation, Wire,
};

const SECOND: Duration = Duration::from_secs(1);

/// A hall with alice and bob, who is called by her.
fn calling(settings: ServerSettings) -> Harness {
    calling_from(settings, 4001)
}

fn calling_from(settings: ServerSettings, port: u16) -> Harness {
    let mut hall = Harness::new(settings);
    hall.join(0, "alice");
    hall.join(1, "bob");
    hall.send(0, &request("bob", "", port)).unwrap();
    hall
}

#[test]
fn o_11_what_is_malformed_closes_its_connection_alone() {
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    hall.join(0, "alice");
    hall.join(1, "bob");
    let mut attacks: Vec<Vec<u8>> = [0_u16, 0x0c, 0x55, 0xffff]
        .iter()
        .map(|opcode| [&2_u64.to_le_bytes()[..], &opcode.to_le_bytes()].concat())
        .collect();
    // A string over the end, one that would wrap around, and lists of too many.
    let body = |opcode: u16, body: &[u8]| {
        let length = (body.len() as u64 + 2).to_le_bytes();
        [&length[..], &opcode.to_le_bytes(), body].concat()
    };
    attacks.push(body(2, &[&50_u64.to_le_bytes()[..], b"ab"].concat()));
    attacks.push(body(2, &[&(u64::MAX - 3).to_le_bytes()[..], b"ab"].concat()));
    attacks.push(body(5, &u64::MAX.to_le_bytes()));
    attacks.push(body(7, &[&(1_u64 << 40).to_le_bytes()[..], &[0; 9]].concat()));
    // What a server has no use for.
    attacks.push(bytes(&Packet::VoiceData(&[1])));
    attacks.push(bytes(&Packet::HelloConnect));
    attacks.push(bytes(&Packet::ConnectionEstablished));
    attacks.push(bytes(&Packet::AddContact { contacts: [][..].into() }));
    for (slot, attack) in (10..).zip(&attacks) {
        hall.open(slot);
        assert!(hall.raw(slot, attack).is_err(), "{attack:02x?}");
        assert_eq!(hall.said(slot), ["HelloConnect", CLOSED]);
        let gone = format!("Gone({slot}.0, None)");
        assert_eq!(hall.run_for(SECOND), [gone]);
    }
    assert_eq!(hall.server.peers(), 2);
    assert_eq!(hall.server.stats().violations, attacks.len() as u64);
    // Nobody else has noticed.
    assert_eq!((hall.said(0), hall.said(1)), (vec![], vec![]));
    hall.send(0, &request("bob", "", 4001)).unwrap();
    assert_eq!(hall.said(1).len(), 1);
}

#[test]
fn o_11_a_length_of_a_terabyte_is_refused_from_eight_bytes() {
    for length in [1_u64 << 40, u64::MAX, 1 << 16] {
        assert!(Server::new(ServerSettings::DEFAULT, 1).framing().next_frame(&length.to_le_bytes()).is_err());
    }
    let client = Client::new(ClientSettings::DEFAULT).framing().next_frame(&(1_u64 << 21).to_le_bytes());
    assert!(client.is_err());
}

#[test]
fn threat_a_refusal_that_nobody_asked_for_reaches_nobody() {
    let mut hall = calling(ServerSettings::DEFAULT);
    hall.join(2, "mallory");
    let refusal = |contact: &'static str| Packet::CallRefused { contact: contact.into() };
    assert!(matches!(hall.send(2, &refusal("alice")), Err(Violation::Unexpected { .. })));
    assert!(matches!(hall.send(2, &refusal("bob")), Err(Violation::Unexpected { .. })));
    assert_eq!((hall.said(0), hall.said(1)), (vec![], vec![]));
    // Bob's own still counts, once.
    hall.send(1, &refusal("alice")).unwrap();
    assert!(hall.send(1, &refusal("alice")).is_err());
    assert_eq!(hall.said(0), [r#"CallRefused { contact: "bob" }"#]);
}

#[test]
fn threat_callees_are_not_sent_to_where_nobody_listens() {
    let mut hall = Harness::new(ServerSettings { trust_host: true, ..ServerSettings::DEFAULT });
    hall.join(0, "mallory");
    hall.join(1, "bob");
    for (host, port) in [("", 22), ("", 0), ("224.0.0.1", 5000), ("255.255.255.255", 5000), ("0.0.0.0", 5000)]
    {
        hall.send(0, &request("bob", host, port)).unwrap();
        assert_eq!(hall.said(1), [""; 0], "{host}:{port}");
        assert!(hall.said(0)[0].starts_with("ErrorResponse"));
    }
    // And a client believes no server that says otherwise.
    let mut client = Client::new(ClientSettings::DEFAULT);
    client.handle_command(hall.now, ClientCommand::Login { name: "bob" }).unwrap();
    let opened = Input::Opened { peer: peer(0), via: Via::Accepted, from: None };
    client.handle_input(hall.now, opened).unwrap();
    for (host, port) in [("192.0.2.1", 22), ("224.0.0.1", 5000), ("router.example", 5000), ("", 5000)] {
        let call = bytes(&request("mallory", host, port));
        let input = Input::Frame { peer: peer(0), lane: voxwire_core::Lane::Reliable, bytes: &call };
        assert!(matches!(client.handle_input(hall.now, input), Err(Violation::Address(_))));
    }
    assert_eq!(client.calls().count(), 0);
}

#[test]
fn threat_nobody_calls_without_a_name_or_without_end() {
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    hall.join(1, "bob");
    hall.open(0);
    hall.said(0);
    assert!(hall.send(0, &request("bob", "", 4001)).is_err());
    assert_eq!(hall.said(0), [r#"ErrorResponse { what: "log in first" }"#]);
    // One address may call forty times at once, one callee ten times, and one callee is rung a hundred times at once,
    // any caller.
    let mut rung = 0;
    for n in 0..14 {
        hall.join(10 + n, &format!("mallory {n}"));
        for _ in 0..100 {
            let _ = hall.send(10 + n, &request("bob", "", 4001));
        }
        rung += hall.said(1).iter().filter(|said| said.starts_with("CallRequest")).count();
    }
    assert!((100..120).contains(&rung), "{rung} calls");
    // What cannot be handed on does not count: bob can be called again, however many of these there were.
    hall.run_for(20 * SECOND);
    hall.join(30, "dave");
    for _ in 0..30 {
        let _ = hall.send(10, &request("bob", "", 80));
    }
    hall.send(30, &request("bob", "", 4001)).unwrap();
    assert_eq!(hall.said(1).len(), 1);
    // Reading pauses, nothing is dropped.
    assert!(hall.wants.iter().any(|want| want.starts_with("Pause")), "{:?}", hall.wants);
}

#[test]
fn threat_a_full_server_lets_go_of_those_without_a_name() {
    let mut settings = ServerSettings::DEFAULT;
    settings.limits.max_peers = 4;
    let mut hall = Harness::new(settings);
    hall.join(0, "alice");
    for slot in 1..4 {
        hall.open(slot);
    }
    hall.join(4, "bob");
    assert_eq!(hall.server.peers(), 4);
    assert_eq!(hall.server.address(peer(1)), None, "the oldest without a name has gone");
    // Full of people: who comes now is turned away.
    hall.login(2, "carol").unwrap();
    hall.login(3, "dave").unwrap();
    assert_eq!(hall.open_from(5, [10, 0, 0, 5]), Err(Violation::TooMany(Resource::Connections)));
    assert_eq!(hall.said(5), [CLOSED]);
}

fn relayed() -> ServerSettings {
    let v4 = Some([10, 9, 9, 9].into());
    ServerSettings { relay: Some(RelayAddress { v4, v6: None }), ..ServerSettings::DEFAULT }
}

/// A caller that comes to a port of the server's is not dialled: a connection that says so is no side of the call.
#[test]
fn threat_nobody_is_dialled_where_both_sides_come_to_ports() {
    let mut hall = calling_from(relayed(), 0);
    hall.input(Input::Listening { id: ListenId::new(0), port: 60_000 }).unwrap();
    let from = |last| Some(([10, 0, 0, last], 5).into());
    let arrive = Input::Opened { peer: peer(20), via: Via::AcceptedOn(ListenId::new(0)), from: from(1) };
    assert_eq!(hall.input(arrive), Ok(None));
    let dialled =
        Input::Opened { peer: peer(30), via: Via::Dialled(voxwire_core::DialId::new(1)), from: None };
    assert_eq!(hall.input(dialled), Err(Violation::UnknownPeer));
    assert_eq!(hall.said(30), [CLOSED]);
}

#[test]
fn threat_only_the_callee_takes_its_place_in_a_carried_call() {
    let mut hall = calling(relayed());
    assert_eq!(hall.wants, ["Listen { id: ListenId(0) }"]);
    hall.input(Input::Listening { id: ListenId::new(0), port: 60_000 }).unwrap();
    assert_eq!(hall.said(1), [r#"CallRequest { contact: "alice", host: "10.9.9.9", port: 60000 }"#]);
    let from = |last| Some(([10, 0, 0, last], 5).into());
    let arrive = |slot, last| Input::Opened {
        peer: peer(slot),
        via: Via::AcceptedOn(ListenId::new(0)),
        from: from(last),
    };
    assert_eq!(hall.input(arrive(20, 66)), Err(Violation::NotOfTheCall));
    assert_eq!(hall.said(20), [CLOSED]);
    assert_eq!(hall.input(arrive(21, 1)), Ok(None));
    // Once only, and the port is closed then.
    assert_eq!(hall.input(arrive(22, 1)), Err(Violation::NotOfTheCall));
    let wants = hall.wants.split_off(1);
    assert_eq!(wants[0], "StopListening { id: ListenId(0) }");
    assert_eq!(wants.last().unwrap(), r#"Dial { id: DialId(1), host: "10.0.0.0", port: 4001 }"#);
    // A callee that cannot wait is told nothing, and nothing of it is kept.
    assert!(hall.send(21, &Packet::VoiceData(b"early")).is_err());
    let dialled =
        Input::Opened { peer: peer(30), via: Via::Dialled(voxwire_core::DialId::new(1)), from: None };
    assert_eq!(hall.input(dialled), Ok(Some("Established(0.0 -> 1.0)".into())));
    hall.send(30, &Packet::ConnectionEstablished).unwrap();
    hall.send(30, &Packet::VoiceData(b"hello")).unwrap();
    assert_eq!(hall.said(21), ["ConnectionEstablished", "VoiceData { len: 5 }"]);
    // Neither may say anything else in a call, or log in there.
    assert!(hall.send(21, &Packet::Login { name: Text(b"x") }).is_err());
    assert_eq!((hall.said(21), hall.said(30)), (vec![CLOSED.into()], vec![CLOSED.into()]));
    assert_eq!((hall.server.relays(), hall.server.peers()), (0, 2));
}

#[test]
fn threat_carried_calls_are_bounded_and_end() {
    let mut hall =
        Harness::new(ServerSettings { max_relays: 3, attempts: ServerSettings::ORIGINAL.voice, ..relayed() });
    hall.join(0, "mallory");
    for (slot, name) in (1..).zip(["a", "b", "c", "d"]) {
        hall.join(slot, name);
        hall.send(0, &request(name, "", 4001)).unwrap();
    }
    assert_eq!(hall.server.relays(), 3);
    assert!(hall.said(0)[0].contains("cannot carry more calls"));
    // Called again: the call before makes room for itself.
    hall.send(0, &request("a", "", 4002)).unwrap();
    assert_eq!(hall.server.relays(), 3);
    let events = hall.run_for(Duration::from_secs(61));
    assert_eq!(events.iter().filter(|event| event.contains("Some(Callee), None, 0 packets")).count(), 3);
    assert_eq!(hall.server.relays(), 0);
    let stopped = hall.wants.iter().filter(|want| want.starts_with("StopListening")).count();
    let listened = hall.wants.iter().filter(|want| want.starts_with("Listen")).count();
    // The one that was called again waits for nobody; the others' ports stay open a little longer.
    assert_eq!((stopped, listened), (1, 4), "{:?}", hall.wants);
    hall.run_for(Duration::from_secs(10));
    let stopped = hall.wants.iter().filter(|want| want.starts_with("StopListening")).count();
    assert_eq!((stopped, listened), (4, 4), "{:?}", hall.wants);
    // No port is to be had.
    hall.send(0, &request("b", "", 4001)).unwrap();
    hall.said(0);
    hall.input(Input::ListenFailed(ListenId::new(8))).unwrap();
    assert!(hall.said(0)[0].contains("cannot carry more calls"));
    assert_eq!(hall.server.relays(), 0);
}

/// F-36: a call whose port is refused costs the callee nothing, whether calls are carried or not.
#[test]
fn f_36_a_call_that_cannot_be_handed_on_takes_no_ring() {
    for settings in [ServerSettings::DEFAULT, relayed(), ServerSettings { max_relays: 0, ..relayed() }] {
        let mut hall = Harness::new(ServerSettings { attempts: ServerSettings::ORIGINAL.voice, ..settings });
        hall.join(0, "mallory");
        hall.join(1, "bob");
        for _ in 0..50 {
            hall.send(0, &request("bob", "", 80)).unwrap();
        }
        assert!(hall.said(0).iter().all(|said| said.starts_with("ErrorResponse")));
        hall.send(0, &request("bob", "", 4001)).unwrap();
        let said = hall.said(0).concat();
        assert!(!said.contains("too often"), "{said}");
    }
}

/// F-85: an original callee that cannot connect ends itself; so a callee that accepts too late is connected, and closed.
#[test]
fn f_85_the_port_of_a_carried_call_stays_open_for_a_while_after_it_is_over() {
    let mut hall = Harness::new(relayed());
    hall.join(0, "alice");
    hall.join(1, "bob");
    let callee = |hall: &mut Harness, slot, relay: u32, from| {
        let via = Via::AcceptedOn(ListenId::new(relay * 2));
        hall.input(Input::Opened { peer: peer(slot), via, from: Some((from, 1).into()) })
    };
    // The caller goes.
    hall.send(0, &request("bob", "", 4001)).unwrap();
    hall.input(Input::Listening { id: ListenId::new(0), port: 5000 }).unwrap();
    hall.input(Input::Closed { peer: peer(0) }).unwrap();
    let ended = hall.server.handle_timeout(hall.now).unwrap();
    let voxwire_opcode::ServerEvent::Ended { caller_name, callee_name, .. } = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(
        (&*caller_name, &*callee_name),
        (&b"alice"[..], &b"bob"[..]),
        "names outlive their connections"
    );
    assert_eq!(hall.server.relays(), 0);
    hall.wants.clear();
    assert_eq!(callee(&mut hall, 20, 0, [10, 0, 0, 1]), Ok(None));
    assert_eq!(hall.said(20), [CLOSED]);
    assert_eq!(hall.wants, [format!("{:?}", Output::StopListening { id: ListenId::new(0) })]);
    // Nobody answers for a minute, nor in the ten seconds after that.
    hall.join(2, "carol");
    hall.send(2, &request("bob", "", 4001)).unwrap();
    hall.run_for(Duration::from_secs(61));
    assert!(!hall.wants.iter().any(|want| want.contains("StopListening { id: ListenId(2) }")));
    hall.run_for(Duration::from_secs(10));
    assert!(hall.wants.iter().any(|want| want.contains("StopListening { id: ListenId(2) }")));
    assert!(callee(&mut hall, 21, 1, [10, 0, 0, 1]).is_err());
    // The callee has refused, or has gone itself: nobody will come.
    hall.send(2, &request("bob", "", 4001)).unwrap();
    hall.send(1, &Packet::CallRefused { contact: Text(b"carol") }).unwrap();
    assert!(hall.wants.iter().any(|want| want.contains("StopListening { id: ListenId(4) }")));
    hall.send(2, &request("bob", "", 4001)).unwrap();
    hall.input(Input::Closed { peer: peer(1) }).unwrap();
    assert!(hall.wants.iter().any(|want| want.contains("StopListening { id: ListenId(6) }")));
}

/// F-87: a name that is longer than any can be is refused in words, as `PROTOCOL.md` promises; the connection stays.
#[test]
fn f_87_a_name_that_is_too_long_is_answered() {
    for settings in [
        ServerSettings::DEFAULT,
        ServerSettings::ORIGINAL,
        ServerSettings { ask: true, ..ServerSettings::DEFAULT },
    ] {
        let mut hall = Harness::new(settings);
        hall.open(0);
        hall.said(0);
        for len in [256, 300, 60_000] {
            let refused = hall.login(0, &"x".repeat(len));
            assert!(matches!(refused, Err(Violation::InvalidName(_))), "{refused:?}");
            let said = hall.said(0);
            assert!(said.len() == 1 && said[0].starts_with("LoginFailed { reason: \""), "{said:?}");
        }
        assert!(hall.server.address(peer(0)).is_some());
        // What only says that it is long is no Login, and ends the connection, as with the original.
        let mut lie = bytes(&Packet::Login { name: Text(b"x") });
        lie[10..18].copy_from_slice(&300_u64.to_le_bytes());
        assert!(matches!(hall.raw(0, &lie), Err(Violation::Decode(_))));
        assert_eq!(hall.said(0), [CLOSED]);
    }
    // Who has a name already is not answered, as ever.
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    hall.join(0, "alice");
    assert!(hall.login(0, &"x".repeat(300)).is_err());
    assert_eq!(hall.said(0), [""; 0]);
}

#[test]
fn threat_a_direct_listener_takes_one_and_no_more() {
    let mut client = Client::new(ClientSettings::DEFAULT);
    let now = voxwire_core::Instant::ZERO;
    client.handle_command(now, ClientCommand::Login { name: "alice" }).unwrap();
    client.handle_input(now, Input::Opened { peer: peer(0), via: Via::Accepted, from: None }).unwrap();
    for packet in [Packet::HelloConnect, Packet::LoginSuccess] {
        let bytes = bytes(&packet);
        let input = Input::Frame { peer: peer(0), lane: voxwire_core::Lane::Reliable, bytes: &bytes };
        client.handle_input(now, input).unwrap();
    }
    client.handle_command(now, ClientCommand::Call { contact: b"bob" }).unwrap();
    client.handle_input(now, Input::Listening { id: ListenId::new(1), port: 5000 }).unwrap();
    client.advance(usize::MAX);
    let arrive =
        |slot| Input::Opened { peer: peer(slot), via: Via::AcceptedOn(ListenId::new(1)), from: None };
    assert!(client.handle_input(now, arrive(1)).unwrap().is_some());
    assert!(client.outputs().any(|output| matches!(output, Output::StopListening { .. })));
    assert!(client.handle_input(now, arrive(2)).is_err());
    // F-85: a call that was given up takes one, too, for ten seconds: it is closed at once.
    for (call, comes) in [(2, true), (3, false)] {
        client.handle_command(now, ClientCommand::Call { contact: b"bob" }).unwrap();
        client.handle_input(now, Input::Listening { id: ListenId::new(call), port: 5000 }).unwrap();
        client.advance(usize::MAX);
        client.handle_command(now, ClientCommand::HangUp { call: CallId::new(call) }).unwrap();
        assert_eq!(client.outputs().count(), 0, "still open");
        let (later, by) = (now.saturating_add(Duration::from_secs(10)), call + 10);
        if comes {
            let via = Via::AcceptedOn(ListenId::new(call));
            let late = Input::Opened { peer: peer(by), via, from: None };
            assert_eq!(client.handle_input(now, late), Ok(None));
            assert!(client.outputs().any(|output| output == Output::Close { peer: peer(by) }));
        } else {
            assert_eq!(client.lingers(), Some(later));
            assert_eq!(client.poll_timeout(), Some(later));
            client.handle_timeout(later);
        }
        let stop = Output::StopListening { id: ListenId::new(call) };
        assert!(client.outputs().any(|output| output == stop) && client.lingers().is_none());
        client.advance(usize::MAX);
    }
    // What is no packet ends that call, and nothing else.
    let garbage = [2, 0, 0, 0, 0, 0, 0, 0, 0x55, 0];
    let input = Input::Frame { peer: peer(1), lane: voxwire_core::Lane::Reliable, bytes: &garbage };
    assert!(client.handle_input(now, input).is_err());
    let ended = client.handle_timeout(now).unwrap();
    assert!(format!("{ended:?}").contains("does not speak this protocol"));
    assert!(client.name().is_some() && client.calls().count() == 0);
    assert!(Wire::CLIENT.framing().next_frame(&[0xff; 8]).is_err());
}

/// F-06: ten neighbours behind one address who call nobody without end do not keep the eleventh from logging in.
#[test]
fn f_06_neighbours_behind_one_address_leave_each_its_part_of_the_attempts() {
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    for slot in 0..10 {
        hall.open_from(slot, [192, 0, 2, 1]).unwrap();
        hall.login(slot, &format!("eve{slot}")).unwrap();
    }
    for round in 0..200 {
        // They have used up what the address may do at once, and come first each time.
        for slot in 0..10 {
            let _ = hall.send(slot, &request("nobody", "", 4001));
        }
        match round {
            50 => drop(hall.open_from(20, [192, 0, 2, 1])),
            51.. => drop(hall.login(20, "ann")),
            _ => {}
        }
        hall.run_for(Duration::from_millis(100));
    }
    assert_eq!(hall.server.name(peer(20)), Some(&b"ann"[..]));
}
