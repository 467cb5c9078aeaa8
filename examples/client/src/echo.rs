//! `voxwire-client echo`: round trips to a server, and loss.
#![cfg(feature = "echo")]

mod demo;

use crate::check::{Probe, Row};
use crate::dialogue::Dialogue;
use crate::error::{Error, failed};
use crate::link::Link;
use crate::protocols::{Entry, entry};
use crate::report::Report;
use crate::signals::Signals;
use clap::Args;
use core::time::Duration;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};
use voxwire_core::Lane;
use voxwire_echo::{Ask, Client, ClientEvent, DEFAULT_PORT};
use voxwire_transport::TcpUdpSettings;

pub(crate) const ENTRY: Entry = entry!("echo", "Round trips to a server, and loss");

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// From one echo to the next.
const INTERVAL: Duration = Duration::from_millis(20);
/// What each holds.
const PAYLOAD: [u8; 160] = [7; 160];

#[derive(Debug, Clone, Copy, Args)]
struct Flags {
    /// Echoes to be sent.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
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
}

async fn run(link: Link, flags: Flags, report: &Report) -> Result<(), Error> {
    let Summary { sent, lost, mut round_trips, .. } =
        measure(&link, flags, report, Signals::catch()?).await?;
    round_trips.sort();
    let Some(median) = round_trips.get(round_trips.len() / 2) else {
        return Err(failed!("nothing came back"));
    };
    let (back, median) = (round_trips.len(), millis(*median));
    let fields = json!({ "sent": sent, "back": back, "lost": lost, "rtt_ms": median });
    let text = format!("{sent} sent, {back} back, {lost} lost; round trip {median:.2} ms (median)");
    report.event("done", fields, &text);
    Ok(())
}

async fn check(probe: &Probe<'_>) -> Vec<Row> {
    probe.tcp_udp(ENTRY.name, DEFAULT_PORT).await
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Which echo an event is about, and its round trip unless it is lost.
fn echoed(event: ClientEvent<'_>) -> Option<Result<(u32, Option<Duration>), Error>> {
    match event {
        ClientEvent::Answer { answer, .. } if answer.payload != PAYLOAD => {
            Some(Err(failed!("what came back is not what was sent")))
        }
        ClientEvent::Answer { sequence, rtt, .. } => Some(Ok((sequence, Some(rtt)))),
        ClientEvent::Lost(sequence) => Some(Ok((sequence, None))),
        _ => None,
    }
}

async fn measure(link: &Link, flags: Flags, report: &Report, signals: Signals) -> Result<Summary, Error> {
    let Flags { count, reliable } = flags;
    let lane = if reliable { Lane::Reliable } else { Lane::Droppable };
    if !reliable {
        link.allow_clear("echoes go in the clear by UDP; --reliable does without")?;
    }
    let started = Instant::now();
    let connecting = link.connect_tcp_udp(DEFAULT_PORT, TcpUdpSettings::default(), Client::new(TIMEOUT));
    let mut dialogue = Dialogue::open(ENTRY.name, link, connecting, None, report, signals).await?;
    let mut summary = Summary { set_up: started.elapsed(), ..Summary::default() };
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while summary.lost as usize + summary.round_trips.len() < count as usize {
        let event = tokio::select! {
            event = dialogue.next_event(echoed, |_| None) => event?,
            _ = ticks.tick(), if summary.sent < count => {
                // What goes before UDP works would go by TCP.
                if reliable || dialogue.connection.udp() == Some(true) || started.elapsed() > TIMEOUT {
                    dialogue.tell(Ask(lane, &PAYLOAD))?;
                    summary.sent += 1;
                }
                continue;
            }
        };
        let Some(event) = event else { break };
        match event? {
            (sequence, Some(rtt)) => {
                summary.round_trips.push(rtt);
                let (ms, text) = (millis(rtt), format!("echo {sequence}: {:.2} ms", millis(rtt)));
                report.event("echo", json!({ "sequence": sequence, "rtt_ms": ms }), &text);
            }
            (sequence, None) => {
                summary.lost += 1;
                report.event("lost", json!({ "sequence": sequence }), &format!("echo {sequence}: lost"));
            }
        }
    }
    dialogue.close().await;
    Ok(summary)
}
