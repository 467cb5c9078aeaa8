//! Large frames that are queued for several connections, and held once.

use core::fmt;
use core::hash::BuildHasher;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::collections::{HashMap, hash_map::RandomState};
use std::sync::{Arc, Weak};
use voxwire_core::FrameId;

/// A frame that is queued for any number of connections. It counts once in the total, as long as one of them has it.
pub(crate) struct Held {
    bytes: Box<[u8]>,
    total: Arc<AtomicUsize>,
}

/// Bytes of memory for a held frame beside its own: two counts, the struct, and its entry in `Frames`.
const BOOKS: usize = 2 * size_of::<usize>() + size_of::<Held>() + size_of::<(u64, Weak<Held>)>();

impl Held {
    fn new(frame: &[u8], total: &Arc<AtomicUsize>) -> Arc<Self> {
        total.fetch_add(frame.len().saturating_add(BOOKS), Relaxed);
        Arc::new(Self { bytes: frame.into(), total: total.clone() })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its bytes, divided by the number of connections that have it.
    pub(crate) fn share(self: &Arc<Self>) -> usize {
        self.bytes.len().checked_div(Arc::strong_count(self)).unwrap_or(0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes.len().saturating_add(BOOKS), Relaxed);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Finds held frames by their bytes. Clients that log in one after the other are sent the same frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// By a hash with a random key, so that no peer can choose which entry its frame replaces.
    held: HashMap<u64, Weak<Held>, RandomState>,
    /// The last frame: most addressees of a frame follow each other.
    last: Option<(FrameId, Weak<Held>)>,
}

impl Frames {
    /// The held frame of these bytes, which all connections share that have it queued.
    pub(crate) fn hold(&mut self, id: FrameId, frame: &[u8], total: &Arc<AtomicUsize>) -> Arc<Held> {
        if let Some((last, held)) = &self.last {
            if let Some(held) = held.upgrade().filter(|_| *last == id) {
                return held;
            }
        }
        let held = self.hold_bytes(frame, total);
        self.last = Some((id, Arc::downgrade(&held)));
        held
    }

    /// The same, without the shortcut by id.
    pub(crate) fn hold_bytes(&mut self, frame: &[u8], total: &Arc<AtomicUsize>) -> Arc<Held> {
        let key = self.held.hasher().hash_one(frame);
        let known = self.held.get(&key).and_then(Weak::upgrade).filter(|held| *held.bytes == *frame);
        known.unwrap_or_else(|| {
            let held = Held::new(frame, total);
            self.held.insert(key, Arc::downgrade(&held));
            held
        })
    }

    /// Forgets frames that are queued for no connection any more.
    pub(crate) fn tidy(&mut self) {
        self.held.retain(|_, held| held.strong_count() > 0);
        self.last.take_if(|(_, held)| held.strong_count() == 0);
        if self.held.capacity() / 4 > self.held.len() {
            self.held.shrink_to(self.held.len().saturating_mul(2));
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
        let mut frames = Frames::default();
        let mut hold = |id, frame: &[u8]| frames.hold(FrameId::new(id), frame, &total);
        let (one, other, again) = (hold(0, &[1; 100]), hold(1, &[2; 100]), hold(2, &[1; 100]));
        assert!(Arc::ptr_eq(&one, &again) && !Arc::ptr_eq(&one, &other));
        assert_eq!((total.load(Relaxed), one.share(), other.share()), (2 * (100 + BOOKS), 50, 100));
        let third = frames.hold(FrameId::new(3), &[3; 100], &total);
        let same = frames.hold(FrameId::new(3), &[3; 100], &total);
        assert!(Arc::ptr_eq(&third, &same));
        assert_eq!(frames.hold(FrameId::new(4), &[4; 100], &total).bytes(), [4; 100]);
        drop((one, other, again, third, same));
        assert_eq!(total.load(Relaxed), 0);
        assert_eq!(frames.held.len(), 4);
        frames.tidy();
        assert_eq!((frames.held.len(), frames.held.capacity()), (0, 0));
    }
}
