//! Bodies in both directions at once.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bench::{Bench, Peer, ROOMY, accepted, answer_all, framed, run, send_while_reading, upstream};
use crate::data_plane::http1::tests::random;

#[test]
fn bodies_of_any_size_and_framing_come_out_as_they_went_in() {
    run(async {
        let mut random = random();
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let mut echo = random.fork();
        actix_rt::spawn(async move {
            loop {
                let mut peer = accepted(&listener).await;
                let mut random = echo.fork();
                actix_rt::spawn(async move {
                    while let Some(message) = peer.message().await {
                        let chunked = random.bool();
                        let wire = framed(&mut random, &message.body, chunked, "");
                        peer.send([b"HTTP/1.1 200 OK\r\n", &wire[..]].concat()).await;
                    }
                });
            }
        });
        let mut client = bench.connect().await;
        for round in 0..60 {
            let size = if round % 3 == 0 { random.usize(..300_000) } else { random.usize(..100) };
            let body: Vec<u8> = (0..size).map(|_| random.u8(..)).collect();
            let chunked = random.bool();
            let wire = framed(&mut random, &body, chunked, "");
            let mut wire = [b"POST /echo HTTP/1.1\r\nhost: a\r\n", &wire[..]].concat();
            while !wire.is_empty() {
                let rest = wire.split_off(random.usize(1..=wire.len()));
                client.send(&wire).await;
                wire = rest;
            }
            let answer = client.message().await.expect("a response");
            assert_eq!(answer.status(), "200");
            assert!(answer.body == body, "round {round}: {size} bytes");
        }
    });
}

#[test]
fn bodies_of_any_size_and_framing_pass_in_both_directions_at_once() {
    run(async {
        let mut random = random();
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let mut client = bench.connect().await;
        let mut server = None;
        for round in 0..40 {
            let [up, down] = [(); 2].map(|()| {
                let size = if random.bool() { random.usize(..400_000) } else { random.usize(..100) };
                (0..size).map(|_| random.u8(..)).collect::<Vec<u8>>()
            });
            let (up_chunked, down_chunked) = (random.bool(), random.bool());
            let request =
                [b"POST / HTTP/1.1\r\nhost: a\r\n", &framed(&mut random, &up, up_chunked, "")[..]].concat();
            let answer = [b"HTTP/1.1 200 OK\r\n", &framed(&mut random, &down, down_chunked, "")[..]].concat();
            // The upstream answers as soon as it has the head, and ends its answer when it has the request:
            // so neither body can wait for the other.
            let mut pieces = random.fork();
            let upstream = async {
                let server = match &mut server {
                    Some(server) => server,
                    none => none.insert(accepted(&listener).await),
                };
                while server.unread.is_empty() {
                    assert!(server.stream.read_buf(&mut server.unread).await.unwrap() > 0);
                }
                let (start, end) = answer.split_at(answer.len() - 1);
                let seen = send_while_reading(server, start, &mut pieces).await.expect("a whole request");
                server.send(end).await;
                seen
            };
            let (answered, seen) =
                tokio::join!(send_while_reading(&mut client, &request, &mut random), upstream);
            let answered = answered.expect("a whole response");
            assert!(seen.body == up, "round {round}: {} bytes up, chunked {up_chunked}", up.len());
            assert!(
                answered.body == down,
                "round {round}: {} bytes down, chunked {down_chunked}",
                down.len()
            );
        }
    });
}

/// More than all socket buffers on the way hold.
const LARGE: usize = 24 << 20;

#[test]
fn a_client_that_sends_everything_before_it_reads_is_served() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let mut client = bench.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n")).await;
        let mut server = accepted(&listener).await;
        server.head().await.expect("a request");
        let (mut from_gateway, mut to_gateway) = server.stream.into_split();
        // The upstream answers at once, and reads all the while.
        let received = actix_rt::spawn(async move {
            let mut sink = vec![0; LARGE - server.unread.len()];
            from_gateway.read_exact(&mut sink).await.map(|_| from_gateway)
        });
        let sent = actix_rt::spawn(async move {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            to_gateway.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..LARGE / (1 << 16) {
                to_gateway.write_all(b"10000\r\n").await.unwrap();
                to_gateway.write_all(&[b'd'; 1 << 16]).await.unwrap();
                to_gateway.write_all(b"\r\n").await.unwrap();
            }
            to_gateway.write_all(b"0\r\n\r\n").await.unwrap();
            to_gateway
        });
        client.send(vec![b'u'; LARGE]).await;
        received.await.unwrap().expect("the whole upload");
        let answer = client.message().await.expect("the whole response");
        assert_eq!(answer.body.len(), LARGE);
        sent.await.unwrap();
    });
}

#[test]
fn a_response_that_comes_before_the_request_has_ended_reaches_the_client() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let mut client = bench.connect().await;
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nonly a part").await;
        let mut server = accepted(&listener).await;
        server.head().await.expect("a request");
        server.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
        let answer = client.message().await.expect("a response");
        assert_eq!((answer.status(), &answer.body[..]), ("403", &b"no"[..]));
        // The upload never ended: nobody else may use that connection.
        assert_eq!(server.rest().await.0.len(), "only a part".len() - server.unread.len());
    });
}

#[test]
fn a_response_that_breaks_off_has_no_final_chunk() {
    run(async {
        for (version, head, seen) in [
            ("1.1", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", "4\r\nhalf\r\n"),
            ("1.1", "content-length: 8\r\n\r\nhalf", "half"),
        ] {
            let listener = upstream().await;
            let bench = Bench::new(&listener, ROOMY).await;
            let mut client = bench.connect().await;
            client.send(format!("GET / HTTP/{version}\r\nhost: a\r\n\r\n")).await;
            let mut server = accepted(&listener).await;
            server.message().await.expect("a request");
            server.send(format!("HTTP/1.1 200 OK\r\n{head}")).await;
            drop(server);
            assert_eq!(client.head().await.expect("a head").status(), "200");
            assert_eq!(client.rest().await.0, seen.as_bytes());
        }
    });
}

#[test]
fn a_response_to_http_1_0_that_breaks_off_ends_with_a_reset() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let mut client = bench.connect().await;
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        let mut server = accepted(&listener).await;
        server.message().await.expect("a request");
        server.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
        client.head().await.expect("a head");
        drop(server);
        assert!(!client.rest().await.1, "the end looks like the end of the body");
    });
}

#[test]
fn an_event_is_not_kept_until_the_next_one() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let mut client = bench.connect().await;
        client.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut server = accepted(&listener).await;
        server.message().await.expect("a request");
        server.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        client.head().await.expect("a head");
        for event in ["one", "two", "three"] {
            server.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
            let expected = format!("{:x}\r\n{event}\r\n", event.len());
            let mut seen = vec![0; expected.len()];
            let before = client.unread.len().min(seen.len());
            seen[..before].copy_from_slice(&client.unread[..before]);
            client.unread.drain(..before);
            client.stream.read_exact(&mut seen[before..]).await.unwrap();
            assert_eq!(seen, expected.as_bytes());
        }
    });
}

#[test]
fn a_client_that_leaves_takes_its_upstream_connection_with_it() {
    run(async {
        for answer in ["", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"] {
            let listener = upstream().await;
            let bench = Bench::new(&listener, ROOMY).await;
            let mut client = bench.connect().await;
            client.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let mut server = accepted(&listener).await;
            server.message().await.expect("a request");
            server.send(answer).await;
            if !answer.is_empty() {
                client.head().await.expect("a head");
            }
            drop(client);
            server.rest().await;
        }
    });
}

#[test]
fn the_client_is_told_to_continue_when_its_body_is_wanted() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        answer_all(listener, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let request = |version| {
            format!("POST / HTTP/{version}\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        };
        let mut client = bench.connect().await;
        client.send(request("1.1")).await;
        assert_eq!(client.head().await.expect("an interim response").status(), "100");
        client.send("body").await;
        assert_eq!(client.message().await.expect("a response").status(), "200");

        let mut old = Peer::new(tokio::net::TcpStream::connect(bench.address).await.unwrap());
        old.send(request("1.0") + "body").await;
        assert_eq!(old.message().await.expect("a response").status(), "200");
    });
}
