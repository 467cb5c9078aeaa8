//! What the runner, as the server, expects of a client.

use super::bytes::{
    CLIENT_STATE, CONTROL, DELTA_CLIENT_STATE, ERROR_WRONG_SESSION, HANDSHAKE_RESPONSE, RELAY_UNRELIABLE,
    RELIABLE, UNIT_HEAD, VOICE_DATA, client_info, client_state, cut_unit, packet, string, unit,
};
use crate::check::{Check, Failure, Outcome};
use crate::datagrams::Datagrams;
use crate::layout::Layout;
use crate::peer::{Pause, Peer};
use crate::stage::Stage;
use core::time::Duration;
use std::net::UdpSocket;

const SESSION: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const OTHER_SESSION: [u8; 4] = [0x12, 0x34, 0x56, 0x79];
const TAG: [u8; 7] = [1, 2, 3, 4, 5, 6, 7];
const COOKIE: [u8; 16] = [0x11; 16];
const CHALLENGE: [u8; 8] = [0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88];
/// The client's number, and that of bob, who listens to all.
const ID: u16 = 4;
const BOB: u16 = 9;
/// The largest packet.
const MAX_PACKET: usize = 1024;

fn answer(port: u16) -> Layout {
    let head = Layout::big().bytes("VOXL", b"VOXL").u8("version", 1).u8("status", 0).u16("UDP port", port);
    head.bytes("tag", TAG).bytes("cookie", COOKIE).u8("zero", 0)
}

/// A client whose hello has come.
fn comes(stage: &Stage<'_>) -> Outcome<Peer> {
    let mut client = stage.accept("client", cut_unit)?;
    let head = Layout::big().bytes("VOXL", b"VOXL").u8("version", 1).any("flags", 1).any("token length", 2);
    let hello = client.expect_bytes(&head)?;
    if hello[5] & !3 != 0 {
        return Err(client.fails("a flag above bit 1 is set", &hello));
    }
    let token = usize::from(u16::from_be_bytes([hello[6], hello[7]]));
    client.expect_bytes(&Layout::big().any("token", token))?;
    Ok(client)
}

/// The next reliable packet; controls on the way are passed over.
fn reliable(client: &mut Peer) -> Outcome<Vec<u8>> {
    loop {
        let mut frame = client.frame()?;
        if frame.len() > UNIT_HEAD + MAX_PACKET {
            return Err(client.fails("the packet has more than 1024 bytes", &frame));
        }
        if frame.get(2) == Some(&RELIABLE) {
            return Ok(frame.split_off(UNIT_HEAD));
        }
    }
}

/// The name of a client that asks to join.
fn asks_to_join(client: &mut Peer) -> Outcome<String> {
    let request = reliable(client)?;
    let head = Layout::big().bytes("magic", [0x8b, 0xc7]).u8("type", 4).u8("codec", 1);
    let head = head.any("frame size", 4).u32("sample rate", 48_000).any("name length", 2);
    client.same_as(&head.clone().rest("name"), &request)?;
    let length = usize::from(u16::from_be_bytes([request[12], request[13]])).saturating_sub(1);
    client.same_as(&head.any("name", length), &request)?;
    Ok(String::from_utf8_lossy(&request[14..]).into_owned())
}

/// A HandshakeResponse: the client, and bob, who listens to the room Lobby.
fn response(session: [u8; 4], name: &str) -> Layout {
    let head = packet(HANDSHAKE_RESPONSE, session).u16("client id", ID).u16("client count", 2);
    let infos = client_info(client_info(head, name, ID), "bob-of-the-runner", BOB);
    let rooms = string(infos.u16("room count", 1), "room name", "Lobby");
    rooms.u16("channel count", 1).u16("room id", 0x560c).u8("listener count", 1).u16("client id", BOB)
}

/// A client that has joined, its name, and the ClientState that it said.
fn joined(stage: &Stage<'_>, port: u16) -> Outcome<(Peer, String, Vec<u8>)> {
    let mut client = comes(stage)?;
    client.send(&answer(port))?;
    let name = asks_to_join(&mut client)?;
    client.send(&unit(RELIABLE, response(SESSION, &name)))?;
    let state = says_its_state(&mut client, SESSION, &name)?;
    Ok((client, name, state))
}

/// A ClientState with the handshake's name; the runner tells it, as it is, to all.
fn says_its_state(client: &mut Peer, session: [u8; 4], name: &str) -> Outcome<Vec<u8>> {
    let state = reliable(client)?;
    // The codec is the client's own.
    let head = string(packet(CLIENT_STATE, session), "name", name).u16("client id", ID).any("codec", 9);
    client.same_as(&head.any("room count", 2).rest("room names"), &state)?;
    client.send(&unit(RELIABLE, Layout::big().bytes("ClientState", &state)))?;
    Ok(state)
}

/// The rooms that a client listens to, from its ClientState and its changes, until `room` is among them.
fn listens_to(client: &mut Peer, state: &[u8], room: &str) -> Outcome {
    let name = string(Layout::big(), "room name", room).encode();
    let mut seen = state.to_vec();
    while !seen.windows(name.len()).any(|some| some == name) {
        seen = reliable(client)?;
        let head = packet(DELTA_CLIENT_STATE, SESSION).u8("joined", 1).u16("client id", ID);
        client.same_as(&head.rest("room name"), &seen)?;
        client.send(&unit(RELIABLE, Layout::big().bytes("DeltaClientState", &seen)))?;
    }
    Ok(())
}

/// A port of the runner's for datagrams.
fn udp(stage: &Stage<'_>, client: &Peer) -> Outcome<(UdpSocket, u16)> {
    let fails = |error: std::io::Error| client.fails(format!("no UDP port: {error}"), &[]);
    let socket = UdpSocket::bind((stage.target.address.ip(), 0)).map_err(fails)?;
    let port = socket.local_addr().map_err(fails)?.port();
    Ok((socket, port))
}

/// A client that has bound UDP, before it joins.
fn bound(stage: &Stage<'_>) -> Outcome<(Peer, Datagrams)> {
    let mut client = comes(stage)?;
    let (socket, port) = udp(stage, &client)?;
    client.send(&answer(port))?;
    let mut buffer = [0; 2048];
    let _ = socket.set_read_timeout(Some(stage.target.timeout));
    let Ok((length, from)) = socket.recv_from(&mut buffer) else {
        return Err(client.fails("no BIND came by UDP", &[]));
    };
    client.log.add("client by UDP", false, &buffer[..length]);
    let bind = Layout::big().u8("kind", 1).bytes("tag", TAG).bytes("cookie", COOKIE);
    client.same_as(&bind, &buffer[..length])?;
    let udp = Datagrams::new("client by UDP", socket, from, stage.target.timeout, stage.log.clone());
    udp.send(&[&[2][..], &TAG, &CHALLENGE].concat())?;
    let confirm = unit(CONTROL, Layout::big().u8("control", 1).bytes("challenge", CHALLENGE));
    loop {
        let frame = client.frame().map_err(|why| Failure::missing(&stage.log, "client", &confirm, why))?;
        if frame.get(2) == Some(&CONTROL) {
            client.same_as(&confirm, &frame)?;
            break;
        }
        // It joins meanwhile.
        let packet = &frame[UNIT_HEAD..];
        if let Some(name) = packet.get(14..).filter(|_| packet.get(2) == Some(&4)) {
            client.send(&unit(RELIABLE, response(SESSION, &String::from_utf8_lossy(name))))?;
        }
    }
    client.send(&unit(CONTROL, Layout::big().u8("control", 3)))?;
    Ok((client, udp))
}

/// A voice packet of the client, in a relay packet for bob.
fn is_voice_for_bob(client: &Peer, relay: &[u8]) -> Outcome {
    let head = packet(RELAY_UNRELIABLE, SESSION).u8("destination count", 1).u16("destination", BOB);
    let inner = packet(VOICE_DATA, SESSION).u16("sender", ID);
    let layout = head.any("payload length", 2).then(inner).any("options", 1).any("sequence", 2);
    client.same_as(&layout.rest("channels, frame"), relay)?;
    let payload = usize::from(u16::from_be_bytes([relay[10], relay[11]]));
    if 12 + payload != relay.len() || relay.len() > MAX_PACKET {
        return Err(
            client.fails("the payload's length is not that of the packet, or it exceeds 1024 bytes", relay)
        );
    }
    Ok(())
}

pub(super) const CLIENT: &[Check] = &[
    Check {
        row: "D-15",
        name: "hello",
        expected: "A client begins with VOXL, version 1, flags in bits 0 and 1, and its token.",
        section: "Transport 1, Hello",
        needs: &["listener"],
        run: |stage| comes(stage).map(drop),
    },
    Check {
        row: "D-05",
        name: "join",
        expected: "A client sends HandshakeRequest, and after the response a ClientState of the same name.",
        section: "A session",
        needs: &["listener"],
        run: |stage| joined(stage, 0).map(drop),
    },
    Check {
        row: "D-15",
        name: "byte-by-byte",
        expected: "Answer and units that arrive byte by byte are taken as ones that arrive whole.",
        section: "Transport 2, Units",
        needs: &["listener"],
        run: |stage| {
            let mut client = comes(stage)?;
            let bytes = answer(0).encode();
            client.send_split(&bytes, 1..bytes.len())?;
            let name = asks_to_join(&mut client)?;
            let bytes = unit(RELIABLE, response(SESSION, &name)).encode();
            client.send_split(&bytes, 1..bytes.len())?;
            says_its_state(&mut client, SESSION, &name).map(drop)
        },
    },
    Check {
        row: "D-05",
        name: "empty-lists",
        expected: "A HandshakeResponse with empty lists is taken, with a ClientState for each client behind it.",
        section: "Decisions, Sessions and handshakes",
        needs: &["listener"],
        run: |stage| {
            let mut client = comes(stage)?;
            client.send(&answer(0))?;
            let name = asks_to_join(&mut client)?;
            let empty = packet(HANDSHAKE_RESPONSE, SESSION).u16("client id", ID).bytes("lists", [0; 6]);
            client.send(&unit(RELIABLE, empty))?;
            client.send(&unit(RELIABLE, client_state(SESSION, "bob-of-the-runner", BOB, &["Lobby"])))?;
            says_its_state(&mut client, SESSION, &name).map(drop)
        },
    },
    Check {
        row: "D-06",
        name: "rooms",
        expected: "A client says that it listens to the room Lobby, in its ClientState or by DeltaClientState.",
        section: "A session",
        needs: &["listener"],
        run: |stage| {
            let (mut client, _, state) = joined(stage, 0)?;
            listens_to(&mut client, &state, "Lobby")
        },
    },
    Check {
        row: "D-01",
        name: "wrong-magic",
        expected: "A client discards packets with another magic number and unknown types, and stays.",
        section: "On the wire",
        needs: &["listener"],
        run: |stage| {
            let (mut client, _, state) = joined(stage, 0)?;
            client.send(&unit(
                RELIABLE,
                Layout::big().bytes("magic", [0x8b, 0xc8, 1, 0x12, 0x34, 0x56, 0x78]),
            ))?;
            client.send(&unit(RELIABLE, packet(77, SESSION)))?;
            listens_to(&mut client, &state, "Lobby")?;
            client.expect_open()
        },
    },
    Check {
        row: "D-14",
        name: "wrong-session",
        expected: "After ErrorWrongSession of another session a client joins anew, if need be on a new connection.",
        section: "Decisions, Sessions and handshakes",
        needs: &["listener"],
        run: |stage| {
            let (mut client, name, _) = joined(stage, 0)?;
            client.send(&unit(RELIABLE, packet(ERROR_WRONG_SESSION, OTHER_SESSION)))?;
            let again = Pause::new(stage.target.timeout);
            while let Some(frame) = client.frame_within(again.left())? {
                if frame.get(UNIT_HEAD + 2) == Some(&4) {
                    return Ok(());
                }
            }
            let mut client = comes(stage)?;
            client.send(&answer(0))?;
            let second = asks_to_join(&mut client)?;
            if second == name {
                return Ok(());
            }
            Err(client.fails(format!("the name was {name:?}"), second.as_bytes()))
        },
    },
    Check {
        row: "D-15",
        name: "bind",
        expected: "A client sends BIND with the tag and cookie that it was given, and CONFIRM with the challenge.",
        section: "Transport 4, Binding",
        needs: &["listener"],
        run: |stage| bound(stage).map(drop),
    },
    Check {
        row: "D-15",
        name: "probes",
        expected: "A bound client sends PINGs; once three have no PONG it sends DOWN, then BIND again.",
        section: "Transport 4, Binding",
        needs: &["listener"],
        run: |stage| {
            let (mut client, udp) = bound(stage)?;
            let ping = Layout::big().u8("kind", 4).bytes("tag", TAG);
            let first = udp.expect(&ping.rest("body"), |datagram| datagram.first() != Some(&1))?;
            udp.send(&[&[5][..], &first[1..]].concat())?;
            let down = unit(CONTROL, Layout::big().u8("control", 2));
            loop {
                let frame =
                    client.frame().map_err(|why| Failure::missing(&stage.log, "client", &down, why))?;
                if frame.get(2) == Some(&CONTROL) && frame.get(3) == Some(&2) {
                    break;
                }
            }
            let bind = Layout::big().u8("kind", 1).bytes("tag", TAG).bytes("cookie", COOKIE);
            udp.expect(&bind, |datagram| datagram.first() != Some(&4)).map(drop)
        },
    },
    Check {
        row: "D-09",
        name: "voice-by-tcp",
        expected: "Without UDP a client sends its voice as droppable units: VoiceData in a relay packet to who listens.",
        section: "A session",
        needs: &["speaker"],
        run: |stage| {
            let (mut client, _, _) = joined(stage, 0)?;
            for _ in 0..10 {
                let voice = loop {
                    let frame = client.frame()?;
                    if frame.get(2) == Some(&super::bytes::DROPPABLE) {
                        break frame;
                    }
                };
                is_voice_for_bob(&client, &voice[UNIT_HEAD..])?;
            }
            Ok(())
        },
    },
    Check {
        row: "D-09",
        name: "voice-by-udp",
        expected: "A bound client sends its voice as DATA, one packet in each, with sequence numbers that count up.",
        section: "Transport 3, Datagrams",
        needs: &["speaker"],
        run: |stage| {
            let (client, udp) = bound(stage)?;
            let late = Pause::new(stage.target.timeout);
            let mut last: Option<u16> = None;
            let mut heard = 0;
            while heard < 20 && !late.is_over() {
                let Some(came) = udp.next_within(Duration::from_millis(500))? else { continue };
                match came.first() {
                    Some(&4) => udp.send(&[&[5][..], &came[1..]].concat())?,
                    Some(&3) if came.get(10) == Some(&RELAY_UNRELIABLE) => {
                        is_voice_for_bob(&client, &came[8..])?;
                        let sequence = u16::from_be_bytes([came[30], came[31]]);
                        if last.is_some_and(|last| sequence != last.wrapping_add(1)) {
                            return Err(udp.fails(format!("sequence {sequence} follows {last:?}"), &came));
                        }
                        last = Some(sequence);
                        heard += 1;
                    }
                    _ => {}
                }
            }
            if heard == 20 { Ok(()) } else { Err(udp.fails(format!("only {heard} voice packets came"), &[])) }
        },
    },
];
