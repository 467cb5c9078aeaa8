use crate::Script;
use core::time::Duration;
use std::collections::BTreeSet;
use voxwire_core::testing::law_timers;
use voxwire_core::testing::{chop, law_frame};
use voxwire_core::{
    DialId, Input, Instant, Lane, Limits, ListenId, Message, Output, PeerId, PeerIds, Session, Via,
};
use voxwire_opcode::{
    CLIENT_LIMITS, CallId, CallRequest, Client, ClientCommand, ClientSettings, Packet, RelayAddress, Server,
    ServerCommand, ServerSettings, Text, Wire,
};

const NAMES: [&str; 5] = ["a", "b", "c", "", "a\u{200b}"];

/// Any bytes: no panic, and what decodes obeys the laws.
pub fn opcode_message(data: &[u8]) {
    law_frame::<Packet<'static>>(data, &Wire::SERVER);
    law_frame::<Packet<'static>>(data, &Wire::CLIENT);
}

/// Any bytes as a stream, in any pieces.
pub fn opcode_stream(data: &[u8]) {
    chop(|| Wire::SERVER.framing(), data, 1);
}

/// A script of connections, packets, garbage, commands and time, for a server or for a client.
pub fn opcode_session(data: &[u8]) {
    let mut script = Script(data);
    if script.byte() % 3 == 0 { client(script) } else { server(script) }
}

/// A packet that may well make sense, encoded.
fn packet(script: &mut Script<'_>) -> Vec<u8> {
    let (kind, choice) = (script.byte(), script.byte());
    let name = Text::from(NAMES[usize::from(choice) % NAMES.len()]);
    let hosts = ["", "10.0.0.1", "127.0.0.1", "relay 10.0.0.9", "224.0.0.1", "x"];
    let host = Text::from(hosts[usize::from(choice >> 3) % hosts.len()]);
    let port = [4000, 0, 22, 65_535][usize::from(choice >> 6)];
    let list = NAMES.map(Text::from);
    let contacts = list.get(..usize::from(choice) % 6).unwrap_or(&list).into();
    let data = script.bytes(usize::from(choice % 16));
    let packet = match kind % 12 {
        0 => Packet::HelloConnect,
        1 => Packet::Login { name },
        2 => Packet::LoginSuccess,
        3 => Packet::LoginFailed { reason: name },
        4 => Packet::AddContact { contacts },
        5 | 6 => Packet::CallRequest(CallRequest { contact: name, host, port }),
        7 => Packet::VoiceData(data),
        8 => Packet::ErrorResponse { what: name },
        9 => Packet::CallRefused { contact: name },
        10 => Packet::DelContact { contacts },
        _ => Packet::ConnectionEstablished,
    };
    let mut bytes = Vec::new();
    packet.encode(&Wire::CLIENT, &mut bytes).expect("a small packet");
    bytes
}

/// What a driver knows of a session: its connections, ports and calls on their way.
struct Driver {
    ids: PeerIds,
    alive: Vec<PeerId>,
    ports: BTreeSet<ListenId>,
    dials: BTreeSet<DialId>,
    now: Instant,
}

impl Driver {
    fn new() -> Self {
        Self {
            ids: PeerIds::new(),
            alive: Vec::new(),
            ports: BTreeSet::new(),
            dials: BTreeSet::new(),
            now: crate::START,
        }
    }

    fn open(&mut self, session: &mut impl Session, via: Via, last: u8) {
        let peer = self.ids.mint().expect("a free slot");
        self.alive.push(peer);
        let from = Some(([10, 0, 0, last % 3], 1).into());
        let _ = session.handle_input(self.now, Input::Opened { peer, via, from });
    }

    fn frame(&self, session: &mut impl Session, peer: PeerId, bytes: &[u8]) {
        let _ = session.handle_input(self.now, Input::Frame { peer, lane: Lane::Reliable, bytes });
    }

    /// What happens to any session; false if it is something else.
    fn step(&mut self, session: &mut impl Session, operation: u8, script: &mut Script<'_>) -> bool {
        let peer = self.alive.get(usize::from(operation >> 4)).copied();
        match (operation % 16, peer) {
            (0 | 1, _) => self.open(session, Via::Accepted, operation >> 4),
            (2, Some(peer)) => {
                self.alive.retain(|&known| known != peer);
                self.ids.retire(peer);
                let _ = session.handle_input(self.now, Input::Closed { peer });
            }
            (3, Some(peer)) => {
                let len = usize::from(script.byte());
                self.frame(session, peer, script.bytes(len));
            }
            (4, _) => {
                self.now = self.now.saturating_add(Duration::from_millis(u64::from(script.byte()) * 50))
            }
            (5, _) => {
                // A port is opened, or not, or a client comes to one.
                let choice = script.byte();
                let known = self.ports.iter().nth(usize::from(choice >> 4)).copied();
                let id = known.unwrap_or_else(|| ListenId::new(u32::from(choice)));
                match choice % 4 {
                    0 | 1 => drop(session.handle_input(self.now, Input::Listening { id, port: 40_000 })),
                    2 => self.open(session, Via::AcceptedOn(id), operation >> 4),
                    _ => drop(session.handle_input(self.now, Input::ListenFailed(id))),
                }
            }
            (6, _) => {
                let choice = script.byte();
                let known = self.dials.iter().nth(usize::from(choice >> 4)).copied();
                let id = known.unwrap_or_else(|| DialId::new(u32::from(choice)));
                self.dials.remove(&id);
                if choice & 1 == 0 {
                    self.open(session, Via::Dialled(id), 0);
                } else {
                    let _ = session.handle_input(self.now, Input::DialFailed(id));
                }
            }
            (8.., Some(peer)) => {
                let bytes = packet(script);
                self.frame(session, peer, &bytes);
            }
            _ => return false,
        }
        true
    }

    fn timers(&self, session: &mut impl Session) {
        law_timers(session, self.now, |_, _| {});
    }

    fn obey(&mut self, session: &mut impl Session) {
        let (mut done, mut closed) = (0, BTreeSet::new());
        for output in session.outputs() {
            done += 1;
            match output {
                Output::Send { to, frame, .. } => {
                    assert!(!closed.contains(&to), "a frame behind a close");
                    Packet::decode(frame, &Wire::SERVER).expect("what a session sends is a packet");
                }
                Output::Close { peer } => assert!(closed.insert(peer), "closed twice"),
                Output::Listen { id } => assert!(self.ports.insert(id), "a port opened twice"),
                Output::StopListening { id } => drop(self.ports.remove(&id)),
                Output::Dial { id, .. } => assert!(self.dials.insert(id), "dialled twice"),
                _ => {}
            }
        }
        session.advance(done);
        self.alive.retain(|peer| !closed.contains(peer));
        closed.into_iter().for_each(|peer| self.ids.retire(peer));
    }
}

fn server(mut script: Script<'_>) {
    let choice = script.byte();
    let mut settings = if choice & 1 == 0 { ServerSettings::DEFAULT } else { ServerSettings::ORIGINAL };
    settings.ask = choice & 2 != 0;
    settings.relay = (choice & 4 != 0).then_some(RelayAddress { v4: Some([10, 0, 0, 9].into()), v6: None });
    settings.same_address_displaces = choice & 8 != 0;
    settings.max_relays = 3;
    settings.limits.max_peers = 6;
    settings.limits.max_outbox = 20_000;
    // A client without a name is closed with its relayed calls, two connections each.
    let carried = if settings.unnamed_take_part { 2 * settings.max_relays } else { 0 };
    let mut server = Server::new(settings, 7);
    let (mut driver, mut drain) = (Driver::new(), true);
    while !script.is_empty() {
        let operation = script.byte();
        let peer = driver.alive.get(usize::from(operation >> 4));
        if operation % 16 == 2 && peer.is_none() {
            // That many places there are not.
            let Driver { alive, ids, now, .. } = &mut driver;
            crate::evict_first(&mut server, *now, (alive, ids), carried, Server::logged_in);
        } else if !driver.step(&mut server, operation, &mut script) {
            let peer = PeerId { slot: u32::from(operation >> 4), generation: 0 };
            let name = NAMES[usize::from(script.byte()) % NAMES.len()];
            let command = match script.byte() % 6 {
                0 | 1 => ServerCommand::Admit { peer, name, proven: operation & 128 == 0 },
                2 => ServerCommand::Reject { peer, reason: name },
                3 => ServerCommand::Kick { peer, reason: name },
                4 => {
                    drain = !drain;
                    continue;
                }
                _ => {
                    server.shutdown(driver.now);
                    continue;
                }
            };
            let before = server.outputs().count();
            if server.handle_command(driver.now, command).is_err() {
                assert_eq!(server.outputs().count(), before, "a refusal queues nothing");
            }
        }
        driver.timers(&mut server);
        if drain {
            driver.obey(&mut server);
        }
        for &peer in &driver.alive {
            if let Some(name) = server.name(peer) {
                assert_eq!(server.find(name), Some(peer), "a client is found by its name");
            }
        }
        assert!(server.relays() <= 3 && server.logged_in() <= 6);
    }
    driver.obey(&mut server);
    // The server knows the peers that are there, and no others.
    assert_eq!(server.peers(), driver.alive.len());
    // Calls end, and then the ports that outlast them.
    for _ in 0..2 {
        driver.now = driver.now.saturating_add(Duration::from_secs(400));
        driver.timers(&mut server);
        driver.obey(&mut server);
    }
    assert!(server.poll_timeout().is_none(), "no call waits for ever");
    server.shutdown(driver.now);
    driver.timers(&mut server);
    driver.obey(&mut server);
    assert!(server.peers() == 0 && driver.alive.is_empty() && driver.ports.is_empty());
}

fn client(mut script: Script<'_>) {
    let choice = script.byte();
    let settings = ClientSettings {
        busy: choice & 1 == 0,
        listen: choice & 2 == 0,
        max_calls: 3,
        limits: Limits { max_outbox: 20_000, ..CLIENT_LIMITS },
        ..ClientSettings::DEFAULT
    };
    let mut client = Client::new(settings);
    let mut driver = Driver::new();
    while !script.is_empty() {
        let operation = script.byte();
        if !driver.step(&mut client, operation, &mut script) {
            let choice = script.byte();
            let call = CallId::new(u32::from(choice >> 3));
            let name = NAMES[usize::from(choice) % NAMES.len()];
            let command = match script.byte() % 7 {
                0 => ClientCommand::Login { name },
                1 => ClientCommand::Call { contact: name.as_bytes() },
                2 => ClientCommand::Accept { call },
                3 => ClientCommand::Refuse { call },
                4 => ClientCommand::HangUp { call },
                5 => ClientCommand::Say { call: None, packet: name.as_bytes() },
                _ => {
                    client.shutdown(driver.now);
                    continue;
                }
            };
            let before = client.outputs().count();
            if client.handle_command(driver.now, command).is_err() {
                assert_eq!(client.outputs().count(), before, "a refusal queues nothing");
            }
        }
        driver.timers(&mut client);
        driver.obey(&mut client);
        assert!(client.calls().count() <= 3);
    }
    client.shutdown(driver.now);
    driver.obey(&mut client);
    assert!(client.calls().count() == 0 && driver.alive.is_empty() && driver.ports.is_empty());
}
