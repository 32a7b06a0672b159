//! Which responses are stored (policies reference 3.4; RFC 9111 section 3).

use super::{
    directives::{RequestDirectives, ResponseDirectives},
    entry::fits,
    freshness::{Arrival, Rules, Timing, lifetime},
    keys::Vary,
    validators::has_validator,
};
use crate::http::{Method, Origin, Response};

/// How this cache stores.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub rules: Rules,
    /// Microseconds.
    pub ttl: u64,
    pub honor_vary: bool,
}

/// What of a request decides whether its response is stored.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub said: RequestDirectives,
    /// It has credentials, or an earlier policy has told who sent it.
    pub is_authorized: bool,
    /// It asks for a range, and the key depends on that.
    pub is_keyed_by_range: bool,
}

/// A response that may be stored once its body has come whole.
pub struct Storable {
    pub said: ResponseDirectives,
    pub timing: Timing,
    /// Never [`Vary::Always`].
    pub vary: Vary,
}

/// Statuses that may be stored without the origin saying so (RFC 9110 section 15.1); all that this cache
/// understands.
const CACHEABLE: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

impl Terms {
    /// Whether a response may be stored, apart from its body. It has a `Date`.
    pub fn storable(&self, asked: &Asked, response: &Response, arrival: Arrival) -> Option<Storable> {
        let headers = &response.headers;
        // An inner policy's refusal is about one request; a 304 is about a response that somebody else has.
        let is_foreign = response.origin != Origin::Upstream || !(200..=599).contains(&response.status);
        let is_part = response.status == 206 && !asked.is_keyed_by_range;
        if is_foreign || response.status == 304 || is_part || !fits(headers) {
            return None;
        }
        let vary = match (Vary::of(headers), self.honor_vary) {
            (Vary::Always, _) => return None,
            (Vary::By(_), false) => Vary::Not,
            (vary, _) => vary,
        };
        let said = ResponseDirectives::of(headers);
        let allowed = match self.rules {
            Rules::Fixed => true,
            Rules::Vendor => !(said.no_store || said.no_cache || said.private || asked.said.no_store),
            Rules::Rfc9111 => is_allowed(asked, response, &said, arrival),
        };
        let timing = self.rules.timing(headers, &said, arrival, self.ttl);
        let validates = self.rules == Rules::Rfc9111 && has_validator(headers);
        let is_useful = timing.kept_for > 0 && (timing.fresh_for > 0 && !said.no_cache || validates);
        // The vendor's rules refuse `no-cache`; a fixed lifetime does not read it.
        let is_useful = is_useful || self.rules == Rules::Fixed && timing.fresh_for > 0;
        (allowed && is_useful).then_some(Storable { said, timing, vary })
    }
}

/// RFC 9111 section 3, one condition after the other.
fn is_allowed(asked: &Asked, response: &Response, said: &ResponseDirectives, arrival: Arrival) -> bool {
    let headers = &response.headers;
    let understands = CACHEABLE.contains(&response.status);
    let is_explicit = said.public || lifetime(headers, said, arrival.wall, arrival.wall).is_some();
    matches!(asked.method, Method::Get | Method::Head)
        && response.status != 206
        && (understands || !said.must_understand)
        && !said.no_store
        && !asked.said.no_store
        && !said.private
        && (!asked.is_authorized || said.must_revalidate || said.public || said.s_maxage.is_some())
        && (is_explicit || understands)
}
