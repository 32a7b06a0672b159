//! A policy that cannot be built never leaves its API open: at first load, through an update, over a restart
//! (configuration reference 15, decision 12).

use std::net::SocketAddr;

use cluster_tests::client::{Client, call};
use cluster_tests::config::{LOGIN, api, api_with, binding, login};
use cluster_tests::gateway::Plan;
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::{Value, json};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Policies that cannot be built, each for another reason.
fn broken() -> Vec<(&'static str, Value)> {
    vec![
        (
            "a required parameter is missing",
            json!({"policyRef": {"name": "http-basic-authentication-flex"}, "config": {"username": "ada"}}),
        ),
        ("no configuration at all", json!({"policyRef": {"name": "http-basic-authentication-flex"}})),
        (
            "a list entry is no address",
            json!({"policyRef": {"name": "ip-allowlist-flex"}, "config": {"ips": ["10.0.0.300"]}}),
        ),
        (
            "an expression does not parse",
            json!({"policyRef": {"name": "ip-allowlist-flex"}, "config": {"ips": ["10.0.0.1"], "ipExpression": "#[attributes.(]"}}),
        ),
        (
            "a rule does not compile",
            json!({"policyRef": {"name": "ip-allowlist-flex"}, "config": {"ips": ["10.0.0.1"]}, "rules": [{"path": "/a("}]}),
        ),
        (
            "a number is no number",
            json!({"policyRef": {"name": "rate-limiting-flex"}, "config": {"rateLimits": [{"maximumRequests": "many", "timePeriodInMilliseconds": 1000}]}}),
        ),
    ]
}

#[test]
fn at_first_load_the_instance_answers_503_on_every_path_or_is_closed() {
    let upstream = Upstream::echo("up");
    for (says, policy) in broken() {
        upstream.forget();
        let (port, beside) = (ports::free(), ports::free());
        let guarded =
            api_with("guarded", &format!("http://127.0.0.1:{port}"), &upstream.url(), json!([policy]));
        let open = api("beside", &format!("http://127.0.0.1:{beside}"), &upstream.url());
        let gateway = Plan::new().with("api.yaml", &[guarded, open]).start_unready();
        eventually("the other instance", || Client::try_connect(local(beside)).ok());
        assert_eq!(
            call(local(beside), "GET", "/beside", "", "").status,
            200,
            "{says}: other instances are untouched"
        );
        for path in ["/", "/a", "/any/path"] {
            for extra in ["", LOGIN, "X-Forwarded-For: 10.0.0.1\r\n"] {
                // A resource that is no resource at all opens no port; any other instance answers, and refuses.
                if Client::try_connect(local(port)).is_ok() {
                    assert_eq!(
                        call(local(port), "GET", path, extra, "").status,
                        503,
                        "{says}: {path} {extra}"
                    );
                }
            }
        }
        assert!(upstream.received().iter().all(|request| request.target == "/beside"), "{says}");
        assert!(!gateway.ready(), "{says}: a starting gateway with a policy error is not ready");
        gateway.says("guarded");
    }
}

#[test]
fn an_update_keeps_the_last_good_policy() {
    let upstream = Upstream::echo("up");
    let port = ports::free();
    let address = format!("http://127.0.0.1:{port}");
    let good = api_with("guarded", &address, &upstream.url(), json!([login(json!([]))]));
    let gateway = Plan::new().with("api.yaml", std::slice::from_ref(&good)).start();
    for (says, policy) in broken() {
        let same = policy["policyRef"]["name"] == "http-basic-authentication-flex";
        let _ = gateway.apply("api.yaml", &[api_with("guarded", &address, &upstream.url(), json!([policy]))]);
        let (without, with) =
            (call(local(port), "GET", "/", "", "").status, call(local(port), "GET", "/", LOGIN, "").status);
        if same {
            assert_eq!((without, with), (401, 200), "{says}: the last good policy still guards and admits");
        } else {
            // Another policy in its place has no last good version: closed, or the whole resource is as it was.
            assert!([(503, 503), (401, 200)].contains(&(without, with)), "{says}: {without} and {with}");
        }
        assert!(gateway.ready(), "{says}: a running gateway stays ready");
        let _ = gateway.apply("api.yaml", std::slice::from_ref(&good));
        assert_eq!(call(local(port), "GET", "/", LOGIN, "").status, 200, "{says}: and back");
    }
}

#[test]
fn a_binding_that_becomes_broken_keeps_guarding() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let plain = api("guarded", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let bind = |config: Value| {
        binding("door", "ApiInstance", "guarded", "http-basic-authentication-flex", json!({"config": config}))
    };
    let good = bind(json!({"username": "ada", "password": "secret"}));
    let gateway = Plan::new().with("api.yaml", &[plain]).with("door.yaml", &[good]).start();
    assert_eq!(call(local(port), "GET", "/", "", "").status, 401);
    let _ = gateway.apply("door.yaml", &[bind(json!({"username": "ada"}))]);
    assert_eq!(call(local(port), "GET", "/", "", "").status, 401);
    gateway.put_text("door.yaml", "kind: [");
    let _ = gateway.reload();
    assert_eq!(call(local(port), "GET", "/", "", "").status, 401, "an unparsable file removes no policy");
    gateway.remove("door.yaml");
    let _ = gateway.reload();
    eventually("the policy is gone with its file", || {
        (call(local(port), "GET", "/", "", "").status == 200).then_some(())
    });
}

#[test]
fn over_a_restart_a_broken_policy_has_no_last_good_one_and_closes_the_instance() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let address = format!("http://127.0.0.1:{port}");
    let good = api_with("guarded", &address, &upstream.url(), json!([login(json!([]))]));
    let gateway = Plan::new().with("api.yaml", &[good]).start();
    let (_, policy) = broken().swap_remove(0);
    let _ = gateway.apply("api.yaml", &[api_with("guarded", &address, &upstream.url(), json!([policy]))]);
    assert_eq!(call(local(port), "GET", "/", LOGIN, "").status, 200);
    let gateway = gateway.restart();
    eventually("the port", || Client::try_connect(local(port)).ok());
    assert_eq!(call(local(port), "GET", "/", LOGIN, "").status, 503);
    assert_eq!(call(local(port), "GET", "/", "", "").status, 503);
    assert!(!gateway.ready());
}

#[test]
fn an_unknown_policy_on_an_instance_does_not_open_it() {
    let (upstream, port, beside) = (Upstream::echo("up"), ports::free(), ports::free());
    let policies = json!([{"policyRef": {"name": "http-basic-autentication-flex"}, "config": {"username": "a", "password": "b"}}]);
    let guarded = api_with("guarded", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    let open = api("beside", &format!("http://127.0.0.1:{beside}"), &upstream.url());
    let _gateway = Plan::new().with("api.yaml", &[guarded, open]).start_unready();
    eventually("the other instance", || Client::try_connect(local(beside)).ok());
    if let Ok(mut client) = Client::try_connect(local(port)) {
        assert_eq!(client.get("/", "a", "").status, 503);
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn an_https_address_without_a_tls_binding_is_not_opened_in_plain_text() {
    let (upstream, port, beside) = (Upstream::echo("up"), ports::free(), ports::free());
    let secret = api("secret", &format!("https://127.0.0.1:{port}"), &upstream.url());
    let open = api("beside", &format!("http://127.0.0.1:{beside}"), &upstream.url());
    let gateway = Plan::new().with("api.yaml", &[secret, open]).start_unready();
    eventually("the other instance", || Client::try_connect(local(beside)).ok());
    assert!(Client::try_connect(local(port)).is_err(), "the port stays closed");
    gateway.says("secret");
}

#[test]
fn an_update_that_moves_and_misspells_an_inline_policy_does_not_open_the_api() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let allow = |name: &str| json!({"policyRef": {"name": name}, "config": {"ips": ["10.0.0.1"], "ipExpression": "#[attributes.remoteAddress]"}});
    let guarded =
        |policies: Value| api_with("guarded", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    let before = guarded(json!([allow("ip-allowlist-flex"), login(json!([]))]));
    let gateway = Plan::new().with("api.yaml", &[before]).start();
    assert_eq!(call(local(port), "GET", "/", LOGIN, "").status, 403);
    let _ = gateway.apply("api.yaml", &[guarded(json!([login(json!([])), allow("ip-alowlist-flex")]))]);
    assert_eq!(call(local(port), "GET", "/", LOGIN, "").status, 503, "the allowlist is not there any more");
    assert!(upstream.received().is_empty());
}

#[test]
fn a_binding_that_does_not_say_whom_it_protects_closes_whom_it_may_have_meant() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let guarded = api("guarded", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let mut lost = binding(
        "lost",
        "ApiInstance",
        "guarded",
        "http-basic-authentication-flex",
        json!({"config": login(json!([]))["config"]}),
    );
    lost["spec"]["targetRef"] = json!({"kind": "ApiInstance", "nmae": "guarded"});
    let gateway = Plan::new().with("api.yaml", &[guarded]).with("lost.yaml", &[lost]).start_unready();
    gateway.says("lost");
    eventually("the port", || Client::try_connect(local(port)).ok());
    assert_eq!(call(local(port), "GET", "/", LOGIN, "").status, 503);
    assert!(upstream.received().is_empty());
}

#[test]
fn an_api_that_comes_while_a_file_is_broken_waits_for_it() {
    let (upstream, old, new) = (Upstream::echo("up"), ports::free(), ports::free());
    let plain = |name: &str, port: u16| api(name, &format!("http://127.0.0.1:{port}"), &upstream.url());
    let gateway = Plan::new().with("old.yaml", &[plain("old", old)]).start();
    gateway.put_text("door.yaml", "kind: PolicyBinding\nspec: {targetRef: {name: new}\n");
    let _ = gateway.apply("new.yaml", &[plain("new", new)]);
    for _ in 0..2 {
        assert_eq!(
            call(local(new), "GET", "/", LOGIN, "").status,
            503,
            "its policy may stand in the broken file"
        );
        assert_eq!(call(local(old), "GET", "/", "", "").status, 200, "what was served is served on");
        let (ready, reason) = gateway.condition("ApiInstance", "new");
        assert!(ready == "False" && reason.contains("door.yaml"), "{ready} {reason}");
        // Another generation with the file as it is: the API is no longer new, but was never open.
        let _ = gateway.apply("other.yaml", &[plain("other", ports::free())]);
    }
    let door = binding(
        "door",
        "ApiInstance",
        "new",
        "http-basic-authentication-flex",
        json!({"config": login(json!([]))["config"]}),
    );
    let _ = gateway.apply("door.yaml", &[door]);
    assert_eq!(call(local(new), "GET", "/", "", "").status, 401);
    assert_eq!(call(local(new), "GET", "/", LOGIN, "").status, 200);
    assert_eq!(gateway.condition("ApiInstance", "new").0, "True");
}

#[test]
fn a_binding_that_cannot_be_built_is_not_ready_and_says_so() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let guarded = api("guarded", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let bind = |config: Value| {
        binding("door", "ApiInstance", "guarded", "ip-allowlist-flex", json!({"config": config}))
    };
    let gateway = Plan::new()
        .with("api.yaml", &[guarded])
        .with("door.yaml", &[bind(json!({"ips": ["10.0.0.300"]}))])
        .start_unready();
    let (ready, reason) = gateway.condition("PolicyBinding", "door");
    assert!(ready == "False" && reason.contains("ip-allowlist-flex"), "{ready} {reason}");
    assert_eq!(gateway.condition("ApiInstance", "guarded").0, "False");
    let anything_else = "/probes/readiness?allowEnvoyErrors=true&allowAPIErrors=true&allowPolicyErrors=true";
    assert_eq!(
        gateway.admin("GET", anything_else).status,
        503,
        "the only API answers 503: not ready, whatever is allowed"
    );
    let _ = gateway.apply("door.yaml", &[bind(json!({"ips": ["127.0.0.1"]}))]);
    assert_eq!(gateway.condition("PolicyBinding", "door").0, "True");
    assert_eq!(call(local(port), "GET", "/", "", "").status, 200);
    let _ = gateway.apply("door.yaml", &[bind(json!({"ips": ["10.0.0.300"]}))]);
    let (ready, reason) = gateway.condition("PolicyBinding", "door");
    assert!(ready == "False" && reason.contains("stays as it was"), "{ready} {reason}");
    assert_eq!(gateway.condition("ApiInstance", "guarded").0, "True", "it serves under the last good policy");
    assert_eq!(call(local(port), "GET", "/", "", "").status, 200);
}
