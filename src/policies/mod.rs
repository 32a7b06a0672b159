//! Floor 3: the policies, one folder each, the same five files. [`catalog`] is the one list.

mod addresses;
pub mod basic_authentication;
pub mod catalog;
pub mod circuit_breaker;
pub mod cors;
pub mod header_injection;
pub mod header_removal;
pub mod http_caching;
pub mod idle_timeout;
pub mod ip_allowlist;
pub mod ip_blocklist;
pub mod message_logging;
pub mod names;
pub mod rate_limiting;
pub mod response_timeout;
pub mod route;
pub mod route_weighted;
pub mod spike_control;
pub mod stream_idle_timeout;
pub mod tls;
pub mod tls_outbound;

#[cfg(test)]
mod readme;
#[cfg(test)]
mod tests;
