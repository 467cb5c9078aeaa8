//! A client of msgpack, in words.

use core::net::SocketAddr;
use core::time::Duration;
use voxwire_core::Session;
use voxwire_msgpack::{Client, ClientCommand, ClientSettings, Dialect};
use voxwire_transport::{Connection, ConnectionSettings};

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A client of ours, with what it hears.
pub struct User(pub Connection<Client>);

impl User {
    pub async fn connect(address: SocketAddr, dialect: Dialect) -> Self {
        let client = Client::new(ClientSettings { dialect, reconnect: None, ..ClientSettings::DEFAULT });
        let connection =
            Connection::connect(&address.to_string(), client, ConnectionSettings::DEFAULT).await.unwrap();
        let mut user = Self(connection);
        assert_eq!(user.hear().await, "Connected");
        user
    }

    pub async fn hear(&mut self) -> String {
        self.hear_or_end().await.expect("a connection")
    }

    /// The next event; `None` once the connection is over.
    pub async fn hear_or_end(&mut self) -> Option<String> {
        let next = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                if let Some(event) = self.0.next().await?.result.unwrap() {
                    return Some(format!("{event:?}"));
                }
            }
        });
        next.await.expect("an event in time").filter(|event| !event.starts_with("Disconnected"))
    }

    pub fn send(&mut self, request: ClientCommand<'_>) {
        self.0.call(|client, now| client.handle_command(now, request)).unwrap();
    }

    pub async fn ask(&mut self, request: ClientCommand<'_>) -> String {
        self.send(request);
        self.hear().await
    }

    /// Registers, which may have happened before, and logs in.
    pub async fn log_in(&mut self, name: &str) {
        let (username, password) = (name.into(), "geheim".into());
        self.ask(ClientCommand::Register { username, password }).await;
        let answer = self.ask(ClientCommand::Login { username, password }).await;
        assert!(answer.starts_with("LoggedIn"), "{answer}");
    }
}
