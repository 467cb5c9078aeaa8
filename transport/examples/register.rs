//! A server and a client on loopback, over TCP: the client registers a name, and both end.
//!
//!     cargo run -p voxwire-transport --example register

use std::error::Error;
use std::time::Duration;
use voxwire_core::{Handler, Instant, Session};
use voxwire_transport::{Connection, ConnectionSettings, Hub, HubSettings, Listener};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, Parameters, Server, ServerEvent,
    ServerSettings,
};

/// The application of the server: it shows what happens.
struct Show;

impl Handler<Server> for Show {
    fn on_event(&mut self, _: &mut Server, _: Instant, event: ServerEvent<'_>) {
        println!("server: {event:?}");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = Listener::bind("127.0.0.1:0".parse()?)?;
    let server = listener.local_addr()?.to_string();
    let session = Server::new(ServerSettings::DEFAULT, 1);
    let hub = Hub::spawn(vec![listener], session, Show, HubSettings::DEFAULT)?;

    let client = Client::new(ClientSettings::DEFAULT);
    let mut connection = Connection::connect(server, client, ConnectionSettings::DEFAULT).await?;
    let mut registered = false;
    while let Some(turn) = connection.next().await {
        let Some(event) = turn.result? else { continue };
        println!("client: {event:?}");
        match event {
            ClientEvent::Connected => {
                let (preferred, samples) = (Parameters::DEFAULT, ByteOrder::BigEndian);
                let register = ClientCommand::Register { name: "alice", secret: None, preferred, samples };
                turn.session.handle_command(turn.now, register)?;
            }
            ClientEvent::Registered => {
                registered = true;
                connection.shutdown();
            }
            _ => {}
        }
    }
    hub.drain(Duration::from_secs(10)).await;
    assert!(registered);
    Ok(())
}
