//! SIGTERM: clients that honour `Connection: close` lose nothing (configuration reference 10.3, decision 18).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, get};
use cluster_tests::config::{api, configuration};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::load::{Load, OnClose, Work, get_bytes};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::json;

fn draining_for(seconds: u64, upstream: &Upstream) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let api = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let plan = Plan::new().with("api.yaml", &[api]);
    let gateway = plan.environment("FLEX_SERVICE_ENVOY_DRAIN_TIME", &seconds.to_string()).start();
    (gateway, ([127, 0, 0, 1], port).into())
}

#[test]
fn a_drain_under_load_fails_nothing_for_clients_that_honour_connection_close() {
    let upstream = Upstream::start(|exchange| {
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..5)));
        exchange.echo("up")
    });
    let (mut gateway, address) = draining_for(15, &upstream);
    let load = Load::start(Work {
        address,
        kept: 24,
        fresh: 8,
        on_close: OnClose::Leave,
        request: Arc::new(|number| get_bytes(&format!("/{number}"))),
        check: Arc::new(|number, response| match response.status {
            200 if response.json()["target"] == format!("/{number}") => Ok(()),
            status => Err(format!("{status} {}", response.text())),
        }),
    });
    eventually("load", || (load.answered() > 1_000).then_some(()));
    gateway.signal("TERM");
    eventually("everyone was told to leave", || load.all_left().then_some(()));
    let tally = load.stop();
    tally.assert_clean();
    assert_eq!(tally.left, 32);
    assert!(gateway.wait(Duration::from_secs(30)).success());
}

#[test]
fn during_the_drain_readiness_is_false_liveness_true_and_new_connections_are_served() {
    let upstream = Upstream::echo("up");
    let (mut gateway, address) = draining_for(15, &upstream);
    assert!(gateway.ready());
    let mut kept = Client::connect(address);
    assert!(!kept.get("/before", "a", "").closes());
    // A connection in use keeps the drain from ending early.
    let mut held = Client::connect(address);
    held.send(b"POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    eventually("the request is under way", || {
        upstream.received().iter().find(|r| r.target == "/held").map(drop)
    });
    gateway.signal("TERM");
    eventually("not ready", || (!gateway.ready()).then_some(()));
    assert_eq!(gateway.admin("GET", "/probes/liveness").status, 200);
    let response = get(address, "/new");
    assert_eq!(response.status, 200, "accepting goes on until the drain ends");
    let response = kept.get("/after", "a", "");
    assert!(response.status == 200 && response.closes(), "a kept connection is answered and told to close");
    assert!(kept.closed());
    held.send(b"cd");
    let response = held.response_to("POST").expect("a request in flight is completed");
    assert_eq!(response.json()["body"], "abcd");
    assert!(gateway.wait(Duration::from_secs(30)).success());
    assert!(Client::try_connect(address).is_err());
}

#[test]
fn log_files_are_opened_anew_during_the_drain_too() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let logs = tempfile::tempdir().expect("a folder");
    let output = json!({"logging": {
        "outputs": [{"name": "disk", "type": "file", "parameters": {"path": logs.path(), "file": "gateway.log"}}],
        "runtimeLogs": {"logLevel": "info", "outputs": ["disk"]},
    }});
    let api = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let plan = Plan::new().with("api.yaml", &[api, configuration("logs", output)]);
    let mut gateway = plan.environment("FLEX_SERVICE_ENVOY_DRAIN_TIME", "30").start();
    let (current, moved) = (logs.path().join("gateway.log"), logs.path().join("gateway.log.1"));
    let holds = |path: &std::path::Path, text: &str| {
        std::fs::read_to_string(path).is_ok_and(|found| found.contains(text))
    };
    // A connection in use keeps the drain from ending early.
    let mut held = Client::connect(([127, 0, 0, 1], port).into());
    held.send(b"POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    gateway.signal("TERM");
    eventually("the drain", || holds(&current, "draining").then_some(()));
    std::fs::rename(&current, &moved).expect("a writable folder");
    gateway.signal("USR1");
    eventually("a new file", || current.exists().then_some(()));
    gateway.signal("HUP");
    gateway.says("is not reloaded");
    held.send(b"cd");
    assert_eq!(held.response_to("POST").expect("an answer").status, 200);
    assert!(gateway.wait(Duration::from_secs(30)).success());
    assert!(holds(&current, "stopped") && !holds(&moved, "stopped"));
}

#[test]
fn a_response_in_flight_is_completed_within_the_drain() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(50));
            exchange.write(b"2\r\nab\r\n")?;
        }
        exchange.write(b"0\r\n\r\n")
    });
    let (mut gateway, address) = draining_for(10, &upstream);
    let mut client = Client::connect(address);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, mut body) = client.head_for("GET").expect("a head");
    gateway.signal("TERM");
    assert_eq!(client.wire.whole(&mut body).expect("the whole body").len(), 40);
    assert!(client.closed(), "and then the connection is closed");
    assert!(gateway.wait(Duration::from_secs(30)).success());
}

#[test]
fn a_stream_that_outlives_the_drain_is_cut_at_its_end() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            std::thread::sleep(Duration::from_millis(20));
            exchange.write(b"2\r\nab\r\n")?;
        }
    });
    let (mut gateway, address) = draining_for(1, &upstream);
    let mut client = Client::connect(address);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, mut body) = client.head_for("GET").expect("a head");
    let started = Instant::now();
    gateway.signal("TERM");
    assert!(client.wire.whole(&mut body).is_err(), "cut, and never given a false end");
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "not before the drain ended: {:?}",
        started.elapsed()
    );
    assert!(gateway.wait(Duration::from_secs(30)).success());
}
