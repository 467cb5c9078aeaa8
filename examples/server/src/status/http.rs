//! The door of the status page: what `axum::serve` leaves open, a deadline, a size and a cap.

use super::Services;
use axum::Router;
use core::net::IpAddr;
use core::time::Duration;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use voxwire_core::source;

/// Bytes of a request's head, and of an answer's part that waits to be taken: hyper's least.
const BUFFER: usize = 8 * 1024;
/// How long to wait after an accept that failed.
const PAUSE: Duration = Duration::from_millis(50);

/// How often it is said that no client can be accepted.
const MINUTE: Duration = Duration::from_secs(60);

/// What strangers may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at a time, and as many descriptors; for one more, the oldest goes of the address that has most.
    pub(crate) connections: usize,
    /// How long a connection may last: a request and its answer.
    pub(crate) deadline: Duration,
}

/// Serves until the runtime ends.
pub(super) async fn serve(listener: TcpListener, services: Services, limits: Limits) {
    let app = super::router(services);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut told: Option<Instant> = None;
    // In the order in which they came.
    let mut connections: Vec<(IpAddr, AbortHandle)> = Vec::with_capacity(limits.connections);
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No descriptors are left: those held here are given back first.
                if told.is_none_or(|told| told.elapsed() >= MINUTE) {
                    tracing::warn!(%error, "the status page cannot accept (said once a minute at most)");
                    told = Some(Instant::now());
                }
                evict(&mut connections);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        connections.retain(|(_, connection)| !connection.is_finished());
        if slots.available_permits() == 0 {
            evict(&mut connections);
        }
        // An evicted connection gives its place, and the descriptor, back before any other client is accepted.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let task = tokio::spawn(exchange(stream, app.clone(), limits.deadline, slot));
        connections.push((source(from.ip()), task.abort_handle()));
    }
}

/// One request and its answer.
async fn exchange(stream: TcpStream, app: Router, deadline: Duration, _slot: OwnedSemaphorePermit) {
    let mut http = http1::Builder::new();
    // Without keep-alive no client is idle.
    http.timer(TokioTimer::new()).header_read_timeout(deadline).max_buf_size(BUFFER).keep_alive(false);
    let exchange = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    match timeout(deadline, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "status page"),
        Err(_) => tracing::debug!("status page: deadline"),
    }
}

/// Ends the oldest connection of the address that has most.
fn evict(connections: &mut Vec<(IpAddr, AbortHandle)>) {
    let mut held: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (from, _) in connections.iter() {
        *held.entry(*from).or_default() += 1;
    }
    let most = connections.iter().map(|(from, _)| held.get(from).copied().unwrap_or_default()).max();
    let oldest = connections.iter().position(|(from, _)| held.get(from).copied() == most);
    if let Some(at) = oldest {
        let (_, connection) = connections.remove(at);
        connection.abort();
    }
}
