//! What a signal ends, and what goes on while recordings are completed.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods)]

mod kit;

use kit::{Client, Server, temporary};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use voxwire_audio::{Clip, SampleFormat, save_wav};
use voxwire_server::Protocol;

/// A named pipe that nobody reads.
fn pipe(name: &str) -> PathBuf {
    let path = temporary(name);
    let _ = std::fs::remove_file(&path);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// Reads a pipe so slowly that a recording is complete in half a minute at the earliest, as a disk that is nearly broken takes it.
struct SlowReader {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SlowReader {
    fn start(path: &Path) -> Self {
        let (path, over) = (path.to_owned(), Arc::<AtomicBool>::default());
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            // Opened for writing, too: it waits for nobody, and has no end.
            let mut pipe = File::options().read(true).write(true).open(path).unwrap();
            let mut page = [0; 4096];
            while !ends.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(300));
                let _ = pipe.read(&mut page).unwrap();
            }
        });
        Self { over, thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Waits until a program has ended, which waits for nothing any more.
fn end(mut client: Client, about: &str) -> (Option<i32>, String, String) {
    let begin = Instant::now();
    while client.child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(15), "{about}: goes on");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    client.end()
}

/// F-81: the connection is lost in a call, and its recording is not complete yet: a signal that comes then ends the program, and is not
/// forgotten while the server is looked for.
#[test]
fn f_81_a_signal_behind_a_lost_call_ends_the_program() {
    let call = |protocol: Protocol| {
        let mut server = Server::start(protocol);
        let pipe = pipe(&format!("lost-call-{protocol:?}.wav"));
        let bob = server.spawn(&format!("wait --name bob --keep --record {}", pipe.display()), "waiting");
        let mut ann = server.spawn("call bob --name ann --play tone --for 60", "is up");
        bob.until("is up");
        std::thread::park_timeout(Duration::from_millis(300));
        server.stop();
        if protocol == Protocol::OPCODE {
            bob.until("the call goes on");
            ann.child.kill().unwrap();
            bob.until("call with ann over");
        }
        bob.signal("-TERM");
        let (code, out, errors) = end(bob, &format!("{protocol:?}"));
        assert!(code == Some(1) && errors.contains("are not in it"), "{protocol:?}: {code:?}: {out}{errors}");
    };
    std::thread::scope(|scope| {
        for protocol in [Protocol::VOICELINK, Protocol::OPCODE] {
            scope.spawn(move || call(protocol));
        }
    });
}

/// F-81: while the recording of a call is completed, the next call is taken.
#[test]
fn f_81_calls_are_taken_while_a_recording_is_completed() {
    let call = |protocol: Protocol| {
        let server = Server::start(protocol);
        let pipe = pipe(&format!("completed-beside-{protocol:?}.wav"));
        let mut reader = SlowReader::start(&pipe);
        let bob = server.spawn(&format!("wait --name bob --keep --record {}", pipe.display()), "waiting");
        let first = server.spawn("call bob --name ann --play tone --for 3", "is up");
        assert_eq!(first.end().0, Some(0), "{protocol:?}");
        bob.until("is up");
        bob.until("waiting");
        let _second = server.spawn("call bob --name ann --play tone --for 60", "is up");
        bob.until("is up");
        // Now the first is cut short.
        reader.stop();
        bob.until("are not in it");
        bob.signal("-TERM");
        assert_eq!(end(bob, &format!("{protocol:?}")).0, Some(1));
    };
    std::thread::scope(|scope| {
        for protocol in [Protocol::VOICELINK, Protocol::OPCODE] {
            scope.spawn(move || call(protocol));
        }
    });
}

/// F-81: the second signal ends a device that completes its recording.
#[test]
fn f_81_a_second_signal_ends_a_device_that_completes_its_recording() {
    let pipe = pipe("device-second-signal.wav");
    let _reader = SlowReader::start(&pipe);
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
    command.args(["syfala", "serve", "--port", "0", "--record"]).arg(&pipe);
    let device = Client::start(command);
    let line = device.until("device at ");
    let address = line["device at ".len()..].split(": ").next().unwrap();
    let mut stream = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
    stream.args(["--server", address, "syfala", "stream", "--play", "tone", "--for", "4"]);
    assert_eq!(stream.output().unwrap().status.code(), Some(0));
    for _ in 0..2 {
        device.signal("-TERM");
        std::thread::park_timeout(Duration::from_millis(500));
    }
    let (code, out, errors) = end(device, "the device");
    assert!(code == Some(1) && errors.contains("are not in it"), "{code:?}: {out}{errors}");
}

/// A server of msgpack with the accounts of ann and bob.
fn accounts() -> Server {
    let server = Server::start(Protocol::MSGPACK);
    for request in ["register --user ann", "register --user bob", "create-group room --user ann"] {
        assert_eq!(server.client(request).0, Some(0), "{request}");
    }
    assert_eq!(server.client("join-group room --user bob").0, Some(0));
    server
}

fn voice_message(server: &Server) {
    let said = temporary("voice-message-said.wav");
    save_wav(&said, &Clip::tone(44_100, 1, 440.0, 10.0), SampleFormat::I16).unwrap();
    let (code, out, errors) =
        server.client(&format!("voice-message bob --user ann --play {}", said.display()));
    assert_eq!(code, Some(0), "{out}{errors}");
}

/// F-81: two signals end all recordings of voice messages that are not complete, however many there are.
#[test]
fn f_81_a_second_signal_ends_all_recordings_of_voice_messages() {
    let server = accounts();
    let pipe = pipe("voice-messages-second-signal.wav");
    let _reader = SlowReader::start(&pipe);
    let bob =
        server.spawn(&format!("wait --keep --user bob --record {}", pipe.display()), "waiting for messages");
    for _ in 0..3 {
        voice_message(&server);
        bob.until("ann: 10.0 s of sound");
    }
    for _ in 0..2 {
        bob.signal("-TERM");
        std::thread::park_timeout(Duration::from_millis(500));
    }
    let (code, out, errors) = end(bob, "bob");
    assert!(code == Some(1) && errors.contains("are not in it"), "{code:?}: {out}{errors}");
}

/// F-81: a recording that fails at once ends neither the waiting for messages nor a chat; the exit code says it.
#[test]
fn f_81_a_recording_that_fails_at_once_ends_nobody_who_waits() {
    let server = accounts();
    let bob = server.spawn("wait --keep --user bob --record /dev/full", "waiting for messages");
    voice_message(&server);
    bob.until("are not in it");
    bob.until("ann: 10.0 s of sound");
    assert_eq!(server.client("whisper bob --user ann hello").0, Some(0));
    bob.until("ann: hello");
    bob.signal("-TERM");
    let (code, out, errors) = end(bob, "bob");
    assert!(code == Some(1) && errors.contains("are not in it"), "{code:?}: {out}{errors}");
    // Where recordings were to go is gone.
    let folder = temporary("recordings-that-go");
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = server.command(&format!("chat --user bob --record {}/heard.wav", folder.display()));
    command.stdin(Stdio::piped());
    let mut bob = Client::spawn(command, "/help");
    let mut lines = bob.child.stdin.take().unwrap();
    let mut say = |line: &str| std::io::Write::write_all(&mut lines, format!("{line}\n").as_bytes()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    say("/call room");
    bob.until("recordings-that-go/heard.wav: No such file");
    say("/level");
    bob.until("room: 00:0");
    say("/quit");
    let (code, out, errors) = end(bob, "chat");
    assert!(code == Some(1) && errors.contains("No such file"), "{code:?}: {out}{errors}");
}

/// Waits until a program is about to read what may block: it has a thread for that.
fn blocking(client: &Client) {
    let threads = format!("/proc/{}/task", client.child.id());
    let is_there = || {
        let threads = std::fs::read_dir(&threads).into_iter().flatten().flatten();
        let mut names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
        names.any(|name| name.trim() == "blocking")
    };
    let begin = Instant::now();
    while !is_there() {
        assert!(begin.elapsed() < Duration::from_secs(15), "nothing is read");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// F-81: a signal ends a program that waits for a sound file or for a password, and the exit code says that it failed.
#[test]
fn f_81_a_signal_ends_a_program_that_has_not_begun() {
    let pipe = pipe("never-written.wav");
    let play = format!("--play {}", pipe.display());
    let calls = [
        format!("voicelink call bob --name ann {play}"),
        format!("opcode call bob --name ann {play}"),
        format!("msgpack call room --user ann {play}"),
        format!("msgpack voice-message bob --user ann {play}"),
        format!("dissonance join room --name ann {play}"),
        format!("syfala stream {play}"),
        format!("syfala serve --port 0 {play}"),
        "msgpack login --user ann".into(),
    ];
    for signal in ["-INT", "-TERM"] {
        for call in &calls {
            let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
            // The pipe of standard input stays open, and nothing is written to it.
            command.args(["--server", "127.0.0.1:9"]).args(call.split_whitespace()).stdin(Stdio::piped());
            command.env_remove("VOXWIRE_PASSWORD");
            let client = Client::start(command);
            blocking(&client);
            client.signal(signal);
            let (code, out, errors) = end(client, call);
            assert!(code == Some(1) && errors.contains("interrupted"), "{call}: {code:?}: {out}{errors}");
        }
    }
}
