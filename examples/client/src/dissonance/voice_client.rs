//! One client at work: joins, speaks, and plays what others say.

mod event;

use super::voices::{Frame, Voices};
use crate::device::Microphone;
use crate::error::{Error, failed};
use crate::link::{Link, close};
use crate::playout::{HELD, Sink, loudspeaker};
use crate::recordings::{RecordFile, Recordings};
use crate::report::{Report, listed, quoted};
use crate::signals::Signals;
use crate::sound::{Player, Shape, Source};
use crate::trace::{Trace, speaker};
use core::time::Duration;
use event::Event;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use voxwire_audio::{
    Clip, OPUS_RATE, Preprocessor, SampleFormat, SampleOrder, SpeakerFigures, VoiceEncoder, VoiceSettings,
    voice_encoder,
};
use voxwire_core::Session;
use voxwire_dissonance::{
    Client, ClientCommand, ClientId, ClientSettings, Codec, CodecSettings, DEFAULT_PORT, Lost, Refusal,
    SessionState, Speech, Target,
};
use voxwire_server::DEFAULT_QUIC_PORT;
use voxwire_transport::{Connection, TcpUdpSettings, UdpState};

/// What a client is told at the start.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) name: String,
    /// To listen to.
    pub(crate) rooms: Vec<String>,
    pub(crate) speak_to_rooms: Vec<String>,
    /// Players to speak to.
    pub(crate) to: Vec<String>,
    pub(crate) text: Option<String>,
    pub(crate) source: Option<Source>,
    pub(crate) record: Option<PathBuf>,
    /// Play what is heard.
    pub(crate) device: bool,
    pub(crate) length: Option<Duration>,
    /// How long to wait for a listener before anything is said.
    pub(crate) wait: Duration,
    pub(crate) voice: VoiceSettings,
    pub(crate) gain: f32,
    pub(crate) denoise: bool,
    pub(crate) tcp_udp: TcpUdpSettings,
    pub(crate) quic: bool,
    /// Keep when each frame was said and heard.
    pub(crate) trace: bool,
}

impl Options {
    /// A player who only listens, and not yet to any room.
    pub(crate) fn listener(name: String) -> Self {
        Self {
            name,
            rooms: Vec::new(),
            speak_to_rooms: Vec::new(),
            to: Vec::new(),
            text: None,
            source: None,
            record: None,
            device: false,
            length: None,
            wait: Duration::from_secs(30),
            voice: VoiceSettings::DEFAULT,
            gain: 1.0,
            denoise: false,
            tcp_udp: TcpUdpSettings::default(),
            quic: false,
            trace: false,
        }
    }
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// From connecting until the session was joined.
    pub(crate) set_up: Duration,
    /// When each frame was sent.
    pub(crate) said: Trace<Instant>,
    /// Who was heard, and how.
    pub(crate) heard: BTreeMap<String, Heard>,
}

/// One speaker, as it was heard.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    /// Frames that came in: the number in the speech, and when.
    pub(crate) frames: Trace<(u32, Instant)>,
    pub(crate) figures: SpeakerFigures,
    /// The last one, and the longest time between two of the same speech.
    last: Option<(u32, Instant)>,
    gap: Duration,
}

impl Heard {
    fn push(&mut self, sequence: u32, start: bool, at: Instant) {
        if let Some((before, then)) = self.last.replace((sequence, at)).filter(|_| !start)
            && before < sequence
        {
            self.gap = self.gap.max(at.saturating_duration_since(then));
        }
        self.frames.push((sequence, at));
    }
}

/// How often sound is rendered: half the shortest frame there is, as a voice waits for the next time.
pub(super) const TICK: Duration = Duration::from_millis(5);
pub(super) const TICK_SAMPLES: usize = 240;
/// How long to wait to be let in for the first time.
const PATIENCE: Duration = Duration::from_secs(10);
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

/// What is being said.
struct Speaking {
    sound: Sound,
    at: usize,
    encoder: Box<dyn VoiceEncoder>,
    preprocessor: Preprocessor,
    frame: usize,
    /// Samples of time that have gone by since the last frame.
    due: usize,
    /// A player listens.
    started: bool,
    /// When the last frame was sent.
    ended: Option<Instant>,
}

enum Sound {
    /// With the next frame: of the last one it is to be known that it is the last. None before the first.
    Player(Box<Player>, Option<Vec<f64>>),
    /// Without end.
    Tone(f64),
    Microphone(Box<Microphone>),
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
        let speech = options.source.as_ref().map(|source| Speaking::new(source, &options)).transpose()?;
        let record = |path: &PathBuf| RecordFile::create(path, OPUS_RATE, 1, SampleFormat::I16, &report);
        let recorder = options.record.as_ref().map(record).transpose()?;
        let loudspeaker = options.device.then(|| loudspeaker(OPUS_RATE, 1)).transpose()?;
        let started = Instant::now();
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
            voices: Voices::default(),
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
        let mut ticks: Interval = interval(TICK);
        // After a hitch the sound goes on where it is due.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
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
                    if self.joined.is_none() && self.started.elapsed() > PATIENCE {
                        return Err(failed!("not let in within {PATIENCE:?}; perhaps another player has the name"));
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
        self.voices.all_leave(self.started.elapsed());
        if self.loudspeaker.is_none() {
            return Ok(());
        }
        let mut ticks: Interval = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        // What a loudspeaker holds still is pushed out by silence.
        let mut left = HELD;
        while !left.is_zero() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.signals.recv() => return Ok(()),
            }
            if self.voices.are_over() {
                left = left.saturating_sub(TICK);
            }
            self.render()?;
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
                let text = format!(
                    "joined as {} after {:.1} ms",
                    quoted(&self.options.name),
                    now.as_secs_f64() * 1e3
                );
                self.report.event("joined", json!({ "name": self.options.name }), &text);
            }
            Event::Lost { cause, again } => {
                self.voices.all_leave(now);
                let why = describe(cause);
                if !again {
                    return Err(failed!("{why}"));
                }
                self.report.event("lost", json!({ "why": why }), &format!("{why}; trying again"));
            }
            Event::NotAnswered { asked } => {
                let text = "the server does not let us in yet; perhaps another player has the name";
                self.report.event("waiting", json!({ "asked": asked }), text);
            }
            Event::Entered(name) => {
                self.report.event("entered", json!({ "name": name }), &format!("{} is there", quoted(&name)))
            }
            Event::Left(id, name) => {
                self.voices.leaves(now, id);
                self.report.event("left", json!({ "name": name }), &format!("{} has left", quoted(&name)));
            }
            Event::Listening { name, room, joined } => {
                let verb = if joined { "listens" } else { "does not listen any more" };
                self.report.event(
                    "listening",
                    json!({ "name": name, "room": room, "joined": joined }),
                    &format!("{} {verb} to {}", quoted(&name), quoted(&room)),
                );
            }
            Event::Moved { room, joined } => {
                let text = if joined {
                    format!("the server moved us to {}", quoted(&room))
                } else {
                    format!("the server does not let us listen to {}", quoted(&room))
                };
                self.report.event("moved", json!({ "room": room, "joined": joined }), &text);
            }
            Event::Text { from, to, text } => {
                let shown = format!("{} to {}: {}", quoted(&from), listed(&to), quoted(&text));
                self.report.event("text", json!({ "from": from, "to": to, "text": text }), &shown);
            }
            Event::Voice { from, name, codec, sequence, start, end, volume, priority, packet } => {
                let frame = Frame { sequence, start, end, volume, priority, packet: &packet };
                self.hear(now, from, &name, codec, &frame)?;
            }
            Event::Direct { name, up } => {
                let text = if up { "goes directly" } else { "goes by the server again" };
                self.report.event(
                    "direct",
                    json!({ "name": name, "up": up }),
                    &format!("voice for {} {text}", quoted(&name)),
                );
            }
            Event::SpeechEnded(from) => self.voices.stop(from),
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
        let new = || Heard { frames: Trace::new(trace), ..Heard::default() };
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
            format!(
                "UDP is blocked: {server} does not answer by UDP. Voice {way} until it does. Firewalls on the way have to let \
                 UDP through to port {}",
                server.port()
            )
        };
        self.report.event("udp", json!({ "up": up, "server": server.to_string() }), &text);
    }

    /// Mixes what is heard in one tick.
    fn render(&mut self) -> Result<(), Error> {
        let now = self.started.elapsed();
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
        Ok(())
    }

    /// Says what is due in one tick.
    fn speak(&mut self) -> Result<(), Error> {
        if self.connection.session().state() != SessionState::Connected {
            return Ok(());
        }
        let Options { speak_to_rooms, to, text, .. } = &self.options;
        let rooms = speak_to_rooms.iter().map(|room| Target::Room(room));
        let targets: Vec<Target<'_>> = rooms.chain(to.iter().map(|player| Target::Player(player))).collect();
        let client = self.connection.session();
        let others = |room: &str| {
            client.rooms().any(|(name, ids)| name == room && ids.iter().any(|id| Some(*id) != client.id()))
        };
        let listened = targets.iter().any(|target| match target {
            Target::Room(room) => others(room),
            Target::Player(player) => client.find(player).is_some(),
        });
        if let Some(text) = text.as_ref().filter(|_| listened && !self.text_sent) {
            self.text_sent = true;
            for &to in &targets {
                let sent = self
                    .connection
                    .call(|client, now| client.handle_command(now, ClientCommand::Text { to, text }));
                match (sent, to) {
                    (Err(Refusal::UnknownClient), Target::Player(player)) => {
                        let text = format!("{} is not there, and gets no text", quoted(player));
                        self.report.event("not_there", json!({ "name": player }), &text);
                    }
                    (sent, _) => sent.map_err(|refusal| failed!("text not sent: {refusal}"))?,
                }
            }
        }
        let Some(speech) = &mut self.speech else { return Ok(()) };
        if !speech.started && listened {
            speech.started = true;
            for &to in &targets {
                let open = ClientCommand::Open { to, as_: Speech::DEFAULT };
                let opened = self.connection.call(|client, now| client.handle_command(now, open));
                opened.map_err(|refusal| failed!("cannot speak: {refusal}"))?;
            }
        }
        let Some((packet, level, last)) = speech.next()? else { return Ok(()) };
        self.levels.0 = level;
        if last {
            for &to in &targets {
                let _ = self
                    .connection
                    .call(|client, now| client.handle_command(now, ClientCommand::Close { to }));
            }
        }
        let said = self
            .connection
            .call(|client, now| client.handle_command(now, ClientCommand::Say { frame: &packet }));
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
        let Options { speak_to_rooms, to, wait, .. } = &self.options;
        let targets = || {
            let rooms = speak_to_rooms.iter().map(|room| format!("in {}", quoted(room)));
            let targets: Vec<String> =
                rooms.chain(to.iter().map(|player| format!("as {}", quoted(player)))).collect();
            targets.join(" or ")
        };
        // At a microphone one may wait for others.
        let waits_on = speech.is_some_and(Speaking::is_live) && self.options.text.is_none();
        if !waits_on && (is_over || joined.elapsed() >= *wait) {
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
        let said = self.summary.said.count();
        self.report.event("said", json!({ "frames": said }), &format!("said {said} frames"));
        for (name, Heard { frames, figures, gap, .. }) in &self.summary.heard {
            let SpeakerFigures { jitter, recovered, concealed, invalid, .. } = figures;
            let fields = json!({
                "name": name, "frames": frames.count(), "lost": jitter.lost, "recovered": recovered, "concealed": concealed,
                "late": jitter.late, "duplicate": jitter.duplicate, "underruns": jitter.underruns, "invalid": invalid,
                "delay_ms": jitter.target.as_millis(), "gap_ms": gap.as_millis(),
            });
            let text = format!(
                "heard {}: {} frames, {} lost, {recovered} of them recovered, {} late; held back for {} ms, longest gap {} ms",
                quoted(name),
                frames.count(),
                jitter.lost,
                jitter.late,
                jitter.target.as_millis(),
                gap.as_millis()
            );
            self.report.event("heard", fields, &text);
        }
        let summary = core::mem::take(&mut self.summary);
        let (mut signals, mut recordings) = (self.signals.clone(), Recordings::new(None, &self.report));
        recordings.complete(recorder);
        self.close().await;
        // The others need not wait for it.
        recordings.end(&mut signals).await?;
        if joined { Ok(summary) } else { Err(failed!("the session was never joined")) }
    }
}

/// How voice is encoded.
const SHAPE: Shape =
    Shape { rate: OPUS_RATE, channels: 1, format: SampleFormat::F32, order: SampleOrder::Little };

impl Speaking {
    fn new(source: &Source, options: &Options) -> Result<Self, Error> {
        let sound = match source {
            Source::Tone(hz) => Sound::Tone(*hz),
            Source::Microphone => Sound::Microphone(Microphone::open(OPUS_RATE, 1)?.into()),
            Source::Clip(_) | Source::File(_) => Sound::Player(source.player(SHAPE)?.into(), None),
        };
        Ok(Self {
            sound,
            at: 0,
            encoder: voice_encoder(options.voice)?,
            preprocessor: Preprocessor::new(options.gain, options.denoise),
            frame: options.voice.samples(),
            due: 0,
            started: false,
            ended: None,
        })
    }

    /// Whether it is said just now.
    const fn is_live(&self) -> bool {
        matches!(self.sound, Sound::Microphone(_))
    }

    /// The next packet, if it is due; its loudest sample, and whether it is the last one.
    fn next(&mut self) -> Result<Option<(Vec<u8>, f64, bool)>, Error> {
        if !self.started || self.ended.is_some() {
            return Ok(None);
        }
        let mut samples = vec![0.0; self.frame];
        if let Sound::Microphone(microphone) = &mut self.sound {
            // It has a clock of its own.
            if !microphone.read(&mut samples)? {
                return Ok(None);
            }
        } else {
            self.due += TICK_SAMPLES;
            if self.due < self.frame {
                return Ok(None);
            }
            self.due -= self.frame;
        }
        let mut last = false;
        match &mut self.sound {
            Sound::Microphone(_) => {}
            Sound::Tone(hz) => {
                let tone = Clip::tone_from(OPUS_RATE, 1, *hz, self.at as u64, self.frame);
                samples.iter_mut().zip(&tone.samples).for_each(|(to, from)| *to = *from as f32);
            }
            Sound::Player(player, next) => {
                let now = match next.take() {
                    Some(now) => Some(now),
                    None => player.next_samples(self.frame)?,
                };
                let now = now.unwrap_or_default();
                samples.iter_mut().zip(now).for_each(|(to, from)| *to = from as f32);
                *next = player.next_samples(self.frame)?;
                last = next.is_none();
            }
        }
        self.at += self.frame;
        self.preprocessor.process(&mut samples);
        let level = samples.iter().fold(0.0_f64, |peak, sample| peak.max(f64::from(sample.abs())));
        let mut packet = Vec::new();
        self.encoder.encode(&samples, &mut packet)?;
        self.ended = last.then(Instant::now);
        Ok(Some((packet, level, last)))
    }
}

/// Why a conversation ended in which nothing failed.
enum Over {
    /// All is said, the time is over, or a signal came.
    Wanted,
    /// The connection is gone.
    Gone,
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
