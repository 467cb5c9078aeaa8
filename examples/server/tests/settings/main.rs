//! C-07: every setting has an effect that is seen here, in `cli.rs`, in `msgpack.rs`, in `metrics.rs` or among the attacks.

#![allow(clippy::disallowed_methods)]

mod addresses;
mod dissonance;
#[path = "../kit/mod.rs"]
mod kit;
mod log;
mod memory;
mod opcode;
mod profile;
mod seen;
mod shutdown;
mod syfala;
mod voicelink;

use core::time::Duration;
use kit::{Server, file, folder};
use std::io::Read;

use std::net::TcpStream;
use std::path::PathBuf;

/// A server with these settings, all ports free ones, and a folder of its own.
fn serve(name: &str, settings: &str) -> Server {
    let path = file(&format!("settings-{name}.toml"), settings);
    let data = folder(&format!("settings-{name}"));
    // The flag would win over `quic = false`.
    let free = if settings.contains("quic = false") { &FREE[..12] } else { &FREE[..] };
    Server::start(&[&["--config", path.to_str().unwrap(), "--data", data.to_str().unwrap()], free].concat())
}

const FREE: [&str; 14] = [
    "--voicelink-port",
    "0",
    "--opcode-port",
    "0",
    "--msgpack-port",
    "0",
    "--dissonance-port",
    "0",
    "--syfala-port",
    "0",
    "--http",
    "127.0.0.1:0",
    "--dissonance-quic-port",
    "0",
];

/// Whether the server ends the connection within two seconds.
fn closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// A certificate and its key, in files.
fn certified(name: &str) -> [PathBuf; 2] {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = file(&format!("settings-{name}.cert.pem"), &made.cert.pem());
    let key = file(&format!("settings-{name}.key.pem"), &made.signing_key.serialize_pem());
    [cert, key]
}
