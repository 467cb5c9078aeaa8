//! Objects of MessagePack, and units of ZMTP, from "On the wire".

use crate::layout::Layout;

pub(super) const SUCCESS: u16 = 0;
pub(super) const ALREADY_CONNECTED: u16 = 256;
pub(super) const USER_NOT_CONNECTED: u16 = 512;
pub(super) const USER_ALREADY_EXIST: u16 = 513;
pub(super) const USER_DOES_NOT_EXIST: u16 = 514;
pub(super) const WRONG_PASSWORD: u16 = 515;
pub(super) const INCORRECT_TOKEN: u16 = 517;
pub(super) const GROUP_ALREADY_EXIST: u16 = 767;
pub(super) const GROUP_DOES_NOT_EXIST: u16 = 768;
pub(super) const ALREADY_MEMBER: u16 = 769;
pub(super) const NO_MEMBER: u16 = 770;
pub(super) const REQUEST_INVALID: u16 = 1023;

/// The password of every account that the runner makes.
pub(super) const PASSWORD: &str = "geheim";

/// A string, in the shortest form.
pub(super) fn string(layout: Layout, field: &'static str, text: impl AsRef<[u8]>) -> Layout {
    let text = text.as_ref();
    let layout = match text.len() {
        length @ 0..32 => layout.u8("fixstr", 0xa0 | u8::try_from(length).unwrap_or(0)),
        length @ 32..256 => layout.u8("str 8", 0xd9).u8("length", u8::try_from(length).unwrap_or(0)),
        length => layout.u8("str 16", 0xda).u16("length", u16::try_from(length).unwrap_or(u16::MAX)),
    };
    layout.bytes(field, text)
}

/// An integer that is not negative, in the shortest form.
pub(super) fn integer(layout: Layout, field: &'static str, value: u16) -> Layout {
    match value {
        0..128 => layout.u8(field, u8::try_from(value).unwrap_or(0)),
        128..256 => layout.u8("uint 8", 0xcc).u8(field, u8::try_from(value).unwrap_or(0)),
        _ => layout.u8("uint 16", 0xcd).u16(field, value),
    }
}

/// Strings behind each other.
pub(super) fn strings(texts: &[&str]) -> Layout {
    texts.iter().fold(Layout::big(), |layout, text| string(layout, "string", text))
}

/// A request with arguments that are strings.
pub(super) fn request(action: &str, arguments: &[&str]) -> Layout {
    strings(&[&["request", action], arguments].concat())
}

pub(super) fn response(action: &str, code: u16) -> Layout {
    let layout = string(string(Layout::big(), "type", "response"), "action", action);
    integer(layout, "code", code)
}

pub(super) fn update(action: &str) -> Layout {
    string(string(Layout::big(), "type", "update"), "action", action)
}

/// A unit of ZMTP 3 or 2 with one message.
pub(super) fn unit(message: Layout) -> Layout {
    let head = match u8::try_from(message.len()) {
        Ok(length) => Layout::big().u8("flags", 0).u8("length", length),
        Err(_) => Layout::big().u8("flags", 2).u64("length", message.len() as u64),
    };
    head.then(message)
}

/// Where a unit of ZMTP 3 or 2 ends.
pub(super) fn cut(buffer: &[u8]) -> Option<usize> {
    match buffer {
        [flags, length, ..] if flags & 2 == 0 => Some(2 + usize::from(*length)),
        [_, rest @ ..] => {
            let length = u64::from_be_bytes(*rest.first_chunk()?);
            Some(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(9))
        }
        [] => None,
    }
}

/// What a peer of ZMTP 3 begins with.
pub(super) fn greeting(minor: u8, mechanism: &str) -> Layout {
    let mut padded = mechanism.as_bytes().to_vec();
    padded.resize(20, 0);
    Layout::big()
        .bytes("signature", [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f])
        .u8("version", 3)
        .u8("minor version", minor)
        .bytes("mechanism", padded)
        .bytes("as-server and filler", [0; 32])
}

/// What a server answers to that.
pub(super) fn any_greeting() -> Layout {
    Layout::big()
        .u8("signature", 0xff)
        .any("signature", 8)
        .u8("signature", 0x7f)
        .u8("version", 3)
        .any("minor version", 1)
        .bytes("mechanism", b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")
        .any("as-server and filler", 32)
}

fn command(name: &'static str, data: Layout) -> Layout {
    let length = u8::try_from(1 + name.len() + data.len()).unwrap_or(u8::MAX);
    let head = Layout::big().u8("flags", 4).u8("length", length);
    head.u8("name length", u8::try_from(name.len()).unwrap_or(u8::MAX)).bytes("name", name).then(data)
}

/// READY of a DEALER.
pub(super) fn ready() -> Layout {
    let property = Layout::big().u8("property length", 11).bytes("property", b"Socket-Type");
    command("READY", property.u32("value length", 6).bytes("value", b"DEALER"))
}

pub(super) fn ping(ttl: u16, context: &[u8]) -> Layout {
    command("PING", Layout::big().u16("ttl", ttl).bytes("context", context))
}

pub(super) fn pong(context: &[u8]) -> Layout {
    command("PONG", Layout::big().bytes("context", context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m_03_m_09_the_bytes_are_those_that_were_captured() {
        let captured = [
            greeting(0, "NULL"),
            response("login", WRONG_PASSWORD),
            response("join_group", SUCCESS),
            string(response("join_call", SUCCESS), "group_name", "room"),
            unit(request("login", &["edoren", "bad"])),
        ];
        crate::vectors::has("proto-msgpack/vectors/messages.json", &captured);
    }
}
