//! Upstreams that speak HTTP/2, in front of clients of HTTP/1.1.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{self, Connection, SendResponse},
};
use http::{HeaderMap, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use super::{
    bench::{Bench, ROOMY, run, upstream},
    http2_in,
};
use crate::snapshot::{Gauge, upstream::UpstreamLimits};

pub(super) type Incoming = (Request<RecvStream>, SendResponse<Bytes>);

/// The next connection that the gateway makes.
pub(super) async fn accepted(
    upstream: &TcpListener,
    builder: &server::Builder,
) -> Connection<TcpStream, Bytes> {
    builder.handshake(upstream.accept().await.unwrap().0).await.unwrap()
}

/// Hands out the requests of a connection while its frames move.
pub(super) fn requests(mut connection: Connection<TcpStream, Bytes>) -> UnboundedReceiver<Incoming> {
    let (sender, receiver) = unbounded_channel();
    actix_rt::spawn(async move {
        while let Some(Ok(incoming)) = connection.accept().await {
            if sender.send(incoming).is_err() {
                break;
            }
        }
    });
    receiver
}

pub(super) async fn one(upstream: &TcpListener) -> UnboundedReceiver<Incoming> {
    requests(accepted(upstream, &server::Builder::new()).await)
}

pub(super) fn head(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

#[test]
fn a_request_of_http_1_1_reaches_the_upstream_as_http_2() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut client = bench.connect().await;
        client
            .send("POST /a?x=1 HTTP/1.1\r\nHost: api.test\r\nX-One: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 9\r\n\r\n")
            .await;
        let (request, mut respond) = one(&socket).await.recv().await.unwrap();
        assert_eq!(
            (request.method().as_str(), request.uri().to_string().as_str()),
            ("POST", "http://upstream.test/a?x=1")
        );
        assert_eq!(request.headers()["x-one"], "1");
        assert!(!request.headers().contains_key("transfer-encoding"));
        let mut body = request.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "hello");
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["x-sum"], "9");
        let mut interim = head(103);
        interim.headers_mut().insert("link", "</a>".parse().unwrap());
        respond.send_informational(interim).unwrap();
        let mut stream = respond.send_response(head(200), false).unwrap();
        stream.send_data(Bytes::from_static(b"ok"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-done", "yes".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
        assert!(client.head().await.unwrap().has("link: </a>"));
        let message = client.message().await.unwrap();
        assert_eq!((message.status(), message.body.as_slice()), ("200", &b"ok"[..]));
    });
}

#[test]
fn small_chunks_that_are_at_hand_become_few_frames() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut client = bench.connect().await;
        let chunks = "1\r\nx\r\n".repeat(3_000);
        let start = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send(format!("{start}{chunks}0\r\n\r\n")).await;
        let (request, mut respond) = one(&socket).await.recv().await.expect("a request");
        let (mut body, mut frames, mut bytes) = (request.into_body(), 0, 0);
        // A frame for each chunk would be too much for this upstream: it ends connections with unread small frames.
        while let Some(frame) = body.data().await {
            frames += 1;
            bytes += frame.expect("no frame too many").len();
        }
        assert_eq!(bytes, 3_000);
        assert!(frames < 100, "{frames}");
        respond.send_response(head(204), true).expect("a stream that is open");
        assert_eq!(client.message().await.expect("a response").status(), "204");
    });
}

#[test]
fn requests_share_one_connection_up_to_the_limit_of_the_upstream() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut builder = server::Builder::new();
        builder.max_concurrent_streams(2);
        let mut clients = Vec::new();
        for _ in 0..1 {
            let mut client = bench.connect().await;
            client.send("GET /0 HTTP/1.1\r\nhost: h\r\n\r\n").await;
            clients.push(client);
        }
        let mut first = requests(accepted(&socket, &builder).await);
        let mut held = vec![first.recv().await.unwrap()];
        for _ in 0..2 {
            let mut client = bench.connect().await;
            client.send("GET /1 HTTP/1.1\r\nhost: h\r\n\r\n").await;
            clients.push(client);
        }
        held.push(first.recv().await.unwrap());
        let mut second = requests(accepted(&socket, &builder).await);
        held.push(second.recv().await.unwrap());
        assert_eq!(bench.upstream.gauges.line.connections(), 2);
        assert_eq!(bench.upstream.gauges.count(Gauge::Requests), 3);
        for (_, mut respond) in held {
            respond.send_response(head(204), true).unwrap();
        }
        for mut client in clients {
            assert_eq!(client.message().await.unwrap().status(), "204");
        }
        while bench.upstream.gauges.count(Gauge::Requests) > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_refused_stream_is_tried_once_more_on_another_connection_whatever_its_method() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut client = bench.connect().await;
        client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
        let mut refusing = one(&socket).await;
        let (_, mut respond) = refusing.recv().await.unwrap();
        respond.send_reset(Reason::REFUSED_STREAM);
        let (_, mut respond) = one(&socket).await.recv().await.unwrap();
        respond.send_response(head(204), true).unwrap();
        assert_eq!(client.message().await.unwrap().status(), "204");
    });
}

#[test]
fn a_refused_stream_is_tried_on_the_same_connection_where_there_may_be_no_other() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, UpstreamLimits { connections_max: 1, ..ROOMY }).await;
        let mut client = bench.connect().await;
        client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
        let mut requests = one(&socket).await;
        let (_, mut respond) = requests.recv().await.unwrap();
        respond.send_reset(Reason::REFUSED_STREAM);
        let (_, mut respond) = requests.recv().await.unwrap();
        respond.send_response(head(204), true).unwrap();
        assert_eq!(client.message().await.unwrap().status(), "204");
    });
}

#[test]
fn a_post_that_was_begun_is_not_sent_twice() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut client = bench.connect().await;
        client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
        let mut requests = one(&socket).await;
        let (_, mut respond) = requests.recv().await.unwrap();
        respond.send_reset(Reason::INTERNAL_ERROR);
        assert_eq!(client.message().await.unwrap().status(), "503");
    });
}

#[test]
fn after_goaway_new_requests_take_another_connection_and_old_ones_finish() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut old = bench.connect().await;
        old.send("GET /old HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut connection = accepted(&socket, &server::Builder::new()).await;
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        connection.graceful_shutdown();
        let ended = actix_rt::spawn(async move { poll_fn(|cx| connection.poll_closed(cx)).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut new = bench.connect().await;
        new.send("GET /new HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let (request, mut other) = one(&socket).await.recv().await.unwrap();
        assert_eq!(request.uri().path(), "/new");
        other.send_response(head(204), true).unwrap();
        assert_eq!(new.message().await.unwrap().status(), "204");
        respond.send_response(head(204), true).unwrap();
        assert_eq!(old.message().await.unwrap().status(), "204");
        ended.await.unwrap().unwrap();
    });
}

#[test]
fn a_response_that_breaks_off_never_looks_whole() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut client = bench.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let (_, mut respond) = one(&socket).await.recv().await.unwrap();
        let mut stream = respond.send_response(head(200), false).unwrap();
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        assert_eq!(client.head().await.unwrap().status(), "200");
        stream.send_reset(Reason::INTERNAL_ERROR);
        let (rest, _) = client.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"));
    });
}

#[test]
fn a_client_that_leaves_resets_the_stream() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut client = bench.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let (_, mut respond) = one(&socket).await.recv().await.unwrap();
        drop(client);
        assert_eq!(poll_fn(|cx| respond.poll_reset(cx)).await.unwrap(), Reason::CANCEL);
    });
}

#[test]
fn a_response_may_begin_before_the_request_has_ended() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut client = bench.connect().await;
        client.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
        let (request, mut respond) = one(&socket).await.recv().await.unwrap();
        let mut body = request.into_body();
        let mut stream = respond.send_response(head(200), false).unwrap();
        assert_eq!(client.head().await.unwrap().status(), "200");
        assert_eq!(body.data().await.unwrap().unwrap(), "ab");
        stream.send_data(Bytes::from_static(b"AB"), false).unwrap();
        client.send("2\r\ncd\r\n0\r\n\r\n").await;
        assert_eq!(body.data().await.unwrap().unwrap(), "cd");
        stream.send_data(Bytes::from_static(b"CD"), true).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"0\r\n\r\n") {
            use tokio::io::AsyncReadExt as _;
            assert!(client.stream.read_buf(&mut client.unread).await.unwrap() > 0);
            answer.append(&mut client.unread);
        }
        assert!(answer.windows(2).any(|pair| pair == b"CD"));
    });
}

#[test]
fn a_server_that_does_not_speak_http_2_is_a_bad_gateway() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        super::bench::answer_all(
            socket,
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
        assert_eq!(bench.ask("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), "502");
    });
}

#[test]
fn uploads_that_pause_leave_the_window_of_the_connection_to_the_others() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut clients = Vec::new();
        let mut incoming = None;
        // Nothing is ever released: together they may send 65,535 bytes (RFC 9113 section 6.9.2).
        for number in 0..10 {
            let mut client = bench.connect().await;
            client
                .send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
                .await;
            if incoming.is_none() {
                incoming = Some(one(&socket).await);
            }
            let (request, respond) = incoming.as_mut().unwrap().recv().await.unwrap();
            let mut body = request.into_body();
            let data = tokio::time::timeout(Duration::from_secs(10), body.data()).await;
            let data = data.unwrap_or_else(|_| panic!("upload {number} waits for the others"));
            assert_eq!(data.unwrap().unwrap(), "hello");
            clients.push((client, body, respond));
        }
    });
}

#[test]
fn interim_responses_that_are_together_longer_than_a_head_are_a_502() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut client = bench.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let (_request, mut respond) = one(&socket).await.recv().await.unwrap();
        for _ in 0..10 {
            let mut interim = head(103);
            interim.headers_mut().insert("link", "a".repeat(8_000).parse().unwrap());
            if respond.send_informational(interim).is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(client.message().await.unwrap().status(), "502");
    });
}

/// Sends so many bytes as fast as the gateway takes them.
pub(super) fn flood(mut respond: SendResponse<Bytes>, bytes: usize) {
    let mut stream = respond.send_response(head(200), false).unwrap();
    actix_rt::spawn(async move {
        let mut left = bytes;
        while left > 0 {
            stream.reserve_capacity(left.min(16 * 1024));
            let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
            let part = room.min(left);
            left -= part;
            if stream.send_data(Bytes::from(vec![b'x'; part]), left == 0).is_err() {
                return;
            }
        }
    });
}

#[test]
fn clients_that_do_not_read_stop_nobody_else_on_a_shared_connection() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut lazy = http2_in::connect(&bench).await;
        let mut unread = Vec::new();
        unread.push(http2_in::get(&mut lazy, "/0"));
        let mut incoming = one(&socket).await;
        for number in 0..20 {
            if number > 0 {
                unread.push(http2_in::get(&mut lazy, "/more"));
            }
            flood(incoming.recv().await.unwrap().1, 1024 * 1024);
        }
        // They have all that they may have by now.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut client = bench.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        flood(incoming.recv().await.unwrap().1, 300_000);
        let message = tokio::time::timeout(Duration::from_secs(10), client.message()).await;
        let message = message.expect("it waits for clients that do not read").unwrap();
        assert_eq!(message.body.len(), 300_000);
        assert_eq!(bench.upstream.gauges.line.connections(), 1);
    });
}

#[test]
fn thousands_of_small_messages_may_wait_for_a_slow_reader() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut lazy = http2_in::connect(&bench).await;
        let response = http2_in::get(&mut lazy, "/messages");
        let mut filler = Vec::new();
        let mut incoming = one(&socket).await;
        let (_request, mut respond) = incoming.recv().await.unwrap();
        // Another stream takes the window of the client's connection, so nothing of these can leave.
        filler.push(http2_in::get(&mut lazy, "/filler"));
        flood(incoming.recv().await.unwrap().1, 1024 * 1024);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut stream = respond.send_response(head(200), false).unwrap();
        for _ in 0..5_000 {
            stream.send_data(Bytes::from_static(b"m"), false).unwrap();
        }
        stream.send_data(Bytes::from_static(b"e"), true).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(filler);
        let (status, body) = http2_in::whole(response.await.unwrap()).await;
        assert_eq!((status, body.len()), (200, 5_001));
        assert_eq!(bench.upstream.gauges.line.connections(), 1, "nobody was cut off");
    });
}

#[test]
fn an_expectation_goes_to_the_upstream_and_its_answer_decides() {
    const HEAD: &str = "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut client = bench.connect().await;
        client.send(HEAD).await;
        let mut incoming = one(&socket).await;
        // It refuses: the client was never asked for its body.
        let (request, mut respond) = incoming.recv().await.unwrap();
        assert_eq!(request.headers()["expect"], "100-continue");
        respond.send_response(head(417), true).unwrap();
        assert_eq!(client.head().await.unwrap().status(), "417");
        // It asks for the body.
        let mut client = bench.connect().await;
        client.send(HEAD).await;
        let (request, mut respond) = incoming.recv().await.unwrap();
        respond.send_informational(head(100)).unwrap();
        assert_eq!(client.head().await.unwrap().status(), "100");
        client.send("hello").await;
        assert_eq!(request.into_body().data().await.unwrap().unwrap(), "hello");
        respond.send_response(head(204), true).unwrap();
        assert_eq!(client.message().await.unwrap().status(), "204");
        // It says nothing, as those do that know no expectations: after a second the body is sent all the same.
        let mut client = bench.connect().await;
        client.send(HEAD).await;
        let (request, mut respond) = incoming.recv().await.unwrap();
        assert_eq!(client.head().await.unwrap().status(), "100");
        client.send("hello").await;
        assert_eq!(request.into_body().data().await.unwrap().unwrap(), "hello");
        respond.send_response(head(204), true).unwrap();
        assert_eq!(client.message().await.unwrap().status(), "204");
    });
}
