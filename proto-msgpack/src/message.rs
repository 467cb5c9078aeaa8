use crate::objects::{
    Objects, bin_len, checked_text, is_bin, kind, put_bin, put_text, put_uint, text_len, uint_len,
};
use crate::voice::Samples;
use crate::{Action, Code, MAX_CALL_SAMPLES, MAX_NAME, Secret, Text, Wire};
use voxwire_core::bytes::BufMut;
use voxwire_core::{DecodeError, DecodeErrorKind, EncodeError, Message};

/// What a log-in has behind its last argument that is for requests alone.
const REQUESTS_ONLY: &[u8] = b"requests_only";

/// What a client sends: twelve requests and one update. Variable parts borrow from the frame; objects behind the last
/// argument are ignored, as the original does.
///
/// ```text
/// "request" | action | arguments ..           "update" | "call_data" | username | token | group_name | samples
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum ClientMessage<'a> {
    /// Make an account.
    Register {
        /// Its name.
        username: Text<'a>,
        /// Its password.
        password: Secret<'a>,
    },
    /// Log in on this connection.
    Login {
        /// Who.
        username: Text<'a>,
        /// The password.
        password: Secret<'a>,
    },
    /// Log in for requests alone: nothing is delivered to this connection, and the user is no more there than before. Ours: an object
    /// behind the last argument, which other servers ignore.
    LoginForRequests {
        /// Who.
        username: Text<'a>,
        /// The password.
        password: Secret<'a>,
    },
    /// Log out. (Without a token: the connection is asked who it is.)
    Logout {
        /// Who.
        username: Text<'a>,
    },
    /// Put a user on the contact list.
    AddContact {
        /// Whose list.
        username: Text<'a>,
        /// From the log-in.
        token: Secret<'a>,
        /// Who is put on it.
        contact: Text<'a>,
    },
    /// A text for one user.
    Whisper {
        /// Who sends it.
        username: Text<'a>,
        /// From the log-in.
        token: Secret<'a>,
        /// For whom.
        recipient: Text<'a>,
        /// The text.
        content: Text<'a>,
    },
    /// Make a group; who makes it is a member.
    CreateGroup {
        /// Who makes it.
        username: Text<'a>,
        /// From the log-in.
        token: Secret<'a>,
        /// Its name.
        group_name: Text<'a>,
    },
    /// Become a member of a group.
    JoinGroup {
        /// Who.
        username: Text<'a>,
        /// From the log-in.
        token: Secret<'a>,
        /// Of which.
        group_name: Text<'a>,
    },
    /// A text for all members of a group.
    MsgGroup {
        /// Who sends it.
        username: Text<'a>,
        /// From the log-in.
        token: Secret<'a>,
        /// For which.
        group_name: Text<'a>,
        /// The text.
        content: Text<'a>,
    },
    /// A recording for one user.
    VoiceMsg {
        /// Who sends it.
        username: Text<'a>,
        /// From the log-in.
        token: Secret<'a>,
        /// For whom.
        recipient: Text<'a>,
        /// Its channels, whose samples are interleaved.
        channels: u64,
        /// In frames per second.
        sample_rate: u64,
        /// The recording.
        samples: Samples<'a>,
    },
    /// Take part in a group's call.
    JoinCall {
        /// Who.
        username: Text<'a>,
        /// From the log-in.
        token: Secret<'a>,
        /// In which.
        group_name: Text<'a>,
    },
    /// Take part no more.
    LeaveCall {
        /// Who.
        username: Text<'a>,
        /// From the log-in.
        token: Secret<'a>,
    },
    /// Live audio for a group's call; never answered.
    CallData {
        /// Who speaks.
        username: Text<'a>,
        /// From the log-in.
        token: Secret<'a>,
        /// In which.
        group_name: Text<'a>,
        /// Mono, 44 100 Hz.
        samples: Samples<'a>,
    },
}

/// What a server sends: a response to each request, and four updates.
///
/// ```text
/// "response" | action | code | data ..           "update" | action | arguments ..
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum ServerMessage<'a> {
    /// How a request went, where there is nothing more to say.
    Response {
        /// The request's action, as it was sent.
        action: Text<'a>,
        /// How it went.
        code: Code,
    },
    /// `login`, 0: this connection is logged in.
    LoggedIn {
        /// As whom.
        username: Text<'a>,
        /// To be shown with other requests.
        token: Secret<'a>,
    },
    /// `join_call`, 0: this user takes part.
    CallJoined {
        /// In which group's call.
        group_name: Text<'a>,
    },
    /// A text for this user.
    Whisper {
        /// Who sent it.
        sender: Text<'a>,
        /// The text.
        content: Text<'a>,
    },
    /// A text for a group of which this user is a member.
    MsgGroup {
        /// Which.
        group_name: Text<'a>,
        /// Who sent it.
        sender: Text<'a>,
        /// The text.
        content: Text<'a>,
    },
    /// A recording for this user.
    VoiceMsg {
        /// Who sent it.
        sender: Text<'a>,
        /// Its channels, whose samples are interleaved.
        channels: u64,
        /// In frames per second.
        sample_rate: u64,
        /// The recording.
        samples: Samples<'a>,
    },
    /// Live audio of the call that this user takes part in.
    CallData {
        /// Who speaks.
        sender: Text<'a>,
        /// Mono, 44 100 Hz.
        samples: Samples<'a>,
    },
}

impl ClientMessage<'_> {
    /// Which request it is, or `CallData`.
    pub const fn action(&self) -> Action {
        match self {
            Self::Register { .. } => Action::Register,
            Self::Login { .. } | Self::LoginForRequests { .. } => Action::Login,
            Self::Logout { .. } => Action::Logout,
            Self::AddContact { .. } => Action::AddContact,
            Self::Whisper { .. } => Action::Whisper,
            Self::CreateGroup { .. } => Action::CreateGroup,
            Self::JoinGroup { .. } => Action::JoinGroup,
            Self::MsgGroup { .. } => Action::MsgGroup,
            Self::VoiceMsg { .. } => Action::VoiceMsg,
            Self::JoinCall { .. } => Action::JoinCall,
            Self::LeaveCall { .. } => Action::LeaveCall,
            Self::CallData { .. } => Action::CallData,
        }
    }
}

impl<'a> ClientMessage<'a> {
    fn arguments(action: Action, objects: &mut Objects<'a>, wire: &Wire) -> Result<Self, DecodeError> {
        let max_content = wire.limits.max_text;
        let username = objects.text("username", MAX_NAME)?;
        let mut name = |field| objects.text(field, MAX_NAME);
        let mut token = || name("token").map(|token| Secret(token.0));
        Ok(match action {
            Action::Register | Action::Login => {
                let password = Secret(name("password")?.0);
                match action {
                    Action::Register => Self::Register { username, password },
                    _ if objects.is_next(REQUESTS_ONLY) => Self::LoginForRequests { username, password },
                    _ => Self::Login { username, password },
                }
            }
            Action::Logout => Self::Logout { username },
            Action::AddContact => Self::AddContact { username, token: token()?, contact: name("contact")? },
            Action::Whisper => {
                let (token, recipient) = (token()?, name("recipient")?);
                Self::Whisper { username, token, recipient, content: objects.text("content", max_content)? }
            }
            Action::CreateGroup => {
                Self::CreateGroup { username, token: token()?, group_name: name("group_name")? }
            }
            Action::JoinGroup => {
                Self::JoinGroup { username, token: token()?, group_name: name("group_name")? }
            }
            Action::MsgGroup => {
                let (token, group_name) = (token()?, name("group_name")?);
                Self::MsgGroup { username, token, group_name, content: objects.text("content", max_content)? }
            }
            Action::VoiceMsg => Self::VoiceMsg {
                username,
                token: token()?,
                recipient: name("recipient")?,
                channels: objects.uint("channels")?,
                sample_rate: objects.uint("sample_rate")?,
                samples: objects.samples("samples", wire.limits.max_items, wire.floats)?,
            },
            Action::JoinCall => Self::JoinCall { username, token: token()?, group_name: name("group_name")? },
            Action::LeaveCall => Self::LeaveCall { username, token: token()? },
            Action::CallData => Self::CallData {
                username,
                token: token()?,
                group_name: name("group_name")?,
                samples: objects.samples("samples", call_samples(wire), wire.floats)?,
            },
        })
    }
}

impl<'a> Message<'a> for ClientMessage<'a> {
    type Wire = Wire;
    type At<'b> = ClientMessage<'b>;

    #[inline]
    fn decode(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        let mut objects = Objects::new(frame);
        let first = objects.text("type", MAX_NAME)?;
        let at = objects;
        let action = match first.0 {
            kind::UPDATE => match objects.text("action", MAX_NAME)?.0 {
                b"call_data" => Action::CallData,
                _ => return Err(at.error("action", DecodeErrorKind::Name { expected: "call_data" })),
            },
            kind::REQUEST => {
                let action = Action::from_name(objects.text("action", MAX_NAME)?.0);
                action.filter(|action| *action != Action::CallData).ok_or_else(|| {
                    at.error("action", DecodeErrorKind::Name { expected: "one of the eleven requests" })
                })?
            }
            // As the document draws them; the original's clients send "request" first.
            b"add_contact" => Action::AddContact,
            b"join_group" => Action::JoinGroup,
            _ => {
                let expected = "request, update, add_contact or join_group";
                return Err(DecodeError::new("type", 0, DecodeErrorKind::Name { expected }));
            }
        };
        let mut objects = objects.arguments(wire);
        Self::arguments(action, &mut objects, wire)
    }

    fn encoded_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        let kind = if self.action() == Action::CallData { kind::UPDATE } else { kind::REQUEST };
        let mut sum = Sum(text_len(kind.len()).saturating_add(text_len(self.action().name().len())), wire);
        match self {
            Self::Register { username, password } | Self::Login { username, password } => {
                sum.name("username", username)?.secret("password", password)?
            }
            Self::LoginForRequests { username, password } => sum
                .name("username", username)?
                .secret("password", password)?
                .add(text_len(REQUESTS_ONLY.len())),
            Self::Logout { username } => sum.name("username", username)?,
            Self::AddContact { username, token, contact } => {
                sum.name("username", username)?.secret("token", token)?.name("contact", contact)?
            }
            Self::Whisper { username, token, recipient, content } => sum
                .name("username", username)?
                .secret("token", token)?
                .name("recipient", recipient)?
                .content(content)?,
            Self::CreateGroup { username, token, group_name }
            | Self::JoinGroup { username, token, group_name }
            | Self::JoinCall { username, token, group_name } => {
                sum.name("username", username)?.secret("token", token)?.name("group_name", group_name)?
            }
            Self::MsgGroup { username, token, group_name, content } => sum
                .name("username", username)?
                .secret("token", token)?
                .name("group_name", group_name)?
                .content(content)?,
            Self::VoiceMsg { username, token, recipient, channels, sample_rate, samples } => sum
                .name("username", username)?
                .secret("token", token)?
                .name("recipient", recipient)?
                .uint(*channels)
                .uint(*sample_rate)
                .samples(samples, wire.limits.max_items)?,
            Self::LeaveCall { username, token } => sum.name("username", username)?.secret("token", token)?,
            Self::CallData { username, token, group_name, samples } => sum
                .name("username", username)?
                .secret("token", token)?
                .name("group_name", group_name)?
                .samples(samples, call_samples(wire))?,
        };
        Ok(sum.0)
    }

    fn write_unchecked(&self, _wire: &Wire, out: &mut impl BufMut) {
        put_text(if self.action() == Action::CallData { kind::UPDATE } else { kind::REQUEST }, out);
        put_text(self.action().name().as_bytes(), out);
        match self {
            Self::Register { username, password } | Self::Login { username, password } => {
                put_text(username.0, out);
                put_text(password.0, out);
            }
            Self::LoginForRequests { username, password } => {
                [username.0, password.0, REQUESTS_ONLY].into_iter().for_each(|text| put_text(text, out));
            }
            Self::Logout { username } => put_text(username.0, out),
            Self::AddContact { username, token, contact: name }
            | Self::CreateGroup { username, token, group_name: name }
            | Self::JoinGroup { username, token, group_name: name }
            | Self::JoinCall { username, token, group_name: name } => {
                [username.0, token.0, name.0].into_iter().for_each(|text| put_text(text, out));
            }
            Self::Whisper { username, token, recipient: name, content }
            | Self::MsgGroup { username, token, group_name: name, content } => {
                [username.0, token.0, name.0, content.0].into_iter().for_each(|text| put_text(text, out));
            }
            Self::VoiceMsg { username, token, recipient, channels, sample_rate, samples } => {
                [username.0, token.0, recipient.0].into_iter().for_each(|text| put_text(text, out));
                put_uint(*channels, out);
                put_uint(*sample_rate, out);
                samples.put(out);
            }
            Self::LeaveCall { username, token } => {
                put_text(username.0, out);
                put_text(token.0, out);
            }
            Self::CallData { username, token, group_name, samples } => {
                [username.0, token.0, group_name.0].into_iter().for_each(|text| put_text(text, out));
                samples.put(out);
            }
        }
    }
}

impl<'a> ServerMessage<'a> {
    fn response(objects: &mut Objects<'a>, wire: &Wire) -> Result<Self, DecodeError> {
        let action = objects.text("action", MAX_NAME)?;
        let code = Code(objects.uint("code")?);
        let mut objects = objects.arguments(wire);
        Ok(match (code, action.0) {
            (Code::SUCCESS, b"login") => Self::LoggedIn {
                username: objects.text("username", MAX_NAME)?,
                token: Secret(objects.text("token", MAX_NAME)?.0),
            },
            (Code::SUCCESS, b"join_call") => {
                Self::CallJoined { group_name: objects.text("group_name", MAX_NAME)? }
            }
            _ => Self::Response { action, code },
        })
    }

    fn update(objects: &mut Objects<'a>, wire: &Wire) -> Result<Self, DecodeError> {
        let at = *objects;
        let action = objects.text("action", MAX_NAME)?;
        let mut objects = objects.arguments(wire);
        let mut name = |field| objects.text(field, MAX_NAME);
        Ok(match action.0 {
            b"call_data" => Self::CallData {
                sender: name("sender")?,
                samples: objects.samples("samples", call_samples(wire), wire.floats)?,
            },
            b"whisper" => Self::Whisper {
                sender: name("sender")?,
                content: objects.text("content", wire.limits.max_text)?,
            },
            b"msg_group" => Self::MsgGroup {
                group_name: name("group_name")?,
                sender: name("sender")?,
                content: objects.text("content", wire.limits.max_text)?,
            },
            b"voice_msg" => Self::VoiceMsg {
                sender: name("sender")?,
                channels: objects.uint("channels")?,
                sample_rate: objects.uint("sample_rate")?,
                samples: objects.samples("samples", wire.limits.max_items, wire.floats)?,
            },
            _ => {
                let expected = "whisper, msg_group, voice_msg or call_data";
                return Err(at.error("action", DecodeErrorKind::Name { expected }));
            }
        })
    }

    const fn head(&self) -> (&'static [u8], &'static str) {
        match self {
            Self::Response { .. } => (kind::RESPONSE, ""),
            Self::LoggedIn { .. } => (kind::RESPONSE, Action::Login.name()),
            Self::CallJoined { .. } => (kind::RESPONSE, Action::JoinCall.name()),
            Self::Whisper { .. } => (kind::UPDATE, Action::Whisper.name()),
            Self::MsgGroup { .. } => (kind::UPDATE, Action::MsgGroup.name()),
            Self::VoiceMsg { .. } => (kind::UPDATE, Action::VoiceMsg.name()),
            Self::CallData { .. } => (kind::UPDATE, Action::CallData.name()),
        }
    }
}

impl<'a> Message<'a> for ServerMessage<'a> {
    type Wire = Wire;
    type At<'b> = ServerMessage<'b>;

    #[inline]
    fn decode(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        let mut objects = Objects::new(frame);
        match objects.text("type", MAX_NAME)?.0 {
            kind::UPDATE => Self::update(&mut objects, wire),
            kind::RESPONSE => Self::response(&mut objects, wire),
            _ => {
                let kind = DecodeErrorKind::Name { expected: "response or update" };
                Err(DecodeError::new("type", 0, kind))
            }
        }
    }

    fn encoded_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        let (kind, action) = self.head();
        let head = text_len(kind.len());
        let mut sum = Sum(head.saturating_add(text_len(action.len())), wire);
        match self {
            Self::Response { action, code } => {
                if code.is_success() && matches!(action.0, b"login" | b"join_call") {
                    let expected = "LoggedIn or CallJoined for a log-in or a call that succeeded";
                    return Err(EncodeError::Value { field: "code", expected });
                }
                sum.0 = head;
                sum.name("action", action)?.uint(code.0)
            }
            Self::LoggedIn { username, token } => {
                sum.uint(0).name("username", username)?.secret("token", token)?
            }
            Self::CallJoined { group_name } => sum.uint(0).name("group_name", group_name)?,
            Self::Whisper { sender, content } => sum.name("sender", sender)?.bytes(content)?,
            Self::MsgGroup { group_name, sender, content } => {
                sum.name("group_name", group_name)?.name("sender", sender)?.bytes(content)?
            }
            Self::VoiceMsg { sender, channels, sample_rate, samples } => sum
                .name("sender", sender)?
                .uint(*channels)
                .uint(*sample_rate)
                .samples(samples, wire.limits.max_items)?,
            Self::CallData { sender, samples } => {
                sum.name("sender", sender)?.samples(samples, call_samples(wire))?
            }
        };
        Ok(sum.0)
    }

    fn write_unchecked(&self, wire: &Wire, out: &mut impl BufMut) {
        let (kind, action) = self.head();
        put_text(kind, out);
        match self {
            Self::Response { action, code } => {
                put_text(action.0, out);
                put_uint(code.0, out);
                return;
            }
            _ => put_text(action.as_bytes(), out),
        }
        match self {
            Self::Response { .. } => {}
            Self::LoggedIn { username, token } => {
                put_uint(0, out);
                put_text(username.0, out);
                put_text(token.0, out);
            }
            Self::CallJoined { group_name } => {
                put_uint(0, out);
                put_text(group_name.0, out);
            }
            Self::Whisper { sender, content } => {
                put_text(sender.0, out);
                put_content(content.0, wire, out);
            }
            Self::MsgGroup { group_name, sender, content } => {
                [group_name.0, sender.0].into_iter().for_each(|text| put_text(text, out));
                put_content(content.0, wire, out);
            }
            Self::VoiceMsg { sender, channels, sample_rate, samples } => {
                put_text(sender.0, out);
                put_uint(*channels, out);
                put_uint(*sample_rate, out);
                samples.put(out);
            }
            Self::CallData { sender, samples } => {
                put_text(sender.0, out);
                samples.put(out);
            }
        }
    }
}

/// The type and the action of a message, as far as they can be read: what a response to a malformed one says.
pub(crate) fn head(frame: &[u8]) -> (Text<'_>, Text<'_>) {
    let mut objects = Objects::new(frame);
    let first = objects.text("type", MAX_NAME).unwrap_or_default();
    (first, objects.text("action", MAX_NAME).unwrap_or_default())
}

fn put_content(content: &[u8], wire: &Wire, out: &mut impl BufMut) {
    if is_bin(content, wire.any_str) { put_bin(content, out) } else { put_text(content, out) }
}

fn call_samples(wire: &Wire) -> usize {
    wire.limits.max_items.min(MAX_CALL_SAMPLES)
}

/// The encoded length so far.
struct Sum<'w>(usize, &'w Wire);

impl Sum<'_> {
    const fn add(&mut self, len: usize) -> &mut Self {
        self.0 = self.0.saturating_add(len);
        self
    }

    fn name(&mut self, field: &'static str, name: &Text<'_>) -> Result<&mut Self, EncodeError> {
        Ok(self.add(checked_text(field, name.0, MAX_NAME)?))
    }

    fn secret(&mut self, field: &'static str, secret: &Secret<'_>) -> Result<&mut Self, EncodeError> {
        Ok(self.add(checked_text(field, secret.0, MAX_NAME)?))
    }

    /// A content as a server passes it on.
    fn bytes(&mut self, content: &Text<'_>) -> Result<&mut Self, EncodeError> {
        let len = checked_text("content", content.0, self.1.limits.max_text)?;
        Ok(self.add(if is_bin(content.0, self.1.any_str) { bin_len(content.0.len()) } else { len }))
    }

    fn content(&mut self, content: &Text<'_>) -> Result<&mut Self, EncodeError> {
        Ok(self.add(checked_text("content", content.0, self.1.limits.max_text)?))
    }

    const fn uint(&mut self, value: u64) -> &mut Self {
        self.add(uint_len(value))
    }

    fn samples(&mut self, samples: &Samples<'_>, max: usize) -> Result<&mut Self, EncodeError> {
        let field = "samples";
        if samples.len() > max {
            return Err(EncodeError::TooLong { field, len: samples.len(), max });
        }
        if !samples.is_sound() {
            return Err(EncodeError::Value { field, expected: "finite floats" });
        }
        Ok(self.add(samples.encoded_len()))
    }
}
