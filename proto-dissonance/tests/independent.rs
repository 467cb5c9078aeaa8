//! A second codec, in Python, written from a description of the wire format alone, agrees with ours both ways.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

use crate::kit;

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use voxwire_core::Message;
use voxwire_core::testing::{Rng, unhex};
use voxwire_dissonance::{Packet, Wire, room_id};

struct Codec {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Codec {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/independent/codec.py");
        let mut command = Command::new("python3");
        command.arg("-X").arg("utf8").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3, as the README says");
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout: BufReader::new(stdout) }
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.stdin, "{line}").unwrap();
        self.stdin.flush().unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        answer.trim_end_matches('\n').into()
    }
}

impl Drop for Codec {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const WIRE: Wire = Wire::new(voxwire_dissonance::Profile::Later);

#[test]
fn d_02_what_we_encode_the_other_codec_decodes_to_the_same_and_encodes_alike() {
    let (mut codec, mut rng) = (Codec::start(), Rng::new(1));
    for _ in 0..3000 {
        kit::with_random(&mut rng, |packet| {
            let mut bytes = Vec::new();
            packet.encode(&WIRE, &mut bytes).unwrap();
            let ours = kit::json(packet);
            let theirs = codec.ask(&format!("decode {}", kit::hex(&bytes)));
            assert_eq!(serde_json::from_str::<Value>(&theirs).expect(&theirs), ours);
            assert_eq!(codec.ask(&format!("encode {ours}")), kit::hex(&bytes), "{ours}");
        });
    }
}

#[test]
fn d_02_what_the_other_codec_encodes_we_decode_to_the_same_and_encode_alike() {
    let mut codec = Codec::start();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..3000 {
        let answer = codec.ask(&format!("random {seed}"));
        let (hex, theirs) = answer.split_once(' ').unwrap();
        let bytes = unhex(hex);
        let packet = Packet::decode(&bytes, &WIRE).unwrap();
        assert_eq!(kit::json(&packet), serde_json::from_str::<Value>(theirs).unwrap(), "seed {seed}");
        let mut again = Vec::new();
        packet.encode(&WIRE, &mut again).unwrap();
        assert_eq!(kit::hex(&again), hex, "seed {seed}");
        seen.insert(packet.name());
    }
    assert_eq!(seen.len(), 11);
}

#[test]
fn d_02_both_codecs_refuse_the_same_bytes() {
    let (mut codec, mut rng) = (Codec::start(), Rng::new(2));
    for _ in 0..3000 {
        let mut bytes = kit::with_random(&mut rng, |packet| {
            let mut bytes = Vec::new();
            packet.encode(&WIRE, &mut bytes).unwrap();
            bytes
        });
        if rng.chance(0.5) {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
        } else {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next() as u8;
        }
        let theirs = codec.ask(&format!("decode {}", kit::hex(&bytes)));
        match Packet::decode(&bytes, &WIRE) {
            Err(error) => assert!(theirs.starts_with("error"), "{error}: {theirs}"),
            Ok(packet) if theirs.starts_with("error") => {
                // We keep text that is not UTF-8, which JSON cannot hold.
                let ours = kit::json(&packet).to_string();
                assert!(ours.contains('\u{fffd}'), "{ours}: {theirs}");
            }
            Ok(packet) => assert_eq!(kit::json(&packet), serde_json::from_str::<Value>(&theirs).unwrap()),
        }
    }
}

#[test]
fn d_03_both_number_rooms_alike() {
    let (mut codec, mut rng) = (Codec::start(), Rng::new(3));
    for _ in 0..2000 {
        let name: String =
            (0..rng.below(12)).filter_map(|_| char::from_u32(rng.below(0x11_0000) as u32)).collect();
        let theirs = codec.ask(&format!("room_id {}", Value::from(name.as_str())));
        assert_eq!(theirs, room_id(&name).to_string(), "{name:?}");
    }
}
