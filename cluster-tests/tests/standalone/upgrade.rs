//! Upgrade (RFC 9110 section 7.8) and WebSocket (RFC 6455): who may switch, what goes through, how it ends.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, Response};
use cluster_tests::config::{LOGIN, api, api_with, login};
use cluster_tests::daemon::Daemon;
use cluster_tests::fault_proxy::FaultProxy;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::tls::{Authority, Front, Shop, backends, with};
use cluster_tests::upstream::Upstream;
use cluster_tests::wire::Wire;
use cluster_tests::{eventually, ports, python};
use serde_json::{Value, json};

use crate::bodies::{assert_steady, in_front_of};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

fn ask(extra: &str) -> Vec<u8> {
    format!("{ASK}{extra}\r\n").into_bytes()
}

fn behind(policies: Value, upstream: &str, environment: &[(&str, &str)]) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let api = api_with("api", &format!("http://127.0.0.1:{port}"), upstream, policies);
    let plan = Plan::new().with("api.yaml", &[api]).workers(1);
    let plan = environment.iter().fold(plan, |plan, (name, value)| plan.environment(name, value));
    (plan.start(), ([127, 0, 0, 1], port).into())
}

/// Agrees to what is asked for, with `first` right behind the head, and leaves the rest to `then`; answers other
/// requests with an echo.
fn switching(
    first: &'static str,
    then: impl Fn(&mut Wire) -> io::Result<()> + Send + Sync + 'static,
) -> Upstream {
    Upstream::start(move |exchange| {
        let Some(protocol) = exchange.request.head.get("upgrade").map(str::to_owned) else {
            return exchange.echo("up");
        };
        exchange.close();
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nX-Hop: no\r\nConnection: x-hop\r\n";
        let fields = format!("Upgrade: {protocol}\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
        exchange.write(format!("{head}{fields}\r\n{first}").as_bytes())?;
        then(exchange.wire())
    })
}

fn echo(wire: &mut Wire) -> io::Result<()> {
    loop {
        let bytes = wire.some()?;
        if bytes.is_empty() {
            return wire.finish();
        }
        wire.write(&bytes)?;
    }
}

/// A client that has switched.
fn switched(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.send(&ask(""));
    let (status, _) = client.any_head().expect("an answer");
    assert_eq!(status, 101);
    client
}

fn metric(gateway: &Gateway, line: &str) -> Option<u64> {
    let page = gateway.admin("GET", "/metrics").text();
    page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

#[test]
fn a_switch_passes_with_what_was_sent_right_behind_both_heads_and_is_counted() {
    let upstream = switching("hello", echo);
    let (gateway, address) = in_front_of(&upstream, 1);
    let mut client = Client::connect(address);
    let mut early = ask("");
    early.extend_from_slice(b"early \x00\xff\r\n\r\n");
    client.send(&early);
    let (status, head) = client.any_head().expect("an answer");
    assert_eq!(status, 101);
    let connection: Vec<_> = head.all("connection").collect();
    let protocol: Vec<_> = head.all("upgrade").collect();
    assert_eq!((connection, protocol), (vec!["upgrade"], vec!["websocket"]), "written anew");
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((head.get("x-hop"), head.get("content-length")), (None, None));
    assert_eq!(client.wire.exactly(5).expect("what the upstream said first"), b"hello");
    assert_eq!(client.wire.exactly(12).expect("its echo"), b"early \x00\xff\r\n\r\n");
    client.send(b"more");
    assert_eq!(client.wire.exactly(4).expect("its echo"), b"more");
    let asked = &upstream.received()[0].head;
    assert_eq!(asked.all("connection").collect::<Vec<_>>(), ["upgrade"]);
    assert_eq!(asked.all("upgrade").collect::<Vec<_>>(), ["websocket"]);
    assert_eq!(asked.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(metric(&gateway, "portcullis_tunnels_active"), Some(1));
    client.wire.finish().expect("a half-close");
    assert_eq!(client.wire.to_end().expect("an orderly end"), b"");
    eventually("the tunnel is closed", || {
        (metric(&gateway, "portcullis_tunnels_active")? == 0).then_some(())
    });
    assert_eq!(metric(&gateway, "portcullis_tunnels_total{protocol=\"websocket\"}"), Some(1));
    assert_eq!(metric(&gateway, "portcullis_tunnel_bytes_total{direction=\"up\"}"), Some(16));
    assert_eq!(metric(&gateway, "portcullis_tunnel_bytes_total{direction=\"down\"}"), Some(21));
}

#[test]
fn each_side_may_end_first_and_the_other_goes_on() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let upstream = switching("", move |wire| {
        let order = wire.exactly(1)?;
        let heard = if order == b"c" {
            // The client ends first: everything it said is here, and what is said now still arrives.
            let heard = wire.to_end()?;
            wire.write(&[b'y'; 300_000])?;
            wire.finish()?;
            heard
        } else {
            wire.finish()?;
            wire.to_end()?
        };
        tell.lock().expect("not poisoned").send(heard.len()).map_err(io::Error::other)
    });
    let (_gateway, address) = in_front_of(&upstream, 1);

    let mut client = switched(address);
    client.send(&[b"c".as_slice(), &[b'x'; 300_000]].concat());
    client.wire.finish().expect("a half-close");
    assert_eq!(client.wire.to_end().expect("an orderly end").len(), 300_000);
    assert_eq!(told.recv_timeout(cluster_tests::PATIENCE), Ok(300_000));

    let mut client = switched(address);
    client.send(b"u");
    assert_eq!(client.wire.to_end().expect("an orderly end"), b"", "the upstream has ended");
    client.send(&[b'x'; 300_000]);
    client.wire.finish().expect("a half-close");
    assert_eq!(told.recv_timeout(cluster_tests::PATIENCE), Ok(300_000), "the client had not");
}

#[test]
fn an_upstream_that_is_reset_resets_the_client() {
    let upstream = switching("", |wire| {
        wire.exactly(1)?;
        wire.write(b"part")?;
        // Closing over unread bytes resets.
        wire.socket().peek(&mut [0]).map(drop)
    });
    let (_gateway, address) = in_front_of(&upstream, 1);
    let mut client = switched(address);
    client.send(b"x");
    assert_eq!(client.wire.exactly(4).expect("a part"), b"part");
    client.send(b"more");
    assert!(client.wire.to_end().is_err(), "an orderly end would look complete");
}

#[test]
fn a_switch_that_was_not_asked_for_in_this_way_is_a_502() {
    for (says, answer) in [
        ("another protocol", "Connection: upgrade\r\nUpgrade: chat\r\n"),
        ("layers", "Connection: upgrade\r\nUpgrade: websocket, chat\r\n"),
        ("another version", "Connection: upgrade\r\nUpgrade: websocket/2\r\n"),
        ("two fields", "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n"),
        ("not announced", "Upgrade: websocket\r\n"),
        ("no protocol", "Connection: upgrade\r\n"),
        ("h2c", "Connection: upgrade\r\nUpgrade: h2c\r\n"),
        ("a body", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n"),
    ] {
        let upstream = Upstream::start(move |exchange| {
            exchange.close();
            exchange.write(format!("HTTP/1.1 101 Switching Protocols\r\n{answer}\r\nhi").as_bytes())
        });
        let (_gateway, address) = in_front_of(&upstream, 1);
        let mut client = Client::connect(address);
        client.send(&ask("").repeat(2));
        for _ in 0..2 {
            assert_eq!(client.response_to("GET").expect("HTTP is still spoken").status, 502, "{says}");
        }
    }
}

#[test]
fn what_may_not_switch_is_forwarded_without_the_wish() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) = in_front_of(&upstream, 1);
    for (says, request) in [
        (
            "h2c",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
        ),
        ("TLS inside", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n"),
        ("not announced", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"),
        (
            "a body",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
        ),
        (
            "POST",
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        ),
        ("HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        (
            "several",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: chat\r\n\r\n",
        ),
        ("no list", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: web socket\r\n\r\n"),
    ] {
        let answer = Client::connect(address).exchange("GET", request.as_bytes()).expect("an answer");
        let fields = answer.json()["fields"].to_string().to_ascii_lowercase();
        assert!(answer.status == 200 && !fields.contains("upgrade"), "{says}: {fields}");
        assert!(!fields.contains("http2-settings"), "{says}: {fields}");
    }
    let mixed =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c, chat/2 , websocket\r\n\r\n";
    let answer = Client::connect(address).exchange("GET", mixed.as_bytes()).expect("an answer");
    assert!(
        answer.json()["fields"].to_string().contains(r#"["upgrade","chat/2, websocket"]"#),
        "{}",
        answer.text()
    );
}

#[test]
fn bytes_behind_a_switch_that_did_not_happen_are_requests_that_meet_the_policies() {
    let upstream = Upstream::echo("up");
    let admin = json!([{"path": "/admin.*"}]);
    let (_gateway, address) = behind(json!([login(admin)]), &upstream.url(), &[]);
    let mut client = Client::connect(address);
    let mut bytes = ask("");
    bytes.extend_from_slice(b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\nGET /open HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(&bytes);
    let answers: Vec<Response> = (0..3).map(|_| client.response_to("GET").expect("an answer")).collect();
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 401, 200]);
    let targets: Vec<String> = upstream.received().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/chat", "/open"]);
}

#[test]
fn policies_protect_an_upgrade() {
    let upstream = switching("", echo);
    let (_gateway, address) = behind(json!([login(json!([]))]), &upstream.url(), &[]);
    let mut client = Client::connect(address);
    let refused = client.exchange("GET", &ask("")).expect("an answer");
    assert_eq!((refused.status, upstream.received().len()), (401, 0));
    client.send(&ask(LOGIN));
    assert_eq!(client.any_head().expect("an answer").0, 101);
    client.send(b"ping");
    assert_eq!(client.wire.exactly(4).expect("its echo"), b"ping");
}

#[test]
fn a_tunnel_ends_when_nothing_moves_and_no_response_timeout_cuts_it() {
    let upstream = switching("", echo);
    let policies = json!([
        {"policyRef": {"name": "stream-idle-timeout-flex"}, "config": {"timeout": 3}},
        {"policyRef": {"name": "response-timeout-flex"}, "config": {"timeout": 3}},
    ]);
    let (gateway, address) = behind(policies, &upstream.url(), &[]);
    let mut client = switched(address);
    let mut last = Instant::now();
    for _ in 0..14 {
        std::thread::sleep(Duration::from_millis(300));
        last = Instant::now();
        client.send(b"x");
        assert_eq!(client.wire.exactly(1).expect("it lives as long as it speaks"), b"x");
    }
    assert_eq!(client.wire.to_end().expect("an orderly end"), b"");
    assert!(last.elapsed() >= Duration::from_millis(2_850), "{:?}", last.elapsed());
    eventually("the upstream is let go", || {
        (metric(&gateway, "portcullis_tunnels_active")? == 0).then_some(())
    });
}

#[test]
fn a_drain_leaves_tunnels_alone_until_it_ends() {
    let upstream = switching("", echo);
    let (mut gateway, address) =
        behind(json!([]), &upstream.url(), &[("FLEX_SERVICE_ENVOY_DRAIN_TIME", "7")]);
    let mut client = switched(address);
    gateway.signal("TERM");
    eventually("not ready", || (!gateway.ready()).then_some(()));
    for _ in 0..10 {
        client.send(b"x");
        assert_eq!(client.wire.exactly(1).expect("the drain has not ended"), b"x");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(gateway.wait(Duration::from_secs(20)).success());
    assert!(matches!(client.wire.some(), Ok(rest) if rest.is_empty()) || client.closed());
}

#[test]
fn an_address_that_disappears_takes_its_tunnels_with_it_after_the_drain() {
    let upstream = switching("", echo);
    let (gateway, address) = behind(json!([]), &upstream.url(), &[("FLEX_SERVICE_ENVOY_DRAIN_TIME", "5")]);
    let mut client = switched(address);
    let elsewhere = api("api", &format!("http://127.0.0.1:{}", ports::free()), &upstream.url());
    assert_eq!(gateway.apply("api.yaml", &[elsewhere]).status, 200);
    client.send(b"still");
    assert_eq!(client.wire.exactly(5).expect("the drain has not ended"), b"still");
    assert_eq!(client.wire.to_end().expect("an orderly end"), b"");
}

#[test]
fn gigabytes_pass_a_tunnel_at_constant_memory_and_a_reader_that_stops_stops_the_writer() {
    let upstream = switching("", |wire| {
        wire.exactly(1)?;
        let block = vec![b'y'; 256 * 1024];
        (0..4 * 1024).try_for_each(|_| wire.write(&block))?;
        wire.finish()
    });
    let (gateway, address) = in_front_of(&upstream, 1);
    let mut client = switched(address);
    let before = gateway.resident_kib();
    client.send(b"g");
    let moved = || metric(&gateway, "portcullis_tunnel_bytes_total{direction=\"down\"}").unwrap_or(0);
    let held = eventually("nobody reads, so nothing is read", || {
        let before = moved();
        std::thread::sleep(Duration::from_millis(300));
        (before > 0 && moved() == before).then_some(before)
    });
    assert!(held < 1 << 26, "{held} bytes went nowhere");
    let mut bytes = 0;
    loop {
        match client.wire.some().expect("an orderly end").len() {
            0 => break,
            count => bytes += count,
        }
    }
    assert_eq!(bytes, 1 << 30);
    assert_steady(&gateway, before);
}

#[test]
fn quiet_tunnels_hold_no_buffers() {
    let upstream = switching("", echo);
    let (gateway, address) = in_front_of(&upstream, 1);
    let warm = switched(address);
    let before = gateway.resident_kib();
    let mut tunnels: Vec<Client> = (0..500).map(|_| switched(address)).collect();
    for tunnel in &mut tunnels {
        tunnel.send(b"x");
        assert_eq!(tunnel.wire.exactly(1).expect("its echo"), b"x");
    }
    let grown = gateway.resident_kib().saturating_sub(before);
    println!("{} KiB for each of 500 tunnels", grown / 500);
    assert!(grown / 500 < 20, "{grown} KiB for 500 tunnels");
    drop((warm, tunnels));
}

#[test]
fn a_tunnel_to_a_tls_upstream_carries_the_same_bytes() {
    let upstream = switching("hello", echo);
    let authority = Authority::new();
    let front = authority.front("chat.internal", upstream.address());
    let trusted = authority.certificate();
    let environment = [
        ("PORTCULLIS_DNS__HOSTS", "chat.internal=127.0.0.1"),
        ("SSL_CERT_FILE", trusted.to_str().expect("a plain path")),
    ];
    let url = format!("https://chat.internal:{}", front.port());
    let (_gateway, address) = behind(json!([]), &url, &environment);
    let mut client = switched(address);
    assert_eq!(client.wire.exactly(5).expect("what the upstream said first"), b"hello");
    for size in [1, 100, 16_384, 16_385, 100_000] {
        let message: Vec<u8> = (0..size).map(|_| fastrand::u8(..)).collect();
        client.send(&message);
        assert!(client.wire.exactly(size).expect("its echo") == message, "{size}");
    }
}

/// HTTP/2 has no `Upgrade` (RFC 9113 section 8.6): an upstream that would choose it is not given the choice.
#[test]
fn an_upgrade_reaches_an_upstream_that_speaks_http_2_too() {
    let (authority, upstream, mut shop) = (Authority::new(), switching("hello", echo), Shop::new());
    let pair = authority.issue("chat.internal");
    let front = Front::start(&pair, upstream.address(), json!({"alpn": ["h2", "http/1.1"]}));
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem()}));
        shop.serve(backend, &format!("https://chat.internal:{}", front.port()), &context);
    }
    let _gateway = shop.plan().start();
    for (backend, _) in backends() {
        assert_switches(&shop, backend);
        assert_eq!(front.last()["alpn"], "http/1.1", "{backend}");
    }
}

fn assert_switches(shop: &Shop, backend: &str) {
    let mut client = Client::connect(shop.address());
    client.send(&String::from_utf8_lossy(&ask("")).replace("/chat", &format!("/{backend}")).into_bytes());
    assert_eq!(client.any_head().expect("an answer").0, 101, "{backend}");
    assert_eq!(client.wire.exactly(5).expect("what the upstream said first"), b"hello");
    client.send(b"there and back");
    assert_eq!(client.wire.exactly(14).expect("its echo"), b"there and back");
}

#[test]
fn an_upgrade_reaches_an_upstream_that_speaks_http_2_too_after_it_has_refused_a_connection() {
    let (authority, upstream, mut shop) = (Authority::new(), switching("hello", echo), Shop::new());
    let pair = authority.issue("chat.internal");
    let front = Front::start(&pair, upstream.address(), json!({"alpn": ["h2", "http/1.1"]}));
    let between = FaultProxy::start(([127, 0, 0, 1], front.port()).into());
    for (backend, base) in backends() {
        let context = with(&base, json!({"trustedCA": authority.pem()}));
        shop.serve(backend, &format!("https://chat.internal:{}", between.address().port()), &context);
    }
    let _gateway = shop.plan().workers(1).start();
    between.refuse();
    for (backend, _) in backends() {
        assert_eq!(shop.status(backend), 503, "{backend}");
    }
    between.heal();
    for (backend, _) in backends() {
        assert_switches(&shop, backend);
    }
}

/// Runs a WebSocket server and a client of `websockets`, the gateway between them.
#[test]
fn the_websockets_of_others_work_through_the_gateway() {
    let Some(python) = python::with("websockets") else { return };
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers");
    let server = Daemon::python(&python, &format!("{scripts}/websocket_server.py"));
    let (_gateway, address) = behind(json!([]), &format!("http://{}", server.address()), &[]);
    let client = Command::new(&python)
        .arg(format!("{scripts}/websocket_client.py"))
        .arg(format!("ws://{address}/echo"))
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&client.stdout);
    assert!(client.status.success(), "{said}\n{}", String::from_utf8_lossy(&client.stderr));
    for step in [
        "text",
        "fragments",
        "16 MiB",
        "many",
        "ping",
        "pong from the server",
        "close by the client",
        "close by the server",
    ] {
        assert!(said.lines().any(|line| line == format!("ok: {step}")), "{step} is missing:\n{said}");
    }
}
