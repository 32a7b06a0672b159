//! Floor 4: what the data plane serves from, compiled and immutable.
//!
//! Resources become a [`Snapshot`]; each request pins one and reads nothing else. What has not
//! changed is carried into the next snapshot as the same object, so pools, windows and counters
//! survive a reload.

pub mod cell;
pub mod compile;
pub mod endpoint;
pub mod engine;
pub mod gauges;
pub mod line;
pub mod plan;
pub mod reconcile;
pub mod router;
pub mod tls;
pub mod upstream;

pub use cell::{SnapshotPublisher, SnapshotReader, snapshot_cell};
pub use compile::{Compiled, Compiler};
pub use endpoint::{Endpoint, EndpointId, Speaks};
pub use engine::EngineSettings;
pub use gauges::{Gauge, Ticket, UpstreamGauges};
pub use line::{ConnectionLine, Permit};
pub use plan::{DestinationPlan, InstancePlan, RoutePlan, Snapshot};
pub use reconcile::{Generation, Look, Reconciliation};
pub use router::Router;
pub use upstream::UpstreamPlan;

#[cfg(test)]
mod tests;
