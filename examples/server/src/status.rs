//! The status page, `/metrics`, `/healthz` and `/readyz`.

pub(crate) mod http;
mod metrics;
mod page;

use crate::Error;
use crate::config::{Config, Wanted};
use crate::control::Access;
use crate::service::{Listening, Readiness, Service};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::time::Instant;

pub(crate) use http::{Exchanges, Limits, serve};

type Services = Arc<[Box<dyn Service>]>;

pub(crate) async fn bind(wanted: Wanted) -> Result<Option<TcpListener>, Error> {
    let Some(address) = wanted.address() else { return Ok(None) };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if matches!(wanted, Wanted::IfFree(_)) => {
            tracing::warn!(%address, %error, "no status page");
            Ok(None)
        }
        Err(error) => Err(Error::Listen { what: "http", address, error }),
    }
}

/// The routes of the status page. An answer ends within the deadline of the settings.
pub(crate) fn routes(
    services: Services,
    readiness: Arc<Readiness>,
    listening: Vec<Listening>,
    config: &Config,
    access: Option<Arc<Access>>,
) -> Router {
    let deadline = config.http_deadline;
    let registry = Arc::new(metrics::registry(services.clone(), readiness.clone(), access.clone()));
    let started = Instant::now();
    let people = access.is_some();
    let source =
        page::Source { services, readiness: readiness.clone(), listening, started, deadline, people };
    page::routes(source)
        .route("/metrics", get(move || async move { metrics::answer(&registry) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&readiness) }))
}

/// Whether clients should be sent here; if not, why.
fn ready(readiness: &Readiness) -> (StatusCode, String) {
    match readiness.reason() {
        None => (StatusCode::OK, "ready\n".into()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
