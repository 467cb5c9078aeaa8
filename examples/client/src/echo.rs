//! `voxwire-client echo`: round trips to a server, and loss.
#![cfg(feature = "echo")]

mod demo;

use crate::check::{Probe, Row};
use crate::dialogue::Dialogue;
use crate::error::{Error, failed};
use crate::link::Link;
use crate::protocols::{Entry, entry};
use crate::report::{Report, RoundTrips};
use crate::screen;
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
/// Fewer are over before a screen could be read.
const ON_SCREEN: u32 = 100;

#[derive(Debug, Clone, Copy, Args)]
struct Flags {
    /// Echoes to be sent.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Send them on the reliable lane, on which nothing is lost.
    #[arg(long)]
    reliable: bool,
}

async fn run(link: Link, flags: Flags, report: &Report) -> Result<(), Error> {
    let signals = Signals::catch()?;
    if flags.count >= ON_SCREEN {
        screen::open(report, &format!("echo: round trips to {}", link.address(DEFAULT_PORT)));
    }
    let echoes = measure(&link, flags, report, signals).await?;
    let median = millis(echoes.median().ok_or_else(|| failed!("nothing came back"))?);
    let RoundTrips { sent, lost, .. } = echoes;
    let back = echoes.times.len();
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

async fn measure(link: &Link, flags: Flags, report: &Report, signals: Signals) -> Result<RoundTrips, Error> {
    let Flags { count, reliable } = flags;
    let lane = if reliable { Lane::Reliable } else { Lane::Droppable };
    if !reliable {
        link.allow_clear("echoes go in the clear by UDP; --reliable does without")?;
    }
    let started = Instant::now();
    let connecting = link.connect_tcp_udp(DEFAULT_PORT, TcpUdpSettings::default(), Client::new(TIMEOUT));
    let mut dialogue = Dialogue::open(ENTRY.name, link, connecting, None, report, signals).await?;
    let mut echoes = RoundTrips::new(started.elapsed());
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while echoes.known() < count {
        let event = tokio::select! {
            event = dialogue.next_event(echoed, |_| None) => event?,
            _ = ticks.tick(), if echoes.sent < count => {
                // What goes before UDP works would go by TCP.
                if reliable || dialogue.connection.udp() == Some(true) || started.elapsed() > TIMEOUT {
                    dialogue.tell(Ask(lane, &PAYLOAD))?;
                    echoes.sent += 1;
                }
                continue;
            }
        };
        let Some(event) = event else { break };
        match event? {
            (sequence, Some(rtt)) => {
                echoes.back(started.elapsed(), INTERVAL * sequence, rtt);
                let (ms, text) = (millis(rtt), format!("echo {sequence}: {:.2} ms", millis(rtt)));
                report.event("echo", json!({ "sequence": sequence, "rtt_ms": ms }), &text);
            }
            (sequence, None) => {
                echoes.lost += 1;
                report.event("lost", json!({ "sequence": sequence }), &format!("echo {sequence}: lost"));
            }
        }
        let udp = !reliable && dialogue.connection.udp() == Some(true);
        report.figures(|| echoes.figures(if udp { "echoes by UDP" } else { "echoes by TCP" }));
    }
    dialogue.close().await;
    Ok(echoes)
}
