//! Heads of responses, as [`super::request_head`]; each as the answer to GET and to HEAD.

use portcullis::{
    data_plane::http1::{
        encode::{self, ResponseRules},
        head::{Framing, ResponseHead, parse_response},
    },
    http::{Body, Origin, Response, Version},
};

use super::{
    cuts,
    oracle::{self, Coding, ResponseMeaning},
};

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes);
    for to_head in [false, true] {
        let ours = parse_response(bytes, to_head);
        let taken = ours.as_ref().ok().and_then(Option::as_ref).map(|(_, taken)| *taken);
        for end in cuts(bytes) {
            match parse_response(&bytes[..end], to_head) {
                Ok(None) => assert!(taken.is_none_or(|taken| end < taken), "{shown:?} at {end}"),
                Ok(Some((_, part))) => assert_eq!(Some(part), taken, "{shown:?} at {end}"),
                Err(_) => assert!(ours.is_err(), "{shown:?} at {end}"),
            }
        }
        let Some(length) = oracle::head_length(bytes) else {
            assert!(!matches!(ours, Ok(Some(_))), "accepted without an end: {shown:?}");
            continue;
        };
        match oracle::response(&bytes[..length], to_head) {
            Some(expected) => {
                let Ok(Some((head, taken))) = ours else { panic!("refused ({:?}): {shown:?}", ours.err()) };
                assert_eq!((meaning(&head), taken), (expected, length), "{shown:?}");
                if head.status >= 200 {
                    check_forwarded(head, to_head);
                }
            }
            None => assert!(ours.is_err(), "not refused: {shown:?}"),
        }
    }
}

/// Whether a head is one that goes to a client.
pub fn is_accepted(bytes: &[u8]) -> bool {
    matches!(parse_response(bytes, false), Ok(Some(_)))
}

/// What goes to the client means what came.
fn check_forwarded(head: ResponseHead, to_head: bool) {
    let before = meaning(&head);
    let response = Response {
        status: head.status,
        headers: head.headers,
        body: Body::Empty,
        origin: Origin::Upstream,
        declared_length: head.declared_length,
        stamped: true,
    };
    let mut wire = Vec::new();
    let rules = ResponseRules { version: Version::Http11, to_head, close: false, upgrade: None };
    encode::response(&mut wire, &response, rules);
    let shown = String::from_utf8_lossy(&wire);
    let Ok(Some((after, taken))) = parse_response(&wire, to_head) else {
        panic!("we would refuse {shown:?}")
    };
    assert_eq!(taken, wire.len(), "{shown:?}");
    let after = meaning(&after);
    assert_eq!((after.status, after.fields), (before.status, before.fields), "{shown:?}");
    assert_eq!((after.body, after.close), (Some(Coding::Length(0)), false), "{shown:?}");
    // A 204 has no length, not even none (RFC 9110 section 8.6).
    if before.status != 204 && (to_head || before.status == 304) {
        assert_eq!(after.declared, before.declared, "{shown:?}");
    }
}

fn meaning(head: &ResponseHead) -> ResponseMeaning {
    ResponseMeaning {
        status: head.status,
        minor: u8::from(head.version == Version::Http11),
        fields: head.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        body: match head.framing {
            Framing::None => Some(Coding::Length(0)),
            Framing::Length(length) => Some(Coding::Length(length)),
            Framing::Chunked => Some(Coding::Chunked),
            Framing::UntilClose => None,
        },
        declared: head.declared_length,
        close: head.connection.close,
        keep_alive: head.connection.keep_alive,
    }
}
