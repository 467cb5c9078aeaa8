//! echo: round trips and loss.
#![cfg(feature = "echo")]

use crate::Error;
use crate::config::Config;
use crate::figure::Figure;
use crate::memory::Part;
use crate::protocols::{Hosted, NoFlags, Protocol, Section};
use crate::service::{HubService, Ports, Service, hub_settings};
use serde::Deserialize;
use voxwire_echo::{DEFAULT_PORT, Server, ServerSettings, ServerStats};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Echo {
    port: u16,
}

impl Default for Echo {
    fn default() -> Self {
        Self { port: DEFAULT_PORT }
    }
}

impl Hosted for Echo {
    const NAME: &'static str = "echo";
    const ABOUT: &'static str = "Round trips and loss, over TCP and UDP";
    const TRANSPORTS: &'static str = "TCP and UDP";
    const DEFAULT_PORT: u16 = DEFAULT_PORT;
    type Flags = NoFlags;
}

impl Section for Echo {
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
        let server = Server::new(ServerSettings { max_peers: config.connections, ..ServerSettings::DEFAULT });
        let listeners = vec![ports.lanes(Self::NAME, self.port)?];
        let (protocol, hub) = (Protocol::of::<Self>(), hub_settings(config, Protocol::of::<Self>()));
        Ok(Box::new(HubService::spawn(protocol, listeners, server, (), hub, figures)?))
    }
}

fn figures(server: &Server) -> Vec<Figure> {
    let ServerStats { answered, over_rate, violations, .. } = server.stats();
    vec![Figure::answers(answered), Figure::refusals("rate", over_rate), Figure::violations(violations)]
}
