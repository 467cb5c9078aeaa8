//! The program `voxwire-server`, run as its users and their scripts do.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

pub mod raw;
pub mod user;
pub mod watch;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;
use voxwire_server::Protocol;

/// The program at work.
pub struct Server {
    pub child: Child,
    pub lines: Vec<String>,
}

impl Server {
    /// Starts it and waits for `ready`.
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(command(arguments).stderr(Stdio::null()))
    }

    /// The same, with an environment or a log.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = vec![];
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            lines.push(line.unwrap());
            if lines.last().unwrap() == "ready" {
                return Self { child, lines };
            }
        }
        let _ = child.wait();
        panic!("not ready: {lines:?}");
    }

    pub fn address(&self, what: &str) -> SocketAddr {
        let line = self.lines.iter().find_map(|line| line.strip_prefix(&format!("listening {what} ")));
        line.unwrap_or_else(|| panic!("no {what} in {:?}", self.lines)).parse().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        for _ in 0..1500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        panic!("still running after 15 s");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-server"));
    command.args(arguments).current_dir(env!("CARGO_TARGET_TMPDIR"));
    // Protocols that neither the arguments nor the file name take free ports: other tests run at the same time.
    let config = arguments.iter().position(|argument| *argument == "--config").map(|at| arguments[at + 1]);
    let config = config.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    for name in Protocol::all().map(Protocol::name) {
        let flag = format!("--{name}-port");
        if !arguments.contains(&&*flag) && !config.contains(&format!("[{name}]")) {
            command.args([&flag, "0"]);
        }
    }
    command
}

/// Runs it until it ends by itself.
pub fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

pub fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A folder that did not exist before.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

/// What a process has in memory, in KiB.
pub fn resident(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
