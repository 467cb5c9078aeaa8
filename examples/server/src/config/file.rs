//! The file, and the environment, which has the same names.

use super::values::{Bind, Http, Profile, Wanted, set};
use super::{Config, Source};
use crate::Error;
use crate::given::{self, Given};
use crate::logging::{LogFormat, LogLevel};
use crate::protocols::{self, Protocol};
use core::net::IpAddr;
use core::time::Duration;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, Deserializer, ValueDeserializer};

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
    recordings_days: Option<u32>,
    recordings_mib: Option<u64>,
    announce_recordings: Option<bool>,
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

/// Every setting, with its section if it is in one.
pub(crate) fn settings() -> impl Iterator<Item = (Option<&'static str>, &'static str)> {
    let top = given::fields_of::<File>().iter().map(|key| (None, *key));
    top.chain(protocols::keys().map(|(section, key)| (Some(section), key)))
}

/// Variables of the environment that look like settings of this program and are none.
pub fn unknown_variables() -> Vec<String> {
    given::unknown_variables(settings())
}

impl Config {
    /// Changes the settings by the environment, and those of the protocols by their flags. `table` is what the file says.
    pub(super) fn overlay(&mut self, mut table: toml::Table, flags: &protocols::Flags) -> Result<(), Error> {
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
        set(&mut self.recording.days, file.recordings_days);
        set(&mut self.recording.mib, file.recordings_mib);
        set(&mut self.recording.announce, file.announce_recordings);
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
}
