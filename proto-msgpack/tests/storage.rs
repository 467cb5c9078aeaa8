//! What a server asks of its application, which may take its time: accounts, groups, messages that are kept, and what was stored before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod hall;

use core::time::Duration;
use hall::{Hall, call, create, join, login, register, send};
use voxwire_core::{Input, Lane, Session};
use voxwire_msgpack::{
    ClientCommand, ClientSettings, Code, Refusal, Secret, ServerCommand, ServerMessage, Text, Ticket,
};

/// The question that was asked first and is not answered.
fn asked(hall: &mut Hall) -> Ticket {
    hall.office(|_, office, _| office.asked.remove(0))
}

#[test]
fn m_08_an_application_may_take_its_time_and_the_next_requests_of_that_client_wait() {
    let mut hall = Hall::safe();
    hall.office(|_, office, _| office.silent = true);
    let (ann, _) = hall.client();
    hall.sim.with(ann, |client, _, now| {
        for password in ["one", "two", "three"] {
            client.handle_command(now, register("ann", password)).unwrap();
        }
    });
    hall.wait();
    let questions = |hall: &mut Hall| hall.office(|_, office, _| office.asked.len());
    assert_eq!(questions(&mut hall), 1);
    let first = asked(&mut hall);
    hall.office(|server, _, now| server.handle_command(now, ServerCommand::Allow { ticket: first })).unwrap();
    hall.wait();
    assert_eq!(questions(&mut hall), 1, "now the second");
    // One that takes too long is answered for it; its own answer comes to nothing, and is not taken for that to the third.
    hall.sim.run_for(Duration::from_secs(39));
    assert_eq!(
        hall.heard(ann),
        [
            "Connected",
            "Response { action: Register, code: SUCCESS, again: false }",
            "Response { action: Register, code: SERVER_UNAVAILABLE, again: false }"
        ]
    );
    assert_eq!(questions(&mut hall), 2, "and the third");
    let (late, third) = (asked(&mut hall), asked(&mut hall));
    let allow = ServerCommand::Allow { ticket: late };
    assert_eq!(hall.office(|server, _, now| server.handle_command(now, allow)), Err(Refusal::UnknownTicket));
    hall.wait();
    assert!(hall.heard(ann).is_empty());
    let refuse = ServerCommand::Refuse { ticket: third, code: Code::USER_ALREADY_EXIST };
    hall.office(|server, _, now| server.handle_command(now, refuse)).unwrap();
    hall.wait();
    assert_eq!(hall.heard(ann), ["Response { action: Register, code: USER_ALREADY_EXIST, again: false }"]);
    assert_eq!(hall.office(|server, _, now| server.handle_command(now, refuse)), Err(Refusal::UnknownTicket));
}

#[test]
fn m_07_a_right_password_that_comes_late_is_nobodys_key() {
    let mut hall = Hall::safe();
    hall.office(|_, office, _| office.silent = true);
    let (eve, _) = hall.client();
    hall.ask(eve, login("eve", "right"));
    hall.sim.run_for(Duration::from_secs(39));
    hall.ask(eve, login("victim", "wrong"));
    let (late, _) = (asked(&mut hall), asked(&mut hall));
    let token = Secret::from("00000000-0000-4000-8000-000000000001");
    let admit = ServerCommand::Admit { ticket: late, token };
    assert_eq!(hall.office(|server, _, now| server.handle_command(now, admit)), Err(Refusal::UnknownTicket));
    hall.wait();
    assert_eq!(hall.office(|server, _, _| server.online()), 0);
    assert_eq!(
        hall.heard(eve),
        ["Connected", "Response { action: Login, code: SERVER_UNAVAILABLE, again: false }"]
    );
}

#[test]
fn m_08_what_was_stored_is_true_even_if_who_asked_is_gone() {
    let mut hall = Hall::safe();
    let ann = hall.user("ann");
    let link = hall.sim.link_between(ann, hall.server).unwrap();
    hall.office(|_, office, _| office.silent = true);
    hall.ask(ann, create("room"));
    hall.sim.disconnect(link);
    hall.sim.run_for(Duration::from_secs(40));
    let ticket = asked(&mut hall);
    hall.office(|server, _, now| {
        assert_eq!(server.groups(), 0);
        server.handle_command(now, ServerCommand::Allow { ticket }).unwrap();
        assert_eq!(server.groups(), 1);
    });
}

#[test]
fn m_11_nothing_is_kept_of_questions_whose_askers_are_gone() {
    let mut hall = Hall::safe();
    hall.office(|_, office, _| office.silent = true);
    let (eve, link) = hall.client_with(ClientSettings { reconnect: None, ..ClientSettings::DEFAULT });
    hall.ask(eve, login("eve", "guess"));
    let ticket = asked(&mut hall);
    hall.sim.disconnect(link);
    hall.wait();
    assert_eq!(hall.office(|server, _, _| server.peers()), 0);
    let refuse = ServerCommand::Refuse { ticket, code: Code::USER_WRONG_PASSWORD };
    assert_eq!(hall.office(|server, _, now| server.handle_command(now, refuse)), Err(Refusal::UnknownTicket));
}

#[test]
fn m_08_a_group_message_that_nobody_has_and_nobody_keeps_is_refused() {
    let mut hall = Hall::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(ann, create("room"));
    hall.code(bob, join("room"));
    hall.code(bob, ClientCommand::Logout);
    hall.office(|_, office, _| office.silent = true);
    for code in ["USER_NOT_CONNECTED", "SUCCESS"] {
        hall.ask(ann, send("room", "hi"));
        let ticket = asked(&mut hall);
        let refuse = ServerCommand::Refuse { ticket, code: Code::USER_NOT_CONNECTED };
        hall.office(|server, _, now| server.handle_command(now, refuse)).unwrap();
        hall.wait();
        let last = hall.heard(ann).pop().unwrap();
        assert!(last.ends_with(&format!("code: {code}, again: false }}")), "{last}");
        // With a third member there who has it, that bob's copy is lost does not matter to the answer.
        hall.office(|_, office, _| office.silent = false);
        let cat = hall.user("cat");
        hall.code(cat, join("room"));
        hall.office(|_, office, _| office.silent = true);
        if code == "SUCCESS" {
            break;
        }
    }
}

#[test]
fn m_08_what_is_delivered_later_has_arrived_when_it_must_have() {
    let mut hall = Hall::safe();
    let bob = hall.user("bob");
    let deliver = |hall: &mut Hall| {
        hall.office(|server, _, now| {
            let peer = server.connections(b"bob")[0];
            let update = ServerMessage::Whisper { sender: "ann".into(), content: "late".into() };
            server.handle_command(now, ServerCommand::Deliver { peer, update }).unwrap();
        });
        hall.wait();
    };
    deliver(&mut hall);
    assert_eq!(hall.heard(bob), [r#"Whisper { sender: "ann", content: "late" }"#]);
    // A request may have been on its way before: it shows nothing.
    assert_eq!(hall.code(bob, create("room")), "SUCCESS");
    let received = |hall: &mut Hall| {
        let log = hall.office(|_, office, _| office.log.take());
        log.iter().filter(|event| event.starts_with("Received")).count()
    };
    assert_eq!(received(&mut hall), 0);
    hall.sim.run_for(Duration::from_secs(39));
    assert_eq!(received(&mut hall), 1);
    // Nobody is sent anything who is not there.
    hall.code(bob, ClientCommand::Logout);
    hall.office(|server, _, now| {
        assert!(server.connections(b"bob").is_empty());
        let peer = voxwire_core::PeerId { slot: 0, generation: 0 };
        let update = ServerMessage::Whisper { sender: "ann".into(), content: "x".into() };
        assert!(server.handle_command(now, ServerCommand::Deliver { peer, update }).is_err());
    });
}

#[test]
fn m_08_what_was_delivered_behind_the_answer_to_the_log_in_may_be_lost_and_is_delivered_again() {
    let deliver = |hall: &mut Hall, first: bool| {
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
        // Whoever logs out has read what came before the token.
        let mut hall = Hall::safe();
        let bob = deliver(&mut hall, first);
        hall.office(|_, office, _| office.log.take());
        hall.code(bob, ClientCommand::Logout);
        let log = hall.office(|_, office, _| office.log.take()).join("\n");
        assert!(log.contains(&format!("received: {first} }}")), "{log}");
        // So has whoever is taken up with the token.
        let mut hall = Hall::safe();
        let bob = deliver(&mut hall, first);
        let link = hall.sim.link_between(bob, hall.server).unwrap();
        hall.sim.set_down(bob, true);
        hall.sim.disconnect(link);
        hall.wait();
        hall.office(|server, office, now| {
            let peer = voxwire_core::PeerId { slot: 50, generation: 0 };
            let (via, from) = (voxwire_core::Via::Accepted, Some(([10, 0, 0, 2], 4000).into()));
            server.handle_input(now, Input::Opened { peer, via, from }).unwrap();
            let message = voxwire_msgpack::ClientMessage::CreateGroup {
                username: "bob".into(),
                token: "00000000-0000-4000-8000-000000000001".into(),
                group_name: "room".into(),
            };
            server.receive(now, peer, message).unwrap();
            let told = server.handle_timeout(now).map(|event| format!("{event:?}")).unwrap_or_default();
            assert!(told.starts_with("Resumed") && told.contains(&format!("received: {first} }}")), "{told}");
            office.log.take();
        });
    }
}

#[test]
fn m_08_stored_groups_and_members_are_known_again() {
    let mut hall = Hall::safe();
    hall.office(|server, _, now| {
        let (group_name, owner) = (Text::from("room"), Text::from("ann"));
        let username = Text::from("bob");
        let member = ServerCommand::Member { group_name, username };
        assert!(server.handle_command(now, member).is_err());
        server.handle_command(now, ServerCommand::Group { group_name, owner }).unwrap();
        server.handle_command(now, member).unwrap();
    });
    let bob = hall.user("bob");
    assert_eq!(hall.code(bob, call("room")), "SUCCESS");
    assert_eq!(hall.code(bob, join("room")), "GROUP_MEMBER_ALREADY_EXIST");
}

/// F-12
#[test]
fn m_08_groups_that_nobody_joined_or_used_for_a_day_are_forgotten() {
    let mut hall = Hall::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    for name in ["lonely", "room", "talk", "texts"] {
        assert_eq!(hall.code(ann, create(name)), "SUCCESS");
    }
    assert_eq!(hall.code(bob, join("room")), "SUCCESS");
    assert_eq!(hall.code(ann, call("talk")), "SUCCESS");
    let groups = |hall: &mut Hall| hall.office(|server, _, _| server.groups());
    hall.sim.run_for(Duration::from_secs(23 * 3600));
    assert_eq!(hall.code(ann, send("texts", "still here")), "SUCCESS");
    assert_eq!(groups(&mut hall), 4);
    hall.sim.run_for(Duration::from_secs(2 * 3600));
    assert_eq!(groups(&mut hall), 3);
    let told = hall.office(|_, office, _| office.log.take());
    assert!(told.iter().any(|event| event.starts_with("GroupForgotten")), "{told:?}");
    assert_eq!(hall.code(ann, send("lonely", "x")), "GROUP_DOES_NOT_EXIST");
    assert_eq!(hall.code(ann, send("room", "x")), "SUCCESS");
    // Left, and not used for another day.
    assert_eq!(hall.code(ann, ClientCommand::LeaveCall), "SUCCESS");
    hall.sim.run_for(Duration::from_secs(50 * 3600));
    assert_eq!(groups(&mut hall), 1);
    // The name is free again.
    assert_eq!(hall.code(bob, create("lonely")), "SUCCESS");
}

/// F-32: what was delivered, and shown to have arrived, does not come again because a log-out follows at once.
#[test]
fn m_08_a_log_out_right_behind_the_first_request_says_that_all_has_arrived() {
    let mut hall = Hall::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(bob, ClientCommand::Logout);
    assert_eq!(hall.code(ann, hall::whisper("bob", "hello")), "SUCCESS");
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
    assert!(received.contains("received: true"), "{received}");
}

/// F-33: as soon as a client's transport has read what was delivered, the next part can follow; whether the client has it, shows as before.
#[test]
fn f_33_the_next_part_can_follow_when_the_transport_has_read_the_one_before() {
    for dialect in [voxwire_msgpack::Dialect::Zmtp, voxwire_msgpack::Dialect::Plain] {
        let mut hall = Hall::safe();
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
        let told = |hall: &mut Hall| -> Vec<String> {
            let log = hall.office(|_, office, _| office.log.take());
            log.into_iter().map(|event| event.split(' ').next().unwrap_or_default().to_string()).collect()
        };
        hall.sim.run_for(Duration::from_millis(15));
        assert!(told(&mut hall).is_empty(), "the answer is on its way");
        hall.sim.run_for(Duration::from_millis(20));
        let zmtp = dialect == voxwire_msgpack::Dialect::Zmtp;
        assert_eq!(told(&mut hall), if zmtp { vec!["Taken"] } else { vec![] }, "once, and for all of it");
        hall.sim.run_for(Duration::from_secs(31));
        assert_eq!(told(&mut hall), ["Received"]);
    }
}
