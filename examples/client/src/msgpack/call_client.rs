//! One client at work: asks, is answered, and moves the sound.

use super::live_call::{Block, LiveCall};
use super::mixer::Mixer;
use super::refused;
use crate::call_timers::{Due, until};
use crate::device::OutputDevice;
use crate::dialogue::Dialogue;
use crate::error::{Error, failed};
use crate::link::Link;
use crate::recordings::TrackFiles;
use crate::report::{Report, plain, text};
use crate::signals::Signals;
use crate::sound::{Shape, Source};
use crate::trace::{Trace, speaker};
use core::time::Duration;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until, timeout};
use voxwire_audio::{Clip, ClipStream, Pacer, SampleFormat, SampleOrder};
use voxwire_core::Session;
use voxwire_msgpack::{
    Action, Client, ClientCommand, ClientEvent, ClientSettings, Code, DEFAULT_PORT, Dialect,
    MAX_VOICE_SAMPLES, SAMPLE_RATE, Samples, Secret, Violation, check_name,
};
use voxwire_transport::ConnectionSettings;

/// How long these samples of a call last.
pub(super) fn length_of(samples: &[i16]) -> Duration {
    Duration::from_secs_f64(samples.len() as f64 / f64::from(SAMPLE_RATE))
}

/// Samples in one message of a call: 20 ms.
pub(super) const BLOCK: usize = SAMPLE_RATE as usize / 50;
/// What may wait for the server: a recording of the greatest length.
const BACKLOG: usize = 32 * 1024 * 1024;

/// What to do, and how.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) source: Option<Source>,
    pub(crate) record: Option<PathBuf>,
    /// A file for each speaker of a call.
    pub(crate) record_each: Option<PathBuf>,
    /// Play what is heard.
    pub(crate) loudspeaker: Option<OutputDevice>,
    pub(crate) length: Option<Duration>,
    pub(crate) dialect: Dialect,
    /// Connect again after a lost connection.
    pub(crate) reconnect: bool,
    /// Keep when each message of a call was said and heard.
    pub(crate) trace: bool,
}

/// How a call went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    /// From asking to be let into the call until that was answered.
    pub(crate) set_up: Duration,
    /// When each message went out.
    pub(crate) said: Trace<Instant>,
    /// When each message came in, by who said it.
    pub(crate) heard: BTreeMap<String, Trace<Instant>>,
}

pub(crate) struct CallClient {
    pub(crate) dialogue: Dialogue<Client>,
    pub(crate) options: Options,
    pub(super) report: Report,
    /// Texts and recordings shown.
    shown: u32,
}

/// An event of the session, owned, or of this program.
#[derive(Debug)]
pub(super) enum Event {
    Response {
        action: Action,
        code: Code,
        again: bool,
    },
    LoggedIn {
        again: bool,
    },
    CallJoined {
        group: String,
        again: bool,
    },
    Whisper {
        sender: String,
        content: String,
    },
    MsgGroup {
        group: String,
        sender: String,
        content: String,
    },
    VoiceMsg {
        sender: String,
        clip: Clip,
    },
    CallData {
        sender: String,
        samples: Vec<i16>,
    },
    NoAnswer(Action),
    /// A message that could not be taken, and why.
    Lost(String),
    Disconnected {
        retrying: bool,
    },
    Interrupted,
}

impl CallClient {
    pub(crate) async fn connect(
        link: &Link,
        options: Options,
        report: Report,
        signals: Signals,
    ) -> Result<Self, Error> {
        let reconnect = ClientSettings::DEFAULT.reconnect.filter(|_| options.reconnect);
        let (dialect, seed) = (options.dialect, fastrand::u64(..));
        let settings = ClientSettings { dialect, reconnect, seed, ..ClientSettings::DEFAULT };
        let limits = ConnectionSettings { droppable_budget: BACKLOG, ..ConnectionSettings::DEFAULT };
        let connecting = link.connect_with(DEFAULT_PORT, Client::new(settings), limits);
        let record = options.record.clone();
        let dialogue = Dialogue::open("msgpack", link, connecting, record, &report, signals).await?;
        Ok(Self { dialogue, options, report, shown: 0 })
    }

    /// Logs in, and shows what was kept meanwhile; for a single request nothing is delivered, where the server can do that.
    pub(crate) async fn log_in(
        &mut self,
        user: &str,
        password: Secret<'_>,
        single: bool,
    ) -> Result<(), Error> {
        let username = user.into();
        self.ask(match single {
            true => ClientCommand::LoginForRequests { username, password },
            false => ClientCommand::Login { username, password },
        })
        .await?;
        self.report.event("logged_in", json!({ "user": user }), &format!("logged in as {}", plain(user)));
        Ok(())
    }

    /// Logs out, shows what comes before that is answered, and waits a moment until all is written; then for recordings that are not
    /// complete yet. The second signal ends that.
    ///
    /// # Errors
    /// Some of what was heard is not in one of them.
    pub(crate) async fn close(mut self) -> Result<(), Error> {
        self.dialogue.signals.end();
        if self.dialogue.connection.session().name().is_some() {
            let _ = timeout(Duration::from_secs(2), self.ask(ClientCommand::Logout)).await;
        }
        let mut signals = self.dialogue.signals.clone();
        self.dialogue.close().await.end(&mut signals).await
    }

    /// Sends a request and waits for its answer; what comes before is shown.
    pub(crate) async fn ask(&mut self, command: ClientCommand<'_>) -> Result<(), Error> {
        self.request(command)?;
        loop {
            match self.event().await? {
                Event::Response { code: Code::SUCCESS, again: false, .. }
                | Event::LoggedIn { again: false }
                | Event::CallJoined { again: false, .. } => return Ok(()),
                Event::Response { action, code, again: false } => return Err(refused(action, code)),
                Event::NoAnswer(action) => {
                    return Err(failed!("the server does not answer {}", action.name()));
                }
                Event::Disconnected { .. } => return Err(self.dialogue.lost("waiting for an answer")),
                Event::Interrupted => return Err(failed!("interrupted while waiting for an answer")),
                other => self.show(other).await?,
            }
        }
    }

    /// Has a request sent, once its names have been checked.
    pub(super) fn request(&mut self, command: ClientCommand<'_>) -> Result<(), Error> {
        // The server's answer would be a number.
        if let ClientCommand::Register { username: name, .. }
        | ClientCommand::CreateGroup { group_name: name } = command
        {
            check_name(name.0).map_err(|error| failed!("the name {name:?} will not do: {error}"))?;
        }
        self.dialogue.tell(command)
    }

    /// Makes a recording and sends it; returns its length in seconds.
    pub(crate) async fn voice_message(&mut self, recipient: &str) -> Result<f64, Error> {
        let samples = self.recording().await?;
        let seconds = samples.len() as f64 / f64::from(SAMPLE_RATE);
        self.send_recording(recipient, &samples).await?;
        Ok(seconds)
    }

    /// What `--play` or the microphone has to say: mono, at the rate of the original's recordings.
    async fn recording(&mut self) -> Result<Vec<i16>, Error> {
        let length = self.options.length;
        let most = match length {
            Some(length) => {
                ((length.as_secs_f64() * f64::from(SAMPLE_RATE)) as usize).min(MAX_VOICE_SAMPLES + 1)
            }
            None => MAX_VOICE_SAMPLES + 1,
        };
        let source = self.options.source.as_ref().ok_or_else(|| failed!("nothing to send"))?;
        let live = matches!(source, Source::Microphone(_));
        let mut player = source.player(SHAPE)?;
        let (start, mut pacer) = (Instant::now(), Pacer::new(SAMPLE_RATE));
        let mut samples = Vec::new();
        while samples.len() < most {
            if live {
                tokio::select! {
                    () = sleep_until(start + pacer.due()) => {}
                    () = self.dialogue.signals.recv() => {
                        self.report.live();
                        break;
                    }
                }
            }
            let Some(block) = player.next_samples(BLOCK.min(most - samples.len()))? else { break };
            pacer.sent(block.len());
            samples.extend(to_i16(&block));
        }
        check_length(&samples)?;
        Ok(samples)
    }

    pub(super) async fn send_recording(&mut self, recipient: &str, samples: &[i16]) -> Result<(), Error> {
        check_length(samples)?;
        let command = ClientCommand::VoiceMsg {
            recipient: recipient.into(),
            channels: 1,
            sample_rate: SAMPLE_RATE.into(),
            samples: Samples::from(samples),
        };
        self.ask(command).await
    }

    /// Waits for messages.
    pub(crate) async fn wait(&mut self, keep: bool) -> Result<(), Error> {
        // What was kept has come with the log-in.
        if self.shown > 0 && !keep {
            return Ok(());
        }
        self.report.plain("waiting", "waiting for messages");
        let end = self.options.length.and_then(|length| Instant::now().checked_add(length));
        loop {
            let event = tokio::select! {
                event = self.event() => event?,
                () = until(end) => return Ok(()),
            };
            match event {
                Event::Interrupted => return Ok(()),
                Event::Disconnected { retrying: false } => return Err(self.dialogue.lost("waiting")),
                event => {
                    check_again(&event)?;
                    self.show(event).await?;
                    if self.shown > 0 && !keep {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes part in a group's call, plays, records, and leaves.
    pub(crate) async fn call(&mut self, group: &str) -> Result<Summary, Error> {
        let asked = Instant::now();
        self.ask(ClientCommand::JoinCall { group_name: group.into() }).await?;
        let said = Trace::new(self.options.trace);
        let mut summary = Summary { set_up: asked.elapsed(), said, ..Summary::default() };
        let text = format!("in the call of {}", plain(group));
        self.report.event("established", json!({ "group": group }), &text);
        let player = self.options.source.as_ref().map(|source| source.player(SHAPE)?.gated(&self.report));
        let player = player.transpose()?;
        let file = self.dialogue.recordings.create_named(SAMPLE_RATE, 1, SampleFormat::I16);
        let mixer = Mixer::new(file, self.options.loudspeaker.as_ref())?.with_tracks(self.tracks());
        let mut call = LiveCall::new(Instant::now(), player, mixer, self.options.length);
        let end = self.take_part(&mut call, &mut summary).await;
        self.report.progress_end();
        let heard: BTreeMap<&str, u64> =
            summary.heard.iter().map(|(name, times)| (name.as_str(), times.count())).collect();
        let said = summary.said.count();
        let total: u64 = heard.values().sum();
        let how = match &end {
            Ok(()) => "left".into(),
            Err(error) => error.to_string(),
        };
        let fields = json!({ "group": group, "how": how, "sent": said, "heard": heard });
        let who = summary.heard.len();
        let text = format!("call over ({how}): {said} messages sent, {total} of {who} speakers heard");
        self.report.event("ended", fields, &text);
        self.dialogue.signals.end();
        if end.is_ok() {
            // An original server never answers that.
            let _ = timeout(Duration::from_secs(2), self.ask(ClientCommand::LeaveCall)).await;
        }
        // The others need not wait for it.
        call.mixer.into_files().into_iter().for_each(|file| self.dialogue.recordings.complete(Some(file)));
        end?;
        Ok(summary)
    }

    /// What `--record-each` asks for.
    pub(super) fn tracks(&self) -> Option<TrackFiles> {
        let path = self.options.record_each.as_ref();
        path.map(|path| TrackFiles::new(path, SAMPLE_RATE, &self.report))
    }

    async fn take_part(&mut self, call: &mut LiveCall, summary: &mut Summary) -> Result<(), Error> {
        let end = self.converse(call, summary).await;
        if end.is_err() {
            self.play_out(call).await?;
        }
        end
    }

    /// The call is cut: what has come in is heard to its end, unless a signal comes.
    pub(super) async fn play_out(&mut self, call: &mut LiveCall) -> Result<(), Error> {
        tokio::select! {
            played = call.play_out() => played,
            () = self.dialogue.signals.recv() => Ok(()),
        }
    }

    async fn converse(&mut self, call: &mut LiveCall, summary: &mut Summary) -> Result<(), Error> {
        loop {
            let due = tokio::select! {
                event = self.event() => match event? {
                    Event::CallData { sender, samples } => {
                        call.hear(&self.report, &sender, samples);
                        let trace = self.options.trace;
                        if let Some(times) = speaker(&mut summary.heard, &sender, || Trace::new(trace)) {
                            times.push(Instant::now());
                        }
                        continue;
                    }
                    Event::Interrupted => return Ok(()),
                    Event::Disconnected { retrying: false } => return Err(self.dialogue.lost("in a call")),
                    Event::Response { action: Action::JoinCall, code, .. } => return Err(refused(Action::JoinCall, code)),
                    other => {
                        check_again(&other)?;
                        self.show(other).await?;
                        continue;
                    }
                },
                due = call.next() => due,
            };
            match due {
                Due::Say => match call.next_block()? {
                    Block::Samples(samples) => {
                        summary.said.push(Instant::now());
                        self.say(&samples);
                    }
                    Block::End if !call.timers.has_end() => {
                        // What is on its way to the server is not lost.
                        let _ = timeout(Duration::from_secs(2), self.dialogue.connection.flush()).await;
                        return Ok(());
                    }
                    Block::Silence | Block::End => {}
                },
                Due::Play => call.play()?,
                Due::Display => {
                    call.mixer.advance(call.timers.elapsed());
                    call.levels.show(&self.report, call.timers.elapsed(), summary.said.count());
                    call.levels.fade(0.0);
                }
                Due::End => return Ok(()),
            }
        }
    }

    /// Sends live audio; while there is no connection it goes nowhere.
    pub(super) fn say(&mut self, samples: &[i16]) {
        let samples = Samples::from(samples);
        let said = self
            .dialogue
            .connection
            .call(|client, now| client.handle_command(now, ClientCommand::Say { samples }));
        if let Err(refusal) = said {
            tracing::debug!(%refusal, "not said");
        }
    }

    /// Shows what concerns people.
    pub(super) async fn show(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Whisper { sender, content } => {
                let text = format!("{}: {}", plain(&sender), plain(&content));
                self.report.keep("whisper", json!({ "from": sender, "text": content }), &text);
                self.shown += 1;
            }
            Event::MsgGroup { group, sender, content } => {
                let text = format!("[{}] {}: {}", plain(&group), plain(&sender), plain(&content));
                let fields = json!({ "group": group, "from": sender, "text": content });
                self.report.keep("message", fields, &text);
                self.shown += 1;
            }
            Event::VoiceMsg { sender, clip } => {
                let seconds = clip.seconds();
                let clip = Arc::new(clip);
                // It is nowhere else, once it has been delivered and is not played.
                let wanted = self.options.loudspeaker.is_none().then_some("voice-message.wav");
                let path = self.dialogue.recordings.save(&clip, wanted);
                self.dialogue.recordings.settle(&mut self.dialogue.signals).await;
                self.shown += 1;
                let place = path.as_ref().map(|path| format!(", in {}", path.display())).unwrap_or_default();
                let text = format!("{}: {seconds:.1} s of sound{place}", plain(&sender));
                let Clip { rate, channels, .. } = *clip;
                let fields = json!({ "from": sender, "seconds": seconds, "rate": rate, "channels": channels, "file": path });
                self.report.keep("voice_message", fields, &text);
                if let Some(output) = &self.options.loudspeaker {
                    play(&clip, output)?;
                }
            }
            Event::Disconnected { .. } => {
                self.report.plain("disconnected", "the connection is lost; trying again");
            }
            Event::LoggedIn { .. } => self.report.plain("back", "back, and logged in again"),
            Event::CallJoined { group, .. } => {
                let text = format!("back in the call of {}", plain(&group));
                self.report.event("established", json!({ "group": group }), &text);
            }
            Event::Response { action, code, again } => {
                let later = if again && code.is_temporary() { ", trying again" } else { "" };
                let text = format!("{}: {code}{later}", action.name());
                let fields = json!({ "action": action.name(), "code": code.0 });
                self.report.event("response", fields, &text);
            }
            Event::NoAnswer(action) => {
                let fields = json!({ "action": action.name() });
                self.report.event("no_answer", fields, &format!("{}: no answer", action.name()));
            }
            Event::Lost(reason) => {
                let text = format!("a message of the server's is lost: {reason}");
                self.report.keep("lost", json!({ "reason": reason }), &text);
            }
            Event::CallData { .. } | Event::Interrupted => {}
        }
        Ok(())
    }

    /// The next thing that happens.
    pub(super) async fn event(&mut self) -> Result<Event, Error> {
        let event = self.dialogue.next_event(Event::of, Event::of_violation).await?;
        Ok(event.unwrap_or_else(|| {
            // Nobody may read any more: the end does not wait for it.
            self.report.live();
            Event::Interrupted
        }))
    }
}

impl Event {
    fn of(event: ClientEvent<'_>) -> Option<Self> {
        Some(match event {
            ClientEvent::Response { action, code, again } => Self::Response { action, code, again },
            ClientEvent::LoggedIn { again, .. } => Self::LoggedIn { again },
            ClientEvent::CallJoined { group_name, again } => {
                Self::CallJoined { group: text(group_name.0), again }
            }
            ClientEvent::Whisper { sender, content } => {
                Self::Whisper { sender: text(sender.0), content: text(content.0) }
            }
            ClientEvent::MsgGroup { group_name, sender, content } => {
                let (group, sender, content) = (text(group_name.0), text(sender.0), text(content.0));
                Self::MsgGroup { group, sender, content }
            }
            ClientEvent::VoiceMsg { sender, channels, sample_rate, samples } => {
                Self::VoiceMsg { sender: text(sender.0), clip: clip(channels, sample_rate, samples) }
            }
            ClientEvent::CallData { sender, samples } => {
                let mut pcm = Vec::new();
                samples.append_to(&mut pcm);
                Self::CallData { sender: text(sender.0), samples: pcm }
            }
            ClientEvent::NoAnswer { action } => Self::NoAnswer(action),
            ClientEvent::Skipped => Self::Lost(
                "it is larger than 512 KiB, or a recording than 64 MiB, or has several frames".into(),
            ),
            ClientEvent::Disconnected { retry_at, .. } => Self::Disconnected { retrying: retry_at.is_some() },
            _ => return None,
        })
    }

    fn of_violation(violation: &Violation) -> Option<Self> {
        match violation {
            Violation::Decode(error) => Some(Self::Lost(error.to_string())),
            _ => None,
        }
    }
}

/// A log-in after a lost connection that is refused for good: nothing is heard any more, so nobody should go on waiting.
pub(super) fn check_again(event: &Event) -> Result<(), Error> {
    match event {
        Event::Response { action: Action::Login, code, again: true } if !code.is_temporary() => {
            Err(failed!("logged in no more after the connection was lost: {}", refused(Action::Login, *code)))
        }
        _ => Ok(()),
    }
}

/// Checks that a recording is not longer than servers take.
pub(super) fn check_length(samples: &[i16]) -> Result<(), Error> {
    if samples.len() > MAX_VOICE_SAMPLES {
        return Err(failed!("a recording has at most 120 seconds, and this one is longer"));
    }
    Ok(())
}

/// How a call carries its sound.
pub(super) const SHAPE: Shape =
    Shape { rate: SAMPLE_RATE, channels: 1, format: SampleFormat::I16, order: SampleOrder::Little };

/// A recording as it came, with a rate and channels that can be played.
fn clip(channels: u64, sample_rate: u64, samples: Samples<'_>) -> Clip {
    let channels = u16::try_from(channels).ok().filter(|channels| *channels > 0).unwrap_or(1);
    let rate = u32::try_from(sample_rate).ok().filter(|rate| (1000..=384_000).contains(rate));
    let mut pcm = Vec::new();
    samples.append_to(&mut pcm);
    let samples = pcm.into_iter().map(|sample| f64::from(sample) / 32_768.0).collect();
    Clip { rate: rate.unwrap_or(SAMPLE_RATE), channels, samples }
}

/// Plays a recording on a loudspeaker, while the session goes on.
pub(super) fn play(clip: &Clip, output: &OutputDevice) -> Result<(), Error> {
    // Converted as it is played: at 48 kHz it may be 48 times as much.
    let mut sound = ClipStream::new(clip.mono(), 48_000, 1)?;
    let mut loudspeaker = output.open(48_000, 1)?;
    tokio::spawn(async move {
        let (start, mut pacer) = (Instant::now(), Pacer::new(48_000));
        let mut samples = Vec::new();
        while sound.take(960, &mut samples).is_ok_and(|frames| frames > 0) {
            sleep_until(start + pacer.due()).await;
            pacer.sent(samples.len());
            let block: Vec<f32> = samples.drain(..).map(|sample| sample as f32).collect();
            if loudspeaker.write(&block).is_err() {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    });
    Ok(())
}

pub(super) fn to_i16(samples: &[f64]) -> Vec<i16> {
    samples.iter().map(|sample| (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::serve;
    use crate::playout::tests::listening;
    use voxwire_server::Protocol;

    /// C-14: when the connection is lost, all that has come in of a call is heard.
    #[tokio::test]
    async fn c_14_what_has_come_in_is_heard_when_the_connection_is_lost() {
        let data = std::env::temp_dir().join(format!("voxwire-msgpack-lost-{}", std::process::id()));
        let (server, address) = serve(Protocol::MSGPACK, |config| config.data = data.clone()).await.unwrap();
        let link = Link::to(address);
        let (_sender, signals) = Signals::sent();
        let (dialect, reconnect, trace) = (Dialect::Zmtp, false, false);
        let options = Options {
            source: None,
            record: None,
            record_each: None,
            loudspeaker: None,
            length: None,
            dialect,
            reconnect,
            trace,
        };
        let mut bob = CallClient::connect(&link, options, Report::silent(), signals).await.unwrap();
        let (playout, heard) = listening(SAMPLE_RATE);
        let mut mixer = Mixer::on(playout);
        let said: Vec<i16> = (1..=20 * BLOCK as i16).collect();
        for (n, block) in (1_u64..).zip(said.chunks(BLOCK)) {
            let now = Duration::from_millis(n * 20);
            mixer.play(now).unwrap();
            mixer.hear(now, b"ann", block);
        }
        bob.dialogue.connection.shutdown();
        let start = Instant::now() - Duration::from_millis(400);
        let mut call = LiveCall::new(start, None, mixer, None);
        let lost = bob.take_part(&mut call, &mut Summary::default()).await.unwrap_err();
        assert!(lost.to_string().contains("lost"), "{lost}");
        server.drain(Duration::from_secs(1)).await;
        let heard = heard.lock().unwrap();
        let end: Vec<f64> = said[19 * BLOCK..].iter().map(|sample| f64::from(*sample) / 32_768.0).collect();
        assert!(heard.windows(BLOCK).any(|part| *part == end[..]), "the last block is heard");
        std::fs::remove_dir_all(data).unwrap();
    }
}
