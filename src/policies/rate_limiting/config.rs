//! Parameters of Rate Limiting.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    expression::Template,
    policy::{ConfigProblem, PolicyServices},
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The limits. A request must find quota in all of them, and is then charged to all.
    pub rate_limits: Vec<Limit>,
    /// The key whose requests are counted together; left out, all requests of the API are.
    pub key_selector: Option<Template>,
    /// Tells clients in `x-ratelimit-*` headers what is left. `false` by default.
    pub expose_headers: Option<bool>,
    /// Whether replicas count together, where a `Configuration` names a `sharedStorage`. `true` by default. With `false`,
    /// or without a shared storage, each replica grants the whole quota.
    pub clusterizable: Option<bool>,
    /// With `clusterizable`, while the shared storage cannot be reached and what this replica holds is used up: `true`
    /// refuses, `false` admits; left out, each replica grants its share of the limit.
    pub block_on_unknown_quota: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// Requests per window.
    pub maximum_requests: u64,
    /// Length of a window.
    #[schemars(range(min = 1))]
    pub time_period_in_milliseconds: u64,

    // Seen in deployed files, where they belong beside the list.
    #[schemars(skip)]
    key_selector: Option<Template>,
    #[schemars(skip)]
    expose_headers: Option<bool>,
    #[schemars(skip)]
    clusterizable: Option<bool>,
    #[schemars(skip)]
    block_on_unknown_quota: Option<bool>,
}

impl Config {
    /// Moves options that stand inside `rateLimits` to where they belong, with a warning each. Those
    /// beside `rateLimits` win, then the first.
    pub fn lift_options(&mut self, services: &PolicyServices) {
        for (index, limit) in self.rate_limits.iter_mut().enumerate() {
            let inside = |name: &str| format!("rateLimits[{index}].{name}");
            lift(limit.key_selector.take(), &mut self.key_selector, inside("keySelector"), services);
            lift(limit.expose_headers.take(), &mut self.expose_headers, inside("exposeHeaders"), services);
            lift(limit.clusterizable.take(), &mut self.clusterizable, inside("clusterizable"), services);
            let block = limit.block_on_unknown_quota.take();
            lift(block, &mut self.block_on_unknown_quota, inside("blockOnUnknownQuota"), services);
        }
    }
}

fn lift<T>(inner: Option<T>, outer: &mut Option<T>, field: String, services: &PolicyServices) {
    let Some(value) = inner else { return };
    let name = field.rsplit('.').next().unwrap_or_default();
    let message = match outer {
        Some(_) => format!("`{name}` is given already; this one is ignored"),
        None => format!("`{name}` belongs beside `rateLimits`; it is read here too"),
    };
    outer.get_or_insert(value);
    services.warn(ConfigProblem::new(field, message).help("move it out of the list"));
}
