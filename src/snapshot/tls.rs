//! TLS towards upstreams that have no context of their own (configuration reference 6.3,
//! decision 28): TLS 1.2, its default suites, the roots of the system, ALPN `http/1.1`.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::ServerName, version::TLS12};

use super::upstream::UpstreamTls;
use crate::outbound::root_store;

/// The default context for a host name or address.
///
/// # Errors
/// When the system has no certificate authorities, or the host cannot be a name in a certificate.
pub fn default_context(host: &str) -> Result<UpstreamTls, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let config = CONFIG.get_or_init(build).clone()?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` cannot be a name in a certificate"))?;
    Ok(UpstreamTls { config, name })
}

fn build() -> Result<Arc<ClientConfig>, String> {
    let roots = root_store().ok_or(
        "the system has no CA certificates: install `ca-certificates`, or name a bundle in SSL_CERT_FILE",
    )?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS12])
        .map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
