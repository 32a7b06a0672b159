//! What the gateway says about itself: metrics for Prometheus, and log lines.

pub mod metrics;
