//! The settings of opcode.

use super::start;
use crate::Error;
use crate::config::{Config, Profile, set};
use crate::memory::Part;
use crate::names::{check_spellings, quoted};
use crate::protocols::{Hosted, Protocol, Section};
use crate::service::{Ports, Service};
use core::net::IpAddr;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use voxwire_core::{canonical_name, check_name};
use voxwire_opcode::{DEFAULT_PORT, ECHO};

impl Protocol {
    /// Log-in, contacts and calls over TCP, Opus voice straight between two clients.
    pub const OPCODE: Self = Self::of::<Opcode>();
}

/// The settings of opcode.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
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
    #[serde(deserialize_with = "addresses")]
    pub relay: Vec<IpAddr>,
    /// The first and the last port for calls carried; any free ones where this is not set.
    pub relay_ports: Option<(u16, u16)>,
    /// Whether clients hear themselves in a call of the contact `echo`, a name that no client gets then.
    pub echo: bool,
    /// Clients whose calls are recorded, where the server carries them.
    pub record_names: Vec<String>,
}

impl Default for Opcode {
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            profile: None,
            secrets: BTreeMap::new(),
            secrets_only: false,
            trust_host: false,
            relay: Vec::new(),
            relay_ports: None,
            echo: true,
            record_names: Vec::new(),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct OpcodeFlags {
    /// Carry opcode's calls, so that callers and callees see the server's address alone: this one, by which clients reach it;
    /// or two, one for IPv4 and one for IPv6.
    #[arg(long, value_name = "ADDR[,ADDR]", value_delimiter = ',')]
    opcode_relay: Option<Vec<IpAddr>>,
}

/// One, or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Addresses {
    One(IpAddr),
    More(Vec<IpAddr>),
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    Ok(match Addresses::deserialize(deserializer)? {
        Addresses::One(address) => vec![address],
        Addresses::More(addresses) => addresses,
    })
}

impl Hosted for Opcode {
    const NAME: &'static str = "opcode";
    const ABOUT: &'static str =
        "Log-in, contacts and calls over TCP, Opus voice straight between two clients";
    const TRANSPORTS: &'static str = "TCP";
    const DEFAULT_PORT: u16 = DEFAULT_PORT;
    type Flags = OpcodeFlags;

    fn apply_flags(&mut self, flags: OpcodeFlags) {
        set(&mut self.relay, flags.opcode_relay);
    }
}

impl Section for Opcode {
    fn check(&self, _config: &Config) -> Result<(), String> {
        if self.echo && self.secrets.keys().any(|name| canonical_name(name) == ECHO) {
            return Err(
                "the name \"echo\" will not do: who calls it hears itself; rename it, or set echo = false"
                    .into(),
            );
        }
        check_spellings("the secrets", &self.secrets)?;
        for (name, secret) in &self.secrets {
            let whole = name.len().saturating_add(secret.len()).saturating_add(1);
            if let Err(error) = check_name(name.as_bytes()) {
                return Err(format!("the name {} will not do: {error}", quoted(name)));
            }
            if name.contains(':') || secret.is_empty() || whole > 255 {
                let expected = "a name without a colon and a secret expected, together at most 254 bytes";
                return Err(format!("the secret of {} will not do: {expected}", quoted(name)));
            }
        }
        match self.relay_ports {
            Some((first, last)) if first > last || first == 0 => {
                Err(format!("relay-ports {first} to {last}: the first, then the last expected"))
            }
            _ => Ok(()),
        }
    }

    fn profile(&self) -> Option<Profile> {
        self.profile
    }

    fn forget_profile(&mut self) {
        self.profile = None;
    }

    fn secrets(&self) -> Option<&'static str> {
        (!self.secrets.is_empty()).then_some("secrets")
    }

    fn never_encrypted(&self) -> Option<&'static str> {
        Some("calls go in the clear between clients")
    }

    fn open(&self) -> Option<&'static str> {
        self.secrets.is_empty().then_some("any client can take any name, as no secrets are set")
    }

    fn port(&mut self) -> &mut u16 {
        &mut self.port
    }

    fn memory(&self) -> Part {
        // A newcomer is told all names.
        Part { queued: 28, partial: 12, pooled: 5, quic: 0 }
    }

    fn descriptors(&self) -> usize {
        // Each call that is carried has a port of its own, with a listener.
        if self.relay.is_empty() { 1 } else { 2 }
    }

    fn start(&self, config: &Config, ports: &mut Ports<'_>) -> Result<Box<dyn Service>, Error> {
        let listener = ports.tcp(Self::NAME, self.port)?;
        Ok(Box::new(start(config, self, listener, ports.control(), ports.tap(Protocol::OPCODE))?))
    }
}
