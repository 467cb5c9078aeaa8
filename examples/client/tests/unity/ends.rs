//! Connections that end in any way, and what is left of them.

use crate::game::Game;
use crate::kit::temporary;
use crate::mono;
use crate::players::CSharp;
use crate::raw::{Valve, admit, fill};
use core::time::Duration;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::thread;

/// D-19: a server that takes nothing is given up, and holds up neither the thread nor what it takes later: all of it, in order.
#[test]
fn d_19_a_server_that_takes_nothing_is_given_up() {
    let Some(tests) = mono::tests() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ann = CSharp::transport(tests, listener.local_addr().unwrap(), &["no-udp"], &[]);
    let mut stream = admit(&listener);
    ann.lines.until("news Connected");
    for n in 0..fill(&mut ann) {
        let mut unit = [0; 1003];
        stream.read_exact(&mut unit).unwrap();
        assert_eq!(unit[..7], [&[0x03, 0xe9, 0][..], &n.to_be_bytes()].concat());
    }
    fill(&mut ann);
    ann.lines.until_within("news Disconnected: the server takes nothing any more", Duration::from_secs(40));
    ann.quit();
}

/// D-19: a connection that is disposed of ends, also while its server takes nothing.
#[test]
fn d_19_a_connection_ends_while_its_server_takes_nothing() {
    let Some(tests) = mono::tests() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ann = CSharp::transport(tests, listener.local_addr().unwrap(), &["no-udp"], &[]);
    let _stream = admit(&listener);
    ann.lines.until("news Connected");
    fill(&mut ann);
    ann.tell("dispose");
    ann.lines.until("ended");
    ann.quit();
}

/// D-19: a server that is full is told from one that is lost, whether it ends the connection or resets it.
#[test]
fn d_19_a_server_without_an_answer_is_told() {
    let Some(tests) = mono::tests() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for reads in [true, false] {
        let address = listener.local_addr().unwrap();
        let ann = CSharp::transport(tests, address, &["no-reconnect"], &[]);
        let mut stream = listener.accept().unwrap().0;
        // What has come in and is not read makes the system reset the connection.
        while stream.peek(&mut [0; 8]).unwrap() < 8 {}
        if reads {
            stream.read_exact(&mut [0; 8]).unwrap();
        }
        drop(stream);
        ann.lines.until("news Failed: the server has closed the connection without an answer: it is full");
        ann.quit();
    }
}

/// D-19: the waits between attempts grow, and none is longer than the settings say.
#[test]
fn d_19_the_waits_between_attempts_grow() {
    let Some(tests) = mono::tests() else { return };
    // Nobody listens there.
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ann = CSharp::transport(tests, address, &[], &[]);
    for n in 1..=4 {
        let line = ann.lines.until("news Disconnected: cannot connect to 127.0.0.1:").0;
        let (_, wait) = line.split_once("trying again in ").expect(&line);
        let wait: f64 = wait.strip_suffix(" s").unwrap().parse().unwrap();
        let longest = 0.5 * f64::from(n);
        assert!(wait > longest / 2.0 && wait <= longest, "{n}: {line}");
    }
    ann.quit();
}

/// D-19: what is done to the settings later does not reach the connection.
#[test]
fn d_19_settings_that_are_changed_later_have_no_effect() {
    let Some(game) = Game::with_token("sesame") else { return };
    let mut ann = CSharp::transport(game.tests, game.address, &["token=sesame", "changed-later"], &[]);
    ann.lines.until("news Connected");
    ann.tell("reliable 1 1000");
    ann.lines.until("sent 1");
    ann.quit();
}

/// D-19: connections are disposed of at all times of their life, while other threads use them.
#[test]
fn d_19_a_connection_can_be_disposed_of_at_any_time() {
    let Some(game) = Game::start() else { return };
    races(&game, &["direct"]);
}

/// Likewise inside TLS.
#[test]
fn d_19_a_connection_by_tls_can_be_disposed_of_at_any_time() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (temporary("d19-races-cert.pem"), temporary("d19-races-key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let tls = (cert.clone(), key);
    let Some(game) = Game::with(|config| config.tls = Some(tls)) else { return };
    let pin = format!("pin-file={}", cert.display());
    races(&game, &[&pin]);
    // Of those whose server ends them nothing is left either.
    let valve = Valve::cutting(game.address, Duration::from_millis(300));
    leaks(game.tests, valve.address, &["10", &pin]);
}

fn races(game: &Game, settings: &[&str]) {
    let output = Command::new("mono")
        .arg(game.tests)
        .args(["races", "host=127.0.0.1", &format!("port={}", game.address.port())])
        .args(settings)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("failures 0 left 0"), "{output:?}");
}

/// D-19: connections that fail or end, in any way, leave neither descriptors nor threads behind.
#[test]
fn d_19_nothing_is_left_of_connections_that_end() {
    let Some(tests) = mono::tests() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let hello = |status: u8, port: u16| {
                [&b"VOXL\x01"[..], &[status], &port.to_be_bytes(), &[7; 23], &[0]].concat()
            };
            let said = match n % 5 {
                0 => Vec::new(),
                1 => b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
                2 => hello(1, 0),
                3 => [&hello(0, port)[..], &[0xff, 0xff, 0]].concat(),
                _ => hello(0, port),
            };
            let _ = stream.read(&mut [0; 8]);
            let _ = stream.write_all(&said);
            thread::park_timeout(Duration::from_millis(5));
        }
    });
    leaks(tests, address, &["100"]);
    leaks(tests, address, &["100", "direct"]);
    leaks(tests, address, &["50", "tls"]);
    drop(udp);
}

fn leaks(tests: &std::path::Path, server: SocketAddr, arguments: &[&str]) {
    let output = Command::new("mono")
        .arg(tests)
        .arg("leaks")
        .args(arguments)
        .args(["host=127.0.0.1", &format!("port={}", server.port())])
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}
