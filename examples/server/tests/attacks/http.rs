//! The status page: requests that never end, and connections that never ask.

use crate::common::{Honest, Victim, connect_from, descriptors, length, pause};
use core::time::Duration;
use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

/// F-17: 2 000 connections that send a header without an end, a byte at a time.
#[test]
fn unfinished_headers_cost_little_and_the_page_still_answers() {
    let room = descriptors();
    let victim = Victim::start("headers");
    let (files, memory) = (victim.open_files(), victim.resident());
    let honest = Honest::call(&victim);
    let address = victim.address("http tcp");
    let mut streams: VecDeque<TcpStream> = VecDeque::new();
    let end = Instant::now() + length();
    let mut opened = 0_u32;
    while Instant::now() < end {
        while streams.len() < room.min(2000) {
            let Ok(mut stream) = connect_from([127, 0, 0, 2], address) else { break };
            // As long a line as there is room for.
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ");
            let _ = stream.write_all(&[b'x'; 16 * 1024]);
            streams.push_back(stream);
            opened += 1;
        }
        // Connections that were closed are replaced.
        streams.retain_mut(|stream| stream.write_all(b"x").is_ok());
        answers(&victim);
        pause(Duration::from_millis(20));
    }
    println!("{opened} connections");
    assert!(victim.open_files() <= files + 2 * 64, "{} descriptors", victim.open_files());
    assert!(victim.peak() < memory + 32 * 1024, "{} KiB, {memory} before", victim.peak());
    victim.unharmed(honest);
}

/// F-17: 19 000 connections, or as many as this machine gives, which send nothing.
#[test]
fn silent_connections_to_the_page_do_not_take_the_descriptors() {
    let room = descriptors().min(19_000);
    let victim = Victim::start("silent-http");
    let (files, memory) = (victim.open_files(), victim.resident());
    let honest = Honest::call(&victim);
    let address = victim.address("http tcp");
    let mut streams = Vec::new();
    let end = Instant::now() + length();
    while streams.len() < room && Instant::now() < end {
        let from = [127, 0, 0, 2 + u8::try_from(streams.len() % 4).unwrap()];
        streams.extend(connect_from(from, address));
        if streams.len() % 500 == 0 {
            answers(&victim);
        }
    }
    println!("{} connections", streams.len());
    answers(&victim);
    assert!(victim.open_files() <= files + 2 * 64, "{} descriptors", victim.open_files());
    assert!(victim.peak() < memory + 32 * 1024, "{} KiB, {memory} before", victim.peak());
    victim.unharmed(honest);
}

/// F-17: both limits are settings.
#[test]
fn the_page_has_as_many_connections_and_as_long_as_the_settings_say() {
    let victim = Victim::start_with("http-limits", &[], "http-connections = 3\nhttp-seconds = 1\n", |_| {});
    let address = victim.address("http tcp");
    let closed = |stream: &mut TcpStream, within: u64| {
        stream.set_read_timeout(Some(Duration::from_millis(within))).unwrap();
        let mut byte = [0];
        match std::io::Read::read(stream, &mut byte) {
            Ok(0) => true,
            Ok(_) => panic!("an answer without a question"),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    let mut streams: Vec<TcpStream> =
        (0..4).map(|_| connect_from([127, 0, 0, 1], address).unwrap()).collect();
    // The fourth one costs the first its place; another address would not.
    assert!(closed(&mut streams[0], 500), "the oldest goes");
    assert!(!closed(&mut streams[3], 100), "the newest stays");
    assert!(closed(&mut streams[3], 2000), "for a second");
    assert!(victim.page("/healthz").0.ends_with("ok\n"));
}

fn answers(victim: &Victim) {
    let (page, took) = victim.page("/metrics");
    assert!(page.starts_with("HTTP/1.1 200") && page.trim_end().ends_with("# EOF"), "{page}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}
