//! Log-ins whose connections are lost: how they are taken up, by whom, and for how long.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use core::time::Duration;
use harness::{Harness, call, create, join};
use voxwire_core::{Input, Lane, Output, PeerId, Session};

#[test]
fn m_07_a_lost_connection_is_taken_up_with_its_token_in_the_middle_of_a_call() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    let link = hall.sim.link_between(ann, hall.server).unwrap();
    hall.sim.disconnect(link);
    hall.wait();
    assert_eq!(hall.office(|server, _, _| (server.online(), server.in_calls())), (1, 1));
    // As libzmq does it: another connection of the same host, which goes on with what it has to say.
    let samples = vec![1000_i16; 40_000];
    let token = "00000000-0000-4000-8000-000000000001";
    let message = voxwire_msgpack::ClientMessage::CallData {
        username: "ann".into(),
        token: token.into(),
        group_name: "room".into(),
        samples: samples[..].into(),
    };
    let mut body = Vec::new();
    voxwire_core::Message::encode(&message, &voxwire_msgpack::Wire::SERVER, &mut body).unwrap();
    for (host, resumed) in [(9, false), (1, true)] {
        hall.office(|server, _, now| {
            let peer = PeerId { slot: 50 + host, generation: 0 };
            let from = hall_address(host);
            let _ = server.handle_input(
                now,
                Input::Opened { peer, via: voxwire_core::Via::Accepted, from: Some(from) },
            );
            let large = server
                .outputs()
                .any(|output| matches!(output, Output::Limit { max_frame, .. } if max_frame > 100_000));
            assert_eq!(large, resumed, "who was lost here may say something long at once");
            let _ = server.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &body });
            assert_eq!(server.is_online(b"ann"), resumed);
        });
    }
    hall.wait();
    assert_eq!(hall.heard(bob), [r#"CallData { sender: "ann", samples: 40000 Int samples }"#]);
    let log = hall.office(|_, office, _| office.log.take());
    assert!(log.iter().any(|event| event.starts_with("Resumed")), "{log:?}");
}

/// F-90: showing the token from the same address takes a log-in over, as the table of PROTOCOL.md says.
#[test]
fn m_07_a_connection_that_is_dead_and_not_known_to_be_gives_way_to_its_token_from_its_address() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(ann, create("room"));
    hall.code(bob, join("room"));
    hall.code(ann, call("room"));
    let message = |token: &'static str| voxwire_msgpack::ClientMessage::Whisper {
        username: "ann".into(),
        token: token.into(),
        recipient: "bob".into(),
        content: "here".into(),
    };
    let (right, wrong) = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002");
    hall.office(|_, office, _| office.log.take());
    for (host, token, taken) in [(9, right, false), (1, wrong, false), (1, right, true)] {
        hall.office(|server, _, now| {
            let before = server.connections(b"ann").to_vec();
            let peer = PeerId { slot: 50 + host, generation: u32::from(taken) };
            let (via, from) = (voxwire_core::Via::Accepted, Some(hall_address(host)));
            server.handle_input(now, Input::Opened { peer, via, from }).unwrap();
            server.receive(now, peer, message(token)).unwrap();
            assert_eq!(server.connections(b"ann"), if taken { vec![peer] } else { before.clone() });
            let closed = server.outputs().any(|output| output == Output::Close { peer: before[0] });
            assert_eq!(closed, taken);
            assert_eq!(server.in_calls(), 1);
        });
        hall.wait();
    }
    let log = hall.office(|_, office, _| office.log.take());
    let told: Vec<&String> =
        log.iter().filter(|event| !event.starts_with("Gone { peer: PeerId { slot: 5")).collect();
    assert!(told.iter().any(|event| event.starts_with("Gone")), "{log:?}");
    assert!(told.last().unwrap().starts_with("Resumed"), "{log:?}");
    assert_eq!(hall.heard(bob).last().unwrap(), r#"Whisper { sender: "ann", content: "here" }"#);
}

#[test]
fn m_11_a_client_that_may_have_been_lost_is_held_to_what_a_call_needs_and_a_stranger_once_none_is_awaited() {
    let mut hall = Harness::safe();
    let ann = hall.user("ann");
    let link = hall.sim.link_between(ann, hall.server).unwrap();
    hall.sim.with(ann, |client, _, now| client.shutdown(now));
    hall.sim.disconnect(link);
    let bob = hall.user("bob");
    let link = hall.sim.link_between(bob, hall.server).unwrap();
    hall.sim.set_down(bob, true);
    hall.sim.disconnect(link);
    hall.wait();
    let limits = |server: &mut voxwire_msgpack::Server| {
        server.outputs().fold(Vec::new(), |mut limits, output| {
            if let Output::Limit { peer, max_frame } = output {
                limits.push((peer.slot, max_frame));
            }
            limits
        })
    };
    hall.office(|server, _, now| {
        for (slot, host) in [(50, 2), (51, 2), (52, 9)] {
            let (peer, via) = (PeerId { slot, generation: 0 }, voxwire_core::Via::Accepted);
            server.handle_input(now, Input::Opened { peer, via, from: Some(hall_address(host)) }).unwrap();
        }
        let call = 3 * voxwire_msgpack::MAX_CALL_SAMPLES + voxwire_msgpack::MAX_BEFORE_LOGIN;
        assert_eq!(limits(server), [(50, call), (51, call)]);
        server.advance(usize::MAX);
        // 60 s later.
        let later = now.saturating_add(Duration::from_secs(61));
        while server.poll_timeout().is_some_and(|due| due <= later) {
            server.handle_timeout(later);
        }
        let stranger = voxwire_msgpack::MAX_BEFORE_LOGIN;
        assert_eq!(limits(server), [(50, stranger), (51, stranger)]);
    });
}

/// The address of the node of that number: ann's is the first after the server's.
fn hall_address(host: u32) -> core::net::SocketAddr {
    (core::net::Ipv4Addr::from(0x0a00_0001 + host), 40_000).into()
}

#[test]
fn m_07_the_login_that_was_lost_is_worth_nothing_after_its_time() {
    let mut hall = Harness::safe();
    let ann = hall.user("ann");
    let link = hall.sim.link_between(ann, hall.server).unwrap();
    hall.sim.disconnect(link);
    hall.wait();
    hall.sim.with(ann, |client, _, now| client.shutdown(now));
    hall.sim.run_for(Duration::from_secs(61));
    let peer = PeerId { slot: 50, generation: 0 };
    hall.office(|server, _, now| {
        let from = Some(hall_address(1));
        let via = voxwire_core::Via::Accepted;
        server.handle_input(now, Input::Opened { peer, via, from }).unwrap();
        let message = voxwire_msgpack::ClientMessage::CreateGroup {
            username: "ann".into(),
            token: "00000000-0000-4000-8000-000000000001".into(),
            group_name: "room".into(),
        };
        assert_eq!(server.receive(now, peer, message), Ok(None));
        assert!(!server.is_online(b"ann"));
    });
}

/// M-07: a connection that is gone is sent nothing while what it asked before has its turn, whether its log-in was its own or is taken up by
/// one of those requests. Messages for its user are kept.
#[test]
fn m_07_nothing_is_sent_to_a_connection_that_is_gone_while_its_requests_are_done() {
    let tokens = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"];
    let sent = |server: &mut voxwire_msgpack::Server, peer: PeerId| {
        server.outputs().filter(|output| matches!(output, Output::Send { to, .. } if *to == peer)).count()
    };
    let to_herself = voxwire_msgpack::ClientMessage::Whisper {
        username: "ann".into(),
        token: tokens[0].into(),
        recipient: "ann".into(),
        content: "note".into(),
    };
    let register = voxwire_msgpack::ClientMessage::Register { username: "eve".into(), password: "p".into() };
    let samples = [5_i16; 10];
    let audio = voxwire_msgpack::ClientMessage::CallData {
        username: "bob".into(),
        token: tokens[1].into(),
        group_name: "room".into(),
        samples: samples[..].into(),
    };
    let bytes = |message: &voxwire_msgpack::ClientMessage<'_>| {
        let mut body = Vec::new();
        voxwire_core::Message::encode(message, &voxwire_msgpack::Wire::SERVER, &mut body).unwrap();
        body
    };
    for taken_up in [false, true] {
        let mut hall = Harness::safe();
        hall.call_of_two();
        hall.office(|server, _, now| {
            let [ann, bob] = ["ann", "bob"].map(|name| server.connections(name.as_bytes())[0]);
            let mut peer = ann;
            if taken_up {
                server.handle_input(now, Input::Closed { peer }).unwrap();
                peer = PeerId { slot: 50, generation: 0 };
                let (via, from) = (voxwire_core::Via::Accepted, Some(hall_address(1)));
                server.handle_input(now, Input::Opened { peer, via, from }).unwrap();
            }
            // The first is in work, and the second waits for it.
            for message in [&register, &to_herself] {
                let bytes = bytes(message);
                server.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &bytes }).unwrap();
            }
            assert!(server.handle_input(now, Input::Closed { peer }).unwrap().is_none(), "something is left");
            let before = sent(server, peer);
            // No operator gives it back what it hears.
            let refused = voxwire_core::Moderation::set_hearing(server, peer, Some(&[bob])).unwrap_err();
            assert_eq!(refused, voxwire_msgpack::Refusal::UnknownPeer);
            server.receive(now, bob, audio).unwrap();
            let deferred = server.take_deferred().unwrap();
            let event = format!("{:?}", server.handle_input(now, Input::from(&deferred)).unwrap());
            assert!(event.starts_with("Some(Keeping"), "{event}");
            server.receive(now, bob, audio).unwrap();
            assert_eq!(sent(server, peer), before);
            // The log-in waits for the user's next connection, with its call.
            while server.take_deferred().is_some() {}
            let (next, via) = (PeerId { slot: 51, generation: 0 }, voxwire_core::Via::Accepted);
            server.handle_input(now, Input::Opened { peer: next, via, from: Some(hall_address(1)) }).unwrap();
            server.receive(now, next, to_herself).unwrap();
            assert_eq!(server.connections(b"ann"), [next]);
            assert_eq!(server.in_calls(), 2);
        });
    }
}
