//! What a cluster of real processes promises while things break.

mod limits;
mod rolling;
