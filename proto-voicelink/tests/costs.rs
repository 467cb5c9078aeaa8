//! The most that one source can make others pay: the rows of `SECURITY.md`, "What costs whom".
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::desk;

use core::time::Duration;
use desk::{Desk, call, registration};
use proptest::prelude::*;
use voxwire_core::{Instant, Moderation as _, PeerId};
use voxwire_voicelink::{Packet, Parameters, ServerCommand, ServerSettings};

/// What an attacker does with one of its connections.
#[derive(Debug, Clone)]
enum Act {
    Connect,
    Close(usize),
    Register(usize, u8),
    Call(usize),
    Answer(usize),
    HangUp(usize),
    Counter(usize),
    Data(usize, usize),
    Garbage(usize, Vec<u8>),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let at = 0..6_usize;
    prop_oneof![
        2 => Just(Act::Connect),
        1 => at.clone().prop_map(Act::Close),
        2 => (at.clone(), 0..4_u8).prop_map(|(at, name)| Act::Register(at, name)),
        6 => at.clone().prop_map(Act::Call),
        1 => at.clone().prop_map(Act::Answer),
        6 => at.clone().prop_map(Act::HangUp),
        1 => at.clone().prop_map(Act::Counter),
        1 => (at.clone(), 0..9000_usize).prop_map(|(at, len)| Act::Data(at, len)),
        1 => (at, prop::collection::vec(any::<u8>(), 6..30)).prop_map(|(at, bytes)| Act::Garbage(at, bytes)),
        3 => (0..3000_u64).prop_map(Act::Wait),
    ]
}

/// The attacker: connections of one source.
struct Source {
    host: &'static str,
    peers: Vec<PeerId>,
    port: u16,
}

impl Source {
    fn act(&mut self, desk: &mut Desk, act: &Act) {
        let peer = |at: usize| self.peers.get(at % self.peers.len().max(1)).copied();
        let send = |desk: &mut Desk, at: usize, packet: Packet<'_>| {
            if let Some(peer) = peer(at) {
                let _ = desk.send(peer, &packet);
            }
        };
        match act {
            Act::Connect if self.peers.len() < 6 => {
                self.port += 1;
                self.peers.push(desk.open(&format!("{}:{}", self.host, self.port)));
            }
            Act::Connect => {}
            Act::Close(at) => {
                if let Some(peer) = peer(*at) {
                    desk.close(peer);
                    self.peers.retain(|other| *other != peer);
                }
            }
            Act::Register(at, name) => send(desk, *at, registration(&format!("eve {name}"))),
            Act::Call(at) => send(desk, *at, call("bob", Parameters::DEFAULT)),
            Act::Answer(at) => send(desk, *at, Packet::Accept { optional: b"" }),
            Act::HangUp(at) => send(desk, *at, Packet::Drop { optional: b"" }),
            Act::Counter(at) => {
                send(desk, *at, Packet::Parameters { parameters: Parameters::DEFAULT, optional: b"" })
            }
            Act::Data(at, len) => send(desk, *at, Packet::Data(&vec![0; *len])),
            Act::Garbage(at, bytes) => {
                if let Some(peer) = peer(*at) {
                    let _ = desk.bytes(peer, bytes);
                }
            }
            Act::Wait(millis) => desk.pass(Duration::from_millis(*millis)),
        }
        // The server may have closed some.
        self.peers.retain(|peer| desk.server.address(*peer).is_some());
    }
}

fn in_call(desk: &Desk, peer: PeerId) -> bool {
    desk.server.calls().any(|(caller, callee, _)| [caller, callee].contains(&peer))
}

fn seconds(now: Instant) -> usize {
    usize::try_from(now.saturating_duration_since(Instant::ZERO).as_secs()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// F-09, rows "a ring" and "an engaged callee": the callee is told of the attacker's calls no more often than its share
    /// allows, and a caller is put through while the callee is free.
    #[test]
    fn no_source_costs_a_callee_or_its_callers_more_than_its_share(
        acts in prop::collection::vec(act(), 1..400),
        loopback in any::<bool>(),
    ) {
        let mut desk = Desk::new(ServerSettings::DEFAULT);
        let bob = desk.registered("198.51.100.1:1", "bob");
        let carol = desk.registered("198.51.100.2:1", "carol");
        let host = if loopback { "127.0.0.9" } else { "192.0.2.66" };
        let mut eve = Source { host, peers: vec![], port: 1000 };
        let (mut rung, mut honest, mut next) = (0, 0, Instant::ZERO);
        let mut ringing = Duration::ZERO;
        for act in &acts {
            let (before, engaged) = (desk.now, in_call(&desk, bob));
            eve.act(&mut desk, act);
            if engaged {
                ringing += desk.now.saturating_duration_since(before);
            }
            for heard in desk.to(bob) {
                prop_assert!(heard.starts_with("Handshake") || heard.starts_with("Drop"), "{heard}");
                rung += usize::from(heard.starts_with("Handshake"));
            }
            prop_assert_eq!(desk.to(carol), [""; 0]);
            prop_assert!(desk.server.address(bob).is_some() && desk.server.address(carol).is_some());
            // Carol tries once in two seconds.
            if desk.now >= next && !in_call(&desk, bob) {
                next = desk.now.saturating_add(Duration::from_secs(2));
                honest += 1;
                desk.send(carol, &call("bob", Parameters::DEFAULT)).unwrap();
                prop_assert!(in_call(&desk, carol), "refused: {:?}", desk.to(carol));
                desk.send(carol, &Packet::Drop { optional: b"" }).unwrap();
                desk.sent.clear();
            }
        }
        // On loopback each connection has a share, and the address half of what the callee takes.
        let ServerSettings { rings, source_rings, source_ringing, .. } = ServerSettings::DEFAULT;
        let (per_second, burst) = if loopback {
            (rings.per_second / 2, rings.burst / 2)
        } else {
            (source_rings.per_second, source_rings.burst)
        };
        let most = burst as usize + per_second as usize * (seconds(desk.now) + 1);
        prop_assert!(rung <= most, "{rung} rings, {most} allowed in {:?}; {honest} honest", desk.now);
        if !loopback {
            // Half of the time, and what may be owed: a minute, and the last call's.
            let most = (desk.now.saturating_duration_since(Instant::ZERO) / 2)
                + Duration::from_millis(u64::from(source_ringing.burst)) * 2
                + ServerSettings::DEFAULT.answer_timeout * 2;
            prop_assert!(ringing <= most, "{ringing:?} of {:?}", desk.now);
        }
    }
}

/// F-09: the case that was seen: one client rings and hangs up once a second, another calls.
#[test]
fn f_09_a_client_that_rings_and_hangs_up_costs_honest_callers_nothing() {
    for host in ["192.0.2.66", "127.0.0.9"] {
        for reconnects in [false, true] {
            let mut desk = Desk::new(ServerSettings::DEFAULT);
            let bob = desk.registered("198.51.100.1:1", "bob");
            let carol = desk.registered("198.51.100.2:1", "carol");
            let mut eve = desk.registered(&format!("{host}:1"), "eve");
            let mut through = 0;
            for second in 0..100 {
                for _ in 0..10 {
                    if reconnects {
                        desk.close(eve);
                        eve = desk.open(&format!("{host}:{}", 2 + second));
                        let _ = desk.send(eve, &registration(&format!("eve {second}")));
                    }
                    let _ = desk.send(eve, &call("bob", Parameters::DEFAULT));
                    let _ = desk.send(eve, &Packet::Drop { optional: b"" });
                    desk.pass(Duration::from_millis(100));
                }
                if second % 5 == 0 {
                    desk.send(carol, &call("bob", Parameters::DEFAULT)).unwrap();
                    through += usize::from(in_call(&desk, carol));
                    desk.send(carol, &Packet::Drop { optional: b"" }).unwrap();
                }
                desk.sent.clear();
            }
            assert_eq!(through, 20, "{host}, reconnects: {reconnects}");
            assert!(desk.server.address(bob).is_some());
        }
    }
}

/// F-09: a caller that lets it ring for as long as it may has the callee for half of the time, however it reconnects.
#[test]
fn f_09_ringing_without_end_leaves_the_callee_free_for_half_of_the_time() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let bob = desk.registered("198.51.100.1:1", "bob");
    let mut engaged = 0;
    let mut eve = desk.open("192.0.2.66:1");
    for second in 0..3600 {
        if second % 7 == 0 {
            desk.close(eve);
            eve = desk.open(&format!("192.0.2.66:{}", 2 + second));
        }
        let _ = desk.send(eve, &call("bob", Parameters::DEFAULT));
        engaged += usize::from(in_call(&desk, bob));
        desk.pass(Duration::from_secs(1));
        desk.sent.clear();
    }
    assert!((1200..=2000).contains(&engaged), "{engaged} of 3600 s");
}

/// F-09: a caller that rings for a second and hangs up, again and again, leaves the callee to others after a minute and a half, for half of
/// the time.
#[test]
fn f_09_short_rings_leave_the_callee_to_others_after_ninety_seconds() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let bob = desk.registered("198.51.100.1:1", "bob");
    let mut engaged = [0; 4];
    for second in 0..360 {
        let eve = desk.open(&format!("192.0.2.66:{}", 2 + second));
        let _ = desk.send(eve, &call("bob", Parameters::DEFAULT));
        engaged[second / 90] += usize::from(in_call(&desk, bob));
        desk.pass(Duration::from_secs(1));
        desk.close(eve);
        desk.sent.clear();
    }
    assert!(engaged[1..].iter().all(|engaged| (30..=46).contains(engaged)), "{engaged:?} of 90 s each");
}

/// F-28: the newest connection of an address with a fixed name has it, also while the one before is half dead.
#[test]
fn f_28_a_fixed_name_passes_to_the_newest_connection_and_calls_go_on() {
    let mut desk = Desk::new(ServerSettings::DEFAULT);
    let carol = desk.registered("198.51.100.2:1", "carol");
    let dave = desk.registered("198.51.100.3:1", "dave");
    let (old, new) = (desk.open("127.0.0.7:1"), desk.open("127.0.0.7:2"));
    let introduce = |desk: &mut Desk, peer| {
        let introduce = ServerCommand::Introduce { peer, name: "door", reachable: true, order: None };
        voxwire_core::Session::handle_command(&mut desk.server, desk.now, introduce).unwrap();
        desk.drain();
    };
    introduce(&mut desk, old);
    desk.send(old, &call("dave", Parameters::DEFAULT)).unwrap();
    introduce(&mut desk, new);
    assert_eq!(desk.server.find("door"), Some(new));
    desk.send(carol, &call("door", Parameters::DEFAULT)).unwrap();
    assert_eq!(desk.to(new).len(), 1);
    assert!(in_call(&desk, old), "the call of the connection before goes on");
    // When the newest goes, the name goes back; another address' holder is closed, as before.
    desk.close(new);
    introduce(&mut desk, old);
    assert_eq!(desk.server.find("door"), Some(old));
    introduce(&mut desk, dave);
    assert!(desk.server.address(old).is_none());
}

/// F-06: a proxy's address stands for many people: each connection from there pays for itself, and none displaces another.
#[test]
fn f_06_those_behind_a_proxy_are_not_one_source() {
    for proxy in [None, Some("192.0.2.1"), Some("2001:db8::1"), Some("::1")] {
        let mut desk = Desk::new(ServerSettings::DEFAULT);
        desk.server.exempt(&proxy.map(|proxy| proxy.parse().unwrap()).into_iter().collect::<Vec<_>>());
        let at = |port: u16| match proxy {
            Some(v6) if v6.contains(':') => format!("[{v6}]:{port}"),
            v4 => format!("{}:{port}", v4.unwrap_or("192.0.2.1")),
        };
        let (bob, shared) = (desk.registered("198.51.100.1:1", "bob"), proxy.is_some());
        // One rings until it may not any more; its neighbour gets through all the same.
        let (eve, ann) = (desk.registered(&at(1), "eve"), desk.registered(&at(2), "ann"));
        for _ in 0..35 {
            let _ = desk.send(eve, &call("bob", Parameters::DEFAULT));
            let _ = desk.send(eve, &Packet::Drop { optional: b"" });
        }
        let _ = desk.send(ann, &call("bob", Parameters::DEFAULT));
        assert_eq!(in_call(&desk, ann), shared, "{proxy:?}");
        desk.close(bob);
        // Log-ins count for nobody else.
        let refused = (0..60).filter(|n| {
            let peer = desk.open(&at(100 + n));
            desk.send(peer, &registration(&format!("guest {n}"))).is_err()
        });
        assert_eq!(refused.count() > 0, !shared, "{proxy:?}");
        let thief = desk.open(&at(200));
        desk.pass(Duration::from_secs(30));
        desk.send(thief, &registration("eve")).unwrap();
        desk.wait_for_names();
        assert_eq!(desk.server.find("eve") == Some(eve), shared, "{proxy:?}");
    }
}

/// F-06: an address that stands for many people proves no claim: a name lost there is kept for nobody, so that nobody behind it
/// can have it from its owner, or hold it against those elsewhere. F-28: anywhere else it is kept for its address.
#[test]
fn f_06_a_name_lost_behind_a_proxy_is_kept_for_nobody() {
    for (address, shared) in [
        ("127.0.0.1", true),
        ("[::1]", true),
        ("192.0.2.7", true),
        ("[::ffff:192.0.2.7]", true),
        ("[2001:db8::7]", true),
        ("192.0.2.8", false),
        ("[2001:db8::8]", false),
    ] {
        let mut desk = Desk::new(ServerSettings::DEFAULT);
        desk.server.exempt(&["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]);
        let holder = desk.registered(&format!("{address}:1"), "bob");
        desk.close(holder);
        let other = desk.open("198.51.100.1:1");
        desk.send(other, &registration("bob")).unwrap();
        desk.wait_for_names();
        assert_eq!(desk.server.find("bob"), shared.then_some(other), "{address}");
        // Its holder keeps it, for any requests of others there; and elsewhere its owner comes back to it.
        let again = desk.open(&format!("{address}:2"));
        desk.send(again, &registration("bob")).unwrap();
        desk.wait_for_names();
        assert_eq!(desk.server.find("bob"), Some(if shared { other } else { again }), "{address}");
    }
}
