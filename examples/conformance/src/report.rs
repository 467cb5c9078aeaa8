//! What came of a run: a table for readers, JSON for programs.

use crate::check::{Check, Failure};
use crate::log::Line;
use core::fmt::Write;
use core::net::SocketAddr;
use serde_json::{Value, json};

/// Columns of the table.
const WIDTH: usize = 80;
/// Bytes of a message that the table shows.
const SHOWN: usize = 96;
/// Lines of the conversation that the table shows.
const LINES: usize = 6;

/// The result of each check.
#[derive(Debug)]
pub struct Report {
    protocol: &'static str,
    side: &'static str,
    address: SocketAddr,
    pub(crate) checks: Vec<Checked>,
}

#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) check: &'static Check,
    pub(crate) verdict: Verdict,
}

#[derive(Debug)]
pub(crate) enum Verdict {
    Passed,
    Failed(Box<Failure>),
    Skipped(String),
}

impl Report {
    pub(crate) fn new(protocol: &'static str, side: &'static str, address: SocketAddr) -> Self {
        Self { protocol, side, address, checks: Vec::new() }
    }

    /// Whether no check has failed.
    pub fn passed(&self) -> bool {
        !self.checks.iter().any(|one| matches!(one.verdict, Verdict::Failed(_)))
    }

    /// The report as it is printed, without a last line break.
    pub fn text(&self, json: bool) -> String {
        if json { self.json().to_string() } else { self.table() }
    }

    fn counts(&self) -> [usize; 3] {
        let count = |is: fn(&Verdict) -> bool| self.checks.iter().filter(|one| is(&one.verdict)).count();
        [
            count(|one| matches!(one, Verdict::Passed)),
            count(|one| matches!(one, Verdict::Failed(_))),
            count(|one| matches!(one, Verdict::Skipped(_))),
        ]
    }

    fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        table.set_width(u16::try_from(WIDTH).unwrap_or(u16::MAX));
        table.set_header(["row", "check", "result", "section"]);
        for Checked { check, verdict } in &self.checks {
            let result = match verdict {
                Verdict::Passed => "pass".to_owned(),
                Verdict::Failed(_) => "FAIL".to_owned(),
                Verdict::Skipped(why) => format!("skipped: {why}"),
            };
            table.add_row([check.row, check.name, &result, check.section]);
        }
        let mut text = format!("{} {} at {}\n\n", self.protocol, self.side, self.address);
        for line in table.lines() {
            text += line.trim_end();
            text.push('\n');
        }
        for Checked { check, verdict } in &self.checks {
            if let Verdict::Failed(failure) = verdict {
                text.push('\n');
                describe(&mut text, check, failure);
            }
        }
        let [passed, failed, skipped] = self.counts();
        text + &format!("\n{passed} passed, {failed} failed, {skipped} skipped")
    }

    fn json(&self) -> Value {
        let [passed, failed, skipped] = self.counts();
        let checks: Vec<Value> = self.checks.iter().map(Checked::json).collect();
        json!({
            "protocol": self.protocol, "side": self.side, "address": self.address.to_string(),
            "passed": passed, "failed": failed, "skipped": skipped, "checks": checks,
        })
    }
}

impl Checked {
    fn json(&self) -> Value {
        let Check { row, name, expected, section, .. } = self.check;
        let mut value = json!({ "row": row, "check": name, "expected": expected, "section": section });
        match &self.verdict {
            Verdict::Passed => value["result"] = "pass".into(),
            Verdict::Skipped(why) => {
                value["result"] = "skipped".into();
                value["why"] = why.as_str().into();
            }
            Verdict::Failed(failure) => {
                let line = |line: &Line| {
                    json!({
                        "peer": line.peer, "direction": if line.is_sent { "sent" } else { "received" },
                        "length": line.length, "hex": hex::encode(&line.bytes),
                    })
                };
                value["result"] = "fail".into();
                value["failure"] = json!({
                    "what": failure.what, "peer": failure.peer, "received": hex::encode(&failure.received),
                    "expected": failure.expected, "offset": failure.offset, "field": failure.field,
                    "conversation": failure.log.iter().map(line).collect::<Vec<_>>(),
                });
            }
        }
        value
    }
}

/// All that is known of a failure.
fn describe(text: &mut String, check: &Check, failure: &Failure) {
    let first = failure.log.len().saturating_sub(LINES);
    let mut lines = vec![
        (format!("{}/{}", check.row, check.name), format!("{}: {}", failure.peer, failure.what)),
        ("  expected".into(), format!("{} ({})", check.expected, check.section)),
    ];
    if let Some(expected) = &failure.expected {
        lines.push(("  bytes".into(), clipped(expected)));
    }
    let received =
        if failure.received.is_empty() { "nothing".into() } else { hex::encode(&failure.received) };
    lines.push(("  received".into(), clipped(&received)));
    for line in &failure.log[first..] {
        let how = if line.is_sent { "sent" } else { "got" };
        lines.push((format!("  {} {how}", line.peer), clipped(&hex::encode(&line.bytes))));
    }
    for (label, words) in lines {
        wrap(text, &label, &words);
    }
}

/// The hex digits that fit.
fn clipped(digits: &str) -> String {
    match digits.get(..2 * SHOWN) {
        Some(start) if digits.len() > 2 * SHOWN => {
            format!("{start} and {} bytes more", digits.len() / 2 - SHOWN)
        }
        _ => digits.to_owned(),
    }
}

/// `words` behind `label`, on lines that are not too long.
fn wrap(text: &mut String, label: &str, words: &str) {
    const INDENT: usize = 18;
    let mut line = format!("{label:<INDENT$}");
    if label.chars().count() >= INDENT {
        line.push(' ');
    }
    for word in words.split(' ') {
        let mut word = word;
        loop {
            let room = WIDTH.saturating_sub(line.chars().count());
            let length = word.chars().count();
            if length <= room {
                line += word;
                line.push(' ');
                break;
            }
            // A word longer than a line is cut: hex digits.
            if length > WIDTH - INDENT && room > 1 {
                let at = word.char_indices().nth(room & !1).map_or(word.len(), |(at, _)| at);
                line += &word[..at];
                word = &word[at..];
            }
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(INDENT);
        }
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        let mut text = String::new();
        wrap(&mut text, "  received", &"0123456789abcdef".repeat(20));
        wrap(
            &mut text,
            "V-12/a-rather-long-name",
            "some words that say what it is about, and then a few more of them",
        );
        wrap(&mut text, "  bytes", "");
        wrap(&mut text, "V-12/eighteen-char", "words");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.ends_with("V-12/eighteen-char words\n"), "{text}");
        let digits: String = text.lines().take_while(|line| !line.starts_with("V-12")).collect();
        assert_eq!(digits.replace(' ', ""), format!("received{}", "0123456789abcdef".repeat(20)));
    }
}
