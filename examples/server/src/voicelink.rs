//! voicelink: who may have which name, and what goes into the log.

mod settings;

use crate::Error;
use crate::config::Config;
use crate::control::{Control, Controlled};
use crate::figure::Figure;
use crate::logging::{Address, EventName, peer_span, seconds};
use crate::names::{Proof, Secrets, Who, quoted};
use crate::protocols::{Hosted as _, Protocol};
use crate::recording::{Pcm, Said, Speaker, Tap, What};
use crate::refusals::{Refusals, Rule};
use crate::service::{HubService, hub_settings};
use core::net::IpAddr;
pub use settings::{FixedName, Voicelink};
use std::collections::BTreeMap;
use std::sync::Arc;
use voxwire_audio::{SampleFormat, SampleOrder};
use voxwire_core::{Handler, Instant, Moderation as _, PeerId, Session, Untrusted, canonical_name};
use voxwire_transport::Listener;
use voxwire_voicelink::{
    ByteOrder, ECHO, Ended, Format, Parameters, Server, ServerCommand, ServerEvent, ServerSettings,
    ServerStats,
};

/// Starts serving on `listener`.
fn start(
    config: &Config,
    voicelink: &Voicelink,
    listener: Listener,
    control: Option<Arc<Control>>,
    tap: Arc<Tap>,
) -> Result<HubService<Server>, Error> {
    let Voicelink { answer, idle, idle_call, hide_unknown, forward_callee_name, echo, .. } = *voicelink;
    let seed = getrandom::u64().unwrap_or_default();
    let defaults = ServerSettings::DEFAULT;
    let limits = voxwire_core::Limits { max_peers: config.connections, ..defaults.limits };
    let settings = ServerSettings {
        ask: true,
        limits,
        answer_timeout: answer,
        idle_timeout: idle,
        call_idle_timeout: idle_call,
        hide_unknown,
        forward_callee_name,
        echo,
        ..defaults
    };
    let mut server = Server::new(settings, seed);
    server.exempt(&config.proxies);
    for (callee, callers) in &voicelink.block {
        for caller in callers {
            let block = ServerCommand::Block { callee, caller };
            if let Err(refusal) = server.handle_command(Instant::ZERO, block) {
                tracing::warn!(%refusal, "block list");
            }
        }
    }
    let rules = [Rule::Name, Rule::Secret, Rule::SecretsOnly, Rule::FixedName];
    let refusals = Arc::new(Refusals::new(Voicelink::NAME, &rules));
    let policy = AuthPolicy {
        refusals: refusals.clone(),
        tap: tap.clone(),
        fixed: voicelink.names.keys().map(|address| (*address, Vec::new())).collect(),
        names: voicelink.names.clone(),
        secrets: Secrets::new(&voicelink.secrets, voicelink.secrets_only),
        echo,
    };
    let handler = Controlled::new(policy, Voicelink::NAME, control).tapped(tap.clone());
    let (protocol, hub) = (Protocol::VOICELINK, hub_settings(config, Protocol::VOICELINK));
    let service = HubService::spawn(protocol, vec![listener], server, handler, hub, figures)?;
    let always = voicelink.record_names.iter().cloned().map(What::Name);
    service.moderated(refusals).recorded(tap, always)
}

/// Audio, as it is recorded.
fn pcm(parameters: Parameters, order: ByteOrder) -> Pcm {
    let format = match parameters.format {
        Format::U8 => SampleFormat::U8,
        Format::I8 => SampleFormat::I8,
        Format::I16 => SampleFormat::I16,
        Format::I32 => SampleFormat::I32,
        Format::F32 => SampleFormat::F32,
    };
    let order = match order {
        ByteOrder::BigEndian => SampleOrder::Big,
        ByteOrder::LittleEndian => SampleOrder::Little,
    };
    Pcm { rate: parameters.sample_rate, channels: parameters.channels, format, order }
}

/// What is counted.
fn figures(server: &Server) -> Vec<Figure> {
    let ServerStats { calls: rung, established, packets, bytes, violations, stray, muted, .. } =
        server.stats();
    vec![
        Figure::sessions(server.registered() as u64),
        Figure::calls(server.calls().count() as u64),
        Figure::calls_offered(rung),
        Figure::calls_established(established),
        Figure::voice_packets(packets),
        Figure::voice_bytes(bytes),
        Figure::dropped("stray", stray),
        Figure::dropped("muted", muted),
        Figure::violations(violations),
    ]
}

const OTHER_ADDRESS: &str = "this name belongs to another address";
const UNKNOWN_NAME: &str = "unknown name";

/// Decides who is who. Text that peers chose is logged escaped.
#[derive(Debug)]
struct AuthPolicy {
    refusals: Arc<Refusals>,
    tap: Arc<Tap>,
    names: BTreeMap<IpAddr, FixedName>,
    /// The connections from addresses with a fixed name, the newest last: it has the name.
    fixed: BTreeMap<IpAddr, Vec<PeerId>>,
    secrets: Secrets,
    /// The name for trying a set-up is no client's.
    echo: bool,
}

impl AuthPolicy {
    /// Gives the fixed name of an address to the newest connection from there: the one before may be half dead.
    fn introduce(&self, server: &mut Server, now: Instant, address: IpAddr) {
        let newest = self.fixed.get(&address).and_then(|peers| peers.last());
        let (Some(&peer), Some(FixedName { name, order })) = (newest, self.names.get(&address)) else {
            return;
        };
        let introduce = ServerCommand::Introduce { peer, name, reachable: true, order: *order };
        match server.handle_command(now, introduce) {
            Ok(()) => tracing::info!(%peer, name = %quoted(name), %address, "has its fixed name"),
            Err(refusal) => tracing::info!(%peer, name = %quoted(name), %refusal, "fixed name not given"),
        }
    }

    /// A connection is gone: if it had a fixed name, that goes back to the one before.
    fn forget(&mut self, server: &mut Server, now: Instant, peer: PeerId) {
        let left = self.fixed.iter_mut().find_map(|(address, peers)| {
            let newest = peers.last() == Some(&peer);
            let at = peers.iter().position(|other| *other == peer)?;
            peers.remove(at);
            newest.then_some(*address)
        });
        if let Some(address) = left {
            self.introduce(server, now, address);
        }
    }

    /// The answer to a client at `address` who asks for `name`.
    fn judge<'a>(
        &self,
        peer: PeerId,
        address: Option<IpAddr>,
        name: &str,
        secret: Option<&[u8]>,
    ) -> ServerCommand<'a> {
        let name = canonical_name(name);
        let owner = self.names.iter().find(|(_, fixed)| canonical_name(&fixed.name) == name);
        let owner = owner.map(|(owner, _)| *owner);
        if owner.is_some() && owner != address {
            return ServerCommand::Reject { peer, reason: OTHER_ADDRESS };
        }
        match self.secrets.check(&name, secret) {
            Proof::Right => ServerCommand::Admit { peer, proven: true },
            Proof::Wrong => ServerCommand::Reject { peer, reason: "wrong secret" },
            Proof::Missing => ServerCommand::Reject { peer, reason: "this name needs a secret" },
            Proof::Unneeded if self.echo && name == ECHO => {
                ServerCommand::Reject { peer, reason: voxwire_voicelink::reason::NAME_TAKEN }
            }
            Proof::Unneeded if self.secrets.only => ServerCommand::Reject { peer, reason: UNKNOWN_NAME },
            Proof::Unneeded => ServerCommand::Admit { peer, proven: false },
        }
    }
}

/// Why a registration was refused.
fn verdict_rule<'a>(verdict: &ServerCommand<'a>) -> (Rule, &'a str) {
    match verdict {
        ServerCommand::Reject { reason, .. } => match *reason {
            OTHER_ADDRESS => (Rule::FixedName, OTHER_ADDRESS),
            UNKNOWN_NAME => (Rule::SecretsOnly, UNKNOWN_NAME),
            reason if reason == voxwire_voicelink::reason::NAME_TAKEN => (Rule::Name, reason),
            reason => (Rule::Secret, reason),
        },
        _ => (Rule::Name, "the name will not do"),
    }
}

/// Of whom an event is.
const fn peer_of(event: &ServerEvent<'_>) -> Option<PeerId> {
    match event {
        ServerEvent::Connected { peer, .. }
        | ServerEvent::Registering { peer, .. }
        | ServerEvent::Registered { peer }
        | ServerEvent::Ringing { caller: peer, .. }
        | ServerEvent::Unreachable { caller: peer, .. }
        | ServerEvent::Established { caller: peer, .. }
        | ServerEvent::Gone { peer, .. } => Some(*peer),
        ServerEvent::Ended(ended) => Some(ended.caller),
        _ => None,
    }
}

impl AuthPolicy {
    /// Answers a client that asks for a name.
    fn register(
        &self,
        server: &mut Server,
        now: Instant,
        peer: PeerId,
        (name, secret): (&str, Option<&[u8]>),
    ) {
        let address = server.address(peer).map(|from| from.ip().to_canonical());
        let verdict = self.judge(peer, address, name, secret);
        let result = server.handle_command(now, verdict);
        let (registered, name) = (server.name(peer) == Some(name), quoted(name));
        let from = server.address(peer);
        match result {
            Ok(()) if registered => tracing::info!(%peer, %name, "registered"),
            Ok(()) if matches!(verdict, ServerCommand::Admit { .. }) => {
                tracing::debug!(%peer, %name, "name held, waiting");
            }
            Ok(()) => {
                let (rule, reason) = verdict_rule(&verdict);
                self.refusals.note(rule, from, &format!("{name}: {reason}"));
            }
            Err(refusal) => self.refusals.note(Rule::Name, from, &format!("{name}: {refusal}")),
        }
    }
}

impl Handler<Server> for AuthPolicy {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        let _peer = peer_of(&event).map(|peer| peer_span(Voicelink::NAME, server.address(peer)).entered());
        let who = |peer: PeerId| {
            Who { name: server.name(peer).map(str::as_bytes), address: server.address(peer) }.to_string()
        };
        match event {
            ServerEvent::Connected { peer, from } => {
                tracing::debug!(%peer, from = %Address(from), "connected");
                let address = from.map(|from| from.ip().to_canonical());
                if let Some((address, peers)) = address.and_then(|ip| Some((ip, self.fixed.get_mut(&ip)?))) {
                    peers.push(peer);
                    self.introduce(server, now, address);
                }
            }
            ServerEvent::Registering { peer, name, secret, .. } => {
                self.register(server, now, peer, (name, secret));
            }
            ServerEvent::Registered { peer } => tracing::info!(%peer, name = %who(peer), "registered"),
            ServerEvent::NameRefused { peer, name } => {
                let why = format!("{}: the name is taken", quoted(&name));
                self.refusals.note(Rule::Name, server.address(peer), &why);
            }
            ServerEvent::Ringing { caller, callee, parameters } => {
                tracing::info!(caller = %who(caller), callee = %who(callee), %parameters, "ringing");
            }
            ServerEvent::Unreachable { caller, user, cause } => {
                let user = Untrusted::new(user);
                tracing::info!(caller = %who(caller), ?user, %cause, "not put through");
            }
            ServerEvent::Established { caller, callee, parameters } => {
                tracing::info!(caller = %who(caller), callee = %who(callee), %parameters, "call up");
            }
            ServerEvent::Voice { peer, to, parameters, order, data } => {
                let name = |peer| server.name(peer).unwrap_or("unnamed").to_owned();
                let (name, other) = (name(peer), name(to));
                let speaker = Speaker { peer: None, name: &name, with: Some(&other) };
                let said = Said::Pcm { pcm: pcm(parameters, order), bytes: data };
                self.tap.said(server, now, speaker, |_, _| false, said);
            }
            ServerEvent::Ended(Ended { caller, callee, cause, lasted, packets, bytes }) => {
                let (caller, callee) = (who(caller), who(callee));
                let (cause, lasted) = (EventName(&cause), lasted.map(seconds));
                tracing::info!(%caller, %callee, %cause, lasted, packets, bytes, "call over");
            }
            ServerEvent::Gone { peer, name: Some(gone), ended } => {
                // Before anything is said of it: its name may be that of the connection before.
                let other = ended
                    .map(|Ended { caller, callee, .. }| who(if caller == peer { callee } else { caller }));
                self.forget(server, now, peer);
                if let Some(Ended { cause, lasted, packets, bytes, .. }) = ended {
                    let other = other.map(tracing::field::display);
                    let (cause, lasted) = (EventName(&cause), lasted.map(seconds));
                    tracing::info!(name = %quoted(&gone), other, %cause, lasted, packets, bytes, "call over");
                }
                tracing::info!(%peer, name = %quoted(&gone), "gone");
            }
            // A client that never had a name: a scanner, or one that was closed for sending garbage.
            ServerEvent::Gone { peer, name: None, ended } => {
                self.forget(server, now, peer);
                tracing::debug!(%peer, in_call = ended.is_some(), "gone");
            }
            event => tracing::debug!(event = %EventName(&event)),
        }
    }
}
