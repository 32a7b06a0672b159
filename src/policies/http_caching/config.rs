//! Parameters of HTTP Caching.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{base::Digest, expression::Template, policy::PolicyServices};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The key under which a response is found again. `#[attributes.requestPath]` by default.
    pub http_caching_key: Option<Template>,
    /// Responses that are kept; beyond, the oldest goes. 10000 by default.
    #[schemars(range(min = 1))]
    pub max_cache_entries: Option<u64>,
    /// How long a response is kept at the most, seconds. 600 by default.
    pub ttl: Option<u64>,
    /// Whether `Cache-Control`, `Expires` and `Date` are followed. `true` by default.
    pub use_http_cache_headers: Option<bool>,
    /// Name of the header by which clients invalidate: `invalidate` the entry of their key, `invalidate-all` every
    /// entry. Empty: there is none.
    pub invalidation_header: Option<String>,
    /// Which requests are looked up and stored. Left out: GET and HEAD; empty: all.
    pub request_expression: Option<Template>,
    /// Which responses are stored. Left out: those with a status of 200, 203, 204, 206, 300, 301, 404, 405, 410, 414
    /// or 501; empty: all.
    pub response_expression: Option<Template>,
    /// Whether the replicas share one cache, in the shared storage. `false` by default.
    pub distributed: Option<bool>,
    /// Whether the cache survives a restart. `false` by default.
    pub persist_cache: Option<bool>,
    /// Ours: whether the responses for one key are told apart by what `Vary` names. `false` by default.
    pub honor_vary: Option<bool>,
    /// Ours: whether `Set-Cookie` is left out of what is stored. `false` by default.
    pub strip_set_cookie: Option<bool>,
    /// Ours: whether the policy is a shared cache by RFC 9111 in full. `false` by default.
    pub rfc9111: Option<bool>,
}

pub const KEY: &str = "#[attributes.requestPath]";
pub const REQUEST: &str = "#[attributes.method == 'GET' or attributes.method == 'HEAD']";
pub const RESPONSE: &str =
    "#[[200, 203, 204, 206, 300, 301, 404, 405, 410, 414, 501] contains attributes.statusCode]";

/// Entries and seconds when nothing is said.
pub const ENTRIES_MAX: u64 = 10_000;
pub const TTL: u64 = 600;

impl Config {
    /// Names the binding, whatever its configuration.
    pub fn binding(services: &PolicyServices) -> Digest {
        Digest::builder().part(services.target.to_string()).part(&*services.state_name).finish()
    }

    /// Names the cache of this binding: what is stored under one configuration is not found under another.
    pub fn namespace(&self, services: &PolicyServices) -> Digest {
        let text = |template: &Option<Template>| match template {
            Some(template) => format!("={}", template.source()),
            None => String::new(),
        };
        let said = (self.max_cache_entries, self.ttl, self.use_http_cache_headers, &self.invalidation_header);
        let ours = (self.honor_vary, self.strip_set_cookie, self.rfc9111);
        Digest::builder()
            .part(Self::binding(services).as_bytes())
            .part(text(&self.http_caching_key))
            .part(text(&self.request_expression))
            .part(text(&self.response_expression))
            .part(format!("{said:?} {ours:?}"))
            .finish()
    }
}
