//! Port sharing, the choice of the instance and of the route: configuration reference 4.2 to 4.4.

use std::net::SocketAddr;

use cluster_tests::client::{Client, Response, get};
use cluster_tests::config::{LOGIN, api, api_with, login};
use cluster_tests::gateway::Plan;
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::{Value, json};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn at(port: u16, base: &str) -> String {
    format!("http://127.0.0.1:{port}{base}")
}

/// Who answered: the name the upstream gave itself, or the status.
fn who(response: &Response) -> String {
    let named = (response.status == 200).then(|| response.json()["upstream"].as_str().map(str::to_owned));
    named.flatten().unwrap_or_else(|| response.status.to_string())
}

#[test]
fn instances_share_a_port_unless_their_base_paths_clash_by_segments() {
    let (one, two, three) = (Upstream::echo("one"), Upstream::echo("two"), Upstream::echo("three"));
    let port = ports::free();
    let apis = [
        api("a-cats", &at(port, "/cats"), &one.url()),
        api("b-dogs", &at(port, "/cats/dogs"), &two.url()),
        api("c-cat", &at(port, "/cat"), &three.url()),
    ];
    let gateway = Plan::new().with("api.yaml", &apis).start_unready();
    eventually("the port", || Client::try_connect(local(port)).ok());
    assert_eq!(who(&get(local(port), "/cats/x")), "one");
    assert_eq!(who(&get(local(port), "/cats/dogs/x")), "one", "the clash is resolved for the first by name");
    assert_eq!(who(&get(local(port), "/cat/x")), "three", "/cat and /cats do not clash");
    let line = gateway.says("a-cats");
    assert!(line.contains("b-dogs"), "the message names both: {line}");
}

#[test]
fn the_same_base_path_twice_keeps_the_one_that_was_active() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let port = ports::free();
    let gateway = Plan::new().with("z.yaml", &[api("zebra", &at(port, "/p"), &one.url())]).start();
    assert_eq!(who(&get(local(port), "/p")), "one");
    let _ = gateway.apply("a.yaml", &[api("ape", &at(port, "/p"), &two.url())]);
    assert_eq!(who(&get(local(port), "/p")), "one", "zebra was active, although ape comes first by name");
    gateway.remove("z.yaml");
    let _ = gateway.reload();
    eventually("ape takes over", || (who(&get(local(port), "/p")) == "two").then_some(()));
}

#[test]
fn the_same_base_path_twice_at_first_load_keeps_the_first_by_namespace_and_name() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let port = ports::free();
    let apis = [api("zebra", &at(port, ""), &one.url()), api("ape", &at(port, ""), &two.url())];
    let _gateway = Plan::new().with("api.yaml", &apis).start_unready();
    eventually("the port", || Client::try_connect(local(port)).ok());
    assert_eq!(who(&get(local(port), "/")), "two");
}

#[test]
fn an_instance_bound_to_an_address_answers_only_connections_made_to_it() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let port = ports::free();
    let apis = [
        api("one", &format!("http://127.0.0.1:{port}/one"), &one.url()),
        api("two", &format!("http://127.0.0.2:{port}/two"), &two.url()),
    ];
    let _gateway = Plan::new().with("api.yaml", &apis).start();
    let second: SocketAddr = ([127, 0, 0, 2], port).into();
    assert_eq!(who(&get(local(port), "/one")), "one");
    assert_eq!(who(&get(second, "/two")), "two");
    assert_eq!(who(&get(second, "/one")), "404");
    assert_eq!(who(&get(local(port), "/two")), "404");
}

#[test]
fn all_addresses_and_one_address_on_a_port_are_one_listener_group() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let port = ports::free();
    let apis = [
        api("all", &format!("http://0.0.0.0:{port}/all"), &one.url()),
        api("mine", &format!("http://127.0.0.1:{port}/mine"), &two.url()),
    ];
    let _gateway = Plan::new().with("api.yaml", &apis).start();
    let elsewhere: SocketAddr = ([127, 0, 0, 3], port).into();
    assert_eq!(who(&get(local(port), "/all")), "one");
    assert_eq!(who(&get(local(port), "/mine")), "two");
    assert_eq!(who(&get(elsewhere, "/all")), "one");
    assert_eq!(who(&get(elsewhere, "/mine")), "404");
}

#[test]
fn ipv6_addresses_are_served() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let there: SocketAddr = ([0, 0, 0, 0, 0, 0, 0, 1], port).into();
    if std::net::TcpListener::bind(there).is_err() {
        println!("this machine has no IPv6: hosts without it must work, and this test has nothing to ask");
        return;
    }
    let apis = [api("six", &format!("http://[::1]:{port}/six"), &upstream.url())];
    let _gateway = Plan::new().with("api.yaml", &apis).start();
    assert_eq!(who(&Client::connect(there).get("/six", "[::1]", "")), "up");
    assert!(Client::try_connect(local(port)).is_err());
}

#[test]
fn a_base_path_is_a_prefix_by_segments_and_a_trailing_slash_is_literal() {
    let upstream = Upstream::echo("up");
    let (slash, bare) = (ports::free(), ports::free());
    let apis = [
        api("slash", &at(slash, "/foo/"), &upstream.url()),
        api("bare", &at(bare, "/json"), &upstream.url()),
    ];
    let _gateway = Plan::new().with("api.yaml", &apis).start();
    for (port, path, answer) in [
        (slash, "/foo/", "up"),
        (slash, "/foo/x", "up"),
        (slash, "/foo", "404"),
        (slash, "/foox", "404"),
        (slash, "/", "404"),
        (bare, "/json", "up"),
        (bare, "/json/x", "up"),
        (bare, "/json?x", "up"),
        (bare, "/jsonx", "404"),
        (bare, "/JSON", "404"),
        (bare, "/", "404"),
    ] {
        assert_eq!(who(&get(local(port), path)), answer, "{path}");
    }
}

#[test]
fn the_canonicalizer_serves_the_base_path_without_its_slash() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let plan = Plan::new().with("api.yaml", &[api("slash", &at(port, "/foo/"), &upstream.url())]);
    let _gateway = plan.environment("FLEX_BASE_PATH_CANONICALIZER_ENABLED", "true").start();
    assert_eq!(get(local(port), "/foo").json()["target"], "/");
    assert_eq!(get(local(port), "/foo?x=1").json()["target"], "/?x=1");
    assert_eq!(who(&get(local(port), "/foox")), "404");
}

#[test]
fn routes_are_tried_in_declaration_order_and_a_catch_all_shadows_the_rest() {
    let (first, second) = (Upstream::echo("first"), Upstream::echo("second"));
    let (ordered, shadowed) = (ports::free(), ports::free());
    // Text, because the declaration order of services is the point.
    let text = format!(
        r#"{{apiVersion: gateway.mulesoft.com/v1alpha1, kind: ApiInstance, metadata: {{name: ordered}}, spec: {{address: "{}",
  services: {{zeta: {{address: "{}", routes: [{{rules: [{{path: /a}}, {{path: /both}}]}}]}},
             alpha: {{address: "{}", routes: [{{rules: [{{path: /both}}, {{path: /b}}]}}]}}}}}}}}
---
{{apiVersion: gateway.mulesoft.com/v1alpha1, kind: ApiInstance, metadata: {{name: shadowed}}, spec: {{address: "{}",
  services: {{zeta: {{address: "{}"}}, alpha: {{address: "{}", routes: [{{rules: [{{methods: GET}}]}}]}}}}}}}}
"#,
        at(ordered, ""),
        first.url(),
        second.url(),
        at(shadowed, ""),
        first.url(),
        second.url()
    );
    let _gateway = Plan::new().with_text("api.yaml", &text).start();
    for (port, path, answer) in [
        (ordered, "/a", "first"),
        (ordered, "/b", "second"),
        (ordered, "/both", "first"),
        (ordered, "/neither", "404"),
        (shadowed, "/any", "first"),
    ] {
        assert_eq!(who(&get(local(port), path)), answer, "{path}");
    }
}

#[test]
fn no_instance_and_no_route_are_an_empty_404_with_a_server_header() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let mut api = api("some", &at(port, "/api"), &upstream.url());
    api["spec"]["services"]["up"]["routes"] = json!([{"rules": [{"path": "/only"}]}]);
    let _gateway = Plan::new().with("api.yaml", &[api]).start();
    for path in ["/nobody", "/api/nothing", "/"] {
        let response = get(local(port), path);
        assert_eq!((response.status, response.body.len()), (404, 0), "{path}");
        assert_eq!(response.head.get("server"), Some("portcullis"), "{path}");
    }
}

#[test]
fn an_instance_without_services_runs_its_policies_and_answers_404() {
    let port = ports::free();
    let mut value: Value =
        api_with("held", &at(port, "/held"), "http://127.0.0.1:1", json!([login(json!([]))]));
    if let Some(spec) = value["spec"].as_object_mut() {
        spec.remove("services");
    }
    let _gateway = Plan::new().with("api.yaml", &[value]).start();
    assert_eq!(get(local(port), "/held/x").status, 401);
    assert_eq!(Client::connect(local(port)).get("/held/x", "a", LOGIN).status, 404);
}

#[test]
fn policies_run_before_a_missing_route_but_not_where_nobody_serves() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let mut value = api_with("some", &at(port, "/api"), &upstream.url(), json!([login(json!([]))]));
    value["spec"]["services"]["up"]["routes"] = json!([{"rules": [{"path": "/only"}]}]);
    let _gateway = Plan::new().with("api.yaml", &[value]).start();
    assert_eq!(get(local(port), "/api/nothing").status, 401);
    assert_eq!(Client::connect(local(port)).get("/api/nothing", "a", LOGIN).status, 404);
    assert_eq!(get(local(port), "/nobody").status, 404);
}

#[test]
fn twenty_ports_are_served_by_one_set_of_workers() {
    let upstream = Upstream::echo("up");
    let ports: Vec<u16> = (0..20).map(|_| ports::free()).collect();
    let apis: Vec<Value> = ports
        .iter()
        .enumerate()
        .map(|(number, port)| api(&format!("api-{number}"), &at(*port, ""), &upstream.url()))
        .collect();
    let gateway = Plan::new().with("one.yaml", &apis[..1]).workers(2).start();
    assert_eq!(who(&get(local(ports[0]), "/")), "up");
    let before = gateway.threads();
    let _ = gateway.apply("more.yaml", &apis[1..]);
    for port in &ports {
        eventually("every port answers", || Client::try_connect(local(*port)).ok());
        assert_eq!(who(&get(local(*port), "/")), "up");
    }
    // The blocking pool may hold a few threads for a while; a thread set per port would be at least nineteen.
    let after = gateway.threads();
    assert!(after < before + 10, "{before} threads with one port, {after} with twenty");
    println!("threads: {before} with one port, {after} with twenty");
}
