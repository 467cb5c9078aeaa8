//! echo: the time, round trips and loss.
#![cfg(feature = "echo")]

use crate::Error;
use crate::config::Config;
use crate::figure::Figure;
use crate::logging::EventName;
use crate::memory::Part;
use crate::protocols::{Hosted, NoFlags, Protocol, Section};
use crate::refusals::Refusals;
use crate::service::{HubService, Ports, Service, hub_settings};
use serde::Deserialize;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use voxwire_core::{Handler, Instant, PeerId, Rate};
use voxwire_echo::{DEFAULT_PORT, Error as Violation, Server, ServerEvent, ServerSettings, ServerStats};
use voxwire_transport::{Handle, Hub};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Echo {
    port: u16,
    /// Requests of one client that are answered in a second; twice as many at once.
    rate: u32,
}

impl Default for Echo {
    fn default() -> Self {
        Self { port: DEFAULT_PORT, rate: ServerSettings::DEFAULT.rate.per_second }
    }
}

impl Hosted for Echo {
    const NAME: &'static str = "echo";
    const ABOUT: &'static str = "The time, round trips and loss, over TCP and UDP";
    const TRANSPORTS: &'static str = "TCP and UDP";
    const DEFAULT_PORT: u16 = DEFAULT_PORT;
    type Flags = NoFlags;

    fn apply_flags(&mut self, NoFlags {}: NoFlags) {}
}

impl Section for Echo {
    fn check(&self, _config: &Config) -> Result<(), String> {
        if self.rate == 0 { Err("rate 0: at least 1 expected".into()) } else { Ok(()) }
    }

    fn open(&self) -> Option<&'static str> {
        Some("any client can ask")
    }

    fn port(&mut self) -> &mut u16 {
        &mut self.port
    }

    fn memory(&self) -> Part {
        Part { queued: 2, partial: 1, pooled: 1, quic: 0 }
    }

    fn start(&self, config: &Config, ports: &mut Ports<'_>) -> Result<Box<dyn Service>, Error> {
        let listener = ports.lanes(Self::NAME, self.port)?;
        // The hub's time line begins now, too.
        #[expect(clippy::disallowed_methods, reason = "the wall clock is what is asked for")]
        let origin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let rate = Rate { per_second: self.rate, burst: self.rate.saturating_mul(2) };
        let server = Server::new(ServerSettings {
            max_peers: config.connections,
            rate,
            origin,
            ..ServerSettings::DEFAULT
        });
        let hub = Hub::spawn(vec![listener], server, Log, hub_settings(config, Protocol::of::<Self>()))?;
        let refusals = Arc::new(Refusals::new(Self::NAME, &[]));
        Ok(Box::new(HubService { protocol: Self::NAME, hub, moderator: None, figures, refusals }))
    }
}

fn figures(hub: &Handle<Server>) -> Vec<Figure> {
    let ServerStats { answered, over_rate, violations, .. } = hub.call(|server, _| server.stats());
    vec![Figure::answers(answered), Figure::refusals("rate", over_rate), Figure::violations(violations)]
}

#[derive(Debug)]
struct Log;

impl Handler<Server> for Log {
    fn on_event(&mut self, _server: &mut Server, _now: Instant, event: ServerEvent) {
        tracing::debug!(event = %EventName(&event));
    }

    fn on_violation(&mut self, _now: Instant, peer: PeerId, violation: Violation) {
        tracing::debug!(%peer, %violation, "ignored");
    }
}
