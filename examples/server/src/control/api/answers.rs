//! What the routes answer.

use crate::control::Failure;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json as object;

/// The description of the API.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

/// An answer, or why there is none.
pub(super) type Answer = Result<Response, Refused>;

/// A failure as an answer.
#[derive(Debug)]
pub(super) struct Refused(Failure);

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self.0 {
            Failure::NotFound(what) => error(StatusCode::NOT_FOUND, "not-found", &what),
            Failure::Unsupported(why) => error(StatusCode::CONFLICT, "unsupported", why),
            Failure::Invalid(what) => error(StatusCode::BAD_REQUEST, "invalid", &what),
            Failure::Refused(why) => error(StatusCode::CONFLICT, "refused", &why),
            Failure::Unavailable(why) => error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &why),
        }
    }
}

/// An error: for programs, and for people.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = object!({ "error": { "code": code, "message": message } }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(super) fn json(value: &impl Serialize) -> Answer {
    let body = serde_json::to_string(value).map_err(|error| Failure::Unavailable(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
