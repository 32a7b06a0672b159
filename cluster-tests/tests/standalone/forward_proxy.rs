//! The forward proxy (configuration reference 11): tinyproxy in between, and proxies that misbehave.

use std::net::SocketAddr;

use cluster_tests::client::{Client, Response, get};
use cluster_tests::config::{api, configuration};
use cluster_tests::daemon::Daemon;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::tls::Authority;
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::{Value, json};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn proxy_at(address: SocketAddr) -> Value {
    json!({"https": {"address": format!("http://{address}")}})
}

fn with_password(address: SocketAddr, password: &str) -> Value {
    let auth = json!({"username": "gw", "password": password});
    json!({"https": {"address": format!("http://{address}"), "basicAuth": auth}})
}

fn edge(forward_proxy: &Value) -> Value {
    configuration("edge", json!({"forwardProxy": forward_proxy}))
}

/// A gateway with one API on this port.
fn plan(port: u16, upstream: &str, forward_proxy: &Value) -> Plan {
    let resources = [api("api", &format!("http://127.0.0.1:{port}"), upstream), edge(forward_proxy)];
    Plan::new().with("api.yaml", &resources)
}

/// A field as the upstream received it.
fn arrived(response: &Response, name: &str) -> Option<String> {
    let echo = response.json();
    let fields = echo["fields"].as_array().expect("fields").clone();
    let field = fields
        .into_iter()
        .find(|field| field[0].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name)));
    field.and_then(|field| field[1].as_str().map(str::to_owned))
}

fn warnings(gateway: &Gateway) -> usize {
    gateway.lines().iter().filter(|line| line.contains("[warn]") && line.contains("forward proxy")).count()
}

#[test]
fn clear_text_goes_through_tinyproxy_with_basic_authentication_in_both_directions() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let proxy = Daemon::tinyproxy("BasicAuth gw secret");
    let gateway = plan(port, &upstream.url(), &with_password(proxy.address(), "secret")).start();
    let body = "x".repeat(100_000);
    let request = format!("POST /a?b=c HTTP/1.1\r\nHost: gw\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut client = Client::connect(local(port));
    for _ in 0..3 {
        let response = client.exchange("POST", request.as_bytes()).expect("a response");
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(
            arrived(&response, "via").is_some_and(|via| via.contains("tinyproxy")),
            "{}",
            response.text()
        );
        assert_eq!(arrived(&response, "host"), Some(upstream.address().to_string()));
        assert_eq!(arrived(&response, "proxy-authorization"), None, "it ends at the proxy");
        let echo = response.json();
        assert_eq!((echo["target"].as_str(), echo["body"].as_str()), (Some("/a?b=c"), Some(&*body)));
        // It closes after each answer without a word before, and a POST is not sent again.
        let idle = || gateway.metric("portcullis_upstream_idle_connections", &[]);
        eventually("tinyproxy has closed", || (idle() == 0.0).then_some(()));
    }
}

#[test]
fn tls_upstreams_are_reached_by_connect_and_encrypted_end_to_end() {
    let authority = Authority::new();
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let front = authority.front("localhost", upstream.address());
    let proxy = Daemon::tinyproxy("BasicAuth gw secret");
    let address = format!("https://localhost:{}", front.port());
    let gateway = plan(port, &address, &with_password(proxy.address(), "secret"))
        .environment("SSL_CERT_FILE", &authority.certificate().display().to_string())
        .start();
    let response = get(local(port), "/orders");
    assert_eq!(response.status, 200, "{}\n{}", response.text(), gateway.log());
    assert_eq!(arrived(&response, "via"), None, "the proxy sees nothing of it");
    assert_eq!(arrived(&response, "host").as_deref(), Some("localhost"));
    assert!(proxy.log().contains(&format!("CONNECT localhost:{}", front.port())), "{}", proxy.log());
}

#[test]
fn hosts_in_no_proxy_are_reached_directly_and_the_usual_variables_have_no_effect() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let proxy = Daemon::tinyproxy("");
    let mut through = proxy_at(proxy.address());
    through["noProxy"] = json!(["other.test", "127.0.0.1"]);
    let gateway = plan(port, &upstream.url(), &through).start();
    assert_eq!(arrived(&get(local(port), "/"), "via"), None);
    through["noProxy"] = json!([".0.0.1"]);
    let _ = gateway.apply(
        "api.yaml",
        &[api("api", &format!("http://127.0.0.1:{port}"), &upstream.url()), edge(&through)],
    );
    assert_eq!(arrived(&get(local(port), "/"), "via"), None, "a suffix");
    through["noProxy"] = json!(["0.0.1"]);
    let _ = gateway.apply(
        "api.yaml",
        &[api("api", &format!("http://127.0.0.1:{port}"), &upstream.url()), edge(&through)],
    );
    assert!(arrived(&get(local(port), "/"), "via").is_some(), "no suffix without the dot");
    let (port, variables) = (ports::free(), format!("http://{}", proxy.address()));
    let mut plan =
        Plan::new().with("api.yaml", &[api("api", &format!("http://127.0.0.1:{port}"), &upstream.url())]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        plan = plan.environment(name, &variables);
    }
    let _direct = plan.start();
    assert_eq!(arrived(&get(local(port), "/"), "via"), None);
}

#[test]
fn missing_and_wrong_credentials_are_503_and_the_log_names_the_proxy_as_a_warning_once_and_no_secret() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let authority = Authority::new();
    let front = authority.front("localhost", upstream.address());
    let proxy = Daemon::tinyproxy("BasicAuth gw secret");
    let (missing, wrong) = (proxy_at(proxy.address()), with_password(proxy.address(), "wr0ng-secret"));
    let (clear, tls) = (upstream.url(), format!("https://localhost:{}", front.port()));
    // tinyproxy answers wrong ones with 401, which nobody can tell from an upstream's in clear text.
    for (address, forward_proxy, status) in
        [(&clear, &missing, 407), (&tls, &missing, 407), (&tls, &wrong, 401)]
    {
        let gateway = plan(port, address, forward_proxy)
            .environment("SSL_CERT_FILE", &authority.certificate().display().to_string())
            .environment("PORTCULLIS_LOG__LEVEL", "debug")
            .start();
        for _ in 0..3 {
            let response = get(local(port), "/");
            assert_eq!(response.status, 503, "{address}");
            assert!(response.text().ends_with("reset reason: connection failure"), "{}", response.text());
            assert!(response.head.get("proxy-authenticate").is_none());
        }
        let named = format!("forward proxy http://{} gives no connection", proxy.address());
        gateway.says(&named);
        gateway.says(&format!("(status {status})"));
        assert_eq!(warnings(&gateway), 1, "{}", gateway.log());
        assert!(!gateway.log().contains("wr0ng") && !gateway.log().contains("Z3c6"), "{}", gateway.log());
        let metrics = gateway.admin("GET", "/metrics").text();
        let failures =
            "upstream_connect_failures_total{namespace=\"default\",upstream=\"api-up\",reason=\"proxy\"} ";
        let counted = metrics.lines().any(|line| line.contains(failures) && !line.ends_with(" 0"));
        assert_eq!(counted, *address == tls, "{metrics}");
        // The right ones, by a reload.
        let right = edge(&with_password(proxy.address(), "secret"));
        let _ = gateway.apply("api.yaml", &[api("api", &format!("http://127.0.0.1:{port}"), address), right]);
        assert_eq!(get(local(port), "/").status, 200, "{address}\n{}", gateway.log());
    }
    assert_eq!(upstream.received().len(), 3);
}

#[test]
fn a_proxy_that_is_not_there_or_does_not_answer_is_503_and_its_own_errors_too() {
    let (upstream, port, authority) = (Upstream::echo("up"), ports::free(), Authority::new());
    let gateway = plan(port, &upstream.url(), &proxy_at(local(ports::free())))
        .environment("PORTCULLIS_TIMEOUTS__CONNECT", "2s")
        .environment("SSL_CERT_FILE", &authority.certificate().display().to_string())
        .start();
    let answer = |upstream: &str, proxy: SocketAddr| {
        let resources = [api("api", &format!("http://127.0.0.1:{port}"), upstream), edge(&proxy_at(proxy))];
        let _ = gateway.apply("api.yaml", &resources);
        let response = get(local(port), "/");
        (response.status, response.text().rsplit(": ").next().unwrap_or_default().to_owned())
    };
    let failure = (503, "connection failure".to_owned());
    assert_eq!(answer(&upstream.url(), local(ports::free())), failure);
    let tls = "https://localhost:9";
    assert_eq!(answer(tls, local(ports::free())), failure);
    // Refusals and nonsense in answer to CONNECT.
    for said in
        ["HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "SSH-2.0\r\n", "HTTP/1.1 101 X\r\n\r\n"]
    {
        let proxy = Upstream::start(move |exchange| exchange.write(said.as_bytes()));
        assert_eq!(answer(tls, proxy.address()), failure, "{said:?}");
        assert_eq!(proxy.received()[0].target, "localhost:9");
    }
    let silent = Upstream::start(|exchange| {
        exchange.until_closed();
        Ok(())
    });
    assert_eq!(answer(tls, silent.address()), (503, "connection timeout".to_owned()));
    gateway.says("it took too long");
    assert!(upstream.received().is_empty());
}

#[test]
fn connections_through_a_proxy_are_kept_per_upstream_and_a_reload_of_the_proxy_retires_them() {
    // The echo stands for a proxy: it shows exactly what it is asked.
    let (proxy, port) = (Upstream::echo("proxy"), ports::free());
    let resources = |forward_proxy: &Value| {
        let mut both = api("api", &format!("http://127.0.0.1:{port}"), "http://one.test");
        both["spec"]["services"] = json!({
            "one": {"address": "http://one.test", "routes": [{"rules": [{"path": "/one"}]}]},
            "two": {"address": "http://two.test:8080", "routes": [{"rules": [{"path": "/two"}]}]},
        });
        [both, edge(forward_proxy)]
    };
    let gateway =
        Plan::new().workers(1).with("api.yaml", &resources(&with_password(proxy.address(), "first"))).start();
    let mut client = Client::connect(local(port));
    let mut ask = |path: &str| {
        let response = client.get(path, "gateway.test", "Proxy-Authorization: Basic b3du\r\n");
        let echo = response.json();
        let seen = ["target", "connection"].map(|key| echo[key].to_string().trim_matches('"').to_owned());
        (seen, arrived(&response, "host"), arrived(&response, "proxy-authorization"))
    };
    let first = ask("/one");
    let credentials = Some("Basic Z3c6Zmlyc3Q=".to_owned());
    let seen = |target: &str, connection: &str| [target.to_owned(), connection.to_owned()];
    assert_eq!(first, (seen("http://one.test/one", "0"), Some("one.test".to_owned()), credentials.clone()));
    assert_eq!(ask("/one"), first, "the connection is reused");
    let other = (seen("http://two.test:8080/two", "1"), Some("two.test:8080".to_owned()), credentials);
    assert_eq!(ask("/two"), other, "another upstream has another connection");
    let _ = gateway.apply("api.yaml", &resources(&with_password(proxy.address(), "second")));
    let renewed = Some("Basic Z3c6c2Vjb25k".to_owned());
    assert_eq!(ask("/one"), (seen("http://one.test/one", "2"), Some("one.test".to_owned()), renewed));
    let _ = gateway.apply("api.yaml", &resources(&proxy_at(proxy.address())));
    assert_eq!(ask("/one"), (seen("http://one.test/one", "3"), Some("one.test".to_owned()), None));
}

#[test]
fn http_log_outputs_go_through_the_proxy_unless_their_exact_name_is_in_no_proxy() {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let collector = Upstream::start(|exchange| {
        let _ = exchange.body()?;
        exchange.reply(204, "", b"")
    });
    let authority = Authority::new();
    let front = authority.front("localhost", collector.address());
    let proxy = Daemon::tinyproxy("BasicAuth gw secret");
    let output = |name: &str, host: &str, port: u16, tls: &str| {
        let parameters =
            json!({"host": host, "port": port.to_string(), "uri": format!("/{name}"), "tls": tls});
        json!({"name": name, "type": "http", "parameters": parameters})
    };
    let logging = configuration(
        "logs",
        json!({"logging": {
            "outputs": [
                output("clear", "127.0.0.1", collector.address().port(), "off"),
                output("secure", "localhost", front.port(), "on"),
            ],
            "runtimeLogs": {"outputs": ["clear", "secure"]},
        }}),
    );
    let mut through = with_password(proxy.address(), "secret");
    through["noProxy"] = json!([".0.0.1", "ocalhost"]);
    let resources = |through: &Value| {
        [api("api", &format!("http://127.0.0.1:{port}"), &upstream.url()), edge(through), logging.clone()]
    };
    let gateway = Plan::new()
        .with("api.yaml", &resources(&through))
        .environment("SSL_CERT_FILE", &authority.certificate().display().to_string())
        .start();
    let got = |target: &str| collector.received().into_iter().find(|request| request.target == target);
    let clear = eventually("lines in clear text", || got("/clear"));
    assert!(clear.head.get("via").is_some_and(|via| via.contains("tinyproxy")), "{:?}", clear.head);
    assert_eq!(clear.head.get("proxy-authorization"), None);
    let secure = eventually("lines over TLS", || got("/secure"));
    assert_eq!(secure.head.get("via"), None);
    assert!(proxy.log().contains(&format!("CONNECT localhost:{}", front.port())), "{}", proxy.log());
    // Exact names: both direct from the next lines on.
    through["noProxy"] = json!(["127.0.0.1", "localhost"]);
    let _ = gateway.apply("api.yaml", &resources(&through));
    collector.forget();
    let _ = gateway
        .apply("more.yaml", &[api("more", &format!("http://127.0.0.1:{}", ports::free()), &upstream.url())]);
    let clear = eventually("lines in clear text", || got("/clear"));
    assert_eq!(clear.head.get("via"), None);
}
