//! Voice and text between C# and Rust, by each way that there is.

use crate::game::{Game, frames, hex, pause, say_all};
use crate::kit::temporary;
use crate::players::{Rust, Tell};
use std::io::Write as _;
use std::net::TcpListener;
use voxwire_transport::{DirectSettings, TcpUdpSettings};

/// D-19, D-15: voice goes both ways by UDP, each frame once, in order, and untouched; text goes both ways.
#[test]
fn d_19_voice_and_text_go_both_ways_between_c_sharp_and_rust() {
    let Some(game) = Game::start() else { return };
    let (mut ann, ben) = game.lobby(&[], false);
    let spoken = frames(100);
    say_all(&mut ann, &spoken);
    let heard = ben.lines.take("voice ann", spoken.len());
    for (n, (line, frame)) in heard.iter().zip(&spoken).enumerate() {
        let first: usize = heard[0].split(' ').nth(2).unwrap().parse().unwrap();
        assert_eq!(*line, format!("voice ann {} 0 {}", first + n, hex(frame)));
    }
    for frame in &spoken {
        ben.tell(Tell::Say(frame.clone()));
        pause();
    }
    let heard = ann.lines.take("voice ben", spoken.len());
    for (line, frame) in heard.iter().zip(&spoken) {
        assert_eq!(*line, format!("voice ben {}", hex(frame)));
    }
    ann.tell("text Lobby good evening");
    ben.lines.until("text ann good evening");
    ben.tell(Tell::Text("the same to you"));
    ann.lines.until("text ben the same to you");
    ann.tell("counters");
    assert!(ann.lines.until("counters").0.starts_with("counters udp 100 100 tcp "));
    // Rooms: who leaves hears nothing, and its speakers know.
    ann.tell("leave Lobby");
    ben.lines.until("listeners 1");
    ann.quit();
    ben.lines.until("Left");
}

/// D-19, D-15: without UDP, voice goes by TCP.
#[test]
fn d_19_without_udp_voice_goes_by_tcp() {
    let Some(game) = Game::start() else { return };
    let ben = game.rust("ben", false);
    let mut ann = game.c_sharp("ann", &["no-udp"]);
    ann.lines.until("UdpOff: voice goes by TCP, as set");
    ann.until_listeners("Lobby", 1);
    // Voice by UDP could overtake this.
    ben.lines.until("Entered { client: 1");
    ann.tell("say Lobby 0a0b0c");
    assert!(ben.lines.until("voice ann").0.ends_with(" 0a0b0c"));
    ann.tell("counters");
    assert!(ann.lines.until("counters").0.starts_with("counters udp 0 0 tcp "));
    ann.quit();
}

/// D-19: all of it by IPv6.
#[test]
fn d_19_voice_goes_by_ipv6() {
    let Some(game) = Game::with(|config| config.bind = std::net::Ipv6Addr::LOCALHOST.into()) else { return };
    let (mut ann, ben) = game.lobby(&["direct"], true);
    ann.tell("say Lobby 0102");
    ann.lines.until("voice ben 0102");
    ann.tell("counters");
    assert!(ann.lines.until("counters").0.starts_with("counters udp 1 1 tcp "));
    drop(ben);
    ann.quit();
}

/// D-19, D-08: voice goes directly between players in C# and in Rust, where both ask for it.
#[test]
fn d_19_voice_goes_directly_between_c_sharp_and_rust() {
    let Some(game) = Game::start() else { return };
    let direct = TcpUdpSettings {
        direct: DirectSettings { announce: true, ..DirectSettings::default() },
        ..TcpUdpSettings::default()
    };
    let ben = Rust::start("ben", game.address, direct, false);
    let mut ann = game.c_sharp("ann", &["direct"]);
    ann.tell("join Lobby");
    ann.lines.until("voice for ben goes directly");
    ben.lines.until("Direct { client: 1, up: true }");
    ann.until_listeners("Lobby", 1);
    let spoken = frames(50);
    say_all(&mut ann, &spoken);
    for frame in &spoken {
        assert!(ben.lines.until("voice ann").0.ends_with(&format!(" 0 {}", hex(frame))));
        ben.tell(Tell::Say(frame.clone()));
    }
    let heard = ann.lines.take("voice ben", spoken.len());
    assert_eq!(heard, spoken.iter().map(|frame| format!("voice ben {}", hex(frame))).collect::<Vec<_>>());
    ann.tell("counters");
    let counters = ann.lines.until("counters").0;
    assert!(counters.starts_with("counters udp 0 0 tcp ") && counters.ends_with("dropped 0 0"), "{counters}");
    // The handshake of the path, and the frames.
    let directly: Vec<u32> = counters
        .split(' ')
        .skip_while(|word| *word != "direct")
        .skip(1)
        .take(2)
        .map(|n| n.parse().unwrap())
        .collect();
    assert!(directly.iter().all(|n| (51..60).contains(n)), "{counters}");
    // Who leaves is no path any more, and is told to be gone.
    drop(ben);
    ann.lines.until("PathDown");
    ann.quit();
}

/// D-19, F-14: TLS with a pinned certificate. Voice stays on TLS unless it is allowed to go in the clear.
#[test]
fn d_19_with_tls_a_pinned_certificate_is_asked_for_and_voice_stays_encrypted() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (temporary("d19-cert.pem"), temporary("d19-key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let tls = (cert.clone(), key);
    let Some(game) = Game::with(|config| config.tls = Some(tls)) else { return };
    let refused = |settings: &[&str]| {
        let ann = game.c_sharp("ann", &[settings, &["no-reconnect"]].concat());
        let words = ann.lines.until("news Failed: ").0;
        ann.quit();
        words
    };
    // Of our own authority the system knows nothing.
    let words = refused(&["tls"]);
    assert!(words.contains("the server's certificate is not trusted"), "{words}");
    let words = refused(&[&format!("pin={}", "00".repeat(32))]);
    let (_, pin) = words.split_once("its SHA-256 fingerprint is ").expect(&words);
    assert_eq!(pin.len(), 64, "{words}");
    // A server with TLS is told from one without it.
    let words = refused(&[]);
    assert!(words.contains("the server speaks TLS, and this client does not: set Tls"), "{words}");
    let tls = format!("--tls-ca {} --tls-name localhost", cert.display());
    let bob = game.server().spawn(&format!("{tls} --encrypted-only --name bob join Lobby"), "joined");
    let pin = format!("pin={}", pin.to_lowercase());
    let mut ann = game.c_sharp("ann", &[&format!("pin-file={}", cert.display())]);
    ann.lines.until("UdpOff: voice stays on TLS");
    ann.tell("join Lobby");
    ann.until_listeners("Lobby", 1);
    say_all(&mut ann, &frames(20));
    ann.tell("text Lobby by TLS");
    bob.until("by TLS");
    // Some more than a hundred packets, so that TLS has records to cut.
    let mut eve = game.c_sharp("eve", &[&pin, "clear-udp"]);
    eve.lines.until("UdpUp: voice goes by UDP and is not encrypted");
    eve.until_listeners("Lobby", 2);
    // Her voice could overtake this.
    ann.lines.until("eve is there");
    let spoken = frames(100);
    say_all(&mut eve, &spoken);
    let heard = ann.lines.take("voice eve", spoken.len());
    assert_eq!(heard, spoken.iter().map(|frame| format!("voice eve {}", hex(frame))).collect::<Vec<_>>());
    ann.tell("counters");
    assert!(ann.lines.until("counters").0.starts_with("counters udp 0 0 tcp "));
    ann.quit();
    eve.quit();
    drop(bob);
}

/// D-19: a server without TLS is told from one with it, and a server of something else from either.
#[test]
fn d_19_a_server_of_something_else_is_told() {
    let Some(game) = Game::start() else { return };
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let ann = game.c_sharp_at("ann", http.local_addr().unwrap(), &["no-reconnect"]);
    http.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    ann.lines.until("news Failed: what answers is no server of this kind");
    ann.quit();
    let ann = game.c_sharp("ann", &["tls", "no-reconnect"]);
    ann.lines.until("news Failed: TLS failed: ");
    ann.quit();
}
