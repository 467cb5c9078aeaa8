//! Whom the client trusts, and servers that do not speak TLS as they should.

use crate::game::Game;
use crate::kit::temporary;
use crate::mono;
use crate::players::CSharp;
use crate::raw::{Valve, fill};
use core::time::Duration;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

/// A server whose certificate is for localhost, its chain, and the authority behind it.
fn signed(name: &str) -> Option<(Game, PathBuf, PathBuf)> {
    let file = |end: &str, text: &str| {
        let path = temporary(&format!("d19-{name}-{end}.pem"));
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let (chain, key) = (file("chain", &leaf.pem()), file("key", &key.serialize_pem()));
    let tls = (chain.clone(), key);
    let game = Game::with(|config| config.tls = Some(tls))?;
    Some((game, chain, file("authority", &issuer.pem())))
}

/// D-19, F-62: without a pinned certificate the roots of the system decide, and the name that the certificate shows.
#[test]
fn d_19_with_tls_the_roots_of_the_system_decide() {
    let Some((game, _, authority)) = signed("roots") else { return };
    let roots = temporary("d19-roots");
    let _ = std::fs::remove_dir_all(&roots);
    std::fs::create_dir_all(&roots).unwrap();
    let trust = temporary("d19-trust.exe");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/unity/Trust.cs");
    mono::compile(&trust.display().to_string(), "exe", &[source], &["Mono.Security"]);
    let mut import = Command::new("mono");
    assert!(import.arg(trust).arg(authority).env("XDG_CONFIG_HOME", &roots).status().unwrap().success());
    let environment = [("XDG_CONFIG_HOME", roots.as_path())];
    for (host, expected) in
        [("localhost", "news Connected"), ("127.0.0.1", "is not trusted (RemoteCertificateNameMismatch)")]
    {
        let settings = [&format!("host={host}"), "tls", "no-reconnect"];
        let ann = CSharp::transport(game.tests, game.address, &settings, &environment);
        let line = ann.lines.until("news").0;
        assert!(line.contains(expected), "{host}: {line}");
        ann.quit();
    }
    // The name that is asked for need not be the host's.
    let settings = ["tls", "tls-name=localhost", "no-reconnect"];
    let ann = CSharp::transport(game.tests, game.address, &settings, &environment);
    ann.lines.until("news Connected");
    ann.quit();
}

/// D-19: a server that never completes the TLS handshake is given up after `ConnectTimeout`, also where it goes on sending. Its
/// connection can be disposed of meanwhile.
#[test]
fn d_19_tls_that_does_not_come_to_an_end_is_given_up() {
    let Some(tests) = mono::tests() else { return };
    for drips in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    // A record of a handshake that is long and comes slowly; or nothing.
                    let mut said = vec![0x16, 3, 3, 0x3f, 0xff, 2, 0, 0x3f, 0xfb];
                    said.resize(2000, 0);
                    for byte in said {
                        thread::park_timeout(Duration::from_millis(30));
                        if drips && stream.write_all(&[byte]).is_err() {
                            return;
                        }
                    }
                    let _ = stream.read(&mut [0; 1]);
                });
            }
        });
        let ann = CSharp::transport(tests, address, &["tls", "connect-timeout=3000", "no-reconnect"], &[]);
        ann.lines.until("news Failed: TLS failed: the server has not answered within 3 s");
        ann.quit();
        let mut ann = CSharp::transport(tests, address, &["tls", "connect-timeout=60000"], &[]);
        thread::park_timeout(Duration::from_millis(800));
        ann.tell("dispose");
        ann.lines.until("ended");
        ann.quit();
    }
}

/// D-19: inside TLS, too, a server that takes nothing is given up.
#[test]
fn d_19_a_server_that_takes_nothing_by_tls_is_given_up() {
    let Some((game, chain, _)) = signed("stuck") else { return };
    let valve = Valve::start(game.address);
    let settings = [&*format!("pin-file={}", chain.display())];
    let mut ann = CSharp::transport(game.tests, valve.address, &settings, &[]);
    ann.lines.until("news UdpOff");
    valve.close();
    fill(&mut ann);
    ann.lines.until_within("news Disconnected: the server takes nothing any more", Duration::from_secs(40));
    ann.tell("dispose");
    ann.lines.until("ended");
    ann.quit();
}

/// D-19: what ends a connection inside TLS before the server's hello is told as it is: that server is not taken for a full one.
#[test]
fn d_19_what_ends_tls_before_the_hello_is_told() {
    let Some((game, chain, _)) = signed("broken") else { return };
    let settings = [&*format!("pin-file={}", chain.display()), "no-reconnect"];
    let ann = CSharp::transport(game.tests, break_data(game.address), &settings, &[]);
    let line = ann.lines.until("news").0;
    assert!(line.starts_with("news Failed: the connection is lost ("), "{line}");
    ann.quit();
}

/// Stands before a server, takes a client's first record of data, and answers with one that nobody can decrypt.
fn break_data(server: SocketAddr) -> SocketAddr {
    const DATA: u8 = 23;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut near = listener.accept().unwrap().0;
        let mut far = TcpStream::connect(server).unwrap();
        let (mut answers, mut client) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut answers, &mut client));
        let mut record = vec![0; 5];
        while near.read_exact(&mut record[..5]).is_ok() {
            record.resize(5 + usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
            near.read_exact(&mut record[5..]).unwrap();
            if record[0] == DATA {
                near.write_all(&[&[DATA, 3, 3, 0, 64][..], &[0x55; 64]].concat()).unwrap();
            } else {
                far.write_all(&record).unwrap();
            }
        }
    });
    address
}
