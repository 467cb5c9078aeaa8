//! A server and clients on the simulator, and the words to write a dialogue in.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use core::time::Duration;
use voxwire_core::testing::{LinkId, Log, Net, NodeId, Sim, Transport};
use voxwire_core::{Handler, Instant, PeerId};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, Format, Parameters, Refusal, Server,
    ServerCommand, ServerEvent, ServerSettings, SessionState, Violation,
};

pub const AUDIO: Parameters =
    Parameters { sample_rate: 8000, channels: 1, format: Format::I16, chunk_size: 160 };
pub const OTHER: Parameters =
    Parameters { sample_rate: 44_100, channels: 2, format: Format::F32, chunk_size: 441 };

/// A client's application: writes down what it hears.
#[derive(Debug, Default)]
pub struct Ear {
    pub events: Vec<String>,
    pub heard: Vec<u8>,
    pub violations: Vec<String>,
}

impl Handler<Client> for Ear {
    fn on_event(&mut self, _client: &mut Client, _now: Instant, event: ClientEvent<'_>) {
        match event {
            ClientEvent::Data { samples } => self.heard.extend_from_slice(samples),
            event => self.events.push(format!("{event:?}")),
        }
    }

    fn on_violation(&mut self, _now: Instant, _peer: PeerId, violation: Violation) {
        self.violations.push(violation.to_string());
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Phone {
    pub node: NodeId<Client, Ear>,
    pub link: LinkId,
}

/// The server's node, and its clients.
#[derive(Debug)]
pub struct Harness {
    pub sim: Sim,
    pub server: NodeId<Server, Log>,
    pub net: Net,
}

impl Harness {
    pub fn new() -> Self {
        Self::with(ServerSettings::DEFAULT, Net::PERFECT, 1)
    }

    pub fn with(settings: ServerSettings, net: Net, seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        let server = sim.add(Server::new(settings, seed), Log::default());
        Self { sim, server, net }
    }

    /// A connected client without a name.
    pub fn guest(&mut self, order: ByteOrder) -> Phone {
        let mut settings = ClientSettings::DEFAULT;
        settings.order = order;
        let node = self.sim.add(Client::new(settings), Ear::default());
        let link = self.sim.connect(node, self.server, Transport::Stream, self.net);
        self.settle();
        let phone = Phone { node, link };
        assert_eq!(self.events(phone), ["Connected"]);
        phone
    }

    /// A registered client.
    pub fn phone(&mut self, name: &str) -> Phone {
        let phone = self.guest(ByteOrder::BigEndian);
        self.register(phone, name, ByteOrder::BigEndian);
        phone
    }

    pub fn register(&mut self, phone: Phone, name: &str, samples: ByteOrder) {
        self.tell(phone, ClientCommand::Register { name, secret: None, preferred: AUDIO, samples }).unwrap();
        self.settle();
        assert_eq!(self.events(phone), ["Registered"]);
    }

    /// `caller` calls `callee`, who accepts.
    pub fn talk(&mut self, caller: Phone, callee: Phone, name: &str) {
        self.call(caller, name);
        self.settle();
        self.tell(callee, ClientCommand::Accept { optional: b"" }).unwrap();
        self.settle();
        assert_eq!(self.state(caller), SessionState::InCall(AUDIO));
        assert_eq!(self.state(callee), SessionState::InCall(AUDIO));
        self.events(caller);
        self.events(callee);
    }

    pub fn call(&mut self, caller: Phone, name: &str) {
        let call = ClientCommand::Call { user: name.as_bytes(), parameters: AUDIO, optional: b"" };
        self.tell(caller, call).unwrap();
    }

    pub fn say(&mut self, phone: Phone, samples: &[u8]) {
        self.tell(phone, ClientCommand::Say { samples }).unwrap();
    }

    pub fn drop_call(&mut self, phone: Phone, optional: &[u8]) {
        self.tell(phone, ClientCommand::Drop { optional }).unwrap();
    }

    pub fn tell(&mut self, phone: Phone, command: ClientCommand<'_>) -> Result<(), Refusal> {
        use voxwire_core::Session as _;
        self.sim.with(phone.node, |client, _, now| client.handle_command(now, command))
    }

    pub fn order(&mut self, command: ServerCommand<'_>) -> Result<(), Refusal> {
        use voxwire_core::Session as _;
        self.sim.with(self.server, |server, _, now| server.handle_command(now, command))
    }

    /// Lets everything arrive that is on the way.
    pub fn settle(&mut self) {
        self.sim.run_until_quiet(Duration::from_secs(5));
    }

    pub fn wait(&mut self, seconds: u64) {
        self.sim.run_for(Duration::from_secs(seconds));
    }

    /// What a client heard of since last asked.
    pub fn events(&mut self, phone: Phone) -> Vec<String> {
        self.sim.with(phone.node, |_, ear, _| core::mem::take(&mut ear.events))
    }

    pub fn heard(&mut self, phone: Phone) -> Vec<u8> {
        self.sim.with(phone.node, |_, ear, _| core::mem::take(&mut ear.heard))
    }

    pub fn server_events(&mut self) -> Vec<String> {
        self.sim.with(self.server, |_, log, _| log.take())
    }

    pub fn server_violations(&mut self) -> Vec<String> {
        let log = self.sim.with(self.server, |_, log, _| core::mem::take(&mut log.violations));
        log.into_iter().map(|(_, text)| text).collect()
    }

    pub fn state(&mut self, phone: Phone) -> SessionState {
        self.sim.with(phone.node, |client, _, _| client.state())
    }

    /// The client as the server knows it.
    pub fn peer(&self, phone: Phone) -> PeerId {
        self.sim.peers(phone.link)[1]
    }

    pub fn calls(&mut self) -> usize {
        self.sim.with(self.server, |server, _, _| server.calls().count())
    }
}

/// A server's application that answers registrations: only the secret `hush` proves a name.
#[derive(Debug, Default)]
pub struct Porter;

impl Handler<Server> for Porter {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        use voxwire_core::Session as _;
        if let ServerEvent::Registering { peer, secret, .. } = event {
            let command = match secret {
                Some(b"hush") => ServerCommand::Admit { peer, proven: true },
                Some(_) => ServerCommand::Reject { peer, reason: "wrong secret" },
                None => ServerCommand::Admit { peer, proven: false },
            };
            let _ = server.handle_command(now, command);
        }
    }
}
