//! Conditional requests: those that a hit answers with 304, and those by which a stale response is made fresh
//! (RFC 9110 section 13, RFC 9111 section 4.3).

use std::time::SystemTime;

use super::directives::split_list;
use crate::http::{Headers, Method, Request, date, headers::InvalidField};

/// Conditions that only the origin can evaluate.
pub const FOR_THE_ORIGIN: [&str; 3] = ["if-match", "if-range", "if-unmodified-since"];
const FOR_CACHES: [&str; 2] = ["if-none-match", "if-modified-since"];

/// Whether a client asks for a response only if it differs from one that it has.
pub fn is_conditional(headers: &Headers) -> bool {
    FOR_CACHES.iter().any(|name| headers.contains(name))
}

/// Whether what the client has is this response, so that 304 answers it. `stored`: the headers of a response with
/// status 200.
pub fn not_modified(method: &Method, asked: &Headers, stored: &Headers, now: SystemTime) -> bool {
    if !matches!(method, Method::Get | Method::Head) {
        return false;
    }
    if let Some(tags) = exact(asked, "if-none-match") {
        let tag = exact(stored, "etag");
        return split_list(&tags)
            .any(|known| known == "*" || tag.as_deref().is_some_and(|tag| is_same(known, tag)));
    }
    // More than one is no date, and is ignored.
    let since = asked.joined("if-modified-since");
    let since = since.and_then(|since| date::parse(since.as_bytes(), now));
    let changed = stored.get("last-modified").or_else(|| stored.get("date"));
    let changed = changed.and_then(|changed| date::parse(changed, now));
    matches!((since, changed), (Some(since), Some(changed)) if changed <= since)
}

/// A field as text in which each byte is a character of its own: an entity tag may have bytes that are no UTF-8 (RFC 9110
/// section 8.8.3).
fn exact(headers: &Headers, name: &str) -> Option<String> {
    Some(headers.joined_bytes(name)?.iter().copied().map(char::from).collect())
}

/// Weak comparison (RFC 9110 section 8.8.3.2).
fn is_same(one: &str, other: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    opaque(one) == opaque(other)
}

/// Whether a stored response can be validated.
pub fn has_validator(stored: &Headers) -> bool {
    stored.contains("etag") || stored.contains("last-modified")
}

/// Makes a request ask whether a stored response is still good (RFC 9111 section 4.3.1).
///
/// # Errors
/// Never, for headers that came from a response: they are valid.
pub fn ask(request: &mut Request, stored: &Headers) -> Result<(), InvalidField> {
    if let Some(tag) = stored.get("etag") {
        request.headers.set("if-none-match", tag)?;
    }
    if let Some(changed) = stored.get("last-modified") {
        request.headers.set("if-modified-since", changed)?;
    }
    Ok(())
}

/// Whether a 304 speaks of this stored response (RFC 9111 section 4.3.4): its validators, where it has any, are those
/// of the response.
pub fn is_selected(fresh: &Headers, stored: &Headers) -> bool {
    match (exact(fresh, "etag"), exact(stored, "etag")) {
        (Some(one), Some(other)) => return is_same(&one, &other),
        (Some(_), None) => return false,
        (None, _) => {}
    }
    match (fresh.get("last-modified"), stored.get("last-modified")) {
        (Some(one), Some(other)) => one == other,
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// Fields that a 304 does not replace: they speak of the body that is stored (RFC 9111 section 3.2).
const OF_THE_BODY: [&str; 3] = ["content-encoding", "content-range", "content-type"];

/// The stored headers with what a 304 says anew (RFC 9111 section 3.2).
pub fn freshened(stored: &Headers, fresh: &Headers) -> Headers {
    let replaces = |name: &str| !OF_THE_BODY.iter().any(|kept| kept.eq_ignore_ascii_case(name));
    let mut headers = stored.clone();
    headers.retain(|name, _| !(name.eq_ignore_ascii_case("age") || replaces(name) && fresh.contains(name)));
    for (name, value) in fresh.iter().filter(|(name, _)| replaces(name)) {
        headers.push_field(name, value);
    }
    headers
}

/// The headers of the 304 that stands for a stored response: without what describes the body (RFC 9110 section
/// 15.4.5).
pub fn without_body(headers: &mut Headers) {
    let tagged = headers.contains("etag");
    headers.retain(|name, _| {
        let lower = name.to_ascii_lowercase();
        let of_the_body = lower.starts_with("content-")
            && !matches!(&*lower, "content-location" | "content-security-policy");
        !(of_the_body || tagged && lower == "last-modified")
    });
}
