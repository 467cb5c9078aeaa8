//! The status page, `/metrics`, `/healthz` and `/readyz`.

pub(crate) mod http;
mod metrics;

use crate::Error;
use crate::config::Wanted;
use crate::figure::{Figure, Value};
use crate::service::{Readiness, Service};
use axum::Router;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::net::TcpListener;

pub(crate) use http::{Limits, serve};

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

/// The routes of the status page.
pub(crate) fn routes(services: Services, readiness: Arc<Readiness>) -> Router {
    let registry = Arc::new(metrics::registry(services.clone(), readiness.clone()));
    Router::new()
        .route("/", get(move || async move { Html(page(&services)) }))
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

/// Everything in it is ours: names, helps and numbers.
fn page(services: &Services) -> String {
    let mut page = String::from(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>voxwire-server</title><style>body{font:16px system-ui;margin:2em;max-width:50em}\
         td{padding:.2em 1em;border-bottom:1px solid #ddd}td:nth-child(2){text-align:right}</style>\
         <h1>voxwire-server</h1>",
    );
    for service in services.iter() {
        let _ = write!(page, "<h2>{}</h2><table>", service.protocol());
        for Figure { name, help, label, value } in service.figures() {
            let name = name.replace('_', " ");
            let label = label.map_or(String::new(), |(_, label)| format!(", {label}"));
            let value = match value {
                Value::Gauge(value) | Value::Counter(value) => value.to_string(),
                Value::Histogram(stats) => {
                    stats.mean().map_or_else(|| "–".into(), |mean| format!("{mean:.1?} on average"))
                }
            };
            let _ = write!(page, "<tr><td>{name}{label}<td>{value}<td>{help}");
        }
        page.push_str("</table>");
    }
    page.push_str("<p><a href=/metrics>metrics</a>");
    page
}
