//! Request targets and authorities (RFC 9112 section 3.2): one meaning or refused.

use std::net::Ipv6Addr;

use super::head::HeadError;
use crate::http::{
    Headers, Span, Version,
    path::{self, PathError},
};

/// The parts of a request target (RFC 9112 section 3.2).
pub struct Target<'a> {
    pub authority: Option<&'a [u8]>,
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    /// It is `*`, or absolute and ends with its authority: with OPTIONS both ask the server as a whole (RFC 9112
    /// section 3.2.4).
    pub is_bare: bool,
}

impl<'a> Target<'a> {
    pub fn split(target: &'a [u8]) -> Result<Self, HeadError> {
        let (authority, rest) = match target.first() {
            Some(b'/') => (None, target),
            Some(b'*') if target.len() == 1 => (None, &b""[..]),
            _ => {
                let rest = strip_scheme(target).ok_or(HeadError::Malformed("target"))?;
                let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(end);
                (Some(authority), rest)
            }
        };
        let (path, query) = match memchr::memchr(b'?', rest) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        let is_bare = rest.is_empty();
        let path = if path.is_empty() { &b"/"[..] } else { path };
        Ok(Self { authority, path, query, is_bare })
    }
}

/// Path, in its normal form, and query of a target, as spans of a text.
pub fn read_path(
    headers: &mut Headers,
    target: &Target<'_>,
    merge_slashes: bool,
) -> Result<(Span, Option<Span>), HeadError> {
    let path = path::normalise(target.path, merge_slashes).map_err(|error| {
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
    Ok((path, query))
}

/// The path of a target in its normal form; `None` where it has none that is valid.
pub fn path_of(target: &[u8], merge_slashes: bool) -> Option<String> {
    let path = Target::split(target).ok()?.path;
    String::from_utf8(path::normalise(path, merge_slashes).ok()?.into_owned()).ok()
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    })
}

/// Query characters of RFC 3986, and those that browsers send without escaping them.
fn is_query_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\')
}

/// Host and absolute target must name one authority (RFC 9112 section 3.2).
pub fn agree_on_authority(
    headers: &mut Headers,
    absolute: Option<&[u8]>,
    host: Option<Span>,
    version: Version,
) -> Result<Span, HeadError> {
    match (absolute, host) {
        (Some(absolute), Some(host)) => {
            if absolute.is_empty() || !is_authority(absolute) {
                return Err(HeadError::Malformed("authority of the target"));
            }
            if !headers.bytes(host).eq_ignore_ascii_case(absolute) {
                return Err(HeadError::Malformed("target and Host disagree"));
            }
            Ok(host)
        }
        (None, Some(host)) => Ok(host),
        (_, None) if version == Version::Http11 => Err(HeadError::Malformed("no Host")),
        (Some(absolute), None) if !absolute.is_empty() && is_authority(absolute) => {
            Ok(headers.push_text(absolute))
        }
        (Some(_), None) => Err(HeadError::Malformed("authority of the target")),
        (None, None) => Ok(Span::default()),
    }
}

/// `host [":" port]` without userinfo. An empty Host is legal (RFC 9110 section 7.2).
pub fn is_authority(bytes: &[u8]) -> bool {
    let (host, port) = match bytes.first() {
        Some(b'[') => match memchr::memchr(b']', bytes) {
            Some(end) => (&bytes[1..end], &bytes[end + 1..]),
            None => return false,
        },
        _ => bytes.split_at(memchr::memchr(b':', bytes).unwrap_or(bytes.len())),
    };
    let host_ok = match bytes.first() {
        Some(b'[') => std::str::from_utf8(host).is_ok_and(|host| host.parse::<Ipv6Addr>().is_ok()),
        _ => is_reg_name(host),
    };
    let port_ok = match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => is_port(digits),
        _ => false,
    };
    host_ok && port_ok && (!host.is_empty() || port.is_empty())
}

/// Unreserved characters, sub-delimiters and whole escapes (RFC 3986 section 3.2.2).
fn is_reg_name(host: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let mut rest = &host[host.iter().take_while(|byte| plain(byte)).count()..];
    // What is left begins with a character that hardly any host has.
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            [byte, after @ ..] if plain(byte) || b"_~!$&'()*+,;=".contains(byte) => after,
            _ => return false,
        };
    }
}

/// A number that is a port; leading zeros are allowed up to five digits.
fn is_port(digits: &[u8]) -> bool {
    let digit = |b: &u8| b.is_ascii_digit();
    digits.len() <= 5
        && digits.iter().all(digit)
        && digits.iter().fold(0, |sum: u32, b| sum * 10 + u32::from(b - b'0')) <= u32::from(u16::MAX)
}
