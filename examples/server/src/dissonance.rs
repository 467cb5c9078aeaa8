//! Dissonance: which rooms there are, and what goes into the log.

mod settings;

use crate::Error;
use crate::config::{Config, Profile};
use crate::control::{Control, Controlled};
use crate::figure::Figure;
use crate::logging::{EventName, peer_span};
use crate::names::{Who, quoted};
use crate::protocols::{Hosted as _, Protocol};
use crate::recording::{Said, Speaker, Tap, What};
use crate::refusals::{Refusals, Rule};
use crate::service::{HubService, hub_settings};
pub use settings::{DEFAULT_QUIC_PORT, Dissonance};
use std::io;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use voxwire_core::{Handler, Instant, Moderation as _, PeerId};
use voxwire_dissonance::{
    ClientId, Codec, Recipient, Server, ServerEvent, ServerSettings, ServerStats, room_id,
};
use voxwire_transport::{HubSettings, Listener};

/// Starts serving on `listeners`, one session for all.
fn start(
    config: &Config,
    dissonance: &Dissonance,
    listeners: Vec<Listener>,
    control: Option<Arc<Control>>,
    tap: Arc<Tap>,
) -> Result<HubService<Server>, Error> {
    let Dissonance { rooms, rooms_only, token, max_rooms, echo, record_rooms, .. } = dissonance.clone();
    let profile = config.profile_of(Protocol::DISSONANCE);
    let defaults = match profile {
        Profile::Safe => ServerSettings::DEFAULT,
        Profile::Original => ServerSettings::ORIGINAL,
    };
    let limits = voxwire_core::Limits { max_peers: config.connections, ..defaults.limits };
    let seed = getrandom::u64().unwrap_or_default();
    let mut server = Server::new(
        ServerSettings { limits, max_rooms, echo: echo && profile == Profile::Safe, ..defaults },
        seed,
    );
    server.exempt(&config.proxies);
    for room in &rooms {
        server
            .reserve_room(room)
            .map_err(|refusal| Error::Usage(format!("dissonance: the room {}: {refusal}", quoted(room))))?;
    }
    if rooms_only {
        server.set_policy(move |_, room| rooms.iter().any(|known| known == room));
    }
    let refusals = Arc::new(Refusals::new(Dissonance::NAME, &[Rule::Name, Rule::Token]));
    let with_token = |listener: Listener| match (token.clone(), refusals.clone()) {
        (None, _) => Ok(listener),
        (Some(token), refusals) => listener.with_admission(move |shown, from| {
            let admitted = bool::from(token.as_bytes().ct_eq(shown));
            if !admitted {
                refusals.note(Rule::Token, Some(from), "a wrong token, or none");
            }
            admitted
        }),
    };
    let listeners: io::Result<_> = listeners.into_iter().map(with_token).collect();
    // A newcomer is told of every client at once: some fifty bytes for each.
    let settings = HubSettings { max_queued: 2 * 1024 * 1024, ..hub_settings(config, Protocol::DISSONANCE) };
    let handler =
        Controlled::new(Log(refusals.clone(), tap.clone()), Dissonance::NAME, control).tapped(tap.clone());
    let service = HubService::spawn(Protocol::DISSONANCE, listeners?, server, handler, settings, figures)?;
    service.moderated(refusals).recorded(tap, record_rooms.into_iter().map(What::Room))
}

/// What is counted.
fn figures(server: &Server) -> Vec<Figure> {
    let ServerStats {
        joined,
        voice,
        voice_copies,
        voice_over_budget,
        texts,
        muted,
        skipped,
        violations,
        forged,
        rooms_refused,
        ..
    } = server.stats();
    vec![
        Figure::sessions(server.len() as u64),
        Figure::gauge("rooms", "Rooms that a client listens to", server.rooms().count() as u64),
        Figure::sessions_begun(joined),
        Figure::voice_packets(voice),
        Figure::voice_copies(voice_copies),
        Figure::dropped("sender-rate", voice_over_budget),
        Figure::dropped("muted", muted),
        Figure::dropped("forged", forged),
        Figure::texts(texts),
        Figure::counter(
            "skipped_destinations",
            "Destinations that were not there, not addressed, or named twice",
            skipped,
        ),
        Figure::refusals("room", rooms_refused),
        Figure::violations(violations),
    ]
}

/// Writes down who comes and goes. Text that peers chose is logged escaped.
#[derive(Debug)]
struct Log(Arc<Refusals>, Arc<Tap>);

/// Of whom an event is that is logged.
const fn peer_of(event: &ServerEvent<'_>) -> Option<PeerId> {
    match event {
        ServerEvent::Connected { peer, .. }
        | ServerEvent::Joined { peer, .. }
        | ServerEvent::Left { peer, .. }
        | ServerEvent::Gone { peer } => Some(*peer),
        _ => None,
    }
}

/// What of an event goes into recordings, and who has to be told of those.
fn record(tap: &Tap, server: &mut Server, now: Instant, event: &ServerEvent<'_>) {
    match event {
        ServerEvent::Voice { client, voice, .. } => {
            let is_said_to = |_: &Server, room: &str| {
                let room = Recipient::Room(room_id(room));
                voice.channels.iter().any(|channel| channel.recipient() == room)
            };
            let said = Said::Opus { packet: voice.frame, channels: 1, sequence: Some(voice.sequence) };
            let is_opus = server.codec(*client) == Some(Codec::OPUS);
            let name = server.name(*client).filter(|_| is_opus && !voice.frame.is_empty());
            if let Some(name) = name.map(str::to_owned) {
                let speaker = Speaker { peer: server.peer(*client), name: &name, with: None };
                tap.said(server, now, speaker, is_said_to, said);
            }
        }
        ServerEvent::Rooms { client, .. } | ServerEvent::Listening { client, .. } => {
            if let Some(peer) = server.peer(*client) {
                tap.moved(server, now, peer);
            }
        }
        _ => {}
    }
}

impl Handler<Server> for Log {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        record(&self.1, server, now, &event);
        let name = |client: ClientId| {
            Who { name: server.name(client).map(str::as_bytes), address: None }.to_string()
        };
        let _peer = peer_of(&event).map(|peer| peer_span(Dissonance::NAME, server.address(peer)).entered());
        match event {
            // Texts of the server would not be sent while a client has their sender's name.
            ServerEvent::Joined { peer, client }
                if self.1.is_sender(|sender| server.find(sender) == Some(client)) =>
            {
                let why = format!("{}: the server's texts come from that name", name(client));
                self.0.note(Rule::Name, server.address(peer), &why);
                let _ = server.kick(now, peer, "");
            }
            ServerEvent::Joined { peer, client } => {
                tracing::info!(%peer, %client, name = %name(client), "joined");
            }
            ServerEvent::Left { client, name, cause, .. } => {
                tracing::info!(%client, name = %quoted(&name), cause = %EventName(&cause), "left");
            }
            ServerEvent::NameRefused { peer, name } => {
                let why = format!("{}: the name is taken", quoted(&name));
                self.0.note(Rule::Name, server.address(peer), &why);
            }
            ServerEvent::InvalidName { peer, error } => {
                self.0.note(Rule::Name, server.address(peer), &format!("an invalid name: {error}"));
            }
            ServerEvent::Rooms { client, refused: Some((room, why)) } => {
                tracing::info!(%client, name = %name(client), room = %quoted(&room), %why, "room refused");
            }
            ServerEvent::Listening { client, room, joined } => {
                tracing::debug!(%client, name = %name(client), room = %quoted(&room), joined, "listening");
            }
            // What is said is nobody else's business.
            ServerEvent::Voice { .. } | ServerEvent::Text { .. } => {}
            event => tracing::debug!(event = %EventName(&event)),
        }
    }
}
