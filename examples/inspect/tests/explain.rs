//! C-09: `decode --explain` covers every byte of every vector once, and marks what is malformed.
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "wireshark/capture.rs"]
mod capture;
mod kit;
#[path = "wireshark/numbers.rs"]
mod numbers;
#[path = "wireshark/vectors.rs"]
mod vectors;

use capture::Side::{self, Client};
use kit::inspect;
use numbers::Numbers;
use serde_json::Value;
use std::process::{Command, Output, Stdio};

const DOCUMENTS: [(&str, &str); 5] = [
    ("voicelink", include_str!("../../../proto-voicelink/PROTOCOL.md")),
    ("opcode", include_str!("../../../proto-opcode/PROTOCOL.md")),
    ("msgpack", include_str!("../../../proto-msgpack/PROTOCOL.md")),
    ("syfala", include_str!("../../../proto-syfala/PROTOCOL.md")),
    ("dissonance", include_str!("../../../proto-dissonance/PROTOCOL.md")),
];

/// A message, and how it is to be read.
struct Sample {
    protocol: &'static str,
    dialect: &'static [&'static str],
    side: Side,
    bytes: Vec<u8>,
}

/// Every public vector, well-formed or not.
fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    let mut add = |protocol, dialect, side, bytes| all.push(Sample { protocol, dialect, side, bytes });
    for (order, dialect) in [("be", &["--byte-order", "be"][..]), ("le", &["--byte-order", "le"])] {
        vectors::voicelink(order).for_each(|vector| add("voicelink", dialect, Client, vector.bytes));
    }
    let registration = "0000001d 0000 0000bb80 0001 02 000003c0 0000 626f62 00 73 00 6c65".replace(' ', "");
    add("voicelink", &["--byte-order", "be"], Client, hex::decode(registration).unwrap());
    vectors::opcode().for_each(|vector| add("opcode", &[], Client, vector.bytes));
    for (side, bytes) in vectors::opcode_dialogue().into_iter().flatten() {
        add("opcode", &[], side, bytes);
    }
    vectors::msgpack().for_each(|vector| add("msgpack", &[], vector.side, vector.bytes));
    let framed =
        vectors::FRAMINGS.into_iter().map(vectors::msgpack_framed).chain(vectors::msgpack_dialogue());
    for (side, unit, start) in framed.flatten() {
        if start < unit.len() {
            add("msgpack", &[], side, unit[start..].to_vec());
        }
    }
    vectors::syfala().for_each(|vector| add("syfala", &[], vector.side, vector.bytes));
    vectors::dissonance().for_each(|vector| add("dissonance", &[], Client, vector.bytes));
    vectors::dissonance_dialogue().into_iter().for_each(|sent| add("dissonance", &[], sent.side, sent.bytes));
    all
}

impl Sample {
    fn decode(&self, more: &[&str]) -> Output {
        let head = ["decode", "--protocol", self.protocol, "--from", self.side.name()];
        inspect(&[&head[..], self.dialect, more, &[&hex::encode(&self.bytes)]].concat(), "")
    }

    /// Checks the table. Returns whether the message is well-formed.
    fn check(&self) -> bool {
        let about = format!("{} {}", self.protocol, hex::encode(&self.bytes));
        let (plain, explained) = (self.decode(&[]), self.decode(&["--explain"]));
        assert_eq!(plain.status.code(), explained.status.code(), "{about}");
        assert_eq!(plain.stderr, explained.stderr, "{about}");
        let text = String::from_utf8(explained.stdout).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().skip(2).map(columns).collect();
        let (mut at, mut wrong, mut message) = (0, Vec::new(), 0);
        for line in &lines {
            let [offset, len, bytes, field, .., section] = line[..] else { panic!("{about}: {text}") };
            let len: usize = len.parse().unwrap();
            if let Some(offset) = offset.strip_prefix('>') {
                wrong.push(offset);
            }
            assert_eq!(offset.trim_start_matches('>'), at.to_string(), "{about}: {text}");
            let digits: String = bytes.chars().filter(char::is_ascii_hexdigit).collect();
            let of_row = hex::encode(&self.bytes[at..at + len]);
            assert!(of_row.starts_with(&digits), "{about}: {text}");
            assert!(digits.len() == of_row.len() || bytes.ends_with('…'), "{about}: {text}");
            if field != "-" {
                message += len;
                let (_, document) = DOCUMENTS.iter().find(|row| row.0 == self.protocol).unwrap();
                let is_there = document.contains(&format!("## {section}\n"))
                    || document.contains(&format!("\n**{section}:**"));
                assert!(is_there, "{about}: no section {section}");
            }
            at += len;
        }
        assert_eq!(at, self.bytes.len(), "{about}: {text}");
        match plain.status.success() {
            true => {
                let object: Value = serde_json::from_slice(&plain.stdout).unwrap();
                assert_eq!(Value::from(message), object["length"], "{about}: {text}");
                assert!(wrong.is_empty(), "{about}: {text}");
            }
            false => {
                let error = String::from_utf8(plain.stderr).unwrap();
                if let Some((_, behind)) = error.split_once(" at offset ") {
                    let offset = behind.split(':').next().unwrap();
                    let last = self.bytes.len().to_string();
                    assert!(wrong == [offset] || wrong == [&last[..]], "{about}: {error}{text}");
                }
            }
        }
        plain.status.success()
    }
}

/// The cells of a line. They hold no two blanks in a row.
fn columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn c_09_every_byte_of_every_vector_is_explained_once_and_errors_are_marked() {
    let samples = samples();
    let well_formed = samples.iter().filter(|sample| sample.check()).count();
    assert!(well_formed > 300 && samples.len() - well_formed > 50, "{well_formed} of {}", samples.len());
}

#[test]
fn c_05_c_09_mutated_messages_are_covered_too() {
    let mut numbers = Numbers(7);
    let mut samples = samples();
    for _ in 0..300 {
        let at = numbers.below(samples.len());
        numbers.mutate(&mut samples[at].bytes);
        samples[at].check();
    }
}

#[test]
fn c_09_the_table_says_what_is_there() {
    let sample = |protocol, side, digits: &str| {
        let bytes = hex::decode(digits.replace(' ', "")).unwrap();
        let output = Sample { protocol, dialect: &[], side, bytes }.decode(&["--explain"]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| columns(line).join(" | ")).collect::<Vec<_>>()
    };
    assert_eq!(
        sample("voicelink", Client, "00000016 0000 0000ac44 0001 02 00000400 0003 626f62"),
        [
            "voicelink Handshake, 22 bytes",
            "offset | length | bytes | field | value | meaning | section",
            "0 | 4 | 00 00 00 16 | Length | 22 | bytes of the packet, itself included | On the wire",
            "4 | 2 | 00 00 | Message Type | 0 | Handshake | On the wire",
            "6 | 4 | 00 00 ac 44 | Sample Rate | 44100 | Hz | On the wire",
            "10 | 2 | 00 01 | Channels Count | 1 | - | On the wire",
            "12 | 1 | 02 | Format Type | 2 | int16 | On the wire",
            "13 | 4 | 00 00 04 00 | Chunk Size | 1024 | frames | On the wire",
            "17 | 2 | 00 03 | Username Length | 3 | bytes | On the wire",
            "19 | 3 | 62 6f 62 | Username | \"bob\" | - | On the wire",
        ]
    );
    // Cut off, and a list with something wrong in it.
    assert_eq!(
        sample("voicelink", Client, "00000016 0000 0000ac44 0001 02 00000400 0005 626f62")[9..],
        [">19 | 3 | 62 6f 62 | Username | 3 bytes | - | On the wire"]
    );
    assert_eq!(
        sample("dissonance", Client, "8bc702123456780007800000")[8..],
        [">12 | 0 | - | channel count | 0 bytes | - | On the wire"]
    );
    let list = format!("a6757064617465 a963616c6c5f64617461 a161 a162 a163 dc0014 {} c0 00", "01".repeat(18));
    let lines = sample("msgpack", Client, &list);
    assert_eq!(lines[7], "23 | 3 | dc 00 14 | argument 4 | 20 elements | array 16 | On the wire");
    assert_eq!(
        lines[24..],
        [
            "42 | 2 | 01 01 | argument 4 | 2 bytes | - | On the wire",
            ">44 | 2 | c0 00 | samples | 2 bytes | - | On the wire"
        ]
    );
}

/// Colours are for terminals, and for those who want them.
#[test]
fn c_09_colours_are_printed_on_a_terminal_unless_no_color_is_set() {
    let program = env!("CARGO_BIN_EXE_voxwire-inspect");
    let command = format!("{program} decode --explain --protocol voicelink 000000060009");
    let run = |variable: &str, value: &str| {
        let output = Command::new("script")
            .args(["-q", "-c", &command, "/dev/null"])
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .env(variable, value)
            .stdin(Stdio::null())
            .output();
        output.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(coloured) = run("TERM", "xterm") else {
        eprintln!("skipped: script, which makes a terminal, is not installed");
        return;
    };
    assert!(coloured.contains("\x1b[31m") && coloured.contains("malformed"), "{coloured:?}");
    for (variable, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = run(variable, value).unwrap();
        assert!(!plain.contains('\x1b') && plain.contains("malformed"), "{plain:?}");
    }
}
