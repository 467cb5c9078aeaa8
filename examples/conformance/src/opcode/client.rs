//! What the runner, as the server and as the other client, expects of a client.

use super::bytes::{
    ADD_CONTACT, BODY_AT, CALL_REFUSED, CALL_REQUEST, CONNECTION_ESTABLISHED, HELLO_CONNECT, LOGIN,
    LOGIN_SUCCESS, VOICE_DATA, call_request, contacts, cut, empty, opcode_of, packet, with_any, with_string,
};
use crate::check::{Check, Outcome};
use crate::layout::Layout;
use crate::peer::Peer;
use crate::stage::Stage;
use core::net::SocketAddr;
use core::time::Duration;
use std::net::{TcpListener, TcpStream};

/// The client once it has logged in, with bob in its contact list.
fn logged_in(stage: &Stage<'_>) -> Outcome<Peer> {
    let mut client = stage.accept("client", cut)?;
    client.send(&empty(HELLO_CONNECT))?;
    takes_log_in(&mut client)?;
    client.send(&empty(LOGIN_SUCCESS).then(contacts(ADD_CONTACT, "bob")))?;
    Ok(client)
}

fn takes_log_in(client: &mut Peer) -> Outcome {
    let login = client.frame()?;
    client.same_as(&with_any(LOGIN, login.len()), &login)
}

/// The port of the client's call to bob.
fn calls_bob(client: &mut Peer) -> Outcome<u16> {
    let call = client.frame()?;
    let head = packet_head(CALL_REQUEST).u64("count", 3).bytes("contact", b"bob");
    client.same_as(&head.rest("host, port"), &call)?;
    let port = match call[..] {
        [.., low, high] => u16::from_le_bytes([low, high]),
        _ => 0,
    };
    if port < 1024 {
        return Err(client.fails(format!("a caller listens on a port from 1024, not on {port}"), &call));
    }
    Ok(port)
}

/// A packet of any length.
fn packet_head(opcode: u16) -> Layout {
    Layout::little().any("length", 8).u16("opcode", opcode)
}

/// The runner as bob, connected to the client's port.
fn answers(stage: &Stage<'_>, client: &Peer, port: u16) -> Outcome<Peer> {
    let fails =
        |error: std::io::Error| client.fails(format!("connecting to port {port} failed: {error}"), &[]);
    let mut address = client.stream.peer_addr().map_err(fails)?;
    address.set_port(port);
    let stream = TcpStream::connect_timeout(&address, stage.target.timeout).map_err(fails)?;
    let mut bob = Peer::new("bob", stream, cut, stage.target.timeout, stage.log.clone());
    bob.expect(&empty(CONNECTION_ESTABLISHED))?;
    Ok(bob)
}

/// A port of the runner's, as a caller.
fn listens(stage: &Stage<'_>, client: &Peer) -> Outcome<(TcpListener, u16)> {
    let fails = |error: std::io::Error| client.fails(format!("no port: {error}"), &[]);
    let listener = TcpListener::bind(SocketAddr::new(stage.target.address.ip(), 0)).map_err(fails)?;
    let port = listener.local_addr().map_err(fails)?.port();
    Ok((listener, port))
}

/// Alice, whom the runner plays, has called the client, and the client has connected to her.
fn called(stage: &Stage<'_>) -> Outcome<(Peer, Peer)> {
    let mut client = logged_in(stage)?;
    let (listener, port) = listens(stage, &client)?;
    client.send(&call_request("alice", &stage.target.address.ip().to_string(), port))?;
    let alice = stage.accept_from(&listener, stage.target.timeout, "alice", cut)?;
    Ok((client, alice))
}

/// Twenty VoiceData, each with one Opus packet of 20 ms and two channels.
fn hears(peer: &mut Peer) -> Outcome {
    for _ in 0..20 {
        let voice = peer.frame()?;
        let length = voice.len().saturating_sub(BODY_AT + 8);
        let body = Layout::little().u64("count", length as u64).any("data", length);
        peer.same_as(&packet(VOICE_DATA, body), &voice)?;
        let Some(&toc) = voice.get(BODY_AT + 8) else {
            return Err(peer.fails("there is no Opus packet", &voice));
        };
        // RFC 6716, section 3.1: of each four configurations of one mode, which has 20 ms.
        let (config, is_stereo, frames) = (toc >> 3, toc & 4 != 0, toc & 3);
        let is_20_ms = match config {
            0..12 => config % 4 == 1,
            12..16 => config % 2 == 1,
            _ => config % 4 == 3,
        };
        if !(is_20_ms && is_stereo && frames == 0) {
            let what = format!(
                "Opus configuration {config}, stereo {is_stereo}, code {frames}; expected one frame of 20 ms, stereo"
            );
            return Err(peer.fails(what, &voice));
        }
    }
    Ok(())
}

/// A frame of silence: 20 ms, two channels.
fn silence() -> Layout {
    packet(VOICE_DATA, Layout::little().u64("count", 3).bytes("data", [0xfc, 0xff, 0xfe]))
}

pub(super) const CLIENT: &[Check] = &[
    Check {
        row: "O-07",
        name: "waits-for-hello",
        expected: "A client sends nothing before HelloConnect.",
        section: "On the wire",
        needs: &["caller"],
        run: |stage| {
            let mut client = stage.accept("client", cut)?;
            client.expect_silence(Duration::from_millis(300))?;
            client.send(&empty(HELLO_CONNECT))?;
            takes_log_in(&mut client)
        },
    },
    Check {
        row: "O-07",
        name: "logs-in",
        expected: "After HelloConnect a client sends Login with its name.",
        section: "A session",
        needs: &["callee"],
        run: |stage| logged_in(stage).map(drop),
    },
    Check {
        row: "O-07",
        name: "calls",
        expected: "A caller sends CallRequest with the callee's name and a port that it listens on.",
        section: "A session",
        needs: &["caller"],
        run: |stage| calls_bob(&mut logged_in(stage)?).map(drop),
    },
    Check {
        row: "O-02",
        name: "byte-by-byte",
        expected: "Packets that arrive byte by byte are taken as ones that arrive whole.",
        section: "On the wire",
        needs: &["caller"],
        run: |stage| {
            let mut client = stage.accept("client", cut)?;
            let hello = empty(HELLO_CONNECT).encode();
            client.send_split(&hello, 1..hello.len())?;
            takes_log_in(&mut client)?;
            let rest = empty(LOGIN_SUCCESS).then(contacts(ADD_CONTACT, "bob")).encode();
            client.send_split(&rest, 1..rest.len())?;
            calls_bob(&mut client).map(drop)
        },
    },
    Check {
        row: "O-08",
        name: "caller-established",
        expected: "A caller sends ConnectionEstablished to the callee that connects, before anything else.",
        section: "A session",
        needs: &["caller"],
        run: |stage| {
            let mut client = logged_in(stage)?;
            let port = calls_bob(&mut client)?;
            answers(stage, &client, port).map(drop)
        },
    },
    Check {
        row: "O-09",
        name: "caller-voice",
        expected: "A caller sends VoiceData with one Opus packet each: 20 ms, two channels, one frame.",
        section: "A session",
        needs: &["caller"],
        run: |stage| {
            let mut client = logged_in(stage)?;
            let port = calls_bob(&mut client)?;
            let mut bob = answers(stage, &client, port)?;
            bob.send(&silence())?;
            hears(&mut bob)
        },
    },
    Check {
        row: "O-07",
        name: "refused",
        expected: "After CallRefused the caller does not answer on the port of that call.",
        section: "Decisions, Calls",
        needs: &["caller"],
        run: |stage| {
            let mut client = logged_in(stage)?;
            let port = calls_bob(&mut client)?;
            client.send(&with_string(CALL_REFUSED, "contact", "bob"))?;
            // The caller may have left, or go on listening for a while and close what connects.
            crate::peer::pause(Duration::from_millis(300));
            let mut address = client.stream.peer_addr().unwrap_or(stage.target.address);
            address.set_port(port);
            let Ok(stream) = TcpStream::connect_timeout(&address, stage.target.timeout) else {
                return Ok(());
            };
            let mut bob = Peer::new("bob", stream, cut, stage.target.timeout, stage.log.clone());
            while let Some(frame) = bob.frame_within(Duration::from_millis(300))? {
                if opcode_of(&frame) == VOICE_DATA {
                    return Err(bob.fails("voice came on a call that was refused", &frame));
                }
            }
            Ok(())
        },
    },
    Check {
        row: "O-08",
        name: "callee-connects",
        expected: "A client that is called connects to the address and port of the CallRequest.",
        section: "A session",
        needs: &["callee"],
        run: |stage| called(stage).map(drop),
    },
    Check {
        row: "O-09",
        name: "callee-voice",
        expected: "After ConnectionEstablished a callee sends VoiceData: Opus, 20 ms, two channels.",
        section: "A session",
        needs: &["callee"],
        run: |stage| {
            let (_client, mut alice) = called(stage)?;
            alice.send(&empty(CONNECTION_ESTABLISHED))?;
            for _ in 0..5 {
                alice.send(&silence())?;
            }
            hears(&mut alice)
        },
    },
    Check {
        row: "O-08",
        name: "hang-up",
        expected: "When the direct connection is closed, the callee closes its end.",
        section: "A session",
        needs: &["callee"],
        run: |stage| {
            let (_client, mut alice) = called(stage)?;
            alice.send(&empty(CONNECTION_ESTABLISHED))?;
            alice.frame()?;
            let _ = alice.stream.shutdown(std::net::Shutdown::Write);
            alice.expect_closed()
        },
    },
    Check {
        row: "O-11",
        name: "length-too-large",
        expected: "A length above the limit closes the connection.",
        section: "Limits and rates",
        needs: &["callee"],
        run: |stage| {
            let mut client = logged_in(stage)?;
            client.send(&Layout::little().u64("length", u64::MAX).u16("opcode", ADD_CONTACT))?;
            client.expect_closed()
        },
    },
];
