//! `voxwire-client echo`: round trips to a server, and loss.
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
use tokio::time::{Instant, MissedTickBehavior, interval};
use voxwire_core::{Lane, Session};
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
    let summary = measure(&link, flags, report, &mut Signals::catch()?).await?;
    let Summary { sent, lost, mut round_trips, .. } = summary;
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

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

async fn measure(
    link: &Link,
    Flags { count, reliable }: Flags,
    report: &Report,
    signals: &mut Signals,
) -> Result<Summary, Error> {
    let lane = if reliable { Lane::Reliable } else { Lane::Droppable };
    if lane == Lane::Droppable {
        link.allow_clear("echoes go in the clear by UDP; --reliable does without")?;
    }
    let started = Instant::now();
    let mut connection =
        link.connect_tcp_udp(DEFAULT_PORT, TcpUdpSettings::default(), Client::new(TIMEOUT)).await?;
    let mut summary = Summary::default();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while summary.lost as usize + summary.round_trips.len() < count as usize {
        // What goes before UDP works would go by TCP.
        let path = lane == Lane::Reliable || connection.udp() == Some(true) || started.elapsed() > TIMEOUT;
        let ready = path && !summary.set_up.is_zero();
        tokio::select! {
            turn = connection.next() => match turn.map(|turn| turn.result) {
                Some(Ok(Some(ClientEvent::Connected))) => summary.set_up = started.elapsed(),
                Some(Ok(Some(ClientEvent::Answer { sequence, rtt, payload }))) => {
                    if payload != PAYLOAD {
                        return Err(failed!("what came back is not what was sent"));
                    }
                    summary.round_trips.push(rtt);
                    let fields = json!({ "sequence": sequence, "rtt_ms": millis(rtt) });
                    report.event("echo", fields, &format!("echo {sequence}: {:.2} ms", millis(rtt)));
                }
                Some(Ok(Some(ClientEvent::Lost(sequence)))) => {
                    summary.lost += 1;
                    report.event("lost", json!({ "sequence": sequence }), &format!("echo {sequence}: lost"));
                }
                None | Some(Ok(Some(ClientEvent::Disconnected))) => return Err(failed!("the server is gone")),
                Some(Ok(None)) => {}
                Some(Err(violation)) => tracing::debug!(%violation, "ignored"),
            },
            _ = ticks.tick(), if ready && summary.sent < count => {
                summary.sent += 1;
                let asked = connection.call(|client, now| client.handle_command(now, Ask(lane, &PAYLOAD)));
                asked.map_err(|refusal| failed!("cannot ask: {refusal}"))?;
            }
            () = signals.recv() => break,
        }
    }
    close(&mut connection).await;
    Ok(summary)
}
