//! What each route does on a real client, for each protocol; and what it says where a protocol cannot.

use crate::common::{ALL, Controlled};
use crate::kit::raw::{
    CarriedCall, connect, encode, handshake, join, log_in, next_of, next_opcode, next_packet, opcode_packet,
    packet, pause, registered, unit,
};
use crate::kit::user::{User, runtime};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;
use voxwire_core::{List, Message};
use voxwire_dissonance::{
    Channel, ClientId, ClientInfo, ClientState, CodecSettings, Options, Packet, Profile, Recipient,
    ServerRelay, TextData, VoiceData, Wire,
};
use voxwire_msgpack::{ClientCommand, Dialect};

/// C-33
#[test]
fn c_33_voicelink_lists_mutes_decides_who_hears_whom_and_kicks() {
    let control = Controlled::start("voicelink", "only = [\"voicelink\"]");
    let address = control.address("voicelink tcp");
    let mut alice = registered(connect(address), "alice");
    let mut bob = registered(connect(address), "bob");
    alice.write_all(&handshake("bob")).unwrap();
    assert_eq!(next_packet(&mut bob), 0);
    bob.write_all(&packet(4, b"")).unwrap();
    assert_eq!(next_packet(&mut alice), 4);
    assert_eq!(control.names("voicelink"), ["alice", "bob"]);
    let mut speak = |alice: &mut TcpStream| {
        // Audio, and a word that is handed on in any case: bob's answer to it ends nothing.
        alice.write_all(&packet(6, &[0; 640])).unwrap();
        bob.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        let mut head = [0; 646];
        bob.read_exact(&mut head).is_ok()
    };
    assert!(speak(&mut alice));
    control.act("/api/v1/voicelink/mute", &json!({ "name": "alice", "voice": true }));
    assert!(!speak(&mut alice));
    assert_eq!(
        control.get("/api/v1/voicelink/mutes")["items"],
        json!([{ "name": "alice", "voice": true, "text": false }])
    );
    control.act("/api/v1/voicelink/mute", &json!({ "name": "alice", "voice": false }));
    assert!(speak(&mut alice));
    let hears = |speakers: &[&str]| json!({ "listeners": { "bob": speakers } });
    control.act("/api/v1/voicelink/hearing", &hears(&["carol"]));
    assert!(!speak(&mut alice));
    control.act("/api/v1/voicelink/hearing", &hears(&["alice"]));
    assert!(speak(&mut alice));
    for (path, body, why) in [
        ("say", json!({ "room": "x", "text": "x" }), "voicelink has no text"),
        ("mute", json!({ "name": "alice", "voice": false, "text": true }), "voicelink has no text"),
        ("move", json!({ "name": "alice", "from": "x" }), "voicelink has no rooms"),
        ("move", json!({ "name": "alice", "to": "x" }), "voicelink has no rooms"),
    ] {
        let refused = control.refuses(&format!("/api/v1/voicelink/{path}"), &body);
        assert_eq!(refused, (409, "unsupported".into(), why.into()), "{path}");
    }
    control.act("/api/v1/voicelink/kick", &json!({ "name": "alice", "reason": "shouting" }));
    let mut told = Vec::new();
    alice.read_to_end(&mut told).unwrap();
    assert!(told.ends_with(b"shouting"), "{told:02x?}");
    control.until("voicelink", 1);
    // Who is muted and not there is so when it comes.
    control.act("/api/v1/voicelink/mute", &json!({ "name": "alice", "voice": true }));
    let _alice = registered(connect(address), "alice");
    control.until("voicelink", 2);
    let members = control.get("/api/v1/voicelink/members");
    let alice = members["items"].as_array().unwrap().iter().find(|item| item["name"] == "alice").unwrap();
    assert_eq!(alice["muted_voice"], true);
}

/// C-33
#[test]
fn c_33_opcode_says_that_it_needs_a_relay_and_kicks() {
    let control = Controlled::start("opcode", "only = [\"opcode\"]");
    let address = control.address("opcode tcp");
    let mut alice = log_in(connect(address), "alice");
    control.until("opcode", 1);
    for (path, body, why) in [
        ("mute", json!({ "name": "alice", "voice": true }), "straight between clients"),
        ("hearing", json!({ "listeners": { "alice": [] } }), "straight between clients"),
        ("say", json!({ "room": "x", "text": "x" }), "opcode has no text"),
        ("move", json!({ "name": "alice", "to": "x" }), "opcode has no rooms"),
    ] {
        let (status, code, message) = control.refuses(&format!("/api/v1/opcode/{path}"), &body);
        assert!(status == 409 && code == "unsupported" && message.contains(why), "{message}");
    }
    control.act("/api/v1/opcode/kick", &json!({ "name": "alice", "reason": "shouting" }));
    // Behind the contacts.
    assert_eq!(next_opcode(&mut alice)[0], 5);
    let told = next_opcode(&mut alice);
    assert!(told.windows(8).any(|part| part == b"shouting"), "{told:02x?}");
    assert_eq!(alice.read(&mut [0; 8]).unwrap(), 0);
}

/// C-33: a call that the server carries.
#[test]
fn c_33_opcode_mutes_and_decides_who_hears_whom_where_it_carries_calls() {
    let control =
        Controlled::start("relay", "only = [\"opcode\"]\n[opcode]\nport = 0\nrelay = \"127.0.0.1\"");
    let address = control.address("opcode tcp");
    let CarriedCall { alice: _alice, bob: _bob, mut caller, mut callee } = CarriedCall::begin(address);
    let mut said = 0;
    let mut speak = |heard: bool| {
        // A muted frame is followed by none: the next one that is heard is a later one.
        said += 1;
        caller.write_all(&opcode_packet(7, &[&[said; 8]], None)).unwrap();
        if heard {
            assert_eq!(next_opcode(&mut callee).last(), Some(&said));
        } else {
            // It has to have come in before the next decision.
            pause(200);
        }
    };
    speak(true);
    control.act("/api/v1/opcode/mute", &json!({ "name": "alice", "voice": true }));
    speak(false);
    control.act("/api/v1/opcode/mute", &json!({ "name": "alice", "voice": false }));
    speak(true);
    control.act("/api/v1/opcode/hearing", &json!({ "others": "nobody" }));
    speak(false);
    control.act("/api/v1/opcode/hearing", &json!({ "listeners": { "bob": ["alice"] } }));
    speak(true);
    control.act("/api/v1/opcode/kick", &json!({ "name": "alice" }));
    assert_eq!(callee.read(&mut [0; 8]).unwrap(), 0, "the call has ended");
}

/// A frame of voice, and a text behind it, for `to`.
fn voice_and_text(session: u32, from: ClientId, to: ClientId, n: u16) -> Vec<u8> {
    let (options, channels) = (Options::new(0, Profile::Later), [Channel::new(Recipient::Player(to))]);
    let voice =
        VoiceData { session, sender: from, options, sequence: n, channels: &channels, frame: b"voice" };
    let voice = encode(&Packet::VoiceData(voice));
    let text = n.to_string();
    let text =
        TextData { session, sender: from, recipient: Recipient::Player(to), text: text.as_str().into() };
    let text = encode(&Packet::TextData(text));
    let destinations = &[to][..];
    let voice = unit(&Packet::ServerRelayUnreliable(ServerRelay { session, destinations, payload: &voice }));
    let text = unit(&Packet::ServerRelayReliable(ServerRelay { session, destinations, payload: &text }));
    [voice, text].concat()
}

/// C-33: A hears B only when the set says so.
#[test]
fn c_33_dissonance_mutes_decides_who_hears_whom_says_moves_and_kicks() {
    let control =
        Controlled::start("dissonance", "only = [\"dissonance\"]\n[dissonance]\nport = 0\nquic = false");
    let address = control.address("dissonance tcp");
    let (mut ann, session, a) = join(address, b"ann");
    let (mut ben, _, b) = join(address, b"ben");
    control.until("dissonance", 2);
    let mut n = 0;
    let mut heard = |ann: &mut TcpStream, ben: &mut TcpStream| {
        n += 1;
        ann.write_all(&voice_and_text(session, a, b, n)).unwrap();
        let first = next_of(ben, &["VoiceData", "TextData"]);
        if Packet::decode(&first, &Wire::default()).unwrap().name() == "TextData" {
            return false;
        }
        next_of(ben, &["TextData"]);
        true
    };
    assert!(heard(&mut ann, &mut ben));
    // Ben hears nobody, then ann.
    control.act("/api/v1/dissonance/hearing", &json!({ "listeners": { "ben": [] } }));
    assert!(!heard(&mut ann, &mut ben));
    control.act("/api/v1/dissonance/hearing", &json!({ "listeners": { "ben": ["ann"] } }));
    assert!(heard(&mut ann, &mut ben));
    control.act("/api/v1/dissonance/mute", &json!({ "name": "ann", "voice": true }));
    assert!(!heard(&mut ann, &mut ben));
    control.act("/api/v1/dissonance/mute", &json!({ "name": "ann", "voice": false, "text": false }));
    control.act("/api/v1/dissonance/hearing", &json!({ "others": "nobody", "listeners": { "ben": null } }));
    assert!(!heard(&mut ann, &mut ben));
    control.act("/api/v1/dissonance/hearing", &json!({ "others": "everyone" }));
    assert!(heard(&mut ann, &mut ben));
    // A set holds for a speaker that comes later, and for a listener that comes back.
    control.act("/api/v1/dissonance/hearing", &json!({ "listeners": { "ben": ["cid"] } }));
    drop(ben);
    control.until("dissonance", 1);
    let (mut ben, _, b) = join(address, b"ben");
    let (mut cid, _, c) = join(address, b"cid");
    control.until("dissonance", 3);
    let mut hears = |from: &mut TcpStream, sender: ClientId| {
        from.write_all(&voice_and_text(session, sender, b, 9)).unwrap();
        let first = next_of(&mut ben, &["VoiceData", "TextData"]);
        let voice = Packet::decode(&first, &Wire::default()).unwrap().name() == "VoiceData";
        if voice {
            next_of(&mut ben, &["TextData"]);
        }
        voice
    };
    assert!(!hears(&mut ann, a) && hears(&mut cid, c));
    let listed = control.get("/api/v1/dissonance/hearing");
    assert_eq!(
        listed,
        json!({ "others": "everyone", "total": 1, "items": [{ "listener": "ben", "hears": ["cid"] }] })
    );
    // Rooms.
    let client = ClientInfo { name: "ann".into(), id: a, codec: CodecSettings::DEFAULT };
    let rooms = ["Lobby".into()];
    ann.write_all(&unit(&Packet::ClientState(ClientState {
        session,
        client,
        rooms: List::from(&rooms[..]),
    })))
    .unwrap();
    for _ in 0..500 {
        if control.get("/api/v1/dissonance/members")["items"][0]["rooms"] == json!(["Lobby"]) {
            break;
        }
        pause(10);
    }
    let said = control.act("/api/v1/dissonance/say", &json!({ "room": "Lobby", "text": "restart" }));
    assert_eq!(said["connections"], 1);
    let text = next_of(&mut ann, &["TextData"]);
    let Packet::TextData(text) = Packet::decode(&text, &Wire::default()).unwrap() else { unreachable!() };
    assert_eq!(text.text.as_str(), Some("restart"));
    // No client listens there.
    let said = control.act("/api/v1/dissonance/say", &json!({ "room": "Yard", "text": "x" }));
    assert_eq!(said["connections"], 0);
    control.act("/api/v1/dissonance/move", &json!({ "name": "ann", "from": "Lobby" }));
    next_of(&mut ann, &["DeltaClientState"]);
    let (status, code, message) =
        control.refuses("/api/v1/dissonance/move", &json!({ "name": "ann", "to": "Lobby" }));
    assert!(status == 409 && code == "unsupported" && message.contains("choose the rooms"), "{message}");
    let ann_is = control.get("/api/v1/dissonance/members")["items"][0]["peer"].clone();
    control.act("/api/v1/dissonance/kick", &json!({ "peer": ann_is }));
    next_of(&mut ann, &["RemoveClient"]);
    assert_eq!(ann.read(&mut [0; 8]).unwrap(), 0);
}

/// C-33
#[test]
fn c_33_msgpack_mutes_decides_who_hears_whom_says_and_kicks() {
    let control = Controlled::start("msgpack", "only = [\"msgpack\"]");
    let address = control.address("msgpack zmtp");
    runtime().block_on(async {
        let mut ann = User::connect(address, Dialect::Zmtp).await;
        ann.log_in("ann").await;
        let mut ben = User::connect(address, Dialect::Zmtp).await;
        ben.log_in("ben").await;
        ann.ask(ClientCommand::CreateGroup { group_name: "band".into() }).await;
        ben.ask(ClientCommand::JoinGroup { group_name: "band".into() }).await;
        for user in [&mut ann, &mut ben] {
            user.ask(ClientCommand::JoinCall { group_name: "band".into() }).await;
        }
        let whisper = || ClientCommand::Whisper { recipient: "ben".into(), content: "hello".into() };
        for (path, body, heard) in [
            ("mute", json!({ "name": "ann", "voice": true }), false),
            ("mute", json!({ "name": "ann", "voice": false }), true),
            ("hearing", json!({ "listeners": { "ben": [] } }), false),
            ("hearing", json!({ "listeners": { "ben": ["ann"] } }), true),
        ] {
            control.act(&format!("/api/v1/msgpack/{path}"), &body);
            ann.send(ClientCommand::Say { samples: (&[7_i16; 80][..]).into() });
            // Behind the audio, on the same connections.
            let answer = ann.ask(whisper()).await;
            assert!(answer.contains("SUCCESS"), "{answer}");
            let first = ben.hear().await;
            assert_eq!(first.starts_with("CallData"), heard, "{first}");
            if heard {
                assert!(ben.hear().await.starts_with("Whisper"));
            }
        }
        control.act("/api/v1/msgpack/mute", &json!({ "name": "ann", "voice": false, "text": true }));
        let answer = ann.ask(whisper()).await;
        assert!(answer.contains("REQUEST_OVER_LIMIT"), "{answer}");
        let said = control.act("/api/v1/msgpack/say", &json!({ "room": "band", "text": "restart" }));
        assert_eq!(said["connections"], 2);
        for user in [&mut ann, &mut ben] {
            let told = user.hear().await;
            assert!(
                told.starts_with("MsgGroup") && told.contains("restart") && told.contains("server"),
                "{told}"
            );
        }
        let (status, code, _) = control.refuses("/api/v1/msgpack/move", &json!({ "name": "ann", "to": "x" }));
        assert_eq!((status, code.as_str()), (409, "unsupported"));
        let members = control.get("/api/v1/msgpack/members");
        assert_eq!(members["items"][0]["rooms"], json!(["band"]));
        control.act("/api/v1/msgpack/kick", &json!({ "name": "ann" }));
        assert_eq!(ann.hear_or_end().await, None);
        assert_eq!(control.names("msgpack"), ["ben"]);
    });
}

/// C-33
#[test]
fn c_33_syfala_mutes_and_kicks_by_connection() {
    let control = Controlled::start("syfala", "only = [\"syfala\"]\n[syfala]\nport = 0\nsound = \"echo\"");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(control.address("syfala udp")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 5000];
    let mut ask = |message: &[u8], first: u8| {
        socket.send(message).unwrap();
        while socket.recv(&mut answer).map(|_| answer[0]).unwrap() != first {}
    };
    ask(&[0], 0);
    socket.send(&[1]).unwrap();
    ask(&[4], 3);
    control.until("syfala", 1);
    let peer = control.get("/api/v1/syfala/members")["items"][0]["peer"].clone();
    let mut sent = 0_u64;
    // Plays for half a second; whether anything but silence comes back.
    let mut echoed = || {
        let mut buffer = [0; 5000];
        let mut some = false;
        for _ in 0..50 {
            let head = [&[6, 0, 0, 0, 0][..], &sent.to_le_bytes(), &960_u32.to_le_bytes()].concat();
            socket.send(&[head, vec![1; 960]].concat()).unwrap();
            sent += 960;
            pause(10);
            socket.set_nonblocking(true).unwrap();
            while let Ok(len) = socket.recv(&mut buffer) {
                some |= buffer[0] == 7 && buffer[17..len].iter().any(|byte| *byte != 0);
            }
            socket.set_nonblocking(false).unwrap();
        }
        some
    };
    assert!(echoed());
    control.act("/api/v1/syfala/mute", &json!({ "peer": peer, "voice": true }));
    // What had come in before is heard out.
    echoed();
    assert!(!echoed());
    for (path, body, why) in [
        ("hearing", json!({ "others": "nobody" }), "mixes"),
        ("say", json!({ "room": "x", "text": "x" }), "syfala has no text"),
        ("move", json!({ "peer": peer, "to": "x" }), "syfala has no rooms"),
        ("kick", json!({ "name": "x" }), "syfala has no names"),
    ] {
        let (status, code, message) = control.refuses(&format!("/api/v1/syfala/{path}"), &body);
        assert!(status == 409 && code == "unsupported" && message.contains(why), "{message}");
    }
    control.act("/api/v1/syfala/kick", &json!({ "peer": peer }));
    let mut buffer = [0; 5000];
    while socket.recv(&mut buffer).map(|_| buffer[0]).unwrap() != 8 {}
    control.until("syfala", 0);
}

/// C-33: what each protocol can do is listed, as the documents say.
#[test]
fn c_33_the_table_in_the_documents_is_what_the_server_says() {
    let control = Controlled::start("table", ALL);
    let document = include_str!("../../../../docs/control.md");
    let document = document.split_whitespace().collect::<Vec<_>>().join(" ");
    for item in control.get("/api/v1/protocols")["items"].as_array().unwrap() {
        let name = item["name"].as_str().unwrap();
        if name == "echo" {
            continue;
        }
        for lacking in item["cannot"].as_array().unwrap() {
            let why = lacking["why"].as_str().unwrap();
            assert!(document.contains(why), "{name}: {why:?} is not in docs/control.md");
        }
    }
}
