//! The commands beside `run`, and how each way to go wrong ends: exit codes 0, 1, 64 usage, 65 bad resources,
//! 69 unavailable, 78 bad settings.

use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use cluster_tests::binary;
use cluster_tests::client::{call, get};
use cluster_tests::config::{api, documents};
use cluster_tests::gateway::Plan;
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;

/// Runs the binary with these words and waits for its end.
fn portcullis(words: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary::portcullis());
    command.args(words).envs(environment.iter().copied());
    command.output().expect("the binary starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("api.yaml");
    std::fs::write(&path, text).expect("a writable folder");
    (folder, path.display().to_string())
}

#[test]
fn run_with_nothing_says_what_to_do_next() {
    let output = portcullis(&["run"], &[]);
    assert!(!output.status.success());
    let text = said(&output);
    assert!(text.contains("--config") && text.contains("demo"), "{text}");
}

#[test]
fn an_unknown_flag_or_command_is_a_usage_error() {
    assert_exit(&portcullis(&["run", "--no-such-flag"], &[]), 64);
    assert_exit(&portcullis(&["no-such-command"], &[]), 64);
}

#[test]
fn settings_that_cannot_be_read_end_the_start() {
    let (_folder, path) = file("");
    let output = portcullis(&["run", "--config", &path], &[("PORTCULLIS_WORKERS", "many")]);
    assert_exit(&output, 78);
    assert!(said(&output).contains("PORTCULLIS_WORKERS"), "the message names the source: {}", said(&output));
}

/// Configuration reference 13: a limit that is silently another is none.
#[test]
fn a_vendor_variable_that_does_not_fit_ends_the_start_and_is_named() {
    let (_folder, path) = file("");
    for (variable, bad) in [
        ("FLEX_CONNECTION_IDLE_TIMEOUT_SECONDS", "soon"),
        ("FLEX_STREAM_IDLE_TIMEOUT_SECONDS", "0"),
        ("FLEX_UPSTREAM_CONNECTION_IDLE_TIMEOUT_SECONDS", "-1"),
        ("FLEX_UPSTREAM_RESPONSE_TIMEOUT_SECONDS", "1.5s"),
        ("FLEX_ENVOY_HEADERS_ENABLED", "perhaps"),
        ("FLEX_REWRITE_HOST_HEADER", "client"),
        ("FLEX_REMOVE_SERVER_HEADER", "2"),
        ("FLEX_FORWARD_CLIENT_CERT_DETAILS", "SOME"),
        ("FLEX_DOWNSTREAM_CONNECTION_BUFFER_LIMIT_BYTES", "1 MB and a bit"),
        ("FLEX_SERVICE_ENVOY_DRAIN_TIME", "for ever"),
        ("FLEX_SERVICE_ENVOY_CONCURRENCY", "0"),
        ("FLEX_SYNC_DEBOUNCE_TIME", "-5s"),
        ("FLEX_DNS_REFRESH_RATE", "often"),
        ("FLEX_BASE_PATH_CANONICALIZER_ENABLED", "/api"),
        ("FLEX_DYNAMIC_PORT_VALUE", "http"),
    ] {
        for command in [vec!["validate", &path], vec!["run", "--config", &path, "--admin", "off"]] {
            let output = portcullis(&command, &[(variable, bad)]);
            assert_eq!(output.status.code(), Some(78), "{variable}={bad}: {}", said(&output));
            assert!(said(&output).contains(variable), "the source is named: {}", said(&output));
        }
    }
}

#[test]
fn validate_sees_the_dynamic_port_as_run_does() {
    let text = documents(&[
        api("a", "http://127.0.0.1:8081/", "http://nowhere.invalid"),
        api("b", "http://127.0.0.1:8082/", "http://nowhere.invalid"),
    ]);
    let (_folder, path) = file(&text);
    let on = |port| {
        let variables = [
            ("FLEX_DYNAMIC_PORT_ENABLE", "true"),
            ("FLEX_DYNAMIC_PORT_ENVAR", "PORT"),
            ("FLEX_DYNAMIC_PORT_VALUE", "8081"),
            ("PORT", port),
        ];
        portcullis(&["validate", &path], &variables)
    };
    assert_exit(&on("8083"), 0);
    let output = on("8082");
    assert_exit(&output, 65);
    assert!(said(&output).contains("clashes"), "{}", said(&output));
    assert_exit(&on("http"), 78);
}

/// Decision 19: `validate` speaks of variables as it does of fields.
#[test]
fn variables_without_effect_yet_are_warned_about_by_validate() {
    let good = api("good", "http://127.0.0.1:8080/a", "http://nowhere.invalid:9000");
    let (_folder, path) = file(&documents(&[good]));
    for variable in [
        "FLEX_CONFIG",
        "FLEX_HEADER_RAW_VALUE_ENABLE",
        "FLEX_FLUENTBIT_OUTPUT_STORAGE_TOTAL_LIMIT_SIZE",
        "FLEX_DATASOURCE_CONTROL_NODE_ENABLED",
        "FLEX_METRIC_ADDR",
    ] {
        let output = portcullis(&["validate", &path], &[(variable, "1")]);
        assert_exit(&output, 0);
        let text = said(&output);
        assert!(text.contains(variable) && text.contains("not supported yet"), "{variable}: {text}");
        assert_exit(&portcullis(&["validate", "--strict", &path], &[(variable, "1")]), 65);
    }
}

#[test]
fn validate_needs_no_network_and_tells_good_from_bad() {
    let good = api("good", "http://127.0.0.1:8080/a", "http://nowhere.invalid:9000");
    let (_folder, path) = file(&documents(std::slice::from_ref(&good)));
    assert_exit(&portcullis(&["validate", &path], &[]), 0);

    let mut unknown = good.clone();
    unknown["spec"]["adress"] = "http://x".into();
    let (_folder, path) = file(&documents(&[unknown]));
    let output = portcullis(&["validate", &path], &[]);
    assert_exit(&output, 0);
    assert!(said(&output).contains("adress"), "unknown fields warn: {}", said(&output));
    assert_exit(&portcullis(&["validate", "--strict", &path], &[]), 65);

    let mut bad = good;
    bad["spec"]["address"] = "nonsense".into();
    let (_folder, path) = file(&documents(&[bad]));
    let output = portcullis(&["validate", &path], &[]);
    assert_exit(&output, 65);
    assert!(said(&output).contains("api.yaml:") && said(&output).contains("good"), "{}", said(&output));
    let output = portcullis(&["validate", "--format", "json", &path], &[]);
    assert_exit(&output, 65);
    let text = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str::<serde_json::Value>(&text).is_ok()
        || text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
    assert!(json && !text.is_empty(), "JSON: {text}");
}

#[test]
fn example_20_5_validates_and_says_what_is_not_supported_yet() {
    let text = r#"
apiVersion: gateway.mulesoft.com/v1alpha1
kind: Configuration
metadata: {name: storage}
spec:
  sharedStorage:
    redis:
      username: gw
      password: $REDIS_PASSWORD
      db: 3
      sentinel: {addresses: ["s1.internal:26379", "s2.internal:26379"], masterName: gw-master, password: $SENTINEL_PASSWORD}
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: Configuration
metadata: {name: edge}
spec:
  probe: {enabled: true, port: 3000}
  proxyProtocol: {enabled: true}
  timeouts: {streamIdleSeconds: 120, upstreamResponseSeconds: 10, upstreamConnectionIdleSeconds: 45}
---
apiVersion: gateway.mulesoft.com/v1beta1
kind: Configuration
metadata: {name: spans}
spec:
  tracing:
    provider:
      type: opentelemetry
      properties: {address: "h2://otel.internal:4317", serviceType: grpc, serviceName: edge, timeout: 5s}
---
apiVersion: gateway.mulesoft.com/v1beta1
kind: Configuration
metadata: {name: breakers}
spec: {circuitBreaker: {thresholds: {maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 4096, maxRetries: 3}}}
"#;
    let (_folder, path) = file(text);
    let output = portcullis(&["validate", &path], &[]);
    assert_exit(&output, 0);
    let text = said(&output);
    for topic in ["sharedStorage", "tracing"] {
        assert!(text.contains(topic), "{topic}: {text}");
    }
    assert!(text.contains("not supported yet"), "{text}");
}

#[test]
fn probe_asks_a_running_gateway_and_tells_by_its_exit_code() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let ready = Plan::new()
        .with("api.yaml", &[api("a", &format!("http://127.0.0.1:{port}"), &upstream.url())])
        .start();
    let empty = Plan::new().start_unready();
    let probe = |admin: &str, check: &str| portcullis(&["probe", check, "--admin", admin], &[]);
    assert_exit(&probe(&ready.admin_address().to_string(), "--check=readiness"), 0);
    assert_exit(&probe(&ready.admin_address().to_string(), "--check=liveness"), 0);
    let no = probe(&empty.admin_address().to_string(), "--check=readiness");
    assert_exit(&no, 1);
    assert!(said(&no).contains("answered 503"), "it says why: {}", said(&no));
    // The second is a name like any other: whoever looks it up learns that it is 127.0.0.1.
    for name in ["localhost", "127.1"] {
        let named = format!("{name}:{}", ready.admin_address().port());
        assert_exit(&probe(&named, "--check=liveness"), 0);
        assert_exit(&portcullis(&["replicas", "--admin", &named], &[]), 0);
    }
    assert_exit(&probe(&empty.admin_address().to_string(), "--check=liveness"), 0);
    let nobody = format!("127.0.0.1:{}", ports::free());
    assert!([1, 69].contains(&probe(&nobody, "--check=liveness").status.code().unwrap_or(0)));
}

/// Configuration reference 10.1: the options of the command are those of the query.
#[test]
fn probe_is_ready_in_spite_of_the_errors_that_its_options_allow() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let bad = serde_json::json!([{"policyRef": {"name": "no-such-policy"}}]);
    let listen = format!("http://127.0.0.1:{port}");
    let value = cluster_tests::config::api_with("guarded", &listen, &upstream.url(), bad);
    let good = api("beside", &format!("http://127.0.0.1:{}", ports::free()), &upstream.url());
    let gateway = Plan::new().with("api.yaml", &[value, good]).start_unready();
    let admin = gateway.admin_address().to_string();
    let all = ["--allow-api-errors", "--allow-envoy-errors", "--allow-policy-errors"];
    let probe = |options: &[&str]| {
        let words = [&["probe", "--check=readiness", "--admin", &admin], options].concat();
        portcullis(&words, &[]).status.code()
    };
    cluster_tests::eventually("the first look at the files", || (probe(&all) == Some(0)).then_some(()));
    assert_eq!(probe(&[]), Some(1), "options default to false");
    assert_eq!(probe(&all[1..2]), Some(1), "this is no error of an address");
}

#[test]
fn an_admin_address_that_is_taken_ends_the_start_with_a_word() {
    let taken = ports::Port::reserve();
    let (_folder, path) = file("");
    let output =
        portcullis(&["run", "--config", &path, "--admin", &format!("127.0.0.1:{}", taken.number())], &[]);
    assert!([1, 69].contains(&output.status.code().unwrap_or(0)), "{}", said(&output));
    assert!(said(&output).contains(&taken.number().to_string()), "{}", said(&output));
}

#[test]
fn version_and_the_list_of_policies_are_told() {
    let output = portcullis(&["version"], &[]);
    assert_exit(&output, 0);
    assert!(said(&output).contains("portcullis"), "{}", said(&output));
    let output = portcullis(&["policies", "list"], &[]);
    assert_exit(&output, 0);
    for name in
        ["http-basic-authentication-flex", "rate-limiting-flex", "circuit-breaker-flex", "route-weighted"]
    {
        assert!(said(&output).contains(name), "{name}: {}", said(&output));
    }
    assert_exit(&portcullis(&["policies", "show", "spike-control-flex"], &[]), 0);
    let output = portcullis(&["policies", "show", "spike-contrl-flex"], &[]);
    assert!(
        !output.status.success() && said(&output).contains("spike-control-flex"),
        "did you mean: {}",
        said(&output)
    );
}

#[test]
fn a_gateway_does_not_start_on_a_file_that_may_hide_the_policies_of_another() {
    let (folder, _) = file("apiVersion: [gateway.mulesoft.com/v1alpha1\n");
    let good = api("good", &format!("http://127.0.0.1:{}", ports::free()), "http://nowhere.invalid:9000");
    std::fs::write(folder.path().join("good.yaml"), documents(&[good])).expect("a writable folder");
    let path = folder.path().display().to_string();
    let output = portcullis(&["run", "--config", &path, "--admin", "off"], &[]);
    assert_exit(&output, 65);
    assert!(said(&output).contains("api.yaml:"), "the place is named: {}", said(&output));
}

#[test]
fn dump_prints_every_resource_with_its_condition_and_no_secret() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let policies = serde_json::json!([{
        "policyRef": {"name": "http-basic-authentication-flex"},
        "config": {"username": "ada", "password": "hunter2"}
    }]);
    let listen = format!("http://127.0.0.1:{port}");
    let resources = [cluster_tests::config::api_with("guarded", &listen, &upstream.url(), policies)];
    let gateway = Plan::new().with("api.yaml", &resources).start();
    let admin = gateway.admin_address().to_string();
    let output = portcullis(&["dump", "--admin", &admin], &[]);
    assert_exit(&output, 0);
    let text = said(&output);
    assert!(text.contains("guarded") && text.contains("Ready"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = folder.path().display().to_string();
    assert_exit(&portcullis(&["dump", "--admin", &admin, "--output-directory", &target], &[]), 0);
    let written = std::fs::read_to_string(folder.path().join("api-instances.json")).expect("a file per kind");
    assert!(written.contains("guarded"), "{written}");
}

/// A process that ends with the value.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended on its own.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_demo_serves_what_it_says_or_says_that_its_port_is_taken() {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let free = free(8080) && free(9080) && free(9902);
    let mut demo = Command::new(binary::portcullis());
    demo.arg("demo").stdout(Stdio::piped()).stderr(Stdio::piped());
    let demo = demo.spawn().expect("the binary starts");
    if !free {
        println!("the demo's ports are taken here: tested is only that it says so");
        let output = demo.wait_with_output().expect("an end");
        assert_exit(&output, 69);
        assert!(
            said(&output).contains("cannot listen") || said(&output).contains("is taken"),
            "{}",
            said(&output)
        );
        return;
    }
    let mut demo = Running(demo);
    let mut lines = std::io::BufReader::new(demo.0.stdout.take().expect("piped above")).lines();
    let greeting =
        lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("The demo gateway serves")));
    assert!(greeting.is_some(), "it greets");
    let at = ([127, 0, 0, 1], 8080).into();
    let routed = get(at, "/shop/items/7");
    assert_eq!((routed.status, routed.json()["target"].as_str()), (200, Some("/v2/7")));
    assert_eq!(get(at, "/private/notes").status, 401);
    assert_eq!(call(at, "GET", "/private/notes", "Authorization: Basic ZGVtbzpkZW1v\r\n", "").status, 200);
    let limited: Vec<u16> = (0..6).map(|_| get(at, "/limited/").status).collect();
    assert_eq!(limited, [200, 200, 200, 200, 200, 429]);
    let admin = Command::new("curl").args(["-sf", "http://127.0.0.1:9902/status"]).output().expect("curl");
    assert!(said(&admin).contains("\"ready\":true"), "{}", said(&admin));
    let status = Command::new("kill").args(["-TERM", &demo.0.id().to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()));
    assert!(demo.0.wait().is_ok_and(|status| status.success()), "it ends with code 0");
}

#[test]
fn dump_and_probe_find_the_gateway_by_its_settings() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let gateway = Plan::new()
        .with("api.yaml", &[api("found", &format!("http://127.0.0.1:{port}"), &upstream.url())])
        .start();
    let (_folder, settings) = file(&format!("admin:\n  address: {}\n", gateway.admin_address()));
    let dumped = portcullis(&["dump", "--format", "json", "--settings", &settings], &[]);
    assert_exit(&dumped, 0);
    let state: serde_json::Value = serde_json::from_slice(&dumped.stdout).expect("JSON");
    assert_eq!(state["effective"]["apiInstances"][0]["name"], "default/found");
    assert_eq!(
        state["effective"]["apiInstances"][0]["routes"][0]["destinations"][0]["service"],
        "default/found-up"
    );
    let address = gateway.admin_address().to_string();
    assert_exit(
        &portcullis(&["probe", "--check", "readiness"], &[("PORTCULLIS_ADMIN__ADDRESS", &address)]),
        0,
    );
    let off = portcullis(&["probe", "--check", "liveness"], &[("PORTCULLIS_ADMIN__ADDRESS", "off")]);
    assert_exit(&off, 69);
    assert!(said(&off).contains("admin.address"), "{}", said(&off));
}

#[test]
fn a_path_may_have_a_comma() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a,b.yaml");
    std::fs::write(&path, "{").expect("a writable folder");
    let output = portcullis(&["validate", &path.display().to_string()], &[]);
    assert_exit(&output, 65);
    assert!(said(&output).contains("a,b.yaml:1"), "{}", said(&output));
}

#[test]
fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is_one() {
    for words in [&["version"][..], &["policies", "list"], &["policies", "schema"], &["cluster-key"]] {
        let mut command = Command::new(binary::portcullis());
        let mut child = command.args(words).stdout(Stdio::piped()).spawn().expect("the binary starts");
        drop(child.stdout.take());
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{words:?}");
        let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has one");
        let output = Command::new(binary::portcullis()).args(words).stdout(full).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(said(&output).contains("standard output"), "{}", said(&output));
    }
}

#[test]
fn errors_that_nobody_can_be_told_change_no_exit_code() {
    let nothing = portcullis(&["run"], &[]).status.code();
    for (words, code) in [
        (&["run"][..], nothing),
        (&["validate", "/nowhere"], Some(64)),
        (&["policies", "show", "none-such"], Some(64)),
        (&["probe", "--check=liveness", "--admin", "nonsense"], Some(64)),
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has one");
        let (reader, gone) = std::io::pipe().expect("a pipe");
        drop(reader);
        for unheard in [Stdio::from(full), Stdio::from(gone)] {
            let status = Command::new(binary::portcullis()).args(words).stderr(unheard).status();
            assert_eq!(status.expect("it starts").code(), code, "{words:?}");
        }
    }
}

#[test]
fn validate_reads_no_file_without_end_and_no_key_that_run_would_refuse() {
    let (folder, path) = file("");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).expect("a sparse file");
    let output = portcullis(&["validate", &path], &[]);
    assert_exit(&output, 65);
    assert!(said(&output).contains("the file is too large"), "{}", said(&output));
    let output = portcullis(&["validate", "/dev/zero"], &[]);
    assert!(said(&output).contains("it is not a file"), "{}", said(&output));
    std::fs::write(&path, "").expect("a writable folder");
    for (variable, value) in
        [("PORTCULLIS_CLUSTER__KEY_FILE", "/nowhere"), ("PORTCULLIS_SETTINGS", "/dev/zero")]
    {
        let output = portcullis(&["validate", folder.path().to_str().unwrap()], &[(variable, value)]);
        assert_exit(&output, 78);
        assert!(said(&output).contains(value), "{}", said(&output));
    }
}

#[test]
fn validate_counts_what_is_odd_about_the_file_of_keys_among_its_findings() {
    let (folder, keys) =
        (tempfile::tempdir().expect("a temporary folder"), portcullis(&["cluster-key"], &[]));
    let keys = file(&String::from_utf8_lossy(&keys.stdout));
    std::fs::set_permissions(&keys.1, std::fs::Permissions::from_mode(0o644)).expect("they can be set");
    std::fs::write(
        folder.path().join("a.yaml"),
        documents(&[api("a", "http://127.0.0.1:8080/", "http://up:1")]),
    )
    .expect("a writable folder");
    let path = folder.path().to_str().expect("ASCII");
    let validate = |options: &[&str]| {
        portcullis(&[&["validate", path], options].concat(), &[("PORTCULLIS_CLUSTER__KEY_FILE", &keys.1)])
    };
    let output = validate(&["--format", "json"]);
    assert_exit(&output, 0);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (found[0]["severity"].as_str(), found[0]["field"].as_str()),
        (Some("warning"), Some("cluster.key_file"))
    );
    let output = validate(&["--strict"]);
    assert_exit(&output, 65);
    assert!(said(&output).contains("chmod 600") && said(&output).contains("1 warning"), "{}", said(&output));
}

#[test]
fn variables_of_the_scripts_are_no_settings() {
    for variable in ["PORTCULLIS_IMAGES", "PORTCULLIS_CLUSTER_DIR", "PORTCULLIS_ENTRY_PORT"] {
        let (folder, _) = file("");
        let output = portcullis(&["validate", folder.path().to_str().unwrap()], &[(variable, "x")]);
        assert_exit(&output, 0);
    }
    let output = portcullis(&["run", "--set", "workers"], &[]);
    assert_exit(&output, 64);
    assert!(said(&output).contains("KEY=VALUE"), "{}", said(&output));
}
