//! The program `voxwire-server`.
#![forbid(unsafe_code)]

use clap::Parser;
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, iterator::Signals, low_level};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use tokio::sync::{mpsc, oneshot};
use voxwire_server::{
    Command, Config, Error, Flags, Listening, check, default_config, descriptors, logging, start,
};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What an exit may take beyond `drain-seconds`: the last lines of the log, and a machine that is busy.
const GRACE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let flags = Flags::parse();
    let log = logging::start(flags.log);
    let done = match &flags.command {
        None if flags.print_default_config => print(&default_config()),
        None => Config::from_flags(&flags).and_then(|config| match flags.check_config {
            true => check(&config).and_then(|()| print("the settings are right\n")),
            false => run(config),
        }),
        Some(Command::Certificate(make)) => make.run().and_then(|text| print(&text)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.line(format_args!("voxwire-server: {error}"));
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}

fn print(text: &str) -> Result<(), Error> {
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

fn run(mut config: Config) -> Result<(), Error> {
    let signals = signals(config.drain)?;
    descriptors::fit(&mut config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(config, signals));
    // A thread that waits for a disk which hangs is not waited for.
    runtime.shutdown_background();
    result
}

/// What signals ask for.
struct Asked {
    end: oneshot::Receiver<()>,
    reload: mpsc::Receiver<()>,
}

/// The first SIGINT or SIGTERM asks for the end; the process ends within `drain` and a little more, also where something blocks. The second one ends it
/// at once, in the signal's handler: no thread has to be free for that. SIGHUP asks for a reload.
fn signals(drain: Duration) -> Result<Asked, Error> {
    let second = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first one finds the flag unset, and sets it.
        flag::register_conditional_shutdown(signal, 1, second.clone())?;
        flag::register(signal, second.clone())?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (ask_end, end) = oneshot::channel();
    // A request that waits stands for all that follow.
    let (ask_reload, reload) = mpsc::channel(1);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal != SIGHUP {
                break;
            }
            let _ = ask_reload.try_send(());
        }
        let _ = ask_end.send(());
        let (_never, wait) = channel::<()>();
        let _ = wait.recv_timeout(drain.saturating_add(GRACE));
        low_level::exit(1)
    })?;
    Ok(Asked { end, reload })
}

async fn serve(config: Config, mut asked: Asked) -> Result<(), Error> {
    let drain = config.drain;
    let running = start(config).await?;
    announce(running.listening().to_vec())?;
    loop {
        tokio::select! {
            _ = &mut asked.end => break,
            Some(()) = asked.reload.recv() => {
                tracing::info!("reading the files of certificates again; other settings change at a restart");
                tokio::select! {
                    () = running.reload() => {}
                    // A disk that hangs does not hold up the end.
                    _ = &mut asked.end => break,
                }
            }
        }
    }
    tracing::info!("shutting down; a second signal ends it at once");
    match running.drain(drain).await {
        true => Ok(()),
        false => Err(Error::Unfinished(drain)),
    }
}

/// The lines that scripts wait for. A reader that does not take them stops nothing else.
fn announce(listening: Vec<Listening>) -> Result<(), Error> {
    let write = move || {
        let mut out = std::io::stdout().lock();
        for listening in listening {
            writeln!(out, "listening {listening}")?;
        }
        writeln!(out, "ready")?;
        out.flush()
    };
    std::thread::Builder::new().name("announce".into()).spawn(move || {
        if let Err(error) = write() {
            tracing::warn!(%error, "cannot write to standard output");
        }
    })?;
    Ok(())
}
