//! More than can be served: what is too much is refused at once and said to come back, what was accepted is served, and
//! its latency stays bounded.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, get};
use cluster_tests::config::{api, binding, configuration, service};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::json;

/// An upstream that takes so long for each request, on as many connections as there are.
fn slow(work: Duration) -> Upstream {
    Upstream::start(move |exchange| {
        exchange.body()?;
        std::thread::sleep(work);
        exchange.reply(200, "", b"done")
    })
}

fn in_front_of(upstream: &Upstream, arguments: &[&str]) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let api = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let plan = Plan::new().with("api.yaml", &[api]).workers(1);
    let plan = arguments.iter().fold(plan, |plan, word| plan.argument(word));
    (plan.start(), ([127, 0, 0, 1], port).into())
}

/// Statuses and latencies of clients that ask one after the other for so long, each on one connection.
fn press(address: SocketAddr, clients: usize, time: Duration) -> Vec<(u16, Duration)> {
    let begun = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            std::thread::spawn(move || {
                let (mut client, mut seen) = (Client::connect(address), Vec::new());
                while begun.elapsed() < time {
                    let asked = Instant::now();
                    let response = client.get("/", "a", "");
                    seen.push((response.status, asked.elapsed()));
                    match response.status {
                        200 => {}
                        503 => {
                            assert_eq!(
                                response.head.get("retry-after"),
                                Some("1"),
                                "{:?}",
                                response.head.fields
                            );
                            // Sooner than it was told to, but no busy loop.
                            std::thread::sleep(Duration::from_millis(20));
                        }
                        other => panic!("{other} {}", response.text()),
                    }
                }
                seen
            })
        })
        .collect();
    clients.into_iter().flat_map(|client| client.join().expect("a client that asks on")).collect()
}

fn worst(seen: &[(u16, Duration)], status: u16) -> Duration {
    let of_status = seen.iter().filter(|(found, _)| *found == status);
    of_status.map(|(_, latency)| *latency).max().unwrap_or_default()
}

#[test]
fn at_three_times_the_capacity_of_an_upstream_the_latency_of_what_is_accepted_stays_bounded() {
    const WORK: Duration = Duration::from_millis(100);
    let (upstream, port) = (slow(WORK), ports::free());
    // Four at a time and four that wait: eight of 24 clients have a place.
    let breaker = binding(
        "breaker",
        "Service",
        "up",
        "circuit-breaker-flex",
        json!({"config": {"thresholds": {"maxConnections": 4, "maxPendingRequests": 4}}}),
    );
    let mut api = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    api["spec"]["services"] = json!({});
    let route =
        binding("to", "ApiInstance", "api", "route", json!({"config": {"destinationRef": {"name": "up"}}}));
    let gateway = Plan::new()
        .with("api.yaml", &[api, service("up", &upstream.url()), breaker, route])
        // A connection belongs to a worker: those that wait on another are not overtaken for that.
        .workers(3)
        .start();
    let seen = press(([127, 0, 0, 1], port).into(), 24, Duration::from_secs(4));
    let served = seen.iter().filter(|(status, _)| *status == 200).count();
    println!(
        "{served} served in at most {:?}, {} refused in at most {:?}",
        worst(&seen, 200),
        seen.len() - served,
        worst(&seen, 503)
    );
    // Four connections do forty a second; what is refused takes nothing from them.
    assert!(served >= 100, "{served} of {}", seen.len());
    assert!(seen.len() > served, "some were refused");
    // It waits for one other and is served itself; the rest is for a machine that has other things to do.
    assert!(worst(&seen, 200) < 10 * WORK, "{:?}", worst(&seen, 200));
    assert!(worst(&seen, 503) < 5 * WORK, "{:?}", worst(&seen, 503));
    assert!(gateway.metric("portcullis_upstream_overflows_total", &[]) > 0.0);
}

#[test]
fn a_connection_that_idles_on_another_worker_is_given_up_for_a_request_that_waits() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let one = json!({"circuitBreaker": {"thresholds": {"maxConnections": 1}}});
    let api = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let plan = Plan::new().with("api.yaml", &[api, configuration("settings", one)]);
    let gateway = plan.workers(4).start();
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(get(([127, 0, 0, 1], port).into(), "/").status, 200);
    }
    // Three in four find the only connection on another worker.
    assert!(gateway.metric("portcullis_upstream_connect_attempts_total", &[]) > 20.0);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn more_requests_than_a_worker_may_have_are_answered_503_at_once_and_the_others_served() {
    let upstream = slow(Duration::from_millis(100));
    let (gateway, address) = in_front_of(&upstream, &["--set", "limits.requests=4"]);
    let seen = press(address, 12, Duration::from_secs(2));
    let served = seen.iter().filter(|(status, _)| *status == 200).count();
    println!("{served} served, {} refused", seen.len() - served);
    assert!(served >= 50, "{served}: four at a time do forty a second");
    assert!(seen.len() > served, "some were refused");
    assert!(worst(&seen, 200) < Duration::from_secs(1), "{:?}", worst(&seen, 200));
    assert!(gateway.metric("portcullis_requests_refused_total", &["reason=\"overload\""]) > 0.0);
    eventually("nothing is under way any more", || (get(address, "/").status == 200).then_some(()));
    assert!(upstream.received().len() >= served);
}

#[test]
fn more_connections_than_there_may_be_are_told_to_come_back() {
    let upstream = Upstream::echo("up");
    let (gateway, address) = in_front_of(&upstream, &["--set", "limits.connections=3"]);
    let mut kept: Vec<Client> = (0..3).map(|_| Client::connect(address)).collect();
    for client in &mut kept {
        assert_eq!(client.get("/", "a", "").status, 200);
    }
    let refused = Client::connect(address).get("/", "a", "");
    assert_eq!((refused.status, refused.head.get("retry-after")), (503, Some("1")));
    assert!(gateway.metric("portcullis_connections_refused_total", &["reason=\"limit\""]) >= 1.0);
    for client in &mut kept {
        assert_eq!(client.get("/", "a", "").status, 200, "who was there is served on");
    }
    drop(kept);
    eventually("a place", || (get(address, "/").status == 200).then_some(()));
}

#[test]
fn memory_returns_after_a_burst() {
    let (open, port) = (std::sync::Arc::new(AtomicBool::new(false)), ports::free());
    let gate = std::sync::Arc::clone(&open);
    let upstream = Upstream::start(move |exchange| {
        let body = exchange.body()?;
        while !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        exchange.reply(200, "", &body)
    });
    // The policy holds each body in memory.
    let logging = json!([{"policyRef": {"name": "message-logging-flex"}, "config": {"loggingConfiguration": [{
        "itemName": "a",
        "itemData": {"message": "m", "conditional": "#[payload == 'nothing']", "level": "INFO", "firstSection": true},
    }]}}]);
    let api =
        cluster_tests::config::api_with("api", &format!("http://127.0.0.1:{port}"), &upstream.url(), logging);
    let gateway = Plan::new().with("api.yaml", &[api]).workers(2).start();
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    assert!(get_with_open_gate(&open, address));
    let before = gateway.resident_kib();
    open.store(false, Ordering::SeqCst);
    let clients: Vec<_> = (0..100)
        .map(|_| {
            std::thread::spawn(move || {
                let body = "x".repeat(512 * 1024);
                let request =
                    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                Client::connect(address).exchange("POST", request.as_bytes()).expect("an answer").status
            })
        })
        .collect();
    eventually("the burst", || (gateway.resident_kib() > before + 20 * 1024).then_some(()));
    open.store(true, Ordering::SeqCst);
    assert!(clients.into_iter().all(|client| client.join().is_ok_and(|status| status == 200)));
    let peak = gateway.resident_peak_kib();
    let after = eventually("memory to return", || {
        let now = gateway.resident_kib();
        (now < before + (peak - before) / 3).then_some(now)
    });
    println!("{before} KiB, {peak} KiB at the peak, {after} KiB after it");
}

fn get_with_open_gate(open: &AtomicBool, address: SocketAddr) -> bool {
    open.store(true, Ordering::SeqCst);
    get(address, "/").status == 200
}
