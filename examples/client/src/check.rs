//! `voxwire-client check`: whether everything works, on this machine or with a server, in a table for an issue.

mod probe;
mod table;

use crate::demo::{self, Conditions};
use crate::device;
use crate::error::{Error, failed};
use crate::link::{Link, NO_TLS, QUIC_TRUST};
use crate::protocols::{Entry, PROTOCOLS};
use crate::report::Report;
use crate::signals::Signals;
use clap::Args;
use core::time::Duration;
use futures_util::future::join_all;
pub(crate) use probe::{PATIENCE, Probe, ROUNDS, not_of, rounds, state_of};
use serde_json::json;
pub(crate) use table::{Row, State};
use tokio::net::lookup_host;
use voxwire_audio::{SPEECH, read};

/// By how much packets are delayed at most, at random.
const JITTER: Duration = Duration::from_millis(10);

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Only these protocols, separated by commas.
    #[arg(long, value_name = "P[,P..]", value_delimiter = ',', value_parser = Entry::parser())]
    only: Option<Vec<&'static Entry>>,
    /// What a server asks for before it lets any player in (Dissonance).
    #[arg(long, value_name = "TEXT")]
    token: Option<String>,
    /// Only QUIC, at the port of --server where it names one; needs --tls-ca or --tls.
    #[arg(long)]
    quic: bool,
}

/// Checks this machine, or the server that `link` names. Ends at the first signal.
pub(crate) async fn run(link: Link, flags: Flags, report: &Report) -> Result<(), Error> {
    let mut signals = Signals::catch()?;
    let only = flags.only.clone().unwrap_or_else(|| PROTOCOLS.iter().collect());
    if link.server.is_some() {
        let heeded = signals.clone();
        return signals.interrupt("checking", check_server(&link, &only, flags, report, &heeded)).await;
    }
    if flags.quic || flags.token.is_some() {
        return Err(Error::Usage("--quic and --token are about a server: say --server HOST, too".into()));
    }
    // Comparing blocks: see the demonstration.
    let (report, heeded) = (report.clone(), signals.clone());
    let check = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(check_here(&only, &report, &heeded))
    };
    signals.interrupt_blocking("checking", check).await
}

/// The calls of the demonstration, over networks that delay.
async fn check_here(only: &[&'static Entry], report: &Report, signals: &Signals) -> Result<(), Error> {
    let out = Folder::new()?;
    let speech = read(SPEECH).map_err(Error::Failed)?.clip;
    let conditions = Conditions::new(&speech, None, JITTER, &out.0, signals);
    report.event(
        "checking",
        json!({ "server": null }),
        &format!("{}: checking this machine", table::program()),
    );
    let outcomes = demo::calls(only, &conditions, report).await?;
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    let advice: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.passed)
        .map(|outcome| {
            format!(
                "{}: close other programs and try again; if that does not mend it, attach what `voxwire-client demo` leaves to an issue",
                outcome.likeness()
            )
        })
        .collect();
    // A machine without sound is none of its faults.
    let devices = device::shown(report);
    let text = format!("{}\n{devices}\n{}", demo::shown(&outcomes), advice.join("\n"));
    report.block("done", json!({ "rows": outcomes.len(), "failed": failed }), &text);
    end(failed, outcomes.len())
}

/// A folder for recordings that are compared and not kept.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("voxwire-check-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&path).map_err(|error| failed!("cannot use {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is among the system's temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn check_server(
    link: &Link,
    only: &[&'static Entry],
    flags: Flags,
    report: &Report,
    signals: &Signals,
) -> Result<(), Error> {
    if link.names_port() && only.len() != 1 {
        return Err(Error::Usage("--server names a port: say with --only P which protocol is there".into()));
    }
    if flags.quic && link.trust.is_none() {
        return Err(Error::Usage(QUIC_TRUST.into()));
    }
    if link.trust.is_none() {
        link.allow_clear(NO_TLS)?;
    }
    let address = link.address(0);
    let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
    if let Err(error) = lookup_host(&address).await {
        return Err(failed!(
            "cannot find {host}: {error}: is the name right, and does this machine reach a name server?"
        ));
    }
    let text = format!("{}: checking {host}", table::program());
    report.event("checking", json!({ "server": host }), &text);
    let probe = Probe { link, token: flags.token.unwrap_or_default(), quic: flags.quic, signals };
    let rows = join_all(only.iter().map(|entry| (entry.check)(&probe))).await;
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    if rows.is_empty() {
        return Err(Error::Usage("none of these protocols goes by QUIC".into()));
    }
    for row in &rows {
        report.event("check", row.json(), "");
    }
    let failed = rows.iter().filter(|row| row.is_failed()).count();
    let fields = json!({ "rows": rows.len(), "failed": failed });
    report.block("done", fields, &table::shown(&rows));
    end(failed, rows.len())
}

fn end(failed: usize, rows: usize) -> Result<(), Error> {
    if failed == 0 { Ok(()) } else { Err(failed!("{failed} of {rows} rows failed")) }
}
