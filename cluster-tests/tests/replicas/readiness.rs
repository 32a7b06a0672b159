//! A replica is ready when it shares what it is to share (decision 22; `docs/operations.md`).

use std::time::Duration;

use cluster_tests::client::get;
use cluster_tests::config::{api_with, configuration};
use cluster_tests::fault_proxy::FaultProxy;
use cluster_tests::gateway::Plan;
use cluster_tests::ports;
use cluster_tests::redis::Redis;
use cluster_tests::upstream::Upstream;
use serde_json::json;

/// A gateway with a shared limit that refuses what it cannot count, and its first answer once it is ready.
fn first_answer(redis: &FaultProxy) -> u16 {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let limit = json!({
        "rateLimits": [{"maximumRequests": 10, "timePeriodInMilliseconds": 60_000}],
        "blockOnUnknownQuota": true,
    });
    let limit = json!([{"policyRef": {"name": "rate-limiting-flex"}, "config": limit}]);
    let storage = json!({"sharedStorage": {"redis": {"address": redis.address().to_string()}}});
    let api = api_with("api", &format!("http://127.0.0.1:{port}"), &upstream.url(), limit);
    let gateway = Plan::new().with("api.yaml", &[configuration("shared", storage), api]).start();
    assert!(gateway.ready());
    get(([127, 0, 0, 1], port).into(), "/").status
}

#[test]
fn a_replica_that_is_ready_is_connected_to_redis_and_refuses_nothing_for_want_of_it() {
    let _turn = cluster_tests::alone();
    let redis = Redis::standalone();
    let far = FaultProxy::start(redis.address());
    far.delay(Duration::from_millis(5));
    assert_eq!(first_answer(&far), 200);
}

#[test]
fn a_replica_whose_redis_is_away_is_ready_all_the_same_after_a_while() {
    let redis = Redis::standalone();
    let gone = FaultProxy::start(redis.address());
    gone.black_hole();
    assert_eq!(first_answer(&gone), 429);
}
