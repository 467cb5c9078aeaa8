//! Where lines come from: a terminal, or a script.

use super::commands::NAMES;
use crate::error::{Error, failed};
use crate::report::{Report, plain};
use crate::screen;
use crate::talk;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter as _, Helper};
use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{Receiver, channel};

/// Lines as they are typed.
#[derive(Debug)]
pub(super) struct Lines {
    lines: Receiver<String>,
    terminal: bool,
    title: String,
}

impl Lines {
    /// Starts reading, on a screen of that title if there is one. The report that is returned does not write across what is being typed.
    pub(super) fn start(
        title: &str,
        names: Names,
        history: Option<PathBuf>,
        report: &Report,
    ) -> Result<(Self, Report), Error> {
        if let Some(lines) = report.script_lines() {
            return Ok((Self { lines, terminal: false, title: String::new() }, report.clone()));
        }
        let known = names.clone();
        let complete = Box::new(move |line: &str| known.complete(line));
        if let Some(lines) = screen::open_with_lines(report, title, complete, history.clone()) {
            return Ok((Self { lines, terminal: false, title: String::new() }, report.clone()));
        }
        let (sender, lines) = channel(16);
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        if !terminal {
            std::thread::spawn(move || {
                for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
            });
            return Ok((Self { lines, terminal, title: String::new() }, report.clone()));
        }
        let config = Config::builder().completion_type(CompletionType::List).auto_add_history(true).build();
        let about = |error: ReadlineError| failed!("the terminal cannot be used: {error}");
        let mut editor: Editor<Completion, DefaultHistory> = Editor::with_config(config).map_err(about)?;
        editor.set_helper(Some(Completion(names)));
        if let Some(path) = &history {
            // There is none the first time.
            let _ = editor.load_history(path);
        }
        let mut printer = editor.create_external_printer().map_err(about)?;
        let print = move |line: String| drop(printer.print(line + "\n"));
        std::thread::spawn(move || {
            while let Ok(line) = editor.readline("> ") {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
            if let Some(path) = &history {
                let _ = editor.save_history(path);
            }
        });
        Ok((Self { lines, terminal, title: String::new() }, report.through(print)))
    }

    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Shows how things are in the terminal's title, where nothing is typed.
    pub(super) fn title(&mut self, text: &str) {
        if self.terminal && text != self.title {
            self.title = text.to_owned();
            let mut out = std::io::stdout().lock();
            let _ = write!(out, "\x1b]0;{}\x07", plain(text)).and_then(|()| out.flush());
        }
    }
}

/// How many names of either kind are remembered.
const NAMES_KEPT: usize = 4096;

/// Users and groups that have been seen: for lists and completion.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Arc<Mutex<[BTreeSet<String>; 2]>>);

impl Names {
    fn lock(&self) -> MutexGuard<'_, [BTreeSet<String>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line editor shows what it completes as it is, and a command ends a name at a blank.
    fn add(&self, kind: usize, name: &str) {
        let names = &mut self.lock()[kind];
        if plain(name) == name && !name.contains(char::is_whitespace) && names.len() < NAMES_KEPT {
            names.insert(name.into());
        }
    }

    pub(super) fn add_user(&self, name: &str) {
        self.add(0, name);
    }

    pub(super) fn add_group(&self, name: &str) {
        self.add(1, name);
    }

    pub(super) fn users(&self) -> Vec<String> {
        self.lock()[0].iter().cloned().collect()
    }

    pub(super) fn groups(&self) -> Vec<String> {
        self.lock()[1].iter().cloned().collect()
    }

    /// What a line can go on with: where the word begins, and the words.
    fn complete(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(' ').map_or(0, |at| at + 1);
        let word = &line[start..];
        let before: Vec<&str> = line[..start].split_whitespace().collect();
        let words: Vec<String> = match before[..] {
            [] if word.starts_with('/') => {
                NAMES.iter().chain(&talk::COMMANDS).map(|name| (*name).to_owned()).collect()
            }
            ["/msg" | "/add" | "/voice"] => self.users(),
            ["/send" | "/msg_group" | "/join" | "/join_group" | "/call" | "/join_call"] => self.groups(),
            _ => Vec::new(),
        };
        (start, words.into_iter().filter(|name| name.starts_with(word)).map(|name| name + " ").collect())
    }
}

struct Completion(Names);

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.0.complete(line.get(..at).unwrap_or(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m_10_names_that_would_command_the_terminal_are_not_completed() {
        let names = Names::default();
        for name in ["b\x1b]0;mine\x07", "b\x1b[2J", "b\u{202e}", "b o b", "b\r\n"] {
            names.add_user(name);
            names.add_group(name);
        }
        assert_eq!((names.users().len(), names.groups().len()), (0, 0));
        for n in 0..10_000 {
            names.add_user(&n.to_string());
        }
        assert_eq!(names.users().len(), NAMES_KEPT);
    }

    #[test]
    fn m_10_commands_users_and_groups_are_completed() {
        let names = Names::default();
        names.add_user("bob");
        names.add_user("bill");
        names.add_group("room");
        let complete = |line: &str| names.complete(line);
        assert_eq!(complete("/rec"), (0, vec!["/recordings ".into()]));
        assert_eq!(complete("/msg b"), (5, vec!["bill ".into(), "bob ".into()]));
        assert_eq!(complete("/call "), (6, vec!["room ".into()]));
        assert_eq!(complete("/msg bob h"), (9, Vec::new()));
        assert_eq!(complete("hello b"), (6, Vec::new()));
    }
}
