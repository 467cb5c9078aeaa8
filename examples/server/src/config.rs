//! Settings: defaults, then the file, then the environment, then the flags. All have the same names.

mod check;
mod file;
mod flags;
mod general;
mod values;

use crate::Error;
use crate::control::ControlSettings;
use crate::logging::LogFormat;
use crate::protocols::{Protocol, Section, Sections};
use crate::recording::RecordingSettings;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
pub(crate) use file::settings;
pub use file::unknown_variables;
pub use flags::{Command, Flags};
use std::path::PathBuf;
use tracing_subscriber::filter::LevelFilter;
pub use values::{Http, Profile, Wanted};
pub(crate) use values::{millis, seconds, set, within};
use voxwire_transport::HubSettings;

/// Where the status page is unless something else is said.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4280);

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
    /// What is kept of recordings, and who is told of them.
    pub recording: RecordingSettings,
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

impl Default for Config {
    fn default() -> Self {
        Self {
            only: Protocol::all().collect(),
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            data: "voxwire-data".into(),
            http: Wanted::IfFree(DEFAULT_HTTP),
            http_connections: 64,
            http_deadline: Duration::from_secs(10),
            recording: RecordingSettings::default(),
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
        config.control.read_environment();
        config.check()?;
        Ok(config)
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

    /// How many UDP sockets an address has: as many as are set, or one for each core, but no more than 8.
    pub(crate) fn udp_sockets(&self) -> usize {
        match self.udp_sockets {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8)),
            sockets => sockets,
        }
    }
}
