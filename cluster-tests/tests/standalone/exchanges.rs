//! Shapes of an exchange: HEAD, 204 and 304, HTTP/1.0, pipelining, `Expect`, retries, aborts.

use std::net::SocketAddr;
use std::time::Duration;

use cluster_tests::client::{Client, get};
use cluster_tests::config::{api, binding, service};
use cluster_tests::gateway::Plan;
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, http2, ports};
use serde_json::json;

use crate::bodies::in_front_of;

#[test]
fn expect_100_continue_is_answered_and_the_body_follows() {
    let upstream = Upstream::start(|exchange| {
        let expects = exchange.request.head.get("expect").is_some();
        if expects {
            exchange.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        exchange.echo("up")
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    for _ in 0..3 {
        client.send(b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        let (status, _) = client.any_head().expect("an interim answer before the body");
        assert_eq!(status, 100);
        client.send(b"hello");
        let response = client.response_to("POST").expect("the final answer");
        assert_eq!((response.json()["body"].as_str(), response.interim.len()), (Some("hello"), 0));
    }
}

#[test]
fn a_client_that_does_not_wait_for_100_is_served() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    client.send(b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response_to("POST").expect("an answer").json()["body"], "hello");
    assert_eq!(client.get("/next", "a", "").json()["target"], "/next");
}

#[test]
fn head_204_and_304_have_no_body_and_keep_the_connection() {
    let upstream = Upstream::start(|exchange| match exchange.request.target.as_str() {
        "/204" => exchange.write(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
        "/304" => exchange.write(b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
        _ => exchange.reply(200, "", b"twelve bytes"),
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    for _ in 0..3 {
        let head = client.exchange("HEAD", b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n").expect("a head");
        assert_eq!((head.status, head.head.get("content-length")), (200, Some("12")));
        let empty = client.get("/204", "a", "");
        assert_eq!(
            (empty.status, empty.head.get("content-length"), empty.head.get("x-a")),
            (204, None, Some("b"))
        );
        assert_eq!(empty.head.get("transfer-encoding"), None);
        let unchanged = client.get("/304", "a", "");
        assert_eq!((unchanged.status, unchanged.head.get("etag")), (304, Some("\"x\"")));
        assert_eq!(client.get("/g", "a", "").text(), "twelve bytes");
    }
    assert_eq!(upstream.connections(), 1, "no upstream connection was spent on them");
}

#[test]
fn http_1_0_clients_are_served_without_chunks_and_closed_unless_they_ask() {
    let upstream = Upstream::start(|exchange| {
        if exchange.request.target == "/length" {
            return exchange.reply(200, "", b"abc");
        }
        exchange
            .write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    for (request, closes) in [
        ("GET /chunked HTTP/1.0\r\n\r\n", true),
        ("GET /chunked HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true),
        ("GET /length HTTP/1.0\r\nHost: a\r\n\r\n", true),
        ("GET /length HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", false),
    ] {
        let mut client = Client::connect(address);
        let response =
            client.exchange("GET", request.as_bytes()).unwrap_or_else(|error| panic!("{request:?}: {error}"));
        assert_eq!((response.status, response.text().as_str()), (200, "abc"), "{request:?}");
        assert_eq!(response.head.get("transfer-encoding"), None, "{request:?}");
        let open =
            response.head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive"));
        if closes {
            assert!(client.closed(), "{request:?}");
        } else if open {
            let again = client.exchange("GET", request.as_bytes()).expect("the connection was kept");
            assert_eq!(again.text(), "abc");
        }
    }
    let towards = upstream.received();
    assert!(
        towards.iter().all(|request| request.head.first_line.ends_with("HTTP/1.1")),
        "1.1 towards the upstream"
    );
}

#[test]
fn connection_close_is_honoured() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    let response = client.get("/x", "a", "Connection: close\r\n");
    assert!(response.closes() && client.closed());
    assert_eq!(get(address, "/y").json()["connection"], 0, "the upstream's connection is not the client's");
}

#[test]
fn an_upstream_that_closes_does_not_close_the_client() {
    let upstream = Upstream::start(|exchange| {
        exchange.close();
        exchange.reply(200, "Connection: close\r\n", b"bye")
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    for _ in 0..5 {
        let response = client.get("/x", "a", "");
        assert!(!response.closes() && response.text() == "bye");
    }
    assert_eq!(upstream.connections(), 5);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|exchange| {
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..8)));
        exchange.echo("up")
    });
    let (_gateway, address) = in_front_of(&upstream, 2);
    let mut all = Vec::new();
    for number in 0..60 {
        all.extend_from_slice(match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            _ => format!("POST /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        }.as_bytes());
    }
    for bytewise in [false, true] {
        let mut client = Client::connect(address);
        client.send_as(bytewise, &all);
        for number in 0..60 {
            let seen =
                client.response_to("GET").unwrap_or_else(|error| panic!("answer {number}: {error}")).json();
            assert_eq!(seen["target"], format!("/{number}"));
            assert_eq!(seen["body"], if number % 3 == 0 { "" } else { "abc" });
        }
    }
}

#[test]
fn a_stale_pooled_connection_costs_the_client_nothing() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    for round in 0..30 {
        assert_eq!(client.get("/x", "a", "").status, 200, "round {round}");
        upstream.cut();
    }
}

#[test]
fn services_at_one_address_share_connections_and_each_keeps_its_own_limit() {
    let upstream = Upstream::start(|exchange| {
        // Requests to `/held` never end.
        if exchange.request.target == "/held" {
            exchange.until_closed();
        }
        exchange.echo("up")
    });
    let port = ports::free();
    let one = json!({"config": {"thresholds": {"maxConnections": 1, "maxPendingRequests": 1}}});
    let mut resources = vec![
        service("first", &upstream.url()),
        service("second", &upstream.url()),
        binding("breaker", "Service", "second", "circuit-breaker-flex", one),
    ];
    for name in ["first", "second"] {
        let mut api = api(name, &format!("http://127.0.0.1:{port}/{name}"), "");
        api["spec"]["services"] = json!({});
        let to = json!({"config": {"destinationRef": {"name": name}}});
        resources.extend([api, binding(&format!("{name}-route"), "ApiInstance", name, "route", to)]);
    }
    let gateway = Plan::new().with("api.yaml", &resources).workers(1).start();
    let address = ([127, 0, 0, 1], port).into();
    for path in ["/first", "/second", "/first", "/second"] {
        assert_eq!(get(address, path).status, 200, "{path}");
    }
    assert_eq!(upstream.connections(), 1);
    let idle = |name: &str| gateway.metric("portcullis_upstream_idle_connections", &[name]);
    eventually("it counts for who used it last", || {
        ((idle("first"), idle("second")) == (0.0, 1.0)).then_some(())
    });
    // The only connection that the second may have is held; the first has as many as it wants.
    let _held = asking(address, "/second/held");
    eventually("a second connection", || {
        upstream.received().iter().any(|seen| seen.target == "/held").then_some(())
    });
    for _ in 0..3 {
        assert_eq!(get(address, "/first").status, 200);
    }
    assert_eq!(upstream.connections(), 2);
    let _waiting = asking(address, "/second");
    eventually("it waits", || {
        (gateway.metric("portcullis_upstream_pending_requests", &["second"]) == 1.0).then_some(())
    });
    assert_eq!(get(address, "/second").status, 503, "although an idle connection leads there");
}

fn asking(address: SocketAddr, path: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    client
}

#[test]
fn an_idempotent_request_is_tried_at_most_twice_and_a_post_once() {
    let upstream = Upstream::start(|exchange| {
        exchange.close();
        exchange.body().map(drop)
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    let status = client.get("/g", "a", "").status;
    assert!([502, 503].contains(&status), "{status}");
    assert!((1..=2).contains(&upstream.received().len()), "{} tries", upstream.received().len());
    upstream.forget();
    let mut client = Client::connect(address);
    let request = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    let status = client.exchange("POST", request).expect("an answer").status;
    assert!([502, 503].contains(&status), "{status}");
    assert_eq!(upstream.received().len(), 1, "a POST is never sent twice");
}

#[test]
fn a_client_that_goes_away_frees_the_upstream() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let upstream = Upstream::start(move |exchange| {
        let closed = exchange.until_closed();
        exchange.close();
        let tell = tell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tell.send(closed).map_err(std::io::Error::other)
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    for request in [
        b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(),
        b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc",
    ] {
        let before = upstream.received().len();
        let mut client = Client::connect(address);
        client.send(request);
        eventually("the request is under way", || (upstream.received().len() > before).then_some(()));
        drop(client);
        assert!(told.recv_timeout(cluster_tests::PATIENCE).expect("the upstream hears of it"));
    }
}

#[test]
fn an_upload_cut_by_the_client_never_looks_complete() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let upstream = Upstream::start(move |exchange| {
        exchange.close();
        let complete = exchange.body().is_ok();
        let tell = tell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tell.send(complete).map_err(std::io::Error::other)
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    for request in [
        b"POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc".as_slice(),
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let before = upstream.received().len();
        let mut client = Client::connect(address);
        client.send(request);
        eventually("the request is under way", || (upstream.received().len() > before).then_some(()));
        drop(client);
        let complete = told.recv_timeout(cluster_tests::PATIENCE).expect("the upstream hears of the end");
        assert!(!complete, "a cut upload was completed for the upstream");
    }
}

/// Configuration reference 12: the gateway makes no spans yet, and breaks no trace.
#[test]
fn trace_headers_arrive_as_they_came_over_http_1_1_and_http_2() {
    const TRACE: [(&str, &str); 8] = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "vendor=a,other=b"),
        ("baggage", "user=7;p=1,team=x"),
        ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1"),
        ("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("x-b3-spanid", "00f067aa0ba902b7"),
        ("x-b3-sampled", "1"),
        ("x-ot-span-context", "a;b;c"),
    ];
    let upstream = Upstream::echo("up");
    let (_gateway, address) = in_front_of(&upstream, 1);
    let lines: String = TRACE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    assert_eq!(Client::connect(address).get("/1", "a", &lines).status, 200);
    let mut client = http2::Http2::connect(address);
    let head = http2::request("GET", "/2", &TRACE);
    client.send(&http2::frame(http2::kind::HEADERS, http2::flag::WHOLE, 1, &head));
    client.until_answered(1).expect("an answer");
    let received = upstream.received();
    assert_eq!(received.len(), 2);
    for request in received {
        for (name, value) in TRACE {
            let found: Vec<_> =
                request.head.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).collect();
            assert!(
                matches!(found.as_slice(), [(_, found)] if found == value),
                "{}: {name}: {found:?}",
                request.target
            );
        }
    }
}
