//! `voxwire-client opcode`: the flags, and what the actions do.

mod call_client;
mod demo;
mod round;

use crate::check::{Probe, Row};
use crate::device::DeviceFlags;
use crate::dialogue::Dialogue;
use crate::error::Error;
use crate::link::Link;
use crate::protocols::{Entry, entry};
use crate::report::Report;
use crate::screen;
use crate::signals::Signals;
use crate::sound::{Play, prepare, seconds};
use crate::talk::TalkFlags;
use crate::waiting::{Callee as _, wait};
pub(crate) use call_client::{CallClient, Options};
use clap::{Args, Subcommand};
use core::time::Duration;
pub(crate) use round::{Heard, Summary, voice_settings};
use std::path::PathBuf;
use voxwire_opcode::{Client, ClientSettings, DEFAULT_PORT};

pub(crate) const ENTRY: Entry =
    entry!("opcode", "Log-in, contacts, and Opus calls straight between two clients");

#[derive(Debug, Args)]
struct Flags {
    /// What to be known by [default: a random name].
    #[arg(long, global = true, value_name = "NAME")]
    name: Option<String>,
    /// What shows that the name is ours, where the server asks for it.
    #[arg(long, global = true, value_name = "TEXT", requires = "name")]
    secret: Option<String>,
    /// Play a WAV, FLAC or Ogg file, `-` for one from standard input, or `tone[:HZ]`.
    #[arg(long, global = true, value_name = "FILE")]
    play: Option<Play>,
    /// Record what is heard to a WAV file.
    #[arg(long, global = true, value_name = "FILE.wav")]
    record: Option<PathBuf>,
    #[command(flatten)]
    devices: DeviceFlags,
    #[command(flatten)]
    talk: TalkFlags,
    /// Hang up after so many seconds of call.
    #[arg(long = "for", global = true, value_name = "SECONDS", value_parser = seconds)]
    length: Option<Duration>,
    /// Bits per second.
    #[arg(long, global = true, value_name = "BITS", default_value_t = 96_000)]
    bitrate: u32,
    /// Do not listen for whom we call: only for a server that carries calls.
    #[arg(long, global = true)]
    no_listen: bool,
    /// Listen for whom we call on these ports only, from the first to the last: FIRST-LAST, or one.
    #[arg(long, global = true, value_name = "PORTS", value_parser = ports, conflicts_with = "no_listen")]
    ports: Option<(u16, u16)>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print who is there.
    Contacts,
    /// Wait for one call, take it, and end with it.
    Wait {
        /// Take calls: what happens anyway.
        #[arg(long, conflicts_with = "refuse")]
        accept: bool,
        /// Refuse calls.
        #[arg(long)]
        refuse: bool,
        /// Go on with the next call, and when the server is back after a restart. Later recordings are numbered: bob.wav, bob-2.wav, ..
        #[arg(long)]
        keep: bool,
    },
    /// Call a user, or several at once; hang up when the file has been played.
    Call {
        /// Whom.
        #[arg(required = true)]
        user: Vec<String>,
    },
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok().zip(last.parse().ok()).filter(|(first, last)| first <= last && *first > 0);
    range.ok_or_else(|| "FIRST-LAST expected, for example 50000-50010".into())
}

/// Does what the command line says.
async fn run(link: Link, flags: Flags, report: &Report) -> Result<(), Error> {
    if !(6_000..=510_000).contains(&flags.bitrate) {
        return Err(Error::Usage(format!("--bitrate {}: 6000 to 510000 expected", flags.bitrate)));
    }
    if !matches!(flags.action, Action::Contacts) {
        link.allow_clear("calls go in the clear between clients")?;
    }
    let mut signals = Signals::catch()?;
    let devices = flags.devices.choose(report);
    flags.talk.apply(report, false)?;
    let source =
        prepare(flags.play.as_ref(), flags.record.as_deref(), &devices, report, &mut signals).await?;
    let options = Options {
        name: flags.name.unwrap_or_else(|| format!("guest-{:08x}", fastrand::u32(..))),
        secret: flags.secret,
        source,
        record: flags.record,
        loudspeaker: devices.output,
        length: flags.length,
        bitrate: flags.bitrate,
        listen: !flags.no_listen,
        ports: flags.ports,
        trace: false,
    };
    match &flags.action {
        Action::Wait { .. } => screen::open(report, &format!("opcode: {} waits for calls", options.name)),
        Action::Call { user } => {
            screen::open(report, &format!("opcode: {} calls {}", options.name, user.join(", ")));
        }
        Action::Contacts => {}
    }
    let connect = async || CallClient::connect(&link, options.clone(), report.clone(), signals.clone()).await;
    let (mut client, result);
    match flags.action {
        Action::Wait { refuse, keep, .. } => {
            let call = async |client: &mut CallClient| client.wait(refuse).await.map(|_| ());
            return wait(report, &mut signals.clone(), keep, connect, call).await;
        }
        Action::Contacts => {
            client = connect().await?;
            result = client.contacts().await;
        }
        Action::Call { user } => {
            client = connect().await?;
            result = client.call(&user).await.map(|_| ());
        }
    }
    let recordings = client.close().await;
    result.and(recordings.end(&mut signals).await)
}

/// Looks at a server's port, without a log-in: the server speaks first.
async fn check(probe: &Probe<'_>) -> Vec<Row> {
    let session = || Client::new(ClientSettings::DEFAULT);
    let hear = async |dialogue: &mut Dialogue<Client>| {
        while !dialogue.connection.has_received() {
            if dialogue.connection.next().await.is_none() {
                return Err(dialogue.lost("waiting for its greeting"));
            }
        }
        Ok(Vec::new())
    };
    probe.tcp(ENTRY.name, DEFAULT_PORT, session, hear).await
}
