//! F-37: every number of `/metrics` moves when what it counts happens.

#![allow(clippy::disallowed_methods)]

mod kit;

use core::net::SocketAddr;
use core::time::Duration;
use kit::raw::{
    connect, connect_from, encode, handshake, join, log_in, log_in_plain, next_opcode, next_packet,
    opcode_packet, packet, pause, registered, reluctant, say, unit,
};
use kit::user::{User, runtime};
use kit::watch::Watch;
use kit::{Server, file};
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use voxwire_dissonance::{
    Channel, ClientId, DeltaClientState, Options, Packet, Profile, Recipient, ServerRelay, TextData,
    VoiceData, room_id,
};
use voxwire_msgpack::{ClientCommand, ClientMessage, Dialect};

const SETTINGS: &str = r#"
only = ["voicelink", "opcode", "msgpack", "dissonance", "syfala"]
connections = 16
http = "127.0.0.1:0"
[voicelink]
port = 0
[opcode]
port = 0
relay = "127.0.0.1"
[msgpack]
port = 0
[dissonance]
port = 0
quic = false
rooms = ["Lobby"]
rooms-only = true
[syfala]
port = 0
channels = 1
sample-type = "i16"
sound = "echo"
latency-ms = 5
networks = ["127.0.0.1/32"]
"#;

const MUTED: &str = "dropped_packets_total{reason=\"muted\"}";

/// F-37: the whole list of names; one that nothing here moves is a failure.
#[test]
fn every_metric_moves() {
    let data = kit::folder("metrics");
    let config = file("metrics.toml", SETTINGS);
    let socket = data.join("control.sock");
    let arguments = ["--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let server = Server::start(&[&arguments[..], &["--control-socket", socket.to_str().unwrap()]].concat());
    let mut watch = Watch::new(server.address("http tcp"));
    for (protocol, what) in [
        ("dissonance", ["--room", "Lobby"]),
        ("msgpack", ["--name", "ann"]),
        ("opcode", ["--name", "alice"]),
        ("voicelink", ["--name", "alice"]),
    ] {
        ctl(&socket, &[&["record", protocol], &what[..]].concat());
        watch.see(protocol, &["active_recordings", "recordings_begun_total"]);
    }
    voicelink(server.address("voicelink tcp"), &mut watch, &socket);
    opcode(server.address("opcode tcp"), &mut watch, &socket);
    msgpack(server.address("msgpack zmtp"), &mut watch, &socket);
    dissonance(server.address("dissonance tcp"), &mut watch, &socket);
    syfala(server.address("syfala udp"), &mut watch);
    // Every place is taken by a client that has said who it is: none of them goes for a newcomer.
    let [voicelink, opcode] = ["voicelink tcp", "opcode tcp"].map(|listener| server.address(listener));
    let full: Vec<TcpStream> = (0..16)
        .map(|n| format!("user{n}"))
        .flat_map(|name| [registered(connect(voicelink), &name), log_in(connect(opcode), &name)])
        .collect();
    let late = [voicelink, opcode].map(connect);
    watch.see("voicelink", &["refusals_total{rule=\"connections\"}"]);
    watch.see("opcode", &["refusals_total{rule=\"connections\"}"]);
    drop((full, late));
    let still = watch.still(&["voicelink", "opcode", "msgpack", "dissonance", "syfala"]);
    assert!(watch.first.len() > 110 && still.is_empty(), "nothing moves {still:?}");
    drop(server);
    let _ = std::fs::remove_dir_all(data);
}

/// Has something done.
fn ctl(socket: &Path, what: &[&str]) {
    let arguments = ["ctl", "--socket", socket.to_str().unwrap()];
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-server"));
    assert!(command.args(arguments).args(what).status().unwrap().success());
}

fn voicelink(address: SocketAddr, watch: &mut Watch, socket: &Path) {
    let mut alice = registered(connect(address), "alice");
    let mut bob = registered(reluctant(address), "bob");
    watch.see("voicelink", &["connections", "sessions", "connections_accepted_total"]);
    alice.write_all(&handshake("bob")).unwrap();
    assert_eq!(next_packet(&mut bob), 0);
    watch.see("voicelink", &["calls", "calls_offered_total"]);
    bob.write_all(&packet(4, b"")).unwrap();
    assert_eq!(next_packet(&mut alice), 4);
    alice.write_all(&packet(6, &[0; 640])).unwrap();
    assert_eq!(next_packet(&mut bob), 6);
    watch.see("voicelink", &["calls_established_total", "voice_packets_total", "voice_bytes_total"]);
    ctl(socket, &["mute", "voicelink", "--name", "alice"]);
    alice.write_all(&packet(6, &[0; 640])).unwrap();
    watch.see("voicelink", &[MUTED]);
    ctl(socket, &["unmute", "voicelink", "--name", "alice"]);
    // Bob does not read any more.
    for _ in 0..20 {
        alice.write_all(&packet(6, &[0; 256 * 1024])).unwrap();
        pause(30);
    }
    watch.see("voicelink", &["dropped_packets_total{reason=\"slow-listener\"}"]);
    let mut carl = registered(connect(address), "carl");
    carl.write_all(&packet(6, &[0; 640])).unwrap();
    carl.write_all(&packet(9, b"")).unwrap();
    watch.see("voicelink", &["dropped_packets_total{reason=\"stray\"}", "violations_total"]);
    // Dave does not read at all: calls to him, and goodbyes, with as much as they may carry.
    let _dave = registered(reluctant(address), "dave");
    let call = [&handshake("dave")[6..], &[b'x'; 4000]].concat();
    // From three addresses: one may not ring so often.
    for n in 2..5 {
        let mut caller = registered(connect_from([127, 0, 0, n], address), &format!("caller{n}"));
        for _ in 0..10 {
            caller.write_all(&packet(0, &call)).unwrap();
            caller.write_all(&packet(5, &[b'x'; 4000])).unwrap();
            pause(10);
        }
    }
    watch.see("voicelink", &["disconnects_total{reason=\"slow\"}"]);
    carl.write_all(&[0, 0, 0, 1, 0, 0]).unwrap();
    watch.see("voicelink", &["disconnects_total{reason=\"broken-stream\"}"]);
}

fn opcode(address: SocketAddr, watch: &mut Watch, socket: &Path) {
    let mut alice = log_in(connect(address), "alice");
    let mut bob = log_in(connect(address), "bob");
    next_opcode(&mut bob);
    watch.see("opcode", &["connections", "sessions", "sessions_begun_total", "connections_accepted_total"]);
    // A call, carried by the server.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    alice.write_all(&opcode_packet(6, &[b"bob", b""], Some(port))).unwrap();
    let call = next_opcode(&mut bob);
    let port = u16::from_le_bytes([call[call.len() - 2], call[call.len() - 1]]);
    let mut callee = reluctant(([127, 0, 0, 1], port).into());
    let (mut caller, _) = listener.accept().unwrap();
    caller.write_all(&opcode_packet(11, &[], None)).unwrap();
    assert_eq!(next_opcode(&mut callee), [11, 0]);
    caller.write_all(&opcode_packet(7, &[&[7; 200]], None)).unwrap();
    next_opcode(&mut callee);
    watch.see(
        "opcode",
        &[
            "calls",
            "calls_offered_total",
            "calls_established_total",
            "voice_packets_total",
            "voice_bytes_total",
        ],
    );
    ctl(socket, &["mute", "opcode", "--name", "alice"]);
    caller.write_all(&opcode_packet(7, &[&[7; 200]], None)).unwrap();
    watch.see("opcode", &[MUTED]);
    ctl(socket, &["unmute", "opcode", "--name", "alice"]);
    // The callee does not read any more.
    for _ in 0..200 {
        let _ = caller.write_all(&opcode_packet(7, &[&[7; 8000]], None));
        pause(5);
    }
    watch.see("opcode", &["dropped_packets_total{reason=\"slow-listener\"}"]);
    let mut eve = log_in(connect(address), "eve");
    eve.write_all(&opcode_packet(0xffff, &[], None)).unwrap();
    let mut mallory = connect(address);
    mallory.write_all(&[0xff; 64]).unwrap();
    watch.see("opcode", &["violations_total", "disconnects_total{reason=\"broken-stream\"}"]);
}

fn msgpack(address: SocketAddr, watch: &mut Watch, socket: &Path) {
    let runtime = runtime();
    runtime.block_on(async {
        let mut ann = User::connect(address, Dialect::Zmtp).await;
        ann.log_in("ann").await;
        watch.see(
            "msgpack",
            &[
                "connections",
                "sessions",
                "sessions_begun_total",
                "connections_accepted_total",
                "database_transaction_seconds_count",
            ],
        );
        let mut ben = User::connect(address, Dialect::Zmtp).await;
        ben.log_in("ben").await;
        let mut guess = User::connect(address, Dialect::Zmtp).await;
        guess.ask(ClientCommand::Login { username: "ann".into(), password: "wrong".into() }).await;
        watch.see("msgpack", &["refusals_total{rule=\"password\"}"]);
        let whisper = |recipient: &'static str| ClientCommand::Whisper {
            recipient: recipient.into(),
            content: "hello".into(),
        };
        ann.ask(whisper("ben")).await;
        let mut away = User::connect(address, Dialect::Zmtp).await;
        away.log_in("away").await;
        away.ask(ClientCommand::Logout).await;
        ann.ask(whisper("away")).await;
        watch.see("msgpack", &["texts_total", "messages_kept_total"]);
        let samples: &[i16] = &[7; 800];
        let recipient = "ben".into();
        ann.ask(ClientCommand::VoiceMsg {
            recipient,
            channels: 1,
            sample_rate: 8000,
            samples: samples.into(),
        })
        .await;
        watch.see("msgpack", &["recordings_total"]);
        ann.ask(ClientCommand::CreateGroup { group_name: "band".into() }).await;
        for user in [&mut ann, &mut ben] {
            user.send(ClientCommand::JoinGroup { group_name: "band".into() });
            user.send(ClientCommand::JoinCall { group_name: "band".into() });
            while !user.hear().await.starts_with("CallJoined") {}
        }
        watch.see("msgpack", &["groups", "call_members", "call_joins_total"]);
        ctl(socket, &["mute", "msgpack", "--name", "ann"]);
        ann.send(ClientCommand::Say { samples: (&[7_i16; 800][..]).into() });
        ann.0.flush().await.unwrap();
        watch.see("msgpack", &[MUTED]);
        ctl(socket, &["unmute", "msgpack", "--name", "ann"]);
        // Ben does not read any more.
        for _ in 0..60 {
            ann.send(ClientCommand::Say { samples: (&[7_i16; 41_900][..]).into() });
            ann.0.flush().await.unwrap();
            pause(20);
        }
        watch.see("msgpack", &["voice_packets_total", "dropped_packets_total{reason=\"slow-listener\"}"]);
    });
    // Live audio for a call that one does not take part in, and things that are no messages.
    let mut raw = connect(address);
    let token = log_in_plain(&mut raw, "raw");
    let username = "raw".into();
    let samples: &[i16] = &[7; 100];
    let group_name = "band".into();
    say(
        &mut raw,
        &ClientMessage::CallData { username, token: token[..].into(), group_name, samples: samples.into() },
    );
    watch.see("msgpack", &["dropped_packets_total{reason=\"stray\"}"]);
    raw.write_all(b"\x00\xa5dance").unwrap();
    let mut zmtp = connect(address);
    zmtp.write_all(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7e, 9, 9]).unwrap();
    zmtp.write_all(&[9; 200]).unwrap();
    watch.see("msgpack", &["violations_total", "disconnects_total{reason=\"broken-stream\"}"]);
}

fn dissonance(address: SocketAddr, watch: &mut Watch, socket: &Path) {
    let (mut ann, session, ann_is) = join(address, b"ann");
    let (mut ben, _, ben_is) = join(address, b"ben");
    watch.see(
        "dissonance",
        &["connections", "sessions", "sessions_begun_total", "connections_accepted_total"],
    );
    let listen = |client, room: &'static str| {
        unit(&Packet::DeltaClientState(DeltaClientState { session, joined: true, client, room: room.into() }))
    };
    ben.write_all(&listen(ben_is, "Lobby")).unwrap();
    watch.see("dissonance", &["rooms"]);
    ben.write_all(&listen(ben_is, "Elsewhere")).unwrap();
    watch.see("dissonance", &["refusals_total{rule=\"room\"}"]);
    let lobby = Recipient::Room(room_id("Lobby"));
    let voice = |sender, sequence| {
        let options = Options::new(0, Profile::Later);
        let channels = &[Channel::new(lobby)];
        encode(&Packet::VoiceData(VoiceData {
            session,
            sender,
            options,
            sequence,
            channels,
            frame: b"voice",
        }))
    };
    let relay = |payload: &[u8], to: &[ClientId]| {
        unit(&Packet::ServerRelayUnreliable(ServerRelay { session, destinations: to, payload }))
    };
    ann.write_all(&relay(&voice(ann_is, 0), &[ben_is])).unwrap();
    watch.see("dissonance", &["voice_packets_total", "voice_copies_total"]);
    ctl(socket, &["mute", "dissonance", "--name", "ann"]);
    ann.write_all(&relay(&voice(ann_is, 0), &[ben_is])).unwrap();
    watch.see("dissonance", &[MUTED]);
    ctl(socket, &["unmute", "dissonance", "--name", "ann"]);
    let text = TextData { session, sender: ann_is, recipient: lobby, text: "hi".into() };
    let text = encode(&Packet::TextData(text));
    ann.write_all(&unit(&Packet::ServerRelayReliable(ServerRelay {
        session,
        destinations: &[ben_is],
        payload: &text,
    })))
    .unwrap();
    watch.see("dissonance", &["texts_total"]);
    ann.write_all(&relay(&voice(ann_is, 1), &[ben_is, ClientId::new(999)])).unwrap();
    watch.see("dissonance", &["skipped_destinations_total"]);
    ann.write_all(&relay(&voice(ben_is, 2), &[ben_is])).unwrap();
    watch.see("dissonance", &["dropped_packets_total{reason=\"forged\"}", "violations_total"]);
    for sequence in 0..2000 {
        ann.write_all(&relay(&voice(ann_is, sequence), &[ben_is])).unwrap();
    }
    watch.see("dissonance", &["dropped_packets_total{reason=\"sender-rate\"}"]);
    // More than can be played in that time.
    watch.see("dissonance", &["recorded_files_total", "recorded_bytes_total"]);
    watch.see("dissonance", &["unrecorded_pieces_total{reason=\"unusable\"}"]);
    let mut stranger = connect(address);
    stranger.write_all(b"no hello at all").unwrap();
    watch.see("dissonance", &["disconnects_total{reason=\"broken-stream\"}"]);
}

fn syfala(address: SocketAddr, watch: &mut Watch) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let ask = |message: &[u8], first: u8| {
        socket.send(message).unwrap();
        let mut answer = [0; 5000];
        while socket.recv(&mut answer).map(|_| answer[0]).unwrap() != first {}
    };
    let off_link = UdpSocket::bind("127.0.0.2:0").unwrap();
    off_link.send_to(&[0], address).unwrap();
    ask(&[0], 0);
    watch.see("syfala", &["answers_total", "refusals_total{rule=\"network\"}"]);
    for _ in 0..20 {
        socket.send(&[0]).unwrap();
    }
    watch.see("syfala", &["refusals_total{rule=\"rate\"}"]);
    socket.send(&[1]).unwrap();
    watch.see("syfala", &["connections", "sessions_begun_total"]);
    let audio = |at: u64, bytes: usize| {
        let length = u32::try_from(bytes).unwrap();
        let head = [&[6, 0, 0, 0, 0][..], &at.to_le_bytes(), &length.to_le_bytes()].concat();
        socket.send(&[head, vec![1; bytes]].concat()).unwrap();
    };
    audio(0, 960);
    watch.see("syfala", &["dropped_packets_total{reason=\"stopped\"}"]);
    ask(&[4], 3);
    // A second of audio at once is more than there is room for in time; then one message is missing, then all.
    for n in 0..100 {
        audio(n * 960, 960);
    }
    watch.see(
        "syfala",
        &["sessions", "voice_packets_total", "voice_copies_total", "passed_over_frames_total"],
    );
    watch.see("syfala", &["resynchronisations_total"]);
    for n in 0..60 {
        if n % 10 != 5 {
            audio((100 + n) * 960, 960);
        }
        socket.send(&[8]).unwrap();
        pause(5);
    }
    socket.send(&[8]).unwrap();
    watch.see("syfala", &["silence_bytes_total", "underrun_frames_total"]);
    for n in 0..4 {
        audio(10_000_000 + n * 960, 960);
    }
    watch.see("syfala", &["jumped_bytes_total"]);
}
