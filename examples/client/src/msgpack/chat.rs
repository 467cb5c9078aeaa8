//! `chat`: everything in one session. On a terminal with line editing, history and completion; otherwise a command a line, for
//! scripts.

mod commands;
mod lines;

use super::call_client::{CallClient, Event, SHAPE, to_i16};
use super::live_call::{Block, LiveCall};
use super::mixer::Mixer;
use crate::call_timers::{DISPLAY, Due, until};
use crate::device::OutputDevice;
use crate::error::Error;
use crate::report::{bar, plain};
use crate::sound::{Source, open};
use crate::talk;
use commands::{Command, HELP};
use core::time::Duration;
use lines::{Lines, Names};
use serde_json::json;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use tokio::time::{Instant, sleep};
use voxwire_audio::{Clip, SampleFormat, save_wav};
use voxwire_msgpack::{Action, ClientCommand, Code, MAX_VOICE_SAMPLES, SAMPLE_RATE};

/// How long to wait for answers behind the last line.
const PATIENCE: Duration = Duration::from_secs(5);

/// Recordings that are kept to be played or saved, and their samples in all (100 MB).
const RECORDINGS: usize = 1000;
const SAMPLES: usize = 12_500_000;

/// Chats until `/quit`, or the end of the input.
pub(super) async fn run(client: &mut CallClient, user: &str, history: Option<PathBuf>) -> Result<(), Error> {
    let names = Names::default();
    let title = format!("msgpack: {user} chats");
    let (mut lines, report) = Lines::start(&title, names.clone(), history, &client.report)?;
    client.report = report;
    client.report.plain("chat", "type /help for what can be done");
    let mut chat = Chat {
        client,
        user: user.to_owned(),
        names,
        target: None,
        asked: VecDeque::new(),
        recordings: Recordings::default(),
        call: None,
    };
    let mut result = chat.run(&mut lines).await;
    if let (true, Some(call)) = (result.is_err(), &mut chat.call) {
        result = chat.client.play_out(&mut call.live).await.and(result);
    }
    chat.leave().await;
    result
}

struct Chat<'p> {
    client: &'p mut CallClient,
    user: String,
    /// Users and groups that have been seen.
    names: Names,
    /// Where text without a command goes.
    target: Option<Target>,
    /// What is asked and not answered, in order: which action, and about whom.
    asked: VecDeque<(Action, String)>,
    recordings: Recordings,
    call: Option<Call>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    User(String),
    Group(String),
}

/// The call that we are in.
struct Call {
    group: String,
    live: LiveCall,
    said: u64,
    heard: u64,
}

impl Chat<'_> {
    async fn run(&mut self, lines: &mut Lines) -> Result<(), Error> {
        let mut open = true;
        let mut end = None;
        loop {
            if !open && self.asked.is_empty() {
                return Ok(());
            }
            tokio::select! {
                line = lines.next(), if open => match line {
                    Some(line) => match self.carry_out(&line).await {
                        Ok(true) => {}
                        Ok(false) => return Ok(()),
                        // A slip does not end the chat.
                        Err(error) => self.client.report.event("failed", json!({ "reason": error.to_string() }), &error.to_string()),
                    },
                    None => {
                        open = false;
                        end = Some(Instant::now() + PATIENCE);
                    }
                },
                event = self.client.event() => match event? {
                    Event::Interrupted => return Ok(()),
                    Event::Disconnected { retrying: false } => return Err(self.client.dialogue.lost("chatting")),
                    event => self.hear(event).await?,
                },
                due = next_due(&mut self.call) => self.on_due(due, lines)?,
                () = until(end) => return Ok(()),
            }
        }
    }

    /// Something is due in the call, or on the display.
    fn on_due(&mut self, due: Due, lines: &mut Lines) -> Result<(), Error> {
        match (due, &mut self.call) {
            (Due::Say, _) => self.speak(),
            (Due::Play, Some(call)) => call.live.play(),
            (Due::Display, _) => {
                self.display(lines);
                Ok(())
            }
            (Due::Play | Due::End, _) => Ok(()),
        }
    }

    /// Does what a line says; false at the end.
    async fn carry_out(&mut self, line: &str) -> Result<bool, Error> {
        if talk::carry_out(&self.client.report, line)? {
            return Ok(true);
        }
        let command = match Command::parse(line) {
            Ok(Some(command)) => command,
            Ok(None) => return Ok(true),
            Err(problem) => return Err(Error::Failed(problem)),
        };
        match command {
            Command::Help => self.client.report.block("help", serde_json::json!({}), HELP),
            Command::Quit => return Ok(false),
            Command::Text(text) => self.send_to_target(&text)?,
            Command::Msg(user, text) => self.whisper(&user, &text)?,
            Command::Send(group, text) => self.send(&group, &text)?,
            Command::Add(user) => {
                let contact = user.as_str().into();
                self.ask(Action::AddContact, &user, ClientCommand::AddContact { contact })?;
            }
            Command::Create(group) => {
                let group_name = group.as_str().into();
                self.ask(Action::CreateGroup, &group, ClientCommand::CreateGroup { group_name })?;
            }
            Command::Join(group) => {
                let group_name = group.as_str().into();
                self.ask(Action::JoinGroup, &group, ClientCommand::JoinGroup { group_name })?;
            }
            Command::Call(group) => {
                let group_name = group.as_str().into();
                self.ask(Action::JoinCall, &group, ClientCommand::JoinCall { group_name })?;
            }
            Command::Hangup => {
                self.ask(Action::LeaveCall, "", ClientCommand::LeaveCall)?;
                self.hang_up().await;
            }
            Command::Contacts => self.list_contacts(),
            Command::Groups => self.list_groups(),
            Command::Voice(user, path) => self.send_recording(&user, &path)?,
            Command::Say(path) => self.say_file(&path)?,
            Command::Recordings => self.list_recordings(),
            Command::Play(n) => self.play(n)?,
            Command::Save(n, path) => self.save(n, &path)?,
            Command::Level => self.show_level(),
        }
        Ok(true)
    }

    fn list_contacts(&self) {
        let users = self.names.users();
        self.client.report.event("contacts", json!({ "users": users }), &listed("users", &users));
    }

    fn list_groups(&self) {
        let groups = self.names.groups();
        self.client.report.event("groups", json!({ "groups": groups }), &listed("groups", &groups));
    }

    /// Says a file in the call.
    fn say_file(&mut self, path: &Path) -> Result<(), Error> {
        let call = self.call.as_mut().ok_or_else(|| Error::Failed("not in a call".into()))?;
        let file = Source::File(open(path, &self.client.report)?);
        call.live.say_anew(file.player(SHAPE)?.gated(&self.client.report)?);
        Ok(())
    }

    fn show_level(&self) {
        let text = self.call.as_ref().map_or_else(|| "not in a call".into(), Call::describe);
        let fields = self.call.as_ref().map_or_else(|| json!({ "in_call": false }), Call::fields);
        self.client.report.event("level", fields, &text);
    }

    fn play(&self, n: Option<usize>) -> Result<(), Error> {
        // Without a device that is named, on the machine's default.
        let default = || OutputDevice::default_of(&self.client.report);
        let output = self.client.options.loudspeaker.clone().unwrap_or_else(default);
        super::call_client::play(self.recordings.get(n)?, &output)
    }

    fn save(&self, n: Option<usize>, path: &Path) -> Result<(), Error> {
        save_wav(path, self.recordings.get(n)?, SampleFormat::I16)?;
        let text = format!("saved in {}", path.display());
        self.client.report.event("saved", json!({ "file": path }), &text);
        Ok(())
    }

    /// Text alone goes where the text before it went.
    fn send_to_target(&mut self, text: &str) -> Result<(), Error> {
        match self.target.clone() {
            Some(Target::User(user)) => self.whisper(&user, text),
            Some(Target::Group(group)) => self.send(&group, text),
            None => {
                let advice = "to whom? /msg USER TEXT or /send GROUP TEXT; then text alone goes there";
                Err(Error::Failed(advice.into()))
            }
        }
    }

    fn send_recording(&mut self, user: &str, path: &Path) -> Result<(), Error> {
        let clip = open(path, &self.client.report)?.whole(SAMPLE_RATE, MAX_VOICE_SAMPLES + 1)?;
        let samples = to_i16(&clip.samples);
        super::call_client::check_length(&samples)?;
        let command = ClientCommand::VoiceMsg {
            recipient: user.into(),
            channels: 1,
            sample_rate: SAMPLE_RATE.into(),
            samples: samples[..].into(),
        };
        self.ask(Action::VoiceMsg, user, command)
    }

    fn list_recordings(&self) {
        let shown = |(n, (from, clip)): (usize, &(String, Clip))| {
            format!("{n}: {:.1} s from {}", clip.seconds(), plain(from))
        };
        let list: Vec<String> = self.recordings.numbered().map(shown).collect();
        let text = if list.is_empty() { "no recordings".into() } else { list.join("\n") };
        let kept = |(n, (from, clip)): (usize, &(String, Clip))| json!({ "number": n, "from": from, "seconds": clip.seconds() });
        let fields =
            json!({ "count": list.len(), "list": self.recordings.numbered().map(kept).collect::<Vec<_>>() });
        self.client.report.block("recordings", fields, &text);
    }

    fn whisper(&mut self, user: &str, text: &str) -> Result<(), Error> {
        let command = ClientCommand::Whisper { recipient: user.into(), content: text.into() };
        self.ask(Action::Whisper, user, command)?;
        self.target = Some(Target::User(user.into()));
        Ok(())
    }

    fn send(&mut self, group: &str, text: &str) -> Result<(), Error> {
        let command = ClientCommand::MsgGroup { group_name: group.into(), content: text.into() };
        self.ask(Action::MsgGroup, group, command)?;
        self.target = Some(Target::Group(group.into()));
        Ok(())
    }

    fn ask(&mut self, action: Action, about: &str, command: ClientCommand<'_>) -> Result<(), Error> {
        self.client.request(command)?;
        self.asked.push_back((action, about.to_owned()));
        Ok(())
    }

    /// The request that was answered.
    fn answered(&mut self, action: Action) -> String {
        match self.asked.iter().position(|(asked, _)| *asked == action) {
            Some(at) => self.asked.drain(..=at).next_back().map(|(_, about)| about).unwrap_or_default(),
            None => String::new(),
        }
    }

    async fn hear(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Response { action, code, again: true } => {
                super::call_client::check_again(&Event::Response { action, code, again: true })?;
                self.client.show(Event::Response { action, code, again: true }).await?;
                if !code.is_temporary() {
                    self.hang_up().await;
                }
            }
            Event::Response { action, code, .. } => {
                let about = self.answered(action);
                self.concluded(action, code, &about);
            }
            Event::CallJoined { group, again: true } => {
                self.client.show(Event::CallJoined { group, again: true }).await?;
            }
            Event::CallJoined { group, .. } => self.enter_call(group).await?,
            Event::CallData { sender, samples } => {
                if let Some(call) = &mut self.call {
                    call.heard += 1;
                    call.live.hear(&self.client.report, &sender, samples);
                }
            }
            Event::VoiceMsg { sender, clip } => {
                let seconds = clip.seconds();
                let n = self.recordings.add(sender.clone(), clip);
                let text =
                    format!("{}: recording {n}, {seconds:.1} s: /play {n}, /save {n} FILE", plain(&sender));
                let fields = json!({ "from": sender, "seconds": seconds, "number": n });
                self.client.report.keep("voice_message", fields, &text);
                self.names.add_user(&sender);
            }
            Event::NoAnswer(action) => {
                self.answered(action);
                self.client.show(Event::NoAnswer(action)).await?;
            }
            Event::Disconnected { retrying } => {
                self.asked.clear();
                self.client.show(Event::Disconnected { retrying }).await?;
            }
            // One's own texts come back from the server; they stand on the screen already.
            Event::Whisper { sender, .. } | Event::MsgGroup { sender, .. } if sender == self.user => {}
            event => {
                match &event {
                    Event::Whisper { sender, .. } => self.names.add_user(sender),
                    Event::MsgGroup { group, sender, .. } => {
                        self.names.add_user(sender);
                        self.names.add_group(group);
                    }
                    _ => {}
                }
                self.client.show(event).await?;
            }
        }
        Ok(())
    }

    async fn enter_call(&mut self, group: String) -> Result<(), Error> {
        self.answered(Action::JoinCall);
        let text = format!("in the call of {}", plain(&group));
        self.client.report.event("established", json!({ "group": group }), &text);
        self.leave().await;
        let gated = |source: &Source| source.player(SHAPE)?.gated(&self.client.report);
        let player = self.client.options.source.as_ref().map(gated).transpose()?;
        let file = self.client.dialogue.recordings.create(SAMPLE_RATE, 1, SampleFormat::I16);
        let mixer = Mixer::new(file, self.client.options.loudspeaker.as_ref())?;
        let mixer = mixer.with_tracks(self.client.tracks());
        let live = LiveCall::new(Instant::now(), player, mixer, None);
        self.call = Some(Call { group, live, said: 0, heard: 0 });
        Ok(())
    }

    /// A request has an answer.
    fn concluded(&self, action: Action, code: Code, about: &str) {
        let report = &self.client.report;
        if !code.is_success() {
            let error = super::refused(action, code).to_string();
            let fields = json!({ "action": action.name(), "about": about, "code": code.0 });
            return report.event("refused", fields, &error);
        }
        let shown = plain(about);
        let text = match action {
            Action::AddContact => {
                self.names.add_user(about);
                format!("{shown} is on the list")
            }
            Action::CreateGroup => {
                self.names.add_group(about);
                format!("{shown} is there, and you in it")
            }
            Action::JoinGroup => {
                self.names.add_group(about);
                format!("you are a member of {shown}")
            }
            Action::Whisper => {
                self.names.add_user(about);
                String::new()
            }
            Action::VoiceMsg => format!("recording sent to {shown}"),
            _ => String::new(),
        };
        report.event("done", json!({ "action": action.name(), "about": about }), &text);
    }

    /// The next block of what is played.
    fn speak(&mut self) -> Result<(), Error> {
        let Some(call) = &mut self.call else { return Ok(()) };
        if let Block::Samples(samples) = call.live.next_block()? {
            call.said += 1;
            self.client.say(&samples);
        }
        Ok(())
    }

    fn display(&mut self, lines: &mut Lines) {
        let Some(call) = &mut self.call else { return lines.title("") };
        let lasted = call.live.timers.elapsed();
        call.live.mixer.advance(lasted);
        let report = &self.client.report;
        if report.has_screen() {
            call.live.levels.show(report, lasted, call.said);
        } else {
            lines.title(&call.describe());
        }
        call.live.levels.fade(0.8);
    }

    /// The call is over, if there is one.
    async fn hang_up(&mut self) {
        if let Some(call) = &self.call {
            let fields = json!({ "group": call.group, "sent": call.said, "heard": call.heard });
            self.client.report.event("ended", fields, &call.describe());
        }
        self.leave().await;
    }

    /// Out of the call: what was heard is kept.
    async fn leave(&mut self) {
        let Some(call) = self.call.take() else { return };
        let client = &mut *self.client;
        call.live
            .mixer
            .into_files()
            .into_iter()
            .for_each(|file| client.dialogue.recordings.complete(Some(file)));
        client.dialogue.recordings.settle(&mut client.dialogue.signals).await;
    }
}

/// Recordings that came in, by number; the oldest are forgotten where they would be too many.
#[derive(Debug, Default)]
struct Recordings {
    kept: VecDeque<(String, Clip)>,
    forgotten: usize,
    samples: usize,
}

impl Recordings {
    /// Adds one and returns its number.
    fn add(&mut self, from: String, clip: Clip) -> usize {
        self.samples += clip.samples.len();
        self.kept.push_back((from, clip));
        while self.kept.len() > RECORDINGS || (self.samples > SAMPLES && self.kept.len() > 1) {
            let oldest = self.kept.pop_front();
            self.samples -= oldest.map_or(0, |(_, clip)| clip.samples.len());
            self.forgotten += 1;
        }
        self.forgotten + self.kept.len()
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &(String, Clip))> {
        (self.forgotten + 1..).zip(&self.kept)
    }

    /// The one of that number, or the last.
    fn get(&self, n: Option<usize>) -> Result<&Clip, Error> {
        let at = match n {
            Some(n) => n.checked_sub(self.forgotten + 1),
            None => self.kept.len().checked_sub(1),
        };
        let found = at.and_then(|at| self.kept.get(at));
        found.map(|(_, clip)| clip).ok_or_else(|| Error::Failed("no such recording".into()))
    }
}

impl Call {
    /// How it goes, for programs.
    fn fields(&self) -> serde_json::Value {
        let seconds = self.live.timers.elapsed().as_secs_f64();
        json!({ "in_call": true, "group": self.group, "seconds": seconds, "sent": self.said, "heard": self.heard })
    }

    /// How it goes, with a level meter.
    fn describe(&self) -> String {
        let seconds = self.live.timers.elapsed().as_secs();
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        let Self { group, said, heard, live } = self;
        let (said_peak, heard_peak) = live.levels.peaks();
        let (out, heard_level) = (bar(said_peak, 10), bar(heard_peak, 10));
        format!("{}: {minutes:02}:{seconds:02}  out [{out}] {said}  in [{heard_level}] {heard}", plain(group))
    }
}

/// Waits until something is due in the call; without one, until the display is.
async fn next_due(call: &mut Option<Call>) -> Due {
    match call {
        Some(call) => call.live.next().await,
        None => {
            sleep(DISPLAY).await;
            Due::Display
        }
    }
}

fn listed(what: &str, names: &[String]) -> String {
    match names {
        [] => format!("no {what} yet"),
        names => names.iter().map(|name| plain(name)).collect::<Vec<_>>().join("  "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m_10_recordings_keep_their_numbers_when_the_oldest_are_forgotten() {
        let mut recordings = Recordings::default();
        assert!(recordings.get(None).is_err());
        let clip = |len| Clip { rate: SAMPLE_RATE, channels: 1, samples: vec![0.0; len] };
        for n in 1..=5 {
            assert_eq!(recordings.add("eve".into(), clip(SAMPLES / 4 + n)), n);
        }
        let kept: Vec<usize> = recordings.numbered().map(|(n, _)| n).collect();
        assert_eq!(kept, [3, 4, 5]);
        assert!(
            recordings.get(Some(2)).is_err()
                && recordings.get(Some(6)).is_err()
                && recordings.get(Some(0)).is_err()
        );
        for (n, found) in [(Some(3), 3), (Some(5), 5), (None, 5)] {
            assert_eq!(recordings.get(n).unwrap().samples.len(), SAMPLES / 4 + found);
        }
        // One alone is kept, however long.
        assert_eq!(recordings.add("eve".into(), clip(2 * SAMPLES)), 6);
        assert_eq!(recordings.numbered().count(), 1);
    }
}
