//! Tokens: who may use the HTTP API, and what each is called in the log.

use crate::Error;
use crate::config::Config;
use crate::figure::Figure;
use blake2::{Blake2s256, Digest as _};
use core::fmt;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use voxwire_core::{Clock, Rate, SourceRate};

/// A token has so many bytes at least.
const LEAST: usize = 16;
/// And so many are there at most.
const MOST: usize = 1024;

/// Wrong tokens of one source address; loopback and the addresses of `proxies` are exempt, as these stand for many people.
const WRONG: Rate = Rate { per_second: 1, burst: 10 };
/// Sources that are told apart.
const SOURCES: usize = 1024;

/// Whose request it is: a name of the file of tokens, or `socket`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor(pub(crate) String);

/// Names, and a hash of the token of each. The tokens themselves are not kept.
#[derive(Clone)]
pub(crate) struct Tokens(Vec<(String, [u8; 32])>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Blake2s256::digest(token).into()
}

impl Tokens {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::File { path: path.into(), error })?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let open = std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
            if open {
                tracing::warn!(path = %path.display(), "other users of this machine can read the tokens: chmod 600");
            }
        }
        Self::parse(&text).map_err(|why| Error::Usage(format!("{}: {why}", path.display())))
    }

    /// Reads tokens, one a line: a name and a token, or a token alone. Errors never show a token.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, token) = match words[..] {
                [token] => ("operator", token),
                [name, token] => (name, token),
                _ => return Err(format!("line {at}: a name and a token expected, or a token alone")),
            };
            if token.len() < LEAST {
                let length = token.len();
                return Err(format!("line {at}: the token has {length} bytes, at least {LEAST} expected"));
            }
            tokens.push((name.to_owned(), hash(token.as_bytes())));
        }
        match tokens.len() {
            0 => Err("no token in it".into()),
            1..=MOST => Ok(Self(tokens)),
            more => Err(format!("{more} tokens: at most {MOST} expected")),
        }
    }

    /// Whose token that is. How long it takes says nothing about the tokens.
    pub(super) fn actor(&self, shown: &[u8]) -> Option<Actor> {
        let shown = hash(shown);
        let (mut found, mut at) = (Choice::from(0), 0_u64);
        for ((_, token), place) in self.0.iter().zip(0_u64..) {
            let same = token.ct_eq(&shown);
            at.conditional_assign(&place, same);
            found |= same;
        }
        let at = usize::try_from(at).ok().filter(|_| bool::from(found))?;
        self.0.get(at).map(|(name, _)| Actor(name.clone()))
    }
}

/// What a request with a token gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Known(Actor),
    Unknown,
    /// Its source has shown too many wrong tokens: this one has not been looked at.
    TooMany,
}

/// Who may use the HTTP API now.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: RwLock<Tokens>,
    clock: Clock,
    wrong: Mutex<SourceRate>,
    refused: AtomicU64,
}

impl Access {
    /// Those of the settings; `None` if there are none, and the API is off.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, Error> {
        let Some(tokens) = config.control.tokens()? else { return Ok(None) };
        let mut wrong = SourceRate::new(WRONG, SOURCES, getrandom::u64().unwrap_or_default());
        wrong.exempt(&config.proxies);
        Ok(Some(Self {
            tokens: RwLock::new(tokens),
            clock: Clock::start(),
            wrong: Mutex::new(wrong),
            refused: AtomicU64::new(0),
        }))
    }

    /// Other tokens hold from now on.
    pub(crate) fn replace(&self, tokens: Tokens) {
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// Who asks, from there.
    pub(super) fn judge(&self, from: IpAddr, shown: &[u8]) -> Verdict {
        // Who shows no token guesses none: a page in an operator's browser must not use up the operator's attempts.
        if shown.is_empty() {
            self.refused.fetch_add(1, Relaxed);
            return Verdict::Unknown;
        }
        let now = self.clock.now();
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if !wrong.has(now, from, 1) {
            self.refused.fetch_add(1, Relaxed);
            return Verdict::TooMany;
        }
        let actor = self.tokens.read().unwrap_or_else(PoisonError::into_inner).actor(shown);
        if let Some(actor) = actor {
            return Verdict::Known(actor);
        }
        let _ = wrong.allow(now, from);
        drop(wrong);
        self.refused.fetch_add(1, Relaxed);
        let advice =
            "the client needs one of the tokens of `control-token-file`; many of one address are an attack";
        tracing::info!(rule = "control-token", address = %from.to_canonical(), advice, "refused");
        Verdict::Unknown
    }

    /// What has been counted.
    pub(crate) fn figure(&self) -> Figure {
        let help = "Requests of the control API without a token, or with a wrong one";
        Figure::counter("control_refusals", help, self.refused.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// C-32: who guesses tokens is not answered for long; others, and those behind a gateway, are.
    #[test]
    fn c_32_a_source_of_wrong_tokens_is_not_looked_at() {
        let mut config = Config { proxies: vec!["192.0.2.9".parse().unwrap()], ..Config::default() };
        assert!(Access::of(&config).unwrap().is_none());
        config.control.set_token("ann 0123456789abcdef");
        let access = Access::of(&config).unwrap().unwrap();
        let judge = |from: &str, token: &str| access.judge(from.parse().unwrap(), token.as_bytes());
        let ann = Verdict::Known(Actor("ann".into()));
        let right = "0123456789abcdef";
        assert!((0..20).all(|_| judge("192.0.2.1", "") == Verdict::Unknown), "no token is no guess");
        assert_eq!(judge("192.0.2.1", right), ann);
        for from in ["192.0.2.1", "127.0.0.1", "192.0.2.9"] {
            assert!((0..10).all(|_| judge(from, "guess") == Verdict::Unknown), "{from}");
        }
        assert_eq!(judge("192.0.2.1", right), Verdict::TooMany);
        for from in ["192.0.2.2", "127.0.0.1", "192.0.2.9"] {
            assert_eq!(judge(from, right), ann, "{from}");
        }
        assert_eq!(access.refused.load(Relaxed), 51);
    }

    /// C-32: tokens are told apart by their whole length, and none is shown.
    #[test]
    fn c_32_tokens_have_names_and_are_not_shown() {
        let tokens = Tokens::parse("# operators\nann 0123456789abcdef\n\nfedcba9876543210\n").unwrap();
        let actor = |shown: &str| tokens.actor(shown.as_bytes()).map(|actor| actor.0);
        assert_eq!(actor("0123456789abcdef").as_deref(), Some("ann"));
        assert_eq!(actor("fedcba9876543210").as_deref(), Some("operator"));
        for wrong in ["", "ann", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF"] {
            assert_eq!(actor(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{tokens:?}"), r#"["ann", "operator"]"#);
        for wrong in ["", "# none", "short", "one two threethreethree"] {
            let error = Tokens::parse(wrong).unwrap_err();
            assert!(!error.contains("short") && !error.contains("three"), "{error}");
        }
    }
}
