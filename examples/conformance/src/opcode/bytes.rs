//! The packets of opcode, from "On the wire".

use crate::layout::Layout;

pub(super) const HELLO_CONNECT: u16 = 1;
pub(super) const LOGIN: u16 = 2;
pub(super) const LOGIN_SUCCESS: u16 = 3;
pub(super) const LOGIN_FAILED: u16 = 4;
pub(super) const ADD_CONTACT: u16 = 5;
pub(super) const CALL_REQUEST: u16 = 6;
pub(super) const VOICE_DATA: u16 = 7;
pub(super) const ERROR_RESPONSE: u16 = 8;
pub(super) const CALL_REFUSED: u16 = 9;
pub(super) const DEL_CONTACT: u16 = 10;
pub(super) const CONNECTION_ESTABLISHED: u16 = 11;

/// Where the body begins.
pub(super) const BODY_AT: usize = 10;

pub(super) fn packet(opcode: u16, body: Layout) -> Layout {
    let length = 2 + body.len() as u64;
    Layout::little().u64("length", length).u16("opcode", opcode).then(body)
}

pub(super) fn empty(opcode: u16) -> Layout {
    packet(opcode, Layout::little())
}

pub(super) fn string(layout: Layout, name: &'static str, text: &str) -> Layout {
    layout.u64("count", text.len() as u64).bytes(name, text)
}

/// A packet with one string.
pub(super) fn with_string(opcode: u16, name: &'static str, text: &str) -> Layout {
    packet(opcode, string(Layout::little(), name, text))
}

/// A packet with one string that the peer chooses, in a packet of `length` bytes.
pub(super) fn with_any(opcode: u16, length: usize) -> Layout {
    let text = length.saturating_sub(BODY_AT + 8);
    packet(opcode, Layout::little().u64("count", text as u64).any("reason", text))
}

pub(super) fn contacts(opcode: u16, name: &str) -> Layout {
    packet(opcode, string(Layout::little().u64("count of contacts", 1), "contact", name))
}

pub(super) fn call_request(contact: &str, host: &str, port: u16) -> Layout {
    let body = string(string(Layout::little(), "contact", contact), "host", host);
    packet(CALL_REQUEST, body.u16("port", port))
}

/// Where a packet ends.
pub(super) fn cut(buffer: &[u8]) -> Option<usize> {
    let length = usize::try_from(u64::from_le_bytes(*buffer.first_chunk()?)).unwrap_or(usize::MAX);
    Some(length.saturating_add(8))
}

pub(super) fn opcode_of(packet: &[u8]) -> u16 {
    packet.get(8..10).map_or(0, |it| u16::from_le_bytes([it[0], it[1]]))
}

/// The names of an AddContact or a DelContact; `None` if its counts do not fit its length.
pub(super) fn names(packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    fn count(rest: &mut &[u8]) -> Option<usize> {
        let (count, behind) = rest.split_first_chunk()?;
        *rest = behind;
        usize::try_from(u64::from_le_bytes(*count)).ok()
    }
    let mut rest = packet.get(BODY_AT..)?;
    let mut names = Vec::new();
    for _ in 0..count(&mut rest)? {
        let length = count(&mut rest)?;
        let (name, behind) = rest.split_at_checked(length)?;
        names.push(name.to_vec());
        rest = behind;
    }
    rest.is_empty().then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o_03_the_bytes_are_those_that_were_captured() {
        let captured = [
            empty(HELLO_CONNECT),
            with_string(LOGIN, "name", "alice"),
            empty(LOGIN_SUCCESS),
            contacts(ADD_CONTACT, "bob"),
            call_request("bob", "127.0.0.1", 0xb0df),
            with_string(CALL_REFUSED, "contact", "alice"),
            empty(CONNECTION_ESTABLISHED),
            contacts(DEL_CONTACT, "alice"),
        ];
        crate::vectors::has("proto-opcode/tests/vectors/dialogue.txt", &captured);
    }
}
