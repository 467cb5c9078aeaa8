//! Messages as plain objects: their ends follow from type, action and code.

use super::{Framing, State, pass_over, skip};
use crate::objects::{Action, Head, kind};
use crate::voice::{Fault, SampleKind, Walked, kind_of, walk};
use crate::zmtp::SocketType;
use voxwire_core::{FrameError, Progress};

impl Framing {
    /// The next message in plain objects.
    pub(super) fn plain(&mut self, unread: &[u8], mut scan: Scan) -> Result<Progress, FrameError> {
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
    pub(super) fn plain_rest(&mut self, unread: &[u8], mut scan: Scan, left: u64) -> Option<Progress> {
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
pub(super) struct Scan {
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

impl Stage {
    /// Whether an object of this kind can come next.
    fn expects(self, head: Head) -> bool {
        matches!(
            (self, head),
            (Self::Type | Self::Action { .. } | Self::Arguments([Text, ..]), Head::Text { .. })
                | (Self::Code { .. } | Self::Arguments([Uint, ..]), Head::Uint { .. })
                | (Self::Arguments([Samples, ..]), Head::List { .. })
        )
    }
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
    pub(super) const fn new(socket: SocketType) -> Self {
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
                    let walked = self.walk_elements(rest, left, kind, then);
                    at = at.saturating_add(walked.bytes);
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
            let found = match self.stage {
                Stage::Elements { left: 0, then, .. } => {
                    self.stage = Stage::Arguments(then);
                    None
                }
                Stage::Elements { left, kind, then } => self.elements(rest, left, kind, then),
                Stage::Arguments([]) => return Found::Message(self.at),
                _ => self.object(rest),
            };
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Looks through elements of a list, of which some are `left`. `None`: goes on.
    fn elements(
        &mut self,
        rest: &[u8],
        left: usize,
        kind: Option<SampleKind>,
        then: &'static [Argument],
    ) -> Option<Found> {
        let Some(&first) = rest.first() else { return Some(self.need(left as u64)) };
        let walked = self.walk_elements(rest, left, kind.unwrap_or_else(|| kind_of(first)), then);
        self.at = self.at.saturating_add(walked.bytes);
        Some(match walked.fault? {
            Fault::Missing(missing) => {
                let have = rest.len().saturating_sub(walked.bytes);
                self.need(have.saturating_add(missing) as u64)
            }
            Fault::Bad { len, .. } => self.lost(len),
        })
    }

    /// Walks as far as the elements are there and good, and notes how many are left.
    fn walk_elements(
        &mut self,
        rest: &[u8],
        left: usize,
        kind: SampleKind,
        then: &'static [Argument],
    ) -> Walked {
        let walked = walk(rest, left, kind);
        let left = left.saturating_sub(walked.count);
        self.stage = Stage::Elements { left, kind: Some(kind), then };
        walked
    }

    /// Looks at the one object that comes next. `None`: goes on.
    fn object(&mut self, rest: &[u8]) -> Option<Found> {
        let head = match Head::read(rest) {
            Ok(head) => head,
            Err(missing) => return Some(self.need(rest.len().saturating_add(missing) as u64)),
        };
        if !self.stage.expects(head) {
            // The wrong kind of object, which is handed on up to here.
            return Some(self.lost(head.len()));
        }
        // A text has to be there as a whole before it says anything.
        let text = match head {
            Head::Text { head, len } => {
                let end = len.saturating_add(head as u64);
                match usize::try_from(end).ok().and_then(|end| Some((rest.get(head..end)?, end))) {
                    Some(text) => Some(text),
                    None => return Some(self.need(end)),
                }
            }
            _ => None,
        };
        let Some((next, len)) = self.after(head, text) else { return Some(self.lost(head.len())) };
        self.at = self.at.saturating_add(len);
        match next {
            Some(next) => self.stage = next,
            None => return Some(Found::Lost(self.at)),
        }
        None
    }

    /// What comes behind an object, and the object's length; with a text its bytes, and where it ends.
    fn after(&mut self, head: Head, text: Option<(&[u8], usize)>) -> Option<(Option<Stage>, usize)> {
        Some(match (self.stage, text, head) {
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
            (Stage::Arguments([Text, then @ ..]), Some((_, len)), _) => (Some(Stage::Arguments(then)), len),
            (Stage::Arguments([Uint, then @ ..]), _, Head::Uint { head, .. }) => {
                (Some(Stage::Arguments(then)), head)
            }
            (Stage::Arguments([Samples, then @ ..]), _, Head::List { head, len }) => {
                let left = usize::try_from(len).unwrap_or(usize::MAX);
                self.announced = (self.at.saturating_add(head) as u64).saturating_add(left as u64);
                (Some(Stage::Elements { left, kind: None, then }), head)
            }
            _ => return None,
        })
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
