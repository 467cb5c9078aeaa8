//! Settings: defaults, then the file, then the environment, then the flags. All have the same names.

use crate::control::{ControlSettings, Ctl};
use crate::given::{self, Given};
use crate::logging::{LogFormat, LogLevel};
use crate::protocols::{self, Protocol, Section, Sections};
use crate::{Error, MakeCertificate, memory};
use clap::Parser;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ops::RangeInclusive;
use core::str::FromStr;
use core::time::Duration;
use serde::{Deserialize, de};
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, Deserializer, ValueDeserializer};
use tracing_subscriber::filter::LevelFilter;
use voxwire_transport::HubSettings;

/// Where the status page is unless something else is said.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4280);

/// More are of no use to a status page; each may take some 20 KiB.
const HTTP_CONNECTIONS: RangeInclusive<usize> = 1..=4096;
/// An hour, and no deadline that passes at once.
const SECONDS: RangeInclusive<u64> = 1..=3600;
/// Of one address: no more than most machines have cores. 0 is one for each core.
const UDP_SOCKETS: RangeInclusive<usize> = 0..=64;
/// Connections of a protocol, or of an address.
const CONNECTIONS: RangeInclusive<usize> = 1..=1_000_000;

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
    only: Option<Vec<Protocol>>,
    /// Read settings from a TOML file; flags win over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on this address [default: 127.0.0.1]. Also a name of this machine, such as `localhost`.
    #[arg(long, value_name = "ADDR")]
    bind: Option<Bind>,
    /// Where protocols that keep something keep it [default: voxwire-data]. Made when first needed.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    protocols: protocols::Flags,
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

/// How to behave where the safe thing and what original programs do differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Safe.
    #[default]
    Safe,
    /// As the originals.
    Original,
}

/// The address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Bind(IpAddr);

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Of several, one that clients find without IPv6, too.
        let resolved =
            || (text, 0).to_socket_addrs().ok()?.map(|found| found.ip()).min_by_key(IpAddr::is_ipv6);
        let address = text.parse().ok().or_else(resolved);
        address.map(Self).ok_or_else(|| format!("`{text}` is neither an address nor a name of this machine"))
    }
}

impl TryFrom<String> for Bind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Where the status page is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Http {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

impl FromStr for Http {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            address => address
                .parse()
                .map(Self::At)
                .map_err(|_| format!("`{address}` is neither ADDR:PORT nor `off`")),
        }
    }
}

impl TryFrom<String> for Http {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// All settings. `Config::default()` is `voxwire-server` without flags.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which protocols.
    pub only: Vec<Protocol>,
    /// The address to listen on.
    pub bind: IpAddr,
    /// Where things are kept.
    pub data: PathBuf,
    /// The status page; `Wanted::IfFree` does without if the port is in use.
    pub http: Wanted,
    /// Connections to the status page at a time: 64; for one more, the oldest goes of the address that has most.
    pub http_connections: usize,
    /// How long a request of the status page and its answer may take together: 10 s.
    pub http_deadline: Duration,
    /// Control by operators: off.
    pub control: ControlSettings,
    /// Certificate chain and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether secrets may travel in the clear beyond loopback.
    pub allow_plain: bool,
    /// Voice in the clear is neither sent nor accepted.
    pub encrypted_only: bool,
    /// Safe, or as the originals: for the protocols whose own settings do not say.
    pub profile: Profile,
    /// Addresses that stand for many people (TLS terminators, gateways): exempt from limits per address, as loopback is.
    pub proxies: Vec<IpAddr>,
    /// How long to say goodbye at the end.
    pub drain: Duration,
    /// How long a connection that is being closed has for what is queued for it: 10 s.
    pub close: Duration,
    /// Connections in all, for each protocol.
    pub connections: usize,
    /// Memory that the server may take, in MiB: 512. What waits, has not come in whole or is kept for reuse has most of it, each protocol
    /// that is served a part of its own.
    pub memory: usize,
    /// Descriptors for the connections of all protocols together, which share them as they need them; `None` where there are enough.
    /// See [`descriptors::fit`](crate::descriptors::fit).
    pub descriptors: Option<usize>,
    /// Connections from one address; loopback is exempt.
    pub per_address: usize,
    /// UDP sockets at each address that is served by TCP and UDP; 0 for one for each core, 8 at most.
    pub udp_sockets: usize,
    /// What is logged.
    pub log: LevelFilter,
    /// How it is logged.
    pub log_format: LogFormat,
    /// The settings of each protocol: see [`of`](Self::of).
    pub sections: Sections,
    /// What was read, to be compared with what is read later: see [`differences`](Self::differences).
    pub source: Source,
}

/// The settings that were given, by the file and the environment. Shows none, as some are secrets.
#[derive(Clone, Default)]
pub struct Source(toml::Table);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// The status page's address, and how serious it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// No status page.
    No,
    /// There, if nothing else is.
    IfFree(SocketAddr),
    /// There, or the server does not start.
    At(SocketAddr),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            only: Protocol::all().collect(),
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            data: "voxwire-data".into(),
            http: Wanted::IfFree(DEFAULT_HTTP),
            http_connections: 64,
            http_deadline: Duration::from_secs(10),
            control: ControlSettings::default(),
            tls: None,
            allow_plain: false,
            encrypted_only: false,
            profile: Profile::Safe,
            proxies: Vec::new(),
            drain: Duration::from_secs(10),
            close: HubSettings::DEFAULT.close_timeout,
            connections: 20_000,
            memory: 512,
            descriptors: None,
            per_address: 256,
            udp_sockets: 0,
            log: LevelFilter::INFO,
            log_format: LogFormat::Text,
            sections: Sections::default(),
            source: Source::default(),
        }
    }
}

impl Config {
    /// The settings of one protocol, such as [`Voicelink`](crate::Voicelink).
    #[allow(private_bounds, reason = "sealed: the protocols are those of this crate")]
    pub fn of<P: Section>(&self) -> &P {
        self.sections.get()
    }

    /// The settings of one protocol, to change.
    #[allow(private_bounds, reason = "sealed: the protocols are those of this crate")]
    pub fn of_mut<P: Section>(&mut self) -> &mut P {
        self.sections.get_mut()
    }

    /// Any free port will do, for each protocol: for tests and demonstrations.
    pub fn use_free_ports(&mut self) {
        self.sections.use_free_ports();
    }

    /// The settings of the protocol of this name.
    pub(crate) fn section(&self, protocol: Protocol) -> &dyn Section {
        self.sections.of(protocol)
    }

    /// The defaults, changed by the file that the flags or the environment name, by the environment, and by the flags, in this order.
    ///
    /// # Errors
    /// The file cannot be read or understood, or the settings make no sense together.
    pub fn from_flags(flags: &Flags) -> Result<Self, Error> {
        let mut config = Self::default();
        let mut table = toml::Table::new();
        let named = std::env::var_os("VOXWIRE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = flags.config.clone().or(named) {
            let text =
                std::fs::read_to_string(&path).map_err(|error| Error::File { path: path.clone(), error })?;
            config.read(&text, &path)?;
            // It has been read once.
            table = toml::from_str(&text).unwrap_or_default();
        }
        config.overlay(table, &flags.protocols)?;
        config.apply_flags(flags)?;
        config.check()?;
        Ok(config)
    }

    /// Changes the settings by the environment, and those of the protocols by their flags. `table` is what the file says.
    fn overlay(&mut self, mut table: toml::Table, flags: &protocols::Flags) -> Result<(), Error> {
        let mut given = given::environment(settings())?;
        let top = |given: &&Given| given.section.is_none();
        if given.iter().filter(top).any(|given| given.key == "profile") {
            // One for all of them, which the sections of the file do not change.
            self.sections.forget_profiles();
            for (_, section) in &mut table {
                section.as_table_mut().map(|section| section.remove("profile"));
            }
        }
        let mut file = toml::Table::new();
        self.apply(given::overlay(&mut file, given.iter().filter(top))?, "the environment")?;
        table.extend(file);
        given.extend(self.sections.flags(flags));
        self.sections.overlay(&mut table, &given)?;
        self.source = Source(table);
        Ok(())
    }

    fn apply_flags(&mut self, flags: &Flags) -> Result<(), Error> {
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

    /// The settings that differ from `other`, as the file and the environment say them.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (Source(ours), Source(theirs)) = (&self.source, &other.source);
        let none = toml::Table::new();
        let mut changed = Vec::new();
        for (section, key) in settings() {
            let [one, two] = [ours, theirs].map(|table| match section {
                None => table.get(key),
                Some(section) => table.get(section).and_then(toml::Value::as_table).unwrap_or(&none).get(key),
            });
            if one != two {
                changed.push(section.map_or_else(|| key.to_owned(), |section| format!("{section}.{key}")));
            }
        }
        changed
    }

    /// Where safe defaults and what original programs do differ: the protocol's own setting, or else the one for all. Some protocols have
    /// no such difference.
    pub fn profile_of(&self, protocol: Protocol) -> Profile {
        self.section(protocol).profile().unwrap_or(self.profile)
    }

    /// Changes the settings by the text of a file.
    pub(crate) fn read(&mut self, text: &str, path: &Path) -> Result<(), Error> {
        let wrong = |error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
            let line = before.matches('\n').count() + 1;
            // In the words of a file of settings.
            let what = given::readable(error.message());
            Error::Config { path: path.into(), line, what }
        };
        let mut table = DeTable::parse(text).map_err(wrong)?;
        let take = |name: &str| table.get_mut().remove(name).map(ValueDeserializer::from);
        self.sections.apply_file(take).map_err(wrong)?;
        let file = File::deserialize(Deserializer::from(table)).map_err(|error| {
            // What serde knows of are the settings outside the sections.
            let sections: Vec<&str> = Protocol::all().map(Protocol::name).collect();
            let hint = format!(", or one of the sections `{}`", sections.join("`, `"));
            let is_name = error.message().starts_with("unknown field");
            match wrong(error) {
                Error::Config { path, line, what } if is_name => {
                    Error::Config { path, line, what: what + &hint }
                }
                error => error,
            }
        })?;
        self.tls = None;
        self.apply(file, &path.display().to_string())
    }

    /// Changes the settings by what `source` says outside of the sections.
    fn apply(&mut self, file: File, source: &str) -> Result<(), Error> {
        set(&mut self.only, file.only);
        set(&mut self.bind, file.bind.map(|Bind(address)| address));
        set(&mut self.data, file.data);
        set(&mut self.http, file.http.map(Wanted::from));
        set(&mut self.http_connections, file.http_connections);
        set(&mut self.http_deadline, file.http_seconds.map(Duration::from_secs));
        set(&mut self.control.token_file, file.control_token_file.map(Some));
        set(&mut self.control.socket, file.control_socket.map(Some));
        set(&mut self.control.webhooks, file.control_webhooks);
        set(&mut self.control.say_as, file.control_say_as);
        set(&mut self.allow_plain, file.allow_plain);
        set(&mut self.encrypted_only, file.encrypted_only);
        set(&mut self.profile, file.profile);
        set(&mut self.proxies, file.proxies);
        set(&mut self.drain, file.drain_seconds.map(Duration::from_secs));
        set(&mut self.close, file.close_seconds.map(Duration::from_secs));
        set(&mut self.connections, file.connections);
        set(&mut self.memory, file.memory);
        set(&mut self.per_address, file.per_address);
        set(&mut self.udp_sockets, file.udp_sockets);
        set(&mut self.log, file.log.map(|LogLevel(level)| level));
        set(&mut self.log_format, file.log_format);
        match (file.tls_cert, file.tls_key) {
            (None, None) => {}
            (Some(cert), Some(key)) => self.tls = Some((cert, key)),
            _ => return Err(Error::Usage(format!("{source}: tls-cert and tls-key belong together"))),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        within("http-connections", self.http_connections, HTTP_CONNECTIONS)
            .and_then(|()| within("memory", self.memory, memory::RANGE))
            .and_then(|()| within("http-seconds", self.http_deadline.as_secs(), SECONDS))
            .and_then(|()| within("drain-seconds", self.drain.as_secs(), SECONDS))
            .and_then(|()| within("close-seconds", self.close.as_secs(), SECONDS))
            .and_then(|()| within("connections", self.connections, CONNECTIONS))
            .and_then(|()| within("per-address", self.per_address, CONNECTIONS))
            .and_then(|()| within("udp-sockets", self.udp_sockets, UDP_SOCKETS))
            .map_err(Error::Usage)?;
        self.check_control()?;
        for (protocol, section) in self.sections.iter() {
            let name = protocol.name();
            section.check(self).map_err(|why| Error::Usage(format!("{name}: {why}")))?;
        }
        if self.encrypted_only {
            self.check_encrypted()?;
        }
        let plain = !self.bind.is_loopback() && self.tls.is_none() && !self.allow_plain;
        for protocol in self.only.iter().filter(|_| plain) {
            if let Some(what) = self.section(*protocol).secrets() {
                let (name, bind) = (protocol.name(), self.bind);
                let advice = "use --tls-cert and --tls-key, or say --allow-plain";
                return Err(Error::Usage(format!(
                    "{name}: {what} would travel in the clear on {bind}: {advice}"
                )));
            }
        }
        Ok(())
    }
}

impl Config {
    /// How many UDP sockets an address has: as many as are set, or one for each core, but no more than 8.
    pub(crate) fn udp_sockets(&self) -> usize {
        match self.udp_sockets {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8)),
            sockets => sockets,
        }
    }

    fn check_control(&self) -> Result<(), Error> {
        self.control.check().map_err(|why| Error::Usage(format!("control: {why}")))?;
        if !self.control.has_tokens() {
            return Ok(());
        }
        match self.http.address() {
            None => Err(Error::Usage(
                "control: the HTTP API is served beside the status page: use http, or only the socket".into(),
            )),
            Some(address) if !address.ip().is_loopback() && !self.allow_plain => Err(Error::Usage(format!(
                "control: the token would travel in the clear on {address}: put a TLS terminator before the status page, \
                 or say --allow-plain"
            ))),
            Some(_) => Ok(()),
        }
    }

    /// Whether nothing has to go in the clear.
    fn check_encrypted(&self) -> Result<(), Error> {
        for protocol in &self.only {
            if let Some(why) = self.section(*protocol).never_encrypted() {
                let advice = "leave it out with --only, or do without encrypted-only";
                return Err(Error::Usage(format!("{}: {why}: {advice}", protocol.name())));
            }
        }
        let needs = |protocol: &Protocol| self.section(*protocol).needs_certificate();
        if self.tls.is_none() && self.only.iter().any(needs) {
            return Err(Error::Usage("encrypted-only needs --tls-cert and --tls-key".into()));
        }
        Ok(())
    }

    /// What an operator should know who has bound the server beyond loopback: a line for each protocol of which strangers can hear
    /// something, or where they can simply come in.
    pub fn warnings(&self) -> Vec<String> {
        if self.bind.is_loopback() {
            return Vec::new();
        }
        let warning = |protocol: &Protocol| {
            let section = self.section(*protocol);
            let said: Vec<&str> = section.open().into_iter().chain(section.clear(self)).collect();
            (!said.is_empty()).then(|| format!("{} on {}: {}", protocol.name(), self.bind, said.join("; ")))
        };
        self.only.iter().filter_map(warning).collect()
    }
}

impl From<Http> for Wanted {
    fn from(http: Http) -> Self {
        match http {
            Http::Off => Self::No,
            Http::At(address) => Self::At(address),
        }
    }
}

/// A number of seconds in the file.
pub(crate) fn seconds<'de, D: de::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// A number of milliseconds in the file.
pub(crate) fn millis<'de, D: de::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// Whether a setting is in its range.
pub(crate) fn within<T: PartialOrd + fmt::Display>(
    name: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(format!("{name} {value}: {} to {} expected", range.start(), range.end())),
    }
}

/// Every setting, with its section if it is in one.
pub(crate) fn settings() -> impl Iterator<Item = (Option<&'static str>, &'static str)> {
    let top = given::fields_of::<File>().iter().map(|key| (None, *key));
    top.chain(protocols::keys().map(|(section, key)| (Some(section), key)))
}

/// Variables of the environment that look like settings of this program and are none.
pub fn unknown_variables() -> Vec<String> {
    given::unknown_variables(settings())
}

/// Changes a setting if something is said of it.
pub(crate) fn set<T>(to: &mut T, from: Option<T>) {
    if let Some(from) = from {
        *to = from;
    }
}

/// The file without the sections of the protocols. Every entry is optional, unknown ones are errors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    only: Option<Vec<Protocol>>,
    bind: Option<Bind>,
    data: Option<PathBuf>,
    http: Option<Http>,
    http_connections: Option<usize>,
    http_seconds: Option<u64>,
    control_token_file: Option<PathBuf>,
    control_socket: Option<PathBuf>,
    control_webhooks: Option<Vec<String>>,
    control_say_as: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    allow_plain: Option<bool>,
    encrypted_only: Option<bool>,
    profile: Option<Profile>,
    proxies: Option<Vec<IpAddr>>,
    drain_seconds: Option<u64>,
    close_seconds: Option<u64>,
    connections: Option<usize>,
    memory: Option<usize>,
    per_address: Option<usize>,
    udp_sockets: Option<usize>,
    log: Option<LogLevel>,
    log_format: Option<LogFormat>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::{Dissonance, Msgpack, Opcode, Voicelink};
    use std::collections::BTreeMap;

    /// F-13: of two spellings of one name neither takes the other's place without a word.
    #[test]
    fn f_13_two_spellings_of_one_name_are_refused() {
        let table: BTreeMap<String, String> =
            ["Zo\u{eb}", "Zoe\u{308}", "bob"].map(|name| (name.into(), "geheim".into())).into();
        let tls = Some(("cert".into(), "key".into()));
        let good = Config { tls, ..Config::default() };
        assert!(good.check().is_ok());
        let configs = [(); 3].map(|()| good.clone());
        let [mut voicelink, mut opcode, mut msgpack] = configs;
        voicelink.of_mut::<Voicelink>().secrets = table.clone();
        opcode.of_mut::<Opcode>().secrets = table.clone();
        msgpack.of_mut::<Msgpack>().accounts = table;
        for (what, config) in [("voicelink", &voicelink), ("opcode", &opcode), ("msgpack", &msgpack)] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("are one name"), "{error}");
            assert!(error.contains("\\u{eb}") && error.contains("\\u{308}"), "{error}");
        }
        // In the original they are two.
        msgpack.of_mut::<Msgpack>().profile = Some(Profile::Original);
        assert!(msgpack.check().is_ok());
    }

    /// F-14: an operator who binds beyond loopback is told once for each protocol what any client can do.
    #[test]
    fn f_14_beyond_loopback_there_is_a_warning_for_each_protocol_that_is_open_or_in_the_clear() {
        assert!(Config::default().warnings().is_empty());
        let exposed = Config { bind: "0.0.0.0".parse().unwrap(), ..Config::default() };
        let warnings = exposed.warnings();
        assert_eq!(warnings.len(), Protocol::all().count(), "{warnings:?}");
        assert!(warnings.iter().any(|line| line.starts_with("dissonance on 0.0.0.0: any client can join")));
        assert!(warnings.iter().any(|line| line.starts_with("syfala") && line.contains("in the clear")));
        // TLS covers what goes by TCP.
        let tls = Some(("cert".into(), "key".into()));
        let only = vec![Protocol::MSGPACK, Protocol::DISSONANCE];
        let mut covered = Config { tls, only, ..exposed };
        covered.of_mut::<Dissonance>().token = Some("sesame".into());
        let warnings = covered.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("UDP"), "{warnings:?}");
        let encrypted = Config { encrypted_only: true, ..covered };
        assert!(encrypted.warnings().is_empty() && encrypted.check().is_ok());
        // And what cannot be encrypted is refused.
        for config in [
            Config { tls: None, ..encrypted.clone() },
            Config { only: vec![Protocol::OPCODE], ..encrypted.clone() },
            Config { only: vec![Protocol::SYFALA], ..encrypted.clone() },
        ] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains("encrypted-only"), "{error}");
        }
    }
}
