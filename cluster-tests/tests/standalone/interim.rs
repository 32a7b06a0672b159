//! Interim responses (RFC 9110 section 15.2) and `Expect: 100-continue` (section 10.1.1), end to end.

use std::io;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, Response};
use cluster_tests::config::api_with;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::upstream::{Exchange, Upstream};
use cluster_tests::{PATIENCE, ports};
use serde_json::{Value, json};

use crate::bodies::in_front_of;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const EXPECTING: &[u8] = b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

fn behind(policies: Value, upstream: &Upstream) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let api = api_with("api", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    (Plan::new().with("api.yaml", &[api]).workers(1).start(), ([127, 0, 0, 1], port).into())
}

/// One end for a script that many threads run, the other for the test.
fn news<T: Send + 'static>() -> (impl Fn(T) -> io::Result<()> + Send + Sync, Receiver<T>) {
    let (tell, told) = channel();
    let tell: Mutex<Sender<T>> = Mutex::new(tell);
    let send = move |value| {
        let tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
        tell.send(value).map_err(|_| io::Error::other("the test is over"))
    };
    (send, told)
}

fn expects(exchange: &Exchange<'_>) -> bool {
    exchange.request.head.get("expect").is_some_and(|value| value == "100-continue")
}

fn statuses(response: &Response) -> Vec<&str> {
    response.interim.iter().map(|head| &head.first_line[9..12]).collect()
}

#[test]
fn interim_answers_come_in_order_before_the_final_one_without_fields_of_the_connection() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\nServer: u\r\nX-Envoy-A: 1\r\n\r\n")?;
        exchange.write(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n")?;
        std::thread::sleep(Duration::from_millis(20));
        exchange.write(b"Keep-Alive: timeout=1\r\n\r\nHTTP/1.1 199 Own\r\nX: y\r\n\r\n")?;
        let target = exchange.request.target.clone();
        exchange.reply(200, "", target.as_bytes())
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    client.send(&b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5));
    for _ in 0..5 {
        let response = client.response_to("GET").expect("an answer");
        assert_eq!((response.status, response.text().as_str()), (200, "/p"));
        assert_eq!(statuses(&response), ["103", "102", "103", "199"]);
        let links: Vec<_> = response.interim.iter().map(|head| head.get("link")).collect();
        assert_eq!(links, [Some("</a>"), None, Some("</b>"), None]);
        for head in &response.interim {
            let hop = ["connection", "keep-alive", "x-hop", "content-length", "transfer-encoding"];
            // What the gateway says of itself is in the final one (decision 6).
            assert!(["server", "x-envoy-a"].iter().all(|name| head.get(name).is_none()), "{head:?}");
            assert!(hop.iter().all(|name| head.get(name).is_none()), "{head:?}");
        }
    }
    let old =
        Client::connect(address).exchange("GET", b"GET /old HTTP/1.0\r\nHost: a\r\n\r\n").expect("an answer");
    assert_eq!((old.status, old.interim.len()), (200, 0), "HTTP/1.0 does not know them");
    assert_eq!(upstream.connections(), 1, "they cost no connection");
}

#[test]
fn a_hint_reaches_the_client_before_the_answer_is_known() {
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |exchange| {
        exchange.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
        let gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.recv_timeout(PATIENCE).map_err(io::Error::other)?;
        exchange.reply(200, "", b"done")
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.any_head().expect("a hint").0, 103);
    go.send(()).expect("the upstream waits");
    assert_eq!(client.response_to("GET").expect("an answer").text(), "done");
}

#[test]
fn interim_answers_without_end_are_a_502_after_a_bounded_number_and_size() {
    for (field, most) in [(String::new(), 64), (format!("X: {}\r\n", "y".repeat(8_000)), 8)] {
        let upstream = Upstream::start(move |exchange| {
            exchange.close();
            loop {
                exchange.write(format!("HTTP/1.1 103 Early Hints\r\n{field}\r\n").as_bytes())?;
            }
        });
        let (_gateway, address) = in_front_of(&upstream, 1);
        let mut client = Client::connect(address);
        let response = client.get("/", "a", "");
        assert_eq!(response.status, 502);
        assert!((1..=most).contains(&response.interim.len()), "{}", response.interim.len());
        assert_eq!(client.get("/", "a", "").status, 502, "the client's connection is as good as before");
    }
}

#[test]
fn an_interim_answer_with_a_body_or_broken_fields_is_a_502() {
    for interim in [
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink : </a>\r\n\r\n",
        "HTTP/1.1 103 Early Hints\nLink: </a>\n\n",
    ] {
        let upstream = Upstream::start(move |exchange| {
            exchange.close();
            exchange.write(interim.as_bytes())?;
            exchange.reply(200, "", b"ok")
        });
        let (_gateway, address) = in_front_of(&upstream, 1);
        let response = Client::connect(address).get("/", "a", "");
        assert_eq!((response.status, response.interim.len()), (502, 0), "{interim:?}");
    }
}

#[test]
fn an_exchange_that_fails_after_a_hint_ends_in_one_answer_and_is_not_tried_again() {
    let upstream = Upstream::start(|exchange| {
        exchange.close();
        exchange.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")?;
        if exchange.request.target == "/silent" {
            exchange.until_closed();
        }
        Ok(())
    });
    let timeout = json!([{"policyRef": {"name": "response-timeout-flex"}, "config": {"timeout": 3}}]);
    let (_gateway, address) = behind(timeout, &upstream);
    let mut client = Client::connect(address);
    for (path, status) in [("/closed", 503), ("/silent", 504)] {
        let response = client.get(path, "a", "");
        assert_eq!((response.status, statuses(&response)), (status, vec!["103"]), "{path}");
    }
    assert_eq!(upstream.received().len(), 2, "a byte of the answer had come");
}

/// How soon an exchange is over in which the gateway never waited the second that it gives an upstream to decide.
const UNDECIDED: Duration = Duration::from_millis(900);

/// The outcome of an exchange that was over before the gateway may have decided itself. A machine that stands still for
/// so long decides nothing: then it is tried again.
fn undisturbed<T>(mut exchange: impl FnMut() -> T) -> T {
    let tried = (0..10).find_map(|_| {
        let started = Instant::now();
        let outcome = exchange();
        (started.elapsed() < UNDECIDED).then_some(outcome)
    });
    tried.expect("one of ten exchanges takes less than a second")
}

#[test]
fn the_upstream_decides_when_the_body_is_sent() {
    let (tell, told) = news();
    let upstream = Upstream::start(move |exchange| {
        let expected = expects(exchange);
        std::thread::sleep(Duration::from_millis(300));
        // The gateway must have held the body back all the time.
        exchange.wire().socket().set_nonblocking(true)?;
        let held = exchange.wire().fill().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        exchange.wire().socket().set_nonblocking(false)?;
        tell((expected, held))?;
        exchange.write(b"HTTP/1.1 100 Continue\r\nX-Says: go\r\n\r\n")?;
        exchange.echo("up")
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    for eager in [false, true] {
        let (status, head, response, upstream_saw) = undisturbed(|| {
            client.send(EXPECTING);
            if eager {
                client.send(b"hello");
            }
            let (status, head) = client.any_head().expect("an interim answer");
            if !eager {
                client.send(b"hello");
            }
            let response = client.response_to("POST").expect("an answer");
            (status, head, response, told.recv_timeout(PATIENCE))
        });
        assert_eq!((status, head.get("x-says")), (100, Some("go")), "the upstream's own");
        assert_eq!((response.json()["body"].as_str(), response.interim.len()), (Some("hello"), 0));
        assert_eq!(upstream_saw, Ok((true, true)), "expected, and held back; eager: {eager}");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_upstream_that_ignores_the_expectation_gets_the_body_after_a_second() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    let started = Instant::now();
    client.send(EXPECTING);
    assert_eq!(client.any_head().expect("the gateway's own 100").0, 100);
    let took = started.elapsed();
    assert!(
        took >= UNDECIDED && took < Duration::from_secs(14),
        "{took:?}, not by the response timeout of 15 s"
    );
    client.send(b"hello");
    assert_eq!(client.response_to("POST").expect("an answer").json()["body"], "hello");
}

#[test]
fn a_refusal_before_the_body_is_the_answer_and_the_body_is_never_sent() {
    for status in [401, 417] {
        let (tell, told) = news();
        let upstream = Upstream::start(move |exchange| {
            exchange.close();
            exchange.reply(status, "", b"no")?;
            tell(exchange.wire().to_end().map(|bytes| bytes.len()).unwrap_or(usize::MAX))
        });
        let (_gateway, address) = in_front_of(&upstream, 1);
        let (response, closed, upstream_saw) = undisturbed(|| {
            let mut client = Client::connect(address);
            client.send(EXPECTING);
            let response = client.response_to("POST").expect("an answer");
            (response, client.closed(), told.recv_timeout(PATIENCE))
        });
        assert_eq!((response.status, response.text().as_str()), (status, "no"));
        assert_eq!(response.interim.len(), 0);
        assert!(response.closes() && closed, "what the client sends next has no known meaning");
        assert_eq!(upstream_saw, Ok(0), "the upstream saw no body, and the connection's end");
    }
}

#[test]
fn a_policy_that_reads_the_body_makes_the_gateway_answer_100_itself() {
    let upstream = Upstream::echo("up");
    let policies = json!([{
        "policyRef": {"name": "message-logging-flex"},
        "config": {"loggingConfiguration": [{"itemName": "body", "itemData": {
            "message": "#[payload]", "level": "INFO", "firstSection": true, "secondSection": false,
        }}]},
    }]);
    let (_gateway, address) = behind(policies, &upstream);
    let mut client = Client::connect(address);
    // Nobody waits for the upstream to decide.
    undisturbed(|| {
        let before = upstream.received().len();
        client.send(EXPECTING);
        assert_eq!(client.any_head().expect("a 100").0, 100);
        assert_eq!(
            upstream.received().len(),
            before,
            "nothing is forwarded before the policy has seen the body"
        );
        client.send(b"hello");
        let seen = client.response_to("POST").expect("an answer").json();
        assert_eq!(seen["body"], "hello");
        assert!(!seen["fields"].to_string().to_lowercase().contains("expect"), "{seen}");
    });
}

#[test]
fn an_idempotent_request_whose_body_was_held_back_is_tried_again() {
    let upstream = Upstream::start(|exchange| {
        if exchange.request.connection == 0 {
            exchange.close();
            return Ok(());
        }
        exchange.write(CONTINUE)?;
        exchange.echo("up")
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    client.send(b"PUT /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.any_head().expect("a 100").0, 100);
    client.send(b"hello");
    assert_eq!(client.response_to("PUT").expect("an answer").json()["body"], "hello");
    assert_eq!(upstream.received().len(), 2);
}

/// Runs curl with an upload that expects 100: its status line and what it says of the exchange.
fn curl(address: SocketAddr, body: &str) -> (String, String) {
    let curl = Command::new("curl")
        .args(["-sS", "-v", "--max-time", "20", "--expect100-timeout", "15", "-H", "Expect: 100-continue"])
        .args(["-w", "%{http_code}", "--data-binary", body, &format!("http://{address}/up")])
        .stdin(Stdio::null())
        .output()
        .expect("curl is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&curl.stdout), text(&curl.stderr))
}

#[test]
fn curl_uploads_after_the_upstreams_100_and_does_not_after_a_refusal() {
    let upstream = Upstream::start(|exchange| {
        if !expects(exchange) {
            return exchange.reply(500, "", b"no expectation");
        }
        exchange.write(CONTINUE)?;
        exchange.echo("up")
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let body = "x".repeat(2_000_000 / 20);
    let (out, log) = curl(address, &body);
    assert!(out.ends_with("200") && out.contains(&body), "{}\n{log}", &out[out.len().saturating_sub(200)..]);
    assert!(log.contains("< HTTP/1.1 100 Continue"), "{log}");

    let upstream = Upstream::start(|exchange| {
        exchange.close();
        exchange.reply(401, "", b"no")?;
        exchange.until_closed();
        Ok(())
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let started = Instant::now();
    let (out, log) = curl(address, &body);
    assert_eq!(out, "no401", "{log}");
    assert!(!log.contains("100 Continue") && started.elapsed() < Duration::from_secs(10), "{log}");
}
