//! C-07: every setting has an effect that is seen here, in `cli.rs`, in `msgpack.rs`, in `metrics.rs` or among the attacks.

#![allow(clippy::disallowed_methods)]

mod kit;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use kit::raw::{
    connect, connect_from, handshake, join, log_in, metrics, next_opcode, next_packet, opcode_packet, packet,
    pause, registered, sample, unit,
};
use kit::user::{User, runtime};
use kit::{Server, command, file, folder};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;
use voxwire_dissonance::{DeltaClientState, Packet, room_id};
use voxwire_msgpack::{ClientCommand, Dialect};

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

/// The callee's view of a call: the host that is handed on, and the port.
fn called(address: SocketAddr, host: &str) -> (String, u16, [TcpStream; 2], TcpListener) {
    let mut alice = log_in(connect(address), "alice");
    let mut bob = log_in(connect(address), "bob");
    next_opcode(&mut bob);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    alice.write_all(&opcode_packet(6, &[b"bob", host.as_bytes()], Some(port))).unwrap();
    let call = next_opcode(&mut bob);
    assert_eq!(call[..2], [6, 0]);
    let name = u64::from_le_bytes(call[2..10].try_into().unwrap()) as usize;
    let host = &call[10 + name + 8..call.len() - 2];
    let port = u16::from_le_bytes(call[call.len() - 2..].try_into().unwrap());
    (String::from_utf8(host.to_vec()).unwrap(), port, [alice, bob], listener)
}

#[test]
fn f_71_opcode_trust_host_hands_on_what_the_caller_says() {
    for (trust, expected) in [(true, "192.0.2.9"), (false, "127.0.0.1")] {
        let server = serve("trust", &format!("only = [\"opcode\"]\n[opcode]\ntrust-host = {trust}\n"));
        assert_eq!(called(server.address("opcode tcp"), "192.0.2.9").0, expected);
    }
}

#[test]
fn f_71_opcode_secrets_only_lets_no_other_names_in() {
    let settings = "only = [\"opcode\"]\n[opcode]\nsecrets-only = true\n[opcode.secrets]\nbob = \"hush\"\n";
    let server = serve("secrets", settings);
    let address = server.address("opcode tcp");
    for (name, answer) in [("mallory", 4), ("bob", 4), ("bob:wrong", 4), ("bob:hush", 3)] {
        let mut stream = connect(address);
        assert_eq!(next_opcode(&mut stream), [1, 0]);
        stream.write_all(&opcode_packet(2, &[name.as_bytes()], None)).unwrap();
        assert_eq!(next_opcode(&mut stream)[0], answer, "{name}");
    }
}

/// A name with a slip in it is not taken with its secret as a part of it, for every client to see.
#[test]
fn threat_a_slip_in_an_opcode_name_shows_nobody_the_secret() {
    let server = serve("slip", "only = [\"opcode\"]\n[opcode.secrets]\nann = \"hush\"\n");
    let address = server.address("opcode tcp");
    // Nobody leaves before the end, as others are told of that.
    let _all = [("anm:hush", 4), (":hush", 4), ("bob", 3), ("ann:hush", 3)].map(|(name, answer)| {
        let mut stream = connect(address);
        assert_eq!(next_opcode(&mut stream), [1, 0]);
        stream.write_all(&opcode_packet(2, &[name.as_bytes()], None)).unwrap();
        assert_eq!(next_opcode(&mut stream)[0], answer, "{name}");
        stream
    });
}

#[test]
fn f_71_opcode_relay_ports_are_the_ones_that_calls_use() {
    // Two that are free a moment before.
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = (0..100)
        .map(|_| free())
        .find(|port| port.checked_add(1).is_some_and(|next| TcpListener::bind(("127.0.0.1", next)).is_ok()));
    let first = first.expect("two ports beside each other");
    let last = first + 1;
    let settings =
        format!("only = [\"opcode\"]\n[opcode]\nrelay = \"127.0.0.1\"\nrelay-ports = [{first}, {last}]\n");
    let server = serve("ports", &settings);
    let (host, port, ..) = called(server.address("opcode tcp"), "");
    assert_eq!(host, "127.0.0.1");
    assert!((first..=last).contains(&port), "{port} is not in {first} to {last}");
}

#[test]
fn f_71_drain_seconds_is_how_long_the_end_waits_for_clients() {
    let took = |seconds: u64| {
        let mut server = serve("drain", &format!("only = [\"voicelink\"]\ndrain-seconds = {seconds}\n"));
        // Takes its goodbye, and stays.
        let stuck = registered(connect(server.address("voicelink tcp")), "stuck");
        server.signal("-TERM");
        let start = Instant::now();
        assert_eq!(server.wait().code(), Some(0));
        drop(stuck);
        start.elapsed()
    };
    let (short, long) = (took(1), took(10));
    assert!(short < Duration::from_millis(1300), "{short:?}");
    assert!(long > short + Duration::from_millis(500), "{long:?}, and {short:?} of 1 s");
    let zero = file("settings-drain-zero.toml", "drain-seconds = 0\n");
    let (code, error) = kit::fails(&["--config", zero.to_str().unwrap()]);
    assert!(code == Some(2) && error.contains("drain-seconds 0: 1 to 3600 expected"), "{error}");
}

/// A client that its server has closed for a broken frame, with a packet before it that the client does not read.
fn closed_with_a_packet(seconds: u64) -> (Server, TcpStream) {
    let server = serve("close", &format!("only = [\"voicelink\"]\nclose-seconds = {seconds}\n"));
    let address = server.address("voicelink tcp");
    let (mut alice, mut bob) = (registered(connect(address), "alice"), registered(connect(address), "bob"));
    alice.write_all(&handshake("bob")).unwrap();
    assert_eq!(next_packet(&mut bob), 0);
    bob.write_all(&packet(4, b"")).unwrap();
    assert_eq!(next_packet(&mut alice), 4);
    // More than the system's buffers hold.
    alice.write_all(&packet(6, &[7; 900_000])).unwrap();
    assert_eq!(bob.peek(&mut [0]).unwrap(), 1);
    bob.write_all(&[0; 4]).unwrap();
    // It is looked once a second which deadlines are over.
    pause(3500);
    (server, bob)
}

#[test]
fn f_71_close_seconds_is_how_long_a_closed_client_has_for_what_is_queued() {
    let zero = file("settings-close-zero.toml", "close-seconds = 0\n");
    let (code, error) = kit::fails(&["--config", zero.to_str().unwrap()]);
    assert!(code == Some(2) && error.contains("close-seconds 0: 1 to 3600 expected"), "{error}");
    let read = |seconds| {
        let (_server, mut bob) = closed_with_a_packet(seconds);
        bob.read_to_end(&mut Vec::new())
    };
    assert_eq!(read(1).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(read(600).unwrap() > 900_000);
}

/// F-43: with less memory fewer clients fit on QUIC, of which each counts 256 KiB; and what nothing fits in is refused.
#[test]
fn f_43_memory_is_what_all_protocols_share() {
    use voxwire_dissonance::{Client, ClientSettings, SessionState};
    use voxwire_transport::{Connection, ConnectionSettings, Remote, tls};
    let (path, data) = (file("settings-memory.toml", "memory = 320\n"), folder("settings-memory"));
    let own = ["--config", path.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let server = Server::start(&[&own[..], &FREE].concat());
    let address = server.address("dissonance quic").to_string();
    let certificate = data.join("quic-cert.pem");
    let joined = runtime().block_on(async {
        let config = tls::client_config(&certificate).unwrap();
        let mut players = Vec::new();
        while players.len() < 200 {
            let client = Client::new(&format!("player {}", players.len()), ClientSettings::DEFAULT).unwrap();
            let host = "localhost".try_into().unwrap();
            let settings = ConnectionSettings::DEFAULT;
            let connected =
                Connection::connect(Remote::quic(&address, host, config.clone()), client, settings);
            let Ok(mut player) = connected.await else { break };
            while player.session().state() != SessionState::Connected {
                player.next().await.expect("the connection goes on");
            }
            players.push(player);
        }
        players.len()
    });
    assert!((60..=99).contains(&joined), "{joined} have joined");
    for (name, memory) in [("less", 319), ("more", 1_048_577)] {
        let path = file(&format!("settings-memory-{name}.toml"), &format!("memory = {memory}\n"));
        let (code, error) = kit::fails(&["--config", path.to_str().unwrap()]);
        let expected = format!("memory {memory}: 320 to 1048576 expected");
        assert!(code == Some(2) && error.contains(&expected), "{error}");
    }
}

/// Whether the server ends the connection within two seconds.
fn closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn f_71_voicelink_idle_times() {
    let settings = "only = [\"voicelink\"]\n[voicelink]\nidle-seconds = 1\nidle-call-seconds = 1\n";
    let server = serve("idle", settings);
    let address = server.address("voicelink tcp");
    let mut silent = connect(address);
    // A call in which nobody says anything; names are not idle.
    let (mut alice, mut bob) = (registered(connect(address), "alice"), registered(connect(address), "bob"));
    alice.write_all(&handshake("bob")).unwrap();
    assert_eq!(next_packet(&mut bob), 0);
    bob.write_all(&packet(4, b"")).unwrap();
    assert_eq!(next_packet(&mut alice), 4);
    assert_eq!(next_packet(&mut alice), 5, "the call is over");
    assert_eq!(next_packet(&mut bob), 5);
    assert!(closed(&mut silent));
    alice.write_all(&handshake("nobody")).unwrap();
    assert_eq!(next_packet(&mut alice), 1, "who has a name stays");
}

/// A name that has the number of `Lobby`.
fn collision() -> String {
    let lobby = room_id("Lobby");
    (0_u32..).map(|n| format!("room{n}")).find(|name| room_id(name) == lobby).unwrap()
}

#[test]
fn f_71_dissonance_rooms_keep_their_numbers_and_max_rooms_is_a_limit() {
    let only = "only = [\"dissonance\"]\n[dissonance]\nquic = false\n";
    for (settings, refused) in [("", 0), ("rooms = [\"Lobby\"]\n", 1), ("max-rooms = 1\n", 1)] {
        let server = serve("rooms", &format!("{only}{settings}"));
        assert!(server.lines.iter().all(|line| !line.contains("quic")), "quic = false");
        let (mut eve, session, client) = join(server.address("dissonance tcp"), b"eve");
        let names = match settings {
            "max-rooms = 1\n" => vec!["one".to_owned(), "two".to_owned()],
            _ => vec!["one".to_owned(), collision()],
        };
        for room in &names {
            let room = room.as_str().into();
            let delta = DeltaClientState { session, joined: true, client, room };
            eve.write_all(&unit(&Packet::DeltaClientState(delta))).unwrap();
        }
        let count = |name: &str| metrics(server.address("http tcp"))[&sample("dissonance", name)].clone();
        for _ in 0..200 {
            if count("rooms") == (2 - refused).to_string() && count(REFUSED_ROOMS) == refused.to_string() {
                break;
            }
            pause(20);
        }
        assert_eq!(count(REFUSED_ROOMS), refused.to_string(), "{settings}");
        assert_eq!(count("rooms"), (2 - refused).to_string(), "{settings}");
    }
}

#[test]
fn f_71_dissonance_token_is_shown_before_anything_else() {
    let server = serve("token", "only = [\"dissonance\"]\n[dissonance]\ntoken = \"sesame\"\n");
    for (token, admitted) in [("sesame", true), ("simsim", false), ("", false)] {
        let mut stream = connect(server.address("dissonance tcp"));
        let length = u16::try_from(token.len()).unwrap().to_be_bytes();
        stream.write_all(&[b"VOXL\x01\x00", &length[..], token.as_bytes()].concat()).unwrap();
        let mut hello = Vec::new();
        let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
        let _ = stream.read_to_end(&mut hello);
        assert!(hello.len() == 32 && (hello[5] == 0) == admitted, "{token:?}: {hello:02x?}");
    }
}

/// F-39: in the file, for all protocols or for one; in the flags for all.
#[test]
fn f_39_the_profile_can_be_set_for_one_protocol() {
    // The original's users are there on loopback, in its profile.
    let edoren = |server: &Server| {
        let runtime = runtime();
        runtime.block_on(async {
            let mut user = User::connect(server.address("msgpack zmtp"), Dialect::Zmtp).await;
            let (username, password) = ("edoren".into(), "123".into());
            user.ask(ClientCommand::Login { username, password }).await.starts_with("LoggedIn")
        })
    };
    // In the profile `original` the newest has the name.
    let newest = |server: &Server| {
        let (mut first, ..) = join(server.address("dissonance tcp"), b"ann");
        pause(200);
        let mut second = connect(server.address("dissonance tcp"));
        second.write_all(b"VOXL\x01\x00\x00\x00").unwrap();
        second.write_all(b"\x00\x12\x00\x8b\xc7\x04\x01\x00\x00\x03\xc0\x00\x00\xbb\x80\x00\x04ann").unwrap();
        closed(&mut first)
    };
    for (name, settings, msgpack, dissonance) in [
        ("safe", "", false, false),
        ("original", "profile = \"original\"\n", true, true),
        ("msgpack", "[msgpack]\nprofile = \"original\"\n", true, false),
        ("dissonance", "[dissonance]\nprofile = \"original\"\n", false, true),
        ("not-msgpack", "profile = \"original\"\n[msgpack]\nprofile = \"safe\"\n", false, true),
        ("opcode", "[opcode]\nprofile = \"original\"\n", false, false),
    ] {
        let server = serve(&format!("profile-{name}"), settings);
        assert_eq!((edoren(&server), newest(&server)), (msgpack, dissonance), "{name}");
    }
    let path = file("settings-profile-flag.toml", "[msgpack]\nprofile = \"safe\"\n");
    let data = folder("settings-profile-flag");
    let flags =
        ["--profile", "original", "--config", path.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let server = Server::start(&[&flags[..], &FREE[..]].concat());
    assert!(edoren(&server), "the flag is for all of them");
    let path = file("settings-profile-none.toml", "[voicelink]\nprofile = \"original\"\n");
    let (code, error) = kit::fails(&["--config", path.to_str().unwrap()]);
    assert!(code == Some(2) && error.contains("unknown field `profile`"), "voicelink has none: {error}");
}

/// What a server with these flags logs until SIGTERM, while `what` is done to it.
fn logged(name: &str, flags: &[&str], what: impl FnOnce(SocketAddr)) -> String {
    let data = folder(&format!("settings-{name}"));
    let only = ["--only", "voicelink", "--data", data.to_str().unwrap()];
    let mut child = command(&[&only[..], &FREE, flags].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap())) {
        lines.push(line.unwrap());
        if lines.last().unwrap() == "ready" {
            break;
        }
    }
    let mut server = Server { child, lines };
    let mut stderr = server.child.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        log
    });
    what(server.address("voicelink tcp"));
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    log.join().unwrap()
}

#[test]
fn f_71_log_is_the_level_of_what_is_logged() {
    let register = |address| drop(registered(connect(address), "bob"));
    let log = logged("log-off", &["--log", "off"], register);
    assert_eq!(log, "");
    let log = logged("log-info", &[], register);
    assert!(log.contains("registered") && !log.contains("connected peer"), "{log}");
    let log = logged("log-debug", &["--log", "debug"], register);
    assert!(log.contains("registered") && log.contains("DEBUG"), "{log}");
}

/// F-46: lines that strangers cause do not fill the disk; how many there were is told. At level debug all are there.
#[test]
fn f_46_a_stranger_does_not_fill_the_log() {
    let storm = |address| {
        for n in 0..300 {
            drop(registered(connect(address), &format!("guest{n}")));
        }
        pause(300);
    };
    let log = logged("storm", &[], storm);
    let lines = log.lines().count();
    assert!(lines < 100, "{lines} lines: {log}");
    assert!(log.contains("280 more lines in a minute like: registered"), "{log}");
    let log = logged("storm-debug", &["--log", "debug"], storm);
    assert!(log.lines().filter(|line| line.contains("registered")).count() >= 300);
}

/// An address of this machine that is not loopback, if it has one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing: the system says only where it would send from.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}

/// C-07, F-71: `per-address`; and `proxies`, which it is not for.
#[test]
fn f_71_per_address_is_the_number_of_connections_of_one_address_but_for_proxies() {
    let Some(own) = own_address() else {
        // Not by `println!`: the harness would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "per-address: skipped: no address here but loopback, which is exempt"
        );
        return;
    };
    for (name, proxies) in [("per-address", String::new()), ("proxies", format!("proxies = [\"{own}\"]\n"))] {
        let settings = format!("only = [\"voicelink\"]\nbind = \"{own}\"\nper-address = 3\n{proxies}");
        let server = serve(name, &settings);
        let address = server.address("voicelink tcp");
        let mut held: Vec<TcpStream> =
            (0..3).map(|n| registered(connect(address), &format!("guest{n}"))).collect();
        if proxies.is_empty() {
            assert!(closed(&mut connect(address)), "the fourth is refused");
            held.pop();
            pause(300);
        }
        registered(connect(address), "guest4");
    }
}

/// F-06: a name that was lost behind one of `proxies` is kept for nobody; anywhere else it is kept for its address.
#[test]
fn f_06_a_name_that_is_lost_behind_one_of_the_proxies_is_free_at_once() {
    let Some(own) = own_address().filter(IpAddr::is_ipv4) else {
        let _ = writeln!(std::io::stderr(), "proxies: skipped: no IPv4 address here but loopback's");
        return;
    };
    for (name, proxies) in [("kept", String::new()), ("free", format!("proxies = [\"{own}\"]\n"))] {
        let settings = format!("only = [\"voicelink\", \"opcode\"]\nbind = \"{own}\"\n{proxies}");
        let server = serve(name, &settings);
        let [voicelink, opcode] = ["voicelink tcp", "opcode tcp"].map(|it| server.address(it));
        drop((registered(connect(voicelink), "bob"), log_in(connect(opcode), "bob")));
        pause(300);
        let mut other = connect_from([127, 0, 0, 1], voicelink);
        let body = [&[0, 0, 0xbb, 0x80, 0, 1, 2, 0, 0, 3, 0xc0, 0, 0][..], b"bob"].concat();
        other.write_all(&packet(0, &body)).unwrap();
        let accepted = next_packet(&mut other) == 4;
        let mut other = connect_from([127, 0, 0, 1], opcode);
        assert_eq!(next_opcode(&mut other), [1, 0]);
        other.write_all(&opcode_packet(2, &[b"bob"], None)).unwrap();
        let logged_in = next_opcode(&mut other) == [3, 0];
        assert_eq!((accepted, logged_in), (name == "free", name == "free"), "{name}");
    }
}

/// A certificate and its key, in files.
fn certified(name: &str) -> [PathBuf; 2] {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = file(&format!("settings-{name}.cert.pem"), &made.cert.pem());
    let key = file(&format!("settings-{name}.key.pem"), &made.signing_key.serialize_pem());
    [cert, key]
}

/// C-07, F-14: a server that is to be encrypted takes nothing by UDP but QUIC, and does not start where it cannot be.
#[test]
fn f_71_encrypted_only_leaves_no_way_in_the_clear() {
    let (only, [cert, key]) = ("only = [\"dissonance\"]\n", certified("encrypted"));
    let certified = format!("tls-cert = {cert:?}\ntls-key = {key:?}\n");
    for (encrypted_only, by_udp) in [(false, true), (true, false)] {
        let settings = format!("{only}{certified}encrypted-only = {encrypted_only}\n");
        let server = serve(&format!("encrypted-{encrypted_only}"), &settings);
        let address = server.address("dissonance tls");
        server.address("dissonance quic");
        assert_eq!(UdpSocket::bind(address).is_err(), by_udp, "{:?}", server.lines);
    }
    for (settings, why) in [
        (format!("{only}encrypted-only = true\n"), "tls-cert"),
        (format!("only = [\"opcode\"]\n{certified}encrypted-only = true\n"), "in the clear"),
    ] {
        let path = file("settings-encrypted-not.toml", &settings);
        let (code, error) = kit::fails(&["--config", path.to_str().unwrap()]);
        assert!(code == Some(2) && error.contains(why) && error.contains("encrypted-only"), "{error}");
    }
}

/// C-07: `rooms-only`: a client that asks for another room is told that it is not there.
#[test]
fn f_71_dissonance_rooms_only_are_the_rooms_there_are() {
    let settings = "only = [\"dissonance\"]\n[dissonance]\nquic = false\nrooms = [\"Lobby\"]\n";
    for (name, only) in [("rooms-any", false), ("rooms-only", true)] {
        let server = serve(name, &format!("{settings}rooms-only = {only}\n"));
        let (mut eve, session, client) = join(server.address("dissonance tcp"), b"eve");
        for room in ["Attic", "Lobby"] {
            let delta = DeltaClientState { session, joined: true, client, room: room.into() };
            eve.write_all(&unit(&Packet::DeltaClientState(delta))).unwrap();
        }
        let count = || {
            let all = metrics(server.address("http tcp"));
            ["rooms", REFUSED_ROOMS].map(|name| all[&sample("dissonance", name)].clone())
        };
        let expected = if only { ["1", "1"] } else { ["2", "0"] };
        for _ in 0..200 {
            if count() == expected {
                break;
            }
            pause(20);
        }
        assert_eq!(count(), expected, "rooms-only = {only}");
    }
}

/// C-07: `networks`: nobody else is answered.
#[test]
fn f_71_syfala_networks_are_those_that_are_served() {
    let server = serve("networks", "only = [\"syfala\"]\n[syfala]\nnetworks = [\"127.0.0.8/29\"]\n");
    for (host, served) in [("127.0.0.9", true), ("127.0.0.7", false), ("127.0.0.16", false)] {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.connect(server.address("syfala udp")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(if served { 5000 } else { 300 }))).unwrap();
        socket.send(&[0]).unwrap();
        assert_eq!(socket.recv(&mut [0; 100]).is_ok(), served, "{host}");
    }
}

/// C-07: `udp-sockets`.
#[cfg(target_os = "linux")]
#[test]
fn g_u6_f_71_udp_sockets_is_how_many_there_are_at_one_address() {
    let cores = std::thread::available_parallelism().unwrap().get();
    for (setting, expected) in [(0, cores.min(8)), (1, 1), (3, 3)] {
        let settings = format!(
            "only = [\"dissonance\"]\nhttp = \"off\"\nudp-sockets = {setting}\n[dissonance]\nport = 0\n"
        );
        let path = file(&format!("settings-udp-sockets-{setting}.toml"), &settings);
        let server = Server::start(&["--config", path.to_str().unwrap()]);
        let suffix = format!(":{:04X}", server.address("dissonance udp").port());
        let table = std::fs::read_to_string("/proc/net/udp").unwrap();
        let local =
            |line: &&str| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&suffix));
        assert_eq!(table.lines().filter(local).count(), expected, "udp-sockets = {setting}");
    }
}

const REFUSED_ROOMS: &str = "refusals_total{rule=\"room\"}";

/// Where the effect of each setting of the file is seen. `port` is 0 nearly everywhere.
const SEEN: &[(&str, &str, &[&str])] = &[
    (
        "control/ctl.rs",
        "c_33_texts_of_operators_come_from_the_name_that_is_set",
        &["control-socket", "control-say-as"],
    ),
    ("control/ctl.rs", "c_32_settings_that_would_give_the_token_away_are_refused", &["control-token-file"]),
    ("control/events.rs", "c_34_a_webhook_is_sent_what_happens", &["control-webhooks"]),
    (
        "cli.rs",
        "v_13_names_blocks_and_other_settings_come_from_the_file",
        &[
            "only",
            "http",
            "connections",
            "voicelink.port",
            "voicelink.names",
            "voicelink.secrets",
            "voicelink.secrets-only",
            "voicelink.block",
            "voicelink.answer-seconds",
            "voicelink.hide-unknown",
            "voicelink.forward-callee-name",
        ],
    ),
    ("cli.rs", "c_07_bind_serves_ipv6_and_allow_plain_lets_secrets_out", &["bind", "allow-plain"]),
    ("cli.rs", "c_07_dissonance_is_served_by_quic_with_a_certificate_that_is_kept", &["data"]),
    ("cli.rs", "c_07_opcode_is_served_counted_and_ends", &["opcode.secrets"]),
    (
        "cli.rs",
        "c_07_s_05_syfala_is_a_device_that_answers_counts_and_says_goodbye",
        &[
            "syfala.port",
            "syfala.inputs",
            "syfala.outputs",
            "syfala.rate",
            "syfala.channels",
            "syfala.buffer",
            "syfala.sample-type",
            "syfala.sound",
            "syfala.clients",
            "syfala.pin",
        ],
    ),
    (
        "attacks/http.rs",
        "the_page_has_as_many_connections_and_as_long_as_the_settings_say",
        &["http-connections", "http-seconds"],
    ),
    ("settings.rs", "f_71_encrypted_only_leaves_no_way_in_the_clear", &["encrypted-only"]),
    (
        "settings.rs",
        "f_39_the_profile_can_be_set_for_one_protocol",
        &["profile", "opcode.profile", "msgpack.profile", "dissonance.profile"],
    ),
    (
        "settings.rs",
        "f_71_per_address_is_the_number_of_connections_of_one_address_but_for_proxies",
        &["per-address", "proxies"],
    ),
    ("settings.rs", "g_u6_f_71_udp_sockets_is_how_many_there_are_at_one_address", &["udp-sockets"]),
    ("settings.rs", "f_43_memory_is_what_all_protocols_share", &["memory"]),
    ("settings.rs", "f_71_drain_seconds_is_how_long_the_end_waits_for_clients", &["drain-seconds"]),
    (
        "settings.rs",
        "f_71_close_seconds_is_how_long_a_closed_client_has_for_what_is_queued",
        &["close-seconds"],
    ),
    ("settings.rs", "f_71_opcode_secrets_only_lets_no_other_names_in", &["opcode.secrets-only"]),
    ("settings.rs", "f_71_opcode_trust_host_hands_on_what_the_caller_says", &["opcode.trust-host"]),
    (
        "settings.rs",
        "f_71_opcode_relay_ports_are_the_ones_that_calls_use",
        &["opcode.relay", "opcode.relay-ports"],
    ),
    ("settings.rs", "f_71_ports_and_certificates_come_from_the_file", PORTS),
    (
        "settings.rs",
        "f_71_dissonance_rooms_keep_their_numbers_and_max_rooms_is_a_limit",
        &["dissonance.quic", "dissonance.rooms", "dissonance.max-rooms"],
    ),
    ("settings.rs", "f_71_dissonance_rooms_only_are_the_rooms_there_are", &["dissonance.rooms-only"]),
    ("settings.rs", "f_71_dissonance_token_is_shown_before_anything_else", &["dissonance.token"]),
    ("settings.rs", "f_71_voicelink_idle_times", &["voicelink.idle-seconds", "voicelink.idle-call-seconds"]),
    (
        "msgpack.rs",
        "m_07_c_07_settings",
        &["msgpack.accounts", "msgpack.register", "msgpack.keep", "msgpack.max-contacts"],
    ),
    ("accounts.rs", "m_08_c_07_groups_that_nobody_uses_are_forgotten", &["msgpack.group-days"]),
    ("accounts.rs", "m_08_c_07_messages_that_nobody_fetches_are_dropped", &["msgpack.keep-days"]),
    ("accounts.rs", "m_08_c_07_a_full_mailbox_says_so", &["msgpack.max-kept", "msgpack.max-kept-bytes"]),
    (
        "accounts.rs",
        "c_07_settings_of_accounts",
        &["msgpack.max-accounts", "msgpack.max-database", "msgpack.resume-seconds"],
    ),
    (
        "settings.rs",
        "f_71_syfala_latency_is_what_is_in_store_and_announce_tells_all_hosts",
        &["syfala.latency-ms", "syfala.announce-ms"],
    ),
    ("operations.rs", "c_07_the_log_has_a_level_and_a_format", &["log", "log-format"]),
    ("operations.rs", "f_14_quic_alone_has_no_way_in_the_clear", &["dissonance.tcp"]),
    ("settings.rs", "f_71_syfala_networks_are_those_that_are_served", &["syfala.networks"]),
    ("settings.rs", "f_55_f_71_syfala_follow_is_how_far_off_a_clock_may_be", &["syfala.follow-ppm"]),
];
const PORTS: &[&str] =
    &["tls-cert", "tls-key", "opcode.port", "msgpack.port", "dissonance.port", "dissonance.quic-port"];

/// C-07: ports and certificates, from the file alone.
#[test]
fn f_71_ports_and_certificates_come_from_the_file() {
    let [cert, key] = certified("ports");
    // Free a moment before.
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let [opcode, msgpack, dissonance, quic] = [(); 4].map(|()| free());
    let settings = format!(
        "only = [\"opcode\", \"msgpack\", \"dissonance\"]\nhttp = \"off\"\ntls-cert = {cert:?}\ntls-key = {key:?}\n\
         [opcode]\nport = {opcode}\n[msgpack]\nport = {msgpack}\n\
         [dissonance]\nport = {dissonance}\nquic-port = {quic}\n"
    );
    let path = file("settings-ports.toml", &settings);
    let data = folder("settings-ports");
    let server = Server::start(&["--config", path.to_str().unwrap(), "--data", data.to_str().unwrap()]);
    for (listener, port) in [
        ("opcode tls", opcode),
        ("msgpack tls", msgpack),
        ("dissonance tls", dissonance),
        ("dissonance quic", quic),
    ] {
        assert_eq!(server.address(listener).port(), port, "{listener}");
    }
}

/// All sources of the program.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { sources(&path, found) } else { found.push(path) }
    }
}

/// The settings of the file, as the program reads them: `key`, or `section.key`.
fn settings() -> Vec<String> {
    let (mut files, mut keys) = (Vec::new(), Vec::new());
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&src, &mut files);
    // The requests of the control API look like sections, and are none.
    files.retain(|source| !source.starts_with(src.join("control")));
    for source in files {
        let text = std::fs::read_to_string(source).unwrap();
        let (mut is_read, mut section, mut renamed) = (false, None, None);
        for line in text.lines() {
            let name = line.split_once("struct ").and_then(|(_, rest)| rest.strip_suffix(" {"));
            if let Some(name) = name.filter(|_| core::mem::take(&mut is_read)) {
                section = Some(name.trim_end_matches("File").to_lowercase());
            } else if line.contains("deny_unknown_fields") {
                is_read = true;
            } else if line == "}" {
                section = None;
            } else if let Some((_, name)) = line.split_once("rename = \"").filter(|_| section.is_some()) {
                renamed = name.split('"').next().map(String::from);
            } else if let (Some(section), Some((field, _))) = (&section, line.trim().split_once(": "))
                && !line.trim().starts_with(['/', '#'])
            {
                let key = field.trim_start_matches("pub ").replace('_', "-");
                let key = renamed.take().unwrap_or(key);
                keys.push(if section.is_empty() { key } else { format!("{section}.{key}") });
            }
        }
    }
    keys.sort();
    keys
}

/// C-07: no setting is without a test that shows its effect, and none of those tests has lost it.
#[test]
fn c_07_f_71_every_setting_of_the_file_has_a_test_that_shows_its_effect() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut shown: Vec<String> =
        SEEN.iter().flat_map(|(_, _, keys)| keys.iter().map(|&key| key.into())).collect();
    let settings = settings();
    // Or in the tests of a protocol that has all of its own in one file.
    for setting in &settings {
        let (section, key) = setting.split_once('.').unwrap_or(("", setting));
        let tests = std::fs::read_to_string(tests.join(format!("{section}.rs"))).unwrap_or_default();
        if !shown.contains(setting) && tests.contains(&format!("\n{key} = ")) {
            shown.push(setting.clone());
        }
    }
    shown.sort();
    assert_eq!(shown, settings, "SEEN says where each setting is seen to work");
    for (source, test, keys) in SEEN {
        let text = std::fs::read_to_string(tests.join(source)).unwrap();
        let begin =
            text.find(&format!("\nfn {test}() {{\n")).unwrap_or_else(|| panic!("{source}: no {test}"));
        let test_text = text[begin + 1..].split("\n}\n").next().unwrap();
        for key in *keys {
            let (section, key) = key.split_once('.').unwrap_or(("", key));
            let found = [
                format!("{key} = "),
                format!("{section}.{key}]"),
                format!("--{key}\""),
                format!("--{section}-{key}\""),
            ];
            assert!(found.iter().any(|text| test_text.contains(text)), "{source}: {test} does not set {key}");
        }
    }
}

#[test]
fn f_71_syfala_latency_is_what_is_in_store_and_announce_tells_all_hosts() {
    // Half a second in store: twenty milliseconds of sound do not come back yet. (In `cli.rs`, with 5 ms, they do.)
    let syfala = "only = [\"syfala\"]\n[syfala]\nchannels = 1\nsample-type = \"i16\"\nsound = \"echo\"\n";
    let server = serve("latency", &format!("{syfala}latency-ms = 500\n"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address("syfala udp")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = [0; 5000];
    for (question, first) in [(0, 0), (1, 8), (4, 3)] {
        socket.send(&[question]).unwrap();
        if first != 8 {
            while socket.recv(&mut answer).map(|_| answer[0]).unwrap() != first {}
        }
    }
    let audio = [&[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &1920_u32.to_le_bytes(), &[1; 1920]].concat();
    socket.send(&audio).unwrap();
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        let length = socket.recv(&mut answer).unwrap();
        assert!(answer[0] != 7 || answer[17..length].iter().all(|byte| *byte == 0), "too early");
    }
    drop(server);
    let Ok(listener) = UdpSocket::bind("0.0.0.0:6910") else {
        println!("skipped: port 6910 is in use");
        return;
    };
    listener.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let server = serve("announce", &format!("{syfala}announce-ms = 100\n"));
    let mut from = Vec::new();
    while from.len() < 3 {
        let (_, sender) = listener.recv_from(&mut answer).unwrap();
        assert_eq!(answer[0], 0, "what the device offers");
        from.push(sender.port());
    }
    assert_eq!(from, [server.address("syfala udp").port(); 3]);
}

/// F-55: a client whose clock is three hundredths fast is too fast, unless that may be followed.
#[test]
fn f_55_f_71_syfala_follow_is_how_far_off_a_clock_may_be() {
    let settings = "only = [\"syfala\"]\n[syfala]\nrate = 8000\nchannels = 1\nsample-type = \"i16\"\n";
    // What is no range is refused, with the range.
    for wrong in ["-1", "100001", "nan"] {
        let path = file("settings-follow-wrong.toml", &format!("{settings}follow-ppm = {wrong}\n"));
        let (code, errors) = kit::fails(&["--config", path.to_str().unwrap()]);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains("0 to 100000 millionths expected"), "{errors}");
    }
    let start = |name: &str, follow: &str| {
        let path = file(&format!("settings-follow-{name}.toml"), &format!("{settings}{follow}"));
        let log = file(&format!("settings-follow-{name}.log"), "");
        let arguments = ["--config", path.to_str().unwrap(), "--syfala-port", "0", "--http", "off"];
        let mut command = command(&arguments);
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()))
            .map(|line| line.unwrap());
        let lines = lines.by_ref().take_while(|line| line != "ready").collect();
        let server = Server { child, lines };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.address("syfala udp")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = [0; 5000];
        socket.send(&[0]).unwrap();
        socket.recv(&mut answer).unwrap();
        socket.send(&[1]).unwrap();
        socket.send(&[4]).unwrap();
        while socket.recv(&mut answer).map(|_| answer[0]).unwrap() != 3 {}
        (server, socket, log)
    };
    let servers = [start("default", ""), start("wide", "follow-ppm = 50000\n")];
    let told = |log: &Path| std::fs::read_to_string(log).unwrap().contains("too fast to be followed");
    let (begin, mut sent) = (Instant::now(), 0_u64);
    while !told(&servers[0].2) {
        assert!(begin.elapsed() < Duration::from_secs(30), "nothing was said of a clock that is too fast");
        // Messages of a millisecond.
        let due = (begin.elapsed().as_secs_f64() * 1030.0) as u64;
        for n in core::mem::replace(&mut sent, due)..due {
            let head = [&[6, 0, 0, 0, 0][..], &(n * 16).to_le_bytes(), &16_u32.to_le_bytes()].concat();
            for (_, socket, _) in &servers {
                socket.send(&[&head[..], &[1; 16]].concat()).unwrap();
            }
        }
        pause(1);
    }
    assert!(!told(&servers[1].2));
}
