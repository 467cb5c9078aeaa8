//! Shared frames: reliable frames that are queued for several connections, and held once.

use core::fmt;
use core::hash::BuildHasher;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::collections::{HashMap, hash_map::RandomState};
use std::sync::{Arc, Weak};
use voxwire_core::FrameId;

/// A frame that is queued for any number of connections. It counts once in the total, as long as one of them has it.
pub(crate) struct SharedFrame {
    bytes: Box<[u8]>,
    total: Arc<AtomicUsize>,
}

/// Bytes of memory for a shared frame beside its own: two counts, the struct, and its entry in `SharedFrames`.
const BOOKS: usize =
    2 * size_of::<usize>() + size_of::<SharedFrame>() + size_of::<(u64, Weak<SharedFrame>)>();

impl SharedFrame {
    fn new(frame: &[u8], total: &Arc<AtomicUsize>) -> Arc<Self> {
        total.fetch_add(frame.len().saturating_add(BOOKS), Relaxed);
        Arc::new(Self { bytes: frame.into(), total: total.clone() })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its bytes, divided by the number of connections that have it.
    pub(crate) fn part(self: &Arc<Self>) -> usize {
        self.bytes.len().checked_div(Arc::strong_count(self)).unwrap_or(0)
    }
}

impl Drop for SharedFrame {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes.len().saturating_add(BOOKS), Relaxed);
    }
}

impl fmt::Debug for SharedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFrame").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Finds shared frames by their bytes. Clients that log in one after the other are sent the same frames.
#[derive(Debug, Default)]
pub(crate) struct SharedFrames {
    /// By a hash with a random key, so that no peer can choose which entry its frame replaces.
    shared: HashMap<u64, Weak<SharedFrame>, RandomState>,
    /// The last frame: most addressees of a frame follow each other.
    last: Option<(FrameId, Weak<SharedFrame>)>,
}

impl SharedFrames {
    /// The shared frame of these bytes, which all connections share that have it queued.
    pub(crate) fn share(&mut self, id: FrameId, frame: &[u8], total: &Arc<AtomicUsize>) -> Arc<SharedFrame> {
        if let Some((last, shared)) = &self.last {
            if let Some(shared) = shared.upgrade().filter(|_| *last == id) {
                return shared;
            }
        }
        let shared = self.share_bytes(frame, total);
        self.last = Some((id, Arc::downgrade(&shared)));
        shared
    }

    /// The same, without the shortcut by id.
    pub(crate) fn share_bytes(&mut self, frame: &[u8], total: &Arc<AtomicUsize>) -> Arc<SharedFrame> {
        let key = self.shared.hasher().hash_one(frame);
        let known = self.shared.get(&key).and_then(Weak::upgrade).filter(|shared| *shared.bytes == *frame);
        known.unwrap_or_else(|| {
            let shared = SharedFrame::new(frame, total);
            self.shared.insert(key, Arc::downgrade(&shared));
            shared
        })
    }

    /// Forgets frames that are queued for no connection any more.
    pub(crate) fn tidy(&mut self) {
        self.shared.retain(|_, shared| shared.strong_count() > 0);
        self.last.take_if(|(_, shared)| shared.strong_count() == 0);
        if self.shared.capacity() / 4 > self.shared.len() {
            self.shared.shrink_to(self.shared.len().saturating_mul(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-46
    #[test]
    fn the_same_bytes_are_held_and_counted_once() {
        let total = Arc::new(AtomicUsize::new(0));
        let mut frames = SharedFrames::default();
        let mut hold = |id, frame: &[u8]| frames.share(FrameId::new(id), frame, &total);
        let (one, other, again) = (hold(0, &[1; 100]), hold(1, &[2; 100]), hold(2, &[1; 100]));
        assert!(Arc::ptr_eq(&one, &again) && !Arc::ptr_eq(&one, &other));
        assert_eq!((total.load(Relaxed), one.part(), other.part()), (2 * (100 + BOOKS), 50, 100));
        let third = frames.share(FrameId::new(3), &[3; 100], &total);
        let same = frames.share(FrameId::new(3), &[3; 100], &total);
        assert!(Arc::ptr_eq(&third, &same));
        assert_eq!(frames.share(FrameId::new(4), &[4; 100], &total).bytes(), [4; 100]);
        drop((one, other, again, third, same));
        assert_eq!(total.load(Relaxed), 0);
        assert_eq!(frames.shared.len(), 4);
        frames.tidy();
        assert_eq!((frames.shared.len(), frames.shared.capacity()), (0, 0));
    }
}
