//! How long the end, and the close of one connection, may take.

use crate::kit::raw::{connect, handshake, next_packet, packet, pause, registered};
use crate::kit::{Server, fails, file};
use crate::serve;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

#[test]
fn f_71_drain_seconds_is_how_long_the_end_waits_for_clients() {
    let took = |seconds: u64| {
        let mut server = serve("drain", &format!("only = [\"voicelink\"]\ndrain-seconds = {seconds}\n"));
        // Takes its goodbye, and stays.
        let stuck = registered(connect(server.address("voicelink tcp")), "stuck");
        server.signal("-TERM");
        let start = Instant::now();
        assert_eq!(server.wait().code(), Some(0));
        drop(stuck);
        start.elapsed()
    };
    let (short, long) = (took(1), took(10));
    assert!(short < Duration::from_millis(1300), "{short:?}");
    assert!(long > short + Duration::from_millis(500), "{long:?}, and {short:?} of 1 s");
    let zero = file("settings-drain-zero.toml", "drain-seconds = 0\n");
    let (code, error) = fails(&["--config", zero.to_str().unwrap()]);
    assert!(code == Some(2) && error.contains("drain-seconds 0: 1 to 3600 expected"), "{error}");
}

/// A client that its server has closed for a broken frame, with a packet before it that the client does not read.
fn closed_with_a_packet(seconds: u64) -> (Server, TcpStream) {
    let server = serve("close", &format!("only = [\"voicelink\"]\nclose-seconds = {seconds}\n"));
    let address = server.address("voicelink tcp");
    let (mut alice, mut bob) = (registered(connect(address), "alice"), registered(connect(address), "bob"));
    alice.write_all(&handshake("bob")).unwrap();
    assert_eq!(next_packet(&mut bob), 0);
    bob.write_all(&packet(4, b"")).unwrap();
    assert_eq!(next_packet(&mut alice), 4);
    // More than the system's buffers hold.
    alice.write_all(&packet(6, &[7; 900_000])).unwrap();
    assert_eq!(bob.peek(&mut [0]).unwrap(), 1);
    bob.write_all(&[0; 4]).unwrap();
    // It is looked once a second which deadlines are over.
    pause(3500);
    (server, bob)
}

#[test]
fn f_71_close_seconds_is_how_long_a_closed_client_has_for_what_is_queued() {
    let zero = file("settings-close-zero.toml", "close-seconds = 0\n");
    let (code, error) = fails(&["--config", zero.to_str().unwrap()]);
    assert!(code == Some(2) && error.contains("close-seconds 0: 1 to 3600 expected"), "{error}");
    let read = |seconds| {
        let (_server, mut bob) = closed_with_a_packet(seconds);
        bob.read_to_end(&mut Vec::new())
    };
    assert_eq!(read(1).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(read(600).unwrap() > 900_000);
}
