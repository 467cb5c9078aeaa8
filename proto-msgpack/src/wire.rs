use voxwire_core::Limits;

/// TCP port where nothing else is configured.
pub const DEFAULT_PORT: u16 = 4242;

/// Longest user name, group name, password or token, in bytes.
pub const MAX_NAME: usize = 255;
/// Longest text of a whisper or a group message, in bytes.
pub const MAX_CONTENT: usize = 64 * 1024;
/// Most samples of one `call_data`. (Originals send about 41 900 at a time.)
pub const MAX_CALL_SAMPLES: usize = 128 * 1024;
/// Most samples of one `voice_msg`: 120 s of mono at 44 100 Hz.
pub const MAX_VOICE_SAMPLES: usize = 120 * 44_100;
/// Largest message before a connection is logged in, in bytes.
pub const MAX_BEFORE_LOGIN: usize = 4 * 1024;
/// Largest `call_data`, in bytes: [`MAX_CALL_SAMPLES`] in their longest shortest form, and its head.
pub(crate) const MAX_CALL_FRAME: usize = 3 * MAX_CALL_SAMPLES + MAX_BEFORE_LOGIN;
/// Largest `voice_msg`, in bytes: [`MAX_VOICE_SAMPLES`] in their shortest form, and its head.
pub const MAX_VOICE_FRAME: usize = 16 * 1024 * 1024;
/// Samples per second of a call, which is mono. (Both originals assume it; no message says it.)
pub const SAMPLE_RATE: u32 = 44_100;

/// The group in whose call a user hears itself, and the sender of what it hears there: see [`ServerSettings::echo`](crate::ServerSettings::echo).
pub const ECHO: &str = "echo";
/// Length of a token: a UUID of version 4, in its 36 characters.
pub const TOKEN_LEN: usize = 36;

/// What is accepted: messages of 512 KiB, except for `voice_msg`; texts of 64 KiB.
pub const LIMITS: Limits = Limits {
    max_frame: 512 * 1024,
    max_text: MAX_CONTENT,
    max_items: MAX_VOICE_SAMPLES,
    // One list of numbers, and nothing in it.
    max_outbox: 64 * 1024 * 1024,
    ..Limits::DEFAULT
};

/// What a client takes of its server, which may be another one than ours: recordings of 64 MiB, eight minutes.
pub const CLIENT_LIMITS: Limits = Limits { max_items: 64 * 1024 * 1024 / 3, ..LIMITS };

/// How messages are read, fixed for the life of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// `max_frame`, `max_text` (of contents; names have [`MAX_NAME`]) and `max_items` (of `voice_msg`; `call_data` has
    /// [`MAX_CALL_SAMPLES`]).
    pub limits: Limits,
    /// Read arguments that are missing, or cut short at the end, as empty or zero, as the original server does: its own
    /// clients never need it.
    pub missing_is_empty: bool,
    /// Take lists of floats for samples. Originals neither send them nor survive them.
    pub floats: bool,
    /// Emit contents of a server's texts that are not UTF-8 as `str`, as the original server does, rather than as `bin`.
    pub any_str: bool,
}

impl Wire {
    /// What a server reads: every argument has to be there, and samples are integers.
    pub const SERVER: Self = Self { limits: LIMITS, missing_is_empty: false, floats: false, any_str: false };
    /// What a client reads: samples may be floats, too.
    pub const CLIENT: Self = Self { floats: true, any_str: true, ..Self::SERVER };
    /// What the original server reads.
    pub const ORIGINAL: Self = Self { missing_is_empty: true, any_str: true, ..Self::SERVER };
}
