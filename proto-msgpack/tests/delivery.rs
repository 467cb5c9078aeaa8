//! What was kept for a user is delivered: when it has arrived, what is delivered again, and to which sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use core::time::Duration;
use harness::{Harness, create, login, register, whisper};
use voxwire_core::{Framing as _, Handler, Input, Instant, Lane, Output, PeerId, Progress, Session, Via};
use voxwire_msgpack::{
    ClientCommand, ClientMessage, ClientSettings, Server, ServerCommand, ServerEvent, ServerMessage,
    ServerSettings, zmtp,
};

/// The same user on a connection of the network as it is now.
fn again(hall: &mut Harness, before: harness::Seat) -> harness::Seat {
    assert_eq!(hall.code(before, ClientCommand::Logout), "SUCCESS");
    let (bob, _) = hall.client();
    hall.ask(bob, login("bob", "geheim"));
    hall.heard(bob);
    bob
}

#[test]
fn m_08_what_is_delivered_later_has_arrived_when_it_must_have() {
    let mut hall = Harness::safe();
    let bob = hall.user("bob");
    let deliver = |hall: &mut Harness| {
        hall.office(|server, _, now| {
            let peer = server.connections(b"bob")[0];
            let update = ServerMessage::Whisper { sender: "ann".into(), content: "late".into() };
            server.handle_command(now, ServerCommand::Deliver { peer, update }).unwrap();
        });
        hall.wait();
    };
    let received = |hall: &mut Harness| {
        let log = hall.office(|_, office, _| office.log.take());
        log.iter().filter(|event| event.starts_with("Received")).count()
    };
    // What has come when the transport has read it shows with the next request.
    deliver(&mut hall);
    assert_eq!(hall.heard(bob), [r#"Whisper { sender: "ann", content: "late" }"#]);
    assert_eq!(hall.code(bob, create("room")), "SUCCESS");
    assert_eq!(received(&mut hall), 1);
    // A request that was on its way before shows nothing.
    hall.net.latency = Duration::from_millis(10);
    let bob = again(&mut hall, bob);
    received(&mut hall);
    let update = ServerMessage::Whisper { sender: "ann".into(), content: "late".into() };
    hall.sim.with(bob, |client, _, now| client.handle_command(now, create("other"))).unwrap();
    hall.office(|server, _, now| {
        let peer = server.connections(b"bob")[0];
        server.handle_command(now, ServerCommand::Deliver { peer, update }).unwrap();
    });
    hall.wait();
    assert_eq!(hall.heard(bob).len(), 2);
    assert_eq!(received(&mut hall), 0);
    hall.sim.run_for(Duration::from_secs(54));
    assert_eq!(received(&mut hall), 1);
    // Nobody is sent anything who is not there.
    hall.code(bob, ClientCommand::Logout);
    hall.office(|server, _, now| {
        assert!(server.connections(b"bob").is_empty());
        let peer = PeerId { slot: 0, generation: 0 };
        let update = ServerMessage::Whisper { sender: "ann".into(), content: "x".into() };
        assert!(server.handle_command(now, ServerCommand::Deliver { peer, update }).is_err());
    });
}

#[test]
fn m_08_what_was_delivered_behind_the_answer_to_the_log_in_may_be_lost_and_is_delivered_again() {
    let deliver = |hall: &mut Harness, first: bool| {
        let (bob, _) = hall.client();
        hall.ask(bob, register("bob", "geheim"));
        if first {
            let update = ServerMessage::Whisper { sender: "ann".into(), content: "kept".into() };
            let update = voxwire_core::Owned::new(&update, &voxwire_msgpack::Wire::SERVER).unwrap();
            hall.office(|_, office, _| office.kept.insert(b"bob".to_vec(), vec![update]));
        }
        hall.ask(bob, login("bob", "geheim"));
        if !first {
            hall.office(|server, _, now| {
                let peer = server.connections(b"bob")[0];
                let update = ServerMessage::Whisper { sender: "ann".into(), content: "late".into() };
                server.handle_command(now, ServerCommand::Deliver { peer, update }).unwrap();
            });
            hall.wait();
        }
        bob
    };
    for first in [true, false] {
        // A client that logs out has read what came before the token, and what its transport had read before.
        let mut hall = Harness::safe();
        let bob = deliver(&mut hall, first);
        hall.office(|_, office, _| office.log.take());
        hall.code(bob, ClientCommand::Logout);
        let log = hall.office(|_, office, _| office.log.take()).join("\n");
        assert!(log.contains("received: 1 }"), "{log}");
        // Of the token alone, only what came before it shows.
        let mut hall = Harness::safe();
        let bob = deliver(&mut hall, first);
        let link = hall.sim.link_between(bob, hall.server).unwrap();
        hall.sim.set_down(bob, true);
        hall.sim.disconnect(link);
        hall.wait();
        hall.office(|server, office, now| {
            let peer = PeerId { slot: 50, generation: 0 };
            let (via, from) = (Via::Accepted, Some(([10, 0, 0, 2], 4000).into()));
            server.handle_input(now, Input::Opened { peer, via, from }).unwrap();
            let message = ClientMessage::CreateGroup {
                username: "bob".into(),
                token: "00000000-0000-4000-8000-000000000001".into(),
                group_name: "room".into(),
            };
            server.receive(now, peer, message).unwrap();
            let told = server.handle_timeout(now).map(|event| format!("{event:?}")).unwrap_or_default();
            assert!(
                told.starts_with("Resumed") && told.contains(&format!("received: {} }}", u8::from(first))),
                "{told}"
            );
            office.log.take();
        });
    }
}

/// F-32: what was delivered, and shown to have arrived, does not come again because a log-out follows at once.
#[test]
fn m_08_a_log_out_right_behind_the_first_request_says_that_all_has_arrived() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(bob, ClientCommand::Logout);
    assert_eq!(hall.code(ann, whisper("bob", "hello")), "SUCCESS");
    hall.ask(bob, login("bob", "geheim"));
    let token = "00000000-0000-4000-8000-000000000003";
    let leave = [&b"\xa7request\xaaleave_call\xa3bob\xd9\x24"[..], token.as_bytes()].concat();
    let received = hall.office(|server, _, now| {
        let peer = server.connections(b"bob")[0];
        // Both are read before any timer fires.
        let frames = [&leave[..], b"\xa7request\xa6logout\xa3bob"];
        let [_, logged_out] = frames.map(|bytes| {
            let input = Input::Frame { peer, lane: Lane::Reliable, bytes };
            format!("{:?}", server.handle_input(now, input).unwrap())
        });
        logged_out
    });
    assert!(received.contains("received: 1"), "{received}");
}

/// F-33: as soon as a client's transport has read what was delivered, the next part can follow; whether the client has it, shows as before.
#[test]
fn f_33_the_next_part_can_follow_when_the_transport_has_read_the_one_before() {
    for dialect in [voxwire_msgpack::Dialect::Zmtp, voxwire_msgpack::Dialect::Plain] {
        let mut hall = Harness::safe();
        hall.net.latency = Duration::from_millis(10);
        let (bob, _) = hall.client_with(ClientSettings { dialect, ..ClientSettings::DEFAULT });
        hall.ask(bob, register("bob", "geheim"));
        hall.ask(bob, login("bob", "geheim"));
        hall.office(|_, office, _| drop(office.log.take()));
        for _ in 0..3 {
            hall.office(|server, _, now| {
                let peer = server.connections(b"bob")[0];
                let update = ServerMessage::Whisper { sender: "ann".into(), content: "late".into() };
                server.handle_command(now, ServerCommand::Deliver { peer, update }).unwrap();
            });
        }
        let told = |hall: &mut Harness| -> Vec<String> {
            let log = hall.office(|_, office, _| office.log.take());
            log.into_iter().map(|event| event.split(' ').next().unwrap_or_default().to_string()).collect()
        };
        let zmtp = dialect == voxwire_msgpack::Dialect::Zmtp;
        if zmtp {
            hall.sim.run_for(Duration::from_millis(15));
            assert!(told(&mut hall).is_empty(), "the answer is on its way");
            hall.sim.run_for(Duration::from_millis(20));
            assert_eq!(told(&mut hall), ["Taken"], "once, and for all of it");
        } else {
            // A client that cannot be asked has it as fast as its connection takes it.
            assert_eq!(told(&mut hall), ["Taken"; 3]);
        }
        hall.sim.run_for(Duration::from_secs(46));
        assert_eq!(told(&mut hall), ["Received"]);
    }
}

/// F-38, F-07: a REQ socket can be sent nothing but answers. What is kept for its user stays kept, and what is sent to the user meanwhile
/// is kept, until a log-in with another socket; in every version of ZMTP.
#[test]
fn f_38_what_is_kept_stays_until_a_log_in_that_can_receive_it() {
    let greeting = |version| {
        let mut bytes = Vec::new();
        match version {
            3 => {
                zmtp::put_greeting(&mut bytes);
                // READY, as libzmq says it.
                bytes.extend(b"\x04\x26\x05READY\x0bSocket-Type\0\0\0\x03REQ\x08Identity\0\0\0\0");
            }
            2 => bytes.extend(b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x03\0\0"),
            _ => bytes.extend(b"\x01\0"),
        }
        bytes
    };
    for version in [1, 2, 3] {
        let mut hall = Harness::safe();
        let (ann, bob) = (hall.user("ann"), hall.user("bob"));
        hall.code(bob, ClientCommand::Logout);
        assert_eq!(hall.code(ann, whisper("bob", "kept")), "SUCCESS");
        // What a driver does with its stream.
        let req = PeerId { slot: 900, generation: 0 };
        let mut framing = hall.office(|server, _, _| server.framing());
        let mut log_in = greeting(version);
        let body = b"\xa7request\xa5login\xa3bob\xa6geheim";
        let (more, head) =
            if version == 1 { (&b"\x01\x01"[..], 1 + body.len() as u8) } else { (&b"\x01\0"[..], 0) };
        log_in.extend(more);
        log_in.extend(if version == 1 { [head, 0] } else { [0, body.len() as u8] });
        log_in.extend(body);
        let sent = hall.office(|server, office, now| {
            server.handle_input(now, Input::Opened { peer: req, via: Via::Accepted, from: None }).unwrap();
            let (mut at, mut told, mut sent) = (0, false, Vec::new());
            while at < log_in.len() {
                match framing.next_frame(&log_in[at..]).unwrap() {
                    Progress::Skip(n) => at += n.get(),
                    Progress::Frame { header, body } => {
                        if framing.answers_only() && !core::mem::replace(&mut told, true) {
                            server.handle_input(now, Input::AnswersOnly { peer: req }).unwrap();
                        }
                        let bytes = &log_in[at + header..][..body];
                        let input = Input::Frame { peer: req, lane: Lane::Reliable, bytes };
                        let event = server.handle_input(now, input).unwrap().unwrap();
                        Handler::<Server>::on_event(office, server, now, event);
                        at += header + body;
                    }
                    Progress::NeedMore(n) => panic!("{n} at {at} of {version}"),
                }
            }
            assert!(told, "{version}");
            for output in server.outputs() {
                if let Output::Send { to, frame, .. } = output {
                    assert_eq!(to, req);
                    assert!(framing.takes(frame), "nothing is lost on the way");
                    sent.push(frame.to_vec());
                }
            }
            server.advance(usize::MAX);
            sent
        });
        assert!(matches!(&sent[..], [answer] if answer.starts_with(b"\xa8response\xa5login\0")), "{sent:x?}");
        assert_eq!(hall.code(ann, whisper("bob", "meanwhile")), "SUCCESS");
        // Long after all that was delivered would have counted as received.
        hall.sim.run_for(Duration::from_secs(100));
        let (bob, _) = hall.client();
        hall.heard(bob);
        hall.ask(bob, login("bob", "geheim"));
        let heard = hall.heard(bob);
        assert!(
            heard.len() == 3 && heard[0].contains("kept") && heard[1].contains("meanwhile"),
            "{version}: {heard:?}"
        );
    }
}

/// F-33, F-38: mail of several parts. Each part follows when the connection takes more, also before the client has said anything; what
/// the log-in, a request or a log-out shows to have arrived does not come again, and nothing is lost.
#[test]
fn f_33_mail_of_several_parts_comes_once_however_short_the_session_is() {
    for dialect in [voxwire_msgpack::Dialect::Zmtp, voxwire_msgpack::Dialect::Plain] {
        for (part, latency, work) in [(1, 0, 0), (2, 10, 0), (2, 10, 2), (100, 10, 1)] {
            let mut hall = Harness::safe();
            let (ann, bob) = (hall.user("ann"), hall.user("bob"));
            hall.code(bob, ClientCommand::Logout);
            let texts: Vec<String> = (0..5).map(|n| format!("text {n}")).collect();
            for text in &texts {
                assert_eq!(hall.code(ann, whisper("bob", text)), "SUCCESS");
            }
            hall.office(|_, office, _| office.part = Some(part));
            hall.net.latency = Duration::from_millis(latency);
            let mut heard = Vec::new();
            for _ in 0..3 {
                let settings = ClientSettings { dialect, reconnect: None, ..ClientSettings::DEFAULT };
                let (bob, link) = hall.client_with(settings);
                hall.ask(bob, login("bob", "geheim"));
                // Until all parts are there.
                (0..4).for_each(|_| hall.wait());
                for n in 0..work {
                    hall.ask(bob, whisper("ann", &format!("thanks {n}")));
                }
                hall.ask(bob, ClientCommand::Logout);
                heard.extend(hall.heard(bob).into_iter().filter(|event| event.starts_with("Whisper")));
                hall.sim.disconnect(link);
                hall.wait();
            }
            let case = format!("{dialect:?} {part} {latency} {work}");
            assert_eq!(heard.len(), texts.len(), "{case}: {heard:?}");
            assert!(
                heard.iter().zip(&texts).all(|(event, text)| event.contains(&**text)),
                "{case}: {heard:?}"
            );
            assert_eq!(hall.office(|_, office, _| office.kept.len()), 0, "{case}");
        }
    }
}

/// F-33: a client that says nothing: each part has its own time, and none puts off that of those before it.
#[test]
fn f_33_each_part_has_arrived_after_its_own_time() {
    let mut hall = Harness::safe();
    let settings = ClientSettings { dialect: voxwire_msgpack::Dialect::Plain, ..ClientSettings::DEFAULT };
    let (bob, _) = hall.client_with(settings);
    hall.ask(bob, register("bob", "geheim"));
    hall.ask(bob, login("bob", "geheim"));
    hall.office(|_, office, _| drop(office.log.take()));
    let mut received = 0;
    for second in 0..115 {
        if second < 60 && second % 10 == 0 {
            hall.office(|server, _, now| {
                let peer = server.connections(b"bob")[0];
                let update = ServerMessage::Whisper { sender: "ann".into(), content: "late".into() };
                server.handle_command(now, ServerCommand::Deliver { peer, update }).unwrap();
            });
        }
        hall.sim.run_for(Duration::from_secs(1));
        let log = hall.office(|_, office, _| office.log.take());
        received +=
            log.iter().filter(|event| event.starts_with("Received") && event.contains("messages: 1")).count();
        assert_eq!(received, if second < 44 { 0 } else { 6.min((second - 34) / 10) }, "{second}");
    }
}

/// What a driver makes of a REQ socket: it takes nothing but answers.
fn req(server: &mut Server, now: Instant, slot: u32, host: u8) -> PeerId {
    let peer = PeerId { slot, generation: 0 };
    let from = Some(([10, 0, 0, host], 4000).into());
    server.handle_input(now, Input::Opened { peer, via: Via::Accepted, from }).unwrap();
    server.handle_input(now, Input::AnswersOnly { peer }).unwrap();
    peer
}

fn new_group(token: &'static str, group_name: &'static str) -> ClientMessage<'static> {
    ClientMessage::CreateGroup { username: "bob".into(), token: token.into(), group_name: group_name.into() }
}

/// F-38: a REQ socket that shows the token of an ordinary log-in, whether that is lost or is still thought to be there, takes it up for
/// requests alone; what is kept stays.
#[test]
fn f_38_a_req_socket_takes_a_log_in_up_for_requests_alone() {
    for lost in [true, false] {
        let mut hall = Harness::safe();
        let (ann, bob) = (hall.user("ann"), hall.user("bob"));
        let link = hall.sim.link_between(bob, hall.server).unwrap();
        hall.sim.set_down(bob, true);
        if lost {
            hall.sim.disconnect(link);
            hall.wait();
            assert_eq!(hall.code(ann, whisper("bob", "kept")), "SUCCESS");
        }
        hall.office(|server, _, now| {
            // Where bob was.
            let req = req(server, now, 900, 3);
            server.receive(now, req, new_group("00000000-0000-4000-8000-000000000002", "room")).unwrap();
            let mut resumed = false;
            while let Some(event) = server.handle_timeout(now) {
                resumed |= format!("{event:?}").starts_with("Resumed");
            }
            assert!(resumed, "{lost}");
            assert_eq!(server.name(req), Some(&b"bob"[..]));
            assert!(!server.is_online(b"bob"), "what is for bob is kept");
            let update = ServerMessage::Whisper { sender: "ann".into(), content: "kept".into() };
            server.handle_command(now, ServerCommand::Deliver { peer: req, update }).unwrap_err();
        });
        assert_eq!(hall.code(ann, whisper("bob", "meanwhile")), "SUCCESS");
        assert!(hall.office(|_, office, _| office.kept.contains_key(&b"bob"[..])));
    }
}

/// F-38: a REQ socket whose connection is lost reconnects by itself, and its log-in is there for a minute, as all others are.
#[test]
fn f_38_a_lost_log_in_of_a_req_socket_is_taken_up() {
    for (noticed, after, there) in [(true, 59, true), (true, 61, false), (false, 1, true)] {
        let mut hall = Harness::safe();
        let bob = hall.user("bob");
        hall.code(bob, ClientCommand::Logout);
        let log_in = ClientMessage::Login { username: "bob".into(), password: "geheim".into() };
        hall.office(|server, office, now| {
            let before = req(server, now, 900, 7);
            let event = server.receive(now, before, log_in).unwrap().unwrap();
            Handler::<Server>::on_event(office, server, now, event);
            assert_eq!(server.name(before), Some(&b"bob"[..]));
            if noticed {
                server.handle_input(now, Input::Closed { peer: before }).unwrap();
            }
        });
        hall.sim.run_for(Duration::from_secs(after));
        hall.office(|server, _, now| {
            let again = req(server, now, 901, 7);
            let event = server.receive(now, again, new_group("00000000-0000-4000-8000-000000000002", "room"));
            assert_eq!(event.unwrap().is_some(), there, "{noticed} {after}");
            assert_eq!(server.name(again).is_some(), there);
            assert!(!server.is_online(b"bob"));
            // From elsewhere it is worth nothing.
            let other = req(server, now, 902, 8);
            let event = server.receive(now, other, new_group("00000000-0000-4000-8000-000000000002", "more"));
            assert!(event.unwrap().is_none() && server.name(other).is_none());
        });
    }
}

/// F-38: a connection that turns out to take nothing but answers behind its log-in is there for requests from then on.
#[test]
fn f_38_a_peer_that_takes_answers_only_behind_its_log_in_is_sent_nothing_else() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.office(|server, office, now| {
        let peer = server.connections(b"bob")[0];
        let update = ServerMessage::Whisper { sender: "ann".into(), content: "late".into() };
        server.handle_command(now, ServerCommand::Deliver { peer, update }).unwrap();
        server.handle_input(now, Input::AnswersOnly { peer }).unwrap();
        server.handle_command(now, ServerCommand::Deliver { peer, update }).unwrap_err();
        assert!(!server.is_online(b"bob") && server.name(peer).is_some());
        office.log.take();
    });
    assert_eq!(hall.code(ann, whisper("bob", "kept")), "SUCCESS");
    hall.sim.run_for(Duration::from_secs(100));
    let log = hall.office(|_, office, _| office.log.take());
    assert!(log.iter().all(|event| !event.starts_with("Received")), "what was lost did not arrive: {log:?}");
    assert_eq!(hall.office(|_, office, _| office.kept.len()), 1);
    assert_eq!(hall.code(bob, ClientCommand::Logout), "SUCCESS");
}

/// F-33: what still waits for a slow connection, or has not been read by a transport that can be asked, has not arrived because time
/// has passed: if the connection is lost then, it is lost.
#[test]
fn f_33_what_waits_in_a_queue_does_not_count_as_received() {
    let second = |n: u64| Instant::from_nanos(n * 1_000_000_000);
    for read in [true, false] {
        let mut server = Server::new(ServerSettings::DEFAULT, 1, harness::digest);
        let peer = PeerId { slot: 3, generation: 0 };
        let from = Some(([10, 0, 0, 2], 4000).into());
        server.handle_input(second(0), Input::Opened { peer, via: Via::Accepted, from }).unwrap();
        let log_in = ClientMessage::Login { username: "bob".into(), password: "geheim".into() };
        let event = server.receive(second(0), peer, log_in).unwrap();
        let ticket = event.unwrap().ticket().unwrap();
        let token = "00000000-0000-4000-8000-000000000001".into();
        server.handle_command(second(0), ServerCommand::Admit { ticket, token }).unwrap();
        for content in ["one", "two"] {
            let update = ServerMessage::Whisper { sender: "ann".into(), content: content.into() };
            server.handle_command(second(0), ServerCommand::Deliver { peer, update }).unwrap();
        }
        let received = |server: &mut Server, now: Instant| {
            server.advance(usize::MAX);
            let mut messages = 0;
            while server.poll_timeout().is_some_and(|at| at <= now) {
                if let Some(ServerEvent::Received { messages: more, .. }) = server.handle_timeout(now) {
                    messages += more;
                }
            }
            messages
        };
        assert_eq!(received(&mut server, second(3600)), 0, "{read}");
        let taken = if read { Input::Answered { peer } } else { Input::Written { peer } };
        server.handle_input(second(3600), taken).unwrap();
        // What has been read long ago has arrived; what has been written just now is on its way.
        assert_eq!(received(&mut server, second(3644)), usize::from(read));
        assert_eq!(received(&mut server, second(3646)), usize::from(!read));
        assert_eq!(received(&mut server, second(7200)), 0, "the second one still waits");
    }
}
