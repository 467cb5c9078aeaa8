use crate::{Driver, Script};
use core::time::Duration;
use std::collections::BTreeMap;
use voxwire_core::testing::law_timers;
use voxwire_core::{DialId, Input, Instant, Lane, Message, Output, PeerId, Session, Via};
use voxwire_msgpack::{
    Client, ClientCommand, ClientMessage, ClientSettings, Code, Samples, Secret, Server, ServerCommand,
    ServerMessage, ServerSettings, Text, Ticket, Violation, Wire,
};

const NAMES: [&str; 5] = ["a", "b", "c", "", "a\u{200b}"];
const GROUPS: [&str; 3] = ["g", "h", ""];
const TOKENS: [&str; 3] =
    ["00000000-0000-4000-8000-000000000000", "11111111-1111-4111-8111-111111111111", "x"];

/// A script of connections, messages, garbage, answers and time, for a server or for a client.
pub fn msgpack_session(data: &[u8]) {
    let mut script = Script(data);
    if script.byte() % 4 == 0 { client(script) } else { server(script) }
}

/// Of all lengths on the wire.
fn samples() -> Vec<i16> {
    (0..40).map(|n| n * 800 - 16_000).collect()
}

fn digest(token: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.iter_mut().zip(token).for_each(|(to, from)| *to = *from);
    digest
}

/// A message that may well make sense.
fn from_client<'a>(script: &mut Script<'_>, samples: &'a [i16]) -> ClientMessage<'a> {
    let (kind, choice) = (script.byte(), usize::from(script.byte()));
    let username = Text::from(NAMES[choice % 5]);
    let token = Secret::from(TOKENS[(choice >> 3) % 3]);
    let recipient = Text::from(NAMES[(choice >> 5) % 5]);
    let (group_name, content, contact) = (Text::from(GROUPS[(choice >> 6) % 3]), Text::from("x"), recipient);
    let password = Secret::from("p");
    let samples = Samples::from(samples);
    match kind % 14 {
        0 => ClientMessage::Register { username, password },
        1 | 2 => ClientMessage::Login { username, password },
        3 => ClientMessage::Logout { username },
        4 => ClientMessage::AddContact { username, token, contact },
        5 => ClientMessage::Whisper { username, token, recipient, content },
        6 => ClientMessage::CreateGroup { username, token, group_name },
        7 => ClientMessage::JoinGroup { username, token, group_name },
        8 => ClientMessage::MsgGroup { username, token, group_name, content },
        9 => {
            let (channels, sample_rate) = (u64::from(script.byte() % 3), 8000);
            ClientMessage::VoiceMsg { username, token, recipient, channels, sample_rate, samples }
        }
        10 | 11 => ClientMessage::JoinCall { username, token, group_name },
        12 => ClientMessage::LeaveCall { username, token },
        _ => ClientMessage::CallData { username, token, group_name, samples },
    }
}

fn from_server<'a>(script: &mut Script<'_>, samples: &'a [i16]) -> ServerMessage<'a> {
    let (kind, choice) = (script.byte(), usize::from(script.byte()));
    let sender = Text::from(NAMES[choice % 5]);
    let (group_name, content) = (Text::from(GROUPS[(choice >> 3) % 3]), Text::from("x"));
    let samples = Samples::from(samples);
    let actions = ["register", "login", "logout", "whisper", "join_call", "leave_call", "fly", ""];
    match kind % 8 {
        0 => ServerMessage::LoggedIn { username: sender, token: TOKENS[(choice >> 5) % 3].into() },
        1 => ServerMessage::CallJoined { group_name },
        2 => ServerMessage::Whisper { sender, content },
        3 => ServerMessage::MsgGroup { group_name, sender, content },
        4 => ServerMessage::VoiceMsg { sender, channels: 1, sample_rate: 8000, samples },
        5 => ServerMessage::CallData { sender, samples },
        _ => {
            let code = if choice & 64 == 0 { Code(513) } else { Code(0) };
            let action = actions[choice % 8];
            let code = if ["login", "join_call"].contains(&action) { Code(515) } else { code };
            ServerMessage::Response { action: action.into(), code }
        }
    }
}

/// The connections of a server, and how many responses each client has to get.
#[derive(Default)]
struct Office {
    driver: Driver,
    paused: BTreeMap<PeerId, Instant>,
    owed: BTreeMap<PeerId, i64>,
    /// What the application has been asked.
    tickets: Vec<Ticket>,
}

impl Office {
    fn frame(&mut self, server: &mut Server, peer: PeerId, bytes: &[u8]) {
        if self.paused.get(&peer).is_some_and(|until| *until > self.driver.now) {
            return;
        }
        let result = self.driver.frame(server, peer, Lane::Reliable, bytes);
        if let Ok(Some(event)) = &result {
            self.tickets.extend(event.ticket());
        }
        match result {
            Err(Violation::OutboxFull(_) | Violation::UnknownPeer) => {}
            Err(Violation::InWork) => panic!("nothing but whole frames comes in here"),
            // An update is never answered.
            _ => *self.owed.entry(peer).or_default() += i64::from(!is_update(bytes)),
        }
    }

    /// Hands in what the server has put off; it counted when it came.
    fn deferred(&mut self, server: &mut Server) {
        while let Some(deferred) = server.take_deferred() {
            let result = server.handle_input(self.driver.now, Input::from(&deferred));
            if let Ok(Some(event)) = &result {
                self.tickets.extend(event.ticket());
            }
            assert!(
                !matches!(result, Err(Violation::OutboxFull(_))),
                "put off, and then there is no room for it"
            );
            timers(server, self.driver.now);
        }
    }

    fn obey(&mut self, server: &mut Server) {
        let Self { driver, paused, owed, .. } = self;
        driver.obey(server, |output| match output {
            Output::Send { to, lane, frame, .. } => {
                let message = ServerMessage::decode(frame, &Wire::SERVER).expect("a message");
                let droppable = matches!(message, ServerMessage::CallData { .. });
                assert_eq!(droppable, lane == Lane::Droppable);
                let is_response = matches!(
                    message,
                    ServerMessage::Response { .. }
                        | ServerMessage::LoggedIn { .. }
                        | ServerMessage::CallJoined { .. }
                );
                if is_response {
                    let owed = owed.entry(to).or_default();
                    *owed -= 1;
                    assert!(*owed >= 0, "a response to nothing");
                }
            }
            Output::Pause { peer, until } => {
                let paused = paused.entry(peer).or_default();
                *paused = until.max(*paused);
            }
            Output::Resume { peer } => drop(paused.remove(&peer)),
            _ => {}
        });
    }
}

/// As ours reads it: `update`, however it is written.
fn is_update(bytes: &[u8]) -> bool {
    let mut bytes = bytes;
    match rmpv::decode::read_value_with_max_depth(&mut bytes, 16) {
        Ok(rmpv::Value::String(text)) => text.as_bytes() == b"update",
        Ok(rmpv::Value::Binary(text)) => text == b"update",
        _ => false,
    }
}

fn timers(session: &mut impl Session, now: Instant) {
    law_timers(session, now, |_, _| {});
}

fn server_settings(choice: u8) -> ServerSettings {
    let mut settings = if choice & 1 == 0 { ServerSettings::DEFAULT } else { ServerSettings::ORIGINAL };
    settings.keep = choice & 2 == 0;
    settings.max_own_groups = 2;
    settings.unused_group_lifetime = settings.lone_group_lifetime;
    settings.max_members = 2;
    settings.max_connections = 2;
    settings.limits.max_peers = 6;
    settings.limits.max_outbox = 20_000;
    settings
}

fn server(mut script: Script<'_>) {
    let mut server = Server::new(server_settings(script.byte()), 7, digest);
    let mut office = Office::default();
    while !script.is_empty() {
        server_input(&mut office, &mut server, &mut script);
        timers(&mut server, office.driver.now);
        office.deferred(&mut server);
        if office.driver.drains {
            office.obey(&mut server);
        }
        assert!(server.in_calls() <= 6 && server.online() <= 6);
    }
    server_ends(server, office);
}

fn server_input(office: &mut Office, server: &mut Server, script: &mut Script<'_>) {
    let operation = script.byte();
    match (operation % 16, office.driver.peer(operation)) {
        (3, Some(peer)) => {
            let len = usize::from(script.byte());
            office.frame(server, peer, script.bytes(len));
        }
        (0..=4, _) => {
            let unit = Duration::from_millis(300);
            office.driver.step(server, operation, script, unit, Server::online);
        }
        (5, _) => office.driver.drains = !office.driver.drains,
        (6 | 7, _) => application(office, server, usize::from(operation >> 4), script),
        (8, Some(peer)) if script.byte().is_multiple_of(8) => {
            let _ = server.handle_command(office.driver.now, ServerCommand::Kick { peer });
        }
        (_, Some(peer)) => {
            let mut bytes = Vec::new();
            from_client(script, &samples()).encode(&Wire::SERVER, &mut bytes).expect("small");
            office.frame(server, peer, &bytes);
        }
        _ => {}
    }
}

/// A command of the application.
fn application(office: &Office, server: &mut Server, slot: usize, script: &mut Script<'_>) {
    let choice = script.byte();
    let peer = PeerId { slot: slot as u32, generation: u32::from(choice >> 6) };
    let (group_name, username) = (Text::from(GROUPS[slot % 3]), Text::from(NAMES[usize::from(choice) % 5]));
    // The newest, mostly; older ones are answered late, or twice.
    let newest = office.tickets.len().wrapping_sub(1 + usize::from(choice >> 6));
    let ticket = office.tickets.get(newest).or_else(|| office.tickets.first()).copied();
    let samples = samples();
    let command = match (choice % 8, ticket) {
        (0 | 1, Some(ticket)) => ServerCommand::Allow { ticket },
        (2 | 3, Some(ticket)) => ServerCommand::Admit { ticket, token: TOKENS[slot % 2].into() },
        (4, Some(ticket)) => ServerCommand::Refuse { ticket, code: Code(515) },
        (5, _) => ServerCommand::Deliver { peer, update: from_server(script, &samples) },
        (6, _) => ServerCommand::Member { group_name, username },
        _ => ServerCommand::Group { group_name, owner: username },
    };
    let _ = office.driver.command(server, command);
}

/// In the end all that waits is answered, given up or kept for a known time.
fn server_ends(mut server: Server, mut office: Office) {
    // What was put off waits for room as well.
    loop {
        office.obey(&mut server);
        office.deferred(&mut server);
        if server.outputs().next().is_none() {
            break;
        }
    }
    // The server knows the peers that are there, and no others.
    assert_eq!(server.peers(), office.driver.alive.len());
    // In the end every request has its one response, for any behaviour of the application: each may wait until it is given up on, one
    // after the other.
    for _ in 0..1000 {
        office.driver.pass(Duration::from_secs(31));
        timers(&mut server, office.driver.now);
        office.deferred(&mut server);
        office.obey(&mut server);
    }
    for peer in &office.driver.alive {
        assert_eq!(office.owed.get(peer).copied().unwrap_or(0), 0, "a request without a response");
    }
    // An application answers at last; until it has, a group is kept for the user who wants to join it.
    for ticket in std::mem::take(&mut office.tickets) {
        let _ = server.handle_command(office.driver.now, ServerCommand::Refuse { ticket, code: Code(515) });
    }
    // Groups that no user used are looked at once a day, and stay as long as a user is in their call.
    let day = ServerSettings::DEFAULT.lone_group_lifetime;
    for _ in 0..2 {
        office.driver.pass(day);
        timers(&mut server, office.driver.now);
    }
    let next = office.driver.now.saturating_add(day);
    assert!(server.poll_timeout().is_none_or(|at| at == next), "nothing else waits for ever");
    server.shutdown(office.driver.now);
    timers(&mut server, office.driver.now);
    office.obey(&mut server);
    assert!(
        server.peers() == 0
            && server.online() == 0
            && server.in_calls() == 0
            && office.driver.alive.is_empty()
    );
    timers(&mut server, next.saturating_add(day));
    assert!(server.poll_timeout().is_none(), "nothing waits for ever");
}

fn client(mut script: Script<'_>) {
    let mut settings = ClientSettings::DEFAULT;
    settings.max_requests = 4;
    settings.limits.max_outbox = 20_000;
    if script.byte() & 1 == 0 {
        settings.reconnect = None;
    }
    let mut client = Client::new(settings);
    let (mut driver, mut dialling) = (Driver::default(), true);
    while !script.is_empty() {
        let operation = script.byte();
        match (operation % 8, driver.alive.first().copied()) {
            (0, None) if dialling => {
                dialling = false;
                let _ = driver.open(&mut client, Via::Dialled(DialId::FIRST), None);
            }
            (1, None) if dialling => {
                dialling = false;
                let _ = client.handle_input(driver.now, Input::DialFailed(DialId::FIRST));
            }
            (2, Some(lost)) if operation & 32 == 0 => {
                driver.close(&mut client, lost).expect("the server that there is can go");
            }
            (3, _) => driver.pass(Duration::from_millis(u64::from(script.byte()) * 200)),
            (4, Some(peer)) => {
                let len = usize::from(script.byte());
                let _ = driver.frame(&mut client, peer, Lane::Reliable, script.bytes(len));
            }
            (5 | 6, Some(peer)) => {
                let mut bytes = Vec::new();
                from_server(&mut script, &samples()).encode(&Wire::SERVER, &mut bytes).expect("small");
                let _ = driver.frame(&mut client, peer, Lane::Reliable, &bytes);
            }
            _ => user(&driver, &mut client, script.byte()),
        }
        driver.timers(&mut client, |_, _| {});
        let mut dials = 0;
        driver.obey(&mut client, |output| match output {
            Output::Send { frame, .. } => {
                ClientMessage::decode(frame, &Wire::SERVER).expect("a message");
            }
            Output::Dial { .. } => dials += 1,
            _ => {}
        });
        assert!(dials + usize::from(dialling) + driver.alive.len() <= 1, "one connection at a time");
        dialling |= dials > 0;
        assert!(client.in_work() <= 6 && client.is_connected() != driver.alive.is_empty());
        assert!(client.call().is_none() || client.name().is_some());
    }
    client.shutdown(driver.now);
    driver.pass(Duration::from_secs(100));
    driver.timers(&mut client, |_, _| {});
    driver.obey(&mut client, |_| {});
    assert!(driver.alive.is_empty(), "the server is left");
    assert!(!client.is_connected() && client.in_work() == 0);
    assert!(client.poll_timeout().is_none(), "nothing waits for ever");
}

/// A command of the user.
fn user(driver: &Driver, client: &mut Client, choice: u8) {
    let (username, password) = (Text::from(NAMES[usize::from(choice) % 5]), Secret::from("p"));
    let group_name = Text::from(GROUPS[usize::from(choice >> 4) % 3]);
    let samples = samples();
    let command = match choice % 10 {
        0 => ClientCommand::Register { username, password },
        1 | 2 => ClientCommand::Login { username, password },
        3 => ClientCommand::Logout,
        4 => ClientCommand::Whisper { recipient: username, content: username },
        5 => ClientCommand::CreateGroup { group_name },
        6 | 7 => ClientCommand::JoinCall { group_name },
        8 => ClientCommand::LeaveCall,
        _ => ClientCommand::Say { samples: samples[..].into() },
    };
    let _ = driver.command(client, command);
}
