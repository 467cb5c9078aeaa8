//! Dissonance servers with clients in rooms.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use voxwire_core::{DialId, Input, Instant, Lane, Limits, Message, PeerId, PeerIds, Rate, Session, Via};
use voxwire_dissonance::{
    Channel, Client, ClientCommand, ClientId, ClientInfo, ClientSettings, ClientState, CodecSettings,
    HandshakeRequest, Options, Packet, Profile, Recipient, Server, ServerRelay, ServerSettings, Speech,
    Target, Text, VoiceData, Wire, room_id,
};

/// How Dissonance's packets are encoded here.
pub const WIRE: Wire = Wire::new(Profile::Later);

/// How a PING begins, and what answers it.
const PING: u8 = 4;
pub const PONG: u8 = 5;

/// No client speaks too much.
pub const ANY: Rate = Rate { per_second: u32::MAX, burst: u32::MAX };

/// Settings without rates.
pub fn settings(clients: usize) -> ServerSettings {
    let limits = Limits { max_peers: clients + 10, max_outbox: 1 << 30, ..ServerSettings::DEFAULT.limits };
    ServerSettings {
        limits,
        voice: ANY,
        text: ANY,
        state: ANY,
        reliable_bytes: ANY,
        attempts: ANY,
        ..ServerSettings::DEFAULT
    }
}

/// A packet's bytes.
///
/// # Panics
/// It cannot be encoded.
pub fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&WIRE, &mut bytes).expect("a packet that can be encoded");
    bytes
}

/// A server whose clients are in rooms of `per_room`; the room of client `n` is `n / per_room`. Returns their connections.
///
/// # Panics
/// The server refuses what it should not.
pub fn hall(clients: usize, per_room: usize) -> (Server, Vec<PeerId>) {
    hall_of(&(0..clients).map(|n| n / per_room).collect::<Vec<_>>())
}

/// A server whose client `n` is in the room `rooms[n]`. Returns their connections.
///
/// # Panics
/// The server refuses what it should not.
pub fn hall_of(rooms: &[usize]) -> (Server, Vec<PeerId>) {
    hall_with(settings(rooms.len()), rooms, |_| Ipv4Addr::LOCALHOST)
}

/// The same with other `settings`; client `n` has the address `address_of(n)`.
///
/// # Panics
/// The server refuses what it should not.
pub fn hall_with(
    settings: ServerSettings,
    rooms: &[usize],
    address_of: impl Fn(usize) -> Ipv4Addr,
) -> (Server, Vec<PeerId>) {
    let mut server = Server::new(settings, 5);
    let (mut ids, mut peers) = (PeerIds::new(), Vec::new());
    let now = Instant::ZERO;
    for (n, room) in rooms.iter().enumerate() {
        let peer = ids.mint().expect("a free slot");
        fn frame(peer: PeerId, bytes: &[u8]) -> Input<'_> {
            Input::Frame { peer, lane: Lane::Reliable, bytes }
        }
        let from = Some((address_of(n), 1).into());
        server.handle_input(now, Input::Opened { peer, via: Via::Accepted, from }).expect("room");
        server.advance(usize::MAX);
        let name = format!("client {n}");
        let request = HandshakeRequest { codec: CodecSettings::DEFAULT, name: Text::new(&name) };
        let bytes = encoded(&Packet::HandshakeRequest(request));
        server.handle_input(now, frame(peer, &bytes)).expect("welcome");
        server.advance(usize::MAX);
        let id = server.client_of(peer).expect("a client");
        let room = format!("room {room}");
        let rooms = [Text::new(&room)];
        let client = ClientInfo { name: Text::new(&name), id, codec: CodecSettings::DEFAULT };
        let state = ClientState { session: server.session(), client, rooms: (&rooms[..]).into() };
        let bytes = encoded(&Packet::ClientState(state));
        server.handle_input(now, frame(peer, &bytes)).expect("a state");
        server.advance(usize::MAX);
        peers.push(peer);
    }
    (server, peers)
}

/// What client `n` of a hall sends to its room: a voice packet with `payload`, to be relayed to all others.
pub fn voice(session: u32, n: usize, per_room: usize, payload: &[u8]) -> Vec<u8> {
    let first = n / per_room * per_room;
    let others: Vec<usize> = (first..first + per_room).filter(|&other| other != n).collect();
    voice_to(session, n, n / per_room, &others, 0, payload)
}

/// The same as old releases have it, who relay voice reliably.
pub fn reliable_voice(session: u32, n: usize, per_room: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = voice(session, n, per_room, payload);
    if let Some(kind) = bytes.get_mut(2) {
        *kind = 7;
    }
    bytes
}

/// What client `n` sends to the room `room`, to be relayed to `others`.
pub fn voice_to(
    session: u32,
    n: usize,
    room: usize,
    others: &[usize],
    sequence: u16,
    payload: &[u8],
) -> Vec<u8> {
    let id = |n: usize| ClientId::new(u16::try_from(n).unwrap_or(u16::MAX));
    let others: Vec<ClientId> = others.iter().copied().map(id).collect();
    let channels = [Channel::new(Recipient::Room(room_id(&format!("room {room}"))))];
    let options = Options::new(0, Profile::Later);
    let inner = VoiceData { session, sender: id(n), options, sequence, channels: &channels, frame: payload };
    let payload = encoded(&Packet::VoiceData(inner));
    encoded(&Packet::ServerRelayUnreliable(ServerRelay { session, destinations: &others, payload: &payload }))
}

/// A client in a session with `others`, who all listen to the room Hall; it speaks to it, and listens to it, too.
///
/// # Panics
/// The client refuses what it should not.
pub fn client(others: u16) -> (Client, PeerId, u32) {
    let mut client = Client::new("us", ClientSettings::DEFAULT).expect("a short name");
    let (now, server, session) = (Instant::ZERO, PeerId { slot: 0, generation: 0 }, 77);
    let via = Via::Dialled(DialId::FIRST);
    client.handle_command(now, ClientCommand::Join { room: "Hall" }).expect("a room");
    client.handle_input(now, Input::Opened { peer: server, via, from: None }).expect("a connection");
    // Empty lists: every client is described one by one.
    let welcome = [0x8b, 0xc7, 5, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 0];
    client
        .handle_input(now, Input::Frame { peer: server, lane: Lane::Reliable, bytes: &welcome })
        .expect("welcome");
    for n in 1..=others {
        let name = format!("client {n}");
        let rooms = [Text::new("Hall")];
        let info = ClientInfo { name: Text::new(&name), id: ClientId::new(n), codec: CodecSettings::DEFAULT };
        let state = ClientState { session, client: info, rooms: (&rooms[..]).into() };
        let bytes = encoded(&Packet::ClientState(state));
        client
            .handle_input(now, Input::Frame { peer: server, lane: Lane::Reliable, bytes: &bytes })
            .expect("a state");
    }
    let to = Target::Room("Hall");
    client.handle_command(now, ClientCommand::Open { to, as_: Speech::DEFAULT }).expect("a channel");
    while client.poll_timeout() == Some(now) {
        client.handle_timeout(now);
    }
    client.advance(usize::MAX);
    (client, server, session)
}

/// A player by hand, over TCP and UDP, as `transport/PROTOCOL.md` has it.
#[derive(Debug)]
pub struct Player {
    /// Kept open; what comes in there is not read any more.
    pub tcp: TcpStream,
    pub udp: UdpSocket,
    /// What a datagram starts with.
    pub head: Vec<u8>,
    pub id: u16,
    pub session: u32,
}

impl Player {
    /// Connects, binds its UDP side, joins, and listens to `room`.
    ///
    /// # Panics
    /// The server does something else than is expected.
    pub fn connect(address: SocketAddr, name: &str, room: Option<&str>) -> Self {
        let mut tcp = TcpStream::connect(address).expect("a server");
        tcp.set_nodelay(true).expect("a socket");
        tcp.write_all(b"VOXL\x01\x01\x00\x00").expect("a hello");
        let mut hello = [0; 32];
        tcp.read_exact(&mut hello).expect("an answer");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        udp.connect(address).expect("a server");
        let challenge = |udp: &UdpSocket| {
            udp.send(&[&[1][..], &hello[8..31]].concat()).expect("a datagram");
            let mut challenge = [0; 64];
            udp.recv(&mut challenge).expect("a challenge");
            challenge
        };
        tcp.write_all(&[&[0, 10, 2, 1][..], &challenge(&udp)[8..16]].concat()).expect("a unit");
        let mut player = Self { tcp, udp, head: [&[3][..], &hello[8..15]].concat(), id: 0, session: 0 };
        assert_eq!(player.unit(), [2, 3]);
        let codec = CodecSettings::DEFAULT;
        player.say(&Packet::HandshakeRequest(HandshakeRequest { codec, name: Text::new(name) }));
        let answer = loop {
            let unit = player.unit();
            if unit[3] == 5 {
                break unit;
            }
        };
        player.session = u32::from_be_bytes([answer[4], answer[5], answer[6], answer[7]]);
        player.id = u16::from_be_bytes([answer[8], answer[9]]);
        let rooms: Vec<Text<'_>> = room.into_iter().map(Text::new).collect();
        let client = ClientInfo { name: Text::new(name), id: ClientId::new(player.id), codec };
        player.say(&Packet::ClientState(ClientState {
            session: player.session,
            client,
            rooms: (&rooms[..]).into(),
        }));
        player
    }

    /// Shows the server that the UDP side is still there: without that for five seconds, voice goes by TCP. A datagram that begins with
    /// [`PONG`] comes back.
    ///
    /// # Panics
    /// The server is gone.
    pub fn ping(&self) {
        let head = self.head.get(1..).expect("a head");
        self.udp.send(&[&[PING][..], head, &[0; 8]].concat()).expect("a datagram");
    }

    /// Sends a packet reliably.
    ///
    /// # Panics
    /// The connection is gone.
    pub fn say(&mut self, packet: &Packet<'_>) {
        let bytes = encoded(packet);
        let len = u16::try_from(bytes.len() + 1).expect("a small packet").to_be_bytes();
        self.tcp.write_all(&[&len[..], &[0], &bytes].concat()).expect("a connection");
    }

    /// The next unit, its kind first.
    ///
    /// # Panics
    /// The connection is gone.
    pub fn unit(&mut self) -> Vec<u8> {
        let mut head = [0; 2];
        self.tcp.read_exact(&mut head).expect("a unit");
        let mut unit = vec![0; u16::from_be_bytes(head).into()];
        self.tcp.read_exact(&mut unit).expect("a unit");
        unit
    }

    /// A datagram with a frame for a room, to be relayed to `listeners`.
    pub fn datagram(&self, room: &str, listeners: &[u16], sequence: u16, frame: &[u8]) -> Vec<u8> {
        let channels = [Channel::new(Recipient::Room(room_id(room)))];
        let destinations: Vec<ClientId> = listeners.iter().copied().map(ClientId::new).collect();
        let (session, sender) = (self.session, ClientId::new(self.id));
        let options = Options::new(0, Profile::Later);
        let voice = VoiceData { session, sender, options, sequence, channels: &channels, frame };
        let payload = encoded(&Packet::VoiceData(voice));
        let relay = ServerRelay { session, destinations: &destinations, payload: &payload };
        [&self.head[..], &encoded(&Packet::ServerRelayUnreliable(relay))].concat()
    }
}
