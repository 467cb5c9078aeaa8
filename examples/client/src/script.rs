//! `--script`: commands with waits and checks, from a file.

mod parse;
mod transcript;

use crate::error::{Error, failed};
use crate::report::Report;
use crate::talk;
use nix::sys::signal::{Signal, raise};
use parse::{Step, steps};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
pub(crate) use transcript::Transcript;

/// Commands that may wait to be carried out.
const COMMANDS: usize = 16;

/// A script that has been read.
#[derive(Debug)]
pub(crate) struct Script {
    name: String,
    steps: Vec<(usize, Step)>,
}

/// Where commands come from, until somebody takes it.
pub(crate) type Lines = Arc<Mutex<Option<Receiver<String>>>>;

impl Script {
    /// Reads the file. `commands`: whether there is somebody who carries out more than `/quit`.
    ///
    /// # Errors
    /// It cannot be read, or a line makes no sense: says which.
    pub(crate) fn load(path: &Path, commands: bool) -> Result<Self, Error> {
        let name = path.display().to_string();
        let usage = |error: &dyn core::fmt::Display| Error::Usage(format!("--script {name}: {error}"));
        let text = std::fs::read_to_string(path).map_err(|error| usage(&error))?;
        let steps = steps(&text).map_err(|(line, problem)| usage(&format_args!("line {line}: {problem}")))?;
        let known = |line: &str| line == "/quit" || talk::is_command(line);
        let stranger = steps.iter().find(|(_, step)| matches!(step, Step::Command(line) if !known(line)));
        if let (false, Some((line, _))) = (commands, stranger) {
            let problem = "only `chat` carries out commands; wait, expect, /mute, /unmute, /talk, /volume or /quit expected here";
            return Err(usage(&format_args!("line {line}: {problem}")));
        }
        Ok(Self { name, steps })
    }

    /// Starts it. Where a check fails, SIGINT ends the program in order.
    pub(crate) fn start(self, report: &mut Report) -> Running {
        let transcript = Arc::new(Transcript::default());
        let (sender, lines) = channel(COMMANDS);
        report.script(transcript.clone(), Arc::new(Mutex::new(Some(lines))));
        let seen = transcript.clone();
        let (name, to) = (self.name.clone(), report.clone());
        let task = tokio::spawn(async move {
            let result = self.run(&seen, &sender, &to).await;
            if result.is_err() {
                let _ = raise(Signal::SIGINT);
            }
            result
        });
        Running { name, transcript, task }
    }

    async fn run(
        self,
        seen: &Transcript,
        commands: &Sender<String>,
        report: &Report,
    ) -> Result<(), (usize, String)> {
        for (number, step) in self.steps {
            match step {
                Step::Wait(time) => tokio::select! {
                    () = sleep(time) => {}
                    () = seen.closed() => {}
                },
                Step::Expect { text, within } => {
                    let came = timeout(within, seen.expect(&text)).await;
                    let problem = match came {
                        Ok(true) => continue,
                        Ok(false) => "the program ended before it came".to_owned(),
                        Err(_) => format!("it did not come within {within:?}"),
                    };
                    return Err((number, format!("{text:?} expected: {problem}")));
                }
                Step::Command(line) if line == "/quit" && seen.is_closed() => {}
                Step::Command(line) if talk::is_command(&line) => {
                    talk::carry_out(report, &line).map_err(|error| (number, error.to_string()))?;
                }
                Step::Command(line) => {
                    let quits = line == "/quit";
                    let carried_out = !seen.is_closed() && commands.send(line.clone()).await.is_ok();
                    if !carried_out {
                        return Err((number, format!("{line}: the program ended before")));
                    }
                    // Where nobody takes commands, this one is a signal.
                    if quits {
                        let _ = raise(Signal::SIGINT);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A script at work.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    transcript: Arc<Transcript>,
    task: JoinHandle<Result<(), (usize, String)>>,
}

impl Running {
    /// The program has done what it does: what is still to be checked, is.
    ///
    /// # Errors
    /// A check has failed: says which line.
    pub(crate) async fn end(self) -> Result<(), Error> {
        self.transcript.close();
        match self.task.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((line, problem))) => Err(failed!("{} line {line}: {problem}", self.name)),
            Err(error) => Err(failed!("{}: {error}", self.name)),
        }
    }
}

/// Takes the commands of a script, once.
pub(crate) fn take(lines: &Lines) -> Option<Receiver<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner).take()
}
