//! Peers that are made by hand, byte by byte.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use voxwire_core::{List, Message};
use voxwire_dissonance::{ClientId, ClientInfo, ClientState, CodecSettings, Packet};

pub fn metrics(http: SocketAddr) -> BTreeMap<String, String> {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    // Which bucket an observation is in is chance.
    let lines = text.lines().filter(|line| line.starts_with("voxwire_") && !line.contains("_bucket{"));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// The name of a number of `/metrics`, as `metrics` has it: `name`, or `name{label="value"}`.
pub fn sample(protocol: &str, name: &str) -> String {
    match name.split_once('{') {
        Some((name, labels)) => format!("voxwire_{name}{{protocol=\"{protocol}\",{labels}"),
        None => format!("voxwire_{name}{{protocol=\"{protocol}\"}}"),
    }
}

pub fn pause(millis: u64) {
    let end = std::time::Instant::now() + Duration::from_millis(millis);
    while let Some(rest) = end.checked_duration_since(std::time::Instant::now()) {
        std::thread::park_timeout(rest);
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// A connection from an address of loopback.
pub fn connect_from(from: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// A connection that takes next to nothing before it is read.
pub fn reluctant(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// A packet of voicelink, in network order.
pub fn packet(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 6).unwrap();
    [&length.to_be_bytes()[..], &kind.to_be_bytes(), body].concat()
}

pub fn handshake(name: &str) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap();
    packet(
        0,
        &[&[0, 0, 0xbb, 0x80, 0, 1, 2, 0, 0, 3, 0xc0][..], &length.to_be_bytes(), name.as_bytes()].concat(),
    )
}

/// The next packet's type.
pub fn next_packet(stream: &mut TcpStream) -> u16 {
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; u32::from_be_bytes(head[..4].try_into().unwrap()) as usize - 6];
    stream.read_exact(&mut body).unwrap();
    u16::from_be_bytes([head[4], head[5]])
}

/// A packet of opcode: strings and a port behind each other.
pub fn opcode_packet(number: u16, strings: &[&[u8]], port: Option<u16>) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    for string in strings {
        body.extend((string.len() as u64).to_le_bytes());
        body.extend(*string);
    }
    body.extend(port.into_iter().flat_map(u16::to_le_bytes));
    [&(body.len() as u64).to_le_bytes()[..], &body].concat()
}

pub fn next_opcode(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 8];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u64::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    body
}

pub fn unit(packet: &Packet<'_>) -> Vec<u8> {
    let bytes = encode(packet);
    let length = u16::try_from(bytes.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[0], &bytes].concat()
}

pub fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&voxwire_dissonance::Wire::default(), &mut bytes).unwrap();
    bytes
}

/// A client of Dissonance by TCP alone: its connection, the session, its number.
pub fn join(address: SocketAddr, name: &[u8; 3]) -> (TcpStream, u32, ClientId) {
    let mut stream = connect(address);
    stream.write_all(b"VOXL\x01\x00\x00\x00").unwrap();
    stream.read_exact(&mut [0; 32]).unwrap();
    let request = [&b"\x8b\xc7\x04\x01\x00\x00\x03\xc0\x00\x00\xbb\x80\x00\x04"[..], name].concat();
    let length = u8::try_from(request.len() + 1).unwrap();
    stream.write_all(&[&[0, length, 0][..], &request].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    let Ok(Packet::HandshakeResponse(response)) =
        Packet::decode(&answer[1..], &voxwire_dissonance::Wire::default())
    else {
        panic!("{answer:02x?}");
    };
    let (session, id) = (response.session, response.client);
    let name = core::str::from_utf8(name).unwrap().into();
    let client = ClientInfo { name, id, codec: CodecSettings::DEFAULT };
    stream
        .write_all(&unit(&Packet::ClientState(ClientState { session, client, rooms: List::from(&[][..]) })))
        .unwrap();
    (stream, session, id)
}

/// Takes a name of voicelink: a handshake for nobody, with the name behind it.
pub fn registered(mut stream: TcpStream, name: &str) -> TcpStream {
    let body = [&[0, 0, 0xbb, 0x80, 0, 1, 2, 0, 0, 3, 0xc0, 0, 0][..], name.as_bytes()].concat();
    stream.write_all(&packet(0, &body)).unwrap();
    assert_eq!(next_packet(&mut stream), 4, "{name}");
    stream
}

/// A call of opcode that the server carries, from alice to bob: their log-ins, and their sides of the call.
pub struct CarriedCall {
    pub alice: TcpStream,
    pub bob: TcpStream,
    pub caller: TcpStream,
    pub callee: TcpStream,
}

impl CarriedCall {
    pub fn begin(address: SocketAddr) -> Self {
        let mut alice = log_in(connect(address), "alice");
        let mut bob = log_in(connect(address), "bob");
        next_opcode(&mut bob);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        alice.write_all(&opcode_packet(6, &[b"bob", b""], Some(port))).unwrap();
        let call = next_opcode(&mut bob);
        let port = u16::from_le_bytes([call[call.len() - 2], call[call.len() - 1]]);
        let mut callee = connect(([127, 0, 0, 1], port).into());
        let (mut caller, _) = listener.accept().unwrap();
        caller.write_all(&opcode_packet(11, &[], None)).unwrap();
        assert_eq!(next_opcode(&mut callee), [11, 0]);
        Self { alice, bob, caller, callee }
    }
}

/// Logs in with opcode.
pub fn log_in(mut stream: TcpStream, name: &str) -> TcpStream {
    assert_eq!(next_opcode(&mut stream), [1, 0]);
    stream.write_all(&opcode_packet(2, &[name.as_bytes()], None)).unwrap();
    assert_eq!(next_opcode(&mut stream), [3, 0], "{name}");
    stream
}

/// Sends a message of msgpack, without ZMTP.
pub fn say(stream: &mut TcpStream, message: &voxwire_msgpack::ClientMessage<'_>) {
    let mut bytes = Vec::new();
    message.encode(&voxwire_msgpack::Wire::SERVER, &mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
}

/// Makes an account of msgpack and logs in, without ZMTP; returns the token.
pub fn log_in_plain(stream: &mut TcpStream, name: &str) -> Vec<u8> {
    use voxwire_msgpack::{ClientMessage, ServerMessage, Wire};
    let (username, password) = (name.into(), b"geheim"[..].into());
    say(stream, &ClientMessage::Register { username, password });
    say(stream, &ClientMessage::Login { username, password });
    let mut answers = Vec::new();
    loop {
        let mut part = [0; 4096];
        let length = stream.read(&mut part).unwrap();
        assert_ne!(length, 0, "{name} is not let in: {answers:02x?}");
        answers.extend(&part[..length]);
        // The second of two messages.
        for start in 0..answers.len() {
            if let Ok(ServerMessage::LoggedIn { token, .. }) =
                ServerMessage::decode(&answers[start..], &Wire::CLIENT)
            {
                return token.0.to_vec();
            }
        }
    }
}

/// The next packet for a client of Dissonance.
pub fn next_unit(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 3];
    stream.read_exact(&mut head).unwrap();
    let mut packet = vec![0; usize::from(u16::from_be_bytes([head[0], head[1]])) - 1];
    stream.read_exact(&mut packet).unwrap();
    packet
}

/// The next of these kinds.
pub fn next_of(stream: &mut TcpStream, kinds: &[&str]) -> Vec<u8> {
    loop {
        let bytes = next_unit(stream);
        let name = Packet::decode(&bytes, &voxwire_dissonance::Wire::default()).unwrap().name();
        if kinds.contains(&name) {
            return bytes;
        }
    }
}
