//! Settings: defaults, then the file, then the flags. Both have the same names.

use crate::protocols::{self, Protocol, Section, Sections};
use crate::{Error, MakeCertificate, memory};
use clap::Parser;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::str::FromStr;
use core::time::Duration;
use serde::{Deserialize, de};
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, Deserializer, ValueDeserializer};
use tracing_subscriber::filter::LevelFilter;

/// Where the status page is unless something else is said.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4280);

/// More are of no use to a status page; each may take some 20 KiB.
const MAX_HTTP_CONNECTIONS: usize = 4096;

/// voxwire's server: voice and chat protocols in one process.
///
/// Without flags it serves every protocol on loopback. When ready it has printed a line `listening PROTOCOL TRANSPORT
/// ADDR:PORT` for each listener, and then `ready`. SIGINT or SIGTERM: every client is told, then it ends. SIGHUP: the files of
/// certificates are read again.
#[derive(Debug, Clone, Parser)]
#[command(name = "voxwire-server", version, args_conflicts_with_subcommands = true)]
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
    /// `safe`, or `original`: where safe defaults differ from what original programs do, do as they do.
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// What to log on standard error: off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    pub log: LevelFilter,
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
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "off, error, warn, info, debug or trace expected".into())
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
    /// The settings of each protocol: see [`of`](Self::of).
    pub sections: Sections,
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
            tls: None,
            allow_plain: false,
            encrypted_only: false,
            profile: Profile::Safe,
            proxies: Vec::new(),
            drain: Duration::from_secs(10),
            connections: 20_000,
            memory: 512,
            descriptors: None,
            per_address: 256,
            sections: Sections::default(),
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

    /// The defaults, changed by the file that the flags name, changed by the flags.
    ///
    /// # Errors
    /// The file cannot be read or understood, or the settings make no sense together.
    pub fn from_flags(flags: &Flags) -> Result<Self, Error> {
        let mut config = Self::default();
        if let Some(path) = &flags.config {
            let text =
                std::fs::read_to_string(path).map_err(|error| Error::File { path: path.clone(), error })?;
            config.read(&text, path)?;
        }
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
        if let Some(profile) = profile {
            config.profile = profile;
            // The flag is for all of them.
            config.sections.forget_profiles();
        }
        config.tls = tls_cert.zip(tls_key).or(config.tls);
        config.allow_plain |= flags.allow_plain;
        config.encrypted_only |= flags.encrypted_only;
        config.check()?;
        Ok(config)
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
            let what = error.message().replace("expected u16", "expected a number from 0 to 65535");
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
        set(&mut self.only, file.only);
        set(&mut self.bind, file.bind.map(|Bind(address)| address));
        set(&mut self.data, file.data);
        set(&mut self.http, file.http.map(Wanted::from));
        set(&mut self.http_connections, file.http_connections);
        set(&mut self.http_deadline, file.http_seconds.map(Duration::from_secs));
        set(&mut self.allow_plain, file.allow_plain);
        set(&mut self.encrypted_only, file.encrypted_only);
        set(&mut self.profile, file.profile);
        set(&mut self.proxies, file.proxies);
        set(&mut self.drain, file.drain_seconds.map(Duration::from_secs));
        set(&mut self.connections, file.connections);
        set(&mut self.memory, file.memory);
        set(&mut self.per_address, file.per_address);
        self.tls = match (file.tls_cert, file.tls_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert, key)),
            _ => {
                return Err(Error::Usage(format!(
                    "{}: tls-cert and tls-key belong together",
                    path.display()
                )));
            }
        };
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_HTTP_CONNECTIONS).contains(&self.http_connections) {
            return Err(Error::Usage(format!(
                "http-connections {}: 1 to {MAX_HTTP_CONNECTIONS} expected",
                self.http_connections
            )));
        }
        if !memory::RANGE.contains(&self.memory) {
            let (least, most) = (memory::RANGE.start(), memory::RANGE.end());
            return Err(Error::Usage(format!("memory {}: {least} to {most} (MiB) expected", self.memory)));
        }
        if self.http_deadline.is_zero() {
            return Err(Error::Usage("http-seconds 0: at least 1 expected".into()));
        }
        if self.drain < Duration::from_secs(1) {
            return Err(Error::Usage("drain-seconds 0: at least 1 expected".into()));
        }
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
    /// Whether nothing has to go in the clear.
    fn check_encrypted(&self) -> Result<(), Error> {
        for protocol in &self.only {
            if let Some(why) = self.section(*protocol).never_encrypted() {
                let advice = "leave it out with --only, or do without encrypted-only";
                return Err(Error::Usage(format!("{}: {why}: {advice}", protocol.name())));
            }
        }
        if self.tls.is_none() {
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
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    allow_plain: Option<bool>,
    encrypted_only: Option<bool>,
    profile: Option<Profile>,
    proxies: Option<Vec<IpAddr>>,
    drain_seconds: Option<u64>,
    connections: Option<usize>,
    memory: Option<usize>,
    per_address: Option<usize>,
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
