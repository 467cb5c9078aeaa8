//! opcode: who may have which name, and what goes into the log.

mod settings;

use crate::Error;
use crate::config::{Config, Profile};
use crate::control::{Control, Controlled, text};
use crate::figure::Figure;
use crate::logging::{Address, EventName, peer_span, seconds};
use crate::names::{Proof, Secrets, Who};
use crate::protocols::{Hosted as _, Protocol};
use crate::recording::{Said, Speaker, Tap, What};
use crate::refusals::{Refusals, Rule};
use crate::service::{HubService, hub_settings};
use core::net::IpAddr;
pub use settings::Opcode;
use std::sync::Arc;
use voxwire_core::{Handler, Instant, Limits, Moderation as _, PeerId, Session};
use voxwire_opcode::{
    ECHO, MAX_NAME, Refusal, RelayAddress, Server, ServerCommand, ServerEvent, ServerSettings, ServerStats,
    Text,
};
use voxwire_transport::{HubSettings, Listener};

/// Starts serving on `listener`.
fn start(
    config: &Config,
    opcode: &Opcode,
    listener: Listener,
    control: Option<Arc<Control>>,
    tap: Arc<Tap>,
) -> Result<HubService<Server>, Error> {
    let Opcode { trust_host, ref relay, relay_ports, ref secrets, secrets_only, echo, .. } = *opcode;
    let profile = config.profile_of(Protocol::OPCODE);
    let seed = getrandom::u64().unwrap_or_default();
    let defaults = match profile {
        Profile::Safe => ServerSettings::DEFAULT,
        Profile::Original => ServerSettings::ORIGINAL,
    };
    let mut address = RelayAddress { v4: None, v6: None };
    for ip in relay {
        let taken = match ip {
            IpAddr::V4(v4) => address.v4.replace(*v4).is_some(),
            IpAddr::V6(v6) => address.v6.replace(*v6).is_some(),
        };
        if taken || ip.is_unspecified() {
            let expected = "the address by which clients reach the server, or one for IPv4 and one for IPv6";
            return Err(Error::Usage(format!("opcode: relay {ip}: {expected} expected")));
        }
    }
    let relay = (!relay.is_empty()).then_some(address);
    let settings = ServerSettings {
        ask: !secrets.is_empty() || secrets_only,
        trust_host: trust_host || defaults.trust_host,
        relay,
        echo: echo && profile == Profile::Safe,
        limits: Limits { max_peers: config.connections, max_outbox: 256 << 20, ..defaults.limits },
        ..defaults
    };
    let rules = [Rule::Name, Rule::Secret, Rule::SecretsOnly];
    let refusals = Arc::new(Refusals::new(Opcode::NAME, &rules));
    let policy = AuthPolicy {
        refusals: refusals.clone(),
        tap: tap.clone(),
        secrets: Secrets::new(secrets, secrets_only),
    };
    let hub = HubSettings {
        // Every client's name has to fit, as a newcomer is told them all.
        max_queued: config.connections.saturating_mul(MAX_NAME + 8).saturating_add(256 * 1024),
        ports: relay_ports,
        ..hub_settings(config, Protocol::OPCODE)
    };
    let mut server = Server::new(settings, seed);
    server.exempt(&config.proxies);
    let handler = Controlled::new(policy, Opcode::NAME, control).tapped(tap.clone());
    let service = HubService::spawn(Protocol::OPCODE, vec![listener], server, handler, hub, figures)?;
    let always = opcode.record_names.iter().cloned().map(What::Name);
    service.moderated(refusals).recorded(tap, always)
}

/// What is counted.
fn figures(server: &Server) -> Vec<Figure> {
    let ServerStats { logins, calls, established, packets, bytes, muted, violations, .. } = server.stats();
    vec![
        Figure::sessions(server.logged_in() as u64),
        Figure::calls(server.relays() as u64),
        Figure::sessions_begun(logins),
        Figure::calls_offered(calls),
        Figure::calls_established(established),
        Figure::voice_packets(packets),
        Figure::voice_bytes(bytes),
        Figure::dropped("muted", muted),
        Figure::violations(violations),
    ]
}

const UNKNOWN_NAME: &str = "unknown name";

/// Decides who is who. Text that peers chose is logged escaped, and secrets are not.
#[derive(Debug)]
struct AuthPolicy {
    refusals: Arc<Refusals>,
    tap: Arc<Tap>,
    secrets: Secrets,
}

impl AuthPolicy {
    /// The answer to a client that asks for `name`, or `name:secret`.
    fn judge<'a>(&self, peer: PeerId, asked: &'a str) -> ServerCommand<'a> {
        let (name, secret) = match asked.split_once(':') {
            Some((name, secret)) if self.secrets.has(name) => (name, Some(secret.as_bytes())),
            _ => (asked, None),
        };
        match self.secrets.check(name, secret) {
            Proof::Right => ServerCommand::Admit { peer, name, proven: true },
            Proof::Wrong => ServerCommand::Reject { peer, reason: "wrong secret" },
            Proof::Missing => {
                ServerCommand::Reject { peer, reason: "this name needs a secret: log in as NAME:SECRET" }
            }
            Proof::Unneeded if self.secrets.only => ServerCommand::Reject { peer, reason: UNKNOWN_NAME },
            // Perhaps a name with a slip in it: every client would be shown the secret.
            Proof::Unneeded if !self.secrets.is_empty() && asked.contains(':') => {
                ServerCommand::Reject { peer, reason: "unknown name: names have no colon here" }
            }
            Proof::Unneeded => ServerCommand::Admit { peer, name, proven: false },
        }
    }
}

/// The rule behind what a client is told.
fn rule_of(reason: &str) -> Rule {
    match reason {
        UNKNOWN_NAME => Rule::SecretsOnly,
        voxwire_opcode::reason::INVALID => Rule::Name,
        _ => Rule::Secret,
    }
}

/// Of whom an event is.
const fn peer_of(event: &ServerEvent<'_>) -> Option<PeerId> {
    match event {
        ServerEvent::Connected { peer, .. }
        | ServerEvent::LoggingIn { peer, .. }
        | ServerEvent::LoggedIn { peer }
        | ServerEvent::Calling { caller: peer, .. }
        | ServerEvent::Unreachable { caller: peer, .. }
        | ServerEvent::Refused { caller: peer, .. }
        | ServerEvent::Established { caller: peer, .. }
        | ServerEvent::Ended { caller: peer, .. }
        | ServerEvent::Gone { peer, .. } => Some(*peer),
        _ => None,
    }
}

impl Handler<Server> for AuthPolicy {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        let name = |peer: PeerId| Who { name: server.name(peer), address: server.address(peer) }.to_string();
        // Who calls echo is called by itself.
        let callee_name = |caller, callee| if caller == callee { ECHO.to_owned() } else { name(callee) };
        let _peer = peer_of(&event).map(|peer| peer_span(Opcode::NAME, server.address(peer)).entered());
        match event {
            ServerEvent::Connected { peer, from } => {
                tracing::debug!(%peer, from = %Address(from), "connected")
            }
            ServerEvent::LoggingIn { peer, name } => {
                let verdict = match name.as_str() {
                    Some(text) => self.judge(peer, text),
                    None => ServerCommand::Reject { peer, reason: voxwire_opcode::reason::INVALID },
                };
                let from = server.address(peer);
                let result = server.handle_command(now, verdict);
                if let Err(refusal) = &result {
                    let reason = match refusal {
                        Refusal::InvalidName(error) => {
                            format!("{}: {error}", voxwire_opcode::reason::INVALID)
                        }
                        _ => voxwire_opcode::reason::INVALID.into(),
                    };
                    let _ = server.handle_command(now, ServerCommand::Reject { peer, reason: &reason });
                    self.refusals.note(Rule::Name, from, &reason);
                } else if let ServerCommand::Reject { reason, .. } = verdict {
                    self.refusals.note(rule_of(reason), from, reason);
                }
            }
            ServerEvent::LoggedIn { peer } => {
                tracing::info!(%peer, name = %name(peer), "logged in");
            }
            ServerEvent::LoginFailed { peer, name } => {
                self.refusals.note(Rule::Name, server.address(peer), &format!("{name:?}: the name is taken"));
            }
            ServerEvent::Calling { caller, callee } => {
                tracing::info!(caller = %name(caller), callee = %callee_name(caller, callee), "calling");
            }
            ServerEvent::Unreachable { caller, contact, cause } => {
                tracing::info!(caller = %name(caller), ?contact, cause = %EventName(&cause), "not handed on");
            }
            ServerEvent::Refused { caller, callee } => {
                tracing::info!(caller = %name(caller), callee = %name(callee), "refused");
            }
            ServerEvent::Established { caller, callee } => {
                tracing::info!(caller = %name(caller), callee = %callee_name(caller, callee), "call up");
            }
            ServerEvent::Voice { leg, data } => {
                let Some([speaker, other]) = server.parties_of(leg) else { return };
                let said = Said::Opus { packet: data, channels: 2, sequence: None };
                let (name, other) = (text(speaker), text(other));
                let speaker = Speaker { peer: None, name: &name, with: Some(&other) };
                self.tap.said(server, now, speaker, |_, _| false, said);
            }
            ServerEvent::Ended { caller_name, callee_name, missing, lasted, packets, .. } => {
                let (caller, callee) = (Text(&caller_name), Text(&callee_name));
                let missing = missing.as_ref().map(|missing| EventName(missing).to_string());
                let lasted = lasted.map(seconds);
                tracing::info!(?caller, ?callee, missing, lasted, packets, "call over");
            }
            ServerEvent::Gone { peer, name: Some(gone) } => {
                tracing::info!(%peer, name = ?Text(&gone), "gone");
            }
            // A client that never had a name: a scanner, or one that was closed for sending garbage.
            event => tracing::debug!(event = %EventName(&event)),
        }
    }
}
