//! `voxwire-client msgpack`: the flags, and what the actions do.

mod call_client;
mod chat;
mod demo;
mod live_call;
mod mixer;
mod password;

use crate::check::{Probe, Row};
use crate::device::DeviceFlags;
use crate::error::{Error, failed};
use crate::link::Link;
use crate::protocols::{Entry, entry};
use crate::report::Report;
use crate::screen;
use crate::signals::Signals;
use crate::sound::{Play, Source, prepare, seconds};
use crate::talk::{SpeakerFlags, TalkFlags};
pub(crate) use call_client::{CallClient, Options, Summary};
use clap::{Args, Subcommand};
use core::time::Duration;
use std::path::PathBuf;
use voxwire_msgpack::{
    Client, ClientCommand, ClientSettings, DEFAULT_PORT, Dialect, MAX_VOICE_SAMPLES, SAMPLE_RATE,
};

pub(crate) const ENTRY: Entry =
    entry!("msgpack", "Accounts, chat, groups, voice messages and group calls, over ZeroMQ or plain TCP");

#[derive(Debug, Args)]
struct Flags {
    /// Who we are. The password comes from the environment (VOXWIRE_PASSWORD), from the terminal, or from the first line of
    /// standard input.
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// Speak MessagePack objects over plain TCP rather than ZeroMQ.
    #[arg(long, global = true)]
    plain: bool,
    /// Play a WAV, FLAC or Ogg file, `-` for one from standard input, or `tone[:HZ]`.
    #[arg(long, global = true, value_name = "FILE")]
    play: Option<Play>,
    /// Record what is heard to a WAV file.
    #[arg(long, global = true, value_name = "FILE.wav")]
    record: Option<PathBuf>,
    #[command(flatten)]
    speakers: SpeakerFlags,
    #[command(flatten)]
    devices: DeviceFlags,
    #[command(flatten)]
    talk: TalkFlags,
    /// End after so many seconds of call, or of waiting.
    #[arg(long = "for", global = true, value_name = "SECONDS", value_parser = seconds)]
    length: Option<Duration>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an account.
    Register,
    /// Show that name and password are right.
    Login,
    /// Put a user on the contact list.
    AddContact {
        /// Whom.
        #[arg(id = "whom", value_name = "USER")]
        user: String,
    },
    /// Send a user a text.
    Whisper {
        /// To whom.
        #[arg(id = "whom", value_name = "USER")]
        user: String,
        /// The text.
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Make a group.
    CreateGroup {
        /// Its name.
        group: String,
    },
    /// Become a member of a group.
    JoinGroup {
        /// Of which.
        group: String,
    },
    /// Send a text to all members of a group.
    Send {
        /// Of which.
        group: String,
        /// The text.
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Send a user a recording: what --play says, or the microphone for as long as --for says.
    VoiceMessage {
        /// To whom.
        #[arg(id = "whom", value_name = "USER")]
        user: String,
    },
    /// Take part in a group's call; leave it when the file has been played.
    Call {
        /// Of which group.
        group: String,
    },
    /// Wait for one message, show it, and end; where some were kept, show those and end. Recordings go to where --record says, or to
    /// voice-message.wav.
    Wait {
        /// Go on with the next. Later recordings are numbered: bob.wav, bob-2.wav, ..
        #[arg(long)]
        keep: bool,
    },
    /// All of it in one session, by commands; `/help` lists them.
    Chat {
        /// Keep what was typed in this file, for the next time.
        #[arg(long, value_name = "FILE")]
        history: Option<PathBuf>,
    },
}

/// Whether it is said what a recording is to be.
fn check_recording(flags: &Flags) -> Result<(), Error> {
    let recording = matches!(flags.action, Action::VoiceMessage { .. });
    if recording && flags.play.is_none() && !flags.devices.speaks() {
        return Err(Error::Usage(
            "what should it say? --play FILE, or --device or --input NAME, and --for SECONDS".into(),
        ));
    }
    if recording && !matches!(flags.play, Some(Play::File(_))) && flags.length.is_none() {
        return Err(Error::Usage("how long should it be? --for SECONDS".into()));
    }
    Ok(())
}

/// Does what the command line says.
async fn run(link: Link, flags: Flags, report: &Report) -> Result<(), Error> {
    check_recording(&flags)?;
    let user = flags.user.ok_or_else(|| Error::Usage("--user NAME: who are you?".into()))?;
    let recording = matches!(flags.action, Action::VoiceMessage { .. });
    let mut signals = Signals::catch()?;
    let devices = flags.devices.choose(report);
    flags.speakers.apply(report)?;
    flags.talk.apply(report, matches!(flags.action, Action::Chat { .. }))?;
    let mut source =
        prepare(flags.play.as_ref(), flags.record.as_deref(), &devices, report, &mut signals).await?;
    if let Some(Source::File(file)) = source.as_ref().filter(|_| recording) {
        // All of it is sent at once: so much that it is known whether it is too long.
        let wanted = flags.length.map_or(f64::MAX, |length| length.as_secs_f64() * f64::from(SAMPLE_RATE));
        let most = (wanted as usize).min(MAX_VOICE_SAMPLES + 1);
        let file = file.clone();
        let whole = move || file.whole(SAMPLE_RATE, most);
        source = Some(Source::Clip(signals.interrupt_blocking("reading sound files", whole).await?));
    }
    let password = password::read(&user, &mut signals).await?;
    match &flags.action {
        Action::Call { group } => screen::open(report, &format!("msgpack: {user} in the call of {group}")),
        Action::Wait { .. } => screen::open(report, &format!("msgpack: {user} waits for messages")),
        // `chat` has a screen with commands.
        _ => {}
    }
    let options = Options {
        source,
        record: flags.record,
        record_each: flags.speakers.record_each,
        loudspeaker: devices.output,
        length: flags.length,
        dialect: if flags.plain { Dialect::Plain } else { Dialect::Zmtp },
        // A long session survives a restart of the server; a single request says that it failed.
        reconnect: matches!(flags.action, Action::Chat { .. } | Action::Call { .. } | Action::Wait { .. }),
        trace: false,
    };
    let mut client = CallClient::connect(&link, options, report.clone(), signals).await?;
    if matches!(flags.action, Action::Call { .. }) {
        client.dialogue.recordings.beside();
    }
    let registering = matches!(flags.action, Action::Register);
    let (username, password) = (user.as_str().into(), password.as_bytes().into());
    if registering {
        client.ask(ClientCommand::Register { username, password }).await?;
        report.event(
            "registered",
            serde_json::json!({ "user": user }),
            &format!("{user} has an account now"),
        );
    } else {
        // A command that only asks for something takes no messages away that it would not show.
        let stays = matches!(flags.action, Action::Chat { .. } | Action::Call { .. } | Action::Wait { .. });
        client.log_in(&user, password, !stays).await?;
    }
    let result = act(&mut client, flags.action, &user, report).await;
    let recorded = client.close().await;
    result.and(recorded)
}

/// Looks at a server's port: ZeroMQ's handshake shows that it is the right one.
async fn check(probe: &Probe<'_>) -> Vec<Row> {
    let session = || Client::new(ClientSettings { reconnect: None, ..ClientSettings::DEFAULT });
    probe.tcp(ENTRY.name, DEFAULT_PORT, session, async |_| Ok(Vec::new())).await
}

async fn act(client: &mut CallClient, action: Action, user: &str, report: &Report) -> Result<(), Error> {
    let done = |what: &str, fields: serde_json::Value, text: &str| report.event(what, fields, text);
    match action {
        Action::Register | Action::Login => {}
        Action::AddContact { user: contact } => {
            client.ask(ClientCommand::AddContact { contact: contact.as_str().into() }).await?;
            let text = format!("{contact} is on the list");
            done("contact", serde_json::json!({ "user": contact }), &text);
        }
        Action::Whisper { user: recipient, text } => {
            let text = text.join(" ");
            let (to, content) = (recipient.as_str().into(), text.as_str().into());
            client.ask(ClientCommand::Whisper { recipient: to, content }).await?;
            done("sent", serde_json::json!({ "to": recipient }), &format!("sent to {recipient}"));
        }
        Action::CreateGroup { group } => {
            client.ask(ClientCommand::CreateGroup { group_name: group.as_str().into() }).await?;
            done(
                "group",
                serde_json::json!({ "group": group }),
                &format!("{group} is there, and {user} in it"),
            );
        }
        Action::JoinGroup { group } => {
            client.ask(ClientCommand::JoinGroup { group_name: group.as_str().into() }).await?;
            done("group", serde_json::json!({ "group": group }), &format!("{user} is a member of {group}"));
        }
        Action::Send { group, text } => {
            let text = text.join(" ");
            let (group_name, content) = (group.as_str().into(), text.as_str().into());
            client.ask(ClientCommand::MsgGroup { group_name, content }).await?;
            done("sent", serde_json::json!({ "to": group }), &format!("sent to {group}"));
        }
        Action::VoiceMessage { user: recipient } => {
            let seconds = client.voice_message(&recipient).await?;
            let text = format!("{seconds:.1} s of sound sent to {recipient}");
            done("sent", serde_json::json!({ "to": recipient, "seconds": seconds }), &text);
        }
        Action::Call { group } => drop(client.call(&group).await?),
        Action::Wait { keep } => client.wait(keep).await?,
        Action::Chat { history } => chat::run(client, user, history).await?,
    }
    Ok(())
}

/// What a failed request means, in words.
fn refused(action: voxwire_msgpack::Action, code: voxwire_msgpack::Code) -> Error {
    use voxwire_msgpack::{Action as Asked, Code};
    let why = match code {
        // Our server keeps what is for users who are away.
        Code::USER_NOT_CONNECTED if matches!(action, Asked::Whisper | Asked::VoiceMsg) => {
            "no such user, or the user is not logged in and this server keeps no messages"
        }
        Code::USER_NOT_CONNECTED => "the user is not logged in",
        Code::USER_ALREADY_EXIST => "the name is taken",
        Code::USER_DOES_NOT_EXIST => "there is no such user",
        Code::USER_WRONG_PASSWORD => "wrong name or password",
        Code::GROUP_ALREADY_EXIST => "there is a group of that name",
        Code::GROUP_DOES_NOT_EXIST => "there is no such group",
        Code::GROUP_MEMBER_ALREADY_EXIST => "already a member",
        Code::GROUP_MEMBER_DOES_NOT_EXIST => "not a member",
        Code::REQUEST_INVALID => "the server does not understand that",
        Code::REQUEST_OVER_LIMIT => "a limit is reached, try again later",
        Code::SERVER_UNAVAILABLE => "the server cannot do that now",
        _ => return failed!("{} refused: {code}", action.name()),
    };
    failed!("{} refused: {why} ({})", action.name(), code.0)
}
