//! Heads of requests: one meaning, which the grammar read slowly agrees with, or refused.

use std::{net::SocketAddr, rc::Rc};

use portcullis::{
    data_plane::http1::{
        encode,
        head::{Framing, HeadRules, RequestHead, parse_request},
    },
    http::{Body, Peer, Request, Scheme, Version},
};

use super::{
    cuts,
    oracle::{self, Coding, Meaning},
};

const RULES: HeadRules = HeadRules { fields_max: 128, merge_slashes: true };

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes);
    let ours = parse_request(bytes, RULES);
    let taken = ours.as_ref().ok().and_then(Option::as_ref).map(|(_, taken)| *taken);
    for end in cuts(bytes) {
        match parse_request(&bytes[..end], RULES) {
            Ok(None) => assert!(taken.is_none_or(|taken| end < taken), "{shown:?} at {end}"),
            Ok(Some((_, part))) => assert_eq!(Some(part), taken, "{shown:?} at {end}"),
            Err(_) => assert!(ours.is_err(), "{shown:?} at {end}"),
        }
    }
    let Some(length) = oracle::head_length(bytes) else {
        assert!(!matches!(ours, Ok(Some(_))), "accepted without an end: {shown:?}");
        return;
    };
    match oracle::request(&bytes[..length]) {
        Some(expected) => {
            let Ok(Some((head, taken))) = ours else { panic!("refused ({:?}): {shown:?}", ours.err()) };
            assert_eq!((meaning(&head), taken), (expected, length), "{shown:?}");
            check_forwarded(head);
        }
        None => assert!(ours.is_err(), "not refused: {shown:?}"),
    }
}

/// Whether a head is one that a gateway serves.
pub fn is_accepted(bytes: &[u8]) -> bool {
    matches!(parse_request(bytes, RULES), Ok(Some(_)))
}

/// What goes to the upstream means what came.
fn check_forwarded(head: RequestHead) {
    let before = meaning(&head);
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    let request = Request {
        method: head.method,
        version: head.version,
        headers: head.headers,
        body: Body::Empty,
        peer: Rc::new(Peer::new(address, address, Scheme::Http)),
        path: head.path,
        query: head.query,
        authority: head.authority,
        upgrade: head.upgrade,
        whole_server: head.whole_server,
    };
    let mut wire = Vec::new();
    encode::request(&mut wire, &request, request.authority(), None);
    let shown = String::from_utf8_lossy(&wire);
    let Ok(Some((after, taken))) = parse_request(&wire, RULES) else { panic!("we would refuse {shown:?}") };
    assert_eq!(taken, wire.len(), "{shown:?}");
    let after = meaning(&after);
    let told = |meaning: &Meaning| {
        (meaning.method.clone(), meaning.path.clone(), meaning.query.clone(), meaning.authority.clone())
    };
    assert_eq!(told(&after), told(&before), "{shown:?}");
    assert_eq!(after.fields, before.fields, "{shown:?}");
    assert_eq!((after.body, after.close), (Coding::Length(0), false), "{shown:?}");
}

fn meaning(head: &RequestHead) -> Meaning {
    let text = |span| head.headers.str(span).to_owned();
    Meaning {
        method: head.method.as_str().to_owned(),
        minor: u8::from(head.version == Version::Http11),
        path: text(head.path),
        query: head.query.map(text),
        authority: text(head.authority),
        fields: head.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        body: match head.framing {
            Framing::None => Coding::Length(0),
            Framing::Length(length) => Coding::Length(length),
            Framing::Chunked => Coding::Chunked,
            Framing::UntilClose => panic!("no request ends with the connection"),
        },
        close: head.connection.close,
        keep_alive: head.connection.keep_alive,
    }
}
