//! The rules for `ciphers` (configuration reference 6.5, rules 1 to 6), and what becomes of listed suites with pre-shared
//! keys.

use std::process::{Command, Output};

use cluster_tests::{
    binary,
    config::{api, binding, documents},
};
use serde_json::{Value, json};

use crate::tls_table::{
    Proof, Row, Scene, TABLE,
    Version::{self, V1_1, V1_2, V1_3},
    assert_offers_exactly, assert_refused, names, rows,
};

const RSA_AES_128_GCM: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
const RSA_AES_128_CBC: &str = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";

fn named(row: &Row, listed: &[&str]) -> bool {
    listed.contains(&row.name)
}

#[test]
fn rule_1_those_of_1_3_are_all_on_inside_the_range_and_off_outside_whatever_is_listed() {
    let mut scene = Scene::new();
    let one = "TLS_AES_256_GCM_SHA384";
    let lists: [&[&str]; 3] = [&[one, RSA_AES_128_GCM], &[RSA_AES_128_GCM], &[one, RSA_AES_128_CBC]];
    let cases: Vec<_> = lists
        .iter()
        .map(|list| (*list, scene.listen_for(list, V1_2, V1_3), scene.listen_for(list, V1_2, V1_2)))
        .collect();
    let alone = scene.listen_for(&[one, RSA_AES_128_GCM], V1_3, V1_3);
    let _gateway = scene.start();
    for (list, inside, outside) in cases {
        assert_offers_exactly(inside, |row, at| at == V1_3 || at == V1_2 && named(row, list));
        assert_offers_exactly(outside, |row, at| at == V1_2 && named(row, list));
    }
    assert_offers_exactly(alone, |_, at| at == V1_3);
}

#[test]
fn rule_2_a_list_replaces_the_defaults_of_1_2_completely() {
    let mut scene = Scene::new();
    let lists: [&[&str]; 4] = [
        &[RSA_AES_128_GCM],
        &["TLS_RSA_WITH_AES_256_GCM_SHA384"],
        &["TLS_RSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
        // Twice is once.
        &[RSA_AES_128_GCM, RSA_AES_128_GCM, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"],
    ];
    let cases: Vec<_> = lists.iter().map(|list| (*list, scene.listen(json!({"ciphers": list})))).collect();
    let _gateway = scene.start();
    for (list, listener) in cases {
        assert_offers_exactly(listener, |row, at| at == V1_3 || at == V1_2 && named(row, list));
    }
}

#[test]
fn rule_3_suites_of_1_1_must_be_listed_and_replace_the_defaults_of_1_2_too() {
    let mut scene = Scene::new();
    let defaults = names(&rows(|row| row.is_default && row.is_at(V1_2)));
    let both: Vec<&str> = [RSA_AES_128_CBC].into_iter().chain(defaults).collect();
    let of_1_1 = scene.listen_for(&[RSA_AES_128_CBC], V1_1, V1_3);
    let of_both = scene.listen_for(&both, V1_1, V1_3);
    let unlisted = scene.listen(json!({"minversion": "1.1", "maxversion": "1.2"}));
    let _gateway = scene.start();
    assert_offers_exactly(of_1_1, |row, at| at == V1_3 || row.name == RSA_AES_128_CBC);
    assert_offers_exactly(of_both, |row, at| at == V1_3 || named(row, &both));
    assert_offers_exactly(unlisted, |row, at| at == V1_2 && row.is_default);
}

#[test]
fn rule_4_a_list_of_names_of_1_3_leaves_the_defaults_of_1_2() {
    let mut scene = Scene::new();
    let all = names(&rows(|row| row.is_at(V1_3)));
    let listeners = [
        scene.listen(json!({"ciphers": all})),
        scene.listen(json!({"ciphers": [all[2]]})),
        scene.listen_for(&all, V1_1, V1_3),
    ];
    let only_1_2 = scene.listen_for(&all, V1_2, V1_2);
    let _gateway = scene.start();
    for listener in listeners {
        assert_offers_exactly(listener, |row, _| row.is_default);
    }
    assert_offers_exactly(only_1_2, |row, at| at == V1_2 && row.is_default);
}

/// `portcullis validate` on these resources.
fn validate(resources: &[Value]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("api.yaml");
    std::fs::write(&file, documents(resources)).expect("a writable folder");
    Command::new(binary::portcullis()).arg("validate").arg(file).output().expect("the binary starts")
}

/// Its exit code and what it says, of a list for `tls` and for `tls-outbound`.
fn verdicts(listed: &[&str], min: Version, max: Version) -> [(Option<i32>, String); 2] {
    let mut scene = Scene::new();
    scene.listen_for(listed, min, max);
    let config = json!({
        "skipValidation": true, "ciphers": listed, "minversion": min.written(), "maxversion": max.written(),
    });
    let towards = [
        api("api", "http://127.0.0.1:8080", "https://upstream.test"),
        binding("up-tls", "Service", "api-up", "tls-outbound", json!({"config": config})),
    ];
    [validate(scene.resources()), validate(&towards)].map(|output| {
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    })
}

#[test]
fn rule_5_an_unknown_name_is_an_error_of_the_configuration() {
    let unknown = [
        "TLS_RSA_WITH_NULL_SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA256",
        "TLS_RSA_WITH_RC4_128_SHA",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "tls_ecdhe_rsa_with_aes_128_gcm_sha256",
        "",
    ];
    for name in unknown {
        for (code, said) in verdicts(&[RSA_AES_128_GCM, name], V1_1, V1_3) {
            assert_eq!(code, Some(65), "{name}: {said}");
            assert!(said.contains(&format!("unknown cipher suite `{name}`")), "{said}");
            assert!(said.contains("spec.config.ciphers[1]"), "{said}");
        }
    }
}

#[test]
fn rule_6_a_range_from_1_1_without_a_suite_of_it_is_no_error_and_1_1_is_not_negotiated() {
    let mut scene = Scene::new();
    let lists: [&[&str]; 2] = [&[RSA_AES_128_GCM], &["TLS_RSA_WITH_AES_128_GCM_SHA256"]];
    let cases = lists.map(|list| (list, scene.listen_for(list, V1_1, V1_3)));
    let _gateway = scene.start();
    for (list, listener) in cases {
        assert_offers_exactly(listener, |row, at| at == V1_3 || at == V1_2 && named(row, list));
        for (code, said) in verdicts(list, V1_1, V1_3) {
            assert_eq!(code, Some(0), "{said}");
            assert!(said.contains("TLS 1.1 is never negotiated"), "{said}");
        }
    }
}

#[test]
fn suites_with_pre_shared_keys_are_accepted_with_a_warning_and_never_negotiated() {
    let keyed = rows(|row| row.proof == Proof::PreSharedKey);
    assert_eq!(keyed.len(), 5);
    let mut scene = Scene::new();
    let alone: Vec<_> = keyed.iter().map(|row| (*row, scene.listen_for(&[row.name], V1_1, V1_3))).collect();
    let beside: Vec<&str> = names(&keyed).into_iter().chain([RSA_AES_128_CBC]).collect();
    let beside = scene.listen_for(&beside, V1_1, V1_3);
    let _gateway = scene.start();
    for (row, listener) in alone {
        for version in row.versions {
            assert_refused(listener, "rsa.test", *version, &[row]);
        }
        assert_offers_exactly(listener, |_, at| at == V1_3);
    }
    assert_offers_exactly(beside, |row, at| at == V1_3 || row.name == RSA_AES_128_CBC);
    for (code, said) in verdicts(&names(&keyed), V1_1, V1_3) {
        assert_eq!(code, Some(0), "{said}");
        for row in &keyed {
            assert!(said.contains(&format!("`{}` is never negotiated", row.name)), "{said}");
        }
    }
    // Where nothing else is left, nothing can be negotiated at all.
    for (code, said) in verdicts(&names(&keyed), V1_1, V1_2) {
        assert_eq!(code, Some(65), "{said}");
    }
}

#[test]
fn every_weak_suite_is_warned_about_and_no_default_is() {
    let all = names(&TABLE.iter().collect::<Vec<_>>());
    for (code, said) in verdicts(&all, V1_1, V1_3) {
        assert_eq!(code, Some(0), "{said}");
        for row in &TABLE {
            assert_eq!(said.contains(&format!("`{}`", row.name)), !row.is_default, "{}: {said}", row.name);
        }
    }
}
