//! How old a response is, and how long it may be served without asking again.

use std::time::{Duration, SystemTime};

use super::directives::{ResponseDirectives, seconds};
use crate::http::{Headers, date};

/// Times of a stored response, microseconds. They count from `at`, a reading of the policy's clock, which never goes
/// back: a wall clock that jumps makes nothing fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub at: u64,
    /// Its age then.
    pub age: u64,
    /// For how long it is fresh from then on; below zero, since when it is stale.
    pub fresh_for: i64,
    /// When it is forgotten.
    pub kept_for: u64,
}

/// What no age and no lifetime exceeds: 136 years, which any sum of a few leaves countable.
pub const MICROS_MAX: u64 = (1 << 32) * 1_000_000;

impl Timing {
    pub fn age(&self, now: u64) -> u64 {
        self.age.saturating_add(now.saturating_sub(self.at))
    }

    /// Above zero while it is fresh.
    pub fn fresh_for(&self, now: u64) -> i64 {
        self.fresh_for.saturating_sub_unsigned(now.saturating_sub(self.at))
    }

    /// `None`: it is forgotten.
    pub fn kept_for(&self, now: u64) -> Option<Duration> {
        let left = self.kept_for.checked_sub(now.saturating_sub(self.at))?;
        (left > 0).then(|| Duration::from_micros(left))
    }

    /// The one of two that is forgotten last.
    pub fn or_longer(self, other: Self) -> Self {
        let end = |timing: &Self| timing.at.saturating_add(timing.kept_for);
        if end(&self) > end(&other) { self } else { other }
    }

    /// The same, told at `now` about what was true so long ago.
    pub fn seen(self, now: u64, elapsed: u64) -> Self {
        Self {
            at: now,
            age: self.age.saturating_add(elapsed),
            fresh_for: self.fresh_for.saturating_sub_unsigned(elapsed),
            kept_for: self.kept_for.saturating_sub(elapsed),
        }
    }
}

/// When a response came, and to what.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Of the response, on the policy's clock.
    pub at: u64,
    /// From the request to the response, microseconds.
    pub delay: u64,
    /// Of the response, on the wall clock.
    pub wall: SystemTime,
}

/// Where lifetimes are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// `ttl` alone.
    Fixed,
    /// The vendor's reading of the headers (policies reference 3.4).
    Vendor,
    /// RFC 9111.
    Rfc9111,
}

impl Rules {
    /// The times of a response that has just come. `ttl`: microseconds. The response has a `Date`.
    pub fn timing(self, headers: &Headers, said: &ResponseDirectives, arrival: Arrival, ttl: u64) -> Timing {
        let dated = headers.get("date").and_then(|value| date::parse(value, arrival.wall));
        let apparent = dated.map_or(0, |dated| micros_between(dated, arrival.wall));
        let age = match self {
            Self::Fixed | Self::Vendor => apparent,
            // RFC 9111 section 4.2.3.
            Self::Rfc9111 => {
                let told = told_age(headers).unwrap_or(0).saturating_mul(1_000_000);
                apparent.max(told.saturating_add(arrival.delay))
            }
        };
        let age = age.min(MICROS_MAX);
        let explicit = lifetime(headers, said, dated.unwrap_or(arrival.wall), arrival.wall);
        let left = |seconds: u64| (seconds.saturating_mul(1_000_000).min(MICROS_MAX) as i64) - age as i64;
        let ttl = ttl.min(MICROS_MAX);
        let fresh_for = match (self, explicit) {
            (Self::Fixed, _) | (Self::Vendor, None) => ttl as i64,
            (Self::Vendor, Some(seconds)) => left(seconds).min(ttl as i64),
            // No heuristic: what the origin does not call fresh is asked for again.
            (Self::Rfc9111, explicit) => left(explicit.unwrap_or(0)).min(ttl as i64),
        };
        let kept_for = match self {
            // What is stale can be validated, or be what a client accepts.
            Self::Rfc9111 => ttl,
            Self::Fixed | Self::Vendor => fresh_for.max(0) as u64,
        };
        Timing { at: arrival.at, age, fresh_for, kept_for }
    }
}

/// The explicit lifetime, seconds (RFC 9111 section 4.2.1).
pub fn lifetime(
    headers: &Headers,
    said: &ResponseDirectives,
    dated: SystemTime,
    now: SystemTime,
) -> Option<u64> {
    if let Some(seconds) = said.s_maxage.or(said.max_age) {
        return Some(seconds);
    }
    let mut values = headers.get_all("expires");
    let first = values.next()?;
    if values.any(|other| other != first) {
        return Some(0);
    }
    // One that is no date, such as `0`, is in the past (RFC 9111 section 5.3).
    let expires = date::parse(first, now);
    Some(expires.map_or(0, |expires| micros_between(dated, expires) / 1_000_000))
}

/// `Age`, seconds: of a list the first; what is no number is ignored (RFC 9111 section 5.1).
fn told_age(headers: &Headers) -> Option<u64> {
    let value = std::str::from_utf8(headers.get("age")?).ok()?;
    seconds(value.split(',').next().map(str::trim))
}

/// Zero where `later` is the earlier one.
pub fn micros_between(earlier: SystemTime, later: SystemTime) -> u64 {
    let between = later.duration_since(earlier).unwrap_or_default();
    u64::try_from(between.as_micros()).unwrap_or(u64::MAX).min(MICROS_MAX)
}
