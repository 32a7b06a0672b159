//! Rate limiting and spike control, exact to the request (policies reference 3.1 and 3.3).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, Response, get};
use cluster_tests::config::{api, api_with};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::load::longest_pause;
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

fn figure(response: &Response, name: &str) -> u64 {
    response
        .head
        .get(name)
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{name}: {:?}", response.head.fields))
}

fn with_policies(upstream: &Upstream, policies: Value) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let api = api_with("limited", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    (Plan::new().with("api.yaml", &[api]).workers(2).start(), ([127, 0, 0, 1], port).into())
}

fn rate(limits: Value, more: Value) -> Value {
    let mut config = json!({"rateLimits": limits, "exposeHeaders": true, "clusterizable": false});
    if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
        config.extend(more.clone());
    }
    json!([{"policyRef": {"name": "rate-limiting-flex"}, "config": config}])
}

const LIMIT: u64 = 100;
const WINDOW: Duration = Duration::from_secs(1);
/// Half a window more than ten: the first of them begins some time after the clients.
const RUN: Duration = Duration::from_millis(10_500);
const CONNECTIONS: usize = 64;

/// What ten seconds of asking have seen.
struct Seen {
    /// How often each remaining quota was granted.
    granted: BTreeMap<u64, u64>,
    refused: u64,
    /// The longest time in which nobody had an answer.
    stall: Duration,
}

/// Asks from 64 connections for ten seconds, each ending on a refusal, so that the last window is used up too.
fn saturate(address: SocketAddr) -> Seen {
    let started = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            std::thread::spawn(move || {
                let (mut granted, mut refused, mut times) = (Vec::new(), 0, Vec::new());
                let mut client = Client::connect(address);
                loop {
                    let response = client.get("/x", "a", "");
                    times.push(started.elapsed());
                    match response.status {
                        200 => granted.push(figure(&response, "x-ratelimit-remaining")),
                        429 => refused += 1,
                        other => panic!("{other} {}", response.text()),
                    }
                    if response.status == 429 {
                        if started.elapsed() > RUN {
                            return (granted, refused, times);
                        }
                        // Refusals are cheap; without a pause they would only keep the two cores from other tests.
                        std::thread::sleep(Duration::from_millis(4));
                    }
                }
            })
        })
        .collect();
    let (mut granted, mut refused, mut times) = (BTreeMap::new(), 0, vec![Duration::ZERO]);
    for client in clients {
        let (mine, no, at) = client.join().expect("a client that asks on");
        mine.into_iter().for_each(|remaining| *granted.entry(remaining).or_default() += 1);
        refused += no;
        times.extend(at);
    }
    Seen { granted, refused, stall: longest_pause(times) }
}

/// What a run has seen in which the machine never stood still for as long as may cost a window; of three, the last.
fn undisturbed(run: impl Fn() -> Seen) -> Seen {
    for _ in 0..2 {
        let seen = run();
        if seen.stall < WINDOW / 4 {
            return seen;
        }
        println!("nothing happened for {:?}: once more", seen.stall);
    }
    run()
}

/// In each window every remaining quota from 99 to 0 is granted exactly once: so all were granted equally often, and as
/// often as there were windows.
fn assert_exact(Seen { granted, refused, .. }: &Seen) {
    let windows = granted.get(&0).copied().unwrap_or(0);
    println!("{windows} windows of {LIMIT}, {refused} refused");
    let uneven: Vec<_> = (0..LIMIT).filter(|remaining| granted.get(remaining) != Some(&windows)).collect();
    assert!(
        uneven.is_empty() && granted.len() as u64 == LIMIT,
        "{windows} windows, uneven at {uneven:?}: {granted:?}"
    );
    // Eleven have begun by then, and one more when the last is asked for late.
    assert!((11..=12).contains(&windows), "{windows} windows in {RUN:?}");
    assert!(*refused > 0);
}

#[test]
fn over_ten_seconds_with_64_connections_exactly_the_limit_is_admitted_in_each_window() {
    let upstream = Upstream::echo("up");
    let limits = json!([{"maximumRequests": LIMIT, "timePeriodInMilliseconds": WINDOW.as_millis() as u64}]);
    assert_exact(&undisturbed(|| {
        let before = upstream.received().len() as u64;
        let (_gateway, address) = with_policies(&upstream, rate(limits.clone(), json!({})));
        let seen = saturate(address);
        let arrived = upstream.received().len() as u64 - before;
        assert_eq!(arrived, seen.granted.values().sum::<u64>(), "what was granted arrived");
        seen
    }));
}

#[test]
fn reloads_that_do_not_change_the_limit_do_not_touch_its_windows() {
    let upstream = Upstream::echo("up");
    let limits = json!([{"maximumRequests": LIMIT, "timePeriodInMilliseconds": WINDOW.as_millis() as u64}]);
    let limited = rate(limits, json!({}))[0].clone();
    // Each generation changes the limited API itself: another policy's value, and the place of the limit in the list.
    let generation = |number: usize, port: u16| {
        let stamp = json!({
            "policyRef": {"name": "header-injection-flex"},
            "config": {"outboundHeaders": [{"key": "x-generation", "value": number.to_string()}]},
        });
        let mut policies = vec![stamp; number % 3];
        policies.insert(number % (policies.len() + 1), limited.clone());
        api_with("limited", &format!("http://127.0.0.1:{port}"), &upstream.url(), json!(policies))
    };
    assert_exact(&undisturbed(|| {
        let (before, port) = (upstream.received().len() as u64, ports::free());
        let gateway = Plan::new().with("api.yaml", &[generation(0, port)]).workers(2).start();
        let clients = std::thread::spawn(move || saturate(([127, 0, 0, 1], port).into()));
        let (mut reloads, mut applied) = (0, Some(1));
        while !clients.is_finished() {
            reloads += 1;
            let reloaded = gateway.apply("api.yaml", &[generation(reloads, port)]).json();
            // The gateway may have seen the file before it was asked to.
            let now = reloaded["generation"].as_u64();
            assert!(now > applied && reloaded["errors"] == 0, "{reloaded}");
            applied = now;
            std::thread::sleep(Duration::from_millis(150));
        }
        println!("{reloads} reloads");
        let seen = clients.join().expect("the clients end");
        let arrived = upstream.received().len() as u64 - before;
        assert_eq!(arrived, seen.granted.values().sum::<u64>(), "what was granted arrived");
        assert!(reloads > 5, "{reloads}");
        seen
    }));
}

#[test]
fn a_changed_limit_starts_anew_and_each_instance_counts_for_itself() {
    let upstream = Upstream::echo("up");
    let limit =
        |count: u64| rate(json!([{"maximumRequests": count, "timePeriodInMilliseconds": 60_000}]), json!({}));
    let (port, twin) = (ports::free(), ports::free());
    let both = |count| {
        [("one", port), ("two", twin)].map(|(name, port)| {
            api_with(name, &format!("http://127.0.0.1:{port}"), &upstream.url(), limit(count))
        })
    };
    let gateway = Plan::new().with("api.yaml", &both(2)).start();
    let statuses = |port: u16, count: usize| -> Vec<u16> {
        (0..count).map(|_| get(([127, 0, 0, 1], port).into(), "/").status).collect()
    };
    assert_eq!(statuses(port, 3), [200, 200, 429]);
    assert_eq!(statuses(twin, 3), [200, 200, 429]);
    let _ = gateway.apply("api.yaml", &both(3));
    assert_eq!(statuses(port, 4), [200, 200, 200, 429]);
}

#[test]
fn headers_tell_the_quota_and_a_refusal_has_the_documented_body() {
    let upstream = Upstream::echo("up");
    let limits = json!([{"maximumRequests": 2, "timePeriodInMilliseconds": 60_000}]);
    let (_gateway, address) = with_policies(&upstream, rate(limits, json!({})));
    for remaining in [1, 0] {
        let response = get(address, "/");
        assert_eq!((response.status, figure(&response, "x-ratelimit-remaining")), (200, remaining));
        assert_eq!(figure(&response, "x-ratelimit-limit"), 2);
        assert!((50_000..=60_000).contains(&figure(&response, "x-ratelimit-reset")), "milliseconds");
    }
    let response = get(address, "/");
    assert_eq!((response.status, response.json()), (429, json!({"error": "Too Many Requests"})));
    assert_eq!(figure(&response, "x-ratelimit-remaining"), 0);
    assert_eq!(response.head.get("retry-after"), None);
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn buckets_are_told_apart_by_the_key_and_a_missing_key_is_a_bucket_of_its_own() {
    let upstream = Upstream::echo("up");
    let limits = json!([{"maximumRequests": 1, "timePeriodInMilliseconds": 60_000}]);
    let key = json!({"keySelector": "#[attributes.headers['x-key']]"});
    let (_gateway, address) = with_policies(&upstream, rate(limits, key));
    let status = |fields: &str| Client::connect(address).get("/", "a", fields).status;
    for fields in ["X-Key: a\r\n", "X-Key: A\r\n", "X-Key: b\r\n", ""] {
        assert_eq!((status(fields), status(fields)), (200, 429), "{fields:?}");
    }
}

#[test]
fn every_limit_must_have_quota_and_a_refused_request_charges_none() {
    let upstream = Upstream::echo("up");
    let limits = json!([
        {"maximumRequests": 2, "timePeriodInMilliseconds": 3_000},
        {"maximumRequests": 3, "timePeriodInMilliseconds": 60_000},
    ]);
    let (_gateway, address) = with_policies(&upstream, rate(limits, json!({})));
    let statuses: Vec<u16> = (0..6).map(|_| get(address, "/").status).collect();
    assert_eq!(statuses, [200, 200, 429, 429, 429, 429]);
    std::thread::sleep(Duration::from_millis(3_100));
    let statuses: Vec<u16> = (0..3).map(|_| get(address, "/").status).collect();
    assert_eq!(statuses, [200, 429, 429], "one was left of the longer limit");
}

fn spike(config: Value) -> Value {
    json!([{"policyRef": {"name": "spike-control-flex"}, "config": config}])
}

#[test]
fn the_documented_timeline_of_spike_control_at_a_sixth_of_its_speed() {
    let _turn = cluster_tests::alone();
    // 2 per 1 s, delay 499 ms, one attempt, queue 5; every time sixfold, so that a busy machine still has 600 ms of room.
    let upstream = Upstream::echo("up");
    let config = json!({"maximumRequests": 2, "timePeriodInMilliseconds": 6_000, "delayTimeInMillis": 2_994,
        "delayAttempts": 1, "queuingLimit": 5});
    let (_gateway, address) = with_policies(&upstream, spike(config));
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(address)).collect();
    let started = Instant::now();
    let asked: Vec<_> = [0, 1_800, 3_600, 4_200, 8_400]
        .into_iter()
        .map(|at| {
            let mut client = clients.remove(0);
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(at).saturating_sub(started.elapsed()));
                let asked = Instant::now();
                (client.get(&format!("/{at}"), "a", "").status, asked.elapsed())
            })
        })
        .collect();
    let seen: Vec<(u16, Duration)> =
        asked.into_iter().map(|client| client.join().expect("an answer")).collect();
    let statuses: Vec<u16> = seen.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 200], "{seen:?}");
    for (number, waited) in [(0, false), (1, false), (2, true), (3, true), (4, false)] {
        let took = seen[number].1;
        let right =
            if waited { took >= Duration::from_millis(2_990) } else { took < Duration::from_millis(2_100) };
        assert!(right, "#{} took {took:?}", number + 1);
    }
}

#[test]
fn without_a_queue_whatever_exceeds_the_limit_is_refused_at_once() {
    let upstream = Upstream::echo("up");
    let config = json!({"maximumRequests": 3, "timePeriodInMilliseconds": 60_000, "delayTimeInMillis": 10_000,
        "delayAttempts": 9, "queuingLimit": 0, "exposeHeaders": true});
    let (_gateway, address) = with_policies(&upstream, spike(config));
    for remaining in [2, 1] {
        let response = get(address, "/");
        assert_eq!((response.status, figure(&response, "x-ratelimit-remaining")), (200, remaining));
        assert_eq!(figure(&response, "x-ratelimit-reset"), 0, "0 while quota remains");
    }
    assert_eq!(get(address, "/").status, 200);
    let started = Instant::now();
    let response = get(address, "/");
    assert_eq!((response.status, response.json()), (429, json!({"error": "Too Many Requests"})));
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    let reset = figure(&response, "x-ratelimit-reset");
    assert!((1..=60_000).contains(&reset), "{reset} ms until the oldest leaves");
}

#[test]
fn a_burst_over_all_workers_admits_exactly_the_limit_and_queues_no_more_than_the_queue_holds() {
    let upstream = Upstream::echo("up");
    let config = json!({"maximumRequests": 7, "timePeriodInMilliseconds": 20_000, "delayTimeInMillis": 3_000,
        "delayAttempts": 1, "queuingLimit": 5});
    let (_gateway, address) = with_policies(&upstream, spike(config));
    let together = Arc::new(Barrier::new(40));
    let burst: Vec<_> = (0..40)
        .map(|_| {
            let (together, mut client) = (Arc::clone(&together), Client::connect(address));
            std::thread::spawn(move || {
                together.wait();
                let asked = Instant::now();
                (client.get("/", "a", "").status, asked.elapsed())
            })
        })
        .collect();
    let seen: Vec<(u16, Duration)> =
        burst.into_iter().map(|client| client.join().expect("an answer")).collect();
    assert_eq!(seen.iter().filter(|(status, _)| *status == 200).count(), 7, "{seen:?}");
    let waited =
        seen.iter().filter(|(status, took)| *status == 429 && *took >= Duration::from_millis(2_990)).count();
    assert_eq!(waited, 5, "{seen:?}");
    assert_eq!(upstream.received().len(), 7);
}

#[test]
fn a_client_that_leaves_the_queue_frees_its_place() {
    let upstream = Upstream::echo("up");
    let config = json!({"maximumRequests": 1, "timePeriodInMilliseconds": 8_000, "delayTimeInMillis": 8_200,
        "delayAttempts": 1, "queuingLimit": 1});
    let (_gateway, address) = with_policies(&upstream, spike(config));
    assert_eq!(get(address, "/").status, 200);
    // Nobody reads the body of a request that waits.
    for request in [
        "GET /w HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /w HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let mut waiting = Client::connect(address);
        cluster_tests::eventually("a place in the queue", || {
            waiting.send(request.as_bytes());
            waiting.silent_for(Duration::from_millis(700)).then_some(()).or_else(|| {
                let _ = waiting.response_to("GET");
                None
            })
        });
        assert_eq!(get(address, "/").status, 429, "the queue is full");
    }
    let mut next = Client::connect(address);
    let queued = cluster_tests::eventually("the freed place", || {
        next.send(b"GET /n HTTP/1.1\r\nHost: a\r\n\r\n");
        next.silent_for(Duration::from_secs(1)).then_some(true).or_else(|| {
            let _ = next.response_to("GET");
            None
        })
    });
    assert!(queued);
    assert_eq!(next.response_to("GET").expect("the queued request is served").status, 200);
    let paths: Vec<_> = upstream.received().iter().map(|request| request.target.clone()).collect();
    assert!(!paths.iter().any(|path| path == "/w"), "done for nobody: {paths:?}");
}

#[test]
fn an_api_without_limits_beside_a_limited_one_is_not_limited() {
    let upstream = Upstream::echo("up");
    let port = ports::free();
    let limits = rate(json!([{"maximumRequests": 1, "timePeriodInMilliseconds": 60_000}]), json!({}));
    let apis = [
        api_with("limited", &format!("http://127.0.0.1:{port}/a"), &upstream.url(), limits),
        api("free", &format!("http://127.0.0.1:{port}/b"), &upstream.url()),
    ];
    let _gateway = Plan::new().with("api.yaml", &apis).start();
    let address = ([127, 0, 0, 1], port).into();
    assert_eq!((get(address, "/a").status, get(address, "/a").status), (200, 429));
    assert!((0..5).all(|_| get(address, "/b").status == 200));
}
