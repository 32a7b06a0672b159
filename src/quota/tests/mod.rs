//! Limits.

mod buckets;
mod model;
