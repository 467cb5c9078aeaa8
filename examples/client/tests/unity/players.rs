//! Players in C# and in Rust, which do what they are told and say what they hear, a line each.
#![allow(unreachable_pub)]

use core::fmt::Display;
use core::time::Duration;
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use voxwire_core::Session;
use voxwire_dissonance::{
    Client, ClientCommand, ClientEvent, ClientId, ClientSettings, SessionState, Speech, Target,
};
use voxwire_transport::{Connection, ConnectionSettings, Remote, TcpUdpSettings};

/// What a player has said.
pub struct Lines(Receiver<String>);

impl Lines {
    /// Waits until a line contains this, at most for 20 s. Returns that line, and those before it.
    #[track_caller]
    pub fn until(&self, wanted: &str) -> (String, Vec<String>) {
        self.until_within(wanted, Duration::from_secs(20))
    }

    /// Likewise, where no line may come for longer.
    #[track_caller]
    pub fn until_within(&self, wanted: &str, silence: Duration) -> (String, Vec<String>) {
        let mut seen = Vec::new();
        loop {
            match self.0.recv_timeout(silence) {
                Ok(line) if line.contains(wanted) => return (line, seen),
                Ok(line) => seen.push(line),
                Err(_) => panic!("{wanted:?} never came, only {seen:?}"),
            }
        }
    }

    /// Waits until so many lines contain this. Returns them.
    #[track_caller]
    pub fn take(&self, wanted: &str, count: usize) -> Vec<String> {
        (0..count).map(|_| self.until(wanted).0).collect()
    }

    /// The lines that wait, and those that follow until none has come for `time`.
    pub fn within(&self, time: Duration) -> Vec<String> {
        let mut seen = Vec::new();
        while let Ok(line) = self.0.recv_timeout(time) {
            seen.push(line);
        }
        seen
    }
}

/// A player in C#: `Tests/Player.cs` has its commands.
pub struct CSharp {
    child: Child,
    input: Option<ChildStdin>,
    pub lines: Lines,
}

impl CSharp {
    pub fn start(tests: &Path, name: &str, server: SocketAddr, settings: &[&str]) -> Self {
        let (host, port) = (format!("host={}", server.ip()), format!("port={}", server.port()));
        Self::run(tests, &[&["player", name, &host, &port], settings].concat(), &[])
    }

    /// The transport without Dissonance: `Tests/TransportPlayer.cs` has its commands.
    pub fn transport(
        tests: &Path,
        server: SocketAddr,
        settings: &[&str],
        environment: &[(&str, &Path)],
    ) -> Self {
        let (host, port) = (format!("host={}", server.ip()), format!("port={}", server.port()));
        Self::run(tests, &[&["transport", &host, &port], settings].concat(), environment)
    }

    /// The adapter for Dissonance, on a stub: `Tests/AdapterPlayer.cs` has its commands. The server is on 127.0.0.1.
    pub fn adapter(tests: &Path, name: &str, server: SocketAddr, token: &str, settings: &[&str]) -> Self {
        Self::run(tests, &[&["adapter", name, &server.port().to_string(), token], settings].concat(), &[])
    }

    fn run(tests: &Path, arguments: &[&str], environment: &[(&str, &Path)]) -> Self {
        let mut command = Command::new("mono");
        command.arg(tests).args(arguments).envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let out = child.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        Self { input: child.stdin.take(), child, lines: Lines(lines) }
    }

    pub fn tell(&mut self, command: &str) {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Waits until so many others listen to a room.
    #[track_caller]
    pub fn until_listeners(&mut self, room: &str, count: usize) {
        for _ in 0..500 {
            self.tell(&format!("listeners {room}"));
            if self.lines.until("listeners").0 == format!("listeners {count}") {
                return;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        panic!("there are never {count} listeners in {room}");
    }

    /// Asks the adapter where it stands, until it says this.
    #[track_caller]
    pub fn until_state(&mut self, wanted: &str) {
        let mut last = String::new();
        for _ in 0..500 {
            self.tell("state");
            last = self.lines.until("state ").0;
            if last == format!("state {wanted}") {
                return;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        panic!("{wanted:?} expected, it is {last:?}");
    }

    /// Waits until voice goes by UDP.
    #[track_caller]
    pub fn until_udp(&self) {
        self.lines.until("news UdpUp");
    }

    /// Sends its program a signal.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Has it leave. Its exit code shows that nothing was thrown.
    #[track_caller]
    pub fn quit(mut self) {
        self.tell("quit");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for CSharp {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a player in Rust is told.
pub enum Tell {
    Say(Vec<u8>),
    Text(&'static str),
}

/// A player in Rust, on a thread of its own. It listens and speaks to the Lobby.
pub struct Rust {
    commands: UnboundedSender<Tell>,
    pub lines: Lines,
}

impl Rust {
    /// `echoes`: each frame goes back to the room.
    pub fn start(name: &'static str, server: SocketAddr, settings: TcpUdpSettings, echoes: bool) -> Self {
        let ((commands, told), (says, lines)) = (unbounded_channel(), channel());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(play(name, Remote::tcp_udp(server.to_string(), settings), told, says, echoes));
        });
        Self { commands, lines: Lines(lines) }
    }

    pub fn tell(&self, command: Tell) {
        assert!(self.commands.send(command).is_ok());
    }
}

async fn play(
    name: &str,
    remote: Remote,
    mut told: UnboundedReceiver<Tell>,
    says: Sender<String>,
    echoes: bool,
) {
    let mut client = Client::new(name, ClientSettings::DEFAULT).unwrap();
    let (now, to) = (voxwire_core::Instant::ZERO, Target::Room("Lobby"));
    client.handle_command(now, ClientCommand::Join { room: "Lobby" }).unwrap();
    client.handle_command(now, ClientCommand::Open { to, as_: Speech::DEFAULT }).unwrap();
    let mut connection = Connection::connect(remote, client, ConnectionSettings::DEFAULT).await.unwrap();
    let (mut udp, mut listeners) = (None, 0);
    loop {
        if connection.udp() != udp {
            udp = connection.udp();
            let _ = says.send(format!("udp {udp:?}"));
        }
        let lobby = connection.session().rooms().find(|(room, _)| *room == "Lobby");
        let there = lobby.map_or(0, |(_, clients)| clients.len());
        if there != listeners {
            listeners = there;
            let _ = says.send(format!("listeners {listeners}"));
        }
        let mut echo = None;
        tokio::select! {
            turn = connection.next() => {
                let Some(turn) = turn else { return };
                let name = |id| turn.session.name_of(id).unwrap_or("?").to_owned();
                if let Ok(Some(ClientEvent::Voice(voice))) = &turn.result {
                    echo = echoes.then(|| voice.frame.to_vec());
                }
                let Some(line) = line(turn.result, name) else { continue };
                if !echoes {
                    let _ = says.send(line);
                }
            }
            command = told.recv() => match command {
                None => return,
                Some(Tell::Say(frame)) => echo = Some(frame),
                Some(Tell::Text(text)) => {
                    connection
                        .call(|client, now| client.handle_command(now, ClientCommand::Text { to, text }))
                        .unwrap();
                }
            },
        }
        if let Some(frame) = echo
            && connection.session().state() == SessionState::Connected
        {
            connection
                .call(|client, now| client.handle_command(now, ClientCommand::Say { frame: &frame }))
                .unwrap();
        }
        let _ = connection.flush().await;
    }
}

/// What a player says of a turn, if anything.
fn line(
    result: Result<Option<ClientEvent<'_>>, impl Display>,
    name: impl Fn(ClientId) -> String,
) -> Option<String> {
    Some(match result {
        Ok(Some(ClientEvent::Voice(voice))) => {
            let hex: String = voice.frame.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("voice {} {} {} {hex}", name(voice.from), voice.sequence, voice.lost)
        }
        Ok(Some(ClientEvent::Text { from, text, .. })) => {
            format!("text {} {}", name(from), String::from_utf8_lossy(text.bytes().unwrap_or_default()))
        }
        Ok(Some(event)) => format!("{event:?}"),
        Ok(None) => return None,
        Err(violation) => format!("violation: {violation}"),
    })
}
