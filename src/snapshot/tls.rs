//! TLS towards upstreams that have no context of their own (configuration reference 6.3, decision 28): TLS 1.2, its
//! default suites, the authorities of the system, ALPN `http/1.1`.

use std::sync::{Arc, LazyLock};

use crate::{
    outbound::root_store,
    tls::{Negotiable, Outbound, Protocol, Version, Versions, ciphers::Suites, trust::ServerTrust},
};

/// What describes the default context.
///
/// # Errors
/// When the system has no certificate authorities.
pub fn default_outbound() -> Result<Arc<Outbound>, String> {
    static DEFAULT: LazyLock<Result<Arc<Outbound>, String>> = LazyLock::new(|| {
        let roots = root_store().ok_or(
            "the system has no CA certificates: install `ca-certificates`, or name a bundle in SSL_CERT_FILE",
        )?;
        let versions = Versions { min: Version::V1_2, max: Version::V1_2 };
        let negotiable =
            Negotiable { versions, suites: Suites::defaults(versions), alpn: vec![Protocol::Http11] };
        Ok(Arc::new(Outbound::new(negotiable, ServerTrust::System(roots), None)))
    });
    DEFAULT.clone()
}
