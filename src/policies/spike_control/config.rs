//! Parameters of Spike Control.

use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Requests accepted in any window.
    #[serde(default = "one")]
    pub maximum_requests: u64,
    /// Length of the window, which slides.
    #[serde(default = "second")]
    #[schemars(range(min = 1))]
    pub time_period_in_milliseconds: u64,
    /// How long a request waits before each further attempt.
    #[serde(default = "second")]
    pub delay_time_in_millis: u64,
    /// Further attempts before a request is refused.
    #[serde(default = "attempt")]
    pub delay_attempts: u32,
    /// Requests that wait at the same time; with 0 nothing waits.
    #[serde(default)]
    pub queuing_limit: u64,
    /// Tells clients in `x-ratelimit-*` headers what is left; for internal APIs.
    #[serde(default)]
    pub expose_headers: bool,
}

fn one() -> u64 {
    1
}

fn second() -> u64 {
    1000
}

fn attempt() -> u32 {
    1
}
