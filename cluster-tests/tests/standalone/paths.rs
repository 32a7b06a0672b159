//! Path tricks (decision 1): one form decides everything, so no spelling slips past a policy.

use cluster_tests::client::{Client, get};
use cluster_tests::config::{LOGIN, api};
use cluster_tests::gateway::Plan;
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;
use serde_json::json;

use crate::smuggling::in_front_of;

#[test]
fn every_spelling_of_a_protected_path_meets_its_policy() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) = in_front_of(&upstream);
    for (path, arrives) in [
        ("/cart", "/cart"),
        ("/c%61rt", "/cart"),
        ("/%63%61%72%74", "/cart"),
        ("//cart", "/cart"),
        ("///cart", "/cart"),
        ("/x/../cart", "/cart"),
        ("/x/%2e%2e/cart", "/cart"),
        ("/x/.%2E/cart", "/cart"),
        ("/a/b/../../cart", "/cart"),
        ("/./cart", "/cart"),
        ("/%2e/cart", "/cart"),
        ("/cart/", "/cart/"),
        ("/cart//add", "/cart/add"),
        ("/x//../cart/add?q=%61", "/cart/add?q=%61"),
        ("/cart?x=/../y", "/cart?x=/../y"),
        ("http://gateway.test/c%61rt", "/cart"),
        ("http://gateway.test//x/../cart", "/cart"),
    ] {
        let mut client = Client::connect(address);
        assert_eq!(client.get(path, "gateway.test", "").status, 401, "{path} without a login");
        let mut client = Client::connect(address);
        let response = client.get(path, "gateway.test", LOGIN);
        assert_eq!(response.status, 200, "{path} with a login");
        assert_eq!(response.json()["target"], arrives, "{path} with a login");
    }
    assert_eq!(get(address, "/cart%2Fadd").json()["target"], "/cart%2Fadd", "an escaped slash is no slash");
    assert_eq!(get(address, "/carts").json()["target"], "/carts");
}

#[test]
fn paths_that_mean_nothing_are_refused() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) = in_front_of(&upstream);
    for path in
        ["/\\cart", "/x\\..\\cart", "/cart%00", "/%00", "/%zz", "/%", "/%4", "/cart%", "/c%6", "/%6\u{7f}"]
    {
        let mut client = Client::connect(address);
        let response = client.get(path, "gateway.test", LOGIN);
        assert_eq!(response.status, 400, "{path:?}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn a_path_above_the_root_never_escapes_the_base_path() {
    let upstream = Upstream::echo("up");
    let port = ports::free();
    let inside = api("inside", &format!("http://127.0.0.1:{port}/api"), &upstream.url());
    let _gateway = Plan::new().with("api.yaml", &[inside]).start();
    let address = ([127, 0, 0, 1], port).into();
    for path in ["/api/../admin", "/api/%2e%2e/admin", "/../admin", "/api/x/../../admin", "/api/..//admin"] {
        let response = get(address, path);
        assert!([400, 404].contains(&response.status), "{path}: {}", response.status);
    }
    assert!(upstream.received().is_empty());
    assert_eq!(get(address, "/other/../api/x").json()["target"], "/x");
}

#[test]
fn what_groups_keep_of_a_path_never_climbs_out_of_the_destination() {
    let upstream = Upstream::echo("up");
    let port = ports::free();
    let mut api = api("cut", &format!("http://127.0.0.1:{port}/t"), &upstream.url());
    api["spec"]["services"]["up"]["routes"] = json!([
        {"rules": [{"path": "/p(.*)"}], "config": {"destinationPath": "/static"}},
        {"rules": [{"path": "/q(.*)r(.*)"}]},
        {"rules": [{"path": "(/s/.*)x"}]},
    ]);
    let _gateway = Plan::new().with("api.yaml", &[api]).start();
    let address = ([127, 0, 0, 1], port).into();
    for path in ["/t/p../secret", "/t/p..", "/t/p./x", "/t/q.r./x", "/t/qr../x", "/t/s/..x"] {
        assert_eq!(get(address, path).status, 400, "{path}");
    }
    assert!(upstream.received().is_empty());
    for path in ["/t/p/a", "/t/p.a/..b", "/t/qar/b", "/t/s/ax"] {
        assert_eq!(get(address, path).status, 200, "{path}");
    }
}

#[test]
fn who_asks_for_the_options_of_the_whole_server_is_answered_by_a_whole_server_only() {
    let upstream = Upstream::echo("up");
    for (base_path, service_path, status) in
        [("", "", 200), ("", "/", 200), ("/api", "", 404), ("", "/v1", 404)]
    {
        let port = ports::free();
        let service = format!("{}{service_path}", upstream.url());
        let api = api("whole", &format!("http://127.0.0.1:{port}{base_path}"), &service);
        let _gateway = Plan::new().with("api.yaml", &[api]).start();
        let mut client = Client::connect(([127, 0, 0, 1], port).into());
        let response =
            client.exchange("OPTIONS", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").expect("an answer");
        assert_eq!(response.status, status, "{base_path} {service_path}");
        if status == 200 {
            assert_eq!(response.json()["target"], "*");
        }
    }
    assert_eq!(upstream.received().len(), 2);
}
