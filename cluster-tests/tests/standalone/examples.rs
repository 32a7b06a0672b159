//! The reference's examples 20.1 to 20.3, served under their own host names and answering as their comments say. Only the
//! ports differ; `https://` services are TLS peers with certificates of a test authority that the gateway trusts.

use std::net::SocketAddr;

use cluster_tests::client::{Client, call, get};
use cluster_tests::gateway::Plan;
use cluster_tests::ports;
use cluster_tests::tls::Authority;
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
