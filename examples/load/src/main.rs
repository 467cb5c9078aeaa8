//! The program `voxwire-load`: puts load on a server, checks every frame, and measures latency.
#![forbid(unsafe_code)]

mod clock;
mod coordinator;
mod descriptors;
mod dissonance;
mod driven;
mod encryption;
mod error;
mod figures;
mod flags;
mod listener;
mod msgpack;
mod opcode;
mod own_server;
mod part;
mod payload;
mod plan;
mod process;
mod protocols;
mod report;
mod syfala;
mod usage;
mod user;
mod voicelink;

use clap::Parser as _;
use error::Error;
use flags::{Flags, Wanted};
use report::Report;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let role = std::env::args_os().nth(1);
    let done = match role.as_ref().and_then(|role| role.to_str()) {
        Some(process::PART) => part::run().map(|()| Vec::new()),
        Some(process::SERVE) => own_server::serve().map(|()| Vec::new()),
        _ => Flags::parse().wanted().and_then(run),
    };
    let (code, problems) = match done {
        Ok(problems) if problems.is_empty() => (0, problems),
        Ok(problems) => (1, problems),
        Err(error) => (if error.is_usage() { 2 } else { 1 }, vec![error.to_string()]),
    };
    for problem in problems {
        let problem = voxwire_core::Untrusted::from(&*problem);
        // Nobody may read it.
        let _ = writeln!(std::io::stderr().lock(), "voxwire-load: {problem}");
    }
    ExitCode::from(code)
}

/// Makes the run, shows how it went, and returns what is wrong with that.
fn run(wanted: Wanted) -> Result<Vec<String>, Error> {
    let Wanted { plan, processes, server_pid, limits, json } = wanted;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(coordinator::run(plan, processes, server_pid))?;
    let report = Report::new(outcome, limits);
    let text = if json { format!("{}\n", report.json()) } else { report.to_string() };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(report.problems())
}
