use crate::{Driver, Script};
use core::time::Duration;
use std::collections::BTreeSet;
use voxwire_core::testing::{chop, law_frame};
use voxwire_core::{DialId, Input, Lane, Limits, ListenId, Message, Output, PeerId, Session, Via};
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

/// The connections of a session, and its ports and calls on their way.
#[derive(Default)]
struct Calls {
    driver: Driver,
    ports: BTreeSet<ListenId>,
    dials: BTreeSet<DialId>,
}

impl Calls {
    /// What happens to any session; false if it is something else. A client has no places to give.
    fn step(&mut self, session: &mut impl Session, operation: u8, script: &mut Script<'_>) -> bool {
        let from = Some(([10, 0, 0, (operation >> 4) % 3], 1).into());
        match (operation % 16, self.driver.peer(operation)) {
            (0 | 1, _) => drop(self.driver.open(session, Via::Accepted, from)),
            (2, Some(_)) | (3 | 4, _) => {
                return self.driver.step(session, operation, script, Duration::from_millis(50), |_| 0);
            }
            (5, _) => {
                // A port is opened, or not, or a client comes to one.
                let choice = script.byte();
                let known = self.ports.iter().nth(usize::from(choice >> 4)).copied();
                let id = known.unwrap_or_else(|| ListenId::new(u32::from(choice)));
                let now = self.driver.now;
                match choice % 4 {
                    0 | 1 => drop(session.handle_input(now, Input::Listening { id, port: 40_000 })),
                    2 => drop(self.driver.open(session, Via::AcceptedOn(id), from)),
                    _ => drop(session.handle_input(now, Input::ListenFailed(id))),
                }
            }
            (6, _) => {
                let choice = script.byte();
                let known = self.dials.iter().nth(usize::from(choice >> 4)).copied();
                let id = known.unwrap_or_else(|| DialId::new(u32::from(choice)));
                self.dials.remove(&id);
                if choice & 1 == 0 {
                    let _ = self.driver.open(session, Via::Dialled(id), Some(([10, 0, 0, 0], 1).into()));
                } else {
                    let _ = session.handle_input(self.driver.now, Input::DialFailed(id));
                }
            }
            (8.., Some(peer)) => {
                let bytes = packet(script);
                let _ = self.driver.frame(session, peer, Lane::Reliable, &bytes);
            }
            _ => return false,
        }
        true
    }

    fn timers(&self, session: &mut impl Session) {
        self.driver.timers(session, |_, _| {});
    }

    fn obey(&mut self, session: &mut impl Session) {
        let Self { driver, ports, dials } = self;
        driver.obey(session, |output| match output {
            Output::Send { frame, .. } => {
                Packet::decode(frame, &Wire::SERVER).expect("what a session sends is a packet");
            }
            Output::Listen { id } => assert!(ports.insert(id), "a port opened twice"),
            Output::StopListening { id } => drop(ports.remove(&id)),
            Output::Dial { id, .. } => assert!(dials.insert(id), "dialled twice"),
            _ => {}
        });
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
    let mut calls = Calls::default();
    while !script.is_empty() {
        let operation = script.byte();
        if operation % 16 == 2 && calls.driver.peer(operation).is_none() {
            // That many places there are not.
            calls.driver.evict(&mut server, carried, Server::logged_in);
        } else if !calls.step(&mut server, operation, &mut script) {
            let peer = PeerId { slot: u32::from(operation >> 4), generation: 0 };
            let name = NAMES[usize::from(script.byte()) % NAMES.len()];
            let command = match script.byte() % 6 {
                0 | 1 => ServerCommand::Admit { peer, name, proven: operation & 128 == 0 },
                2 => ServerCommand::Reject { peer, reason: name },
                3 => ServerCommand::Kick { peer, reason: name },
                4 => {
                    calls.driver.drains = !calls.driver.drains;
                    continue;
                }
                _ => {
                    server.shutdown(calls.driver.now);
                    continue;
                }
            };
            let _ = calls.driver.command(&mut server, command);
        }
        calls.timers(&mut server);
        if calls.driver.drains {
            calls.obey(&mut server);
        }
        for &peer in &calls.driver.alive {
            if let Some(name) = server.name(peer) {
                assert_eq!(server.find(name), Some(peer), "a client is found by its name");
            }
        }
        assert!(server.relays() <= 3 && server.logged_in() <= 6);
    }
    server_ends(server, calls);
}

/// The calls end, and the server.
fn server_ends(mut server: Server, mut calls: Calls) {
    calls.obey(&mut server);
    // The server knows the peers that are there, and no others.
    assert_eq!(server.peers(), calls.driver.alive.len());
    // Calls end, and then the ports that outlast them.
    for _ in 0..2 {
        calls.driver.pass(Duration::from_secs(400));
        calls.timers(&mut server);
        calls.obey(&mut server);
    }
    assert!(server.poll_timeout().is_none(), "no call waits for ever");
    server.shutdown(calls.driver.now);
    calls.timers(&mut server);
    calls.obey(&mut server);
    assert!(server.peers() == 0 && calls.driver.alive.is_empty() && calls.ports.is_empty());
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
    let mut calls = Calls::default();
    while !script.is_empty() {
        let operation = script.byte();
        if !calls.step(&mut client, operation, &mut script) {
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
                    client.shutdown(calls.driver.now);
                    continue;
                }
            };
            let _ = calls.driver.command(&mut client, command);
        }
        calls.timers(&mut client);
        calls.obey(&mut client);
        assert!(client.calls().count() <= 3);
    }
    client.shutdown(calls.driver.now);
    calls.obey(&mut client);
    assert!(client.calls().count() == 0 && calls.driver.alive.is_empty() && calls.ports.is_empty());
}
