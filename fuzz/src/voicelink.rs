use crate::{Driver, Script};
use core::time::Duration;
use voxwire_core::testing::law_timers;
use voxwire_core::testing::{chop, law_frame};
use voxwire_core::{Input, Lane, Message, Moderation as _, Output, PeerId, Session, Via};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientSettings, Format, Framing, Handshake, MAX_DATA, Packet,
    Parameters, Server, ServerCommand, ServerSettings, SessionState, Wire,
};

const ORDERS: [ByteOrder; 2] = [ByteOrder::BigEndian, ByteOrder::LittleEndian];

/// Any bytes, in both byte orders: no panic, and what decodes obeys the laws.
pub fn voicelink_message(data: &[u8]) {
    for order in ORDERS {
        for type_0_not_found in [true, false] {
            law_frame::<Packet<'static>>(data, &Wire { type_0_not_found, ..Wire::new(order) });
        }
    }
}

/// Any stream: the same packets however it is cut, and nothing beyond the limits.
pub fn voicelink_stream(data: &[u8]) {
    chop(|| Framing::server(1 << 20), data, 1);
    chop(|| Framing::server(64), data, 2);
    for order in ORDERS {
        chop(|| Framing::client(order, MAX_DATA), data, 3);
    }
}

/// A script of connections, packets, garbage, commands and time, for a server or for a client.
pub fn voicelink_session(data: &[u8]) {
    let mut script = Script(data);
    if script.byte() % 4 == 0 { client(script) } else { server(script) }
}

fn parameters(script: &mut Script<'_>) -> Parameters {
    let choice = script.byte();
    Parameters {
        sample_rate: if choice % 16 == 15 { 0 } else { 8000 },
        channels: u16::from(choice >> 4),
        format: Format::ALL[usize::from(choice) % 5],
        chunk_size: u32::from(choice) << 13,
    }
}

fn packet<'a>(script: &mut Script<'a>) -> Packet<'a> {
    let kind = script.byte() % 8;
    let parameters = parameters(script);
    let len = usize::from(script.byte());
    match kind {
        0 => {
            // Names from a small set, so that they meet.
            let user_name: &[u8] = [&b""[..], b"a", b"b", b"c"][len % 4];
            Packet::Handshake(Handshake { parameters, user_name, optional: script.bytes(len / 4 % 8) })
        }
        1 => {
            Packet::Handshake(Handshake { parameters, user_name: b"", optional: [b"a", b"b", b"c"][len % 3] })
        }
        2 => Packet::UserNotFound,
        3 => Packet::Parameters { parameters, optional: script.bytes(len % 8) },
        4 => Packet::Close { optional: b"" },
        5 => Packet::Accept { optional: script.bytes(len % 8) },
        6 => Packet::Drop { optional: b"" },
        _ => Packet::Data(script.bytes(len)),
    }
}

fn server_command(script: &mut Script<'_>, peer: PeerId, name: &'static str) -> ServerCommand<'static> {
    match script.byte() % 8 {
        0 => ServerCommand::Admit { peer, proven: false },
        1 => ServerCommand::Admit { peer, proven: true },
        2 => ServerCommand::Reject { peer, reason: "no" },
        3 => ServerCommand::Introduce { peer, name, reachable: true, order: None },
        4 => ServerCommand::Block { callee: "a", caller: name },
        5 => ServerCommand::Unblock { callee: "a", caller: name },
        6 => ServerCommand::EndCall { peer, reason: "over" },
        _ => ServerCommand::Kick { peer, reason: "out" },
    }
}

fn client_command<'a>(script: &mut Script<'a>, order: ByteOrder) -> ClientCommand<'a> {
    let parameters = parameters(script);
    match script.byte() % 8 {
        0 => ClientCommand::Register { name: "a", secret: None, preferred: parameters, samples: order },
        1 => ClientCommand::Call { user: b"b", parameters, optional: b"" },
        2 | 3 => ClientCommand::Accept { optional: b"" },
        4 => ClientCommand::Counter { parameters, optional: b"" },
        5 => ClientCommand::Close { optional: b"" },
        6 => ClientCommand::Drop { optional: b"" },
        _ => ClientCommand::Say { samples: script.bytes(8) },
    }
}

fn server(mut script: Script<'_>) {
    let mut settings =
        ServerSettings { ask: script.byte() % 2 == 1, max_blocked: 2, ..ServerSettings::DEFAULT };
    settings.limits.max_peers = 6;
    settings.limits.max_outbox = 8000;
    settings.call_idle_timeout = Duration::from_secs(60);
    let mut server = Server::new(settings, 7);
    let mut driver = Driver::default();
    // Loopback, where one address is many people.
    driver.network = [127, 0, 0];
    while !script.is_empty() {
        let operation = script.byte();
        match (operation % 16, driver.peer(operation)) {
            (0..=4, _) => {
                driver.step(
                    &mut server,
                    operation,
                    &mut script,
                    Duration::from_millis(200),
                    Server::registered,
                );
            }
            (5, Some(peer)) => {
                let name = ["a", "b", "c", "door"][usize::from(operation >> 6)];
                let _ = driver.command(&mut server, server_command(&mut script, peer, name));
            }
            (6, _) => driver.drains = !driver.drains,
            (7, None) => server.shutdown(driver.now),
            (_, Some(peer)) => {
                let mut frame = Vec::new();
                let order = ORDERS[usize::from(peer.slot % 2 == 1)];
                packet(&mut script).encode(&Wire::new(order), &mut frame).expect("a small packet");
                let _ = driver.frame(&mut server, peer, Lane::Reliable, &frame);
            }
            _ => {}
        }
        driver.timers(&mut server, |_, _| {});
        let waiting = server.outputs().map(|output| match output {
            Output::Send { frame, .. } => frame.len(),
            _ => 0,
        });
        let bytes: usize = waiting.sum();
        assert!(bytes <= 8000 + 6 * 1200, "the outbox is bounded");
        if driver.drains || bytes > 4000 {
            driver.obey(&mut server, |_| {});
        } else {
            // Closes are obeyed at once, as drivers do; what is before them goes with them.
            driver.obey_closes(&mut server);
        }
        assert!(server.peers() <= 6 && server.registered() <= server.peers());
        assert_eq!(server.peers(), driver.alive.len(), "the session and its driver agree on who is there");
        for (caller, callee, _) in server.calls() {
            assert!(caller != callee && server.address(caller).is_some() && server.address(callee).is_some());
        }
    }
}

fn client(mut script: Script<'_>) {
    let order = ORDERS[usize::from(script.byte() % 2)];
    let mut client = Client::new(ClientSettings { order, ..ClientSettings::DEFAULT });
    let (peer, mut now) = (PeerId { slot: 0, generation: 0 }, crate::START);
    while !script.is_empty() {
        let operation = script.byte();
        match operation % 16 {
            0 => {
                let _ = client.handle_input(now, Input::Opened { peer, via: Via::Accepted, from: None });
            }
            1 if operation > 128 => {
                let _ = client.handle_input(now, Input::Closed { peer });
            }
            2 => {
                let len = usize::from(script.byte());
                let _ = client
                    .handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: script.bytes(len) });
            }
            3 => now = now.saturating_add(Duration::from_secs(u64::from(script.byte()))),
            4..=9 => {
                let mut frame = Vec::new();
                packet(&mut script).encode(&Wire::new(order), &mut frame).expect("a small packet");
                let before = client.state();
                let input = Input::Frame { peer, lane: Lane::Reliable, bytes: &frame };
                if client.handle_input(now, input).is_err() {
                    assert_eq!(client.state(), before, "a violation changes nothing");
                }
            }
            _ => {
                let command = client_command(&mut script, order);
                let before = client.state();
                if crate::command(&mut client, now, command).is_err() {
                    assert_eq!(client.state(), before, "a refusal changes nothing");
                }
            }
        }
        law_timers(&mut client, now, |_, event| assert!(event.is_some()));
        let waiting = matches!(
            client.state(),
            SessionState::Calling(_)
                | SessionState::Deciding(_)
                | SessionState::Ringing(_)
                | SessionState::Countering(_)
        );
        assert!(!waiting || client.poll_timeout().is_some(), "nothing waits for ever");
        client.advance(usize::MAX);
    }
}
