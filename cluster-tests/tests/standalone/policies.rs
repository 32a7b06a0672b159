//! Policies at work in a real chain: their order, what a refusal passes back through, what reaches the upstream (policies
//! reference 1.5, 2, 4; decision 10).

use std::net::SocketAddr;

use cluster_tests::client::{Client, Response, call, get};
use cluster_tests::config::{LOGIN, api, api_with, binding, login};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

fn with_policies(policies: Value) -> (Upstream, Gateway, SocketAddr) {
    let upstream = Upstream::start(|exchange| {
        let body = exchange.body()?;
        let fields = json!({"fields": exchange.request.head.fields, "body": String::from_utf8_lossy(&body)});
        let extra =
            "X-Powered-By: test\r\nX-Internal-Host: a\r\nAccess-Control-Allow-Origin: https://other.test\r\n";
        exchange.reply(200, extra, fields.to_string().as_bytes())
    });
    let port = ports::free();
    let api = api_with("guarded", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    let gateway = Plan::new().with("api.yaml", &[api]).start();
    (upstream, gateway, ([127, 0, 0, 1], port).into())
}

fn policy(name: &str, config: Value) -> Value {
    json!({"policyRef": {"name": name}, "config": config})
}

/// The values of a field as the upstream saw them.
fn arrived(response: &Response, name: &str) -> Vec<String> {
    let fields = response.json()["fields"].clone();
    let pairs = fields.as_array().cloned().unwrap_or_default();
    let named = |pair: &&Value| pair[0].as_str().is_some_and(|key| key.eq_ignore_ascii_case(name));
    pairs.iter().filter(named).filter_map(|pair| pair[1].as_str().map(str::to_owned)).collect()
}

fn add(direction: &str, key: &str, value: &str) -> Value {
    policy("header-injection-flex", json!({direction: [{"key": key, "value": value}]}))
}

#[test]
fn inline_policies_run_in_list_order_and_responses_pass_in_reverse() {
    let trace = |name: &str| {
        let both = json!({"inboundHeaders": [{"key": "x-trace", "value": name}], "outboundHeaders": [{"key": "x-trace", "value": name}]});
        policy("header-injection-flex", both)
    };
    let (_upstream, _gateway, address) = with_policies(json!([trace("a"), trace("b"), trace("c")]));
    let response = get(address, "/");
    assert_eq!(arrived(&response, "x-trace").join(","), "a,b,c");
    assert_eq!(response.head.all("x-trace").collect::<Vec<_>>().join(","), "c,b,a");
}

#[test]
fn bindings_run_by_order_and_automated_ones_first_among_equals() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let trace = |name: &str, kind: &str, order: i64| {
        let more = json!({"order": order, "config": {"inboundHeaders": [{"key": "x-trace", "value": name}]}});
        let mut value = binding(name, kind, "ordered", "header-injection-flex", more);
        if kind == "Selector" {
            value["spec"]["targetRef"] = json!({"kind": "Selector", "selector": {"kind": "ApiInstance"}});
        }
        value
    };
    let resources = [
        api("ordered", &format!("http://127.0.0.1:{port}"), &upstream.url()),
        trace("a-fifty", "ApiInstance", 50),
        trace("z-automated", "Selector", 50),
        trace("last", "ApiInstance", 60),
        trace("first", "ApiInstance", 3),
    ];
    let _gateway = Plan::new().with("api.yaml", &resources).start();
    let response = get(([127, 0, 0, 1], port).into(), "/");
    assert_eq!(arrived(&response, "x-trace").join(","), "first,z-automated,a-fifty,last");
}

#[test]
fn a_refusal_runs_the_response_side_of_the_policies_before_it_and_none_after() {
    let policies = json!([
        add("outboundHeaders", "x-before", "1"),
        login(json!([])),
        add("outboundHeaders", "x-after", "1")
    ]);
    let (upstream, _gateway, address) = with_policies(policies);
    let response = get(address, "/");
    assert_eq!(response.status, 401);
    assert_eq!((response.head.get("x-before"), response.head.get("x-after")), (Some("1"), None));
    assert!(upstream.received().is_empty());
    let response = Client::connect(address).get("/", "a", LOGIN);
    assert_eq!((response.head.get("x-before"), response.head.get("x-after")), (Some("1"), Some("1")));
}

#[test]
fn basic_authentication_tells_missing_from_wrong_credentials() {
    let (_upstream, _gateway, address) = with_policies(json!([login(json!([]))]));
    let missing = "Registered authentication is set to HTTP basic authentication but there was no security context on the session.";
    for (fields, text) in [
        ("", missing),
        ("Authorization: Bearer abc\r\n", missing),
        ("Authorization: Basic !!!\r\n", missing),
        ("Authorization: Basic YWRhOndyb25n\r\n", "Authentication Attempt Failed"),
        ("Authorization: Basic ZXZhOnNlY3JldA==\r\n", "Authentication Attempt Failed"),
    ] {
        let response = Client::connect(address).get("/", "a", fields);
        assert_eq!((response.status, response.json()), (401, json!({"error": text})), "{fields:?}");
        assert_eq!(response.head.get("www-authenticate"), Some(r#"Basic realm="mule-realm""#));
    }
    let lower = LOGIN.replace("Basic", "basic");
    assert_eq!(Client::connect(address).get("/", "a", &lower).status, 200, "the scheme has no case");
    let response = Client::connect(address).get("/", "a", LOGIN);
    assert_eq!(arrived(&response, "authorization").len(), 1, "the field goes on to the upstream");
}

#[test]
fn cors_is_always_first_and_wraps_even_a_refusal() {
    let cors = policy("cors-flex", json!({"publicResource": true, "supportCredentials": false}));
    let (upstream, _gateway, address) = with_policies(json!([login(json!([])), cors]));
    let preflight = "Origin: https://a.test\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a\r\n";
    let response = call(address, "OPTIONS", "/", preflight, "");
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert_eq!(response.head.get("access-control-allow-origin"), Some("*"));
    assert!(response.head.get("access-control-allow-methods").is_some_and(|methods| methods.contains("PUT")));
    assert!(upstream.received().is_empty(), "OPTIONS never reaches the upstream");
    let refused = Client::connect(address).get("/", "a", "Origin: https://a.test\r\n");
    assert_eq!((refused.status, refused.head.get("access-control-allow-origin")), (401, Some("*")));
    let passed = Client::connect(address).get("/", "a", &format!("Origin: https://a.test\r\n{LOGIN}"));
    assert_eq!(
        passed.head.all("access-control-allow-origin").collect::<Vec<_>>(),
        ["*"],
        "ours, not the upstream's"
    );
}

#[test]
fn an_allowlist_by_peer_address_cannot_be_fooled_by_a_header() {
    let list = |ips: Value| {
        policy("ip-allowlist-flex", json!({"ips": ips, "ipExpression": "#[attributes.remoteAddress]"}))
    };
    let (_upstream, _gateway, address) = with_policies(json!([list(json!(["127.0.0.0/8"]))]));
    assert_eq!(get(address, "/").status, 200);
    let (upstream, _gateway, address) = with_policies(json!([list(json!(["10.0.0.0/8"]))]));
    assert_eq!(Client::connect(address).get("/", "a", "X-Forwarded-For: 10.0.0.1\r\n").status, 403);
    assert!(upstream.received().is_empty());
}

#[test]
fn a_blocklist_reads_the_first_address_of_the_forwarded_list() {
    let block = policy("ip-blocklist-flex", json!({"ips": ["198.51.100", "192.0.2.0/25"]}));
    let (_upstream, _gateway, address) = with_policies(json!([block]));
    for (list, status) in [
        ("198.51.100.7", 403),
        ("198.51.100.7, 10.0.0.1", 403),
        ("10.0.0.1, 198.51.100.7", 200),
        ("192.0.2.127", 403),
        ("192.0.2.128", 200),
        ("::ffff:198.51.100.7", 403),
        ("198.51.100.7:4711", 403),
    ] {
        let fields = format!("X-Forwarded-For: {list}\r\n");
        assert_eq!(Client::connect(address).get("/", "a", &fields).status, status, "{list}");
    }
}

/// As in the policy's example: the gateway appends the proxy before any policy reads the list.
#[test]
fn behind_one_proxy_a_blocklist_reads_the_last_address_but_one() {
    let example = include_str!("../../../src/policies/ip_blocklist/example.yaml");
    let expression =
        example.lines().find_map(|line| line.trim().strip_prefix("ipExpression: ")).expect("one");
    let block = json!({"ips": ["198.51.100"], "ipExpression": expression.trim_matches('"')});
    let (_upstream, _gateway, address) = with_policies(json!([policy("ip-blocklist-flex", block)]));
    for (list, status) in
        [("198.51.100.7", 403), ("10.0.0.1, 198.51.100.7", 403), ("198.51.100.7, 10.0.0.1", 200)]
    {
        let fields = format!("X-Forwarded-For: {list}\r\n");
        assert_eq!(Client::connect(address).get("/", "a", &fields).status, status, "{list}");
    }
}

#[test]
fn header_removal_matches_whole_names_and_never_touches_the_framing() {
    let remove = policy(
        "header-removal-flex",
        json!({"inboundHeaders": ["x-secret-.*", "cookie", "host", "content-length"], "outboundHeaders": ["server", "X-Powered-By", "x-internal"]}),
    );
    let (_upstream, _gateway, address) = with_policies(json!([remove]));
    let fields = "X-Secret-A: 1\r\nx-secret-b: 2\r\nX-Secret: 3\r\nCookie: a=b\r\n";
    let response = call(address, "POST", "/", fields, "hello");
    assert_eq!(response.json()["body"], "hello");
    for (name, count) in [("x-secret-a", 0), ("x-secret-b", 0), ("x-secret", 1), ("cookie", 0), ("host", 1)] {
        assert_eq!(arrived(&response, name).len(), count, "{name}");
    }
    assert_eq!(response.head.get("x-powered-by"), None);
    assert_eq!(response.head.get("x-internal-host"), Some("a"), "a prefix is no match");
    assert_eq!(response.head.get("server"), None, "removal wins over our own server header");
}

#[test]
fn header_injection_appends_evaluates_and_never_writes_framing() {
    let inject = policy(
        "header-injection-flex",
        json!({
            "inboundHeaders": [
                {"key": "x-a", "value": "2"},
                {"key": "x-path", "value": "#[attributes.requestPath]"},
                {"key": "content-length", "value": "1"},
                {"key": "transfer-encoding", "value": "chunked"},
            ],
            "outboundHeaders": [{"key": "x-served-path", "value": "#[attributes.requestPath]"}],
        }),
    );
    let (_upstream, _gateway, address) = with_policies(json!([inject]));
    let response = call(address, "POST", "/p?q=1", "X-A: 1\r\n", "hello");
    assert_eq!(response.json()["body"], "hello");
    assert_eq!(arrived(&response, "x-a").join(",").replace(' ', ""), "1,2");
    assert!(arrived(&response, "x-path")[0].starts_with("/p"));
    assert!(response.head.get("x-served-path").is_some_and(|path| path.starts_with("/p")));
    let failing = policy(
        "header-injection-flex",
        json!({"inboundHeaders": [{"key": "x-a", "value": "#[attributes.headers['x-none']]"}]}),
    );
    let (upstream, _gateway, address) = with_policies(json!([failing]));
    assert_eq!(get(address, "/").status, 500, "an expression that gives nothing");
    assert!(upstream.received().is_empty());
}

#[test]
fn a_header_value_from_a_request_can_never_split_a_message() {
    let inject = policy(
        "header-injection-flex",
        json!({
            "inboundHeaders": [{"key": "x-copy", "value": "#[attributes.queryParams.v]"}],
            "outboundHeaders": [{"key": "x-copy", "value": "#[attributes.queryParams.v]"}],
        }),
    );
    let (upstream, _gateway, address) = with_policies(json!([inject]));
    for value in ["a%0d%0aX-Evil:%201", "a%0aX-Evil:%201", "a%00b", "%0d%0a%0d%0aGET%20/smuggled"] {
        let response = get(address, &format!("/?v={value}"));
        assert!([400, 500].contains(&response.status) || arrived(&response, "x-evil").is_empty(), "{value}");
        assert_eq!(response.head.get("x-evil"), None, "{value}");
    }
    assert!(upstream.problems().is_empty(), "{:?}", upstream.problems());
    assert!(
        upstream
            .received()
            .iter()
            .all(|request| !request.target.contains("smuggled") || request.target.starts_with("/?v="))
    );
}

#[test]
fn rules_limit_a_policy_to_part_of_an_api() {
    let rules = json!([{"path": "/admin/.*"}, {"methods": "DELETE"}]);
    let (_upstream, _gateway, address) = with_policies(json!([login(rules)]));
    for (method, path, status) in [
        ("GET", "/open", 200),
        ("GET", "/admin/x", 401),
        ("GET", "/admin", 200),
        ("DELETE", "/open", 401),
        ("POST", "/open", 200),
    ] {
        assert_eq!(call(address, method, path, "", "").status, status, "{method} {path}");
    }
}
