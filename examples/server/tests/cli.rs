//! C-07: the program `voxwire-server`, run as its users and their scripts do.

mod kit;

use kit::{Server, command, fails, file, resident};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

const ANY: [&str; 6] = ["--only", "voicelink", "--voicelink-port", "0", "--http", "off"];

/// A registration by hand, and the server's answer.
fn register(stream: &mut TcpStream, optional: &[u8]) -> (u16, Vec<u8>) {
    let mut packet = vec![0, 0, 0, 0, 0, 0, 0, 0, 0xbb, 0x80, 0, 1, 2, 0, 0, 3, 0xc0, 0, 0];
    packet.extend(optional);
    packet[3] = packet.len() as u8;
    stream.write_all(&packet).unwrap();
    read(stream)
}

fn read(stream: &mut TcpStream) -> (u16, Vec<u8>) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; u32::from_be_bytes(head[..4].try_into().unwrap()) as usize - 6];
    stream.read_exact(&mut body).unwrap();
    (u16::from_be_bytes([head[4], head[5]]), body)
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).unwrap()
}

fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn c_07_ready_lines_then_a_goodbye_and_exit_0_on_either_signal() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Server::start(&ANY);
        assert_eq!(server.lines.len(), 2, "{:?}", server.lines);
        let mut client = connect(server.address("voicelink tcp"));
        assert_eq!(register(&mut client, b"bob"), (4, vec![]));
        server.signal(signal);
        assert_eq!(read(&mut client), (5, b"server is shutting down".to_vec()));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn c_07_help_and_version() {
    let help = String::from_utf8(command(&["--help"]).output().unwrap().stdout).unwrap();
    for flag in [
        "--only",
        "--config",
        "--bind",
        "--data",
        "--voicelink-port",
        "--opcode-port",
        "--opcode-relay",
        "--msgpack-port",
        "--dissonance-port",
        "--dissonance-quic-port",
        "--no-quic",
        "--syfala-port",
        "--syfala-sound",
        "--http",
        "--tls-cert",
        "--tls-key",
        "--allow-plain",
        "--encrypted-only",
        "--profile",
        "--log",
        "--log-format",
        "--drain-seconds",
        "--voicelink-idle-seconds",
    ] {
        assert!(help.contains(flag), "{flag} is not in --help");
    }
    let version = String::from_utf8(command(&["--version"]).output().unwrap().stdout).unwrap();
    assert_eq!(version.trim(), concat!("voxwire-server ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn c_07_usage_errors_exit_with_2_and_say_why() {
    let unknown = file("unknown.toml", "bindd = \"127.0.0.1\"");
    let nameless = file("nameless.toml", "[voicelink.names]\n\"127.0.0.2\" = \"\"");
    let half = file("half.toml", "tls-cert = \"cert.pem\"");
    let secrets = file("secrets.toml", "[voicelink.secrets]\nbob = \"hush\"");
    let streams = file("streams.toml", "[syfala]\ninputs = 0\noutputs = 0");
    let network = file("network.toml", "[syfala]\nnetworks = [\"10.0.0.0/40\"]");
    let sample_type = file("sample-type.toml", "[syfala]\nsample-type = \"X1\"");
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    for (arguments, expected) in [
        (vec!["--only".into(), "smoke-signals".into()], "invalid value 'smoke-signals'"),
        (vec!["--voicelink-port".into(), "x".into()], "invalid value 'x'"),
        (vec!["--tls-cert".into(), "x".into()], "--tls-key"),
        (vec!["--profile".into(), "fast".into()], "invalid value 'fast'"),
        (vec!["--log".into(), "loud".into()], "off, error, warn, info, debug or trace expected"),
        (vec!["--http".into(), "80".into()], "neither ADDR:PORT nor `off`"),
        (vec!["--config".into(), "no-such.toml".into()], "cannot read no-such.toml"),
        (vec!["--config".into(), path(&unknown)], "unknown field `bindd`"),
        (vec!["--config".into(), path(&nameless)], "the name \"\" will not do"),
        (vec!["--config".into(), path(&half)], "belong together"),
        (
            vec!["--config".into(), path(&secrets), "--bind".into(), "0.0.0.0".into()],
            "in the clear on 0.0.0.0",
        ),
        (vec!["--config".into(), path(&streams)], "0 inputs and 0 outputs: 1 to 64 expected"),
        (vec!["--config".into(), path(&network)], "10.0.0.0/40"),
        (vec!["--config".into(), path(&sample_type)], "`X1` is no sample type"),
        (
            vec!["--only".into(), "syfala".into(), "--syfala-sound".into(), "no-such.wav".into()],
            "no-such.wav",
        ),
        (vec!["--tls-cert".into(), path(&half), "--tls-key".into(), path(&half)], "half.toml"),
    ] {
        let (code, error) = fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(code == Some(2) && error.contains(expected), "{arguments:?}: {code:?} {error}");
    }
}

#[test]
fn c_07_a_port_in_use_exits_with_1_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, error) = fails(&["--only", "voicelink", "--voicelink-port", &port, "--http", "off"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains(&format!("cannot listen on 127.0.0.1:{port} for voicelink: Address already in use")),
        "{error}"
    );
    // The status page is asked for in so many words, or it is done without.
    let http = format!("127.0.0.1:{port}");
    let (code, error) = fails(&["--only", "voicelink", "--voicelink-port", "0", "--http", &http]);
    assert!(code == Some(1) && error.contains("for http"), "{error}");
}

#[test]
fn c_07_bind_serves_ipv6_and_allow_plain_lets_secrets_out() {
    let secrets = file("plain.toml", "[voicelink.secrets]\nbob = \"hush\"\n");
    let config = ["--config", secrets.to_str().unwrap()];
    let server = Server::start(&[&ANY[..], &["--bind", "::1"]].concat());
    assert_eq!(register(&mut connect(server.address("voicelink tcp")), b"bob"), (4, vec![]));
    let server = Server::start(&[&ANY[..], &config, &["--bind", "0.0.0.0", "--allow-plain"]].concat());
    let address = SocketAddr::from(([127, 0, 0, 1], server.address("voicelink tcp").port()));
    assert_eq!(register(&mut connect(address), b"bob\0wrong"), (5, b"wrong secret".to_vec()));
    assert_eq!(register(&mut connect(address), b"bob"), (5, b"this name needs a secret".to_vec()));
    assert_eq!(register(&mut connect(address), b"bob\0hush"), (4, vec![]));
    assert_eq!(register(&mut connect(address), b"alice"), (4, vec![]));
}

#[test]
fn v_13_names_blocks_and_other_settings_come_from_the_file() {
    let config = file(
        "full.toml",
        r#"
        only = ["voicelink"]
        bind = "127.0.0.1"
        data = "somewhere"
        http = "127.0.0.1:0"
        allow-plain = false
        profile = "original"
        drain-seconds = 1
        connections = 5
        per-address = 5
        [voicelink]
        port = 0
        answer-seconds = 1
        idle-seconds = 60
        idle-call-seconds = 60
        hide-unknown = true
        forward-callee-name = true
        secrets-only = true
        [voicelink.names]
        "127.0.0.2" = "door"
        "127.0.0.3" = { name = "gate", byte-order = "le" }
        [voicelink.secrets]
        alice = "a"
        eve = "e"
        [voicelink.block]
        door = ["eve"]
        "#,
    );
    let server = Server::start(&["--config", config.to_str().unwrap()]);
    let address = server.address("voicelink tcp");
    let (mut door, mut gate) = (bound("127.0.0.2", address), bound("127.0.0.3", address));
    let (mut alice, mut eve) = (connect(address), connect(address));
    assert_eq!(register(&mut alice, b"alice\0a"), (4, vec![]));
    assert_eq!(register(&mut eve, b"door"), (5, b"this name belongs to another address".to_vec()));
    assert_eq!(register(&mut eve, b"mallory"), (5, b"unknown name".to_vec()));
    assert_eq!(register(&mut eve, b"eve\0e"), (4, vec![]));
    let call = |stream: &mut TcpStream, user: &[u8]| {
        let mut packet =
            vec![0, 0, 0, 0, 0, 0, 0, 0, 0xbb, 0x80, 0, 1, 2, 0, 0, 3, 0xc0, 0, user.len() as u8];
        packet.extend(user);
        packet[3] = packet.len() as u8;
        stream.write_all(&packet).unwrap();
    };
    call(&mut eve, b"door");
    assert_eq!(read(&mut eve), (5, b"busy".to_vec()));
    call(&mut eve, b"nobody");
    assert_eq!(read(&mut eve), (5, b"busy".to_vec()));
    // The door rings, under the callee's own name as the file asks; after a second nobody has answered.
    call(&mut alice, b"door");
    let (kind, body) = read(&mut door);
    assert_eq!((kind, &body[13..]), (0, &b"door"[..]));
    assert_eq!(read(&mut alice), (5, b"no answer".to_vec()));
    // The gate has not said anything either, and is known for its byte order.
    call(&mut alice, b"gate");
    let mut head = [0; 6];
    gate.read_exact(&mut head).unwrap();
    assert_eq!(head, [23, 0, 0, 0, 0, 0]);
    let metrics = http(server.address("http tcp"), "/metrics");
    assert!(
        metrics.contains("voxwire_connections{protocol=\"voicelink\"} 4")
            && metrics.contains("voxwire_calls_offered_total{protocol=\"voicelink\"} 2"),
        "{metrics}"
    );
    // Five connections fit, loopback or not: for the sixth the one goes that has no name.
    let mut fifth = connect(address);
    let _sixth = connect(address);
    assert!(matches!(fifth.read(&mut [0]), Ok(0) | Err(_)));
}

/// A connection from a given loopback address.
fn bound(from: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    // The server gives the name as soon as it has accepted.
    std::thread::park_timeout(Duration::from_millis(100));
    socket.into()
}

#[test]
fn c_07_the_status_page_metrics_and_health() {
    let server = Server::start(&["--only", "voicelink", "--voicelink-port", "0", "--http", "127.0.0.1:0"]);
    let (status, voicelink) = (server.address("http tcp"), server.address("voicelink tcp"));
    let mut bob = connect(voicelink);
    register(&mut bob, b"<script>bob");
    let page = http(status, "/");
    // What it shows comes by `/events`: see `page.rs`.
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<title>voxwire-server"), "{page}");
    let metrics = http(status, "/metrics");
    assert!(
        metrics.contains("application/openmetrics-text")
            && metrics.contains("voxwire_sessions{protocol=\"voicelink\"} 1"),
        "{metrics}"
    );
    assert!(metrics.trim_end().ends_with("# EOF"));
    assert!(http(status, "/healthz").ends_with("ok\n"));
    assert!(http(status, "/nothing").starts_with("HTTP/1.1 404"));
}

#[test]
fn c_07_tls_from_pem_files() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (cert, key) =
        (file("cert.pem", &certified.cert.pem()), file("key.pem", &certified.signing_key.serialize_pem()));
    let tls = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let server = Server::start(&[&ANY[..], &tls].concat());
    // A connection in the clear is closed. (The client's tests speak TLS.)
    let mut plain = connect(server.address("voicelink tls"));
    plain.write_all(b"\0\0\0\x06\0\x04").unwrap();
    let mut rest = vec![];
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(&[0]), "{rest:?}");
}

#[test]
fn c_07_a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&ANY);
    let mut stuck = connect(server.address("voicelink tcp"));
    register(&mut stuck, b"stuck");
    server.signal("-TERM");
    std::thread::park_timeout(Duration::from_millis(300));
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn c_07_dissonance_is_served_by_tcp_and_udp_and_says_goodbye() {
    let arguments = ["--only", "dissonance", "--dissonance-port", "0", "--http", "127.0.0.1:0", "--no-quic"];
    let mut server = Server::start(&arguments);
    let (tcp, udp) = (server.address("dissonance tcp"), server.address("dissonance udp"));
    assert_eq!(tcp, udp);
    let mut client = TcpStream::connect(tcp).unwrap();
    client.write_all(b"VOXL\x01\x01\x00\x00").unwrap();
    let mut hello = [0; 32];
    client.read_exact(&mut hello).unwrap();
    assert_eq!((&hello[..6], u16::from_be_bytes([hello[6], hello[7]])), (&b"VOXL\x01\x00"[..], udp.port()));
    // A HandshakeRequest in a unit; its answer names a session.
    let request = b"\x8b\xc7\x04\x01\x00\x00\x03\xc0\x00\x00\xbb\x80\x00\x06Alice";
    client.write_all(&[&[0, 20, 0][..], request].concat()).unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer[2..], [0, 0x8b, 0xc7, 5]);
    let mut page = String::new();
    let mut http = TcpStream::connect(server.address("http tcp")).unwrap();
    http.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    http.read_to_string(&mut page).unwrap();
    assert!(page.contains("voxwire_sessions{protocol=\"dissonance\"} 1"), "{page}");
    server.signal("-TERM");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn c_07_dissonance_is_served_by_quic_with_a_certificate_that_is_kept() {
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quic-data");
    let _ = std::fs::remove_dir_all(&data);
    let ports = ["--dissonance-port", "0", "--dissonance-quic-port", "0", "--http", "off"];
    let arguments = [&["--only", "dissonance", "--data", data.to_str().unwrap()][..], &ports].concat();
    let mut made = Vec::new();
    for _ in 0..2 {
        let server = Server::start(&arguments);
        assert_ne!(server.address("dissonance quic").port(), 0);
        made.push(std::fs::read(data.join("quic-cert.pem")).unwrap());
    }
    assert_eq!(made[0], made[1]);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(data.join("quic-key.pem")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    // A certificate that cannot be kept is not made anew at each start: the server says so.
    let nowhere = [&["--only", "dissonance", "--data", "/dev/null/data"][..], &ports].concat();
    let (code, error) = fails(&nowhere);
    assert!(code == Some(1) && error.contains("cannot write /dev/null/data"), "{error}");
}

/// An opcode packet: strings and a port behind each other.
fn opcode(number: u16, strings: &[&[u8]], port: Option<u16>) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    for string in strings {
        body.extend((string.len() as u64).to_le_bytes());
        body.extend(*string);
    }
    body.extend(port.into_iter().flat_map(u16::to_le_bytes));
    [&(body.len() as u64).to_le_bytes()[..], &body].concat()
}

/// The next packet, from its opcode on.
fn next_opcode(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut length = [0; 8];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u64::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    body
}

fn log_in(address: SocketAddr, name: &str) -> TcpStream {
    let mut stream = connect(address);
    assert_eq!(next_opcode(&mut stream), [1, 0]);
    stream.write_all(&opcode(2, &[name.as_bytes()], None)).unwrap();
    assert_eq!(next_opcode(&mut stream), [3, 0], "{name}");
    stream
}

#[test]
fn c_07_opcode_is_served_counted_and_ends() {
    let ports = ["--only", "opcode", "--opcode-port", "0", "--http", "127.0.0.1:0"];
    let mut server = Server::start(&ports);
    let address = server.address("opcode tcp");
    let mut alice = log_in(address, "alice");
    let _bob = log_in(address, "bob");
    assert!(next_opcode(&mut alice).ends_with(b"echo"));
    assert_eq!(
        next_opcode(&mut alice),
        opcode(5, &[], None)[8..]
            .iter()
            .copied()
            .chain(1_u64.to_le_bytes())
            .chain(opcode(0, &[b"bob"], None)[10..].iter().copied())
            .collect::<Vec<_>>()
    );
    let page = http(server.address("http tcp"), "/metrics");
    assert!(page.contains("voxwire_sessions{protocol=\"opcode\"} 2"), "{page}");
    server.signal("-INT");
    // Closing is the protocol's goodbye.
    assert_eq!(alice.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.wait().code(), Some(0));
    for (flags, expected) in [
        ("[opcode]\nrelay = \"0.0.0.0\"", "the address by which clients reach the server"),
        ("[opcode]\nrelay-ports = [5, 4]", "the first, then the last"),
        ("[opcode.secrets]\n\"a:b\" = \"x\"", "without a colon"),
        ("bind = \"0.0.0.0\"\n[opcode.secrets]\nbob = \"x\"", "in the clear"),
    ] {
        let path = file("opcode-bad.toml", flags);
        let (code, error) = fails(&[&["--config", path.to_str().unwrap()][..], &ports].concat());
        assert!(code == Some(2) && error.contains(expected), "{error}");
    }
}

#[test]
fn o_11_a_call_goes_on_while_others_attack_and_memory_stays_flat() {
    let arguments =
        ["--only", "opcode", "--opcode-port", "0", "--http", "off", "--opcode-relay", "127.0.0.1"];
    let server = Server::start(&arguments);
    let address = server.address("opcode tcp");
    // An honest call, carried by the server: bob dials where he is told, the server dials alice.
    let (mut alice, mut bob) = (log_in(address, "alice"), log_in(address, "bob"));
    next_opcode(&mut bob);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    alice.write_all(&opcode(6, &[b"bob", b""], Some(port))).unwrap();
    let call = next_opcode(&mut bob);
    assert_eq!(call[..2], [6, 0]);
    let port = u16::from_le_bytes([call[call.len() - 2], call[call.len() - 1]]);
    let mut callee = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut caller, _) = listener.accept().unwrap();
    caller.write_all(&opcode(11, &[], None)).unwrap();
    assert_eq!(next_opcode(&mut callee), [11, 0]);
    let before = resident(&server.child);
    let talking = std::thread::spawn(move || {
        for n in 0..250_u8 {
            caller.write_all(&opcode(7, &[&[n; 200]], None)).unwrap();
            assert_eq!(next_opcode(&mut callee), opcode(7, &[&[n; 200]], None)[8..], "packet {n}");
            std::thread::park_timeout(Duration::from_millis(4));
        }
    });
    let terabyte = [&(1_u64 << 40).to_le_bytes()[..], &[2, 0], &[0; 5000]].concat();
    let names = [&10_u64.to_le_bytes()[..], &[5, 0], &u64::MAX.to_le_bytes()].concat();
    let attacks = [
        terabyte,
        vec![0xff; 64],
        vec![0; 8],
        opcode(0, &[], None),
        opcode(12, &[], None),
        opcode(0xffff, &[], None),
        opcode(7, &[b"abc"], None),
        names,
        [&opcode(2, &[b"x"], None)[..10], &50_u64.to_le_bytes(), b"ab"].concat(),
    ];
    for _ in 0..20 {
        for attack in &attacks {
            let mut stream = connect(address);
            assert_eq!(next_opcode(&mut stream), [1, 0]);
            stream.write_all(attack).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            // Closed, and nothing said. (A reset where the server had not read it all.)
            assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "{attack:02x?}");
        }
    }
    // Segments do not matter: byte by byte, and three packets in one.
    let mut slow = connect(address);
    slow.set_nodelay(true).unwrap();
    next_opcode(&mut slow);
    for byte in opcode(2, &[b"slow"], None) {
        slow.write_all(&[byte]).unwrap();
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert_eq!(next_opcode(&mut slow), [3, 0]);
    let three =
        [opcode(2, &[b"fast"], None), opcode(6, &[b"nobody", b""], Some(5000)), opcode(2, &[b"fast"], None)];
    let mut fast = connect(address);
    next_opcode(&mut fast);
    fast.write_all(&three.concat()).unwrap();
    let answers: Vec<u16> = std::iter::from_fn(|| {
        let packet = next_opcode(&mut fast);
        Some(u16::from_le_bytes([packet[0], packet[1]]))
    })
    .filter(|opcode| *opcode != 5)
    .take(3)
    .collect();
    assert_eq!(answers, [3, 8, 4]);
    talking.join().unwrap();
    let grown = resident(&server.child).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more");
}

/// Sends a datagram and waits for one that begins like that; heartbeats may come first.
fn ask(socket: &UdpSocket, message: &[u8], first: u8) -> Vec<u8> {
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send(message).unwrap();
    let mut answer = [0; 5000];
    loop {
        let len = socket.recv(&mut answer).unwrap();
        if answer[0] == first {
            return answer[..len].to_vec();
        }
    }
}

#[test]
fn c_07_s_05_syfala_is_a_device_that_answers_counts_and_says_goodbye() {
    let config = file(
        "syfala.toml",
        r#"
        only = ["syfala"]
        http = "127.0.0.1:0"
        [syfala]
        port = 0
        inputs = 2
        outputs = 1
        rate = 44100
        channels = 1
        buffer = 0
        sample-type = "i16"
        sound = "echo"
        latency-ms = 5
        clients = 1
        pin = "127.0.0.3"
        announce-ms = 60000
        "#,
    );
    let mut server = Server::start(&["--config", config.to_str().unwrap()]);
    let address = server.address("syfala udp");
    let from = |host: &str| {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.connect(address).unwrap();
        socket
    };
    // Two inputs, one output: 44100 Hz, one channel, no hint, I16.
    let format = [&44_100_f64.to_le_bytes()[..], &[1, 0, 6]].concat();
    let connect = [&[0, 2][..], &format, &format, &[1], &format].concat();
    let pinned = from("127.0.0.3");
    assert_eq!(ask(&pinned, &[0], 0), connect);
    // Nobody else is answered.
    let other = from("127.0.0.4");
    other.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    other.send(&[0]).unwrap();
    assert!(other.recv(&mut [0; 100]).is_err());
    // A second there is no room for: neither for its answer nor for another question.
    let second = from("127.0.0.3");
    assert_eq!(ask(&second, &[0], 0), connect);
    pinned.send(&[1]).unwrap();
    assert_eq!(ask(&pinned, &[4], 3), [3]);
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for message in [1, 4, 0] {
        second.send(&[message]).unwrap();
    }
    assert!(second.recv(&mut [0; 100]).is_err());
    // What is said comes back on the first input; the second is silent.
    let sound: Vec<u8> = (0..882_u32).flat_map(|n| (n as u16 + 1).to_le_bytes()).collect();
    // With silence behind it: what breaks off is faded.
    let audio =
        [&[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &3528_u32.to_le_bytes(), &sound, &[0; 1764]].concat();
    pinned.send(&audio).unwrap();
    let (mut heard, mut silent) = (Vec::new(), Vec::new());
    let came = |heard: &[u8]| heard.windows(sound.len()).any(|window| window == sound);
    while !came(&heard) && heard.len() < 88_200 {
        let message = ask(&pinned, &[8], 7);
        if message[1] == 0 { &mut heard } else { &mut silent }.extend_from_slice(&message[17..]);
    }
    assert!(came(&heard), "bit for bit, within a second");
    assert!(!silent.is_empty() && silent.iter().all(|byte| *byte == 0));
    let metrics = http(server.address("http tcp"), "/metrics");
    for line in [
        "voxwire_connections{protocol=\"syfala\"} 1",
        "voxwire_sessions{protocol=\"syfala\"} 1",
        "voxwire_answers_total{protocol=\"syfala\"} 2",
        "voxwire_refusals_total{protocol=\"syfala\",rule=\"network\"} 1",
        "voxwire_voice_packets_total{protocol=\"syfala\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    server.signal("-TERM");
    // Nothing more is sent: the server may be gone by then.
    let mut goodbye = [0; 5000];
    while pinned.recv(&mut goodbye).map(|len| goodbye[..len] != [8]).unwrap() {}
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn c_07_s_05_a_broadcast_on_loopback_reaches_the_device_and_its_port_is_announced() {
    let flags = ["--only", "syfala", "--syfala-port", "0", "--http", "off", "--syfala-sound", "mix"];
    let server = Server::start(&flags);
    let address = server.address("syfala udp");
    assert!(address.ip().is_loopback());
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(&[0], ("127.255.255.255", address.port())).unwrap();
    let (len, from) = socket.recv_from(&mut [0; 100]).unwrap();
    assert_eq!((len, from), (3 + 22, address));
    // A second one has no room at that port.
    let port = address.port().to_string();
    let (code, error) = fails(&["--only", "syfala", "--syfala-port", &port, "--http", "off"]);
    assert!(code == Some(1) && error.contains(&format!("cannot listen on {address} for syfala")), "{error}");
}

/// F-67: colours are for terminals, and for readers that want them.
#[test]
fn f_67_a_log_on_a_terminal_has_colours_unless_they_are_unwanted() {
    let coloured = |set: &[(&str, &str)]| {
        let terminal = nix::pty::openpty(None, None).unwrap();
        // Exposed, opcode has something to warn of.
        let arguments = ["--only", "opcode", "--opcode-port", "0", "--http", "off", "--bind", "0.0.0.0"];
        let mut command = command(&arguments);
        command.env("TERM", "xterm").env_remove("NO_COLOR").envs(set.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(terminal.slave).spawn().unwrap();
        drop(command);
        let (mut reader, mut seen) = (File::from(terminal.master), Vec::new());
        while !seen.contains(&b'\n') {
            let mut bytes = [0; 4096];
            let n = reader.read(&mut bytes).unwrap();
            seen.extend_from_slice(&bytes[..n]);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        seen.contains(&0x1b)
    };
    assert!(coloured(&[]));
    assert!(!coloured(&[("NO_COLOR", "1")]));
    assert!(!coloured(&[("TERM", "dumb")]));
}

#[test]
fn c_07_settings_are_printed_and_checked_without_serving() {
    let printed = command(&["--print-default-config"]).output().unwrap();
    assert_eq!(printed.status.code(), Some(0));
    let path = file("printed.toml", &String::from_utf8(printed.stdout).unwrap());
    let checked = command(&["--config", path.to_str().unwrap(), "--check-config"]).output().unwrap();
    assert_eq!((checked.status.code(), &checked.stdout[..]), (Some(0), &b"the settings are right\n"[..]));
    let wrong = file("wrong.toml", "bind = \"127.0.0.1\"\nportt = 1\n");
    let (code, errors) = fails(&["--config", wrong.to_str().unwrap(), "--check-config"]);
    assert!(code == Some(2) && errors.contains("wrong.toml, line 2: unknown field `portt`"), "{errors}");
    let missing = ["--tls-cert", "no-such.pem", "--tls-key", "no-such.pem", "--check-config"];
    let (code, errors) = fails(&missing);
    assert!(code == Some(2) && errors.contains("no-such.pem"), "{errors}");
}

/// F-68
#[test]
fn f_68_the_address_to_listen_on_may_be_a_name() {
    let server = Server::start(&[&ANY[..], &["--bind", "localhost"]].concat());
    assert!(server.address("voicelink tcp").ip().is_loopback());
    let path = file("bind.toml", "bind = \"localhost\"\n");
    let server = Server::start(&[&ANY[..], &["--config", path.to_str().unwrap()]].concat());
    assert!(server.address("voicelink tcp").ip().is_loopback());
    let (code, errors) = fails(&["--bind", "no-such-name.invalid"]);
    assert!(code == Some(2) && errors.contains("neither an address nor a name"), "{errors}");
}
