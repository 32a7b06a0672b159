//! Parameters of Stream Idle Timeout.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::Seconds;

#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// Seconds during which no byte may move in either direction, on the side of the client or of the
    /// upstream. Fractions are allowed; 0 waits for ever.
    #[serde(default = "default_timeout")]
    pub timeout: Seconds,
}

fn default_timeout() -> Seconds {
    Seconds::new(300)
}
