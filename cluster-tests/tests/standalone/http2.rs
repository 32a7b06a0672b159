//! HTTP/2 with the programs of others: curl, and nghttp2's clients and server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use cluster_tests::config::api;
use cluster_tests::daemon::Daemon;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::http2 as wire;
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;
use cluster_tests::{PATIENCE, eventually};

fn gateway(upstream: &str) -> (Gateway, u16) {
    let port = ports::free();
    let gateway =
        Plan::new().with("api.yaml", &[api("api", &format!("http://127.0.0.1:{port}"), upstream)]).start();
    (gateway, port)
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// The output of a program that must succeed.
fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let run = Command::new(program).args(arguments).output();
    let run = run.unwrap_or_else(|error| panic!("{program}: {error}; scripts/test installs what is missing"));
    assert!(
        run.status.success(),
        "{program} {arguments:?}: {}\n{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    run.stdout
}

fn text(program: &str, arguments: &[&str]) -> String {
    String::from_utf8_lossy(&output(program, arguments)).into_owned()
}

fn load(url: &str, more: &[&str]) {
    let arguments = [&["-n", "2000", "-c", "8", "-m", "10"], more, &[url]].concat();
    let report = text("h2load", &arguments);
    assert!(report.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{report}");
    assert!(report.contains("status codes: 2000 2xx"), "{report}");
}

/// Versions of curl that are in use lose an answer behind which they read that its stream is reset (RFC 9113 section 8.1 forbids it).
#[test]
fn curl_hears_an_answer_that_has_no_need_of_its_upload() {
    let upstream = Upstream::echo("up");
    let port = ports::free();
    let api = api("api", &format!("http://127.0.0.1:{port}/api"), &upstream.url());
    let _gateway = Plan::new().with("api.yaml", &[api]).start();
    let url = format!("http://127.0.0.1:{port}/elsewhere");
    let file = tempfile::NamedTempFile::new().expect("a file");
    for size in [3, 200_000, 1_000_000] {
        std::fs::write(file.path(), vec![b'x'; size]).expect("written");
        let from = format!("@{}", file.path().display());
        for _ in 0..5 {
            let arguments =
                ["-sS", "--http2-prior-knowledge", "-w%{http_code}", "--data-binary", &from, &url];
            assert!(text("curl", &arguments).ends_with("404"), "{size}");
        }
    }
}

#[test]
fn curl_with_prior_knowledge_is_answered_in_http_2() {
    let upstream = Upstream::echo("up");
    let (_gateway, port) = gateway(&upstream.url());
    let url = format!("http://127.0.0.1:{port}/a/../b?x=1");
    let written = "-w\n%{http_version} %{http_code}";
    let answer =
        text("curl", &["-sS", "--path-as-is", "--http2-prior-knowledge", "-b", "a=1", written, &url]);
    assert!(answer.ends_with("\n2 200"), "{answer}");
    assert!(answer.contains("\"target\":\"/b?x=1\""), "{answer}");
    let answer = text("curl", &["-sS", "--http1.1", written, &url]);
    assert!(answer.ends_with("\n1.1 200"), "{answer}");
}

#[test]
fn a_large_body_goes_up_and_comes_back_as_it_was() {
    let upstream = Upstream::start(|exchange| {
        let body = exchange.body()?;
        exchange.reply(200, "", &body)
    });
    let (_gateway, port) = gateway(&upstream.url());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("body");
    let body: Vec<u8> = (0..3_000_000_u32).map(|i| (i / 7) as u8).collect();
    std::fs::write(&file, &body).expect("the temporary folder is writable");
    let from = format!("@{}", file.display());
    let url = format!("http://127.0.0.1:{port}/");
    let answer = output("curl", &["-sS", "--http2-prior-knowledge", "--data-binary", &from, &url]);
    assert!(answer == body, "{} of {} bytes came back, or others", answer.len(), body.len());
}

#[test]
fn h2load_and_nghttp_see_no_protocol_error() {
    let upstream = Upstream::start(|exchange| {
        exchange.body()?;
        exchange.reply(200, "", &[b'x'; 10_000])
    });
    let (_gateway, port) = gateway(&upstream.url());
    let url = format!("http://127.0.0.1:{port}/");
    load(&url, &[]);
    let seen = text("nghttp", &["-nv", "-H", "cookie: a=1", &url]);
    assert!(seen.contains(":status: 200"), "{seen}");
    assert!(!seen.contains("RST_STREAM") && !seen.contains("PROTOCOL_ERROR"), "{seen}");
}

#[test]
fn a_service_of_h2_is_spoken_to_in_http_2_whatever_the_client_speaks() {
    let content: Vec<u8> = (0..1_000_000_u32).map(|i| (i / 3) as u8).collect();
    let server = Daemon::nghttpd("file", &content);
    let (_gateway, port) = gateway(&format!("h2://{}", server.address()));
    let url = format!("http://127.0.0.1:{port}/file");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = output("curl", &["-sS", version, &url]);
        assert!(answer == content, "{version}: {} of {} bytes", answer.len(), content.len());
    }
    let missing = format!("http://127.0.0.1:{port}/none");
    assert!(text("curl", &["-sS", "-o/dev/null", "-w%{http_code}", &missing]).ends_with("404"));
}

#[test]
fn h2load_through_to_an_h2_service_sees_no_failure() {
    let server = Daemon::nghttpd("file", b"hello");
    let (_gateway, port) = gateway(&format!("h2://{}", server.address()));
    load(&format!("http://127.0.0.1:{port}/file"), &[]);
    load(&format!("http://127.0.0.1:{port}/file"), &["--h1"]);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A connection that speaks HTTP/2 by hand.
fn raw(port: u16) -> TcpStream {
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(&[PREFACE, &SETTINGS].concat()).expect("the gateway reads");
    stream
}

/// The type and payload of the next frame, `None` at the end of the connection.
fn frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], payload))
}

#[test]
fn floods_of_control_frames_end_in_goaway() {
    const ENHANCE_YOUR_CALM: u8 = 11;
    let upstream = Upstream::echo("up");
    let (gateway, port) = gateway(&upstream.url());
    let before = gateway.resident_kib();
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    let priority = [&[0, 0, 5, 2, 0, 0, 0, 0, 1][..], &[0, 0, 0, 3, 1]].concat();
    for flood in [&ping, &SETTINGS.to_vec(), &priority] {
        let mut stream = raw(port);
        let mut writing = stream.try_clone().expect("a second handle");
        let bytes = flood.repeat(1000);
        let flooding = std::thread::spawn(move || {
            for _ in 0..1000 {
                if writing.write_all(&bytes).is_err() {
                    break;
                }
            }
        });
        let goaway = loop {
            match frame(&mut stream) {
                Some((7, payload)) => break payload,
                Some(_) => {}
                None => panic!("closed without GOAWAY"),
            }
        };
        assert_eq!(goaway[7], ENHANCE_YOUR_CALM);
        drop(stream);
        flooding.join().expect("the flood ends");
    }
    assert!(gateway.resident_kib() < before + 4096, "{before} KiB, then {}", gateway.resident_kib());
}

#[test]
fn an_idle_connection_costs_no_more_than_its_documented_memory() {
    const CONNECTIONS: u64 = 400;
    const EACH_KIB_MAX: u64 = 64;
    let upstream = Upstream::echo("up");
    let (gateway, port) = gateway(&upstream.url());
    // :method GET, :scheme http, :path /, :authority a
    let request = [&[0, 0, 6, 1, 5, 0, 0, 0, 1][..], &[0x82, 0x86, 0x84, 0x41, 1, b'a']].concat();
    let open = |count: u64| -> Vec<TcpStream> {
        let answered = |mut stream: TcpStream| {
            stream.write_all(&request).expect("the gateway reads");
            while frame(&mut stream).is_some_and(|(kind, _)| kind != 1) {}
            stream
        };
        (0..count).map(|_| answered(raw(port))).collect()
    };
    let _warm = open(20);
    let before = gateway.resident_kib();
    let connections = open(CONNECTIONS);
    let each = (gateway.resident_kib() - before) / CONNECTIONS;
    println!("{each} KiB for each idle connection");
    assert!(each <= EACH_KIB_MAX, "{each} KiB for each of {} idle connections", connections.len());
}

#[test]
fn streams_that_are_reset_at_once_do_not_end_the_connection() {
    let upstream = Upstream::echo("up");
    let (_gateway, port) = gateway(&upstream.url());
    let mut client = wire::Http2::connect(local(port));
    let mut burst = Vec::new();
    for stream in (1..=199).step_by(2) {
        burst.extend(wire::get(stream, "/"));
        burst.extend(wire::reset(stream, 8));
    }
    burst.extend(wire::get(201, "/"));
    client.send(&burst);
    client.until_answered(201).expect("the next stream is served");
}

#[test]
fn requests_of_a_client_that_is_gone_are_counted_as_ended() {
    let upstream = Upstream::start(|exchange| {
        exchange.until_closed();
        Ok(())
    });
    let (gateway, port) = gateway(&upstream.url());
    let mut client = wire::Http2::connect(local(port));
    for stream in [1, 3, 5] {
        client.send(&wire::get(stream, "/"));
    }
    let active = || gateway.metric("portcullis_api_active_requests", &[]);
    eventually("three requests", || (active() == 3.0).then_some(()));
    drop(client);
    eventually("none", || (active() == 0.0).then_some(()));
}

/// Awaits so much payload, and that no more of it comes.
fn expect_payload(client: &mut wire::Http2, expected: usize, why: &str) {
    let (mut bytes, mut pinged) = (0, false);
    loop {
        if bytes >= expected && !pinged {
            std::thread::sleep(std::time::Duration::from_millis(200));
            client.send(&wire::frame(wire::kind::PING, wire::flag::NONE, 0, b"a pause!"));
            pinged = true;
        }
        let frame = client.receive().expect("a frame").expect("an open connection");
        match frame.kind {
            wire::kind::DATA => bytes += frame.payload.len(),
            wire::kind::HEADERS => drop(client.fields(&frame).expect("a head")),
            wire::kind::PING if frame.has(wire::flag::ACK) => return assert_eq!(bytes, expected, "{why}"),
            _ => {}
        }
    }
}

/// RFC 9113 section 5.2 and 6.9: never more than the client has said that it takes.
#[test]
fn a_download_stays_within_the_windows_of_its_stream_and_of_its_connection() {
    let upstream = Upstream::start(|exchange| exchange.reply(200, "", &vec![b'x'; 100_000]));
    let (_gateway, port) = gateway(&upstream.url());
    let mut client = wire::Http2::connect_silently(local(port));
    client.send(&[wire::PREFACE, &wire::settings(&[(4, 10)])].concat());
    client.send(&wire::get(1, "/"));
    expect_payload(&mut client, 10, "the stream's window");
    client.send(&wire::window_update(1, 5));
    expect_payload(&mut client, 5, "five more");
    // The window of a stream may grow and shrink by SETTINGS, below zero too (section 6.9.2).
    client.send(&wire::settings(&[(4, 0)]));
    client.send(&wire::window_update(1, 12));
    expect_payload(&mut client, 2, "ten less, twelve more");
    client.send(&wire::settings(&[(4, 1 << 20)]));
    expect_payload(&mut client, 65_535 - 17, "the connection's window");
    client.send(&wire::window_update(0, 1_000));
    expect_payload(&mut client, 1_000, "the connection's window, opened");
    client.send(&wire::window_update(0, 1 << 20));
    client.until_answered(1).expect("the rest");
}
