//! The context of a port: what rustls needs to be the server of a handshake.

use std::sync::Arc;

use rustls::{
    Error, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ServerSessionMemoryCache, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};

use super::{Version, Versions, identity::Identity, trust::ClientCertificates};
use crate::base::Digest;

/// Sessions of TLS 1.2 clients without tickets that can be resumed, for each port.
const SESSIONS_MAX: usize = 1024;

/// A checked description of a port's TLS.
#[derive(Debug)]
pub struct Inbound {
    versions: Versions,
    /// Most preferred first: the server's order counts.
    suites: Vec<SupportedCipherSuite>,
    alpn: Vec<&'static str>,
    identity: Identity,
    clients: Option<ClientCertificates>,
    /// Equal digests: clients cannot tell the contexts apart.
    pub digest: Digest,
}

/// What handshakes on a port use.
pub struct InboundContext {
    pub config: Arc<ServerConfig>,
    /// Of the description.
    pub digest: Digest,
    trust: Digest,
}

impl Inbound {
    pub fn new(
        versions: Versions,
        suites: Vec<SupportedCipherSuite>,
        alpn: Vec<&'static str>,
        identity: Identity,
        clients: Option<ClientCertificates>,
    ) -> Self {
        let mut digest = Digest::builder()
            .part(format!("{versions:?} {alpn:?}"))
            .part(identity.digest.to_string())
            .part(ClientCertificates::digest(clients.as_ref()).to_string());
        suites.iter().for_each(|suite| digest.add(format!("{:?}", suite.suite())));
        Self { versions, suites, alpn, identity, clients, digest: digest.finish() }
    }

    /// The context. Sessions of the one `before` it can be resumed unless trust has changed: a resumed
    /// handshake does not verify the client's certificate again (decision 30).
    ///
    /// # Errors
    /// Of rustls; the checks before leave none.
    pub fn context(&self, before: Option<&InboundContext>) -> Result<InboundContext, Error> {
        let provider =
            Arc::new(CryptoProvider { cipher_suites: self.suites.clone(), ..aws_lc_rs::default_provider() });
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.protocol_versions())?;
        let builder = match &self.clients {
            Some(clients) => builder.with_client_cert_verifier(verifier(clients, provider)?),
            None => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(self.identity.certified.clone())));
        config.ignore_client_order = true;
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let trust = ClientCertificates::digest(self.clients.as_ref());
        if let Some(before) = before.filter(|before| before.trust == trust) {
            config.ticketer = Arc::clone(&before.config.ticketer);
            config.session_storage = Arc::clone(&before.config.session_storage);
        } else {
            config.ticketer = aws_lc_rs::Ticketer::new()?;
            config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        }
        Ok(InboundContext { config: Arc::new(config), digest: self.digest, trust })
    }

    fn protocol_versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let known = [(Version::V1_3, &TLS13), (Version::V1_2, &TLS12)];
        known.into_iter().filter(|(version, _)| self.versions.contains(*version)).map(|(_, of)| of).collect()
    }
}

fn verifier(
    clients: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&clients.roots), provider);
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| Error::General(error.to_string()))
}
