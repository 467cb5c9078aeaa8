mod greeting;
mod plain;
mod units;

use crate::zmtp::{self, SocketType, Version};
use crate::{MAX_BEFORE_LOGIN, MAX_VOICE_FRAME, Wire};
use alloc::vec::Vec;
use core::time::Duration;
use plain::Scan;
pub(crate) use units::is_log_in;
use voxwire_core::bytes::BufMut;
use voxwire_core::{FrameError, Progress};

/// Answers to commands that wait, in bytes, before further ones are not answered.
const MAX_PENDING: usize = 1024;
/// How much of what is thrown away is asked for at a time.
const SKIPPED: usize = 16 * 1024;

/// How messages are told apart on a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// ZMTP: what the original programs speak. Each message is one frame.
    #[default]
    Zmtp,
    /// The objects of one message behind those of another, and nothing else: all that the document says. The number of
    /// objects follows from type, action and code.
    Plain,
}

/// The shortest time for which a peer may be silent, also where it announces a shorter one.
const MIN_SILENCE: Duration = Duration::from_secs(3);

/// Cuts msgpack's byte stream into messages, in either dialect: a server's side goes by the first bytes, ff, or a length and 00, for
/// ZMTP.
///
/// The largest message is what [`set_max`](voxwire_core::Framing::set_max) says; once that is `Limits::max_frame`, a `voice_msg`,
/// which shows in its first bytes, may have [`MAX_VOICE_FRAME`].
///
/// A ZMTP message of several frames is one frame without bytes here: its parts are thrown away as they come in, its sender
/// is told that it was malformed, and no other user notices. So it is with one that is too large, once more than [`MAX_BEFORE_LOGIN`] is
/// allowed; before that it is the last one. An empty frame in front of a message, as REQ sockets send it, is no part of it: responses
/// have one then, too.
#[derive(Debug, Clone)]
pub struct Framing {
    socket: SocketType,
    state: State,
    /// How a peer of ZMTP writes its units.
    version: Version,
    /// The peer's requests have an empty frame in front.
    delimited: bool,
    /// The peer is a REQ socket, which ends the connection at all that is no answer.
    answers_only: bool,
    max: usize,
    /// What `max` is once nothing is held back any more.
    full: usize,
    max_voice: usize,
    /// A reader of recorded streams may come in anywhere.
    passive: bool,
    /// The peer has asked to be let in: what is larger than it may send so far waits for the answer.
    entering: bool,
    /// Something does.
    waiting: bool,
    /// How long the peer may be silent.
    silence: Option<Duration>,
    /// The peer answers PINGs.
    pongs: bool,
    /// PINGs sent, those answered, and those of them that were asked about.
    probes: Probes,
    /// What ZMTP wants sent.
    pending: Vec<u8>,
}

/// PINGs of our own, in order.
#[derive(Debug, Clone, Copy, Default)]
struct Probes {
    sent: u32,
    answered: u32,
    /// Answered, and not asked about yet.
    fresh: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// A server that has heard nothing yet.
    Undecided,
    /// The peer's signature is awaited; whether ours is sent.
    Signature {
        sent: bool,
    },
    /// The peer's revision.
    Revision,
    /// What follows it in a greeting of 3.x.
    Security,
    /// What follows it in one of 2.0.
    SocketType,
    /// The identity of a peer of 2.0 or 1.0.
    Identity,
    /// The peer's READY is awaited.
    Handshake,
    Traffic,
    /// Behind an empty frame that more follows.
    Delimiter,
    /// In a message of several frames: so many bytes of this part are still to come, in so many bytes in all.
    Parts {
        left: u64,
        total: u64,
    },
    /// So many bytes of the last part are still to come.
    LastPart {
        left: u64,
    },
    /// A message was too large, and the peer's last.
    Refused {
        len: u64,
        max: usize,
    },
    Plain(Scan),
    /// In a message that is too large: so many bytes of the present object are still to come.
    PlainRest {
        scan: Scan,
        left: u64,
    },
    /// Where the next message starts is unknown.
    Lost,
}

impl Framing {
    /// A server's side, with the limits of `wire`; before the log-in messages have [`MAX_BEFORE_LOGIN`].
    pub fn server(wire: &Wire) -> Self {
        Self {
            socket: SocketType::Router,
            state: State::Undecided,
            version: Version::V3,
            delimited: false,
            answers_only: false,
            silence: None,
            pongs: false,
            probes: Probes::default(),
            max: MAX_BEFORE_LOGIN.min(wire.limits.max_frame),
            full: wire.limits.max_frame,
            max_voice: MAX_VOICE_FRAME,
            passive: false,
            entering: false,
            waiting: false,
            pending: Vec::new(),
        }
    }

    /// A client's side, which says what is spoken.
    pub fn client(wire: &Wire, dialect: Dialect) -> Self {
        let mut pending = Vec::new();
        let state = match dialect {
            Dialect::Plain => State::Plain(Scan::new(SocketType::Dealer)),
            Dialect::Zmtp => {
                // The rest of the greeting depends on the peer's version.
                zmtp::put_signature(&mut pending);
                State::Signature { sent: true }
            }
        };
        Self {
            socket: SocketType::Dealer,
            state,
            version: Version::V3,
            delimited: false,
            answers_only: false,
            silence: None,
            pongs: false,
            probes: Probes::default(),
            max: wire.limits.max_frame,
            full: wire.limits.max_frame,
            max_voice: MAX_VOICE_FRAME
                .max(wire.limits.max_items.saturating_mul(3).saturating_add(MAX_BEFORE_LOGIN)),
            passive: false,
            entering: false,
            waiting: false,
            pending,
        }
    }

    /// A reader of what `sender` sent on a recorded stream, which may begin anywhere: with a greeting, a command, a message,
    /// or with plain objects.
    pub fn passive(sender: SocketType, wire: &Wire) -> Self {
        let socket = match sender {
            SocketType::Dealer => SocketType::Router,
            SocketType::Router => SocketType::Dealer,
        };
        Self {
            socket,
            state: State::Undecided,
            version: Version::V3,
            delimited: false,
            answers_only: false,
            silence: None,
            pongs: false,
            probes: Probes::default(),
            max: wire.limits.max_frame,
            full: wire.limits.max_frame,
            max_voice: MAX_VOICE_FRAME,
            passive: true,
            entering: false,
            waiting: false,
            pending: Vec::new(),
        }
    }

    /// What is spoken, once that is known.
    pub const fn dialect(&self) -> Option<Dialect> {
        match self.state {
            State::Undecided => None,
            State::Plain(_) | State::PlainRest { .. } | State::Lost => Some(Dialect::Plain),
            _ => Some(Dialect::Zmtp),
        }
    }

    const fn max_for(&self, voice: bool) -> usize {
        // No user who is not logged in has anything long to say.
        let all = self.max >= self.full && self.max > MAX_BEFORE_LOGIN;
        if voice && all { self.max_voice } else { self.max }
    }
}

/// Skips what is there of `left` bytes; returns how many are still to come.
fn pass_over(unread: &[u8], left: u64) -> (Progress, u64) {
    let now = usize::try_from(left).unwrap_or(usize::MAX).min(unread.len());
    match core::num::NonZeroUsize::new(now) {
        Some(now) => (Progress::Skip(now), left.saturating_sub(now.get() as u64)),
        None => (Progress::need(usize::try_from(left).unwrap_or(usize::MAX).min(SKIPPED)), left),
    }
}

impl voxwire_core::Framing for Framing {
    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        loop {
            let progress = match self.state {
                State::Traffic | State::Handshake | State::Delimiter => return self.unit(unread),
                State::Undecided => self.undecided(unread).err().map(Progress::need),
                State::Signature { sent } => self.signature(unread, sent)?,
                State::Revision => Some(self.revision(unread)),
                State::Security => return self.security(unread),
                State::SocketType => return self.socket_type(unread),
                State::Identity => return self.identity(unread),
                State::Parts { left: 0, .. } => return self.next_part(unread),
                State::Parts { left, total } => {
                    let (progress, left) = pass_over(unread, left);
                    self.state = State::Parts { left, total };
                    Some(progress)
                }
                State::LastPart { left: 0 } => {
                    self.state = State::Traffic;
                    None
                }
                State::LastPart { left } => {
                    let (progress, left) = pass_over(unread, left);
                    self.state = State::LastPart { left };
                    Some(progress)
                }
                State::Refused { len, max } => return Err(FrameError::TooLarge { len, max }),
                State::Plain(scan) => return self.plain(unread, scan),
                State::PlainRest { scan, left } => self.plain_rest(unread, scan, left),
                // What could not be read has been handed on; a session closes the connection.
                State::Lost => return Err(FrameError::Handshake("objects that belong to a message")),
            };
            if let Some(progress) = progress {
                return Ok(progress);
            }
        }
    }

    fn put_header(&self, frame: &[u8], out: &mut impl BufMut) {
        if matches!(self.state, State::Plain(_) | State::PlainRest { .. } | State::Lost) {
            return;
        }
        if self.delimited && is_response(frame) {
            zmtp::put_unit_head(self.version, true, 0, out);
        }
        zmtp::put_unit_head(self.version, false, frame.len(), out);
    }

    /// An old REQ socket, which does not say what it is, is known by its delimiters.
    fn takes(&self, frame: &[u8]) -> bool {
        !self.answers_only() || is_response(frame)
    }

    fn answers_only(&self) -> bool {
        self.answers_only || (self.delimited && self.version == Version::V1)
    }

    fn set_max(&mut self, max: usize) {
        self.max = max;
        (self.entering, self.waiting) = (false, false);
    }

    fn probe(&mut self) -> bool {
        let Some(next) = self.probes.sent.checked_add(1).filter(|_| self.pongs && self.is_ready()) else {
            return false;
        };
        self.probes.sent = next;
        zmtp::put_ping(&next.to_be_bytes(), &mut self.pending);
        true
    }

    fn take_answered(&mut self) -> u32 {
        core::mem::take(&mut self.probes.fresh)
    }

    fn is_waiting(&self) -> bool {
        self.waiting
    }

    fn is_ready(&self) -> bool {
        !matches!(
            self.state,
            State::Signature { .. }
                | State::Revision
                | State::Security
                | State::SocketType
                | State::Identity
                | State::Handshake
        )
    }

    fn silence(&self) -> Option<Duration> {
        self.silence
    }

    fn announces(&self) -> bool {
        !matches!(self.state, State::Undecided | State::Plain(_) | State::PlainRest { .. })
    }

    fn take_pending(&mut self, out: &mut impl BufMut) -> usize {
        let len = self.pending.len();
        out.put_slice(&self.pending);
        // Written seldom, so no memory is kept for it.
        self.pending = Vec::new();
        len
    }
}

fn skip(n: usize) -> Progress {
    core::num::NonZeroUsize::new(n).map_or(Progress::NeedMore(core::num::NonZeroUsize::MIN), Progress::Skip)
}

/// Whether a message of a server's is an answer.
fn is_response(frame: &[u8]) -> bool {
    frame.starts_with(b"\xa8response")
}
