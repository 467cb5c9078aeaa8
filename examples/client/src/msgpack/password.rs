//! Where a password comes from: never from the command line, which others can read.

use crate::error::{Error, failed};
use crate::signals::Signals;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead, IsTerminal};
use zeroize::Zeroizing;

const VARIABLE: &str = "VOXWIRE_PASSWORD";

/// The password of `user`: from the environment, from the terminal, or the first line of standard input, unless a signal comes before.
pub(super) async fn read(user: &str, signals: &mut Signals) -> Result<Zeroizing<String>, Error> {
    #[expect(clippy::disallowed_methods, reason = "one of the three places where a password may be")]
    let from_environment = std::env::var(VARIABLE).ok();
    let password = match from_environment {
        Some(password) => Zeroizing::new(password),
        None => {
            let user = user.to_owned();
            // A prompt hides what is typed, and a signal leaves it no time to end that.
            let _terminal = std::io::stdin().is_terminal().then(Terminal::kept);
            signals.interrupt_blocking("reading the password", move || ask(&user)).await?
        }
    };
    if password.is_empty() {
        return Err(failed!("no password: set {VARIABLE}, or type it on the terminal or standard input"));
    }
    Ok(password)
}

fn ask(user: &str) -> Result<Zeroizing<String>, Error> {
    if std::io::stdin().is_terminal() {
        return Ok(rpassword::prompt_password(format!("password of {user}: "))?.into());
    }
    let mut line = Zeroizing::new(String::new());
    // Byte by byte would do, too: what follows belongs to `chat`, which reads from the same buffer.
    std::io::stdin().lock().read_line(&mut line)?;
    let len = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(len);
    Ok(line)
}

/// The terminal of this program, which is as it was when this is dropped.
struct Terminal {
    file: File,
    settings: Termios,
}

impl Terminal {
    /// `None`, if there is none.
    fn kept() -> Option<Self> {
        let file = File::open("/dev/tty").ok()?;
        let settings = tcgetattr(&file).ok()?;
        Some(Self { file, settings })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.file, SetArg::TCSANOW, &self.settings);
    }
}
