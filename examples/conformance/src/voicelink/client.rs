//! What the runner, as the server, expects of a client.

use super::bytes::{
    ACCEPT, CLOSE, DATA, DROP, HANDSHAKE, USER_NOT_FOUND, USERNAME_AT, cut_big, cut_little, handshake,
    parameters, with_bytes,
};
use crate::check::{Check, Outcome};
use crate::layout::{Layout, Order};
use crate::peer::Peer;
use crate::stage::Stage;
use core::time::Duration;

/// The order that a client's first packet shows.
fn order_of(first: &[u8]) -> Order {
    if first.starts_with(&[0, 0]) { Order::Big } else { Order::Little }
}

fn cut_either(buffer: &[u8]) -> Option<usize> {
    match order_of(buffer) {
        Order::Big => cut_big(buffer),
        Order::Little => cut_little(buffer),
    }
}

/// A Handshake of the client, to `callee`.
fn any_handshake(order: Order, callee: &str, length: usize) -> Layout {
    let fixed = Layout::new(order)
        .u32("Length", u32::try_from(length).unwrap_or(u32::MAX))
        .u16("Message Type", HANDSHAKE)
        .any("Sample Rate, Channels Count, Format Type, Chunk Size", 11)
        .u16("Username Length", u16::try_from(callee.len()).unwrap_or(u16::MAX))
        .bytes("Username", callee);
    fixed.rest("Optional Data")
}

/// The client once it has registered, and the order of its packets.
fn registered(stage: &Stage<'_>) -> Outcome<(Peer, Order)> {
    let mut client = stage.accept("client", cut_either)?;
    let first = client.frame()?;
    let order = order_of(&first);
    client.same_as(&any_handshake(order, "", first.len()), &first)?;
    if first.len() <= USERNAME_AT {
        return Err(client.fails("a registration has the name in its Optional Data", &first));
    }
    client.send(&with_bytes(order, ACCEPT, b""))?;
    Ok((client, order))
}

/// The client once it has called bob; registered before, if it wants to.
fn calling(stage: &Stage<'_>) -> Outcome<(Peer, Order, Vec<u8>)> {
    let mut client = stage.accept("client", cut_either)?;
    let mut came = client.frame()?;
    let order = order_of(&came);
    if came.get(17..19) == Some(&[0, 0]) {
        client.send(&with_bytes(order, ACCEPT, b""))?;
        came = client.frame()?;
    }
    client.same_as(&any_handshake(order, "bob", came.len()), &came)?;
    Ok((client, order, came))
}

/// A call of alice that the client has accepted.
fn in_call(stage: &Stage<'_>) -> Outcome<(Peer, Order)> {
    let (mut client, order) = registered(stage)?;
    client.send(&handshake(order, "alice", b""))?;
    client.expect(&with_any_optional(order, ACCEPT))?;
    Ok((client, order))
}

fn with_any_optional(order: Order, kind: u16) -> Layout {
    Layout::new(order).any("Length", 4).u16("Message Type", kind).rest("Optional Data")
}

/// The client sends no Data any more. What was on its way may still come, and the connection may end.
fn expect_no_data(client: &mut Peer, order: Order) -> Outcome {
    let kind = |frame: &[u8]| match (order, frame.get(4..6)) {
        (Order::Big, Some(&[high, low])) => u16::from_be_bytes([high, low]),
        (Order::Little, Some(&[low, high])) => u16::from_be_bytes([high, low]),
        _ => u16::MAX,
    };
    let late = crate::peer::Pause::new(Duration::from_millis(500));
    while let Some(frame) = client.frame_within(Duration::from_millis(500))? {
        if late.is_over() && kind(&frame) == DATA {
            return Err(client.fails("Data came half a second after the end of the call", &frame));
        }
    }
    Ok(())
}

pub(super) const CHECKS: &[Check] = &[
    Check {
        row: "V-13",
        name: "registers",
        expected: "The first packet is a Handshake with an empty Username and the name in its Optional Data.",
        section: "Decisions, Registration",
        needs: &["callee"],
        run: |stage| registered(stage).map(drop),
    },
    Check {
        row: "V-10",
        name: "accepts",
        expected: "A client that is called answers the Handshake with Accept.",
        section: "A session",
        needs: &["callee"],
        run: |stage| in_call(stage).map(drop),
    },
    Check {
        row: "V-01",
        name: "byte-by-byte",
        expected: "A Handshake that arrives byte by byte is answered as one that arrives whole.",
        section: "On the wire",
        needs: &["callee"],
        run: |stage| {
            let (mut client, order) = registered(stage)?;
            let bytes = handshake(order, "alice", b"optional").encode();
            client.send_split(&bytes, 1..bytes.len())?;
            client.expect(&with_any_optional(order, ACCEPT)).map(drop)
        },
    },
    Check {
        row: "V-01",
        name: "coalesced",
        expected: "A Handshake in one piece with the answer to the registration is taken, too.",
        section: "On the wire",
        needs: &["callee"],
        run: |stage| {
            let mut client = stage.accept("client", cut_either)?;
            let order = order_of(&client.frame()?);
            let both = [with_bytes(order, ACCEPT, b"").encode(), handshake(order, "alice", b"").encode()];
            client.send_bytes(&both.concat())?;
            client.expect(&with_any_optional(order, ACCEPT)).map(drop)
        },
    },
    Check {
        row: "V-06",
        name: "takes-data",
        expected: "A client in a call takes Data of any size, and the call stays up.",
        section: "On the wire",
        needs: &["callee"],
        run: |stage| {
            let (mut client, order) = in_call(stage)?;
            for length in [0, 2, 1920, 65_528] {
                client.send(&with_bytes(order, DATA, vec![0; length]))?;
            }
            while let Some(frame) = client.frame_within(Duration::from_millis(200))? {
                let layout = Layout::new(order).any("Length", 4).u16("Message Type", DATA).rest("samples");
                client.same_as(&layout, &frame)?;
                if frame.len() > 1 << 20 {
                    break;
                }
            }
            client.expect_open()
        },
    },
    Check {
        row: "V-12",
        name: "length-too-small",
        expected: "A Length below 6 closes the connection.",
        section: "Limits and rates",
        needs: &["callee"],
        run: |stage| {
            let (mut client, order) = registered(stage)?;
            client.send(&Layout::new(order).u32("Length", 5).u16("Message Type", DATA))?;
            client.expect_closed()
        },
    },
    Check {
        row: "V-02",
        name: "calls",
        expected: "A caller sends a Handshake with the callee's name.",
        section: "A session",
        needs: &["caller"],
        run: |stage| calling(stage).map(drop),
    },
    Check {
        row: "V-06",
        name: "sends-data",
        expected: "Once it is accepted, a caller sends Data of whole frames of the format that it proposed.",
        section: "A session",
        needs: &["caller"],
        run: |stage| {
            let (mut client, order, proposal) = calling(stage)?;
            client.send(&with_bytes(order, ACCEPT, b""))?;
            for _ in 0..5 {
                let data = client.frame()?;
                let layout = Layout::new(order).any("Length", 4).u16("Message Type", DATA).rest("samples");
                client.same_as(&layout, &data)?;
                let channels = match order {
                    Order::Big => u16::from_be_bytes([proposal[10], proposal[11]]),
                    Order::Little => u16::from_le_bytes([proposal[10], proposal[11]]),
                };
                let width = [1, 1, 2, 4, 4].get(usize::from(proposal[12])).copied().unwrap_or(1);
                if (data.len() - 6) % (usize::from(channels).max(1) * width) != 0 {
                    return Err(client.fails("the samples are no whole number of frames", &data));
                }
            }
            Ok(())
        },
    },
    Check {
        row: "V-04",
        name: "answers-counter",
        expected: "A caller answers Parameters with Accept or Close.",
        section: "A session",
        needs: &["caller"],
        run: |stage| {
            let (mut client, order, _) = calling(stage)?;
            client.send(&parameters(order, b""))?;
            let answer = client.frame()?;
            let close = with_any_optional(order, CLOSE);
            if close.difference(&answer).is_none() {
                return Ok(());
            }
            client.same_as(&with_any_optional(order, ACCEPT), &answer)
        },
    },
    Check {
        row: "V-03",
        name: "user-not-found",
        expected: "After UserNotFound a caller sends no Data.",
        section: "A session",
        needs: &["caller"],
        run: |stage| ended(stage, USER_NOT_FOUND, false),
    },
    Check {
        row: "V-05",
        name: "closed",
        expected: "After Close a caller sends no Data.",
        section: "Decisions, Calls",
        needs: &["caller"],
        run: |stage| ended(stage, CLOSE, false),
    },
    Check {
        row: "V-05",
        name: "dropped",
        expected: "After Drop in a call a caller sends no Data.",
        section: "A session",
        needs: &["caller"],
        run: |stage| ended(stage, DROP, true),
    },
];

/// A call of the client ends by a packet of type `kind`, perhaps after it was up.
fn ended(stage: &Stage<'_>, kind: u16, is_up: bool) -> Outcome {
    let (mut client, order, _) = calling(stage)?;
    if is_up {
        client.send(&with_bytes(order, ACCEPT, b""))?;
        client.expect(&Layout::new(order).any("Length", 4).u16("Message Type", DATA).rest("samples"))?;
    }
    client.send(&with_bytes(order, kind, b""))?;
    expect_no_data(&mut client, order)
}
