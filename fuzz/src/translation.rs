//! Messages between HTTP/1.1 and HTTP/2: what passes means the same on the other side, and is read there in
//! one way. The input is a message in either form: a head of HTTP/1.1; or lines with method, path and
//! authority, then `name:value`, as the fields of HTTP/2.

use std::{net::SocketAddr, rc::Rc};

use http::uri;
use portcullis::{
    data_plane::{
        http1::{
            encode,
            head::{HeadRules, parse_request},
        },
        http2::{
            head::{HeadReader, Refused, RequestHead, Rules},
            translate,
        },
    },
    http::{Body, Headers, Peer, Request, Scheme, Version},
};

use super::oracle::{self, Coding};

const RULES: HeadRules = HeadRules { fields_max: 128, merge_slashes: true };
const LIST_RULES: Rules = Rules { fields: RULES, bytes_max: usize::MAX };
const AUTHORITY: &str = "upstream.test:8080";
/// Either side may need fields of its own, and none takes more than 128.
const FIELDS_MAX: usize = 120;

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    if let Some(request) = from_http2(bytes).filter(|request| request.headers.len() <= FIELDS_MAX) {
        check_on_http1(&request);
        check_on_http2(&request, bytes);
    }
    if let Ok(Some((head, _))) = parse_request(bytes, RULES)
        && head.headers.len() <= FIELDS_MAX
    {
        let request =
            whole(Version::Http11, head.method, head.headers, [head.path, head.authority], head.query);
        check_on_http2(&request, bytes);
    }
}

/// Whether it is a message that passes.
pub fn is_accepted(bytes: &[u8]) -> bool {
    from_http2(bytes).is_some() || matches!(parse_request(bytes, RULES), Ok(Some(_)))
}

/// A request of HTTP/2 as the gateway reads it; `None`: it is refused.
fn from_http2(bytes: &[u8]) -> Option<Request> {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let mut list: Vec<(&[u8], &[u8])> = vec![(b":method", lines.next()?), (b":scheme", b"http")];
    list.extend([(&b":path"[..], lines.next()?), (b":authority", lines.next()?)]);
    for line in lines {
        let colon = line.iter().skip(1).position(|&byte| byte == b':')? + 1;
        list.push((&line[..colon], &line[colon + 1..]));
    }
    let head = read(list).ok()?;
    Some(whole(Version::Http2, head.method, head.headers, [head.path, head.authority], head.query))
}

fn read<'f>(list: impl IntoIterator<Item = (&'f [u8], &'f [u8])>) -> Result<RequestHead, Refused> {
    let mut reader = HeadReader::default();
    for (name, value) in list {
        reader.field(name, value, LIST_RULES);
    }
    reader.finish(LIST_RULES).map_err(|unread| unread.refused)
}

fn whole(
    version: Version,
    method: portcullis::http::Method,
    headers: Headers,
    [path, authority]: [portcullis::http::Span; 2],
    query: Option<portcullis::http::Span>,
) -> Request {
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    let peer = Rc::new(Peer::new(address, address, Scheme::Http));
    Request {
        method,
        version,
        headers,
        body: Body::Empty,
        peer,
        path,
        query,
        authority,
        upgrade: None,
        whole_server: false,
    }
}

type Fields = Vec<(String, Vec<u8>)>;

/// HTTP/2 keeps no order among fields of different names.
fn fields(headers: &Headers) -> Fields {
    let fields = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()));
    let mut fields: Fields = fields.collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

/// The bytes for an upstream of HTTP/1.1 are one request, with these fields and no others.
fn check_on_http1(request: &Request) {
    let mut wire = Vec::new();
    encode::request(&mut wire, request, request.authority(), None);
    let shown = String::from_utf8_lossy(&wire);
    assert_eq!(oracle::head_length(&wire), Some(wire.len()), "{shown:?}");
    let Some(seen) = oracle::request(&wire) else { panic!("refused by a strict reader: {shown:?}") };
    assert_eq!(seen.method, request.method.as_str(), "{shown:?}");
    assert_eq!((seen.path.as_str(), seen.query.as_deref()), (request.path(), request.query()), "{shown:?}");
    assert_eq!(seen.authority, request.authority(), "{shown:?}");
    let mut found: Fields =
        seen.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert_eq!(found, fields(&request.headers), "{shown:?}");
    assert_eq!((seen.body, seen.close), (Coding::Length(0), false), "{shown:?}");
}

/// What goes to an upstream of HTTP/2 is read there as what it was.
fn check_on_http2(request: &Request, bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes);
    let sent = translate::outgoing(request, AUTHORITY, uri::Scheme::HTTP, None);
    let sent = sent.unwrap_or_else(|error| panic!("cannot be sent ({error}): {shown:?}"));
    let (parts, ()) = sent.into_parts();
    if matches!(parts.method.as_str(), "CONNECT" | "TRACE") {
        return;
    }
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let pseudo =
        [(":method", parts.method.as_str()), (":scheme", "http"), (":path", path), (":authority", AUTHORITY)];
    let pseudo = pseudo.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let list = parts.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    let read =
        read(pseudo.chain(list)).unwrap_or_else(|error| panic!("we would refuse it ({error:?}): {shown:?}"));
    assert_eq!(read.method.as_str(), request.method.as_str(), "{shown:?}");
    assert_eq!(read.headers.str(read.path), request.path(), "{shown:?}");
    assert_eq!(read.headers.str(read.authority), AUTHORITY, "{shown:?}");
    let query = read.query.map(|query| read.headers.str(query));
    // What HTTP/1.1 tolerates in a query is escaped where the grammar of HTTP/2 does not have it.
    if query != request.query() {
        let unescaped = |text: &str| {
            let mut text = text.to_owned();
            for byte in "\"<>[]^`{|}".bytes() {
                text = text.replace(&format!("%{byte:02X}"), &char::from(byte).to_string());
            }
            text
        };
        assert_eq!(query.map(unescaped), request.query().map(unescaped), "{shown:?}");
    }
    let mut expected = fields(&request.headers);
    // Several lines of cookies are one field (RFC 9113 section 8.2.3), to which empty ones add nothing.
    let cookies: Vec<Vec<u8>> =
        expected.extract_if(.., |(name, _)| name == "cookie").map(|(_, value)| value).collect();
    if !cookies.is_empty() {
        let some: Vec<&[u8]> =
            cookies.iter().map(Vec::as_slice).filter(|cookie| !cookie.is_empty()).collect();
        expected.push(("cookie".to_owned(), some.join(&b"; "[..])));
        expected.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    assert_eq!(fields(&read.headers), expected, "{shown:?}");
}
