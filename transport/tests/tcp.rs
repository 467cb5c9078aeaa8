//! The TCP hub and connection over real loopback sockets, with voicelink on top.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic
)]

use crate::harness::shouting;

use core::net::SocketAddr;
use core::time::Duration;
use shouting::{ShoutingOnStream, shouting, shouting_on_stream};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use voxwire_core::{Handler, Instant, Lane, PeerId, Rate, Session};
use voxwire_transport::{
    Connection, ConnectionSettings, Drained, Error, Handle, Hub, HubSettings, Listener, Remote,
    TcpUdpSettings,
};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, Parameters, Server, ServerEvent,
    ServerSettings, Violation,
};

type Log = Arc<Mutex<Vec<String>>>;

/// Writes down what the server's application hears.
struct Listen(Log);

impl Handler<Server> for Listen {
    fn on_event(&mut self, _server: &mut Server, _now: Instant, event: ServerEvent<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }

    fn on_violation(&mut self, _now: Instant, _peer: PeerId, violation: Violation) {
        self.0.lock().unwrap().push(violation.to_string());
    }
}

struct Served {
    hub: Handle<Server>,
    address: SocketAddr,
    log: Log,
}

fn serve_on(bind: &str, settings: HubSettings) -> Served {
    let listener = Listener::bind(bind.parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let log = Log::default();
    let hub =
        Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 1), Listen(log.clone()), settings)
            .unwrap();
    Served { hub, address, log }
}

fn serve(settings: HubSettings) -> Served {
    serve_on("127.0.0.1:0", settings)
}

async fn client(address: SocketAddr) -> Connection<Client> {
    let client = Client::new(ClientSettings::DEFAULT);
    Connection::connect(&address.to_string(), client, ConnectionSettings::DEFAULT).await.unwrap()
}

/// The next event, as text; audio by its content.
async fn event(connection: &mut Connection<Client>) -> String {
    let next = async {
        loop {
            let Some(turn) = connection.next().await else { return "end".into() };
            match turn.result.unwrap() {
                Some(ClientEvent::Data { samples }) => return format!("data {}", samples.escape_ascii()),
                Some(event) => return format!("{event:?}"),
                None => {}
            }
        }
    };
    timeout(Duration::from_secs(10), next).await.expect("an event within 10 s")
}

fn tell(connection: &mut Connection<Client>, command: ClientCommand<'_>) {
    connection.call(|client, now| client.handle_command(now, command)).unwrap();
}

async fn registered(address: SocketAddr, name: &str) -> Connection<Client> {
    let mut connection = client(address).await;
    assert_eq!(event(&mut connection).await, "Connected");
    let (preferred, samples) = (Parameters::DEFAULT, ByteOrder::BigEndian);
    tell(&mut connection, ClientCommand::Register { name, secret: None, preferred, samples });
    assert_eq!(event(&mut connection).await, "Registered");
    connection
}

/// Two clients in a call.
async fn call(address: SocketAddr) -> (Connection<Client>, Connection<Client>) {
    let (mut alice, mut bob) = (registered(address, "alice").await, registered(address, "bob").await);
    tell(&mut alice, ClientCommand::Call { user: b"bob", parameters: Parameters::DEFAULT, optional: b"" });
    let (ringing, ()) = tokio::join!(event(&mut bob), flush(&mut alice));
    assert!(ringing.starts_with("Incoming(\"alice\""), "{ringing}");
    tell(&mut bob, ClientCommand::Accept { optional: b"" });
    let (up, ()) = tokio::join!(event(&mut alice), flush(&mut bob));
    assert!(up.starts_with("Established("), "{up}");
    (alice, bob)
}

/// Gives a connection the time to write what waits.
async fn flush(connection: &mut Connection<Client>) {
    let _ = timeout(Duration::from_millis(50), connection.next()).await;
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 10 s");
}

#[tokio::test]
async fn c_06_a_call_over_loopback_and_its_end() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let served = serve_on(bind, HubSettings::DEFAULT);
        let (mut alice, mut bob) = call(served.address).await;
        tell(&mut alice, ClientCommand::Say { samples: b"one" });
        tell(&mut alice, ClientCommand::Say { samples: b"two" });
        flush(&mut alice).await;
        assert_eq!((event(&mut bob).await, event(&mut bob).await), ("data one".into(), "data two".into()));
        drop(alice);
        assert_eq!(event(&mut bob).await, "Dropped(\"connection lost\")");
        let log = served.log.clone();
        until("the server notices", || log.lock().unwrap().iter().any(|line| line.starts_with("Gone(0.0")))
            .await;
        assert_eq!(served.hub.stats().connections, 1);
    }
}

#[tokio::test]
async fn c_15_next_is_cancel_safe() {
    let served = serve(HubSettings::DEFAULT);
    let (mut alice, mut bob) = call(served.address).await;
    let pump = tokio::spawn(async move {
        for n in 0..400_u16 {
            tell(&mut alice, ClientCommand::Say { samples: &n.to_be_bytes().repeat(100) });
            let _ = timeout(Duration::from_micros(u64::from(n) * 3), alice.next()).await;
        }
        flush(&mut alice).await;
        alice
    });
    let mut heard = 0;
    let mut cancelled = 0;
    while heard < 400_u16 {
        match timeout(Duration::from_micros(50), bob.next()).await {
            Err(_) => {
                cancelled += 1;
                assert!(cancelled < 1_000_000, "heard {heard}");
            }
            Ok(turn) => {
                if let Some(ClientEvent::Data { samples }) = turn.unwrap().result.unwrap() {
                    assert_eq!(samples, heard.to_be_bytes().repeat(100));
                    heard += 1;
                }
            }
        }
    }
    assert!(cancelled > 0);
    drop(pump.await.unwrap());
}

#[tokio::test]
async fn c_06_a_broken_stream_costs_its_own_connection_only() {
    let served = serve(HubSettings::DEFAULT);
    let (mut alice, mut bob) = call(served.address).await;
    for bytes in [&[0; 4][..], &[0, 0, 0, 5], &[0xff; 4], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut eve = TcpStream::connect(served.address).await.unwrap();
        eve.write_all(bytes).await.unwrap();
        let read = timeout(Duration::from_secs(10), eve.read(&mut [0; 16])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{bytes:?}: {read:?}");
    }
    let hub = served.hub.clone();
    until("all counted", || hub.stats().broken == 4).await;
    tell(&mut bob, ClientCommand::Say { samples: b"still here" });
    flush(&mut bob).await;
    assert_eq!(event(&mut alice).await, "data still here");
}

#[tokio::test]
async fn c_06_a_frame_that_does_not_end_closes_its_connection() {
    let settings = HubSettings { frame_timeout: Duration::from_millis(300), ..HubSettings::DEFAULT };
    let served = serve(settings);
    let mut eve = TcpStream::connect(served.address).await.unwrap();
    // A byte now and then does not help: the deadline is the frame's, not the byte's.
    let drip = async {
        eve.write_all(&[0, 0, 0, 200, 0, 4]).await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if eve.write_all(&[0]).await.is_err() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(10), drip).await.expect("closed");
    assert_eq!(served.hub.stats().broken, 1);
    // A client that is merely silent stays.
    let mut quiet = TcpStream::connect(served.address).await.unwrap();
    assert!(timeout(Duration::from_secs(2), quiet.read(&mut [0])).await.is_err());
}

#[tokio::test]
async fn c_06_a_slow_listener_loses_the_oldest_audio_and_delays_no_other() {
    let settings = HubSettings {
        send_buffer: Some(8 * 1024),
        frames: Rate { per_second: 1_000_000, burst: 1_000_000 },
        ..HubSettings::DEFAULT
    };
    let served = serve(settings);
    let (mut alice, mut bob) = call(served.address).await;
    // Bob does not read. 20 MB are far more than sockets hold; 200 ms of this call are 19 200 bytes.
    for n in 0..2000_u32 {
        tell(&mut alice, ClientCommand::Say { samples: &n.to_be_bytes().repeat(2500) });
        let _ = timeout(Duration::from_micros(200), alice.next()).await;
    }
    until("the server has it all", || served.hub.call(|server, _| server.stats().packets) == 2000).await;
    let dropped = served.hub.stats().dropped_frames;
    assert!(dropped > 500, "{dropped}");
    // What arrives is whole frames in order, and ends with the newest.
    let (mut heard, mut last) = (0, None);
    while last != Some(1999) {
        if let Ok(Some(ClientEvent::Data { samples })) = bob.next().await.unwrap().result {
            let n = u32::from_be_bytes(samples[..4].try_into().unwrap());
            assert!(last.is_none_or(|last| n > last) && samples == n.to_be_bytes().repeat(2500));
            (heard, last) = (heard + 1, Some(n));
        }
    }
    assert_eq!(heard + dropped, 2000);
    assert_eq!(served.hub.stats().too_slow, 0);
}

#[tokio::test]
async fn c_06_a_peer_that_does_not_take_reliable_frames_is_closed() {
    let settings = HubSettings { max_queued: 16 * 1024, send_buffer: Some(4 * 1024), ..HubSettings::DEFAULT };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let hub = Hub::spawn(vec![listener], shouting_on_stream(), (), settings).unwrap();
    let (mut slow, mut quick) =
        (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    let read = tokio::spawn(async move {
        let mut total = 0;
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = quick.read(&mut bytes).await {
            total += n;
        }
        total
    });
    until("both are there", || hub.stats().connections == 2).await;
    let mut sent = 0;
    while hub.stats().too_slow == 0 {
        hub.call(|session, _| session.say(Lane::Reliable, &[7; 1000]));
        sent += 1000;
        assert!(sent < 50_000_000, "never closed");
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    hub.call(|session, _| assert_eq!(session.closed, 1));
    // What waited for the other waits no more, what overflowed included.
    until("it is gone", || hub.stats().connections == 1).await;
    until("everything is taken", || hub.stats().queued == 0).await;
    // The quick one has everything.
    hub.drain(Duration::from_secs(5)).await;
    assert_eq!(read.await.unwrap(), sent);
    let _ = slow.shutdown().await;
}

/// Sends each peer a frame that no other is sent, nor was before.
fn tell_each(session: &mut ShoutingOnStream, round: u8) {
    for (n, &peer) in (0..=u8::MAX).zip(&session.peers) {
        let mut frame = [n; 1000];
        frame[0] = round;
        session.outbox.forward([peer], Lane::Reliable, &frame).unwrap();
    }
}

/// The head of a Data packet of 300 000 bytes, and 250 000 bytes of it.
fn most_of_a_large_packet() -> Vec<u8> {
    let mut bytes = vec![7; 250_006];
    bytes[..6].copy_from_slice(&[0, 4, 0x93, 0xe6, 0, 6]);
    bytes
}

/// The same call as `call`, by hand: returns the caller's end.
async fn raw_call(address: SocketAddr, name: &str, callee: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for (user, optional) in [("", name), (callee, "")] {
        let length = 19 + user.len() + optional.len();
        let mut packet =
            vec![0, 0, 0, length as u8, 0, 0, 0, 0, 0xbb, 0x80, 0, 1, 2, 0, 0, 3, 0xc0, 0, user.len() as u8];
        packet.extend(user.bytes().chain(optional.bytes()));
        stream.write_all(&packet).await.unwrap();
        if user.is_empty() {
            stream.read_exact(&mut [0; 6]).await.unwrap();
        }
    }
    stream
}

#[tokio::test]
async fn c_06_large_partial_frames_share_a_budget_and_wait_for_it() {
    let settings = HubSettings {
        partial_frames: 400_000,
        frame_timeout: Duration::from_millis(1500),
        min_bytes_per_second: 100_000_000,
        ..HubSettings::DEFAULT
    };
    let served = serve(settings);
    let mut listeners = vec![];
    let mut callers = vec![];
    for n in 0..2 {
        let (callee, caller) = (format!("callee {n}"), format!("caller {n}"));
        let mut listener = registered(served.address, &callee).await;
        let mut stream = raw_call(served.address, &caller, &callee).await;
        assert!(event(&mut listener).await.starts_with("Incoming("));
        tell(&mut listener, ClientCommand::Accept { optional: b"" });
        listener.flush().await.unwrap();
        stream.read_exact(&mut [0; 6]).await.unwrap();
        listeners.push(listener);
        callers.push(stream);
    }
    // The first stops in the middle of a large packet, and holds what there is.
    let (mut stuck, mut honest) = (callers.remove(0), callers.remove(0));
    stuck.write_all(&most_of_a_large_packet()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut whole = most_of_a_large_packet();
    whole.resize(300_006, 7);
    // The system's own buffers may not take it all while the hub does not read.
    let send = tokio::spawn(async move { honest.write_all(&whole).await.map(|()| honest) });
    // When the first is closed for being late, the second gets through, whole.
    let heard = event(&mut listeners[1]).await;
    assert_eq!(heard.len(), "data ".len() + 300_000 * "\\x07".len());
    assert_eq!(event(&mut listeners[0]).await, "Dropped(\"connection lost\")");
    assert_eq!(served.hub.stats().broken, 1);
    drop(send.await);
}

#[tokio::test]
async fn c_06_frames_beyond_the_rate_wait_and_none_is_lost() {
    let settings = HubSettings { frames: Rate { per_second: 500, burst: 50 }, ..HubSettings::DEFAULT };
    let served = serve(settings);
    let (mut alice, mut bob) = call(served.address).await;
    for n in 0..300_u16 {
        tell(&mut alice, ClientCommand::Say { samples: &n.to_be_bytes() });
    }
    let hear = async {
        for n in 0..300_u16 {
            loop {
                if let Ok(Some(ClientEvent::Data { samples })) = bob.next().await.unwrap().result {
                    assert_eq!(samples, n.to_be_bytes());
                    break;
                }
            }
        }
    };
    let send = async { while alice.next().await.is_some() {} };
    let both = async {
        tokio::select! { () = hear => {}, () = send => panic!("closed") }
    };
    timeout(Duration::from_secs(10), both).await.expect("all 300 frames");
    assert_eq!(served.hub.stats().dropped_frames, 0);
}

#[tokio::test]
async fn c_06_what_a_throttled_sender_sent_before_it_closed_still_counts() {
    // Every frame over the rate pauses the reading for a millisecond; the end of the stream waits its turn.
    let settings = HubSettings { frames: Rate { per_second: 2000, burst: 10 }, ..HubSettings::DEFAULT };
    let served = serve(settings);
    let mut bob = registered(served.address, "bob").await;
    let mut alice = raw_call(served.address, "alice", "bob").await;
    assert!(event(&mut bob).await.starts_with("Incoming("));
    tell(&mut bob, ClientCommand::Accept { optional: b"" });
    bob.flush().await.unwrap();
    alice.read_exact(&mut [0; 6]).await.unwrap();
    let frame = [0, 0, 0, 10, 0, 6, 1, 2, 3, 4];
    alice.write_all(&frame.repeat(3000)).await.unwrap();
    alice.write_all(&[0, 0, 0, 9, 0, 5, b'b', b'y', b'e']).await.unwrap();
    drop(alice);
    for n in 0..3000 {
        assert_eq!(event(&mut bob).await, "data \\x01\\x02\\x03\\x04", "frame {n}");
    }
    assert_eq!(event(&mut bob).await, "Dropped(\"bye\")");
}

#[tokio::test]
async fn c_06_a_burst_reaches_a_listener_that_takes_it() {
    let served = serve(HubSettings::DEFAULT);
    let mut bob = registered(served.address, "bob").await;
    let mut alice = raw_call(served.address, "alice", "bob").await;
    assert!(event(&mut bob).await.starts_with("Incoming("));
    tell(&mut bob, ClientCommand::Accept { optional: b"" });
    bob.flush().await.unwrap();
    alice.read_exact(&mut [0; 6]).await.unwrap();
    // Five seconds of audio at once, from a client that does not pace what it plays.
    let mut bytes = vec![];
    for n in 0..240_u8 {
        bytes.extend([0, 0, 0x07, 0xd6, 0, 6]);
        bytes.extend([n; 2000]);
    }
    let send = tokio::spawn(async move { alice.write_all(&bytes).await.map(|()| alice) });
    for n in 0..240_u8 {
        let heard = event(&mut bob).await;
        assert!(heard == format!("data {}", [n; 2000].escape_ascii()), "packet {n}");
    }
    drop(send.await.unwrap().unwrap());
    assert_eq!(served.hub.stats().dropped_frames, 0);
}

#[tokio::test]
async fn c_06_over_the_hubs_ceiling_those_who_hold_much_pay() {
    let settings =
        HubSettings { max_queued_total: 1_000_000, send_buffer: Some(8 * 1024), ..HubSettings::DEFAULT };
    let served = serve(settings);
    // Callees that never read, and callers that send large packets.
    let mut frozen = vec![];
    for n in 0..10 {
        let mut callee = registered(served.address, &format!("callee {n}")).await;
        let mut caller = raw_call(served.address, &format!("caller {n}"), &format!("callee {n}")).await;
        assert!(event(&mut callee).await.starts_with("Incoming("));
        tell(&mut callee, ClientCommand::Accept { optional: b"" });
        callee.flush().await.unwrap();
        caller.read_exact(&mut [0; 6]).await.unwrap();
        frozen.push((caller, callee));
    }
    let mut large = vec![7; 300_006];
    large[..6].copy_from_slice(&[0, 4, 0x93, 0xe6, 0, 6]);
    for _ in 0..20 {
        for (caller, _) in &mut frozen {
            caller.write_all(&large).await.unwrap();
        }
    }
    until("all relayed", || served.hub.call(|server, _| server.stats().packets) == 200).await;
    // Without the ceiling every callee would have a packet queued and one being written: six millions in all.
    let waiting = served.hub.stats().queued;
    assert!(waiting < 3_000_000, "{waiting} bytes wait");
    // A listener that keeps up loses nothing.
    let (mut alice, mut bob) = call(served.address).await;
    for n in 0..50_u8 {
        tell(&mut alice, ClientCommand::Say { samples: &[n; 100] });
        alice.flush().await.unwrap();
        assert_eq!(event(&mut bob).await, format!("data {}", [n; 100].escape_ascii()));
    }
    drop(frozen);
    let hub = served.hub.clone();
    until("nothing waits", || hub.stats().queued == 0).await;
}

/// F-43: one large packet waits for each listener that takes nothing, and not one more behind it.
#[tokio::test]
async fn f_43_a_listener_that_never_reads_holds_one_large_packet() {
    let settings =
        HubSettings { max_queued_total: usize::MAX, send_buffer: Some(8 * 1024), ..HubSettings::DEFAULT };
    let served = serve(settings);
    let mut frozen = vec![];
    for n in 0..8 {
        let mut callee = registered(served.address, &format!("callee {n}")).await;
        let mut caller = raw_call(served.address, &format!("caller {n}"), &format!("callee {n}")).await;
        assert!(event(&mut callee).await.starts_with("Incoming("));
        tell(&mut callee, ClientCommand::Accept { optional: b"" });
        callee.flush().await.unwrap();
        caller.read_exact(&mut [0; 6]).await.unwrap();
        frozen.push((caller, callee));
    }
    let mut large = vec![7; 900_006];
    large[..6].copy_from_slice(&[0, 0x0d, 0xbb, 0xa6, 0, 6]);
    for round in 1..=4 {
        for (caller, _) in &mut frozen {
            caller.write_all(&large).await.unwrap();
        }
        until("all relayed", || served.hub.call(|server, _| server.stats().packets) == 8 * round).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let waiting = served.hub.stats().queued;
    assert!((1_000_000..8 * 1_000_000).contains(&waiting), "{waiting} bytes are held");
    drop(frozen);
    let hub = served.hub.clone();
    until("nothing is held", || hub.stats().queued == 0).await;
}

/// F-43: the ceiling holds against many that hold little each, too, and against what is said reliably.
#[tokio::test]
async fn f_43_over_the_ceiling_many_that_hold_little_pay_as_well() {
    let settings = HubSettings {
        max_queued_total: 1_000_000,
        max_queued: 200_000,
        send_buffer: Some(4 * 1024),
        ..HubSettings::DEFAULT
    };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let hub = Hub::spawn(vec![listener], shouting_on_stream(), (), settings).unwrap();
    let mut frozen = vec![];
    for _ in 0..100 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        frozen.push(socket.connect(address).await.unwrap());
    }
    until("all are there", || hub.stats().connections == 100).await;
    let mut most = 0;
    // F-46: what all are sent is held once, and costs no other its connection.
    for round in 0..40 {
        hub.call(|session, _| session.say(Lane::Reliable, &[round; 1000]));
        tokio::time::sleep(Duration::from_millis(2)).await;
        most = most.max(hub.stats().queued);
    }
    assert!(most < 500_000 && hub.stats().too_slow == 0, "{most} bytes were held");
    for round in 0..60 {
        hub.call(|session, _| tell_each(session, round));
        tokio::time::sleep(Duration::from_millis(2)).await;
        most = most.max(hub.stats().queued);
    }
    assert!(most < 1_500_000, "{most} bytes were held");
    assert!(hub.stats().too_slow > 0 && hub.stats().connections > 0, "{:?}", hub.stats());
    drop(frozen);
    until("nothing is held", || hub.stats().queued == 0).await;
}

/// D-15: a session of datagrams is not connected by TCP alone, where its frames would run into each other.
#[tokio::test]
async fn d_15_a_session_of_datagrams_is_not_connected_by_tcp_alone() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connect = Connection::connect(&address, shouting(), ConnectionSettings::DEFAULT);
    let error = timeout(Duration::from_secs(10), connect).await.expect("at once").err().unwrap();
    assert!(matches!(error, Error::NotAStream), "{error}");
    assert!(error.to_string().ends_with("connect to `Remote::tcp_udp` or `Remote::quic`"), "{error}");
}

/// F-35: a client does not queue without bound for a server that acknowledges and never reads.
#[tokio::test]
async fn f_35_a_client_gives_up_on_a_server_that_takes_nothing() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let settings = ConnectionSettings { max_queued: 100_000, ..ConnectionSettings::DEFAULT };
    let remote = Remote::tcp_udp(address, TcpUdpSettings::default());
    let connect = Connection::connect(remote, shouting(), settings);
    let accept = async {
        let (mut server, _) = listener.accept().await.unwrap();
        // Its hello: no UDP.
        server.write_all(&[&b"VOXL\x01\x00"[..], &[0; 26]].concat()).await.unwrap();
        server
    };
    let (connection, _server) = tokio::join!(connect, accept);
    let mut connection = connection.unwrap();
    let mut sent = 0;
    let ended = async {
        loop {
            connection.call(|session, _| session.say(Lane::Reliable, &[7; 10_000]));
            sent += 1;
            if let Ok(None) = timeout(Duration::from_millis(1), connection.next()).await {
                return;
            }
            assert!(sent < 5000, "no end");
        }
    };
    timeout(Duration::from_secs(20), ended).await.expect("an end");
    assert_eq!(connection.session().closed, 1, "the session knows");
    let error = connection.error().unwrap().to_string();
    assert!(
        error.starts_with("the other side takes nothing more: 1") && error.ends_with("at most 100000 may be"),
        "{error}"
    );
}

#[tokio::test]
async fn c_06_connections_beyond_the_cap_are_refused() {
    let served = serve(HubSettings { max_connections: 2, ..HubSettings::DEFAULT });
    let _kept = (registered(served.address, "a").await, registered(served.address, "b").await);
    let mut third = TcpStream::connect(served.address).await.unwrap();
    let read = timeout(Duration::from_secs(10), third.read(&mut [0])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));
    assert_eq!((served.hub.stats().refused, served.hub.stats().connections), (1, 2));
}

#[tokio::test]
async fn c_06_draining_tells_all_clients_and_waits_for_them() {
    let served = serve(HubSettings::DEFAULT);
    let (mut alice, mut bob) = call(served.address).await;
    let hub = served.hub.clone();
    let drained = tokio::spawn(async move { hub.drain(Duration::from_secs(10)).await });
    for connection in [&mut alice, &mut bob] {
        assert_eq!(event(connection).await, "Dropped(\"server is shutting down\")");
        assert_eq!(event(connection).await, "Disconnected(in call: false)");
        assert_eq!(event(connection).await, "end");
    }
    drop((alice, bob));
    assert_eq!(drained.await.unwrap(), Drained { told: 2, cut_off: 0 });
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn c_06_draining_ends_at_its_deadline_with_a_client_that_takes_nothing() {
    let served = serve(HubSettings::DEFAULT);
    let stuck = registered(served.address, "stuck").await;
    let drained = served.hub.drain(Duration::from_millis(300)).await;
    assert_eq!(drained, Drained { told: 0, cut_off: 1 });
    let hub = served.hub.clone();
    until("cut off", || hub.stats().connections == 0).await;
    drop(stuck);
}

#[tokio::test]
async fn c_06_the_handle_reaches_the_session_from_outside() {
    let served = serve(HubSettings::DEFAULT);
    let mut alice = registered(served.address, "alice").await;
    let peer = served.hub.call(|server, _| server.find("alice")).unwrap();
    let kick = voxwire_voicelink::ServerCommand::Kick { peer, reason: "enough" };
    served.hub.call(|server, now| server.handle_command(now, kick)).unwrap();
    assert_eq!(event(&mut alice).await, "Disconnected(in call: false)");
    assert_eq!(event(&mut alice).await, "end");
    let log = served.log.clone();
    until("the application learns of it", || {
        log.lock().unwrap().iter().any(|line| line.starts_with("Gone("))
    })
    .await;
}

#[tokio::test]
async fn a_client_learns_that_the_server_is_gone_or_was_never_there() {
    let served = serve(HubSettings::DEFAULT);
    let mut alice = registered(served.address, "alice").await;
    served.hub.drain(Duration::from_millis(1)).await;
    assert_eq!(event(&mut alice).await, "Disconnected(in call: false)");
    assert!(alice.error().is_some());
    let (address, client) = (served.address.to_string(), Client::new(ClientSettings::DEFAULT));
    let refused = Connection::connect(&address, client, ConnectionSettings::DEFAULT);
    assert!(refused.await.unwrap_err().to_string().contains("refused"));
}

/// C-06: a peer that goes on sending behind a broken frame does not lose the final frames by a reset, however much it sends.
#[tokio::test]
async fn c_06_what_is_sent_behind_a_broken_frame_is_read_until_the_peer_closes() {
    // Longer than the test: a connection that is not read on would be reset after it.
    let settings = HubSettings { linger: Duration::from_secs(60), ..HubSettings::DEFAULT };
    let served = serve(settings);
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let all = async {
        stream.write_all(&[0xff; 8 * 1024 * 1024]).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    };
    timeout(Duration::from_secs(30), all).await.expect("is read within 30 s").expect("no reset");
    until("the connection ends", || served.hub.stats().connections == 0 && served.hub.stats().closing == 0)
        .await;
}
