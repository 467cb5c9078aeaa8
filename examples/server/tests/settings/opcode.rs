//! opcode.

use crate::kit::raw::{connect, log_in, next_opcode, opcode_packet};
use crate::serve;
use core::net::SocketAddr;
use std::io::{Read as _, Write};
use std::net::{TcpListener, TcpStream};

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

/// O-12: `echo`, a contact of everybody, which no client has as its name. The server connects to where the caller listens.
#[test]
fn o_12_who_calls_echo_hears_itself() {
    for (name, setting, is_there) in [("echo", "", true), ("echo-off", "echo = false\n", false)] {
        let server = serve(name, &format!("only = [\"opcode\"]\n[opcode]\n{setting}"));
        let address = server.address("opcode tcp");
        let mut other = connect(address);
        assert_eq!(next_opcode(&mut other), [1, 0]);
        other.write_all(&opcode_packet(2, &[b"echo"], None)).unwrap();
        let answer = next_opcode(&mut other)[0];
        assert_eq!(answer, if is_there { 4 } else { 3 });
        if !is_there {
            continue;
        }
        let mut alice = log_in(connect(address), "alice");
        let contacts = next_opcode(&mut alice);
        assert!(contacts[0] == 5 && contacts.ends_with(b"echo"), "{contacts:02x?}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        alice.write_all(&opcode_packet(6, &[b"echo", b""], Some(port))).unwrap();
        let (mut call, _) = listener.accept().unwrap();
        call.write_all(&opcode_packet(11, &[], None)).unwrap();
        let said = opcode_packet(7, &[b"a frame of sound"], None);
        call.write_all(&said).unwrap();
        let mut heard = vec![0; said.len()];
        call.read_exact(&mut heard).unwrap();
        assert_eq!(heard, said);
    }
}
