//! Decision 4, and connections that the upstream gave up.

use super::bench::{Bench, ROOMY, accepted, run, upstream};
use crate::snapshot::{Gauge, upstream::UpstreamLimits};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What the client gets when the upstream closes the first `closed` connections without an answer,
/// and how many requests came.
async fn with_closing(request: &'static str, closed: usize, limits: UpstreamLimits) -> (String, usize) {
    let listener = upstream().await;
    let bench = Bench::new(&listener, limits).await;
    let serving = actix_rt::spawn(async move {
        for came in 1.. {
            let mut peer = accepted(&listener).await;
            peer.message().await.expect("a request");
            if came > closed {
                peer.send(OK).await;
                return came;
            }
            // The client's answer comes only when no more connections will.
            if came == 2 || !request.starts_with("GET") || limits.retries_max == 0 {
                return came;
            }
        }
        0
    });
    let status = bench.ask(request).await.status().to_owned();
    assert_eq!(bench.upstream.gauges.count(Gauge::Retries), 0);
    (status, serving.await.unwrap())
}

#[test]
fn an_idempotent_request_without_an_answer_is_sent_once_more() {
    run(async {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        assert_eq!(with_closing(get, 1, ROOMY).await, ("200".into(), 2));
        assert_eq!(with_closing(get, 2, ROOMY).await, ("503".into(), 2));
        let none = UpstreamLimits { retries_max: 0, ..ROOMY };
        assert_eq!(with_closing(get, 1, none).await, ("503".into(), 1));
    });
}

#[test]
fn a_request_that_is_not_idempotent_is_sent_once() {
    run(async {
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(with_closing(post, 1, ROOMY).await, ("503".into(), 1));
    });
}

#[test]
fn nothing_is_sent_again_once_a_byte_of_the_response_came() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let serving = actix_rt::spawn(async move {
            let mut peer = accepted(&listener).await;
            peer.message().await.expect("a request");
            peer.send("H").await;
            drop(peer);
            listener
        });
        assert_eq!(bench.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), "503");
        let listener = serving.await.unwrap();
        let none = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await;
        assert!(none.is_err(), "no second connection");
    });
}

#[test]
fn a_pooled_connection_that_was_closed_or_speaks_unasked_is_not_used() {
    run(async {
        for unasked in ["", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"] {
            let listener = upstream().await;
            let bench = Bench::new(&listener, ROOMY).await;
            let serving = actix_rt::spawn(async move {
                let mut peers = Vec::new();
                for _ in 0..2 {
                    let mut peer = accepted(&listener).await;
                    peer.message().await.expect("a request");
                    peer.send(OK).await;
                    peer.send(unasked).await;
                    if !unasked.is_empty() {
                        peers.push(peer);
                    }
                }
                peers
            });
            let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
            assert_eq!(bench.ask(post).await.body, b"ok");
            // The gateway must have seen what came after the response.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert_eq!(bench.ask(post).await.body, b"ok");
            serving.await.unwrap();
        }
    });
}
