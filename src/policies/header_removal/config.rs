//! Parameters.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{document::OneOrMany, expression::Template};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Fields removed from the request: names, regular expressions (RE2) for whole names, or
    /// expressions that give a name.
    #[serde(default)]
    pub inbound_headers: OneOrMany<Template>,
    /// Fields removed from the response, in the same forms.
    #[serde(default)]
    pub outbound_headers: OneOrMany<Template>,
}
