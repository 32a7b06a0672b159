//! Contexts change under load, and nobody notices (configuration reference 6.2, decision 30).

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cluster_tests::config::{api, binding, service};
use cluster_tests::gateway::Plan;
use cluster_tests::tls::{Authority, handshake, text};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::{Value, json};

const RELOADS: usize = 200;

/// Clients over TLS, by Python's OpenSSL.
struct Clients(Child);

impl Clients {
    fn start(port: u16, authority: &Authority, kept: usize, fresh: usize) -> Self {
        let (crt, key) = authority.issue("client.test");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/tls_load.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(port.to_string())
            .args([authority.certificate(), crt, key])
            .args([kept.to_string(), fresh.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped above"));
        out.read_line(&mut line).expect("it says when it is ready");
        assert_eq!(line, "ready\n");
        child.stdout = Some(out.into_inner());
        Self(child)
    }

    fn stop(mut self) -> Value {
        drop(self.0.stdin.take());
        let mut line = String::new();
        let mut out = self.0.stdout.take().expect("put back above");
        out.read_to_string(&mut line).expect("the tally");
        self.0.wait().expect("it ends");
        serde_json::from_str(&line).expect("one line of JSON")
    }
}

#[test]
fn two_hundred_changes_of_certificate_trust_backend_and_a_neighbour_fail_no_request() {
    let (authority, other) = (Authority::new(), Authority::new());
    let certificates = [authority.issue("gateway.test"), authority.issue("gateway.test")];
    let pairs = certificates.map(|(crt, key)| json!({"crt": text(&crt), "key": text(&key)}));
    let upstream = Upstream::echo("up");
    let front = authority.front("localhost", upstream.address());
    let (port, neighbour) = (ports::free(), ports::free());
    let trusts =
        [text(&authority.certificate()), { text(&authority.certificate()) + &text(&other.certificate()) }];
    // The second list is for OpenSSL.
    let suites = [
        json!(["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
        json!(["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256"]),
    ];
    let route = binding(
        "route",
        "ApiInstance",
        "shop",
        "route",
        json!({"config": {"destinationRef": {"name": "up"}}}),
    );
    let shop = json!({
        "apiVersion": "gateway.mulesoft.com/v1alpha1", "kind": "ApiInstance",
        "metadata": {"name": "shop"}, "spec": {"address": format!("https://127.0.0.1:{port}/shop")},
    });
    let beside = api("beside", &format!("http://127.0.0.1:{neighbour}"), &upstream.url());
    let tls = |step: usize| {
        let certificate = &pairs[step % 2];
        let config = json!({"config": {
            "certificate": certificate, "requireClientCertificate": step.is_multiple_of(3),
            "trustedCA": trusts[step / 2 % 2], "ciphers": suites[step / 3 % 2],
        }});
        let mut documents = vec![binding("shop-tls", "ApiInstance", "shop", "tls", config)];
        let config = json!({"config": {
            "trustedCA": trusts[step / 5 % 2], "ciphers": suites[step / 2 % 2], "alpn": ["http/1.1"],
        }});
        documents.push(binding("up-tls", "Service", "up", "tls-outbound", config));
        if (step / 4).is_multiple_of(2) {
            let config = json!({"config": {"certificate": certificate}});
            documents.push(binding("beside-tls", "ApiInstance", "beside", "tls", config));
        }
        documents
    };
    let url = format!("https://localhost:{}", front.port());
    let plan =
        Plan::new().with("api.yaml", &[shop, beside, service("up", &url), route]).with("tls.yaml", &tls(0));
    let gateway = plan.start();
    let clients = Clients::start(port, &authority, 6, 6);
    for step in 1..=RELOADS {
        let applied = gateway.apply("tls.yaml", &tls(step)).text();
        // Whoever was first, this call or the file watcher.
        assert!(applied.contains(&format!("\"generation\":{},", step + 1)), "step {step}: {applied}");
        assert!(applied.contains("\"errors\":0"), "step {step}: {applied}");
        // Each context serves some before the next one comes.
        let connections = || gateway.metric("portcullis_connections_total", &[]);
        let wanted = connections() + 8.0;
        eventually("new connections", || (connections() >= wanted).then_some(()));
    }
    let tally = clients.stop();
    assert_eq!(tally["failed"], 0, "{tally:#}");
    let count = |name: &str| tally[name].as_u64().unwrap_or(0);
    assert!(count("answered") > 1_000 && count("connections") > 100, "{tally:#}");
    assert!(count("resumed") > 0, "{tally:#}");
    // The neighbour is as the last step left it: in plain text.
    let said = handshake(([127, 0, 0, 1], neighbour).into(), &[]);
    assert_eq!(
        String::from_utf8_lossy(&said.stdout).contains("BEGIN CERTIFICATE"),
        (RELOADS / 4).is_multiple_of(2)
    );
}
