//! Units of ZMTP: messages, their parts, commands, and messages that are too large.

use super::{Framing, MAX_PENDING, MIN_SILENCE, State, skip};
use crate::MAX_BEFORE_LOGIN;
use crate::objects::{Action, Head, kind};
use crate::zmtp::{self, Command, MAX_COMMAND, SocketType, UnitHead};
use core::time::Duration;
use voxwire_core::{FrameError, Progress};

impl Framing {
    /// A unit of ZMTP, in the handshake or after it.
    #[inline]
    pub(super) fn unit(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
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
    pub(super) fn note_log_in(&mut self, message: &[u8]) {
        if self.max < self.full && self.socket == SocketType::Router && is_log_in(message) {
            self.entering = true;
        }
    }

    /// How large the next message may be, the answer to the log-in says.
    pub(super) const fn wait(&mut self) -> Progress {
        self.waiting = true;
        Progress::NeedMore(core::num::NonZeroUsize::MIN)
    }

    /// Whether a message that is too large may be passed over as it comes in: its sender has shown who it is, or may do so with the
    /// next one.
    pub(super) const fn passes_over(&self) -> bool {
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
    pub(super) fn next_part(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
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
