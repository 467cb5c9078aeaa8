//! The status page: its files, and what it shows, once a second. All of it is ours: names and numbers. Who is there is shown by the control
//! API, to those with a token.

use super::Services;
use crate::figure::{Figure, Value};
use crate::service::{Listening, Readiness, Service};
use axum::Router;
use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;
use axum::routing::get;
use core::convert::Infallible;
use core::time::Duration;
use futures_util::stream;
use serde::Serialize;
use std::sync::Arc;
use tokio::time::{Instant, sleep};

/// How often the page is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Numbers of now, and what the page calls them.
const GAUGES: [(&str, &str); 5] = [
    ("sessions", "sessions"),
    ("rooms", "rooms"),
    ("groups", "groups"),
    ("calls", "calls"),
    ("active_recordings", "recordings"),
];

/// The page loads nothing from elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is shown.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) services: Services,
    pub(super) readiness: Arc<Readiness>,
    pub(super) listening: Vec<Listening>,
    pub(super) started: Instant,
    /// How long a connection may last.
    pub(super) deadline: Duration,
    /// Whether the control API is on, which shows operators who is there.
    pub(super) people: bool,
}

pub(super) fn routes(source: Source) -> Router {
    let source = Arc::new(source);
    Router::new()
        .route("/", get(|| file("text/html", include_str!("page/index.html"))))
        .route("/page.css", get(|| file("text/css", include_str!("page/page.css"))))
        .route("/page.js", get(|| file("text/javascript", include_str!("page/page.js"))))
        .route("/events", get(move || events(source)))
}

async fn file(kind: &str, text: &'static str) -> impl IntoResponse + use<> {
    (headers(&format!("{kind}; charset=utf-8")), text)
}

fn headers(kind: &str) -> [(HeaderName, String); 5] {
    [
        (CONTENT_TYPE, kind.into()),
        (CACHE_CONTROL, "no-cache".into()),
        (CONTENT_SECURITY_POLICY, POLICY.into()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
        (REFERRER_POLICY, "no-referrer".into()),
    ]
}

/// Server-sent events. The answer ends in time for the limit of all answers; a browser asks again.
async fn events(source: Arc<Source>) -> impl IntoResponse + use<> {
    let end = Instant::now() + source.deadline.saturating_sub(2 * INTERVAL);
    let snapshots = stream::unfold(None, move |last: Option<Instant>| {
        let source = source.clone();
        async move {
            if let Some(last) = last {
                if last >= end {
                    return None;
                }
                sleep(INTERVAL).await;
            }
            let now = Instant::now();
            let snapshot = serde_json::to_string(&source.snapshot(now)).ok()?;
            let retry = INTERVAL.as_millis() / 2;
            let event = format!("retry: {retry}\nevent: snapshot\ndata: {snapshot}\n\n");
            Some((Ok::<_, Infallible>(event), Some(now)))
        }
    });
    (headers("text/event-stream"), Body::from_stream(snapshots))
}

/// What the page is told. Counters are totals since the start.
#[derive(Debug, Serialize)]
struct Snapshot {
    version: &'static str,
    /// In seconds.
    uptime: f64,
    /// Why no clients should be sent here, if they should not.
    unready: Option<String>,
    /// Whether operators can be shown who is there.
    people: bool,
    protocols: Vec<ProtocolSnapshot>,
}

#[derive(Debug, Serialize)]
struct ProtocolSnapshot {
    name: &'static str,
    listeners: Vec<String>,
    clients: u64,
    /// Numbers of now: sessions, rooms, groups, calls, recordings.
    gauges: Vec<(&'static str, u64)>,
    received_packets: u64,
    sent_packets: u64,
    sent_bytes: u64,
    dropped_packets: u64,
    refusals: u64,
    /// The upper bound of each bucket in seconds, and how much is in it and in those before. The last bound is missing.
    latency: Vec<(Option<f64>, u64)>,
}

impl Source {
    fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            uptime: now.saturating_duration_since(self.started).as_secs_f64(),
            unready: self.readiness.reason(),
            people: self.people,
            protocols: self.services.iter().map(|service| self.protocol(&**service)).collect(),
        }
    }

    fn protocol(&self, service: &dyn Service) -> ProtocolSnapshot {
        let name = service.protocol();
        let figures = service.figures();
        let listeners = self.listening.iter().filter(|listening| listening.protocol == name);
        let gauges = GAUGES.iter().filter_map(|(name, shown)| {
            let is_there = figures.iter().any(|figure| figure.name == *name);
            let value = sum(&figures, name);
            // Most servers record nothing.
            (is_there && (value > 0 || name == shown)).then_some((*shown, value))
        });
        ProtocolSnapshot {
            name,
            listeners: listeners.map(|it| format!("{} {}", it.transport, it.address)).collect(),
            clients: sum(&figures, "connections"),
            gauges: gauges.collect(),
            received_packets: sum(&figures, "received_packets"),
            sent_packets: sum(&figures, "sent_packets"),
            sent_bytes: sum(&figures, "sent_bytes"),
            dropped_packets: sum(&figures, "dropped_packets"),
            refusals: sum(&figures, "refusals"),
            latency: latency(&figures),
        }
    }
}

/// The sum of all figures of that name, over all labels.
fn sum(figures: &[Figure], name: &str) -> u64 {
    let values = figures.iter().filter(|figure| figure.name == name).map(|figure| match figure.value {
        Value::Gauge(value) | Value::Counter(value) => value,
        Value::Histogram(_) => 0,
    });
    values.fold(0, u64::saturating_add)
}

fn latency(figures: &[Figure]) -> Vec<(Option<f64>, u64)> {
    let stats = figures.iter().find_map(|figure| match figure.value {
        Value::Histogram(stats) if figure.name == "relay_latency_seconds" => Some(stats),
        _ => None,
    });
    let mut total: u64 = 0;
    let cumulative = |(bound, count): (Option<Duration>, u64)| {
        total = total.saturating_add(count);
        (bound.map(|bound| bound.as_secs_f64()), total)
    };
    stats.map(|stats| stats.buckets().map(cumulative).collect()).unwrap_or_default()
}
