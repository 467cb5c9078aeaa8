//! What the user, or a script, sees.

use core::fmt;
use core::time::Duration;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Prints what happens: as text, as JSON, or not at all.
#[derive(Clone)]
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    /// Nothing is printed at all, whatever it is.
    mute: bool,
    meter: ProgressBar,
    /// Prints instead of standard output.
    printer: Option<Arc<Mutex<Printer>>>,
}

type Printer = dyn FnMut(String) + Send;

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { json, quiet, .. } = self;
        f.debug_struct("Report").field("json", json).field("quiet", quiet).finish_non_exhaustive()
    }
}

impl Report {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let show = !json && !quiet && std::io::stderr().is_terminal();
        let target = if show { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let meter = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            meter.set_style(style);
        }
        Self { json, quiet, mute: false, meter, printer: None }
    }

    /// One that prints nothing.
    pub(crate) fn silent() -> Self {
        Self { mute: true, ..Self::new(false, true) }
    }

    /// The same, by way of `printer`.
    pub(crate) fn through(&self, printer: impl FnMut(String) + Send + 'static) -> Self {
        Self { printer: Some(Arc::new(Mutex::new(printer))), ..self.clone() }
    }

    /// Something happened: `event` and `fields` for scripts, `text` for people.
    pub(crate) fn event(&self, event: &str, fields: Value, text: &str) {
        if !self.quiet {
            self.keep(event, fields, text);
        }
    }

    /// The same for what is nowhere else once it has been shown: it is printed even if that is to be as little as possible.
    pub(crate) fn keep(&self, event: &str, mut fields: Value, text: &str) {
        if self.mute || (text.is_empty() && !self.json) {
            return;
        }
        let line = if self.json {
            if let Value::Object(map) = &mut fields {
                map.insert("event".into(), event.into());
            }
            fields.to_string()
        } else {
            text.to_owned()
        };
        if let Some(printer) = &self.printer {
            let mut print = printer.lock().unwrap_or_else(PoisonError::into_inner);
            return print(line);
        }
        let print = || {
            let mut out = std::io::stdout().lock();
            // Whoever reads may be gone; the call goes on.
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        };
        // A meter that shows nothing yet would appear.
        if self.meter.message().is_empty() { print() } else { self.meter.suspend(print) }
    }

    /// Something happened that has no more to it than its name.
    pub(crate) fn plain(&self, event: &str, text: &str) {
        self.event(event, json!({}), text);
    }

    /// Where a call is: how long it has lasted, and how loud the two sides are (0 to 1).
    pub(crate) fn progress(&self, lasted: Duration, sent: f64, heard: f64) {
        let seconds = lasted.as_secs();
        let bar = |peak: f64| {
            // 48 dB below full scale is an empty bar.
            let level = (20.0 * peak.max(1e-9).log10() / 48.0 + 1.0).clamp(0.0, 1.0);
            let filled = (level * 16.0).round() as usize;
            format!("{}{}", "#".repeat(filled), "-".repeat(16 - filled))
        };
        let (sent, heard) = (bar(sent), bar(heard));
        self.meter.set_message(format!(
            "{:02}:{:02}  out [{sent}]  in [{heard}]",
            seconds / 60,
            seconds % 60
        ));
        self.meter.tick();
    }

    /// The call is over.
    pub(crate) fn progress_end(&self) {
        self.meter.finish_and_clear();
    }
}

/// What a peer wrote, as it is: for programs.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The same for people: what would not show, or would steer a terminal, is escaped.
pub(crate) fn plain(text: &str) -> String {
    let shown =
        |c: char| if matches!(c, '"' | '\'' | '\\') { c.to_string() } else { c.escape_debug().collect() };
    text.chars().map(shown).collect()
}
