mod batch;

use super::framing::StreamFraming;
use super::shared_frames::SharedFrame;
use batch::SHARED_AT_ONCE;
pub(crate) use batch::{SLICES, WriteBatch};
use std::collections::VecDeque;
use std::sync::Arc;
use voxwire_core::{Framing, Lane};

/// The queue of one connection: whole frames.
///
/// Droppable frames have a budget of bytes. Over it the oldest frame is dropped, because fresh audio is worth more. Reliable frames have a limit of
/// their own. Over it the connection is to be reset. One frame of each lane is always admitted, however large.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The queue's own bytes, from `start` on. They are moved only when most of them have been taken.
    bytes: Vec<u8>,
    start: usize,
    /// The first entry is no gap.
    frames: VecDeque<Frame>,
    /// Set once a droppable frame has been queued. On the heap, because most connections have nothing queued.
    drops: Option<Box<Drops>>,
    droppable: LaneTotal,
    reliable: LaneTotal,
    /// Droppable frames dropped so far.
    pub(crate) dropped: u64,
    /// A message is queued that is not to be queued twice (`push_once`).
    once: bool,
    /// Bytes that were copied within the queue or out of it, and frames that were looked at.
    #[cfg(test)]
    moved: usize,
}

/// The position of a frame: how many frames and own bytes have ever been queued before it. So nothing changes when frames before it are taken.
#[derive(Debug, Clone, Copy, Default)]
struct Spot {
    frame: u64,
    byte: u64,
}

impl Spot {
    /// The memory of frames and own bytes from here to `end`. It is also the cost of closing gaps from here on.
    fn weight(self, end: Self) -> u64 {
        let frames = end.frame.saturating_sub(self.frame).saturating_mul(size_of::<Frame>() as u64);
        end.byte.saturating_sub(self.byte).saturating_add(frames)
    }

    const fn advance(&mut self, frames: u64, bytes: usize) {
        self.frame = self.frame.saturating_add(frames);
        self.byte = self.byte.saturating_add(bytes as u64);
    }
}

/// The bookkeeping for dropping frames from the middle of the queue.
#[derive(Debug, Default)]
struct Drops {
    /// The position of the first frame.
    front: Spot,
    /// The positions of the droppable frames.
    spots: VecDeque<Spot>,
    gaps: Gaps,
}

/// Gaps: the places of droppable frames that were dropped from the middle of the queue. All of them are before the droppable frames that are still
/// queued.
#[derive(Debug, Clone, Copy, Default)]
struct Gaps {
    /// The position of the first gap, or one before it.
    first: Spot,
    frames: u64,
    bytes: usize,
}

/// A queued frame. It has a length and no position, so that nothing changes when frames before it are taken.
#[derive(Debug)]
enum Frame {
    /// A frame of `len` of the queue's own bytes.
    Own { lane: Lane, once: bool, len: usize },
    /// A reliable frame that is shared with other queues, behind a head of the queue's own bytes.
    Shared { head: u32, frame: Arc<SharedFrame> },
    /// `len` of the queue's own bytes that belong to no frame any more.
    Gap { len: usize },
}

impl Frame {
    /// How many of the queue's own bytes it has.
    const fn own(&self) -> usize {
        match self {
            Self::Own { len, .. } | Self::Gap { len } => *len,
            Self::Shared { head, .. } => *head as usize,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Own { len, .. } => *len,
            Self::Gap { .. } => 0,
            Self::Shared { frame, .. } => self.own().saturating_add(frame.bytes().len()),
        }
    }
}

/// The frames of one lane.
#[derive(Debug, Clone, Copy)]
struct LaneTotal {
    frames: usize,
    bytes: usize,
    max: usize,
}

impl LaneTotal {
    const fn is_over(&self, max: usize) -> bool {
        self.bytes > max && self.frames > 1
    }

    /// An error over the lane's own limit.
    const fn check(&self) -> Result<(), Overflow> {
        if self.is_over(self.max) { Err(Overflow) } else { Ok(()) }
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

/// How many of the queue's own bytes a batch has taken.
struct Taken {
    /// Bytes of frames.
    own: usize,
    /// The range of taken bytes that have not been copied yet.
    start: usize,
    end: usize,
    /// The taken bytes before the last gap.
    copied: Option<Vec<u8>>,
}

/// An empty queue keeps room for so many frames.
const KEPT_FRAMES: usize = 16;

/// A reliable frame did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Queue {
    pub(crate) const fn new(max_queued: usize) -> Self {
        Self::with_limits(max_queued, max_queued)
    }

    /// A queue for `budget` bytes of droppable frames, if the session sets no other budget, and `reliable` bytes of reliable frames.
    pub(crate) const fn with_limits(budget: usize, reliable: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            frames: VecDeque::new(),
            drops: None,
            droppable: LaneTotal { frames: 0, bytes: 0, max: budget },
            reliable: LaneTotal { frames: 0, bytes: 0, max: reliable },
            dropped: 0,
            once: false,
            #[cfg(test)]
            moved: 0,
        }
    }

    /// Sets the budget of droppable frames in bytes; 0 restores `default`.
    pub(crate) const fn set_budget(&mut self, bytes: usize, default: usize) {
        self.droppable.max = if bytes == 0 { default } else { bytes };
    }

    /// Bytes of reliable frames queued, and how many may be.
    pub(crate) const fn reliable(&self) -> (usize, usize) {
        (self.reliable.bytes, self.reliable.max)
    }

    /// Bytes queued.
    pub(crate) const fn len(&self) -> usize {
        self.reliable.bytes.saturating_add(self.droppable.bytes)
    }

    /// Bytes of memory that the queue holds, without frames that it shares with others. The room that an empty queue keeps does not count.
    pub(crate) fn memory(&self) -> usize {
        if self.frames.is_empty() {
            return self.bytes.capacity();
        }
        let frames = self.frames.capacity().saturating_mul(size_of::<Frame>());
        let spots = self.drops.as_ref().map_or(0, |drops| drops.spots.capacity());
        let spots = spots.saturating_mul(size_of::<Spot>());
        self.bytes.capacity().saturating_add(frames).saturating_add(spots)
    }

    /// Bytes of shared frames, each divided by the number of queues that have it.
    pub(crate) fn part(&self) -> usize {
        self.frames.iter().fold(0, |sum: usize, frame| match frame {
            Frame::Shared { frame, .. } => sum.saturating_add(frame.part()),
            Frame::Own { .. } | Frame::Gap { .. } => sum,
        })
    }

    /// Bytes of droppable frames queued.
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

    /// Adds the head of a reliable frame, and the frame, which other queues may share.
    pub(crate) fn push_shared(
        &mut self,
        framing: &StreamFraming<impl Framing>,
        frame: Arc<SharedFrame>,
    ) -> Result<(), Overflow> {
        let start = self.bytes.len();
        framing.put_head(Lane::Reliable, frame.bytes(), &mut self.bytes);
        let head = u32::try_from(self.bytes.len().saturating_sub(start)).unwrap_or(u32::MAX);
        let frame = Frame::Shared { head, frame };
        self.reliable.add(frame.len());
        self.frames.push_back(frame);
        self.reliable.check()
    }

    /// Adds a frame with its head. Then drops the oldest droppable frames over the budget, or over `burst` bytes if that is more. `buffer` lends
    /// memory to a queue that has none.
    pub(crate) fn push(
        &mut self,
        framing: &StreamFraming<impl Framing>,
        lane: Lane,
        frame: &[u8],
        burst: usize,
        buffer: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), Overflow> {
        self.lend_if_none(buffer);
        let start = self.bytes.len();
        framing.put_head(lane, frame, &mut self.bytes);
        self.bytes.extend_from_slice(frame);
        self.count_appended(lane, self.bytes.len().saturating_sub(start), false);
        let budget = self.droppable.max.max(burst);
        self.drop_oldest(|droppable| droppable.is_over(budget));
        if lane == Lane::Reliable { self.reliable.check() } else { Ok(()) }
    }

    /// Counts a frame of `len` bytes that has been appended.
    fn count_appended(&mut self, lane: Lane, len: usize, once: bool) {
        if lane == Lane::Droppable {
            let mut spot = self.end();
            spot.byte = spot.byte.saturating_sub(len as u64);
            self.drops.get_or_insert_default().spots.push_back(spot);
        }
        self.frames.push_back(Frame::Own { lane, once, len });
        self.lane(lane).add(len);
    }

    /// The position behind the last frame.
    fn end(&self) -> Spot {
        let mut end = self.drops.as_ref().map_or_else(Spot::default, |drops| drops.front);
        end.advance(self.frames.len() as u64, self.bytes.len().saturating_sub(self.start));
        end
    }

    const fn lane(&mut self, lane: Lane) -> &mut LaneTotal {
        match lane {
            Lane::Reliable => &mut self.reliable,
            Lane::Droppable => &mut self.droppable,
        }
    }

    /// Adds the bytes that a framing has pending. Over the limit the connection is to be reset: its peer asks, and does not take the answers.
    pub(crate) fn push_pending(&mut self, framing: &mut impl Framing) -> Result<(), Overflow> {
        let len = framing.take_pending(&mut self.bytes);
        if len == 0 {
            return Ok(());
        }
        self.count_appended(Lane::Reliable, len, false);
        self.reliable.check()
    }

    /// Adds bytes of the transport as they are. They count as a reliable frame.
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.push_bytes(bytes, false)
    }

    /// The same for a message that is not queued twice: it is left out while the last one is queued.
    pub(crate) fn push_once(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        if core::mem::replace(&mut self.once, true) {
            return Ok(());
        }
        self.push_bytes(bytes, true)
    }

    fn push_bytes(&mut self, bytes: &[u8], once: bool) -> Result<(), Overflow> {
        self.bytes.extend_from_slice(bytes);
        self.count_appended(Lane::Reliable, bytes.len(), once);
        self.reliable.check()
    }

    /// Empties the queue, and returns its own bytes. Shared frames are let go.
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
            let total = self.lane(lane);
            (total.frames, total.bytes) = (0, 0);
        }
        let mut bytes = core::mem::take(&mut self.bytes);
        bytes.drain(..core::mem::take(&mut self.start));
        bytes
    }

    /// Takes the next batch: up to `most` bytes of whole frames, or one frame. Frames behind it can still be dropped. `buffer` lends memory to the
    /// batch.
    pub(crate) fn take_next(&mut self, most: usize, buffer: impl FnOnce() -> Vec<u8>) -> WriteBatch {
        let mut batch = WriteBatch::default();
        let mut taken = Taken { own: 0, start: self.start, end: self.start, copied: None };
        let mut buffer = Some(buffer);
        while let Some(frame) = self.frames.front() {
            let left = batch.left.saturating_add(frame.len());
            let full = left > most || batch.shared.len() >= SHARED_AT_ONCE;
            if batch.left > 0 && full {
                break;
            }
            batch.left = left;
            self.take_front(&mut batch, &mut taken, || buffer.take().map(|lend| lend()).unwrap_or_default());
        }
        if taken.end >= self.bytes.len() && taken.copied.is_none() {
            // All own bytes are taken: the batch gets the memory itself.
            batch.own = core::mem::take(&mut self.bytes);
            batch.done = core::mem::take(&mut self.start);
            batch.shared.iter_mut().for_each(|(at, _)| *at = at.saturating_add(batch.done));
        } else if taken.end > self.start {
            batch.own = taken.copied.or_else(|| buffer.map(|lend| lend())).unwrap_or_default();
            batch.own.extend_from_slice(self.bytes.get(taken.start..taken.end).unwrap_or(&[]));
            #[cfg(test)]
            {
                self.moved = self.moved.saturating_add(taken.own);
            }
            self.start = taken.end;
            self.skip_gaps();
            self.compact();
            if self.bytes.capacity() / 2 > self.bytes.len() {
                self.bytes.shrink_to_fit();
            }
        }
        self.skip_gaps();
        self.give_back();
        batch
    }

    /// Takes the first frame out. Its own bytes stay where they are, up to the next gap.
    fn take_front(&mut self, batch: &mut WriteBatch, taken: &mut Taken, buffer: impl FnOnce() -> Vec<u8>) {
        let Some(frame) = self.frames.pop_front() else { return };
        let (len, own) = (frame.len(), frame.own());
        let mut drops = self.drops.as_deref_mut();
        if let Some(drops) = &mut drops {
            drops.front.advance(1, own);
        }
        match frame {
            Frame::Own { lane, once, .. } => {
                if let Some(drops) = drops.filter(|_| lane == Lane::Droppable) {
                    drops.spots.pop_front();
                }
                self.lane(lane).remove(len);
                taken.own = taken.own.saturating_add(own);
                self.once &= !once;
            }
            Frame::Shared { frame, .. } => {
                self.reliable.remove(len);
                taken.own = taken.own.saturating_add(own);
                batch.shared.push_back((taken.own, frame));
            }
            Frame::Gap { .. } => {
                if let Some(drops) = drops {
                    drops.gaps.remove(own);
                }
                let copied = taken.copied.get_or_insert_with(buffer);
                copied.extend_from_slice(self.bytes.get(taken.start..taken.end).unwrap_or(&[]));
                taken.start = taken.end.saturating_add(own);
            }
        }
        taken.end = taken.end.saturating_add(own);
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

    /// Moves the remaining bytes to the front, once they are fewer than the taken ones. So no more bytes are moved than were taken.
    fn compact(&mut self) {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..core::mem::take(&mut self.start));
            #[cfg(test)]
            {
                self.moved = self.moved.saturating_add(self.bytes.len());
            }
        }
    }

    /// Drops droppable frames, the oldest first, while there are too many.
    fn drop_oldest(&mut self, too_many: impl Fn(&LaneTotal) -> bool) {
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
        self.compact();
        // Only where gaps are most of what `close_gaps` goes through. So the cost for each dropped frame is bounded by its own size.
        let (gaps, end) = (self.drops.as_ref().map_or_else(Gaps::default, |drops| drops.gaps), self.end());
        let weight = gaps.frames.saturating_mul(size_of::<Frame>() as u64).saturating_add(gaps.bytes as u64);
        if weight > gaps.first.weight(end) / 2 {
            self.close_gaps();
        }
        self.give_back();
    }

    /// Gives back room for frames, once most of it is not used.
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

    /// Removes gaps at the front.
    fn skip_gaps(&mut self) {
        let Some(Drops { front, gaps, .. }) = self.drops.as_deref_mut() else { return };
        while let Some(Frame::Gap { len }) = self.frames.front() {
            let len = *len;
            gaps.remove(len);
            self.start = self.start.saturating_add(len);
            front.advance(1, len);
            self.frames.pop_front();
        }
        // The remaining gaps are not before the first frame.
        if gaps.first.frame < front.frame {
            gaps.first = *front;
        }
    }

    /// Closes all gaps: what is behind the first of them moves up.
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
    /// One gap was removed.
    const fn remove(&mut self, bytes: usize) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests;
