//! A client and a server without a runtime: one receives what the other sends.
//!
//!     cargo run -p voxwire-syfala --example session

use std::error::Error;
use voxwire_core::{Input, Instant, Lane, Output, PeerId, Session, Via};
use voxwire_syfala::{
    Client, ClientCommand, ClientEvent, ClientSettings, Format, Network, Server, ServerCommand,
    ServerSettings,
};

const NOW: Instant = Instant::ZERO;
/// The connection, on either side.
const PEER: PeerId = PeerId { slot: 0, generation: 0 };

fn main() -> Result<(), Box<dyn Error>> {
    let networks: [Network; 1] = ["192.168.1.0/24".parse()?];
    let mut client = Client::new(ClientSettings::DEFAULT);
    let mut server = Server::new(&[], &[Format::STANDARD], ServerSettings::DEFAULT, 1)?;
    server.handle_command(NOW, ServerCommand::Serve { networks: &networks })?;
    client.handle_command(NOW, ClientCommand::Seek { networks: &networks })?;
    client.handle_command(NOW, ClientCommand::Discover)?;
    client.handle_timeout(NOW);

    let client_at = Some("192.168.1.7:40000".parse()?);
    server.handle_input(NOW, Input::Opened { peer: PEER, via: Via::Accepted, from: client_at })?;
    for bytes in sent(&mut client) {
        server.handle_input(NOW, Input::Frame { peer: PEER, lane: Lane::Droppable, bytes: &bytes })?;
    }
    let server_at = Some("192.168.1.9:6911".parse()?);
    client.handle_input(NOW, Input::Opened { peer: PEER, via: Via::Accepted, from: server_at })?;
    for bytes in sent(&mut server) {
        let event =
            client.handle_input(NOW, Input::Frame { peer: PEER, lane: Lane::Droppable, bytes: &bytes })?;
        println!("client: {event:?}");
        if let Some(ClientEvent::Found { server, .. }) = event {
            client.handle_command(NOW, ClientCommand::Accept { server })?;
        }
    }
    for bytes in sent(&mut client) {
        server.handle_input(NOW, Input::Frame { peer: PEER, lane: Lane::Droppable, bytes: &bytes })?;
    }
    assert!(client.state(PEER).is_some() && server.state(PEER).is_some(), "connected");
    Ok(())
}

/// The datagrams that a session wants sent, to the other side or to all.
fn sent<S: Session>(session: &mut S) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut done = 0;
    for output in session.outputs() {
        done += 1;
        if let Output::Send { frame, .. } | Output::Broadcast { frame } = output {
            frames.push(frame.to_vec());
        }
    }
    session.advance(done);
    frames
}
