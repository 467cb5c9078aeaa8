//! What the routes are asked.

use super::answers::error;
use crate::control::Failure;
use crate::control::realm::Whom;
use crate::recording::What;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use voxwire_core::{Mute, PeerId};

/// Items of a page, where the request does not say, and at most.
const LIMIT: usize = 100;
const MOST: usize = 1000;

/// Characters of a name of a client or a room, and of the reason of a kick or a ban. No protocol has longer names.
const MAX_TEXT: usize = 255;
/// Bytes of a text that are kept in the log of actions.
pub(super) const MAX_NOTED: usize = 1024;

/// A hundred years.
const LONGEST: u32 = 3_153_600_000;

/// Which part of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) offset: usize,
    pub(super) limit: usize,
}

impl<S: Send + Sync> FromRequestParts<S> for Window {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let mut window = Self { offset: 0, limit: LIMIT };
        let query = parts.uri.query().unwrap_or_default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = value.parse::<u32>().ok().and_then(|number| usize::try_from(number).ok());
            match (name, number) {
                ("offset", Some(offset)) => window.offset = offset,
                ("limit", Some(limit @ 1..=MOST)) => window.limit = limit,
                _ => {
                    let expected = "offset, from 0 to 4294967295, and limit, from 1 to 1000, expected";
                    return Err(error(StatusCode::BAD_REQUEST, "invalid", expected));
                }
            }
        }
        Ok(window)
    }
}

/// The part of a path that is not fixed.
#[derive(Debug)]
pub(super) struct Part(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Part {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let part = Path::<String>::from_request_parts(parts, state).await;
        let wrong = |_| error(StatusCode::BAD_REQUEST, "invalid", "a path in UTF-8 expected");
        part.map(|Path(part)| Self(part)).map_err(wrong)
    }
}

/// A body in JSON.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let expected = "a header Content-Type: application/json expected";
            return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", expected));
        }
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.into_response().status();
            error(status, "body", "a body of at most 64 KiB expected")
        })?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|what| error(StatusCode::BAD_REQUEST, "invalid", &what.to_string()))
    }
}

/// Whether a text is no longer than such texts may be.
pub(super) fn within(what: &str, text: &str) -> Result<(), Failure> {
    match text.chars().count() {
        count if count > MAX_TEXT => {
            Err(Failure::Invalid(format!("{what} of {count} characters: at most {MAX_TEXT} expected")))
        }
        _ => Ok(()),
    }
}

/// A field that may be missing, and is a text if it is there.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// Whom a request is about: by name, or by connection.
pub(super) fn whom(name: &Option<String>, peer: &Option<String>) -> Result<Whom, Failure> {
    match (name, peer) {
        (Some(name), None) if !name.is_empty() => {
            within("name", name)?;
            Ok(Whom::Name(name.clone()))
        }
        (None, Some(peer)) => {
            let numbers = peer.split_once('.');
            let number = |text: &str| text.parse::<u32>().ok().filter(|number| number.to_string() == text);
            let id = numbers.and_then(|(slot, generation)| {
                Some(PeerId { slot: number(slot)?, generation: number(generation)? })
            });
            let wrong = || Failure::Invalid(format!("peer {peer:?}: one of the list of members expected"));
            id.map(Whom::Peer).ok_or_else(wrong)
        }
        _ => Err(Failure::Invalid("either a name or a peer expected".into())),
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kick {
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MuteRequest {
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<String>,
    voice: bool,
    #[serde(default)]
    text: bool,
}

impl MuteRequest {
    pub(super) const fn mute(&self) -> Mute {
        Mute { voice: self.voice, text: self.text }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Say {
    pub(super) room: String,
    pub(super) text: String,
}

/// Whose voice is to be recorded.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    #[serde(default, deserialize_with = "given")]
    room: Option<String>,
    #[serde(default, deserialize_with = "given")]
    name: Option<String>,
}

impl Record {
    pub(super) fn what(self) -> Result<What, Failure> {
        for name in self.room.iter().chain(&self.name) {
            within("name", name)?;
        }
        match (self.room, self.name) {
            (Some(room), None) => Ok(What::Room(room)),
            (None, Some(name)) => Ok(What::Name(name)),
            _ => Err(Failure::Invalid("either a room or a name expected".into())),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BanRequest {
    #[serde(default)]
    pub(super) address: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// For how long; for ever without it.
    #[serde(default, deserialize_with = "seconds")]
    pub(super) seconds: Option<u32>,
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    match Option::<u32>::deserialize(deserializer)? {
        Some(seconds) if !(1..=LONGEST).contains(&seconds) => {
            Err(serde::de::Error::custom(format!("seconds: 1 to {LONGEST} expected")))
        }
        seconds => Ok(seconds),
    }
}
