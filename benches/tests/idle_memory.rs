//! C-06: an idle connection holds no buffer, and one with a stalled packet a small one. Counted in bytes of heap that are left for each of many registered clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use voxwire_benches::alloc::{Counting, live_bytes};
use voxwire_benches::{encoded, settings};
use voxwire_transport::{Hub, HubSettings, Listener};
use voxwire_voicelink::{ByteOrder, Handshake, Packet, Parameters, Server};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CLIENTS: u64 = 400;

#[test]
fn c_06_an_idle_connection_holds_no_buffer() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    // Buffers that wait to be reused are not the connections'.
    let settings_of_hub = HubSettings { pooled: 2, ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], Server::new(settings(), 1), (), settings_of_hub).unwrap();
    let mut streams: Vec<TcpStream> = Vec::with_capacity(2 * CLIENTS as usize);
    let mut register = |n: u64| {
        let name = format!("client {n:04}");
        let (parameters, optional) = (Parameters::DEFAULT, name.as_bytes());
        let packet = encoded(
            &Packet::Handshake(Handshake { parameters, user_name: b"", optional }),
            ByteOrder::BigEndian,
        );
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&packet).unwrap();
        stream.read_exact(&mut [0; 6]).unwrap();
        streams.push(stream);
    };
    // Tables grow by doubling: the first half pays for that.
    (0..CLIENTS).for_each(&mut register);
    let before = live_bytes();
    (CLIENTS..2 * CLIENTS).for_each(&mut register);
    std::thread::park_timeout(Duration::from_millis(200));
    let each = (live_bytes() - before) / CLIENTS;
    println!("{each} bytes for each idle client");
    assert!(each < 1639, "{each} bytes for each idle client");
    assert_eq!(hub.stats().connections as u64, 2 * CLIENTS);
    // F-46: nine bytes of a packet, and then nothing.
    for stream in &mut streams {
        stream.write_all(&[0, 0, 0, 200, 0, 4, 1, 2, 3]).unwrap();
    }
    std::thread::park_timeout(Duration::from_millis(500));
    let stalled = (live_bytes() - before) / CLIENTS;
    // All connections have such a packet, and only half of them were counted before.
    let stalled = each + (stalled - each) / 2;
    println!("{stalled} bytes for each client with a stalled packet");
    assert!(stalled < 8 * 1024, "{stalled} bytes for each client with a stalled packet");
    assert_eq!(hub.stats().connections as u64, 2 * CLIENTS);
    drop(guard);
}
