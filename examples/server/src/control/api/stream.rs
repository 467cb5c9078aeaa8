//! Events as a stream, in the form of server-sent events.

use super::Shared;
use super::answers::error;
use crate::control::events::Reader;
use crate::status::http::RequestState;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use core::convert::Infallible;
use core::time::Duration;
use futures_util::stream::unfold;
use serde_json::json;
use std::fmt::Write as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

/// How often a stream without events shows that it is there.
const BEAT: Duration = Duration::from_secs(15);
/// Events written at once.
const PART: usize = 64;

/// How often it is told who is there.
const LOOK: Duration = Duration::from_secs(1);
/// Clients of each protocol that are told of.
const PEOPLE: usize = 200;

/// Who is there and who speaks, once a second. The answer ends in time for the limit of all answers.
pub(super) async fn people(State(control): Shared) -> Response {
    let end = Instant::now() + control.deadline.saturating_sub(2 * LOOK);
    let looks = unfold(None, move |last: Option<Instant>| {
        let control = control.clone();
        async move {
            if let Some(last) = last {
                if last >= end {
                    return None;
                }
                sleep(LOOK).await;
            }
            let all = control.services().iter().filter_map(|service| Some((service, service.moderator()?)));
            let all = all.map(|(service, moderator)| {
                json!({ "name": service.protocol(), "clients": moderator.members(0, PEOPLE) })
            });
            let data = json!({ "protocols": all.collect::<Vec<_>>() });
            Some((Ok::<_, Infallible>(format!("event: people\ndata: {data}\n\n")), Some(Instant::now())))
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(looks)).into_response()
}

pub(super) async fn events(
    State(control): Shared,
    Extension(request): Extension<RequestState>,
    headers: HeaderMap,
) -> Response {
    let Ok(permit) = control.streams.clone().try_acquire_owned() else {
        return error(StatusCode::TOO_MANY_REQUESTS, "too-many", "event streams: at most 16");
    };
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let reader = control.events.reader(after);
    request.set_lasting();
    // At once, so that a client sees that it is heard.
    let stream = unfold((reader, permit, Some(": events\n\n")), next);
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
}

type Place = (Reader, OwnedSemaphorePermit, Option<&'static str>);

async fn next((mut reader, permit, first): Place) -> Option<(Result<String, Infallible>, Place)> {
    if let Some(first) = first {
        return Some((Ok(first.into()), (reader, permit, None)));
    }
    let text = match tokio::time::timeout(BEAT, reader.next(PART)).await {
        Err(_) => ": \n\n".into(),
        Ok(None) => return None,
        Ok(Some((events, lost))) => {
            let mut text = String::new();
            if lost > 0 {
                let _ = write!(text, "event: lost\ndata: {{\"events\":{lost}}}\n\n");
            }
            for event in events {
                let _ = write!(text, "id: {}\nevent: {}\ndata: {}\n\n", event.id, event.kind, event.text);
            }
            text
        }
    };
    Some((Ok(text), (reader, permit, None)))
}
