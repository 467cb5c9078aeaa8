mod outputs;

use crate::{DialId, EncodeError, FrameId, Full, Instant, Lane, ListenId, Message, Output, PeerId};
use alloc::vec::Vec;
use core::ops::Range;
use outputs::Outputs;

/// A session's outputs: one arena of bytes, and a queue of small entries that point into it.
///
/// A frame is appended once, with one entry, however many addressees it has. When everything has been drained the arena is cleared and keeps its
/// memory, so a warm session allocates nothing. Memory that was not needed for a while is given back.
///
/// All peers share the arena, so a full one closes no peer. An input or a command whose outputs would exceed the limit is refused before any state
/// changes (see [`check_capacity`](Self::check_capacity)).
#[derive(Debug)]
pub struct Outbox {
    /// The bytes of frames. Positions count all bytes that were ever appended; that of the first byte here is `base`.
    bytes: Vec<u8>,
    base: usize,
    /// Bytes before the first position, of arenas that have been cleared.
    cleared: u64,
    queue: Vec<Entry>,
    /// The entries before this one have been drained.
    first: usize,
    /// The addressees of frames that have several, frame by frame.
    listed: Vec<PeerId>,
    /// Those before this one have been drained.
    first_listed: usize,
    /// Outputs that wait: one for each entry, or for each addressee that it lists.
    waiting: usize,
    limit: usize,
    /// How often something waited and everything has been drained, and how much room that took at most, since memory was last given back.
    rounds: u32,
    most: Needed,
}

/// How much something takes in each of an outbox's tables.
#[derive(Debug, Clone, Copy)]
struct Needed {
    bytes: usize,
    entries: usize,
    listed: usize,
}

/// So often everything has been drained before memory is given back that none of these rounds has needed.
const ROUNDS: u32 = 1024;

/// Memory that is not given back while there are peers: one relayed frame needs as much.
const KEPT: Needed = Needed { bytes: 8 * 1024, entries: 64, listed: 64 };

/// Ranges of frames are positions: `base` is subtracted to get an index. Half a cache line.
#[derive(Debug, Clone)]
enum Entry {
    Send {
        to: PeerId,
        lane: Lane,
        frame: Range<usize>,
    },
    /// Places in `listed`.
    SendAll {
        to: Range<u32>,
        lane: Lane,
        frame: Range<usize>,
    },
    Broadcast {
        frame: Range<usize>,
    },
    Dial {
        id: DialId,
        host: Range<usize>,
        port: u16,
    },
    Listen {
        id: ListenId,
    },
    StopListening {
        id: ListenId,
    },
    Limit {
        peer: PeerId,
        max_frame: usize,
    },
    Budget {
        peer: PeerId,
        bytes: usize,
    },
    Pause {
        peer: PeerId,
        until: Instant,
    },
    Resume {
        peer: PeerId,
    },
    Probe {
        peer: PeerId,
    },
    Validate {
        peer: PeerId,
    },
    Direct {
        peer: PeerId,
        allowed: bool,
    },
    Close {
        peer: PeerId,
    },
}

const _: () = assert!(size_of::<Entry>() <= 32);

/// Answers that one frame causes at most, to its sender and to the other side of a call.
const ANSWERS: usize = 4;
/// The longest of them: a head, and a name or a reason of 255 bytes.
const ANSWER_LEN: usize = 300;
const ANSWER_BYTES: usize = ANSWERS * ANSWER_LEN;
/// Instructions to the driver that one frame causes at most: a limit, a budget and a pause, for instance.
const INSTRUCTIONS: usize = 3;
/// The frame itself, its answers, and the instructions.
const RELAY_OUTPUTS: usize = 1 + ANSWERS + INSTRUCTIONS;

/// What an output counts for, beside the bytes of its frame.
const OUTPUT: usize = size_of::<Entry>();

impl Outbox {
    /// An empty outbox for at most `limit` bytes, of which each output takes at most 32 and a frame those of its own, once for all its addressees. Frames
    /// of [`send_over_limit`](Self::send_over_limit) and other outputs come on top; sessions bound them.
    pub const fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            base: 0,
            cleared: 0,
            queue: Vec::new(),
            first: 0,
            listed: Vec::new(),
            first_listed: 0,
            waiting: 0,
            limit,
            rounds: 0,
            most: Needed::NOTHING,
        }
    }

    /// Checks that `bytes` bytes of frames and `outputs` outputs fit now. Sessions ask this before they change state.
    ///
    /// # Errors
    /// [`Full`], with both figures.
    #[inline]
    pub fn check_capacity(&self, bytes: usize, outputs: usize) -> Result<(), Full> {
        let needed = bytes.saturating_add(outputs.saturating_mul(OUTPUT));
        let available = self.available();
        if needed > available { Err(Full { needed, available }) } else { Ok(()) }
    }

    /// Checks that all fits now that one frame can cause which is handed on to one peer: its `len` bytes, four answers of 300
    /// bytes, and three instructions to the driver.
    ///
    /// # Errors
    /// [`Full`], with both figures.
    #[inline]
    pub fn check_relay(&self, len: usize) -> Result<(), Full> {
        self.check_capacity(len.saturating_add(ANSWER_BYTES), RELAY_OUTPUTS)
    }

    /// Bytes that are left of the limit.
    #[inline]
    fn available(&self) -> usize {
        let used = self.bytes.len().saturating_add(self.waiting.saturating_mul(OUTPUT));
        self.limit.saturating_sub(used)
    }

    /// Encodes `message` once and queues it for every peer in `to`. Returns the frame, which may be edited in place. It is empty if there was no
    /// addressee.
    ///
    /// # Errors
    /// Those of [`Message::encoded_len`], or [`EncodeError::NoRoom`]; nothing is queued then.
    pub fn send<'m, M: Message<'m>>(
        &mut self,
        to: impl IntoIterator<Item = PeerId>,
        lane: Lane,
        message: &M,
        wire: &M::Wire,
    ) -> Result<&mut [u8], EncodeError> {
        let len = message.encoded_len(wire)?;
        self.check_capacity(len, 1)?;
        let start = self.end();
        message.write_unchecked(wire, &mut self.bytes);
        self.address(to, lane, start).map_err(EncodeError::from)
    }

    /// Queues a frame as it is for every peer in `to`. Returns the copy, as [`send`](Self::send) does.
    ///
    /// # Errors
    /// [`Full`]; nothing is queued then.
    #[inline]
    pub fn forward(
        &mut self,
        to: impl IntoIterator<Item = PeerId>,
        lane: Lane,
        frame: &[u8],
    ) -> Result<&mut [u8], Full> {
        self.check_capacity(frame.len(), 1)?;
        let start = self.end();
        self.bytes.extend_from_slice(frame);
        self.address(to, lane, start)
    }

    /// Encodes `message` for one peer, beyond the limit. It is for messages that must be sent even if the outbox is full, such as the end of a call.
    /// The caller's own tables bound their number.
    ///
    /// # Errors
    /// Those of [`Message::encoded_len`].
    pub fn send_over_limit<'m, M: Message<'m>>(
        &mut self,
        to: PeerId,
        lane: Lane,
        message: &M,
        wire: &M::Wire,
    ) -> Result<(), EncodeError> {
        message.encoded_len(wire)?;
        let start = self.end();
        message.write_unchecked(wire, &mut self.bytes);
        let frame = self.frame_from(start);
        self.push(Entry::Send { to, lane, frame });
        Ok(())
    }

    /// As [`send_over_limit`](Self::send_over_limit), once for every peer in `to`.
    ///
    /// # Errors
    /// Those of [`Message::encoded_len`].
    pub fn send_all_over_limit<'m, M: Message<'m>>(
        &mut self,
        to: impl IntoIterator<Item = PeerId>,
        lane: Lane,
        message: &M,
        wire: &M::Wire,
    ) -> Result<(), EncodeError> {
        message.encoded_len(wire)?;
        let start = self.end();
        message.write_unchecked(wire, &mut self.bytes);
        let frame = self.frame_from(start);
        self.queue_all(to, MAX_LISTED, lane, &frame);
        Ok(())
    }

    /// Queues a datagram for every host on the local network.
    ///
    /// # Errors
    /// [`Full`]; nothing is queued then.
    pub fn broadcast(&mut self, frame: &[u8]) -> Result<(), Full> {
        self.check_capacity(frame.len(), 1)?;
        let start = self.end();
        self.bytes.extend_from_slice(frame);
        self.push(Entry::Broadcast { frame: start..self.end() });
        Ok(())
    }

    /// Queues an [`Output::Dial`].
    ///
    /// # Errors
    /// [`Full`]; nothing is queued then.
    pub fn dial(&mut self, id: DialId, host: &str, port: u16) -> Result<(), Full> {
        self.check_capacity(host.len(), 1)?;
        let start = self.end();
        self.bytes.extend_from_slice(host.as_bytes());
        self.push(Entry::Dial { id, host: start..self.end(), port });
        Ok(())
    }

    /// Queues an [`Output::Listen`].
    pub fn listen(&mut self, id: ListenId) {
        self.push(Entry::Listen { id });
    }

    /// Queues an [`Output::StopListening`].
    pub fn stop_listening(&mut self, id: ListenId) {
        self.push(Entry::StopListening { id });
    }

    /// Queues an [`Output::Limit`].
    pub fn limit(&mut self, peer: PeerId, max_frame: usize) {
        self.push(Entry::Limit { peer, max_frame });
    }

    /// Queues an [`Output::Budget`].
    pub fn budget(&mut self, peer: PeerId, bytes: usize) {
        self.push(Entry::Budget { peer, bytes });
    }

    /// Queues an [`Output::Pause`].
    pub fn pause(&mut self, peer: PeerId, until: Instant) {
        self.push(Entry::Pause { peer, until });
    }

    /// Queues an [`Output::Resume`].
    pub fn resume(&mut self, peer: PeerId) {
        self.push(Entry::Resume { peer });
    }

    /// Queues an [`Output::Probe`].
    pub fn probe(&mut self, peer: PeerId) {
        self.push(Entry::Probe { peer });
    }

    /// Queues an [`Output::Validate`].
    pub fn validate(&mut self, peer: PeerId) {
        self.push(Entry::Validate { peer });
    }

    /// Queues an [`Output::Direct`].
    pub fn direct(&mut self, peer: PeerId, allowed: bool) {
        self.push(Entry::Direct { peer, allowed });
    }

    /// Queues an [`Output::Close`].
    pub fn close(&mut self, peer: PeerId) {
        self.push(Entry::Close { peer });
    }

    #[inline]
    fn push(&mut self, entry: Entry) {
        self.waiting = self.waiting.wrapping_add(1);
        self.queue.push(entry);
    }

    /// All outputs waiting, in order.
    #[inline]
    pub fn outputs(&self) -> impl Iterator<Item = Output<'_>> {
        Outputs::new(self)
    }

    #[inline]
    fn entries(&self) -> &[Entry] {
        self.queue.get(self.first..).unwrap_or(&[])
    }

    /// Drops the first `n` outputs.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        // Drivers call this after every input. Most inputs have no outputs: these do not count as rounds.
        if self.queue.is_empty() {
            return;
        }
        self.most.bytes = self.most.bytes.max(self.bytes.len());
        self.most.entries = self.most.entries.max(self.queue.len());
        self.most.listed = self.most.listed.max(self.listed.len());
        if n < self.waiting {
            return self.drain(n);
        }
        self.clear();
        self.rounds = self.rounds.wrapping_add(1);
        if self.rounds >= ROUNDS {
            self.give_back();
        }
    }

    /// Drops the first `n` of more outputs.
    #[cold]
    fn drain(&mut self, mut n: usize) {
        self.waiting = self.waiting.saturating_sub(n);
        while n > 0 {
            let Some(entry) = self.queue.get_mut(self.first) else { break };
            if let Entry::SendAll { to, .. } = entry {
                let many = to.len().min(n);
                self.first_listed = index(to.start).saturating_add(many);
                if n < to.len() {
                    to.start = place(self.first_listed);
                    break;
                }
                n = n.saturating_sub(many);
            } else {
                n = n.saturating_sub(1);
            }
            self.first = self.first.saturating_add(1);
        }
        self.compact();
    }

    /// Gives the drained front of each table back once it is more than half of it: a row is moved a number of times that grows with the logarithm
    /// of the table's length.
    fn compact(&mut self) {
        if self.first > self.queue.len() / 2 {
            self.queue.drain(..self.first);
            self.first = 0;
        }
        let first = self.entries().iter().find_map(|entry| match entry {
            Entry::Send { frame, .. }
            | Entry::SendAll { frame, .. }
            | Entry::Broadcast { frame }
            | Entry::Dial { host: frame, .. } => Some(frame.start),
            _ => None,
        });
        let drained = first.unwrap_or_else(|| self.end()).saturating_sub(self.base);
        if drained > self.bytes.len() / 2 {
            self.bytes.drain(..drained);
            self.base = self.base.saturating_add(drained);
        }
        if self.first_listed > self.listed.len() / 2 {
            let drained = place(self.first_listed);
            self.listed.drain(..self.first_listed);
            self.first_listed = 0;
            for entry in self.queue.iter_mut().skip(self.first) {
                if let Entry::SendAll { to, .. } = entry {
                    *to = to.start.saturating_sub(drained)..to.end.saturating_sub(drained);
                }
            }
        }
    }

    /// How many outputs wait.
    pub const fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives the memory of an empty outbox back. For hubs, when the last peer leaves.
    pub fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.clear();
            (self.bytes, self.queue, self.listed) = (Vec::new(), Vec::new(), Vec::new());
        }
    }

    /// Gives back what is more than four times what has been needed: twice that is kept, and some in any case.
    #[cold]
    fn give_back(&mut self) {
        let Needed { bytes, entries, listed } = self.most;
        shrink(&mut self.bytes, bytes, KEPT.bytes);
        shrink(&mut self.queue, entries, KEPT.entries);
        shrink(&mut self.listed, listed, KEPT.listed);
        (self.rounds, self.most) = (0, Needed::NOTHING);
    }

    /// Begins the arena anew, without any output.
    #[inline]
    fn clear(&mut self) {
        self.cleared = self.cleared.wrapping_add(self.end() as u64);
        self.bytes.clear();
        self.queue.clear();
        self.listed.clear();
        (self.base, self.first, self.first_listed, self.waiting) = (0, 0, 0, 0);
    }

    /// The frame from `start` to the end of the arena. An empty one takes a byte, too, so that each begins at another place.
    #[inline]
    fn frame_from(&mut self, start: usize) -> Range<usize> {
        let frame = start..self.end();
        if frame.is_empty() {
            self.bytes.push(0);
        }
        frame
    }

    /// Where the frame begins among all that there have been.
    #[inline]
    const fn id(&self, frame: &Range<usize>) -> FrameId {
        FrameId::new(self.cleared.wrapping_add(frame.start as u64))
    }

    #[inline]
    fn end(&self) -> usize {
        self.base.wrapping_add(self.bytes.len())
    }

    #[inline]
    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.start.wrapping_sub(self.base)..range.end.wrapping_sub(self.base)).unwrap_or(&[])
    }

    /// Queues the frame from `start` to the end of the arena for every peer in `to`, or takes it back.
    #[inline]
    fn address(
        &mut self,
        to: impl IntoIterator<Item = PeerId>,
        lane: Lane,
        start: usize,
    ) -> Result<&mut [u8], Full> {
        let frame = self.frame_from(start);
        let available = self.available();
        let fits = self.queue_all(to, available / OUTPUT, lane, &frame);
        if !fits {
            return Err(Full { needed: OUTPUT, available: available % OUTPUT });
        }
        let frame = frame.start.wrapping_sub(self.base)..frame.end.wrapping_sub(self.base);
        Ok(self.bytes.get_mut(frame).unwrap_or(&mut []))
    }

    /// Queues the last frame of the arena for every peer in `to`. False, and the frame is taken back, if these are more than `most`.
    #[inline]
    fn queue_all(
        &mut self,
        to: impl IntoIterator<Item = PeerId>,
        most: usize,
        lane: Lane,
        frame: &Range<usize>,
    ) -> bool {
        let mut to = to.into_iter();
        // Most frames have one addressee, and most callers say so.
        if let (true, (1, Some(1))) = (most > 0, to.size_hint()) {
            if let Some(to) = to.next() {
                self.push(Entry::Send { to, lane, frame: frame.clone() });
                return true;
            }
        }
        let Self { listed, .. } = self;
        let before = listed.len();
        let end = before.saturating_add(most).min(MAX_LISTED);
        let fits = match to.size_hint() {
            // Without a look at each.
            (len, Some(exactly)) if len == exactly => {
                let fits = before.saturating_add(len) <= end;
                if fits {
                    listed.extend(to);
                }
                fits
            }
            // Not `for`: chains of adapters go through less code this way.
            _ => to
                .try_for_each(|to| {
                    let fits = listed.len() < end;
                    if fits {
                        listed.push(to);
                    }
                    fits.then_some(())
                })
                .is_some(),
        };
        let places = place(before)..place(listed.len());
        match listed.get(before..) {
            Some(&[to]) if fits => {
                listed.truncate(before);
                self.push(Entry::Send { to, lane, frame: frame.clone() });
            }
            Some([_, more @ ..]) if fits => {
                self.waiting = self.waiting.wrapping_add(more.len());
                self.push(Entry::SendAll { to: places, lane, frame: frame.clone() });
            }
            _ => {
                listed.truncate(before);
                self.bytes.truncate(frame.start.wrapping_sub(self.base));
            }
        }
        fits
    }
}

impl Needed {
    const NOTHING: Self = Self { bytes: 0, entries: 0, listed: 0 };
}

/// Places in a list of addressees are of 32 bits: more are not queued at a time.
const MAX_LISTED: usize = u32::MAX as usize;

#[inline]
fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[inline]
fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

fn shrink<T>(table: &mut Vec<T>, needed: usize, kept: usize) {
    let keep = needed.saturating_mul(2).max(kept);
    if table.capacity() / 2 > keep {
        table.shrink_to(keep);
    }
}

#[cfg(test)]
mod tests;
