//! Parameters of `route`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::ConfigProblem;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The service that requests are sent to.
    pub destination_ref: DestinationRef,
    /// Put before the path that the rules keep; `/` adds nothing.
    #[serde(default = "default_path")]
    pub destination_path: String,
}

/// The name of a `Service`.
#[derive(Deserialize, JsonSchema)]
pub struct DestinationRef {
    /// Name of the service.
    pub name: String,
    /// Namespace of the service; empty for that of the binding.
    #[serde(default)]
    pub namespace: String,
    /// Always `Service`.
    #[serde(default)]
    pub kind: DestinationKind,
}

#[derive(Default, Deserialize, JsonSchema)]
pub enum DestinationKind {
    #[default]
    Service,
}

impl DestinationRef {
    /// What is wrong with a reference at this path.
    pub fn problem(&self, field: &str) -> Option<ConfigProblem> {
        self.name.is_empty().then(|| {
            ConfigProblem::new(format!("{field}.name"), "the name of the service is empty")
                .help("write the `metadata.name` of a Service")
        })
    }
}

pub fn default_path() -> String {
    "/".to_owned()
}
