//! The table of cipher suites (configuration reference 6.5) as a scanner sees it: what sslyze reports of a listener with the
//! whole table, and of a default one. It tries all suites that it knows, those outside the table too.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Command};

use cluster_tests::python;
use serde_json::{Value, json};

use crate::tls_table::{
    ECDSA_HOST, Proof, RSA_HOST, Row, Scene, TABLE,
    Version::{self, V1_1, V1_3},
    names, rows,
};

/// Its reports on servers (`HOST:PORT{ADDRESS}`), in this order.
fn scan(python: &Path, servers: &[String]) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("report.json");
    let output = Command::new(python)
        .args(["-m", "sslyze", "--quiet", "--mozilla_config", "disable"])
        .args(["--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--json_out"])
        .arg(&file)
        .args(servers)
        .output()
        .expect("python was found");
    let said = std::fs::read_to_string(&file).unwrap_or_default();
    let report: Value = serde_json::from_str(&said).unwrap_or_default();
    let results = report["server_scan_results"].as_array().cloned().unwrap_or_default();
    let find = |server: &String| {
        let is_it = |result: &&Value| {
            let place = &result["server_location"];
            server.starts_with(&format!("{}:{}{{", place["hostname"].as_str().unwrap_or(""), place["port"]))
        };
        results.iter().find(is_it).cloned()
    };
    let found: Option<Vec<Value>> = servers.iter().map(find).collect();
    found.unwrap_or_else(|| panic!("{servers:?} are not in {said}; {output:?}"))
}

/// The suites that a report calls accepted at a version of TLS or SSL.
fn accepted(report: &Value, version: &str) -> BTreeSet<String> {
    let command = &report["scan_result"][format!("{version}_cipher_suites")];
    assert_eq!(command["status"], "COMPLETED", "{version}: {command}");
    assert!(command["result"]["rejected_cipher_suites"].is_array(), "{version}: {command}");
    let accepted = command["result"]["accepted_cipher_suites"].as_array().cloned().unwrap_or_default();
    accepted.iter().filter_map(|suite| suite["cipher_suite"]["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn what_sslyze_reports_of_the_whole_table_and_of_the_default_agrees_with_the_table() {
    let Some(python) = python::with("sslyze") else { return };
    let mut scene = Scene::new();
    let whole = scene.listen_for(&names(&TABLE.iter().collect::<Vec<_>>()), V1_1, V1_3);
    let default = scene.listen(json!({}));
    let _gateway = scene.start();
    let at = |host: &str, listener: SocketAddr| format!("{host}:{}{{127.0.0.1}}", listener.port());
    type Expected = fn(&Row) -> bool;
    let cases: [(&str, SocketAddr, Expected); 4] = [
        (RSA_HOST, whole, |row| matches!(row.proof, Proof::Any | Proof::Rsa)),
        (ECDSA_HOST, whole, |row| matches!(row.proof, Proof::Any | Proof::Ecdsa)),
        (RSA_HOST, default, |row| row.is_default && row.proof != Proof::Ecdsa),
        (ECDSA_HOST, default, |row| row.is_default && row.proof != Proof::Rsa),
    ];
    let servers: Vec<String> = cases.iter().map(|(host, listener, _)| at(host, *listener)).collect();
    for ((server, report), (_, _, expected)) in servers.iter().zip(scan(&python, &servers)).zip(cases) {
        for version in ["ssl_2_0", "ssl_3_0", "tls_1_0"] {
            assert_eq!(accepted(&report, version), BTreeSet::new(), "{server}, {version}");
        }
        for (version, name) in Version::ALL.into_iter().zip(["tls_1_1", "tls_1_2", "tls_1_3"]) {
            let table = names(&rows(|row| row.is_at(version) && expected(row)));
            let table: BTreeSet<String> = table.into_iter().map(str::to_owned).collect();
            assert_eq!(accepted(&report, name), table, "{server}, {name}");
        }
    }
}
