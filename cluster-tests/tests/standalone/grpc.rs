//! gRPC with a client and a server of others: grpcio on both sides, the gateway between them. What each call must
//! show is asserted where it is made, in `peers/grpc_client.py`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cluster_tests::config::{api_with, login};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::ports;
use cluster_tests::python::{self, Script};
use serde_json::{Value, json};

/// A gateway between a server and the clients of a test.
struct Setup {
    gateway: Gateway,
    port: u16,
    server: Script,
    server_port: String,
    python: PathBuf,
}

impl Setup {
    /// `None` where there is no grpcio.
    fn new() -> Option<Self> {
        Self::with(json!([]), &["0"])
    }

    fn with(policies: Value, server: &[&str]) -> Option<Self> {
        let python = python::with("grpc")?;
        let mut server = Script::start(&python, "grpc_server.py", server);
        let server_port = server.line();
        let port = ports::free();
        let (address, upstream) =
            (format!("http://127.0.0.1:{port}"), format!("h2://127.0.0.1:{server_port}"));
        let plan = Plan::new().with("api.yaml", &[api_with("api", &address, &upstream, policies)]);
        let gateway = plan.environment("FLEX_SERVICE_ENVOY_DRAIN_TIME", "20").start();
        Some(Self { gateway, port, server, server_port, python })
    }

    /// A step of the client, begun.
    fn begin(&self, step: &str, arguments: &[&str]) -> Script {
        begin(&self.python, self.port, step, arguments)
    }

    /// A step of the client; what it has to say, after it held.
    fn step(&self, step: &str) -> Vec<String> {
        self.begin(step, &[]).lines_until("done")
    }
}

fn begin(python: &Path, port: u16, step: &str, arguments: &[&str]) -> Script {
    let port = port.to_string();
    Script::start(python, "grpc_client.py", &[&[port.as_str(), step], arguments].concat())
}

/// How calls of each kind end, as the client tells it.
fn each_kind(outcome: &str) -> [String; 3] {
    ["Echo", "Count", "Chat"].map(|name| format!("{name} {outcome}"))
}

/// Runs a step of the client through a gateway without policies.
fn holds(step: &str) {
    if let Some(setup) = Setup::new() {
        setup.step(step);
    }
}

#[test]
fn unary_calls_are_answered() {
    holds("call_unary");
}

#[test]
fn the_requests_of_a_client_stream_arrive_as_they_were_cut() {
    holds("client_streaming");
}

#[test]
fn a_server_stream_arrives_whole_and_may_be_empty() {
    holds("server_streaming");
}

#[test]
fn both_streams_run_at_once_and_no_message_waits_for_the_next() {
    holds("bidirectional");
}

#[test]
fn the_status_message_and_metadata_of_an_error_arrive_whatever_the_status() {
    holds("statuses");
}

#[test]
fn an_error_after_messages_arrives_after_them() {
    holds("late_status");
}

#[test]
fn metadata_passes_in_both_directions_binary_and_repeated_too() {
    holds("metadata");
}

#[test]
fn a_deadline_is_known_to_the_server_and_ends_the_call_on_both_sides() {
    holds("deadline");
}

#[test]
fn a_call_that_the_client_cancels_ends_at_the_server_before_and_after_its_head() {
    holds("cancellation");
}

#[test]
fn messages_of_16_mib_go_both_ways() {
    holds("large_messages");
}

#[test]
fn a_hundred_calls_are_under_way_at_once_on_one_channel() {
    holds("hundred_at_once");
}

#[test]
fn an_error_that_is_head_and_trailers_at_once_stays_so() {
    let Some(setup) = Setup::new() else { return };
    let url = format!("http://127.0.0.1:{}/peers.Peer/NoSuchMethod", setup.port);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let message = folder.path().join("message");
    std::fs::write(&message, [0; 5]).expect("the temporary folder is writable");
    let run = Command::new("nghttp")
        .args(["-nv", "-H", "content-type: application/grpc", "-H", "te: trailers", "-H", ":method: POST"])
        .arg("-d")
        .arg(&message)
        .arg(&url)
        .output()
        .expect("nghttp is installed");
    let seen = String::from_utf8_lossy(&run.stdout);
    assert!(seen.contains("grpc-status: 12"), "{seen}");
    assert_eq!(seen.matches("recv HEADERS").count(), 1, "{seen}");
    assert!(!seen.contains("recv DATA"), "{seen}");
}

#[test]
fn a_call_that_basic_authentication_refuses_is_unauthenticated() {
    let Some(setup) = Setup::with(json!([login(json!([]))]), &["0"]) else { return };
    let refused = setup.step("status");
    let why = "Registered authentication is set to HTTP basic authentication but there was no security context on the \
        session.";
    assert_eq!(refused, each_kind(&format!("UNAUTHENTICATED {why}")));
    let served = setup.begin("status", &["authorization=Basic YWRhOnNlY3JldA=="]).lines_until("done");
    assert_eq!(served, ["Echo OK 1", "Count OK 0", "Chat OK 1"]);
}

#[test]
fn a_call_above_the_rate_limit_is_unavailable() {
    let limit = json!([{
        "policyRef": {"name": "rate-limiting-flex"},
        "config": {"rateLimits": [{"maximumRequests": 1, "timePeriodInMilliseconds": 600_000}]},
    }]);
    let Some(setup) = Setup::with(limit, &["0"]) else { return };
    let ended = setup.step("status");
    assert_eq!(ended[0], "Echo OK 1");
    assert_eq!(ended[1..], each_kind("UNAVAILABLE Too Many Requests")[1..]);
}

#[test]
fn a_call_without_a_route_is_unimplemented() {
    let Some(python) = python::with("grpc") else { return };
    let port = ports::free();
    let address = format!("http://127.0.0.1:{port}/elsewhere");
    let api = api_with("api", &address, "h2://127.0.0.1:1", json!([]));
    let _gateway = Plan::new().with("api.yaml", &[api]).start();
    let ended = begin(&python, port, "status", &[]).lines_until("done");
    assert_eq!(ended, each_kind("UNIMPLEMENTED Not Found"));
}

#[test]
fn a_call_whose_upstream_is_down_is_unavailable() {
    let Some(python) = python::with("grpc") else { return };
    let port = ports::free();
    let upstream = format!("h2://127.0.0.1:{}", ports::free());
    let api = api_with("api", &format!("http://127.0.0.1:{port}"), &upstream, json!([]));
    let _gateway = Plan::new().with("api.yaml", &[api]).start();
    let ended = begin(&python, port, "status", &[]).lines_until("done");
    let why = "upstream connect error or disconnect/reset before headers. reset reason: connection failure";
    assert_eq!(ended, each_kind(&format!("UNAVAILABLE {why}")));
}

#[test]
fn a_server_that_says_goaway_fails_neither_calls_nor_streams() {
    // Every connection is told to end after 200 ms. (A grpcio server that shuts down answers calls that cross its
    // GOAWAY with CANCELLED, so a shutdown under load loses calls without a gateway too.)
    let Some(setup) = Setup::with(json!([]), &["0", "200"]) else { return };
    setup.begin("across_goaways", &["4"]).lines_until("done");
    let connects = setup.gateway.metric("portcullis_upstream_connect_attempts_total", &[]);
    assert!(connects > 3.0, "{connects} connections to the server are too few for a GOAWAY");
}

#[test]
fn a_restarted_server_is_spoken_to_at_the_next_call() {
    let Some(mut setup) = Setup::new() else { return };
    let mut calls = setup.begin("at_intervals", &[]);
    for _ in 0..4 {
        assert_eq!(calls.line(), "called");
        setup.server.signal("TERM");
        setup.server.lines_until("ended");
        setup.server = Script::start(&setup.python, "grpc_server.py", &[&setup.server_port]);
        assert_eq!(setup.server.line(), setup.server_port);
        calls.go_on();
    }
    calls.lines_until("done");
}

#[test]
fn a_stream_goes_on_while_the_gateway_drains_and_ends_in_order() {
    let Some(mut setup) = Setup::new() else { return };
    let mut stream = setup.begin("running_stream", &[]);
    assert_eq!(stream.line(), "open");
    setup.gateway.signal("TERM");
    cluster_tests::eventually("the gateway drains", || (!setup.gateway.ready()).then_some(()));
    stream.go_on();
    stream.lines_until("done");
    assert!(setup.gateway.wait(Duration::from_secs(30)).success());
}
