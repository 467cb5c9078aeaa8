//! `voxwire-load`: how many players can it hold? Connects clients to a Dissonance server (one of its own, on another
//! thread, unless told which), lets some of them talk, and prints what the listeners hear and how long a newcomer waits.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use voxwire_core::Session;
use voxwire_dissonance::{
    Client, ClientCommand, ClientEvent, ClientSettings, Server, ServerSettings, SessionState, Speech, Target,
};
use voxwire_transport::{Connection, ConnectionSettings, Hub, HubSettings, Listener, Remote, TcpUdpSettings};

const HELP: &str = "\
voxwire-load: how many players can a Dissonance server hold?

  --server ADDR:PORT   load this server [default: one in this process, on a thread of its own]
  --clients N          players [default: 1000]
  --rooms N            rooms; each player listens to one [default: 100]
  --talkers N          players who talk, 50 frames a second each, to their own room [default: 100]
  --bytes N            bytes of a frame [default: 80]
  --seconds N          how long they talk [default: 10]
  --tcp                no UDP

Exit code 1 if a replica differs from the others, or a newcomer waits for more than 10 s.";

struct Load {
    server: Option<String>,
    clients: usize,
    rooms: usize,
    talkers: usize,
    bytes: usize,
    seconds: u64,
    udp: bool,
}

impl Load {
    fn from_arguments() -> Result<Self, String> {
        let mut load =
            Self { server: None, clients: 1000, rooms: 100, talkers: 100, bytes: 80, seconds: 10, udp: true };
        let mut arguments = std::env::args().skip(1);
        while let Some(flag) = arguments.next() {
            if flag == "--tcp" {
                load.udp = false;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value\n\n{HELP}"))?;
            let number = || value.parse::<usize>().map_err(|_| format!("{flag} {value}: a number expected"));
            match &*flag {
                "--server" => load.server = Some(value),
                "--clients" => load.clients = number()?.max(1),
                "--rooms" => load.rooms = number()?.max(1),
                "--talkers" => load.talkers = number()?,
                "--bytes" => load.bytes = number()?.clamp(8, 900),
                "--seconds" => load.seconds = number()? as u64,
                _ => return Err(HELP.into()),
            }
        }
        load.talkers = load.talkers.min(load.clients);
        Ok(load)
    }
}

/// What all players count together.
#[derive(Default)]
struct Counted {
    joined: AtomicU64,
    bound: AtomicU64,
    said: AtomicU64,
    heard: AtomicU64,
    lost: AtomicU64,
    /// How long frames took, in steps of 50 microseconds.
    latencies: Vec<AtomicU64>,
}

/// Who is there and who listens to what, as one player has it.
type Replica = (Vec<(u16, String)>, BTreeMap<String, Vec<u16>>);

enum Tell {
    Talk(Instant),
    Describe(mpsc::UnboundedSender<Replica>),
}

fn main() -> ExitCode {
    let load = match Load::from_arguments() {
        Ok(load) => load,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(run(load))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("voxwire-load: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// A server on a thread of its own, so that its processor time is its own.
fn serve(clients: usize) -> Result<String, String> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener =
                Listener::bind_tcp_udp("127.0.0.1:0".parse().expect("an address")).expect("a free port");
            let address = listener.local_addr().expect("a bound port");
            let mut settings = ServerSettings::DEFAULT;
            settings.limits.max_peers = clients + 100;
            let hub = HubSettings { max_queued: 4 << 20, ..HubSettings::DEFAULT };
            let handle = Hub::spawn(vec![listener], Server::new(settings, 5), (), hub).unwrap();
            let _ = tell.send(address.to_string());
            loop {
                sleep(Duration::from_secs(3600)).await;
                let _ = handle.stats();
            }
        });
    });
    told.recv().map_err(|_| "the server does not start".into())
}

async fn run(load: Load) -> Result<(), String> {
    let server = match &load.server {
        Some(server) => server.clone(),
        None => serve(load.clients)?,
    };
    let counted = Arc::new(Counted {
        latencies: (0..20_000).map(|_| AtomicU64::new(0)).collect(),
        ..Counted::default()
    });
    let epoch = Instant::now();
    let mut doors = Vec::new();
    for n in 0..load.clients {
        let client = connect(&server, &format!("player {n}"), load.udp).await?;
        let (door, told) = mpsc::unbounded_channel();
        let (room, bytes) = (format!("room {}", n % load.rooms), load.bytes);
        tokio::spawn(play(client, room, bytes, load.udp, told, counted.clone(), epoch));
        doors.push(door);
    }
    until("all have joined", || counted.joined.load(Relaxed) >= load.clients as u64).await?;
    if load.udp {
        until("all are bound", || counted.bound.load(Relaxed) >= load.clients as u64).await?;
    }
    println!(
        "{} players in {} rooms joined in {:.1} s",
        load.clients,
        load.rooms,
        epoch.elapsed().as_secs_f64()
    );
    let end = Instant::now() + Duration::from_secs(load.seconds);
    for door in doors.iter().take(load.talkers) {
        let _ = door.send(Tell::Talk(end));
    }
    // At full load another client comes.
    sleep(Duration::from_secs(load.seconds) / 2).await;
    let mut waits = Vec::new();
    for n in 0..5 {
        let began = Instant::now();
        let mut newcomer = connect(&server, &format!("newcomer {n}"), load.udp).await?;
        let joined = async {
            while newcomer.session().clients().count() <= load.clients {
                newcomer.next().await?;
            }
            Some(())
        };
        timeout(Duration::from_secs(10), joined).await.ok().flatten().ok_or("a newcomer was not let in")?;
        waits.push(began.elapsed());
    }
    waits.sort();
    sleep_until(end).await;
    sleep(Duration::from_millis(1500)).await;
    let (answer, mut replicas) = mpsc::unbounded_channel();
    for door in &doors {
        let _ = door.send(Tell::Describe(answer.clone()));
    }
    drop(answer);
    let first = replicas.recv().await.ok_or("nobody answers")?;
    let mut same = 1;
    while let Some(replica) = replicas.recv().await {
        if replica != first {
            return Err(format!("the replica of a player differs after {same} that are the same"));
        }
        same += 1;
    }
    report(&load, &counted, &waits, same, first.0.len());
    Ok(())
}

fn report(load: &Load, counted: &Counted, waits: &[Duration], same: usize, clients: usize) {
    let (said, heard, lost) =
        (counted.said.load(Relaxed), counted.heard.load(Relaxed), counted.lost.load(Relaxed));
    let quantile = |share: f64| {
        let wanted = (heard as f64 * share) as u64;
        let mut sum = 0;
        let step = counted.latencies.iter().position(|count| {
            sum += count.load(Relaxed);
            sum > wanted
        });
        step.map_or(f64::INFINITY, |step| step as f64 * 0.05)
    };
    println!("{same} replicas of {clients} clients, all the same");
    println!(
        "{} talkers for {} s: {said} frames said, {heard} heard, {lost} lost",
        load.talkers, load.seconds
    );
    println!(
        "from one to the other: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
        quantile(0.5),
        quantile(0.99),
        quantile(0.999)
    );
    let millis = |wait: &Duration| format!("{:.1}", wait.as_secs_f64() * 1e3);
    println!("a newcomer waits, in ms: {}", waits.iter().map(millis).collect::<Vec<_>>().join(", "));
}

async fn connect(server: &str, name: &str, udp: bool) -> Result<Connection<Client>, String> {
    let client = Client::new(name, ClientSettings::DEFAULT).map_err(|refusal| refusal.to_string())?;
    let tcp_udp = TcpUdpSettings { udp, ..TcpUdpSettings::default() };
    let connected =
        Connection::connect(Remote::tcp_udp(server, tcp_udp), client, ConnectionSettings::DEFAULT).await;
    connected.map_err(|error| format!("{name} cannot connect: {error}"))
}

/// One player: listens, and talks when told to.
async fn play(
    mut connection: Connection<Client>,
    room: String,
    bytes: usize,
    udp: bool,
    mut told: mpsc::UnboundedReceiver<Tell>,
    counted: Arc<Counted>,
    epoch: Instant,
) {
    let mut beat = interval(Duration::from_millis(20));
    let mut talk_until = None;
    let mut bound = !udp;
    let mut frame = vec![0x55; bytes];
    let joined =
        connection.call(|client, now| client.handle_command(now, ClientCommand::Join { room: &room }));
    joined.expect("a room");
    loop {
        tokio::select! {
            turn = connection.next() => {
                let Some(turn) = turn else { return };
                match turn.result {
                    Ok(Some(ClientEvent::Connected { .. })) => {
                        counted.joined.fetch_add(1, Relaxed);
                    }
                    Ok(Some(ClientEvent::Voice(voice))) => {
                        counted.heard.fetch_add(1, Relaxed);
                        counted.lost.fetch_add(voice.lost.into(), Relaxed);
                        let stamp = voice.frame.first_chunk().map_or(0, |stamp| u64::from_be_bytes(*stamp));
                        let took = (epoch.elapsed().as_nanos() as u64).saturating_sub(stamp);
                        let step = (took / 50_000) as usize;
                        if let Some(count) = counted.latencies.get(step).or_else(|| counted.latencies.last()) {
                            count.fetch_add(1, Relaxed);
                        }
                    }
                    _ => {}
                }
                if !bound && connection.udp() == Some(true) {
                    bound = true;
                    counted.bound.fetch_add(1, Relaxed);
                }
            }
            _ = beat.tick(), if talk_until.is_some() => {
                if talk_until.is_some_and(|end| Instant::now() >= end) {
                    talk_until = None;
                    let close = ClientCommand::Close { to: Target::Room(&room) };
                    let _ = connection.call(|client, now| client.handle_command(now, close));
                }
                frame[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_be_bytes());
                let said = connection.call(|client, now| client.handle_command(now, ClientCommand::Say { frame: &frame }));
                counted.said.fetch_add(u64::from(said.is_ok()), Relaxed);
            }
            tell = told.recv() => match tell {
                None => return,
                Some(Tell::Talk(end)) => {
                    talk_until = Some(end);
                    beat.reset();
                    let to = Target::Room(&room);
                    let open = ClientCommand::Open { to, as_: Speech::DEFAULT };
                    let _ = connection.call(|client, now| client.handle_command(now, open));
                }
                Some(Tell::Describe(answer)) => {
                    let client = connection.session();
                    let clients = client.clients().map(|(id, name, _)| (id.get(), name.to_owned())).collect();
                    let ids = |ids: &[voxwire_dissonance::ClientId]| ids.iter().map(|id| id.get()).collect();
                    let rooms = client.rooms().map(|(room, listeners)| (room.to_owned(), ids(listeners))).collect();
                    if client.state() == SessionState::Connected {
                        let _ = answer.send((clients, rooms));
                    }
                }
            },
        }
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) -> Result<(), String> {
    for _ in 0..6000 {
        if done() {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err(format!("{what}: not within a minute"))
}
