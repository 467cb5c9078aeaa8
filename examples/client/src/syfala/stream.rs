//! `stream`: audio to and from one device.

mod output;

use super::{Driver, Event, Spread};
use crate::device::OutputDevice;
use crate::error::{Error, failed};
use crate::recordings::{RecordFile, Recordings};
use crate::report::{Figures, Report};
use crate::retry::Backoff;
use crate::signals::Signals;
use crate::sound::{RecordAs, Recorder, Shape, Source, peak};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use output::{Output, Sent, measurer};
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use voxwire_audio::{SampleOrder, decode};
use voxwire_core::PeerId;
use voxwire_server::syfala::{broadcast_addresses, sample_format};
use voxwire_syfala::stream::{DriftEstimate, StreamStats};
use voxwire_syfala::{Cause, ClientCommand, Format};

/// How long a device may take to be found, to start and to stop.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what is on its way may take behind the last sample.
const TAIL: Duration = Duration::from_millis(500);
/// How long the one that was asked for may take if others have answered.
const WANTED_OFFER_WAIT: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(1);
/// How far what is sent may be behind before it is not made up for.
const BEHIND: Duration = Duration::from_secs(2);
/// How long making it up may take before everything else has its turn.
const AT_A_TIME: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) source: Option<Source>,
    pub(crate) record: Option<PathBuf>,
    pub(crate) record_as: RecordAs,
    /// Play what is heard.
    pub(crate) loudspeaker: Option<OutputDevice>,
    pub(crate) length: Option<Duration>,
    pub(crate) output: Option<u32>,
    pub(crate) input: u32,
    pub(crate) measure: bool,
    /// Remember when each message came and went.
    pub(crate) trace: bool,
    /// How long to look for a device that is gone.
    pub(crate) retry: Duration,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Summary {
    /// From the first question to the first moment of audio.
    pub(crate) set_up: Duration,
    pub(crate) sent: u64,
    pub(crate) heard: StreamStats,
    /// Behind the earliest, as the device's clock and the network had it.
    arrivals: Spread,
    round_trips: Spread,
    drift: Option<DriftEstimate>,
    format: Format,
    left_out: Duration,
    /// Byte indices of what went to the first output and came from the input, and when; if that was asked for.
    pub(crate) said: Vec<(u64, Instant)>,
    pub(crate) came: Vec<(u64, Instant)>,
}

/// Finds a device at one of these addresses, and exchanges audio with it until all is said.
pub(crate) async fn stream(
    to: &[SocketAddr],
    options: Options,
    report: &Report,
    mut signals: Signals,
) -> Result<Summary, Error> {
    let mut driver = Driver::start(to, options.input)?;
    let result = converse(&mut driver, to, &options, report, &mut signals).await;
    driver.end().await;
    report.progress_end();
    let summary = result?;
    summary.print(report);
    if options.measure && summary.round_trips.is_empty() {
        return Err(failed!("nothing came back: the device does not echo"));
    }
    Ok(summary)
}

async fn converse(
    driver: &mut Driver,
    to: &[SocketAddr],
    options: &Options,
    report: &Report,
    signals: &mut Signals,
) -> Result<Summary, Error> {
    report.live();
    let since = Instant::now();
    let (mut exchange, set_up) = tokio::select! {
        exchange = begin(driver, to, options, report) => (exchange?, since.elapsed()),
        () = signals.recv() => return Err(failed!("interrupted before there was audio")),
    };
    report.plain("started", "audio goes both ways");
    let began = Instant::now();
    let mut result = loop {
        let gone = match exchange.go_on(driver, options, began, signals, report).await {
            Ok(Some(gone)) => gone,
            result => break result.map(|_| ()),
        };
        let gone = failed!("the device is gone: {gone}");
        if options.retry.is_zero() {
            break Err(gone);
        }
        report.event("lost", json!({ "reason": gone.to_string() }), &format!("{gone}; looking for it again"));
        tokio::select! {
            found = look_again(options.retry, async || exchange.find_again(driver, to, report).await) => match found {
                Ok(()) => report.plain("started", "audio goes both ways again"),
                Err(error) => break Err(failed!("{gone}, and {error}")),
            },
            () = signals.recv() => break Err(gone),
        }
    };
    signals.end();
    if result.is_ok() {
        result = tokio::select! {
            result = exchange.end(driver, report) => result,
            () = signals.recv() => Err(failed!("interrupted before the device had stopped")),
        };
    }
    // What has been heard is kept, however it ended.
    let mut recordings = Recordings::new(None, report);
    let recorded = exchange.finish(driver).map(|file| recordings.complete(file));
    let recorded = recorded.and(recordings.end(signals).await);
    result?;
    recorded?;
    Ok(exchange.summary(driver, set_up))
}

/// Finds a device, connects to it and starts IO.
async fn begin(
    driver: &mut Driver,
    to: &[SocketAddr],
    options: &Options,
    report: &Report,
) -> Result<Exchange, Error> {
    let (server, inputs, outputs) = connect(driver, to, report).await?;
    let exchange = match Exchange::new(driver, server, &inputs, &outputs, options, report) {
        Ok(exchange) => exchange,
        Err(error) => {
            // What cannot be served is refused; another command line may be able to.
            let refuse = !can_serve(&inputs, &outputs);
            let command =
                if refuse { ClientCommand::Refuse { server } } else { ClientCommand::Fail { server } };
            let _ = driver.command(command);
            return Err(error);
        }
    };
    start(driver, server, report).await?;
    Ok(exchange)
}

/// Accepts a device that was found, and starts IO.
async fn start(driver: &mut Driver, server: PeerId, report: &Report) -> Result<(), Error> {
    for command in
        [ClientCommand::Accept { server }, ClientCommand::StopDiscovery, ClientCommand::StartIo { server }]
    {
        driver.command(command).map_err(|refusal| failed!("cannot start: {refusal}"))?;
    }
    await_event(driver, server, report, "start", |event| matches!(event, Event::Started)).await
}

/// Waits for a device, the first that is found.
async fn connect(
    driver: &mut Driver,
    to: &[SocketAddr],
    report: &Report,
) -> Result<(PeerId, Vec<Format>, Vec<Format>), Error> {
    report.plain("looking", "looking for a device");
    let broadcasts = broadcast_addresses(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)?;
    let one = |to: &&SocketAddr| broadcasts.iter().all(|all| all.ip() != to.ip());
    let wanted = to.first().filter(|_| to.len() == 1).filter(one);
    let mut other = None;
    let end = Instant::now() + ANSWER_TIMEOUT;
    // The device at the very address that was asked for, or else one that has answered for it.
    let mut until = end;
    let (server, from, inputs, outputs) = loop {
        match timeout(until.saturating_duration_since(Instant::now()), driver.next()).await {
            Ok(Event::Found { server, from, inputs, outputs }) => {
                let found = (server, from, inputs, outputs);
                if wanted.is_none_or(|wanted| from == Some(*wanted)) {
                    break found;
                }
                until = until.min(Instant::now() + WANTED_OFFER_WAIT);
                other.get_or_insert(found);
            }
            Ok(_) => {}
            Err(_) => match other.take() {
                Some(found) => break found,
                None => {
                    let to: Vec<String> = to.iter().map(ToString::to_string).collect();
                    return Err(failed!("no device answers at {}", to.join(", ")));
                }
            },
        }
    };
    let address = from.map_or_else(|| "?".into(), |from| from.to_string());
    let fields = json!({ "address": address, "inputs": inputs.len(), "outputs": outputs.len() });
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (ins, outs) = (counted(inputs.len(), "input"), counted(outputs.len(), "output"));
    let text = format!("device at {address}: {ins}, {outs}");
    report.event("device", fields, &text);
    Ok((server, inputs, outputs))
}

/// Looks for a device that is gone, for `time`: ever more rarely, beginning anew with every loss. The error says why the last attempt
/// failed.
async fn look_again(time: Duration, mut find: impl AsyncFnMut() -> Result<(), Error>) -> Result<(), Error> {
    let (mut pause, mut last) = (Backoff::new(), None);
    let again = async {
        while let Err(error) = find().await {
            tracing::debug!(%error, "not yet");
            last = Some(error);
            tokio::time::sleep(pause.next()).await;
        }
    };
    let found = timeout(time, again).await;
    let within = time.as_secs_f64();
    found.map_err(|_| match last {
        Some(last) => failed!("not back within {within} s: {last}"),
        None => failed!("not back within {within} s"),
    })
}

/// Waits for the answer to a request.
async fn await_event(
    driver: &mut Driver,
    server: PeerId,
    report: &Report,
    what: &str,
    is_it: impl Fn(&Event) -> bool,
) -> Result<(), Error> {
    let answer = async {
        loop {
            let event = driver.next().await;
            match event {
                event if is_it(&event) => return Ok(()),
                Event::Failed(what) => {
                    let text = format!("the device could not {what}; it is asked again");
                    report.event("failed", json!({ "what": what }), &text);
                }
                Event::Refused(what) => return Err(failed!("the device refuses to {what}")),
                Event::Lost { server: lost, cause } if lost == server => {
                    return Err(failed!("the device is gone: {cause}"));
                }
                _ => {}
            }
        }
    };
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(failed!("the device does not {what}")))
}

/// What is said and heard.
struct Exchange {
    server: PeerId,
    /// Which of the device's inputs is heard.
    input: usize,
    outputs: Vec<Output>,
    recorder: Option<(Recorder, Format)>,
    sent: Sent,
    round_trips: Arc<Mutex<Spread>>,
    loudest: f64,
    /// What could not be sent in time.
    left_out: Duration,
    said: Option<Vec<(u64, Instant)>>,
}

impl Exchange {
    fn new(
        driver: &Driver,
        server: PeerId,
        inputs: &[Format],
        outputs: &[Format],
        options: &Options,
        report: &Report,
    ) -> Result<Self, Error> {
        let input = inputs.get(options.input as usize);
        check_streams(inputs, outputs, options)?;
        let shapes: Vec<Shape> = outputs.iter().map(shape).collect::<Result<_, Error>>()?;
        let outputs = outputs.iter().zip(shapes).enumerate();
        let outputs = outputs.map(|(n, (format, shape))| Output::new(n, *format, shape, options, report));
        let outputs: Vec<Output> = outputs.collect::<Result<_, Error>>()?;
        if options.measure {
            let small = outputs.iter().map(|output| output.format).chain(input.copied());
            if small.into_iter().any(|format| format.sample_type.size() < 2) {
                return Err(failed!("samples of 8 bits are too small to be measured with"));
            }
        }
        let (sent, round_trips) = (Sent::default(), Arc::new(Mutex::new(Spread::default())));
        let mut recorder = None;
        if let Some(format) = input {
            let mut input_stream = driver.input_stream();
            input_stream.open(*format);
            input_stream.log = options.trace.then(Vec::new);
            if options.measure {
                input_stream.measure = Some(measurer(*format, sent.clone(), round_trips.clone()));
            }
            let shape = shape(format)?;
            let (rate, channels) = (shape.rate, shape.channels);
            let stored = options.record_as.format(shape.format);
            let create = |path: &PathBuf| RecordFile::create(path, rate, channels, stored, report);
            let file = options.record.as_ref().map(create).transpose()?;
            recorder = Some((Recorder::new(file, options.loudspeaker.as_ref(), shape)?, *format));
        }
        let said = options.trace.then(Vec::new);
        Ok(Self {
            server,
            input: options.input as usize,
            outputs,
            recorder,
            sent,
            round_trips,
            loudest: 0.0,
            left_out: Duration::ZERO,
            said,
        })
    }

    /// Finds the device again, with the formats that it had, and starts IO. What is said goes on where it was.
    async fn find_again(
        &mut self,
        driver: &mut Driver,
        to: &[SocketAddr],
        report: &Report,
    ) -> Result<(), Error> {
        driver
            .command(ClientCommand::Discover)
            .map_err(|refusal| failed!("cannot look for it: {refusal}"))?;
        let (server, inputs, outputs) = connect(driver, to, report).await?;
        let same = outputs.iter().eq(self.outputs.iter().map(|output| &output.format))
            && self.recorder.as_ref().is_none_or(|(_, format)| inputs.get(self.input) == Some(format));
        if !same {
            let _ = driver.command(ClientCommand::Fail { server });
            return Err(failed!("the device has other streams now"));
        }
        start(driver, server, report).await?;
        self.server = server;
        Ok(())
    }

    /// Speaks and listens until all is said, or the device is gone.
    async fn go_on(
        &mut self,
        driver: &mut Driver,
        options: &Options,
        began: Instant,
        signals: &mut Signals,
        report: &Report,
    ) -> Result<Option<Cause>, Error> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut since = Instant::now();
        let (mut over, mut shown) = (None, Instant::now());
        self.outputs.iter_mut().for_each(Output::restart);
        loop {
            tokio::select! {
                event = driver.next() => match event {
                    Event::Lost { server, cause } if server == self.server => {
                        self.listen(driver)?;
                        return Ok(Some(cause));
                    }
                    Event::Interrupted => {
                        report.plain("interrupted", "the device stopped by itself; it is asked to start again");
                    }
                    Event::Refused(what) => return Err(failed!("the device refuses to {what}")),
                    Event::Started => {
                        since = Instant::now();
                        self.outputs.iter_mut().for_each(Output::restart);
                    }
                    _ => {}
                },
                _ = ticks.tick() => {
                    // A machine that cannot keep up leaves something out, and goes on hearing what else there is.
                    let behind = since.elapsed().saturating_sub(self.due().unwrap_or_else(|| since.elapsed()));
                    if behind > BEHIND {
                        since += behind;
                        self.left_out += behind;
                    }
                    let tick = Instant::now();
                    while self.due().is_some_and(|due| due <= since.elapsed()) && tick.elapsed() < AT_A_TIME {
                        if self.say(driver, since.elapsed())? {
                            over.get_or_insert_with(Instant::now);
                        }
                    }
                    let heard = self.listen(driver)?;
                    if shown.elapsed() > Duration::from_millis(100) {
                        shown = Instant::now();
                        report.progress(began.elapsed(), core::mem::take(&mut self.loudest), heard);
                        report.figures(|| self.figures(driver, heard));
                    }
                    let time_is_up = options.length.is_some_and(|length| began.elapsed() >= length);
                    let said = options.length.is_none() && over.is_some_and(|at: Instant| at.elapsed() >= TAIL);
                    if time_is_up || said {
                        return Ok(None);
                    }
                }
                () = signals.recv() => return Ok(None),
            }
        }
    }

    /// How the device is heard, whose loudest sample lately is `level`.
    fn figures(&self, driver: &Driver, level: f64) -> Figures {
        let sent = Some(driver.sent());
        let round_trips = self.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        let round_trip = round_trips.last().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        drop(round_trips);
        Figures { round_trip, sent, voices: vec![driver.input_stream().figures(level)], ..Figures::default() }
    }

    /// Has the device stop.
    async fn end(&self, driver: &mut Driver, report: &Report) -> Result<(), Error> {
        // Refused only if the server is gone, which is among the events.
        let _ = driver.command(ClientCommand::StopIo { server: self.server });
        await_event(driver, self.server, report, "stop", |event| matches!(event, Event::Stopped)).await?;
        report.plain("stopped", "audio stopped");
        Ok(())
    }

    /// When something is to be sent next, to whichever output.
    fn due(&self) -> Option<Duration> {
        self.outputs.iter().map(|output| output.pacer.due()).min()
    }

    /// Sends a message's worth to every output whose turn it is. True once everything has been played.
    fn say(&mut self, driver: &Driver, now: Duration) -> Result<bool, Error> {
        let mut measured = false;
        let mut played = self.outputs.iter().any(|output| output.player.is_some());
        for (stream, output) in (0..).zip(&mut self.outputs) {
            measured |= output.measure && output.pacer.due() > now;
            if output.pacer.due() > now {
                played &= output.over || output.player.is_none();
                continue;
            }
            output.pacer.sent(output.block);
            let frame = output.frame;
            let (samples, loudest, over) = output.next(output.block)?;
            output.over = over;
            self.loudest = self.loudest.max(loudest);
            played &= over || output.player.is_none();
            if output.measure && !core::mem::replace(&mut measured, true) {
                // The session's lock first: the thread that hears holds it already.
                let now = driver.now();
                let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
                sent.push_back((frame, now));
                while sent.len() > 100_000 {
                    sent.pop_front();
                }
            }
            if let Some(said) = self.said.as_mut().filter(|_| stream == 0) {
                said.push((frame * output.format.frame_size() as u64, Instant::now()));
            }
            // While it is interrupted, what is said goes nowhere.
            let command = ClientCommand::Play { server: self.server, stream, samples: &samples };
            if let Err(refusal) = driver.command(command) {
                tracing::debug!(%refusal, "not sent");
            }
        }
        Ok(played)
    }

    /// Takes what has come; returns its loudest sample.
    fn listen(&mut self, driver: &Driver) -> Result<f64, Error> {
        let Some((recorder, format)) = &mut self.recorder else { return Ok(0.0) };
        let now = driver.now();
        let bytes = driver.input_stream().heard(now);
        Self::take(recorder, format, &bytes)
    }

    fn take(recorder: &mut Recorder, format: &Format, bytes: &[u8]) -> Result<f64, Error> {
        let samples = decode(bytes, sample_format(format.sample_type), SampleOrder::Little);
        recorder.hear_samples(&samples)?;
        Ok(peak(&samples))
    }

    fn summary(self, driver: &Driver, set_up: Duration) -> Summary {
        let sent = driver.sent();
        let mut input_stream = driver.input_stream();
        Summary {
            set_up,
            sent,
            heard: input_stream.stats(),
            arrivals: core::mem::take(&mut input_stream.arrivals).beyond_least(),
            round_trips: self.round_trips.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            drift: input_stream.drift(),
            format: input_stream.format(),
            left_out: self.left_out,
            said: self.said.unwrap_or_default(),
            came: input_stream.log.take().unwrap_or_default(),
        }
    }

    fn finish(&mut self, driver: &Driver) -> Result<Option<RecordFile>, Error> {
        self.listen(driver)?;
        driver.input_stream().measure = None;
        if let Some((recorder, format)) = &mut self.recorder {
            // A frame that is not whole: the recorder completes it.
            let rest = driver.input_stream().rest();
            Self::take(recorder, format, &rest)?;
        }
        Ok(self.recorder.take().and_then(|(recorder, _)| recorder.into_file()))
    }
}

/// Whether ours can serve all streams: they become active together.
fn can_serve(inputs: &[Format], outputs: &[Format]) -> bool {
    inputs.iter().chain(outputs).all(|format| shape(format).is_ok())
}

/// Whether the device has the streams that `options` names, in formats that can be played and recorded.
fn check_streams(inputs: &[Format], outputs: &[Format], options: &Options) -> Result<(), Error> {
    inputs.iter().chain(outputs).try_for_each(|format| shape(format).map(drop))?;
    if options.output.is_some_and(|output| output as usize >= outputs.len()) {
        return Err(failed!("the device has no such output: it has {}, numbered from 0", outputs.len()));
    }
    let listens = options.record.is_some() || options.loudspeaker.is_some() || options.measure;
    if (options.input > 0 || listens) && inputs.get(options.input as usize).is_none() {
        return Err(failed!("the device has no such input: it has {}, numbered from 0", inputs.len()));
    }
    if (options.source.is_some() || options.measure) && outputs.is_empty() {
        return Err(failed!("the device has no outputs: nothing can be played"));
    }
    if inputs.is_empty() && outputs.is_empty() {
        return Err(failed!("the device has no streams"));
    }
    Ok(())
}

/// How the programs' sound is to be made for a stream.
fn shape(format: &Format) -> Result<Shape, Error> {
    let rate = format.sample_rate.get();
    let channels = u16::try_from(format.channels.get()).ok().filter(|channels| *channels <= 1024);
    match channels {
        Some(channels) if rate.fract() == 0.0 && (1.0..=768_000.0).contains(&rate) => {
            let (format, order) = (sample_format(format.sample_type), SampleOrder::Little);
            let shape = Shape { rate: rate as u32, channels, format, order };
            shape.check().map(|()| shape).map_err(|reason| failed!("the device cannot be served: {reason}"))
        }
        _ => {
            Err(failed!("{format} cannot be served: a whole number of Hz and at most 1024 channels expected"))
        }
    }
}

impl Summary {
    fn print(&self, report: &Report) {
        let Self { sent, heard, arrivals, round_trips, drift, format, .. } = self;
        // What was passed over is as lost as what was filled with silence.
        let lost = heard.silence.saturating_add(heard.jumped);
        let milliseconds = |spread: &Spread| {
            let [median, p99, p999, most] = spread.quantiles();
            json!({ "p50": median, "p99": p99, "p99_9": p999, "max": most })
        };
        let mut fields = json!({
            "set_up_ms": self.set_up.as_secs_f64() * 1e3,
            "messages_sent": sent, "messages_heard": heard.messages, "bytes_heard": heard.received,
            "bytes_lost": lost, "frames_lost": lost.div_ceil(format.frame_size().max(1) as u64),
            "bytes_jumped": heard.jumped, "bytes_late": heard.late, "bytes_overflow": heard.overflow,
            "ppm": drift.map(|drift| drift.ppm), "ppm_uncertainty": drift.map(|drift| drift.uncertainty),
            "left_out_ms": self.left_out.as_secs_f64() * 1e3, "arrival_ms": milliseconds(arrivals),
        });
        if !round_trips.is_empty() {
            let histogram = round_trips.buckets().into_iter();
            let buckets =
                histogram.map(|(from, to, count)| json!({ "from_ms": from, "to_ms": to, "count": count }));
            fields["round_trip_histogram"] = buckets.collect();
        }
        let mut text =
            format!("{sent} messages sent, {} heard; {lost} bytes lost, {} late", heard.messages, heard.late);
        if heard.jumped > 0 {
            let seconds = heard.jumped as f64 / (format.sample_rate.get() * format.frame_size() as f64);
            text += &format!("; {seconds:.3} s of it passed over in jumps");
        }
        if !self.left_out.is_zero() {
            text += &format!("; {:.1} s could not be sent in time", self.left_out.as_secs_f64());
        }
        if heard.messages > 0 {
            let drift = drift.map_or_else(|| "not known yet".into(), |drift| drift.to_string());
            text += &format!("; the device's clock beside ours: {drift}");
        }
        if !arrivals.is_empty() {
            let [median, p99, ..] = arrivals.quantiles();
            text += &format!("\nmessages came {median:.3} ms (p99 {p99:.3}) behind the earliest");
        }
        if !round_trips.is_empty() {
            let [median, p99, p999, most] = round_trips.quantiles();
            fields["round_trip_ms"] = milliseconds(round_trips);
            text += &format!(
                "\nthere and back: median {median:.3} ms, p99 {p99:.3}, p99.9 {p999:.3}, most {most:.3}{}",
                round_trips.histogram()
            );
        }
        report.block("summary", fields, &text);
    }
}

#[cfg(test)]
mod tests;
