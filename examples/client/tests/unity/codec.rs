//! The bytes of the codec and of the transport.

use crate::game::hex;
use crate::{mono, packets};
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use voxwire_core::Message;
use voxwire_core::testing::Rng;
use voxwire_dissonance::{Profile, Wire};

/// D-19, D-15: the transport's bytes are those that our own end is tested with.
#[test]
fn d_19_the_bytes_of_the_transport_are_those_of_the_vectors() {
    let Some(tests) = mono::tests() else { return };
    let vectors = mono::package().join("../../transport/tests/vectors/tcp_udp.txt");
    let output = Command::new("mono").arg(tests).arg("vectors").arg(vectors).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(" vectors, 0 failures"), "{said}");
}

/// D-19, D-02: a third codec, in C#, agrees with ours: on the vectors, and on random packets.
#[test]
fn d_19_the_codec_in_c_sharp_agrees_with_ours() {
    let Some(tests) = mono::tests() else { return };
    let mut codec = Command::new("mono")
        .arg(tests)
        .arg("codec")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (codec.stdin.take().unwrap(), BufReader::new(codec.stdout.take().unwrap()));
    let mut ask = |question: &str| {
        writeln!(input, "{question}").unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect(text);
    let vectors = include_str!("../../../../proto-dissonance/tests/vectors/packets.txt");
    let mut compared = 0;
    for line in vectors.lines() {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        let [name, bytes, meaning] = words[..] else { continue };
        if meaning.starts_with('{') {
            assert_eq!(json(&ask(&format!("decode {bytes}"))), json(meaning), "{name}");
            assert_eq!(ask(&format!("again {bytes}")), bytes, "{name}");
        } else if let Some(room) = meaning.strip_prefix("room ") {
            let room = json(room);
            let id = ask(&format!("room {}", hex(room.as_str().unwrap().as_bytes())));
            assert_eq!(format!("{:04x}", id.parse::<u16>().unwrap()), bytes, "{name}");
        } else if meaning.starts_with("error") {
            assert_eq!(ask(&format!("decode {bytes}")), "error", "{name}");
        } else {
            continue;
        }
        compared += 1;
    }
    assert!(compared > 25, "{compared} vectors");
    let (wire, mut rng) = (Wire::new(Profile::Later), Rng::new(19));
    for _ in 0..1000 {
        packets::with_random(&mut rng, |packet| {
            let mut bytes = Vec::new();
            packet.encode(&wire, &mut bytes).unwrap();
            let bytes = packets::hex(&bytes);
            assert_eq!(json(&ask(&format!("decode {bytes}"))), packets::json(packet), "{bytes}");
            assert_eq!(ask(&format!("again {bytes}")), bytes);
        });
    }
    drop(input);
    assert!(codec.wait().unwrap().success());
}
