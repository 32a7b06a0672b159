//! Parameters of Upstream Idle Timeout.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::Seconds;

#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// Seconds that an upstream connection may idle, from the end of its last request. Fractions are
    /// allowed; 0 keeps it for ever.
    #[serde(default = "default_timeout")]
    pub timeout: Seconds,
}

fn default_timeout() -> Seconds {
    Seconds::new(60)
}
