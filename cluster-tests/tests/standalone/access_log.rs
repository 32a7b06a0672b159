//! The built-in access log (decision 8): a line for each request, whatever became of it.

use std::net::SocketAddr;
use std::time::Duration;

use cluster_tests::client::Client;
use cluster_tests::config::api;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::http2::code::CANCEL;
use cluster_tests::http2::flag::WHOLE;
use cluster_tests::http2::{Http2, frame, get, kind, post, request, reset};
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;

fn logging(upstream: &Upstream) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let api = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let plan = Plan::new().with("api.yaml", &[api]).environment("PORTCULLIS_ACCESS_LOG", "true");
    let plan = plan.environment("FLEX_SERVICE_ENVOY_DRAIN_TIME", "1").argument("--set");
    (plan.argument("limits.request_body=1KiB").start(), ([127, 0, 0, 1], port).into())
}

/// Answers with two bytes of a body that goes on for ever.
fn endless() -> Upstream {
    Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")?;
        exchange.until_closed();
        Ok(())
    })
}

/// A client that has read the two bytes.
fn begun(address: SocketAddr, path: &str) -> Http2 {
    let mut client = Http2::connect(address);
    client.send(&get(1, path));
    assert_eq!(client.until(1, kind::DATA).expect("the beginning of a body").payload, b"ab");
    client
}

#[test]
fn what_its_client_cuts_is_logged_with_the_status_and_the_bytes_that_were_sent() {
    let upstream = endless();
    let (gateway, address) = logging(&upstream);
    let mut resetting = begun(address, "/reset");
    resetting.send(&reset(1, CANCEL));
    assert!(gateway.says(" GET /reset 200 ").ends_with(" in=0 out=2"));
    drop(begun(address, "/closed"));
    assert!(gateway.says(" GET /closed 200 ").ends_with(" in=0 out=2"));
    let mut client = Client::connect(address);
    client.send(b"GET /over-http-1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head_for("GET").expect("a head").0.status, 200);
    drop(client);
    assert!(gateway.says(" GET /over-http-1 200 ").ends_with(" in=0 out=2"));
}

#[test]
fn what_the_end_of_a_drain_cuts_is_logged() {
    let upstream = endless();
    let (mut gateway, address) = logging(&upstream);
    let held = begun(address, "/held");
    let mut waiting = Client::connect(address);
    waiting.send(b"GET /held-too HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(waiting.head_for("GET").expect("a head").0.status, 200);
    gateway.signal("TERM");
    assert!(gateway.wait(Duration::from_secs(20)).success());
    for path in ["/held", "/held-too"] {
        assert!(gateway.says(&format!(" GET {path} 200 ")).ends_with(" in=0 out=2"));
    }
    drop((held, waiting));
}

#[test]
fn what_is_refused_is_logged_with_what_is_known_of_it() {
    let upstream = Upstream::echo("up");
    let (gateway, address) = logging(&upstream);
    let huge = "x".repeat(80 * 1024);
    for (said, line) in [
        (
            "GET /malformed?token=hunter2 HTTP/1.1\r\nHost: a\r\nbad name: hunter2\r\n\r\n",
            "GET /malformed 400",
        ),
        ("GET /%zz HTTP/1.1\r\nHost: hunter2\r\n\r\n", "GET - 400"),
        ("hunter2\x1b[31m\r\n\r\n", "- - 400"),
        ("TRACE /traced HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE /traced 405"),
        ("POST /a/../large HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n", "POST /large 413"),
        ("GET /expects HTTP/1.1\r\nHost: a\r\nExpect: hunter2\r\n\r\n", "GET /expects 417"),
        (&format!("GET /long HTTP/1.1\r\nHost: a\r\nx: {huge}\r\n\r\n"), "GET /long 431"),
        ("GET /version HTTP/3.0\r\nHost: a\r\n\r\n", "GET /version 505"),
    ] {
        let status = line.rsplit(' ').next().and_then(|status| status.parse::<u16>().ok());
        let response = Client::connect(address).exchange("GET", said.as_bytes()).expect("a response");
        assert_eq!(Some(response.status), status, "{line}");
        let found = gateway.says(&format!("[accessLog] 127.0.0.1 {line} "));
        assert!(found.ends_with(&format!(" in=0 out={}", response.body.len())), "{found}");
        assert!(found.contains("[req: "), "{found}");
    }
    assert!(!gateway.log().contains("hunter2"), "{}", gateway.log());
}

#[test]
fn what_is_refused_over_http_2_is_logged_too() {
    let upstream = Upstream::echo("up");
    let (gateway, address) = logging(&upstream);
    let mut client = Http2::connect(address);
    let head = |stream, flags, block: &[u8]| frame(kind::HEADERS, flags, stream, block);
    client.send(&head(1, WHOLE, &request("TRACE", "/traced", &[])));
    client.until_answered(1).expect("an answer");
    gateway.says("[accessLog] 127.0.0.1 TRACE /traced 405 ");
    client.send(&head(3, WHOLE, &request("GET", "/%zz", &[])));
    client.until_answered(3).expect("an answer");
    gateway.says("[accessLog] 127.0.0.1 GET - 400 ");
    client.send(&head(5, WHOLE, &request("GET", "/hosts", &[("host", "other.test")])));
    client.until(5, kind::RST_STREAM).expect("a reset");
    gateway.says("[accessLog] 127.0.0.1 GET /hosts 0 ");
    let large = post(7, "/large", &[("content-length", "2000")]);
    client.send(&large);
    client.until(7, kind::HEADERS).expect("an answer");
    gateway.says("[accessLog] 127.0.0.1 POST /large 413 ");
}
