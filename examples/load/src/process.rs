//! The processes of this program: one that the user started, and those that it starts, which are the same program.
//!
//! Each is told what to do by lines on its standard input, and answers by lines of JSON on its standard output. It ends when its standard
//! input does.

use crate::error::{Error, failed};
use crate::plan::Plan;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead as _, Write as _};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The first argument of a process that has some of the users.
pub(crate) const PART: &str = "--part";
/// The first argument of a process that serves.
pub(crate) const SERVE: &str = "--serve";

/// A process that was started. It is killed where this is dropped before it has ended.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts this program once more, as `role`, and tells it the plan.
    pub(crate) async fn start(role: &str, plan: &Plan) -> Result<Self, Error> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program)
            .arg(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed!("cannot start another process of this program: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.ok_or_else(|| failed!("a process without standard output"))?;
        let mut process = Self { child, stdin, lines: BufReader::new(stdout).lines() };
        process.tell(&serde_json::to_string(plan)?).await?;
        Ok(process)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Tells it a line.
    pub(crate) async fn tell(&mut self, line: &str) -> Result<(), Error> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        let told = stdin.write_all(format!("{line}\n").as_bytes()).await;
        told.map_err(|error| failed!("a process of this program does not listen: {error}"))
    }

    /// The next line that it says.
    pub(crate) async fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        match self.lines.next_line().await? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => {
                let status = self.child.wait().await?;
                Err(failed!("a process of this program ended too early ({status}), after what it says above"))
            }
        }
    }

    /// Has it end, and waits for that.
    pub(crate) async fn end(mut self) -> Result<(), Error> {
        self.stdin = None;
        self.child.wait().await?;
        Ok(())
    }
}

/// In a process that was started: the plan, the first line.
pub(crate) fn read_plan() -> Result<Plan, Error> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// In a process that was started: hands on each further line, on a thread of its own, until there are no more.
pub(crate) fn read_lines(mut line: impl FnMut(&str) + Send + 'static) -> Result<(), Error> {
    let read = move || {
        for text in std::io::stdin().lock().lines() {
            match text {
                Ok(text) => line(&text),
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().name("orders".into()).spawn(read)?;
    Ok(())
}

/// In a process that was started: answers.
pub(crate) fn answer(value: &impl Serialize) -> Result<(), Error> {
    let line = serde_json::to_string(value)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
