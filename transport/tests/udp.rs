//! Plain UDP: sources as peers, broadcasts, strangers and those that are kept.
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
use std::sync::{Arc, Mutex};
use voxwire_core::{Handler, Instant, PeerId, Session as _};
use voxwire_syfala::{
    Client, ClientCommand, ClientEvent, ClientSettings, Format, IoResult, IoState, Network, Server,
    ServerCommand, ServerEvent, ServerSettings, Violation,
};
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

const STEREO: [Format; 1] = [Format::STANDARD];

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// What a device or a client has learned, and what it has received.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<(Vec<String>, Vec<u8>)>>);

impl Notes {
    fn write(&self, text: String) {
        self.0.lock().unwrap().0.push(text.split(" {").next().unwrap().to_owned());
    }

    fn hear(&self, bytes: &[u8]) {
        self.0.lock().unwrap().1.extend_from_slice(bytes);
    }

    fn heard(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }

    fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().0.iter().filter(|text| *text == what).count()
    }
}

impl Handler<Server> for Notes {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        match event {
            ServerEvent::Audio { audio, .. } => return self.hear(audio.payload),
            ServerEvent::StartIo { client } => {
                let result = IoResult::Success;
                server.handle_command(now, ServerCommand::StartIoResult { client, result }).unwrap();
            }
            ServerEvent::StopIo { client } => {
                let result = IoResult::Success;
                server.handle_command(now, ServerCommand::StopIoResult { client, result }).unwrap();
            }
            _ => {}
        }
        self.write(format!("{event:?}"));
    }

    fn on_violation(&mut self, _now: Instant, _peer: PeerId, violation: Violation) {
        self.write(violation.to_string());
    }
}

impl Handler<Client> for Notes {
    fn on_event(&mut self, client: &mut Client, now: Instant, event: ClientEvent<'_>) {
        match event {
            ClientEvent::Audio { audio, .. } => return self.hear(audio.payload),
            ClientEvent::Found { server, .. } => {
                client.handle_command(now, ClientCommand::Accept { server }).unwrap();
                client.handle_command(now, ClientCommand::StartIo { server }).unwrap();
            }
            _ => {}
        }
        self.write(format!("{event:?}"));
    }
}

/// Waits for what the network does in its own time.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = tokio::time::Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A device on the loopback interface that hears broadcasts, and its port.
fn device() -> (Handle<Server>, Notes, u16) {
    #[cfg(target_os = "linux")]
    let listener = Listener::bind_udp_on("0.0.0.0:0".parse().unwrap(), "lo").unwrap();
    #[cfg(not(target_os = "linux"))]
    let listener = Listener::bind_udp("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = Server::new(&STEREO, &STEREO, ServerSettings::DEFAULT, 1).unwrap();
    server.handle_command(Instant::ZERO, ServerCommand::Serve { networks: &Network::LOOPBACK }).unwrap();
    let notes = Notes::default();
    (Hub::spawn(vec![listener], server, notes.clone(), HubSettings::DEFAULT).unwrap(), notes, port)
}

fn client(to: Vec<SocketAddr>) -> (Handle<Client>, Notes) {
    let listener = Listener::bind_udp("0.0.0.0:0".parse().unwrap()).unwrap().with_broadcast(to).unwrap();
    let mut client = Client::new(ClientSettings::DEFAULT);
    client.handle_command(Instant::ZERO, ClientCommand::Discover).unwrap();
    let notes = Notes::default();
    (Hub::spawn(vec![listener], client, notes.clone(), HubSettings::DEFAULT).unwrap(), notes)
}

#[tokio::test(flavor = "multi_thread")]
async fn c_06_s_05_a_client_finds_a_server_by_broadcast_and_audio_goes_both_ways() {
    let (device, told, port) = device();
    let (user, notes) = client(vec![([127, 255, 255, 255], port).into()]);
    until("IO", || notes.count("Started") == 1).await;
    let server = user.call(|client, _| client.servers().next().unwrap());
    // Its broadcast was answered from the one address that it has.
    assert_eq!(server.1, Some(loopback(port)));
    let sound: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    for block in sound.chunks(10_000) {
        user.call(|client, now| {
            let command = ClientCommand::Play { server: server.0, stream: 0, samples: block };
            client.handle_command(now, command).unwrap();
        });
        device.call(|server, now| {
            let client = server.clients().next().unwrap().0;
            let command = ServerCommand::Play { client, stream: 0, samples: block };
            server.handle_command(now, command).unwrap();
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until("sound", || told.heard() == sound.len() && notes.heard() == sound.len()).await;
    assert!(told.0.lock().unwrap().1 == sound && notes.0.lock().unwrap().1 == sound);
    assert_eq!((device.stats().connections, user.stats().connections), (1, 1));
    // Both say goodbye, and are heard.
    user.drain(Duration::from_secs(1)).await;
    until("goodbye", || told.count("Gone") == 1).await;
    assert_eq!((device.stats().connections, user.stats().connections), (0, 0));
    device.drain(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c_06_s_07_no_flood_of_strangers_reaches_who_is_connected_and_answers_stay_within_the_budget() {
    let (device, told, port) = device();
    let (user, notes) = client(vec![loopback(port)]);
    until("IO", || notes.count("Started") == 1).await;
    user.call(|client, now| client.handle_command(now, ClientCommand::StopDiscovery)).unwrap();
    let server = user.call(|client, _| client.servers().next().unwrap().0);
    // Three hundred sources, together some tens of thousands of datagrams a second, for two seconds. (As many as they can send would
    // test how fast this machine is.)
    let attack = std::thread::spawn(move || {
        let sockets: Vec<UdpSocket> = (0..300_u16)
            .map(|n| UdpSocket::bind(SocketAddr::from(([127, 1, (n >> 8) as u8, n as u8], 0))).unwrap())
            .collect();
        let since = tokio::time::Instant::now();
        let mut sent = 0_u64;
        while since.elapsed() < Duration::from_secs(2) {
            for (socket, n) in sockets.iter().zip(0_u8..=255) {
                let message = [n % 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                sent += u64::from(socket.send_to(&message, loopback(port)).is_ok());
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let mut answers = 0_u64;
        for socket in &sockets {
            socket.set_nonblocking(true).unwrap();
            while let Ok((len, _)) = socket.recv_from(&mut [0; 100]) {
                assert_eq!(len, 3 + 22);
                answers += 1;
            }
        }
        (sent, answers)
    });
    let mut said = 0;
    while !attack.is_finished() {
        user.call(|client, now| {
            let command = ClientCommand::Play { server, stream: 0, samples: &[5; 400] };
            client.handle_command(now, command).unwrap();
        });
        said += 400;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (sent, answers) = attack.join().unwrap();
    assert!(sent > 5_000, "only {sent} sent");
    // Twenty at once, twenty a second, and the attack took a little more than two.
    assert!((1..=90).contains(&answers), "{answers} answers to {sent}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    // The system drops what a busy hub does not fetch in time.
    assert!(told.heard() > said / 2, "{} of {said}", told.heard());
    assert_eq!((notes.count("Lost"), told.count("Gone")), (0, 0));
    assert_eq!(user.call(|client, _| client.state(server)), Some(IoState::Active));
    assert_eq!(device.stats().connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn c_06_a_source_that_is_forgotten_is_a_new_peer_and_datagrams_of_5000_bytes_are_whole() {
    let (device, told, port) = device();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = [0; 100];
    for round in 1..=2 {
        for (message, answered) in [(0_u8, 25), (1, 0), (4, 1)] {
            socket.send_to(&[message], loopback(port)).unwrap();
            // Heartbeats may come first.
            while answered > 0 && socket.recv(&mut answer).unwrap() != answered || answer[0] == 9 {}
        }
        let mut audio =
            voxwire_syfala::voice::head(voxwire_syfala::voice::Sender::Client, 0, 0, 4983).to_vec();
        audio.extend([round; 4983]);
        socket.send_to(&audio, loopback(port)).unwrap();
        until("audio", || told.heard() == usize::from(round) * 4983).await;
        socket.send_to(&[7], loopback(port)).unwrap();
        until("gone", || told.count("Gone") == usize::from(round)).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    assert_eq!(told.count("Connected"), 2);
    // More than fits is no message at all.
    socket.send_to(&[0; 9217], loopback(port)).unwrap();
    let cut = "message at offset 0: 1 more bytes expected before the end of the frame";
    until("refused", || told.count(cut) == 1).await;
    device.drain(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c_06_a_source_that_the_session_refuses_at_once_displaces_none() {
    let listener = Listener::bind_udp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::new(&STEREO, &STEREO, ServerSettings::DEFAULT, 1).unwrap();
    let networks = [Network::host("127.0.0.1".parse().unwrap())];
    server.handle_command(Instant::ZERO, ServerCommand::Serve { networks: &networks }).unwrap();
    let notes = Notes::default();
    // One place: another that gets in has it.
    let settings = HubSettings { max_unvalidated: 1, ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], server, notes.clone(), settings).unwrap();
    let friend = UdpSocket::bind("127.0.0.1:0").unwrap();
    friend.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    friend.send_to(&[0], address).unwrap();
    assert_eq!(friend.recv(&mut [0; 100]).unwrap(), 25);
    for n in 0..100 {
        let stranger = UdpSocket::bind("127.0.0.9:0").unwrap();
        stranger.send_to(&[n % 9], address).unwrap();
    }
    until("strangers", || notes.count("the source is not on this network") == 100).await;
    friend.send_to(&[1], address).unwrap();
    until("the friend", || notes.count("Connected") == 1).await;
    hub.drain(Duration::from_secs(1)).await;
}

/// F-22: a device of many addresses answers from the one that it was asked at.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn f_22_a_device_of_many_addresses_answers_from_the_one_that_was_asked() {
    for bind in ["0.0.0.0:0", "[::]:0"] {
        let listener = Listener::bind_udp_on(bind.parse().unwrap(), "lo").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut server = Server::new(&STEREO, &STEREO, ServerSettings::DEFAULT, 1).unwrap();
        server.handle_command(Instant::ZERO, ServerCommand::Serve { networks: &Network::LOOPBACK }).unwrap();
        let hub = Hub::spawn(vec![listener], server, Notes::default(), HubSettings::DEFAULT).unwrap();
        for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("127.0.0.1:0", "127.0.0.5"), ("[::1]:0", "::1")] {
            if bind.starts_with('0') && to == "::1" {
                continue;
            }
            let socket = UdpSocket::bind(from).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            // What comes from elsewhere is not heard.
            socket.connect(SocketAddr::new(to.parse().unwrap(), port)).unwrap();
            socket.send(&[0]).unwrap();
            let answer = socket.recv(&mut [0; 100]);
            assert!(matches!(answer, Ok(25)), "{to} of {bind}: {answer:?}");
        }
        hub.drain(Duration::from_secs(1)).await;
    }
}

/// F-24: a device that did not run for a second reads what its clients have sent meanwhile before it counts them out.
#[test]
fn f_24_after_a_stall_no_peer_is_gone_that_has_gone_on_sending() {
    let (address, addressed) = std::sync::mpsc::channel();
    let (stall, mut stalls) = tokio::sync::mpsc::unbounded_channel::<Duration>();
    let told = Notes::default();
    let notes = told.clone();
    let device = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = Listener::bind_udp("127.0.0.1:0".parse().unwrap()).unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            let mut server = Server::new(&STEREO, &STEREO, ServerSettings::DEFAULT, 1).unwrap();
            let serve = ServerCommand::Serve { networks: &Network::LOOPBACK };
            server.handle_command(Instant::ZERO, serve).unwrap();
            let hub = Hub::spawn(vec![listener], server, notes, HubSettings::DEFAULT).unwrap();
            while let Some(time) = stalls.recv().await {
                // The whole runtime stands still.
                std::thread::sleep(time);
            }
            hub.stats().connections
        })
    });
    let address = addressed.recv().unwrap();
    // Each from an address of its own: two answers a second are one's share.
    let clients: Vec<UdpSocket> =
        (1..=12).map(|n| UdpSocket::bind(SocketAddr::from(([127, 0, 2, n], 0))).unwrap()).collect();
    for client in &clients {
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.connect(address).unwrap();
        // Twenty answers a second, for all who ask together.
        client.send(&[0]).unwrap();
        assert_eq!(client.recv(&mut [0; 100]).unwrap(), 25);
        client.send(&[1]).unwrap();
        std::thread::sleep(Duration::from_millis(55));
        for other in clients.iter().take_while(|other| !std::ptr::eq(*other, client)) {
            other.send(&[8]).unwrap();
        }
    }
    let since = std::time::Instant::now();
    while told.count("Connected") < clients.len() {
        assert!(since.elapsed() < Duration::from_secs(5), "{} connected", told.count("Connected"));
        std::thread::sleep(Duration::from_millis(10));
    }
    for round in 0..30 {
        if round % 12 == 3 {
            stall.send(Duration::from_millis(1000)).unwrap();
        }
        clients.iter().for_each(|client| assert_eq!(client.send(&[8]).unwrap(), 1));
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(stall);
    assert_eq!((device.join().unwrap(), told.count("Gone")), (clients.len(), 0));
}
