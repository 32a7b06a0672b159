//! Decision 4, and connections that the upstream gave up.

use super::{
    bench::{Bench, ROOMY, accepted, run, upstream},
    http2_out,
};
use crate::{
    data_plane::replay::KEPT_BYTES_MAX,
    snapshot::{Gauge, upstream::UpstreamLimits},
};

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

#[test]
fn a_put_without_an_answer_is_sent_once_more_with_the_body_that_came_on_the_wire() {
    run(async {
        const PUT: &str = "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 9\r\n\r\n";
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let serving = actix_rt::spawn(async move {
            let mut came = Vec::new();
            for answer in ["", OK] {
                let mut peer = accepted(&listener).await;
                let message = peer.message().await.expect("a request");
                assert_eq!(message.trailers, [("x-sum".to_owned(), b"9".to_vec())]);
                came.push(message.body);
                peer.send(answer).await;
            }
            came
        });
        assert_eq!(bench.ask(PUT).await.status(), "200");
        assert_eq!(serving.await.unwrap(), [b"hello", b"hello"]);
    });
}

/// What a client gets whose POST the upstream has refused without processing it, after so many bytes of its body; and the
/// body that came the second time.
async fn refused(length: usize, chunked: bool) -> (String, Option<Vec<u8>>) {
    let socket = upstream().await;
    let bench = Bench::h2(&socket, ROOMY).await;
    let mut client = bench.connect().await;
    let body: Vec<u8> = (0..length).map(|at| at as u8).collect();
    let (framing, rest) = match chunked {
        true => (
            format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n"),
            "\r\n1\r\n!\r\n0\r\nx-sum: 9\r\n\r\n",
        ),
        false => (format!("content-length: {}\r\n\r\n", length + 1), "!"),
    };
    client.send(format!("POST / HTTP/1.1\r\nhost: h\r\n{framing}")).await;
    client.send(&body).await;
    let mut refusing = http2_out::one(&socket).await;
    let (request, mut respond) = refusing.recv().await.unwrap();
    let mut stream = request.into_body();
    let mut received = 0;
    while received < length {
        let data = stream.data().await.unwrap().unwrap();
        received += data.len();
        stream.flow_control().release_capacity(data.len()).unwrap();
    }
    respond.send_reset(h2::Reason::REFUSED_STREAM);
    // The rest comes when the stream is gone already.
    client.send(rest).await;
    let (request, mut respond) = tokio::select! {
        mut other = http2_out::one(&socket) => other.recv().await.unwrap(),
        answer = client.message() => return (answer.unwrap().status().to_owned(), None),
    };
    let mut stream = request.into_body();
    let mut again = Vec::new();
    while let Some(data) = stream.data().await {
        again.extend_from_slice(&data.unwrap());
    }
    if chunked {
        assert_eq!(stream.trailers().await.unwrap().unwrap()["x-sum"], "9");
    }
    respond.send_response(http2_out::head(204), true).unwrap();
    (client.message().await.unwrap().status().to_owned(), Some(again))
}

#[test]
fn a_refused_stream_is_tried_once_more_with_what_came_of_its_body() {
    run(async {
        for chunked in [false, true] {
            for length in [5, KEPT_BYTES_MAX - 1] {
                let (status, again) = refused(length, chunked).await;
                let expected: Vec<u8> = (0..length).map(|at| at as u8).chain([b'!']).collect();
                assert!(status == "204" && again == Some(expected), "{length} {chunked}: {status}");
            }
            // Nobody has kept that much.
            assert_eq!(refused(KEPT_BYTES_MAX + 1, chunked).await, ("503".to_owned(), None));
        }
    });
}

#[test]
fn a_put_that_waits_for_100_is_sent_once_more_with_the_expectation_and_its_body() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let serving = actix_rt::spawn(async move {
            let mut peer = accepted(&listener).await;
            assert!(peer.head().await.unwrap().has("expect: 100-continue"));
            drop(peer);
            let mut peer = accepted(&listener).await;
            assert!(peer.head().await.unwrap().has("expect: 100-continue"));
            peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            while peer.unread.len() < 5 {
                assert!(peer.more().await);
            }
            peer.send(OK).await;
            peer.unread
        });
        let mut client = bench.connect().await;
        client.send("PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
        assert_eq!(client.head().await.unwrap().status(), "100");
        client.send("hello").await;
        assert_eq!(client.message().await.unwrap().status(), "200");
        assert_eq!(serving.await.unwrap(), b"hello");
    });
}

#[test]
fn what_the_upstream_has_not_begun_is_tried_three_times_more_and_what_it_has_once() {
    run(async {
        let status = async |answers: &[h2::Reason]| {
            let socket = upstream().await;
            let bench = Bench::h2(&socket, ROOMY).await;
            let mut client = bench.connect().await;
            client.send("PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello").await;
            for reason in answers {
                let mut requests = http2_out::one(&socket).await;
                let (request, mut respond) = requests.recv().await.unwrap();
                assert_eq!(request.into_body().data().await.unwrap().unwrap(), "hello");
                respond.send_reset(*reason);
            }
            tokio::select! {
                mut last = http2_out::one(&socket) => {
                    last.recv().await.unwrap().1.send_response(http2_out::head(204), true).unwrap();
                }
                answer = client.message() => return answer.unwrap().status().to_owned(),
            };
            client.message().await.unwrap().status().to_owned()
        };
        let (not_begun, begun) = (h2::Reason::REFUSED_STREAM, h2::Reason::INTERNAL_ERROR);
        assert_eq!(status(&[not_begun; 3]).await, "204");
        assert_eq!(status(&[not_begun; 4]).await, "503");
        assert_eq!(status(&[begun]).await, "204");
        assert_eq!(status(&[not_begun, begun, not_begun]).await, "204");
        assert_eq!(status(&[begun, begun]).await, "503");
    });
}

#[test]
fn retries_that_do_not_count_leave_room_for_those_that_do() {
    run(async {
        let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let listener = upstream().await;
        let bench = Bench::new(&listener, UpstreamLimits { retries_max: 1, ..ROOMY }).await;
        let mut first = bench.connect().await;
        first.send(get).await;
        let mut reused = accepted(&listener).await;
        reused.message().await.expect("a request");
        reused.send(OK).await;
        assert_eq!(first.message().await.expect("a response").status(), "200");
        first.send(get).await;
        reused.message().await.expect("a request");
        drop(reused);
        // It does not count, and is under way until its answer comes.
        let mut again = accepted(&listener).await;
        again.message().await.expect("a request");
        assert_eq!(bench.upstream.gauges.count(Gauge::Retries), 0);
        let mut second = bench.connect().await;
        second.send(get).await;
        accepted(&listener).await.message().await.expect("a request");
        let mut other = accepted(&listener).await;
        other.message().await.expect("a request");
        assert_eq!(bench.upstream.gauges.count(Gauge::Retries), 1);
        for (server, client) in [(&mut again, &mut first), (&mut other, &mut second)] {
            server.send(OK).await;
            assert_eq!(client.message().await.expect("a response").status(), "200");
        }
        let page = bench.registry.render();
        let line = "portcullis_upstream_retries_total{namespace=\"default\",upstream=\"api\"} 2\n";
        assert!(page.contains(line), "{page}");
    });
}
