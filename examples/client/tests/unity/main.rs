//! D-19: the C# package for Unity against our server and our client. Needs Mono.

mod hostile;
#[path = "../kit/mod.rs"]
mod kit;
mod mono;
#[path = "../../../../proto-dissonance/tests/kit/mod.rs"]
mod packets;
mod players;
mod proxy;

use core::time::Duration;
use kit::{Server, temporary};
use players::{CSharp, Rust, Tell};
use proxy::Proxy;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use voxwire_core::Message;
use voxwire_core::testing::Rng;
use voxwire_dissonance::{Profile, Wire};
use voxwire_server::Protocol;
use voxwire_transport::{DirectSettings, TcpUdpSettings};

/// Frames that look like Opus of 20 ms and are all different: their order and their bytes are checked, not their sound.
fn frames(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|n| (0..40 + n).map(|byte| byte.wrapping_mul(31).wrapping_add(n)).collect()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A pause between frames, so that no queue has to hold them all.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(5));
}

/// D-19, D-15: voice goes both ways by UDP, each frame once, in order, and untouched; text goes both ways.
#[test]
fn d_19_voice_and_text_go_both_ways_between_c_sharp_and_rust() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::start(Protocol::DISSONANCE);
    let ben = Rust::start("ben", server.address, TcpUdpSettings::default(), false);
    let mut ann = CSharp::start(tests, "ann", server.address, &[]);
    ann.tell("join Lobby");
    ann.until_udp();
    ann.until_listeners("Lobby", 1);
    ben.lines.until("listeners 2");
    let spoken = frames(100);
    for frame in &spoken {
        ann.tell(&format!("say Lobby {}", hex(frame)));
        pause();
    }
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

/// D-19: a name leads to the server, and what is wrong with another one is told.
#[test]
fn d_19_a_name_leads_to_the_server_and_an_unknown_one_is_told() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::start(Protocol::DISSONANCE);
    for (host, expected) in [
        ("localhost", "Connected: connected to localhost:"),
        ("voice.invalid", "Failed: the name voice.invalid cannot be found: "),
        ("127.0.0.77", "Failed: cannot connect to 127.0.0.77:"),
    ] {
        let ann = CSharp::start(tests, "ann", server.address, &[&format!("host={host}"), "no-reconnect"]);
        let line = ann.lines.until("news").0;
        assert!(line.contains(expected), "{line}");
        ann.quit();
    }
}

/// D-19, D-15: without UDP, voice goes by TCP.
#[test]
fn d_19_without_udp_voice_goes_by_tcp() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::start(Protocol::DISSONANCE);
    let ben = Rust::start("ben", server.address, TcpUdpSettings::default(), false);
    let mut ann = CSharp::start(tests, "ann", server.address, &["no-udp"]);
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

/// D-19: a wrong token is told in words, and not tried again.
#[test]
fn d_19_a_wrong_token_is_told_and_a_right_one_is_admitted() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::with(Protocol::DISSONANCE, |config| {
        config.of_mut::<voxwire_server::Dissonance>().token = Some("sesame".into());
    });
    for settings in [&["token=wrong"][..], &[]] {
        let ann = CSharp::start(tests, "ann", server.address, settings);
        let (line, before) = ann.lines.until("news");
        assert!(
            line.contains("Refused: the server does not admit this client") && before.is_empty(),
            "{line}"
        );
        assert!(ann.lines.within(Duration::from_millis(700)).is_empty());
        ann.quit();
    }
    let ann = CSharp::start(tests, "ann", server.address, &["token=sesame"]);
    ann.lines.until("joined");
    ann.quit();
}

/// D-19, D-14: the server goes and comes back: the client says so, connects and joins again.
#[test]
fn d_19_a_client_survives_a_restart_of_its_server() {
    let Some(tests) = mono::tests() else { return };
    let mut server = Server::start(Protocol::DISSONANCE);
    let address = server.address;
    let mut ann = CSharp::start(tests, "ann", address, &[]);
    ann.tell("join Lobby");
    ann.until_udp();
    server.stop();
    ann.lines.until("news Disconnected: the server has closed the connection; trying again in ");
    ann.lines.until("news Disconnected: cannot connect to");
    drop(server);
    let _again = Server::with(Protocol::DISSONANCE, |config| {
        config.of_mut::<voxwire_server::Dissonance>().port = address.port();
    });
    ann.lines.until("news Connected");
    ann.until_udp();
    let ben = Rust::start("ben", address, TcpUdpSettings::default(), false);
    ann.until_listeners("Lobby", 1);
    ben.lines.until("listeners 2");
    ann.tell("say Lobby 0102");
    assert!(ben.lines.until("voice ann").0.ends_with(" 0102"));
    ann.quit();
}

/// Says all frames, one after the other.
fn say_all(ann: &mut CSharp, frames: &[Vec<u8>]) {
    for frame in frames {
        ann.tell(&format!("say Lobby {}", hex(frame)));
        pause();
    }
}

/// D-19, D-09: what the network loses is missing, and nothing else: the rest comes once, in order.
#[test]
fn d_19_what_the_network_loses_is_missing_and_nothing_else() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::start(Protocol::DISSONANCE);
    let proxy = Proxy::start(server.address);
    let ben = Rust::start("ben", server.address, TcpUdpSettings::default(), false);
    ben.lines.until("udp Some(true)");
    let mut ann = CSharp::start(tests, "ann", proxy.address, &[]);
    ann.tell("join Lobby");
    ann.until_udp();
    ann.until_listeners("Lobby", 1);
    ben.lines.until("listeners 2");
    proxy.lose_every(7);
    let spoken = frames(105);
    let kept: Vec<_> = spoken.chunks(7).flat_map(|chunk| &chunk[..6]).map(|frame| hex(frame)).collect();
    say_all(&mut ann, &spoken);
    for (n, frame) in kept.iter().enumerate() {
        let line = ben.lines.until("voice ann").0;
        let lost = if n > 0 && n % 6 == 0 { "1" } else { "0" };
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!((words[3], words[4]), (lost, frame.as_str()), "{n}");
    }
    for frame in spoken {
        ben.tell(Tell::Say(frame));
        pause();
    }
    let heard = ann.lines.take("voice ben", kept.len());
    assert_eq!(heard, kept.iter().map(|frame| format!("voice ben {frame}")).collect::<Vec<_>>());
    assert!(ann.lines.within(Duration::from_millis(200)).is_empty());
    ann.quit();
}

/// D-19, D-15: where UDP is blocked the client says so once, voice goes by TCP, and returns to UDP when that gets through again.
#[test]
fn d_19_where_udp_is_blocked_voice_goes_by_tcp_and_comes_back() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::start(Protocol::DISSONANCE);
    let proxy = Proxy::start(server.address);
    let ben = Rust::start("ben", server.address, TcpUdpSettings::default(), true);
    proxy.block(true);
    let mut ann = CSharp::start(tests, "ann", proxy.address, &[]);
    ann.tell("join Lobby");
    ann.until_listeners("Lobby", 1);
    ben.lines.until("listeners 2");
    let blocked = "UdpBlocked: UDP is blocked: 127.0.0.1 does not answer by UDP. Voice goes by TCP";
    for round in 0..2 {
        ann.lines.until(blocked);
        // Echoed: both directions go by TCP.
        let frames = frames(20);
        say_all(&mut ann, &frames);
        let heard = ann.lines.take("voice ben", frames.len());
        assert_eq!(heard, frames.iter().map(|frame| format!("voice ben {}", hex(frame))).collect::<Vec<_>>());
        if round == 0 {
            proxy.block(false);
            ann.until_udp();
            ann.tell("say Lobby 77");
            ann.lines.until("voice ben 77");
            ann.tell("counters");
            let counters = ann.lines.until("counters udp 1 1 tcp ").0;
            assert!(counters.ends_with("dropped 0 0"), "{counters}");
            proxy.block(true);
        }
    }
    drop(ben);
    ann.quit();
}

/// D-19: once it is warm, no thread of the client allocates anything for voice, either way.
#[test]
fn d_19_the_steady_state_allocates_nothing() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::start(Protocol::DISSONANCE);
    let ben = Rust::start("ben", server.address, TcpUdpSettings::default(), true);
    let mut ann = CSharp::start(tests, "ann", server.address, &[]);
    ann.tell("join Lobby");
    ann.until_udp();
    ann.until_listeners("Lobby", 1);
    ben.lines.until("listeners 2");
    // A machine that stands still for seconds makes UDP look blocked, and the words for that are allocated: not three times in a row.
    let mut measured = String::new();
    for _ in 0..3 {
        ann.tell("measure 2 Lobby");
        measured = ann.lines.until("allocated").0;
        let heard: u32 = measured.rsplit(' ').next().unwrap().parse().unwrap();
        if measured.starts_with("allocated here 0 network 0 ") && heard > 0 {
            drop(ben);
            return ann.quit();
        }
    }
    panic!("{measured}");
}

/// D-19, D-15: the transport's bytes are those that our own end is tested with.
#[test]
fn d_19_the_bytes_of_the_transport_are_those_of_the_vectors() {
    let Some(tests) = mono::tests() else { return };
    let vectors = mono::package().join("../../transport/tests/vectors/tcp_udp.txt");
    let output = Command::new("mono").arg(tests).arg("vectors").arg(vectors).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(" vectors, 0 failures"), "{said}");
}

/// D-19, D-02: a third codec, in C#, agrees with ours: on the vectors, and on random packets.
#[test]
fn d_19_the_codec_in_c_sharp_agrees_with_ours() {
    let Some(tests) = mono::tests() else { return };
    let mut codec = Command::new("mono")
        .arg(tests)
        .arg("codec")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (codec.stdin.take().unwrap(), BufReader::new(codec.stdout.take().unwrap()));
    let mut ask = |question: &str| {
        writeln!(input, "{question}").unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect(text);
    let vectors = include_str!("../../../../proto-dissonance/tests/vectors/packets.txt");
    let mut compared = 0;
    for line in vectors.lines() {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        let [name, bytes, meaning] = words[..] else { continue };
        if meaning.starts_with('{') {
            assert_eq!(json(&ask(&format!("decode {bytes}"))), json(meaning), "{name}");
            assert_eq!(ask(&format!("again {bytes}")), bytes, "{name}");
        } else if let Some(room) = meaning.strip_prefix("room ") {
            let room = json(room);
            let id = ask(&format!("room {}", hex(room.as_str().unwrap().as_bytes())));
            assert_eq!(format!("{:04x}", id.parse::<u16>().unwrap()), bytes, "{name}");
        } else if meaning.starts_with("error") {
            assert_eq!(ask(&format!("decode {bytes}")), "error", "{name}");
        } else {
            continue;
        }
        compared += 1;
    }
    assert!(compared > 25, "{compared} vectors");
    let (wire, mut rng) = (Wire::new(Profile::Later), Rng::new(19));
    for _ in 0..1000 {
        packets::with_random(&mut rng, |packet| {
            let mut bytes = Vec::new();
            packet.encode(&wire, &mut bytes).unwrap();
            let bytes = packets::hex(&bytes);
            assert_eq!(json(&ask(&format!("decode {bytes}"))), packets::json(packet), "{bytes}");
            assert_eq!(ask(&format!("again {bytes}")), bytes);
        });
    }
    drop(input);
    assert!(codec.wait().unwrap().success());
}

/// D-19, F-14: TLS with a pinned certificate. Voice stays on TLS unless it is allowed to go in the clear.
#[test]
fn d_19_with_tls_a_pinned_certificate_is_asked_for_and_voice_stays_encrypted() {
    let Some(tests) = mono::tests() else { return };
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (temporary("d19-cert.pem"), temporary("d19-key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let server = Server::with(Protocol::DISSONANCE, |config| config.tls = Some((cert.clone(), key.clone())));
    let refused = |settings: &[&str]| {
        let ann = CSharp::start(tests, "ann", server.address, &[settings, &["no-reconnect"]].concat());
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
    let bob = server.spawn(&format!("{tls} --encrypted-only --name bob join Lobby"), "joined");
    let pin = format!("pin={}", pin.to_lowercase());
    let mut ann = CSharp::start(tests, "ann", server.address, &[&format!("pin-file={}", cert.display())]);
    ann.lines.until("UdpOff: voice stays on TLS");
    ann.tell("join Lobby");
    ann.until_listeners("Lobby", 1);
    say_all(&mut ann, &frames(20));
    ann.tell("text Lobby by TLS");
    bob.until("by TLS");
    // Some more than a hundred packets, so that TLS has records to cut.
    let mut eve = CSharp::start(tests, "eve", server.address, &[&pin, "clear-udp"]);
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
    // And the other way round; and from a server of something else.
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let ann = CSharp::start(tests, "ann", http.local_addr().unwrap(), &["no-reconnect"]);
    http.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    ann.lines.until("news Failed: what answers is no server of this kind");
    ann.quit();
    let plain = Server::start(Protocol::DISSONANCE);
    let ann = CSharp::start(tests, "ann", plain.address, &["tls", "no-reconnect"]);
    ann.lines.until("news Failed: TLS failed: ");
    ann.quit();
}

/// D-19, D-08: voice goes directly between players in C# and in Rust, where both ask for it.
#[test]
fn d_19_voice_goes_directly_between_c_sharp_and_rust() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::start(Protocol::DISSONANCE);
    let direct = TcpUdpSettings {
        direct: DirectSettings { announce: true, ..DirectSettings::default() },
        ..TcpUdpSettings::default()
    };
    let ben = Rust::start("ben", server.address, direct, false);
    let mut ann = CSharp::start(tests, "ann", server.address, &["direct"]);
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

/// D-19: the adapter, on a stub of Dissonance's public API, from its start to its end: joining, voice both ways, a server that goes and
/// comes back, a stop and another start.
#[test]
fn d_19_the_adapter_follows_the_life_cycle_of_dissonance() {
    let Some(tests) = mono::tests() else { return };
    let mut server = Server::start(Protocol::DISSONANCE);
    let address = server.address;
    let mut ann = CSharp::adapter(tests, "ann", address, "", &[]);
    ann.lines.until("voice goes by UDP");
    for round in 0..2 {
        let ben = Rust::start("ben", address, TcpUdpSettings::default(), false);
        ann.until_state("Client joined 1 others, 0 direct");
        ben.lines.until("listeners 2");
        ann.tell("say 0102030405");
        assert!(ben.lines.until("voice ann").0.ends_with(" 0 0102030405"));
        ben.tell(Tell::Say(vec![9, 8, 7]));
        assert_eq!(ann.lines.until("voice").0, "voice ben 090807");
        if round == 0 {
            ann.tell("disconnect");
            ben.lines.until("Left");
            ann.until_state("None no client");
            ann.tell("connect");
            ben.lines.until("listeners 2");
            ann.until_state("Client joined 1 others, 0 direct");
            drop(ben);
            server.stop();
            ann.lines.until("fatal the server has closed the connection");
            ann.lines.until("warning Voxwire: cannot connect to");
            drop(server);
            server = Server::with(Protocol::DISSONANCE, |config| {
                config.of_mut::<voxwire_server::Dissonance>().port = address.port();
            });
            ann.lines.until("voice goes by UDP");
        }
    }
    ann.quit();
}

/// D-19: the adapter gives up where the server does not admit it, and connects once it has the right token.
#[test]
fn d_19_the_adapter_gives_up_where_it_is_not_admitted() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::with(Protocol::DISSONANCE, |config| {
        config.of_mut::<voxwire_server::Dissonance>().token = Some("sesame".into());
    });
    let mut ann = CSharp::adapter(tests, "ann", server.address, "wrong", &[]);
    ann.lines.until("error Voxwire: the server does not admit this client");
    ann.until_state("None no client");
    ann.tell("token sesame");
    ann.tell("connect");
    ann.until_state("Client joined 0 others, 0 direct");
    ann.quit();
}

/// D-19, D-08: adapters reach each other directly; without the path, voice goes by the server.
#[test]
fn d_19_adapters_speak_directly() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::start(Protocol::DISSONANCE);
    let mut ann = CSharp::adapter(tests, "ann", server.address, "", &["direct"]);
    let mut ben = CSharp::adapter(tests, "ben", server.address, "", &["direct"]);
    let eve = Rust::start("eve", server.address, TcpUdpSettings::default(), false);
    for adapter in [&mut ann, &mut ben] {
        adapter.until_state("Client joined 2 others, 1 direct");
    }
    eve.lines.until("listeners 3");
    ann.tell("say 0102");
    assert_eq!(ben.lines.until("voice").0, "voice ann 0102");
    assert!(eve.lines.until("voice ann").0.ends_with(" 0102"));
    ben.quit();
    ann.lines.until("is not reached directly any more");
    ann.until_state("Client joined 1 others, 0 direct");
    ann.tell("say 0304");
    assert!(eve.lines.until("voice ann").0.ends_with(" 0304"));
    ann.quit();
}

/// D-19: for an hour, with `VOXWIRE_SOAK_SECONDS=3600`, or for some seconds: 50 packets a second both ways, and the program does not grow.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test harness leaves no other way in")]
fn d_19_the_client_does_not_grow() {
    let Some(tests) = mono::tests() else { return };
    let seconds: u64 = std::env::var("VOXWIRE_SOAK_SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
    let server = Server::start(Protocol::DISSONANCE);
    let ben = Rust::start("ben", server.address, TcpUdpSettings::default(), true);
    let mut ann = CSharp::start(tests, "ann", server.address, &[]);
    ann.tell("join Lobby");
    ann.until_udp();
    ann.until_listeners("Lobby", 1);
    ben.lines.until("listeners 2");
    ann.tell(&format!("measure {seconds} Lobby"));
    let measured = ann.lines.until_within("allocated", Duration::from_secs(seconds + 30)).0;
    println!("{measured}");
    let after = |word: &str, at: usize| -> u64 {
        measured.split(' ').skip_while(|other| *other != word).nth(at).unwrap().parse().unwrap()
    };
    // What may be allocated are words: of a machine that stands still for seconds, and of UDP that seems blocked then.
    assert!(after("here", 1) + after("network", 1) < 65_536, "{measured}");
    assert!(after("resident_kib", 2) < after("resident_kib", 1) + 4096, "{measured}");
    assert!(after("heard", 1) > 0, "{measured}");
    drop(ben);
    ann.quit();
}

/// D-19: the transport, the sample and the adapter are assemblies of their own in Unity: none uses what another one keeps to itself.
#[test]
fn d_19_the_assemblies_compile_apart() {
    if mono::tests().is_none() {
        return;
    }
    let out = |name: &str| temporary(name).display().to_string();
    let transport = out("Voxwire.Transport.dll");
    mono::compile(&transport, "library", &["Runtime/Transport/*.cs"], &[]);
    mono::compile(&out("console.exe"), "exe", &["Samples~/Console/*.cs"], &[&transport]);
    let stub = out("Dissonance.dll");
    mono::compile(&stub, "library", &["Tests/Stub/*.cs", "Samples~/Console/Packet*.cs"], &[&transport]);
    let adapter = out("Voxwire.Dissonance.dll");
    mono::compile(&adapter, "library", &["Runtime/Dissonance/*.cs"], &[&transport, &stub]);
}

/// D-19: a game that stands still for seconds loses voice, and nothing else: what is reliable waits.
#[test]
fn d_19_a_game_that_stands_still_loses_voice_alone() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::start(Protocol::DISSONANCE);
    let ben = Rust::start("ben", server.address, TcpUdpSettings::default(), false);
    let mut ann = CSharp::start(tests, "ann", server.address, &[]);
    ann.tell("join Lobby");
    ann.until_udp();
    ann.until_listeners("Lobby", 1);
    ben.lines.until("listeners 2");
    ann.tell("halt");
    let tcp = |ann: &mut CSharp| -> u32 {
        ann.tell("counters");
        let counters = ann.lines.until("counters").0;
        counters.split(' ').nth(6).unwrap().parse().unwrap()
    };
    let before = tcp(&mut ann);
    // More than have room. The server lets some 120 a second through, and 120 at once.
    for n in 0..500_u16 {
        ben.tell(Tell::Say(n.to_be_bytes().to_vec()));
        pause();
    }
    ben.tell(Tell::Text("still there?"));
    while tcp(&mut ann) == before {
        pause();
    }
    ann.tell("go");
    let (_, heard) = ann.lines.until("text ben still there?");
    let heard = heard.iter().filter(|line| line.starts_with("voice ben ")).count();
    // Of 256 places voice leaves 32 free; what is reliable may have taken some before.
    assert!((200..500).contains(&heard), "{heard}");
    ann.tell("counters");
    let counters = ann.lines.until("counters").0;
    assert!(!counters.ends_with(" 0"), "{counters}");
    ben.tell(Tell::Say(b"\x99\x98".to_vec()));
    ann.lines.until("voice ben 9998");
    ann.quit();
}

/// D-19, F-66: a program that was stopped for some time has not asked meanwhile: it does not take UDP for blocked.
#[test]
fn d_19_a_program_that_was_stopped_does_not_take_udp_for_blocked() {
    let Some(tests) = mono::tests() else { return };
    let server = Server::start(Protocol::DISSONANCE);
    let ben = Rust::start("ben", server.address, TcpUdpSettings::default(), true);
    let mut ann = CSharp::start(tests, "ann", server.address, &[]);
    ann.tell("join Lobby");
    ann.until_udp();
    ann.until_listeners("Lobby", 1);
    ben.lines.until("listeners 2");
    ann.signal("-STOP");
    std::thread::park_timeout(Duration::from_secs(4));
    ann.signal("-CONT");
    let news = ann.lines.within(Duration::from_secs(2));
    assert!(news.is_empty(), "{news:?}");
    ann.tell("say Lobby 0102");
    ann.lines.until("voice ben 0102");
    ann.tell("counters");
    assert!(ann.lines.until("counters").0.starts_with("counters udp 1 1 tcp "));
    drop(ben);
    ann.quit();
}

/// D-19: all of it by IPv6.
#[test]
fn d_19_voice_goes_by_ipv6() {
    let Some(tests) = mono::tests() else { return };
    let server =
        Server::with(Protocol::DISSONANCE, |config| config.bind = std::net::Ipv6Addr::LOCALHOST.into());
    let ben = Rust::start("ben", server.address, TcpUdpSettings::default(), true);
    let mut ann = CSharp::start(tests, "ann", server.address, &["direct"]);
    ann.tell("join Lobby");
    ann.until_udp();
    ann.until_listeners("Lobby", 1);
    ben.lines.until("listeners 2");
    ann.tell("say Lobby 0102");
    ann.lines.until("voice ben 0102");
    ann.tell("counters");
    assert!(ann.lines.until("counters").0.starts_with("counters udp 1 1 tcp "));
    drop(ben);
    ann.quit();
}

/// D-19, D-16: nothing that a server or another player sends ends the game: what is malformed is ignored, or ends the connection with
/// words.
#[test]
fn d_19_a_hostile_server_ends_its_connection_at_most() {
    let Some(tests) = mono::tests() else { return };
    let server = hostile::Server::bind();
    let ann = CSharp::start(tests, "ann", server.address(), &["direct"]);
    server.misbehave(&ann);
    ann.quit();
}

/// D-19, D-08: what is reliable on a direct path is repeated until its ack comes in, and taken once.
#[test]
fn d_19_what_is_reliable_on_a_direct_path_is_repeated_and_taken_once() {
    let Some(tests) = mono::tests() else { return };
    let server = hostile::Server::bind();
    let ann = CSharp::start(tests, "ann", server.address(), &["direct"]);
    server.lose_reliable(&ann);
    ann.quit();
}

/// D-19, D-18: the console sample, as its README has it: its speech is heard and recorded, every frame, and words can be recognised.
#[test]
fn d_19_speech_of_the_console_sample_is_heard() {
    if mono::tests().is_none() {
        return;
    }
    let server = Server::start(Protocol::DISSONANCE);
    let (console, recording) = (temporary("sample.exe"), temporary("d19-heard.wav"));
    let sources = ["Runtime/Transport/*.cs", "Samples~/Console/*.cs"];
    mono::compile(&console.display().to_string(), "exe", &sources, &[]);
    let bob =
        server.spawn(&format!("join Lobby --name bob --record {}", recording.display()), "voice goes by UDP");
    let mut command = Command::new("mono");
    command.arg(console).arg(server.address.to_string()).args(["ann", "Lobby", "--say"]);
    command.arg(mono::package().join("Samples~/Console/speech.opus-frames")).stdin(Stdio::piped());
    let mut ann = kit::Client::start(command);
    ann.until("has said everything");
    ann.child.stdin.take().unwrap().write_all(b"good night\n").unwrap();
    assert_eq!(bob.until("good night"), "\"ann\" to Lobby: \"good night\"");
    bob.until("\"ann\" has left");
    assert_eq!(ann.end().0, Some(0));
    bob.signal("-INT");
    let (code, out, error) = bob.end();
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("heard \"ann\": 250 frames, 0 lost"), "{out}");
    // The sample is the first five seconds of this.
    let mut speech =
        voxwire_audio::resample(&voxwire_audio::read(voxwire_audio::SPEECH).unwrap().clip.mono(), 48_000)
            .unwrap();
    speech.samples.truncate(250 * 960);
    let likeness = voxwire_audio::compare(&speech, &voxwire_audio::load(&recording).unwrap().clip).unwrap();
    assert!(likeness.present > 0.5, "{likeness:?}");
}

/// D-19: Unity takes a file of a package only with its `.meta`, and every one needs a number of its own.
#[test]
fn d_19_every_file_of_the_package_has_its_meta() {
    let (mut folders, mut numbers) = (vec![mono::package()], std::collections::BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            // Unity does not look at these.
            if name.ends_with('~') || name.starts_with('.') {
                continue;
            }
            if let Some(of) = name.strip_suffix(".meta") {
                assert!(path.with_file_name(of).exists(), "{}: of what?", path.display());
                continue;
            }
            let meta = std::fs::read_to_string(path.with_file_name(format!("{name}.meta")));
            let meta = meta.unwrap_or_else(|_| panic!("{} has no .meta", path.display()));
            let guid = meta.lines().find_map(|line| line.strip_prefix("guid: ")).unwrap();
            assert!(guid.len() == 32 && guid.bytes().all(|byte| byte.is_ascii_hexdigit()), "{guid}");
            assert!(numbers.insert(guid.to_owned()), "{}: its number is there twice", path.display());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(numbers.len() > 10, "{numbers:?}");
}
