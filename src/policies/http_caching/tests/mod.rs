//! HTTP Caching: policies reference 3.4 row by row, and RFC 9111 sentence by sentence.

mod bodies;
mod directives;
mod disk;
mod distributed;
mod entry;
mod freshness;
mod invalidation;
mod parameters;
mod requests;
mod rfc9111_freshness;
mod rfc9111_reuse;
mod rfc9111_storing;
mod rfc9111_validation;
mod traps;

use std::{
    cell::Cell,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use super::{Cache, HttpCaching};
use crate::{
    document::deserialize,
    http::{Origin, Request, Response},
    policy::{
        Clock, Handling, Next, Policy, PolicyServices,
        testkit::{Bench, body_text, header, services, yaml},
    },
};

/// What the clock of the tests shows at first.
const START: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// The policy in front of an upstream, on a clock that the test moves.
struct Cached {
    bench: Bench,
    cache: Arc<Cache>,
    clock: Clock,
}

fn policy(config: &str, services: &PolicyServices, clock: &Clock) -> HttpCaching {
    let read = deserialize(&yaml(config), "config");
    assert_eq!(read.problems, []);
    let policy = HttpCaching::new(read.value.expect("no problem"), services, clock.clone());
    policy.unwrap_or_else(|problems| panic!("{problems:?}"))
}

impl Cached {
    /// The upstream answers 200 with these headers, and with the number of the call as the body.
    fn new(config: &str, headers: &[(&'static str, &'static str)]) -> Self {
        let (headers, calls) = (headers.to_vec(), Cell::new(0));
        Self::answering(config, move |_| {
            calls.set(calls.get() + 1);
            upstream(200, &headers, &calls.get().to_string())
        })
    }

    fn answering(config: &str, answer: impl Fn(&Request) -> Response + 'static) -> Self {
        Self::with(config, &services(), &Clock::manual(), answer)
    }

    fn with(
        config: &str,
        services: &PolicyServices,
        clock: &Clock,
        answer: impl Fn(&Request) -> Response + 'static,
    ) -> Self {
        Self::holding(1 << 20, policy(config, services, clock), clock, answer)
    }

    /// In a chain whose policies may hold bodies of this size in memory.
    fn holding(
        body_bytes_max: usize,
        policy: HttpCaching,
        clock: &Clock,
        answer: impl Fn(&Request) -> Response + 'static,
    ) -> Self {
        let cache = Arc::clone(&policy.cache);
        let chain: Vec<Arc<dyn Policy>> = vec![Arc::new(policy)];
        let bench = Bench::holding(body_bytes_max, chain).answering(answer);
        Self { bench, cache, clock: clock.clone() }
    }

    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.bench.send(Request::for_test(method, target, headers))
    }

    /// The body of the response to a GET.
    fn get(&self, target: &str, headers: &[(&str, &str)]) -> String {
        body_text(self.send("GET", target, headers))
    }

    /// Whether the response to a second GET comes from the cache.
    fn stores(config: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let cached = Self::new(config, headers);
        cached.get("/", &[]);
        cached.get("/", &[]) == "1"
    }

    fn calls(&self) -> usize {
        self.bench.upstream_calls()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// A later policy that lets requests wait until the test opens it.
#[derive(Default)]
struct Gate {
    arrived: AtomicUsize,
    is_open: AtomicBool,
}

impl Gate {
    fn arrived(&self) -> usize {
        self.arrived.load(Ordering::SeqCst)
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }

    /// Nobody has arrived, and who does waits again.
    fn close(&self) {
        self.is_open.store(false, Ordering::SeqCst);
        self.arrived.store(0, Ordering::SeqCst);
    }
}

impl Policy for Gate {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        Handling::wait(async move {
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if self.is_open.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            next.pass(request).await
        })
    }
}

fn with(mut services: PolicyServices, change: impl FnOnce(&mut PolicyServices)) -> PolicyServices {
    change(&mut services);
    services
}

/// A response of the upstream.
fn upstream(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let mut response = Response { origin: Origin::Upstream, ..Response::empty(status) };
    for (name, value) in headers {
        response.headers.append(name, value).expect("a valid field");
    }
    response.body = body.to_owned().into();
    response
}

fn age(response: &Response) -> Option<u64> {
    header(response, "age")?.parse().ok()
}
