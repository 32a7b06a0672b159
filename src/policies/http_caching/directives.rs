//! `Cache-Control` of requests and responses (RFC 9111 section 5.2).

use std::borrow::Cow;

use crate::http::{Headers, headers::trim};

/// What a client says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
    /// Seconds.
    pub max_age: Option<u64>,
    /// Seconds; `u64::MAX`: however stale.
    pub max_stale: Option<u64>,
    /// Seconds.
    pub min_fresh: Option<u64>,
}

/// What the origin says. Forms with field names, such as `private="x-user"`, count as those without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    pub no_cache: bool,
    pub no_store: bool,
    pub private: bool,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    /// Seconds.
    pub max_age: Option<u64>,
    /// Seconds.
    pub s_maxage: Option<u64>,
}

/// What any larger number of seconds means (RFC 9111 section 1.2.2).
const SECONDS_MAX: u64 = 1 << 31;

impl RequestDirectives {
    /// `Pragma: no-cache` counts where there is no `Cache-Control` (RFC 9111 section 5.4), if it counts at all.
    pub fn of(headers: &Headers, with_pragma: bool) -> Self {
        let mut said = Self::default();
        if !headers.contains("cache-control") {
            let named = |value: &[u8]| {
                members(&String::from_utf8_lossy(value))
                    .any(|(name, _)| name.eq_ignore_ascii_case("no-cache"))
            };
            said.no_cache = with_pragma && headers.get_all("pragma").any(named);
            return said;
        }
        each(headers, |name, value| match name {
            "no-cache" => said.no_cache = true,
            "no-store" => said.no_store = true,
            "only-if-cached" => said.only_if_cached = true,
            // What is not understood asks for the most.
            "max-age" => {
                said.max_age = Some(said.max_age.unwrap_or(u64::MAX).min(seconds(value).unwrap_or(0)));
            }
            "min-fresh" => {
                said.min_fresh = Some(said.min_fresh.unwrap_or(0).max(seconds(value).unwrap_or(u64::MAX)));
            }
            "max-stale" => {
                let stale = if value.is_none() { Some(u64::MAX) } else { seconds(value) };
                said.max_stale = Some(said.max_stale.unwrap_or(u64::MAX).min(stale.unwrap_or(0)));
            }
            _ => {}
        });
        said
    }
}

impl ResponseDirectives {
    pub fn of(headers: &Headers) -> Self {
        let mut said = Self::default();
        each(headers, |name, value| match name {
            "no-cache" => said.no_cache = true,
            "no-store" => said.no_store = true,
            "private" => said.private = true,
            "public" => said.public = true,
            "must-revalidate" => said.must_revalidate = true,
            "proxy-revalidate" => said.proxy_revalidate = true,
            "must-understand" => said.must_understand = true,
            "max-age" => said.max_age = Some(lifetime(said.max_age, value)),
            "s-maxage" => said.s_maxage = Some(lifetime(said.s_maxage, value)),
            _ => {}
        });
        said
    }

    /// Whether it may never be served stale by a shared cache (RFC 9111 section 4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.no_cache || self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some()
    }
}

/// One that is not valid, and two that differ, are stale at once (RFC 9111 section 4.2.1).
fn lifetime(before: Option<u64>, value: Option<&str>) -> u64 {
    let now = seconds(value).unwrap_or(0);
    if before.is_some_and(|before| before != now) { 0 } else { now }
}

fn each(headers: &Headers, mut tell: impl FnMut(&str, Option<&str>)) {
    for line in headers.get_all("cache-control") {
        let line = String::from_utf8_lossy(line);
        for (name, value) in members(&line) {
            tell(&name.to_ascii_lowercase(), value.as_deref());
        }
    }
}

/// Delta-seconds: digits only; a number too large to count is the largest.
pub fn seconds(value: Option<&str>) -> Option<u64> {
    let value = value?;
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(SECONDS_MAX).min(SECONDS_MAX))
}

/// The members of a list of `name` and `name=value`, the value a token or a quoted string.
pub fn members(list: &str) -> impl Iterator<Item = (&str, Option<Cow<'_, str>>)> {
    split_list(list).map(|member| match member.split_once('=') {
        Some((name, value)) => {
            (name.trim_end_matches(BLANKS), Some(unquoted(value.trim_start_matches(BLANKS))))
        }
        None => (member, None),
    })
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The members of a list, without the empty ones; a comma inside quotes separates nothing, unless they do not end: what
/// stands behind them must not be hidden.
pub fn split_list(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    // A quote whose end has not been found has none further on, and neither have those behind it: nothing is looked at twice.
    let mut is_unquoted = false;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (mut quoted, mut escaped) = (false, false);
            let quoted_end = rest.bytes().position(|byte| {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted && !is_unquoted,
                    b',' => return !quoted,
                    _ => {}
                }
                false
            });
            let end = if quoted { rest.find(',') } else { quoted_end };
            is_unquoted |= quoted;
            let (member, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after.strip_prefix(',').unwrap_or_default();
            let member = std::str::from_utf8(trim(member.as_bytes())).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    })
}

fn unquoted(value: &str) -> Cow<'_, str> {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return Cow::Borrowed(value);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    Cow::Owned(text)
}
