//! `route` and `route-weighted`, headers towards the upstream, answers of our own: configuration reference 4.6 to 4.8.

use std::collections::HashMap;
use std::net::SocketAddr;

use cluster_tests::client::{Client, Response, call, get};
use cluster_tests::config::{api, binding, configuration, service};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// An instance without services, for `route` bindings.
fn bare(name: &str, port: u16, base: &str) -> Value {
    let mut value = api(name, &format!("http://127.0.0.1:{port}{base}"), "");
    if let Some(spec) = value["spec"].as_object_mut() {
        spec.remove("services");
    }
    value
}

fn route(name: &str, api: &str, order: i64, to: &str, path: Option<&str>, rules: Value) -> Value {
    let mut config = json!({"destinationRef": {"name": to}});
    if let Some(path) = path {
        config["destinationPath"] = path.into();
    }
    binding(name, "ApiInstance", api, "route", json!({"order": order, "config": config, "rules": rules}))
}

/// The values of a field as the upstream saw them.
fn field(response: &Response, name: &str) -> Vec<String> {
    let seen = response.json();
    let pairs = seen["fields"].as_array().cloned().unwrap_or_default();
    let named = |pair: &&Value| pair[0].as_str().is_some_and(|key| key.eq_ignore_ascii_case(name));
    pairs.iter().filter(named).filter_map(|pair| pair[1].as_str().map(str::to_owned)).collect()
}

#[test]
fn route_bindings_are_tried_by_ascending_order_and_carry_a_destination_path() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let port = ports::free();
    let resources = [
        bare("orders", port, "/api"),
        service("one", &one.url()),
        service("two", &format!("{}/", two.url())),
        route("z-last", "orders", 60, "two", None, json!([])),
        route("a-late", "orders", 20, "two", Some("/late"), json!([{"path": "/x(/.*)"}])),
        route("b-early", "orders", 10, "one", Some("/early"), json!([{"path": "/x(/.*)", "methods": "GET"}])),
    ];
    let _gateway = Plan::new().with("api.yaml", &resources).start();
    for (method, path, answer) in [
        ("GET", "/api/x/1", ("one", "/early/1")),
        ("POST", "/api/x/1", ("two", "/late/1")),
        ("GET", "/api/y", ("two", "/y")),
    ] {
        let seen = call(local(port), method, path, "", "").json();
        let told = (seen["upstream"].as_str().unwrap_or("-"), seen["target"].as_str().unwrap_or("-"));
        assert_eq!(told, answer, "{method} {path}");
    }
}

#[test]
fn a_destination_without_a_namespace_is_in_that_of_the_binding_and_its_kind_is_service() {
    let (near, far) = (Upstream::echo("near"), Upstream::echo("far"));
    let port = ports::free();
    let within = |namespace: &str, mut value: Value| {
        value["metadata"]["namespace"] = namespace.into();
        value
    };
    let to = |name: &str, order: i64, path: &str, destination: Value| {
        let config = json!({"destinationRef": destination});
        let more = json!({"order": order, "config": config, "rules": [{"path": path}]});
        within("sales", binding(name, "ApiInstance", "orders", "route", more))
    };
    let resources = [
        within("sales", bare("orders", port, "")),
        within("sales", service("up", &near.url())),
        service("up", &far.url()),
        to("absent", 1, "/absent", json!({"name": "up"})),
        to("empty", 2, "/empty", json!({"kind": "Service", "name": "up", "namespace": ""})),
        to("named", 3, "/named", json!({"name": "up", "namespace": "default"})),
    ];
    let _gateway = Plan::new().with("api.yaml", &resources).start();
    for (path, answer) in [("/absent", "near"), ("/empty", "near"), ("/named", "far")] {
        assert_eq!(get(local(port), path).json()["upstream"], answer, "{path}");
    }
}

#[test]
fn route_bindings_and_inline_services_merge_by_order() {
    let (inline, bound) = (Upstream::echo("inline"), Upstream::echo("bound"));
    let port = ports::free();
    let resources = [
        api("mixed", &format!("http://127.0.0.1:{port}"), &inline.url()),
        service("bound", &bound.url()),
        route("early", "mixed", 10, "bound", None, json!([{"path": "/bound/.*"}])),
    ];
    let _gateway = Plan::new().with("api.yaml", &resources).start();
    assert_eq!(get(local(port), "/bound/1").json()["upstream"], "bound");
    assert_eq!(get(local(port), "/else").json()["upstream"], "inline");
}

fn weighted(routes: Value, rules: Value) -> Value {
    let more = json!({"order": 20, "config": {"routes": routes}, "rules": rules});
    binding("shares", "ApiInstance", "orders", "route-weighted", more)
}

#[test]
fn route_weighted_gives_each_upstream_its_share_and_draws_for_each_request() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let port = ports::free();
    let routes = json!([
        {"weight": 1, "destinationRef": {"name": "one"}},
        {"weight": 3, "destinationPath": "/beta", "destinationRef": {"name": "two"}},
    ]);
    let resources = [
        bare("orders", port, ""),
        service("one", &one.url()),
        service("two", &two.url()),
        weighted(routes, json!([{"path": "/orders/.*", "methods": "GET|POST"}])),
    ];
    let _gateway = Plan::new().with("api.yaml", &resources).start();
    let mut client = Client::connect(local(port));
    let mut counts: HashMap<String, u32> = HashMap::new();
    for _ in 0..2_000 {
        let seen = client.get("/orders/3", "a", "").json();
        let told = format!(
            "{} {}",
            seen["upstream"].as_str().unwrap_or("-"),
            seen["target"].as_str().unwrap_or("-")
        );
        *counts.entry(told).or_default() += 1;
    }
    let ones = counts.get("one /orders/3").copied().unwrap_or(0);
    let twos = counts.get("two /beta/orders/3").copied().unwrap_or(0);
    assert_eq!(ones + twos, 2_000, "{counts:?}");
    // A quarter of 2,000 is 500 with a deviation of 19: seven deviations never fail by chance.
    assert!((365..=635).contains(&ones), "{counts:?}");
    assert_eq!(call(local(port), "PUT", "/orders/3", "", "").status, 404, "the rules belong to the binding");
}

#[test]
fn a_weight_outside_1_to_100_never_becomes_a_route() {
    for weight in [json!(0), json!(101), json!("much")] {
        let (one, port) = (Upstream::echo("one"), ports::free());
        let routes = json!([{"weight": weight, "destinationRef": {"name": "one"}}]);
        let resources = [bare("orders", port, ""), service("one", &one.url()), weighted(routes, json!([]))];
        let gateway = Plan::new().with("api.yaml", &resources).start_unready();
        if let Ok(mut client) = Client::try_connect(local(port)) {
            assert_ne!(client.get("/orders/3", "a", "").status, 200, "weight {weight}");
        }
        assert!(one.received().is_empty() && !gateway.ready(), "weight {weight}");
    }
}

#[test]
fn a_route_to_a_service_that_does_not_exist_attaches_when_it_appears() {
    let (late, port) = (Upstream::echo("late"), ports::free());
    let resources = [bare("orders", port, ""), route("r", "orders", 10, "late", None, json!([]))];
    let gateway = Plan::new().with("api.yaml", &resources).start_unready();
    let status = Client::try_connect(local(port)).map(|mut client| client.get("/x", "a", "").status);
    assert!(!matches!(status, Ok(200)), "{status:?}");
    let _ = gateway.apply("service.yaml", &[service("late", &late.url())]);
    cluster_tests::eventually("the route", || {
        Client::try_connect(local(port)).ok().filter(|_| get(local(port), "/x").status == 200)
    });
}

fn echoing(environment: &[(&str, &str)], extra: &[Value]) -> (Upstream, Gateway, SocketAddr) {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let mut resources = vec![api("plain", &format!("http://127.0.0.1:{port}"), &upstream.url())];
    resources.extend_from_slice(extra);
    let plan = Plan::new().with("api.yaml", &resources);
    let plan = environment.iter().fold(plan, |plan, (name, value)| plan.environment(name, value));
    (upstream, plan.start(), local(port))
}

#[test]
fn host_becomes_the_name_of_the_service_without_its_port() {
    let (_upstream, _gateway, address) = echoing(&[], &[]);
    let response = get(address, "/");
    assert_eq!(field(&response, "host"), ["127.0.0.1"]);
    assert_eq!(field(&response, "x-forwarded-host"), ["gateway.test"]);

    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let url = format!("http://app-a.internal:{}", upstream.address().port());
    let plan = Plan::new().with("api.yaml", &[api("named", &format!("http://127.0.0.1:{port}"), &url)]);
    let _gateway = plan.environment("PORTCULLIS_DNS__HOSTS", "app-a.internal=127.0.0.1").start();
    assert_eq!(field(&get(local(port), "/"), "host"), ["app-a.internal"]);
}

#[test]
fn host_is_the_clients_own_when_rewriting_is_switched_off() {
    let routing = configuration("routing", json!({"routing": {"rewriteHostHeader": false}}));
    for (environment, extra) in
        [(vec![("FLEX_REWRITE_HOST_HEADER", "false")], vec![]), (vec![], vec![routing])]
    {
        let (_upstream, _gateway, address) = echoing(&environment, &extra);
        let response = get(address, "/");
        assert_eq!(field(&response, "host"), ["gateway.test"], "{environment:?}");
    }
}

#[test]
fn forwarded_headers_are_appended_and_a_request_id_is_kept_or_made() {
    let (_upstream, _gateway, address) = echoing(&[], &[]);
    let response = get(address, "/");
    assert_eq!(field(&response, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(field(&response, "x-forwarded-proto"), ["http"]);
    let made = field(&response, "x-request-id");
    assert!(made.len() == 1 && made[0].len() == 36, "a UUID: {made:?}");
    assert_ne!(made, field(&get(address, "/"), "x-request-id"));

    let fields = "X-Forwarded-For: 10.1.1.1\r\nX-Request-Id: mine-1\r\nX-Forwarded-Client-Cert: Hash=abc\r\n";
    let response = Client::connect(address).get("/", "gateway.test", fields);
    assert_eq!(field(&response, "x-forwarded-for").join(", ").replace(' ', ""), "10.1.1.1,127.0.0.1");
    assert_eq!(field(&response, "x-request-id"), ["mine-1"]);
    assert!(field(&response, "x-forwarded-client-cert").is_empty(), "sanitised by default");

    let long = format!("X-Request-Id: {}\r\n", "x".repeat(129));
    let made = field(&Client::connect(address).get("/", "gateway.test", &long), "x-request-id");
    assert!(made.len() == 1 && made[0].len() == 36, "an id that is too long is replaced: {made:?}");
}

#[test]
fn the_server_header_names_us_and_can_be_removed() {
    let (_upstream, _gateway, address) = echoing(&[], &[]);
    assert_eq!(get(address, "/").head.all("server").collect::<Vec<_>>(), ["portcullis"]);
    let (_upstream, _gateway, address) = echoing(&[("FLEX_REMOVE_SERVER_HEADER", "true")], &[]);
    assert_eq!(get(address, "/").head.get("server"), None);
}

#[test]
fn an_upstream_that_cannot_be_reached_is_a_503_that_says_so() {
    let (refused, port) = (ports::free(), ports::free());
    let value = api("gone", &format!("http://127.0.0.1:{port}"), &format!("http://127.0.0.1:{refused}"));
    let _gateway = Plan::new().with("api.yaml", &[value]).start();
    let response = get(local(port), "/");
    assert_eq!(response.status, 503);
    let text = "upstream connect error or disconnect/reset before headers. reset reason: ";
    assert!(response.text().starts_with(text), "{}", response.text());
    assert!(response.head.get("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
}

#[test]
fn a_name_with_several_addresses_fails_over_to_the_one_that_answers() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let url = format!("http://several.internal:{}", upstream.address().port());
    let plan = Plan::new().with("api.yaml", &[api("several", &format!("http://127.0.0.1:{port}"), &url)]);
    // Nobody listens on the first two.
    let plan = plan.environment("PORTCULLIS_DNS__HOSTS", "several.internal=127.0.0.91 127.0.0.92 127.0.0.1");
    let _gateway = plan.start();
    for _ in 0..12 {
        assert_eq!(get(local(port), "/").status, 200);
    }
}

#[test]
fn a_name_that_does_not_resolve_is_a_503() {
    let port = ports::free();
    let value = api("lost", &format!("http://127.0.0.1:{port}"), "http://nowhere.invalid:9000");
    let _gateway = Plan::new().with("api.yaml", &[value]).start();
    assert_eq!(get(local(port), "/").status, 503);
}

#[test]
fn a_policy_rejection_is_json_with_one_member() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let policies = json!([{"policyRef": {"name": "ip-allowlist-flex"}, "config": {"ips": ["10.0.0.1"]}}]);
    let value = cluster_tests::config::api_with(
        "closed",
        &format!("http://127.0.0.1:{port}"),
        &upstream.url(),
        policies,
    );
    let _gateway = Plan::new().with("api.yaml", &[value]).start();
    let response = get(local(port), "/");
    assert_eq!(response.status, 403);
    assert!(response.head.get("content-type").is_some_and(|kind| kind.starts_with("application/json")));
    assert_eq!(response.json().as_object().map(serde_json::Map::len), Some(1), "{}", response.text());
    assert!(response.json()["error"].is_string());
}

/// A limit keyed by a member of the body, so that the whole body is needed before the request may pass.
fn keyed_by_the_body(port: u16, upstream: &Upstream) -> Value {
    let limit = json!({
        "policyRef": {"name": "rate-limiting-flex"},
        "config": {
            "rateLimits": [{"maximumRequests": 1, "timePeriodInMilliseconds": 60_000}],
            "keySelector": "#[payload.id]",
            "clusterizable": false,
        },
    });
    let door = cluster_tests::config::login(json!([{"path": "/door"}]));
    let address = format!("http://127.0.0.1:{port}");
    // The door comes last in the list, and still before anything is buffered (decision 11).
    cluster_tests::config::api_with("keyed", &address, &upstream.url(), json!([limit, door]))
}

const JSON: &str = "Content-Type: application/json\r\n";

fn body_of(bytes: usize) -> String {
    let frame = r#"{"id":"a","x":""}"#.len();
    format!(r#"{{"id":"a","x":"{}"}}"#, "x".repeat(bytes - frame))
}

#[test]
fn a_body_that_a_policy_needs_whole_is_refused_413_above_the_buffer_and_passes_unchanged_below() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let _gateway = Plan::new().with("api.yaml", &[keyed_by_the_body(port, &upstream)]).start();
    let response = call(local(port), "POST", "/", JSON, &body_of((1 << 20) + 1));
    assert_eq!(response.status, 413);
    assert!(response.json()["error"].is_string(), "{}", response.text());
    assert!(upstream.received().is_empty());
    let body = body_of(1 << 20);
    let response = call(local(port), "POST", "/", JSON, &body);
    assert_eq!(response.status, 200);
    assert!(response.json()["body"] == body, "the upstream receives it unchanged");
    assert_eq!(call(local(port), "POST", "/", JSON, r#"{"id":"a"}"#).status, 429);
    assert_eq!(call(local(port), "POST", "/", JSON, r#"{"id":"b"}"#).status, 200);
}

#[test]
fn the_buffer_for_whole_bodies_is_set_by_variable_and_configuration() {
    let limits = configuration("limits", json!({"connectionBufferLimits": {"global": 1000}}));
    let variable = ("FLEX_DOWNSTREAM_CONNECTION_BUFFER_LIMIT_BYTES", "1000");
    for (environment, extra) in [(vec![variable], vec![]), (vec![], vec![limits])] {
        let (upstream, port) = (Upstream::echo("up"), ports::free());
        let resources = [vec![keyed_by_the_body(port, &upstream)], extra].concat();
        let plan = Plan::new().with("api.yaml", &resources);
        let plan = environment.iter().fold(plan, |plan, (name, value)| plan.environment(name, value));
        let _gateway = plan.start();
        assert_eq!(call(local(port), "POST", "/", JSON, &body_of(1001)).status, 413, "{environment:?}");
        assert_eq!(call(local(port), "POST", "/", JSON, &body_of(1000)).status, 200, "{environment:?}");
    }
}

#[test]
fn nothing_is_buffered_for_a_client_that_authentication_refuses() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let _gateway = Plan::new().with("api.yaml", &[keyed_by_the_body(port, &upstream)]).start();
    let mut client = Client::connect(local(port));
    client.send(
        b"POST /door HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    );
    let response = client.response_to("POST").expect("an answer although the body never ends");
    assert_eq!(response.status, 401);
}
