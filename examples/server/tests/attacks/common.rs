//! The server under attack, and the honest call beside it.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use voxwire_core::Session;
use voxwire_transport::{Connection, ConnectionSettings};
use voxwire_voicelink::{ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, Format, Parameters};

/// T-S5: what no attack takes the server above.
const CEILING: u64 = 512 * 1024;

/// One attack at a time: they would be each other's load.
static ALONE: Mutex<()> = Mutex::new(());

/// How long an attack lasts: five seconds, or what `VOXWIRE_ATTACK_SECONDS` says.
pub fn length() -> Duration {
    let asked = std::env::var("VOXWIRE_ATTACK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(asked.unwrap_or(5))
}

/// How many datagrams a second an attack sends: 10 000, or what `VOXWIRE_ATTACK_RATE` says. Not as many as this machine sends: two cores
/// that do nothing else leave none to any server.
pub fn rate() -> u64 {
    let asked = std::env::var("VOXWIRE_ATTACK_RATE").ok().and_then(|rate| rate.parse().ok());
    asked.unwrap_or(10_000)
}

/// Datagrams at an even pace, sent by a thread of its own until it is stopped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Flood {
    /// `send` sends one; false if the system did not take it.
    pub fn start(mut send: impl FnMut() -> bool + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (start, rate) = (Instant::now(), rate());
            let (mut done, mut sent) = (0, 0_u64);
            while !stopped.load(Relaxed) {
                let due = start.elapsed().as_micros() as u64 * rate / 1_000_000;
                // What was not sent in time is not made up for beyond 20 ms: the machine has other things to do.
                done = done.max(due.saturating_sub(rate / 50));
                for _ in done..due {
                    sent += u64::from(send());
                }
                done = due;
                pause(Duration::from_millis(1));
            }
            sent / start.elapsed().as_secs().max(1)
        });
        Self { stop, thread }
    }

    /// Ends it; returns how many a second there were.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

/// Lets this process have as many descriptors as the system gives; returns how many an attack may take.
pub fn descriptors() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard).unwrap_or(usize::MAX).saturating_sub(200)
}

pub fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(rest);
    }
}

/// The program at work, all protocols on free ports of loopback.
pub struct Victim {
    pub child: Child,
    pub stderr: Option<ChildStderr>,
    pub data: PathBuf,
    lines: Vec<String>,
    _alone: MutexGuard<'static, ()>,
}

impl Victim {
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[], "", |_| {})
    }

    /// With more flags, a file of settings, and changes to the command.
    pub fn start_with(name: &str, flags: &[&str], settings: &str, change: impl FnOnce(&mut Command)) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_voxwire-server")), name, flags, settings, change)
    }

    /// By another program, which runs the server with the arguments it is given.
    pub fn start_by(
        mut command: Command,
        name: &str,
        flags: &[&str],
        settings: &str,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let data =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("attack-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir_all(&data).unwrap();
        let file = data.with_extension("toml");
        std::fs::write(&file, settings).unwrap();
        command.args(["--dissonance-quic-port", "0"]);
        for protocol in voxwire_server::Protocol::all() {
            command.args([&format!("--{}-port", protocol.name()), "0"]);
        }
        command.arg("--data").arg(&data).arg("--config").arg(&file);
        command.args(["--http", "127.0.0.1:0"]).args(flags);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).current_dir(&data).env("DATA", &data);
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take();
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            lines.push(line.unwrap());
            if lines.last().unwrap() == "ready" {
                break;
            }
        }
        assert_eq!(lines.last().map(String::as_str), Some("ready"), "{lines:?}");
        Self { child, stderr, data, lines, _alone: alone }
    }

    pub fn address(&self, what: &str) -> SocketAddr {
        let line = self.lines.iter().find_map(|line| line.strip_prefix(&format!("listening {what} ")));
        line.unwrap_or_else(|| panic!("no {what} in {:?}", self.lines)).parse().unwrap()
    }

    /// A line of the process's status, in KiB.
    fn status(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{what}:"))).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// What it has in memory, in KiB.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS")
    }

    /// The most that it has ever had in memory, in KiB: the kernel keeps count, so nothing falls between two looks.
    pub fn peak(&self) -> u64 {
        self.status("VmHWM")
    }

    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the end, at most for `limit`; returns how long it took.
    pub fn ends(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, start.elapsed());
            }
            assert!(start.elapsed() < limit, "still running after {limit:?}");
            pause(Duration::from_millis(10));
        }
    }

    /// The status page's answer, and how long it took.
    pub fn page(&self, path: &str) -> (String, Duration) {
        let start = Instant::now();
        let mut stream = TcpStream::connect(self.address("http tcp")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut text = String::new();
        let asked = write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut text).map(drop)).unwrap_or_else(|error| {
            text = format!("{error} after {:?}", start.elapsed());
        });
        (text, start.elapsed())
    }

    /// Nothing was lost, not too much memory was taken, and the server ends when it is told to.
    pub fn unharmed(mut self, honest: Honest) {
        honest.lost_nothing();
        let peak = self.peak();
        println!("server: {} MiB at most", peak / 1024);
        assert!(peak < CEILING, "{} MiB", peak / 1024);
        self.signal("-TERM");
        let (status, took) = self.ends(Duration::from_secs(15));
        assert_eq!(status.code(), Some(0), "after {took:?}");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
        let _ = std::fs::remove_file(self.data.with_extension("toml"));
    }
}

/// A TCP connection from an address of loopback.
pub fn connect_from(from: impl Into<IpAddr>, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from.into(), 0).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
    Ok(socket.into())
}

type Caller = Connection<Client>;

const PARAMETERS: Parameters =
    Parameters { sample_rate: 16_000, channels: 1, format: Format::I16, chunk_size: 320 };
const PACKET: usize = 640;

async fn caller(server: SocketAddr, name: &str) -> Caller {
    let client = Client::new(ClientSettings::DEFAULT);
    let server = server.to_string();
    let connection = Connection::connect(&server, client, ConnectionSettings::DEFAULT);
    let mut caller = connection.await.expect("an honest connection");
    until(&mut caller, |event| matches!(event, ClientEvent::Connected)).await;
    tell(
        &mut caller,
        ClientCommand::Register {
            name,
            secret: None,
            preferred: PARAMETERS,
            samples: ByteOrder::LittleEndian,
        },
    );
    until(&mut caller, |event| matches!(event, ClientEvent::Registered)).await;
    caller
}

fn tell(caller: &mut Caller, command: ClientCommand<'_>) {
    caller.call(|client, now| client.handle_command(now, command)).expect("a command that fits");
}

async fn until(caller: &mut Caller, mut wanted: impl FnMut(&ClientEvent<'_>) -> bool) {
    let wait = async {
        while let Some(turn) = caller.next().await {
            if let Ok(Some(event)) = turn.result
                && wanted(&event)
            {
                return;
            }
        }
        panic!("an honest connection ended: {:?}", caller.error());
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("an answer in 10 s");
}

/// Connects and takes a name, as a client does that comes while the attack goes on; returns how long that took.
pub fn log_in(server: SocketAddr, name: &str) -> Duration {
    let start = Instant::now();
    runtime().block_on(caller(server, name));
    start.elapsed()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What came of an honest call.
struct Heard {
    said: u32,
    heard: u32,
    /// The longest time between two packets at the listener.
    worst: Duration,
}

/// A voicelink call on a thread of its own: a packet of 20 ms every 20 ms.
pub struct Honest {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Heard>,
}

impl Honest {
    pub fn call(victim: &Victim) -> Self {
        let server = victim.address("voicelink tcp");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (up, wait) = std::sync::mpsc::channel();
        let call = move || {
            let up = || {
                let _ = up.send(());
            };
            runtime().block_on(talk(server, &stopped, up))
        };
        let thread = std::thread::spawn(call);
        wait.recv_timeout(Duration::from_secs(20)).expect("an honest call comes up");
        Self { stop, thread }
    }

    /// Whether it still goes on.
    pub fn goes_on(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends the call: all that was said has been heard, in order.
    pub fn lost_nothing(self) {
        self.stop.store(true, Relaxed);
        let Heard { said, heard, worst } = self.thread.join().expect("the honest call went on to its end");
        println!("honest call: {heard} of {said} packets, worst gap {worst:?}");
        assert_eq!(heard, said, "the honest call lost something");
    }
}

async fn talk(server: SocketAddr, stop: &AtomicBool, up: impl FnOnce()) -> Heard {
    let mut bob = caller(server, "honest-bob").await;
    let mut alice = caller(server, "honest-alice").await;
    tell(&mut alice, ClientCommand::Call { user: b"honest-bob", parameters: PARAMETERS, optional: b"" });
    alice.flush().await.unwrap();
    until(&mut bob, |event| matches!(event, ClientEvent::Incoming { .. })).await;
    tell(&mut bob, ClientCommand::Accept { optional: b"" });
    bob.flush().await.unwrap();
    until(&mut alice, |event| matches!(event, ClientEvent::Established { .. })).await;
    up();
    let (mut said, mut heard) = (0_u32, 0_u32);
    let mut last = Instant::now();
    let mut worst = Duration::ZERO;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut end = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if stop.load(Relaxed) {
                    let end = *end.get_or_insert_with(|| Instant::now() + Duration::from_secs(5));
                    if heard == said || Instant::now() > end {
                        return Heard { said, heard, worst };
                    }
                    continue;
                }
                let mut samples = [0; PACKET];
                samples[..4].copy_from_slice(&said.to_be_bytes());
                tell(&mut alice, ClientCommand::Say { samples: &samples });
                said += 1;
            }
            turn = alice.next() => {
                let turn = turn.expect("alice's connection goes on");
                if let Ok(Some(event @ (ClientEvent::Dropped { .. } | ClientEvent::Disconnected { .. }))) = turn.result {
                    panic!("the call ended for alice: {event:?}");
                }
            }
            turn = bob.next() => {
                let turn = turn.expect("bob's connection goes on");
                if let Ok(Some(ClientEvent::Data { samples })) = turn.result {
                    let number = u32::from_be_bytes(samples[..4].try_into().unwrap());
                    assert_eq!(number, heard, "a packet is missing, or out of order");
                    heard += 1;
                    worst = worst.max(last.elapsed());
                    last = Instant::now();
                }
            }
        }
    }
}
