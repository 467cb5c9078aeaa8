//! The settings of msgpack.

use super::start;
use crate::Error;
use crate::config::{Config, Profile, seconds, within};
use crate::memory::Part;
use crate::names::{check_spellings, quoted};
use crate::protocols::{Hosted, NoFlags, Protocol, Section};
use crate::service::{Ports, Service};
use core::fmt;
use core::time::Duration;
use serde::Deserialize;
use std::collections::BTreeMap;
use voxwire_core::canonical_name;
use voxwire_msgpack::{DEFAULT_PORT, ECHO};

impl Protocol {
    /// Accounts, chat, groups, voice messages and group calls, over ZeroMQ or plain TCP.
    pub const MSGPACK: Self = Self::of::<Msgpack>();
}

/// The settings of msgpack: accounts, chat, groups and calls.
#[derive(Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Msgpack {
    /// TCP port.
    pub port: u16,
    /// Safe, or as the originals; `None` for what [`Config::profile`](crate::Config::profile) says.
    pub profile: Option<Profile>,
    /// Accounts that are made at the start if they are not there: name and password.
    pub accounts: BTreeMap<String, String>,
    /// Whether clients may make accounts themselves.
    pub register: bool,
    /// Keep messages for users who are away; the profile `original` never does.
    pub keep: bool,
    /// After how many days a message is dropped that no user has fetched: 30; 0 for never.
    pub keep_days: u32,
    /// After how many days a group with members is forgotten that no user has used: 60; 0 for never.
    pub group_days: u32,
    /// Whether users hear themselves in the call of a group `echo`, which no user can make then.
    pub echo: bool,
    /// Groups whose calls are recorded.
    pub record_groups: Vec<String>,
    /// Messages kept for one user; a quarter of them of one sender.
    pub max_kept: usize,
    /// Bytes of messages kept for one user; a quarter of them of one sender.
    pub max_kept_bytes: usize,
    /// Accounts in all.
    pub max_accounts: usize,
    /// Contacts of one user.
    pub max_contacts: usize,
    /// Size of the database, in bytes.
    pub max_database: u64,
    /// How long the log-in of a lost connection may be taken up again.
    #[serde(rename = "resume-seconds", deserialize_with = "seconds")]
    pub resume: Duration,
}

impl Default for Msgpack {
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            profile: None,
            accounts: BTreeMap::new(),
            register: true,
            keep: true,
            keep_days: 30,
            group_days: 60,
            echo: true,
            record_groups: Vec::new(),
            max_kept: 1000,
            // A quarter, which one sender may take, is a recording of the greatest length.
            max_kept_bytes: 64 * 1024 * 1024,
            max_accounts: 1_000_000,
            max_contacts: 1000,
            max_database: 4 * 1024 * 1024 * 1024,
            resume: voxwire_msgpack::ServerSettings::DEFAULT.resume_timeout,
        }
    }
}

/// Shows no password.
impl fmt::Debug for Msgpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, accounts, register, keep, .. } = self;
        let accounts: Vec<&String> = accounts.keys().collect();
        let mut shown = f.debug_struct("Msgpack");
        shown
            .field("port", port)
            .field("accounts", &accounts)
            .field("register", register)
            .field("keep", keep);
        shown.finish_non_exhaustive()
    }
}

/// Room for the tables and a little more.
const SMALLEST_DATABASE: u64 = 1024 * 1024;
/// A pebibyte.
const LARGEST_DATABASE: u64 = 1 << 50;
/// In days.
const CENTURY: u32 = 36_525;

impl Hosted for Msgpack {
    const NAME: &'static str = "msgpack";
    const ABOUT: &'static str =
        "Accounts, chat, groups, voice messages and group calls, over ZeroMQ or plain TCP";
    const TRANSPORTS: &'static str = "TCP";
    const DEFAULT_PORT: u16 = DEFAULT_PORT;
    type Flags = NoFlags;
}

impl Msgpack {
    /// Whether an account has a name that the server itself uses.
    fn check_reserved(&self, name: &str, config: &Config) -> Result<(), String> {
        let is_same = |other: &str| canonical_name(name) == canonical_name(other);
        let advice = if config.control.is_on() && is_same(&config.control.say_as) {
            "texts of operators come from that name: rename it, or set another control-say-as"
        } else if self.echo && is_same(ECHO) {
            "what users hear of themselves comes from that name: rename it, or set echo = false"
        } else {
            return Ok(());
        };
        Err(format!("the account {} will not do: {advice}", quoted(name)))
    }
}

impl Section for Msgpack {
    fn check(&self, config: &Config) -> Result<(), String> {
        if self.echo && config.control.is_on() && canonical_name(&config.control.say_as) == ECHO {
            let advice = "users hear themselves under that name: choose another one, or set echo = false";
            return Err(format!("control-say-as \"echo\" will not do: {advice}"));
        }
        for (name, password) in &self.accounts {
            if let Err(error) = voxwire_msgpack::check_name(name.as_bytes()) {
                return Err(format!("the account {} will not do: {error}", quoted(name)));
            }
            self.check_reserved(name, config)?;
            if password.is_empty() || password.len() > 255 {
                let expected = "a password of 1 to 255 bytes expected";
                return Err(format!("the account {} will not do: {expected}", quoted(name)));
            }
        }
        within("keep-days", self.keep_days, 0..=CENTURY)?;
        within("group-days", self.group_days, 0..=CENTURY)?;
        within("max-kept", self.max_kept, 0..=1_000_000)?;
        within("max-kept-bytes", self.max_kept_bytes as u64, 0..=LARGEST_DATABASE)?;
        within("max-accounts", self.max_accounts, 0..=1_000_000_000)?;
        within("max-contacts", self.max_contacts, 0..=1_000_000)?;
        within("max-database", self.max_database, SMALLEST_DATABASE..=LARGEST_DATABASE)?;
        within("resume-seconds", self.resume.as_secs(), 0..=86_400)?;
        // The original compares names byte by byte.
        match config.profile_of(Protocol::MSGPACK) {
            Profile::Safe => check_spellings("the accounts", &self.accounts),
            Profile::Original => Ok(()),
        }
    }

    fn profile(&self) -> Option<Profile> {
        self.profile
    }

    fn forget_profile(&mut self) {
        self.profile = None;
    }

    fn secrets(&self) -> Option<&'static str> {
        Some("passwords")
    }

    fn port(&mut self) -> &mut u16 {
        &mut self.port
    }

    fn memory(&self) -> Part {
        // Its recordings are the largest frames.
        Part { queued: 60, partial: 64, pooled: 5, quic: 0 }
    }

    fn memory_beside(&self) -> usize {
        // 64 MiB that wait for the disk and 17 MiB that are being written, 32 MiB of requests that wait for their turn, 38 MiB for two
        // threads that hash passwords, and a part of the mail.
        152 * 1024 * 1024
    }

    fn start(&self, config: &Config, ports: &mut Ports<'_>) -> Result<Box<dyn Service>, Error> {
        let listener = ports.zmtp(Self::NAME, self.port)?;
        Ok(Box::new(start(config, self, listener, ports.control(), ports.tap(Protocol::MSGPACK))?))
    }
}
