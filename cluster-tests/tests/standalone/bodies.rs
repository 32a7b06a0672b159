//! Bodies of any size, in time and in order: they stream both ways, hold no worker and no memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, get};
use cluster_tests::config::{api, api_with, login};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::http2;
use cluster_tests::upstream::{Exchange, Upstream};
use cluster_tests::{eventually, ports, seeded};
use serde_json::json;

const GIB: u64 = 1 << 30;
/// What the gateway may grow by while a body passes through: buffers of two connections and the allocator's slack.
const GROWTH_KIB_MAX: u64 = 24 * 1024;

pub fn in_front_of(upstream: &Upstream, workers: usize) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let api = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    (Plan::new().with("api.yaml", &[api]).workers(workers).start(), ([127, 0, 0, 1], port).into())
}

fn count(exchange: &mut Exchange<'_>) -> std::io::Result<u64> {
    let mut bytes = 0;
    while let Some(piece) = exchange.piece()? {
        bytes += piece.len() as u64;
    }
    Ok(bytes)
}

pub fn assert_steady(gateway: &Gateway, before: u64) {
    let peak = gateway.resident_peak_kib();
    println!("resident: {before} KiB before, {peak} KiB at most");
    assert!(peak < before + GROWTH_KIB_MAX, "{before} KiB before, {peak} KiB at most");
}

#[test]
fn a_gib_up_passes_at_constant_memory_with_a_length_and_chunked() {
    let upstream = Upstream::start(|exchange| {
        let bytes = count(exchange)?;
        exchange.reply(200, "", bytes.to_string().as_bytes())
    });
    let (gateway, address) = in_front_of(&upstream, 1);
    assert_eq!(get(address, "/").text(), "0");
    let before = gateway.resident_kib();
    let block = vec![b'x'; 256 * 1024];
    let mut client = Client::connect(address);
    client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n").as_bytes());
    for _ in 0..GIB / block.len() as u64 {
        client.wire.write(&block).expect("the gateway reads on");
    }
    assert_eq!(client.response_to("POST").expect("an answer").text(), GIB.to_string());
    client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut chunk = format!("{:x}\r\n", block.len()).into_bytes();
    chunk.extend_from_slice(&block);
    chunk.extend_from_slice(b"\r\n");
    for _ in 0..256 {
        client.wire.write(&chunk).expect("the gateway reads on");
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.response_to("POST").expect("an answer").text(), (256 * block.len()).to_string());
    assert_steady(&gateway, before);
}

#[test]
fn a_gib_down_passes_at_constant_memory() {
    let upstream = Upstream::start(|exchange| {
        let block = vec![b'y'; 256 * 1024];
        exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n").as_bytes())?;
        (0..GIB / block.len() as u64).try_for_each(|_| exchange.write(&block))
    });
    let (gateway, address) = in_front_of(&upstream, 1);
    let before = gateway.resident_kib();
    let mut client = Client::connect(address);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, mut body) = client.head_for("GET").expect("a head");
    let mut bytes = 0;
    while let Some(piece) = client.wire.piece(&mut body).expect("a whole body") {
        bytes += piece.len() as u64;
    }
    assert_eq!(bytes, GIB);
    assert_steady(&gateway, before);
}

#[test]
fn a_client_that_does_not_read_stops_the_upstream_and_not_the_gateway() {
    let written = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let upstream = Upstream::start(move |exchange| {
        if exchange.request.target != "/stream" {
            return exchange.reply(200, "", b"ok");
        }
        exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n").as_bytes())?;
        let block = vec![b'y'; 64 * 1024];
        for _ in 0..GIB / block.len() as u64 {
            exchange.write(&block)?;
            counter.fetch_add(block.len() as u64, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    });
    let (gateway, address) = in_front_of(&upstream, 1);
    let before = gateway.resident_kib();
    let mut idle: Vec<Client> = (0..8).map(|_| Client::connect(address)).collect();
    for client in &mut idle {
        client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    // The fact awaited is that the upstreams write no more: twice the same count with answered requests in between.
    let mut last = u64::MAX;
    eventually("back-pressure", || {
        for _ in 0..20 {
            assert_eq!(get(address, "/other").text(), "ok");
        }
        std::thread::sleep(Duration::from_millis(100));
        let now = written.load(std::sync::atomic::Ordering::Relaxed);
        let settled = now == last && now > 0;
        last = now;
        settled.then_some(())
    });
    assert!(last < GIB / 4, "{last} bytes went into buffers");
    assert_steady(&gateway, before);
}

/// An upstream of events, each written only after the client has said that it saw the one before.
fn events() -> (Upstream, mpsc::Sender<()>) {
    let (ask, asked) = mpsc::channel::<()>();
    let asked = Mutex::new(asked);
    let upstream = Upstream::start(move |exchange| {
        exchange.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        let asked = asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for number in 0..50 {
            exchange.write(format!("f\r\ndata: event-{number:02}\n\r\n").as_bytes())?;
            if asked.recv().is_err() {
                return Ok(());
            }
        }
        exchange.write(b"0\r\n\r\n")
    });
    (upstream, ask)
}

#[test]
fn server_sent_events_arrive_one_by_one_over_http_2() {
    let (upstream, ask) = events();
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = http2::Http2::connect(address);
    client.send(&http2::get(1, "/events"));
    for number in 0..50 {
        let event = client.until(1, http2::kind::DATA).expect("an event");
        assert_eq!(String::from_utf8_lossy(&event.payload), format!("data: event-{number:02}\n"));
        ask.send(()).expect("the upstream waits for this");
    }
    let end = client.until(1, http2::kind::DATA).expect("the end");
    assert!(end.payload.is_empty() && end.has(http2::flag::END_STREAM));
}

#[test]
fn server_sent_events_arrive_one_by_one() {
    let (upstream, ask) = events();
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    client.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, mut body) = client.head_for("GET").expect("a head");
    for number in 0..50 {
        let event = client.wire.piece(&mut body).expect("an event").expect("not the end");
        assert_eq!(String::from_utf8_lossy(&event), format!("data: event-{number:02}\n"));
        ask.send(()).expect("the upstream waits for this");
    }
    assert_eq!(client.wire.piece(&mut body).expect("the end"), None);
}

#[test]
fn a_response_may_start_and_end_before_the_request_does() {
    let upstream = Upstream::start(|exchange| {
        let early = exchange.request.target.clone();
        exchange.reply(200, "", early.as_bytes())?;
        let bytes = count(exchange)?;
        assert_eq!(bytes, 6);
        Ok(())
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    client.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    let response = client.response_to("POST").expect("an answer before the body's end");
    assert_eq!(response.text(), "/early");
    if !response.closes() {
        client.send(b"def");
        assert_eq!(client.get("/next", "a", "").text(), "/next");
    }
}

#[test]
fn an_upstream_that_answers_and_closes_in_the_middle_of_an_upload_is_heard() {
    let upstream = Upstream::start(|exchange| {
        exchange.piece()?;
        exchange.reply(413, "Connection: close\r\n", b"too much")?;
        // Read on for a while, as a server must that wants its answer to arrive.
        for _ in 0..8 {
            exchange.piece()?;
        }
        exchange.close();
        Ok(())
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n");
    let block = vec![b'x'; 64 * 1024];
    let writer = client.wire.socket().try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        let mut writer = &writer;
        while std::io::Write::write_all(&mut writer, &block).is_ok() {}
    });
    let response = client.response_to("POST").expect("the early answer");
    assert_eq!((response.status, response.text().as_str()), (413, "too much"));
    drop(client.wire.socket().shutdown(std::net::Shutdown::Both));
    writing.join().expect("the writer ends with its socket");
}

#[test]
fn slow_clients_and_slow_upstreams_hold_no_worker() {
    let upstream = Upstream::start(|exchange| {
        if exchange.request.target == "/slow" {
            exchange.until_closed();
            return Ok(());
        }
        exchange.reply(200, "", b"quick")
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut slow = Vec::new();
    for number in 0..240 {
        let mut client = Client::connect(address);
        client.send(match number % 4 {
            0 => b"GET /never-ends HTTP/1.1\r\nHost: a\r\nX-".as_slice(),
            1 => b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
            2 => b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
            _ => b"",
        });
        slow.push(client);
    }
    eventually("the slow requests are under way", || (upstream.received().len() >= 120).then_some(()));
    let started = Instant::now();
    let mut client = Client::connect(address);
    for _ in 0..200 {
        assert_eq!(client.get("/quick", "a", "").text(), "quick");
    }
    assert!(started.elapsed() < Duration::from_secs(9), "200 requests took {:?}", started.elapsed());
}

#[test]
fn a_chunked_upload_split_at_every_byte_is_the_same_upload() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) = in_front_of(&upstream, 1);
    let request = b"POST /s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\n";
    let mut client = Client::connect(address);
    for at in 1..request.len() {
        client.send(&request[..at]);
        std::thread::sleep(Duration::from_micros(300));
        client.send(&request[at..]);
        let seen = client.response_to("POST").unwrap_or_else(|error| panic!("split at {at}: {error}")).json();
        assert_eq!(seen["body"], "abc0123456789", "split at {at}");
        assert_eq!(seen["trailers"].to_string().to_ascii_lowercase(), r#"[["x-sum","7"]]"#, "split at {at}");
    }
    assert!(upstream.problems().is_empty(), "{:?}", upstream.problems());
}

/// A chunked answer with an extension and a trailer.
const PIECED: &[u8] = b"HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\n";

#[test]
fn an_answer_in_pieces_of_any_size_is_the_same_answer() {
    let upstream = Upstream::start(|exchange| {
        let at: usize = exchange.request.target[1..].parse().unwrap_or(1);
        exchange.write(&PIECED[..at])?;
        std::thread::sleep(Duration::from_micros(300));
        exchange.write(&PIECED[at..])
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    for at in 1..PIECED.len() {
        let response = client.get(&format!("/{at}"), "a", "TE: trailers\r\nConnection: TE\r\n");
        assert_eq!(response.text(), "abc0123456789", "split at {at}");
        assert_eq!(response.head.get("x-a"), Some("b"), "split at {at}");
        let trailers: Vec<_> =
            response.trailers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.as_str())).collect();
        assert_eq!(trailers, [("x-sum".to_owned(), "7")], "split at {at}");
    }
}

#[test]
fn bodies_of_random_sizes_in_random_pieces_arrive_whole() {
    let upstream = Upstream::start(|exchange| {
        let body = exchange.body()?;
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for piece in body.chunks(fastrand::usize(1..70_000)) {
            exchange.write(format!("{:x}\r\n", piece.len()).as_bytes())?;
            exchange.write(piece)?;
            exchange.write(b"\r\n")?;
        }
        exchange.write(b"0\r\n\r\n")
    });
    let (_gateway, address) = in_front_of(&upstream, 2);
    let mut random = seeded("bodies_of_random_sizes");
    let mut client = Client::connect(address);
    for round in 0..60 {
        let size = random.usize(0..400_000);
        let body: Vec<u8> = (0..size).map(|_| random.u8(..)).collect();
        let head = format!("POST /{round} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
        let twin = client.wire.socket().try_clone().expect("a second handle");
        let (sent, pieces) = ([head.as_bytes(), &body].concat(), random.usize(1..50_000));
        let writing = std::thread::spawn(move || {
            let mut twin = &twin;
            sent.chunks(pieces).all(|piece| std::io::Write::write_all(&mut twin, piece).is_ok())
        });
        let response =
            client.response_to("POST").unwrap_or_else(|error| panic!("round {round}, {size} bytes: {error}"));
        assert!(writing.join().expect("the writer"), "round {round}");
        assert!(
            response.body == body,
            "round {round}: {} of {size} bytes, or other bytes",
            response.body.len()
        );
    }
}

#[test]
fn a_refused_upload_is_answered_before_its_body_is_sent() {
    let upstream = Upstream::echo("up");
    let port = ports::free();
    let api =
        api_with("api", &format!("http://127.0.0.1:{port}"), &upstream.url(), json!([login(json!([]))]));
    let _gateway = Plan::new().with("api.yaml", &[api]).start();
    let mut client = Client::connect(([127, 0, 0, 1], port).into());
    client.send(b"POST /u HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n");
    let response = client.response_to("POST").expect("a refusal without a body");
    assert_eq!((response.status, response.interim.len()), (401, 0));
    assert!(upstream.received().is_empty());
}

/// RFC 9110 section 9.3.2.
#[test]
fn a_refusal_of_head_has_no_content() {
    let (_gateway, address) = in_front_of(&Upstream::echo("up"), 1);
    let mut client = TcpStream::connect(address).expect("the gateway listens");
    client.write_all(b"HEAD /\\ HTTP/1.1\r\nHost: a\r\n\r\n").expect("a request");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_client_that_sends_all_of_a_large_body_before_it_reads_gets_the_refusal_and_hears_that_the_connection_ends()
 {
    let (upstream, port) = (Upstream::echo("up"), ports::free());
    let policies = json!([{
        "policyRef": {"name": "http-basic-authentication-flex"}, "config": {"username": "u", "password": "p"}
    }]);
    let api = api_with("api", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    let _gateway = Plan::new().workers(1).with("api.yaml", &[api]).start();
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("the gateway listens");
    let body = vec![b'x'; 20 * 1024 * 1024];
    write!(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).expect("a head");
    client.write_all(&body).expect("all of the body");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
}
