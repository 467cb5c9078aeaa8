use std::collections::VecDeque;
use voxwire_core::{Framing, Lane};

/// What waits to be written to one connection: whole frames, within a budget of bytes.
///
/// Over the budget the oldest droppable frame goes first, because fresh audio is worth more; a reliable frame that still
/// does not fit is an overflow, and the connection is to be closed. An empty queue admits one frame, however large.
#[derive(Debug)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    /// The frames in `bytes`, in order: where each ends, and its lane.
    frames: VecDeque<(usize, Lane)>,
    budget: usize,
    /// Droppable frames dropped so far.
    pub(crate) dropped: u64,
}

/// A reliable frame did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Queue {
    pub(crate) const fn new(budget: usize) -> Self {
        Self { bytes: Vec::new(), frames: VecDeque::new(), budget, dropped: 0 }
    }

    pub(crate) fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Adds a frame behind `framing`'s header. `buffer` lends memory to a queue that has none.
    pub(crate) fn push(
        &mut self,
        framing: &impl Framing,
        lane: Lane,
        frame: &[u8],
        buffer: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), Overflow> {
        if self.bytes.capacity() == 0 {
            self.bytes = buffer();
        }
        framing.put_header(frame.len(), &mut self.bytes);
        self.bytes.extend_from_slice(frame);
        self.frames.push_back((self.bytes.len(), lane));
        while self.bytes.len() > self.budget && self.frames.len() > 1 {
            let Some(oldest) = self.frames.iter().position(|(_, lane)| *lane == Lane::Droppable) else {
                break;
            };
            self.remove(oldest);
        }
        let over = self.bytes.len() > self.budget && self.frames.len() > 1;
        if over && lane == Lane::Reliable { Err(Overflow) } else { Ok(()) }
    }

    /// Bytes that a framing wants sent before anything else that is pushed from now on.
    pub(crate) fn push_pending(&mut self, framing: &mut impl Framing) {
        if framing.take_pending(&mut self.bytes) > 0 {
            self.frames.push_back((self.bytes.len(), Lane::Reliable));
        }
    }

    /// All that waits, in exchange for an empty buffer.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.frames.clear();
        if self.frames.capacity() > 64 {
            self.frames = VecDeque::new();
        }
        core::mem::take(&mut self.bytes)
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
        self.dropped = self.dropped.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxwire_core::Datagram;

    const FRAMING: Datagram = Datagram { max: 0 };

    fn push(queue: &mut Queue, lane: Lane, frame: &[u8]) -> Result<(), Overflow> {
        queue.push(&FRAMING, lane, frame, Vec::new)
    }

    #[test]
    fn c_06_over_the_budget_the_oldest_droppable_frame_goes_first() {
        let mut queue = Queue::new(10);
        push(&mut queue, Lane::Reliable, b"rr").unwrap();
        for frame in [b"aaa", b"bbb", b"ccc"] {
            push(&mut queue, Lane::Droppable, frame).unwrap();
        }
        push(&mut queue, Lane::Reliable, b"RR").unwrap();
        assert_eq!(queue.take(), b"rrbbbcccRR"[..10].to_vec());
        assert_eq!(queue.dropped, 1);
        assert!(queue.is_empty());
    }

    #[test]
    fn c_06_a_reliable_frame_over_the_budget_is_an_overflow() {
        let mut queue = Queue::new(5);
        push(&mut queue, Lane::Reliable, b"rrrr").unwrap();
        push(&mut queue, Lane::Droppable, b"dd").unwrap();
        assert_eq!((queue.frames.len(), queue.dropped), (1, 1));
        assert_eq!(push(&mut queue, Lane::Reliable, b"ss"), Err(Overflow));
    }

    #[test]
    fn c_06_an_empty_queue_admits_one_frame_however_large() {
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
    fn memory_comes_from_the_pool_and_goes_with_the_bytes() {
        let mut queue = Queue::new(100);
        queue.push(&FRAMING, Lane::Reliable, b"x", || Vec::with_capacity(77)).unwrap();
        let taken = queue.take();
        assert!(taken.capacity() >= 77 && queue.bytes.capacity() == 0);
    }
}
