//! The head of a request, and trailers, from the fields of a header block (RFC 9113 section 8). What has a counterpart in HTTP/1.1
//! is read with the code that reads HTTP/1.1, so that a message means the same whichever way it came.

use super::{grpc, hpack::FIELD_OVERHEAD};
use crate::{
    data_plane::{
        http1::{
            chunked::{TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX},
            fields::{ConnectionField, is_forbidden_trailer, parse_length},
            head::{HeadError, HeadRules},
            target::{Target, is_authority, path_of, read_path},
        },
        refusal::{Asked, Refusal},
    },
    http::{
        Headers, Method, Span,
        headers::{is_field_value, is_token, trim},
    },
};

/// The head of a request.
pub struct RequestHead {
    pub method: Method,
    pub path: Span,
    pub query: Option<Span>,
    pub authority: Span,
    pub whole_server: bool,
    pub headers: Headers,
    /// `content-length`.
    pub length: Option<u64>,
    pub expects_continue: bool,
    pub is_grpc: bool,
}

impl RequestHead {
    /// For the access log, where it is not served.
    pub fn asked(&self) -> Asked {
        Asked { method: Some(self.method.clone()), path: Some(self.headers.str(self.path).to_owned()) }
    }
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// The stream is reset with PROTOCOL_ERROR (RFC 9113 section 8.1.1). The text is for the log.
    Malformed(&'static str),
    /// The request is answered.
    Answered(Refusal),
}

/// A list of fields that is no request.
pub struct Unread {
    pub refused: Refused,
    pub asked: Asked,
    pub is_grpc: bool,
}

impl From<HeadError> for Refused {
    fn from(error: HeadError) -> Self {
        Self::Answered(Refusal::Head(error))
    }
}

/// Limits and rules of heads.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub fields: HeadRules,
    /// Of the list of fields, counted as RFC 9113 section 6.5.2 counts.
    pub bytes_max: usize,
}

/// A list so many times as large as it may be is not read to its end: small blocks can stand for large lists.
const ABSURD: usize = 4;

/// What a reader keeps of a path's memory while a connection idles.
const LARGE_BYTES_MIN: usize = 1024;

/// Likewise of its list of the pieces of a cookie.
const CRUMBS_KEPT_MAX: usize = 64;

/// Counts a list of fields.
#[derive(Default)]
struct Size {
    bytes: usize,
}

impl Size {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        self.bytes = self.bytes.saturating_add(name.len() + value.len() + FIELD_OVERHEAD);
    }

    fn is_over(&self, max: usize) -> bool {
        self.bytes > max
    }

    fn is_absurd(&self, max: usize) -> bool {
        self.bytes > max.saturating_mul(ABSURD)
    }
}

/// Reads one head after the other.
#[derive(Default)]
pub struct HeadReader {
    headers: Headers,
    /// `Some(None)`: a token that is no method ([`Method::from_token`]).
    method: Option<Option<Method>>,
    /// Whether it is one of the two that are served.
    scheme: Option<bool>,
    has_path: bool,
    /// `:path`, kept for its memory when there is none.
    path: Vec<u8>,
    authority: Option<Span>,
    host: Option<Span>,
    length: Option<u64>,
    /// Whether it is the one that there is.
    expectation: Option<bool>,
    crumbs: Vec<Span>,
    is_grpc: bool,
    fields: usize,
    size: Size,
    fault: Option<&'static str>,
}

impl HeadReader {
    /// Takes a field; whether there may be more.
    pub fn field(&mut self, name: &[u8], value: &[u8], rules: Rules) -> bool {
        if self.size.bytes == 0 {
            // The memory of an earlier head, from the first field on: none while a connection idles.
            self.headers = Headers::new();
        }
        self.size.add(name, value);
        // What is too large is answered without having been kept.
        if self.fault.is_none() && !self.size.is_over(rules.bytes_max) {
            self.fault = self.read(name, value, rules).err();
        }
        !self.size.is_absurd(rules.bytes_max)
    }

    fn read(&mut self, name: &[u8], value: &[u8], rules: Rules) -> Result<(), &'static str> {
        check_value(value)?;
        if let Some(pseudo) = name.strip_prefix(b":") {
            return self.pseudo(pseudo, value);
        }
        // A cookie may come in crumbs, which are one field (section 8.2.3).
        self.fields += usize::from(name != b"cookie" || self.crumbs.is_empty());
        let name = check_name(name)?;
        if self.fields > rules.fields.fields_max {
            return Ok(());
        }
        match ConnectionField::of(name.as_bytes()) {
            None if name == "cookie" => self.crumbs.push(self.headers.push_text(value)),
            None => {
                self.is_grpc |= name == "content-type" && grpc::is_grpc(value);
                self.headers.push_field(name, value);
            }
            Some(ConnectionField::ContentLength) => {
                let length = parse_length(value).filter(|_| self.length.is_none());
                self.length = Some(length.ok_or("content-length")?);
            }
            Some(ConnectionField::Host) if self.host.is_some() => return Err("several Hosts"),
            Some(ConnectionField::Host) => self.host = Some(self.headers.push_text(value)),
            Some(ConnectionField::Expect) => {
                let is_known = value.eq_ignore_ascii_case(b"100-continue");
                self.expectation = Some(is_known && self.expectation != Some(false));
            }
            Some(
                ConnectionField::TransferEncoding
                | ConnectionField::Connection
                | ConnectionField::Upgrade
                | ConnectionField::Dropped,
            ) => check_connection_field(name, value)?,
        }
        Ok(())
    }

    /// Section 8.3: known, once, and before all others.
    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if self.fields > 0 {
            return Err("pseudo field after a field");
        }
        let known_before = match name {
            b"method" => {
                let method = std::str::from_utf8(value).ok().filter(|method| is_token(method.as_bytes()));
                self.method.replace(Method::from_token(method.ok_or(":method")?)).is_some()
            }
            b"scheme" => {
                let is_served =
                    [&b"http"[..], b"https"].iter().any(|known| value.eq_ignore_ascii_case(known));
                self.scheme.replace(is_served).is_some()
            }
            b"path" => {
                self.path.clear();
                self.path.extend_from_slice(value);
                std::mem::replace(&mut self.has_path, true)
            }
            b"authority" => {
                let authority = self.headers.push_text(value);
                self.authority.replace(authority).is_some()
            }
            _ => return Err("unknown pseudo field"),
        };
        if known_before { Err("pseudo field twice") } else { Ok(()) }
    }

    /// What the list was: a request, or what is wrong with it and what it asked for.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn finish(&mut self, rules: Rules) -> Result<RequestHead, Unread> {
        let read = self.request(rules).map_err(|refused| Unread {
            refused,
            asked: self.asked(rules.fields.merge_slashes),
            is_grpc: self.is_grpc,
        });
        let (path, crumbs) = (std::mem::take(&mut self.path), std::mem::take(&mut self.crumbs));
        *self = Self { path, crumbs, ..Self::default() };
        self.crumbs.clear();
        read
    }

    /// Holds no memory for a head that was large.
    pub fn rest(&mut self) {
        if self.path.capacity() > LARGE_BYTES_MIN {
            self.path = Vec::new();
        }
        if self.crumbs.capacity() > CRUMBS_KEPT_MAX {
            self.crumbs = Vec::new();
        }
    }

    fn request(&mut self, rules: Rules) -> Result<RequestHead, Refused> {
        if let Some(fault) = self.fault {
            return Err(Refused::Malformed(fault));
        }
        if self.size.is_over(rules.bytes_max) {
            return Err(Refused::Answered(Refusal::HeadTooLarge));
        }
        let method = self.method.clone().ok_or(Refused::Malformed("no :method"))?;
        let method = method.ok_or(HeadError::Malformed("method"))?;
        if matches!(method.as_str(), "CONNECT" | "TRACE") {
            return Err(HeadError::MethodNotAllowed.into());
        }
        if !self.scheme.ok_or(Refused::Malformed("no :scheme"))? {
            return Err(HeadError::Malformed("scheme").into());
        }
        if self.fields > rules.fields.fields_max {
            return Err(HeadError::TooManyFields.into());
        }
        let authority = self.authority()?;
        if !self.has_path {
            return Err(Refused::Malformed("no :path"));
        }
        if self.path == b"*" && method != Method::Options {
            return Err(HeadError::Malformed("target").into());
        }
        if self.path != b"*" && !self.path.starts_with(b"/") {
            return Err(Refused::Malformed(":path"));
        }
        self.join_cookies();
        let target = Target::split(&self.path)?;
        let (path, query) = read_path(&mut self.headers, &target, rules.fields.merge_slashes)?;
        if self.expectation == Some(false) {
            return Err(HeadError::Expectation.into());
        }
        Ok(RequestHead {
            whole_server: target.is_bare && method == Method::Options,
            method,
            path,
            query,
            authority,
            headers: std::mem::take(&mut self.headers),
            length: self.length,
            expects_continue: self.expectation.is_some(),
            is_grpc: self.is_grpc,
        })
    }

    /// `:authority` and Host must name one authority (RFC 9113 section 8.3.1); one of them is enough.
    fn authority(&self) -> Result<Span, Refused> {
        let text = |span| self.headers.bytes(span);
        if let (Some(authority), Some(host)) = (self.authority, self.host)
            && !text(authority).eq_ignore_ascii_case(text(host))
        {
            return Err(Refused::Malformed(":authority and Host disagree"));
        }
        let named = self.authority.or(self.host).ok_or(HeadError::Malformed("no authority"))?;
        if named.is_empty() || !is_authority(text(named)) {
            return Err(Refused::Malformed("authority"));
        }
        Ok(named)
    }

    /// A client may send each cookie in a field of its own, so that it compresses well; anywhere else they
    /// are one field (RFC 9113 section 8.2.3).
    fn join_cookies(&mut self) {
        match self.crumbs[..] {
            [] => {}
            [only] => self.headers.push_field_of("cookie", only),
            _ => {
                let crumbs = self.crumbs.iter().map(|&crumb| self.headers.bytes(crumb));
                // An empty one would leave white space at an end.
                let some: Vec<&[u8]> = crumbs.filter(|crumb| !crumb.is_empty()).collect();
                let joined = some.join(&b"; "[..]);
                self.headers.push_field("cookie", &joined);
            }
        }
    }

    fn asked(&self, merge_slashes: bool) -> Asked {
        let path = if self.has_path { path_of(&self.path, merge_slashes) } else { None };
        Asked { method: self.method.clone().flatten(), path }
    }
}

/// Reads trailers.
#[derive(Default)]
pub struct TrailerReader {
    headers: Headers,
    fields: usize,
    size: Size,
    fault: Option<&'static str>,
}

impl TrailerReader {
    /// Takes a field; whether there may be more.
    pub fn field(&mut self, name: &[u8], value: &[u8], rules: Rules) -> bool {
        self.size.add(name, value);
        self.fields += 1;
        if self.fault.is_none() {
            let bytes_max = rules.bytes_max.min(TRAILER_BYTES_MAX);
            self.fault = match self.size.is_over(bytes_max) || self.fields > TRAILER_FIELDS_MAX {
                true => Some("trailers over the limit"),
                false => self.read(name, value).err(),
            };
        }
        !self.size.is_absurd(rules.bytes_max)
    }

    fn read(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        check_value(value)?;
        let name = check_name(name)?;
        check_connection_field(name, value)?;
        // What may not be there is not passed on (RFC 9110 section 6.5.1).
        if !is_forbidden_trailer(name) {
            self.headers.push_field(name, value);
        }
        Ok(())
    }

    /// Those that may be passed on.
    ///
    /// # Errors
    /// What is wrong with them: the stream is reset.
    pub fn finish(self) -> Result<Option<Headers>, &'static str> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(Some(self.headers).filter(|headers| !headers.is_empty())),
        }
    }
}

/// Section 8.2.1: lower case. A pseudo field is no name.
fn check_name(name: &[u8]) -> Result<&str, &'static str> {
    let is_name = is_token(name) && !name.iter().any(u8::is_ascii_uppercase);
    std::str::from_utf8(name).ok().filter(|_| is_name).ok_or("field name")
}

/// Section 8.2.1: no control characters, and neither begins nor ends with white space.
fn check_value(value: &[u8]) -> Result<(), &'static str> {
    if trim(value).len() != value.len() {
        return Err("white space around a field value");
    }
    if is_field_value(value) { Ok(()) } else { Err("field value") }
}

/// Section 8.2.2: fields of HTTP/1.1 connections are malformed, but for one of `te`.
fn check_connection_field(name: &str, value: &[u8]) -> Result<(), &'static str> {
    match name {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
            Err("field of a connection of HTTP/1.1")
        }
        "te" if !value.eq_ignore_ascii_case(b"trailers") => Err("te"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
