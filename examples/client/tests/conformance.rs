//! C-19: the runner, as the server, finds the program at each of its parts right, by its bytes.

#[path = "../../conformance/tests/kit/line.rs"]
mod line;

use clap::Parser;
use line::{Of, faulty, lossy};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener};
use voxwire_conformance::{Flags, run};

/// What the runner, which listens at `listen`, says of the program with these arguments and this server.
fn report(protocol: &str, role: &str, listen: SocketAddr, server: &str, arguments: &str) -> Value {
    let listen = listen.to_string();
    let runner = [
        "voxwire-conformance",
        protocol,
        "client",
        "--as",
        role,
        "--listen",
        &listen,
        "--json",
        "--timeout",
        "30",
        "--",
    ];
    // The environment of the program is that of the test: the password comes from env(1).
    // It writes what it hears into the folder that it runs in.
    let client = [
        "env",
        "-C",
        env!("CARGO_TARGET_TMPDIR"),
        "VOXWIRE_PASSWORD=geheim",
        env!("CARGO_BIN_EXE_voxwire-client"),
        "--server",
        server,
        protocol,
    ];
    let all = runner.into_iter().chain(client).chain(arguments.split_whitespace());
    let report = run(&Flags::try_parse_from(all).unwrap(), &|_| ()).unwrap();
    serde_json::from_str(&report.text(true)).unwrap()
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// All checks of the role pass, `count` of them.
#[track_caller]
fn passes(protocol: &str, role: &str, arguments: &str, count: usize) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let report = report(protocol, role, any, "{address}", arguments);
    let checks = report["checks"].as_array().unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check["result"] == "fail").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(report["passed"].as_u64(), Some(count as u64), "{report:#}");
}

#[test]
fn c_19_v_10_a_voicelink_callee_passes() {
    passes("voicelink", "callee", "wait --name bob", 6);
}

#[test]
fn c_19_v_10_a_voicelink_caller_passes() {
    passes("voicelink", "caller", "call bob --name alice --play tone --for 3", 6);
}

#[test]
fn c_19_o_08_an_opcode_callee_passes() {
    passes("opcode", "callee", "wait --name zoe --play tone --for 5", 5);
}

#[test]
fn c_19_o_08_an_opcode_caller_passes() {
    passes("opcode", "caller", "call bob --name zoe --play tone --for 5", 6);
}

#[test]
fn c_19_m_10_a_msgpack_client_passes() {
    passes("msgpack", "listener", "wait --keep --user bob", 4);
    passes("msgpack", "talker", "call readers --user alice --play tone --for 5", 1);
    passes("msgpack", "whisperer", "whisper bob good morning --user alice", 2);
}

#[test]
fn c_19_s_09_a_syfala_client_passes() {
    passes("syfala", "streamer", "stream --play tone --for 6", 8);
}

#[test]
fn c_19_d_05_a_dissonance_listener_passes() {
    passes("dissonance", "listener", "join Lobby --name bob", 9);
}

#[test]
fn c_19_d_09_a_dissonance_speaker_passes() {
    passes("dissonance", "speaker", "join Lobby --name alice --play tone --for 6", 2);
}

/// The program behind a line that changes what it says: `check` alone fails, in `field`.
#[track_caller]
fn alone_fails(protocol: &str, role: &str, arguments: &str, line: Line, check: &str, field: Option<&str>) {
    let listen = free_address();
    let through = match line {
        Line::Faulty(wanted, put) => faulty(listen, Of::Client, wanted, put),
        Line::Lossy(loses) => lossy(listen, Of::Client, loses),
    };
    let report = report(protocol, role, listen, &through.to_string(), arguments);
    let checks = report["checks"].as_array().unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check["result"] == "fail").collect();
    let names: Vec<_> = failed
        .iter()
        .map(|it| format!("{}/{}", it["row"].as_str().unwrap(), it["check"].as_str().unwrap()))
        .collect();
    assert_eq!(names, [check], "{failed:#?}");
    assert_eq!(failed[0]["failure"]["field"].as_str(), field, "{failed:#?}");
    assert!(!failed[0]["failure"]["conversation"].as_array().unwrap().is_empty());
}

/// What is between the program and the runner.
enum Line {
    Faulty(&'static [u8], &'static [u8]),
    Lossy(fn(&[u8]) -> bool),
}

#[test]
fn c_19_an_answer_of_another_type_fails_that_check_alone() {
    // Accept becomes Drop.
    let line = Line::Faulty(b"\0\0\0\x06\0\x04", b"\0\0\0\x06\0\x05");
    let arguments = "call bob --name alice --play tone --for 3";
    alone_fails("voicelink", "caller", arguments, line, "V-04/answers-counter", Some("Message Type"));
}

#[test]
fn c_19_a_changed_log_in_fails_every_check_of_opcode_that_needs_one() {
    let listen = free_address();
    // The count of the name no longer fits the packet.
    let through = faulty(listen, Of::Client, b"\x03\0\0\0\0\0\0\0zoe", b"\x02\0\0\0\0\0\0\0zoe");
    let report = report("opcode", "callee", listen, &through.to_string(), "wait --name zoe --for 5");
    let checks: Vec<_> =
        report["checks"].as_array().unwrap().iter().filter(|check| check["result"] == "fail").collect();
    assert_eq!((checks.len(), checks[0]["check"].as_str()), (5, Some("logs-in")), "{report:#}");
    for check in checks {
        let failure = &check["failure"];
        assert_eq!((failure["offset"].as_u64(), failure["field"].as_str()), (Some(10), Some("count")));
        assert_eq!(failure["received"], "0d00000000000000020002000000000000007a6f65");
    }
}

#[test]
fn c_19_a_changed_context_of_a_pong_fails_that_check_alone() {
    let line = Line::Faulty(b"PONGcontext", b"PONGcontexU");
    alone_fails("msgpack", "listener", "wait --keep --user bob", line, "M-09/ping", Some("context"));
}

#[test]
fn c_19_a_lost_datagram_of_a_client_fails_that_check_alone() {
    let line = Line::Lossy(|datagram| {
        let at = datagram.get(5..13).map(|at| u64::from_le_bytes(at.try_into().unwrap()));
        datagram.first() == Some(&6) && at.is_some_and(|at| (8000..9400).contains(&at))
    });
    alone_fails("syfala", "streamer", "stream --play tone --for 6", line, "S-04/audio", Some("byte index"));
}

#[test]
fn c_19_a_swallowed_control_fails_that_check_alone() {
    // DOWN becomes a control that there is not.
    let line = Line::Faulty(b"\0\x02\x02\x02", b"\0\x02\x02\x63");
    alone_fails("dissonance", "listener", "join Lobby --name bob", line, "D-15/probes", None);
}
