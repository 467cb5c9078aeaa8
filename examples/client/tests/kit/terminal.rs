//! Programs on a terminal of the system's. Included by path.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::disallowed_methods)]

use nix::pty::{Winsize, openpty};
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A program on a terminal.
pub struct OnTerminal {
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
    pub fn start(client: &Command, width: u16, height: u16, variables: &[(&str, &str)]) -> Self {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let (master, slave) = (File::from(pty.master), File::from(pty.slave));
        // The terminal has to be the process's own, so that it is told of another size.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(client.get_program()).args(client.get_args());
        command.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env_remove("NO_COLOR").env("TERM", "xterm-256color").envs(variables.iter().copied());
        if let Some(folder) = client.get_current_dir() {
            command.current_dir(folder);
        }
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

    /// All that was written so far.
    pub fn written(&self) -> Vec<u8> {
        self.seen.lock().unwrap().bytes.clone()
    }

    pub fn screen(&self) -> vt100::Screen {
        self.seen.lock().unwrap().parser.screen().clone()
    }

    pub fn contents(&self) -> String {
        self.seen.lock().unwrap().parser.screen().contents()
    }

    pub fn is_full_screen(&self) -> bool {
        self.seen.lock().unwrap().parser.screen().alternate_screen()
    }

    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            assert!(begin.elapsed() < Duration::from_secs(20), "{what}: never, but\n{}", self.contents());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn shows(&self, text: &str) {
        self.until(text, |terminal| terminal.contents().contains(text));
    }

    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub fn stty(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("stty").args(arguments).stdin(self.slave.try_clone().unwrap()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn resize(&self, width: u16, height: u16) {
        self.seen.lock().unwrap().parser.screen_mut().set_size(some(height), some(width));
        self.stty(&["cols", &width.to_string(), "rows", &height.to_string()]);
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for the end; the terminal is as it was before.
    pub fn ends(&mut self, code: i32) -> String {
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
