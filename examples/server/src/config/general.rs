//! The settings outside the sections of the protocols. The file, the environment and the command line have the same ones.

use super::Config;
use super::values::{Bind, Http, Profile, Wanted, set};
use crate::Error;
use crate::logging::{LogFormat, LogLevel};
use crate::protocols::Protocol;
use clap::{ArgAction, Args};
use core::net::IpAddr;
use core::time::Duration;
use serde::Deserialize;
use std::path::PathBuf;

// The comments are the help of the flags. Every entry is optional; an unknown one in the file is an error.
#[derive(Debug, Clone, Args, Deserialize)]
#[group(skip)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct GeneralSettings {
    /// Serve only these protocols, separated by commas.
    #[arg(long, value_name = "P[,P..]", value_delimiter = ',', value_parser = Protocol::parser())]
    only: Option<Vec<Protocol>>,
    /// Listen on this address [default: 127.0.0.1]. Also a name of this machine, such as `localhost`.
    #[arg(long, value_name = "ADDR")]
    bind: Option<Bind>,
    /// Where protocols that keep something keep it [default: voxwire-data]. Made when first needed.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
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
    /// Where events are sent to, by POST, and what that is signed with: secrets, without flags.
    #[arg(skip)]
    control_webhooks: Option<Vec<String>>,
    #[arg(skip)]
    control_webhook_secret: Option<String>,
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
    #[arg(long, action = ArgAction::SetTrue)]
    allow_plain: Option<bool>,
    /// Neither send nor accept voice in the clear: TLS and QUIC only, and nothing by UDP beside TCP.
    #[arg(long, action = ArgAction::SetTrue)]
    encrypted_only: Option<bool>,
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
    pub(super) profile: Option<Profile>,
    /// What to log on standard error: off, error, warn, info, debug or trace [default: info].
    #[arg(long, value_name = "LEVEL")]
    log: Option<LogLevel>,
    /// How to log: for people, or a JSON object a line [default: text].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl GeneralSettings {
    /// As the command line gives them: a switch that is not there says nothing.
    pub(super) fn by_flags(mut self) -> Self {
        for switch in [&mut self.allow_plain, &mut self.encrypted_only] {
            *switch = switch.filter(|is_there| *is_there);
        }
        self
    }
}

impl Config {
    /// Changes the settings by what `source` says outside of the sections.
    pub(super) fn apply(&mut self, general: GeneralSettings, source: &str) -> Result<(), Error> {
        set(&mut self.only, general.only.map(each_once));
        set(&mut self.bind, general.bind.map(|Bind(address)| address));
        set(&mut self.data, general.data);
        set(&mut self.http, general.http.map(Wanted::from));
        set(&mut self.http_connections, general.http_connections);
        set(&mut self.http_deadline, general.http_seconds.map(Duration::from_secs));
        set(&mut self.control.token_file, general.control_token_file.map(Some));
        set(&mut self.control.socket, general.control_socket.map(Some));
        set(&mut self.control.webhooks, general.control_webhooks);
        set(&mut self.control.webhook_secret, general.control_webhook_secret.map(Some));
        set(&mut self.control.say_as, general.control_say_as);
        set(&mut self.recording.days, general.recordings_days);
        set(&mut self.recording.mib, general.recordings_mib);
        set(&mut self.recording.announce, general.announce_recordings);
        set(&mut self.allow_plain, general.allow_plain);
        set(&mut self.encrypted_only, general.encrypted_only);
        set(&mut self.profile, general.profile);
        set(&mut self.proxies, general.proxies);
        set(&mut self.drain, general.drain_seconds.map(Duration::from_secs));
        set(&mut self.close, general.close_seconds.map(Duration::from_secs));
        set(&mut self.connections, general.connections);
        set(&mut self.memory, general.memory);
        set(&mut self.per_address, general.per_address);
        set(&mut self.udp_sockets, general.udp_sockets);
        set(&mut self.log, general.log.map(|LogLevel(level)| level));
        set(&mut self.log_format, general.log_format);
        match (general.tls_cert, general.tls_key) {
            (None, None) => {}
            (Some(cert), Some(key)) => self.tls = Some((cert, key)),
            _ => return Err(Error::Usage(format!("{source}: tls-cert and tls-key belong together"))),
        }
        Ok(())
    }
}

/// What is named twice is served once.
fn each_once(named: Vec<Protocol>) -> Vec<Protocol> {
    let mut once = Vec::new();
    for protocol in named {
        if !once.contains(&protocol) {
            once.push(protocol);
        }
    }
    once
}
