//! Upstreams as the data plane sees them.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};

use super::{Gauge, UpstreamGauges};
use crate::{
    base::ResourceName,
    policy::{Chain, CircuitLimits},
    resources::ServiceAddress,
    telemetry::metrics::UpstreamMetrics,
};

/// Index of an upstream's pool in each worker. The same name and address keep it over reloads.
pub type UpstreamId = u32;

/// One upstream.
pub struct UpstreamPlan {
    pub id: UpstreamId,
    pub name: ResourceName,
    pub address: ServiceAddress,
    /// `Host` towards it: the host without port (configuration reference 4.7).
    pub authority: Box<str>,
    /// Outbound policies.
    pub chain: Chain,
    pub idle_timeout: Duration,
    pub limits: UpstreamLimits,
    pub gauges: Arc<UpstreamGauges>,
    pub metrics: Arc<UpstreamMetrics>,
    /// TLS towards it.
    pub tls: Option<UpstreamTls>,
    /// Why requests to it answer 503, if they do.
    pub blocked: Option<String>,
}

/// TLS towards an upstream.
#[derive(Clone)]
pub struct UpstreamTls {
    pub config: Arc<ClientConfig>,
    /// The name that is sent (SNI, not for addresses) and checked.
    pub name: ServerName<'static>,
}

/// Circuit breaker thresholds in force (configuration reference 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    pub connections_max: usize,
    pub pending_requests_max: usize,
    pub requests_max: usize,
    pub retries_max: usize,
}

/// What the original's proxy core allows when nothing is configured.
const DEFAULT_MAX: u32 = 1024;
const DEFAULT_RETRIES_MAX: u32 = 3;

impl UpstreamLimits {
    /// The policy's value, else the gateway's, else the default.
    pub fn resolve(policy: CircuitLimits, gateway: CircuitLimits) -> Self {
        let pick = |policy: Option<u32>, gateway: Option<u32>, default: u32| {
            policy.or(gateway).unwrap_or(default) as usize
        };
        Self {
            connections_max: pick(policy.connections_max, gateway.connections_max, DEFAULT_MAX),
            pending_requests_max: pick(
                policy.pending_requests_max,
                gateway.pending_requests_max,
                DEFAULT_MAX,
            ),
            requests_max: pick(policy.requests_max, gateway.requests_max, DEFAULT_MAX),
            retries_max: pick(policy.retries_max, gateway.retries_max, DEFAULT_RETRIES_MAX),
        }
    }

    pub fn of(&self, gauge: Gauge) -> usize {
        match gauge {
            Gauge::Connections => self.connections_max,
            Gauge::PendingRequests => self.pending_requests_max,
            Gauge::Requests => self.requests_max,
            Gauge::Retries => self.retries_max,
        }
    }
}
