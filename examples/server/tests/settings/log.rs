//! The level of the log, and its limits.

use crate::FREE;
use crate::kit::raw::{connect, pause, registered};
use crate::kit::{Server, command, folder};
use core::net::SocketAddr;
use std::io::Read;
use std::process::Stdio;

/// What a server with these flags logs until SIGTERM, while `what` is done to it.
fn logged(name: &str, flags: &[&str], what: impl FnOnce(SocketAddr)) -> String {
    let data = folder(&format!("settings-{name}"));
    let only = ["--only", "voicelink", "--data", data.to_str().unwrap()];
    let mut child = command(&[&only[..], &FREE, flags].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap())) {
        lines.push(line.unwrap());
        if lines.last().unwrap() == "ready" {
            break;
        }
    }
    let mut server = Server { child, lines };
    let mut stderr = server.child.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        log
    });
    what(server.address("voicelink tcp"));
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    log.join().unwrap()
}

#[test]
fn f_71_log_is_the_level_of_what_is_logged() {
    let register = |address| drop(registered(connect(address), "bob"));
    let log = logged("log-off", &["--log", "off"], register);
    assert_eq!(log, "");
    let log = logged("log-info", &[], register);
    assert!(log.contains("registered") && !log.contains("connected peer"), "{log}");
    let log = logged("log-debug", &["--log", "debug"], register);
    assert!(log.contains("registered") && log.contains("DEBUG"), "{log}");
}

/// F-46: lines that strangers cause do not fill the disk; how many there were is told. At level debug all are there.
#[test]
fn f_46_a_stranger_does_not_fill_the_log() {
    let storm = |address| {
        for n in 0..300 {
            drop(registered(connect(address), &format!("guest{n}")));
        }
        pause(300);
    };
    let log = logged("storm", &[], storm);
    let lines = log.lines().count();
    assert!(lines < 100, "{lines} lines: {log}");
    assert!(log.contains("280 more lines in a minute like: registered"), "{log}");
    let log = logged("storm-debug", &["--log", "debug"], storm);
    assert!(log.lines().filter(|line| line.contains("registered")).count() >= 300);
}
