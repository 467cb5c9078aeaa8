//! A server that says hello as it should, and then anything.
#![allow(unreachable_pub)]

use crate::mono;
use crate::players::CSharp;
use core::time::Duration;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use voxwire_core::testing::{Rng, unhex};
use voxwire_core::{List, Message};
use voxwire_dissonance::{ClientId, HandshakeResponse, Packet, Profile, Recipient, TextData, Wire};

const TAG: [u8; 7] = [1, 2, 3, 4, 5, 6, 7];
const COOKIE: [u8; 16] = [0x11; 16];
const NONCE: [u8; 8] = [0x81; 8];
const KEY: [u8; 16] = [0x33; 16];
/// Of the other client on the path.
const EPOCH: [u8; 4] = [9; 4];

pub struct Server {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Server {
    pub fn bind() -> Self {
        Self {
            tcp: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            udp: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.tcp.local_addr().unwrap()
    }

    /// Says hello, binds, becomes a direct path, and sends what no server and no other client sends.
    pub fn misbehave(&self, ann: &CSharp) {
        let (mut stream, client) = self.greet();
        ann.lines.until("news UdpUp");
        let mut rng = Rng::new(19);
        let path = self.path(&mut stream, client);
        ann.lines.until("news PathUp");
        for n in 0..3000_u32 {
            let mut bytes = vec![0; rng.below(2000) as usize];
            rng.fill(&mut bytes);
            // Most have what lets them in: a kind that there is, and the tag of the server or of the path.
            if let Some(head) = bytes.get_mut(..8) {
                head[0] = (n % 12) as u8;
                if n % 3 == 0 {
                    head[1..].copy_from_slice(&TAG);
                } else {
                    head[1..].copy_from_slice(&KEY[..7]);
                }
            }
            let from = if n % 3 == 0 { &self.udp } else { &path };
            from.send_to(&bytes, client).unwrap();
            if n % 50 == 0 {
                thread::park_timeout(Duration::from_millis(2));
            }
        }
        // Controls of all kinds and of all lengths that are too short or too long.
        for control in 0..8 {
            for len in 0..40 {
                stream.write_all(&unit(2, &[&[control][..], &vec![0x44; len]].concat())).unwrap();
            }
        }
        stream.write_all(&unit(2, &[])).unwrap();
        // It is still there.
        let (sender, recipient) = (ClientId::new(0), Recipient::Player(ClientId::new(0)));
        let text = TextData { session: 0, sender, recipient, text: "still there".into() };
        stream.write_all(&unit(0, &encode(&Packet::TextData(text)))).unwrap();
        ann.lines.until("still there");
        // The next unit is longer than packets are.
        stream.write_all(&unit(1, &[0; 2000])).unwrap();
        ann.lines.until("Disconnected: the server sent a unit of 2001 bytes, 1025 at most are possible");
    }

    /// Has it introduce itself on a direct path, and loses what it says there.
    pub fn lose_reliable(&self, ann: &CSharp) {
        let (mut stream, client) = self.greet();
        let path = self.path(&mut stream, client);
        path.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        ann.lines.until("news PathUp");
        let (clients, rooms, channels) = (List::from(&[][..]), List::from(&[][..]), List::from(&[][..]));
        let response = HandshakeResponse { session: 7, client: ClientId::new(3), clients, rooms, channels };
        stream.write_all(&unit(0, &encode(&Packet::HandshakeResponse(response)))).unwrap();
        let introduction =
            |client| encode(&Packet::HandshakeP2P { session: 7, client: ClientId::new(client) });
        // It is repeated, the same each time, also behind an ack of another number.
        let first = next(&path, client);
        let epoch = &first[8..12];
        assert_eq!(first, [&reliable(epoch, 0)[..], &introduction(3)].concat());
        assert_eq!(next(&path, client), first);
        path.send_to(&ack(epoch, 1), client).unwrap();
        assert_eq!(next(&path, client), first);
        path.send_to(&ack(epoch, 0), client).unwrap();
        // What it is sent twice it takes once, and acknowledges twice. It answers with the next number.
        let sent = [&reliable(&EPOCH, 0)[..], &introduction(5)].concat();
        path.send_to(&sent, client).unwrap();
        path.send_to(&sent, client).unwrap();
        let mut received = [next(&path, client), next(&path, client), next(&path, client)];
        received.sort();
        let answer = [&reliable(epoch, 1)[..], &introduction(3)].concat();
        assert_eq!(received, [answer.clone(), ack(&EPOCH, 0), ack(&EPOCH, 0)]);
        path.send_to(&ack(epoch, 1), client).unwrap();
        // Of another epoch it takes nothing, and not what comes too early.
        for (epoch, number) in [([8; 4], 1), (EPOCH, 2), (EPOCH, 1)] {
            path.send_to(&[&reliable(&epoch, number)[..], &introduction(5)].concat(), client).unwrap();
        }
        let next = next(&path, client);
        assert!(next == ack(&EPOCH, 1) || next == answer, "{next:?}");
        let (_, before) = ann.lines.until("voice for client 5 goes directly");
        assert!(!before.iter().any(|line| line.contains("goes directly")), "{before:?}");
        assert!(ann.lines.within(Duration::from_millis(300)).is_empty());
    }

    /// The dialogue of `PROTOCOL.md`, each message to the byte.
    fn greet(&self) -> (TcpStream, SocketAddr) {
        let (mut stream, _) = self.tcp.accept().unwrap();
        let mut hello = [0; 8];
        stream.read_exact(&mut hello).unwrap();
        assert_eq!(hello[..], unhex("564f584c01030000"));
        let port = self.udp.local_addr().unwrap().port().to_be_bytes();
        stream.write_all(&[&b"VOXL\x01\x00"[..], &port, &TAG, &COOKIE, &[0]].concat()).unwrap();
        let (bind, client) = self.receive();
        assert_eq!(bind, [&[1][..], &TAG, &COOKIE].concat());
        self.udp.send_to(&[&[2][..], &TAG, &NONCE].concat(), client).unwrap();
        // What the client of the session says comes before it, or behind it.
        let confirm = unit(2, &[&[1][..], &NONCE].concat());
        let mut received = Vec::new();
        while !received.windows(confirm.len()).any(|window| window == confirm) {
            let mut buffer = [0; 1024];
            let len = stream.read(&mut buffer).unwrap();
            assert!(len > 0, "{received:?}");
            received.extend_from_slice(&buffer[..len]);
        }
        stream.write_all(&unit(2, &[3])).unwrap();
        let ping = loop {
            let (datagram, _) = self.receive();
            if datagram[0] == 4 {
                break datagram;
            }
        };
        assert!(ping.len() == 16 && ping[1..8] == TAG, "{ping:?}");
        // From now on every PING has its PONG, or UDP would seem blocked.
        let udp = self.udp.try_clone().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((len, from)) = udp.recv_from(&mut buffer) {
                if buffer[0] == 4 {
                    buffer[0] = 5;
                    let _ = udp.send_to(&buffer[..len], from);
                }
            }
        });
        (stream, client)
    }

    /// Is another client for it, whose path comes up.
    fn path(&self, stream: &mut TcpStream, client: SocketAddr) -> UdpSocket {
        let path = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = path.local_addr().unwrap().port().to_be_bytes();
        stream.write_all(&unit(2, &[&[4][..], &KEY, &port, &[127, 0, 0, 1]].concat())).unwrap();
        let mut probe = [0; 64];
        let (len, from) = path.recv_from(&mut probe).unwrap();
        assert_eq!((len, from), (25, client));
        assert_eq!(probe[..17], [&[6][..], &KEY].concat());
        let ack = [&[7][..], &KEY, &probe[17..21], &EPOCH].concat();
        path.send_to(&ack, client).unwrap();
        path
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let (len, from) = self.udp.recv_from(&mut buffer).unwrap();
        (buffer[..len].to_vec(), from)
    }
}

fn unit(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len() + 1).unwrap();
    [&len.to_be_bytes()[..], &[kind], body].concat()
}

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&Wire::new(Profile::Later), &mut bytes).unwrap();
    bytes
}

/// The next datagram on the path that is no probe. Probes are acknowledged, so that the path stays up.
#[track_caller]
fn next(path: &UdpSocket, client: SocketAddr) -> Vec<u8> {
    let mut buffer = [0; 2048];
    loop {
        let len = path.recv(&mut buffer).unwrap();
        if buffer[0] != 6 {
            return buffer[..len].to_vec();
        }
        path.send_to(&[&[7][..], &KEY, &buffer[17..21], &EPOCH].concat(), client).unwrap();
    }
}

/// What a RELIABLE begins with.
fn reliable(epoch: &[u8], number: u8) -> Vec<u8> {
    [&[9][..], &KEY[..7], epoch, &[0, number]].concat()
}

fn ack(epoch: &[u8], number: u8) -> Vec<u8> {
    [&[10][..], &KEY[..7], epoch, &[0, number]].concat()
}

/// D-19, D-16: nothing that a server or another player sends ends the game: what is malformed is ignored, or ends the connection with
/// words.
#[test]
fn d_19_a_hostile_server_ends_its_connection_at_most() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::bind();
    let ann = CSharp::start(tests, "ann", server.address(), &["direct"]);
    server.misbehave(&ann);
    ann.quit();
}

/// D-19, D-08: what is reliable on a direct path is repeated until its ack comes in, and taken once.
#[test]
fn d_19_what_is_reliable_on_a_direct_path_is_repeated_and_taken_once() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::bind();
    let ann = CSharp::start(tests, "ann", server.address(), &["direct"]);
    server.lose_reliable(&ann);
    ann.quit();
}
