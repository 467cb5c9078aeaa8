//! A server, and what it says to each of its peers.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use voxwire_core::{Input, Instant, Lane, Message, Output, PeerId, Session, Via};
use voxwire_opcode::{
    CallRequest, Packet, Server, ServerCommand, ServerEvent, ServerSettings, Text, Violation, Wire,
};

/// What a server says in place of a packet.
pub const CLOSED: &str = "closed";

pub struct Harness {
    pub server: Server,
    pub now: Instant,
    /// As `Debug` shows them.
    said: BTreeMap<u32, Vec<String>>,
    /// Bytes and packets sent to each.
    pub sent: BTreeMap<u32, (usize, usize)>,
    /// How many contacts each has been told of that are still there, and the sum of their names' hashes.
    pub contacts: BTreeMap<u32, (i64, u64)>,
    /// Each one's contact list, as a client keeps it; if `tracked`, as that takes long in a large hall.
    pub tracked: bool,
    pub replicas: BTreeMap<u32, BTreeSet<Vec<u8>>>,
    /// What else the server wants of its driver.
    pub wants: Vec<String>,
}

pub const fn peer(slot: u32) -> PeerId {
    PeerId { slot, generation: 0 }
}

/// FNV-1a.
pub fn hash(name: &[u8]) -> u64 {
    name.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

pub fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&Wire::CLIENT, &mut bytes).unwrap();
    bytes
}

pub fn request<'a>(contact: &'a str, host: &'a str, port: u16) -> Packet<'a> {
    Packet::CallRequest(CallRequest { contact: contact.into(), host: host.into(), port })
}

impl Harness {
    pub fn new(settings: ServerSettings) -> Self {
        let server = Server::new(settings, 7);
        Self {
            server,
            now: Instant::ZERO,
            said: BTreeMap::new(),
            sent: BTreeMap::new(),
            contacts: BTreeMap::new(),
            tracked: false,
            replicas: BTreeMap::new(),
            wants: Vec::new(),
        }
    }

    /// Hands an input in, and looks at what the server wants.
    pub fn input(&mut self, input: Input<'_>) -> Result<Option<String>, Violation> {
        let result =
            self.server.handle_input(self.now, input).map(|event| event.map(|event| format!("{event:?}")));
        self.collect();
        result
    }

    pub fn collect(&mut self) {
        let mut done = 0;
        for output in self.server.outputs() {
            done += 1;
            match output {
                Output::Send { to, frame, .. } => {
                    let sent = self.sent.entry(to.slot).or_default();
                    (sent.0, sent.1) = (sent.0 + frame.len(), sent.1 + 1);
                    let packet = Packet::decode(frame, &Wire::SERVER).unwrap();
                    let (count, sum) = self.contacts.entry(to.slot).or_default();
                    let mut replica = self.tracked.then(|| self.replicas.entry(to.slot).or_default());
                    match packet {
                        Packet::AddContact { contacts } => {
                            for name in contacts {
                                (*count, *sum) = (*count + 1, sum.wrapping_add(hash(name.0)));
                                if let Some(replica) = &mut replica {
                                    replica.insert(name.0.to_vec());
                                }
                            }
                        }
                        Packet::DelContact { contacts } => {
                            for name in contacts {
                                (*count, *sum) = (*count - 1, sum.wrapping_sub(hash(name.0)));
                                if let Some(replica) = &mut replica {
                                    replica.remove(name.0);
                                }
                            }
                        }
                        _ => {}
                    }
                    self.said.entry(to.slot).or_default().push(format!("{packet:?}"));
                }
                Output::Close { peer } => self.said.entry(peer.slot).or_default().push(CLOSED.into()),
                other => self.wants.push(format!("{other:?}")),
            }
        }
        self.server.advance(done);
    }

    /// Lets time pass; the events of timers.
    pub fn run_for(&mut self, duration: Duration) -> Vec<String> {
        let until = self.now.saturating_add(duration);
        let mut events = Vec::new();
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            events.extend(
                self.server.handle_timeout(self.now).map(|event: ServerEvent<'_>| format!("{event:?}")),
            );
            self.collect();
        }
        self.now = until;
        events
    }

    pub fn open_from(
        &mut self,
        slot: u32,
        from: impl Into<core::net::IpAddr>,
    ) -> Result<Option<String>, Violation> {
        let from = Some((from.into(), 50_000).into());
        self.input(Input::Opened { peer: peer(slot), via: Via::Accepted, from })
    }

    pub fn open(&mut self, slot: u32) {
        let [.., high, low] = slot.to_be_bytes();
        self.open_from(slot, [10, 0, high, low]).unwrap();
    }

    pub fn raw(&mut self, slot: u32, bytes: &[u8]) -> Result<Option<String>, Violation> {
        self.input(Input::Frame { peer: peer(slot), lane: Lane::Reliable, bytes })
    }

    pub fn send(&mut self, slot: u32, packet: &Packet<'_>) -> Result<Option<String>, Violation> {
        self.raw(slot, &bytes(packet))
    }

    pub fn login(&mut self, slot: u32, name: &str) -> Result<Option<String>, Violation> {
        self.send(slot, &Packet::Login { name: Text(name.as_bytes()) })
    }

    /// The application lets a client in.
    pub fn admit(&mut self, slot: u32, name: &str) {
        let command = ServerCommand::Admit { peer: peer(slot), name, proven: false };
        self.server.handle_command(self.now, command).unwrap();
        self.collect();
    }

    /// Connects and logs in, and forgets what has been said.
    pub fn join(&mut self, slot: u32, name: &str) {
        self.open(slot);
        self.login(slot, name).unwrap();
        self.run_for(Duration::from_millis(100));
        self.said.clear();
    }

    /// What has been said to a peer since it was asked last.
    pub fn said(&mut self, slot: u32) -> Vec<String> {
        self.said.remove(&slot).unwrap_or_default()
    }
}
