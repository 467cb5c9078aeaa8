//! The protocols of this server, one row each. What one of them needs is in its own module.

use crate::config::{Config, Profile, set};
use crate::given::{self, Given, fields_of, is_secret};
use crate::memory::Part;
use crate::service::{Ports, Service};
use crate::{Dissonance, Error, Msgpack, Opcode, Syfala, Voicelink};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use core::any::Any;
use core::fmt;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use toml::de::ValueDeserializer;

/// Rows, and behind them those of features.
macro_rules! rows {
    ($($row:expr),+; $($feature:literal: $optional:expr),*) => {
        &[$($row,)+ $(#[cfg(feature = $feature)] $optional),*]
    };
}

/// Every protocol that this server serves, in the order in which it announces them.
pub(crate) const PROTOCOLS: &[Entry] = rows![
    Entry::of::<Voicelink>(),
    Entry::of::<Opcode>(),
    Entry::of::<Msgpack>(),
    Entry::of::<Dissonance>(),
    Entry::of::<Syfala>();
    "echo": Entry::of::<crate::echo::Echo>()
];

/// The settings of one protocol, and what follows from them.
pub(crate) trait Section: Any + fmt::Debug + Send + Sync {
    /// Whether the settings make sense; if not, why.
    fn check(&self, _config: &Config) -> Result<(), String> {
        Ok(())
    }

    /// Safe, or as the originals, where the section says so itself.
    fn profile(&self) -> Option<Profile> {
        None
    }

    /// From now on the profile is the one for all protocols.
    fn forget_profile(&mut self) {}

    /// What a client has to show that no other client may see, if there is anything.
    fn secrets(&self) -> Option<&'static str> {
        None
    }

    /// Why the protocol cannot be encrypted, if it cannot.
    fn never_encrypted(&self) -> Option<&'static str> {
        None
    }

    /// Whether it can be encrypted only with the certificate of the settings.
    fn needs_certificate(&self) -> bool {
        true
    }

    /// Why any client can come in, if any client can.
    fn open(&self) -> Option<&'static str> {
        None
    }

    /// What goes in the clear beyond loopback, if anything does.
    fn clear(&self, config: &Config) -> Option<&'static str> {
        config.tls.is_none().then_some(CLEAR)
    }

    /// Its port, or the first of them.
    fn port(&mut self) -> &mut u16;

    /// From now on any free port will do.
    fn use_free_ports(&mut self) {
        *self.port() = 0;
    }

    /// What its hub needs of the memory, in proportion to others.
    fn memory(&self) -> Part;

    /// What it takes beside its hub, in bytes.
    fn memory_beside(&self) -> usize {
        0
    }

    /// Descriptors of one connection.
    fn descriptors(&self) -> usize {
        1
    }

    /// Starts serving.
    fn start(&self, config: &Config, ports: &mut Ports<'_>) -> Result<Box<dyn Service>, Error>;
}

/// What is said of a protocol that is not encrypted.
pub(crate) const CLEAR: &str =
    "what goes over it is in the clear: an attacker on the path can hear and change it";

/// How a protocol's settings are read. Its section of the file is the settings themselves: every entry is optional there, and unknown
/// ones are errors.
pub(crate) trait Hosted: Section + Clone + Default + DeserializeOwned {
    /// As the command line, the file, the log and the metrics have it.
    const NAME: &'static str;
    /// A line for `--help`, without a full stop.
    const ABOUT: &'static str;
    /// Its transports, as `--help` names them with the flag `--NAME-port`.
    const TRANSPORTS: &'static str;
    /// The default of that flag.
    const DEFAULT_PORT: u16;
    /// Its other flags.
    type Flags: Args;

    /// Changes the settings by what the command line says with its other flags.
    fn apply_flags(&mut self, _flags: Self::Flags) {}
}

/// For a protocol with no flag but that of its port.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct NoFlags {}

/// A row: what the program knows of a protocol before it has read any settings.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    about: &'static str,
    default: fn() -> Box<dyn Section>,
    clone: fn(&dyn Section) -> Box<dyn Section>,
    flags: fn(Command) -> Command,
    apply_flags: fn(&mut dyn Section, &ArgMatches) -> Result<(), clap::Error>,
    apply_file: fn(&mut dyn Section, ValueDeserializer<'_>) -> Result<(), toml::de::Error>,
    /// The names in its section of the file.
    keys: fn() -> &'static [&'static str],
    overlay: fn(&mut dyn Section, &mut toml::Table, &[&Given]) -> Result<(), Error>,
}

impl Entry {
    const fn of<P: Hosted>() -> Self {
        Self {
            name: P::NAME,
            about: P::ABOUT,
            default: || Box::new(P::default()),
            clone: |section| Box::new(settings::<P>(section).clone()),
            flags: |command| {
                let command = P::Flags::augment_args(command.arg(port_flag::<P>()));
                flag_keys::<P>(&command).into_iter().fold(command, |command, key| {
                    let (help, flag) = (crate::defaults::describe(P::NAME, key), given::flag(P::NAME, key));
                    let arg = Arg::new(flag.clone()).long(flag).value_name("VALUE").help(help);
                    command.arg(arg.action(ArgAction::Set).hide_short_help(true))
                })
            },
            apply_flags: |section, matches| {
                let settings = settings_mut::<P>(section);
                set(settings.port(), matches.get_one(&port_flag_name::<P>()).copied());
                settings.apply_flags(P::Flags::from_arg_matches(matches)?);
                Ok(())
            },
            apply_file: |section, value| {
                *settings_mut::<P>(section) = P::deserialize(value)?;
                Ok(())
            },
            keys: fields_of::<P>,
            overlay: |section, table, given| {
                *settings_mut::<P>(section) = given::overlay(table, given.iter().copied())?;
                Ok(())
            },
        }
    }
}

/// The settings of a section for which `command` has no flag yet, and may have one.
fn flag_keys<P: Hosted>(command: &Command) -> Vec<&'static str> {
    let has = |flag: String| command.get_arguments().any(|arg| arg.get_long() == Some(&flag));
    let is_free = |key: &&&str| !is_secret(key) && !has(given::flag(P::NAME, key));
    fields_of::<P>().iter().filter(is_free).copied().collect()
}

/// Every setting of every section.
pub(crate) fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    PROTOCOLS.iter().flat_map(|entry| (entry.keys)().iter().map(|key| (entry.name, *key)))
}

fn port_flag_name<P: Hosted>() -> String {
    format!("{}-port", P::NAME)
}

fn port_flag<P: Hosted>() -> Arg {
    let (transports, name, default) = (P::TRANSPORTS, P::NAME, P::DEFAULT_PORT);
    Arg::new(port_flag_name::<P>())
        .long(port_flag_name::<P>())
        .value_name("N")
        .value_parser(value_parser!(u16))
        .help(format!("{transports} port for {name}; 0 takes any free one [default: {default}]"))
}

fn settings<P: Section>(section: &dyn Section) -> &P {
    let section: &dyn Any = section;
    section.downcast_ref().expect("an entry is given its own section")
}

fn settings_mut<P: Section>(section: &mut dyn Section) -> &mut P {
    let section: &mut dyn Any = section;
    section.downcast_mut().expect("an entry is given its own section")
}

/// A protocol of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol(&'static str);

impl Protocol {
    pub(crate) const fn of<P: Hosted>() -> Self {
        Self(P::NAME)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        PROTOCOLS.iter().map(|entry| Self(entry.name))
    }

    /// The protocol of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|protocol| protocol.0 == name)
    }

    /// As the command line and the file have it.
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// Reads a name on the command line.
    pub(crate) fn parser() -> impl TypedValueParser<Value = Self> {
        let values = PROTOCOLS.iter().map(|entry| PossibleValue::new(entry.name).help(entry.about));
        PossibleValuesParser::new(values).try_map(|name| Self::named(&name).ok_or("no such protocol"))
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: [&str; PROTOCOLS.len()] = {
            let mut names = [""; PROTOCOLS.len()];
            let mut n = 0;
            while n < names.len() {
                names[n] = PROTOCOLS[n].name;
                n += 1;
            }
            names
        };
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}

/// The settings of all protocols, see [`Config::of`].
#[derive(Debug)]
pub struct Sections(Vec<Box<dyn Section>>);

impl Default for Sections {
    fn default() -> Self {
        Self(PROTOCOLS.iter().map(|entry| (entry.default)()).collect())
    }
}

impl Clone for Sections {
    fn clone(&self) -> Self {
        Self(PROTOCOLS.iter().zip(&self.0).map(|(entry, section)| (entry.clone)(&**section)).collect())
    }
}

impl Sections {
    /// Each with its name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Protocol, &dyn Section)> {
        PROTOCOLS.iter().zip(&self.0).map(|(entry, section)| (Protocol(entry.name), &**section))
    }

    /// Those of one protocol.
    pub(crate) fn of(&self, protocol: Protocol) -> &dyn Section {
        self.iter().find_map(|(other, section)| (other == protocol).then_some(section)).expect("a row's name")
    }

    pub(crate) fn get<P: Section>(&self) -> &P {
        let found = self.0.iter().find_map(|section| (&**section as &dyn Any).downcast_ref());
        found.expect("every row has its section")
    }

    pub(crate) fn get_mut<P: Section>(&mut self) -> &mut P {
        let found = self.0.iter_mut().find_map(|section| (&mut **section as &mut dyn Any).downcast_mut());
        found.expect("every row has its section")
    }

    /// The profile of each is the one for all protocols.
    pub(crate) fn forget_profiles(&mut self) {
        self.0.iter_mut().for_each(|section| section.forget_profile());
    }

    /// From now on any free port will do, for each of them.
    pub(crate) fn use_free_ports(&mut self) {
        self.0.iter_mut().for_each(|section| section.use_free_ports());
    }

    /// Changes the settings by what the command line says.
    pub(crate) fn apply_flags(&mut self, Flags(matches): &Flags) -> Result<(), clap::Error> {
        let mut rows = PROTOCOLS.iter().zip(&mut self.0);
        rows.try_for_each(|(entry, section)| (entry.apply_flags)(&mut **section, matches))
    }

    /// What the command line says of settings that have a flag because the file has them.
    pub(crate) fn flags(&self, Flags(matches): &Flags) -> Vec<Given> {
        let text = |flag: &str| matches.try_get_one::<String>(flag).ok().flatten().cloned();
        let given = keys().filter_map(|(section, key)| {
            Some(Given::by_flag(section, key, text(&given::flag(section, key))?))
        });
        given.collect()
    }

    /// Changes the settings by what was given one by one; `table` is the whole file, and has it then, too.
    pub(crate) fn overlay(&mut self, table: &mut toml::Table, given: &[Given]) -> Result<(), Error> {
        for (entry, section) in PROTOCOLS.iter().zip(&mut self.0) {
            let given: Vec<&Given> = given.iter().filter(|given| given.section == Some(entry.name)).collect();
            if !given.is_empty() {
                let part = table.entry(entry.name).or_insert_with(|| toml::Table::new().into());
                if let Some(part) = part.as_table_mut() {
                    (entry.overlay)(&mut **section, part, &given)?;
                }
            }
        }
        Ok(())
    }

    /// Changes the settings by what the file says; `take` takes a section out of it.
    pub(crate) fn apply_file<'i>(
        &mut self,
        mut take: impl FnMut(&str) -> Option<ValueDeserializer<'i>>,
    ) -> Result<(), toml::de::Error> {
        for (entry, section) in PROTOCOLS.iter().zip(&mut self.0) {
            if let Some(value) = take(entry.name) {
                (entry.apply_file)(&mut **section, value)?;
            }
        }
        Ok(())
    }
}

/// The flags of all protocols.
#[derive(Debug, Clone)]
pub(crate) struct Flags(ArgMatches);

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        PROTOCOLS.iter().fold(command, |command, entry| (entry.flags)(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(matches.clone()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = matches.clone();
        Ok(())
    }
}
