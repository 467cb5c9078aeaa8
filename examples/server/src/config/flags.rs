//! The command line.

use super::Config;
use super::general::GeneralSettings;
use crate::control::Ctl;
use crate::protocols;
use crate::{Error, MakeCertificate};
use clap::Parser;
use std::path::PathBuf;

const AFTER_HELP: &str = "Every setting is read from a flag, or else from the environment (VOXWIRE_BIND for --bind, \
VOXWIRE_OPCODE_RELAY for --opcode-relay), or else from the file. Secrets have no flag, as other users of the machine see flags: \
they come from the file, from a variable (VOXWIRE_DISSONANCE_TOKEN), or from a file that a variable names \
(VOXWIRE_DISSONANCE_TOKEN_FILE).";

/// voxwire's server: voice and chat protocols in one process.
///
/// Without flags it serves every protocol on loopback. When ready it has printed a line `listening PROTOCOL TRANSPORT
/// ADDR:PORT` for each listener, and then `ready`. SIGINT or SIGTERM: every client is told, then it ends. SIGHUP: the files of
/// certificates are read again.
#[derive(Debug, Clone, Parser)]
#[command(name = "voxwire-server", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Flags {
    /// Read settings from a TOML file; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) general: GeneralSettings,
    #[command(flatten)]
    pub(super) protocols: protocols::Flags,
    /// Check the settings and the files that they name, and end: exit code 0, or 2 with the reason.
    #[arg(long)]
    pub check_config: bool,
    /// Print every setting with its default, as a file for `--config`, and end.
    #[arg(long)]
    pub print_default_config: bool,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does besides serving.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Make a self-signed certificate and its key, and say how they are used.
    Certificate(MakeCertificate),
    /// Print a script that completes the command line in a shell.
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff.
    #[command(hide = true)]
    Man,
    /// Control a running server by its local socket.
    Ctl(Ctl),
}

impl Config {
    /// Changes the settings by the command line.
    pub(super) fn apply_flags(&mut self, flags: &Flags) -> Result<(), Error> {
        self.sections.apply_flags(&flags.protocols).map_err(|error| Error::Usage(error.to_string()))?;
        let general = flags.general.clone().by_flags();
        if general.profile.is_some() {
            // The flag is for all of them.
            self.sections.forget_profiles();
        }
        self.apply(general, "the command line")
    }
}
