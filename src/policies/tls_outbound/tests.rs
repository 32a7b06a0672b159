//! Sentences of configuration reference 6.1 and 6.3 about `tls-outbound`.

use super::*;
use crate::{
    base::ResourceName,
    document::{Limits, SourceFile, parse},
    policies::catalog,
    policy::definition::PolicyBuild,
    tls::{Backend, Outbound, Protocol, Versions, trust::ServerTrust},
};

const EC_CRT: &str = include_str!("../../tls/fixtures/ec.crt");
const EC_KEY: &str = include_str!("../../tls/fixtures/ec-sec1.key");

fn block(indent: &str, text: &str) -> String {
    text.lines().map(|line| format!("{indent}{line}\n")).collect()
}

fn trusted() -> String {
    format!("trustedCA: |\n{}", block("  ", EC_CRT))
}

fn build(config: &str) -> PolicyBuild {
    let parsed = parse(&SourceFile::new("tls.yaml", config), Limits::default());
    assert!(parsed.error.is_none(), "{:?}", parsed.error);
    let name = |name: &str| ResourceName::new("default", name);
    let services = PolicyServices::new(name("binding"), name("service"), "replica".into());
    catalog::find("tls-outbound").unwrap().build(&parsed.documents[0].root, "config", &services)
}

fn built(config: &str) -> (Arc<Outbound>, Vec<String>) {
    let made = build(config);
    let Some(Built::Upstream(UpstreamSettings { tls: Some(outbound), .. })) = made.built else {
        panic!("{config}: {:?}", made.problems)
    };
    (outbound, made.problems.into_iter().map(|problem| problem.message).collect())
}

fn refused(config: &str) -> String {
    let made = build(config);
    assert!(made.built.is_none(), "{config}");
    made.problems.iter().find(|problem| problem.is_error()).unwrap().message.clone()
}

#[test]
fn defaults_are_both_protocols_and_1_2_to_1_3_row_k10() {
    let (outbound, warnings) = built(&trusted());
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(outbound.negotiable.versions, Versions::DEFAULT);
    assert_eq!(outbound.negotiable.alpn, [Protocol::H2, Protocol::Http11]);
    assert_eq!(outbound.negotiable.suites.iter().count(), 9);
    assert_eq!(outbound.backend(), Backend::Rustls);
    assert!(outbound.identity.is_none());
}

#[test]
fn without_trusted_ca_the_system_is_trusted_with_a_warning_and_skipping_validation_is_warned_of() {
    let (_, warnings) = built("alpn: [http/1.1]");
    assert_eq!(warnings, ["`trustedCA` is missing: the authorities of the operating system are trusted"]);
    let (outbound, warnings) = built("skipValidation: true");
    assert_eq!(warnings, ["the upstream's certificate is not checked"]);
    assert!(matches!(outbound.trust, ServerTrust::Anyone));
    // Both together, as a sample of the vendor has it.
    let (outbound, _) = built(&format!("skipValidation: true\n{}", trusted()));
    assert!(matches!(outbound.trust, ServerTrust::Anyone));
    assert_eq!(refused("skipValidation: true\ntrustedCA: none"), "there is no certificate in it");
}

#[test]
fn a_certificate_is_presented_also_where_validation_is_skipped() {
    let certificate =
        format!("certificate:\n  key: |\n{}  crt: |\n{}", block("    ", EC_KEY), block("    ", EC_CRT));
    let (outbound, _) = built(&format!("skipValidation: true\n{certificate}"));
    assert!(outbound.identity.is_some());
    let context = outbound.context().unwrap();
    assert!(context.rustls().unwrap().client_auth_cert_resolver.has_certs());
    assert_eq!(refused("certificate: {key: none, crt: none}"), "there is no certificate in it");
}

#[test]
fn contexts_that_differ_in_any_parameter_have_other_digests_and_equal_ones_the_same() {
    let different = [
        trusted(),
        format!("minversion: 1.3\n{}", trusted()),
        format!("alpn: [http/1.1]\n{}", trusted()),
        format!("alpn: [http/1.1, h2]\n{}", trusted()),
        format!("ciphers: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n{}", trusted()),
        "skipValidation: true".to_owned(),
        String::from("alpn: [h2, http/1.1]"),
    ];
    let digests: std::collections::HashSet<_> =
        different.iter().map(|config| built(config).0.digest.to_string()).collect();
    assert_eq!(digests.len(), different.len());
    let spelt_out = format!("minVersion: \"1.2\"\nmaxversion: 1.3\nalpn: [h2, http/1.1]\n{}", trusted());
    assert_eq!(built(&spelt_out).0.digest, built(&trusted()).0.digest);
}

#[cfg(feature = "legacy-tls")]
#[test]
fn a_weak_suite_is_asked_for_by_openssl() {
    let (outbound, warnings) =
        built(&format!("minversion: 1.1\nciphers: [TLS_RSA_WITH_3DES_EDE_CBC_SHA]\n{}", trusted()));
    assert_eq!(outbound.backend(), Backend::OpenSsl);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(outbound.context().is_ok());
}
