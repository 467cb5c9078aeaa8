//! Log-ins for requests alone; what a client makes of what is too large for it; texts that are not UTF-8; every width of every field.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use harness::{Harness, Seat, call, create, join, login, send, whisper};
use voxwire_core::testing::frames;
use voxwire_core::{Input, Lane, Message, PeerId, Session, Via};
use voxwire_msgpack::{
    Client, ClientCommand, ClientEvent, ClientMessage, ClientSettings, Code, Dialect, Framing, Samples,
    ServerMessage, Text, Wire, zmtp,
};

fn for_requests(hall: &mut Harness, name: &str, dialect: Dialect) -> Seat {
    let (seat, _) = hall.client_with(ClientSettings { dialect, reconnect: None, ..ClientSettings::DEFAULT });
    let command = ClientCommand::LoginForRequests { username: name.into(), password: "geheim".into() };
    assert_eq!(hall.code(seat, command), "SUCCESS");
    seat
}

/// F-32: a client that logs in for a request alone takes nothing away: what is kept stays, and what is sent meanwhile is kept.
#[test]
fn f_32_a_log_in_for_requests_alone_consumes_nothing() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(ann, create("room"));
    hall.code(bob, join("room"));
    hall.code(bob, ClientCommand::Logout);
    assert_eq!(hall.code(ann, whisper("bob", "kept")), "SUCCESS");
    let visit = for_requests(&mut hall, "bob", Dialect::Zmtp);
    assert_eq!(hall.code(ann, whisper("bob", "meanwhile")), "SUCCESS");
    // It may make every request of a user, and hears no updates; in a call it would have to.
    assert_eq!(hall.code(visit, whisper("ann", "hello")), "SUCCESS");
    assert_eq!(hall.code(visit, send("room", "all")), "SUCCESS");
    assert_eq!(hall.code(visit, create("other")), "SUCCESS");
    assert_eq!(hall.code(visit, call("room")), "USER_NOT_CONNECTED");
    assert_eq!(hall.code(visit, ClientCommand::Logout), "SUCCESS");
    assert!(hall.heard(ann).iter().any(|event| event.contains("all")));
    let (bob, _) = hall.client();
    hall.heard(bob);
    hall.ask(bob, login("bob", "geheim"));
    let heard = hall.heard(bob);
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert!(heard[0].contains("kept") && heard[1].contains("meanwhile") && heard[2].starts_with("LoggedIn"));
}

/// F-32: beside a real log-in of the same user it changes nothing for that one; and where it cannot be said, it is an ordinary one.
#[test]
fn f_32_beside_an_ordinary_log_in_and_in_plain_objects() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    let visit = for_requests(&mut hall, "bob", Dialect::Zmtp);
    hall.heard(visit);
    hall.code(ann, whisper("bob", "hi"));
    assert_eq!(hall.heard(bob).len(), 1);
    assert!(hall.heard(visit).is_empty());
    let link = hall.sim.link_between(visit, hall.server).unwrap();
    hall.sim.disconnect(link);
    hall.wait();
    assert!(hall.office(|server, _, _| server.is_online(b"bob")));
    let plain = for_requests(&mut hall, "bob", Dialect::Plain);
    hall.heard(plain);
    hall.code(ann, whisper("bob", "again"));
    assert_eq!(hall.heard(plain).len(), 1);
}

/// F-32: one account does not fill the server with log-ins for requests alone, and a new one always finds room.
#[test]
fn f_32_log_ins_for_requests_alone_are_bounded_per_user() {
    let mut hall = Harness::safe();
    let ann = hall.user("ann");
    hall.user("bob");
    let other = for_requests(&mut hall, "ann", Dialect::Zmtp);
    let mut visits = Vec::new();
    for _ in 0..40 {
        visits.push(for_requests(&mut hall, "bob", Dialect::Zmtp));
        hall.wait();
    }
    let connected = |hall: &Harness, seat: Seat| hall.sim.link_between(seat, hall.server).is_some();
    let left: Vec<bool> = visits.iter().map(|visit| connected(&hall, *visit)).collect();
    assert_eq!(left, [vec![false; 24], vec![true; 16]].concat());
    assert!(connected(&hall, other) && connected(&hall, ann));
    // Who logs out makes room.
    assert_eq!(hall.code(visits[39], ClientCommand::Logout), "SUCCESS");
    for_requests(&mut hall, "bob", Dialect::Zmtp);
    hall.wait();
    assert!(connected(&hall, visits[24]));
}

/// F-32: the object behind the last argument is all that it is, in any width; others are ignored as before.
#[test]
fn f_32_on_the_wire_it_is_an_object_that_others_ignore() {
    let (username, password) = (Text::from("ann"), "x".into());
    let message = ClientMessage::LoginForRequests { username, password };
    let mut bytes = Vec::new();
    message.encode(&Wire::CLIENT, &mut bytes).unwrap();
    assert_eq!(bytes, b"\xa7request\xa5login\xa3ann\xa1x\xadrequests_only");
    assert_eq!(ClientMessage::decode(&bytes, &Wire::SERVER), Ok(message));
    let plain = b"\xa7request\xa5login\xa3ann\xa1x";
    for (tail, is_one) in [
        (&b"\xd9\x0drequests_only"[..], true),
        (b"\xc6\x00\x00\x00\x0drequests_only\x01", true),
        (b"\xadrequests_onl", false),
        (b"\xa3abc", false),
        (b"\xc1", false),
        (b"", false),
    ] {
        let decoded =
            ClientMessage::decode(&[plain, tail].concat(), &Wire::SERVER).map(|it| format!("{it:?}"));
        assert_eq!(decoded.unwrap().starts_with("LoginForRequests"), is_one, "{tail:?}");
    }
}

/// F-80: what a server sends that is too large for a client is said, and what follows is heard. What is more than our server takes is
/// not too large.
#[test]
fn f_80_a_client_says_that_a_message_was_too_large() {
    let mut client = Client::new(ClientSettings::DEFAULT);
    let recording = |count: u32| {
        let head = b"\xa6update\xa9voice_msg\xa3ann\x01\xcd\xac\x44\xdd";
        [&head[..], &count.to_be_bytes(), &vec![0; count as usize]].concat()
    };
    let unit = |body: &[u8]| {
        let mut unit = Vec::new();
        zmtp::put_message_head(body.len(), &mut unit);
        [unit, body.to_vec()].concat()
    };
    let mut greeted = Vec::new();
    zmtp::put_greeting(&mut greeted);
    zmtp::put_ready(zmtp::SocketType::Router, &mut greeted);
    // Three and a half minutes, as an original client may send them.
    let long = recording(9_261_000);
    let text = b"\xa6update\xa7whisper\xa1a\xa1b";
    let too_large = [&b"\xa6update\xa7whisper\xa1a"[..], &[7; 600_000]].concat();
    let stream = [greeted, unit(&long), unit(&too_large), unit(text)].concat();
    let (got, error, _) = frames(client.framing(), &stream, || 1 << 20);
    assert_eq!(error, None);
    assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [long.len(), 0, text.len()]);
    let (now, peer) = (voxwire_core::Instant::ZERO, PeerId { slot: 0, generation: 0 });
    client.handle_input(now, Input::Opened { peer, via: Via::Accepted, from: None }).unwrap();
    let mut events = Vec::new();
    for bytes in &got {
        let event = client.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes }).unwrap();
        events.push(match event {
            Some(ClientEvent::VoiceMsg { samples, .. }) => format!("{} samples", samples.len()),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(events[..2], ["9261000 samples", "Some(Skipped)"]);
    assert!(events[2].contains("Whisper"));
}

/// F-38: a text that is not UTF-8 goes on as `bin`, which a reader of `str` does not stumble over; the profile `original` has it as the
/// original server does.
#[test]
fn f_38_texts_that_are_not_utf_8_go_on_as_bin() {
    for (content, safe, original) in [
        (&b"\xff\xfe"[..], &b"\xc4\x02\xff\xfe"[..], &b"\xa2\xff\xfe"[..]),
        (b"h\xc3\xa9", b"\xa3h\xc3\xa9", b"\xa3h\xc3\xa9"),
    ] {
        for (wire, expected) in [(Wire::SERVER, safe), (Wire::ORIGINAL, original)] {
            for message in [
                ServerMessage::Whisper { sender: "a".into(), content: content.into() },
                ServerMessage::MsgGroup {
                    group_name: "g".into(),
                    sender: "a".into(),
                    content: content.into(),
                },
            ] {
                let mut bytes = Vec::new();
                message.encode(&wire, &mut bytes).unwrap();
                assert!(bytes.ends_with(expected), "{bytes:02x?}");
                assert_eq!(ServerMessage::decode(&bytes, &Wire::CLIENT), Ok(message));
                assert_eq!(message.encoded_len(&wire), Ok(bytes.len()));
            }
        }
    }
    for len in [255, 256, 65_535, 65_536] {
        let content = vec![0xff; len];
        let message = ServerMessage::Whisper { sender: "a".into(), content: content[..].into() };
        let mut bytes = Vec::new();
        message.encode(&Wire::SERVER, &mut bytes).unwrap();
        assert_eq!(ServerMessage::decode(&bytes, &Wire::CLIENT), Ok(message));
    }
}

/// M-01 (F-71): every form of an integer that has the value, for channels, rate and code, and every form of a text.
#[test]
fn m_01_every_width_of_integers_and_texts_is_read_in_every_field() {
    let integers = |value: u64| -> Vec<Vec<u8>> {
        let wide = value.to_be_bytes();
        let mut forms = vec![
            [&[0xcf][..], &wide].concat(),
            [&[0xd3][..], &wide].concat(),
            [&[0xce][..], &wide[4..]].concat(),
            [&[0xd2][..], &wide[4..]].concat(),
            [&[0xcd][..], &wide[6..]].concat(),
        ];
        if value < 0x8000 {
            forms.push([&[0xd1][..], &wide[6..]].concat());
        }
        if value < 0x100 {
            forms.push(vec![0xcc, wide[7]]);
        }
        if value < 0x80 {
            forms.extend([vec![0xd0, wide[7]], vec![wide[7]]]);
        }
        forms
    };
    let texts = |text: &[u8]| -> Vec<Vec<u8>> {
        let wide = (text.len() as u32).to_be_bytes();
        let heads: [&[u8]; 7] = [
            &[0xa0 | wide[3]],
            &[0xd9, wide[3]],
            &[0xda, wide[2], wide[3]],
            &[0xdb, wide[0], wide[1], wide[2], wide[3]],
            &[0xc4, wide[3]],
            &[0xc5, wide[2], wide[3]],
            &[0xc6, wide[0], wide[1], wide[2], wide[3]],
        ];
        heads.iter().map(|head| [head, text].concat()).collect()
    };
    let samples = Samples::default();
    for channels in integers(2) {
        for rate in integers(44_100) {
            let from_client =
                [&b"\xa7request\xa9voice_msg\xa1a\xa1t\xa1b"[..], &channels, &rate, b"\x90"].concat();
            let (username, token, recipient) = ("a".into(), "t".into(), "b".into());
            let (channels_are, sample_rate) = (2, 44_100);
            let expected = ClientMessage::VoiceMsg {
                username,
                token,
                recipient,
                channels: channels_are,
                sample_rate,
                samples,
            };
            assert_eq!(
                ClientMessage::decode(&from_client, &Wire::SERVER),
                Ok(expected),
                "{from_client:02x?}"
            );
            let from_server = [&b"\xa6update\xa9voice_msg\xa1a"[..], &channels, &rate, b"\x90"].concat();
            let expected =
                ServerMessage::VoiceMsg { sender: "a".into(), channels: channels_are, sample_rate, samples };
            assert_eq!(ServerMessage::decode(&from_server, &Wire::CLIENT), Ok(expected));
            // In plain objects their ends are found, too.
            let stream = [&from_client[..], &from_client].concat();
            let (got, error, _) = frames(Framing::server(&Wire::SERVER), &stream, || 1);
            assert_eq!((got, error), (vec![from_client.clone(); 2], None));
        }
    }
    for code in [0_u64, 5, 200, 515, 70_000] {
        for form in integers(code).into_iter().filter(|form| form.len() > 3 || code < 0x1_0000) {
            let bytes = [&b"\xa8response\xa8register"[..], &form].concat();
            let expected = ServerMessage::Response { action: "register".into(), code: Code(code) };
            assert_eq!(ServerMessage::decode(&bytes, &Wire::CLIENT), Ok(expected), "{form:02x?}");
        }
    }
    for kind in texts(b"request") {
        for action in texts(b"join_call") {
            for name in texts(b"ann") {
                let bytes = [&kind[..], &action, &name, &name, &name].concat();
                let (username, token, group_name) = ("ann".into(), "ann".into(), "ann".into());
                let expected = ClientMessage::JoinCall { username, token, group_name };
                assert_eq!(ClientMessage::decode(&bytes, &Wire::SERVER), Ok(expected));
                let stream = [&bytes[..], &bytes].concat();
                let (got, error, _) = frames(Framing::server(&Wire::SERVER), &stream, || 3);
                assert_eq!((got, error), (vec![bytes.clone(); 2], None), "{bytes:02x?}");
            }
        }
    }
}
