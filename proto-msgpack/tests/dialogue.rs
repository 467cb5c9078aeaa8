//! A captured conversation of original programs, replayed from either side: our server answers as the original did, and our
//! client takes and says what the original's clients did.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use harness::{Office, digest};
use std::collections::BTreeMap;
use voxwire_core::testing::unhex;
use voxwire_core::{
    Framing as _, Handler, Input, Instant, Lane, Message, Output, PeerId, Progress, Session, Via,
};
use voxwire_msgpack::{
    Client, ClientCommand, ClientEvent, ClientMessage, ClientSettings, Framing, Server, ServerMessage,
    ServerSettings, Wire,
};

const DIALOGUE: &str = include_str!("vectors/dialogue.txt");

#[derive(Debug, Clone, PartialEq)]
enum Line {
    Open(usize),
    Close(usize),
    Unit(usize, bool, Vec<u8>),
}

fn lines() -> Vec<Line> {
    let lines = DIALOGUE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let connection = words[0].parse().unwrap();
            match words[1] {
                "open" => Line::Open(connection),
                "close" => Line::Close(connection),
                side => Line::Unit(connection, side == "client", unhex(words[2])),
            }
        })
        .collect()
}

/// A connection as a driver has it: units go in, units come out.
struct Pipe {
    framing: Framing,
    peer: PeerId,
    out: Vec<u8>,
}

impl Pipe {
    fn new(framing: Framing, connection: usize) -> Self {
        let peer = PeerId { slot: connection as u32, generation: 0 };
        let mut pipe = Self { framing, peer, out: Vec::new() };
        pipe.framing.take_pending(&mut pipe.out);
        pipe
    }

    /// The message in a unit, if there is one.
    fn cut(&mut self, unit: &[u8]) -> Option<Vec<u8>> {
        let progress = self.framing.next_frame(unit).unwrap();
        self.framing.take_pending(&mut self.out);
        match progress {
            Progress::Frame { header, body } => {
                assert_eq!(header + body, unit.len());
                Some(unit[header..].to_vec())
            }
            Progress::Skip(n) => {
                assert_eq!(n.get(), unit.len());
                None
            }
            Progress::NeedMore(_) => panic!("a whole unit"),
        }
    }

    fn send(&mut self, frame: &[u8]) {
        self.framing.put_header(frame, &mut self.out);
        self.out.extend_from_slice(frame);
    }
}

/// The originals' tokens and ours, in the order in which they appear.
#[derive(Default)]
struct Tokens(BTreeMap<Vec<u8>, Vec<u8>>);

impl Tokens {
    fn translate(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for (theirs, ours) in &self.0 {
            if let Some(at) = bytes.windows(theirs.len()).position(|window| window == theirs) {
                bytes[at..at + theirs.len()].copy_from_slice(ours);
            }
        }
        bytes
    }

    fn learn(&mut self, theirs: &[u8], ours: &[u8]) {
        let token = |bytes: &[u8]| match ServerMessage::decode(bytes, &Wire::CLIENT) {
            Ok(ServerMessage::LoggedIn { token, .. }) => Some(token.0.to_vec()),
            _ => None,
        };
        if let (Some(theirs), Some(ours)) = (token(theirs), token(ours)) {
            self.0.insert(theirs, ours);
        }
    }
}

#[test]
fn m_07_m_08_our_server_answers_as_the_original_did() {
    let mut server = Server::new(ServerSettings::ORIGINAL, 1, digest);
    let mut office = Office::original();
    let mut pipes: BTreeMap<usize, Pipe> = BTreeMap::new();
    let mut tokens = Tokens::default();
    let now = Instant::ZERO;
    let mut answered = 0;
    for line in lines() {
        match line {
            Line::Open(connection) => {
                let pipe = Pipe::new(server.framing(), connection);
                let input = Input::Opened { peer: pipe.peer, via: Via::Accepted, from: None };
                server.handle_input(now, input).unwrap();
                pipes.insert(connection, pipe);
            }
            // The last one is the server's end.
            Line::Close(connection) => {
                let peer = pipes[&connection].peer;
                assert!(pipes[&connection].out.is_empty(), "nothing that the original did not say");
                server.handle_input(now, Input::Closed { peer }).unwrap();
            }
            Line::Unit(connection, true, unit) => {
                let unit = tokens.translate(&unit);
                let pipe = pipes.get_mut(&connection).unwrap();
                let peer = pipe.peer;
                if let Some(frame) = pipe.cut(&unit) {
                    let input = Input::Frame { peer, lane: Lane::Reliable, bytes: &frame };
                    if let Some(event) = server.handle_input(now, input).unwrap() {
                        office.on_event(&mut server, now, event);
                    }
                }
                let sent: Vec<(PeerId, Vec<u8>)> = server
                    .outputs()
                    .filter_map(|output| match output {
                        Output::Send { to, frame, .. } => Some((to, frame.to_vec())),
                        _ => None,
                    })
                    .collect();
                let count = server.outputs().count();
                server.advance(count);
                for (to, frame) in sent {
                    pipes.get_mut(&(to.slot as usize)).unwrap().send(&frame);
                }
            }
            Line::Unit(connection, false, unit) => {
                let pipe = pipes.get_mut(&connection).unwrap();
                // What the original said, ours has said; a greeting may be ahead of the captured one.
                if pipe.out.len() < unit.len() {
                    assert!(unit[0] == 0xff || unit[0] == 4, "unanswered: {unit:02x?}");
                    continue;
                }
                let ours: Vec<u8> = pipe.out.drain(..unit.len()).collect();
                if unit[0] == 0 {
                    tokens.learn(&unit[2..], &ours[2..]);
                    answered += 1;
                }
                assert_eq!(ours, tokens.translate(&unit));
            }
        }
    }
    assert_eq!(answered, 28, "all of them");
}

/// What made the original's client say that.
fn command<'a>(message: &ClientMessage<'a>) -> ClientCommand<'a> {
    match *message {
        ClientMessage::LoginForRequests { .. } => unreachable!("the originals have no such thing"),
        ClientMessage::Register { username, password } => ClientCommand::Register { username, password },
        ClientMessage::Login { username, password } => ClientCommand::Login { username, password },
        ClientMessage::Logout { .. } => ClientCommand::Logout,
        ClientMessage::AddContact { contact, .. } => ClientCommand::AddContact { contact },
        ClientMessage::Whisper { recipient, content, .. } => ClientCommand::Whisper { recipient, content },
        ClientMessage::CreateGroup { group_name, .. } => ClientCommand::CreateGroup { group_name },
        ClientMessage::JoinGroup { group_name, .. } => ClientCommand::JoinGroup { group_name },
        ClientMessage::MsgGroup { group_name, content, .. } => {
            ClientCommand::MsgGroup { group_name, content }
        }
        ClientMessage::VoiceMsg { recipient, channels, sample_rate, samples, .. } => {
            ClientCommand::VoiceMsg { recipient, channels, sample_rate, samples }
        }
        ClientMessage::JoinCall { group_name, .. } => ClientCommand::JoinCall { group_name },
        ClientMessage::LeaveCall { .. } => ClientCommand::LeaveCall,
        ClientMessage::CallData { samples, .. } => ClientCommand::Say { samples },
    }
}

#[test]
fn m_10_our_clients_say_and_take_what_the_originals_did() {
    let now = Instant::ZERO;
    let mut ends: BTreeMap<usize, (Client, Pipe)> = BTreeMap::new();
    // What the original clients said and ours have not said yet: ours go by the server's version, and so wait for it.
    let mut owed: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let mut heard = 0;
    for line in lines() {
        match line {
            Line::Open(connection) => {
                let client = Client::new(ClientSettings { reconnect: None, ..ClientSettings::DEFAULT });
                let pipe = Pipe::new(client.framing(), connection);
                ends.insert(connection, (client, pipe));
            }
            Line::Close(connection) => {
                let (client, pipe) = ends.get_mut(&connection).unwrap();
                let peer = pipe.peer;
                let event = client.handle_input(now, Input::Closed { peer }).unwrap();
                let gone = ClientEvent::Disconnected { unanswered: Vec::new(), retry_at: None };
                assert_eq!(event, Some(gone));
            }
            Line::Unit(connection, true, mut unit) => {
                let (client, pipe) = ends.get_mut(&connection).unwrap();
                if unit[0] == 0xff {
                    // Ours says 3.1, so that it may be asked by PING what it has.
                    unit[11] = 1;
                }
                if unit[0] == 0 {
                    if !client.is_connected() {
                        assert!(pipe.framing.is_ready());
                        let (peer, via) = (pipe.peer, Via::Accepted);
                        client.handle_input(now, Input::Opened { peer, via, from: None }).unwrap();
                    }
                    let message = ClientMessage::decode(&unit[2..], &Wire::SERVER).unwrap();
                    client.handle_command(now, command(&message)).unwrap();
                    for output in client.outputs() {
                        if let Output::Send { frame, .. } = output {
                            pipe.send(frame);
                        }
                    }
                    let count = client.outputs().count();
                    client.advance(count);
                }
                let owed = owed.entry(connection).or_default();
                owed.extend(unit);
                let both = owed.len().min(pipe.out.len());
                assert_eq!(
                    pipe.out.drain(..both).collect::<Vec<u8>>(),
                    owed.drain(..both).collect::<Vec<u8>>()
                );
            }
            Line::Unit(connection, false, unit) => {
                let (client, pipe) = ends.get_mut(&connection).unwrap();
                if let Some(frame) = pipe.cut(&unit) {
                    let input = Input::Frame { peer: pipe.peer, lane: Lane::Reliable, bytes: &frame };
                    assert!(client.handle_input(now, input).unwrap().is_some());
                    heard += 1;
                }
            }
        }
    }
    assert_eq!(heard, 28);
    assert!(owed.values().all(Vec::is_empty));
    assert!(ends.values().all(|(client, _)| client.stats().violations == 0 && client.in_work() == 0));
}
