//! syfala's connections whose IO is active.

use voxwire_core::{Input, Instant, Lane, Message, PeerId, Session, Via};
use voxwire_syfala::{
    Client, ClientCommand, ClientMessage, ClientSettings, Format, Formats, IoResult, Network, Server,
    ServerCommand, ServerMessage, ServerSettings, Wire,
};

pub const PEER: PeerId = PeerId { slot: 0, generation: 0 };

fn opened() -> Input<'static> {
    Input::Opened { peer: PEER, via: Via::Accepted, from: Some(([127, 0, 0, 1], 6911).into()) }
}

/// A message's bytes.
///
/// # Panics
/// It cannot be encoded.
pub fn encoded<'m>(message: &impl Message<'m, Wire = Wire>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&Wire::DEFAULT, &mut bytes).unwrap();
    bytes
}

fn hear(session: &mut impl Session, bytes: &[u8]) {
    let input = Input::Frame { peer: PEER, lane: Lane::Droppable, bytes };
    assert!(session.handle_input(Instant::ZERO, input).is_ok());
    session.advance(usize::MAX);
}

/// A server for every client on this machine.
///
/// # Panics
/// Never with few streams.
pub fn device(formats: &[Format]) -> Server {
    let mut server = Server::new(formats, formats, ServerSettings::DEFAULT, 1).unwrap();
    server.handle_command(Instant::ZERO, ServerCommand::Serve { networks: &Network::LOOPBACK }).unwrap();
    server
}

/// A server with a client.
pub fn server(formats: &[Format]) -> Server {
    let mut server = device(formats);
    assert!(server.handle_input(Instant::ZERO, opened()).is_ok());
    for message in [ClientMessage::Discovery, ClientMessage::ConnectionSuccess, ClientMessage::StartIo] {
        hear(&mut server, &encoded(&message));
    }
    let started = ServerCommand::StartIoResult { client: PEER, result: IoResult::Success };
    server.handle_command(Instant::ZERO, started).unwrap();
    server.advance(usize::MAX);
    server
}

/// A client with a server.
pub fn client(formats: &[Format]) -> Client {
    let mut client = Client::new(ClientSettings::DEFAULT);
    assert!(client.handle_input(Instant::ZERO, opened()).is_ok());
    hear(
        &mut client,
        &encoded(&ServerMessage::Connect(Formats { inputs: formats.into(), outputs: formats.into() })),
    );
    for command in [ClientCommand::Accept { server: PEER }, ClientCommand::StartIo { server: PEER }] {
        client.handle_command(Instant::ZERO, command).unwrap();
    }
    hear(&mut client, &encoded(&ServerMessage::StartIoSuccess));
    client
}
