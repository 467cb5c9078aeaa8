//! What the user, or a script, sees.

mod figures;
mod output;

use crate::script::{self, Lines, Transcript};
use crate::talk::Talk;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::time::Duration;
#[allow(unused_imports, reason = "for protocols of which none may be built in")]
pub(crate) use figures::RoundTrips;
pub(crate) use figures::{Figures, Meter, Speakers, VoiceFigures};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use output::{MeterTerminal, Output};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::mpsc::Receiver;
use voxwire_core::{OneLine, Untrusted};

/// What shows everything that happens, in place of lines. After its end it takes nothing.
pub(crate) trait Sink: Send + Sync {
    /// Shows an event, of which `text` has been made [`plain`]; false: it is to be printed.
    fn event(&self, event: &str, fields: &Value, text: &str) -> bool;

    /// Shows how long a call has lasted, and how loud the two sides are (0 to 1).
    fn progress(&self, lasted: Duration, sent: f64, heard: f64);

    /// Whether figures are due.
    fn wants_figures(&self) -> bool;

    fn figures(&self, figures: Figures);

    fn is_open(&self) -> bool;

    /// Gives the terminal back; returns the last lines that were shown, to be printed.
    fn end(&self) -> Vec<String>;
}

/// Prints what happens: as text, as JSON, or not at all.
#[derive(Clone)]
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    /// Nothing at all is printed.
    mute: bool,
    meter: ProgressBar,
    /// Where lines go.
    output: Option<Output>,
    /// A screen may be opened.
    interactive: bool,
    /// The screen, from when it is opened; all copies have the same.
    sink: Arc<OnceLock<Arc<dyn Sink>>>,
    /// Where a script reads what is printed, and says what is to be done.
    script: Option<(Arc<Transcript>, Lines)>,
    /// How much of a file has been played, in thousandths; more than 1000 where none is. All copies have the same.
    played: Arc<AtomicU32>,
    /// Whether what is said is sent; all copies have the same.
    talk: Arc<Talk>,
    /// Prints instead of standard output.
    printer: Option<Arc<Mutex<Printer>>>,
}

/// No file is played.
const NONE_PLAYED: u32 = u32::MAX;

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
        let output = Output::start();
        let target = match output.clone().filter(|_| show) {
            Some(output) => ProgressDrawTarget::term_like_with_hz(Box::new(MeterTerminal::new(output)), 20),
            None => ProgressDrawTarget::hidden(),
        };
        let meter = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            meter.set_style(style);
        }
        let played = Arc::new(AtomicU32::new(NONE_PLAYED));
        let (mute, interactive, sink, talk) = (false, false, Arc::default(), Arc::default());
        Self {
            json,
            quiet,
            mute,
            meter,
            output,
            interactive,
            sink,
            script: None,
            played,
            talk,
            printer: None,
        }
    }

    /// The same; `wanted`: it may have a screen, where a person looks at a terminal.
    pub(crate) fn with_screen(self, wanted: bool) -> Self {
        let terminal = || std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let able = || std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let interactive = wanted && !self.json && !self.quiet && terminal() && able();
        Self { interactive, ..self }
    }

    /// Has a script see what is printed, and give commands. It needs no screen.
    pub(crate) fn script(&mut self, transcript: Arc<Transcript>, lines: Lines) {
        self.interactive = false;
        self.script = Some((transcript, lines));
    }

    pub(crate) const fn has_script(&self) -> bool {
        self.script.is_some()
    }

    /// The switches between what is said and what is sent.
    pub(crate) const fn talk(&self) -> &Arc<Talk> {
        &self.talk
    }

    /// The commands of a script, for the first who asks.
    pub(crate) fn script_lines(&self) -> Option<Receiver<String>> {
        self.script.as_ref().and_then(|(_, lines)| script::take(lines))
    }

    /// Whether a screen may be opened.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive && !self.mute && self.sink.get().is_none()
    }

    /// Waits until what has been printed is on the terminal: behind that a screen may be opened.
    #[cfg_attr(not(feature = "screen"), expect(dead_code, reason = "there is no screen"))]
    pub(crate) fn flush(&self) {
        self.output.iter().for_each(Output::flush);
    }

    /// Shows everything in `sink` from now on.
    #[cfg_attr(not(feature = "screen"), expect(dead_code, reason = "there is no screen"))]
    pub(crate) fn show_in(&self, sink: Arc<dyn Sink>) {
        // One is enough.
        let _ = self.sink.set(sink);
    }

    /// What shows everything, while there is such a thing.
    fn sink(&self) -> Option<&dyn Sink> {
        self.sink.get().map(|sink| &**sink).filter(|sink| sink.is_open() && !self.mute)
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
        if self.sink().is_some_and(|sink| sink.event(event, &fields, &text)) {
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
        if let Some((transcript, _)) = &self.script {
            line.lines().for_each(|line| transcript.add(line));
        }
        if let Some(printer) = &self.printer {
            let mut print = printer.lock().unwrap_or_else(PoisonError::into_inner);
            return print(line);
        }
        let print = || match &self.output {
            Some(output) => output.line(line),
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
        let shown = format!("warning: {}", plain(text));
        if self.sink().is_some_and(|sink| sink.event("warning", &json!({}), &shown)) {
            return;
        }
        if self.json {
            self.print("warning", json!({ "text": text }), String::new());
        }
        if let Some(output) = self.output.as_ref().filter(|_| !self.mute) {
            self.meter.suspend(|| output.error(&format!("voxwire-client: {shown}")));
        }
    }

    /// Where a call is: how long it has lasted, and how loud the two sides are (0 to 1).
    pub(crate) fn progress(&self, lasted: Duration, sent: f64, heard: f64) {
        self.live();
        if let Some(sink) = self.sink() {
            return sink.progress(lasted, sent, heard);
        }
        let seconds = lasted.as_secs();
        let (sent, heard) = (bar(sent, 16), bar(heard, 16));
        let played = self.shown_played();
        self.meter.set_message(format!(
            "{:02}:{:02}  out [{sent}]  in [{heard}]{played}",
            seconds / 60,
            seconds % 60
        ));
        self.meter.tick();
    }

    /// So much of a file has been played, 0 to 1; `None` where none is.
    pub(crate) fn played(&self, share: Option<f64>) {
        let thousandths = share.map_or(NONE_PLAYED, |share| (share * 1000.0) as u32);
        self.played.store(thousandths, Relaxed);
    }

    /// A bar of ten columns.
    fn shown_played(&self) -> String {
        let played = self.played.load(Relaxed);
        if played > 1000 {
            return String::new();
        }
        let filled = (played / 100) as usize;
        format!("  file [{}{}] {:3} %", "#".repeat(filled), "-".repeat(10 - filled), played / 10)
    }

    /// Shows how the call goes, where that is shown and due.
    pub(crate) fn figures(&self, figures: impl FnOnce() -> Figures) {
        if let Some(sink) = self.sink().filter(|sink| sink.wants_figures()) {
            sink.figures(figures());
        }
    }

    /// Whether a screen is open.
    pub(crate) fn has_screen(&self) -> bool {
        self.sink().is_some()
    }

    /// Something goes on from now on that no reader may hold up.
    pub(crate) fn live(&self) {
        self.output.iter().for_each(Output::live);
    }

    /// The program is over: waits for what has been printed to be read, for two seconds at most if there was a call.
    pub(crate) fn end(&self) {
        if let Some(sink) = self.sink.get() {
            sink.end()
                .into_iter()
                .for_each(|line| self.output.iter().for_each(|output| output.line(line.clone())));
        }
        self.output.iter().for_each(Output::end);
    }

    /// The call is over.
    pub(crate) fn progress_end(&self) {
        if !self.has_screen() {
            self.meter.finish_and_clear();
        }
    }
}

/// How loud a sample is, as a bar of so many characters: it is empty at 48 dB below full scale.
pub(crate) fn bar(peak: f64, width: usize) -> String {
    let level = (20.0 * peak.max(1e-9).log10() / 48.0 + 1.0).clamp(0.0, 1.0);
    let filled = (level * width as f64).round() as usize;
    format!("{}{}", "#".repeat(filled), "-".repeat(width.saturating_sub(filled)))
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

    /// F-75: what has been played of a file is a bar, and nothing where no file is played.
    #[test]
    fn f_75_what_has_been_played_is_a_bar() {
        let report = Report::silent();
        assert_eq!(report.shown_played(), "");
        report.played(Some(0.458));
        assert_eq!(report.shown_played(), "  file [####------]  45 %");
        report.played(Some(1.0));
        assert_eq!(report.shown_played(), "  file [##########] 100 %");
        report.played(None);
        assert_eq!(report.shown_played(), "");
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
