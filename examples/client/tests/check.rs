//! C-22: `check`, without a network and with servers.
#![allow(missing_docs, clippy::unwrap_used)]

mod kit;

use kit::{Server, temporary};
use serde_json::Value;
use std::io::copy;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use voxwire_server::{Dissonance, Protocol};

/// Exit code, standard output, standard error.
fn check(server: Option<&str>, arguments: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
    command.args(server.into_iter().flat_map(|server| ["--server", server])).arg("check");
    let output = command.args(arguments.split_whitespace()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The rows of `check --json`.
fn rows(out: &str) -> Vec<Value> {
    let objects = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.filter(|object| object["event"] == "check").collect()
}

#[test]
fn c_22_without_a_network_all_is_heard_and_nothing_is_left() {
    let folder = temporary("check-here");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
    let output =
        command.args(["check", "--only", "voicelink,dissonance"]).env("TMPDIR", &folder).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    // PCM and Opus.
    for text in ["checking this machine", "voicelink", "heard all", "dissonance: carol to alice", "heard "] {
        assert!(out.contains(text), "{text}: {out}");
    }
    // The names of sound devices may be long.
    let mut table = out.lines().take_while(|line| !line.starts_with("sound "));
    assert!(table.all(|line| line.chars().count() <= 80), "{out}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn c_22_each_protocol_and_transport_of_a_server_has_a_row() {
    for protocol in Protocol::all() {
        let server = Server::start(protocol);
        let (name, address) = (protocol.name(), server.address.to_string());
        let (code, out, errors) = check(Some(&address), &format!("--only {name} --json"));
        assert_eq!((code, &*errors), (Some(0), ""), "{name}: {out}");
        let rows = rows(&out);
        let by: Vec<&str> = rows.iter().map(|row| row["transport"].as_str().unwrap()).collect();
        let expected = match name {
            "dissonance" | "echo" => &["TCP", "UDP"][..],
            "syfala" => &["UDP"],
            _ => &["TCP"],
        };
        assert_eq!(by, expected, "{name}: {out}");
        for row in &rows {
            let is_tcp = row["transport"] == "TCP";
            assert_eq!(row["state"], if is_tcp { "open" } else { "answers" }, "{row}");
            assert_eq!(row["tls"].as_str(), is_tcp.then_some("none"), "{row}");
            let count = row["rtt_ms"]["count"].as_u64().unwrap();
            assert!(count >= 5 || (!is_tcp && count >= 1), "{row}");
            assert!(
                row["rtt_ms"]["p50"].as_f64() > Some(0.0) && row["rtt_ms"]["max"].as_f64() < Some(4000.0),
                "{row}"
            );
            assert_eq!(row["sent"].is_number(), !is_tcp, "{row}");
        }
        let (code, out, _) = check(Some(&address), &format!("--only {name}"));
        assert!(code == Some(0) && out.contains(" ok ") && !out.contains("FAILED"), "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    }
}

#[test]
fn c_22_a_port_at_which_nothing_listens_is_refused_and_another_protocols_port_says_so() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for protocol in Protocol::all() {
        let (code, out, errors) =
            check(Some(&port.to_string()), &format!("--only {} --json", protocol.name()));
        let row = rows(&out).remove(0);
        assert_eq!((code, &row["state"], &row["ok"]), (Some(1), &"refused".into(), &false.into()), "{row}");
        assert!(row["problem"].as_str().unwrap().contains("does the server"), "{row}");
        assert!(errors.contains("1 of 1 rows failed"), "{errors}");
    }
    let server = Server::start(Protocol::OPCODE);
    for (name, expected) in [
        ("dissonance", "names the port of another protocol"),
        ("voicelink", "names the port of another protocol"),
    ] {
        let (code, out, _) = check(Some(&server.address.to_string()), &format!("--only {name}"));
        assert!(code == Some(1) && out.contains("FAILED") && out.contains(expected), "{name}: {out}");
    }
}

#[test]
fn c_22_blocked_udp_names_the_port_that_is_to_be_opened() {
    let server = Server::start(Protocol::DISSONANCE);
    let to = server.address;
    // By TCP alone, on another address: no datagram comes through.
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(to).unwrap());
            let (mut from_near, mut to_near) = (near.try_clone().unwrap(), near);
            let (mut from_far, mut to_far) = (far.try_clone().unwrap(), far);
            std::thread::spawn(move || {
                let _ = copy(&mut from_near, &mut to_far);
                let _ = to_far.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || {
                let _ = copy(&mut from_far, &mut to_near);
                let _ = to_near.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    let (code, out, errors) = check(Some(&address.to_string()), "--only dissonance");
    assert_eq!(code, Some(1), "{out}");
    assert!(errors.contains("1 of 2 rows failed"), "{errors}");
    let sentence = format!("let UDP through to port {}", to.port());
    assert!(out.contains("filtered") && out.contains(&sentence) && out.contains("UDP is blocked"), "{out}");
}

#[test]
fn c_22_a_token_is_asked_for() {
    let server = Server::with(Protocol::DISSONANCE, |config| {
        config.of_mut::<Dissonance>().token = Some("sesame".into());
    });
    let address = server.address.to_string();
    let (code, out, _) = check(Some(&address), "--only dissonance");
    assert!(code == Some(1) && out.contains("does not admit this token"), "{out}");
    let (code, out, _) = check(Some(&address), "--only dissonance --token sesame");
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn c_22_what_makes_no_sense_is_a_usage_error() {
    for (server, arguments) in [
        (None, "--quic"),
        (None, "--token sesame"),
        (Some("127.0.0.1:1"), ""),
        (Some("127.0.0.1:1"), "--only voicelink,opcode"),
        (Some("127.0.0.1"), "--quic"),
        (Some("127.0.0.1"), "--encrypted-only"),
    ] {
        assert_eq!(check(server, arguments).0, Some(2), "{server:?} {arguments}");
    }
    let (code, _, errors) = check(Some("nowhere.invalid"), "");
    assert!(code == Some(1) && errors.contains("is the name right"), "{errors}");
}
