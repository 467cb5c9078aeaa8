//! A process that has some of the users. All of them are tasks of one thread: what they count needs no lock.

use crate::clock;
use crate::descriptors;
use crate::error::{Error, failed};
use crate::plan::Plan;
use crate::process::{answer, read_lines, read_plan};
use crate::user::{JOIN, Run, SET_UP, Stages};
use std::rc::Rc;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, LocalSet};

/// Has the users that the plan names, until the talk is over.
pub(crate) fn run() -> Result<(), Error> {
    descriptors::raise();
    let plan = read_plan()?;
    let (stages, begun) = watch::channel(Stages::default());
    let (end, mut ended) = oneshot::channel::<()>();
    let mut next = 0;
    read_lines(move |line| {
        // Held until there are no more lines.
        let _until_then = &end;
        stages.send_modify(|stages| {
            if let Some(stage) = stages.get_mut(next) {
                *stage = line.parse().ok();
            }
        });
        next += 1;
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            result = take_part(plan, begun) => result?,
            _ = &mut ended => return Err(failed!("the process that started this one is gone")),
        }
        // All users may have failed long before the others are done: what is told until then has a reader.
        let _ = ended.await;
        Ok(())
    })
}

async fn take_part(plan: Plan, stages: watch::Receiver<Stages>) -> Result<(), Error> {
    let (live, part) = (plan.entry().live, plan.part.clone());
    let run = Rc::new(Run::new(plan, stages));
    let mut users = JoinSet::new();
    for user in part {
        users.spawn_local(live(run.clone(), user));
    }
    for stage in [JOIN, SET_UP] {
        run.all_done(stage).await;
        answer(&clock::now())?;
    }
    while let Some(ended) = users.join_next().await {
        ended.map_err(|error| failed!("a user: {error}"))?;
    }
    answer(&run.figures.take().into_part())
}
