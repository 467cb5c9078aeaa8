//! The frames that are being written to one connection.

use crate::stream::shared_frames::SharedFrame;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

/// The number of shared frames that are written with one call.
pub(super) const SHARED_AT_ONCE: usize = 64;
/// Slices of one call: own bytes and a shared frame, so many times, and own bytes behind the last one.
pub(crate) const SLICES: usize = 2 * SHARED_AT_ONCE + 1;

/// Whole frames in order, which are written with one call if the system takes them all.
#[derive(Debug, Default)]
pub(crate) struct WriteBatch {
    pub(super) own: Vec<u8>,
    /// How much of `own` is written.
    pub(super) done: usize,
    /// Frames that are shared with other connections. Each comes behind so many bytes of `own`.
    pub(super) shared: VecDeque<(usize, Arc<SharedFrame>)>,
    /// How much of the first shared frame is written.
    shared_done: usize,
    pub(super) left: usize,
}

impl WriteBatch {
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
            .saturating_add(self.shared.capacity().saturating_mul(size_of::<(usize, Arc<SharedFrame>)>()))
    }

    /// Bytes of shared frames, each divided by the number of connections that have it.
    pub(crate) fn part(&self) -> usize {
        self.shared.iter().fold(0, |sum, (_, frame)| sum.saturating_add(frame.part()))
    }

    /// The bytes that are still to be written, if they lie in one piece.
    pub(crate) fn one_piece(&self) -> Option<&[u8]> {
        if self.shared.is_empty() { self.own.get(self.done..) } else { None }
    }

    /// The bytes that are still to be written, in pieces.
    pub(crate) fn pieces<'a, 'b>(&'a self, slices: &'b mut [IoSlice<'a>; SLICES]) -> &'b [IoSlice<'a>] {
        let (mut start, mut skipped) = (self.done, self.shared_done);
        let shared = self.shared.iter().flat_map(|(at, frame)| {
            let own = self.own.get(start..*at).unwrap_or(&[]);
            start = *at;
            [own, frame.bytes().get(core::mem::take(&mut skipped)..).unwrap_or(&[])]
        });
        let mut count: usize = 0;
        let mut slots = slices.iter_mut();
        for piece in shared.filter(|piece| !piece.is_empty()) {
            let Some(slot) = slots.next() else { break };
            *slot = IoSlice::new(piece);
            count = count.saturating_add(1);
        }
        let behind = self.own.get(self.shared.back().map_or(self.done, |(at, _)| *at)..).unwrap_or(&[]);
        if let Some(slot) = slots.next().filter(|_| !behind.is_empty()) {
            *slot = IoSlice::new(behind);
            count = count.saturating_add(1);
        }
        slices.get(..count).unwrap_or(&[])
    }

    /// `n` more bytes have been written.
    pub(crate) fn advance(&mut self, mut n: usize) {
        self.left = self.left.saturating_sub(n);
        loop {
            let until = self.shared.front().map_or(self.own.len(), |(at, _)| *at);
            let own = n.min(until.saturating_sub(self.done));
            self.done = self.done.saturating_add(own);
            n = n.saturating_sub(own);
            let Some((_, frame)) = self.shared.front().filter(|_| self.done >= until) else { return };
            let rest = frame.bytes().len().saturating_sub(self.shared_done);
            if n < rest {
                self.shared_done = self.shared_done.saturating_add(n);
                return;
            }
            n = n.saturating_sub(rest);
            self.shared_done = 0;
            self.shared.pop_front();
        }
    }

    /// Moves the rest of a batch to smaller memory, because it may stay for long. Returns the memory that is not needed any more.
    ///
    /// - It moves only if at most half of the memory is still to be written, and if more than `spared` bytes are freed.
    /// - A shared frame moves only if it is the last one, larger than `large`, and if copies of the rest for all connections that share it take no
    ///   more memory than the frame.
    pub(crate) fn shrink(&mut self, spared: usize, large: usize) -> Option<Vec<u8>> {
        let shared = match self.shared.front() {
            None => 0,
            Some((_, last)) if self.shared.len() == 1 && last.bytes().len() > large => {
                if self.left.saturating_mul(Arc::strong_count(last)) > last.bytes().len() {
                    return None;
                }
                last.bytes().len()
            }
            Some(_) => return None,
        };
        let holds = self.own.capacity().saturating_add(shared);
        if holds <= spared || self.left > holds / 2 {
            return None;
        }
        let mut smaller = Vec::with_capacity(self.left);
        let mut slices = [IoSlice::new(&[]); SLICES];
        self.pieces(&mut slices).iter().for_each(|piece| smaller.extend_from_slice(piece));
        self.shared = VecDeque::new();
        (self.done, self.shared_done) = (0, 0);
        Some(core::mem::replace(&mut self.own, smaller))
    }

    /// The memory of own bytes, to be used again. Bytes that were not written are lost.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.own
    }
}
