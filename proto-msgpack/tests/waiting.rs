//! Requests that wait for their turn, and what does not wait with them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use core::time::Duration;
use harness::{Harness, call, create, join, login, recording, register, whisper};
use voxwire_core::{FrameError, Framing as _, Input, Lane, Message, Output, PeerId, Progress, Session, Via};
use voxwire_msgpack::zmtp::{self, SocketType};
use voxwire_msgpack::{
    ClientCommand, ClientMessage, Code, Framing, Samples, ServerCommand, ServerSettings, Text, Violation,
    Wire,
};

/// F-25: live audio does not wait for what the application works on, and what is asked meanwhile is answered afterwards, in order.
#[test]
fn f_25_live_audio_goes_on_while_a_request_is_in_work_and_further_requests_wait_in_order() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    hall.office(|_, office, _| office.silent = true);
    hall.heard(ann);
    hall.heard(bob);
    hall.ask(ann, create("other"));
    let samples = [5; 10];
    hall.ask(ann, whisper("bob", "after it"));
    hall.ask(ann, ClientCommand::Say { samples: Samples::from(&samples[..]) });
    hall.ask(ann, call("room"));
    assert_eq!(hall.heard(bob), [r#"CallData { sender: "ann", samples: 10 Int samples }"#]);
    assert!(hall.heard(ann).is_empty(), "nothing is answered out of order");
    let ticket = hall.office(|_, office, _| office.asked.remove(0));
    hall.office(|server, _, now| server.handle_command(now, ServerCommand::Allow { ticket })).unwrap();
    hall.wait();
    assert_eq!(hall.heard(bob), [r#"Whisper { sender: "ann", content: "after it" }"#]);
    assert_eq!(
        hall.heard(ann),
        [
            "Response { action: CreateGroup, code: SUCCESS, again: false }",
            "Response { action: Whisper, code: SUCCESS, again: false }",
            r#"CallJoined { group_name: "room", again: false }"#
        ]
    );
}

/// F-25: requests over their rate wait, too, without the audio beside them.
#[test]
fn f_25_requests_over_their_rate_do_not_hold_live_audio_up() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    hall.heard(bob);
    hall.sim.with(ann, |client, _, now| {
        for _ in 0..60 {
            client.handle_command(now, whisper("cat", "x")).unwrap();
        }
    });
    hall.wait();
    hall.office(|_, office, _| office.silent = true);
    hall.sim.with(ann, |client, _, now| {
        for _ in 0..30 {
            client.handle_command(now, whisper("bob", "x")).unwrap();
        }
    });
    let samples = [5; 10];
    hall.ask(ann, ClientCommand::Say { samples: Samples::from(&samples[..]) });
    let heard = hall.heard(bob);
    assert!(heard.iter().any(|event| event.starts_with("CallData")), "{heard:?}");
    assert!(heard.len() < 31, "{}", heard.len());
    hall.sim.run_for(Duration::from_secs(3));
    assert_eq!(heard.len() + hall.heard(bob).len(), 31);
}

/// A client of which only frames are known.
fn open(hall: &mut Harness, slot: u32, address: impl Into<core::net::IpAddr>) -> PeerId {
    let (peer, address) = (PeerId { slot, generation: 7 }, address.into());
    hall.office(|server, _, now| {
        let from = Some((address, 4000).into());
        server.handle_input(now, Input::Opened { peer, via: Via::Accepted, from }).unwrap();
        drain(server);
    });
    peer
}

fn drain(server: &mut voxwire_msgpack::Server) -> Vec<String> {
    let shown = |output: Output<'_>| match output {
        Output::Send { frame, .. } => {
            let message = voxwire_msgpack::ServerMessage::decode(frame, &Wire::CLIENT).unwrap();
            format!("{message:?}")
        }
        Output::Pause { .. } => "pause".into(),
        Output::Resume { .. } => "resume".into(),
        other => format!("{other:?}"),
    };
    let outputs: Vec<String> = server.outputs().map(shown).collect();
    server.advance(usize::MAX);
    outputs
}

/// Hands frames in as a driver does, and returns what comes of it.
fn feed(hall: &mut Harness, peer: PeerId, bytes: &[u8]) -> Vec<String> {
    hall.office(|server, office, now| {
        let mut next = Some((peer, bytes.to_vec()));
        let mut outputs = Vec::new();
        loop {
            if let Some((peer, bytes)) = next.take() {
                match server.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &bytes }) {
                    Ok(Some(event)) => voxwire_core::Handler::on_event(office, server, now, event),
                    Ok(None) => {}
                    Err(violation) => outputs.push(violation.to_string()),
                }
            }
            outputs.extend(drain(server));
            while server.poll_timeout().is_some_and(|at| at <= now) {
                server.handle_timeout(now);
            }
            match server.take_deferred() {
                Some(deferred) => next = Some((deferred.peer, deferred.bytes)),
                None => {
                    // What was refused in its turn.
                    outputs.extend(drain(server));
                    return outputs;
                }
            }
        }
    })
}

fn request(message: &ClientMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&Wire::CLIENT, &mut bytes).unwrap();
    bytes
}

fn log_in() -> Vec<u8> {
    request(&ClientMessage::Login { username: "eve".into(), password: "x".into() })
}

/// F-25: a client that sends without end behind a slow request is not read any more, and heard again afterwards.
#[test]
fn f_25_a_flood_behind_a_slow_request_is_bounded_and_each_of_it_answered() {
    let mut hall = Harness::safe();
    hall.office(|_, office, _| office.silent = true);
    let peer = open(&mut hall, 9, [192, 0, 2, 1]);
    assert!(feed(&mut hall, peer, &log_in()).is_empty());
    let nonsense = b"\xa7request\xa3fly";
    for n in 1..16 {
        assert!(feed(&mut hall, peer, nonsense).is_empty(), "{n}");
    }
    assert_eq!(feed(&mut hall, peer, b"\xa7request\xa6logout\xa1a"), ["pause"]);
    // Updates that are none count, and do not wait.
    assert!(feed(&mut hall, peer, b"\xa6update\xa3fly")[0].contains("unknown name"));
    let ticket = hall.office(|_, office, _| office.asked.remove(0));
    let outputs = hall.office(|server, _, now| {
        let refuse = ServerCommand::Refuse { ticket, code: Code::USER_WRONG_PASSWORD };
        server.handle_command(now, refuse).unwrap();
        drain(server)
    });
    assert_eq!(outputs, [r#"Response { action: "login", code: USER_WRONG_PASSWORD }"#]);
    // Fifteen slips are forgiven, with the update sixteen are not.
    hall.wait();
    assert_eq!(hall.office(|server, _, _| server.peers()), 0);
}

/// F-25: what waits has a ceiling, of which one address has a part; beyond it a request is refused in its turn.
#[test]
fn f_25_large_requests_that_wait_have_a_ceiling() {
    let settings = ServerSettings { max_queued_request_bytes: 100_000, ..ServerSettings::DEFAULT };
    let mut hall = Harness::new(settings, harness::Office::discreet(), 1);
    hall.office(|_, office, _| office.silent = true);
    let frame = |len: usize| {
        let content = "x".repeat(len);
        request(&ClientMessage::Whisper {
            username: "eve".into(),
            token: "t".into(),
            recipient: "bob".into(),
            content: Text::from(&content[..]),
        })
    };
    let peers: Vec<PeerId> =
        (0..4).map(|n| open(&mut hall, 10 + n, [192, 0, 2, 1 + (n / 2) as u8])).collect();
    for peer in &peers {
        assert!(feed(&mut hall, *peer, &log_in()).is_empty());
    }
    // The first may have more than its address's part, as long as nobody else waits.
    assert!(feed(&mut hall, peers[0], &frame(60_000)).is_empty());
    assert!(feed(&mut hall, peers[1], &frame(30_000)).is_empty(), "kept, or refused in its turn");
    assert!(feed(&mut hall, peers[2], &frame(20_000)).is_empty());
    let tickets = hall.office(|_, office, _| core::mem::take(&mut office.asked));
    let mut answers = Vec::new();
    for ticket in tickets {
        let refuse = ServerCommand::Refuse { ticket, code: Code::USER_WRONG_PASSWORD };
        hall.office(|server, _, now| server.handle_command(now, refuse)).unwrap();
    }
    for peer in &peers {
        answers.push(feed(&mut hall, *peer, b"\xa6update\xa3fly").join(" "));
    }
    let all = answers.join("\n");
    assert_eq!(all.matches("REQUEST_OVER_LIMIT").count(), 1, "{all}");
    assert_eq!(all.matches(r#"action: "whisper", code: USER_NOT_CONNECTED"#).count(), 2, "{all}");
}

/// F-24: a request that is refused in its turn sets no timer that passes for an event, which a driver tells at once, also while timers
/// are excused.
#[test]
fn f_24_a_refused_request_is_no_event_and_the_next_has_its_turn_at_once() {
    let settings = ServerSettings { max_queued_request_bytes: 0, ..ServerSettings::DEFAULT };
    let mut hall = Harness::new(settings, harness::Office::discreet(), 1);
    hall.office(|_, office, _| office.silent = true);
    let peer = open(&mut hall, 9, [192, 0, 2, 1]);
    assert!(feed(&mut hall, peer, &log_in()).is_empty());
    let large = Text(&[b'x'; 5000]);
    for _ in 0..3 {
        let (username, token, recipient) = ("eve".into(), "t".into(), "bob".into());
        let whisper = ClientMessage::Whisper { username, token, recipient, content: large };
        assert!(feed(&mut hall, peer, &request(&whisper)).is_empty());
    }
    assert!(feed(&mut hall, peer, b"\xa7request\xa3fly").is_empty());
    let ticket = hall.office(|_, office, _| office.asked.remove(0));
    hall.office(|server, _, now| {
        let refuse = ServerCommand::Refuse { ticket, code: Code::USER_WRONG_PASSWORD };
        server.handle_command(now, refuse).unwrap();
        assert_eq!(server.poll_timeout(), Some(now), "a timer");
        assert!(server.handle_timeout(now).is_none());
        let last = server.take_deferred();
        assert_ne!(server.poll_timeout(), Some(voxwire_core::Instant::ZERO), "no event");
        assert_eq!(last.unwrap().bytes, b"\xa7request\xa3fly");
        let answers = drain(server).join("\n");
        assert_eq!(answers.matches(r#"action: "whisper", code: REQUEST_OVER_LIMIT"#).count(), 3, "{answers}");
    });
}

/// F-25: a request whose turn comes while the outbox is full waits until there is room; those behind it keep their turns.
#[test]
fn f_25_a_full_outbox_costs_no_request_its_turn() {
    let mut settings = ServerSettings::DEFAULT;
    settings.limits.max_outbox = 1700;
    let mut hall = Harness::new(settings, harness::Office::discreet(), 1);
    hall.office(|_, office, _| office.silent = true);
    let peer = open(&mut hall, 9, [192, 0, 2, 1]);
    feed(&mut hall, peer, &log_in());
    for _ in 0..12 {
        assert!(feed(&mut hall, peer, b"\xa7request\xa3fly").is_empty());
    }
    let ticket = hall.office(|_, office, _| office.asked.remove(0));
    let mut answers = 0;
    hall.office(|server, _, now| {
        let refuse = ServerCommand::Refuse { ticket, code: Code::USER_WRONG_PASSWORD };
        server.handle_command(now, refuse).unwrap();
        // Long enough for each to have its turn, at the rate of one connection.
        for second in 0..60 {
            let now = now.saturating_add(Duration::from_secs(second));
            while server.poll_timeout().is_some_and(|at| at <= now) {
                server.handle_timeout(now);
            }
            while let Some(deferred) = server.take_deferred() {
                let violation = server.handle_input(now, Input::from(&deferred)).unwrap_err();
                assert!(!matches!(violation, Violation::OutboxFull(_)), "{violation}");
                while server.poll_timeout().is_some_and(|at| at <= now) {
                    server.handle_timeout(now);
                }
            }
            answers += drain(server).iter().filter(|output| output.starts_with("Response")).count();
        }
    });
    assert_eq!(answers, 13);
}

/// F-25: a request that comes in while one before it waits for room does not bring that one's turn forward twice.
#[test]
fn f_25_a_turn_that_waits_for_room_is_one_turn() {
    let mut settings = ServerSettings::DEFAULT;
    settings.limits.max_outbox = 2200;
    let mut hall = Harness::new(settings, harness::Office::discreet(), 1);
    hall.office(|_, office, _| office.silent = true);
    let (peer, other) = (open(&mut hall, 9, [192, 0, 2, 1]), open(&mut hall, 10, [192, 0, 2, 2]));
    feed(&mut hall, peer, &log_in());
    let large =
        request(&ClientMessage::Register { username: "eve".into(), password: (&[b'x'; 250][..]).into() });
    assert!(feed(&mut hall, peer, &large).is_empty() && feed(&mut hall, peer, &large).is_empty());
    let ticket = hall.office(|_, office, _| office.asked.remove(0));
    hall.office(|server, _, now| {
        // The outbox has no room for what is large, and some for what is small.
        let nonsense = [&b"\xa7request\xa3fly"[..], &[0; 270]].concat();
        let small = log_in();
        let frame = |peer, bytes| Input::Frame { peer, lane: Lane::Reliable, bytes };
        while !matches!(server.handle_input(now, frame(other, &nonsense)), Err(Violation::OutboxFull(_))) {}
        let refuse = ServerCommand::Refuse { ticket, code: Code::USER_WRONG_PASSWORD };
        server.handle_command(now, refuse).unwrap();
        let timeouts = |server: &mut voxwire_msgpack::Server, now| {
            while server.poll_timeout().is_some_and(|at| at <= now) {
                server.handle_timeout(now);
            }
        };
        for second in 0..3 {
            let now = now.saturating_add(Duration::from_secs(second));
            timeouts(server, now);
            assert!(server.take_deferred().is_none(), "there is no room");
            assert_eq!(server.handle_input(now, frame(peer, &small)), Ok(None));
        }
        drain(server);
        let now = now.saturating_add(Duration::from_secs(3));
        timeouts(server, now);
        let deferred = server.take_deferred().unwrap();
        assert!(server.handle_input(now, Input::from(&deferred)).unwrap().is_some(), "it is in work");
        assert!(server.take_deferred().is_none(), "and the next one waits for it");
    });
}

/// F-25: what came in before the end of a stream is done, although nobody waits for the answers.
#[test]
fn f_25_what_was_sent_before_the_end_of_a_stream_is_done() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(bob, ClientCommand::Logout);
    hall.code(ann, create("room"));
    hall.code(bob, register("cat", "x"));
    hall.office(|_, office, _| office.silent = true);
    hall.office(|_, office, _| drop(office.log.take()));
    let link = hall.sim.link_between(ann, hall.server).unwrap();
    hall.ask(ann, whisper("bob", "one"));
    hall.ask(ann, whisper("bob", "two"));
    hall.ask(ann, join("room"));
    hall.ask(ann, recording("bob", &[1, 2, 3]));
    hall.ask(ann, login("bob", "geheim"));
    hall.ask(ann, call("room"));
    hall.sim.disconnect(link);
    hall.wait();
    let log = hall.office(|_, office, _| office.log.take());
    let keeping: Vec<&String> = log.iter().filter(|event| event.starts_with("Keeping")).collect();
    assert_eq!(keeping.len(), 3, "{log:?}");
    assert!(keeping[1].contains("two") && keeping[2].contains("VoiceMsg"), "{log:?}");
    assert!(
        !log.iter().any(|event| event.starts_with("LoggingIn") || event.starts_with("CallJoined")),
        "{log:?}"
    );
    assert_eq!(log.iter().filter(|event| event.starts_with("Gone")).count(), 1, "{log:?}");
    assert_eq!(hall.office(|server, _, _| server.online()), 0);
}

/// F-25: while a log-in is in work, what may only be sent behind it waits on the stream; commands before it are answered.
#[test]
fn f_25_a_large_message_right_behind_a_log_in_waits_for_the_answer() {
    let mut unit = Vec::new();
    zmtp::put_greeting(&mut unit);
    zmtp::put_ready(SocketType::Dealer, &mut unit);
    let (log_in, large) = (log_in(), vec![0xa1; 10_000]);
    for dialect in [true, false] {
        let mut bytes = if dialect { unit.clone() } else { Vec::new() };
        let whisper = [&b"\xa7request\xa7whisper\xa1a\xa1b\xa1c\xda\x27\x10"[..], &large].concat();
        for message in [&log_in, &whisper] {
            if dialect {
                zmtp::put_message_head(message.len(), &mut bytes);
            }
            bytes.extend(message);
        }
        for (max, fits) in [(512 * 1024, true), (4096, false)] {
            let (mut framing, mut at, mut cut) = (Framing::server(&Wire::SERVER), 0, Vec::new());
            while !framing.is_waiting() {
                match framing.next_frame(&bytes[at..]).unwrap() {
                    Progress::Skip(n) => at += n.get(),
                    Progress::Frame { header, body } => {
                        cut.push(body);
                        at += header + body;
                    }
                    Progress::NeedMore(_) => assert!(framing.is_waiting(), "at {at} of {}", bytes.len()),
                }
            }
            assert_eq!(cut, [log_in.len()]);
            framing.set_max(max);
            let next = framing.next_frame(&bytes[at..]);
            match fits {
                true => {
                    assert!(matches!(next, Ok(Progress::Frame { body, .. }) if body > 10_000), "{next:?}")
                }
                // In ZMTP a client that waits for an answer has it before the end.
                false if dialect => {
                    assert_eq!(next, Ok(Progress::Frame { header: 9, body: 0 }));
                    let next = framing.next_frame(&bytes[at + 9..]);
                    assert!(matches!(next, Err(FrameError::TooLarge { max: 4096, .. })), "{next:?}");
                }
                false => assert!(matches!(next, Err(FrameError::TooLarge { max: 4096, .. })), "{next:?}"),
            }
        }
    }
    // And the session says so, for each outcome.
    let mut hall = Harness::safe();
    hall.office(|_, office, _| office.silent = true);
    let peer = open(&mut hall, 9, [192, 0, 2, 1]);
    feed(&mut hall, peer, &log_in);
    feed(&mut hall, peer, &log_in);
    for limits in [0, 1] {
        let ticket = hall.office(|_, office, _| office.asked.remove(0));
        let refuse = ServerCommand::Refuse { ticket, code: Code::USER_WRONG_PASSWORD };
        let outputs = hall.office(|server, _, now| {
            server.handle_command(now, refuse).unwrap();
            drain(server)
        });
        feed(&mut hall, peer, b"\xa6update\xa3fly");
        let told = outputs.iter().filter(|output| output.starts_with("Limit")).count();
        assert_eq!(told, limits, "{outputs:?}");
    }
}

/// Loopback and a proxy, of IPv6, with a neighbour of the proxy's in its /64 that is nobody's proxy.
fn many() -> [(core::net::IpAddr, bool); 3] {
    [("::1", true), ("2001:db8::1", true), ("2001:db8::2", false)]
        .map(|(address, many)| (address.parse().unwrap(), many))
}

/// F-06, F-08: senders on `::1`, or behind an IPv6 proxy, do not share one part of what a recipient takes.
#[test]
fn f_06_senders_behind_an_ipv6_address_that_stands_for_many_have_a_part_each() {
    for (address, many) in many() {
        let messages = voxwire_core::Rate { per_second: 100, burst: 4000 };
        let mut hall = Harness::new(
            ServerSettings { messages, ..ServerSettings::DEFAULT },
            harness::Office::discreet(),
            1,
        );
        hall.office(|server, _, _| server.exempt(&["2001:db8::1".parse().unwrap()]));
        hall.user("bob");
        let content = "x".repeat(1400);
        let codes = ["ann", "cat"].map(|name| {
            hall.office(|_, office, _| drop(office.accounts.insert(name.into(), b"x".to_vec())));
            let peer = open(&mut hall, if name == "ann" { 10 } else { 11 }, address);
            let message = ClientMessage::Login { username: name.into(), password: "x".into() };
            feed(&mut hall, peer, &request(&message));
            let token = if name == "ann" { 2 } else { 3 };
            let token = format!("00000000-0000-4000-8000-{token:012}");
            let (username, token) = (name.into(), token.as_str().into());
            let content = Text::from(&content[..]);
            let whisper = ClientMessage::Whisper { username, token, recipient: "bob".into(), content };
            let outputs = feed(&mut hall, peer, &request(&whisper)).join(" ");
            outputs.split_once("code: ").unwrap().1.trim_end_matches(" }").to_owned()
        });
        let second = if many { "SUCCESS" } else { "REQUEST_OVER_LIMIT" };
        assert_eq!(codes, ["SUCCESS", second], "{address}");
    }
}

/// F-06: requests from `::1`, or from behind an IPv6 proxy, do not share one part of what may wait; and what those behind a proxy take
/// back is not taken from the account of its neighbours in the /64.
#[test]
fn f_06_requests_behind_an_ipv6_address_that_stands_for_many_wait_beside_each_other() {
    let frame = |len: usize| {
        let content = "x".repeat(len);
        request(&ClientMessage::Whisper {
            username: "eve".into(),
            token: "t".into(),
            recipient: "bob".into(),
            content: Text::from(&content[..]),
        })
    };
    let new = || {
        let settings = ServerSettings { max_queued_request_bytes: 100_000, ..ServerSettings::DEFAULT };
        let mut hall = Harness::new(settings, harness::Office::discreet(), 1);
        hall.office(|server, office, _| {
            office.silent = true;
            server.exempt(&["2001:db8::1".parse().unwrap()]);
        });
        hall
    };
    // Has these wait, of each connection so many bytes, and returns how many were refused.
    fn refused(hall: &mut Harness, peers: &[PeerId]) -> usize {
        let tickets = hall.office(|_, office, _| core::mem::take(&mut office.asked));
        for ticket in tickets {
            let refuse = ServerCommand::Refuse { ticket, code: Code::USER_WRONG_PASSWORD };
            // One may have gone.
            let _ = hall.office(|server, _, now| server.handle_command(now, refuse));
        }
        let answers = peers.iter().map(|peer| feed(hall, *peer, b"\xa6update\xa3fly").join(" "));
        answers.collect::<String>().matches("REQUEST_OVER_LIMIT").count()
    }
    for (address, many) in many() {
        let mut hall = new();
        let peers: Vec<PeerId> = (0..2).map(|n| open(&mut hall, 10 + n, address)).collect();
        for peer in &peers {
            feed(&mut hall, *peer, &log_in());
            feed(&mut hall, *peer, &frame(30_000));
        }
        assert_eq!(refused(&mut hall, &peers), usize::from(!many), "{address}");
    }
    // Those behind the proxy come and go; the part of its neighbours is what it was.
    let mut hall = new();
    let [(_, _), (proxy, _), (neighbour, _)] = many();
    let other = open(&mut hall, 10, [192, 0, 2, 1]);
    let first = open(&mut hall, 11, neighbour);
    for peer in [other, first] {
        feed(&mut hall, peer, &log_in());
        feed(&mut hall, peer, &frame(20_000));
    }
    let behind = open(&mut hall, 12, proxy);
    feed(&mut hall, behind, &log_in());
    feed(&mut hall, behind, &frame(30_000));
    hall.office(|server, _, now| drop(server.handle_input(now, Input::Closed { peer: behind })));
    feed(&mut hall, other, b"\xa6update\xa3fly");
    let second = open(&mut hall, 13, neighbour);
    feed(&mut hall, second, &log_in());
    feed(&mut hall, second, &frame(20_000));
    assert_eq!(refused(&mut hall, &[other, first, second]), 1);
}

/// A whisper of bob's to ann, who is away, with the token of his first log-in.
fn to_ann() -> Vec<u8> {
    request(&ClientMessage::Whisper {
        username: "bob".into(),
        token: "00000000-0000-4000-8000-000000000001".into(),
        recipient: "ann".into(),
        content: "x".into(),
    })
}

/// The stream of a raw client ends behind `frames`, all of which have come in at once.
fn come_and_go(hall: &mut Harness, slot: u32, frames: &[Vec<u8>]) {
    let peer = open(hall, slot, [192, 0, 2, 1]);
    hall.office(|server, office, now| {
        for bytes in frames {
            let input = Input::Frame { peer, lane: Lane::Reliable, bytes };
            if let Ok(Some(event)) = server.handle_input(now, input) {
                voxwire_core::Handler::on_event(office, server, now, event);
            }
            drain(server);
        }
        let _ = server.handle_input(now, Input::Closed { peer });
        // Nobody waits for these answers.
        office.silent = true;
        loop {
            drain(server);
            while server.poll_timeout().is_some_and(|at| at <= now) {
                if let Some(event) = server.handle_timeout(now) {
                    voxwire_core::Handler::on_event(office, server, now, event);
                }
            }
            let Some(deferred) = server.take_deferred() else { break };
            if let Ok(Some(event)) = server.handle_input(now, Input::from(&deferred)) {
                voxwire_core::Handler::on_event(office, server, now, event);
            }
        }
        office.silent = false;
    });
}

fn events(hall: &mut Harness, kind: &str) -> usize {
    let log = hall.office(|_, office, _| office.log.take());
    log.iter().filter(|event| event.starts_with(kind)).count()
}

fn with_accounts(settings: ServerSettings) -> Harness {
    let mut hall = Harness::new(settings, harness::Office::discreet(), 1);
    hall.office(|_, office, _| {
        office.accounts.extend([b"ann", b"bob"].map(|name| (name.to_vec(), b"x".to_vec())));
    });
    hall
}

fn log_in_of_bob() -> Vec<u8> {
    request(&ClientMessage::Login { username: "bob".into(), password: "x".into() })
}

/// F-25: a client that connects anew for every few requests, and takes its log-in up with the first, is no faster than one that stays.
#[test]
fn f_25_reconnecting_does_not_evade_the_rate_of_requests() {
    let mut hall = with_accounts(ServerSettings::DEFAULT);
    come_and_go(&mut hall, 10, &[log_in_of_bob()]);
    for round in 0..20 {
        come_and_go(&mut hall, 11 + round, &vec![to_ann(); 17]);
    }
    // 80 at once, one of each connection, and what may be left behind.
    let kept = events(&mut hall, "Keeping");
    assert!((80..=80 + 20 + 21).contains(&kept), "{kept}");
    // And it is served again at its rate.
    hall.sim.run_for(Duration::from_secs(20));
    come_and_go(&mut hall, 50, &vec![to_ann(); 17]);
    assert_eq!(events(&mut hall, "Keeping"), 17);
}

/// F-25: what an honest line sends before it ends is done, also where its rate is just used up.
#[test]
fn f_25_a_burst_before_the_end_of_a_stream_is_done() {
    let mut hall = with_accounts(ServerSettings::DEFAULT);
    let mut frames = vec![log_in_of_bob()];
    frames.extend(vec![to_ann(); 95]);
    come_and_go(&mut hall, 10, &frames);
    assert_eq!(events(&mut hall, "Keeping"), 95);
}

/// F-25, M-08: each log-in that is taken up has the application look for kept messages; how often it may be outlives connections.
#[test]
fn m_08_a_user_takes_log_ins_up_at_a_rate() {
    let mut hall = with_accounts(ServerSettings::DEFAULT);
    come_and_go(&mut hall, 10, &[log_in_of_bob()]);
    for round in 0..40 {
        come_and_go(&mut hall, 11 + round, &[to_ann()]);
    }
    assert_eq!(events(&mut hall, "Resumed"), 32);
    hall.sim.run_for(Duration::from_secs(5));
    for round in 0..5 {
        come_and_go(&mut hall, 61 + round, &[to_ann()]);
    }
    assert_eq!(events(&mut hall, "Resumed"), 1);
}

/// M-08: an application asks whether messages can be delivered before it reads them.
#[test]
fn m_08_messages_can_be_delivered_to_whom_is_there_and_takes_them() {
    let mut hall = with_accounts(ServerSettings::DEFAULT);
    let may = |hall: &mut Harness, peer, name: &str| {
        hall.office(|server, _, _| server.may_deliver(peer, name.as_bytes()))
    };
    let peer = open(&mut hall, 10, [192, 0, 2, 1]);
    assert!(!may(&mut hall, peer, "bob"), "a stranger");
    hall.office(|_, office, _| office.silent = true);
    feed(&mut hall, peer, &log_in_of_bob());
    assert!(may(&mut hall, peer, "bob") && !may(&mut hall, peer, "ann"), "logging in");
    let ticket = hall.office(|_, office, _| office.asked.remove(0));
    let token = "00000000-0000-4000-8000-000000000001".into();
    hall.office(|server, _, now| server.handle_command(now, ServerCommand::Admit { ticket, token })).unwrap();
    assert!(may(&mut hall, peer, "bob") && !may(&mut hall, peer, "ann"));
    hall.office(|server, _, now| drop(server.handle_input(now, Input::AnswersOnly { peer })));
    assert!(!may(&mut hall, peer, "bob"), "for requests alone");
    hall.office(|server, _, now| drop(server.handle_input(now, Input::Closed { peer })));
    assert!(!may(&mut hall, peer, "bob"), "gone");
}
