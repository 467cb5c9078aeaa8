//! What a client does of its own accord: matching answers to requests, coming back, logging in again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use core::time::Duration;
use harness::{Harness, call, create, login, recording, register, whisper};
use voxwire_core::{Input, Instant, Lane, Output, PeerId, Session};
use voxwire_msgpack::{Client, ClientCommand, ClientSettings, Code, Refusal, Samples, ServerCommand};

#[test]
fn m_10_a_client_comes_back_logs_in_and_joins_its_call_again() {
    let mut hall = Harness::safe();
    let (ann, bob) = hall.call_of_two();
    hall.heard(ann);
    // The server goes away for three seconds, in the middle of a request.
    hall.sim.with(ann, |client, _, now| client.handle_command(now, whisper("bob", "lost?"))).unwrap();
    hall.sim.set_down(hall.server, true);
    hall.sim.run_for(Duration::from_secs(3));
    hall.sim.set_down(hall.server, false);
    hall.sim.run_for(Duration::from_secs(10));
    let heard = hall.heard(ann);
    assert!(heard[0].starts_with("Disconnected { unanswered: [Whisper], retry_at: Some("), "{heard:?}");
    assert_eq!(
        heard[1..],
        [
            "Connected",
            r#"LoggedIn { username: "ann", again: true }"#,
            r#"CallJoined { group_name: "room", again: true }"#,
        ]
    );
    hall.heard(bob);
    let samples = [5; 10];
    hall.ask(ann, ClientCommand::Say { samples: Samples::from(&samples[..]) });
    assert_eq!(hall.heard(bob), [r#"CallData { sender: "ann", samples: 10 Int samples }"#]);
}

#[test]
fn m_10_responses_are_matched_in_order_and_what_is_never_answered_is_passed_over() {
    let mut hall = Harness::safe();
    let (ann, link) = hall.client();
    let peers = hall.sim.peers(link);
    hall.heard(ann);
    let from_server = |hall: &mut Harness, body: &[u8]| {
        hall.sim.with(ann, |client, log, now| {
            let input = Input::Frame { peer: peers[0], lane: Lane::Reliable, bytes: body };
            match client.handle_input(now, input) {
                Ok(Some(event)) => voxwire_core::Handler::on_event(log, client, now, event),
                Ok(None) => {}
                Err(error) => voxwire_core::Handler::<Client>::on_violation(log, now, peers[0], error),
            }
        });
        hall.wait();
        hall.heard(ann)
    };
    hall.office(|_, office, _| office.silent = true);
    hall.sim.with(ann, |client, _, now| {
        client.handle_command(now, register("ann", "x")).unwrap();
        client.handle_command(now, login("ann", "x")).unwrap();
    });
    hall.wait();
    // The second is answered first: nobody will answer the first any more.
    let body =
        [&b"\xa8response\xa5login\x00\xa3ann\xd9\x24"[..], b"00000000-0000-4000-8000-000000000001"].concat();
    assert_eq!(
        from_server(&mut hall, &body),
        [r#"LoggedIn { username: "ann", again: false }"#, "NoAnswer { action: Register }"]
    );
    assert!(from_server(&mut hall, b"\xa8response\xa6logout\x00").is_empty());
    assert_eq!(hall.sim.with(ann, |client, _, _| client.stats().violations), 1);
    // An original server does not answer `leave_call`.
    hall.sim.with(ann, |client, _, now| client.handle_command(now, ClientCommand::LeaveCall)).unwrap();
    hall.sim.run_for(Duration::from_secs(41));
    let heard = hall.heard(ann);
    assert!(heard.contains(&"NoAnswer { action: LeaveCall }".to_string()), "{heard:?}");
    // A response to no action there is answers the oldest.
    hall.sim.with(ann, |client, _, now| client.handle_command(now, create("room"))).unwrap();
    assert_eq!(
        from_server(&mut hall, b"\xa8response\xa0\xcd\x03\xff"),
        ["Response { action: CreateGroup, code: REQUEST_INVALID, again: false }"]
    );
}

#[test]
fn m_10_an_answer_that_comes_late_is_not_that_of_the_next_request() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    hall.code(bob, ClientCommand::Logout);
    hall.office(|_, office, _| office.silent = true);
    let settings = ClientSettings { answer_timeout: Duration::from_secs(5), ..ClientSettings::DEFAULT };
    let (cat, _) = hall.client_with(settings);
    hall.office(|_, office, _| office.silent = false);
    hall.ask(cat, register("cat", "x"));
    hall.ask(cat, login("cat", "x"));
    hall.office(|_, office, _| office.silent = true);
    hall.heard(cat);
    hall.sim.with(cat, |client, _, now| client.handle_command(now, whisper("bob", "one"))).unwrap();
    hall.sim.run_for(Duration::from_secs(6));
    assert_eq!(hall.heard(cat), ["NoAnswer { action: Whisper }"]);
    hall.sim.with(cat, |client, _, now| client.handle_command(now, whisper("ann", "two"))).unwrap();
    let ticket = hall.office(|_, office, _| office.asked.remove(0));
    let refuse = ServerCommand::Refuse { ticket, code: Code::USER_NOT_CONNECTED };
    hall.office(|server, _, now| server.handle_command(now, refuse)).unwrap();
    hall.wait();
    // The first is refused, and nobody asks for that any more; the second has succeeded.
    assert_eq!(hall.heard(cat), ["Response { action: Whisper, code: SUCCESS, again: false }"]);
    assert_eq!(hall.heard(ann).last().unwrap(), r#"Whisper { sender: "cat", content: "two" }"#);
    assert_eq!(hall.sim.with(cat, |client, _, _| (client.in_work(), client.stats().violations)), (0, 0));
}

#[test]
fn m_10_log_ins_on_each_others_heels_are_those_they_were() {
    let mut hall = Harness::safe();
    let (ann, bob) = (hall.user("ann"), hall.user("bob"));
    for seat in [ann, bob] {
        hall.code(seat, ClientCommand::Logout);
    }
    let (cat, _) = hall.client();
    hall.sim.with(cat, |client, _, now| {
        client.handle_command(now, login("ann", "wrong")).unwrap();
        client.handle_command(now, login("ann", "geheim")).unwrap();
        client.handle_command(now, login("bob", "geheim")).unwrap();
    });
    hall.wait();
    let heard = hall.heard(cat);
    assert!(heard.contains(&r#"LoggedIn { username: "ann", again: false }"#.to_string()), "{heard:?}");
    assert_eq!(hall.sim.with(cat, |client, _, _| client.name().map(<[u8]>::to_vec)), Some(b"ann".to_vec()));
    assert_eq!(hall.code(cat, create("room")), "SUCCESS");
}

#[test]
fn m_10_a_log_in_after_a_lost_connection_is_tried_again_while_the_server_is_only_busy() {
    for (code, comes_back) in [(Code::REQUEST_OVER_LIMIT, true), (Code::USER_WRONG_PASSWORD, false)] {
        let mut hall = Harness::safe();
        let ann = hall.user("ann");
        hall.office(|_, office, _| office.silent = true);
        hall.sim.set_down(hall.server, true);
        hall.sim.run_for(Duration::from_secs(1));
        hall.sim.set_down(hall.server, false);
        for _ in 0..3 {
            hall.sim.run_for(Duration::from_secs(10));
            hall.office(|server, office, now| {
                if let Some(ticket) = office.asked.pop() {
                    server.handle_command(now, ServerCommand::Refuse { ticket, code }).unwrap();
                }
            });
            hall.wait();
        }
        let heard = hall.heard(ann);
        let refused = format!("Response {{ action: Login, code: {code:?}, again: true }}");
        let count = heard.iter().filter(|event| **event == refused).count();
        assert_eq!(count, if comes_back { 3 } else { 1 }, "{heard:?}");
        hall.office(|_, office, _| office.silent = false);
        hall.sim.run_for(Duration::from_secs(60));
        assert_eq!(hall.sim.with(ann, |client, _, _| client.name().is_some()), comes_back);
    }
}

#[test]
fn m_10_a_client_that_is_shut_down_connects_no_more() {
    let mut client = Client::new(ClientSettings::DEFAULT);
    let (now, peer) = (Instant::ZERO, PeerId { slot: 0, generation: 0 });
    let via = voxwire_core::Via::Accepted;
    client.handle_input(now, Input::Opened { peer, via, from: None }).unwrap();
    client.handle_input(now, Input::Closed { peer }).unwrap();
    let soon = now.saturating_add(Duration::from_secs(1));
    assert_eq!(client.handle_timeout(soon), None);
    assert!(client.outputs().any(|output| matches!(output, Output::Dial { .. })));
    client.advance(usize::MAX);
    // While the connection is being made.
    client.shutdown(soon);
    let id = voxwire_core::DialId::FIRST;
    assert_eq!(client.handle_input(soon, Input::DialFailed(id)), Ok(None));
    assert_eq!(client.poll_timeout(), None);
    assert_eq!(client.handle_input(soon, Input::Opened { peer, via, from: None }), Ok(None));
    assert!(client.outputs().all(|output| matches!(output, Output::Close { .. })));
}

#[test]
fn m_10_the_wait_grows_while_connections_lead_to_nothing() {
    let mut client = Client::new(ClientSettings::DEFAULT);
    let (mut now, peer) = (Instant::ZERO, PeerId { slot: 0, generation: 0 });
    let mut waits = Vec::new();
    for _ in 0..8 {
        client
            .handle_input(now, Input::Opened { peer, via: voxwire_core::Via::Accepted, from: None })
            .unwrap();
        client.handle_input(now, Input::Closed { peer }).unwrap();
        let retry = client.poll_timeout().unwrap();
        waits.push(retry.saturating_duration_since(now).as_millis());
        now = retry;
        client.handle_timeout(now);
        client.advance(usize::MAX);
    }
    let most = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
    let spread = |(wait, most): (&u128, &u128)| wait <= most && *wait >= most / 2;
    assert!(waits.iter().zip(&most).all(spread), "{waits:?}");
    // Once the server says something it is there.
    client.handle_input(now, Input::Opened { peer, via: voxwire_core::Via::Accepted, from: None }).unwrap();
    let bytes = b"\xa6update\xa7whisper\xa3bob\xa2hi";
    client.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes }).unwrap();
    client.handle_input(now, Input::Closed { peer }).unwrap();
    let wait = client.poll_timeout().unwrap().saturating_duration_since(now).as_millis();
    assert!((250..=500).contains(&wait), "{wait} ms");
    assert_eq!(client.stats().reconnects, 8);
}

/// F-31: the clients of a server that has gone come back to it spread over half of the time that each may wait: by their names, or by
/// their seeds before they have any.
#[test]
fn f_31_many_clients_of_a_restarted_server_do_not_come_back_in_step() {
    for named in [true, false] {
        let mut attempts: Vec<Vec<u64>> = vec![Vec::new(); 8];
        for n in 0..1000_u64 {
            let seed = if named { 0 } else { n };
            let mut client = Client::new(ClientSettings { seed, ..ClientSettings::DEFAULT });
            let (peer, mut now) = (PeerId { slot: 4, generation: 0 }, Instant::ZERO);
            client
                .handle_input(now, Input::Opened { peer, via: voxwire_core::Via::Accepted, from: None })
                .unwrap();
            if named {
                let name = format!("user{n:03}");
                client.handle_command(now, login(&name, "x")).unwrap();
                let token = [b'0'; 36];
                let bytes =
                    [&b"\xa8response\xa5login\0\xa7"[..], name.as_bytes(), b"\xd9\x24", &token].concat();
                client.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &bytes }).unwrap();
            }
            client.handle_input(now, Input::Closed { peer }).unwrap();
            for attempts in &mut attempts {
                now = client.poll_timeout().unwrap();
                attempts.push(now.as_nanos() / 25_000_000);
                client.handle_timeout(now);
                client.advance(usize::MAX);
                client.handle_input(now, Input::DialFailed(voxwire_core::DialId::FIRST)).unwrap();
            }
        }
        for attempts in attempts {
            let most = (0..4000).map(|at| attempts.iter().filter(|other| **other == at).count()).max();
            assert!(most < Some(200), "{most:?} of 1000 within 25 ms");
        }
    }
}

#[test]
fn m_10_a_client_that_leaves_a_call_says_nothing_more_there_at_any_answer() {
    let mut hall = Harness::safe();
    let ann = hall.user("ann");
    hall.code(ann, create("room"));
    hall.code(ann, call("room"));
    let samples = [1; 10];
    let say = ClientCommand::Say { samples: Samples::from(&samples[..]) };
    hall.sim.set_down(hall.server, true);
    hall.sim.with(ann, |client, _, now| {
        client.handle_command(now, say).unwrap();
        client.handle_command(now, ClientCommand::LeaveCall).unwrap();
        assert_eq!(client.handle_command(now, say), Err(Refusal::NotInCall));
        // Joining and leaving before either is answered.
        client.handle_command(now, call("room")).unwrap();
        client.handle_command(now, ClientCommand::LeaveCall).unwrap();
    });
    hall.sim.set_down(hall.server, false);
    hall.wait();
    assert!(hall.sim.with(ann, |client, _, _| client.call().is_none()));
}

#[test]
fn m_10_what_takes_long_to_send_may_take_long_to_be_answered() {
    let mut client = Client::new(ClientSettings::DEFAULT);
    let (now, peer) = (Instant::ZERO, PeerId { slot: 0, generation: 0 });
    client.handle_input(now, Input::Opened { peer, via: voxwire_core::Via::Accepted, from: None }).unwrap();
    client.handle_command(now, login("ann", "x")).unwrap();
    let bytes = b"\xa8response\xa5login\x00\xa3ann\xd9\x2400000000-0000-4000-8000-000000000001";
    client.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes }).unwrap();
    // Three bytes each: 288 s at 16 KiB a second; and what is sent behind it has to wait.
    let long = vec![30_000_i16; 96 * 16 * 1024];
    client.handle_command(now, recording("bob", &long)).unwrap();
    client.handle_command(now, whisper("bob", "behind it")).unwrap();
    let after = |seconds| now.saturating_add(Duration::from_secs(seconds));
    assert_eq!(client.handle_timeout(after(327)), None);
    assert_eq!(client.poll_timeout().map(|due| due <= after(330)), Some(true));
    let told = [after(330), after(331)].map(|at| format!("{:?}", client.handle_timeout(at)));
    assert_eq!(told, ["Some(NoAnswer { action: VoiceMsg })", "Some(NoAnswer { action: Whisper })"]);
}

/// A client without a hall, whose server says what a test says.
struct Alone {
    client: Client,
    now: Instant,
}

const SERVER: PeerId = PeerId { slot: 0, generation: 0 };
const OPENED: Input<'_> = Input::Opened { peer: SERVER, via: voxwire_core::Via::Accepted, from: None };

impl Alone {
    /// Ann, in a call, whose connection was lost and is there again: she logs in.
    fn back() -> Self {
        let mut this = Self { client: Client::new(ClientSettings::DEFAULT), now: Instant::ZERO };
        this.client.handle_input(this.now, OPENED).unwrap();
        this.client.handle_command(this.now, login("ann", "x")).unwrap();
        this.log_in("ann", '0');
        this.client.handle_command(this.now, call("room")).unwrap();
        this.hear(JOINED);
        this.client.handle_input(this.now, Input::Closed { peer: SERVER }).unwrap();
        this.now = this.client.poll_timeout().unwrap();
        this.client.handle_timeout(this.now);
        this.client.handle_input(this.now, OPENED).unwrap();
        this.client.advance(usize::MAX);
        this
    }

    fn hear(&mut self, bytes: &[u8]) -> Option<String> {
        let input = Input::Frame { peer: SERVER, lane: Lane::Reliable, bytes };
        self.client.handle_input(self.now, input).unwrap().map(|event| format!("{event:?}"))
    }

    /// A log-in succeeds; the token begins with `n`.
    fn log_in(&mut self, name: &str, n: char) -> Option<String> {
        let token = format!("{n}0000000-0000-4000-8000-000000000001");
        let head = b"\xa8response\xa5login\x00\xa3";
        self.hear(&[&head[..], name.as_bytes(), b"\xd9\x24", token.as_bytes()].concat())
    }

    /// Whether something is sent that contains `text`.
    fn sends(&mut self, text: &str) -> bool {
        let sends = self.client.outputs().any(|output| {
            let Output::Send { frame, .. } = output else { return false };
            frame.windows(text.len()).any(|bytes| bytes == text.as_bytes())
        });
        self.client.advance(usize::MAX);
        sends
    }
}

const JOINED: &[u8] = b"\xa8response\xa9join_call\x00\xa4room";

#[test]
fn m_10_of_log_ins_that_are_all_answered_at_last_the_newest_is_back_in_its_call() {
    let mut ann = Alone::back();
    // The server takes its time.
    for _ in 0..5 {
        ann.now = ann.client.poll_timeout().unwrap();
        ann.client.handle_timeout(ann.now);
        ann.client.advance(usize::MAX);
    }
    for n in '1'..='3' {
        let logged_in = r#"LoggedIn { username: "ann", again: true }"#;
        assert_eq!(ann.log_in("ann", n).as_deref(), Some(logged_in));
        assert!(ann.sends(&format!("{n}0000000-")), "joins with that token");
    }
    assert_eq!(ann.client.in_work(), 1, "the newest join");
    // By then the server knows the last token alone.
    let refused = b"\xa8response\xa9join_call\xcd\x02\x05";
    assert_eq!((ann.hear(refused), ann.hear(refused)), (None, None));
    let joined = r#"CallJoined { group_name: "room", again: true }"#;
    assert_eq!(ann.hear(JOINED).as_deref(), Some(joined));
    assert_eq!(ann.client.call(), Some(&b"room"[..]));
    assert_eq!((ann.client.in_work(), ann.client.stats().violations), (0, 0));
    ann.now = ann.client.poll_timeout().unwrap();
    assert_eq!((ann.client.handle_timeout(ann.now), ann.sends("ann")), (None, false));
    assert_eq!(ann.client.poll_timeout(), None);
}

#[test]
fn m_10_a_client_that_comes_back_as_another_user_is_in_no_call() {
    let mut ann = Alone::back();
    ann.client.handle_command(ann.now, login("bob", "y")).unwrap();
    assert!(ann.hear(b"\xa8response\xa5login\xcd\x04\x00").is_some());
    ann.client.advance(usize::MAX);
    assert!(ann.log_in("bob", '1').is_some());
    assert!(!ann.sends("room"));
    assert_eq!(ann.client.in_work(), 0);
}

/// What a client sends for a command: its objects as text, one behind the other.
fn said(client: &mut Client, command: ClientCommand<'_>) -> String {
    client.handle_command(Instant::ZERO, command).unwrap();
    let mut said = Vec::new();
    for output in client.outputs() {
        let Output::Send { to: SERVER, mut frame, .. } = output else { continue };
        while !frame.is_empty() {
            said.push(rmpv::decode::read_value(&mut frame).unwrap().to_string());
        }
    }
    client.advance(usize::MAX);
    said.join(" ").replace('"', "")
}

/// M-10: every action there is goes out as the one message that it is.
#[test]
fn m_10_every_action_is_the_message_that_the_document_has_for_it() {
    let mut ann = Alone { client: Client::new(ClientSettings::DEFAULT), now: Instant::ZERO };
    ann.client.handle_input(ann.now, OPENED).unwrap();
    ann.client.advance(usize::MAX);
    let samples = [1, -1, 30_000];
    let samples = Samples::from(&samples[..]);
    assert_eq!(said(&mut ann.client, register("ann", "x")), "request register ann x");
    assert_eq!(said(&mut ann.client, login("ann", "y")), "request login ann y");
    ann.hear(b"\xa8response\xa8register\x00");
    ann.log_in("ann", '7');
    let who = "ann 70000000-0000-4000-8000-000000000001";
    let (contact, content, group_name) = ("bob".into(), "hi".into(), "room".into());
    for (command, action, arguments) in [
        (ClientCommand::AddContact { contact }, "add_contact", "bob"),
        (whisper("bob", "hi"), "whisper", "bob hi"),
        (create("room"), "create_group", "room"),
        (ClientCommand::JoinGroup { group_name }, "join_group", "room"),
        (ClientCommand::MsgGroup { group_name, content }, "msg_group", "room hi"),
        (
            ClientCommand::VoiceMsg { recipient: contact, channels: 1, sample_rate: 8000, samples },
            "voice_msg",
            "bob 1 8000 [1, -1, 30000]",
        ),
        (call("room"), "join_call", "room"),
    ] {
        assert_eq!(said(&mut ann.client, command), format!("request {action} {who} {arguments}"));
        let code = [b"\xa8response", &[0xa0 | action.len() as u8][..], action.as_bytes()].concat();
        let rest: &[u8] = if action == "join_call" { b"\x00\xa4room" } else { b"\x00" };
        let heard = ann.hear(&[&code, rest].concat()).unwrap();
        assert!(heard.starts_with("Response") || heard.starts_with("CallJoined"), "{action}: {heard}");
    }
    // The call's audio, mono, without a rate: it is 44 100 Hz.
    assert_eq!(
        said(&mut ann.client, ClientCommand::Say { samples }),
        format!("update call_data {who} room [1, -1, 30000]")
    );
    assert_eq!(said(&mut ann.client, ClientCommand::LeaveCall), format!("request leave_call {who}"));
    ann.hear(b"\xa8response\xaaleave_call\x00");
    assert_eq!(said(&mut ann.client, ClientCommand::Logout), "request logout ann");
    assert_eq!(
        ann.hear(b"\xa8response\xa6logout\x00").unwrap(),
        "Response { action: Logout, code: SUCCESS, again: false }"
    );
    assert_eq!((ann.client.in_work(), ann.client.stats().violations), (0, 0));
}

/// M-10: every update there is, is an event of its own; and so is a message that was too large to be taken.
#[test]
fn m_10_every_update_is_an_event_of_its_own() {
    let mut ann = Alone { client: Client::new(ClientSettings::DEFAULT), now: Instant::ZERO };
    ann.client.handle_input(ann.now, OPENED).unwrap();
    for (update, event) in [
        (&b"\xa7whisper\xa3bob\xa2hi"[..], r#"Whisper { sender: "bob", content: "hi" }"#),
        (
            b"\xa9msg_group\xa4room\xa3bob\xa2hi",
            r#"MsgGroup { group_name: "room", sender: "bob", content: "hi" }"#,
        ),
        (
            b"\xa9voice_msg\xa3bob\x02\xcd\x1f\x40\x92\x01\xff",
            r#"VoiceMsg { sender: "bob", channels: 2, sample_rate: 8000, samples: 2 Int samples }"#,
        ),
        (b"\xa9call_data\xa3bob\x93\x01\x02\x03", r#"CallData { sender: "bob", samples: 3 Int samples }"#),
    ] {
        assert_eq!(ann.hear(&[b"\xa6update", update].concat()).as_deref(), Some(event));
    }
    // The framing hands in nothing for it.
    assert_eq!(ann.hear(b"").as_deref(), Some("Skipped"));
}
