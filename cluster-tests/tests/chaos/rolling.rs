//! Deploys and configuration changes of a whole cluster, one replica after the other, behind a balancer that honours
//! readiness: nobody notices.

use std::time::Duration;

use cluster_tests::config::{api_with, configuration};
use cluster_tests::gateway::Plan;
use cluster_tests::load::{Counted, Spread};
use cluster_tests::redis::Redis;
use cluster_tests::replicas::{Place, Replicas};
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

const REPLICAS: usize = 3;

/// One API with a shared limit that is far away, whose responses carry what `version` says.
fn resources(place: &Place, upstream: &str, redis: &Redis, version: &str) -> Vec<Value> {
    let policies = json!([
        {
            "policyRef": {"name": "rate-limiting-flex"},
            "config": {"rateLimits": [{"maximumRequests": 1_000_000, "timePeriodInMilliseconds": 10_000}]},
        },
        {
            "policyRef": {"name": "header-injection-flex"},
            "config": {"outboundHeaders": [{"key": "x-version", "value": version}]},
        },
    ]);
    let redis = redis.address().to_string();
    vec![
        configuration("shared", json!({"sharedStorage": {"redis": {"address": redis}}})),
        api_with("api", &place.url(), upstream, policies),
    ]
}

fn assert_nothing_failed(counted: &Counted) {
    assert_eq!(counted.failures, [], "{:?}", counted.told);
    assert!(counted.status(200) > 0, "nothing was asked");
    assert_eq!(counted.by_status().len(), 1, "{:?}", counted.by_status());
}

fn load(address: std::net::SocketAddr) -> Spread {
    let mut load = Spread::over(&[address], 50, "/");
    load.pause = Duration::from_millis(5);
    load
}

#[test]
fn a_rolling_restart_fails_no_request() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (Redis::standalone(), Upstream::echo("up"));
    let mut replicas = Replicas::start(REPLICAS, |place| {
        let plan = Plan::new().workers(1).argument("--set").argument("shutdown.drain=15s");
        plan.with("api.yaml", &resources(place, &upstream.url(), &redis, "1"))
    });
    let balancer = replicas.balanced();
    balancer.await_in_service(&[0, 1, 2]);
    let running = load(balancer.address()).start();
    for index in 0..REPLICAS {
        replicas[index].signal("TERM");
        let status = replicas[index].wait(Duration::from_secs(30));
        assert!(status.success(), "{status}");
        replicas.start_again(index);
        balancer.await_in_service(&[0, 1, 2]);
    }
    assert_nothing_failed(&running.stop());
}

#[test]
fn a_rolling_reload_fails_no_request() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (Redis::standalone(), Upstream::echo("up"));
    let replicas = Replicas::start(REPLICAS, |place| {
        Plan::new().workers(1).with("api.yaml", &resources(place, &upstream.url(), &redis, "0"))
    });
    let balancer = replicas.balanced();
    balancer.await_in_service(&[0, 1, 2]);
    let running = load(balancer.address()).start();
    for version in 1..=5 {
        for index in 0..REPLICAS {
            let changed = resources(replicas.place(index), &upstream.url(), &redis, &version.to_string());
            let reloaded = replicas[index].apply("api.yaml", &changed).json();
            assert_eq!(reloaded["errors"], json!(0), "{reloaded}");
        }
    }
    let counted = running.stop();
    assert_nothing_failed(&counted);
    for index in 0..REPLICAS {
        let response = cluster_tests::client::get(replicas.place(index).address(), "/");
        assert_eq!(response.head.get("x-version"), Some("5"));
    }
}
