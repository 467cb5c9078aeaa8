//! The command line.

use crate::protocols::{PROTOCOLS, Protocol};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use core::time::Duration;

/// Tests an endpoint of a protocol over a socket: which rows of the requirements it passes, and the bytes of what it does not.
///
/// Exit code 0: every check that ran has passed; 1: one has failed; 2: usage error.
#[derive(Debug, Parser)]
#[command(name = "voxwire-conformance", version)]
pub struct Flags {
    /// The protocol.
    #[arg(value_name = "PROTOCOL", value_parser = protocol_parser())]
    pub(crate) protocol: &'static Protocol,
    #[command(subcommand)]
    pub(crate) side: Side,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Side {
    /// Test a server: the runner plays the clients.
    Server(ServerFlags),
    /// Test a client: the runner plays the server.
    Client(ClientFlags),
}

#[derive(Debug, Args)]
pub(crate) struct ServerFlags {
    /// Where the server listens.
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// The secret behind the names of clients (voicelink, opcode), or the token of the hello (dissonance).
    #[arg(long, value_name = "SECRET", default_value = "")]
    pub(crate) secret: String,
    /// An optional ability that the server has not. Its checks are skipped. May be repeated.
    #[arg(long, value_name = "ABILITY")]
    pub(crate) without: Vec<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct ClientFlags {
    /// Where the runner listens. Port 0: any free port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
    /// What the client is told to do. Checks of other roles are skipped.
    #[arg(long = "as", value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// Seconds to wait for the client to come.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    pub(crate) wait: f64,
    /// Starts the client, once for each check. `{address}`, `{host}` and `{port}` are replaced. Without it, the runner waits for a
    /// client that is started by hand.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Only the checks of this row (V-06), or the one of this name (V-06/relay). May be repeated.
    #[arg(long, value_name = "ROW")]
    pub(crate) only: Vec<String>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Seconds to wait for each message.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    pub(crate) timeout: f64,
}

impl Flags {
    /// Whether the report is wanted as JSON.
    pub fn json(&self) -> bool {
        self.common().json
    }

    pub(crate) fn common(&self) -> &Common {
        match &self.side {
            Side::Server(flags) => &flags.common,
            Side::Client(flags) => &flags.common,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.common().timeout)
    }
}

fn protocol_parser() -> impl TypedValueParser<Value = &'static Protocol> {
    PossibleValuesParser::new(PROTOCOLS.iter().map(|protocol| protocol.name))
        .try_map(|name| PROTOCOLS.iter().find(|protocol| protocol.name == name).ok_or("no such protocol"))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0.01 to 3600".into()),
    }
}
