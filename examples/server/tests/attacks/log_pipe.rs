//! A log that nobody reads.

use crate::common::{Honest, Victim, length, log_in, pause};
use core::time::Duration;
use std::io::Read;
use std::process::Stdio;
use std::time::Instant;

/// F-18: a pipe that nobody reads fills up within a moment at level trace; the server serves, and obeys.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let mut victim = Victim::start_with("log-pipe", &["--log", "trace"], "", |command| {
        command.stderr(Stdio::piped());
    });
    let mut unread = victim.stderr.take().unwrap();
    let honest = Honest::call(&victim);
    let address = victim.address("voicelink tcp");
    let end = Instant::now() + length();
    let mut logged_in = 0_u32;
    while Instant::now() < end || logged_in < 2000 {
        let took = log_in(address, &format!("guest{logged_in}"));
        assert!(took < Duration::from_secs(2), "{took:?}");
        logged_in += 1;
    }
    honest.lost_nothing();
    println!("{logged_in} log-ins");
    victim.signal("-TERM");
    pause(Duration::from_millis(100));
    // Once the log is read again it says how much of it is lost.
    let reader = std::thread::spawn(move || {
        let mut log = Vec::new();
        let _ = unread.read_to_end(&mut log);
        String::from_utf8_lossy(&log).into_owned()
    });
    let (status, took) = victim.ends(Duration::from_secs(15));
    assert_eq!(status.code(), Some(0), "after {took:?}");
    let log = reader.join().unwrap();
    assert!(log.contains("lines lost, standard error was not read in time count="), "{} bytes", log.len());
}

/// F-18: the same with nobody who ever reads it again: SIGTERM still ends the server, with the right code.
#[test]
fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    let mut victim = Victim::start_with("log-end", &["--log", "trace"], "", |command| {
        command.stderr(Stdio::piped());
    });
    let _unread = victim.stderr.take().unwrap();
    for guest in 0..300 {
        log_in(victim.address("voicelink tcp"), &format!("guest{guest}"));
    }
    victim.signal("-TERM");
    let (status, took) = victim.ends(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "after {took:?}");
}
