//! What a server says, packet by packet: the original's rules, and ours where they are safer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use harness::{CLOSED, Harness, hash, peer, request};
use std::time::Duration;
use voxwire_core::{Input, NameError, Session};
use voxwire_opcode::{Packet, Refusal, ServerCommand, ServerSettings, Text, Violation, reason};

const TAKEN: &str = r#"LoginFailed { reason: "username already used" }"#;
const SECOND: Duration = Duration::from_secs(1);

fn contacts(packet: &str, names: &[&str]) -> String {
    format!("{packet} {{ contacts: {names:?} }}")
}

#[test]
fn o_04_log_ins_are_judged_in_the_originals_order() {
    for settings in [ServerSettings::DEFAULT, ServerSettings::ORIGINAL] {
        let mut hall = Harness::new(settings);
        hall.open(0);
        assert_eq!(hall.said(0), ["HelloConnect"], "before anything else");
        // A client without a name takes no name of others, nor its own.
        hall.login(0, "").unwrap();
        assert_eq!(hall.said(0), [TAKEN]);
        hall.login(0, "alice").unwrap();
        assert_eq!(hall.said(0), ["LoginSuccess"]);
        hall.open(1);
        hall.login(1, "alice").unwrap();
        // Who has failed may try again.
        hall.login(1, "bob").unwrap();
        let roster = contacts("AddContact", &["alice"]);
        assert_eq!(hall.said(1), ["HelloConnect", TAKEN, "LoginSuccess", &roster]);
        // Its own name is a client's, too. Another one is not answered at all.
        hall.login(1, "bob").unwrap();
        hall.login(1, "robert").unwrap();
        assert_eq!(hall.said(1), [TAKEN]);
        assert_eq!(hall.server.name(peer(1)), Some(&b"bob"[..]));
        // With all clients logged in none has the empty name; but a client with a name is not answered.
        hall.login(1, "").unwrap();
        assert_eq!(hall.said(1), [""; 0]);
        assert_eq!((hall.server.logged_in(), hall.server.stats().logins), (2, 2));
        assert_eq!(hall.server.find(b"alice"), Some(peer(0)));
    }
}

#[test]
fn o_05_connections_without_a_name_are_told_and_not_told_of() {
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    hall.join(0, "alice");
    hall.open(1);
    hall.open(2);
    hall.login(2, "bob").unwrap();
    assert_eq!(hall.said(0), [contacts("AddContact", &["bob"])]);
    assert_eq!(hall.said(1)[1..], [contacts("AddContact", &["bob"])], "as the original does");
    assert_eq!(hall.said(2)[2..], [contacts("AddContact", &["alice"])]);
    hall.input(Input::Closed { peer: peer(1) }).unwrap();
    hall.run_for(SECOND);
    assert_eq!(hall.said(0), [""; 0]);

    let mut hall = Harness::new(ServerSettings { unnamed_are_told: false, ..ServerSettings::DEFAULT });
    hall.join(0, "alice");
    hall.open(1);
    hall.open(2);
    hall.login(2, "bob").unwrap();
    assert_eq!(hall.said(1), ["HelloConnect"]);
}

#[test]
fn o_05_the_original_profile_lists_and_calls_connections_without_a_name() {
    let mut hall = Harness::new(ServerSettings::ORIGINAL);
    hall.join(0, "alice");
    hall.open(1);
    hall.open(2);
    hall.said(0);
    hall.login(2, "bob").unwrap();
    assert_eq!(hall.said(2)[2..], [contacts("AddContact", &["alice", ""])]);
    hall.send(0, &request("", "", 1)).unwrap();
    assert_eq!(hall.said(1)[2..], [r#"CallRequest { contact: "alice", host: "10.0.0.0", port: 1 }"#]);
    hall.send(1, &request("bob", "", 2)).unwrap();
    assert_eq!(hall.said(2), [r#"CallRequest { contact: "", host: "10.0.0.1", port: 2 }"#]);
    hall.send(2, &Packet::CallRefused { contact: Text(b"alice") }).unwrap();
    assert_eq!(hall.said(0)[1..], [r#"CallRefused { contact: "bob" }"#], "asked or not");
    hall.input(Input::Closed { peer: peer(1) }).unwrap();
    assert_eq!(hall.said(0), [contacts("DelContact", &[""])]);
}

#[test]
fn o_05_every_kind_of_end_is_told() {
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    for (slot, name) in [(0, "alice"), (1, "bob"), (2, "carol"), (3, "dave")] {
        hall.join(slot, name);
    }
    hall.input(Input::Closed { peer: peer(1) }).unwrap();
    hall.run_for(SECOND);
    // A packet that the server has no use for.
    assert!(hall.send(2, &Packet::VoiceData(b"abc")).is_err());
    hall.run_for(SECOND);
    hall.server.handle_command(hall.now, ServerCommand::Kick { peer: peer(3), reason: "noise" }).unwrap();
    hall.collect();
    let events = hall.run_for(SECOND);
    assert_eq!(events, [r#"Gone(3.0, Some("dave"))"#]);
    let left = ["bob", "carol", "dave"].map(|name| contacts("DelContact", &[name]));
    assert_eq!(hall.said(0), left);
    assert_eq!(hall.said(2).last().unwrap(), CLOSED);
    assert_eq!(hall.said(3)[2..], [r#"ErrorResponse { what: "noise" }"#, CLOSED]);
    let refused = hall.server.handle_command(hall.now, ServerCommand::Kick { peer: peer(3), reason: "" });
    assert_eq!(refused, Err(Refusal::UnknownPeer));
}

#[test]
fn o_06_calls_are_handed_on_with_the_address_that_is_seen() {
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    hall.join(0, "alice");
    hall.join(1, "bob");
    for host in ["", "192.0.2.9", "localhost", "255.255.255.255"] {
        hall.send(0, &request("bob", host, 4001)).unwrap();
        assert_eq!(hall.said(1), [r#"CallRequest { contact: "alice", host: "10.0.0.0", port: 4001 }"#]);
    }
    assert_eq!(hall.said(0), [""; 0], "success has no answer");
    hall.send(0, &request("nobody", "", 4001)).unwrap();
    assert_eq!(hall.said(0), [r#"ErrorResponse { what: "requested username not found" }"#]);
    // Oneself can be called.
    hall.send(0, &request("alice", "", 4001)).unwrap();
    assert_eq!(hall.said(0), [r#"CallRequest { contact: "alice", host: "10.0.0.0", port: 4001 }"#]);
    hall.send(1, &Packet::CallRefused { contact: Text(b"alice") }).unwrap();
    assert_eq!(hall.said(0), [r#"CallRefused { contact: "bob" }"#]);
    // To nobody: dropped without a word.
    hall.send(1, &Packet::CallRefused { contact: Text(b"nobody") }).unwrap();
    assert_eq!(hall.said(1), [""; 0]);

    let mut hall = Harness::new(ServerSettings { trust_host: true, ..ServerSettings::DEFAULT });
    hall.join(0, "alice");
    hall.join(1, "bob");
    for (host, shown) in [("192.0.2.9", "192.0.2.9"), ("", "10.0.0.0"), ("gateway.example", "10.0.0.0")] {
        hall.send(0, &request("bob", host, 4001)).unwrap();
        assert_eq!(
            hall.said(1),
            [format!(r#"CallRequest {{ contact: "alice", host: "{shown}", port: 4001 }}"#)]
        );
    }
}

#[test]
fn o_04_the_application_decides_who_comes_in() {
    let mut hall = Harness::new(ServerSettings { ask: true, ..ServerSettings::DEFAULT });
    hall.open(0);
    assert_eq!(hall.login(0, "alice:hush"), Ok(Some("LoggingIn(0.0)".into())), "no secret in logs");
    assert!(hall.login(0, "alice:hush").is_err(), "one at a time");
    let admit = |name, proven| ServerCommand::Admit { peer: peer(0), name, proven };
    assert_eq!(
        hall.server.handle_command(hall.now, admit("", false)),
        Err(Refusal::InvalidName(NameError::Empty))
    );
    hall.server.handle_command(hall.now, admit("alice", false)).unwrap();
    assert_eq!(hall.run_for(SECOND), ["LoggedIn(0.0)"]);
    assert_eq!(hall.said(0)[1..], ["LoginSuccess"]);
    assert!(hall.server.handle_command(hall.now, admit("alice", false)).is_err(), "not asked");
    // Another client of that name: not without its secret.
    hall.open(1);
    for proven in [false, true] {
        hall.login(1, "alice:hush").unwrap();
        let command = ServerCommand::Admit { peer: peer(1), name: "alice", proven };
        hall.server.handle_command(hall.now, command).unwrap();
        hall.collect();
    }
    assert_eq!(hall.said(1)[1..4], [TAKEN, &contacts("DelContact", &["alice"]), "LoginSuccess"]);
    assert_eq!(
        hall.said(0)[..2],
        [r#"ErrorResponse { what: "your name was taken over by a newer connection" }"#, CLOSED]
    );
    hall.open(2);
    hall.login(2, "bob").unwrap();
    let reject = ServerCommand::Reject { peer: peer(2), reason: "wrong secret" };
    hall.server.handle_command(hall.now, reject).unwrap();
    hall.collect();
    assert_eq!(hall.said(2)[1..], [r#"LoginFailed { reason: "wrong secret" }"#]);
    assert!(hall.server.handle_command(hall.now, reject).is_err());
}

#[test]
fn names_that_nobody_could_tell_apart_are_refused() {
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    hall.open(0);
    // F-05
    for (name, error) in [
        ("al\u{200b}ice", NameError::Invisible('\u{200b}')),
        (" alice", NameError::Blank),
        ("a\nb", NameError::Control('\n')),
        ("\u{202e}evil", NameError::Invisible('\u{202e}')),
        ("bob\u{fe0f}", NameError::Stray('\u{fe0f}')),
        ("b\u{34f}ob", NameError::Invisible('\u{34f}')),
        ("\u{2800}", NameError::Invisible('\u{2800}')),
        ("a\u{a0}b", NameError::Invisible('\u{a0}')),
        ("\u{3000}", NameError::Invisible('\u{3000}')),
        ("bob\u{1d173}", NameError::Invisible('\u{1d173}')),
    ] {
        assert_eq!(hall.login(0, name), Err(Violation::InvalidName(error)));
        let said = format!(r#"LoginFailed {{ reason: "username invalid: {error}" }}"#);
        assert_eq!(hall.said(0).last(), Some(&said));
    }
    let long = Text(&[b'a'; 255]);
    hall.send(0, &Packet::Login { name: long }).unwrap();
    assert_eq!(hall.said(0), ["LoginSuccess"]);
}

/// F-05: one name in two encodings is one name, and is called by either; the original compares bytes, and takes any.
#[test]
fn a_name_is_the_same_however_it_is_encoded() {
    let (composed, decomposed) = ("Jos\u{e9}", "Jose\u{301}");
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    (0..2).for_each(|slot| hall.open(slot));
    hall.login(0, composed).unwrap();
    hall.login(1, decomposed).unwrap();
    assert!(hall.said(1).last().unwrap().contains(reason::TAKEN));
    assert_eq!(hall.server.find(decomposed.as_bytes()), Some(peer(0)));
    let mut hall = Harness::new(ServerSettings::ORIGINAL);
    for (slot, name) in [composed, decomposed, "bob\u{fe0f}", "\u{2800}"].into_iter().enumerate() {
        let slot = slot as u32;
        hall.open(slot);
        hall.login(slot, name).unwrap();
        assert_eq!(hall.server.name(peer(slot)), Some(name.as_bytes()));
    }
    // People write like this, and are let in.
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    for (slot, name) in
        ["می\u{200c}خواهم", "क्\u{200d}ष", "👨\u{200d}👩\u{200d}👧", "Ann B. 2"].into_iter().enumerate()
    {
        let slot = slot as u32;
        hall.open(slot);
        hall.login(slot, name).unwrap();
        assert_eq!(hall.server.name(peer(slot)), Some(name.as_bytes()));
    }
}

#[test]
fn a_new_connection_of_the_same_address_may_take_its_name_over_where_that_is_set() {
    let mut hall = Harness::new(ServerSettings { same_address_displaces: true, ..ServerSettings::DEFAULT });
    hall.open_from(0, [192, 0, 2, 1]).unwrap();
    hall.login(0, "alice").unwrap();
    for (slot, from, taken) in [(1, [192, 0, 2, 2], true), (2, [192, 0, 2, 1], false)] {
        hall.open_from(slot, from).unwrap();
        hall.said(slot);
        hall.login(slot, "alice").unwrap();
        assert_eq!(hall.said(slot)[0] == TAKEN, taken);
    }
    assert_eq!(hall.said(0).last().unwrap(), CLOSED);
    hall.run_for(SECOND);
    assert_eq!((hall.server.find(b"alice"), hall.server.peers()), (Some(peer(2)), 2));
}

/// Bytes that every client's names take, as lists' elements.
fn names(count: u64) -> u64 {
    count * (8 + "player 0000".len() as u64)
}

#[test]
fn o_05_two_thousand_log_ins_cost_little_more_than_their_names() {
    const PLAYERS: u32 = 2000;
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    for n in 0..PLAYERS {
        hall.open(n);
        hall.login(n, &format!("player {n:04}")).unwrap();
        hall.run_for(Duration::from_micros(500));
    }
    hall.run_for(SECOND);
    // Every client has every other client's name, told once.
    let wanted = names(u64::from(PLAYERS) * u64::from(PLAYERS - 1));
    let told: u64 = hall.sent.values().map(|(bytes, _)| *bytes as u64).sum();
    assert!(told < wanted + wanted / 20, "{told} bytes for {wanted} of names");
    // A second of log-ins: ten lists of one at first, then twenty, and a few for the contact list at the log-in.
    let most = hall.sent.values().map(|(_, packets)| *packets).max().unwrap();
    assert!(most <= 2 + 34, "{most} packets");
    let rosters_are_right = |hall: &Harness, here: std::ops::Range<u32>| {
        let name = |n: u32| hash(format!("player {n:04}").as_bytes());
        let all = here.clone().map(name).fold(0, u64::wrapping_add);
        for n in here.clone() {
            assert_eq!(hall.contacts[&n], (here.len() as i64 - 1, all.wrapping_sub(name(n))), "player {n}");
        }
    };
    rosters_are_right(&hall, 0..PLAYERS);
    // Half of them go again, one is sent away, and a client comes in between.
    for n in PLAYERS / 2..PLAYERS {
        hall.input(Input::Closed { peer: peer(n) }).unwrap();
        hall.run_for(Duration::from_micros(300));
        if n % 100 == 0 {
            hall.open(PLAYERS + n);
            hall.login(PLAYERS + n, "a guest").unwrap();
            hall.input(Input::Closed { peer: peer(PLAYERS + n) }).unwrap();
            let kick = ServerCommand::Kick { peer: peer(0), reason: "" };
            let _ = hall.server.handle_command(hall.now, kick);
        }
    }
    hall.run_for(SECOND);
    rosters_are_right(&hall, 1..PLAYERS / 2);
}

#[test]
fn o_05_a_connection_is_told_of_nothing_that_came_before_it() {
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    // A storm, so that what happens waits.
    for n in 0..15 {
        hall.open(n);
        hall.login(n, &format!("player {n}")).unwrap();
    }
    hall.open(20);
    hall.open(21);
    hall.login(21, "late").unwrap();
    hall.run_for(SECOND);
    assert_eq!(hall.said(20), ["HelloConnect", &contacts("AddContact", &["late"])]);
    let roster = hall.said(21).pop().unwrap();
    assert!(roster.contains("player 14") && !roster.contains("late"), "{roster}");
    // Calm again: one by one, and at once.
    hall.open(22);
    hall.login(22, "later").unwrap();
    assert_eq!(hall.said(20), [contacts("AddContact", &["later"])]);
}

/// F-26: who had been told of a client before it logged in is told when that one goes, whenever that is.
#[test]
fn f_26_a_log_in_amid_a_storm_leaves_no_ghost() {
    let mut hall = Harness::new(ServerSettings::DEFAULT);
    hall.tracked = true;
    hall.open(50);
    hall.open(51);
    hall.login(51, "xavier").unwrap();
    assert!(hall.said(50).contains(&contacts("AddContact", &["xavier"])));
    // A storm, so that what happens waits; xavier goes, and the one that was told of him logs in.
    for n in 0..15 {
        hall.open(n);
        hall.login(n, &format!("player {n}")).unwrap();
    }
    hall.input(Input::Closed { peer: peer(51) }).unwrap();
    hall.login(50, "yvonne").unwrap();
    hall.run_for(SECOND);
    assert_eq!(hall.replicas[&50].len(), 15, "{:?}", hall.said(50));
    assert!(!hall.replicas[&50].contains(&b"xavier"[..]));
}

/// F-26, O-05: clients come and go in any order and in storms: when it is quiet, all that are logged in have the
/// same list, and those without a name have nobody in theirs that is not there.
#[test]
fn f_26_worlds_of_random_comings_and_goings_end_with_equal_lists() {
    use std::collections::{BTreeMap, BTreeSet};
    for seed in 0..300 {
        let mut rng = voxwire_core::testing::Rng::new(seed);
        let settings = ServerSettings {
            unnamed_are_told: seed % 5 != 0,
            quarantine: if seed % 2 == 0 { Duration::ZERO } else { SECOND },
            coalesce: Duration::from_millis(50 * (seed % 3)),
            ..ServerSettings::DEFAULT
        };
        let mut hall = Harness::new(settings);
        hall.tracked = true;
        let mut named: BTreeMap<u32, String> = BTreeMap::new();
        let mut unnamed: BTreeSet<u32> = BTreeSet::new();
        let mut next = 0;
        for _ in 0..200 {
            match rng.below(10) {
                0..=3 => {
                    hall.open(next);
                    unnamed.insert(next);
                    next += 1;
                }
                4..=6 => {
                    let at = rng.below(unnamed.len().max(1) as u64) as usize;
                    let Some(&slot) = unnamed.iter().nth(at) else { continue };
                    // Few names, so that they are taken, given up and taken again.
                    let name = format!("player {}", rng.below(30));
                    let _ = hall.login(slot, &name);
                    if hall.server.name(peer(slot)).is_some() {
                        unnamed.remove(&slot);
                        named.insert(slot, name);
                    }
                }
                7 | 8 => {
                    let all: Vec<u32> = unnamed.iter().chain(named.keys()).copied().collect();
                    let Some(&slot) = all.get(rng.below(all.len().max(1) as u64) as usize) else { continue };
                    hall.input(Input::Closed { peer: peer(slot) }).unwrap();
                    unnamed.remove(&slot);
                    named.remove(&slot);
                }
                _ => drop(hall.run_for(Duration::from_millis(rng.below(120)))),
            }
        }
        hall.run_for(SECOND);
        for (slot, name) in &named {
            let others = named.values().filter(|other| *other != name);
            let others: BTreeSet<Vec<u8>> = others.map(|name| name.clone().into_bytes()).collect();
            assert_eq!(hall.replicas[slot], others, "seed {seed}, {name}");
        }
        for slot in &unnamed {
            let here: BTreeSet<Vec<u8>> = named.values().map(|name| name.clone().into_bytes()).collect();
            let ghosts: Vec<_> = hall.replicas[slot].difference(&here).collect();
            assert!(ghosts.is_empty(), "seed {seed}, connection {slot}: {ghosts:?}");
        }
    }
}

#[test]
fn o_05_what_does_not_fit_the_backlog_is_told_all_the_same() {
    let mut settings = ServerSettings::DEFAULT;
    settings.limits.max_outbox = 4096;
    let mut hall = Harness::new(settings);
    let name = |n: u32| format!("{n:0200}");
    for n in 0..100 {
        hall.open(n);
        hall.login(n, &name(n)).unwrap();
    }
    hall.run_for(SECOND);
    for n in 0..100 {
        assert_eq!(hall.contacts[&n].0, 99, "player {n}");
    }
}

#[test]
fn o_08_who_comes_from_the_servers_own_machine_is_told_its_loopback_address() {
    let v4 = Some([192, 0, 2, 1].into());
    let relay = Some(voxwire_opcode::RelayAddress { v4, v6: None });
    let mut hall = Harness::new(ServerSettings { relay, ..ServerSettings::DEFAULT });
    hall.join(0, "alice");
    for (slot, from, told) in [(1, [127, 0, 0, 1], "127.0.0.1"), (2, [198, 51, 100, 7], "192.0.2.1")] {
        hall.open_from(slot, from).unwrap();
        hall.login(slot, &format!("client {slot}")).unwrap();
        hall.said(slot);
        hall.send(0, &request(&format!("client {slot}"), "", 4001)).unwrap();
        let id = voxwire_core::ListenId::new((slot - 1) * 2);
        hall.input(Input::Listening { id, port: 5000 }).unwrap();
        assert!(hall.said(slot)[0].contains(&format!("host: \"{told}\"")), "{slot}");
    }
    // Nobody can be told an address of a family that there is none of.
    let from = Some((std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 5).into());
    hall.input(Input::Opened { peer: peer(3), via: voxwire_core::Via::Accepted, from }).unwrap();
    hall.login(3, "six").unwrap();
    hall.said(0);
    hall.send(0, &request("six", "", 4001)).unwrap();
    assert!(hall.said(0)[0].contains("cannot carry more calls"));
}
