//! A script for a client and a server of echo: answers go to live peers only, on the lane of their request; every request is answered or
//! lost, once; nothing waits for ever.
#![cfg_attr(fuzzing, no_main)]

use core::time::Duration;
use std::collections::BTreeSet;
use voxwire_core::{DialId, Lane, Message, Output, PeerId, Session, Via};
use voxwire_echo::{Ask, Client, ClientEvent, Packet, Server, ServerSettings, ServerStats};
use voxwire_fuzz::{Driver, Script};

/// What a script came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reached {
    /// Answers that the client took, by lane: reliable, droppable.
    answers: [usize; 2],
    /// Requests that it gave up.
    lost: usize,
    /// Frames that it ignored.
    ignored: usize,
    /// Most peers of the server at a time.
    peers: usize,
    /// Peers that the server closed before the script ended.
    closed: usize,
    server: ServerStats,
}

/// Both ends. What they send waits until the script delivers it; the network loses what it likes.
struct Ends {
    client: Client,
    server: Server,
    here: Driver,
    there: Driver,
    requests: Vec<(Lane, Vec<u8>)>,
    answers: Vec<(Lane, Vec<u8>)>,
    /// The requests that are neither answered nor lost.
    waiting: BTreeSet<u32>,
    asked: u32,
    reached: Reached,
}

/// Obeys all outputs. What is sent is a packet.
fn sent(driver: &mut Driver, session: &mut impl Session) -> Vec<(Lane, Vec<u8>)> {
    let mut frames = Vec::new();
    driver.obey(session, |output| match output {
        Output::Send { lane, frame, .. } => {
            Packet::decode(frame, &()).expect("what is sent is a packet");
            frames.push((lane, frame.to_vec()));
        }
        Output::Close { .. } => {}
        other => panic!("{other:?}"),
    });
    frames
}

impl Ends {
    fn new() -> Self {
        let settings = ServerSettings { max_peers: 4, ..ServerSettings::DEFAULT };
        let (mut client, mut here) = (Client::new(Duration::from_millis(100)), Driver::default());
        here.open(&mut client, Via::Dialled(DialId::FIRST), None).expect("connected");
        Self {
            client,
            server: Server::new(settings),
            here,
            there: Driver::default(),
            requests: Vec::new(),
            answers: Vec::new(),
            waiting: BTreeSet::new(),
            asked: 0,
            reached: Reached::default(),
        }
    }

    /// The client asks: one request is sent, unless it is refused.
    fn ask(&mut self, lane: Lane, payload: &[u8]) {
        let result = self.here.command(&mut self.client, Ask(lane, payload));
        let sent = sent(&mut self.here, &mut self.client);
        assert_eq!(sent.len(), usize::from(result.is_ok()));
        assert!(sent.iter().all(|(on, frame)| *on == lane && frame.ends_with(payload)));
        if result.is_ok() {
            assert!(self.waiting.insert(self.asked));
            self.asked += 1;
        }
        self.requests.extend(sent);
    }

    /// A frame comes to the server: it is answered once, or ignored.
    fn request(&mut self, peer: PeerId, lane: Lane, bytes: &[u8]) {
        let before = self.server.stats().answered;
        let result = self.there.frame(&mut self.server, peer, lane, bytes);
        let sent = sent(&mut self.there, &mut self.server);
        assert_eq!(sent.len(), usize::from(result.is_ok()));
        assert_eq!(self.server.stats().answered - before, sent.len() as u64);
        for (back, frame) in &sent {
            let request = Packet::decode(bytes, &()).expect("what is answered is a packet");
            assert!(*back == lane && !request.answer);
            assert_eq!(Packet::decode(frame, &()), Ok(Packet { answer: true, ..request }));
        }
        self.answers.extend(sent);
    }

    /// A frame comes to the client: it answers a request that waits, or is ignored.
    fn answer(&mut self, lane: Lane, bytes: &[u8]) {
        let peer = *self.here.alive.first().expect("the server");
        match self.here.frame(&mut self.client, peer, lane, bytes) {
            Ok(Some(ClientEvent::Answer { sequence, .. })) => {
                assert!(self.waiting.remove(&sequence), "answered or lost before");
                self.reached.answers[usize::from(lane == Lane::Droppable)] += 1;
            }
            Err(_) => self.reached.ignored += 1,
            other => panic!("{other:?}"),
        }
    }

    /// Timers fire, and outputs are obeyed.
    fn settle(&mut self) {
        self.here.now = self.there.now;
        let (waiting, lost) = (&mut self.waiting, &mut self.reached.lost);
        self.here.timers(&mut self.client, |_, event| match event {
            Some(ClientEvent::Lost(sequence)) => {
                assert!(waiting.remove(&sequence), "answered or lost before");
                *lost += 1;
            }
            other => panic!("{other:?}"),
        });
        assert!(sent(&mut self.here, &mut self.client).is_empty(), "sent unasked");
        self.there.timers(&mut self.server, |_, _| {});
        let before = self.there.alive.len();
        assert!(sent(&mut self.there, &mut self.server).is_empty(), "sent unasked");
        self.reached.closed += before - self.there.alive.len();
        self.reached.peers = self.reached.peers.max(self.there.alive.len());
    }
}

fn run(data: &[u8]) -> Reached {
    let (mut script, mut ends) = (Script(data), Ends::new());
    while !script.is_empty() {
        let operation = script.byte();
        let lane = if operation & 16 == 0 { Lane::Reliable } else { Lane::Droppable };
        match (operation % 16, ends.there.peer(operation)) {
            (0..=2 | 4, _) => {
                let unit = Duration::from_millis(20);
                ends.there.step(&mut ends.server, operation, &mut script, unit, |_| 0);
            }
            // Any bytes, to both.
            (3, peer) => {
                let len = usize::from(script.byte());
                let bytes = script.bytes(len);
                if let Some(peer) = peer {
                    ends.request(peer, lane, bytes);
                }
                ends.answer(lane, bytes);
            }
            (5..=7, _) => {
                let len = usize::from(script.byte());
                ends.ask(lane, script.bytes(len));
            }
            (8..=11, Some(peer)) if !ends.requests.is_empty() => {
                let choice = usize::from(script.byte()) % ends.requests.len();
                let (lane, bytes) = ends.requests.swap_remove(choice);
                ends.request(peer, lane, &bytes);
            }
            (12.., _) if !ends.answers.is_empty() => {
                let choice = usize::from(script.byte()) % ends.answers.len();
                let (lane, bytes) = ends.answers.swap_remove(choice);
                ends.answer(lane, &bytes);
            }
            _ => {}
        }
        ends.settle();
        assert!(ends.there.alive.len() <= 4, "more peers than places");
    }
    let closed = ends.reached.closed;
    ends.there.pass(Duration::from_secs(100));
    ends.settle();
    assert!(ends.waiting.is_empty(), "neither answered nor lost");
    assert!(ends.there.alive.is_empty(), "a silent client stays for ever");
    let server = ends.server.stats();
    Reached { closed, server, ..ends.reached }
}

fn body(data: &[u8]) {
    run(data);
}

voxwire_fuzz::target!(body);

/// C-10: the seeds do what their names say.
#[cfg(test)]
#[test]
fn c_10_each_seed_reaches_what_its_name_says() {
    let of = |name: &str| {
        let corpus = voxwire_fuzz::corpus(env!("CARGO_BIN_NAME"));
        let path = corpus.into_iter().find(|path| path.ends_with(name)).expect(name);
        run(&voxwire_fuzz::input(&path))
    };
    let answered = |answered| ServerStats { answered, ..ServerStats::default() };
    let one = Reached { peers: 1, ..Reached::default() };
    assert_eq!(of("answered"), Reached { answers: [0, 1], server: answered(1), ..one });
    assert_eq!(of("reliable"), Reached { answers: [1, 0], server: answered(1), ..one });
    assert_eq!(of("many"), Reached { answers: [0, 40], server: answered(40), ..one });
    assert_eq!(of("late"), Reached { lost: 1, ignored: 1, server: answered(1), ..one });
    assert_eq!(of("lost"), Reached { lost: 1, peers: 0, ..one });
    let over_rate = of("over_rate");
    assert!(over_rate.server.answered == 200 && over_rate.server.over_rate == 20, "{over_rate:?}");
    // A forged answer to a request that waits is taken, and none to another, nor what the server says to a forged request, an unknown kind, or
    // half a packet.
    let hostile = of("hostile");
    assert_eq!((hostile.answers, hostile.ignored, hostile.lost), ([0, 1], 6, 0), "{hostile:?}");
    assert_eq!((hostile.server.answered, hostile.server.violations), (1, 4), "{hostile:?}");
    assert_eq!(of("idle"), Reached { closed: 1, ..one });
    // One that asked stays, and those make room that did not.
    let crowded = of("crowded");
    assert!(crowded.peers == 4 && crowded.closed > 0 && crowded.answers == [0, 2], "{crowded:?}");
    let full = of("full");
    assert!(full.peers == 4 && full.closed >= 8, "{full:?}");
    // What was asked through a peer that is gone is lost, unless another takes it.
    assert_eq!(of("gone"), Reached { answers: [0, 1], lost: 1, server: answered(1), ..one });
}
