//! `voxwire-client echo`: the server's time, round trips and loss.
#![cfg(feature = "echo")]

mod demo;

use crate::error::{Error, failed};
use crate::link::{Link, close};
use crate::protocols::{Entry, entry};
use crate::report::Report;
use crate::signals::Signals;
use clap::Args;
use core::time::Duration;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, MissedTickBehavior, interval};
use voxwire_core::{Lane, Session};
use voxwire_echo::{Ask, Client, ClientEvent, DEFAULT_PORT, MAX_PAYLOAD};
use voxwire_transport::TcpUdpSettings;

pub(crate) const ENTRY: Entry = entry!("echo", "The server's time, round trips and loss");

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, Args)]
struct Flags {
    /// Echoes to be sent.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Milliseconds from one to the next.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(5..))]
    interval: u64,
    /// Bytes of each, up to 1000.
    #[arg(long, value_name = "BYTES", default_value_t = 160, value_parser = clap::value_parser!(u16).range(..=MAX_PAYLOAD as i64))]
    size: u16,
    /// Send them on the reliable lane, on which nothing is lost.
    #[arg(long)]
    reliable: bool,
}

/// How it went.
#[derive(Debug, Default)]
struct Summary {
    set_up: Duration,
    sent: u32,
    lost: u32,
    /// Of the echoes, in the order in which they came back.
    round_trips: Vec<Duration>,
    /// What came back is what was sent.
    equal: bool,
}

impl Summary {
    fn take(&mut self, event: ClientEvent<'_>, size: u16, report: &Report) -> Result<(), Error> {
        match event {
            ClientEvent::Answer { sequence, rtt, payload, .. } => {
                self.equal &= payload == pattern(sequence, size);
                self.round_trips.push(rtt);
                let fields = json!({ "sequence": sequence, "rtt_ms": millis(rtt) });
                report.event("echo", fields, &format!("echo {sequence}: {:.2} ms", millis(rtt)));
            }
            ClientEvent::Lost(0) => return Err(failed!("the server does not answer")),
            ClientEvent::Lost(sequence) => {
                self.lost += 1;
                report.event("lost", json!({ "sequence": sequence }), &format!("echo {sequence}: lost"));
            }
            ClientEvent::Disconnected => return Err(failed!("the server is gone")),
            ClientEvent::Connected => {}
        }
        Ok(())
    }
}

async fn run(link: Link, flags: Flags, report: &Report) -> Result<(), Error> {
    let summary = measure(&link, flags, report, &mut Signals::catch()?).await?;
    let Summary { sent, lost, mut round_trips, equal, .. } = summary;
    round_trips.sort();
    let [least, median, most] = [0, round_trips.len() / 2, round_trips.len().saturating_sub(1)]
        .map(|at| round_trips.get(at).map_or(0.0, |rtt| millis(*rtt)));
    let (back, percent) = (round_trips.len(), f64::from(lost) * 100.0 / f64::from(sent.max(1)));
    let fields = json!({
        "sent": sent, "back": back, "lost": lost, "lost_percent": percent,
        "rtt_ms": { "min": least, "p50": median, "max": most },
    });
    let text = format!(
        "{sent} sent, {back} back, {lost} lost ({percent:.0} %); round trip {least:.2} ms at least, {median:.2} ms median, \
         {most:.2} ms at most"
    );
    report.event("done", fields, &text);
    match back {
        _ if !equal => Err(failed!("what came back is not what was sent")),
        0 => Err(failed!("nothing came back")),
        _ => Ok(()),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Asks what time it is, and then for the echoes.
async fn measure(
    link: &Link,
    flags: Flags,
    report: &Report,
    signals: &mut Signals,
) -> Result<Summary, Error> {
    let lane = if flags.reliable { Lane::Reliable } else { Lane::Droppable };
    if lane == Lane::Droppable {
        link.allow_clear("echoes go in the clear by UDP; --reliable does without")?;
    }
    let started = Instant::now();
    let mut connection =
        link.connect_tcp_udp(DEFAULT_PORT, TcpUdpSettings::default(), Client::new(TIMEOUT)).await?;
    let mut summary = Summary { equal: true, ..Summary::default() };
    let mut ticks = interval(Duration::from_millis(flags.interval));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ready = false;
    while summary.lost as usize + summary.round_trips.len() < flags.count as usize {
        // What goes before UDP works would go by TCP.
        let path = lane == Lane::Reliable || connection.udp() == Some(true) || started.elapsed() > TIMEOUT;
        tokio::select! {
            turn = connection.next() => match turn {
                None => return Err(failed!("the server closed the connection")),
                Some(turn) => match turn.result {
                    Ok(Some(ClientEvent::Connected)) => {
                        let asked = turn.session.handle_command(turn.now, Ask(Lane::Reliable, b""));
                        asked.map_err(|refusal| failed!("cannot ask: {refusal}"))?;
                    }
                    Ok(Some(ClientEvent::Answer { sequence: 0, rtt, time, .. })) => {
                        (ready, summary.set_up) = (true, started.elapsed());
                        tell_time(report, rtt, time);
                    }
                    Ok(Some(event)) => summary.take(event, flags.size, report)?,
                    Ok(None) => {}
                    Err(violation) => tracing::debug!(%violation, "ignored"),
                },
            },
            _ = ticks.tick(), if ready && path && summary.sent < flags.count => {
                summary.sent += 1;
                let payload = pattern(summary.sent, flags.size);
                let ask = Ask(lane, &payload);
                let asked = connection.call(|client, now| client.handle_command(now, ask));
                asked.map_err(|refusal| failed!("cannot ask: {refusal}"))?;
            }
            () = signals.recv() => break,
        }
    }
    close(&mut connection).await;
    Ok(summary)
}

/// What an echo holds.
fn pattern(sequence: u32, size: u16) -> Vec<u8> {
    sequence.to_be_bytes().into_iter().cycle().take(size.into()).collect()
}

#[expect(clippy::disallowed_methods, reason = "the wall clock, which is compared with the server's")]
fn tell_time(report: &Report, rtt: Duration, server: Duration) {
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ahead = (server.as_secs_f64() + rtt.as_secs_f64() / 2.0 - here.as_secs_f64()) * 1e3;
    let fields = json!({ "server_seconds": server.as_secs_f64(), "ahead_ms": ahead, "rtt_ms": millis(rtt) });
    let text = format!(
        "the server's clock is {:.1} ms {} ours, give or take {:.1}",
        ahead.abs(),
        if ahead < 0.0 { "behind" } else { "ahead of" },
        millis(rtt) / 2.0
    );
    report.event("time", fields, &text);
}
