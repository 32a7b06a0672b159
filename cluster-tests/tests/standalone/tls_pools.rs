//! Which connections with upstreams over TLS are shared, how many there are, and what becomes of them (configuration
//! reference 6.3, decision 30, pitfall 4 of the TLS backends): with either backend.

use std::collections::HashSet;
use std::sync::{Arc, Barrier};

use cluster_tests::client::Client;
use cluster_tests::clock::WallClock;
use cluster_tests::daemon::Daemon;
use cluster_tests::http2_server::Http2Upstream;
use cluster_tests::load::{Load, OnClose, Work, get_bytes};
use cluster_tests::tls::{Authority, Front, Life, Pair, Shop, Wanted, backends, certificate, with};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
use serde_json::json;

fn at(host: &str, front: &Front) -> String {
    format!("https://{host}:{}", front.port())
}

#[test]
fn many_first_requests_at_once_learn_together_what_the_upstream_speaks_and_share_few_connections_of_http_2() {
    const CLIENTS: usize = 64;
    let (authority, stranger, mut shop) = (Authority::new(), Authority::named("stranger CA"), Shop::new());
    // 404: it has no such file.
    let (server, echo) = (Daemon::nghttpd("index.html", b"hello"), Upstream::echo("up"));
    let pair = authority.issue("right.test");
    let mut cases = Vec::new();
    for (backend, base) in backends() {
        for (name, upstream, terms, trusted, status) in [
            ("h2", server.address(), json!({"alpn": ["h2"]}), &authority, 404),
            ("h1", echo.address(), json!({"alpn": ["http/1.1"]}), &authority, 200),
            ("none", echo.address(), json!({}), &authority, 200),
            ("wrong", echo.address(), json!({"alpn": ["h2"]}), &stranger, 503),
        ] {
            let (name, front) = (format!("{backend}-{name}"), Front::start(&pair, upstream, terms));
            shop.serve(&name, &at("right.test", &front), &with(&base, json!({"trustedCA": trusted.pem()})));
            cases.push((name, front, status));
        }
    }
    let gateway = shop.plan().workers(2).start();
    for (name, front, expected) in &cases {
        let barrier = Arc::new(Barrier::new(CLIENTS));
        let ask = || {
            let (barrier, address, path) = (Arc::clone(&barrier), shop.address(), format!("/{name}"));
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                barrier.wait();
                client.get(&path, "gateway.test", "").status
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| ask()).collect();
        for client in clients {
            assert_eq!(client.join().expect("an answer"), *expected, "{name}\n{}", gateway.log());
        }
        let connections = eventually("their handshakes", || {
            Some(front.seen().len()).filter(|count| *count > 0 || !name.ends_with("h2"))
        });
        if name.ends_with("h2") {
            assert!(
                (1..=4).contains(&connections),
                "{name}: {connections} connections for {CLIENTS} requests"
            );
        }
    }
}

#[test]
fn an_upstream_that_is_replaced_may_choose_another_protocol() {
    let (authority, mut shop) = (Authority::new(), Shop::new());
    let (http1, http2) = (Upstream::echo("up"), Http2Upstream::start());
    let pair = authority.issue("right.test");
    let ports = [ports::free(), ports::free()];
    for ((backend, base), port) in backends().iter().zip(ports) {
        let context = with(base, json!({"trustedCA": authority.pem()}));
        shop.serve(backend, &format!("https://right.test:{port}"), &context);
    }
    let gateway = shop.plan().start();
    for ((backend, _), port) in backends().iter().zip(ports) {
        for round in 0..4 {
            let (upstream, alpn) = if round % 2 == 0 {
                (http2.address(), json!(["h2"]))
            } else {
                (http1.address(), json!(["http/1.1"]))
            };
            let front = Front::start(&pair, upstream, json!({"listen": port, "alpn": alpn}));
            for _ in 0..6 {
                let response = shop.get(backend);
                assert_eq!(response.status, 200, "{backend} {round}: {}\n{}", response.text(), gateway.log());
                assert_eq!(response.text() == "a body", round % 2 == 0, "{backend} {round}");
            }
            drop(front);
        }
    }
}

#[test]
fn services_that_differ_in_any_parameter_share_no_connection_and_equal_ones_do() {
    let (upstream, authority, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    let wanted = Wanted { names: "DNS:right.test,DNS:other.test", ..Wanted::default() };
    let front = Front::start(&authority.issue_as(wanted), upstream.address(), json!({}));
    let (first, second) = (authority.issue("a.test"), authority.issue("b.test"));
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem()}));
        let suites =
            json!({"ciphers": ["TLS_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]});
        for (name, host, more) in [
            ("0", "right.test", json!({})),
            ("1", "right.test", json!({"alpn": ["http/1.1"]})),
            ("2", "right.test", json!({"alpn": ["http/1.1", "h2"]})),
            ("3", "right.test", json!({"minversion": "1.3"})),
            ("4", "right.test", json!({"maxversion": "1.2"})),
            ("5", "right.test", suites),
            ("6", "right.test", json!({"certificate": certificate(&first)})),
            ("7", "right.test", json!({"certificate": certificate(&second)})),
            ("8", "right.test", json!({"skipValidation": true})),
            ("9", "right.test", json!({"trustedCA": authority.pem() + &Authority::new().pem()})),
            ("a", "other.test", json!({})),
        ] {
            shop.serve(&format!("{backend}-{name}"), &at(host, &front), &with(&context, more));
        }
        let spelt_out = json!({"alpn": ["h2", "http/1.1"], "minversion": "1.2", "skipValidation": false});
        shop.serve(&format!("{backend}-equal"), &at("right.test", &front), &with(&context, spelt_out));
    }
    let gateway = shop.plan().workers(1).start();
    let connection = |name: String| {
        let response = shop.get(&name);
        assert_eq!(response.status, 200, "{name}: {}", gateway.log());
        response.json()["connection"].as_u64().expect("a number")
    };
    for (backend, _) in backends() {
        let of_backend: Vec<_> =
            "0123456789a".chars().map(|name| connection(format!("{backend}-{name}"))).collect();
        assert_eq!(connection(format!("{backend}-equal")), of_backend[0], "{backend}");
        for (name, number) in "0123456789a".chars().zip(&of_backend) {
            assert_eq!(connection(format!("{backend}-{name}")), *number, "{backend}-{name} keeps its own");
        }
        let different: HashSet<_> = of_backend.iter().collect();
        assert_eq!(different.len(), of_backend.len(), "{backend}: each has one of its own");
    }
}

#[test]
fn a_changed_context_retires_its_connections_and_no_request_fails() {
    let (http1, http2) = (Upstream::echo("up"), Http2Upstream::start());
    let authority = Authority::new();
    let pair = authority.issue("right.test");
    let front = |upstream, alpn: &str| Front::start(&pair, upstream, json!({"alpn": [alpn]}));
    retire(&authority, &front(http1.address(), "http/1.1"), &|| http1.open());
    assert!(http1.problems().is_empty(), "{:?}", http1.problems());
    retire(&authority, &front(http2.address(), "h2"), &|| http2.open());
}

fn retire(authority: &Authority, front: &Front, open: &dyn Fn() -> usize) {
    let mut shop = Shop::new();
    let change = |shop: &mut Shop, min: &str| {
        for (backend, base) in backends() {
            let context = with(&base, json!({"trustedCA": authority.pem(), "minversion": min}));
            shop.serve(backend, &at("right.test", front), &context);
        }
    };
    change(&mut shop, "1.2");
    let gateway = shop.plan().start();
    let load = Load::start(Work {
        address: shop.address(),
        kept: 8,
        fresh: 2,
        on_close: OnClose::Reconnect,
        request: Arc::new(|number| get_bytes(if number % 3 == 0 { "/openssl" } else { "/rustls" })),
        check: Arc::new(|_, response| match response.status {
            200 => Ok(()),
            status => Err(format!("{status} {}", response.text())),
        }),
    });
    for min in ["1.3", "1.2", "1.3"] {
        let (answered, before) = (load.answered(), front.seen().len());
        change(&mut shop, min);
        let _ = gateway.apply("api.yaml", &[shop.resource()]);
        eventually("requests on new connections", || {
            (load.answered() > answered + 200 && front.seen().len() > before).then_some(())
        });
    }
    load.stop().assert_clean();
    // Those of before are closed at once, not when they have idled too long; however fast changes follow each other.
    for (first, second) in [("1.2", "1.3"), ("1.2", "1.2")] {
        for backend in ["rustls", "openssl"] {
            assert_eq!(shop.status(backend), 200);
        }
        assert!(open() > 0);
        for min in [first, second] {
            change(&mut shop, min);
            let _ = gateway.apply("api.yaml", &[shop.resource()]);
        }
        eventually("the old connections are closed", || (open() == 0).then_some(()));
    }
    for backend in ["rustls", "openssl"] {
        assert_eq!(shop.status(backend), 200);
    }
}

#[test]
fn sessions_with_an_upstream_that_asks_for_a_certificate_are_resumed_or_made_anew_pitfall_4() {
    let (authority, mut shop) = (Authority::new(), Shop::new());
    let upstream = Upstream::start(|exchange| {
        exchange.close();
        exchange.reply(200, "Connection: close\r\n", b"whole")
    });
    let (server, own) = (authority.issue("right.test"), authority.issue("client.test"));
    let front = |max: &str| {
        let terms = json!({"client_ca": authority.certificate(), "max": max});
        Front::start(&server, upstream.address(), terms)
    };
    let fronts = [("12", front("1.2")), ("13", front("1.3"))];
    for (backend, base) in backends() {
        let context = json!({"trustedCA": authority.pem(), "certificate": certificate(&own)});
        for (version, front) in &fronts {
            shop.serve(
                &format!("{backend}-{version}"),
                &at("right.test", front),
                &with(&base, context.clone()),
            );
        }
    }
    let gateway = shop.plan().workers(1).start();
    for (backend, _) in backends() {
        for (version, front) in &fronts {
            front.forget();
            for _ in 0..5 {
                assert_eq!(shop.status(&format!("{backend}-{version}")), 200, "{}", gateway.log());
            }
            let seen = eventually("all handshakes", || Some(front.seen()).filter(|seen| seen.len() >= 5));
            assert!(seen.iter().all(|seen| seen["client"] == "unused"), "{backend} {version}: {seen:?}");
            // OpenSSL's client makes each handshake anew.
            let resumed = seen.iter().any(|seen| seen["reused"] == true);
            assert_eq!(resumed, backend == "rustls", "{backend} {version}: {seen:?}");
        }
    }
}

/// What a session has proved is not proved for ever (RFC 8446 section 4.6.1); of clients: `tls_mutual`.
#[test]
fn a_session_with_an_upstream_is_not_resumed_when_a_certificate_of_it_has_expired() {
    let Some(clock) = WallClock::new() else { return };
    let (authority, mut shop) = (Authority::new(), Shop::new());
    let old = authority.intermediate_for("old CA", Life::AnHour);
    let upstream = Upstream::start(|exchange| {
        exchange.close();
        exchange.reply(200, "Connection: close\r\n", b"whole")
    });
    let issue =
        |of: &Authority, life| of.issue_as(Wanted { names: "DNS:right.test", life, ..Wanted::default() });
    let renew = |(crt, key): &Pair| {
        let renewed = issue(&authority, Life::Days);
        // The certificate last: its time tells the front.
        for (from, to) in [(renewed.1, key), (renewed.0, crt)] {
            std::fs::copy(from, to).expect("writable");
        }
    };
    let mut cases = Vec::new();
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem() + &old.pem()}));
        for version in ["1.2", "1.3"] {
            for (name, renewed, pair, code) in [
                ("own", false, issue(&authority, Life::AnHour), "UPSTREAM_TLS_VALIDITY"),
                ("authority", false, issue(&old, Life::Days), "UPSTREAM_TLS_ISSUER"),
                ("renewed", true, issue(&authority, Life::AnHour), ""),
            ] {
                let name = format!("{backend}-{}-{name}", version.replace('.', ""));
                let front = Front::start(&pair, upstream.address(), json!({"max": version, "renew": true}));
                shop.serve(&name, &at("right.test", &front), &context);
                cases.push((name, backend, renewed, pair, front, code));
            }
        }
    }
    let gateway = clock.shown_to(shop.plan().workers(1)).start();
    let served = |name: &str| assert_eq!(shop.status(name), 200, "{name}\n{}", gateway.log());
    let resumes = |name: &str, front: &Front| {
        front.forget();
        served(name);
        front.last()["reused"] == true
    };
    for (name, backend, renewed, pair, front, _) in &cases {
        served(name);
        served(name);
        assert_eq!(resumes(name, front), *backend == "rustls", "{name}");
        if *renewed {
            renew(pair);
            assert_eq!(resumes(name, front), *backend == "rustls", "{name}: with the session of before");
        }
    }
    clock.jump(61 * 60);
    for (name, _, renewed, pair, front, code) in &cases {
        front.forget();
        if *renewed {
            // Nobody notices but the upstream, which is asked.
            served(name);
            eventually("a full handshake", || {
                front.seen().iter().any(|one| one["reused"] == false).then_some(())
            });
        } else {
            for _ in 0..2 {
                assert_eq!(shop.status(name), 503, "{name}\n{}", gateway.log());
            }
            gateway.says(&format!("shop-{name}: {code}"));
            renew(pair);
            served(name);
        }
        let of = format!("upstream=\"shop-{name}\"");
        let failed = gateway.metric("portcullis_upstream_tls_handshake_failures_total", &[&of]);
        assert_eq!(failed == 0.0, *renewed, "{name}: {failed}");
    }
}
