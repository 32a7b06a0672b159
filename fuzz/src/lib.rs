//! What must hold for any bytes, one module for each fuzz target. None of it is only "no panic".
//!
//! `tests/framing.rs` of the gateway includes this file: the seeds of the fuzzers, and damaged ones, go
//! through the same functions in every test run, on a stable compiler and without cargo-fuzz.

pub mod cache_entry;
pub mod chunked;
pub mod client_hello;
pub mod config_record;
pub mod expressions;
pub mod http2_frames;
pub mod pem;
pub mod proxy_header;
pub mod records;
pub mod request_head;
pub mod response_head;
pub mod server_name;
pub mod translation;
pub mod yaml_resources;

#[path = "../../src/data_plane/http1/tests/oracle.rs"]
mod oracle;

/// Where to cut an input in two: everywhere when it is short, else at some places that its bytes choose.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let length = bytes.len();
    let step = (length / 256).max(1);
    let first = bytes.iter().fold(0, |sum: usize, &byte| sum.wrapping_mul(31) + usize::from(byte)) % step;
    (first..length).step_by(step)
}
