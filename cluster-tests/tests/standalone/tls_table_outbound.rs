//! The table of cipher suites (configuration reference 6.5) towards upstreams: each row at each version with `openssl
//! s_server`, which tells what was negotiated; 3DES with a server of tlslite-ng; and the context of an `https://` service
//! without a policy (6.3).

use std::{net::SocketAddr, path::PathBuf};

use cluster_tests::{
    client::{Response, get},
    config::{api, binding},
    gateway::{Gateway, Plan},
    openssl::{Negotiated, Server, reported},
    ports,
    python::{self, Script},
    tls::{Authority, Wanted},
};
use serde_json::{Value, json};

use crate::tls_table::{
    Proof, Row, TRIPLE_DES,
    Version::{self, V1_1, V1_2, V1_3},
    choosable, names, offer, rows,
};

/// Upstreams and the services of one gateway, each an instance of its own at `/N`.
struct Scene {
    authority: Authority,
    rsa: (PathBuf, PathBuf),
    ecdsa: (PathBuf, PathBuf),
    port: u16,
    resources: Vec<Value>,
    count: usize,
}

impl Scene {
    fn new() -> Self {
        let authority = Authority::new();
        Self {
            rsa: authority.issue_as(Wanted { names: "IP:127.0.0.1", ..Wanted::default() }),
            ecdsa: authority.issue_as(Wanted { names: "IP:127.0.0.1", key: "ec", ..Wanted::default() }),
            authority,
            port: ports::free(),
            resources: Vec::new(),
            count: 0,
        }
    }

    /// A server of both certificates for these suites at this version.
    fn server(&self, version: Version, rows: &[&Row]) -> Server {
        let mut words = offer(version, rows);
        // The options of a server say what it is to do with an identity, not what it is.
        if let Some(at) = words.iter().position(|word| word == "-psk_identity") {
            words.truncate(at);
        }
        Server::start(&[&self.rsa, &self.ecdsa], &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A server for all of the table at each version.
    fn servers(&self) -> [Server; 3] {
        Version::ALL.map(|version| self.server(version, &offered(version, |_| true)))
    }

    /// The path to a service without a policy.
    fn by_default(&mut self, url: &str) -> String {
        let path = format!("/{}", self.count);
        let address = format!("http://127.0.0.1:{}{path}", self.port);
        self.resources.push(api(&format!("api-{}", self.count), &address, url));
        self.count += 1;
        path
    }

    /// The path to a service with these parameters of `tls-outbound`.
    fn service(&mut self, url: &str, parameters: &Value) -> String {
        let path = self.by_default(url);
        let name = format!("api-{}-up", self.count - 1);
        let trusted = std::fs::read_to_string(self.authority.certificate()).expect("a file of openssl");
        let mut config = json!({"trustedCA": trusted});
        config
            .as_object_mut()
            .expect("an object")
            .extend(parameters.as_object().cloned().unwrap_or_default());
        let more = json!({"config": config});
        self.resources.push(binding(&format!("{name}-tls"), "Service", &name, "tls-outbound", more));
        path
    }

    /// The path to a service for these suites within these versions.
    fn service_for(&mut self, url: &str, listed: &[&str], min: Version, max: Version) -> String {
        let versions = (min.written(), max.written());
        self.service(url, &json!({"ciphers": listed, "minversion": versions.0, "maxversion": versions.1}))
    }

    fn plan(&self) -> Plan {
        let trusted = self.authority.certificate();
        let plan = Plan::new().with("api.yaml", &self.resources);
        plan.environment("SSL_CERT_FILE", &trusted.to_string_lossy())
    }

    fn start(&self) -> Gateway {
        self.plan().start()
    }

    fn get(&self, path: &str) -> Response {
        get(SocketAddr::from(([127, 0, 0, 1], self.port)), path)
    }

    fn assert_negotiates(&self, path: &str, version: Version, row: &Row) {
        let answer = self.get(path);
        let negotiated = Negotiated { version: version.spoken().into(), suite: row.openssl.into() };
        assert_eq!(
            (answer.status, reported(&answer.text())),
            (200, Some(negotiated)),
            "{path}: {}",
            row.name
        );
    }

    /// The answer is 503, and tells the client nothing of TLS.
    fn assert_fails(&self, path: &str, what: &str) {
        let answer = self.get(path);
        let body = answer.text();
        assert_eq!(answer.status, 503, "{path}, {what}: {body}");
        assert!(body.starts_with("upstream connect error or disconnect/reset before headers"), "{body}");
        for word in ["tls", "ssl", "cipher", "suite", "handshake", "certificate", "alert", "version"] {
            assert!(!body.to_ascii_lowercase().contains(word), "{what}: {body}");
        }
    }
}

/// What `openssl` has of the table at a version.
fn offered(version: Version, which: impl Fn(&Row) -> bool) -> Vec<&'static Row> {
    rows(|row| row.is_at(version) && row.is_in_openssl() && which(row))
}

#[test]
fn each_row_is_negotiated_at_each_of_its_versions_by_a_server_that_has_them_all() {
    let mut scene = Scene::new();
    let servers = scene.servers();
    let mut cases = Vec::new();
    for row in choosable().into_iter().filter(|row| row.is_in_openssl()) {
        for version in row.versions {
            let url = servers[*version as usize].url();
            cases.push((row, *version, scene.service_for(&url, &[row.name], *version, *version)));
            cases.push((row, *version, scene.service_for(&url, &[row.name], V1_1, V1_3)));
        }
    }
    let _gateway = scene.start();
    assert_eq!(cases.len(), 2 * (8 + 2 * 6));
    for (row, version, path) in cases {
        scene.assert_negotiates(&path, version, row);
    }
}

#[test]
fn all_three_of_1_3_are_on_whatever_is_listed_and_off_outside_the_range() {
    let mut scene = Scene::new();
    let alone = offered(V1_3, |_| true).into_iter().map(|row| (row, scene.server(V1_3, &[row])));
    let alone: Vec<_> = alone.collect();
    let lists: [&[&str]; 4] = [
        &[],
        &["TLS_AES_128_GCM_SHA256"],
        &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        &["TLS_RSA_WITH_AES_128_CBC_SHA"],
    ];
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for (row, server) in &alone {
        for list in lists {
            inside.push((*row, scene.service_for(&server.url(), list, V1_2, V1_3)));
            inside.push((*row, scene.service_for(&server.url(), list, V1_3, V1_3)));
            outside.push((*row, scene.service_for(&server.url(), list, V1_2, V1_2)));
        }
    }
    let _gateway = scene.start();
    for (row, path) in inside {
        scene.assert_negotiates(&path, V1_3, row);
    }
    for (row, path) in outside {
        scene.assert_fails(&path, row.name);
    }
}

#[test]
fn a_server_that_has_all_suites_but_the_listed_one_is_not_spoken_to() {
    let mut scene = Scene::new();
    let (mut servers, mut cases) = (Vec::new(), Vec::new());
    for row in choosable() {
        for version in row.versions {
            let server = scene.server(*version, &offered(*version, |other| other != row));
            cases.push((row, scene.service_for(&server.url(), &[row.name], *version, *version)));
            cases.push((row, scene.service_for(&server.url(), &[row.name], V1_1, V1_2)));
            servers.push(server);
        }
    }
    let gateway = scene.plan().environment("PORTCULLIS_LOG__LEVEL", "debug").start();
    assert_eq!(cases.len(), 2 * (8 + 2 * 7));
    for (row, path) in cases {
        scene.assert_fails(&path, row.name);
    }
    gateway.says("UPSTREAM_TLS_REFUSED");
    let failures = |reason: &str| {
        gateway.metric("portcullis_upstream_connect_failures_total", &[&format!("reason=\"{reason}\"")])
    };
    assert_eq!((failures("tls") >= 44.0, failures("refused"), failures("timeout")), (true, 0.0, 0.0));
}

#[test]
fn a_server_of_another_version_is_not_spoken_to() {
    let mut scene = Scene::new();
    let servers = scene.servers();
    let row = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
    let mut cases = Vec::new();
    for (version, server) in Version::ALL.into_iter().zip(&servers) {
        for ours in Version::ALL.into_iter().filter(|ours| *ours != version) {
            cases.push((version, scene.service_for(&server.url(), &[row], ours, ours)));
        }
    }
    let _gateway = scene.start();
    for (version, path) in cases {
        scene.assert_fails(&path, version.written());
    }
}

#[test]
fn suites_are_offered_in_the_order_of_the_list() {
    let mut scene = Scene::new();
    let server = scene.server(V1_2, &offered(V1_2, |_| true));
    let pairs = [
        ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
        ["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
    ];
    let mut cases = Vec::new();
    for [one, other] in pairs {
        for list in [[one, other], [other, one]] {
            cases.push((list[0], scene.service_for(&server.url(), &list, V1_2, V1_2)));
        }
    }
    let _gateway = scene.start();
    for (first, path) in cases {
        scene.assert_negotiates(&path, V1_2, rows(|row| row.name == first)[0]);
    }
}

#[test]
fn without_a_list_the_six_defaults_of_1_2_are_offered_and_nothing_of_1_1() {
    let mut scene = Scene::new();
    let (mut servers, mut good) = (Vec::new(), Vec::new());
    for row in offered(V1_2, |row| row.is_default) {
        let server = scene.server(V1_2, &[row]);
        for parameters in
            [json!({}), json!({"minversion": "1.1"}), json!({"ciphers": ["TLS_AES_128_GCM_SHA256"]})]
        {
            good.push((row, scene.service(&server.url(), &parameters)));
        }
        servers.push(server);
    }
    let others = scene.server(V1_2, &offered(V1_2, |row| !row.is_default));
    let old = scene.server(V1_1, &offered(V1_1, |_| true));
    let bad = [&others, &old].map(|server| scene.service(&server.url(), &json!({"minversion": "1.1"})));
    let _gateway = scene.start();
    assert_eq!(good.len(), 3 * 6);
    for (row, path) in good {
        scene.assert_negotiates(&path, V1_2, row);
    }
    for path in bad {
        scene.assert_fails(&path, "none of the defaults");
    }
}

#[test]
fn an_https_service_without_a_context_is_spoken_to_by_the_six_suites_of_1_2_and_nothing_else() {
    let mut scene = Scene::new();
    let (mut servers, mut good) = (Vec::new(), Vec::new());
    for row in offered(V1_2, |row| row.is_default) {
        let server = scene.server(V1_2, &[row]);
        good.push((row, scene.by_default(&server.url())));
        servers.push(server);
    }
    // Of 1.1 to 1.3, with all suites: 1.2 is chosen.
    let any = Server::start(&[&scene.rsa], &["-cipher", "ALL:@SECLEVEL=0"]);
    let any = (scene.by_default(&any.url()), any);
    let [old, _, new] = scene.servers();
    let weak = scene.server(V1_2, &offered(V1_2, |row| !row.is_default));
    let bad = [&old, &new, &weak].map(|server| scene.by_default(&server.url()));
    let bound = scene.service(&new.url(), &json!({}));
    let _gateway = scene.start();
    assert_eq!(good.len(), 6);
    for (row, path) in good {
        scene.assert_negotiates(&path, V1_2, row);
    }
    let chosen = reported(&scene.get(&any.0).text()).map(|negotiated| negotiated.version);
    assert_eq!(chosen.as_deref(), Some("TLSv1.2"));
    for (path, what) in bad.iter().zip(["1.1 only", "1.3 only", "weak suites only"]) {
        scene.assert_fails(path, what);
    }
    // With a context of defaults the server of 1.3 is one to speak to.
    let answer = scene.get(&bound);
    let negotiated = reported(&answer.text()).map(|negotiated| negotiated.version);
    assert_eq!((answer.status, negotiated.as_deref()), (200, Some("TLSv1.3")));
}

#[test]
fn suites_with_pre_shared_keys_are_never_offered() {
    let mut scene = Scene::new();
    let keyed = rows(|row| row.proof == Proof::PreSharedKey);
    let servers = [V1_1, V1_2].map(|version| {
        let of_it: Vec<&Row> = keyed.iter().copied().filter(|row| row.is_at(version)).collect();
        scene.server(version, &of_it)
    });
    let mut listed = names(&keyed);
    let alone = servers.each_ref().map(|server| scene.service_for(&server.url(), &listed, V1_1, V1_3));
    listed.push("TLS_RSA_WITH_AES_128_CBC_SHA");
    let beside = servers.each_ref().map(|server| scene.service_for(&server.url(), &listed, V1_1, V1_3));
    let _gateway = scene.start();
    for path in alone.iter().chain(&beside) {
        scene.assert_fails(path, "pre-shared keys only");
    }
}

#[test]
fn triple_des_is_negotiated_at_1_1_and_1_2_where_it_is_listed_and_nowhere_else() {
    let Some(python) = python::with("tlslite") else { return };
    let mut scene = Scene::new();
    let files = [&scene.rsa.0, &scene.rsa.1].map(|path| path.to_string_lossy().into_owned());
    let mut server = Script::start(&python, "tlslite_server.py", &files);
    let others: Vec<&str> = names(&choosable()).into_iter().filter(|name| *name != TRIPLE_DES).collect();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for version in [V1_1, V1_2] {
        server.say(version.written());
        let url = format!("https://127.0.0.1:{}", server.line());
        good.push((version, scene.service_for(&url, &[TRIPLE_DES], version, version)));
        good.push((version, scene.service_for(&url, &[TRIPLE_DES], V1_1, V1_3)));
        bad.push(scene.service_for(&url, &others, V1_1, V1_3));
        bad.push(scene.service(&url, &json!({})));
    }
    let _gateway = scene.start();
    for (version, path) in good {
        let answer = scene.get(&path);
        assert_eq!((answer.status, answer.text()), (200, format!("{TRIPLE_DES} {}", version.written())));
    }
    for path in bad {
        scene.assert_fails(&path, "3DES only");
    }
}
