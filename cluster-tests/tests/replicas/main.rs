//! Several gateways that are replicas of one, with a real Redis between them.

mod caching;
mod limits;
mod readiness;
mod sharing;

use std::sync::{Mutex, MutexGuard};

/// A turn for tests that keep the machine busy, and for those whose answers must come in time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    cluster_tests::lock(&TURN)
}
