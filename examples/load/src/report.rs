//! What a run shows: for people, a text that fits 80 columns; for scripts, one JSON object.

use crate::coordinator::Outcome;
use crate::figures::{Kind, UserCounts};
use crate::flags::Limits;
use crate::usage::Usage;
use serde_json::{Value, json};
use std::collections::BTreeMap;

mod text;

/// Nanoseconds of a millisecond, and of a microsecond.
const MILLI: f64 = 1e6;
const MICRO: f64 = 1e3;

/// What follows from an outcome.
#[derive(Debug)]
pub(crate) struct Report {
    outcome: Outcome,
    limits: Limits,
    /// Copies that should have been heard.
    expected: u64,
    /// Listeners that did not hear all, and the one that heard least of it.
    losers: u64,
    worst: Option<Worst>,
}

/// The listener that lost most.
#[derive(Debug, Clone, Copy)]
struct Worst {
    user: u32,
    lost: u64,
    expected: u64,
}

/// The percentiles that are shown, and what they are called.
const PERCENTILES: [(&str, &str, f64); 5] = [
    ("p50", "p50", 50.0),
    ("p90", "p90", 90.0),
    ("p99", "p99", 99.0),
    ("p99_9", "p99.9", 99.9),
    ("max", "max", 100.0),
];

impl Report {
    pub(crate) fn new(outcome: Outcome, limits: Limits) -> Self {
        let mut report = Self { expected: 0, losers: 0, worst: None, outcome, limits };
        report.look_for_losses();
        report
    }

    /// Each listener should have heard what the others of its group said.
    fn look_for_losses(&mut self) {
        let Outcome { plan, figures, .. } = &self.outcome;
        let mut said = BTreeMap::<u32, u64>::new();
        for user in &figures.users {
            *said.entry(plan.group(user.user)).or_default() += user.sent;
        }
        for UserCounts { user, sent, heard } in &figures.users {
            let all = said.get(&plan.group(*user)).copied().unwrap_or_default();
            let expected = if plan.hears(*user, *user) { all } else { all - sent };
            self.expected += expected;
            let lost = expected.saturating_sub(*heard);
            self.losers += u64::from(lost > 0);
            if lost > self.worst.map_or(0, |worst| worst.lost) {
                self.worst = Some(Worst { user: *user, lost, expected });
            }
        }
    }

    fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.outcome.figures.counts.heard)
    }

    fn lost_percent(&self) -> f64 {
        100.0 * self.lost() as f64 / self.expected.max(1) as f64
    }

    fn copies_per_second(&self) -> f64 {
        self.outcome.figures.counts.heard as f64 / f64::from(self.outcome.plan.seconds)
    }

    /// Why the run has failed; nothing if it has not.
    pub(crate) fn problems(&self) -> Vec<String> {
        let Outcome { plan, figures, .. } = &self.outcome;
        let (counts, users) = (figures.counts, u64::from(plan.users));
        let mut problems = Vec::new();
        if counts.ready < users {
            problems.push(format!("{} of {users} users did not get ready", users - counts.ready));
        }
        let errors: u64 = figures.causes().iter().map(|(_, count)| count).sum();
        if errors > users - counts.ready {
            problems.push(format!("{} errors of users that were ready", errors - (users - counts.ready)));
        }
        let reordered = if plan.entry().ordered { counts.reordered } else { 0 };
        for (count, what) in
            [(counts.wrong, "wrong"), (counts.duplicated, "duplicated"), (reordered, "out of order")]
        {
            if count > 0 {
                problems.push(format!("{count} copies were {what}"));
            }
        }
        let loss = self.lost_percent();
        if let Some(most) = self.limits.loss.filter(|most| loss > *most) {
            problems.push(format!("{loss:.2} % of the copies were lost, and --max-loss allows {most} %"));
        }
        let p99 = figures.durations(Kind::Latency).percentile(99.0) as f64 / MILLI;
        if let Some(most) = self.limits.p99.filter(|most| p99 > *most) {
            problems.push(format!("the latency's p99 is {p99:.2} ms, and --max-p99 allows {most} ms"));
        }
        problems
    }

    /// One object; README.md has its fields.
    pub(crate) fn json(&self) -> Value {
        let Outcome { plan, processes, figures, usage } = &self.outcome;
        let counts = figures.counts;
        let some = |n: usize| (n > 0).then_some(n);
        let mut object = json!({
            "protocol": plan.protocol,
            "server": plan.server(),
            "users": plan.users,
            "talkers": plan.talkers,
            "groups": plan.groups,
            "rate": some(plan.rate as usize),
            "bytes": some(plan.bytes),
            "seconds": plan.seconds,
            "processes": processes,
            "joined": counts.joined,
            "ready": counts.ready,
            "sent": counts.sent,
            "refused": counts.refused,
            "expected": self.expected,
            "heard": counts.heard,
            "copies_per_second": self.copies_per_second(),
            "lost": self.lost(),
            "lost_percent": self.lost_percent(),
            "losers": self.losers,
            "worst": self.worst.map(|Worst { user, lost, expected }| {
                json!({ "user": user, "lost": lost, "expected": expected })
            }),
            "reordered": counts.reordered,
            "duplicated": counts.duplicated,
            "wrong": counts.wrong,
        });
        for kind in Kind::ALL {
            let durations = figures.durations(kind);
            let mut fields = json!({ "count": durations.count() });
            for (name, _, percent) in PERCENTILES {
                fields[name] = json!(durations.percentile(percent) as f64 / MILLI);
            }
            object[format!("{}_ms", kind.name())] = fields;
        }
        object["server_process"] = usage.map_or(Value::Null, |usage| {
            let cpu = self.cpu(usage);
            json!({
                "cpu_seconds": cpu.seconds,
                "cpu_percent": cpu.percent,
                "cpu_us_per_copy": cpu.us_per_copy,
                "rss_bytes": usage.1.rss,
                "peak_bytes": usage.1.peak,
            })
        });
        let causes = figures.causes().into_iter();
        object["errors"] = causes.map(|(cause, count)| json!({ "cause": cause, "count": count })).collect();
        object["problems"] = json!(self.problems());
        object
    }

    fn cpu(&self, (before, after): (Usage, Usage)) -> Cpu {
        let nanos = after.cpu.saturating_sub(before.cpu) as f64;
        let seconds = nanos / crate::plan::SECOND as f64;
        let heard = self.outcome.figures.counts.heard;
        Cpu {
            seconds,
            percent: 100.0 * seconds / f64::from(self.outcome.plan.seconds),
            us_per_copy: (heard > 0).then(|| nanos / MICRO / heard as f64),
        }
    }
}

/// The server's time on the cores while the talkers talked.
struct Cpu {
    seconds: f64,
    /// Of one core.
    percent: f64,
    us_per_copy: Option<f64>,
}
