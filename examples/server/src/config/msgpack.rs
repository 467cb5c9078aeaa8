//! The settings of msgpack.

use super::{Profile, set};
use crate::Error;
use crate::names::quoted;
use core::fmt;
use core::time::Duration;
use serde::Deserialize;
use std::collections::BTreeMap;
use voxwire_msgpack::DEFAULT_PORT;

/// The settings of msgpack: accounts, chat, groups and calls.
#[derive(Clone)]
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
    /// After how many days a message is dropped that nobody has fetched: 30; 0 for never.
    pub keep_days: u32,
    /// After how many days a group with members is forgotten that nobody has used: 60; 0 for never.
    pub group_days: u32,
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

impl Msgpack {
    pub(super) fn check(&self) -> Result<(), Error> {
        for (name, password) in &self.accounts {
            if let Err(error) = voxwire_msgpack::check_name(name.as_bytes()) {
                return Err(Error::Usage(format!(
                    "msgpack: the account {} will not do: {error}",
                    quoted(name)
                )));
            }
            if password.is_empty() || password.len() > 255 {
                let expected = "a password of 1 to 255 bytes expected";
                return Err(Error::Usage(format!(
                    "msgpack: the account {} will not do: {expected}",
                    quoted(name)
                )));
            }
        }
        if self.max_database < SMALLEST_DATABASE {
            let max = self.max_database;
            return Err(Error::Usage(format!(
                "msgpack: max-database {max}: at least {SMALLEST_DATABASE} bytes expected"
            )));
        }
        Ok(())
    }
}

/// Room for the tables and a little more.
const SMALLEST_DATABASE: u64 = 1024 * 1024;

/// The file's section. Every entry is optional, unknown ones are errors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct MsgpackFile {
    port: Option<u16>,
    profile: Option<Profile>,
    accounts: Option<BTreeMap<String, String>>,
    register: Option<bool>,
    keep: Option<bool>,
    keep_days: Option<u32>,
    group_days: Option<u32>,
    max_kept: Option<usize>,
    max_kept_bytes: Option<usize>,
    max_accounts: Option<usize>,
    max_contacts: Option<usize>,
    max_database: Option<u64>,
    resume_seconds: Option<u64>,
}

impl MsgpackFile {
    pub(super) fn apply(self, msgpack: &mut Msgpack) {
        set(&mut msgpack.port, self.port);
        msgpack.profile = self.profile.or(msgpack.profile);
        set(&mut msgpack.accounts, self.accounts);
        set(&mut msgpack.register, self.register);
        set(&mut msgpack.keep, self.keep);
        set(&mut msgpack.keep_days, self.keep_days);
        set(&mut msgpack.group_days, self.group_days);
        set(&mut msgpack.max_kept, self.max_kept);
        set(&mut msgpack.max_kept_bytes, self.max_kept_bytes);
        set(&mut msgpack.max_accounts, self.max_accounts);
        set(&mut msgpack.max_contacts, self.max_contacts);
        set(&mut msgpack.max_database, self.max_database);
        set(&mut msgpack.resume, self.resume_seconds.map(Duration::from_secs));
    }
}
