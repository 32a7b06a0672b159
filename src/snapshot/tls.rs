//! TLS towards upstreams that have no context of their own (configuration reference 6.3, decision 28): TLS 1.2, its
//! default suites, the authorities of the system, ALPN `http/1.1`. And when the certificates that the gateway presents
//! expire.

use std::sync::{Arc, LazyLock};

use super::Snapshot;
use crate::{
    telemetry::metrics::CertificateUse,
    tls::{
        Negotiable, Outbound, Protocol, Version, Versions,
        ciphers::Suites,
        trust::{ServerTrust, system_roots},
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

/// When the certificates that the gateway presents expire, in Unix time: on each port, and to each service.
pub fn expiries(snapshot: &Snapshot) -> Vec<(CertificateUse, i64)> {
    let ports = snapshot.tls.iter().filter_map(|(port, context)| {
        let identities = context.described.certificates.identities();
        let first = identities.iter().map(|identity| identity.expiry).min()?;
        Some((CertificateUse::Port(*port), first.as_second()))
    });
    let services = snapshot.upstreams.iter().filter_map(|upstream| {
        let identity = upstream.endpoint.tls.as_ref()?.context.described.identity.as_ref()?;
        Some((CertificateUse::Service(upstream.name.clone()), identity.expiry.as_second()))
    });
    ports.chain(services).collect()
}
