//! The one list of policies. Help, schemas, documentation and the compiler read it.

use super::{
    basic_authentication::BasicAuthentication, circuit_breaker::CircuitBreaker, cors::Cors,
    header_injection::HeaderInjection, header_removal::HeaderRemoval, http_caching::HttpCaching,
    idle_timeout::IdleTimeout, ip_allowlist::IpAllowlist, ip_blocklist::IpBlocklist,
    message_logging::MessageLogging, rate_limiting::RateLimiting, response_timeout::ResponseTimeout,
    route::Route, route_weighted::RouteWeighted, spike_control::SpikeControl,
    stream_idle_timeout::StreamIdleTimeout, tls::Tls, tls_outbound::TlsOutbound,
};
use crate::policy::PolicyEntry;

/// Every policy, by name.
pub const CATALOG: &[PolicyEntry] = &[
    PolicyEntry::of::<CircuitBreaker>(),
    PolicyEntry::of::<Cors>(),
    PolicyEntry::of::<HeaderInjection>(),
    PolicyEntry::of::<HeaderRemoval>(),
    PolicyEntry::of::<BasicAuthentication>(),
    PolicyEntry::of::<HttpCaching>(),
    PolicyEntry::of::<IdleTimeout>(),
    PolicyEntry::of::<IpAllowlist>(),
    PolicyEntry::of::<IpBlocklist>(),
    PolicyEntry::of::<MessageLogging>(),
    PolicyEntry::of::<RateLimiting>(),
    PolicyEntry::of::<ResponseTimeout>(),
    PolicyEntry::of::<Route>(),
    PolicyEntry::of::<RouteWeighted>(),
    PolicyEntry::of::<SpikeControl>(),
    PolicyEntry::of::<StreamIdleTimeout>(),
    PolicyEntry::of::<Tls>(),
    PolicyEntry::of::<TlsOutbound>(),
];

/// The lines of a README between which the table of parameters stands.
pub const README_TABLE: [&str; 2] = ["<!-- parameters: begin -->", "<!-- parameters: end -->"];

/// The policy with exactly this name.
pub fn find(name: &str) -> Option<&'static PolicyEntry> {
    CATALOG.iter().find(|entry| entry.name == name)
}
