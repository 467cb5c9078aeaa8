//! Discovery, connections and heartbeats, at a server.

use super::bytes::{client, message, server};
use super::computer::Computer;
use crate::check::{Check, Outcome};
use core::time::Duration;

/// Longer than a deadline.
const SILENCE: Duration = Duration::from_millis(1000);
const SHORTLY: Duration = Duration::from_millis(300);

fn is_connect(datagram: &[u8]) -> bool {
    datagram.first() == Some(&server::CONNECT)
}

/// Anything but what is sent for the sake of time.
fn is_answer(datagram: &[u8]) -> bool {
    !matches!(datagram.first(), Some(&(server::HEARTBEAT | server::AUDIO)))
}

/// A question has no answer, and then StartIO has its own.
fn ignores(computer: &Computer, datagrams: &[&[u8]]) -> Outcome {
    for datagram in datagrams {
        computer.udp.send(datagram)?;
    }
    if let Some(came) = computer.next_for(SHORTLY, true, is_answer)? {
        return Err(computer.udp.fails("a datagram was answered that has no answer", &came));
    }
    computer.asks(&[client::START_IO], server::START_IO_SUCCESS)
}

pub(super) const CONNECTING: &[Check] = &[
    Check {
        row: "S-05",
        name: "offer",
        expected: "Discovery is answered with Connect, with at least one stream, and formats that are valid.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let computer = Computer::offered(stage, "alice")?;
            if computer.formats.inputs.is_empty() && computer.formats.outputs.is_empty() {
                return Err(computer.udp.fails("the offer has no streams", &computer.offer));
            }
            Ok(())
        },
    },
    Check {
        row: "S-05",
        name: "not-a-discovery",
        expected: "A Discovery with more behind it than zeros, which is a server's Connect, has no answer.",
        section: "Decisions, Discovery and connections",
        needs: &[],
        run: |stage| {
            let mut alice = Computer::new(stage, "alice")?;
            alice.udp.send(b"\x00\x01\0\0\0\0\0\x70\xe7\x40\x02\x20\x06\x00")?;
            if let Some(came) = alice.next_for(SHORTLY, false, |_| true)? {
                return Err(alice.udp.fails("a server's Connect was answered", &came));
            }
            alice.discover()
        },
    },
    Check {
        row: "S-05",
        name: "refused",
        expected: "After ConnectionRefused, Discovery of that client has no answer; others have theirs.",
        section: "States of a server",
        needs: &[],
        run: |stage| {
            let alice = Computer::offered(stage, "alice")?;
            alice.udp.send(&[client::CONNECTION_REFUSED])?;
            alice.udp.send(&[client::DISCOVERY])?;
            if let Some(came) = alice.next_for(SHORTLY, false, is_connect)? {
                return Err(alice
                    .udp
                    .fails("a client that has refused was offered the formats again", &came));
            }
            Computer::offered(stage, "bob").map(drop)
        },
    },
    Check {
        row: "S-05",
        name: "failed",
        expected: "After ConnectionFailed, Discovery of that client is answered again.",
        section: "States of a server",
        needs: &[],
        run: |stage| {
            let mut alice = Computer::offered(stage, "alice")?;
            alice.udp.send(&[client::CONNECTION_FAILED])?;
            alice.discover()
        },
    },
    Check {
        row: "S-06",
        name: "formats-fixed",
        expected: "Two clients are offered the same formats.",
        section: "States of a client",
        needs: &[],
        run: |stage| {
            let (alice, bob) = (Computer::offered(stage, "alice")?, Computer::offered(stage, "bob")?);
            if alice.offer == bob.offer {
                return Ok(());
            }
            let first = crate::layout::Layout::big().bytes("the offer to the other client", &alice.offer);
            bob.is(&first, &bob.offer)
        },
    },
    Check {
        row: "S-07",
        name: "heartbeats",
        expected: "A connected server sends Heartbeats, less than 600 ms apart.",
        section: "A session",
        needs: &[],
        run: |stage| {
            let alice = Computer::connected(stage, "alice")?;
            for _ in 0..5 {
                let beat = alice.next_for(Duration::from_millis(600), true, |_| true)?;
                let Some(beat) = beat else {
                    return Err(alice.udp.fails("nothing came for 600 ms", &[]));
                };
                alice.is(&message(server::HEARTBEAT), &beat)?;
            }
            Ok(())
        },
    },
    Check {
        row: "S-07",
        name: "silent-client",
        expected: "A client that says nothing for 600 ms is forgotten: Discovery is answered again.",
        section: "States of a server",
        needs: &[],
        run: |stage| {
            let mut alice = Computer::connected(stage, "alice")?;
            alice.next_for(SILENCE, false, |_| false)?;
            alice.discover()
        },
    },
    Check {
        row: "S-07",
        name: "connected-discovery",
        expected: "Discovery of a connected client has no answer.",
        section: "States of a server",
        needs: &[],
        run: |stage| ignores(&Computer::connected(stage, "alice")?, &[&[client::DISCOVERY]]),
    },
    Check {
        row: "S-07",
        name: "disconnect",
        expected: "After Disconnect the client is gone: Discovery is answered again at once.",
        section: "States of a server",
        needs: &[],
        run: |stage| {
            let mut alice = Computer::connected(stage, "alice")?;
            alice.udp.send(&[client::DISCONNECT])?;
            alice.discover()
        },
    },
    Check {
        row: "S-12",
        name: "malformed",
        expected: "Empty, unknown and cut datagrams have no answer, and the connection stays.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let alice = Computer::connected(stage, "alice")?;
            ignores(&alice, &[b"", b"\x0a", b"\x80", b"\xff\xff\xff\xff\xff", b"\x06\x00\x00", &[0xff; 1400]])
        },
    },
    Check {
        row: "S-12",
        name: "trailing-bytes",
        expected: "Bytes behind a message are ignored, and an overlong number is read.",
        section: "Decisions, Messages",
        needs: &[],
        run: |stage| {
            let alice = Computer::connected(stage, "alice")?;
            alice.asks(&[client::START_IO, 1, 2, 3], server::START_IO_SUCCESS)?;
            alice.asks(&[0x80 | client::STOP_IO, 0], server::STOP_IO_SUCCESS)
        },
    },
    Check {
        row: "S-12",
        name: "zeros",
        expected: "A datagram of zeros from a connected client changes nothing.",
        section: "Decisions, Messages",
        needs: &[],
        run: |stage| ignores(&Computer::connected(stage, "alice")?, &[&[0; 2000]]),
    },
    Check {
        row: "S-10",
        name: "two-clients",
        expected: "Two clients start and stop IO, each for itself.",
        section: "A session",
        needs: &["several"],
        run: |stage| {
            let (alice, bob) = (Computer::active(stage, "alice")?, Computer::active(stage, "bob")?);
            alice.asks(&[client::STOP_IO], server::STOP_IO_SUCCESS)?;
            bob.asks(&[client::START_IO], server::START_IO_SUCCESS)
        },
    },
];
