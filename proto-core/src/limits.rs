/// What a decoder or a session accepts at most. Every protocol crate has its own defaults in a constant `LIMITS`; no value means "unlimited".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Limits {
    /// Largest frame, in bytes, length field included. Enforced by the framing on the length field, before buffering; a
    /// framing may hold some kinds of message to less.
    pub max_frame: usize,
    /// Longest single text, in bytes. Enforced by `decode`.
    pub max_text: usize,
    /// Most elements in one list. Enforced by `decode` before looping.
    pub max_items: usize,
    /// Most peers a session keeps state for. Enforced before the state is created.
    pub max_peers: usize,
    /// Most bytes of outputs that may wait in a session's [`Outbox`](crate::Outbox). Enforced before copying.
    pub max_outbox: usize,
}

impl Limits {
    /// Moderate values that suit a small protocol; crates start from here.
    pub const DEFAULT: Self = Self {
        max_frame: 64 * 1024,
        max_text: 255,
        max_items: 4096,
        max_peers: 20_000,
        max_outbox: 4 * 1024 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
