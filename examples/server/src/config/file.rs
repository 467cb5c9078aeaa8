//! The file, and the environment, which has the same names.

use super::general::GeneralSettings;
use super::{Config, Source};
use crate::Error;
use crate::given::{self, Given};
use crate::protocols::{self, Protocol};
use serde::Deserialize as _;
use std::path::Path;
use toml::de::{DeTable, Deserializer, ValueDeserializer};

/// Every setting, with its section if it is in one.
pub(crate) fn settings() -> impl Iterator<Item = (Option<&'static str>, &'static str)> {
    let top = given::fields_of::<GeneralSettings>().iter().map(|key| (None, *key));
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
        let general = GeneralSettings::deserialize(Deserializer::from(table)).map_err(|error| {
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
        self.apply(general, &path.display().to_string())
    }
}
