//! The table of cipher suites (configuration reference 6.5) towards clients: each row at each version by `openssl`, and
//! 3DES, which Debian's `openssl` lacks, by tlslite-ng.

use std::{net::SocketAddr, sync::OnceLock};

use cluster_tests::{
    config::{api, binding},
    gateway::{Gateway, Plan},
    openssl::{self, Negotiated},
    ports,
    python::{self, Script},
    tls::{Authority, Wanted},
    upstream::Upstream,
};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V1_1,
    V1_2,
    V1_3,
}

use Version::{V1_1, V1_2, V1_3};

impl Version {
    pub const ALL: [Self; 3] = [V1_1, V1_2, V1_3];

    /// As a configuration writes it.
    pub fn written(self) -> &'static str {
        ["1.1", "1.2", "1.3"][self as usize]
    }

    /// As `openssl` is told to speak no other.
    pub fn option(self) -> &'static str {
        ["-tls1_1", "-tls1_2", "-tls1_3"][self as usize]
    }

    /// As `openssl` calls what was negotiated.
    pub fn spoken(self) -> &'static str {
        ["TLSv1.1", "TLSv1.2", "TLSv1.3"][self as usize]
    }
}

/// What a suite authenticates the server with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Either certificate.
    Any,
    Rsa,
    Ecdsa,
    PreSharedKey,
}

use Proof::{Any, Ecdsa, PreSharedKey, Rsa};

#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub name: &'static str,
    pub versions: &'static [Version],
    pub is_default: bool,
    pub openssl: &'static str,
    pub proof: Proof,
}

const fn row(
    name: &'static str,
    versions: &'static [Version],
    default: &str,
    proof: Proof,
    openssl: &'static str,
) -> Row {
    Row { name, versions, is_default: default.len() == "yes".len(), openssl, proof }
}

const OLD: &[Version] = &[V1_1, V1_2];

/// Configuration reference 6.5, row by row.
#[rustfmt::skip]
pub static TABLE: [Row; 23] = [
    row("TLS_AES_128_GCM_SHA256", &[V1_3], "yes", Any, "TLS_AES_128_GCM_SHA256"),
    row("TLS_AES_256_GCM_SHA384", &[V1_3], "yes", Any, "TLS_AES_256_GCM_SHA384"),
    row("TLS_CHACHA20_POLY1305_SHA256", &[V1_3], "yes", Any, "TLS_CHACHA20_POLY1305_SHA256"),
    row("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", &[V1_2], "yes", Ecdsa, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    row("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", &[V1_2], "yes", Ecdsa, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    row("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", &[V1_2], "yes", Ecdsa, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    row("TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", &[V1_2], "no", PreSharedKey, "ECDHE-PSK-CHACHA20-POLY1305"),
    row("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", &[V1_2], "yes", Rsa, "ECDHE-RSA-AES128-GCM-SHA256"),
    row("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", &[V1_2], "yes", Rsa, "ECDHE-RSA-AES256-GCM-SHA384"),
    row("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", &[V1_2], "yes", Rsa, "ECDHE-RSA-CHACHA20-POLY1305"),
    row("TLS_RSA_WITH_AES_128_GCM_SHA256", &[V1_2], "no", Rsa, "AES128-GCM-SHA256"),
    row("TLS_RSA_WITH_AES_256_GCM_SHA384", &[V1_2], "no", Rsa, "AES256-GCM-SHA384"),
    row("TLS_RSA_WITH_AES_128_CBC_SHA", OLD, "no", Rsa, "AES128-SHA"),
    row("TLS_RSA_WITH_AES_256_CBC_SHA", OLD, "no", Rsa, "AES256-SHA"),
    row("TLS_PSK_WITH_AES_128_CBC_SHA", OLD, "no", PreSharedKey, "PSK-AES128-CBC-SHA"),
    row("TLS_PSK_WITH_AES_256_CBC_SHA", OLD, "no", PreSharedKey, "PSK-AES256-CBC-SHA"),
    row("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", OLD, "no", Ecdsa, "ECDHE-ECDSA-AES128-SHA"),
    row("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", OLD, "no", Ecdsa, "ECDHE-ECDSA-AES256-SHA"),
    row("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", OLD, "no", Rsa, "ECDHE-RSA-AES128-SHA"),
    row("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", OLD, "no", Rsa, "ECDHE-RSA-AES256-SHA"),
    row("TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA", OLD, "no", PreSharedKey, "ECDHE-PSK-AES128-CBC-SHA"),
    row("TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA", OLD, "no", PreSharedKey, "ECDHE-PSK-AES256-CBC-SHA"),
    // The reference says 1.1 only; once listed it is negotiated at 1.2 too, as the original does.
    row(TRIPLE_DES, OLD, "no", Rsa, "DES-CBC3-SHA"),
];

pub const TRIPLE_DES: &str = "TLS_RSA_WITH_3DES_EDE_CBC_SHA";

impl Row {
    pub fn is_at(&self, version: Version) -> bool {
        self.versions.contains(&version)
    }

    /// Whether Debian's `openssl` can offer it.
    pub fn is_in_openssl(&self) -> bool {
        self.name != TRIPLE_DES
    }

    /// The host whose certificate it needs.
    fn host(&self) -> &'static str {
        if self.proof == Ecdsa { ECDSA_HOST } else { RSA_HOST }
    }
}

/// Rows by what they are.
pub fn rows(which: impl Fn(&Row) -> bool) -> Vec<&'static Row> {
    TABLE.iter().filter(|row| which(row)).collect()
}

/// Rows below TLS 1.3 that anybody can negotiate.
pub fn choosable() -> Vec<&'static Row> {
    rows(|row| !row.is_at(V1_3) && row.proof != PreSharedKey)
}

pub fn names(rows: &[&Row]) -> Vec<&'static str> {
    rows.iter().map(|row| row.name).collect()
}

/// What `openssl` is told to offer, or to choose from, at a version.
pub fn offer(version: Version, rows: &[&Row]) -> Vec<String> {
    let list = rows.iter().map(|row| row.openssl).collect::<Vec<_>>().join(":");
    let mut words = vec![version.option().to_owned()];
    if version == V1_3 {
        words.extend(["-ciphersuites".to_owned(), list]);
    } else {
        words.extend(["-cipher".to_owned(), format!("{list}:@SECLEVEL=0")]);
    }
    if rows.iter().any(|row| row.proof == PreSharedKey) {
        words.extend(["-psk", "0123456789abcdef", "-psk_identity", "somebody"].map(str::to_owned));
    }
    words
}

pub const RSA_HOST: &str = "rsa.test";
pub const ECDSA_HOST: &str = "ecdsa.test";

/// Certificate and key as `tls` takes them, of RSA and of ECDSA; the chapters share them, keys of RSA take their time.
fn pairs() -> &'static [Value; 2] {
    static PAIRS: OnceLock<[Value; 2]> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let authority = Authority::new();
        [(RSA_HOST, "rsa:2048"), (ECDSA_HOST, "ec")].map(|(host, key)| {
            let (crt, key) =
                authority.issue_as(Wanted { names: &format!("DNS:{host}"), key, ..Wanted::default() });
            let text = |path| std::fs::read_to_string(path).expect("a file of openssl");
            json!({"crt": text(crt), "key": text(key)})
        })
    })
}

/// Listeners of one gateway: each with a context of its own, and two certificates by the host that a client asks for.
pub struct Scene {
    upstream: Upstream,
    resources: Vec<Value>,
}

impl Scene {
    pub fn new() -> Self {
        Self { upstream: Upstream::echo("up"), resources: Vec::new() }
    }

    /// One more listener, with these parameters of `tls`.
    pub fn listen(&mut self, parameters: Value) -> SocketAddr {
        let [rsa, ecdsa] = pairs();
        let mut config = json!({
            "certificate": rsa, "certificates": [{"hosts": [ECDSA_HOST], "certificate": ecdsa}],
        });
        config
            .as_object_mut()
            .expect("an object")
            .extend(parameters.as_object().cloned().unwrap_or_default());
        let (port, name) = (ports::free(), format!("api-{}", self.resources.len()));
        self.resources.push(api(&name, &format!("http://127.0.0.1:{port}"), &self.upstream.url()));
        let more = json!({"config": config});
        self.resources.push(binding(&format!("{name}-tls"), "ApiInstance", &name, "tls", more));
        ([127, 0, 0, 1], port).into()
    }

    /// One more listener, for these suites within these versions.
    pub fn listen_for(&mut self, listed: &[&str], min: Version, max: Version) -> SocketAddr {
        let versions = (min.written(), max.written());
        self.listen(json!({"ciphers": listed, "minversion": versions.0, "maxversion": versions.1}))
    }

    pub fn resources(&self) -> &[Value] {
        &self.resources
    }

    pub fn start(&self) -> Gateway {
        Plan::new().with("api.yaml", &self.resources).start()
    }
}

/// A handshake with these suites on offer.
pub fn negotiate(
    listener: SocketAddr,
    host: &str,
    version: Version,
    rows: &[&Row],
) -> Result<(Negotiated, u16), String> {
    let words = offer(version, rows);
    openssl::get(listener, host, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A handshake with these suites on offer fails for want of a common suite or version, and for no other reason.
pub fn assert_refused(listener: SocketAddr, host: &str, version: Version, rows: &[&Row]) {
    const REASONS: [&str; 3] = [
        "alert handshake failure",
        "alert protocol version",
        // Up to 1.2 a client names its highest version only; a server of 1.1 answers with that, and the client leaves.
        "choose_client_version:unsupported protocol",
    ];
    let outcome = negotiate(listener, host, version, rows);
    let is_refused = outcome.as_ref().is_err_and(|said| REASONS.iter().any(|reason| said.contains(reason)));
    assert!(is_refused, "{listener}, {host} at {version:?}, offered {:?}: {outcome:?}", names(rows));
}

/// At each version these rows can be negotiated, each alone, and none of the others of the table, all at once.
pub fn assert_offers_exactly(listener: SocketAddr, expected: impl Fn(&Row, Version) -> bool) {
    for version in Version::ALL {
        let all = rows(|row| row.is_at(version) && row.is_in_openssl());
        let (served, others): (Vec<&Row>, Vec<&Row>) =
            all.into_iter().partition(|row| expected(row, version));
        for row in &served {
            let negotiated = Negotiated { version: version.spoken().into(), suite: row.openssl.into() };
            let outcome = negotiate(listener, row.host(), version, &[row]);
            assert_eq!(outcome, Ok((negotiated, 200)), "{listener}: {} at {version:?}", row.name);
        }
        if !others.is_empty() {
            let hosts = if served.is_empty() { &[RSA_HOST][..] } else { &[RSA_HOST, ECDSA_HOST] };
            hosts.iter().for_each(|host| assert_refused(listener, host, version, &others));
        }
    }
}

#[test]
fn each_row_is_negotiated_at_each_of_its_versions_and_there_no_other_is() {
    let mut scene = Scene::new();
    let mut cases = Vec::new();
    for row in rows(|row| row.proof != PreSharedKey) {
        for version in row.versions {
            cases.push((row, *version, scene.listen_for(&[row.name], *version, *version)));
        }
    }
    let _gateway = scene.start();
    assert_eq!(cases.len(), 25);
    for (row, version, listener) in cases {
        // All three of 1.3 are on whatever is listed.
        assert_offers_exactly(listener, |other, at| at == version && (other == row || at == V1_3));
    }
}

#[test]
fn in_a_range_each_row_is_negotiated_at_its_versions_and_those_of_1_3_always() {
    let mut scene = Scene::new();
    let cases: Vec<_> =
        choosable().into_iter().map(|row| (row, scene.listen_for(&[row.name], V1_1, V1_3))).collect();
    let _gateway = scene.start();
    for (row, listener) in cases {
        assert_offers_exactly(listener, |other, at| other == row || at == V1_3);
    }
}

#[test]
fn without_a_list_there_are_six_suites_of_1_2_three_of_1_3_and_none_of_1_1() {
    let mut scene = Scene::new();
    let listeners = [
        scene.listen(json!({})),
        scene.listen(json!({"ciphers": []})),
        scene.listen(json!({"minversion": "1.1"})),
    ];
    let _gateway = scene.start();
    assert_eq!(rows(|row| row.is_default && row.is_at(V1_2)).len(), 6);
    assert_eq!(rows(|row| row.is_default && row.is_at(V1_3)).len(), 3);
    for listener in listeners {
        assert_offers_exactly(listener, |row, _| row.is_default);
    }
}

/// Of both backends: rustls serves the first lists, OpenSSL the others.
#[test]
fn the_order_of_the_list_decides_not_that_of_the_client() {
    let lists: [(Version, &[&str]); 4] = [
        (V1_2, &["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]),
        (V1_2, &["ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES256-GCM-SHA384"]),
        (V1_2, &["AES256-SHA", "ECDHE-RSA-AES128-GCM-SHA256", "AES128-GCM-SHA256"]),
        (V1_1, &["AES128-SHA", "ECDHE-RSA-AES256-SHA"]),
    ];
    let mut scene = Scene::new();
    let mut cases = Vec::new();
    for (version, list) in lists {
        let find = |name: &&str| TABLE.iter().find(|row| row.openssl == *name).expect("a row of the table");
        let listed: Vec<&Row> = list.iter().map(find).collect();
        let reversed: Vec<&Row> = listed.iter().rev().copied().collect();
        for (ours, theirs) in [(&listed, &reversed), (&reversed, &listed)] {
            let listener = scene.listen_for(&names(ours), V1_1, V1_2);
            cases.push((listener, version, ours[0], ours.clone(), theirs.clone()));
        }
    }
    let _gateway = scene.start();
    for (listener, version, first, ours, theirs) in cases {
        for offered in [ours, theirs] {
            let (negotiated, status) =
                negotiate(listener, RSA_HOST, version, &offered).expect("a common suite");
            assert_eq!((negotiated.suite.as_str(), status), (first.openssl, 200), "{:?}", names(&offered));
        }
    }
}

/// A client that offers 3DES and nothing else.
struct TripleDes(Script);

impl TripleDes {
    /// `None` where there is no tlslite-ng.
    fn new() -> Option<Self> {
        let python = python::with("tlslite")?;
        Some(Self(Script::start::<&str>(&python, "tlslite_client.py", &[])))
    }

    /// What was negotiated and the status of the answer, or `refused` with the alert.
    fn ask(&mut self, listener: SocketAddr, version: Version) -> String {
        self.0.say(&format!("{} {}", listener.port(), version.written()));
        self.0.line()
    }
}

#[test]
fn triple_des_is_negotiated_at_1_1_and_1_2_where_it_is_listed_and_nowhere_else() {
    let Some(mut client) = TripleDes::new() else { return };
    let mut scene = Scene::new();
    let others: Vec<&str> = names(&choosable()).into_iter().filter(|name| *name != TRIPLE_DES).collect();
    let all = names(&TABLE.iter().collect::<Vec<_>>());
    let listed = [
        (scene.listen_for(&[TRIPLE_DES], V1_1, V1_1), &[V1_1][..]),
        (scene.listen_for(&[TRIPLE_DES], V1_2, V1_2), &[V1_2]),
        (scene.listen_for(&[TRIPLE_DES], V1_1, V1_3), &[V1_1, V1_2]),
        (scene.listen_for(&all, V1_1, V1_3), &[V1_1, V1_2]),
        (scene.listen_for(&others, V1_1, V1_3), &[]),
        (scene.listen(json!({})), &[]),
    ];
    let _gateway = scene.start();
    for (listener, versions) in listed {
        for version in [V1_1, V1_2] {
            let outcome = client.ask(listener, version);
            if versions.contains(&version) {
                assert_eq!(outcome, format!("{TRIPLE_DES} {} 200", version.written()));
            } else {
                let alerts = ["refused: handshake_failure", "refused: protocol_version"];
                assert!(alerts.contains(&outcome.as_str()), "{listener} at {version:?}: {outcome}");
            }
        }
    }
}
