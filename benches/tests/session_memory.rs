//! G-M2: what a session holds for each Dissonance client that is in one room, in bytes of heap.

use std::net::Ipv4Addr;
use std::time::Duration;
use voxwire_benches::alloc::{Counting, live_bytes};
use voxwire_benches::hall;
use voxwire_core::{Input, Instant, Lane, PeerId, Session as _};
use voxwire_dissonance::{Server, ServerSettings};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CLIENTS: usize = 1000;

/// Bytes of heap for each client of a session in rooms of `per_room`, whose clients have addresses that stand for many people, or one for a
/// few. What the outbox keeps is the session's.
struct Each {
    server: Server,
    peers: Vec<PeerId>,
    now: Instant,
    before: u64,
}

impl Each {
    fn new(per_room: usize, per_address: Option<usize>) -> Self {
        let before = live_bytes();
        let limits = hall::settings(CLIENTS).limits;
        let rooms: Vec<usize> = (0..CLIENTS).map(|n| n / per_room).collect();
        let address_of = |n: usize| match per_address {
            Some(many) => Ipv4Addr::from_bits(0xc612_0000 + u32::try_from(n / many).expect("few clients")),
            None => Ipv4Addr::LOCALHOST,
        };
        let settings = ServerSettings { limits, ..ServerSettings::DEFAULT };
        let (server, peers) = hall::hall_with(settings, &rooms, address_of);
        let before = before + (peers.capacity() * size_of::<PeerId>()) as u64;
        Self { server, peers, now: Instant::ZERO, before }
    }

    fn bytes(&mut self) -> u64 {
        self.server.outbox().shrink();
        (live_bytes() - self.before) / CLIENTS as u64
    }

    fn feed(&mut self, n: usize, bytes: &[u8]) {
        let input = Input::Frame { peer: self.peers[n], lane: Lane::Droppable, bytes };
        self.server.handle_input(self.now, input).expect("voice");
    }

    /// A minute and a half, in which one client speaks, or nothing comes in.
    fn wait(&mut self, one_speaks: bool) {
        let voice = hall::voice(self.server.session(), 0, 10, &[7; 80]);
        for _ in 0..9000 {
            self.now = self.now.saturating_add(Duration::from_millis(10));
            if one_speaks {
                self.feed(0, &voice);
            }
            while self.server.poll_timeout().is_some_and(|due| due <= self.now) {
                self.server.handle_timeout(self.now);
            }
            self.server.advance(usize::MAX);
        }
    }
}

/// G-M2: rates of control packets that are full again take no memory, whether anything comes in or not. Nor does what clients have said, once
/// they have been quiet for long.
#[test]
fn g_m2_a_client_in_a_room_costs_little() {
    for one_speaks in [true, false] {
        // The source of each few takes some, too.
        for (per_address, most) in [(None, [400, 160]), (Some(4), [450, 160 + 200 / 4])] {
            let mut each = Each::new(10, per_address);
            let joined = each.bytes();
            each.wait(one_speaks);
            let bytes = [joined, each.bytes()];
            println!("{per_address:?} of an address: {bytes:?} for each that has just joined, and later");
            assert!(bytes[0] <= most[0] && bytes[1] <= most[1], "{bytes:?} of {most:?}");
        }
    }
    let mut each = Each::new(CLIENTS, None);
    each.wait(false);
    let quiet = each.bytes();
    // To 20 clients, one of whom has the highest number.
    for n in 0..CLIENTS {
        let others: Vec<usize> = (1..20).map(|by| (n + by) % (CLIENTS - 1)).chain([CLIENTS - 1]).collect();
        let voice = hall::voice_to(each.server.session(), n, 0, &others, 0, &[7; 80]);
        each.feed(n, &voice);
        assert_eq!(each.server.outputs().count(), 20);
        each.server.advance(usize::MAX);
    }
    let spoken = each.bytes();
    each.wait(false);
    let later = each.bytes();
    println!("{quiet} bytes for each in one room, {spoken} once all have spoken to 20, {later} later");
    assert!(spoken <= quiet + 256 && later == quiet, "{quiet}, {spoken}, {later} bytes");
}
