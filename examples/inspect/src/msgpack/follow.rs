//! Conversations of msgpack: ZMTP of any version, or plain objects.

use super::{Msgpack, is_message, place};
use crate::follow::{Follow, Follows, Names, Note, Opening, Position, Sender, Voice, readable};
use crate::protocol::{Cutter, Problem, Protocol as _, Shown, Side, Stop};
use core::hash::{BuildHasher, BuildHasherDefault};
use core::ops::Range;
use std::collections::BTreeMap;
use std::hash::DefaultHasher;
use voxwire_core::Message;
use voxwire_msgpack::zmtp::SIGNATURE_LEN;
use voxwire_msgpack::{ClientMessage, DEFAULT_PORT, SAMPLE_RATE, Samples, ServerMessage};

pub(super) const FOLLOWS: Follows = Follows {
    tcp_port: Some(DEFAULT_PORT),
    udp_port: None,
    recognise,
    start: || {
        let sides = [Msgpack::new(true), Msgpack::new(false)];
        let cutters = [sides[0].cutter(), sides[1].cutter()];
        Box::new(Conversation { sides, cutters, user: None, speakers: BTreeMap::new() })
    },
};

/// How many speakers of a call are told apart.
const MAX_SPEAKERS: usize = 4096;

/// Of the client, and of the server.
struct Conversation {
    sides: [Msgpack; 2],
    cutters: [Cutter; 2],
    user: Option<String>,
    speakers: BTreeMap<u64, String>,
}

/// A signature of ZMTP, a READY, a message in a unit, or one in plain objects.
fn recognise(opening: &Opening<'_>) -> Option<Sender> {
    let bytes = opening.bytes;
    let of_message = |body: &[u8]| {
        is_message(body).then_some(match body.starts_with(b"\xa7request") {
            true => Sender::Client,
            false => Sender::Server,
        })
    };
    if !opening.is_tcp {
        return None;
    }
    match bytes {
        [0xff, 0, 0, 0, 0, 0, 0, 0, _, 0x7f, ..] => Some(Sender::Either),
        [4, _, 5, b'R', b'E', b'A', b'D', b'Y', ..] => Some(Sender::Either),
        // A long or a short unit of 2.0 and later, of 1.0, and none.
        [0 | 2, body @ ..] => {
            let head = if bytes[0] == 0 { 1 } else { 8 };
            of_message(body.get(head..)?)
        }
        [_, 0, body @ ..] if is_message(body) => of_message(body),
        body => of_message(body),
    }
}

fn at(side: Side) -> usize {
    usize::from(side == Side::Server)
}

fn voice(speaker: u64, samples: &Samples<'_>) -> Option<Voice> {
    let (position, span) = (Position::Next, samples.len() as u64);
    Some(Voice { speaker, run: 0, position, span, unit: 1e9 / f64::from(SAMPLE_RATE) })
}

impl Conversation {
    fn number(&mut self, name: &[u8]) -> u64 {
        let number = BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
        if self.speakers.len() < MAX_SPEAKERS {
            self.speakers.entry(number).or_insert_with(|| readable(name));
        }
        number
    }
}

impl Follow for Conversation {
    fn cut(&mut self, from: Side, unread: &[u8]) -> Result<(Option<Range<usize>>, usize), Stop> {
        // Peers send the signature first, and what tells the version later.
        if unread.first() == Some(&0xff) && unread.len() < SIGNATURE_LEN + 2 && place(unread).is_ok() {
            return Err(Stop::Short(SIGNATURE_LEN + 2 - unread.len()));
        }
        self.cutters[at(from)](unread)
    }

    fn restart(&mut self, from: Side) {
        self.cutters[at(from)] = self.sides[at(from)].cutter();
    }

    fn note(&mut self, _names: &mut Names, from: Side, message: &[u8]) -> Result<Note, Problem> {
        if matches!(message.first(), Some(0xff | 4 | 6))
            && let Some(unit) = super::decode_unit(message)?
        {
            return Ok(Note::of(unit.message));
        }
        let wire = &self.sides[at(from)].wire;
        if from == Side::Client {
            let message = ClientMessage::decode(message, wire)?;
            let mut note = Note::of(message.action().name());
            match message {
                ClientMessage::Login { username, .. } => self.user = Some(readable(username.0)),
                ClientMessage::CallData { username, samples, .. } => {
                    note.voice = voice(self.number(username.0), &samples);
                }
                _ => {}
            }
            return Ok(note);
        }
        Ok(match ServerMessage::decode(message, wire)? {
            ServerMessage::CallData { sender, samples } => {
                Note { name: "call_data", voice: voice(self.number(sender.0), &samples) }
            }
            ServerMessage::Whisper { .. } => Note::of("whisper"),
            ServerMessage::MsgGroup { .. } => Note::of("msg_group"),
            ServerMessage::VoiceMsg { .. } => Note::of("voice_msg"),
            _ => Note::of("response"),
        })
    }

    fn show(&self, from: Side, message: &[u8]) -> Result<Shown, Problem> {
        self.sides[at(from)].decode(message)
    }

    fn user(&self, side: Side) -> Option<&str> {
        self.user.as_deref().filter(|_| side == Side::Client)
    }

    fn speaker(&self, _names: &Names, _from: Side, speaker: u64) -> String {
        self.speakers.get(&speaker).cloned().unwrap_or_else(|| "?".into())
    }
}
