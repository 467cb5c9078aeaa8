//! msgpack's group calls.

use voxwire_core::{Input, Instant, Lane, Message, PeerId, Session, Via};
use voxwire_msgpack::{
    Client, ClientCommand, ClientMessage, ClientSettings, Code, LIMITS, Samples, Secret, Server,
    ServerCommand, ServerEvent, ServerMessage, ServerSettings, Text, Wire,
};

use crate::UNLIMITED;

/// How loud speech is, from breath to shouting, and a mixture: the forms in which samples are written differ.
pub const AMPLITUDES: [(&str, i16, bool); 5] = [
    ("silent", 30, false),
    ("quiet", 120, false),
    ("mixed", 400, true),
    ("normal", 3000, false),
    ("loud", 32_000, false),
];

/// 64 different blocks of `len` samples: a wave with noise on it, up to `peak`; mixed ones change their level within a block.
pub fn blocks(len: usize, peak: i16, mixed: bool) -> Vec<Vec<i16>> {
    let mut rng = voxwire_core::testing::Rng::new(u64::from(peak.unsigned_abs()) + len as u64);
    (0..64)
        .map(|_| {
            let mut level = f64::from(peak);
            let phase = rng.below(1000) as f64;
            (0..len)
                .map(|n| {
                    // Every sample may be of another width.
                    if mixed {
                        level = [20.0, 200.0, f64::from(peak) * 10.0][rng.below(3) as usize];
                    }
                    let wave = ((n as f64 + phase) * 0.05).sin() * 0.7;
                    let noise = (rng.below(2000) as f64 / 1000.0 - 1.0) * 0.3;
                    ((wave + noise) * level) as i16
                })
                .collect()
        })
        .collect()
}

/// A message's bytes.
///
/// # Panics
/// It cannot be encoded.
pub fn encoded<'m, M: Message<'m, Wire = Wire>>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&Wire::CLIENT, &mut bytes).unwrap();
    bytes
}

/// A `call_data` as a client sends it.
pub fn call_data<'a>(name: &'a str, token: &'a str, samples: &'a [i16]) -> ClientMessage<'a> {
    ClientMessage::CallData {
        username: name.into(),
        token: token.into(),
        group_name: "room".into(),
        samples: Samples::from(samples),
    }
}

/// The name and the token of the user at `slot`.
pub fn user(slot: u32) -> (String, String) {
    (format!("user{slot}"), format!("00000000-0000-4000-8000-{slot:012}"))
}

const fn peer(slot: u32) -> PeerId {
    PeerId { slot, generation: 0 }
}

/// Not for use: the real one is a hash.
fn digest(token: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.iter_mut().zip(token.iter().rev()).for_each(|(to, from)| *to = *from);
    digest
}

/// A server with a group of `users`, all of them in its call.
///
/// # Panics
/// They cannot get there.
pub fn room(users: u32) -> (Server, Vec<PeerId>) {
    let limits = voxwire_core::Limits { max_outbox: 1 << 30, ..LIMITS };
    let settings =
        ServerSettings { limits, requests: UNLIMITED, voice: UNLIMITED, ..ServerSettings::DEFAULT };
    let mut server = Server::new(settings, 1, digest);
    let now = Instant::ZERO;
    let (group_name, owner) = (Text::from("room"), Text::from("owner"));
    server.handle_command(now, ServerCommand::Group { group_name, owner }).unwrap();
    for slot in 0..users {
        let (name, token) = user(slot);
        let (username, token) = (Text::from(name.as_str()), Secret::from(token.as_str()));
        server.handle_command(now, ServerCommand::Member { group_name, username }).unwrap();
        // One address does not log in so many at once.
        let from = Some(([10, 0, 0, slot as u8], 1).into());
        server.handle_input(now, Input::Opened { peer: peer(slot), via: Via::Accepted, from }).unwrap();
        let login = ClientMessage::Login { username, password: "x".into() };
        let Ok(Some(ServerEvent::LoggingIn { ticket, .. })) = server.receive(now, peer(slot), login) else {
            panic!("a user logs in")
        };
        server.handle_command(now, ServerCommand::Admit { ticket, token }).unwrap();
        server.receive(now, peer(slot), ClientMessage::JoinCall { username, token, group_name }).unwrap();
        server.advance(usize::MAX);
    }
    assert_eq!(server.in_calls(), users as usize);
    (server, (0..users).map(peer).collect())
}

/// A client in a call, and its server.
///
/// # Panics
/// It cannot get there.
pub fn caller() -> (Client, PeerId) {
    let mut client = Client::new(ClientSettings::DEFAULT);
    let (now, server) = (Instant::ZERO, peer(0));
    client.handle_input(now, Input::Opened { peer: server, via: Via::Accepted, from: None }).unwrap();
    client
        .handle_command(now, ClientCommand::Login { username: "ann".into(), password: "x".into() })
        .unwrap();
    let (_, token) = user(0);
    let answer = ServerMessage::LoggedIn { username: "ann".into(), token: token.as_str().into() };
    client.receive(now, server, answer).unwrap();
    client.handle_command(now, ClientCommand::JoinCall { group_name: "room".into() }).unwrap();
    client.receive(now, server, ServerMessage::CallJoined { group_name: "room".into() }).unwrap();
    client.advance(usize::MAX);
    assert!(client.call().is_some() && Code::SUCCESS.is_success());
    (client, server)
}

/// One message in, and on to all others.
pub fn relay(server: &mut Server, peer: PeerId, bytes: &[u8]) -> usize {
    let input = Input::Frame { peer, lane: Lane::Reliable, bytes };
    assert!(server.handle_input(Instant::ZERO, input).is_ok());
    let done = server.outputs().map(core::hint::black_box).count();
    server.advance(done);
    done
}
