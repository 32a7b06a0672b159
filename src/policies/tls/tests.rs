//! Sentences of configuration reference 6.1 and 6.5.

use super::*;
use crate::{
    base::ResourceName,
    document::{Limits, SourceFile, parse},
    policies::catalog,
    policy::definition::PolicyBuild,
    tls::ciphers,
};

#[cfg(feature = "legacy-tls")]
use crate::tls::{Backend, Protocol};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../tls/fixtures/", $name))
    };
}

const EC: (&str, &str) = (fixture!("ec-sec1.key"), fixture!("ec.crt"));
const RSA: (&str, &str) = (fixture!("rsa-pkcs1.key"), fixture!("rsa.crt"));
const ED25519: (&str, &str) = (fixture!("ed25519.key"), fixture!("ed25519.crt"));

/// `certificate` with these PEM texts.
fn certificate((key, crt): (&str, &str)) -> String {
    let block = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!("certificate:\n  key: |\n{}  crt: |\n{}", block(key), block(crt))
}

fn build_text(config: &str) -> PolicyBuild {
    let parsed = parse(&SourceFile::new("tls.yaml", config), Limits::default());
    assert!(parsed.error.is_none(), "{:?}", parsed.error);
    let name = |name: &str| ResourceName::new("default", name);
    let services = PolicyServices::new(name("binding"), name("api"), "replica".into());
    catalog::find("tls").unwrap().build(&parsed.documents[0].root, "config", &services)
}

/// With the EC certificate and these lines.
fn build(lines: &str) -> PolicyBuild {
    build_text(&format!("{lines}\n{}", certificate(EC)))
}

/// The context, which must be there, and the text of the warnings.
fn built(lines: &str) -> (Arc<Inbound>, Vec<String>) {
    built_with(EC, lines)
}

fn built_with(pair: (&str, &str), lines: &str) -> (Arc<Inbound>, Vec<String>) {
    let made = build_text(&format!("{lines}\n{}", certificate(pair)));
    let Some(Built::Inbound(inbound)) = made.built else { panic!("{lines}: {:?}", made.problems) };
    (inbound, made.problems.into_iter().map(|problem| problem.message).collect())
}

/// What refuses it: `line:column message`, each with its help.
fn refused(made: PolicyBuild) -> Vec<String> {
    assert!(made.built.is_none());
    let errors = made.problems.into_iter().filter(|problem| problem.is_error());
    errors
        .map(|problem| {
            let place = problem.location;
            format!("{}:{} {} ({})", place.line, place.column, problem.message, problem.help.join("; "))
        })
        .collect()
}

fn suites(inbound: &Arc<Inbound>) -> Vec<String> {
    let context = inbound.context(None).unwrap();
    let suites = &context.rustls().unwrap().crypto_provider().cipher_suites;
    suites.iter().map(|suite| format!("{:?}", suite.suite())).collect()
}

const OF_1_3: [&str; 3] =
    ["TLS13_AES_128_GCM_SHA256", "TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256"];

#[test]
fn a_certificate_is_required_inbound() {
    let made = build_text("alpn: [http/1.1]\n");
    assert_eq!(refused(made), ["1:1 the field `certificate` is missing ()"]);
}

#[test]
fn keys_may_be_pkcs1_pkcs8_sec1_or_ed25519() {
    for pair in [RSA, (fixture!("rsa-pkcs8.key"), RSA.1), EC, ED25519] {
        let made = build_text(&certificate(pair));
        assert!(made.built.is_some() && made.problems.is_empty(), "{:?}", made.problems);
    }
}

#[test]
fn a_chain_of_several_certificates_is_presented_whole() {
    let chain = format!("{}{}", EC.1, RSA.1);
    let made = build_text(&certificate((EC.0, &chain)));
    assert!(made.built.is_some() && made.problems.is_empty(), "{:?}", made.problems);
    let wrong_way_round = format!("{}{}", RSA.1, EC.1);
    let errors = refused(build_text(&certificate((EC.0, &wrong_way_round))));
    assert!(errors[0].contains("the key does not belong to the certificate"), "{errors:?}");
}

#[test]
fn an_encrypted_key_a_foreign_key_and_no_key_are_told_apart() {
    let cases = [
        (fixture!("encrypted.key"), "the key is encrypted, and there is no parameter for its passphrase"),
        (fixture!("rsa-pkcs8.key"), "the key does not belong to the certificate"),
        ("none", "there is no private key in it"),
        (fixture!("ec-sec1-without-curve.key"), "the key does not name its curve"),
    ];
    for (key, message) in cases {
        let errors = refused(build_text(&certificate((key, EC.1))));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("3:5 ") && errors[0].contains(message), "{errors:?}");
    }
    let errors = refused(build_text(&certificate((EC.0, "none"))));
    assert!(errors[0].contains("there is no certificate in it"), "{errors:?}");
}

#[test]
fn rsa_keys_below_2048_bits_are_refused() {
    let errors = refused(build_text(&certificate((fixture!("rsa-1024.key"), fixture!("rsa-1024.crt")))));
    assert!(errors[0].contains("the certificate has an RSA key of 1024 bits"), "{errors:?}");
}

#[test]
fn a_certificate_outside_its_validity_is_loaded_with_a_warning() {
    let parsed = parse(&SourceFile::new("tls.yaml", certificate(EC).as_str()), Limits::default());
    let config: Config = crate::document::deserialize(&parsed.documents[0].root, "config").value.unwrap();
    for (now, warning) in
        [("2020-01-01T00:00:00Z", "is not valid before 20"), ("2200-01-01T00:00:00Z", "expired at 2126-")]
    {
        let mut findings = Findings::default();
        assert!(read(&config, now.parse().unwrap(), &mut findings).is_some());
        assert!(findings.errors.is_empty());
        assert!(findings.warnings[0].message.contains(warning), "{:?}", findings.warnings);
    }
}

#[test]
fn require_client_certificate_needs_trusted_ca() {
    let errors = refused(build("requireClientCertificate: true"));
    assert!(errors[0].starts_with("1:27 `requireClientCertificate` needs `trustedCA`"), "{errors:?}");
    let authority = EC.1.lines().map(|line| format!("  {line}\n")).collect::<String>();
    for required in [true, false] {
        let (inbound, warnings) =
            built(&format!("requireClientCertificate: {required}\ntrustedCA: |\n{authority}"));
        assert!(warnings.is_empty(), "{warnings:?}");
        assert!(inbound.context(None).is_ok());
    }
    assert!(refused(build("trustedCA: none"))[0].contains("there is no certificate in it"));
}

#[test]
fn alpn_offers_what_is_listed_in_the_order_written() {
    let offered = |lines: &str| {
        let (inbound, warnings) = built(lines);
        assert!(warnings.is_empty(), "{warnings:?}");
        inbound.context(None).unwrap().rustls().unwrap().alpn_protocols.clone()
    };
    let (h2, http1) = (b"h2".to_vec(), b"http/1.1".to_vec());
    assert_eq!(offered(""), [h2.clone(), http1.clone()]);
    assert_eq!(offered("alpn: []"), [h2.clone(), http1.clone()]);
    assert_eq!(offered("alpn: [http/1.1]"), std::slice::from_ref(&http1));
    assert_eq!(offered("alpn: [http/1.1, h2]"), [http1, h2]);
    let errors = refused(build("alpn: [http/1.1, htp/1.1]"));
    assert!(errors[0].starts_with("1:18 unknown protocol `htp/1.1` (did you mean `http/1.1`?"), "{errors:?}");
}

#[test]
fn versions_are_read_with_and_without_quotes_and_in_both_spellings() {
    let (default, _) = built("");
    for lines in ["minversion: 1.2\nmaxversion: 1.3", "minVersion: \"1.2\"\nmaxVersion: \"1.3\""] {
        assert_eq!(built(lines).0.digest, default.digest, "{lines}");
    }
    assert_eq!(suites(&built("minversion: 1.3").0), OF_1_3);
    assert_eq!(suites(&built("maxversion: 1.2").0).len(), 6);
}

#[test]
fn versions_that_do_not_exist_or_leave_none_are_refused() {
    for lines in ["minversion: 1.0", "maxversion: 1.4"] {
        assert!(refused(build(lines))[0].contains("allowed: `1.1`, `1.2`, `1.3`"), "{lines}");
    }
    let errors = refused(build("minversion: 1.3\nmaxversion: 1.2"));
    assert!(errors[0].starts_with("1:13 `minversion` 1.3 is above `maxversion` 1.2"), "{errors:?}");
    let errors = refused(build("maxversion: 1.1"));
    assert!(errors[0].contains("`minversion` 1.2 (its default) is above `maxversion` 1.1"), "{errors:?}");
}

#[test]
fn listed_suites_replace_the_defaults_of_1_2_and_never_those_of_1_3() {
    let (inbound, warnings) =
        built("ciphers: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]");
    assert!(warnings.is_empty());
    let listed = ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"];
    assert_eq!(suites(&inbound), [&OF_1_3[..], &listed[..]].concat());
    // Rule 4: names of 1.3 alone leave the defaults of 1.2.
    assert_eq!(suites(&built("ciphers: [TLS_AES_256_GCM_SHA384]").0), suites(&built("ciphers: []").0));
}

fn legacy() -> Vec<&'static str> {
    let legacy = ciphers::TABLE.iter().filter(|cipher| matches!(cipher.served, ciphers::Served::Legacy));
    legacy.map(|cipher| cipher.name).collect()
}

#[cfg(feature = "legacy-tls")]
#[test]
fn a_suite_that_rustls_lacks_is_served_by_openssl_with_a_warning_within_the_versions() {
    assert_eq!(legacy().len(), 9);
    for name in legacy() {
        let pair = if name.contains("ECDSA") { EC } else { RSA };
        let (inbound, warnings) = built_with(pair, &format!("ciphers: [{name}]"));
        assert_eq!(inbound.backend(), Backend::OpenSsl);
        assert!(inbound.context(None).is_ok());
        assert_eq!(warnings, [format!("`{name}` is weak")]);
        let (inbound, warnings) = built(&format!("minversion: 1.3\nciphers: [{name}]"));
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(suites(&inbound), OF_1_3);
    }
}

#[cfg(not(feature = "legacy-tls"))]
#[test]
fn without_legacy_tls_a_suite_that_rustls_lacks_is_refused_with_the_reason() {
    assert_eq!(legacy().len(), 9);
    for name in legacy() {
        let errors = refused(build(&format!("ciphers: [{name}]")));
        assert!(errors[0].contains("it is without `legacy-tls`"), "{errors:?}");
        assert_eq!(suites(&built(&format!("minversion: 1.3\nciphers: [{name}]")).0), OF_1_3);
    }
}

#[test]
fn suites_with_pre_shared_keys_are_accepted_and_never_negotiated() {
    for cipher in ciphers::TABLE.iter().filter(|cipher| cipher.name.contains("PSK")) {
        let (inbound, warnings) = built(&format!("ciphers: [{}]", cipher.name));
        assert_eq!(warnings, [format!("`{}` is never negotiated", cipher.name)]);
        assert_eq!(suites(&inbound), OF_1_3);
        // Decision 26: nothing at all can be negotiated.
        let errors = refused(build(&format!("maxversion: 1.2\nciphers: [{}]", cipher.name)));
        assert!(errors[0].contains("no suite can be negotiated within these versions"), "{errors:?}");
    }
}

#[test]
fn tls_1_1_without_a_suite_of_it_is_allowed_and_never_negotiated() {
    let (inbound, warnings) = built("minversion: 1.1");
    assert_eq!(warnings, ["TLS 1.1 is never negotiated: no suite of it is listed"]);
    assert_eq!(suites(&inbound), suites(&built("").0));
    assert!(refused(build("minversion: 1.1\nmaxversion: 1.1"))[0].contains("no suite can be negotiated"));
}

#[cfg(feature = "legacy-tls")]
#[test]
fn tls_1_1_is_allowed_with_a_suite_of_it_and_warned_of() {
    let (inbound, warnings) = built_with(RSA, "minversion: 1.1\nciphers: [TLS_RSA_WITH_AES_128_CBC_SHA]");
    assert_eq!(
        warnings,
        ["`TLS_RSA_WITH_AES_128_CBC_SHA` is weak", "TLS 1.1 is weak: it is deprecated (RFC 8996)"]
    );
    assert_eq!(inbound.backend(), Backend::OpenSsl);
    // A range without HTTP/2 offers none.
    let old = "minversion: 1.1\nmaxversion: 1.1\nciphers: [TLS_RSA_WITH_AES_128_CBC_SHA]";
    assert_eq!(built_with(RSA, old).0.negotiable.alpn, [Protocol::Http11]);
    assert!(refused(build(&format!("{old}\nalpn: [h2]")))[0].contains("`h2` needs TLS 1.2"));
}

#[test]
fn suites_of_which_none_is_for_the_key_are_found_and_named_with_it() {
    let lines = |suite: &str, max: &str| format!("maxversion: {max}\nciphers: [{suite}]");
    for (pair, suite, key) in [
        (EC, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDSA"),
        (RSA, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "RSA"),
        (ED25519, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "Ed25519"),
    ] {
        let said = format!("the key of `certificate` is {key}, and these are not for it: `{suite}`");
        let (_, warnings) = built_with(pair, &lines(suite, "1.3"));
        assert_eq!(warnings, [format!("only TLS 1.3 can be negotiated: {said}")]);
        let errors = refused(build_text(&format!("{}\n{}", lines(suite, "1.2"), certificate(pair))));
        assert!(errors[0].starts_with(&format!("2:10 no suite can be negotiated: {said}")), "{errors:?}");
        let both = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
        assert!(built_with(pair, &lines(both, "1.2")).1.is_empty());
    }
    let other = certificate(RSA).lines().map(|line| format!("    {line}\n")).collect::<String>();
    let more = format!("certificates:\n  - hosts: [b.test]\n{other}");
    let suite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    // The other certificate can be presented.
    let (_, warnings) = built(&format!("{}\n{more}", lines(suite, "1.2")));
    assert!(warnings[0].contains("the key of `certificates[0].certificate` is RSA"), "{warnings:?}");
}

#[cfg(feature = "legacy-tls")]
#[test]
fn an_ed25519_key_is_for_no_suite_of_tls_1_1() {
    let old = "minversion: 1.1\nmaxversion: 1.1\nciphers: [TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA]";
    let errors = refused(build_text(&format!("{old}\n{}", certificate(ED25519))));
    assert!(errors[0].contains("the key of `certificate` is Ed25519"), "TLS 1.1 has none: {errors:?}");
    assert!(errors[0].contains("present a certificate with another: ECDSA"), "{errors:?}");
}

#[test]
fn a_port_may_have_more_certificates_for_other_names() {
    let more = |hosts: &str| {
        let other = certificate(RSA).lines().map(|line| format!("    {line}\n")).collect::<String>();
        format!("certificates:\n  -{hosts}\n{}", &other)
    };
    let (inbound, warnings) = built(&more(" hosts: [b.example.com, \"*.Example.org\"]"));
    assert!(warnings.is_empty(), "{warnings:?}");
    let choice = &inbound.certificates;
    for (name, index) in [
        (None, 0),
        (Some("a.example.com"), 0),
        (Some("B.example.com"), 1),
        (Some("b.example.com."), 1),
        (Some("x.example.org"), 1),
        (Some("example.org"), 0),
        (Some("x.y.example.org"), 0),
    ] {
        assert_eq!(choice.index(name), index, "{name:?}");
    }
    for host in ["*", "127.0.0.1"] {
        let errors = refused(build(&more(&format!(" hosts: [\"{host}\"]"))));
        assert!(errors[0].contains(&format!("`{host}` is not a host name")), "{errors:?}");
    }
}

#[test]
fn an_unknown_suite_is_an_error_with_did_you_mean() {
    let errors = refused(build("ciphers: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA385]"));
    assert_eq!(
        errors,
        ["1:11 unknown cipher suite `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA385` \
          (did you mean `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384`?)"]
    );
    for name in ["TLS_RSA_WITH_NULL_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA256"] {
        assert!(refused(build(&format!("ciphers: [{name}]")))[0].contains("unknown cipher suite"));
    }
}

#[test]
fn a_key_that_was_pasted_elsewhere_is_not_printed() {
    let block = |name: &str| {
        let lines = EC.0.lines().map(|line| format!("    {line}\n")).collect::<String>();
        format!("{name}:\n  - |\n{lines}")
    };
    for name in ["alpn", "ciphers"] {
        let errors = refused(build(&block(name)));
        let secret = EC.0.lines().nth(1).unwrap();
        assert!(errors[0].contains("BEGIN EC PRIVATE KEY") && !errors[0].contains(secret), "{errors:?}");
    }
}

#[test]
fn sessions_go_on_in_the_next_context_unless_trust_changed() {
    let (plain, _) = built("");
    let (other_suites, _) = built("ciphers: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]");
    let authority = EC.1.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let (trusting, _) = built(&format!("trustedCA: |\n{authority}"));
    let first = plain.context(None).unwrap();
    let second = other_suites.context(Some(&first)).unwrap();
    let third = trusting.context(Some(&second)).unwrap();
    assert!(Arc::ptr_eq(&first.rustls().unwrap().ticketer, &second.rustls().unwrap().ticketer));
    assert!(!Arc::ptr_eq(&second.rustls().unwrap().ticketer, &third.rustls().unwrap().ticketer));
    assert!(!Arc::ptr_eq(
        &second.rustls().unwrap().session_storage,
        &third.rustls().unwrap().session_storage
    ));
}

#[test]
fn the_key_is_never_shown() {
    let (inbound, _) = built("");
    let secret = EC.0.lines().nth(1).unwrap();
    assert!(!format!("{inbound:?}").contains(secret));
    let wrong = certificate((fixture!("rsa-pkcs8.key"), EC.1)).replace("key:", "kee:");
    let problems = format!("{:?}", build_text(&wrong).problems);
    assert!(!problems.contains(fixture!("rsa-pkcs8.key").lines().nth(1).unwrap()), "{problems}");
}
