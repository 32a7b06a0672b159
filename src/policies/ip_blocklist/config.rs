//! Parameters.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{document::OneOrMany, expression::Template, policies::addresses::default_expression};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The addresses that are refused. Addresses (`192.0.2.1`, `2001:db8::1`), networks (`10.0.0.0/8`,
    /// `2001:db8::/32`) and leading octets (`192.168`).
    pub ips: OneOrMany<String>,
    /// Where the address of the client stands. Of a list separated by commas the first element counts.
    #[serde(default = "default_expression")]
    pub ip_expression: Template,
}
