//! Parameters.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::Secret;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The user name, in plain text. It cannot contain a colon.
    pub username: String,
    /// The password, in plain text. Write `$NAME` to read it from the environment.
    pub password: Secret<String>,
}
