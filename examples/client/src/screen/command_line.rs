//! The line in which commands are typed: editing, history and completion.

use super::Complete;
use tui_input::{Input, InputRequest};

/// Lines that are remembered.
const REMEMBERED: usize = 1000;
/// Characters of one line.
const LONGEST: usize = 16_384;
/// What can be completed to that is shown.
const CANDIDATES: usize = 20;

pub(super) struct CommandLine {
    input: Input,
    /// What was typed before, the last line last.
    before: Vec<String>,
    /// Which of these is shown; one behind the last: what is being typed.
    at: usize,
    /// What was being typed when the first of them was looked for.
    typed: String,
    complete: Complete,
    /// What the word can go on with, where that is more than one.
    candidates: Vec<String>,
}

impl CommandLine {
    pub(super) fn new(before: Vec<String>, complete: Complete) -> Self {
        let at = before.len();
        let (input, typed, candidates) = Default::default();
        Self { input, before, at, typed, complete, candidates }
    }

    pub(super) fn candidates(&self) -> &[String] {
        &self.candidates
    }

    pub(super) fn is_empty(&self) -> bool {
        self.input.value().is_empty()
    }

    /// What fits into `width` columns, and the column of the cursor in it.
    pub(super) fn visible(&self, width: usize) -> (String, usize) {
        let scroll = self.input.visual_scroll(width.max(1));
        let mut column = 0;
        let mut shown = String::new();
        for c in self.input.value().chars() {
            let wide = ratatui::text::Span::raw(c.to_string()).width();
            if column >= scroll && column + wide <= scroll + width {
                shown.push(c);
            }
            column += wide;
        }
        (shown, self.input.visual_cursor().saturating_sub(scroll))
    }

    pub(super) fn edit(&mut self, request: InputRequest) {
        self.candidates.clear();
        self.input.handle(request);
    }

    /// Puts text in, as if it was typed: what would steer something is left out.
    pub(super) fn paste(&mut self, text: &str) {
        for c in text.chars().map(|c| if matches!(c, '\r' | '\n' | '\t') { ' ' } else { c }) {
            if !c.is_control() && self.input.value().len() < LONGEST {
                self.edit(InputRequest::InsertChar(c));
            }
        }
    }

    /// The line is typed: it is remembered.
    pub(super) fn enter(&mut self) -> String {
        self.candidates.clear();
        let line = self.input.value_and_reset();
        if !line.trim().is_empty() && self.before.last() != Some(&line) {
            self.before.push(line.clone());
            if self.before.len() > REMEMBERED {
                self.before.remove(0);
            }
        }
        self.at = self.before.len();
        self.typed.clear();
        line
    }

    /// The line before the one that is shown, or the one behind it.
    pub(super) fn recall(&mut self, earlier: bool) {
        let to = if earlier { self.at.checked_sub(1) } else { Some(self.at + 1) };
        let Some(to) = to.filter(|to| *to <= self.before.len()) else { return };
        if self.at == self.before.len() {
            self.typed = self.input.value().to_owned();
        }
        self.at = to;
        let line = self.before.get(to).unwrap_or(&self.typed).clone();
        self.candidates.clear();
        self.input = Input::new(line);
    }

    /// Completes the word before the cursor, as far as there is no choice.
    pub(super) fn complete(&mut self) {
        let (value, cursor) = (self.input.value().to_owned(), self.input.cursor());
        let before: String = value.chars().take(cursor).collect();
        let after: String = value.chars().skip(cursor).collect();
        let (start, words) = (self.complete)(&before);
        self.candidates.clear();
        let Some((first, rest)) = words.split_first() else { return };
        let mut common = first.clone();
        for word in rest {
            let same =
                common.chars().zip(word.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8());
            common.truncate(same.sum());
        }
        if words.len() > 1 {
            self.candidates =
                words.into_iter().take(CANDIDATES).map(|word| word.trim_end().to_owned()).collect();
        }
        let line = format!("{}{common}", before.get(..start).unwrap_or_default());
        if line.len() >= before.len() {
            self.input = Input::new(format!("{line}{after}")).with_cursor(line.chars().count());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> CommandLine {
        let words = |line: &str| {
            let start = line.rfind(' ').map_or(0, |at| at + 1);
            let all = ["/msg ", "/msg_group ", "/quit "];
            (
                start,
                all.iter().filter(|word| word.starts_with(&line[start..])).map(ToString::to_string).collect(),
            )
        };
        CommandLine::new(vec!["/one".into(), "/two".into()], Box::new(words))
    }

    #[test]
    fn words_are_completed_as_far_as_there_is_no_choice() {
        let mut line = line();
        line.paste("/m");
        line.complete();
        assert_eq!(
            (line.visible(40).0.as_str(), line.candidates()),
            ("/msg", &["/msg".to_owned(), "/msg_group".into()][..])
        );
        line.edit(InputRequest::DeleteLine);
        line.paste("/q");
        line.complete();
        assert_eq!((line.visible(40), line.candidates().len()), (("/quit ".into(), 6), 0));
    }

    #[test]
    fn lines_before_are_recalled_and_what_was_typed_comes_back() {
        let mut line = line();
        line.paste("draft");
        let mut shown = |earlier| {
            line.recall(earlier);
            line.visible(40).0
        };
        let lines = [true, true, true, false, false, false].map(&mut shown);
        assert_eq!(lines, ["/two", "/one", "/one", "/two", "draft", "draft"]);
        assert_eq!(line.enter(), "draft");
        line.recall(true);
        assert_eq!(line.enter(), "draft");
        assert!(line.is_empty());
    }

    #[test]
    fn a_long_line_scrolls_and_a_pasted_one_steers_nothing() {
        let mut line = line();
        line.paste("สวัสดี\x1b[2J\nb");
        assert_eq!(line.enter(), "สวัสดี[2J b");
        line.paste(&"x".repeat(100));
        line.paste("end");
        let (shown, cursor) = line.visible(20);
        assert!(shown.ends_with("end") && shown.len() <= 20 && cursor <= 20, "{shown:?} {cursor}");
        line.paste(&"y".repeat(1 << 20));
        assert!(line.enter().len() <= LONGEST);
    }
}
