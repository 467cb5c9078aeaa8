//! What operators and those who guess tokens may cost, and who can open what control stores.

use crate::common::{Controlled, TOKEN, serve};
use crate::kit::raw::{metrics, pause, reluctant};
use crate::kit::{Server, command, file, folder};
use serde_json::json;
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};

const VOICELINK: &str = "only = [\"voicelink\"]";

fn asks_for_events(mut stream: TcpStream) -> TcpStream {
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

/// C-34: a stream whose reader stops gives its place back.
#[test]
fn c_34_a_stream_that_is_not_read_gives_its_place_back() {
    let control = Controlled::start("stalled", &format!("{VOICELINK}\nhttp-seconds = 1"));
    let _stalled: Vec<_> = (0..16).map(|_| asks_for_events(reluctant(control.address("http tcp")))).collect();
    assert_eq!(control.send("GET", "/api/v1/events", Some(TOKEN), "").0, 429);
    for n in 0..4000 {
        let name = format!("{n}{}", "x".repeat(240));
        control.act("/api/v1/voicelink/mute", &json!({ "name": name, "voice": true }));
        if n % 50 == 49 && control.send_head("GET", "/api/v1/events") == 200 {
            return;
        }
    }
    panic!("no place comes back");
}

/// F-17: connections that ask for nothing end no stream of an operator's.
#[test]
fn f_17_strangers_end_no_stream_of_an_operator() {
    let control = Controlled::start("evicted", &format!("{VOICELINK}\nhttp-connections = 4"));
    let mut events = asks_for_events(control.connect());
    let silent: Vec<_> = (0..20).map(|_| control.connect()).collect();
    control.act("/api/v1/bans", &json!({ "name": "mallory" }));
    let mut text = String::new();
    while !text.contains("\"type\":\"banned\"") {
        let mut part = [0; 1024];
        let len = events.read(&mut part).unwrap();
        assert_ne!(len, 0, "the stream has ended: {text}");
        text.push_str(&String::from_utf8_lossy(&part[..len]));
    }
    drop(silent);
}

/// C-33: who hears whom is changed as a whole, or not at all.
#[test]
fn c_33_an_update_of_who_hears_whom_is_carried_out_as_a_whole() {
    let control = Controlled::start("whole", VOICELINK);
    let hearing = "/api/v1/voicelink/hearing";
    let long = "x".repeat(1025);
    let update = json!({ "others": "nobody", "listeners": { "ann": ["bob"], "zoe": [long] } });
    assert_eq!(control.refuses(hearing, &update).0, 400);
    let now = control.get(hearing);
    assert_eq!((&now["others"], &now["total"]), (&json!("everyone"), &json!(0)));
    control.act(hearing, &json!({ "listeners": { "ann": ["bob", "eve"] } }));
    assert_eq!(control.get(hearing)["items"], json!([{ "listener": "ann", "hears": ["bob", "eve"] }]));
}

/// C-32: a misspelt field is refused, and so is a text that is too long.
#[test]
fn c_32_fields_that_are_unknown_or_too_long_are_refused() {
    let control = Controlled::start(
        "fields",
        "only = [\"voicelink\", \"dissonance\"]\n[dissonance]\nport = 0\nquic = false",
    );
    let long = "x".repeat(1025);
    for (path, body) in [
        ("voicelink/kick", json!({ "name": "bob", "reson": "x" })),
        ("voicelink/mute", json!({ "name": "bob", "voice": true, "texts": true })),
        ("dissonance/move", json!({ "name": "bob", "from": "Lobby", "room": "x" })),
        ("voicelink/kick", json!({ "name": "bob", "reason": long })),
        ("voicelink/kick", json!({ "name": long })),
        ("voicelink/mute", json!({ "name": long, "voice": true })),
        ("dissonance/move", json!({ "name": "bob", "from": long })),
        ("dissonance/say", json!({ "room": long, "text": "x" })),
        ("dissonance/recordings", json!({ "room": long })),
        ("bans", json!({ "name": "bob", "reason": long })),
        ("bans", json!({ "name": long })),
    ] {
        let (status, code, message) = control.refuses(&format!("/api/v1/{path}"), &body);
        assert!(status == 400 && code == "invalid", "{path}: {status} {message}");
    }
    assert_eq!(control.get("/api/v1/actions")["total"], 0);
}

/// C-32: SIGHUP reads the tokens again; ones that cannot be used change nothing. Wrong ones are counted.
#[test]
fn c_32_tokens_are_read_again_and_wrong_ones_are_counted() {
    let control = Controlled::start("reload", VOICELINK);
    let asks = |token: &str| control.send("GET", "/api/v1/protocols", Some(token), "").0;
    let until = |token: &str, status: u16| {
        for _ in 0..500 {
            if asks(token) == status {
                return;
            }
            pause(10);
        }
        panic!("{token}: {status} expected");
    };
    let later = "0123456789-another-token";
    file("control-reload.token", &format!("ben {later}\n"));
    control.server.signal("-HUP");
    until(later, 200);
    assert_eq!(asks(TOKEN), 401);
    file("control-reload.token", "short\n");
    control.server.signal("-HUP");
    pause(300);
    assert_eq!(asks(later), 200);
    let counted = metrics(control.address("http tcp"));
    let counted: u64 = counted["voxwire_control_refusals_total"].parse().unwrap();
    assert!(counted >= 1, "{counted}");
}

/// C-32: each action is in the server's log, however many there are.
#[test]
fn c_32_no_action_is_left_out_of_the_log() {
    let data = folder("control-audit");
    let log = file("control-audit.log", "");
    let socket = data.join("control.sock");
    let arguments = ["--only", "voicelink", "--http", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let mut command = command(&[&arguments[..], &["--control-socket", socket.to_str().unwrap()]].concat());
    command.env("VOXWIRE_CONTROL_TOKEN", TOKEN);
    let server = Server::spawn(command.stderr(File::create(&log).unwrap()));
    let control = Controlled { server, data, socket };
    for n in 0..30 {
        control.act("/api/v1/bans", &json!({ "name": format!("name {n}") }));
    }
    let lines = || std::fs::read_to_string(&log).unwrap().matches("action=\"banned\"").count();
    for _ in 0..200 {
        if lines() == 30 {
            return;
        }
        pause(10);
    }
    panic!("{} of 30 actions are in the log", lines());
}

/// C-31: what control stores is the server's alone, and no link to something else.
#[test]
fn c_31_what_control_stores_is_private_and_no_link() {
    let data = folder("control-private");
    std::fs::create_dir(&data).unwrap();
    let elsewhere = file("control-elsewhere.db", "");
    symlink(&elsewhere, data.join("control.db")).unwrap();
    let socket = data.join("c.sock");
    let arguments = ["--only", "voicelink", "--http", "off", "--data", data.to_str().unwrap()];
    let arguments = [&arguments[..], &["--control-socket", socket.to_str().unwrap()]].concat();
    let (code, error) = crate::kit::fails(&arguments);
    assert!(code.is_some_and(|code| code != 0) && error.contains("control.db"), "{error}");
    assert_eq!(std::fs::metadata(&elsewhere).unwrap().len(), 0);
    // A copy that others can read is closed to them.
    std::fs::remove_file(data.join("control.db")).unwrap();
    File::create(data.join("control.db")).unwrap().set_permissions(Permissions::from_mode(0o644)).unwrap();
    let server = serve("private", VOICELINK, "", &data);
    let mode = |name: &str| std::fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    for name in ["control.db", "control.db-wal", "control.sock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let left = std::fs::read_dir(&data)
        .unwrap()
        .filter(|it| it.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0);
    drop(server);
    let _ = std::fs::remove_dir_all(&data);
}
