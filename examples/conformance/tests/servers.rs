//! C-19: our servers pass every check, and a fault between them and the runner fails the check that is about it.
#![allow(missing_docs, clippy::unwrap_used)]

mod kit;

use kit::line::{Of, faulty, lossy};
use kit::{Server, all_pass, alone_fails, report, runner, with_result};
use voxwire_server::Protocol;

/// V-01 to V-14: what the runner sees of our server by its bytes.
#[test]
fn v_01_v_06_v_09_v_12_a_voicelink_server_passes() {
    let server = Server::start(Protocol::VOICELINK);
    all_pass("voicelink", server.address, &[], &[]);
}

#[test]
fn v_05_a_changed_byte_in_a_close_fails_that_check_alone() {
    let server = Server::start(Protocol::VOICELINK);
    let line = faulty(server.address, Of::Server, b"not now", b"not mow");
    let failure = alone_fails("voicelink", line, &[], "V-05/close", Some(10), Some("Optional Data"));
    assert_eq!(failure["received"], "0000000d00036e6f74206d6f77");
    assert_eq!(failure["expected"], "0000000d00036e6f74206e6f77");
    assert_eq!(failure["peer"], "alice");
}

#[test]
fn d_04_d_10_d_15_a_dissonance_server_passes() {
    let server = Server::start(Protocol::DISSONANCE);
    all_pass("dissonance", server.address, &[], &[]);
}

#[test]
fn d_09_voice_that_arrives_reliably_fails_that_check_alone() {
    let server = Server::start(Protocol::DISSONANCE);
    let line = faulty(server.address, Of::Server, b"\x00\x05frame", b"\x00\x05fromo");
    let failure = alone_fails("dissonance", line, &[], "D-09/voice-sent-reliably", Some(25), Some("frame"));
    assert_eq!(failure["peer"], "bob");
}

#[test]
fn o_04_o_06_o_11_an_opcode_server_passes() {
    let server = Server::start(Protocol::OPCODE);
    all_pass("opcode", server.address, &[], &[]);
}

#[test]
fn o_06_a_changed_port_fails_that_check_alone() {
    let server = Server::start(Protocol::OPCODE);
    let line = faulty(server.address, Of::Server, b"127.0.0.1\x51\xc3", b"127.0.0.1\x50\xc3");
    alone_fails("opcode", line, &[], "O-06/host-ignored", None, Some("port"));
}

#[test]
fn m_05_m_09_m_12_a_msgpack_server_passes() {
    let server = Server::start(Protocol::MSGPACK);
    all_pass("msgpack", server.address, &[], &[]);
}

#[test]
fn m_08_a_changed_text_fails_that_check_alone() {
    let server = Server::start(Protocol::MSGPACK);
    let line = faulty(server.address, Of::Server, b"hi all", b"hi alk");
    let failure = alone_fails("msgpack", line, &[], "M-08/group-message", None, Some("content"));
    assert!(failure["received"].as_str().unwrap().ends_with("686920616c6b"));
}

#[test]
fn s_04_s_07_s_08_s_09_a_syfala_server_passes() {
    let server = Server::start(Protocol::SYFALA);
    all_pass("syfala", server.address, &[], &[]);
}

#[test]
fn s_04_a_lost_datagram_of_audio_fails_that_check_alone() {
    let server = Server::start(Protocol::SYFALA);
    // Behind the first three or so.
    let line = lossy(server.address, Of::Server, |datagram| {
        let at = datagram.get(5..13).map(|at| u64::from_le_bytes(at.try_into().unwrap()));
        datagram.first() == Some(&7) && at.is_some_and(|at| (4000..5400).contains(&at))
    });
    alone_fails("syfala", line, &[], "S-04/audio", None, Some("byte index"));
}

#[test]
fn the_command_line_says_what_is_wrong_and_ends_with_2() {
    for (arguments, words) in [
        (&["voicelink", "server", "127.0.0.1"][..], "HOST:PORT"),
        (&["voicelink", "server", "127.0.0.1:1", "--only", "V-999"], "V-999"),
        (&["voicelink", "server", "127.0.0.1:1", "--without", "wings"], "registration"),
        (&["voicelink", "client", "--as", "wings"], "callee"),
        (&["voicelink", "server", "127.0.0.1:1", "--timeout", "0"], "seconds"),
        (&["smoke", "server", "127.0.0.1:1"], "syfala"),
    ] {
        let (code, out, err) = runner(arguments);
        assert_eq!((code, &*out), (Some(2), ""), "{arguments:?}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
}

#[test]
fn one_row_or_one_check_can_be_chosen_and_abilities_left_out() {
    let server = Server::start(Protocol::VOICELINK);
    let (_, report) = report("voicelink", server.address, &["--only", "V-03", "--only", "V-01/every-split"]);
    assert_eq!(with_result(&report, "pass"), ["V-01/every-split", "V-03/six-bytes"]);
    let skipped = ["V-14/samples-swapped"];
    all_pass("voicelink", server.address, &["--without", "sample-order"], &skipped);
}

/// The table fits a terminal, and says of a failure what JSON says.
#[test]
fn a_failure_is_shown_with_its_bytes_on_80_columns() {
    let server = Server::start(Protocol::VOICELINK);
    let line = faulty(server.address, Of::Server, b"not now", b"not mow").to_string();
    let (code, out, _) = runner(&["voicelink", "server", &line, "--only", "V-05"]);
    assert_eq!(code, Some(1));
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    let parts = ["close", "FAIL", "offset 10", "00036e6f74206d6f77", "00036e6f74206e6f77", "bob sent"];
    for part in parts.into_iter().chain(["1 passed, 1 failed, 0 skipped"]) {
        assert!(out.contains(part), "no {part:?} in {out}");
    }
}

/// Where nobody listens every check fails, and says so.
#[test]
fn an_endpoint_that_is_not_there_fails_every_check() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, report) = report("opcode", free, &["--only", "O-01"]);
    assert_eq!((code, with_result(&report, "fail")), (Some(1), vec!["O-01/text".to_owned()]));
    assert!(report["checks"][0]["failure"]["what"].as_str().unwrap().contains("connecting to"));
}
