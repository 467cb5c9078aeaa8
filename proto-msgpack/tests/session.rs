//! The server and its clients, as dialogues: every action, every code, in the original's order of checks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use core::time::Duration;
use harness::{Harness, Office, call, create, join, login, recording, register, send, whisper};
use voxwire_core::{Input, Lane, Output, PeerId, Session};
use voxwire_msgpack::{
    Action, ClientCommand, ClientSettings, Dialect, Refusal, Samples, ServerSettings, Text,
};

#[test]
fn m_02_m_03_m_07_registering_and_logging_in() {
    let mut hall = Harness::safe();
    let (ann, _) = hall.client();
    assert_eq!(hall.heard(ann), ["Connected"]);
    assert_eq!(hall.code(ann, register("ann", "one")), "SUCCESS");
    assert_eq!(hall.code(ann, register("ann", "two")), "USER_ALREADY_EXIST");
    assert_eq!(hall.code(ann, register("", "two")), "REQUEST_INVALID");
    assert_eq!(hall.code(ann, register("eve", "")), "REQUEST_INVALID");
    assert_eq!(hall.code(ann, register("e\u{202e}ve", "x")), "REQUEST_INVALID");
    // Unknown users and wrong passwords are answered alike.
    assert_eq!(hall.code(ann, login("ann", "two")), "USER_WRONG_PASSWORD");
    assert_eq!(hall.code(ann, login("bob", "two")), "USER_WRONG_PASSWORD");
    assert_eq!(hall.code(ann, login("ann", "one")), "SUCCESS");
    assert_eq!(hall.code(ann, login("ann", "one")), "IDENTITY_ALREADY_CONNECTED");
    assert_eq!(hall.office(|server, _, _| (server.online(), server.is_online(b"ann"))), (1, true));
    assert_eq!(hall.code(ann, ClientCommand::Logout), "SUCCESS");
    assert_eq!(hall.office(|server, _, _| server.online()), 0);
    assert!(hall.sim.with(ann, |client, _, now| client.handle_command(now, ClientCommand::Logout)).is_err());
}

/// F-05: what cannot be seen, or looks like something else, is no name; how people write is.
#[test]
fn m_02_names_of_accounts_and_groups_can_be_seen_and_told_apart() {
    let mut hall = Harness::safe();
    let ann = hall.user("ann");
    for name in
        ["bob\u{fe0f}", "b\u{34f}ob", "\u{2800}", "a\u{a0}b", "\u{3000}", "bob\u{1d173}", " bob", "b\u{43e}b"]
    {
        assert_eq!(hall.code(ann, register(name, "x")), "REQUEST_INVALID");
        assert_eq!(hall.code(ann, create(name)), "REQUEST_INVALID");
    }
    let told = hall.office(|_, office, _| office.log.take());
    assert_eq!(told.iter().filter(|event| event.starts_with("InvalidName")).count(), 16);
    for name in ["می\u{200c}خواهم", "क्\u{200d}ष", "👨\u{200d}👩\u{200d}👧", "Ann B. 2"] {
        assert_eq!(hall.code(ann, register(name, "x")), "SUCCESS");
        assert_eq!(hall.code(ann, create(name)), "SUCCESS");
    }
}

/// F-05: an account and a group are the same, however their names are encoded, and heard of as their users write them.
#[test]
fn m_07_a_name_is_the_same_however_it_is_encoded() {
    let (composed, decomposed) = ("Jos\u{e9}", "Jose\u{301}");
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user(composed), hall.user("bob"));
    assert_eq!(hall.code(bob, register(decomposed, "x")), "USER_ALREADY_EXIST");
    let (again, _) = hall.client();
    assert_eq!(hall.code(again, login(decomposed, "geheim")), "SUCCESS");
    assert_eq!(hall.office(|server, _, _| server.connections(decomposed.as_bytes()).len()), 2);
    // Both are Jose: they may act, are written to, and are members of the same groups.
    assert_eq!(hall.code(ann, create(decomposed)), "SUCCESS");
    assert_eq!(hall.code(again, create(composed)), "GROUP_ALREADY_EXIST");
    assert_eq!(hall.code(again, join(composed)), "GROUP_MEMBER_ALREADY_EXIST");
    assert_eq!(hall.code(bob, join(composed)), "SUCCESS");
    hall.heard(ann);
    hall.heard(again);
    assert_eq!(hall.code(bob, whisper(decomposed, "hi")), "SUCCESS");
    assert_eq!(hall.heard(ann), [r#"Whisper { sender: "bob", content: "hi" }"#]);
    assert_eq!(hall.heard(again).len(), 1);
    hall.heard(bob);
    assert_eq!(hall.code(again, send(composed, "hello")), "SUCCESS");
    assert_eq!(
        hall.heard(bob),
        [format!("MsgGroup {{ group_name: {composed:?}, sender: \"{decomposed}\", content: \"hello\" }}")]
    );
    // And its call.
    for (seat, name) in [(ann, composed), (bob, decomposed)] {
        assert_eq!(hall.code(seat, call(name)), "SUCCESS");
    }
    hall.heard(ann);
    let samples = Samples::from(&[1_i16, 2][..]);
    hall.ask(bob, ClientCommand::Say { samples });
    assert_eq!(hall.heard(ann).len(), 1);
    assert_eq!(hall.code(again, ClientCommand::Logout), "SUCCESS");
    assert_eq!(hall.office(|server, _, _| server.connections(composed.as_bytes()).len()), 1);
    // The original compares bytes, and takes any.
    let mut hall = Harness::original();
    let (ann, _) = hall.client();
    for name in [composed, decomposed, "bob\u{fe0f}"] {
        assert_eq!(hall.code(ann, register(name, "x")), "SUCCESS");
    }
}

#[test]
fn m_07_the_original_says_who_exists() {
    let mut hall = Harness::original();
    let (ann, _) = hall.client();
    assert_eq!(hall.code(ann, login("nobody", "123")), "USER_DOES_NOT_EXIST");
    assert_eq!(hall.code(ann, login("edoren", "12")), "USER_WRONG_PASSWORD");
    assert_eq!(hall.code(ann, register("", "")), "SUCCESS");
}

#[test]
fn m_08_contacts() {
    for mut hall in [Harness::safe(), Harness::original()] {
        let (ann, _bob) = (hall.user("ann"), hall.user("bob"));
        let add = |name| ClientCommand::AddContact { contact: Text::from(name) };
        assert_eq!(hall.code(ann, add("bob")), "SUCCESS");
        assert_eq!(hall.code(ann, add("nobody")), "USER_DOES_NOT_EXIST");
        let contacts = hall.office(|_, office, _| office.contacts.clone());
        assert_eq!(contacts.into_iter().collect::<Vec<_>>(), [(b"ann".to_vec(), b"bob".to_vec())]);
    }
}

#[test]
fn m_04_m_08_whispers_reach_every_connection_before_the_answer() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    let (phone, _) = hall.client();
    assert_eq!(hall.code(phone, login("bob", "geheim")), "SUCCESS");
    assert_eq!(hall.code(ann, whisper("bob", "hello")), "SUCCESS");
    for seat in [bob, phone] {
        assert_eq!(hall.heard(seat), [r#"Whisper { sender: "ann", content: "hello" }"#]);
    }
    // To oneself: first the text, then the answer.
    hall.ask(ann, whisper("ann", "note"));
    assert_eq!(
        hall.heard(ann),
        [
            r#"Whisper { sender: "ann", content: "note" }"#,
            "Response { action: Whisper, code: SUCCESS, again: false }"
        ]
    );
    assert_eq!(hall.code(ann, whisper("nobody", "hello")), "USER_NOT_CONNECTED");
}

#[test]
fn m_08_messages_for_those_who_are_away_are_kept_and_come_before_the_log_in_is_answered() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    assert_eq!(hall.code(ann, create("room")), "SUCCESS");
    assert_eq!(hall.code(bob, join("room")), "SUCCESS");
    assert_eq!(hall.code(bob, ClientCommand::Logout), "SUCCESS");
    assert_eq!(hall.code(ann, whisper("bob", "one")), "SUCCESS");
    assert_eq!(hall.code(ann, send("room", "two")), "SUCCESS");
    assert_eq!(hall.code(ann, recording("bob", &[1, 2, 3])), "SUCCESS");
    hall.ask(bob, login("bob", "geheim"));
    let kept = [
        r#"Whisper { sender: "ann", content: "one" }"#,
        r#"MsgGroup { group_name: "room", sender: "ann", content: "two" }"#,
        r#"VoiceMsg { sender: "ann", channels: 1, sample_rate: 44100, samples: 3 Int samples }"#,
        r#"LoggedIn { username: "bob", again: false }"#,
    ];
    assert_eq!(hall.heard(bob), kept);
    // Lost before it has shown that it has them: they are kept.
    let link = hall.sim.link_between(bob, hall.server).unwrap();
    hall.sim.disconnect(link);
    hall.wait();
    hall.sim.with(bob, |client, _, now| client.shutdown(now));
    assert_eq!(hall.office(|_, office, _| office.kept.len()), 1);
    let (bob, _) = hall.client();
    hall.heard(bob);
    hall.ask(bob, login("bob", "geheim"));
    assert_eq!(hall.heard(bob), kept);
    // The token is used: the answer to the log-in has come, and so has what came before it.
    assert_eq!(hall.code(bob, whisper("ann", "thanks")), "SUCCESS");
    assert_eq!(hall.office(|_, office, _| office.kept.len()), 0);
}

#[test]
fn m_08_what_was_delivered_to_a_silent_client_is_forgotten_once_it_must_have_it() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(bob, ClientCommand::Logout);
    hall.code(ann, whisper("bob", "one"));
    hall.code(bob, login("bob", "geheim"));
    hall.sim.run_for(Duration::from_secs(44));
    assert_eq!(hall.office(|_, office, _| office.kept.len()), 1);
    hall.sim.run_for(Duration::from_secs(2));
    assert_eq!(hall.office(|_, office, _| office.kept.len()), 0);
}

#[test]
fn m_08_the_original_keeps_nothing() {
    let mut hall = Harness::original();
    let ann = hall.user("ann");
    assert_eq!(hall.code(ann, whisper("edoren", "hello")), "USER_NOT_CONNECTED");
    assert_eq!(hall.code(ann, recording("edoren", &[])), "USER_NOT_CONNECTED");
}

#[test]
fn m_03_m_08_groups() {
    let mut hall = Harness::safe();
    let (ann, bob, cat) = (hall.user("ann"), hall.user("bob"), hall.user("cat"));
    assert_eq!(hall.code(ann, create("room")), "SUCCESS");
    assert_eq!(hall.code(bob, create("room")), "GROUP_ALREADY_EXIST");
    assert_eq!(hall.code(bob, create("")), "REQUEST_INVALID");
    assert_eq!(hall.code(bob, join("nowhere")), "GROUP_DOES_NOT_EXIST");
    assert_eq!(hall.code(ann, join("room")), "GROUP_MEMBER_ALREADY_EXIST");
    assert_eq!(hall.code(bob, send("room", "hi")), "GROUP_MEMBER_DOES_NOT_EXIST");
    assert_eq!(hall.code(bob, send("nowhere", "hi")), "GROUP_DOES_NOT_EXIST");
    assert_eq!(hall.code(bob, join("room")), "SUCCESS");
    hall.ask(bob, send("room", "hi all"));
    let update = r#"MsgGroup { group_name: "room", sender: "bob", content: "hi all" }"#;
    assert_eq!(hall.heard(bob), [update, "Response { action: MsgGroup, code: SUCCESS, again: false }"]);
    assert_eq!(hall.heard(ann).last().unwrap(), update);
    assert!(hall.heard(cat).is_empty());
}

#[test]
fn m_08_calls_are_joined_left_and_heard_by_those_who_take_part() {
    let mut hall = Harness::safe();
    let (ann, bob, cat, eve) = (hall.user("ann"), hall.user("bob"), hall.user("cat"), hall.user("eve"));
    hall.code(ann, create("room"));
    for seat in [bob, cat] {
        assert_eq!(hall.code(seat, join("room")), "SUCCESS");
    }
    assert_eq!(hall.code(eve, call("room")), "GROUP_MEMBER_DOES_NOT_EXIST");
    assert_eq!(hall.code(eve, call("nowhere")), "GROUP_DOES_NOT_EXIST");
    assert_eq!(hall.code(ann, ClientCommand::LeaveCall), "GROUP_MEMBER_DOES_NOT_EXIST");
    for seat in [ann, bob, bob] {
        hall.ask(seat, call("room"));
        assert_eq!(hall.heard(seat).last().unwrap(), r#"CallJoined { group_name: "room", again: false }"#);
    }
    let samples = [1, -1000, 30_000];
    let say = ClientCommand::Say { samples: samples[..].into() };
    assert_eq!(hall.sim.with(cat, |client, _, now| client.handle_command(now, say)), Err(Refusal::NotInCall));
    hall.ask(ann, say);
    let said = r#"CallData { sender: "ann", samples: 3 Int samples }"#;
    assert_eq!(hall.heard(bob), [said], "once, though it has joined twice");
    assert!(hall.heard(ann).is_empty() && hall.heard(cat).is_empty(), "updates are not answered");
    // A client that joins later hears what follows; one that leaves hears no more.
    assert_eq!(hall.code(cat, call("room")), "SUCCESS");
    assert_eq!(hall.code(bob, ClientCommand::LeaveCall), "SUCCESS");
    hall.ask(ann, say);
    assert_eq!((hall.heard(bob).len(), hall.heard(cat)), (0, vec![said.to_string()]));
    assert_eq!(hall.office(|server, _, _| server.in_calls()), 2);
    // Who logs out, or is gone, has left.
    assert_eq!(hall.code(cat, ClientCommand::Logout), "SUCCESS");
    assert_eq!(hall.office(|server, _, _| server.in_calls()), 1);
    let link = hall.sim.link_between(ann, hall.server).unwrap();
    hall.sim.disconnect(link);
    hall.wait();
    assert_eq!(hall.office(|server, _, _| server.in_calls()), 0);
}

#[test]
fn m_07_m_08_in_the_original_any_member_talks_and_any_connection_with_the_token() {
    let mut hall = Harness::original();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(ann, create("room"));
    hall.code(bob, join("room"));
    assert_eq!(hall.code(bob, call("room")), "SUCCESS");
    // A second connection gets the same token, and hears the call that its user is in.
    let (phone, _) = hall.client();
    hall.code(phone, login("bob", "geheim"));
    let token = b"00000000-0000-4000-8000-000000000001";
    let mut body = b"\xa6update\xa9call_data\xa3ann\xd9\x24".to_vec();
    body.extend(token);
    body.extend(b"\xa4room\x92\x07\x08");
    // A stranger who holds ann's token talks in the call that ann has not joined.
    let (eve, link) = hall.client();
    let peer = hall.sim.peers(link)[1];
    hall.heard(bob);
    hall.heard(phone);
    hall.office(|server, _, now| {
        server.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &body }).unwrap();
    });
    hall.wait();
    for seat in [bob, phone] {
        assert_eq!(hall.heard(seat), [r#"CallData { sender: "ann", samples: 2 Int samples }"#]);
    }
    assert!(hall.heard(eve).ends_with(&["Connected".into()]));
    // Where tokens are bound to their connections it goes nowhere.
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(ann, create("room"));
    hall.code(bob, join("room"));
    hall.code(bob, call("room"));
    hall.code(ann, call("room"));
    let (_, link) = hall.client();
    let peer = hall.sim.peers(link)[1];
    hall.office(|server, _, now| {
        server.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &body }).unwrap();
    });
    hall.wait();
    hall.heard(bob);
    assert_eq!(hall.office(|server, _, _| server.stats().stray), 1);
}

#[test]
fn m_02_m_07_checks_come_in_the_originals_order() {
    // (who says it is, its token, what follows) on the connection of ann, who is logged in.
    let token = "00000000-0000-4000-8000-000000000001";
    let bobs = "00000000-0000-4000-8000-000000000002";
    let cases: [(&str, &[&str], u64); 14] = [
        ("whisper", &["cat", token, "bob", "x"], 512),
        ("whisper", &["ann", "x", "cat", "x"], 512),
        ("whisper", &["ann", "x", "bob", "x"], 517),
        ("whisper", &["bob", token, "ann", "x"], 517),
        ("create_group", &["cat", token, "room"], 512),
        ("create_group", &["ann", "x", "room"], 517),
        ("create_group", &["ann", token, "room"], 767),
        ("join_group", &["ann", "x", "nowhere"], 517),
        ("join_group", &["ann", token, "nowhere"], 768),
        ("msg_group", &["bob", bobs, "room", "x"], 770),
        ("join_call", &["cat", token, "nowhere"], 512),
        ("add_contact", &["cat", token, "nobody"], 514),
        ("add_contact", &["cat", token, "ann"], 512),
        ("add_contact", &["ann", "x", "bob"], 517),
    ];
    let mut hall = Harness::original();
    let (ann, _bob, cat) = (hall.user("ann"), hall.user("bob"), hall.user("cat"));
    hall.code(cat, ClientCommand::Logout);
    hall.code(ann, create("room"));
    let peer = hall.sim.peers(hall.sim.link_between(ann, hall.server).unwrap())[1];
    for (action, arguments, code) in cases {
        let mut body = Vec::new();
        for text in ["request", action].iter().chain(arguments) {
            rmp::encode::write_str(&mut body, text).unwrap();
        }
        let got = hall.sim.with(hall.server, |server, office, now| {
            let result = server.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &body });
            if let Ok(Some(event)) = result {
                voxwire_core::Handler::on_event(office, server, now, event);
            }
            let sent: Vec<Vec<u8>> = server
                .outputs()
                .filter_map(|output| match output {
                    Output::Send { to, frame, .. } if to == peer => Some(frame.to_vec()),
                    _ => None,
                })
                .collect();
            let count = server.outputs().count();
            server.advance(count);
            sent
        });
        let mut expected = Vec::new();
        for text in ["response", action] {
            rmp::encode::write_str(&mut expected, text).unwrap();
        }
        rmp::encode::write_uint(&mut expected, code).unwrap();
        assert_eq!(got, [expected], "{action} {arguments:?}");
    }
}

/// F-86: naming a user who is not there is answered as the original answers it.
#[test]
fn m_03_f_86_logging_out_with_the_originals_codes() {
    let mut hall = Harness::safe();
    let (ann, link) = hall.client();
    let peer = hall.sim.peers(link)[1];
    hall.code(ann, register("ann", "geheim"));
    let logout = |hall: &mut Harness, name: &str| {
        let mut body = b"\xa7request\xa6logout".to_vec();
        rmp::encode::write_str(&mut body, name).unwrap();
        hall.office(|server, _, now| {
            let _ = server.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &body });
            let code = server.outputs().find_map(|output| match output {
                Output::Send { frame, .. } => Some(frame[16..].to_vec()),
                _ => None,
            });
            let count = server.outputs().count();
            server.advance(count);
            code.unwrap()
        })
    };
    assert_eq!(logout(&mut hall, "ann"), b"\xcd\x01\x00");
    hall.code(ann, login("ann", "geheim"));
    // Of those who are not there, and of those who are.
    assert_eq!(logout(&mut hall, "bob"), b"\xcd\x02\x00");
    hall.user("bob");
    assert_eq!(logout(&mut hall, "bob"), b"\xcd\x02\x04");
    assert_eq!(logout(&mut hall, "ann"), b"\x00");
}

#[test]
fn m_09_plain_objects_over_tcp_are_served_on_the_same_port() {
    let mut hall = Harness::safe();
    let settings = ClientSettings { dialect: Dialect::Plain, ..ClientSettings::DEFAULT };
    let (ann, _) = hall.client_with(settings);
    let bob = hall.user("bob");
    assert_eq!(hall.code(ann, register("ann", "geheim")), "SUCCESS");
    assert_eq!(hall.code(ann, login("ann", "geheim")), "SUCCESS");
    assert_eq!(hall.code(ann, create("room")), "SUCCESS");
    assert_eq!(hall.code(bob, join("room")), "SUCCESS");
    for seat in [ann, bob] {
        assert_eq!(hall.code(seat, call("room")), "SUCCESS");
    }
    hall.heard(ann);
    let samples = [7_i16; 5000];
    hall.ask(bob, ClientCommand::Say { samples: samples[..].into() });
    hall.ask(ann, ClientCommand::Say { samples: samples[..].into() });
    assert_eq!(hall.heard(ann), [r#"CallData { sender: "bob", samples: 5000 Int samples }"#]);
    assert_eq!(hall.heard(bob).last().unwrap(), r#"CallData { sender: "ann", samples: 5000 Int samples }"#);
}

#[test]
fn m_08_recordings_and_their_limits() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    let second = vec![1234_i16; 44_100];
    assert_eq!(hall.code(ann, recording("bob", &second)), "SUCCESS");
    assert_eq!(
        hall.heard(bob),
        [r#"VoiceMsg { sender: "ann", channels: 1, sample_rate: 44100, samples: 44100 Int samples }"#]
    );
    let odd = |channels, sample_rate| ClientCommand::VoiceMsg {
        recipient: "bob".into(),
        channels,
        sample_rate,
        samples: Samples::from(&second[..]),
    };
    for command in [odd(0, 44_100), odd(65, 44_100), odd(1, 0), odd(1, 10_000_000), odd(8, 44_100)] {
        assert_eq!(hall.code(ann, command), "REQUEST_INVALID");
    }
    // Two minutes, twice: more than any user's connection should have to take at once.
    let long = vec![30_000_i16; 120 * 44_100];
    assert_eq!(hall.code(ann, recording("bob", &long)), "SUCCESS");
    assert_eq!(hall.code(ann, recording("bob", &long)), "REQUEST_OVER_LIMIT");
    // And more than one should send in all.
    let (cat, _dan) = (hall.user("cat"), hall.user("dan"));
    assert_eq!(hall.code(ann, recording("cat", &long)), "SUCCESS");
    assert_eq!(hall.code(ann, recording("dan", &long)), "REQUEST_OVER_LIMIT");
    hall.heard(cat);
    assert_eq!(hall.code(bob, recording("cat", &second)), "SUCCESS");
    assert_eq!(hall.heard(cat).len(), 1);
}

#[test]
fn m_08_texts_are_limited_in_bytes_too_for_recipients_and_for_senders() {
    let settings = ServerSettings {
        messages: voxwire_core::Rate { per_second: 100, burst: 4000 },
        ..ServerSettings::DEFAULT
    };
    let mut hall = Harness::new(settings, Office::discreet(), 1);
    let (ann, bob, cat, dan) = (hall.user("ann"), hall.user("bob"), hall.user("cat"), hall.user("dan"));
    let text = "x".repeat(1400);
    // F-08: one sender has a quarter, which one text may go beyond, and is paid for.
    for code in ["SUCCESS", "REQUEST_OVER_LIMIT"] {
        assert_eq!(hall.code(ann, whisper("bob", &text)), code);
    }
    assert_eq!(hall.code(cat, whisper("bob", &text)), "SUCCESS", "others have theirs");
    assert_eq!(hall.code(dan, whisper("bob", &text)), "REQUEST_OVER_LIMIT", "bob gets no more");
    assert_eq!(hall.code(dan, whisper("bob", "call me")), "SUCCESS", "but this");
    assert_eq!(hall.code(bob, whisper("cat", &text)), "SUCCESS", "and may send");
    // Another log-in changes nothing.
    hall.code(ann, ClientCommand::Logout);
    hall.code(ann, login("ann", "geheim"));
    assert_eq!(hall.code(ann, whisper("bob", "x")), "REQUEST_OVER_LIMIT");
    assert_eq!(hall.code(ann, whisper("cat", &text)), "SUCCESS");
    assert_eq!(hall.code(ann, whisper("dan", &text)), "REQUEST_OVER_LIMIT");
    // A group's text counts once for each who gets it; and one alone is always allowed.
    hall.sim.run_for(Duration::from_secs(60));
    hall.code(ann, create("room"));
    hall.code(bob, join("room"));
    hall.code(cat, join("room"));
    for code in ["SUCCESS", "REQUEST_OVER_LIMIT"] {
        assert_eq!(hall.code(ann, send("room", &text)), code);
    }
}

/// F-06: a message that its sender has no budget for costs the recipient, and with it others who write to it, nothing.
#[test]
fn f_06_what_is_not_sent_is_not_taken_out_of_what_the_recipient_may_be_sent() {
    let settings = ServerSettings {
        messages: voxwire_core::Rate { per_second: 100, burst: 4000 },
        ..ServerSettings::DEFAULT
    };
    let mut hall = Harness::new(settings, Office::discreet(), 1);
    let (ann, _bob, cat, _dan) = (hall.user("ann"), hall.user("bob"), hall.user("cat"), hall.user("dan"));
    let (long, short) = ("x".repeat(1900), "x".repeat(200));
    for (name, code) in [("cat", "SUCCESS"), ("dan", "SUCCESS"), ("bob", "REQUEST_OVER_LIMIT")] {
        assert_eq!(hall.code(ann, whisper(name, &long)), code, "{name}");
    }
    for _ in 0..5 {
        assert_eq!(hall.code(ann, whisper("bob", &long)), "REQUEST_OVER_LIMIT");
    }
    // Nearly half of what bob may be sent, while half is free.
    assert_eq!(hall.code(cat, whisper("bob", &long)), "SUCCESS");
    // What she has by now she may send.
    hall.sim.run_for(Duration::from_secs(3));
    assert_eq!(hall.code(ann, whisper("bob", &short)), "SUCCESS");
}

#[test]
fn c_04_quotas() {
    let settings = ServerSettings {
        max_own_groups: 2,
        max_groups: 3,
        max_members: 2,
        max_connections: 2,
        ..ServerSettings::DEFAULT
    };
    let mut hall = Harness::new(settings, Office::discreet(), 1);
    let (ann, bob, cat) = (hall.user("ann"), hall.user("bob"), hall.user("cat"));
    assert_eq!(hall.code(ann, create("one")), "SUCCESS");
    assert_eq!(hall.code(ann, create("two")), "SUCCESS");
    assert_eq!(hall.code(ann, create("three")), "REQUEST_OVER_LIMIT");
    assert_eq!(hall.code(bob, create("three")), "SUCCESS");
    assert_eq!(hall.code(bob, create("four")), "REQUEST_OVER_LIMIT");
    assert_eq!(hall.code(bob, join("one")), "SUCCESS");
    assert_eq!(hall.code(cat, join("one")), "REQUEST_OVER_LIMIT");
    for code in ["SUCCESS", "REQUEST_OVER_LIMIT"] {
        let (more, _) = hall.client();
        assert_eq!(hall.code(more, login("cat", "geheim")), code);
    }
}

#[test]
fn shutting_down_answers_what_is_in_work_and_says_goodbye() {
    let mut hall = Harness::safe();
    let (ann, _) = hall.client_with(ClientSettings { reconnect: None, ..ClientSettings::DEFAULT });
    hall.office(|_, office, _| office.silent = true);
    hall.ask(ann, register("ann", "x"));
    hall.office(|server, _, now| server.shutdown(now));
    hall.wait();
    assert_eq!(
        hall.heard(ann),
        [
            "Connected",
            "Response { action: Register, code: SERVER_UNAVAILABLE, again: false }",
            "Disconnected { unanswered: [], retry_at: None }"
        ]
    );
    // A client logs out of its own accord.
    let mut hall = Harness::safe();
    let bob = hall.user("bob");
    hall.sim.with(bob, |client, _, now| client.shutdown(now));
    hall.wait();
    assert_eq!(hall.office(|server, _, _| (server.online(), server.peers())), (0, 0));
    let refused = hall.sim.with(bob, |client, _, now| {
        client.handle_command(now, ClientCommand::AddContact { contact: "ann".into() })
    });
    assert_eq!(refused, Err(Refusal::NotConnected));
    let refusal = Refusal::NotLoggedIn { action: Action::Whisper };
    assert_eq!(refusal.to_string(), "cannot whisper without being logged in");
}

/// F-34: a malformed message every 59 seconds is forgiven like one every 60, and a burst is not.
#[test]
fn f_34_one_malformed_message_a_minute_is_forgiven_and_the_rest_of_a_minute_counts() {
    for (seconds, there) in [(59, true), (20, false)] {
        let mut hall = Harness::safe();
        hall.office(|server, _, now| {
            let peer = PeerId { slot: 900, generation: 0 };
            let from = Some(([10, 0, 0, 2], 4000).into());
            server.handle_input(now, Input::Opened { peer, via: voxwire_core::Via::Accepted, from }).unwrap();
            for n in 0..200 {
                let now = now.saturating_add(Duration::from_secs(seconds * n));
                let input = Input::Frame { peer, lane: Lane::Reliable, bytes: b"\xa7request\xa3fly" };
                let _ = server.handle_input(now, input);
                server.advance(usize::MAX);
            }
            assert_eq!(server.peers() == 1, there, "every {seconds} s");
        });
    }
}

/// M-08: how many take part in calls is counted, however they come and go.
#[test]
fn m_08_those_in_calls_are_counted() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    let in_calls = |hall: &mut Harness| hall.office(|server, _, _| server.in_calls());
    assert_eq!(in_calls(&mut hall), 2);
    assert_eq!(hall.code(ann, create("other")), "SUCCESS");
    assert_eq!(hall.code(ann, call("other")), "SUCCESS");
    assert_eq!(hall.code(ann, call("other")), "SUCCESS");
    assert_eq!(in_calls(&mut hall), 2);
    assert_eq!(hall.code(ann, ClientCommand::LeaveCall), "SUCCESS");
    assert_eq!(hall.code(ann, ClientCommand::LeaveCall), "GROUP_MEMBER_DOES_NOT_EXIST");
    assert_eq!(in_calls(&mut hall), 1);
    let link = hall.sim.link_between(bob, hall.server).unwrap();
    hall.sim.disconnect(link);
    hall.wait();
    assert_eq!(in_calls(&mut hall), 0);
}

/// M-08: messages count once they are handed on or kept, and not if they are refused.
#[test]
fn m_08_messages_count_when_they_are_handed_on_or_kept() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(ann, create("room"));
    hall.code(bob, join("room"));
    let texts = |hall: &mut Harness| hall.office(|server, _, _| server.stats().texts);
    assert_eq!(hall.code(ann, whisper("bob", "x")), "SUCCESS");
    assert_eq!(hall.code(ann, send("room", "x")), "SUCCESS");
    assert_eq!(texts(&mut hall), 2);
    hall.code(bob, ClientCommand::Logout);
    assert_eq!(hall.code(ann, whisper("nobody", "x")), "USER_NOT_CONNECTED");
    assert_eq!(texts(&mut hall), 2);
    assert_eq!(hall.code(ann, whisper("bob", "x")), "SUCCESS");
    assert_eq!(hall.code(ann, send("room", "x")), "SUCCESS");
    assert_eq!(texts(&mut hall), 4);
    // Kept, although nobody waits for the answer any more.
    hall.office(|_, office, _| office.silent = true);
    hall.ask(ann, whisper("bob", "x"));
    let link = hall.sim.link_between(ann, hall.server).unwrap();
    hall.sim.disconnect(link);
    hall.wait();
    let ticket = hall.office(|_, office, _| office.asked.remove(0));
    let allow = voxwire_msgpack::ServerCommand::Allow { ticket };
    hall.office(|server, _, now| server.handle_command(now, allow)).unwrap();
    assert_eq!(texts(&mut hall), 5);
}

/// F-07, M-08: a copy that is kept costs more than its few bytes, as the application stores each; one that is handed on does not.
#[test]
fn m_08_a_copy_that_is_kept_costs_2_kib_at_least() {
    let messages = voxwire_core::Rate { per_second: 1, burst: 10_000 };
    let mut hall =
        Harness::new(ServerSettings { messages, ..ServerSettings::DEFAULT }, Office::discreet(), 1);
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(ann, create("room"));
    hall.code(bob, join("room"));
    for _ in 0..8 {
        assert_eq!(hall.code(ann, send("room", "x")), "SUCCESS");
    }
    hall.code(bob, ClientCommand::Logout);
    let codes = [(); 5].map(|()| hall.code(ann, send("room", "x")));
    assert_eq!(codes.iter().filter(|code| *code == "SUCCESS").count(), 4, "{codes:?}");
    let carl = hall.user("carl");
    hall.code(carl, ClientCommand::Logout);
    let dora = hall.user("dora");
    let codes = [(); 5].map(|()| hall.code(dora, whisper("carl", "x")));
    assert_eq!(codes.iter().filter(|code| *code == "SUCCESS").count(), 4, "{codes:?}");
}

/// M-13: in the call of `echo` each user hears itself alone; a group of that name is like others.
#[test]
fn m_13_who_joins_the_call_of_echo_hears_itself() {
    let settings = ServerSettings { echo: true, ..ServerSettings::DEFAULT };
    let mut hall = Harness::new(settings, Office::discreet(), 1);
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    let say = || ClientCommand::Say { samples: [1_i16, 2, 3][..].into() };
    assert_eq!([hall.code(ann, call("echo")), hall.code(bob, call("echo"))], ["SUCCESS"; 2]);
    let (_ann, _bob) = (hall.heard(ann), hall.heard(bob));
    hall.ask(ann, say());
    let heard = r#"CallData { sender: "echo", samples: 3 Int samples }"#;
    assert_eq!((hall.heard(ann), hall.heard(bob)), (vec![heard.into()], vec![]));
    assert_eq!(hall.code(ann, create("echo")), "GROUP_ALREADY_EXIST");
    assert_eq!(hall.code(ann, join("echo")), "GROUP_MEMBER_ALREADY_EXIST");
    assert_eq!(hall.office(|server, _, _| server.in_calls()), 2);
    assert_eq!(hall.code(ann, ClientCommand::LeaveCall), "SUCCESS");
    assert_eq!(hall.office(|server, _, _| server.in_calls()), 1);
    // Off by default: a group like others.
    let mut hall = Harness::safe();
    let ann = hall.user("ann");
    assert_eq!(hall.code(ann, call("echo")), "GROUP_DOES_NOT_EXIST");
    assert_eq!(hall.code(ann, create("echo")), "SUCCESS");
}
