//! Sessions that send what a test says to all their peers.
#![allow(dead_code, reason = "each test uses a part of it")]

use core::time::Duration;
use voxwire_core::testing::TestSession;
use voxwire_core::{Datagram, Framing, Input, Instant, Lane, LengthPrefix};

/// Its frames are datagrams.
pub(crate) type Shouting = TestSession<Heard, Datagram>;
/// Its frames can be told from each other in a byte stream. It writes what it is given, without a length.
pub(crate) type ShoutingOnStream = TestSession<Heard, LengthPrefix>;

#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Reads no peer for a minute.
    pub(crate) pauses: bool,
    /// The first byte of each droppable frame that came in.
    pub(crate) droppable: Vec<u8>,
    /// How often it has learned that all is written.
    pub(crate) written: usize,
}

/// With frames of at most 1000 bytes.
pub(crate) fn shouting() -> Shouting {
    shouting_frames(1000)
}

/// With frames of at most `max` bytes.
pub(crate) fn shouting_frames(max: usize) -> Shouting {
    TestSession::new(Datagram { max }, Heard::default(), hear)
}

pub(crate) fn shouting_on_stream() -> ShoutingOnStream {
    let framing = LengthPrefix { width: 4, little_endian: false, adjust: 0, min: 4, max: 1000 };
    TestSession::new(framing, Heard::default(), hear)
}

fn hear<F: Framing + Clone>(session: &mut TestSession<Heard, F>, now: Instant, input: Input<'_>) {
    match input {
        Input::Opened { peer, .. } if session.state.pauses => {
            session.outbox.pause(peer, now.saturating_add(Duration::from_secs(60)));
        }
        Input::Frame { lane: Lane::Droppable, bytes, .. } => session.state.droppable.extend(bytes.first()),
        Input::Written { .. } => session.state.written += 1,
        _ => {}
    }
}
