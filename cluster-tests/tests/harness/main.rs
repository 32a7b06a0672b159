//! The harness against itself: what these tests cannot see, the chapters could not see either.

mod proxy;
mod redis;
mod replicas;

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::client::{Client, call, get};
use cluster_tests::load::{Load, OnClose, Work, get_bytes};
use cluster_tests::ports::Port;
use cluster_tests::upstream::Upstream;

/// A server that answers each request with exactly these bytes and closes.
fn saying(bytes: &'static [u8]) -> Upstream {
    Upstream::start(move |exchange| {
        exchange.write(bytes)?;
        exchange.close();
        Ok(())
    })
}

fn refuses(bytes: &'static [u8]) -> String {
    let server = saying(bytes);
    let mut client = Client::connect(server.address());
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.exchange("GET", request).expect_err("a strict parser refuses this").to_string()
}

#[test]
fn a_reserved_port_is_held_until_it_is_released() {
    let mut port = Port::reserve();
    let bind = |number| std::net::TcpListener::bind(("127.0.0.1", number));
    assert!(bind(port.number()).is_err());
    let number = port.release();
    assert!(bind(number).is_ok());
}

#[test]
fn the_echo_tells_what_was_received() {
    let server = Upstream::echo("one");
    let answer = call(server.address(), "POST", "/a?b=c", "X-Mark: yes\r\n", "hello").json();
    assert_eq!((answer["method"].as_str(), answer["target"].as_str()), (Some("POST"), Some("/a?b=c")));
    assert_eq!((answer["body"].as_str(), answer["upstream"].as_str()), (Some("hello"), Some("one")));
    assert!(answer["fields"].to_string().contains(r#"["X-Mark","yes"]"#));
    assert_eq!(server.received().len(), 1);
    assert!(server.problems().is_empty());
}

#[test]
fn chunks_and_trailers_are_read_both_ways() {
    let server = Upstream::start(|exchange| {
        let body = exchange.body()?;
        let trailer = exchange.trailers().first().cloned().unwrap_or_default();
        assert_eq!((body.as_slice(), trailer.1.as_str()), (&b"abc"[..], "7"));
        exchange
            .write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\nsum: 9\r\n\r\n")
    });
    let mut client = Client::connect(server.address());
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nsum: 7\r\n\r\n";
    for _ in 0..2 {
        client.send_bytewise(request);
        let response = client.response_to("POST").expect("a response");
        assert_eq!(response.text(), "xyz");
        assert_eq!(response.trailers, [("sum".to_owned(), "9".to_owned())]);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn interim_responses_are_kept_apart() {
    let server = saying(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let response = get(server.address(), "/");
    assert_eq!((response.status, response.interim.len(), response.text().as_str()), (200, 1, "ok"));
}

#[test]
fn the_oracle_refuses_what_is_not_strict() {
    assert!(refuses(b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n").contains("bare LF"));
    assert!(refuses(b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n").contains("bare CR"));
    assert!(refuses(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n").contains("colon"));
    assert!(refuses(b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n").contains("field name"));
    assert!(refuses(b"HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n").contains("control"));
    assert!(refuses(b"HTTP/2 200 OK\r\n\r\n").contains("status line"));
    assert!(
        refuses(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na").contains("framing")
    );
    let both =
        refuses(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(both.contains("framing"));
    assert!(refuses(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort").contains("before its body"));
    assert!(
        refuses(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n").contains("chunk size")
    );
    assert!(refuses(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n").contains("no CRLF"));
    assert!(refuses(b"").contains("closed without"));
}

#[test]
fn an_upstream_notes_what_it_cannot_parse() {
    let server = Upstream::echo("one");
    let mut client = Client::connect(server.address());
    client.send(b"GET / HTTP/1.1\nHost: a\r\n\r\n");
    assert!(client.closed());
    assert!(server.problems()[0].contains("bare LF"));
}

#[test]
fn unread_bytes_become_a_reset() {
    let server = Upstream::start(|exchange| {
        exchange.close();
        Ok(())
    });
    let mut client = Client::connect(server.address());
    let body = "x".repeat(4 << 20);
    client.send(
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
    );
    assert!(client.response_to("POST").is_err());
}

#[test]
fn silence_and_close_are_told_apart() {
    let server = Upstream::start(|exchange| {
        exchange.close();
        let waited = exchange.request.target == "/wait";
        if waited && exchange.until_closed() { Ok(()) } else { exchange.reply(200, "", b"") }
    });
    let mut client = Client::connect(server.address());
    client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.silent_for(Duration::from_millis(20)));
    let mut client = Client::connect(server.address());
    client.get("/go", "a", "");
    assert!(client.closed());
}

#[test]
fn load_counts_wrong_answers_and_broken_connections() {
    let server = Upstream::start(|exchange| {
        let last = exchange.request.target == "/9";
        if last {
            exchange.close();
            return Ok(());
        }
        let wrong = exchange.request.target == "/5";
        exchange.reply(200, "", if wrong { b"wrong" } else { b"right" })
    });
    let load = Load::start(Work {
        address: server.address(),
        kept: 1,
        fresh: 1,
        on_close: OnClose::Reconnect,
        request: Arc::new(|number| get_bytes(&format!("/{number}"))),
        check: Arc::new(|_, response| match response.text().as_str() {
            "right" => Ok(()),
            other => Err(format!("got {other}")),
        }),
    });
    cluster_tests::eventually("both failures", || (load.failed() > 1 && load.answered() > 40).then_some(()));
    let tally = load.stop();
    assert_eq!((tally.failed, tally.left), (2, 0), "{tally:?}");
    assert!(
        tally.told.iter().any(|why| why.contains("got wrong"))
            && tally.told.iter().any(|why| why.contains("closed"))
    );
}

#[test]
fn load_leaves_when_the_server_says_close() {
    let server = Upstream::start(|exchange| exchange.reply(200, "Connection: close\r\n", b""));
    let load = Load::start(Work {
        address: server.address(),
        kept: 2,
        fresh: 1,
        on_close: OnClose::Leave,
        request: Arc::new(|_| get_bytes("/")),
        check: Arc::new(|_, _| Ok(())),
    });
    cluster_tests::eventually("everyone has left", || load.all_left().then_some(()));
    let tally = load.stop();
    tally.assert_clean();
    assert_eq!((tally.answered, tally.left), (3, 3));
}
