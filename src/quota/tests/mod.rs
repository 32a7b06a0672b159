//! Limits.

mod buckets;
mod ledger;
mod model;
