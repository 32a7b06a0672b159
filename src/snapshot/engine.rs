//! Settings of the engine for one snapshot: the process's settings, overridden by `Configuration`
//! resources (policies reference 6: policy, then resource, then variable, then default).

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::{
    outbound::ForwardProxy,
    policy::CircuitLimits,
    resources::kinds::GatewaySettings,
    settings::{ClientCertDetails, Settings},
};

/// What the data plane reads on each connection and request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    pub client_idle: Duration,
    pub head_timeout: Duration,
    /// For the whole TLS handshake with a client.
    pub tls_handshake_timeout: Duration,
    /// In each worker.
    pub tls_handshakes_max: usize,
    pub stream_idle: Duration,
    pub response_timeout: Duration,
    pub upstream_idle: Duration,
    pub connect_timeout: Duration,
    pub head_bytes_max: usize,
    pub head_fields_max: usize,
    pub request_body_bytes_max: Option<u64>,
    pub buffered_body_bytes_max: usize,
    pub connections_max: usize,
    /// In each worker.
    pub requests_max: usize,
    pub merge_slashes: bool,
    /// A request for exactly the base path without its final slash is served as if it had one.
    pub base_path_canonicalizer: bool,
    pub rewrite_host: bool,
    /// What becomes of `x-forwarded-client-cert` (4.7).
    pub client_cert: ClientCertDetails,
    /// `x-envoy-*` fields pass, and the gateway adds its own (4.7); else they are removed.
    pub envoy_headers: bool,
    /// Value of `server` on responses; `None` leaves it out, that of the upstream too.
    pub server: Option<String>,
    pub trusted_proxies: Vec<IpNet>,
    /// Connections begin with a PROXY header (configuration reference 11).
    pub proxy_protocol: bool,
    /// Peers that may connect then; empty: all.
    pub proxy_protocol_sources: Vec<IpNet>,
    /// What connections to upstreams go through (configuration reference 11).
    pub forward_proxy: Option<Arc<ForwardProxy>>,
    pub access_log: bool,
    pub circuit: CircuitLimits,
}

impl EngineSettings {
    pub fn of(settings: &Settings, resources: &GatewaySettings) -> Self {
        let timeouts = resources.timeouts.clone().unwrap_or_default();
        let circuit = resources.circuit_breaker.clone().unwrap_or_default();
        Self {
            client_idle: settings.timeouts.client_idle,
            head_timeout: settings.timeouts.head,
            tls_handshake_timeout: settings.timeouts.tls_handshake,
            tls_handshakes_max: settings.limits.tls_handshakes,
            stream_idle: timeouts.stream_idle.unwrap_or(settings.timeouts.stream_idle),
            response_timeout: timeouts.upstream_response.unwrap_or(settings.timeouts.upstream_response),
            upstream_idle: timeouts.upstream_connection_idle.unwrap_or(settings.timeouts.upstream_idle),
            connect_timeout: settings.timeouts.connect,
            head_bytes_max: settings.limits.head_bytes,
            head_fields_max: settings.limits.head_fields,
            request_body_bytes_max: settings.limits.request_body,
            buffered_body_bytes_max: resources
                .buffer_limit_bytes
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(settings.limits.buffered_body),
            connections_max: settings.limits.connections,
            requests_max: settings.limits.requests,
            merge_slashes: settings.paths.merge_slashes,
            base_path_canonicalizer: settings.paths.base_path_canonicalizer,
            rewrite_host: resources.rewrite_host_header.unwrap_or(settings.headers.rewrite_host),
            client_cert: settings.headers.forward_client_cert_details,
            envoy_headers: settings.headers.envoy,
            server: (!settings.headers.remove_server).then(|| settings.headers.server.clone()),
            trusted_proxies: settings.trusted_proxies.clone(),
            proxy_protocol: resources.proxy_protocol.as_ref().is_some_and(|enabled| enabled.value),
            proxy_protocol_sources: settings.proxy_protocol.trusted_sources.clone(),
            forward_proxy: resources.forward_proxy.clone(),
            access_log: settings.access_log,
            circuit: CircuitLimits {
                connections_max: circuit.max_connections,
                pending_requests_max: circuit.max_pending_requests,
                requests_max: circuit.max_requests,
                retries_max: circuit.max_retries,
            },
        }
    }

    /// Whether a hop may say whom it forwards for (decision 2).
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&address))
    }

    /// Whether a peer's PROXY header is believed (decision 21).
    pub fn may_send_proxy_header(&self, peer: IpAddr) -> bool {
        self.proxy_protocol_sources.is_empty()
            || self.proxy_protocol_sources.iter().any(|net| net.contains(&peer))
    }
}
