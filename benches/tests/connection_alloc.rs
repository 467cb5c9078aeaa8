//! C-03, F-71: a client's connection allocates nothing once warm, and over QUIC little more than quinn does by itself. Apart from
//! `zero_alloc.rs`, because the whole process counts, and the test harness speaks up after a minute.

#[path = "connection_alloc/quic.rs"]
mod quic;

use voxwire_benches::alloc::{Counting, allocations};
use voxwire_benches::{UNLIMITED, settings};
use voxwire_core::Session as _;
use voxwire_transport::{Connection, ConnectionSettings, Hub, HubSettings, Listener};
use voxwire_voicelink::{ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, Parameters, Server};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PACKETS: u64 = 2000;

/// Allocations of `packets` runs, after as many to warm up.
fn count(packets: u64, mut run: impl FnMut(u64)) -> u64 {
    (0..packets).for_each(&mut run);
    let before = allocations();
    (0..packets).for_each(&mut run);
    allocations() - before
}

#[test]
fn c_03_f_71_a_connection_allocates_nothing_and_over_quic_little() {
    assert_ne!(count(1, |_| drop(Vec::<u8>::with_capacity(1))), 0, "the counter counts");
    connections();
    quic::frames_cost_little_more_than_quinn_takes();
}

/// A call through a hub between two clients that are driven by [`Connection`]s: out of the one session, into the other, and back.
fn connections() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let settings_of_hub = HubSettings { frames: UNLIMITED, ..HubSettings::DEFAULT };
    let handle = Hub::spawn(vec![listener], Server::new(settings(), 1), (), settings_of_hub).unwrap();
    drop(guard);
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (parameters, samples) = (Parameters::DEFAULT, ByteOrder::BigEndian);
    let connect = |name: &'static str| {
        here.block_on(async {
            let client = Client::new(ClientSettings::DEFAULT);
            let mut connection =
                Connection::connect(&address, client, ConnectionSettings::DEFAULT).await.unwrap();
            await_event(&mut connection, |event| matches!(event, ClientEvent::Connected)).await;
            let register = ClientCommand::Register { name, secret: None, preferred: parameters, samples };
            connection.call(|client, now| client.handle_command(now, register)).unwrap();
            await_event(&mut connection, |event| matches!(event, ClientEvent::Registered)).await;
            connection
        })
    };
    let mut sides = [connect("alice"), connect("bob")];
    here.block_on(async {
        let [alice, bob] = &mut sides;
        let call = ClientCommand::Call { user: b"bob", parameters, optional: b"" };
        alice.call(|client, now| client.handle_command(now, call)).unwrap();
        alice.flush().await.unwrap();
        await_event(bob, |event| matches!(event, ClientEvent::Incoming { .. })).await;
        bob.call(|client, now| client.handle_command(now, ClientCommand::Accept { optional: b"" })).unwrap();
        bob.flush().await.unwrap();
        await_event(alice, |event| matches!(event, ClientEvent::Established { .. })).await;
    });
    let block = [7; 1920];
    let allocations = count(PACKETS, |n| {
        here.block_on(async {
            let (speaker, listener) = sides.split_at_mut(1);
            let (speaker, listener) = (&mut speaker[0], &mut listener[0]);
            let (speaker, listener) = if n % 2 == 0 { (speaker, listener) } else { (listener, speaker) };
            let say = ClientCommand::Say { samples: &block };
            speaker.call(|client, now| client.handle_command(now, say)).unwrap();
            speaker.flush().await.unwrap();
            await_event(
                listener,
                |event| matches!(event, ClientEvent::Data { samples } if *samples == block),
            )
            .await;
        });
    });
    assert_eq!(allocations, 0, "connections");
    assert_eq!(handle.call(|server, _| server.stats().packets), 2 * PACKETS);
}

/// Drives a connection until `expected` holds for an event.
async fn await_event(connection: &mut Connection<Client>, expected: impl Fn(&ClientEvent<'_>) -> bool) {
    loop {
        let turn = connection.next().await.expect("the connection goes on");
        if turn.result.unwrap().as_ref().is_some_and(&expected) {
            return;
        }
    }
}
