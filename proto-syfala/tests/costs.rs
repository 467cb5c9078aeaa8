//! The most that one source can make others pay: the rows of `SECURITY.md`, "What costs whom".
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

use crate::harness;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use proptest::prelude::*;
use std::collections::BTreeSet;
use voxwire_core::{Input, Instant, Lane, Output, PeerId, Session, Via};
use voxwire_syfala::{Format, IoResult, IoState, Server, ServerCommand, ServerEvent, ServerSettings};

const STEREO: [Format; 1] = [Format::STANDARD];

/// What an attacker does from one of the ports of its machine.
#[derive(Debug, Clone)]
enum Act {
    /// Is seen anew, as by a driver that had forgotten it.
    Appear(u32),
    Vanish(u32),
    Say(u32, u8),
    Flood(u32, u16),
    Garbage(u32, Vec<u8>),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let port = 100..120_u32;
    prop_oneof![
        4 => port.clone().prop_map(Act::Appear),
        1 => port.clone().prop_map(Act::Vanish),
        10 => (port.clone(), 0..9_u8).prop_map(|(port, kind)| Act::Say(port, kind)),
        2 => (port.clone(), 1..300_u16).prop_map(|(port, times)| Act::Flood(port, times)),
        1 => (port, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(port, bytes)| Act::Garbage(port, bytes)),
        3 => (0..400_u64).prop_map(Act::Wait),
    ]
}

const fn peer(slot: u32) -> PeerId {
    PeerId { slot, generation: 0 }
}

/// A device, one client whose audio is up, and a newcomer.
struct Studio {
    server: Server,
    now: Instant,
    /// Connects sent to each.
    offers: [usize; 2],
    gone: BTreeSet<u32>,
}

const CLIENT: u32 = 1;
const NEWCOMER: u32 = 2;

impl Studio {
    fn new() -> Self {
        let server = harness::server(&STEREO, &STEREO, ServerSettings::DEFAULT, 7);
        let mut studio = Self { server, now: Instant::ZERO, offers: [0; 2], gone: BTreeSet::new() };
        studio.open(CLIENT, "10.0.0.1");
        for kind in [0, 1, 4] {
            studio.say(CLIENT, &[kind]);
        }
        studio
    }

    fn open(&mut self, slot: u32, host: &str) {
        let host: IpAddr = host.parse().unwrap();
        let from = Some(SocketAddr::new(host, slot as u16 + 5000));
        let input = Input::Opened { peer: peer(slot), via: Via::Accepted, from };
        let _ = self.server.handle_input(self.now, input);
        self.collect();
    }

    fn say(&mut self, slot: u32, bytes: &[u8]) {
        let frame = Input::Frame { peer: peer(slot), lane: Lane::Droppable, bytes };
        let event = self.server.handle_input(self.now, frame).ok().flatten();
        let event = event.and_then(|event| Wanted::of(&event));
        self.answer(event);
        self.collect();
        self.timers();
    }

    fn timers(&mut self) {
        while self.server.poll_timeout().is_some_and(|at| at <= self.now) {
            let event: Option<ServerEvent<'_>> = self.server.handle_timeout(self.now);
            let event = event.and_then(|event| Wanted::of(&event));
            self.answer(event);
            self.collect();
        }
    }

    /// The application does at once what it is asked for.
    fn answer(&mut self, event: Option<Wanted>) {
        let result = IoResult::Success;
        let command = match event {
            Some(Wanted::Start(client)) => ServerCommand::StartIoResult { client, result },
            Some(Wanted::Stop(client)) => ServerCommand::StopIoResult { client, result },
            Some(Wanted::Forget(client)) => {
                self.gone.insert(client.slot);
                return;
            }
            None => return,
        };
        self.server.handle_command(self.now, command).unwrap();
    }

    fn collect(&mut self) {
        let mut done = 0;
        for output in self.server.outputs() {
            done += 1;
            if let Output::Send { to, frame: [0, _, ..], .. } = output {
                self.offers[usize::from(to.slot == NEWCOMER)] += 1;
            }
        }
        self.server.advance(done);
    }

    /// Time passes; the client sends its audio, and nothing else.
    fn pass(&mut self, time: Duration) {
        let until = self.now.saturating_add(time);
        let mut audio = [0; 17 + 8];
        (audio[0], audio[13]) = (6, 8);
        while self.now < until {
            self.now = self.now.saturating_add(Duration::from_millis(50)).min(until);
            self.timers();
            self.say(CLIENT, &audio);
        }
    }
}

enum Wanted {
    Start(PeerId),
    Stop(PeerId),
    Forget(PeerId),
}

impl Wanted {
    fn of(event: &ServerEvent<'_>) -> Option<Self> {
        match event {
            ServerEvent::StartIo { client } => Some(Self::Start(*client)),
            ServerEvent::StopIo { client } => Some(Self::Stop(*client)),
            ServerEvent::Gone { client, .. } => Some(Self::Forget(*client)),
            _ => None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Rows "a question" and "a connection": a machine, from any of its ports, is offered formats no more often than
    /// its share, has no more connections than its share, and neither the audio of others nor newcomers notice.
    #[test]
    fn no_source_costs_others_more_than_its_share(acts in prop::collection::vec(act(), 1..300)) {
        let mut studio = Studio::new();
        studio.offers = [0; 2];
        studio.open(NEWCOMER, "10.0.0.2");
        let (mut next, mut asked) = (Instant::ZERO, 0);
        for act in &acts {
            match act {
                Act::Appear(port) => studio.open(*port, "10.0.6.66"),
                Act::Vanish(port) => {
                    let _ = studio.server.handle_input(studio.now, Input::Closed { peer: peer(*port) });
                }
                Act::Say(port, kind) => studio.say(*port, &[*kind]),
                Act::Flood(port, times) => (0..*times).for_each(|_| studio.say(*port, &[0])),
                Act::Garbage(port, bytes) => studio.say(*port, bytes),
                Act::Wait(millis) => studio.pass(Duration::from_millis(*millis)),
            }
            prop_assert_eq!(studio.server.state(peer(CLIENT)), Some(IoState::Active));
            let theirs = studio.server.clients().filter(|(client, ..)| client.slot >= 100).count();
            prop_assert!(theirs <= ServerSettings::DEFAULT.max_source_clients, "{theirs}");
            if studio.now >= next {
                next = studio.now.saturating_add(Duration::from_secs(1));
                asked += 1;
                studio.say(NEWCOMER, &[0]);
                prop_assert_eq!(studio.offers[1], asked, "the newcomer has had no answer");
            }
        }
        prop_assert!(!studio.gone.contains(&CLIENT));
        let ServerSettings { replies, .. } = ServerSettings::DEFAULT;
        let passed = studio.now.saturating_duration_since(Instant::ZERO).as_secs() as u32 + 1;
        let most = (replies.burst + replies.per_second * passed) as usize;
        prop_assert!(studio.offers[0] <= most, "{} offers in {passed} s", studio.offers[0]);
    }
}

/// A client that only receives is alive by its heartbeats, and by nothing that others say: what is wrong proves nothing.
#[test]
fn a_client_that_only_receives_lives_by_its_own_heartbeats() {
    let mut studio = Studio::new();
    let listener = 3;
    studio.open(listener, "10.0.0.3");
    for kind in [0, 1, 4] {
        studio.say(listener, &[kind]);
    }
    for _ in 0..50 {
        studio.pass(Duration::from_millis(100));
        studio.say(listener, &[8]);
    }
    assert_eq!(studio.server.state(peer(listener)), Some(IoState::Active));
    // Questions, audio for a stream that is not there, garbage, and another port of its machine: none of them is a heartbeat.
    let mut elsewhere = [0; 17 + 8];
    (elsewhere[0], elsewhere[1], elsewhere[13]) = (6, 9, 8);
    studio.open(4, "10.0.0.3");
    for _ in 0..7 {
        studio.pass(Duration::from_millis(100));
        studio.say(listener, &[0]);
        studio.say(listener, &elsewhere);
        studio.say(listener, &[0x99]);
        studio.say(4, &[8]);
    }
    assert!(studio.gone.contains(&listener));
    assert_eq!(studio.server.state(peer(CLIENT)), Some(IoState::Active));
}
