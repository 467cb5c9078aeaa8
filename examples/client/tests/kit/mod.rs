//! The client as a program, against a server inside the test.
#![allow(dead_code, unreachable_pub, missing_docs)]

#[path = "../../../../tests/kit/server.rs"]
mod server;

pub use server::Server;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use voxwire_server::Protocol;

/// The client, run against this server.
impl Server {
    /// Runs the client against this server until it ends.
    pub fn client(&self, arguments: &str) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    pub fn command(&self, arguments: &str) -> Command {
        self.command_to(self.address, arguments)
    }

    pub fn command_to(&self, address: SocketAddr, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
        command
            .args(["--server", &address.to_string(), self.protocol.name()])
            .args(arguments.split_whitespace());
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        if self.protocol == Protocol::MSGPACK {
            command.env("VOXWIRE_PASSWORD", "geheim");
        }
        command
    }

    /// Starts the client and waits until it has said `line`.
    pub fn spawn(&self, arguments: &str, line: &str) -> Client {
        Client::spawn(self.command(arguments), line)
    }
}

/// A program at work, and what it prints.
pub struct Client {
    pub child: Child,
    lines: Receiver<String>,
}

impl Client {
    pub fn spawn(command: Command, line: &str) -> Self {
        let client = Self::start(command);
        client.until(line);
        client
    }

    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        Self { child, lines }
    }

    /// One that runs already, of whose lines nothing more is wanted.
    pub fn running(child: Child) -> Self {
        let (_, lines) = channel();
        Self { child, lines }
    }

    pub fn until(&self, wanted: &str) -> String {
        let mut seen = vec![];
        loop {
            match self.lines.recv_timeout(Duration::from_secs(15)) {
                Ok(line) if line.contains(wanted) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("{wanted:?} never came, only {seen:?}"),
            }
        }
    }

    /// The next line that it prints.
    pub fn next(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(15)).expect("it prints nothing more")
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    pub fn end(mut self) -> (Option<i32>, String, String) {
        let mut errors = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut errors).unwrap();
        }
        let status = self.child.wait().unwrap();
        (status.code(), self.lines.iter().collect::<Vec<_>>().join("\n"), errors)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}
