//! Rate Limiting, sentence by sentence of policies reference 3.1.

mod headers;
mod keys;
mod parameters;
mod windows;

use std::{sync::Arc, time::Duration};

use super::RateLimiting;
use crate::{
    document::deserialize,
    http::{Request, Response},
    policy::{
        Clock,
        testkit::{Bench, header, services, yaml},
    },
};

/// The policy in front of an upstream, on a clock that the test moves.
struct Limited {
    bench: Bench,
    clock: Clock,
}

impl Limited {
    fn new(config: &str) -> Self {
        let read = deserialize(&yaml(config), "config");
        assert_eq!(read.problems, []);
        let clock = Clock::manual();
        let policy = RateLimiting::new(read.value.expect("no problem"), &services(), clock.clone());
        Self { bench: Bench::new(Arc::new(policy.expect("valid"))), clock }
    }

    fn get(&self, headers: &[(&str, &str)]) -> Response {
        self.bench.get("/", headers)
    }

    /// The statuses of so many requests in a row.
    fn statuses(&self, count: usize) -> Vec<u16> {
        (0..count).map(|_| self.get(&[]).status).collect()
    }

    /// The status of a request with this key in `x-key`.
    fn status(&self, key: &str) -> u16 {
        self.get(&[("x-key", key)]).status
    }

    fn pass_ms(&self, milliseconds: u64) {
        self.clock.advance(Duration::from_millis(milliseconds));
    }
}

/// `x-ratelimit-limit`, `-remaining` and `-reset` of a response.
fn told(response: &Response) -> Option<(u64, u64, u64)> {
    let field = |name: &str| header(response, &format!("x-ratelimit-{name}"))?.parse().ok();
    Some((field("limit")?, field("remaining")?, field("reset")?))
}

fn post(body: &str) -> Request {
    let mut request = Request::for_test("POST", "/", &[("content-type", "application/json")]);
    request.body = body.to_owned().into();
    request
}
