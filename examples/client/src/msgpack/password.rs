//! Where a password comes from: never from the command line, which others can read.

use crate::error::{Error, failed};
use std::io::{BufRead, IsTerminal};
use zeroize::Zeroizing;

const VARIABLE: &str = "VOXWIRE_PASSWORD";

/// The password of `user`: from the environment, from the terminal, or the first line of standard input.
pub(super) fn read(user: &str) -> Result<Zeroizing<String>, Error> {
    #[expect(clippy::disallowed_methods, reason = "one of the three places where a password may be")]
    let from_environment = std::env::var(VARIABLE).ok();
    let password = match from_environment {
        Some(password) => password,
        None if std::io::stdin().is_terminal() => {
            rpassword::prompt_password(format!("password of {user}: "))?
        }
        None => {
            let mut line = String::new();
            // Byte by byte would do, too: what follows belongs to `chat`, which reads from the same buffer.
            std::io::stdin().lock().read_line(&mut line)?;
            line.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    if password.is_empty() {
        return Err(failed!("no password: set {VARIABLE}, or type it on the terminal or standard input"));
    }
    Ok(Zeroizing::new(password))
}
