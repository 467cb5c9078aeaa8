//! One client at work: joins, speaks, and plays what others say.

mod away;
mod event;
mod options;
mod speech;
mod summary;

use super::voices::{Frame, Voices};
use crate::call_timers::sound_ticks;
use crate::error::{Error, failed};
use crate::link::advice::on_blocked_udp;
use crate::link::{Link, close};
use crate::playout::{LOUDSPEAKER_DELAY, Sink, loudspeaker};
use crate::recordings::{RecordFile, Recordings, TrackFiles};
use crate::report::{Figures, Report, quoted};
use crate::signals::Signals;
use crate::trace::{Trace, speaker};
use away::{Away, Reason};
use core::time::Duration;
use event::Event;
pub(crate) use options::Options;
use serde_json::json;
use speech::{Said, Speaking};
use std::collections::BTreeMap;
use std::path::PathBuf;
pub(crate) use summary::{Heard, Summary};
use tokio::time::{Instant, timeout};
use voxwire_audio::{OPUS_RATE, SampleFormat};
use voxwire_core::Session;
use voxwire_dissonance::{
    Client, ClientCommand, ClientId, ClientSettings, Codec, CodecSettings, DEFAULT_PORT, Lost, Refusal,
    SessionState, Speech, Target,
};
use voxwire_server::DEFAULT_QUIC_PORT;
use voxwire_transport::{Connection, UdpState};

/// How often sound is rendered: half the shortest frame there is, as a voice waits for the next time.
pub(super) const TICK: Duration = Duration::from_millis(5);
pub(super) const TICK_SAMPLES: usize = 240;
/// How long to wait to be let in for the first time.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long others have to be described after joining, before it is said that nobody listens.
const DESCRIBED: Duration = Duration::from_millis(500);
/// How long to go on listening when everything has been said.
const TAIL: Duration = Duration::from_millis(600);

pub(crate) struct VoiceClient {
    connection: Connection<Client>,
    options: Options,
    report: Report,
    signals: Signals,
    started: Instant,
    joined: Option<Instant>,
    away: Away,
    voices: Voices,
    speech: Option<Speaking>,
    recorder: Option<RecordFile>,
    loudspeaker: Option<Sink>,
    text_sent: bool,
    /// It has been said that nobody listens.
    nobody_listens: bool,
    /// What was said of UDP last.
    udp: Option<UdpState>,
    summary: Summary,
    /// The loudest sample said and heard lately.
    levels: (f64, f64),
}

impl VoiceClient {
    /// Connects and asks to join.
    pub(crate) async fn connect(
        link: &Link,
        options: Options,
        report: Report,
        mut signals: Signals,
    ) -> Result<Self, Error> {
        let frame_size = u32::try_from(options.voice.samples()).unwrap_or(960);
        let codec = CodecSettings { codec: Codec::OPUS, frame_size, sample_rate: OPUS_RATE };
        let settings = ClientSettings { codec, seed: fastrand::u64(..), ..ClientSettings::DEFAULT };
        let mut client =
            Client::new(&options.name, settings).map_err(|refusal| Error::Usage(refusal.to_string()))?;
        let now = voxwire_core::Instant::ZERO;
        let usage = |refusal: Refusal| Error::Usage(refusal.to_string());
        for room in &options.rooms {
            client.handle_command(now, ClientCommand::Join { room }).map_err(usage)?;
        }
        let speech =
            options.source.as_ref().map(|source| Speaking::new(source, &options, &report)).transpose()?;
        let record = |path: &PathBuf| RecordFile::create(path, OPUS_RATE, 1, SampleFormat::I16, &report);
        let recorder = options.record.as_ref().map(record).transpose()?;
        let loudspeaker =
            options.loudspeaker.as_ref().map(|output| loudspeaker(output, OPUS_RATE, 1)).transpose()?;
        let (started, talk) = (Instant::now(), report.talk().clone());
        let (tcp_udp, trace) = (options.tcp_udp.clone(), options.trace);
        let connecting = async {
            if options.quic {
                link.connect_quic(DEFAULT_QUIC_PORT, tcp_udp.token, client).await
            } else {
                link.connect_tcp_udp(DEFAULT_PORT, tcp_udp, client).await
            }
        };
        let connection = signals.interrupt("connecting", connecting).await?;
        Ok(Self {
            connection,
            options,
            report,
            signals,
            started,
            joined: None,
            away: Away::default(),
            voices: Voices::new(talk),
            speech,
            recorder,
            loudspeaker,
            text_sent: false,
            nobody_listens: false,
            udp: None,
            summary: Summary { said: Trace::new(trace), ..Summary::default() },
            levels: (0.0, 0.0),
        })
    }

    /// Does what the options say, to the end.
    pub(crate) async fn run(mut self) -> Result<Summary, Error> {
        let end = match self.converse().await {
            Ok(Over::Wanted) => Ok(()),
            Ok(Over::Gone) => self.play_out().await,
            Err(error) => self.play_out().await.and(Err(error)),
        };
        // Also after an error: what was heard is kept, and the outcome is reported.
        let finished = self.finish().await;
        end.and(finished)
    }

    async fn converse(&mut self) -> Result<Over, Error> {
        self.report.live();
        let mut ticks = sound_ticks(TICK);
        loop {
            tokio::select! {
                turn = self.connection.next() => {
                    let Some(turn) = turn else { return Ok(Over::Gone) };
                    let event = turn.result.map(|event| event.and_then(|event| Event::of(event, turn.session)));
                    match event {
                        Ok(Some(event)) => self.handle(event)?,
                        Ok(None) => {}
                        Err(violation) => tracing::debug!(%violation, "ignored"),
                    }
                    self.watch_udp();
                }
                _ = ticks.tick() => {
                    if self.joined.is_none() && self.started.elapsed() > JOIN_TIMEOUT {
                        return Err(failed!("not let in within {JOIN_TIMEOUT:?}; perhaps another player has the name"));
                    }
                    self.render()?;
                    self.speak()?;
                    let is_over = self.is_over();
                    self.miss_listeners(is_over)?;
                    if is_over {
                        return Ok(Over::Wanted);
                    }
                }
                () = self.signals.recv() => return Ok(Over::Wanted),
            }
        }
    }

    /// The connection is gone: what has come in is heard to its end, unless a signal comes.
    async fn play_out(&mut self) -> Result<(), Error> {
        let mut now = self.started.elapsed();
        self.voices.all_leave(now);
        if self.loudspeaker.is_none() {
            return Ok(());
        }
        let mut ticks = sound_ticks(TICK);
        // What a loudspeaker holds still is pushed out by silence.
        let mut left = LOUDSPEAKER_DELAY;
        while !left.is_zero() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.signals.recv() => return Ok(()),
            }
            if self.voices.are_over() {
                left = left.saturating_sub(TICK);
            }
            // Nothing more comes in, with which it would have to keep up: a busy machine cuts nothing out of it.
            now += TICK;
            self.render_at(now)?;
        }
        Ok(())
    }

    /// Waits until the session is joined and every player has been described.
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        let limit = Instant::now() + Duration::from_secs(10);
        let mut quiet = false;
        while !quiet {
            let connected = self.connection.session().state() == SessionState::Connected;
            let wait = if connected {
                Duration::from_millis(200)
            } else {
                limit.saturating_duration_since(Instant::now())
            };
            let turn = timeout(wait, self.connection.next()).await;
            match turn {
                Err(_) if connected => quiet = true,
                Err(_) => {
                    return Err(failed!(
                        "the server does not let us in; perhaps another player has the name"
                    ));
                }
                Ok(None) => return Err(failed!("the server closed the connection")),
                Ok(Some(turn)) => {
                    let event =
                        turn.result.map(|event| event.and_then(|event| Event::of(event, turn.session)));
                    if let Ok(Some(event)) = event {
                        self.handle(event)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Every player's name and codec, except ours.
    pub(crate) fn players(&self) -> Vec<(String, String)> {
        let client = self.connection.session();
        client
            .clients()
            .filter(|(id, ..)| Some(*id) != client.id())
            .map(|(_, name, codec)| {
                let ms = u64::from(codec.frame_size) * 1000 / u64::from(codec.sample_rate.max(1));
                (name.to_owned(), format!("{} {} Hz, {ms} ms", codec.codec, codec.sample_rate))
            })
            .collect()
    }

    /// Every room and who listens to it.
    pub(crate) fn rooms(&self) -> Vec<(String, Vec<String>)> {
        let client = self.connection.session();
        let name = |id: &ClientId| client.name_of(*id).map_or_else(|| format!("client {id}"), str::to_owned);
        client.rooms().map(|(room, ids)| (room.to_owned(), ids.iter().map(name).collect())).collect()
    }

    /// Leaves.
    pub(crate) async fn close(mut self) {
        close(&mut self.connection).await;
    }

    fn handle(&mut self, event: Event) -> Result<(), Error> {
        let now = self.started.elapsed();
        match event {
            Event::Joined => {
                if self.joined.is_none() {
                    self.summary.set_up = now;
                }
                self.joined = Some(Instant::now());
                let (name, away) = (&self.options.name, self.away.ends());
                let text = match away {
                    None => format!("joined as {} after {:.1} ms", quoted(name), now.as_secs_f64() * 1e3),
                    Some(_) => format!("joined as {} again", quoted(name)),
                };
                self.report.event("joined", json!({ "name": name }), &text);
                if let Some(away) = away {
                    self.report.plain("back", &format!("back after {:.1} s", away.as_secs_f64()));
                }
            }
            Event::Lost { cause, again } => {
                self.voices.all_leave(now);
                let why = describe(cause);
                if !again {
                    return Err(failed!("{why}"));
                }
                match self.away.begins(why) {
                    Reason::First => {
                        self.report.event("lost", json!({ "why": why }), &format!("{why}; trying again"));
                    }
                    Reason::Another => {
                        self.report.event("retrying", json!({ "reason": why }), &format!("not yet: {why}"));
                    }
                    Reason::Before => {}
                }
            }
            Event::Voice { from, name, codec, sequence, start, end, volume, priority, packet } => {
                let frame = Frame { sequence, start, end, volume, priority, packet: &packet };
                self.hear(now, from, &name, codec, &frame)?;
            }
            Event::SpeechEnded(from) => self.voices.stop(from),
            other => {
                if let Event::Left(id, _) = &other {
                    self.voices.leaves(now, *id);
                }
                if let Some((name, fields, text)) = other.described() {
                    self.report.event(name, fields, &text);
                }
            }
        }
        Ok(())
    }

    fn hear(
        &mut self,
        now: Duration,
        from: ClientId,
        name: &str,
        codec: CodecSettings,
        frame: &Frame<'_>,
    ) -> Result<(), Error> {
        if !self.voices.hear(now, from, name, codec, frame)? {
            tracing::debug!(name = %quoted(name), ?codec, "cannot play this");
            return Ok(());
        }
        if frame.start {
            let text = format!("{} speaks", quoted(name));
            self.report.event("speaking", json!({ "name": name }), &text);
        }
        let trace = self.options.trace;
        let new = || Heard::new(trace);
        if let Some(heard) = speaker(&mut self.summary.heard, name, new) {
            heard.push(frame.sequence, frame.start, Instant::now());
        }
        Ok(())
    }

    fn watch_udp(&mut self) {
        let (Some(state), Some(server)) = (self.connection.udp_state(), self.connection.udp_server()) else {
            return;
        };
        // Before there is an answer, or none for long enough, there is nothing to say.
        if state == UdpState::Binding || self.udp.replace(state) == Some(state) {
            return;
        }
        let up = state == UdpState::Up;
        let way = if self.options.tcp_udp.fallback { "goes by TCP, later than it might," } else { "is lost" };
        let text = if up {
            "voice goes by UDP".into()
        } else {
            on_blocked_udp(server, &format!("Voice {way} until it does."))
        };
        self.report.event("udp", json!({ "up": up, "server": server.to_string() }), &text);
    }

    /// Mixes what is heard in one tick.
    fn render(&mut self) -> Result<(), Error> {
        self.render_at(self.started.elapsed())
    }

    fn render_at(&mut self, now: Duration) -> Result<(), Error> {
        if let Some(path) = self.joined.and_then(|_| self.options.record_each.take()) {
            self.voices.record(TrackFiles::new(&path, OPUS_RATE, &self.report));
        }
        let mix = self.voices.render(now);
        self.keep_figures();
        self.levels.1 =
            mix.iter().fold(self.levels.1 * 0.95, |peak, sample| peak.max(f64::from(sample.abs())));
        if let Some(recorder) = self.recorder.as_mut().filter(|_| self.joined.is_some()) {
            let samples: Vec<f64> = mix.iter().map(|sample| f64::from(*sample)).collect();
            recorder.write(&samples);
        }
        if let Some(loudspeaker) = &mut self.loudspeaker {
            loudspeaker(&mix)?;
        }
        self.report.progress(now, self.levels.0, self.levels.1);
        let Self { report, voices, connection, summary, options, .. } = self;
        report.figures(|| Figures {
            round_trip: connection.path().and_then(|path| path.round_trip),
            sent: Some(summary.said.count()),
            path: Some(match connection.udp_state() {
                _ if options.quic => "voice by QUIC",
                Some(UdpState::Up) => "voice by UDP",
                _ => "voice by TCP",
            }),
            people: Some(with_rooms(connection.session())),
            voices: voices.figures(true),
        });
        Ok(())
    }

    /// Says what is due in one tick.
    fn speak(&mut self) -> Result<(), Error> {
        if self.connection.session().state() != SessionState::Connected {
            return Ok(());
        }
        let Self { connection, options, .. } = self;
        let targets = options.targets();
        let listened = is_listened_to(connection.session(), &targets);
        if let Some(text) = options.text.as_ref().filter(|_| listened && !self.text_sent) {
            self.text_sent = true;
            send_text(connection, text, &targets, &self.report)?;
        }
        let Some(speech) = &mut self.speech else { return Ok(()) };
        speech.started |= listened;
        let Some(Said { packet, level, first, last }) = speech.next()? else {
            self.levels.0 *= f64::from(u8::from(speech.is_open()));
            return Ok(());
        };
        self.levels.0 = level;
        if first {
            for &to in &targets {
                let open = ClientCommand::Open { to, as_: Speech::DEFAULT };
                let opened = connection.call(|client, now| client.handle_command(now, open));
                opened.map_err(|refusal| failed!("cannot speak: {refusal}"))?;
            }
        }
        if last {
            for &to in &targets {
                let close = ClientCommand::Close { to };
                let _ = connection.call(|client, now| client.handle_command(now, close));
            }
        }
        let say = ClientCommand::Say { frame: &packet };
        let said = connection.call(|client, now| client.handle_command(now, say));
        match said {
            Ok(()) => self.summary.said.push(Instant::now()),
            Err(refusal) => tracing::debug!(%refusal, "not said"),
        }
        Ok(())
    }

    /// F-64: says that nobody listens, and gives up once that has lasted for too long or until the end.
    fn miss_listeners(&mut self, is_over: bool) -> Result<(), Error> {
        let speech = self.speech.as_ref();
        let unsaid =
            speech.is_some_and(|speech| !speech.started) || (self.options.text.is_some() && !self.text_sent);
        // While the connection is lost, nobody is known.
        let connected = self.connection.session().state() == SessionState::Connected;
        let Some(joined) = self.joined.filter(|_| unsaid && connected) else { return Ok(()) };
        let targets = || {
            let place = |target| match target {
                Target::Room(room) => format!("in {}", quoted(room)),
                Target::Player(player) => format!("as {}", quoted(player)),
            };
            self.options.targets().into_iter().map(place).collect::<Vec<_>>().join(" or ")
        };
        // At a microphone one may wait for others.
        let waits_on = speech.is_some_and(Speaking::is_live) && self.options.text.is_none();
        if !waits_on && (is_over || joined.elapsed() >= self.options.wait) {
            return Err(failed!("nobody listens {}: nothing was said", targets()));
        }
        if !self.nobody_listens && joined.elapsed() >= DESCRIBED {
            self.nobody_listens = true;
            let text = format!("nobody listens {} yet", targets());
            self.report.plain("unheard", &text);
        }
        Ok(())
    }

    /// Whether all has been said, or the time is over.
    fn is_over(&self) -> bool {
        let said = match (&self.speech, &self.options.text, self.options.length) {
            (_, _, Some(_)) => false,
            (Some(speech), ..) => speech.ended.is_some_and(|ended| ended.elapsed() > TAIL),
            // A text alone: when it is on its way.
            (None, Some(_), None) => self.text_sent,
            (None, None, None) => false,
        };
        let over =
            self.options.length.zip(self.joined).is_some_and(|(length, joined)| joined.elapsed() >= length);
        said || over
    }

    fn keep_figures(&mut self) {
        for (name, figures) in self.voices.take_over() {
            if let Some(heard) = self.summary.heard.get_mut(&name) {
                heard.figures = figures;
            }
        }
    }

    async fn finish(mut self) -> Result<Summary, Error> {
        self.report.progress_end();
        // What has come in is recorded, too.
        let (mut recorder, joined) = (self.recorder.take(), self.joined.is_some());
        self.voices.rest(self.started.elapsed(), |mix| {
            let samples: Vec<f64> = mix.iter().map(|sample| f64::from(*sample)).collect();
            if let Some(recorder) = recorder.as_mut().filter(|_| joined) {
                recorder.write(&samples);
            }
        });
        self.keep_figures();
        self.summary.report(&self.report);
        let summary = core::mem::take(&mut self.summary);
        let (mut signals, mut recordings) = (self.signals.clone(), Recordings::new(None, &self.report));
        recordings.complete(recorder);
        self.voices.take_tracks().for_each(|file| recordings.complete(Some(file)));
        self.close().await;
        // The others need not wait for it.
        recordings.end(&mut signals).await?;
        if joined { Ok(summary) } else { Err(failed!("the session was never joined")) }
    }
}

/// Why a conversation ended in which nothing failed.
enum Over {
    /// All is said, the time is over, or a signal came.
    Wanted,
    /// The connection is gone.
    Gone,
}

/// Whether there is a player who hears what is said to these.
fn is_listened_to(client: &Client, targets: &[Target<'_>]) -> bool {
    let others = |ids: &[ClientId]| ids.iter().any(|id| Some(*id) != client.id());
    targets.iter().any(|target| match target {
        Target::Room(room) => client.rooms().any(|(name, ids)| name == *room && others(ids)),
        Target::Player(player) => client.find(player).is_some(),
    })
}

fn send_text(
    connection: &mut Connection<Client>,
    text: &str,
    targets: &[Target<'_>],
    report: &Report,
) -> Result<(), Error> {
    for &to in targets {
        let command = ClientCommand::Text { to, text };
        match (connection.call(|client, now| client.handle_command(now, command)), to) {
            (Err(Refusal::UnknownClient), Target::Player(player)) => {
                let text = format!("{} is not there, and gets no text", quoted(player));
                report.event("not_there", json!({ "name": player }), &text);
            }
            (sent, _) => sent.map_err(|refusal| failed!("text not sent: {refusal}"))?,
        }
    }
    Ok(())
}

/// Every other player, and the rooms to which it listens.
fn with_rooms(client: &Client) -> Vec<(String, String)> {
    let mut players: BTreeMap<ClientId, (String, String)> = client
        .clients()
        .filter(|(id, ..)| Some(*id) != client.id())
        .map(|(id, name, _)| (id, (name.to_owned(), String::new())))
        .collect();
    for (room, ids) in client.rooms() {
        for id in ids {
            if let Some((_, rooms)) = players.get_mut(id) {
                let separator = if rooms.is_empty() { "" } else { ", " };
                *rooms += &format!("{separator}{room}");
            }
        }
    }
    players.into_values().collect()
}

fn describe(cause: Lost) -> &'static str {
    match cause {
        Lost::Kicked => "the server sent us away",
        Lost::WrongSession => "the server was restarted",
        Lost::Unreachable => "the server cannot be reached",
        _ => "the connection is lost",
    }
}

#[cfg(test)]
mod tests;
