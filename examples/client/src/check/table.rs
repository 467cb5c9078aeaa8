//! What is found of a server, in 80 columns.

use crate::demo::framed;
use crate::report::plain;
use comfy_table::{Cell, CellAlignment};
use core::time::Duration;
use serde_json::{Value, json};

/// One transport of one protocol.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) protocol: &'static str,
    /// `TCP`, `UDP` or `QUIC`.
    pub(crate) transport: &'static str,
    /// Host and port.
    pub(crate) address: String,
    pub(crate) state: State,
    pub(crate) tls: Tls,
    /// The last day of the server's certificate.
    pub(crate) until: Option<String>,
    pub(crate) round_trips: Vec<Duration>,
    /// Lost, and sent; `None` where that is not seen.
    pub(crate) lost: Option<(u64, u64)>,
    /// What is wrong, and what mends it.
    pub(crate) problem: Option<String>,
    /// Why nothing is wrong though nothing was checked.
    pub(crate) skipped: Option<&'static str>,
}

/// What answers at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Unknown,
    /// A connection is accepted.
    Open,
    /// By UDP.
    Answers,
    /// The host says that no program listens.
    Refused,
    /// Nothing comes back.
    Silent,
    /// The network says that there is no way.
    Unreachable,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Unknown,
    /// In the clear.
    None,
    /// By a certificate that is trusted.
    Trusted,
    /// The server speaks TLS, and is not trusted, or was not asked by TLS.
    Untrusted,
}

impl Row {
    pub(crate) const fn new(protocol: &'static str, transport: &'static str, address: String) -> Self {
        Self {
            protocol,
            transport,
            address,
            state: State::Unknown,
            tls: Tls::Unknown,
            until: None,
            round_trips: Vec::new(),
            lost: None,
            problem: None,
            skipped: None,
        }
    }

    pub(crate) const fn is_failed(&self) -> bool {
        self.problem.is_some()
    }

    /// The median and the longest round trip, in milliseconds.
    fn times(&self) -> Option<[f64; 2]> {
        let mut sorted = self.round_trips.clone();
        sorted.sort();
        let (median, most) = (sorted.get(sorted.len() / 2)?, sorted.last()?);
        Some([median, most].map(|time| time.as_secs_f64() * 1e3))
    }

    pub(super) fn json(&self) -> Value {
        let times = self
            .times()
            .map(|[median, most]| json!({ "p50": median, "max": most, "count": self.round_trips.len() }));
        json!({
            "protocol": self.protocol, "transport": self.transport, "address": self.address,
            "state": self.state.name(), "tls": self.tls.name(), "valid_until": self.until,
            "rtt_ms": times, "lost": self.lost.map(|(lost, _)| lost), "sent": self.lost.map(|(_, sent)| sent),
            "ok": !self.is_failed(), "skipped": self.skipped, "problem": self.problem,
        })
    }

    fn cells(&self) -> Vec<Cell> {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let nothing = || "–".to_owned();
        let port = self.address.rsplit_once(':').map_or("", |(_, port)| port);
        let tls = match (self.tls, &self.until) {
            (Tls::Trusted, Some(until)) => format!("to {until}"),
            (tls, _) => tls.name().map_or_else(nothing, str::to_owned),
        };
        let times = self.times().map_or_else(nothing, |[median, most]| format!("{median:.1}/{most:.1}"));
        let lost = self.lost.map_or_else(nothing, |(lost, sent)| format!("{lost}/{sent}"));
        let verdict = match (&self.problem, self.skipped) {
            (Some(_), _) => "FAILED",
            (None, Some(_)) => "skipped",
            (None, None) => "ok",
        };
        vec![
            Cell::new(self.protocol),
            Cell::new(self.transport),
            right(port.to_owned()),
            Cell::new(self.state.name().unwrap_or("–")),
            Cell::new(tls),
            right(times),
            right(lost),
            Cell::new(verdict),
        ]
    }
}

impl State {
    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Unknown => return None,
            Self::Open => "open",
            Self::Answers => "answers",
            Self::Refused => "refused",
            Self::Silent => "filtered",
            Self::Unreachable => "no route",
        })
    }
}

impl Tls {
    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Unknown => return None,
            Self::None => "none",
            Self::Trusted => "trusted",
            Self::Untrusted => "not trusted",
        })
    }
}

/// The program and its version, for readers of an issue.
pub(super) fn program() -> String {
    let (os, processor) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("voxwire-client {} on {os} {processor}", env!("CARGO_PKG_VERSION"))
}

/// C-22: the table, and below it a sentence for each row that is not well.
pub(super) fn shown(rows: &[Row]) -> String {
    let header = ["", "by", "port", "state", "TLS", "ms p50/max", "lost", ""];
    let table = framed(&header, rows.iter().map(Row::cells));
    let about = rows.iter().filter_map(|row| {
        let text = row.problem.as_deref().or(row.skipped)?;
        Some(format!("\n{} by {}: {}", row.protocol, row.transport, plain(text)))
    });
    format!("{table}{}", about.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C-22: the table has 80 columns at most, also with the longest findings.
    #[test]
    fn c_22_the_table_has_80_columns_at_most() {
        let row = |state, tls, problem: Option<&str>| Row {
            state,
            tls,
            until: Some("9999-12-31".into()),
            round_trips: [1234, 1234, 12_345].map(Duration::from_millis).into(),
            lost: Some((100, 100)),
            problem: problem.map(str::to_owned),
            ..Row::new("dissonance", "QUIC", "[2001:db8::1]:65535".into())
        };
        let long = "a firewall drops it: open the port ".repeat(9);
        let rows = [
            row(State::Answers, Tls::Trusted, None),
            row(State::Unreachable, Tls::Untrusted, Some(&long)),
            Row { skipped: Some("why"), ..row(State::Unknown, Tls::Unknown, None) },
        ];
        let text = shown(&rows);
        let table = text.lines().take_while(|line| !line.starts_with("dissonance by"));
        assert!(table.clone().count() >= 5 && table.clone().all(|line| line.chars().count() <= 80), "{text}");
        for word in ["to 9999-12-31", "not trusted", "1234.0", "FAILED", "skipped", "100/100", &long, ": why"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
        let value = rows[0].json();
        assert_eq!(
            (&value["ok"], &value["rtt_ms"]["count"], &value["lost"]),
            (&true.into(), &3.into(), &100.into())
        );
    }
}
