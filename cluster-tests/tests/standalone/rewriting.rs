//! Path rewriting: both tables of configuration reference 4.5, row by row.

use cluster_tests::client::get;
use cluster_tests::config::api;
use cluster_tests::gateway::Plan;
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;
use serde_json::{Map, Value, json};

/// Base path, rule, destination path, what is asked, what arrives (`None`: no match).
type Row = (&'static str, &'static str, &'static str, &'static str, Option<&'static str>);

const DOCUMENTED: &[Row] = &[
    ("", "/api/.*", "", "/api/foo/bar", Some("/api/foo/bar")),
    ("", "/api(/.*)", "", "/api/foo/bar", Some("/foo/bar")),
    ("", "/api/.*", "/orders", "/api/foo/bar", Some("/orders/api/foo/bar")),
    ("", "/api(/.*)", "/orders", "/api/foo/bar", Some("/orders/foo/bar")),
    ("/api", "/foo/.*", "", "/api/foo/bar", Some("/foo/bar")),
    ("/api", "/foo(/.*)", "", "/api/foo/bar", Some("/bar")),
    ("/api", "/foo/.*", "/orders", "/api/foo/bar", Some("/orders/foo/bar")),
    ("/api", "/foo(/.*)", "/orders", "/api/foo/bar", Some("/orders/bar")),
    ("/api", "/api/foo/.*", "/orders", "/api/foo/bar", None),
    ("/api", "/foo(/.*)/bar(/.*)", "", "/api/foo/abc/bar/def", Some("/abc/def")),
    ("/api", "/foo(/.*)/bar(/.*)", "/orders", "/api/foo/abc/bar/def", Some("/orders/abc/def")),
];

const WORKED: &[Row] = &[
    ("", "/api(/users/.*)", "/v1/apps", "/api/users/7", Some("/v1/apps/users/7")),
    ("", "", "/anything/echo/", "/some/route", Some("/anything/echo/some/route")),
    ("/json", "(.*)", "/posts/", "/json/9?x=1", Some("/posts/9?x=1")),
    ("", "/a", "", "/a", Some("/a")),
    ("", "/api/orders(/.*)?", "", "/api/orders", Some("/")),
    ("", "/v(1|2)/items(/.*)", "", "/v2/items/5", Some("/2/5")),
];

/// What the formula of 4.5 says beyond the tables.
const DERIVED: &[Row] = &[
    ("", "/v(?:1|2)/items(/.*)", "", "/v2/items/5", Some("/5")),
    ("/api/orders", "/api/orders(/.*)", "", "/api/orders/api/orders/5", Some("/5")),
    ("/api", "", "/", "/api/x", Some("/x")),
    ("/api", "", "", "/api", Some("/")),
    ("/api", "", "/v2", "/api", Some("/v2")),
    ("/api", "", "/v2/", "/api/x", Some("/v2/x")),
    ("/api/", "/x", "", "/api/x", Some("/x")),
    ("/api", "", "", "/api?x=1", Some("/?x=1")),
    ("/api", "/a(/.*)", "", "/api/a/x?y=%2F&z=/../", Some("/x?y=%2F&z=/../")),
    ("", "", "", "/keep%20this%2Fas/it-is", Some("/keep%20this%2Fas/it-is")),
];

fn assert_rows(rows: &[Row]) {
    let upstream = Upstream::echo("up");
    let ports: Vec<u16> = rows.iter().map(|_| ports::free()).collect();
    let apis: Vec<Value> = rows
        .iter()
        .zip(&ports)
        .enumerate()
        .map(|(number, ((base, rule, destination, ..), port))| {
            let address = format!("http://127.0.0.1:{port}{base}");
            let mut api = api(&format!("row-{number}"), &address, &upstream.url());
            let mut route = Map::new();
            if !destination.is_empty() {
                route.insert("config".into(), json!({"destinationPath": destination}));
            }
            if !rule.is_empty() {
                route.insert("rules".into(), json!([{"path": rule}]));
            }
            api["spec"]["services"]["up"]["routes"] = json!([route]);
            api
        })
        .collect();
    let gateway = Plan::new().with("rows.yaml", &apis).start();
    let mut problems = Vec::new();
    for ((base, rule, destination, asked, arrives), port) in rows.iter().zip(&ports) {
        let response = get(([127, 0, 0, 1], *port).into(), asked);
        let seen =
            if response.status == 200 { response.json()["target"].as_str().map(str::to_owned) } else { None };
        if seen.as_deref() != *arrives || (arrives.is_none() && response.status != 404) {
            let status = response.status;
            problems.push(format!(
                "B={base} path={rule} D={destination}: {asked} became {seen:?} ({status}), not {arrives:?}"
            ));
        }
    }
    assert!(problems.is_empty(), "{}\n{}", problems.join("\n"), gateway.log());
}

#[test]
fn each_documented_combination_of_base_path_rule_and_destination_path() {
    assert_rows(DOCUMENTED);
}

#[test]
fn each_further_worked_case() {
    assert_rows(WORKED);
}

#[test]
fn the_base_path_is_stripped_and_groups_select_what_is_kept() {
    assert_rows(DERIVED);
}
