//! The settings of control.

use super::auth::Tokens;
use super::webhook::{SigningKey, Target};
use crate::Error;
use core::fmt;
use std::path::PathBuf;

/// The environment variable that can hold the token in place of a file.
const VARIABLE: &str = "VOXWIRE_CONTROL_TOKEN";

/// The settings of control: off unless a token or a socket is set. Secrets are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ControlSettings {
    /// A file with tokens of the HTTP API: on each line a name and a token, or a token alone. Without it the variable
    /// `VOXWIRE_CONTROL_TOKEN` may hold one.
    pub token_file: Option<PathBuf>,
    /// Where the local socket is made, which needs no token.
    pub socket: Option<PathBuf>,
    /// URLs that events are sent to.
    pub webhooks: Vec<String>,
    /// What requests to them are signed with, in base64.
    pub webhook_secret: Option<String>,
    /// Who texts come from that operators send.
    pub say_as: String,
    /// The token of the environment: set by [`Config::from_flags`](crate::Config::from_flags). Shown to no reader.
    pub(crate) from_environment: FromEnvironment,
}

/// A token that is not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct FromEnvironment(Option<String>);

impl fmt::Debug for FromEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Some(..)" } else { "None" })
    }
}

impl fmt::Debug for ControlSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token_file, socket, webhooks, webhook_secret, say_as, from_environment } = self;
        f.debug_struct("ControlSettings")
            .field("token_file", token_file)
            .field("socket", socket)
            .field("webhooks", &webhooks.len())
            .field("webhook_secret", &webhook_secret.is_some())
            .field("say_as", say_as)
            .field("from_environment", from_environment)
            .finish()
    }
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            token_file: None,
            socket: None,
            webhooks: Vec::new(),
            webhook_secret: None,
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

    #[cfg(test)]
    pub(super) fn set_token(&mut self, text: &str) {
        self.from_environment = FromEnvironment(Some(text.into()));
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
        if let Some(secret) = &self.webhook_secret {
            SigningKey::parse(secret)?;
        }
        self.webhooks.iter().try_for_each(|url| Target::parse(url).map(drop))
    }

    /// The host of a webhook to which a password would travel in the clear.
    pub(crate) fn password_in_clear(&self) -> Option<String> {
        let targets = self.webhooks.iter().filter_map(|url| Target::parse(url).ok());
        targets.into_iter().find_map(|target| target.password_in_clear().map(str::to_owned))
    }
}
