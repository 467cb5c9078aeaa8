//! What of msgpack goes into recordings.

use super::Shared;
use crate::control::text;
use crate::recording::{Pcm, Said, Speaker, Tap};
use crate::refusals::Rule;
use voxwire_audio::{SampleFormat, SampleOrder};
use voxwire_core::{Instant, Moderation as _};
use voxwire_msgpack::{Code, SAMPLE_RATE, Server, ServerEvent, Ticket};

/// Live audio, as it is recorded.
const PCM: Pcm =
    Pcm { rate: SAMPLE_RATE, channels: 1, format: SampleFormat::I16, order: SampleOrder::Little };

/// What of an event goes into recordings, and who has to be told of those.
pub(super) fn record(tap: &Tap, server: &mut Server, now: Instant, event: &ServerEvent<'_>) {
    match event {
        ServerEvent::Voice { peer, username, group_name, samples, .. } => {
            let is_said_to = |server: &Server, room: &str| server.key(room.into()) == server.key(*group_name);
            let mut values = Vec::new();
            samples.append_to(&mut values);
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let name = text(&server.key(*username));
            let speaker = Speaker { peer: Some(*peer), name: &name, with: None };
            tap.said(server, now, speaker, is_said_to, Said::Pcm { pcm: PCM, bytes: &bytes });
        }
        ServerEvent::CallJoined { peer, .. } | ServerEvent::CallLeft { peer } => {
            tap.moved(server, now, *peer);
        }
        ServerEvent::Resumed { peer, .. } => tap.moved(server, now, *peer),
        _ => {}
    }
}

/// The name that the server's texts come from is no user's: none would be sent to those that are recorded.
pub(super) fn reserved(shared: &Shared, server: &Server, event: &ServerEvent<'_>) -> Option<(Ticket, Code)> {
    let (ticket, peer, username, code) = match *event {
        ServerEvent::Registering { ticket, peer, username, .. } => {
            (ticket, peer, username, Code::USER_ALREADY_EXIST)
        }
        ServerEvent::LoggingIn { ticket, peer, username, .. } => {
            (ticket, peer, username, Code::USER_ALREADY_CONNECTED)
        }
        _ => return None,
    };
    let is_user = |sender: &str| server.key(sender.into()) == server.key(username);
    if !shared.tap.is_sender(is_user) {
        return None;
    }
    let why = format!("{username:?}: the server's texts come from that name");
    shared.refusals.note(Rule::Name, server.address(peer), &why);
    Some((ticket, code))
}
