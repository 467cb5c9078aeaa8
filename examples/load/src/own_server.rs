//! A server of this program's own, in a process of its own, where no other one is named.

use crate::error::{Error, failed};
use crate::plan::Plan;
use crate::process::{answer, read_lines, read_plan};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::sync::oneshot;
use voxwire_server::{Config, Protocol, Wanted, descriptors, start};

/// How long its shutdown may take.
const DRAIN: Duration = Duration::from_secs(5);

/// Where a server of this program's own is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    /// The certificate that it shows on QUIC.
    pub(crate) certificate: PathBuf,
}

/// Serves the plan's protocol on loopback until standard input ends.
pub(crate) fn serve() -> Result<(), Error> {
    let plan = read_plan()?;
    let mut config = config(&plan)?;
    descriptors::fit(&mut config);
    let (end, ended) = oneshot::channel::<()>();
    read_lines(move |_| {
        // Held until there are no more lines.
        let _until_then = &end;
    })?;
    let data = &config.data.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let running = start(config).await?;
        let first = running.listening().first().ok_or_else(|| failed!("the server does not listen"))?;
        let address: SocketAddr = first.address;
        answer(&Served { address, certificate: data.join("quic-cert.pem") })?;
        let _ = ended.await;
        running.drain(DRAIN).await;
        Ok(())
    });
    // Not made unless something was stored.
    let _ = std::fs::remove_dir_all(data);
    served
}

/// The defaults, but for what the users of the plan need.
fn config(plan: &Plan) -> Result<Config, Error> {
    let entry = plan.entry();
    let protocol = Protocol::named(entry.name).ok_or_else(|| failed!("{} is not served", entry.name))?;
    let mut config = Config { only: vec![protocol], http: Wanted::No, ..Config::default() };
    config.use_free_ports();
    config.data = std::env::temp_dir().join(format!("voxwire-load-{}", std::process::id()));
    config.connections = config.connections.max(plan.users as usize + 64);
    (entry.configure)(&mut config, plan);
    Ok(config)
}
