//! What attackers do: each is answered or cut off, nobody else notices, and memory stays where it was.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use core::time::Duration;
use harness::{Harness, Seat, digest};
use voxwire_core::testing::{Rng, frames};
use voxwire_core::{
    FrameError, Framing as _, Handler, Input, Instant, Lane, Message, Output, PeerId, Progress, Session, Via,
};
use voxwire_msgpack::zmtp::{self, SocketType};
use voxwire_msgpack::{
    Client, ClientCommand, ClientMessage, ClientSettings, Code, Dialect, Framing, MAX_BEFORE_LOGIN, Samples,
    Server, ServerMessage, ServerSettings, Wire,
};

/// Two in a call, and what one hears of the other.
struct Talk {
    hall: Harness,
    ann: Seat,
    bob: Seat,
}

impl Talk {
    fn new() -> Self {
        let mut hall = Harness::safe();
        let (ann, bob) = (hall.user("ann"), hall.user("bob"));
        hall.code(ann, ClientCommand::CreateGroup { group_name: "room".into() });
        hall.code(bob, ClientCommand::JoinGroup { group_name: "room".into() });
        for seat in [ann, bob] {
            hall.code(seat, ClientCommand::JoinCall { group_name: "room".into() });
        }
        hall.heard(ann);
        hall.heard(bob);
        Self { hall, ann, bob }
    }

    /// They still hear each other.
    fn goes_on(&mut self, after: &str) {
        let samples = [300_i16; 960];
        for (from, to, name) in [(self.ann, self.bob, "ann"), (self.bob, self.ann, "bob")] {
            self.hall.ask(from, ClientCommand::Say { samples: Samples::from(&samples[..]) });
            let said = format!(r#"CallData {{ sender: "{name}", samples: 960 Int samples }}"#);
            assert_eq!(self.hall.heard(to), [said], "after {after}");
        }
    }
}

/// A peer of which only bytes are known.
struct Stranger {
    peer: PeerId,
    framing: Framing,
}

impl Stranger {
    fn arrive(talk: &mut Talk, slot: u32) -> Self {
        let peer = PeerId { slot, generation: 7 };
        let framing = talk.hall.office(|server, office, now| {
            let from = Some(([10, 9, 0, 1], 4000).into());
            let event = server.handle_input(now, Input::Opened { peer, via: Via::Accepted, from }).unwrap();
            office.on_event(server, now, event.unwrap());
            drain(server);
            server.framing()
        });
        Self { peer, framing }
    }

    /// Sends bytes as a driver hands them on. Returns what came back, and whether the connection was closed.
    fn say(&self, talk: &mut Talk, bytes: &[u8]) -> (Vec<u8>, bool) {
        let peer = self.peer;
        let (cut, error, mut back) = frames(self.framing.clone(), bytes, || 1400);
        let mut closed = error.is_some();
        for frame in cut {
            talk.hall.office(|server, office, now| {
                match server.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &frame }) {
                    Ok(Some(event)) => office.on_event(server, now, event),
                    Ok(None) => {}
                    Err(violation) => office.on_violation(now, peer, violation),
                }
                for output in server.outputs() {
                    match output {
                        Output::Send { to, frame, .. } if to == peer => back.extend(frame),
                        Output::Close { peer: closing } if closing == peer => closed = true,
                        _ => {}
                    }
                }
                drain(server);
            });
        }
        (back, closed)
    }

    fn leave(self, talk: &mut Talk) {
        let peer = self.peer;
        talk.hall.office(|server, _, now| {
            let _ = server.handle_input(now, Input::Closed { peer });
            drain(server);
        });
    }
}

fn drain(server: &mut Server) {
    let count = server.outputs().count();
    server.advance(count);
}

fn greeted() -> Vec<u8> {
    let mut bytes = Vec::new();
    zmtp::put_greeting(&mut bytes);
    zmtp::put_ready(SocketType::Dealer, &mut bytes);
    bytes
}

fn unit(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    zmtp::put_message_head(body.len(), &mut bytes);
    bytes.extend(body);
    bytes
}

/// What a request that cannot be read is answered with.
fn invalid(action: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let message = ServerMessage::Response { action: action.into(), code: Code::REQUEST_INVALID };
    message.encode(&Wire::CLIENT, &mut bytes).unwrap();
    bytes
}

/// Bodies that are no messages, and what they are answered with.
fn bad_bodies() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let text = |head: &[u8], rest: &[u8]| [head, rest].concat();
    let voice: &[u8] = b"\xa7request\xa9voice_msg\xa1a\xa1b\xa1c";
    let data: &[u8] = b"\xa6update\xa9call_data\xa1a\xa1b\xa1c";
    vec![
        ("nothing", Vec::new(), Some("")),
        ("an unknown action", b"\xa7request\xa3fly\x01".to_vec(), Some("fly")),
        ("an unknown type", b"\xa7foolish\xa3fly\x01".to_vec(), Some("foolish")),
        ("an array around the request", b"\x93\xa7request\xa5login\xa1a".to_vec(), Some("")),
        ("an unknown update", b"\xa6update\xa8whatever\xa1a".to_vec(), None),
        ("a number for a name", b"\xa7request\xa5login\x05\xa1a".to_vec(), Some("login")),
        ("nil for a name", b"\xa7request\xa5login\xc0\xa1a".to_vec(), Some("login")),
        ("a reserved byte", b"\xa7request\xa5login\xa1a\xc1".to_vec(), Some("login")),
        ("a map", b"\xa7request\xa5login\x81\x01\x02".to_vec(), Some("login")),
        ("an extension", b"\xa7request\xa5login\xc7\x01\x05\x00".to_vec(), Some("login")),
        ("a fixed extension", b"\xa7request\xa5login\xd8\x01".to_vec(), Some("login")),
        ("a missing password", b"\xa7request\xa5login\xa1a".to_vec(), Some("login")),
        ("a name of 4 GiB", b"\xa7request\xa5login\xdb\xff\xff\xff\xff".to_vec(), Some("login")),
        ("negative channels", text(voice, b"\xff\xcd\xac\x44\x90"), Some("voice_msg")),
        ("a rate of words", text(voice, b"\x01\xa2ab\x90"), Some("voice_msg")),
        ("samples in bin", text(voice, b"\x01\xcd\xac\x44\xc4\x02\x00\x00"), Some("voice_msg")),
        ("a sample of 40000", text(voice, b"\x01\xcd\xac\x44\x91\xcd\x9c\x40"), Some("voice_msg")),
        ("2^32-1 samples", text(voice, b"\x01\xcd\xac\x44\xdd\xff\xff\xff\xff"), Some("voice_msg")),
        ("a float", text(voice, b"\x01\xcd\xac\x44\x91\xca\x7f\xc0\x00\x00"), Some("voice_msg")),
        ("a nested list", text(voice, b"\x01\xcd\xac\x44\x91\x91\x01"), Some("voice_msg")),
        ("a float in an update", text(data, b"\x91\xca\x7f\xc0\x00\x00"), None),
        ("a call_data request", b"\xa7request\xa9call_data\xa1a\xa1b\xa1c\x90".to_vec(), Some("call_data")),
    ]
}

#[test]
fn m_06_m_11_m_12_malformed_requests_get_one_response_each_and_updates_none() {
    let mut talk = Talk::new();
    for (at, (what, body, action)) in bad_bodies().into_iter().enumerate() {
        let stranger = Stranger::arrive(&mut talk, 1000 + at as u32);
        let (back, closed) =
            stranger.say(&mut talk, &[greeted(), unit(&body), unit(b"\xa7request\xa6logout\xa1a")].concat());
        let answer = action.map_or_else(Vec::new, invalid);
        // And the next one is heard: here nobody is logged in.
        let next = b"\xa8response\xa6logout\xcd\x01\x00".to_vec();
        assert!(back.ends_with(&[answer, next].concat()), "{what}: {back:02x?}");
        assert_eq!(
            back.iter().filter(|byte| **byte == 0xa8).count(),
            1 + usize::from(action.is_some()),
            "{what}"
        );
        assert!(!closed, "{what}");
        talk.goes_on(what);
        stranger.leave(&mut talk);
    }
}

#[test]
fn m_09_m_12_in_plain_objects_what_cannot_be_read_is_answered_and_then_the_connection_is_over() {
    let mut talk = Talk::new();
    for (at, (what, body, action)) in bad_bodies().into_iter().enumerate() {
        let stranger = Stranger::arrive(&mut talk, 1000 + at as u32);
        let (back, closed) = stranger.say(&mut talk, &body);
        // What is cut short may still go on, so it waits: the driver's time is limited.
        if ["nothing", "a missing password"].contains(&what) {
            assert!(!closed && back.is_empty(), "{what}");
            continue;
        }
        if ["a name of 4 GiB", "2^32-1 samples"].contains(&what) {
            assert!(closed && back.is_empty(), "{what}");
            continue;
        }
        assert_eq!(back, action.map_or_else(Vec::new, invalid), "{what}");
        let (more, closed_now) =
            stranger.say(&mut talk, &[&body[..], b"\xa7request\xa6logout\xa1a"].concat());
        assert!(closed_now || closed, "{what}: {more:?}");
        talk.goes_on(what);
        stranger.leave(&mut talk);
    }
}

#[test]
fn m_11_messages_of_several_frames_cost_their_sender_that_message_alone() {
    let mut talk = Talk::new();
    let logout = b"\xa7request\xa6logout\xa1a";
    let answer = b"\xa8response\xa6logout\xcd\x01\x00";
    let more = |body: &[u8]| [&[1, body.len() as u8], body].concat();
    let cases: [(&str, Vec<u8>); 4] = [
        ("two empty frames in front", [more(b""), more(b""), unit(logout)].concat()),
        ("a frame behind", [more(logout), unit(b"x")].concat()),
        ("three", [more(b"abc"), more(logout), unit(b"")].concat()),
        ("a long last one", [more(b"x"), unit(&[0xa1; 3000])].concat()),
    ];
    for (at, (what, parts)) in cases.into_iter().enumerate() {
        let stranger = Stranger::arrive(&mut talk, 1000 + at as u32);
        let (back, closed) = stranger.say(&mut talk, &[greeted(), parts, unit(logout)].concat());
        assert!(back.ends_with(&[invalid(""), answer.to_vec()].concat()), "{what}: {back:02x?}");
        assert!(!closed, "{what}");
        talk.goes_on(what);
    }
    // Without end it is too large a message.
    let stranger = Stranger::arrive(&mut talk, 2000);
    let (_, closed) = stranger.say(&mut talk, &[greeted(), more(&[7; 200]).repeat(30)].concat());
    assert!(closed);
    talk.goes_on("frames without end");
}

#[test]
fn m_09_m_11_greetings_and_commands_that_are_none() {
    let greeting = &greeted()[..64];
    let with = |at: usize, byte: u8| {
        let mut bytes = greeting.to_vec();
        bytes[at] = byte;
        bytes
    };
    let ready = |socket: &[u8]| {
        let mut body = b"\x05READY\x0bSocket-Type\0\0\0".to_vec();
        body.push(socket.len() as u8);
        body.extend(socket);
        [&[4, body.len() as u8][..], &body].concat()
    };
    let mechanism = |name: &[u8]| [&greeting[..12], name, &greeting[12 + name.len()..]].concat();
    for (what, bytes, expected) in [
        ("version 2 with a PAIR socket", with(10, 1), "socket type 3 (REQ), 5 (DEALER) or 6 (ROUTER)"),
        ("PLAIN", mechanism(b"PLAIN\0"), "the mechanism NULL; the peer asked for PLAIN"),
        ("CURVE", mechanism(b"CURVE\0"), "the mechanism NULL; the peer asked for CURVE"),
        ("another", mechanism(b"CURVED"), "the mechanism NULL; the peer asked for one that is not known"),
        ("no signature", [&[0xff][..], &[0; 63]].concat(), "a length of ZMTP 1.0, which counts the flags"),
        ("a message first", [greeting, &unit(b"x")].concat(), "READY before any message"),
        ("another command first", [greeting, b"\x04\x05\x04PING"].concat(), "READY as the first command"),
        ("a PUB socket", [greeting, &ready(b"PUB")].concat(), "READY with Socket-Type DEALER, REQ or ROUTER"),
        (
            "no socket",
            [greeting, b"\x04\x06\x05READY"].concat(),
            "READY with Socket-Type DEALER, REQ or ROUTER",
        ),
        ("ERROR", [greeting, b"\x04\x08\x05ERROR\x01x"].concat(), "no ERROR from the peer"),
        ("flags", [&greeted()[..], &[0x10, 0]].concat(), "flags of ZMTP: 00 to 04, or 06"),
        ("a command with more to come", [&greeted()[..], &[5, 0]].concat(), "flags of ZMTP: 00 to 04, or 06"),
        ("a command without a name", [&greeted()[..], &[4, 0]].concat(), "a command with a name"),
    ] {
        let (got, error, pending) = frames(Framing::server(&Wire::SERVER), &bytes, || 9);
        assert_eq!(error, Some(FrameError::Handshake(expected)), "{what}");
        assert!(got.is_empty(), "{what}");
        if what == "a PUB socket" {
            assert!(pending.ends_with(b"\x05ERROR\x13Invalid socket type"), "the peer hears why");
        }
    }
    // Other properties, longer forms, a later minor version and an Identity are taken.
    let mut body = b"\x05READY\x08Identity\0\0\0\x03bob\x0bsocket-type\0\0\0\x03REQ\x01X\0\0\0\0".to_vec();
    let mut long = vec![6];
    long.extend((body.len() as u64).to_be_bytes());
    long.append(&mut body);
    let bytes = [with(11, 1), long, unit(b"x")].concat();
    let (got, error, _) = frames(Framing::server(&Wire::SERVER), &bytes, || 1);
    assert_eq!((got, error), (vec![b"x".to_vec()], None));
    // Half a greeting waits, and says so.
    let mut framing = Framing::server(&Wire::SERVER);
    assert_eq!(framing.next_frame(&greeting[..9]), Ok(Progress::need(1)));
    assert!(!framing.is_ready());
    assert_eq!(framing.next_frame(&greeting[..10]), Ok(Progress::Skip(10.try_into().unwrap())));
    assert_eq!(framing.next_frame(&greeting[10..11]), Ok(Progress::Skip(1.try_into().unwrap())));
    assert_eq!(framing.next_frame(&greeting[11..30]), Ok(Progress::need(34)));
    assert!(!framing.is_ready());
}

#[test]
fn m_09_pings_are_answered_with_their_context_and_unknown_commands_are_not() {
    let ping = |context: &[u8]| {
        let mut bytes = vec![4, 7 + context.len() as u8];
        bytes.extend(b"\x04PING\x00\x64");
        bytes.extend(context);
        bytes
    };
    let bytes = [
        greeted(),
        ping(b""),
        ping(b"0123456789abcdef"),
        b"\x04\x0a\x09SUBSCRIBE".to_vec(),
        b"\x04\x05\x04PONG".to_vec(),
        unit(b"x"),
    ]
    .concat();
    let (got, error, pending) = frames(Framing::server(&Wire::SERVER), &bytes, || 3);
    assert_eq!((got, error), (vec![b"x".to_vec()], None));
    assert_eq!(&pending[64 + 43..], b"\x04\x05\x04PONG\x04\x15\x04PONG0123456789abcdef");
    // A client that takes no answers gets no more of them.
    let flood: Vec<u8> = (0..1000).flat_map(|_| ping(b"0123456789abcdef")).collect();
    let mut framing = Framing::server(&Wire::SERVER);
    let mut unread = &[greeted(), flood].concat()[..];
    while let Ok(Progress::Skip(n)) = framing.next_frame(unread) {
        unread = &unread[n.get()..];
    }
    assert!(unread.is_empty());
    let mut pending = Vec::new();
    assert!(framing.take_pending(&mut pending) < 1200, "{}", pending.len());
    // A context that is longer than it may be comes back as long as it may be.
    let (_, _, pending) = frames(Framing::server(&Wire::SERVER), &[greeted(), ping(&[7; 40])].concat(), || 3);
    assert_eq!(pending.len(), 64 + 43 + 2 + 5 + 16);
}

#[test]
fn m_11_m_12_a_message_that_is_too_large_is_refused_by_itself_once_its_sender_is_logged_in() {
    for head in [&b"\xa7request\xa7whisper"[..], b"\xa6update\xa9call_data", b"\x91\xa7request"] {
        for len in [512 * 1024 + 1, 700_000, 17 << 20] {
            let mut bytes = [&greeted()[..], &[2], &(len as u64).to_be_bytes(), head].concat();
            bytes.resize(bytes.len() - head.len() + len, 0xee);
            bytes.extend(unit(b"next"));
            let mut framing = Framing::server(&Wire::SERVER);
            framing.set_max(512 * 1024);
            let (got, error, _) = frames(framing, &bytes, || 50_000);
            // Updates are never answered.
            let refused = if head.starts_with(b"\xa6update") { vec![] } else { vec![Vec::new()] };
            assert_eq!((got, error), ([refused, vec![b"next".to_vec()]].concat(), None), "{len}");
        }
    }
    // Nothing is asked for that would have memory set aside.
    let mut framing = Framing::server(&Wire::SERVER);
    framing.set_max(512 * 1024);
    let bytes = [&greeted()[..], &[2], &1_000_000_u64.to_be_bytes(), b"\xa6update\xa9call_data"].concat();
    let mut at = 0;
    loop {
        match framing.next_frame(&bytes[at..]).unwrap() {
            Progress::Skip(n) => at += n.get(),
            Progress::Frame { header, body } => at += header + body,
            Progress::NeedMore(needed) => {
                assert!(needed.get() <= 16 * 1024, "{needed}");
                break;
            }
        }
    }
    assert_eq!(at, bytes.len());
}

#[test]
fn m_06_what_is_of_the_wrong_type_is_not_taken_for_missing_because_more_was_announced() {
    let bytes = b"\xa7request\xa9voice_msg\xa3ann\xa1t\xa3bob\x01\xcd\x03\xe8\xdc\x03\xe8\x05\xa1x";
    for wire in [Wire::SERVER, Wire::ORIGINAL] {
        let error = ClientMessage::decode(bytes, &wire).unwrap_err();
        assert_eq!((error.field, error.offset), ("samples", bytes.len() - 2), "{error}");
    }
    assert!(ClientMessage::decode(&bytes[..bytes.len() - 2], &Wire::ORIGINAL).is_ok());
}

#[test]
fn m_11_lengths_are_refused_before_anything_is_buffered() {
    let long = |len: u64| [&greeted()[..], &[2], &len.to_be_bytes()].concat();
    let error = |bytes: &[u8], max: Option<usize>| {
        let mut framing = Framing::server(&Wire::SERVER);
        if let Some(max) = max {
            framing.set_max(max);
        }
        frames(framing, bytes, || 64).1
    };
    for len in [MAX_BEFORE_LOGIN as u64 + 1, 1 << 20, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(error(&long(len), None), Some(FrameError::TooLarge { len, max: 4096 }));
    }
    assert_eq!(error(&long(4096), None), None);
    // Logged in, a recording may be longer than anything else, as soon as it shows that it is one.
    let all = Some(512 * 1024);
    let voice = |len: u64, head: &[u8]| [&long(len)[..], head].concat();
    assert_eq!(error(&voice(512 * 1024, b""), all), None);
    assert_eq!(error(&voice(16 << 20, b"\xa7request\xa9voi"), all), None);
    assert_eq!(error(&voice(16 << 20, b"\xc4\x07request\xdb\0\0\0\x09voice_msg"), all), None);
    let too_large = |len: u64, max| Some(FrameError::TooLarge { len, max });
    let more = (16 << 20) + 1;
    // More than that is passed over as it comes in, however much: its sender pays for it.
    assert_eq!(error(&voice(more, b"\xa7request\xa9voice_msg"), all), None);
    assert_eq!(error(&voice(u64::MAX, b"\xa7request\xa9voice_msg"), all), None);
    // A client that may come back in the middle of a call has no recording to send.
    let guest = Some(400 * 1024);
    assert_eq!(error(&voice(400 * 1024, b"\xa6update"), guest), None);
    assert_eq!(error(&voice(more, b"\xa7request\xa9voice_msg"), guest), None);
    // A command has little to say, ever.
    let command = [&greeted()[..], &[6], &1025_u64.to_be_bytes()].concat();
    assert_eq!(error(&command, all), too_large(1025, 1024));
    // The same in plain objects, where lengths are those of the objects.
    for (bytes, max) in [
        (&b"\xa7request\xa5login\xdb\xff\xff\xff\xff"[..], 4096),
        (b"\xa7request\xa5login\xda\x20\x00", 4096),
        (b"\xdb\x7f\xff\xff\xff", 4096),
        (b"\xa6update\xa9call_data\xa1a\xa1b\xa1c\xdd\xff\xff\xff\xff", 4096),
    ] {
        assert!(matches!(error(bytes, None), Some(FrameError::TooLarge { max: at, .. }) if at == max));
    }
    let endless = b"\xa7request\xa9voice_msg\xa1a\xa1b\xa1c\x01\x01\xdd\xff\xff\xff\xff";
    assert_eq!(error(endless, all), None, "passed over as it comes in");
    assert_eq!(error(endless, None), too_large(u64::from(u32::MAX) + 31, 4096));
}

#[test]
fn m_11_a_mebibyte_of_nested_arrays_is_looked_at_once() {
    let bomb = vec![0x91; 1 << 20];
    for body in [bomb.clone(), [&b"\xa6update\xa9call_data\xa1a\xa1b\xa1c"[..], &bomb].concat()] {
        for wire in [Wire::SERVER, Wire::CLIENT, Wire::ORIGINAL] {
            assert!(ClientMessage::decode(&body, &wire).is_err());
            assert!(ServerMessage::decode(&body, &wire).is_err());
        }
    }
    let mut talk = Talk::new();
    let stranger = Stranger::arrive(&mut talk, 1000);
    assert!(stranger.say(&mut talk, &bomb).1);
    talk.goes_on("a nesting bomb");
    let mut logged_in = Framing::server(&Wire::SERVER);
    logged_in.set_max(16 << 20);
    let (cut, error, _) = frames(logged_in, &bomb, || 1400);
    assert_eq!((cut.len(), cut[0].len()), (1, 1), "no more of it is looked at");
    assert!(error.is_some());
}

#[test]
fn m_11_random_bytes_and_changed_conversations_harm_nobody() {
    let mut talk = Talk::new();
    let mut rng = Rng::new(7);
    let sane = [
        greeted(),
        unit(b"\xa7request\xa8register\xa3eve\xa1x"),
        unit(b"\xa7request\xa5login\xa3eve\xa1x"),
        unit(b"\xa7request\xaccreate_group\xa3eve\xa1x\xa1g"),
    ]
    .concat();
    for round in 0..400 {
        let stranger = Stranger::arrive(&mut talk, 1000 + round);
        let bytes: Vec<u8> = if round % 2 == 0 {
            (0..rng.below(300)).map(|_| rng.below(256) as u8).collect()
        } else {
            let mut bytes = sane.clone();
            for _ in 0..=rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.below(256) as u8;
            }
            bytes
        };
        stranger.say(&mut talk, &bytes);
        if round % 40 == 0 {
            talk.goes_on("noise");
        }
        stranger.leave(&mut talk);
    }
    talk.goes_on("noise");
}

#[test]
fn m_11_a_client_that_goes_on_sending_nonsense_is_cut_off_and_may_have_slips() {
    let mut talk = Talk::new();
    let stranger = Stranger::arrive(&mut talk, 1000);
    let nonsense = unit(b"\xa7request\xa3fly");
    assert!(!stranger.say(&mut talk, &[greeted(), nonsense.repeat(15)].concat()).1);
    assert!(stranger.say(&mut talk, &[greeted(), nonsense.clone()].concat()).1);
    talk.goes_on("nonsense");
    // One a minute is nothing.
    let stranger = Stranger::arrive(&mut talk, 1001);
    for _ in 0..40 {
        assert!(!stranger.say(&mut talk, &[greeted(), nonsense.clone()].concat()).1);
        talk.hall.sim.run_for(Duration::from_secs(61));
    }
}

#[test]
fn c_04_requests_and_audio_beyond_their_rates_are_read_later_and_new_accounts_refused() {
    let mut server = Server::new(ServerSettings::DEFAULT, 1, digest);
    let peer = PeerId { slot: 0, generation: 0 };
    let now = Instant::ZERO;
    let from = Some(([192, 0, 2, 1], 4000).into());
    server.handle_input(now, Input::Opened { peer, via: Via::Accepted, from }).unwrap();
    let answered = |server: &mut Server| {
        let count = server.outputs().filter(|output| matches!(output, Output::Send { .. })).count();
        drain(server);
        count
    };
    let logout = b"\xa7request\xa6logout\xa1a";
    for _ in 0..90 {
        server.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: logout }).unwrap();
    }
    assert_eq!(answered(&mut server), 81, "and the others wait");
    for tenths in 1..=9 {
        let now = now.saturating_add(Duration::from_millis(100 * tenths));
        while server.poll_timeout().is_some_and(|at| at <= now) {
            server.handle_timeout(now);
            while let Some(deferred) = server.take_deferred() {
                server.handle_input(now, Input::from(&deferred)).unwrap();
            }
        }
        assert_eq!(answered(&mut server), 1);
    }
    let now = now.saturating_add(Duration::from_millis(900));
    let mut paused = 0;
    for _ in 0..600 {
        let (username, token, group_name) = ("a".into(), "b".into(), "c".into());
        let samples = Samples::default();
        server.receive(now, peer, ClientMessage::CallData { username, token, group_name, samples }).unwrap();
        paused += server.outputs().filter(|output| matches!(output, Output::Pause { .. })).count();
        drain(&mut server);
    }
    assert_eq!((paused, server.stats().stray), (100, 600));
    let mut refused = 0;
    for slot in 1..60 {
        let peer = PeerId { slot, generation: 0 };
        server.handle_input(now, Input::Opened { peer, via: Via::Accepted, from }).unwrap();
        let (username, password) = ("a".into(), "b".into());
        let asked = server.receive(now, peer, ClientMessage::Register { username, password }).unwrap();
        refused += usize::from(asked.is_none());
        drain(&mut server);
    }
    assert_eq!(refused, 19, "forty accounts of one address");
    // F-06: log-ins are never refused because of others at the address.
    for slot in 100..400 {
        let peer = PeerId { slot, generation: 0 };
        server.handle_input(now, Input::Opened { peer, via: Via::Accepted, from }).unwrap();
        let (username, password) = ("a".into(), "b".into());
        assert!(server.receive(now, peer, ClientMessage::Login { username, password }).unwrap().is_some());
        drain(&mut server);
    }
}

#[test]
fn m_11_where_there_is_no_room_the_oldest_stranger_goes_and_users_stay() {
    let limits = voxwire_core::Limits { max_peers: 3, ..voxwire_msgpack::LIMITS };
    let mut hall =
        Harness::new(ServerSettings { limits, ..ServerSettings::DEFAULT }, harness::Office::discreet(), 1);
    let ann = hall.user("ann");
    let once = ClientSettings { reconnect: None, ..ClientSettings::DEFAULT };
    let seats: Vec<Seat> = (0..4).map(|_| hall.client_with(once).0).collect();
    let open: Vec<bool> =
        seats.iter().map(|seat| hall.sim.with(*seat, |client, _, _| client.is_connected())).collect();
    assert_eq!(open, [false, false, true, true]);
    assert!(hall.sim.with(ann, |client, _, _| client.is_connected()));
}

#[test]
fn m_10_m_11_a_client_survives_what_a_server_may_send() {
    let mut client = Client::new(ClientSettings { dialect: Dialect::Zmtp, ..ClientSettings::DEFAULT });
    let peer = PeerId { slot: 0, generation: 0 };
    let now = Instant::ZERO;
    client.handle_input(now, Input::Opened { peer, via: Via::Accepted, from: None }).unwrap();
    let mut rng = Rng::new(3);
    let heads: [&[u8]; 5] = [
        b"\xa8response\xa5login\x00\xa1a\xa1b",
        b"\xa6update\xa9call_data\xa1a\x92\x01\x02",
        b"\xa6update\xa9voice_msg\xa1a\x01\x01\x92\x01\x02",
        b"\xa6update\xa7whisper\xa1a\xa1b",
        b"",
    ];
    for _ in 0..5000 {
        let mut bytes = heads[rng.below(5) as usize].to_vec();
        bytes.extend((0..rng.below(10)).map(|_| rng.below(256) as u8));
        if !bytes.is_empty() {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.below(256) as u8;
        }
        let _ = client.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &bytes });
    }
    assert!(client.stats().violations > 100 && client.outputs().count() <= 1);
}
