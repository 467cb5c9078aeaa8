//! What is counted, for the status page and for `/metrics`.

use voxwire_transport::{HistogramStats, HubStats};

/// A number, or durations in buckets. Never holds anything that a peer chose, labels included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// As Prometheus asks: with the unit, without `voxwire_`, and without the `_total` of counters.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// A label beside `protocol`.
    pub(crate) label: Option<(&'static str, &'static str)>,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    Gauge(u64),
    /// Can only grow.
    Counter(u64),
    /// In seconds.
    Histogram(HistogramStats),
}

const DROPPED: &str = "Packets dropped: for a slow listener, over their sender's rate, or belonging nowhere";
const REFUSALS: &str = "What was refused, by the rule that refused it";
const UNRECORDED: &str = "Pieces of sound that a recording lacks, and why";
const DISCONNECTS: &str = "Connections closed by the server";

impl Figure {
    pub(crate) const fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, label: None, value: Value::Gauge(value) }
    }

    pub(crate) const fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, label: None, value: Value::Counter(value) }
    }

    pub(crate) const fn histogram(name: &'static str, help: &'static str, stats: HistogramStats) -> Self {
        Self { name, help, label: None, value: Value::Histogram(stats) }
    }

    /// Packets that went no further, and why.
    pub(crate) const fn dropped(reason: &'static str, value: u64) -> Self {
        Self { label: Some(("reason", reason)), ..Self::counter("dropped_packets", DROPPED, value) }
    }

    /// What was refused by a rule.
    pub(crate) const fn refusals(rule: &'static str, value: u64) -> Self {
        Self { label: Some(("rule", rule)), ..Self::counter("refusals", REFUSALS, value) }
    }

    /// What was said and is in no recording, and why.
    pub(crate) const fn unrecorded(reason: &'static str, value: u64) -> Self {
        Self { label: Some(("reason", reason)), ..Self::counter("unrecorded_pieces", UNRECORDED, value) }
    }

    const fn disconnects(reason: &'static str, value: u64) -> Self {
        Self { label: Some(("reason", reason)), ..Self::counter("disconnects", DISCONNECTS, value) }
    }

    pub(crate) const fn sessions(value: u64) -> Self {
        Self::gauge(
            "sessions",
            "Clients that have said who they are (syfala: whose audio goes both ways)",
            value,
        )
    }

    pub(crate) const fn sessions_begun(value: u64) -> Self {
        Self::counter("sessions_begun", "Clients that have been let in", value)
    }

    pub(crate) const fn calls(value: u64) -> Self {
        Self::gauge("calls", "Calls ringing or up (opcode: those that the server carries)", value)
    }

    pub(crate) const fn calls_offered(value: u64) -> Self {
        Self::counter("calls_offered", "Calls handed on to a callee", value)
    }

    pub(crate) const fn calls_established(value: u64) -> Self {
        Self::counter(
            "calls_established",
            "Calls that came up (opcode: those that the server carries)",
            value,
        )
    }

    pub(crate) const fn voice_packets(value: u64) -> Self {
        Self::counter("voice_packets", "Packets of voice taken from their senders to be handed on", value)
    }

    pub(crate) const fn voice_bytes(value: u64) -> Self {
        Self::counter("voice_bytes", "Bytes of voice taken from their senders to be handed on", value)
    }

    pub(crate) const fn voice_copies(value: u64) -> Self {
        Self::counter("voice_copies", "Packets of voice sent to listeners", value)
    }

    pub(crate) const fn texts(value: u64) -> Self {
        Self::counter("texts", "Texts taken from their senders to be handed on", value)
    }

    pub(crate) const fn answers(value: u64) -> Self {
        Self::counter("answers", "Questions answered", value)
    }

    pub(crate) const fn violations(value: u64) -> Self {
        Self::counter("violations", "Malformed or misplaced packets", value)
    }

    /// Those of a protocol on a hub, among those of the hub itself.
    pub(crate) fn of_hub(stats: &HubStats, own: Vec<Self>) -> Vec<Self> {
        let HubStats {
            connections, closing, queued, partial, accepted, refused, refused_per_address, ..
        } = *stats;
        let HubStats { received_frames, received_bytes, sent_frames, sent_bytes, handled, .. } = *stats;
        let HubStats { broken, too_slow, dropped_frames, over_rate_frames, unsendable_frames, .. } = *stats;
        let mut figures = vec![Self::gauge("connections", "Clients connected", connections as u64)];
        figures.extend(own);
        figures.extend([
            Self::counter("connections_accepted", "Connections accepted", accepted),
            Self::gauge("closing_connections", "Connections being closed", closing as u64),
            Self::refusals("connections", refused.saturating_sub(refused_per_address)),
            Self::refusals("per-address", refused_per_address),
            Self::disconnects("broken-stream", broken),
            Self::disconnects("slow", too_slow),
            Self::counter("received_packets", "Packets that came in", received_frames),
            Self::counter("received_bytes", "Bytes of the packets that came in", received_bytes),
            Self::counter("sent_packets", "Packets sent, one for each addressee", sent_frames),
            Self::counter("sent_bytes", "Bytes of the packets sent", sent_bytes),
            Self::gauge("queued_bytes", "Bytes that wait to be sent, or to arrive", queued as u64),
            Self::gauge(
                "partial_bytes",
                "Bytes set aside for packets that have not come in whole",
                partial as u64,
            ),
            Self::dropped("slow-listener", dropped_frames),
            Self::dropped("datagram-rate", over_rate_frames),
            Self::dropped("unsendable", unsendable_frames),
            Self::histogram(
                "relay_latency_seconds",
                "From the reading of what came in to the hand-over of all that was sent for it",
                handled,
            ),
        ]);
        figures
    }
}
