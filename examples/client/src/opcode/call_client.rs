//! One client at work: logs in, calls or waits, and moves the sound.

use super::round::{ActiveCall, CHANNELS, FRAME, Heard, ROUND, Round, SHAPE, Summary, voice_settings};
use crate::call_timers::sound_ticks;
use crate::device::OutputDevice;
use crate::dialogue::Dialogue;
use crate::error::{Error, failed};
use crate::link::Link;
use crate::recordings::Recordings;
use crate::report::{Meter, Report, plain, quoted, text};
use crate::signals::Signals;
use crate::sound::{Recorder, Source};
use crate::trace::Trace;
use crate::waiting::Callee;
use core::pin::pin;
use core::time::Duration;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::time::{Instant, timeout};
use voxwire_audio::{OPUS_RATE, Speaker, SpeakerFigures, voice_encoder};
use voxwire_core::Session;
use voxwire_opcode::{CallId, Cause, Client, ClientCommand, ClientEvent, ClientSettings, DEFAULT_PORT};
use voxwire_transport::{ConnectionSettings, Turn};

/// What to do, and how.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) secret: Option<String>,
    pub(crate) source: Option<Source>,
    pub(crate) record: Option<PathBuf>,
    /// Play what is heard.
    pub(crate) loudspeaker: Option<OutputDevice>,
    pub(crate) length: Option<Duration>,
    pub(crate) bitrate: u32,
    /// Listen for whom we call.
    pub(crate) listen: bool,
    /// Where.
    pub(crate) ports: Option<(u16, u16)>,
    /// Keep when each packet was said and heard.
    pub(crate) trace: bool,
}

impl Options {
    /// Somebody who has nothing to say.
    pub(crate) fn listener(name: String) -> Self {
        Self {
            name,
            secret: None,
            source: None,
            record: None,
            loudspeaker: None,
            length: None,
            bitrate: 96_000,
            listen: true,
            ports: None,
            trace: false,
        }
    }
}

/// How long the port of a call that was given up stays open.
const LINGER: Duration = Duration::from_secs(5);
/// How long to wait for the server's answers, and until it is said that there is none yet.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const LATE_ANSWER: Duration = Duration::from_secs(2);

pub(crate) struct CallClient {
    dialogue: Dialogue<Client>,
    options: Options,
    report: Report,
}

/// An event, owned: all that matters but sound.
enum Event {
    LoggedIn,
    LoginFailed(String),
    Incoming { call: CallId, caller: String },
    Missed(String),
    Established(CallId),
    Rejected { call: Option<CallId>, what: String },
    Ended { call: CallId, contact: String, cause: Cause },
    Disconnected,
}

impl Event {
    fn of(event: ClientEvent<'_>) -> Option<Self> {
        Some(match event {
            ClientEvent::LoggedIn => Self::LoggedIn,
            ClientEvent::LoginFailed { reason } => Self::LoginFailed(text(reason.0)),
            ClientEvent::Incoming { call, caller } => Self::Incoming { call, caller: text(caller.0) },
            ClientEvent::Missed { caller } => Self::Missed(text(caller.0)),
            ClientEvent::Established { call } => Self::Established(call),
            ClientEvent::Rejected { call, what } => Self::Rejected { call, what: text(what.0) },
            ClientEvent::Ended { call, contact, cause } => {
                Self::Ended { call, contact: text(&contact), cause }
            }
            ClientEvent::Disconnected => Self::Disconnected,
            _ => return None,
        })
    }
}

impl CallClient {
    /// Connects and logs in.
    pub(crate) async fn connect(
        link: &Link,
        options: Options,
        report: Report,
        signals: Signals,
    ) -> Result<Self, Error> {
        let settings = ClientSettings { listen: options.listen, linger: LINGER, ..ClientSettings::DEFAULT };
        let mut client = Client::new(settings);
        let name = match &options.secret {
            Some(secret) => format!("{}:{secret}", options.name),
            None => options.name.clone(),
        };
        client
            .handle_command(voxwire_core::Instant::ZERO, ClientCommand::Login { name: &name })
            .map_err(|refusal| Error::Usage(format!("--name: {refusal}")))?;
        let settings = ConnectionSettings { ports: options.ports, ..ConnectionSettings::DEFAULT };
        let connecting = link.connect_with(DEFAULT_PORT, client, settings);
        let record = options.record.clone();
        let dialogue = Dialogue::open("opcode", link, connecting, record, &report, signals).await?;
        report.live();
        let mut client = Self { dialogue, options, report };
        client.be_let_in().await?;
        Ok(client)
    }

    /// Waits for the answer to the log-in. A server that takes it for the beginning of a TLS record says nothing for long.
    async fn be_let_in(&mut self) -> Result<(), Error> {
        let (report, advice) = (self.report.clone(), self.dialogue.on_silence());
        let mut logging_in = pin!(self.log_in());
        if let Ok(answer) = timeout(LATE_ANSWER, &mut logging_in).await {
            return answer;
        }
        report.plain("unanswered", &format!("the server does not answer yet: {advice}"));
        let answer = timeout(ANSWER_TIMEOUT - LATE_ANSWER, logging_in).await;
        answer.unwrap_or_else(|_| Err(failed!("the server does not answer: {advice}")))
    }

    async fn log_in(&mut self) -> Result<(), Error> {
        let name = self.options.name.clone();
        loop {
            match self.event().await? {
                None => return Err(failed!("interrupted while logging in")),
                Some(Event::LoggedIn) => {
                    let text = format!("logged in as {name}");
                    self.report.event("logged_in", json!({ "name": name }), &text);
                    return Ok(());
                }
                Some(Event::LoginFailed(why)) => {
                    return Err(failed!("the server refused the name {}: {}", quoted(&name), plain(&why)));
                }
                Some(Event::Disconnected) => {
                    return Err(self.dialogue.lost("logging in"));
                }
                Some(_) => {}
            }
        }
    }

    /// Keeps the ports of calls that were given up open for a while: an original callee that accepts too late, and cannot
    /// connect, ends itself. The second signal ends the wait.
    async fn let_linger(&mut self) {
        if self.dialogue.connection.session().lingers().is_none() || !self.is_connected() {
            return;
        }
        self.dialogue.signals.end();
        let text = "the call may still be accepted: its port stays open for 5 s, and a callee that comes is told that it is over";
        self.report.plain("lingering", text);
        while let Ok(Some(event)) = self.event().await {
            match event {
                Event::Incoming { call, .. } => drop(self.dialogue.tell(ClientCommand::Refuse { call })),
                Event::Disconnected => return,
                _ => {}
            }
        }
    }

    /// Prints who is there.
    pub(crate) async fn contacts(&mut self) -> Result<(), Error> {
        // The list follows the log-in at once, and not at all where nobody is there.
        let quiet = Duration::from_millis(300);
        while let Ok(event) = timeout(quiet, self.event()).await {
            match event? {
                None => return Err(failed!("interrupted while reading the contact list")),
                Some(Event::Disconnected) => return Err(self.dialogue.lost("reading the contact list")),
                Some(Event::Incoming { call, .. }) => self.dialogue.tell(ClientCommand::Refuse { call })?,
                Some(_) => {}
            }
        }
        let contacts: Vec<String> = self.dialogue.connection.session().contacts().map(text).collect();
        for name in contacts {
            self.report.event("contact", json!({ "name": name }), &plain(&name));
        }
        Ok(())
    }

    /// Calls everybody in `users`, plays, records, and hangs up.
    pub(crate) async fn call(&mut self, users: &[String]) -> Result<Summary, Error> {
        let mut asked = BTreeMap::new();
        for user in users {
            self.dialogue.tell(ClientCommand::Call { contact: user.as_bytes() })?;
            let newest = self.dialogue.connection.session().calls().last().map(|(call, ..)| call);
            asked.extend(newest.map(|call| (call, user.clone())));
            self.report.event("calling", json!({ "user": user }), &format!("calling {}", plain(user)));
        }
        self.round(asked, true, false).await
    }

    /// Waits for a call and sees it through.
    pub(crate) async fn wait(&mut self, refuse: bool) -> Result<Summary, Error> {
        self.report.plain("waiting", "waiting for a call");
        self.round(BTreeMap::new(), false, refuse).await
    }

    /// Until all calls are over.
    async fn round(
        &mut self,
        asked: BTreeMap<CallId, String>,
        calling: bool,
        refuse: bool,
    ) -> Result<Summary, Error> {
        // Before the call is up: who waits for it then hears the first words in a burst, and has to catch up.
        let ready = self.options.source.as_ref().map(|source| source.at_rate(OPUS_RATE)).transpose()?;
        let summary = Summary { said: Trace::new(self.options.trace), ..Summary::default() };
        let encoder = voice_encoder(voice_settings(self.options.bitrate))?;
        let mut round = Round { asked, calling, refuse, ready, summary, ..Round::new(encoder) };
        let mut end = self.converse(&mut round).await;
        self.report.progress_end();
        // The others have hung up: what they said is heard to its end.
        if let (true, false, Some(recorder)) =
            (round.active.is_empty() && end.is_ok(), self.dialogue.signals.came(), &mut round.recorder)
        {
            tokio::select! {
                drained = recorder.drain() => end = drained,
                () = self.dialogue.signals.recv() => {}
            }
        }
        // Whatever happened, what was heard is kept; and the other sides learn of a hang-up now.
        let over = round.active.keys().copied().collect::<Vec<_>>();
        for call in over {
            let speaker = self.over(&mut round, call, "hung up");
            round.lingers(speaker);
        }
        let rest: Vec<CallId> = self.dialogue.connection.session().calls().map(|(call, ..)| call).collect();
        for call in rest {
            let _ = self.dialogue.tell(ClientCommand::HangUp { call });
        }
        let _ = timeout(Duration::from_secs(2), self.dialogue.connection.flush()).await;
        // What has come in is recorded, too.
        self.dialogue.recordings.complete(round.finish());
        end?;
        match round.failure {
            Some(reason) if round.up.is_none() => Err(Error::Failed(reason)),
            None if calling && round.up.is_none() => Err(failed!("interrupted before any user answered")),
            _ => Ok(round.summary),
        }
    }

    async fn converse(&mut self, round: &mut Round) -> Result<(), Error> {
        let mut ticks = sound_ticks(ROUND);
        loop {
            let event = tokio::select! {
                turn = self.dialogue.connection.next() => {
                    let Some(Turn { result, .. }) = turn else { return Err(self.dialogue.lost("in a call")) };
                    match result {
                        Ok(Some(ClientEvent::Voice { call, packet })) => {
                            round.hear(call, packet);
                            None
                        }
                        Ok(event) => event.and_then(Event::of),
                        Err(violation) => {
                            tracing::debug!(%violation, "ignored");
                            None
                        }
                    }
                }
                _ = ticks.tick() => {
                    if self.tick(round)? {
                        return Ok(());
                    }
                    None
                }
                () = self.dialogue.recordings.next_ended() => None,
                () = self.dialogue.signals.recv() => return Ok(()),
            };
            if let Some(event) = event {
                let was_up = round.up.is_some();
                self.on_event(round, event)?;
                // What was due before there was a call is not said in a burst.
                if !was_up && round.up.is_some() {
                    ticks.reset_immediately();
                    round.half = false;
                }
            }
            let nobody = round.asked.is_empty() && round.active.is_empty() && round.rest.is_empty();
            let over = round.up.is_some() || round.failure.is_some() || round.calling || round.refused;
            if nobody && over {
                return Ok(());
            }
        }
    }

    /// Hears and says what is due. True once all is said, or the time is up.
    fn tick(&mut self, round: &mut Round) -> Result<bool, Error> {
        let Some(up) = round.up else { return Ok(false) };
        round.render()?;
        // Half of a frame is heard at once, and whole ones are said.
        round.half = !round.half;
        let packet = if round.half { round.next_packet()? } else { None };
        if let Some(packet) = packet {
            let say = ClientCommand::Say { call: None, packet: &packet };
            let said = self.dialogue.connection.call(|client, now| client.handle_command(now, say));
            said.map_err(|refusal| failed!("cannot send sound: {refusal}"))?;
            round.summary.said.push(Instant::now());
        }
        let lasted = up.elapsed();
        self.report.progress(lasted, round.levels.0, round.levels.1);
        self.report.figures(|| round.figures());
        let time_is_up = self.options.length.is_some_and(|length| lasted >= length);
        Ok(time_is_up || (round.played && round.calling && self.options.length.is_none()))
    }

    fn on_event(&mut self, round: &mut Round, event: Event) -> Result<(), Error> {
        match event {
            Event::Incoming { call, caller } => {
                let shown = plain(&caller);
                self.report.event("incoming", json!({ "caller": caller }), &format!("{shown} calls"));
                if round.refuse || round.calling {
                    self.dialogue.tell(ClientCommand::Refuse { call })?;
                    self.report.event("refused", json!({ "caller": caller }), "refused");
                    if round.refuse {
                        round.refused = true;
                    }
                } else {
                    self.dialogue.tell(ClientCommand::Accept { call })?;
                    round.asked.insert(call, caller);
                }
            }
            Event::Missed(caller) => {
                let text = format!("{} called meanwhile, and was refused", plain(&caller));
                self.report.event("missed", json!({ "caller": caller }), &text);
            }
            Event::Established(call) => self.came_up(round, call)?,
            Event::Rejected { call, what } => {
                let who = call.and_then(|call| round.asked.remove(&call));
                let reason = match who {
                    Some(who) => format!("{}: {}", plain(&who), plain(&what)),
                    None => format!("the server says: {}", plain(&what)),
                };
                self.report.event("rejected", json!({ "reason": what }), &reason);
                if call.is_some() {
                    round.failure = Some(reason);
                }
            }
            Event::Ended { call, contact, cause } => {
                let contact = plain(&contact);
                if round.active.contains_key(&call) {
                    let speaker = self.over(round, call, &format!("{contact} {cause}"));
                    round.lingers(speaker);
                } else if round.asked.remove(&call).is_some() {
                    let reason = why_not_up(&contact, cause);
                    self.report.event("failed", json!({ "with": contact, "reason": reason }), &reason);
                    round.failure = Some(reason);
                }
            }
            Event::Disconnected => {
                let text = "the connection to the server is lost";
                if round.active.is_empty() {
                    let doing = if round.calling { "calling" } else { "waiting for a call" };
                    return Err(self.dialogue.lost(doing));
                }
                self.report.plain("disconnected", &format!("{text}; the call goes on"));
            }
            Event::LoggedIn | Event::LoginFailed(_) => {}
        }
        Ok(())
    }

    /// A call is up: what is said and heard begins with the first one.
    fn came_up(&mut self, round: &mut Round, call: CallId) -> Result<(), Error> {
        let Some(name) = round.asked.remove(&call) else { return Ok(()) };
        let text = format!("call with {} is up", plain(&name));
        self.report.event("established", json!({ "with": name }), &text);
        let packets = Trace::new(self.options.trace);
        let new = || Heard { packets, ..Heard::default() };
        round.summary.heard.entry(name.clone()).or_insert_with(new);
        round.active.insert(
            call,
            ActiveCall { name, speaker: Speaker::new(FRAME, CHANNELS)?, meter: Meter::default() },
        );
        if round.up.is_none() {
            round.up = Some(Instant::now());
            round.summary.set_up = round.started.elapsed();
            let player = round.ready.as_ref().map(|ready| ready.player(SHAPE)?.gated(&self.report));
            round.player = player.transpose()?;
            let file = self.dialogue.recordings.create(OPUS_RATE, CHANNELS, SHAPE.format);
            round.recorder = Some(Recorder::new(file, self.options.loudspeaker.as_ref(), SHAPE)?);
        }
        Ok(())
    }

    /// A call is over: its figures are kept and shown.
    fn over(&self, round: &mut Round, call: CallId, how: &str) -> Option<Speaker> {
        let ActiveCall { name, speaker, .. } = round.active.remove(&call)?;
        let heard = round.summary.heard.entry(name.clone()).or_default();
        heard.figures = speaker.figures();
        let (said, packets) = (round.summary.said.count(), heard.packets.count());
        let SpeakerFigures { jitter, concealed, invalid, .. } = heard.figures;
        let fields = json!({
            "with": name, "how": how, "packets_sent": said, "packets_heard": packets,
            "invalid": invalid, "concealed": concealed, "left_out": jitter.overflow, "underruns": jitter.underruns,
            "delay_ms": jitter.target.as_millis(),
        });
        let text = format!(
            "call with {} over ({how}): {said} packets sent, {packets} heard, held back for {} ms",
            plain(&name),
            jitter.target.as_millis()
        );
        self.report.event("ended", fields, &text);
        Some(speaker)
    }

    /// The next thing that happens outside of calls; `None` for a signal.
    async fn event(&mut self) -> Result<Option<Event>, Error> {
        self.dialogue.next_event(Event::of, |_| None).await
    }
}

/// Why a call did not come up.
fn why_not_up(contact: &str, cause: Cause) -> String {
    match cause {
        Cause::Refused => format!("{contact} refused the call"),
        Cause::NoAnswer => format!("{contact} does not answer"),
        Cause::HungUp => format!("{contact} hung up before the call was up"),
        _ => format!("{contact}: {cause}"),
    }
}

impl Callee for CallClient {
    fn is_connected(&self) -> bool {
        self.dialogue.connection.session().is_connected()
    }

    fn recordings(&mut self) -> &mut Recordings {
        &mut self.dialogue.recordings
    }

    /// Hangs up, and waits a moment until it is written.
    async fn close(mut self) -> Recordings {
        let _ = timeout(LINGER, self.let_linger()).await;
        self.dialogue.close().await
    }
}
