//! G-M2: what a session holds for each Dissonance client that is in one room, in bytes of heap.

use std::net::Ipv4Addr;
use voxwire_benches::alloc::{Counting, live_bytes};
use voxwire_benches::hall;
use voxwire_core::{Input, Instant, Lane, PeerId, Session as _};
use voxwire_dissonance::{Server, ServerSettings};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CLIENTS: usize = 1000;
/// Clients of one address.
const NEIGHBOURS: usize = 4;

const fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// Bytes of heap for each client of a session whose clients have addresses that stand for many people, or one for a few: right after they
/// have joined, and once they have been quiet for a minute and a half, in which only one of them speaks, or none and nothing comes in.
fn each(per_address: Option<usize>, one_speaks: bool) -> (u64, u64) {
    let before = live_bytes();
    let limits = hall::settings(CLIENTS).limits;
    let rooms: Vec<usize> = (0..CLIENTS).map(|n| n / 10).collect();
    let address_of = |n: usize| match per_address {
        Some(many) => Ipv4Addr::from_bits(0xc612_0000 + u32::try_from(n / many).expect("few clients")),
        None => Ipv4Addr::LOCALHOST,
    };
    let settings = ServerSettings { limits, ..ServerSettings::DEFAULT };
    let (mut server, peers) = hall::hall_with(settings, &rooms, address_of);
    let kept = (peers.capacity() * size_of::<PeerId>() + rooms.capacity() * size_of::<usize>()) as u64;
    let each = |server: &mut Server| {
        // What the outbox keeps is the session's.
        server.outbox().shrink();
        (live_bytes() - before - kept) / CLIENTS as u64
    };
    let joined = each(&mut server);
    let voice = hall::voice(server.session(), 0, 10, &[7; 80]);
    for ms in (0..90_000).step_by(10) {
        if one_speaks {
            let input = Input::Frame { peer: peers[0], lane: Lane::Droppable, bytes: &voice };
            server.handle_input(at(ms), input).expect("voice");
        }
        while server.poll_timeout().is_some_and(|due| due <= at(ms)) {
            server.handle_timeout(at(ms));
        }
        server.advance(usize::MAX);
    }
    (joined, each(&mut server))
}

/// G-M2: rates of control packets that are full again take no memory, whether anything comes in or not.
#[test]
fn g_m2_a_client_in_a_room_costs_little() {
    for one_speaks in [true, false] {
        let (joined, quiet) = each(None, one_speaks);
        println!("{joined} bytes for each client that has just joined, {quiet} a minute and a half later");
        assert!(quiet <= 160 && joined < 400, "{joined} bytes for each client in a room, {quiet} later");
        // What a source takes.
        let (joined, quiet) = each(Some(NEIGHBOURS), one_speaks);
        println!("{NEIGHBOURS} of an address: {joined} bytes for each, {quiet} later");
        assert!(
            quiet <= 160 + 200 / NEIGHBOURS as u64 && joined < 450,
            "{joined} bytes for each, {quiet} later"
        );
    }
}
