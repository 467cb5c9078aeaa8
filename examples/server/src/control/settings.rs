//! The settings of control.

use super::auth::Tokens;
use crate::Error;
use std::path::PathBuf;

/// The environment variable that can hold the token in place of a file.
const VARIABLE: &str = "VOXWIRE_CONTROL_TOKEN";

/// The settings of control: off unless a token or a socket is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSettings {
    /// A file with tokens of the HTTP API: on each line a name and a token, or a token alone. Without it the variable
    /// `VOXWIRE_CONTROL_TOKEN` may hold one.
    pub token_file: Option<PathBuf>,
    /// Where the local socket is made, which needs no token.
    pub socket: Option<PathBuf>,
    /// URLs that events are sent to.
    pub webhooks: Vec<String>,
    /// Who texts come from that operators send.
    pub say_as: String,
    /// The token of the environment: set by [`Config::from_flags`](crate::Config::from_flags). Shown to no reader.
    pub(crate) from_environment: FromEnvironment,
}

/// A token that is not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct FromEnvironment(Option<String>);

impl core::fmt::Debug for FromEnvironment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.0.is_some() { "Some(..)" } else { "None" })
    }
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            token_file: None,
            socket: None,
            webhooks: Vec::new(),
            say_as: "server".into(),
            from_environment: FromEnvironment::default(),
        }
    }
}

impl ControlSettings {
    /// Takes the token of the environment, if there is one.
    #[allow(
        clippy::disallowed_methods,
        reason = "a token on the command line would be seen by every user of the machine"
    )]
    pub(crate) fn read_environment(&mut self) {
        self.from_environment = FromEnvironment(std::env::var(VARIABLE).ok());
    }

    /// Whether there is any control.
    pub(crate) fn is_on(&self) -> bool {
        self.has_tokens() || self.socket.is_some() || !self.webhooks.is_empty()
    }

    /// Whether the HTTP API is on.
    pub(crate) fn has_tokens(&self) -> bool {
        self.token_file.is_some() || self.from_environment.0.is_some()
    }

    /// The tokens; `None` if there are none, and the HTTP API is off.
    pub(crate) fn tokens(&self) -> Result<Option<Tokens>, Error> {
        match (&self.token_file, &self.from_environment.0) {
            (Some(path), _) => Tokens::read(path).map(Some),
            (None, Some(text)) => {
                Tokens::parse(text).map(Some).map_err(|why| Error::Usage(format!("{VARIABLE}: {why}")))
            }
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        voxwire_core::check_name(self.say_as.as_bytes()).map_err(|error| format!("say-as: {error}"))?;
        self.webhooks.iter().try_for_each(|url| super::webhook::Target::parse(url).map(drop))
    }
}
