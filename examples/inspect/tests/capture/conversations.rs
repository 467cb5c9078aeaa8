//! A conversation of each protocol, from the vectors.

use crate::build::{End, Trace};
use crate::kit::inspect;
use serde_json::Value;
use std::net::SocketAddr;

const OPCODE: &str = include_str!("../../../../proto-opcode/tests/vectors/dialogue.txt");
const MSGPACK: &str = include_str!("../../../../proto-msgpack/tests/vectors/dialogue.txt");
const DISSONANCE: &str = include_str!("../../../../proto-dissonance/tests/vectors/dialogue.txt");

/// A message: who sends it, the bytes on the wire, and where in them the message is.
#[derive(Debug, Clone)]
pub struct Sent {
    pub end: End,
    pub unit: Vec<u8>,
    pub message: core::ops::Range<usize>,
}

/// All that goes between two ends.
#[derive(Debug, Clone)]
pub struct Conversation {
    pub protocol: &'static str,
    pub is_tcp: bool,
    pub ends: [SocketAddr; 2],
    pub sent: Vec<Sent>,
}

impl Conversation {
    fn new(protocol: &'static str, is_tcp: bool, ends: [&str; 2]) -> Self {
        Self { protocol, is_tcp, ends: ends.map(|end| end.parse().unwrap()), sent: Vec::new() }
    }

    fn push(&mut self, end: End, unit: Vec<u8>) {
        let message = 0..unit.len();
        self.sent.push(Sent { end, unit, message });
    }

    fn hex(&mut self, end: End, digits: &str) {
        self.push(end, hex::decode(digits.replace(' ', "")).unwrap());
    }

    /// One message in each packet, 20 ms apart.
    pub fn play(&self, trace: &mut Trace) {
        let mut tcp = self.is_tcp.then(|| trace.connect(self.ends[0], self.ends[1]));
        for sent in &self.sent {
            match &mut tcp {
                Some(tcp) => trace.send(tcp, sent.end, &sent.unit),
                None => trace.udp(self.ends[sent.end], self.ends[1 - sent.end], &sent.unit),
            }
            trace.wait(19_900);
        }
    }

    /// What `decode` shows of the messages: the sender, and the object or the problem.
    pub fn wanted(&self) -> Vec<(&'static str, Result<Value, String>)> {
        let decode = |sent: &Sent| {
            let side = ["client", "server"][sent.end];
            let digits = hex::encode(&sent.unit[sent.message.clone()]);
            // Of voicelink, a Length in little-endian.
            let order = if self.protocol == "voicelink" && !digits.starts_with("00") { "le" } else { "be" };
            let flags = ["--protocol", self.protocol, "--from", side, "--byte-order", order];
            let output = inspect(&[&["decode"], &flags[..], &[&digits]].concat(), "");
            let shown = match output.status.success() {
                true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
                false => Err(String::from_utf8(output.stderr).unwrap()),
            };
            (side, shown)
        };
        self.sent.iter().filter(|sent| !sent.message.is_empty()).map(decode).collect()
    }
}

pub fn voicelink() -> Vec<Conversation> {
    let mut alice = Conversation::new("voicelink", true, ["10.0.0.1:50001", "10.0.0.9:4240"]);
    // alice registers, calls bob, and they speak: 48 kHz, one channel, int16, 960 frames.
    alice.hex(0, "0000001c 0000 0000bb80 0001 02 000003c0 0000 616c696365 00 00 6c65");
    alice.hex(0, "00000016 0000 0000bb80 0001 02 000003c0 0003 626f62");
    alice.hex(1, "00000006 0004");
    let data = [&[0, 0, 7, 134, 0, 6][..], &[1; 1920]].concat();
    for _ in 0..5 {
        alice.push(0, data.clone());
        alice.push(1, data.clone());
    }
    alice.hex(0, "00000006 0005");
    // Of the other byte order.
    let mut bob = Conversation::new("voicelink", true, ["10.0.0.2:50002", "10.0.0.9:4240"]);
    bob.hex(0, "1600000000 00 80bb0000 0100 02 c0030000 0300 626f62");
    bob.hex(1, "06000000 0100");
    vec![alice, bob]
}

pub fn opcode() -> Vec<Conversation> {
    let mut all = vec![
        Conversation::new("opcode", true, ["10.0.0.1:50001", "10.0.0.9:4241"]),
        Conversation::new("opcode", true, ["10.0.0.2:50002", "10.0.0.9:4241"]),
        // No port of a server.
        Conversation::new("opcode", true, ["10.0.0.1:50003", "10.0.0.2:45279"]),
    ];
    for line in OPCODE.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let [connection @ ("0" | "1" | "2"), side @ ("client" | "server"), digits] = words[..] {
            let connection: usize = connection.parse().unwrap();
            all[connection].hex(usize::from(side == "server"), digits);
        }
    }
    all
}

pub fn msgpack() -> Vec<Conversation> {
    let mut all = Vec::new();
    for line in MSGPACK.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [connection, side @ ("client" | "server"), digits] = words[..] else { continue };
        let connection: usize = connection.parse().unwrap();
        while all.len() <= connection {
            let client = format!("10.0.0.{}:50001", all.len() + 1);
            all.push(Conversation::new("msgpack", true, [&client, "10.0.0.9:4242"]));
        }
        let unit = hex::decode(digits).unwrap();
        let start = match unit[0] {
            0 => 2,
            2 => 9,
            _ => 0,
        };
        let message = start..unit.len();
        all[connection].sent.push(Sent { end: usize::from(side == "server"), unit, message });
    }
    all
}

pub fn syfala() -> Vec<Conversation> {
    let mut all = Conversation::new("syfala", false, ["10.0.0.1:6910", "10.0.0.9:6911"]);
    all.hex(0, "00");
    // An input and an output: 48 kHz, 2 channels, int16.
    all.hex(1, "00 01 000000000070e740 02 20 06 01 000000000070e740 02 20 06");
    for (end, byte) in [(0, "01"), (0, "04"), (1, "03"), (0, "08"), (1, "09")] {
        all.hex(end, byte);
    }
    // 10 ms each. One of the server's is lost.
    for number in 0..6_u64 {
        for end in 0..2 {
            if (end, number) != (1, 3) {
                let head =
                    [&[6 + u8::try_from(end).unwrap(), 0, 0, 0, 0][..], &(number * 1920).to_le_bytes()];
                all.push(end, [&head.concat()[..], &1920_u32.to_le_bytes(), &[5; 1920]].concat());
            }
        }
    }
    for (end, byte) in [(0, "05"), (1, "06"), (0, "07")] {
        all.hex(end, byte);
    }
    vec![all]
}

/// Over TCP + UDP. The unreliable packets of the first client go in datagrams, those of the others on TCP.
pub fn dissonance() -> Vec<Conversation> {
    let client = |number: usize| format!("10.0.0.{}:50001", number + 1);
    let mut all: Vec<Conversation> = (0..3)
        .map(|number| {
            let mut tcp = Conversation::new("dissonance", true, [&client(number), "10.0.0.9:4244"]);
            let answer = [&b"VOXL\x01\x00\x10\x94\x01\x02\x03\x04\x05\x06\x07"[..], &[9; 16], &[0]].concat();
            for (end, unit) in [(0, b"VOXL\x01\x01\x00\x00".to_vec()), (1, answer)] {
                tcp.sent.push(Sent { end, unit, message: 0..0 });
            }
            tcp
        })
        .collect();
    let mut udp = Conversation::new("dissonance", false, ["10.0.0.1:50007", "10.0.0.9:4244"]);
    for line in DISSONANCE.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let [way, lane, digits, _] = words[..] else { continue };
        let end = match way.get(1..) {
            Some(">") => 0,
            Some("<") => 1,
            _ => continue,
        };
        let number: usize = way[..1].parse().unwrap();
        let packet = hex::decode(digits).unwrap();
        let (unit, start) = match (lane, number) {
            ("U", 0) => ([&[3, 1, 2, 3, 4, 5, 6, 7][..], &packet].concat(), 8),
            _ => {
                let len = u16::try_from(packet.len() + 1).unwrap().to_be_bytes();
                ([&len[..], &[u8::from(lane == "U")], &packet].concat(), 3)
            }
        };
        let conversation = if start == 8 { &mut udp } else { &mut all[number] };
        let message = start..unit.len();
        conversation.sent.push(Sent { end, unit, message });
    }
    all.push(udp);
    all
}
