use crate::{DialId, EncodeError, FrameId, Full, Instant, Lane, ListenId, Message, Output, PeerId};
use alloc::{collections::VecDeque, vec::Vec};
use core::ops::Range;

/// A session's outputs: one arena of bytes, and a queue of small entries that point into it.
///
/// A frame is appended once, however many addressees it has. When everything has been drained the arena is cleared and keeps its memory, so a
/// warm session allocates nothing. Memory that was not needed for a while is given back.
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
    queue: VecDeque<Entry>,
    limit: usize,
    /// How often something waited and everything has been drained, and the most bytes and entries that waited, since memory was last given
    /// back.
    rounds: u32,
    most_bytes: usize,
    most_entries: usize,
}

/// So often everything has been drained before memory is given back that none of these rounds has needed.
const ROUNDS: u32 = 1024;

/// Memory that is not given back while there are peers: one relayed frame needs as much.
const KEPT_BYTES: usize = 8 * 1024;
const KEPT_ENTRIES: usize = 64;

/// Ranges are positions: `base` is subtracted to get an index. Half a cache line: a relay writes one for each addressee.
#[derive(Debug, Clone)]
enum Entry {
    Send { to: PeerId, lane: Lane, frame: Range<usize> },
    Broadcast { frame: Range<usize> },
    Dial { id: DialId, host: Range<usize>, port: u16 },
    Listen { id: ListenId },
    StopListening { id: ListenId },
    Limit { peer: PeerId, max_frame: usize },
    Budget { peer: PeerId, bytes: usize },
    Pause { peer: PeerId, until: Instant },
    Resume { peer: PeerId },
    Probe { peer: PeerId },
    Validate { peer: PeerId },
    Direct { peer: PeerId, allowed: bool },
    Close { peer: PeerId },
}

const _: () = assert!(size_of::<Entry>() <= 32);

impl Outbox {
    /// An empty outbox for at most `limit` bytes of frames and their queue entries. Frames of [`send_over_limit`](Self::send_over_limit) and other
    /// outputs come on top; sessions bound them.
    pub const fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            base: 0,
            cleared: 0,
            queue: VecDeque::new(),
            limit,
            rounds: 0,
            most_bytes: 0,
            most_entries: 0,
        }
    }

    /// Checks that `bytes` bytes of frames and `outputs` outputs fit now. Sessions ask this before they change state.
    ///
    /// # Errors
    /// [`Full`], with both figures.
    pub fn check_capacity(&self, bytes: usize, outputs: usize) -> Result<(), Full> {
        let needed = bytes.saturating_add(outputs.saturating_mul(size_of::<Entry>()));
        let available = self.available();
        if needed > available { Err(Full { needed, available }) } else { Ok(()) }
    }

    /// Bytes that are left of the limit.
    fn available(&self) -> usize {
        let used = self.bytes.len().saturating_add(self.queue.len().saturating_mul(size_of::<Entry>()));
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
        self.queue.push_back(Entry::Send { to, lane, frame });
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
        let (start, before) = (self.end(), self.queue.len());
        message.write_unchecked(wire, &mut self.bytes);
        let frame = self.frame_from(start);
        self.queue.extend(to.into_iter().map(|to| Entry::Send { to, lane, frame: frame.clone() }));
        if self.queue.len() == before {
            self.bytes.truncate(start.saturating_sub(self.base));
        }
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
        self.queue.push_back(Entry::Broadcast { frame: start..self.end() });
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
        self.queue.push_back(Entry::Dial { id, host: start..self.end(), port });
        Ok(())
    }

    /// Queues an [`Output::Listen`].
    pub fn listen(&mut self, id: ListenId) {
        self.queue.push_back(Entry::Listen { id });
    }

    /// Queues an [`Output::StopListening`].
    pub fn stop_listening(&mut self, id: ListenId) {
        self.queue.push_back(Entry::StopListening { id });
    }

    /// Queues an [`Output::Limit`].
    pub fn limit(&mut self, peer: PeerId, max_frame: usize) {
        self.queue.push_back(Entry::Limit { peer, max_frame });
    }

    /// Queues an [`Output::Budget`].
    pub fn budget(&mut self, peer: PeerId, bytes: usize) {
        self.queue.push_back(Entry::Budget { peer, bytes });
    }

    /// Queues an [`Output::Pause`].
    pub fn pause(&mut self, peer: PeerId, until: Instant) {
        self.queue.push_back(Entry::Pause { peer, until });
    }

    /// Queues an [`Output::Resume`].
    pub fn resume(&mut self, peer: PeerId) {
        self.queue.push_back(Entry::Resume { peer });
    }

    /// Queues an [`Output::Probe`].
    pub fn probe(&mut self, peer: PeerId) {
        self.queue.push_back(Entry::Probe { peer });
    }

    /// Queues an [`Output::Validate`].
    pub fn validate(&mut self, peer: PeerId) {
        self.queue.push_back(Entry::Validate { peer });
    }

    /// Queues an [`Output::Direct`].
    pub fn direct(&mut self, peer: PeerId, allowed: bool) {
        self.queue.push_back(Entry::Direct { peer, allowed });
    }

    /// Queues an [`Output::Close`].
    pub fn close(&mut self, peer: PeerId) {
        self.queue.push_back(Entry::Close { peer });
    }

    /// All outputs waiting, in order.
    #[inline]
    pub fn outputs(&self) -> impl Iterator<Item = Output<'_>> {
        self.queue.iter().map(|entry| match entry {
            Entry::Send { to, lane, frame } => {
                Output::Send { to: *to, lane: *lane, id: self.id(frame), frame: self.slice(frame) }
            }
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

    /// Drops the first `n` outputs.
    pub fn advance(&mut self, n: usize) {
        // Drivers call this after every input. Most inputs have no outputs: these do not count as rounds.
        if self.queue.is_empty() {
            return;
        }
        self.most_bytes = self.most_bytes.max(self.bytes.len());
        self.most_entries = self.most_entries.max(self.queue.len());
        if n >= self.queue.len() {
            self.queue.clear();
            self.clear();
            self.rounds = self.rounds.wrapping_add(1);
            if self.rounds >= ROUNDS {
                self.give_back();
            }
            return;
        }
        self.queue.drain(..n);
        // Give the drained front back once it is half of the arena; costs each byte at most one move.
        let first = self.queue.iter().find_map(|entry| match entry {
            Entry::Send { frame, .. } | Entry::Broadcast { frame } | Entry::Dial { host: frame, .. } => {
                Some(frame.start)
            }
            _ => None,
        });
        let drained = first.unwrap_or_else(|| self.end()).saturating_sub(self.base);
        if drained > self.bytes.len() / 2 {
            self.bytes.drain(..drained);
            self.base = self.base.saturating_add(drained);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives the memory of an empty outbox back. For hubs, when the last peer leaves.
    pub fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.clear();
            self.bytes = Vec::new();
            self.queue = VecDeque::new();
        }
    }

    /// Gives back what is more than four times what has been needed: twice that is kept, and some in any case.
    #[cold]
    fn give_back(&mut self) {
        let bytes = self.most_bytes.saturating_mul(2).max(KEPT_BYTES);
        let entries = self.most_entries.saturating_mul(2).max(KEPT_ENTRIES);
        if self.bytes.capacity() / 2 > bytes {
            self.bytes.shrink_to(bytes);
        }
        if self.queue.capacity() / 2 > entries {
            self.queue.shrink_to(entries);
        }
        (self.rounds, self.most_bytes, self.most_entries) = (0, 0, 0);
    }

    /// Begins the arena anew.
    fn clear(&mut self) {
        self.cleared = self.cleared.saturating_add(self.end() as u64);
        self.bytes.clear();
        self.base = 0;
    }

    /// The frame from `start` to the end of the arena. An empty one takes a byte, too, so that each begins at another place.
    fn frame_from(&mut self, start: usize) -> Range<usize> {
        let frame = start..self.end();
        if frame.is_empty() {
            self.bytes.push(0);
        }
        frame
    }

    /// Where the frame begins among all that there have been.
    fn id(&self, frame: &Range<usize>) -> FrameId {
        FrameId::new(self.cleared.wrapping_add(frame.start as u64))
    }

    fn end(&self) -> usize {
        self.base.saturating_add(self.bytes.len())
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.start.wrapping_sub(self.base)..range.end.wrapping_sub(self.base)).unwrap_or(&[])
    }

    /// Queues the frame from `start` to the end of the arena for every peer in `to`, or takes it back.
    fn address(
        &mut self,
        to: impl IntoIterator<Item = PeerId>,
        lane: Lane,
        start: usize,
    ) -> Result<&mut [u8], Full> {
        let frame = self.frame_from(start);
        let before = self.queue.len();
        let most = before.saturating_add(self.available().checked_div(size_of::<Entry>()).unwrap_or(0));
        // Not `for`: chains of adapters go through less code this way.
        let all = to.into_iter().try_for_each(|to| {
            let fits = self.queue.len() < most;
            if fits {
                self.queue.push_back(Entry::Send { to, lane, frame: frame.clone() });
            }
            fits.then_some(())
        });
        let mut result = Ok(());
        if all.is_none() {
            result = self.check_capacity(0, 1);
            self.queue.truncate(before);
        }
        let at = start.saturating_sub(self.base);
        if self.queue.len() == before {
            self.bytes.truncate(at);
        }
        let end = frame.end.saturating_sub(self.base);
        result.map(|()| self.bytes.get_mut(at..end).unwrap_or(&mut []))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId { slot: 0, generation: 0 };
    const B: PeerId = PeerId { slot: 1, generation: 0 };

    #[derive(Debug)]
    struct Word<'a>(&'a [u8]);

    impl<'a> Message<'a> for Word<'a> {
        type Wire = ();
        type At<'b> = Word<'b>;

        fn decode(frame: &'a [u8], (): &()) -> Result<Self, crate::DecodeError> {
            Ok(Self(frame))
        }

        fn encoded_len(&self, (): &()) -> Result<usize, EncodeError> {
            Ok(self.0.len())
        }

        fn write_unchecked(&self, (): &(), out: &mut impl bytes::BufMut) {
            out.put_slice(self.0);
        }
    }

    fn frames(outbox: &Outbox) -> Vec<(PeerId, &[u8])> {
        outbox
            .outputs()
            .filter_map(|output| match output {
                Output::Send { to, frame, .. } => Some((to, frame)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn one_copy_serves_all_addressees() {
        let mut outbox = Outbox::new(1000);
        outbox.forward([A, B], Lane::Droppable, b"hello").unwrap();
        outbox.close(A);
        assert_eq!(frames(&outbox), [(A, &b"hello"[..]), (B, b"hello")]);
        assert_eq!(outbox.bytes.len(), 5);
        assert_eq!(outbox.outputs().last(), Some(Output::Close { peer: A }));
        outbox.forward([], Lane::Droppable, b"nobody").unwrap();
        assert_eq!(outbox.bytes.len(), 5);
        let mut full = Outbox::new(0);
        full.send_all_over_limit([A, B], Lane::Reliable, &Word(b"now"), &()).unwrap();
        full.send_all_over_limit([], Lane::Reliable, &Word(b"nobody"), &()).unwrap();
        assert_eq!(frames(&full), [(A, &b"now"[..]), (B, b"now")]);
        assert_eq!(full.bytes.len(), 3);
    }

    /// G-M2
    #[test]
    fn what_one_burst_needed_is_given_back_and_what_is_needed_again_is_kept() {
        let mut outbox = Outbox::new(1 << 20);
        let burst = |outbox: &mut Outbox, frames: u32| {
            (0..frames).for_each(|_| _ = outbox.forward([A], Lane::Reliable, &[7; 100]).unwrap());
            outbox.advance(usize::MAX);
            (outbox.bytes.capacity(), outbox.queue.capacity())
        };
        let full = burst(&mut outbox, 1000);
        assert!((1..ROUNDS).all(|_| burst(&mut outbox, 10) == full));
        let warm = burst(&mut outbox, 10);
        (0..ROUNDS).for_each(|_| _ = burst(&mut outbox, 10));
        let rest = burst(&mut outbox, 10);
        let (bytes, entries) = (2 * KEPT_BYTES, 2 * KEPT_ENTRIES);
        assert!(full.0 >= 100_000 && rest.0 <= bytes && rest.1 <= entries, "{full:?} {warm:?} {rest:?}");
        assert!((0..3 * ROUNDS).all(|_| burst(&mut outbox, 10) == rest));
    }

    /// C-03: inputs that are answered by nothing, and small answers, take no memory from what comes after them.
    #[test]
    fn c_03_rounds_without_outputs_or_with_small_ones_give_nothing_back_that_a_frame_needs() {
        let mut outbox = Outbox::new(1 << 20);
        let capacity = |outbox: &Outbox| (outbox.bytes.capacity(), outbox.queue.capacity());
        let relay = |outbox: &mut Outbox, listeners: usize| {
            outbox.forward(core::iter::repeat_n(A, listeners), Lane::Droppable, &[7; 1000]).unwrap();
            outbox.advance(usize::MAX);
        };
        relay(&mut outbox, 1000);
        let many = capacity(&outbox);
        (0..3 * ROUNDS).for_each(|_| outbox.advance(0));
        assert_eq!(capacity(&outbox), many);
        (0..3 * ROUNDS).for_each(|_| _ = (outbox.close(A), outbox.advance(1)));
        let small = capacity(&outbox);
        assert!(small.1 < many.1, "{small:?} of {many:?}");
        relay(&mut outbox, KEPT_ENTRIES);
        assert_eq!(capacity(&outbox), small);
    }

    #[test]
    fn an_id_is_that_of_one_frame_for_all_its_addressees() {
        let mut outbox = Outbox::new(10_000);
        let mut ids = Vec::new();
        for _ in 0..3 {
            outbox.forward([A, B], Lane::Reliable, b"").unwrap();
            outbox.forward([A, B], Lane::Reliable, b"same").unwrap();
            outbox.send_over_limit(A, Lane::Reliable, &Word(b""), &()).unwrap();
            outbox.send_all_over_limit([A, B], Lane::Reliable, &Word(b"same"), &()).unwrap();
            assert_eq!(frames(&outbox)[4..], [(A, &b""[..]), (A, b"same"), (B, b"same")]);
            ids.extend(outbox.outputs().filter_map(|output| match output {
                Output::Send { id, .. } => Some(id),
                _ => None,
            }));
            outbox.advance(7);
            outbox.shrink();
        }
        ids.dedup();
        let distinct: std::collections::HashSet<FrameId> = ids.iter().copied().collect();
        assert_eq!((ids.len(), distinct.len()), (12, 12));
    }

    #[test]
    fn over_the_limit_nothing_is_queued() {
        let mut outbox = Outbox::new(200);
        assert_eq!(outbox.forward([A], Lane::Reliable, &[0; 300]).unwrap_err().available, 200);
        let many = [A; 50];
        assert!(outbox.forward(many, Lane::Reliable, &[0; 10]).is_err());
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes.len(), 0);
        outbox.forward([A], Lane::Reliable, &[0; 10]).unwrap();
    }

    #[test]
    fn partial_draining_keeps_order_and_gives_memory_back() {
        let mut outbox = Outbox::new(100_000);
        for n in 0..100_u8 {
            outbox.forward([A], Lane::Reliable, &[n; 10]).unwrap();
        }
        for n in 0..100_u8 {
            assert_eq!(frames(&outbox).first(), Some(&(A, &[n; 10][..])));
            outbox.advance(1);
            outbox.forward([B], Lane::Reliable, &[n; 10]).unwrap();
            assert!(outbox.bytes.len() <= 2020);
        }
        assert_eq!(frames(&outbox).len(), 100);
        outbox.advance(1000);
        assert!(outbox.is_empty() && outbox.bytes.is_empty());
        outbox.shrink();
        assert_eq!(outbox.bytes.capacity(), 0);
    }

    #[test]
    fn a_frame_can_be_edited_in_place() {
        let mut outbox = Outbox::new(1000);
        outbox.forward([A], Lane::Droppable, &[1, 2]).unwrap();
        outbox.forward([B], Lane::Droppable, &[3, 4]).unwrap().reverse();
        assert!(outbox.forward([], Lane::Droppable, &[5, 6]).unwrap().is_empty());
        assert_eq!(frames(&outbox), [(A, &[1, 2][..]), (B, &[4, 3])]);
    }
}
