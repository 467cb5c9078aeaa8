//! What of msgpack goes into recordings.

use crate::control::text;
use crate::recording::{Pcm, Said, Tap};
use voxwire_audio::{SampleFormat, SampleOrder};
use voxwire_core::Instant;
use voxwire_msgpack::{SAMPLE_RATE, Server, ServerEvent};

/// Live audio, as it is recorded.
const PCM: Pcm =
    Pcm { rate: SAMPLE_RATE, channels: 1, format: SampleFormat::I16, order: SampleOrder::Little };

/// What of an event goes into recordings, and who has to be told of those.
pub(super) fn record(tap: &Tap, server: &mut Server, now: Instant, event: &ServerEvent<'_>) {
    match event {
        ServerEvent::Voice { username, group_name, samples, .. } => {
            let is_said_to = |room: &str| server.key(room.into()) == server.key(*group_name);
            let mut values = Vec::new();
            samples.append_to(&mut values);
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let speaker = text(&server.key(*username));
            tap.said(now, &speaker, None, is_said_to, Said::Pcm { pcm: PCM, bytes: &bytes });
        }
        ServerEvent::CallJoined { peer, .. } | ServerEvent::CallLeft { peer } => {
            tap.moved(server, now, *peer);
        }
        ServerEvent::Resumed { peer, .. } => tap.moved(server, now, *peer),
        _ => {}
    }
}
