//! The packets of voicelink, from "On the wire".

use crate::layout::{Layout, Order};

pub(super) const HANDSHAKE: u16 = 0;
pub(super) const USER_NOT_FOUND: u16 = 1;
pub(super) const PARAMETERS: u16 = 2;
pub(super) const CLOSE: u16 = 3;
pub(super) const ACCEPT: u16 = 4;
pub(super) const DROP: u16 = 5;
pub(super) const DATA: u16 = 6;

/// Where a Handshake's Username begins.
pub(super) const USERNAME_AT: usize = 19;

/// A packet: its head, and `body`.
pub(super) fn packet(order: Order, kind: u16, body: Layout) -> Layout {
    let length = u32::try_from(6 + body.len()).unwrap_or(u32::MAX);
    Layout::new(order).u32("Length", length).u16("Message Type", kind).then(body)
}

/// A packet of types 1, 3, 4, 5 and 6: only bytes behind the head.
pub(super) fn with_bytes(order: Order, kind: u16, bytes: impl AsRef<[u8]>) -> Layout {
    let field = if kind == DATA { "samples" } else { "Optional Data" };
    packet(order, kind, Layout::new(order).bytes(field, bytes))
}

/// 48 kHz, one channel, int16, chunks of 960.
fn format(order: Order) -> Layout {
    Layout::new(order)
        .u32("Sample Rate", 48_000)
        .u16("Channels Count", 1)
        .u8("Format Type", 2)
        .u32("Chunk Size", 960)
}

pub(super) fn handshake(order: Order, name: &str, optional: &[u8]) -> Layout {
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
    let body =
        format(order).u16("Username Length", length).bytes("Username", name).bytes("Optional Data", optional);
    packet(order, HANDSHAKE, body)
}

/// A proposal, other than the one of `handshake`: 16 kHz, two channels, float32, chunks of 320.
pub(super) fn parameters(order: Order, optional: &[u8]) -> Layout {
    let body = Layout::new(order)
        .u32("Sample Rate", 16_000)
        .u16("Channels Count", 2)
        .u8("Format Type", 4)
        .u32("Chunk Size", 320)
        .bytes("Optional Data", optional);
    packet(order, PARAMETERS, body)
}

/// A packet whose Optional Data the peer chooses: `length` bytes of the packet in all.
pub(super) fn with_any(order: Order, kind: u16, length: usize) -> Layout {
    packet(order, kind, Layout::new(order).any("Optional Data", length.saturating_sub(6)))
}

fn length(buffer: &[u8], read: fn([u8; 4]) -> u32) -> Option<usize> {
    let length = read(buffer.first_chunk().copied()?);
    usize::try_from(length).ok().map(|length| length.max(6))
}

/// Where a packet in network order ends.
pub(super) fn cut_big(buffer: &[u8]) -> Option<usize> {
    length(buffer, u32::from_be_bytes)
}

/// Where a packet in the other order ends.
pub(super) fn cut_little(buffer: &[u8]) -> Option<usize> {
    length(buffer, u32::from_le_bytes)
}

pub(super) fn cutter(order: Order) -> crate::peer::Cutter {
    match order {
        Order::Big => cut_big,
        Order::Little => cut_little,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v_02_v_03_the_bytes_are_those_of_the_vectors() {
        let bob = Layout::big()
            .u32("Sample Rate", 44_100)
            .u16("Channels Count", 1)
            .u8("Format Type", 2)
            .u32("Chunk Size", 1024)
            .u16("Username Length", 3)
            .bytes("Username", b"bob");
        let none = with_bytes(Order::Big, USER_NOT_FOUND, b"");
        crate::vectors::has(
            "proto-voicelink/vectors/packets.json",
            &[packet(Order::Big, HANDSHAKE, bob), none],
        );
    }
}
