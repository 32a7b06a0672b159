//! What is spoken with upstreams over TLS (configuration reference 6.1 and 6.3, decision 28, pitfalls 4 and 5 of the TLS backends): with either backend.

use std::io::{Read, Write};
use std::net::TcpListener;

use cluster_tests::binary::validate;
use cluster_tests::client::{self, Client};
use cluster_tests::config::{binding, service};
use cluster_tests::daemon::Daemon;
use cluster_tests::http2_server::Http2Upstream;
use cluster_tests::load::get_bytes;
use cluster_tests::tls::{Authority, Front, Shop, backends, record, text, with};
use cluster_tests::upstream::Upstream;
use cluster_tests::{PATIENCE, eventually};
use serde_json::{Value, json};

fn at(host: &str, front: &Front) -> String {
    format!("https://{host}:{}", front.port())
}

/// The list of the ALPN extension that offers these protocols (RFC 7301 section 3.1), as it lies in a ClientHello.
fn extension(protocols: &[&str]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in protocols {
        list.push(u8::try_from(name.len()).expect("short"));
        list.extend_from_slice(name.as_bytes());
    }
    let length = u8::try_from(list.len()).expect("short");
    [&[0, 16, 0, length + 2, 0, length], list.as_slice()].concat()
}

fn has(hello: &[u8], part: &[u8]) -> bool {
    hello.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_offer_to_an_upstream_is_our_list_in_our_order_and_the_name_of_the_service_pitfall_4() {
    let (mut shop, mut listeners) = (Shop::new(), Vec::new());
    for (backend, base) in backends() {
        for (name, scheme, alpn, offered) in [
            ("default", "https", json!([]), &["h2", "http/1.1"][..]),
            ("first", "https", json!(["http/1.1", "h2"]), &["http/1.1", "h2"]),
            ("one", "https", json!(["http/1.1"]), &["http/1.1"]),
            ("two", "https", json!(["h2"]), &["h2"]),
            ("scheme", "h2", json!(["http/1.1", "h2"]), &["h2"]),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port of loopback");
            let port = listener.local_addr().expect("a bound socket has an address").port();
            let name = format!("{backend}-{name}");
            let context = with(&base, json!({"skipValidation": true, "alpn": alpn}));
            shop.serve(&name, &format!("{scheme}://right.test:{port}"), &context);
            listeners.push((name, listener, offered));
        }
    }
    let _gateway = shop.plan().start();
    for (name, listener, offered) in &listeners {
        let mut client = Client::connect(shop.address());
        client.send(&get_bytes(&format!("/{name}")));
        let (mut socket, _) = listener.accept().expect("the gateway connects");
        let hello = record(&mut socket);
        assert!(has(&hello, &extension(offered)), "{name}: {hello:02x?}");
        assert!(has(&hello, b"\0\0\x0aright.test"), "{name} is asked for: {hello:02x?}");
        drop(socket);
    }
}

#[test]
fn an_upstream_is_spoken_to_in_the_protocol_that_it_chooses() {
    let (authority, mut shop) = (Authority::new(), Shop::new());
    let (http1, http2) = (Upstream::echo("up"), Http2Upstream::start());
    let pair = authority.issue("right.test");
    let chooses = |alpn: Value, max: &str| {
        let upstream = if alpn[0] == "h2" { http2.address() } else { http1.address() };
        let terms = if alpn.is_null() { json!({"max": max}) } else { json!({"max": max, "alpn": alpn}) };
        Front::start(&pair, upstream, terms)
    };
    let mut fronts = Vec::new();
    for max in ["1.2", "1.3"] {
        fronts.push((format!("h2-{max}"), chooses(json!(["h2"]), max), "h2"));
        fronts.push((format!("h1-{max}"), chooses(json!(["http/1.1"]), max), "http/1.1"));
        fronts.push((format!("none-{max}"), chooses(Value::Null, max), ""));
    }
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem()}));
        for (name, front, _) in &fronts {
            shop.serve(&format!("{backend}-{name}"), &at("right.test", front), &context);
        }
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        for (name, front, chosen) in &fronts {
            for _ in 0..3 {
                let response = shop.get(&format!("{backend}-{name}"));
                assert_eq!(response.status, 200, "{backend} {name}: {}\n{}", response.text(), gateway.log());
                assert_eq!(response.text() == "a body", *chosen == "h2", "{backend} {name}");
            }
            let expected = if chosen.is_empty() { Value::Null } else { json!(chosen) };
            assert_eq!(front.last()["alpn"], expected, "{backend} {name}");
        }
    }
}

/// RFC 9112 section 9.8; RFC 8446 section 6.1.
#[test]
fn a_body_up_to_the_end_of_its_connection_is_whole_only_if_the_session_ended_too() {
    let (authority, mut shop) = (Authority::new(), Shop::new());
    let upstream = Upstream::start(|exchange| {
        exchange.close();
        exchange.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall or half of it")
    });
    let pair = authority.issue("right.test");
    let front = |max: &str, notify: bool| {
        Front::start(&pair, upstream.address(), json!({"max": max, "notify": notify}))
    };
    let fronts = ["1.2", "1.3"].map(|max| (max, front(max, true), front(max, false)));
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem()}));
        for (max, ended, cut) in &fronts {
            shop.serve(&format!("{backend}-{max}-ended"), &at("right.test", ended), &context);
            shop.serve(&format!("{backend}-{max}-cut"), &at("right.test", cut), &context);
        }
    }
    let _gateway = shop.plan().start();
    for (backend, _) in backends() {
        for (max, ..) in &fronts {
            let whole = shop.get(&format!("{backend}-{max}-ended"));
            assert_eq!((whole.status, whole.text().as_str()), (200, "all or half of it"), "{backend} {max}");
            let mut client = Client::connect(shop.address());
            client.send(&get_bytes(&format!("/{backend}-{max}-cut")));
            let half = client.response_to("GET");
            assert!(half.is_err(), "{backend} {max}: half of a body passes for a whole one: {half:?}");
        }
    }
}

#[test]
fn an_upstream_without_a_protocol_in_common_is_503() {
    let (authority, mut shop) = (Authority::new(), Shop::new());
    let (http1, http2) = (Upstream::echo("up"), Http2Upstream::start());
    let pair = authority.issue("right.test");
    let only_1 = Front::start(&pair, http1.address(), json!({"alpn": ["http/1.1"]}));
    let silent = Front::start(&pair, http1.address(), json!({}));
    let only_2 = Front::start(&pair, http2.address(), json!({"alpn": ["h2"]}));
    for (backend, base) in backends() {
        let context = |alpn: Value| with(&base, json!({"trustedCA": authority.pem(), "alpn": alpn}));
        for (name, front) in [("only-1", &only_1), ("silent", &silent)] {
            shop.serve(&format!("{backend}-{name}"), &at("right.test", front), &context(json!(["h2"])));
            let address = format!("h2://right.test:{}", front.port());
            shop.serve(&format!("{backend}-{name}-h2"), &address, &context(json!([])));
        }
        let address = format!("h2://right.test:{}", only_2.port());
        shop.serve(&format!("{backend}-right"), &address, &context(json!([])));
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        for name in ["only-1", "silent", "only-1-h2", "silent-h2"] {
            let name = format!("{backend}-{name}");
            assert_eq!(shop.status(&name), 503, "{name}");
            gateway.says(&format!("shop-{name}: UPSTREAM_TLS_ALPN"));
        }
        assert_eq!(shop.status(&format!("{backend}-right")), 200, "{}", gateway.log());
    }
    assert!(http1.received().is_empty());
}

/// Of an intermediate that two authorities have certified, each of the two may be the one that is trusted.
#[test]
fn of_cross_signed_intermediates_the_one_counts_that_leads_to_whom_we_trust() {
    let (upstream, mut shop) = (Upstream::echo("up"), Shop::new());
    let [one, other] = ["one CA", "other CA"].map(Authority::named);
    let middle = one.intermediate("middle CA");
    let crossed = other.cross_sign(&middle, "middle CA");
    let (leaf, key) = middle.issue("right.test");
    let orders =
        [("first", [middle.pem(), crossed.clone()].concat()), ("second", [crossed, middle.pem()].concat())];
    let fronts = orders.map(|(name, intermediates)| {
        let chain = leaf.with_extension(name);
        std::fs::write(&chain, text(&leaf) + &intermediates).expect("writable");
        Front::start(&(chain, key.clone()), upstream.address(), json!({}))
    });
    for (backend, base) in backends() {
        for (at_front, front) in fronts.iter().enumerate() {
            for (name, authority) in [("one", &one), ("other", &other)] {
                let context = with(&base, json!({"trustedCA": authority.pem()}));
                shop.serve(&format!("{backend}-{at_front}-{name}"), &at("right.test", front), &context);
            }
        }
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        for name in ["0-one", "0-other", "1-one", "1-other"] {
            assert_eq!(shop.status(&format!("{backend}-{name}")), 200, "{backend} {name}: {}", gateway.log());
        }
    }
}

/// With TLS 1.3 the upstream says so after our handshake, to all streams at once.
#[test]
fn an_upstream_that_would_speak_http_2_and_wants_another_certificate_is_a_failure_of_tls() {
    let (authority, http2, mut shop) = (Authority::new(), Http2Upstream::start(), Shop::new());
    let terms = json!({"alpn": ["h2"], "min": "1.3", "client_ca": authority.certificate()});
    let front = Front::start(&authority.issue("right.test"), http2.address(), terms);
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem()}));
        shop.serve(backend, &at("right.test", &front), &context);
    }
    let gateway = shop.plan().start();
    for (backend, _) in backends() {
        let labels = [format!("upstream=\"shop-{backend}\""), "reason=\"refused_by_upstream\"".to_owned()];
        eventually("the alert is seen", || {
            let response = shop.get(backend);
            assert_eq!(response.status, 503, "{}", response.text());
            let labels = labels.each_ref().map(String::as_str);
            let counted = gateway.metric("portcullis_upstream_tls_handshake_failures_total", &labels);
            (counted >= 1.0).then_some(())
        });
        gateway.says(&format!("shop-{backend}: UPSTREAM_TLS_REFUSED"));
    }
    assert_eq!(http2.requests(), 0);
}

#[test]
fn http_2_is_not_spoken_over_tls_1_1_with_an_upstream_pitfall_5() {
    let (authority, mut shop) = (Authority::new(), Shop::new());
    let (http1, http2) = (Upstream::echo("up"), Http2Upstream::start());
    let pair = authority.issue("right.test");
    let old = |alpn: Value, upstream| {
        let terms = json!({"alpn": alpn, "max": "1.1", "ciphers": "ALL:@SECLEVEL=0"});
        Front::start(&pair, upstream, terms)
    };
    let chooses_2 = old(json!(["h2"]), http2.address());
    let chooses_1 = old(json!(["http/1.1"]), http1.address());
    let context = json!({
        "trustedCA": authority.pem(), "minversion": "1.1",
        "ciphers": ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
    });
    shop.serve("two", &at("right.test", &chooses_2), &context);
    shop.serve("one", &at("right.test", &chooses_1), &context);
    let gateway = shop.plan().start();
    assert_eq!(shop.status("one"), 200, "{}", gateway.log());
    assert_eq!(chooses_1.last()["version"], "TLSv1.1");
    assert_eq!(shop.status("two"), 503);
    gateway.says("shop-two: UPSTREAM_TLS_ALPN");
    assert_eq!(http2.requests(), 0);
}

#[test]
fn nghttpd_over_tls_is_spoken_to_in_http_2_with_bodies_of_some_mib() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i / 7) as u8).collect();
    let (authority, mut shop) = (Authority::new(), Shop::new());
    let server = Daemon::nghttpd_tls("file", &content, &authority.issue("right.test"));
    for (backend, base) in backends() {
        for scheme in ["https", "h2"] {
            let context = with(&base, json!({"trustedCA": authority.pem()}));
            let address = format!("{scheme}://right.test:{}", server.address().port());
            shop.serve(&format!("{backend}-{scheme}"), &address, &context);
        }
    }
    let mut resource = shop.resource();
    for (name, service) in resource["spec"]["services"].as_object_mut().expect("services") {
        // What the group leaves is the path of the file.
        service["routes"][0]["rules"][0]["path"] = json!(format!("/{name}(/.*)"));
    }
    let gateway = shop.plan().with("api.yaml", &[resource]).start();
    for (backend, _) in backends() {
        for scheme in ["https", "h2"] {
            let answer = client::get(shop.address(), &format!("/{backend}-{scheme}/file"));
            assert_eq!(answer.status, 200, "{backend} {scheme}: {}", gateway.log());
            assert!(answer.body == content, "{backend} {scheme}: {} bytes", answer.body.len());
            let mut client = Client::connect(shop.address());
            let length = content.len();
            let path = format!("/{backend}-{scheme}/file");
            client.send(
                format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
            );
            let writer = client.wire.socket().try_clone().expect("a descriptor is left");
            let sent = content.clone();
            let sending = std::thread::spawn(move || (&writer).write_all(&sent));
            let answer = client.response_to("POST").expect("an answer");
            sending.join().expect("a thread").expect("all is taken");
            assert!(answer.body == content, "{backend} {scheme}: {} bytes come back", answer.body.len());
        }
    }
}

#[test]
fn a_service_with_http_as_its_scheme_is_called_over_tls_all_the_same_and_validate_warns() {
    let (upstream, authority, mut shop) = (Upstream::echo("up"), Authority::new(), Shop::new());
    let front = authority.front("right.test", upstream.address());
    let address = format!("http://right.test:{}", front.port());
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem()}));
        shop.serve(&format!("{backend}-good"), &address, &context);
        // What cannot be built is never replaced by plain text.
        let broken = with(&context, json!({"alpn": ["h3"]}));
        shop.serve(&format!("{backend}-broken"), &upstream.url(), &broken);
        let resources = [
            service("s", &address),
            binding("out", "Service", "s", "tls-outbound", json!({"config": context})),
        ];
        let (code, said) = validate(&resources, &[]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("is called over TLS although its address says `http://`"), "{said}");
    }
    let gateway = shop.plan().start_unready();
    for (backend, _) in backends() {
        eventually("it is served", || (shop.status(&format!("{backend}-good")) == 200).then_some(()));
        assert_eq!(front.last()["sni"], "right.test");
        assert_eq!(shop.status(&format!("{backend}-broken")), 503, "{}", gateway.log());
    }
    assert!(upstream.received().iter().all(|request| request.target.ends_with("good")));
}

#[test]
fn a_handshake_that_an_upstream_never_ends_is_503_by_the_connect_timeout() {
    let (mut shop, silent) =
        (Shop::new(), TcpListener::bind("127.0.0.1:0").expect("a free port of loopback"));
    let port = silent.local_addr().expect("a bound socket has an address").port();
    let talker = TcpListener::bind("127.0.0.1:0").expect("a free port of loopback");
    let talks = talker.local_addr().expect("a bound socket has an address").port();
    std::thread::spawn(move || {
        for mut socket in talker.incoming().flatten() {
            let _ = socket.set_read_timeout(Some(PATIENCE));
            let _ = socket.read(&mut [0; 1024]);
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    for (backend, base) in backends() {
        let context = with(&base, json!({"skipValidation": true}));
        shop.serve(&format!("{backend}-silent"), &format!("https://right.test:{port}"), &context);
        shop.serve(&format!("{backend}-plain"), &format!("https://right.test:{talks}"), &context);
    }
    let gateway = shop.plan().environment("PORTCULLIS_TIMEOUTS__CONNECT", "2s").start();
    for (backend, _) in backends() {
        let response = shop.get(&format!("{backend}-silent"));
        assert_eq!(response.status, 503);
        assert!(response.text().ends_with("connection timeout"), "{}", response.text());
        gateway.says(&format!("shop-{backend}-silent: UPSTREAM_TLS_TIMEOUT"));
        let of = format!("upstream=\"shop-{backend}-silent\"");
        let counted = |metric: &str, reason: &str| {
            gateway.metric(metric, &[of.as_str(), &format!("reason=\"{reason}\"")])
        };
        assert_eq!(counted("portcullis_upstream_tls_handshake_failures_total", "timeout"), 1.0);
        let connects = "portcullis_upstream_connect_failures_total";
        assert_eq!((counted(connects, "tls"), counted(connects, "timeout")), (1.0, 0.0));
        assert_eq!(shop.status(&format!("{backend}-plain")), 503);
        gateway.says(&format!("shop-{backend}-plain: UPSTREAM_TLS_MALFORMED"));
    }
}
