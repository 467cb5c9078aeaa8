//! What the screen shows: events go in, and [`view`](super::view) draws.

use super::Complete;
use super::command_line::CommandLine;
use super::people::{Past, People, loudness};
use crate::report::{Figures, plain};
use crate::talk::{COMMANDS, Talk};
use core::time::Duration;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;

/// Lines that can be scrolled back to, characters of each, and lines that are printed when the screen is gone.
const LINES: usize = 1000;
const LONGEST: usize = 4096;
const LAST_LINES: usize = 50;

/// Commands of the screen itself, where a protocol has none.
const HELP: &str = "/quit ends, as Ctrl-C does; PageUp and PageDown scroll; Ctrl-T, /mute and /unmute: whether sound is sent; Ctrl-Z stops until fg";

/// How a line is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something that happened.
    Event,
    /// What people write.
    Message,
    /// What goes wrong.
    Problem,
    /// What was typed.
    Typed,
}

pub(super) struct Model {
    pub(super) title: String,
    pub(super) people: People,
    pub(super) lines: VecDeque<(Kind, String)>,
    /// Lines by which the view is scrolled back.
    pub(super) scrolled: usize,
    pub(super) round_trip: Option<Duration>,
    pub(super) sent: Option<u64>,
    pub(super) path: Option<&'static str>,
    /// How long the call has lasted, if there is one.
    pub(super) lasted: Option<Duration>,
    /// How loud we are, and the others; 0 to 1.
    pub(super) levels: [Past; 2],
    pub(super) loud: [f64; 2],
    pub(super) command_line: CommandLine,
    pub(super) talk: Arc<Talk>,
}

impl Model {
    pub(super) fn new(title: &str, typed_before: Vec<String>, complete: Complete) -> Self {
        Self {
            title: plain(title),
            people: People::default(),
            lines: VecDeque::new(),
            scrolled: 0,
            round_trip: None,
            sent: None,
            path: None,
            lasted: None,
            levels: Default::default(),
            loud: [0.0; 2],
            command_line: CommandLine::new(typed_before, complete),
            talk: Arc::default(),
        }
    }

    /// The same with the switches of the program.
    pub(super) fn with_talk(self, talk: Arc<Talk>) -> Self {
        Self { talk, ..self }
    }

    /// Something happened; `text` has been made plain, and may have several lines.
    pub(super) fn event(&mut self, event: &str, fields: &Value, text: &str) {
        let field = |name: &str| fields.get(name).and_then(Value::as_str);
        match event {
            "entered" | "speaking" => field("name").into_iter().for_each(|name| self.people.enters(name)),
            "left" => field("name").into_iter().for_each(|name| self.people.leaves(name)),
            "established" => field("with").into_iter().for_each(|name| self.people.enters(name)),
            "whisper" | "message" | "voice_message" => {
                field("from").into_iter().for_each(|name| self.people.enters(name));
            }
            "ended" => {
                field("with").into_iter().for_each(|name| self.people.leaves(name));
                (self.lasted, self.loud) = (None, [0.0; 2]);
            }
            _ => {}
        }
        let kind = match event {
            "whisper" | "message" | "voice_message" | "text" => Kind::Message,
            "warning" | "failed" | "refused" | "lost" | "disconnected" | "rejected" | "retrying"
            | "no_answer" | "sound_device_lost" => Kind::Problem,
            _ => Kind::Event,
        };
        text.lines().for_each(|line| self.line(kind, line));
    }

    /// What the log says.
    pub(super) fn log(&mut self, text: &str) {
        // Its own colours would be shown as text.
        let text = console::strip_ansi_codes(text);
        text.lines().for_each(|line| self.line(Kind::Problem, &plain(line)));
    }

    pub(super) fn line(&mut self, kind: Kind, line: &str) {
        if self.lines.len() >= LINES {
            self.lines.pop_front();
        }
        let longer = line.char_indices().nth(LONGEST).map(|(at, _)| at);
        let line =
            longer.map_or_else(|| line.to_owned(), |at| format!("{}…", line.get(..at).unwrap_or_default()));
        self.lines.push_back((kind, line));
        // Who reads what was before goes on doing so.
        if self.scrolled > 0 {
            self.scrolled = (self.scrolled + 1).min(self.lines.len());
        }
    }

    pub(super) fn progress(&mut self, lasted: Duration, sent: f64, heard: f64) {
        self.lasted = Some(lasted);
        self.loud = [self.loud[0].max(sent), self.loud[1].max(heard)];
    }

    pub(super) fn figures(&mut self, figures: Figures) {
        let Figures { round_trip, sent, path, people, voices } = figures;
        (self.round_trip, self.sent, self.path) = (round_trip, sent, path);
        people.into_iter().for_each(|people| self.people.are(people));
        self.people.hear(voices);
        for (past, loud) in self.levels.iter_mut().zip(&mut self.loud) {
            past.push(loudness(core::mem::take(loud)));
        }
    }

    /// Scrolls by half of what is seen.
    pub(super) fn scroll(&mut self, back: bool, seen: usize) {
        let step = (seen / 2).max(1);
        self.scrolled = match back {
            true => (self.scrolled + step).min(self.lines.len().saturating_sub(1)),
            false => self.scrolled.saturating_sub(step),
        };
    }

    /// Carries a line out where nobody else does; false at the end.
    pub(super) fn carry_out(&mut self, line: &str) -> bool {
        match line.trim() {
            "" => {}
            "/quit" | "/exit" => return false,
            "/help" => self.line(Kind::Event, HELP),
            other => match self.talk.carry_out(other) {
                Some(Ok((_, _, text))) => self.line(Kind::Event, &text),
                Some(Err(problem)) => self.line(Kind::Problem, &plain(&problem)),
                None => {
                    let word = other.split_whitespace().next().unwrap_or_default();
                    let text = format!(
                        "{word}: there is nothing to be typed here but /mute, /unmute, /quit and /help"
                    );
                    self.line(Kind::Problem, &plain(&text));
                }
            },
        }
        true
    }

    /// What is to be read when the screen is gone.
    pub(super) fn take_last_lines(&mut self) -> Vec<String> {
        let from = self.lines.len().saturating_sub(LAST_LINES);
        core::mem::take(&mut self.lines).into_iter().skip(from).map(|(_, line)| line).collect()
    }
}

/// Completes the screen's own commands.
pub(super) fn complete(line: &str) -> (usize, Vec<String>) {
    let words = ["/help", "/quit"].into_iter().chain(COMMANDS);
    let words = words.filter(|word| word.starts_with(line) && line.starts_with('/'));
    (0, words.map(|word| format!("{word} ")).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub(in crate::screen) fn empty() -> Model {
        Model::new("voicelink call bob", Vec::new(), Box::new(complete))
    }

    #[test]
    fn events_tell_who_is_there() {
        let mut model = empty();
        let names = |model: &Model| {
            model.people.sorted().iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>()
        };
        model.event("entered", &json!({ "name": "bob" }), "bob is there");
        model.event("established", &json!({ "with": "ann" }), "call with ann is up");
        model.event("whisper", &json!({ "from": "eve" }), "eve: hi");
        assert_eq!(names(&model), ["ann", "bob", "eve"]);
        model.progress(Duration::from_secs(3), 0.5, 0.5);
        model.event("ended", &json!({ "with": "ann" }), "call over");
        model.event("left", &json!({ "name": "bob" }), "bob has left");
        assert_eq!((names(&model), model.lasted), (vec!["eve".to_owned()], None));
    }

    #[test]
    fn lines_have_a_limit_and_the_last_ones_are_printed() {
        let mut model = empty();
        for n in 0..5000 {
            model.event("x", &json!({}), &n.to_string());
        }
        model.event("x", &json!({}), &"ä".repeat(10_000));
        assert_eq!(model.lines.len(), LINES);
        let last = model.take_last_lines();
        assert_eq!(
            (last.len(), last[0].as_str(), last[LAST_LINES - 1].chars().count()),
            (LAST_LINES, "4951", LONGEST + 1)
        );
    }

    #[test]
    fn who_has_scrolled_back_goes_on_reading_there() {
        let mut model = empty();
        (0..100).for_each(|n| model.line(Kind::Event, &n.to_string()));
        model.scroll(true, 20);
        assert_eq!(model.scrolled, 10);
        model.line(Kind::Event, "new");
        assert_eq!(model.scrolled, 11);
        model.scroll(false, 40);
        assert_eq!(model.scrolled, 0);
    }

    #[test]
    fn the_screen_has_commands_of_its_own() {
        let mut model = empty();
        assert!(model.carry_out("") && model.carry_out("/help") && model.carry_out("hello\x1b[2J there"));
        assert!(!model.carry_out(" /quit "));
        assert_eq!(model.lines[0].1, HELP);
        assert_eq!(
            model.lines[1].1,
            r"hello\u{1b}[2J: there is nothing to be typed here but /mute, /unmute, /quit and /help"
        );
    }

    #[test]
    fn the_log_is_shown_without_its_colours() {
        let mut model = empty();
        model.log("\x1b[31mERROR\x1b[0m disk \x1b[1mfull\x1b[0m\n");
        assert_eq!(model.lines[0], (Kind::Problem, "ERROR disk full".into()));
    }
}
