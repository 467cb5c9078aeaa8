//! A server inside the test, and the load as a program.
#![allow(dead_code, unreachable_pub, missing_docs)]

use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use voxwire_server::{Config, Dissonance, Opcode, Protocol, Running, Syfala, SyfalaSound, Wanted};

/// A server inside the test, on a runtime of its own.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    data: PathBuf,
    pub address: SocketAddr,
}

impl Server {
    pub fn with(protocol: Protocol, change: impl FnOnce(&mut Config)) -> Self {
        static SERVERS: AtomicUsize = AtomicUsize::new(0);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut config = Config { only: vec![protocol], http: Wanted::No, ..Config::default() };
        config.use_free_ports();
        let folder = format!("data-{}-{}", std::process::id(), SERVERS.fetch_add(1, Ordering::Relaxed));
        config.data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        let data = config.data.clone();
        let here = config.bind;
        config.of_mut::<Dissonance>().quic = false;
        config.of_mut::<Opcode>().relay = vec![here];
        // Messages of 10 ms, and enough in store for a machine that is busy.
        let device = config.of_mut::<Syfala>();
        (device.sound, device.buffer, device.latency) = (SyfalaSound::Echo, 480, Duration::from_millis(200));
        change(&mut config);
        let running = runtime.block_on(voxwire_server::start(config)).unwrap();
        let address = running.listening()[0].address;
        Self { runtime, running: Some(running), data, address }
    }

    pub fn start(protocol: Protocol) -> Self {
        Self::with(protocol, |_| {})
    }

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

impl Drop for Server {
    fn drop(&mut self) {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running.drain(Duration::from_secs(5)));
        let _ = std::fs::remove_dir_all(&self.data);
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
