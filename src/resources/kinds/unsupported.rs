//! Keys of a `Configuration` for features that do not exist yet: their fields are checked, so that a
//! file written today is right when they come, and a warning says that they have no effect
//! (decision 19).

use serde::Deserialize;

use super::{Ordered, tls_parameters::read_tls};
use crate::{
    document::{OneOrMany, Problem, RawNode, Spanned},
    tls::{Outbound, OutboundParameters},
};

pub(super) trait Unsupported {
    /// Checks that need more than types.
    fn check(&self, problems: &mut Vec<Problem>);

    /// Whether the absence of the feature makes a difference.
    fn effective(&self) -> bool {
        true
    }
}

/// Section 12.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tracing {
    enabled: Option<bool>,
    #[serde(rename = "provider")]
    _provider: Option<Provider>,
    sampling: Option<Sampling>,
    #[serde(rename = "labels")]
    _labels: OneOrMany<TraceLabel>,
}

#[derive(Deserialize)]
struct Provider {
    #[serde(rename = "type")]
    _type: ProviderType,
    #[serde(rename = "properties", default)]
    _properties: Ordered<RawNode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProviderType {
    Opentelemetry,
    Anypoint,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Sampling {
    client: Option<Spanned<f64>>,
    random: Option<Spanned<f64>>,
    overall: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TraceLabel {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "type")]
    _type: TraceLabelType,
    #[serde(rename = "keyName")]
    _key_name: Option<String>,
    #[serde(rename = "defaultValue")]
    _default_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum TraceLabelType {
    Environment,
    RequestHeader,
    Literal,
}

impl Unsupported for Sampling {
    fn check(&self, problems: &mut Vec<Problem>) {
        for share in [&self.client, &self.random, &self.overall].into_iter().flatten() {
            if !(0.0..=100.0).contains(&share.value) {
                problems.push(share.error(format!("{} is out of range: expected 0 to 100", share.value)));
            }
        }
    }
}

impl Unsupported for Tracing {
    fn check(&self, problems: &mut Vec<Problem>) {
        self.sampling.iter().for_each(|sampling| sampling.check(problems));
    }

    fn effective(&self) -> bool {
        self.enabled != Some(false)
    }
}

/// Loading limits of early versions (16).
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ResourceLimits {
    #[serde(rename = "apiInstances")]
    _api_instances: Option<u32>,
    #[serde(rename = "policies")]
    _policies: Option<u32>,
}

impl Unsupported for ResourceLimits {
    fn check(&self, _: &mut Vec<Problem>) {}
}

/// Section 6.4.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DefaultTls {
    outbound_policy_calls: Option<Spanned<RawNode>>,
}

impl DefaultTls {
    /// What it describes, to be shown.
    pub(super) fn read(&self, problems: &mut Vec<Problem>) -> Option<Outbound> {
        let tls = self.outbound_policy_calls.as_ref().filter(|tls| !tls.value.is_null())?;
        read_tls(tls, problems, OutboundParameters::read)
    }
}

impl Unsupported for DefaultTls {
    fn check(&self, _: &mut Vec<Problem>) {}
}
