//! G-M2: what a session holds for each Dissonance client that is in one room, in bytes of heap.

use std::time::Duration;
use voxwire_benches::alloc::{Counting, live_bytes};
use voxwire_benches::hall;
use voxwire_core::{Input, Instant, Lane, PeerId, Session as _};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CLIENTS: usize = 1000;

/// G-M2: right after they have joined, and once the rates of control packets are full again, which take no memory then.
#[test]
fn g_m2_a_client_in_a_room_costs_little() {
    let before = live_bytes();
    let (mut server, peers) = hall::hall(CLIENTS, 10);
    let kept = (peers.capacity() * size_of::<PeerId>()) as u64;
    let each = || (live_bytes() - before - kept) / CLIENTS as u64;
    let joined = each();
    // One of them speaks: a session gives memory back as packets come in.
    let voice = hall::voice(server.session(), 0, 10, &[7; 80]);
    for ms in (60_000..90_000).step_by(10) {
        let now = Instant::ZERO.saturating_add(Duration::from_millis(ms));
        let input = Input::Frame { peer: peers[0], lane: Lane::Droppable, bytes: &voice };
        server.handle_input(now, input).expect("voice");
        server.advance(usize::MAX);
    }
    let quiet = each();
    println!("{joined} bytes for each client that has just joined, {quiet} a minute and a half later");
    assert!(quiet <= 160 && joined < 512, "{joined} bytes for each client in a room, {quiet} later");
}
