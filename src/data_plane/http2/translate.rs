//! Messages of HTTP/2 as the gateway's, and back (RFC 9113 section 8).
//!
//! `h2` has refused by now: upper case and most characters that are no token in names (`"` is none, and
//! passes there), control characters in values, unknown, repeated or late pseudo fields, fields of HTTP/1.1 connections, `te` but for
//! `trailers`, and lengths that do not agree with DATA. The rest is refused here, with the code that
//! reads HTTP/1.1, so that a message means the same whichever way it came.

use bytes::Bytes;
use h2::ext::Protocol;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, request, response,
    uri::{PathAndQuery, Scheme},
};

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::grpc;
use crate::{
    data_plane::{
        http1::{
            fields::{ConnectionField, is_forbidden_trailer, parse_length},
            head::{FIELDS_MAX, HeadError, HeadRules},
            target::{Target, is_authority, path_of, read_path},
        },
        refusal::{Asked, Refusal},
    },
    http::{
        Headers, Length, Method, Request, Response, Span,
        headers::{is_token, trim},
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
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// The stream is reset with PROTOCOL_ERROR (RFC 9113 section 8.1.1). The text is for the log.
    Malformed(&'static str),
    /// The request is answered.
    Answered(Refusal),
}

impl From<HeadError> for Refused {
    fn from(error: HeadError) -> Self {
        Self::Answered(Refusal::Head(error))
    }
}

/// Reads a request.
///
/// # Errors
/// [`Refused`].
pub fn request(parts: &request::Parts, rules: HeadRules) -> Result<RequestHead, Refused> {
    if matches!(parts.method.as_str(), "CONNECT" | "TRACE") || parts.extensions.get::<Protocol>().is_some() {
        return Err(HeadError::MethodNotAllowed.into());
    }
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(HeadError::Malformed("scheme").into());
    }
    if parts.headers.len() > rules.fields_max {
        return Err(HeadError::TooManyFields.into());
    }
    let mut fields = Fields::default();
    fields.read(&parts.headers)?;
    let Fields { mut headers, length, host, expectation } = fields;
    let authority = agree_on_authority(parts.uri.authority().map(|authority| authority.as_str()), host)?;
    let authority = headers.push_text(authority);
    let target = parts.uri.path_and_query().ok_or(Refused::Malformed("no path"))?.as_str();
    if target == "*" && parts.method != http::Method::OPTIONS {
        return Err(HeadError::Malformed("target").into());
    }
    if target != "*" && !target.starts_with('/') {
        return Err(Refused::Malformed("path"));
    }
    let target = Target::split(target.as_bytes())?;
    let (path, query) = read_path(&mut headers, &target, rules.merge_slashes)?;
    let expects_continue = match expectation {
        None => false,
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => true,
        Some(_) => return Err(HeadError::Expectation.into()),
    };
    let method = Method::from_token(parts.method.as_str());
    let whole_server = target.is_bare && method == Method::Options;
    Ok(RequestHead { method, path, query, authority, whole_server, headers, length, expects_continue })
}

/// What a request asks for that is refused.
pub fn asked(parts: &request::Parts, merge_slashes: bool) -> Asked {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let method = Method::from_token(parts.method.as_str());
    Asked { method: Some(method), path: path_of(target.as_bytes(), merge_slashes) }
}

/// `:authority` and Host must name one authority (RFC 9113 section 8.3.1); one of them is enough.
fn agree_on_authority<'a>(authority: Option<&'a str>, host: Option<&'a [u8]>) -> Result<&'a [u8], Refused> {
    let authority = authority.map(str::as_bytes);
    if let (Some(authority), Some(host)) = (authority, host)
        && !authority.eq_ignore_ascii_case(host)
    {
        return Err(Refused::Malformed(":authority and Host disagree"));
    }
    let named = authority.or(host).ok_or(HeadError::Malformed("no authority"))?;
    if named.is_empty() || !is_authority(named) {
        return Err(Refused::Malformed("authority"));
    }
    Ok(named)
}

/// Fields, sorted into types and [`Headers`].
#[derive(Default)]
struct Fields<'a> {
    headers: Headers,
    length: Option<u64>,
    host: Option<&'a [u8]>,
    expectation: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn read(&mut self, fields: &'a HeaderMap) -> Result<(), Refused> {
        self.headers = Headers::new();
        for (name, value) in fields {
            let (name, value) = (name.as_str(), value.as_bytes());
            if !is_token(name.as_bytes()) {
                return Err(Refused::Malformed("field name"));
            }
            // RFC 9113 section 8.2.1: neither begins nor ends with white space.
            if trim(value).len() != value.len() {
                return Err(Refused::Malformed("white space around a field value"));
            }
            match ConnectionField::of(name.as_bytes()) {
                None if name == "cookie" => {}
                None => self.headers.push_field(name, value),
                Some(ConnectionField::ContentLength) => {
                    let length = parse_length(value).filter(|_| self.length.is_none());
                    self.length = Some(length.ok_or(Refused::Malformed("content-length"))?);
                }
                Some(ConnectionField::Host) if self.host.is_some() => {
                    return Err(Refused::Malformed("several Hosts"));
                }
                Some(ConnectionField::Host) => self.host = Some(value),
                Some(ConnectionField::Expect) => self.expectation = Some(value),
                Some(
                    ConnectionField::TransferEncoding
                    | ConnectionField::Connection
                    | ConnectionField::Upgrade
                    | ConnectionField::Dropped,
                ) => {}
            }
        }
        self.join_cookies(fields);
        Ok(())
    }

    /// A client may send each cookie in a field of its own, so that it compresses well; anywhere else they
    /// are one field (RFC 9113 section 8.2.3).
    fn join_cookies(&mut self, fields: &HeaderMap) {
        let mut crumbs = fields.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes);
        let Some(first) = crumbs.next() else { return };
        let Some(second) = crumbs.next() else { return self.headers.push_field("cookie", first) };
        let mut joined = first.to_vec();
        // An empty one would leave white space at an end.
        for crumb in std::iter::once(second).chain(crumbs).filter(|crumb| !crumb.is_empty()) {
            if !joined.is_empty() {
                joined.extend_from_slice(b"; ");
            }
            joined.extend_from_slice(crumb);
        }
        self.headers.push_field("cookie", &joined);
    }
}

/// Trailer fields that may be passed on (RFC 9110 section 6.5.1).
pub fn trailers(fields: &HeaderMap) -> Option<Headers> {
    let mut headers = Headers::new();
    for (name, value) in fields {
        if is_token(name.as_str().as_bytes()) && !is_forbidden_trailer(name.as_str()) {
            headers.push_field(name.as_str(), trim(value.as_bytes()));
        }
    }
    (!headers.is_empty()).then_some(headers)
}

/// Fields for `h2`: names in lower case, and nothing that concerns a connection of HTTP/1.1, whoever added
/// it.
pub fn fields(headers: &Headers) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(headers.len() + 1);
    for (name, value) in headers.iter() {
        if ConnectionField::of(name.as_bytes()).is_some() {
            continue;
        }
        // Both were checked when they became fields; what `http` refuses all the same is left out.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
        {
            fields.append(name, value);
        }
    }
    fields
}

/// A request for an upstream, whose body is as long as `follows` says.
///
/// # Errors
/// When the target cannot be written in HTTP/2.
pub fn outgoing(
    request: &Request,
    authority: &str,
    scheme: Scheme,
    follows: Option<Length>,
) -> Result<http::Request<()>, http::Error> {
    let mut target =
        Vec::with_capacity(request.path.len() + request.query.map_or(0, |query| query.len() + 1));
    target.extend_from_slice(request.target_path());
    if let Some(query) = request.query {
        target.push(b'?');
        target.extend_from_slice(request.headers.bytes(query));
    }
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(authority.parse()?);
    uri.path_and_query = Some(path_and_query(target)?);
    let mut fields = fields(&request.headers);
    if let Some(Length::Known(length)) = follows {
        fields.insert(http::header::CONTENT_LENGTH, length.into());
    }
    if request.body.awaits_continue() {
        fields.insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    if grpc::is_grpc(&request.headers) {
        // It says whether trailers survive on the way; here they do.
        fields.insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    let mut head = http::Request::new(());
    *head.method_mut() = http::Method::from_bytes(request.method.as_str().as_bytes())?;
    *head.uri_mut() = http::Uri::from_parts(uri)?;
    *head.version_mut() = http::Version::HTTP_2;
    *head.headers_mut() = fields;
    Ok(head)
}

/// A target for `:path`. What HTTP/1.1 tolerates unescaped, but the grammar does not have, is escaped.
fn path_and_query(target: Vec<u8>) -> Result<PathAndQuery, http::Error> {
    const TOLERATED: &AsciiSet = &CONTROLS
        .add(b'"')
        .add(b'<')
        .add(b'>')
        .add(b'[')
        .add(b']')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    let target = Bytes::from(target);
    match PathAndQuery::from_maybe_shared(target.clone()) {
        Ok(target) => Ok(target),
        Err(_) => {
            let escaped: String = percent_encode(&target, TOLERATED).collect();
            Ok(PathAndQuery::from_maybe_shared(Bytes::from(escaped))?)
        }
    }
}

/// Fields and `content-length` of a response.
///
/// # Errors
/// What is wrong with it, for the log.
pub fn incoming(parts: &response::Parts) -> Result<(Headers, Option<u64>), &'static str> {
    if !(200..=599).contains(&parts.status.as_u16()) {
        return Err("status");
    }
    if parts.headers.len() > FIELDS_MAX {
        return Err("too many fields");
    }
    if parts.headers.keys().any(|name| !is_token(name.as_str().as_bytes())) {
        return Err("field name");
    }
    let mut lengths = parts.headers.get_all(http::header::CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(length), None) => Some(parse_length(length.as_bytes()).ok_or("content-length")?),
        (Some(_), Some(_)) => return Err("several content-length"),
    };
    Ok((message_fields(&parts.headers), length))
}

/// The fields of a message but those that concern a connection.
pub fn message_fields(fields: &HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in fields {
        let name = name.as_str();
        if ConnectionField::of(name.as_bytes()).is_none() && is_token(name.as_bytes()) {
            headers.push_field(name, trim(value.as_bytes()));
        }
    }
    headers
}

/// The head of a response and the length of the body that follows it; `None`: no body follows.
pub fn response(response: &Response, to_head: bool) -> (http::Response<()>, Option<Length>) {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut fields = fields(&response.headers);
    let length = response.body.length();
    let bodiless = to_head || matches!(response.status, 204 | 304);
    let declared = match length {
        _ if response.status == 204 => None,
        // The end of the stream says as much.
        Length::Known(0) => response.declared_length,
        Length::Known(length) => response.declared_length.filter(|_| bodiless).or(Some(length)),
        Length::Unknown => response.declared_length.filter(|_| bodiless),
    };
    if let Some(declared) = declared {
        fields.insert(http::header::CONTENT_LENGTH, declared.into());
    }
    let follows = (!bodiless && length != Length::Known(0)).then_some(length);
    (with_fields(status, fields), follows)
}

/// An interim response; `None` if it is not one.
pub fn interim(status: u16, headers: &Headers) -> Option<http::Response<()>> {
    let status = StatusCode::from_u16(status).ok().filter(StatusCode::is_informational)?;
    Some(with_fields(status, fields(headers)))
}

fn with_fields(status: StatusCode, fields: HeaderMap) -> http::Response<()> {
    let mut head: response::Response<()> = http::Response::new(());
    *head.status_mut() = status;
    *head.version_mut() = http::Version::HTTP_2;
    *head.headers_mut() = fields;
    head
}

#[cfg(test)]
mod tests;
