//! The `x-envoy-*` fields, which the vendor's proxy adds and, from a certain version on, removes
//! (configuration reference 4.7, `headers.envoy`).
//!
//! Off: none of them passes, in either direction. On: those of the other side pass, and the gateway
//! adds the ones that operators of the vendor's gateway read.

use std::time::Duration;

use crate::{
    http::{Headers, Request, Response},
    policy::Rejection,
    snapshot::EngineSettings,
};

const PREFIX: &str = "x-envoy-";

/// For the fields of a client, before a policy sees them. They are claims as `x-forwarded-for` is:
/// with trusted proxies declared, only these may make them.
pub fn from_client(headers: &mut Headers, engine: &EngineSettings, from_proxy: bool) {
    if !engine.envoy_headers || !(from_proxy || engine.trusted_proxies.is_empty()) {
        headers.remove_prefixed(PREFIX);
    } else if !from_proxy {
        // Says that the caller is one of us, which only a proxy of ours can know.
        headers.remove("x-envoy-internal");
    }
}

/// Before the path of a request is replaced.
pub fn rewriting(request: &mut Request, engine: &EngineSettings) {
    if engine.envoy_headers {
        let original = request.path_and_query();
        set(&mut request.headers, "x-envoy-original-path", &original);
    }
}

/// Before a request is sent; `response_timeout` zero is none.
pub fn to_upstream(headers: &mut Headers, engine: &EngineSettings, response_timeout: Duration) {
    if engine.envoy_headers && !response_timeout.is_zero() {
        set(headers, "x-envoy-expected-rq-timeout-ms", &response_timeout.as_millis().to_string());
    }
}

/// For a response, before a policy sees it; `took` from the start of the exchange to its head.
pub fn from_upstream(response: &mut Response, engine: &EngineSettings, took: Duration) {
    if engine.envoy_headers {
        set(&mut response.headers, "x-envoy-upstream-service-time", &took.as_millis().to_string());
    } else {
        response.headers.remove_prefixed(PREFIX);
    }
}

/// For an interim response: what the gateway says of itself stands in the final one, and no policy sees this.
pub fn from_interim(headers: &mut Headers) {
    headers.remove("server");
    headers.remove_prefixed(PREFIX);
}

/// For the answer in place of an upstream whose circuit breaker is open (policies reference 5.1).
pub fn overloaded(rejection: Rejection, engine: &EngineSettings) -> Rejection {
    if engine.envoy_headers { rejection.header("x-envoy-overloaded", "true") } else { rejection }
}

fn set(headers: &mut Headers, name: &str, value: &str) {
    // A path may hold bytes that a field value may not: then there is no such field.
    if headers.set(name, value).is_err() {
        headers.remove(name);
    }
}
