//! Connections that break and peers that vanish: each fault has its outcome (docs/operations.md, faults), and nothing is left
//! behind. HTTP/2 upstreams are the next chapters'.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, get};
use cluster_tests::config::{api, configuration};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::http2::{self, Http2, code, flag, kind};
use cluster_tests::upstream::{Exchange, Upstream};
use cluster_tests::{eventually, ports};
use serde_json::{Value, json};

use crate::bodies::{assert_steady, in_front_of};

const TERMINATED: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: connection termination";

/// For the response, and for a stream that does not move: far more than what is on its way takes.
const IMPATIENCE: Duration = Duration::from_secs(4);

fn impatient() -> Value {
    let seconds = IMPATIENCE.as_secs();
    configuration(
        "settings",
        json!({"timeouts": {"upstreamResponseSeconds": seconds, "streamIdleSeconds": seconds}}),
    )
}

pub fn impatient_in_front_of(upstream: &str) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let api = api("api", &format!("http://127.0.0.1:{port}"), upstream);
    let gateway = Plan::new().with("api.yaml", &[api, impatient()]).workers(1).start();
    (gateway, ([127, 0, 0, 1], port).into())
}

/// Nothing is under way, nothing waits, and no fault was one of ours.
pub fn assert_nothing_left(gateway: &Gateway) {
    for gauge in [
        "portcullis_api_active_requests",
        "portcullis_upstream_active_connections",
        "portcullis_upstream_pending_requests",
    ] {
        eventually(gauge, || (gateway.metric(gauge, &[]) == 0.0).then_some(()));
    }
    assert_eq!(gateway.metric("portcullis_panics_total", &[]), 0.0);
}

/// Whether this is the end of a connection, and not of a test's patience.
fn is_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, InvalidData, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | InvalidData | UnexpectedEof)
}

/// A gate that a test opens once for each exchange that waits at it.
fn gate() -> (Sender<()>, impl Fn() + Send + Sync) {
    let (open, opened) = mpsc::channel();
    let opened = Mutex::new(opened);
    (open, move || {
        let _ = opened.lock().unwrap_or_else(PoisonError::into_inner).recv();
    })
}

/// Begins a body of the framing that the target names; waits at the gate; resets.
fn breaking() -> (Upstream, Sender<()>) {
    let (open, wait) = gate();
    let upstream = Upstream::start(move |exchange| {
        let framing = match exchange.request.target.as_str() {
            "/length" => "Content-Length: 9\r\n\r\nabc",
            "/chunked" => "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "/within-a-chunk" => "Transfer-Encoding: chunked\r\n\r\n9\r\nabc",
            "/until-close" => "\r\nabc",
            _ => return exchange.reply(200, "", b"whole"),
        };
        exchange.write(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes())?;
        wait();
        exchange.reset()
    });
    (upstream, open)
}

#[test]
fn a_response_whose_upstream_resets_is_cut_and_never_looks_whole() {
    let (upstream, break_it) = breaking();
    let (gateway, address) = in_front_of(&upstream, 1);
    for path in ["/length", "/chunked", "/within-a-chunk", "/until-close"] {
        let mut client = Client::connect(address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let (response, mut body) = client.head_for("GET").expect("a head");
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(client.wire.piece(&mut body).expect("what came first"), Some(b"abc".to_vec()), "{path}");
        break_it.send(()).expect("the upstream waits for this");
        let rest = client.wire.whole(&mut body);
        assert!(rest.as_ref().is_err_and(is_cut), "{path}: {rest:?}");
        assert_eq!(get(address, "/").text(), "whole", "after {path}");
    }
    assert_eq!(upstream.received().len(), 8, "none of them was tried again");
    assert_nothing_left(&gateway);
}

#[test]
fn over_http_2_the_stream_whose_upstream_resets_is_reset_and_the_others_go_on() {
    let (upstream, break_it) = breaking();
    let (gateway, address) = in_front_of(&upstream, 1);
    let mut client = Http2::connect(address);
    for (at, path) in ["/length", "/chunked", "/until-close"].into_iter().enumerate() {
        let (broken, other) = (4 * at as u32 + 1, 4 * at as u32 + 3);
        client.send(&http2::get(broken, path));
        while client.until(broken, kind::DATA).expect("what came first").payload != b"abc" {}
        client.send(&http2::get(other, "/"));
        client.until_answered(other).expect("another stream is served meanwhile");
        break_it.send(()).expect("the upstream waits for this");
        let end = loop {
            let frame = client.receive().expect("an end").expect("the connection goes on");
            assert_ne!(frame.kind, kind::GOAWAY, "{path}");
            if frame.stream == broken {
                break frame;
            }
        };
        assert_eq!((end.kind, end.number(0)), (kind::RST_STREAM, code::INTERNAL_ERROR), "{path}");
    }
    client.send(&http2::get(101, "/"));
    client.until_answered(101).expect("the connection goes on");
    drop(client);
    assert_nothing_left(&gateway);
}

#[test]
fn an_upload_whose_upstream_resets_before_it_answers_is_a_503_and_is_not_sent_again() {
    let upstream = Upstream::start(|exchange| {
        exchange.piece()?;
        exchange.reset()
    });
    let (gateway, address) = in_front_of(&upstream, 1);
    // PUT is idempotent, but what has passed through is gone.
    for (method, framing, piece) in [
        ("POST", "Content-Length: 100000000", vec![b'x'; 64 * 1024]),
        ("PUT", "Content-Length: 100000000", vec![b'x'; 64 * 1024]),
        ("PUT", "Transfer-Encoding: chunked", [b"8000\r\n", &*vec![b'x'; 0x8000], b"\r\n"].concat()),
    ] {
        upstream.forget();
        let mut client = Client::connect(address);
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes());
        let writer = client.wire.socket().try_clone().expect("a second handle");
        let writing = std::thread::spawn(move || {
            let mut writer = &writer;
            (0..1000).all(|_| io::Write::write_all(&mut writer, &piece).is_ok())
        });
        let response = client.response_to(method).expect("an answer");
        assert_eq!((response.status, response.text().as_str()), (503, TERMINATED), "{method} {framing}");
        assert_eq!(upstream.received().len(), 1, "{method} {framing}");
        let _ = client.wire.socket().shutdown(std::net::Shutdown::Both);
        assert!(!writing.join().expect("the writer ends"), "the whole upload was taken");
    }
    let mut client = Http2::connect(address);
    client.send(&[http2::post(1, "/", &[]), http2::data(1, flag::NONE, &[0; 16_384])].concat());
    let head = client.until(1, kind::HEADERS).expect("an answer");
    assert_eq!(client.fields(&head).expect("fields")[0], (":status".to_owned(), "503".to_owned()));
    drop(client);
    assert_nothing_left(&gateway);
}

/// Answers `/`; else does what the path says and tells when the gateway has closed the connection.
fn telling() -> (Upstream, Receiver<()>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::start(move |exchange| {
        match exchange.request.target.as_str() {
            "/upload" => while exchange.piece().is_ok_and(|piece| piece.is_some()) {},
            "/quiet" => {
                exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")?;
                exchange.until_closed();
            }
            "/busy" => endless(exchange),
            _ => return exchange.reply(200, "", b"whole"),
        }
        exchange.close();
        tell.lock().unwrap_or_else(PoisonError::into_inner).send(()).map_err(io::Error::other)
    });
    (upstream, told)
}

/// Writes until nobody takes it any more.
fn endless(exchange: &mut Exchange<'_>) {
    let block = [b"4000\r\n", &*vec![b'y'; 0x4000], b"\r\n"].concat();
    let head = exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    if head.is_ok() {
        while exchange.write(&block).is_ok() {}
    }
}

const UPLOAD: &[u8] = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc";
const QUIET: &[u8] = b"GET /quiet HTTP/1.1\r\nHost: a\r\n\r\n";
const BUSY: &[u8] = b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_client_that_resets_ends_its_exchange_at_once_and_the_next_is_served() {
    let (upstream, told) = telling();
    let (gateway, address) = in_front_of(&upstream, 1);
    for request in [UPLOAD, QUIET, BUSY] {
        let said = String::from_utf8_lossy(request);
        let before = upstream.received().len();
        let mut client = Client::connect(address);
        client.send(request);
        eventually("the request is under way", || (upstream.received().len() > before).then_some(()));
        if request != UPLOAD {
            client.head_for("GET").expect("a head");
        }
        let left = Instant::now();
        client.reset();
        told.recv_timeout(cluster_tests::PATIENCE).unwrap_or_else(|_| panic!("nobody tells of {said}"));
        // Far from every timeout: the stream's is 300 s, the response's 15 s.
        assert!(left.elapsed() < Duration::from_secs(8), "{said}: {:?}", left.elapsed());
        assert_eq!(get(address, "/").text(), "whole", "after {said}");
    }
    assert_nothing_left(&gateway);
    eventually("no client", || (gateway.metric("portcullis_connections_active", &[]) == 0.0).then_some(()));
}

#[test]
fn over_http_2_a_stream_or_connection_that_is_reset_in_mid_transfer_ends_its_exchanges_at_once() {
    let (upstream, told) = telling();
    let (gateway, address) = in_front_of(&upstream, 1);
    let begin = |client: &mut Http2, stream: u32| {
        client.send(&http2::get(stream, "/quiet"));
        client.until(stream, kind::DATA).expect("what came first");
        client.send(
            &[http2::post(stream + 2, "/upload", &[]), http2::data(stream + 2, flag::NONE, b"abc")].concat(),
        );
        let begun = || upstream.received().last().is_some_and(|last| last.target == "/upload");
        eventually("both are under way", || begun().then_some(()));
        upstream.forget();
    };
    let both_end = |left: Instant| {
        for _ in 0..2 {
            told.recv_timeout(cluster_tests::PATIENCE).expect("the upstream hears of it");
        }
        assert!(left.elapsed() < Duration::from_secs(8), "{:?}", left.elapsed());
    };
    let mut client = Http2::connect(address);
    begin(&mut client, 1);
    let left = Instant::now();
    client.send(&[http2::reset(1, code::CANCEL), http2::reset(3, code::CANCEL)].concat());
    both_end(left);
    client.send(&http2::get(5, "/"));
    client.until_answered(5).expect("the connection goes on");
    begin(&mut client, 7);
    let left = Instant::now();
    client.reset();
    both_end(left);
    assert_eq!(get(address, "/").text(), "whole");
    assert_nothing_left(&gateway);
}

/// What a host does that has lost its power behind a router: the connection exists for us alone. The kernel accepts it, and
/// nobody ever reads.
#[test]
fn an_upstream_that_vanished_is_a_504_for_a_request_and_for_an_upload_that_it_does_not_take() {
    let vanished = TcpListener::bind("127.0.0.1:0").expect("a free port of loopback");
    let url = format!("http://{}", vanished.local_addr().expect("a bound socket"));
    let (gateway, address) = impatient_in_front_of(&url);
    let before = gateway.resident_kib();
    let asked = Instant::now();
    let response = get(address, "/");
    assert_eq!((response.status, response.text().as_str()), (504, "upstream request timeout"));
    assert!(asked.elapsed() >= IMPATIENCE, "{:?}", asked.elapsed());
    let mut client = Client::connect(address);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    let writer = client.wire.socket().try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        let (mut writer, block) = (&writer, vec![b'x'; 64 * 1024]);
        (0..15_000).all(|_| io::Write::write_all(&mut writer, &block).is_ok())
    });
    let response = client.response_to("POST").expect("an answer");
    assert_eq!((response.status, response.text().as_str()), (504, "stream timeout"));
    let _ = client.wire.socket().shutdown(std::net::Shutdown::Both);
    assert!(!writing.join().expect("the writer ends"), "the whole upload was taken");
    assert_nothing_left(&gateway);
    assert_eq!(gateway.metric("portcullis_upstream_idle_connections", &[]), 0.0, "none is kept");
    assert_steady(&gateway, before);
}

#[test]
fn a_pooled_connection_whose_upstream_vanished_costs_one_request_and_is_not_used_again() {
    let upstream = Upstream::start(|exchange| {
        if exchange.request.connection == 0 && exchange.request.target == "/second" {
            exchange.until_closed();
            exchange.close();
            return Ok(());
        }
        exchange.reply(200, "", b"whole")
    });
    let (gateway, address) = impatient_in_front_of(&upstream.url());
    let mut client = Client::connect(address);
    assert_eq!(client.get("/first", "a", "").status, 200);
    assert_eq!(client.get("/second", "a", "").status, 504, "nobody can know that it is not merely slow");
    let mut client = Client::connect(address);
    assert_eq!(client.get("/second", "a", "").status, 200);
    assert_eq!(upstream.connections(), 2);
    assert_nothing_left(&gateway);
}

#[test]
fn a_client_that_stops_reading_is_cut_after_the_stream_idle_timeout_and_holds_little_memory() {
    let (upstream, told) = telling();
    let (gateway, address) = impatient_in_front_of(&upstream.url());
    assert_eq!(get(address, "/").text(), "whole");
    let before = gateway.resident_kib();
    let started = Instant::now();
    let mut lazy: Vec<Client> = (0..8).map(|_| Client::connect(address)).collect();
    for client in &mut lazy {
        client.send(BUSY);
    }
    for _ in &lazy {
        told.recv_timeout(cluster_tests::PATIENCE).expect("the upstream is given up");
    }
    assert!(started.elapsed() >= IMPATIENCE, "{:?}", started.elapsed());
    assert_nothing_left(&gateway);
    assert_steady(&gateway, before);
    for client in &mut lazy {
        let response = client.response_to("GET");
        // With a reset: the kernel is to hold nothing for it.
        let reset = response.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset);
        assert!(reset, "{:?}", response.map(|response| response.body.len()));
    }
}

#[test]
fn over_http_2_a_stream_whose_client_gives_no_window_is_reset_after_the_stream_idle_timeout() {
    let (upstream, told) = telling();
    let (gateway, address) = impatient_in_front_of(&upstream.url());
    let started = Instant::now();
    let mut client = Http2::connect(address);
    client.send(&http2::get(1, "/busy"));
    told.recv_timeout(cluster_tests::PATIENCE).expect("the upstream is given up");
    assert!(started.elapsed() >= IMPATIENCE, "{:?}", started.elapsed());
    let reset = client.until(1, kind::RST_STREAM).expect("a reset");
    assert_eq!(reset.number(0), code::CANCEL);
    // What the window of the connection was used for is the client's to give back.
    client.send(&[http2::window_update(0, 1 << 20), http2::get(3, "/")].concat());
    client.until_answered(3).expect("the connection goes on");
    drop(client);
    assert_nothing_left(&gateway);
}

/// As when it restarts. Each of these requests is a retry (at most three at a time by default), and none a sign of trouble.
#[test]
fn an_upstream_that_closes_all_its_idle_connections_costs_no_request() {
    const AT_ONCE: usize = 16;
    let seen = Mutex::new(HashSet::new());
    let upstream = Upstream::start(move |exchange| {
        // Long enough for all of them to be under way together.
        std::thread::sleep(Duration::from_millis(300));
        let is_new = seen.lock().unwrap_or_else(PoisonError::into_inner).insert(exchange.request.connection);
        if is_new { exchange.echo("up") } else { exchange.reset() }
    });
    let port = ports::free();
    let api = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let gateway = Plan::new().workers(1).with("api.yaml", &[api]).start();
    for _ in 0..2 {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let ask = || scope.spawn(move || get(([127, 0, 0, 1], port).into(), "/").status);
            let all: Vec<_> = (0..AT_ONCE).map(|_| ask()).collect();
            all.into_iter().map(|one| one.join().expect("an answer")).collect()
        });
        assert_eq!(statuses, [200; AT_ONCE], "{}", gateway.log());
    }
    // How many connections were kept depends on how the first ones came.
    assert!(gateway.metric("portcullis_upstream_retries_total", &[]) > 3.0);
}
