//! Several gateways that are replicas of one, with a real Redis between them.

mod caching;
mod limits;
mod readiness;
mod sharing;

use cluster_tests::{eventually, replicas::Replicas};

/// Returns when all of them reach Redis.
fn connected(replicas: &Replicas) {
    for index in 0..replicas.len() {
        eventually("the shared storage", || {
            let status = replicas[index].admin("GET", "/status").json();
            (status["sharedStorage"]["connected"] == true).then_some(())
        });
    }
}
