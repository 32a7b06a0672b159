//! Messages to and from upstreams that speak HTTP/2 (RFC 9113 section 8), and what a response says of its length to clients.
//!
//! `h2` has refused by now: upper case and most characters that are no token in names (`"` is none, and
//! passes there), control characters in values, unknown, repeated or late pseudo fields, fields of HTTP/1.1 connections, and
//! lengths that do not agree with DATA. The rest is refused here.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, response,
    uri::{PathAndQuery, Scheme},
};

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::{
    data_plane::http1::{
        fields::{ConnectionField, is_forbidden_trailer, parse_length},
        head::FIELDS_MAX,
    },
    http::{
        Headers, Length, Request,
        headers::{is_token, trim},
    },
};

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

/// Fields whose values are the same in many requests and no secrets: the header table of a connection to an upstream may keep
/// them. All others are written as never to be kept, here and by whoever passes them on: a client may have wanted that (RFC 7541
/// section 6.2.3), and who shares the connection could guess them otherwise (section 7.1).
fn is_harmless(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "accept-charset"
            | "accept-encoding"
            | "accept-language"
            | "cache-control"
            | "content-encoding"
            | "content-language"
            | "content-type"
            | "dnt"
            | "expect"
            | "grpc-accept-encoding"
            | "grpc-encoding"
            | "grpc-timeout"
            | "origin"
            | "pragma"
            | "priority"
            | "sec-ch-ua"
            | "sec-ch-ua-mobile"
            | "sec-ch-ua-platform"
            | "sec-fetch-dest"
            | "sec-fetch-mode"
            | "sec-fetch-site"
            | "sec-fetch-user"
            | "te"
            | "upgrade-insecure-requests"
            | "user-agent"
            | "via"
            | "x-envoy-expected-rq-timeout-ms"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-proto"
            | "x-requested-with"
    )
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
        if let (Ok(name), Ok(mut value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
        {
            value.set_sensitive(!is_harmless(name.as_str()));
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
    // It says whether trailers survive on the way; here they do.
    fields.insert(http::header::TE, HeaderValue::from_static("trailers"));
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

#[cfg(test)]
mod tests;
