//! The life of one user, whatever it speaks: it joins, sets up what it speaks in, talks and listens, and leaves.

use crate::clock::{instant, now, sleep_until};
use crate::error::{Cause, cause};
use crate::figures::{Figures, Kind, UserCounts};
use crate::listener::Listener;
use crate::payload::Stamp;
use crate::plan::{Plan, SECOND};
use core::cell::{Cell, RefCell};
use core::pin::pin;
use core::time::Duration;
use std::rc::Rc;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Listeners go on for so long after the last frame was due, or after the last that they heard.
const TAIL: u64 = 2 * SECOND;
/// But no longer than this after it was due.
const LONGEST_TAIL: u64 = 30 * SECOND;
/// Frames that one user says in a row, where many are due, before everything else has its turn.
const AT_A_TIME: u32 = 8;

/// A user of one protocol.
pub(crate) trait Member: Sized {
    /// Connects, and is let in.
    async fn join(plan: &Plan, user: u32) -> Result<Self, Cause>;

    /// Asks for what it speaks in; false where another user asks.
    fn set_up(&mut self) -> Result<bool, Cause>;

    /// Whether that is there.
    fn is_ready(&self) -> bool;

    /// Frames a second that it says.
    fn rate(&self, plan: &Plan) -> f64;

    /// Handles what happens next. Cancel-safe.
    async fn next(&mut self, listener: &mut Listener) -> Result<(), Cause>;

    /// Says a frame; an error that a later one may not meet is told, and not the end.
    fn say(&mut self, stamp: Stamp) -> Result<(), Cause>;

    /// Says goodbye.
    async fn leave(self);
}

/// What all users of a process share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) plan: Rc<Plan>,
    pub(crate) figures: Rc<RefCell<Figures>>,
    stages: watch::Receiver<Stages>,
    /// Users that have joined or failed, and that are ready or failed.
    done: [Cell<u32>; 2],
    changed: Notify,
}

/// When each stage began, or begins: in joining, setting up, talking.
pub(crate) type Stages = [Option<u64>; 3];
/// The stages.
pub(crate) const JOIN: usize = 0;
pub(crate) const SET_UP: usize = 1;
pub(crate) const TALK: usize = 2;

impl Run {
    pub(crate) fn new(plan: Plan, stages: watch::Receiver<Stages>) -> Self {
        let (done, changed) = (Default::default(), Notify::new());
        Self { plan: Rc::new(plan), figures: Rc::default(), stages, done, changed }
    }

    /// Waits until a stage has a beginning.
    async fn begins(&self, stage: usize) -> u64 {
        let mut stages = self.stages.clone();
        let found = stages.wait_for(|stages| stages.get(stage).is_some_and(Option::is_some)).await;
        let at = found.ok().and_then(|stages| stages.get(stage).copied().flatten());
        match at {
            Some(at) => at,
            // The process ends.
            None => core::future::pending().await,
        }
    }

    /// Waits until all users are done with a stage, one way or the other.
    pub(crate) async fn all_done(&self, stage: usize) {
        let users = self.plan.part.end - self.plan.part.start;
        while self.done.get(stage).is_some_and(|done| done.get() < users) {
            self.changed.notified().await;
        }
    }

    fn count(&self, count: impl FnOnce(&mut Figures)) {
        count(&mut self.figures.borrow_mut());
    }
}

/// How far a user is: who ends early is done with all stages that follow.
struct Progress<'a> {
    run: &'a Run,
    stage: usize,
}

impl Progress<'_> {
    fn done(&mut self) {
        if let Some(done) = self.run.done.get(self.stage) {
            done.set(done.get() + 1);
        }
        self.stage += 1;
        self.run.changed.notify_one();
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        while self.stage < self.run.done.len() {
            self.done();
        }
    }
}

/// One user, from its beginning to its end.
pub(crate) async fn live<M: Member>(run: Rc<Run>, user: u32) {
    if let Err(cause) = try_live::<M>(&run, user).await {
        run.count(|figures| figures.error(cause));
    }
}

async fn try_live<M: Member>(run: &Run, user: u32) -> Result<(), Cause> {
    let plan = &*run.plan;
    let limit = Duration::from_secs(plan.timeout.into());
    let mut progress = Progress { run, stage: 0 };
    let mut listener = Listener::new(run.plan.clone(), user, run.figures.clone());

    sleep_until(run.begins(JOIN).await + plan.ramp(user)).await;
    let began = now();
    let joined = timeout(limit, M::join(plan, user)).await;
    let mut member =
        joined.map_err(|_| cause!("joining: not let in within {} s (--timeout)", plan.timeout))??;
    run.count(|figures| {
        figures.counts.joined += 1;
        figures.record(Kind::Join, now() - began);
    });
    progress.done();

    let begins = attend(&mut member, &mut listener, run.begins(SET_UP)).await?;
    // Without talkers the users stay as idle as they are.
    if plan.talkers > 0 {
        attend(&mut member, &mut listener, sleep_until(begins + plan.ramp(user))).await?;
        set_up(run, &mut member, &mut listener, limit).await?;
    }
    run.count(|figures| figures.counts.ready += 1);
    progress.done();

    let start = attend(&mut member, &mut listener, run.begins(TALK)).await?;
    let mut sent = 0;
    let talked = talk(run, user, start, &mut member, &mut listener, &mut sent).await;
    run.count(|figures| figures.users.push(UserCounts { user, sent, heard: listener.heard() }));
    talked?;
    member.leave().await;
    Ok(())
}

/// Handles what happens until `until`.
async fn attend<M: Member, T>(
    member: &mut M,
    listener: &mut Listener,
    until: impl Future<Output = T>,
) -> Result<T, Cause> {
    let mut until = pin!(until);
    loop {
        tokio::select! {
            biased;
            result = &mut until => return Ok(result),
            handled = member.next(listener) => handled?,
        }
    }
}

async fn set_up<M: Member>(
    run: &Run,
    member: &mut M,
    listener: &mut Listener,
    limit: Duration,
) -> Result<(), Cause> {
    let began = now();
    let asked = member.set_up()?;
    let ready = async {
        while !member.is_ready() {
            member.next(listener).await?;
        }
        Ok(())
    };
    let what = if asked { "setting up: no answer" } else { "setting up: no user called" };
    let seconds = run.plan.timeout;
    timeout(limit, ready).await.map_err(|_| cause!("{what} within {seconds} s (--timeout)"))??;
    if asked {
        run.count(|figures| figures.record(Kind::SetUp, now() - began));
    }
    Ok(())
}

/// Talks and listens from `start` on. A frame that is due late is sent late, and counts as due when it was.
async fn talk<M: Member>(
    run: &Run,
    user: u32,
    start: u64,
    member: &mut M,
    listener: &mut Listener,
    sent: &mut u64,
) -> Result<(), Cause> {
    let plan = &*run.plan;
    let rate = member.rate(plan);
    listener.begin(start, rate);
    let last = start + u64::from(plan.seconds) * SECOND;
    let frames = if plan.talks(user) { plan.frames(rate) } else { 0 };
    let due = |sequence| (sequence < frames).then(|| start + plan.due(user, sequence, rate));
    let end = |listener: &Listener| listener.newest().max(last).min(last + LONGEST_TAIL) + TAIL;
    let mut sequence = 0;
    let mut timer = pin!(tokio::time::sleep_until(instant(due(sequence).unwrap_or(last + TAIL))));
    loop {
        // Neither waits for the other: a user that is behind goes on hearing, and sends what it has said.
        tokio::select! {
            () = &mut timer => {
                for _ in 0..AT_A_TIME {
                    let sent_at = now();
                    let Some(due) = due(sequence).filter(|due| *due <= sent_at) else { break };
                    let said = member.say(Stamp { due, sent: sent_at, speaker: user, sequence });
                    sequence += 1;
                    run.count(|figures| match said {
                        Ok(()) => {
                            figures.counts.sent += 1;
                            *sent += 1;
                            figures.record(Kind::Late, sent_at - due);
                        }
                        Err(cause) => {
                            figures.counts.refused += 1;
                            figures.error(cause);
                        }
                    });
                }
                let next = due(sequence);
                let end = end(listener);
                if next.is_none() && now() >= end {
                    return Ok(());
                }
                timer.as_mut().reset(instant(next.unwrap_or(end)));
            }
            handled = member.next(listener) => handled?,
        }
    }
}
