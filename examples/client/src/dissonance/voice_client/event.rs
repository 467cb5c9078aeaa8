//! Events of the session, as this program uses them.

use voxwire_dissonance::{Client, ClientEvent, ClientId, CodecSettings, Lost, Priority, Recipient};

/// An event, owned.
pub(super) enum Event {
    Joined,
    Lost {
        cause: Lost,
        again: bool,
    },
    NotAnswered {
        asked: u32,
    },
    Entered(String),
    Left(ClientId, String),
    Listening {
        name: String,
        room: String,
        joined: bool,
    },
    Moved {
        room: String,
        joined: bool,
    },
    Text {
        from: String,
        to: String,
        text: String,
    },
    Voice {
        from: ClientId,
        name: String,
        codec: CodecSettings,
        sequence: u32,
        start: bool,
        end: bool,
        volume: f32,
        priority: Priority,
        packet: Vec<u8>,
    },
    Direct {
        name: String,
        up: bool,
    },
    SpeechEnded(ClientId),
}

impl Event {
    pub(super) fn of(event: ClientEvent<'_>, client: &Client) -> Option<Self> {
        let name = |id| client.name_of(id).map_or_else(|| format!("client {id}"), str::to_owned);
        Some(match event {
            ClientEvent::Connected { .. } => Self::Joined,
            ClientEvent::Disconnected { cause, retry_at } => Self::Lost { cause, again: retry_at.is_some() },
            ClientEvent::NoAnswer { asked } => Self::NotAnswered { asked },
            ClientEvent::Entered { client: id, .. } if Some(id) == client.id() => return None,
            ClientEvent::Entered { name, .. } => Self::Entered(name.into_owned()),
            ClientEvent::Left { client, name } => Self::Left(client, name.into()),
            ClientEvent::Listening { client: id, room, joined } => {
                Self::Listening { name: name(id), room: room.into_owned(), joined }
            }
            ClientEvent::Moved { room, joined } => Self::Moved { room: room.into(), joined },
            ClientEvent::Text { from, recipient, text } => {
                let to = match recipient {
                    Recipient::Room(room) => {
                        client.room_name(room).map_or_else(|| room.to_string(), str::to_owned)
                    }
                    Recipient::Player(player) => name(player),
                };
                Self::Text { from: name(from), to, text: text.to_string_lossy().into_owned() }
            }
            ClientEvent::Voice(voice) => Self::Voice {
                from: voice.from,
                name: name(voice.from),
                codec: client.codec_of(voice.from)?,
                sequence: voice.sequence,
                start: voice.start,
                end: voice.end,
                volume: voice.volume,
                priority: voice.priority,
                packet: voice.frame.to_vec(),
            },
            ClientEvent::SpeechEnded { client } => Self::SpeechEnded(client),
            ClientEvent::Direct { client, up } => Self::Direct { name: name(client), up },
            _ => return None,
        })
    }
}
