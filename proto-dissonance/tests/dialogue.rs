//! A session of three clients, packet by packet: what each side sends is compared with the script, and what the script
//! says is what the other side gets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

use std::collections::VecDeque;
use voxwire_core::testing::unhex;
use voxwire_core::{DialId, Input, Instant, Lane, Output, PeerId, Session, Via};
use voxwire_dissonance::{
    Client, ClientCommand, ClientId, ClientSettings, Server, ServerCommand, ServerSettings, Speech, Target,
};

const SCRIPT: &str = include_str!("vectors/dialogue.txt");
const NOW: Instant = Instant::ZERO;
/// The clients' name for the server.
const SERVER: PeerId = PeerId { slot: 100, generation: 0 };

/// What a session has sent and nobody has looked at: to whom, how, what.
type Sent = VecDeque<(PeerId, Lane, Vec<u8>)>;

struct Harness {
    server: Server,
    clients: Vec<Client>,
    from_server: Sent,
    from_clients: Vec<Sent>,
}

const fn peer(client: usize) -> PeerId {
    PeerId { slot: client as u32, generation: 0 }
}

fn collect<S: Session>(session: &mut S, sent: &mut Sent) {
    let mut done = 0;
    for output in session.outputs() {
        done += 1;
        if let Output::Send { to, lane, frame, .. } = output {
            sent.push_back((to, lane, frame.to_vec()));
        }
    }
    session.advance(done);
}

impl Harness {
    fn at_server(&mut self, input: Input<'_>) {
        // A refusal is among what the script expects.
        let _ = self.server.handle_input(NOW, input);
        while self.server.poll_timeout() == Some(NOW) {
            self.server.handle_timeout(NOW);
        }
        collect(&mut self.server, &mut self.from_server);
    }

    fn at_client(&mut self, n: usize, input: Input<'_>) {
        let _ = self.clients[n].handle_input(NOW, input);
        while self.clients[n].poll_timeout() == Some(NOW) {
            self.clients[n].handle_timeout(NOW);
        }
        collect(&mut self.clients[n], &mut self.from_clients[n]);
    }

    fn command(&mut self, n: usize, command: ClientCommand<'_>) {
        self.clients[n].handle_command(NOW, command).unwrap();
        collect(&mut self.clients[n], &mut self.from_clients[n]);
    }

    /// `N>`, `N<` or `N>M`.
    fn packet(&mut self, way: &str, lane: Lane, bytes: &[u8], raw: &mut bool) {
        let frame = |peer| Input::Frame { peer, lane, bytes };
        if let Some(n) = way.strip_suffix('<') {
            let n: usize = n.parse().unwrap();
            assert_eq!(self.from_server.pop_front(), Some((peer(n), lane, bytes.to_vec())));
            self.at_client(n, frame(SERVER));
        } else if let Some(n) = way.strip_suffix('>') {
            let n: usize = n.parse().unwrap();
            if !core::mem::take(raw) {
                assert_eq!(self.from_clients[n].pop_front(), Some((SERVER, lane, bytes.to_vec())));
            }
            self.at_server(frame(peer(n)));
        } else {
            let (n, m) = way.split_once('>').unwrap();
            let (n, m): (usize, usize) = (n.parse().unwrap(), m.parse().unwrap());
            assert_eq!(self.from_clients[n].pop_front(), Some((peer(m), lane, bytes.to_vec())));
            self.at_client(m, frame(peer(n)));
        }
    }
}

fn target<'a>(kind: &str, name: &'a str) -> Target<'a> {
    if kind == "room" { Target::Room(name) } else { Target::Player(name) }
}

#[test]
fn d_05_d_06_d_08_d_09_d_10_d_11_d_12_a_session_packet_by_packet() {
    let clients: Vec<Client> =
        ["alice", "bob", "carol"].map(|name| Client::new(name, ClientSettings::DEFAULT).unwrap()).into();
    let server = Server::new(ServerSettings::DEFAULT, 0x1234_5677);
    assert_eq!(server.session(), 0x1234_5678);
    let mut stage = Harness { server, clients, from_server: Sent::new(), from_clients: vec![Sent::new(); 3] };
    let (mut raw, mut packets) = (false, 0);
    for (number, line) in
        SCRIPT.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        let words: Vec<&str> = line.split(' ').collect();
        println!("{}: {line}", number + 1);
        let is_packet = words[0].contains(['<', '>']);
        if !is_packet {
            // All that was to be sent has been, before anything else happens.
            assert_eq!(stage.from_server, [], "line {}", number + 1);
            assert!(
                stage.from_clients.iter().all(VecDeque::is_empty),
                "line {}: {:?}",
                number + 1,
                stage.from_clients
            );
        }
        let n = words[1].parse::<usize>();
        match (words[0], n) {
            (way, _) if is_packet => {
                let lane = if words[1] == "R" { Lane::Reliable } else { Lane::Droppable };
                stage.packet(way, lane, &unhex(words[2]), &mut raw);
                packets += 1;
            }
            ("open", Ok(n)) => {
                stage.at_server(Input::Opened { peer: peer(n), via: Via::Accepted, from: None });
                let via = Via::Dialled(DialId::FIRST);
                stage.at_client(n, Input::Opened { peer: SERVER, via, from: None });
            }
            ("close", Ok(n)) => stage.at_server(Input::Closed { peer: peer(n) }),
            ("path", Ok(n)) => {
                let m: usize = words[2].parse().unwrap();
                stage.at_client(n, Input::Opened { peer: peer(m), via: Via::Accepted, from: None });
                stage.at_client(m, Input::Opened { peer: peer(n), via: Via::Accepted, from: None });
            }
            ("join", Ok(n)) => stage.command(n, ClientCommand::Join { room: words[2] }),
            ("leave", Ok(n)) => stage.command(n, ClientCommand::Leave { room: words[2] }),
            ("speak", Ok(n)) => {
                stage
                    .command(n, ClientCommand::Open { to: target(words[2], words[3]), as_: Speech::DEFAULT });
            }
            ("silence", Ok(n)) => stage.command(n, ClientCommand::Close { to: target(words[2], words[3]) }),
            ("say", Ok(n)) => stage.command(n, ClientCommand::Say { frame: &unhex(words[2]) }),
            ("text", Ok(n)) => {
                stage.command(n, ClientCommand::Text { to: target(words[2], words[3]), text: words[4] });
            }
            ("kick", Ok(n)) => {
                let command = ServerCommand::Kick { client: ClientId::new(n as u16) };
                stage.server.handle_command(NOW, command).unwrap();
                collect(&mut stage.server, &mut stage.from_server);
            }
            ("raw", Ok(_)) => raw = true,
            _ => panic!("line {}: {line}", number + 1),
        }
    }
    assert!(stage.from_server.is_empty() && packets == 56, "{packets}");
}
