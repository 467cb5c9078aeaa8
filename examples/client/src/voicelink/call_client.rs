//! One client at work: registers, calls or waits, and moves the sound.

use crate::dialogue::Dialogue;
use crate::error::{Error, failed};
use crate::link::{Link, close};
use crate::recordings::Recordings;
use crate::report::{Report, plain, quoted, text};
use crate::signals::Signals;
use crate::sound::{Player, RecordAs, Recorder, Shape, Source};
use crate::waiting::Callee;
use core::time::Duration;
use serde_json::json;
use std::path::PathBuf;
use tokio::time::{Instant, sleep_until, timeout};
use voxwire_audio::{Pacer, SampleFormat, SampleOrder};
use voxwire_core::Session;
use voxwire_transport::Connection;
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, DEFAULT_PORT, Format, Parameters, Request,
    reason,
};

/// What a phone is told at the start.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) name: Option<String>,
    pub(crate) secret: Option<String>,
    /// What to propose.
    pub(crate) parameters: Parameters,
    pub(crate) order: ByteOrder,
    pub(crate) samples: ByteOrder,
    pub(crate) source: Option<Source>,
    pub(crate) record: Option<PathBuf>,
    pub(crate) record_as: RecordAs,
    /// Play what is heard.
    pub(crate) device: bool,
    pub(crate) length: Option<Duration>,
}

/// What to do with a call that comes in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Accept,
    Counter(Parameters),
    Refuse,
}

/// How a call went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Summary {
    pub(crate) packets_sent: u64,
    pub(crate) packets_heard: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_heard: u64,
    /// From asking for the call until it was up; for the caller.
    pub(crate) set_up: Duration,
}

/// Watches the sound of a call go by.
pub(crate) trait Tap {
    fn sent(&mut self, _bytes: &[u8]) {}
    fn heard(&mut self, _bytes: &[u8]) {}
}

impl Tap for () {}

pub(crate) struct CallClient {
    connection: Connection<Client>,
    options: Options,
    report: Report,
    signals: Signals,
    recordings: Recordings,
}

/// What a phone waits for, and gets.
enum News {
    Event(Happening),
    /// A signal.
    Interrupted,
}

/// An event, owned: all that matters outside of a call's audio.
enum Happening {
    Registered,
    RegistrationRefused(String),
    Incoming { caller: String, parameters: Parameters },
    Countered(Parameters),
    Established(Parameters),
    NotFound,
    Closed,
    Dropped(String),
    NoAnswer(Request),
    Disconnected,
}

impl Happening {
    fn of(event: ClientEvent<'_>) -> Option<Self> {
        Some(match event {
            ClientEvent::Registered => Self::Registered,
            ClientEvent::RegistrationRefused { reason } => Self::RegistrationRefused(text(reason)),
            ClientEvent::Incoming { caller, parameters, .. } => {
                Self::Incoming { caller: text(caller), parameters }
            }
            ClientEvent::Countered { parameters, .. } => Self::Countered(parameters),
            ClientEvent::Established { parameters, .. } => Self::Established(parameters),
            ClientEvent::NotFound => Self::NotFound,
            ClientEvent::Closed { .. } => Self::Closed,
            ClientEvent::Dropped { optional } => Self::Dropped(text(optional)),
            ClientEvent::NoAnswer { request } => Self::NoAnswer(request),
            ClientEvent::Disconnected { .. } => Self::Disconnected,
            _ => return None,
        })
    }
}

impl CallClient {
    /// Connects, and registers if there is a name.
    pub(crate) async fn connect(
        link: &Link,
        options: Options,
        report: Report,
        mut signals: Signals,
    ) -> Result<Self, Error> {
        let client = Client::new(ClientSettings { order: options.order, ..ClientSettings::DEFAULT });
        let connection = signals.interrupt("connecting", link.connect(DEFAULT_PORT, client)).await?;
        report.live();
        let recordings = Recordings::new(options.record.clone(), &report);
        let mut phone = Self { connection, options, report, signals, recordings };
        // The first turn is the connection itself.
        if phone.connection.next().await.is_none() {
            return Err(failed!("the server closed the connection"));
        }
        if let Some(name) = phone.options.name.clone() {
            phone.register(&name).await?;
        }
        Ok(phone)
    }

    async fn register(&mut self, name: &str) -> Result<(), Error> {
        let secret = self.options.secret.clone();
        let (preferred, samples) = (self.options.parameters, self.options.samples);
        let secret = secret.as_deref().map(str::as_bytes);
        self.tell(ClientCommand::Register { name, secret, preferred, samples })?;
        match self.news().await? {
            News::Event(Happening::Registered) => {
                self.report.event("registered", json!({ "name": name }), &format!("registered as {name}"));
                Ok(())
            }
            News::Event(Happening::RegistrationRefused(why)) => {
                Err(failed!("the server refused the name {}: {}", quoted(name), plain(&why)))
            }
            News::Event(Happening::NoAnswer(_)) => {
                Err(failed!("the server did not answer the registration of {}", quoted(name)))
            }
            News::Event(other) => Err(self.unexpected(other, "registering")),
            News::Interrupted => Err(failed!("interrupted while registering")),
        }
    }

    /// Whether a call with these parameters can be played, if that is to be.
    fn check(&self, parameters: Parameters) -> Result<(), String> {
        let plays = self.options.source.is_some() || self.options.device;
        if plays { shape(parameters, self.options.samples).check() } else { Ok(()) }
    }

    /// Calls `user`, plays, records, and hangs up.
    pub(crate) async fn call(
        &mut self,
        user: &str,
        strict: bool,
        tap: &mut impl Tap,
    ) -> Result<Summary, Error> {
        let asked = Instant::now();
        let parameters = self.options.parameters;
        self.check(parameters).map_err(Error::Usage)?;
        self.tell(ClientCommand::Call { user: user.as_bytes(), parameters, optional: b"" })?;
        self.report.event("calling", json!({ "user": user }), &format!("calling {user}: {parameters}"));
        match self.news().await? {
            News::Event(Happening::Established(parameters)) => {
                self.talk(parameters, user, asked.elapsed(), true, tap).await
            }
            News::Event(Happening::Countered(proposal)) => {
                let text = format!("{user} proposes {proposal} instead");
                self.report.event("countered", json!({ "parameters": shown(proposal) }), &text);
                if strict {
                    self.tell(ClientCommand::Close { optional: b"" })?;
                    return Err(failed!("{user} does not take {parameters}, and proposes {proposal}"));
                }
                if let Err(reason) = self.check(proposal) {
                    self.tell(ClientCommand::Close { optional: b"" })?;
                    return Err(failed!("{user} proposes {proposal} instead: {reason}"));
                }
                self.tell(ClientCommand::Accept { optional: b"" })?;
                self.talk(proposal, user, asked.elapsed(), true, tap).await
            }
            News::Event(Happening::NotFound) => Err(failed!("{user}: the server knows nobody of that name")),
            News::Event(Happening::Dropped(why)) => Err(match &*why {
                "" => failed!("{user} refused the call"),
                _ => failed!("{user} cannot be reached: {}", plain(&why)),
            }),
            News::Event(Happening::NoAnswer(_)) => Err(failed!("{user} does not answer")),
            // Somebody called us while our call was on its way. This action only calls.
            News::Event(Happening::Incoming { caller, .. }) => {
                self.tell(ClientCommand::Drop { optional: reason::BUSY.as_bytes() })?;
                Err(failed!("{} called at the same moment; try again", plain(&caller)))
            }
            News::Event(other) => Err(self.unexpected(other, "calling")),
            News::Interrupted => {
                self.tell(ClientCommand::Drop { optional: b"" })?;
                Err(failed!("interrupted before {user} answered"))
            }
        }
    }

    /// Waits for a call and sees it through.
    pub(crate) async fn wait(&mut self, answer: Answer, tap: &mut impl Tap) -> Result<Summary, Error> {
        self.report.plain("waiting", match self.options.name {
            Some(_) => "waiting for a call",
            None => "waiting for a call; without --name only a server that knows this address can put one through",
        });
        let mut caller = String::new();
        loop {
            match self.news().await? {
                News::Event(Happening::Incoming { caller: who, parameters }) => {
                    caller = who;
                    let fields = json!({ "caller": caller, "parameters": shown(parameters) });
                    self.report.event("incoming", fields, &format!("{} calls: {parameters}", plain(&caller)));
                    if let (Answer::Accept, Err(reason)) = (answer, self.check(parameters)) {
                        // What a stranger proposes is no reason to miss the next call.
                        self.tell(ClientCommand::Drop {
                            optional: b"more samples a second than can be played",
                        })?;
                        let fields = json!({ "caller": caller, "reason": reason });
                        self.report.event("refused", fields, &format!("refused: {reason}"));
                        continue;
                    }
                    match answer {
                        Answer::Accept => {
                            self.tell(ClientCommand::Accept { optional: b"" })?;
                            return self.talk(parameters, &caller, Duration::ZERO, false, tap).await;
                        }
                        Answer::Counter(parameters) => {
                            self.tell(ClientCommand::Counter { parameters, optional: b"" })?;
                            let text = format!("proposing {parameters} instead");
                            self.report.event(
                                "countering",
                                json!({ "parameters": shown(parameters) }),
                                &text,
                            );
                        }
                        Answer::Refuse => {
                            self.tell(ClientCommand::Drop { optional: b"" })?;
                            self.report.event("refused", json!({ "caller": caller }), "refused");
                            return Ok(Summary::default());
                        }
                    }
                }
                News::Event(Happening::Established(parameters)) => {
                    return self.talk(parameters, &caller, Duration::ZERO, false, tap).await;
                }
                News::Event(Happening::Closed) => {
                    return Err(failed!("{} did not take our parameters", plain(&caller)));
                }
                News::Event(Happening::Dropped(why)) => {
                    return Err(failed!("{} gave up: {}", plain(&caller), or_nothing(&why)));
                }
                News::Event(Happening::NoAnswer(_)) => {
                    return Err(failed!("{} did not answer our proposal", plain(&caller)));
                }
                News::Event(other) => return Err(self.unexpected(other, "waiting for a call")),
                News::Interrupted => return Ok(Summary::default()),
            }
        }
    }

    /// A call that is up, until its end.
    async fn talk(
        &mut self,
        parameters: Parameters,
        other: &str,
        set_up: Duration,
        calling: bool,
        tap: &mut impl Tap,
    ) -> Result<Summary, Error> {
        let shown_other = plain(other);
        let text = format!("call with {shown_other} is up: {parameters}");
        self.report.event("established", json!({ "with": other, "parameters": shown(parameters) }), &text);
        let shape = shape(parameters, self.options.samples);
        let mut player = self.options.source.as_ref().map(|source| source.player(shape)).transpose()?;
        let format = self.options.record_as.format(shape.format);
        let file = self.recordings.create(shape.rate, shape.channels, format);
        let mut recorder = Recorder::live(file, self.options.device, shape)?;
        let before = self.connection.session().stats();
        let end = self.converse(parameters, player.as_mut(), &mut recorder, calling, tap).await;
        self.report.progress_end();
        // Whatever happened, what was heard is kept; and the other side learns of a hang-up now.
        let _ = timeout(Duration::from_secs(2), self.connection.flush()).await;
        self.recordings.complete(recorder.into_file());
        let after = self.connection.session().stats();
        let summary = Summary {
            packets_sent: after.packets_sent - before.packets_sent,
            packets_heard: after.packets_received - before.packets_received,
            bytes_sent: after.bytes_sent - before.bytes_sent,
            bytes_heard: after.bytes_received - before.bytes_received,
            set_up,
        };
        let how = match &end {
            Ok(End::Played | End::TimeIsUp | End::Interrupted) => "hung up".into(),
            Ok(End::Dropped(why)) if why.is_empty() => format!("{shown_other} hung up"),
            Ok(End::Dropped(why)) => format!("{shown_other} hung up: {}", plain(why)),
            Err(error) => error.to_string(),
        };
        let fields = json!({
            "with": other, "how": how,
            "packets_sent": summary.packets_sent, "packets_heard": summary.packets_heard,
            "bytes_sent": summary.bytes_sent, "bytes_heard": summary.bytes_heard,
        });
        let (sent, heard) = (summary.packets_sent, summary.packets_heard);
        self.report.event("ended", fields, &format!("call over ({how}): {sent} packets sent, {heard} heard"));
        match end {
            Err(error) => Err(error),
            // These say that something went wrong, not that somebody had said enough.
            Ok(End::Dropped(why))
                if [reason::LOST, reason::IDLE, reason::SHUTDOWN, reason::NO_ANSWER].contains(&&*why) =>
            {
                Err(failed!("the call with {shown_other} was cut: {why}"))
            }
            Ok(_) => Ok(summary),
        }
    }

    async fn converse(
        &mut self,
        parameters: Parameters,
        mut player: Option<&mut Player>,
        recorder: &mut Recorder,
        calling: bool,
        tap: &mut impl Tap,
    ) -> Result<End, Error> {
        let start = Instant::now();
        let mut pacer = Pacer::new(parameters.sample_rate);
        let chunk = match parameters.chunk_size {
            0 => parameters.sample_rate.div_ceil(50),
            chunk => chunk,
        };
        // A packet holds at most 1 MiB.
        let most =
            (voxwire_voicelink::MAX_DATA - voxwire_voicelink::HEAD_LEN) / parameters.frame_size().max(1);
        let chunk = (chunk as usize).clamp(1, most.max(1));
        let end = self.options.length.and_then(|length| start.checked_add(length));
        let far = start + Duration::from_secs(365 * 24 * 3600);
        let mut meter = tokio::time::interval(Duration::from_millis(100));
        let (mut out_peak, mut in_peak) = (0.0_f64, 0.0_f64);
        loop {
            let due = if player.is_some() { start + pacer.due() } else { far };
            let playing = recorder.due().map_or(far, |due| start + due);
            tokio::select! {
                turn = self.connection.next() => {
                    let Some(turn) = turn else {
                        self.play_out(recorder, start).await?;
                        return Err(self.lost("in a call"));
                    };
                    match turn.result {
                        Ok(Some(ClientEvent::Data { samples })) => {
                            tap.heard(samples);
                            in_peak = in_peak.max(recorder.hear(start.elapsed(), samples)?);
                        }
                        Ok(Some(ClientEvent::Dropped { optional } | ClientEvent::Closed { optional })) => {
                            let why = text(optional);
                            self.play_out(recorder, start).await?;
                            return Ok(End::Dropped(why));
                        }
                        Ok(Some(ClientEvent::Disconnected { .. })) => {
                            self.play_out(recorder, start).await?;
                            return Err(self.lost("in a call"));
                        }
                        Ok(_) => {}
                        Err(violation) => tracing::warn!(%violation, "ignored"),
                    }
                }
                () = sleep_until(due) => {
                    match player.as_mut().map_or(Ok(None), |player| player.next(chunk))? {
                        Some((samples, peak)) => {
                            out_peak = out_peak.max(peak);
                            pacer.sent(samples.len() / parameters.frame_size().max(1));
                            tap.sent(samples);
                            say(&mut self.connection, samples)?;
                        }
                        None if calling && end.is_none() => {
                            self.tell(ClientCommand::Drop { optional: b"" })?;
                            return Ok(End::Played);
                        }
                        None => player = None,
                    }
                }
                () = sleep_until(playing) => recorder.advance(start.elapsed())?,
                () = sleep_until(end.unwrap_or(far)) => {
                    self.tell(ClientCommand::Drop { optional: b"" })?;
                    return Ok(End::TimeIsUp);
                }
                () = self.recordings.next_ended() => {}
                () = self.signals.recv() => {
                    self.tell(ClientCommand::Drop { optional: b"" })?;
                    return Ok(End::Interrupted);
                }
                _ = meter.tick() => {
                    self.report.progress(start.elapsed(), out_peak, in_peak);
                    (out_peak, in_peak) = (0.0, 0.0);
                }
            }
        }
    }

    /// The other side is gone: what has come in is heard to its end, unless a signal comes.
    async fn play_out(&mut self, recorder: &mut Recorder, start: Instant) -> Result<(), Error> {
        tokio::select! {
            played = recorder.play_out(start) => played,
            () = self.signals.recv() => Ok(()),
        }
    }

    /// The connection ended on its own: the network's fault, or what came in was no voicelink.
    fn unexpected(&mut self, news: Happening, doing: &str) -> Error {
        match news {
            Happening::Disconnected => self.lost(doing),
            Happening::NoAnswer(Request::Register) => failed!("the server did not answer the registration"),
            Happening::Dropped(why) => failed!("dropped while {doing}: {}", or_nothing(&why)),
            _ => failed!("the server did something unexpected while {doing}"),
        }
    }

    /// The next thing that happens outside of a call's audio.
    async fn news(&mut self) -> Result<News, Error> {
        let happening = self.next_event(Happening::of, |_| None).await?;
        Ok(happening.map_or(News::Interrupted, News::Event))
    }
}

impl Dialogue for CallClient {
    type Session = Client;
    const PROTOCOL: &'static str = "voicelink";

    fn parts(&mut self) -> (&mut Connection<Client>, &mut Recordings, &mut Signals) {
        (&mut self.connection, &mut self.recordings, &mut self.signals)
    }
}

impl Callee for CallClient {
    fn is_connected(&self) -> bool {
        self.connection.session().is_connected()
    }

    fn recordings(&mut self) -> &mut Recordings {
        &mut self.recordings
    }

    /// Waits a moment until the goodbye is written.
    async fn close(mut self) -> Recordings {
        close(&mut self.connection).await;
        self.recordings
    }
}

/// How a call ended, if nothing failed.
enum End {
    /// The file is at its end.
    Played,
    /// `--for` is over.
    TimeIsUp,
    Interrupted,
    Dropped(String),
}

fn say(connection: &mut Connection<Client>, samples: &[u8]) -> Result<(), Error> {
    match connection.call(|client, now| client.handle_command(now, ClientCommand::Say { samples })) {
        // The other side has just hung up, and the event of it is on its way.
        Ok(())
        | Err(voxwire_voicelink::Refusal::Unexpected { .. } | voxwire_voicelink::Refusal::NotConnected) => {
            Ok(())
        }
        Err(refusal) => Err(failed!("cannot send audio: {refusal}")),
    }
}

fn or_nothing(why: &str) -> String {
    if why.is_empty() { "no reason given".into() } else { plain(why) }
}

fn shown(parameters: Parameters) -> serde_json::Value {
    let Parameters { sample_rate, channels, format, chunk_size } = parameters;
    json!({ "sample_rate": sample_rate, "channels": channels, "format": format.name(), "chunk_size": chunk_size })
}

/// A call's parameters in the words of the audio crate.
pub(crate) const fn shape(parameters: Parameters, samples: ByteOrder) -> Shape {
    Shape {
        rate: parameters.sample_rate,
        channels: parameters.channels,
        format: match parameters.format {
            Format::U8 => SampleFormat::U8,
            Format::I8 => SampleFormat::I8,
            Format::I16 => SampleFormat::I16,
            Format::I32 => SampleFormat::I32,
            Format::F32 => SampleFormat::F32,
        },
        order: match samples {
            ByteOrder::BigEndian => SampleOrder::Big,
            ByteOrder::LittleEndian => SampleOrder::Little,
        },
    }
}
