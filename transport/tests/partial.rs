//! Frames that come in bit by bit: who holds memory for them, who waits, and who goes; with msgpack on top.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use core::net::SocketAddr;
use core::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use voxwire_core::{Handler, Instant, Message, Session};
use voxwire_msgpack::zmtp::{SocketType, put_greeting, put_message_head, put_ready};
use voxwire_msgpack::{ClientMessage, Server, ServerCommand, ServerEvent, Settings, Wire};
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

const MIB: usize = 1024 * 1024;
const TOKEN: &str = "00000000-0000-4000-8000-000000000000";

/// Admits everybody, and keeps every recording.
struct Door;

impl Handler<Server> for Door {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        let command = match event {
            ServerEvent::LoggingIn { ticket, .. } => ServerCommand::Admit { ticket, token: TOKEN.into() },
            ServerEvent::Registering { ticket, .. } => ServerCommand::Allow { ticket },
            _ => return,
        };
        server.handle_command(now, command).unwrap();
    }
}

fn serve(settings: HubSettings) -> (Handle<Server>, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(Settings::DEFAULT, 1, |_| [7; 32]);
    (Hub::spawn(vec![listener], server, Door, settings), address)
}

fn encoded(message: &ClientMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&Wire::CLIENT, &mut bytes).unwrap();
    bytes
}

/// A recording of nearly 3 MB.
fn recording(username: &str) -> Vec<u8> {
    let samples = vec![30_000_i16; 990_000];
    encoded(&ClientMessage::VoiceMsg {
        username: username.into(),
        token: TOKEN.into(),
        recipient: "sink".into(),
        channels: 1,
        sample_rate: 44_100,
        samples: samples[..].into(),
    })
}

/// Takes the recordings of all.
async fn sink(address: SocketAddr) {
    let mut stream = plain(address, "sink").await;
    tokio::spawn(async move {
        let mut bytes = vec![0; 64 * 1024];
        while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
    });
}

fn login(username: &str) -> Vec<u8> {
    encoded(&ClientMessage::Login { username: username.into(), password: "x".into() })
}

/// Logged in, without ZMTP: messages one behind the other, whose length nobody announces.
async fn plain(address: SocketAddr, username: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&login(username)).await.unwrap();
    answer(&mut stream).await;
    stream
}

/// Logged in, over ZMTP.
async fn zmtp(address: SocketAddr, username: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let mut bytes = Vec::new();
    put_greeting(&mut bytes);
    put_ready(SocketType::Dealer, &mut bytes);
    stream.write_all(&bytes).await.unwrap();
    stream.read_exact(&mut [0; 64 + 43]).await.unwrap();
    let body = login(username);
    bytes.clear();
    put_message_head(body.len(), &mut bytes);
    bytes.extend(body);
    stream.write_all(&bytes).await.unwrap();
    answer(&mut stream).await;
    stream
}

/// Whatever the server says next.
async fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let n = timeout(Duration::from_secs(20), stream.read(&mut bytes)).await.expect("an answer").unwrap();
    assert_ne!(n, 0, "closed");
    bytes.truncate(n);
    bytes
}

async fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(limit, wait).await.is_ok(), "{what}: not within {limit:?}");
}

/// F-15: three that grow bit by bit at once, in a budget for one, neither lock each other out nor the others.
#[tokio::test]
async fn f_15_three_large_frames_of_unknown_length_at_once_are_all_answered() {
    let (hub, address) = serve(HubSettings { partial_frames: 4 * MIB, ..HubSettings::DEFAULT });
    sink(address).await;
    let mut tasks = Vec::new();
    for name in ["ann", "bob", "cat"] {
        let mut stream = plain(address, name).await;
        let bytes = recording(name);
        tasks.push(tokio::spawn(async move {
            // In step: none is through before the others have begun.
            for chunk in bytes.chunks(200_000) {
                stream.write_all(chunk).await.unwrap();
                tokio::task::yield_now().await;
            }
            answer(&mut stream).await
        }));
    }
    for task in tasks {
        let answer = task.await.unwrap();
        assert!(answer.windows(9).any(|window| window == b"voice_msg"), "{}", answer.escape_ascii());
    }
    assert_eq!((hub.stats().broken, hub.stats().partial), (0, 0));
}

/// F-15: whoever announces a lot and sends nothing has nothing; whoever sends a lot and then nothing gives way.
#[tokio::test]
async fn f_15_silent_strangers_hold_nothing_that_somebody_else_needs() {
    let (hub, address) = serve(HubSettings { partial_frames: 8 * MIB, ..HubSettings::DEFAULT });
    sink(address).await;
    let (mut announced, mut stopped) = (Vec::new(), Vec::new());
    for n in 0..40 {
        let mut stream = zmtp(address, &format!("eve{n}")).await;
        let mut bytes = Vec::new();
        put_message_head(3 * MIB, &mut bytes);
        bytes.extend(&recording("eve")[..3000]);
        stream.write_all(&bytes).await.unwrap();
        announced.push(stream);
    }
    for n in 0..4 {
        let mut stream = plain(address, &format!("mallory{n}")).await;
        // The system may not take it all while it is not read.
        let part = recording("mallory")[..1_200_000].to_vec();
        stopped.push(tokio::spawn(async move {
            stream.write_all(&part).await.unwrap();
            stream
        }));
    }
    sleep(Duration::from_millis(300)).await;
    let sum = hub.stats();
    assert!(sum.partial <= 12 * MIB, "{sum:?}");
    let mut honest = plain(address, "ann").await;
    honest.write_all(&recording("ann")).await.unwrap();
    let answer = answer(&mut honest).await;
    assert!(answer.windows(9).any(|window| window == b"voice_msg"), "{}", answer.escape_ascii());
    let mut second = zmtp(address, "bob").await;
    let body = recording("bob");
    let mut bytes = Vec::new();
    put_message_head(body.len(), &mut bytes);
    bytes.extend(body);
    second.write_all(&bytes).await.unwrap();
    let answer = self::answer(&mut second).await;
    assert!(answer.windows(9).any(|window| window == b"voice_msg"), "{}", answer.escape_ascii());
    drop(announced);
}

/// F-15: the end of a connection is noticed while its frame waits for memory, and frees what it holds at once.
#[tokio::test]
async fn f_15_a_connection_that_closes_while_it_waits_is_gone_and_frees_its_part() {
    let (hub, address) = serve(HubSettings { partial_frames: 3 * MIB, ..HubSettings::DEFAULT });
    let mut streams = Vec::new();
    for n in 0..4 {
        let stream = plain(address, &format!("eve{n}")).await;
        streams.push(stream);
    }
    let before = hub.stats().connections;
    for stream in &mut streams {
        let part = &recording("eve")[..1_500_000];
        let _ = timeout(Duration::from_millis(200), stream.write_all(part)).await;
    }
    assert_eq!(before, 4);
    for (n, stream) in streams.into_iter().enumerate() {
        if n % 2 == 0 {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(stream);
    }
    until("all gone", Duration::from_secs(3), || hub.stats().connections == 0).await;
    assert_eq!(hub.stats().partial, 0);
}

/// F-15: waiting has an end.
#[tokio::test]
async fn f_15_a_frame_does_not_wait_for_memory_for_ever() {
    let settings =
        HubSettings { partial_frames: MIB, partial_wait: Duration::from_millis(500), ..HubSettings::DEFAULT };
    let (hub, address) = serve(settings);
    // More than there can be.
    let mut stream = plain(address, "ann").await;
    let _ = timeout(Duration::from_secs(5), stream.write_all(&recording("ann"))).await;
    until("closed", Duration::from_secs(5), || hub.stats().connections == 0).await;
    assert_eq!((hub.stats().broken, hub.stats().partial), (1, 0));
}
