//! Events of the session, as this program uses them.

use crate::report::{listed, quoted};
use serde_json::{Value, json};
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

    /// Its name for scripts, what it says to them, and what it says to people; `None` where it is not told by itself.
    pub(super) fn described(self) -> Option<(&'static str, Value, String)> {
        Some(match self {
            Self::NotAnswered { asked } => {
                let text = "the server does not let us in yet; perhaps another player has the name";
                ("waiting", json!({ "asked": asked }), text.into())
            }
            Self::Entered(name) => {
                ("entered", json!({ "name": name }), format!("{} is there", quoted(&name)))
            }
            Self::Left(_, name) => ("left", json!({ "name": name }), format!("{} has left", quoted(&name))),
            Self::Listening { name, room, joined } => {
                let verb = if joined { "listens" } else { "does not listen any more" };
                let text = format!("{} {verb} to {}", quoted(&name), quoted(&room));
                ("listening", json!({ "name": name, "room": room, "joined": joined }), text)
            }
            Self::Moved { room, joined } => {
                let what = if joined { "moved us to" } else { "does not let us listen to" };
                let text = format!("the server {what} {}", quoted(&room));
                ("moved", json!({ "room": room, "joined": joined }), text)
            }
            Self::Text { from, to, text } => {
                let shown = format!("{} to {}: {}", quoted(&from), listed(&to), quoted(&text));
                ("text", json!({ "from": from, "to": to, "text": text }), shown)
            }
            Self::Direct { name, up } => {
                let way = if up { "goes directly" } else { "goes by the server again" };
                let text = format!("voice for {} {way}", quoted(&name));
                ("direct", json!({ "name": name, "up": up }), text)
            }
            Self::Joined | Self::Lost { .. } | Self::Voice { .. } | Self::SpeechEnded(_) => return None,
        })
    }
}
