use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers for connections that read or write. Idle connections hold none.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    free: Mutex<Free<T>>,
    max: usize,
}

#[derive(Debug)]
struct Free<T> {
    buffers: Vec<T>,
    /// The fewest free buffers since the pool was trimmed last. So many were not needed.
    least: usize,
}

/// So many free buffers are kept in any case.
const KEPT: usize = 64;

impl<T: Default> Pool<T> {
    /// Keeps at most `max` free buffers.
    pub(crate) const fn new(max: usize) -> Self {
        Self { free: Mutex::new(Free { buffers: Vec::new(), least: 0 }), max }
    }

    fn free(&self) -> MutexGuard<'_, Free<T>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> T {
        let mut free = self.free();
        let buffer = free.buffers.pop();
        free.least = free.least.min(free.buffers.len());
        drop(free);
        buffer.unwrap_or_default()
    }

    pub(crate) fn give(&self, buffer: T) {
        let mut free = self.free();
        if free.buffers.len() < self.max {
            free.buffers.push(buffer);
        }
    }

    /// Frees half of the buffers that were not needed since the last call.
    pub(crate) fn trim(&self) {
        let mut free = self.free();
        let spare = free.least.saturating_sub(KEPT).div_ceil(2);
        let rest = free.buffers.len().saturating_sub(spare);
        let given_up = free.buffers.split_off(rest);
        free.least = rest;
        if free.buffers.capacity() / 4 > rest {
            free.buffers.shrink_to(rest.saturating_mul(2));
        }
        drop(free);
        drop(given_up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_46_buffers_that_are_not_needed_go_and_those_in_use_stay() {
        let pool = Pool::<Vec<u8>>::new(1000);
        (0..2000).for_each(|_| pool.give(vec![0; 10]));
        pool.trim();
        assert_eq!(pool.free().buffers.len(), 1000);
        // Some are in use all the time.
        for _ in 0..20 {
            let used: Vec<_> = (0..500).map(|_| pool.take()).collect();
            used.into_iter().for_each(|buffer| pool.give(buffer));
            pool.trim();
        }
        assert_eq!(pool.free().buffers.len(), 500 + KEPT);
        for _ in 0..20 {
            pool.trim();
        }
        assert_eq!(pool.free().buffers.len(), KEPT);
    }
}
