//! The program `voxwire-server`.
#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser};
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, iterator::Signals, low_level};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use tokio::sync::{mpsc, oneshot};
use tracing_subscriber::filter::LevelFilter;
use voxwire_server::logging::{self, Log, LogFormat};
use voxwire_server::notify::{State, notify, watchdog};
use voxwire_server::{
    Command, Config, Error, Flags, Listening, Running, check, default_config, descriptors, start,
    unknown_variables,
};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What an exit may take beyond `drain-seconds`: the last lines of the log, and a machine that is busy.
const GRACE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let flags = Flags::parse();
    let config = Config::from_flags(&flags);
    let (level, format) = match &config {
        Ok(config) => (config.log, config.log_format),
        Err(_) => (LevelFilter::INFO, LogFormat::Text),
    };
    let log = logging::start_as(level, format);
    let done = match &flags.command {
        None if flags.print_default_config => print(default_config().as_bytes()),
        None => config.and_then(|config| {
            let unknown = unknown_variables().join(", ");
            if !unknown.is_empty() {
                tracing::warn!(variables = unknown, "variables of the environment that are no settings");
            }
            match flags.check_config {
                true => check(&config).and_then(|()| print(b"the settings are right\n")),
                false => run(config, &flags, &log),
            }
        }),
        Some(Command::Certificate(make)) => make.run().and_then(|text| print(text.as_bytes())),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Flags::command(), "voxwire-server", &mut script);
            print(&script)
        }
        Some(Command::Man) => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Flags::command()).render(&mut page);
            rendered.map_err(Error::from).and_then(|()| print(&page))
        }
        Some(Command::Ctl(ctl)) => ctl.run(&mut std::io::stdout().lock()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.line(format_args!("voxwire-server: {error}"));
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}

fn print(text: &[u8]) -> Result<(), Error> {
    Ok(std::io::stdout().lock().write_all(text)?)
}

fn run(mut config: Config, flags: &Flags, log: &Log) -> Result<(), Error> {
    let signals = signals(config.drain)?;
    descriptors::fit(&mut config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(config, signals, flags, log));
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

async fn serve(mut config: Config, mut asked: Asked, flags: &Flags, log: &Log) -> Result<(), Error> {
    let drain = config.drain;
    let running = start(config.clone()).await?;
    announce(running.listening().to_vec())?;
    notify(State::Ready);
    tokio::spawn(watchdog(running.pulse()));
    loop {
        tokio::select! {
            _ = &mut asked.end => break,
            () = running.asked_to_end() => break,
            Some(()) = asked.reload.recv() => {
                notify(State::Reloading);
                tokio::select! {
                    () = reload(&running, &mut config, flags, log) => {}
                    // A disk that hangs does not hold up the end.
                    _ = &mut asked.end => break,
                }
                notify(State::Ready);
            }
        }
    }
    notify(State::Stopping);
    tracing::info!("shutting down; a second signal ends it at once");
    match running.drain(drain).await {
        true => Ok(()),
        false => Err(Error::Unfinished(drain)),
    }
}

/// Reads again what can change while the server runs, and says what cannot.
async fn reload(running: &Running, config: &mut Config, flags: &Flags, log: &Log) {
    let flags = flags.clone();
    let read = tokio::task::spawn_blocking(move || Config::from_flags(&flags)).await;
    match read {
        Ok(Ok(new)) => {
            let changed = new.differences(config).into_iter().filter(|setting| setting != "log");
            let changed: Vec<String> = changed.collect();
            if new.log != config.log {
                log.set_level(new.log);
                config.log = new.log;
            }
            let settings = changed.join(", ");
            match changed.is_empty() {
                true => tracing::info!("read again: the log's level, and the files of certificates"),
                false => tracing::warn!(settings, "read again: these settings change at a restart only"),
            }
        }
        Ok(Err(error)) => tracing::error!(%error, "the settings cannot be used: the former ones stay"),
        Err(error) => tracing::error!(%error, "the settings cannot be read again"),
    }
    running.reload().await;
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
