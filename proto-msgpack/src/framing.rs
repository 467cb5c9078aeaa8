use crate::objects::{Action, Head, kind};
use crate::voice::{Fault, SampleKind, kind_of, walk};
use crate::zmtp::{
    self, Command, GREETING_LEN, MAX_COMMAND, MAX_IDENTITY, SECURITY_LEN, SIGNATURE_LEN, SocketType,
    UnitHead, Version,
};
use crate::{MAX_BEFORE_LOGIN, MAX_VOICE_FRAME, Wire};
use alloc::vec::Vec;
use core::time::Duration;
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
/// is told that it was malformed, and nobody else notices. So it is with one that is too large, once more than [`MAX_BEFORE_LOGIN`] is
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
        // Nobody who is not logged in has anything long to say.
        let all = self.max >= self.full && self.max > MAX_BEFORE_LOGIN;
        if voice && all { self.max_voice } else { self.max }
    }

    /// Goes by the first bytes, of which `Err` are missing.
    fn undecided(&mut self, unread: &[u8]) -> Result<(), usize> {
        let first = unread.first().copied().ok_or(1_usize)?;
        if first == zmtp::SIGNATURE {
            self.state = State::Signature { sent: false };
            return Ok(());
        }
        if self.passive && zmtp::is_inside(unread)? {
            self.state = State::Traffic;
            return Ok(());
        }
        if !zmtp::is_version_1(unread)? {
            self.state = State::Plain(Scan::new(self.socket));
            return Ok(());
        }
        self.version = Version::V1;
        self.state = State::Identity;
        if !self.passive {
            // Ours, which is empty.
            zmtp::put_unit_head(Version::V1, false, 0, &mut self.pending);
        }
        Ok(())
    }

    /// The first ten bytes of a peer that knows of other versions, or those of an identity of 1.0 with a long length.
    fn signature(&mut self, unread: &[u8], sent: bool) -> Result<Option<Progress>, FrameError> {
        match unread {
            [] => {}
            [zmtp::SIGNATURE, ..] => {
                // The peer may wait for our signature before it sends the rest of its own.
                if !sent && !self.passive {
                    zmtp::put_signature(&mut self.pending);
                }
            }
            [_] => return Ok(Some(Progress::need(1))),
            // A peer of 1.0, to which our signature is an identity.
            [1..=0xfe, 0, ..] => {
                (self.version, self.state) = (Version::V1, State::Identity);
                return Ok(None);
            }
            _ => return Err(FrameError::Handshake("the signature of ZMTP")),
        }
        self.state = State::Signature { sent: sent || !unread.is_empty() };
        let Some(last) = unread.get(SIGNATURE_LEN.saturating_sub(1)) else {
            return Ok(Some(Progress::need(SIGNATURE_LEN.saturating_sub(unread.len()))));
        };
        if last & 1 == 0 {
            (self.version, self.state) = (Version::V1, State::Identity);
            return Ok(None);
        }
        self.state = State::Revision;
        if !self.passive {
            zmtp::put_revision(&mut self.pending);
        }
        // A greeting that is there as a whole is looked at as a whole.
        if unread.get(..GREETING_LEN).is_some_and(|greeting| zmtp::check_greeting(greeting).is_ok()) {
            let after = unread.get(SIGNATURE_LEN..).unwrap_or(&[]);
            self.revision(after);
            let security = after.get(1..).unwrap_or(&[]);
            self.security(security)?;
            return Ok(Some(skip(GREETING_LEN)));
        }
        Ok(Some(skip(SIGNATURE_LEN)))
    }

    fn revision(&mut self, unread: &[u8]) -> Progress {
        let Some(&revision) = unread.first() else { return Progress::need(1) };
        self.version = Version::of(revision);
        self.state = if self.version == Version::V3 { State::Security } else { State::SocketType };
        match self.version {
            _ if self.passive => {}
            Version::V3 => zmtp::put_security(self.socket, &mut self.pending),
            old => zmtp::put_old_greeting(self.socket, old, &mut self.pending),
        }
        skip(1)
    }

    fn security(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let security = unread.get(..SECURITY_LEN.min(unread.len())).unwrap_or(&[]);
        zmtp::check_security(security)?;
        if security.len() < SECURITY_LEN {
            return Ok(Progress::need(SECURITY_LEN.saturating_sub(security.len())));
        }
        // PING came with 3.1.
        self.pongs = security.first().is_some_and(|minor| *minor > 0);
        self.state = if self.passive { State::Traffic } else { State::Handshake };
        if !self.passive {
            zmtp::put_ready(self.socket, &mut self.pending);
        }
        Ok(skip(SECURITY_LEN))
    }

    fn socket_type(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let Some(&number) = unread.first() else { return Ok(Progress::need(1)) };
        if !self.passive {
            self.socket.check_number(number)?;
        }
        self.answers_only = number == zmtp::REQ_NUMBER;
        self.state = State::Identity;
        Ok(skip(1))
    }

    /// The identity of a peer of 2.0 or 1.0, which does not matter to us: it would be authority that anybody can claim.
    fn identity(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let head = match UnitHead::read_as(self.version, unread)? {
            Ok(head) => head,
            Err(missing) => return Ok(Progress::need(missing)),
        };
        let len = usize::try_from(head.len).ok().filter(|len| *len <= MAX_IDENTITY && !head.more);
        let len = len.ok_or(FrameError::Handshake("an identity of at most 255 bytes"))?;
        let end = head.head.saturating_add(len);
        if unread.len() < end {
            return Ok(Progress::need(end.saturating_sub(unread.len())));
        }
        self.state = State::Traffic;
        Ok(skip(end))
    }

    /// A unit of ZMTP, in the handshake or after it.
    #[inline]
    fn unit(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let head = match UnitHead::read_as(self.version, unread)? {
            Ok(head) => head,
            Err(missing) => return Ok(Progress::need(missing)),
        };
        let len = usize::try_from(head.len).unwrap_or(usize::MAX);
        let body = unread.get(head.head..).unwrap_or(&[]);
        let handshake = matches!(self.state, State::Handshake);
        if head.command {
            return self.command(head, len, body, handshake);
        }
        if handshake {
            return Err(FrameError::Handshake("READY before any message"));
        }
        let delimited = matches!(self.state, State::Delimiter);
        if head.more {
            if len == 0 && !delimited && !self.passive {
                self.state = State::Delimiter;
                return Ok(skip(head.head));
            }
            return self.first_part(head);
        }
        if len > self.max && self.entering {
            return Ok(self.wait());
        }
        if len > self.max && !self.passive && !self.passes_over() {
            return self.too_large(head, self.max, &[]);
        }
        if len > self.max {
            // Whether it may be that long, its first bytes tell.
            let start = body.get(..len.min(body.len())).unwrap_or(&[]);
            match voice_message(start) {
                Ok(true) if len <= self.max_for(true) => {}
                Ok(voice) => {
                    return self.too_large(head, if voice { self.max_for(true) } else { self.max }, start);
                }
                Err(missing) => return Ok(Progress::need(missing)),
            }
        }
        let Some(body) = body.get(..len) else {
            return Ok(Progress::need(len.saturating_sub(body.len())));
        };
        self.note_log_in(body);
        (self.delimited, self.state) = (delimited, State::Traffic);
        Ok(Progress::Frame { header: head.head, body: len })
    }

    /// Before the log-in: remembers that `message` asks for it.
    #[inline]
    fn note_log_in(&mut self, message: &[u8]) {
        if self.max < self.full && self.socket == SocketType::Router && is_log_in(message) {
            self.entering = true;
        }
    }

    /// How large the next message may be, the answer to the log-in says.
    const fn wait(&mut self) -> Progress {
        self.waiting = true;
        Progress::NeedMore(core::num::NonZeroUsize::MIN)
    }

    /// Whether a message that is too large may be passed over as it comes in: its sender has shown who it is, or may do so with the
    /// next one.
    const fn passes_over(&self) -> bool {
        !self.passive && self.max > MAX_BEFORE_LOGIN
    }

    /// A message that is larger than `max`: where the next one starts is known, so only this one has to be refused.
    fn too_large(&mut self, head: UnitHead, max: usize, start: &[u8]) -> Result<Progress, FrameError> {
        if self.passive {
            return Err(FrameError::TooLarge { len: head.len, max });
        }
        self.delimited = matches!(self.state, State::Delimiter);
        if !self.passes_over() {
            // A peer that waits for an answer has it before the end.
            self.state = State::Refused { len: head.len, max };
            return Ok(Progress::Frame { header: head.head, body: 0 });
        }
        self.state = State::LastPart { left: head.len };
        // Updates of a client are never answered.
        if self.socket == SocketType::Router && crate::message::head(start).0.0 == kind::UPDATE {
            return Ok(skip(head.head));
        }
        Ok(Progress::Frame { header: head.head, body: 0 })
    }

    fn command(
        &mut self,
        head: UnitHead,
        len: usize,
        body: &[u8],
        handshake: bool,
    ) -> Result<Progress, FrameError> {
        if len > MAX_COMMAND {
            return Err(FrameError::TooLarge { len: head.len, max: MAX_COMMAND });
        }
        let Some(body) = body.get(..len) else { return Ok(Progress::need(len.saturating_sub(body.len()))) };
        let command = Command::read(body)?;
        if !self.passive {
            match command {
                Command::Ready(properties) if handshake => {
                    properties.check(self.socket).inspect_err(|_| {
                        zmtp::put_error("Invalid socket type", &mut self.pending);
                    })?;
                    self.answers_only = properties.is_req();
                    self.state = State::Traffic;
                }
                Command::Ping { ttl, context } if !handshake => {
                    if ttl > 0 {
                        let silence = Duration::from_millis(u64::from(ttl).saturating_mul(100));
                        self.silence = Some(silence.max(MIN_SILENCE));
                    }
                    // A peer that does not take the answers gets no more of them.
                    if self.pending.len() <= MAX_PENDING {
                        zmtp::put_pong(context, &mut self.pending);
                    }
                }
                Command::Pong { context } if !handshake && self.probes.answered < self.probes.sent => {
                    let next = self.probes.answered.wrapping_add(1);
                    if context == next.to_be_bytes() {
                        self.probes.answered = next;
                        self.probes.fresh = self.probes.fresh.saturating_add(1);
                    }
                }
                Command::Error { .. } => return Err(FrameError::Handshake("no ERROR from the peer")),
                _ if handshake => return Err(FrameError::Handshake("READY as the first command")),
                // A PONG to nothing; and commands of later versions.
                _ => {}
            }
        }
        Ok(skip(head.head.saturating_add(len)))
    }

    /// The first frame of several, or one between the first and the last.
    fn first_part(&mut self, head: UnitHead) -> Result<Progress, FrameError> {
        let before = if let State::Parts { total, .. } = self.state { total } else { 0 };
        let total = before.saturating_add(head.len).saturating_add(head.head as u64);
        if total > self.max as u64 && !self.passes_over() {
            return Err(FrameError::TooLarge { len: total, max: self.max });
        }
        if before == 0 {
            self.delimited = matches!(self.state, State::Delimiter);
        }
        self.state = State::Parts { left: head.len, total };
        Ok(skip(head.head))
    }

    /// Between two frames of one message.
    fn next_part(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let head = match UnitHead::read_as(self.version, unread)? {
            Ok(head) => head,
            Err(missing) => return Ok(Progress::need(missing)),
        };
        if head.command {
            return Err(FrameError::Handshake("the rest of a message of several frames"));
        }
        if head.more {
            return self.first_part(head);
        }
        if head.len > self.max as u64 && !self.passes_over() {
            return Err(FrameError::TooLarge { len: head.len, max: self.max });
        }
        self.state = State::LastPart { left: head.len };
        // The whole of it counts as one message, which is none of ours.
        Ok(Progress::Frame { header: head.head, body: 0 })
    }

    /// The next message in plain objects.
    fn plain(&mut self, unread: &[u8], mut scan: Scan) -> Result<Progress, FrameError> {
        let found = scan.next(unread);
        let max = self.max_for(scan.is_voice_message());
        let reach = match found {
            // What its list announces says it, however much of it is there: the same in any pieces.
            _ if scan.announced > max as u64 => scan.announced,
            Found::Message(len) | Found::Lost(len) => len as u64,
            Found::Need(reach) => reach,
        };
        if reach > max as u64 && self.entering {
            return Ok(self.wait());
        }
        if reach > max as u64 {
            let is_update = scan.is_update();
            let Some(start) = scan.begin_to_pass().filter(|_| self.passes_over()) else {
                return Err(FrameError::TooLarge { len: reach, max });
            };
            self.state = State::PlainRest { scan, left: 0 };
            return Ok(match start {
                start if is_update => skip(start),
                start => Progress::Frame { header: start, body: 0 },
            });
        }
        Ok(match found {
            Found::Message(len) => {
                self.note_log_in(unread.get(..len).unwrap_or(&[]));
                self.state = State::Plain(Scan::new(self.socket));
                Progress::Frame { header: 0, body: len }
            }
            Found::Lost(len) => {
                self.state = State::Lost;
                Progress::Frame { header: 0, body: len }
            }
            Found::Need(reach) => {
                self.state = State::Plain(scan);
                let reach = usize::try_from(reach).unwrap_or(usize::MAX);
                Progress::need(reach.saturating_sub(unread.len()).max(1))
            }
        })
    }

    /// The rest of a message in plain objects that is too large.
    fn plain_rest(&mut self, unread: &[u8], mut scan: Scan, left: u64) -> Option<Progress> {
        if left > 0 {
            let (progress, left) = pass_over(unread, left);
            self.state = State::PlainRest { scan, left };
            return Some(progress);
        }
        let (bytes, state) = match scan.pass(unread) {
            Passed::Some { bytes: 0, left: 0 } => return Some(Progress::need(1)),
            Passed::Some { bytes, left } => (bytes, State::PlainRest { scan, left }),
            Passed::All(bytes) => (bytes, State::Plain(Scan::new(self.socket))),
            Passed::Lost => (0, State::Lost),
        };
        self.state = state;
        core::num::NonZeroUsize::new(bytes).map(Progress::Skip)
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

/// Whether a message asks for a log-in.
pub(crate) fn is_log_in(message: &[u8]) -> bool {
    let (first, action) = crate::message::head(message);
    first.0 == kind::REQUEST && action.0 == Action::Login.name().as_bytes()
}

/// Whether the message that starts with `body` is a recording; `Err` with what is missing to tell.
fn voice_message(body: &[u8]) -> Result<bool, usize> {
    let mut at = 0;
    for wanted in [None, Some(Action::VoiceMsg.name().as_bytes())] {
        let rest = body.get(at..).unwrap_or(&[]);
        let (head, len) = match Head::read(rest)? {
            Head::Text { head, len: len @ 0..=16 } => (head, usize::try_from(len).unwrap_or(0)),
            _ => return Ok(false),
        };
        let end = head.saturating_add(len);
        let text = rest.get(head..end).ok_or_else(|| end.saturating_sub(rest.len()))?;
        let right = match wanted {
            None => matches!(text, kind::REQUEST | kind::UPDATE),
            Some(action) => text == action,
        };
        if !right {
            return Ok(false);
        }
        at = at.saturating_add(end);
    }
    Ok(true)
}

/// What looking through plain objects has led to.
enum Found {
    /// A message of so many bytes.
    Message(usize),
    /// What these bytes start with is no message, and nothing says where the next one is.
    Lost(usize),
    /// The present object reaches at least this far.
    Need(u64),
}

/// What has been passed over of a message that is too large.
enum Passed {
    /// So many bytes, and then so many of a text, and there is more.
    Some { bytes: usize, left: u64 },
    /// All of it, with these.
    All(usize),
    /// An object that does not belong there.
    Lost,
}

/// The objects of one message, looked through once, however they come in.
#[derive(Debug, Clone, Copy)]
struct Scan {
    /// Whose messages they are not: ours.
    socket: SocketType,
    /// Up to here everything has been looked at.
    at: usize,
    /// The message reaches at least this far, as its list says: each element takes a byte.
    announced: u64,
    stage: Stage,
    voice: bool,
    update: bool,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Type,
    Action {
        of: Type,
    },
    Code {
        action: Option<Action>,
    },
    /// The arguments that are still to come.
    Arguments(&'static [Argument]),
    /// Elements of a list that are still to come, and what comes behind it.
    Elements {
        left: usize,
        kind: Option<SampleKind>,
        then: &'static [Argument],
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Request,
    Response,
    Update,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    Text,
    Uint,
    Samples,
}

use Argument::{Samples, Text, Uint};

/// The arguments of a client's message.
const fn of_client(of: Type, action: Action) -> Option<&'static [Argument]> {
    Some(match (of, action) {
        (Type::Update, Action::CallData) => &[Text, Text, Text, Samples],
        (Type::Request, Action::Logout) => &[Text],
        (Type::Request, Action::Register | Action::Login | Action::LeaveCall) => &[Text, Text],
        (Type::Request, Action::AddContact | Action::CreateGroup | Action::JoinGroup | Action::JoinCall) => {
            &[Text, Text, Text]
        }
        (Type::Request, Action::Whisper | Action::MsgGroup) => &[Text, Text, Text, Text],
        (Type::Request, Action::VoiceMsg) => &[Text, Text, Text, Uint, Uint, Samples],
        _ => return None,
    })
}

/// The arguments of a server's update.
const fn of_server(action: Action) -> Option<&'static [Argument]> {
    Some(match action {
        Action::CallData => &[Text, Samples],
        Action::Whisper => &[Text, Text],
        Action::MsgGroup => &[Text, Text, Text],
        Action::VoiceMsg => &[Text, Uint, Uint, Samples],
        _ => return None,
    })
}

/// What a server says with a success.
const fn of_success(action: Option<Action>) -> &'static [Argument] {
    match action {
        Some(Action::Login) => &[Text, Text],
        Some(Action::JoinCall) => &[Text],
        _ => &[],
    }
}

impl Scan {
    const fn new(socket: SocketType) -> Self {
        Self { socket, at: 0, announced: 0, stage: Stage::Type, voice: false, update: false }
    }

    const fn is_voice_message(&self) -> bool {
        self.voice
    }

    /// Whether it is one that is never answered.
    fn is_update(&self) -> bool {
        self.update && self.socket == SocketType::Router
    }

    /// The message is too large to be held: what has been looked at goes, if the end of the rest can be found.
    fn begin_to_pass(&mut self) -> Option<usize> {
        let is_known = matches!(self.stage, Stage::Arguments(_) | Stage::Elements { .. });
        is_known.then(|| core::mem::take(&mut self.at))
    }

    /// Looks through more of a message whose objects are not kept. `unread` starts where the last look stopped.
    fn pass(&mut self, unread: &[u8]) -> Passed {
        let mut at = 0_usize;
        loop {
            let rest = unread.get(at..).unwrap_or(&[]);
            match self.stage {
                Stage::Elements { left: 0, then, .. } => self.stage = Stage::Arguments(then),
                Stage::Elements { left, kind, then } => {
                    let Some(&first) = rest.first() else { return Passed::Some { bytes: at, left: 0 } };
                    let kind = kind.unwrap_or_else(|| kind_of(first));
                    let walked = walk(rest, left, kind);
                    at = at.saturating_add(walked.bytes);
                    let left = left.saturating_sub(walked.count);
                    self.stage = Stage::Elements { left, kind: Some(kind), then };
                    match walked.fault {
                        None => {}
                        Some(Fault::Missing(_)) => return Passed::Some { bytes: at, left: 0 },
                        Some(Fault::Bad { .. }) => return Passed::Lost,
                    }
                }
                Stage::Arguments([]) => return Passed::All(at),
                Stage::Arguments([expected, then @ ..]) => {
                    let Ok(head) = Head::read(rest) else { return Passed::Some { bytes: at, left: 0 } };
                    at = at.saturating_add(head.len());
                    self.stage = Stage::Arguments(then);
                    match (expected, head) {
                        (Text, Head::Text { len: 0, .. }) | (Uint, Head::Uint { .. }) => {}
                        (Text, Head::Text { len: left, .. }) => return Passed::Some { bytes: at, left },
                        (Samples, Head::List { len, .. }) => {
                            let left = usize::try_from(len).unwrap_or(usize::MAX);
                            self.stage = Stage::Elements { left, kind: None, then };
                        }
                        _ => return Passed::Lost,
                    }
                }
                _ => return Passed::Lost,
            }
        }
    }

    /// Goes on where it stopped. `unread` starts with the message.
    fn next(&mut self, unread: &[u8]) -> Found {
        loop {
            let rest = unread.get(self.at..).unwrap_or(&[]);
            if let Stage::Elements { left, kind, then } = self.stage {
                let Some(&first) = rest.first().filter(|_| left > 0) else {
                    if left > 0 {
                        return self.need(left as u64);
                    }
                    self.stage = Stage::Arguments(then);
                    continue;
                };
                let kind = kind.unwrap_or_else(|| kind_of(first));
                let walked = walk(rest, left, kind);
                self.at = self.at.saturating_add(walked.bytes);
                let left = left.saturating_sub(walked.count);
                self.stage = Stage::Elements { left, kind: Some(kind), then };
                match walked.fault {
                    None => continue,
                    Some(Fault::Missing(missing)) => {
                        let have = unread.len().saturating_sub(self.at);
                        return self.need(have.saturating_add(missing) as u64);
                    }
                    Some(Fault::Bad { len, .. }) => return self.lost(len),
                }
            }
            if let Stage::Arguments([]) = self.stage {
                return Found::Message(self.at);
            }
            let head = match Head::read(rest) {
                Ok(head) => head,
                Err(missing) => return self.need(rest.len().saturating_add(missing) as u64),
            };
            let expected = matches!(
                (self.stage, head),
                (Stage::Type | Stage::Action { .. } | Stage::Arguments([Text, ..]), Head::Text { .. })
                    | (Stage::Code { .. } | Stage::Arguments([Uint, ..]), Head::Uint { .. })
                    | (Stage::Arguments([Samples, ..]), Head::List { .. })
            );
            if !expected {
                // The wrong kind of object, which is handed on up to here.
                return self.lost(head.len());
            }
            // A text has to be there as a whole before it says anything.
            let text = match head {
                Head::Text { head, len } => {
                    let end = len.saturating_add(head as u64);
                    match usize::try_from(end).ok().and_then(|end| rest.get(head..end)) {
                        Some(text) => Some((text, usize::try_from(end).unwrap_or(usize::MAX))),
                        None => return self.need(end),
                    }
                }
                _ => None,
            };
            let (next, len) = match (self.stage, text, head) {
                (Stage::Type, Some((text, len)), _) => {
                    self.update = text == kind::UPDATE;
                    (self.after_type(text), len)
                }
                (Stage::Action { of }, Some((text, len)), _) => {
                    let action = Action::from_name(text);
                    self.voice = action == Some(Action::VoiceMsg);
                    (self.after_action(of, action), len)
                }
                (Stage::Code { action }, _, Head::Uint { head, value }) => {
                    (Some(Stage::Arguments(if value == 0 { of_success(action) } else { &[] })), head)
                }
                (Stage::Arguments([Text, then @ ..]), Some((_, len)), _) => {
                    (Some(Stage::Arguments(then)), len)
                }
                (Stage::Arguments([Uint, then @ ..]), _, Head::Uint { head, .. }) => {
                    (Some(Stage::Arguments(then)), head)
                }
                (Stage::Arguments([Samples, then @ ..]), _, Head::List { head, len }) => {
                    let left = usize::try_from(len).unwrap_or(usize::MAX);
                    self.announced = (self.at.saturating_add(head) as u64).saturating_add(left as u64);
                    (Some(Stage::Elements { left, kind: None, then }), head)
                }
                _ => return self.lost(head.len()),
            };
            self.at = self.at.saturating_add(len);
            match next {
                Some(next) => self.stage = next,
                None => return Found::Lost(self.at),
            }
        }
    }

    fn need(&self, more: u64) -> Found {
        Found::Need(more.saturating_add(self.at as u64))
    }

    /// The head of what is wrong goes with it, so that it shows as wrong and not as missing.
    const fn lost(&self, len: usize) -> Found {
        Found::Lost(self.at.saturating_add(len))
    }

    fn after_type(&self, text: &[u8]) -> Option<Stage> {
        let client = self.socket == SocketType::Router;
        match text {
            kind::UPDATE => Some(Stage::Action { of: Type::Update }),
            kind::REQUEST if client => Some(Stage::Action { of: Type::Request }),
            kind::RESPONSE if !client => Some(Stage::Action { of: Type::Response }),
            b"add_contact" | b"join_group" if client => Some(Stage::Arguments(&[Text, Text, Text])),
            _ => None,
        }
    }

    fn after_action(&self, of: Type, action: Option<Action>) -> Option<Stage> {
        match of {
            Type::Response => Some(Stage::Code { action }),
            Type::Update if self.socket == SocketType::Dealer => of_server(action?).map(Stage::Arguments),
            _ => of_client(of, action?).map(Stage::Arguments),
        }
    }
}
