//! gRPC where the gateway itself answers: its clients understand a status in trailers, not in HTTP
//! (decision 5).

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::http::{Body, Origin, Response, response::reason_phrase};

/// Whether a `content-type` is that of gRPC: `application/grpc`, also with `+proto` and the like, not
/// `application/grpc-web`.
pub fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((start, rest)) = content_type.split_at_checked(GRPC.len()) else { return false };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The answer of the gateway to a gRPC request in gRPC's shape: HTTP 200 with the status in what is head and
/// trailers at once. What the upstream said, and what is no failure, stays as it is.
pub fn in_shape(mut response: Response) -> Response {
    if response.origin == Origin::Upstream || response.status < 400 {
        return response;
    }
    let message = message(&response);
    let status = status_of(response.status).to_string();
    response.status = 200;
    response.body = Body::Empty;
    response.declared_length = None;
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("grpc-status", status.as_str()),
        ("grpc-message", message.as_str()),
    ] {
        let field = response.headers.set(name, value);
        debug_assert!(field.is_ok(), "{name} is made of visible characters");
    }
    response
}

/// The gRPC status of an HTTP status, as the gRPC project's "HTTP to gRPC Status Code Mapping" has it.
fn status_of(http: u16) -> u8 {
    const UNKNOWN: u8 = 2;
    const PERMISSION_DENIED: u8 = 7;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    const UNAUTHENTICATED: u8 = 16;
    match http {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// What is not sent as it is in `grpc-message`: everything but visible ASCII and blanks, and `%`.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The text of an answer, percent-encoded: that of `{"error":"…"}`, or the body as it is, or what the HTTP
/// status is called.
fn message(response: &Response) -> String {
    let body = match &response.body {
        Body::Whole(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
        _ => "",
    };
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let text = match &json {
        Some(json) => json.get("error").and_then(serde_json::Value::as_str).unwrap_or_default(),
        None => body,
    };
    let text = if text.is_empty() { reason_phrase(response.status) } else { text };
    utf8_percent_encode(text.trim(), ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for value in ["application/grpc", "application/grpc+proto", "Application/GRPC; charset=x"] {
            assert!(is_grpc(value.as_bytes()), "{value}");
        }
        for value in ["application/grpc-web", "application/json", "application/grpcx"] {
            assert!(!is_grpc(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_refusal_becomes_a_status_in_the_head() {
        let mut refusal = Response::json_error(401, "100% né");
        refusal.headers.append("www-authenticate", "Basic").unwrap();
        let response = in_shape(refusal);
        assert_eq!(response.status, 200);
        assert!(response.body.is_empty());
        assert_eq!(response.headers.get("content-type"), Some(&b"application/grpc"[..]));
        assert_eq!(response.headers.get("grpc-status"), Some(&b"16"[..]));
        assert_eq!(response.headers.get("grpc-message"), Some(&b"100%25 n%C3%A9"[..]));
        assert_eq!(response.headers.get("www-authenticate"), Some(&b"Basic"[..]));
    }

    #[test]
    fn each_http_status_has_its_grpc_status() {
        for (http, grpc) in [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (429, 14),
            (502, 14),
            (503, 14),
            (504, 14),
            (413, 2),
            (500, 2),
        ] {
            assert_eq!(status_of(http), grpc, "{http}");
        }
    }

    #[test]
    fn the_message_is_the_text_of_the_answer() {
        let message = |response: &Response| super::message(response);
        assert_eq!(message(&Response::text(504, "upstream request timeout")), "upstream request timeout");
        assert_eq!(message(&Response::empty(404)), "Not Found");
    }

    #[test]
    fn what_the_upstream_says_stays_as_it_is() {
        let mut response = Response::empty(503);
        response.origin = Origin::Upstream;
        assert_eq!(in_shape(response).status, 503);
        assert_eq!(in_shape(Response::empty(204)).status, 204);
    }
}
