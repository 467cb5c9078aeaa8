//! `/metrics`, in the text format of OpenMetrics. No label and no name comes from a peer.

use super::Services;
use crate::control::Access;
use crate::figure::{Figure, Value};
use crate::service::Readiness;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The registry of a server that starts now.
pub(super) fn registry(
    services: Services,
    readiness: Arc<Readiness>,
    access: Option<Arc<Access>>,
) -> Registry {
    let mut registry = Registry::default();
    #[expect(clippy::disallowed_methods, reason = "the wall clock is what is asked for")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started = ConstGauge::new(since.as_secs_f64());
    registry.register("process_start_time_seconds", "When the process was started, in Unix time", started);
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("voxwire_build", "Of the program", build);
    registry.register_collector(Box::new(Figures { services, readiness, access }));
    registry
}

pub(super) fn answer(registry: &Registry) -> impl IntoResponse + use<> {
    let mut out = String::new();
    let _ = text::encode(&mut out, registry);
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], out)
}

/// Reads the services' figures for each request.
#[derive(Debug)]
struct Figures {
    services: Services,
    readiness: Arc<Readiness>,
    /// Who may use the control API.
    access: Option<Arc<Access>>,
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ready = ConstGauge::new(u32::from(self.readiness.reason().is_none()));
        let help = "1 if clients should be sent here, see /readyz";
        ready.encode(encoder.encode_descriptor("voxwire_ready", help, None, MetricType::Gauge)?)?;
        if let Some(Figure { name, help, value, .. }) = self.access.as_ref().map(|access| access.figure()) {
            encode(
                encoder.encode_descriptor(&format!("voxwire_{name}"), help, None, MetricType::Counter)?,
                value,
            )?;
        }
        // What one name stands for is written together, whichever protocols have it.
        let mut families: BTreeMap<&str, Vec<(&'static str, Figure)>> = BTreeMap::new();
        for service in self.services.iter() {
            for figure in service.figures() {
                families.entry(figure.name).or_default().push((service.protocol(), figure));
            }
        }
        for (name, figures) in families {
            let Some((_, first)) = figures.first() else { continue };
            let kind = match first.value {
                Value::Gauge(_) => MetricType::Gauge,
                Value::Counter(_) => MetricType::Counter,
                Value::Histogram(_) => MetricType::Histogram,
            };
            let name = format!("voxwire_{name}");
            let mut family = encoder.encode_descriptor(&name, first.help, None, kind)?;
            for (protocol, figure) in figures {
                let labels: Vec<_> = [("protocol", protocol)].into_iter().chain(figure.label).collect();
                encode(family.encode_family(&labels)?, figure.value)?;
            }
        }
        Ok(())
    }
}

fn encode(mut encoder: MetricEncoder<'_>, value: Value) -> Result<(), std::fmt::Error> {
    match value {
        Value::Gauge(value) => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
        Value::Counter(value) => ConstCounter::new(value).encode(encoder),
        Value::Histogram(stats) => {
            let bound =
                |bound: Option<core::time::Duration>| bound.map_or(f64::INFINITY, |it| it.as_secs_f64());
            let buckets: Vec<(f64, u64)> =
                stats.buckets().map(|(most, count)| (bound(most), count)).collect();
            encoder.encode_histogram::<NoLabelSet>(stats.sum().as_secs_f64(), stats.count(), &buckets, None)
        }
    }
}
