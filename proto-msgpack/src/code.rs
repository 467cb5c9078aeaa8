use core::fmt;

/// How a request went: 0, or why it failed.
///
/// The names are the original's (`ServerCodes`), which never sends [`IDENTITY_NOT_CONNECTED`](Self::IDENTITY_NOT_CONNECTED) and
/// [`USER_ALREADY_CONNECTED`](Self::USER_ALREADY_CONNECTED). Those from 1023 on are ours: an original client shows them as numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Code(pub u64);

impl Code {
    /// Done.
    pub const SUCCESS: Self = Self(0);
    /// This connection is not logged in.
    pub const IDENTITY_NOT_CONNECTED: Self = Self(255);
    /// This connection is logged in already. The original says so, too, to a log-out of one that is not.
    pub const IDENTITY_ALREADY_CONNECTED: Self = Self(256);
    /// This user is logged in already.
    pub const USER_ALREADY_CONNECTED: Self = Self(511);
    /// This user, or the recipient, is not logged in.
    pub const USER_NOT_CONNECTED: Self = Self(512);
    /// There is a user of that name.
    pub const USER_ALREADY_EXIST: Self = Self(513);
    /// There is no user of that name.
    pub const USER_DOES_NOT_EXIST: Self = Self(514);
    /// The password is another one; or, from our server, there is no such user.
    pub const USER_WRONG_PASSWORD: Self = Self(515);
    /// Another user is logged in on this connection.
    pub const USER_INCORRECT_IDENTITY: Self = Self(516);
    /// The token is another one.
    pub const USER_INCORRECT_TOKEN: Self = Self(517);
    /// There is a group of that name.
    pub const GROUP_ALREADY_EXIST: Self = Self(767);
    /// There is no group of that name.
    pub const GROUP_DOES_NOT_EXIST: Self = Self(768);
    /// The user is a member already.
    pub const GROUP_MEMBER_ALREADY_EXIST: Self = Self(769);
    /// The user is no member; or, to `leave_call`, takes part in no call.
    pub const GROUP_MEMBER_DOES_NOT_EXIST: Self = Self(770);
    /// Ours: the request is malformed, or its action is unknown.
    pub const REQUEST_INVALID: Self = Self(1023);
    /// Ours: a limit is reached (accounts, groups, members, bytes a second, log-ins waiting); a request like it may succeed later.
    pub const REQUEST_OVER_LIMIT: Self = Self(1024);
    /// Ours: the server cannot do it now (its database fails, or it ends).
    pub const SERVER_UNAVAILABLE: Self = Self(1025);

    /// Ours: there is no room for it among the messages that are kept for the recipient.
    pub const MAILBOX_FULL: Self = Self(1026);

    /// The name, for those that have one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::SUCCESS => "SUCCESS",
            Self::IDENTITY_NOT_CONNECTED => "IDENTITY_NOT_CONNECTED",
            Self::IDENTITY_ALREADY_CONNECTED => "IDENTITY_ALREADY_CONNECTED",
            Self::USER_ALREADY_CONNECTED => "USER_ALREADY_CONNECTED",
            Self::USER_NOT_CONNECTED => "USER_NOT_CONNECTED",
            Self::USER_ALREADY_EXIST => "USER_ALREADY_EXIST",
            Self::USER_DOES_NOT_EXIST => "USER_DOES_NOT_EXIST",
            Self::USER_WRONG_PASSWORD => "USER_WRONG_PASSWORD",
            Self::USER_INCORRECT_IDENTITY => "USER_INCORRECT_IDENTITY",
            Self::USER_INCORRECT_TOKEN => "USER_INCORRECT_TOKEN",
            Self::GROUP_ALREADY_EXIST => "GROUP_ALREADY_EXIST",
            Self::GROUP_DOES_NOT_EXIST => "GROUP_DOES_NOT_EXIST",
            Self::GROUP_MEMBER_ALREADY_EXIST => "GROUP_MEMBER_ALREADY_EXIST",
            Self::GROUP_MEMBER_DOES_NOT_EXIST => "GROUP_MEMBER_DOES_NOT_EXIST",
            Self::REQUEST_INVALID => "REQUEST_INVALID",
            Self::REQUEST_OVER_LIMIT => "REQUEST_OVER_LIMIT",
            Self::SERVER_UNAVAILABLE => "SERVER_UNAVAILABLE",
            Self::MAILBOX_FULL => "MAILBOX_FULL",
            _ => return None,
        })
    }

    /// Whether the request succeeded.
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }

    /// Whether the same request may succeed later: the server has too much to do, or too much was asked of it.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::REQUEST_OVER_LIMIT | Self::SERVER_UNAVAILABLE | Self::MAILBOX_FULL)
    }
}

/// The name and the number.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "code {}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}
