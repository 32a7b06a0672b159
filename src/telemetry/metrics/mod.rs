//! Counters of the hot path without locks and without hashing, summed when they are scraped.
//!
//! The control path asks the [`Registry`] once for the `Arc` of an API, an upstream or a policy, and
//! hands it to the compiled snapshot. Each has one slot per worker, made on first use, which only
//! that worker writes: adding is a load and a store, no locked instruction, no shared cache line.
//!
//! A label lives as long as somebody holds its `Arc`. When the last snapshot that names an API is
//! gone its series vanish from the page, totals included; should the API come back, it starts at
//! zero, which `rate()` takes for the restart that it is.

mod api;
mod cells;
mod exposition;
mod gateway;
mod policy;
mod process;
mod reasons;
mod registry;
mod tunnels;
mod upstream;

#[cfg(test)]
mod tests;

pub use api::{ApiMetrics, Method, RequestRecord};
pub use cells::enter_worker;
pub use exposition::{Exposition, Kind};
pub use gateway::{CertificateUse, ConnectionRefusal, GatewayMetrics};
pub use policy::{CacheLookup, PolicyLabel, PolicyMetrics};
pub use registry::{Registry, SERIES_MAX};
pub use tunnels::{OpenTunnel, Tunnelled, Tunnels};
pub use upstream::{ConnectFailure, UpstreamMetrics};
