//! What the user, or a script, sees.

mod screen;

use core::fmt;
use core::time::Duration;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use screen::{MeterTerminal, Screen};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use voxwire_core::{OneLine, Untrusted};

/// Prints what happens: as text, as JSON, or not at all.
#[derive(Clone)]
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    /// Nothing at all is printed.
    mute: bool,
    meter: ProgressBar,
    /// Where lines go.
    screen: Option<Screen>,
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
        let screen = Screen::start();
        let target = match screen.clone().filter(|_| show) {
            Some(screen) => ProgressDrawTarget::term_like_with_hz(Box::new(MeterTerminal::new(screen)), 20),
            None => ProgressDrawTarget::hidden(),
        };
        let meter = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            meter.set_style(style);
        }
        Self { json, quiet, mute: false, meter, screen, printer: None }
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
    ///
    /// The text becomes one line: what peers wrote may be put into it as it is.
    pub(crate) fn event(&self, event: &str, fields: Value, text: &str) {
        if !self.quiet {
            self.keep(event, fields, text);
        }
    }

    /// The same for what is nowhere else once it has been shown: it is printed even if that is to be as little as possible.
    pub(crate) fn keep(&self, event: &str, fields: Value, text: &str) {
        self.print(event, fields, plain(text));
    }

    /// An event with several lines. Text of peers has to be made [`plain`] before it is put into one.
    pub(crate) fn block(&self, event: &str, fields: Value, text: &str) {
        if !self.quiet {
            self.print(event, fields, text.lines().map(plain).collect::<Vec<_>>().join("\n"));
        }
    }

    /// The border: nothing else writes to standard output.
    fn print(&self, event: &str, mut fields: Value, text: String) {
        if self.mute || (text.is_empty() && !self.json) {
            return;
        }
        let line = if self.json {
            if let Value::Object(map) = &mut fields {
                map.insert("event".into(), event.into());
            }
            OneLine::new(&fields.to_string()).to_string()
        } else {
            text
        };
        if let Some(printer) = &self.printer {
            let mut print = printer.lock().unwrap_or_else(PoisonError::into_inner);
            return print(line);
        }
        let print = || match &self.screen {
            Some(screen) => screen.line(line),
            None => drop(writeln!(std::io::stdout().lock(), "{line}")),
        };
        // A meter that shows nothing yet would appear.
        if self.meter.message().is_empty() { print() } else { self.meter.suspend(print) }
    }

    /// Something happened that has no more to it than its name.
    pub(crate) fn plain(&self, event: &str, text: &str) {
        self.event(event, json!({}), text);
    }

    /// What may not go as its user believes, on standard error, however little is to be printed.
    pub(crate) fn warning(&self, text: &str) {
        if let Some(screen) = self.screen.as_ref().filter(|_| !self.mute) {
            self.meter.suspend(|| screen.error(&format!("voxwire-client: warning: {}", plain(text))));
        }
    }

    /// Where a call is: how long it has lasted, and how loud the two sides are (0 to 1).
    pub(crate) fn progress(&self, lasted: Duration, sent: f64, heard: f64) {
        self.live();
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

    /// Something goes on from now on that no reader may hold up.
    pub(crate) fn live(&self) {
        self.screen.iter().for_each(Screen::live);
    }

    /// The program is over: waits for what has been printed to be read, for two seconds at most if there was a call.
    pub(crate) fn end(&self) {
        self.screen.iter().for_each(Screen::end);
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
    Untrusted::new(text).to_string()
}

/// The same between quotation marks, where it has to be told from what is ours.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", Untrusted::new(text))
}

/// The same in a list: between quotation marks only where it would be taken for more than one.
pub(crate) fn listed(text: &str) -> String {
    if text.is_empty() || text.contains([',', ':', '"']) { quoted(text) } else { plain(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(json: bool, say: impl FnOnce(&Report)) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        say(&Report::new(json, false).through(move |line| sink.lock().unwrap().push(line)));
        lines.lock().unwrap().clone()
    }

    /// F-03: a line stays one line and steers no terminal, for any text in it.
    #[test]
    fn a_line_is_one_line() {
        let name = "bob\x1b[2J\nroom \"x\": \u{9b}1m\u{202e}";
        let lines = printed(false, |report| report.event("x", json!({}), &format!("{name} calls")));
        assert_eq!(lines, [r#"bob\u{1b}[2J\nroom "x": \u{9b}1m\u{202e} calls"#]);
        let lines = printed(false, |report| report.block("x", json!({}), "a\x1b\nb\r"));
        assert_eq!(lines, ["a\\u{1b}\nb\\r"]);
    }

    /// F-03: JSON says what there is, and shows a terminal nothing that steers it.
    #[test]
    fn json_says_the_same() {
        let name = "ไทย ❤\u{fe0f} \x1b\u{7f}\u{9b}\u{202e}\u{2028}";
        let lines = printed(true, |report| report.event("x", json!({ "name": name }), ""));
        let value: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(value["name"], name);
        assert!(lines[0].contains("ไทย ❤\u{fe0f}") && !lines[0].contains(char::is_control));
        assert!(!lines[0].contains(['\u{202e}', '\u{2028}']));
    }

    /// F-04
    #[test]
    fn every_language_is_shown_as_it_is() {
        for text in [
            "สวัสดี น้ำ",
            "हिन्दी",
            "שלום",
            "می\u{200c}خواهم",
            "❤\u{fe0f}",
            "👨\u{200d}👩\u{200d}👧",
            "it's \"so\" \\",
        ] {
            assert_eq!(plain(text), text);
        }
        assert_eq!(quoted("a\"\n"), r#""a\"\n""#);
        assert_eq!(["bob", "bob, eve", ""].map(listed), ["bob", r#""bob, eve""#, r#""""#]);
    }
}
