//! A server inside the test, for the tests of the programs that talk to one. Included by path.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use voxwire_server::{Config, Dissonance, Protocol, Running, Wanted};

/// A server on a runtime of its own. It ends when it is dropped.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    data: PathBuf,
    pub protocol: Protocol,
    pub address: SocketAddr,
}

impl Server {
    pub fn with(protocol: Protocol, change: impl FnOnce(&mut Config)) -> Self {
        static SERVERS: AtomicUsize = AtomicUsize::new(0);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut config = Config { only: vec![protocol], http: Wanted::No, ..Config::default() };
        config.use_free_ports();
        // Another folder for each.
        let folder = format!("data-{}-{}", std::process::id(), SERVERS.fetch_add(1, Ordering::Relaxed));
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        let _ = std::fs::remove_dir_all(&data);
        config.data.clone_from(&data);
        config.of_mut::<Dissonance>().quic = false;
        change(&mut config);
        let running = runtime.block_on(voxwire_server::start(config)).unwrap();
        let address = running.listening()[0].address;
        Self { runtime, running: Some(running), data, protocol, address }
    }

    pub fn start(protocol: Protocol) -> Self {
        Self::with(protocol, |_| {})
    }

    /// Where else the server listens.
    pub fn at(&self, transport: &str) -> SocketAddr {
        self.running.as_ref().unwrap().address(self.protocol.name(), transport).unwrap()
    }

    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.drain(Duration::from_secs(5)));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
