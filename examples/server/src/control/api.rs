//! The routes of the API, and who may use them.

mod answers;
mod requests;
mod stream;

use super::auth::{Access, Actor, Verdict};
use super::bans::{Ban, Network, Subject};
use super::realm::{HearingUpdate, Moderator, Realm};
use super::{Control, Failure, fields, time};
use crate::recording::Recorded;
use crate::status::http::Source;
use answers::{Answer, document, error, json};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Extension, Router};
use requests::{
    BanRequest, Body, Kick, MAX_NOTED, Move, MuteRequest, Part, Record, Say, Window, whom, within,
};
use serde_json::{Value, json};
use std::sync::Arc;
use voxwire_core::{Ability, truncated};

/// Where all routes are.
const PREFIX: &str = "/api/v1";

/// Bytes of a body.
const BODY: usize = 64 * 1024;

type Shared = State<Arc<Control>>;

/// Every route: its method, its path, and who answers.
fn table() -> Vec<(Method, &'static str, MethodRouter<Arc<Control>>)> {
    vec![
        (Method::GET, "/openapi.json", get(document)),
        (Method::GET, "/protocols", get(protocols)),
        (Method::GET, "/people", get(stream::people)),
        (Method::GET, "/{protocol}/members", get(members)),
        (Method::POST, "/{protocol}/kick", post(kick)),
        (Method::GET, "/{protocol}/mutes", get(mutes)),
        (Method::POST, "/{protocol}/mute", post(mute)),
        (Method::POST, "/{protocol}/move", post(move_client)),
        (Method::POST, "/{protocol}/say", post(say)),
        (Method::GET, "/{protocol}/hearing", get(hearing)),
        (Method::PUT, "/{protocol}/hearing", put(set_hearing)),
        (Method::POST, "/{protocol}/recordings", post(record)),
        (Method::GET, "/recordings", get(recordings)),
        (Method::DELETE, "/recordings/{id}", delete(stop_recording)),
        (Method::GET, "/bans", get(bans)),
        (Method::POST, "/bans", post(ban)),
        (Method::DELETE, "/bans/{id}", delete(unban)),
        (Method::GET, "/actions", get(actions)),
        (Method::GET, "/events", get(stream::events)),
        (Method::POST, "/drain", post(drain)),
    ]
}

/// The routes, for those with a token; without `access`, for those whose [`Actor`] the connection says.
pub(crate) fn routes(control: Arc<Control>, access: Option<Arc<Access>>) -> Router {
    let routes =
        table().into_iter().fold(Router::new(), |routes, (_, path, answer)| routes.route(path, answer));
    let routes = routes
        .fallback(|| async {
            error(StatusCode::NOT_FOUND, "not-found", "there is no such route: see openapi.json")
        })
        .method_not_allowed_fallback(|| async {
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "this route takes another method: see openapi.json",
            )
        })
        .with_state(control);
    let routes = routes.layer(DefaultBodyLimit::max(BODY));
    // Before anything else is looked at.
    let routes = match access {
        Some(access) => routes.layer(from_fn_with_state(access, authorize)),
        None => routes,
    };
    Router::new().nest(PREFIX, routes.layer(from_fn(no_store)))
}

async fn authorize(
    State(access): State<Arc<Access>>,
    Extension(Source(from)): Extension<Source>,
    mut request: Request,
    next: Next,
) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let token = match shown.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token,
        _ => b"",
    };
    match access.judge(from, token) {
        Verdict::Known(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Verdict::TooMany => {
            error(StatusCode::TOO_MANY_REQUESTS, "too-many", "wrong tokens: one a second at most, 10 at once")
        }
        Verdict::Unknown => {
            let answer = error(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "a header Authorization: Bearer TOKEN expected",
            );
            ([(header::WWW_AUTHENTICATE, "Bearer")], answer).into_response()
        }
    }
}

/// What is true now is not to be kept.
async fn no_store(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    answer.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    answer
}

/// A protocol that is served, and what was decided about its clients.
fn protocol<'c>(
    control: &'c Control,
    name: &str,
) -> Result<(&'static str, &'c dyn Moderator, &'c Realm), Failure> {
    let service = control.services().iter().find(|service| service.protocol() == name);
    let found = service.and_then(|service| {
        Some((service.protocol(), service.moderator()?, control.realm(service.protocol())?))
    });
    found.ok_or_else(|| {
        let served: Vec<&str> = control.services().iter().map(|service| service.protocol()).collect();
        Failure::NotFound(format!("protocol {name:?}: one of {} expected", served.join(", ")))
    })
}

async fn protocols(State(control): Shared) -> Answer {
    let all = control.services().iter().filter_map(|service| Some((service, service.moderator()?)));
    let all = all.map(|(service, moderator)| {
        let lacks = |ability| moderator.lacks(ability);
        let can = Ability::ALL.iter().copied().filter(|ability| lacks(*ability).is_none());
        let can: Vec<&str> = can.map(Ability::as_str).collect();
        let cannot =
            Ability::ALL.iter().copied().filter_map(|ability| Some((ability.as_str(), lacks(ability)?)));
        let cannot: Vec<Value> = cannot.map(|(what, why)| json!({ "what": what, "why": why })).collect();
        let clients = moderator.members(0, 0).total;
        json!({ "name": service.protocol(), "clients": clients, "can": can, "cannot": cannot })
    });
    json(&json!({ "items": all.collect::<Vec<Value>>() }))
}

async fn members(State(control): Shared, Part(name): Part, window: Window) -> Answer {
    let (_, moderator, _) = protocol(&control, &name)?;
    json(&moderator.members(window.offset, window.limit))
}

async fn mutes(State(control): Shared, Part(name): Part, window: Window) -> Answer {
    let (_, moderator, realm) = protocol(&control, &name)?;
    json(&moderator.muted(realm, window.offset, window.limit))
}

async fn hearing(State(control): Shared, Part(name): Part, window: Window) -> Answer {
    let (_, moderator, realm) = protocol(&control, &name)?;
    json(&moderator.hearing(realm, window.offset, window.limit))
}

async fn kick(
    State(control): Shared,
    Part(name): Part,
    Extension(Actor(by)): Extension<Actor>,
    Body(request): Body<Kick>,
) -> Answer {
    let (name, moderator, _) = protocol(&control, &name)?;
    let reason = request.reason.as_deref().unwrap_or("kicked");
    within("reason", reason)?;
    let done = moderator.kick(&whom(&request.name, &request.peer)?, reason)?;
    acted(control.clone(), by, "kicked", name, json!(request), done).await
}

async fn mute(
    State(control): Shared,
    Part(name): Part,
    Extension(Actor(by)): Extension<Actor>,
    Body(request): Body<MuteRequest>,
) -> Answer {
    let (name, moderator, realm) = protocol(&control, &name)?;
    let done = moderator.mute(realm, &whom(&request.name, &request.peer)?, request.mute())?;
    acted(control.clone(), by, "muted", name, json!(request), done).await
}

async fn move_client(
    State(control): Shared,
    Part(name): Part,
    Extension(Actor(by)): Extension<Actor>,
    Body(request): Body<Move>,
) -> Answer {
    let (name, moderator, _) = protocol(&control, &name)?;
    let whom = whom(&request.name, &request.peer)?;
    let rooms = [&request.from, &request.to].into_iter().flatten();
    rooms.into_iter().try_for_each(|room| within("room", room))?;
    let done = moderator.move_client(&whom, request.from.as_deref(), request.to.as_deref())?;
    acted(control.clone(), by, "moved", name, json!(request), done).await
}

async fn say(
    State(control): Shared,
    Part(name): Part,
    Extension(Actor(by)): Extension<Actor>,
    Body(request): Body<Say>,
) -> Answer {
    let (name, moderator, _) = protocol(&control, &name)?;
    within("room", &request.room)?;
    let done = moderator.say(&request.room, &control.say_as, &request.text)?;
    // The log of actions keeps thousands.
    let request = json!({ "room": request.room, "text": truncated(&request.text, MAX_NOTED) });
    acted(control.clone(), by, "said", name, request, done).await
}

/// A game server says this many times a second: it is no entry of the log of actions.
async fn set_hearing(
    State(control): Shared,
    Part(name): Part,
    Extension(Actor(by)): Extension<Actor>,
    Body(update): Body<HearingUpdate>,
) -> Answer {
    let (name, moderator, realm) = protocol(&control, &name)?;
    let done = moderator.set_hearing(realm, &update)?;
    tracing::debug!(by, protocol = name, listeners = update.listeners.len(), done, "control: hearing");
    json(&json!({ "connections": done }))
}

/// What was done is told, logged and answered: for how many connections.
async fn acted(
    control: Arc<Control>,
    by: String,
    kind: &'static str,
    protocol: &'static str,
    request: Value,
    done: usize,
) -> Answer {
    let details = json!({ "protocol": protocol, "request": request, "connections": done });
    let event = fields([("protocol", protocol.into()), ("by", by.clone().into()), ("request", request)]);
    control.tell(kind, event);
    let _ = tokio::task::spawn_blocking(move || control.note(&by, kind, &details)).await;
    json(&json!({ "connections": done }))
}

async fn recordings(State(control): Shared, window: Window) -> Answer {
    let all = control.recorder()?.list();
    let total = all.len();
    let items: Vec<Recorded> = all.into_iter().skip(window.offset).take(window.limit).collect();
    json(&json!({ "total": total, "items": items }))
}

async fn record(
    State(control): Shared,
    Part(name): Part,
    Extension(Actor(by)): Extension<Actor>,
    Body(request): Body<Record>,
) -> Answer {
    let (name, moderator, _) = protocol(&control, &name)?;
    let recorder = control.recorder()?;
    let tap = recorder.tap(name).ok_or_else(|| Failure::NotFound(format!("protocol {name}")))?;
    let recorded = moderator.record(tap, request.what()?, &by)?;
    let details = json!({ "recording": recorded });
    let answer = (StatusCode::CREATED, json(&recorded)?).into_response();
    blocking(move || control.note(&by, "recording-started", &details)).await?;
    Ok(answer)
}

async fn stop_recording(
    State(control): Shared,
    Part(id): Part,
    Extension(Actor(by)): Extension<Actor>,
) -> Answer {
    let none = || Failure::NotFound(format!("there is no recording {id:?}"));
    let number = id.parse::<u64>().map_err(|_| none())?;
    let tap = control.recorder()?.find(number).ok_or_else(none)?;
    let (_, moderator, _) = protocol(&control, tap.protocol())?;
    let recorded = moderator.stop_recording(tap, number, &by)?;
    let details = json!({ "recording": recorded });
    let answer = json(&recorded);
    blocking(move || control.note(&by, "recording-stopped", &details)).await?;
    answer
}

async fn bans(State(control): Shared, window: Window) -> Answer {
    let page = blocking(move || control.store().bans(time::now(), window.offset, window.limit)).await?;
    let (total, items) = page.map_err(super::unavailable)?;
    json(&json!({ "total": total, "items": items }))
}

async fn actions(State(control): Shared, window: Window) -> Answer {
    let page = blocking(move || control.store().actions(window.offset, window.limit)).await?;
    let (total, items) = page.map_err(super::unavailable)?;
    json(&json!({ "total": total, "items": items }))
}

async fn ban(
    State(control): Shared,
    Extension(Actor(by)): Extension<Actor>,
    Body(request): Body<BanRequest>,
) -> Answer {
    within("reason", request.reason.as_deref().unwrap_or_default())?;
    within("name", request.name.as_deref().unwrap_or_default())?;
    let subject = match (&request.address, &request.name) {
        (Some(address), None) => Subject::Address(address.parse::<Network>().map_err(Failure::Invalid)?),
        (None, Some(name)) if !name.is_empty() => Subject::name(name),
        _ => return Err(Failure::Invalid("either an address or a name expected".into()).into()),
    };
    let (address, name) = match subject {
        Subject::Address(network) => (Some(network.to_string()), None),
        Subject::Name(name) => (None, Some(name)),
    };
    let since = time::now();
    let until = request.seconds.map(|seconds| since.saturating_add_unsigned(seconds.into()));
    let reason = request.reason.clone().unwrap_or_default();
    let ban = Ban { id: 0, address, name, reason, by: by.clone(), since, until };
    let made = blocking(move || {
        let (ban, kicked) = control.ban(ban)?;
        let details = json!({ "ban": ban, "connections": kicked });
        control.note(&by, "banned", &details);
        control.tell("banned", fields([("by", by.into()), ("ban", json!(ban))]));
        Ok::<_, Failure>(details)
    });
    let details = made.await??;
    Ok((StatusCode::CREATED, json(&details)?).into_response())
}

async fn unban(State(control): Shared, Part(id): Part, Extension(Actor(by)): Extension<Actor>) -> Answer {
    let number = id.parse::<i64>().map_err(|_| Failure::NotFound(format!("there is no ban {id:?}")))?;
    let removed = blocking(move || {
        let ban = control.unban(number)?;
        control.note(&by, "unbanned", &json!({ "ban": ban }));
        control.tell("unbanned", fields([("by", by.into()), ("ban", json!(ban))]));
        Ok::<_, Failure>(ban)
    });
    json(&removed.await??)
}

async fn drain(State(control): Shared, Extension(Actor(by)): Extension<Actor>) -> Answer {
    let noted = control.clone();
    let note = move || {
        noted.note(&by, "drain", &Value::Null);
        by
    };
    // The end waits for this answer.
    control.end(blocking(note).await?);
    Ok((StatusCode::ACCEPTED, json(&json!({ "draining": true }))?).into_response())
}

/// Runs what waits for the disk.
async fn blocking<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> Result<R, Failure> {
    let done = tokio::task::spawn_blocking(f).await;
    done.map_err(|error| Failure::Unavailable(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    /// C-35: the document has every route, and no other one.
    #[test]
    fn c_35_the_document_describes_the_routes_that_exist() {
        let document: Value = serde_json::from_str(answers::DOCUMENT).unwrap();
        let described: BTreeSet<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys().filter(|key| *key != "parameters");
                methods.map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        let routes: BTreeSet<String> =
            table().into_iter().map(|(method, path, _)| format!("{method} {PREFIX}{path}")).collect();
        assert_eq!(described, routes);
    }
}
