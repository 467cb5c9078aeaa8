//! A full screen for calls and rooms: who is there, how they are heard, what is said, and a line for commands. On a terminal only.

mod command_line;
mod model;
mod people;
mod terminal;
mod view;

use crate::report::{Figures, Report, Sink};
use core::time::Duration;
use model::Model;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What the words of a line can go on with: where the last word begins, and the words.
pub(crate) type Complete = Box<dyn Fn(&str) -> (usize, Vec<String>) + Send>;

/// How often figures are shown.
const FIGURES: Duration = Duration::from_millis(200);
/// Lines of input that may wait to be carried out.
const COMMANDS: usize = 16;

/// Shows everything on a screen from now on, where a person looks at a terminal: signals have to be caught already, and nothing may
/// read the terminal. Ctrl-C and `/quit` are the signal SIGINT.
pub(crate) fn open(report: &Report, title: &str) {
    if report.is_interactive() {
        let model = Model::new(title, Vec::new(), Box::new(model::complete));
        Screen::start(report, model, None, None);
    }
}

/// The same with lines that somebody else carries out, and completes; `None` where there is no terminal. `history`: keeps what was
/// typed.
pub(crate) fn open_with_lines(
    report: &Report,
    title: &str,
    complete: Complete,
    history: Option<PathBuf>,
) -> Option<Receiver<String>> {
    if !report.is_interactive() {
        return None;
    }
    let (sender, lines) = channel(COMMANDS);
    let history = history.map(History::load);
    let before = history.as_ref().map(History::lines).unwrap_or_default();
    let started = Screen::start(report, Model::new(title, before, complete), Some(sender), history);
    started.then_some(lines)
}

/// What was typed, in a file.
struct History {
    path: PathBuf,
    lines: rustyline::history::DefaultHistory,
}

impl History {
    fn load(path: PathBuf) -> Self {
        use rustyline::history::History as _;
        let mut lines = rustyline::history::DefaultHistory::new();
        // There is none the first time.
        let _ = lines.load(&path);
        Self { path, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    fn add(&mut self, line: &str) {
        use rustyline::history::History as _;
        let _ = self.lines.add(line);
    }

    fn save(&mut self) {
        use rustyline::history::History as _;
        if let Err(error) = self.lines.save(&self.path) {
            tracing::error!(%error, file = %self.path.display(), "what was typed is not kept");
        }
    }
}

/// The screen, shared by those who have something to show, and the thread that draws.
struct Screen {
    state: Mutex<State>,
    terminal: terminal::Hold,
}

struct State {
    model: Model,
    /// Something has changed since it was drawn.
    changed: bool,
    /// Where lines go; `None` where only the screen's own commands are known.
    lines: Option<Sender<String>>,
    history: Option<History>,
    /// When figures were shown last.
    figures: Option<tokio::time::Instant>,
    /// The terminal tells when a key is released.
    releases: bool,
}

impl Screen {
    /// False where the terminal will not do, and lines are printed as without.
    fn start(report: &Report, model: Model, lines: Option<Sender<String>>, history: Option<History>) -> bool {
        let model = model.with_talk(report.talk().clone());
        let state = State { model, changed: true, lines, history, figures: None, releases: false };
        let screen = Arc::new(Self { state: Mutex::new(state), terminal: terminal::Hold::default() });
        // A line that is written later would be in the middle of the screen.
        report.flush();
        if let Err(error) = terminal::start(&screen) {
            tracing::warn!(%error, "the terminal has no full screen");
            return false;
        }
        let taker = screen.clone();
        voxwire_server::logging::divert(move |line| {
            taker.is_open() && {
                taker.change(|state| state.model.log(line));
                true
            }
        });
        report.show_in(screen);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.changed = true;
    }
}

impl Sink for Screen {
    fn event(&self, event: &str, fields: &Value, text: &str) -> bool {
        self.change(|state| state.model.event(event, fields, text));
        self.is_open()
    }

    fn progress(&self, lasted: Duration, sent: f64, heard: f64) {
        self.change(|state| state.model.progress(lasted, sent, heard));
    }

    fn wants_figures(&self) -> bool {
        let mut state = self.state();
        let now = tokio::time::Instant::now();
        let due = state.figures.is_none_or(|then| now.duration_since(then) >= FIGURES);
        if due {
            state.figures = Some(now);
        }
        due
    }

    fn figures(&self, figures: Figures) {
        self.change(|state| state.model.figures(figures));
    }

    fn is_open(&self) -> bool {
        self.terminal.is_held()
    }

    fn end(&self) -> Vec<String> {
        self.terminal.give_back();
        let mut state = self.state();
        if let Some(history) = &mut state.history {
            history.save();
        }
        state.history = None;
        state.model.take_last_lines()
    }
}
