//! Strict heads (RFC 9110, RFC 9112): one meaning or refused.
//!
//! One pass over the lines as they lie in the receive buffer. Everything that two parties could read in
//! two ways is refused: bare CR or LF, folded lines, malformed or repeated framing fields, several hosts,
//! odd targets. Framing and the connection's own fields become types and never enter [`Headers`].

use super::{
    fields::FieldReader,
    target::{Target, agree_on_authority, path_of, read_path},
    upgrade,
};
use crate::{
    data_plane::refusal::Asked,
    http::{
        Headers, Method, Span, Version,
        headers::{is_field_value, is_token},
    },
};

/// Most fields of an upstream's head; those of a request have a setting.
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
    /// `Connection` names `Upgrade`.
    pub upgrade: bool,
}

pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    pub path: Span,
    pub query: Option<Span>,
    pub authority: Span,
    /// The protocols that the client asks to switch to and that may be passed on.
    pub upgrade: Option<Span>,
    pub whole_server: bool,
    pub headers: Headers,
    pub framing: Framing,
    pub connection: ConnectionFields,
}

impl RequestHead {
    /// For the access log.
    pub fn asked(&self) -> Asked {
        Asked { method: Some(self.method.clone()), path: Some(self.headers.str(self.path).to_owned()) }
    }
}

pub struct ResponseHead {
    pub status: u16,
    pub version: Version,
    pub headers: Headers,
    pub framing: Framing,
    /// `content-length` even where the message has no body (HEAD, 304).
    pub declared_length: Option<u64>,
    /// The protocol that the upstream says it switches to.
    pub upgrade: Option<Span>,
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

impl HeadError {
    /// What is wrong with the head, for the log; none of its bytes.
    pub fn what(self) -> &'static str {
        match self {
            Self::Malformed(what) => what,
            Self::TooManyFields => "too many fields",
            Self::Version => "neither HTTP/1.0 nor HTTP/1.1",
            Self::MethodNotAllowed => "method",
            Self::Expectation => "expectation",
        }
    }
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
/// [`HeadError`] as soon as a whole line shows it, without waiting for the rest; control characters when the
/// head is complete.
pub fn parse_request(buffer: &[u8], rules: HeadRules) -> Result<Option<(RequestHead, usize)>, HeadError> {
    let Some((end, next)) = first_line(buffer)? else { return Ok(None) };
    let (method, target, version) = request_line(&buffer[..end])?;
    if matches!(method, "TRACE" | "CONNECT") {
        return Err(HeadError::MethodNotAllowed);
    }
    // The whole server can only be asked for its options (RFC 9112 section 3.2.4).
    if target == b"*" && method != "OPTIONS" {
        return Err(HeadError::Malformed("target"));
    }
    let mut fields = FieldReader::new(buffer);
    let Some(length) = fields.read_all(next, rules.fields_max)? else { return Ok(None) };
    let framing = fields.request_framing(version)?;
    let mut connection = fields.connection;
    // A client of HTTP/1.0 does not know interim responses (RFC 9110 section 10.1.1).
    connection.expects_continue &= version == Version::Http11;
    if fields.unknown_expectation {
        return Err(HeadError::Expectation);
    }
    // A request with a body has no upgrade: what follows its head must have one meaning.
    let upgradable = version == Version::Http11 && method == "GET" && framing == Framing::None;
    let upgrade = fields.upgrade().filter(|_| upgradable);
    let (mut headers, host) = (fields.headers, fields.host);
    let target = Target::split(target)?;
    let authority = agree_on_authority(&mut headers, target.authority, host, version)?;
    let (path, query) = read_path(&mut headers, &target, rules.merge_slashes)?;
    let upgrade = upgrade.and_then(|value| upgrade::offer(&mut headers, value));
    let whole_server = target.is_bare && method == "OPTIONS";
    let method = Method::from_token(method).ok_or(HeadError::Malformed("method"))?;
    let head = RequestHead {
        method,
        version,
        path,
        query,
        authority,
        upgrade,
        whole_server,
        headers,
        framing,
        connection,
    };
    Ok(Some((head, length)))
}

/// As [`parse_request`], for the head of a response. `to_head` tells that the request was HEAD.
///
/// # Errors
/// [`HeadError`]: the upstream's fault, answered with 502.
pub fn parse_response(buffer: &[u8], to_head: bool) -> Result<Option<(ResponseHead, usize)>, HeadError> {
    let Some((end, next)) = first_line(buffer)? else { return Ok(None) };
    let (version, status) = status_line(&buffer[..end])?;
    let mut fields = FieldReader::new(buffer);
    let Some(length) = fields.read_all(next, FIELDS_MAX)? else { return Ok(None) };
    let framing = fields.response_framing(version, status, to_head)?;
    Ok(Some((
        ResponseHead {
            status,
            version,
            framing,
            declared_length: fields.content_length,
            connection: fields.connection,
            upgrade: fields.upgrade(),
            headers: fields.headers,
        },
        length,
    )))
}

/// What a head asks for that is refused, or does not come whole.
pub fn asked(received: &[u8], merge_slashes: bool) -> Asked {
    let Ok(Some((end, _))) = first_line(received) else { return Asked::default() };
    let line = &received[..end];
    let Some((method, rest)) = memchr::memchr(b' ', line).map(|at| line.split_at(at)) else {
        return Asked::default();
    };
    let Some(method) = std::str::from_utf8(method).ok().filter(|method| is_token(method.as_bytes())) else {
        return Asked::default();
    };
    let target = memchr::memrchr(b' ', rest).and_then(|at| rest.get(1..at)).unwrap_or_default();
    Asked { method: Method::from_token(method), path: path_of(target, merge_slashes) }
}

/// Where the first line ends and the second begins; `None` while it has not come whole.
fn first_line(received: &[u8]) -> Result<Option<(usize, usize)>, HeadError> {
    let Some(line_feed) = memchr::memchr(b'\n', received) else { return Ok(None) };
    Ok(Some((line_end(received, 0, line_feed + 1)?, line_feed + 1)))
}

/// Where the line ends that began at `start` and whose LF is the byte before `next`. Every LF follows a
/// CR; a CR elsewhere is a control character.
pub(super) fn line_end(received: &[u8], start: usize, next: usize) -> Result<usize, HeadError> {
    match received[start..next] {
        [.., b'\r', b'\n'] => Ok(next - 2),
        _ => Err(HeadError::Malformed("bare LF")),
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112 section 3). The bytes of the target are left to
/// whoever reads its parts.
fn request_line(line: &[u8]) -> Result<(&str, &[u8], Version), HeadError> {
    let malformed = HeadError::Malformed("start line");
    let (method, rest) = line.split_at(memchr::memchr(b' ', line).ok_or(malformed)?);
    let (target, version) = rest.split_at(memchr::memrchr(b' ', rest).ok_or(malformed)?);
    let version = self::version(&version[1..])?;
    let target = target.get(1..).filter(|target| !target.is_empty()).ok_or(malformed)?;
    match std::str::from_utf8(method) {
        Ok(method) if is_token(method.as_bytes()) => Ok((method, target, version)),
        _ => Err(HeadError::Malformed("method")),
    }
}

/// `HTTP-version SP status-code [ SP reason-phrase ]` (RFC 9112 section 4).
fn status_line(line: &[u8]) -> Result<(Version, u16), HeadError> {
    let malformed = HeadError::Malformed("status line");
    let (version, rest) = line.split_at(memchr::memchr(b' ', line).ok_or(malformed)?);
    let version = self::version(version)?;
    let (digits, reason) = rest[1..].split_at_checked(3).ok_or(malformed)?;
    let is_reason = matches!(reason, [] | [b' ', ..]) && is_field_value(reason);
    if !digits.iter().all(u8::is_ascii_digit) || !is_reason {
        return Err(malformed);
    }
    match digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0')) {
        status @ 100..=599 => Ok((version, status)),
        _ => Err(HeadError::Malformed("status")),
    }
}

/// A version that is spelled right and is another one is refused for that, not for its spelling
/// (RFC 9112 section 2.3).
fn version(word: &[u8]) -> Result<Version, HeadError> {
    match word {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(HeadError::Version),
        _ => Err(HeadError::Malformed("version")),
    }
}

#[cfg(test)]
mod tests;
