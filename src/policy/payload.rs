//! Bodies for policies whose expressions read `payload` (policies reference 1.9): held back up to
//! the buffer limit, and put back as they were.

use bytes::Bytes;

use super::Rejection;
use crate::{
    expression::{Value, payload_value},
    http::{Body, BodyError, Collected, Headers, Request, Response},
};

/// Reads the body of a request and puts it back; `None` where it is over the limit, and nothing of it is lost.
///
/// # Errors
/// When the body breaks off; then it is gone, and so is the exchange.
pub async fn of_request(request: &mut Request, limit: usize) -> Result<Option<Value<'static>>, Rejection> {
    read(&mut request.body, &request.headers, limit).await.map_err(broken_request)
}

/// As [`of_request`].
///
/// # Errors
/// As [`of_request`].
pub async fn of_response(response: &mut Response, limit: usize) -> Result<Option<Value<'static>>, Rejection> {
    read(&mut response.body, &response.headers, limit).await.map_err(broken_response)
}

async fn read(body: &mut Body, headers: &Headers, limit: usize) -> Result<Option<Value<'static>>, BodyError> {
    let (whole, trailers) = match std::mem::take(body).collect(limit).await? {
        Collected::Whole(bytes, trailers) => (bytes, trailers),
        Collected::TooLarge(rest) => {
            *body = rest;
            return Ok(None);
        }
    };
    *body = Body::whole(Bytes::clone(&whole), trailers);
    let content_type = headers.joined("content-type");
    Ok(Some(payload_value(content_type.as_deref(), &whole)))
}

/// The refusal of a request whose body broke off.
fn broken_request(error: BodyError) -> Rejection {
    let rejection = match error {
        BodyError::TooLarge => too_large_request(),
        BodyError::IdleTimeout => Rejection::text(504, "stream_idle", "stream timeout"),
        BodyError::Disconnected | BodyError::Malformed => {
            Rejection::json(400, "request_body_broken", "Bad Request")
        }
    };
    rejection.log(error.to_string())
}

/// The refusal of a request whose body a policy needs whole, but which is over the limit.
pub fn too_large_request() -> Rejection {
    Rejection::json(413, "request_body_too_large", "Payload Too Large")
}

/// The answer in place of a response whose body broke off.
fn broken_response(error: BodyError) -> Rejection {
    match error {
        BodyError::IdleTimeout => {
            Rejection::text(504, "stream_idle", "stream timeout").log(error.to_string())
        }
        error => bad_response(error),
    }
}

/// The answer in place of a response whose body a policy needs whole, but which is over the limit.
pub fn too_large_response() -> Rejection {
    bad_response("body over the limit")
}

/// The answer in place of a response whose body broke off, or is too large for a policy that needs it.
pub fn bad_response(reason: impl ToString) -> Rejection {
    Rejection::json(502, "response_body_unusable", "Bad Gateway").log(reason.to_string())
}
