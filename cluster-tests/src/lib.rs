//! Harness of the black-box tests: it starts the real binary, plays both its clients and its upstreams byte by byte, and
//! reads what comes back with a parser of its own that is slow, strict and shares no code with the gateway.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`ports`] | ports that stay reserved until they are used |
//! | [`wire`] | a buffered socket and the strict HTTP/1.1 parser (the oracle) |
//! | [`client`] | writes exact bytes, reads parsed responses |
//! | [`upstream`] | a scriptable server that records what it was sent |
//! | [`binary`] | where the gateway's binary is |
//! | [`gateway`] | one running gateway: files, start, reload, signals, stop |
//! | [`config`] | resources as values, written as YAML documents |
//! | [`tls`] | a certificate authority, TLS clients and fronts that are not ours |
//! | [`openssl`] | clients and servers of `openssl` that tell what was negotiated |
//! | [`daemon`] | programs of others: HAProxy, tinyproxy |
//! | [`process`] | a program that is killed, paused and started again |
//! | [`replicas`] | several gateways of one id, that are killed and started again |
//! | [`balancer`] | HAProxy before them, which honours readiness |
//! | [`clock`] | the wall clock that a gateway believes in |
//! | [`fault_proxy`] | delay, loss, partition, black hole, reset between two addresses |
//! | [`redis`] | `redis-server`: one alone, sentinels, a cluster |
//! | [`python`] | a Python that has the packages of `requirements.txt` |
//! | [`http2`], [`hpack`] | a client of HTTP/2 that writes and reads frames by hand |
//! | [`http2_server`] | an upstream of HTTP/2 that breaks what a test tells it to break |
//! | [`load`] | many clients that count failures and misroutes |

pub mod balancer;
pub mod binary;
pub mod client;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod fault_proxy;
pub mod gateway;
pub mod hpack;
pub mod http2;
pub mod http2_server;
pub mod load;
pub mod openssl;
pub mod ports;
pub mod process;
pub mod python;
pub mod redis;
pub mod replicas;
pub mod tls;
pub mod upstream;
pub mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a test waits for a fact before it fails: far above what any fact needs, so that a busy machine fails nothing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until `fact` gives a value, at most [`PATIENCE`].
///
/// # Panics
/// Says `what` was awaited when the time is up.
pub fn eventually<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "not seen within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The content of a lock, also when a thread panicked that held it: the test fails by that panic.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A turn for tests that keep the machine busy, and for those whose answers must come in time: one at a time of this process.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    lock(&TURN)
}

/// A seeded source of randomness whose seed is printed, so that a failure can be repeated with `PORTCULLIS_TEST_SEED`.
///
/// # Panics
/// When the variable is set and is not a number.
pub fn seeded(test: &str) -> fastrand::Rng {
    let seed = match std::env::var("PORTCULLIS_TEST_SEED") {
        Ok(text) => text.parse().expect("PORTCULLIS_TEST_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("{test}: PORTCULLIS_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
