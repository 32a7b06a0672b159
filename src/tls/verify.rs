//! Which certificates of peers are accepted: one answer, whoever makes the handshake. Alternative names only, never
//! the common name; no certificate is fetched; RSA keys have 2048 bits or more (decision 27).

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{Failure, Reason, identity::RSA_BITS_MIN, provider, x509};

fn algorithms() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}

/// Whether the peer's own key is large enough; those of the chain are never accepted below it.
fn check_key(certificate: &CertificateDer<'_>) -> Result<(), Error> {
    let Some(facts) = x509::read(certificate) else {
        return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
    };
    match facts.rsa_bits {
        Some(bits) if bits < RSA_BITS_MIN => {
            let detail = format!("the certificate has an RSA key of {bits} bits: 2048 are the least");
            Err(Failure::new(Reason::CertificateKey, detail).into_rustls())
        }
        _ => Ok(()),
    }
}

/// Certificates of upstreams.
#[derive(Debug)]
pub struct ServerVerifier {
    /// `None`: any certificate is accepted (`skipValidation`), its key and signature are still checked.
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerVerifier {
    pub fn trusting(
        roots: Arc<RootCertStore>,
        revoked: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, Error> {
        let mut builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider()));
        if !revoked.is_empty() {
            builder = builder.with_crls(revoked.iter().cloned()).only_check_end_entity_revocation();
        }
        let chain = builder.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { chain: Some(chain) })
    }

    pub fn trusting_any() -> Self {
        Self { chain: None }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_key(end_entity)?;
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        chain.verify_server_cert(end_entity, intermediates, server_name, ocsp, now).map_err(|error| {
            match error {
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    missing_issuer(end_entity, intermediates).into_rustls()
                }
                error => error,
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Names who would have to be trusted, or whose certificate the upstream would have to send.
fn missing_issuer(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Failure {
    let chain: Vec<_> = intermediates.iter().filter_map(|certificate| x509::read(certificate)).collect();
    let mut issuer = x509::read(end_entity).map(|facts| facts.issuer).unwrap_or_default();
    // A chain has no end if its certificates name each other.
    for _ in 0..chain.len() {
        match chain.iter().find(|facts| facts.subject == issuer) {
            Some(facts) if facts.issuer != issuer => issuer.clone_from(&facts.issuer),
            _ => break,
        }
    }
    Failure::new(
        Reason::CertificateIssuer,
        format!(
            "the certificate of the issuer `{issuer}` is missing: it is neither trusted nor sent (none is fetched)"
        ),
    )
}

/// Certificates of clients.
#[derive(Debug)]
pub struct ClientVerifier(Arc<dyn ClientCertVerifier>);

impl ClientVerifier {
    /// Not `required`: a client may have none.
    pub fn new(
        roots: Arc<RootCertStore>,
        required: bool,
        revoked: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, Error> {
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()));
        if !required {
            builder = builder.allow_unauthenticated();
        }
        if !revoked.is_empty() {
            builder = builder.with_crls(revoked.iter().cloned()).only_check_end_entity_revocation();
        }
        builder.build().map(Self).map_err(|error| Error::General(error.to_string()))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        check_key(end_entity)?;
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
