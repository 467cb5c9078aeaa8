//! A server with a small application, and clients, on a simulated network.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use voxwire_core::testing::{LinkId, Log, Net, NodeId, Sim, Transport};
use voxwire_core::{Handler, Instant, Owned, PeerId, Session};
use voxwire_msgpack::{
    Client, ClientCommand, ClientSettings, Code, Secret, Server, ServerCommand, ServerEvent, ServerMessage,
    ServerSettings, Text, Ticket, Violation, Wire,
};

/// What keeps accounts, in memory. Answers at once, unless it is told to wait.
#[derive(Debug, Default)]
pub struct Office {
    pub accounts: BTreeMap<Vec<u8>, Vec<u8>>,
    pub contacts: BTreeSet<(Vec<u8>, Vec<u8>)>,
    pub kept: BTreeMap<Vec<u8>, Vec<Owned<ServerMessage<'static>>>>,
    /// Whose kept messages a connection has been sent, and how many that it is not known to have.
    pub delivered: BTreeMap<PeerId, (Vec<u8>, usize)>,
    /// How many are delivered at a time: all, unless it is told otherwise.
    pub part: Option<usize>,
    pub log: Log,
    /// Ask nobody: answers are given by the test.
    pub silent: bool,
    /// Equal answers for unknown users and wrong passwords.
    pub discreet: bool,
    /// What was asked and not answered.
    pub asked: Vec<Ticket>,
    tokens: u64,
}

impl Office {
    /// As the original starts.
    pub fn original() -> Self {
        let accounts = ["edoren", "pepe", "grillo"].map(|name| (name.into(), b"123".to_vec()));
        Self { accounts: accounts.into(), ..Self::default() }
    }

    pub fn discreet() -> Self {
        Self { discreet: true, ..Self::default() }
    }

    pub fn token(&mut self) -> String {
        self.tokens += 1;
        format!("00000000-0000-4000-8000-{:012}", self.tokens)
    }

    /// Delivers the next part of what is kept for a user.
    fn deliver(&mut self, server: &mut Server, now: Instant, peer: PeerId, username: &[u8]) {
        let before = self.delivered.get(&peer).map_or(0, |(_, count)| *count);
        let kept = self.kept.get(username).into_iter().flatten();
        for update in kept.skip(before).take(self.part.unwrap_or(usize::MAX)) {
            // A client that is there for requests alone takes none.
            let deliver = ServerCommand::Deliver { peer, update: update.get() };
            if server.handle_command(now, deliver).is_err() {
                break;
            }
            self.delivered.entry(peer).or_insert_with(|| (username.to_vec(), 0)).1 += 1;
        }
    }

    /// A connection has the first `n` that it has been sent.
    fn arrived(&mut self, peer: PeerId, n: usize) {
        let Some((username, count)) = self.delivered.get_mut(&peer) else { return };
        assert!(n <= *count, "{n} of {count}");
        *count -= n;
        if let Some(kept) = self.kept.get_mut(username) {
            kept.drain(..n);
            if kept.is_empty() {
                self.kept.remove(username);
            }
        }
    }

    fn answer(&mut self, server: &mut Server, now: Instant, event: &ServerEvent<'_>) {
        let allow = |ticket, allowed: bool, code| match allowed {
            true => ServerCommand::Allow { ticket },
            false => ServerCommand::Refuse { ticket, code },
        };
        let command = match event {
            ServerEvent::Registering { ticket, username, password, .. } => {
                let username = server.key(*username);
                let free = !self.accounts.contains_key(&*username);
                if free {
                    self.accounts.insert(username.into(), password.0.into());
                }
                allow(*ticket, free, Code::USER_ALREADY_EXIST)
            }
            ServerEvent::LoggingIn { ticket, peer, username, password } => {
                let username = server.key(*username).into_owned();
                match self.accounts.get(&username) {
                    Some(right) if *right == password.0 => {
                        let token = self.token();
                        self.deliver(server, now, *peer, &username);
                        let token = Secret(token.as_bytes());
                        let _ = server.handle_command(now, ServerCommand::Admit { ticket: *ticket, token });
                        return;
                    }
                    None if !self.discreet => {
                        ServerCommand::Refuse { ticket: *ticket, code: Code::USER_DOES_NOT_EXIST }
                    }
                    _ => ServerCommand::Refuse { ticket: *ticket, code: Code::USER_WRONG_PASSWORD },
                }
            }
            ServerEvent::AddingContact { ticket, username, contact, store, .. } => {
                let pair = [username, contact].map(|name| server.key(*name).into_owned());
                let known = pair.iter().all(|name| self.accounts.contains_key(name));
                if known && *store {
                    let [username, contact] = pair;
                    self.contacts.insert((username, contact));
                }
                allow(*ticket, known, Code::USER_DOES_NOT_EXIST)
            }
            ServerEvent::CreatingGroup { ticket, .. } | ServerEvent::JoiningGroup { ticket, .. } => {
                ServerCommand::Allow { ticket: *ticket }
            }
            ServerEvent::Keeping { ticket, recipients, update, .. } => {
                let mut kept = 0;
                for recipient in recipients.iter().filter(|name| self.accounts.contains_key(&***name)) {
                    let update = Owned::new(update, &Wire::SERVER).unwrap();
                    self.kept.entry(recipient.to_vec()).or_default().push(update);
                    kept += 1;
                }
                allow(*ticket, kept > 0, Code::USER_NOT_CONNECTED)
            }
            ServerEvent::Taken { peer } => {
                if let Some(username) = server.name(*peer).map(<[u8]>::to_vec) {
                    self.deliver(server, now, *peer, &username);
                }
                return;
            }
            ServerEvent::Received { peer, messages } => return self.arrived(*peer, *messages),
            ServerEvent::LoggedOut { peer, received, .. }
            | ServerEvent::Resumed { lost: peer, received, .. } => {
                self.arrived(*peer, *received);
                self.delivered.remove(peer);
                return;
            }
            _ => return,
        };
        server.handle_command(now, command).unwrap();
    }
}

impl Handler<Server> for Office {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        if self.silent {
            self.asked.extend(event.ticket());
        } else {
            self.answer(server, now, &event);
        }
        Handler::<Server>::on_event(&mut self.log, server, now, event);
    }

    fn on_violation(&mut self, now: Instant, peer: PeerId, violation: Violation) {
        Handler::<Server>::on_violation(&mut self.log, now, peer, violation);
    }
}

/// Not for use: a digest that shows what it was made of.
pub fn digest(token: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (at, byte) in token.iter().enumerate() {
        digest[at % 32] ^= byte.rotate_left(at as u32 / 32);
    }
    digest
}

pub type Desk = NodeId<Server, Office>;
pub type Seat = NodeId<Client, Log>;

pub struct Harness {
    pub sim: Sim,
    pub server: Desk,
    pub net: Net,
}

pub const MOMENT: Duration = Duration::from_millis(50);

impl Harness {
    pub fn new(settings: ServerSettings, office: Office, seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        let server = sim.add(Server::new(settings, 1, digest), office);
        Self { sim, server, net: Net::PERFECT }
    }

    pub fn safe() -> Self {
        Self::new(ServerSettings::DEFAULT, Office::discreet(), 1)
    }

    pub fn original() -> Self {
        Self::new(ServerSettings::ORIGINAL, Office::original(), 1)
    }

    pub fn client(&mut self) -> (Seat, LinkId) {
        self.client_with(ClientSettings::DEFAULT)
    }

    pub fn client_with(&mut self, settings: ClientSettings) -> (Seat, LinkId) {
        let seat = self.sim.add(Client::new(settings), Log::default());
        let link = self.sim.connect(seat, self.server, Transport::Stream, self.net);
        self.wait();
        (seat, link)
    }

    /// A client that is registered and logged in.
    pub fn user(&mut self, name: &str) -> Seat {
        let (seat, _) = self.client();
        let (username, password) = (Text::from(name), Secret::from("geheim"));
        self.ask(seat, ClientCommand::Register { username, password });
        self.ask(seat, ClientCommand::Login { username, password });
        assert!(self.sim.with(seat, |client, _, _| client.name().is_some()), "{name} is logged in");
        self.heard(seat);
        seat
    }

    /// Ann and bob, in the call of ann's group "room".
    pub fn call_of_two(&mut self) -> (Seat, Seat) {
        let (ann, bob) = (self.user("ann"), self.user("bob"));
        self.code(ann, create("room"));
        self.code(bob, join("room"));
        self.code(ann, call("room"));
        self.code(bob, call("room"));
        (ann, bob)
    }

    pub fn wait(&mut self) {
        self.sim.run_for(MOMENT);
    }

    /// Sends a request, and waits a moment.
    pub fn ask(&mut self, seat: Seat, command: ClientCommand<'_>) {
        self.sim.with(seat, |client, _, now| client.handle_command(now, command)).unwrap();
        self.wait();
    }

    /// The events of a client since it was asked last.
    pub fn heard(&mut self, seat: Seat) -> Vec<String> {
        self.sim.with(seat, |_, log, _| log.take())
    }

    /// The code of the one response that a request gets, which must be the last thing heard.
    pub fn code(&mut self, seat: Seat, command: ClientCommand<'_>) -> String {
        self.heard(seat);
        self.ask(seat, command);
        let heard = self.heard(seat);
        let responses: Vec<&String> = heard
            .iter()
            .filter(|event| ["Response", "LoggedIn", "CallJoined"].iter().any(|it| event.starts_with(it)))
            .collect();
        assert_eq!(responses.len(), 1, "{heard:?}");
        assert_eq!(Some(responses[0]), heard.last(), "the update comes before the answer: {heard:?}");
        match responses[0].split_once("code: ") {
            Some((_, code)) => code.split(',').next().unwrap_or_default().to_string(),
            None => "SUCCESS".into(),
        }
    }

    pub fn office<R>(&mut self, f: impl FnOnce(&mut Server, &mut Office, Instant) -> R) -> R {
        self.sim.with(self.server, f)
    }
}

pub fn register<'a>(name: &'a str, password: &'a str) -> ClientCommand<'a> {
    ClientCommand::Register { username: name.into(), password: password.into() }
}

pub fn login<'a>(name: &'a str, password: &'a str) -> ClientCommand<'a> {
    ClientCommand::Login { username: name.into(), password: password.into() }
}

pub fn whisper<'a>(name: &'a str, content: &'a str) -> ClientCommand<'a> {
    ClientCommand::Whisper { recipient: name.into(), content: content.into() }
}

pub fn create(name: &str) -> ClientCommand<'_> {
    ClientCommand::CreateGroup { group_name: name.into() }
}

pub fn join(name: &str) -> ClientCommand<'_> {
    ClientCommand::JoinGroup { group_name: name.into() }
}

pub fn send<'a>(name: &'a str, content: &'a str) -> ClientCommand<'a> {
    ClientCommand::MsgGroup { group_name: name.into(), content: content.into() }
}

pub fn call(name: &str) -> ClientCommand<'_> {
    ClientCommand::JoinCall { group_name: name.into() }
}

pub fn recording<'a>(name: &'a str, samples: &'a [i16]) -> ClientCommand<'a> {
    ClientCommand::VoiceMsg {
        recipient: name.into(),
        channels: 1,
        sample_rate: 44_100,
        samples: samples.into(),
    }
}
