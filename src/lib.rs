//! Portcullis: a self-managed API gateway. This file is the map; `docs/architecture.md` the tour.
//!
//! Floors, each using only lower ones (`tidy.rs` checks it):
//! 7 `cli` · 6 `actors`, `admin` · 5 `data_plane`, `cluster` · 4 `snapshot` · 3 `policies`, `resources` ·
//! 2 `policy`, `expression`, `quota` · 1 `http`, `document`, `outbound`, `telemetry`, `settings`, `storage`, `tls` · 0 `base`

// They panic where nobody reads or the disk is full: `print` and `report!` of `cli` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod actors;
pub mod admin;
pub mod base;
pub mod cli;
pub mod cluster;
pub mod data_plane;
pub mod document;
pub mod expression;
pub mod http;
pub mod outbound;
pub mod policies;
pub mod policy;
pub mod quota;
pub mod resources;
pub mod settings;
pub mod snapshot;
pub mod storage;
pub mod telemetry;
pub mod tls;

#[cfg(test)]
mod tidy;
