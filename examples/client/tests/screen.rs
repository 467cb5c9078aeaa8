//! The full screen, on a terminal of the system's.
#![cfg(all(target_os = "linux", feature = "screen"))]
#![allow(clippy::disallowed_methods)]

mod kit;

use kit::{Server, temporary};
use nix::pty::{Winsize, openpty};
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use voxwire_server::Protocol;

/// The client on a terminal.
struct OnTerminal {
    child: Child,
    master: File,
    slave: File,
    seen: Arc<Mutex<Seen>>,
}

fn some(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

struct Seen {
    parser: vt100::Parser,
    bytes: Vec<u8>,
}

impl OnTerminal {
    fn start(server: &Server, width: u16, height: u16, arguments: &str, variables: &[(&str, &str)]) -> Self {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let (master, slave) = (File::from(pty.master), File::from(pty.slave));
        let client = server.command(arguments);
        // The terminal has to be the process's own, so that it is told of another size.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(client.get_program()).args(client.get_args());
        command.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env_remove("NO_COLOR").env("TERM", "xterm-256color").envs(variables.iter().copied());
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        let [input, output, errors] = [(); 3].map(|()| Stdio::from(slave.try_clone().unwrap()));
        let child = command.stdin(input).stdout(output).stderr(errors).spawn().unwrap();
        let parser = vt100::Parser::new(some(height), some(width), 0);
        let seen = Arc::new(Mutex::new(Seen { parser, bytes: Vec::new() }));
        let (sink, mut reader) = (seen.clone(), master.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut part) {
                let mut seen = sink.lock().unwrap();
                seen.parser.process(&part[..count]);
                seen.bytes.extend_from_slice(&part[..count]);
            }
        });
        Self { child, master, slave, seen }
    }

    fn contents(&self) -> String {
        self.seen.lock().unwrap().parser.screen().contents()
    }

    fn is_full_screen(&self) -> bool {
        self.seen.lock().unwrap().parser.screen().alternate_screen()
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(begin.elapsed() < Duration::from_secs(20), "{what}: never, but\n{}", self.contents());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn shows(&self, text: &str) {
        self.until(text, |terminal| terminal.contents().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn stty(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("stty").args(arguments).stdin(self.slave.try_clone().unwrap()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn resize(&self, width: u16, height: u16) {
        self.seen.lock().unwrap().parser.screen_mut().set_size(some(height), some(width));
        self.stty(&["cols", &width.to_string(), "rows", &height.to_string()]);
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for the end; the terminal is as it was before.
    fn ends(&mut self, code: i32) -> String {
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < Duration::from_secs(20), "it does not end:\n{}", self.contents());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.until("the main screen", |terminal| !terminal.is_full_screen());
        let modes = self.stty(&["-a"]);
        for mode in ["icanon", "echo", "isig", "opost"] {
            assert!(modes.split([' ', ';', '\n']).any(|word| word == mode), "{mode}: {modes}");
        }
        assert!(!self.seen.lock().unwrap().parser.screen().hide_cursor());
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{}", self.contents());
        self.contents()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_call_has_a_screen_that_follows_the_terminals_size_and_ends_at_ctrl_c() {
    let server = Server::start(Protocol::VOICELINK);
    let mut bob = OnTerminal::start(&server, 80, 24, "wait --name bob --keep", &[]);
    bob.shows("voicelink: bob waits for calls");
    bob.shows("waiting for a call");
    assert!(bob.is_full_screen());
    bob.press("/he\t\r");
    bob.shows("PageUp and PageDown scroll");
    for (width, height) in [(40, 12), (160, 40)] {
        bob.resize(width, height);
        let last = "> /help";
        bob.until("all of it in another size", |bob| {
            let contents = bob.contents();
            ["bob waits for calls", "registered as bob", last, "Ctrl-C ends"]
                .iter()
                .all(|text| contents.contains(text))
                && contents.lines().all(|line| line.chars().count() <= usize::from(width))
        });
    }
    let code = server.client("call bob --name ann --play tone --for 2").0;
    assert_eq!(code, Some(0));
    bob.shows("call over (ann hung up)");
    bob.press("\x03");
    let left = bob.ends(0);
    assert!(left.contains("call with ann is up") && left.contains("call over (ann hung up)"), "{left}");
}

#[test]
fn who_speaks_is_shown_with_figures() {
    let server = Server::start(Protocol::OPCODE);
    let mut bob = OnTerminal::start(&server, 80, 24, "wait --name bob", &[]);
    bob.shows("waiting");
    let ann = server.command("call bob --name ann --play tone --for 4").spawn().unwrap();
    let mut ann = kit::Client::running(ann);
    bob.shows("● ann");
    for head in ["level", "jitter", "buffer", "here: 1"] {
        bob.shows(head);
    }
    bob.until("a level", |bob| bob.contents().contains(['▄', '▅', '▆', '▇', '█']));
    bob.until("a jitter", |bob| {
        bob.contents().lines().any(|line| line.contains("● ann") && line.contains("ms"))
    });
    assert!(ann.child.wait().unwrap().success());
    bob.ends(0);
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let server = Server::start(Protocol::VOICELINK);
    let mut bob = OnTerminal::start(&server, 80, 24, "wait --name bob", &[]);
    bob.shows("waiting for a call");
    bob.signal("-TERM");
    assert!(bob.ends(0).contains("waiting for a call"));
}

#[test]
fn an_error_gives_the_terminal_back_and_is_read() {
    let server = Server::start(Protocol::VOICELINK);
    let mut ann = OnTerminal::start(&server, 80, 24, "call nobody --name ann", &[]);
    let left = ann.ends(1);
    assert!(
        left.contains("calling nobody") && left.contains("the server knows nobody of that name"),
        "{left}"
    );
}

#[test]
fn commands_are_typed_completed_and_remembered() {
    let server = Server::start(Protocol::MSGPACK);
    for user in ["ann", "bob"] {
        assert_eq!(server.client(&format!("register --user {user}")).0, Some(0));
    }
    let history = temporary("screen-history");
    let _ = std::fs::remove_file(&history);
    let chat = format!("chat --user ann --history {}", history.display());
    let mut ann = OnTerminal::start(&server, 60, 20, &chat, &[]);
    ann.shows("msgpack: ann chats");
    ann.press("/add bob\r");
    ann.shows("bob is on the list");
    ann.press("/msg b\tgood morning\r");
    ann.shows("> /msg bob good morning");
    assert_eq!(server.client("whisper ann and_to_you --user bob").0, Some(0));
    ann.shows("bob: and_to_you");
    ann.press("/fly\r");
    ann.shows("no such command");
    ann.press("/quit\r");
    ann.ends(0);
    // What was typed is there the next time.
    let mut ann = OnTerminal::start(&server, 60, 20, &chat, &[]);
    ann.shows("msgpack: ann chats");
    ann.press("\x1b[A\x1b[A\x1b[A");
    ann.shows("> /msg bob good morning");
    ann.press("\x15\x04");
    ann.ends(0);
}

#[test]
fn without_a_screen_there_are_lines_as_ever() {
    let server = Server::start(Protocol::VOICELINK);
    for flags in ["--no-screen", "--json", "--quiet"] {
        let mut bob = OnTerminal::start(&server, 80, 24, &format!("wait --name bob {flags}"), &[]);
        let (waits, quiet) = ("waiting", flags == "--quiet");
        if quiet {
            std::thread::sleep(Duration::from_secs(1));
        } else {
            bob.shows(waits);
        }
        assert!(!bob.is_full_screen(), "{flags}");
        bob.press("\x03");
        bob.ends(0);
        assert!(!bob.seen.lock().unwrap().bytes.windows(8).any(|bytes| bytes == b"\x1b[?1049h"), "{flags}");
    }
}

#[test]
fn colours_are_left_out_where_they_are_not_wanted() {
    let server = Server::start(Protocol::VOICELINK);
    let coloured = |variables: &[(&str, &str)]| {
        let mut bob = OnTerminal::start(&server, 80, 24, "wait --name bob", variables);
        bob.shows("waiting for a call");
        bob.press("nonsense\r");
        bob.shows("nonsense: there is nothing");
        let screen = bob.seen.lock().unwrap().parser.screen().clone();
        let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
        let coloured = cells
            .filter_map(|(row, column)| screen.cell(row, column))
            .any(|cell| cell.fgcolor() != vt100::Color::Default);
        bob.press("\x03");
        bob.ends(0);
        coloured
    };
    assert!(coloured(&[]) && !coloured(&[("NO_COLOR", "1")]));
}
