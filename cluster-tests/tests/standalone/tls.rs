//! TLS towards clients (configuration reference 6.1, 6.2, decisions 12, 29, 30), seen by `curl` and `openssl`.

use std::net::SocketAddr;
use std::process::{Command, Output};

use cluster_tests::client::{Client, call};
use cluster_tests::config::{api, binding};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::http2::{self, Http2};
use cluster_tests::tls::{Authority, Pair, SClient, certificate, handshake, text};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::{Value, json};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A binding of `tls` with this certificate and further parameters.
fn tls(target: &str, pair: &Pair, more: Value) -> Value {
    let mut config = json!({"certificate": certificate(pair)});
    config.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    binding(&format!("{target}-tls"), "ApiInstance", target, "tls", json!({"config": config}))
}

/// What tests of this chapter have in common: an authority, an upstream, a port.
struct Scene {
    authority: Authority,
    pair: Pair,
    upstream: Upstream,
    port: u16,
}

impl Scene {
    fn new() -> Self {
        let authority = Authority::new();
        let pair = authority.issue("gateway.test");
        Self { authority, pair, upstream: Upstream::echo("up"), port: ports::free() }
    }

    fn api(&self) -> Value {
        api("shop", &format!("http://127.0.0.1:{}", self.port), &self.upstream.url())
    }

    fn plan(&self, more: Value) -> Plan {
        Plan::new().with("api.yaml", &[self.api()]).with("tls.yaml", &[tls("shop", &self.pair, more)])
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        let port = self.port;
        Command::new("curl")
            .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}", "--cacert"])
            .arg(self.authority.certificate())
            .args(["--resolve", &format!("gateway.test:{port}:127.0.0.1")])
            .args(arguments)
            .arg(format!("https://gateway.test:{port}/a"))
            .output()
            .expect("curl is installed")
    }

    /// Status 0: no answer.
    fn status(&self, arguments: &[&str]) -> u16 {
        let output = self.curl(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().last().and_then(|line| line.parse().ok()).unwrap_or(0)
    }
}

/// A figure of `/metrics`.
fn metric(gateway: &Gateway, series: &str) -> u64 {
    let page = gateway.admin("GET", "/metrics").text();
    let line = page.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_port_with_a_tls_policy_is_served_over_tls_1_2_and_1_3_and_in_no_other_way() {
    let scene = Scene::new();
    let gateway = scene.plan(json!({})).start();
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let answer = scene.curl(&version);
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(said.ends_with("\n200"), "{version:?}: {said} {}", String::from_utf8_lossy(&answer.stderr));
        assert!(said.contains(r#"["x-forwarded-proto","https"]"#), "{said}");
    }
    let old = handshake(local(scene.port), &["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"]);
    assert!(!old.status.success());
    let mut plain = Client::connect(local(scene.port));
    plain.send(b"GET /a HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    assert!(plain.any_head().is_err(), "no answer in plain text");
    assert_eq!(scene.upstream.received().len(), 2);
    eventually("both are counted", || {
        let failures = |reason: &str| {
            metric(&gateway, &format!("portcullis_tls_handshake_failures_total{{reason=\"{reason}\"}}"))
        };
        (failures("no_common_version") == 1 && failures("malformed") == 1).then_some(())
    });
    assert!(metric(&gateway, "portcullis_tls_handshakes_total{kind=\"full\"}") >= 2);
}

#[test]
fn bodies_of_many_records_pass_both_ways() {
    let scene = Scene::new();
    let _gateway = scene.plan(json!({})).start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let body = "x".repeat(3 << 20);
    let file = folder.path().join("body");
    std::fs::write(&file, &body).expect("writable");
    let answer = scene.curl(&["--data-binary", &format!("@{}", file.display())]);
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(said.ends_with("\n200") && said.contains(&body), "{} bytes", said.len());
}

#[test]
fn the_list_of_suites_restricts_tls_1_2_and_leaves_1_3() {
    let scene = Scene::new();
    let only = json!({"ciphers": ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"], "minversion": "1.2"});
    let _gateway = scene.plan(only).start();
    let negotiated = |arguments: &[&str]| {
        let output = handshake(local(scene.port), arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().find_map(|line| line.split("Cipher is ").nth(1).map(str::to_owned)).unwrap_or_default()
    };
    assert_eq!(negotiated(&["-tls1_2"]), "ECDHE-RSA-AES256-GCM-SHA384");
    assert_eq!(negotiated(&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]), "(NONE)");
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        assert_eq!(negotiated(&["-tls1_3", "-ciphersuites", suite]), suite);
    }
}

#[test]
fn a_client_certificate_is_required_optional_or_not_asked_for() {
    let scene = Scene::new();
    let (crt, key) = scene.authority.issue("client.test");
    let stranger = Authority::new();
    let (wrong_crt, wrong_key) = stranger.issue("client.test");
    let own = ["--cert", &crt.to_string_lossy(), "--key", &key.to_string_lossy()].map(str::to_owned);
    let wrong =
        ["--cert", &wrong_crt.to_string_lossy(), "--key", &wrong_key.to_string_lossy()].map(str::to_owned);
    let with = |pair: &[String; 4]| scene.status(&pair.each_ref().map(String::as_str));
    let ca = text(&scene.authority.certificate());
    let gateway = scene.plan(json!({"requireClientCertificate": true, "trustedCA": ca})).start();
    assert_eq!((with(&own), with(&wrong), scene.status(&[])), (200, 0, 0));
    let failures = |reason: &str| {
        metric(&gateway, &format!("portcullis_tls_handshake_failures_total{{reason=\"{reason}\"}}"))
    };
    eventually("they are counted", || {
        let counted = (failures("client_certificate_refused"), failures("client_certificate_missing"));
        (counted == (1, 1)).then_some(())
    });
    // Decision 29: asked for, and verified if given.
    gateway.apply("tls.yaml", &[tls("shop", &scene.pair, json!({"trustedCA": ca}))]);
    assert_eq!((with(&own), with(&wrong), scene.status(&[])), (200, 0, 200));
    gateway.apply("tls.yaml", &[tls("shop", &scene.pair, json!({}))]);
    assert_eq!((with(&wrong), scene.status(&[])), (200, 200));
}

#[test]
fn a_new_certificate_is_for_new_connections_and_established_ones_go_on() {
    let scene = Scene::new();
    let gateway = scene.plan(json!({})).start();
    let presented = || {
        let output = handshake(local(scene.port), &[]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let start = said.find("-----BEGIN CERTIFICATE-----").expect("s_client shows the certificate");
        said[start..].split("-----END").next().unwrap_or_default().to_owned()
    };
    let mut open = SClient::connect(local(scene.port), &[]);
    assert_eq!(open.get("/before").0, 200);
    let before = presented();
    let renewed = scene.authority.issue("gateway.test");
    gateway.apply("tls.yaml", &[tls("shop", &renewed, json!({}))]);
    assert_ne!(presented(), before);
    assert_eq!(open.get("/after").0, 200);
    assert_eq!(scene.status(&[]), 200);
}

/// One that does not answer the PING behind the GOAWAY, as here: RFC 9113 section 6.8.
#[test]
fn an_http_2_client_that_goes_on_after_a_change_of_tls_is_refused_after_a_second() {
    let scene = Scene::new();
    let gateway = Plan::new().with("api.yaml", &[scene.api()]).start();
    let mut client = Http2::connect(local(scene.port));
    client.send(&http2::get(1, "/a"));
    client.until_answered(1).expect("it is served");
    gateway.apply("tls.yaml", &[tls("shop", &scene.pair, json!({}))]);
    // What is under way goes on.
    client.send(&http2::post(3, "/a", &[]));
    client.until(0, http2::kind::GOAWAY).expect("it is told that this was the last one");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    client.send(&http2::get(5, "/a"));
    let refused = client.until(5, http2::kind::RST_STREAM).expect("it is refused");
    assert_eq!(refused.number(0), 7, "REFUSED_STREAM");
    client.send(&http2::data(3, http2::flag::END_STREAM, b"x"));
    client.until_answered(3).expect("it is served");
    assert_eq!(scene.upstream.received().len(), 2);
}

#[test]
fn sessions_are_resumed_after_a_reload_unless_trust_changed() {
    let scene = Scene::new();
    let gateway = scene.plan(json!({})).start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let session = folder.path().join("session").to_string_lossy().into_owned();
    let first = handshake(local(scene.port), &["-tls1_2", "-sess_out", &session]);
    assert!(first.status.success());
    let again = || {
        let output = handshake(local(scene.port), &["-tls1_2", "-sess_in", &session]);
        String::from_utf8_lossy(&output.stdout).contains("Reused, TLSv1.2")
    };
    assert!(again());
    let renewed = scene.authority.issue("gateway.test");
    gateway.apply("tls.yaml", &[tls("shop", &renewed, json!({}))]);
    assert!(again(), "another certificate");
    let ca = text(&scene.authority.certificate());
    gateway.apply("tls.yaml", &[tls("shop", &renewed, json!({"trustedCA": ca}))]);
    assert!(!again(), "another trust");
    assert_eq!(metric(&gateway, "portcullis_tls_handshakes_total{kind=\"resumed\"}"), 2);
}

#[test]
fn a_broken_tls_binding_never_opens_plain_text() {
    let scene = Scene::new();
    let broken = tls("shop", &scene.pair, json!({"ciphers": ["TLS_RSA_WITH_NULL_SHA"]}));
    let beside = ports::free();
    let open = api("beside", &format!("http://127.0.0.1:{beside}"), &scene.upstream.url());
    let gateway =
        Plan::new().with("api.yaml", &[scene.api(), open]).with("tls.yaml", std::slice::from_ref(&broken));
    let gateway = gateway.start_unready();
    eventually("the other port", || Client::try_connect(local(beside)).ok());
    assert!(Client::try_connect(local(scene.port)).is_err(), "first load: the port stays closed");
    gateway.says("unknown cipher suite `TLS_RSA_WITH_NULL_SHA`");
    gateway.apply("tls.yaml", &[tls("shop", &scene.pair, json!({}))]);
    assert_eq!(scene.status(&[]), 200);
    gateway.apply("tls.yaml", &[broken]);
    assert_eq!(scene.status(&[]), 200, "update: the last good context stays");
    let misspelt = binding("shop-tls", "ApiInstance", "shop", "tsl", json!({"config": {}}));
    gateway.apply("tls.yaml", &[misspelt]);
    assert_eq!(scene.status(&[]), 200, "so it does when the policy's name is lost");
    let mut plain = Client::connect(local(scene.port));
    plain.send(b"GET /a HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    assert!(plain.any_head().is_err());
}

#[test]
fn tls_comes_to_a_live_port_and_goes_with_a_warning() {
    let scene = Scene::new();
    let gateway = Plan::new().with("api.yaml", &[scene.api()]).start();
    let mut plain = Client::connect(local(scene.port));
    assert_eq!(plain.get("/a", "gateway.test", "").status, 200);
    gateway.apply("tls.yaml", &[tls("shop", &scene.pair, json!({}))]);
    assert_eq!(scene.status(&[]), 200);
    let last = plain.get("/a", "gateway.test", "");
    assert_eq!(last.status, 200, "an established connection is not dropped");
    assert!(last.closes(), "but ends with its answer: what is behind the port is meant for TLS now");
    let mut secured = SClient::connect(local(scene.port), &[]);
    assert_eq!(secured.get("/a").0, 200);
    gateway.remove("tls.yaml");
    // A file that vanishes is held for a moment (decision 16).
    eventually("plain text again", || {
        gateway.reload();
        let mut client = Client::try_connect(local(scene.port)).ok()?;
        let request = b"GET /a HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n";
        client.exchange("GET", request).ok().filter(|response| response.status == 200)
    });
    gateway.says("answers in plain text from now on");
    let (status, body) = secured.get("/a");
    assert_eq!(status, 200);
    assert!(body.contains(r#"["x-forwarded-proto","https"]"#), "{body}");
}

#[test]
fn a_context_is_in_force_for_all_instances_of_its_port_and_a_second_one_is_not_mixed_in() {
    let scene = Scene::new();
    let at =
        |name: &str| api(name, &format!("https://127.0.0.1:{}/{name}", scene.port), &scene.upstream.url());
    let apis = [at("a"), at("b"), at("c")];
    let plan = Plan::new().with("api.yaml", &apis).with("tls.yaml", &[tls("a", &scene.pair, json!({}))]);
    let gateway = plan.start();
    let mut open = SClient::connect(local(scene.port), &[]);
    let mut statuses = || ["/a", "/b", "/c"].map(|path| open.get(path).0);
    assert_eq!(statuses(), [200, 200, 200]);
    // The same context twice is one; another is refused, and what it was to protect with it.
    gateway.apply("more.yaml", &[tls("b", &scene.pair, json!({"maxversion": "1.3"}))]);
    assert_eq!(statuses(), [200, 200, 200]);
    gateway.apply("more.yaml", &[tls("b", &scene.pair, json!({"minversion": "1.3"}))]);
    assert_eq!(statuses(), [200, 503, 200]);
    gateway.says("this one is different");
    let old = handshake(local(scene.port), &["-tls1_2"]);
    assert!(old.status.success(), "the context that was active stays");
}

#[test]
fn a_client_that_is_slow_to_say_hello_is_cut_off_and_garbage_is_refused() {
    let scene = Scene::new();
    let plan = scene.plan(json!({})).environment("PORTCULLIS_TIMEOUTS__TLS_HANDSHAKE", "2s");
    let gateway = plan.start();
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut slow = Client::connect(local(scene.port));
        slow.send(begun);
        assert!(slow.closed());
    }
    let series = "portcullis_tls_handshake_failures_total{reason=\"timeout\"}";
    // A client may see the end of its connection a moment before it is counted.
    eventually("both are counted", || (metric(&gateway, series) >= 2).then_some(()));
    assert_eq!(metric(&gateway, series), 2);
    let mut garbage = Client::connect(local(scene.port));
    garbage.send(&[0xff; 512]);
    let _ = garbage.wire.fill();
    let alert = garbage.wire.buffered().first().copied();
    assert!(alert.is_none_or(|first| first == 0x15), "nothing but an alert comes back");
    assert_eq!(scene.status(&[]), 200);
}

#[test]
fn connections_end_with_close_notify() {
    let scene = Scene::new();
    let plan = scene.plan(json!({})).environment("PORTCULLIS_TIMEOUTS__CLIENT_IDLE", "300ms");
    let _gateway = plan.start();
    let idle = Command::new("sh")
        .args(["-c", &format!("sleep 5 | openssl s_client -connect {} 2>&1", local(scene.port))])
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&idle.stdout).into_owned();
    assert!(said.contains("closed") && !said.contains("unexpected eof"), "{said}");
}

#[test]
fn the_dump_shows_no_key() {
    let scene = Scene::new();
    let gateway = scene.plan(json!({})).start();
    let dump = gateway.admin("GET", "/config/dump").text();
    assert!(dump.contains("BEGIN CERTIFICATE") && !dump.contains("PRIVATE KEY"), "{dump}");
    let secret = text(&scene.pair.1).lines().nth(3).unwrap_or_default().to_owned();
    assert!(!dump.contains(&secret) && !gateway.log().contains(&secret));
    assert_eq!(call(gateway.admin_address(), "GET", "/status", "", "").status, 200);
}
