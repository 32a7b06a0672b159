//! Counters of the whole process.

use std::{
    ops::RangeInclusive,
    sync::{
        Mutex,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    cells::{Counter, PerWorker},
    exposition::{Exposition, Kind},
    reasons::Reasons,
    tunnels::Tunnels,
};
use crate::base::ResourceName;

/// Why a client connection was closed before a request was read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// `limits.connections`.
    Limit,
    /// Not one of `proxy_protocol.trusted_sources`.
    ProxyHeaderUntrusted,
    ProxyHeaderMissing,
    ProxyHeaderMalformed,
    ProxyHeaderTimeout,
}

const REFUSALS: [&str; 5] = [
    "limit",
    "proxy_header_untrusted",
    "proxy_header_missing",
    "proxy_header_malformed",
    "proxy_header_timeout",
];

#[derive(Default)]
struct Slot {
    accepted: Counter,
    refused: [Counter; REFUSALS.len()],
    tls_full: Counter,
    tls_resumed: Counter,
}

/// The configuration being served.
#[derive(Clone, Debug, Default)]
struct Served {
    digest: String,
    applied_unix_seconds: u64,
}

/// Where a certificate is presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateUse {
    Port(u16),
    Service(ResourceName),
    /// To what replicas share.
    Storage,
}

type Validities = Vec<(CertificateUse, RangeInclusive<i64>)>;

/// Counters of the whole process.
pub struct GatewayMetrics {
    pub tunnels: Tunnels,
    connections: AtomicUsize,
    slots: PerWorker<Slot>,
    refusals: Reasons,
    tls_failures: Reasons,
    panics: AtomicU64,
    reloads_ok: AtomicU64,
    reloads_failed: AtomicU64,
    lookups_found: AtomicU64,
    lookups_failed: AtomicU64,
    generation: AtomicU64,
    apis_served: AtomicU64,
    apis_configured: AtomicU64,
    served: Mutex<Served>,
    /// Where a certificate is presented, and when that is valid.
    certificates: Mutex<Validities>,
    started: Instant,
}

impl GatewayMetrics {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            tunnels: Tunnels::new(workers),
            connections: AtomicUsize::new(0),
            slots: PerWorker::new(workers),
            refusals: Reasons::default(),
            tls_failures: Reasons::default(),
            panics: AtomicU64::new(0),
            reloads_ok: AtomicU64::new(0),
            reloads_failed: AtomicU64::new(0),
            lookups_found: AtomicU64::new(0),
            lookups_failed: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            apis_served: AtomicU64::new(0),
            apis_configured: AtomicU64::new(0),
            served: Mutex::default(),
            certificates: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// Whether one more client connection may be open; it is counted then, until [`Self::connection_closed`].
    pub fn admit(&self, limit: usize) -> bool {
        let is_admitted = self.connections.fetch_add(1, AcqRel) < limit;
        if is_admitted {
            let (slot, writer) = self.slots.mine();
            slot.accepted.add(writer, 1);
        } else {
            self.connection_closed();
        }
        is_admitted
    }

    pub fn connection_closed(&self) {
        self.connections.fetch_sub(1, AcqRel);
    }

    /// A client connection was turned away before any request was read.
    pub fn connection_refused(&self, why: ConnectionRefusal) {
        let (slot, writer) = self.slots.mine();
        slot.refused[why as usize].add(writer, 1);
    }

    /// Client connections now open, over all workers.
    pub fn connections(&self) -> usize {
        self.connections.load(Acquire)
    }

    /// A request was answered by the gateway itself: no policy saw it. `reason` is a fixed word of the
    /// code, such as `head_too_large`.
    pub fn request_refused(&self, reason: &'static str) {
        self.refusals.count(reason);
    }

    /// A TLS handshake with a client ended well; `resumed`: without a new key exchange by certificate.
    pub fn tls_handshake(&self, resumed: bool) {
        let (slot, writer) = self.slots.mine();
        let counter = if resumed { &slot.tls_resumed } else { &slot.tls_full };
        counter.add(writer, 1);
    }

    /// A TLS handshake with a client failed. `reason` is a fixed word of the code, such as `timeout`.
    pub fn tls_handshake_failed(&self, reason: &'static str) {
        self.tls_failures.count(reason);
    }

    /// The serving of a request panicked: it was answered 500, or its connection was closed.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// A configuration is served from now on: `whole`, or with parts that are closed or kept their
    /// last good version.
    pub fn reloaded(&self, generation: u64, digest: &str, whole: bool) {
        let outcome = if whole { &self.reloads_ok } else { &self.reloads_failed };
        outcome.fetch_add(1, Relaxed);
        self.generation.store(generation, Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if let Ok(mut served) = self.served.lock() {
            *served = Served { digest: digest.to_owned(), applied_unix_seconds: now.as_secs() };
        }
    }

    /// When the certificates that the gateway presents are valid, in Unix time.
    pub fn certificates_expire(&self, validities: Validities) {
        if let Ok(mut kept) = self.certificates.lock() {
            *kept = validities;
        }
    }

    /// How many API instances are served, of how many that are configured.
    pub fn apis(&self, served: usize, configured: usize) {
        self.apis_served.store(served as u64, Relaxed);
        self.apis_configured.store(configured as u64, Relaxed);
    }

    /// A configuration could not be applied at all; the one before serves on.
    pub fn reload_failed(&self) {
        self.reloads_failed.fetch_add(1, Relaxed);
    }

    /// The system's resolver was asked for a name; `found`: it gave an answer.
    pub fn looked_up(&self, found: bool) {
        let counter = if found { &self.lookups_found } else { &self.lookups_failed };
        counter.fetch_add(1, Relaxed);
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn expose(&self, page: &mut Exposition) {
        let mut one = |name: &str, kind: Kind, help: &str, value: u64| page.single(name, kind, help, value);
        let sum = |read: fn(&Slot) -> &Counter| self.slots.sum(read);
        one(
            "portcullis_connections_total",
            Kind::Counter,
            "Client connections accepted.",
            sum(|s| &s.accepted),
        );
        let active = self.connections() as u64;
        one("portcullis_connections_active", Kind::Gauge, "Client connections now open.", active);
        one(
            "portcullis_panics_total",
            Kind::Counter,
            "Request handlers that panicked.",
            self.panics.load(Relaxed),
        );
        one(
            "portcullis_config_generation",
            Kind::Gauge,
            "Number of the configuration being served; 0 before the first.",
            self.generation.load(Relaxed),
        );
        one(
            "portcullis_apis_configured",
            Kind::Gauge,
            "API instances in the configuration being served.",
            self.apis_configured.load(Relaxed),
        );
        one(
            "portcullis_apis_served",
            Kind::Gauge,
            "API instances that are served; the others are closed by an error.",
            self.apis_served.load(Relaxed),
        );
        page.family(
            "portcullis_connections_refused_total",
            Kind::Counter,
            "Client connections turned away before any request was read, by reason.",
        );
        for (index, reason) in REFUSALS.iter().enumerate() {
            let count = self.slots.sum(|slot| &slot.refused[index]);
            page.sample("", &[("reason", reason)], count);
        }
        self.tunnels.expose(page);
        page.family("portcullis_reloads_total", Kind::Counter, "Configurations tried, by outcome.");
        page.sample("", &[("outcome", "ok")], self.reloads_ok.load(Relaxed));
        page.sample("", &[("outcome", "failed")], self.reloads_failed.load(Relaxed));
        page.family(
            "portcullis_dns_lookups_total",
            Kind::Counter,
            "Names the system's resolver was asked for, by outcome.",
        );
        page.sample("", &[("outcome", "found")], self.lookups_found.load(Relaxed));
        page.sample("", &[("outcome", "failed")], self.lookups_failed.load(Relaxed));
        page.family(
            "portcullis_requests_refused_total",
            Kind::Counter,
            "Requests that no policy and no upstream saw, by reason.",
        );
        self.refusals.expose(&[], page);
        page.family(
            "portcullis_tls_handshakes_total",
            Kind::Counter,
            "TLS handshakes with clients that ended well, by kind.",
        );
        page.sample("", &[("kind", "full")], sum(|s| &s.tls_full));
        page.sample("", &[("kind", "resumed")], sum(|s| &s.tls_resumed));
        page.family(
            "portcullis_tls_handshake_failures_total",
            Kind::Counter,
            "TLS handshakes with clients that failed, by reason.",
        );
        self.tls_failures.expose(&[], page);
        self.expose_certificates(page);
        let served = self.served.lock().map(|served| served.clone()).unwrap_or_default();
        if !served.digest.is_empty() {
            page.family("portcullis_config_info", Kind::Gauge, "Digest of the configuration being served.");
            page.sample("", &[("digest", &served.digest)], 1);
            page.single(
                "portcullis_config_applied_timestamp_seconds",
                Kind::Gauge,
                "When it was applied, in Unix time.",
                served.applied_unix_seconds,
            );
        }
        page.family("portcullis_build_info", Kind::Gauge, "Version of the gateway.");
        page.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        page.single(
            "portcullis_uptime_seconds",
            Kind::Gauge,
            "Time since the start.",
            self.uptime().as_secs(),
        );
    }
    fn expose_certificates(&self, page: &mut Exposition) {
        let Ok(certificates) = self.certificates.lock() else { return };
        let mut gauge = |name, help, second: fn(&RangeInclusive<i64>) -> i64| {
            page.family(name, Kind::Gauge, help);
            for (of, valid) in certificates.iter() {
                let (port, service, storage) = match of {
                    CertificateUse::Port(port) => (port.to_string(), String::new(), ""),
                    CertificateUse::Service(name) => (String::new(), name.to_string(), ""),
                    CertificateUse::Storage => (String::new(), String::new(), "redis"),
                };
                let labels = [("port", &*port), ("service", &*service), ("storage", storage)];
                page.decimal("", &labels, second(valid) as f64);
            }
        };
        gauge(
            "portcullis_tls_certificate_expiry_timestamp_seconds",
            "When the first certificate of a chain that the gateway presents expires.",
            |valid| *valid.end(),
        );
        gauge(
            "portcullis_tls_certificate_not_before_timestamp_seconds",
            "When the last certificate of a chain that the gateway presents becomes valid.",
            |valid| *valid.start(),
        );
    }
}
