//! One client at work: registers, calls or waits, and moves the sound.

use crate::call_timers::{CallTimers, Due, Levels};
use crate::device::OutputDevice;
use crate::dialogue::Dialogue;
use crate::error::{Error, failed};
use crate::link::Link;
use crate::recordings::Recordings;
use crate::report::{Report, plain, quoted, text};
use crate::signals::Signals;
use crate::sound::{Player, RecordAs, Recorder, Shape, Source};
use crate::waiting::Callee;
use core::time::Duration;
use serde_json::json;
use std::path::PathBuf;
use tokio::time::{Instant, timeout};
use voxwire_audio::{SampleFormat, SampleOrder};
use voxwire_core::Session;
use voxwire_transport::{Connection, Turn};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, DEFAULT_PORT, Format, Parameters, Request,
    reason,
};

/// What to do, and how.
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
    pub(crate) loudspeaker: Option<OutputDevice>,
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
    dialogue: Dialogue<Client>,
    options: Options,
    report: Report,
}

/// An event, owned: all that matters outside of a call's audio.
enum Event {
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

impl Event {
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
        signals: Signals,
    ) -> Result<Self, Error> {
        let client = Client::new(ClientSettings { order: options.order, ..ClientSettings::DEFAULT });
        let connecting = link.connect(DEFAULT_PORT, client);
        let record = options.record.clone();
        let dialogue = Dialogue::open("voicelink", link, connecting, record, &report, signals).await?;
        report.live();
        let mut client = Self { dialogue, options, report };
        if let Some(name) = client.options.name.clone() {
            client.register(&name).await?;
        }
        Ok(client)
    }

    async fn register(&mut self, name: &str) -> Result<(), Error> {
        let secret = self.options.secret.clone();
        let (preferred, samples) = (self.options.parameters, self.options.samples);
        let secret = secret.as_deref().map(str::as_bytes);
        self.dialogue.tell(ClientCommand::Register { name, secret, preferred, samples })?;
        match self.event().await? {
            Some(Event::Registered) => {
                self.report.event("registered", json!({ "name": name }), &format!("registered as {name}"));
                Ok(())
            }
            Some(Event::RegistrationRefused(why)) => {
                Err(failed!("the server refused the name {}: {}", quoted(name), plain(&why)))
            }
            Some(Event::NoAnswer(_)) => {
                Err(failed!("the server did not answer the registration of {}", quoted(name)))
            }
            Some(other) => Err(self.unexpected(other, "registering")),
            None => Err(failed!("interrupted while registering")),
        }
    }

    /// Whether a call with these parameters can be played, if that is to be.
    fn check(&self, parameters: Parameters) -> Result<(), String> {
        let plays = self.options.source.is_some() || self.options.loudspeaker.is_some();
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
        self.dialogue.tell(ClientCommand::Call { user: user.as_bytes(), parameters, optional: b"" })?;
        self.report.event("calling", json!({ "user": user }), &format!("calling {user}: {parameters}"));
        match self.event().await? {
            Some(Event::Established(parameters)) => {
                self.talk(parameters, user, asked.elapsed(), true, tap).await
            }
            Some(Event::Countered(proposal)) => {
                let text = format!("{user} proposes {proposal} instead");
                self.report.event("countered", json!({ "parameters": shown(proposal) }), &text);
                if strict {
                    self.dialogue.tell(ClientCommand::Close { optional: b"" })?;
                    return Err(failed!("{user} does not take {parameters}, and proposes {proposal}"));
                }
                if let Err(reason) = self.check(proposal) {
                    self.dialogue.tell(ClientCommand::Close { optional: b"" })?;
                    return Err(failed!("{user} proposes {proposal} instead: {reason}"));
                }
                self.dialogue.tell(ClientCommand::Accept { optional: b"" })?;
                self.talk(proposal, user, asked.elapsed(), true, tap).await
            }
            Some(Event::NotFound) => Err(failed!("{user}: the server knows nobody of that name")),
            Some(Event::Dropped(why)) => Err(match &*why {
                "" => failed!("{user} refused the call"),
                _ if is_cut(&why) => failed!("the server ended the call of {user}: {why}"),
                _ => failed!("{user} cannot be reached: {}", plain(&why)),
            }),
            Some(Event::NoAnswer(_)) => Err(failed!("{user} does not answer")),
            // Somebody called us while our call was on its way. This action only calls.
            Some(Event::Incoming { caller, .. }) => {
                self.dialogue.tell(ClientCommand::Drop { optional: reason::BUSY.as_bytes() })?;
                Err(failed!("{} called at the same moment; try again", plain(&caller)))
            }
            Some(other) => Err(self.unexpected(other, "calling")),
            None => {
                self.dialogue.tell(ClientCommand::Drop { optional: b"" })?;
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
            match self.event().await? {
                Some(Event::Incoming { caller: who, parameters }) => {
                    caller = who;
                    let fields = json!({ "caller": caller, "parameters": shown(parameters) });
                    self.report.event("incoming", fields, &format!("{} calls: {parameters}", plain(&caller)));
                    if let (Answer::Accept, Err(reason)) = (answer, self.check(parameters)) {
                        // What a stranger proposes is no reason to miss the next call.
                        self.dialogue.tell(ClientCommand::Drop {
                            optional: b"more samples a second than can be played",
                        })?;
                        let fields = json!({ "caller": caller, "reason": reason });
                        self.report.event("refused", fields, &format!("refused: {reason}"));
                        continue;
                    }
                    match answer {
                        Answer::Accept => {
                            self.dialogue.tell(ClientCommand::Accept { optional: b"" })?;
                            return self.talk(parameters, &caller, Duration::ZERO, false, tap).await;
                        }
                        Answer::Counter(parameters) => {
                            self.dialogue.tell(ClientCommand::Counter { parameters, optional: b"" })?;
                            let text = format!("proposing {parameters} instead");
                            self.report.event(
                                "countering",
                                json!({ "parameters": shown(parameters) }),
                                &text,
                            );
                        }
                        Answer::Refuse => {
                            self.dialogue.tell(ClientCommand::Drop { optional: b"" })?;
                            self.report.event("refused", json!({ "caller": caller }), "refused");
                            return Ok(Summary::default());
                        }
                    }
                }
                Some(Event::Established(parameters)) => {
                    return self.talk(parameters, &caller, Duration::ZERO, false, tap).await;
                }
                Some(Event::Closed) => {
                    return Err(failed!("{} did not take our parameters", plain(&caller)));
                }
                Some(Event::Dropped(why)) => {
                    return Err(failed!("{} gave up: {}", plain(&caller), or_nothing(&why)));
                }
                Some(Event::NoAnswer(_)) => {
                    return Err(failed!("{} did not answer our proposal", plain(&caller)));
                }
                Some(other) => return Err(self.unexpected(other, "waiting for a call")),
                None => return Ok(Summary::default()),
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
        let player = self.options.source.as_ref().map(|source| source.player(shape)?.gated(&self.report));
        let format = self.options.record_as.format(shape.format);
        let file = self.dialogue.recordings.create(shape.rate, shape.channels, format);
        let mut call = ActiveCall {
            parameters,
            other,
            calling,
            player: player.transpose()?,
            recorder: Recorder::live(file, self.options.loudspeaker.as_ref(), shape)?,
            timers: CallTimers::new(Instant::now(), parameters.sample_rate, self.options.length),
            levels: Levels::default(),
            tap,
        };
        let before = self.dialogue.connection.session().stats();
        let end = self.converse(&mut call).await;
        self.report.progress_end();
        // Whatever happened, what was heard is kept; and the other side learns of a hang-up now.
        let _ = timeout(Duration::from_secs(2), self.dialogue.connection.flush()).await;
        self.dialogue.recordings.complete(call.recorder.into_file());
        let after = self.dialogue.connection.session().stats();
        let summary = Summary {
            packets_sent: after.packets_sent - before.packets_sent,
            packets_heard: after.packets_received - before.packets_received,
            bytes_sent: after.bytes_sent - before.bytes_sent,
            bytes_heard: after.bytes_received - before.bytes_received,
            set_up,
        };
        self.report_end(other, &end, summary);
        match end {
            Err(error) => Err(error),
            Ok(End::Dropped(why)) if is_cut(&why) => {
                Err(failed!("the call with {shown_other} was cut: {why}"))
            }
            Ok(_) => Ok(summary),
        }
    }

    fn report_end(&self, other: &str, end: &Result<End, Error>, summary: Summary) {
        let shown_other = plain(other);
        let how = match end {
            Ok(End::Played | End::TimeIsUp | End::Interrupted) => "hung up".into(),
            Ok(End::Dropped(why)) if why.is_empty() => format!("{shown_other} hung up"),
            Ok(End::Dropped(why)) if is_cut(why) => format!("the server ended it: {}", plain(why)),
            Ok(End::Dropped(why)) => format!("{shown_other} hung up: {}", plain(why)),
            Err(error) => error.to_string(),
        };
        let Summary { packets_sent: sent, packets_heard: heard, .. } = summary;
        let fields = json!({
            "with": other, "how": how,
            "packets_sent": sent, "packets_heard": heard,
            "bytes_sent": summary.bytes_sent, "bytes_heard": summary.bytes_heard,
        });
        self.report.event("ended", fields, &format!("call over ({how}): {sent} packets sent, {heard} heard"));
    }

    async fn converse(&mut self, call: &mut ActiveCall<'_, impl Tap>) -> Result<End, Error> {
        let before = self.dialogue.connection.session().stats();
        let mut bytes = before.bytes_received;
        loop {
            let due = tokio::select! {
                turn = self.dialogue.connection.next() => {
                    match call.hear(turn)? {
                        Heard::Sound(peak) => {
                            let came = self.dialogue.connection.session().stats().bytes_received;
                            call.measure(came.saturating_sub(core::mem::replace(&mut bytes, came)), peak);
                        }
                        Heard::Over(why) => {
                            self.play_out(call).await?;
                            return Ok(End::Dropped(why));
                        }
                        Heard::Lost => {
                            self.play_out(call).await?;
                            return Err(self.dialogue.lost("in a call"));
                        }
                    }
                    continue;
                }
                due = call.timers.next(call.player.is_some(), call.recorder.due()) => due,
                () = self.dialogue.recordings.next_ended() => continue,
                () = self.dialogue.signals.recv() => return self.hang_up(End::Interrupted),
            };
            match due {
                Due::Say => {
                    if call.say(&mut self.dialogue.connection)? {
                        return self.hang_up(End::Played);
                    }
                }
                Due::Play => call.recorder.advance(call.timers.elapsed())?,
                Due::Display => {
                    let sent = self.dialogue.connection.session().stats().packets_sent - before.packets_sent;
                    call.levels.show(&self.report, call.timers.elapsed(), sent);
                    call.levels.fade(0.0);
                }
                Due::End => return self.hang_up(End::TimeIsUp),
            }
        }
    }

    fn hang_up(&mut self, end: End) -> Result<End, Error> {
        self.dialogue.tell(ClientCommand::Drop { optional: b"" })?;
        Ok(end)
    }

    /// The other side is gone: what has come in is heard to its end, unless a signal comes.
    async fn play_out(&mut self, call: &mut ActiveCall<'_, impl Tap>) -> Result<(), Error> {
        tokio::select! {
            played = call.recorder.play_out(call.timers.start()) => played,
            () = self.dialogue.signals.recv() => Ok(()),
        }
    }

    /// The connection ended on its own: the network's fault, or what came in was no voicelink.
    fn unexpected(&self, event: Event, doing: &str) -> Error {
        match event {
            Event::Disconnected => self.dialogue.lost(doing),
            Event::NoAnswer(Request::Register) => failed!("the server did not answer the registration"),
            Event::Dropped(why) => failed!("dropped while {doing}: {}", or_nothing(&why)),
            _ => failed!("the server did something unexpected while {doing}"),
        }
    }

    /// The next thing that happens outside of a call's audio; `None` for a signal.
    async fn event(&mut self) -> Result<Option<Event>, Error> {
        self.dialogue.next_event(Event::of, |_| None).await
    }
}

impl Callee for CallClient {
    fn is_connected(&self) -> bool {
        self.dialogue.connection.session().is_connected()
    }

    fn recordings(&mut self) -> &mut Recordings {
        &mut self.dialogue.recordings
    }

    async fn close(self) -> Recordings {
        self.dialogue.close().await
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

/// What came in during a call.
enum Heard {
    /// Its loudest sample; 0 where there was none.
    Sound(f64),
    /// The other side has ended the call; why.
    Over(String),
    /// The connection is gone.
    Lost,
}

/// A call that is up.
struct ActiveCall<'c, T> {
    parameters: Parameters,
    other: &'c str,
    /// It is ours: it ends with what is played.
    calling: bool,
    player: Option<Player>,
    recorder: Recorder,
    timers: CallTimers,
    levels: Levels,
    tap: &'c mut T,
}

impl<T: Tap> ActiveCall<'_, T> {
    /// What the connection says.
    fn hear(&mut self, turn: Option<Turn<'_, Client>>) -> Result<Heard, Error> {
        let Some(turn) = turn else { return Ok(Heard::Lost) };
        Ok(match turn.result {
            Ok(Some(ClientEvent::Data { samples })) => {
                self.tap.heard(samples);
                Heard::Sound(self.recorder.hear(self.timers.elapsed(), samples)?)
            }
            Ok(Some(ClientEvent::Dropped { optional } | ClientEvent::Closed { optional })) => {
                Heard::Over(text(optional))
            }
            Ok(Some(ClientEvent::Disconnected { .. })) => Heard::Lost,
            Ok(_) => Heard::Sound(0.0),
            Err(violation) => {
                tracing::warn!(%violation, "ignored");
                Heard::Sound(0.0)
            }
        })
    }

    /// So many bytes were heard, if any, and how loud they were.
    fn measure(&mut self, bytes: u64, peak: f64) {
        if bytes == 0 {
            return;
        }
        let Parameters { sample_rate, .. } = self.parameters;
        let bytes_a_second = f64::from(sample_rate.max(1)) * self.parameters.frame_size().max(1) as f64;
        let length = Duration::from_secs_f64(bytes as f64 / bytes_a_second);
        self.levels.hear(self.timers.elapsed(), self.other, length, peak);
    }

    /// Says the next packet. True where all has been said, and nothing else ends the call.
    fn say(&mut self, connection: &mut Connection<Client>) -> Result<bool, Error> {
        let Some(player) = &mut self.player else { return Ok(false) };
        match player.next(chunk_frames(self.parameters))? {
            Some((samples, peak)) => {
                self.levels.say(peak);
                self.timers.said(samples.len() / self.parameters.frame_size().max(1));
                self.tap.sent(samples);
                say(connection, samples)?;
            }
            None if self.calling && !self.timers.has_end() => return Ok(true),
            None => self.player = None,
        }
        Ok(false)
    }
}

/// Frames in a packet: as many as were agreed on, and no more than 1 MiB holds; without an agreement 20 ms.
fn chunk_frames(parameters: Parameters) -> usize {
    let chunk = match parameters.chunk_size {
        0 => parameters.sample_rate.div_ceil(50),
        chunk => chunk,
    };
    let most = (voxwire_voicelink::MAX_DATA - voxwire_voicelink::HEAD_LEN) / parameters.frame_size().max(1);
    (chunk as usize).clamp(1, most.max(1))
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

/// Whether the server says by this reason that something went wrong, not the other side that all was said.
fn is_cut(why: &str) -> bool {
    [reason::LOST, reason::IDLE, reason::SHUTDOWN, reason::NO_ANSWER].contains(&why)
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
