//! Framings that shake hands, sessions that let a client wait, and what one connection may cost the others; with msgpack on top.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::disallowed_methods
)]

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use voxwire_core::{Handler, Instant, Rate, Session};
use voxwire_msgpack::zmtp::{SocketType, put_greeting, put_message_head, put_ready};
use voxwire_msgpack::{
    Client, ClientCommand, ClientSettings, Server, ServerCommand, ServerEvent, ServerSettings, Ticket,
};
use voxwire_transport::{Connection, ConnectionSettings, Error, Handle, Hub, HubSettings, Listener};

const SOON: Duration = Duration::from_millis(300);

/// Admits every user; other questions are answered at once, or left to the test.
#[derive(Clone, Default)]
struct Door {
    asked: Arc<Mutex<Vec<Ticket>>>,
    waits: bool,
}

impl Handler<Server> for Door {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        let command = match event {
            ServerEvent::LoggingIn { ticket, .. } => {
                let token = "00000000-0000-4000-8000-000000000000".into();
                ServerCommand::Admit { ticket, token }
            }
            ServerEvent::Registering { ticket, .. } if self.waits => {
                return self.asked.lock().unwrap().push(ticket);
            }
            ServerEvent::Registering { ticket, .. } => ServerCommand::Allow { ticket },
            _ => return,
        };
        server.handle_command(now, command).unwrap();
    }
}

fn serve(settings: HubSettings, door: Door) -> (Handle<Server>, SocketAddr) {
    serve_with(settings, ServerSettings::DEFAULT, door)
}

fn serve_with(settings: HubSettings, session: ServerSettings, door: Door) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(session, 1, |token| {
        let mut digest = [0; 32];
        digest.iter_mut().zip(token).for_each(|(to, from)| *to = *from);
        digest
    });
    (Hub::spawn(vec![listener], server, door, settings).unwrap(), address)
}

async fn client(address: SocketAddr) -> Connection<Client> {
    let client = Client::new(ClientSettings { reconnect: None, ..ClientSettings::DEFAULT });
    Connection::connect(&address.to_string(), client, ConnectionSettings::DEFAULT).await.unwrap()
}

async fn event(connection: &mut Connection<Client>) -> String {
    let next = async {
        loop {
            let Some(turn) = connection.next().await else { return "end".into() };
            if let Some(event) = turn.result.unwrap() {
                return format!("{event:?}");
            }
        }
    };
    timeout(Duration::from_secs(10), next).await.expect("an event within 10 s")
}

fn tell(connection: &mut Connection<Client>, command: ClientCommand<'_>) {
    connection.call(|client, now| client.handle_command(now, command)).unwrap();
}

fn greeted(socket: SocketType) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_greeting(&mut bytes);
    put_ready(socket, &mut bytes);
    bytes
}

/// Everything until the end of the stream.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.expect("an end").unwrap();
    bytes
}

#[tokio::test]
async fn c_06_half_a_handshake_ends_in_time_and_silence_does_not() {
    let (hub, address) =
        serve(HubSettings { handshake_timeout: SOON, ..HubSettings::DEFAULT }, Door::default());
    let whole = greeted(SocketType::Dealer);
    let silent = TcpStream::connect(address).await.unwrap();
    for half in [1, 30, 64, 70] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&whole[..half]).await.unwrap();
        assert!(!rest(stream).await.is_empty(), "greeted, and cut off");
    }
    assert_eq!(hub.stats().broken, 4);
    // A peer that has shaken hands, or has not begun, may wait.
    let mut ann = client(address).await;
    assert_eq!(event(&mut ann).await, "Connected");
    sleep(2 * SOON + Duration::from_secs(1)).await;
    assert_eq!(hub.stats().connections, 2);
    drop(silent);
}

#[tokio::test]
async fn c_06_a_client_gives_up_on_a_server_that_does_not_shake_hands() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let settings = ConnectionSettings { connect: SOON, ..ConnectionSettings::DEFAULT };
    let connect = || Connection::connect(&address, Client::new(ClientSettings::DEFAULT), settings);
    let (silent, _held) = tokio::join!(connect(), listener.accept());
    assert!(matches!(silent.err(), Some(Error::TooSlow("the handshake"))));
    let wrong = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (refused, _held) = tokio::join!(connect(), wrong);
    let error = refused.err().unwrap().to_string();
    assert_eq!(error, "transport handshake: expected the signature of ZMTP");
    let gone = async { drop(listener.accept().await) };
    let (closed, ()) = tokio::join!(connect(), gone);
    assert!(closed.is_err());
}

#[tokio::test]
async fn c_06_a_client_that_looks_at_its_connection_late_has_it_all_the_same() {
    let (_hub, address) = serve(HubSettings::DEFAULT, Door::default());
    let settings = ConnectionSettings { connect: SOON, ..ConnectionSettings::DEFAULT };
    let client = Client::new(ClientSettings { reconnect: None, ..ClientSettings::DEFAULT });
    let mut ann = Connection::connect(&address.to_string(), client, settings).await.unwrap();
    sleep(2 * SOON).await;
    assert_eq!(event(&mut ann).await, "Connected");
}

#[tokio::test]
async fn c_06_m_11_a_long_frame_that_stops_coming_in_is_given_up_however_long_it_would_have_been() {
    let (hub, address) = serve(HubSettings { frame_timeout: SOON, ..HubSettings::DEFAULT }, Door::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = b"\xa7request\xa5login\xa3eve\xa1x";
    let mut bytes = greeted(SocketType::Dealer);
    put_message_head(body.len(), &mut bytes);
    bytes.extend(body);
    put_message_head(16 << 20, &mut bytes);
    bytes.extend(b"\xa7request\xa9voice_msg");
    stream.write_all(&bytes).await.unwrap();
    // At the slowest that is allowed it would take 17 minutes.
    let rest = rest(stream).await;
    assert!(rest.windows(5).any(|window| window == b"login"), "logged in, and cut off");
    assert_eq!(hub.stats().broken, 1);
}

#[tokio::test]
async fn c_06_a_broken_stream_hears_why() {
    let (hub, address) = serve(HubSettings::DEFAULT, Door::default());
    let mut bytes = greeted(SocketType::Dealer);
    // A socket of another kind.
    let at = bytes.windows(6).position(|window| window == b"DEALER").unwrap();
    bytes[at..at + 6].copy_from_slice(b"XPUB__");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    assert!(rest(stream).await.ends_with(b"\x05ERROR\x13Invalid socket type"));
    assert_eq!(hub.stats().broken, 1);
}

#[tokio::test]
async fn c_06_a_peer_that_asks_and_does_not_take_the_answers_is_cut_off() {
    // However much may be queued for a connection otherwise.
    let frames = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let settings = HubSettings {
        send_buffer: Some(4096),
        max_queued: 64 << 20,
        frames,
        frame_timeout: SOON,
        ..HubSettings::DEFAULT
    };
    let (hub, address) = serve(settings, Door::default());
    let mut ann = client(address).await;
    assert_eq!(event(&mut ann).await, "Connected");
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(&greeted(SocketType::Dealer)).await.unwrap();
    let pings = b"\x04\x17\x04PING\x00\x000123456789abcdef".repeat(1000);
    let flood = async { while stream.write_all(&pings).await.is_ok() {} };
    let most = async {
        let mut most = 0;
        while hub.stats().connections > 1 {
            most = most.max(hub.stats().queued);
            sleep(Duration::from_millis(1)).await;
        }
        most
    };
    let both = async { tokio::join!(flood, most) };
    let ((), most) = timeout(Duration::from_secs(20), both).await.expect("cut off");
    assert!(most < 200_000, "{most} bytes waited");
    while hub.stats().connections > 1 {
        sleep(Duration::from_millis(10)).await;
    }
    tell(&mut ann, ClientCommand::Register { username: "ann".into(), password: "x".into() });
    assert_eq!(event(&mut ann).await, "Response { action: Register, code: SUCCESS, again: false }");
}

#[tokio::test]
async fn c_06_what_a_framing_skips_counts_as_frames_do() {
    for (burst, answered) in [(30_000, true), (1000, false)] {
        let frames = Rate { per_second: 1, burst };
        let (_hub, address) = serve(HubSettings { frames, ..HubSettings::DEFAULT }, Door::default());
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut bytes = greeted(SocketType::Dealer);
        // More unknown commands than are read at a time, and then something to be answered.
        bytes.extend(b"\x04\x01\x00".repeat(20_000));
        bytes.extend(b"\x00\x01\x05");
        stream.write_all(&bytes).await.unwrap();
        let mut answer = vec![0; 64 + 43 + 2 + 9 + 1 + 3];
        let wait = if answered { 10 * SOON } else { SOON };
        assert_eq!(timeout(wait, stream.read_exact(&mut answer)).await.is_ok(), answered);
    }
}

#[tokio::test]
async fn c_06_a_client_that_waits_for_the_application_is_read_on_as_soon_as_that_has_answered() {
    let door = Door { waits: true, ..Door::default() };
    let (hub, address) = serve(HubSettings::DEFAULT, door.clone());
    let mut ann = client(address).await;
    assert_eq!(event(&mut ann).await, "Connected");
    for _ in 0..3 {
        tell(&mut ann, ClientCommand::Register { username: "ann".into(), password: "x".into() });
    }
    for n in 0..3 {
        while door.asked.lock().unwrap().len() <= n {
            // What the client has said is on its way while it is driven.
            let quiet = timeout(Duration::from_millis(20), event(&mut ann)).await;
            assert!(quiet.is_err(), "{quiet:?}");
        }
        sleep(Duration::from_millis(100)).await;
        let ticket = door.asked.lock().unwrap()[n];
        assert_eq!(door.asked.lock().unwrap().len(), n + 1, "one at a time");
        hub.call(|server, now| server.handle_command(now, ServerCommand::Allow { ticket })).unwrap();
        assert_eq!(event(&mut ann).await, "Response { action: Register, code: SUCCESS, again: false }");
    }
}

/// The application answers on a thread of its own, while the client says more than one thing: no answer may find the connection's task
/// between looking and going to sleep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_06_no_answer_is_slept_through() {
    let door = Door { waits: true, ..Door::default() };
    let often = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let (settings, session) = (
        HubSettings { frames: often, ..HubSettings::DEFAULT },
        ServerSettings { requests: often, ..ServerSettings::DEFAULT },
    );
    let (hub, address) = serve_with(settings, session, door.clone());
    let done = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&done);
    let answering = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let tickets = core::mem::take(&mut *door.asked.lock().unwrap());
            for ticket in tickets {
                hub.call(|server, now| server.handle_command(now, ServerCommand::Allow { ticket })).unwrap();
            }
            core::hint::spin_loop();
        }
    });
    let mut ann = client(address).await;
    assert_eq!(event(&mut ann).await, "Connected");
    let asking = async {
        for _ in 0..500 {
            for _ in 0..4 {
                tell(&mut ann, ClientCommand::Register { username: "ann".into(), password: "x".into() });
            }
            for _ in 0..4 {
                assert!(event(&mut ann).await.starts_with("Response"));
            }
        }
    };
    let result = timeout(Duration::from_secs(25), asking).await;
    done.store(true, Ordering::Relaxed);
    answering.join().unwrap();
    result.expect("every answer at once");
}

#[tokio::test]
async fn c_06_m_11_when_all_have_too_much_queued_the_one_with_most_goes() {
    let settings = HubSettings { max_queued_total: 6 << 20, max_queued: 64 << 20, ..HubSettings::DEFAULT };
    let (hub, address) = serve(settings, Door::default());
    let mut ann = client(address).await;
    let mut bob = client(address).await;
    for (connection, name) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        assert_eq!(event(connection).await, "Connected");
        tell(connection, ClientCommand::Login { username: name.into(), password: "x".into() });
        assert!(event(connection).await.starts_with("LoggedIn"));
    }
    // Three who take nothing.
    let mut frozen = Vec::new();
    for name in ["eve1", "eve2", "eve3"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = [&b"\xa7request\xa5login\xa4"[..], name.as_bytes(), b"\xa1x"].concat();
        let mut bytes = greeted(SocketType::Dealer);
        put_message_head(body.len(), &mut bytes);
        bytes.extend(body);
        stream.write_all(&bytes).await.unwrap();
        frozen.push(stream);
    }
    while hub.call(|server, _| server.online()) < 5 {
        sleep(Duration::from_millis(10)).await;
    }
    // A recording of nearly 3 MB for each of them, twice: more than fits. Each is another one, or it would be held once for all.
    let recordings = [1, 2, 3, 4].map(|n| vec![30_000_i16 + n; 990_000]);
    let recording = |n: usize, recipient: &'static str| ClientCommand::VoiceMsg {
        recipient: recipient.into(),
        channels: 1,
        sample_rate: 44_100,
        samples: recordings[n][..].into(),
    };
    for (n, name) in ["eve1", "eve2", "eve3"].into_iter().enumerate() {
        tell(&mut ann, recording(n, name));
        assert_eq!(event(&mut ann).await, "Response { action: VoiceMsg, code: SUCCESS, again: false }");
    }
    // Bob gets his, and it is not he who goes.
    tell(&mut ann, recording(3, "bob"));
    let (sent, got) = tokio::join!(event(&mut ann), event(&mut bob));
    assert_eq!(sent, "Response { action: VoiceMsg, code: SUCCESS, again: false }");
    assert!(got.starts_with("VoiceMsg"), "{got}");
    let stats = hub.stats();
    assert!((1..=3).contains(&stats.too_slow), "{stats:?}");
    assert!(hub.call(|server, _| server.is_online(b"ann") && server.is_online(b"bob")));
}

/// F-24: a client that did not run while its server greeted it goes on with the handshake.
#[tokio::test]
async fn f_24_after_a_stall_of_the_client_a_handshake_goes_on() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::thread::sleep(Duration::from_millis(700));
        let greeting = greeted(SocketType::Router);
        stream.write_all(&greeting[..64]).unwrap();
        // The greeting, and what the client says when it has read ours.
        stream.read_exact(&mut [0; 64 + 30]).unwrap();
        stream.write_all(&greeting[64..]).unwrap();
        stream
    });
    tokio::spawn(async {
        sleep(SOON).await;
        std::thread::sleep(Duration::from_secs(2));
    });
    let settings = ConnectionSettings { connect: Duration::from_secs(1), ..ConnectionSettings::DEFAULT };
    let client = Client::new(ClientSettings { reconnect: None, ..ClientSettings::DEFAULT });
    let mut ann = Connection::connect(&address, client, settings).await.unwrap();
    assert_eq!(event(&mut ann).await, "Connected");
    drop(server.join().unwrap());
}
