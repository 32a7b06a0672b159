//! Tunnels, where a test must see inside: replaced answers, limits, buffers.

use std::sync::Arc;

use super::bench::{Bench, ROOMY, accepted, run, upstream};
use crate::{
    http::{Request, Response},
    policy::{Handling, Next, Policy},
    snapshot::Gauge,
};

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";

/// Answers every 101 in its own way.
struct Replaces(u16);

impl Policy for Replaces {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        Handling::wait(async move {
            let response = next.run(request).await;
            Ok(if response.status == 101 { Response::empty(self.0) } else { response })
        })
    }
}

/// Answers 101 where nobody has switched.
struct Invents;

impl Policy for Invents {
    fn handle<'a>(&'a self, _: Request, _: Next<'a>) -> Handling<'a> {
        Handling::answer(Response::empty(101))
    }
}

#[test]
fn a_policy_that_replaces_a_101_closes_the_upstream_and_the_client_stays_with_http() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::behind(&listener, ROOMY, vec![Arc::new(Replaces(403))]).await;
        let mut client = bench.connect().await;
        for _ in 0..2 {
            client.send(UPGRADE).await;
            let mut server = accepted(&listener).await;
            server.message().await.expect("a request");
            server.send(SWITCH).await;
            assert_eq!(client.message().await.expect("an answer").status(), "403");
            assert_eq!(server.rest().await, (Vec::new(), true), "the upstream is let go");
        }
        while bench.upstream.gauges.count(Gauge::Requests) + bench.upstream.gauges.line.connections() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_101_without_a_tunnel_behind_it_is_never_sent() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::behind(&listener, ROOMY, vec![Arc::new(Invents)]).await;
        assert_eq!(bench.ask(UPGRADE).await.status(), "500");
    });
}

#[test]
fn a_tunnel_counts_as_a_request_of_its_upstream_until_it_ends() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let mut client = bench.connect().await;
        client.send(UPGRADE).await;
        let mut server = accepted(&listener).await;
        server.message().await.expect("a request");
        server.send(SWITCH).await;
        assert_eq!(client.head().await.expect("an answer").status(), "101");
        client.send("ping").await;
        while server.unread.len() < 4 {
            assert!(server.more().await);
        }
        assert_eq!(bench.upstream.gauges.count(Gauge::Requests), 1);
        assert_eq!(bench.metric("portcullis_tunnels_active").as_deref(), Some("1"));
        drop((client, server));
        while bench.metric("portcullis_tunnels_active").as_deref() != Some("0") {
            tokio::task::yield_now().await;
        }
        while bench.upstream.gauges.count(Gauge::Requests) + bench.upstream.gauges.line.connections() > 0 {
            tokio::task::yield_now().await;
        }
    });
}
