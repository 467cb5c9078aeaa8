//! C-03: once warm, the voice path allocates nothing: not in the codec, not in a session, not in the hub on real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use voxwire_benches::alloc::{Counting, allocations};
use voxwire_benches::{UNLIMITED, encoded, hall, line, payloads, room, settings, studio, talking};
use voxwire_core::{Input, Instant, Lane, Message, Output, PeerId, Session, Via};
use voxwire_transport::{Hub, HubSettings, Listener};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, Handshake, Packet, Parameters, Server,
    Wire,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of `packets` runs, after as many to warm up. The whole process counts, so this is the only test here.
fn count(packets: u64, mut run: impl FnMut(u64)) -> u64 {
    (0..packets).for_each(&mut run);
    let before = allocations();
    (0..packets).for_each(&mut run);
    allocations() - before
}

const PACKETS: u64 = 10_000;

#[test]
fn c_03_v_06_warm_voice_allocates_nothing() {
    // The thread that has started this one goes on to keep its books, and all threads are counted.
    std::thread::park_timeout(core::time::Duration::from_millis(300));
    assert_ne!(count(1, |_| drop(Vec::<u8>::with_capacity(1))), 0, "the counter counts");
    codec();
    server();
    client();
    hub();
    dissonance_server();
    dissonance_server_reliably();
    dissonance_client();
    dissonance_hub();
    opcode_server();
    opcode_client();
    msgpack_sessions();
    msgpack_hub();
    syfala_sessions();
    syfala_hub();
}

/// A block of live audio: out of a client, through a server, into another; and its samples.
fn msgpack_sessions() {
    use voxwire_msgpack as m;
    let (mut server, peers) = room::room(11);
    let (mut client, home) = room::caller();
    let blocks = room::blocks(882, 3000, true);
    let (name, token) = room::user(0);
    let mut samples = [0; 882];
    let mut frame = Vec::with_capacity(4096);
    let allocations = count(PACKETS, |n| {
        let block = &blocks[n as usize % 64];
        client.handle_command(Instant::ZERO, m::ClientCommand::Say { samples: block[..].into() }).unwrap();
        assert_eq!(client.outputs().count(), 1);
        client.advance(usize::MAX);
        frame.clear();
        room::call_data(&name, &token, block).encode(&m::Wire::SERVER, &mut frame).unwrap();
        assert_eq!(room::relay(&mut server, peers[0], &frame), 10);
        frame.clear();
        let update = m::ServerMessage::CallData { sender: "user0".into(), samples: block[..].into() };
        update.encode(&m::Wire::SERVER, &mut frame).unwrap();
        let input = Input::Frame { peer: home, lane: Lane::Reliable, bytes: &frame };
        let Ok(Some(m::ClientEvent::CallData { samples: heard, .. })) =
            client.handle_input(Instant::ZERO, input)
        else {
            panic!()
        };
        assert_eq!(heard.copy_to_i16(&mut samples), 882);
        assert_eq!(samples, block[..]);
    });
    assert_eq!(allocations, 0, "msgpack sessions");
}

/// The same over ZMTP, through a hub on real sockets.
fn msgpack_hub() {
    use voxwire_msgpack as m;
    struct Door;
    impl voxwire_core::Handler<m::Server> for Door {
        fn on_event(&mut self, server: &mut m::Server, now: Instant, event: m::ServerEvent<'_>) {
            if let m::ServerEvent::LoggingIn { ticket, username, .. } = event {
                let token = room::user(u32::from(username.0[4] - b'0')).1;
                let token = token.as_str().into();
                server.handle_command(now, m::ServerCommand::Admit { ticket, token }).unwrap();
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings = m::ServerSettings { voice: UNLIMITED, ..m::ServerSettings::DEFAULT };
    let mut server = m::Server::new(settings, 1, |_| [0; 32]);
    for slot in 0..2 {
        let (group_name, (name, _)) = ("room".into(), room::user(slot));
        let username = name.as_str().into();
        server
            .handle_command(Instant::ZERO, m::ServerCommand::Group { group_name, owner: username })
            .unwrap();
        server.handle_command(Instant::ZERO, m::ServerCommand::Member { group_name, username }).unwrap();
    }
    let hub = HubSettings { frames: UNLIMITED, ..HubSettings::DEFAULT };
    let handle = Hub::spawn(vec![listener], server, Door, hub).unwrap();
    let mut greeting = Vec::new();
    m::zmtp::put_greeting(&mut greeting);
    m::zmtp::put_ready(m::zmtp::SocketType::Dealer, &mut greeting);
    let unit = |message: &m::ClientMessage<'_>| {
        let body = room::encoded(message);
        let mut unit = Vec::new();
        m::zmtp::put_message_head(body.len(), &mut unit);
        unit.extend(body);
        unit
    };
    let mut streams = [0, 1].map(|slot| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&greeting).unwrap();
        stream.read_exact(&mut [0; 64 + 43]).unwrap();
        let (name, token) = room::user(slot);
        let (username, token) = (name.as_str().into(), token.as_str().into());
        let mut answer = |request: &m::ClientMessage<'_>| {
            stream.write_all(&unit(request)).unwrap();
            let mut head = [0; 2];
            stream.read_exact(&mut head).unwrap();
            stream.read_exact(&mut vec![0; head[1].into()]).unwrap();
        };
        answer(&m::ClientMessage::Login { username, password: "x".into() });
        answer(&m::ClientMessage::JoinCall { username, token, group_name: "room".into() });
        stream
    });
    let blocks = room::blocks(882, 3000, false);
    let (name, token) = room::user(0);
    let frame = unit(&room::call_data(&name, &token, &blocks[0]));
    let update = m::ServerMessage::CallData { sender: "user0".into(), samples: blocks[0][..].into() };
    let mut heard = vec![0; room::encoded(&update).len() + 9];
    let allocations = count(PACKETS, |_| {
        let [speaker, listener] = &mut streams;
        speaker.write_all(&frame).unwrap();
        listener.read_exact(&mut heard).unwrap();
    });
    assert_eq!(allocations, 0, "msgpack hub");
    drop(guard);
    assert_eq!(handle.call(|server, _| server.in_calls()), 2);
}

/// A buffer of stereo audio in, in order, and out again: both sessions, and the stream beside them.
fn syfala_sessions() {
    use voxwire_syfala as s;
    let format = s::Format::STANDARD;
    let (mut server, mut client) = (studio::server(&[format]), studio::client(&[format]));
    let (now, peer) = (Instant::ZERO, studio::PEER);
    let mut receiving = s::stream::Receiving::new(&format, s::stream::StreamSettings::DEFAULT);
    let mut samples = [7; 256];
    let allocations = count(PACKETS, |n| {
        let audio = s::Audio::new(0, n % PACKETS * 256, &samples);
        let (mut there, mut back) = ([0; 300], [0; 300]);
        let lens = [
            s::ClientMessage::Audio(audio).encode(&s::Wire::DEFAULT, &mut &mut there[..]).unwrap(),
            s::ServerMessage::Audio(audio).encode(&s::Wire::DEFAULT, &mut &mut back[..]).unwrap(),
        ];
        let input = Input::Frame { peer, lane: Lane::Droppable, bytes: &there[..lens[0]] };
        let Ok(Some(s::ServerEvent::Audio { audio, .. })) = server.handle_input(now, input) else { panic!() };
        if n % PACKETS == 0 {
            receiving.restart();
        }
        assert_eq!(receiving.insert(now, &audio), s::stream::Taken::Stored);
        assert_eq!(receiving.read(&mut samples), 256);
        server
            .handle_command(now, s::ServerCommand::Play { client: peer, stream: 0, samples: &samples })
            .unwrap();
        let input = Input::Frame { peer, lane: Lane::Droppable, bytes: &back[..lens[1]] };
        assert!(matches!(client.handle_input(now, input), Ok(Some(s::ClientEvent::Audio { .. }))));
        client
            .handle_command(now, s::ClientCommand::Play { server: peer, stream: 0, samples: &samples })
            .unwrap();
        assert_eq!((server.outputs().count(), client.outputs().count()), (1, 1));
        server.advance(usize::MAX);
        client.advance(usize::MAX);
    });
    assert_eq!(allocations, 0, "syfala sessions");
}

/// A datagram to a device on a hub, and back.
fn syfala_hub() {
    use voxwire_syfala as s;
    struct Echo;
    impl voxwire_core::Handler<s::Server> for Echo {
        fn on_event(&mut self, server: &mut s::Server, now: Instant, event: s::ServerEvent<'_>) {
            let command = match event {
                s::ServerEvent::Audio { client, audio } => {
                    s::ServerCommand::Play { client, stream: 0, samples: audio.payload }
                }
                s::ServerEvent::StartIo { client } => {
                    s::ServerCommand::StartIoResult { client, result: s::IoResult::Success }
                }
                _ => return,
            };
            server.handle_command(now, command).unwrap();
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let listener = Listener::bind_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings_of_hub = HubSettings { datagrams: UNLIMITED, ..HubSettings::DEFAULT };
    let handle =
        Hub::spawn(vec![listener], studio::device(&[s::Format::STANDARD]), Echo, settings_of_hub).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    let mut back = [0; 2048];
    // Heartbeats come in between.
    let answer = |back: &mut [u8], len| while socket.recv(back).unwrap() != len {};
    socket.send(&[0]).unwrap();
    answer(&mut back, 25);
    socket.send(&[1]).unwrap();
    socket.send(&[4]).unwrap();
    while socket.recv(&mut back).unwrap() != 1 || back[0] != 3 {}
    let mut datagram = studio::encoded(&s::ClientMessage::Audio(s::Audio::new(0, 0, &[7; 256])));
    let allocations = count(PACKETS, |n| {
        datagram[5..13].copy_from_slice(&(n * 256).to_le_bytes());
        socket.send(&datagram).unwrap();
        answer(&mut back, datagram.len());
    });
    assert_eq!(allocations, 0, "hub of plain UDP");
    assert_eq!(handle.call(|server, _| server.stats().messages_received), 2 * PACKETS);
    drop(guard);
}

/// A carried call, both ways.
fn opcode_server() {
    let (mut server, sides) = line::carried(UNLIMITED);
    let frames: Vec<_> = payloads(250)
        .iter()
        .map(|payload| line::encoded(&voxwire_opcode::Packet::VoiceData(payload)))
        .collect();
    let mut carried = 0;
    let allocations = count(PACKETS, |n| {
        let (peer, bytes) = (sides[n as usize % 2], &frames[n as usize % 64]);
        server.handle_input(Instant::ZERO, Input::Frame { peer, lane: Lane::Reliable, bytes }).unwrap();
        carried += server.outputs().count() as u64;
        server.advance(usize::MAX);
    });
    assert_eq!((allocations, carried), (0, 2 * PACKETS), "opcode server session");
}

fn opcode_client() {
    use voxwire_opcode as o;
    let (mut client, other) = line::calling(UNLIMITED);
    let payload = [7; 250];
    let frame = line::encoded(&o::Packet::VoiceData(&payload));
    let allocations = count(PACKETS, |_| {
        client.handle_command(Instant::ZERO, o::ClientCommand::Say { call: None, packet: &payload }).unwrap();
        assert_eq!(client.outputs().count(), 1);
        client.advance(usize::MAX);
        let input = Input::Frame { peer: other, lane: Lane::Reliable, bytes: &frame };
        let event = client.handle_input(Instant::ZERO, input).unwrap();
        assert!(matches!(event, Some(o::ClientEvent::Voice { .. })), "{event:?}");
    });
    assert_eq!(allocations, 0, "opcode client session");
}

fn dissonance_server() {
    let (mut server, peers) = hall::hall(100, 10);
    let payloads = payloads(100);
    let frames: Vec<Vec<u8>> =
        (0..100).map(|n| hall::voice(server.session(), n, 10, &payloads[n % 64])).collect();
    let mut copies = 0;
    let allocations = count(PACKETS, |n| {
        let speaker = n as usize % 100;
        let mut bytes = [0; 256];
        let bytes = &mut bytes[..frames[speaker].len()];
        bytes.copy_from_slice(&frames[speaker]);
        // The inner packet's sequence number: another frame each time.
        let at = bytes.len() - 100 - 10;
        bytes[at..at + 2].copy_from_slice(&(n as u16).to_be_bytes());
        let input = Input::Frame { peer: peers[speaker], lane: Lane::Droppable, bytes };
        server.handle_input(Instant::ZERO, input).unwrap();
        copies += server.outputs().count();
        server.advance(usize::MAX);
    });
    assert_eq!((allocations, copies as u64), (0, 2 * PACKETS * 9), "dissonance server session");
}

/// A speaker whose voice is relayed reliably, a frame every 20 ms: what it costs is there again before the next one.
fn dissonance_server_reliably() {
    use voxwire_dissonance::ServerSettings;
    let settings = ServerSettings { limits: hall::settings(10).limits, ..ServerSettings::ORIGINAL };
    let (mut server, peers) = hall::hall_with(settings, &[0; 10], |_| std::net::Ipv4Addr::LOCALHOST);
    let mut bytes = hall::reliable_voice(server.session(), 0, 10, &[7; 40]);
    let at = bytes.len() - 40 - 10;
    let (mut now, mut copies) = (Instant::ZERO, 0);
    let allocations = count(PACKETS, |n| {
        now = now.saturating_add(core::time::Duration::from_millis(20));
        bytes[at..at + 2].copy_from_slice(&(n as u16).to_be_bytes());
        let input = Input::Frame { peer: peers[0], lane: Lane::Reliable, bytes: &bytes };
        server.handle_input(now, input).unwrap();
        let reliable = |output: &Output<'_>| matches!(output, Output::Send { lane: Lane::Reliable, .. });
        copies += server.outputs().filter(reliable).count();
        server.advance(usize::MAX);
    });
    assert_eq!((allocations, copies as u64), (0, 2 * PACKETS * 9), "dissonance server session, reliably");
}

fn dissonance_client() {
    use voxwire_dissonance as d;
    let (mut client, server, session) = hall::client(20);
    let now = Instant::ZERO;
    let channels = [d::Channel::new(d::Recipient::Room(d::room_id("Hall")))];
    let payload = [7; 100];
    let allocations = count(PACKETS, |n| {
        client.handle_command(now, d::ClientCommand::Say { frame: &payload }).unwrap();
        let mut bytes = [0; 200];
        let voice = d::VoiceData {
            session,
            sender: d::ClientId::new(1 + (n % 20) as u16),
            options: d::Options::new(0, d::Profile::Later),
            sequence: (n / 20) as u16,
            channels: &channels,
            frame: &payload,
        };
        let mut out = &mut bytes[..];
        let len = d::Packet::VoiceData(voice).encode(&hall::WIRE, &mut out).unwrap();
        let input = Input::Frame { peer: server, lane: Lane::Droppable, bytes: &bytes[..len] };
        let event = client.handle_input(now, input).unwrap();
        assert!(matches!(event, Some(d::ClientEvent::Voice(_))), "{event:?}");
        client.advance(usize::MAX);
    });
    assert_eq!(allocations, 0, "dissonance client session");
}

/// Two clients over TCP + UDP: each datagram of the one comes out at the other.
fn dissonance_hub() {
    use voxwire_dissonance as d;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let listener = Listener::bind_tcp_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings_of_hub = HubSettings { frames: UNLIMITED, ..HubSettings::DEFAULT };
    let handle =
        Hub::spawn(vec![listener], d::Server::new(hall::settings(10), 5), (), settings_of_hub).unwrap();
    let ann = hall::Player::connect(address, "ann", None);
    let ben = hall::Player::connect(address, "ben", Some("Lobby"));
    // Until the server knows where Ben is.
    while handle.call(|server, _| server.rooms().count()) == 0 {
        std::thread::yield_now();
    }
    let mut datagram = ann.datagram("Lobby", &[ben.id], 0, &[7; 100]);
    let at = datagram.len() - 100 - 10;
    let mut heard = [0; 2048];
    let allocations = count(PACKETS, |n| {
        datagram[at..at + 2].copy_from_slice(&(n as u16).to_be_bytes());
        ann.udp.send(&datagram).unwrap();
        let len = ben.udp.recv(&mut heard).unwrap();
        assert_eq!(len, 8 + 14 + 4 + 2 + 100);
    });
    assert_eq!(allocations, 0, "hub over UDP");
    assert_eq!(handle.call(|server, _| server.stats().voice_copies), 2 * PACKETS);
    drop(guard);
}

fn codec() {
    let wire = Wire::default();
    let payloads = payloads(960);
    let mut out = Vec::with_capacity(2000);
    let allocations = count(PACKETS, |n| {
        out.clear();
        Packet::Data(&payloads[n as usize % 64]).encode(&wire, &mut out).unwrap();
        assert!(matches!(Packet::decode(&out, &wire), Ok(Packet::Data(data)) if data.len() == 960));
    });
    assert_eq!(allocations, 0, "codec");
}

fn server() {
    let (be, le) = (ByteOrder::BigEndian, ByteOrder::LittleEndian);
    for orders in [[be, be], [be, le]] {
        let (mut server, peers) = talking(10, orders);
        let payloads = payloads(320);
        let frames =
            orders.map(|order| payloads.iter().map(|p| encoded(&Packet::Data(p), order)).collect::<Vec<_>>());
        let mut relayed = 0;
        let allocations = count(PACKETS, |n| {
            let peer = peers[n as usize % peers.len()];
            let bytes = &frames[peer.slot as usize % 2][n as usize % 64];
            server.handle_input(Instant::ZERO, Input::Frame { peer, lane: Lane::Reliable, bytes }).unwrap();
            relayed += server.outputs().filter(|output| matches!(output, Output::Send { .. })).count();
            server.advance(usize::MAX);
        });
        assert_eq!((allocations, relayed as u64), (0, 2 * PACKETS), "server session, {orders:?}");
    }
}

fn client() {
    let (mut client, now, peer) =
        (Client::new(ClientSettings::DEFAULT), Instant::ZERO, PeerId { slot: 0, generation: 0 });
    client.handle_input(now, Input::Opened { peer, via: Via::Accepted, from: None }).unwrap();
    client
        .handle_command(
            now,
            ClientCommand::Call { user: b"x", parameters: Parameters::DEFAULT, optional: b"" },
        )
        .unwrap();
    let accept = encoded(&Packet::Accept { optional: b"" }, ByteOrder::BigEndian);
    client.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &accept }).unwrap();
    client.advance(usize::MAX);
    let frame = encoded(&Packet::Data(&[7; 1920]), ByteOrder::BigEndian);
    let allocations = count(PACKETS, |_| {
        let event = client.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: &frame });
        // The event borrows from the input alone: the session takes commands while it is held.
        let Ok(Some(ClientEvent::Data { samples })) = event else { panic!("{event:?}") };
        client.handle_command(now, ClientCommand::Say { samples }).unwrap();
        client.advance(usize::MAX);
    });
    assert_eq!(allocations, 0, "client session");
}

/// Two sockets in a call, one packet at a time there and back: every one is a wake of the hub's tasks.
fn hub() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings_of_hub = HubSettings { frames: UNLIMITED, ..HubSettings::DEFAULT };
    let handle = Hub::spawn(vec![listener], Server::new(settings(), 1), (), settings_of_hub).unwrap();
    let order = ByteOrder::BigEndian;
    let parameters = Parameters::DEFAULT;
    let connect = |name: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let register = Packet::Handshake(Handshake { parameters, user_name: b"", optional: name });
        stream.write_all(&encoded(&register, order)).unwrap();
        stream.read_exact(&mut [0; 6]).unwrap();
        stream
    };
    let (mut alice, mut bob) = (connect(b"alice"), connect(b"bob"));
    let call = Packet::Handshake(Handshake { parameters, user_name: b"bob", optional: b"" });
    alice.write_all(&encoded(&call, order)).unwrap();
    bob.read_exact(&mut [0; 24]).unwrap();
    bob.write_all(&encoded(&Packet::Accept { optional: b"" }, order)).unwrap();
    alice.read_exact(&mut [0; 6]).unwrap();

    let frame = encoded(&Packet::Data(&[7; 1920]), order);
    let mut back = vec![0; frame.len()];
    let allocations = count(PACKETS, |_| {
        alice.write_all(&frame).unwrap();
        bob.read_exact(&mut back).unwrap();
        bob.write_all(&back).unwrap();
        alice.read_exact(&mut back).unwrap();
        assert!(back == frame);
    });
    assert_eq!(allocations, 0, "hub");
    assert_eq!(handle.call(|server, _| server.stats().packets), 4 * PACKETS);
    drop(guard);
}
