//! The local socket, and `voxwire-server ctl`.

use crate::common::Controlled;
use crate::kit::raw::next_of;
use crate::kit::raw::{connect, join, pause, registered, unit};
use crate::kit::{Server, command, fails, folder};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use voxwire_core::{List, Message};
use voxwire_dissonance::{ClientInfo, ClientState, CodecSettings, Packet, Wire};

/// C-32, C-33: each action of the command, by the socket that no other user can open.
#[test]
fn c_33_each_action_of_the_command_reaches_the_server() {
    let mut control = Controlled::start(
        "ctl",
        "only = [\"voicelink\", \"dissonance\"]\n[dissonance]\nport = 0\nquic = false",
    );
    assert_eq!(std::fs::metadata(&control.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let socket = control.socket.to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let all = [&["ctl", "--socket", &socket], arguments].concat();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_voxwire-server"));
        let output = command.args(all).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let done = |arguments: &[&str]| {
        let (code, out, err) = run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        serde_json::from_str::<Value>(&out).unwrap_or_else(|_| panic!("{arguments:?}: {out}"))
    };
    let mut alice = registered(connect(control.address("voicelink tcp")), "alice");
    control.until("voicelink", 1);
    assert_eq!(done(&["protocols"])["items"][0]["name"], "voicelink");
    assert_eq!(done(&["list", "voicelink"])["items"][0]["name"], "alice");
    assert_eq!(done(&["mute", "voicelink", "--name", "alice"])["connections"], 1);
    assert_eq!(done(&["mutes", "voicelink"])["total"], 1);
    assert_eq!(done(&["unmute", "voicelink", "--name", "alice"])["connections"], 1);
    assert_eq!(done(&["hear", "voicelink", "bob", "alice"])["connections"], 0);
    assert_eq!(done(&["hear", "voicelink", "bob", "--reset"])["connections"], 0);
    assert_eq!(done(&["others", "voicelink", "nobody"])["connections"], 0);
    assert_eq!(done(&["ban", "--address", "192.0.2.0/24", "--seconds", "60"])["ban"]["id"], 1);
    assert_eq!(done(&["bans"])["total"], 1);
    assert_eq!(done(&["unban", "1"])["id"], 1);
    assert_eq!(done(&["kick", "voicelink", "--name", "alice", "--reason", "shouting"])["connections"], 1);
    let mut rest = Vec::new();
    alice.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"shouting"));
    let (code, _, error) = run(&["say", "voicelink", "x", "hello"]);
    assert!(code == Some(1) && error.contains("voicelink has no text"), "{error}");
    let (code, _, error) = run(&["leave", "dissonance", "--name", "bob", "Lobby"]);
    assert!(code == Some(1) && error.contains("no client is named"), "{error}");
    let recorded = done(&["record", "dissonance", "--room", "Lobby"]);
    assert_eq!((&recorded["id"], &recorded["room"]), (&json!(1), &json!("Lobby")));
    assert_eq!(done(&["record", "dissonance", "--name", "bob"])["name"], "bob");
    assert_eq!(done(&["recordings"])["total"], 2);
    assert_eq!(done(&["unrecord", "1"])["id"], 1);
    let (code, _, error) = run(&["unrecord", "1"]);
    assert!(code == Some(1) && error.contains("there is no recording"), "{error}");
    let log = done(&["actions"]);
    let by = log["items"][0]["by"].as_str().unwrap();
    assert!(by.starts_with("socket, user ") && log["items"][0]["action"] == "recording-stopped", "{log}");
    // A stream of events ends with the server.
    let mut events = std::process::Command::new(env!("CARGO_BIN_EXE_voxwire-server"))
        .args(["ctl", "--socket", &socket, "events"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = events.stdout.take().unwrap();
    out.read_exact(&mut [0; 8]).unwrap();
    assert_eq!(done(&["drain"]), json!({ "draining": true }));
    assert!(control.server.wait().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: draining"), "{rest}");
    assert!(events.wait().unwrap().success());
    assert!(!control.socket.exists());
    let (code, _, error) = run(&["bans"]);
    assert!(code == Some(2) && error.contains("control.sock"), "{error}");
}

/// C-32: settings that would let a token be read or guessed are refused.
#[test]
fn c_32_settings_that_would_give_the_token_away_are_refused() {
    let short = crate::kit::file("control-short.token", "short\n");
    let (code, error) = fails(&["--control-token-file", short.to_str().unwrap(), "--http", "127.0.0.1:0"]);
    assert!(code == Some(2) && error.contains("at least 16 expected"), "{error}");
    let good = crate::kit::file("control-good.token", "0123456789abcdef0123\n");
    let good = good.to_str().unwrap();
    let (code, error) = fails(&["--control-token-file", good, "--http", "0.0.0.0:0"]);
    assert!(code == Some(2) && error.contains("in the clear"), "{error}");
    let (code, error) = fails(&["--control-token-file", good, "--http", "off"]);
    assert!(code == Some(2) && error.contains("beside the status page"), "{error}");
    let (code, error) = fails(&["--control-token-file", "/nowhere/token", "--http", "127.0.0.1:0"]);
    assert!(code == Some(2) && error.contains("/nowhere/token"), "{error}");
    let output = command(&["--check-config", "--http", "127.0.0.1:0"])
        .env("VOXWIRE_CONTROL_TOKEN", "a-secret-that-is-long-enough")
        .output()
        .unwrap();
    assert!(output.status.success());
    let output = command(&["--check-config", "--http", "off"])
        .env("VOXWIRE_CONTROL_TOKEN", "a-secret-that-is-long-enough")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && !error.contains("a-secret"), "{error}");
}

/// C-33: texts come from the name that is set.
#[test]
fn c_33_texts_of_operators_come_from_the_name_that_is_set() {
    let data = folder("control-herald");
    let (socket, data) = (data.join("ctl.sock"), data.to_str().unwrap());
    let socket = socket.to_str().unwrap();
    let only = ["--only", "dissonance", "--no-quic", "--http", "off", "--data", data];
    let control = ["--control-socket", socket, "--control-say-as", "herald"];
    let server = Server::start(&[&only[..], &control].concat());
    let (mut ann, session, id) = join(server.address("dissonance tcp"), b"ann");
    let client = ClientInfo { name: "ann".into(), id, codec: CodecSettings::DEFAULT };
    let rooms = ["Lobby".into()];
    let rooms = List::from(&rooms[..]);
    ann.write_all(&unit(&Packet::ClientState(ClientState { session, client, rooms }))).unwrap();
    let said = (0..500).any(|_| {
        pause(10);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_voxwire-server"));
        let arguments = ["ctl", "--socket", socket, "say", "dissonance", "Lobby", "hello"];
        let said: Value = serde_json::from_slice(&command.args(arguments).output().unwrap().stdout).unwrap();
        said["connections"] == 1
    });
    assert!(said);
    let mut names = (0..3).map(|_| next_of(&mut ann, &["ClientState"]));
    let is_herald = |state: Vec<u8>| {
        let Ok(Packet::ClientState(state)) = Packet::decode(&state, &Wire::default()) else { unreachable!() };
        state.client.name.as_str() == Some("herald")
    };
    // Hers comes first, once or twice.
    assert!(names.any(is_herald));
    drop(server);
    let _ = std::fs::remove_dir_all(data);
}
