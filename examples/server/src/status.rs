//! The status page, `/metrics` and `/healthz`.

mod http;

use crate::Error;
use crate::config::Wanted;
use crate::service::{Figure, Service};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::{counter::ConstCounter, gauge::ConstGauge};
use prometheus_client::registry::Registry;
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
pub(crate) fn routes(services: Services) -> Router {
    let mut registry = Registry::with_prefix("voxwire");
    registry.register_collector(Box::new(Figures(services.clone())));
    let registry = Arc::new(registry);
    Router::new()
        .route("/", get(move || async move { Html(page(&services)) }))
        .route("/metrics", get(move || async move { metrics(&registry) }))
        .route("/healthz", get(|| async { "ok\n" }))
}

fn metrics(registry: &Registry) -> impl IntoResponse + use<> {
    let mut out = String::new();
    let _ = text::encode(&mut out, registry);
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], out)
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
        for Figure { name, help, value, .. } in service.figures() {
            let _ = write!(page, "<tr><td>{}<td>{value}<td>{help}", name.replace('_', " "));
        }
        page.push_str("</table>");
    }
    page.push_str("<p><a href=/metrics>metrics</a>");
    page
}

/// Reads the services' figures for each request.
#[derive(Debug)]
struct Figures(Services);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for service in self.0.iter() {
            for Figure { name, help, value, counter } in service.figures() {
                let name = format!("{}_{name}", service.protocol());
                if counter {
                    let metric = ConstCounter::new(value);
                    metric.encode(encoder.encode_descriptor(&name, help, None, metric.metric_type())?)?;
                } else {
                    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                    metric.encode(encoder.encode_descriptor(&name, help, None, metric.metric_type())?)?;
                }
            }
        }
        Ok(())
    }
}
