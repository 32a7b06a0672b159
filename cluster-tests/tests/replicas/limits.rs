//! A shared limit goes on as the same limit whatever a replica has been through (`docs/cluster-limits.md`).

use std::time::Duration;

use cluster_tests::client::{call, get};
use cluster_tests::config::{api_with, configuration};
use cluster_tests::gateway::Plan;
use cluster_tests::ports;
use cluster_tests::redis::{Redis, RedisCluster};
use cluster_tests::replicas::{Crew, Place, Replicas};
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

use super::connected;

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

/// Replicas with one policy, on this `sharedStorage`.
fn crew(crew: Crew, upstream: &Upstream, config: &Value, storage: impl Fn(&Place) -> Value) -> Replicas {
    let policy = json!({"policyRef": {"name": "rate-limiting-flex"}, "config": config});
    crew.start(|place| {
        let storage = configuration("shared", json!({"sharedStorage": {"redis": storage(place)}}));
        let expected = Plan::new().argument("--set").argument("cluster.expected_replicas=2");
        expected.workers(1).with("api.yaml", &[storage, api(place, upstream, std::slice::from_ref(&policy))])
    })
}

/// A limit for each `x-key`.
fn keyed(requests: u64, block: Option<bool>) -> Value {
    let mut config = json!({
        "rateLimits": [{"maximumRequests": requests, "timePeriodInMilliseconds": 600_000}],
        "keySelector": "#[attributes.headers['x-key']]",
    });
    if let Some(block) = block {
        config["blockOnUnknownQuota"] = json!(block);
    }
    config
}

/// How many of `count` requests with a key, to each replica in turn, are let through.
fn admitted_with(replicas: &Replicas, key: &str, count: usize) -> usize {
    let turns = (0..count).flat_map(|_| replicas.addresses());
    let header = format!("x-key: {key}\r\n");
    turns.filter(|address| call(*address, "GET", "/", &header, "").status == 200).count()
}

#[test]
fn limits_whose_node_of_a_cluster_answers_hold_while_another_does_not() {
    let _turn = cluster_tests::alone();
    let (mut redis, upstream) = (RedisCluster::start(), Upstream::echo("up"));
    let addresses: Vec<String> = redis.addresses().iter().map(ToString::to_string).collect();
    let replicas =
        crew(Crew::of(2), &upstream, &keyed(5, Some(true)), |_| json!({"cluster": {"addresses": addresses}}));
    connected(&replicas);
    redis.node(1).pause();
    let admitted: Vec<usize> = (0..60).map(|key| admitted_with(&replicas, &key.to_string(), 5)).collect();
    redis.node(1).resume();
    let of = |count: usize| admitted.iter().filter(|admitted| **admitted == count).count();
    // A third of the keys are on the node that does not answer.
    assert!(of(5) >= 30 && of(0) >= 8 && of(5) + of(0) == 60, "{admitted:?}");
}

#[test]
fn a_connection_that_is_cut_while_redis_answers_costs_nobody_a_token() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (Redis::standalone(), Upstream::echo("up"));
    let replicas = crew(
        Crew::of(1).through(redis.address()),
        &upstream,
        &keyed(1, Some(true)),
        |place| json!({"address": place.redis()}),
    );
    connected(&replicas);
    for cut in 0..3 {
        // One that lived for less is not tried for again at once.
        std::thread::sleep(Duration::from_millis(1100));
        replicas.proxy(0).reset_connections();
        // Each a key of its own, and a call.
        for request in 0..10 {
            assert_eq!(admitted_with(&replicas, &format!("{cut} {request}"), 1), 1, "after cut {cut}");
        }
    }
}

/// Decision 35, and before any replica was seen `cluster.expected_replicas` counts.
#[test]
fn without_redis_from_the_start_the_fallback_is_what_is_written_or_a_share() {
    let upstream = Upstream::echo("up");
    for (block, admitted) in [(Some(true), 0), (Some(false), 20), (None, 6)] {
        let nowhere = format!("127.0.0.1:{}", ports::free());
        let replicas = crew(Crew::of(1), &upstream, &keyed(11, block), |_| json!({"address": nowhere}));
        assert_eq!(admitted_with(&replicas, "k", 20), admitted, "{block:?}");
    }
}

/// `min-replicas-to-write`: reads are answered all the same.
#[test]
fn a_redis_that_takes_no_writes_is_away_until_it_takes_them() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (Redis::standalone(), Upstream::echo("up"));
    let replicas =
        crew(Crew::of(1), &upstream, &keyed(10, Some(true)), |_| json!({"address": redis.address()}));
    connected(&replicas);
    assert_eq!(admitted_with(&replicas, "k", 3), 3);
    assert_eq!(redis.cli(&["config", "set", "min-replicas-to-write", "1"]), "OK");
    // Each is another key, and a call: as many as it takes until nobody asks any more.
    let refused = (0..20).filter(|key| admitted_with(&replicas, &format!("first {key}"), 1) == 0).count();
    assert_eq!(refused, 20);
    let said = |what: &str| replicas[0].log().matches(what).count();
    cluster_tests::eventually("it is away", || (said("is away") == 1).then_some(()));
    // It is tried twice a second.
    std::thread::sleep(Duration::from_millis(1600));
    assert_eq!(admitted_with(&replicas, "second", 1), 0);
    assert_eq!((said("is away"), said("answers again")), (1, 0));
    assert_eq!(redis.cli(&["config", "set", "min-replicas-to-write", "0"]), "OK");
    cluster_tests::eventually("it takes writes", || (said("answers again") == 1).then_some(()));
    assert_eq!(admitted_with(&replicas, "third", 11), 10);
}

#[test]
fn a_reload_while_redis_is_away_does_not_admit_the_share_again() {
    let (redis, upstream) = (Redis::standalone(), Upstream::echo("up"));
    let replicas = crew(
        Crew::of(1).through(redis.address()),
        &upstream,
        &keyed(10, None),
        |place| json!({"address": place.redis()}),
    );
    connected(&replicas);
    replicas.proxy(0).refuse();
    replicas.proxy(0).reset_connections();
    // Of two expected replicas, or of the one that has seen itself.
    let share = admitted_with(&replicas, "k", 20);
    assert!([5, 10].contains(&share), "{share}");
    let limit = json!({"policyRef": {"name": "rate-limiting-flex"}, "config": keyed(10, None)});
    let changed = api(replicas.place(0), &upstream, &[header(), limit]);
    let shared =
        configuration("shared", json!({"sharedStorage": {"redis": {"address": replicas.place(0).redis()}}}));
    assert_eq!(replicas[0].apply("api.yaml", &[shared, changed]).status, 200);
    assert_eq!(admitted_with(&replicas, "k", 20), 0);
}
