//! G-M2: what a session holds for each Dissonance client that is in one room, in bytes of heap.

use voxwire_benches::alloc::{Counting, live_bytes};
use voxwire_benches::hall;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CLIENTS: usize = 1000;

#[test]
fn g_m2_a_client_in_a_room_costs_little() {
    let before = live_bytes();
    let hall = hall::hall(CLIENTS, 10);
    let peers = size_of_val(&hall.1[..]) as u64;
    let each = (live_bytes() - before - peers) / CLIENTS as u64;
    println!("{each} bytes for each client in a room");
    assert!(each < 512, "{each} bytes for each client in a room");
    drop(hall);
}
