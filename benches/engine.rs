//! What the parts of a request cost, each alone: `cargo bench`, or `cargo bench -- routing`.
//! `scripts/bench` measures the whole beside other proxies.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::{
    base::ResourceName,
    data_plane::http1::{
        chunked::{Decoder, Found},
        head::{Framing, HeadRules, parse_request, parse_response},
    },
    http::{Body, Headers, Peer, Request, Response, Scheme},
    policy::{Chain, Exchange, Handling, RequestId, Terminal},
    settings::{Config, Settings},
    snapshot::{InstancePlan, Look, Reconciliation, Router, Snapshot},
    telemetry::metrics::Registry,
};

const APIS: &str = include_str!("apis.yaml");

const REQUEST: &[u8] =
    b"GET /policies/orders?id=1 HTTP/1.1\r\nhost: api.test:8080\r\nuser-agent: bench/1.0\r\n\
    accept: application/json\r\naccept-encoding: gzip, br\r\nauthorization: Basic dXNlcjpzZWNyZXQ=\r\n\
    x-correlation-id: 5f0c1b1e-7f43\r\ncookie: session=0123456789abcdef\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nserver: upstream\r\ndate: Sun, 22 Nov 2026 07:00:00 GMT\r\n\
    content-type: application/json\r\ncontent-length: 128\r\ncache-control: no-store\r\netag: \"abc\"\r\n\r\n";

const RULES: HeadRules = HeadRules { fields_max: 128, merge_slashes: true };

fn heads(c: &mut Criterion) {
    let mut group = c.benchmark_group("head");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("request", |b| b.iter(|| parse_request(black_box(REQUEST), RULES).is_ok()));
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("response", |b| b.iter(|| parse_response(black_box(RESPONSE), false).is_ok()));
}

fn headers(c: &mut Criterion) {
    let (head, _) = parse_request(REQUEST, RULES).expect("a valid head").expect("a whole head");
    let mut group = c.benchmark_group("headers");
    group.bench_function("append", |b| {
        b.iter(|| {
            let mut headers = Headers::new();
            headers.append(black_box("x-edge"), black_box("eu-1")).is_ok()
        });
    });
    group.bench_function("copy and set", |b| {
        b.iter(|| {
            let mut headers = head.headers.clone();
            headers.set(black_box("Accept"), black_box("*/*")).is_ok()
        });
    });
}

fn chunked(c: &mut Criterion) {
    let mut wire = Vec::new();
    for _ in 0..16 {
        wire.extend_from_slice(b"400\r\n");
        wire.extend_from_slice(&[b'x'; 1024]);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    let mut group = c.benchmark_group("chunked");
    group.throughput(Throughput::Bytes(wire.len() as u64));
    group.bench_function("16 chunks of 1 KiB", |b| {
        b.iter(|| {
            let (mut decoder, mut rest) = (Decoder::new(Framing::Chunked), black_box(&wire[..]));
            while let Ok((framing, found)) = decoder.advance(rest) {
                rest = &rest[framing..];
                let Found::Data(length) = found else { break };
                rest = &rest[length..];
                decoder.taken(length);
            }
            assert!(decoder.is_done());
        });
    });
}

fn routing(c: &mut Criterion) {
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    let mut group = c.benchmark_group("routing");
    for count in [1, 1_000] {
        let registry = Registry::new(1);
        let router = Router::new((0..count).map(|index| {
            let name = ResourceName::new("default", format!("api-{index}"));
            Arc::new(InstancePlan {
                host: local,
                port: 8080,
                base_path: format!("/team-{}/api-{index}", index % 10).into(),
                slash_required: false,
                chain: Chain::default(),
                routes: Vec::new(),
                blocked: None,
                metrics: registry.api(&name),
                name,
            })
        }));
        let last = count - 1;
        let path = format!("/team-{}/api-{last}/orders/1", last % 10);
        assert!(router.find(&path, local).is_some());
        group.bench_function(format!("{count} APIs"), |b| {
            b.iter(|| router.find(black_box(&path), local).is_some());
        });
    }
}

/// Answers at once, so that the chain alone is measured.
struct Answer;

impl Terminal for Answer {
    fn finish<'a>(&'a self, _: Request, _: &'a Exchange) -> Handling<'a> {
        Handling::answer(Response::empty(200))
    }
}

/// What `apis.yaml` compiles to.
fn snapshot() -> Snapshot {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("apis.yaml");
    let text = APIS.replace("GATEWAY", "127.0.0.1:8080").replace("UPSTREAM", "127.0.0.1:9000");
    std::fs::write(&file, text).expect("the folder can be written");
    let settings = Settings { config: Config { paths: vec![file] }, ..Settings::default() };
    let (settings, registry) = (Arc::new(settings), Arc::new(Registry::new(1)));
    let mut wanted = Reconciliation::new(settings, Arc::new(|_: &str| None), registry, None);
    match wanted.look(Instant::now()).0 {
        Look::Changed(generation) => generation.snapshot,
        Look::Unchanged => panic!("the first look finds a configuration"),
    }
}

fn chains(c: &mut Criterion) {
    let snapshot = snapshot();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let peer = Rc::new(Peer::new(address, address, Scheme::Http));
    let mut group = c.benchmark_group("chain");
    for (name, policies) in [("plain", 0), ("policies", 4)] {
        let instance = snapshot.instances().find(|instance| &*instance.name.name == name);
        let chain = &instance.expect("in the file").chain;
        assert_eq!(chain.steps().len(), policies);
        // The head is parsed each time: a chain takes its request.
        group.bench_function(format!("head and {policies} policies"), |b| {
            b.iter(|| {
                let (head, _) = parse_request(black_box(REQUEST), RULES).expect("valid").expect("whole");
                let request = Request {
                    method: head.method,
                    version: head.version,
                    headers: head.headers,
                    body: Body::Empty,
                    peer: Rc::clone(&peer),
                    path: head.path,
                    query: head.query,
                    authority: head.authority,
                    upgrade: head.upgrade,
                    whole_server: head.whole_server,
                };
                let (id, none) = (RequestId::random(), Duration::ZERO);
                let exchange = Exchange::new(Rc::clone(&peer), id, none, none);
                let Poll::Ready(response) = pin!(chain.run(request, &exchange, &Answer))
                    .poll(&mut Context::from_waker(Waker::noop()))
                else {
                    panic!("none of these policies waits")
                };
                assert_eq!(response.status, 200);
            });
        });
    }
}

criterion_group!(benches, heads, headers, chunked, routing, chains);
criterion_main!(benches);
