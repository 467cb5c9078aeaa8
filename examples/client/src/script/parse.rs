//! The lines of a script.

use core::time::Duration;

/// How long an `expect` waits where it does not say.
const WITHIN: Duration = Duration::from_secs(10);
/// The longest wait, and lines in all.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const MOST: usize = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Wait(Duration),
    Expect {
        text: String,
        within: Duration,
    },
    /// As it is typed.
    Command(String),
}

/// The steps, with the numbers of their lines; or a line, and what is wrong with it.
pub(super) fn steps(text: &str) -> Result<Vec<(usize, Step)>, (usize, String)> {
    let mut steps = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if steps.len() >= MOST {
            return Err((number, format!("more than {MOST} steps")));
        }
        steps.push((number, step(line).map_err(|problem| (number, problem))?));
    }
    Ok(steps)
}

fn step(line: &str) -> Result<Step, String> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "wait" => match duration(rest) {
            Some(time) => Ok(Step::Wait(time)),
            None => Err(format!("wait {rest}: a time up to 24 h expected, as in `wait 2s` or `wait 500ms`")),
        },
        "expect" => {
            let limit = rest.rsplit_once(" within ").and_then(|(text, time)| Some((text, duration(time)?)));
            let (text, within) = limit.unwrap_or((rest, WITHIN));
            let text = text.trim();
            // Blanks at its ends stand between quotation marks.
            let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
            if text.is_empty() {
                return Err("expect: a text expected, as in `expect bob is there within 5s`".into());
            }
            Ok(Step::Expect { text: text.into(), within })
        }
        _ => Ok(Step::Command(line.into())),
    }
}

/// `2s`, `1.5s`, `500ms`; seconds without a unit.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds: f64 = number.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds * unit).ok().filter(|time| *time <= LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_commands_waits_and_checks() {
        let text = "# greets\n\nwait 1.5s\nwait 500ms\nexpect bob is there\n expect \" hi \" within 5s\nexpect a within b within 2s\n/msg bob wait 2s\n";
        let expect =
            |text: &str, seconds| Step::Expect { text: text.into(), within: Duration::from_secs(seconds) };
        let expected = [
            (3, Step::Wait(Duration::from_millis(1500))),
            (4, Step::Wait(Duration::from_millis(500))),
            (5, expect("bob is there", 10)),
            (6, expect(" hi ", 5)),
            (7, expect("a within b", 2)),
            (8, Step::Command("/msg bob wait 2s".into())),
        ];
        assert_eq!(steps(text).unwrap(), expected);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        for line in ["wait", "wait long", "wait -1s", "wait inf", "wait 1e9", "expect", "expect \"\""] {
            let (number, problem) = steps(&format!("\n{line}")).unwrap_err();
            assert!(number == 2 && problem.contains("expected"), "{line}: {problem}");
        }
    }
}
