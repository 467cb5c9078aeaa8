//! C-20: the load against a server of each protocol: what is counted is what was said, copy by copy.
#![allow(missing_docs)]

mod kit;

use kit::{Load, in_peace, load, serve, serve_with};
use serde_json::Value;
use voxwire_server::Protocol;

/// All users were ready, and heard all that they were to hear, as it was said.
fn assert_all_heard(load: &Load, users: u64, sent: u64, copies: u64) -> Value {
    assert_eq!(load.code, Some(0), "{}{}", load.out, load.error);
    assert_eq!(load.error, "");
    let json = load.json();
    for (field, expected) in [
        ("joined", users),
        ("ready", users),
        ("sent", sent),
        ("refused", 0),
        ("expected", copies),
        ("heard", copies),
        ("lost", 0),
        ("losers", 0),
        ("reordered", 0),
        ("duplicated", 0),
        ("wrong", 0),
    ] {
        assert_eq!(json[field], expected, "{field}: {json}");
    }
    assert!(json["worst"].is_null() && json["errors"] == Value::Array(vec![]), "{json}");
    for (field, count) in
        [("latency_ms", copies), ("transit_ms", copies), ("late_ms", sent), ("join_ms", users)]
    {
        let durations = &json[field];
        assert_eq!(durations["count"], count, "{field}: {json}");
        let values = ["p50", "p90", "p99", "p99_9", "max"].map(|name| durations[name].as_f64().unwrap());
        assert!(values.is_sorted() && (count == 0 || values[0] > 0.0), "{field}: {durations}");
    }
    // Frames are heard after they were sent, and sent after they were due.
    let p50 = |field: &str| json[field]["p50"].as_f64().unwrap();
    assert!(p50("latency_ms") >= p50("transit_ms"), "{json}");
    json
}

#[test]
fn voicelink_calls_are_heard_frame_by_frame() {
    let server = serve(Protocol::VOICELINK);
    let load = server.load_in_peace("voicelink --users 8 --seconds 2 --rate 50 --bytes 640");
    let json = assert_all_heard(&load, 8, 800, 800);
    assert_eq!((&json["set_up_ms"]["count"], &json["copies_per_second"]), (&4.into(), &400.0.into()));
    // One of each pair talks; and frames are as small as they can be.
    let load = server.load_in_peace("voicelink --users 8 --talkers 4 --seconds 1 --rate 100 --bytes 32");
    assert_all_heard(&load, 8, 400, 400);
}

#[test]
fn opcode_calls_that_the_server_carries_are_heard_packet_by_packet() {
    let server = serve(Protocol::OPCODE);
    let load = server.load_in_peace("opcode --users 8 --seconds 2");
    let json = assert_all_heard(&load, 8, 800, 800);
    assert_eq!(json["set_up_ms"]["count"], 4);
}

#[test]
fn msgpack_group_calls_are_heard_message_by_message_also_by_accounts_that_exist() {
    let server = serve(Protocol::MSGPACK);
    for _ in 0..2 {
        let load = server.load_in_peace("msgpack --users 6 --groups 2 --talkers 4 --seconds 1 --rate 25");
        // Each is heard by the two others of its group.
        let json = assert_all_heard(&load, 6, 100, 200);
        assert_eq!(json["set_up_ms"]["count"], 6);
    }
}

#[test]
fn dissonance_rooms_are_heard_frame_by_frame() {
    let server = serve(Protocol::DISSONANCE);
    let load = server.load_in_peace("dissonance --users 10 --groups 2 --talkers 4 --seconds 2");
    assert_all_heard(&load, 10, 400, 1600);
    // A user alone in its room says what no user hears.
    let load = server.load_in_peace("dissonance --users 2 --groups 2 --seconds 1");
    assert_all_heard(&load, 2, 100, 0);
}

#[test]
fn what_is_encrypted_is_heard_frame_by_frame() {
    // Of a server of the program's own, which makes its certificate.
    let load = in_peace(|| load("dissonance --quic --users 10 --groups 2 --seconds 1 --timeout 100 --json"));
    assert_all_heard(&load, 10, 100, 400);
    // Of another, by QUIC and by TLS.
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [cert, key] = ["load-cert.pem", "load-key.pem"].map(|name| folder.join(name));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let trust = format!("--tls-ca {} --tls-name localhost", cert.display());
    let server = serve_with(Protocol::VOICELINK, |config| config.tls = Some((cert.clone(), key.clone())));
    let load = server.load_in_peace(&format!("voicelink --users 4 --seconds 1 {trust}"));
    assert_all_heard(&load, 4, 200, 200);
    let clear = server.load("voicelink --users 2 --seconds 1 --timeout 5");
    assert_eq!((clear.code, &clear.json()["joined"]), (Some(1), &0.into()));
}

#[test]
fn syfala_streams_come_back_from_a_device_that_echoes() {
    let server = serve(Protocol::SYFALA);
    // A device that has no core for 600 ms is gone.
    let mut runs = (0..5).map(|_| server.load("syfala --users 6 --talkers 3 --seconds 2 --max-loss 50"));
    let json = runs.find(|load| load.code == Some(0)).expect("a run without errors").json();
    // 48 000 frames of sound a second, 480 in a message. A device whose thread waits for a core leaves some out.
    assert_eq!((&json["ready"], &json["sent"], &json["expected"]), (&6.into(), &600.into(), &600.into()));
    let heard = json["heard"].as_u64().unwrap();
    assert!(heard >= 300 && json["lost"] == 600 - heard, "{json}");
    assert_eq!((&json["wrong"], &json["duplicated"]), (&0.into(), &0.into()), "{json}");
    // What the device has in store.
    assert!(json["latency_ms"]["p50"].as_f64().unwrap() >= 150.0, "{json}");
}

#[test]
fn users_without_talkers_join_and_stay_idle() {
    for (protocol, name) in [
        (Protocol::VOICELINK, "voicelink"),
        (Protocol::OPCODE, "opcode"),
        (Protocol::MSGPACK, "msgpack"),
        (Protocol::DISSONANCE, "dissonance"),
        (Protocol::SYFALA, "syfala"),
    ] {
        let load = serve(protocol).load(&format!("{name} --users 6 --talkers 0 --seconds 1"));
        let json = assert_all_heard(&load, 6, 0, 0);
        assert_eq!(json["set_up_ms"]["count"], 0);
    }
}

#[test]
fn c_20_two_processes_have_one_result() {
    let server = serve(Protocol::DISSONANCE);
    // The one room has users of both.
    let load = server.load_in_peace("dissonance --users 10 --talkers 2 --seconds 1 --processes 2");
    let json = assert_all_heard(&load, 10, 100, 900);
    assert_eq!(json["processes"], 2);
    let server = serve(Protocol::MSGPACK);
    let load = server.load_in_peace("msgpack --users 6 --talkers 1 --seconds 1 --processes 3");
    assert_all_heard(&load, 6, 50, 250);
}

#[test]
fn without_a_server_the_program_starts_one_and_measures_it() {
    for name in ["voicelink", "opcode", "msgpack", "dissonance"] {
        let load = in_peace(|| load(&format!("{name} --users 6 --talkers 2 --seconds 1 --json")));
        let copies = if ["msgpack", "dissonance"].contains(&name) { 500 } else { 100 };
        let json = assert_all_heard(&load, 6, 100, copies);
        let server = &json["server_process"];
        if cfg!(target_os = "linux") {
            assert!(server["rss_bytes"].as_u64().unwrap() > 1 << 20, "{json}");
            assert!(server["peak_bytes"].as_u64() >= server["rss_bytes"].as_u64(), "{json}");
            assert!(server["cpu_us_per_copy"].as_f64().is_some(), "{json}");
        } else {
            assert!(server.is_null(), "{json}");
        }
    }
    // More users than a device takes by default.
    let load = load("syfala --users 20 --talkers 0 --seconds 1 --json");
    assert!(load.code == Some(0) && load.json()["ready"] == 20, "{}{}", load.out, load.error);
    let load = kit::load("syfala --users 2 --talkers 1 --seconds 1 --json");
    assert!(load.json()["heard"].as_u64().unwrap() > 0, "{}{}", load.out, load.error);
}

#[cfg(target_os = "linux")]
#[test]
fn the_servers_process_is_measured_by_its_number() {
    let server = serve(Protocol::VOICELINK);
    let load = server.load(&format!("voicelink --users 2 --seconds 1 --server-pid {}", std::process::id()));
    assert!(load.json()["server_process"]["rss_bytes"].as_u64().unwrap() > 1 << 20, "{}", load.out);
    assert!(server.load("voicelink --users 2 --seconds 1").json()["server_process"].is_null());
}

/// C-20: README.md documents each field of the JSON, and no other.
#[test]
fn each_field_of_the_json_is_documented() {
    let readme = include_str!("../README.md");
    let (_, fields) = readme.split_once("\n## JSON\n").unwrap();
    let fields = fields.split("\n## ").next().unwrap();
    let rows = fields.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut documented: Vec<&str> =
        rows.flat_map(|row| row.split(" | ").next().unwrap().split('`')).collect();
    documented.retain(|part| !part.is_empty() && *part != ", ");
    let json = load("dissonance --users 4 --talkers 1 --seconds 1 --json").json();
    let mut found = Vec::new();
    for (name, value) in json.as_object().unwrap() {
        found.push(name.clone());
        let nested = value.as_object().into_iter().flatten();
        found.extend(nested.map(|(inner, _)| format!("{name}.{inner}")));
    }
    // The same for all durations.
    let is_duration = |name: &String| name.contains("_ms.") && !name.starts_with("latency_ms.");
    found.retain(|name| !is_duration(name));
    let optional = ["worst.user", "worst.lost", "worst.expected", "errors.cause", "errors.count"];
    found.extend(optional.map(String::from));
    found.sort();
    let mut documented: Vec<String> = documented.into_iter().map(String::from).collect();
    documented.sort();
    assert_eq!(found, documented);
}

#[test]
fn people_get_a_text_of_80_columns() {
    let server = serve(Protocol::VOICELINK);
    let arguments = format!("voicelink --users 2 --seconds 1 --server {}", server.address);
    let load = load(&arguments);
    assert_eq!(load.code, Some(0), "{}{}", load.out, load.error);
    assert!(load.out.lines().all(|line| line.chars().count() <= 80), "{}", load.out);
    for part in [
        "voicelink at 127.0.0.1:",
        "users      joined 2, ready 2, of 2",
        "frames     sent 100, refused 0",
        "copies     heard 100 of 100, 100 a second",
        "lost       0 (0.00 %)",
        "faults     reordered 0, duplicated 0, wrong 0",
        "latency             100",
        "server     not measured",
    ] {
        assert!(load.out.contains(part), "{part}\n{}", load.out);
    }
}
