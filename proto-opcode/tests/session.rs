//! Servers and clients in the simulator: log-ins, contact lists, calls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::time::Duration;
use voxwire_core::testing::{Log, Net, NodeId, Sim, Transport};
use voxwire_core::{Handler, Instant, Session as _};
use voxwire_opcode::{
    CallId, CallState, Client, ClientCommand, ClientEvent, ClientSettings, RelayAddress, Role, Server,
    ServerSettings, ServerStats,
};

const SECOND: Duration = Duration::from_secs(1);

/// What an application does when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accept,
    Refuse,
    /// Lets it ring.
    Wait,
}

struct App {
    answer: Answer,
    log: Log,
    heard: Vec<Vec<u8>>,
}

impl Handler<Client> for App {
    fn on_event(&mut self, client: &mut Client, now: Instant, event: ClientEvent<'_>) {
        if let ClientEvent::Voice { packet, .. } = event {
            self.heard.push(packet.to_vec());
            return;
        }
        self.log.events.push((now, format!("{event:?}")));
        if let ClientEvent::Incoming { call, .. } = event {
            let command = match self.answer {
                Answer::Accept => ClientCommand::Accept { call },
                Answer::Refuse => ClientCommand::Refuse { call },
                Answer::Wait => return,
            };
            client.handle_command(now, command).unwrap();
        }
    }
}

type Node = NodeId<Client, App>;

struct World {
    sim: Sim,
    server: NodeId<Server, Log>,
    net: Net,
}

impl World {
    fn new(settings: ServerSettings, seed: u64) -> Self {
        let net = Net { jitter: Duration::from_millis(3), piece: 7, ..Net::PERFECT };
        let mut sim = Sim::new(seed);
        sim.set_net(net);
        let server = sim.add(Server::new(settings, seed), Log::default());
        Self { sim, server, net }
    }

    fn join(&mut self, name: &str, answer: Answer) -> Node {
        self.join_with(name, answer, ClientSettings::DEFAULT)
    }

    fn join_with(&mut self, name: &str, answer: Answer, settings: ClientSettings) -> Node {
        let mut client = Client::new(settings);
        client.handle_command(Instant::ZERO, ClientCommand::Login { name }).unwrap();
        let app = App { answer, log: Log::default(), heard: Vec::new() };
        let node = self.sim.add(client, app);
        self.sim.connect(node, self.server, Transport::Stream, self.net);
        self.sim.run_for(Duration::from_millis(200));
        node
    }

    fn command(&mut self, node: Node, command: ClientCommand<'_>) {
        self.sim.with(node, |client, _, now| client.handle_command(now, command)).unwrap();
    }

    fn call(&mut self, from: Node, to: &str) {
        self.command(from, ClientCommand::Call { contact: to.as_bytes() });
        self.sim.run_for(SECOND);
    }

    fn say(&mut self, node: Node, packet: &[u8]) {
        self.command(node, ClientCommand::Say { call: None, packet });
        self.sim.run_for(Duration::from_millis(20));
    }

    fn events(&mut self, node: Node) -> Vec<String> {
        self.sim.with(node, |_, app, _| app.log.take())
    }

    fn heard(&mut self, node: Node) -> Vec<Vec<u8>> {
        self.sim.with(node, |_, app, _| std::mem::take(&mut app.heard))
    }

    fn contacts(&mut self, node: Node) -> Vec<String> {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        self.sim.with(node, |client, _, _| client.contacts().map(text).collect())
    }

    fn calls(&mut self, node: Node) -> Vec<(u32, Role, CallState)> {
        self.sim.with(node, |client, _, _| {
            client.calls().map(|(id, _, role, state)| (id.get(), role, state)).collect()
        })
    }

    fn stats(&mut self) -> ServerStats {
        self.sim.with(self.server, |server, _, _| server.stats())
    }

    fn server_log(&mut self) -> Vec<String> {
        self.sim.with(self.server, |_, log, _| log.take())
    }

    fn leave(&mut self, node: Node) {
        self.sim.set_down(node, true);
        self.sim.run_for(Duration::from_millis(200));
    }
}

#[test]
fn o_05_o_07_all_clients_have_the_names_of_all_others() {
    let mut world = World::new(ServerSettings::DEFAULT, 1);
    let alice = world.join("alice", Answer::Wait);
    assert_eq!(world.events(alice), ["Connected", "LoggedIn"], "an empty list is not sent");
    let bob = world.join("bob", Answer::Wait);
    let carol = world.join("carol", Answer::Wait);
    assert_eq!(world.events(alice), [r#"Added(["bob"])"#, r#"Added(["carol"])"#]);
    assert_eq!(world.events(carol), ["Connected", "LoggedIn", r#"Added(["alice", "bob"])"#]);
    assert_eq!(world.contacts(bob), ["alice", "carol"]);
    world.leave(carol);
    assert_eq!(world.events(alice), [r#"Removed(["carol"])"#]);
    assert_eq!((world.contacts(alice), world.contacts(bob)), (vec!["bob".into()], vec!["alice".into()]));
    // A name that is taken, and one that was a moment ago: the same address may have it back.
    let second = world.join("alice", Answer::Wait);
    assert_eq!(world.events(second), ["Connected", r#"LoginFailed("username already used")"#]);
    let stranger = world.join("carol", Answer::Wait);
    assert_eq!(world.events(stranger)[1], r#"LoginFailed("username already used")"#);
    world.sim.run_for(31 * SECOND);
    world.command(stranger, ClientCommand::Login { name: "carol" });
    world.sim.run_for(SECOND);
    assert_eq!(world.events(stranger), ["LoggedIn", r#"Added(["alice", "bob"])"#]);
    world.sim.with(world.server, |server, _, now| server.shutdown(now));
    world.sim.run_for(SECOND);
    assert_eq!(world.events(bob).last().unwrap(), "Disconnected");
    assert_eq!(world.contacts(bob), [""; 0]);
}

#[test]
fn o_08_a_call_goes_straight_from_one_client_to_the_other() {
    for seed in 0..20 {
        let mut world = World::new(ServerSettings::DEFAULT, seed);
        let alice = world.join("alice", Answer::Wait);
        let bob = world.join("bob", Answer::Accept);
        world.events(alice);
        world.call(alice, "bob");
        assert_eq!(world.events(alice), ["Established(1)"]);
        assert_eq!(world.events(bob)[3..], [r#"Incoming(1, "alice")"#, "Established(1)"]);
        for n in 0..100_u8 {
            world.say(alice, &[0xfc, n]);
            world.say(bob, &[n, n, n]);
        }
        // Said in silence, and skipped, as originals do.
        world.say(alice, &[]);
        world.sim.run_for(SECOND);
        assert_eq!(world.heard(bob), (0..100).map(|n| vec![0xfc, n]).collect::<Vec<_>>());
        assert_eq!(world.heard(alice), (0..100).map(|n| vec![n; 3]).collect::<Vec<_>>());
        assert_eq!(world.stats().packets, 0, "the server sees none of it");
        world.command(bob, ClientCommand::HangUp { call: CallId::new(1) });
        world.sim.run_for(SECOND);
        assert_eq!(world.events(alice), [r#"Ended(1, "bob", hung up)"#]);
        assert!(world.calls(alice).is_empty() && world.calls(bob).is_empty());
    }
}

#[test]
fn o_06_o_07_a_call_is_refused_not_answered_or_to_nobody() {
    let mut world = World::new(ServerSettings::DEFAULT, 3);
    let alice = world.join("alice", Answer::Wait);
    let bob = world.join("bob", Answer::Refuse);
    let carol = world.join("carol", Answer::Wait);
    world.events(alice);
    world.call(alice, "bob");
    assert_eq!(world.events(alice), [r#"Ended(1, "bob", refused)"#]);
    world.call(alice, "dave");
    assert_eq!(world.events(alice), [r#"Rejected(2, "requested username not found")"#]);
    world.call(alice, "carol");
    assert_eq!(world.calls(alice), [(3, Role::Caller, CallState::Requested)]);
    // Called again while it rings: the same call, at the new port.
    world.command(alice, ClientCommand::HangUp { call: CallId::new(3) });
    world.call(alice, "carol");
    assert_eq!(world.calls(carol), [(1, Role::Callee, CallState::Ringing)]);
    world.events(carol);
    world.sim.run_for(61 * SECOND);
    // Both have waited equally long; the first to give up says so.
    assert_eq!(world.events(carol), [r#"Ended(1, "alice", no answer)"#]);
    let ended = world.events(alice);
    assert!(ended == [r#"Ended(4, "carol", no answer)"#] || ended == [r#"Ended(4, "carol", refused)"#]);
    assert!(world.calls(alice).is_empty() && world.calls(bob).is_empty());
    world.server_log();
}

#[test]
fn o_08_a_caller_that_cannot_be_reached_hears_so() {
    let mut world = World::new(ServerSettings::DEFAULT, 4);
    let curt = ClientSettings { linger: Duration::ZERO, ..ClientSettings::DEFAULT };
    let alice = world.join_with("alice", Answer::Wait, curt);
    let bob = world.join("bob", Answer::Wait);
    world.call(alice, "bob");
    // Behind a wall: the port is not there any more when bob answers.
    world.events(alice);
    world.command(alice, ClientCommand::HangUp { call: CallId::new(1) });
    world.command(bob, ClientCommand::Accept { call: CallId::new(1) });
    world.sim.run_for(SECOND);
    assert_eq!(world.events(bob).last().unwrap(), r#"Ended(1, "alice", cannot be reached)"#);
    assert_eq!(world.events(alice), [""; 0], "given up: no event follows");
    // A client that listens and is never connected to gives up.
    world.call(alice, "bob");
    world.leave(bob);
    world.sim.run_for(61 * SECOND);
    assert_eq!(world.events(alice).last().unwrap(), r#"Ended(2, "bob", no answer)"#);
}

#[test]
fn o_08_several_callees_at_once_and_one_that_is_busy() {
    let mut world = World::new(ServerSettings::DEFAULT, 5);
    let alice = world.join("alice", Answer::Accept);
    let bob = world.join("bob", Answer::Accept);
    let carol = world.join("carol", Answer::Accept);
    world.command(alice, ClientCommand::Call { contact: b"bob" });
    world.command(alice, ClientCommand::Call { contact: b"carol" });
    world.sim.run_for(SECOND);
    world.say(alice, b"both");
    world.command(alice, ClientCommand::Say { call: Some(CallId::new(2)), packet: b"one" });
    world.say(bob, b"bob");
    world.say(carol, b"carol");
    world.sim.run_for(SECOND);
    assert_eq!(world.heard(bob), [b"both"]);
    assert_eq!(world.heard(carol), [&b"both"[..], b"one"]);
    let mut heard = world.heard(alice);
    heard.sort();
    assert_eq!(heard, [&b"bob"[..], b"carol"]);
    // Busy, as an original is.
    let dave = world.join("dave", Answer::Wait);
    world.events(dave);
    world.events(bob);
    world.call(dave, "bob");
    assert_eq!(world.events(dave), [r#"Ended(1, "bob", refused)"#]);
    assert_eq!(world.events(bob), [r#"Missed("dave")"#]);
    // The server's end ends no call.
    world.sim.set_down(world.server, true);
    world.say(bob, b"still here");
    assert_eq!(world.heard(alice), [b"still here"]);
}

fn relayed() -> ServerSettings {
    let v4 = Some([10, 0, 0, 1].into());
    ServerSettings { relay: Some(RelayAddress { v4, v6: None }), ..ServerSettings::DEFAULT }
}

#[test]
fn o_08_a_server_that_carries_calls_hides_the_addresses() {
    for (seed, listen) in [(1, true), (2, false), (3, true), (4, false)] {
        let mut world = World::new(relayed(), seed);
        let settings = ClientSettings { listen, ..ClientSettings::DEFAULT };
        let alice = world.join_with("alice", Answer::Wait, settings);
        let bob = world.join("bob", Answer::Accept);
        world.call(alice, "bob");
        assert_eq!(world.events(alice).last().unwrap(), "Established(1)", "{listen}");
        assert_eq!(world.events(bob).last().unwrap(), "Established(1)");
        assert!(world.sim.link_between(alice, bob).is_none(), "nothing goes from one to the other");
        for n in 0..50_u8 {
            world.say(alice, &[n]);
            world.say(bob, &[n, n]);
        }
        world.sim.run_for(SECOND);
        assert_eq!(world.heard(bob), (0..50).map(|n| vec![n]).collect::<Vec<_>>());
        assert_eq!(world.heard(alice), (0..50).map(|n| vec![n; 2]).collect::<Vec<_>>());
        assert_eq!((world.stats().packets, world.stats().established), (100, 1));
        world.command(alice, ClientCommand::HangUp { call: CallId::new(1) });
        world.sim.run_for(SECOND);
        assert_eq!(world.events(bob).last().unwrap(), r#"Ended(1, "alice", hung up)"#);
        let log = world.server_log();
        assert!(log.last().unwrap().starts_with("Ended(0.0 -> 1.0, None, Some("), "{log:?}");
        assert!(log.last().unwrap().ends_with("100 packets)"), "{log:?}");
        let left = world.sim.with(world.server, |server, _, _| (server.relays(), server.peers()));
        assert_eq!(left, (0, 2));
    }
}

#[test]
fn o_08_carried_calls_that_do_not_come_up_leave_nothing() {
    let mut world = World::new(relayed(), 6);
    let alice = world.join("alice", Answer::Wait);
    let hidden = ClientSettings { listen: false, ..ClientSettings::DEFAULT };
    let bob = world.join_with("bob", Answer::Refuse, hidden);
    let carol = world.join("carol", Answer::Wait);
    let relays = |world: &mut World| world.sim.with(world.server, |server, _, _| server.relays());
    world.call(alice, "bob");
    assert_eq!(
        (world.events(alice).last().unwrap().as_str(), relays(&mut world)),
        (r#"Ended(1, "bob", refused)"#, 0)
    );
    // Nobody answers.
    world.call(bob, "carol");
    assert_eq!(relays(&mut world), 1);
    world.sim.run_for(70 * SECOND);
    assert_eq!(relays(&mut world), 0);
    // The caller has gone when the callee answers.
    world.call(alice, "carol");
    world.leave(alice);
    assert_eq!(relays(&mut world), 0);
    world.sim.run_for(SECOND);
    // A caller that listens where nobody can connect to.
    let curt = ClientSettings { linger: Duration::ZERO, ..ClientSettings::DEFAULT };
    let dave = world.join_with("dave", Answer::Wait, curt);
    world.call(dave, "carol");
    let ringing = world.calls(carol).last().unwrap().0;
    world.command(dave, ClientCommand::HangUp { call: CallId::new(1) });
    world.command(carol, ClientCommand::Accept { call: CallId::new(ringing) });
    world.sim.run_for(SECOND);
    assert_eq!(relays(&mut world), 0);
    assert!(world.calls(carol).iter().all(|(call, ..)| *call != ringing));
    assert_eq!(
        world.events(dave).last().unwrap(),
        r#"Rejected(-, "the server cannot connect to the port of this call")"#
    );
}

#[test]
fn o_08_a_caller_that_does_not_listen_waits_as_long_as_any_other() {
    let hidden = ClientSettings { listen: false, ..ClientSettings::DEFAULT };
    let mut world = World::new(relayed(), 9);
    let alice = world.join_with("alice", Answer::Wait, hidden);
    let bob = world.join("bob", Answer::Wait);
    // Bob thinks about it for 40 s.
    world.call(alice, "bob");
    world.sim.run_for(40 * SECOND);
    world.command(bob, ClientCommand::Accept { call: CallId::new(1) });
    world.sim.run_for(SECOND);
    assert_eq!(world.events(alice).last().unwrap(), "Established(1)");
    world.command(alice, ClientCommand::HangUp { call: CallId::new(1) });
    world.sim.run_for(SECOND);
    // And does not want it the next time; nor the third, when he says so by hanging up.
    for (n, command) in
        [ClientCommand::Refuse { call: CallId::new(2) }, ClientCommand::HangUp { call: CallId::new(3) }]
            .into_iter()
            .enumerate()
    {
        world.call(alice, "bob");
        world.command(bob, command);
        world.sim.run_for(SECOND);
        let expected = format!(r#"Ended({}, "bob", refused)"#, n + 2);
        assert_eq!(world.events(alice).last(), Some(&expected));
    }
    let left = world.sim.with(world.server, |server, _, _| (server.relays(), server.peers()));
    assert_eq!(left, (0, 2));
}

#[test]
fn a_server_that_carries_nothing_says_so_to_a_caller_that_does_not_listen() {
    let mut world = World::new(ServerSettings::DEFAULT, 7);
    let hidden = ClientSettings { listen: false, ..ClientSettings::DEFAULT };
    let alice = world.join_with("alice", Answer::Wait, hidden);
    let bob = world.join("bob", Answer::Wait);
    world.events(bob);
    world.call(alice, "bob");
    let last = world.events(alice).pop().unwrap();
    assert!(last.starts_with(r#"Rejected(1, "this server carries no calls"#), "{last}");
    assert!(world.calls(bob).is_empty());
}

#[test]
fn o_05_a_storm_of_log_ins_is_told_together() {
    let mut world = World::new(ServerSettings::DEFAULT, 8);
    let first = world.join("the first", Answer::Wait);
    world.events(first);
    let begin = world.sim.now();
    let nodes: Vec<Node> = (0..300)
        .map(|n| {
            let mut client = Client::new(ClientSettings::DEFAULT);
            let name = format!("player {n:04}");
            client.handle_command(Instant::ZERO, ClientCommand::Login { name: &name }).unwrap();
            let node =
                world.sim.add(client, App { answer: Answer::Wait, log: Log::default(), heard: Vec::new() });
            world.sim.connect(node, world.server, Transport::Stream, Net::PERFECT);
            world.sim.run_for(Duration::from_millis(2));
            node
        })
        .collect();
    world.sim.run_for(SECOND);
    let lists = world.events(first).len() as u64;
    let elapsed = world.sim.now().saturating_duration_since(begin).as_millis() as u64;
    assert!((10..=elapsed / 50 + 2).contains(&lists), "{lists} lists in {elapsed} ms");
    // Some leave again.
    for node in &nodes[..100] {
        world.sim.set_down(*node, true);
    }
    world.sim.run_for(SECOND);
    for node in &nodes[100..] {
        let contacts = world.contacts(*node);
        assert_eq!(contacts.len(), 200, "all but itself: {contacts:?}");
        assert!(contacts.contains(&"the first".to_owned()) && !contacts.contains(&"player 0042".to_owned()));
    }
}

#[test]
fn worlds_of_calls_end_with_nothing_open() {
    for seed in 0..200 {
        let settings = if seed % 2 == 0 { ServerSettings::DEFAULT } else { relayed() };
        let mut world = World::new(settings, seed);
        let bad = Net { latency: Duration::from_millis(40), loss: 0.1, ..world.net };
        world.net = bad;
        world.sim.set_net(bad);
        let answers = [Answer::Accept, Answer::Accept, Answer::Refuse, Answer::Wait];
        let nodes: Vec<Node> = (0..6)
            .map(|n| {
                let listen = (seed + n) % 3 != 0 || seed % 2 == 0;
                let settings = ClientSettings { listen, ..ClientSettings::DEFAULT };
                world.join_with(&format!("client {n}"), answers[(n as usize + seed as usize) % 4], settings)
            })
            .collect();
        world.sim.run_for(2 * SECOND);
        for round in 0..12_u64 {
            let from = nodes[((seed + round * 5) % 6) as usize];
            let to = format!("client {}", (seed * 7 + round * 3) % 7);
            world.sim.with(from, |client, _, now| {
                let _ = client.handle_command(now, ClientCommand::Call { contact: to.as_bytes() });
            });
            world.sim.run_for(Duration::from_millis(150 * (round % 4)));
            for node in &nodes {
                world.sim.with(*node, |client, _, now| {
                    client.handle_command(now, ClientCommand::Say { call: None, packet: b"sound" }).unwrap();
                    let old = client
                        .calls()
                        .next()
                        .map(|(id, ..)| id)
                        .filter(|id| round % 5 == 4 && id.get() % 2 == 1);
                    if let Some(call) = old {
                        client.handle_command(now, ClientCommand::HangUp { call }).unwrap();
                    }
                });
            }
        }
        for node in &nodes {
            world.sim.with(*node, |client, _, now| {
                let calls: Vec<CallId> = client.calls().map(|(id, ..)| id).collect();
                for call in calls {
                    client.handle_command(now, ClientCommand::HangUp { call }).unwrap();
                }
            });
        }
        world.sim.run_for(80 * SECOND);
        for node in &nodes {
            assert_eq!(world.calls(*node), [], "seed {seed}");
            let contacts = world.contacts(*node);
            assert_eq!(contacts.len(), 5, "seed {seed}: {contacts:?}");
        }
        let left = world.sim.with(world.server, |server, _, _| (server.relays(), server.peers()));
        assert_eq!(left, (0, 6), "seed {seed}");
    }
}

/// O-07: a client's part of the conversation, packet by packet: nothing before HelloConnect, a contact list that is the server's,
/// a call asked for with its port, a refusal by name.
#[test]
fn o_07_a_client_waits_for_hello_keeps_its_list_calls_is_called_and_refuses() {
    use voxwire_core::{Input, Lane, ListenId, Message, Output, PeerId, Via};
    use voxwire_opcode::{CallRequest, Packet, Text, Wire};
    let server = PeerId { slot: 0, generation: 0 };
    let mut client = Client::new(ClientSettings::DEFAULT);
    let said = |client: &mut Client| -> Vec<String> {
        let said = client.outputs().filter_map(|output| match output {
            Output::Send { frame, .. } => {
                Some(format!("{:?}", Packet::decode(frame, &Wire::CLIENT).unwrap()))
            }
            _ => None,
        });
        let said = said.collect();
        client.advance(usize::MAX);
        said
    };
    let hear = |client: &mut Client, packet: &Packet<'_>| {
        let mut bytes = Vec::new();
        packet.encode(&Wire::SERVER, &mut bytes).unwrap();
        let input = Input::Frame { peer: server, lane: Lane::Reliable, bytes: &bytes };
        client.handle_input(Instant::ZERO, input).map(|event| event.map(|event| format!("{event:?}")))
    };
    let names = |client: &Client| -> Vec<String> {
        client.contacts().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    };
    client.handle_command(Instant::ZERO, ClientCommand::Login { name: "alice" }).unwrap();
    let opened = Input::Opened { peer: server, via: Via::Dialled(voxwire_core::DialId::FIRST), from: None };
    client.handle_input(Instant::ZERO, opened).unwrap();
    assert_eq!(said(&mut client), [""; 0], "the server speaks first");
    assert!(hear(&mut client, &Packet::LoginSuccess).is_err(), "not asked for yet");
    hear(&mut client, &Packet::HelloConnect).unwrap();
    assert_eq!(said(&mut client), [r#"Login { name: "alice" }"#]);
    let call = ClientCommand::Call { contact: b"bob" };
    assert!(client.handle_command(Instant::ZERO, call).is_err(), "not logged in yet");
    hear(&mut client, &Packet::LoginFailed { reason: Text(b"taken") }).unwrap();
    client.handle_command(Instant::ZERO, ClientCommand::Login { name: "alice" }).unwrap();
    assert_eq!(said(&mut client), [r#"Login { name: "alice" }"#], "may try again");
    hear(&mut client, &Packet::LoginSuccess).unwrap();
    // What an original lists for a connection without a name is nobody to be called; the same name twice is one.
    let listed = [Text(b"bob"), Text(b""), Text(b"carol"), Text(b"bob")];
    hear(&mut client, &Packet::AddContact { contacts: listed[..].into() }).unwrap();
    assert_eq!(names(&client), ["bob", "carol"]);
    let gone = [Text(b"carol"), Text(b"nobody")];
    hear(&mut client, &Packet::DelContact { contacts: gone[..].into() }).unwrap();
    assert_eq!(names(&client), ["bob"]);
    // A call is asked for when there is a port to name.
    client.handle_command(Instant::ZERO, call).unwrap();
    assert_eq!(said(&mut client), [""; 0]);
    client.handle_input(Instant::ZERO, Input::Listening { id: ListenId::new(1), port: 4321 }).unwrap();
    assert_eq!(said(&mut client), [r#"CallRequest { contact: "bob", host: "", port: 4321 }"#]);
    // A client calls, and is refused by name.
    let request = CallRequest { contact: Text(b"dave"), host: Text(b"192.0.2.1"), port: 5000 };
    assert_eq!(hear(&mut client, &Packet::CallRequest(request)).unwrap().unwrap(), r#"Incoming(2, "dave")"#);
    client.handle_command(Instant::ZERO, ClientCommand::Refuse { call: CallId::new(2) }).unwrap();
    assert_eq!(said(&mut client), [r#"CallRefused { contact: "dave" }"#]);
    // The list goes with the connection.
    client.handle_input(Instant::ZERO, Input::Closed { peer: server }).unwrap();
    assert_eq!((names(&client), client.state()), (vec![], voxwire_opcode::SessionState::Disconnected));
}
