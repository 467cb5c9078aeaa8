//! One-way latency of a buffer of audio from a device's session to a client's handler, both on real-time drivers, and both on hubs, beside
//! a bare socket that sends the same datagrams: 32 frames at 48 kHz, until the last datagram of a buffer is there.

use criterion::Criterion;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use voxwire_benches::{UNLIMITED, studio};
use voxwire_core::{Handler, PeerId, Session as _};
use voxwire_syfala::{
    Client, ClientCommand, ClientEvent, ClientSettings, Format, IoResult, IoState, Server, ServerCommand,
    ServerEvent, voice,
};
use voxwire_transport::realtime::{self, AudioHandler, AudioSender, Driver};
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

/// 32 frames at 48 kHz.
const PERIOD: Duration = Duration::from_nanos(666_667);

#[derive(Default)]
struct Desk(Option<PeerId>);

impl Handler<Server> for Desk {
    fn on_event(&mut self, server: &mut Server, now: voxwire_core::Instant, event: ServerEvent<'_>) {
        if let ServerEvent::StartIo { client } = event {
            self.0 = Some(client);
            let result = IoResult::Success;
            server.handle_command(now, ServerCommand::StartIoResult { client, result }).unwrap();
        }
    }
}

impl AudioHandler<Server> for Desk {
    fn on_audio(&mut self, server: &mut Server, now: voxwire_core::Instant, _sender: usize, samples: &[u8]) {
        let Some(client) = self.0 else { return };
        server.handle_command(now, ServerCommand::Play { client, stream: 0, samples }).unwrap();
    }
}

/// Says when the last byte of a buffer is there.
struct Ear {
    buffer: u64,
    came: Sender<Instant>,
}

impl Handler<Client> for Ear {
    fn on_event(&mut self, client: &mut Client, now: voxwire_core::Instant, event: ClientEvent<'_>) {
        match event {
            ClientEvent::Found { server, .. } => {
                client.handle_command(now, ClientCommand::Accept { server }).unwrap();
                client.handle_command(now, ClientCommand::StartIo { server }).unwrap();
            }
            ClientEvent::Audio { audio, .. } => {
                let end = audio.byte_index + audio.payload.len() as u64;
                if end.is_multiple_of(self.buffer) {
                    let _ = self.came.send(Instant::now());
                }
            }
            _ => {}
        }
    }
}

impl AudioHandler<Client> for Ear {
    fn on_audio(&mut self, _: &mut Client, _: voxwire_core::Instant, _: usize, _: &[u8]) {}
}

/// A way from one end to the other.
trait Way {
    fn send(&mut self, samples: &[u8]);
    fn came(&mut self) -> Option<Instant>;
}

struct Hubs {
    device: Handle<Server>,
    client: PeerId,
    came: Receiver<Instant>,
    _runtimes: [Runtime; 2],
}

impl Hubs {
    fn new(format: Format, buffer: usize) -> Self {
        // A thread each, as they would be two machines.
        let runtimes =
            [(); 2].map(|()| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
        let settings = HubSettings { datagrams: UNLIMITED, ..HubSettings::DEFAULT };
        let (device, address) = {
            let _guard = runtimes[0].enter();
            let listener = Listener::bind_udp("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            (
                Hub::spawn(vec![listener], studio::device(&[format]), Desk::default(), settings).unwrap(),
                address,
            )
        };
        let (sender, came) = channel();
        {
            let _guard = runtimes[1].enter();
            let listener = Listener::bind_udp("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = listener.with_broadcast(vec![address]).unwrap();
            let mut client = Client::new(ClientSettings::DEFAULT);
            client.handle_command(voxwire_core::Instant::ZERO, ClientCommand::Discover).unwrap();
            Hub::spawn(vec![listener], client, Ear { buffer: buffer as u64, came: sender }, settings)
                .unwrap();
        }
        let client = loop {
            let active = |server: &mut Server, _| {
                server.clients().find(|(_, _, io)| *io == IoState::Active).map(|(peer, ..)| peer)
            };
            match device.call(active) {
                Some(client) => break client,
                None => std::thread::park_timeout(Duration::from_millis(5)),
            }
        };
        Self { device, client, came, _runtimes: runtimes }
    }
}

impl Way for Hubs {
    fn send(&mut self, samples: &[u8]) {
        let command = ServerCommand::Play { client: self.client, stream: 0, samples };
        self.device.call(|server, now| server.handle_command(now, command)).unwrap();
    }

    fn came(&mut self) -> Option<Instant> {
        self.came.recv_timeout(Duration::from_millis(100)).ok()
    }
}

struct Drivers {
    sender: AudioSender<Server>,
    came: Receiver<Instant>,
    _handles: (realtime::Handle<Server>, realtime::Handle<Client>),
}

impl Drivers {
    fn new(format: Format, buffer: usize, settings: realtime::Settings) -> Self {
        let socket = realtime::Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr();
        let mut driver = Driver::new(socket, studio::device(&[format]), Desk::default(), settings).unwrap();
        let sender = driver.sender(4 * buffer);
        let device = driver.start().unwrap();
        let (tell, came) = channel();
        let socket = realtime::Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let socket = socket.with_broadcast(vec![address]).unwrap();
        let mut client = Client::new(ClientSettings::DEFAULT);
        client.handle_command(voxwire_core::Instant::ZERO, ClientCommand::Discover).unwrap();
        let ear = Ear { buffer: buffer as u64, came: tell };
        let client = Driver::new(socket, client, ear, settings).unwrap().start().unwrap();
        let active = |server: &mut Server, _| server.clients().any(|(_, _, io)| io == IoState::Active);
        while device.call(active) != Ok(true) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        println!("the driver's threads: {:?}", device.scheduling());
        Self { sender, came, _handles: (device, client) }
    }
}

impl Way for Drivers {
    fn send(&mut self, samples: &[u8]) {
        self.sender.send(samples).unwrap();
    }

    fn came(&mut self) -> Option<Instant> {
        self.came.recv_timeout(Duration::from_millis(100)).ok()
    }
}

struct Bare {
    socket: UdpSocket,
    to: SocketAddr,
    payload: usize,
    next: u64,
    datagram: Vec<u8>,
    came: Receiver<Instant>,
}

impl Bare {
    fn new(format: Format, buffer: usize) -> Self {
        let (socket, other) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = other.local_addr().unwrap();
        let (sender, came) = channel();
        std::thread::spawn(move || {
            let mut datagram = [0; 2048];
            while let Ok(len) = other.recv(&mut datagram) {
                let audio = voice::audio(&datagram[..len], voice::Sender::Server).unwrap();
                let end = audio.byte_index + audio.payload.len() as u64;
                if end.is_multiple_of(buffer as u64) && sender.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
        let payload = format.payload(voxwire_syfala::MAX_PAYLOAD);
        Self { socket, to, payload, next: 0, datagram: Vec::with_capacity(2048), came }
    }
}

impl Way for Bare {
    fn send(&mut self, samples: &[u8]) {
        for payload in samples.chunks(self.payload) {
            self.datagram.clear();
            let len = payload.len() as u32;
            self.datagram.extend_from_slice(&voice::head(voice::Sender::Server, 0, self.next, len));
            self.datagram.extend_from_slice(payload);
            self.socket.send_to(&self.datagram, self.to).unwrap();
            self.next += payload.len() as u64;
        }
    }

    fn came(&mut self) -> Option<Instant> {
        self.came.recv_timeout(Duration::from_millis(100)).ok()
    }
}

fn latencies(way: &mut dyn Way, buffer: usize, count: usize) -> Vec<Duration> {
    let samples = vec![7; buffer];
    let mut latencies = Vec::with_capacity(count);
    let mut due = Instant::now();
    while latencies.len() < count {
        due += PERIOD;
        std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        way.send(&samples);
        // Not one that was given up before.
        let came = std::iter::from_fn(|| way.came()).find(|came| *came >= sent);
        latencies.extend(came.map(|came| came.duration_since(sent)));
    }
    latencies.sort_unstable();
    latencies
}

pub(crate) fn latency(criterion: &mut Criterion) {
    for channels in [2, 32] {
        let format = Format { channels: NonZeroU32::new(channels).unwrap(), ..Format::STANDARD };
        let buffer = 32 * format.frame_size();
        let mut group = criterion.benchmark_group(format!("relay/syfala/latency/{channels} channels"));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(5));
        let fifo = realtime::Settings::DEFAULT;
        let plain = realtime::Settings { priority: None, ..fifo };
        let mut ways: [(&str, Box<dyn Way>); 4] = [
            ("driver", Box::new(Drivers::new(format, buffer, plain))),
            ("driver, SCHED_FIFO", Box::new(Drivers::new(format, buffer, fifo))),
            ("hub", Box::new(Hubs::new(format, buffer))),
            ("bare", Box::new(Bare::new(format, buffer))),
        ];
        for (quantile, per_mille) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
            for (name, way) in &mut ways {
                group.bench_function(format!("{quantile}/{name}"), |bencher| {
                    bencher.iter_custom(|rounds| {
                        let latencies = latencies(&mut **way, buffer, 1000);
                        latencies[latencies.len() * per_mille / 1000].mul_f64(rounds as f64)
                    });
                });
            }
        }
        group.finish();
    }
}
