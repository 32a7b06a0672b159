//! `Configuration` (configuration reference 3.4): settings of the whole gateway.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;

use super::{
    forward_proxy::{self, WrittenForwardProxy},
    logging::{Logging, WrittenLogging},
    shared_storage::{self, SharedStorage, WrittenStorage},
    sound, typed,
    unsupported::{Sampling, Unsupported},
};
use crate::{
    base::Digest,
    document::{Node, Problem, RawNode, Spanned},
    outbound::ForwardProxy,
    tls::Outbound,
};

/// A valid `spec`: each key on its own, so that resources can be merged key by key.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    pub settings: GatewaySettings,
    /// The keys that are written, in canonical spelling, with their places.
    pub keys: Vec<Spanned<&'static str>>,
}

/// The settings in force: `None` where no resource says anything. Variables and defaults come in
/// above (configuration reference 7.1: resource before variable before default).
#[derive(Clone, Debug, Default)]
pub struct GatewaySettings {
    pub logging: Option<Logging>,
    pub probe: Option<Probe>,
    pub timeouts: Option<Timeouts>,
    pub circuit_breaker: Option<Thresholds>,
    /// `connectionBufferLimits.global`, in bytes.
    pub buffer_limit_bytes: Option<u64>,
    /// `routing.rewriteHostHeader`.
    pub rewrite_host_header: Option<bool>,
    /// What calls out go through (11).
    pub forward_proxy: Option<Arc<ForwardProxy>>,
    /// `proxyProtocol.enabled` (11).
    pub proxy_protocol: Option<Spanned<bool>>,
    /// What replicas share, and where it lives (8.1).
    pub shared_storage: Option<SharedStorage>,
    /// `defaultTLS.outboundPolicyCalls` (6.4), which has no effect yet.
    pub default_tls: Option<Arc<Outbound>>,
    /// Of the merged keys, for comparing generations.
    pub digest: Option<Digest>,
}

/// The HTTP probe endpoint (10.1).
#[derive(Clone, Debug)]
pub struct Probe {
    pub enabled: bool,
    pub port: Option<Spanned<u16>>,
    /// Where readiness is served too.
    pub path: Option<String>,
}

/// Timeouts of all APIs (7.1).
#[derive(Clone, Debug, Default)]
pub struct Timeouts {
    pub stream_idle: Option<Duration>,
    pub upstream_response: Option<Duration>,
    pub upstream_connection_idle: Option<Duration>,
}

/// Circuit breaker limits of every upstream (7.2).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Thresholds {
    pub max_connections: Option<u32>,
    pub max_pending_requests: Option<u32>,
    pub max_requests: Option<u32>,
    pub max_retries: Option<u32>,
    pub max_connection_pools: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    logging: Option<Spanned<WrittenLogging>>,
    probe: Option<Spanned<WrittenProbe>>,
    timeouts: Option<Spanned<WrittenTimeouts>>,
    circuit_breaker: Option<Spanned<Breaker>>,
    connection_buffer_limits: Option<Spanned<BufferLimits>>,
    routing: Option<Spanned<Routing>>,
    resource_limits: Option<Spanned<super::unsupported::ResourceLimits>>,
    shared_storage: Option<Spanned<WrittenStorage>>,
    forward_proxy: Option<Spanned<WrittenForwardProxy>>,
    proxy_protocol: Option<WrittenProxyProtocol>,
    tracing: Option<Spanned<super::unsupported::Tracing>>,
    #[serde(rename = "defaultTLS")]
    default_tls: Option<Spanned<super::unsupported::DefaultTls>>,
    /// One page of the vendor indents it here instead of under `tracing` (12).
    sampling: Option<Spanned<Sampling>>,
    tls: Option<Spanned<RawNode>>,
    /// What registration writes (1), for each replica its own.
    platform_connection: Option<Spanned<RawNode>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenProbe {
    enabled: bool,
    port: Option<Spanned<u16>>,
    path: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenTimeouts {
    stream_idle_seconds: Option<Spanned<f64>>,
    upstream_response_seconds: Option<Spanned<f64>>,
    upstream_connection_idle_seconds: Option<Spanned<f64>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Breaker {
    thresholds: Thresholds,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BufferLimits {
    global: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Routing {
    rewrite_host_header: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenProxyProtocol {
    enabled: Option<Spanned<bool>>,
}

pub(super) fn read(spec: &Node, problems: &mut Vec<Problem>) -> Option<Configuration> {
    let written: Written = typed(spec, "spec", problems)?;
    let mut keys = Vec::new();
    let mut settings = GatewaySettings::default();
    let mut key = |name: &'static str| {
        if let Some((key, _)) = spec.entry_ignore_case(name) {
            keys.push(Spanned::new(name, key.place.clone(), format!("spec.{name}")));
        }
    };
    if let Some(logging) = written.logging {
        key("logging");
        settings.logging = Some(logging.value.read(problems));
    }
    if let Some(probe) = written.probe {
        key("probe");
        settings.probe = Some(read_probe(&probe, problems));
    }
    if let Some(timeouts) = written.timeouts {
        key("timeouts");
        settings.timeouts = Some(read_timeouts(&timeouts, problems));
    }
    if let Some(breaker) = written.circuit_breaker {
        key("circuitBreaker");
        settings.circuit_breaker = Some(breaker.value.thresholds);
    }
    if let Some(limits) = written.connection_buffer_limits {
        key("connectionBufferLimits");
        if let Some(zero) = limits.global.as_ref().filter(|limit| limit.value == 0) {
            problems.push(zero.error("a buffer limit must be at least 1 byte"));
        }
        settings.buffer_limit_bytes = limits.value.global.map(|limit| limit.value);
    }
    if let Some(routing) = written.routing {
        key("routing");
        settings.rewrite_host_header = routing.rewrite_host_header;
    }
    if let Some(written) = written.forward_proxy {
        key("forwardProxy");
        settings.forward_proxy = forward_proxy::read(&written, problems);
    }
    if let Some(proxy_protocol) = written.proxy_protocol {
        key("proxyProtocol");
        settings.proxy_protocol = proxy_protocol.enabled;
    }
    if let Some(written) = written.shared_storage {
        key("sharedStorage");
        settings.shared_storage = shared_storage::read(&written, problems);
    }
    settings.default_tls =
        written.default_tls.as_ref().and_then(|tls| tls.value.read(problems)).map(Arc::new);
    let unsupported: [(&'static str, Option<Spanned<bool>>); 4] = [
        ("resourceLimits", used(written.resource_limits, problems)),
        ("tracing", used(written.tracing, problems)),
        ("defaultTLS", used(written.default_tls, problems)),
        ("sampling", used(written.sampling, problems)),
    ];
    for (name, place) in unsupported {
        let Some(place) = place else { continue };
        key(name);
        if place.value {
            let at = spec.entry_ignore_case(name).map_or(&place.place, |(key, _)| &key.place);
            let message = format!("`{name}` is not supported yet; it has no effect");
            problems.push(Problem::warning(at, &*place.field, message));
        }
    }
    if let Some(tls) = written.tls {
        problems.push(
            tls.warning("`tls` has no meaning in a Configuration; it is ignored").help("bind a `tls` policy"),
        );
    }
    if let Some(platform) = written.platform_connection {
        problems.push(
            platform
                .warning("`platformConnection` is not supported yet; it has no effect")
                .help("it belongs to Connected Mode"),
        );
    }
    Some(Configuration { settings, keys })
}

/// Checks what does not exist yet; tells whether leaving it out makes a difference.
fn used<T: Unsupported>(written: Option<Spanned<T>>, problems: &mut Vec<Problem>) -> Option<Spanned<bool>> {
    let written = written?;
    written.value.check(problems);
    let effective = written.value.effective();
    Some(written.map(|_| effective))
}

fn read_probe(written: &Spanned<WrittenProbe>, problems: &mut Vec<Problem>) -> Probe {
    match &written.port {
        Some(port) if port.value == 0 => problems.push(port.error("0 is no port: expected 1 to 65535")),
        None if written.enabled && sound(problems) => problems
            .push(written.error("the port of the probe is missing").help("write for example `port: 3000`")),
        _ => {}
    }
    let path = written.path.as_ref().filter(|path| !path.is_empty());
    if let Some(path) = path.filter(|path| !path.starts_with('/')) {
        problems.push(path.error("the path of the probe must start with `/`"));
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@".contains(c));
    if let Some((path, found)) = path.and_then(|path| Some((path, path.chars().find(|&c| odd(c))?))) {
        problems.push(
            path.error(format!("`{}` cannot stand in the path of the probe", found.escape_debug()))
                .help("write letters, digits, `-`, `.`, `_` and `/`"),
        );
    }
    Probe { enabled: written.enabled, port: written.port.clone(), path: path.map(|path| path.value.clone()) }
}

fn read_timeouts(written: &WrittenTimeouts, problems: &mut Vec<Problem>) -> Timeouts {
    /// A year: longer is a slip, and arithmetic on it must not overflow.
    const SECONDS_MAX: f64 = 31_536_000.0;
    let mut seconds = |value: &Option<Spanned<f64>>| {
        let value = value.as_ref()?;
        if !(value.value > 0.0 && value.value <= SECONDS_MAX) {
            problems.push(
                value
                    .error(format!("{} seconds is no timeout", value.value))
                    .help("write a number of seconds above 0, at most a year (31536000)"),
            );
            return None;
        }
        Some(Duration::from_secs_f64(value.value))
    };
    Timeouts {
        stream_idle: seconds(&written.stream_idle_seconds),
        upstream_response: seconds(&written.upstream_response_seconds),
        upstream_connection_idle: seconds(&written.upstream_connection_idle_seconds),
    }
}
