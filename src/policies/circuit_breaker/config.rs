//! Parameters of Circuit Breaker. The vendor's table spells them `maximum…`, its samples `max…`.

use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// The limits; each left out has its default.
    #[serde(default)]
    pub thresholds: Thresholds,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Thresholds {
    /// Connections to the upstream. 1024 by default.
    #[serde(alias = "maximumConnections")]
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection. 1024 by default.
    #[serde(alias = "maximumPendingRequests")]
    pub max_pending_requests: Option<u32>,
    /// Requests whose answers have not come whole. 1024 by default.
    #[serde(alias = "maximumRequests")]
    pub max_requests: Option<u32>,
    /// Retries at the same time. 3 by default.
    #[serde(alias = "maximumRetries")]
    pub max_retries: Option<u32>,
    /// Accepted without effect.
    #[serde(alias = "maximumConnectionPools")]
    pub max_connection_pools: Option<u32>,
}
