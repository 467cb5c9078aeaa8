use std::sync::{Mutex, PoisonError};

/// Buffers that idle connections do not hold: taken while there is something to read or write, given back afterwards.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    free: Mutex<Vec<T>>,
    max: usize,
}

impl<T: Default> Pool<T> {
    /// Keeps at most `max` free buffers.
    pub(crate) const fn new(max: usize) -> Self {
        Self { free: Mutex::new(Vec::new()), max }
    }

    pub(crate) fn take(&self) -> T {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn give(&self, buffer: T) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.max {
            free.push(buffer);
        }
    }
}
