//! C-20: servers that do not let users in, networks that lose, and what the program says of them.
#![allow(missing_docs)]

mod kit;

use kit::{Load, Server, load, serve, serve_with};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread::spawn;
use voxwire_server::{Opcode, Protocol, Syfala};

/// A port of this machine that no program has.
fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// The first of the causes.
fn cause(load: &Load) -> String {
    load.json()["errors"][0]["cause"].as_str().unwrap_or_else(|| panic!("no cause: {}", load.out)).into()
}

#[test]
fn without_a_server_at_the_address_each_user_says_so() {
    let load = load(&format!("voicelink --users 4 --seconds 1 --server {} --json", free()));
    assert_eq!(load.code, Some(1));
    assert!(cause(&load).contains("Connection refused"), "{}", load.out);
    let json = load.json();
    assert_eq!((&json["joined"], &json["errors"][0]["count"]), (&0.into(), &4.into()), "{json}");
    assert_eq!(load.error.trim(), "voxwire-load: 4 of 4 users did not get ready");
}

/// What people are told.
fn load_text(server: &Server, name: &str) -> String {
    load(&format!("{name} --users 2 --seconds 1 --timeout 2 --server {}", server.address)).out
}

/// A server of another protocol lets no user in, and no run waits for ever.
#[test]
fn a_server_of_another_protocol_is_told_by_its_answers() {
    let server = serve(Protocol::OPCODE);
    for (name, expected) in
        [("voicelink", "connection lost"), ("msgpack", "connection lost"), ("dissonance", "connecting: ")]
    {
        let load = server.load(&format!("{name} --users 2 --seconds 1 --timeout 2"));
        assert_eq!((load.code, &load.json()["joined"]), (Some(1), &0.into()), "{}", load.out);
        let cause = cause(&load);
        let text = load_text(&server, name);
        assert!(text.contains("perhaps a server of another protocol is at this address"), "{text}");
        assert!(cause.contains(expected) || cause.contains("not let in within 2 s"), "{name}: {cause}");
    }
}

#[test]
fn a_server_that_carries_no_calls_is_named_with_the_setting_that_mends_it() {
    let server = serve_with(Protocol::OPCODE, |config| config.of_mut::<Opcode>().relay.clear());
    let arguments = format!("opcode --users 2 --seconds 1 --timeout 2 --server {}", server.address);
    let load = load(&arguments);
    assert_eq!(load.code, Some(1), "{}", load.out);
    assert!(load.out.contains("carries no calls") && load.out.contains("--opcode-relay"), "{}", load.out);
    assert!(load.out.contains("`proxies`"), "{}", load.out);
    assert!(load.out.lines().all(|line| line.chars().count() <= 80), "{}", load.out);
}

#[test]
fn a_full_server_leaves_the_others_talking() {
    let server = serve_with(Protocol::SYFALA, |config| config.of_mut::<Syfala>().clients = 2);
    let load = server.load("syfala --users 4 --seconds 1 --timeout 2");
    assert_eq!(load.code, Some(1), "{}", load.out);
    let json = load.json();
    assert_eq!(json["ready"], 2, "{json}");
    assert!(load.error.contains("2 of 4 users did not get ready"), "{}", load.error);
    let server = serve_with(Protocol::VOICELINK, |config| config.connections = 4);
    let load = server.load("voicelink --users 8 --seconds 1 --timeout 2 --ramp 50");
    assert_eq!(load.code, Some(1), "{}", load.out);
    let json = load.json();
    let ready = json["ready"].as_u64().unwrap();
    assert!((1..=4).contains(&ready) && load.error.contains("did not get ready"), "{json}{}", load.error);
}

/// Passes datagrams on between clients and a server, but for every tenth to a client.
fn lossy_udp(server: SocketAddr) -> SocketAddr {
    let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let address = front.local_addr().unwrap();
    spawn(move || {
        let mut backs = BTreeMap::<SocketAddr, Arc<UdpSocket>>::new();
        let mut datagram = [0; 2048];
        while let Ok((len, client)) = front.recv_from(&mut datagram) {
            let back = backs.entry(client).or_insert_with(|| {
                let back = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
                back.connect(server).unwrap();
                let (from, to) = (back.clone(), front.clone());
                spawn(move || {
                    let mut datagram = [0; 2048];
                    for n in 1.. {
                        let Ok(len) = from.recv(&mut datagram) else { return };
                        if n % 10 != 0 {
                            let _ = to.send_to(&datagram[..len], client);
                        }
                    }
                });
                back
            });
            let _ = back.send(&datagram[..len]);
        }
    });
    address
}

/// The TCP side of TCP + UDP: clients are told the UDP port of a network that loses.
fn lossy_tcp_udp(server: SocketAddr) -> SocketAddr {
    let udp = lossy_udp(server);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut upstream = TcpStream::connect(server).unwrap();
            let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            spawn(move || copy(from, to));
            spawn(move || {
                // Its hello, with the UDP port at offset 6.
                let mut hello = [0; 32];
                upstream.read_exact(&mut hello).unwrap();
                hello[6..8].copy_from_slice(&udp.port().to_be_bytes());
                client.write_all(&hello).unwrap();
                copy(upstream, client);
            });
        }
    });
    address
}

#[test]
fn a_listener_that_loses_frames_is_reported_and_fails_the_run_only_where_that_is_wanted() {
    let server = serve(Protocol::DISSONANCE);
    let lossy = lossy_tcp_udp(server.address);
    let run = |limit: &str| {
        load(&format!(
            "dissonance --users 4 --talkers 1 --seconds 2 --rate 100 --server {lossy} --json {limit}"
        ))
    };
    let load = run("");
    assert_eq!(load.code, Some(0), "{}{}", load.out, load.error);
    let json = load.json();
    assert_eq!((&json["sent"], &json["expected"], &json["losers"]), (&200.into(), &600.into(), &3.into()));
    // Every tenth datagram is lost, and some of those are the transport's own.
    let lost = json["lost"].as_u64().unwrap();
    assert!((54..=66).contains(&lost) && json["heard"] == 600 - lost, "{json}");
    let worst = &json["worst"];
    assert!(worst["expected"] == 200 && (18..=22).contains(&worst["lost"].as_u64().unwrap()), "{json}");
    assert_eq!((&json["wrong"], &json["duplicated"]), (&0.into(), &0.into()));
    let load = run("--max-loss 5");
    assert_eq!(load.code, Some(1), "{}", load.out);
    assert!(load.error.contains("% of the copies were lost, and --max-loss allows 5 %"), "{}", load.error);
    assert_eq!(run("--max-loss 15").code, Some(0));
}

#[test]
fn a_stream_that_loses_messages_is_reported() {
    // Each message is one datagram.
    let server = serve_with(Protocol::SYFALA, |config| config.of_mut::<Syfala>().buffer = 160);
    let lossy = lossy_udp(server.address);
    // A device that has no core for 600 ms is gone.
    let mut runs = (0..5).map(|_| load(&format!("syfala --users 1 --seconds 2 --server {lossy} --json")));
    let json = runs.find(|load| load.code == Some(0)).expect("a run without errors").json();
    let lost = json["lost_percent"].as_f64().unwrap();
    assert!((5.0..40.0).contains(&lost) && json["wrong"] == 0, "{json}");
}

#[test]
fn a_latency_over_the_limit_fails_the_run() {
    let server = serve(Protocol::VOICELINK);
    let load = server.load("voicelink --users 2 --seconds 1 --max-p99 0");
    assert_eq!(load.code, Some(1));
    assert!(
        load.error.contains("the latency's p99 is") && load.error.contains("--max-p99"),
        "{}",
        load.error
    );
    assert_eq!(load.json()["problems"][0], load.error.trim().trim_start_matches("voxwire-load: "));
    assert_eq!(server.load("voicelink --users 2 --seconds 1 --max-p99 60000").code, Some(0));
}

#[test]
fn a_usage_error_says_what_is_expected() {
    for (line, expected) in [
        ("voicelink --users 3", "--users 3: voicelink calls have two users each: an even number expected"),
        ("voicelink --server nowhere.invalid", "--server nowhere.invalid"),
        ("telephone", "possible values"),
    ] {
        let load = load(line);
        assert!(load.code == Some(2) && load.error.contains(expected), "{line}: {}", load.error);
    }
}
