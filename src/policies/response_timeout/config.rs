//! Parameters of Response Timeout.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::Seconds;

#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// Seconds from the end of the request until the head of the upstream's response. Fractions are
    /// allowed; 0 waits for ever.
    #[serde(default = "default_timeout")]
    pub timeout: Seconds,
}

fn default_timeout() -> Seconds {
    Seconds::new(15)
}
