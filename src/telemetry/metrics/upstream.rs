//! Counters of one upstream (a `Service`).

use std::{sync::Arc, time::Duration};

use super::{
    cells::{Counter, Distribution, Histogram, PerWorker, Writer},
    exposition::{Exposition, Kind},
    reasons::Reasons,
};
use crate::base::ResourceName;

/// Why no connection came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    Dns,
    Refused,
    Timeout,
    Tls,
    /// The forward proxy refused.
    Proxy,
    Other,
}

const FAILURES: [&str; 6] = ["dns", "refused", "timeout", "tls", "proxy", "other"];

#[derive(Default)]
struct Slot {
    requests: Counter,
    attempts: Counter,
    failures: [Counter; FAILURES.len()],
    reused: Counter,
    retries: Counter,
    timeouts: Counter,
    overflows: Counter,
    idle: Counter,
    open: Counter,
    pending: Counter,
    response: Histogram,
}

/// Counters of one upstream; see the module for who may write them.
pub struct UpstreamMetrics {
    pub(super) name: ResourceName,
    slots: PerWorker<Slot>,
    tls_failures: Reasons,
}

macro_rules! count {
    ($($(#[$text:meta])* $name:ident => $field:ident;)*) => {
        $($(#[$text])* pub fn $name(&self) {
            let (slot, writer) = self.slots.mine();
            slot.$field.add(writer, 1);
        })*
    };
}

macro_rules! gauge {
    ($($(#[$text:meta])* $up:ident $down:ident $read:ident => $field:ident;)*) => {
        $($(#[$text])* pub fn $up(&self) {
            let (slot, writer) = self.slots.mine();
            slot.$field.add(writer, 1);
        }

        /// The opposite; may be called on another thread.
        pub fn $down(&self) {
            let (slot, writer) = self.slots.mine();
            slot.$field.subtract(writer, 1);
        }

        /// Over all workers.
        pub fn $read(&self) -> u64 {
            level(self.slots.sum(|slot| &slot.$field))
        })*
    };
}

impl UpstreamMetrics {
    pub(super) fn new(name: ResourceName, workers: usize) -> Self {
        Self { name, slots: PerWorker::new(workers), tls_failures: Reasons::default() }
    }

    count! {
        /// A request, or a further attempt of one, was written.
        request => requests;
        /// A new connection was begun.
        connect_attempt => attempts;
        /// A request took a pooled connection.
        reused => reused;
        /// A request was sent again (decision 4).
        retry => retries;
        /// The response timeout ended a request.
        timeout => timeouts;
        /// A limit of the circuit breaker refused a request.
        overflow => overflows;
    }

    gauge! {
        /// A connection was made.
        opened closed open => open;
        /// A connection has no request on it, and waits for one.
        idle_added idle_removed idle => idle;
        /// A request waits for a connection.
        pending_added pending_removed pending => pending;
    }

    /// Connections with a request on them.
    pub fn active(&self) -> u64 {
        self.open().saturating_sub(self.idle())
    }

    pub fn connect_failed(&self, why: ConnectFailure) {
        let (slot, writer) = self.slots.mine();
        slot.failures[why as usize].add(writer, 1);
    }

    /// TLS failed. `reason` is a fixed word of the code, such as `timeout`.
    pub fn tls_failed(&self, reason: &'static str) {
        self.tls_failures.count(reason);
    }

    /// The head of the response came, this long after the end of the request.
    pub fn responded(&self, elapsed: Duration) {
        let (slot, writer): (&Slot, Writer) = self.slots.mine();
        slot.response.observe(writer, elapsed);
    }
}

/// A gauge read while workers write may be a moment below zero.
fn level(sum: u64) -> u64 {
    if sum > u64::MAX / 2 { 0 } else { sum }
}

/// Writes the families of all upstreams.
pub(super) fn expose(upstreams: &[Arc<UpstreamMetrics>], page: &mut Exposition) {
    let mut family = |name: &str, kind: Kind, help: &str, value: &dyn Fn(&UpstreamMetrics) -> u64| {
        page.family(name, kind, help);
        for upstream in upstreams {
            let name = &upstream.name;
            page.sample("", &[("namespace", &name.namespace), ("upstream", &name.name)], value(upstream));
        }
    };
    let sum = |read: fn(&Slot) -> &Counter| move |upstream: &UpstreamMetrics| upstream.slots.sum(read);
    family(
        "portcullis_upstream_requests_total",
        Kind::Counter,
        "Requests sent, retries included.",
        &sum(|s| &s.requests),
    );
    family(
        "portcullis_upstream_connect_attempts_total",
        Kind::Counter,
        "Connections begun for a request.",
        &sum(|s| &s.attempts),
    );
    family(
        "portcullis_upstream_reused_total",
        Kind::Counter,
        "Requests that took a pooled connection.",
        &sum(|s| &s.reused),
    );
    family("portcullis_upstream_retries_total", Kind::Counter, "Requests sent again.", &sum(|s| &s.retries));
    family(
        "portcullis_upstream_timeouts_total",
        Kind::Counter,
        "Requests that the response timeout ended.",
        &sum(|s| &s.timeouts),
    );
    family(
        "portcullis_upstream_overflows_total",
        Kind::Counter,
        "Requests that the circuit breaker refused.",
        &sum(|s| &s.overflows),
    );
    family(
        "portcullis_upstream_idle_connections",
        Kind::Gauge,
        "Open connections that wait for a request.",
        &UpstreamMetrics::idle,
    );
    family(
        "portcullis_upstream_active_connections",
        Kind::Gauge,
        "Connections with a request on them.",
        &UpstreamMetrics::active,
    );
    family(
        "portcullis_upstream_pending_requests",
        Kind::Gauge,
        "Requests that wait for a connection.",
        &UpstreamMetrics::pending,
    );
    page.family(
        "portcullis_upstream_connect_failures_total",
        Kind::Counter,
        "Connections for a request that failed, by reason.",
    );
    for upstream in upstreams {
        for (index, reason) in FAILURES.iter().enumerate() {
            let count = upstream.slots.sum(|slot| &slot.failures[index]);
            let name = &upstream.name;
            page.sample(
                "",
                &[("namespace", &name.namespace), ("upstream", &name.name), ("reason", reason)],
                count,
            );
        }
    }
    page.family(
        "portcullis_upstream_tls_handshake_failures_total",
        Kind::Counter,
        "TLS handshakes with upstreams that failed, by reason.",
    );
    for upstream in upstreams {
        let name = &upstream.name;
        upstream.tls_failures.expose(&[("namespace", &name.namespace), ("upstream", &name.name)], page);
    }
    page.family(
        "portcullis_upstream_response_seconds",
        Kind::Histogram,
        "From the end of the request to the head of the response; 0 where that came first.",
    );
    for upstream in upstreams {
        let mut distribution = Distribution::default();
        upstream.slots.all().for_each(|slot| distribution.add(&slot.response));
        let name = &upstream.name;
        page.histogram(&[("namespace", &name.namespace), ("upstream", &name.name)], &distribution);
    }
}
