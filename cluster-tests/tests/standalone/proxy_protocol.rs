//! The PROXY protocol (configuration reference 11): HAProxy in front, and senders that break the rules.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, get};
use cluster_tests::config::{api, api_with, configuration};
use cluster_tests::daemon::Daemon;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::{Value, json};

const GET: &str = "GET /who HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn required() -> Value {
    configuration("edge", json!({"proxyProtocol": {"enabled": true}}))
}

/// A gateway that requires the header on this port.
fn plan(port: u16, upstream: &Upstream) -> Plan {
    Plan::new()
        .with("api.yaml", &[api("api", &format!("http://127.0.0.1:{port}"), &upstream.url()), required()])
}

/// One GET behind these first bytes; the client that the upstream was told of.
fn client_seen(address: SocketAddr, first: &[u8]) -> String {
    let mut client = Client::connect(address);
    let response = client.exchange("GET", &[first, GET.as_bytes()].concat()).expect("a response");
    forwarded_for(&response.json())
}

fn forwarded_for(echo: &Value) -> String {
    let fields = echo["fields"].as_array().expect("fields");
    let field = fields.iter().find(|field| field[0].as_str().is_some_and(|name| name == "x-forwarded-for"));
    field.and_then(|field| field[1].as_str()).unwrap_or_default().to_owned()
}

/// Refused connections by reason.
fn refused(gateway: &Gateway, reason: &str) -> u64 {
    let metrics = gateway.admin("GET", "/metrics").text();
    let start = format!("portcullis_connections_refused_total{{reason=\"{reason}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
    line.and_then(|count| count.parse().ok()).expect("a count")
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("short").to_be_bytes();
    [V2_SIGNATURE, &[command, family], &length, block].concat()
}

#[test]
fn haproxy_tells_the_client_in_version_1_and_in_version_2_with_and_without_tlvs() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let _gateway = plan(port, &upstream).start();
    for parameters in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"] {
        let haproxy = Daemon::haproxy("accept-proxy", local(port), parameters);
        for (protocol, address) in [("TCP4", "203.0.113.9"), ("TCP6", "2001:db8::9")] {
            let to = if protocol == "TCP4" { "198.51.100.1" } else { "::1" };
            let first = format!("PROXY {protocol} {address} {to} 50000 443\r\n");
            assert_eq!(client_seen(haproxy.address(), first.as_bytes()), address, "{parameters}");
        }
        // HAProxy knows no address here and says so: that of its own connection counts.
        assert_eq!(client_seen(haproxy.address(), b"PROXY UNKNOWN\r\n"), "127.0.0.1", "{parameters}");
    }
}

#[test]
fn health_checks_of_haproxy_are_served_as_its_own_connections() {
    for parameters in ["send-proxy", "send-proxy-v2"] {
        let (upstream, port) = (Upstream::echo("up"), ports::free());
        let gateway = plan(port, &upstream).start();
        let checked = format!("{parameters} check check-send-proxy inter 100ms");
        let haproxy = Daemon::haproxy("accept-proxy", local(port), &checked);
        let check = eventually("a health check", || {
            upstream.received().into_iter().find(|request| request.target == "/health")
        });
        assert_eq!(check.head.all("x-forwarded-for").collect::<Vec<_>>(), ["127.0.0.1"], "{parameters}");
        let first = b"PROXY TCP4 203.0.113.9 198.51.100.1 50000 443\r\n";
        assert_eq!(client_seen(haproxy.address(), first), "203.0.113.9", "{parameters}");
        assert_eq!(refused(&gateway, "proxy_header_missing"), 0, "{parameters}");
        assert_eq!(refused(&gateway, "proxy_header_malformed"), 0, "{parameters}");
    }
}

#[test]
fn every_split_of_header_and_request_gives_the_same_answer() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let _gateway = plan(port, &upstream).start();
    let v1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 50000 443\r\n".to_vec();
    let with_tlvs = [&[203, 0, 113, 9, 198, 51, 100, 1, 0xc3, 0x50, 1, 0xbb][..], &[0xea, 2, 0x58]].concat();
    let block = [with_tlvs, vec![7; 600]].concat();
    for header in [v1, v2(0x21, 0x11, &block)] {
        let mut client = Client::connect(local(port));
        client.send_bytewise(&header);
        // The requests behind the header arrive whole, pipelined ones too.
        client.send(format!("{GET}{GET}").as_bytes());
        for _ in 0..2 {
            let response = client.response_to("GET").expect("a response");
            assert_eq!(forwarded_for(&response.json()), "203.0.113.9");
        }
        let request = [&header[..], GET.as_bytes()].concat();
        for split in [1, 6, 12, 13, 15, header.len() - 1, header.len(), header.len() + 1] {
            let mut client = Client::connect(local(port));
            client.send(&request[..split]);
            std::thread::sleep(Duration::from_millis(20));
            client.send(&request[split..]);
            let response = client.response_to("GET").expect("a response");
            assert_eq!(forwarded_for(&response.json()), "203.0.113.9", "split at {split}");
        }
    }
}

#[test]
fn a_connection_without_a_header_or_with_a_broken_one_is_closed_without_an_answer_and_counted() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let gateway = plan(port, &upstream).environment("PORTCULLIS_TIMEOUTS__HEAD", "2s").start();
    let closed = |bytes: &[u8]| {
        let mut client = Client::connect(local(port));
        client.send(bytes);
        assert!(client.closed(), "{:?}", String::from_utf8_lossy(bytes));
    };
    // A client may see the end of its connection a moment before it is counted.
    let counted = |reason: &str, count: u64| {
        eventually(reason, || (refused(&gateway, reason) >= count).then_some(()));
        assert_eq!(refused(&gateway, reason), count);
    };
    closed(GET.as_bytes());
    closed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    closed(b"\x16\x03\x01\x02\x00\x01");
    counted("proxy_header_missing", 3);
    closed(format!("PROXY TCP4 203.0.113.9 198.51.100.1 050000 443\r\n{GET}").as_bytes());
    closed(format!("PROXY TCP4 203.0.113.9 198.51.100.1 50000 443\n{GET}").as_bytes());
    closed(format!("PROXY UNKNOWN {}", "x".repeat(200)).as_bytes());
    closed(&v2(0x22, 0x11, &[0; 12]));
    closed(&v2(0x21, 0x11, &[0; 11]));
    closed(&[V2_SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat());
    counted("proxy_header_malformed", 6);
    // A header that never ends, and one that never begins.
    let started = Instant::now();
    closed(b"PROXY TCP4 203.0");
    closed(b"");
    assert!(started.elapsed() >= Duration::from_millis(3_800));
    counted("proxy_header_timeout", 2);
    assert!(upstream.received().is_empty(), "nothing was served");
}

#[test]
fn only_trusted_sources_may_connect_and_who_comes_from_elsewhere_is_closed_at_once() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let trusted = "PORTCULLIS_PROXY_PROTOCOL__TRUSTED_SOURCES";
    let gateway = plan(port, &upstream).environment(trusted, "10.0.0.0/8").start();
    for bytes in ["PROXY TCP4 10.0.0.1 198.51.100.1 50000 443\r\n", GET] {
        let mut client = Client::connect(local(port));
        client.send(bytes.as_bytes());
        assert!(client.closed());
    }
    assert_eq!(refused(&gateway, "proxy_header_untrusted"), 2);
    assert!(!gateway.log().contains("trusted_sources"), "nothing to warn about:\n{}", gateway.log());
    drop(gateway);
    let port = ports::free();
    let gateway = plan(port, &upstream).environment(trusted, "127.0.0.0/8").start();
    let first = b"PROXY TCP4 203.0.113.9 198.51.100.1 50000 443\r\n";
    assert_eq!(client_seen(local(port), first), "203.0.113.9");
    assert_eq!(refused(&gateway, "proxy_header_untrusted"), 0);
}

#[test]
fn without_trusted_sources_the_log_warns() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let gateway = plan(port, &upstream).start();
    gateway.says("proxy_protocol.trusted_sources");
}

#[test]
fn ip_policies_the_access_log_and_trusted_proxies_see_the_client_of_the_header() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let policies = json!([{
        "policyRef": {"name": "ip-blocklist-flex"},
        "config": {"ips": ["203.0.113.0/24"], "ipExpression": "#[attributes.remoteAddress]"},
    }]);
    let blocking = api_with("api", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    let gateway = Plan::new()
        .with("api.yaml", &[blocking, required()])
        .environment("PORTCULLIS_ACCESS_LOG", "true")
        .environment("PORTCULLIS_TRUSTED_PROXIES", "198.51.100.0/24")
        .start();
    let ask = |client: &str| {
        let request = format!(
            "PROXY TCP4 {client} 192.0.2.1 50000 443\r\n\
             GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.77\r\n\r\n"
        );
        Client::connect(local(port)).exchange("GET", request.as_bytes()).expect("a response")
    };
    assert_eq!(ask("203.0.113.9").status, 403);
    // A hop that is a trusted proxy by the header, and one that is not.
    assert_eq!(forwarded_for(&ask("198.51.100.7").json()), "192.0.2.77, 198.51.100.7");
    assert_eq!(forwarded_for(&ask("192.0.2.8").json()), "192.0.2.8");
    for client in ["203.0.113.9", "198.51.100.7", "192.0.2.8"] {
        gateway.says(&format!("{client} GET /"));
    }
}

#[test]
fn instances_are_still_found_by_the_address_of_the_socket_not_by_the_destination_of_the_header() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let _gateway = plan(port, &upstream).start();
    let first = b"PROXY TCP4 203.0.113.9 198.51.100.1 50000 9\r\n";
    assert_eq!(client_seen(local(port), first), "203.0.113.9");
}

#[test]
fn admin_and_probe_ports_expect_no_header_and_a_reload_switches_it_for_new_connections() {
    let (upstream, port, probe) = (Upstream::echo("up"), ports::free(), ports::free());
    let plain = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let gateway = Plan::new().with("api.yaml", &[plain]).start();
    let mut before = Client::connect(local(port));
    assert_eq!(before.get("/", "a", "").status, 200);
    let spec = json!({"proxyProtocol": {"enabled": true}, "probe": {"enabled": true, "port": probe}});
    let _ = gateway.apply("edge.yaml", &[configuration("edge", spec)]);
    assert_eq!(before.get("/", "a", "").status, 200, "a connection that is open stays as it is");
    eventually("the probe port", || Client::try_connect(local(probe)).ok());
    assert_eq!(get(local(probe), "/probes/liveness").status, 200);
    assert_eq!(gateway.admin("GET", "/status").status, 200);
    let mut after = Client::connect(local(port));
    after.send(GET.as_bytes());
    assert!(after.closed());
    let spec = json!({"proxyProtocol": {"enabled": false}, "probe": {"enabled": true, "port": probe}});
    let _ = gateway.apply("edge.yaml", &[configuration("edge", spec)]);
    assert_eq!(get(local(port), "/").status, 200);
}
