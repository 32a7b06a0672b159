//! Replicas, the balancer before them, and the load that is spread over them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster_tests::balancer::Balancer;
use cluster_tests::client::get;
use cluster_tests::config::{api, configuration};
use cluster_tests::eventually;
use cluster_tests::fault_proxy::Way;
use cluster_tests::gateway::Plan;
use cluster_tests::load::Spread;
use cluster_tests::redis::Redis;
use cluster_tests::replicas::{Crew, Place, Replicas};
use cluster_tests::upstream::Upstream;
use serde_json::json;

/// A small server that plays a replica: readiness as the switch says, anything else is answered with its name.
fn stand_in(name: &'static str) -> (Upstream, Arc<AtomicBool>) {
    let ready = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&ready);
    let server = Upstream::start(move |exchange| {
        exchange.close();
        let probe = exchange.request.target == "/probes/readiness";
        let status = if probe && !switch.load(Ordering::Relaxed) { 503 } else { 200 };
        exchange.reply(status, "Connection: close\r\n", name.as_bytes())
    });
    (server, ready)
}

fn plan(place: &Place, upstream: &Upstream) -> Plan {
    Plan::new().with("api.yaml", &[api("api", &place.url(), &upstream.url())])
}

#[test]
fn the_balancer_goes_round_and_leaves_out_who_is_not_ready_or_gone() {
    let (one, one_ready) = stand_in("one");
    let (two, _two_ready) = stand_in("two");
    let balancer = Balancer::start(&[one.address(), two.address()].map(|address| (address, address)));
    let asked = || (0..10).map(|_| get(balancer.address(), "/").text()).collect::<Vec<_>>();
    balancer.await_in_service(&[0, 1]);
    let names = asked();
    assert!(names.contains(&"one".to_owned()) && names.contains(&"two".to_owned()), "{names:?}");
    one_ready.store(false, Ordering::Relaxed);
    balancer.await_in_service(&[1]);
    assert_eq!(asked(), vec!["two"; 10]);
    one_ready.store(true, Ordering::Relaxed);
    balancer.await_in_service(&[0, 1]);
    drop(two);
    balancer.await_in_service(&[0]);
    assert_eq!(asked(), vec!["one"; 10]);
}

#[test]
fn replicas_serve_on_ports_of_their_own_and_one_that_was_killed_comes_back() {
    let upstream = Upstream::echo("up");
    let mut replicas = Replicas::start(2, |place| plan(place, &upstream));
    let balancer = replicas.balanced();
    balancer.await_in_service(&[0, 1]);
    assert_ne!(replicas.addresses()[0], replicas.addresses()[1]);
    assert!(replicas.addresses().iter().all(|address| get(*address, "/").status == 200));
    replicas.kill(1);
    let mut running = Vec::new();
    replicas.each(|index, _| running.push(index));
    assert_eq!(running, [0]);
    balancer.await_in_service(&[0]);
    assert_eq!(get(balancer.address(), "/").status, 200);
    replicas.start_again(1);
    balancer.await_in_service(&[0, 1]);
    assert_eq!(get(replicas.addresses()[1], "/").status, 200);
    assert!(replicas[1].ready() && replicas.place(1).id == "r2");
}

#[test]
fn each_replica_has_a_clock_and_a_way_to_redis_of_its_own() {
    let (upstream, redis) = (Upstream::echo("up"), Redis::standalone());
    let replicas = Crew::of(2).through(redis.address()).with_clocks().start(|place| plan(place, &upstream));
    for index in 0..2 {
        let proxied = replicas.place(index).redis.expect("a proxy").port().to_string();
        let said = std::process::Command::new("redis-cli").args(["-p", &proxied, "ping"]).output();
        assert_eq!(said.expect("redis-cli").stdout, b"PONG\n");
        // It counts what it has passed on, and redis-cli may be done before.
        eventually("the proxy has counted", || {
            (replicas.proxy(index).bytes(Way::ToClient) > 0).then_some(())
        });
    }
    replicas.clock(1).jump(86_400);
    let changed = configuration("settings", json!({"timeouts": {"upstreamConnectionIdleSeconds": 100}}));
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    for (index, jump) in [(0, 0.0), (1, 86_400.0)] {
        assert_eq!(replicas[index].apply("settings.yaml", std::slice::from_ref(&changed)).status, 200);
        let theirs = replicas[index].metric("portcullis_config_applied_timestamp_seconds", &[]);
        assert!((theirs - ours - jump).abs() < 600.0, "{theirs} {ours} {jump}");
    }
}

#[test]
fn a_spread_load_tells_who_answered_what_and_when_and_what_failed() {
    let one = Upstream::start(|exchange| exchange.reply(200, "", b""));
    let two = Upstream::start(|exchange| exchange.reply(429, "", b""));
    let work =
        Spread { pause: Duration::from_millis(1), ..Spread::over(&[one.address(), two.address()], 4, "/") };
    let load = work.start();
    eventually("answers of both", || (load.status(200) > 20 && load.status(429) > 20).then_some(()));
    assert_eq!(load.failed(), 0);
    drop(two);
    let refused = load.status(429);
    eventually("failures", || (load.failed() > 4).then_some(()));
    let goes_on = load.status(200);
    eventually("the other one goes on", || (load.status(200) > goes_on).then_some(()));
    let (elapsed, counted) = (load.elapsed(), load.stop());
    assert!(counted.status(429) as u64 >= refused && counted.failures.len() > 4 && !counted.told.is_empty());
    assert_eq!(counted.of(0).by_status().into_keys().collect::<Vec<_>>(), [200]);
    assert_eq!((counted.of(0).failures.len(), counted.of(1).status(200)), (0, 0));
    assert_eq!(counted.of(1).failures, counted.failures);
    assert_eq!(counted.per_second(200).iter().sum::<usize>(), counted.status(200));
    assert!(counted.per_second(429).len() as u64 <= elapsed.as_secs() + 2);
    assert!(counted.answers.iter().all(|answer| answer.asked <= answer.answered));
    assert!(counted.answers.is_sorted_by_key(|answer| answer.answered));
}
