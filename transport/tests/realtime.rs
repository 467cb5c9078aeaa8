//! Sessions on threads of their own, without a runtime.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::disallowed_methods
)]

use core::net::SocketAddr;
use core::time::Duration;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use voxwire_core::{Handler, Instant, PeerId, Rate, Session as _};
use voxwire_syfala::{
    Client, ClientCommand, ClientEvent, ClientMessage, ClientSettings, Format, IoResult, IoState, Network,
    Server, ServerCommand, ServerEvent, ServerSettings,
};
use voxwire_transport::realtime::{
    AudioHandler, AudioSender, Driver, Ended, Handle, Scheduling, SendError, Settings, Socket, Wait,
};

const STREAMS: [Format; 2] = [Format::STANDARD; 2];

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// What each stream has brought, and what else there was to hear.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Notes>>);

/// The streams, and the events.
type Notes = ([Vec<u8>; 2], Vec<String>);

impl Heard {
    fn note(&self, text: String) {
        self.0.lock().unwrap().1.push(text);
    }

    fn stream(&self, stream: usize) -> Vec<u8> {
        self.0.lock().unwrap().0[stream].clone()
    }

    fn len(&self, stream: usize) -> usize {
        self.0.lock().unwrap().0[stream].len()
    }

    fn has(&self, what: &str) -> bool {
        self.0.lock().unwrap().1.iter().any(|text| text.starts_with(what))
    }

    fn audio(&self, audio: &voxwire_syfala::Audio<'_>) {
        let stream = &mut self.0.lock().unwrap().0[audio.stream as usize];
        assert_eq!(audio.byte_index, stream.len() as u64, "in order");
        stream.extend_from_slice(audio.payload);
    }
}

struct Device {
    heard: Heard,
    client: Option<PeerId>,
    panics: bool,
}

impl Handler<Server> for Device {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        match event {
            ServerEvent::Audio { audio, .. } => {
                assert!(!self.panics, "the handler panics");
                return self.heard.audio(&audio);
            }
            ServerEvent::StartIo { client } => {
                let result = IoResult::Success;
                server.handle_command(now, ServerCommand::StartIoResult { client, result }).unwrap();
                self.client = Some(client);
            }
            _ => {}
        }
        self.heard.note(format!("{event:?}"));
    }
}

impl AudioHandler<Server> for Device {
    fn on_audio(&mut self, server: &mut Server, now: Instant, sender: usize, samples: &[u8]) {
        if let Some(client) = self.client {
            let command = ServerCommand::Play { client, stream: sender as u32, samples };
            server.handle_command(now, command).unwrap();
        }
    }
}

struct App {
    heard: Heard,
    server: Option<PeerId>,
}

impl Handler<Client> for App {
    fn on_event(&mut self, client: &mut Client, now: Instant, event: ClientEvent<'_>) {
        match event {
            ClientEvent::Audio { audio, .. } => return self.heard.audio(&audio),
            ClientEvent::Found { server, .. } => {
                client.handle_command(now, ClientCommand::Accept { server }).unwrap();
                client.handle_command(now, ClientCommand::StartIo { server }).unwrap();
                self.server = Some(server);
            }
            _ => {}
        }
        self.heard.note(format!("{event:?}"));
    }
}

impl AudioHandler<Client> for App {
    fn on_audio(&mut self, client: &mut Client, now: Instant, sender: usize, samples: &[u8]) {
        if let Some(server) = self.server {
            let command = ClientCommand::Play { server, stream: sender as u32, samples };
            client.handle_command(now, command).unwrap();
        }
    }
}

fn session() -> Server {
    let mut server = Server::new(&STREAMS, &STREAMS, ServerSettings::DEFAULT, 1).unwrap();
    server.handle_command(Instant::ZERO, ServerCommand::Serve { networks: &Network::LOOPBACK }).unwrap();
    server
}

/// A device and a client that stream to each other, and the two callbacks of each.
struct Studio {
    device: Handle<Server>,
    client: Handle<Client>,
    played: [AudioSender<Server>; 2],
    spoken: [AudioSender<Client>; 2],
    at_device: Heard,
    at_client: Heard,
    address: SocketAddr,
}

impl Studio {
    fn start(settings: Settings, panics: bool) -> Self {
        let (at_device, at_client) = (Heard::default(), Heard::default());
        let socket = Socket::bind(loopback(0)).unwrap();
        let address = socket.local_addr();
        let handler = Device { heard: at_device.clone(), client: None, panics };
        let mut driver = Driver::new(socket, session(), handler, settings).unwrap();
        let played = [(); 2].map(|()| driver.sender(64 * 1024));
        let device = driver.start().unwrap();

        let socket = Socket::bind(loopback(0)).unwrap().with_broadcast(vec![address]).unwrap();
        let handler = App { heard: at_client.clone(), server: None };
        let mut driver =
            Driver::new(socket, Client::new(ClientSettings::DEFAULT), handler, settings).unwrap();
        let spoken = [(); 2].map(|()| driver.sender(64 * 1024));
        let client = driver.start().unwrap();
        client.call(|client, now| client.handle_command(now, ClientCommand::Discover)).unwrap().unwrap();
        until("audio may go both ways", || at_client.has("Started"));
        Self { device, client, played, spoken, at_device, at_client, address }
    }
}

/// Waits for what other threads do in their own time.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = std::time::Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Block number `n`: of 32 frames, or of so many that it takes three datagrams.
fn block(n: usize) -> Vec<u8> {
    vec![n as u8; if n % 16 == 0 { 4096 } else { 256 }]
}

fn blocks(count: usize) -> Vec<u8> {
    (0..count).flat_map(block).collect()
}

/// What is written by a callback comes out at the other side, complete and in order, whichever thread has sent it: two callbacks on each
/// side, and strangers that keep both drivers busy.
fn streams_both_ways(wait: Wait) {
    const BLOCKS: usize = 500;
    let settings = Settings { wait, priority: None, ..Settings::DEFAULT };
    let mut studio = Studio::start(settings, false);
    let (done, address) = (AtomicBool::new(false), studio.address);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stranger = UdpSocket::bind(loopback(0)).unwrap();
            while !done.load(SeqCst) {
                stranger.send_to(b"\xff", address).unwrap();
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        // Not faster than the other side takes it: the system's buffers end somewhere.
        fn play(send: &mut dyn FnMut(&[u8]), heard: &Heard, stream: usize) {
            let mut sent = 0;
            for n in 0..BLOCKS {
                let block = block(n);
                until("room on the way", || sent - heard.len(stream) < 32 * 1024);
                send(&block);
                sent += block.len();
            }
            until("all has come", || heard.len(stream) == sent);
            assert_eq!(heard.stream(stream), blocks(BLOCKS));
        }
        let Studio { played, spoken, at_device, at_client, .. } = &mut studio;
        let (at_device, at_client) = (&*at_device, &*at_client);
        let mut callbacks = Vec::new();
        for (stream, sender) in played.iter_mut().enumerate() {
            let mut send = |block: &[u8]| sender.send(block).unwrap();
            callbacks.push(scope.spawn(move || play(&mut send, at_client, stream)));
        }
        for (stream, sender) in spoken.iter_mut().enumerate() {
            let mut send = |block: &[u8]| sender.send(block).unwrap();
            callbacks.push(scope.spawn(move || play(&mut send, at_device, stream)));
        }
        callbacks.into_iter().for_each(|callback| callback.join().unwrap());
        done.store(true, SeqCst);
    });
    assert_eq!(studio.client.stop().unwrap(), Default::default());
    until("the device hears of it", || studio.at_device.has("Gone"));
    let stats = studio.device.stop().unwrap();
    assert_eq!((stats.unsent, stats.refused_blocks, stats.receive_errors), (0, 0, 0));
    for sender in &mut studio.played {
        assert_eq!(sender.send(&[0; 256]), Err(SendError::Ended));
    }
}

#[test]
fn g_r1_callbacks_send_their_own_datagrams() {
    streams_both_ways(Wait::Sleep);
}

#[test]
fn g_r1_a_thread_that_spins_sends_them() {
    streams_both_ways(Wait::Spin);
}

#[test]
fn g_r1_a_device_that_is_dropped_says_goodbye() {
    let studio = Studio::start(Settings { priority: None, ..Settings::DEFAULT }, false);
    let Studio { device, at_client, client, .. } = studio;
    drop(device);
    until("the client hears of it", || at_client.has("Lost"));
    assert_eq!(client.call(|client, _| client.poll_timeout().is_some()), Ok(true));
}

#[test]
fn g_r1_heartbeats_keep_a_silent_connection_and_silence_ends_one() {
    let studio = Studio::start(Settings { priority: None, ..Settings::DEFAULT }, false);
    // Twice as long as either side waits.
    std::thread::sleep(Duration::from_millis(1200));
    let active = |server: &mut Server, _| server.clients().any(|(_, _, io)| io == IoState::Active);
    assert_eq!(studio.device.call(active), Ok(true));
    // One that accepts, and says nothing more.
    let silent = UdpSocket::bind(loopback(0)).unwrap();
    silent.connect(studio.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let say = |message: ClientMessage<'_>| {
        let mut bytes = Vec::new();
        voxwire_core::Message::encode(&message, &voxwire_syfala::Wire::DEFAULT, &mut bytes).unwrap();
        silent.send(&bytes).unwrap();
    };
    say(ClientMessage::Discovery);
    assert!(silent.recv(&mut [0; 2048]).unwrap() > 2);
    say(ClientMessage::ConnectionSuccess);
    let clients = |server: &mut Server, _: Instant| server.clients().count();
    until("it is a client", || studio.device.call(clients) == Ok(2));
    until("it is none any more", || studio.device.call(clients) == Ok(1));
    assert!(!studio.at_client.has("Lost"));
}

#[test]
fn g_r1_what_does_not_fit_is_refused_and_what_comes_too_fast_is_dropped() {
    let settings =
        Settings { priority: None, datagrams: Rate { per_second: 1000, burst: 1000 }, ..Settings::DEFAULT };
    let mut studio = Studio::start(settings, false);
    assert_eq!(studio.played[0].send(&vec![0; 64 * 1024 + 1]), Err(SendError::Full));
    assert_eq!(studio.device.stats().refused_blocks, 1);
    let flood = UdpSocket::bind(loopback(0)).unwrap();
    // A Discovery each; the first is answered.
    until("some are dropped", || {
        (0..1000).for_each(|_| _ = flood.send_to(&[0], studio.address).unwrap());
        studio.device.stats().over_rate > 0
    });
    studio.spoken[0].send(&block(1)).unwrap();
    until("others are heard", || studio.at_device.len(0) == 256);
}

#[test]
fn g_r1_a_handler_that_panics_ends_the_driver_and_everybody_learns_of_it() {
    let mut studio = Studio::start(Settings { priority: None, ..Settings::DEFAULT }, true);
    studio.spoken[0].send(&block(1)).unwrap();
    until("the thread has ended", || studio.played[0].send(&block(1)) == Err(SendError::Ended));
    assert_eq!(studio.device.call(|_, _| ()), Err(Ended));
    assert_eq!(studio.device.stop(), Err(Ended));
    until("the client gives it up", || studio.at_client.has("Lost"));
}

#[test]
fn g_r1_the_priority_is_had_or_it_is_said_why_not() {
    for (priority, wanted) in [(None, "none"), (Some(10), "10"), (Some(100), "100")] {
        let studio = Studio::start(Settings { priority, ..Settings::DEFAULT }, false);
        match studio.device.scheduling() {
            Scheduling::RealTime(10) => assert_eq!(wanted, "10"),
            Scheduling::Normal { reason: None } => assert_eq!(wanted, "none"),
            Scheduling::Normal { reason: Some(reason) } => assert!(reason.contains(wanted), "{reason}"),
            other @ Scheduling::RealTime(_) => panic!("{other:?}"),
        }
    }
}

/// F-22 of the driver: what is said in answer to a datagram leaves from the address that the datagram came to.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn f_22_a_driver_of_many_addresses_answers_from_the_one_that_was_asked() {
    for (bind, ask) in
        [("0.0.0.0:0", "127.0.0.5"), ("[::]:0", "127.0.0.5"), ("[::]:0", "::1"), ("[::1]:0", "::1")]
    {
        let socket = Socket::bind(bind.parse().unwrap()).unwrap();
        let question = SocketAddr::new(ask.parse().unwrap(), socket.local_addr().port());
        let handler = Device { heard: Heard::default(), client: None, panics: false };
        let settings = Settings { priority: None, ..Settings::DEFAULT };
        let _handle = Driver::new(socket, session(), handler, settings).unwrap().start().unwrap();
        let peer = UdpSocket::bind(SocketAddr::new(
            if question.is_ipv4() { "127.0.0.1" } else { "::1" }.parse().unwrap(),
            0,
        ))
        .unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // A Discovery; the answer is Connect.
        peer.send_to(&[0], question).unwrap();
        assert_eq!(peer.recv_from(&mut [0; 2048]).unwrap().1, question, "{bind} asked at {ask}");
    }
}

/// Answers each malformed datagram with two, to the driver itself: a flood without end.
struct Flood {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Handler<Server> for Flood {
    fn on_event(&mut self, _server: &mut Server, _now: Instant, _event: ServerEvent<'_>) {}

    fn on_violation(&mut self, _now: Instant, _peer: PeerId, _violation: voxwire_syfala::Violation) {
        for _ in 0..2 {
            let _ = self.socket.send_to(&[0xff; 3], self.to);
        }
    }
}

impl AudioHandler<Server> for Flood {
    fn on_audio(&mut self, _server: &mut Server, _now: Instant, _sender: usize, _samples: &[u8]) {}
}

/// F-24: datagrams that come faster than they are handled hold up no call and no timer.
#[test]
fn f_24_a_flood_starves_neither_calls_nor_timers() {
    let socket = Socket::bind(loopback(0)).unwrap();
    let flood = Flood { socket: UdpSocket::bind(loopback(0)).unwrap(), to: socket.local_addr() };
    flood.socket.send_to(&[0xff; 3], flood.to).unwrap();
    let datagrams = Rate { per_second: u32::MAX, burst: u32::MAX };
    let settings = Settings { priority: None, datagrams, ..Settings::DEFAULT };
    let handle = Arc::new(Driver::new(socket, session(), flood, settings).unwrap().start().unwrap());
    let (answer, answered) = std::sync::mpsc::channel();
    let caller = handle.clone();
    std::thread::spawn(move || answer.send(caller.call(|_, _| ())));
    assert_eq!(answered.recv_timeout(Duration::from_secs(60)), Ok(Ok(())));
}
