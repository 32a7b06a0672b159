//! TLS of the gateway's own calls.

use std::sync::{Arc, LazyLock};

use rustls::{ClientConfig, crypto::aws_lc_rs};

use crate::tls::{trust, verify::ServerVerifier};

/// Trust in the certificate authorities of the system, made once. `None` when there are none.
pub fn system_roots() -> Option<Arc<ClientConfig>> {
    static CONFIG: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
        let verifier = ServerVerifier::trusting(trust::system_roots()?, &[], &[]).ok()?;
        config(verifier)
    });
    CONFIG.clone()
}

/// Trust in any certificate, where a user asks for it (`tls.verify: off` of a log output,
/// configuration reference 9.2). The handshake's signature is still checked. `None` never happens
/// with the built-in provider.
pub fn any_server() -> Option<Arc<ClientConfig>> {
    config(ServerVerifier::trusting_any())
}

fn config(verifier: ServerVerifier) -> Option<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?;
    let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Some(Arc::new(config.with_no_client_auth()))
}
