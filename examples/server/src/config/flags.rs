//! The command line.

use super::Config;
use super::values::{Bind, Http, Profile, Wanted, set};
use crate::control::Ctl;
use crate::logging::{LogFormat, LogLevel};
use crate::protocols::{self, Protocol};
use crate::{Error, MakeCertificate};
use clap::Parser;
use core::net::IpAddr;
use core::time::Duration;
use std::path::PathBuf;

const AFTER_HELP: &str = "Every setting is read from a flag, or else from the environment (VOXWIRE_BIND for --bind, \
VOXWIRE_OPCODE_RELAY for --opcode-relay), or else from the file. Secrets have no flag, as other users of the machine see flags: \
they come from the file, from a variable (VOXWIRE_DISSONANCE_TOKEN), or from a file that a variable names \
(VOXWIRE_DISSONANCE_TOKEN_FILE).";

/// voxwire's server: voice and chat protocols in one process.
///
/// Without flags it serves every protocol on loopback. When ready it has printed a line `listening PROTOCOL TRANSPORT
/// ADDR:PORT` for each listener, and then `ready`. SIGINT or SIGTERM: every client is told, then it ends. SIGHUP: the files of
/// certificates are read again.
#[derive(Debug, Clone, Parser)]
#[command(name = "voxwire-server", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Flags {
    /// Serve only these protocols, separated by commas.
    #[arg(long, value_name = "P[,P..]", value_delimiter = ',', value_parser = Protocol::parser())]
    pub(super) only: Option<Vec<Protocol>>,
    /// Read settings from a TOML file; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Listen on this address [default: 127.0.0.1]. Also a name of this machine, such as `localhost`.
    #[arg(long, value_name = "ADDR")]
    pub(super) bind: Option<Bind>,
    /// Where protocols that keep something keep it [default: voxwire-data]. Made when first needed.
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    #[command(flatten)]
    pub(super) protocols: protocols::Flags,
    /// Where to serve the status page, /metrics and /healthz; `off` for nowhere [default: 127.0.0.1:4280, or nowhere if
    /// that is in use].
    #[arg(long, value_name = "ADDR")]
    http: Option<Http>,
    /// Connections to the status page at a time [default: 64].
    #[arg(long, value_name = "N", hide_short_help = true)]
    http_connections: Option<usize>,
    /// How long a request to the status page and its answer may take [default: 10].
    #[arg(long, value_name = "N", hide_short_help = true)]
    http_seconds: Option<u64>,
    /// Serve the control API beside the status page, for those with a token of this file. The environment variable
    /// VOXWIRE_CONTROL_TOKEN can hold a token instead.
    #[arg(long, value_name = "FILE")]
    control_token_file: Option<PathBuf>,
    /// Make a local socket for `voxwire-server ctl`, which needs no token.
    #[arg(long, value_name = "PATH")]
    control_socket: Option<PathBuf>,
    /// Where events are sent to, by POST.
    #[arg(long, value_name = "URL[,URL..]", value_delimiter = ',', hide_short_help = true)]
    control_webhooks: Option<Vec<String>>,
    /// Who texts of operators come from [default: server].
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    control_say_as: Option<String>,
    /// Days that a recording is kept; 0 for ever [default: 30].
    #[arg(long, value_name = "N", hide_short_help = true)]
    recordings_days: Option<u32>,
    /// Room that all recordings have, in MiB; 0 for any [default: 10240].
    #[arg(long, value_name = "MIB", hide_short_help = true)]
    recordings_mib: Option<u64>,
    /// Whether those that are recorded are told, where the protocol has texts [default: true].
    #[arg(long, value_name = "BOOL", hide_short_help = true)]
    announce_recordings: Option<bool>,
    /// Speak TLS, with this certificate chain (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Allow secrets to travel in the clear beyond loopback.
    #[arg(long)]
    allow_plain: bool,
    /// Neither send nor accept voice in the clear: TLS and QUIC only, and nothing by UDP beside TCP.
    #[arg(long)]
    encrypted_only: bool,
    /// Connections of each protocol [default: 20000].
    #[arg(long, value_name = "N", hide_short_help = true)]
    connections: Option<usize>,
    /// Connections of one address [default: 256].
    #[arg(long, value_name = "N", hide_short_help = true)]
    per_address: Option<usize>,
    /// Memory for what peers send and are sent, in MiB [default: 512].
    #[arg(long, value_name = "MIB", hide_short_help = true)]
    memory: Option<usize>,
    /// Addresses of TLS terminators and gateways, which are exempt from limits by address.
    #[arg(long, value_name = "ADDR[,ADDR..]", value_delimiter = ',', hide_short_help = true)]
    proxies: Option<Vec<IpAddr>>,
    /// How long the shutdown may take [default: 10].
    #[arg(long, value_name = "N", hide_short_help = true)]
    drain_seconds: Option<u64>,
    /// How long a closed connection may take what is queued for it [default: 10].
    #[arg(long, value_name = "N", hide_short_help = true)]
    close_seconds: Option<u64>,
    /// UDP sockets of each address with TCP and UDP; 0: one for each core, 8 at most [default: 0].
    #[arg(long, value_name = "N", hide_short_help = true)]
    udp_sockets: Option<usize>,
    /// `safe`, or `original`: where safe defaults differ from what original programs do, do as they do.
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// What to log on standard error: off, error, warn, info, debug or trace [default: info].
    #[arg(long, value_name = "LEVEL")]
    log: Option<LogLevel>,
    /// How to log: for people, or a JSON object a line [default: text].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Check the settings and the files that they name, and end: exit code 0, or 2 with the reason.
    #[arg(long)]
    pub check_config: bool,
    /// Print every setting with its default, as a file for `--config`, and end.
    #[arg(long)]
    pub print_default_config: bool,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does besides serving.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Make a self-signed certificate and its key, and say how they are used.
    Certificate(MakeCertificate),
    /// Print a script that completes the command line in a shell.
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff.
    #[command(hide = true)]
    Man,
    /// Control a running server by its local socket.
    Ctl(Ctl),
}

impl Config {
    pub(super) fn apply_flags(&mut self, flags: &Flags) -> Result<(), Error> {
        let config = self;
        let Flags { only, bind, data, protocols, http, tls_cert, tls_key, profile, .. } = flags.clone();
        set(&mut config.only, only);
        // Named twice, served once.
        let mut seen = Vec::new();
        config.only.retain(|protocol| {
            !seen.contains(protocol) && {
                seen.push(*protocol);
                true
            }
        });
        set(&mut config.bind, bind.map(|Bind(address)| address));
        set(&mut config.data, data);
        config.sections.apply_flags(&protocols).map_err(|error| Error::Usage(error.to_string()))?;
        set(&mut config.http, http.map(Wanted::from));
        set(&mut config.control.token_file, flags.control_token_file.clone().map(Some));
        set(&mut config.control.socket, flags.control_socket.clone().map(Some));
        set(&mut config.control.webhooks, flags.control_webhooks.clone());
        set(&mut config.control.say_as, flags.control_say_as.clone());
        set(&mut config.recording.days, flags.recordings_days);
        set(&mut config.recording.mib, flags.recordings_mib);
        set(&mut config.recording.announce, flags.announce_recordings);
        config.control.read_environment();
        if let Some(profile) = profile {
            config.profile = profile;
            // The flag is for all of them.
            config.sections.forget_profiles();
        }
        set(&mut config.tls, tls_cert.zip(tls_key).map(Some));
        config.allow_plain |= flags.allow_plain;
        config.encrypted_only |= flags.encrypted_only;
        set(&mut config.udp_sockets, flags.udp_sockets);
        set(&mut config.http_connections, flags.http_connections);
        set(&mut config.http_deadline, flags.http_seconds.map(Duration::from_secs));
        set(&mut config.connections, flags.connections);
        set(&mut config.per_address, flags.per_address);
        set(&mut config.memory, flags.memory);
        set(&mut config.proxies, flags.proxies.clone());
        set(&mut config.drain, flags.drain_seconds.map(Duration::from_secs));
        set(&mut config.close, flags.close_seconds.map(Duration::from_secs));
        set(&mut config.log, flags.log.map(|LogLevel(level)| level));
        set(&mut config.log_format, flags.log_format);
        Ok(())
    }
}
