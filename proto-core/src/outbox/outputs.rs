//! What waits in an outbox, output by output.

use super::{Entry, Outbox, index};
use crate::{FrameId, Lane, Output, PeerId};

/// The outputs of an outbox, in order.
pub(super) struct Outputs<'a> {
    outbox: &'a Outbox,
    entries: core::slice::Iter<'a, Entry>,
    /// A frame, and its addressees that are left.
    sent: Sent<'a>,
}

/// A frame that is sent.
#[derive(Clone)]
struct Sent<'a> {
    to: core::slice::Iter<'a, PeerId>,
    lane: Lane,
    id: FrameId,
    frame: &'a [u8],
}

impl<'a> Outputs<'a> {
    #[inline]
    pub(super) fn new(outbox: &'a Outbox) -> Self {
        let sent = Sent { to: [].iter(), lane: Lane::Reliable, id: FrameId::new(0), frame: &[] };
        Self { outbox, entries: outbox.entries().iter(), sent }
    }
}

impl<'a> Iterator for Sent<'a> {
    type Item = Output<'a>;

    #[inline]
    fn next(&mut self) -> Option<Output<'a>> {
        let Self { to, lane, id, frame } = self;
        to.next().map(|&to| Output::Send { to, lane: *lane, id: *id, frame })
    }

    #[inline]
    fn fold<B, F: FnMut(B, Output<'a>) -> B>(self, init: B, mut f: F) -> B {
        let Self { to, lane, id, frame } = self;
        to.fold(init, |all, &to| f(all, Output::Send { to, lane, id, frame }))
    }
}

impl<'a> Iterator for Outputs<'a> {
    type Item = Output<'a>;

    #[inline]
    fn next(&mut self) -> Option<Output<'a>> {
        loop {
            if let Some(output) = self.sent.next() {
                return Some(output);
            }
            let entry = self.entries.next()?;
            match self.outbox.sent(entry) {
                Some(sent) => self.sent = sent,
                None => return self.outbox.other(entry),
            }
        }
    }

    #[inline]
    fn fold<B, F: FnMut(B, Output<'a>) -> B>(self, init: B, mut f: F) -> B {
        let Self { outbox, entries, sent } = self;
        let all = sent.fold(init, &mut f);
        entries.fold(all, |all, entry| match outbox.sent(entry) {
            Some(sent) => sent.fold(all, &mut f),
            None => outbox.other(entry).into_iter().fold(all, &mut f),
        })
    }
}

impl Outbox {
    /// The frame of an entry, if it is one.
    #[inline]
    fn sent<'a>(&'a self, entry: &'a Entry) -> Option<Sent<'a>> {
        let (to, lane, frame) = match entry {
            Entry::Send { to, lane, frame } => (core::slice::from_ref(to), lane, frame),
            Entry::SendAll { to, lane, frame } => {
                (self.listed.get(index(to.start)..index(to.end)).unwrap_or(&[]), lane, frame)
            }
            _ => return None,
        };
        Some(Sent { to: to.iter(), lane: *lane, id: self.id(frame), frame: self.slice(frame) })
    }

    /// The output of an entry that is no frame.
    #[cold]
    fn other(&self, entry: &Entry) -> Option<Output<'_>> {
        Some(match entry {
            Entry::Send { .. } | Entry::SendAll { .. } => return None,
            Entry::Broadcast { frame } => Output::Broadcast { frame: self.slice(frame) },
            Entry::Dial { id, host, port } => Output::Dial {
                id: *id,
                host: core::str::from_utf8(self.slice(host)).unwrap_or(""),
                port: *port,
            },
            Entry::Listen { id } => Output::Listen { id: *id },
            Entry::StopListening { id } => Output::StopListening { id: *id },
            Entry::Limit { peer, max_frame } => Output::Limit { peer: *peer, max_frame: *max_frame },
            Entry::Budget { peer, bytes } => Output::Budget { peer: *peer, bytes: *bytes },
            Entry::Pause { peer, until } => Output::Pause { peer: *peer, until: *until },
            Entry::Resume { peer } => Output::Resume { peer: *peer },
            Entry::Probe { peer } => Output::Probe { peer: *peer },
            Entry::Validate { peer } => Output::Validate { peer: *peer },
            Entry::Direct { peer, allowed } => Output::Direct { peer: *peer, allowed: *allowed },
            Entry::Close { peer } => Output::Close { peer: *peer },
        })
    }
}
