//! HTTP/2 from clients.

use std::time::Duration;

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    client::{self, ResponseFuture, SendRequest},
};
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::bench::{Bench, ROOMY, accepted, answer_all, run, upstream};
use crate::data_plane::http2::PREFACE;

pub(super) type Client = SendRequest<Bytes>;

pub(super) async fn connect(bench: &Bench) -> Client {
    connect_with(bench, client::Builder::new()).await
}

pub(super) async fn connect_with(bench: &Bench, mut builder: client::Builder) -> Client {
    let stream = TcpStream::connect(bench.address).await.unwrap();
    // Its own reckoning of small frames is not what is tested.
    builder.data_frame_budget(1 << 30);
    let (client, connection) = builder.handshake(stream).await.unwrap();
    actix_rt::spawn(async move {
        let _ = connection.await;
    });
    client.ready().await.unwrap()
}

pub(super) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://api.test{path}")).body(()).unwrap()
}

pub(super) fn get(client: &mut Client, path: &str) -> ResponseFuture {
    client.send_request(request("GET", path), true).unwrap().0
}

pub(super) async fn whole(response: Response<RecvStream>) -> (u16, Vec<u8>) {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        bytes.extend_from_slice(&part);
    }
    (head.status.as_u16(), bytes)
}

#[test]
fn a_client_that_begins_with_the_preface_is_served_in_http_2() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        answer_all(socket, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-from: upstream\r\n\r\nhello");
        let mut client = connect(&bench).await;
        for _ in 0..3 {
            let response = get(&mut client, "/a").await.unwrap();
            assert_eq!(response.headers()["x-from"], "upstream");
            assert_eq!(response.headers()["content-length"], "5");
            assert_eq!(response.headers()["server"], "portcullis");
            assert_eq!(whole(response).await, (200, b"hello".to_vec()));
        }
        assert_eq!(bench.ask("GET /a HTTP/1.1\r\nhost: h\r\n\r\n").await.status(), "200");
    });
}

#[test]
fn the_preface_may_come_byte_by_byte() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in PREFACE {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], 4, "SETTINGS comes first");
    });
}

#[test]
fn what_only_looks_like_the_preface_is_refused_as_http_1() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        assert_eq!(bench.ask("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await.status(), "505");
    });
}

#[test]
fn a_request_reaches_an_http_1_upstream_with_its_body_and_trailers() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let mut client = connect(&bench).await;
        let (response, mut body) = client.send_request(request("POST", "/up?x=1"), false).unwrap();
        body.send_data(Bytes::from_static(b"hello "), false).unwrap();
        body.send_data(Bytes::from_static(b"world"), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        let mut peer = accepted(&socket).await;
        let message = peer.message().await.unwrap();
        assert!(message.head.starts_with("POST /up?x=1 HTTP/1.1\r\n"), "{}", message.head);
        assert!(message.has("transfer-encoding: chunked"));
        assert_eq!(message.body, b"hello world");
        peer.send(
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
             HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-done: yes\r\n\r\n",
        )
        .await;
        let (head, mut body) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(body.data().await.unwrap().unwrap(), "ok");
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["x-done"], "yes");
    });
}

#[test]
fn interim_responses_reach_the_client() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        answer_all(socket, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
        let mut client = connect(&bench).await;
        let mut response = get(&mut client, "/");
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!((interim.status().as_u16(), &interim.headers()["link"]), (103, &"</a>".parse().unwrap()));
        assert_eq!(response.await.unwrap().status(), 204);
    });
}

#[test]
fn a_response_that_breaks_off_resets_the_stream_and_only_the_stream() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let mut client = connect(&bench).await;
        let response = get(&mut client, "/");
        let mut peer = accepted(&socket).await;
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        drop(peer);
        let outcome = match response.await {
            Err(error) => error.reason(),
            Ok(response) => {
                let mut body = response.into_body();
                loop {
                    match body.data().await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break error.reason(),
                        None => panic!("the body looks whole"),
                    }
                }
            }
        };
        assert_eq!(outcome, Some(Reason::INTERNAL_ERROR));
        let again = get(&mut client, "/");
        let mut peer = accepted(&socket).await;
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(whole(again.await.unwrap()).await, (200, b"ok".to_vec()));
    });
}

#[test]
fn a_reset_ends_the_exchange_with_the_upstream() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let mut client = connect(&bench).await;
        let (response, mut stream) = client.send_request(request("POST", "/"), false).unwrap();
        let mut peer = accepted(&socket).await;
        peer.head().await.unwrap();
        stream.send_reset(Reason::CANCEL);
        drop(response);
        let (_, _) = peer.rest().await;
    });
}

#[test]
fn an_upload_is_taken_no_faster_than_the_upstream_reads() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let mut client = connect(&bench).await;
        let (response, mut body) = client.send_request(request("PUT", "/"), false).unwrap();
        let mut peer = accepted(&socket).await;
        peer.head().await.unwrap();
        // Nobody reads: what is taken fills the windows and the sockets, and then no more.
        let part = Bytes::from(vec![b'x'; 64 * 1024]);
        let mut sent = 0;
        loop {
            body.reserve_capacity(part.len());
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx));
            match tokio::time::timeout(Duration::from_millis(500), room).await {
                Ok(room) => {
                    let room = room.unwrap().unwrap().min(part.len());
                    body.send_data(part.slice(..room), false).unwrap();
                    sent += room;
                }
                Err(_) => break,
            }
        }
        assert!((64 * 1024..16 * 1024 * 1024).contains(&sent), "{sent}");
        body.send_data(Bytes::new(), true).unwrap();
        let reading = async {
            let message = loop {
                // The head has been read: what follows are the chunks.
                if let Some((body, _, _)) = super::super::http1::tests::oracle::chunked(&peer.unread) {
                    break body;
                }
                assert!(peer.stream.read_buf(&mut peer.unread).await.unwrap() > 0);
            };
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            message.len()
        };
        assert_eq!(reading.await, sent);
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn a_body_of_another_length_than_announced_never_looks_whole_to_the_upstream() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let mut client = connect(&bench).await;
        let mut head = request("POST", "/");
        head.headers_mut().insert("content-length", "10".parse().unwrap());
        let (response, mut body) = client.send_request(head, false).unwrap();
        let mut peer = accepted(&socket).await;
        assert!(peer.head().await.unwrap().has("content-length: 10"));
        body.send_data(Bytes::from_static(b"short"), true).unwrap();
        let (rest, _) = peer.rest().await;
        assert!(rest.len() <= 5, "the upstream sees the connection end inside the body");
        assert_eq!(response.await.unwrap_err().reason(), Some(Reason::PROTOCOL_ERROR));
    });
}

#[test]
fn malformed_requests_reset_their_stream_and_refusals_are_answered() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let mut client = connect(&bench).await;
        let mut disagreeing = request("GET", "/");
        disagreeing.headers_mut().insert("host", "other.test".parse().unwrap());
        let error = client.send_request(disagreeing, true).unwrap().0.await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
        for (method, path, status) in [("TRACE", "/", 405), ("GET", "/%00", 400)] {
            let (response, _) = client.send_request(request(method, path), true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.headers()["content-type"], "application/json; charset=UTF-8");
            assert_eq!(response.status(), status);
        }
    });
}

#[test]
fn a_client_that_resets_more_than_200_streams_is_sent_away() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let mut client = connect(&bench).await;
        let mut last = None;
        for _ in 0..1000 {
            match client.send_request(request("GET", "/"), false) {
                Ok((response, mut stream)) => {
                    // The stream must have been opened for its reset to cost anything: a client that
                    // has not written HEADERS yet forgets the stream without a word.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    stream.send_reset(Reason::CANCEL);
                    drop(response);
                }
                Err(error) => {
                    last = Some(error);
                    break;
                }
            }
            if let Err(error) = std::future::poll_fn(|cx| client.poll_ready(cx)).await {
                last = Some(error);
                break;
            }
        }
        assert_eq!(last.and_then(|error| error.reason()), Some(Reason::ENHANCE_YOUR_CALM));
    });
}

#[test]
fn a_header_block_that_does_not_end_has_the_deadline_of_a_head() {
    run(async {
        let socket = upstream().await;
        let bench =
            Bench::with(&socket, ROOMY, |engine| engine.head_timeout = Duration::from_millis(200)).await;
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        // HEADERS without END_HEADERS.
        stream.write_all(&[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82]).await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert!(has_frame(&received, 7), "GOAWAY");
    });
}

#[test]
fn a_connection_without_streams_ends_after_the_idle_timeout_with_goaway() {
    run(async {
        let socket = upstream().await;
        let bench =
            Bench::with(&socket, ROOMY, |engine| engine.client_idle = Duration::from_millis(200)).await;
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert!(has_frame(&received, 7), "GOAWAY");
    });
}

pub(super) fn has_frame(mut bytes: &[u8], kind: u8) -> bool {
    while let [high, middle, low, found, _, _, _, _, _, rest @ ..] = bytes {
        if *found == kind {
            return true;
        }
        let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        bytes = rest.get(length..).unwrap_or_default();
    }
    false
}
