//! Upstreams as the data plane sees them.

use std::{fmt::Display, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;

use super::{Endpoint, UpstreamGauges};
use crate::{
    base::{ResourceName, Trouble},
    outbound::{ForwardProxy, proxy::host_and_port},
    policy::{Chain, CircuitLimits},
    resources::{ServiceAddress, ServiceScheme},
    telemetry::metrics::{ConnectFailure, UpstreamMetrics},
    tls::{Failure, OutboundContext},
};

/// One upstream.
pub struct UpstreamPlan {
    pub name: ResourceName,
    pub address: ServiceAddress,
    /// Where its connections lead.
    pub endpoint: Arc<Endpoint>,
    /// What its TLS comes from, if it is not the default.
    pub tls_binding: Option<ResourceName>,
    /// `Host` towards it: the host without port (configuration reference 4.7).
    pub authority: Box<str>,
    /// Outbound policies.
    pub chain: Chain,
    pub idle_timeout: Duration,
    pub limits: UpstreamLimits,
    pub gauges: Arc<UpstreamGauges>,
    pub metrics: Arc<UpstreamMetrics>,
    /// Why requests to it answer 503, if they do.
    pub blocked: Option<String>,
}

impl UpstreamPlan {
    /// A connection to it, by a direct way, failed before TLS, or did not.
    pub fn reached(&self, error: Option<&dyn Display>) {
        let (name, endpoint) = (&self.name, &self.endpoint);
        match error {
            Some(error) => endpoint.trouble.note(&format_args!(
                "no connection to upstream {name} ({}:{}): {error}",
                endpoint.host, endpoint.port
            )),
            None => endpoint.trouble.over(&format_args!("upstream {name} can be reached again")),
        }
    }

    /// A handshake with it failed.
    pub fn tls_failed(&self, failure: &Failure) {
        self.metrics.tls_failed(failure.reason.label_of_upstream());
        if let Some(tls) = &self.endpoint.tls {
            tls.failed(&self.name, failure);
        }
    }

    /// The same, of a connection that was taken to be open.
    pub fn refused_by_tls(&self, failure: &Failure) {
        self.metrics.connect_failed(ConnectFailure::Tls);
        self.tls_failed(failure);
    }

    /// It has answered.
    pub fn answered(&self) {
        if let Some(tls) = &self.endpoint.tls {
            tls.works(&self.name);
        }
    }
}

/// TLS towards an upstream.
#[derive(Debug)]
pub struct UpstreamTls {
    pub context: Arc<OutboundContext>,
    /// The same, for requests that HTTP/1.1 alone can carry; `None` where nothing else is offered, or not it.
    pub http1: Option<Arc<OutboundContext>>,
    /// The name that is sent (SNI, not for addresses) and checked.
    pub name: ServerName<'static>,
    trouble: Trouble,
}

impl UpstreamTls {
    pub fn new(
        context: Arc<OutboundContext>,
        http1: Option<Arc<OutboundContext>>,
        name: ServerName<'static>,
    ) -> Self {
        Self { context, http1, name, trouble: Trouble::default() }
    }

    /// What makes a connection that speaks HTTP/1.1, or whatever both choose.
    pub fn context_for(&self, http1: bool) -> &OutboundContext {
        self.http1.as_ref().filter(|_| http1).unwrap_or(&self.context)
    }

    fn failed(&self, upstream: &ResourceName, failure: &Failure) {
        let code = failure.reason.of_upstream();
        self.trouble.note(&format_args!("no TLS with upstream {upstream}: {code}: {failure}"));
    }

    fn works(&self, upstream: &ResourceName) {
        self.trouble.over(&format_args!("TLS with upstream {upstream} works again"));
    }

    /// Whether connections with the one may be used for the other.
    pub fn is_like(&self, other: &Self) -> bool {
        self.context.described.digest == other.context.described.digest && self.name == other.name
    }
}

/// The way to an upstream through the forward proxy (configuration reference 11).
#[derive(Debug)]
pub struct UpstreamProxy {
    pub proxy: Arc<ForwardProxy>,
    /// The upstream, as the proxy is told: port 80 is left out of an absolute target.
    pub authority: Box<str>,
    /// By CONNECT; otherwise requests have absolute targets (RFC 9112 section 3.2.2).
    pub tunnel: bool,
    trouble: Trouble,
}

impl UpstreamProxy {
    pub fn new(proxy: &Arc<ForwardProxy>, address: &ServiceAddress, tls: bool) -> Self {
        let tunnel = tls || address.scheme == ServiceScheme::H2;
        let authority = host_and_port(&address.host, address.port);
        let authority = match authority.strip_suffix(":80") {
            Some(host) if !tunnel => host.into(),
            _ => authority.into(),
        };
        Self { proxy: Arc::clone(proxy), authority, tunnel, trouble: Trouble::default() }
    }

    /// Whether connections by the one way may be used for the other.
    pub fn is_like(&self, other: &Self) -> bool {
        self.proxy == other.proxy && self.authority == other.authority && self.tunnel == other.tunnel
    }

    /// The proxy gave no connection.
    pub fn failed(&self, upstream: &ResourceName, why: &dyn Display) {
        let proxy = &self.proxy;
        self.trouble.note(&format_args!("forward proxy {proxy} gives no connection to {upstream}: {why}"));
    }

    pub fn works(&self, upstream: &ResourceName) {
        let proxy = &self.proxy;
        self.trouble.over(&format_args!("forward proxy {proxy} gives connections to {upstream} again"));
    }
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
}
