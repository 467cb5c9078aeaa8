//! The most that one source can make others pay: the rows of `SECURITY.md`, "What costs whom".
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use harness::{Harness, peer, request};
use proptest::prelude::*;
use std::time::Duration;
use voxwire_core::{Input, Instant, Moderation as _};
use voxwire_opcode::{Packet, RelayAddress, ServerSettings, Text};

/// What an attacker does with one of its connections.
#[derive(Debug, Clone)]
enum Act {
    Connect,
    Close(usize),
    Login(usize, u8),
    Call(usize, u16),
    Refuse(usize),
    Garbage(usize, Vec<u8>),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let at = 0..6_usize;
    let port = prop_oneof![Just(4001_u16), Just(0), Just(80)];
    prop_oneof![
        4 => Just(Act::Connect),
        2 => at.clone().prop_map(Act::Close),
        5 => (at.clone(), any::<u8>()).prop_map(|(at, name)| Act::Login(at, name)),
        8 => (at.clone(), port).prop_map(|(at, port)| Act::Call(at, port)),
        1 => at.clone().prop_map(Act::Refuse),
        1 => (at, prop::collection::vec(any::<u8>(), 10..40)).prop_map(|(at, bytes)| Act::Garbage(at, bytes)),
        3 => (0..2000_u64).prop_map(Act::Wait),
    ]
}

/// The attacker: connections of one source.
struct Source {
    from: [u8; 4],
    slots: Vec<u32>,
    next: u32,
    names: u32,
}

impl Source {
    fn act(&mut self, hall: &mut Harness, act: &Act) {
        let slot = |at: usize| self.slots.get(at % self.slots.len().max(1)).copied();
        match act {
            Act::Connect if self.slots.len() < 6 => {
                self.next += 1;
                hall.open_from(self.next, self.from).unwrap();
                self.slots.push(self.next);
            }
            Act::Connect => {}
            Act::Close(at) => {
                if let Some(slot) = slot(*at) {
                    hall.input(Input::Closed { peer: peer(slot) }).unwrap();
                    self.slots.retain(|other| *other != slot);
                }
            }
            Act::Login(at, name) => {
                // The longest names there are, each of them new.
                self.names += 1;
                let name = format!("{name:0>247}{:0>8}", self.names);
                if let Some(slot) = slot(*at) {
                    let _ = hall.login(slot, &name);
                }
            }
            Act::Call(at, port) => {
                if let Some(slot) = slot(*at) {
                    let _ = hall.send(slot, &request("bob", "", *port));
                }
            }
            Act::Refuse(at) => {
                if let Some(slot) = slot(*at) {
                    let _ = hall.send(slot, &Packet::CallRefused { contact: Text(b"bob") });
                }
            }
            Act::Garbage(at, bytes) => {
                if let Some(slot) = slot(*at) {
                    let _ = hall.raw(slot, bytes);
                }
            }
            Act::Wait(millis) => drop(hall.run_for(Duration::from_millis(*millis))),
        }
        // The server may have closed some.
        self.slots.retain(|slot| hall.server.address(peer(*slot)).is_some());
    }
}

fn seconds(now: Instant) -> usize {
    usize::try_from(now.saturating_duration_since(Instant::ZERO).as_secs()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Rows "a call" and "coming and going", with and without carried calls: a callee is rung, and every client told who comes
    /// and goes, no more often than the source's share; and an honest call is always handed on.
    #[test]
    fn no_source_costs_others_more_than_its_share(
        acts in prop::collection::vec(act(), 1..500),
        carried in any::<bool>(),
    ) {
        let relay = carried.then_some(RelayAddress { v4: Some([192, 0, 2, 1].into()), v6: None });
        let settings = ServerSettings { relay, ..ServerSettings::DEFAULT };
        let mut hall = Harness::new(settings);
        for (slot, name) in [(1, "bob"), (2, "carol"), (3, "idle")] {
            hall.join(slot, name);
        }
        let mut eve = Source { from: [192, 0, 2, 66], slots: vec![], next: 100, names: 0 };
        hall.sent.clear();
        let (mut rung, mut next, mut honest) = (0, Instant::ZERO, 0);
        for act in &acts {
            let before = hall.server.stats().calls;
            eve.act(&mut hall, act);
            rung += hall.server.stats().calls - before;
            prop_assert!([1, 2, 3].iter().all(|slot| hall.server.address(peer(*slot)).is_some()));
            if hall.now >= next {
                next = hall.now.saturating_add(Duration::from_secs(2));
                honest += 1;
                hall.said(2);
                hall.send(2, &request("bob", "", 4001)).unwrap();
                let said = hall.said(2).concat();
                prop_assert!(!said.contains("ErrorResponse"), "{said}");
            }
        }
        hall.run_for(Duration::from_secs(1));
        let passed = seconds(hall.now) + 1;
        let ServerSettings { source_rings, attempts, .. } = settings;
        let most = (source_rings.burst + source_rings.per_second * passed as u32) as u64;
        prop_assert!(rung <= most, "{rung} rings, {most} allowed; {honest} honest");
        // A log-in is told, and its end: with a name of 255 bytes each, in lists of 18 bytes more.
        let (bytes, packets) = hall.sent.get(&3).copied().unwrap_or_default();
        let logins = (attempts.burst + attempts.per_second * passed as u32) as usize;
        prop_assert!(bytes <= logins * 2 * (255 + 8 + 18), "{bytes} bytes for {logins} log-ins");
        // Ten lists of each kind at once, then twenty a second.
        prop_assert!(packets <= 2 * (10 + 20 * passed), "{packets} packets in {passed} s");
    }
}

/// F-09: as in voicelink: one client that calls and calls, on however many connections, costs honest callers nothing.
#[test]
fn f_09_a_client_that_calls_without_end_costs_honest_callers_nothing() {
    for from in [[192, 0, 2, 66], [127, 0, 0, 9]] {
        let mut hall = Harness::new(ServerSettings::DEFAULT);
        hall.join(1, "bob");
        hall.join(2, "carol");
        let mut through = 0;
        for second in 0..100_u32 {
            for n in 0..20 {
                // On a connection of its own each, under a new name.
                let slot = 1000 + second * 20 + n;
                hall.open_from(slot, from).unwrap();
                let _ = hall.login(slot, &format!("eve {slot}"));
                let _ = hall.send(slot, &request("bob", "", 4001));
                let _ = hall.input(Input::Closed { peer: peer(slot) });
                hall.run_for(Duration::from_millis(50));
            }
            if second % 5 == 0 {
                hall.said(2);
                hall.send(2, &request("bob", "", 4001)).unwrap();
                through += usize::from(!hall.said(2).concat().contains("ErrorResponse"));
            }
        }
        assert_eq!(through, 20, "{from:?}");
    }
}

/// One source carries no more than its part of the calls that the server carries.
#[test]
fn calls_carried_for_one_source_leave_room_for_others() {
    let relay = Some(RelayAddress { v4: Some([192, 0, 2, 1].into()), v6: None });
    let mut hall = Harness::new(ServerSettings {
        relay,
        max_relays: 20,
        max_source_relays: 5,
        ..ServerSettings::DEFAULT
    });
    hall.join(1, "bob");
    hall.join(2, "carol");
    for slot in 10..30 {
        hall.open_from(slot, [192, 0, 2, 66]).unwrap();
        hall.login(slot, &format!("eve {slot}")).unwrap();
        let _ = hall.send(slot, &request("bob", "", 4001));
    }
    assert_eq!(hall.server.relays(), 5);
    hall.send(2, &request("bob", "", 4001)).unwrap();
    assert_eq!(hall.server.relays(), 6);
}

/// F-06: a proxy's address stands for many people: each connection from there pays for itself, and none displaces another.
#[test]
fn f_06_those_behind_a_proxy_are_not_one_source() {
    let relay = Some(RelayAddress { v4: Some([198, 51, 100, 1].into()), v6: None });
    let settings = ServerSettings {
        relay,
        max_relays: 50,
        max_source_relays: 5,
        same_address_displaces: true,
        ..ServerSettings::DEFAULT
    };
    for proxy in [None, Some([192, 0, 2, 1])] {
        let (mut hall, shared) = (Harness::new(settings), proxy.is_some());
        hall.server.exempt(&proxy.map(Into::into).into_iter().collect::<Vec<_>>());
        hall.join(1, "bob");
        let mut refused = 0;
        for slot in 10..30 {
            hall.open_from(slot, [192, 0, 2, 1]).unwrap();
            refused += usize::from(hall.login(slot, &format!("ann {slot}")).is_err());
            refused += usize::from(hall.send(slot, &request("bob", "", 4001)).is_err());
        }
        // The callee has ten rings for one source, and the server five calls to carry.
        assert_eq!(hall.server.relays(), if shared { 20 } else { 5 });
        for slot in 30..60 {
            hall.open_from(slot, [192, 0, 2, 1]).unwrap();
            refused += usize::from(hall.login(slot, &format!("ann {slot}")).is_err());
        }
        assert_eq!(refused > 0, !shared);
        hall.run_for(Duration::from_secs(5));
        hall.open_from(70, [192, 0, 2, 1]).unwrap();
        let _ = hall.login(70, "ann 10");
        assert_eq!(hall.server.find(b"ann 10") == Some(peer(10)), shared);
    }
}

/// F-06: an address that stands for many people proves no claim: a name lost there is kept for nobody, so that nobody behind it
/// can have it from its owner, or hold it against those elsewhere. Anywhere else it is kept for its address.
#[test]
fn f_06_a_name_lost_behind_a_proxy_is_kept_for_nobody() {
    for (address, shared) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("192.0.2.7", true),
        ("::ffff:192.0.2.7", true),
        ("2001:db8::7", true),
        ("192.0.2.8", false),
        ("2001:db8::8", false),
    ] {
        let address: core::net::IpAddr = address.parse().unwrap();
        let mut hall = Harness::new(ServerSettings::DEFAULT);
        hall.server.exempt(&["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]);
        hall.open_from(1, address).unwrap();
        hall.login(1, "bob").unwrap();
        hall.input(Input::Closed { peer: peer(1) }).unwrap();
        hall.open_from(2, [198, 51, 100, 1]).unwrap();
        hall.login(2, "bob").unwrap();
        assert_eq!(hall.server.find(b"bob"), shared.then_some(peer(2)), "{address}");
        // Its holder keeps it, for any requests of others there; and elsewhere its owner comes back to it.
        hall.open_from(3, address).unwrap();
        hall.login(3, "bob").unwrap();
        assert_eq!(hall.server.find(b"bob"), Some(peer(if shared { 2 } else { 3 })), "{address}");
    }
}
