//! Request heads: ours and the oracle's meaning agree, whole and cut at every byte.

use super::{
    mutate,
    oracle::{self, Coding, Meaning},
    random,
};
use crate::{
    data_plane::http1::head::{Framing, HeadRules, RequestHead, parse_request, parse_response},
    http::Version,
};

const RULES: HeadRules = HeadRules { fields_max: 128, merge_slashes: true };

const VALID: [&str; 10] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a/./b/../c%61?x=1&y=%20 HTTP/1.1\r\nHost: api.test:8080\r\nAccept: */*\r\nX-Empty:\r\n\r\n",
    "POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\ncontent-type: text/plain\r\n\r\n",
    "POST /orders HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\ntrailer: x-sum\r\n\r\n",
    "PUT /x HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close, x-gone\r\nX-Gone: 1\r\nx-kept: 2\r\n\r\n",
    "GET http://a.test/p?q HTTP/1.1\r\nHost: A.test\r\nTE: trailers\r\n\r\n",
    "GET /old HTTP/1.0\r\nConnection: keep-alive\r\nUser-Agent: x y\tz\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "PATCH //x//y/ HTTP/1.1\r\nHost: a%41b\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    "GET /%2e%2e/%2F HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=\"d\"\r\nX: caf\u{e9}\r\n\r\n",
];

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

fn check(bytes: &[u8]) -> bool {
    let shown = String::from_utf8_lossy(bytes);
    let ours = parse_request(bytes, RULES);
    let Some(length) = oracle::head_length(bytes) else {
        assert!(!matches!(ours, Ok(Some(_))), "accepted without an end: {shown:?}");
        return false;
    };
    match oracle::request(&bytes[..length]) {
        Some(expected) => {
            let Ok(Some((head, taken))) = ours else { panic!("refused ({:?}): {shown:?}", ours.err()) };
            assert_eq!((meaning(&head), taken), (expected, length), "{shown:?}");
            true
        }
        None => {
            assert!(ours.is_err(), "not refused: {shown:?}");
            false
        }
    }
}

#[test]
fn a_head_means_to_us_what_it_means_to_a_parser_that_reads_the_grammar() {
    let mut random = random();
    let mut accepted = 0;
    for _ in 0..40_000 {
        let valid = VALID[random.usize(..VALID.len())].as_bytes();
        accepted += usize::from(check(&mutate(&mut random, valid)));
    }
    assert!(accepted > 1_000, "the damages are too small a part of what can be: {accepted}");
}

#[test]
fn a_head_cut_anywhere_is_waited_for_and_never_decided_otherwise_later() {
    let mut random = random();
    for round in 0..600 {
        let valid = VALID[round % VALID.len()].as_bytes();
        let bytes = if round < VALID.len() { valid.to_vec() } else { mutate(&mut random, valid) };
        let whole = parse_request(&bytes, RULES);
        let taken = whole.as_ref().ok().and_then(Option::as_ref).map(|(_, taken)| *taken);
        for end in 0..bytes.len() {
            match parse_request(&bytes[..end], RULES) {
                Ok(None) => assert!(taken.is_none_or(|taken| end < taken)),
                Ok(Some((_, part))) => assert_eq!(Some(part), taken, "{:?}", String::from_utf8_lossy(&bytes)),
                Err(_) => assert!(whole.is_err(), "{:?} at {end}", String::from_utf8_lossy(&bytes)),
            }
        }
    }
}

#[test]
fn the_head_of_a_response_is_never_a_reason_to_panic() {
    let mut random = random();
    let valid =
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close, x\r\nX: 1\r\nServer: y\r\n\r\nhello";
    for _ in 0..20_000 {
        let bytes = mutate(&mut random, valid);
        if let Ok(Some((head, taken))) = parse_response(&bytes, random.bool()) {
            let lines = &bytes[..taken];
            assert!(bytes.starts_with(b"HTTP/1."));
            for (at, &byte) in lines.iter().enumerate() {
                assert!(byte != b'\n' || lines[at - 1] == b'\r', "{:?}", String::from_utf8_lossy(&bytes));
            }
            let lower = lines.to_ascii_lowercase();
            let coded = |name: &[u8]| lower.windows(name.len()).filter(|at| *at == name).count();
            assert!(coded(b"\ncontent-length:") <= 1);
            assert!(head.headers.get("content-length").is_none() && head.headers.get("connection").is_none());
        }
    }
}
