//! Limits.

mod buckets;
mod lease;
mod ledger;
mod model;
