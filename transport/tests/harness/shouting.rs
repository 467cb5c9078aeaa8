//! A session whose frames are datagrams, and which sends what a test says to all its peers.
#![allow(dead_code, reason = "each test uses a part of it")]

use core::time::Duration;
use voxwire_core::testing::TestSession;
use voxwire_core::{Datagram, Input, Lane};

pub(crate) type Shouting = TestSession<Heard, Datagram>;

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
    TestSession::new(Datagram { max }, Heard::default(), |session, now, input| match input {
        Input::Opened { peer, .. } if session.state.pauses => {
            session.outbox.pause(peer, now.saturating_add(Duration::from_secs(60)));
        }
        Input::Frame { lane: Lane::Droppable, bytes, .. } => session.state.droppable.extend(bytes.first()),
        Input::Written { .. } => session.state.written += 1,
        _ => {}
    })
}
