//! Keys of a `Configuration` for features that do not exist yet: their fields are checked, so that a
//! file written today is right when they come, and a warning says that they have no effect
//! (decision 19).

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

use super::Ordered;
use crate::{
    base::{Secret, Severity},
    document::{OneOrMany, Problem, RawNode, Spanned, deserialize},
    tls::{Findings, Outbound, OutboundParameters, RedisParameters},
};

pub(super) trait Unsupported {
    /// Checks that need more than types.
    fn check(&self, problems: &mut Vec<Problem>);

    /// Whether the absence of the feature makes a difference.
    fn effective(&self) -> bool {
        true
    }
}

/// Section 8.1.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SharedStorage {
    redis: Option<Spanned<Redis>>,
    local: Option<Local>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Redis {
    address: Option<Spanned<String>>,
    #[serde(rename = "username")]
    _username: Option<String>,
    #[serde(rename = "password")]
    _password: Option<Secret>,
    #[serde(rename = "db")]
    _db: Option<u32>,
    sentinel: Option<Sentinel>,
    cluster: Option<Cluster>,
    tls: Option<Spanned<RawNode>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sentinel {
    addresses: OneOrMany<Spanned<String>>,
    #[serde(rename = "masterName")]
    _master_name: String,
    #[serde(rename = "password")]
    _password: Option<Secret>,
}

/// Ours (decision 32).
#[derive(Deserialize)]
struct Cluster {
    addresses: OneOrMany<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Local {
    enabled: bool,
}

impl Unsupported for SharedStorage {
    fn check(&self, problems: &mut Vec<Problem>) {
        let Some(redis) = &self.redis else { return };
        let nowhere = redis.address.is_none() && redis.sentinel.is_none() && redis.cluster.is_none();
        if nowhere && super::sound(problems) {
            problems.push(
                redis.error("`redis` needs an `address`").help("write `address: HOST:6379`, or `sentinel`"),
            );
        }
        if let Some(tls) = &redis.tls {
            check_tls(tls, problems, RedisParameters::read);
        }
        let sentinels = redis.sentinel.iter().flat_map(|sentinel| sentinel.addresses.iter());
        let nodes = redis.cluster.iter().flat_map(|cluster| cluster.addresses.iter());
        for address in redis.address.iter().chain(sentinels).chain(nodes) {
            let port = address.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
            if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port != 0)) {
                problems.push(address.error(format!("`{}` is not `HOST:PORT`", address.value)));
            }
        }
    }

    /// Local storage is what there is.
    fn effective(&self) -> bool {
        self.redis.is_some() || self.local.as_ref().is_none_or(|local| !local.enabled)
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

/// Section 6.4.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DefaultTls {
    outbound_policy_calls: Option<Spanned<RawNode>>,
}

impl Unsupported for DefaultTls {
    fn check(&self, problems: &mut Vec<Problem>) {
        if let Some(tls) = &self.outbound_policy_calls {
            check_tls(tls, problems, OutboundParameters::read);
        }
    }
}

/// Checks parameters of TLS by making what they describe.
fn check_tls<T: DeserializeOwned>(
    written: &Spanned<RawNode>,
    problems: &mut Vec<Problem>,
    read: impl Fn(&T, Timestamp, &mut Findings) -> Option<Outbound>,
) {
    if written.value.is_null() {
        return;
    }
    let (node, field) = (&*written.value, &*written.field);
    let typed = deserialize::<T>(node, field);
    problems.extend(typed.problems);
    let mut findings = Findings::default();
    if let Some(parameters) = typed.value {
        read(&parameters, Timestamp::now(), &mut findings);
    }
    for (found, severity) in [(findings.errors, Severity::Error), (findings.warnings, Severity::Warning)] {
        problems.extend(found.into_iter().map(|problem| Problem::of_config(node, field, problem, severity)));
    }
}
