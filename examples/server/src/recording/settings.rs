//! The settings of recordings.

/// What is kept of recordings, and who is told of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingSettings {
    /// Days that a recording is kept: 30; 0 for ever.
    pub days: u32,
    /// Room that all recordings have, in MiB: 10 240; 0 for as much as there is. The oldest go first.
    pub mib: u64,
    /// Whether those that are recorded are told, where the protocol has texts: true.
    pub announce: bool,
}

impl Default for RecordingSettings {
    fn default() -> Self {
        Self { days: 30, mib: 10_240, announce: true }
    }
}
