//! A client and a server without a runtime: one receives what the other sends.
//! The server asks its application about each log-in.
//!
//!     cargo run -p voxwire-msgpack --example session

use std::error::Error;
use voxwire_core::{DialId, Input, Instant, Lane, Output, PeerId, Session, Via};
use voxwire_msgpack::{
    Client, ClientCommand, ClientSettings, Server, ServerCommand, ServerEvent, ServerSettings,
};

const NOW: Instant = Instant::ZERO;
/// The connection, on either side.
const PEER: PeerId = PeerId { slot: 0, generation: 0 };

fn main() -> Result<(), Box<dyn Error>> {
    let mut client = Client::new(ClientSettings::DEFAULT);
    let mut server = Server::new(ServerSettings::DEFAULT, 1, digest);
    server.handle_input(NOW, Input::Opened { peer: PEER, via: Via::Accepted, from: None })?;
    client.handle_input(NOW, Input::Opened { peer: PEER, via: Via::Dialled(DialId::FIRST), from: None })?;
    client.handle_command(NOW, ClientCommand::Login { username: "ann".into(), password: "secret".into() })?;
    for (lane, bytes) in sent(&mut client) {
        let event = server.handle_input(NOW, Input::Frame { peer: PEER, lane, bytes: &bytes })?;
        println!("server: {event:?}");
        if let Some(ServerEvent::LoggingIn { ticket, .. }) = event {
            let token = "00000000-0000-4000-8000-000000000000".into();
            server.handle_command(NOW, ServerCommand::Admit { ticket, token })?;
        }
    }
    for (lane, bytes) in sent(&mut server) {
        let event = client.handle_input(NOW, Input::Frame { peer: PEER, lane, bytes: &bytes })?;
        println!("client: {event:?}");
    }
    assert_eq!(client.name(), Some(&b"ann"[..]));
    Ok(())
}

/// What the server keeps of a token. A program takes a cryptographic hash: `voxwire-server` has BLAKE2s-256.
fn digest(token: &[u8]) -> [u8; 32] {
    core::array::from_fn(|at| token.get(at).copied().unwrap_or_default())
}

/// The frames that a session wants sent.
fn sent<S: Session>(session: &mut S) -> Vec<(Lane, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut done = 0;
    for output in session.outputs() {
        done += 1;
        if let Output::Send { lane, frame, .. } = output {
            frames.push((lane, frame.to_vec()));
        }
    }
    session.advance(done);
    frames
}
