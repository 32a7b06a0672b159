//! What a policy says of itself, and the one place where its configuration becomes an instance.

use std::{cell::RefCell, path::Path, sync::Arc, time::Duration};

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Budget, Policy,
    chain::{PolicyObserver, Unobserved},
};
pub use crate::base::ConfigProblem;
use crate::{
    base::{ResourceName, Severity, seal::KeyRing},
    document::{Node, Problem, deserialize_config, unset_secrets},
    quota::Quotas,
    storage::{Keys, Storage},
    tls,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Category {
    Security,
    Compliance,
    #[serde(rename = "Quality of Service")]
    QualityOfService,
    Transformation,
    Troubleshooting,
    #[serde(rename = "Traffic Management")]
    TrafficManagement,
}

/// What a policy is bound to: inbound ones to an `ApiInstance` (or a selector of them), outbound
/// ones to a `Service`; routing policies to an `ApiInstance`, where they choose the upstream; the
/// policy of a port to any `ApiInstance` on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Inbound,
    Outbound,
    Routing,
    Port,
}

/// A policy's definition. One type in the policy's folder implements it; `policies/catalog.rs`
/// lists them all, and help, schema and documentation derive from it.
pub trait PolicyDefinition {
    /// Exactly `policyRef.name`.
    const NAME: &'static str;
    const CATEGORY: Category;
    const DIRECTION: Direction;
    /// One sentence for `policies list`.
    const SUMMARY: &'static str;
    /// Always first and never limited by rules (only CORS).
    const ALWAYS_FIRST: bool = false;
    /// Whether an instance remembers requests, so that it goes on where its binding gets another name.
    const HAS_STATE: bool = false;
    /// The policy's `README.md`, for `policies show`.
    const README: &'static str;
    /// The policy's `example.yaml`: a complete set of resources.
    const EXAMPLE: &'static str;

    type Config: DeserializeOwned + JsonSchema;

    /// # Errors
    /// What is wrong with the configuration beyond its types. All problems, not the first.
    fn build(config: Self::Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>>;
}

/// What a policy may use when it is built.
#[derive(Clone)]
pub struct PolicyServices {
    /// The binding, as logs name it.
    pub binding: ResourceName,
    /// What its state is known by at all replicas, beside `target`.
    pub state_name: Arc<str>,
    /// The instance, or the service of an outbound policy.
    pub target: ResourceName,
    /// Name of this replica (`FLEX_NAME`).
    pub replica_name: Arc<str>,
    /// Whether hops of `x-forwarded-for` that clients may have written are cut off (decision 2).
    pub proxies_are_declared: bool,
    /// Whether a shared storage is configured.
    pub shared_storage: bool,
    /// Limits that replicas count together.
    pub quotas: Quotas,
    /// What all replicas share, or this one alone where nothing is shared.
    pub storage: Storage,
    /// What a cache needs besides.
    pub caching: Caching,
    /// Told when the policy could not do its work and lets the request go on; a refusal tells it alone.
    pub observer: Arc<dyn PolicyObserver>,
    advice: RefCell<Vec<ConfigProblem>>,
}

impl PolicyServices {
    pub fn new(binding: ResourceName, target: ResourceName, replica_name: Arc<str>) -> Self {
        Self {
            state_name: binding.to_string().into(),
            binding,
            target,
            replica_name,
            proxies_are_declared: false,
            shared_storage: false,
            quotas: Quotas::unserved(),
            storage: Storage::in_memory(),
            caching: Caching::default(),
            observer: Arc::new(Unobserved),
            advice: RefCell::default(),
        }
    }

    /// A warning about the configuration; the policy is built all the same.
    pub fn warn(&self, problem: ConfigProblem) {
        self.advice.borrow_mut().push(problem);
    }
}

/// What a cache keeps its entries with. Clones share the same memory.
#[derive(Clone)]
pub struct Caching {
    /// The names in the shared storage.
    pub keys: Keys,
    /// Seals what others could read or write; `None`: there are no keys.
    pub seals: Option<Arc<KeyRing>>,
    /// Where what survives a restart lies; `None`: nothing survives.
    pub state_folder: Option<Arc<Path>>,
    /// Memory for entries, of all caches of the replica together.
    pub budget: Arc<Budget>,
}

/// The default of the setting `limits.cache_bytes`.
const CACHE_BYTES_MAX: usize = 256 << 20;

impl Default for Caching {
    fn default() -> Self {
        Self {
            keys: Keys::of("default"),
            seals: None,
            state_folder: None,
            budget: Arc::new(Budget::new(CACHE_BYTES_MAX)),
        }
    }
}

/// What a configuration makes.
pub enum Built {
    /// A step of the chain.
    Step(Arc<dyn Policy>),
    /// Settings of the upstream; nothing runs per request.
    Upstream(UpstreamSettings),
    /// A choice of upstream, which the router has taken from the same configuration.
    Route,
    /// TLS of the ports that its targets listen on; nothing runs per request.
    Inbound(Arc<tls::Inbound>),
}

/// What outbound policies set on an upstream.
#[derive(Clone, Debug, Default)]
pub struct UpstreamSettings {
    /// How long a connection may idle between requests; zero is for ever.
    pub idle_timeout: Option<Duration>,
    pub limits: Option<CircuitLimits>,
    /// TLS towards it; `None` is the default context of an `https://` address.
    pub tls: Option<Arc<tls::Outbound>>,
}

/// Circuit breaker thresholds (configuration reference 7.2). `None` is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitLimits {
    pub connections_max: Option<u32>,
    pub pending_requests_max: Option<u32>,
    pub requests_max: Option<u32>,
    pub retries_max: Option<u32>,
}

/// A definition without its type, as the catalog keeps it.
#[derive(Clone, Copy)]
pub struct PolicyEntry {
    pub name: &'static str,
    pub category: Category,
    pub direction: Direction,
    pub summary: &'static str,
    pub always_first: bool,
    pub has_state: bool,
    pub readme: &'static str,
    pub example: &'static str,
    schema: fn() -> Schema,
    build: fn(&Node, &str, &PolicyServices) -> PolicyBuild,
}

/// What came of a configuration: the instance, unless there is an error among the problems.
pub struct PolicyBuild {
    pub built: Option<Built>,
    pub problems: Vec<Problem>,
}

impl PolicyEntry {
    pub const fn of<D: PolicyDefinition>() -> Self {
        Self {
            name: D::NAME,
            category: D::CATEGORY,
            direction: D::DIRECTION,
            summary: D::SUMMARY,
            always_first: D::ALWAYS_FIRST,
            has_state: D::HAS_STATE,
            readme: D::README,
            example: D::EXAMPLE,
            schema: || schema_for!(D::Config),
            build: build::<D>,
        }
    }

    /// JSON Schema of `config`.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// Makes an instance of `config`. `field` is the path of `config` inside its resource.
    pub fn build(&self, config: &Node, field: &str, services: &PolicyServices) -> PolicyBuild {
        (self.build)(config, field, services)
    }
}

fn build<D: PolicyDefinition>(config: &Node, field: &str, services: &PolicyServices) -> PolicyBuild {
    let mut problems = unset_secrets(config, field);
    let typed = deserialize_config::<D::Config>(config, field);
    problems.extend(typed.problems);
    let Some(value) = typed.value else {
        return PolicyBuild { built: None, problems };
    };
    let outcome = D::build(value, services);
    let advice = services.advice.take();
    problems.extend(
        advice.into_iter().map(|problem| Problem::of_config(config, field, problem, Severity::Warning)),
    );
    match outcome {
        Ok(built) => PolicyBuild { built: Some(built), problems },
        Err(found) => {
            problems.extend(
                found.into_iter().map(|problem| Problem::of_config(config, field, problem, Severity::Error)),
            );
            PolicyBuild { built: None, problems }
        }
    }
}
