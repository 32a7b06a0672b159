//! What the gateway says of itself and what it does about ports that are taken: `/status`, conditions, counters.

use std::net::SocketAddr;
use std::sync::Arc;

use cluster_tests::client::{Client, get};
use cluster_tests::config::{api, api_with, configuration};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::load::{Load, OnClose, Work};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::{Value, json};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn plain(name: &str, port: u16, upstream: &Upstream) -> Value {
    api(name, &format!("http://127.0.0.1:{port}"), &upstream.url())
}

fn probe(port: u16, path: &str) -> Value {
    configuration("probe", json!({"probe": {"enabled": true, "port": port, "path": path}}))
}

fn status(gateway: &Gateway) -> Value {
    gateway.admin("GET", "/status").json()
}

#[test]
fn status_holds_what_every_actor_says_of_itself() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let gateway = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]).start();
    let told = status(&gateway);
    assert_eq!(told["ready"], true);
    assert_eq!(told["reconciler"]["last"]["generation"], 1);
    assert_eq!(told["listeners"]["open"], json!([format!("127.0.0.1:{port}")]));
    let folder = &told["fileWatcher"]["paths"][0];
    assert_eq!(folder["path"], gateway.folder().display().to_string());
    assert!(folder["watched"] == true && folder["error"].is_null(), "{told}");
    assert_eq!(told["probes"], json!({"address": null, "path": null, "listening": false, "error": null}));
    let before = told["fileWatcher"]["events"].as_u64();
    gateway.put("probe.yaml", &[probe(ports::free(), "/ready")]);
    let told = eventually("the event and what came of it", || {
        let told = status(&gateway);
        (told["fileWatcher"]["events"].as_u64() > before && told["probes"]["listening"] == true)
            .then_some(told)
    });
    let at = told["fileWatcher"]["lastEvent"].as_str().unwrap_or_default();
    assert!(at.starts_with("20") && at.ends_with('Z'), "when: {told}");
}

#[test]
fn an_instance_whose_address_is_taken_is_not_ready_until_the_address_is_free() {
    let (upstream, free, mut taken) = (Upstream::echo("up"), ports::free(), ports::Port::reserve());
    let port = taken.number();
    let apis = [plain("shut", port, &upstream), plain("open", free, &upstream)];
    let gateway = Plan::new().with("api.yaml", &apis).start_unready();
    assert!(!gateway.ready(), "an address that cannot be bound keeps a starting gateway from being ready");
    assert_eq!(gateway.admin("GET", "/probes/readiness?allowEnvoyErrors=true").status, 200);
    let (ready, reason) = gateway.condition("ApiInstance", "shut");
    assert_eq!(ready, "False");
    assert!(reason.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{reason}");
    assert_eq!(gateway.condition("ApiInstance", "open").0, "True");
    assert_eq!(status(&gateway)["notReady"][0]["resource"], "ApiInstance default/shut");
    let line = gateway.says("cannot listen");
    assert!(line.contains("ApiInstance default/shut") && line.contains("api.yaml:"), "who and where: {line}");
    assert_eq!(gateway.metric("portcullis_reloads_total", &["outcome=\"failed\""]), 1.0);

    taken.release();
    let reloaded = gateway.reload();
    assert_eq!(
        reloaded.json()["errors"],
        0,
        "the answer comes when the address is open: {}",
        reloaded.text()
    );
    assert_eq!(get(local(port), "/").status, 200);
    assert_eq!(gateway.condition("ApiInstance", "shut"), ("True".to_owned(), String::new()));
    assert_eq!(status(&gateway)["notReady"], json!([]));
    assert!(gateway.ready());
}

#[test]
fn what_was_refused_when_it_was_read_is_not_ready_in_the_status_as_in_the_dump() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let broken = json!({
        "apiVersion": "gateway.mulesoft.com/v1alpha1", "kind": "Service", "metadata": {"name": "broken"},
        "spec": {"address": 5},
    });
    let gateway = Plan::new().with("api.yaml", &[plain("whole", port, &upstream), broken]).start_unready();
    let (ready, reason) = gateway.condition("Service", "broken");
    assert_eq!(ready, "False");
    assert_eq!(
        status(&gateway)["notReady"],
        json!([{"resource": "Service default/broken", "reason": reason}])
    );
}

#[test]
fn a_taken_address_concerns_the_instances_on_it_alone() {
    let (upstream, mut taken) = (Upstream::echo("up"), ports::Port::reserve());
    let port = taken.number();
    let any = api("any", &format!("http://0.0.0.0:{port}/any"), &upstream.url());
    let one = api("one", &format!("http://127.0.0.1:{port}/one"), &upstream.url());
    let gateway = Plan::new().with("api.yaml", &[any, one]).start_unready();
    for name in ["any", "one"] {
        let (ready, reason) = gateway.condition("ApiInstance", name);
        assert!(ready == "False" && reason.contains(&format!("0.0.0.0:{port}")), "{name}: {reason}");
    }
    taken.release();
    gateway.reload();
    assert_eq!(get(local(port), "/one/").status, 200);
    assert_eq!(gateway.condition("ApiInstance", "one").0, "True");
}

#[test]
fn an_api_moves_between_one_address_of_a_port_and_all_of_them_without_a_gap() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let at = |host: &str| api("api", &format!("http://{host}:{port}"), &upstream.url());
    let gateway = Plan::new().with("api.yaml", &[at("0.0.0.0")]).start();
    let load = Load::start(Work {
        address: local(port),
        kept: 2,
        fresh: 4,
        on_close: OnClose::Reconnect,
        request: Arc::new(|_| b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n".to_vec()),
        check: Arc::new(|_, answer| (answer.status == 200).then_some(()).ok_or(answer.text())),
    });
    for round in 0..30 {
        let (host, before) = (["127.0.0.1", "0.0.0.0"][round % 2], load.answered());
        let reloaded = gateway.apply("api.yaml", &[at(host)]);
        assert_eq!(reloaded.json()["errors"], 0, "{host}: {}", reloaded.text());
        eventually("requests", || (load.answered() > before + 50).then_some(()));
    }
    gateway.apply("api.yaml", &[at("127.0.0.1")]);
    // The last of the moves is over when all addresses are closed.
    open_addresses_become(&gateway, &[format!("127.0.0.1:{port}")]);
    load.stop().assert_clean();

    gateway.apply("api.yaml", &[at("127.0.0.2")]);
    open_addresses_become(&gateway, &[format!("127.0.0.2:{port}")]);
    eventually("a closed port", || Client::try_connect(local(port)).err());
    gateway.apply("api.yaml", &[at("0.0.0.0")]);
    // One of them stays: to close it would reset who connects to it in that moment.
    open_addresses_become(&gateway, &[format!("0.0.0.0:{port}"), format!("127.0.0.2:{port}")]);
    for there in [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]] {
        assert_eq!(get(SocketAddr::from((there, port)), "/").status, 200, "{there:?}");
    }
}

fn open_addresses_become(gateway: &Gateway, wanted: &[String]) {
    eventually("the addresses", || (status(gateway)["listeners"]["open"] == json!(wanted)).then_some(()));
}

#[test]
fn an_address_that_was_taken_is_opened_by_itself_once_it_is_free() {
    let (upstream, mut taken) = (Upstream::echo("up"), ports::Port::reserve());
    let port = taken.number();
    let gateway = Plan::new().with("api.yaml", &[plain("shut", port, &upstream)]).start_unready();
    gateway.says("cannot listen");
    let anything_else = "/probes/readiness?allowEnvoyErrors=true&allowAPIErrors=true&allowPolicyErrors=true";
    assert_eq!(
        gateway.admin("GET", anything_else).status,
        503,
        "nothing is served: not ready, whatever is allowed"
    );
    assert_eq!(gateway.metric("portcullis_apis_configured", &[]), 1.0);
    assert_eq!(gateway.metric("portcullis_apis_served", &[]), 0.0);
    taken.release();
    let started = std::time::Instant::now();
    eventually("the port", || Client::try_connect(local(port)).ok());
    assert_eq!(get(local(port), "/").status, 200);
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "before the next rescan");
    eventually("readiness", || gateway.ready().then_some(()));
    assert_eq!(gateway.metric("portcullis_apis_served", &[]), 1.0);
}

#[test]
fn a_probe_port_that_is_taken_is_opened_by_a_later_look_without_a_change() {
    let (upstream, port, mut taken) = (Upstream::echo("up"), ports::free(), ports::Port::reserve());
    let probe_port = taken.number();
    let files = [plain("api", port, &upstream), probe(probe_port, "/ready")];
    let gateway = Plan::new().with("api.yaml", &files).start();
    let told = eventually("the attempt", || {
        let told = status(&gateway)["probes"].clone();
        told["error"].is_string().then_some(told)
    });
    assert_eq!(told["listening"], false);
    assert_eq!(told["address"], format!("0.0.0.0:{probe_port}"));
    for _ in 0..3 {
        gateway.reload();
    }
    taken.release();
    gateway.reload();
    eventually("the probe port", || Client::try_connect(local(probe_port)).ok());
    assert_eq!(get(local(probe_port), "/ready").status, 200);
    let told = &status(&gateway)["probes"];
    assert!(told["listening"] == true && told["error"].is_null(), "{told}");
    gateway.says("probes: cannot listen");
    let lines = gateway.lines();
    let said = lines.iter().filter(|line| line.contains("probes: cannot listen")).count();
    assert_eq!(said, 1, "an attempt that fails like the one before is not said again");
}

#[test]
fn the_probe_server_moves_to_other_ports_and_paths_without_binding_twice() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let (first, second) = (ports::free(), ports::free());
    let gateway = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]).start();
    for round in 0..10 {
        // The path alone changes, then the port, then the port again before the old server is gone.
        for (at, path) in [(first, "a"), (first, "b"), (second, "b"), (first, "c")] {
            let _ = gateway.apply("probe.yaml", &[probe(at, &format!("/{path}-{round}"))]);
        }
        let last = format!("/c-{round}");
        eventually("the last path", || {
            let mut client = Client::try_connect(local(first)).ok()?;
            let request = format!("GET {last} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            client.exchange("GET", request.as_bytes()).ok().filter(|answer| answer.status == 200)
        });
        eventually("the old port is free", || std::net::TcpListener::bind(local(second)).ok());
    }
    assert!(!gateway.log().contains("cannot listen"), "{}", gateway.log());
}

#[test]
fn a_probe_port_serves_until_the_one_that_takes_its_place_is_open() {
    let (upstream, port, mut taken) = (Upstream::echo("up"), ports::free(), ports::Port::reserve());
    let (first, second) = (ports::free(), taken.number());
    let files = [plain("api", port, &upstream), probe(first, "/ready")];
    let gateway = Plan::new().with("api.yaml", &files).start();
    let serves = |port: u16| Client::try_connect(local(port)).is_ok();
    eventually("the probe port", || serves(first).then_some(()));
    let _ = gateway.apply("api.yaml", &[plain("api", port, &upstream), probe(second, "/ready")]);
    let told = eventually("the attempt", || {
        let told = status(&gateway)["probes"].clone();
        told["error"].is_string().then_some(told)
    });
    assert!(told["listening"] == false && told["address"] == format!("0.0.0.0:{second}"), "{told}");
    gateway.reload();
    assert_eq!(get(local(first), "/ready").status, 200);
    taken.release();
    gateway.reload();
    eventually("the new port", || serves(second).then_some(()));
    eventually("the old port closes", || (!serves(first)).then_some(()));
    let told = &status(&gateway)["probes"];
    assert!(told["listening"] == true && told["error"].is_null(), "{told}");
}

#[test]
fn a_reload_counts_as_failed_while_a_part_keeps_its_last_good_version() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let gateway = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]).start();
    let counts = |gateway: &Gateway| {
        ["ok", "failed"]
            .map(|outcome| gateway.metric("portcullis_reloads_total", &[&format!("outcome=\"{outcome}\"")]))
    };
    assert_eq!(counts(&gateway), [1.0, 0.0]);
    gateway.put_text("api.yaml", "apiVersion: [gateway.mulesoft.com/v1alpha1\n");
    gateway.reload();
    assert_eq!(get(local(port), "/").status, 200, "the last good version serves");
    assert_eq!(counts(&gateway), [1.0, 1.0]);
    gateway.reload();
    assert_eq!(counts(&gateway), [1.0, 1.0], "a look that finds nothing new is no reload");
    let _ = gateway.apply("api.yaml", &[plain("api", port, &upstream)]);
    assert_eq!(counts(&gateway), [2.0, 1.0]);
}

#[test]
fn a_policy_that_cannot_do_its_work_is_counted_whether_it_refuses_or_goes_on() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let not_a_number = "#[attributes.headers.n as Number]";
    let policies = json!([
        {"policyRef": {"name": "message-logging-flex"}, "config": {"loggingConfiguration": [
            {"itemName": "in", "itemData": {"message": not_a_number, "level": "INFO", "firstSection": true}}]}},
        {"policyRef": {"name": "rate-limiting-flex"}, "config": {"keySelector": not_a_number,
            "rateLimits": [{"maximumRequests": 100, "timePeriodInMilliseconds": 60000}]}},
        {"policyRef": {"name": "header-injection-flex"}, "config": {
            "inboundHeaders": [{"key": "x-n", "value": not_a_number}]}},
    ]);
    let guarded = api_with("guarded", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    let gateway = Plan::new().with("api.yaml", &[guarded]).start();
    let errors =
        |policy: &str| gateway.metric("portcullis_policy_errors_total", &[&format!("policy=\"{policy}\"")]);
    let names = ["message-logging-flex", "rate-limiting-flex", "header-injection-flex"];
    assert_eq!(Client::connect(local(port)).get("/", "a", "n: 7\r\n").status, 200);
    assert_eq!(names.map(errors), [0.0, 0.0, 0.0]);
    assert_eq!(Client::connect(local(port)).get("/", "a", "n: seven\r\n").status, 500);
    assert_eq!(names.map(errors), [1.0, 1.0, 1.0]);
}

/// An inline policy is named by its place, and another takes its name when one is put before it.
#[test]
fn an_inline_policy_that_moves_bears_its_new_name_in_the_log() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let logs = |word: &str| {
        json!({"policyRef": {"name": "message-logging-flex"}, "config": {"loggingConfiguration": [
            {"itemName": "in", "itemData": {"message": word, "level": "INFO", "firstSection": true}}]}})
    };
    let api = |policies| api_with("api", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    let gateway = Plan::new().with("api.yaml", &[api(json!([logs("first")]))]).start();
    assert_eq!(get(local(port), "/").status, 200);
    assert!(gateway.says("first").contains("message-logging-flex-1"));
    let _ = gateway.apply("api.yaml", &[api(json!([logs("newcomer"), logs("first")]))]);
    assert_eq!(get(local(port), "/").status, 200);
    assert!(gateway.says("newcomer").contains("message-logging-flex-1"));
    let line = eventually("its second line", || {
        gateway.lines().into_iter().filter(|line| line.contains("first")).nth(1)
    });
    assert!(line.contains("message-logging-flex-2"), "{line}");
}

#[test]
fn file_descriptors_are_raised_to_the_hard_limit_and_too_few_are_said() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let plan = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]).open_files(256, 900);
    let gateway = plan.clone().start();
    assert_eq!(gateway.metric("portcullis_process_max_fds", &[]), 900.0);
    gateway.says("at most 900 (soft limit before: 256, hard limit: 900)");
    let line = gateway.says("limits.connections");
    assert!(line.contains("131072"), "65536 connections need more: {line}");
    drop(gateway);
    let gateway = plan.argument("--set").argument("limits.connections=450").start();
    assert!(!gateway.log().contains("limits.connections"), "twice 450 are enough: {}", gateway.log());
}

#[test]
fn without_descriptors_left_those_who_have_a_connection_are_served_and_later_all_again() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let plan = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]).open_files(64, 64);
    let gateway = plan.start();
    let mut kept = Client::connect(local(port));
    assert_eq!(kept.get("/", "a", "").status, 200);
    let crowd: Vec<_> = (0..100).filter_map(|_| std::net::TcpStream::connect(local(port)).ok()).collect();
    gateway.says("cannot accept");
    assert_eq!(kept.get("/", "a", "").status, 200, "it has all that it needs");
    // Several attempts later.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let said = gateway.lines().iter().filter(|line| line.contains("cannot accept")).count();
    assert_eq!(said, 1, "once a minute: {}", gateway.log());
    drop(crowd);
    eventually("the next client", || {
        let mut client = Client::try_connect(local(port)).ok()?;
        let answer = client.exchange("GET", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
        (answer.status == 200).then_some(())
    });
}

#[test]
fn an_api_on_the_admin_port_is_without_its_address_and_the_others_are_served() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let mut gateway = Plan::new().with("api.yaml", &[plain("open", port, &upstream)]).start();
    gateway.put("shut.yaml", &[plain("shut", gateway.admin_address().port(), &upstream)]);
    gateway.kill();
    gateway.start_again();
    assert_eq!(get(local(port), "/").status, 200);
    assert_eq!(gateway.condition("ApiInstance", "shut").0, "False");
}
