//! Probes, the admin interface, files and logs of one gateway (configuration reference 2, 9 and 10).

use std::net::SocketAddr;

use cluster_tests::client::{Client, call, get};
use cluster_tests::config::{api, api_with, configuration, login};
use cluster_tests::gateway::Plan;
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
fn without_an_api_the_gateway_is_alive_and_never_ready_until_one_is_deployed() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let gateway = Plan::new().start_unready();
    let response = gateway.admin("GET", "/probes/readiness");
    assert_eq!(response.status, 503);
    assert!(response.json().is_object(), "a small JSON body: {}", response.text());
    assert_eq!(gateway.admin("GET", "/probes/liveness").status, 200);
    let _ = gateway.apply("api.yaml", &[plain("first", port, &upstream)]);
    eventually("ready", || gateway.ready().then_some(()));
    assert_eq!(get(local(port), "/").status, 200);
}

#[test]
fn a_starting_gateway_with_errors_is_ready_only_for_those_who_allow_them() {
    let (upstream, port, broken) = (Upstream::echo("up"), ports::free(), ports::free());
    let bad =
        json!([{"policyRef": {"name": "http-basic-authentication-flex"}, "config": {"username": "ada"}}]);
    let guarded = api_with("guarded", &format!("http://127.0.0.1:{broken}"), &upstream.url(), bad);
    let gateway = Plan::new().with("api.yaml", &[plain("good", port, &upstream), guarded]).start_unready();
    eventually("the good instance", || Client::try_connect(local(port)).ok());
    let all = "allowEnvoyErrors=true&allowAPIErrors=true&allowPolicyErrors=true";
    for (query, status) in [
        ("", 503),
        ("allowPolicyErrors=false", 503),
        (all, 200),
        ("ALLOWENVOYERRORS=true&allowapierrors=true&allowPOLICYerrors=true", 200),
    ] {
        assert_eq!(gateway.admin("GET", &format!("/probes/readiness?{query}")).status, status, "{query}");
    }
}

#[test]
fn a_bad_change_does_not_take_readiness_from_a_running_gateway() {
    let (upstream, port, broken) = (Upstream::echo("up"), ports::free(), ports::free());
    let gateway = Plan::new().with("api.yaml", &[plain("good", port, &upstream)]).start();
    let bad = json!([{"policyRef": {"name": "no-such-policy"}}]);
    let guarded = api_with("guarded", &format!("http://127.0.0.1:{broken}"), &upstream.url(), bad);
    let outcome = gateway.apply("bad.yaml", &[guarded]);
    assert!(outcome.json()["errors"].as_u64().is_some_and(|errors| errors > 0), "{}", outcome.text());
    assert!(gateway.ready());
    gateway.remove("api.yaml");
    gateway.remove("bad.yaml");
    let _ = gateway.reload();
    eventually("the port is closed", || Client::try_connect(local(port)).is_err().then_some(()));
    assert!(gateway.ready(), "it was ready once, and a change of configuration does not flip it");
}

#[test]
fn the_probe_port_is_off_unless_configured_and_serves_both_probes() {
    let (upstream, port, probe) = (Upstream::echo("up"), ports::free(), ports::free());
    let gateway = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]).start();
    assert!(Client::try_connect(local(probe)).is_err());
    let spec = json!({"probe": {"enabled": true, "port": probe, "path": "/healthy"}});
    let _ = gateway.apply("probe.yaml", &[configuration("probe", spec)]);
    eventually("the probe port", || Client::try_connect(local(probe)).ok());
    for path in ["/probes/readiness", "/probes/liveness", "/healthy", "/probes/readiness?allowAPIErrors=true"]
    {
        let response = get(local(probe), path);
        assert_eq!(response.status, 200, "{path}");
        assert!(response.json().is_object(), "{path}");
    }
    assert_eq!(get(local(probe), "/config/dump").status, 404, "the probe port shows nothing else");
    assert!([404, 405].contains(&call(local(probe), "POST", "/reload", "", "").status));
    let spec = json!({"probe": {"enabled": false, "port": probe}});
    let _ = gateway.apply("probe.yaml", &[configuration("probe", spec)]);
    eventually("the probe port is closed", || Client::try_connect(local(probe)).is_err().then_some(()));
}

#[test]
fn the_admin_interface_tells_status_metrics_and_the_effective_configuration() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let guarded =
        api_with("guarded", &format!("http://127.0.0.1:{port}"), &upstream.url(), json!([login(json!([]))]));
    let gateway = Plan::new().with("api.yaml", &[guarded]).start();
    assert_eq!(get(local(port), "/").status, 401);
    let status = gateway.admin("GET", "/status");
    assert!(status.status == 200 && status.json().is_object());
    let metrics = gateway.admin("GET", "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("guarded"), "per API:\n{}", metrics.text());
    assert!(metrics.text().lines().any(|line| line.starts_with("# TYPE")), "Prometheus text");
    let dump = gateway.admin("GET", "/config/dump");
    assert_eq!(dump.status, 200);
    assert!(dump.text().contains("guarded"));
    assert!(!dump.text().contains("secret"), "secrets are redacted: {}", dump.text());
    assert_eq!(gateway.admin("GET", "/nothing").status, 404);
    assert!([404, 405].contains(&gateway.admin("GET", "/reload").status), "a GET changes nothing");
}

#[test]
fn the_log_level_changes_at_run_time() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let gateway = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]).start();
    let put = |level: &str| {
        let plain = call(gateway.admin_address(), "PUT", "/log/level", "Content-Type: text/plain\r\n", level);
        if plain.status < 300 {
            return plain.status;
        }
        let body = json!({"level": level}).to_string();
        call(gateway.admin_address(), "PUT", "/log/level", "Content-Type: application/json\r\n", &body).status
    };
    assert!(put("debug") < 300);
    assert!(put("error") < 300);
    assert!((400..500).contains(&put("loudest")), "an unknown level is refused");
}

#[test]
fn several_folders_and_sub_folders_and_all_three_extensions_are_read() {
    let upstream = Upstream::echo("up");
    let ports: Vec<u16> = (0..4).map(|_| ports::free()).collect();
    let second = tempfile::tempdir().expect("a temporary folder");
    let text = |number: usize| {
        cluster_tests::config::documents(&[plain(&format!("api-{number}"), ports[number], &upstream)])
    };
    std::fs::write(second.path().join("four.yaml"), text(3)).expect("a writable folder");
    let _gateway = Plan::new()
        .with_text("one.yaml", &text(0))
        .with_text("custom/two.yml", &text(1))
        .with_text("custom/deep/three.json", &text(2))
        .with_text("notes.txt", "not: [a resource")
        .argument("--config")
        .argument(&second.path().display().to_string())
        .start();
    for port in ports {
        assert_eq!(get(local(port), "/").status, 200);
    }
}

#[test]
fn every_line_of_a_request_carries_its_id_and_no_line_a_secret() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let logging = json!({"policyRef": {"name": "message-logging-flex"}, "config": {"loggingConfiguration": [
        {"itemName": "in", "itemData": {"message": "#['seen ' ++ attributes.requestPath]", "level": "INFO", "firstSection": true}},
        {"itemName": "out", "itemData": {"message": "#['done ' ++ vars.request.requestPath]", "level": "INFO", "firstSection": false, "secondSection": true}},
    ]}});
    let policies = json!([login(json!([])), logging]);
    let guarded = api_with("guarded", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    let gateway = Plan::new().with("api.yaml", &[guarded]).start();
    let fields = format!("{}X-Request-Id: id-4711\r\n", cluster_tests::config::LOGIN);
    assert_eq!(Client::connect(local(port)).get("/paper", "a", &fields).status, 200);
    for word in ["seen /paper", "done /paper"] {
        let line = gateway.says(word);
        assert!(line.contains("id-4711"), "{line}");
    }
    assert!(!gateway.log().contains("YWRhOnNlY3JldA=="), "{}", gateway.log());
}
