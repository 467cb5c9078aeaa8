//! The most that one source can cost others: the row "msgpack" of `SECURITY.md`, "What costs whom". In virtual time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use core::time::Duration;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use voxwire_core::{Input, Instant, Lane, Message, Moderation as _, Output, PeerId, Session, Via};
use voxwire_msgpack::{
    ClientMessage, Code, Secret, Server, ServerCommand, ServerEvent, ServerMessage, ServerSettings, Text,
    Wire,
};

const EVE: [u8; 4] = [192, 0, 2, 66];
const OTHERS: [u8; 4] = [198, 51, 100, 1];

/// Limits that a short test can reach.
const SETTINGS: ServerSettings = ServerSettings {
    messages: voxwire_core::Rate { per_second: 400, burst: 16_000 },
    registrations: voxwire_core::Rate { per_second: 1, burst: 6 * voxwire_msgpack::REGISTRATION },
    creations: voxwire_core::Rate { per_second: 1, burst: 5 * voxwire_msgpack::CREATION },
    ..ServerSettings::DEFAULT
};

fn digest(token: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (at, byte) in token.iter().enumerate() {
        digest[at % 32] ^= byte.rotate_left(at as u32 / 32);
    }
    digest
}

/// What Eve may do. Connections and accounts are numbers; there are eight of each.
#[derive(Debug, Clone)]
enum Step {
    Open(u32),
    Close(u32),
    Wait(u64),
    Register(u32, u32),
    Login(u32, u32),
    Logout(u32),
    /// A whisper to the victim or another user, of so many bytes.
    Whisper(u32, bool, usize),
    Recording(u32, usize),
    Create(u32, u32),
    Join(u32, u32),
    Group(u32, u32, usize),
    Call(u32, u32),
    Say(u32, u32),
    Guess(u32),
    Noise(u32, Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..8_u32;
    prop_oneof![
        2 => n.clone().prop_map(Step::Open),
        1 => n.clone().prop_map(Step::Close),
        2 => (0..6000_u64).prop_map(Step::Wait),
        1 => (n.clone(), 0..40_u32).prop_map(|(at, name)| Step::Register(at, name)),
        3 => (n.clone(), n.clone()).prop_map(|(at, name)| Step::Login(at, name)),
        1 => n.clone().prop_map(Step::Logout),
        8 => (n.clone(), prop::bool::weighted(0.8), 0..6000_usize).prop_map(|(at, victim, len)| Step::Whisper(at, victim, len)),
        2 => (n.clone(), 0..5000_usize).prop_map(|(at, len)| Step::Recording(at, len)),
        2 => (n.clone(), 0..40_u32).prop_map(|(at, name)| Step::Create(at, name)),
        1 => (n.clone(), 0..40_u32).prop_map(|(at, name)| Step::Join(at, name)),
        2 => (n.clone(), 0..40_u32, 0..2000_usize).prop_map(|(at, name, len)| Step::Group(at, name, len)),
        1 => (n.clone(), 0..40_u32).prop_map(|(at, name)| Step::Call(at, name)),
        1 => (n.clone(), 0..40_u32).prop_map(|(at, name)| Step::Say(at, name)),
        1 => n.clone().prop_map(Step::Guess),
        1 => (n, prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(at, bytes)| Step::Noise(at, bytes)),
    ]
}

/// A server with an application that answers at once.
struct World {
    server: Server,
    now: Instant,
    accounts: BTreeSet<Vec<u8>>,
    /// Bytes of updates that a connection was sent, by sender's first letter.
    received: BTreeMap<(PeerId, u8), usize>,
    /// The last code that a connection was answered.
    code: BTreeMap<PeerId, Code>,
    registered: u64,
    created: u64,
    tokens: u64,
}

impl World {
    fn new() -> Self {
        Self {
            server: Server::new(SETTINGS, 1, digest),
            now: Instant::ZERO,
            accounts: BTreeSet::new(),
            received: BTreeMap::new(),
            code: BTreeMap::new(),
            registered: 0,
            created: 0,
            tokens: 0,
        }
    }

    fn answer(&mut self, event: ServerEvent<'_>) {
        let code = Code::USER_WRONG_PASSWORD;
        let command = match event {
            ServerEvent::Registering { ticket, username, peer, .. } => {
                let is_eves =
                    self.server.address(peer).is_some_and(|from| from.ip() == core::net::IpAddr::from(EVE));
                self.registered += u64::from(is_eves);
                match self.accounts.insert(username.0.into()) {
                    true => ServerCommand::Allow { ticket },
                    false => ServerCommand::Refuse { ticket, code: Code::USER_ALREADY_EXIST },
                }
            }
            ServerEvent::LoggingIn { ticket, username, password, .. } => {
                let right = self.accounts.contains(username.0) && password.0 == b"right";
                self.tokens += 1;
                let token = token(username.0);
                let command = match right {
                    true => ServerCommand::Admit { ticket, token: Secret(&token) },
                    false => ServerCommand::Refuse { ticket, code },
                };
                let _ = self.server.handle_command(self.now, command);
                return;
            }
            ServerEvent::CreatingGroup { ticket, .. } => {
                self.created += 1;
                ServerCommand::Allow { ticket }
            }
            ServerEvent::AddingContact { ticket, .. }
            | ServerEvent::JoiningGroup { ticket, .. }
            | ServerEvent::Keeping { ticket, .. } => ServerCommand::Allow { ticket },
            _ => return,
        };
        let _ = self.server.handle_command(self.now, command);
    }

    fn input(&mut self, input: Input<'_>) {
        // The session lends what it tells: what is asked is answered after a copy.
        let event = self.server.handle_input(self.now, input).ok().flatten().map(own);
        if let Some(event) = event {
            self.answer(event);
        }
        self.drain();
    }

    /// Reads what the session sends.
    fn drain(&mut self) {
        let mut closed = Vec::new();
        for output in self.server.outputs() {
            match output {
                Output::Send { to, frame, .. } => {
                    let Ok(message) = ServerMessage::decode(frame, &Wire::CLIENT) else { continue };
                    let sender = match message {
                        ServerMessage::Response { code, .. } => {
                            self.code.insert(to, code);
                            continue;
                        }
                        ServerMessage::LoggedIn { .. } | ServerMessage::CallJoined { .. } => {
                            self.code.insert(to, Code::SUCCESS);
                            continue;
                        }
                        ServerMessage::Whisper { sender, .. } | ServerMessage::VoiceMsg { sender, .. } => {
                            sender
                        }
                        _ => continue,
                    };
                    let sender = sender.0.first().copied().unwrap_or_default();
                    *self.received.entry((to, sender)).or_default() += frame.len();
                }
                Output::Close { peer } => closed.push(peer),
                _ => {}
            }
        }
        let count = self.server.outputs().count();
        self.server.advance(count);
        for peer in closed {
            let _ = self.server.handle_input(self.now, Input::Closed { peer });
        }
    }

    fn wait(&mut self, millis: u64) {
        let end = self.now.saturating_add(Duration::from_millis(millis));
        while let Some(then) = self.server.poll_timeout().filter(|then| *then <= end) {
            self.now = self.now.max(then);
            while self.server.poll_timeout().is_some_and(|then| then <= self.now) {
                let _ = self.server.handle_timeout(self.now);
                while let Some(deferred) = self.server.take_deferred() {
                    self.input(Input::from(&deferred));
                }
                self.drain();
            }
        }
        self.now = end;
    }

    fn open(&mut self, slot: u32, from: [u8; 4]) -> PeerId {
        let peer = PeerId { slot, generation: 0 };
        self.input(Input::Closed { peer });
        self.input(Input::Opened { peer, via: Via::Accepted, from: Some((from, 4000).into()) });
        peer
    }

    fn say(&mut self, peer: PeerId, message: &ClientMessage<'_>) {
        let mut bytes = Vec::new();
        if message.encode(&Wire::SERVER, &mut bytes).is_ok() {
            self.input(Input::Frame { peer, lane: Lane::Reliable, bytes: &bytes });
        }
    }

    fn user(&mut self, slot: u32, name: &str, from: [u8; 4]) -> PeerId {
        let peer = self.open(slot, from);
        let (username, password) = (name.into(), "right".into());
        self.say(peer, &ClientMessage::Register { username, password });
        self.say(peer, &ClientMessage::Login { username, password });
        assert_eq!(self.code[&peer], Code::SUCCESS, "{name}");
        peer
    }

    fn eve(&mut self, step: &Step) {
        let peer = |slot: u32| PeerId { slot: 100 + slot, generation: 0 };
        let samples = [30_000_i16; 5000];
        let text = "x".repeat(6000);
        let group = |n: u32| format!("group {n}");
        let username = |world: &Self, slot: u32| world.server.name(peer(slot)).unwrap_or(b"e0").to_vec();
        match step {
            Step::Open(slot) => drop(self.open(100 + slot, EVE)),
            Step::Close(slot) => self.input(Input::Closed { peer: peer(*slot) }),
            Step::Wait(millis) => self.wait(*millis),
            Step::Register(slot, name) => {
                let (username, password) = (format!("e{name}"), "right".into());
                self.say(
                    peer(*slot),
                    &ClientMessage::Register { username: username.as_str().into(), password },
                );
            }
            Step::Login(slot, name) => {
                let (username, password) = (format!("e{name}"), "right".into());
                self.say(peer(*slot), &ClientMessage::Login { username: username.as_str().into(), password });
            }
            Step::Logout(slot) => {
                let name = username(self, *slot);
                self.say(peer(*slot), &ClientMessage::Logout { username: Text(&name) });
            }
            Step::Guess(slot) => {
                let (username, password) = ("victim".into(), "wrong".into());
                self.say(peer(*slot), &ClientMessage::Login { username, password });
            }
            Step::Noise(slot, bytes) => {
                self.input(Input::Frame { peer: peer(*slot), lane: Lane::Reliable, bytes });
            }
            Step::Whisper(slot, victim, len) => {
                let name = username(self, *slot);
                let recipient = if *victim { "victim" } else { "bystander" };
                let (username, token, content) = (Text(&name), token(&name), text[..*len].into());
                let token = Secret(&token);
                let recipient = recipient.into();
                self.say(peer(*slot), &ClientMessage::Whisper { username, token, recipient, content });
            }
            Step::Recording(slot, len) => {
                let name = username(self, *slot);
                let message = ClientMessage::VoiceMsg {
                    username: Text(&name),
                    token: Secret(&token(&name)),
                    recipient: "victim".into(),
                    channels: 1,
                    sample_rate: 44_100,
                    samples: samples[..*len].into(),
                };
                self.say(peer(*slot), &message);
            }
            Step::Create(slot, n) | Step::Join(slot, n) | Step::Call(slot, n) => {
                let (name, group) = (username(self, *slot), group(*n));
                let (username, token, group_name) = (Text(&name), token(&name), group.as_str().into());
                let token = Secret(&token);
                let message = match step {
                    Step::Create(..) => ClientMessage::CreateGroup { username, token, group_name },
                    Step::Join(..) => ClientMessage::JoinGroup { username, token, group_name },
                    _ => ClientMessage::JoinCall { username, token, group_name },
                };
                self.say(peer(*slot), &message);
            }
            Step::Group(slot, n, len) => {
                let (name, group) = (username(self, *slot), group(*n));
                let message = ClientMessage::MsgGroup {
                    username: Text(&name),
                    token: Secret(&token(&name)),
                    group_name: group.as_str().into(),
                    content: text[..*len].into(),
                };
                self.say(peer(*slot), &message);
            }
            Step::Say(slot, n) => {
                let (name, group) = (username(self, *slot), group(*n));
                let message = ClientMessage::CallData {
                    username: Text(&name),
                    token: Secret(&token(&name)),
                    group_name: group.as_str().into(),
                    samples: samples[..100].into(),
                };
                self.say(peer(*slot), &message);
            }
        }
    }
}

/// Every user's token, so that it need not be read from the answer.
fn token(name: &[u8]) -> Vec<u8> {
    let mut token = name.to_vec();
    token.resize(voxwire_msgpack::TOKEN_LEN, b'-');
    token
}

/// What an event asks, for as long as it takes.
fn own(event: ServerEvent<'_>) -> ServerEvent<'static> {
    let leak = |text: Text<'_>| Text(Box::leak(text.0.to_vec().into_boxed_slice()));
    let secret = |text: Secret<'_>| Secret(Box::leak(text.0.to_vec().into_boxed_slice()));
    match event {
        ServerEvent::Registering { ticket, peer, username, password } => {
            ServerEvent::Registering { ticket, peer, username: leak(username), password: secret(password) }
        }
        ServerEvent::LoggingIn { ticket, peer, username, password } => {
            ServerEvent::LoggingIn { ticket, peer, username: leak(username), password: secret(password) }
        }
        ServerEvent::CreatingGroup { ticket, peer, .. } => {
            ServerEvent::CreatingGroup { ticket, peer, group_name: "".into(), owner: "".into() }
        }
        ServerEvent::AddingContact { ticket, peer, .. }
        | ServerEvent::JoiningGroup { ticket, peer, .. }
        | ServerEvent::Keeping { ticket, peer, .. } => {
            ServerEvent::JoiningGroup { ticket, peer, group_name: "".into(), username: "".into() }
        }
        _ => ServerEvent::CallLeft { peer: PeerId { slot: 0, generation: 0 } },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// F-07, F-08, F-12: however Eve splits, repeats or reconnects, with as many accounts and connections as she can have, the victim
    /// gets no more of her than her address's share, others get through to it at any time, and she makes no more accounts and groups
    /// than an address may.
    #[test]
    fn others_pay_no_more_than_the_share_of_one_address(steps in prop::collection::vec(step(), 50..400)) {
        let mut world = World::new();
        let victim = world.user(0, "victim", OTHERS);
        world.user(1, "bystander", OTHERS);
        let friend = world.user(2, "friend", OTHERS);
        for n in 0..8 {
            world.accounts.insert(format!("e{n}").into_bytes());
            world.open(100 + n, EVE);
        }
        // Once a friend has said something, the victim has room for its next word half a second later.
        let mut since = world.now;
        for step in &steps {
            world.eve(step);
            if world.now.saturating_duration_since(since) >= Duration::from_secs(1) {
                since = world.now;
                let (username, recipient, content) = ("friend".into(), "victim".into(), "call me".into());
                let token = token(b"friend");
                let token = Secret(&token);
                world.say(friend, &ClientMessage::Whisper { username, token, recipient, content });
                prop_assert_eq!(world.code[&friend], Code::SUCCESS);
            }
        }
        let seconds = world.now.as_nanos() / 1_000_000_000;
        let messages = SETTINGS.messages;
        // Half of the rate; and one message may go beyond.
        let got = world.received.get(&(victim, b'e')).copied().unwrap_or(0) as u64;
        let most = u64::from(messages.burst / 2) + u64::from(messages.per_second / 2) * (seconds + 1) + 16_000;
        prop_assert!(got <= most, "{} bytes in {} s", got, seconds);
        prop_assert!(world.registered <= 6 + (seconds + 1) / 15 + 1, "{} accounts in {} s", world.registered, seconds);
        prop_assert!(world.created <= 5 + (seconds + 1) / 60 + 1, "{} groups in {} s", world.created, seconds);
    }
}
