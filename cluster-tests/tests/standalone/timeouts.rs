//! Each row of configuration reference 7.1, the limits of 7.2, and the timeouts of decision 5.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, Response, get};
use cluster_tests::config::{api, api_with, binding, configuration, service};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::{Value, json};

fn policy(name: &str, timeout: f64) -> Value {
    json!([{"policyRef": {"name": name}, "config": {"timeout": timeout}}])
}

/// A gateway whose only API has these inline policies, under this environment and configuration.
fn gateway(
    upstream: &str,
    policies: Value,
    environment: &[(&str, &str)],
    settings: Option<Value>,
) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let mut resources = vec![api_with("api", &format!("http://127.0.0.1:{port}"), upstream, policies)];
    resources.extend(settings.map(|spec| configuration("settings", spec)));
    let plan = Plan::new().with("api.yaml", &resources);
    let plan = environment.iter().fold(plan, |plan, (name, value)| plan.environment(name, value));
    (plan.start(), ([127, 0, 0, 1], port).into())
}

/// Reads each request and never answers.
fn silent() -> Upstream {
    Upstream::start(|exchange| {
        exchange.body()?;
        exchange.close();
        exchange.until_closed();
        Ok(())
    })
}

fn assert_text(response: &Response, status: u16, text: &str) {
    assert_eq!((response.status, response.text().trim()), (status, text));
    assert!(response.head.get("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
}

/// Between these bounds: not before its time, and before the default of 15 s.
fn assert_about_a_second(started: Instant) {
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(850) && took < Duration::from_secs(14), "took {took:?}");
}

#[test]
fn the_response_timeout_is_set_by_variable_configuration_or_policy_and_answers_504() {
    let upstream = silent();
    let variable = ("FLEX_UPSTREAM_RESPONSE_TIMEOUT_SECONDS", "1");
    let setting = json!({"timeouts": {"upstreamResponseSeconds": 1}});
    for (says, policies, environment, settings) in [
        ("variable", json!([]), vec![variable], None),
        ("configuration", json!([]), vec![], Some(setting.clone())),
        ("policy", policy("response-timeout-flex", 1.0), vec![], None),
        ("configuration before variable", json!([]), vec![(variable.0, "60")], Some(setting)),
        (
            "policy before configuration and variable",
            policy("response-timeout-flex", 1.0),
            vec![(variable.0, "60")],
            Some(json!({"timeouts": {"upstreamResponseSeconds": 60}})),
        ),
    ] {
        println!("{says}");
        let (_gateway, address) = gateway(&upstream.url(), policies, &environment, settings);
        let started = Instant::now();
        assert_text(&get(address, "/"), 504, "upstream request timeout");
        assert_about_a_second(started);
    }
}

#[test]
fn the_response_timeout_ends_at_the_response_head_and_begins_at_the_requests_end() {
    let upstream = Upstream::start(|exchange| {
        exchange.body()?;
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(500));
            exchange.write(b"2\r\nab\r\n")?;
        }
        exchange.write(b"0\r\n\r\n")
    });
    let (gateway, address) = gateway(&upstream.url(), policy("response-timeout-flex", 3.0), &[], None);
    assert_eq!(get(address, "/").body.len(), 16, "a long body is not cut");
    let awaited = || gateway.metric("portcullis_upstream_response_seconds_sum", &[]);
    let before = awaited();
    let mut client = Client::connect(address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(500));
        client.send(b"x");
    }
    assert_eq!(client.response_to("POST").expect("a slow upload is not cut").status, 200);
    assert!(awaited() - before < 3.5, "the four seconds of the upload are the client's");
}

#[test]
fn a_response_head_that_never_ends_is_a_504() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Le")?;
        exchange.close();
        exchange.until_closed();
        Ok(())
    });
    let (_gateway, address) = gateway(&upstream.url(), policy("response-timeout-flex", 1.0), &[], None);
    assert_text(&get(address, "/"), 504, "upstream request timeout");
}

#[test]
fn a_response_that_stalls_while_a_policy_waits_for_its_body_is_a_504() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")?;
        exchange.close();
        exchange.until_closed();
        Ok(())
    });
    let reads_body = json!({"outboundHeaders": [{"key": "x-body", "value": "#[payload]"}]});
    let policies = json!([
        {"policyRef": {"name": "stream-idle-timeout-flex"}, "config": {"timeout": 1}},
        {"policyRef": {"name": "header-injection-flex"}, "config": reads_body},
    ]);
    let (_gateway, address) = gateway(&upstream.url(), policies, &[], None);
    assert_text(&get(address, "/"), 504, "stream timeout");
}

#[test]
fn the_stream_idle_timeout_answers_504_before_a_head_and_cuts_after_it() {
    let upstream = Upstream::start(|exchange| {
        if exchange.request.method == "POST" {
            return exchange.body().map(drop);
        }
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")?;
        exchange.close();
        exchange.until_closed();
        Ok(())
    });
    let setting = json!({"timeouts": {"streamIdleSeconds": 1}});
    for (policies, environment, settings) in [
        (json!([]), vec![("FLEX_STREAM_IDLE_TIMEOUT_SECONDS", "1")], None),
        (json!([]), vec![], Some(setting)),
        (policy("stream-idle-timeout-flex", 1.0), vec![("FLEX_STREAM_IDLE_TIMEOUT_SECONDS", "60")], None),
    ] {
        let (_gateway, address) = gateway(&upstream.url(), policies, &environment, settings);
        let started = Instant::now();
        let mut client = Client::connect(address);
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
        assert_text(&client.response_to("POST").expect("an answer"), 504, "stream timeout");
        assert_about_a_second(started);
        let started = Instant::now();
        let mut client = Client::connect(address);
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.response_to("GET").is_err(), "a stream that stops is cut, not ended");
        assert_about_a_second(started);
    }
}

#[test]
fn a_stream_that_carries_data_is_not_idle() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..14 {
            std::thread::sleep(Duration::from_millis(250));
            exchange.write(b"1\r\na\r\n")?;
        }
        exchange.write(b"0\r\n\r\n")
    });
    let (_gateway, address) = gateway(&upstream.url(), policy("stream-idle-timeout-flex", 3.0), &[], None);
    assert_eq!(get(address, "/").body.len(), 14);
}

#[test]
fn an_idle_upstream_connection_is_closed_and_no_client_notices() {
    let upstream = Upstream::echo("up");
    let outbound = json!([{"policyRef": {"name": "idle-timeout-flex"}, "config": {"timeout": 1}}]);
    let setting = json!({"timeouts": {"upstreamConnectionIdleSeconds": 1}});
    for (environment, settings, policies) in [
        (vec![("FLEX_UPSTREAM_CONNECTION_IDLE_TIMEOUT_SECONDS", "1")], None, json!([])),
        (vec![], Some(setting), json!([])),
        (vec![], None, outbound),
    ] {
        let port = ports::free();
        let mut resources = vec![api("api", &format!("http://127.0.0.1:{port}"), &upstream.url())];
        resources[0]["spec"]["services"]["up"]["policies"] = policies;
        resources.extend(settings.map(|spec| configuration("settings", spec)));
        let plan = Plan::new().with("api.yaml", &resources);
        let plan = environment.iter().fold(plan, |plan, (name, value)| plan.environment(name, value));
        let _gateway = plan.start();
        let mut client = Client::connect(([127, 0, 0, 1], port).into());
        // Before the connection begins to idle, whenever the test gets to see that.
        let started = Instant::now();
        assert_eq!(client.get("/", "a", "").status, 200);
        eventually("the idle connection is closed", || (upstream.open() == 0).then_some(()));
        assert_about_a_second(started);
        assert_eq!(client.get("/", "a", "").status, 200);
        upstream.cut();
        eventually("nothing is left for the next round", || (upstream.open() == 0).then_some(()));
    }
}

#[test]
fn an_idle_client_connection_is_closed() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) =
        gateway(&upstream.url(), json!([]), &[("FLEX_CONNECTION_IDLE_TIMEOUT_SECONDS", "1")], None);
    let mut client = Client::connect(address);
    let started = Instant::now();
    assert_eq!(client.get("/", "a", "").status, 200);
    assert!(client.closed(), "closed without a byte");
    assert_about_a_second(started);
}

#[test]
fn a_connection_that_has_sent_nothing_idles_and_is_under_no_head_timeout() {
    let upstream = Upstream::echo("up");
    let environment = [("PORTCULLIS_TIMEOUTS__HEAD", "500ms"), ("FLEX_CONNECTION_IDLE_TIMEOUT_SECONDS", "4")];
    let (_gateway, address) = gateway(&upstream.url(), json!([]), &environment, None);
    let mut client = Client::connect(address);
    for _ in 0..2 {
        assert!(client.silent_for(Duration::from_millis(1_500)), "closed or answered while it idles");
        assert_eq!(client.get("/", "a", "").status, 200);
    }
}

#[test]
fn a_head_that_never_ends_is_answered_408_after_ten_seconds_however_slowly_it_drips() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) = gateway(&upstream.url(), json!([]), &[], None);
    let mut stalled = Client::connect(address);
    let mut dripping = Client::connect(address);
    let started = Instant::now();
    stalled.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-");
    dripping.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-");
    while started.elapsed() < Duration::from_secs(7) {
        dripping.send(b"a");
        std::thread::sleep(Duration::from_millis(300));
    }
    for mut client in [stalled, dripping] {
        let response = client.response_to("GET").expect("an answer");
        assert_eq!(response.status, 408);
        assert!(client.closed());
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(9_500) && took < cluster_tests::PATIENCE, "took {took:?}");
    }
}

#[test]
fn an_address_that_never_answers_is_a_503_after_the_connect_timeout() {
    // A documentation address (RFC 5737): packets to it vanish, or the machine has no way there at all.
    let (_gateway, address) = gateway("http://192.0.2.1:9", json!([]), &[], None);
    let started = Instant::now();
    let response = get(address, "/");
    assert_eq!(response.status, 503);
    assert!(response.text().starts_with("upstream connect error"), "{}", response.text());
    assert!(started.elapsed() < Duration::from_secs(14), "took {:?}", started.elapsed());
}

/// How many of these many parallel requests came back with 503, while the others are held by the upstream.
fn refused(address: SocketAddr, path: &'static str, parallel: usize, expected: usize) -> Vec<Response> {
    let (tell, told) = std::sync::mpsc::channel();
    for _ in 0..parallel {
        let tell = tell.clone();
        std::thread::spawn(move || {
            let mut client = Client::connect(address);
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            if let Ok(response) = client.response_to("GET") {
                let _ = tell.send(response);
            }
        });
    }
    let refused: Vec<Response> =
        (0..expected).map(|_| told.recv_timeout(cluster_tests::PATIENCE).expect("a refusal")).collect();
    assert!(told.recv_timeout(Duration::from_millis(500)).is_err(), "more than {expected} were answered");
    refused
}

#[test]
fn above_a_threshold_of_the_circuit_breaker_requests_are_refused_503() {
    let thresholds = |thresholds: Value| json!({"config": {"thresholds": thresholds}});
    for (says, limits, admitted) in [
        ("connections and the queue", json!({"maxConnections": 2, "maxPendingRequests": 1}), 3),
        ("requests", json!({"maxRequests": 3}), 3),
    ] {
        let upstream = silent();
        let (port, twin) = (ports::free(), ports::free());
        let both = ["one", "two"].iter().zip([port, twin]).flat_map(|(name, port)| {
            let mut bare = api(name, &format!("http://127.0.0.1:{port}"), "");
            if let Some(spec) = bare["spec"].as_object_mut() {
                spec.remove("services");
            }
            let config = json!({"config": {"destinationRef": {"name": "slow"}}});
            [bare, binding(&format!("{name}-route"), "ApiInstance", name, "route", config)]
        });
        let breaker = binding("breaker", "Service", "slow", "circuit-breaker-flex", thresholds(limits));
        let resources: Vec<Value> = both.chain([service("slow", &upstream.url()), breaker]).collect();
        let plan = Plan::new().with("api.yaml", &resources);
        let _gateway = plan.environment("FLEX_ENVOY_HEADERS_ENABLED", "true").start();
        let address = ([127, 0, 0, 1], port).into();
        for response in refused(address, "/x", admitted + 4, 4) {
            assert_eq!(response.status, 503, "{says}");
            let overflow =
                "upstream connect error or disconnect/reset before headers. reset reason: overflow";
            assert_eq!(response.text(), overflow, "{says}");
            assert_eq!(response.head.get("retry-after"), Some("1"), "{says}");
            assert_eq!(
                response.head.get("x-envoy-overloaded"),
                Some("true"),
                "{says}: where it is switched on"
            );
        }
        // Every instance that uses the Service shares one set of limits.
        assert_eq!(get(([127, 0, 0, 1], twin).into(), "/y").status, 503, "{says}");
    }
}

#[test]
fn the_circuit_breaker_of_the_whole_gateway_is_a_configuration() {
    let upstream = silent();
    let settings = json!({"circuitBreaker": {"thresholds": {"maxConnections": 1, "maxPendingRequests": 1}}});
    let (_gateway, address) = gateway(&upstream.url(), json!([]), &[], Some(settings));
    for response in refused(address, "/x", 5, 3) {
        assert_eq!((response.status, response.head.get("x-envoy-overloaded")), (503, None));
    }
}

#[test]
fn a_body_that_a_policy_waits_for_has_the_stream_idle_timeout_too() {
    let upstream = Upstream::echo("up");
    let reading = json!([{"policyRef": {"name": "header-injection-flex"}, "config": {
        "inboundHeaders": [{"key": "x-seen", "value": "#[payload.a]"}], "outboundHeaders": [],
    }}]);
    let environment = [("FLEX_STREAM_IDLE_TIMEOUT_SECONDS", "1")];
    let (_gateway, address) = gateway(&upstream.url(), reading, &environment, None);
    let started = Instant::now();
    let mut client = Client::connect(address);
    client
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{");
    assert_text(&client.response_to("POST").expect("an answer"), 504, "stream timeout");
    assert_about_a_second(started);
    assert!(upstream.received().is_empty());
}
