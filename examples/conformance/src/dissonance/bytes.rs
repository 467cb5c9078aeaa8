//! Units of TCP + UDP, from the transport's PROTOCOL.md, and packets of Dissonance, from "On the wire".

use crate::layout::Layout;

pub(super) const RELIABLE: u8 = 0;
pub(super) const DROPPABLE: u8 = 1;
pub(super) const CONTROL: u8 = 2;

pub(super) const CLIENT_STATE: u8 = 1;
pub(super) const VOICE_DATA: u8 = 2;
pub(super) const TEXT_DATA: u8 = 3;
pub(super) const HANDSHAKE_REQUEST: u8 = 4;
pub(super) const HANDSHAKE_RESPONSE: u8 = 5;
pub(super) const ERROR_WRONG_SESSION: u8 = 6;
pub(super) const RELAY_RELIABLE: u8 = 7;
pub(super) const RELAY_UNRELIABLE: u8 = 8;
pub(super) const DELTA_CLIENT_STATE: u8 = 9;
pub(super) const REMOVE_CLIENT: u8 = 10;
pub(super) const HANDSHAKE_P2P: u8 = 11;

/// Bytes of a unit before its packet.
pub(super) const UNIT_HEAD: usize = 3;

/// A unit: the length, the kind, what it carries.
pub(super) fn unit(kind: u8, packet: Layout) -> Layout {
    let length = u16::try_from(1 + packet.len()).unwrap_or(u16::MAX);
    Layout::big().u16("unit length", length).u8("unit kind", kind).then(packet)
}

/// Where a unit ends.
pub(super) fn cut_unit(buffer: &[u8]) -> Option<usize> {
    buffer.first_chunk().map(|length| 2 + usize::from(u16::from_be_bytes(*length)))
}

pub(super) fn hello(flags: u8, token: &str) -> Layout {
    let length = u16::try_from(token.len()).unwrap_or(u16::MAX);
    let head = Layout::big().bytes("VOXL", b"VOXL").u8("version", 1).u8("flags", flags);
    head.u16("token length", length).bytes("token", token)
}

/// The answer to a hello that is admitted.
pub(super) fn admitted() -> Layout {
    let head = Layout::big().bytes("VOXL", b"VOXL").u8("version", 1).u8("status", 0);
    head.any("UDP port", 2).any("tag", 7).any("cookie", 16).u8("zero", 0)
}

/// The head of a packet of a session.
pub(super) fn packet(kind: u8, session: [u8; 4]) -> Layout {
    Layout::big().bytes("magic", [0x8b, 0xc7]).u8("type", kind).bytes("session", session)
}

pub(super) fn string(layout: Layout, name: &'static str, text: &str) -> Layout {
    let length = u16::try_from(text.len() + 1).unwrap_or(u16::MAX);
    layout.u16("string length", length).bytes(name, text)
}

/// Opus, 960 samples, 48 kHz.
fn codec(layout: Layout) -> Layout {
    layout.u8("codec", 1).u32("frame size", 960).u32("sample rate", 48_000)
}

pub(super) fn handshake_request(name: &str) -> Layout {
    let head = Layout::big().bytes("magic", [0x8b, 0xc7]).u8("type", HANDSHAKE_REQUEST);
    string(codec(head), "name", name)
}

/// The answer: what it lists is looked at by itself.
pub(super) fn handshake_response() -> Layout {
    let head = Layout::big().bytes("magic", [0x8b, 0xc7]).u8("type", HANDSHAKE_RESPONSE);
    head.any("session", 4).any("client id", 2).any("client count", 2).rest("lists")
}

pub(super) fn client_info(layout: Layout, name: &str, id: u16) -> Layout {
    codec(string(layout, "name", name).u16("client id", id))
}

pub(super) fn client_state(session: [u8; 4], name: &str, id: u16, rooms: &[&str]) -> Layout {
    let count = u16::try_from(rooms.len()).unwrap_or(u16::MAX);
    let head = client_info(packet(CLIENT_STATE, session), name, id).u16("room count", count);
    rooms.iter().fold(head, |layout, room| string(layout, "room name", room))
}

pub(super) fn delta(session: [u8; 4], joined: bool, id: u16, room: &str) -> Layout {
    let head = packet(DELTA_CLIENT_STATE, session).u8("joined", joined.into()).u16("client id", id);
    string(head, "room name", room)
}

pub(super) fn remove_client(session: [u8; 4], id: u16) -> Layout {
    packet(REMOVE_CLIENT, session).u16("client id", id)
}

/// Voice to one player.
pub(super) fn voice(session: [u8; 4], sender: u16, sequence: u16, to: u16, frame: &[u8]) -> Layout {
    let length = u16::try_from(frame.len()).unwrap_or(u16::MAX);
    packet(VOICE_DATA, session)
        .u16("sender", sender)
        .u8("options", 0x80)
        .u16("sequence", sequence)
        .u16("channel count", 1)
        .u16("channel bitfield", 0x8000)
        .u16("channel recipient", to)
        .u16("frame length", length)
        .bytes("frame", frame)
}

/// A text to one player.
pub(super) fn text(session: [u8; 4], sender: u16, to: u16, text: &str) -> Layout {
    let head = packet(TEXT_DATA, session).u8("recipient type", 1).u16("sender", sender).u16("target", to);
    string(head, "text", text)
}

/// A packet around `inner`, for the server to hand on.
pub(super) fn relay(kind: u8, session: [u8; 4], to: &[u16], inner: &Layout) -> Layout {
    let count = u8::try_from(to.len()).unwrap_or(u8::MAX);
    let head = packet(kind, session).u8("destination count", count);
    let head = to.iter().fold(head, |layout, id| layout.u16("destination", *id));
    head.u16("payload length", u16::try_from(inner.len()).unwrap_or(u16::MAX)).then(inner.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

    #[test]
    fn d_02_the_bytes_are_those_of_the_dialogue() {
        let dialogue = [
            handshake_request("alice"),
            client_state(SESSION, "alice", 0, &[]),
            delta(SESSION, true, 0, "Lobby"),
            client_state(SESSION, "bob", 1, &["Lobby", "Team"]),
        ];
        crate::vectors::has("proto-dissonance/tests/vectors/dialogue.txt", &dialogue);
        let hellos = [
            hello(1, ""),
            hello(3, "sesame"),
            unit(RELIABLE, Layout::big().bytes("packet", [0xaa, 0xbb, 0xcc])),
        ];
        crate::vectors::has("transport/tests/vectors/tcp_udp.txt", &hellos);
    }
}
