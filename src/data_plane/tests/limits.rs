//! Limits of the circuit breaker (configuration reference 7.2), exact.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    bench::{Bench, Peer, ROOMY, accepted, run, upstream},
    http2_out,
};
use crate::snapshot::{Gauge, upstream::UpstreamLimits};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A client that has sent its request.
async fn asking(bench: &Bench) -> Peer {
    let mut client = bench.connect().await;
    client.send(GET).await;
    client
}

async fn until_waiting(bench: &Bench, count: usize) {
    while bench.upstream.gauges.line.waiting() != count {
        tokio::task::yield_now().await;
    }
}

async fn until_served(bench: &Bench) {
    while bench.upstream.gauges.line.waiting() + bench.upstream.gauges.count(Gauge::Requests) > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn connections_and_pending_requests_admit_exactly_their_limits() {
    run(async {
        let listener = upstream().await;
        let limits = UpstreamLimits { connections_max: 2, pending_requests_max: 3, ..ROOMY };
        let bench = Bench::new(&listener, limits).await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(asking(&bench).await);
        }
        let servers = [accepted(&listener).await, accepted(&listener).await];
        until_waiting(&bench, 3).await;
        assert_eq!(bench.upstream.gauges.line.connections(), 2);
        for _ in 0..3 {
            let refused = bench.ask(GET).await;
            assert_eq!(refused.status(), "503");
            assert!(String::from_utf8_lossy(&refused.body).contains("overflow"));
        }
        // One of the waiting leaves: its place is free again.
        drop(clients.pop());
        until_waiting(&bench, 2).await;
        clients.push(asking(&bench).await);
        until_waiting(&bench, 3).await;
        for mut server in servers {
            actix_rt::spawn(async move {
                while server.message().await.is_some() {
                    server.send(OK).await;
                }
            });
        }
        for client in &mut clients {
            assert_eq!(client.message().await.expect("a response").body, b"ok");
        }
        until_served(&bench).await;
        assert_eq!(bench.upstream.gauges.line.connections(), 2);
    });
}

#[test]
fn who_waits_is_served_when_connections_close_instead_of_being_given_back() {
    run(async {
        let listener = upstream().await;
        let limits = UpstreamLimits { connections_max: 1, pending_requests_max: 20, ..ROOMY };
        let bench = Bench::new(&listener, limits).await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(asking(&bench).await);
        }
        actix_rt::spawn(async move {
            loop {
                let mut peer = accepted(&listener).await;
                peer.message().await.expect("a request");
                peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
            }
        });
        for client in &mut clients {
            assert_eq!(client.message().await.expect("a response").body, b"ok");
        }
    });
}

#[test]
fn waiting_requests_survive_others_that_leave_while_being_woken() {
    run(async {
        let mut random = crate::data_plane::http1::tests::random();
        let listener = upstream().await;
        let limits = UpstreamLimits { connections_max: 2, pending_requests_max: 100, ..ROOMY };
        let bench = Bench::new(&listener, limits).await;
        let mut random_upstream = random.fork();
        actix_rt::spawn(async move {
            loop {
                let mut peer = accepted(&listener).await;
                let mut random = random_upstream.fork();
                actix_rt::spawn(async move {
                    while peer.message().await.is_some() && random.u8(..5) > 0 {
                        peer.send(OK).await;
                    }
                });
            }
        });
        let mut served = 0;
        for _ in 0..20 {
            let mut clients = Vec::new();
            for _ in 0..20 {
                clients.push(asking(&bench).await);
            }
            for mut client in clients {
                if random.bool() {
                    // Each is answered, well or not; none waits for ever.
                    served += usize::from(client.message().await.expect("an answer").status() == "200");
                }
            }
        }
        assert!(served > 50, "{served}");
        until_served(&bench).await;
    });
}

#[test]
fn a_request_over_the_limit_leaves_its_connection_to_others() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, UpstreamLimits { requests_max: 1, ..ROOMY }).await;
        let mut first = asking(&bench).await;
        let mut server = accepted(&listener).await;
        server.message().await.expect("a request");
        assert_eq!(bench.ask(GET).await.status(), "503");
        assert_eq!(bench.upstream.gauges.line.connections(), 2);
        server.send(OK).await;
        assert_eq!(first.message().await.expect("a response").body, b"ok");
        assert!(bench.worker.connection_slot().is_some());
    });
}

#[test]
fn a_connection_that_the_response_timeout_ends_was_begun_and_has_failed() {
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        // Whoever comes when its queue is full gets no answer, as from a host that is away.
        let mut queued = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        let bench =
            Bench::with(&listener, ROOMY, |engine| engine.response_timeout = Duration::from_millis(200))
                .await;
        assert_eq!(bench.ask(GET).await.status(), "504");
        let page = bench.registry.render();
        for (family, label, count) in [
            ("connect_attempts", "", 1),
            ("connect_failures", ",reason=\"timeout\"", 1),
            ("connect_failures", ",reason=\"refused\"", 0),
        ] {
            let upstream = "namespace=\"default\",upstream=\"api\"";
            let line = format!("portcullis_upstream_{family}_total{{{upstream}{label}}} {count}\n");
            assert!(page.contains(&line), "{line}: {page}");
        }
    });
}

#[test]
fn a_changed_limit_is_in_force_at_once_for_those_who_wait_and_for_what_is_open() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, UpstreamLimits { connections_max: 1, ..ROOMY }).await;
        let line = &bench.upstream.gauges.line;
        let _held = line.permit();
        let _waits = asking(&bench).await;
        until_waiting(&bench, 1).await;
        bench.publish(|plan| plan.limits.connections_max = 2);
        assert_eq!((line.connections(), line.waiting(), line.is_exceeded()), (2, 0, false));
        bench.publish(|plan| plan.limits.connections_max = 1);
        assert!(line.is_exceeded());
    });
}

#[test]
fn a_lowered_limit_closes_connections_that_come_back_while_others_wait() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, UpstreamLimits { connections_max: 4, ..ROOMY }).await;
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            clients.push(asking(&bench).await);
            let mut server = accepted(&listener).await;
            server.message().await.expect("a request");
            servers.push(server);
        }
        bench.reload(|plan| plan.limits.connections_max = 2);
        let mut late = asking(&bench).await;
        until_waiting(&bench, 1).await;
        for left in [3, 2] {
            let mut server = servers.pop().unwrap();
            server.send(OK).await;
            assert_eq!(clients.pop().unwrap().message().await.expect("a response").body, b"ok");
            assert_eq!(server.rest().await, (Vec::new(), true), "it is one too many");
            assert_eq!(
                (bench.upstream.gauges.line.connections(), bench.upstream.gauges.line.waiting()),
                (left, 1)
            );
        }
        let mut server = servers.pop().unwrap();
        server.send(OK).await;
        server.message().await.expect("the request that waits");
        server.send(OK).await;
        assert_eq!(late.message().await.expect("a response").body, b"ok");
        assert_eq!(bench.upstream.gauges.line.connections(), 2);
    });
}

/// A gateway with this many connections that idle.
async fn idling(count: usize) -> Bench {
    let listener = upstream().await;
    let bench = Bench::new(&listener, UpstreamLimits { connections_max: count, ..ROOMY }).await;
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        clients.push(asking(&bench).await);
        servers.push(accepted(&listener).await);
    }
    for mut server in servers {
        actix_rt::spawn(async move {
            while server.message().await.is_some() {
                server.send(OK).await;
            }
        });
    }
    for client in &mut clients {
        client.message().await.expect("a response");
    }
    until_served(&bench).await;
    assert_eq!(bench.upstream.gauges.line.connections(), count);
    bench
}

#[test]
fn a_lowered_limit_closes_connections_that_idle() {
    run(async {
        for by_a_request in [false, true] {
            let bench = idling(5).await;
            bench.reload(|plan| plan.limits.connections_max = 2);
            if by_a_request {
                assert_eq!(bench.ask(GET).await.status(), "200");
            } else {
                bench.look();
            }
            assert_eq!(bench.upstream.gauges.line.connections(), 2, "{by_a_request}");
        }
    });
}

#[test]
fn a_changed_idle_timeout_is_in_force_for_connections_that_idle() {
    run(async {
        let socket = upstream().await;
        let http2 = Bench::h2(&socket, ROOMY).await;
        let mut client = asking(&http2).await;
        let mut incoming = http2_out::one(&socket).await;
        incoming.recv().await.unwrap().1.send_response(http2_out::head(204), true).unwrap();
        client.message().await.expect("a response");
        for bench in [idling(3).await, http2] {
            bench.reload(|plan| plan.idle_timeout = Duration::from_millis(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
            bench.look();
            while bench.upstream.gauges.line.connections() > 0 {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn a_lowered_limit_closes_shared_connections_that_are_busy() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, ROOMY).await;
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let (mut clients, mut held) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            clients.push(asking(&bench).await);
            let mut incoming = http2_out::requests(http2_out::accepted(&socket, &builder).await);
            let request = incoming.recv().await.unwrap();
            held.push((request, incoming));
        }
        bench.reload(|plan| plan.limits.connections_max = 1);
        bench.look();
        for ((_, respond), _) in &mut held {
            respond.send_response(http2_out::head(204), true).unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.message().await.expect("a response").status(), "204");
        }
        while bench.upstream.gauges.line.connections() != 1 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn who_comes_later_does_not_overtake_those_who_wait_for_a_place() {
    run(async {
        let socket = upstream().await;
        let bench = Bench::h2(&socket, UpstreamLimits { connections_max: 1, ..ROOMY }).await;
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let mut first = bench.connect().await;
        // The next request of this client begins as soon as its first has its answer.
        first.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /4 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut incoming = http2_out::requests(http2_out::accepted(&socket, &builder).await);
        let mut next = incoming.recv().await;
        let mut clients = vec![first];
        for (waiting, path) in ["/2", "/3"].iter().enumerate() {
            let mut client = bench.connect().await;
            client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            clients.push(client);
            until_waiting(&bench, waiting + 1).await;
        }
        for path in ["/1", "/2", "/3", "/4"] {
            let (request, mut respond) = next.take().unwrap();
            assert_eq!(request.uri().path(), path);
            respond.send_response(http2_out::head(204), true).unwrap();
            if path != "/4" {
                next = incoming.recv().await;
            }
        }
        for client in &mut clients {
            assert_eq!(client.message().await.expect("a response").status(), "204");
        }
    });
}

#[test]
fn who_waits_in_line_waits_no_longer_than_the_stream_idle_timeout() {
    run(async {
        let patient = |engine: &mut crate::snapshot::EngineSettings| {
            engine.response_timeout = Duration::ZERO;
            engine.stream_idle = Duration::from_millis(50);
        };
        let listener = upstream().await;
        let limits = UpstreamLimits { connections_max: 1, ..ROOMY };
        for bench in
            [Bench::with(&listener, limits, patient).await, Bench::h2_with(&listener, limits, patient).await]
        {
            let _held = bench.upstream.gauges.line.permit();
            let answer = bench.ask(GET).await;
            assert_eq!((answer.status(), &*answer.body), ("504", &b"stream timeout"[..]));
            assert_eq!(bench.upstream.gauges.line.waiting(), 0);
        }
    });
}
