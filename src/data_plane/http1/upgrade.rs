//! Upgrade (RFC 9110 section 7.8): which protocols are passed on, and which switch is believed.

use crate::http::{
    Headers, Span,
    headers::{is_token, trim},
};

/// Protocols that carry further requests, or hide them: what they carry would pass no policy
/// (decision 7).
const NEVER: [&str; 4] = ["h2c", "h2", "http", "tls"];

/// The protocols that a client offers and an upstream may be asked for, in order, as text of `headers`.
/// `None` when there is none, or when `value` is not a list of protocols: then there is no upgrade.
pub fn offer(headers: &mut Headers, value: Span) -> Option<Span> {
    let members: Vec<&[u8]> =
        headers.bytes(value).split(|&b| b == b',').map(trim).filter(|member| !member.is_empty()).collect();
    if !members.iter().all(|member| is_protocol(member)) {
        return None;
    }
    let kept: Vec<&[u8]> = members.into_iter().filter(|member| !is_never(member)).collect();
    let kept = kept.join(&b", "[..]);
    if kept.is_empty() { None } else { Some(headers.push_text(&kept)) }
}

/// Whether an upstream may switch to `chosen` where `offered` was offered. One protocol only: what
/// layers of them would mean to the client is not known here.
pub fn accepts(offered: &str, chosen: &[u8]) -> bool {
    offered.split(", ").any(|protocol| protocol.as_bytes().eq_ignore_ascii_case(chosen))
}

/// `name` or `name/version`, both tokens.
fn is_protocol(member: &[u8]) -> bool {
    member.splitn(2, |&b| b == b'/').all(is_token)
}

fn is_never(member: &[u8]) -> bool {
    let name = member.split(|&b| b == b'/').next().unwrap_or_default();
    NEVER.iter().any(|never| never.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(value: &str) -> Option<String> {
        let mut headers = Headers::new();
        let span = headers.push_text(value.as_bytes());
        offer(&mut headers, span).map(|span| headers.str(span).to_owned())
    }

    #[test]
    fn protocols_that_would_carry_requests_past_the_policies_are_never_offered() {
        for value in ["h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.2", "h2c, TLS/1.0", "", " , ,"] {
            assert_eq!(offered(value), None, "{value}");
        }
        assert_eq!(offered("websocket, h2c ,foo/2").as_deref(), Some("websocket, foo/2"));
    }

    #[test]
    fn a_list_that_is_none_offers_nothing() {
        for value in ["web socket", "websocket, a b", "a/b/c", "/", "websocket/", "\"websocket\"", "a;b"] {
            assert_eq!(offered(value), None, "{value}");
        }
    }

    #[test]
    fn only_what_was_offered_is_accepted() {
        assert!(accepts("websocket, foo/2", b"WebSocket"));
        assert!(accepts("websocket, foo/2", b"foo/2"));
        for other in [&b"foo"[..], b"foo/1", b"", b"websocket, foo/2", b"h2c"] {
            assert!(!accepts("websocket, foo/2", other), "{}", String::from_utf8_lossy(other));
        }
    }
}
