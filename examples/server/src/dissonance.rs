//! Dissonance: which rooms there are, and what goes into the log.

mod settings;

use crate::Error;
use crate::config::{Config, Profile};
use crate::names::{Who, quoted};
use crate::protocols::{Hosted as _, Protocol};
use crate::service::{Figure, HubService, hub_settings};
pub use settings::{DEFAULT_QUIC_PORT, Dissonance};
use subtle::ConstantTimeEq;
use voxwire_core::{Handler, Instant, PeerId};
use voxwire_dissonance::{ClientId, Server, ServerEvent, ServerSettings, ServerStats, Violation};
use voxwire_transport::{Handle, Hub, HubSettings, HubStats, Listener};

/// Starts serving on `listeners`, one session for all.
fn start(
    config: &Config,
    dissonance: &Dissonance,
    listeners: Vec<Listener>,
) -> Result<HubService<Server>, Error> {
    let Dissonance { rooms, rooms_only, token, max_rooms, .. } = dissonance.clone();
    let defaults = match config.profile_of(Protocol::DISSONANCE) {
        Profile::Safe => ServerSettings::DEFAULT,
        Profile::Original => ServerSettings::ORIGINAL,
    };
    let limits = voxwire_core::Limits { max_peers: config.connections, ..defaults.limits };
    let seed = getrandom::u64().unwrap_or_default();
    let mut server = Server::new(ServerSettings { limits, max_rooms, ..defaults }, seed);
    server.exempt(&config.proxies);
    for room in &rooms {
        server
            .reserve_room(room)
            .map_err(|refusal| Error::Usage(format!("dissonance: the room {}: {refusal}", quoted(room))))?;
    }
    if rooms_only {
        server.set_policy(move |_, room| rooms.iter().any(|known| known == room));
    }
    let with_token = |listener: Listener| match token.clone() {
        None => listener,
        Some(token) => listener.with_admission(move |shown, from| {
            let admitted = bool::from(token.as_bytes().ct_eq(shown));
            if !admitted {
                tracing::info!(%from, "wrong token");
            }
            admitted
        }),
    };
    let listeners = listeners.into_iter().map(with_token).collect();
    // A newcomer is told of every client at once: some fifty bytes for each.
    let settings = HubSettings { max_queued: 2 * 1024 * 1024, ..hub_settings(config, Protocol::DISSONANCE) };
    let hub = Hub::spawn(listeners, server, Log, settings);
    Ok(HubService { protocol: Dissonance::NAME, hub, figures })
}

/// What is counted.
fn figures(hub: &Handle<Server>, stats: &HubStats) -> Vec<Figure> {
    let (counted, clients, rooms) =
        hub.call(|server, _| (server.stats(), server.len(), server.rooms().count()));
    let ServerStats {
        joined,
        voice,
        voice_copies,
        voice_over_budget,
        texts,
        skipped,
        violations,
        forged,
        rooms_refused,
        ..
    } = counted;
    vec![
        Figure::gauge("clients", "Clients in the session", clients as u64),
        Figure::gauge("rooms", "Rooms that a client listens to", rooms as u64),
        Figure::counter("joined", "Clients that have joined", joined),
        Figure::counter("voice", "Voice packets relayed", voice),
        Figure::counter("voice_copies", "Copies of them sent", voice_copies),
        Figure::counter(
            "voice_over_budget",
            "Voice packets dropped because their sender sent too many",
            voice_over_budget,
        ),
        Figure::counter("texts", "Texts relayed", texts),
        Figure::counter(
            "skipped",
            "Destinations that were not there, not addressed, or named twice",
            skipped,
        ),
        Figure::counter("dropped", "Datagrams and frames dropped on their way", stats.dropped_frames),
        Figure::counter("violations", "Malformed or misplaced packets", violations),
        Figure::counter("forged", "Packets that said another client had sent them", forged),
        Figure::counter("rooms_refused", "Rooms that clients were not let into", rooms_refused),
    ]
}

/// Writes down who comes and goes. Text that peers chose is logged escaped.
#[derive(Debug)]
struct Log;

impl Handler<Server> for Log {
    fn on_event(&mut self, server: &mut Server, _now: Instant, event: ServerEvent<'_>) {
        let name = |client: ClientId| {
            Who { name: server.name(client).map(str::as_bytes), address: None }.to_string()
        };
        let address = |peer: PeerId| server.address(peer).map(tracing::field::display);
        match event {
            ServerEvent::Joined { peer, client } => {
                tracing::info!(%peer, %client, name = %name(client), from = address(peer), "joined");
            }
            ServerEvent::Left { client, name, cause, .. } => {
                tracing::info!(%client, name = %quoted(&name), ?cause, "left");
            }
            ServerEvent::NameRefused { peer, name } => {
                tracing::info!(%peer, name = %quoted(&name), from = address(peer), "not let in: name taken");
            }
            ServerEvent::InvalidName { peer, error } => {
                tracing::info!(%peer, %error, from = address(peer), "not let in: invalid name");
            }
            ServerEvent::Rooms { client, refused: Some((room, why)) } => {
                tracing::info!(%client, name = %name(client), room = %quoted(&room), %why, "room refused");
            }
            ServerEvent::Listening { client, room, joined } => {
                tracing::debug!(%client, name = %name(client), room = %quoted(&room), joined, "listening");
            }
            event => tracing::debug!(?event),
        }
    }

    fn on_violation(&mut self, _now: Instant, peer: PeerId, violation: Violation) {
        tracing::debug!(%peer, %violation, "ignored");
    }
}
