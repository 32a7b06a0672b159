//! Parameters.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{document::OneOrMany, expression::Template, telemetry};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// What is logged: each item makes a line of its own.
    pub logging_configuration: Vec<Item>,
    /// Whether personal data in the lines is masked. Bodies are forwarded unchanged.
    #[serde(default)]
    pub enable_data_masking: bool,
    /// What is masked.
    #[serde(default)]
    pub data_masking: DataMasking,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// A label for people, named when the item fails.
    pub item_name: String,
    /// What is logged, and when.
    pub item_data: ItemData,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemData {
    /// The line. Lists and objects are written as JSON.
    pub message: Template,
    /// The line is written only when this is true. Without it, always.
    pub conditional: Option<Template>,
    /// Put before the line in brackets.
    pub category: Option<String>,
    /// The level of the line. It is written if the gateway's level lets it through.
    pub level: Level,
    /// Whether the line is written for the request, when it reaches this policy.
    #[serde(default = "yes")]
    pub first_section: bool,
    /// Whether the line is written for the response.
    #[serde(default)]
    pub second_section: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    Info,
    Warn,
    Error,
    Debug,
}

impl From<Level> for telemetry::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataMasking {
    /// Kinds of personal data.
    #[serde(default)]
    pub entities: OneOrMany<Entity>,
    /// Further patterns.
    #[serde(default)]
    pub custom_patterns: Vec<CustomPattern>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Entity {
    Email,
    #[serde(rename = "US SSN")]
    UsSsn,
    #[serde(rename = "Credit Card")]
    CreditCard,
    #[serde(rename = "Phone Number")]
    PhoneNumber,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub struct CustomPattern {
    /// A label for people.
    #[serde(default)]
    pub name: String,
    /// A regular expression (RE2); what it matches is masked.
    pub pattern: String,
}

fn yes() -> bool {
    true
}
