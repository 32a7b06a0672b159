//! The reference's examples 20.1 to 20.4, served under their own host names and answering as their comments say. Only the
//! ports differ; `https://` services are TLS peers with certificates of a test authority that the gateway trusts.

use std::net::SocketAddr;

use cluster_tests::client::{Client, call, get};
use cluster_tests::gateway::Plan;
use cluster_tests::ports;
use cluster_tests::tls::{Authority, Front, Pair, Wanted, curl, text};
use cluster_tests::upstream::Upstream;

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// `name=127.0.0.1,…` for the setting `dns.hosts`.
fn at_home(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name}=127.0.0.1")).collect::<Vec<_>>().join(",")
}

/// `http://NAME:PORT` of this upstream.
fn named(name: &str, upstream: &Upstream) -> String {
    format!("http://{name}:{}", upstream.address().port())
}

const ADA: &str = "Authorization: Basic YWRhOnNlY3JldA==\r\n";

#[test]
fn example_20_1_two_upstreams_a_resource_level_policy_and_an_outbound_policy() {
    let (catalog, checkout, port) = (Upstream::echo("catalog"), Upstream::echo("checkout"), ports::free());
    let authority = Authority::new();
    let secured = authority.front("checkout.internal", checkout.address());
    let text = format!(
        r##"
apiVersion: gateway.mulesoft.com/v1alpha1
kind: ApiInstance
metadata: {{name: shop, labels: {{tier: public}}}}
spec:
  address: http://0.0.0.0:{port}/shop
  services:
    catalog:
      address: {}
      routes:
        - config: {{destinationPath: /v2}}
          rules:
            - {{path: "/items(/.*)", methods: GET|HEAD}}
            - {{path: /search, methods: GET}}
    checkout:
      address: {}
      routes:
        - rules:
            - path: /cart/.*
              headers: {{x-channel: web|mobile}}
      policies:
        - policyRef: {{name: idle-timeout-flex, namespace: default}}
          config: {{timeout: 20}}
  policies:
    - policyRef: {{name: cors-flex}}
      config: {{publicResource: true, supportCredentials: false}}
    - policyRef: {{name: http-basic-authentication-flex}}
      config: {{username: $SHOP_USER, password: $SHOP_PASSWORD}}
      rules:
        - path: /cart/.*
    - policyRef: {{name: rate-limiting-flex}}
      config:
        rateLimits: [{{maximumRequests: 50, timePeriodInMilliseconds: 1000}}]
        exposeHeaders: true
        clusterizable: false
"##,
        named("catalog.internal", &catalog),
        format_args!("https://checkout.internal:{}", secured.port())
    );
    let hosts = at_home(&["catalog.internal", "checkout.internal"]);
    let trusted = authority.certificate();
    let plan = Plan::new().with_text("shop.yaml", &text).environment("PORTCULLIS_DNS__HOSTS", &hosts);
    let plan = plan.environment("SSL_CERT_FILE", &trusted.to_string_lossy());
    let _gateway = plan.environment("SHOP_USER", "ada").environment("SHOP_PASSWORD", "secret").start();
    let told = |method: &str, path: &str, extra: &str| {
        let response = call(local(port), method, path, extra, "");
        if response.status != 200 {
            return response.status.to_string();
        }
        let seen = response.json();
        format!("{} {}", seen["upstream"].as_str().unwrap_or("-"), seen["target"].as_str().unwrap_or("-"))
    };
    assert_eq!(told("GET", "/shop/items/7", ""), "catalog /v2/7");
    assert_eq!(told("GET", "/shop/search?q=a", ""), "catalog /v2/search?q=a");
    assert_eq!(told("POST", "/shop/cart/add", "X-Channel: web\r\n"), "401");
    assert_eq!(told("POST", "/shop/cart/add", &format!("X-Channel: web\r\n{ADA}")), "checkout /cart/add");
    assert_eq!(told("POST", "/shop/cart/add", &format!("X-Channel: mobile\r\n{ADA}")), "checkout /cart/add");
    assert_eq!(told("POST", "/shop/cart/add", &format!("X-Channel: fax\r\n{ADA}")), "404");
    assert_eq!(told("POST", "/shop/cart/add", ADA), "404");
    assert_eq!(told("POST", "/shop/items/7", ""), "404");
    assert!(catalog.received().iter().all(|request| request.head.get("host") == Some("catalog.internal")));
    assert_eq!(get(local(port), "/shop/items/7").head.get("x-ratelimit-limit"), Some("50"));
}

#[test]
fn example_20_2_first_match_wins_across_namespaces_with_a_weighted_canary() {
    let (stable, canary) = (Upstream::echo("stable"), Upstream::echo("canary"));
    let (reports, port) = (Upstream::echo("reports"), ports::free());
    let authority = Authority::new();
    let secured = authority.front("reports.internal", reports.address());
    let text = format!(
        r##"
apiVersion: gateway.mulesoft.com/v1alpha1
kind: ApiInstance
metadata: {{name: orders-api, namespace: sales}}
spec: {{address: "http://0.0.0.0:{port}/api"}}
---
{{apiVersion: gateway.mulesoft.com/v1alpha1, kind: Service, metadata: {{name: stable, namespace: backends}}, spec: {{address: "{}"}}}}
---
{{apiVersion: gateway.mulesoft.com/v1alpha1, kind: Service, metadata: {{name: canary, namespace: backends}}, spec: {{address: "{}/"}}}}
---
{{apiVersion: gateway.mulesoft.com/v1alpha1, kind: Service, metadata: {{name: reports, namespace: backends}}, spec: {{address: "{}"}}}}
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: reports-route, namespace: sales}}
spec:
  targetRef: {{kind: ApiInstance, name: orders-api}}
  policyRef: {{name: route, namespace: default}}
  order: 10
  config:
    destinationPath: /monthly
    destinationRef: {{kind: Service, name: reports, namespace: backends}}
  rules:
    - path: /orders/reports(/.*)
      host: (internal|reports)\.example\.com
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: orders-route, namespace: sales}}
spec:
  targetRef: {{kind: ApiInstance, name: orders-api}}
  policyRef: {{name: route-weighted, namespace: default}}
  order: 20
  config:
    routes:
      - {{weight: 9, destinationRef: {{name: stable, namespace: backends}}}}
      - {{weight: 1, destinationPath: /beta, destinationRef: {{name: canary, namespace: backends}}}}
  rules:
    - {{path: /orders/.*, methods: GET|POST}}
"##,
        named("stable.internal", &stable),
        named("canary.internal", &canary),
        format_args!("https://reports.internal:{}", secured.port())
    );
    let hosts = at_home(&["stable.internal", "canary.internal", "reports.internal"]);
    let plan = Plan::new().with_text("orders.yaml", &text);
    let trusted = authority.certificate();
    let plan = plan.environment("SSL_CERT_FILE", &trusted.to_string_lossy());
    let _gateway = plan.environment("PORTCULLIS_DNS__HOSTS", &hosts).start();
    let mut client = Client::connect(local(port));
    let seen = client.get("/api/orders/reports/3", "internal.example.com", "").json();
    assert_eq!((seen["upstream"].as_str(), seen["target"].as_str()), (Some("reports"), Some("/monthly/3")));
    let other = client.get("/api/orders/reports/3", "else.example.com", "").json();
    assert_ne!(other["upstream"], "reports", "other hosts fall through to the next route");
    let mut canaries = 0;
    for _ in 0..1_000 {
        let seen = client.get("/api/orders/3", "a", "").json();
        match (seen["upstream"].as_str(), seen["target"].as_str()) {
            (Some("stable"), Some("/orders/3")) => {}
            (Some("canary"), Some("/beta/orders/3")) => canaries += 1,
            other => panic!("{other:?}"),
        }
    }
    // 100 of 1,000 are expected with a deviation of 9.5.
    assert!((40..=170).contains(&canaries), "{canaries} of 1,000 went to the canary");
    assert_eq!(call(local(port), "PUT", "/api/orders/3", "", "").status, 404);
}

#[test]
fn example_20_3_automated_policies_with_labels_and_explicit_order() {
    let (store, port) = (Upstream::echo("store"), ports::free());
    let text = format!(
        r##"
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: log-everything}}
spec:
  targetRef: {{kind: Selector, selector: {{kind: ApiInstance}}}}
  policyRef: {{name: message-logging-flex}}
  order: 1
  config:
    loggingConfiguration:
      - itemName: in
        itemData: {{message: "#[attributes.method ++ ' ' ++ attributes.requestPath]", level: INFO, firstSection: true}}
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: writes-need-login}}
spec:
  targetRef: {{kind: Selector, selector: {{kind: ApiInstance, labels: {{guarded: yes}}}}}}
  policyRef: {{name: http-basic-authentication-flex}}
  order: 2
  config: {{username: $ADMIN_USER, password: $ADMIN_PASSWORD}}
  rules:
    - methods: POST|PUT|PATCH|DELETE
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: ApiInstance
metadata: {{name: notes, labels: {{guarded: yes}}}}
spec:
  address: http://0.0.0.0:{port}
  services: {{store: {{address: "{}"}}}}
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: notes-header}}
spec:
  targetRef: {{name: notes}}
  policyRef: {{name: header-injection-flex}}
  order: 3
  config: {{inboundHeaders: [{{key: x-gateway, value: edge-1}}]}}
"##,
        named("notes.internal", &store)
    );
    let plan = Plan::new().with_text("notes.yaml", &text);
    let plan = plan.environment("PORTCULLIS_DNS__HOSTS", &at_home(&["notes.internal"]));
    let gateway = plan.environment("ADMIN_USER", "ada").environment("ADMIN_PASSWORD", "secret").start();
    let seen = get(local(port), "/memo").json();
    assert!(seen["fields"].to_string().to_ascii_lowercase().contains(r#"["x-gateway","edge-1"]"#), "{seen}");
    assert_eq!(call(local(port), "POST", "/memo", "", "x").status, 401);
    assert_eq!(call(local(port), "DELETE", "/memo", "", "").status, 401);
    let written = call(local(port), "POST", "/memo", ADA, "x");
    assert_eq!((written.status, written.json()["body"].as_str()), (200, Some("x")));
    gateway.says("POST /memo");
    assert!(!gateway.log().contains("secret"), "no secret is ever logged");
}

/// PEM as a block below a key of this depth.
fn block(pem: &str, depth: usize) -> String {
    pem.lines().map(|line| format!("\n{:depth$}{line}", "")).collect()
}

#[test]
fn example_20_4_two_instances_on_one_tls_port_with_mutual_tls_on_both_sides() {
    let (ledger, port) = (Upstream::echo("ledger"), ports::free());
    let [server_ca, client_ca, ledger_ca] = ["server CA", "client CA", "ledger CA"].map(Authority::named);
    let issued = |from: &Authority, name: &str| {
        let wanted =
            Wanted { subject: &format!("/CN={name}"), names: &format!("DNS:{name}"), ..Wanted::default() };
        from.issue_as(wanted)
    };
    let pair = issued(&server_ca, "pay.example.com");
    let outbound = issued(&ledger_ca, "the-gateway");
    let (client, stranger) = (issued(&client_ca, "client"), issued(&ledger_ca, "client"));
    let terms = serde_json::json!({"client_ca": ledger_ca.certificate(), "alpn": ["http/1.1"]});
    let secured = Front::start(&issued(&ledger_ca, "ledger.internal"), ledger.address(), terms);
    let text = format!(
        r##"
{{apiVersion: gateway.mulesoft.com/v1alpha1, kind: ApiInstance, metadata: {{name: pay}}, spec: {{address: "https://0.0.0.0:{port}/pay/"}}}}
---
{{apiVersion: gateway.mulesoft.com/v1alpha1, kind: ApiInstance, metadata: {{name: refund}}, spec: {{address: "https://0.0.0.0:{port}/refund/"}}}}
---
{{apiVersion: gateway.mulesoft.com/v1alpha1, kind: Service, metadata: {{name: ledger}}, spec: {{address: "https://ledger.internal:{}"}}}}
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: pay-route}}
spec:
  targetRef: {{name: pay}}
  policyRef: {{name: route}}
  config: {{destinationPath: /pay, destinationRef: {{name: ledger}}}}
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: refund-route}}
spec:
  targetRef: {{name: refund}}
  policyRef: {{name: route}}
  config: {{destinationPath: /refund, destinationRef: {{name: ledger}}}}
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: port-8443-tls}}
spec:
  targetRef: {{kind: ApiInstance, name: pay}}
  policyRef: {{name: tls}}
  config:
    requireClientCertificate: true
    trustedCA: |{}
    certificate:
      key: |{}
      crt: |{}
    alpn: [h2, http/1.1]
    ciphers: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: ledger-tls}}
spec:
  targetRef: {{kind: Service, name: ledger}}
  policyRef: {{name: tls-outbound}}
  config:
    skipValidation: false
    trustedCA: |{}
    certificate:
      key: |{}
      crt: |{}
    minversion: "1.3"
    maxversion: "1.3"
---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: ledger-breaker}}
spec:
  targetRef: {{kind: Service, name: ledger}}
  policyRef: {{name: circuit-breaker-flex}}
  config: {{thresholds: {{maxConnections: 64, maxPendingRequests: 32, maxRequests: 256}}}}
"##,
        secured.port(),
        block(&client_ca.pem(), 6),
        block(&text(&pair.1), 8),
        block(&text(&pair.0), 8),
        block(&ledger_ca.pem(), 6),
        block(&text(&outbound.1), 8),
        block(&text(&outbound.0), 8),
    );
    let plan = Plan::new().with_text("pay.yaml", &text);
    let gateway = plan.environment("PORTCULLIS_DNS__HOSTS", &at_home(&["ledger.internal"])).start();
    let ask = |path: &str, pair: Option<&Pair>, more: &[&str]| {
        let (crt, key) = pair.cloned().unwrap_or_default();
        let (crt, key) = (crt.display().to_string(), key.display().to_string());
        let certificate = if pair.is_some() { vec!["--cert", &crt, "--key", &key] } else { Vec::new() };
        let arguments = [certificate.as_slice(), more].concat();
        curl(&server_ca.certificate(), local(port), &format!("pay.example.com{path}"), &arguments)
    };
    for (more, version) in [(&[][..], "2"), (&["--http1.1"], "1.1"), (&["--tls-max", "1.2"], "2")] {
        for (path, target) in [("/pay/1", "/pay/1"), ("/refund/2?a=b", "/refund/2?a=b")] {
            let answer = ask(path, Some(&client), more);
            assert_eq!(
                (answer.status, answer.version.as_str()),
                (200, version),
                "{answer:?}\n{}",
                gateway.log()
            );
            assert!(answer.text().contains(&format!("\"target\":\"{target}\"")), "{}", answer.text());
        }
    }
    assert_eq!(ask("/pay", Some(&client), &[]).status, 404);
    assert_eq!(ask("/pay/1", None, &[]).status, 0, "without a client certificate");
    assert_eq!(ask("/refund/1", Some(&stranger), &[]).status, 0, "TLS belongs to the port");
    // TLS 1.3 with all three suites, TLS 1.2 with the two that are listed.
    let (old, new) = (["--tls-max", "1.2", "--ciphers"], ["--tlsv1.3", "--tls13-ciphers"]);
    for (suite, status) in [("ECDHE-RSA-AES256-GCM-SHA384", 200), ("ECDHE-RSA-AES128-GCM-SHA256", 0)] {
        assert_eq!(ask("/pay/1", Some(&client), &[&old[..], &[suite]].concat()).status, status, "{suite}");
    }
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        assert_eq!(ask("/pay/1", Some(&client), &[&new[..], &[suite]].concat()).status, 200, "{suite}");
    }
    assert!(
        secured.seen().iter().all(|seen| seen["version"] == "TLSv1.3" && seen["client"] == "the-gateway")
    );
    assert!(ledger.received().iter().all(|request| request.head.get("host") == Some("ledger.internal")));
}

#[test]
fn an_upstream_whose_certificate_is_not_trusted_or_names_another_host_is_not_called() {
    let (upstream, authority) = (Upstream::echo("up"), Authority::new());
    let secured = authority.front("right.internal", upstream.address());
    let ask = |host: &str, trusted: &Authority| {
        let port = ports::free();
        let address = format!("https://{host}:{}", secured.port());
        let listen = format!("http://127.0.0.1:{port}");
        let plan = Plan::new().with("api.yaml", &[cluster_tests::config::api("api", &listen, &address)]);
        let plan = plan.environment("PORTCULLIS_DNS__HOSTS", &at_home(&[host]));
        let _gateway = plan.environment("SSL_CERT_FILE", &trusted.certificate().to_string_lossy()).start();
        get(local(port), "/").status
    };
    assert_eq!(ask("right.internal", &authority), 200);
    assert_eq!(ask("wrong.internal", &authority), 503);
    assert_eq!(ask("right.internal", &Authority::new()), 503);
}
