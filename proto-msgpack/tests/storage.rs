//! What a server asks of its application, which may take its time: accounts, groups, messages that are kept, and what was stored before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use core::time::Duration;
use harness::{Harness, call, create, join, login, register, send};
use voxwire_core::Session;
use voxwire_msgpack::{ClientCommand, ClientSettings, Code, Refusal, Secret, ServerCommand, Text, Ticket};

/// The question that was asked first and is not answered.
fn asked(hall: &mut Harness) -> Ticket {
    hall.office(|_, office, _| office.asked.remove(0))
}

#[test]
fn m_08_an_application_may_take_its_time_and_the_next_requests_of_that_client_wait() {
    let mut hall = Harness::safe();
    hall.office(|_, office, _| office.silent = true);
    let (ann, _) = hall.client();
    hall.sim.with(ann, |client, _, now| {
        for password in ["one", "two", "three"] {
            client.handle_command(now, register("ann", password)).unwrap();
        }
    });
    hall.wait();
    let questions = |hall: &mut Harness| hall.office(|_, office, _| office.asked.len());
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
    let mut hall = Harness::safe();
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
    let mut hall = Harness::safe();
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
    let mut hall = Harness::safe();
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
    let mut hall = Harness::safe();
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

/// M-08: what a member has already is not sent again because the application takes too long to keep it for the others.
#[test]
fn m_08_a_group_message_that_a_member_has_succeeds_however_long_it_takes_to_keep_it_for_others() {
    let mut hall = Harness::safe();
    let [ann, bob, cat] = ["ann", "bob", "cat"].map(|name| hall.user(name));
    hall.code(ann, create("room"));
    for member in [bob, cat] {
        hall.code(member, join("room"));
    }
    hall.code(bob, ClientCommand::Logout);
    hall.office(|_, office, _| office.silent = true);
    let counted = |hall: &mut Harness| hall.office(|server, _, _| server.stats().texts);
    let before = counted(&mut hall);
    hall.ask(ann, send("room", "hi"));
    hall.sim.run_for(Duration::from_secs(39));
    let has = |heard: &[String]| heard.iter().filter(|heard| heard.contains("content: \"hi\"")).count();
    assert_eq!(has(&hall.heard(cat)), 1);
    let last = hall.heard(ann).pop().unwrap();
    assert!(last.ends_with("code: SUCCESS, again: false }"), "{last}");
    // What becomes of the copy for bob does not matter to the answer; it counts as one text.
    let late = asked(&mut hall);
    let refuse = ServerCommand::Refuse { ticket: late, code: Code::SERVER_UNAVAILABLE };
    hall.office(|server, _, now| server.handle_command(now, refuse)).unwrap();
    hall.wait();
    assert!(hall.heard(ann).is_empty());
    assert_eq!(counted(&mut hall), before + 1);
    // Nor is it where the server ends meanwhile.
    hall.ask(ann, send("room", "bye"));
    hall.office(|server, _, now| server.shutdown(now));
    hall.wait();
    let heard = hall.heard(ann);
    assert!(
        heard.iter().any(|heard| heard.ends_with("MsgGroup, code: SUCCESS, again: false }")),
        "{heard:?}"
    );
    // One that nobody has may be sent again.
    let mut hall = Harness::safe();
    let [ann, bob] = ["ann", "bob"].map(|name| hall.user(name));
    hall.code(ann, create("room"));
    hall.code(bob, join("room"));
    hall.code(bob, ClientCommand::Logout);
    hall.office(|_, office, _| office.silent = true);
    hall.ask(ann, send("room", "hi"));
    hall.sim.run_for(Duration::from_secs(39));
    let last = hall.heard(ann).pop().unwrap();
    assert!(last.ends_with("code: SERVER_UNAVAILABLE, again: false }"), "{last}");
}

#[test]
fn m_08_stored_groups_and_members_are_known_again() {
    let mut hall = Harness::safe();
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
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    for name in ["lonely", "room", "talk", "texts"] {
        assert_eq!(hall.code(ann, create(name)), "SUCCESS");
    }
    assert_eq!(hall.code(bob, join("room")), "SUCCESS");
    assert_eq!(hall.code(ann, call("talk")), "SUCCESS");
    let groups = |hall: &mut Harness| hall.office(|server, _, _| server.groups());
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

/// F-12: a group that nobody uses is forgotten with any members, so that those who make groups for others use none up for good; and
/// how long it was not used outlives the server.
#[test]
fn m_08_groups_with_members_are_forgotten_when_nobody_uses_them_for_60_days() {
    let day = Duration::from_secs(24 * 3600);
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    for name in ["quiet", "talk", "texts", "joined"] {
        assert_eq!(hall.code(ann, create(name)), "SUCCESS");
        assert_eq!(hall.code(bob, join(name)), "SUCCESS");
    }
    assert_eq!(hall.code(ann, call("talk")), "SUCCESS");
    let groups = |hall: &mut Harness| hall.office(|server, _, _| server.groups());
    let used = |hall: &mut Harness, name: &str| {
        let log = hall.office(|_, office, _| office.log.take());
        let name = format!("{:?}", name.as_bytes());
        log.iter().filter(|event| event.starts_with("GroupUsed") && event.contains(&name)).count()
    };
    hall.sim.run_for(day * 40);
    hall.office(|_, office, _| drop(office.log.take()));
    for _ in 0..3 {
        assert_eq!(hall.code(ann, send("texts", "x")), "SUCCESS");
    }
    assert_eq!(used(&mut hall, "texts"), 1, "once a day");
    let cat = hall.user("cat");
    assert_eq!(hall.code(cat, join("joined")), "SUCCESS");
    hall.sim.run_for(day * 15);
    assert_eq!(groups(&mut hall), 4);
    hall.sim.run_for(day * 6);
    assert_eq!(groups(&mut hall), 3);
    assert_eq!(hall.code(ann, send("quiet", "x")), "GROUP_DOES_NOT_EXIST");
    hall.sim.run_for(day * 40);
    assert_eq!(groups(&mut hall), 1, "the one with a call");
    // As it was stored.
    for (days, left) in [(59, 1), (61, 0)] {
        let mut hall = Harness::safe();
        hall.office(|server, _, now| {
            let (group_name, owner) = (Text::from("room"), Text::from("ann"));
            let unused = ServerCommand::Unused { group_name, time: day * days };
            assert!(server.handle_command(now, unused).is_err());
            server.handle_command(now, ServerCommand::Group { group_name, owner }).unwrap();
            server.handle_command(now, unused).unwrap();
            let member = ServerCommand::Member { group_name, username: "bob".into() };
            server.handle_command(now, member).unwrap();
        });
        hall.wait();
        assert_eq!(groups(&mut hall), left);
    }
}
