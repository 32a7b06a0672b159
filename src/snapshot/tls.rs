//! TLS towards upstreams that have no context of their own (configuration reference 6.3, decision 28): TLS 1.2, its
//! default suites, the authorities of the system, ALPN `http/1.1`. And when the certificates that the gateway presents
//! are valid.

use std::{
    ops::RangeInclusive,
    sync::{Arc, LazyLock},
};

use super::Snapshot;
use crate::{
    telemetry::metrics::CertificateUse,
    tls::{
        Negotiable, Outbound, Protocol, Version, Versions,
        ciphers::Suites,
        identity::Identity,
        trust::{ServerTrust, system_roots},
        x509::Validity,
    },
};

/// What describes the default context.
///
/// # Errors
/// When the system has no certificate authorities.
pub fn default_outbound() -> Result<Arc<Outbound>, String> {
    static DEFAULT: LazyLock<Result<Arc<Outbound>, String>> = LazyLock::new(|| {
        let roots = system_roots().ok_or(
            "the system has no CA certificates: install `ca-certificates`, or name a bundle in SSL_CERT_FILE",
        )?;
        let versions = Versions { min: Version::V1_2, max: Version::V1_2 };
        let negotiable =
            Negotiable { versions, suites: Suites::defaults(versions), alpn: vec![Protocol::Http11] };
        Ok(Arc::new(Outbound::new(negotiable, ServerTrust::System(roots), None)))
    });
    DEFAULT.clone()
}

/// When the certificates that the gateway presents are valid, all of a chain, in Unix time: on each port, to each service,
/// and to Redis.
pub fn expiries(snapshot: &Snapshot) -> Vec<(CertificateUse, RangeInclusive<i64>)> {
    let ports = snapshot.tls.iter().filter_map(|(port, context)| {
        let identities = context.described.certificates.identities();
        Some((CertificateUse::Port(*port), common(identities)?))
    });
    let services = snapshot.upstreams.iter().filter_map(|upstream| {
        let identity = &upstream.endpoint.tls.as_ref()?.context.described.identity;
        Some((CertificateUse::Service(upstream.name.clone()), common(identity)?))
    });
    let storage = snapshot.storage_tls.iter().filter_map(|tls| {
        let identity = &tls.identity;
        Some((CertificateUse::Storage, common(identity)?))
    });
    ports.chain(services).chain(storage).collect()
}

/// When all of them are valid; `None`: there are none.
fn common<'i>(identities: impl IntoIterator<Item = &'i Identity>) -> Option<RangeInclusive<i64>> {
    let each = identities.into_iter().map(|identity| identity.validity);
    let both = each.reduce(Validity::and)?;
    Some(both.not_before.as_second()..=both.not_after.as_second())
}
