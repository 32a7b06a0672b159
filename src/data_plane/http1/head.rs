//! Strict heads (RFC 9110, RFC 9112): one meaning or refused.
//!
//! `httparse` finds the fields; everything that it lets pass and that two parties could read in two
//! ways is refused here: bare LF, malformed or repeated framing fields, several hosts, odd targets.
//! Framing and the connection's own fields become types and never enter [`Headers`].

use std::mem::MaybeUninit;

use super::{
    fields::FieldReader,
    target::{Target, agree_on_authority, is_query_byte},
};
use crate::http::{
    Headers, Method, Span, Version,
    headers::is_token,
    path::{self, PathError},
};

/// Most fields that a parser can be asked to accept; the configured limit is below it.
pub const FIELDS_MAX: usize = 256;

/// How the body of a message is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    /// Responses only: until the connection closes.
    UntilClose,
}

/// What of a head concerns the connection only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFields {
    pub close: bool,
    pub keep_alive: bool,
    /// The request expects `100 (Continue)`.
    pub expects_continue: bool,
}

pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    pub path: Span,
    pub query: Option<Span>,
    pub authority: Span,
    pub headers: Headers,
    pub framing: Framing,
    pub connection: ConnectionFields,
}

pub struct ResponseHead {
    pub status: u16,
    pub version: Version,
    pub headers: Headers,
    pub framing: Framing,
    /// `content-length` even where the message has no body (HEAD, 304).
    pub declared_length: Option<u64>,
    pub connection: ConnectionFields,
}

/// Why a head is refused. The text is for the log and the metric label, not for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    Malformed(&'static str),
    TooManyFields,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A method that a gateway does not serve (TRACE, CONNECT).
    MethodNotAllowed,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    Expectation,
}

/// Limits and rules of request heads.
#[derive(Clone, Copy, Debug)]
pub struct HeadRules {
    pub fields_max: usize,
    pub merge_slashes: bool,
}

/// `Ok(None)`: the head is not complete. Otherwise the head and the bytes it took.
///
/// # Errors
/// [`HeadError`] as soon as it is certain, without waiting for the rest.
pub fn parse_request(buffer: &[u8], rules: HeadRules) -> Result<Option<(RequestHead, usize)>, HeadError> {
    refuse_leading_line(buffer)?;
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let slots = &mut slots[..rules.fields_max.min(FIELDS_MAX)];
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(buffer, slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => {
            return check_line_ends(buffer).map(|()| None);
        }
        Err(error) => return Err(explain(error, buffer)),
    };
    let raw = &buffer[..length];
    check_line_ends(raw)?;
    let version = version(parsed.version)?;
    let method = parsed.method.ok_or(HeadError::Malformed("method"))?;
    if !is_token(method.as_bytes()) {
        return Err(HeadError::Malformed("method"));
    }
    if matches!(method, "TRACE" | "CONNECT") {
        return Err(HeadError::MethodNotAllowed);
    }
    let target = parsed.path.ok_or(HeadError::Malformed("target"))?;
    // The whole server can only be asked for its options (RFC 9112 section 3.2.4).
    if target == "*" && method != "OPTIONS" {
        return Err(HeadError::Malformed("target"));
    }
    let mut fields = FieldReader::new(raw);
    fields.read_all(parsed.headers)?;
    let framing = fields.request_framing(version)?;
    let mut connection = fields.connection;
    // A client of HTTP/1.0 does not know interim responses (RFC 9110 section 10.1.1).
    connection.expects_continue &= version == Version::Http11;
    if fields.unknown_expectation {
        return Err(HeadError::Expectation);
    }
    let (mut headers, host) = (fields.headers, fields.host);
    let target = Target::split(target.as_bytes())?;
    let authority = agree_on_authority(&mut headers, target.authority, host, version)?;
    let path = path::normalise(target.path, rules.merge_slashes).map_err(|error| {
        HeadError::Malformed(match error {
            PathError::NotAbsolute => "target",
            PathError::InvalidCharacter => "character in the path",
            PathError::MalformedEscape => "escape in the path",
            PathError::NulByte => "%00 in the path",
        })
    })?;
    let path = headers.push_text(&path);
    let query = match target.query {
        None => None,
        Some(query) if query.iter().all(|&b| is_query_byte(b)) => Some(headers.push_text(query)),
        Some(_) => return Err(HeadError::Malformed("character in the query")),
    };
    let method = Method::from_token(method);
    let head = RequestHead { method, version, path, query, authority, headers, framing, connection };
    Ok(Some((head, length)))
}

/// As [`parse_request`], for the head of a response. `to_head` tells that the request was HEAD.
///
/// # Errors
/// [`HeadError`]: the upstream's fault, answered with 502.
pub fn parse_response(buffer: &[u8], to_head: bool) -> Result<Option<(ResponseHead, usize)>, HeadError> {
    refuse_leading_line(buffer)?;
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut parsed, buffer, &mut slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return check_line_ends(buffer).map(|()| None),
        Err(error) => return Err(explain(error, buffer)),
    };
    let raw = &buffer[..length];
    check_line_ends(raw)?;
    let version = version(parsed.version)?;
    let status =
        parsed.code.filter(|code| (100..=599).contains(code)).ok_or(HeadError::Malformed("status"))?;
    let mut fields = FieldReader::new(raw);
    fields.read_all(parsed.headers)?;
    let framing = fields.response_framing(version, status, to_head)?;
    Ok(Some((
        ResponseHead {
            status,
            version,
            framing,
            declared_length: fields.content_length,
            connection: fields.connection,
            headers: fields.headers,
        },
        length,
    )))
}

/// Empty lines that `httparse` would pass over. The one that RFC 9112 section 2.2 speaks of is the
/// connection's business; more of them, or a bare CR or LF, are no head.
fn refuse_leading_line(buffer: &[u8]) -> Result<(), HeadError> {
    match buffer.first() {
        Some(b'\r' | b'\n') => Err(HeadError::Malformed("start line")),
        _ => Ok(()),
    }
}

fn explain(error: httparse::Error, buffer: &[u8]) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version if names_other_version(buffer) => HeadError::Version,
        httparse::Error::Version => HeadError::Malformed("version"),
        httparse::Error::HeaderName => HeadError::Malformed("field name"),
        httparse::Error::HeaderValue => HeadError::Malformed("field value"),
        httparse::Error::NewLine => HeadError::Malformed("line end"),
        httparse::Error::Status => HeadError::Malformed("status line"),
        httparse::Error::Token => HeadError::Malformed("start line"),
    }
}

/// Whether the start line has another `HTTP-version` (RFC 9112 section 2.3), so that refusing it is about
/// the version and not about the spelling.
fn names_other_version(buffer: &[u8]) -> bool {
    let line = buffer.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&b| b == b' ');
    let is_other = |word: &[u8]| match word {
        b"HTTP/1.1" | b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    };
    words.next().is_some_and(is_other) || words.next_back().is_some_and(is_other)
}

fn version(minor: Option<u8>) -> Result<Version, HeadError> {
    match minor {
        Some(1) => Ok(Version::Http11),
        Some(0) => Ok(Version::Http10),
        _ => Err(HeadError::Version),
    }
}

/// Every LF follows a CR, every CR precedes an LF (unless it is the last byte so far).
fn check_line_ends(raw: &[u8]) -> Result<(), HeadError> {
    for at in memchr::memchr2_iter(b'\r', b'\n', raw) {
        let whole = match raw[at] {
            b'\r' => raw.get(at + 1).is_none_or(|&next| next == b'\n'),
            _ => at > 0 && raw[at - 1] == b'\r',
        };
        if !whole {
            return Err(HeadError::Malformed("bare CR or LF"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
