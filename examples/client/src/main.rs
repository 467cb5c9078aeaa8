//! The program `voxwire-client`: every action of every protocol, with real audio, and the demonstration.
#![forbid(unsafe_code)]

mod call_timers;
mod check;
mod demo;
mod device;
mod dialogue;
mod dissonance;
mod echo;
mod error;
mod link;
mod msgpack;
mod opcode;
mod playout;
mod protocols;
mod recordings;
mod report;
mod retry;
#[cfg(feature = "screen")]
mod screen;
#[cfg(not(feature = "screen"))]
#[path = "screen/none.rs"]
mod screen;
mod script;
mod signals;
mod sound;
mod syfala;
mod talk;
mod trace;
mod voicelink;
mod waiting;

use clap::{Parser, Subcommand};

use error::Error;
use link::{Link, Shown, Trust};
use report::Report;
use script::Script;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::filter::LevelFilter;
use voxwire_server::logging;

/// voxwire's client: every action of every protocol, with real audio.
///
/// Exit code 0: done; 1: failed or refused, the reason is on standard error; 2: usage error.
#[derive(Debug, Parser)]
#[command(name = "voxwire-client", version)]
struct Flags {
    /// Server as `HOST[:PORT]`. Default: loopback, and the port of the protocol. Without it, syfala's `discover` and `stream` ask on all
    /// networks of this machine.
    #[arg(long, global = true, value_name = "ADDR")]
    server: Option<String>,
    /// Speak TLS, and trust the authorities of this system (SSL_CERT_FILE names others).
    #[arg(long, global = true)]
    tls: bool,
    /// Speak TLS, and trust the certificates in this file (PEM): the server's own, or authorities.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "tls")]
    tls_ca: Option<PathBuf>,
    /// The name that the server's certificate has to show [default: the host in --server].
    #[arg(long, global = true, value_name = "NAME")]
    tls_name: Option<String>,
    /// Never send voice in the clear: TLS or QUIC only, or not at all.
    #[arg(long, global = true)]
    encrypted_only: bool,
    /// Print one JSON object per line on standard output.
    #[arg(long, global = true)]
    json: bool,
    /// Print nothing but errors, and messages that would be lost otherwise.
    #[arg(long, global = true, conflicts_with = "json")]
    quiet: bool,
    /// Print lines also on a terminal, where calls and rooms have a full screen otherwise.
    #[arg(long, global = true)]
    no_screen: bool,
    /// Carry out the commands, waits and checks in this file.
    #[arg(long, global = true, value_name = "FILE")]
    script: Option<PathBuf>,
    /// What to log on standard error: off, error, warn, info, debug or trace.
    #[arg(long, global = true, value_name = "LEVEL", default_value = "error", value_parser = log_level)]
    log: LevelFilter,
    #[command(subcommand)]
    what: What,
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "off, error, warn, info, debug or trace expected".into())
}

#[derive(Debug, Subcommand)]
enum What {
    #[command(flatten)]
    Protocol(protocols::Chosen),
    /// Make a real call over each protocol, in this process, and show how it went.
    Demo(demo::Flags),
    /// Check whether everything works: on this machine, or with --server the server's ports, TLS, UDP, latency and loss.
    Check(check::Flags),
    /// List this machine's input and output devices: names, rates, channels and sample formats.
    Devices,
}

impl What {
    /// Whether commands are read while it runs.
    fn takes_commands(&self) -> bool {
        matches!(self, Self::Protocol(chosen) if chosen.matches.subcommand_name() == Some("chat"))
    }
}

fn main() -> ExitCode {
    let flags = Flags::try_parse().unwrap_or_else(|error| {
        let json = std::env::args_os().any(|argument| argument == "--json");
        if json && error.exit_code() == 2 {
            let report = Report::new(true, false);
            let reason = error.to_string();
            report_error(&report, reason.trim_end(), 2);
            report.end();
        }
        error.exit()
    });

    let log = logging::start(flags.log);
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.line(format_args!("voxwire-client: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(flags: Flags) -> Result<(), Error> {
    let report = Report::new(flags.json, flags.quiet).with_screen(!flags.no_screen);
    let _ending = Ending(report.clone());
    let result = act(flags, report.clone());
    if let Err(error) = &result {
        report_error(&report, &error.to_string(), error.exit_code());
    }
    result
}

/// For programs: people read it on standard error.
fn report_error(report: &Report, reason: &str, exit: u8) {
    report.event("error", json!({ "reason": reason, "exit": exit }), "");
}

fn act(flags: Flags, mut report: Report) -> Result<(), Error> {
    if flags.tls_name.is_some() && !flags.tls && flags.tls_ca.is_none() {
        return Err(Error::Usage("--tls-name: say --tls or --tls-ca FILE, too".into()));
    }
    let script = flags.script.map(|path| Script::load(&path, flags.what.takes_commands())).transpose()?;
    let link = Link {
        server: flags.server,
        trust: flags.tls_ca.map(Trust::File).or_else(|| flags.tls.then_some(Trust::System)),
        tls_name: flags.tls_name,
        encrypted_only: flags.encrypted_only,
        shown: Shown::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let script = script.map(|script| script.start(&mut report));
        let result = match flags.what {
            What::Protocol(chosen) => (chosen.entry.run)(link, &chosen.matches, &report).await,
            What::Demo(flags) => demo::run(flags, &report).await,
            What::Check(flags) => check::run(link, flags, &report).await,
            What::Devices => device::list(&report),
        };
        match script {
            // A check that fails ends the program: that is the reason.
            Some(script) => script.end().await.and(result),
            None => result,
        }
    })
}

/// Ends the report, also where the program panics: the terminal is as before, and shows what was reported last.
struct Ending(Report);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}
