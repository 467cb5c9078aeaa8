//! A whole run: starts the processes, has them begin each stage together, and puts their figures together.

use crate::clock::{now, sleep_until};
use crate::descriptors;
use crate::error::Error;
use crate::figures::{Figures, Part};
use crate::own_server::Served;
use crate::plan::{Plan, SECOND};
use crate::process::{PART, Process, SERVE};
use crate::usage::Usage;

/// How long before it begins a stage is announced: all processes know of it by then.
const MARGIN: u64 = SECOND / 2;

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    pub(crate) processes: u32,
    pub(crate) figures: Figures,
    /// What the server's process had used when the talk began, and when it ended.
    pub(crate) usage: Option<(Usage, Usage)>,
}

/// Makes a run. `server_pid`: the server's process, if it is on this machine.
pub(crate) async fn run(
    mut plan: Plan,
    processes: u32,
    mut server_pid: Option<u32>,
) -> Result<Outcome, Error> {
    let limit = descriptors::raise();
    let mut own = None;
    if plan.server.is_none() {
        let mut server = Process::start(SERVE, &plan).await?;
        let Served { address, certificate } = server.answer().await?;
        plan.server = Some(address);
        if let Some(encryption) = &mut plan.encryption {
            encryption.trusted = certificate;
        }
        server_pid = server.pid();
        own = Some(server);
    }
    let mut parts = Vec::new();
    for part in plan.parts(processes) {
        descriptors::check(u64::from(part.end - part.start), plan.entry().descriptors, limit)?;
        parts.push(Process::start(PART, &Plan { part, ..plan.clone() }).await?);
    }
    for _ in ["join", "set up"] {
        begin(&mut parts).await?;
        for part in &mut parts {
            part.answer::<u64>().await?;
        }
    }
    let start = begin(&mut parts).await?;
    let usage = |pid: Option<u32>| pid.and_then(Usage::of);
    sleep_until(start).await;
    let before = usage(server_pid);
    sleep_until(start + u64::from(plan.seconds) * SECOND).await;
    let usage = before.zip(usage(server_pid));
    let mut figures = Figures::default();
    for part in &mut parts {
        figures.merge(part.answer::<Part>().await?);
    }
    for process in parts.into_iter().chain(own) {
        process.end().await?;
    }
    Ok(Outcome { plan, processes, figures, usage })
}

/// Has all processes begin the next stage, at the same moment.
async fn begin(parts: &mut [Process]) -> Result<u64, Error> {
    let at = now() + MARGIN;
    for part in parts {
        part.tell(&at.to_string()).await?;
    }
    Ok(at)
}
