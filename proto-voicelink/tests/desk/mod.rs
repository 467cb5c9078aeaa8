//! A server driven by hand, message by message.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use core::net::SocketAddr;
use core::time::Duration;
use voxwire_core::{Input, Instant, Lane, Message, Output, PeerId, PeerIds, Session, Via};
use voxwire_voicelink::{
    ByteOrder, Handshake, Packet, Parameters, Server, ServerEvent, ServerSettings, Violation, Wire,
};

pub const WIRE: Wire = Wire::new(ByteOrder::BigEndian);

pub struct Desk {
    pub server: Server,
    pub ids: PeerIds,
    pub now: Instant,
    /// What the server sent last, by addressee; `None` for a close.
    pub sent: Vec<(PeerId, Option<Vec<u8>>)>,
    pub paused: Vec<PeerId>,
    /// `Limit` and `Budget`, as told to the driver.
    pub told: Vec<String>,
}

impl Desk {
    pub fn new(settings: ServerSettings) -> Self {
        Self {
            server: Server::new(settings, 1),
            ids: PeerIds::new(),
            now: Instant::ZERO,
            sent: vec![],
            paused: vec![],
            told: vec![],
        }
    }

    pub fn open(&mut self, from: &str) -> PeerId {
        let peer = self.ids.mint().unwrap();
        let from: Option<SocketAddr> = Some(from.parse().unwrap());
        let _ = self.server.handle_input(self.now, Input::Opened { peer, via: Via::Accepted, from });
        self.drain();
        peer
    }

    pub fn registered(&mut self, from: &str, name: &str) -> PeerId {
        let peer = self.open(from);
        self.send(peer, &registration(name)).unwrap();
        assert_eq!(self.to(peer), ["Accept { optional: \"\" }"]);
        peer
    }

    pub fn bytes(&mut self, peer: PeerId, bytes: &[u8]) -> Result<(), Violation> {
        let input = Input::Frame { peer, lane: Lane::Reliable, bytes };
        let result = self.server.handle_input(self.now, input).map(|_| ());
        self.drain();
        result
    }

    pub fn send(&mut self, peer: PeerId, packet: &Packet<'_>) -> Result<(), Violation> {
        let mut frame = Vec::new();
        packet.encode(&WIRE, &mut frame).unwrap();
        self.bytes(peer, &frame)
    }

    pub fn close(&mut self, peer: PeerId) {
        let _ = self.server.handle_input(self.now, Input::Closed { peer });
        self.ids.retire(peer);
        self.drain();
    }

    /// Lets time pass, and timers fire when they are due.
    pub fn pass(&mut self, duration: Duration) {
        let until = self.now.saturating_add(duration);
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let _: Option<ServerEvent<'_>> = self.server.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    pub fn drain(&mut self) {
        let mut done = 0;
        for output in self.server.outputs() {
            done += 1;
            match output {
                Output::Send { to, frame, .. } => self.sent.push((to, Some(frame.to_vec()))),
                Output::Close { peer } => self.sent.push((peer, None)),
                Output::Pause { peer, .. } => self.paused.push(peer),
                Output::Limit { .. } | Output::Budget { .. } => self.told.push(format!("{output:?}")),
                _ => {}
            }
        }
        self.server.advance(done);
    }

    /// What `peer` was sent since last asked.
    pub fn to(&mut self, peer: PeerId) -> Vec<String> {
        let (mine, others) = core::mem::take(&mut self.sent).into_iter().partition(|(to, _)| *to == peer);
        self.sent = others;
        let mine: Vec<(PeerId, Option<Vec<u8>>)> = mine;
        let text = |frame: Option<Vec<u8>>| match frame {
            Some(frame) => format!("{:?}", Packet::decode(&frame, &WIRE).unwrap()),
            None => "closed".into(),
        };
        mine.into_iter().map(|(_, frame)| text(frame)).collect()
    }

    /// Lets those wait out who wait for a name.
    pub fn wait_for_names(&mut self) {
        self.now = self.now.saturating_add(Duration::from_millis(301));
        self.timeouts();
    }

    pub fn timeouts(&mut self) -> Vec<String> {
        let mut events = vec![];
        while self.server.poll_timeout().is_some_and(|at| at <= self.now) {
            events.extend(self.server.handle_timeout(self.now).map(|event| format!("{event:?}")));
            self.drain();
        }
        events
    }
}

pub fn registration(name: &str) -> Packet<'_> {
    let (parameters, optional) = (Parameters::DEFAULT, name.as_bytes());
    Packet::Handshake(Handshake { parameters, user_name: b"", optional })
}

pub fn call(user: &str, parameters: Parameters) -> Packet<'_> {
    Packet::Handshake(Handshake { parameters, user_name: user.as_bytes(), optional: b"" })
}
