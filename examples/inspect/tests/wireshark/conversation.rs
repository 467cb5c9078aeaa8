//! Conversations on TCP, and what each message of them means to the inspector.

use crate::capture::Side::{self, Client, Server};
use crate::capture::{Capture, Cut};
use crate::expect::{check, decode};
use crate::pdml::Node;
use crate::tshark::messages;
use crate::vectors;
use serde_json::Value;

/// A conversation on TCP, and what each message of it means.
pub struct Conversation {
    pub protocol: &'static str,
    server_port: u16,
    units: Vec<(Side, Vec<u8>)>,
    /// What the inspector says of each; nothing of what is no message to it.
    wanted: Vec<Option<Result<Value, String>>>,
}

impl Conversation {
    /// `units`: who sends, what is sent, and how much of it is in front of the message. `dialect`: as `voxwire-inspect` takes it.
    pub fn new(
        protocol: &'static str,
        server_port: u16,
        dialect: &[&str],
        units: Vec<(Side, Vec<u8>, usize)>,
    ) -> Self {
        let wanted = units.iter().map(|(side, unit, start)| {
            (*start < unit.len()).then(|| decode(protocol, *side, dialect, &unit[*start..]))
        });
        let wanted = wanted.collect();
        let units = units.into_iter().map(|(side, unit, _)| (side, unit)).collect();
        Self { protocol, server_port, units, wanted }
    }

    pub fn play(&self, capture: &mut Capture, client_port: u16, cut: Cut) {
        capture.tcp(client_port, self.server_port, &self.units, cut);
    }

    pub fn check(&self, packets: &[Node], client_port: u16, about: &str) {
        for side in [Client, Server] {
            let shown = messages(packets, self.protocol, client_port, side);
            let sent: Vec<_> =
                self.units.iter().zip(&self.wanted).filter(|((from, _), _)| *from == side).collect();
            assert_eq!(shown.len(), sent.len(), "{about}: messages of the {}", side.name());
            for (node, ((_, unit), wanted)) in shown.into_iter().zip(sent) {
                let about = format!("{about}: {}", hex::encode(unit));
                match wanted {
                    Some(wanted) => check(node, self.protocol, side, wanted, &about),
                    None => {
                        let name = node.find(&format!("vox.{}.message", self.protocol)).map(Node::show);
                        assert!(matches!(name, Some("identity" | "greeting")), "{about}");
                    }
                }
            }
        }
    }
}

/// All well-formed messages of protocols on TCP, in conversations.
pub fn conversations() -> Vec<Conversation> {
    let whole = |side: Side, message: Vec<u8>| (side, message, 0);
    let mut all = Vec::new();
    for order in ["be", "le"] {
        let vectors = vectors::voicelink(order).filter(|vector| vector.is_valid);
        let dialect: &[&str] = if order == "be" { &["--byte-order", "be"] } else { &["--byte-order", "le"] };
        let units = vectors.map(|vector| whole(Client, vector.bytes)).collect();
        all.push(Conversation::new("voicelink", 4240, dialect, units));
    }
    let valid = vectors::opcode().filter(|vector| vector.is_valid).map(|vector| whole(Server, vector.bytes));
    all.push(Conversation::new("opcode", 4241, &[], valid.collect()));
    for units in vectors::opcode_dialogue() {
        let units = units.into_iter().map(|(side, message)| whole(side, message)).collect();
        all.push(Conversation::new("opcode", 4241, &[], units));
    }
    let msgpack = |units| Conversation::new("msgpack", 4242, &[], units);
    for units in vectors::msgpack_dialogue() {
        all.push(msgpack(units));
    }
    for framing in vectors::FRAMINGS {
        all.push(msgpack(vectors::msgpack_framed(framing)));
    }
    all
}
