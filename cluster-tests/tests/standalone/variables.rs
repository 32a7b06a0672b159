//! What the variables of configuration reference 13 change, seen from outside. Those of timeouts, hosts, paths and the
//! drain are told in the chapters of their subjects (docs/testing.md).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, get};
use cluster_tests::config::{api, api_with};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::{Value, json};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn plain(name: &str, port: u16, upstream: &Upstream) -> Value {
    api(name, &format!("http://127.0.0.1:{port}"), &upstream.url())
}

#[test]
fn files_are_applied_only_after_the_debounce_time() {
    let (upstream, port, later) = (Upstream::echo("up"), ports::free(), ports::free());
    let plan = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]);
    let gateway = plan.environment("FLEX_SYNC_DEBOUNCE_TIME", "2s").start();
    gateway.put("later.yaml", &[plain("later", later, &upstream)]);
    let written = std::time::Instant::now();
    eventually("the new port", || Client::try_connect(local(later)).ok());
    let took = written.elapsed();
    assert!(took >= Duration::from_millis(1_800), "applied after {took:?}");
}

#[test]
fn there_are_as_many_workers_as_the_flag_says() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let threads = |workers: usize| {
        let gateway = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]).workers(workers).start();
        gateway.threads()
    };
    let (one, four) = (threads(1), threads(4));
    assert!(four >= one + 3, "{one} threads with one worker, {four} with four");
}

#[test]
fn the_vendors_variable_sets_the_workers_and_a_flag_outranks_it() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let plan = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]);
    let plan = plan.environment("FLEX_SERVICE_ENVOY_CONCURRENCY", "5");
    let threads = |plan: Plan| plan.start().threads();
    let (unsaid, flag) = (threads(plan.clone().workers_unsaid()), threads(plan.workers(1)));
    assert_eq!(unsaid, flag + 4, "{unsaid} threads with five workers, {flag} with one");
}

#[test]
fn a_replica_has_the_name_and_id_that_the_variables_give_it() {
    let told = |plan: Plan| plan.start_unready().admin("GET", "/status").json()["gateway"].clone();
    let said = told(Plan::new().environment("FLEX_NAME", "edge-1").environment("FLEX_INSTANCE_ID", "r7"));
    assert_eq!((&said["name"], &said["replica"]), (&json!("edge-1"), &json!("r7")));
    let (one, other) = (told(Plan::new()), told(Plan::new()));
    assert!(one["name"].as_str().is_some_and(|name| !name.is_empty()), "{one}");
    assert_ne!(one["name"], other["name"], "a name is generated for each replica");
}

#[test]
fn a_dynamic_port_replaces_a_fixed_one() {
    let (upstream, fixed, dynamic) = (Upstream::echo("up"), ports::free(), ports::free());
    let _gateway = Plan::new()
        .with("api.yaml", &[plain("api", fixed, &upstream)])
        .environment("FLEX_DYNAMIC_PORT_ENABLE", "true")
        .environment("FLEX_DYNAMIC_PORT_ENVAR", "PORT")
        .environment("FLEX_DYNAMIC_PORT_VALUE", &fixed.to_string())
        .environment("PORT", &dynamic.to_string())
        .start();
    assert_eq!(get(local(dynamic), "/").status, 200);
    assert!(Client::try_connect(local(fixed)).is_err());
}

#[test]
fn a_dynamic_port_works_from_the_settings_file_too() {
    let (upstream, fixed, dynamic) = (Upstream::echo("up"), ports::free(), ports::free());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("settings.yaml");
    let text = format!("dynamic_port: {{enabled: true, variable: SOME_PORT, value: {fixed}}}\n");
    std::fs::write(&file, text).expect("a writable folder");
    let _gateway = Plan::new()
        .with("api.yaml", &[plain("api", fixed, &upstream)])
        .argument("--settings")
        .argument(&file.display().to_string())
        .environment("SOME_PORT", &dynamic.to_string())
        .start();
    assert_eq!(get(local(dynamic), "/").status, 200);
    assert!(Client::try_connect(local(fixed)).is_err());
}

#[test]
fn client_certificate_details_are_forwarded_only_when_asked() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let seen = |value: Option<&str>| {
        let plan = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]);
        let plan = match value {
            Some(value) => plan.environment("FLEX_FORWARD_CLIENT_CERT_DETAILS", value),
            None => plan,
        };
        let _gateway = plan.start();
        let response = Client::connect(local(port)).get("/", "a", "X-Forwarded-Client-Cert: Hash=abc\r\n");
        response.json()["fields"].to_string().contains("Hash=abc")
    };
    assert!(!seen(None), "SANITIZE is the default");
    assert!(!seen(Some("SANITIZE_SET")));
    assert!(seen(Some("ALWAYS_FORWARD_ONLY")));
}

/// What the upstream was sent and what the client got, of `x-envoy-*`, when both sides send some.
fn envoy_fields(environment: &[(&str, &str)], policies: Value) -> (Vec<String>, Vec<String>) {
    let names = |fields: &[(String, String)]| {
        let names = fields.iter().map(|(name, _)| name.to_ascii_lowercase());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("x-envoy-")).collect();
        names.sort();
        names
    };
    let upstream =
        Upstream::start(|exchange| exchange.reply(200, "X-Envoy-Degraded: yes\r\nX-Kept: yes\r\n", b"ok"));
    let port = ports::free();
    let listen = format!("http://127.0.0.1:{port}/base");
    let mut plan = Plan::new().with("api.yaml", &[api_with("api", &listen, &upstream.url(), policies)]);
    for (name, value) in environment {
        plan = plan.environment(name, value);
    }
    let _gateway = plan.start();
    let fields = "x-envoy-attempt-count: 1\r\nX-ENVOY-Internal: true\r\nX-Envoy: kept\r\n";
    let response = Client::connect(local(port)).get("/base/path?q=1", "a", fields);
    assert_eq!((response.status, response.head.get("x-kept")), (200, Some("yes")));
    let received = upstream.received().remove(0);
    assert_eq!(received.head.get("x-envoy"), Some("kept"), "only names that begin with x-envoy- are meant");
    if !environment.is_empty() {
        assert_eq!(received.head.get("x-envoy-original-path"), Some("/base/path?q=1"));
        assert_eq!(received.head.get("x-envoy-expected-rq-timeout-ms"), Some("15000"));
        let took = response.head.get("x-envoy-upstream-service-time").expect("the upstream's time");
        assert!(took.parse::<u64>().is_ok(), "milliseconds: {took}");
    }
    (names(&received.head.fields), names(&response.head.fields))
}

#[test]
fn envoy_headers_are_removed_in_both_directions_unless_switched_on() {
    let (sent, got) = envoy_fields(&[], json!([]));
    assert!(sent.is_empty() && got.is_empty(), "sent {sent:?}, got {got:?}");
    let (sent, got) = envoy_fields(&[("FLEX_ENVOY_HEADERS_ENABLED", "true")], json!([]));
    let expected = ["x-envoy-attempt-count", "x-envoy-expected-rq-timeout-ms", "x-envoy-original-path"];
    assert_eq!(sent, expected, "an outsider does not say that he is internal");
    assert_eq!(got, ["x-envoy-degraded", "x-envoy-upstream-service-time"]);
}

#[test]
fn an_envoy_header_that_a_policy_injects_is_the_operators_wish() {
    let policies = json!([{
        "policyRef": {"name": "header-injection-flex"},
        "config": {
            "inboundHeaders": [{"key": "x-envoy-max-retries", "value": "2"}],
            "outboundHeaders": [{"key": "x-envoy-overloaded", "value": "no"}],
        },
    }]);
    let (sent, got) = envoy_fields(&[], policies);
    assert_eq!((sent, got), (vec!["x-envoy-max-retries".to_owned()], vec!["x-envoy-overloaded".to_owned()]));
}

fn lookups(gateway: &Gateway) -> u64 {
    let page = gateway.admin("GET", "/metrics").text();
    let line = page.lines().find(|line| line.starts_with("portcullis_dns_lookups_total{outcome=\"found\"}"));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The shortest period is 5 s: one gateway resolves anew after it, another that was told 60 s does not.
#[test]
fn an_upstreams_name_is_resolved_again_after_the_dns_refresh_rate() {
    let upstream = Upstream::start(|exchange| {
        // Each request needs a connection, and so an address.
        exchange.close();
        exchange.reply(200, "Connection: close\r\n", b"")
    });
    let by_name = format!("http://localhost:{}", upstream.address().port());
    let start = |rate: &str| {
        let port = ports::free();
        let plan = Plan::new().with("api.yaml", &[api("api", &format!("http://127.0.0.1:{port}"), &by_name)]);
        (plan.environment("FLEX_DNS_REFRESH_RATE", rate).start(), port)
    };
    let (often, seldom) = (start("1s"), start("60s"));
    let asked = Instant::now();
    for (gateway, port) in [&often, &seldom] {
        for _ in 0..10 {
            assert_eq!(get(local(*port), "/").status, 200);
        }
        assert_eq!(lookups(gateway), 1, "one answer serves ten connections within the period");
    }
    eventually("a second lookup", || {
        assert_eq!(get(local(often.1), "/").status, 200);
        (lookups(&often.0) >= 2).then_some(())
    });
    assert!(asked.elapsed() >= Duration::from_secs(3), "1s counts as 5s");
    assert_eq!(get(local(seldom.1), "/").status, 200);
    assert_eq!(lookups(&seldom.0), 1);
}
