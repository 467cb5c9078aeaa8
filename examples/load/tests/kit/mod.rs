//! The load as a program, against a server inside the test.
#![allow(dead_code, unreachable_pub, missing_docs)]

#[path = "../../../../tests/kit/server.rs"]
mod server;

use serde_json::Value;
pub use server::Server;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use voxwire_server::{Config, Opcode, Protocol, Syfala, SyfalaSound};

/// A server that carries calls of opcode, and sends back what syfala plays.
pub fn serve(protocol: Protocol) -> Server {
    serve_with(protocol, |_| {})
}

/// The same, with a change to its settings.
pub fn serve_with(protocol: Protocol, change: impl FnOnce(&mut Config)) -> Server {
    Server::with(protocol, |config| {
        let here = config.bind;
        config.of_mut::<Opcode>().relay = vec![here];
        // Messages of 10 ms, and enough in store for a machine that is busy.
        let device = config.of_mut::<Syfala>();
        (device.sound, device.buffer, device.latency) = (SyfalaSound::Echo, 480, Duration::from_millis(200));
        change(config);
    })
}

/// The load, run against this server.
impl Server {
    /// The same until nothing is lost, a few times: a server drops old audio of a listener that has no core for 200 ms.
    pub fn load_in_peace(&self, arguments: &str) -> Load {
        in_peace(|| self.load(arguments))
    }

    /// Runs the load against this server, and reads its JSON.
    pub fn load(&self, arguments: &str) -> Load {
        let timeout = if arguments.contains("--timeout") { "" } else { "--timeout 100" };
        load(&format!("{arguments} {timeout} --server {} --json", self.address))
    }
}

/// How a load went.
pub struct Load {
    pub code: Option<i32>,
    pub out: String,
    pub error: String,
}

impl Load {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.error))
    }
}

/// Runs a load until nothing is lost and no user failed, five times at most.
pub fn in_peace(load: impl Fn() -> Load) -> Load {
    let mut last = load();
    for _ in 0..4 {
        if last.code == Some(0) && last.json()["lost"] == 0 {
            break;
        }
        last = load();
    }
    last
}

/// Runs the load until it ends. One at a time: they measure.
pub fn load(arguments: &str) -> Load {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_voxwire-load")).args(arguments.split_whitespace()).output().unwrap();
    Load {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        error: String::from_utf8(stderr).unwrap(),
    }
}
