//! One HTTP cache for all replicas, in a real Redis (policies reference 3.4, decision 39).

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use cluster_tests::{
    binary,
    client::{call, get},
    config::{api_with, configuration},
    eventually,
    gateway::Plan,
    ports,
    redis::{Redis, RedisCluster},
    replicas::{Crew, Replicas},
    upstream::Upstream,
};
use serde_json::{Value, json};

use super::connected;

/// Answers after a while with the number of the request, counted from 1.
fn counting(wait: Duration) -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::start(move |exchange| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        std::thread::sleep(wait);
        exchange.reply(200, "Cache-Control: max-age=600\r\n", format!("answer-{number}").as_bytes())
    })
}

fn resources(address: &str, upstream: &Upstream, storage: Value, config: Value) -> [Value; 2] {
    let policies = json!([{"policyRef": {"name": "http-caching-flex"}, "config": config}]);
    [
        configuration("shared", json!({"sharedStorage": {"redis": storage}})),
        api_with("cached", address, &upstream.url(), policies),
    ]
}

fn config() -> Value {
    json!({"distributed": true, "invalidationHeader": "x-purge"})
}

/// Replicas, each through a proxy to Redis, without keys.
fn crew(count: usize, redis: &Redis, upstream: &Upstream) -> Replicas {
    let replicas = Crew::of(count).through(redis.address()).start(|place| {
        let storage = json!({"address": place.redis()});
        Plan::new().with("api.yaml", &resources(&place.url(), upstream, storage, config()))
    });
    connected(&replicas);
    replicas
}

/// Entries are stored beside the response: until it is a hit.
fn await_hit(replicas: &Replicas, index: usize, path: &str) -> String {
    eventually("a hit", || {
        let response = get(replicas.place(index).address(), path);
        response.head.all("age").next().is_some().then(|| response.text())
    })
}

#[test]
fn replica_b_answers_with_what_replica_a_stored_and_an_invalidation_reaches_both() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (Redis::standalone(), counting(Duration::ZERO));
    let replicas = crew(2, &redis, &upstream);
    let at = |index: usize| replicas.place(index).address();
    assert_eq!(get(at(0), "/").text(), "answer-1");
    assert_eq!(await_hit(&replicas, 0, "/"), "answer-1");
    let hit = get(at(1), "/");
    assert_eq!((hit.text().as_str(), hit.head.all("age").count()), ("answer-1", 1));
    assert_eq!(upstream.received().len(), 1);
    let entry = redis.cli(&["keys", "gw:*{cache:*"]);
    assert!(
        redis.cli(&["get", entry.trim()]).contains("answer-1"),
        "without keys it is as readable as it was"
    );
    assert_eq!(call(at(1), "POST", "/x", "X-Purge: invalidate-all\r\n", "").text(), "answer-2");
    // A replica that Redis lets wait for long, on a busy machine, asks the upstream itself.
    let both = || {
        eventually("a hit of both", || {
            let [one, other] = [0, 1].map(|index| await_hit(&replicas, index, "/"));
            (one == other).then(|| one["answer-".len()..].parse::<usize>().expect("a number"))
        })
    };
    let after_all = both();
    assert!(after_all > 2, "{after_all}");
    let own = call(at(0), "GET", "/", "X-Purge: invalidate\r\n", "").text();
    assert_ne!(own, format!("answer-{after_all}"));
    let after_one = both();
    assert!(after_one > after_all, "{after_one}");
}

#[test]
fn an_entry_is_filled_once_for_all_replicas() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (Redis::standalone(), counting(Duration::from_millis(300)));
    let replicas = crew(3, &redis, &upstream);
    // More than a replica may have calls under way.
    let at: Vec<_> = (0..900).map(|client| replicas.place(client % 3).address()).collect();
    let clients: Vec<_> =
        at.into_iter().map(|address| std::thread::spawn(move || get(address, "/").text())).collect();
    let answers = clients.into_iter().map(|client| client.join().unwrap());
    let others = answers.filter(|answer| answer != "answer-1").count();
    // Whoever Redis kept waiting for too long, because of all these threads, has asked for itself, and that is counted.
    let failed = |index: usize| {
        let policy = "policy=\"http-caching-flex\"";
        replicas[index].metric("portcullis_policy_errors_total", &[policy]) as usize
    };
    let kept_waiting: usize = (0..3).map(failed).sum();
    let asked = upstream.received().len();
    assert!(asked <= 1 + kept_waiting, "{asked} requests, {kept_waiting} of those who waited for too long");
    assert!(others == 0 || kept_waiting > 0, "{others} other answers");
}

#[test]
fn what_is_invalidated_leaves_nothing_behind_in_redis() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (Redis::standalone(), counting(Duration::ZERO));
    let replicas = crew(1, &redis, &upstream);
    let count = || redis.cli(&["dbsize"]).trim().parse::<usize>().unwrap();
    let before = count();
    for request in 0..200 {
        let _ = call(
            replicas.place(0).address(),
            "OPTIONS",
            &format!("/{request}"),
            "X-Purge: invalidate\r\n",
            "",
        );
    }
    assert!(count() < before + 20, "{} keys, {before} before", count());
}

/// Decision 35: without quota are requests where Redis is away, and it is not.
#[test]
fn lookups_take_no_place_from_the_leases_of_limits() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (Redis::standalone(), counting(Duration::ZERO));
    let limited = ports::free();
    let replicas = Crew::of(1).through(redis.address()).start(|place| {
        let policies = json!([{"policyRef": {"name": "rate-limiting-flex"}, "config": {
            "clusterizable": true, "blockOnUnknownQuota": true, "keySelector": "#[attributes.requestPath]",
            "rateLimits": [{"maximumRequests": 1000, "timePeriodInMilliseconds": 600_000}],
        }}]);
        let limit = api_with("limited", &format!("http://127.0.0.1:{limited}"), &upstream.url(), policies);
        let cached = resources(&place.url(), &upstream, json!({"address": place.redis()}), config());
        Plan::new().with("api.yaml", &[&cached[..], &[limit]].concat())
    });
    connected(&replicas);
    let address = replicas.place(0).address();
    let clients: Vec<_> = (0..600)
        .map(|client| {
            std::thread::spawn(move || (0..5).for_each(|n| drop(get(address, &format!("/{client}/{n}")))))
        })
        .collect();
    let refused = (0..100)
        .filter(|key| get(([127, 0, 0, 1], limited).into(), &format!("/{key}")).status != 200)
        .count();
    // An answer may be late on a machine this busy.
    assert!(refused < 10, "{refused} of 100");
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn with_keys_redis_holds_nothing_that_can_be_read() {
    let (redis, upstream) = (Redis::standalone(), counting(Duration::ZERO));
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(binary::portcullis()).arg("cluster-key").output().unwrap();
    let file = folder.path().join("keys");
    fs::write(&file, made.stdout).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let replicas = Crew::of(2).through(redis.address()).start(|place| {
        let storage = json!({"address": place.redis()});
        let plan = Plan::new().with("api.yaml", &resources(&place.url(), &upstream, storage, config()));
        plan.argument("--set").argument(&format!("cluster.key_file={}", file.display()))
    });
    connected(&replicas);
    let _ = get(replicas.place(0).address(), "/secret-path");
    assert_eq!(await_hit(&replicas, 1, "/secret-path"), "answer-1");
    let keys = redis.cli(&["keys", "*cache*"]);
    assert!(keys.contains(&format!("gw:{}:{{cache:", replicas.id())), "{keys}");
    for key in redis.cli(&["keys", "*"]).split_whitespace() {
        let value = redis.cli(&["get", key]);
        assert!(
            !value.contains("answer-1") && !value.contains("max-age") && !key.contains("secret"),
            "{key}"
        );
    }
    for entry in keys.split_whitespace() {
        let left: i64 = redis.cli(&["ttl", entry]).trim().parse().unwrap();
        // -1: it has no end; -2: it is gone by now, as a lock that was given back.
        assert_ne!(left, -1, "{entry} ends");
    }
}

#[test]
fn values_that_somebody_forges_in_redis_are_a_miss_and_harm_nobody() {
    let (redis, upstream) = (Redis::standalone(), counting(Duration::ZERO));
    let replicas = crew(2, &redis, &upstream);
    let _ = get(replicas.place(0).address(), "/");
    let _ = await_hit(&replicas, 0, "/");
    let entries = redis.cli(&["keys", "gw:*{cache:*"]);
    let entry = entries.split_whitespace().next().expect("it is stored").to_owned();
    for (round, forged) in ["", "x", "\u{1}\u{1}", &"\u{7f}".repeat(500)].iter().enumerate() {
        redis.cli(&["set", &entry, forged, "ex", "60"]);
        let before = upstream.received().len();
        let response = get(replicas.place(round % 2).address(), "/");
        assert_eq!((response.status, upstream.received().len()), (200, before + 1), "{forged:?}");
        let _ = await_hit(&replicas, 0, "/");
    }
    // Values of another kind under every name.
    for key in redis.cli(&["keys", "gw:*cache*"]).split_whitespace() {
        redis.cli(&["del", key]);
        redis.cli(&["hset", key, "a", "b"]);
    }
    for index in 0..2 {
        assert_eq!(get(replicas.place(index).address(), "/").status, 200);
    }
}

#[test]
fn without_redis_requests_go_on_as_misses() {
    let (mut redis, upstream) = (Redis::standalone(), counting(Duration::ZERO));
    let replicas = crew(2, &redis, &upstream);
    let _ = get(replicas.place(0).address(), "/");
    let _ = await_hit(&replicas, 1, "/");
    replicas.proxy(0).black_hole();
    for number in 0..5 {
        let response = get(replicas.place(0).address(), &format!("/{number}"));
        assert_eq!(response.status, 200);
    }
    replicas.proxy(0).heal();
    redis.kill();
    for index in 0..2 {
        assert_eq!(get(replicas.place(index).address(), "/").status, 200);
    }
    redis.restart();
    for index in 0..2 {
        let _ = await_hit(&replicas, index, "/again");
    }
}

#[test]
fn an_invalidation_that_did_not_reach_redis_is_made_up_for() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (Redis::standalone(), counting(Duration::ZERO));
    let replicas = crew(2, &redis, &upstream);
    let _ = get(replicas.place(0).address(), "/");
    assert_eq!(await_hit(&replicas, 1, "/"), "answer-1");
    replicas.proxy(0).refuse();
    replicas.proxy(0).reset_connections();
    let lost = call(replicas.place(0).address(), "POST", "/x", "X-Purge: invalidate-all\r\n", "");
    assert_eq!(lost.status, 200);
    assert_eq!(get(replicas.place(1).address(), "/").text(), "answer-1", "it does not know yet");
    replicas.proxy(0).heal();
    eventually("the invalidation reaches the other replica", || {
        (get(replicas.place(1).address(), "/").text() != "answer-1").then_some(())
    });
    assert_ne!(get(replicas.place(0).address(), "/").text(), "answer-1");
}

#[test]
fn in_a_cluster_of_redis_entries_are_spread_and_found() {
    let _turn = cluster_tests::alone();
    let (redis, upstream) = (RedisCluster::start(), counting(Duration::ZERO));
    let addresses: Vec<String> = redis.addresses().iter().map(ToString::to_string).collect();
    let replicas = Crew::of(2).start(|place| {
        let storage = json!({"cluster": {"addresses": addresses}});
        Plan::new().with("api.yaml", &resources(&place.url(), &upstream, storage, config()))
    });
    connected(&replicas);
    for number in 0..8 {
        let path = format!("/{number}");
        let answer = get(replicas.place(0).address(), &path).text();
        assert_eq!(await_hit(&replicas, 1, &path), answer);
    }
    assert_eq!(upstream.received().len(), 8);
    let _ = call(replicas.place(0).address(), "POST", "/", "X-Purge: invalidate-all\r\n", "");
    let _ = get(replicas.place(1).address(), "/0");
    assert_eq!(upstream.received().len(), 10);
}
