//! The bodies of the fuzz targets: ordinary functions, so that the compiler and the tests keep them alive.

#![allow(clippy::missing_panics_doc, reason = "panicking is how a fuzz body reports")]

mod core_bodies;
mod dissonance;
mod msgpack;
mod msgpack_session;
mod opcode;
mod syfala;
mod syfala_session;
mod voicelink;

use voxwire_core::{Input, Instant, Output, PeerId, PeerIds, Session};

/// When a script begins. Not at the origin of the time line, where a timer that is due cannot be told from an event that waits.
pub(crate) const START: Instant = Instant::from_nanos(1);

pub use core_bodies::{core_framing, core_list, core_text};
pub use dissonance::{dissonance_message, dissonance_session};
pub use msgpack::{msgpack_message, msgpack_samples, msgpack_stream};
pub use msgpack_session::msgpack_session;
pub use opcode::{opcode_message, opcode_session, opcode_stream};
pub use syfala::{syfala_message, syfala_stream};
pub use syfala_session::syfala_session;
pub use voicelink::{voicelink_message, voicelink_session, voicelink_stream};

/// Reads a script of operations out of fuzzer input; zeros at its end.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Up to `n` bytes.
    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// F-19: the driver is out of places, and the first of `alive` goes that is worth less than a new peer: with it at most `carried`
/// connections that carry its calls, and nobody of those that `established` counts.
fn evict_first<S: Session>(
    session: &mut S,
    now: Instant,
    (alive, ids): (&mut Vec<PeerId>, &mut PeerIds),
    carried: usize,
    established: impl Fn(&S) -> usize,
) {
    let closing = |session: &mut S| -> Vec<PeerId> {
        let closed = session.outputs().filter_map(|output| match output {
            Output::Close { peer } => Some(peer),
            _ => None,
        });
        closed.collect()
    };
    let Some(first) = session.evictable().find(|peer| alive.contains(peer)) else { return };
    let (before, were) = (closing(session), established(session));
    alive.retain(|peer| *peer != first);
    ids.retire(first);
    session.handle_input(now, Input::Closed { peer: first }).expect("a peer that is there can go");
    let mut closed = closing(session);
    closed.retain(|peer| !before.contains(peer));
    assert!(closed.len() <= carried, "{closed:?}");
    assert!(closed.iter().all(|peer| alive.contains(peer)), "{closed:?} of {alive:?}");
    assert_eq!(established(session), were, "an established peer was closed");
}
