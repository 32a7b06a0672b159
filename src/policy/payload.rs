//! Bodies for policies whose expressions read `payload` (policies reference 1.9): held back up to
//! the buffer limit, and put back as they were.

use bytes::Bytes;

use super::Rejection;
use crate::{
    expression::{Value, payload_value},
    http::{Body, BodyError, Collected, Headers},
};

/// What came of reading a body.
pub enum Payload {
    Read(Value<'static>),
    /// Over the limit; nothing of the body is lost.
    TooLarge,
}

/// Reads a body for `payload` and puts it back.
///
/// # Errors
/// When the body breaks off; then it is gone, and so is the exchange.
pub async fn read(body: &mut Body, headers: &Headers, limit: usize) -> Result<Payload, BodyError> {
    let (whole, trailers) = match std::mem::take(body).collect(limit).await? {
        Collected::Whole(bytes, trailers) => (bytes, trailers),
        Collected::TooLarge(rest) => {
            *body = rest;
            return Ok(Payload::TooLarge);
        }
    };
    *body = Body::whole(Bytes::clone(&whole), trailers);
    let content_type = headers.joined("content-type");
    Ok(Payload::Read(payload_value(content_type.as_deref(), &whole)))
}

/// The refusal of a request whose body broke off.
pub fn broken_request(error: BodyError) -> Rejection {
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
pub fn broken_response(error: BodyError) -> Rejection {
    match error {
        BodyError::IdleTimeout => {
            Rejection::text(504, "stream_idle", "stream timeout").log(error.to_string())
        }
        error => bad_response(error),
    }
}

/// The answer in place of a response whose body broke off, or is too large for a policy that needs it.
pub fn bad_response(reason: impl ToString) -> Rejection {
    Rejection::json(502, "response_body_unusable", "Bad Gateway").log(reason.to_string())
}
