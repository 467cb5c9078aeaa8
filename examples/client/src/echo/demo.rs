//! echo's part of the demonstration: round trips over a network that loses datagrams.

use super::{ENTRY, Flags, measure};
use crate::demo::{Conditions, Likeness, Outcome, serve_by_proxy};
use crate::error::{Error, failed};
use crate::report::Report;
use core::time::Duration;
use voxwire_server::Protocol;

/// As many as a call of four seconds has frames.
const FLAGS: Flags = Flags { count: 200, reliable: false };

pub(super) async fn call(conditions: &Conditions<'_>) -> Result<Vec<Outcome>, Error> {
    let impairment = conditions.impairment(5.0);
    let protocol = Protocol::named(ENTRY.name).ok_or_else(|| failed!("the server does not have it"))?;
    let (server, link) = serve_by_proxy(protocol, |_| {}, impairment).await?;
    let echoes = measure(&link, FLAGS, &Report::silent(), conditions.signals.clone()).await?;
    server.drain(Duration::from_secs(2)).await;
    let (sent, heard) = (u64::from(echoes.sent), echoes.times.len() as u64);
    // Lost on either way; twice as much as is to be expected, and a few more on a busy machine.
    let expected = 1.0 - (1.0 - impairment.loss).powi(2);
    let enough = heard as f64 >= sent as f64 * (0.95 - 2.0 * expected);
    Ok(vec![Outcome {
        protocol: "echo: there and back",
        set_up: echoes.set_up,
        sent,
        heard,
        latencies: echoes.times,
        stalls: 0,
        passed: enough && heard > 0,
        likeness: Ok(Likeness::Bytes),
    }])
}
