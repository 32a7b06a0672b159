//! A shared limit goes on as the same limit whatever a replica has been through (`docs/cluster-limits.md`).

use std::time::Duration;

use cluster_tests::client::get;
use cluster_tests::config::{api_with, configuration};
use cluster_tests::gateway::Plan;
use cluster_tests::redis::Redis;
use cluster_tests::replicas::{Crew, Place, Replicas};
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

fn limit(requests: u64) -> Value {
    let config = json!({
        "rateLimits": [{"maximumRequests": requests, "timePeriodInMilliseconds": 600_000}],
        "blockOnUnknownQuota": true,
    });
    json!({"policyRef": {"name": "rate-limiting-flex"}, "config": config})
}

fn header() -> Value {
    json!({"policyRef": {"name": "header-injection-flex"}, "config": {"inboundHeaders": [{"key": "a", "value": "b"}]}})
}

fn api(place: &Place, upstream: &Upstream, policies: &[Value]) -> Value {
    api_with("api", &place.url(), &upstream.url(), json!(policies))
}

/// The first goes over to these policies, the second starts with them.
fn change(replicas: &mut Replicas, upstream: &Upstream, policies: &[Value]) {
    let resource = |index: usize| api(replicas.place(index), upstream, policies);
    let (first, second) = (resource(0), resource(1));
    assert_eq!(replicas[0].apply("api.yaml", &[first]).status, 200);
    // It gives back what it holds, as one that is killed does not.
    replicas[1].signal("TERM");
    replicas[1].wait(Duration::from_secs(30));
    replicas[1].put("api.yaml", &[second]);
    replicas.start_again(1);
}

/// How many of `count` requests to each, in turn, are let through.
fn admitted(replicas: &Replicas, count: usize) -> usize {
    let turns = (0..count).flat_map(|_| replicas.addresses());
    turns.filter(|address| get(*address, "/").status == 200).count()
}

#[test]
fn an_inline_limit_that_moves_in_its_list_is_one_limit_for_who_reloads_and_who_starts_anew() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (Redis::standalone(), Upstream::echo("up"));
    let mut replicas = Crew::of(2).through(redis.address()).start(|place| {
        let storage =
            configuration("shared", json!({"sharedStorage": {"redis": {"address": place.redis()}}}));
        let plan = Plan::new().workers(1).argument("--set").argument("shutdown.drain=100ms");
        let plan = plan.with("redis.yaml", &[storage]);
        plan.with("api.yaml", &[api(place, &upstream, &[limit(10)])])
    });
    assert_eq!(admitted(&replicas, 2), 4);
    // Behind another policy it goes on where it was.
    change(&mut replicas, &upstream, &[header(), limit(10)]);
    assert_eq!(admitted(&replicas, 10), 6);
    // Behind another limit it is the second of them, for both.
    change(&mut replicas, &upstream, &[limit(1000), header(), limit(10)]);
    assert_eq!(admitted(&replicas, 10), 10);
}
