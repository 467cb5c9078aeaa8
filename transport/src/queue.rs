use crate::held::Held;
use crate::tcp_udp::StreamFraming;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use voxwire_core::{Framing, Lane};

/// What waits to be written to one connection: whole frames.
///
/// Droppable frames have a budget of bytes; over it the oldest goes first, because fresh audio is worth more. Reliable
/// frames have one of their own, and over it the connection is to be closed. One frame of a lane is always admitted,
/// however large.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The queue's own bytes, from `start` on: moved only when most of them have been taken.
    bytes: Vec<u8>,
    start: usize,
    /// The first one is no gap.
    frames: VecDeque<Frame>,
    /// Once something droppable has waited. On the heap, because most connections have nothing waiting.
    drops: Option<Box<Drops>>,
    droppable: Waiting,
    reliable: Waiting,
    /// Droppable frames dropped so far.
    pub(crate) dropped: u64,
    /// Something waits that is not to wait twice.
    once: bool,
    /// Bytes that were copied within the queue or out of it, and frames that were looked at.
    #[cfg(test)]
    moved: usize,
}

/// Where a frame is: so many frames and own bytes have been queued before it. Nothing has to be adjusted when those before it go.
#[derive(Debug, Clone, Copy, Default)]
struct Spot {
    frame: u64,
    byte: u64,
}

impl Spot {
    /// What closing gaps costs from here to `end`, and what frames and bytes take.
    fn weight(self, end: Self) -> u64 {
        let frames = end.frame.saturating_sub(self.frame).saturating_mul(size_of::<Frame>() as u64);
        end.byte.saturating_sub(self.byte).saturating_add(frames)
    }

    const fn advance(&mut self, frames: u64, bytes: usize) {
        self.frame = self.frame.saturating_add(frames);
        self.byte = self.byte.saturating_add(bytes as u64);
    }
}

/// What it takes to drop a frame that is behind others.
#[derive(Debug, Default)]
struct Drops {
    /// What has been taken out of the front so far: where the first frame is.
    front: Spot,
    /// Where the droppable frames are.
    spots: VecDeque<Spot>,
    gaps: Gaps,
}

/// Where droppable frames were that have been dropped from behind others. All are before those that wait.
#[derive(Debug, Clone, Copy, Default)]
struct Gaps {
    /// The first of them, or something before it.
    first: Spot,
    frames: u64,
    bytes: usize,
}

/// A frame that waits. Lengths instead of positions, so that nothing has to be adjusted when those before it go.
#[derive(Debug)]
enum Frame {
    /// So many of the queue's own bytes.
    Own { lane: Lane, once: bool, len: usize },
    /// A reliable frame that is shared with other queues, behind so many of the queue's own bytes.
    Held { head: u32, frame: Arc<Held> },
    /// So many of the queue's own bytes are nobody's any more.
    Gap { len: usize },
}

impl Frame {
    /// How many of the queue's own bytes are its.
    const fn own(&self) -> usize {
        match self {
            Self::Own { len, .. } | Self::Gap { len } => *len,
            Self::Held { head, .. } => *head as usize,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Own { len, .. } => *len,
            Self::Gap { .. } => 0,
            Self::Held { frame, .. } => self.own().saturating_add(frame.bytes().len()),
        }
    }
}

/// So many frames that are shared with other queues are written with one call.
const HELD_AT_ONCE: usize = 64;
/// Each of them with what comes before it, and what comes behind the last.
pub(crate) const SLICES: usize = 2 * HELD_AT_ONCE + 1;

/// What is being written: whole frames in order, with one call if the system takes it all.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    own: Vec<u8>,
    /// How much of `own` is written.
    done: usize,
    /// Frames that are shared with other connections, with where each comes in: behind so many bytes of `own`.
    held: VecDeque<(usize, Arc<Held>)>,
    /// How much of the first of them is written.
    held_done: usize,
    left: usize,
}

impl Batch {
    pub(crate) const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Bytes that are still to be written.
    pub(crate) const fn len(&self) -> usize {
        self.left
    }

    /// Memory held for this batch alone, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.own
            .capacity()
            .saturating_add(self.held.capacity().saturating_mul(size_of::<(usize, Arc<Held>)>()))
    }

    /// This batch's part of the frames that it shares with others, in bytes.
    pub(crate) fn share(&self) -> usize {
        self.held.iter().fold(0, |sum, (_, frame)| sum.saturating_add(frame.share()))
    }

    /// All that is still to be written, if it lies in one piece.
    pub(crate) fn one_piece(&self) -> Option<&[u8]> {
        if self.held.is_empty() { self.own.get(self.done..) } else { None }
    }

    /// All that is still to be written.
    pub(crate) fn pieces<'a, 'b>(&'a self, slices: &'b mut [IoSlice<'a>; SLICES]) -> &'b [IoSlice<'a>] {
        let (mut start, mut skipped) = (self.done, self.held_done);
        let held = self.held.iter().flat_map(|(at, frame)| {
            let own = self.own.get(start..*at).unwrap_or(&[]);
            start = *at;
            [own, frame.bytes().get(core::mem::take(&mut skipped)..).unwrap_or(&[])]
        });
        let mut count: usize = 0;
        let mut slots = slices.iter_mut();
        for piece in held.filter(|piece| !piece.is_empty()) {
            let Some(slot) = slots.next() else { break };
            *slot = IoSlice::new(piece);
            count = count.saturating_add(1);
        }
        let behind = self.own.get(self.held.back().map_or(self.done, |(at, _)| *at)..).unwrap_or(&[]);
        if let Some(slot) = slots.next().filter(|_| !behind.is_empty()) {
            *slot = IoSlice::new(behind);
            count = count.saturating_add(1);
        }
        slices.get(..count).unwrap_or(&[])
    }

    /// So many bytes have been written.
    pub(crate) fn advance(&mut self, mut n: usize) {
        self.left = self.left.saturating_sub(n);
        loop {
            let until = self.held.front().map_or(self.own.len(), |(at, _)| *at);
            let own = n.min(until.saturating_sub(self.done));
            self.done = self.done.saturating_add(own);
            n = n.saturating_sub(own);
            let Some((_, frame)) = self.held.front().filter(|_| self.done >= until) else { return };
            let rest = frame.bytes().len().saturating_sub(self.held_done);
            if n < rest {
                self.held_done = self.held_done.saturating_add(n);
                return;
            }
            n = n.saturating_sub(rest);
            self.held_done = 0;
            self.held.pop_front();
        }
    }

    /// What is left may take long: where it is at most half of what is held for it, it moves to memory that it fills, if more than
    /// `spared` bytes would go then. A shared frame moves only if it is the last one, and larger than `large`, and if all who share it
    /// could do the same and take no more than it. Returns the memory that is not needed any more.
    pub(crate) fn shrink(&mut self, spared: usize, large: usize) -> Option<Vec<u8>> {
        let held = match self.held.front() {
            None => 0,
            Some((_, last)) if self.held.len() == 1 && last.bytes().len() > large => {
                if self.left.saturating_mul(Arc::strong_count(last)) > last.bytes().len() {
                    return None;
                }
                last.bytes().len()
            }
            Some(_) => return None,
        };
        let holds = self.own.capacity().saturating_add(held);
        if holds <= spared || self.left > holds / 2 {
            return None;
        }
        let mut smaller = Vec::with_capacity(self.left);
        let mut slices = [IoSlice::new(&[]); SLICES];
        self.pieces(&mut slices).iter().for_each(|piece| smaller.extend_from_slice(piece));
        self.held = VecDeque::new();
        (self.done, self.held_done) = (0, 0);
        Some(core::mem::replace(&mut self.own, smaller))
    }

    /// The memory held for this batch alone; what is left of it is let go.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.own
    }
}

/// The frames of one lane.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    frames: usize,
    bytes: usize,
    max: usize,
}

impl Waiting {
    const fn is_over(&self, max: usize) -> bool {
        self.bytes > max && self.frames > 1
    }

    const fn add(&mut self, len: usize) {
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(len);
    }

    const fn remove(&mut self, len: usize) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(len);
    }
}

/// A queue keeps the room of so many frames.
const KEPT_FRAMES: usize = 16;
/// What droppable frames may take on a connection that has not been slow yet.
const BURST: usize = 1024 * 1024;

/// A reliable frame did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Queue {
    pub(crate) const fn new(max_queued: usize) -> Self {
        Self::with_limits(max_queued, max_queued)
    }

    /// A queue for so many bytes of droppable frames, where the session sets no budget, and of reliable ones.
    pub(crate) const fn with_limits(budget: usize, reliable: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            frames: VecDeque::new(),
            drops: None,
            droppable: Waiting { frames: 0, bytes: 0, max: budget },
            reliable: Waiting { frames: 0, bytes: 0, max: reliable },
            dropped: 0,
            once: false,
            #[cfg(test)]
            moved: 0,
        }
    }

    /// What droppable frames may take.
    pub(crate) const fn set_budget(&mut self, bytes: usize) {
        self.droppable.max = bytes;
    }

    /// Bytes of reliable frames waiting, and how many may.
    pub(crate) const fn reliable(&self) -> (usize, usize) {
        (self.reliable.bytes, self.reliable.max)
    }

    /// Bytes waiting.
    pub(crate) const fn len(&self) -> usize {
        self.reliable.bytes.saturating_add(self.droppable.bytes)
    }

    /// Memory held for what waits, in bytes, but for frames that are shared with other queues. The room of the last few frames of a
    /// queue that is empty belongs to the connection.
    pub(crate) fn memory(&self) -> usize {
        if self.frames.is_empty() {
            return self.bytes.capacity();
        }
        let frames = self.frames.capacity().saturating_mul(size_of::<Frame>());
        let spots = self.drops.as_ref().map_or(0, |drops| drops.spots.capacity());
        let spots = spots.saturating_mul(size_of::<Spot>());
        self.bytes.capacity().saturating_add(frames).saturating_add(spots)
    }

    /// This queue's part of the frames that it shares with others, in bytes.
    pub(crate) fn share(&self) -> usize {
        self.frames.iter().fold(0, |sum: usize, frame| match frame {
            Frame::Held { frame, .. } => sum.saturating_add(frame.share()),
            Frame::Own { .. } | Frame::Gap { .. } => sum,
        })
    }

    /// Bytes of droppable frames waiting.
    pub(crate) const fn droppable(&self) -> usize {
        self.droppable.bytes
    }

    /// Drops all droppable frames.
    pub(crate) fn drop_droppable(&mut self) {
        self.drop_oldest(|droppable| droppable.frames > 0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Adds a reliable frame that other queues may have, too, behind its head.
    pub(crate) fn push_held(
        &mut self,
        framing: &StreamFraming<impl Framing>,
        frame: Arc<Held>,
    ) -> Result<(), Overflow> {
        let start = self.bytes.len();
        framing.put_head(Lane::Reliable, frame.bytes(), &mut self.bytes);
        let head = u32::try_from(self.bytes.len().saturating_sub(start)).unwrap_or(u32::MAX);
        let frame = Frame::Held { head, frame };
        self.reliable.add(frame.len());
        self.frames.push_back(frame);
        if self.reliable.is_over(self.reliable.max) { Err(Overflow) } else { Ok(()) }
    }

    /// Adds a frame behind its head. `buffer` lends memory to a queue that has none. As long as the peer is not
    /// `slow` much more may wait than the budget: it takes what it is given, only not at once.
    pub(crate) fn push(
        &mut self,
        framing: &StreamFraming<impl Framing>,
        lane: Lane,
        frame: &[u8],
        slow: bool,
        buffer: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), Overflow> {
        self.lend_if_none(buffer);
        let start = self.bytes.len();
        framing.put_head(lane, frame, &mut self.bytes);
        self.bytes.extend_from_slice(frame);
        self.note(lane, self.bytes.len().saturating_sub(start), false);
        let budget = if slow { self.droppable.max } else { self.droppable.max.max(BURST) };
        self.drop_oldest(|droppable| droppable.is_over(budget));
        if lane == Lane::Reliable && self.reliable.is_over(self.reliable.max) {
            Err(Overflow)
        } else {
            Ok(())
        }
    }

    /// Counts a frame of `len` bytes that has been appended.
    fn note(&mut self, lane: Lane, len: usize, once: bool) {
        if lane == Lane::Droppable {
            let mut spot = self.end();
            spot.byte = spot.byte.saturating_sub(len as u64);
            self.drops.get_or_insert_default().spots.push_back(spot);
        }
        self.frames.push_back(Frame::Own { lane, once, len });
        self.waiting(lane).add(len);
    }

    /// Behind all frames and bytes.
    fn end(&self) -> Spot {
        let mut end = self.drops.as_ref().map_or_else(Spot::default, |drops| drops.front);
        end.advance(self.frames.len() as u64, self.bytes.len().saturating_sub(self.start));
        end
    }

    const fn waiting(&mut self, lane: Lane) -> &mut Waiting {
        match lane {
            Lane::Reliable => &mut self.reliable,
            Lane::Droppable => &mut self.droppable,
        }
    }

    /// Bytes that a framing wants sent before anything else that is pushed from now on. Over budget, the connection is to
    /// be closed: its peer asks, and does not take the answers.
    pub(crate) fn push_pending(&mut self, framing: &mut impl Framing) -> Result<(), Overflow> {
        let len = framing.take_pending(&mut self.bytes);
        if len == 0 {
            return Ok(());
        }
        self.note(Lane::Reliable, len, false);
        if self.reliable.is_over(self.reliable.max) { Err(Overflow) } else { Ok(()) }
    }

    /// Bytes of the transport's own, as they are. Over budget, the connection is to be closed, as with reliable frames.
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.push_bytes(bytes, false)
    }

    /// The same for bytes that say nothing new as long as those of the last time wait.
    pub(crate) fn push_once(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        if core::mem::replace(&mut self.once, true) {
            return Ok(());
        }
        self.push_bytes(bytes, true)
    }

    fn push_bytes(&mut self, bytes: &[u8], once: bool) -> Result<(), Overflow> {
        self.bytes.extend_from_slice(bytes);
        self.note(Lane::Reliable, bytes.len(), once);
        if self.reliable.is_over(self.reliable.max) { Err(Overflow) } else { Ok(()) }
    }

    /// All that waits, in exchange for an empty buffer, but for frames that are shared with other queues, which are let go.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.close_gaps();
        self.frames.clear();
        if let Some(Drops { front, spots, gaps }) = self.drops.as_deref_mut() {
            spots.clear();
            (*front, *gaps) = (Spot::default(), Gaps::default());
        }
        self.give_back();
        self.once = false;
        for lane in [Lane::Reliable, Lane::Droppable] {
            let waiting = self.waiting(lane);
            (waiting.frames, waiting.bytes) = (0, 0);
        }
        let mut bytes = core::mem::take(&mut self.bytes);
        bytes.drain(..core::mem::take(&mut self.start));
        bytes
    }

    /// What is to be written next: `most` bytes of whole frames, or one frame. The rest can still be dropped. `buffer` lends memory to
    /// what is taken out.
    pub(crate) fn take_next(&mut self, most: usize, buffer: impl FnOnce() -> Vec<u8>) -> Batch {
        let mut batch = Batch::default();
        // How many own bytes there are up to here, those in `out` included; and where what is not there yet begins.
        let mut own: usize = 0;
        let (mut end, mut from) = (self.start, self.start);
        let mut out = None;
        let mut buffer = Some(buffer);
        while let Some(frame) = self.frames.front() {
            let left = batch.left.saturating_add(frame.len());
            let full = left > most || batch.held.len() >= HELD_AT_ONCE;
            if batch.left > 0 && full {
                break;
            }
            let (len, bytes) = (left.saturating_sub(batch.left), frame.own());
            batch.left = left;
            let popped = self.frames.pop_front();
            let mut drops = self.drops.as_deref_mut();
            if let Some(drops) = &mut drops {
                drops.front.advance(1, bytes);
            }
            match popped {
                Some(Frame::Own { lane, once, .. }) => {
                    if let Some(drops) = drops.filter(|_| lane == Lane::Droppable) {
                        drops.spots.pop_front();
                    }
                    self.waiting(lane).remove(len);
                    own = own.saturating_add(bytes);
                    self.once &= !once;
                }
                Some(Frame::Held { frame, .. }) => {
                    self.reliable.remove(len);
                    own = own.saturating_add(bytes);
                    batch.held.push_back((own, frame));
                }
                Some(Frame::Gap { .. }) => {
                    if let Some(drops) = drops {
                        drops.gaps.remove(bytes);
                    }
                    let out = out.get_or_insert_with(|| buffer.take().map(|lend| lend()).unwrap_or_default());
                    out.extend_from_slice(self.bytes.get(from..end).unwrap_or(&[]));
                    from = end.saturating_add(bytes);
                }
                None => break,
            }
            end = end.saturating_add(bytes);
        }
        if end >= self.bytes.len() && out.is_none() {
            batch.own = core::mem::take(&mut self.bytes);
            batch.done = core::mem::take(&mut self.start);
            batch.held.iter_mut().for_each(|(at, _)| *at = at.saturating_add(batch.done));
        } else if end > self.start {
            batch.own = out.or_else(|| buffer.map(|lend| lend())).unwrap_or_default();
            batch.own.extend_from_slice(self.bytes.get(from..end).unwrap_or(&[]));
            #[cfg(test)]
            {
                self.moved = self.moved.saturating_add(own);
            }
            self.start = end;
            self.skip_gaps();
            self.close_up();
            if self.bytes.capacity() / 2 > self.bytes.len() {
                self.bytes.shrink_to_fit();
            }
        }
        self.skip_gaps();
        self.give_back();
        batch
    }

    /// Lends memory to a queue that has none.
    pub(crate) fn lend(&mut self, buffer: Vec<u8>) {
        self.lend_if_none(|| buffer);
    }

    fn lend_if_none(&mut self, buffer: impl FnOnce() -> Vec<u8>) {
        if self.bytes.capacity() == 0 {
            self.bytes = buffer();
        }
    }

    /// Gives up the room of what has been taken, if that is more than what waits: no byte pays for being moved more than once.
    fn close_up(&mut self) {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..core::mem::take(&mut self.start));
            #[cfg(test)]
            {
                self.moved = self.moved.saturating_add(self.bytes.len());
            }
        }
    }

    /// Drops droppable frames, the oldest first, while there are too many.
    fn drop_oldest(&mut self, too_many: impl Fn(&Waiting) -> bool) {
        if !too_many(&self.droppable) {
            return;
        }
        let Some(Drops { front, spots, gaps }) = self.drops.as_deref_mut() else { return };
        while too_many(&self.droppable) {
            let Some(spot) = spots.pop_front() else { break };
            let at = usize::try_from(spot.frame.saturating_sub(front.frame)).unwrap_or(usize::MAX);
            let Some(frame) = self.frames.get_mut(at) else { break };
            let len = frame.own();
            *frame = Frame::Gap { len };
            if gaps.frames == 0 {
                gaps.first = spot;
            }
            gaps.frames = gaps.frames.saturating_add(1);
            gaps.bytes = gaps.bytes.saturating_add(len);
            self.droppable.remove(len);
            self.dropped = self.dropped.saturating_add(1);
            #[cfg(test)]
            {
                self.moved = self.moved.saturating_add(1);
            }
        }
        // As a rule they are the oldest of all.
        self.skip_gaps();
        self.close_up();
        // Only where the gaps are most of what has to be gone through: no frame that is dropped pays for more than itself.
        let (gaps, end) = (self.drops.as_ref().map_or_else(Gaps::default, |drops| drops.gaps), self.end());
        let weight = gaps.frames.saturating_mul(size_of::<Frame>() as u64).saturating_add(gaps.bytes as u64);
        if weight > gaps.first.weight(end) / 2 {
            self.close_gaps();
        }
        self.give_back();
    }

    /// Gives back the room of frames that have gone, once that is most of it.
    fn give_back(&mut self) {
        if self.frames.capacity() > KEPT_FRAMES && self.frames.capacity() / 4 > self.frames.len() {
            self.frames.shrink_to(self.frames.len().saturating_mul(2));
        }
        if let Some(Drops { spots, .. }) = self.drops.as_deref_mut() {
            if spots.capacity() > KEPT_FRAMES && spots.capacity() / 4 > spots.len() {
                spots.shrink_to(spots.len().saturating_mul(2));
            }
        }
    }

    /// Takes gaps off the front.
    fn skip_gaps(&mut self) {
        let Some(Drops { front, gaps, .. }) = self.drops.as_deref_mut() else { return };
        while let Some(Frame::Gap { len }) = self.frames.front() {
            let len = *len;
            gaps.remove(len);
            self.start = self.start.saturating_add(len);
            front.advance(1, len);
            self.frames.pop_front();
        }
        // Those that are left are behind what is left.
        if gaps.first.frame < front.frame {
            gaps.first = *front;
        }
    }

    /// Gives up the room of gaps: what is behind the first of them moves up.
    fn close_gaps(&mut self) {
        let Some(Drops { front, spots, gaps }) = self.drops.as_deref_mut() else { return };
        if gaps.frames == 0 {
            return;
        }
        let Gaps { first, .. } = core::mem::take(gaps);
        let position = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let begin = position(first.frame.saturating_sub(front.frame));
        let mut free = begin;
        let mut from = self.start.saturating_add(position(first.byte.saturating_sub(front.byte)));
        let (mut to, mut spots) = (from, spots.iter_mut());
        for at in begin..self.frames.len() {
            let Some(frame) = self.frames.get(at) else { break };
            let len = frame.own();
            let end = from.saturating_add(len);
            if !matches!(frame, Frame::Gap { .. }) {
                if matches!(frame, Frame::Own { lane: Lane::Droppable, .. }) {
                    if let Some(spot) = spots.next() {
                        *spot = *front;
                        spot.advance(free as u64, to.saturating_sub(self.start));
                    }
                }
                self.bytes.copy_within(from..end, to);
                to = to.saturating_add(len);
                self.frames.swap(at, free);
                free = free.saturating_add(1);
                #[cfg(test)]
                {
                    self.moved = self.moved.saturating_add(len);
                }
            }
            from = end;
            #[cfg(test)]
            {
                self.moved = self.moved.saturating_add(1);
            }
        }
        self.frames.truncate(free);
        self.bytes.truncate(to);
    }
}

impl Gaps {
    /// One of them is at the front no more.
    const fn remove(&mut self, bytes: usize) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxwire_core::Datagram;

    const FRAMING: StreamFraming<Datagram> = StreamFraming::Session(Datagram { max: 0 });

    fn push(queue: &mut Queue, lane: Lane, frame: &[u8]) -> Result<(), Overflow> {
        queue.push(&FRAMING, lane, frame, true, Vec::new)
    }

    #[test]
    fn c_06_over_the_budget_the_oldest_droppable_frame_goes_first() {
        let mut queue = Queue::new(100);
        queue.set_budget(7);
        push(&mut queue, Lane::Reliable, b"rr").unwrap();
        for frame in [b"aaa", b"bbb", b"ccc"] {
            push(&mut queue, Lane::Droppable, frame).unwrap();
        }
        push(&mut queue, Lane::Reliable, b"RR").unwrap();
        assert_eq!(queue.take(), b"rrbbbcccRR");
        assert_eq!(queue.dropped, 1);
        assert!(queue.is_empty());
        // What has been taken counts no more.
        queue.set_budget(100);
        for n in 0..12 {
            push(&mut queue, Lane::Droppable, &[n; 10]).unwrap();
        }
        assert_eq!((queue.take().len(), queue.dropped), (100, 3));
    }

    #[test]
    fn c_06_reliable_frames_are_not_held_to_the_budget_of_audio_and_overflow_at_their_own() {
        let mut queue = Queue::new(20);
        queue.set_budget(1);
        push(&mut queue, Lane::Droppable, b"dd").unwrap();
        push(&mut queue, Lane::Reliable, &[b'r'; 10]).unwrap();
        push(&mut queue, Lane::Reliable, &[b's'; 10]).unwrap();
        assert_eq!(push(&mut queue, Lane::Reliable, b"t"), Err(Overflow));
        assert_eq!(queue.dropped, 0);
    }

    #[test]
    fn c_06_one_frame_is_admitted_however_large() {
        for lane in [Lane::Reliable, Lane::Droppable] {
            let mut queue = Queue::new(5);
            push(&mut queue, lane, &[1; 100]).unwrap();
            assert_eq!(queue.take(), [1; 100]);
        }
        // And the next droppable one takes the place of the first.
        let mut queue = Queue::new(5);
        push(&mut queue, Lane::Droppable, &[1; 100]).unwrap();
        push(&mut queue, Lane::Droppable, &[2; 100]).unwrap();
        assert_eq!((queue.take(), queue.dropped), (vec![2; 100], 1));
    }

    #[test]
    fn c_06_a_burst_for_a_peer_that_takes_everything_is_kept() {
        let mut queue = Queue::new(100);
        for n in 0..200 {
            queue.push(&FRAMING, Lane::Droppable, &[n; 1000], false, Vec::new).unwrap();
        }
        assert_eq!((queue.len(), queue.dropped), (200_000, 0));
        // It turns out to be slow.
        queue.push(&FRAMING, Lane::Droppable, &[7; 1000], true, Vec::new).unwrap();
        assert_eq!((queue.take(), queue.dropped), (vec![7; 1000], 200));
    }

    /// F-46: the room that frames had is counted for as long as it is there, and does not stay when they have been dropped.
    #[test]
    fn f_46_the_room_of_many_small_frames_is_counted_and_given_back() {
        let room = |queue: &Queue| {
            let spots = queue.drops.as_ref().unwrap().spots.capacity() * size_of::<Spot>();
            queue.bytes.capacity() + queue.frames.capacity() * size_of::<Frame>() + spots
        };
        let mut queue = Queue::new(100);
        for _ in 0..10_000 {
            queue.push(&FRAMING, Lane::Droppable, b"d", false, Vec::new).unwrap();
        }
        assert!(queue.memory() >= room(&queue));
        // It turns out to be slow, and never takes anything.
        push(&mut queue, Lane::Droppable, b"d").unwrap();
        assert_eq!((queue.len(), queue.dropped), (100, 9901));
        let (frames, spots) = (queue.frames.capacity(), queue.drops.as_ref().unwrap().spots.capacity());
        assert!(frames < 500 && spots < 500, "room for {frames} frames, {spots} spots");
        assert!(queue.memory() >= room(&queue));
        // What an empty queue keeps is little.
        queue.take();
        assert!(queue.memory() == 0 && queue.frames.capacity() <= KEPT_FRAMES);
    }

    /// What is written with one call.
    fn own(batch: Batch) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let all = batch.pieces(&mut slices).iter().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>();
        assert_eq!(all.len(), batch.len());
        all
    }

    /// F-46
    #[test]
    fn frames_that_others_wait_for_keep_their_place_and_count() {
        let waiting = Arc::default();
        let mut frames = crate::held::Frames::default();
        let mut queue = Queue::new(1000);
        queue.set_budget(300);
        for n in 0..3 {
            push(&mut queue, Lane::Droppable, &[n; 100]).unwrap();
        }
        push(&mut queue, Lane::Reliable, b"rr").unwrap();
        let memory = queue.memory();
        queue.push_held(&FRAMING, frames.hold_bytes(&[7; 500], &waiting)).unwrap();
        queue.push_held(&FRAMING, frames.hold_bytes(&[8; 200], &waiting)).unwrap();
        // Room for four frames more.
        assert_eq!(queue.memory(), memory + 4 * 16);
        push(&mut queue, Lane::Droppable, &[9; 100]).unwrap();
        assert_eq!((queue.dropped, queue.len(), queue.reliable().0, queue.share()), (1, 1002, 702, 700));
        let mut written = Vec::new();
        while !queue.is_empty() {
            written.push(own(queue.take_next(400, Vec::new)));
        }
        let first = [&[1; 100][..], &[2; 100], b"rr"].concat();
        assert_eq!(written, [first, vec![7; 500], [&[8; 200][..], &[9; 100]].concat()]);
        assert_eq!((queue.len(), queue.memory(), queue.reliable().0), (0, 0, 0));
        assert_eq!(waiting.load(core::sync::atomic::Ordering::Relaxed), 0);
        // Over its own limit a connection is closed whoever else waits for the same.
        let same = frames.hold_bytes(&[7; 800], &waiting);
        queue.push_held(&FRAMING, same.clone()).unwrap();
        assert_eq!(queue.push_held(&FRAMING, same), Err(Overflow));
    }

    /// F-46: a head is no frame of its own, wherever the framing has one: one frame is admitted however large.
    #[test]
    fn f_46_one_shared_frame_behind_a_head_is_admitted_however_large() {
        const UNITS: StreamFraming<Datagram> = StreamFraming::units(Datagram { max: 0 });
        let (waiting, mut frames) = (Arc::default(), crate::held::Frames::default());
        let mut queue = Queue::new(1000);
        let frame = frames.hold_bytes(&[7; 60_000], &waiting);
        assert_eq!(queue.push_held(&UNITS, frame.clone()), Ok(()));
        assert_eq!(queue.reliable().0, 60_003);
        assert_eq!(queue.push_held(&UNITS, frame.clone()), Err(Overflow));
        queue.take();
        // Also when what is being written now was another one.
        for _ in 0..2 {
            assert_eq!(queue.push_held(&UNITS, frame.clone()), Ok(()));
            assert_eq!(queue.take_next(10, Vec::new).len(), 60_003);
        }
    }

    /// F-46: what waits is taken out with work in proportion to it, and head and frame are written together.
    #[test]
    fn f_46_a_long_queue_of_shared_frames_is_taken_out_in_linear_time() {
        const UNITS: StreamFraming<Datagram> = StreamFraming::units(Datagram { max: 0 });
        const FRAMES: usize = 32 * 1024;
        let (waiting, mut frames) = (Arc::default(), crate::held::Frames::default());
        for own in [false, true] {
            let mut queue = Queue::new(usize::MAX);
            let frame = frames.hold_bytes(&[7; 64], &waiting);
            for _ in 0..FRAMES {
                queue.push_held(&UNITS, frame.clone()).unwrap();
                if own {
                    queue.push(&UNITS, Lane::Reliable, &[8; 64], true, Vec::new).unwrap();
                }
            }
            let (bytes, mut calls, mut all) = (queue.bytes.len(), 0, Vec::new());
            while !queue.is_empty() {
                all.extend(own_and_advanced(queue.take_next(64 * 1024, Vec::new)));
                calls += 1;
            }
            assert!(calls <= FRAMES / HELD_AT_ONCE + 1, "{calls} calls");
            assert!(queue.moved <= 2 * bytes, "{} of {bytes} bytes moved", queue.moved);
            let unit = |n: u8| [&[0, 65, 0][..], &[n; 64]].concat();
            let each = if own { [unit(7), unit(8)].concat() } else { unit(7) };
            assert!(all == each.repeat(FRAMES));
        }
    }

    /// The same, as a system takes it that takes some of it each time.
    fn own_and_advanced(mut batch: Batch) -> Vec<u8> {
        let (mut all, mut n) = (Vec::new(), 1);
        while !batch.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let pieces = batch.pieces(&mut slices).iter().flat_map(|piece| piece.iter().copied());
            let some: Vec<u8> = pieces.take(n).collect();
            assert_eq!(some.len(), n.min(batch.len()));
            batch.advance(some.len());
            all.extend(some);
            n = (n * 7 + 13) % 2000 + 1;
        }
        assert!(batch.held.is_empty());
        all
    }

    #[test]
    fn what_is_left_of_a_batch_gets_no_more_memory_than_it_needs() {
        const UNITS: StreamFraming<Datagram> = StreamFraming::units(Datagram { max: 0 });
        let (waiting, mut frames) = (Arc::default(), crate::held::Frames::default());
        let mut queue = Queue::new(usize::MAX);
        queue.push_held(&UNITS, frames.hold_bytes(&[7; 50_000], &waiting)).unwrap();
        push(&mut queue, Lane::Reliable, b"behind").unwrap();
        let mut batch = queue.take_next(64 * 1024, Vec::new);
        batch.advance(20_000);
        assert!(batch.shrink(4096, 40_000).is_none());
        batch.advance(20_000);
        // It is not so large that it would not do to keep it for a little.
        assert!(batch.shrink(4096, 60_000).is_none());
        assert!(batch.shrink(4096, 40_000).is_some());
        assert_eq!((batch.len(), batch.memory()), (10_009, 10_009));
        assert_eq!(batch.one_piece(), Some(&[&[7; 10_003][..], b"behind"].concat()[..]));
        batch.advance(10_000);
        assert!(batch.shrink(4096, 40_000).is_some());
        assert_eq!(own_and_advanced(batch), [&[7; 3][..], b"behind"].concat());
        assert_eq!(waiting.load(core::sync::atomic::Ordering::Relaxed), 0);
    }

    /// F-46: what many share is not copied for each of them where the copies would take more than it does.
    #[test]
    fn f_46_what_is_left_of_a_shared_frame_is_not_copied_for_each_who_waits_for_it() {
        let (waiting, mut frames) = (Arc::default(), crate::held::Frames::default());
        let mut batches: Vec<Batch> = (0..10)
            .map(|_| {
                let mut queue = Queue::new(usize::MAX);
                queue.push_held(&FRAMING, frames.hold_bytes(&[7; 100_000], &waiting)).unwrap();
                queue.take_next(64 * 1024, Vec::new)
            })
            .collect();
        batches.iter_mut().for_each(|batch| batch.advance(60_000));
        let shrink = |batch: &mut Batch| batch.shrink(4096, 64 * 1024).is_some();
        assert!(batches.iter_mut().all(|batch| !shrink(batch)));
        batches.iter_mut().for_each(|batch| batch.advance(31_000));
        assert!(batches.iter_mut().all(shrink), "nine tenths of it have gone");
        assert_eq!(waiting.load(core::sync::atomic::Ordering::Relaxed), 0);
        // The last one who waits for it needs no more than is left for it.
        let mut queue = Queue::new(usize::MAX);
        queue.push_held(&FRAMING, frames.hold_bytes(&[7; 100_000], &waiting)).unwrap();
        let mut last = queue.take_next(64 * 1024, Vec::new);
        last.advance(50_000);
        assert!(shrink(&mut last));
    }

    /// C-06: droppable frames go wherever they are, and nothing else.
    #[test]
    fn c_06_droppable_frames_go_from_between_others() {
        let (waiting, mut frames) = (Arc::default(), crate::held::Frames::default());
        let mut queue = Queue::new(1000);
        for n in 0..3 {
            push(&mut queue, Lane::Droppable, &[n; 10]).unwrap();
            push(&mut queue, Lane::Reliable, &[n; 5]).unwrap();
            queue.push_held(&FRAMING, frames.hold_bytes(&[n; 7], &waiting)).unwrap();
        }
        queue.drop_droppable();
        assert_eq!((queue.dropped, queue.droppable(), queue.len()), (3, 0, 36));
        assert_eq!(own(queue.take_next(100, Vec::new)), [[0; 12], [1; 12], [2; 12]].concat());
    }

    /// F-43: what a slow listener loses costs no more work than it was, however much waits before it and between it.
    #[test]
    fn f_43_what_is_dropped_costs_in_proportion_to_itself() {
        const FRAMES: usize = 20_000;
        let (waiting, mut frames) = (Arc::default(), crate::held::Frames::default());
        let shared = frames.hold_bytes(&[7; 300], &waiting);
        for (before, between) in
            [(0, usize::MAX), (1, usize::MAX), (10_000, usize::MAX), (1, 3), (10_000, 50)]
        {
            let mut queue = Queue::with_limits(64 * 1024, usize::MAX);
            for n in 0..before {
                if n % 2 == 0 {
                    push(&mut queue, Lane::Reliable, &[1; 100]).unwrap();
                } else {
                    queue.push_held(&FRAMING, shared.clone()).unwrap();
                }
            }
            let mut reliable = queue.len();
            for n in 0..FRAMES {
                push(&mut queue, Lane::Droppable, &[2; 100]).unwrap();
                if n % between == between - 1 {
                    push(&mut queue, Lane::Reliable, &[3; 100]).unwrap();
                    reliable += 100;
                }
            }
            assert!(queue.moved <= 4 * FRAMES * (100 + size_of::<Frame>()), "{} moved", queue.moved);
            assert_eq!((queue.droppable(), queue.reliable().0), (65_500, reliable));
            assert_eq!(queue.dropped, u64::try_from(FRAMES - 655).unwrap());
            // Nor do gaps take more than what waits.
            let most = 4 * (reliable + 65_500 + 40 * queue.frames.len());
            assert!(queue.memory() <= most, "{} bytes for {}", queue.memory(), queue.len());
        }
    }

    /// C-06, F-43: by chance, as a queue would have it that is gone through each time.
    #[test]
    fn c_06_whatever_is_pushed_dropped_and_taken_keeps_its_order() {
        let (waiting, mut frames) = (Arc::default(), crate::held::Frames::default());
        for seed in 1..=60_u64 {
            let mut state = seed;
            let mut chance = |of: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from((state >> 33) % of).unwrap()
            };
            let budget = 50 + chance(1000);
            let mut queue = Queue::with_limits(budget, usize::MAX);
            let mut model: VecDeque<(Lane, Vec<u8>)> = VecDeque::new();
            let droppable = |model: &VecDeque<(Lane, Vec<u8>)>| {
                let those = model.iter().filter(|(lane, _)| *lane == Lane::Droppable);
                those.fold((0, 0), |(n, sum), (_, frame)| (n + 1, sum + frame.len()))
            };
            for n in 0..500_usize {
                let frame = vec![n.to_le_bytes()[0]; chance(80)];
                match chance(20) {
                    0..=9 => {
                        push(&mut queue, Lane::Droppable, &frame).unwrap();
                        model.push_back((Lane::Droppable, frame));
                        while let (2.., sum) = droppable(&model) {
                            if sum <= budget {
                                break;
                            }
                            let oldest = model.iter().position(|(lane, _)| *lane == Lane::Droppable);
                            model.remove(oldest.unwrap());
                        }
                    }
                    10..=13 => {
                        push(&mut queue, Lane::Reliable, &frame).unwrap();
                        model.push_back((Lane::Reliable, frame));
                    }
                    14..=16 => {
                        queue.push_held(&FRAMING, frames.hold_bytes(&frame, &waiting)).unwrap();
                        model.push_back((Lane::Reliable, frame));
                    }
                    17 if chance(5) == 0 => {
                        queue.drop_droppable();
                        model.retain(|(lane, _)| *lane == Lane::Reliable);
                    }
                    17 if chance(20) == 0 => {
                        queue.take();
                        model.clear();
                    }
                    _ => {
                        let most = chance(400);
                        let mut expected = Vec::new();
                        let mut count = 0;
                        while let Some((_, frame)) = model.front() {
                            let held = count >= HELD_AT_ONCE;
                            if !expected.is_empty() && (expected.len() + frame.len() > most || held) {
                                break;
                            }
                            expected.extend(model.pop_front().unwrap().1);
                            count += 1;
                        }
                        assert_eq!(own(queue.take_next(most, Vec::new)), expected, "seed {seed}, step {n}");
                    }
                }
                let all = model.iter().fold(0, |sum, (_, frame)| sum + frame.len());
                assert_eq!(
                    (queue.len(), queue.droppable()),
                    (all, droppable(&model).1),
                    "seed {seed}, step {n}"
                );
                assert_eq!(queue.is_empty(), model.is_empty(), "seed {seed}, step {n}");
            }
        }
    }

    #[test]
    fn f_43_what_is_not_being_written_can_still_be_dropped() {
        let mut queue = Queue::new(1000);
        for n in 0..5 {
            push(&mut queue, if n == 3 { Lane::Reliable } else { Lane::Droppable }, &[n; 100]).unwrap();
        }
        assert_eq!(own(queue.take_next(250, Vec::new)), [[0; 100], [1; 100]].concat());
        assert_eq!((queue.len(), queue.droppable()), (300, 200));
        queue.set_budget(50);
        push(&mut queue, Lane::Droppable, &[5; 100]).unwrap();
        assert_eq!(queue.dropped, 2);
        // One frame, however large.
        assert_eq!(own(queue.take_next(1, Vec::new)), [3; 100]);
        assert_eq!(own(queue.take_next(100, Vec::new)), [5; 100]);
        assert_eq!((queue.len(), queue.memory(), queue.is_empty()), (0, 0, true));
    }

    /// F-35, F-43: what the transport itself says has the same budget as reliable frames.
    #[test]
    fn f_43_what_the_transport_says_is_bounded_and_some_of_it_does_not_wait_twice() {
        let mut queue = Queue::new(10);
        push(&mut queue, Lane::Droppable, b"dd").unwrap();
        queue.push_once(b"bound").unwrap();
        push(&mut queue, Lane::Droppable, b"eeee").unwrap();
        for _ in 0..100 {
            queue.push_once(b"bound").unwrap();
        }
        queue.drop_droppable();
        assert_eq!(queue.len(), 5);
        push(&mut queue, Lane::Droppable, b"f").unwrap();
        queue.push_once(b"bound").unwrap();
        assert_eq!(own(queue.take_next(5, Vec::new)), b"bound");
        queue.push_once(b"bound").unwrap();
        assert_eq!(own(queue.take_next(1, Vec::new)), b"f");
        queue.push_once(b"bound").unwrap();
        assert_eq!((queue.take(), queue.push_once(b"bound")), (b"bound".to_vec(), Ok(())));
        assert_eq!((queue.push_raw(b"gone!"), queue.push_raw(b"gone!")), (Ok(()), Err(Overflow)));
    }

    #[test]
    fn memory_comes_from_the_pool_and_goes_with_the_bytes() {
        let mut queue = Queue::new(100);
        queue.push(&FRAMING, Lane::Reliable, b"x", true, || Vec::with_capacity(77)).unwrap();
        let taken = queue.take();
        assert!(taken.capacity() >= 77 && queue.bytes.capacity() == 0);
    }
}
