//! The protocols of this client, one row each. What one of them needs is in its own module.

use crate::check::{Probe, Row};
use crate::demo::{Conditions, Outcome};
use crate::error::Error;
use crate::link::Link;
use crate::report::Report;
use crate::{dissonance, msgpack, opcode, syfala, voicelink};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgMatches, Command, FromArgMatches, Subcommand};
use core::fmt;
use core::future::Future;
use core::pin::Pin;

/// Rows, and behind them those of features.
macro_rules! rows {
    ($($row:expr),+; $($feature:literal: $optional:expr),*) => {
        &[$($row,)+ $(#[cfg(feature = $feature)] $optional),*]
    };
}

/// Every protocol that this client speaks.
pub(crate) const PROTOCOLS: &[Entry] = rows![
    // In the order of the demonstration.
    voicelink::ENTRY,
    opcode::ENTRY,
    msgpack::ENTRY,
    dissonance::ENTRY,
    syfala::ENTRY;
    "echo": crate::echo::ENTRY
];

type Work<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
type Boxed<'a, T> = Work<'a, Result<T, Error>>;

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The subcommand.
    pub(crate) name: &'static str,
    /// A line for `--help`, without a full stop.
    pub(crate) about: &'static str,
    /// Adds its flags and actions.
    pub(crate) flags: fn(Command) -> Command,
    /// Does what the command line says.
    pub(crate) run: for<'a> fn(Link, &'a ArgMatches, &'a Report) -> Boxed<'a, ()>,
    /// Makes the calls of the demonstration, each of which has a line in its table.
    pub(crate) demo: for<'a> fn(&'a Conditions<'a>) -> Boxed<'a, Vec<Outcome>>,
    /// Looks at a server's ports, each of which has a line in the table of `check`.
    pub(crate) check: for<'a> fn(&'a Probe<'a>) -> Work<'a, Vec<Row>>,
}

/// The row of a protocol whose module has `Flags`, `run(link, flags, report)`, `demo::call(conditions)` and `check(probe)`.
macro_rules! entry {
    ($name:literal, $about:literal) => {
        $crate::protocols::Entry {
            name: $name,
            about: $about,
            flags: <Flags as clap::Args>::augment_args,
            run: |link, matches, report| {
                Box::pin(run(link, $crate::protocols::Entry::parsed(matches), report))
            },
            demo: |conditions| Box::pin(demo::call(conditions)),
            check: |probe| Box::pin(check(probe)),
        }
    };
}
pub(crate) use entry;

impl Entry {
    /// A protocol's flags, of which clap has seen that they are right.
    pub(crate) fn parsed<F: FromArgMatches>(matches: &ArgMatches) -> F {
        F::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
    }

    fn named(name: &str) -> Option<&'static Self> {
        PROTOCOLS.iter().find(|entry| entry.name == name)
    }

    /// Reads a name on the command line.
    pub(crate) fn parser() -> impl TypedValueParser<Value = &'static Self> {
        PossibleValuesParser::new(PROTOCOLS.iter().map(|entry| entry.name))
            .try_map(|name| Self::named(&name).ok_or("no such protocol"))
    }
}

/// A protocol as a subcommand, and what is said behind it.
#[derive(Clone)]
pub(crate) struct Chosen {
    pub(crate) entry: &'static Entry,
    pub(crate) matches: ArgMatches,
}

/// Without what is said: there may be secrets in it.
impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen").field("entry", &self.entry.name).finish_non_exhaustive()
    }
}

impl Subcommand for Chosen {
    fn augment_subcommands(command: Command) -> Command {
        PROTOCOLS.iter().fold(command, |command, entry| {
            command.subcommand((entry.flags)(Command::new(entry.name).about(entry.about)))
        })
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Entry::named(name).is_some()
    }
}

impl FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let chosen = matches
            .subcommand()
            .and_then(|(name, matches)| Some(Self { entry: Entry::named(name)?, matches: matches.clone() }));
        chosen.ok_or_else(|| clap::Error::new(ErrorKind::MissingSubcommand))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
