//! What is said of contexts, and certificates that lie in files of their own.

use std::path::Path;
use std::process::Command;

use cluster_tests::client::get;
use cluster_tests::config::{api, binding, configuration, documents};
use cluster_tests::gateway::Plan;
use cluster_tests::tls::{Authority, Life, handshake, text};
use cluster_tests::upstream::Upstream;
use cluster_tests::{binary, eventually, ports};
use serde_json::{Value, json};

fn run(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary::portcullis()).args(words).output().expect("the binary starts");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

fn in_file(resources: &[Value]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("api.yaml");
    std::fs::write(&path, documents(resources)).expect("a writable folder");
    (folder, path.display().to_string())
}

#[test]
fn explain_says_who_serves_each_context_and_why() {
    let authority = Authority::new();
    let (crt, key) = authority.issue("gateway.test");
    let weak = json!({"config": {
        "certificate": {"crt": text(&crt), "key": text(&key)}, "minversion": "1.1",
        "ciphers": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_3DES_EDE_CBC_SHA"],
    }});
    let outbound = json!({"config": {"trustedCA": text(&authority.certificate()), "minversion": "1.3"}});
    let (_folder, path) = in_file(&[
        api("shop", "http://127.0.0.1:18443", "https://up.test:9443"),
        binding("shop-tls", "ApiInstance", "shop", "tls", weak),
        binding("up-tls", "Service", "shop-up", "tls-outbound", outbound),
    ]);
    let (code, said) = run(&["tls", "explain", &path]);
    for part in [
        "port 18443",
        "PolicyBinding default/shop-tls",
        "OpenSSL: TLS_RSA_WITH_3DES_EDE_CBC_SHA is not in rustls",
        "1.1 to 1.3",
        "TLS_AES_128_GCM_SHA256 (1.3)",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 (1.2)",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA (1.1-1.2), weak",
        "h2, http/1.1",
        "for gateway.test; ",
        " days left (until ",
        "warning: TLS 1.1 is weak",
        "rustls: it has all of these suites",
        "1.3 to 1.3",
        "must be of `trustedCA`",
        "authorities  CN=test CA; ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["tls", "explain", "--format", "json", &path]);
    let contexts: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, contexts[0]["backend"].as_str()), (Some(0), Some("OpenSSL")));
    assert_eq!(contexts[1]["suites"].as_array().map(Vec::len), Some(3), "{said}");
    let left = contexts[1]["authorities"][0]["daysLeft"].as_i64();
    assert!(left == Some(1) || left == Some(2), "two days, less a moment: {said}");
}

#[test]
fn explain_shows_what_has_no_effect_and_says_of_certificates_without_expiry_that_they_have_none() {
    let authority = Authority::new().intermediate_for("endless CA", Life::Endless);
    let calls = json!({"trustedCA": authority.pem(), "ciphers": ["TLS_RSA_WITH_AES_128_CBC_SHA"]});
    let spec = json!({"defaultTLS": {"outboundPolicyCalls": calls}});
    let (_folder, path) = in_file(&[configuration("all", spec)]);
    let (code, said) = run(&["tls", "explain", &path]);
    for part in [
        "calls of policies (without effect: no policy makes any)\n",
        "`defaultTLS.outboundPolicyCalls`",
        "OpenSSL: TLS_RSA_WITH_AES_128_CBC_SHA is not in rustls",
        "authorities  CN=endless CA; without expiry\n",
        "warning: `TLS_RSA_WITH_AES_128_CBC_SHA` is weak",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(code, Some(0), "{said}");
    let (_, said) = run(&["tls", "explain", "--format", "json", &path]);
    let contexts: Value = serde_json::from_str(&said).expect("JSON");
    let shown = json!({"subject": "CN=endless CA", "notAfter": "9999-12-31T23:59:59Z"});
    assert_eq!(contexts[0]["authorities"], json!([shown]), "{said}");
}

#[test]
fn explain_shows_the_default_context_and_ends_with_65_where_there_are_errors() {
    let resource = api("shop", "http://127.0.0.1:18443", "https://up.test:9443");
    let (_folder, path) = in_file(std::slice::from_ref(&resource));
    let (code, said) = run(&["tls", "explain", &path]);
    assert!(said.contains("none: the default context") && said.contains("1.2 to 1.2"), "{said}");
    assert_eq!(code, Some(0));
    let broken = binding("shop-tls", "ApiInstance", "shop", "tls", json!({"config": {"minversion": "1.3"}}));
    let (_folder, path) = in_file(&[resource, broken]);
    let (code, said) = run(&["tls", "explain", &path]);
    assert!(said.contains("the field `certificate` is missing"), "{said}");
    assert_eq!(code, Some(65));
}

#[test]
fn certificates_in_files_are_watched_and_a_pair_that_does_not_fit_waits_for_its_other_half() {
    let authority = Authority::new();
    let (first, second) = (authority.issue("gateway.test"), authority.issue("gateway.test"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (crt, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let install = |from: &Path, to: &Path| {
        let fresh = to.with_extension("new");
        std::fs::copy(from, &fresh).and_then(|_| std::fs::rename(&fresh, to)).expect("a writable folder");
    };
    install(&first.0, &crt);
    install(&first.1, &key);
    let (port, upstream) = (ports::free(), Upstream::echo("up"));
    let config = json!({"config": {"certificate": {"crtFile": crt, "keyFile": key}}});
    let gateway = Plan::new()
        .with("api.yaml", &[api("shop", &format!("http://127.0.0.1:{port}"), &upstream.url())])
        .with("tls.yaml", &[binding("shop-tls", "ApiInstance", "shop", "tls", config)])
        .start();
    let shown = || {
        let output = handshake(([127, 0, 0, 1], port).into(), &[]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let begin = said.find("-----BEGIN CERTIFICATE-----").expect("a handshake");
        let end = said.find("-----END CERTIFICATE-----").expect("a certificate");
        said[begin..end].to_owned()
    };
    let same = |path: &Path| text(path).contains(&shown());
    assert!(same(&first.0));
    let expiry = "portcullis_tls_certificate_expiry_timestamp_seconds";
    assert!(gateway.metric(expiry, &[&format!("port=\"{port}\"")]) > 1.7e9);
    install(&second.0, &crt);
    gateway.says("the key does not belong to the certificate");
    assert!(same(&first.0), "the last good pair stays");
    install(&second.1, &key);
    eventually("the second certificate", || same(&second.0).then_some(()));
    std::fs::remove_file(&key).expect("it is there");
    gateway.says("cannot read");
    assert!(same(&second.0), "the last good pair stays");
}

/// Without what it was to restrict, a context must not be built (decision 12).
#[test]
fn trust_in_a_file_that_cannot_be_read_is_not_trust_in_others() {
    let authority = Authority::new();
    let (folder, upstream) = (tempfile::tempdir().expect("a temporary folder"), Upstream::echo("up"));
    let front = authority.front("localhost", upstream.address());
    let ca = folder.path().join("ca.crt");
    std::fs::copy(authority.certificate(), &ca).expect("a writable folder");
    let port = ports::free();
    let url = format!("https://localhost:{}", front.port());
    let outbound = json!({"config": {"trustedCAFile": ca}});
    let plan = || {
        Plan::new()
            // Whom the system trusts has issued the upstream's certificate, too.
            .environment("SSL_CERT_FILE", &authority.certificate().display().to_string())
            .with("api.yaml", &[api("shop", &format!("http://127.0.0.1:{port}"), &url)])
            .with("tls.yaml", &[binding("up-tls", "Service", "shop-up", "tls-outbound", outbound.clone())])
    };
    let ask = || get(([127, 0, 0, 1], port).into(), "/a").status;
    let gateway = plan().start();
    assert_eq!(ask(), 200);
    std::fs::remove_file(&ca).expect("it is there");
    let applied = gateway.reload().text();
    assert!(!applied.contains("\"errors\":0"), "{applied}");
    assert_eq!(ask(), 200, "the last good context stays");
    drop(gateway);
    let gateway = plan().start_unready();
    gateway.says("cannot read");
    eventually("it answers", || (ask() == 503).then_some(()));
}

#[test]
fn default_tls_and_the_tls_of_redis_are_checked_like_other_contexts() {
    let authority = Authority::new();
    let certificate = authority.encrypted("redis.test", "secret");
    let spec = json!({
        "defaultTLS": {"outboundPolicyCalls": {"minversion": 1.3, "maxversion": "1.2"}},
        "sharedStorage": {"redis": {"address": "redis.test:6379", "tls": {
            "trustedCA": text(&authority.certificate()), "ciphers": ["TLS_RSA_WITH_NULL_SHA"],
            "certificate": {"crt": text(&certificate.0), "key": text(&certificate.1), "keyPassphrase": "wrong"},
        }}},
    });
    let (_folder, path) = in_file(&[configuration("all", spec)]);
    let (code, said) = run(&["validate", &path]);
    assert!(said.contains("error: `minversion` 1.3 is above `maxversion` 1.2"), "{said}");
    assert!(said.contains("spec.defaultTLS.outboundPolicyCalls.minversion"), "{said}");
    assert!(said.contains("warning: unknown cipher suite `TLS_RSA_WITH_NULL_SHA`"), "{said}");
    assert!(said.contains("error: the key cannot be decrypted with this passphrase"), "{said}");
    assert!(!said.contains("wrong") && !said.contains("BEGIN"), "{said}");
    assert_eq!(code, Some(65));
    let indented: String = text(&certificate.1).lines().map(|line| format!("  {line}\n")).collect();
    let spec = json!({"sharedStorage": {"redis": {"address": "redis.test:6379", "tls": {
        "trustedCA": text(&authority.certificate()), "minVersion": "1.2", "keyPassphrase": "secret", "alpn": ["h2"],
        "certificate": {"crt": text(&certificate.0), "key": indented},
    }}}});
    let (_folder, path) = in_file(&[configuration("all", spec.clone())]);
    let (code, said) = run(&["validate", &path]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["tls", "explain", &path]);
    assert!(said.contains("shared storage in Redis") && said.contains("`sharedStorage.redis.tls`"), "{said}");
    assert!(said.contains("findings     warning: `alpn` has no effect"), "{said}");
    assert_eq!(code, Some(0), "{said}");
    let mut without = spec;
    without["sharedStorage"]["redis"]["tls"].as_object_mut().expect("an object").remove("keyPassphrase");
    let (_folder, path) = in_file(&[configuration("all", without)]);
    let (code, said) = run(&["validate", &path]);
    assert!(said.contains("give it as `certificate.keyPassphrase`"), "{said}");
    assert_eq!(code, Some(65), "{said}");
}
