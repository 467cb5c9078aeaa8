//! The program `voxwire-server`.
#![forbid(unsafe_code)]

use clap::Parser;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

use tracing_subscriber::prelude::*;
use voxwire_server::{Config, Error, Flags, Running, start};

fn main() -> ExitCode {
    let flags = Flags::parse();

    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_filter(flags.log);
    tracing_subscriber::registry().with(lines).init();
    let result = Config::from_flags(&flags).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(config))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("voxwire-server: {error}");
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}

async fn serve(config: Config) -> Result<(), Error> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let drain = config.drain;
    let running = start(config).await?;
    announce(&running)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("shutting down; a second signal ends it at once");
    tokio::select! {
        () = running.drain(drain) => Ok(()),
        _ = interrupt.recv() => Err(Error::Interrupted),
        _ = terminate.recv() => Err(Error::Interrupted),
    }
}

/// The lines that scripts wait for.
fn announce(running: &Running) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    for listening in running.listening() {
        writeln!(out, "listening {listening}")?;
    }
    writeln!(out, "ready")?;
    Ok(out.flush()?)
}
