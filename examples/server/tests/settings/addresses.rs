//! Addresses, ports, certificates and sockets.

use crate::kit::raw::{
    connect, connect_from, log_in, next_opcode, next_packet, opcode_packet, packet, pause, registered,
};
use crate::kit::{Server, fails, file, folder};
use crate::{certified, closed, serve};
use core::net::IpAddr;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};

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
        let (code, error) = fails(&["--config", path.to_str().unwrap()]);
        assert!(code == Some(2) && error.contains(why) && error.contains("encrypted-only"), "{error}");
    }
}
