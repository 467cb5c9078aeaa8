//! Conversations of syfala: a client and a server, datagram by datagram.

use super::Syfala;
use crate::follow::{Follow, Follows, Names, Note, Opening, Position, Sender, Voice};
use crate::protocol::{Problem, Protocol as _, Shown, Side, Stop};
use core::ops::Range;
use std::collections::BTreeMap;
use voxwire_core::Message;
use voxwire_syfala::{Audio, ClientMessage, DEFAULT_PORT, MAX_STREAMS, ServerMessage};

pub(super) const FOLLOWS: Follows = Follows {
    tcp_port: None,
    udp_port: Some(DEFAULT_PORT),
    recognise,
    start: || Box::new(Conversation::default()),
};

#[derive(Debug, Default)]
struct Conversation {
    /// Of the server's inputs and outputs: how long a byte lasts, in nanoseconds.
    units: BTreeMap<(bool, u32), f64>,
    /// How often IO was started.
    runs: u64,
}

/// Audio that is as long as it says, or formats. Other messages have one byte, which could be anything.
fn recognise(opening: &Opening<'_>) -> Option<Sender> {
    if opening.is_tcp || opening.bytes.len() < 4 {
        return None;
    }
    let is_whole = |audio: &Audio<'_>| audio.is_whole() && !audio.payload.is_empty();
    let bytes = opening.bytes.get(..datagram_size(opening.bytes)).unwrap_or_default();
    match bytes[0] {
        6 => match ClientMessage::decode(bytes, &Syfala::new(true).wire) {
            Ok(ClientMessage::Audio(audio)) if is_whole(&audio) => Some(Sender::Client),
            _ => None,
        },
        7 | 0 => match ServerMessage::decode(bytes, &Syfala::new(false).wire) {
            Ok(ServerMessage::Audio(audio)) if is_whole(&audio) => Some(Sender::Server),
            Ok(ServerMessage::Connect(formats)) if formats.inputs.len() + formats.outputs.len() > 0 => {
                Some(Sender::Server)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Audio, and behind its bytes more audio, of as many bytes or of fewer.
fn datagram_size(datagrams: &[u8]) -> usize {
    const HEAD: usize = 17;
    let bytes_of = |head: &[u8]| match head {
        [6 | 7, .., a, b, c, d] => usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok(),
        _ => None,
    };
    let cut = || {
        let count = bytes_of(datagrams.get(..HEAD)?).filter(|count| *count > 0)?;
        let size = HEAD.checked_add(count)?;
        let next = datagrams.get(size..size.checked_add(HEAD)?)?;
        let fits = bytes_of(next).is_some_and(|more| (1..=count).contains(&more));
        (fits && next.first() == datagrams.first()).then_some(size)
    };
    cut().unwrap_or(datagrams.len())
}

impl Conversation {
    fn voice(&self, from: Side, audio: &Audio<'_>) -> Option<Voice> {
        let Audio { stream, byte_index, payload, .. } = *audio;
        let unit = self.units.get(&(from == Side::Server, stream)).copied().unwrap_or(0.0);
        let (position, span) = (Position::At(byte_index), payload.len() as u64);
        Some(Voice { speaker: stream.into(), run: self.runs, position, span, unit })
    }
}

impl Follow for Conversation {
    fn cut(&mut self, _from: Side, _unread: &[u8]) -> Result<(Option<Range<usize>>, usize), Stop> {
        Err(Stop::Wrong("not a stream: each packet stands for itself".into()))
    }

    fn datagram_size(&self, datagrams: &[u8]) -> usize {
        datagram_size(datagrams)
    }

    fn note(&mut self, _names: &mut Names, from: Side, message: &[u8]) -> Result<Note, Problem> {
        if from == Side::Client {
            let message = ClientMessage::decode(message, &Syfala::new(true).wire)?;
            let mut note = Note::of(message.name());
            match &message {
                ClientMessage::Audio(audio) => note.voice = self.voice(from, audio),
                ClientMessage::StartIo => self.runs += 1,
                _ => {}
            }
            return Ok(note);
        }
        let message = ServerMessage::decode(message, &Syfala::new(false).wire)?;
        let mut note = Note::of(message.name());
        match &message {
            ServerMessage::Audio(audio) => note.voice = self.voice(from, audio),
            ServerMessage::Connect(formats) => {
                for (is_input, list) in [(true, formats.inputs), (false, formats.outputs)] {
                    for (stream, format) in (0..).zip(list.iter().take(MAX_STREAMS)) {
                        let rate = format.sample_rate.get() * format.frame_size() as f64;
                        self.units.insert((is_input, stream), 1e9 / rate);
                    }
                }
            }
            _ => {}
        }
        Ok(note)
    }

    fn show(&self, from: Side, message: &[u8]) -> Result<Shown, Problem> {
        Syfala::new(from == Side::Client).decode(message)
    }

    fn speaker(&self, _names: &Names, from: Side, speaker: u64) -> String {
        match from {
            Side::Client => format!("to output {speaker}"),
            Side::Server => format!("of input {speaker}"),
        }
    }
}
