//! What the gateway says about itself: metrics for Prometheus, and log lines.

pub mod log;
pub mod metrics;

pub use log::{AccessLine, Level, Log, LogPlan, OutputPlan, RequestLine, log_enabled};
