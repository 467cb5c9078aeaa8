use crate::objects::{Action, Head, kind};
use crate::voice::{Fault, SampleKind, kind_of, walk};
use crate::zmtp::{self, Command, GREETING_LEN, MAX_COMMAND, SocketType, UnitHead};
use crate::{MAX_BEFORE_LOGIN, MAX_VOICE_FRAME, Wire};
use alloc::vec::Vec;
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

/// Cuts msgpack's byte stream into messages, in either dialect: a server's side goes by the first byte, 0xff for ZMTP.
///
/// The largest message is what [`set_max`](voxwire_core::Framing::set_max) says; once that is `Limits::max_frame`, a `voice_msg`,
/// which shows in its first bytes, may have [`MAX_VOICE_FRAME`].
///
/// A ZMTP message of several frames is one frame without bytes here: its parts are thrown away as they come in, its sender
/// is told that it was malformed, and nobody else notices. So it is with one that is too large, up to [`MAX_VOICE_FRAME`], once
/// more than [`MAX_BEFORE_LOGIN`] is allowed.
#[derive(Debug, Clone)]
pub struct Framing {
    socket: SocketType,
    state: State,
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
    /// What ZMTP wants sent.
    pending: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// A server that has heard nothing yet.
    Undecided,
    /// The peer's greeting is awaited; whether ours is sent.
    Greeting {
        sent: bool,
    },
    /// The peer's READY is awaited.
    Handshake,
    Traffic,
    /// In a message of several frames: so many bytes of this part are still to come, in so many bytes in all.
    Parts {
        left: usize,
        total: usize,
    },
    /// So many bytes of the last part are still to come.
    LastPart {
        left: usize,
    },
    Plain(Scan),
    /// Where the next message starts is unknown.
    Lost,
}

impl Framing {
    /// A server's side, with the limits of `wire`; before the log-in messages have [`MAX_BEFORE_LOGIN`].
    pub fn server(wire: &Wire) -> Self {
        Self {
            socket: SocketType::Router,
            state: State::Undecided,
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
                zmtp::put_greeting(&mut pending);
                State::Greeting { sent: true }
            }
        };
        Self {
            socket: SocketType::Dealer,
            state,
            max: wire.limits.max_frame,
            full: wire.limits.max_frame,
            max_voice: MAX_VOICE_FRAME,
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
        let state = State::Undecided;
        Self {
            socket,
            state,
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
            State::Plain(_) | State::Lost => Some(Dialect::Plain),
            _ => Some(Dialect::Zmtp),
        }
    }

    const fn max_for(&self, voice: bool) -> usize {
        // Nobody who is not logged in has anything long to say.
        let all = self.max >= self.full && self.max > MAX_BEFORE_LOGIN;
        if voice && all { self.max_voice } else { self.max }
    }

    fn undecided(&mut self, first: u8) {
        self.state = match first {
            zmtp::SIGNATURE => State::Greeting { sent: false },
            0..=7 if self.passive => State::Traffic,
            _ => State::Plain(Scan::new(self.socket)),
        };
    }

    fn greeting(&mut self, unread: &[u8], sent: bool) -> Result<Progress, FrameError> {
        let greeting = unread.get(..GREETING_LEN.min(unread.len())).unwrap_or(&[]);
        let checked = zmtp::check_greeting(greeting);
        // A peer of version 3 may wait for our greeting before it sends the rest of its own.
        if !sent && !self.passive {
            zmtp::put_greeting(&mut self.pending);
        }
        self.state = State::Greeting { sent: true };
        checked?;
        if greeting.len() < GREETING_LEN {
            return Ok(Progress::need(GREETING_LEN.saturating_sub(greeting.len())));
        }
        self.state = if self.passive { State::Traffic } else { State::Handshake };
        if !self.passive {
            zmtp::put_ready(self.socket, &mut self.pending);
        }
        Ok(skip(GREETING_LEN))
    }

    /// A unit of ZMTP, in the handshake or after it.
    #[inline]
    fn unit(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let head = match UnitHead::read(unread)? {
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
        if head.more {
            return self.first_part(head, len);
        }
        if len > self.max && self.entering {
            return Ok(self.wait());
        }
        if len > self.max_for(true) {
            return self.too_large(head, len, self.max_for(true));
        }
        if len > self.max {
            // Whether it may be that long, its first bytes tell.
            match voice_message(body.get(..len.min(body.len())).unwrap_or(&[])) {
                Ok(true) => {}
                Ok(false) => return self.too_large(head, len, self.max),
                Err(missing) => return Ok(Progress::need(missing)),
            }
        }
        let Some(body) = body.get(..len) else {
            return Ok(Progress::need(len.saturating_sub(body.len())));
        };
        self.note_log_in(body);
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

    /// A message that is larger than `max`: where the next one starts is known, so only this one has to be refused.
    const fn too_large(&mut self, head: UnitHead, len: usize, max: usize) -> Result<Progress, FrameError> {
        if self.passive || self.max <= MAX_BEFORE_LOGIN || len > self.max_voice {
            return Err(FrameError::TooLarge { len: head.len, max });
        }
        self.state = State::LastPart { left: len };
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
                    self.state = State::Traffic;
                }
                // Whoever does not take the answers gets no more of them.
                Command::Ping { .. } if self.pending.len() > MAX_PENDING => {}
                Command::Ping { context } if !handshake => zmtp::put_pong(context, &mut self.pending),
                Command::Error { .. } => return Err(FrameError::Handshake("no ERROR from the peer")),
                _ if handshake => return Err(FrameError::Handshake("READY as the first command")),
                // PONG, which we never ask for; and whatever later versions have.
                _ => {}
            }
        }
        Ok(skip(head.head.saturating_add(len)))
    }

    /// The first frame of several, or one between the first and the last.
    fn first_part(&mut self, head: UnitHead, len: usize) -> Result<Progress, FrameError> {
        let before = if let State::Parts { total, .. } = self.state { total } else { 0 };
        let total = before.saturating_add(len).saturating_add(head.head);
        if total > self.max {
            return Err(FrameError::TooLarge { len: total as u64, max: self.max });
        }
        self.state = State::Parts { left: len, total };
        Ok(skip(head.head))
    }

    /// Between two frames of one message.
    fn next_part(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let head = match UnitHead::read(unread)? {
            Ok(head) => head,
            Err(missing) => return Ok(Progress::need(missing)),
        };
        let len = usize::try_from(head.len).unwrap_or(usize::MAX);
        if head.command {
            return Err(FrameError::Handshake("the rest of a message of several frames"));
        }
        if head.more {
            return self.first_part(head, len);
        }
        if len > self.max {
            return Err(FrameError::TooLarge { len: head.len, max: self.max });
        }
        self.state = State::LastPart { left: len };
        // The whole of it counts as one message, which is none of ours.
        Ok(Progress::Frame { header: head.head, body: 0 })
    }
}

impl voxwire_core::Framing for Framing {
    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        loop {
            match self.state {
                State::Traffic | State::Handshake => return self.unit(unread),
                State::Undecided => match unread.first() {
                    Some(&first) => self.undecided(first),
                    None => return Ok(Progress::need(1)),
                },
                State::Greeting { sent } => return self.greeting(unread, sent),
                State::Parts { left: 0, .. } => return self.next_part(unread),
                State::LastPart { left: 0 } => self.state = State::Traffic,
                State::Parts { left, total } => {
                    let now = left.min(unread.len());
                    if now == 0 {
                        return Ok(Progress::need(left.min(SKIPPED)));
                    }
                    self.state = State::Parts { left: left.saturating_sub(now), total };
                    return Ok(skip(now));
                }
                State::LastPart { left } => {
                    let now = left.min(unread.len());
                    if now == 0 {
                        return Ok(Progress::need(left.min(SKIPPED)));
                    }
                    self.state = State::LastPart { left: left.saturating_sub(now) };
                    return Ok(skip(now));
                }
                State::Plain(mut scan) => {
                    let found = scan.next(unread);
                    let max = self.max_for(scan.is_voice_message());
                    let reach = match found {
                        Found::Message(len) | Found::Lost(len) => len as u64,
                        Found::Need(reach) => reach,
                    };
                    if reach > max as u64 && self.entering {
                        return Ok(self.wait());
                    }
                    if reach > max as u64 {
                        return Err(FrameError::TooLarge { len: reach, max });
                    }
                    return Ok(match found {
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
                    });
                }
                // What could not be read has been handed on; a session closes the connection.
                State::Lost => return Err(FrameError::Handshake("objects that belong to a message")),
            }
        }
    }

    fn put_header(&self, body: usize, out: &mut impl BufMut) {
        if !matches!(self.state, State::Plain(_) | State::Lost) {
            zmtp::put_message_head(body, out);
        }
    }

    fn set_max(&mut self, max: usize) {
        self.max = max;
        (self.entering, self.waiting) = (false, false);
    }

    fn is_waiting(&self) -> bool {
        self.waiting
    }

    fn is_ready(&self) -> bool {
        !matches!(self.state, State::Greeting { .. } | State::Handshake)
    }

    fn announces(&self) -> bool {
        !matches!(self.state, State::Undecided | State::Plain(_))
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

/// The objects of one message, looked through once, however they come in.
#[derive(Debug, Clone, Copy)]
struct Scan {
    /// Whose messages they are not: ours.
    socket: SocketType,
    /// Up to here everything has been looked at.
    at: usize,
    stage: Stage,
    voice: bool,
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
        Self { socket, at: 0, stage: Stage::Type, voice: false }
    }

    const fn is_voice_message(&self) -> bool {
        self.voice
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
                (Stage::Type, Some((text, len)), _) => (self.after_type(text), len),
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
                    // Each element takes a byte at least: too many show at once.
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
