//! Parameters.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::document::OneOrMany;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Whether every site may use the API from browsers. If so, `originGroups` is ignored.
    #[serde(default = "yes")]
    pub public_resource: bool,
    /// Whether browsers may send cookies and credentials.
    #[serde(default)]
    pub support_credentials: bool,
    /// What the sites of each group may do.
    #[serde(default)]
    pub origin_groups: Vec<OriginGroup>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OriginGroup {
    /// A label for people.
    #[serde(default)]
    pub name: String,
    /// Origins such as `https://shop.test:8443`, or `*` for all others.
    #[serde(default)]
    pub origins: OneOrMany<String>,
    /// How long browsers may remember the answer to a preflight, in seconds.
    #[serde(default = "default_max_age_s")]
    pub access_control_max_age: i64,
    /// Methods, each allowed or not. Without any: `CONNECT`, `DELETE`, `GET`, `OPTIONS`, `PATCH`,
    /// `POST`, `PUT` and `TRACE`.
    #[serde(default)]
    pub allowed_methods: Vec<AllowedMethod>,
    /// Request headers that may be sent, or `*` for all.
    #[serde(default)]
    pub headers: OneOrMany<String>,
    /// Response headers that scripts may read.
    #[serde(default)]
    pub exposed_headers: OneOrMany<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedMethod {
    /// The name of the method.
    pub method_name: String,
    /// Whether it is allowed. `allowed` is accepted as the name of this parameter too.
    #[serde(default = "yes", alias = "allowed")]
    pub is_allowed: bool,
}

fn yes() -> bool {
    true
}

/// Seconds; for public resources too.
pub fn default_max_age_s() -> i64 {
    30
}
