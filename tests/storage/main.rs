//! The shared storage: one contract on every backend, what breaks, and what somebody else may have written.
//!
//! The servers are those of the harness of the black-box tests; `redis-server` and `redis-sentinel` must be installed.

mod backends;
mod contract;
mod faults;
mod forged;
mod hostile;
mod leases;
mod sentinels;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::LazyLock,
    time::{Duration, Instant},
};

use cluster_tests::{PATIENCE, redis::Certificates};
use jiff::Timestamp;
use portcullis::{
    base::Secret,
    storage::{
        self, Key, Outcome, Storage,
        quota::{Answer, Call},
        redis::plan::{Address, Credentials, Plan},
    },
    tls::{Findings, Outbound, RedisParameters},
};
use tokio::runtime::Handle;

/// Where all connections live: not on the thread of a test, as calls come from other threads than that.
static THREAD: LazyLock<Handle> = LazyLock::new(|| storage::start_thread().expect("a thread"));

/// The gateway of the tests, by whose id its keys begin.
const GATEWAY: &str = "shop";

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test)
}

/// Asks until `fact` gives a value.
async fn eventually<T>(what: &str, mut fact: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = fact().await {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "not seen within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The answers, in the order of the calls, each of which has one.
async fn leased(storage: &Storage, calls: &[(Key, Call)]) -> Vec<Outcome<Answer>> {
    let mut answers = BTreeMap::new();
    storage
        .lease(calls, |index, answer| assert!(answers.insert(index, answer).is_none(), "a second answer"))
        .await;
    assert!(answers.keys().copied().eq(0..calls.len()), "{answers:?}");
    answers.into_values().collect()
}

fn address(of: SocketAddr) -> Address {
    Address::new(of.ip().to_string(), of.port())
}

fn addresses(of: &[SocketAddr]) -> Vec<Address> {
    of.iter().copied().map(address).collect()
}

fn credentials(username: &str, password: &str) -> Credentials {
    Credentials { username: Some(username.to_owned()), password: Some(Secret::new(password.to_owned())) }
}

/// A storage on this plan, once all its nodes are connected, with patience for a busy machine.
async fn attached(plan: &Plan) -> Storage {
    attached_as_is(&Plan { deadline: PATIENCE, ..plan.clone() }).await
}

/// As [`attached`], with the deadline of the plan.
async fn attached_as_is(plan: &Plan) -> Storage {
    let storage = Storage::in_memory();
    storage.attach(Some(plan), &THREAD).expect("a plan that can be made");
    connected(&storage).await;
    storage
}

async fn connected(storage: &Storage) {
    let started = Instant::now();
    while !storage.status().connected {
        assert!(started.elapsed() < PATIENCE, "not connected: {:?}", storage.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// TLS that trusts these certificates; with `client`, and presents one. `more` are further parameters.
fn tls(certificates: &Certificates, client: bool, more: serde_json::Value) -> Outbound {
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("a file of the harness");
    let mut written = serde_json::json!({ "trustedCA": read(&certificates.authority.certificate()) });
    if client {
        let (crt, key) = &certificates.client;
        written["certificate"] = serde_json::json!({ "crt": read(crt), "key": read(key) });
    }
    let fields = written.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    let parameters: RedisParameters = serde_json::from_value(written).expect("parameters");
    let mut findings = Findings::default();
    let context = parameters.read(Timestamp::now(), &mut findings);
    context.unwrap_or_else(|| panic!("{:?}", findings.errors))
}
