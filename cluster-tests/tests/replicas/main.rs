//! Several gateways that are replicas of one, with a real Redis between them.

mod caching;
mod limits;
mod readiness;
mod sharing;
