//! Floor 6: the admin API and the probes, on actix-web, off the hot path.

mod dump;
mod host;
pub mod server;

pub use server::{start, start_probes};
