//! Certificates of clients (configuration reference 4.7 and 6.1, decisions 27 and 29): with either backend.

use std::process::Command;

use cluster_tests::binary::validate;
use cluster_tests::clock::WallClock;
use cluster_tests::eventually;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::python::{self, Script};
use cluster_tests::tls::{Authority, Curled, Doors, Life, Pair, SClient, Wanted, text};
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

const VERSIONS: [[&str; 3]; 2] = [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]];

/// As curl and `s_client` take a certificate.
fn as_arguments((crt, key): &Pair, [cert_option, key_option]: [&str; 2]) -> Vec<String> {
    let (crt, key) = (crt.display().to_string(), key.display().to_string());
    vec![cert_option.to_owned(), crt, key_option.to_owned(), key]
}

/// A request with this certificate, at either version.
fn ask(doors: &Doors, door: usize, version: [&str; 3], pair: Option<&Pair>, more: &[&str]) -> Curled {
    let certificate = pair.map(|pair| as_arguments(pair, ["--cert", "--key"])).unwrap_or_default();
    let certificate: Vec<&str> = certificate.iter().map(String::as_str).collect();
    doors.curl(doors.each()[door].1, &[&version[..], certificate.as_slice(), more].concat())
}

/// The statuses of requests with these certificates, for both backends and both versions.
fn assert_statuses(doors: &Doors, expected: &[(&str, Option<&Pair>, u16)]) {
    for (door, (backend, _)) in doors.each().iter().enumerate() {
        for version in VERSIONS {
            for (name, pair, status) in expected {
                let answer = ask(doors, door, version, *pair, &[]);
                assert_eq!(answer.status, *status, "{backend} {version:?} {name}: {answer:?}");
            }
        }
    }
}

fn failures(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric("portcullis_tls_handshake_failures_total", &[&format!("reason=\"{reason}")])
}

#[test]
fn a_required_certificate_that_is_missing_or_wrong_or_expired_or_small_ends_the_handshake() {
    let (doors, stranger) = (Doors::new(Upstream::echo("up")), Authority::named("stranger CA"));
    let own = doors.authority.issue("client.test");
    let curve = doors.authority.issue_as(Wanted { key: "ec", ..Wanted::default() });
    let wrong = stranger.issue("client.test");
    let expired = doors.authority.issue_as(Wanted { life: Life::Over, ..Wanted::default() });
    let small = doors.authority.issue_as(Wanted { key: "rsa:1024", ..Wanted::default() });
    let gateway =
        doors.plan(&json!({"requireClientCertificate": true, "trustedCA": doors.authority.pem()})).start();
    assert_statuses(
        &doors,
        &[
            ("own", Some(&own), 200),
            ("curve", Some(&curve), 200),
            ("none", None, 0),
            ("wrong", Some(&wrong), 0),
            ("expired", Some(&expired), 0),
        ],
    );
    // curl does not show such a certificate.
    let mut arguments = as_arguments(&small, ["-cert", "-key"]);
    arguments.extend(["-cipher", "DEFAULT:@SECLEVEL=0"].map(str::to_owned));
    for (backend, address) in doors.each() {
        for version in ["-tls1_2", "-tls1_3"] {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).chain([version]).collect();
            assert_eq!(SClient::connect(address, &arguments).get("/a").0, 0, "{backend} {version}");
        }
    }
    assert_eq!(doors.upstream.received().len(), 8);
    eventually("all failures are counted", || (failures(&gateway, "") == 16.0).then_some(()));
    let counted = ["missing", "refused"].map(|why| failures(&gateway, &format!("client_certificate_{why}")));
    assert_eq!(counted, [4.0, 12.0], "{}", gateway.admin("GET", "/metrics").text());
}

/// With TLS 1.3 a client may have sent its request before it is told (RFC 8446 section 4.4.2.4).
#[test]
fn who_is_refused_for_its_certificate_gets_the_alert_also_behind_a_request() {
    let (doors, stranger) = (Doors::new(Upstream::echo("up")), Authority::named("stranger CA"));
    let (crt, key) = stranger.issue("client.test");
    let _gateway =
        doors.plan(&json!({"requireClientCertificate": true, "trustedCA": doors.authority.pem()})).start();
    let python = python::with("ssl").expect("Python has TLS");
    for (backend, address) in doors.each() {
        let arguments = [address.port().to_string(), crt.display().to_string(), key.display().to_string()];
        let mut client = Script::start(&python, "hasty_client.py", &arguments);
        for _ in 0..20 {
            assert_eq!(client.line(), "TLSV1_ALERT_UNKNOWN_CA", "{backend}");
        }
    }
}

/// As `openssl verify` has it: what is trusted and is no authority's makes nobody else trusted.
#[test]
fn a_hosts_certificate_in_trusted_ca_admits_its_owner_alone_and_an_expired_authority_admits_nobody() {
    let doors = Doors::new(Upstream::echo("up"));
    let (pinned, old) =
        (doors.authority.impostor("pinned.test"), doors.authority.intermediate_for("old CA", Life::Over));
    let (minted, late) = (pinned.issue("minted.test"), old.issue("late.test"));
    let trusted = pinned.pem() + &old.pem();
    let gateway = doors.plan(&json!({"requireClientCertificate": true, "trustedCA": trusted})).start();
    assert_statuses(
        &doors,
        &[
            ("pinned", Some(&pinned.own()), 200),
            ("issued by its key", Some(&minted), 0),
            ("of an expired authority", Some(&late), 0),
        ],
    );
    let log = gateway.log();
    assert!(log.contains("certificate 2 expired at 2020-02-01T00:00:00Z"), "{log}");
}

#[test]
fn an_optional_certificate_is_verified_if_it_is_given() {
    let (doors, stranger) = (Doors::new(Upstream::echo("up")), Authority::named("stranger CA"));
    let (own, wrong) = (doors.authority.issue("client.test"), stranger.issue("client.test"));
    let expired = doors.authority.issue_as(Wanted { life: Life::Over, ..Wanted::default() });
    let _gateway = doors.plan(&json!({"trustedCA": doors.authority.pem()})).start();
    let expected = [
        ("own", Some(&own), 200),
        ("none", None, 200),
        ("wrong", Some(&wrong), 0),
        ("expired", Some(&expired), 0),
    ];
    assert_statuses(&doors, &expected);
}

#[test]
fn a_chain_of_a_client_is_followed_to_the_trusted_authority() {
    let (doors, root) = (Doors::new(Upstream::echo("up")), Authority::named("root CA"));
    let intermediate = root.intermediate("middle CA");
    let bare = intermediate.issue("client.test");
    let whole = intermediate.chain(&bare);
    let gateway = doors.plan(&json!({"requireClientCertificate": true, "trustedCA": root.pem()})).start();
    assert_statuses(&doors, &[("whole", Some(&whole), 200), ("bare", Some(&bare), 0)]);
    let both = root.pem() + &intermediate.pem();
    let _ = gateway
        .apply("api.yaml", &doors.resources(&json!({"requireClientCertificate": true, "trustedCA": both})));
    assert_statuses(&doors, &[("whole", Some(&whole), 200), ("bare", Some(&bare), 200)]);
}

/// RFC 8446 section 6.2: `unknown_ca` is for an issuer that is not known, `certificate_expired` for one's own time.
#[test]
fn a_client_is_told_by_the_alert_what_is_wrong_with_its_certificate_and_the_log_names_its_issuer() {
    let (doors, stranger) = (Doors::new(Upstream::echo("up")), Authority::named("stranger CA"));
    let wrong = stranger.issue_as(Wanted { subject: "/CN=ada@example.com", ..Wanted::default() });
    let expired = doors.authority.issue_as(Wanted { life: Life::Over, ..Wanted::default() });
    let config = json!({"requireClientCertificate": true, "trustedCA": doors.authority.pem()});
    let gateway = doors.plan(&config).environment("PORTCULLIS_LOG__LEVEL", "debug").start();
    // OpenSSL's crate has no way to choose the alert.
    let (_, address) = *doors.each().iter().find(|(backend, _)| *backend == "rustls").expect("a rustls port");
    for (pair, alert) in [(&wrong, "SSL alert number 48"), (&expired, "SSL alert number 45")] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-tls1_2", "-connect", &address.to_string()]);
        command.args(as_arguments(pair, ["-cert", "-key"])).stdin(std::process::Stdio::null());
        let output = command.output().expect("openssl is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(alert), "{alert}: {said}");
    }
    gateway.says("of an issuer that is not trusted");
    gateway.says("CN=stranger CA");
    assert!(!gateway.log().contains("ada@example.com"), "nobody has verified it: {}", gateway.log());
}

#[test]
fn a_malformed_revocation_list_is_found_also_when_no_authority_is_in_its_time() {
    let doors = Doors::new(Upstream::echo("up"));
    let old = doors.authority.intermediate_for("old CA", Life::Over);
    let list = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    let config = json!({"requireClientCertificate": true, "trustedCA": old.pem(), "crl": list});
    let (code, said) = validate(&doors.resources(&config), &[]);
    assert!(code != Some(0) && said.contains("a revocation list in it is malformed"), "{said}");
}

#[test]
fn a_revocation_list_that_no_key_can_verify_is_an_error_with_its_remedy() {
    let doors = Doors::new(Upstream::echo("up"));
    let lists = doors.authority.revoke(&doors.authority.issue("bad.test")) + &doors.authority.weak_list();
    let config = json!({"requireClientCertificate": true, "trustedCA": doors.authority.pem(), "crl": lists});
    let (code, said) = validate(&doors.resources(&config), &[]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("revocation list 2 is signed by an algorithm that is not accepted"), "{said}");
    assert!(said.contains("have it issued with SHA-256"), "{said}");
}

#[test]
fn a_revoked_certificate_is_refused_and_so_is_one_of_whose_issuer_no_list_speaks() {
    let (doors, root) = (Doors::new(Upstream::echo("up")), Authority::named("root CA"));
    let intermediate = root.intermediate("middle CA");
    let [good, revoked] = ["good.test", "revoked.test"].map(|name| root.issue(name));
    let unlisted = intermediate.chain(&intermediate.issue("unlisted.test"));
    let list = root.revoke(&revoked);
    let config = |crl: Value| {
        let mut config = json!({"requireClientCertificate": true, "trustedCA": root.pem()});
        config.as_object_mut().expect("an object").extend(crl.as_object().expect("an object").clone());
        config
    };
    let gateway = doors.plan(&config(json!({"crl": list}))).start();
    let clients = [("good", Some(&good)), ("revoked", Some(&revoked)), ("unlisted", Some(&unlisted))];
    let expect = |statuses: [u16; 3]| {
        let expected: Vec<_> =
            clients.iter().zip(statuses).map(|((name, pair), status)| (*name, *pair, status)).collect();
        assert_statuses(&doors, &expected);
    };
    expect([200, 0, 0]);
    // A further list, by a reload.
    let other = intermediate.revoke(&intermediate.issue("somebody.test"));
    let _ = gateway.apply("api.yaml", &doors.resources(&config(json!({"crl": list + &other}))));
    expect([200, 0, 200]);
    let _ = gateway.apply("api.yaml", &doors.resources(&config(json!({}))));
    expect([200, 200, 200]);
}

/// A newer list is written behind the older one, and an authority goes on with another key under its name.
#[test]
fn of_several_lists_of_one_issuer_all_count_that_its_key_has_signed() {
    let (doors, renewed) = (Doors::new(Upstream::echo("up")), Authority::new());
    let [good, first, second] = ["good", "first", "second"].map(|name| doors.authority.issue(name));
    let (older, newer) = (doors.authority.revoke(&first), doors.authority.revoke(&second));
    let [of_new_key, revoked] = ["good", "revoked"].map(|name| renewed.issue(name));
    let by_new_key = renewed.revoke(&revoked);
    let clients = [good, first, second, of_new_key, revoked];
    let trusted = doors.authority.pem() + &renewed.pem();
    let config = |lists: [&String; 2]| {
        let list = lists.map(String::as_str).concat();
        json!({"requireClientCertificate": true, "trustedCA": trusted, "crl": list})
    };
    let gateway = doors.plan(&config([&older, &newer])).start();
    for (lists, statuses) in [
        ([&older, &newer], [200, 0, 0, 0, 0]),
        ([&newer, &older], [200, 0, 0, 0, 0]),
        ([&older, &by_new_key], [200, 0, 200, 200, 0]),
        ([&by_new_key, &newer], [200, 0, 0, 200, 0]),
    ] {
        let _ = gateway.apply("api.yaml", &doors.resources(&config(lists)));
        let names = ["good", "first", "second", "good of the new key", "revoked of the new key"];
        let expected = names.iter().zip(&clients).zip(statuses);
        let expected = expected.map(|((name, pair), status)| (*name, Some(pair), status));
        assert_statuses(&doors, &expected.collect::<Vec<_>>());
    }
    let unexpected = failures(&gateway, "unexpected");
    assert_eq!(unexpected, 0.0, "{}", gateway.admin("GET", "/metrics").text());
}

/// RFC 5280 section 4.1.2.5.
#[test]
fn certificates_without_expiry_are_accepted_of_a_client_and_its_authority_and_presented() {
    let mut doors = Doors::new(Upstream::echo("up"));
    let authority = doors.authority.intermediate_for("endless CA", Life::Endless);
    let endless =
        |of: &Authority, names| of.issue_as(Wanted { names, life: Life::Endless, ..Wanted::default() });
    doors.pair = endless(&doors.authority, "DNS:gateway.test");
    let own = endless(&authority, "DNS:client.test");
    let required = json!({"requireClientCertificate": true, "trustedCA": authority.pem()});
    let _gateway = doors.plan(&required).start();
    assert_statuses(&doors, &[("endless", Some(&own), 200), ("none", None, 0)]);
}

#[test]
fn sessions_of_clients_with_certificates_are_resumed_unless_trust_changed_pitfall_4() {
    let mut doors = Doors::new(Upstream::echo("up"));
    let own = doors.authority.issue_as(Wanted { subject: "/CN=a client", ..Wanted::default() });
    let config = json!({"requireClientCertificate": true, "trustedCA": doors.authority.pem()});
    let plan = doors.plan(&config).environment("FLEX_FORWARD_CLIENT_CERT_DETAILS", "SANITIZE_SET");
    let gateway = plan.start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sessions = ["tls1_2", "tls1_3"].map(|version| {
        [0, 1].map(|door| {
            (version, door, folder.path().join(format!("{version}-{door}")).display().to_string())
        })
    });
    let sessions = sessions.as_flattened();
    let addresses = doors.each();
    let connect = |version: &str, door: usize, option: &str, file: &str| {
        let mut arguments = as_arguments(&own, ["-cert", "-key"]);
        arguments.extend([format!("-{version}"), option.to_owned(), file.to_owned()]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let answer = SClient::connect(addresses[door].1, &arguments).get("/a");
        assert!(answer.1.contains("CN=a client"), "{version} {door}: {answer:?}");
        answer.0
    };
    let resumed = || gateway.metric("portcullis_tls_handshakes_total", &["resumed"]);
    for (version, door, file) in sessions {
        let before = resumed();
        assert_eq!(connect(version, *door, "-sess_out", file), 200);
        assert_eq!(resumed() - before, 0.0);
        assert_eq!(connect(version, *door, "-sess_in", file), 200);
        assert_eq!(resumed() - before, 1.0, "{version} {door}: the certificate is still known");
    }
    let again = |resumes: f64| {
        for (version, door, file) in sessions {
            let before = resumed();
            assert_eq!(connect(version, *door, "-sess_in", file), 200);
            assert_eq!(resumed() - before, resumes, "{version} {door}");
        }
    };
    // Another certificate is no other trust.
    doors.pair = doors.authority.issue("gateway.test");
    let _ = gateway.apply("api.yaml", &doors.resources(&config));
    again(1.0);
    let more = doors.authority.pem() + &Authority::new().pem();
    let _ = gateway
        .apply("api.yaml", &doors.resources(&json!({"requireClientCertificate": true, "trustedCA": more})));
    again(0.0);
}

/// RFC 5246 appendix F.1.4: whose certificate has expired makes a full handshake.
#[test]
fn a_session_is_not_resumed_when_a_certificate_of_it_has_expired_and_a_new_one_is_asked_for() {
    let Some(clock) = WallClock::new() else { return };
    let doors = Doors::new(Upstream::echo("up"));
    let old = doors.authority.intermediate_for("old CA", Life::AnHour);
    let brief = doors.authority.issue_as(Wanted { life: Life::AnHour, ..Wanted::default() });
    let of_old = old.issue_as(Wanted { key: "ec", ..Wanted::default() });
    let renewed = doors.authority.issue_as(Wanted { subject: "/CN=renewed", ..Wanted::default() });
    let trusted = doors.authority.pem() + &old.pem();
    let config = json!({"requireClientCertificate": true, "trustedCA": trusted});
    let folder = tempfile::tempdir().expect("a temporary folder");
    let connect = |version: &str, door: usize, pair: &Pair, more: &[&str]| {
        let certificate = as_arguments(pair, ["-cert", "-key"]);
        let certificate: Vec<&str> = certificate.iter().map(String::as_str).collect();
        SClient::connect(doors.each()[door].1, &[&certificate[..], &[version], more].concat()).get("/").0
    };
    for version in ["-tls1_2", "-tls1_3"] {
        for (name, pair) in [("client", &brief), ("authority", &of_old)] {
            // Sessions of a port are not forgotten twice in a short time.
            clock.jump(0);
            let gateway = clock.shown_to(doors.plan(&config)).start();
            let count = || {
                let handshakes = |kind| gateway.metric("portcullis_tls_handshakes_total", &[kind]);
                [handshakes("full"), handshakes("resumed"), failures(&gateway, "")]
            };
            for (door, (backend, _)) in doors.each().iter().enumerate() {
                let file = folder.path().join(format!("{name}{version}{backend}")).display().to_string();
                let before = count();
                for (minutes, pair, option, status, expected) in [
                    (0, pair, "-sess_out", 200, [1.0, 0.0, 0.0]),
                    (0, pair, "-sess_in", 200, [1.0, 1.0, 0.0]),
                    (61, &renewed, "-sess_in", 0, [1.0, 1.0, 1.0]),
                    (61, &renewed, "-sess_in", 200, [2.0, 1.0, 1.0]),
                    (61, pair, "-sess_in", 0, [2.0, 1.0, 2.0]),
                ] {
                    clock.jump(minutes * 60);
                    let step = format!("{name} {version} {backend}, {minutes} minutes later: {option}");
                    assert_eq!(connect(version, door, pair, &[option, &file]), status, "{step}");
                    // It is counted when it is over, and so may be its client.
                    eventually(&step, || {
                        let now = count();
                        ([0, 1, 2].map(|at| now[at] - before[at]) == expected).then_some(())
                    });
                }
                clock.jump(0);
            }
        }
    }
}

/// What upstreams are told of a client.
fn details(
    doors: &Doors,
    plan: Plan,
    mode: &str,
    clients: &[(&Pair, bool)],
    check: impl Fn(bool, &str, &[String]),
) {
    let _gateway = plan.environment("FLEX_FORWARD_CLIENT_CERT_DETAILS", mode).start();
    for (door, (backend, _)) in doors.each().iter().enumerate() {
        for (pair, has) in clients {
            for http in ["--http1.1", "--http2"] {
                doors.upstream.forget();
                let forged = ["-H", "X-Forwarded-Client-Cert: Hash=forged", http];
                let answer = ask(doors, door, VERSIONS[1], has.then_some(*pair), &forged);
                assert_eq!(answer.status, 200, "{backend} {mode}: {answer:?}");
                let received = doors.upstream.received().remove(0);
                let told = received.head.all("x-forwarded-client-cert").map(str::to_owned);
                check(*has, &format!("{backend} {mode} {http} {has}"), &told.collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn what_upstreams_are_told_of_a_client_depends_on_the_mode_and_a_client_without_certificate_forges_nothing() {
    let mut doors = Doors::new(Upstream::echo("up"));
    let names = "DNS:gateway.test,URI:spiffe://shop.test/gateway";
    doors.pair = doors.authority.issue_as(Wanted { names, ..Wanted::default() });
    let names = "DNS:client.test,URI:spiffe://shop.test/client,DNS:www.client.test";
    let own = doors.authority.issue_as(Wanted { subject: "/O=Ours/CN=a client", names, ..Wanted::default() });
    // As `openssl` sees the certificate, in Envoy's spelling.
    let hash = said_of(&own, &["-fingerprint", "-sha256"]).replace(':', "").to_ascii_lowercase();
    let subject = said_of(&own, &["-subject", "-nameopt", "RFC2253"]);
    let element = format!(
        "By=spiffe://shop.test/gateway;Hash={hash};Subject=\"{subject}\";URI=spiffe://shop.test/client;\
         DNS=client.test;DNS=www.client.test"
    );
    assert!(element.contains("Subject=\"CN=a client,O=Ours\""), "{element}");
    let appended = format!("Hash=forged,{element}");
    let (set, both) = ([element.as_str()], [appended.as_str()]);
    let forged = ["Hash=forged"];
    let nothing: [&str; 0] = [];
    for (mode, with, without) in [
        ("SANITIZE", &nothing[..], &nothing[..]),
        ("SANITIZE_SET", &set, &nothing),
        ("FORWARD_ONLY", &forged, &nothing),
        ("APPEND_FORWARD", &both, &nothing),
        // Whoever asks for it vouches for whoever is in front.
        ("ALWAYS_FORWARD_ONLY", &forged, &forged),
    ] {
        let plan = doors.plan(&json!({"trustedCA": doors.authority.pem()}));
        let clients = [(&own, true), (&own, false)];
        details(&doors, plan, mode, &clients, |has, which, told| {
            assert_eq!(told, if has { with } else { without }, "{which}");
        });
    }
}

/// What `openssl` says of a certificate, behind the sign of equality.
fn said_of((crt, _): &Pair, what: &[&str]) -> String {
    let output = Command::new("openssl").args(["x509", "-noout", "-in"]).arg(crt).args(what).output();
    let said = String::from_utf8(output.expect("openssl is installed").stdout).expect("text");
    said.trim_end().split_once('=').expect("a value").1.to_owned()
}

#[test]
fn a_self_signed_client_is_accepted_where_its_certificate_is_itself_trusted() {
    let doors = Doors::new(Upstream::echo("up"));
    let (own, strange) =
        (doors.authority.self_signed("client.test"), doors.authority.self_signed("strange.test"));
    let trusted = text(&own.0);
    let _gateway = doors.plan(&json!({"requireClientCertificate": true, "trustedCA": trusted})).start();
    assert_statuses(&doors, &[("own", Some(&own), 200), ("strange", Some(&strange), 0), ("none", None, 0)]);
}

/// A connection that was made before a certificate was required proves nothing by having been there.
#[test]
fn a_connection_without_a_certificate_is_served_no_more_once_one_is_required() {
    let doors = Doors::new(Upstream::echo("up"));
    let gateway = doors.plan(&json!({})).start();
    let clients = |more: &[&str]| doors.each().map(|(_, address)| SClient::connect(address, more));
    let mut before = clients(&[]);
    for client in &mut before {
        assert_eq!(client.get("/a").0, 200);
    }
    let required = json!({"requireClientCertificate": true, "trustedCA": doors.authority.pem()});
    gateway.apply("api.yaml", &doors.resources(&required));
    for client in &mut before {
        assert_eq!(client.get("/a").0, 421);
        assert_eq!(client.get("/a").0, 0, "it has ended");
    }
    assert_eq!(doors.upstream.received().len(), 2);
    // Who has one goes on for one answer more when others are trusted, too.
    let own = doors.authority.issue("client.test");
    let own = as_arguments(&own, ["-cert", "-key"]);
    let own: Vec<_> = own.iter().map(String::as_str).collect();
    let mut proven = clients(&own);
    for client in &mut proven {
        assert_eq!(client.get("/a").0, 200);
    }
    let wider = doors.authority.pem() + &Authority::named("another CA").pem();
    let wider = json!({"requireClientCertificate": true, "trustedCA": wider});
    gateway.apply("api.yaml", &doors.resources(&wider));
    for client in &mut proven {
        assert_eq!(client.get("/a").0, 200);
        assert_eq!(client.get("/a").0, 0, "it has ended");
    }
}
