//! Connections of sessions' own making: clients that call each other straight, and a hub that carries calls.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use voxwire_core::Session as _;
use voxwire_opcode::{
    CallId, Client, ClientCommand, ClientEvent, ClientSettings, RelayAddress, Server, ServerSettings,
};
use voxwire_transport::{Connection, ConnectionSettings, Handle, Hub, HubSettings, Listener};

/// What a test has a client do.
enum Do {
    Call(&'static str),
    Say(Vec<u8>),
    HangUp(u32),
    /// Goes without a word, as a crash does.
    Die,
}

/// A client in a task of its own, which takes every call.
struct Person {
    does: UnboundedSender<Do>,
    events: UnboundedReceiver<String>,
}

impl Person {
    async fn join(server: &str, name: &str, settings: ClientSettings) -> Self {
        let mut client = Client::new(settings);
        client.handle_command(voxwire_core::Instant::ZERO, ClientCommand::Login { name }).unwrap();
        let (does, mut todo) = unbounded_channel();
        let (tell, events) = unbounded_channel();
        let mut connection = Connection::connect(server, client, ConnectionSettings::DEFAULT).await.unwrap();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    turn = connection.next() => {
                        let Some(turn) = turn else { return };
                        let Ok(Some(event)) = turn.result else { continue };
                        if let ClientEvent::Incoming { call, .. } = event {
                            turn.session.handle_command(turn.now, ClientCommand::Accept { call }).unwrap();
                        }
                        let text = match event {
                            ClientEvent::Voice { packet, .. } => String::from_utf8_lossy(packet).into_owned(),
                            event => format!("{event:?}"),
                        };
                        let _ = tell.send(text);
                    }
                    todo = todo.recv() => {
                        let Some(todo) = todo else { return };
                        let command = match &todo {
                            Do::Call(contact) => ClientCommand::Call { contact: contact.as_bytes() },
                            Do::Say(packet) => ClientCommand::Say { call: None, packet },
                            Do::HangUp(call) => ClientCommand::HangUp { call: CallId::new(*call) },
                            Do::Die => return,
                        };
                        connection.call(|client, now| client.handle_command(now, command)).unwrap();
                    }
                }
            }
        });
        let mut person = Self { does, events };
        person.until("LoggedIn").await;
        person
    }

    fn does(&self, what: Do) {
        self.does.send(what).unwrap();
    }

    /// Waits for an event that says so.
    async fn until(&mut self, wanted: &str) -> String {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the client goes on");
                if event.contains(wanted) {
                    return event;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(15), found).await.unwrap_or_else(|_| panic!("no {wanted}"))
    }
}

fn serve(settings: ServerSettings) -> (String, Handle<Server>) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (address, Hub::spawn(vec![listener], Server::new(settings, 1), (), HubSettings::DEFAULT).unwrap())
}

fn relayed() -> ServerSettings {
    let v4 = Some([127, 0, 0, 1].into());
    ServerSettings { relay: Some(RelayAddress { v4, v6: None }), ..ServerSettings::DEFAULT }
}

/// Hundred words each way.
async fn talk(one: &mut Person, other: &mut Person) {
    for n in 0..100 {
        one.does(Do::Say(format!("one {n};").into()));
        other.does(Do::Say(format!("other {n};").into()));
    }
    for n in 0..100 {
        assert_eq!(other.until("one").await, format!("one {n};"));
        assert_eq!(one.until("other").await, format!("other {n};"));
    }
}

#[tokio::test]
async fn o_08_clients_call_each_other_straight_and_by_the_server() {
    for (settings, listen) in [(ServerSettings::DEFAULT, true), (relayed(), true), (relayed(), false)] {
        let (address, hub) = serve(settings);
        let mut alice =
            Person::join(&address, "alice", ClientSettings { listen, ..ClientSettings::DEFAULT }).await;
        let mut bob = Person::join(&address, "bob", ClientSettings::DEFAULT).await;
        alice.does(Do::Call("bob"));
        alice.until("Established(1)").await;
        bob.until("Established(1)").await;
        talk(&mut alice, &mut bob).await;
        let carried = hub.call(|server, _| server.stats().packets);
        assert_eq!(carried > 0, settings.relay.is_some());
        alice.does(Do::HangUp(1));
        assert_eq!(bob.until("Ended").await, r#"Ended(1, "alice", hung up)"#);
        // Once more, and this time one of the two dies in the middle.
        bob.does(Do::Call("alice"));
        bob.until("Established(2)").await;
        alice.until("Established(2)").await;
        talk(&mut alice, &mut bob).await;
        alice.does(Do::Die);
        // By two connections, in either order.
        let mut news = [bob.until("alice").await, bob.until("alice").await];
        news.sort();
        assert_eq!(news, [r#"Ended(2, "alice", hung up)"#, r#"Removed(["alice"])"#]);
        bob.does(Do::Die);
        let quiet = async {
            while hub.stats().connections > 0 || hub.call(|server, _| server.relays()) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), quiet).await.unwrap();
        assert_eq!(hub.drain(Duration::from_secs(1)).await.cut_off, 0);
    }
}

#[tokio::test]
async fn o_08_three_in_a_call_outlive_their_server() {
    let (address, hub) = serve(ServerSettings::DEFAULT);
    let mut alice = Person::join(&address, "alice", ClientSettings::DEFAULT).await;
    let mut bob = Person::join(&address, "bob", ClientSettings::DEFAULT).await;
    let mut carol = Person::join(&address, "carol", ClientSettings::DEFAULT).await;
    alice.does(Do::Call("bob"));
    alice.does(Do::Call("carol"));
    for person in [&mut bob, &mut carol] {
        person.until("Established").await;
    }
    alice.until("Established").await;
    alice.until("Established").await;
    hub.drain(Duration::from_secs(1)).await;
    for person in [&mut alice, &mut bob, &mut carol] {
        person.until("Disconnected").await;
    }
    alice.does(Do::Say(b"both of you".to_vec()));
    bob.until("both of you").await;
    carol.until("both of you").await;
    talk(&mut alice, &mut bob).await;
}

#[tokio::test]
async fn a_hub_listens_on_the_ports_it_may_and_on_no_others() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Two ports next to each other that are free.
    let free = |first: u16| {
        let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port));
        bind(first).is_ok() && bind(first + 1).is_ok()
    };
    let first = (41_000..60_000).step_by(2).find(|port| free(*port)).unwrap();
    let settings = HubSettings { ports: Some((first, first + 1)), ..HubSettings::DEFAULT };
    Hub::spawn(vec![listener], Server::new(relayed(), 1), (), settings).unwrap();
    let mut alice = Person::join(&address, "alice", ClientSettings::DEFAULT).await;
    let mut others = Vec::new();
    for name in ["bob", "carol", "dave"] {
        others.push(
            Person::join(&address, name, ClientSettings { busy: false, ..ClientSettings::DEFAULT }).await,
        );
        alice.does(Do::Call(name));
        alice.until("Established").await;
    }
    // A port is free again as soon as the callee is there. While two wait for a callee, a third cannot.
    let mut mallory = std::net::TcpStream::connect(&address).unwrap();
    std::io::Write::write_all(&mut mallory, &login("mallory")).unwrap();
    alice.until("mallory").await;
    for n in 0..2 {
        let mut other = std::net::TcpStream::connect(&address).unwrap();
        let name = format!("silent {n}");
        std::io::Write::write_all(&mut other, &login(&name)).unwrap();
        alice.until(&name).await;
        alice.does(Do::Call(["silent 0", "silent 1"][n]));
        std::mem::forget(other);
    }
    alice.does(Do::Call("mallory"));
    let rejected = alice.until("Rejected").await;
    assert!(rejected.contains("cannot carry more calls"), "{rejected}");
}

fn login(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packet = voxwire_opcode::Packet::Login { name: name.into() };
    voxwire_core::Message::encode(&packet, &voxwire_opcode::Wire::CLIENT, &mut bytes).unwrap();
    bytes
}
