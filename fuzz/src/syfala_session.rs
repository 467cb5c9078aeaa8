use crate::{Driver, Script};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use voxwire_core::{Lane, Message, Output, PeerId, Session, Via};
use voxwire_syfala::{
    Audio, Client, ClientCommand, ClientEvent, ClientMessage, ClientSettings, Format, Formats, IoResult,
    IoState, Network, Server, ServerCommand, ServerEvent, ServerMessage, ServerSettings, Wire,
};

const WIRE: Wire = Wire::DEFAULT;
/// Where datagrams come from: the last two are not served.
const SOURCES: [[u8; 4]; 6] =
    [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3], [10, 0, 0, 4], [10, 0, 255, 255], [192, 0, 2, 1]];

/// A script for a server or a client: what is sent is a message and goes to live peers only; audio counts while IO is active and
/// at no other time; refusals and violations change nothing; offers stay within the budget; nothing waits for ever.
pub fn syfala_session(data: &[u8]) {
    let mut script = Script(data);
    if script.byte() & 1 == 0 { server(script) } else { client(script) }
}

/// Where a session's datagrams come from.
#[derive(Default)]
struct Sources {
    driver: Driver,
    /// Connects sent.
    connects: u64,
}

impl Sources {
    fn peer(&self, choice: u8) -> Option<PeerId> {
        let alive = &self.driver.alive;
        alive.get(usize::from(choice) % alive.len().max(1)).copied()
    }

    /// Does what the session wants.
    fn obey<S: Session>(&mut self, session: &mut S, from_server: bool) {
        let Self { driver, connects } = self;
        driver.obey(session, |output| match output {
            Output::Send { frame, .. } if from_server => {
                let message = ServerMessage::decode(frame, &WIRE).expect("what is sent is a message");
                *connects += u64::from(matches!(message, ServerMessage::Connect(_)));
            }
            Output::Send { frame, .. } => {
                ClientMessage::decode(frame, &WIRE).expect("what is sent is a message");
            }
            Output::Broadcast { frame } => assert!(from_server || frame == [0]),
            Output::Validate { .. } | Output::Close { .. } => {}
            other => panic!("{other:?}"),
        });
    }

    /// Hands an input of the script's in; what is refused has queued nothing but a close.
    fn hand_in<'a, S: Session>(
        &mut self,
        session: &mut S,
        operation: u8,
        script: &mut Script<'_>,
        frame: &'a mut Vec<u8>,
        from_client: bool,
    ) -> Option<S::Event<'a>> {
        let choice = script.byte();
        let before = session.outputs().count();
        let result = match operation % 8 {
            0 => {
                let [a, b, c, d] = SOURCES[usize::from(choice) % SOURCES.len()];
                let from = SocketAddr::new(IpAddr::from([a, b, c, d]), 1000 + u16::from(choice));
                self.driver.open(session, Via::Accepted, Some(from))
            }
            1 => {
                let peer = self.peer(choice)?;
                self.driver.close(session, peer)
            }
            _ => {
                let peer = self.peer(choice)?;
                message(script, frame, from_client);
                self.driver.frame(session, peer, Lane::Droppable, frame)
            }
        };
        result.unwrap_or_else(|_| {
            let queued = session.outputs().skip(before).all(|output| matches!(output, Output::Close { .. }));
            assert!(queued, "a violation is answered");
            None
        })
    }
}

/// A message, or any bytes.
fn message(script: &mut Script<'_>, out: &mut Vec<u8>, from_client: bool) {
    let choice = script.byte();
    let audio = Audio::new(u32::from(choice >> 6), u64::from(script.byte()) << (choice & 31), &[7; 24]);
    let formats = [Format::STANDARD; 2];
    let count = usize::from(choice >> 4) % 3;
    out.clear();
    let encoded = if from_client {
        let all = [
            ClientMessage::Discovery,
            ClientMessage::ConnectionSuccess,
            ClientMessage::ConnectionFailed,
            ClientMessage::ConnectionRefused,
            ClientMessage::StartIo,
            ClientMessage::StopIo,
            ClientMessage::Audio(audio),
            ClientMessage::Disconnect,
            ClientMessage::Heartbeat,
        ];
        all.get(usize::from(choice % 10)).map(|message| message.encode(&WIRE, out))
    } else {
        let formats = Formats { inputs: formats[..count].into(), outputs: formats[..1].into() };
        let all = [
            ServerMessage::Connect(formats),
            ServerMessage::StartIoFailed,
            ServerMessage::StartIoRefused,
            ServerMessage::StartIoSuccess,
            ServerMessage::StopIoFailed,
            ServerMessage::StopIoRefused,
            ServerMessage::StopIoSuccess,
            ServerMessage::Audio(audio),
            ServerMessage::Disconnect,
            ServerMessage::Heartbeat,
        ];
        all.get(usize::from(choice % 11)).map(|message| message.encode(&WIRE, out))
    };
    match encoded {
        Some(encoded) => drop(encoded.expect("a message")),
        None => out.extend_from_slice(script.bytes(usize::from(choice))),
    }
}

fn pass(driver: &mut Driver, script: &mut Script<'_>) {
    let millis = [0, 1, 20, 99, 100, 250, 599, 600, 1000, 5001];
    driver.pass(Duration::from_millis(millis[usize::from(script.byte()) % millis.len()]));
}

/// Hands an input to the server, and checks the state that its event tells of.
fn server_input(sources: &mut Sources, server: &mut Server, operation: u8, script: &mut Script<'_>) {
    let mut scratch = Vec::new();
    let active: Vec<PeerId> =
        server.clients().filter(|(_, _, io)| *io == IoState::Active).map(|(peer, ..)| peer).collect();
    match sources.hand_in(server, operation, script, &mut scratch, true) {
        Some(ServerEvent::Audio { client, audio }) => {
            assert!(active.contains(&client) && audio.stream < 1, "audio in no forbidden state");
        }
        Some(ServerEvent::StartIo { client }) => {
            assert_eq!(server.state(client), Some(IoState::StartPending));
        }
        Some(ServerEvent::StopIo { client }) => {
            assert_eq!(server.state(client), Some(IoState::StopPending));
        }
        Some(ServerEvent::Gone { client, .. }) => assert_eq!(server.state(client), None),
        _ => {}
    }
}

fn server(mut script: Script<'_>) {
    let choice = script.byte();
    let formats = [Format::STANDARD; 2];
    let (inputs, outputs) = (&formats[..usize::from(choice & 3).min(2)], &formats[..1]);
    let mut settings = ServerSettings { max_clients: 3, ..ServerSettings::DEFAULT };
    settings.announce_interval = (choice & 4 != 0).then_some(Duration::from_millis(300));
    settings.limits.max_outbox = 4000;
    settings.limits.max_peers = 16;
    let mut server = Server::new(inputs, outputs, settings, 7).expect("a server");
    let networks: [Network; 1] = ["10.0.0.0/16".parse().expect("a network")];
    server.handle_command(crate::START, ServerCommand::Serve { networks: &networks }).expect("served");
    let mut sources = Sources::default();
    let check = |server: &Server, event: Option<ServerEvent<'_>>| match event {
        None | Some(ServerEvent::Gone { .. }) => {}
        // StartIO from who holds an offer accepts it first, and is told behind that.
        Some(ServerEvent::StartIo { client }) => {
            assert!(matches!(server.state(client), Some(IoState::StartPending) | None), "{event:?}");
        }
        Some(event) => panic!("{event:?}"),
    };
    while !script.is_empty() {
        let operation = script.byte();
        if operation % 8 < 6 {
            server_input(&mut sources, &mut server, operation, &mut script);
        } else if operation % 8 == 6 {
            pass(&mut sources.driver, &mut script);
        } else {
            let client = sources.peer(script.byte()).unwrap_or(PeerId { slot: 9, generation: 9 });
            let choice = script.byte();
            let result =
                [IoResult::Success, IoResult::Failed, IoResult::Refused][usize::from(choice >> 4) % 3];
            let command = match choice % 8 {
                0 | 1 => ServerCommand::StartIoResult { client, result },
                2 => ServerCommand::StopIoResult { client, result },
                3 | 4 => ServerCommand::Play { client, stream: u32::from(choice >> 6), samples: &[5; 2000] },
                5 => ServerCommand::Disconnect { client },
                6 => {
                    sources.driver.drains = !sources.driver.drains;
                    continue;
                }
                _ => {
                    server.shutdown(sources.driver.now);
                    continue;
                }
            };
            let (playing, io) = (matches!(command, ServerCommand::Play { .. }), server.state(client));
            if sources.driver.command(&mut server, command).is_ok() {
                assert!(!playing || io == Some(IoState::Active), "played in no forbidden state");
            }
        }
        sources.driver.timers(&mut server, check);
        if sources.driver.drains {
            sources.obey(&mut server, true);
        }
        assert!(server.clients().count() <= 3);
    }
    server_ends(server, sources, check);
}

/// The offers were within their budget, and all clients are given up.
fn server_ends(mut server: Server, mut sources: Sources, check: impl Fn(&Server, Option<ServerEvent<'_>>)) {
    sources.obey(&mut server, true);
    // The budget: twenty at once and twenty a second.
    let seconds = sources.driver.now.saturating_duration_since(crate::START).as_secs();
    let connects = sources.connects;
    assert!(connects <= 20 + 20 * (seconds + 1), "{connects} offers in {seconds} s");
    settle(&mut sources, &mut server, true, check);
    assert_eq!(server.clients().count(), 0, "who says nothing is gone");
    server.shutdown(sources.driver.now);
    assert_eq!(server.poll_timeout(), None);
}

/// Lets much time pass in steps.
fn settle<S: Session>(
    sources: &mut Sources,
    session: &mut S,
    from_server: bool,
    seen: impl Fn(&S, Option<S::Event<'_>>),
) {
    for _ in 0..20 {
        sources.driver.pass(Duration::from_millis(500));
        sources.driver.timers(session, &seen);
        sources.obey(session, from_server);
    }
}

/// Hands an input to the client, and checks the state that its event tells of.
fn client_input(sources: &mut Sources, client: &mut Client, operation: u8, script: &mut Script<'_>) {
    let mut scratch = Vec::new();
    let active: Vec<PeerId> =
        client.servers().filter(|(_, _, io)| *io == Some(IoState::Active)).map(|(peer, ..)| peer).collect();
    match sources.hand_in(client, operation, script, &mut scratch, false) {
        Some(ClientEvent::Audio { server, audio }) => {
            let inputs = client.formats(server).map_or(0, |(inputs, _)| inputs.len());
            assert!(active.contains(&server) && (audio.stream as usize) < inputs);
        }
        Some(ClientEvent::Started { server } | ClientEvent::StopRefused { server }) => {
            assert_eq!(client.state(server), Some(IoState::Active));
        }
        Some(ClientEvent::Stopped { server } | ClientEvent::StartRefused { server }) => {
            assert_eq!(client.state(server), Some(IoState::Inactive));
        }
        Some(ClientEvent::Lost { server, .. }) => assert!(client.formats(server).is_none()),
        _ => {}
    }
}

fn client(mut script: Script<'_>) {
    let choice = script.byte();
    let mut settings = ClientSettings { max_candidates: 3, max_servers: 2, ..ClientSettings::DEFAULT };
    settings.limits.max_outbox = 4000;
    settings.limits.max_peers = 16;
    let mut client = Client::new(settings);
    if choice & 1 != 0 {
        client.handle_command(crate::START, ClientCommand::Discover).expect("looking");
    }
    let mut sources = Sources::default();
    let check = |_: &Client, event: Option<ClientEvent<'_>>| {
        assert!(event.is_none_or(|event| matches!(event, ClientEvent::Lost { .. })), "{event:?}");
    };
    while !script.is_empty() {
        let operation = script.byte();
        if operation % 8 < 6 {
            client_input(&mut sources, &mut client, operation, &mut script);
        } else if operation % 8 == 6 {
            pass(&mut sources.driver, &mut script);
        } else {
            let server = sources.peer(script.byte()).unwrap_or(PeerId { slot: 9, generation: 9 });
            let choice = script.byte();
            let command = match choice % 12 {
                0..=2 => ClientCommand::Accept { server },
                3 | 4 => ClientCommand::StartIo { server },
                5 => ClientCommand::StopIo { server },
                6 => ClientCommand::Play { server, stream: u32::from(choice >> 6), samples: &[5; 2000] },
                7 => ClientCommand::Disconnect { server },
                8 => ClientCommand::Refuse { server },
                9 => ClientCommand::Fail { server },
                10 => {
                    sources.driver.drains = !sources.driver.drains;
                    continue;
                }
                _ => ClientCommand::StopDiscovery,
            };
            let (playing, io) = (matches!(command, ClientCommand::Play { .. }), client.state(server));
            if sources.driver.command(&mut client, command).is_ok() {
                assert!(!playing || io == Some(IoState::Active), "played in no forbidden state");
            }
        }
        sources.driver.timers(&mut client, check);
        if sources.driver.drains {
            sources.obey(&mut client, false);
        }
        let connected = client.servers().filter(|(_, _, io)| io.is_some()).count();
        assert!(connected <= 2 && client.servers().count() - connected <= 3);
    }
    sources.obey(&mut client, false);
    settle(&mut sources, &mut client, false, check);
    assert_eq!(client.servers().count(), 0, "who says nothing is gone");
    client.shutdown(sources.driver.now);
    assert_eq!(client.poll_timeout(), None);
}
