//! Floor 5, the hot path: connections, requests, upstreams. Everything here runs on a worker thread
//! and shares nothing with other workers but [`worker::Shared`]: the snapshot with its gauges, the resolver, the
//! metrics, and the recalls of connections that others wait for.

pub mod acceptor;
pub mod client_side;
pub mod connect;
pub mod envoy;
pub mod forward;
pub mod handshake;
pub mod http1;
pub mod http2;
mod panic;
pub mod pool;
pub mod proxy_protocol;
pub mod refusal;
pub mod replay;
pub mod resolver;
pub mod serve;
pub mod servers;
pub mod serving;
pub mod timers;
pub mod worker;

pub use worker::{Worker, Workers};

#[cfg(test)]
mod tests;
