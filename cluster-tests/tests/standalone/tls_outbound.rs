//! Whom the gateway believes to be the upstream, and what it proves of itself (configuration reference 6.1, connected mode
//! reference 21.11, decisions 27 and 28): all of it with either backend.

use std::process::Command;

use cluster_tests::binary::validate;
use cluster_tests::config::{api_with, binding, service};
use cluster_tests::gateway::Gateway;
use cluster_tests::tls::{Authority, Front, Life, Pair, Shop, Wanted, backends, certificate, text, with};
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

const REFUSED: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: connection failure";

/// The answer is the one for any failure, and has no detail of a certificate (row K13); the line of the log has the code.
fn assert_refused(gateway: &Gateway, shop: &Shop, name: &str, code: &str) -> String {
    let response = shop.get(name);
    assert_eq!((response.status, response.text().as_str()), (503, REFUSED), "{name}: {}", gateway.log());
    let fields = format!("{:?}", response.head).to_ascii_lowercase();
    for detail in ["tls", "certificate", "issuer", "test ca", ".test"] {
        assert!(!fields.contains(detail), "{fields}");
    }
    gateway.says(&format!("shop-{name}: {code}"))
}

fn assert_served(gateway: &Gateway, shop: &Shop, name: &str) {
    let response = shop.get(name);
    assert_eq!(response.status, 200, "{name}: {}\n{}", response.text(), gateway.log());
}

fn at(host: &str, front: &Front) -> String {
    format!("https://{host}:{}", front.port())
}

/// A front before an upstream, which presents this certificate.
fn presenting(pair: &Pair, upstream: &Upstream) -> Front {
    Front::start(pair, upstream.address(), json!({}))
}

fn named<'a>(subject: &'a str, names: &'a str) -> Wanted<'a> {
    Wanted { subject, names, ..Wanted::default() }
}

#[test]
fn two_upstreams_of_two_authorities_have_a_context_each_and_the_wrong_authority_is_not_believed_row_k4() {
    let (upstream, mut shop) = (Upstream::echo("up"), Shop::new());
    let authorities = [Authority::named("first CA"), Authority::named("second CA")];
    let fronts = [
        authorities[0].front("first.test", upstream.address()),
        authorities[1].front("second.test", upstream.address()),
    ];
    for (backend, base) in backends() {
        let context = |authority: &Authority| with(&base, json!({"trustedCA": authority.pem()}));
        shop.serve(&format!("{backend}-first"), &at("first.test", &fronts[0]), &context(&authorities[0]));
        shop.serve(&format!("{backend}-second"), &at("second.test", &fronts[1]), &context(&authorities[1]));
        shop.serve(&format!("{backend}-wrong"), &at("first.test", &fronts[0]), &context(&authorities[1]));
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        assert_served(&gateway, &shop, &format!("{backend}-first"));
        assert_served(&gateway, &shop, &format!("{backend}-second"));
        assert_refused(&gateway, &shop, &format!("{backend}-wrong"), "UPSTREAM_TLS_ISSUER");
    }
    assert_eq!(upstream.received().len(), 4);
}

#[test]
fn only_alternative_names_count_and_never_the_common_name_row_k6() {
    let (upstream, authority, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    const HOST: &str = "right.shop.test";
    // The common name is the very host: with another one the test would prove nothing.
    let cases = [
        ("cn-only", "/CN=right.shop.test", "", false),
        ("other-name", "/CN=right.shop.test", "DNS:other.test", false),
        ("address", "/CN=right.shop.test", "IP:127.0.0.1", false),
        ("partly", "/CN=right.shop.test", "DNS:right.shop.test.evil,DNS:shop.test", false),
        ("two-levels", "/CN=right.shop.test", "DNS:*.test,DNS:*.right.shop.test", false),
        ("right", "/CN=unused", "DNS:other.test,DNS:right.shop.test", true),
        ("wildcard", "/CN=unused", "DNS:*.shop.test", true),
    ];
    let mut fronts = Vec::new();
    for (name, subject, names, _) in &cases {
        let front = presenting(&authority.issue_as(named(subject, names)), &upstream);
        for (backend, base) in backends() {
            let context = with(&base, json!({"trustedCA": authority.pem()}));
            shop.serve(&format!("{backend}-{name}"), &at(HOST, &front), &context);
        }
        fronts.push(front);
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        for (name, _, _, accepted) in &cases {
            let name = format!("{backend}-{name}");
            match accepted {
                true => assert_served(&gateway, &shop, &name),
                false => drop(assert_refused(&gateway, &shop, &name, "UPSTREAM_TLS_SAN")),
            }
        }
    }
    assert_eq!(upstream.received().len(), 4);
}

#[test]
fn a_service_by_address_is_known_by_its_address_and_is_sent_no_name() {
    let (upstream, authority, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    let right = presenting(&authority.issue_as(named("/CN=unused", "IP:127.0.0.1")), &upstream);
    let as_name = presenting(&authority.issue_as(named("/CN=127.0.0.1", "DNS:127.0.0.1")), &upstream);
    let other = presenting(&authority.issue_as(named("/CN=127.0.0.1", "IP:127.0.0.2")), &upstream);
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem()}));
        for (name, front) in [("right", &right), ("as-name", &as_name), ("other", &other)] {
            shop.serve(&format!("{backend}-{name}"), &at("127.0.0.1", front), &context);
        }
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        right.forget();
        assert_served(&gateway, &shop, &format!("{backend}-right"));
        assert_eq!(right.last()["sni"], Value::Null, "{backend}");
        assert_refused(&gateway, &shop, &format!("{backend}-as-name"), "UPSTREAM_TLS_SAN");
        assert_refused(&gateway, &shop, &format!("{backend}-other"), "UPSTREAM_TLS_SAN");
    }
}

#[test]
fn the_name_that_is_sent_and_checked_is_that_of_the_service_whatever_host_the_request_has() {
    let (upstream, authority, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    let front = authority.front("right.test", upstream.address());
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem()}));
        shop.serve(&format!("{backend}-right"), &at("right.test", &front), &context);
        shop.serve(&format!("{backend}-alias"), &at("alias.test", &front), &context);
    }
    // The clients' own `Host`, `gateway.test`, is sent on.
    let gateway = shop.plan().environment("FLEX_REWRITE_HOST_HEADER", "false").start();
    for (backend, _) in backends() {
        front.forget();
        let response = shop.get(&format!("{backend}-right"));
        assert!(response.text().contains(r#"["host","gateway.test"]"#), "{}", response.text());
        assert_eq!(front.last()["sni"], "right.test", "{backend}");
        assert_refused(&gateway, &shop, &format!("{backend}-alias"), "UPSTREAM_TLS_SAN");
    }
}

#[test]
fn a_missing_intermediate_is_named_and_never_fetched_row_k7() {
    let (upstream, root, mut shop) = (Upstream::echo("up"), Authority::named("root CA"), Shop::new());
    let intermediate = root.intermediate("middle CA");
    let leaf = intermediate.issue("right.test");
    let (bare, whole) = (presenting(&leaf, &upstream), presenting(&intermediate.chain(&leaf), &upstream));
    for (backend, base) in backends() {
        let context = |trusted: String| with(&base, json!({"trustedCA": trusted}));
        shop.serve(&format!("{backend}-bare"), &at("right.test", &bare), &context(root.pem()));
        shop.serve(&format!("{backend}-whole"), &at("right.test", &whole), &context(root.pem()));
        let both = context(root.pem() + &intermediate.pem());
        shop.serve(&format!("{backend}-known"), &at("right.test", &bare), &both);
        shop.serve(&format!("{backend}-middle"), &at("right.test", &bare), &context(intermediate.pem()));
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        let line = assert_refused(&gateway, &shop, &format!("{backend}-bare"), "UPSTREAM_TLS_ISSUER");
        assert!(line.contains("CN=middle CA"), "{line}");
        for served in ["whole", "known", "middle"] {
            assert_served(&gateway, &shop, &format!("{backend}-{served}"));
        }
    }
}

#[test]
fn rsa_keys_of_1024_bits_are_refused_from_upstreams_also_where_validation_is_skipped_row_k8() {
    let (upstream, authority, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    let small = Wanted { names: "DNS:right.test", key: "rsa:1024", ..Wanted::default() };
    let curve = Wanted { names: "DNS:right.test", key: "ec", ..Wanted::default() };
    let [small, curve] = [small, curve].map(|wanted| authority.issue_as(wanted));
    let weak = authority.weak_intermediate("weak CA");
    let below = presenting(&weak.chain(&weak.issue("right.test")), &upstream);
    let fronts = ["1.2", "1.3"].map(|version| {
        let front = |pair| Front::start(pair, upstream.address(), json!({"max": version, "min": version}));
        (version, front(&small), front(&curve))
    });
    let old = Authority::named("old CA");
    for (backend, base) in backends() {
        let strict = with(&base, json!({"trustedCA": authority.pem()}));
        let lax = with(&base, json!({"skipValidation": true, "trustedCA": old.pem()}));
        shop.serve(&format!("{backend}-below"), &at("right.test", &below), &strict);
        for (version, small, curve) in &fronts {
            shop.serve(&format!("{backend}-{version}-strict"), &at("right.test", small), &strict);
            shop.serve(&format!("{backend}-{version}-lax"), &at("right.test", small), &lax);
            shop.serve(&format!("{backend}-{version}-curve"), &at("right.test", curve), &strict);
        }
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        let line = assert_refused(&gateway, &shop, &format!("{backend}-below"), "UPSTREAM_TLS_KEY");
        assert!(line.contains("`CN=weak CA` has an RSA key of 1024 bits"), "{line}");
        for (version, _, curve) in &fronts {
            for name in ["strict", "lax"] {
                assert_refused(&gateway, &shop, &format!("{backend}-{version}-{name}"), "UPSTREAM_TLS_KEY");
            }
            assert_served(&gateway, &shop, &format!("{backend}-{version}-curve"));
            assert_eq!(curve.last()["version"], format!("TLSv{version}"));
        }
    }
}

#[test]
fn rsa_keys_of_1024_bits_are_refused_by_validate_row_k8() {
    let authority = Authority::new();
    let small = authority.issue_as(Wanted { names: "DNS:a.test", key: "rsa:1024", ..Wanted::default() });
    for (backend, base) in backends() {
        let config = with(&base, json!({"certificate": certificate(&small), "trustedCA": authority.pem()}));
        let outbound = binding("out", "Service", "s", "tls-outbound", json!({"config": config}));
        let port = api_with("a", "https://127.0.0.1:18443", "http://127.0.0.1:9", json!([]));
        let inbound = binding("in", "ApiInstance", "a", "tls", json!({"config": config}));
        for resources in [[service("s", "https://s.test"), outbound], [port, inbound]] {
            let (code, said) = validate(&resources, &[]);
            assert_eq!(code, Some(65), "{backend}: {said}");
            assert!(said.contains("the certificate has an RSA key of 1024 bits"), "{backend}: {said}");
        }
    }
}

#[test]
fn an_expired_certificate_is_refused_and_so_is_a_revoked_one() {
    let (upstream, authority, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    let expired = Wanted { names: "DNS:right.test", life: Life::Over, ..Wanted::default() };
    let expired = presenting(&authority.issue_as(expired), &upstream);
    let [good, bad, worse] = [(); 3].map(|()| authority.issue("right.test"));
    // The older list first.
    let lists = authority.revoke(&bad) + &authority.revoke(&worse);
    let [good, bad, worse] = [good, bad, worse].map(|pair| presenting(&pair, &upstream));
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem(), "crl": lists}));
        for (name, front) in [("expired", &expired), ("good", &good), ("bad", &bad), ("worse", &worse)] {
            shop.serve(&format!("{backend}-{name}"), &at("right.test", front), &context);
        }
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        assert_refused(&gateway, &shop, &format!("{backend}-expired"), "UPSTREAM_TLS_VALIDITY");
        assert_refused(&gateway, &shop, &format!("{backend}-bad"), "UPSTREAM_TLS_REVOKED");
        assert_refused(&gateway, &shop, &format!("{backend}-worse"), "UPSTREAM_TLS_REVOKED");
        assert_served(&gateway, &shop, &format!("{backend}-good"));
    }
}

/// RFC 5280 section 4.1.2.5.
#[test]
fn certificates_without_expiry_are_accepted_of_an_upstream_and_its_authority_and_presented() {
    let (upstream, root, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    let authority = root.intermediate_for("endless CA", Life::Endless);
    let endless = |of: &Authority, subject| {
        of.issue_as(Wanted { life: Life::Endless, ..named(subject, "DNS:right.test") })
    };
    let (server, own) = (endless(&authority, "/CN=unused"), endless(&root, "/CN=the gateway"));
    let front = Front::start(&server, upstream.address(), json!({"client_ca": root.certificate()}));
    let trusting =
        [("strict", json!({"trustedCA": authority.pem()})), ("lax", json!({"skipValidation": true}))];
    for (backend, base) in backends() {
        let context = with(&base, json!({"certificate": certificate(&own)}));
        for (name, trust) in &trusting {
            let context = with(&context, trust.clone());
            shop.serve(&format!("{backend}-{name}"), &at("right.test", &front), &context);
        }
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        for (name, _) in &trusting {
            front.forget();
            assert_served(&gateway, &shop, &format!("{backend}-{name}"));
            assert_eq!(front.last()["client"], "the gateway", "{backend} {name}");
            let service = format!("shop-{backend}-{name}\"");
            let shown = |what| {
                gateway.metric(&format!("portcullis_tls_certificate_{what}_timestamp_seconds"), &[&service])
            };
            // The first second of the year 10000 is no moment, and the last one that is serves as well.
            assert_eq!(shown("expiry"), 253_402_207_200.0);
            assert!((1.7e9..5e9).contains(&shown("not_before")), "{}", shown("not_before"));
        }
    }
}

#[test]
fn without_trusted_ca_the_systems_authorities_are_believed_and_with_it_they_are_not() {
    let (upstream, mut shop) = (Upstream::echo("up"), Shop::new());
    let (system, own) = (Authority::named("system CA"), Authority::named("own CA"));
    let by_system = system.front("right.test", upstream.address());
    let by_own = own.front("right.test", upstream.address());
    for (backend, base) in backends() {
        let pinned = with(&base, json!({"trustedCA": own.pem()}));
        shop.serve(&format!("{backend}-system"), &at("right.test", &by_system), &base);
        shop.serve(&format!("{backend}-unknown"), &at("right.test", &by_own), &base);
        shop.serve(&format!("{backend}-own"), &at("right.test", &by_own), &pinned);
        shop.serve(&format!("{backend}-not-own"), &at("right.test", &by_system), &pinned);
    }
    let bundle = system.certificate().display().to_string();
    let gateway = shop.plan().environment("SSL_CERT_FILE", &bundle).start();
    for (backend, _) in backends() {
        assert_served(&gateway, &shop, &format!("{backend}-system"));
        assert_served(&gateway, &shop, &format!("{backend}-own"));
        assert_refused(&gateway, &shop, &format!("{backend}-unknown"), "UPSTREAM_TLS_ISSUER");
        assert_refused(&gateway, &shop, &format!("{backend}-not-own"), "UPSTREAM_TLS_ISSUER");
    }
}

#[test]
fn skipping_validation_accepts_a_self_signed_certificate_and_still_presents_the_own_one() {
    let (upstream, clients, mut shop) = (Upstream::echo("up"), Authority::named("client CA"), Shop::new());
    let own = clients.issue_as(named("/CN=the gateway", "DNS:gateway.test"));
    let terms = json!({"client_ca": clients.certificate()});
    let front = Front::start(&Authority::new().own(), upstream.address(), terms);
    for (backend, base) in backends() {
        let lax = with(&base, json!({"skipValidation": true, "certificate": certificate(&own)}));
        shop.serve(&format!("{backend}-lax"), &at("right.test", &front), &lax);
        let strict = with(&base, json!({"trustedCA": clients.pem(), "certificate": certificate(&own)}));
        shop.serve(&format!("{backend}-strict"), &at("right.test", &front), &strict);
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        front.forget();
        assert_served(&gateway, &shop, &format!("{backend}-lax"));
        assert_eq!(front.last()["client"], "the gateway", "{backend}");
        assert_refused(&gateway, &shop, &format!("{backend}-strict"), "UPSTREAM_TLS_CERTIFICATE");
    }
}

#[test]
fn skipping_validation_accepts_certificates_of_version_1_but_their_owner_must_have_the_key() {
    let (upstream, authority, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    let fronts = ["rsa:2048", "ec"].map(|kind| {
        let pair = authority.of_version_1(kind);
        let version = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&pair.0).output();
        let text = String::from_utf8(version.expect("openssl is installed").stdout).expect("text");
        assert!(text.contains("Version: 1 "), "{text}");
        ["1.2", "1.3"].map(|version| {
            let terms = json!({"max": version, "min": version});
            (format!("{}-{version}", &kind[..2]), Front::start(&pair, upstream.address(), terms))
        })
    });
    for (backend, base) in backends() {
        for (kind, front) in fronts.as_flattened() {
            let lax = with(&base, json!({"skipValidation": true}));
            shop.serve(&format!("{backend}-{kind}-lax"), &at("right.test", front), &lax);
            let strict = with(&base, json!({"trustedCA": authority.pem()}));
            shop.serve(&format!("{backend}-{kind}-strict"), &at("right.test", front), &strict);
        }
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        for (kind, _) in fronts.as_flattened() {
            assert_served(&gateway, &shop, &format!("{backend}-{kind}-lax"));
            assert_refused(&gateway, &shop, &format!("{backend}-{kind}-strict"), "UPSTREAM_TLS_CERTIFICATE");
        }
    }
}

/// As it is made by `openssl req -x509`; the original takes it too.
#[test]
fn a_self_signed_certificate_is_believed_where_it_is_itself_trusted_and_only_for_its_name() {
    let (upstream, authority, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    let own = authority.self_signed("self.test");
    let front = presenting(&own, &upstream);
    for (backend, base) in backends() {
        let trusting = with(&base, json!({"trustedCA": text(&own.0)}));
        shop.serve(&format!("{backend}-right"), &at("self.test", &front), &trusting);
        shop.serve(&format!("{backend}-other-name"), &at("other.test", &front), &trusting);
        let strange = with(&base, json!({"trustedCA": text(&authority.self_signed("strange.test").0)}));
        shop.serve(&format!("{backend}-strange"), &at("self.test", &front), &strange);
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        assert_served(&gateway, &shop, &format!("{backend}-right"));
        assert_refused(&gateway, &shop, &format!("{backend}-other-name"), "UPSTREAM_TLS_SAN");
        let line = assert_refused(&gateway, &shop, &format!("{backend}-strange"), "UPSTREAM_TLS_CERTIFICATE");
        assert!(line.contains("an authority's own"), "{line}");
    }
}

/// Where the upstream finds out after our handshake has ended (TLS 1.3) what fails differs from run to run.
#[test]
fn a_hosts_certificate_in_trusted_ca_makes_nobody_else_trusted_and_an_expired_authority_is_told_of() {
    let (authority, upstream, mut shop) = (Authority::new(), Upstream::echo("up"), Shop::new());
    let (pinned, old) = (authority.impostor("right.test"), authority.intermediate_for("old CA", Life::Over));
    let fronts = [
        ("pinned", presenting(&pinned.own(), &upstream)),
        ("minted", presenting(&pinned.issue("right.test"), &upstream)),
        ("late", presenting(&old.issue("right.test"), &upstream)),
    ];
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": pinned.pem() + &old.pem()}));
        for (name, front) in &fronts {
            shop.serve(&format!("{backend}-{name}"), &at("right.test", front), &context);
        }
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        assert_served(&gateway, &shop, &format!("{backend}-pinned"));
        let said = assert_refused(&gateway, &shop, &format!("{backend}-minted"), "UPSTREAM_TLS_ISSUER");
        assert!(said.contains("`CN=right.test` is missing"), "{said}");
        let said = assert_refused(&gateway, &shop, &format!("{backend}-late"), "UPSTREAM_TLS_ISSUER");
        assert!(said.contains("the certificate of the authority `CN=old CA` expired at "), "{said}");
    }
}

#[test]
fn an_upstream_that_gets_no_client_certificate_or_a_wrong_one_is_503_in_every_run_pitfall_3() {
    const RUNS: usize = 20;
    let (upstream, authority, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    let stranger = Authority::named("stranger CA");
    let server = authority.issue("right.test");
    let [right, wrong] = [&authority, &stranger].map(|from| from.issue("client.test"));
    let front = |max: &str| {
        let terms = json!({"client_ca": authority.certificate(), "max": max});
        Front::start(&server, upstream.address(), terms)
    };
    let fronts = [("12", front("1.2")), ("13", front("1.3"))];
    for (backend, base) in backends() {
        for (version, front) in &fronts {
            let context = with(&base, json!({"trustedCA": authority.pem()}));
            shop.serve(&format!("{backend}-{version}-none"), &at("right.test", front), &context);
            for (name, pair) in [("wrong", &wrong), ("right", &right)] {
                let context = with(&context, json!({"certificate": certificate(pair)}));
                shop.serve(&format!("{backend}-{version}-{name}"), &at("right.test", front), &context);
            }
        }
    }
    let gateway = shop.plan().start();
    for _ in 0..RUNS {
        for (backend, _) in backends() {
            for (version, _) in &fronts {
                let get = |name: &str| shop.get(&format!("{backend}-{version}-{name}"));
                for name in ["none", "wrong"] {
                    let response = get(name);
                    let seen = (response.status, response.text());
                    assert_eq!(seen.0, 503, "{backend} {version} {name}: {}\n{}", seen.1, gateway.log());
                    assert!(seen.1.starts_with("upstream connect error"), "{}", seen.1);
                    assert!(!seen.1.contains("certificate"), "{}", seen.1);
                }
                assert_eq!(get("right").status, 200, "{backend} {version}\n{}", gateway.log());
            }
        }
    }
    assert_eq!(upstream.received().len(), RUNS * 4);
    for (backend, _) in backends() {
        for name in ["12-none", "12-wrong", "13-none", "13-wrong"] {
            gateway.says(&format!("shop-{backend}-{name}: UPSTREAM_TLS_REFUSED"));
            let of = format!("upstream=\"shop-{backend}-{name}\"");
            let counted = |metric: &str, reason: &str| {
                gateway.metric(metric, &[of.as_str(), &format!("reason=\"{reason}\"")])
            };
            let refused = counted("portcullis_upstream_tls_handshake_failures_total", "refused_by_upstream");
            assert!(refused >= 1.0, "{of}: {refused}");
            assert!(counted("portcullis_upstream_connect_failures_total", "tls") >= refused, "{of}");
        }
    }
}

#[test]
fn validate_finds_weak_suites_tls_1_1_and_skipped_validation_row_k12() {
    let authority = Authority::new();
    let pair = authority.issue("a.test");
    let weak = ["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA"];
    let config = json!({"minversion": "1.1", "ciphers": weak});
    let outbound = with(&config, json!({"skipValidation": true}));
    let inbound = with(&config, json!({"certificate": certificate(&pair)}));
    let outbound = [
        service("s", "https://s.test"),
        binding("tls", "Service", "s", "tls-outbound", json!({"config": outbound})),
    ];
    let inbound = [
        api_with("a", "https://127.0.0.1:18443", "http://127.0.0.1:9", json!([])),
        binding("tls", "ApiInstance", "a", "tls", json!({"config": inbound})),
    ];
    for (resources, skips) in [(&outbound, true), (&inbound, false)] {
        let (code, said) = validate(resources, &[]);
        assert_eq!(code, Some(0), "a warning each, not an error: {said}");
        for suite in weak {
            assert!(said.contains(&format!("`{suite}` is weak")), "{said}");
        }
        assert!(said.contains("TLS 1.1 is weak"), "{said}");
        assert_eq!(said.contains("the upstream's certificate is not checked"), skips, "{said}");
        assert_eq!(validate(resources, &["--strict"]).0, Some(65), "what production may ask for");
    }
    let sound = json!({"trustedCA": authority.pem(), "minversion": "1.2"});
    let sound = [
        service("s", "https://s.test"),
        binding("tls", "Service", "s", "tls-outbound", json!({"config": sound})),
    ];
    let (code, said) = validate(&sound, &["--strict"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn an_order_or_rules_on_a_tls_binding_are_warned_of_and_ignored_row_k5() {
    let authority = Authority::new();
    let pair = authority.issue("a.test");
    let config = json!({"trustedCA": authority.pem(), "certificate": certificate(&pair)});
    let bound = |order: Value| {
        let more = with(&json!({"config": config}), order);
        let port = api_with("a", "https://127.0.0.1:18443", "http://127.0.0.1:9", json!([]));
        [
            vec![
                service("s", "https://s.test"),
                binding("out", "Service", "s", "tls-outbound", more.clone()),
            ],
            vec![port, binding("in", "ApiInstance", "a", "tls", more)],
        ]
    };
    for resources in bound(json!({"order": 7, "rules": [{"path": "/a"}]})) {
        let (code, said) = validate(&resources, &[]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("`order`"), "{said}");
        assert!(said.contains("cannot be limited by rules; they are ignored"), "{said}");
    }
    for resources in bound(json!({})) {
        let (code, said) = validate(&resources, &["--strict"]);
        assert_eq!(code, Some(0), "{said}");
    }
}
