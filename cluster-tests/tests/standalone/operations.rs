//! Probes, the admin interface, files and logs of one gateway (configuration reference 2, 9 and 10).

use std::{net::SocketAddr, process::Command};

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

fn plain_at(name: &str, address: &str, upstream: &Upstream) -> Value {
    api(name, address, &upstream.url())
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
    // As load balancers ask: by HEAD, and in HTTP/1.0 without a host.
    for address in [local(probe), gateway.admin_address()] {
        for request in ["HEAD /probes/readiness HTTP/1.0\r\n\r\n", "GET /probes/liveness HTTP/1.0\r\n\r\n"] {
            let method = &request[..4].trim();
            let response = Client::connect(address).exchange(method, request.as_bytes()).unwrap();
            assert_eq!(response.status, 200, "{address} {request}");
        }
    }
    let named = get(gateway.admin_address(), "/probes/liveness");
    assert_eq!(named.status, 403, "the admin API by the name of a host, as from a page in a browser");
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
        call(gateway.admin_address(), "PUT", "/log/level", "Content-Type: text/plain\r\n", level).status
    };
    // Its reload is said at level info.
    let expect_a_line = |expected: bool| {
        let before = gateway.lines().len();
        let _ = gateway.apply("other.yaml", &[plain("other", ports::free(), &upstream)]);
        let said = || gateway.lines()[before..].iter().any(|line| line.contains("applied"));
        if expected {
            return eventually("the line", || said().then_some(()));
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!said(), "{}", gateway.log());
    };
    expect_a_line(true);
    assert!(put("error") < 300);
    expect_a_line(false);
    assert!((400..500).contains(&put("loudest")), "an unknown level is refused");
    expect_a_line(false);
    assert!(put("debug") < 300);
    expect_a_line(true);
}

#[test]
fn sigusr1_opens_log_files_anew() {
    let (upstream, port, logs) =
        (Upstream::echo("up"), ports::free(), tempfile::tempdir().expect("a folder"));
    let output = json!({"logging": {
        "outputs": [{"name": "disk", "type": "file", "parameters": {"path": logs.path(), "file": "gateway.log"}}],
        "runtimeLogs": {"logLevel": "info", "outputs": ["disk"]},
    }});
    let files = [plain("api", port, &upstream), configuration("logs", output)];
    let gateway = Plan::new().with("api.yaml", &files).start();
    let (current, moved) = (logs.path().join("gateway.log"), logs.path().join("gateway.log.1"));
    let holds = |path: &std::path::Path, text: &str| {
        std::fs::read_to_string(path).is_ok_and(|found| found.contains(text))
    };
    let _ = gateway.apply("other.yaml", &[plain("first", ports::free(), &upstream)]);
    eventually("the first line", || holds(&current, "generation 2").then_some(()));
    std::fs::rename(&current, &moved).expect("a writable folder");
    gateway.signal("USR1");
    eventually("a new file", || current.exists().then_some(()));
    let _ = gateway.apply("other.yaml", &[plain("second", ports::free(), &upstream)]);
    eventually("the next line in it", || holds(&current, "generation 3").then_some(()));
    assert!(
        holds(&moved, "generation 2") && !holds(&moved, "generation 3") && !holds(&current, "generation 2")
    );
}

#[test]
fn a_finding_about_a_log_output_is_counted_once_and_logged_with_its_place() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let output = json!({"logging": {
        "outputs": [{"name": "disk", "type": "file", "parameters": {"file": "gateway.log", "compress": "gzip"}}],
    }});
    let gateway = Plan::new().with("api.yaml", &[plain("api", port, &upstream)]).start();
    let reloaded = gateway.apply("logs.yaml", &[configuration("logs", output)]).json();
    assert_eq!((&reloaded["errors"], &reloaded["warnings"]), (&json!(0), &json!(1)), "{}", gateway.log());
    gateway.says("0 errors, 1 warning");
    let line = gateway.says("parameter `compress` of a log output is not supported yet");
    assert!(
        line.contains("spec.logging.outputs[0].parameters.compress) at ") && line.contains("logs.yaml:"),
        "{line}"
    );
}

#[test]
fn a_config_map_that_is_swapped_by_symbolic_link_is_one_change() {
    let upstream = Upstream::echo("up");
    let volume = tempfile::tempdir().expect("a folder");
    let port = ports::free();
    // What Kubernetes makes of a ConfigMap: files are links into `..data`, which is a link to the version.
    let version = |name: &str, prefix: &str| {
        let folder = volume.path().join(name);
        std::fs::create_dir(&folder).expect("a writable folder");
        for n in 0..3 {
            let api =
                plain_at(&format!("api{n}"), &format!("http://127.0.0.1:{port}/{prefix}{n}"), &upstream);
            let text = cluster_tests::config::documents(&[api]);
            std::fs::write(folder.join(format!("api{n}.yaml")), text).expect("a writable folder");
        }
    };
    let point_to = |name: &str| {
        let staged = volume.path().join("..data_tmp");
        std::os::unix::fs::symlink(name, &staged).expect("a link");
        std::fs::rename(&staged, volume.path().join("..data")).expect("a swap");
    };
    version("..one", "a");
    point_to("..one");
    for n in 0..3 {
        let file = format!("api{n}.yaml");
        std::os::unix::fs::symlink(format!("..data/{file}"), volume.path().join(&file)).expect("a link");
    }
    let gateway = Plan::new().argument("--config").argument(&volume.path().display().to_string()).start();
    let status = |path: &str| get(local(port), path).status;
    assert_eq!([status("/a0/x"), status("/a2/x"), status("/b0/x")], [200, 200, 404]);
    version("..two", "b");
    point_to("..two");
    std::fs::remove_dir_all(volume.path().join("..one")).expect("the old version goes");
    eventually("the new version", || (status("/b0/x") == 200).then_some(()));
    assert_eq!([status("/b1/x"), status("/b2/x"), status("/a0/x")], [200, 200, 404]);
    let generation = gateway.metric("portcullis_config_generation", &[]);
    assert_eq!(generation, 2.0, "one change");
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
    let nobody = format!("http://127.0.0.1:{}", ports::free());
    let lost = api("lost", &format!("http://127.0.0.1:{}", ports::free()), &nobody);
    let gone = lost["spec"]["address"].as_str().and_then(|address| address.rsplit(':').next()?.parse().ok());
    let gone: SocketAddr = local(gone.expect("a port"));
    let plan = Plan::new().with("api.yaml", &[guarded, lost]).argument("--set").argument("log.level=debug");
    let gateway = plan.start();
    assert_eq!(Client::connect(gone).get("/", "a", "X-Request-Id: id-0815\r\n").status, 503);
    let line = gateway.says("cannot connect");
    assert!(line.contains("id-0815"), "{line}");
    let fields = format!("{}X-Request-Id: id-4711\r\n", cluster_tests::config::LOGIN);
    assert_eq!(Client::connect(local(port)).get("/paper", "a", &fields).status, 200);
    for word in ["seen /paper", "done /paper"] {
        let line = gateway.says(word);
        assert!(line.contains("id-4711"), "{line}");
    }
    assert!(!gateway.log().contains("YWRhOnNlY3JldA=="), "{}", gateway.log());
}

#[test]
fn an_upstream_that_cannot_be_reached_is_warned_of_once_and_its_return_is_said() {
    let (there, port) = (local(ports::free()), ports::free());
    let gateway = Plan::new()
        .with("api.yaml", &[api("api", &format!("http://127.0.0.1:{port}"), &format!("http://{there}"))])
        .start();
    for _ in 0..3 {
        assert_eq!(get(local(port), "/").status, 503);
    }
    gateway.says(&format!("no connection to upstream default/api-up ({there}): it cannot be reached"));
    let _upstream = Upstream::start_at(there, |exchange| exchange.reply(200, "", b""));
    assert_eq!(get(local(port), "/").status, 200);
    gateway.says("can be reached again");
    let warned = gateway.lines().iter().filter(|line| line.contains("no connection to upstream")).count();
    assert_eq!(warned, 1, "{}", gateway.log());
}

/// Heads and framing are no body, whichever version carries it.
#[test]
fn the_metrics_count_bodies_and_what_no_api_serves() {
    let upstream = Upstream::start(|exchange| exchange.reply(200, "", b"twelve bytes"));
    let port = ports::free();
    let gateway = Plan::new()
        .with("api.yaml", &[plain_at("api", &format!("http://127.0.0.1:{port}/api"), &upstream)])
        .start();
    let sent = || gateway.metric("portcullis_api_response_bytes_total", &["api=\"api\""]);
    let url = format!("http://127.0.0.1:{port}/api/x");
    for (version, bytes) in [("--http1.1", 12.0), ("--http2-prior-knowledge", 24.0)] {
        let status = Command::new("curl").args(["-s", "-o", "/dev/null", version, &url]).status().unwrap();
        assert!(status.success());
        eventually(version, || (sent() == bytes).then_some(()));
    }
    assert_eq!(get(local(port), "/other").status, 404);
    assert!(gateway.metric("portcullis_requests_refused_total", &["reason=\"no_instance\""]) > 0.0);
}
