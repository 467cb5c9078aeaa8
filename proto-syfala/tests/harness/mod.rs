//! Servers and clients on a local network, with applications that do what is asked of them and keep what they hear.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;
use std::time::Duration;
use voxwire_core::testing::{Log, Net, NodeId, Sim};
use voxwire_core::{Handler, Instant, PeerId, Session};
use voxwire_syfala::stream::{Receiving, StreamSettings};
use voxwire_syfala::{
    Client, ClientCommand, ClientEvent, ClientSettings, Format, IoResult, IoState, Network, Server,
    ServerCommand, ServerEvent, ServerSettings, Violation,
};

/// What a client's application does about servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Accept,
    Fail,
    Refuse,
    /// Thinks.
    Wait,
}

/// What one side has heard of the other, stream by stream.
pub type Heard = BTreeMap<(PeerId, u32), (Receiving, Vec<u8>)>;

pub fn hear(heard: &mut Heard, now: Instant, key: (PeerId, u32), audio: &voxwire_syfala::Audio<'_>) {
    let (receiving, bytes) = heard.get_mut(&key).expect("a stream that was started");
    receiving.insert(now, audio);
    drain(receiving, bytes);
}

pub fn drain(receiving: &mut Receiving, bytes: &mut Vec<u8>) {
    let mut out = [0; 4096];
    loop {
        match receiving.read(&mut out) {
            0 => return,
            n => bytes.extend_from_slice(&out[..n]),
        }
    }
}

pub struct User {
    pub answer: Answer,
    /// Start IO as soon as a server is accepted.
    pub eager: bool,
    /// What is wanted of each server, as far as it is known.
    pub wants: BTreeMap<PeerId, bool>,
    pub log: Log,
    pub heard: Heard,
}

impl User {
    pub fn new(answer: Answer, eager: bool) -> Self {
        Self { answer, eager, wants: BTreeMap::new(), log: Log::default(), heard: Heard::new() }
    }
}

impl Handler<Client> for User {
    fn on_event(&mut self, client: &mut Client, now: Instant, event: ClientEvent<'_>) {
        match event {
            ClientEvent::Audio { server, audio } => {
                hear(&mut self.heard, now, (server, audio.stream), &audio);
                return;
            }
            ClientEvent::Found { server, from, formats } => {
                let text =
                    format!("Found({}, {}+{})", from.unwrap(), formats.inputs.len(), formats.outputs.len());
                self.log.events.push((now, text));
                let command = match self.answer {
                    Answer::Accept => ClientCommand::Accept { server },
                    Answer::Fail => ClientCommand::Fail { server },
                    Answer::Refuse => ClientCommand::Refuse { server },
                    Answer::Wait => return,
                };
                client.handle_command(now, command).unwrap();
                self.wants.insert(server, self.eager);
                if self.answer == Answer::Accept && self.eager {
                    client.handle_command(now, ClientCommand::StartIo { server }).unwrap();
                }
                return;
            }
            ClientEvent::StartRefused { server } => drop(self.wants.insert(server, false)),
            ClientEvent::StopRefused { server } => drop(self.wants.insert(server, true)),
            ClientEvent::Started { server } => {
                self.wants.insert(server, true);
                for (stream, format) in (0..).zip(client.formats(server).unwrap().0) {
                    let receiving = Receiving::new(format, StreamSettings::DEFAULT);
                    self.heard.insert((server, stream), (receiving, Vec::new()));
                }
            }
            _ => {}
        }
        let text = format!("{event:?}");
        self.log.events.push((now, text.split(" {").next().unwrap().to_owned()));
    }

    fn on_violation(&mut self, now: Instant, peer: PeerId, violation: Violation) {
        Handler::<Client>::on_violation(&mut self.log, now, peer, violation);
    }
}

/// How a device answers requests.
pub struct Device {
    /// What is said to the next StartIO, and then to the others: success when there is nothing left.
    pub starts: Vec<IoResult>,
    pub stops: Vec<IoResult>,
    /// Answers nothing by itself.
    pub slow: bool,
    pub log: Log,
    pub heard: Heard,
    /// Clients for whose audio something is prepared.
    pub prepared: Vec<PeerId>,
}

impl Device {
    pub const fn new() -> Self {
        Self {
            starts: Vec::new(),
            stops: Vec::new(),
            slow: false,
            log: Log { events: Vec::new(), violations: Vec::new() },
            heard: Heard::new(),
            prepared: Vec::new(),
        }
    }

    pub fn prepare(&mut self, server: &Server, client: PeerId) {
        assert!(!self.prepared.contains(&client), "prepared twice");
        self.prepared.push(client);
        for (stream, format) in (0..).zip(server.formats().1) {
            let receiving = Receiving::new(format, StreamSettings::DEFAULT);
            self.heard.insert((client, stream), (receiving, Vec::new()));
        }
    }

    fn free(&mut self, client: PeerId) {
        self.prepared.retain(|prepared| *prepared != client);
    }
}

impl Handler<Server> for Device {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        if let ServerEvent::Audio { client, audio } = event {
            hear(&mut self.heard, now, (client, audio.stream), &audio);
            return;
        }
        let text = format!("{event:?}");
        self.log.events.push((now, text.split(" {").next().unwrap().to_owned()));
        match event {
            ServerEvent::StartIo { client } if !self.slow => {
                let result = if self.starts.is_empty() { IoResult::Success } else { self.starts.remove(0) };
                if result == IoResult::Success {
                    self.prepare(server, client);
                }
                server.handle_command(now, ServerCommand::StartIoResult { client, result }).unwrap();
            }
            ServerEvent::StopIo { client } if !self.slow => {
                let result = if self.stops.is_empty() { IoResult::Success } else { self.stops.remove(0) };
                if result == IoResult::Success {
                    self.free(client);
                }
                server.handle_command(now, ServerCommand::StopIoResult { client, result }).unwrap();
            }
            ServerEvent::Gone { client, io, .. } => {
                assert_eq!(
                    self.prepared.contains(&client),
                    matches!(io, IoState::Active | IoState::StopPending) && !self.slow
                );
                self.free(client);
            }
            _ => {}
        }
    }

    fn on_violation(&mut self, now: Instant, peer: PeerId, violation: Violation) {
        Handler::<Server>::on_violation(&mut self.log, now, peer, violation);
    }
}

pub type UserNode = NodeId<Client, User>;
pub type DeviceNode = NodeId<Server, Device>;

pub struct Harness {
    pub sim: Sim,
    seed: u64,
}

/// The network of the simulator.
pub fn networks() -> [Network; 1] {
    ["10.0.0.0/16".parse().unwrap()]
}

pub fn server(inputs: &[Format], outputs: &[Format], settings: ServerSettings, seed: u64) -> Server {
    let mut server = Server::new(inputs, outputs, settings, seed).unwrap();
    server.handle_command(Instant::ZERO, ServerCommand::Serve { networks: &networks() }).unwrap();
    server
}

pub fn client(settings: ClientSettings) -> Client {
    let mut client = Client::new(settings);
    client.handle_command(Instant::ZERO, ClientCommand::Discover).unwrap();
    client
}

impl Harness {
    pub fn new(net: Net, seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        sim.set_net(net);
        Self { sim, seed }
    }

    pub fn device(&mut self, inputs: &[Format], outputs: &[Format]) -> DeviceNode {
        self.device_with(inputs, outputs, ServerSettings::DEFAULT)
    }

    pub fn device_with(
        &mut self,
        inputs: &[Format],
        outputs: &[Format],
        settings: ServerSettings,
    ) -> DeviceNode {
        let node = self.sim.add(server(inputs, outputs, settings, self.seed), Device::new());
        self.sim.join(node);
        node
    }

    pub fn user(&mut self, answer: Answer, eager: bool) -> UserNode {
        self.user_with(answer, eager, ClientSettings::DEFAULT)
    }

    pub fn user_with(&mut self, answer: Answer, eager: bool, settings: ClientSettings) -> UserNode {
        let node = self.sim.add(client(settings), User::new(answer, eager));
        self.sim.join(node);
        // Its first question is on its way now, not with what happens next.
        self.sim.with(node, |_, _, _| ());
        node
    }

    pub fn run(&mut self, millis: u64) {
        self.sim.run_for(Duration::from_millis(millis));
    }

    pub fn events(&mut self, node: UserNode) -> Vec<String> {
        self.sim.with(node, |_, user, _| user.log.take())
    }

    pub fn device_events(&mut self, node: DeviceNode) -> Vec<String> {
        self.sim.with(node, |_, device, _| device.log.take())
    }

    /// The servers that a client knows.
    pub fn servers(&mut self, node: UserNode) -> Vec<(PeerId, Option<IoState>)> {
        self.sim.with(node, |client, _, _| client.servers().map(|(peer, _, io)| (peer, io)).collect())
    }

    /// The clients that a server has.
    pub fn clients(&mut self, node: DeviceNode) -> Vec<(PeerId, IoState)> {
        self.sim.with(node, |server, _, _| server.clients().map(|(peer, _, io)| (peer, io)).collect())
    }

    pub fn command(&mut self, node: UserNode, command: ClientCommand<'_>) {
        self.sim.with(node, |client, _, now| client.handle_command(now, command)).unwrap();
    }

    pub fn device_command(&mut self, node: DeviceNode, command: ServerCommand<'_>) {
        self.sim.with(node, |server, _, now| server.handle_command(now, command)).unwrap();
    }
}
