//! Frames that begin and do not end.

use crate::common::{Honest, Victim, length, pause};
use crate::raw::{connect, log_in_plain, next_opcode, registered};
use crate::user::{User, runtime};
use core::time::Duration;
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;
use voxwire_core::Message;
use voxwire_msgpack::{ClientCommand, ClientMessage, Dialect, Wire};

/// As long as a token is.
const TOKEN: &[u8] = b"00000000-0000-0000-0000-000000000000";

/// F-15: recordings of 15 MB, of which half is sent; honest ones of more than 1 MiB still arrive.
#[test]
fn recordings_that_stall_keep_no_others_out() {
    let victim = Victim::start("partial");
    let honest = Honest::call(&victim);
    record_beside_stalled_ones(&victim);
    victim.unharmed(honest);
}

/// Recordings arrive while twelve others stall.
pub fn record_beside_stalled_ones(victim: &Victim) {
    let address = victim.address("msgpack zmtp");
    // Three bytes each.
    let samples = vec![300_i16; 5_000_000];
    let name = |n: usize| format!("stalled{n:02}");
    let mut template = Vec::new();
    let recording = ClientMessage::VoiceMsg {
        username: "stalled99".into(),
        token: TOKEN.into(),
        recipient: "nobody".into(),
        channels: 1,
        sample_rate: 44_100,
        samples: samples[..].into(),
    };
    recording.encode(&Wire::SERVER, &mut template).unwrap();
    let stalled: Vec<TcpStream> = (0..12)
        .map(|n| {
            let mut stream = connect(address);
            let token = log_in_plain(&mut stream, &name(n));
            for (from, to) in [(name(99).as_bytes(), name(n).as_bytes()), (TOKEN, &token)] {
                let at = template.windows(from.len()).position(|window| window == from).unwrap();
                template[at..at + from.len()].copy_from_slice(to);
            }
            // As much as is taken, of a half.
            stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut rest = &template[..template.len() / 2];
            while let Ok(taken @ 1..) = stream.write(rest) {
                rest = &rest[taken..];
            }
            let mine = [(name(n).into_bytes(), name(99).into_bytes()), (token, TOKEN.to_vec())];
            for (from, to) in mine {
                let at = template.windows(from.len()).position(|window| window == from).unwrap();
                template[at..at + from.len()].copy_from_slice(&to);
            }
            stream
        })
        .collect();
    let runtime = runtime();
    let slowest = runtime.block_on(async {
        let mut ann = User::connect(address, Dialect::Zmtp).await;
        let mut ben = User::connect(address, Dialect::Zmtp).await;
        ann.log_in("ann").await;
        ben.log_in("ben").await;
        let mut slowest = Duration::ZERO;
        let end = Instant::now() + length();
        for sent in 1.. {
            let start = Instant::now();
            let (recipient, samples) = ("ben".into(), samples[..400_000].into());
            ann.send(ClientCommand::VoiceMsg { recipient, channels: 1, sample_rate: 44_100, samples });
            let (answer, heard) = tokio::join!(ann.hear(), ben.hear());
            assert!(answer.contains("SUCCESS") || answer.contains("code: 0"), "{answer}");
            assert!(heard.starts_with("VoiceMsg"), "{heard}");
            slowest = slowest.max(start.elapsed());
            if Instant::now() > end {
                break;
            }
            // One sender has 8 MiB of a recipient at once, and 64 KiB a second.
            tokio::time::sleep(Duration::from_secs(if sent < 6 { 2 } else { 19 })).await;
        }
        slowest
    });
    println!("{} stalled recordings; an honest one of 1.2 MB took {slowest:?} at most", stalled.len());
}

/// Heads of packets, whose bodies do not come, at every door: a thousand connections.
#[test]
fn heads_without_bodies_cost_little() {
    let victim = Victim::start("heads");
    let honest = Honest::call(&victim);
    begin_packets(&victim);
    victim.unharmed(honest);
}

/// A thousand packets begin and do not go on, and honest clients are served.
pub fn begin_packets(victim: &Victim) {
    let room = crate::common::descriptors();
    let before = victim.resident();
    let doors = [
        (victim.address("voicelink tcp"), &b"\0\0\x0f\xff\0\0\0\0\xbb"[..]),
        (victim.address("opcode tcp"), b"\xff\0\0\0\0\0\0\0\x02"),
        (victim.address("msgpack zmtp"), b"\xff\0\0\0\0\0\0\0\x01"),
        (victim.address("dissonance tcp"), b"VOXL\x01\x01\x03"),
    ];
    let mut streams = Vec::new();
    for (door, head) in doors.iter().cycle().take(room.min(1000)) {
        let mut stream = connect(*door);
        stream.write_all(head).unwrap();
        streams.push(stream);
    }
    pause(Duration::from_millis(500));
    let each = victim.resident().saturating_sub(before) * 1024 / streams.len() as u64;
    println!("{} connections, {each} bytes each", streams.len());
    // Honest clients are served.
    let end = Instant::now() + length();
    let mut round = 0;
    while Instant::now() < end {
        drop(registered(connect(doors[0].0), &format!("guest{round}")));
        assert_eq!(next_opcode(&mut connect(doors[1].0)), [1, 0]);
        round += 1;
        pause(Duration::from_millis(200));
    }
}
