//! How the ports of a server are looked at.

use super::table::{Row, State, Tls};
use crate::dialogue::Dialogue;
use crate::error::{Error, failed};
use crate::link::advice::{OTHER_PORT, SPEAK_TLS, on_blocked_udp, on_no_connection};
use crate::link::{Link, QUIC_TRUST, Trust, close};
use crate::report::Report;
use crate::signals::Signals;
use core::convert::Infallible;
use core::time::Duration;
use std::io;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};
use voxwire_core::{Datagram, Input, Outbox, PeerId, Session};
use voxwire_transport::{Connection, TcpUdpSettings, UdpState};

/// How many round trips are measured.
pub(crate) const ROUNDS: usize = 5;
/// How long an answer may take: longer than any network takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);
/// How long UDP and QUIC are watched at most: six PINGs, or until UDP counts as blocked.
const WATCH: Duration = Duration::from_secs(5);
/// How long a connection by QUIC is watched.
const QUIC_WATCH: Duration = Duration::from_secs(1);
/// How often.
const LOOK: Duration = Duration::from_millis(20);

/// A server that is looked at.
#[derive(Debug)]
pub(crate) struct Probe<'a> {
    pub(crate) link: &'a Link,
    pub(crate) token: String,
    /// Nothing but QUIC.
    pub(crate) quic: bool,
    pub(crate) signals: &'a Signals,
}

impl Probe<'_> {
    /// A protocol on TCP alone. `ask` returns the round trips of what the protocol asks; without any those of TCP's handshakes count.
    pub(crate) async fn tcp<S: Session>(
        &self,
        protocol: &'static str,
        port: u16,
        session: impl Fn() -> S,
        ask: impl AsyncFn(&mut Dialogue<S>) -> Result<Vec<Duration>, Error>,
    ) -> Vec<Row> {
        if self.quic {
            return Vec::new();
        }
        let connect = async |link: &Link| link.connect(port, session()).await;
        let (mut row, dialogue) = self.stream(protocol, port, &connect).await;
        if let Some(mut dialogue) = dialogue {
            match timeout(PATIENCE, ask(&mut dialogue)).await {
                Ok(Ok(times)) if times.is_empty() => {}
                Ok(Ok(times)) => row.round_trips = times,
                Ok(Err(error)) => row.problem = Some(error.to_string()),
                Err(_) => {
                    row.problem = Some(format!("the server does not answer: {}", dialogue.on_silence()))
                }
            }
            if row.problem.is_some() {
                self.look_for_tls(&mut row, connect).await;
            }
            dialogue.close().await;
        }
        vec![row]
    }

    /// A protocol on TCP + UDP: a row for each of the two.
    pub(crate) async fn tcp_udp(&self, protocol: &'static str, port: u16) -> Vec<Row> {
        if self.quic {
            return Vec::new();
        }
        let settings = TcpUdpSettings { token: self.token.clone().into_bytes(), ..TcpUdpSettings::default() };
        let connect = async |link: &Link| link.connect_tcp_udp(port, settings.clone(), Silent::new()).await;
        let (row, dialogue) = self.stream(protocol, port, connect).await;
        let Some(mut dialogue) = dialogue else { return vec![row] };
        let connection = &mut dialogue.connection;
        let mut rows = vec![row];
        // With --encrypted-only, or where the server has none, there is no UDP side.
        if let Some(server) = connection.udp_server() {
            let mut udp = Row::new(protocol, "UDP", server.to_string());
            watch(connection, &mut udp, WATCH).await;
            udp.state = if udp.round_trips.is_empty() { State::Silent } else { State::Answers };
            if udp.state == State::Silent {
                udp.problem =
                    Some(on_blocked_udp(server, "Voice goes by TCP, later than it might, until it does."));
            }
            rows.push(udp);
        }
        dialogue.close().await;
        rows
    }

    /// The same by QUIC, whose default port is `port`.
    pub(crate) async fn quic(&self, protocol: &'static str, port: u16) -> Option<Row> {
        if self.link.names_port() && !self.quic {
            return None;
        }
        let link = self.link.apart();
        let mut row = Row::new(protocol, "QUIC", link.address(port));
        if link.trust.is_none() {
            row.skipped = Some(QUIC_TRUST);
            return Some(row);
        }
        match link.connect_quic(port, self.token.clone().into_bytes(), Silent::new()).await {
            Ok(mut connection) => {
                (row.state, row.tls) = (State::Answers, Tls::Trusted);
                watch(&mut connection, &mut row, QUIC_WATCH).await;
                close(&mut connection).await;
            }
            Err(error) => {
                let shown = link.shown.is_there();
                (row.state, row.tls) =
                    if shown { (State::Answers, Tls::Untrusted) } else { (State::Silent, Tls::Unknown) };
                row.problem = Some(error.to_string());
            }
        }
        row.until = link.shown.valid_until();
        Some(row)
    }

    /// Connects by TCP: first alone, then as the protocol does.
    async fn stream<S: Session>(
        &self,
        protocol: &'static str,
        port: u16,
        connect: impl AsyncFn(&Link) -> Result<Connection<S>, Error>,
    ) -> (Row, Option<Dialogue<S>>) {
        let link = self.link.apart();
        let mut row = Row::new(protocol, "TCP", link.address(port));
        reach(&mut row).await;
        if row.problem.is_some() {
            return (row, None);
        }
        let (report, signals) = (Report::silent(), self.signals.clone());
        let opened = Dialogue::open(protocol, &link, connect(&link), None, &report, signals).await;
        row.until = link.shown.valid_until();
        let shown = link.shown.is_there();
        match opened {
            Ok(dialogue) => {
                row.tls = if shown { Tls::Trusted } else { Tls::None };
                (row, Some(dialogue))
            }
            Err(error) => {
                row.problem = Some(error.to_string());
                row.tls = if shown { Tls::Untrusted } else { Tls::Unknown };
                self.look_for_tls(&mut row, connect).await;
                (row, None)
            }
        }
    }

    /// Finds out whether a server with which something is wrong in the clear speaks TLS.
    async fn look_for_tls<S: Session>(
        &self,
        row: &mut Row,
        connect: impl AsyncFn(&Link) -> Result<Connection<S>, Error>,
    ) {
        if self.link.trust.is_some() {
            return;
        }
        let link = self.link.with_trust(Trust::System);
        // What matters is the certificate alone.
        let _ = timeout(PATIENCE, connect(&link)).await;
        if link.shown.is_there() {
            (row.tls, row.until) = (Tls::Untrusted, link.shown.valid_until());
            row.problem = Some(format!("the server speaks TLS: {SPEAK_TLS}"));
        }
    }
}

/// Connects to the port and says nothing, some times.
async fn reach(row: &mut Row) {
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let connected = timeout(PATIENCE, TcpStream::connect(&row.address)).await;
        let error = match connected {
            Ok(Ok(_)) => {
                row.state = State::Open;
                row.round_trips.push(begun.elapsed());
                continue;
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        row.state = state_of(&error);
        row.problem =
            Some(format!("cannot connect to {}: {error}: {}", row.address, on_no_connection(&error)));
        return;
    }
}

/// What an error says of a port.
pub(crate) fn state_of(error: &io::Error) -> State {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => State::Refused,
        io::ErrorKind::TimedOut => State::Silent,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => State::Unreachable,
        _ => State::Unknown,
    }
}

/// Keeps each round trip, and what is lost, for `time` or until there are enough.
async fn watch(connection: &mut Connection<Silent>, row: &mut Row, time: Duration) {
    let (end, mut looks) = (Instant::now() + time, interval(LOOK));
    let mut answered = 0;
    while Instant::now() < end && row.round_trips.len() <= ROUNDS {
        if let Some(path) = connection.path() {
            if let Some(round_trip) = path.round_trip.filter(|_| path.answered != answered) {
                answered = path.answered;
                row.round_trips.push(round_trip);
            }
            row.lost = Some((path.lost, path.sent));
        }
        if connection.udp_state() == Some(UdpState::Blocked) {
            return;
        }
        tokio::select! {
            turn = connection.next() => if turn.is_none() { return },
            _ = looks.tick() => {}
        }
    }
}

/// Asks some times, and waits for the answer each time: the round trips.
pub(crate) async fn rounds<S: Session>(
    dialogue: &mut Dialogue<S>,
    ask: impl Fn(&mut Dialogue<S>) -> Result<(), Error>,
    is_answer: impl Fn(&S::Event<'_>) -> bool,
) -> Result<Vec<Duration>, Error> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        ask(dialogue)?;
        let found = dialogue.next_event(|event| is_answer(&event).then_some(()), |_| None).await?;
        found.ok_or_else(|| failed!("interrupted while waiting for an answer"))?;
        times.push(asked.elapsed());
    }
    Ok(times)
}

/// What it most probably means that what answers is of no use.
pub(crate) fn not_of(protocol: &str) -> String {
    format!("what answers is not {protocol}: {OTHER_PORT}")
}

/// A session that says nothing: what the transport does by itself is all that is looked at.
#[derive(Debug)]
pub(crate) struct Silent {
    outbox: Outbox,
    server: Option<PeerId>,
}

impl Silent {
    const fn new() -> Self {
        Self { outbox: Outbox::new(1024), server: None }
    }
}

impl Session for Silent {
    type Framing = Datagram;
    type Command<'a> = Infallible;
    type Event<'a> = Infallible;
    type Violation = Infallible;
    type Refusal = Infallible;

    fn framing(&self) -> Datagram {
        Datagram { max: 2048 }
    }

    fn handle_input<'a>(
        &mut self,
        _now: voxwire_core::Instant,
        input: Input<'a>,
    ) -> Result<Option<Infallible>, Infallible> {
        match input {
            Input::Opened { peer, .. } => self.server = Some(peer),
            Input::Closed { .. } => self.server = None,
            _ => {}
        }
        Ok(None)
    }

    fn handle_command(&mut self, _now: voxwire_core::Instant, command: Infallible) -> Result<(), Infallible> {
        match command {}
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, _now: voxwire_core::Instant) {
        self.server.take().into_iter().for_each(|server| self.outbox.close(server));
    }
}
