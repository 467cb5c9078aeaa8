//! A server of ours with players on it: what most tests begin with.
#![allow(unreachable_pub)]

use crate::kit::Server;
use crate::mono;
use crate::players::{CSharp, Rust};
use core::time::Duration;
use std::net::SocketAddr;
use std::path::Path;
use voxwire_server::{Config, Dissonance, Protocol};
use voxwire_transport::TcpUdpSettings;

/// A server, and the program of the package's tests.
pub struct Game {
    pub tests: &'static Path,
    pub address: SocketAddr,
    server: Option<Server>,
}

impl Game {
    /// `None` where there is no Mono: then the test is skipped, and says so.
    pub fn start() -> Option<Self> {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Option<Self> {
        let tests = mono::tests()?;
        let server = Server::with(Protocol::DISSONANCE, change);
        Some(Self { tests, address: server.address, server: Some(server) })
    }

    /// Its server admits those who have this token.
    pub fn with_token(token: &str) -> Option<Self> {
        Self::with(|config| config.of_mut::<Dissonance>().token = Some(token.into()))
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Stops the server, whose address stays its own until another one starts.
    pub fn stop(&mut self) {
        self.server.as_mut().unwrap().stop();
    }

    /// Once the server has been stopped: another one at its address.
    pub fn start_again(&mut self) {
        // It goes with all that it has open.
        self.server = None;
        let port = self.address.port();
        let port = |config: &mut Config| config.of_mut::<Dissonance>().port = port;
        self.server = Some(Server::with(Protocol::DISSONANCE, port));
    }

    /// A player in Rust, who listens and speaks to the Lobby. `echoes`: each frame goes back to it.
    pub fn rust(&self, name: &'static str, echoes: bool) -> Rust {
        Rust::start(name, self.address, TcpUdpSettings::default(), echoes)
    }

    /// A player in C#.
    pub fn c_sharp(&self, name: &str, settings: &[&str]) -> CSharp {
        self.c_sharp_at(name, self.address, settings)
    }

    /// A player in C# whose server is elsewhere.
    pub fn c_sharp_at(&self, name: &str, server: SocketAddr, settings: &[&str]) -> CSharp {
        CSharp::start(self.tests, name, server, settings)
    }

    /// The adapter for Dissonance, on a stub.
    pub fn adapter(&self, name: &str, token: &str, settings: &[&str]) -> CSharp {
        CSharp::adapter(self.tests, name, self.address, token, settings)
    }

    /// Ann in C# and Ben in Rust, who listen to the Lobby and know of each other. Voice goes by UDP.
    #[track_caller]
    pub fn lobby(&self, settings: &[&str], echoes: bool) -> (CSharp, Rust) {
        let ben = self.rust("ben", echoes);
        let mut ann = self.c_sharp("ann", settings);
        ann.tell("join Lobby");
        ann.until_udp();
        meet(&mut ann, &ben);
        (ann, ben)
    }
}

/// Waits until each of the two knows that the other one listens to the Lobby.
#[track_caller]
pub fn meet(ann: &mut CSharp, ben: &Rust) {
    ann.until_listeners("Lobby", 1);
    ben.lines.until("listeners 2");
}

/// Frames that look like Opus of 20 ms and are all different: their order and their bytes are checked, not their sound.
pub fn frames(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|n| (0..40 + n).map(|byte| byte.wrapping_mul(31).wrapping_add(n)).collect()).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A pause between frames, so that no queue has to hold them all.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(5));
}

/// Says all frames, one after the other.
pub fn say_all(ann: &mut CSharp, frames: &[Vec<u8>]) {
    for frame in frames {
        ann.tell(&format!("say Lobby {}", hex(frame)));
        pause();
    }
}
