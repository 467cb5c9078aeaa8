//! A server whose clients are played by the test, and a client whose server is.
#![allow(dead_code, unreachable_pub, missing_docs)]

use core::net::SocketAddr;
use voxwire_core::{DialId, Input, Instant, Lane, List, Message, Output, PeerId, PeerIds, Session, Via};
use voxwire_dissonance::{
    Channel, Client, ClientId, ClientInfo, ClientState, CodecSettings, HandshakeRequest, HandshakeResponse,
    Options, Packet, Profile, Recipient, RoomListeners, Server, ServerSettings, Text, Violation, VoiceData,
    Wire, room_id,
};

pub const WIRE: Wire = Wire::new(Profile::Later);

pub struct Harness {
    pub server: Server,
    pub now: Instant,
    /// Connections that the server has closed.
    pub closed: Vec<PeerId>,
    /// Until when each connection's reading pauses.
    pub paused: Vec<(PeerId, Instant)>,
    /// Who may be reached without the server, as the driver was told.
    pub direct: Vec<(PeerId, bool)>,
    sent: Vec<Sent>,
    events: Vec<String>,
    ids: PeerIds,
}

#[derive(Debug, Clone)]
pub struct Sent {
    pub to: PeerId,
    pub lane: Lane,
    pub bytes: Vec<u8>,
}

impl Sent {
    pub fn packet(&self) -> Packet<'_> {
        Packet::decode(&self.bytes, &WIRE).unwrap()
    }
}

impl Harness {
    pub fn new(settings: ServerSettings) -> Self {
        Self {
            server: Server::new(settings, 0x1234_5677),
            now: Instant::from_nanos(1_000_000_000),
            closed: Vec::new(),
            paused: Vec::new(),
            direct: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            ids: PeerIds::new(),
        }
    }

    pub fn session(&self) -> u32 {
        self.server.session()
    }

    /// A connection over loopback.
    pub fn open(&mut self) -> PeerId {
        self.open_from("127.0.0.1:1000")
    }

    pub fn open_from(&mut self, from: &str) -> PeerId {
        let peer = self.ids.mint().unwrap();
        let from: SocketAddr = from.parse().unwrap();
        let input = Input::Opened { peer, via: Via::Accepted, from: Some(from) };
        let _ = self.server.handle_input(self.now, input);
        self.drain();
        peer
    }

    pub fn close(&mut self, peer: PeerId) {
        let _ = self.server.handle_input(self.now, Input::Closed { peer });
        self.drain();
    }

    /// A client that is in the session and has said that it listens to nothing.
    pub fn join(&mut self, name: &str) -> PeerId {
        let (peer, joined) = self.join_from("127.0.0.1:1000", name);
        joined.unwrap();
        peer
    }

    pub fn join_from(&mut self, from: &str, name: &str) -> (PeerId, Result<String, Violation>) {
        let peer = self.open_from(from);
        let joined = self.handshake(peer, name);
        if let Some(client) = self.server.client_of(peer) {
            self.send(peer, &state(self.session(), name, client, &[])).unwrap();
        }
        (peer, joined)
    }

    pub fn handshake(&mut self, peer: PeerId, name: &str) -> Result<String, Violation> {
        let request = HandshakeRequest { codec: CodecSettings::DEFAULT, name: name.into() };
        self.send(peer, &Packet::HandshakeRequest(request))
    }

    pub fn send(&mut self, peer: PeerId, packet: &Packet<'_>) -> Result<String, Violation> {
        self.feed(peer, &encode(packet))
    }

    /// What comes in from a client. Returns the event, as text; empty for none.
    pub fn feed(&mut self, peer: PeerId, bytes: &[u8]) -> Result<String, Violation> {
        let input = Input::Frame { peer, lane: Lane::Reliable, bytes };
        let result = self.server.handle_input(self.now, input);
        let result = result.map(|event| event.map_or_else(String::new, |event| format!("{event:?}")));
        self.drain();
        result
    }

    /// Sees to time-outs and outputs.
    pub fn drain(&mut self) {
        while self.server.poll_timeout().is_some_and(|at| at <= self.now) {
            self.events.extend(self.server.handle_timeout(self.now).map(|event| format!("{event:?}")));
        }
        let mut done = 0;
        for output in self.server.outputs() {
            done += 1;
            match output {
                Output::Send { to, lane, frame, .. } => {
                    self.sent.push(Sent { to, lane, bytes: frame.to_vec() })
                }
                Output::Close { peer } => self.closed.push(peer),
                Output::Pause { peer, until } => self.paused.push((peer, until)),
                Output::Direct { peer, allowed } => self.direct.push((peer, allowed)),
                _ => {}
            }
        }
        self.server.advance(done);
    }

    /// Takes what was sent to a client.
    pub fn sent(&mut self, to: PeerId) -> Vec<Sent> {
        let (taken, rest) = core::mem::take(&mut self.sent).into_iter().partition(|sent| sent.to == to);
        self.sent = rest;
        taken
    }

    /// Forgets what was sent to any client. Returns how much it was.
    pub fn clear(&mut self) -> usize {
        core::mem::take(&mut self.sent).len()
    }

    /// The same, by the names of the packets.
    pub fn sent_to(&mut self, to: PeerId) -> Vec<String> {
        self.sent(to).iter().map(|sent| sent.packet().name().into()).collect()
    }

    /// What the server did of its own accord.
    pub fn events(&mut self) -> Vec<String> {
        core::mem::take(&mut self.events)
    }
}

pub fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&WIRE, &mut bytes).unwrap();
    bytes
}

pub fn info(name: &str, id: u16) -> ClientInfo<'_> {
    ClientInfo { name: name.into(), id: ClientId::new(id), codec: CodecSettings::DEFAULT }
}

pub fn state<'a>(session: u32, name: &'a str, client: ClientId, rooms: &'a [Text<'a>]) -> Packet<'a> {
    Packet::ClientState(ClientState { session, client: info(name, client.get()), rooms: List::from(rooms) })
}

pub fn voice(session: u32, sender: ClientId, channels: &[Channel], frame: &[u8]) -> Vec<u8> {
    let options = Options::new(0, Profile::Later);
    encode(&Packet::VoiceData(VoiceData { session, sender, options, sequence: 0, channels, frame }))
}

/// A voice packet to one recipient.
pub fn say(session: u32, sender: ClientId, to: Recipient, frame: &[u8]) -> Vec<u8> {
    voice(session, sender, &[Channel::new(to)], frame)
}

pub fn open_client(client: &mut Client, now: Instant, server: PeerId) {
    let via = Via::Dialled(DialId::FIRST);
    client.handle_input(now, Input::Opened { peer: server, via, from: None }).unwrap();
}

/// The server's answer: `others` more clients, who all listen to the room Hall.
pub fn welcome_client(client: &mut Client, now: Instant, server: PeerId, id: u16, others: usize) {
    let own = client.name().to_owned();
    let names: Vec<String> = (1..=others).map(|n| format!("p{n}")).collect();
    let (session, id) = (77, ClientId::new(id));
    let few = others <= 20;
    let mut infos = vec![info(&own, id.get())];
    infos.extend(names.iter().zip(1..).map(|(name, n)| info(name, n)));
    let listeners: Vec<ClientId> = (1..=others as u16).map(ClientId::new).collect();
    let room = [Text::new("Hall")];
    let channels = [RoomListeners { room: room_id("Hall"), listeners: &listeners }];
    let response = HandshakeResponse {
        session,
        client: id,
        clients: List::from(if few { &infos[..] } else { &[] }),
        rooms: List::from(if few && others > 0 { &room[..] } else { &[] }),
        channels: List::from(if few && others > 0 { &channels[..] } else { &[] }),
    };
    client.receive(now, server, Packet::HandshakeResponse(response)).unwrap();
    if !few {
        for (name, n) in names.iter().zip(1..) {
            client.receive(now, server, state(session, name, ClientId::new(n), &room)).unwrap();
        }
    }
    while client.poll_timeout().is_some_and(|at| at <= now) {
        client.handle_timeout(now);
    }
    // What it listens to comes back to it.
    let echo = client
        .outputs()
        .filter_map(
            |output| if let Output::Send { frame, .. } = output { Some(frame.to_vec()) } else { None },
        )
        .find(|frame| matches!(Packet::decode(frame, &WIRE), Ok(Packet::ClientState(_))))
        .unwrap();
    client.handle_input(now, Input::Frame { peer: server, lane: Lane::Reliable, bytes: &echo }).unwrap();
    sent_by(client);
}

/// A client in a session with others.
pub fn join_client(client: &mut Client, id: u16, others: usize) -> PeerId {
    let server = PeerId { slot: 3, generation: 0 };
    open_client(client, Instant::ZERO, server);
    welcome_client(client, Instant::ZERO, server, id, others);
    server
}

/// The names of the packets that a client has sent.
pub fn sent_by(client: &mut Client) -> Vec<String> {
    let mut names = Vec::new();
    let mut done = 0;
    for output in client.outputs() {
        done += 1;
        if let Output::Send { frame, .. } = output {
            names.push(Packet::decode(frame, &WIRE).unwrap().name().into());
        }
    }
    client.advance(done);
    names
}
