//! Rule objects, configuration reference 3.6: each row is one API on a port of its own, asked once.

use cluster_tests::client::{Client, get};
use cluster_tests::config::api;
use cluster_tests::gateway::Plan;
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

struct Row {
    says: &'static str,
    rules: Value,
    method: &'static str,
    path: &'static str,
    host: &'static str,
    fields: &'static str,
    holds: bool,
}

fn row(says: &'static str, rules: Value, request: &'static str, holds: bool) -> Row {
    let (method, path) = request.split_once(' ').expect("a method and a path");
    Row { says, rules, method, path, host: "shop.test", fields: "", holds }
}

impl Row {
    fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    fn fields(mut self, fields: &'static str) -> Self {
        self.fields = fields;
        self
    }
}

/// One gateway for all rows; every mistake is reported at once.
fn assert_rows(rows: Vec<Row>) {
    let upstream = Upstream::echo("up");
    let ports: Vec<u16> = rows.iter().map(|_| ports::free()).collect();
    let apis: Vec<Value> = rows
        .iter()
        .zip(&ports)
        .enumerate()
        .map(|(number, (row, port))| {
            let mut api =
                api(&format!("row-{number}"), &format!("http://127.0.0.1:{port}/base"), &upstream.url());
            api["spec"]["services"]["up"]["routes"] =
                if row.rules.is_null() { json!([{"config": {}}]) } else { json!([{"rules": row.rules}]) };
            api
        })
        .collect();
    let gateway = Plan::new().with("rows.yaml", &apis).start();
    let mut problems = Vec::new();
    for (row, port) in rows.iter().zip(&ports) {
        let Row { says, method, path, host, fields, holds, .. } = row;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        let mut client = Client::connect(([127, 0, 0, 1], *port).into());
        let status = client.exchange(method, request.as_bytes()).map(|response| response.status);
        let expected = if *holds { 200 } else { 404 };
        if !matches!(status, Ok(status) if status == expected) {
            problems.push(format!("{says}: {method} {path} gave {status:?}, not {expected}"));
        }
    }
    assert!(problems.is_empty(), "{}\n{}", problems.join("\n"), gateway.log());
}

#[test]
fn a_path_is_matched_without_query_relative_to_the_base_path_and_as_a_whole() {
    let path = |pattern: &str| json!([{"path": pattern}]);
    assert_rows(vec![
        row("relative to the base path", path("/foo/.*"), "GET /base/foo/bar", true),
        row("the base path is not repeated", path("/base/foo/.*"), "GET /base/foo/bar", false),
        row("the query does not count", path("/foo"), "GET /base/foo?x=/y", true),
        row("the query cannot make a match", path("/foo/.*"), "GET /base/f?/foo/x", false),
        row("anchored at its end", path("/a"), "GET /base/ab", false),
        row("anchored at its start", path("a"), "GET /base/a", false),
        row("matches only itself", path("/a"), "GET /base/a", true),
        row("alternatives are anchored as a whole", path("/a|/b"), "GET /base/bc", false),
        row("each alternative holds", path("/a|/b"), "GET /base/b", true),
        row("paths compare with regard to case", path("/foo"), "GET /base/FOO", false),
        row("flags of the dialect work", path("(?i)/foo"), "GET /base/FOO", true),
    ]);
}

#[test]
fn methods_are_a_regex_or_a_list_and_compare_with_regard_to_case() {
    assert_rows(vec![
        row("one method", json!([{"methods": "GET"}]), "GET /base/", true),
        row("another method", json!([{"methods": "GET"}]), "POST /base/", false),
        row("alternatives, first", json!([{"methods": "GET|POST"}]), "GET /base/", true),
        row("alternatives, second", json!([{"methods": "GET|POST"}]), "POST /base/", true),
        row("alternatives, neither", json!([{"methods": "GET|POST"}]), "PUT /base/", false),
        row("anchored", json!([{"methods": "P"}]), "PUT /base/", false),
        row("a regex", json!([{"methods": "P.*"}]), "PATCH /base/", true),
        row("case counts", json!([{"methods": "get"}]), "GET /base/", false),
        row("a list is joined", json!([{"methods": ["PUT", "PATCH"]}]), "PATCH /base/", true),
        row("a list excludes the rest", json!([{"methods": ["PUT", "PATCH"]}]), "GET /base/", false),
        row("method is an alias", json!([{"method": "DELETE"}]), "DELETE /base/", true),
        row("the alias restricts", json!([{"method": "DELETE"}]), "GET /base/", false),
    ]);
}

#[test]
fn a_host_is_compared_with_and_without_its_port() {
    let host = |pattern: &str| json!([{"host": pattern}]);
    assert_rows(vec![
        row("without port", host(r"shop\.test"), "GET /base/", true).host("shop.test"),
        row("the port does not hinder", host(r"shop\.test"), "GET /base/", true).host("shop.test:8081"),
        row("the port may be asked for", host(r"shop\.test:8081"), "GET /base/", true).host("shop.test:8081"),
        row("another port", host(r"shop\.test:8081"), "GET /base/", false).host("shop.test:8082"),
        row("another host", host(r"shop\.test"), "GET /base/", false).host("other.test"),
        row("anchored at its start", host(r"shop\.test"), "GET /base/", false).host("myshop.test"),
        row("anchored at its end", host(r"shop\.test"), "GET /base/", false).host("shop.test.evil"),
        row("alternatives", host(r"(internal|reports)\.test"), "GET /base/", true).host("reports.test"),
    ]);
}

#[test]
fn every_listed_header_must_be_present_and_match_and_others_do_not_matter() {
    let one = || json!([{"headers": {"x-channel": "web|mobile"}}]);
    let two = || json!([{"headers": {"x-a": "1", "x-b": "2"}}]);
    let bare = || json!([{"headers": {"x-flag": true}}]);
    assert_rows(vec![
        row("matches", one(), "GET /base/", true).fields("X-Channel: web\r\n"),
        row("anchored", one(), "GET /base/", false).fields("X-Channel: website\r\n"),
        row("absent", one(), "GET /base/", false),
        row("values compare with regard to case", one(), "GET /base/", false).fields("X-Channel: WEB\r\n"),
        row("others do not matter", one(), "GET /base/", true)
            .fields("X-Z: 1\r\nx-channel: mobile\r\nX-Y: 2\r\n"),
        row("both", two(), "GET /base/", true).fields("X-B: 2\r\nX-A: 1\r\n"),
        row("one of two is not enough", two(), "GET /base/", false).fields("X-A: 1\r\n"),
        row("two values are joined by a comma", json!([{"headers": {"x-a": "1, ?2"}}]), "GET /base/", true)
            .fields("X-A: 1\r\nX-A: 2\r\n"),
        row(
            "one of two values does not match alone",
            json!([{"headers": {"x-a": "1"}}]),
            "GET /base/",
            false,
        )
        .fields("X-A: 1\r\nX-A: 2\r\n"),
        row("a bare true is the text true", bare(), "GET /base/", true).fields("X-Flag: true\r\n"),
        row("a bare true is not any text", bare(), "GET /base/", false).fields("X-Flag: yes\r\n"),
    ]);
}

#[test]
fn a_list_of_rules_is_or_and_the_fields_of_a_rule_are_and() {
    let list = || json!([{"path": "/a", "methods": "GET"}, {"path": "/b", "methods": "POST"}]);
    assert_rows(vec![
        row("the first", list(), "GET /base/a", true),
        row("the second", list(), "POST /base/b", true),
        row("not mixed", list(), "POST /base/a", false),
        row("not mixed either", list(), "GET /base/b", false),
        row(
            "all four fields",
            json!([{"path": "/a", "methods": "GET", "host": "h", "headers": {"x": "y"}}]),
            "GET /base/a",
            true,
        )
        .host("h")
        .fields("X: y\r\n"),
        row(
            "three of four",
            json!([{"path": "/a", "methods": "GET", "host": "h", "headers": {"x": "y"}}]),
            "GET /base/a",
            false,
        )
        .host("h"),
        row("an absent list", Value::Null, "PUT /base/any", true),
        row("an empty list", json!([]), "PUT /base/any", true),
        row("a rule without fields", json!([{}]), "PUT /base/any", true),
        row("a single rule where a list is expected", json!({"path": "/one"}), "GET /base/one", true),
        row("the single rule restricts", json!({"path": "/one"}), "GET /base/two", false),
    ]);
}

#[test]
fn a_leading_negative_look_ahead_is_a_negated_condition() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let mut api = api("ahead", &format!("http://127.0.0.1:{port}/base"), &upstream.url());
    api["spec"]["services"]["up"]["routes"] = json!([{"rules": [{"path": "(?!/private)(/.*)"}]}]);
    let gateway = Plan::new().with("api.yaml", &[api]).start();
    let status = |path: &str| get(([127, 0, 0, 1], port).into(), path).status;
    assert_eq!(status("/base/public/x"), 200);
    assert_eq!(status("/base/private/x"), 404);
    assert_eq!(upstream.received().len(), 1);
    drop(gateway);
}

#[test]
fn a_rule_sees_the_fields_that_describe_the_message_or_the_connection() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let mut api = api("fields", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let route = |to: &str, name: &str, value: &str| json!({"config": {"destinationPath": to}, "rules": [{"headers": {name: value}}]});
    api["spec"]["services"]["up"]["routes"] = json!([
        route("/upgrade", "Upgrade", "websocket"),
        route("/length", "content-length", "5"),
        route("/host", "host", "Shop.Test"),
    ]);
    let _gateway = Plan::new().with("api.yaml", &[api]).start();
    let target = |host: &str, fields: &str| {
        let request = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        let mut client = Client::connect(([127, 0, 0, 1], port).into());
        let response = client.exchange("GET", request.as_bytes()).expect("an answer");
        match response.status {
            200 => response.json()["target"].as_str().unwrap_or("-").to_owned(),
            other => other.to_string(),
        }
    };
    assert_eq!(target("a", "Connection: upgrade\r\nUpgrade: websocket\r\n"), "/upgrade/x");
    assert_eq!(target("a", "Content-Length: 5\r\n\r\n123"), "/length/x");
    assert_eq!(target("SHOP.test", ""), "/host/x");
    assert_eq!(target("a", ""), "404");
}
