use core::time::Duration;

/// When each chunk of a recording is due, so that a file is played in real time. Keeps no clock: durations count from
/// whenever the caller began, and never drift, because each is computed from the frames sent so far.
///
/// ```
/// use core::time::Duration;
/// let mut pacer = voxwire_audio::Pacer::new(48_000);
/// assert_eq!(pacer.due(), Duration::ZERO);
/// pacer.sent(960);
/// assert_eq!(pacer.due(), Duration::from_millis(20));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Pacer {
    rate: u32,
    frames: u64,
}

impl Pacer {
    /// For a recording of `rate` frames per second.
    pub const fn new(rate: u32) -> Self {
        Self { rate, frames: 0 }
    }

    /// When the next chunk is due, from the beginning.
    pub fn due(&self) -> Duration {
        let nanos = u128::from(self.frames) * 1_000_000_000 / u128::from(self.rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Says that a chunk of `frames` has been sent.
    pub const fn sent(&mut self, frames: usize) {
        self.frames = self.frames.saturating_add(frames as u64);
    }
}
