//! The end of HTTP/2 connections of clients while a worker or an address drains.

use std::time::Duration;

use bytes::Bytes;
use h2::client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    bench::{Bench, ROOMY, accepted, answer_all, run, upstream},
    http2_in::{connect, get, has_frame, request, whole},
};
use crate::data_plane::http2::PREFACE;

/// Clients that wait for our SETTINGS and find GOAWAY behind them connect again without having asked anything.
#[test]
fn who_connects_during_a_drain_is_answered_and_told_a_second_later() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    /// `GET http://a.test/`.
    const GET: &[u8] = b"\0\0\x0b\x01\x05\0\0\0\x01\x82\x86\x84\x01\x06a.test";
    const DATA: u8 = 0;
    const GOAWAY: u8 = 7;
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        answer_all(socket, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        bench.worker.drain();
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
        let mut received = Vec::new();
        // Ours, and the acknowledgement of theirs.
        while !received.ends_with(&[0, 0, 0, 4, 1, 0, 0, 0, 0]) {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0);
        }
        assert!(!has_frame(&received, GOAWAY), "before it has asked anything");
        stream.write_all(GET).await.unwrap();
        while !has_frame(&received, DATA) {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0);
        }
        assert!(!has_frame(&received, GOAWAY), "before its answer");
        bench.worker.timers.skip(Duration::from_secs(1));
        while !has_frame(&received, GOAWAY) {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0);
        }
    });
}

#[test]
fn a_worker_that_drains_says_goaway_and_finishes_what_is_in_flight() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let stream = TcpStream::connect(bench.address).await.unwrap();
        let (mut client, connection) = client::handshake::<_>(stream).await.unwrap();
        let ended = actix_rt::spawn(connection);
        let response = get(&mut client, "/");
        let mut peer = accepted(&socket).await;
        peer.head().await.unwrap();
        bench.worker.timers.skip(Duration::from_secs(1));
        bench.worker.drain();
        // The client learns of it while its request is still served.
        while client.clone().ready().await.is_ok() && client.send_request(request("GET", "/"), true).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(whole(response.await.unwrap()).await, (200, b"ok".to_vec()));
        drop(client);
        ended.await.unwrap().unwrap();
    });
}

#[test]
fn what_a_slow_client_has_not_read_yet_when_the_drain_begins_still_arrives() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        // What the kernel holds differs; for some of these sizes the rest waits in the gateway when its stream is over.
        let sizes: Vec<usize> = (1..=24).map(|step| step * 24 * 1024).collect();
        actix_rt::spawn(async move {
            loop {
                let mut peer = accepted(&socket).await;
                actix_rt::spawn(async move {
                    while let Some(head) = peer.head().await {
                        let path = head.head.split(' ').nth(1).unwrap().trim_matches('/').to_owned();
                        let body = "x".repeat(path.parse().unwrap());
                        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {path}\r\n\r\n{body}")).await;
                    }
                });
            }
        });
        let mut clients = Vec::new();
        for size in sizes {
            let stream = tokio::net::TcpSocket::new_v4().unwrap();
            stream.set_recv_buffer_size(4096).unwrap();
            let stream = stream.connect(bench.address).await.unwrap();
            let mut builder = client::Builder::new();
            builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 20);
            let (client, mut connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
            let mut client = client.ready().await.unwrap();
            let response = get(&mut client, &format!("/{size}"));
            // Sends the request, and reads next to nothing.
            let _ = tokio::time::timeout(Duration::from_millis(5), &mut connection).await;
            clients.push((size, client, response, connection));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        bench.worker.drain();
        tokio::time::sleep(crate::data_plane::http2::io::LINGER + Duration::from_millis(500)).await;
        for (size, client, response, connection) in clients {
            actix_rt::spawn(async move {
                let _ = connection.await;
            });
            let (status, body) = whole(response.await.unwrap()).await;
            assert_eq!((status, body.len()), (200, size));
            drop(client);
        }
    });
}

#[test]
fn a_stream_is_cut_when_the_drain_of_its_address_is_over() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::new(&socket, ROOMY).await;
        let mut http2 = connect(&bench).await;
        let response = get(&mut http2, "/");
        let mut peer = accepted(&socket).await;
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\n\r\nbegun").await;
        let mut http1 = bench.connect().await;
        http1.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut other = accepted(&socket).await;
        other.head().await.unwrap();
        other.send("HTTP/1.1 200 OK\r\n\r\nbegun").await;
        assert_eq!(http1.head().await.unwrap().status(), "200");
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "begun");
        bench.listener.drain();
        bench.listener.close();
        bench.worker.timers.wake_all();
        assert!(body.data().await.is_none_or(|part| part.is_err()));
        let (rest, _) = http1.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "it does not look whole");
    });
}
