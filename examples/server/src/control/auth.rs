//! Tokens: who may use the HTTP API, and what each is called in the log.

use crate::Error;
use blake2::{Blake2s256, Digest as _};
use core::fmt;
use std::path::Path;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// A token has so many bytes at least.
const LEAST: usize = 16;
/// And so many are there at most.
const MOST: usize = 1024;

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
