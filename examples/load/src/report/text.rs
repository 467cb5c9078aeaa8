//! The text for people.

use super::{Cpu, MILLI, PERCENTILES, Report, Worst};
use crate::coordinator::Outcome;
use crate::figures::Kind;
use crate::protocols::Grouping;
use core::fmt::{self, Write as _};
use voxwire_core::Untrusted;

/// What fits.
const COLUMNS: usize = 80;
/// The width of the names on the left.
const NAMES: usize = 11;
/// Bytes of a MiB.
const MIB: f64 = 1_048_576.0;
/// What mends it where an address is limited.
const BY_ADDRESS: &str = "of one address the server takes 256 connections, and limits log-ins, calls and frames; loopback is exempt, \
and so is an address in its setting `proxies`; `connections` bounds all";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.counts(f)?;
        self.durations(f)?;
        self.server(f)?;
        self.errors(f)
    }
}

impl Report {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { plan, processes, .. } = &self.outcome;
        writeln!(f, "{} at {}", plan.protocol, plan.server())?;
        let groups = match plan.entry().grouping {
            Grouping::Pairs => " in pairs".into(),
            Grouping::Alone => String::new(),
            Grouping::Groups => format!(" in {} groups", plan.groups),
        };
        writeln!(f, "{} users{groups}, {} of whom talk; processes: {processes}", plan.users, plan.talkers)?;
        match plan.rate {
            0 => writeln!(f, "for {} s, in the device's format", plan.seconds)?,
            rate => writeln!(f, "for {} s, {rate} frames a second of {} bytes", plan.seconds, plan.bytes)?,
        }
        writeln!(f)
    }

    fn counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { plan, figures, .. } = &self.outcome;
        let counts = figures.counts;
        row(f, "users", &format!("joined {}, ready {}, of {}", counts.joined, counts.ready, plan.users))?;
        row(f, "frames", &format!("sent {}, refused {}", counts.sent, counts.refused))?;
        let per_second = self.copies_per_second();
        let copies = format!("heard {} of {}, {per_second:.0} a second", counts.heard, self.expected);
        row(f, "copies", &copies)?;
        let mut lost = format!("{} ({:.2} %)", self.lost(), self.lost_percent());
        if let Some(Worst { user, lost: most, expected }) = self.worst {
            let losers = self.losers;
            write!(lost, " by {losers} listeners; most by user {user}, {most} of {expected}")?;
        }
        row(f, "lost", &lost)?;
        let (reordered, duplicated, wrong) = (counts.reordered, counts.duplicated, counts.wrong);
        row(f, "faults", &format!("reordered {reordered}, duplicated {duplicated}, wrong {wrong}"))?;
        writeln!(f)
    }

    fn durations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if Kind::ALL.iter().all(|kind| self.outcome.figures.durations(*kind).count() == 0) {
            return Ok(());
        }
        write!(f, "{:<NAMES$}{:>12}", "ms", "count")?;
        for (_, name, _) in PERCENTILES {
            write!(f, "{name:>11}")?;
        }
        writeln!(f)?;
        for kind in Kind::ALL {
            let durations = self.outcome.figures.durations(kind);
            if durations.count() == 0 {
                continue;
            }
            write!(f, "{:<NAMES$}{:>12}", kind.name().replace('_', "-"), durations.count())?;
            for (_, _, percent) in PERCENTILES {
                write!(f, "{:>11}", short(durations.percentile(percent) as f64 / MILLI))?;
            }
            writeln!(f)?;
        }
        row(f, "", "latency: due to heard; transit: sent to heard; late: due to sent, by")?;
        row(f, "", "this program itself, which is short of cores where that is long")?;
        writeln!(f)
    }

    fn server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(usage) = self.outcome.usage else { return row(f, "server", "not measured") };
        let Cpu { seconds, percent, us_per_copy } = self.cpu(usage);
        let each = us_per_copy.map(|us| format!(", {us:.2} us for each copy")).unwrap_or_default();
        row(f, "server", &format!("{seconds:.2} s on the cores ({percent:.1} % of one){each}"))?;
        let (rss, peak) = (usage.1.rss as f64 / MIB, usage.1.peak as f64 / MIB);
        row(f, "", &format!("{rss:.1} MiB resident, {peak:.1} at the most"))
    }

    fn errors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = self.outcome.figures.causes();
        for (n, (cause, count)) in causes.iter().enumerate() {
            let name = if n == 0 { "errors" } else { "" };
            row(f, name, &format!("{count} x {}", Untrusted::from(*cause)))?;
        }
        if causes.is_empty() {
            return Ok(());
        }
        let mut name = "advice";
        if self.outcome.figures.counts.joined == 0 {
            row(f, core::mem::take(&mut name), "perhaps a server of another protocol is at this address")?;
        }
        row(f, name, self.outcome.plan.entry().advice)?;
        row(f, "", BY_ADDRESS)
    }
}

/// A name, and a text in as many lines as it takes.
fn row(f: &mut fmt::Formatter<'_>, mut name: &str, text: &str) -> fmt::Result {
    let mut line = String::new();
    for word in text.split_whitespace() {
        // A word that is longer than a line is cut.
        let word: String = word.chars().take(COLUMNS - NAMES).collect();
        if !line.is_empty() && NAMES + line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(f, "{name:<NAMES$}{line}")?;
            (name, line) = ("", String::new());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += &word;
    }
    writeln!(f, "{name:<NAMES$}{line}")
}

/// Milliseconds in ten columns.
fn short(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.3}"),
        ms if ms < 1000.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;
    use crate::figures::{Counts, Figures, UserCounts};
    use crate::flags::Limits;
    use crate::plan::Plan;
    use crate::protocols::PROTOCOLS;
    use crate::usage::Usage;

    /// The largest figures that there can be fit, and so does an error that a server words.
    #[test]
    fn the_text_has_80_columns_at_most() {
        for entry in PROTOCOLS {
            let mut figures = Figures::default();
            let most = 9_999_999_999;
            figures.counts = Counts {
                joined: 1_000_000,
                ready: 1_000_000,
                sent: most,
                refused: most,
                heard: most,
                reordered: most,
                duplicated: most,
                wrong: most,
            };
            Kind::ALL.iter().for_each(|kind| figures.record(*kind, u64::MAX));
            figures.error(Cause(format!(
                "what{}ever\u{1b}[2J {}",
                "x".repeat(200),
                "long words ".repeat(30)
            )));
            figures.users = vec![
                UserCounts { user: 999_998, sent: most, heard: 0 },
                UserCounts { user: 999_999, sent: most, heard: 0 },
            ];
            let frames = entry.frames.as_ref();
            let plan = Plan {
                protocol: entry.name.into(),
                server: Some("[1111:2222:3333:4444:5555:6666:7777:8888]:65535".parse().unwrap()),
                encryption: None,
                users: 1_000_000,
                talkers: 1_000_000,
                groups: 500_000,
                rate: frames.map_or(0, |frames| *frames.rate.end()),
                bytes: frames.map_or(0, |frames| *frames.bytes.end()),
                seconds: 86_400,
                ramp: 1,
                timeout: 1,
                prefix: "load".into(),
                part: 0..1,
            };
            let usage = |cpu| Usage { cpu, rss: 1 << 40, peak: 1 << 40 };
            let outcome =
                Outcome { plan, processes: 256, figures, usage: Some((usage(0), usage(u64::MAX / 2))) };
            let text = Report::new(outcome, Limits::default()).to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= COLUMNS && !line.ends_with(' '), "{line:?}\n{text}");
            }
            assert!(!text.contains('\u{1b}') && text.contains("errors") && text.contains("p99.9"), "{text}");
        }
    }
}
