//! TLS as an operator sets it up: a certificate is made, and replaced while the server runs.
#![allow(missing_docs, clippy::unwrap_used)]

mod kit;

use kit::{Server, folder};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use voxwire_transport::tls;
use voxwire_transport::tls::rustls::{ClientConnection, StreamOwned};

/// `voxwire-server certificate ..`, in `folder`.
fn certificate(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    std::fs::create_dir_all(folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-server"));
    let Output { status, stdout, stderr } =
        command.arg("certificate").args(arguments).current_dir(folder).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn serve(folder: &Path) -> Server {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let only = ["--only", "voicelink", "--voicelink-port", "0", "--http", "off"];
    Server::start(&[&only[..], &["--tls-cert", cert, "--tls-key", key]].concat())
}

/// Whether a client that trusts the file comes to an end with its handshake.
fn trusts(trusted: &Path, server: SocketAddr) -> bool {
    let config = tls::client_config(trusted).unwrap();
    let connection = ClientConnection::new(config, "other.example".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(server).unwrap());
    stream.flush().is_ok() && !stream.conn.is_handshaking()
}

/// F-62: the pair that the program makes is used as it says, under any name.
#[test]
fn f_62_a_certificate_is_made_and_trusted() {
    let folder = folder("certificate");
    let (code, out, err) = certificate(&folder, &["game.example", "192.0.2.1"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("server: voxwire-server --bind 0.0.0.0 --tls-cert cert.pem --tls-key key.pem\n"),
        "{out}"
    );
    assert!(
        out.contains("client: voxwire-client --server game.example --tls-ca cert.pem PROTOCOL ..\n"),
        "{out}"
    );
    let mode = std::fs::metadata(folder.join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only the server reads its key");
    let server = serve(&folder);
    assert!(trusts(&folder.join("cert.pem"), server.address("voicelink tls")));
    // What is there is not lost.
    let (code, _, err) = certificate(&folder, &["game.example"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("key.pem exists already, and is not replaced"), "{err}");
    let other = ["--cert", "other.pem", "--key", "other.key", "not a name\u{e9}"];
    let (code, _, err) = certificate(&folder, &other);
    assert_eq!((code, err.contains("certificate: ")), (Some(2), true), "{err}");
}

/// F-63: an ACME client replaces the files; at SIGHUP, or a little later without it, new connections get the new certificate.
#[test]
fn f_63_replaced_files_are_used_and_sighup_does_not_end_the_server() {
    let (folder, next) = (folder("renewed"), folder("renewed-next"));
    certificate(&folder, &["game.example"]);
    let mut server = serve(&folder);
    let address = server.address("voicelink tls");
    for by_signal in [true, false] {
        let old = folder.join("old.pem");
        std::fs::copy(folder.join("cert.pem"), &old).unwrap();
        let _ = std::fs::remove_dir_all(&next);
        certificate(&next, &["game.example"]);
        for name in ["cert.pem", "key.pem"] {
            std::fs::rename(next.join(name), folder.join(name)).unwrap();
        }
        if by_signal {
            server.signal("-HUP");
        }
        let replaced = (0..1500).any(|_| {
            std::thread::park_timeout(Duration::from_millis(10));
            trusts(&folder.join("cert.pem"), address)
        });
        assert!(replaced && !trusts(&old, address), "by signal: {by_signal}");
    }
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
}
