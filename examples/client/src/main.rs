//! The program `voxwire-client`: every action of every protocol, with real audio, and the demonstration.
#![forbid(unsafe_code)]

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
mod signals;
mod sound;
mod syfala;
mod trace;
mod voicelink;
mod waiting;

use clap::{Parser, Subcommand};

use error::Error;
use link::{Link, Trust};
use report::Report;
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
    /// The server; without a port, or at all, the protocol's own on loopback. (syfala's `discover` and `stream` ask every user on
    /// all networks of this machine without it.)
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
}

fn main() -> ExitCode {
    let flags = Flags::parse();

    let log = logging::start(flags.log);
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.line(format_args!("voxwire-client: {error}"));
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}

fn run(flags: Flags) -> Result<(), Error> {
    if flags.tls_name.is_some() && !flags.tls && flags.tls_ca.is_none() {
        return Err(Error::Usage("--tls-name: say --tls or --tls-ca FILE, too".into()));
    }
    let report = Report::new(flags.json, flags.quiet);
    let link = Link {
        server: flags.server,
        trust: flags.tls_ca.map(Trust::File).or_else(|| flags.tls.then_some(Trust::System)),
        tls_name: flags.tls_name,
        encrypted_only: flags.encrypted_only,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        match flags.what {
            What::Protocol(chosen) => (chosen.entry.run)(link, &chosen.matches, &report).await,
            What::Demo(flags) => demo::run(flags, &report).await,
        }
    });
    report.end();
    result
}
