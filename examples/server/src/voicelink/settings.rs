//! The settings of voicelink.

use super::start;
use crate::Error;
use crate::config::{Config, seconds, set};
use crate::memory::Part;
use crate::names::{check_spellings, quoted};
use crate::protocols::{Hosted, Protocol, Section};
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

#[derive(Debug, clap::Args)]
pub(crate) struct VoicelinkFlags {
    /// TCP port for voicelink; 0 takes any free one [default: 4240].
    #[arg(long, value_name = "N")]
    voicelink_port: Option<u16>,
}

/// The file's section. Every entry is optional, unknown ones are errors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct VoicelinkFile {
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

impl Hosted for Voicelink {
    const NAME: &'static str = "voicelink";
    const ABOUT: &'static str = "TCP calls through an intermediary, raw PCM";
    type Flags = VoicelinkFlags;
    type File = VoicelinkFile;

    fn apply_flags(&mut self, flags: VoicelinkFlags) {
        set(&mut self.port, flags.voicelink_port);
    }

    fn apply_file(&mut self, file: VoicelinkFile) {
        set(&mut self.port, file.port);
        set(&mut self.names, file.names);
        set(&mut self.secrets, file.secrets);
        set(&mut self.secrets_only, file.secrets_only);
        set(&mut self.block, file.block);
        set(&mut self.answer, seconds(file.answer_seconds));
        set(&mut self.idle, seconds(file.idle_seconds));
        set(&mut self.idle_call, seconds(file.idle_call_seconds));
        set(&mut self.hide_unknown, file.hide_unknown);
        set(&mut self.forward_callee_name, file.forward_callee_name);
    }
}

impl Section for Voicelink {
    fn check(&self, _config: &Config) -> Result<(), String> {
        check_spellings("the secrets", &self.secrets)?;
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
        open.then_some("anybody can take any name, as no secrets are set")
    }

    fn use_free_ports(&mut self) {
        self.port = 0;
    }

    fn memory(&self) -> Part {
        Part { queued: 24, partial: 16, pooled: 5, quic: 0 }
    }

    fn start(&self, config: &Config, ports: &mut Ports<'_>) -> Result<Box<dyn Service>, Error> {
        let listener = ports.tcp(Self::NAME, self.port)?;
        Ok(Box::new(start(config, self, listener)))
    }
}
