//! What the user, or a script, sees.

use core::time::Duration;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};

/// Prints what happens: as text, as JSON, or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    meter: ProgressBar,
}

impl Report {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let show = !json && !quiet && std::io::stderr().is_terminal();
        let target = if show { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let meter = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            meter.set_style(style);
        }
        Self { json, quiet, meter }
    }

    /// One that prints nothing.
    pub(crate) fn silent() -> Self {
        Self::new(false, true)
    }

    /// Something happened: `event` and `fields` for scripts, `text` for people.
    pub(crate) fn event(&self, event: &str, mut fields: Value, text: &str) {
        if self.quiet || (text.is_empty() && !self.json) {
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
        self.meter.suspend(|| {
            let mut out = std::io::stdout().lock();
            // Whoever reads may be gone; the call goes on.
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        });
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
