use crate::held::Held;
use crate::lanes::Cutter;
use std::collections::VecDeque;
use std::sync::Arc;
use voxwire_core::{Framing, Lane};

/// What waits to be written to one connection: whole frames.
///
/// Droppable frames have a budget of bytes; over it the oldest goes first, because fresh audio is worth more. Reliable
/// frames have one of their own, and over it the connection is to be closed. One frame of a lane is always admitted,
/// however large.
#[derive(Debug)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    /// The frames in `bytes`, in order: where each ends, and its lane.
    frames: VecDeque<(usize, Lane)>,
    /// Frames that others wait for, too; none on most connections.
    held: Option<Box<HeldFrames>>,
    droppable: Waiting,
    reliable: Waiting,
    /// What droppable frames may take where the session sets no budget.
    backlog: usize,
    /// Droppable frames dropped so far.
    pub(crate) dropped: u64,
    /// Where the one ends that is not to wait twice.
    once: Option<usize>,
}

/// Frames that are shared with other queues, all of them reliable.
#[derive(Debug, Default)]
struct HeldFrames {
    /// In order, with where each comes in: behind so many of the queue's own bytes.
    frames: VecDeque<(usize, Arc<Held>)>,
    bytes: usize,
}

/// What is to be written next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Whole frames, or the heads of such that follow.
    Own(Vec<u8>),
    /// A frame without its head.
    Held(Arc<Held>),
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
}

/// What droppable frames may take on a connection that has not been slow yet.
const BURST: usize = 1024 * 1024;

/// A reliable frame did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Queue {
    pub(crate) const fn new(backlog: usize) -> Self {
        Self::with_limits(backlog, backlog)
    }

    /// A queue for so many bytes of droppable frames, where the session sets no budget, and of reliable ones.
    pub(crate) const fn with_limits(backlog: usize, reliable: usize) -> Self {
        Self {
            bytes: Vec::new(),
            frames: VecDeque::new(),
            held: None,
            droppable: Waiting { frames: 0, bytes: 0, max: backlog },
            reliable: Waiting { frames: 0, bytes: 0, max: reliable },
            backlog,
            dropped: 0,
            once: None,
        }
    }

    /// What droppable frames may take; 0 restores the default.
    pub(crate) const fn set_budget(&mut self, bytes: usize) {
        self.droppable.max = if bytes == 0 { self.backlog } else { bytes };
    }

    /// Bytes of reliable frames waiting, and how many may.
    pub(crate) const fn reliable(&self) -> (usize, usize) {
        (self.reliable.bytes, self.reliable.max)
    }

    /// Bytes waiting.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len().saturating_add(self.held.as_ref().map_or(0, |held| held.bytes))
    }

    /// Memory held for what waits, in bytes, but for frames that are shared with other queues.
    pub(crate) fn memory(&self) -> usize {
        let frames = self.frames.len().saturating_mul(size_of::<(usize, Lane)>());
        let held = self.held.as_ref().map_or(0, |held| held.frames.len());
        let held = held.saturating_mul(size_of::<(usize, Arc<Held>)>());
        self.bytes.capacity().saturating_add(frames).saturating_add(held)
    }

    /// This queue's part of the frames that it shares with others, in bytes.
    pub(crate) fn share(&self) -> usize {
        let held = self.held.iter().flat_map(|held| &held.frames);
        held.fold(0, |sum, (_, frame)| sum.saturating_add(frame.share()))
    }

    /// Bytes of droppable frames waiting.
    pub(crate) const fn droppable(&self) -> usize {
        self.droppable.bytes
    }

    /// Drops all droppable frames.
    pub(crate) fn drop_droppable(&mut self) {
        while let Some(index) = self.frames.iter().position(|(_, lane)| *lane == Lane::Droppable) {
            self.remove(index);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.held.is_none()
    }

    /// Adds a reliable frame that other queues may have, too, behind its head.
    pub(crate) fn push_held(
        &mut self,
        cutter: &Cutter<impl Framing>,
        frame: Arc<Held>,
    ) -> Result<(), Overflow> {
        let start = self.bytes.len();
        cutter.put_head(Lane::Reliable, frame.bytes(), &mut self.bytes);
        let head = self.bytes.len().saturating_sub(start);
        if head > 0 {
            // Reliable: it stays before its frame.
            self.note(Lane::Reliable, head);
        }
        let len = frame.bytes().len();
        let held = self.held.get_or_insert_default();
        held.frames.push_back((self.bytes.len(), frame));
        held.bytes = held.bytes.saturating_add(len);
        self.reliable.frames = self.reliable.frames.saturating_add(1);
        self.reliable.bytes = self.reliable.bytes.saturating_add(len);
        if self.reliable.is_over(self.reliable.max) { Err(Overflow) } else { Ok(()) }
    }

    /// Adds a frame behind its head. `buffer` lends memory to a queue that has none. As long as the peer is not
    /// `slow` much more may wait than the budget: it takes what it is given, only not at once.
    pub(crate) fn push(
        &mut self,
        cutter: &Cutter<impl Framing>,
        lane: Lane,
        frame: &[u8],
        slow: bool,
        buffer: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), Overflow> {
        if self.bytes.capacity() == 0 {
            self.bytes = buffer();
        }
        let start = self.bytes.len();
        cutter.put_head(lane, frame, &mut self.bytes);
        self.bytes.extend_from_slice(frame);
        self.note(lane, self.bytes.len().saturating_sub(start));
        let budget = if slow { self.droppable.max } else { self.droppable.max.max(BURST) };
        while self.droppable.is_over(budget) {
            let Some(oldest) = self.frames.iter().position(|(_, lane)| *lane == Lane::Droppable) else {
                break;
            };
            self.remove(oldest);
        }
        if lane == Lane::Reliable && self.reliable.is_over(self.reliable.max) {
            Err(Overflow)
        } else {
            Ok(())
        }
    }

    /// Counts a frame of `len` bytes that has been appended.
    fn note(&mut self, lane: Lane, len: usize) {
        self.frames.push_back((self.bytes.len(), lane));
        let waiting = self.waiting(lane);
        waiting.frames = waiting.frames.saturating_add(1);
        waiting.bytes = waiting.bytes.saturating_add(len);
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
        self.note(Lane::Reliable, len);
        if self.reliable.is_over(self.reliable.max) { Err(Overflow) } else { Ok(()) }
    }

    /// Bytes of the transport's own, as they are. Over budget, the connection is to be closed, as with reliable frames.
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.bytes.extend_from_slice(bytes);
        self.note(Lane::Reliable, bytes.len());
        if self.reliable.is_over(self.reliable.max) { Err(Overflow) } else { Ok(()) }
    }

    /// The same for bytes that say nothing new as long as those of the last time wait.
    pub(crate) fn push_once(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        if self.once.is_some() {
            return Ok(());
        }
        let pushed = self.push_raw(bytes);
        self.once = Some(self.bytes.len());
        pushed
    }

    /// All that waits, in exchange for an empty buffer, but for frames that are shared with other queues, which are let go.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.frames.clear();
        self.once = None;
        self.held = None;
        for lane in [Lane::Reliable, Lane::Droppable] {
            let waiting = self.waiting(lane);
            (waiting.frames, waiting.bytes) = (0, 0);
        }
        if self.frames.capacity() > 64 {
            self.frames = VecDeque::new();
        }
        core::mem::take(&mut self.bytes)
    }

    /// What is to be written next: a frame that is shared with other queues, or whole frames, `most` bytes of them or one. The rest can
    /// still be dropped. `buffer` lends memory to what is taken out.
    pub(crate) fn take_next(&mut self, most: usize, buffer: impl FnOnce() -> Vec<u8>) -> Next {
        let limit = match self.held.as_mut().and_then(|held| held.frames.front()) {
            Some((0, _)) => return self.take_held(),
            Some((at, _)) => *at,
            None => self.bytes.len(),
        };
        Next::Own(self.take_own(most, limit, buffer))
    }

    /// What follows, if it is another frame that is shared with other queues.
    pub(crate) fn take_next_held(&mut self) -> Option<Arc<Held>> {
        self.held.as_ref()?.frames.front().filter(|(at, _)| *at == 0)?;
        match self.take_held() {
            Next::Held(frame) => Some(frame),
            Next::Own(_) => None,
        }
    }

    fn take_held(&mut self) -> Next {
        let Some(held) = &mut self.held else { return Next::Own(Vec::new()) };
        let Some((_, frame)) = held.frames.pop_front() else { return Next::Own(Vec::new()) };
        let len = frame.bytes().len();
        held.bytes = held.bytes.saturating_sub(len);
        if held.frames.is_empty() {
            self.held = None;
        }
        self.reliable.frames = self.reliable.frames.saturating_sub(1);
        self.reliable.bytes = self.reliable.bytes.saturating_sub(len);
        Next::Held(frame)
    }

    /// The queue's own bytes that are to be written next, of the first `limit`.
    fn take_own(&mut self, most: usize, limit: usize, buffer: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        let mut count: usize = 0;
        let mut end = 0;
        for (frame_end, _) in &self.frames {
            if count > 0 && *frame_end > most || *frame_end > limit {
                break;
            }
            (end, count) = (*frame_end, count.saturating_add(1));
        }
        if end >= self.bytes.len() && self.held.is_none() {
            return self.take();
        }
        let mut out = buffer();
        out.extend_from_slice(self.bytes.get(..end).unwrap_or(&[]));
        let mut start = 0;
        for (frame_end, lane) in self.frames.drain(..count).collect::<Vec<_>>() {
            let waiting = self.waiting(lane);
            waiting.frames = waiting.frames.saturating_sub(1);
            waiting.bytes = waiting.bytes.saturating_sub(frame_end.saturating_sub(start));
            start = frame_end;
        }
        self.bytes.drain(..end);
        for (frame_end, _) in &mut self.frames {
            *frame_end = frame_end.saturating_sub(end);
        }
        self.once = self.once.filter(|once| *once > end).map(|once| once.saturating_sub(end));
        for (at, _) in self.held.iter_mut().flat_map(|held| &mut held.frames) {
            *at = at.saturating_sub(end);
        }
        if self.bytes.capacity() / 2 > self.bytes.len() {
            self.bytes.shrink_to_fit();
        }
        out
    }

    /// Lends memory to a queue that has none.
    pub(crate) fn lend(&mut self, buffer: Vec<u8>) {
        if self.bytes.capacity() == 0 {
            self.bytes = buffer;
        }
    }

    fn remove(&mut self, index: usize) {
        let start =
            index.checked_sub(1).and_then(|before| self.frames.get(before)).map_or(0, |(end, _)| *end);
        let Some((end, _)) = self.frames.remove(index) else { return };
        self.bytes.drain(start..end);
        let len = end.saturating_sub(start);
        for (end, _) in self.frames.iter_mut().skip(index) {
            *end = end.saturating_sub(len);
        }
        self.once = self.once.map(|once| if once >= end { once.saturating_sub(len) } else { once });
        for (at, _) in self.held.iter_mut().flat_map(|held| &mut held.frames).filter(|(at, _)| *at >= end) {
            *at = at.saturating_sub(len);
        }
        self.droppable.frames = self.droppable.frames.saturating_sub(1);
        self.droppable.bytes = self.droppable.bytes.saturating_sub(len);
        self.dropped = self.dropped.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxwire_core::Datagram;

    const FRAMING: Cutter<Datagram> = Cutter::Plain(Datagram { max: 0 });

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
        // What has been taken counts no more; and 0 restores the default.
        queue.set_budget(0);
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

    fn own(next: Next) -> Vec<u8> {
        match next {
            Next::Own(bytes) => bytes,
            Next::Held(frame) => frame.bytes().to_vec(),
        }
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
        queue.push_held(&FRAMING, frames.hold(&[7; 500], &waiting)).unwrap();
        queue.push_held(&FRAMING, frames.hold(&[8; 200], &waiting)).unwrap();
        assert_eq!(queue.memory(), memory + 2 * 16);
        push(&mut queue, Lane::Droppable, &[9; 100]).unwrap();
        assert_eq!((queue.dropped, queue.len(), queue.reliable().0, queue.share()), (1, 1002, 702, 700));
        let mut written = Vec::new();
        while !queue.is_empty() {
            written.push(own(queue.take_next(200, Vec::new)));
        }
        let expected =
            [[[1; 100], [2; 100]].concat(), b"rr".to_vec(), vec![7; 500], vec![8; 200], vec![9; 100]];
        assert_eq!(written, expected);
        assert_eq!((queue.len(), queue.memory(), queue.reliable().0), (0, 0, 0));
        assert_eq!(waiting.load(core::sync::atomic::Ordering::Relaxed), 0);
        // Over its own limit a connection is closed whoever else waits for the same.
        let same = frames.hold(&[7; 800], &waiting);
        queue.push_held(&FRAMING, same.clone()).unwrap();
        assert_eq!(queue.push_held(&FRAMING, same), Err(Overflow));
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
