//! More than can be served: what is too much is refused at once and said to come back, what was accepted is served, and
//! its latency stays bounded.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, get};
use cluster_tests::config::{api, binding, configuration, service};
use cluster_tests::daemon::Daemon;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::upstream::Upstream;
use cluster_tests::{PATIENCE, alone, eventually, ports};
use serde_json::json;

use crate::faults::assert_nothing_left;

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

/// The latency that half of the answers of this status had at the most: a machine that stands still for a moment
/// moves the worst, and not this.
fn median(seen: &[(u16, Duration)], status: u16) -> Duration {
    let of_status = seen.iter().filter(|(found, _)| *found == status);
    let mut latencies: Vec<Duration> = of_status.map(|(_, latency)| *latency).collect();
    latencies.sort();
    latencies.get(latencies.len() / 2).copied().unwrap_or_default()
}

#[test]
fn at_three_times_the_capacity_of_an_upstream_the_latency_of_what_is_accepted_stays_bounded() {
    const WORK: Duration = Duration::from_millis(100);
    let _turn = alone();
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
        "{served} served in {:?}, {} refused in {:?}",
        median(&seen, 200),
        seen.len() - served,
        median(&seen, 503)
    );
    // Four connections do forty a second, 160 in all; what is refused takes nothing from them.
    assert!(served >= 80, "{served} of {}", seen.len());
    assert!(seen.len() > served, "some were refused");
    // It waits for one other and is served itself; if all 24 stood in line, each would wait for five.
    assert!(median(&seen, 200) < 4 * WORK, "{:?}", median(&seen, 200));
    assert!(median(&seen, 503) < WORK, "{:?}", median(&seen, 503));
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
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn workers_take_turns_with_the_only_connection_to_an_h2_service() {
    let _turn = alone();
    let (server, port) = (Daemon::nghttpd("file", b"hello"), ports::free());
    let one = json!({"circuitBreaker": {"thresholds": {"maxConnections": 1}}});
    let url = format!("h2://{}", server.address());
    let api = api("api", &format!("http://127.0.0.1:{port}"), &url);
    let plan = Plan::new().with("api.yaml", &[api, configuration("settings", one)]);
    let gateway = plan.workers(3).start();
    let address = ([127, 0, 0, 1], port).into();
    for _ in 0..30 {
        assert_eq!(get(address, "/file").status, 200, "the connection idles on one worker or another");
    }
    let begun = Instant::now();
    // Kept connections: each worker has clients that ask without a pause.
    let clients: Vec<_> = (0..12)
        .map(|_| {
            std::thread::spawn(move || {
                let (mut client, mut slowest) = (Client::connect(address), Duration::ZERO);
                while begun.elapsed() < Duration::from_secs(3) {
                    let asked = Instant::now();
                    assert_eq!(client.get("/file", "a", "").status, 200);
                    slowest = slowest.max(asked.elapsed());
                }
                slowest
            })
        })
        .collect();
    let slowest = clients.into_iter().map(|client| client.join().expect("a client that is served")).max();
    println!("the slowest took {slowest:?}");
    assert!(slowest < Some(Duration::from_secs(14)), "{slowest:?}: before its response timeout of 15 s");
    assert_nothing_left(&gateway);
}

#[test]
fn nobody_is_forgotten_in_line_while_clients_leave_upstreams_close_and_limits_change() {
    let upstream = Upstream::start(|exchange| {
        std::thread::sleep(Duration::from_millis(fastrand::u64(..8)));
        match fastrand::u8(..10) {
            0 => {
                exchange.close();
                return Ok(());
            }
            1 => exchange.close(),
            _ => {}
        }
        exchange.reply(200, "", b"done")
    });
    let port = ports::free();
    let limited = |connections: usize| {
        let mut resources = Vec::new();
        for name in ["first", "second"] {
            let mut api = api(name, &format!("http://127.0.0.1:{port}/{name}"), "");
            api["spec"]["services"] = json!({});
            let to = json!({"config": {"destinationRef": {"name": name}}});
            let most =
                json!({"config": {"thresholds": {"maxConnections": connections, "maxPendingRequests": 20}}});
            resources.extend([
                api,
                service(name, &upstream.url()),
                binding(&format!("{name}-route"), "ApiInstance", name, "route", to),
                binding(&format!("{name}-breaker"), "Service", name, "circuit-breaker-flex", most),
            ]);
        }
        resources
    };
    let gateway = Plan::new().with("api.yaml", &limited(2)).workers(3).start();
    let (address, over) = (SocketAddr::from(([127, 0, 0, 1], port)), AtomicBool::new(false));
    let ask = |path: &'static str| {
        let mut served = 0;
        while !over.load(Ordering::Relaxed) {
            let mut client = Client::connect(address);
            for _ in 0..fastrand::usize(1..20) {
                client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
                if fastrand::u8(..8) == 0 {
                    std::thread::sleep(Duration::from_millis(fastrand::u64(..6)));
                    client.reset();
                    break;
                }
                let status = client.response_to("GET").expect("an answer, good or bad").status;
                assert!([200, 503].contains(&status), "{status}");
                served += usize::from(status == 200);
            }
        }
        served
    };
    let served = std::thread::scope(|scope| {
        let ask = &ask;
        let clients: Vec<_> =
            (0..24).map(|at| scope.spawn(move || ask(["/first", "/second"][at % 2]))).collect();
        for round in 0..30 {
            std::thread::sleep(Duration::from_millis(100));
            gateway.apply("api.yaml", &limited(1 + round % 4));
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a client that asks on")).sum::<usize>()
    });
    assert!(served > 200, "{served}");
    assert_nothing_left(&gateway);
    for path in ["/first", "/second"].repeat(10) {
        // One of ten requests dies in the upstream, and its retry may, too.
        let tried = (0..5).map(|_| get(address, path).status).find(|status| *status == 200);
        assert_eq!(tried, Some(200), "{path}");
    }
}

#[test]
fn more_requests_than_a_worker_may_have_are_answered_503_at_once_and_the_others_served() {
    const WORK: Duration = Duration::from_millis(100);
    let _turn = alone();
    let upstream = slow(WORK);
    let (gateway, address) = in_front_of(&upstream, &["--set", "limits.requests=4"]);
    let seen = press(address, 12, Duration::from_secs(2));
    let served = seen.iter().filter(|(status, _)| *status == 200).count();
    println!("{served} served, {} refused", seen.len() - served);
    assert!(served >= 40, "{served}: four at a time do forty a second, 80 in all");
    assert!(seen.len() > served, "some were refused");
    // Nobody waits; if all twelve were let in, the upstream would serve them all.
    assert!(median(&seen, 200) < 4 * WORK, "{:?}", median(&seen, 200));
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
