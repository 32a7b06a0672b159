//! Parameters.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::expression::Template;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Fields added to the request, in this order.
    #[serde(default)]
    pub inbound_headers: Vec<Header>,
    /// Fields added to the response, in this order.
    #[serde(default)]
    pub outbound_headers: Vec<Header>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub struct Header {
    /// The name of the field: a text or an expression.
    pub key: Template,
    /// The value of the field: a text or an expression.
    pub value: Template,
}
