//! The log of the programs, on standard error: never waited for, and no larger for what strangers do.

mod json;

use core::fmt;
use core::fmt::Write as _;
use core::str::FromStr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use json::{JsonFields, JsonLine};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber, callsite::Identifier};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{FilterExt, LevelFilter};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{format, time::SystemTime};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, reload};
use voxwire_core::{Handler, Instant, PeerId, Session, Untrusted};

/// Lines that may wait for the reader of standard error; more are dropped, and counted.
const WAITING: usize = 4096;
/// Lines of one kind that are written in a minute, at levels up to `info`; more are counted.
const LINES: u64 = 20;
/// How often what was left out is told.
const MINUTE: Duration = Duration::from_secs(60);
/// How long the end waits for the reader of what still has to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people: colours on a terminal.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The level, as the settings have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct LogLevel(pub(crate) LevelFilter);

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| "off, error, warn, info, debug or trace expected".into())
    }
}

impl TryFrom<String> for LogLevel {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A log at work. Dropping it writes what waits, for a second at most.
#[derive(Debug)]
pub struct Log {
    writer: NonBlocking,
    guard: Option<WorkerGuard>,
    repeats: Arc<Repeats>,
    format: LogFormat,
    level: reload::Handle<LevelFilter, Registry>,
    limited: Arc<AtomicBool>,
    _minutes: Sender<()>,
}

/// Starts logging to standard error, for the whole process; panics are told there as well.
///
/// A thread of its own writes. A reader that stops (a full pipe, Ctrl-S on a terminal) delays nothing else: 4096 lines wait for it,
/// more are dropped, and how many is told as soon as lines are read again.
///
/// Up to level `info`, no more than 20 lines a minute come from one place in the program, so that strangers cannot fill the disk;
/// how many more there were is told once a minute. `debug` and `trace` show everything.
pub fn start(level: LevelFilter) -> Log {
    start_as(level, LogFormat::Text)
}

/// The same, in a format.
pub fn start_as(level: LevelFilter, format: LogFormat) -> Log {
    let lost = Arc::new(OnceLock::new());
    let lines = Lines { lost: lost.clone(), told: 0 };
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(WAITING).thread_name("log").finish(lines);
    let _ = lost.set(writer.error_counter());
    let repeats = Arc::new(Repeats::default());
    let limited = Arc::new(AtomicBool::new(is_limited(level)));
    let limit = Limit { repeats: repeats.clone(), on: limited.clone() };
    let (filter, level) = reload::Layer::new(level);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer.clone());
    let layer = match format {
        LogFormat::Text => lines.with_ansi(has_colours()).with_target(false).fmt_fields(Escaped).boxed(),
        LogFormat::Json => lines.fmt_fields(JsonFields).event_format(JsonLine).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter.and(limit))).init();
    panics(writer.clone());
    let minutes = every_minute(repeats.clone());
    Log { writer, guard: Some(guard), repeats, format, level, limited, _minutes: minutes }
}

type Taker = dyn Fn(&str) -> bool + Send + Sync;

/// Takes lines in place of standard error.
static TAKER: Mutex<Option<Arc<Taker>>> = Mutex::new(None);

/// From now on each line is given to `taker`, for a program that draws on the terminal; where that returns false, the line goes to
/// standard error.
pub fn divert(taker: impl Fn(&str) -> bool + Send + Sync + 'static) {
    *TAKER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(taker));
}

fn is_taken(line: &[u8]) -> bool {
    let taker = TAKER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    taker.is_some_and(|taker| taker(&String::from_utf8_lossy(line)))
}

/// Up to this level, lines of one kind are limited.
fn is_limited(level: LevelFilter) -> bool {
    level <= LevelFilter::INFO
}

/// F-67: whether standard error shows colours, and its reader wants them.
fn has_colours() -> bool {
    io::stderr().is_terminal() && !anstyle_query::no_color() && anstyle_query::term_supports_ansi_color()
}

impl Log {
    /// From now on another level is logged.
    pub fn set_level(&self, level: LevelFilter) {
        self.limited.store(is_limited(level), Relaxed);
        // Fails only where the log has ended.
        let _ = self.level.reload(level);
    }

    /// Writes one line at any level: the reason why the program ends.
    pub fn line(&self, line: fmt::Arguments<'_>) {
        // One write is one line of those that wait.
        let line = match self.format {
            LogFormat::Text => format!("{}\n", Untrusted::new(&line.to_string())),
            LogFormat::Json => json::error_line(&line.to_string()),
        };
        let _ = self.writer.clone().write_all(line.as_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.repeats.tell();
        // The guard itself prints to standard error when that takes too long, and so may wait for ever.
        let guard = self.guard.take();
        let (done, wait) = channel();
        let flush = std::thread::Builder::new().spawn(move || {
            drop(guard);
            let _ = done.send(());
        });
        if flush.is_ok() {
            let _ = wait.recv_timeout(LAST_LINES);
        }
    }
}

/// The default hook would wait for standard error.
fn panics(writer: NonBlocking) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        let mut text = format!("thread '{}' ", thread.name().unwrap_or("?"));
        for line in panic.to_string().lines() {
            let _ = writeln!(text, "{}", Untrusted::new(line));
        }
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            let _ = writeln!(text, "{backtrace}");
        }
        let _ = writer.clone().write_all(text.as_bytes());
    }));
}

/// Where the lines go. Used by the thread that may wait.
struct Lines {
    lost: Arc<OnceLock<ErrorCounter>>,
    /// How many lost lines have been told.
    told: usize,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if is_taken(line) {
            return Ok(line.len());
        }
        io::stderr().write_all(line)?;
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        let more = lost.saturating_sub(self.told);
        if more > 0 {
            self.told = lost;
            let mut at = String::new();
            let _ = SystemTime.format_time(&mut format::Writer::new(&mut at));
            let why = "standard error was not read in time";
            io::stderr().write_all(format!("{at}  WARN lines lost, {why} count={more}\n").as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The border: a message or a field stays in its line, and steers no terminal. Text that peers chose may be
/// logged as it is; where it has to be told from what is ours, by `?Untrusted` between quotation marks.
struct Escaped;

impl<'writer> FormatFields<'writer> for Escaped {
    fn format_fields<R: RecordFields>(&self, writer: format::Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = EscapedFields { writer, first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct EscapedFields<'writer> {
    writer: format::Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl EscapedFields<'_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let blank = if core::mem::take(&mut self.first) { "" } else { " " };
        let result = match field.name() {
            "message" => write!(self.writer, "{blank}{value}"),
            name => write!(self.writer, "{blank}{name}={value}"),
        };
        self.result = self.result.and(result);
    }
}

impl Visit for EscapedFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.write(field, format_args!("{}", Untrusted::new(value))),
            _ => self.write(field, format_args!("{:?}", Untrusted::new(value))),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, format_args!("{}", Untrusted::new(&format!("{value:?}"))));
    }
}

/// A protocol's handler. What clients must not send is logged.
#[derive(Debug)]
pub(crate) struct LogViolations<H> {
    protocol: &'static str,
    inner: H,
}

impl<H> LogViolations<H> {
    pub(crate) const fn new(protocol: &'static str, inner: H) -> Self {
        Self { protocol, inner }
    }
}

impl<S: Session, H: Handler<S>> Handler<S> for LogViolations<H> {
    fn on_event(&mut self, session: &mut S, now: Instant, event: S::Event<'_>) {
        self.inner.on_event(session, now, event);
    }

    fn on_violation(&mut self, now: Instant, peer: PeerId, violation: S::Violation) {
        tracing::debug!(protocol = self.protocol, %peer, %violation, "ignored");
        self.inner.on_violation(now, peer, violation);
    }
}

/// The name of an event, without what is in it: that may be what people say to each other.
pub(crate) struct EventName<'a>(pub(crate) &'a dyn fmt::Debug);

impl fmt::Display for EventName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = Name(String::new());
        // Ends in an error behind the name.
        let _ = write!(name, "{:?}", self.0);
        f.write_str(&name.0)
    }
}

struct Name(String);

impl fmt::Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        self.0.push_str(name);
        if name.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The address of a peer, without a port and in its usual form.
pub(crate) struct Address(pub(crate) Option<core::net::SocketAddr>);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => {
                fmt::Display::fmt(&core::net::SocketAddr::new(address.ip().to_canonical(), address.port()), f)
            }
            None => f.write_str("unknown"),
        }
    }
}

/// Seconds, for a field of the log.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The span in which what is logged of a peer lies.
pub(crate) fn peer_span(protocol: &'static str, address: Option<core::net::SocketAddr>) -> tracing::Span {
    tracing::error_span!("peer", protocol, address = %Address(address))
}

/// What each place in the program has logged in this minute.
#[derive(Debug, Default)]
struct Repeats {
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

#[derive(Debug, Default)]
struct Kind {
    lines: u64,
    message: String,
}

impl Repeats {
    /// Whether this event is to be written.
    fn admit(&self, event: &Event<'_>) -> bool {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(event.metadata().callsite()).or_default();
        kind.lines = kind.lines.saturating_add(1);
        if kind.lines == LINES.saturating_add(1) {
            event.record(&mut Message(&mut kind.message));
        }
        kind.lines <= LINES
    }

    /// Tells what was left out, and begins anew.
    fn tell(&self) {
        let kinds = core::mem::take(&mut *self.kinds.lock().unwrap_or_else(PoisonError::into_inner));
        for Kind { lines, message } in kinds.into_values() {
            let more = lines.saturating_sub(LINES);
            if more > 0 {
                tracing::info!(target: TOLD, "{more} more lines in a minute like: {message}");
            }
        }
    }
}

/// What is said of lines left out is never left out: one line a minute of each kind.
const TOLD: &str = "voxwire_server::logging::told";

/// What operators do is never left out: nobody covers a ban with twenty kicks.
pub(crate) const AUDIT: &str = "voxwire_server::control::audit";

fn every_minute(repeats: Arc<Repeats>) -> Sender<()> {
    let (running, ended) = channel();
    // Without the thread, nothing that is left out is told until the end.
    let _ = std::thread::Builder::new().name("log-minutes".into()).spawn(move || {
        while ended.recv_timeout(MINUTE) == Err(RecvTimeoutError::Timeout) {
            repeats.tell();
        }
    });
    running
}

/// An event's text, without what is special about each.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// Leaves out what is too much.
#[derive(Debug)]
struct Limit {
    repeats: Arc<Repeats>,
    /// Not where everything is to be shown.
    on: Arc<AtomicBool>,
}

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _metadata: &'static Metadata<'static>) -> Interest {
        // Not `always`: the registry forgets that the last event was left out only where it asks anew about the next one.
        Interest::sometimes()
    }

    fn event_enabled(&self, event: &Event<'_>, _context: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let limited = self.on.load(Relaxed)
            && *metadata.level() <= LevelFilter::INFO
            && ![TOLD, AUDIT].contains(&metadata.target());
        !limited || self.repeats.admit(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is logged by `say`, without the time.
    fn logged(say: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || Sink(sink.clone()))
            .fmt_fields(Escaped);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        String::from_utf8(lines.lock().unwrap().clone()).unwrap()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// F-03: with any name of a peer, and at every place where it is logged, a line is one line and steers no terminal.
    #[test]
    fn a_line_of_the_log_is_one_line() {
        let name = "bob\x1b[2J\n INFO \u{9b}1m\u{202e}";
        let shown = r"bob\u{1b}[2J\n INFO \u{9b}1m\u{202e}";
        assert_eq!(logged(|| tracing::info!(%name, "in")), format!(" INFO in name={shown}\n"));
        assert_eq!(logged(|| tracing::info!(name, "in")), format!(" INFO in name=\"{shown}\"\n"));
        assert_eq!(logged(|| tracing::info!("{name} is in")), format!(" INFO {shown} is in\n"));
    }

    /// F-04: names in any language are logged as they are.
    #[test]
    fn every_language_is_logged_as_it_is() {
        for name in ["น้ำฝน", "हिन्दी", "שָׁלוֹם", "❤\u{fe0f}"] {
            assert_eq!(
                logged(|| tracing::info!(name = ?Untrusted::new(name))),
                format!(" INFO name=\"{name}\"\n")
            );
            assert_eq!(logged(|| tracing::info!(name)), format!(" INFO name=\"{name}\"\n"));
        }
    }
}
