//! Conversations of Dissonance, inside of our transport over TCP + UDP.

use super::Dissonance;
use crate::follow::{Follows, Names, Note, Opening, Position, Sender, Voice};
use crate::protocol::{Problem, Protocol, Side};
use crate::tcp_udp::{self, Inner};
use voxwire_core::Message;
use voxwire_dissonance::{ClientId, ClientInfo, CodecSettings, DEFAULT_PORT, MAGIC, Packet, VoiceData};

pub(super) const FOLLOWS: Follows = tcp_udp::follows(DEFAULT_PORT, recognise, || {
    tcp_udp::follow(Conversation { dissonance: Dissonance::new(), asked: None, session: None, id: None })
});

fn recognise(opening: &Opening<'_>) -> Option<Sender> {
    tcp_udp::recognise(opening, |packet| packet.starts_with(&MAGIC.to_be_bytes()))
}

#[derive(Debug)]
struct Conversation {
    dissonance: Dissonance,
    /// The name in the client's request.
    asked: Option<(Vec<u8>, CodecSettings)>,
    session: Option<u32>,
    id: Option<ClientId>,
}

/// Clients of all sessions are in one table.
fn key(session: u32, client: ClientId) -> u64 {
    (u64::from(session) << 16) | u64::from(client.get())
}

/// How long a frame lasts, in nanoseconds.
fn frame(codec: CodecSettings) -> f64 {
    let CodecSettings { frame_size, sample_rate, .. } = codec;
    if sample_rate > 0 { f64::from(frame_size) / f64::from(sample_rate) * 1e9 } else { 0.0 }
}

fn learn(names: &mut Names, session: u32, client: &ClientInfo<'_>) {
    if let Some(name) = client.name.bytes() {
        names.learn(key(session, client.id), name, frame(client.codec));
    }
}

impl Conversation {
    fn voice(names: &Names, voice: &VoiceData<'_>) -> Option<Voice> {
        let speaker = key(voice.session, voice.sender);
        let unit = names.get(speaker).map_or(0.0, |(_, unit)| unit);
        let (run, position) = (voice.options.session().into(), Position::Counter(voice.sequence));
        Some(Voice { speaker, run, position, span: 1, unit })
    }
}

impl Inner for Conversation {
    fn note(&mut self, names: &mut Names, from: Side, packet: &[u8]) -> Result<Note, Problem> {
        if let Some(voice) = VoiceData::read(packet) {
            return Ok(Note { name: "VoiceData", voice: Self::voice(names, &voice) });
        }
        let packet = Packet::decode(packet, &self.dissonance.wire)?;
        let mut note = Note::of(packet.name());
        match &packet {
            Packet::HandshakeRequest(request) if from == Side::Client => {
                self.asked = request.name.bytes().map(|name| (name.into(), request.codec));
            }
            Packet::HandshakeResponse(response) => {
                let session = response.session;
                (self.session, self.id) = (Some(session), Some(response.client));
                if let Some((name, codec)) = &self.asked {
                    names.learn(key(session, response.client), name, frame(*codec));
                }
                response.clients.iter().for_each(|client| learn(names, session, &client));
            }
            Packet::ClientState(state) => learn(names, state.session, &state.client),
            Packet::ServerRelayReliable(relay) | Packet::ServerRelayUnreliable(relay) => {
                note.voice = VoiceData::read(relay.payload).and_then(|voice| Self::voice(names, &voice));
            }
            _ => {}
        }
        Ok(note)
    }

    fn protocol(&self) -> &dyn Protocol {
        &self.dissonance
    }

    fn user(&self) -> Option<&str> {
        self.asked.as_ref().and_then(|(name, _)| core::str::from_utf8(name).ok())
    }

    fn speaker(&self, names: &Names, speaker: u64) -> String {
        let number = || format!("client {}", speaker & 0xffff);
        names.get(speaker).map_or_else(number, |(name, _)| name.to_owned())
    }
}
