//! The settings of voicelink.

use super::start;
use crate::Error;
use crate::config::{Config, seconds, within};
use crate::memory::Part;
use crate::names::{check_spellings, quoted};
use crate::protocols::{Hosted, NoFlags, Protocol, Section};
use crate::service::{Ports, Service};
use core::net::IpAddr;
use core::time::Duration;
use serde::Deserialize;
use std::collections::BTreeMap;
use voxwire_voicelink::{ByteOrder, DEFAULT_PORT, check_name};

impl Protocol {
    /// TCP calls through an intermediary, raw PCM.
    pub const VOICELINK: Self = Self::of::<Voicelink>();
}

/// The settings of voicelink.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
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
    #[serde(rename = "answer-seconds", deserialize_with = "seconds")]
    pub answer: Duration,
    /// How long a client may stay that has no name and no call.
    #[serde(rename = "idle-seconds", deserialize_with = "seconds")]
    pub idle: Duration,
    /// How long a call may be silent.
    #[serde(rename = "idle-call-seconds", deserialize_with = "seconds")]
    pub idle_call: Duration,
    /// Answer calls to unknown users like calls to busy ones.
    pub hide_unknown: bool,
    /// Forward a call with the callee's own name, as received.
    pub forward_callee_name: bool,
    /// Whether a call to `echo` lets a client hear itself; no client gets that name then.
    pub echo: bool,
    /// Clients whose calls are recorded.
    pub record_names: Vec<String>,
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
            echo: true,
            record_names: Vec::new(),
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

/// In seconds.
const WEEK: u64 = 7 * 24 * 60 * 60;

impl Hosted for Voicelink {
    const NAME: &'static str = "voicelink";
    const ABOUT: &'static str = "TCP calls through an intermediary, raw PCM";
    const TRANSPORTS: &'static str = "TCP";
    const DEFAULT_PORT: u16 = DEFAULT_PORT;
    type Flags = NoFlags;
}

impl Section for Voicelink {
    fn check(&self, _config: &Config) -> Result<(), String> {
        check_spellings("the secrets", &self.secrets)?;
        within("answer-seconds", self.answer.as_secs(), 1..=3600)?;
        within("idle-seconds", self.idle.as_secs(), 1..=WEEK)?;
        within("idle-call-seconds", self.idle_call.as_secs(), 1..=WEEK)?;
        let Self { names, secrets, block, .. } = self;
        let blocked = block.iter().flat_map(|(callee, callers)| callers.iter().chain([callee]));
        for name in names.values().map(|fixed| &fixed.name).chain(secrets.keys()).chain(blocked) {
            if let Err(error) = check_name(name.as_bytes()) {
                return Err(format!("the name {} will not do: {error}", quoted(name)));
            }
        }
        match secrets.iter().find(|(_, secret)| secret.is_empty() || secret.contains('\0')) {
            Some((name, _)) => Err(format!("the secret of {} is empty or holds a NUL", quoted(name))),
            None => Ok(()),
        }
    }

    fn secrets(&self) -> Option<&'static str> {
        (!self.secrets.is_empty()).then_some("secrets")
    }

    fn open(&self) -> Option<&'static str> {
        let open = self.secrets.is_empty() && self.names.is_empty();
        open.then_some("any client can take any name, as no secrets are set")
    }

    fn port(&mut self) -> &mut u16 {
        &mut self.port
    }

    fn memory(&self) -> Part {
        Part { queued: 24, partial: 16, pooled: 5, quic: 0 }
    }

    fn start(&self, config: &Config, ports: &mut Ports<'_>) -> Result<Box<dyn Service>, Error> {
        let listener = ports.tcp(Self::NAME, self.port)?;
        Ok(Box::new(start(config, self, listener, ports.control(), ports.tap(Protocol::VOICELINK))?))
    }
}
