//! Floods: garbage, commands, guesses, connections.

use crate::common::{Honest, Victim, connect_from, descriptors, length, log_in, pause};
use crate::user::{User, runtime};
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::time::Instant;
use voxwire_msgpack::{ClientCommand, Dialect};

/// Datagrams that mean nothing, or nearly something, to every UDP port: hardly anything is answered, nothing is kept.
#[test]
fn datagrams_of_garbage_are_neither_kept_nor_answered() {
    let victim = Victim::start("garbage");
    let honest = Honest::call(&victim);
    let before = victim.resident();
    let doors = ["dissonance udp", "dissonance quic", "syfala udp"].map(|door| victim.address(door));
    let sockets: Vec<UdpSocket> =
        (0..16).map(|n| UdpSocket::bind(SocketAddr::from(([127, 0, 0, 2 + n], 0))).unwrap()).collect();
    sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut sent, mut bytes_sent, mut bytes_back) = (0_u64, 0_u64, 0_u64);
    let mut datagram = vec![0; 1200];
    let end = Instant::now() + length();
    while Instant::now() < end {
        for socket in &sockets {
            let word = next();
            let length = (word % 64) as usize + if word % 31 == 0 { 1000 } else { 1 };
            datagram[..8].copy_from_slice(&next().to_be_bytes());
            match word % 5 {
                // Dissonance's mark, syfala's small numbers, QUIC's long header.
                0 => datagram[..2].copy_from_slice(&[0x8b, 0xc7]),
                1 => datagram[..4].copy_from_slice(b"VOXL"),
                2 => datagram[0] = (word >> 8) as u8 % 9,
                3 => datagram[0] = 0xc0,
                _ => {}
            }
            let door = doors[(word >> 32) as usize % doors.len()];
            if let Ok(length) = socket.send_to(&datagram[..length], door) {
                sent += 1;
                bytes_sent += length as u64;
            }
            while let Ok(length) = socket.recv(&mut [0; 2000]) {
                bytes_back += length as u64;
            }
        }
    }
    println!("{sent} datagrams of {bytes_sent} bytes in all; {bytes_back} bytes came back");
    assert!(bytes_back <= bytes_sent, "no more than came in");
    let grown = victim.resident().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more");
    victim.unharmed(honest);
}

/// PINGs of ZMTP as fast as they are taken, whose answers nobody reads.
#[test]
fn commands_whose_answers_nobody_reads() {
    let victim = Victim::start("commands");
    let honest = Honest::call(&victim);
    let address = victim.address("msgpack zmtp");
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0];
    greeting.extend(b"NULL");
    greeting.resize(64, 0);
    let ready = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER";
    greeting.extend([4, ready.len() as u8]);
    greeting.extend(ready);
    let pings = b"\x04\x07\x04PING\0\0".repeat(1000);
    let (mut opened, mut sent) = (0_u32, 0_u64);
    let mut streams = Vec::new();
    let end = Instant::now() + length();
    while Instant::now() < end {
        while streams.len() < 20 {
            let mut stream = connect_from([127, 0, 0, 2], address).unwrap();
            stream.write_all(&greeting).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
            streams.push(stream);
            opened += 1;
        }
        streams.retain_mut(|stream| match stream.write(&pings) {
            Ok(taken) => {
                sent += taken as u64 / 9;
                true
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
    }
    println!("{sent} PINGs on {opened} connections");
    victim.unharmed(honest);
}

/// F-06: guesses of other people's passwords, from the same address as an honest user, who has logged in from there before.
#[test]
fn guesses_of_passwords_do_not_delay_honest_log_ins() {
    let victim = Victim::start("guesses");
    let honest = Honest::call(&victim);
    let address = victim.address("msgpack zmtp");
    runtime().block_on(async {
        let mut ann = User::connect(address, Dialect::Zmtp).await;
        ann.log_in("ann").await;
    });
    let end = Instant::now() + length();
    let guessers: Vec<_> = (0..16)
        .map(|n| {
            std::thread::spawn(move || {
                runtime().block_on(async {
                    let mut guesses = 0_u32;
                    let mut user = User::connect(address, Dialect::Zmtp).await;
                    while Instant::now() < end {
                        let name = if n % 2 == 0 { "ben".to_owned() } else { format!("name{n}-{guesses}") };
                        let (username, password) = (name.as_str().into(), "guess".into());
                        user.send(ClientCommand::Login { username, password });
                        let rest = end.saturating_duration_since(Instant::now());
                        let Ok(answer) = tokio::time::timeout(rest, user.hear_or_end()).await else { break };
                        match answer {
                            Some(answer) => assert!(!answer.starts_with("LoggedIn"), "{answer}"),
                            None => user = User::connect(address, Dialect::Zmtp).await,
                        }
                        guesses += 1;
                    }
                    guesses
                })
            })
        })
        .collect();
    let (mut slowest, mut log_ins) = (Duration::ZERO, 0);
    runtime().block_on(async {
        while Instant::now() + Duration::from_secs(1) < end {
            let start = Instant::now();
            let mut ann = User::connect(address, Dialect::Zmtp).await;
            let (username, password) = ("ann".into(), "geheim".into());
            let answer = ann.ask(ClientCommand::Login { username, password }).await;
            assert!(answer.starts_with("LoggedIn"), "{answer} after {:?}", start.elapsed());
            slowest = slowest.max(start.elapsed());
            log_ins += 1;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let guesses: u32 = guessers.into_iter().map(|guesser| guesser.join().unwrap()).sum();
    println!("{guesses} guesses; {log_ins} honest log-ins, {slowest:?} the slowest");
    assert!(log_ins > 0 && slowest < Duration::from_secs(3), "{slowest:?}");
    victim.unharmed(honest);
}

/// Connections that come and go as fast as they can, at every door.
#[test]
fn connections_that_come_and_go() {
    let victim = Victim::start("come-and-go");
    let honest = Honest::call(&victim);
    let doors = ["voicelink tcp", "opcode tcp", "msgpack zmtp", "dissonance tcp", "http tcp"];
    let doors = doors.map(|door| victim.address(door));
    let end = Instant::now() + length();
    let (mut opened, mut guests) = (0_u64, 0);
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        for &door in doors.iter().cycle().take(200) {
            if let Ok(mut stream) = connect_from([127, 0, 0, 2], door) {
                let _ = stream.write_all(b"x");
                let _ = stream.set_nonblocking(true);
                let _ = stream.read(&mut [0; 64]);
                opened += 1;
                // Seven of eight reset, or this machine would run out of ports for those that wait (TIME-WAIT), the honest ones' too.
                if opened % 8 > 0 {
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
            }
        }
        slowest = slowest.max(log_in(doors[0], &format!("guest{guests}")));
        guests += 1;
    }
    println!("{opened} connections; {guests} log-ins, {slowest:?} the slowest");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    victim.unharmed(honest);
}

/// F-45: 500 silent connections a second where there is room for 200; every honest log-in works, in time.
#[test]
fn silent_connections_at_a_full_cap_keep_nobody_out() {
    descriptors();
    let victim = Victim::start_with("full-cap", &[], "connections = 200\n", |_| {});
    let honest = Honest::call(&victim);
    let doors =
        ["voicelink tcp", "opcode tcp", "msgpack zmtp", "dissonance tcp"].map(|door| victim.address(door));
    let end = Instant::now() + length();
    let silent: Vec<_> = doors
        .into_iter()
        .map(|door| {
            std::thread::spawn(move || {
                let mut held = VecDeque::new();
                let mut opened = 0_u32;
                while Instant::now() < end {
                    let from = [127, 0, 0, if opened.is_multiple_of(2) { 2 } else { 3 }];
                    held.extend(connect_from(from, door));
                    // As if from a machine with no end of descriptors.
                    if held.len() > 2000 {
                        held.pop_front();
                    }
                    opened += 1;
                    pause(Duration::from_millis(2));
                }
                opened
            })
        })
        .collect();
    pause(Duration::from_secs(1));
    let (mut guests, mut slowest) = (0_u32, Duration::ZERO);
    while Instant::now() < end {
        slowest = slowest.max(log_in(doors[0], &format!("guest{guests}")));
        let mut opcode = crate::raw::connect(doors[1]);
        let mut hello = [0; 10];
        opcode.read_exact(&mut hello).expect("opcode says hello");
        guests += 1;
        pause(Duration::from_millis(100));
    }
    let opened: u32 = silent.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("{opened} silent connections; {guests} log-ins, {slowest:?} the slowest");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    victim.unharmed(honest);
}
