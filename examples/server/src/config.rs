//! Settings: defaults, then the file, then the flags. Both have the same names.

mod msgpack;
mod syfala;

use crate::names::{one_name_twice, quoted};
use crate::{Error, memory};
use clap::Parser;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::str::FromStr;
use core::time::Duration;
pub use msgpack::Msgpack;
use msgpack::MsgpackFile;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syfala::SyfalaFile;
pub use syfala::{Syfala, SyfalaSound, sample_type};
use tracing_subscriber::filter::LevelFilter;
use voxwire_voicelink::{ByteOrder, DEFAULT_PORT, check_name};

/// Where the status page is unless something else is said.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4280);

/// More are of no use to a status page; each may take some 20 KiB.
const MAX_HTTP_CONNECTIONS: usize = 4096;

/// Dissonance over QUIC.
pub const DEFAULT_QUIC_PORT: u16 = 4245;

/// voxwire's server: voice and chat protocols in one process.
///
/// Without flags it serves every protocol on loopback. When ready it has printed a line `listening PROTOCOL TRANSPORT
/// ADDR:PORT` for each listener, and then `ready`. SIGINT or SIGTERM: everybody is told, then it ends.
#[derive(Debug, Clone, Parser)]
#[command(name = "voxwire-server", version)]
pub struct Flags {
    /// Serve only these protocols, separated by commas.
    #[arg(long, value_name = "P[,P..]", value_delimiter = ',')]
    only: Option<Vec<Protocol>>,
    /// Read settings from a TOML file; flags win over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on this address [default: 127.0.0.1].
    #[arg(long, value_name = "ADDR")]
    bind: Option<IpAddr>,
    /// Where protocols that keep something keep it [default: voxwire-data]. Made when first needed.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// TCP port for voicelink; 0 takes any free one [default: 4240].
    #[arg(long, value_name = "N")]
    voicelink_port: Option<u16>,
    /// TCP port for opcode; 0 takes any free one [default: 4241].
    #[arg(long, value_name = "N")]
    opcode_port: Option<u16>,
    /// Carry opcode's calls, so that callers and callees see the server's address alone: this one, by which clients reach it;
    /// or two, one for IPv4 and one for IPv6.
    #[arg(long, value_name = "ADDR[,ADDR]", value_delimiter = ',')]
    opcode_relay: Option<Vec<IpAddr>>,
    /// TCP port for msgpack; 0 takes any free one [default: 4242].
    #[arg(long, value_name = "N")]
    msgpack_port: Option<u16>,
    /// TCP and UDP port for dissonance; 0 takes any that is free [default: 4244].
    #[arg(long, value_name = "N")]
    dissonance_port: Option<u16>,
    /// UDP port for dissonance over QUIC; 0 takes any that is free [default: 4245].
    #[arg(long, value_name = "N")]
    dissonance_quic_port: Option<u16>,
    /// UDP port for syfala; 0 takes any free one [default: 6911].
    #[arg(long, value_name = "N")]
    syfala_port: Option<u16>,
    /// What the clients of syfala's device hear: `mix`, each other; `echo`, themselves; or a WAV, FLAC or OGG file [default: mix].
    #[arg(long, value_name = "WHAT")]
    syfala_sound: Option<String>,
    /// Do without QUIC.
    #[arg(long, conflicts_with = "dissonance_quic_port")]
    no_quic: bool,
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
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "off, error, warn, info, debug or trace expected".into())
}

/// A protocol of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP calls through an intermediary, raw PCM.
    Voicelink,
    /// Log-in, contacts and calls over TCP, Opus voice straight between two clients.
    Opcode,
    /// Accounts, chat, groups, voice messages and group calls, over ZeroMQ or plain TCP.
    Msgpack,
    /// Voice chat for games: rooms and direct speech, over TCP and UDP.
    Dissonance,
    /// Discovery and real-time audio for devices, over UDP: a device made of software.
    Syfala,
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
    /// The settings of voicelink.
    pub voicelink: Voicelink,
    /// The settings of opcode.
    pub opcode: Opcode,
    /// The settings of msgpack.
    pub msgpack: Msgpack,
    /// The settings of Dissonance.
    pub dissonance: Dissonance,
    /// The settings of syfala.
    pub syfala: Syfala,
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

/// The settings of voicelink.
#[derive(Debug, Clone)]
pub struct Voicelink {
    /// TCP port.
    pub port: u16,
    /// Names of clients that never register, by source address.
    pub names: BTreeMap<IpAddr, FixedName>,
    /// What has to be shown for a name.
    pub secrets: BTreeMap<String, String>,
    /// Whether only names with a secret can be registered.
    pub secrets_only: bool,
    /// Whose calls are not put through, by callee.
    pub block: BTreeMap<String, Vec<String>>,
    /// How long a call may ring.
    pub answer: Duration,
    /// How long a client may stay that has no name and no call.
    pub idle: Duration,
    /// How long a call may be silent.
    pub idle_call: Duration,
    /// Answer calls to unknown users like calls to busy ones.
    pub hide_unknown: bool,
    /// Forward a call with the callee's own name, as received.
    pub forward_callee_name: bool,
}

/// The settings of opcode.
#[derive(Debug, Clone)]
pub struct Opcode {
    /// TCP port.
    pub port: u16,
    /// Safe, or as the originals; `None` for what [`Config::profile`] says.
    pub profile: Option<Profile>,
    /// What has to be shown for a name: its owner logs in as `NAME:SECRET`.
    pub secrets: BTreeMap<String, String>,
    /// Whether only names with a secret can be taken.
    pub secrets_only: bool,
    /// Hand on the host that a caller names, rather than the one that is seen.
    pub trust_host: bool,
    /// Carry calls; the address by which clients reach the server, or one for IPv4 and one for IPv6.
    pub relay: Vec<IpAddr>,
    /// The first and the last port for calls carried; any free ones where this is not set.
    pub relay_ports: Option<(u16, u16)>,
}

impl Default for Opcode {
    fn default() -> Self {
        Self {
            port: voxwire_opcode::DEFAULT_PORT,
            profile: None,
            secrets: BTreeMap::new(),
            secrets_only: false,
            trust_host: false,
            relay: Vec::new(),
            relay_ports: None,
        }
    }
}

/// The settings of Dissonance.
#[derive(Debug, Clone)]
pub struct Dissonance {
    /// TCP and UDP port.
    pub port: u16,
    /// Safe, or as the originals; `None` for what [`Config::profile`] says.
    pub profile: Option<Profile>,
    /// The port for QUIC, if there is to be any.
    pub quic_port: Option<u16>,
    /// Rooms whose numbers are kept for them, so that no other name can take their place.
    pub rooms: Vec<String>,
    /// Whether there are no other rooms.
    pub rooms_only: bool,
    /// How many rooms one client may listen to.
    pub max_rooms: usize,
    /// What a client has to show before anything else.
    pub token: Option<String>,
}

impl Default for Dissonance {
    fn default() -> Self {
        Self {
            port: voxwire_dissonance::DEFAULT_PORT,
            profile: None,
            quic_port: Some(DEFAULT_QUIC_PORT),
            rooms: Vec::new(),
            rooms_only: false,
            max_rooms: voxwire_dissonance::ServerSettings::DEFAULT.max_rooms,
            token: None,
        }
    }
}

/// A name that belongs to an address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "NameEntry")]
pub struct FixedName {
    /// The name.
    pub name: String,
    /// In which byte order to ring a client that has not sent anything yet.
    pub order: Option<ByteOrder>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            only: vec![
                Protocol::Voicelink,
                Protocol::Opcode,
                Protocol::Msgpack,
                Protocol::Dissonance,
                Protocol::Syfala,
            ],
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
            voicelink: Voicelink::default(),
            opcode: Opcode::default(),
            msgpack: Msgpack::default(),
            dissonance: Dissonance::default(),
            syfala: Syfala::default(),
        }
    }
}

impl Default for Voicelink {
    fn default() -> Self {
        let session = voxwire_voicelink::ServerSettings::DEFAULT;
        Self {
            port: DEFAULT_PORT,
            names: BTreeMap::new(),
            secrets: BTreeMap::new(),
            secrets_only: false,
            block: BTreeMap::new(),
            answer: session.answer_timeout,
            idle: session.idle_timeout,
            idle_call: session.call_idle_timeout,
            hide_unknown: session.hide_unknown,
            forward_callee_name: session.forward_callee_name,
        }
    }
}

impl Config {
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
        let Flags {
            only,
            bind,
            data,
            voicelink_port,
            opcode_port,
            opcode_relay,
            msgpack_port,
            dissonance_port,
            dissonance_quic_port,
            syfala_port,
            syfala_sound,
            http,
            tls_cert,
            tls_key,
            profile,
            ..
        } = flags.clone();
        set(&mut config.only, only);
        // Named twice, served once.
        let mut seen = Vec::new();
        config.only.retain(|protocol| {
            !seen.contains(protocol) && {
                seen.push(*protocol);
                true
            }
        });
        set(&mut config.bind, bind);
        set(&mut config.data, data);
        set(&mut config.voicelink.port, voicelink_port);
        set(&mut config.opcode.port, opcode_port);
        set(&mut config.opcode.relay, opcode_relay);
        set(&mut config.msgpack.port, msgpack_port);
        set(&mut config.dissonance.port, dissonance_port);
        config.dissonance.quic_port =
            dissonance_quic_port.or(config.dissonance.quic_port).filter(|_| !flags.no_quic);
        set(&mut config.syfala.port, syfala_port);
        set(&mut config.syfala.sound, syfala_sound.map(SyfalaSound::from));
        set(&mut config.http, http.map(Wanted::from));
        if let Some(profile) = profile {
            config.profile = profile;
            // The flag is for all of them.
            config.opcode.profile = None;
            config.msgpack.profile = None;
            config.dissonance.profile = None;
        }
        config.tls = tls_cert.zip(tls_key).or(config.tls);
        config.allow_plain |= flags.allow_plain;
        config.encrypted_only |= flags.encrypted_only;
        config.check()?;
        Ok(config)
    }

    /// Where safe defaults and what original programs do differ: the protocol's own setting, or else the one for all. voicelink and
    /// syfala have no such difference.
    pub const fn profile_of(&self, protocol: Protocol) -> Profile {
        let own = match protocol {
            Protocol::Opcode => self.opcode.profile,
            Protocol::Msgpack => self.msgpack.profile,
            Protocol::Dissonance => self.dissonance.profile,
            Protocol::Voicelink | Protocol::Syfala => None,
        };
        match own {
            Some(profile) => profile,
            None => self.profile,
        }
    }

    /// Changes the settings by the text of a file.
    fn read(&mut self, text: &str, path: &Path) -> Result<(), Error> {
        let file: File = toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
            let line = before.matches('\n').count() + 1;
            // In the words of a file of settings.
            let what = error.message().replace("expected u16", "expected a number from 0 to 65535");
            Error::Config { path: path.into(), line, what }
        })?;
        let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        set(&mut self.only, file.only);
        set(&mut self.bind, file.bind);
        set(&mut self.data, file.data);
        set(&mut self.http, file.http.map(Wanted::from));
        set(&mut self.http_connections, file.http_connections);
        set(&mut self.http_deadline, seconds(file.http_seconds));
        set(&mut self.allow_plain, file.allow_plain);
        set(&mut self.encrypted_only, file.encrypted_only);
        set(&mut self.profile, file.profile);
        set(&mut self.proxies, file.proxies);
        set(&mut self.drain, seconds(file.drain_seconds));
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
        if let Some(file) = file.opcode {
            let opcode = &mut self.opcode;
            set(&mut opcode.port, file.port);
            opcode.profile = file.profile.or(opcode.profile);
            set(&mut opcode.secrets, file.secrets);
            set(&mut opcode.secrets_only, file.secrets_only);
            set(&mut opcode.trust_host, file.trust_host);
            set(&mut opcode.relay, file.relay.map(Into::into));
            opcode.relay_ports = file.relay_ports.map(Into::into).or(opcode.relay_ports);
        }
        if let Some(file) = file.dissonance {
            let dissonance = &mut self.dissonance;
            set(&mut dissonance.port, file.port);
            dissonance.profile = file.profile.or(dissonance.profile);
            dissonance.quic_port =
                file.quic_port.or(dissonance.quic_port).filter(|_| file.quic.unwrap_or(true));
            set(&mut dissonance.rooms, file.rooms);
            set(&mut dissonance.rooms_only, file.rooms_only);
            set(&mut dissonance.max_rooms, file.max_rooms);
            dissonance.token = file.token.or_else(|| dissonance.token.take());
        }
        if let Some(file) = file.msgpack {
            file.apply(&mut self.msgpack);
        }
        if let Some(file) = file.syfala {
            file.apply(&mut self.syfala);
        }
        let Some(file) = file.voicelink else { return Ok(()) };
        let voicelink = &mut self.voicelink;
        set(&mut voicelink.port, file.port);
        set(&mut voicelink.names, file.names);
        set(&mut voicelink.secrets, file.secrets);
        set(&mut voicelink.secrets_only, file.secrets_only);
        set(&mut voicelink.block, file.block);
        set(&mut voicelink.answer, seconds(file.answer_seconds));
        set(&mut voicelink.idle, seconds(file.idle_seconds));
        set(&mut voicelink.idle_call, seconds(file.idle_call_seconds));
        set(&mut voicelink.hide_unknown, file.hide_unknown);
        set(&mut voicelink.forward_callee_name, file.forward_callee_name);
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
        self.syfala.check()?;
        self.msgpack.check()?;
        // The original msgpack compares names byte by byte.
        let accounts =
            Some(&self.msgpack.accounts).filter(|_| self.profile_of(Protocol::Msgpack) == Profile::Safe);
        for (what, table) in [
            ("voicelink: the secrets", Some(&self.voicelink.secrets)),
            ("opcode: the secrets", Some(&self.opcode.secrets)),
            ("msgpack: the accounts", accounts),
        ] {
            if let Some((first, second)) = table.and_then(one_name_twice) {
                let [first, second] =
                    [first, second].map(|name| format!("{} ({})", quoted(name), name.escape_unicode()));
                return Err(Error::Usage(format!("{what} {first} and {second} are one name: leave one out")));
            }
        }
        let Voicelink { names, secrets, block, .. } = &self.voicelink;
        let blocked = block.iter().flat_map(|(callee, callers)| callers.iter().chain([callee]));
        for name in names.values().map(|fixed| &fixed.name).chain(secrets.keys()).chain(blocked) {
            if let Err(error) = check_name(name.as_bytes()) {
                return Err(Error::Usage(format!(
                    "voicelink: the name {} will not do: {error}",
                    quoted(name)
                )));
            }
        }
        if let Some((name, _)) = secrets.iter().find(|(_, secret)| secret.is_empty() || secret.contains('\0'))
        {
            return Err(Error::Usage(format!(
                "voicelink: the secret of {} is empty or holds a NUL",
                quoted(name)
            )));
        }
        for (name, secret) in &self.opcode.secrets {
            let whole = name.len().saturating_add(secret.len()).saturating_add(1);
            if let Err(error) = check_name(name.as_bytes()) {
                return Err(Error::Usage(format!("opcode: the name {} will not do: {error}", quoted(name))));
            }
            if name.contains(':') || secret.is_empty() || whole > 255 {
                let expected = "a name without a colon and a secret expected, together at most 254 bytes";
                return Err(Error::Usage(format!(
                    "opcode: the secret of {} will not do: {expected}",
                    quoted(name)
                )));
            }
        }
        if let Some((first, last)) =
            self.opcode.relay_ports.filter(|(first, last)| first > last || *first == 0)
        {
            return Err(Error::Usage(format!(
                "opcode: relay-ports {first} to {last}: the first, then the last expected"
            )));
        }
        if self.encrypted_only {
            self.check_encrypted()?;
        }
        let plain = !self.bind.is_loopback() && self.tls.is_none() && !self.allow_plain;
        let secrets = [
            (Protocol::Dissonance, self.dissonance.token.is_some(), "dissonance: the token"),
            (Protocol::Opcode, !self.opcode.secrets.is_empty(), "opcode: secrets"),
            (Protocol::Voicelink, !secrets.is_empty(), "voicelink: secrets"),
            (Protocol::Msgpack, true, "msgpack: passwords"),
        ];
        for (protocol, has_secrets, what) in secrets {
            if plain && has_secrets && self.only.contains(&protocol) {
                let bind = self.bind;
                let advice = "use --tls-cert and --tls-key, or say --allow-plain";
                return Err(Error::Usage(format!("{what} would travel in the clear on {bind}: {advice}")));
            }
        }
        Ok(())
    }
}

impl Config {
    /// Whether nothing has to go in the clear.
    fn check_encrypted(&self) -> Result<(), Error> {
        let never = [
            (Protocol::Opcode, "opcode: calls go in the clear between clients"),
            (Protocol::Syfala, "syfala: there is no encryption"),
        ];
        for (protocol, why) in never {
            if self.only.contains(&protocol) {
                let advice = "leave it out with --only, or do without encrypted-only";
                return Err(Error::Usage(format!("{why}: {advice}")));
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
        let (bind, tls) = (self.bind, self.tls.is_some());
        let clear = "what goes over it is in the clear, and whoever is on the way can hear and change it";
        let warning = |protocol: &Protocol| {
            let (name, open, clear) = match protocol {
                Protocol::Voicelink => {
                    let open = self.voicelink.secrets.is_empty() && self.voicelink.names.is_empty();
                    (
                        "voicelink",
                        open.then_some("anybody can take any name, as no secrets are set"),
                        (!tls).then_some(clear),
                    )
                }
                Protocol::Opcode => {
                    let open = self.opcode.secrets.is_empty();
                    (
                        "opcode",
                        open.then_some("anybody can take any name, as no secrets are set"),
                        (!tls).then_some(clear),
                    )
                }
                Protocol::Msgpack => ("msgpack", None, (!tls).then_some(clear)),
                Protocol::Dissonance => {
                    let open = self.dissonance.token.is_none();
                    let udp = "voice that goes by UDP is in the clear (encrypted-only refuses it)";
                    let clear = if tls { (!self.encrypted_only).then_some(udp) } else { Some(clear) };
                    ("dissonance", open.then_some("anybody can join, as no token is set"), clear)
                }
                Protocol::Syfala => ("syfala", None, Some(clear)),
            };
            let said: Vec<&str> = open.into_iter().chain(clear).collect();
            (!said.is_empty()).then(|| format!("{name} on {bind}: {}", said.join("; ")))
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

fn set<T>(to: &mut T, from: Option<T>) {
    if let Some(from) = from {
        *to = from;
    }
}

/// The file. Every entry is optional, unknown ones are errors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    only: Option<Vec<Protocol>>,
    bind: Option<IpAddr>,
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
    voicelink: Option<VoicelinkFile>,
    opcode: Option<OpcodeFile>,
    msgpack: Option<MsgpackFile>,
    dissonance: Option<DissonanceFile>,
    syfala: Option<SyfalaFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct OpcodeFile {
    port: Option<u16>,
    profile: Option<Profile>,
    secrets: Option<BTreeMap<String, String>>,
    secrets_only: Option<bool>,
    trust_host: Option<bool>,
    relay: Option<Addresses>,
    relay_ports: Option<[u16; 2]>,
}

/// One, or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Addresses {
    One(IpAddr),
    More(Vec<IpAddr>),
}

impl From<Addresses> for Vec<IpAddr> {
    fn from(addresses: Addresses) -> Self {
        match addresses {
            Addresses::One(address) => vec![address],
            Addresses::More(addresses) => addresses,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DissonanceFile {
    port: Option<u16>,
    profile: Option<Profile>,
    quic: Option<bool>,
    quic_port: Option<u16>,
    rooms: Option<Vec<String>>,
    rooms_only: Option<bool>,
    max_rooms: Option<usize>,
    token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct VoicelinkFile {
    port: Option<u16>,
    names: Option<BTreeMap<IpAddr, FixedName>>,
    secrets: Option<BTreeMap<String, String>>,
    secrets_only: Option<bool>,
    block: Option<BTreeMap<String, Vec<String>>>,
    answer_seconds: Option<u64>,
    idle_seconds: Option<u64>,
    idle_call_seconds: Option<u64>,
    hide_unknown: Option<bool>,
    forward_callee_name: Option<bool>,
}

/// `"bob"`, or `{ name = "bob", byte-order = "le" }`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NameEntry {
    Name(String),
    #[serde(rename_all = "kebab-case")]
    Full {
        name: String,
        byte_order: Option<Order>,
    },
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Be,
    Le,
}

impl From<NameEntry> for FixedName {
    fn from(entry: NameEntry) -> Self {
        match entry {
            NameEntry::Name(name) => Self { name, order: None },
            NameEntry::Full { name, byte_order } => {
                let order = byte_order.map(|order| match order {
                    Order::Be => ByteOrder::BigEndian,
                    Order::Le => ByteOrder::LittleEndian,
                });
                Self { name, order }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

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
        voicelink.voicelink.secrets = table.clone();
        opcode.opcode.secrets = table.clone();
        msgpack.msgpack.accounts = table;
        for (what, config) in [("voicelink", &voicelink), ("opcode", &opcode), ("msgpack", &msgpack)] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("are one name"), "{error}");
            assert!(error.contains("\\u{eb}") && error.contains("\\u{308}"), "{error}");
        }
        // In the original they are two.
        msgpack.msgpack.profile = Some(Profile::Original);
        assert!(msgpack.check().is_ok());
    }

    /// F-14: whoever binds beyond loopback hears once for each protocol what strangers can do.
    #[test]
    fn f_14_beyond_loopback_there_is_a_warning_for_each_protocol_that_is_open_or_in_the_clear() {
        assert!(Config::default().warnings().is_empty());
        let exposed = Config { bind: "0.0.0.0".parse().unwrap(), ..Config::default() };
        let warnings = exposed.warnings();
        assert_eq!(warnings.len(), 5, "{warnings:?}");
        assert!(warnings.iter().any(|line| line.starts_with("dissonance on 0.0.0.0: anybody can join")));
        assert!(warnings.iter().any(|line| line.starts_with("syfala") && line.contains("in the clear")));
        // TLS covers what goes by TCP.
        let tls = Some(("cert".into(), "key".into()));
        let only = vec![Protocol::Msgpack, Protocol::Dissonance];
        let mut covered = Config { tls, only, ..exposed };
        covered.dissonance.token = Some("sesame".into());
        let warnings = covered.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("UDP"), "{warnings:?}");
        let encrypted = Config { encrypted_only: true, ..covered };
        assert!(encrypted.warnings().is_empty() && encrypted.check().is_ok());
        // And what cannot be encrypted is refused.
        for config in [
            Config { tls: None, ..encrypted.clone() },
            Config { only: vec![Protocol::Opcode], ..encrypted.clone() },
            Config { only: vec![Protocol::Syfala], ..encrypted.clone() },
        ] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains("encrypted-only"), "{error}");
        }
    }
}
