//! What a request costs in heap allocations, on a real worker between real sockets. The numbers are upper
//! bounds: who makes a request cheaper lowers them, who makes it dearer argues for it here.
//!
//! Every thread of the process is counted. The client and the upstream are threads that allocate nothing
//! between the first request that counts and the last.

use std::{
    alloc::System,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use portcullis::{
    data_plane::{Workers, resolver::Resolver, worker::Shared},
    settings::Settings,
    snapshot::{Reconciliation, snapshot_cell},
    telemetry::metrics::Registry,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations of one request, growth of what is allocated already included.
/// Measured 2026-11-28, on one keep-alive connection to either side:
///
/// | request | allocations |
/// | --- | --- |
/// | GET, 128 bytes back | 1 |
/// | POST of 1 KiB, 128 bytes back | 1 |
/// | GET through four policies | 3 |
const GET_MAX: f64 = 1.0;
const POST_MAX: f64 = 1.0;
const POLICIES_MAX: f64 = 3.0;

/// A worker also does things by the clock; spread over the requests of a round they do not count.
const TOLERANCE: f64 = 0.05;
const WARM_UP: usize = 500;
const REQUESTS: usize = 4_000;

/// Two APIs in front of one upstream: `/plain`, and `/policies` with four of them.
const APIS: &str = include_str!("../benches/apis.yaml");

const BODY_BYTES: usize = 128;
const POSTED_BYTES: usize = 1024;

/// Longer than any round takes; what hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker that serves a configuration, on the thread of its own that workers have.
fn start_worker(address: SocketAddr, socket: TcpListener, file: &Path) -> Workers {
    let settings = Settings {
        config: portcullis::settings::Config { paths: vec![file.to_owned()] },
        ..Settings::default()
    };
    let registry = Arc::new(Registry::new(1));
    let wanted =
        Reconciliation::new(Arc::new(settings), Arc::new(|_: &str| None), Arc::clone(&registry), None);
    let generation = wanted.read(Instant::now());
    let found: Vec<String> = generation.diagnostics.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{found:#?}");
    let (_publisher, snapshots) = snapshot_cell(generation.snapshot);
    let shared = Shared {
        snapshots,
        resolver: Arc::new(Resolver::new(PATIENCE, Default::default(), registry.gateway())),
        registry,
        recalls: Arc::default(),
    };
    let workers = Workers::start(1, shared);
    socket.set_nonblocking(true).expect("a socket can be non-blocking");
    workers.open(address, vec![socket]);
    workers
}

/// Answers every request with the same bytes, without allocating while one connection lasts.
fn answer_forever(listener: TcpListener) {
    let answer = [
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY_BYTES}\r\n\r\n")
            .as_bytes(),
        &[b'x'; BODY_BYTES],
    ]
    .concat();
    for stream in listener.incoming() {
        let (mut stream, answer) = (stream.expect("a connection"), answer.clone());
        thread::spawn(move || {
            let mut buffer = [0; 8 * 1024];
            while receive(&mut stream, &mut buffer) {
                if stream.write_all(&answer).is_err() {
                    return;
                }
            }
        });
    }
}

/// One message with a `content-length` or none; nothing follows it before it is answered. `false` at the end
/// of the connection.
fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    let mut end = 0;
    loop {
        match stream.read(&mut buffer[end..]) {
            Ok(0) | Err(_) => return false,
            Ok(bytes) => end += bytes,
        }
        let received = &buffer[..end];
        let Some(head) = received.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        if end >= head + 4 + content_length(&received[..head]) {
            return true;
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    let of_line = |line: &[u8]| {
        let value = line.get(NAME.len()..).filter(|_| line[..NAME.len()].eq_ignore_ascii_case(NAME))?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    };
    head.split(|&b| b == b'\n').find_map(of_line).unwrap_or(0)
}

/// Sends a request over and over on one connection. How many allocations each took, all threads together.
fn allocations_of(gateway: SocketAddr, request: &[u8]) -> f64 {
    let mut stream = TcpStream::connect_timeout(&gateway, PATIENCE).expect("the worker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    let mut buffer = [0; 8 * 1024];
    let mut rounds = |count: usize| {
        for _ in 0..count {
            stream.write_all(request).expect("the worker reads");
            assert!(receive(&mut stream, &mut buffer), "the worker closed the connection");
            assert!(buffer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&buffer));
        }
    };
    rounds(WARM_UP);
    let region = Region::new(ALLOCATOR);
    rounds(REQUESTS);
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / REQUESTS as f64
}

#[test]
fn a_request_allocates_no_more_than_it_did() {
    let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
    let (behind, gateway) = (upstream.local_addr().expect("bound"), socket.local_addr().expect("bound"));
    thread::spawn(move || answer_forever(upstream));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("gateway.yaml");
    let text = APIS.replace("GATEWAY", &gateway.to_string()).replace("UPSTREAM", &behind.to_string());
    fs::write(&file, text).expect("the folder can be written");
    let system = actix_rt::System::new();
    let _workers = system.block_on(async { start_worker(gateway, socket, &file) });

    let head = "host: api.test\r\nuser-agent: allocations\r\naccept: */*\r\n";
    let posted = "p".repeat(POSTED_BYTES);
    let mut dearer = Vec::new();
    for (what, request, most) in [
        ("GET", format!("GET /plain/orders?id=1 HTTP/1.1\r\n{head}\r\n"), GET_MAX),
        (
            "POST of 1 KiB",
            format!("POST /plain/orders HTTP/1.1\r\n{head}content-length: {POSTED_BYTES}\r\n\r\n{posted}"),
            POST_MAX,
        ),
        (
            "GET through four policies",
            format!("GET /policies/orders HTTP/1.1\r\n{head}authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n"),
            POLICIES_MAX,
        ),
    ] {
        let each = allocations_of(gateway, request.as_bytes());
        println!("{what}: {each:.3} allocations (at most {most})");
        if each > most + TOLERANCE {
            dearer.push(format!("{what}: {each:.3} allocations, {most} were enough"));
        }
    }
    assert!(dearer.is_empty(), "a request allocates more than it did:\n{}", dearer.join("\n"));
}
