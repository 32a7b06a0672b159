//! What is left of a limit, as the `x-ratelimit-*` fields tell it (policies reference 3.1), and the
//! refusal when nothing is.

use super::Rejection;
use crate::http::Headers;
pub use crate::quota::Allowance;

const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";

impl Allowance {
    /// Writes the fields, in place of what an inner policy or the upstream wrote.
    pub fn write_to(&self, headers: &mut Headers) {
        for (name, value) in self.fields() {
            let field = headers.set(name, value.to_string());
            debug_assert!(field.is_ok(), "a name and a number make a field");
        }
    }

    /// The refusal of a request that is over the limit. `exposed`: what its client is told.
    pub fn refusal(exposed: Option<Self>) -> Rejection {
        let rejection = Rejection::json(429, "too_many_requests", "Too Many Requests");
        let fields = exposed.map(|allowance| allowance.fields()).into_iter().flatten();
        fields.fold(rejection, |rejection, (name, value)| rejection.header(name, value.to_string()))
    }

    fn fields(&self) -> [(&'static str, u64); 3] {
        [(LIMIT, self.limit), (REMAINING, self.remaining), (RESET, self.reset_ms)]
    }
}
